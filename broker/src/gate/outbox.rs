//! What the engine has for one connection, until the connection's task takes it.
//!
//! It is small on purpose: a connection with nothing to send costs one allocation of this struct and no queue, where a
//! channel of packets would reserve kilobytes. One side is [`crate::core`], the other the connection's task.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use rmqtt_codec::v5::{DisconnectReasonCode, Packet, QoS};

/// Why the engine ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// For this reason.
    Reason(DisconnectReasonCode),
    /// Its token was revoked (0x87).
    Revoked,
}

impl From<DisconnectReasonCode> for Closing {
    fn from(reason: DisconnectReasonCode) -> Self {
        Self::Reason(reason)
    }
}

/// The queue from the engine to one connection.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    reader: AtomicWaker,
    limit: usize,
}

#[derive(Debug, Default)]
struct Queue {
    packets: VecDeque<Packet>,
    bytes: usize,
    /// The engine ends the connection after these packets.
    close: Option<Closing>,
    /// The connection has ended: nothing is kept any more.
    gone: bool,
}

/// Everything that waited in the outbox.
#[derive(Debug)]
pub struct Taken {
    /// To be sent, in this order.
    pub packets: VecDeque<Packet>,
    /// To be done after they are sent.
    pub close: Option<Closing>,
}

impl Outbox {
    /// An empty outbox that keeps at most `limit` bytes of payload for QoS 0 messages.
    ///
    /// Messages of QoS 1 and 2 are bounded by the engine through the client's receive maximum.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { queue: Mutex::default(), reader: AtomicWaker::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a packet to the connection. `false`: it was a QoS 0 message and there is no room for it, so it is dropped
    /// (to be counted), as QoS 0 allows; everything else is taken.
    #[must_use = "a dropped message is counted"]
    pub fn send(&self, packet: Packet) -> bool {
        let size = size(&packet);
        let mut queue = self.lock();
        if queue.gone || queue.close.is_some() {
            return true;
        }
        if queue.bytes > 0 && queue.bytes + size > self.limit && is_qos_0(&packet) {
            return false;
        }
        queue.bytes += size;
        queue.packets.push_back(packet);
        let first = queue.packets.len() == 1;
        drop(queue);
        if first {
            self.reader.wake();
        }
        true
    }

    /// Ends the connection after what was sent before. Later packets are ignored.
    pub fn close(&self, why: impl Into<Closing>) {
        self.lock().close.get_or_insert(why.into());
        self.reader.wake();
    }

    /// How many bytes of messages wait to be taken.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Takes everything; pending while there is nothing. One task may wait at a time.
    pub fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Taken> {
        self.reader.register(cx.waker());
        let mut queue = self.lock();
        if queue.packets.is_empty() && queue.close.is_none() {
            return Poll::Pending;
        }
        queue.bytes = 0;
        Poll::Ready(Taken { packets: std::mem::take(&mut queue.packets), close: queue.close })
    }

    /// The connection has ended: what waits is let go, and nothing more is kept.
    pub fn abandon(&self) {
        let mut queue = self.lock();
        queue.gone = true;
        queue.packets = VecDeque::new();
        queue.bytes = 0;
    }
}

fn is_qos_0(packet: &Packet) -> bool {
    matches!(packet, Packet::Publish(publish) if publish.qos == QoS::AtMostOnce)
}

/// What a packet holds in memory, roughly: the struct, and its payload if it has one.
fn size(packet: &Packet) -> usize {
    const STRUCT: usize = 128;
    STRUCT + if let Packet::Publish(publish) = packet { publish.payload.len() + publish.topic.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::poll_fn;
    use rmqtt_codec::types::Publish;

    fn message(qos: QoS, bytes: usize) -> Packet {
        let packet_id = (qos != QoS::AtMostOnce).then(|| 1.try_into().unwrap());
        let payload = vec![0; bytes].into();
        Packet::Publish(Box::new(Publish {
            dup: false,
            retain: false,
            qos,
            topic: "t".into(),
            packet_id,
            payload,
            properties: None,
        }))
    }

    #[tokio::test]
    async fn qos_0_is_dropped_beyond_the_limit_and_nothing_else_is() {
        let outbox = Outbox::new(1000);
        // One message always has room.
        assert!(outbox.send(message(QoS::AtMostOnce, 2000)));
        assert!(!outbox.send(message(QoS::AtMostOnce, 600)));
        assert!(outbox.send(message(QoS::AtLeastOnce, 600)));
        assert!(outbox.send(Packet::PingResponse));
        outbox.close(DisconnectReasonCode::SessionTakenOver);
        assert!(outbox.send(Packet::PingResponse));
        let taken = poll_fn(|cx| outbox.poll_take(cx)).await;
        assert_eq!(taken.packets.len(), 3);
        assert_eq!(taken.close, Some(Closing::Reason(DisconnectReasonCode::SessionTakenOver)));
        assert_eq!(outbox.waiting_bytes(), 0);
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let outbox = std::sync::Arc::new(Outbox::new(1000));
        let reader = tokio::spawn({
            let outbox = outbox.clone();
            async move { poll_fn(|cx| outbox.poll_take(cx)).await.packets.len() }
        });
        tokio::task::yield_now().await;
        assert!(outbox.send(Packet::PingResponse));
        assert_eq!(reader.await.unwrap(), 1);
    }

    #[test]
    fn an_abandoned_outbox_keeps_nothing() {
        let outbox = Outbox::new(1000);
        assert!(outbox.send(message(QoS::AtLeastOnce, 600)));
        outbox.abandon();
        assert!(outbox.send(message(QoS::AtLeastOnce, 600)));
        assert_eq!(outbox.waiting_bytes(), 0);
    }
}
