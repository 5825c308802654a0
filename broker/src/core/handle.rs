//! The door to the engine's task, for the gate and the HTTP door.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rmqtt_codec::v5::{DisconnectReasonCode, Packet};
use tidings_shared::identity::UserId;
use tokio::sync::{mpsc, oneshot};

use super::revocations::Revocations;
use super::watch::{Watch, Watchers};
use crate::engine::{
    Change, ConnId, ConnectRequest, Engine, Fresh, Input, NotRefreshed, Presence, PublishError, PublishRequest,
    Published, RefreshBy, Stats,
};
use crate::gate::outbox::Outbox;
use crate::log::{LogError, Offset};

/// The engine's task has ended; the broker is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker's engine has stopped")]
pub struct Stopped;

/// What callers send to the engine's task.
pub(super) enum Command {
    Connect(ConnId, Box<ConnectRequest>, Arc<Outbox>),
    Input(Input),
    Presence(UserId, oneshot::Sender<Presence>),
    Publish(Box<PublishRequest>, oneshot::Sender<Result<Published, PublishError>>),
    Refresh(ConnId, RefreshBy, Result<Fresh, NotRefreshed>, oneshot::Sender<Result<(), NotRefreshed>>),
    Revoke(Change, oneshot::Sender<Result<usize, LogError>>),
    Ask(Box<dyn FnOnce(&Engine) + Send>),
    Stop(oneshot::Sender<()>),
}

/// Speaks to the engine. Cheap to clone. Calls wait while the engine is busy: that is the back-pressure on sockets.
#[derive(Clone)]
pub struct EngineHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) next_conn: Arc<AtomicU64>,
    pub(super) watchers: Arc<Watchers>,
    pub(super) revocations: Revocations,
    pub(super) stats: Arc<Mutex<Stats>>,
}

impl EngineHandle {
    async fn command(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }

    /// Brings an authenticated client to the engine. The answer (CONNACK, and `close` when it is refused) and every
    /// later packet come through `outbox`.
    ///
    /// # Errors
    /// [`Stopped`] when the broker is stopping.
    pub async fn connect(&self, request: ConnectRequest, outbox: Arc<Outbox>) -> Result<ConnId, Stopped> {
        let conn = ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed));
        self.command(Command::Connect(conn, Box::new(request), outbox)).await?;
        Ok(conn)
    }

    /// Passes on a packet of an accepted connection (anything but CONNECT and AUTH).
    ///
    /// # Errors
    /// [`Stopped`] when the broker is stopping.
    pub async fn send(&self, conn: ConnId, packet: Packet) -> Result<(), Stopped> {
        self.command(Command::Input(Input::Packet { conn, packet })).await
    }

    /// As [`EngineHandle::send`], but without waiting: gives the packet back when the engine is busy (or has stopped, as
    /// `send` will say). A caller that waits only then needs no room for the wait while it is idle.
    ///
    /// # Errors
    /// The packet.
    #[expect(clippy::result_large_err, reason = "the packet itself comes back, to be sent again")]
    pub fn try_send(&self, conn: ConnId, packet: Packet) -> Result<(), Packet> {
        match self.commands.try_reserve() {
            Ok(place) => {
                place.send(Command::Input(Input::Packet { conn, packet }));
                Ok(())
            }
            Err(_) => Err(packet),
        }
    }

    /// Says that the network connection is gone; to be called exactly once for every connection, on every path.
    /// After a DISCONNECT packet that went through [`EngineHandle::send`], `graceful` does not matter.
    pub async fn closed(&self, conn: ConnId, graceful: bool) {
        // When the engine has stopped there is nobody left to tell.
        let _ = self.command(Command::Input(Input::Closed { conn, graceful })).await;
    }

    /// Ends a connection from the broker's side: the client is told (MQTT 5), the outbox is closed, a will is due.
    pub async fn kick(&self, conn: ConnId, reason: DisconnectReasonCode) {
        let _ = self.command(Command::Input(Input::Kick { conn, reason })).await;
    }

    /// Publishes for the HTTP door. Returns when the message is durable (QoS 0: when it was handed on).
    ///
    /// # Errors
    /// Why it was refused or not stored.
    pub async fn publish(&self, publish: PublishRequest) -> Result<Published, PublishError> {
        let (answer, answered) = oneshot::channel();
        self.command(Command::Publish(Box::new(publish), answer)).await.map_err(|_| PublishError::Stopped)?;
        answered.await.unwrap_or(Err(PublishError::Stopped))
    }

    /// Brings what became of a fresh token to its connection. The client that has published it is told by the engine.
    ///
    /// # Errors
    /// [`Stopped`] when the broker is stopping; inside, why the connection goes on with its old token.
    pub async fn refresh(
        &self,
        conn: ConnId,
        by: RefreshBy,
        fresh: Result<Fresh, NotRefreshed>,
    ) -> Result<Result<(), NotRefreshed>, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.command(Command::Refresh(conn, by, fresh, answer)).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// The tokens that are refused although they have not expired.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Revokes tokens, or takes a revocation back. Returns when that is durable, with the number of connections that were
    /// closed.
    ///
    /// # Errors
    /// It is in force, but could not be stored: a restart forgets it.
    pub async fn revoke(&self, change: Change) -> Result<usize, LogError> {
        let (answer, answered) = oneshot::channel();
        self.command(Command::Revoke(change, answer)).await.map_err(|_| LogError::Closed)?;
        answered.await.unwrap_or(Err(LogError::Closed))
    }

    /// Asks the engine something between two of its steps; everything else waits meanwhile.
    ///
    /// # Errors
    /// [`Stopped`] when the broker is stopping.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, answered) = oneshot::channel();
        let question = move |engine: &Engine| drop(answer.send(question(engine)));
        self.command(Command::Ask(Box::new(question))).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Says that a device polls over HTTP, and that everything up to `cursor` has reached it. A `cursor` of another
    /// epoch is none.
    pub async fn polled(&self, user: UserId, client: String, cursor: Option<Offset>) {
        let _ = self.command(Command::Input(Input::Polled { user, client, cursor })).await;
    }

    /// Whether the user's devices are connected, and when they were last seen.
    ///
    /// # Errors
    /// [`Stopped`] when the broker is stopping.
    pub async fn presence(&self, user: &UserId) -> Result<Presence, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.command(Command::Presence(user.clone(), answer)).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Is told of every message of the user that is stored from now on.
    #[must_use]
    pub fn watch(&self, user: &UserId) -> Watch {
        Watchers::watch(&self.watchers, user)
    }

    /// What the engine has counted so far (at most a moment old).
    #[must_use]
    pub fn stats(&self) -> Stats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the engine: MQTT 5 clients get DISCONNECT 0x8B, cursors are stored. Returns when that is done.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.command(Command::Stop(done)).await.is_ok() {
            let _ = stopped.await;
        }
    }
}
