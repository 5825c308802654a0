//! Where a simulated phone hears of its pushes: the simulators in this process, or their control door.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::inbox::{Inbox, Push};

/// How many pushes are taken at once.
const BATCH: usize = 1_000;

/// A source of pushes. Cheap to clone.
#[derive(Clone, Debug)]
pub enum PushSource {
    /// The inbox of simulators in this process.
    Inbox(Inbox),
    /// The control door of simulators elsewhere.
    Control {
        /// For example `http://127.0.0.1:8090`.
        url: String,
        /// The client to ask with.
        client: reqwest::Client,
    },
}

#[derive(Deserialize)]
struct Pushes {
    pushes: Vec<Push>,
}

impl PushSource {
    /// The pushes to `token` after number `after`, waiting up to `wait` for the first one.
    ///
    /// # Errors
    /// When the control cannot be reached or does not answer as it should.
    pub async fn wait(&self, token: &str, after: u64, wait: Duration) -> anyhow::Result<Vec<Arc<Push>>> {
        match self {
            Self::Inbox(inbox) => Ok(inbox.wait(Some(token), after, BATCH, wait).await),
            Self::Control { url, client } => {
                // Below the client's own time-out; who waits longer asks again.
                let wait = wait.min(Duration::from_secs(25));
                let url = format!("{url}/pushes?token={token}&after={after}&limit={BATCH}&wait={}ms", wait.as_millis());
                let response = client.get(&url).send().await.context("the simulators' control cannot be reached")?;
                let status = response.status();
                ensure!(status.is_success(), "the simulators' control answered {status} to {url}");
                let pushes: Pushes =
                    response.json().await.context("the simulators' control did not answer as it should")?;
                Ok(pushes.pushes.into_iter().map(Arc::new).collect())
            }
        }
    }
}
