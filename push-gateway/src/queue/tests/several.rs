//! Several gateways on one database: every push is sent once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Row;
use tidings_shared::clock::Clock;
use tidings_shared::push_api::Push;
use tidings_shared::storage::Database;
use tidings_shared::storage::testing::urls;

use super::lanes::{settings, start_with};
use crate::ids::Ids;
use crate::queue::intake::Intake;
use crate::queue::lane::LaneSettings;
use crate::queue::store::Submission;
use crate::queue::{NewNotification, NewTarget};
use crate::testing::{DAY, FakeProvider, eventually, token_target};

const PUSHES: usize = 2_000;

/// As two processes have them: pools, lanes, intakes and recorders of their own, on one database. On SQLite too, where
/// two processes on one file are slow, and safe.
#[tokio::test]
async fn two_gateways_on_one_database_send_everything_once() {
    for url in urls().await {
        let clock = Clock::system();
        let (one, other) = (Database::connect(&url, 4).await.unwrap(), Database::connect(&url, 4).await.unwrap());
        let provider = FakeProvider::default();
        // Long enough that no lease ends on a slow machine.
        let settings =
            LaneSettings { concurrency: 50, lease: Duration::from_secs(120), ..settings(Duration::from_secs(60)) };
        let lanes = [&one, &other].map(|database| start_with(database, Arc::new(provider.clone()), settings));
        let intakes = [&one, &other].map(|database| Intake::start(database, &clock));
        let mut storing = tokio::task::JoinSet::new();
        for portion in 0..PUSHES / 100 {
            let (intake, _) = &intakes[portion % 2];
            let (intake, clock, wake) = (intake.clone(), clock.clone(), Arc::clone(&lanes[portion % 2].lane.wake));
            storing.spawn(async move {
                let ids = Ids::new(clock.clone());
                let submissions = (0..100).map(|number| {
                    let now = clock.now_ms();
                    let notification = NewNotification {
                        id: ids.next(),
                        push: Arc::new(Push::Wake {}),
                        collapse_id: None,
                        created_at: now,
                        expires_at: now + DAY,
                        priority: tidings_shared::push_api::Priority::Normal,
                        localized: None,
                    };
                    let target = NewTarget::of_token(ids.next(), &token_target(&format!("{portion}-{number}")));
                    Submission {
                        notification,
                        targets: vec![target],
                        dedup_until: 0,
                        idempotency: None,
                        expansion: None,
                    }
                });
                assert_eq!(intake.submit(submissions.collect()).await.unwrap().len(), 100);
                wake.notify_one();
            });
        }
        storing.join_all().await;
        let left = async || {
            let sql = "SELECT COUNT(*) AS left_over FROM push_targets WHERE due_at IS NOT NULL";
            let row = sqlx::query(sql).fetch_one(one.pool()).await.unwrap();
            (row.get::<i64, _>("left_over") == 0).then_some(())
        };
        eventually(async || eventually(left).await).await.unwrap();
        let sent = provider.sent();
        let once: HashSet<&str> = sent.iter().map(|message| message.id.as_str()).collect();
        assert_eq!((sent.len(), once.len()), (PUSHES, PUSHES));
        for lane in lanes {
            lane.stop().await;
        }
    }
}
