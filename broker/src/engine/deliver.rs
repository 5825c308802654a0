//! A message goes out: to every subscription that matches, live from memory where the reader keeps up.

use std::num::NonZeroU32;
use std::sync::Arc;

use rmqtt_codec::v5::{Packet, QoS};

use super::Engine;
use super::inflight::{Entry as InFlight, Source, State};
use super::packet::{Form, fit, publish};
use super::session::{Session, SessionId};
use super::subscriptions::{Entry, Options, Target};
use crate::log::{Key, Message, Offset};

/// The subscriptions of one session that match a message, as one (MQTT 5, section 3.3.4).
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) options: Options,
    pub(crate) ids: Vec<NonZeroU32>,
}

impl Hit {
    pub(crate) fn add(hit: Option<Self>, options: Options, id: u32) -> Self {
        let mut hit =
            hit.map_or(Self { options, ids: Vec::new() }, |hit| Self { options: hit.options.union(options), ..hit });
        hit.ids.extend(NonZeroU32::new(id));
        hit
    }

    pub(crate) fn qos_of(&self, message: &Message) -> u8 {
        message.qos.min(self.options.qos().value())
    }
}

/// What became of an attempt to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    Sent,
    /// It has expired: nobody gets it.
    Expired,
    /// This client does not take packets of that size.
    TooLarge,
    /// The client's window is full, or it is not connected.
    Full,
}

/// Whether `message` was published by the client of this session itself (for `no local`).
pub(crate) fn is_local(session: &Session, message: &Message) -> bool {
    match (&message.sender, session.owner.user()) {
        (Some(sender), Some(user)) => *user == sender.user && *session.client == *sender.client,
        (None, None) => message.publisher == super::hash::name(&session.client),
        _ => false,
    }
}

impl Engine {
    /// Delivers a message that was just stored at `offset` (`None`: QoS 0, which is not stored).
    pub(crate) fn deliver(&mut self, offset: Option<Offset>, message: &Arc<Message>, from: Option<SessionId>) {
        let mut hits = std::mem::take(&mut self.hits);
        self.index.collect(&message.topic, &mut hits);
        for run in hits.chunk_by(|a, b| a.target == b.target) {
            match run[0].target {
                Target::Session(id) => {
                    let local = from == Some(id);
                    if let Some(hit) = combine(run, message, local) {
                        self.deliver_to_session(id, hit, offset, message);
                    }
                }
                Target::Group(group) if run[0].options.permits(message) => {
                    self.deliver_to_group(group, offset, message);
                }
                Target::Group(_) => {}
            }
        }
        hits.clear();
        self.hits = hits;
    }

    fn deliver_to_session(&mut self, id: SessionId, hit: Hit, offset: Option<Offset>, message: &Arc<Message>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(offset) = offset else {
            self.offer(id, hit, None, message, false);
            return;
        };
        let counts = hit.qos_of(message) > 0;
        if session.online.is_none() {
            if counts {
                session.flow.pass_over(offset);
            }
            return;
        }
        if !session.flow.live {
            session.flow.missed = session.flow.missed.max(offset);
            return;
        }
        if offset <= session.flow.next {
            return;
        }
        match self.offer(id, hit, Some(Source::Log(offset)), message, false) {
            Offered::Full if counts => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.flow.pass_over(offset);
                }
            }
            _ => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.flow.next = offset;
                }
            }
        }
    }

    /// Sends a message to a connected client if its window has room. `source` is where the message can be found
    /// again; `None` for QoS 0.
    pub(crate) fn offer(
        &mut self,
        id: SessionId,
        hit: Hit,
        source: Option<Source>,
        message: &Arc<Message>,
        dup: bool,
    ) -> Offered {
        let now_ms = self.now;
        let cursor = match &source {
            Some(Source::Log(offset) | Source::Group(_, offset)) => Some(self.cursor(*offset)),
            _ => None,
        };
        let Some(session) = self.sessions.get_mut(id) else { return Offered::Full };
        let Some(online) = &mut session.online else { return Offered::Full };
        if message.is_expired(now_ms) {
            self.stats.expired += 1;
            return Offered::Expired;
        }
        let qos = hit.qos_of(message);
        let mut pid = None;
        if qos > 0 {
            let outbound = &mut session.outbound;
            if outbound.has_unsent() || outbound.free(online.window, self.settings.max_inflight_bytes) == 0 {
                return Offered::Full;
            }
            pid = Some(outbound.new_pid());
        }
        let retained = matches!(source, Some(Source::Retained(_)));
        let form = Form {
            protocol: online.protocol,
            qos: QoS::try_from(qos).unwrap_or(QoS::AtMostOnce),
            pid,
            dup: dup && qos > 0,
            retain: retained || (message.retain && hit.options.retain_as_published()),
            ids: hit.ids,
            cursor,
            hole: session.flow.hole && matches!(source, Some(Source::Log(_))),
            now_ms,
        };
        let Some(packet) = fit(publish(message, form), online.protocol, online.max_packet) else {
            self.stats.too_large += 1;
            return Offered::TooLarge;
        };
        self.stats.sent[usize::from(qos)] += 1;
        session.flow.hole &= !matches!(source, Some(Source::Log(_)));
        let packet = Packet::Publish(Box::new(packet));
        if let (Some(pid), Some(source)) = (pid, source) {
            let own = matches!((&message.key, session.owner.user()), (Key::User(key), Some(user)) if key == user);
            session.outbound.push(InFlight {
                pid,
                qos,
                state: State::Sent,
                own,
                bytes: u32::try_from(message.payload.len()).unwrap_or(u32::MAX),
                sent_ms: now_ms,
                source,
                message: Some(message.clone()),
            });
        }
        self.send_in_order(id, packet);
        Offered::Sent
    }

    /// The session's own subscriptions that match a message of the log at `offset`.
    pub(crate) fn own_hit(session: &Session, message: &Message, offset: Offset) -> Option<Hit> {
        if session.recovery.as_deref().is_some_and(|recovery| recovery.has_had(session, message, offset)) {
            return None;
        }
        let mut hit = None;
        for subscription in &session.subscriptions {
            let options = subscription.options;
            if subscription.group.is_none()
                && subscription.since < offset
                && options.permits(message)
                && !(options.no_local() && is_local(session, message))
                && tidings_shared::topic::matches(&subscription.filter, &message.topic)
            {
                hit = Some(Hit::add(hit, options, subscription.id));
            }
        }
        hit
    }
}

/// One session's matching subscriptions, without those that this message is not for.
fn combine(run: &[Entry], message: &Message, local: bool) -> Option<Hit> {
    let mut hit = None;
    for entry in run {
        if entry.options.permits(message) && !(local && entry.options.no_local()) {
            hit = Some(Hit::add(hit, entry.options, entry.id));
        }
    }
    hit
}
