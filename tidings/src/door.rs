//! The HTTP doors of the services, as a client with a service key.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::Method;
use serde_json::Value;
use tidings_shared::config::Settings;

use crate::up::development;
use crate::up::wiring::reach;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the service is.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Where {
    /// The service's HTTP door (default: the one of the configuration).
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

/// Whose door it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// The push-gateway.
    Push,
    /// The passbook-service.
    Wallet,
}

impl Room {
    fn name(self) -> &'static str {
        match self {
            Self::Push => "push-gateway",
            Self::Wallet => "passbook-service",
        }
    }

    fn listen(self) -> &'static str {
        match self {
            Self::Push => "push.listen",
            Self::Wallet => "wallet.listen",
        }
    }

    /// The first segment of its addresses.
    fn prefix(self) -> &'static str {
        match self {
            Self::Push => "v1",
            Self::Wallet => "api",
        }
    }
}

/// What is sent with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body<'a> {
    /// Nothing.
    Empty,
    /// JSON.
    Json(&'a Value),
    /// Bytes of a media type.
    Bytes(&'a str, &'a [u8]),
}

/// Where a service is, and a service key that opens it.
pub(crate) struct Door {
    room: Room,
    url: String,
    key: String,
    client: reqwest::Client,
}

impl Door {
    /// The service of the configuration, or the one at the address; the key of the configuration, or the one that
    /// `tidings up` made.
    ///
    /// # Errors
    /// When no service key is known.
    pub(crate) fn new(settings: &Settings, room: Room, at: &Where) -> anyhow::Result<Self> {
        let configured = || format!("http://{}", reach(settings.address(room.listen())));
        let key = settings.texts("keys.service").into_iter().find(|key| !key.is_empty());
        let key = key.or_else(|| development::known_key(&settings.path("data"), "service"));
        let key = key.context(
            "no service key is known: set keys.service (TIDINGS_KEYS__SERVICE), or name the data folder of `tidings up` with --data",
        )?;
        let client = tidings_shared::http::client(settings.optional_path("auth.ca_file").as_deref())?;
        let url = at.url.as_ref().map_or_else(configured, |url| url.trim_end_matches('/').to_owned());
        Ok(Self { room, url, key, client })
    }

    /// One request that is taken. The path's parts are put into the address as they are.
    ///
    /// # Errors
    /// When nobody answers, or with a refusal.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
        idempotency_key: Option<&str>,
    ) -> anyhow::Result<Value> {
        let header = idempotency_key.map(|key| ("idempotency-key", key));
        let bytes = self.send(method, path, query, body.map_or(Body::Empty, Body::Json), header).await?;
        Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// A question without a body.
    ///
    /// # Errors
    /// When nobody answers, or with a refusal.
    pub(crate) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, query, None, None).await
    }

    /// One request that is taken, and the bytes of its answer.
    ///
    /// # Errors
    /// When nobody answers, or with a refusal.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Body<'_>,
        header: Option<(&str, &str)>,
    ) -> anyhow::Result<Vec<u8>> {
        let mut url = reqwest::Url::parse(&self.url).with_context(|| format!("\"{}\" is no address", self.url))?;
        match url.path_segments_mut() {
            Ok(mut segments) => drop(segments.pop_if_empty().push(self.room.prefix()).extend(path)),
            Err(()) => bail!("\"{}\" is no address of an HTTP door", self.url),
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url).bearer_auth(&self.key).timeout(PATIENCE);
        match body {
            Body::Empty => {}
            Body::Json(value) => request = request.header("content-type", "application/json").body(value.to_string()),
            Body::Bytes(kind, bytes) => request = request.header("content-type", kind).body(bytes.to_vec()),
        }
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let name = self.room.name();
        let unreachable = |error: reqwest::Error| {
            let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(" ({cause})"));
            anyhow::anyhow!("the {name} at {} cannot be reached: {}{cause}", self.url, error.without_url())
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(bytes.to_vec());
        }
        let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        match (value["error"]["code"].as_str(), value["error"]["message"].as_str()) {
            (Some(code), Some(message)) => bail!("the {name} refused ({code}): {message}"),
            _ => bail!("{} answered {status}; it is no {name} of Tidings", self.url),
        }
    }
}

/// What a command found out. It decides how the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ends with 0.
    Good,
    /// Ends with 1.
    Bad,
}

/// How a program ends after a command: 0 when all is well, 1 when it is not, 2 when that cannot be told.
pub(crate) fn end(verdict: anyhow::Result<Verdict>) -> std::process::ExitCode {
    match verdict {
        Ok(Verdict::Good) => std::process::ExitCode::SUCCESS,
        Ok(Verdict::Bad) => std::process::ExitCode::from(1),
        Err(error) => {
            let _ = tidings_shared::service::fail("tidings", &format!("{error:#}"));
            std::process::ExitCode::from(2)
        }
    }
}
