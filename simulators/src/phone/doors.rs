//! What a phone does over HTTP: fetching its messages from the broker, and registering its push token.

use anyhow::{Context, bail};
use base64::Engine as _;
use bytes::Bytes;
use http::StatusCode;
use http::header::{ETAG, IF_NONE_MATCH};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;
use std::sync::PoisonError;
use std::time::Duration;
use tidings_shared::push_api::{Environment, RegisterDevice};
use tidings_shared::topic::names;

use super::timeline::{Door, Event, Received};
use super::{Phone, Timeline};

#[derive(Deserialize)]
struct Answer {
    messages: Vec<Message>,
    #[serde(default = "yes")]
    recovered: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Message {
    topic: String,
    payload: Option<String>,
    payload_base64: Option<String>,
    #[serde(rename = "message-id")]
    message_id: Option<String>,
    cursor: Option<String>,
}

/// What one request to the HTTP door brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The messages, in order; empty when the wait ended without one.
    pub messages: Vec<Received>,
    /// False when the broker could not give everything since the last cursor.
    pub recovered: bool,
}

impl Phone {
    /// Asks the broker's HTTP door (for example `http://127.0.0.1:8080`) for what came after the last fetch, which
    /// this acknowledges; waits up to `wait` for the first message.
    ///
    /// # Errors
    /// When the door cannot be reached or refuses.
    pub async fn fetch(&self, client: &reqwest::Client, url: &str, wait: Duration) -> anyhow::Result<Fetched> {
        let device = utf8_percent_encode(&self.config.client, NON_ALPHANUMERIC);
        let url = format!("{url}/v1/messages?client={device}&wait={}ms", wait.as_millis());
        let mut request = client.get(&url).bearer_auth(&self.config.token).timeout(wait + Duration::from_secs(10));
        let cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(cursor) = cursor {
            request = request.header(IF_NONE_MATCH, cursor);
        }
        let response = request.send().await.with_context(|| format!("{url} cannot be reached"))?;
        match response.status() {
            StatusCode::NOT_MODIFIED => return Ok(Fetched { messages: Vec::new(), recovered: true }),
            StatusCode::OK => {}
            status => bail!("{url} answered {status}: {}", response.text().await.unwrap_or_default()),
        }
        let cursor = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let answer: Answer = response.json().await.with_context(|| format!("{url} did not answer as it should"))?;
        if cursor.is_some() {
            *self.cursor.lock().unwrap_or_else(PoisonError::into_inner) = cursor;
        }
        let messages = answer.messages.into_iter().map(received).collect::<anyhow::Result<Vec<_>>>()?;
        record(&self.timeline, &messages);
        Ok(Fetched { messages, recovered: answer.recovered })
    }

    /// Registers its push token at the push-gateway (for example `http://127.0.0.1:8081`) under its client id.
    ///
    /// # Errors
    /// When the gateway cannot be reached or refuses.
    pub async fn register_push_token(&self, client: &reqwest::Client, url: &str, app: &str) -> anyhow::Result<()> {
        let device = utf8_percent_encode(&self.config.client, NON_ALPHANUMERIC);
        let url = format!("{url}/v1/devices/{device}");
        let body = RegisterDevice {
            user: None,
            provider: self.config.push_provider,
            app: app.to_owned(),
            token: self.push_token.clone(),
            environment: Environment::Production,
            client: Some(self.config.client.clone()),
            locale: None,
            time_zone: None,
            version: None,
            tags: None,
        };
        let request = client.put(&url).bearer_auth(&self.config.token).json(&body);
        let response = request.send().await.with_context(|| format!("{url} cannot be reached"))?;
        let status = response.status();
        if !status.is_success() {
            bail!("{url} answered {status}: {}", response.text().await.unwrap_or_default());
        }
        Ok(())
    }

    /// Registers its push token over MQTT; the handlers pass it on. Returns when the broker has the message.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn register_push_token_over_mqtt(&self, app: &str) -> anyhow::Result<()> {
        let provider = self.config.push_provider.as_str();
        let body = json!({ "provider": provider, "app": app, "token": self.push_token, "device": self.config.client });
        self.publish(names::REGISTER_PUSH_TOKEN, body.to_string()).await
    }
}

fn received(message: Message) -> anyhow::Result<Received> {
    let payload = match (message.payload, message.payload_base64) {
        (Some(text), _) => Bytes::from(text),
        (None, Some(base64)) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(base64);
            bytes.context("payload_base64 is no base64")?.into()
        }
        (None, None) => Bytes::new(),
    };
    Ok(Received {
        topic: message.topic,
        payload,
        cursor: message.cursor,
        message_id: message.message_id,
        dup: false,
        retain: false,
        door: Door::Http,
    })
}

fn record(timeline: &Timeline, messages: &[Received]) {
    for message in messages {
        timeline.add(Event::Received(message.clone()));
    }
}
