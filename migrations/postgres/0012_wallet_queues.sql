-- Changes and pushes are queues: their rows live for moments, and what is dead is to be gone before the table grows; room in
-- each page keeps updates of the others in place.

ALTER TABLE wallet_changes SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE wallet_pushes SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE wallet_tags SET (fillfactor = 70);
ALTER TABLE wallet_clock SET (fillfactor = 10);
