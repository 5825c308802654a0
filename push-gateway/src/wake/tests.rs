use std::collections::HashSet;

use tidings_shared::clock::Clock;
use tidings_shared::message_id::MessageId;
use tidings_shared::push_api::TargetState;
use tidings_shared::storage::testing::databases;

use super::*;
use crate::apps::Apps;
use crate::queue::lane::Lane;
use crate::testing::{DAY, FakeProvider, START, devices_of, register, registration, user};

mod session;

fn waker(database: &Database, clock: &Clock) -> Waker {
    let lane = Lane::new(Provider::Apns, "default", Arc::new(FakeProvider::default()));
    Waker {
        database: database.clone(),
        apps: Arc::new(Apps::of_lanes(vec![lane])),
        ids: Ids::new(clock.clone()),
        clock: clock.clone(),
        metrics: Arc::default(),
        ttl_ms: DAY,
    }
}

fn unacked(message: &str, stored_at_ms: i64) -> Vec<u8> {
    let message_id = MessageId::new(message).unwrap();
    let event = UserUnacked { user: user("1"), message_id, stored_at_ms, cursor: "1-1".to_owned() };
    serde_json::to_vec(&event).unwrap()
}

fn returned(client: &str, at_ms: i64) -> Vec<u8> {
    serde_json::to_vec(&DeviceReturned { user: user("1"), client: client.to_owned(), at_ms }).unwrap()
}

impl Waker {
    async fn sees_unacked(&self, message: &str, at_ms: i64) {
        self.handle(EVENT_UNACKED, &unacked(message, at_ms), None).await.unwrap();
    }

    async fn sees_return(&self, client: &str, at_ms: i64) {
        self.handle(EVENT_RETURNED, &returned(client, at_ms), None).await.unwrap();
    }
}

/// The states of all pushes, oldest first.
async fn pushes(database: &Database) -> Vec<TargetState> {
    let mut states = Vec::new();
    for id in crate::testing::notifications(database).await {
        let found = crate::queue::store::find(database, &id).await.unwrap().unwrap();
        states.extend(found.targets.into_iter().map(|target| target.state));
    }
    states
}

#[tokio::test]
async fn one_push_per_device_until_that_device_has_returned() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let waker = waker(&database, &clock);
        register(&database, &registration("1", "phone", "aa"), &clock).await;
        register(&database, &registration("1", "tablet", "bb"), &clock).await;
        waker.sees_unacked("m1", START).await;
        assert_eq!(pushes(&database).await.len(), 2);
        waker.sees_unacked("m2", START + 10).await;
        assert_eq!(pushes(&database).await.len(), 2, "both are still asleep");
        waker.sees_return("1-phone", START + 20).await;
        waker.sees_unacked("m3", START + 30).await;
        assert_eq!(pushes(&database).await.len(), 3, "only the phone had come back");
        let marks: Vec<_> = devices_of(&database, "1").await.iter().map(|device| device.wake_at).collect();
        assert_eq!(marks, [Some(START + 30), Some(START)]);
    }
}

#[tokio::test]
async fn an_event_that_comes_again_causes_nothing() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let waker = waker(&database, &clock);
        register(&database, &registration("1", "phone", "aa"), &clock).await;
        waker.sees_unacked("m1", START).await;
        waker.sees_unacked("m1", START).await;
        assert_eq!(pushes(&database).await.len(), 1);
        // Even after the device was back, and with a stamp that looks new.
        waker.sees_return("1-phone", START + 20).await;
        waker.handle(EVENT_UNACKED, &unacked("m1", START), Some(START + 90)).await.unwrap();
        assert_eq!(pushes(&database).await.len(), 1);
    }
}

#[tokio::test]
async fn an_event_from_before_the_return_causes_nothing() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let waker = waker(&database, &clock);
        register(&database, &registration("1", "phone", "aa"), &clock).await;
        waker.sees_return("1-phone", START + 20).await;
        waker.sees_unacked("m1", START + 10).await;
        assert_eq!(pushes(&database).await, []);
    }
}

#[tokio::test]
async fn a_device_that_left_again_without_the_message_is_woken() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let waker = waker(&database, &clock);
        register(&database, &registration("1", "phone", "aa"), &clock).await;
        waker.sees_return("1-phone", START + 20).await;
        // Stored before the return, but still unacknowledged when the broker said so.
        waker.handle(EVENT_UNACKED, &unacked("m1", START + 10), Some(START + 3_010)).await.unwrap();
        assert_eq!(pushes(&database).await.len(), 1);
    }
}

#[tokio::test]
async fn a_push_that_still_waits_is_not_sent_to_a_device_that_is_back() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let waker = waker(&database, &clock);
        register(&database, &registration("1", "phone", "aa"), &clock).await;
        waker.sees_unacked("m1", START).await;
        waker.sees_return("1-phone", START + 5).await;
        assert_eq!(pushes(&database).await, [TargetState::Expired]);
        assert_eq!(devices_of(&database, "1").await[0].wake_at, None);
    }
}

#[tokio::test]
async fn an_old_return_does_not_clear_a_newer_mark() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let waker = waker(&database, &clock);
        register(&database, &registration("1", "phone", "aa"), &clock).await;
        waker.sees_unacked("m1", START + 100).await;
        waker.sees_return("1-phone", START + 50).await;
        assert_eq!(devices_of(&database, "1").await[0].wake_at, Some(START + 100));
        assert_eq!(pushes(&database).await, [TargetState::Queued]);
        waker.sees_return("another-client", START + 200).await;
        assert_eq!(devices_of(&database, "1").await[0].wake_at, Some(START + 100));
    }
}

#[tokio::test]
async fn a_device_without_a_client_id_is_back_with_any_return_of_its_user() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let waker = waker(&database, &clock);
        let nameless = crate::devices::Registration { client: None, ..registration("1", "phone", "aa") };
        register(&database, &nameless, &clock).await;
        waker.sees_unacked("m1", START).await;
        waker.sees_return("whoever", START + 5).await;
        assert_eq!(devices_of(&database, "1").await[0].wake_at, None);
    }
}

#[tokio::test]
async fn events_that_meet_make_one_push() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let waker = waker(&database, &clock);
        register(&database, &registration("1", "phone", "aa"), &clock).await;
        let meet = (0..8).map(|number| {
            let waker = waker.clone();
            tokio::spawn(async move { waker.sees_unacked(&format!("m{number}"), START).await })
        });
        for event in meet.collect::<Vec<_>>() {
            event.await.unwrap();
        }
        assert_eq!(pushes(&database).await.len(), 1);
    }
}

#[tokio::test]
async fn a_wake_push_that_never_reached_the_phone_leaves_no_mark() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let waker = waker(&database, &clock);
        register(&database, &registration("1", "phone", "aa"), &clock).await;
        waker.sees_unacked("m1", START).await;
        crate::queue::store::upkeep::clean(&database, &HashSet::new(), START + DAY, 7 * DAY).await.unwrap();
        assert_eq!(pushes(&database).await, [TargetState::Expired]);
        clock.advance(DAY);
        waker.sees_unacked("m2", START + DAY).await;
        assert_eq!(pushes(&database).await, [TargetState::Expired, TargetState::Queued]);
    }
}

#[tokio::test]
async fn what_is_not_understood_is_left_out_and_users_without_devices_cost_nothing() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let waker = waker(&database, &clock);
        waker.handle(EVENT_UNACKED, b"{", None).await.unwrap();
        waker.handle(EVENT_RETURNED, b"[]", None).await.unwrap();
        waker.handle("$tidings/events/new", b"{}", None).await.unwrap();
        waker.sees_unacked("m1", START).await;
        waker.sees_return("1-phone", START).await;
        assert_eq!(pushes(&database).await, []);
    }
}

/// A step of a user's life, in the order in which the broker tells it.
#[derive(Clone, Debug)]
enum Step {
    Unacked,
    Returned(usize),
    /// The broker tells an earlier event again.
    Again(usize),
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    use proptest::prelude::*;

    let step = prop_oneof![
        3 => Just(Step::Unacked),
        2 => (0..2_usize).prop_map(Step::Returned),
        3 => (0..20_usize).prop_map(Step::Again),
    ];
    prop::collection::vec(step, 1..25)
}

/// Whatever comes again and whoever returns: each sleep of each device has exactly one push.
#[test]
fn a_sleep_has_exactly_one_push() {
    use proptest::test_runner::{Config, TestRunner};

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let database = runtime.block_on(databases()).remove(0);
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let owner = std::cell::Cell::new(0);
    let outcome = runner.run(&steps(), |steps| {
        owner.set(owner.get() + 1);
        let owner = format!("user{}", owner.get());
        let expected = runtime.block_on(live(&database, &owner, &steps));
        let found = runtime.block_on(async {
            let mut counts = Vec::new();
            for device in devices_of(&database, &owner).await {
                counts.push(crate::testing::pushes_to(&database, &device.id).await);
            }
            counts
        });
        proptest::prop_assert_eq!(found, expected);
        Ok(())
    });
    outcome.unwrap();
}

/// Plays the steps and says how many pushes each of the two devices must have had.
async fn live(database: &Database, owner: &str, steps: &[Step]) -> Vec<i64> {
    let clock = Clock::manual(START);
    let waker = waker(database, &clock);
    for device in ["0", "1"] {
        register(database, &registration(owner, device, &format!("{owner}{device}")), &clock).await;
    }
    let (mut asleep, mut pushes) = ([false; 2], vec![0; 2]);
    let mut told: Vec<(&str, Vec<u8>, i64)> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let at = START + i64::try_from(number).unwrap() * 10;
        let event = match step {
            Step::Unacked => {
                for device in 0..2 {
                    pushes[device] += i64::from(!asleep[device]);
                    asleep[device] = true;
                }
                let message_id = MessageId::new(&format!("{owner}-{number}")).unwrap();
                let event =
                    UserUnacked { user: user(owner), message_id, stored_at_ms: at - 5, cursor: "1-1".to_owned() };
                (EVENT_UNACKED, serde_json::to_vec(&event).unwrap(), at)
            }
            Step::Returned(device) => {
                asleep[*device] = false;
                let event = DeviceReturned { user: user(owner), client: format!("{owner}-{device}"), at_ms: at };
                (EVENT_RETURNED, serde_json::to_vec(&event).unwrap(), at)
            }
            Step::Again(which) => match told.get(which % told.len().max(1)) {
                Some(event) => event.clone(),
                None => continue,
            },
        };
        waker.handle(event.0, &event.1, Some(event.2)).await.unwrap();
        told.push(event);
    }
    pushes
}
