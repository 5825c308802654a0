//! Who sends: the `vapid` scheme of RFC 8292, checked to the letter.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::Deserialize;

/// RFC 8292: `exp` is at most so far away.
const MAX_LIFE_S: i64 = 24 * 3600;

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    aud: String,
    exp: i64,
    #[serde(default)]
    sub: Option<String>,
}

/// The public key that signed for `origin`, or what is wrong.
pub(super) fn verify(authorization: &str, origin: &str, now_s: i64) -> Result<Vec<u8>, String> {
    let scheme = authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("vapid"));
    let (_, parameters) = scheme.ok_or("the Authorization header is not of the scheme vapid")?;
    let parameter = |name: &str| {
        parameters.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let token = parameter("t").ok_or("vapid has no t")?;
    let key = BASE64.decode(parameter("k").ok_or("vapid has no k")?.trim_end_matches('='));
    let key = key.ok().filter(|key| key.len() == 65 && key[0] == 4);
    let key = key.ok_or("k is no uncompressed point of P-256 in Base64 for URLs")?;
    let (signed, signature) = token.rsplit_once('.').ok_or("t is no JWT")?;
    let (header, claims) = signed.split_once('.').ok_or("t is no JWT")?;
    let header: Header = part(header)?;
    if header.alg != "ES256" || header.typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
        return Err("t is not a JWT of ES256".to_owned());
    }
    let signature = BASE64.decode(signature).map_err(|_| "the signature of t is no Base64 for URLs")?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key)
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| "t is not signed with k")?;
    let claims: Claims = part(claims)?;
    if claims.aud != origin {
        return Err(format!("aud is {}, and this is {origin}", claims.aud));
    }
    if claims.exp <= now_s {
        return Err("exp has passed".to_owned());
    }
    if claims.exp > now_s + MAX_LIFE_S {
        return Err("exp is more than 24 hours away".to_owned());
    }
    match claims.sub {
        Some(sub) if sub.starts_with("mailto:") || sub.starts_with("https:") => Ok(key),
        _ => Err("sub is neither mailto: nor https:".to_owned()),
    }
}

fn part<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T, String> {
    let json = BASE64.decode(text).map_err(|_| "t has a part that is no Base64 for URLs")?;
    serde_json::from_slice(&json).map_err(|error| format!("t has a part that is not what it should be: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use serde_json::{Value, json};

    const NOW_S: i64 = 1_700_000_000;

    fn signed(claims: &Value, alg: &str) -> (String, String) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let text = format!(
            "{}.{}",
            BASE64.encode(json!({"typ": "JWT", "alg": alg}).to_string()),
            BASE64.encode(claims.to_string())
        );
        let signature = pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        (format!("{text}.{}", BASE64.encode(signature)), BASE64.encode(pair.public_key().as_ref()))
    }

    #[test]
    fn each_rule_is_kept() {
        let good = json!({"aud": "https://p", "exp": NOW_S + 3600, "sub": "mailto:a@b"});
        let judge = |claims: &Value, alg: &str| {
            let (token, key) = signed(claims, alg);
            verify(&format!("vapid t={token},k={key}"), "https://p", NOW_S).map(|_| ())
        };
        assert_eq!(judge(&good, "ES256"), Ok(()));
        for (name, value, word) in [
            ("aud", json!("https://q"), "aud is https://q"),
            ("exp", json!(NOW_S), "exp has passed"),
            ("exp", json!(NOW_S + 90_000), "24 hours"),
            ("sub", json!("a@b"), "sub"),
        ] {
            let mut wrong = good.clone();
            wrong[name] = value;
            let why = judge(&wrong, "ES256").unwrap_err();
            assert!(why.contains(word), "{why}");
        }
        assert!(judge(&good, "HS256").unwrap_err().contains("ES256"));
        let ((token, _), (_, other)) = (signed(&good, "ES256"), signed(&good, "ES256"));
        let why = verify(&format!("vapid t={token}, k={other}"), "https://p", NOW_S).unwrap_err();
        assert!(why.contains("not signed"), "{why}");
        assert!(verify("Bearer x", "https://p", NOW_S).unwrap_err().contains("scheme"));
        assert!(verify("vapid k=x", "https://p", NOW_S).unwrap_err().contains("no t"));
    }
}
