use tidings_shared::clock::Clock;
use tidings_shared::storage::Dialect;
use tidings_shared::storage::testing::databases;

use super::*;
use crate::testing::{START, enqueue, register, registration, user};

/// How the database goes about a statement of three parameters.
async fn plan(database: &Database, sql: &str, values: [&str; 3]) -> String {
    let explain = match database.dialect() {
        Dialect::Sqlite => "EXPLAIN QUERY PLAN",
        Dialect::Postgres => "EXPLAIN (COSTS OFF)",
    };
    let mut sql = format!("{explain} {sql}");
    for (number, value) in (1..).zip(values) {
        sql = sql.replace(&format!("${number}"), value);
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(database.pool()).await.unwrap();
    let column = if database.dialect() == Dialect::Sqlite { "detail" } else { "QUERY PLAN" };
    rows.iter().map(|row| row.try_get::<String, _>(column).unwrap() + "\n").collect()
}

/// A notification with so many targets that it matters, of which one is the device's.
async fn campaign(database: &Database, clock: &Clock) -> (String, String) {
    let device = register(database, &registration("anna", "phone", "aa"), clock).await;
    register(database, &registration("ben", "phone", "bb"), clock).await;
    let (notification, target) = enqueue(database, &device, clock).await;
    let mut transaction = database.begin().await.unwrap();
    sqlx::query(
        "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 5000) \
         INSERT INTO push_targets (id, notification_id, position, lane, provider, app, device_id, device, environment, state, \
         created_at, updated_at, expires_at) \
         SELECT 'other-' || x, $1, x, 'apns:default', 'apns', 'default', 'device-' || x, 'phone', 'production', 'accepted', \
         created_at, created_at, expires_at FROM n JOIN push_targets ON id = $2",
    )
    .bind(notification.as_str())
    .bind(target.as_str())
    .execute(&mut *transaction)
    .await
    .unwrap();
    transaction.commit().await.unwrap();
    if database.dialect() == Dialect::Postgres {
        sqlx::query("ANALYZE push_targets").execute(database.pool()).await.unwrap();
    }
    (notification, target)
}

#[tokio::test]
async fn neither_a_receipt_nor_a_page_looks_at_the_whole_campaign() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let (notification, target) = campaign(&database, &clock).await;
        let anna = user("anna");
        let report = Report {
            about: About::Notification { id: &notification, device: None },
            user: Some(&anna),
            event: ReceiptEvent::Opened,
            at_ms: START,
            now_ms: START,
        };
        let quoted = format!("'{notification}'");
        let receipt = plan(&database, &statement(report), [&quoted, "''", "'anna'"]).await;
        assert!(receipt.contains("push_targets_recipient"), "{receipt}");
        let page = plan(&database, PAGE_OF_TIMES, [&quoted, "'other-4'", "10"]).await;
        assert!(page.contains("push_targets_notification"), "{page}");
        for plan in [&receipt, &page] {
            assert!(!plan.contains("SCAN") && !plan.contains("Seq Scan on push_targets"), "{plan}");
            assert!(!plan.contains("Sort") && !plan.contains("TEMP B-TREE"), "{plan}");
        }
        // And what they find is right.
        for (new, event) in [(1, ReceiptEvent::Opened), (0, ReceiptEvent::Opened), (1, ReceiptEvent::Dismissed)] {
            let recorded = record(&database, Report { event, ..report }, false).await.unwrap();
            assert_eq!((recorded.found, recorded.new), (1, new));
        }
        let ben = user("ben");
        let about_one = Report { about: About::Target(&target), ..report };
        for (about, found) in [(about_one, 1), (Report { user: Some(&ben), ..about_one }, 0)] {
            assert_eq!(record(&database, about, false).await.unwrap().found, found);
        }
        assert_eq!(record(&database, Report { user: Some(&ben), ..report }, false).await.unwrap().found, 0);
        let other_name = About::Notification { id: &notification, device: Some("tablet") };
        assert_eq!(record(&database, Report { about: other_name, ..report }, false).await.unwrap().found, 0);
        let mut seen: Vec<String> = Vec::new();
        loop {
            let after = seen.last().cloned().unwrap_or_default();
            let page = times(&database, &notification, &after, 1000).await.unwrap();
            if page.is_empty() {
                break;
            }
            assert!(seen.len() <= 5001, "the pages go on");
            seen.extend(page.into_iter().map(|times| times.id));
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 5001);
    }
}

#[tokio::test]
async fn what_nobody_knows_waits_for_no_writer() {
    for database in databases().await {
        let nobody = Report {
            about: About::Target("nobody"),
            user: None,
            event: ReceiptEvent::Opened,
            at_ms: START,
            now_ms: START,
        };
        let writer = database.begin().await.unwrap();
        let bound = std::time::Duration::from_secs(4);
        let recorded = tokio::time::timeout(bound, record(&database, nobody, true)).await.unwrap().unwrap();
        assert_eq!(recorded, Recorded { found: 0, new: 0, seq: None });
        drop(writer);
    }
}
