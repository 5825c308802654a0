//! The MQTT side, against a broker of a few lines: it takes one connection after another and does as it is told.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v5::{ConnAck, ConnectAuth, ConnectReturnCode, PublishProperties, SubAck, SubAckProperties};
use tidings_shared::health::Health;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

struct FakeBroker(TcpListener);

struct Peer {
    stream: TcpStream,
    incoming: BytesMut,
}

impl FakeBroker {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        (Self(listener), url)
    }

    /// Takes a connection and gives what its CONNECT said.
    async fn accept(&self) -> (Peer, rumqttc::mqttbytes::v5::Connect, ConnectAuth) {
        let (stream, _) = self.0.accept().await.unwrap();
        let mut peer = Peer { stream, incoming: BytesMut::new() };
        match peer.receive().await {
            Some(Packet::Connect(connect, _, auth)) => (peer, connect, auth),
            other => panic!("expected CONNECT, found {other:?}"),
        }
    }

    /// Takes a connection up to its subscriptions.
    async fn serve(&self, session_present: bool) -> Peer {
        let (mut peer, connect, _) = self.accept().await;
        assert!(!connect.clean_start);
        peer.greet(session_present, ConnectReturnCode::Success).await;
        match peer.receive().await {
            Some(Packet::Subscribe(subscribe)) => {
                let topics: Vec<_> = subscribe.filters.iter().map(|filter| filter.path.as_str()).collect();
                assert_eq!(topics, [EVENT_UNACKED, EVENT_RETURNED]);
                let return_codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); 2];
                let properties: Option<SubAckProperties> = None;
                peer.send(Packet::SubAck(SubAck { pkid: subscribe.pkid, return_codes, properties })).await;
            }
            other => panic!("expected SUBSCRIBE, found {other:?}"),
        }
        peer
    }
}

impl Peer {
    async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn greet(&mut self, session_present: bool, code: ConnectReturnCode) {
        self.send(Packet::ConnAck(ConnAck { session_present, code, properties: None })).await;
    }

    async fn publish(&mut self, pkid: u16, topic: &str, payload: Vec<u8>, time: i64) {
        let properties = PublishProperties {
            user_properties: vec![(properties::TIME.to_owned(), time.to_string())],
            ..PublishProperties::default()
        };
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, Bytes::from(payload), Some(properties));
        publish.pkid = pkid;
        self.send(Packet::Publish(publish)).await;
    }

    /// The next packet; `None` when the connection has ended.
    async fn receive(&mut self) -> Option<Packet> {
        let next = async {
            loop {
                if let Ok(packet) = Packet::read(&mut self.incoming, None) {
                    return Some(packet);
                }
                if self.stream.read_buf(&mut self.incoming).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), next).await.unwrap()
    }

    async fn expect_ack(&mut self, pkid: u16) {
        match self.receive().await {
            Some(Packet::PubAck(ack)) => assert_eq!(ack.pkid, pkid),
            other => panic!("expected PUBACK, found {other:?}"),
        }
    }
}

fn start(waker: Waker, url: &str, keys: &[&str], health: &Health) -> (Shutdown, JoinHandle<()>) {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    let login = BrokerLogin::new(url, None, keys, "tidings-push-gateway").unwrap();
    let shutdown = Shutdown::new();
    let listening = tokio::spawn(listen(waker, login, health.register("broker"), shutdown.clone()));
    (shutdown, listening)
}

#[tokio::test]
async fn an_event_is_acknowledged_after_its_push_is_stored_and_comes_again_without_effect() {
    for database in databases().await {
        let clock = Clock::manual(START);
        register(&database, &registration("1", "phone", "aa"), &clock).await;
        let (broker, url) = FakeBroker::start().await;
        let health = Health::default();
        let (shutdown, listening) = start(waker(&database, &clock), &url, &["key"], &health);
        let mut peer = broker.serve(false).await;
        peer.publish(1, EVENT_UNACKED, unacked("m1", START), START + 3_000).await;
        peer.expect_ack(1).await;
        assert_eq!(pushes(&database).await.len(), 1);
        assert_eq!(devices_of(&database, "1").await[0].wake_at, Some(START + 3_000));
        assert_eq!(health.missing(), Vec::<String>::new());
        // The connection is cut; the broker did not see the acknowledgement and tells everything again.
        drop(peer);
        let mut peer = broker.serve(true).await;
        peer.publish(7, EVENT_UNACKED, unacked("m1", START), START + 3_000).await;
        peer.publish(8, EVENT_UNACKED, b"nonsense".to_vec(), START).await;
        peer.publish(9, EVENT_RETURNED, returned("1-phone", START + 5_000), START + 5_000).await;
        for pkid in [7, 8, 9] {
            peer.expect_ack(pkid).await;
        }
        assert_eq!(pushes(&database).await, [TargetState::Expired]);
        assert_eq!(devices_of(&database, "1").await[0].wake_at, None);
        shutdown.begin();
        assert!(matches!(peer.receive().await, Some(Packet::Disconnect(_))));
        drop(peer);
        listening.await.unwrap();
    }
}

#[tokio::test]
async fn when_a_handler_key_is_refused_the_next_one_is_tried() {
    let database = databases().await.remove(0);
    let (broker, url) = FakeBroker::start().await;
    let health = Health::default();
    let (shutdown, listening) = start(waker(&database, &Clock::manual(START)), &url, &["old", "new"], &health);
    let (mut peer, connect, auth) = broker.accept().await;
    assert_eq!(connect.client_id, "tidings-push-gateway");
    assert!(
        matches!(auth, ConnectAuth::UsernamePassword { username, password } if username == "handler" && password == "old")
    );
    peer.greet(false, ConnectReturnCode::NotAuthorized).await;
    let (peer, _, auth) = broker.accept().await;
    assert!(matches!(auth, ConnectAuth::UsernamePassword { password, .. } if password == "new"));
    assert!(health.missing()[0].contains("refuses the handler key"), "{:?}", health.missing());
    shutdown.begin();
    drop(peer);
    listening.await.unwrap();
}

#[tokio::test]
async fn while_the_database_is_away_the_event_is_not_acknowledged() {
    let database = databases().await.remove(0);
    let (broker, url) = FakeBroker::start().await;
    let health = Health::default();
    let (shutdown, listening) = start(waker(&database, &Clock::manual(START)), &url, &["key"], &health);
    let mut peer = broker.serve(false).await;
    database.close().await;
    peer.publish(1, EVENT_UNACKED, unacked("m1", START), START).await;
    // The service stops; what it says before it leaves is not that it has the event.
    shutdown.begin();
    assert!(matches!(peer.receive().await, Some(Packet::Disconnect(_)) | None));
    drop(peer);
    listening.await.unwrap();
}
