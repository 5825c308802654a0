//! The one suite that every implementation of the log passes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tidings_shared::clock::Clock;
use tidings_shared::identity::UserId;
use tidings_shared::message_id::MessageId;

use super::*;

/// When the tests begin, ms since 1970.
pub(super) const START_MS: i64 = 1_700_000_000_000;

/// A log under test; `Fixture` keeps whatever it stands on.
pub(super) trait Fixture {
    type Log: MessageLog;
    fn open(clock: &Clock, limits: Limits) -> Self;
    fn log(&self) -> &Self::Log;
    /// Ends this log's process and opens it again; `false` when it keeps nothing.
    fn reopen(&mut self) -> bool;
}

pub(super) fn user(name: &str) -> Key {
    Key::User(UserId::new(name).unwrap())
}

pub(super) fn command(topic: &str) -> Key {
    Key::Command(topic.to_owned())
}

pub(super) fn message(clock: &Clock, key: &Key, id: &str, payload: &[u8]) -> Message {
    let topic = match key {
        Key::User(user) => format!("{user}_note"),
        Key::Command(topic) => topic.clone(),
    };
    Message {
        id: MessageId::new(id).unwrap(),
        topic: topic.into(),
        payload: Bytes::copy_from_slice(payload),
        qos: 1,
        retain: false,
        key: key.clone(),
        sender: None,
        publisher: 42,
        granted: true,
        time_ms: clock.now_ms(),
        expires_at_ms: None,
        properties: MessageProperties {
            content_type: Some("text/plain".to_owned()),
            response_topic: Some("answer".to_owned()),
            correlation_data: Some(Bytes::from_static(b"\0\xff")),
            payload_is_utf8: true,
            user_properties: vec![("a".to_owned(), "b".to_owned()), ("a".to_owned(), "c".to_owned())],
        },
    }
}

pub(super) fn try_append(log: &impl MessageLog, batch: Vec<Message>) -> Result<Vec<Appended>, LogError> {
    let (tell, told) = mpsc::channel();
    let done = Box::new(move |result| tell.send(result).unwrap());
    log.append(batch.into_iter().map(Arc::new).collect(), done);
    told.recv_timeout(Duration::from_secs(20)).expect("an append is answered")
}

pub(super) fn append(log: &impl MessageLog, message: Message) -> Appended {
    try_append(log, vec![message]).unwrap()[0]
}

pub(super) fn try_put(
    log: &impl MessageLog,
    records: Vec<(RecordKey, Option<Bytes>)>,
    durable: bool,
) -> Result<(), LogError> {
    let (tell, told) = mpsc::channel();
    log.put(records, durable, Box::new(move |result| tell.send(result).unwrap()));
    told.recv_timeout(Duration::from_secs(20)).expect("a put is answered")
}

pub(super) fn ids(stored: &[Stored]) -> Vec<String> {
    stored.iter().map(|(_, message)| message.id.to_string()).collect()
}

fn limits() -> Limits {
    Limits {
        age_ms: 3_600_000,
        per_user: 5,
        per_user_bytes: 0,
        per_command_topic: 7,
        dedup_window_ms: 600_000,
        dedup_entries: 50,
    }
}

fn open<F: Fixture>() -> (Clock, F) {
    let clock = Clock::manual(START_MS);
    let fixture = F::open(&clock, limits());
    (clock, fixture)
}

pub(super) fn what_is_appended_is_read_as_it_was<F: Fixture>() {
    let (clock, mut fixture) = open::<F>();
    let mut sent = message(&clock, &user("68946"), "m1", b"\0\xffpayload");
    sent.sender = Some(Sender { user: UserId::new("23412").unwrap(), client: "phone".to_owned() });
    sent.expires_at_ms = Some(START_MS + 60_000);
    sent.qos = 2;
    sent.retain = true;
    sent.granted = false;
    let place = append(fixture.log(), sent.clone());
    assert_eq!(place, Appended { offset: Offset(1), previous: None, duplicate: false });
    for _ in 0..2 {
        let read = fixture.log().read(&user("68946"), Offset::START, 10).unwrap();
        assert_eq!(read, [(place.offset, Arc::new(sent.clone()))]);
        assert_eq!(fixture.log().scan(Offset::START, 10).unwrap(), read);
        assert!(fixture.log().read(&user("other"), Offset::START, 10).unwrap().is_empty());
        if !fixture.reopen() {
            break;
        }
    }
}

pub(super) fn offsets_grow_and_name_their_predecessor<F: Fixture>() {
    let (clock, mut fixture) = open::<F>();
    let batch = vec![
        message(&clock, &user("a"), "1", b""),
        message(&clock, &command("c"), "2", b""),
        message(&clock, &user("a"), "3", b""),
    ];
    let placed = try_append(fixture.log(), batch).unwrap();
    assert!(placed[0].offset < placed[1].offset && placed[1].offset < placed[2].offset);
    assert_eq!(placed.iter().map(|p| p.previous).collect::<Vec<_>>(), [None, None, Some(placed[0].offset)]);
    if fixture.reopen() {
        assert_eq!(fixture.log().head(), placed[2].offset);
    }
    let next = append(fixture.log(), message(&clock, &command("c"), "4", b""));
    assert_eq!(next.previous, Some(placed[1].offset));
    assert!(next.offset > placed[2].offset);
    assert_eq!(ids(&fixture.log().read(&user("a"), placed[0].offset, 10).unwrap()), ["3"]);
    assert_eq!(ids(&fixture.log().read(&user("a"), Offset::START, 1).unwrap()), ["1"]);
    assert_eq!(ids(&fixture.log().scan(placed[0].offset, 2).unwrap()), ["2", "3"]);
}

pub(super) fn a_repeated_message_id_is_stored_once<F: Fixture>() {
    let (clock, mut fixture) = open::<F>();
    let first = message(&clock, &user("a"), "same", b"1");
    let placed = try_append(fixture.log(), vec![first.clone(), first.clone()]).unwrap();
    assert_eq!((placed[0].duplicate, placed[1].duplicate), (false, true));
    assert_eq!(placed[0].offset, placed[1].offset);
    fixture.reopen();
    let again = append(fixture.log(), first.clone());
    assert_eq!(again, Appended { duplicate: true, offset: placed[0].offset, previous: again.previous });

    let mut other_sender = first.clone();
    other_sender.sender = Some(Sender { user: UserId::new("b").unwrap(), client: String::new() });
    assert!(!append(fixture.log(), other_sender).duplicate, "nobody suppresses another's message");
    let other_topic = message(&clock, &user("b"), "same", b"1");
    assert!(!append(fixture.log(), other_topic).duplicate);

    clock.advance(limits().dedup_window_ms + 1);
    let late = Message { time_ms: clock.now_ms(), ..first };
    assert!(!append(fixture.log(), late).duplicate, "the window has passed");
}

pub(super) fn a_user_keeps_the_newest<F: Fixture>() {
    let (clock, mut fixture) = open::<F>();
    let places: Vec<_> =
        (0..8).map(|n| append(fixture.log(), message(&clock, &user("a"), &format!("{n}"), b"")).offset).collect();
    append(fixture.log(), message(&clock, &user("b"), "b", b""));
    for _ in 0..2 {
        assert_eq!(ids(&fixture.log().read(&user("a"), Offset::START, 10).unwrap()), ["3", "4", "5", "6", "7"]);
        assert_eq!(fixture.log().floor(&user("a")), places[2], "a cursor before the third has missed something");
        assert_eq!(fixture.log().floor(&user("b")), Offset::START);
        assert_eq!(ids(&fixture.log().scan(Offset::START, 10).unwrap()), ["3", "4", "5", "6", "7", "b"]);
        if !fixture.reopen() {
            break;
        }
    }
}

pub(super) fn a_user_keeps_so_many_bytes<F: Fixture>() {
    let clock = Clock::manual(START_MS);
    let mut fixture = F::open(&clock, Limits { per_user_bytes: 4_000, per_user: 100, ..limits() });
    let send = |fixture: &F, n: u32, size: usize| {
        append(fixture.log(), message(&clock, &user("a"), &format!("{n}"), &vec![0; size])).offset
    };
    let places: Vec<_> = (0..9).map(|n| send(&fixture, n, 700)).collect();
    append(fixture.log(), message(&clock, &command("c"), "c", &[0; 5_000]));
    for _ in 0..2 {
        let kept = fixture.log().read(&user("a"), Offset::START, 100).unwrap();
        assert!((4..=5).contains(&kept.len()), "4,000 bytes are four or five messages of 700: {}", kept.len());
        assert_eq!(kept.last().unwrap().0, places[8]);
        assert_eq!(fixture.log().floor(&user("a")), places[8 - kept.len()], "what is gone is known to be gone");
        if !fixture.reopen() {
            break;
        }
    }
    let large = send(&fixture, 9, 6_000);
    let kept = fixture.log().read(&user("a"), Offset::START, 100).unwrap();
    assert_eq!(kept.len(), 1, "the newest stays, however long it is");
    assert_eq!((kept[0].0, fixture.log().floor(&user("a"))), (large, places[8]));
    assert_eq!(fixture.log().read(&command("c"), Offset::START, 9).unwrap().len(), 1, "it is a limit of users");
}

pub(super) fn a_reading_knows_what_was_gone_when_it_looked<F: Fixture>() {
    let (clock, fixture) = open::<F>();
    let send = |n: u32| append(fixture.log(), message(&clock, &user("a"), &format!("{n}"), &[0; 100])).offset;
    let places: Vec<_> = (0..8).map(send).collect();
    let reading = fixture.log().read_on(&user("a"), Offset::START, 2, usize::MAX).unwrap();
    assert_eq!((ids(&reading.messages), reading.floor), (vec!["3".to_owned(), "4".to_owned()], places[2]));
    let reading = fixture.log().read_on(&user("a"), places[4], 100, 1).unwrap();
    assert!(!reading.messages.is_empty(), "one message always fits");
    let reading = fixture.log().read_on(&user("a"), places[7], 100, 1_000).unwrap();
    assert_eq!((reading.messages.len(), reading.floor), (0, places[2]));
}

pub(super) fn a_command_topic_keeps_the_newest<F: Fixture>() {
    let (clock, fixture) = open::<F>();
    for n in 0..9 {
        append(fixture.log(), message(&clock, &command("c"), &format!("{n}"), b""));
    }
    assert_eq!(fixture.log().read(&command("c"), Offset::START, 100).unwrap().len(), limits().per_command_topic);
}

pub(super) fn what_is_too_old_is_gone<F: Fixture>() {
    let (clock, mut fixture) = open::<F>();
    let old = append(fixture.log(), message(&clock, &user("a"), "old", b""));
    append(fixture.log(), message(&clock, &user("gone"), "old2", b""));
    clock.advance(limits().age_ms / 2);
    let young = append(fixture.log(), message(&clock, &user("a"), "young", b""));
    clock.advance(limits().age_ms / 2 + 1);
    for _ in 0..2 {
        assert_eq!(ids(&fixture.log().scan(Offset::START, 10).unwrap()), ["young"]);
        assert_eq!(ids(&fixture.log().read(&user("a"), Offset::START, 10).unwrap()), ["young"]);
        assert!(fixture.log().read(&user("gone"), Offset::START, 10).unwrap().is_empty());
        assert!(fixture.log().floor(&user("a")) >= old.offset);
        assert!(fixture.log().floor(&user("a")) < young.offset);
        if !fixture.reopen() {
            break;
        }
    }
    clock.advance(limits().age_ms);
    assert!(fixture.log().scan(Offset::START, 10).unwrap().is_empty());
    let next = append(fixture.log(), message(&clock, &user("a"), "new", b""));
    assert!(next.offset > young.offset, "offsets are never used again");
    fixture.reopen();
    assert_eq!(fixture.log().head(), next.offset);
    assert!(fixture.log().floor(&user("a")) >= young.offset);
}

pub(super) fn what_has_expired_is_not_delivered<F: Fixture>() {
    let (clock, mut fixture) = open::<F>();
    let mut short = message(&clock, &user("a"), "short", b"");
    short.expires_at_ms = Some(START_MS + 1_000);
    append(fixture.log(), short);
    let long = append(fixture.log(), message(&clock, &user("a"), "long", b""));
    clock.advance(999);
    assert_eq!(ids(&fixture.log().read(&user("a"), Offset::START, 1).unwrap()), ["short"]);
    clock.advance(1);
    for _ in 0..2 {
        assert_eq!(ids(&fixture.log().read(&user("a"), Offset::START, 1).unwrap()), ["long"]);
        assert_eq!(ids(&fixture.log().scan(Offset::START, 1).unwrap()), ["long"]);
        assert_eq!(fixture.log().floor(&user("a")), Offset::START, "an expired message is no loss");
        if !fixture.reopen() {
            break;
        }
    }
    assert_eq!(fixture.log().head(), long.offset);
}

pub(super) fn records_are_set_removed_and_listed_by_kind<F: Fixture>() {
    let (_, mut fixture) = open::<F>();
    let session = |id: &'static str| RecordKey::new(RecordKind::Session, id.as_bytes());
    let mark = RecordKey::new(RecordKind::WakeMark, &b"a"[..]);
    let set = |key: &RecordKey, value: &'static str| (key.clone(), Some(Bytes::from_static(value.as_bytes())));
    try_put(fixture.log(), vec![set(&session("a"), "1"), set(&session("b"), "2"), set(&mark, "3")], true).unwrap();
    try_put(fixture.log(), vec![set(&session("a"), "4"), (session("b"), None), (session("never"), None)], false)
        .unwrap();
    for _ in 0..2 {
        assert_eq!(fixture.log().records(RecordKind::Session), [(session("a"), Bytes::from_static(b"4"))]);
        assert_eq!(fixture.log().records(RecordKind::WakeMark), [(mark.clone(), Bytes::from_static(b"3"))]);
        assert!(fixture.log().records(RecordKind::Retained).is_empty());
        if !fixture.reopen() {
            break;
        }
    }
}

pub(super) fn the_epoch_stays<F: Fixture>() {
    let (_, mut fixture) = open::<F>();
    let epoch = fixture.log().epoch();
    assert_ne!(epoch, 0);
    fixture.reopen();
    assert_eq!(fixture.log().epoch(), epoch);
}

/// One step of a random history.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Append { key: u8, id: u8, size: usize, expires_in: Option<i64> },
    Put { id: u8, value: Option<u8>, durable: bool },
    Advance(i64),
    Reopen,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0_u8..4, 0_u8..40, 0_usize..300, prop::option::of(1_i64..200_000)).prop_map(|(key, id, size, expires_in)| Step::Append { key, id, size, expires_in }),
        2 => (0_u8..6, prop::option::of(any::<u8>()), any::<bool>()).prop_map(|(id, value, durable)| Step::Put { id, value, durable }),
        2 => (1_i64..900_000).prop_map(Step::Advance),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

fn key_number(number: u8) -> Key {
    if number < 3 { user(&format!("u{number}")) } else { command("c") }
}

/// Plays a history against the log and against the plainest model of the contract.
pub(super) fn behaves_like_the_model<F: Fixture>(steps: Vec<Step>) {
    let (clock, mut fixture) = open::<F>();
    let mut model: Vec<(Offset, Message)> = Vec::new();
    let mut records: BTreeMap<u8, u8> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Append { key, id, size, expires_in } => {
                let key = key_number(key);
                let mut sent = message(&clock, &key, &format!("{id}"), &vec![id; size]);
                sent.expires_at_ms = expires_in.map(|ms| clock.now_ms() + ms);
                let window = clock.now_ms() - limits().dedup_window_ms;
                let before =
                    model.iter().rev().find(|(_, m)| m.id == sent.id && m.topic == sent.topic && m.time_ms > window);
                let placed = append(fixture.log(), sent.clone());
                assert_eq!(placed.duplicate, before.is_some());
                if let Some((offset, _)) = before {
                    assert_eq!(placed.offset, *offset);
                    continue;
                }
                assert!(model.iter().all(|(offset, _)| *offset < placed.offset));
                model.push((placed.offset, sent));
            }
            Step::Put { id, value, durable } => {
                let key = RecordKey::new(RecordKind::Cursor, vec![id]);
                try_put(fixture.log(), vec![(key, value.map(|v| Bytes::from(vec![v])))], durable).unwrap();
                match value {
                    Some(value) => records.insert(id, value),
                    None => records.remove(&id),
                };
            }
            Step::Advance(ms) => clock.advance(ms),
            Step::Reopen => {
                fixture.reopen();
            }
        }
        let now = clock.now_ms();
        let mut everything = Vec::new();
        for number in 0..4 {
            let key = key_number(number);
            let limit = if number < 3 { limits().per_user } else { limits().per_command_topic };
            let of_key: Vec<_> = model.iter().filter(|(_, m)| m.key == key).collect();
            let (dropped, newest) = of_key.split_at(of_key.len().saturating_sub(limit));
            let kept: Vec<_> = newest.iter().filter(|(_, m)| m.time_ms >= now - limits().age_ms).collect();
            let visible: Vec<Stored> =
                kept.iter().filter(|(_, m)| !m.is_expired(now)).map(|(o, m)| (*o, Arc::new(m.clone()))).collect();
            assert_eq!(fixture.log().read(&key, Offset::START, 1_000).unwrap(), visible);
            let lost =
                newest.iter().filter(|(_, m)| m.time_ms < now - limits().age_ms).chain(dropped).map(|(o, _)| *o).max();
            let floor = fixture.log().floor(&key);
            assert!(floor >= lost.unwrap_or_default(), "what is gone must be known to be gone");
            if let Some((first, _)) = kept.first() {
                assert!(floor < *first, "what is kept must not be called lost");
            }
            everything.extend(visible);
        }
        everything.sort_by_key(|(offset, _)| *offset);
        assert_eq!(fixture.log().scan(Offset::START, 1_000).unwrap(), everything);
        let listed: BTreeMap<u8, u8> =
            fixture.log().records(RecordKind::Cursor).into_iter().map(|(k, v)| (k.id[0], v[0])).collect();
        assert_eq!(listed, records);
    }
}

/// Runs the whole suite on a fixture.
macro_rules! log_suite {
    ($fixture:ty, $cases:expr) => {
        $crate::log::tests::log_suite!(@each $fixture,
            what_is_appended_is_read_as_it_was,
            offsets_grow_and_name_their_predecessor,
            a_repeated_message_id_is_stored_once,
            a_user_keeps_the_newest,
            a_user_keeps_so_many_bytes,
            a_reading_knows_what_was_gone_when_it_looked,
            a_command_topic_keeps_the_newest,
            what_is_too_old_is_gone,
            what_has_expired_is_not_delivered,
            records_are_set_removed_and_listed_by_kind,
            the_epoch_stays,
        );
        proptest::proptest! {
            #![proptest_config(proptest::prelude::ProptestConfig { cases: $cases, ..Default::default() })]
            #[test]
            fn behaves_like_the_model(steps in $crate::log::tests::steps()) {
                $crate::log::tests::behaves_like_the_model::<$fixture>(steps);
            }
        }
    };
    (@each $fixture:ty, $($name:ident,)*) => {
        $(#[test] fn $name() { $crate::log::tests::$name::<$fixture>(); })*
    };
}
pub(super) use log_suite;

mod memory {
    use super::*;

    struct Memory(MemoryLog);

    impl Fixture for Memory {
        type Log = MemoryLog;
        fn open(clock: &Clock, limits: Limits) -> Self {
            Self(MemoryLog::new(clock.clone(), limits, 7))
        }
        fn log(&self) -> &MemoryLog {
            &self.0
        }
        fn reopen(&mut self) -> bool {
            false
        }
    }

    log_suite!(Memory, 200);
}
