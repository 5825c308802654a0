//! The development token issuer: what an app's own login service does in production. Its key survives a restart, so
//! that tokens in shell histories and test phones stay good.

use std::path::Path;

use anyhow::{Context, anyhow};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};
use tidings_shared::clock::Clock;
use tidings_shared::identity::UserId;

/// The file of the issuer's private key in its folder.
const KEY_FILE: &str = "issuer-key.pem";
/// The longest life of a token.
const MAX_TTL_MS: i64 = 3650 * 86_400_000;

/// Signs tokens (ES256) for development.
#[derive(Clone)]
pub struct Issuer {
    key: EncodingKey,
    jwk: Jwk,
    key_id: String,
    /// The `iss` of its tokens, and where its metadata is.
    url: String,
    clock: Clock,
}

/// What a token shall say.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    /// How long it is good, in ms.
    pub ttl_ms: i64,
    /// The claim `acl`.
    pub acl: Option<Value>,
    /// Any other claims; they replace what the issuer would say itself.
    pub claims: Map<String, Value>,
}

impl TokenRequest {
    /// A plain token for so many ms.
    #[must_use]
    pub fn ttl_ms(ttl_ms: i64) -> Self {
        Self { ttl_ms, ..Self::default() }
    }
}

impl Issuer {
    /// The issuer whose key is in `folder`; a new key is made when there is none. `url` is where clients reach it:
    /// the `iss` of its tokens.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or the key in it is damaged.
    pub fn load_or_create(folder: &Path, url: &str, clock: Clock) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let file = folder.join(KEY_FILE);
        let pem = match std::fs::read_to_string(&file) {
            Ok(pem) => pem,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?.serialize_pem();
                tidings_shared::tls::write_private(&file, &pem)?;
                pem
            }
            Err(error) => return Err(anyhow!(error).context(format!("cannot read {}", file.display()))),
        };
        let damaged =
            || format!("{} is no private key; delete it and a new one is made at the next start", file.display());
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).with_context(damaged)?;
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).with_context(damaged)?;
        let key_id = jwk.thumbprint(ThumbprintHash::SHA256).with_context(damaged)?;
        jwk.common.key_id = Some(key_id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self { key, jwk, key_id, url: url.trim_end_matches('/').to_owned(), clock })
    }

    /// The `iss` of its tokens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The JWKS (RFC 7517) with its public key.
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    /// OpenID Connect discovery metadata, as far as it is true of this issuer.
    #[must_use]
    pub fn metadata(&self) -> Value {
        json!({
            "issuer": self.url,
            "jwks_uri": format!("{}/.well-known/jwks.json", self.url),
            "token_endpoint": format!("{}/tokens", self.url),
            "id_token_signing_alg_values_supported": ["ES256"],
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
        })
    }

    /// A signed token for `user`, and when it ends (ms since 1970).
    ///
    /// # Errors
    /// When the claims cannot be signed.
    pub fn mint(&self, user: &UserId, request: &TokenRequest) -> anyhow::Result<(String, i64)> {
        let now_s = self.clock.now_s();
        let expires_s = now_s.saturating_add(request.ttl_ms.min(MAX_TTL_MS).div_euclid(1000));
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), json!(self.url));
        claims.insert("sub".to_owned(), json!(user.as_str()));
        claims.insert("aud".to_owned(), json!("tidings"));
        claims.insert("iat".to_owned(), json!(now_s));
        claims.insert("exp".to_owned(), json!(expires_s));
        claims.insert("jti".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
        if let Some(acl) = &request.acl {
            claims.insert("acl".to_owned(), acl.clone());
        }
        for (name, value) in &request.claims {
            claims.insert(name.clone(), value.clone());
        }
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        let token = jsonwebtoken::encode(&header, &claims, &self.key).context("the token cannot be signed")?;
        Ok((token, expires_s.saturating_mul(1000)))
    }
}

/// Reads a time such as `90s`, `15m`, `1h` or `30d` into ms. A leading `-` makes a token that has expired already.
///
/// # Errors
/// A sentence for the one who wrote it.
pub fn parse_ttl(text: &str) -> Result<i64, String> {
    let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = rest.split_at(digits);
    let factor = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let ms = factor.and_then(|factor: i64| number.parse::<i64>().ok()?.checked_mul(factor));
    match ms {
        Some(ms) if ms <= MAX_TTL_MS => Ok(sign * ms),
        _ => Err(format!(
            "`ttl` is a whole number with ms, s, m, h or d, 3650d at most, for example \"1h\"; found \"{text}\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation};

    #[test]
    fn tokens_survive_a_restart_and_verify_against_the_jwks() {
        let folder = tempfile::tempdir().unwrap();
        let first = Issuer::load_or_create(folder.path(), "http://issuer.test/", Clock::system()).unwrap();
        let user = UserId::new("68946").unwrap();
        let request = TokenRequest { acl: Some(json!({"subscribe": ["news/#"]})), ..TokenRequest::ttl_ms(60_000) };
        let (token, _) = first.mint(&user, &request).unwrap();

        let again = Issuer::load_or_create(folder.path(), "http://issuer.test", Clock::system()).unwrap();
        let jwks: jsonwebtoken::jwk::JwkSet = serde_json::from_value(again.jwks()).unwrap();
        let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
        let key = DecodingKey::from_jwk(jwks.find(&kid).unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&["tidings"]);
        validation.set_issuer(&["http://issuer.test"]);
        let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap().claims;
        assert_eq!(claims["sub"], "68946");
        assert_eq!(claims["acl"]["subscribe"][0], "news/#");
    }

    #[test]
    fn a_damaged_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(KEY_FILE), "nonsense").unwrap();
        let error = Issuer::load_or_create(folder.path(), "http://x", Clock::system()).err().unwrap().to_string();
        assert!(error.contains("issuer-key.pem") && error.contains("delete"), "{error}");
    }

    #[test]
    fn times_to_live() {
        assert_eq!(parse_ttl("1h"), Ok(3_600_000));
        assert_eq!(parse_ttl("-5m"), Ok(-300_000));
        assert!(parse_ttl("soon").unwrap_err().contains("soon"));
        assert!(parse_ttl("99999999d").is_err());
    }
}
