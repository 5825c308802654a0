//! The timeline that a newcomer reads: when, who, what.

use tokio::time::Instant;

use crate::commands::say;

/// Prints the steps as they happen.
pub(super) struct Story {
    begin: Instant,
}

impl Story {
    pub(super) fn begin() -> Self {
        Self { begin: Instant::now() }
    }

    /// The title of a scene.
    pub(super) fn scene(&self, title: &str) -> anyhow::Result<()> {
        say(&format!("\n== {title} ==\n"))
    }

    /// One step.
    pub(super) fn say(&self, who: &str, what: &str) -> anyhow::Result<()> {
        let seconds = self.begin.elapsed().as_secs_f64();
        if who.is_empty() {
            say(&format!("{seconds:7.2}s  {what}\n"))
        } else {
            say(&format!("{seconds:7.2}s  {who:<16} {what}\n"))
        }
    }
}
