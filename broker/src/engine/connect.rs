//! A client comes: CONNECT, session present, takeover, and what it gets on return (MQTT 5, sections 3.1 and 3.2).

use std::sync::Arc;

use rmqtt_codec::v5::{ConnectAck, ConnectAckReason, DisconnectReasonCode, Packet, PublishAck2Reason};
use tidings_shared::events::PresenceState;
use tidings_shared::properties;

use super::inflight::State;
use super::io::{ConnId, ConnectRequest, Protocol};
use super::recovery::{self, Kept, Recovery};
use super::session::{Online, Owner, Session, SessionId, Storing};
use super::timers::Timer;
use super::will::{Fate, Will};
use super::{Engine, Output};

/// Where answers to a device's requests may go (MQTT 5, 4.10): topics that it may subscribe to and handlers publish on.
fn response_information(request: &ConnectRequest) -> Option<String> {
    let user = request.principal.user().filter(|_| request.connect.request_response_info)?;
    Some(tidings_shared::topic::response_prefix(user))
}

impl Engine {
    /// CONNECT of an authenticated client.
    pub(crate) fn arrive(&mut self, conn: ConnId, request: ConnectRequest) {
        match recovery::cursor_of(&request.connect, request.protocol) {
            Ok(Some(_)) => self.ask_floor(conn, request),
            Ok(None) => self.connect(conn, request, None),
            Err(why) => self.reject(conn, ConnectAckReason::ImplementationSpecificError, &why),
        }
    }

    /// Answers a CONNECT. `kept`: what the log has for a client that brings a cursor.
    pub(crate) fn connect(&mut self, conn: ConnId, request: ConnectRequest, kept: Option<Kept>) {
        // The gate has asked already; what was revoked since then is found here.
        if self.is_revoked(request.principal.user(), request.token.as_deref()) {
            return self.reject_revoked(conn);
        }
        let will = match self.admit(&request) {
            Ok(will) => will,
            Err((reason, why)) => return self.reject(conn, reason, &why),
        };
        let connect = &request.connect;
        let owner = Owner::of(&request.principal);
        let assigned = connect.client_id.is_empty();
        let client: Arc<str> = if assigned {
            format!("tidings-{:016x}{:016x}", self.random.next(), self.random.next()).into()
        } else {
            (&*connect.client_id).into()
        };
        let asked = connect.session_expiry_interval_secs;
        let expiry_s = asked.min(self.settings.max_session_expiry_s);
        let taken_over = self.take_over(&owner, &client);
        let resumed = self.former_session(&owner, &client, connect.clean_start);
        if resumed.is_none() && self.too_many_sessions(&owner) {
            let most = self.settings.max_sessions_per_user;
            let why = format!("the user has {most} sessions, which is the most (broker.limits.sessions_per_user)");
            return self.reject(conn, ConnectAckReason::QuotaExceeded, &why);
        }
        let cursor = recovery::cursor_of(connect, request.protocol).ok().flatten();
        let standing = self.standing(cursor, kept, resumed.and_then(|id| self.sessions.get(id)));
        let id = resumed.unwrap_or_else(|| self.new_session(&owner, &client, expiry_s));
        self.cancel_will(id);
        self.attach(id, conn, &request, expiry_s, will);
        if let (Some(from), Some(session)) = (standing.from, self.sessions.get_mut(id)) {
            session.recovery = Some(Box::new(Recovery::at(from)));
            if let Some(online) = &mut session.online {
                online.since = from;
            }
        }
        let mut told = vec![(properties::CURSOR, self.cursor(self.head).to_string())];
        told.extend(standing.recovered.map(|whole| (properties::RECOVERED, whole.to_string())));
        // The session may have subscriptions from another token.
        let forbidden = if resumed.is_some() { self.drop_forbidden(id) } else { Vec::new() };
        let ack = ConnectAck {
            session_present: resumed.is_some(),
            session_expiry_interval_secs: (expiry_s != asked).then_some(expiry_s),
            receive_max: self.settings.receive_maximum.try_into().unwrap_or(std::num::NonZeroU16::MIN),
            max_packet_size: self.settings.max_packet_size,
            assigned_client_id: assigned.then(|| (&*client).into()),
            topic_alias_max: self.settings.topic_alias_maximum,
            server_keepalive_sec: request.server_keep_alive_s,
            response_info: response_information(&request).map(Into::into),
            user_properties: told
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .chain(super::refresh::unsubscribed(&forbidden))
                .collect(),
            ..ConnectAck::default()
        };
        self.send(conn, Packet::ConnectAck(Box::new(ack)));
        if let Some(user) = request.principal.user() {
            self.meet(user);
            self.wake_returned(user, &client);
            if !taken_over {
                self.tell_presence(user, &client, PresenceState::Online);
            }
        }
        self.resume(id);
    }

    fn admit(&mut self, request: &ConnectRequest) -> Result<Option<Will>, (ConnectAckReason, String)> {
        if self.stopping {
            return Err((ConnectAckReason::ServerUnavailable, "the broker is stopping".to_owned()));
        }
        let (client_id, most) = (&request.connect.client_id, self.settings.max_client_id_bytes);
        if client_id.len() > most || client_id.contains('\0') {
            let found = client_id.len();
            let why = format!("a client id is UTF-8 of at most {most} bytes without NUL; this one has {found} bytes");
            return Err((ConnectAckReason::ClientIdentifierNotValid, why));
        }
        let will = request.connect.last_will.as_ref();
        will.map(|will| self.check_will(&request.principal, will)).transpose()
    }

    fn reject(&mut self, conn: ConnId, reason_code: ConnectAckReason, why: &str) {
        let ack = ConnectAck { reason_code, reason_string: Some(why.into()), ..ConnectAck::default() };
        self.send(conn, Packet::ConnectAck(Box::new(ack)));
        let reason = DisconnectReasonCode::try_from(u8::from(reason_code));
        self.out.push(Output::Close { conn, reason: reason.unwrap_or(DisconnectReasonCode::UnspecifiedError) });
    }

    /// Closes the connection that still uses this name; whether there was one.
    fn take_over(&mut self, owner: &Owner, client: &str) -> bool {
        let old = self.sessions.find(owner, client).and_then(|id| self.sessions.get(id)?.conn());
        if let Some(conn) = old {
            self.stats.takeovers += 1;
            self.close(conn, DisconnectReasonCode::SessionTakenOver);
        }
        old.is_some()
    }

    /// The session to go on with, if there is one and it is wanted.
    fn former_session(&mut self, owner: &Owner, client: &str, clean_start: bool) -> Option<SessionId> {
        let id = self.sessions.find(owner, client)?;
        let now = self.now;
        let old = self.sessions.get(id)?;
        if clean_start || old.expires_at.is_some_and(|at| at <= now) {
            self.end_session(id);
            return None;
        }
        Some(id)
    }

    fn new_session(&mut self, owner: &Owner, client: &Arc<str>, expiry_s: u32) -> SessionId {
        self.sessions.insert(Session::new(owner.clone(), client.clone(), expiry_s, self.head))
    }

    fn attach(&mut self, id: SessionId, conn: ConnId, request: &ConnectRequest, expiry_s: u32, will: Option<Will>) {
        let connect = &request.connect;
        let online = Online {
            conn,
            protocol: request.protocol,
            principal: request.principal.clone(),
            token: request.token.clone(),
            window: connect.receive_max.map_or(u16::MAX, Into::into).min(self.settings.max_inflight).max(1),
            max_packet: connect.max_packet_size.map_or(usize::MAX, |max| max.get() as usize),
            since: self.head,
            since_ms: self.now,
            asked_expiry_s: connect.session_expiry_interval_secs,
            aliases: Vec::new(),
            appending: 0,
            deferred: Vec::new(),
            storing: Storing::Idle,
            stalled: false,
            watched: false,
        };
        let Some(session) = self.sessions.get_mut(id) else { return };
        if let Some(at) = session.expires_at.take() {
            self.timers.cancel(at, Timer::SessionEnd(id));
        }
        let changed = session.expiry_s != expiry_s || will.is_some() || !session.recorded;
        session.expiry_s = expiry_s;
        session.will = will.map(Box::new);
        session.online = Some(Box::new(online));
        let persistent = session.persistent();
        let recorded = session.recorded;
        self.conns.insert(conn, id);
        if persistent && changed {
            self.record_session(id);
        } else if !persistent && recorded {
            self.forget_session_record(id);
        }
        self.mark_dirty(id);
    }

    /// Goes on where an earlier connection ended: PUBREL and PUBLISH again, then what was missed.
    fn resume(&mut self, id: SessionId) {
        let head = self.head;
        let Some(session) = self.sessions.get_mut(id) else { return };
        if session.outbound.has_unsent() && session.flow.live {
            // New messages wait until the old ones are on their way again.
            session.flow.next = session.flow.position(head);
            session.flow.live = false;
        }
        let released = session.outbound.entries.iter().filter(|entry| entry.state == State::Released);
        let released: Vec<_> = released.map(|entry| entry.pid).collect();
        for pid in released {
            self.pubrel(id, pid, PublishAck2Reason::Success);
        }
        self.pump(id);
    }

    /// Ends a connection from this side; an MQTT 5 client is told why.
    pub(crate) fn close(&mut self, conn: ConnId, reason: DisconnectReasonCode) {
        let Some(&id) = self.conns.get(&conn) else { return };
        self.close_with(id, conn, reason, Fate::Due);
    }

    pub(crate) fn close_with(&mut self, id: SessionId, conn: ConnId, reason: DisconnectReasonCode, fate: Fate) {
        if self.online(conn).is_some_and(|online| online.protocol == Protocol::V5) {
            let mut disconnect = rmqtt_codec::v5::Disconnect::new(reason);
            disconnect.reason_string = super::reasons::ended(reason).map(Into::into);
            self.send(conn, Packet::Disconnect(disconnect));
        }
        self.out.push(Output::Close { conn, reason });
        self.detach(id, fate, reason);
    }

    /// DISCONNECT from a client (MQTT 5, section 3.14).
    pub(crate) fn disconnect(&mut self, id: SessionId, conn: ConnId, packet: &rmqtt_codec::v5::Disconnect) {
        let maximum = self.settings.max_session_expiry_s;
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(online) = &session.online else { return };
        if let Some(asked) = packet.session_expiry_interval_secs {
            if online.asked_expiry_s == 0 && asked > 0 {
                return self.close(conn, DisconnectReasonCode::ProtocolError);
            }
            let recorded = session.recorded;
            session.expiry_s = asked.min(maximum);
            if session.persistent() {
                self.record_session(id);
            } else if recorded {
                self.forget_session_record(id);
            }
        }
        let normal = packet.reason_code == DisconnectReasonCode::NormalDisconnection;
        self.out.push(Output::Close { conn, reason: DisconnectReasonCode::NormalDisconnection });
        let fate = if normal { Fate::Discarded } else { Fate::Due };
        self.detach(id, fate, DisconnectReasonCode::NormalDisconnection);
    }

    /// The connection is gone; the session may live on.
    pub(crate) fn detach(&mut self, id: SessionId, fate: Fate, reason: DisconnectReasonCode) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(online) = session.online.take() else { return };
        let persistent = session.persistent();
        // One that is taken over goes on being there.
        let left = session.owner.user().filter(|_| reason != DisconnectReasonCode::SessionTakenOver);
        let left = left.map(|user| (user.clone(), session.client.clone()));
        self.conns.remove(&online.conn);
        self.release_claims(id, !persistent);
        self.settle_will(id, fate);
        let now = self.now;
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.outbound.disconnected();
        session.flow.reading = None;
        if let Some(recovery) = session.recovery.as_deref_mut() {
            recovery.disconnected();
            if recovery.is_over() {
                session.recovery = None;
            }
        }
        if persistent {
            if session.expiry_s != u32::MAX {
                let at = now.saturating_add(i64::from(session.expiry_s) * 1000);
                session.expires_at = Some(at);
                self.timers.set(at, Timer::SessionEnd(id));
            }
            self.mark_dirty(id);
        } else {
            self.end_session(id);
        }
        if let Some((user, client)) = left {
            self.tell_presence(&user, &client, PresenceState::Offline);
        }
    }

    /// The session is over: its will is due at the latest now, its subscriptions and records go.
    pub(crate) fn end_session(&mut self, id: SessionId) {
        self.publish_will(id);
        self.release_claims(id, true);
        let Some(session) = self.sessions.get_mut(id) else { return };
        if let Some(at) = session.expires_at {
            self.timers.cancel(at, Timer::SessionEnd(id));
        }
        for subscription in std::mem::take(&mut session.subscriptions) {
            self.drop_subscription(id, &subscription);
        }
        if self.sessions.get(id).is_some_and(|session| session.recorded) {
            self.forget_session_record(id);
        }
        if let Some(session) = self.sessions.remove(id) {
            self.note_ended(&session);
        }
    }

    fn too_many_sessions(&self, owner: &Owner) -> bool {
        let maximum = self.settings.max_sessions_per_user as usize;
        owner.user().is_some_and(|user| self.sessions.count_of_user(user) >= maximum)
    }
}
