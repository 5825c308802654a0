//! The save link: `https://pay.google.com/gp/v/save/JWT`. Whoever opens it gets the pass. A short pass stands in the JWT
//! itself; of a long one Google is told first, and the JWT names it: browsers cut long addresses.

use std::time::Duration;

use serde_json::{Value, json};
use tidings_shared::storage::StorageError;
use tokio::time::Instant;

use super::{Google, Mapped, Sent, Unmappable};
use crate::store::PassId;
use crate::web::Service;

/// A JWT up to this many characters is safe in an address, says Google.
const LONGEST_JWT: usize = 1800;
/// How long a link waits until Google has a long pass.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the outbox is looked at meanwhile.
const POLL: Duration = Duration::from_millis(50);

/// A link that saves a pass to Google Wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveLink {
    /// The address.
    pub url: String,
    /// Google's word for the kind of pass.
    pub kind: &'static str,
    /// The object's id.
    pub object_id: String,
    /// The class's id.
    pub class_id: String,
    /// `embedded`: the pass stands in the link; `short`: the link names it, and Google has it.
    pub form: &'static str,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is no such pass.
    #[error("there is no such pass")]
    NoPass,
    /// Google Wallet cannot show it.
    #[error(transparent)]
    Unmappable(#[from] Unmappable),
    /// Google does not take the pass.
    #[error("{0}")]
    Refused(String),
    /// Google was not told in time.
    #[error("Google Wallet has not taken the pass yet ({0}); try again")]
    Waiting(String),
    /// The key failed.
    #[error("the link cannot be signed")]
    Sign,
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Google {
    /// A link that saves the pass to Google Wallet. From now on Google hears of the pass's changes.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn save_link(&self, service: &Service, id: &PassId) -> Result<SaveLink, LinkError> {
        let now_ms = service.clock.now_ms();
        let offered = self.offer(service, id, now_ms).await?;
        let mapped = &offered.mapped;
        let (kind, ids) = (mapped.resource.name(), ids(mapped));
        let whole = json!({ classes(kind): [mapped.class], objects(kind): [mapped.object] });
        let whole = self.sign(now_ms, &whole)?;
        let (jwt, form) = if whole.len() <= LONGEST_JWT && !offered.told {
            service.store.note_google_link(id, &Sent::of(mapped).text(), offered.revision).await?;
            (whole, "embedded")
        } else {
            self.have_told(service, id, &offered).await?;
            (self.sign(now_ms, &json!({ objects(kind): [ids] }))?, "short")
        };
        self.metrics.link(form);
        Ok(SaveLink {
            url: format!("{}/{jwt}", self.config.save_url),
            kind,
            object_id: mapped.object_id().to_owned(),
            class_id: mapped.class_id().to_owned(),
            form,
        })
    }

    /// Notes that Google hears of the pass from now on.
    async fn offer(&self, service: &Service, id: &PassId, now_ms: i64) -> Result<Offered, LinkError> {
        let read = async || service.store.pass(id).await?.ok_or(LinkError::NoPass);
        let known = service.store.google_object(id).await?;
        if known.is_none() {
            let mapped = self.map(&service.passes, &read().await?, now_ms)?;
            service.store.offer_google(id, mapped.resource.name(), mapped.object_id(), now_ms).await?;
        }
        if known.as_ref().is_some_and(|known| known.last_error.is_some()) {
            // What stood in the way may be mended: not only when the pass changes.
            service.store.hurry_google(id, now_ms).await?;
            self.wake.notify_one();
        }
        // The row is there; only now the pass as it is: a change in between is one that Google is told of.
        let pass = read().await?;
        let mapped = self.map(&service.passes, &pass, now_ms)?;
        let told = known.is_some_and(|known| known.told_at.is_some() && known.object_id == mapped.object_id());
        Ok(Offered { mapped, revision: pass.revision, told })
    }

    /// Waits until Google has the pass.
    async fn have_told(&self, service: &Service, id: &PassId, offered: &Offered) -> Result<(), LinkError> {
        if offered.told {
            return Ok(());
        }
        service.store.hurry_google(id, service.clock.now_ms()).await?;
        self.wake.notify_one();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let object = service.store.google_object(id).await?.ok_or(LinkError::NoPass)?;
            let told = object.told_at.is_some() && object.object_id == offered.mapped.object_id();
            match (object.due_at, object.last_error) {
                _ if told => return Ok(()),
                (None, Some(why)) => return Err(LinkError::Refused(why)),
                (_, why) if Instant::now() >= deadline => {
                    return Err(LinkError::Waiting(why.unwrap_or_else(|| "no answer yet".to_owned())));
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    fn sign(&self, now_ms: i64, payload: &Value) -> Result<String, LinkError> {
        let claims = json!({
            "iss": self.email,
            "aud": "google",
            "typ": "savetowallet",
            "iat": now_ms.div_euclid(1000),
            "origins": self.config.origins,
            "payload": payload,
        });
        self.signer.sign(&claims).map_err(|error| {
            tracing::error!(%error, "a save link of Google Wallet cannot be signed");
            LinkError::Sign
        })
    }
}

/// A pass that Google hears of.
struct Offered {
    mapped: Mapped,
    /// The pass's revision that was mapped.
    revision: i64,
    /// Google has the object.
    told: bool,
}

fn classes(kind: &str) -> String {
    format!("{kind}Classes")
}

fn objects(kind: &str) -> String {
    format!("{kind}Objects")
}

/// What names an object that Google has.
fn ids(mapped: &Mapped) -> Value {
    json!({ "id": mapped.object["id"], "classId": mapped.object["classId"] })
}
