//! The push-gateway's HTTP door, as a client.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::Value;
use tidings_shared::config::Settings;

use super::arguments::Where;
use crate::up::development;
use crate::up::wiring::reach;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the gateway is, and a service key that opens it.
pub(super) struct Door {
    url: String,
    key: String,
    client: reqwest::Client,
}

impl Door {
    /// The gateway of the configuration, or the one at the address; the key of the configuration, or the one that `tidings up`
    /// made.
    pub(super) fn new(settings: &Settings, at: &Where) -> anyhow::Result<Self> {
        let configured = || format!("http://{}", reach(settings.address("push.listen")));
        let key = settings.texts("keys.service").into_iter().find(|key| !key.is_empty());
        let key = key.or_else(|| development::known_key(&settings.path("data"), "service"));
        let key = key.context(
            "no service key is known: set keys.service (TIDINGS_KEYS__SERVICE), or name the data folder of `tidings up` with --data",
        )?;
        let client = tidings_shared::http::client(settings.optional_path("auth.ca_file").as_deref())?;
        let url = at.url.as_ref().map_or_else(configured, |url| url.trim_end_matches('/').to_owned());
        Ok(Self { url, key, client })
    }

    /// One request that is taken. The path's parts are put into the address as they are.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
        idempotency_key: Option<&str>,
    ) -> anyhow::Result<Value> {
        let mut url = reqwest::Url::parse(&self.url).with_context(|| format!("\"{}\" is no address", self.url))?;
        match url.path_segments_mut() {
            Ok(mut segments) => drop(segments.pop_if_empty().push("v1").extend(path)),
            Err(()) => bail!("\"{}\" is no address of an HTTP door", self.url),
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url).bearer_auth(&self.key).timeout(PATIENCE);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let unreachable = |error: reqwest::Error| {
            let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(" ({cause})"));
            anyhow::anyhow!("the push-gateway at {} cannot be reached: {}{cause}", self.url, error.without_url())
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(unreachable)?;
        let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        match (value["error"]["code"].as_str(), value["error"]["message"].as_str()) {
            (Some(code), Some(message)) => bail!("the push-gateway refused ({code}): {message}"),
            _ => bail!("{} answered {status}; it is no push-gateway of Tidings", self.url),
        }
    }

    /// A question without a body.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, query, None, None).await
    }
}
