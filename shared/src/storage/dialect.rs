//! The differences between the two databases, all of them.

use super::StorageError;

/// Which database a query runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// One process, one file.
    Sqlite,
    /// Several processes.
    Postgres,
}

impl Dialect {
    pub(super) fn of_url(url: &str) -> Result<Self, StorageError> {
        if url.starts_with("sqlite://") {
            Ok(Self::Sqlite)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Ok(Self::Postgres)
        } else {
            Err(StorageError::Unusable {
                url: super::error::without_password(url),
                problem: "a database address begins with sqlite:// or postgres://".to_owned(),
            })
        }
    }

    /// Ends a SELECT so that several workers claim different rows. SQLite has one writer at a time and needs nothing.
    #[must_use]
    pub fn for_update_skip_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE SKIP LOCKED",
        }
    }

    /// Ends a SELECT so that the rows stay as they are until the transaction ends.
    #[must_use]
    pub fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE",
        }
    }

    /// Ends each statement of the present transaction that takes longer than a minute, where there is a server to do it.
    #[must_use]
    pub fn statement_limit(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some("SET LOCAL statement_timeout = '60s'"),
        }
    }

    /// Compares texts byte by byte, as Rust does, whatever the database's language is.
    #[must_use]
    pub fn by_bytes(self) -> &'static str {
        match self {
            Self::Sqlite => " COLLATE BINARY",
            Self::Postgres => " COLLATE \"C\"",
        }
    }

    /// The member of a JSON object in a text column whose name is bound to the next `?`: JSON, or NULL when there is
    /// none.
    #[must_use]
    pub fn json_member(self, column: &str) -> String {
        match self {
            Self::Sqlite => format!("({column} -> ?)"),
            Self::Postgres => format!("(CAST({column} AS json) -> CAST(? AS text))"),
        }
    }
}
