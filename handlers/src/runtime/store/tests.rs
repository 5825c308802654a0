//! The marks of handled messages and the dead letters, on both databases.

use tidings_shared::message_id::MessageId;
use tidings_shared::storage::{Database, testing};

use super::dead_letters::{self, DeadLetter, Filter, State};
use super::processed::{self, Processed};
use crate::runtime::message::Message;
use crate::runtime::publisher::Outgoing;

fn id(text: &str) -> MessageId {
    MessageId::new(text).unwrap()
}

async fn mark(database: &Database, message: &str, at_ms: i64, outbox: &[Outgoing]) -> bool {
    let mut transaction = database.begin().await.unwrap();
    let mine = processed::claim(&mut transaction, "g", &id(message), at_ms).await.unwrap();
    processed::keep_outbox(&mut transaction, "g", &id(message), outbox).await.unwrap();
    transaction.commit().await.unwrap();
    mine
}

fn letter(message: &str, topic: &str, at_ms: i64) -> DeadLetter {
    DeadLetter {
        message_id: id(message),
        group: "g".to_owned(),
        message: Message::new(topic, vec![0, 159, 10]).with_id(&id(message)),
        error: "why".to_owned(),
        attempts: 3,
        first_attempt_at_ms: at_ms - 5,
        died_at_ms: at_ms,
        replays: 0,
        state: State::Dead,
    }
}

async fn bury(database: &Database, letter: &DeadLetter) {
    let mut transaction = database.begin().await.unwrap();
    dead_letters::bury(&mut transaction, letter).await.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_message_is_claimed_once_for_each_group_and_not_by_a_transaction_that_failed() {
    for database in testing::databases().await {
        let mut failed = database.begin().await.unwrap();
        assert!(processed::claim(&mut failed, "g", &id("m"), 1).await.unwrap());
        drop(failed);
        assert_eq!(processed::lookup(&database, "g", &id("m")).await.unwrap(), None);
        let message = Outgoing::new("1_a", "x").unwrap();
        assert!(mark(&database, "m", 1, std::slice::from_ref(&message)).await);
        assert_eq!(
            processed::lookup(&database, "g", &id("m")).await.unwrap(),
            Some(Processed::ToPublish(vec![message]))
        );
        assert_eq!(processed::lookup(&database, "other", &id("m")).await.unwrap(), None);
        processed::published(&database, "g", &[id("m")]).await.unwrap();
        assert_eq!(processed::lookup(&database, "g", &id("m")).await.unwrap(), Some(Processed::Done));
        let mut again = database.begin().await.unwrap();
        assert!(!processed::claim(&mut again, "g", &id("m"), 2).await.unwrap());
    }
}

#[tokio::test]
async fn any_number_of_messages_is_marked_as_published_at_once() {
    for database in testing::databases().await {
        let outbox = [Outgoing::new("1_a", "x").unwrap()];
        for number in 0..8 {
            mark(&database, &format!("m{number}"), 1, &outbox).await;
        }
        let mut left = 8;
        for ids in [vec![], vec![0], vec![1, 2, 3], vec![4, 5, 6, 7]] {
            let ids: Vec<_> = ids.iter().map(|number| id(&format!("m{number}"))).collect();
            left -= ids.len();
            processed::published(&database, "g", &ids).await.unwrap();
            assert_eq!(processed::waiting(&database, "g", 9, 10).await.unwrap().len(), left);
        }
    }
}

#[tokio::test]
async fn what_is_old_is_forgotten_but_never_what_waits_to_be_published() {
    for database in testing::databases().await {
        let message = [Outgoing::new("1_a", "x").unwrap()];
        mark(&database, "waits", 10, &message).await;
        for (name, at) in [("old", 10), ("new", 30)] {
            mark(&database, name, at, &message).await;
            processed::published(&database, "g", &[id(name)]).await.unwrap();
        }
        assert_eq!(processed::forget(&database, "g", 20).await.unwrap(), 1);
        assert_eq!(processed::lookup(&database, "g", &id("old")).await.unwrap(), None);
        assert_eq!(processed::lookup(&database, "g", &id("new")).await.unwrap(), Some(Processed::Done));
        let waiting = processed::waiting(&database, "g", 20, 10).await.unwrap();
        assert_eq!(waiting, [("waits".to_owned(), message.to_vec())]);
        assert!(processed::waiting(&database, "g", 10, 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn dead_letters_are_listed_newest_first_page_by_page() {
    for database in testing::databases().await {
        for (number, topic) in ["a", "b", "a"].iter().enumerate() {
            bury(&database, &letter(&format!("m{number}"), topic, 100 + i64::try_from(number).unwrap())).await;
        }
        let names = async |filter: Filter| -> Vec<String> {
            let letters = dead_letters::list(&database, &filter).await.unwrap();
            letters.iter().map(|letter| letter.message_id.to_string()).collect()
        };
        assert_eq!(names(Filter::default()).await, ["m2", "m1", "m0"]);
        assert_eq!(names(Filter { topic: Some("a".to_owned()), ..Filter::default() }).await, ["m2", "m0"]);
        assert_eq!(names(Filter { before_ms: Some(102), limit: 1, ..Filter::default() }).await, ["m1"]);
        assert_eq!(dead_letters::get(&database, &id("m1")).await.unwrap(), Some(letter("m1", "b", 101)));
        assert_eq!(dead_letters::get(&database, &id("m9")).await.unwrap(), None);
        assert_eq!(dead_letters::forget(&database, "g", 102).await.unwrap(), 2);
        assert_eq!(dead_letters::count(&database).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_replay_is_taken_up_by_one_instance_and_again_when_that_is_gone() {
    for database in testing::databases().await {
        bury(&database, &letter("m", "a", 100)).await;
        let take = async |abandoned_before: i64, now: i64| {
            dead_letters::take_replay(&database, "g", abandoned_before, now).await.unwrap()
        };
        assert_eq!(take(0, 200).await, None, "nobody has asked");
        assert!(dead_letters::replay(&database, &id("m"), 200).await.unwrap());
        let (first, second) = tokio::join!(take(0, 201), take(0, 201));
        let taken: Vec<_> = first.into_iter().chain(second).collect();
        assert_eq!(taken.len(), 1);
        assert_eq!((taken[0].replays, taken[0].state), (1, State::Replaying));
        assert_eq!(take(201, 300).await, None, "it is under way");
        let again = take(202, 300).await.unwrap();
        assert_eq!(again.replays, 1, "under the same id, so that what was committed is found");
        bury(&database, &DeadLetter { replays: 1, died_at_ms: 400, ..letter("m", "a", 100) }).await;
        let dead = dead_letters::get(&database, &id("m")).await.unwrap().unwrap();
        assert_eq!((dead.attempts, dead.replays, dead.died_at_ms, dead.state), (6, 1, 400, State::Dead));
        assert_eq!(dead_letters::replay_topic(&database, "b", 500).await.unwrap(), 0);
        assert_eq!(dead_letters::replay_topic(&database, "a", 500).await.unwrap(), 1);
        dead_letters::resolved(&database, "g", &id("m")).await.unwrap();
        assert_eq!(dead_letters::count(&database).await.unwrap(), 0);
    }
}
