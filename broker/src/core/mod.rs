//! The task that owns the engine: it feeds it, carries out what it wants done, and is its door for the others.

mod handle;
mod reads;
mod revocations;
mod task;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use tidings_shared::clock::Clock;
use tokio::sync::mpsc;

pub use handle::{EngineHandle, Stopped};
pub use revocations::Revocations;
pub use watch::Watch;

use crate::engine::{Engine, Settings};
use crate::log::{LogError, MessageLog};

/// How many commands may wait for the engine before callers wait: a bound on memory, and the back-pressure on sockets.
const COMMANDS: usize = 4_096;

/// Brings the engine back as the log knows it and starts its task on the current runtime. `seed` should be random.
///
/// # Errors
/// When the log cannot be read.
pub fn start(settings: Settings, log: Arc<dyn MessageLog>, clock: Clock, seed: u64) -> Result<EngineHandle, LogError> {
    let engine = Engine::restore(settings, seed, &*log, clock.now_ms())?;
    if engine.unreadable_records() > 0 {
        tracing::warn!(
            records = engine.unreadable_records(),
            "some of the broker's records could not be understood and are left out: sessions or retained messages may be missing"
        );
    }
    let (commands, received) = mpsc::channel(COMMANDS);
    let handle = EngineHandle {
        commands,
        next_conn: Arc::new(AtomicU64::new(1)),
        watchers: Arc::default(),
        revocations: Revocations::new(engine.revocations().clone()),
        stats: Arc::new(Mutex::new(engine.stats())),
    };
    let task = task::Task::new(engine, log, clock, &handle);
    tokio::spawn(task.run(received));
    Ok(handle)
}
