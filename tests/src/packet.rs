//! A bare MQTT connection on a socket: it sends what the test says, also what no decent client would send, and
//! shows each packet that comes back as it is.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::wait::PATIENCE;

/// The protocol level of CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1
    V3,
    /// MQTT 5
    V5,
}

/// A will.
#[derive(Clone, Debug)]
pub struct Will {
    /// Where it is published.
    pub topic: String,
    /// What is published.
    pub payload: Vec<u8>,
    /// With which QoS.
    pub qos: u8,
    /// Whether it is retained.
    pub retain: bool,
}

/// What CONNECT says.
#[derive(Clone, Debug)]
pub struct Connect {
    /// The protocol.
    pub version: Version,
    /// The client id.
    pub client: String,
    /// The user name.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Vec<u8>>,
    /// Clean session (3.1.1), clean start (5).
    pub clean: bool,
    /// Session expiry in seconds (5 only).
    pub expiry: u32,
    /// Keep-alive in seconds.
    pub keep_alive: u16,
    /// The will.
    pub will: Option<Will>,
}

impl Connect {
    /// A device: user name `JWT`, the token as password.
    #[must_use]
    pub fn device(version: Version, client: &str, token: &str) -> Self {
        Self::named(version, client, "JWT", token)
    }

    /// A handler: user name `handler`, the shared key as password.
    #[must_use]
    pub fn handler(version: Version, client: &str, key: &str) -> Self {
        Self::named(version, client, "handler", key)
    }

    /// Any user name and password.
    #[must_use]
    pub fn named(version: Version, client: &str, user: &str, password: &str) -> Self {
        Self {
            version,
            client: client.to_owned(),
            user: Some(user.to_owned()),
            password: Some(password.as_bytes().to_vec()),
            clean: true,
            expiry: 0,
            keep_alive: 60,
            will: None,
        }
    }

    /// With a will of QoS 1.
    #[must_use]
    pub fn will(mut self, topic: &str, payload: &str) -> Self {
        self.will = Some(Will { topic: topic.to_owned(), payload: payload.as_bytes().to_vec(), qos: 1, retain: false });
        self
    }

    /// With a session that is kept.
    #[must_use]
    pub fn persistent(mut self, expiry: u32) -> Self {
        self.clean = false;
        self.expiry = expiry;
        self
    }

    fn encode(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | (will.qos << 3) | (u8::from(will.retain) << 5);
        }
        flags |= u8::from(self.user.is_some()) << 7 | u8::from(self.password.is_some()) << 6;
        let mut body = Vec::new();
        string(&mut body, b"MQTT");
        body.extend([if self.version == Version::V5 { 5 } else { 4 }, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.version == Version::V5 {
            body.extend([5, 0x11]);
            body.extend(self.expiry.to_be_bytes());
        }
        string(&mut body, self.client.as_bytes());
        if let Some(will) = &self.will {
            if self.version == Version::V5 {
                body.push(0);
            }
            string(&mut body, will.topic.as_bytes());
            string(&mut body, &will.payload);
        }
        if let Some(user) = &self.user {
            string(&mut body, user.as_bytes());
        }
        if let Some(password) = &self.password {
            string(&mut body, password);
        }
        framed(0x10, &body)
    }
}

/// A packet as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The type: 2 is CONNACK, 3 PUBLISH, 4 PUBACK, 9 SUBACK, 14 DISCONNECT.
    pub kind: u8,
    /// The lower four bits of the first byte.
    pub flags: u8,
    /// Everything after the length.
    pub body: Vec<u8>,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    version: Version,
    next_id: u16,
}

impl Connection {
    /// Connects, and says CONNECT.
    ///
    /// # Panics
    /// When the port is closed.
    #[must_use]
    pub fn open(address: SocketAddr, connect: &Connect) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the broker accepts connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("a bound for reading");
        let mut connection = Self { stream, version: connect.version, next_id: 0 };
        connection.send(&connect.encode());
        connection
    }

    /// Connects, and is let in.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    #[track_caller]
    pub fn accepted(address: SocketAddr, connect: &Connect) -> Self {
        let mut connection = Self::open(address, connect);
        let code = connection.connack();
        assert_eq!(code, 0, "the broker refused {} with {code:#04x}", connect.client);
        connection
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        // The peer may have closed already; what was read from it before tells.
        let _ = self.stream.write_all(bytes);
    }

    /// The next packet, or `None` when the peer has closed.
    ///
    /// # Panics
    /// When nothing comes within [`PATIENCE`].
    pub fn read(&mut self) -> Option<Packet> {
        let first = self.byte()?;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some(Packet { kind: first >> 4, flags: first & 0x0f, body })
    }

    /// The next packet, which is of this type.
    ///
    /// # Panics
    /// When it is another one or none.
    #[track_caller]
    pub fn expect(&mut self, kind: u8) -> Packet {
        let packet = self.read();
        match packet {
            Some(packet) if packet.kind == kind => packet,
            other => panic!("a packet of type {kind} was promised, and this came: {other:?}"),
        }
    }

    /// CONNACK's return code (3.1.1) or reason code (5).
    #[track_caller]
    pub fn connack(&mut self) -> u8 {
        self.expect(2).body[1]
    }

    /// Subscribes with QoS 1; the code of SUBACK.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str) -> u8 {
        let id = self.id();
        let mut body = id.to_be_bytes().to_vec();
        if self.version == Version::V5 {
            body.push(0);
        }
        string(&mut body, filter.as_bytes());
        body.push(1);
        self.send(&framed(0x82, &body));
        let suback = self.expect(9);
        assert_eq!(suback.body[..2], id.to_be_bytes(), "SUBACK carries the packet id of SUBSCRIBE");
        *suback.body.last().expect("a code")
    }

    /// Publishes; the packet id is returned for QoS 1.
    pub fn publish(&mut self, topic: &str, payload: &[u8], qos: u8) -> u16 {
        let mut body = Vec::new();
        string(&mut body, topic.as_bytes());
        let mut id = 0;
        if qos > 0 {
            id = self.id();
            body.extend(id.to_be_bytes());
        }
        if self.version == Version::V5 {
            body.push(0);
        }
        body.extend_from_slice(payload);
        self.send(&framed(0x30 | (qos << 1), &body));
        id
    }

    /// PUBACK's reason code; 0 when it has none.
    #[track_caller]
    pub fn puback(&mut self) -> u8 {
        self.expect(4).body.get(2).copied().unwrap_or(0)
    }

    /// Whether the peer closes; packets on the way are returned.
    ///
    /// # Panics
    /// When it stays open for longer than [`PATIENCE`].
    pub fn closed(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.read()).collect()
    }

    /// Whether anything arrives until the broker has answered a PINGREQ that is sent now.
    #[track_caller]
    pub fn until_ping_answer(&mut self) -> Vec<Packet> {
        self.send(&[0xc0, 0]);
        let mut before = Vec::new();
        loop {
            let packet = self.read().expect("the connection stays open");
            if packet.kind == 13 {
                return before;
            }
            before.push(packet);
        }
    }

    /// Cuts the connection without DISCONNECT, as a dead phone does.
    pub fn cut(self) {
        drop(self);
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => None,
            Ok(_) => Some(byte[0]),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                panic!("nothing came within {PATIENCE:?}, and the connection is open")
            }
            Err(_) => None,
        }
    }

    fn id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }
}

fn string(into: &mut Vec<u8>, text: &[u8]) {
    into.extend(u16::try_from(text.len()).expect("a string of MQTT is short").to_be_bytes());
    into.extend_from_slice(text);
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let byte = u8::try_from(length % 128).expect("below 128");
        length /= 128;
        packet.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}
