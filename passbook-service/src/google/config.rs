//! The settings under `wallet.google.*`.

use std::path::PathBuf;

use tidings_shared::config::{Kind, Setting, Settings};

/// The settings.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::optional(
        "wallet.google.issuer_id",
        Kind::Text,
        "Google Wallet: the issuer's id, from the Google Pay & Wallet Console. Unset: no Google Wallet.",
    ),
    Setting::optional(
        "wallet.google.service_account_file",
        Kind::Path,
        "Key file (JSON) of a service account that the console lists as a user of the issuer.",
    ),
    Setting::new("wallet.google.url", Kind::Url, super::DEFAULT_URL, "Google's REST API."),
    Setting::new("wallet.google.save_url", Kind::Url, "https://pay.google.com/gp/v/save", "Where save links point."),
    Setting::optional(
        "wallet.google.ca_file",
        Kind::Path,
        "PEM certificates to trust for wallet.google.url, besides the system's.",
    ),
    Setting::new(
        "wallet.google.origins",
        Kind::Texts,
        "",
        "Domains of your pages that show Google's script-made button; links need none.",
    ),
    Setting::new(
        "wallet.google.review_status",
        Kind::Choice(&["UNDER_REVIEW", "DRAFT"]),
        "UNDER_REVIEW",
        "Review status of the classes; of a DRAFT no object can be made.",
    ),
    Setting::new(
        "wallet.google.language",
        Kind::Text,
        "en",
        "Language of the default texts, where a template has it; else its first language.",
    ),
    Setting::new(
        "wallet.google.notifications",
        Kind::Count { min: 0, max: 3 },
        "3",
        "Most notifications of a pass within 24 hours; further messages are silent. Google allows 3.",
    ),
    Setting::new(
        "wallet.google.per_second",
        Kind::Count { min: 1, max: 1000 },
        "20",
        "Most requests to Google a second, of this process.",
    ),
];

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
