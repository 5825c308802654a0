//! Every way a token can be wrong has its own refusal.

mod hostile;
mod introspection;
mod issuer;
mod rotation;

use jsonwebtoken::{EncodingKey, Header as JwtHeader, encode};
use serde_json::{Value, json};

use super::*;

const NOW_MS: i64 = 1_800_000_000_000;
const NOW_S: i64 = NOW_MS / 1000;

fn verifier(change: impl FnOnce(&mut VerifierConfig)) -> Verifier {
    let mut config = VerifierConfig {
        secret: Some("a shared secret of the tests".to_owned()),
        algorithms: vec!["ES256".to_owned()],
        leeway_ms: 30_000,
        require_expiry: true,
        ..VerifierConfig::default()
    };
    change(&mut config);
    Verifier::new(config, Clock::manual(NOW_MS)).unwrap()
}

fn signed(claims: &Value) -> String {
    encode(&JwtHeader::new(Algorithm::HS256), claims, &EncodingKey::from_secret(b"a shared secret of the tests"))
        .unwrap()
}

async fn refusal(claims: Value) -> TokenError {
    verifier(|_| {}).verify(&signed(&claims)).await.unwrap_err()
}

#[tokio::test]
async fn a_good_token_names_its_user() {
    let claims = json!({"sub": "68946", "exp": NOW_S + 60, "jti": "t1", "acl": {"publish": ["room/+"]}});
    let claims = verifier(|_| {}).verify(&signed(&claims)).await.unwrap();
    assert_eq!(claims.user.as_str(), "68946");
    assert_eq!(claims.expires_at_ms, Some(NOW_MS + 60_000));
    assert_eq!(claims.acl.publish, ["room/+"]);
    let number = verifier(|_| {}).verify(&signed(&json!({"sub": 68946, "exp": NOW_S + 60}))).await.unwrap();
    assert_eq!(number.user.as_str(), "68946");
}

#[tokio::test]
async fn time_claims_are_checked_with_leeway() {
    assert_eq!(refusal(json!({"sub": "1", "exp": NOW_S - 31})).await, TokenError::Expired);
    assert!(verifier(|_| {}).verify(&signed(&json!({"sub": "1", "exp": NOW_S - 29}))).await.is_ok());
    assert_eq!(refusal(json!({"sub": "1", "exp": NOW_S + 60, "nbf": NOW_S + 31})).await, TokenError::NotYetValid);
    assert_eq!(refusal(json!({"sub": "1"})).await, TokenError::BadClaim("exp"));
    let lax = verifier(|config| config.require_expiry = false);
    assert_eq!(lax.verify(&signed(&json!({"sub": "1"}))).await.unwrap().expires_at_ms, None);
}

#[tokio::test]
async fn issuer_and_audience_are_checked_where_they_are_configured() {
    let strict = verifier(|config| {
        config.issuers = vec!["https://id.example".into()];
        config.audiences = vec!["tidings".into()];
    });
    let base = |iss: Value, aud: Value| signed(&json!({"sub": "1", "exp": NOW_S + 60, "iss": iss, "aud": aud}));
    assert!(strict.verify(&base(json!("https://id.example"), json!(["x", "tidings"]))).await.is_ok());
    assert_eq!(
        strict.verify(&base(json!("https://evil.example"), json!("tidings"))).await,
        Err(TokenError::WrongIssuer)
    );
    assert_eq!(strict.verify(&base(json!("https://id.example"), json!("x"))).await, Err(TokenError::WrongAudience));
    assert_eq!(strict.verify(&signed(&json!({"sub": "1", "exp": NOW_S + 60}))).await, Err(TokenError::WrongIssuer));
}

#[tokio::test]
async fn forged_and_broken_tokens_are_refused() {
    let good = signed(&json!({"sub": "1", "exp": NOW_S + 60}));
    let verifier = verifier(|_| {});
    let (head, _) = good.rsplit_once('.').unwrap();
    assert_eq!(verifier.verify(&format!("{head}.AAAA")).await, Err(TokenError::BadSignature));
    assert_eq!(verifier.verify(&format!("{head}.")).await, Err(TokenError::BadSignature));
    for text in ["", "a.b", "a.b.c", "....", &"x".repeat(20_000)] {
        assert_eq!(verifier.verify(text).await, Err(TokenError::Malformed), "{text}");
    }
    // {"alg":"none"} . {"sub":"1","exp":9999999999} .
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIiwiZXhwIjo5OTk5OTk5OTk5fQ.";
    assert_eq!(verifier.verify(none).await, Err(TokenError::AlgorithmNotAllowed("none".into())));
    let mut critical = JwtHeader::new(Algorithm::HS256);
    critical.extras.insert("crit", json!(["x"]));
    let key = EncodingKey::from_secret(b"a shared secret of the tests");
    let token = encode(&critical, &json!({"sub": "1", "exp": NOW_S + 60}), &key).unwrap();
    assert_eq!(verifier.verify(&token).await, Err(TokenError::Malformed), "an extension that must be understood");
    assert_eq!(refusal(json!({"exp": NOW_S + 60})).await, TokenError::BadClaim("sub"));
    assert_eq!(refusal(json!({"sub": "", "exp": NOW_S + 60})).await, TokenError::BadClaim("sub"));
    assert_eq!(refusal(json!({"sub": "1", "exp": "soon"})).await, TokenError::BadClaim("exp"));
}

#[tokio::test]
async fn hs256_needs_a_configured_secret() {
    let without = verifier(|config| config.secret = None);
    let token = signed(&json!({"sub": "1", "exp": NOW_S + 60}));
    assert_eq!(without.verify(&token).await, Err(TokenError::AlgorithmNotAllowed("HS256".into())));
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_a_shared_secret() {
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = key.public_key_pem();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &pem).unwrap();
    let verifier = verifier(|config| {
        config.secret = None;
        config.public_key_file = Some(file.path().to_owned());
    });
    let claims = json!({"sub": "1", "exp": NOW_S + 60});
    let forged = encode(&JwtHeader::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(pem.as_bytes())).unwrap();
    assert_eq!(verifier.verify(&forged).await, Err(TokenError::AlgorithmNotAllowed("HS256".into())));
    let signer = EncodingKey::from_ec_der(key.serialized_der());
    let good = encode(&JwtHeader::new(Algorithm::ES256), &claims, &signer).unwrap();
    assert!(verifier.verify(&good).await.is_ok());
}

#[test]
fn an_unknown_algorithm_in_the_configuration_is_told() {
    let config = VerifierConfig { algorithms: vec!["HS512".into()], ..VerifierConfig::default() };
    let error = Verifier::new(config, Clock::system()).unwrap_err().to_string();
    assert!(error.starts_with("auth.algorithms: `HS512` is not"), "{error}");
}
