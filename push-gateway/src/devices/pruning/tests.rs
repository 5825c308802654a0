use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tidings_shared::events::DeviceReturned;
use tidings_shared::storage::testing::databases;

use super::*;
use crate::testing::{DAY, START, devices_of, register, registration, user};
use crate::wake;

async fn names(database: &Database) -> Vec<String> {
    devices_of(database, "1").await.into_iter().map(|device| device.registration.device).collect()
}

#[tokio::test]
async fn a_device_that_nobody_has_heard_of_for_long_is_forgotten() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let forget = |days: u64| PruningSettings {
            quarantine: Duration::from_secs(1),
            unseen: Some(Duration::from_secs(days * 86_400)).filter(|time| !time.is_zero()),
        };
        for device in ["confirmed", "returned", "silent"] {
            register(&database, &registration("1", device, device), &clock).await;
        }
        clock.advance(60 * DAY);
        register(&database, &registration("1", "confirmed", "confirmed"), &clock).await;
        let event = DeviceReturned { user: user("1"), client: "1-returned".to_owned(), at_ms: clock.now_ms() };
        wake::store::returned(&database, &event, clock.now_ms()).await.unwrap();

        // Unless it is asked for, and to the very end of the time, nobody is forgotten.
        clock.advance(30 * DAY);
        prune(&database, &metrics, clock.now_ms(), forget(0)).await.unwrap();
        prune(&database, &metrics, clock.now_ms(), forget(90)).await.unwrap();
        assert_eq!(names(&database).await, ["confirmed", "returned", "silent"]);
        clock.advance(1);
        prune(&database, &metrics, clock.now_ms(), forget(90)).await.unwrap();
        assert_eq!(names(&database).await, ["confirmed", "returned"]);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("devices_forgotten_total{reason=\"unseen\"} 1"), "{text}");
        // Both were heard of on the same day.
        clock.advance(60 * DAY);
        prune(&database, &metrics, clock.now_ms(), forget(90)).await.unwrap();
        assert_eq!(names(&database).await, Vec::<String>::new());
    }
}
