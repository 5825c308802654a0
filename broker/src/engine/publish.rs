//! A message comes in: from a connection, from the HTTP door, as a will, or from the engine itself.

use std::sync::Arc;

use bytes::Bytes;
use rmqtt_codec::types::Publish;
use rmqtt_codec::v5::{DisconnectReasonCode, PublishAckReason, UserProperty};
use tidings_shared::identity::UserId;
use tidings_shared::message_id::MessageId;
use tidings_shared::properties;
use tidings_shared::topic;
use tidings_shared::topic::access::{Principal, Rule};

use super::io::{ConnId, Protocol, PublishError, PublishRequest, Published, Ticket};
use super::reasons::Refusal;
use super::session::SessionId;
use super::{Engine, Output};
use crate::log::{Key, Message, MessageProperties, Offset, Sender};

/// Who waits for a message to be stored.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A client, for PUBACK.
    Qos1 {
        conn: ConnId,
        pid: u16,
    },
    /// A session, for PUBREC.
    Qos2 {
        session: SessionId,
        pid: u16,
    },
    /// A request at the HTTP door.
    Http(u64),
    Will,
    /// The wake-up logic.
    Event(super::wake::Event),
}

/// A message before it has a name and a time.
pub(crate) struct Draft {
    /// The device, or `None` for handlers and the broker.
    pub(crate) sender: Option<(UserId, String)>,
    /// [`Message::publisher`]
    pub(crate) publisher: u64,
    pub(crate) topic: Arc<str>,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) granted: bool,
    pub(crate) message_id: Option<MessageId>,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) properties: MessageProperties,
}

/// The publisher's user properties without those that only the broker may set.
pub(crate) fn carried(user_properties: &[UserProperty]) -> Vec<(String, String)> {
    let ours = |name: &str| properties::STAMPED.contains(&name);
    user_properties.iter().filter(|(name, _)| !ours(name)).map(|(n, v)| (n.to_string(), v.to_string())).collect()
}

impl Engine {
    pub(crate) fn new_message_id(&mut self) -> MessageId {
        let random = self.random.bytes();
        MessageId::from_parts(self.now, random)
    }

    pub(crate) fn compose(&mut self, draft: Draft) -> Arc<Message> {
        let id = draft.message_id.unwrap_or_else(|| self.new_message_id());
        let owner = if draft.granted { topic::owner_of(&draft.topic) } else { None };
        Arc::new(Message {
            id,
            key: owner.map_or_else(|| Key::Command(draft.topic.to_string()), Key::User),
            topic: draft.topic,
            payload: draft.payload,
            qos: draft.qos,
            retain: draft.retain,
            sender: draft.sender.map(|(user, client)| Sender { user, client }),
            publisher: draft.publisher,
            granted: draft.granted,
            time_ms: self.now,
            expires_at_ms: draft.expiry_s.map(|s| self.now.saturating_add(i64::from(s) * 1000)),
            properties: draft.properties,
        })
    }

    /// Sends a message on its way: QoS 0 to whoever is connected, anything else through the log first.
    pub(crate) fn route(&mut self, message: Arc<Message>, origin: Origin, from: Option<SessionId>) {
        if message.qos == 0 {
            if message.retain {
                self.retain(&message, Offset::START);
            }
            self.deliver(None, &message, from);
            return;
        }
        let ticket = Ticket(self.appends.push(message.clone(), origin, from));
        self.out.push(Output::Append { ticket, messages: vec![message] });
    }

    /// PUBLISH from a client (MQTT 5, section 3.3).
    pub(crate) fn publish(&mut self, id: SessionId, conn: ConnId, packet: Publish) {
        let qos = packet.qos.value();
        self.stats.received[usize::from(qos)] += 1;
        let pid = packet.packet_id.map_or(0, Into::into);
        let (topic, packet) = match self.resolve_alias(id, packet) {
            Ok(resolved) => resolved,
            Err(reason) => return self.close(conn, reason),
        };
        if qos > 0 && self.window_exceeded(id, conn, pid) {
            return self.close(conn, DisconnectReasonCode::ReceiveMaximumExceeded);
        }
        if qos == 2 && self.repeated(id, conn, pid) {
            return;
        }
        let draft = match self.check(id, topic, packet) {
            Ok(draft) => draft,
            Err(refusal) => return self.refuse(conn, pid, qos, refusal),
        };
        let message = match (qos, self.restored_id(id, pid)) {
            (2, Some(known)) => self.compose(Draft { message_id: Some(known), ..draft }),
            _ => self.compose(draft),
        };
        match qos {
            0 => self.route(message, Origin::Will, Some(id)),
            1 => {
                if let Some(online) = self.sessions.get_mut(id).and_then(|session| session.online.as_mut()) {
                    online.appending += 1;
                }
                self.route(message, Origin::Qos1 { conn, pid }, Some(id));
            }
            _ => self.receive(id, conn, pid, message),
        }
    }

    /// The topic of a PUBLISH, through its alias (MQTT 5, section 3.3.2.3.4).
    pub(crate) fn resolve_alias(
        &mut self,
        id: SessionId,
        packet: Publish,
    ) -> Result<(Arc<str>, Publish), DisconnectReasonCode> {
        let found = packet.properties.as_ref();
        if found.is_some_and(|p| !p.subscription_ids.is_empty()) {
            return Err(DisconnectReasonCode::ProtocolError);
        }
        let alias = found.and_then(|p| p.topic_alias).map(|alias| usize::from(alias.get()));
        let Some(alias) = alias else {
            // Without an alias, a topic must be named.
            return match &*packet.topic {
                "" => Err(DisconnectReasonCode::ProtocolError),
                topic => Ok((topic.into(), packet)),
            };
        };
        let maximum = usize::from(self.settings.topic_alias_maximum);
        let Some(online) = self.sessions.get_mut(id).and_then(|session| session.online.as_mut()) else {
            return Err(DisconnectReasonCode::UnspecifiedError);
        };
        if alias > maximum {
            return Err(DisconnectReasonCode::TopicAliasInvalid);
        }
        if packet.topic.is_empty() {
            let known = online.aliases.get(alias - 1).cloned().flatten();
            return known.map(|topic| (topic, packet)).ok_or(DisconnectReasonCode::ProtocolError);
        }
        let topic: Arc<str> = (&*packet.topic).into();
        if online.aliases.len() < alias {
            online.aliases.resize(alias, None);
        }
        online.aliases[alias - 1] = Some(topic.clone());
        Ok((topic, packet))
    }

    /// Whether this publish is one more than the client may have unacknowledged. MQTT 3.1.1 knows no such limit.
    pub(crate) fn window_exceeded(&self, id: SessionId, conn: ConnId, pid: u16) -> bool {
        let Some(session) = self.sessions.get(id) else { return false };
        let Some(online) = &session.online else { return false };
        if online.protocol == Protocol::V3 {
            return false;
        }
        let qos2 = session.inbound.iter().filter(|inbound| inbound.conn == conn && inbound.pid != pid).count();
        usize::from(online.appending) + qos2 >= usize::from(self.settings.receive_maximum)
    }

    /// What the rules say about a PUBLISH.
    fn check(&mut self, id: SessionId, topic: Arc<str>, packet: Publish) -> Result<Draft, Refusal> {
        let session = self.sessions.get(id);
        let Some((session, online)) = session.and_then(|session| Some((session, session.online.as_ref()?))) else {
            return Err(PublishAckReason::UnspecifiedError.into());
        };
        let decision = self.decide_publish(&online.principal, &topic);
        if !decision.allowed {
            self.stats.refused += 1;
            let reason = match decision.rule {
                Rule::Malformed => PublishAckReason::TopicNameInvalid,
                _ => PublishAckReason::NotAuthorized,
            };
            return Err(Refusal::new(reason, decision.rule.to_string()));
        }
        let found = packet.properties.unwrap_or_default();
        if found.is_utf8_payload && std::str::from_utf8(&packet.payload).is_err() {
            return Err(PublishAckReason::PayloadFormatInvalid.into());
        }
        if packet.retain && self.retained_full(&topic, &packet.payload) {
            return Err(Refusal::new(PublishAckReason::QuotaExceeded, "there is no room for more retained messages"));
        }
        let sender = session.owner.user().map(|user| (user.clone(), session.client.to_string()));
        let named = || found.user_properties.iter().find(|(name, _)| &**name == properties::MESSAGE_ID);
        let message_id = match sender {
            Some(_) => None,
            None => named().and_then(|(_, value)| MessageId::new(value).ok()),
        };
        Ok(Draft {
            publisher: if sender.is_none() { super::hash::name(&session.client) } else { 0 },
            sender,
            topic,
            payload: packet.payload,
            qos: packet.qos.value(),
            retain: packet.retain,
            granted: decision.rule != Rule::Command,
            message_id,
            expiry_s: found.message_expiry_interval.map(Into::into),
            properties: MessageProperties {
                content_type: found.content_type.map(|text| text.to_string()),
                response_topic: found.response_topic.map(|text| text.to_string()),
                correlation_data: found.correlation_data,
                payload_is_utf8: found.is_utf8_payload,
                user_properties: carried(&found.user_properties),
            },
        })
    }

    /// A publish through the HTTP door.
    pub(crate) fn publish_http(&mut self, request: u64, publish: PublishRequest) {
        match self.check_http(publish) {
            Err(error) => self.out.push(Output::Published { request, result: Err(error) }),
            Ok(draft) => {
                let message = self.compose(draft);
                if message.qos == 0 {
                    let published = Published { message_id: message.id.clone(), cursor: None, duplicate: false };
                    self.out.push(Output::Published { request, result: Ok(published) });
                }
                self.route(message, Origin::Http(request), None);
            }
        }
    }

    fn check_http(&mut self, publish: PublishRequest) -> Result<Draft, PublishError> {
        if self.stopping {
            return Err(PublishError::Stopped);
        }
        let decision = self.decide_publish(&publish.principal, &publish.topic);
        if !decision.allowed {
            self.stats.refused += 1;
            return Err(match decision.rule {
                Rule::Malformed => PublishError::TopicInvalid,
                rule => PublishError::NotAuthorized(rule),
            });
        }
        if publish.retain && self.retained_full(&publish.topic, &publish.payload) {
            return Err(PublishError::QuotaExceeded);
        }
        self.stats.received[usize::from(publish.qos.min(2))] += 1;
        let mut properties = publish.properties;
        properties.user_properties.retain(|(name, _)| !properties::STAMPED.contains(&name.as_str()));
        let sender = match publish.principal {
            Principal::Device { user, .. } => {
                self.meet(&user);
                Some((user, publish.client))
            }
            Principal::Handler => None,
        };
        Ok(Draft {
            sender,
            publisher: 0,
            topic: publish.topic.into(),
            payload: publish.payload,
            qos: publish.qos.min(2),
            retain: publish.retain,
            granted: decision.rule != Rule::Command,
            message_id: publish.message_id,
            expiry_s: publish.expiry_s,
            properties,
        })
    }
}
