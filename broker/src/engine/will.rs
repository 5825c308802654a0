//! Wills: what is published for a client that goes without saying so (MQTT 5, section 3.1.2.5).

use std::sync::Arc;

use bytes::Bytes;
use rmqtt_codec::v5::{ConnectAckReason, LastWill};
use serde::{Deserialize, Serialize};
use tidings_shared::topic::access::{Principal, Rule};

use super::Engine;
use super::publish::{Draft, Origin};
use super::session::SessionId;
use super::timers::Timer;
use crate::log::MessageProperties;

/// The will of one session; its topic was allowed when the client connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Will {
    pub(crate) topic: Arc<str>,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// It was not allowed as a command only.
    pub(crate) granted: bool,
    pub(crate) delay_s: u32,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) properties: MessageProperties,
    /// A fresh token does not allow it any more: it is dropped when it is due. Not in the record, which then has no will.
    #[serde(skip)]
    pub(crate) withheld: bool,
    /// When it is published, once the connection is gone.
    #[serde(skip)]
    pub(crate) due: Option<i64>,
}

/// What becomes of the will when a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The client said DISCONNECT 0x00.
    Discarded,
    /// Anything else.
    Due,
    /// The broker stops: a persistent session's will waits in its record.
    Kept,
}

impl Engine {
    /// Checks the will of a CONNECT.
    pub(crate) fn check_will(
        &mut self,
        principal: &Principal,
        will: &LastWill,
    ) -> Result<Will, (ConnectAckReason, String)> {
        let refused = |reason, why: &str| Err((reason, format!("the will: {why}")));
        let decision = self.decide_publish(principal, &will.topic);
        if !decision.allowed {
            self.stats.refused += 1;
            let reason = match decision.rule {
                Rule::Malformed => ConnectAckReason::TopicNameInvalid,
                _ => ConnectAckReason::NotAuthorized,
            };
            return refused(reason, &decision.rule.to_string());
        }
        if will.is_utf8_payload == Some(true) && std::str::from_utf8(&will.message).is_err() {
            return refused(ConnectAckReason::PayloadFormatInvalid, "its payload is not the UTF-8 that it says it is");
        }
        if will.retain && self.retained_full(&will.topic, &will.message) {
            return refused(ConnectAckReason::QuotaExceeded, "there is no room for more retained messages");
        }
        Ok(Will {
            topic: (&*will.topic).into(),
            payload: will.message.clone(),
            qos: will.qos.value(),
            retain: will.retain,
            granted: decision.rule != Rule::Command,
            delay_s: will.will_delay_interval_sec.unwrap_or(0),
            expiry_s: will.message_expiry_interval.map(Into::into),
            properties: MessageProperties {
                content_type: will.content_type.as_ref().map(ToString::to_string),
                response_topic: will.response_topic.as_ref().map(ToString::to_string),
                correlation_data: will.correlation_data.clone(),
                payload_is_utf8: will.is_utf8_payload == Some(true),
                user_properties: super::publish::carried(&will.user_properties),
            },
            withheld: false,
            due: None,
        })
    }

    /// The connection is gone: the will is published now, later, or never.
    pub(crate) fn settle_will(&mut self, id: SessionId, fate: Fate) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(id) else { return };
        let persistent = session.persistent();
        let Some(will) = &mut session.will else { return };
        match fate {
            Fate::Discarded => {
                session.will = None;
                self.update_record(id);
            }
            Fate::Kept if persistent => {}
            Fate::Due | Fate::Kept => {
                // The will is sent at the end of its delay or of the session, whichever is first.
                let delay_s = will.delay_s.min(session.expiry_s);
                if delay_s == 0 {
                    self.publish_will(id);
                } else {
                    let due = now.saturating_add(i64::from(delay_s) * 1000);
                    will.due = Some(due);
                    self.timers.set(due, Timer::Will(id));
                }
            }
        }
    }

    /// The client is back in time: its old will is not published.
    pub(crate) fn cancel_will(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(will) = session.will.take() else { return };
        if let Some(due) = will.due {
            self.timers.cancel(due, Timer::Will(id));
        }
        self.update_record(id);
    }

    /// Publishes the will now, if there is one.
    pub(crate) fn publish_will(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(will) = session.will.take() else { return };
        if let Some(due) = will.due {
            self.timers.cancel(due, Timer::Will(id));
        }
        if will.withheld {
            return;
        }
        let sender = session.owner.user().map(|user| (user.clone(), session.client.to_string()));
        let publisher = if sender.is_none() { super::hash::name(&session.client) } else { 0 };
        let draft = Draft {
            sender,
            publisher,
            topic: will.topic,
            payload: will.payload,
            qos: will.qos,
            retain: will.retain,
            granted: will.granted,
            message_id: None,
            expiry_s: will.expiry_s,
            properties: will.properties,
        };
        let message = self.compose(draft);
        self.update_record(id);
        self.route(message, Origin::Will, Some(id));
    }
}
