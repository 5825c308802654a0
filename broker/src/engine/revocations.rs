//! Tokens that are refused before they expire: by their id, by their user, by their user and when they were issued.
//!
//! A revocation is in force from the moment the engine has it; who asked for it is answered when it is stored. Live
//! connections are closed in the same step, and CONNECT looks here again, so a log-in that was under way finds no gap.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rmqtt_codec::v5::{ConnectAck, ConnectAckReason, Disconnect, DisconnectReasonCode, Packet};
use serde::{Deserialize, Serialize};
use tidings_shared::auth::Claims;
use tidings_shared::identity::UserId;

use super::io::{ConnId, Protocol};
use super::records::AfterPut;
use super::session::SessionId;
use super::timers::Timer;
use super::will::Fate;
use super::{Engine, Output};
use crate::log::{LogError, MessageLog, RecordKey, RecordKind};

/// What an MQTT 5 client is told.
pub(crate) const REVOKED: &str = "the token was revoked";

/// What a log-in rests on, as far as revocations look at it. The user is the connection's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenFacts {
    /// `jti`.
    pub id: Option<Box<str>>,
    /// `iat`, ms since 1970.
    pub issued_at_ms: Option<i64>,
}

impl TokenFacts {
    /// What is kept with a connection: nothing for a token that says nothing.
    #[must_use]
    pub fn of(claims: &Claims) -> Option<Box<Self>> {
        let says = claims.id.is_some() || claims.issued_at_ms.is_some();
        says.then(|| Box::new(Self::from(claims)))
    }
}

impl From<&Claims> for TokenFacts {
    fn from(claims: &Claims) -> Self {
        Self { id: claims.id.as_deref().map(Into::into), issued_at_ms: claims.issued_at_ms }
    }
}

/// Which tokens are meant. There is one revocation for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// The token with this `jti`.
    Token(Box<str>),
    /// Every token of this user, also those that are issued later.
    User(UserId),
    /// The tokens of this user that were issued before a time, and those that do not say when.
    IssuedBefore(UserId),
}

impl Target {
    /// Reads the form that `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        match kind {
            "jti" if !name.is_empty() => Some(Self::Token(name.into())),
            "user" => UserId::new(name).ok().map(Self::User),
            "issued-before" => UserId::new(name).ok().map(Self::IssuedBefore),
            _ => None,
        }
    }

    /// The user, where one is named.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::Token(_) => None,
            Self::User(user) | Self::IssuedBefore(user) => Some(user),
        }
    }

    fn key(&self) -> RecordKey {
        RecordKey::new(RecordKind::Revocation, self.to_string().into_bytes())
    }
}

/// The revocation's id: `jti:…`, `user:…`, `issued-before:…`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => write!(f, "jti:{id}"),
            Self::User(user) => write!(f, "user:{user}"),
            Self::IssuedBefore(user) => write!(f, "issued-before:{user}"),
        }
    }
}

/// One revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Which tokens.
    pub target: Target,
    /// For [`Target::IssuedBefore`]: before when, ms since 1970.
    pub issued_before_ms: Option<i64>,
    /// When no token that it hits can be valid any more, ms since 1970; `None`: it stays until it is taken back.
    pub until_ms: Option<i64>,
    /// When it was made, ms since 1970.
    pub made_ms: i64,
}

impl Revocation {
    fn hits(&self, token: &TokenFacts) -> bool {
        match (&self.target, self.issued_before_ms) {
            (Target::IssuedBefore(_), Some(before)) => token.issued_at_ms.is_none_or(|issued| issued < before),
            _ => true,
        }
    }

    fn is_over(&self, now_ms: i64) -> bool {
        self.until_ms.is_some_and(|until| until <= now_ms)
    }

    /// Both at once: whoever asks twice means at least what was asked before.
    fn and(self, other: &Self) -> Self {
        Self {
            issued_before_ms: self.issued_before_ms.max(other.issued_before_ms),
            until_ms: self.until_ms.zip(other.until_ms).map(|(a, b)| a.max(b)),
            ..self
        }
    }
}

/// All revocations in force.
#[derive(Clone, Debug, Default)]
pub struct RevocationList {
    entries: BTreeMap<Target, Revocation>,
    due: BTreeSet<(i64, Target)>,
}

impl RevocationList {
    /// The revocation that hits this token of this user, if there is one.
    #[must_use]
    pub fn find(&self, user: &UserId, token: &TokenFacts) -> Option<&Revocation> {
        if self.entries.is_empty() {
            return None;
        }
        let by_id = token.id.clone().map(Target::Token);
        let by_user = [Target::User(user.clone()), Target::IssuedBefore(user.clone())];
        let mut targets = by_id.into_iter().chain(by_user);
        targets.find_map(|target| self.entries.get(&target).filter(|revocation| revocation.hits(token)))
    }

    /// The revocation of this target.
    #[must_use]
    pub fn get(&self, target: &Target) -> Option<&Revocation> {
        self.entries.get(target)
    }

    /// All of them, in the order of their targets.
    pub fn iter(&self) -> impl Iterator<Item = &Revocation> {
        self.entries.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Set(revocation) => {
                self.remove(&revocation.target);
                if let Some(until) = revocation.until_ms {
                    self.due.insert((until, revocation.target.clone()));
                }
                self.entries.insert(revocation.target.clone(), revocation.clone());
            }
            Change::Removed(target) => self.remove(target),
        }
    }

    fn remove(&mut self, target: &Target) {
        if let Some(old) = self.entries.remove(target)
            && let Some(until) = old.until_ms
        {
            self.due.remove(&(until, target.clone()));
        }
    }

    fn next_due(&self) -> Option<i64> {
        self.due.first().map(|(until, _)| *until)
    }
}

/// What becomes of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Set, or made wider.
    Set(Revocation),
    /// Taken back, or over.
    Removed(Target),
}

impl Engine {
    /// The revocations in force.
    #[must_use]
    pub fn revocations(&self) -> &RevocationList {
        &self.revocations
    }

    /// Puts a revocation in force or takes it back; the caller is answered when that is stored.
    pub(crate) fn revoke(&mut self, request: u64, change: Change) {
        let change = match change {
            Change::Set(new) => Change::Set(match self.revocations.get(&new.target) {
                Some(old) => new.and(old),
                None => new,
            }),
            removed => removed,
        };
        let record = match &change {
            Change::Set(revocation) => (revocation.target.key(), super::records::encode(revocation)),
            Change::Removed(target) => (target.key(), None),
        };
        self.revocations.apply(&change);
        self.set_revocation_timer();
        let closed = if let Change::Set(revocation) = &change { self.close_revoked(&revocation.target) } else { 0 };
        self.out.push(Output::Revocation { change });
        self.put(vec![record], AfterPut::Revocation { request, closed });
    }

    pub(crate) fn revocation_stored(&mut self, request: u64, closed: usize, result: &Result<(), LogError>) {
        let result = result.clone().map(|()| closed);
        self.out.push(Output::RevocationStored { request, result });
    }

    /// Whether this token of the principal's user was revoked.
    pub(crate) fn is_revoked(&self, user: Option<&UserId>, token: Option<&TokenFacts>) -> bool {
        let Some(user) = user else { return false };
        let nothing = TokenFacts::default();
        self.revocations.find(user, token.unwrap_or(&nothing)).is_some()
    }

    /// Refuses a CONNECT.
    pub(crate) fn reject_revoked(&mut self, conn: ConnId) {
        let (reason_code, reason_string) = (ConnectAckReason::NotAuthorized, Some(REVOKED.into()));
        let ack = ConnectAck { reason_code, reason_string, ..ConnectAck::default() };
        self.send(conn, Packet::ConnectAck(Box::new(ack)));
        self.out.push(Output::CloseRevoked { conn });
    }

    /// Closes every connection that a revocation of this target hits.
    fn close_revoked(&mut self, target: &Target) -> usize {
        let hit = |(&conn, &id): (&ConnId, &SessionId)| {
            let session = self.sessions.get(id)?;
            let online = session.online.as_deref()?;
            let user = session.owner.user()?;
            if target.user().is_some_and(|target| target != user) {
                return None;
            }
            self.is_revoked(Some(user), online.token.as_deref()).then_some((conn, id))
        };
        let mut hits: Vec<(ConnId, SessionId)> = self.conns.iter().filter_map(hit).collect();
        hits.sort_unstable();
        for (conn, id) in &hits {
            if self.online(*conn).is_some_and(|online| online.protocol == Protocol::V5) {
                let reason_string = Some(REVOKED.into());
                let disconnect = Disconnect { reason_string, ..Disconnect::new(DisconnectReasonCode::NotAuthorized) };
                self.send(*conn, Packet::Disconnect(disconnect));
            }
            self.out.push(Output::CloseRevoked { conn: *conn });
            self.detach(*id, Fate::Due, DisconnectReasonCode::NotAuthorized);
        }
        hits.len()
    }

    fn set_revocation_timer(&mut self) {
        if let Some(at) = self.revocations.next_due() {
            self.timers.set(at, Timer::Revocations);
        }
    }

    /// Forgets the revocations that no token needs any more.
    pub(crate) fn drop_old_revocations(&mut self) {
        let mut records = Vec::new();
        while let Some((until, target)) = self.revocations.due.first().cloned()
            && until <= self.now
        {
            records.push((target.key(), None));
            let change = Change::Removed(target);
            self.revocations.apply(&change);
            self.out.push(Output::Revocation { change });
        }
        if !records.is_empty() {
            self.out.push(Output::Put { ticket: None, records, durable: false });
        }
        self.set_revocation_timer();
    }

    pub(crate) fn restore_revocations(&mut self, log: &dyn MessageLog) {
        for (_, value) in log.records(RecordKind::Revocation) {
            match postcard::from_bytes::<Revocation>(&value) {
                Ok(revocation) if revocation.is_over(self.now) => {
                    let records = vec![(revocation.target.key(), None)];
                    self.out.push(Output::Put { ticket: None, records, durable: false });
                }
                Ok(revocation) => self.revocations.apply(&Change::Set(revocation)),
                Err(_) => self.unreadable += 1,
            }
        }
        self.set_revocation_timer();
    }
}
