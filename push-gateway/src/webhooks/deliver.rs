//! Telling webhooks: one worker for each, so that a slow or dead one holds up no other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use serde_json::Value;
use tidings_shared::clock::Clock;
use tidings_shared::http::egress::EgressPolicy;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::push_api::WebhookTest;
use tidings_shared::storage::{Database, StorageError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::store::deliveries::{self, Delivery};
use super::store::{self, Stored};
use super::{WebhookSettings, next_attempt, signing};
use crate::events::EventLog;
use crate::metrics::Metrics;

/// A worker looks into the database at least this often: another process may have left something.
const LOOK: Duration = Duration::from_secs(5);
/// The longest that a webhook may ask to be left alone.
const LONGEST_RETRY_AFTER_S: i64 = 86_400;

/// See the head of this file. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Courier {
    pub(crate) client: reqwest::Client,
    pub(crate) policy: EgressPolicy,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: WebhookSettings,
    /// A webhook was made, changed or removed.
    pub(crate) changed: Arc<Notify>,
}

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    status: Option<StatusCode>,
    retry_after_s: Option<i64>,
    error: Option<String>,
}

impl Courier {
    /// Works until the shutdown, then waits a little for what is under way.
    pub(crate) async fn run(self, database: Database, events: EventLog, shutdown: Shutdown) {
        let mut workers: HashMap<String, tokio::task::AbortHandle> = HashMap::new();
        let mut running = JoinSet::new();
        loop {
            match store::all(&database).await {
                Ok(webhooks) => {
                    workers.retain(|_, worker| !worker.is_finished());
                    for webhook in webhooks.iter().filter(|webhook| webhook.disabled_reason.is_some()) {
                        self.metrics.registry.webhook_disabled(&webhook.name, true);
                    }
                    for webhook in webhooks.into_iter().filter(|webhook| webhook.enabled) {
                        workers.entry(webhook.name.clone()).or_insert_with(|| {
                            let worker =
                                self.clone().work(database.clone(), webhook.name, events.watch(), shutdown.clone());
                            running.spawn(worker)
                        });
                    }
                }
                Err(error) => tracing::warn!(%error, "the webhooks cannot be read; trying again"),
            }
            tokio::select! {
                () = shutdown.wait() => break,
                () = self.changed.notified() => {}
                Some(_) = running.join_next() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Tells one webhook, until it is removed or disabled.
    async fn work(
        self,
        database: Database,
        name: String,
        mut events: tokio::sync::watch::Receiver<i64>,
        shutdown: Shutdown,
    ) {
        let mut sending = JoinSet::new();
        loop {
            let due = match self.round(&database, &name, &mut sending).await {
                Ok(Some(due)) => due,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, webhook = name, "the events of a webhook cannot be read; trying again");
                    LOOK
                }
            };
            let full = sending.len() >= self.settings.concurrency;
            tokio::select! {
                () = shutdown.wait() => break,
                Some(_) = sending.join_next() => {}
                Ok(()) = events.changed(), if !full => {}
                () = tokio::time::sleep(due), if !full => {}
            }
        }
        // The requests have a timeout; what is not recorded comes again when its lease ends.
        while sending.join_next().await.is_some() {}
    }

    /// Starts what can be started; gives when to look again, `None` when the webhook wants nothing any more.
    pub(super) async fn round(
        &self,
        database: &Database,
        name: &str,
        sending: &mut JoinSet<()>,
    ) -> Result<Option<Duration>, StorageError> {
        let mut connection = database.pool().acquire().await?;
        let Some(webhook) = store::find(&mut connection, name).await?.filter(|webhook| webhook.enabled) else {
            return Ok(None);
        };
        drop(connection);
        let webhook = Arc::new(webhook);
        let now = self.clock.now_ms();
        while deliveries::fill(database, &webhook, now).await? {}
        let free = self.settings.concurrency.saturating_sub(sending.len());
        if free > 0 {
            let lease = i64::try_from(self.settings.timeout.as_millis()).unwrap_or(i64::MAX).saturating_mul(2);
            let limit = i64::try_from(free).unwrap_or(1);
            for delivery in deliveries::claim(database, name, limit, now, now.saturating_add(lease)).await? {
                let (courier, database, webhook) = (self.clone(), database.clone(), Arc::clone(&webhook));
                sending.spawn(async move {
                    if let Err(error) = courier.deliver(&database, &webhook, &delivery).await {
                        tracing::warn!(%error, webhook = webhook.name, "what a webhook answered cannot be stored; it is told again");
                    }
                });
            }
        }
        let due = deliveries::next_due(database, name).await?;
        Ok(Some(due.map_or(LOOK, |due| {
            let wait = u64::try_from(due.saturating_sub(self.clock.now_ms())).unwrap_or(0);
            Duration::from_millis(wait).clamp(Duration::from_millis(20), LOOK)
        })))
    }

    async fn deliver(&self, database: &Database, webhook: &Stored, delivery: &Delivery) -> Result<(), StorageError> {
        let told = self.tell(webhook, &delivery.id, &delivery.kind, &delivery.data, delivery.happened_at).await;
        let now = self.clock.now_ms();
        if told.error.is_none() {
            self.metrics.registry.webhook(&webhook.name, "taken");
            deliveries::taken(database, &delivery.id).await?;
            return store::works(database, &webhook.name).await;
        }
        let error = told.error.unwrap_or_default();
        let asked = told.retry_after_s.map(|seconds| now + seconds * 1000);
        let due = next_attempt(&delivery.id, delivery.attempts, now).map(|due| due.max(asked.unwrap_or(due)));
        self.metrics.registry.webhook(&webhook.name, if due.is_some() { "failed" } else { "given_up" });
        deliveries::failed(database, delivery, due).await?;
        let since = store::fails(database, &webhook.name, &error, now).await?;
        let patience = i64::try_from(self.settings.disable_after.as_millis()).unwrap_or(i64::MAX);
        let reason = if told.status == Some(StatusCode::GONE) {
            "gone"
        } else if now.saturating_sub(since) >= patience {
            "failing"
        } else {
            return Ok(());
        };
        if store::disable(database, webhook, reason, now).await? {
            self.metrics.registry.webhook_disabled(&webhook.name, true);
            tracing::error!(
                webhook = webhook.name,
                reason,
                error,
                "a webhook is disabled: nothing is told to it until it is put again with `\"enabled\": true`"
            );
        }
        Ok(())
    }

    /// A test event, told once.
    pub(crate) async fn test(&self, webhook: &Stored, id: &str) -> WebhookTest {
        let data = serde_json::json!({ "webhook": webhook.name }).to_string();
        let id = format!("msg_{id}");
        let told = self.tell(webhook, &id, "webhook.test", &data, self.clock.now_ms()).await;
        WebhookTest {
            id,
            taken: told.error.is_none(),
            status: told.status.map(|status| status.as_u16()),
            error: told.error,
        }
    }

    async fn tell(&self, webhook: &Stored, id: &str, kind: &str, data: &str, happened_at: i64) -> Told {
        let failed = |error: String| Told { status: None, retry_after_s: None, error: Some(error) };
        // The settings may have changed since it was stored.
        let url = match self.policy.check(&webhook.url) {
            Ok(url) => url,
            Err(error) => return failed(error.to_string()),
        };
        let Some(body) = body(kind, data, happened_at) else {
            return failed("the event cannot be written".to_owned());
        };
        let timestamp = self.clock.now_s();
        let secrets = webhook.secrets(self.clock.now_ms());
        let signature = match signing::signatures(&secrets, id, timestamp, &body) {
            Ok(signature) => signature,
            Err(error) => return failed(error.to_string()),
        };
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("tidings-push-gateway/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        match request.send().await {
            Ok(answer) => {
                let status = answer.status();
                let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                let error = match status {
                    status if status.is_success() => None,
                    StatusCode::GONE => Some("it answered 410: it wants no more events".to_owned()),
                    status if status.is_redirection() => {
                        Some(format!("it answered {status}; redirects are not followed: put the final address"))
                    }
                    status => Some(format!("it answered {status}; 2xx takes an event")),
                };
                let retry_after_s = retry_after.map(|seconds: i64| seconds.clamp(0, LONGEST_RETRY_AFTER_S));
                Told { status: Some(status), retry_after_s, error }
            }
            Err(error) => failed(root_cause(&error)),
        }
    }
}

/// The last cause says what happened; the first ones only say that something did. The address is left out.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_timeout() { "it did not answer in time".to_owned() } else { format!("it cannot be reached: {cause}") }
}

/// The same bytes on every attempt.
fn body(kind: &str, data: &str, happened_at: i64) -> Option<String> {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        r#type: &'a str,
        timestamp: String,
        data: Value,
    }
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(happened_at) * 1_000_000).ok()?;
    let body = Body { r#type: kind, timestamp: time.format(&Rfc3339).ok()?, data: serde_json::from_str(data).ok()? };
    serde_json::to_string(&body).ok()
}
