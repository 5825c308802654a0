//! Only good tokens open the door: everything else is refused with the right code, over MQTT 5, 3.1.1 and HTTP.

use serde_json::json;
use tidings_tests::broker::Broker;
use tidings_tests::curl::Request;
use tidings_tests::packet::{Connect, Connection, Version};
use tidings_tests::tokens::{Issuer, claims, claims_with, now_s, unsigned};
use tidings_tests::world::HANDLER_KEY;

/// MQTT 5: "Bad User Name or Password".
const BAD_LOGIN_V5: u8 = 0x86;
/// MQTT 3.1.1: "bad user name or password".
const BAD_LOGIN_V3: u8 = 4;

/// Every bad token with the code that the HTTP door names.
fn bad_tokens(issuer: &Issuer) -> Vec<(&'static str, String, &'static str)> {
    let good = issuer.token("42");
    let parts: Vec<&str> = good.split('.').collect();
    let other = Issuer::new();
    let foreign = other.token("43");
    let forged_claims = format!("{}.{}.{}", parts[0], foreign.split('.').nth(1).unwrap(), parts[2]);
    vec![
        ("no token at all", "not-a-token".to_owned(), "token_malformed"),
        ("an empty token", String::new(), "token_malformed"),
        ("alg none", unsigned(&claims("42")), "token_algorithm"),
        ("another key", other.token("42"), "token_signature"),
        ("claims under another token's signature", forged_claims, "token_signature"),
        ("a cut signature", format!("{}.{}.", parts[0], parts[1]), "token_signature"),
        ("HS256 with the public key as secret", issuer.hs256_with_public_key(&claims("42")), "token_algorithm"),
        ("expired", issuer.sign(&claims_with("42", &json!({ "exp": now_s() - 3600 }))), "token_expired"),
        ("not yet valid", issuer.sign(&claims_with("42", &json!({ "nbf": now_s() + 3600 }))), "token_not_yet_valid"),
        ("another issuer", issuer.sign(&claims_with("42", &json!({ "iss": "https://evil.test" }))), "token_issuer"),
        ("no issuer", issuer.sign(&claims_with("42", &json!({ "iss": null }))), "token_issuer"),
        ("no expiry", issuer.sign(&claims_with("42", &json!({ "exp": null }))), "token_claim"),
        ("no user", issuer.sign(&claims_with("42", &json!({ "sub": null }))), "token_claim"),
        ("an empty user", issuer.sign(&claims_with("", &json!({}))), "token_claim"),
    ]
}

#[test]
fn bad_tokens_are_refused_over_mqtt() {
    let broker = Broker::start();
    for (what, token, _) in bad_tokens(&broker.issuer) {
        for (version, refused) in [(Version::V5, BAD_LOGIN_V5), (Version::V3, BAD_LOGIN_V3)] {
            let mut connection = Connection::open(broker.mqtt, &Connect::device(version, "phone", &token));
            assert_eq!(connection.connack(), refused, "{what} over {version:?}");
            assert_eq!(connection.closed(), [], "a refused connection is closed");
        }
    }
}

#[test]
fn bad_tokens_are_refused_over_http_with_a_code_each() {
    let broker = Broker::start();
    for (what, token, code) in bad_tokens(&broker.issuer) {
        let answer = Request::get(broker.url("/v1/messages")).bearer(&token).send().expect(401);
        if token.is_empty() {
            continue;
        }
        assert_eq!(answer.code(), code, "{what}");
    }
    let answer = Request::get(broker.url("/v1/messages")).send().expect(401);
    assert!(!answer.code().is_empty(), "no token at all has a code too: {answer}");
}

#[test]
fn an_audience_is_checked_where_one_is_configured() {
    let broker = Broker::start_with(&[("auth.audiences", "tidings")]);
    let with = |audience: serde_json::Value| broker.issuer.sign(&claims_with("42", &json!({ "aud": audience })));
    for (token, code) in [
        (with(json!("tidings")), 0),
        (with(json!(["other", "tidings"])), 0),
        (with(json!("other")), BAD_LOGIN_V5),
        (broker.issuer.token("42"), BAD_LOGIN_V5),
    ] {
        let mut connection = Connection::open(broker.mqtt, &Connect::device(Version::V5, "phone", &token));
        assert_eq!(connection.connack(), code);
    }
}

#[test]
fn only_the_two_known_user_names_log_in() {
    let broker = Broker::start();
    let token = broker.issuer.token("42");
    let mut anonymous = Connect::named(Version::V5, "phone", "", "");
    (anonymous.user, anonymous.password) = (None, None);
    for connect in [
        Connect::named(Version::V5, "phone", "jwt", &token),
        Connect::named(Version::V5, "phone", "admin", &token),
        Connect::named(Version::V5, "phone", "JWT", HANDLER_KEY),
        Connect::named(Version::V5, "phone", "handler", &token),
        Connect::named(Version::V5, "phone", "handler", "wrong"),
        Connect::named(Version::V5, "phone", "handler", ""),
        anonymous,
    ] {
        let mut connection = Connection::open(broker.mqtt, &connect);
        assert_eq!(connection.connack(), BAD_LOGIN_V5, "user name {:?}", connect.user);
    }
}

#[test]
fn two_handler_keys_are_valid_at_once_while_they_rotate() {
    let broker =
        Broker::start_with(&[("keys.handler", "the-old-handler-key-0123456789,the-new-handler-key-0123456789")]);
    for key in ["the-old-handler-key-0123456789", "the-new-handler-key-0123456789"] {
        let _ = Connection::accepted(broker.mqtt, &Connect::handler(Version::V5, "handler", key));
    }
    let both = "the-old-handler-key-0123456789,the-new-handler-key-0123456789";
    let mut connection = Connection::open(broker.mqtt, &Connect::handler(Version::V5, "handler", both));
    assert_eq!(connection.connack(), BAD_LOGIN_V5);
}

#[test]
fn a_shared_secret_lets_hs256_tokens_in_and_only_then() {
    let secret = "a-shared-secret-that-is-long-enough-0123456789";
    let token = jsonwebtoken::encode(
        &jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256),
        &claims("42"),
        &jsonwebtoken::EncodingKey::from_secret(secret.as_bytes()),
    )
    .unwrap();
    let without = Broker::start();
    let mut connection = Connection::open(without.mqtt, &Connect::device(Version::V5, "phone", &token));
    assert_eq!(connection.connack(), BAD_LOGIN_V5);
    let with = Broker::start_with(&[("auth.secret", secret)]);
    let _ = Connection::accepted(with.mqtt, &Connect::device(Version::V5, "phone", &token));
    // The confusion of algorithms must not come back through this door.
    let confused = with.issuer.hs256_with_public_key(&claims("42"));
    let mut connection = Connection::open(with.mqtt, &Connect::device(Version::V5, "phone", &confused));
    assert_eq!(connection.connack(), BAD_LOGIN_V5);
}

#[test]
fn a_connection_ends_when_its_token_does() {
    let broker = Broker::start_with(&[("auth.leeway", "0s")]);
    let token = broker.issuer.sign(&claims_with("42", &json!({ "exp": now_s() + 3 })));
    let mut device = Connection::accepted(broker.mqtt, &Connect::device(Version::V5, "phone", &token));
    let last = device.closed();
    assert_eq!(last.len(), 1, "one DISCONNECT: {last:?}");
    assert_eq!((last[0].kind, last[0].body.first()), (14, Some(&0x87)), "DISCONNECT, not authorized");
    assert!(now_s() >= claims("42")["iat"].as_i64().unwrap(), "and not before");
}
