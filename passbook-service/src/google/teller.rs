//! Tells Google of committed changes: claims what the sequencer noted, and tells it with retry.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::StorageError;
use tokio::task::JoinSet;

use super::client::Reply;
use super::notice::{MOST_MESSAGES, Notice, notice};
use super::{Google, Mapped, Resource, Sent};
use crate::package::hex;
use crate::store::{GoogleObject, PassRow, Told};
use crate::web::Service;

/// How many passes are told of at once.
const CONCURRENCY: i64 = 8;
/// A claimed object that nobody settles belongs to the next who asks after this.
const LEASE_MS: i64 = 180_000;
/// How often due objects are looked for without being told.
const POLL: Duration = Duration::from_millis(500);
/// How long requests under way may take after the shutdown began.
const GRACE: Duration = Duration::from_secs(3);
/// How often what Google refused is tried again; the first time after the start.
const REFUSED_AGAIN_MS: u64 = 60 * 60 * 1000;
/// Of what Google refused so many are tried at once: changes come behind them.
const MOST_REFUSED_AGAIN: i64 = 1_000;
const FIRST_PAUSE_MS: i64 = 1_000;
const LONGEST_PAUSE_MS: i64 = 600_000;

/// The task that tells Google. Cheap to clone.
#[derive(Clone)]
pub struct Teller {
    /// Store, passes, clock.
    pub service: Arc<Service>,
    /// The issuer.
    pub google: Arc<Google>,
}

/// An attempt that ended early.
enum Stop {
    Refused(String),
    Later(Option<Duration>, String),
    Storage(StorageError),
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl Stop {
    /// What a reply means that is no success.
    fn of(reply: Reply) -> Self {
        match reply {
            Reply::Later { after, why, .. } => Self::Later(after, why),
            Reply::Refused(why) | Reply::Missing(why) => Self::Refused(why),
            Reply::Exists | Reply::Done(_) => Self::Later(None, "Google Wallet contradicts itself".to_owned()),
        }
    }
}

impl Teller {
    /// Works until the shutdown begins.
    pub async fn run(self, shutdown: Shutdown) {
        self.tell_all(&shutdown).await;
    }

    async fn tell_all(&self, shutdown: &Shutdown) {
        let mut refused_at = None;
        while !shutdown.is_down() {
            let now = self.service.clock.now_ms();
            // What was refused may be mended without a change of the pass: an address, the console, our mapping.
            if refused_at.is_none_or(|at: i64| now.abs_diff(at) >= REFUSED_AGAIN_MS) {
                refused_at = Some(now);
                if let Err(error) = self.service.store.retry_google(now, MOST_REFUSED_AGAIN).await {
                    tracing::warn!(%error, "what Google Wallet refused cannot be tried again");
                }
            }
            match self.service.store.claim_google(now, now + LEASE_MS, CONCURRENCY).await {
                Ok(objects) if !objects.is_empty() => {
                    let mut telling = JoinSet::new();
                    for object in objects {
                        let teller = self.clone();
                        telling.spawn(async move { teller.handle(object).await });
                    }
                    let grace = async {
                        shutdown.wait().await;
                        tokio::time::sleep(GRACE).await;
                    };
                    tokio::select! {
                        () = async { while telling.join_next().await.is_some() {} } => {}
                        // What is cut off here is told again once its lease has ended.
                        () = grace => telling.shutdown().await,
                    }
                    continue;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "what Google Wallet is to be told cannot be read; trying again"),
            }
            if let Ok(pending) = self.service.store.pending_google().await {
                self.google.metrics.pending.set(pending);
            }
            self.pause(shutdown).await;
        }
    }

    async fn pause(&self, shutdown: &Shutdown) {
        tokio::select! {
            () = shutdown.wait() => {}
            () = self.google.wake.notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }

    async fn handle(&self, object: GoogleObject) {
        let told = match self.tell(&object).await {
            Ok(told) => told,
            Err(Stop::Refused(why)) => {
                // Once: it is tried again every hour.
                if object.last_error.as_ref() != Some(&why) {
                    tracing::error!(
                        object = object.object_id,
                        "{why}; Google Wallet is told again when the pass changes, when a link is made, and every hour"
                    );
                }
                Told::Refused(why)
            }
            Err(Stop::Later(after, why)) => {
                if object.attempts == 0 {
                    tracing::warn!(object = object.object_id, "{why}; Google Wallet is told again");
                }
                Told::Later(self.service.clock.now_ms() + pause_ms(object.attempts, after), why)
            }
            // The lease ends by itself.
            Err(Stop::Storage(error)) => return tracing::warn!(%error, "Google Wallet waits for the database"),
        };
        self.google.metrics.told(match &told {
            Told::Done { .. } => "done",
            Told::Gone => "gone",
            Told::Refused(_) => "refused",
            Told::Later(..) => "later",
        });
        if let Err(error) = self.service.store.settle_google(&object, &told, self.service.clock.now_ms()).await {
            tracing::warn!(%error, "what Google Wallet was told cannot be noted; it is told again");
        }
    }

    async fn tell(&self, object: &GoogleObject) -> Result<Told, Stop> {
        // Read after the claim: at least as new as what the claim is about.
        let Some(pass) = self.service.store.pass(&object.id).await? else {
            self.end(&object.kind, &object.object_id).await?;
            return Ok(Told::Gone);
        };
        let mapped = self
            .google
            .map(&self.service.passes, &pass, self.service.clock.now_ms())
            .map_err(|error| Stop::Refused(error.to_string()))?;
        let mut before = Sent::read(object.sent.as_deref());
        if mapped.object_id() != object.object_id {
            // The template has another style now, which is another kind of object at Google.
            self.end(&object.kind, &object.object_id).await?;
            before = None;
        }
        self.class(&mapped).await?;
        match before {
            Some(before) => self.change(object, &before, &mapped, &pass).await?,
            None => self.insert(&mapped).await?,
        }
        Ok(Told::Done {
            kind: mapped.resource.name().to_owned(),
            object_id: mapped.object_id().to_owned(),
            sent: Sent::of(&mapped).text(),
            revision: pass.revision,
        })
    }

    /// Makes sure that Google has the class as it is now.
    async fn class(&self, mapped: &Mapped) -> Result<(), Stop> {
        let (resource, id) = (mapped.resource, mapped.class_id());
        let text = mapped.class.to_string();
        let digest = hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref());
        let known = self.service.store.google_class(id).await?;
        if known.as_ref() == Some(&digest) {
            return Ok(());
        }
        let client = &self.google.client;
        let mut reply = match known {
            Some(_) => client.patch_class(resource, id, &mapped.class).await,
            None => client.insert_class(resource, &mapped.class).await,
        };
        reply = match reply {
            Reply::Exists => client.patch_class(resource, id, &mapped.class).await,
            Reply::Missing(_) => client.insert_class(resource, &mapped.class).await,
            reply => reply,
        };
        match reply {
            Reply::Done(_) => {
                let now_ms = self.service.clock.now_ms();
                self.service.store.note_google_class(id, resource.name(), &digest, now_ms).await?;
                Ok(())
            }
            reply => Err(Stop::of(reply)),
        }
    }

    /// Google gets an object that it may have already.
    async fn insert(&self, mapped: &Mapped) -> Result<(), Stop> {
        let client = &self.google.client;
        let mut reply = client.insert_object(mapped.resource, &mapped.object).await;
        if let Reply::Missing(_) = reply {
            // Somebody took the class away.
            self.service.store.forget_google_class(mapped.class_id()).await?;
            self.class(mapped).await?;
            reply = client.insert_object(mapped.resource, &mapped.object).await;
        }
        match reply {
            Reply::Done(_) => Ok(()),
            Reply::Exists => match client.patch_object(mapped.resource, mapped.object_id(), &mapped.object).await {
                Reply::Done(_) => Ok(()),
                reply => Err(Stop::of(reply)),
            },
            Reply::Missing(why) => Err(Stop::Later(None, why)),
            reply => Err(Stop::of(reply)),
        }
    }

    /// Google gets what has changed, and people hear of it.
    async fn change(&self, object: &GoogleObject, before: &Sent, mapped: &Mapped, pass: &PassRow) -> Result<(), Stop> {
        let patch = before.patch_to(&mapped.object);
        if patch.is_empty() {
            // What stands in a link alone is not at Google yet.
            return if object.told_at.is_none() { self.insert(mapped).await } else { Ok(()) };
        }
        let client = &self.google.client;
        let present = match client.patch_object(mapped.resource, mapped.object_id(), &patch.into()).await {
            Reply::Done(present) => present,
            // Nobody has saved it yet: a link may lie around that is older than this change.
            Reply::Missing(_) => return self.insert(mapped).await,
            reply => return Err(Stop::of(reply)),
        };
        let id = format!("r{}", pass.revision);
        if object.message_id.as_deref() == Some(id.as_str()) {
            return Ok(());
        }
        let title = json!({ "defaultValue": { "language": self.google.config.language, "value": mapped.title } });
        let now_ms = self.service.clock.now_ms();
        let limit = self.google.config.notifications;
        let Some(notice) = notice(before, mapped, &title, &id, &object.notified, limit, now_ms) else { return Ok(()) };
        self.make_room(mapped.resource, mapped.object_id(), &present).await?;
        self.say(object, mapped, &id, notice).await
    }

    /// Adds a message to the object; where Google counts more notifications than we do, without one.
    async fn say(&self, object: &GoogleObject, mapped: &Mapped, id: &str, mut notice: Notice) -> Result<(), Stop> {
        let (client, store) = (&self.google.client, &self.service.store);
        store.note_google_message(&object.id, Some(id), &notice.notified).await?;
        let mut reply = client.add_message(mapped.resource, mapped.object_id(), &notice.message).await;
        if notice.notifies && matches!(reply, Reply::Later { limit: true, .. }) {
            // Another system of the issuer notified too, or Google throttles: it asks for TEXT then.
            notice.message["messageType"] = "TEXT".into();
            notice.notifies = false;
            store.note_google_message(&object.id, Some(id), &object.notified).await?;
            reply = client.add_message(mapped.resource, mapped.object_id(), &notice.message).await;
        }
        match reply {
            Reply::Done(_) => {}
            // Perhaps people were notified: not twice.
            Reply::Later { unknown: true, .. } => {}
            Reply::Later { after, why, .. } => {
                store.note_google_message(&object.id, object.message_id.as_deref(), &object.notified).await?;
                return Err(Stop::Later(after, why));
            }
            reply => tracing::warn!(object = object.object_id, ?reply, "Google Wallet does not take a message"),
        }
        self.google.metrics.message(if notice.notifies { "notified" } else { "silent" });
        Ok(())
    }

    /// Takes the oldest messages away where another one would be too many.
    async fn make_room(&self, resource: Resource, id: &str, present: &Value) -> Result<(), Stop> {
        let messages = present["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        if messages.len() < MOST_MESSAGES {
            return Ok(());
        }
        let kept = &messages[messages.len() - (MOST_MESSAGES - 1)..];
        match self.google.client.patch_object(resource, id, &json!({ "messages": kept })).await {
            Reply::Done(_) => Ok(()),
            reply => Err(Stop::of(reply)),
        }
    }

    /// An object whose pass is gone is not valid any more; Google deletes none.
    async fn end(&self, kind: &str, object_id: &str) -> Result<(), Stop> {
        let Some(resource) = Resource::from_name(kind) else { return Ok(()) };
        match self.google.client.patch_object(resource, object_id, &json!({ "state": "INACTIVE" })).await {
            Reply::Done(_) | Reply::Missing(_) => Ok(()),
            reply => Err(Stop::of(reply)),
        }
    }
}

/// Doubling pauses; a longer one when Google asks for it.
fn pause_ms(attempts: i64, after: Option<Duration>) -> i64 {
    let doublings = u32::try_from(attempts.clamp(0, 20)).unwrap_or(20);
    let asked = after.and_then(|after| i64::try_from(after.as_millis()).ok()).unwrap_or(0);
    (FIRST_PAUSE_MS << doublings).min(LONGEST_PAUSE_MS).max(asked)
}
