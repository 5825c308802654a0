//! What an operator may see of sessions. Nothing here changes anything.

use serde::Serialize;
use tidings_shared::identity::UserId;
use tidings_shared::topic::access::{Decision, Principal};

use super::Engine;
use super::io::Protocol;
use super::session::{Owner, Session, Subscription};

/// Whose sessions are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's.
    #[default]
    All,
    /// One user's.
    User(UserId),
    /// The handlers'.
    Handlers,
}

/// A session, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionInfo {
    /// The user; `None` for a handler.
    pub user: Option<String>,
    /// The client id.
    pub client: String,
    /// How long it outlives its connection, seconds; 4294967295 for ever.
    pub expiry_s: u32,
    /// When it ends, while it is not connected (ms since 1970).
    pub expires_at_ms: Option<i64>,
    /// Its subscriptions.
    pub subscriptions: Vec<SubscriptionInfo>,
    /// Messages on their way to the client.
    pub in_flight: usize,
    /// Where its will goes.
    pub will_topic: Option<String>,
    /// Its connection.
    pub connection: Option<ConnectionInfo>,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubscriptionInfo {
    /// With `$share/GROUP/`, if it has it.
    pub filter: String,
    /// The granted QoS.
    pub qos: u8,
}

/// A live connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionInfo {
    /// Its number since the broker's start.
    pub id: u64,
    /// `5` or `3.1.1`.
    pub mqtt: &'static str,
    /// `jti` of its token.
    pub jti: Option<String>,
    /// `iat` of its token, ms since 1970.
    pub issued_at_ms: Option<i64>,
}

impl Engine {
    /// Sessions in the order of user and client id, at most `limit`; with `connected_only`, those with a connection.
    /// Looks at every session.
    #[must_use]
    pub fn sessions(&self, whose: &Whose, connected_only: bool, limit: usize) -> Vec<SessionInfo> {
        let meant = |owner: &Owner| match whose {
            Whose::All => true,
            Whose::User(user) => owner.user() == Some(user),
            Whose::Handlers => *owner == Owner::Handlers,
        };
        let sessions = self.sessions.iter().map(|(_, session)| session);
        let mut found: Vec<&Session> =
            sessions.filter(|s| meant(&s.owner) && (!connected_only || s.online.is_some())).collect();
        found.sort_unstable_by(|a, b| (&a.owner, &a.client).cmp(&(&b.owner, &b.client)));
        found.into_iter().take(limit).map(info).collect()
    }

    /// What the topic rules say about a publish, with what this broker knows.
    #[must_use]
    pub fn explain_publish(&self, principal: &Principal, topic: &str) -> Decision {
        self.decide_publish(principal, topic)
    }
}

fn info(session: &Session) -> SessionInfo {
    let subscription =
        |s: &Subscription| SubscriptionInfo { filter: s.filter.to_string(), qos: s.options.qos().value() };
    SessionInfo {
        user: session.owner.user().map(ToString::to_string),
        client: session.client.to_string(),
        expiry_s: session.expiry_s,
        expires_at_ms: session.expires_at,
        subscriptions: session.subscriptions.iter().map(subscription).collect(),
        in_flight: session.outbound.entries.len(),
        will_topic: session.will.as_ref().map(|will| will.topic.to_string()),
        connection: session.online.as_deref().map(|online| ConnectionInfo {
            id: online.conn.0,
            mqtt: if online.protocol == Protocol::V5 { "5" } else { "3.1.1" },
            jti: online.token.as_ref().and_then(|token| token.id.as_deref()).map(str::to_owned),
            issued_at_ms: online.token.as_ref().and_then(|token| token.issued_at_ms),
        }),
    }
}
