//! Messages with QoS 2 from clients: each is stored exactly once (MQTT 5, section 4.3.3).
//!
//! For a session that outlives its connection the packet id and the message's id are stored first, then the message,
//! then PUBREC is sent; PUBCOMP is sent when it is stored that the packet id is free. So wherever a crash falls, a
//! repeated PUBLISH is recognised: by the session's record, and then by the log through the message's id.

use std::num::NonZeroU16;
use std::sync::Arc;

use rmqtt_codec::v5::{DisconnectReasonCode, Packet, PublishAck2, PublishAck2Reason, PublishAckReason};
use tidings_shared::message_id::MessageId;

use super::Engine;
use super::io::ConnId;
use super::publish::Origin;
use super::records::AfterPut;
use super::session::SessionId;
use crate::log::Message;

/// How far the exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The packet id is being stored, then the message will be.
    Storing,
    /// Stored; PUBREC was sent.
    Received,
    /// Known from before a restart; whether the message was stored is found out by storing it again under its id.
    Restored,
}

/// One packet id that is in use.
#[derive(Clone, Debug)]
pub(crate) struct Inbound {
    pub(crate) pid: u16,
    pub(crate) step: Step,
    /// Given at the first PUBLISH.
    pub(crate) message_id: MessageId,
    /// The connection that sent the last PUBLISH of it.
    pub(crate) conn: ConnId,
    /// It was there at the start: the message may have been stored.
    pub(crate) restored: bool,
}

impl Engine {
    fn inbound(&mut self, id: SessionId, pid: u16) -> Option<&mut Inbound> {
        self.sessions.get_mut(id)?.inbound.iter_mut().find(|inbound| inbound.pid == pid)
    }

    /// Whether the PUBLISH repeats one that is known; if so it is answered (now, or when it is stored).
    pub(crate) fn repeated(&mut self, id: SessionId, conn: ConnId, pid: u16) -> bool {
        let Some(inbound) = self.inbound(id, pid) else { return false };
        inbound.conn = conn;
        match inbound.step {
            Step::Storing => true,
            Step::Restored => false,
            Step::Received => {
                self.pubrec(conn, pid, PublishAckReason::Success);
                true
            }
        }
    }

    /// The name of a message that may have been stored before a restart.
    pub(crate) fn restored_id(&mut self, id: SessionId, pid: u16) -> Option<MessageId> {
        self.inbound(id, pid).map(|inbound| inbound.message_id.clone())
    }

    /// Takes a new message: first its packet id is stored.
    pub(crate) fn receive(&mut self, id: SessionId, conn: ConnId, pid: u16, message: Arc<Message>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let known = session.inbound.iter_mut().find(|inbound| inbound.pid == pid);
        let stored = known.is_some() || !session.persistent();
        match session.inbound.iter_mut().find(|inbound| inbound.pid == pid) {
            Some(known) => known.step = Step::Storing,
            None => {
                let message_id = message.id.clone();
                session.inbound.push(Inbound { pid, step: Step::Storing, message_id, conn, restored: false });
            }
        }
        let origin = Origin::Qos2 { session: id, pid };
        if stored {
            self.route(message, origin, Some(id));
        } else {
            self.store_cursor(id, AfterPut::Receive { session: id, pid, message });
        }
    }

    /// The packet id is stored (or not): now the message.
    pub(crate) fn receive_stored(&mut self, id: SessionId, pid: u16, message: Arc<Message>, stored: bool) {
        if stored {
            self.route(message, Origin::Qos2 { session: id, pid }, Some(id));
        } else {
            self.received(id, pid, Some(PublishAckReason::QuotaExceeded));
        }
    }

    /// The message is stored (or refused): PUBREC.
    pub(crate) fn received(&mut self, id: SessionId, pid: u16, refused: Option<PublishAckReason>) {
        let Some(inbound) = self.inbound(id, pid) else { return };
        let conn = inbound.conn;
        let Some(reason) = refused else {
            inbound.step = Step::Received;
            if self.online(conn).is_some() {
                self.pubrec(conn, pid, PublishAckReason::Success);
            }
            return;
        };
        if inbound.restored {
            // It may be stored from before the restart, so it cannot be refused. The client will ask again.
            inbound.step = Step::Restored;
            return self.close(conn, DisconnectReasonCode::QuotaExceeded);
        }
        if let Some(session) = self.sessions.get_mut(id) {
            session.inbound.retain(|inbound| inbound.pid != pid);
        }
        self.mark_dirty(id);
        self.refuse(conn, pid, 2, reason.into());
    }

    /// PUBREL from a client: the packet id is free again.
    pub(crate) fn release(&mut self, id: SessionId, pid: u16) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        // One that is being stored was not acknowledged yet, so the client cannot mean it.
        let released = |inbound: &Inbound| inbound.pid == pid && inbound.step != Step::Storing;
        let reason = match session.inbound.iter().position(released) {
            Some(place) => {
                session.inbound.swap_remove(place);
                PublishAck2Reason::Success
            }
            None => PublishAck2Reason::PacketIdNotFound,
        };
        self.pubcomp(id, pid, reason);
    }

    fn pubcomp(&mut self, id: SessionId, pid: u16, reason_code: PublishAck2Reason) {
        if let Some(packet_id) = NonZeroU16::new(pid) {
            let ack = PublishAck2 { packet_id, reason_code, ..PublishAck2::default() };
            self.send_in_order(id, Packet::PublishComplete(ack));
        }
    }
}
