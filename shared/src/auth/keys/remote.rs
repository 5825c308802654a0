//! Keys that the issuer publishes at a URL: fetched when they are needed, kept when the issuer is away, and never asked for
//! more often than a bound says, whatever tokens come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Key, jwk};
use crate::auth::bucket::Bucket;
use crate::clock::Clock;

/// How long a fetched key set is used before it is fetched anew, in ms. Known keys serve meanwhile.
const FRESH_MS: i64 = 10 * 60_000;
/// When nobody has tried for this long (no token came), the next token waits for the fetch: a key that the issuer has
/// withdrawn must not open the door once more only because the night was quiet.
const QUIET_MS: i64 = 2 * FRESH_MS;
/// Fetches: some at once, then one for each interval, in ms; and the shortest time between two.
const AT_ONCE: i64 = 5;
const INTERVAL_MS: i64 = 10_000;
const GAP: Duration = Duration::from_secs(1);
/// The largest key set that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;

pub(super) struct Remote {
    url: String,
    client: reqwest::Client,
    patience: Duration,
    clock: Clock,
    cached: ArcSwap<Cached>,
    bucket: Bucket,
    attempt: Mutex<Attempt>,
    /// How many attempts have ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct Cached {
    keys: Arc<Vec<Key>>,
    fetched_at_ms: Option<i64>,
    /// Counts the fetches that brought keys.
    generation: u64,
}

#[derive(Default)]
struct Attempt {
    running: bool,
    began: Option<Instant>,
    tried_at_ms: Option<i64>,
    /// The failure was told; the next is not until one has succeeded.
    told: bool,
}

impl Remote {
    pub(super) fn new(url: String, client: reqwest::Client, patience: Duration, clock: Clock) -> Self {
        Self {
            url,
            client,
            patience,
            bucket: Bucket::new(AT_ONCE, INTERVAL_MS, clock.clone()),
            clock,
            cached: ArcSwap::default(),
            attempt: Mutex::default(),
            ended: watch::channel(0).0,
        }
    }

    pub(super) fn keys(&self) -> Arc<Vec<Key>> {
        self.cached.load().keys.clone()
    }

    /// Whether the issuer has never answered.
    pub(super) fn is_unknown(&self) -> bool {
        self.cached.load().fetched_at_ms.is_none()
    }

    fn attempt(&self) -> MutexGuard<'_, Attempt> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has keys that are old fetched anew, beside the token that is being looked at. Returns at once unless nobody has
    /// tried for very long.
    pub(super) async fn freshen(self: &Arc<Self>) {
        let Some(fetched) = self.cached.load().fetched_at_ms else { return };
        let now = self.clock.now_ms();
        // A clock that was set back makes keys old rather than young for ever.
        if (0..FRESH_MS).contains(&(now - fetched)) {
            return;
        }
        let recently = |tried: i64| (0..QUIET_MS).contains(&(now - tried));
        let quiet = {
            let attempt = self.attempt();
            !attempt.running && !attempt.tried_at_ms.is_some_and(recently)
        };
        if let Some(ended) = self.fetch_once()
            && quiet
        {
            wait(ended).await;
        }
    }

    /// Looks for keys that are not known yet. Whether others were found.
    pub(super) async fn renew(self: &Arc<Self>) -> bool {
        let before = self.cached.load().generation;
        if let Some(ended) = self.fetch_once() {
            wait(ended).await;
        }
        self.cached.load().generation != before
    }

    /// Starts a fetch, or joins the one that is under way; `None` when there were too many. The fetch is a task of its own:
    /// who waits for it may go away.
    fn fetch_once(self: &Arc<Self>) -> Option<watch::Receiver<u64>> {
        let mut attempt = self.attempt();
        let mut ended = self.ended.subscribe();
        ended.mark_unchanged();
        if attempt.running {
            return Some(ended);
        }
        if !self.bucket.take() {
            return None;
        }
        let begin = attempt.began.map_or_else(Instant::now, |began| (began + GAP).max(Instant::now()));
        attempt.running = true;
        attempt.began = Some(begin);
        attempt.tried_at_ms = Some(self.clock.now_ms());
        drop(attempt);
        let flight = Flight(self.clone());
        tokio::spawn(async move {
            tokio::time::sleep_until(begin).await;
            flight.0.fetch().await;
            drop(flight);
        });
        Some(ended)
    }

    async fn fetch(&self) {
        let fetched = match tokio::time::timeout(self.patience, self.download()).await {
            Ok(fetched) => fetched,
            Err(_) => Err(format!("no answer within {:?}", self.patience)),
        };
        match fetched {
            Ok(keys) => {
                let generation = self.cached.load().generation + 1;
                let fetched_at_ms = Some(self.clock.now_ms());
                self.cached.store(Arc::new(Cached { keys: Arc::new(keys), fetched_at_ms, generation }));
                self.attempt().told = false;
            }
            Err(error) => {
                let told = std::mem::replace(&mut self.attempt().told, true);
                let url = printable(&self.url);
                if told {
                    tracing::debug!(url, error, "the issuer's keys could not be fetched");
                } else {
                    tracing::warn!(url, error, "the issuer's keys could not be fetched; the known ones stay");
                }
            }
        }
    }

    async fn download(&self) -> Result<Vec<Key>, String> {
        let failed = |error: reqwest::Error| chain(&error.without_url());
        let answer = self.client.get(&self.url).send().await.map_err(failed)?;
        let answer = answer.error_for_status().map_err(failed)?;
        jwk::read(&body_of(answer, MAX_BYTES, "the key set is larger").await?)
    }
}

/// A fetch under way; over on every path.
struct Flight(Arc<Remote>);

impl Drop for Flight {
    fn drop(&mut self) {
        // Together, so that nobody joins a fetch that is over.
        let mut attempt = self.0.attempt();
        attempt.running = false;
        self.0.ended.send_modify(|ended| *ended += 1);
    }
}

async fn wait(mut ended: watch::Receiver<u64>) {
    // An error means that the verifier is gone, and with it whoever waited.
    let _ = ended.changed().await;
}

/// The body of a 200 answer of at most `most` bytes; `too_long` begins the text of the error when it is longer.
pub(in crate::auth) async fn body_of(
    mut answer: reqwest::Response,
    most: usize,
    too_long: &str,
) -> Result<Vec<u8>, String> {
    if answer.status() != ::http::StatusCode::OK {
        return Err(format!("the answer is {}, not 200", answer.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error.without_url()))? {
        body.extend_from_slice(&chunk);
        if body.len() > most {
            return Err(format!("{too_long} than {most} bytes"));
        }
    }
    Ok(body)
}

/// An error with its causes: what failed, and why.
pub(in crate::auth) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// A URL without what may be secret in it.
pub(in crate::auth) fn printable(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    match bare.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.find('/').map_or(rest, |end| &rest[..end]);
            let host_from = host.rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[host_from..])
        }
        None => bare.to_owned(),
    }
}
