//! A lean MQTT 3.1.1 client for load: the generator must cost less than the broker it measures.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use anyhow::Context;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rmqtt_codec::types::{Protocol, Publish, QoS};
use rmqtt_codec::v3::{Codec, Connect, ConnectAckReason, Packet};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

use super::peer::Login;

/// A connection that has logged in.
pub(super) type Connection = Framed<TcpStream, Codec>;

/// Connects with a clean session.
///
/// # Errors
/// When the broker refuses.
pub(super) async fn connect(address: SocketAddr, client_id: &str, login: Login) -> anyhow::Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut connection = Framed::new(stream, Codec::new(1 << 20));
    let (username, password) = login.unzip();
    let connect = Connect {
        protocol: Protocol::default(),
        clean_session: true,
        keep_alive: 0,
        last_will: None,
        client_id: client_id.to_owned().into(),
        username: username.map(Into::into),
        password: password.map(Bytes::from),
        cert: None,
    };
    connection.send(connect.into()).await?;
    match next(&mut connection).await? {
        Packet::ConnectAck(ack) if ack.return_code == ConnectAckReason::ConnectionAccepted => Ok(connection),
        other => anyhow::bail!("{client_id} was refused: {other:?}"),
    }
}

/// Subscribes at QoS 1 and waits for the answer.
///
/// # Errors
/// When the broker refuses.
pub(super) async fn subscribe(connection: &mut Connection, filter: &str) -> anyhow::Result<()> {
    let topic_filters = vec![(filter.to_owned().into(), QoS::AtLeastOnce)];
    connection.send(Packet::Subscribe { packet_id: NonZeroU16::MIN, topic_filters }).await?;
    match next(connection).await? {
        Packet::SubscribeAck { .. } => Ok(()),
        other => anyhow::bail!("the subscription to {filter} was answered with {other:?}"),
    }
}

/// The next packet.
///
/// # Errors
/// When the connection ended.
pub(super) async fn next(connection: &mut Connection) -> anyhow::Result<Packet> {
    let (packet, _) = connection
        .next()
        .await
        .context("the broker closed the connection")?
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(packet)
}

/// A publish at QoS 1.
pub(super) fn publish(topic: String, packet_id: NonZeroU16, payload: Bytes) -> Packet {
    Packet::Publish(Box::new(Publish {
        dup: false,
        retain: false,
        qos: QoS::AtLeastOnce,
        topic: topic.into(),
        packet_id: Some(packet_id),
        payload,
        properties: None,
    }))
}
