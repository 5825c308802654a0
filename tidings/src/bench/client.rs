//! A client of the load: a socket, plain or TLS, and the bytes of a packet that has not arrived in full.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::{Buf, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::peer::Peer;
use super::wire::{self, Event, Login};

/// Clients that connect at the same time, when nothing else is measured.
const AT_ONCE: usize = 64;
/// How long one step of a client may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Clients come from this many addresses of the loopback network: one address has too few ports for thousands of clients
/// that come back again and again.
const ADDRESSES: usize = 16;

/// A connection.
pub(super) struct Client {
    pub(super) stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    inbound: BytesMut,
}

/// How to reach a broker, and as whom.
#[derive(Clone)]
pub(super) struct Visit {
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) client: String,
    pub(super) login: Login,
    /// Chooses the address it comes from.
    pub(super) number: usize,
}

impl Client {
    /// Connects and logs in with a clean session.
    ///
    /// # Errors
    /// When the broker refuses, closes or does not answer.
    pub(super) async fn connect(visit: &Visit) -> anyhow::Result<Self> {
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            let last = u8::try_from(visit.number % ADDRESSES).unwrap_or(0) + 2;
            socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
            let stream = socket.connect(visit.address).await?;
            stream.set_nodelay(true)?;
            let stream = match &visit.tls {
                None => Either::Left(stream),
                Some(config) => {
                    let name = ServerName::try_from("localhost")?;
                    let handshake = TlsConnector::from(config.clone()).connect(name, stream);
                    Either::Right(Box::new(handshake.await?))
                }
            };
            let mut client = Self { stream, inbound: BytesMut::new() };
            client.send(&wire::connect(&visit.client, &visit.login)).await?;
            match client.next().await? {
                Event::Connected(0) => Ok(client),
                other => anyhow::bail!("{} was refused: {other:?}", visit.client),
            }
        };
        tokio::time::timeout(PATIENCE, connect).await.context("the broker did not answer a CONNECT")?
    }

    /// Subscribes and waits for the answer.
    ///
    /// # Errors
    /// When the broker refuses, closes or does not answer.
    pub(super) async fn subscribe(&mut self, filters: &[String]) -> anyhow::Result<()> {
        self.send(&wire::subscribe(filters)).await?;
        let answer = tokio::time::timeout(PATIENCE, self.next()).await;
        match answer.context("the broker did not answer a SUBSCRIBE")?? {
            Event::Subscribed(true) => Ok(()),
            other => anyhow::bail!("a subscription was answered with {other:?}"),
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// What has arrived and was not taken yet.
    pub(super) fn take(&mut self) -> Option<Event> {
        let (event, length) = wire::next(&self.inbound)?;
        self.inbound.advance(length);
        if self.inbound.is_empty() {
            self.inbound = BytesMut::new();
        }
        Some(event)
    }

    /// Waits for more bytes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) async fn receive(&mut self) -> anyhow::Result<()> {
        let received = self.stream.read_buf(&mut self.inbound).await?;
        anyhow::ensure!(received > 0, "the broker closed the connection");
        Ok(())
    }

    /// The next packet.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) async fn next(&mut self) -> anyhow::Result<Event> {
        loop {
            if let Some(event) = self.take() {
                return Ok(event);
            }
            self.receive().await?;
        }
    }
}

/// Connects the peer's devices from `0` to `count`, each with its subscriptions.
///
/// # Errors
/// When one fails.
pub(super) async fn connect_all(
    peer: &Peer,
    count: usize,
    tls: bool,
    filters: impl Fn(usize) -> Vec<String>,
) -> anyhow::Result<Vec<Client>> {
    let clients = stream::iter(0..count).map(|device| {
        let (visit, filters) = (peer.device(device, tls), filters(device));
        async move {
            let mut client = Client::connect(&visit).await?;
            if !filters.is_empty() {
                client.subscribe(&filters).await?;
            }
            anyhow::Ok(client)
        }
    });
    clients.buffer_unordered(AT_ONCE).try_collect().await
}
