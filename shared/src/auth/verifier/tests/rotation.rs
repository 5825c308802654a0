//! Keys that change while we run, from a URL and from files; and an issuer that is asked seldom, whatever tokens come.

use std::time::Duration;

use serde_json::json;

use super::super::*;
use super::issuer::{Issuer, Pair, set};
use super::{NOW_MS, NOW_S};

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(timeout: Duration) -> VerifierConfig {
    VerifierConfig {
        algorithms: vec!["ES256".into()],
        require_expiry: true,
        timeout: Some(timeout),
        ..VerifierConfig::default()
    }
}

fn from_url(issuer: &Issuer, clock: &Clock) -> Verifier {
    patient(issuer, clock, PATIENCE)
}

fn patient(issuer: &Issuer, clock: &Clock, timeout: Duration) -> Verifier {
    let config = VerifierConfig { jwks_url: Some(format!("{}/jwks", issuer.url)), ..config(timeout) };
    Verifier::new(config, clock.clone()).unwrap()
}

fn good() -> serde_json::Value {
    json!({ "sub": "1", "exp": NOW_S + 1_000_000 })
}

#[tokio::test]
async fn keys_of_a_url_are_fetched_once_and_kept_when_the_issuer_is_away() {
    let pair = Pair::new("k1");
    let issuer = Issuer::open(&[&pair]).await;
    let clock = Clock::manual(NOW_MS);
    let verifier = from_url(&issuer, &clock);
    let token = pair.sign(&good());
    let (first, second) = tokio::join!(verifier.verify(&token), verifier.verify(&token));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(issuer.fetches(), 1, "two tokens at once cost one fetch");
    issuer.fails(true);
    clock.advance(11 * 60_000);
    assert!(verifier.verify(&token).await.is_ok(), "the issuer fails, the known keys stay");
    let tried = async {
        while issuer.fetches() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.expect("it was asked again");
    assert!(verifier.verify(&token).await.is_ok());
}

#[tokio::test]
async fn a_key_that_is_new_works_at_once_and_one_that_is_gone_no_more() {
    let (old, new) = (Pair::new("k1"), Pair::new("k2"));
    let issuer = Issuer::open(&[&old]).await;
    let verifier = from_url(&issuer, &Clock::manual(NOW_MS));
    assert!(verifier.verify(&old.sign(&good())).await.is_ok());
    issuer.publish(&[&new]);
    assert!(verifier.verify(&old.sign(&good())).await.is_ok(), "nothing has made us ask");
    assert!(verifier.verify(&new.sign(&good())).await.is_ok());
    assert_eq!(verifier.verify(&old.sign(&good())).await, Err(TokenError::UnknownKey));
    // Another key under a known name is not looked for: that is a forgery.
    let forger = Pair::new("k2");
    let fetches = issuer.fetches();
    assert_eq!(verifier.verify(&forger.sign(&good())).await, Err(TokenError::BadSignature));
    assert_eq!(issuer.fetches(), fetches);
    // A token without a name may be signed by any key, also by one that is to be found yet.
    let nameless = Pair::new("k3");
    assert_eq!(verifier.verify(&nameless.sign_as(None, &good())).await, Err(TokenError::BadSignature));
    issuer.publish(&[&new, &nameless]);
    assert!(verifier.verify(&nameless.sign_as(None, &good())).await.is_ok());
    assert!(verifier.verify(&new.sign_as(None, &good())).await.is_ok());
}

#[tokio::test]
async fn a_token_that_was_good_is_looked_at_again_in_everything_but_its_signature() {
    let (old, new) = (Pair::new("k1"), Pair::new("k1"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), set(&[&old]).to_string()).unwrap();
    let clock = Clock::manual(NOW_MS);
    let config = VerifierConfig { jwks_file: Some(file.path().to_owned()), ..config(PATIENCE) };
    let verifier = Verifier::new(config, clock.clone()).unwrap();
    let token = old.sign(&json!({"sub": "1", "exp": NOW_S + 60}));
    for _ in 0..3 {
        assert!(verifier.verify(&token).await.is_ok());
    }
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = old.sign(&json!({"sub": "2", "exp": NOW_S + 60}));
    let (_, of_another) = other.rsplit_once('.').unwrap();
    assert_ne!(signature, of_another);
    assert_eq!(verifier.verify(&format!("{signed}.{of_another}")).await, Err(TokenError::BadSignature));
    // Another key takes the name: what the first one signed is remembered for that key alone.
    std::fs::write(file.path(), set(&[&new]).to_string()).unwrap();
    clock.advance(3_000);
    assert_eq!(verifier.verify(&token).await, Err(TokenError::BadSignature));
    std::fs::write(file.path(), set(&[&old]).to_string()).unwrap();
    clock.advance(3_000);
    assert!(verifier.verify(&token).await.is_ok());
    clock.advance(120_000);
    assert_eq!(verifier.verify(&token).await, Err(TokenError::Expired));
}

#[tokio::test]
async fn a_thousand_tokens_of_unknown_keys_cost_the_issuer_next_to_nothing() {
    let pair = Pair::new("k1");
    let issuer = Issuer::open(&[&pair]).await;
    let verifier = from_url(&issuer, &Clock::manual(NOW_MS));
    let forger = Pair::new("f");
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..1_000 {
        let (verifier, token) = (verifier.clone(), forger.sign_as(Some(&format!("unknown-{n}")), &good()));
        tasks.spawn(async move { verifier.verify(&token).await });
    }
    while let Some(refused) = tasks.join_next().await {
        assert_eq!(refused.unwrap(), Err(TokenError::UnknownKey));
    }
    assert!(issuer.fetches() <= 2, "{}", issuer.fetches());
    assert!(verifier.verify(&pair.sign(&good())).await.is_ok());
    // However long it goes on: the clock stands still, so the bucket is soon empty.
    for n in 0..50 {
        let forged = forger.sign_as(Some(&format!("again-{n}")), &good());
        assert_eq!(verifier.verify(&forged).await, Err(TokenError::UnknownKey));
    }
    assert!(issuer.fetches() <= 5, "{}", issuer.fetches());
}

#[tokio::test]
async fn an_issuer_that_hangs_delays_nobody_whose_key_is_known() {
    let pair = Pair::new("k1");
    let issuer = Issuer::open(&[&pair]).await;
    let clock = Clock::manual(NOW_MS);
    let verifier = from_url(&issuer, &clock);
    let token = pair.sign(&good());
    assert!(verifier.verify(&token).await.is_ok());
    issuer.hangs(true);
    for _ in 0..5 {
        clock.advance(11 * 60_000);
        let waited = tokio::time::timeout(PATIENCE / 2, verifier.verify(&token)).await;
        assert!(waited.expect("the time-out of the fetch is twice as long").is_ok());
    }
    let pool = async {
        while issuer.fetches() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, pool).await.expect("it is asked all the same");
}

#[tokio::test]
async fn an_issuer_that_never_answers_is_an_outage_and_no_refusal() {
    let pair = Pair::new("k1");
    let issuer = Issuer::open(&[&pair]).await;
    issuer.hangs(true);
    let verifier = patient(&issuer, &Clock::manual(NOW_MS), Duration::from_millis(50));
    let error = verifier.verify(&pair.sign(&good())).await.unwrap_err();
    assert_eq!(error, TokenError::KeysUnavailable);
    assert!(error.retryable() && error.is_outage());
    issuer.hangs(false);
    assert!(verifier.verify(&pair.sign(&good())).await.is_ok(), "and the next token finds the keys");
}

#[tokio::test]
async fn after_a_quiet_night_a_withdrawn_key_does_not_work_once_more() {
    let (old, new) = (Pair::new("k1"), Pair::new("k2"));
    let issuer = Issuer::open(&[&old]).await;
    let clock = Clock::manual(NOW_MS);
    let verifier = from_url(&issuer, &clock);
    assert!(verifier.verify(&old.sign(&good())).await.is_ok());
    issuer.publish(&[&new]);
    clock.advance(8 * 3_600_000);
    assert_eq!(verifier.verify(&old.sign(&good())).await, Err(TokenError::UnknownKey));
}

#[tokio::test]
async fn a_key_set_that_is_none_leaves_the_known_keys() {
    let pair = Pair::new("k1");
    let issuer = Issuer::open(&[&pair]).await;
    let clock = Clock::manual(NOW_MS);
    let verifier = from_url(&issuer, &clock);
    assert!(verifier.verify(&pair.sign(&good())).await.is_ok());
    for broken in [json!("x"), json!({}), json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] }), json!({ "keys": 1 })] {
        issuer.publish_value(broken);
        clock.advance(8 * 3_600_000);
        assert!(verifier.verify(&pair.sign(&good())).await.is_ok());
    }
    // An empty set is one: the issuer has withdrawn every key.
    issuer.publish(&[]);
    clock.advance(8 * 3_600_000);
    assert_eq!(verifier.verify(&pair.sign(&good())).await, Err(TokenError::UnknownKey));
}

#[tokio::test]
async fn files_are_read_again_when_they_change() {
    let (old, new, pem) = (Pair::new("k1"), Pair::new("k2"), Pair::new("p"));
    let folder = tempfile::tempdir().unwrap();
    let (keys, key) = (folder.path().join("keys.json"), folder.path().join("key.pem"));
    std::fs::write(&keys, set(&[&old]).to_string()).unwrap();
    std::fs::write(&key, pem.pem()).unwrap();
    let clock = Clock::manual(NOW_MS);
    let config =
        VerifierConfig { jwks_file: Some(keys.clone()), public_key_file: Some(key.clone()), ..config(PATIENCE) };
    let verifier = Verifier::new(config, clock.clone()).unwrap();
    assert!(verifier.verify(&old.sign(&good())).await.is_ok());
    assert!(verifier.verify(&pem.sign_as(None, &good())).await.is_ok());
    assert!(verifier.verify(&pem.sign_as(Some("any"), &good())).await.is_ok(), "a PEM key has no name");
    assert_eq!(verifier.verify(&new.sign(&good())).await, Err(TokenError::UnknownKey));

    std::fs::write(&keys, "{ half a key s").unwrap();
    clock.advance(10_000);
    assert!(verifier.verify(&old.sign(&good())).await.is_ok(), "a broken file changes nothing");
    std::fs::write(&keys, set(&[&new]).to_string()).unwrap();
    assert!(verifier.verify(&new.sign(&good())).await.is_ok(), "a new name is looked for at once");
    assert_eq!(verifier.verify(&old.sign(&good())).await, Err(TokenError::UnknownKey));

    let next = Pair::new("p2");
    let fresh = folder.path().join("key.pem.new");
    std::fs::write(&fresh, next.pem()).unwrap();
    std::fs::rename(&fresh, &key).unwrap();
    assert!(verifier.verify(&next.sign_as(None, &good())).await.is_ok());
    assert_eq!(verifier.verify(&pem.sign_as(None, &good())).await, Err(TokenError::BadSignature));
    std::fs::remove_file(&key).unwrap();
    clock.advance(10_000);
    assert!(verifier.verify(&next.sign_as(None, &good())).await.is_ok(), "a file that is gone changes nothing");
    // A key that is withdrawn from a file is gone within seconds, although nothing new was asked for.
    std::fs::write(&keys, set(&[&old]).to_string()).unwrap();
    clock.advance(3_000);
    assert_eq!(verifier.verify(&new.sign(&good())).await, Err(TokenError::UnknownKey));
}

#[tokio::test]
async fn keys_for_other_uses_are_left_out() {
    let pair = Pair::new("k1");
    let with = |name: &str, value: serde_json::Value| {
        let mut jwk = pair.jwk();
        jwk[name] = value;
        jwk
    };
    let cases = [
        (with("use", json!("sig")), true),
        (with("use", json!("enc")), false),
        (with("key_ops", json!(["verify"])), true),
        (with("key_ops", json!(["sign"])), false),
        (with("key_ops", json!([])), false),
        (with("alg", json!("ES256")), true),
        (with("alg", json!("ES384")), false),
        (with("alg", json!("RS256")), false),
        (with("alg", json!("HS256")), false),
        (with("alg", json!("ECDH-ES")), false),
        (with("crv", json!("P-384")), false),
        (with("crv", json!("secp256k1")), false),
        (with("kty", json!("oct")), false),
        (with("x", json!("AAAA")), false),
        (with("x5u", json!("http://evil.example/")), true),
    ];
    let other = Pair::new("other");
    for (jwk, usable) in cases {
        let file = tempfile::NamedTempFile::new().unwrap();
        let set = json!({ "keys": [1, { "kty": "what" }, jwk, other.jwk()], "more": true });
        std::fs::write(file.path(), set.to_string()).unwrap();
        let config = VerifierConfig { jwks_file: Some(file.path().to_owned()), ..config(PATIENCE) };
        let verifier = Verifier::new(config, Clock::manual(NOW_MS)).unwrap();
        assert_eq!(verifier.verify(&pair.sign(&good())).await.is_ok(), usable, "{set}");
        assert!(verifier.verify(&other.sign(&good())).await.is_ok(), "the others in the set count: {set}");
    }
    // Two keys under one name: either may have signed.
    let twin = Pair::new("k1");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), set(&[&pair, &twin]).to_string()).unwrap();
    let config = VerifierConfig { jwks_file: Some(file.path().to_owned()), ..config(PATIENCE) };
    let verifier = Verifier::new(config, Clock::manual(NOW_MS)).unwrap();
    assert!(verifier.verify(&pair.sign(&good())).await.is_ok());
    assert!(verifier.verify(&twin.sign(&good())).await.is_ok());
}
