//! Orders: Apple's order tracking, on the engine that passes have. An order is a row beside the passes, of a type
//! `order.…`; the same sequencer gives its changes their tags, the same pusher announces them, the same devices list them.
//! What differs is what a phone gets: `order.json` instead of `pass.json`, SHA-256 in the manifest, and its media type.
//!
//! An order's own content is a JSON object that is laid over the one of its template, as RFC 7396 says.

mod package;
mod sweep;
mod template;
mod validate;

use std::sync::Arc;

use serde_json::{Map, Value};
use tidings_shared::config::{Kind as SettingKind, Setting};
use tidings_shared::storage::StorageError;

use package::patched;
pub use package::{Content, merged};
pub use sweep::sweep;
pub use template::{OrderCatalog, OrderTemplate};

use crate::package::{Builder, Faults, Kind, PassState};
use crate::store::{NewPass, PassId, PassRow, PassUpdate, Stored};
use crate::token;
use crate::web::Service;

/// The media type of an order.
pub const MEDIA_TYPE: &str = "application/vnd.apple.order";
/// The template that is built in.
pub const BUILT_IN: &str = "order";

/// The settings.
pub(crate) const SETTINGS: &[Setting] = &[Setting::optional(
    "wallet.orders.templates",
    SettingKind::Path,
    "Folder with one folder per order template (order.json, images, XX.lproj/order.strings). The template `order`, which has no images, is built in.",
)];

/// An order that was refused.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// There is no order of that name.
    #[error("there is no such order")]
    NoOrder,
    /// There is one already.
    #[error("there is an order with this identifier already")]
    Exists,
    /// There is no template of that name.
    #[error("there is no order template `{0}`; there are: {1}")]
    NoTemplate(String, String),
    /// The identifier cannot be one.
    #[error("an order identifier has 1 to 255 bytes, no control characters, no slashes, and is neither `.` nor `..`")]
    BadIdentifier,
    /// This service has no certificate for the type.
    #[error("{0}")]
    NotServed(String),
    /// The order would break Apple's rules.
    #[error("the order would break Apple's rules:\n{0}")]
    Invalid(Faults),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Something else failed.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

/// An order to be made.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CreateOrder {
    /// Order type identifier; absent: the only one that is served.
    #[serde(default)]
    pub order_type: Option<String>,
    /// The identifier; made when absent.
    #[serde(default)]
    pub order_identifier: Option<String>,
    /// The template's name; absent: the built-in one.
    #[serde(default)]
    pub template: Option<String>,
    /// What is laid over the template's `order.json` (RFC 7396).
    #[serde(default)]
    #[schema(value_type = Object)]
    pub order: Map<String, Value>,
}

/// A change of an order.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchOrder {
    /// Laid over the order's content (RFC 7396): null takes a key away, the template's too; arrays are replaced whole.
    #[schema(value_type = Object)]
    pub order: Map<String, Value>,
}

/// Orders and how they change: the order side of a service.
pub struct Orders<'a>(pub &'a Service);

impl Orders<'_> {
    /// Makes an order. The answer is its name and its token.
    ///
    /// # Errors
    /// See [`OrderError`].
    pub async fn create(&self, create: CreateOrder) -> Result<(PassId, String), OrderError> {
        let service = self.0;
        let builder = self.builder(create.order_type.as_deref())?;
        let name = create.template.unwrap_or_else(|| BUILT_IN.to_owned());
        let template = self.template(&name)?;
        let identifier = match create.order_identifier {
            Some(identifier) if valid_identifier(&identifier) => identifier,
            Some(_) => return Err(OrderError::BadIdentifier),
            None => token::random_hex::<16>()?,
        };
        let now_ms = service.clock.now_ms();
        let content = Content {
            identifier: &identifier,
            order: &create.order,
            created_at: now_ms.div_euclid(1000),
            updated_at: now_ms.div_euclid(1000),
        };
        let fingerprint = template.fingerprint(builder.issuer(), content).map_err(OrderError::Invalid)?;
        let order_type = builder.issuer().pass_type.clone();
        let made = service.passes.tokens().make(&order_type, &identifier)?;
        let id = PassId { pass_type: order_type, serial: identifier };
        let order = NewPass {
            id: id.clone(),
            template: name,
            fields: create.order,
            user_info: None,
            state: PassState::NONE,
            token_hash: token::hash(&made.token),
            token_nonce: made.nonce,
            basis: template.basis(builder.issuer()),
            fingerprint,
        };
        if !service.store.insert_pass(&order, now_ms).await? {
            return Err(OrderError::Exists);
        }
        service.metrics.passes_created.inc();
        Ok((id, made.token))
    }

    /// Changes an order and waits, for a while, until the change has its tag (`None`: it is committed, and has none yet).
    ///
    /// # Errors
    /// See [`OrderError`]; the order is as it was then.
    pub async fn patch(&self, id: &PassId, patch: &PatchOrder) -> Result<(Stored, Option<i64>), OrderError> {
        let change = Value::Object(patch.order.clone());
        let stored = self
            .update(id, |order, template| {
                match patched(&Value::Object(order.fields.clone()), &change, &template.order) {
                    Value::Object(order) => order,
                    _ => Map::new(),
                }
            })
            .await?;
        let (service, waiter) = (self.0, self.0.passes.waiter());
        let tag = match &stored.change {
            Some(change) => waiter.wait(&service.store, id, change).await?,
            None => Some(service.store.tag_of(id).await?),
        };
        Ok((stored, tag))
    }

    /// The order as its template is today; a changed template is a change like any other.
    ///
    /// # Errors
    /// See [`OrderError`].
    pub async fn refresh(&self, order: PassRow) -> Result<PassRow, OrderError> {
        let basis = self.template(&order.template)?.basis(self.builder(Some(&order.id.pass_type))?.issuer());
        if order.basis == basis {
            return Ok(order);
        }
        Ok(self.update(&order.id, |order, _| order.fields.clone()).await?.pass)
    }

    /// The signed package. Signing takes a fraction of a millisecond to a few: call it off the async threads.
    ///
    /// # Errors
    /// See [`OrderError`].
    pub fn build(&self, order: &PassRow, token: &str) -> Result<Vec<u8>, OrderError> {
        let builder = self.builder(Some(&order.id.pass_type))?;
        let template = self.template(&order.template)?;
        let package = template.pack(builder, content_of(order), token, self.0.clock.now_ms())?;
        self.0.metrics.packages.inc();
        Ok(package)
    }

    /// `order.json` with a stand-in for its token: to look at, never to sign.
    ///
    /// # Errors
    /// See [`OrderError`].
    pub fn rendered(&self, order: &PassRow) -> Result<Value, OrderError> {
        let builder = self.builder(Some(&order.id.pass_type))?;
        self.template(&order.template)?.rendered(builder.issuer(), content_of(order)).map_err(OrderError::Invalid)
    }

    async fn update(
        &self,
        id: &PassId,
        decide: impl Fn(&PassRow, &OrderTemplate) -> Map<String, Value>,
    ) -> Result<Stored, OrderError> {
        let service = self.0;
        let builder = self.builder(Some(&id.pass_type))?;
        let decided = service.store.update_pass(id, service.clock.now_ms(), |order| {
            let template = self.template(&order.template)?;
            let fields = decide(order, &template);
            let content = Content { order: &fields, ..content_of(order) };
            let fingerprint = template.fingerprint(builder.issuer(), content).map_err(OrderError::Invalid)?;
            let basis = template.basis(builder.issuer());
            let same = fields == order.fields && basis == order.basis && fingerprint == order.fingerprint;
            let update =
                PassUpdate { fields, user_info: None, state: PassState::NONE, basis, fingerprint, keep: false };
            Ok::<_, OrderError>((!same).then_some(update))
        });
        let stored = decided.await?.ok_or(OrderError::NoOrder)??;
        if stored.change.is_some() {
            service.metrics.changes.inc();
            service.passes.waiter().wake();
        } else {
            service.metrics.no_ops.inc();
        }
        Ok(stored)
    }

    /// Signs orders of a type; without one, of the only type there is.
    fn builder(&self, order_type: Option<&str>) -> Result<&Arc<Builder>, OrderError> {
        let issuers = self.0.passes.issuers();
        let mut served = issuers.iter().filter(|builder| builder.issuer().kind == Kind::Order);
        let found = match order_type {
            Some(wanted) => served.find(|builder| builder.issuer().pass_type == wanted),
            None => served.next().filter(|_| served.next().is_none()),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = issuers
                .iter()
                .filter(|builder| builder.issuer().kind == Kind::Order)
                .map(|builder| builder.issuer().pass_type.as_str())
                .collect();
            OrderError::NotServed(match (order_type, names.is_empty()) {
                (_, true) => {
                    "no order type is served here: add wallet.types.\"order.…\" with its certificate".to_owned()
                }
                (Some(wanted), false) => {
                    format!("{wanted} is no order type that is served here; there are: {}", names.join(", "))
                }
                (None, false) => format!("name the orderType; there are: {}", names.join(", ")),
            })
        })
    }

    fn template(&self, name: &str) -> Result<Arc<OrderTemplate>, OrderError> {
        let catalog = &self.0.orders;
        catalog.get(name).cloned().ok_or_else(|| OrderError::NoTemplate(name.to_owned(), catalog.names().join(", ")))
    }
}

fn content_of(order: &PassRow) -> Content<'_> {
    Content {
        identifier: &order.id.serial,
        order: &order.fields,
        created_at: order.created_at.div_euclid(1000),
        updated_at: order.last_modified,
    }
}

fn valid_identifier(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && !text.chars().any(|c| c.is_control() || c == '/' || c == '\\')
        && text != "."
        && text != ".."
}
