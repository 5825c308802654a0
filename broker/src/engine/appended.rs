//! What the log answered: only now is a message acknowledged and delivered.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use rmqtt_codec::v5::{DisconnectReasonCode, Packet, PublishAck, PublishAckReason, ToReasonCode};

use super::io::{ConnId, Protocol, PublishError, Published, Ticket};
use super::publish::Origin;
use super::reasons::Refusal;
use super::session::SessionId;
use super::{Engine, Output};
use crate::log::{Appended, Key, LogError, Message};

/// One append that the log has not answered, or whose turn has not come.
#[derive(Debug)]
struct Pending {
    message: Arc<Message>,
    origin: Origin,
    /// The session that published, for `no local`.
    from: Option<SessionId>,
    result: Option<Result<Appended, LogError>>,
}

/// Appends in the order in which they were asked for. Answers are handled in that order too, so acknowledgements are
/// in the order of the publishes (MQTT 5, section 4.6) and deliveries in the order of the log.
#[derive(Debug, Default)]
pub(crate) struct Appends {
    first: u64,
    waiting: VecDeque<Pending>,
}

impl Appends {
    pub(crate) fn push(&mut self, message: Arc<Message>, origin: Origin, from: Option<SessionId>) -> u64 {
        self.waiting.push_back(Pending { message, origin, from, result: None });
        self.first + self.waiting.len() as u64 - 1
    }

    fn answer(&mut self, ticket: Ticket, result: Result<Appended, LogError>) {
        let place = ticket.0.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        if let Some(pending) = place.and_then(|place| self.waiting.get_mut(place)) {
            pending.result = Some(result);
        }
    }

    fn next(&mut self) -> Option<(Pending, Result<Appended, LogError>)> {
        let result = self.waiting.front_mut()?.result.take()?;
        self.first += 1;
        Some((self.waiting.pop_front()?, result))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Engine {
    /// The log's answer to an [`Output::Append`].
    pub(crate) fn appended(&mut self, ticket: Ticket, result: Result<Vec<Appended>, LogError>) {
        let result = result.and_then(|all| all.first().copied().ok_or(LogError::Closed));
        self.appends.answer(ticket, result);
        while let Some((pending, result)) = self.appends.next() {
            match result {
                Ok(appended) => self.stored(&pending, appended),
                Err(error) => self.not_stored(pending, &error),
            }
        }
    }

    fn stored(&mut self, pending: &Pending, appended: Appended) {
        let message = &pending.message;
        self.acknowledge(&pending.origin, message, appended);
        if appended.duplicate {
            self.stats.duplicates += 1;
            return;
        }
        self.stats.stored += 1;
        self.head = self.head.max(appended.offset);
        self.flush_soon();
        if let Key::User(user) = &message.key {
            self.out.push(Output::Notify { user: user.clone(), offset: appended.offset });
            self.wake_stored(user, appended.offset, message);
        }
        if message.retain {
            self.retain(message, appended.offset);
        }
        self.deliver(Some(appended.offset), message, pending.from);
    }

    fn acknowledge(&mut self, origin: &Origin, message: &Message, appended: Appended) {
        match *origin {
            Origin::Qos1 { conn, pid } => {
                self.published_qos1(conn);
                self.puback(conn, pid, PublishAckReason::Success);
            }
            Origin::Qos2 { session, pid } => self.received(session, pid, None),
            Origin::Http(request) => {
                let published = Published {
                    message_id: message.id.clone(),
                    cursor: Some(self.cursor(appended.offset)),
                    duplicate: appended.duplicate,
                };
                self.out.push(Output::Published { request, result: Ok(published) });
            }
            Origin::Will => {}
            Origin::Event(ref event) => self.event_stored(event),
        }
    }

    fn not_stored(&mut self, pending: Pending, error: &LogError) {
        self.stats.not_stored += 1;
        let (reason, refusal) = match error {
            LogError::Full { .. } | LogError::Busy { .. } | LogError::TooLarge { .. } => {
                (PublishAckReason::QuotaExceeded, PublishError::QuotaExceeded)
            }
            _ => (PublishAckReason::UnspecifiedError, PublishError::NotStored),
        };
        match pending.origin {
            Origin::Qos1 { conn, pid } => {
                self.published_qos1(conn);
                self.refuse(conn, pid, 1, reason.into());
            }
            Origin::Qos2 { session, pid } => self.received(session, pid, Some(reason)),
            Origin::Http(request) => self.out.push(Output::Published { request, result: Err(refusal) }),
            Origin::Will => self.stats.wills_lost += 1,
            Origin::Event(event) => self.event_not_stored(event),
        }
    }

    fn published_qos1(&mut self, conn: ConnId) {
        if let Some(online) = self.online(conn) {
            online.appending = online.appending.saturating_sub(1);
        }
    }

    pub(crate) fn puback(&mut self, conn: ConnId, pid: u16, reason: PublishAckReason) {
        if let Some(ack) = publish_ack(pid, reason) {
            self.send(conn, Packet::PublishAck(ack));
        }
    }

    pub(crate) fn pubrec(&mut self, conn: ConnId, pid: u16, reason: PublishAckReason) {
        if let Some(ack) = publish_ack(pid, reason) {
            self.send(conn, Packet::PublishReceived(ack));
        }
    }

    /// A publish is refused: MQTT 5 has a reason code in the acknowledgement (and none for QoS 0, which is dropped);
    /// MQTT 3.1.1 has nothing but closing (3.1.1, section 3.3.5).
    pub(crate) fn refuse(&mut self, conn: ConnId, pid: u16, qos: u8, refusal: Refusal) {
        let Some(online) = self.online(conn) else { return };
        let Refusal { reason, why } = refusal;
        match (online.protocol, qos) {
            (Protocol::V3, _) => self.close(conn, reason.to_reason_code()),
            (Protocol::V5, 0) if reason == PublishAckReason::TopicNameInvalid => {
                self.close(conn, DisconnectReasonCode::TopicNameInvalid);
            }
            (Protocol::V5, 0) => {}
            (Protocol::V5, qos) => {
                let Some(mut ack) = publish_ack(pid, reason) else { return };
                ack.reason_string = Some(why.into());
                self.send(conn, if qos == 1 { Packet::PublishAck(ack) } else { Packet::PublishReceived(ack) });
            }
        }
    }
}

fn publish_ack(pid: u16, reason_code: PublishAckReason) -> Option<PublishAck> {
    Some(PublishAck { packet_id: NonZeroU16::new(pid)?, reason_code, ..PublishAck::default() })
}
