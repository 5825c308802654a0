//! How a process ends: first softly (stop accepting, finish, store), then hard.

use std::io::IsTerminal;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells every part of a process that it is time to stop. Cheap to clone; clones stop together.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A shutdown that only [`Shutdown::begin`] starts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A shutdown that SIGTERM or SIGINT starts; a second signal ends the process at once with status 130.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let begin = shutdown.clone();
        tokio::spawn(async move {
            let mut signals = 0_u8;
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                signals += 1;
                if signals > 1 {
                    std::process::exit(130);
                }
                tracing::info!("stopping; a second signal ends the process at once");
                begin.begin();
            }
        });
        Ok(shutdown)
    }

    /// Starts the soft stop.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Waits until the stop has begun.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// Whether the stop has begun.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.0.is_cancelled()
    }

    /// The token itself, for libraries that take one.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.0.clone()
    }

    /// A shutdown of its own that this one starts too: a part can be stopped without the whole.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }
}

/// SIGHUP: an operator asks a service to read its files again.
///
/// A terminal that closes sends the same signal to what was started in it; that is told from the request by the terminal
/// being gone, and ends the process softly, as SIGTERM does.
#[derive(Debug)]
pub struct Hangup {
    signal: Signal,
    had_terminal: bool,
    shutdown: Shutdown,
}

impl Hangup {
    /// From now on the signal no longer ends the process.
    ///
    /// # Errors
    /// When the signal handler cannot be installed.
    pub fn new(shutdown: Shutdown) -> std::io::Result<Self> {
        let signal = signal(SignalKind::hangup())?;
        Ok(Self { signal, had_terminal: std::io::stdin().is_terminal(), shutdown })
    }

    /// Waits until somebody asks.
    pub async fn asked(&mut self) {
        loop {
            if self.signal.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            if !self.had_terminal || std::io::stdin().is_terminal() {
                return;
            }
            tracing::info!("stopping; the terminal was closed");
            self.shutdown.begin();
        }
    }
}
