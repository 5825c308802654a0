//! Relational data: SQLite by default, PostgreSQL in production, one SQL text per query for both.
//!
//! Conventions: `$1` placeholders; booleans are integers (0 or 1); times are BIGINT milliseconds since 1970 (UTC);
//! identities are texts. What differs between the two databases stands in [`Dialect`] and in `migrations/`.

mod dialect;
mod error;
pub mod rows;
pub mod testing;
mod turn;

use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::Migrator;
use sqlx::{Any, AnyConnection, AnyPool, Connection, Executor, Transaction};

pub use dialect::Dialect;
pub use error::StorageError;
pub use turn::Turn;

use crate::health::Dependency;
use crate::lifecycle::Shutdown;

static SQLITE_STEPS: Migrator = sqlx::migrate!("../migrations/sqlite");
static POSTGRES_STEPS: Migrator = sqlx::migrate!("../migrations/postgres");

/// How long a query waits for a connection or, on SQLite, for another writer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A machine that is gone, or stands still, keeps its locks no longer than this: its connection may look open for hours.
const IDLE: &str = "SET idle_in_transaction_session_timeout = '15s'";

/// A migrated database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    pool: AnyPool,
    dialect: Dialect,
    turn: Turn,
}

impl Database {
    /// Connects to `sqlite://FILE` (made when missing, its folder too) or `postgres://…` and applies the migrations.
    ///
    /// # Errors
    /// [`StorageError::Unreachable`] and [`StorageError::Unusable`] name the address without its password and say why.
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self, StorageError> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::of_url(url)?;
        let shown = error::without_password(url);
        let fault = |problem: String| match dialect {
            Dialect::Postgres => StorageError::Unreachable { url: shown.clone(), problem },
            // A file does not come by itself. One that another process has locked does.
            Dialect::Sqlite if problem.contains("locked") => StorageError::Unreachable { url: shown.clone(), problem },
            Dialect::Sqlite => StorageError::Unusable {
                url: shown.clone(),
                problem: format!("{problem}; name a file in a folder that the user of this process may write to"),
            },
        };
        let options: AnyConnectOptions =
            prepare(url, dialect).map_err(&fault)?.parse().map_err(|e: sqlx::Error| fault(e.to_string()))?;
        let pool = AnyPoolOptions::new()
            .max_connections(max_connections.max(1))
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if dialect == Dialect::Postgres {
                        connection.execute(IDLE).await?;
                    } else {
                        // WAL with FULL: a commit is on the disk before it is acknowledged.
                        connection
                            .execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000; PRAGMA foreign_keys = ON;")
                            .await?;
                    }
                    Ok(())
                })
            })
            ;
        // One direct connection first: its error says what is wrong at once, where the pool would retry until its
        // patience ends and then say only that time ran out.
        match tokio::time::timeout(PATIENCE, AnyConnection::connect_with(&options)).await {
            Ok(Ok(connection)) => connection.close().await.map_err(|error| fault(error.to_string()))?,
            Ok(Err(error)) => return Err(fault(error.to_string())),
            Err(_) => return Err(fault(format!("no answer within {PATIENCE:?}"))),
        }
        let pool = pool.connect_lazy_with(options);
        let steps = match dialect {
            Dialect::Sqlite => &SQLITE_STEPS,
            Dialect::Postgres => &POSTGRES_STEPS,
        };
        steps.run(&pool).await.map_err(|error| fault(format!("the migrations failed: {error}")))?;
        Ok(Self { pool, dialect, turn: Turn::of(dialect) })
    }

    /// Connects, trying again with a growing pause until it succeeds or the shutdown begins (`None`). `health` says
    /// meanwhile what is missing.
    ///
    /// # Errors
    /// [`StorageError::Unusable`]: waiting would not help.
    pub async fn connect_patiently(
        url: &str,
        max_connections: u32,
        health: &Dependency,
        shutdown: &Shutdown,
    ) -> Result<Option<Self>, StorageError> {
        let mut pause = Duration::from_millis(250);
        loop {
            let attempt = tokio::select! {
                () = shutdown.wait() => return Ok(None),
                attempt = Self::connect(url, max_connections) => attempt,
            };
            match attempt {
                Ok(database) => {
                    health.ready();
                    return Ok(Some(database));
                }
                Err(error @ StorageError::Unusable { .. }) => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "waiting for the database; trying again in {pause:?}");
                    health.missing(error.to_string());
                }
            }
            tokio::select! {
                () = shutdown.wait() => return Ok(None),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(10));
        }
    }

    /// The pool, for single statements.
    #[must_use]
    pub fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Which database this is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Turns at writing, for those who write much: whoever has one finds no other that has one writing.
    #[must_use]
    pub fn turn(&self) -> &Turn {
        &self.turn
    }

    /// A transaction that may write: on SQLite it takes the write lock at once, so that it never fails halfway
    /// because another writer came first.
    ///
    /// # Errors
    /// When no connection is to be had.
    pub async fn begin(&self) -> Result<Transaction<'static, Any>, StorageError> {
        Ok(match self.dialect {
            Dialect::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await?,
            Dialect::Postgres => self.pool.begin().await?,
        })
    }

    /// Whether the database answers; for health checks.
    ///
    /// # Errors
    /// What it said.
    pub async fn ping(&self) -> Result<(), StorageError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Closes every connection; on SQLite this folds the write-ahead log back into the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Makes the folder of an SQLite file and asks for the file to be made.
fn prepare(url: &str, dialect: Dialect) -> Result<String, String> {
    let Some(file) = url.strip_prefix("sqlite://").filter(|_| dialect == Dialect::Sqlite) else {
        return Ok(url.to_owned());
    };
    let path = file.split('?').next().unwrap_or(file);
    if let Some(folder) = std::path::Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("the folder {} cannot be made: {error}", folder.display()))?;
    }
    Ok(if file.contains('?') { url.to_owned() } else { format!("{url}?mode=rwc") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_that_is_away_is_told_without_its_password() {
        let error =
            Database::connect("postgres://tidings:hunter2@127.0.0.1:1/tidings", 1).await.unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:1") && !error.contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn what_waiting_does_not_mend_is_told_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let below = format!("sqlite://{}/tidings.db", file.path().display());
        let other = "https://db/tidings";
        for (url, part) in [(below.as_str(), "may write"), (other, "begins with sqlite:// or postgres://")] {
            let health = crate::health::Health::default().register("database");
            let shutdown = Shutdown::new();
            let waiting = Database::connect_patiently(url, 1, &health, &shutdown);
            let error = tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[tokio::test]
    async fn a_transaction_that_stands_still_ends() {
        for database in testing::databases().await {
            if database.dialect() == Dialect::Postgres {
                let row = sqlx::query("SELECT current_setting('idle_in_transaction_session_timeout') AS most")
                    .fetch_one(database.pool());
                let most: String = sqlx::Row::try_get(&row.await.unwrap(), "most").unwrap();
                assert_eq!(most, "15s");
            }
        }
    }

    #[tokio::test]
    async fn a_transaction_is_whole_or_not_at_all_and_queries_are_the_same_text() {
        for database in testing::databases().await {
            let mut first = database.begin().await.unwrap();
            sqlx::query("CREATE TABLE probe (id BIGINT PRIMARY KEY, name TEXT NOT NULL)")
                .execute(&mut *first)
                .await
                .unwrap();
            first.commit().await.unwrap();
            let mut second = database.begin().await.unwrap();
            sqlx::query("INSERT INTO probe (id, name) VALUES ($1, $2)")
                .bind(7_i64)
                .bind("x")
                .execute(&mut *second)
                .await
                .unwrap();
            drop(second);
            let rows = sqlx::query("SELECT id FROM probe").fetch_all(database.pool()).await.unwrap();
            assert!(rows.is_empty(), "a dropped transaction leaves nothing");
            for expected in [true, false] {
                let insert = sqlx::query("INSERT INTO probe (id, name) VALUES ($1, $2)")
                    .bind(8_i64)
                    .bind("y")
                    .execute(database.pool())
                    .await;
                assert_eq!(insert.is_ok(), expected);
                if let Err(error) = insert {
                    assert!(StorageError::from(error).is_unique_violation());
                }
            }
        }
    }
}
