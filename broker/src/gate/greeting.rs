//! From the accepted socket to a verified CONNECT: one deadline, a small first packet, the version, the log-in.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::BytesMut;
use rmqtt_codec::v5::{Connect, ConnectAck, ConnectAckReason, Packet};
use tokio::time::Instant;

use super::Inner;
use super::connection::{Connection, Setup};
use super::guest::{Guest, WaitsFor};
use super::login::{self, Login, Refused};
use super::stream::{Stream, farewell, poll_receive};
use super::wire::{self, Dialect, Fault, Version, VersionFault};

/// Why a connection ends before it has logged in.
enum Turned {
    /// The peer went away or the stream failed.
    Gone,
    /// It said nothing that deserves an answer.
    Silently(&'static str),
    /// It is told in a CONNACK of its own version.
    Told(Version, Refused),
}

/// A CONNECT that was read.
struct Heard {
    version: Version,
    connect: Box<Connect>,
    /// What the client has sent behind its CONNECT.
    rest: BytesMut,
}

/// Leads one connection from its first byte to the engine, or out.
pub(super) async fn greet(gate: Arc<Inner>, mut stream: impl Stream, guest: Guest) {
    let verified = match guest.step(&gate, WaitsFor::Peer, hear(&gate, &mut stream)).await {
        Ok(Ok(heard)) => verify(&gate, &guest, heard).await,
        Ok(Err(turned)) => Err(turned),
        Err(code) => Err(Turned::Silently(code)),
    };
    match verified {
        Ok((heard, login)) => admit(gate, stream, guest, heard, login).await,
        Err(Turned::Gone) => gate.metrics.refuse("gone"),
        Err(Turned::Silently(code)) => gate.turn_away(&guest, code),
        Err(Turned::Told(version, refused)) => {
            gate.metrics.refuse(refused.code);
            log_refusal(&gate, &guest, version, &refused);
            let words = refusal(&gate, version, refused);
            farewell(stream, words).await;
        }
    }
}

/// Who it is, unless there is a reason not to look.
async fn verify(gate: &Inner, guest: &Guest, heard: Heard) -> Result<(Heard, Login), Turned> {
    let told = |refused| Turned::Told(heard.version, refused);
    if gate.shutdown.is_down() {
        return Err(told(login::stopping(&gate.limits)));
    }
    if !guest.in_time {
        let why = "too many connections from this address; try again shortly";
        return Err(told(Refused::new(ConnectAckReason::ConnectionRateExceeded, "connect_rate", why)));
    }
    let attempt = login::attempt(&heard.connect, guest.peer.ip(), &gate.backoff);
    gate.backoff.admit(&attempt, Instant::now()).map_err(|left| told(login::held_back(left)))?;
    let check = login::check(&heard.connect, gate, guest.certified_until_ms);
    match guest.step(gate, WaitsFor::Us, check).await.map_err(Turned::Silently)? {
        Ok(login) => {
            gate.backoff.succeeded(&attempt);
            Ok((heard, login))
        }
        Err(refused) => {
            if refused.counts() {
                gate.backoff.failed(&attempt, Instant::now());
            }
            Err(told(refused))
        }
    }
}

/// The peer learns the same; the token, the key and the user name that it tried are never logged.
fn log_refusal(gate: &Inner, guest: &Guest, version: Version, refused: &Refused) {
    let (peer, transport, mqtt) = (guest.peer, guest.transport.name(), version.name());
    let (code, reason) = (refused.code, &refused.why);
    if gate.budget.allows(gate.clock.now_s()) {
        tracing::info!(%peer, transport, mqtt, code, reason, "connection refused");
    } else {
        tracing::debug!(%peer, transport, mqtt, code, reason, "connection refused");
    }
}

async fn hear(gate: &Inner, stream: &mut impl Stream) -> Result<Heard, Turned> {
    let mut inbound = BytesMut::new();
    let frame = loop {
        match wire::next_frame(&mut inbound, gate.limits.first_packet, None) {
            Ok(Some(frame)) => break frame,
            Ok(None) => {}
            Err(fault) => {
                return Err(match wire::peek_connect_version(&inbound) {
                    Some(version) => told(version, fault),
                    None => Turned::Silently("not_connect"),
                });
            }
        }
        match poll_fn(|cx| poll_receive(stream, &mut inbound, cx)).await {
            Ok(0) | Err(_) => return Err(Turned::Gone),
            Ok(_) => {}
        }
    };
    let version = wire::connect_version(frame.body()).map_err(|fault| match fault {
        VersionFault::NotMqtt => Turned::Silently("not_mqtt"),
        VersionFault::TooOld => unsupported(Version::V311),
        VersionFault::TooNew => unsupported(Version::V5),
    })?;
    let connect = wire::decode_connect(frame, version).map_err(|fault| told(version, fault))?;
    Ok(Heard { version, connect, rest: inbound })
}

fn unsupported(version: Version) -> Turned {
    let why = "this server speaks MQTT 3.1, 3.1.1 and 5";
    Turned::Told(version, Refused::new(ConnectAckReason::UnsupportedProtocolVersion, "protocol_version", why))
}

/// A fault in CONNECT: MQTT 5 is told, 3.1.1 only where it has a return code.
fn told(version: Version, fault: Fault) -> Turned {
    if version == Version::V5 || fault.code == 0x85 {
        Turned::Told(version, Refused::new(fault.connect_reason(), fault.name(), fault.what))
    } else {
        Turned::Silently(fault.name())
    }
}

/// The bytes of a CONNACK that refuses.
fn refusal(gate: &Inner, version: Version, refused: Refused) -> BytesMut {
    let mut words = BytesMut::new();
    let elsewhere = gate.limits.server_reference.as_deref();
    let ack = ConnectAck {
        reason_code: refused.reason,
        reason_string: Some(refused.why.into()),
        server_reference: elsewhere
            .filter(|_| refused.reason == ConnectAckReason::UseAnotherServer)
            .map(|reference| reference.to_owned().into()),
        ..ConnectAck::default()
    };
    let dialect = Dialect { version, maximum_packet: 0, problem_information: true };
    wire::encode(Packet::ConnectAck(Box::new(ack)), dialect, &mut words);
    words
}

/// Hands a verified connection to the engine and to a task of its own, which is as small as idle connections need.
async fn admit(gate: Arc<Inner>, stream: impl Stream, guest: Guest, heard: Heard, login: Login) {
    let Heard { version, mut connect, rest } = heard;
    let Guest { peer, transport, pass, .. } = guest;
    drop(pass);
    let assigned = connect.client_id.is_empty().then(|| format!("auto-{}", uuid::Uuid::now_v7().simple()));
    if let Some(assigned) = &assigned {
        connect.client_id = assigned.as_str().into();
    }
    // The token has done its work; nothing behind the gate needs it.
    connect.password = None;
    connect.auth_data = None;
    tracing::debug!(
        %peer,
        transport = transport.name(),
        mqtt = version.name(),
        user = login.principal.user().map_or("handler", |user| user.as_str()),
        client = &*connect.client_id,
        "logged in"
    );
    let setup =
        Setup { version, transport, peer, principal: login.principal, token: login.token, connect, assigned, rest };
    match Connection::open(gate.clone(), stream, setup, login.ends_at_ms).await {
        Ok(connection) => drop(gate.tasks.spawn(connection.run())),
        Err(stream) => {
            let refused = login::stopping(&gate.limits);
            gate.metrics.refuse(refused.code);
            let words = refusal(&gate, version, refused);
            farewell(stream, words).await;
        }
    }
}
