//! The engine's task, through its handle: packets go in and out, stops are clean, one refused message harms no other.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rmqtt_codec::v5::{Connect, DisconnectReasonCode, Packet, PublishAck, QoS, Subscribe, SubscriptionOptions};
use tidings_shared::clock::Clock;
use tidings_shared::identity::UserId;
use tidings_shared::topic::access::{Acl, Principal};
use tidings_shared::topic::names;
use tokio::time::timeout;

use super::{EngineHandle, start};
use crate::engine::{ConnId, ConnectRequest, Protocol, PublishError, PublishRequest, Settings};
use crate::gate::outbox::{Closing, Outbox};
use crate::log::{
    AppendDone, Key, Limits, LogError, MemoryLog, Message, MessageLog, MessageProperties, Offset, PutDone, RecordKey,
    RecordKind, Stored,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A log in memory that takes no message of more than 1,000 bytes.
struct SmallLog(MemoryLog);

impl MessageLog for SmallLog {
    fn append(&self, batch: Vec<Arc<Message>>, done: AppendDone) {
        match batch.iter().map(|message| message.payload.len()).find(|found| *found > 1_000) {
            Some(found) => done(Err(LogError::TooLarge { found, allowed: 1_000 })),
            None => self.0.append(batch, done),
        }
    }

    fn read(&self, key: &Key, after: Offset, limit: usize) -> Result<Vec<Stored>, LogError> {
        self.0.read(key, after, limit)
    }

    fn scan(&self, after: Offset, limit: usize) -> Result<Vec<Stored>, LogError> {
        self.0.scan(after, limit)
    }

    fn floor(&self, key: &Key) -> Offset {
        self.0.floor(key)
    }

    fn put(&self, records: Vec<(RecordKey, Option<Bytes>)>, durable: bool, done: PutDone) {
        self.0.put(records, durable, done);
    }

    fn records(&self, kind: RecordKind) -> Vec<(RecordKey, Bytes)> {
        self.0.records(kind)
    }

    fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    fn head(&self) -> Offset {
        self.0.head()
    }

    fn first(&self) -> Offset {
        self.0.first()
    }
}

fn small_log(clock: &Clock) -> Arc<SmallLog> {
    Arc::new(SmallLog(MemoryLog::new(clock.clone(), Limits::default(), 1)))
}

struct Client {
    conn: ConnId,
    outbox: Arc<Outbox>,
    waiting: std::collections::VecDeque<Packet>,
    closed: Option<Closing>,
}

impl Client {
    async fn connect(engine: &EngineHandle, principal: Principal, client: &str) -> Self {
        let connect = Connect { client_id: client.into(), session_expiry_interval_secs: 60, ..Connect::default() };
        let connect = Box::new(connect);
        let request =
            ConnectRequest { protocol: Protocol::V5, principal, token: None, connect, server_keep_alive_s: None };
        let outbox = Arc::new(Outbox::new(1 << 20));
        let conn = engine.connect(request, outbox.clone()).await.unwrap();
        let mut client = Self { conn, outbox, waiting: Default::default(), closed: None };
        assert!(matches!(client.next().await, Some(Packet::ConnectAck(_))));
        client
    }

    /// The next packet; `None` when the engine has closed the connection.
    async fn next(&mut self) -> Option<Packet> {
        while self.waiting.is_empty() && self.closed.is_none() {
            let taken = timeout(PATIENCE, poll_fn(|cx| self.outbox.poll_take(cx))).await.unwrap();
            self.waiting = taken.packets;
            self.closed = taken.close;
        }
        self.waiting.pop_front()
    }

    async fn subscribe(&mut self, engine: &EngineHandle, filter: &str) {
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..Default::default() };
        let topic_filters = vec![(filter.into(), options)];
        let packet_id = 1.try_into().unwrap();
        let subscribe = Subscribe { packet_id, id: None, user_properties: Vec::new(), topic_filters };
        engine.send(self.conn, Packet::Subscribe(subscribe)).await.unwrap();
        assert!(matches!(self.next().await, Some(Packet::SubscribeAck(_))));
    }

    async fn message(&mut self, engine: &EngineHandle) -> String {
        match self.next().await {
            Some(Packet::Publish(publish)) => {
                let ack = PublishAck { packet_id: publish.packet_id.unwrap(), ..Default::default() };
                engine.send(self.conn, Packet::PublishAck(ack)).await.unwrap();
                String::from_utf8(publish.payload.to_vec()).unwrap()
            }
            other => panic!("expected a message, found {other:?}"),
        }
    }
}

fn device(user: &str) -> Principal {
    Principal::Device { user: UserId::new(user).unwrap(), acl: Acl::default() }
}

fn publish(topic: &str, payload: &str) -> PublishRequest {
    PublishRequest {
        principal: Principal::Handler,
        client: String::new(),
        topic: topic.to_owned(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: 1,
        retain: false,
        message_id: None,
        expiry_s: None,
        properties: MessageProperties::default(),
    }
}

#[tokio::test]
async fn a_publish_arrives_and_wakes_who_watches() {
    let clock = Clock::manual(1_000_000);
    let engine = start(Settings::default(), small_log(&clock), clock, 1).unwrap();
    let mut client = Client::connect(&engine, device("42"), "phone").await;
    client.subscribe(&engine, "42_inbox").await;
    let mut watch = engine.watch(&UserId::new("42").unwrap());
    let published = engine.publish(publish("42_inbox", "hello")).await.unwrap();
    assert_eq!(published.cursor.unwrap().offset, 1);
    assert_eq!(client.message(&engine).await, "hello");
    timeout(PATIENCE, watch.changed()).await.unwrap();
    assert_eq!(
        engine.publish(publish("$SYS/x", "no")).await.unwrap_err().to_string().split(':').next(),
        Some("publishing on this topic is not allowed")
    );
    assert_eq!(engine.stats().connections, 1);
}

#[tokio::test]
async fn one_message_that_is_too_large_does_not_take_others_with_it() {
    let clock = Clock::manual(1_000_000);
    let engine = start(Settings::default(), small_log(&clock), clock, 1).unwrap();
    let large = "x".repeat(2_000);
    let attempts = (0..20).map(|n| {
        let (engine, large) = (engine.clone(), large.clone());
        tokio::spawn(async move {
            let payload = if n == 7 { large } else { n.to_string() };
            engine.publish(publish("42_inbox", &payload)).await
        })
    });
    for (n, attempt) in attempts.collect::<Vec<_>>().into_iter().enumerate() {
        let result = timeout(PATIENCE, attempt).await.unwrap().unwrap();
        assert_eq!(result.as_ref().err(), (n == 7).then_some(&PublishError::QuotaExceeded), "{n}");
    }
}

#[tokio::test]
async fn a_stop_tells_clients_stores_and_ends() {
    let clock = Clock::manual(1_000_000);
    let log = small_log(&clock);
    let engine = start(Settings::default(), log.clone(), clock.clone(), 1).unwrap();
    let mut client = Client::connect(&engine, device("42"), "phone").await;
    client.subscribe(&engine, "42_inbox").await;
    engine.publish(publish("42_inbox", "one")).await.unwrap();
    assert_eq!(client.message(&engine).await, "one");
    timeout(PATIENCE, engine.stop()).await.unwrap();
    assert!(matches!(client.next().await, Some(Packet::Disconnect(_))));
    assert!(client.next().await.is_none());
    assert_eq!(client.closed, Some(DisconnectReasonCode::ServerShuttingDown.into()));
    assert_eq!(engine.publish(publish("42_inbox", "late")).await, Err(PublishError::Stopped));

    let engine = start(Settings::default(), log, clock, 2).unwrap();
    let mut client = Client::connect(&engine, device("42"), "phone").await;
    engine.publish(publish("42_inbox", "two")).await.unwrap();
    assert_eq!(client.message(&engine).await, "two", "what was acknowledged before the stop is not repeated");
}

#[tokio::test]
async fn what_was_missed_is_read_off_the_engines_task() {
    let clock = Clock::manual(1_000_000);
    let engine = start(Settings::default(), small_log(&clock), clock, 1).unwrap();
    let mut client = Client::connect(&engine, device("42"), "phone").await;
    client.subscribe(&engine, "42_inbox").await;
    engine.closed(client.conn, true).await;
    for n in 0..200 {
        engine.publish(publish("42_inbox", &n.to_string())).await.unwrap();
    }
    let mut client = Client::connect(&engine, device("42"), "phone").await;
    for n in 0..200 {
        assert_eq!(client.message(&engine).await, n.to_string());
    }
}

#[tokio::test]
async fn the_grace_period_runs_on_the_clock_that_was_given() {
    let clock = Clock::manual(1_000_000);
    let engine = start(Settings::default(), small_log(&clock), clock.clone(), 1).unwrap();
    let mut gateway = Client::connect(&engine, Principal::Handler, "push-gateway").await;
    gateway.subscribe(&engine, names::EVENT_UNACKED).await;
    engine.publish(publish("42_inbox", "x")).await.unwrap();
    // A clock that is set back in between stops no grace period.
    for step in [1_500, -500_000, 1_500] {
        clock.advance(step);
        engine.publish(publish("ping", "the engine looks at the clock")).await.unwrap();
    }
    assert!(gateway.message(&engine).await.contains("\"user\":\"42\""));
}

#[tokio::test]
async fn a_kick_ends_the_connection_with_its_reason() {
    let clock = Clock::manual(1_000_000);
    let engine = start(Settings::default(), small_log(&clock), clock, 1).unwrap();
    let mut client = Client::connect(&engine, device("42"), "phone").await;
    engine.kick(client.conn, DisconnectReasonCode::NotAuthorized).await;
    assert!(matches!(client.next().await, Some(Packet::Disconnect(_))));
    assert!(client.next().await.is_none());
    assert_eq!(client.closed, Some(DisconnectReasonCode::NotAuthorized.into()));
}
