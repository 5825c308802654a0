//! The load: devices that wait in their inboxes, publishers that send first at a rate and then as fast as they can.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use hdrhistogram::Histogram;
use rmqtt_codec::v3::Packet;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::client::{self, Connection};
use super::peer::{Peer, user};
use crate::cli::BrokerBench;

/// Publishes that a publisher may have unacknowledged.
const WINDOW: usize = 64;
/// The longest latency that is told apart from longer ones, in microseconds.
const LONGEST_MICROS: u64 = 60_000_000;
/// How long deliveries may trail the last publish.
const TRAIL: Duration = Duration::from_secs(20);

/// What was measured.
pub(super) struct Figures {
    /// Publishes per second, acknowledged and delivered, as fast as it goes.
    pub(super) throughput: f64,
    /// From the publish to the inbox, at the given rate.
    pub(super) p50_ms: f64,
    /// The same.
    pub(super) p99_ms: f64,
    /// With every device connected, before the first message.
    pub(super) rss_idle_mib: f64,
    /// After the last.
    pub(super) rss_after_mib: f64,
    /// Acknowledged but not delivered.
    pub(super) lost: u64,
}

/// What the devices have received; shared with their tasks.
struct Received {
    start: Instant,
    count: AtomicU64,
    latencies: std::sync::Mutex<Histogram<u64>>,
}

/// Connects everybody, runs both phases, counts.
///
/// # Errors
/// When a client fails.
pub(super) async fn run(peer: &Peer, load: &BrokerBench) -> anyhow::Result<Figures> {
    let received = Arc::new(Received {
        start: Instant::now(),
        count: AtomicU64::new(0),
        latencies: std::sync::Mutex::new(Histogram::new_with_bounds(1, LONGEST_MICROS, 3)?),
    });
    let mut devices = JoinSet::new();
    for device in 0..load.devices {
        let mut connection =
            client::connect(peer.address, &format!("device-{device}"), peer.device_login(device)).await?;
        client::subscribe(&mut connection, &format!("{}_inbox", user(device))).await?;
        devices.spawn(receive(connection, received.clone()));
    }
    let rss_idle_mib = peer.rss_mib()?;

    let paced = publish_all(peer, load, &received, Some(load.rate)).await?;
    wait_for(&received, paced).await;
    let (p50_ms, p99_ms) = {
        let mut latencies = received.latencies.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let figures = (quantile_ms(&latencies, 0.5), quantile_ms(&latencies, 0.99));
        latencies.reset();
        figures
    };
    let before = received.count.load(Ordering::Relaxed);
    let begin = Instant::now();
    let fast = publish_all(peer, load, &received, None).await?;
    wait_for(&received, paced + fast).await;
    let after = received.count.load(Ordering::Relaxed);
    let throughput = (after - before) as f64 / begin.elapsed().as_secs_f64();
    let rss_after_mib = peer.rss_mib()?;
    devices.abort_all();
    Ok(Figures { throughput, p50_ms, p99_ms, rss_idle_mib, rss_after_mib, lost: (paced + fast).saturating_sub(after) })
}

fn quantile_ms(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1000.0
}

async fn wait_for(received: &Received, published: u64) {
    let end = Instant::now() + TRAIL;
    while received.count.load(Ordering::Relaxed) < published && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Acknowledges everything and notes how long each message took.
async fn receive(mut connection: Connection, received: Arc<Received>) -> anyhow::Result<()> {
    loop {
        let Packet::Publish(publish) = client::next(&mut connection).await? else { continue };
        let now = micros(received.start);
        let sent = publish.payload.first_chunk::<8>().map_or(now, |stamp| u64::from_be_bytes(*stamp));
        received
            .latencies
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .saturating_record(now.saturating_sub(sent));
        if let Some(packet_id) = publish.packet_id {
            connection.send(Packet::PublishAck { packet_id }).await?;
        }
        received.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs the publishers for the phase; returns how many publishes were acknowledged.
async fn publish_all(peer: &Peer, load: &BrokerBench, received: &Received, rate: Option<u32>) -> anyhow::Result<u64> {
    let mut publishers = JoinSet::new();
    for publisher in 0..load.publishers {
        let connection =
            client::connect(peer.address, &format!("publisher-{publisher}"), peer.publisher_login()).await?;
        let work = Work {
            start: received.start,
            end: Instant::now() + Duration::from_secs(load.seconds),
            pause: rate.map(|rate| Duration::from_secs_f64(load.publishers as f64 / f64::from(rate))),
            devices: load.devices,
            payload: load.payload.max(8),
            first: publisher,
            step: load.publishers,
        };
        publishers.spawn(publish(connection, work));
    }
    let mut acknowledged = 0;
    while let Some(count) = publishers.join_next().await {
        acknowledged += count??;
    }
    Ok(acknowledged)
}

struct Work {
    start: Instant,
    end: Instant,
    pause: Option<Duration>,
    devices: usize,
    payload: usize,
    first: usize,
    step: usize,
}

/// Publishes to one inbox after the other with at most [`WINDOW`] unacknowledged.
async fn publish(connection: Connection, work: Work) -> anyhow::Result<u64> {
    let (mut sink, mut stream) = connection.split();
    let mut timer = work.pause.map(|pause| {
        let mut timer = tokio::time::interval(pause);
        timer.set_missed_tick_behavior(MissedTickBehavior::Burst);
        timer
    });
    let (mut sent, mut acknowledged) = (0_u64, 0_u64);
    let mut device = work.first;
    while Instant::now() < work.end {
        if let Some(timer) = &mut timer {
            timer.tick().await;
        }
        while sent - acknowledged < WINDOW as u64 {
            let id = NonZeroU16::new((sent % 60_000) as u16 + 1).unwrap_or(NonZeroU16::MIN);
            let topic = format!("{}_inbox", user(device % work.devices));
            sink.feed(client::publish(topic, id, payload(work.start, work.payload))).await?;
            sent += 1;
            device += work.step;
            if timer.is_some() {
                break;
            }
        }
        sink.flush().await?;
        // At a rate the acknowledgements are taken as they come; at full speed the window waits for one.
        loop {
            let wait = timer.is_none() || sent - acknowledged >= WINDOW as u64;
            let packet = if wait {
                stream.next().await
            } else {
                match futures_util::FutureExt::now_or_never(stream.next()) {
                    Some(packet) => packet,
                    None => break,
                }
            };
            acknowledged += count_ack(packet)?;
            if timer.is_none() {
                while let Some(packet) = futures_util::FutureExt::now_or_never(stream.next()) {
                    acknowledged += count_ack(packet)?;
                }
                break;
            }
        }
    }
    while acknowledged < sent {
        acknowledged += count_ack(tokio::time::timeout(TRAIL, stream.next()).await?)?;
    }
    Ok(acknowledged)
}

fn count_ack<E: std::fmt::Display>(packet: Option<Result<(Packet, u32), E>>) -> anyhow::Result<u64> {
    match packet {
        Some(Ok((Packet::PublishAck { .. }, _))) => Ok(1),
        Some(Ok(_)) => Ok(0),
        Some(Err(error)) => anyhow::bail!("{error}"),
        None => anyhow::bail!("the broker closed a publisher's connection"),
    }
}

fn payload(start: Instant, size: usize) -> Bytes {
    let mut payload = BytesMut::with_capacity(size);
    payload.put_u64(micros(start));
    payload.resize(size, b'x');
    payload.freeze()
}

fn micros(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}
