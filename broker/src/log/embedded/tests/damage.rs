//! Damage at every kind of place, and index files, which must never change what is read.

use super::*;

/// What readers see of a log: every message, and what is said to be gone.
fn seen(log: &EmbeddedLog) -> (Vec<String>, Vec<Offset>, Offset) {
    let floors = ["a", "b", "c"].map(|name| log.floor(&user(name)));
    (ids(&log.scan(Offset::START, 10_000).unwrap()), floors.to_vec(), log.head())
}

impl Embedded {
    fn until_indexed(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.files(".index").len() + 1 < self.files(".segment").len() {
            assert!(Instant::now() < deadline, "every finished segment gets an index");
            std::thread::yield_now();
        }
    }

    /// A log of many small segments whose messages are out of the deduplication window.
    fn of_segments(sizes: &[usize], per_user: usize) -> (Clock, Self) {
        let clock = Clock::manual(START_MS);
        let limits = Limits { per_user, ..Limits::default() };
        let fixture = Self::with_segments(&clock, limits, 600);
        for (n, size) in sizes.iter().enumerate() {
            let mut sent = message(&clock, &user(["a", "b", "c"][n % 3]), &format!("{n}"), &vec![7; *size]);
            sent.expires_at_ms = (n % 5 == 0).then_some(clock.now_ms() + 86_400_000);
            append(fixture.log(), sent);
            clock.advance(50);
        }
        fixture.until_indexed();
        clock.advance(3_600_000);
        (clock, fixture)
    }
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip { at: usize, by: u8 },
    Cut(usize),
    Remove,
    Another,
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        6 => (any::<usize>(), 1_u8..).prop_map(|(at, by)| Harm::Flip { at, by }),
        2 => any::<usize>().prop_map(Harm::Cut),
        1 => Just(Harm::Remove),
        1 => Just(Harm::Another),
    ]
}

impl Harm {
    fn strike(self, path: &Path, other: &Path) {
        let mut bytes = fs::read(path).unwrap();
        match self {
            Self::Flip { at, by } => {
                let at = at % bytes.len();
                bytes[at] ^= by;
            }
            Self::Cut(at) => bytes.truncate(at % bytes.len()),
            Self::Remove => return fs::remove_file(path).unwrap(),
            Self::Another => bytes = fs::read(other).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..Default::default() })]

    /// With index files, without them, or with damaged ones: the log is the same, and the index is made again.
    #[test]
    fn an_index_file_changes_nothing(sizes in prop::collection::vec(0_usize..300, 20..60), which: prop::sample::Index, harm in harm()) {
        let (_, mut fixture) = Embedded::of_segments(&sizes, 9);
        let before = seen(fixture.log());
        fixture.reopen();
        prop_assert_eq!(&seen(fixture.log()), &before, "from the index files");
        fixture.stop();
        let indexes = fixture.files(".index");
        let struck = which.index(indexes.len());
        harm.strike(&indexes[struck], &indexes[(struck + 1) % indexes.len()]);
        fixture.start().unwrap();
        prop_assert_eq!(&seen(fixture.log()), &before, "whatever became of one of them");
        fixture.until_indexed();
        fixture.stop();
        for index in fixture.files(".index") {
            fs::remove_file(index).unwrap();
        }
        fixture.start().unwrap();
        prop_assert_eq!(&seen(fixture.log()), &before, "from the segments alone");
    }

    /// A flipped byte anywhere in any file of messages costs at most the one message it hits; where it hits the one that
    /// was written last, that may be taken for an unfinished write. What is lost is known to be lost.
    #[test]
    fn a_flipped_byte_anywhere_costs_one_message(sizes in prop::collection::vec(0_usize..300, 8..30), which: prop::sample::Index, at: prop::sample::Index, flip in 1_u8.., indexed: bool) {
        let (clock, mut fixture) = Embedded::of_segments(&sizes, 1_000);
        let before = fixture.log().scan(Offset::START, 10_000).unwrap();
        fixture.stop();
        if !indexed {
            for index in fixture.files(".index") {
                fs::remove_file(index).unwrap();
            }
        }
        let segments = fixture.files(".segment");
        let path = &segments[which.index(segments.len())];
        let mut bytes = fs::read(path).unwrap();
        let at = at.index(bytes.len());
        let in_header = at < file::Header::LENGTH;
        let has_messages = bytes.len() > file::Header::LENGTH;
        bytes[at] ^= flip;
        fs::write(path, bytes).unwrap();
        match fixture.start() {
            // Another version is not damage: the checksum says so by one chance in four billion.
            Err(LogError::Version { .. }) => return Ok(()),
            started => started.unwrap(),
        }
        let mut left = fixture.log().scan(Offset::START, 10_000).unwrap();
        let lost: Vec<_> = before.iter().filter(|stored| !left.contains(stored)).collect();
        prop_assert!(lost.len() <= usize::from(!in_header), "{} are lost", lost.len());
        left.retain(|stored| !before.contains(stored));
        prop_assert!(left.is_empty(), "nothing is made up");
        let told = !in_header || has_messages;
        for (offset, message) in lost {
            prop_assert!(told && (fixture.log().floor(&message.key) >= *offset || fixture.log().head() < *offset), "what is gone is known to be gone");
        }
        // And it goes on, with offsets that nobody has seen.
        let next = append(fixture.log(), message(&clock, &user("a"), "next", b""));
        prop_assert!(before.iter().all(|(offset, _)| *offset < next.offset));
        fixture.reopen();
        let read = fixture.log().read(&user("a"), Offset(next.offset.0 - 1), 10).unwrap();
        prop_assert_eq!(ids(&read), ["next"]);
    }
}

#[test]
fn a_segment_that_cannot_be_read_at_all_is_set_aside() {
    let (clock, mut fixture) = Embedded::of_segments(&[100; 30], 1_000);
    let before = fixture.log().scan(Offset::START, 1_000).unwrap();
    fixture.stop();
    let segments = fixture.files(".segment");
    for (nth, content) in [(1, Vec::new()), (segments.len() - 1, vec![0; 700])] {
        fs::write(&segments[nth], content).unwrap();
    }
    fixture.start().unwrap();
    let aside = fixture.files(".segment.damaged");
    assert_eq!(aside.len(), 2);
    let left = fixture.log().scan(Offset::START, 1_000).unwrap();
    assert!(left.len() < before.len() && left.iter().all(|stored| before.contains(stored)));
    let newest = before.last().unwrap().0;
    for name in ["a", "b", "c"] {
        assert!(fixture.log().floor(&user(name)) >= newest, "nobody knows whose the lost ones were: all are told");
    }
    assert!(append(fixture.log(), message(&clock, &user("a"), "next", b"")).offset > newest);
    fixture.reopen();
    assert_eq!(fixture.files(".segment.damaged").len(), 2, "a person may look at them");
}

#[test]
fn damage_that_comes_later_is_told_when_it_is_read() {
    let (_, mut fixture) = Embedded::of_segments(&[100; 30], 1_000);
    let before = fixture.log().scan(Offset::START, 1_000).unwrap();
    fixture.reopen();
    let path = &fixture.files(".segment")[1];
    let mut bytes = fs::read(path).unwrap();
    let middle = file::Header::LENGTH + (bytes.len() - file::Header::LENGTH) / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
    let left = fixture.log().scan(Offset::START, 1_000).unwrap();
    let lost = before.iter().find(|stored| !left.contains(stored)).unwrap();
    assert_eq!(left.len(), before.len() - 1);
    let reading = fixture.log().read_on(&lost.1.key, Offset(lost.0.0 - 1), 100, usize::MAX).unwrap();
    assert!(reading.floor >= lost.0, "its readers are told");
}

#[test]
fn the_records_survive_damage_of_their_first_bytes() {
    let (_, mut fixture) = fixture();
    let record = (RecordKey::new(RecordKind::Session, &b"s"[..]), Some(Bytes::from_static(b"kept")));
    try_put(fixture.log(), vec![record], true).unwrap();
    for at in 0..file::Header::LENGTH {
        fixture.stop();
        let path = fixture.files(".records").pop().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 0x40;
        fs::write(&path, bytes).unwrap();
        fixture.start().unwrap();
        assert_eq!(fixture.log().records(RecordKind::Session).len(), 1, "byte {at}");
    }
}
