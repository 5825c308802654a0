//! What can go wrong with a database, and whether trying again may help.

/// A failed database call.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No connection.
    #[error("database {url}: {problem}")]
    Unreachable {
        /// The address without its password.
        url: String,
        /// What was seen.
        problem: String,
    },
    /// The address, or the file that it names, cannot be used; waiting does not help.
    #[error("database {url}: {problem}")]
    Unusable {
        /// The address without its password.
        url: String,
        /// What was seen, and what to do.
        problem: String,
    },
    /// A query failed.
    #[error("database: {0}")]
    Query(#[from] sqlx::Error),
    /// A row holds something that we never write.
    #[error("database: {0}")]
    Corrupt(String),
}

impl StorageError {
    /// Whether a row with the same key exists already.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Query(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    /// Whether PostgreSQL ended this transaction because two waited for each other: it can be repeated at once.
    #[must_use]
    pub fn is_deadlock(&self) -> bool {
        matches!(self, Self::Query(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code == "40P01"))
    }

    /// Whether the same call may succeed later: no connection, a busy file, a serialisation failure.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Unusable { .. } | Self::Corrupt(_) => false,
            Self::Query(error) => match error {
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => true,
                // SQLite: busy, locked, full. PostgreSQL: serialisation, deadlock, statement cancelled or idle for too long,
                // shutting down, too many connections.
                sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                    [
                        "5", "6", "13", "261", "517", "40001", "40P01", "57014", "25P03", "57P01", "57P02", "57P03",
                        "53300", "53100",
                    ]
                    .contains(&code.as_ref())
                }),
                _ => false,
            },
        }
    }
}

/// An address that may be shown.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    // A password may stand before the host or among the parameters.
    let place = rest.split('?').next().unwrap_or(rest);
    let host = place.rsplit_once('@').map_or(place, |(_, host)| host);
    format!("{scheme}://{host}")
}
