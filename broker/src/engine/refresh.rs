//! A fresh token for a live connection: by AUTH (MQTT 5, section 4.12), or published on [`names::TOKEN`]. The gate has
//! verified it and keeps the token itself; here the connection gets what it says.

use std::num::NonZeroU16;
use std::sync::Arc;

use rmqtt_codec::types::Publish;
use rmqtt_codec::v5::{Auth, AuthReasonCode, DisconnectReasonCode, Packet, PublishAck, PublishAckReason, UserProperty};
use tidings_shared::topic::access::{Principal, Rule, decide_subscribe};
use tidings_shared::topic::names;

use super::inbound::{Inbound, Step};
use super::io::{ConnId, Protocol};
use super::revocations::{REVOKED, TokenFacts};
use super::session::SessionId;
use super::{Engine, Output};

/// The authentication method of tokens (MQTT 5, sections 3.1.2.11.9 and 4.12).
pub const METHOD: &str = "JWT";

/// The user property that names a subscription which the token does not allow any more, and which is therefore gone: in
/// CONNACK, AUTH, PUBACK and PUBREC.
pub const UNSUBSCRIBED: &str = "unsubscribed";
/// So many are named in one packet at most.
const NAMED: usize = 50;

/// What a fresh token says.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// Who, with what `acl`.
    pub principal: Principal,
    /// What revocations look at.
    pub token: Option<Box<TokenFacts>>,
}

/// Why a fresh token was not taken; the old one counts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRefreshed {
    /// A documented code.
    pub code: &'static str,
    /// In words, for the client.
    pub why: String,
    /// Nothing is said against the token: the check could not be made.
    pub outage: bool,
}

impl NotRefreshed {
    fn new(code: &'static str, why: &str) -> Self {
        Self { code, why: why.to_owned(), outage: false }
    }
}

/// How a fresh token came.
#[derive(Debug)]
pub enum RefreshBy {
    /// In an AUTH packet.
    Auth,
    /// In a PUBLISH on [`names::TOKEN`], which is here without its payload.
    Publish(Box<Publish>),
}

impl Engine {
    /// A fresh token has come, or something that is none. Answers the client (who sent AUTH and is refused is told by the
    /// gate), and the gate through [`Output::Refreshed`].
    pub(crate) fn refresh(&mut self, request: u64, conn: ConnId, by: RefreshBy, fresh: Result<Fresh, NotRefreshed>) {
        let result = match (self.conns.get(&conn).copied(), by) {
            (None, _) => Err(NotRefreshed::new("gone", "the connection is gone")),
            (Some(id), RefreshBy::Auth) => self.renew(id, fresh).map(|removed| {
                let auth = Auth {
                    reason_code: AuthReasonCode::Success,
                    auth_method: Some(METHOD.into()),
                    user_properties: unsubscribed(&removed),
                    ..Auth::default()
                };
                self.send(conn, Packet::Auth(auth));
            }),
            (Some(id), RefreshBy::Publish(packet)) => self.refresh_published(id, conn, *packet, fresh),
        };
        self.out.push(Output::Refreshed { request, result });
    }

    /// The PUBLISH goes through the same steps as any other: alias, receive maximum, QoS. Only, nothing is stored.
    fn refresh_published(
        &mut self,
        id: SessionId,
        conn: ConnId,
        packet: Publish,
        fresh: Result<Fresh, NotRefreshed>,
    ) -> Result<(), NotRefreshed> {
        let broken = || NotRefreshed::new("protocol_error", "the PUBLISH breaks a rule");
        let qos = packet.qos.value();
        self.stats.received[usize::from(qos)] += 1;
        let pid = packet.packet_id.map_or(0, Into::into);
        let topic = match self.resolve_alias(id, packet) {
            Ok((topic, _)) => topic,
            Err(reason) => {
                self.close(conn, reason);
                return Err(broken());
            }
        };
        if &*topic != names::TOKEN {
            self.close(conn, DisconnectReasonCode::TopicAliasInvalid);
            return Err(broken());
        }
        if qos > 0 && self.window_exceeded(id, conn, pid) {
            self.close(conn, DisconnectReasonCode::ReceiveMaximumExceeded);
            return Err(broken());
        }
        // A repeated packet is no new token, but taking one twice changes nothing; so only the answer matters.
        match self.renew(id, fresh) {
            Ok(removed) => {
                self.token_taken(id, conn, pid, qos, &removed);
                Ok(())
            }
            Err(refusal) => {
                self.stats.refused += 1;
                self.token_refused(conn, pid, qos, &refusal);
                Err(refusal)
            }
        }
    }

    fn token_taken(&mut self, id: SessionId, conn: ConnId, pid: u16, qos: u8, removed: &[Arc<str>]) {
        let Some(packet_id) = NonZeroU16::new(pid) else { return };
        let reason_code = PublishAckReason::Success;
        let ack = PublishAck { packet_id, reason_code, properties: unsubscribed(removed), reason_string: None };
        match qos {
            1 => self.send(conn, Packet::PublishAck(ack)),
            2 => {
                // Until PUBREL comes the packet id is in use. It need not be stored: should the PUBLISH come again, it is
                // taken again.
                let message_id = self.new_message_id();
                if let Some(session) = self.sessions.get_mut(id) {
                    session.inbound.retain(|inbound| inbound.pid != pid);
                    let step = Step::Received;
                    session.inbound.push(Inbound { pid, step, message_id, conn, restored: false });
                }
                self.send(conn, Packet::PublishReceived(ack));
            }
            _ => {}
        }
    }

    /// MQTT 5 is told in the acknowledgement, and the connection stays until its token ends. MQTT 3.1.1 has nothing but
    /// closing.
    fn token_refused(&mut self, conn: ConnId, pid: u16, qos: u8, refusal: &NotRefreshed) {
        let Some(online) = self.online(conn) else { return };
        if online.protocol == Protocol::V3 {
            return self.close(conn, DisconnectReasonCode::NotAuthorized);
        }
        let Some(packet_id) = NonZeroU16::new(pid) else { return };
        let reason_code = match refusal.outage {
            true => PublishAckReason::ImplementationSpecificError,
            false => PublishAckReason::NotAuthorized,
        };
        let reason_string = Some(refusal.why.as_str().into());
        let ack = PublishAck { packet_id, reason_code, reason_string, properties: Vec::new() };
        let packet = if qos == 1 { Packet::PublishAck(ack) } else { Packet::PublishReceived(ack) };
        self.send(conn, packet);
    }

    /// The connection goes on with a fresh token. Returns the subscriptions that it does not allow any more.
    fn renew(&mut self, id: SessionId, fresh: Result<Fresh, NotRefreshed>) -> Result<Vec<Arc<str>>, NotRefreshed> {
        let Fresh { principal, token } = fresh?;
        let session = self.sessions.get(id);
        let Some(user) = session.and_then(|session| session.owner.user()) else {
            let why = "this connection logged in with a key, not with a token";
            return Err(NotRefreshed::new("token_not_used", why));
        };
        if principal.user() != Some(user) {
            return Err(NotRefreshed::new("token_other_user", "the fresh token is another user's"));
        }
        if self.is_revoked(principal.user(), token.as_deref()) {
            return Err(NotRefreshed::new("token_revoked", REVOKED));
        }
        if let Some(online) = self.sessions.get_mut(id).and_then(|session| session.online.as_mut()) {
            online.principal = principal;
            online.token = token;
        }
        self.review_will(id);
        Ok(self.drop_forbidden(id))
    }

    /// Removes the subscriptions that the connection's token does not allow (any more): it may be another token than the one
    /// that they were made with.
    pub(crate) fn drop_forbidden(&mut self, id: SessionId) -> Vec<Arc<str>> {
        let Some(session) = self.sessions.get(id) else { return Vec::new() };
        let Some(online) = &session.online else { return Vec::new() };
        let filters = session.subscriptions.iter().map(|subscription| &subscription.filter);
        let forbidden: Vec<Arc<str>> =
            filters.filter(|filter| !decide_subscribe(&online.principal, filter).allowed).cloned().collect();
        for filter in &forbidden {
            self.remove_subscription(id, filter);
        }
        if !forbidden.is_empty() {
            self.update_record(id);
        }
        forbidden
    }

    /// Whether the will would still be allowed; one that is not is withheld when it is due.
    fn review_will(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(id) else { return };
        let (Some(will), Some(online)) = (&session.will, &session.online) else { return };
        let decision = self.decide_publish(&online.principal, &will.topic);
        let (withheld, granted) = (!decision.allowed, decision.rule != Rule::Command);
        if let Some(will) = self.sessions.get_mut(id).and_then(|session| session.will.as_mut())
            && (will.withheld, will.granted) != (withheld, granted)
        {
            (will.withheld, will.granted) = (withheld, granted);
            self.update_record(id);
        }
    }
}

/// Names the subscriptions that are gone.
pub(crate) fn unsubscribed(filters: &[Arc<str>]) -> Vec<UserProperty> {
    filters.iter().take(NAMED).map(|filter| (UNSUBSCRIBED.into(), (&**filter).into())).collect()
}
