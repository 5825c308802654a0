//! Making, changing and deleting passes.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidings_shared::clock::Clock;
use tidings_shared::storage::StorageError;

use super::sequencer::TagWaiter;
use crate::catalog::Catalog;
use crate::metrics::Metrics;
use crate::package::{Builder, Faults, Issuers, Kind, PassContent, Template, valid_field_name};
use crate::store::{NewPass, PassId, PassRow, PassUpdate, Store, Stored};
use crate::token::{self, TokenMaker};

/// A change that was refused.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no pass of that name.
    #[error("there is no such pass")]
    NoPass,
    /// There is one already.
    #[error("there is a pass with this serial number already")]
    Exists,
    /// There is no template of that name.
    #[error("there is no template `{0}`; there are: {1}")]
    NoTemplate(String, String),
    /// The serial number cannot be one.
    #[error("a serial number has 1 to 255 bytes, no control characters, no slashes, and is neither `.` nor `..`")]
    BadSerial,
    /// Fields that no placeholder names.
    #[error("the template has no {{{{placeholder}}}} for: {0}; it has: {1}")]
    UnknownFields(String, String),
    /// The pass would break Apple's rules.
    #[error("the pass would break Apple's rules:\n{0}")]
    Invalid(Faults),
    /// This process has no certificate for the pass type.
    #[error("this service has no certificate for this pass type; it signs {0}")]
    OtherPassType(String),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Something else failed.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

/// A pass to be made.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreatePass)]
pub struct Create {
    /// The template's name.
    pub template: String,
    /// Pass type identifier; absent: the template's if it names one that is served, else the first configured one.
    #[serde(default, rename = "passType")]
    pub pass_type: Option<String>,
    /// The serial number; made when absent.
    #[serde(default)]
    pub serial: Option<String>,
    /// Values of the placeholders; null is the same as absent.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    pub fields: Map<String, Value>,
    /// `userInfo` of the pass, for the app that belongs to it.
    #[serde(default, rename = "userInfo")]
    pub user_info: Option<Value>,
}

/// A change of a pass.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PatchPass)]
pub struct Patch {
    /// Merged into the pass's fields; null takes a field away.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    pub fields: Map<String, Value>,
    /// Replaces `userInfo` when present; null takes it away.
    #[serde(default, rename = "userInfo", deserialize_with = "present")]
    pub user_info: Option<Value>,
}

/// Keeps `null` apart from absence.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    serde::Deserialize::deserialize(deserializer).map(Some)
}

/// A pass that was made.
pub struct Created {
    /// Its name.
    pub id: PassId,
    /// Its token, shown this once.
    pub token: String,
}

/// What a change did.
pub struct Changed {
    /// The pass after it.
    pub pass: PassRow,
    /// Whether anything changed at all.
    pub changed: bool,
    /// The tag under which devices see it; `None`: it is committed, and the tag is not given yet.
    pub tag: Option<i64>,
}

/// The passes of all types that are signed here.
pub struct Passes {
    store: Store,
    issuers: Issuers,
    catalog: Catalog,
    tokens: TokenMaker,
    waiter: TagWaiter,
    metrics: Metrics,
    clock: Clock,
}

impl Passes {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        store: Store,
        issuers: Issuers,
        catalog: Catalog,
        tokens: TokenMaker,
        waiter: TagWaiter,
        metrics: Metrics,
        clock: Clock,
    ) -> Self {
        Self { store, issuers, catalog, tokens, waiter, metrics, clock }
    }

    /// The types that are signed here.
    #[must_use]
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// The templates.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Makes a pass.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn create(&self, mut create: Create) -> Result<Created, ChangeError> {
        let template = self.template(&create.template)?;
        let builder = match &create.pass_type {
            Some(pass_type) => self.builder(pass_type)?,
            None => self.issuers.of_template(template),
        };
        let serial = match create.serial {
            Some(serial) if valid_serial(&serial) => serial,
            Some(_) => return Err(ChangeError::BadSerial),
            None => token::random_hex::<16>()?,
        };
        create.fields.retain(|_, value| !value.is_null());
        check_fields(template, &create.fields)?;
        let user_info = create.user_info.filter(|value| !value.is_null());
        let content = PassContent { serial: &serial, fields: &create.fields, user_info: user_info.as_ref() };
        let fingerprint = builder.fingerprint(template, content).map_err(ChangeError::Invalid)?;
        let pass_type = builder.issuer().pass_type.clone();
        let made = self.tokens.make(&pass_type, &serial)?;
        let id = PassId { pass_type, serial };
        let pass = NewPass {
            id: id.clone(),
            template: create.template,
            fields: create.fields,
            user_info,
            token_hash: token::hash(&made.token),
            token_nonce: made.nonce,
            basis: template.basis(builder.issuer()),
            fingerprint,
        };
        if !self.store.insert_pass(&pass, self.clock.now_ms()).await? {
            return Err(ChangeError::Exists);
        }
        self.metrics.passes_created.inc();
        Ok(Created { id, token: made.token })
    }

    /// Changes a pass and waits, for a while, until the change has its tag.
    ///
    /// # Errors
    /// See [`ChangeError`]; the pass is as it was then.
    pub async fn patch(&self, id: &PassId, patch: Patch) -> Result<Changed, ChangeError> {
        let stored = self
            .update(id, |pass| {
                let mut fields = pass.fields.clone();
                for (name, value) in patch.fields {
                    if value.is_null() {
                        fields.shift_remove(&name);
                    } else {
                        fields.insert(name, value);
                    }
                }
                let user_info = match patch.user_info {
                    Some(Value::Null) => None,
                    Some(value) => Some(value),
                    None => pass.user_info.clone(),
                };
                (fields, user_info)
            })
            .await?;
        let tag = match &stored.change {
            Some(change) if !self.waiter.wait(&self.store, change).await? => None,
            _ => Some(self.store.tag_of(id).await?),
        };
        Ok(Changed { changed: stored.change.is_some(), pass: stored.pass, tag })
    }

    /// Renders a pass anew when its template or the service's address has changed since: that is a change like any
    /// other, listed and pushed.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn refresh(&self, pass: PassRow) -> Result<PassRow, ChangeError> {
        let template = self.template(&pass.template)?;
        if pass.basis == template.basis(self.builder(&pass.id.pass_type)?.issuer()) {
            return Ok(pass);
        }
        Ok(self.update(&pass.id, |pass| (pass.fields.clone(), pass.user_info.clone())).await?.pass)
    }

    /// Deletes a pass: devices that still have it are answered like strangers.
    ///
    /// # Errors
    /// [`ChangeError::NoPass`] or a failing database.
    pub async fn delete(&self, id: &PassId) -> Result<(), ChangeError> {
        if self.store.delete_pass(id).await? { Ok(()) } else { Err(ChangeError::NoPass) }
    }

    /// The pass's token, if it can be derived.
    #[must_use]
    pub fn token_of(&self, pass: &PassRow) -> Option<String> {
        let token = self.tokens.derive(&pass.id.pass_type, &pass.id.serial, pass.token_nonce.as_deref()?)?;
        token::fits(&token, Some((pass.token_algorithm, &pass.token_hash))).then_some(token)
    }

    async fn update(
        &self,
        id: &PassId,
        decide: impl FnOnce(&PassRow) -> (Map<String, Value>, Option<Value>),
    ) -> Result<Stored, ChangeError> {
        let builder = self.builder(&id.pass_type)?;
        let decided = self.store.update_pass(id, self.clock.now_ms(), |pass| {
            let (fields, user_info) = decide(pass);
            let template = self.template(&pass.template)?;
            if fields != pass.fields {
                check_fields(template, &fields)?;
            }
            let content = PassContent { serial: &pass.id.serial, fields: &fields, user_info: user_info.as_ref() };
            let fingerprint = builder.fingerprint(template, content).map_err(ChangeError::Invalid)?;
            let basis = template.basis(builder.issuer());
            let same = fields == pass.fields
                && user_info == pass.user_info
                && basis == pass.basis
                && fingerprint == pass.fingerprint;
            Ok::<_, ChangeError>((!same).then_some(PassUpdate { fields, user_info, basis, fingerprint }))
        });
        let stored: Stored = decided.await?.ok_or(ChangeError::NoPass)??;
        if stored.change.is_some() {
            self.metrics.changes.inc();
            self.waiter.wake();
        } else {
            self.metrics.no_ops.inc();
        }
        Ok(stored)
    }

    /// Signs passes of this type.
    fn builder(&self, pass_type: &str) -> Result<&Arc<Builder>, ChangeError> {
        let ours = self.issuers.get(pass_type).filter(|builder| builder.issuer().kind == Kind::Pass);
        ours.ok_or_else(|| ChangeError::OtherPassType(self.issuers.types()))
    }

    fn template(&self, name: &str) -> Result<&Arc<Template>, ChangeError> {
        self.catalog.get(name).ok_or_else(|| ChangeError::NoTemplate(name.to_owned(), self.catalog.names().join(", ")))
    }
}

fn check_fields(template: &Template, fields: &Map<String, Value>) -> Result<(), ChangeError> {
    let unknown: Vec<_> = template
        .unknown_fields(fields)
        .into_iter()
        .map(|name| if valid_field_name(&name) { name } else { format!("{name:?}") })
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let known: Vec<_> = template.fields.iter().map(String::as_str).collect();
    Err(ChangeError::UnknownFields(unknown.join(", "), known.join(", ")))
}

fn valid_serial(serial: &str) -> bool {
    (1..=255).contains(&serial.len())
        && !serial.chars().any(|c| c.is_control() || c == '/' || c == '\\')
        && serial != "."
        && serial != ".."
}
