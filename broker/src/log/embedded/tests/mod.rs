//! The suite on a real folder, and what only a disk can do: end in mid-write, rot, fill up, be somebody else's.

mod damage;
mod measure;

use std::fs;
use std::path::Path;

use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::time::Instant;

use super::super::tests::{Fixture, START_MS, append, command, ids, log_suite, message, try_append, try_put, user};
use super::super::{MessageLog, RecordKind};
use super::*;

struct Embedded {
    log: Option<EmbeddedLog>,
    folder: TempDir,
    clock: Clock,
    limits: Limits,
    segment_bytes: u64,
    faults: faults::Faults,
}

impl Embedded {
    fn with_segments(clock: &Clock, limits: Limits, segment_bytes: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let mut fixture =
            Self { log: None, folder, clock: clock.clone(), limits, segment_bytes, faults: faults::Faults::default() };
        fixture.start().unwrap();
        fixture
    }

    fn start(&mut self) -> Result<(), LogError> {
        self.log = Some(EmbeddedLog::open(self.options())?);
        Ok(())
    }

    fn options(&self) -> Options {
        Options {
            limits: self.limits,
            segment_bytes: self.segment_bytes,
            records_bytes: 300,
            faults: self.faults.clone(),
            ..Options::new(self.folder.path().join("log"), self.clock.clone())
        }
    }

    fn files(&self, ending: &str) -> Vec<PathBuf> {
        files(&self.folder.path().join("log"), ending)
    }

    fn stop(&mut self) {
        self.log = None;
    }
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    paths.sort();
    paths
}

impl Fixture for Embedded {
    type Log = EmbeddedLog;

    fn open(clock: &Clock, limits: Limits) -> Self {
        // Small segments, so that the suite crosses many of them.
        Self::with_segments(clock, limits, 400)
    }

    fn log(&self) -> &EmbeddedLog {
        self.log.as_ref().unwrap()
    }

    fn reopen(&mut self) -> bool {
        self.stop();
        self.start().unwrap();
        true
    }
}

log_suite!(Embedded, 40);

fn fixture() -> (Clock, Embedded) {
    let clock = Clock::manual(START_MS);
    let fixture = Embedded::with_segments(&clock, Limits::default(), 64 << 20);
    (clock, fixture)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..Default::default() })]

    /// The process may die at any byte of a write: what was whole before that byte is there, nothing else is, and
    /// the log goes on.
    #[test]
    fn a_write_that_was_cut_anywhere_is_repaired(sizes in prop::collection::vec(0_usize..200, 1..8), cut: prop::sample::Index, garbage in prop::collection::vec(any::<u8>(), 0..40), fill: bool) {
        let (clock, mut fixture) = fixture();
        let mut ends = Vec::new();
        let segment = fixture.files(".segment").pop().unwrap();
        for (n, size) in sizes.iter().enumerate() {
            append(fixture.log(), message(&clock, &user("a"), &format!("{n}"), &vec![7; *size]));
            let index = lock(&fixture.log().shared.index);
            ends.push(usize::try_from(index.chapters().back().unwrap().store.length()).unwrap());
        }
        fixture.stop();
        let whole = fs::read(&segment).unwrap();
        prop_assert_eq!(whole.len(), *ends.last().unwrap(), "room that was not used is given back");
        let cut = file::Header::LENGTH + cut.index(whole.len() - file::Header::LENGTH + 1);
        let mut left = whole[..cut].to_vec();
        left.extend(&garbage);
        if fill {
            left.resize(whole.len().max(left.len()), 0);
        }
        fs::write(&segment, &left).unwrap();
        fixture.start().unwrap();
        let kept = ends.iter().filter(|end| **end <= cut).count();
        let behind = ends[..kept].last().copied().unwrap_or(file::Header::LENGTH);
        // Zeros are room that nobody has used.
        let torn = left[behind..].iter().any(|byte| *byte != 0);
        let expected: Vec<String> = (0..kept).map(|n| n.to_string()).collect();
        prop_assert_eq!(ids(&fixture.log().scan(Offset::START, 100).unwrap()), expected.clone());
        let next = append(fixture.log(), message(&clock, &user("a"), "next", b""));
        prop_assert!(next.offset.0 > kept as u64);
        if torn {
            prop_assert!(next.offset.0 > sizes.len() as u64, "an offset that may have been seen is never given again");
        }
        fixture.reopen();
        let mut all = expected;
        all.push("next".to_owned());
        prop_assert_eq!(ids(&fixture.log().read(&user("a"), Offset::START, 100).unwrap()), all);
    }

    /// The same for records: a put is there as a whole or not at all.
    #[test]
    fn a_put_that_was_cut_anywhere_is_whole_or_absent(puts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..4), 1..8), cut: prop::sample::Index) {
        let (_, mut fixture) = fixture();
        let record = |id: u8, value: usize| (RecordKey::new(RecordKind::Cursor, vec![id]), Some(Bytes::from(value.to_string())));
        let file = fixture.files(".records").pop().unwrap();
        let mut ends = Vec::new();
        for (n, put) in puts.iter().enumerate() {
            try_put(fixture.log(), put.iter().map(|id| record(*id, n)).collect(), true).unwrap();
            ends.push(usize::try_from(fs::metadata(&file).unwrap().len()).unwrap());
        }
        fixture.stop();
        prop_assume!(file.exists());
        let whole = fs::read(&file).unwrap();
        let cut = file::Header::LENGTH + cut.index(whole.len() - file::Header::LENGTH + 1);
        fs::write(&file, &whole[..cut]).unwrap();
        fixture.start().unwrap();
        let kept = ends.iter().filter(|end| **end <= cut).count();
        let mut expected = Table::default();
        for (n, put) in puts[..kept].iter().enumerate() {
            expected.put(put.iter().map(|id| record(*id, n)).collect());
        }
        prop_assert_eq!(fixture.log().records(RecordKind::Cursor), expected.of_kind(RecordKind::Cursor));
    }

    /// Damage in the middle costs the messages it hits, and every reader before them is told.
    #[test]
    fn rot_costs_what_it_hits_and_is_told(count in 8_usize..20, at: prop::sample::Index, flip in 1_u8..) {
        let clock = Clock::manual(START_MS);
        let mut fixture = Embedded::with_segments(&clock, Limits::default(), 300);
        let places: Vec<_> = (0..count).map(|n| append(fixture.log(), message(&clock, &user("a"), &format!("{n}"), b"payload")).offset).collect();
        fixture.stop();
        let files = fixture.files(".segment");
        let at = at.index(files.len() - 1);
        let mut bytes = fs::read(&files[at]).unwrap();
        let middle = file::Header::LENGTH + (bytes.len() - file::Header::LENGTH) / 2;
        bytes[middle] ^= flip;
        fs::write(&files[at], bytes).unwrap();
        fixture.start().unwrap();
        let left = fixture.log().read(&user("a"), Offset::START, 100).unwrap();
        prop_assert_eq!(left.len(), count - 1);
        let lost = places.iter().find(|place| left.iter().all(|(offset, _)| offset != *place)).unwrap();
        prop_assert!(fixture.log().floor(&user("a")) >= *lost);
        prop_assert!(fixture.log().floor(&user("a")) < *places.last().unwrap());
    }
}

#[test]
fn appends_from_many_threads_share_commits_and_are_all_there() {
    let (clock, fixture) = fixture();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (clock, log) = (clock.clone(), fixture.log());
            scope.spawn(move || {
                for n in 0..50 {
                    append(log, message(&clock, &user(&format!("u{thread}")), &format!("{n}"), b"x"));
                }
            });
        }
    });
    for thread in 0..8 {
        let read = fixture.log().read(&user(&format!("u{thread}")), Offset::START, 100).unwrap();
        assert_eq!(ids(&read), (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
    }
    assert_eq!(fixture.log().head(), Offset(400));
}

/// A copy of the folder taken at the moment of an acknowledgement is what a killed process leaves behind.
#[test]
fn what_is_acknowledged_is_in_the_folder() {
    let (clock, fixture) = fixture();
    for n in 0..5 {
        append(fixture.log(), message(&clock, &user("a"), &format!("{n}"), b""));
        let mark = (RecordKey::new(RecordKind::WakeMark, vec![n]), Some(Bytes::from_static(b"x")));
        try_put(fixture.log(), vec![mark], n % 2 == 0).unwrap();
        let left = TempDir::new().unwrap();
        copy(&fixture.folder.path().join("log"), left.path());
        let reopened = EmbeddedLog::open(Options::new(left.path(), clock.clone())).unwrap();
        assert_eq!(reopened.scan(Offset::START, 100).unwrap().len(), usize::from(n) + 1);
        assert_eq!(reopened.records(RecordKind::WakeMark).len(), usize::from(n) + 1);
    }
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let (clock, mut fixture) = fixture();
    append(fixture.log(), message(&clock, &user("a"), "before", b"x"));
    for space in [0, 5, 30] {
        fixture.faults.set_space(Some(space));
        let refused = try_append(fixture.log(), vec![message(&clock, &user("a"), "refused", &[1; 500])]);
        assert!(matches!(refused, Err(LogError::Full { .. })), "{refused:?}");
        assert!(refused.unwrap_err().to_string().contains("free some on that disk"));
        assert!(fixture.log().trouble().is_some());
    }
    assert!(matches!(
        try_put(
            fixture.log(),
            vec![(RecordKey::new(RecordKind::Cursor, &b"c"[..]), Some(Bytes::from_static(b"v")))],
            true
        ),
        Err(LogError::Full { .. })
    ));
    assert!(fixture.log().records(RecordKind::Cursor).is_empty());
    assert_eq!(ids(&fixture.log().scan(Offset::START, 10).unwrap()), ["before"]);
    fixture.faults.set_space(None);
    append(fixture.log(), message(&clock, &user("a"), "refused", &[1; 500]));
    assert_eq!(fixture.log().trouble(), None);
    fixture.reopen();
    assert_eq!(ids(&fixture.log().scan(Offset::START, 10).unwrap()), ["before", "refused"]);
}

#[test]
fn a_quiet_broker_notices_that_there_is_space_again() {
    let (clock, fixture) = fixture();
    fixture.faults.set_space(Some(0));
    try_append(fixture.log(), vec![message(&clock, &user("a"), "1", b"")]).unwrap_err();
    fixture.faults.set_space(None);
    clock.advance(5_000);
    let deadline = Instant::now() + Duration::from_secs(20);
    while fixture.log().trouble().is_some() {
        assert!(Instant::now() < deadline, "the log looks by itself every second");
        clock.advance(1_000);
        std::thread::yield_now();
    }
}

#[test]
fn after_a_failed_sync_nothing_is_built_on_that_file() {
    let (clock, mut fixture) = fixture();
    append(fixture.log(), message(&clock, &user("a"), "1", b""));
    fixture.faults.fail_syncs(1);
    let failed = try_append(fixture.log(), vec![message(&clock, &user("a"), "2", b"")]);
    assert!(matches!(failed, Err(LogError::Io { .. })), "{failed:?}");
    append(fixture.log(), message(&clock, &user("a"), "2", b""));
    assert_eq!(fixture.files(".segment").len(), 2, "a new file is begun");
    let record = || vec![(RecordKey::new(RecordKind::Cursor, &b"c"[..]), Some(Bytes::from_static(b"v")))];
    fixture.faults.fail_syncs(1);
    try_put(fixture.log(), record(), true).unwrap_err();
    try_put(fixture.log(), record(), true).unwrap();
    fixture.reopen();
    assert_eq!(ids(&fixture.log().scan(Offset::START, 10).unwrap()), ["1", "2"]);
    assert_eq!(fixture.log().records(RecordKind::Cursor).len(), 1);
}

#[test]
fn records_are_compacted() {
    let (_, mut fixture) = fixture();
    let kept = (RecordKey::new(RecordKind::Session, &b"s"[..]), Some(Bytes::from_static(b"kept")));
    try_put(fixture.log(), vec![kept], true).unwrap();
    for n in 0..2_000_u32 {
        let record = (RecordKey::new(RecordKind::Cursor, &b"c"[..]), Some(Bytes::from(n.to_string())));
        try_put(fixture.log(), vec![record], n % 100 == 0).unwrap();
        fixture.clock.advance(100);
    }
    let path = fixture.files(".records").pop().unwrap();
    assert!(fs::metadata(&path).unwrap().len() < 10_000, "{}", fs::metadata(&path).unwrap().len());
    assert_eq!(fixture.files(".records").len(), 1);
    fixture.reopen();
    assert_eq!(fixture.log().records(RecordKind::Cursor)[0].1, Bytes::from_static(b"1999"));
    assert_eq!(fixture.log().records(RecordKind::Session)[0].1, Bytes::from_static(b"kept"));
}

/// While a new generation of many records is written, appends and puts go on, and a process that dies in the middle of
/// it leaves every record behind.
#[test]
fn a_new_generation_is_written_in_slices() {
    let (clock, mut fixture) = fixture();
    let record = |n: u32, value: &str| {
        let value = format!("{value}{}", "x".repeat(500));
        (RecordKey::new(RecordKind::Session, n.to_be_bytes().to_vec()), Some(Bytes::from(value)))
    };
    for round in ["a", "b", "c"] {
        try_put(fixture.log(), (0..2_000).map(|n| record(n, round)).collect(), false).unwrap();
    }
    let before = fixture.files(".records").pop().unwrap();
    let folder = fixture.folder.path().join("log");
    let mut rewriting = 0;
    let deadline = Instant::now() + Duration::from_secs(60);
    for n in 0.. {
        clock.advance(1_000);
        append(fixture.log(), message(&clock, &user("a"), &format!("{n}"), b""));
        try_put(fixture.log(), vec![record(n % 2_000, "d")], n % 2 == 0).unwrap();
        if !files(&folder, ".records.tmp").is_empty() {
            rewriting += 1;
            let left = TempDir::new().unwrap();
            copy(&folder, left.path());
            let reopened = EmbeddedLog::open(Options::new(left.path(), clock.clone())).unwrap();
            let records = reopened.records(RecordKind::Session);
            assert_eq!(records.len(), 2_000);
            assert!(records[(n % 2_000) as usize].1.starts_with(b"d"), "what was put during the rewriting");
            assert!(records[1_999].1.starts_with(b"c"));
        }
        if !before.exists() {
            break;
        }
        assert!(Instant::now() < deadline, "the records are written anew");
    }
    assert!(rewriting > 1, "in more than one slice");
    let records = fixture.log().records(RecordKind::Session);
    fixture.reopen();
    assert_eq!(fixture.log().records(RecordKind::Session), records);
    assert!(fs::metadata(fixture.files(".records").pop().unwrap()).unwrap().len() < 1_300_000);
}

#[test]
fn segments_that_retention_empties_are_removed() {
    let clock = Clock::manual(START_MS);
    let limits = Limits { age_ms: 60_000, ..Limits::default() };
    let mut fixture = Embedded::with_segments(&clock, limits, 300);
    for n in 0..40 {
        append(fixture.log(), message(&clock, &command("c"), &format!("{n}"), b"x"));
    }
    assert!(fixture.files(".segment").len() > 5);
    clock.advance(1_200_000);
    append(fixture.log(), message(&clock, &command("c"), "last", b"x"));
    fixture.reopen();
    let deadline = Instant::now() + Duration::from_secs(20);
    while fixture.files(".segment").len() > 2 {
        assert!(Instant::now() < deadline, "{:?}", fixture.files(".segment"));
        clock.advance(1_000);
        std::thread::yield_now();
    }
    assert!(fixture.log().first() > Offset(15));
    let last = fixture.log().head();
    clock.advance(1_200_000);
    while fixture.log().first() <= last {
        assert!(Instant::now() < deadline, "{:?}", fixture.files(".segment"));
        clock.advance(1_000);
        std::thread::yield_now();
    }
    fixture.reopen();
    assert_eq!(fixture.log().head(), last, "a reader at the end is still at the end");
    assert_eq!(fixture.log().floor(&user("a")), last);
    assert!(append(fixture.log(), message(&clock, &user("a"), "next", b"")).offset > last);
}

#[test]
fn the_whole_log_has_a_limit_and_says_what_it_dropped() {
    let clock = Clock::manual(START_MS);
    let fixture = fixture().1;
    let metrics = LogMetrics::default();
    let open = |metrics: &LogMetrics| {
        let options = Options { total_bytes: 8_000, metrics: metrics.clone(), ..fixture.options() };
        EmbeddedLog::open(Options { folder: fixture.folder.path().join("limited"), ..options }).unwrap()
    };
    let log = open(&metrics);
    let places: Vec<_> = (0..100)
        .map(|n| append(&log, message(&clock, &user(&format!("u{}", n % 7)), &format!("{n}"), &[0; 300])).offset)
        .collect();
    let size = || {
        files(&fixture.folder.path().join("limited"), ".segment")
            .iter()
            .map(|file| fs::metadata(file).unwrap().len())
            .sum::<u64>()
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while size() > 9_500 {
        assert!(Instant::now() < deadline, "{}", size());
        std::thread::yield_now();
    }
    let dropped = metrics.dropped.get_or_create(&crate::metrics::Dropped { reason: "total" }).get();
    for _ in 0..2 {
        let kept = log.scan(Offset::START, 1_000).unwrap();
        assert!((10..30).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept.last().unwrap().0, places[99]);
        for n in 0..7 {
            let of_user: Vec<_> = places.iter().skip(n).step_by(7).collect();
            let gone = of_user.iter().filter(|place| ***place < kept[0].0).max().unwrap();
            assert!(log.floor(&user(&format!("u{n}"))) >= **gone, "a cursor before it has missed something");
            assert!(log.floor(&user(&format!("u{n}"))) < *of_user[of_user.len() - 1]);
        }
        assert_eq!(dropped, 100 - kept.len() as u64);
    }
    drop(log);
    let again = LogMetrics::default();
    let log = open(&again);
    assert!(log.floor(&user("u0")) > Offset::START);
    assert_eq!(again.dropped.get_or_create(&crate::metrics::Dropped { reason: "total" }).get(), 0);
}

#[test]
fn two_brokers_cannot_open_one_log() {
    let (_, mut fixture) = fixture();
    let refused = EmbeddedLog::open(fixture.options()).unwrap_err();
    assert_eq!(
        refused,
        LogError::Locked { folder: fixture.folder.path().join("log"), holder: Some(std::process::id().to_string()) }
    );
    assert!(refused.to_string().contains("broker.log.dir"), "{refused}");
    fixture.stop();
    fixture.start().unwrap();
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let clock = Clock::manual(START_MS);
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("holiday.jpg"), "x").unwrap();
    let refused = EmbeddedLog::open(Options::new(folder.path(), clock.clone())).unwrap_err();
    assert!(refused.to_string().contains("holds holiday.jpg; point broker.log.dir at an empty"), "{refused}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made there");

    fs::remove_file(folder.path().join("holiday.jpg")).unwrap();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    drop(EmbeddedLog::open(Options::new(folder.path(), clock.clone())).unwrap());
    fs::write(folder.path().join("notes.txt"), "later").unwrap();
    drop(EmbeddedLog::open(Options::new(folder.path(), clock)).unwrap());
    assert!(folder.path().join("notes.txt").exists());
}

#[test]
fn a_file_of_another_version_is_named_and_left_alone() {
    let (_, mut fixture) = fixture();
    fixture.stop();
    for ending in [".segment", ".records"] {
        let path = fixture.files(ending).pop().unwrap();
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[8] = 9;
        let check = crc32c::crc32c(&bytes[..24]).to_le_bytes();
        bytes[24..28].copy_from_slice(&check);
        fs::write(&path, bytes).unwrap();
        let refused = EmbeddedLog::open(fixture.options()).unwrap_err();
        assert!(matches!(refused, LogError::Version { found: 9, expected: 1, .. }), "{refused}");
        fs::write(&path, whole).unwrap();
    }
    let records = fixture.files(".records").pop().unwrap();
    fs::write(&records, b"hello, these are no records and never were any").unwrap();
    let refused = EmbeddedLog::open(fixture.options()).unwrap_err();
    assert!(refused.to_string().contains("00000000000000000001.records"), "{refused}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = EmbeddedLog::open(Options::new(file.join("log"), Clock::manual(START_MS))).unwrap_err();
    assert!(matches!(refused, LogError::Unwritable { .. }), "{refused}");
    assert!(refused.to_string().contains("make that folder writable"), "{refused}");
}

#[test]
fn a_removed_epoch_is_a_new_life() {
    let (clock, mut fixture) = fixture();
    append(fixture.log(), message(&clock, &user("a"), "1", b""));
    let epoch = fixture.log().epoch();
    fixture.stop();
    fs::remove_file(fixture.folder.path().join("log/epoch")).unwrap();
    fixture.start().unwrap();
    assert_ne!(fixture.log().epoch(), epoch);
    assert_eq!(ids(&fixture.log().scan(Offset::START, 10).unwrap()), ["1"]);
}

#[test]
fn what_is_too_large_or_too_much_is_refused_alone() {
    let (clock, fixture) = fixture();
    let options = Options { message_bytes: 1_000, waiting_bytes: 1, ..fixture.options() };
    drop(fixture);
    let folder = TempDir::new().unwrap();
    let log = EmbeddedLog::open(Options { folder: folder.path().join("log"), ..options }).unwrap();
    let refused = try_append(&log, vec![message(&clock, &user("a"), "1", &[0; 1_000])]);
    assert!(matches!(refused, Err(LogError::TooLarge { allowed: 1_000, .. })), "{refused:?}");
    append(&log, message(&clock, &user("a"), "1", b"fits, as nothing waits"));
}

#[test]
fn a_payload_cannot_pose_as_a_message() {
    let (clock, mut fixture) = fixture();
    append(fixture.log(), message(&clock, &user("a"), "1", b"x"));
    let segment = fixture.files(".segment").pop().unwrap();
    let bytes = fs::read(&segment).unwrap();
    // Somebody who knows the format but not the salt sends a frame as a payload.
    let mut forged = bytes[file::Header::LENGTH..].to_vec();
    forged[0] ^= 1;
    append(fixture.log(), message(&clock, &user("b"), "2", &forged));
    fixture.stop();
    let mut bytes = fs::read(&segment).unwrap();
    let second = file::Header::LENGTH + forged.len();
    bytes[second] ^= 1;
    fs::write(&segment, bytes).unwrap();
    fixture.start().unwrap();
    assert_eq!(ids(&fixture.log().scan(Offset::START, 10).unwrap()), ["1"]);
}
