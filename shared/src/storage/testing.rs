//! Fresh databases for tests: storage tests run on SQLite and on PostgreSQL.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "only tests call this; a test that cannot have its database must fail"
)]

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection, Executor};

use super::Database;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A fresh SQLite database, and a fresh PostgreSQL database where `TIDINGS_TEST_POSTGRES` names a server on which
/// databases may be created. Under `TIDINGS_TEST_STRICT=1` a missing server is a failure, so that CI never skips it.
///
/// # Panics
/// When a database cannot be made.
pub async fn databases() -> Vec<Database> {
    let mut databases = Vec::new();
    for url in urls().await {
        databases.push(Database::connect(&url, 8).await.unwrap_or_else(|error| panic!("{error}")));
    }
    databases
}

/// The addresses of such fresh databases, for tests that start services.
///
/// # Panics
/// When a database cannot be made.
pub async fn urls() -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder for the test's database").keep();
    let mut urls = vec![format!("sqlite://{}", folder.join("test.db").display())];
    match std::env::var("TIDINGS_TEST_POSTGRES") {
        Ok(server) => urls.push(create_postgres(&server).await),
        Err(_) if std::env::var("TIDINGS_TEST_STRICT").as_deref() == Ok("1") => {
            panic!("TIDINGS_TEST_POSTGRES is not set; run the tests with `cargo xtask test`, which starts PostgreSQL")
        }
        Err(_) => {}
    }
    urls
}

/// Makes a database on the server with this address; its address.
///
/// # Panics
/// When it cannot be made.
pub async fn create_postgres(server: &str) -> String {
    sqlx::any::install_default_drivers();
    let name = format!("tidings_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut connection =
        sqlx::AnyConnection::connect(server).await.unwrap_or_else(|error| panic!("TIDINGS_TEST_POSTGRES: {error}"));
    let drop = sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name}"));
    connection.execute(sqlx::query(drop)).await.expect("dropping an old test database");
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    connection.execute(sqlx::query(create)).await.expect("creating a test database");
    let (base, query) = server.split_once('?').map_or((server, ""), |(base, query)| (base, query));
    let (base, _) = base.rsplit_once('/').expect("TIDINGS_TEST_POSTGRES ends in /DATABASE");
    if query.is_empty() { format!("{base}/{name}") } else { format!("{base}/{name}?{query}") }
}
