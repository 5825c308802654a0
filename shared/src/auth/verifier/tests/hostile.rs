//! Tokens as an attacker writes them (RFC 8725), and properties that hold for any text.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::issuer::{Pair, set};
use super::{NOW_S, signed, verifier};
use crate::auth::inspect;

const SECRET: &[u8] = b"a shared secret of the tests";

fn part(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token of exactly these texts, signed as it should be.
fn raw(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_secret(SECRET), Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn claims(text: &str) -> String {
    raw(r#"{"alg":"HS256"}"#, text)
}

async fn refusal(token: &str) -> TokenError {
    verifier(|_| {}).verify(token).await.unwrap_err()
}

#[tokio::test]
async fn keys_that_a_token_brings_along_are_not_looked_at() {
    let (good, evil) = (Pair::new("k1"), Pair::new("evil"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), set(&[&good]).to_string()).unwrap();
    let verifier = verifier(|config| config.jwks_file = Some(file.path().to_owned()));
    let body = json!({ "sub": "1", "exp": NOW_S + 60 });
    for id in [None, Some("k1"), Some("evil"), Some("../../dev/null"), Some("' OR 1=1"), Some("k1\u{0}")] {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = id.map(str::to_owned);
        header.jku = Some("http://127.0.0.1:9/jwks".to_owned());
        header.x5u = Some("http://127.0.0.1:9/x5u".to_owned());
        header.jwk = serde_json::from_value(evil.jwk()).unwrap();
        assert!(verifier.verify(&evil.sign_with(&header, &body)).await.is_err(), "{id:?}");
        if id.is_none_or(|id| id == "k1") {
            assert!(verifier.verify(&good.sign_with(&header, &body)).await.is_ok(), "and do no harm");
        }
    }
    let forged = raw(r#"{"alg":"HS256","kid":"k1"}"#, &body.to_string());
    assert!(verifier.verify(&forged).await.is_ok(), "the shared secret has no name");
}

#[tokio::test]
async fn headers_that_two_readers_could_read_in_two_ways_are_refused() {
    let body = json!({ "sub": "1", "exp": NOW_S + 60 }).to_string();
    for header in [
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
        r#"{"alg":"HS256","kid":7}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":null}"#,
        r#"{"typ":"JWT"}"#,
        r#"["HS256"]"#,
        "",
        "{",
    ] {
        assert_eq!(refusal(&raw(header, &body)).await, TokenError::Malformed, "{header}");
    }
    for algorithm in ["hs256", "HS256 ", "NONE", "None", "HS384", "HS512", "ES256", "RS256", "ES256K", ""] {
        let token = raw(&json!({ "alg": algorithm }).to_string(), &body);
        let refused = refusal(&token).await;
        let expected = if algorithm == "ES256" {
            TokenError::UnknownKey
        } else {
            TokenError::AlgorithmNotAllowed(algorithm.trim().to_owned())
        };
        assert_eq!(refused, expected, "{algorithm}");
    }
    // What other forms of base64 would let through.
    let token = raw(r#"{"alg":"HS256"}"#, &body);
    let (head, signature) = token.rsplit_once('.').unwrap();
    for token in [
        format!("{head}.{signature}="),
        format!("{head}.{signature}.{signature}"),
        format!("{head}.{} ", signature),
        format!("{head}\n.{signature}"),
        token.replace('.', ".."),
        format!(" {token}"),
    ] {
        assert!(verifier(|_| {}).verify(&token).await.is_err(), "{token}");
    }
}

#[tokio::test]
async fn absurd_claims_are_refused_with_their_name() {
    let exp = NOW_S + 60;
    for (text, name) in [
        (format!(r#"{{"sub":"1","exp":{exp},"exp":9999999999}}"#), "(their JSON form)"),
        (format!(r#"{{"sub":"1","sub":"2","exp":{exp}}}"#), "(their JSON form)"),
        (format!(r#"{{"sub":"1","exp":{exp}"#), "(their JSON form)"),
        (r#"["sub"]"#.to_owned(), "(their JSON form)"),
        ("null".to_owned(), "(their JSON form)"),
        (r#"{"sub":"1","exp":NaN}"#.to_owned(), "(their JSON form)"),
        (r#"{"sub":"1","exp":1e999}"#.to_owned(), "(their JSON form)"),
        (r#"{"sub":"1","exp":"9999999999"}"#.to_owned(), "exp"),
        (r#"{"sub":"1","exp":true}"#.to_owned(), "exp"),
        (r#"{"sub":"1","exp":[9999999999]}"#.to_owned(), "exp"),
        (r#"{"sub":"1","exp":null}"#.to_owned(), "exp"),
        (format!(r#"{{"sub":"1","exp":{exp},"nbf":"0"}}"#), "nbf"),
        (format!(r#"{{"sub":"1","exp":{exp},"iat":{{}}}}"#), "iat"),
        (format!(r#"{{"sub":"1","exp":{exp},"iss":1}}"#), "iss"),
        (format!(r#"{{"sub":"1","exp":{exp},"aud":{{"tidings":1}}}}"#), "aud"),
        (format!(r#"{{"sub":"1","exp":{exp},"aud":["tidings",1]}}"#), "aud"),
        (format!(r#"{{"sub":"1","exp":{exp},"jti":1}}"#), "jti"),
        (format!(r#"{{"sub":"1","exp":{exp},"jti":"{}"}}"#, "x".repeat(257)), "jti"),
        (format!(r#"{{"sub":"1","exp":{exp},"acl":"room/#"}}"#), "acl"),
        (format!(r#"{{"sub":"1","exp":{exp},"acl":{{"publish":1}}}}"#), "acl"),
        (format!(r#"{{"sub":1.5,"exp":{exp}}}"#), "sub"),
        (format!(r#"{{"sub":-1,"exp":{exp}}}"#), "sub"),
        (format!(r#"{{"sub":true,"exp":{exp}}}"#), "sub"),
        (format!(r#"{{"sub":["1"],"exp":{exp}}}"#), "sub"),
        (format!(r#"{{"sub":"a\u0000b","exp":{exp}}}"#), "sub"),
        (format!(r#"{{"sub":"{}","exp":{exp}}}"#, "x".repeat(257)), "sub"),
    ] {
        assert_eq!(refusal(&claims(&text)).await, TokenError::BadClaim(name), "{text}");
    }
    for (exp, outcome) in [
        ("-1", Err(TokenError::Expired)),
        ("-1e300", Err(TokenError::Expired)),
        ("0", Err(TokenError::Expired)),
        ("1e300", Ok(i64::MAX)),
        ("9999999999999999999999", Ok(i64::MAX)),
    ] {
        let verified = verifier(|_| {}).verify(&claims(&format!(r#"{{"sub":"1","exp":{exp}}}"#))).await;
        assert_eq!(verified.map(|claims| claims.ends_at_ms.unwrap()), outcome, "{exp}");
    }
    let far = claims(&format!(r#"{{"sub":"1","exp":{},"nbf":1e300}}"#, NOW_S + 60));
    assert_eq!(refusal(&far).await, TokenError::NotYetValid);
}

#[tokio::test]
async fn users_that_look_alike_are_not_the_same() {
    let mut users = Vec::new();
    for sub in ["é", "e\u{301}", "É", "42", "４２", "42 ", " 42", "42\u{200b}", "admin", "аdmin"] {
        let token = signed(&json!({ "sub": sub, "exp": NOW_S + 60 }));
        let user = verifier(|_| {}).verify(&token).await.unwrap().user;
        assert_eq!(user.as_str(), sub);
        assert!(!users.contains(&user.topic_prefix()), "{sub}");
        users.push(user.topic_prefix());
    }
}

#[tokio::test]
async fn a_token_may_be_long_and_not_longer() {
    let token = |length: usize| signed(&json!({ "sub": "1", "exp": NOW_S + 60, "x": "x".repeat(length) }));
    assert!(verifier(|_| {}).verify(&token(11_000)).await.is_ok());
    assert_eq!(refusal(&token(13_000)).await, TokenError::Malformed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_is_a_token(text in "[ -~]{0,80}|[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}") {
        let verified = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(verifier(|_| {}).verify(&text));
        prop_assert!(verified.is_err());
        let _ = inspect(&text);
    }

    #[test]
    fn no_change_of_a_byte_keeps_a_token_good(at in 0usize..200, byte in 33u8..127) {
        let token = signed(&json!({ "sub": "68946", "exp": NOW_S + 60, "acl": ["room/#"] }));
        let at = at % token.len();
        let mut changed = token.clone().into_bytes();
        changed[at] = byte;
        let changed = String::from_utf8(changed).unwrap();
        let verified = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(verifier(|_| {}).verify(&changed));
        prop_assert_eq!(verified.is_ok(), changed == token);
    }

    #[test]
    fn any_json_as_claims_is_read_or_refused(
        sub in prop_oneof![Just(Value::Null), any::<f64>().prop_map(|n| json!(n)), ".{0,40}".prop_map(Value::from), any::<i64>().prop_map(Value::from)],
        exp in prop_oneof![Just(Value::Null), any::<f64>().prop_map(|n| json!(n)), any::<i64>().prop_map(Value::from), ".{0,9}".prop_map(Value::from)],
        aud in prop_oneof![Just(Value::Null), Just(json!([])), proptest::collection::vec(".{0,5}", 0..4).prop_map(|all| json!(all)), any::<bool>().prop_map(Value::from)],
        acl in prop_oneof![Just(Value::Null), Just(json!({})), Just(json!({ "publish": ["#"] })), proptest::collection::vec(".{0,9}", 0..4).prop_map(|all| json!(all))],
    ) {
        let token = signed(&json!({ "sub": sub, "exp": exp, "aud": aud, "acl": acl }));
        let verified = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(verifier(|_| {}).verify(&token));
        if let Ok(claims) = verified {
            // Who is let in is whom the token names, and only for as long as it says.
            let named = sub.as_str().map_or_else(|| sub.to_string(), str::to_owned);
            prop_assert_eq!(claims.user.as_str(), named);
            prop_assert!(claims.expires_at_ms.is_some() && claims.ends_at_ms >= claims.expires_at_ms);
        }
    }
}
