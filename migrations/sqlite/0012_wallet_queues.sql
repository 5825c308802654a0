-- Nothing to do: SQLite reuses the room of what is deleted by itself.
SELECT 1;
