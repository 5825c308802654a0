//! The broker's admin door, as a client.

use std::time::Duration;

use serde_json::Value;
use tidings_shared::config::Settings;

use crate::up::development;
use crate::up::wiring::reach;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the broker is, and the key that opens its admin door.
pub(super) struct Admin {
    pub(super) url: String,
    key: Option<String>,
    client: reqwest::Client,
}

/// Why there was no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// No key is known.
    NoKey,
    /// Nobody is there.
    Unreachable(String),
    /// The broker refused: its code and its words.
    Refused(String, String),
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoKey => f.write_str("no admin key is known: set keys.admin (TIDINGS_KEYS__ADMIN), or name the data folder of `tidings up` with --data"),
            Self::Unreachable(why) => write!(f, "the broker cannot be reached: {why}"),
            Self::Refused(code, message) => write!(f, "the broker refused ({code}): {message}"),
        }
    }
}

impl Admin {
    /// The broker of the configuration, or the one at `url`; the key of the configuration, or the one that `tidings up` made.
    pub(super) fn new(settings: &Settings, url: Option<&str>) -> anyhow::Result<Self> {
        let configured = format!("http://{}", reach(settings.address("broker.http.listen")));
        let key = settings.texts("keys.admin").into_iter().find(|key| !key.is_empty());
        let key = key.or_else(|| development::known_key(&settings.path("data"), "admin"));
        let client = tidings_shared::http::client(settings.optional_path("auth.ca_file").as_deref())?;
        Ok(Self { url: url.map_or(configured, |url| url.trim_end_matches('/').to_owned()), key, client })
    }

    /// One request. The body and the answer are JSON; an answer without a body is `null`.
    pub(super) async fn ask(
        &self,
        method: reqwest::Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, NoAnswer> {
        let Some(key) = &self.key else { return Err(NoAnswer::NoKey) };
        let unreachable = |error: reqwest::Error| {
            let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(" ({cause})"));
            NoAnswer::Unreachable(format!("{}{cause}", error.without_url()))
        };
        let mut url = reqwest::Url::parse(&self.url).map_err(|error| NoAnswer::Unreachable(error.to_string()))?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["v1", "admin"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url).bearer_auth(key).timeout(PATIENCE);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(unreachable)?;
        let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let text = |name: &str| value["error"][name].as_str().map(str::to_owned);
        let code = text("code").unwrap_or_else(|| status.to_string());
        Err(NoAnswer::Refused(code, text("message").unwrap_or_else(|| "it is no broker of Tidings".to_owned())))
    }
}
