//! The save link: `https://pay.google.com/gp/v/save/JWT`. Whoever opens it gets the pass. A short pass stands in the JWT
//! itself; of a long one Google is told first, and the JWT names it: browsers cut long addresses.

use std::time::Duration;

use serde_json::json;
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
        let pass = service.store.pass(id).await?.ok_or(LinkError::NoPass)?;
        let mapped = self.map(&service.passes, &pass, now_ms)?;
        // First the row, then the pass as it is now: a change in between is one that Google is told of.
        let known = service.store.google_object(id).await?;
        if known.is_none() {
            service.store.offer_google(id, mapped.resource.name(), mapped.object_id(), now_ms).await?;
        }
        let pass = service.store.pass(id).await?.ok_or(LinkError::NoPass)?;
        let mapped = self.map(&service.passes, &pass, now_ms)?;
        let whole = self.sign(now_ms, &mapped, true)?;
        let told = known.as_ref().is_some_and(|object| object.told_at.is_some());
        let (jwt, form) = if whole.len() <= LONGEST_JWT && !told {
            service.store.note_google_link(id, &Sent::of(&mapped).text(), pass.revision).await?;
            (whole, "embedded")
        } else {
            if !told {
                service.store.hurry_google(id, now_ms).await?;
                self.wake.notify_one();
                self.wait_until_told(service, id).await?;
            }
            (self.sign(now_ms, &mapped, false)?, "short")
        };
        self.metrics.link(form);
        Ok(SaveLink {
            url: format!("{}/{jwt}", self.config.save_url),
            kind: mapped.resource.name(),
            object_id: mapped.object_id().to_owned(),
            class_id: mapped.class_id().to_owned(),
            form,
        })
    }

    /// The JWT: with class and object, or with their ids alone.
    fn sign(&self, now_ms: i64, mapped: &Mapped, whole: bool) -> Result<String, LinkError> {
        let (classes, objects) =
            (format!("{}Classes", mapped.resource.name()), format!("{}Objects", mapped.resource.name()));
        let payload = if whole {
            json!({ classes: [mapped.class], objects: [mapped.object] })
        } else {
            json!({ objects: [{ "id": mapped.object["id"], "classId": mapped.object["classId"] }] })
        };
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

    async fn wait_until_told(&self, service: &Service, id: &PassId) -> Result<(), LinkError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let object = service.store.google_object(id).await?.ok_or(LinkError::NoPass)?;
            match (object.told_at, object.due_at, object.last_error) {
                (Some(_), ..) => return Ok(()),
                (None, None, Some(why)) => return Err(LinkError::Refused(why)),
                (None, _, why) if Instant::now() >= deadline => {
                    return Err(LinkError::Waiting(why.unwrap_or_else(|| "no answer yet".to_owned())));
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }
}
