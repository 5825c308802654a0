//! Google Wallet: the same passes, from the same templates, on Android phones.
//!
//! A pass comes to Google Wallet by a save link ([`link`]); from then on the [`teller`] tells Google of every committed
//! change. The sequencer notes in the transaction that gives a change its tag what Google is to hear, so Google never
//! hears of a change that is not committed, and always hears of one that is. [`map`] makes Google's class and object of a rendered `pass.json`,
//! [`notice`] the messages about changes, `client` speaks the REST API. Settings: `wallet.google.*`.

mod client;
mod config;
pub mod link;
pub mod map;
mod metrics;
pub mod notice;
mod resource;
mod sent;
pub mod teller;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tidings_shared::auth::{AccessTokens, AccountSigner, ServiceAccount};
use tidings_shared::clock::Clock;
use tokio::sync::Notify;

pub use client::{Client, DEFAULT_URL, Reply};
pub use config::GoogleConfig;
pub(crate) use config::SETTINGS;
pub use link::{LinkError, SaveLink};
pub use map::{Languages, Mapped, Surroundings};
pub use metrics::GoogleMetrics;
pub use resource::Resource;
pub use sent::Sent;

use crate::package::{Kind, Template};
use crate::store::PassRow;
use crate::update::Passes;

/// What the access tokens allow.
pub const SCOPE: &str = "https://www.googleapis.com/auth/wallet_object.issuer";

/// A configured issuer of Google Wallet.
pub struct Google {
    /// What the settings say.
    pub config: GoogleConfig,
    /// The REST API.
    pub client: Client,
    /// Signs save links.
    signer: AccountSigner,
    /// The service account's address.
    email: String,
    /// There is something to tell.
    wake: Notify,
    metrics: GoogleMetrics,
}

/// A pass that Google Wallet cannot show.
#[derive(Debug, thiserror::Error)]
pub enum Unmappable {
    /// Its template is missing here.
    #[error("there is no template `{0}` any more")]
    NoTemplate(String),
    /// It is of a type without a certificate here, or an order.
    #[error("{0} is not a pass type that is served here")]
    NotServed(String),
    /// It breaks rules.
    #[error("the pass cannot be rendered: {0}")]
    Invalid(String),
}

impl Google {
    /// Reads the service account's key file.
    ///
    /// # Errors
    /// Names the setting, the file, and what is wrong with it.
    pub fn new(config: GoogleConfig, metrics: GoogleMetrics, clock: &Clock) -> anyhow::Result<Arc<Self>> {
        let place = |file: &Path| format!("wallet.google.service_account_file: {}", file.display());
        let file = &config.service_account_file;
        let json = std::fs::read(file).with_context(|| place(file))?;
        let account = ServiceAccount::parse(&json).with_context(|| place(file))?;
        let signer = account.signer().with_context(|| place(file))?;
        let email = account.email().to_owned();
        let http = tidings_shared::http::client(config.ca_file.as_deref()).context("wallet.google.ca_file")?;
        let access = AccessTokens::new(account, SCOPE, http.clone(), clock.clone()).with_context(|| place(file))?;
        let client = Client::new(http, Arc::new(access), &config.url, config.per_second);
        Ok(Arc::new(Self { config, client, signer, email, wake: Notify::new(), metrics }))
    }

    /// Google's class and object of a pass.
    ///
    /// # Errors
    /// See [`Unmappable`].
    pub fn map(&self, passes: &Passes, pass: &PassRow, now_ms: i64) -> Result<Mapped, Unmappable> {
        let template =
            passes.catalog().get(&pass.template).ok_or_else(|| Unmappable::NoTemplate(pass.template.clone()))?;
        let issuer = passes
            .issuers()
            .get(&pass.id.pass_type)
            .map(|builder| builder.issuer())
            .filter(|issuer| issuer.kind == Kind::Pass)
            .ok_or_else(|| Unmappable::NotServed(pass.id.pass_type.clone()))?;
        let json =
            template.preview_json(issuer, pass.content()).map_err(|faults| Unmappable::Invalid(faults.to_string()))?;
        let strings =
            template.languages().into_iter().map(|language| (language.clone(), template.strings_of(&language)));
        let around = Surroundings {
            issuer_id: &self.config.issuer_id,
            review_status: &self.config.review_status,
            template: &pass.template,
            languages: Languages::new(&self.config.language, strings.collect()),
            image: &|name| image_address(&issuer.web_service_url, &template, name),
            now_ms,
        };
        map::map(&json, &around).map_err(|why| Unmappable::Invalid(why.to_owned()))
    }
}

/// Where Google fetches an image of a template: below the public address, named by its content, so that it may be kept
/// for ever. `None`: the template has no such image.
#[must_use]
pub fn image_address(public_url: &str, template: &Template, name: &str) -> Option<String> {
    let (_, sha1) = template.file(name)?;
    Some(format!("{public_url}/get/image/{}/{sha1}.png", crate::web::encode(&template.name)))
}
