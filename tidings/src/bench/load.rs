//! Devices that wait in their inboxes, and publishers that send at a rate or as fast as they can.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::either::Either;

use super::client::Client;
use super::peer::{Peer, inbox};
use super::wire;

/// Publishes that a publisher may have unacknowledged when it is as fast as it can be.
const WINDOW: u64 = 64;
/// The longest latency that is told apart from longer ones, in microseconds.
const LONGEST_MICROS: u64 = 60_000_000;
/// How long deliveries may trail: nothing more is expected when none has come for so long.
const TRAIL: Duration = Duration::from_secs(10);

/// What the devices have received; shared with their tasks.
pub(super) struct Received {
    start: Instant,
    count: AtomicU64,
    latencies: Mutex<Histogram<u64>>,
}

impl Received {
    /// Nothing yet.
    ///
    /// # Errors
    /// Never, in fact.
    pub(super) fn new() -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            start: Instant::now(),
            count: AtomicU64::new(0),
            latencies: Mutex::new(Histogram::new_with_bounds(1, LONGEST_MICROS, 3)?),
        }))
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// From the publish to the inbox, in milliseconds.
    pub(super) fn quantile_ms(&self, quantile: f64) -> f64 {
        let latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// Waits for so many deliveries, as long as they go on coming; returns how many are missing.
    pub(super) async fn wait_for(&self, published: u64) -> u64 {
        let mut last = (self.count(), Instant::now());
        while self.count() < published && last.1.elapsed() < TRAIL {
            tokio::time::sleep(Duration::from_millis(2)).await;
            if self.count() > last.0 {
                last = (self.count(), Instant::now());
            }
        }
        published.saturating_sub(self.count())
    }
}

/// Lets the clients receive, acknowledge and note how long each message took. Dropping the set ends them.
pub(super) fn receive_all(clients: Vec<Client>, received: &Arc<Received>) -> JoinSet<anyhow::Result<()>> {
    clients.into_iter().map(|client| receive(client, received.clone())).collect()
}

async fn receive(mut client: Client, received: Arc<Received>) -> anyhow::Result<()> {
    let mut acks = Vec::new();
    loop {
        client.receive().await?;
        while let Some(event) = client.take() {
            let wire::Event::Message(id, sent) = event else { continue };
            let took = received.micros().saturating_sub(sent);
            received.latencies.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(took);
            received.count.fetch_add(1, Ordering::Relaxed);
            if id > 0 {
                acks.extend(wire::puback(id));
            }
        }
        client.send(&acks).await?;
        acks.clear();
    }
}

/// What is published: `count` messages, the n-th to the inbox of device `n % devices`.
#[derive(Clone, Copy)]
pub(super) struct Work {
    pub(super) publishers: usize,
    pub(super) devices: usize,
    pub(super) payload: usize,
}

/// Publishes `count` messages at `rate` per second; returns when every one is acknowledged, with how many were.
///
/// The pace is kept by a thread of its own: the timer of the runtime counts in milliseconds, and would make bursts.
///
/// # Errors
/// When a publisher cannot connect or its connection ends.
pub(super) async fn publish_paced(
    peer: &Peer,
    received: &Arc<Received>,
    work: Work,
    rate: u32,
    count: u64,
) -> anyhow::Result<u64> {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut sockets = Vec::new();
    let mut readers = JoinSet::new();
    for publisher in 0..work.publishers {
        let client = Client::connect(&peer.publisher(publisher)).await?;
        let Either::Left(socket) = client.stream else { continue };
        let socket = Arc::new(socket);
        readers.spawn(count_acks(socket.clone(), acknowledged.clone()));
        sockets.push(socket);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let pacing = {
        let (received, stop) = (received.clone(), stop.clone());
        tokio::task::spawn_blocking(move || pace(&sockets, &received, work, rate, count, &stop))
    };
    let abort = StopOnDrop(stop, pacing.abort_handle());
    let sent = pacing.await??;
    let mut last = (acknowledged.load(Ordering::Relaxed), Instant::now());
    while acknowledged.load(Ordering::Relaxed) < sent && last.1.elapsed() < TRAIL {
        anyhow::ensure!(readers.try_join_next().is_none(), "the broker closed a publisher's connection");
        tokio::time::sleep(Duration::from_millis(1)).await;
        if acknowledged.load(Ordering::Relaxed) > last.0 {
            last = (acknowledged.load(Ordering::Relaxed), Instant::now());
        }
    }
    drop(abort);
    Ok(acknowledged.load(Ordering::Relaxed))
}

/// Ends the pacing thread when the measurement is given up.
struct StopOnDrop(Arc<AtomicBool>, AbortHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.abort();
    }
}

fn pace(
    sockets: &[Arc<TcpStream>],
    received: &Received,
    work: Work,
    rate: u32,
    count: u64,
    stop: &AtomicBool,
) -> anyhow::Result<u64> {
    let begin = Instant::now();
    let mut packet = Vec::new();
    let topics: Vec<String> = (0..work.devices).map(inbox).collect();
    for n in 0..count {
        let due = begin + Duration::from_secs_f64(n as f64 / f64::from(rate));
        let left = due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            std::thread::sleep(left);
        }
        let place = n as usize;
        let id = u16::try_from(n / sockets.len() as u64 % 60_000).unwrap_or(0) + 1;
        packet.clear();
        wire::publish(&mut packet, &topics[place % topics.len()], id, received.micros(), work.payload);
        write_all(&sockets[place % sockets.len()], &packet, stop)?;
        if stop.load(Ordering::Relaxed) {
            return Ok(n + 1);
        }
    }
    Ok(count)
}

/// Writes on a socket of the runtime from a thread that is not of the runtime.
fn write_all(socket: &TcpStream, mut bytes: &[u8], stop: &AtomicBool) -> anyhow::Result<()> {
    while !bytes.is_empty() && !stop.load(Ordering::Relaxed) {
        match socket.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_micros(100));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn count_acks(socket: Arc<TcpStream>, acknowledged: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        socket.readable().await?;
        match socket.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        let mut at = 0;
        while let Some((event, length)) = wire::next(&bytes[at..]) {
            at += length;
            acknowledged.fetch_add(u64::from(event == wire::Event::Acknowledged), Ordering::Relaxed);
        }
        bytes.drain(..at);
    }
}

/// Publishes for `time` with at most [`WINDOW`] unacknowledged per publisher; returns how many were acknowledged.
///
/// # Errors
/// When a publisher cannot connect or its connection ends.
pub(super) async fn publish_fast(
    peer: &Peer,
    received: &Arc<Received>,
    work: Work,
    time: Duration,
) -> anyhow::Result<u64> {
    let mut publishers = JoinSet::new();
    for publisher in 0..work.publishers {
        let client = Client::connect(&peer.publisher(publisher)).await?;
        publishers.spawn(publish(client, received.clone(), work, publisher, time));
    }
    let mut acknowledged = 0;
    while let Some(count) = publishers.join_next().await {
        acknowledged += count??;
    }
    Ok(acknowledged)
}

async fn publish(
    mut client: Client,
    received: Arc<Received>,
    work: Work,
    first: usize,
    time: Duration,
) -> anyhow::Result<u64> {
    let end = Instant::now() + time;
    let topics: Vec<String> = (first..work.devices).step_by(work.publishers).map(inbox).collect();
    anyhow::ensure!(!topics.is_empty(), "there are fewer devices than publishers");
    let (mut sent, mut acknowledged) = (0_u64, 0_u64);
    let mut batch = Vec::new();
    loop {
        let open = Instant::now() < end;
        while open && sent - acknowledged < WINDOW {
            let id = u16::try_from(sent % 60_000).unwrap_or(0) + 1;
            let topic = &topics[sent as usize % topics.len()];
            wire::publish(&mut batch, topic, id, received.micros(), work.payload);
            sent += 1;
        }
        if acknowledged == sent {
            return Ok(acknowledged);
        }
        client.send(&batch).await?;
        batch.clear();
        tokio::time::timeout(TRAIL, client.receive()).await??;
        while let Some(event) = client.take() {
            acknowledged += u64::from(event == wire::Event::Acknowledged);
        }
    }
}
