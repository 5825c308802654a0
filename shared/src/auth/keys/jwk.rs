//! Keys in the form of RFC 7517, as issuers publish them.

use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::Key;

/// Keys of one set, at most: a token without `kid` is tried with each that fits.
const MOST: usize = 100;

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// Every key of a set that verifies signatures. What is not understood, is for another use or has a shared secret is left
/// out (RFC 7517, section 5).
///
/// # Errors
/// What is wrong with the set as a whole: it is no set, too large, or has keys and none that can be used.
pub(super) fn read(json: &[u8]) -> Result<Vec<Key>, String> {
    let set: Set = serde_json::from_slice(json).map_err(|error| format!("this is not a JWKS: {error}"))?;
    let found = set.keys.len();
    if found > MOST {
        return Err(format!("the key set has {found} keys; at most {MOST} are read"));
    }
    let keys: Vec<Key> = set.keys.into_iter().filter_map(key).collect();
    if keys.is_empty() && found > 0 {
        return Err("the key set has no key that signatures can be verified with".to_owned());
    }
    Ok(keys)
}

fn key(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let operations = jwk.common.key_operations.as_deref();
    let may_verify = operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !for_signatures || !may_verify {
        return None;
    }
    let named = match jwk.common.key_algorithm {
        Some(named) => Some(Algorithm::try_from(named).ok()?),
        None => None,
    };
    // A curve belongs to one algorithm.
    let implied = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) => Some(match key.curve {
            EllipticCurve::P256 => Algorithm::ES256,
            EllipticCurve::P384 => Algorithm::ES384,
            _ => return None,
        }),
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Some(Algorithm::EdDSA),
        AlgorithmParameters::RSA(_) => None,
        _ => return None,
    };
    if let (Some(named), Some(implied)) = (named, implied)
        && named != implied
    {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    if named.is_some_and(|named| named.family() != key.family()) {
        return None;
    }
    Some(Key { id: jwk.common.key_id, algorithm: named.or(implied), key: Arc::new(key) })
}
