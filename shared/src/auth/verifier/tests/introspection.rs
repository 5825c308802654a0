//! The issuer is asked about a token only where keys and clocks cannot tell, seldom, and not believed blindly.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::*;
use super::issuer::{Issuer, Pair};
use super::{NOW_MS, NOW_S};

const LEEWAY_S: i64 = 10;
const SKEW_S: i64 = 60;

struct House {
    issuer: Issuer,
    known: Pair,
    unknown: Pair,
    clock: Clock,
    verifier: Verifier,
}

impl House {
    async fn open(patience: Duration) -> Self {
        let (known, unknown) = (Pair::new("k1"), Pair::new("k2"));
        let issuer = Issuer::open(&[&known]).await;
        let clock = Clock::manual(NOW_MS);
        let config = VerifierConfig {
            jwks_url: Some(format!("{}/jwks", issuer.url)),
            algorithms: vec!["ES256".into()],
            issuers: vec!["the app".into()],
            audiences: vec!["tidings".into()],
            leeway_ms: LEEWAY_S * 1000,
            require_expiry: true,
            timeout: Some(patience),
            introspection: Some(IntrospectionConfig {
                url: format!("{}/introspect", issuer.url),
                client: Some(("tidings".into(), "s:e cret".into())),
                bearer: None,
                skew_ms: SKEW_S * 1000,
                cache_ms: 30_000,
            }),
            ..VerifierConfig::default()
        };
        let verifier = Verifier::new(config, clock.clone()).unwrap();
        Self { issuer, known, unknown, clock, verifier }
    }

    fn claims(changes: &Value) -> Value {
        let mut claims = json!({ "sub": "42", "exp": NOW_S + 600, "iss": "the app", "aud": "tidings", "jti": "t1" });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    fn asked(&self) -> usize {
        self.issuer.questions().len()
    }
}

#[tokio::test]
async fn an_unknown_key_is_asked_about_once_and_the_answer_counts() {
    let house = House::open(Duration::from_secs(20)).await;
    house.issuer.answers(json!({ "active": true, "sub": "42", "exp": NOW_S + 90, "acl": ["room/#"] }));
    let token = house.unknown.sign(&House::claims(&json!({})));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (verifier, token) = (house.verifier.clone(), token.clone());
        tasks.spawn(async move { verifier.verify(&token).await });
    }
    while let Some(verified) = tasks.join_next().await {
        let claims = verified.unwrap().unwrap();
        assert_eq!((claims.user.as_str(), claims.id.as_deref()), ("42", Some("t1")));
        assert_eq!(claims.ends_at_ms, Some(NOW_MS + 90_000), "the issuer's word");
        assert_eq!(claims.acl.subscribe, ["room/#"]);
    }
    assert_eq!(house.asked(), 1, "one question for one token");
    let (who, body) = house.issuer.questions().remove(0);
    // base64 of `tidings:s%3Ae%20cret`
    assert_eq!(who, "Basic dGlkaW5nczpzJTNBZSUyMGNyZXQ=");
    assert!(body.starts_with("token=") && body.ends_with("&token_type_hint=access_token"), "{body}");
    assert_eq!(body.replace("%2E", ".").replace("%5F", "_").replace("%2D", "-").matches(&token).count(), 1);
    house.issuer.answers(json!({ "active": false, "sub": "42" }));
    assert!(house.verifier.verify(&token).await.is_ok(), "remembered");
    house.clock.advance(31_000);
    assert_eq!(house.verifier.verify(&token).await, Err(TokenError::UnknownKey));
    assert_eq!(house.asked(), 2);
    assert!(house.verifier.verify(&house.known.sign(&House::claims(&json!({})))).await.is_ok());
    assert_eq!(house.asked(), 2, "a known key needs no question");
}

#[tokio::test]
async fn what_keys_and_claims_refuse_is_never_asked_about() {
    let house = House::open(Duration::from_secs(20)).await;
    house.issuer.answers(json!({ "active": true }));
    let forged = Pair::new("k1");
    let (known, unknown) = (&house.known, &house.unknown);
    let with = |changes: Value| House::claims(&changes);
    let beyond = NOW_S - LEEWAY_S - SKEW_S - 1;
    let cases = [
        (forged.sign(&with(json!({}))), TokenError::BadSignature),
        (known.sign(&with(json!({ "iss": "evil" }))), TokenError::WrongIssuer),
        (known.sign(&with(json!({ "aud": "others" }))), TokenError::WrongAudience),
        (unknown.sign(&with(json!({ "iss": "evil" }))), TokenError::UnknownKey),
        (unknown.sign(&with(json!({ "aud": "others" }))), TokenError::UnknownKey),
        (unknown.sign(&with(json!({ "exp": beyond }))), TokenError::UnknownKey),
        (unknown.sign(&with(json!({ "sub": null }))), TokenError::UnknownKey),
        (known.sign(&with(json!({ "exp": beyond }))), TokenError::Expired),
        (known.sign(&with(json!({ "exp": NOW_S - 20, "iss": "evil" }))), TokenError::Expired),
        (known.sign(&with(json!({ "nbf": NOW_S + LEEWAY_S + SKEW_S + 1 }))), TokenError::NotYetValid),
        (known.sign(&with(json!({ "exp": null }))), TokenError::BadClaim("exp")),
        (known.sign(&with(json!({ "sub": "" }))), TokenError::BadClaim("sub")),
        ("opaque".to_owned(), TokenError::Malformed),
        (super::signed(&with(json!({}))), TokenError::AlgorithmNotAllowed("HS256".into())),
    ];
    for (token, refusal) in cases {
        assert_eq!(house.verifier.verify(&token).await, Err(refusal.clone()), "{refusal:?}");
    }
    assert_eq!(house.asked(), 0);
}

#[tokio::test]
async fn clock_skew_beyond_the_leeway_is_the_issuers_to_judge() {
    let house = House::open(Duration::from_secs(20)).await;
    let late = house.known.sign(&House::claims(&json!({ "exp": NOW_S - 30 })));
    let early = house.known.sign(&House::claims(&json!({ "nbf": NOW_S + 30 })));
    house.issuer.answers(json!({ "active": false }));
    assert_eq!(house.verifier.verify(&late).await, Err(TokenError::Expired));
    assert_eq!(house.verifier.verify(&early).await, Err(TokenError::NotYetValid));
    house.clock.advance(31_000);
    house.issuer.answers(json!({ "active": true }));
    let claims = house.verifier.verify(&late).await.unwrap();
    assert_eq!(claims.ends_at_ms, Some((NOW_S - 30 + LEEWAY_S + SKEW_S) * 1000), "not one moment longer");
    assert_eq!(house.verifier.tolerance_ms(), (LEEWAY_S + SKEW_S) * 1000);
    assert!(house.verifier.verify(&early).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_does_not_fit_the_token_is_not_believed() {
    let house = House::open(Duration::from_secs(20)).await;
    let token = |n: i64| house.unknown.sign(&House::claims(&json!({ "n": n })));
    let cases = [
        (json!({ "active": true, "sub": "43" }), TokenError::UnknownKey),
        (json!({ "active": true, "jti": "t2" }), TokenError::UnknownKey),
        (json!({ "active": true, "iss": "evil" }), TokenError::WrongIssuer),
        (json!({ "active": true, "aud": ["others"] }), TokenError::WrongAudience),
        (json!({ "active": true, "exp": NOW_S - 600 }), TokenError::Expired),
        (json!({ "active": "true" }), TokenError::IssuerUnavailable),
        (json!({ "sub": "42" }), TokenError::IssuerUnavailable),
        (json!({ "active": true, "exp": "soon" }), TokenError::IssuerUnavailable),
        (json!([]), TokenError::IssuerUnavailable),
    ];
    for (n, (answer, refusal)) in (0..).zip(cases) {
        house.issuer.answers(answer.clone());
        assert_eq!(house.verifier.verify(&token(n)).await, Err(refusal), "{answer}");
    }
}

#[tokio::test]
async fn an_issuer_that_is_away_is_an_outage_and_a_flood_of_questions_is_bounded() {
    let house = House::open(Duration::from_millis(300)).await;
    let token = |n: i64| house.unknown.sign(&House::claims(&json!({ "n": n })));
    house.issuer.answers(json!({ "active": true }));
    assert!(house.verifier.verify(&token(0)).await.is_ok());
    house.issuer.fails(true);
    let error = house.verifier.verify(&token(1)).await.unwrap_err();
    assert_eq!((error.clone(), error.retryable()), (TokenError::IssuerUnavailable, true));
    house.issuer.fails(false);
    house.issuer.hangs(true);
    assert_eq!(house.verifier.verify(&token(2)).await, Err(TokenError::IssuerUnavailable));
    house.issuer.hangs(false);
    assert!(house.verifier.verify(&token(2)).await.is_ok(), "a failure is not remembered");
    let mut refused = 0;
    for n in 10..110 {
        refused += usize::from(house.verifier.verify(&token(n)).await == Err(TokenError::IssuerUnavailable));
    }
    assert!(refused >= 50 && house.asked() <= 50, "{refused} refused, {} asked", house.asked());
}
