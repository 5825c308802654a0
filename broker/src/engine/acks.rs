//! Acknowledgements of clients for what was sent to them (MQTT 5, section 4.3).

use std::num::NonZeroU16;

use rmqtt_codec::v5::{Packet, PublishAck, PublishAck2, PublishAck2Reason, PublishAckReason};

use super::Engine;
use super::inflight::{Entry, Source, State};
use super::session::SessionId;

impl Engine {
    /// PUBACK: the client has the message.
    pub(crate) fn acked(&mut self, id: SessionId, pid: NonZeroU16) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if let Some(entry) = session.outbound.take(|entry| entry.pid == pid && entry.qos == 1) {
            self.arrived(id, &entry);
            self.done(id, &entry);
            self.pump(id);
        }
    }

    /// PUBREC: the client has the message; its packet id is still in use.
    pub(crate) fn pubrec_received(&mut self, id: SessionId, ack: &PublishAck) {
        let pid = ack.packet_id;
        let refused = !matches!(ack.reason_code, PublishAckReason::Success | PublishAckReason::NoMatchingSubscribers);
        let Some(session) = self.sessions.get_mut(id) else { return };
        let place = session.outbound.entries.iter().position(|entry| entry.pid == pid && entry.qos == 2);
        let Some(place) = place else {
            if !refused {
                self.pubrel(id, pid, PublishAck2Reason::PacketIdNotFound);
            }
            return;
        };
        if refused {
            // The exchange ends here (MQTT 5, 4.3.3).
            if let Some(entry) = session.outbound.take(|entry| entry.pid == pid) {
                self.arrived(id, &entry);
                self.done(id, &entry);
                self.pump(id);
            }
            return;
        }
        if session.outbound.entries[place].state == State::Released {
            return self.pubrel(id, pid, PublishAck2Reason::Success);
        }
        session.outbound.set_state(place, State::Released);
        let entry = session.outbound.entries[place].clone();
        self.arrived(id, &entry);
        self.pubrel(id, pid, PublishAck2Reason::Success);
    }

    /// PUBCOMP: the exchange is over.
    pub(crate) fn completed(&mut self, id: SessionId, pid: NonZeroU16) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let over = |entry: &Entry| entry.pid == pid && entry.state == State::Released;
        if let Some(entry) = session.outbound.take(over) {
            self.member_acknowledged(id);
            self.done(id, &entry);
            self.pump(id);
        }
    }

    pub(crate) fn pubrel(&mut self, id: SessionId, packet_id: NonZeroU16, reason_code: PublishAck2Reason) {
        let ack = PublishAck2 { packet_id, reason_code, ..PublishAck2::default() };
        self.send_in_order(id, Packet::PublishRelease(ack));
    }

    /// A device has a message: if it is its own user's, nobody needs to be woken for it.
    fn arrived(&mut self, id: SessionId, entry: &Entry) {
        self.member_acknowledged(id);
        let Some(session) = self.sessions.get(id) else { return };
        if let (true, Some(user), Some(offset)) = (entry.own, session.owner.user(), entry.source.offset()) {
            let (user, client) = (user.clone(), session.client.clone());
            self.wake_acked(&user, &client, offset);
        }
    }

    /// A message needs no more attention.
    pub(crate) fn done(&mut self, id: SessionId, entry: &Entry) {
        self.mark_dirty(id);
        if let Source::Group(group, offset) = entry.source {
            self.group_done(group, offset);
        }
    }
}
