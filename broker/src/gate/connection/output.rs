//! The engine's packets on their way to the peer: taken from the outbox, encoded into one write, written out.

use std::collections::VecDeque;
use std::future::Future;
use std::task::{Context, Poll};

use bytes::BytesMut;
use rmqtt_codec::v5::{ConnectAckReason, DisconnectReasonCode, Packet};

use super::Connection;
use super::end::End;
use crate::engine::METHOD;
use crate::gate::aliases::Named;
use crate::gate::stream::{Stream, poll_send, recycle, take_buffer};
use crate::gate::wire::{self, Encoded};

/// Packets are encoded into one write up to about this many bytes.
const BATCH: usize = 64 * 1024;
/// A peer that leaves more than this unread, besides what its socket holds, is not read from.
const CHOKE: usize = 256 * 1024;

impl<S: Stream> Connection<S> {
    /// Whether the peer is read from. One that sends more than it may is not, until it may. One that does not take what we send is not, once enough has piled up: what it
    /// asks for would only add to it.
    pub(super) fn listening(&self) -> bool {
        let choked = self.writing && (!self.pending.is_empty() || self.outbox.waiting_bytes() > CHOKE);
        self.reading && !choked && self.throttle.held_until().is_none()
    }

    /// Writes until the socket is full or there is nothing left; ready only when the connection is over.
    pub(super) fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if self.writing {
                let before = self.outbound.len();
                let sent = poll_send(&mut self.stream, &mut self.outbound, cx);
                self.gate.metrics.bytes_sent.inc_by((before - self.outbound.len()) as u64);
                match sent {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(End::Gone),
                    Poll::Pending => {
                        if self.outbound.len() < before || self.stuck_since.is_none() {
                            self.note_stuck();
                            // The timer may be due earlier than it was; it has to know who waits.
                            if self.timer.as_mut().poll(cx).is_ready() {
                                cx.waker().wake_by_ref();
                            }
                        }
                        return Poll::Pending;
                    }
                }
                self.writing = false;
                self.stuck_since = None;
                recycle(std::mem::take(&mut self.outbound));
            }
            if self.pending.is_empty() {
                if let Some(why) = self.close {
                    return Poll::Ready(why.into());
                }
                match self.outbox.poll_take(cx) {
                    Poll::Ready(taken) => {
                        self.pending = taken.packets;
                        self.close = taken.close;
                    }
                    Poll::Pending => {
                        // An emptied queue keeps its memory; an idle connection should not.
                        self.pending = VecDeque::new();
                        return Poll::Pending;
                    }
                }
            }
            self.encode_pending();
        }
    }

    /// Encodes waiting packets into one write.
    fn encode_pending(&mut self) {
        let mut out = take_buffer();
        while out.len() < BATCH {
            let Some(packet) = self.pending.pop_front() else { break };
            if self.encode(packet, &mut out) == Encoded::Close {
                self.pending.clear();
                self.close.get_or_insert(DisconnectReasonCode::NotAuthorized.into());
                break;
            }
        }
        self.outbound = out;
        self.writing = !self.outbound.is_empty();
    }

    fn encode(&mut self, mut packet: Packet, out: &mut BytesMut) -> Encoded {
        match &mut packet {
            Packet::ConnectAck(ack) => {
                self.answered = true;
                if ack.reason_code == ConnectAckReason::Success {
                    ack.auth_method = self.by_method.then(|| METHOD.into());
                    ack.assigned_client_id = self.assigned.take().map(|id| String::from(id).into());
                }
            }
            Packet::Disconnect(disconnect) => {
                if disconnect.reason_code == DisconnectReasonCode::ServerShuttingDown
                    && let Some(reference) = &self.gate.limits.server_reference
                {
                    disconnect.reason_code = DisconnectReasonCode::UseAnotherServer;
                    disconnect.server_reference = Some(reference.as_str().into());
                }
            }
            Packet::Publish(publish) => {
                if let Some(aliases) = &mut self.aliases {
                    // An introduction makes a packet larger: without it, it may be small enough for the client.
                    let plain = (self.dialect.maximum_packet > 0).then(|| publish.clone());
                    let named = aliases.name(publish);
                    let outcome = wire::encode(packet, self.dialect, out);
                    return match (named, outcome, plain) {
                        (Named::Introduced(topic, alias), Encoded::Written, _) => {
                            aliases.learned(topic, alias);
                            outcome
                        }
                        (Named::Introduced(..), Encoded::Skipped, Some(plain)) => {
                            wire::encode(Packet::Publish(plain), self.dialect, out)
                        }
                        _ => outcome,
                    };
                }
            }
            _ => {}
        }
        wire::encode(packet, self.dialect, out)
    }
}
