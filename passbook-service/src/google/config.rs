//! The settings under `wallet.google.*`.

use std::path::PathBuf;

use tidings_shared::config::Settings;

/// An issuer of Google Wallet.
#[derive(Clone, Debug)]
pub struct GoogleConfig {
    /// The issuer's id, from the Google Pay & Wallet Console.
    pub issuer_id: String,
    /// The key file of a service account that the console lists as a user of the issuer.
    pub service_account_file: PathBuf,
    /// The REST API.
    pub url: String,
    /// Where save links point.
    pub save_url: String,
    /// CA of the REST API, for simulators.
    pub ca_file: Option<PathBuf>,
    /// Domains of the pages that show the button.
    pub origins: Vec<String>,
    /// `DRAFT` or `UNDER_REVIEW`.
    pub review_status: String,
    /// The language of the default texts.
    pub language: String,
    /// Most notifications of a pass in 24 hours.
    pub notifications: usize,
    /// Most requests a second.
    pub per_second: u32,
}

impl GoogleConfig {
    /// What the settings say; `None`: there is no Google Wallet here.
    pub(crate) fn from_settings(settings: &Settings, faults: &mut Vec<String>) -> Option<Self> {
        let issuer_id = settings.optional_text("wallet.google.issuer_id");
        let file = settings.optional_path("wallet.google.service_account_file");
        let (issuer_id, service_account_file) = match (issuer_id, file) {
            (None, None) => return None,
            (Some(issuer_id), Some(file)) => (issuer_id, file),
            (Some(_), None) => {
                faults.push("wallet.google.service_account_file: unset; the Google Cloud console gives the key of a service account as JSON".to_owned());
                return None;
            }
            (None, Some(_)) => {
                faults.push("wallet.google.issuer_id: unset; the Google Pay & Wallet Console shows it".to_owned());
                return None;
            }
        };
        if !issuer_id.bytes().all(|byte| byte.is_ascii_digit()) {
            faults.push(format!("wallet.google.issuer_id: found `{issuer_id}`; an issuer's id is a number"));
        }
        let address = |name: &str| settings.text(name).trim_end_matches('/').to_owned();
        Some(Self {
            issuer_id,
            service_account_file,
            url: address("wallet.google.url"),
            save_url: address("wallet.google.save_url"),
            ca_file: settings.optional_path("wallet.google.ca_file"),
            origins: settings.texts("wallet.google.origins"),
            review_status: settings.text("wallet.google.review_status"),
            language: settings.text("wallet.google.language"),
            notifications: usize::try_from(settings.count("wallet.google.notifications")).unwrap_or(3),
            per_second: u32::try_from(settings.count("wallet.google.per_second")).unwrap_or(20),
        })
    }
}
