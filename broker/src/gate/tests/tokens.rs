//! Tokens on live connections: log-in and re-authentication by AUTH, fresh tokens by PUBLISH, revocation.

use rmqtt_codec::v5::{AuthReasonCode, Packet};
use rmqtt_codec::{v3, v5};
use serde_json::json;
use tidings_shared::identity::UserId;
use tidings_shared::topic::names;
use tokio::net::TcpStream;

use super::harness::{Client, House, KEY, LEEWAY_MS, PATIENCE};
use crate::engine::{Change, Revocation, Target};
use crate::gate::raw::{Connect, field, packet, properties};

fn method(name: &str) -> Vec<u8> {
    [&[0x15][..], &field(name)].concat()
}

fn data(token: &str) -> Vec<u8> {
    [&[0x16][..], &field(token)].concat()
}

fn auth(reason: u8, list: &[&[u8]]) -> Vec<u8> {
    packet(0xF0, &[&[reason][..], &properties(list)].concat())
}

fn by_method(token: &str) -> Connect {
    Connect::new(5, "phone").property(&method("JWT")).property(&data(token))
}

/// PUBLISH with packet id 7 where it has one.
fn publish(level: u8, topic: &str, qos: u8, list: &[&[u8]], payload: &str) -> Vec<u8> {
    let mut body = field(topic);
    if qos > 0 {
        body.extend([0, 7]);
    }
    if level == 5 {
        body.extend(properties(list));
    }
    body.extend(payload.as_bytes());
    packet(0x30 | (qos << 1), &body)
}

fn revocation(target: Target) -> Change {
    Change::Set(Revocation { target, issued_before_ms: None, until_ms: None, made_ms: 0 })
}

impl House {
    fn soon(&self, user: &str, seconds: i64) -> String {
        self.token_with(&json!({ "sub": user, "exp": self.clock.now_s() + seconds }))
    }
}

async fn puback(client: &mut Client<TcpStream>) -> (u8, String) {
    let packet = client.packet().await;
    let Some(Packet::PublishAck(ack) | Packet::PublishReceived(ack)) = packet else { panic!("no ack but {packet:?}") };
    (ack.reason_code.into(), ack.reason_string.unwrap_or_default().to_string())
}

async fn disconnect(client: &mut Client<TcpStream>) -> (u8, String) {
    let packet = client.packet().await;
    let Some(Packet::Disconnect(said)) = packet else { panic!("no DISCONNECT but {packet:?}") };
    assert_eq!(client.last_words().await, b"");
    (said.reason_code.into(), said.reason_string.unwrap_or_default().to_string())
}

#[tokio::test]
async fn a_token_as_authentication_data_is_a_log_in() {
    let house = House::open().await;
    let token = house.token("68946");
    for connect in [
        by_method(&token),
        by_method(&token).login("whoever", "whatever"),
        Connect::new(5, "phone").property(&method("JWT")).login("JWT", &token),
    ] {
        let mut client = house.send(&connect.bytes()).await;
        let Some(Packet::ConnectAck(ack)) = client.packet().await else { panic!("no CONNACK") };
        assert_eq!(ack.reason_code, v5::ConnectAckReason::Success);
        assert_eq!(ack.auth_method.as_deref(), Some("JWT"), "MQTT-4.12.0-5");
        assert_eq!(ack.auth_data, None);
    }
    let Some(Packet::ConnectAck(ack)) =
        house.send(&Connect::new(5, "phone").login("JWT", &token).bytes()).await.packet().await
    else {
        panic!("no CONNACK")
    };
    assert_eq!(ack.auth_method, None);
    for (connect, code) in [
        (Connect::new(5, "phone").property(&method("JWT")), 0x86),
        (Connect::new(5, "phone").property(&method("JWT")).login("handler", KEY), 0x86),
        (by_method("no token"), 0x86),
        (Connect::new(5, "phone").property(&method("SCRAM-SHA-1")).property(&data(&token)), 0x8C),
        (Connect::new(5, "phone").property(&method("jwt")).property(&data(&token)), 0x8C),
        (Connect::new(5, "phone").property(&method("")).property(&data(&token)), 0x8C),
        (Connect::new(5, "phone").property(&data(&token)), 0x82),
    ] {
        assert_eq!(house.send(&connect.bytes()).await.refused().await.0, code, "{:?}", connect.properties);
    }
}

#[tokio::test]
async fn re_authentication_prolongs_and_ends_with_the_fresh_token() {
    let house = House::open().await;
    let mut client = house.login(&by_method(&house.soon("68946", 2))).await;
    client.send(&auth(0x19, &[&method("JWT"), &data(&house.soon("68946", 4))])).await;
    let packet = client.packet().await;
    let Some(Packet::Auth(answer)) = packet else { panic!("no AUTH but {packet:?}") };
    assert_eq!(answer.reason_code, AuthReasonCode::Success);
    assert_eq!(answer.auth_method.as_deref(), Some("JWT"));
    let begun = house.clock.now_ms();
    assert_eq!(disconnect(&mut client).await, (0x87, "the token has expired".to_owned()));
    let (now, leeway) = (house.clock.now_ms(), LEEWAY_MS);
    assert!(now - begun >= 1_000, "the old token's end was not the connection's: {}", now - begun);
    assert!(now - begun < 4_000 + leeway, "and the fresh one's was");
}

#[tokio::test]
async fn a_refused_re_authentication_ends_the_connection() {
    let house = House::open().await;
    let good = house.token("68946");
    let cases: Vec<(&str, u8, Vec<u8>)> = vec![
        ("expired", 0x87, auth(0x19, &[&method("JWT"), &data(&house.soon("68946", -600))])),
        ("another user", 0x87, auth(0x19, &[&method("JWT"), &data(&house.token("23412"))])),
        ("no token", 0x87, auth(0x19, &[&method("JWT")])),
        ("garbage", 0x87, auth(0x19, &[&method("JWT"), &data("x.y.z")])),
        ("another method", 0x8C, auth(0x19, &[&method("PLAIN"), &data(&good)])),
        ("no method", 0x82, auth(0x19, &[])),
        ("data without method", 0x82, auth(0x19, &[&data(&good)])),
        ("continue", 0x82, auth(0x18, &[&method("JWT"), &data(&good)])),
        ("success", 0x82, auth(0x00, &[&method("JWT"), &data(&good)])),
        ("short", 0x82, packet(0xF0, &[])),
        ("an unknown reason", 0x82, auth(0x01, &[&method("JWT")])),
    ];
    for (what, code, bytes) in cases {
        let mut client = house.login(&by_method(&good)).await;
        client.send(&bytes).await;
        let (said, why) = disconnect(&mut client).await;
        // A reason code that AUTH does not have is malformed or a protocol error.
        assert!(said == code || (what == "an unknown reason" && said == 0x81), "{what}: {said:#04x} {why}");
        assert!(!why.is_empty(), "{what}");
    }
    let mut client = house.login(&Connect::new(5, "phone").login("JWT", &good)).await;
    client.send(&auth(0x19, &[&method("JWT"), &data(&good)])).await;
    assert_eq!(disconnect(&mut client).await.0, 0x82, "no method in CONNECT");
}

#[tokio::test]
async fn a_fresh_token_is_published_and_goes_nowhere() {
    let house = House::open().await;
    let mut spy = house.handler("spy").await;
    let subscribe = |filter: &str| packet(0x82, &[&[0, 1, 0][..], &field(filter), &[1]].concat());
    for filter in ["#", names::TOKEN, "$tidings/token/#"] {
        spy.send(&subscribe(filter)).await;
        assert!(matches!(spy.packet().await, Some(Packet::SubscribeAck(_))));
    }
    for level in [4, 5] {
        let mut client = house.login(&Connect::new(level, "phone").login("JWT", &house.soon("68946", 3))).await;
        for qos in [0, 1] {
            client.send(&publish(level, names::TOKEN, qos, &[], &house.token("68946"))).await;
        }
        client.send(&publish(level, names::TOKEN, 2, &[], &format!("{}\n", house.token("68946")))).await;
        client.send(&packet(0x62, &[0, 7])).await;
        if level == 4 {
            assert!(matches!(client.packet_v3().await, Some(v3::Packet::PublishAck { .. })));
            assert!(matches!(client.packet_v3().await, Some(v3::Packet::PublishReceived { .. })));
            assert!(matches!(client.packet_v3().await, Some(v3::Packet::PublishComplete { .. })));
        } else {
            assert_eq!(puback(&mut client).await, (0, String::new()));
            assert_eq!(puback(&mut client).await, (0, String::new()));
            assert!(matches!(client.packet().await, Some(Packet::PublishComplete(_))));
        }
        // What comes after the tokens is the first thing that anybody hears.
        client.send(&publish(level, "ping", 0, &[], "here")).await;
        let heard = spy.packet().await;
        assert!(matches!(&heard, Some(Packet::Publish(heard)) if &*heard.topic == "ping"), "{heard:?}");
    }
}

#[tokio::test]
async fn a_refused_fresh_token_is_told_and_the_old_one_counts() {
    let house = House::open().await;
    let mut client = house.login(&Connect::new(5, "phone").login("JWT", &house.soon("68946", 4))).await;
    let alias = [0x23, 0, 5];
    for (topic, token, why) in [
        (names::TOKEN, house.token("23412"), "another user's"),
        ("", house.soon("68946", -600), "expired"),
        ("", "\u{0}".to_owned(), "not a JWT"),
    ] {
        client.send(&publish(5, topic, 1, &[&alias], &token)).await;
        let (code, reason) = puback(&mut client).await;
        assert_eq!(code, 0x87);
        assert!(reason.contains(why), "{reason}");
    }
    // The alias now stands for another topic, which is a command like any other.
    client.send(&publish(5, "ping", 1, &[&alias], "a")).await;
    assert_eq!(puback(&mut client).await.0, 0);
    client.send(&publish(5, "", 1, &[&alias], "b")).await;
    assert_eq!(puback(&mut client).await.0, 0);
    assert_eq!(disconnect(&mut client).await.0, 0x87);
    let mut old = house.login(&Connect::new(4, "old").login("JWT", &house.token("68946"))).await;
    old.send(&publish(4, names::TOKEN, 1, &[], "garbage")).await;
    assert_eq!(old.last_words().await, b"", "3.1.1 has nothing but closing");
    let mut handler = house.handler("h").await;
    handler.send(&publish(5, names::TOKEN, 1, &[], &house.token("68946"))).await;
    assert_eq!(puback(&mut handler).await.0, 0x87);
}

#[tokio::test]
async fn a_revoked_token_ends_the_connection_and_opens_no_other() {
    let house = House::open().await;
    let token = house.token_with(&json!({ "sub": "68946", "jti": "t1" }));
    let mut phone = house.login(&Connect::new(5, "phone").login("JWT", &token)).await;
    let mut old = house.login(&Connect::new(4, "old").login("JWT", &token)).await;
    let mut other = house.login(&by_method(&house.token("23412"))).await;
    let engine = &house.gate.0.engine;
    assert_eq!(engine.revoke(revocation(Target::Token("t1".into()))).await.unwrap(), 2);
    assert_eq!(disconnect(&mut phone).await, (0x87, "the token was revoked".to_owned()));
    assert_eq!(old.last_words().await, b"");
    let (code, why) = house.send(&Connect::new(5, "phone").login("JWT", &token).bytes()).await.refused().await;
    assert_eq!((code, why.as_str()), (0x87, "the token was revoked"));
    let words = house.send(&Connect::new(4, "old").login("JWT", &token).bytes()).await.last_words().await;
    assert_eq!(words, [0x20, 2, 0, 5]);
    other.send(&publish(5, names::TOKEN, 1, &[], &token)).await;
    assert_eq!(puback(&mut other).await.0, 0x87);
    let user = UserId::new("23412").unwrap();
    assert_eq!(engine.revoke(revocation(Target::User(user))).await.unwrap(), 1);
    assert_eq!(disconnect(&mut other).await.0, 0x87);
    let ended = async {
        while house.metrics.closed.get_or_create(&crate::gate::metrics::Why { code: "token_revoked" }).get() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("counted under their own code");
}
