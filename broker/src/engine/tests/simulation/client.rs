//! A client of the simulation, which keeps to the protocol: it remembers what it must over reconnects, acknowledges
//! when it likes, and checks what it is sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;

use rmqtt_codec::types::Publish;
use rmqtt_codec::v5::{Connect, ConnectAck, Packet, PublishAck, PublishAck2, PublishAckReason};

use super::super::harness::{Login, message, property, text};
use super::world::Kind;
use crate::engine::ConnId;

/// How far a publish of this client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    Published,
    Released,
}

pub(super) struct Client {
    pub(super) login: Login,
    pub(super) kind: Kind,
    pub(super) filter: String,
    pub(super) qos: u8,
    pub(super) conn: Option<ConnId>,
    /// What lies in its socket.
    pub(super) inbox: VecDeque<Packet>,
    pub(super) subscribed: bool,
    /// Everything that is stored after this place has to reach it: the log's head when it saw its SUBACK.
    pub(super) promised_after: Option<u64>,
    /// Payloads that its application was given, with how often.
    pub(super) got: BTreeMap<String, usize>,
    /// It keeps no session at the broker and names the last cursor that it has seen: epoch and offset.
    pub(super) drifts: bool,
    pub(super) cursor: Option<(String, u64)>,
    /// Offsets that came without DUP on this session.
    fresh: BTreeSet<u64>,
    /// Packet ids of QoS 2 messages that it has and that are not released.
    held: BTreeSet<u16>,
    /// Its own publishes that are under way: packet id, QoS, payload.
    pub(super) outgoing: BTreeMap<u16, (u8, String, Outgoing)>,
    next_pid: u16,
}

/// What a client has to say after it has looked at a packet.
pub(super) enum Reaction {
    Say(Packet),
    /// A message of its own user was acknowledged.
    Acked(Packet, String),
    /// The broker says that it has this payload.
    Stored(String, Option<Packet>),
    /// The broker has refused this payload.
    Refused,
    Nothing,
}

impl Client {
    pub(super) fn new(login: Login, kind: Kind, filter: &str, qos: u8) -> Self {
        Self {
            login,
            kind,
            filter: filter.to_owned(),
            qos,
            conn: None,
            inbox: VecDeque::new(),
            subscribed: false,
            promised_after: None,
            got: BTreeMap::new(),
            drifts: false,
            cursor: None,
            fresh: BTreeSet::new(),
            held: BTreeSet::new(),
            outgoing: BTreeMap::new(),
            next_pid: 0,
        }
    }

    /// One that keeps its own cursor instead of a session.
    pub(super) fn drifting(mut self) -> Self {
        self.drifts = true;
        self
    }

    /// CONNECT as it says it now.
    pub(super) fn connect(&self) -> Connect {
        let mut connect = self.login.connect.clone();
        if let Some((epoch, offset)) = &self.cursor {
            connect.user_properties.push(("cursor".into(), format!("{epoch}-{offset}").into()));
        }
        connect
    }

    /// Whether everything that is stored has to reach it.
    pub(super) fn is_promised(&self) -> bool {
        self.persistent() || self.drifts
    }

    pub(super) fn connected(&mut self, ack: &ConnectAck) {
        if !self.drifts {
            return;
        }
        let told = |name: &str| ack.user_properties.iter().find(|(n, _)| &**n == name).map(|(_, value)| &**value);
        if self.cursor.is_none() {
            let (epoch, offset) = told("cursor").and_then(|cursor| cursor.split_once('-')).unwrap();
            self.cursor = Some((epoch.to_owned(), offset.parse().unwrap()));
        } else {
            assert_eq!(told("recovered"), Some("true"), "nothing was dropped");
        }
        self.promised_after = self.promised_after.or(self.cursor.as_ref().map(|(_, offset)| *offset));
    }

    pub(super) fn persistent(&self) -> bool {
        self.login.connect.session_expiry_interval_secs > 0
    }

    /// The broker knows nothing of the old session: neither does the client.
    pub(super) fn forget(&mut self) {
        self.subscribed = false;
        if !self.drifts {
            self.promised_after = None;
        }
        self.fresh.clear();
        self.held.clear();
        self.outgoing.clear();
    }

    pub(super) fn new_publish(&mut self, topic: &str, payload: &str, qos: u8) -> Publish {
        loop {
            self.next_pid = self.next_pid % 40 + 1;
            if !self.outgoing.contains_key(&self.next_pid) {
                break;
            }
        }
        self.outgoing.insert(self.next_pid, (qos, payload.to_owned(), Outgoing::Published));
        Publish { packet_id: NonZeroU16::new(self.next_pid), ..message(topic, payload, qos) }
    }

    /// What it says again after a reconnect (MQTT 5, section 4.4).
    pub(super) fn again(&self, topic: &str) -> Vec<Packet> {
        let packet = |(pid, (qos, payload, step)): (&u16, &(u8, String, Outgoing))| match step {
            Outgoing::Published => Packet::Publish(Box::new(Publish {
                dup: true,
                packet_id: NonZeroU16::new(*pid),
                ..message(topic, payload, *qos)
            })),
            Outgoing::Released => Packet::PublishRelease(PublishAck2 {
                packet_id: pid.to_owned().try_into().unwrap(),
                ..Default::default()
            }),
        };
        self.outgoing.iter().map(packet).collect()
    }

    pub(super) fn look_at(&mut self, packet: Packet) -> Reaction {
        match packet {
            Packet::Publish(publish) => self.receive(&publish),
            Packet::PublishRelease(ack) => {
                self.held.remove(&ack.packet_id.get());
                Reaction::Say(Packet::PublishComplete(PublishAck2 { packet_id: ack.packet_id, ..Default::default() }))
            }
            Packet::PublishAck(ack) => match self.outgoing.remove(&ack.packet_id.get()) {
                Some((_, payload, _)) if ack.reason_code == PublishAckReason::Success => {
                    Reaction::Stored(payload, None)
                }
                Some(_) => Reaction::Refused,
                None => panic!("PUBACK for packet id {} that is not in use", ack.packet_id),
            },
            Packet::PublishReceived(ack) => {
                let pid = ack.packet_id.get();
                if ack.reason_code != PublishAckReason::Success {
                    self.outgoing.remove(&pid);
                    return Reaction::Refused;
                }
                let Some((_, payload, step)) = self.outgoing.get_mut(&pid) else {
                    panic!("PUBREC for packet id {pid} that is not in use");
                };
                *step = Outgoing::Released;
                let release = PublishAck2 { packet_id: ack.packet_id, ..Default::default() };
                Reaction::Stored(payload.clone(), Some(Packet::PublishRelease(release)))
            }
            Packet::PublishComplete(ack) => {
                let over = self.outgoing.remove(&ack.packet_id.get());
                assert!(matches!(over, None | Some((2, _, Outgoing::Released))), "PUBCOMP without PUBREL: {over:?}");
                Reaction::Nothing
            }
            Packet::SubscribeAck(ack) => {
                self.subscribed = ack.status.iter().all(|status| u8::from(*status) < 0x80);
                Reaction::Nothing
            }
            Packet::Disconnect(_) | Packet::PingResponse | Packet::UnsubscribeAck(_) => Reaction::Nothing,
            other => panic!("unexpected {other:?}"),
        }
    }

    fn receive(&mut self, publish: &Publish) -> Reaction {
        let payload = text(publish);
        let topic = &*publish.topic;
        if self.kind == Kind::Device {
            let own = self.login.principal.user().map(|user| format!("{user}_inbox"));
            assert_eq!(Some(topic), own.as_deref(), "a device got a foreign message");
        }
        let offset = property(publish, "cursor").and_then(|cursor| cursor.split_once('-')?.1.parse::<u64>().ok());
        let Some((offset, pid)) = offset.zip(publish.packet_id) else {
            *self.got.entry(payload).or_default() += 1;
            return Reaction::Nothing;
        };
        if let Some((_, last)) = &mut self.cursor {
            assert!(!publish.dup && offset > *last, "{offset} came to a client that has read up to {last}");
            *last = offset;
        }
        if !publish.dup && self.kind != Kind::Worker {
            let last = self.fresh.last().copied().unwrap_or(0);
            assert!(offset > last, "{topic}: {offset} came without DUP after {last}");
            self.fresh.insert(offset);
        }
        if publish.qos.value() == 1 {
            *self.got.entry(payload.clone()).or_default() += 1;
            return Reaction::Acked(Packet::PublishAck(PublishAck { packet_id: pid, ..Default::default() }), payload);
        }
        if self.held.insert(pid.get()) {
            *self.got.entry(payload.clone()).or_default() += 1;
        }
        Reaction::Acked(Packet::PublishReceived(PublishAck { packet_id: pid, ..Default::default() }), payload)
    }
}
