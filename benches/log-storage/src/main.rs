//! Measures what the embedded message log could be built on: our segment files, SQLite, fjall. The same load for each:
//! appends of messages by 1, 64 and 1,024 publishers that each wait for their message to be durable, then a new start,
//! then reads of users' last hundred messages. What it found is in `docs/decisions/0005-segment-files.md`.
//!
//! ```sh
//! cargo run --release --manifest-path benches/log-storage/Cargo.toml -- [FOLDER [ROUNDS]]
//! ```
//!
//! FOLDER chooses the disk (default: beside the harness). The stores take turns in each round, so that what else the
//! machine does meets all three alike; the table shows the median of the rounds.

mod fjall;
mod grouped;
mod segments;
mod sqlite;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tidings_broker::log::{Key, Message, MessageProperties};
use tidings_shared::identity::UserId;
use tidings_shared::message_id::MessageId;

/// Messages go to so many users in turn.
const USERS: usize = 1_000;
/// What a user reads.
const LAST: usize = 100;
/// What the most publishers append: as much as all users read. Fewer publishers stop after [`LONGEST`].
const MESSAGES: usize = USERS * LAST;
const LONGEST: Duration = Duration::from_secs(2);
/// Publishers that wait at the same time.
const PUBLISHERS: [usize; 3] = [1, 64, MOST];
const MOST: usize = 1024;

/// Called when the message is durable.
pub type Done = Box<dyn FnOnce(anyhow::Result<()>) + Send>;

/// A store under test.
pub trait Store {
    /// Appends one message; appends that wait at the same time share a commit.
    fn append(&self, message: Arc<Message>, done: Done);

    /// The last messages of a user.
    fn last(&self, user: &UserId, limit: usize) -> anyhow::Result<Vec<Message>>;
}

/// Opens a store in a folder.
type Open = fn(&Path) -> anyhow::Result<Box<dyn Store>>;

const STORES: [(&str, Open); 3] = [("segments", segments::open), ("SQLite", sqlite::open), ("fjall", fjall::open)];

/// The columns of the table. The last two are measured where all messages were appended: by the most publishers.
const COLUMNS: [&str; 7] = ["messages/s", "p50 ms", "p99 ms", "CPU us/msg", "disk B/msg", "open ms", "last 100 us"];

type Row = [f64; COLUMNS.len()];

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let rounds: usize = arguments.next().map_or(Ok(3), |text| text.parse())?;
    std::fs::create_dir_all(&base)?;
    println!("load before: {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    println!("| Payload | Publishers | Store | {} |", COLUMNS.join(" | "));
    println!("|{}", "---|".repeat(COLUMNS.len() + 3));
    for payload in [128, 1024] {
        let messages = (0..MESSAGES).map(|number| message(number, payload)).collect::<anyhow::Result<Vec<_>>>()?;
        for publishers in PUBLISHERS {
            let mut rows: [Vec<Row>; STORES.len()] = Default::default();
            for round in 0..rounds {
                for turn in 0..STORES.len() {
                    let store = (round + turn) % STORES.len();
                    let folder = tempfile::tempdir_in(&base)?;
                    rows[store].push(measure(STORES[store].1, folder.path(), &messages, publishers)?);
                }
            }
            for ((name, _), rows) in STORES.iter().zip(rows) {
                let cells: Vec<String> = (0..COLUMNS.len()).map(|column| shown(median(&rows, column))).collect();
                println!("| {payload} | {publishers} | {name} | {} |", cells.join(" | "));
            }
        }
    }
    println!("load after: {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    Ok(())
}

fn median(rows: &[Row], column: usize) -> f64 {
    let mut values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn shown(value: f64) -> String {
    match value {
        value if value.is_nan() => "–".to_owned(),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

fn measure(open: Open, folder: &Path, messages: &[Arc<Message>], publishers: usize) -> anyhow::Result<Row> {
    let store = open(folder)?;
    let (cpu, begin) = (cpu_s()?, Instant::now());
    let mut latencies = publish(&*store, messages, publishers)?;
    let took = begin.elapsed().as_secs_f64();
    // Closing is part of the processor time: what is put off must be done some day.
    drop(store);
    let cpu = cpu_s()? - cpu;
    let count = latencies.len() as f64;
    let disk_bytes = size_of_folder(folder)? as f64 / count;
    let (open_ms, last_us) = if publishers == MOST { start_again(open, folder)? } else { (f64::NAN, f64::NAN) };
    latencies.sort_unstable();
    let quantile = |q: f64| latencies[(q * (count - 1.0)) as usize].as_secs_f64() * 1e3;
    Ok([count / took, quantile(0.5), quantile(0.99), cpu * 1e6 / count, disk_bytes, open_ms, last_us])
}

/// The time to open, and the mean time of a user's read.
fn start_again(open: Open, folder: &Path) -> anyhow::Result<(f64, f64)> {
    let begin = Instant::now();
    let store = open(folder)?;
    let open_ms = begin.elapsed().as_secs_f64() * 1e3;
    let users = (0..USERS).map(user).collect::<anyhow::Result<Vec<_>>>()?;
    let begin = Instant::now();
    for user in &users {
        let found = store.last(user, LAST)?.len();
        anyhow::ensure!(found == LAST, "{found} of {LAST} messages were found after the start");
    }
    Ok((open_ms, begin.elapsed().as_secs_f64() * 1e6 / USERS as f64))
}

/// Keeps as many messages waiting as there are publishers, until all are durable; how long each waited.
fn publish(store: &dyn Store, messages: &[Arc<Message>], publishers: usize) -> anyhow::Result<Vec<Duration>> {
    let (done, dones) = mpsc::channel();
    let append = |message: &Arc<Message>| {
        let (done, sent) = (done.clone(), Instant::now());
        let tell = move |result: anyhow::Result<()>| drop(done.send(result.map(|()| sent.elapsed())));
        store.append(Arc::clone(message), Box::new(tell));
    };
    let end = (publishers < MOST).then(|| Instant::now() + LONGEST);
    let (first, mut rest) = messages.split_at(publishers.min(messages.len()));
    first.iter().for_each(append);
    let mut sent = first.len();
    let mut latencies = Vec::with_capacity(messages.len());
    while latencies.len() < sent {
        latencies.push(dones.recv()??);
        if let Some((next, others)) = rest.split_first().filter(|_| end.is_none_or(|end| Instant::now() < end)) {
            append(next);
            (sent, rest) = (sent + 1, others);
        }
    }
    Ok(latencies)
}

fn user(number: usize) -> anyhow::Result<UserId> {
    Ok(UserId::new(&format!("u{number}"))?)
}

fn message(number: usize, payload: usize) -> anyhow::Result<Arc<Message>> {
    let user = user(number % USERS)?;
    // Content that does not compress away.
    let mut state = number as u64 ^ 0x9E37_79B9_7F4A_7C15;
    let mut random = [0; 10];
    let mut content = vec![0; payload];
    for byte in content.iter_mut().chain(&mut random) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
    Ok(Arc::new(Message {
        id: MessageId::from_parts(1_700_000_000_000 + number as i64, random),
        topic: format!("{}_inbox", user.as_str()).into(),
        payload: content.into(),
        qos: 1,
        retain: false,
        key: Key::User(user),
        sender: None,
        publisher: 0,
        granted: true,
        time_ms: segments::NOW_MS,
        expires_at_ms: None,
        properties: MessageProperties::default(),
    }))
}

fn size_of_folder(folder: &Path) -> anyhow::Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        size +=
            if entry.file_type()?.is_dir() { size_of_folder(&entry.path())? } else { allocated(&entry.metadata()?) };
    }
    Ok(size)
}

/// Bytes on the disk: files may be preallocated or sparse.
fn allocated(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

fn cpu_s() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    Ok(fields.skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()? / 100.0)
}
