//! Why somebody may publish or subscribe, or not: for the admin door and for `tidings explain`.

use serde::{Deserialize, Serialize};
use tidings_shared::auth::{Claims, Inspected, TokenError};
use tidings_shared::topic::access::{Acl, Decision, Facts, Principal, decide_publish, decide_subscribe};
use tidings_shared::topic::{matches, names};

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Publish on a topic, or leave a will there.
    Publish,
    /// Subscribe to a filter.
    Subscribe,
}

/// Who wants it.
#[derive(Debug)]
pub enum Bearer {
    /// A handler with its key.
    Handler,
    /// Somebody with a token.
    Token {
        /// Why the token is refused, if it is.
        refused: Option<TokenError>,
        /// What it says. Where it is refused this may be a lie.
        says: Option<Box<Inspected>>,
    },
}

impl Bearer {
    /// Somebody with a token that was verified like this, and says that.
    #[must_use]
    pub fn of_token(verified: Result<Claims, TokenError>, says: Result<Inspected, TokenError>) -> Self {
        let mut says = says.ok();
        let refused = match verified {
            Ok(claims) => {
                // Introspection may know better than the token itself.
                if let Some(says) = &mut says {
                    says.claims = claims;
                }
                None
            }
            Err(error) => Some(error),
        };
        Self::Token { refused, says: says.map(Box::new) }
    }
}

/// What a token says, and whether it is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// Whether it opens the door now.
    pub valid: bool,
    /// Which check refused it: a code of `docs/http.md`.
    pub code: Option<String>,
    /// The same in words.
    pub problem: Option<String>,
    /// `sub`.
    pub user: Option<String>,
    /// `jti`.
    pub jti: Option<String>,
    /// `iss`.
    pub issuer: Option<String>,
    /// `iat`, ms since 1970.
    pub issued_at_ms: Option<i64>,
    /// `exp`, ms since 1970.
    pub expires_at_ms: Option<i64>,
    /// The algorithm and the key that it names.
    pub algorithm: Option<String>,
    /// `kid`.
    pub key_id: Option<String>,
    /// `acl`.
    pub acl: Option<Acl>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Whether it would happen: the token is good, and the rule allows it.
    pub allowed: bool,
    /// What was asked.
    pub action: Action,
    /// Where.
    pub topic: String,
    /// The rule that decided, for example `own-topic`; `token` when the token says so little that no rule was asked.
    pub rule: String,
    /// Whether the rule by itself allows it.
    pub rule_allows: bool,
    /// The rule in words.
    pub why: String,
    /// Whose device, or a handler.
    pub who: String,
    /// The token; `None` for a handler.
    pub token: Option<TokenView>,
    /// Whose knowledge of users, handlers and revocations was asked: `broker`, or `configuration` for nobody's.
    pub facts: String,
}

impl Explanation {
    /// Asks the rules. `publish` decides a publish, with what is known of users and handlers.
    pub fn new(
        bearer: Bearer,
        action: Action,
        topic: &str,
        facts: &str,
        publish: impl FnOnce(&Principal, &str) -> Decision,
    ) -> Self {
        let (principal, refused, token) = match bearer {
            Bearer::Handler => (Some(Principal::Handler), false, None),
            Bearer::Token { refused, says } => {
                let principal = says.as_ref().map(|says| says.claims.principal());
                (principal, refused.is_some(), Some(view(refused, says.as_deref())))
            }
        };
        let who = match &principal {
            Some(Principal::Handler) => "a handler".to_owned(),
            Some(Principal::Device { user, .. }) => format!("a device of user {user}"),
            None => "nobody: the token cannot be read".to_owned(),
        };
        let (rule_allows, rule, why) = match (&principal, action) {
            (None, _) => (false, "token".to_owned(), "the token does not say who it is for".to_owned()),
            (Some(Principal::Device { .. }), Action::Publish) if topic == names::TOKEN => {
                let why = "a connected device publishes a fresh token of its user here; it is read and never delivered";
                (true, "token-refresh".to_owned(), why.to_owned())
            }
            (Some(principal), Action::Publish) => described(publish(principal, topic)),
            (Some(principal), Action::Subscribe) => described(decide_subscribe(principal, topic)),
        };
        Self {
            allowed: rule_allows && !refused,
            action,
            topic: topic.to_owned(),
            rule,
            rule_allows,
            why,
            who,
            token,
            facts: facts.to_owned(),
        }
    }
}

fn described(decision: Decision) -> (bool, String, String) {
    let name = serde_json::to_value(decision.rule).ok().and_then(|name| name.as_str().map(str::to_owned));
    (decision.allowed, name.unwrap_or_default(), decision.rule.to_string())
}

fn view(refused: Option<TokenError>, says: Option<&Inspected>) -> TokenView {
    let claims = says.map(|says| &says.claims);
    TokenView {
        valid: refused.is_none(),
        code: refused.as_ref().map(|error| error.code().to_owned()),
        problem: refused.map(|error| error.to_string()),
        user: claims.map(|claims| claims.user.to_string()),
        jti: claims.and_then(|claims| claims.id.clone()),
        issuer: says.and_then(|says| says.issuer.clone()),
        issued_at_ms: claims.and_then(|claims| claims.issued_at_ms),
        expires_at_ms: claims.and_then(|claims| claims.expires_at_ms),
        algorithm: says.map(|says| says.algorithm.clone()),
        key_id: says.and_then(|says| says.key_id.clone()),
        acl: claims.map(|claims| claims.acl.clone()),
    }
}

/// What the configuration alone says: no user has logged in, no handler listens.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// `broker.topics.commands`.
    pub commands: Vec<String>,
}

impl Configured {
    /// Decides a publish.
    #[must_use]
    pub fn publish(&self, principal: &Principal, topic: &str) -> Decision {
        decide_publish(principal, topic, self)
    }
}

impl Facts for Configured {
    fn is_known_user(&self, _: &tidings_shared::identity::UserId) -> bool {
        false
    }

    fn handler_listens(&self, _: &str) -> bool {
        false
    }

    fn is_configured_command(&self, topic: &str) -> bool {
        self.commands.iter().any(|command| command == topic || matches(command, topic))
    }
}
