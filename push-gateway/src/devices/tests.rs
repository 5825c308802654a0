use tidings_shared::clock::Clock;
use tidings_shared::push_api::Provider;
use tidings_shared::storage::testing::databases;

use super::store::{self, Outcome};
use super::*;
use crate::testing::{START, devices_of, register, registration, user};

#[test]
fn tokens_that_cannot_be_real_are_refused() {
    let hex = "a1".repeat(32);
    assert_eq!(check_token(Provider::Apns, &hex), Ok(()));
    assert_eq!(check_token(Provider::Apns, &"a".repeat(256)), Ok(()));
    for wrong in [
        "",
        "abcd",
        "not-hexadecimal-not-hexadecimal-not-hex",
        &"a".repeat(257),
        "3F2504E0-4F89-11D3-9A0C-0305E82C3301",
    ] {
        assert!(check_token(Provider::Apns, wrong).is_err(), "{wrong}");
    }
    assert_eq!(check_token(Provider::Fcm, "dGVzdA:APA91b_-"), Ok(()));
    assert_eq!(check_token(Provider::Fcm, "fid:cFq2_-"), Ok(()));
    // A device is never a topic: its wake-ups would reach everybody.
    for wrong in ["", "a b", "é", &"x".repeat(4097), "topic:news", "condition:'a'", "a/b"] {
        assert!(check_token(Provider::Fcm, wrong).is_err(), "{wrong}");
    }
}

#[test]
fn names_have_bounds() {
    assert_eq!(check_device("Anna's phone"), Ok(()));
    for wrong in ["", "a\nb", &"x".repeat(129)] {
        assert!(check_device(wrong).is_err());
    }
    assert!(check_client("").is_err());
}

#[tokio::test]
async fn the_same_token_again_confirms_the_registration() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let first = register(&database, &registration("1", "phone", "aa"), &clock).await;
        clock.advance(1000);
        let again = register(&database, &registration("1", "phone", "aa"), &clock).await;
        assert_eq!(again.id, first.id);
        assert_eq!((again.generation, again.registered_at), (first.generation, START + 1000));
    }
}

#[tokio::test]
async fn a_rotated_token_replaces_the_old_one() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let first = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let rotated = register(&database, &registration("1", "phone", "bb"), &clock).await;
        assert_eq!((rotated.id, rotated.generation), (first.id, 2));
        let devices = devices_of(&database, "1").await;
        assert_eq!(devices.len(), 1);
        assert_eq!(devices[0].registration.token, "bb");
        assert_eq!(devices[0].generation, 2);
    }
}

#[tokio::test]
async fn a_token_that_moves_to_another_user_leaves_the_first() {
    for database in databases().await {
        let clock = Clock::manual(START);
        register(&database, &registration("1", "phone", "aa"), &clock).await;
        register(&database, &registration("2", "phone", "aa"), &clock).await;
        assert_eq!(devices_of(&database, "1").await, []);
        assert_eq!(devices_of(&database, "2").await.len(), 1);
        // The same token of another app or provider is another token.
        let other = Registration { provider: Provider::Fcm, ..registration("3", "phone", "aa") };
        register(&database, &other, &clock).await;
        assert_eq!(devices_of(&database, "2").await.len(), 1);
    }
}

#[tokio::test]
async fn a_device_takes_over_the_token_of_another_device() {
    for database in databases().await {
        let clock = Clock::manual(START);
        register(&database, &registration("1", "old", "aa"), &clock).await;
        register(&database, &registration("1", "new", "bb"), &clock).await;
        register(&database, &registration("1", "new", "aa"), &clock).await;
        let devices = devices_of(&database, "1").await;
        assert_eq!(devices.len(), 1);
        assert_eq!((devices[0].registration.device.as_str(), devices[0].registration.token.as_str()), ("new", "aa"));
    }
}

#[tokio::test]
async fn a_user_has_no_more_devices_than_allowed_and_only_its_own() {
    for database in databases().await {
        let add = async |name: &str| {
            store::register(&database, &registration("1", name, name), &format!("id-{name}"), 2, START).await.unwrap()
        };
        assert!(matches!(add("a1").await, Outcome::Created(_)));
        assert!(matches!(add("a2").await, Outcome::Created(_)));
        assert_eq!(add("a3").await, Outcome::TooMany);
        assert!(matches!(add("a2").await, Outcome::Updated(_)));
        assert!(!store::remove(&database, &user("2"), "a1").await.unwrap());
        assert!(store::remove(&database, &user("1"), "a1").await.unwrap());
        assert!(!store::remove(&database, &user("1"), "a1").await.unwrap());
        assert!(matches!(add("a3").await, Outcome::Created(_)));
    }
}

#[tokio::test]
async fn first_registrations_that_meet_end_as_one() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let meet = (0..8).map(|_| {
            let (database, clock) = (database.clone(), clock.clone());
            tokio::spawn(async move { register(&database, &registration("1", "phone", "aa"), &clock).await })
        });
        for registered in meet.collect::<Vec<_>>() {
            registered.await.unwrap();
        }
        assert_eq!(devices_of(&database, "1").await.len(), 1);
    }
}
