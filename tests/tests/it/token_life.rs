//! The life of a token after the log-in: revocation that survives a crash, fresh tokens, keys that rotate, explanations; and no
//! token in any log.

use std::time::Duration;

use serde_json::{Value, json};
use tidings_tests::broker::{Broker, variable};
use tidings_tests::curl::{Answer, Request};
use tidings_tests::packet::{Connect, Connection, Version};
use tidings_tests::tokens::{Issuer, claims_with, now_s};
use tidings_tests::wait::{PATIENCE, eventually};

const ADMIN: &str = "admin-key-0123456789";
/// "Within a second", with room for a busy machine.
const SOON: Duration = Duration::from_secs(5);
const REVOKED: u8 = 0x87;

fn broker(more: &[(&str, &str)]) -> Broker {
    let settings: Vec<(&str, &str)> = [("keys.admin", ADMIN)].into_iter().chain(more.iter().copied()).collect();
    Broker::start_with(&settings)
}

fn admin(broker: &Broker, method: &str, path: &str) -> Request {
    Request::new(method, broker.url(&format!("/v1/admin/{path}"))).bearer(ADMIN)
}

fn revoke(broker: &Broker, what: &Value) -> Answer {
    admin(broker, "POST", "revocations").body(what.to_string()).send().expect(201)
}

fn token(broker: &Broker, user: &str, jti: &str) -> String {
    broker.issuer.sign(&claims_with(user, &json!({ "jti": jti })))
}

#[test]
fn a_revocation_ends_everything_at_once_and_survives_a_crash() {
    let mut broker = broker(&[]);
    let (bad, good) = (token(&broker, "42", "bad"), token(&broker, "42", "good"));
    let mut device = Connection::accepted(broker.mqtt, &Connect::device(Version::V5, "phone", &bad));
    let mut other = Connection::accepted(broker.mqtt, &Connect::device(Version::V5, "tablet", &good));
    let url = broker.url("/v1/messages?wait=50s");
    let poll = std::thread::spawn({
        let bad = bad.clone();
        move || Request::get(url).bearer(&bad).send()
    });
    eventually("the poll waits", PATIENCE, || {
        let metrics = Request::get(broker.url("/metrics")).send().expect(200).text();
        metrics.lines().any(|line| line.contains("waiting") && line.ends_with(" 1")).then_some(())
    });
    let begun = now_s();
    revoke(&broker, &json!({ "jti": "bad" }));
    let last = device.closed();
    assert_eq!((last.len(), last[0].kind, last[0].body[0]), (1, 14, REVOKED), "{last:?}");
    assert_eq!(poll.join().unwrap().expect(401).code(), "token_revoked");
    assert!(Duration::from_secs((now_s() - begun).unsigned_abs()) <= SOON);
    broker.process.kill();
    broker.start_again();
    for (version, code) in [(Version::V5, REVOKED), (Version::V3, 5)] {
        let mut refused = Connection::open(broker.mqtt, &Connect::device(version, "phone", &bad));
        assert_eq!(refused.connack(), code);
    }
    assert_eq!(Request::get(broker.url("/v1/messages?wait=0")).bearer(&bad).send().expect(401).code(), "token_revoked");
    other.closed();
    let _ = Connection::accepted(broker.mqtt, &Connect::device(Version::V5, "tablet", &good));
    let _ = admin(&broker, "DELETE", "revocations/jti:bad").send().expect(204);
    let _ = Connection::accepted(broker.mqtt, &Connect::device(Version::V5, "phone", &bad));
}

#[test]
fn no_log_in_slips_through_while_a_revocation_is_stored() {
    let broker = broker(&[]);
    for round in 0..5 {
        let jti = format!("t{round}");
        let token = token(&broker, "42", &jti);
        let (address, connecting) = (broker.mqtt, token.clone());
        let clients = std::thread::spawn(move || {
            let open =
                |n: usize| Connection::open(address, &Connect::device(Version::V5, &format!("c{n}"), &connecting));
            (0..40).map(open).collect::<Vec<_>>()
        });
        revoke(&broker, &json!({ "jti": jti }));
        for mut connection in clients.join().unwrap() {
            // Let in and thrown out, or refused: none stays.
            let last = connection.closed();
            assert!(last.iter().any(|packet| packet.body.contains(&REVOKED)), "{last:?}");
        }
        let left = admin(&broker, "GET", "connections?user=42").send().expect(200);
        assert_eq!(left.json()["connections"], json!([]));
    }
}

#[test]
fn a_fresh_token_keeps_the_connection_and_stands_in_no_log() {
    let broker = broker(&[("auth.leeway", "0s"), ("telemetry.level", "trace")]);
    let soon = |user: &str, seconds: i64| broker.issuer.sign(&claims_with(user, &json!({ "exp": now_s() + seconds })));
    let (first, fresh, foreign) = (soon("42", 4), soon("42", 600), soon("43", 600));
    let garbage = format!("{}x", soon("42", 60));
    let mut device = Connection::accepted(broker.mqtt, &Connect::device(Version::V5, "phone", &first));
    let mut old = Connection::accepted(broker.mqtt, &Connect::device(Version::V3, "old", &first));
    device.publish("$tidings/token", foreign.as_bytes(), 1);
    assert_eq!(device.puback(), 0x87);
    device.publish("$tidings/token", garbage.as_bytes(), 1);
    assert_eq!(device.puback(), 0x87);
    for connection in [&mut device, &mut old] {
        connection.publish("$tidings/token", fresh.as_bytes(), 1);
        assert_eq!(connection.puback(), 0);
    }
    let ended = claims_with("42", &json!({}))["iat"].as_i64().unwrap() + 5;
    eventually("the first token has ended", Duration::from_secs(20), || (now_s() > ended).then_some(()));
    for connection in [&mut device, &mut old] {
        assert_eq!(connection.until_ping_answer(), []);
    }
    let unknown = Issuer::new().token("42");
    assert_eq!(Connection::open(broker.mqtt, &Connect::device(Version::V5, "x", &unknown)).connack(), 0x86);
    let _ = Request::get(broker.url("/v1/messages?wait=0")).bearer(&fresh).send().expect(200);
    let asked = json!({ "token": first, "action": "publish", "topic": "ping" });
    let answer = admin(&broker, "POST", "explain").body(asked.to_string()).send().expect(200);
    assert_eq!(answer.json()["token"]["code"], "token_expired");
    assert_eq!(answer.json()["rule_allows"], true);
    let log = broker.process.log();
    assert!(log.contains("logged in") && log.contains("DEBUG"), "the log is as verbose as it can be");
    for (what, secret) in
        [("first", &first), ("fresh", &fresh), ("foreign", &foreign), ("garbage", &garbage), ("unknown", &unknown)]
    {
        let signature = secret.rsplit('.').next().unwrap();
        let payload = secret.split('.').nth(1).unwrap();
        assert!(!log.contains(signature) && !log.contains(payload), "the {what} token is in the log");
    }
    assert!(!log.contains(ADMIN), "the admin key is in the log");
}

#[test]
fn a_key_file_rotates_without_a_restart() {
    let broker = Broker::start();
    let file = broker.data().parent().unwrap().join("issuer.pem");
    let next = Issuer::new();
    let connect = |issuer: &Issuer| {
        Connection::open(broker.mqtt, &Connect::device(Version::V5, "phone", &issuer.token("42"))).connack()
    };
    assert_eq!((connect(&broker.issuer), connect(&next)), (0, 0x86));
    std::fs::write(&file, "-----BEGIN PUBLIC KEY-----\nhalf a k").unwrap();
    assert_eq!((connect(&broker.issuer), connect(&next)), (0, 0x86), "a broken file changes nothing");
    let _ = next.write_public_key(file.parent().unwrap());
    assert_eq!((connect(&next), connect(&broker.issuer)), (0, 0x86));
}

/// `tidings` with these arguments, configured as the broker is: exit status and output.
fn tidings(broker: &Broker, arguments: &[&str]) -> (i32, String) {
    let key = broker.data().parent().unwrap().join("issuer.pem");
    let output = std::process::Command::new(tidings_tests::programs::program("tidings"))
        .args(arguments)
        .current_dir(broker.data())
        .env(variable("auth.public_key_file"), key)
        .env(variable("auth.issuers"), tidings_tests::tokens::ISSUER)
        .env(variable("broker.http.listen"), broker.http.to_string())
        .env(variable("keys.admin"), ADMIN)
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), text)
}

#[test]
fn a_decision_is_explained_on_the_command_line_with_and_without_the_broker() {
    let mut broker = broker(&[]);
    let token = token(&broker, "42", "t1");
    let expired = broker.issuer.sign(&claims_with("42", &json!({ "exp": now_s() - 3600 })));
    let _device =
        Connection::accepted(broker.mqtt, &Connect::device(Version::V5, "phone", &broker.issuer.token("alice")));
    let cases = [
        (
            &*token,
            "subscribe",
            "42_inbox",
            0,
            vec!["allowed", "own-topic", "a device of user 42", "the running broker's"],
        ),
        (&*token, "publish", "43_inbox", 1, vec!["denied", "other-user"]),
        (&*token, "publish", "alice_inbox", 1, vec!["denied", "other-user"]),
        (&*token, "publish", "$tidings/token", 0, vec!["allowed", "token-refresh"]),
        (&*expired, "subscribe", "42_inbox", 1, vec!["denied", "token_expired", "own-topic", "so the token says"]),
        ("handler", "subscribe", "#", 0, vec!["allowed", "a handler"]),
        ("garbage", "publish", "ping", 1, vec!["denied", "token_malformed"]),
    ];
    for (token, action, topic, status, texts) in cases {
        let (ended, said) = tidings(&broker, &["explain", token, action, topic]);
        assert_eq!(ended, status, "{action} {topic}: {said}");
        for text in texts {
            assert!(said.contains(text), "`{text}` in: {said}");
        }
        assert!(!said.contains(token) || token == "handler", "the token is not printed: {said}");
    }
    let (_, said) = tidings(&broker, &["explain", &token, "publish", "alice_inbox", "--offline"]);
    assert!(said.starts_with("allowed") && said.contains("the configuration's alone"), "{said}");
    assert_eq!(tidings(&broker, &["connections", "alice"]).1.lines().last(), Some("1 connections"));
    let (status, said) = tidings(&broker, &["revoke", "--user", "42", "--issued-before", "now"]);
    assert!(status == 0 && said.starts_with("issued-before:42"), "{said}");
    let (status, said) = tidings(&broker, &["explain", &token, "subscribe", "42_inbox", "--json"]);
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((status, &answer["token"]["code"], &answer["rule_allows"]), (1, &json!("token_revoked"), &json!(true)));
    assert!(tidings(&broker, &["revoke", "--list"]).1.contains("issued-before:42"));
    assert_eq!(tidings(&broker, &["revoke", "--undo", "issued-before:42"]).0, 0);
    assert_eq!(tidings(&broker, &["connections", "alice", "--close"]).1, "1 connections closed\n");
    broker.process.kill();
    let (status, said) = tidings(&broker, &["explain", &token, "subscribe", "42_inbox"]);
    assert!(status == 0 && said.contains("cannot be reached"), "{said}");
    let (status, said) = tidings(&broker, &["explain", &token, "subscribe", "42_inbox", "--url", &broker.url("")]);
    assert!(status == 2 && said.contains("cannot be reached"), "{said}");
}
