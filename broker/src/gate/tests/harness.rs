//! A gate on port 0 in front of a real engine with a log in memory, and a client that reads and writes bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rmqtt_codec::v5::Packet;
use rmqtt_codec::{v3, v5};
use tidings_shared::auth::{ServiceKeys, Verifier, VerifierConfig};
use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::Decoder;

use crate::core;
use crate::engine::Settings;
use crate::gate::metrics::{Held, Why};
use crate::gate::raw::Connect;
use crate::gate::{Gate, GateMetrics, GateParts, Limits};
use crate::log::MemoryLog;

pub(super) const KEY: &str = "handler-key";
const SECRET: &str = "a secret of the tests";
pub(super) const AUDIENCE: &str = "tidings";

pub(super) const LEEWAY_MS: i64 = 3_000;

/// Longer than anything takes here, shorter than a person waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct House {
    pub(super) gate: Gate,
    pub(super) address: SocketAddr,
    pub(super) metrics: GateMetrics,
    pub(super) clock: Clock,
}

impl House {
    pub(super) async fn open() -> Self {
        Self::with(Limits::default()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        let clock = Clock::system();
        let config = VerifierConfig {
            secret: Some(SECRET.into()),
            audiences: vec![AUDIENCE.into()],
            issuers: vec!["the app".into()],
            require_expiry: true,
            leeway_ms: LEEWAY_MS,
            ..VerifierConfig::default()
        };
        let metrics = GateMetrics::default();
        let log = MemoryLog::new(clock.clone(), crate::log::Limits::default(), 1);
        let gate = Gate::new(GateParts {
            engine: core::start(Settings::default(), Arc::new(log), clock.clone(), 7).unwrap(),
            verifier: Verifier::new(config, clock.clone()).unwrap(),
            keys: ServiceKeys::new(vec![KEY.into()]),
            limits,
            metrics: metrics.clone(),
            clock: clock.clone(),
            shutdown: Shutdown::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = gate.clone();
        tokio::spawn(async move { serving.serve_tcp(listener).await });
        Self { gate, address, metrics, clock }
    }

    /// How often this code refused somebody.
    pub(super) fn refused(&self, code: &'static str) -> u64 {
        self.metrics.refused.get_or_create(&Why { code }).get()
    }

    /// How often this code ended a connection.
    pub(super) fn closed(&self, code: &'static str) -> u64 {
        self.metrics.closed.get_or_create(&Why { code }).get()
    }

    /// How often this limit held somebody back.
    pub(super) fn throttled(&self, limit: &'static str) -> u64 {
        self.metrics.throttled.get_or_create(&Held { limit }).get()
    }

    /// Begins the stop, as the service does.
    pub(super) async fn stop(&self) {
        self.gate.0.shutdown.begin();
        self.gate.0.engine.stop().await;
    }

    /// A socket that has said nothing yet.
    pub(super) async fn knock(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// A client that has sent these bytes.
    pub(super) async fn send(&self, bytes: &[u8]) -> Client<TcpStream> {
        let mut client = self.knock().await;
        client.send(bytes).await;
        client
    }

    /// A handler that has logged in with MQTT 5 and has its CONNACK.
    pub(super) async fn handler(&self, client_id: &str) -> Client<TcpStream> {
        self.login(&Connect::new(5, client_id).login("handler", KEY)).await
    }

    pub(super) async fn login(&self, connect: &Connect) -> Client<TcpStream> {
        let mut client = self.send(&connect.bytes()).await;
        if connect.level == 5 {
            let Some(Packet::ConnectAck(ack)) = client.packet().await else { panic!("no CONNACK") };
            assert_eq!(ack.reason_code, v5::ConnectAckReason::Success, "{ack:?}");
        } else {
            let Some(v3::Packet::ConnectAck(ack)) = client.packet_v3().await else { panic!("no CONNACK") };
            assert_eq!(ack.return_code, v3::ConnectAckReason::ConnectionAccepted);
        }
        client
    }

    /// A good token of a user.
    pub(super) fn token(&self, user: &str) -> String {
        self.token_with(&serde_json::json!({ "sub": user }))
    }

    /// A token with these claims instead of, or besides, good ones; `null` leaves a claim out.
    pub(super) fn token_with(&self, changes: &serde_json::Value) -> String {
        sign(SECRET, &self.claims(changes))
    }

    pub(super) fn claims(&self, changes: &serde_json::Value) -> serde_json::Value {
        let mut claims = serde_json::json!({
            "sub": "68946", "exp": self.clock.now_s() + 600, "iss": "the app", "aud": AUDIENCE
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }
}

pub(super) fn sign(secret: &str, claims: &serde_json::Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

/// A client of bytes. Every wait has a bound.
pub(super) struct Client<S> {
    pub(super) stream: S,
    received: BytesMut,
}

impl<S: AsyncReadExt + AsyncWriteExt + Unpin> Client<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, received: BytesMut::new() }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        // The gate may have closed already; what it said then is what the test reads.
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next MQTT 5 packet; `None` when the gate closes.
    pub(super) async fn packet(&mut self) -> Option<Packet> {
        self.decode(&mut v5::Codec::default()).await
    }

    /// The next 3.1.1 packet; `None` when the gate closes.
    pub(super) async fn packet_v3(&mut self) -> Option<v3::Packet> {
        self.decode(&mut v3::Codec::default()).await
    }

    async fn decode<T, C>(&mut self, codec: &mut C) -> Option<T>
    where
        C: Decoder<Item = (T, u32), Error = rmqtt_codec::error::DecodeError>,
    {
        loop {
            if let Some((packet, _)) = codec.decode(&mut self.received).expect("the gate sends good packets") {
                return Some(packet);
            }
            let read = self.stream.read_buf(&mut self.received);
            match tokio::time::timeout(PATIENCE, read).await.expect("the gate says something or closes") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Everything until the gate closes.
    pub(super) async fn last_words(&mut self) -> Vec<u8> {
        let mut words = self.received.split().to_vec();
        let read = self.stream.read_to_end(&mut words);
        let _ = tokio::time::timeout(PATIENCE, read).await.expect("the gate closes");
        words
    }

    /// The reason code of the DISCONNECT that comes next, and that nothing follows it.
    pub(super) async fn disconnected(&mut self) -> u8 {
        let packet = self.packet().await;
        let Some(Packet::Disconnect(disconnect)) = packet else { panic!("no DISCONNECT but {packet:?}") };
        assert_eq!(self.last_words().await, b"");
        disconnect.reason_code.into()
    }

    /// The reason code and reason string of the CONNACK that refuses, and that nothing follows it.
    pub(super) async fn refused(&mut self) -> (u8, String) {
        let packet = self.packet().await;
        let Some(Packet::ConnectAck(ack)) = packet else { panic!("no CONNACK but {packet:?}") };
        assert!(!ack.session_present);
        assert_eq!(self.last_words().await, b"");
        (ack.reason_code.into(), ack.reason_string.unwrap_or_default().to_string())
    }
}
