//! What is fuzzed of the files: bytes as a disk may give them back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use tidings_shared::clock::Clock;
use tidings_shared::identity::UserId;
use tidings_shared::message_id::MessageId;

use super::super::{Key, Message, MessageLog, MessageProperties, Offset, RecordKind};
use super::frame::{self, Piece, Scan};
use super::{EmbeddedLog, Options, body, file, index_file};

/// When it happens, ms since 1970.
const NOW_MS: i64 = 1_700_000_000_000;

/// A file's content: it is scanned to its end in pieces without a gap, and what stands in it is read or refused.
pub fn frames(data: &[u8]) {
    let salt = frame::salt(data).unwrap_or_else(|| data.first().copied().unwrap_or_default().into());
    let mut reached = 0;
    for piece in Scan::new(data, salt, 0) {
        let (Piece::Frame { at, end, .. } | Piece::Damage { at, end }) = piece;
        assert!(at == reached && end > at, "pieces follow each other");
        reached = end;
        if let Piece::Frame { body, .. } = piece {
            read(body);
        }
    }
    assert!(data[reached..].iter().all(|byte| *byte == 0), "only unused room is behind the last piece");
    read(data);
    for magic in [*b"TIDEMSGS", *b"TIDERECS", *b"TIDEINDX"] {
        let _ = file::Header::read_or_replace(data, magic, 1, Path::new("fuzzed"));
    }
}

fn read(body: &[u8]) {
    if let Ok((head, rest)) = body::read_head(body) {
        let _ = body::read_rest(head, rest);
    }
    index_file::read_rows(body);
}

/// A folder whose files were changed: what is left opens, goes on, and keeps what it takes from then on. The first byte
/// says which file is changed and how, the next two where, the others are put there.
pub fn folder(data: &[u8]) {
    let [how, at @ .., b1, b2] = data else { return };
    let place = PathBuf::from("/dev/shm");
    let parent = if place.is_dir() { place } else { std::env::temp_dir() };
    let path = parent.join(format!("tidings-fuzz-{}-{:?}", std::process::id(), std::thread::current().id()));
    let _ = std::fs::remove_dir_all(&path);
    let clock = Clock::manual(NOW_MS);
    let open = || {
        let options = Options { segment_bytes: 500, records_bytes: 400, ..Options::new(&path, clock.clone()) };
        EmbeddedLog::open(options)
    };
    let Ok(log) = open() else { return };
    for n in 0..9 {
        append(&log, n);
    }
    drop(log);
    clock.advance(3_600_000);
    // Once more, so that there are index files.
    drop(open());
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.retain(|file| !file.ends_with("lock") && !file.ends_with("epoch"));
    files.sort();
    let victim = &files[usize::from(how >> 2) % files.len()];
    let mut bytes = std::fs::read(victim).unwrap_or_default();
    let from = usize::from(u16::from_le_bytes([*b1, *b2])) % (bytes.len() + 1);
    match how & 3 {
        0 => bytes.iter_mut().skip(from).zip(at).for_each(|(byte, change)| *byte ^= change),
        1 => bytes.truncate(from),
        2 => drop(bytes.splice(from..from, at.iter().copied())),
        _ => bytes = at.to_vec(),
    }
    let _ = std::fs::write(victim, bytes);
    // Records in which nothing can be read stop the start, and say so; everything else is gone on from.
    if let Ok(log) = open() {
        let before = log.head();
        let kept = log.scan(Offset::START, 100).map(|kept| kept.len()).unwrap_or_default();
        assert!(kept <= 9);
        let next = append(&log, 100);
        assert!(next > before, "offsets grow");
        let _ = log.records(RecordKind::Session);
        drop(log);
        let again = open();
        assert!(again.is_ok_and(|log| log.head() == next), "what was taken is kept");
    }
    let _ = std::fs::remove_dir_all(&path);
}

fn append(log: &EmbeddedLog, n: u32) -> Offset {
    let (Ok(user), Ok(id)) = (UserId::new(&format!("u{}", n % 3)), MessageId::new(&format!("m{n}"))) else {
        return Offset::START;
    };
    let message = Message {
        id,
        topic: format!("{user}_x").into(),
        payload: Bytes::from_static(b"a payload of some length, so that a segment has only a few of them"),
        qos: 1,
        retain: false,
        key: Key::User(user),
        sender: None,
        publisher: 0,
        granted: true,
        time_ms: NOW_MS,
        expires_at_ms: None,
        properties: MessageProperties::default(),
    };
    let (tell, told) = mpsc::channel();
    log.append(vec![Arc::new(message)], Box::new(move |result| drop(tell.send(result))));
    told.recv().ok().and_then(Result::ok).and_then(|placed| Some(placed.first()?.offset)).unwrap_or_default()
}
