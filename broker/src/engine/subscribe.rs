//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5, sections 3.8 to 3.11). For a session that outlives its connection the answer is
//! sent when the subscriptions are stored: what a client was told it is subscribed to survives a crash.

use std::num::NonZeroU16;
use std::sync::Arc;

use rmqtt_codec::v5::{
    DisconnectReasonCode, Packet, RetainHandling, Subscribe, SubscribeAck, SubscribeAckReason, Unsubscribe,
    UnsubscribeAck, UnsubscribeAckReason,
};
use tidings_shared::topic;
use tidings_shared::topic::access::{Rule, decide_subscribe};

use super::Engine;
use super::io::ConnId;
use super::reasons;
use super::records::AfterPut;
use super::session::{RetainedScan, SessionId, Subscription};
use super::subscriptions::{Entry, Options, Target};

/// A SUBSCRIBE whose answer waits until the session is stored.
#[derive(Debug)]
pub(crate) struct Subscribed {
    pub(crate) session: SessionId,
    pub(crate) conn: ConnId,
    pid: NonZeroU16,
    status: Vec<SubscribeAckReason>,
    by: u32,
    /// Why one was refused.
    why: Option<String>,
    /// Subscriptions that were not there before.
    new: Vec<Arc<str>>,
    /// Subscriptions that get retained messages.
    retained: Vec<Arc<str>>,
}

impl Engine {
    pub(crate) fn subscribe(&mut self, id: SessionId, conn: ConnId, packet: &Subscribe) {
        if packet.topic_filters.iter().any(|(filter, options)| options.no_local && filter.starts_with("$share/")) {
            // MQTT 5, 3.8.3.1: no local on a shared subscription is a protocol error.
            return self.close(conn, DisconnectReasonCode::ProtocolError);
        }
        self.subscribes = self.subscribes.wrapping_add(1);
        let mut subscribed = Subscribed {
            session: id,
            conn,
            pid: packet.packet_id,
            status: Vec::with_capacity(packet.topic_filters.len()),
            by: self.subscribes,
            why: None,
            new: Vec::new(),
            retained: Vec::new(),
        };
        let sub_id = packet.id.map_or(0, Into::into);
        for (filter, options) in &packet.topic_filters {
            let status = match self.check_subscription(id, filter) {
                Err((refused, why)) => {
                    subscribed.why.get_or_insert_with(|| reasons::subscription(filter, &why));
                    refused
                }
                Ok(rule) => {
                    let options_granted = Options::new(options, rule == Rule::Handler, rule == Rule::Acl);
                    self.add_subscription(
                        id,
                        filter,
                        options_granted,
                        sub_id,
                        options.retain_handling,
                        &mut subscribed,
                    );
                    SubscribeAckReason::try_from(options.qos.value()).unwrap_or(SubscribeAckReason::UnspecifiedError)
                }
            };
            subscribed.status.push(status);
        }
        let granted = subscribed.status.iter().any(|status| u8::from(*status) < 0x80);
        if granted && self.sessions.get(id).is_some_and(super::session::Session::persistent) {
            self.store_session(id, AfterPut::Subscribe(Box::new(subscribed)));
        } else {
            self.subscribed(subscribed, true);
        }
    }

    fn check_subscription(&mut self, id: SessionId, filter: &str) -> Result<Rule, (SubscribeAckReason, String)> {
        let refused = |reason| Err((reason, reasons::filter(reason).to_owned()));
        let session = self.sessions.get(id);
        let Some((session, online)) = session.and_then(|session| Some((session, session.online.as_ref()?))) else {
            return refused(SubscribeAckReason::UnspecifiedError);
        };
        if filter.split('/').count() > self.settings.max_filter_levels {
            return refused(SubscribeAckReason::TopicFilterInvalid);
        }
        let decision = decide_subscribe(&online.principal, filter);
        if !decision.allowed {
            self.stats.refused += 1;
            let reason = match decision.rule {
                Rule::Malformed => SubscribeAckReason::TopicFilterInvalid,
                _ => SubscribeAckReason::NotAuthorized,
            };
            return Err((reason, decision.rule.to_string()));
        }
        if session.subscriptions.len() >= self.settings.max_subscriptions && session.subscription(filter).is_none() {
            return refused(SubscribeAckReason::QuotaExceeded);
        }
        Ok(decision.rule)
    }

    fn add_subscription(
        &mut self,
        id: SessionId,
        filter: &str,
        options: Options,
        sub_id: u32,
        retain_handling: RetainHandling,
        subscribed: &mut Subscribed,
    ) {
        let head = self.head;
        let known = self.sessions.get(id).is_some_and(|session| session.subscription(filter).is_some());
        let begin = if known || filter.starts_with("$share/") { None } else { self.begin_at_cursor(id, filter) };
        let Some(session) = self.sessions.get_mut(id) else { return };
        let owner = session.owner.clone();
        let old = session.subscriptions.iter_mut().find(|subscription| &*subscription.filter == filter);
        let new = old.is_none();
        let filter = match old {
            Some(old) => {
                old.options = options;
                old.id = sub_id;
                old.by = subscribed.by;
                old.filter.clone()
            }
            None => {
                let filter: Arc<str> = filter.into();
                let subscription = Subscription {
                    filter: filter.clone(),
                    options,
                    id: sub_id,
                    since: begin.unwrap_or(head),
                    group: None,
                    by: subscribed.by,
                };
                session.subscriptions.push(subscription);
                self.stats.subscriptions += 1;
                subscribed.new.push(filter.clone());
                filter
            }
        };
        self.place_subscription(id, &owner, &filter, options, sub_id);
        let shared = filter.starts_with("$share/");
        let wanted = match retain_handling {
            RetainHandling::AtSubscribe => true,
            RetainHandling::AtSubscribeNew => new,
            RetainHandling::NoAtSubscribe => false,
        };
        if wanted && !shared {
            subscribed.retained.push(filter);
        }
    }

    /// Puts a subscription of a session where publishes find it.
    pub(crate) fn place_subscription(
        &mut self,
        id: SessionId,
        owner: &super::session::Owner,
        filter: &Arc<str>,
        options: Options,
        sub_id: u32,
    ) {
        if filter.starts_with("$share/") {
            let group = self.join_group(id, owner, filter, options, sub_id);
            let session = self.sessions.get_mut(id);
            let subscription = session.and_then(|s| s.subscriptions.iter_mut().find(|sub| sub.filter == *filter));
            if let Some(subscription) = subscription {
                subscription.group = Some(group);
            }
        } else {
            self.index.insert(filter, Entry { target: Target::Session(id), options, id: sub_id });
        }
    }

    /// The session is stored, or does not need to be: SUBACK, then retained messages.
    pub(crate) fn subscribed(&mut self, mut subscribed: Subscribed, stored: bool) {
        let id = subscribed.session;
        if !stored {
            let by = subscribed.by;
            for filter in &subscribed.new {
                // Unless a later SUBSCRIBE has asked for it again.
                let current = self.sessions.get(id).and_then(|session| session.subscription(filter));
                if current.is_some_and(|subscription| subscription.by == by) {
                    self.remove_subscription(id, filter);
                }
            }
            subscribed.retained.clear();
            subscribed.why = Some("the subscriptions could not be stored; try again".to_owned());
            for status in &mut subscribed.status {
                *status = if u8::from(*status) < 0x80 { SubscribeAckReason::QuotaExceeded } else { *status };
            }
        }
        if self.online(subscribed.conn).is_none() {
            return;
        }
        let (packet_id, status) = (subscribed.pid, subscribed.status);
        let reason_string = subscribed.why.map(Into::into);
        let ack = SubscribeAck { packet_id, properties: Vec::new(), reason_string, status };
        self.send(subscribed.conn, Packet::SubscribeAck(ack));
        if let Some(session) = self.sessions.get_mut(id) {
            for filter in subscribed.retained {
                session.retained.retain(|scan| scan.filter != filter);
                session.retained.push(RetainedScan { filter, after: None });
            }
        }
        self.pump(id);
    }

    pub(crate) fn unsubscribe(&mut self, id: SessionId, conn: ConnId, packet: &Unsubscribe) {
        let mut status = Vec::with_capacity(packet.topic_filters.len());
        for filter in &packet.topic_filters {
            status.push(if self.remove_subscription(id, filter) {
                UnsubscribeAckReason::Success
            } else if topic::split_shared(filter).is_none() {
                UnsubscribeAckReason::TopicFilterInvalid
            } else {
                UnsubscribeAckReason::NoSubscriptionExisted
            });
        }
        let changed = status.contains(&UnsubscribeAckReason::Success);
        let packet_id = packet.packet_id;
        let ack = UnsubscribeAck { packet_id, properties: Vec::new(), reason_string: None, status };
        if changed && self.sessions.get(id).is_some_and(super::session::Session::persistent) {
            self.store_session(id, AfterPut::Unsubscribe { conn, ack });
        } else {
            self.send(conn, Packet::UnsubscribeAck(ack));
        }
    }

    pub(crate) fn remove_subscription(&mut self, id: SessionId, filter: &str) -> bool {
        let Some(session) = self.sessions.get_mut(id) else { return false };
        let found = session.subscriptions.iter().position(|subscription| &*subscription.filter == filter);
        let Some(place) = found else { return false };
        let subscription = session.subscriptions.remove(place);
        session.retained.retain(|scan| scan.filter != subscription.filter);
        self.left_in_recovery(id, &subscription.filter);
        self.drop_subscription(id, &subscription);
        true
    }

    /// Takes a subscription away from where publishes find it.
    pub(crate) fn drop_subscription(&mut self, id: SessionId, subscription: &Subscription) {
        self.stats.subscriptions = self.stats.subscriptions.saturating_sub(1);
        match subscription.group {
            Some(group) => self.leave_group(id, group),
            None => self.index.remove(&subscription.filter, Target::Session(id)),
        }
    }
}
