//! Who sends: provider tokens (ES256) and client certificates, checked as APNs does.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use tidings_shared::clock::Clock;

use super::Environment;
use super::certificate::ClientCertificate;
use super::keys::{Keys, KnownKey};
use super::reason::Refusal;
use super::request::base_topic;

/// A provider token ends an hour after it was made.
const TOKEN_LIFE_S: i64 = 3600;
/// How far a provider's clock may be ahead of ours.
const CLOCK_SKEW_S: i64 = 60;
/// Verified tokens that are remembered, so that a busy connection costs one signature check.
const REMEMBERED: usize = 256;

/// Checks provider tokens against the known keys.
pub(crate) struct TokenChecker {
    keys: Keys,
    clock: Clock,
    /// The least age in seconds at which a key's token may be replaced by a newer one; 0: any.
    update_interval_s: i64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    verified: HashMap<String, Verified>,
    newest: HashMap<String, Newest>,
}

#[derive(Clone)]
struct Verified {
    key_id: Arc<str>,
    key: Arc<KnownKey>,
    issued_s: i64,
}

struct Newest {
    token: String,
    issued_s: i64,
}

#[derive(Deserialize)]
struct TokenClaims {
    iss: String,
    iat: i64,
}

/// What one connection is known by.
pub(crate) struct ConnectionIdentity {
    /// The client certificate; an error when it was refused.
    pub(crate) certificate: Option<Result<ClientCertificate, Refusal>>,
    /// The team of the first token that was accepted on the connection.
    first_team: Mutex<Option<String>>,
    pub(crate) environment: Option<Environment>,
}

impl ConnectionIdentity {
    pub(crate) const fn new(
        certificate: Option<Result<ClientCertificate, Refusal>>,
        environment: Option<Environment>,
    ) -> Self {
        Self { certificate, first_team: Mutex::new(None), environment }
    }
}

/// An authenticated sender.
pub(crate) struct Sender {
    /// How the inbox names it.
    pub(crate) name: String,
    /// The topic of the push.
    pub(crate) topic: String,
}

impl TokenChecker {
    pub(crate) fn new(clock: Clock, update_interval_s: i64) -> Self {
        Self { keys: Keys::default(), clock, update_interval_s, state: Mutex::default() }
    }

    pub(crate) const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Forgets which tokens were seen (not the keys).
    pub(crate) fn reset(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    fn verify(&self, token: &str) -> Result<Verified, Refusal> {
        let now_s = self.clock.now_s();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let verified = match state.verified.get(token) {
            Some(verified) => verified.clone(),
            None => {
                let verified = self.verify_signature(token)?;
                if state.verified.len() >= REMEMBERED {
                    state.verified.clear();
                }
                state.verified.insert(token.to_owned(), verified.clone());
                verified
            }
        };
        if verified.issued_s > now_s + CLOCK_SKEW_S {
            return Err(Refusal::new("InvalidProviderToken"));
        }
        if verified.issued_s <= now_s - TOKEN_LIFE_S {
            return Err(Refusal::new("ExpiredProviderToken"));
        }
        if self.update_interval_s > 0 {
            match state.newest.get_mut(verified.key_id.as_ref()) {
                Some(newest) if newest.token == token || verified.issued_s < newest.issued_s => {}
                Some(newest) if verified.issued_s - newest.issued_s < self.update_interval_s => {
                    return Err(Refusal::new("TooManyProviderTokenUpdates"));
                }
                _ => {
                    let newest = Newest { token: token.to_owned(), issued_s: verified.issued_s };
                    state.newest.insert(verified.key_id.to_string(), newest);
                }
            }
        }
        Ok(verified)
    }

    fn verify_signature(&self, token: &str) -> Result<Verified, Refusal> {
        let invalid = || Refusal::new("InvalidProviderToken");
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
        if header.alg != Algorithm::ES256 {
            return Err(invalid());
        }
        let key_id = header.kid.ok_or_else(invalid)?;
        let key = self.keys.get(&key_id).ok_or_else(invalid)?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims =
            jsonwebtoken::decode::<TokenClaims>(token, &key.decoding, &validation).map_err(|_| invalid())?.claims;
        if claims.iss != key.team_id {
            return Err(invalid());
        }
        Ok(Verified { key_id: key_id.into(), key, issued_s: claims.iat })
    }

    /// Decides who sends this push and of which topic it is.
    pub(crate) fn authenticate(&self, headers: &HeaderMap, connection: &ConnectionIdentity) -> Result<Sender, Refusal> {
        let topic = headers.get("apns-topic").and_then(|topic| topic.to_str().ok());
        self.authenticate_for(topic, headers, connection)
    }

    /// The same for a request whose topic stands in its path.
    pub(crate) fn authenticate_for(
        &self,
        topic: Option<&str>,
        headers: &HeaderMap,
        connection: &ConnectionIdentity,
    ) -> Result<Sender, Refusal> {
        if let Some(value) = headers.get(AUTHORIZATION) {
            return self.by_token(value.to_str().unwrap_or_default(), topic, connection);
        }
        match &connection.certificate {
            None => Err(Refusal::new("MissingProviderToken")),
            Some(Err(refusal)) => Err(refusal.clone()),
            Some(Ok(certificate)) => by_certificate(certificate, topic, headers),
        }
    }

    fn by_token(
        &self,
        authorization: &str,
        topic: Option<&str>,
        connection: &ConnectionIdentity,
    ) -> Result<Sender, Refusal> {
        let token = match authorization.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => return Err(Refusal::new("InvalidProviderToken")),
        };
        if token.is_empty() {
            return Err(Refusal::new("MissingProviderToken"));
        }
        let Verified { key_id, key, .. } = self.verify(token)?;
        if let (Some(allowed), Some(here)) = (key.environment, connection.environment)
            && allowed != here
        {
            return Err(Refusal::new("BadEnvironmentKeyInToken"));
        }
        let mut first_team = connection.first_team.lock().unwrap_or_else(PoisonError::into_inner);
        match first_team.as_ref() {
            Some(team) if *team != key.team_id => return Err(Refusal::new("UnrelatedKeyIdInToken")),
            Some(_) => {}
            None => *first_team = Some(key.team_id.clone()),
        }
        drop(first_team);
        let topic = topic.ok_or_else(|| Refusal::new("MissingTopic"))?;
        if !key.topics.is_empty() && !key.topics.iter().any(|allowed| allowed == base_topic(topic)) {
            return Err(Refusal::new("TopicDisallowed"));
        }
        Ok(Sender { name: format!("token {key_id} {}", key.team_id), topic: topic.to_owned() })
    }
}

fn by_certificate(
    certificate: &ClientCertificate,
    topic: Option<&str>,
    headers: &HeaderMap,
) -> Result<Sender, Refusal> {
    // Apple: location pushes work with token authentication only.
    if headers.get("apns-push-type").is_some_and(|kind| kind == "location") {
        return Err(Refusal::new("TopicDisallowed"));
    }
    let topic = match (topic, certificate.topics.as_slice()) {
        (Some(topic), allowed) => {
            if !allowed.iter().any(|allowed| allowed == topic || allowed == base_topic(topic)) {
                return Err(Refusal::new("TopicDisallowed"));
            }
            topic
        }
        (None, [only]) => only,
        (None, _) => return Err(Refusal::new("MissingTopic")),
    };
    Ok(Sender { name: format!("certificate {}", certificate.uid), topic: topic.to_owned() })
}

/// The files with the roots that client certificates may come from. They are read for each connection, because a
/// passbook service that makes its development certificates may start after the simulators.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientRoots(pub(crate) Vec<PathBuf>);
