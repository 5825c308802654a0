use tidings_shared::storage::testing::databases;

use super::*;
use crate::testing::{DAY, START};

fn opened(target: usize) -> NewEvent {
    NewEvent {
        kind: kind_of_receipt(ReceiptEvent::Opened),
        outcome: Outcome {
            notification: "n".to_owned(),
            target: target.to_string(),
            device: None,
            provider: tidings_shared::push_api::Provider::Apns,
            app: "default".to_owned(),
            state: None,
            receipt: Some(ReceiptEvent::Opened),
            at_ms: START,
            provider_status: None,
            reason: None,
            provider_id: None,
            token_gone: false,
        },
    }
}

#[tokio::test]
async fn whoever_has_seen_a_number_has_seen_all_before_it() {
    for database in databases().await {
        let writers = (0..8).map(|writer| {
            let database = database.clone();
            tokio::spawn(async move {
                for round in 0..5 {
                    let events: Vec<_> = (0..3).map(|event| opened(writer * 100 + round * 10 + event)).collect();
                    let mut transaction = database.begin().await.unwrap();
                    store::write(&mut transaction, &events, START).await.unwrap();
                    transaction.commit().await.unwrap();
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        let mut seen = 0;
        while seen < 120 {
            for event in store::after(&database, seen, 50).await.unwrap() {
                assert_eq!(event.seq, seen + 1, "a number was seen before the one in front of it");
                seen = event.seq;
            }
        }
        for writer in writers {
            writer.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_time_in_which_nobody_wanted_events_stands_in_the_sequence() {
    for database in databases().await {
        assert_eq!(store::want_until(&database, START + DAY, START).await.unwrap(), 0);
        assert!(store::clock(&database, START).await.unwrap().1);
        let mut transaction = database.begin().await.unwrap();
        store::write(&mut transaction, &[opened(1)], START).await.unwrap();
        transaction.commit().await.unwrap();
        // Again in time: nothing was missed.
        assert_eq!(store::want_until(&database, START + DAY + 5, START + 5).await.unwrap(), 1);
        let late = START + 3 * DAY;
        assert!(!store::clock(&database, late).await.unwrap().1);
        assert_eq!(store::want_until(&database, late + DAY, late).await.unwrap(), 2);
        let events = store::after(&database, 1, 10).await.unwrap();
        assert_eq!((events.len(), events[0].kind.as_str()), (1, MISSED));
        store::forget(&database, late).await.unwrap();
        assert_eq!(store::first(&database).await.unwrap(), Some(2));
    }
}
