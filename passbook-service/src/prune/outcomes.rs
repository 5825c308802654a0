//! What the push-gateway says of pushes: a token that is gone for good sets its device apart. One process at a time follows
//! the gateway's durable sequence, from where the last one stood.

use std::collections::VecDeque;
use std::time::Duration;

use tidings_shared::auth::ServiceKeys;
use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::push_api::{Outcome, Provider};
use tidings_shared::storage::StorageError;
use tokio::time::Instant;

use super::sse::{Event, Reader};
use crate::metrics::Metrics;
use crate::store::Store;

/// The lease, and the cursor.
const NAME: &str = "outcomes";
const LEASE_MS: i64 = 60_000;
/// How often the lease is renewed, and how often others look for it.
const RENEW: Duration = Duration::from_secs(15);
/// How long until a stream that broke is opened again: at once first, for the gateway tells only those who listen.
const SOON: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_secs(5);
/// A stream is opened anew after this.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// The answer to a push may come before its name is stored: it is looked for this often, this far apart.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_secs(1);
/// Names that wait for that, at most: older ones come again with the next push.
const MOST_WAITING: usize = 10_000;

/// The task that follows.
pub struct Follower {
    /// The tables.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// Names this process.
    pub process: String,
    /// HTTP client.
    pub client: reqwest::Client,
    /// Where the gateway is.
    pub gateway_url: String,
    /// The first one is presented.
    pub keys: ServiceKeys,
}

/// A name that no push has yet.
struct Waiting {
    notification: String,
    looks: u32,
    /// The position before it: from there it comes again when this process ends or the stream breaks.
    before: Option<String>,
}

/// What a stream has told so far.
#[derive(Default)]
struct Heard {
    waiting: VecDeque<Waiting>,
    /// The last position.
    last: Option<String>,
    /// The one that is stored.
    stored: Option<String>,
}

impl Follower {
    /// Works until the shutdown begins.
    pub async fn run(self, shutdown: Shutdown) {
        let mut again = SOON;
        while !shutdown.is_down() {
            let now = self.clock.now_ms();
            let pause = match self.store.lease(NAME, &self.process, now, now + LEASE_MS).await {
                Ok(true) => match self.follow(&shutdown).await {
                    Ok(()) => {
                        again = SOON;
                        SOON
                    }
                    Err(error) => {
                        tracing::debug!(%error, "what became of pushes cannot be followed; trying again");
                        let pause = again;
                        again = (again * 2).min(AGAIN);
                        pause
                    }
                },
                Ok(false) => RENEW,
                Err(error) => {
                    tracing::debug!(%error, "what became of pushes waits for the database");
                    AGAIN
                }
            };
            tokio::select! {
                () = shutdown.wait() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        if let Err(error) = self.store.release(NAME, &self.process).await {
            tracing::debug!(%error, "the lease of the outcomes ends by itself");
        }
    }

    /// Reads one stream until it breaks, the lease is lost, or the process ends.
    async fn follow(&self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut request = self.client.get(format!("{}/v1/notifications/stream?kind=push.dead", self.gateway_url));
        if let Some(key) = self.keys.current() {
            request = request.bearer_auth(key);
        }
        // A stream is one long answer.
        request = request.timeout(LONGEST);
        let position = self.store.cursor(NAME).await?;
        if let Some(position) = &position {
            request = request.header("Last-Event-ID", position);
        }
        let mut answer = request.send().await?.error_for_status()?;
        let mut reader = Reader::default();
        let mut heard = Heard { last: position.clone(), stored: position, ..Heard::default() };
        let (mut renewed, mut looked) = (Instant::now(), Instant::now());
        loop {
            tokio::select! {
                () = shutdown.wait() => return Ok(()),
                () = tokio::time::sleep(LOOK) => {}
                piece = answer.chunk() => {
                    let Some(piece) = piece? else { return Ok(()) };
                    for event in reader.feed(&piece) {
                        self.take(event, &mut heard).await?;
                    }
                }
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.look_again(&mut heard.waiting).await?;
                self.store_position(&mut heard).await?;
            }
            if renewed.elapsed() >= RENEW {
                renewed = Instant::now();
                let now = self.clock.now_ms();
                if !self.store.lease(NAME, &self.process, now, now + LEASE_MS).await? {
                    return Ok(());
                }
            }
        }
    }

    async fn take(&self, event: Event, heard: &mut Heard) -> Result<(), StorageError> {
        if let Ok(outcome) = serde_json::from_str::<Outcome>(&event.data)
            && outcome.token_gone
            && outcome.provider == Provider::Apns
            && !self.is_settled(&outcome.notification).await?
        {
            if heard.waiting.len() == MOST_WAITING {
                heard.waiting.pop_front();
            }
            let before = heard.last.clone();
            heard.waiting.push_back(Waiting { notification: outcome.notification, looks: 0, before });
        }
        heard.last = event.id.or(heard.last.take());
        self.store_position(heard).await
    }

    /// Nothing that waits is passed over.
    async fn store_position(&self, heard: &mut Heard) -> Result<(), StorageError> {
        let position = heard.waiting.front().map_or(&heard.last, |first| &first.before);
        if let Some(position) = position.as_ref().filter(|_| *position != heard.stored) {
            self.store.move_cursor(NAME, position).await?;
            heard.stored = Some(position.clone());
        }
        Ok(())
    }

    /// Whether the push of this name was found, and its device set apart.
    async fn is_settled(&self, notification: &str) -> Result<bool, StorageError> {
        let found = self.store.token_gone(notification, self.clock.now_ms()).await?;
        if found == Some(true) {
            self.metrics.quarantined_gone.inc();
            tracing::debug!(notification, "Apple says that a push token is gone: its device is in quarantine");
        }
        Ok(found.is_some())
    }

    async fn look_again(&self, waiting: &mut VecDeque<Waiting>) -> Result<(), StorageError> {
        for _ in 0..waiting.len() {
            let Some(mut one) = waiting.pop_front() else { break };
            one.looks += 1;
            // What is never found belongs to somebody else who uses the gateway.
            if !self.is_settled(&one.notification).await? && one.looks < LOOKS {
                waiting.push_back(one);
            }
        }
        Ok(())
    }
}
