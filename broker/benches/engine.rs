//! What the engine costs by itself, at 1,000, 50,000 and 1,000,000 subscriptions: a publish from a handler to one device
//! and its acknowledgement, a subscription and its end, a client that comes and goes. The cost should be the same at each
//! size, apart from the processor's caches. Before that: what a session costs in memory, a million of them.
//!
//! ```sh
//! cargo bench -p tidings-broker --bench engine
//! ```

#![expect(clippy::print_stdout, reason = "a bench reports on standard output")]

use std::hint::black_box;
use std::num::NonZeroU16;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rmqtt_codec::types::Publish;
use rmqtt_codec::v5::{Connect, Packet, PublishAck, QoS, Subscribe, SubscriptionOptions, Unsubscribe};
use tidings_broker::engine::{ConnId, ConnectRequest, Engine, Input, Output, Protocol, Settings};
use tidings_broker::log::{Appended, Offset};
use tidings_shared::identity::UserId;
use tidings_shared::topic::access::{Acl, Principal};

const SIZES: [usize; 3] = [1_000, 50_000, 1_000_000];
const HANDLER: ConnId = ConnId(0);
/// A prime, so that publishes go to devices in no order that a cache would like.
const STRIDE: usize = 611_953;
const PID: NonZeroU16 = NonZeroU16::MIN;

/// An engine with `size` connected devices, each subscribed to its inbox, and a log that stores at once.
struct Broker {
    engine: Engine,
    out: Vec<Output>,
    now_us: i64,
    head: u64,
    size: usize,
    next: usize,
    sent: u64,
}

impl Broker {
    fn new(size: usize, session_expiry_s: u32) -> Self {
        let engine = Engine::new(Settings::default(), 1, 1, Offset::START, 0);
        let mut broker = Self { engine, out: Vec::new(), now_us: 0, head: 0, size, next: 0, sent: 0 };
        broker.connect(HANDLER, Principal::Handler, "handler", 0);
        for device in 0..size {
            broker.come(device, session_expiry_s);
        }
        broker
    }

    /// Handles an input and everything that follows from it; time goes on as at 5,000 publishes per second.
    fn input(&mut self, input: Input) {
        self.engine.handle(self.now_us / 1000, input, &mut self.out);
        while !self.out.is_empty() {
            for output in std::mem::take(&mut self.out) {
                let answer = match output {
                    Output::Append { ticket, messages } => {
                        let result = messages.iter().map(|_| {
                            self.head += 1;
                            Appended { offset: Offset(self.head), previous: None, duplicate: false }
                        });
                        Input::Appended { ticket, result: Ok(result.collect()) }
                    }
                    Output::Put { ticket: Some(ticket), .. } => Input::Put { ticket, result: Ok(()) },
                    Output::Send { conn, packet: Packet::Publish(publish) } => {
                        self.sent += 1;
                        let Some(packet_id) = publish.packet_id else { continue };
                        let ack = PublishAck { packet_id, ..PublishAck::default() };
                        Input::Packet { conn, packet: Packet::PublishAck(ack) }
                    }
                    other => {
                        black_box(other);
                        continue;
                    }
                };
                self.engine.handle(self.now_us / 1000, answer, &mut self.out);
            }
        }
    }

    fn connect(&mut self, conn: ConnId, principal: Principal, client: &str, session_expiry_s: u32) {
        let connect = Connect {
            clean_start: session_expiry_s == 0,
            client_id: client.into(),
            session_expiry_interval_secs: session_expiry_s,
            ..Connect::default()
        };
        let request = ConnectRequest {
            protocol: Protocol::V5,
            principal,
            token: None,
            connect: Box::new(connect),
            server_keep_alive_s: None,
        };
        self.input(Input::Connect { conn, request });
    }

    fn come(&mut self, device: usize, session_expiry_s: u32) {
        let conn = conn(device);
        let Ok(user) = UserId::new(&user(device)) else { return };
        self.connect(conn, Principal::Device { user, acl: Acl::default() }, "phone", session_expiry_s);
        self.subscribe(conn, &inbox(device));
    }

    fn subscribe(&mut self, conn: ConnId, filter: &str) {
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
        let topic_filters = vec![(filter.into(), options)];
        let subscribe = Subscribe { packet_id: PID, id: None, user_properties: Vec::new(), topic_filters };
        self.input(Input::Packet { conn, packet: Packet::Subscribe(subscribe) });
    }

    fn unsubscribe(&mut self, conn: ConnId, filter: &str) {
        let unsubscribe =
            Unsubscribe { packet_id: PID, user_properties: Vec::new(), topic_filters: vec![filter.into()] };
        self.input(Input::Packet { conn, packet: Packet::Unsubscribe(unsubscribe) });
    }

    fn device(&mut self) -> usize {
        self.next = (self.next + STRIDE) % self.size;
        self.now_us += 200;
        self.next
    }

    fn publish(&mut self) {
        let device = self.device();
        let publish = Publish {
            dup: false,
            retain: false,
            qos: QoS::AtLeastOnce,
            topic: inbox(device).into(),
            packet_id: Some(PID),
            payload: Bytes::from_static(&[b'x'; 128]),
            properties: None,
        };
        self.input(Input::Packet { conn: HANDLER, packet: Packet::Publish(Box::new(publish)) });
    }

    fn come_and_go(&mut self) {
        let device = self.device();
        self.input(Input::Closed { conn: conn(device), graceful: true });
        self.come(device, 0);
    }

    fn subscribe_and_leave(&mut self) {
        let device = self.device();
        let filter = format!("{}/other", user(device));
        self.subscribe(conn(device), &filter);
        self.unsubscribe(conn(device), &filter);
    }
}

fn user(device: usize) -> String {
    format!("u{device}")
}

fn inbox(device: usize) -> String {
    format!("u{device}_inbox")
}

fn conn(device: usize) -> ConnId {
    ConnId(device as u64 + 1)
}

fn rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) * 1024
}

fn memory(what: &str, session_expiry_s: u32) -> Broker {
    let size = 1_000_000;
    let before = rss_bytes();
    let broker = Broker::new(size, session_expiry_s);
    println!("a session with one subscription, {what}: {} bytes", (rss_bytes() - before) / size as u64);
    broker
}

fn a_million_sessions(_: &mut Criterion) {
    let mut broker = memory("connected, kept", 3_600);
    let before = rss_bytes();
    for device in 0..broker.size {
        broker.input(Input::Closed { conn: conn(device), graceful: true });
    }
    let freed = before.saturating_sub(rss_bytes());
    println!("all of them disconnected: {} bytes given back to the system each", freed / broker.size as u64);
}

fn costs(criterion: &mut Criterion) {
    for size in SIZES {
        let mut broker = Broker::new(size, 0);
        let mut group = criterion.benchmark_group("engine");
        group.bench_function(BenchmarkId::new("publish", size), |bencher| bencher.iter(|| broker.publish()));
        assert!(broker.sent > 0, "messages are delivered");
        group.bench_function(BenchmarkId::new("subscribe and unsubscribe", size), |bencher| {
            bencher.iter(|| broker.subscribe_and_leave());
        });
        group.bench_function(BenchmarkId::new("disconnect, connect, subscribe", size), |bencher| {
            bencher.iter(|| broker.come_and_go());
        });
        group.finish();
    }
}

criterion_group!(benches, a_million_sessions, costs);
criterion_main!(benches);
