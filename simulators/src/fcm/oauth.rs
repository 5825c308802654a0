//! Service accounts and access tokens: the OAuth2 JWT bearer flow (RFC 7523) as Google's token endpoint does it.

use anyhow::Context;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

use super::{FcmSimulator, lock};

/// The grant type of the flow.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Scopes that allow sending.
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"];
/// The scope of Google Wallet's issuers.
const WALLET: &str = "https://www.googleapis.com/auth/wallet_object.issuer";
/// What `google-auth` writes as the audience whatever the account's `token_uri` says.
const GOOGLE_AUDIENCE: &str = "https://oauth2.googleapis.com/token";
/// The longest life of an assertion and of an access token, in seconds.
const LIFE_S: i64 = 3600;
/// How far clocks may differ, in seconds.
const SKEW_S: i64 = 300;

/// A service account's key file, as Google's console gives it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAccount {
    /// `service_account`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The project.
    pub project_id: String,
    /// The key's id: the `kid` of assertions.
    pub private_key_id: String,
    /// PEM, PKCS #8.
    pub private_key: String,
    /// The account's address: the `iss` of assertions.
    pub client_email: String,
    /// The account's number.
    pub client_id: String,
    /// Unused here, but clients read it.
    pub auth_uri: String,
    /// Where access tokens are got.
    pub token_uri: String,
    /// Unused here, but clients read it.
    pub universe_domain: String,
}

impl ServiceAccount {
    /// A new account of `project` with a key of its own.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn create(project: &str, token_uri: &str) -> anyhow::Result<Self> {
        let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
            .context("an RSA key for the FCM service account cannot be made")?;
        let number = uuid::Uuid::new_v4();
        Ok(Self {
            kind: "service_account".to_owned(),
            project_id: project.to_owned(),
            private_key_id: uuid::Uuid::new_v4().simple().to_string(),
            private_key: pair.serialize_pem(),
            client_email: format!(
                "firebase-adminsdk-{}@{project}.iam.gserviceaccount.com",
                &number.simple().to_string()[..5]
            ),
            client_id: format!("{:021}", number.as_u128() % 10_u128.pow(21)),
            auth_uri: "https://accounts.google.com/o/oauth2/auth".to_owned(),
            token_uri: token_uri.to_owned(),
            universe_domain: "googleapis.com".to_owned(),
        })
    }
}

/// An account whose assertions are accepted.
#[derive(Clone)]
pub(crate) struct KnownAccount {
    project: String,
    key_id: String,
    token_uri: String,
    key: DecodingKey,
}

impl KnownAccount {
    pub(crate) fn new(account: &ServiceAccount) -> anyhow::Result<Self> {
        let pair = rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(&account.private_key, &rcgen::PKCS_RSA_SHA256)
            .context("the private key of the FCM service account is no RSA key in PEM form")?;
        let key = DecodingKey::from_rsa_pem(pair.public_key_pem().as_bytes())
            .context("the private key of the FCM service account cannot be used")?;
        Ok(Self {
            project: account.project_id.clone(),
            key_id: account.private_key_id.clone(),
            token_uri: account.token_uri.clone(),
            key,
        })
    }
}

/// An access token that was given out.
#[derive(Clone, Debug)]
pub(crate) struct AccessToken {
    pub(crate) project: String,
    pub(crate) account: String,
    /// What it allows.
    scope: String,
    expires_s: i64,
}

impl AccessToken {
    /// Whether it allows sending with FCM.
    pub(crate) fn allows_sending(&self) -> bool {
        self.allows(&SCOPES)
    }

    fn allows(&self, scopes: &[&str]) -> bool {
        self.scope.split_whitespace().any(|scope| scopes.contains(&scope))
    }
}

/// The form that is posted to the token endpoint.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenForm {
    #[serde(default)]
    grant_type: String,
    #[serde(default)]
    assertion: String,
}

#[derive(Deserialize)]
struct AssertionClaims {
    iss: String,
    aud: String,
    #[serde(default)]
    scope: String,
    iat: i64,
    exp: i64,
}

/// The endpoint's refusal: `{"error":…,"error_description":…}` with 400.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OAuthError {
    pub(crate) error: &'static str,
    pub(crate) description: String,
}

fn refuse(error: &'static str, description: impl Into<String>) -> OAuthError {
    OAuthError { error, description: description.into() }
}

impl FcmSimulator {
    /// Exchanges an assertion for an access token: the answer's body.
    pub(crate) fn exchange(&self, form: &TokenForm) -> Result<Value, OAuthError> {
        if form.grant_type != GRANT {
            return Err(refuse("unsupported_grant_type", format!("Invalid grant_type: {}", form.grant_type)));
        }
        let (account, project, scope) = self.verify_assertion(&form.assertion)?;
        let now_s = self.0.clock.now_s();
        let token = format!("ya29.simulated.{}", uuid::Uuid::new_v4().simple());
        let access = AccessToken { project, account, scope, expires_s: now_s + LIFE_S };
        let mut tokens = lock(&self.0.access);
        tokens.retain(|_, token| token.expires_s > now_s);
        tokens.insert(token.clone(), access);
        self.0.tokens_issued.fetch_add(1, Ordering::Relaxed);
        Ok(json!({ "access_token": token, "expires_in": LIFE_S - 1, "token_type": "Bearer" }))
    }

    fn verify_assertion(&self, assertion: &str) -> Result<(String, String, String), OAuthError> {
        let malformed = |_| refuse("invalid_grant", "Bad Request: the assertion is no JWT.");
        let header = jsonwebtoken::decode_header(assertion).map_err(malformed)?;
        let unverified: AssertionClaims = jsonwebtoken::dangerous::insecure_decode_claims(assertion)
            .map_err(|_| refuse("invalid_grant", "Invalid JWT: iss, aud, iat and exp are required."))?;
        let account = lock(&self.0.accounts)
            .get(&unverified.iss)
            .cloned()
            .ok_or_else(|| refuse("invalid_grant", "Invalid grant: account not found"))?;
        let bad_signature = || refuse("invalid_grant", "Invalid JWT Signature.");
        if header.alg != Algorithm::RS256 || header.kid.is_some_and(|kid| kid != account.key_id) {
            return Err(bad_signature());
        }
        let mut validation = Validation::new(Algorithm::RS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<AssertionClaims>(assertion, &account.key, &validation)
            .map_err(|_| bad_signature())?
            .claims;
        if claims.aud != account.token_uri && claims.aud != GOOGLE_AUDIENCE {
            return Err(refuse(
                "invalid_grant",
                format!("Invalid JWT: Failed audience check. The right audience is {}", account.token_uri),
            ));
        }
        let now_s = self.0.clock.now_s();
        let reasonable = claims.iat <= now_s + SKEW_S
            && claims.exp >= now_s - SKEW_S
            && claims.exp > claims.iat
            && claims.exp - claims.iat <= LIFE_S;
        if !reasonable {
            return Err(refuse(
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check \
                 your iat and exp values in the JWT claim.",
            ));
        }
        if !claims.scope.split_whitespace().any(|scope| SCOPES.contains(&scope) || scope == WALLET) {
            return Err(refuse("invalid_scope", "Invalid OAuth scope or ID token audience provided."));
        }
        Ok((claims.iss, account.project, claims.scope))
    }

    /// Who an access token belongs to, while it is good.
    pub(crate) fn access(&self, token: &str) -> Option<AccessToken> {
        let now_s = self.0.clock.now_s();
        lock(&self.0.access).get(token).filter(|access| access.expires_s > now_s).cloned()
    }

    /// Whether an access token is one for Google Wallet; `None`: it is none at all.
    pub(crate) fn wallet_access(&self, token: &str) -> Option<bool> {
        Some(self.access(token)?.allows(&[WALLET]))
    }

    /// The claims of a JWT that one of the accounts has signed.
    pub(crate) fn signed_claims(&self, jwt: &str) -> Result<Value, String> {
        let header = jsonwebtoken::decode_header(jwt).map_err(|_| "this is no JWT".to_owned())?;
        let unverified: Value =
            jsonwebtoken::dangerous::insecure_decode_claims(jwt).map_err(|_| "the JWT has no claims".to_owned())?;
        let issuer = unverified["iss"].as_str().unwrap_or_default();
        let account = lock(&self.0.accounts).get(issuer).cloned().ok_or_else(|| format!("unknown issuer {issuer}"))?;
        if header.alg != Algorithm::RS256 || header.kid.is_some_and(|kid| kid != account.key_id) {
            return Err("the JWT is signed with RS256 and the account's key".to_owned());
        }
        let mut validation = Validation::new(Algorithm::RS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode::<Value>(jwt, &account.key, &validation);
        decoded.map(|decoded| decoded.claims).map_err(|_| "the signature is wrong".to_owned())
    }
}
