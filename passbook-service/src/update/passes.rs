//! Making, changing and deleting passes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use tidings_shared::clock::Clock;

use super::change::{ChangeError, Changed, Create, Created, Draft, Patch, Prepared};
use super::sequencer::TagWaiter;
use crate::catalog::Catalog;
use crate::metrics::Metrics;
use crate::package::{
    Builder, ChangeMessage, Issuers, Kind, PassContent, PassState, Template, change_messages, valid_field_name,
};
use crate::store::{NewPass, PassId, PassRow, PassUpdate, Store, Stored, Version};
use crate::token::{self, TokenMaker};

/// Most former versions of templates that are kept at hand.
const MOST_FORMER: usize = 8;

/// The passes of all types that are signed here.
pub struct Passes {
    store: Store,
    issuers: Issuers,
    catalog: Catalog,
    tokens: TokenMaker,
    waiter: TagWaiter,
    metrics: Metrics,
    clock: Clock,
    /// How many former versions of each pass are kept; 0: none.
    history: i64,
    /// Former versions of templates that passes still need.
    former: Mutex<HashMap<(String, i64), Arc<Template>>>,
    /// When this process started, ms since 1970.
    started_at: i64,
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
        let started_at = clock.now_ms();
        let former = Mutex::default();
        Self { store, issuers, catalog, tokens, waiter, metrics, clock, history: 50, former, started_at }
    }

    /// How many former versions of each pass are kept (50, unless told otherwise); 0: none.
    #[must_use]
    pub fn with_history(mut self, history: i64) -> Self {
        self.history = history;
        self
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
    pub async fn create(&self, create: Create) -> Result<Created, ChangeError> {
        self.known_template(&create.template).await?;
        let prepared = self.prepare(create)?;
        let made = self.tokens.make(&prepared.id.pass_type, &prepared.id.serial)?;
        let id = prepared.id.clone();
        let pass = NewPass {
            id: prepared.id,
            template: prepared.template,
            fields: prepared.fields,
            user_info: prepared.user_info,
            state: prepared.state,
            token_hash: token::hash(&made.token),
            token_nonce: made.nonce,
            basis: prepared.basis,
            fingerprint: prepared.fingerprint,
        };
        if !self.store.insert_pass(&pass, self.clock.now_ms()).await? {
            return Err(ChangeError::Exists);
        }
        self.metrics.passes_created.inc();
        Ok(Created { id, token: made.token })
    }

    /// Everything of a new pass but its token: checked and rendered, not stored.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn prepare(&self, create: Create) -> Result<Prepared, ChangeError> {
        self.prepare_with(create, valid_serial)
    }

    /// As [`Self::prepare`], for a pass of another provider: its serial number may have `/` and `\`, which addresses carry
    /// percent-encoded.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn prepare_imported(&self, create: Create) -> Result<Prepared, ChangeError> {
        self.prepare_with(create, |serial| valid_serial(&serial.replace(['/', '\\'], "_")))
    }

    fn prepare_with(&self, mut create: Create, valid: impl Fn(&str) -> bool) -> Result<Prepared, ChangeError> {
        let template = self.template(&create.template)?;
        let builder = match &create.pass_type {
            Some(pass_type) => self.builder(pass_type)?,
            None => self.issuers.of_template(&template),
        };
        let serial = match create.serial {
            Some(serial) if valid(&serial) => serial,
            Some(_) => return Err(ChangeError::BadSerial),
            None => token::random_hex::<16>()?,
        };
        create.fields.retain(|_, value| !value.is_null());
        check_fields(&template, create.fields.keys())?;
        let user_info = create.user_info.filter(|value| !value.is_null());
        let state = PassState { expires: create.expires, ..PassState::NONE };
        let content =
            PassContent { serial: &serial, fields: &create.fields, user_info: user_info.as_ref(), state: &state };
        let fingerprint = builder.fingerprint(&template, content).map_err(ChangeError::Invalid)?;
        Ok(Prepared {
            id: PassId { pass_type: builder.issuer().pass_type.clone(), serial },
            template: create.template,
            fields: create.fields,
            user_info,
            state,
            basis: template.basis(builder.issuer()),
            fingerprint,
        })
    }

    /// Changes a pass and waits, for a while, until the change has its tag.
    ///
    /// # Errors
    /// See [`ChangeError`]; the pass is as it was then.
    pub async fn patch(&self, id: &PassId, patch: Patch) -> Result<Changed, ChangeError> {
        let before = std::sync::Mutex::new(None);
        let stored = self
            .update(id, |pass| {
                *before.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(pass.clone());
                patch.applied(pass)
            })
            .await?;
        let before = before.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let messages = match before.filter(|_| stored.change.is_some()) {
            Some(before) => self.messages(&before.into(), &stored.pass.clone().into(), id).unwrap_or_default(),
            None => Vec::new(),
        };
        let tag = match &stored.change {
            Some(change) => self.waiter.wait(&self.store, id, change).await?,
            None => Some(self.store.tag_of(id).await?),
        };
        Ok(Changed { changed: stored.change.is_some(), pass: stored.pass, tag, messages })
    }

    /// Changes a pass, and neither waits for the tag nor works out what phones will show.
    ///
    /// # Errors
    /// See [`ChangeError`]; the pass is as it was then.
    pub async fn patch_and_go(&self, id: &PassId, patch: &Patch) -> Result<Stored, ChangeError> {
        self.update(id, |pass| patch.applied(pass)).await
    }

    /// What a change would do: whether anything changes, and what phones would show.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn rehearse(&self, pass: &PassRow, patch: &Patch) -> Result<(bool, Vec<ChangeMessage>), ChangeError> {
        let draft = patch.applied(pass);
        let update = self.decide(pass, self.builder(&pass.id.pass_type)?, draft)?;
        let Some(update) = update.filter(|update| update.fingerprint != pass.fingerprint) else {
            return Ok((false, Vec::new()));
        };
        let after = PassRow { fields: update.fields, user_info: update.user_info, state: update.state, ..pass.clone() };
        let messages = self.messages(&pass.clone().into(), &after.into(), &pass.id)?;
        Ok((true, messages))
    }

    /// `pass.json` of a version, with a stand-in for its token, as the present template renders it.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn rendered(&self, version: &Version, id: &PassId) -> Result<Value, ChangeError> {
        self.rendered_with(&*self.template(&version.template)?, version, id)
    }

    /// As [`Self::rendered`], with a template that is at hand.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn rendered_with(&self, template: &Template, version: &Version, id: &PassId) -> Result<Value, ChangeError> {
        let content = PassContent {
            serial: &id.serial,
            fields: &version.fields,
            user_info: version.user_info.as_ref(),
            state: &version.state,
        };
        template.preview_json(self.builder(&id.pass_type)?.issuer(), content).map_err(ChangeError::Invalid)
    }

    /// Renders a pass anew when its template or the service's address has changed since: that is a change like any
    /// other, listed and pushed. What another process made of it since this one started is left alone: its template is the
    /// newer one, and two processes that took turns at it would push for ever.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn refresh(&self, pass: PassRow) -> Result<PassRow, ChangeError> {
        let template = self.known_template(&pass.template).await?;
        // Uploaded templates say themselves which one is newer.
        if Template::revision_of(&pass.basis) == template.revision && pass.updated_at > self.started_at {
            return Ok(pass);
        }
        self.renew(pass).await
    }

    /// The same, whoever made it what it is: after a start the newest process has the last word.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn renew(&self, pass: PassRow) -> Result<PassRow, ChangeError> {
        let template = self.known_template(&pass.template).await?;
        if pass.basis == template.basis(self.builder(&pass.id.pass_type)?.issuer()) {
            return Ok(pass);
        }
        Ok(self.update(&pass.id, Draft::of).await?.pass)
    }

    /// When this process started, ms since 1970.
    #[must_use]
    pub(crate) fn started_at(&self) -> i64 {
        self.started_at
    }

    /// As [`Self::refresh`], for somebody who waits for the pass: where the present template cannot render it, the pass
    /// stays as it was made, and [`Self::template_of`] has what it was made with.
    ///
    /// # Errors
    /// [`ChangeError::NoPass`], a type that is not signed here, or a failing database.
    pub async fn refresh_or_keep(&self, pass: PassRow) -> Result<PassRow, ChangeError> {
        let kept = pass.clone();
        match self.refresh(pass).await {
            Err(
                error @ (ChangeError::Invalid(_)
                | ChangeError::NoTemplate(..)
                | ChangeError::Stale(_)
                | ChangeError::UnknownFields(..)),
            ) => {
                tracing::warn!(%error, template = kept.template, "a pass stays as it was: its present template cannot render it; give new placeholders a default");
                Ok(kept)
            }
            other => other,
        }
    }

    /// The template that a pass was made with: the present version, unless the pass could not follow to it.
    ///
    /// # Errors
    /// [`ChangeError::NoTemplate`] or a failing database.
    pub async fn template_of(&self, pass: &PassRow) -> Result<Arc<Template>, ChangeError> {
        let revision = Template::revision_of(&pass.basis);
        let present = self.catalog.get(&pass.template);
        if let Some(present) = present.as_ref().filter(|present| revision == 0 || present.revision == revision) {
            return Ok(present.clone());
        }
        let key = (pass.template.clone(), revision);
        let known = self.former.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        if let Some(files) = self.store.template_files(&pass.template, revision).await?
            && let Ok(mut template) = Template::from_files(&pass.template, files)
        {
            template.revision = revision;
            let template = Arc::new(template);
            let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
            if former.len() >= MOST_FORMER {
                former.clear();
            }
            former.insert(key, template.clone());
            return Ok(template);
        }
        present.map_or_else(|| self.template(&pass.template), Ok)
    }

    /// Whether a pass asks its holder to sign up, and nobody has.
    #[must_use]
    pub fn asks_to_sign_up(&self, pass: &PassRow) -> bool {
        !pass.state.personalized && self.catalog.get(&pass.template).is_some_and(|template| template.asks_to_sign_up())
    }

    /// Notes that the holder has signed up: a new version of the pass no longer asks for it, and shows what they gave
    /// where the template has placeholders of those names.
    ///
    /// # Errors
    /// See [`ChangeError`]; the pass is as it was then.
    pub async fn sign_up(&self, id: &PassId, info: &Map<String, Value>) -> Result<(), ChangeError> {
        let stored = self.update(id, |pass| {
            let mut draft = Draft::of(pass);
            draft.state.personalized = true;
            if let Some(template) = self.catalog.get(&pass.template) {
                let known = info.iter().filter(|(name, value)| template.fields.contains(*name) && value.is_string());
                draft.fields.extend(known.map(|(name, value)| (name.clone(), value.clone())));
            }
            draft
        });
        stored.await.map(drop)
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

    /// Whether tokens are random: only their hashes are kept then.
    #[must_use]
    pub fn holds_hashes_only(&self) -> bool {
        self.tokens.are_random()
    }

    /// Makes tokens.
    pub(crate) fn tokens(&self) -> &TokenMaker {
        &self.tokens
    }

    /// Wakes the sequencer and waits for tags.
    pub(crate) fn waiter(&self) -> &TagWaiter {
        &self.waiter
    }

    /// Signs passes of this type.
    ///
    /// # Errors
    /// [`ChangeError::OtherPassType`].
    pub fn builder(&self, pass_type: &str) -> Result<&Arc<Builder>, ChangeError> {
        let ours = self.issuers.get(pass_type).filter(|builder| builder.issuer().kind == Kind::Pass);
        ours.ok_or_else(|| ChangeError::OtherPassType(self.issuers.types()))
    }

    /// A template.
    ///
    /// # Errors
    /// [`ChangeError::NoTemplate`] names those that there are.
    pub fn template(&self, name: &str) -> Result<Arc<Template>, ChangeError> {
        self.catalog.get(name).ok_or_else(|| ChangeError::NoTemplate(name.to_owned(), self.catalog.names().join(", ")))
    }

    /// A template; one that is not known is looked for in the database once more: another process may have got it.
    async fn known_template(&self, name: &str) -> Result<Arc<Template>, ChangeError> {
        match self.template(name) {
            Err(ChangeError::NoTemplate(..)) => {
                self.catalog.reload(&self.store, &self.issuers).await?;
                self.template(name)
            }
            other => other,
        }
    }

    fn messages(&self, old: &Version, new: &Version, id: &PassId) -> Result<Vec<ChangeMessage>, ChangeError> {
        let template = self.template(&new.template)?;
        if !template.tells_changes() {
            return Ok(Vec::new());
        }
        let strings = template.default_strings();
        Ok(change_messages(&self.rendered(old, id)?, &self.rendered(new, id)?, &strings))
    }

    async fn update(&self, id: &PassId, draft: impl Fn(&PassRow) -> Draft) -> Result<Stored, ChangeError> {
        let stored = match self.attempt(id, &draft).await {
            // Another process has a newer template: it is read, and that is all it takes.
            Err(ChangeError::Stale(_) | ChangeError::NoTemplate(..)) => {
                self.catalog.reload(&self.store, &self.issuers).await?;
                self.attempt(id, &draft).await?
            }
            other => other?,
        };
        if stored.change.is_some() {
            self.metrics.changes.inc();
            self.waiter.wake();
        } else {
            self.metrics.no_ops.inc();
        }
        Ok(stored)
    }

    async fn attempt(&self, id: &PassId, draft: &impl Fn(&PassRow) -> Draft) -> Result<Stored, ChangeError> {
        let builder = self.builder(&id.pass_type)?;
        let decided = self.store.update_pass(id, self.clock.now_ms(), |pass| self.decide(pass, builder, draft(pass)));
        decided.await?.ok_or(ChangeError::NoPass)?
    }

    /// What becomes of a pass; `None`: it stays as it is.
    fn decide(&self, pass: &PassRow, builder: &Builder, draft: Draft) -> Result<Option<PassUpdate>, ChangeError> {
        let template = self.template(&pass.template)?;
        // A template of the folder has no revision: it takes the place of an uploaded one of its name.
        if template.revision > 0 && Template::revision_of(&pass.basis) > template.revision {
            return Err(ChangeError::Stale(pass.template.clone()));
        }
        let Draft { fields, user_info, state } = draft;
        // A field that an older template had may stay; a new one must be known.
        check_fields(&template, fields.keys().filter(|name| !pass.fields.contains_key(*name)))?;
        let content =
            PassContent { serial: &pass.id.serial, fields: &fields, user_info: user_info.as_ref(), state: &state };
        let fingerprint = builder.fingerprint(&template, content).map_err(ChangeError::Invalid)?;
        let basis = template.basis(builder.issuer());
        let same = fields == pass.fields
            && user_info == pass.user_info
            && state == pass.state
            && basis == pass.basis
            && fingerprint == pass.fingerprint;
        Ok((!same).then_some(PassUpdate { fields, user_info, state, basis, fingerprint, keep: self.history }))
    }
}

fn check_fields<'a>(template: &Template, names: impl Iterator<Item = &'a String>) -> Result<(), ChangeError> {
    let unknown: Vec<_> = names
        .filter(|name| !template.fields.contains(*name))
        .map(|name| if valid_field_name(name) { name.clone() } else { format!("{name:?}") })
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
