//! `register_push_token` and `unregister_push_token`: for devices that speak MQTT only, in place of the push-gateway's
//! `PUT` and `DELETE /v1/devices/{device}`.
//!
//! Payload of `register_push_token`: `{"provider":"apns","token":"…","app":"default","environment":"production",
//! "device":"my-phone"}`. `provider` is `apns` or `fcm`; `app`, `environment` (APNs only) and `device` may be missing;
//! the device is then named by its MQTT client id. Payload of `unregister_push_token`: `{"device":"my-phone"}`, or
//! nothing.
//!
//! Whose device it is, is the sender's stamp, never the payload. A gateway that is away is waited for. What it refuses
//! is published to `<user>_push_token_error` with the gateway's own code and message, or `payload_invalid`:
//! `{"error":{"code":"…","message":"…"},"topic":"register_push_token","device":"my-phone","message_id":"…"}`.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use tidings_shared::identity::UserId;
use tidings_shared::push_api::{Environment, Provider, RegisterDevice, default_app};
use tidings_shared::topic::names;

use crate::runtime::{HandlerError, Outgoing, Request, Router, Sender, State};

/// The push-gateway, as these handlers use it.
#[derive(Clone)]
pub struct Gateway {
    /// Its address, without a slash at the end.
    pub url: String,
    /// Service keys; when one is refused the next is tried, so that keys can rotate.
    pub keys: Vec<String>,
    /// The HTTP client.
    pub http: reqwest::Client,
}

/// The routes of this room.
#[must_use]
pub fn router() -> Router<Gateway> {
    Router::new()
        .topic(names::REGISTER_PUSH_TOKEN, register_push_token)
        .topic(names::UNREGISTER_PUSH_TOKEN, unregister_push_token)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    provider: Provider,
    token: String,
    #[serde(default = "default_app")]
    app: String,
    #[serde(default)]
    environment: Environment,
    device: Option<String>,
    locale: Option<String>,
    time_zone: Option<String>,
    version: Option<String>,
    tags: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unregister {
    device: Option<String>,
}

async fn register_push_token(
    sender: Sender,
    request: Request,
    State(gateway): State<Gateway>,
) -> Result<(), HandlerError> {
    let payload = &request.message().payload;
    let wish: Register = serde_json::from_slice(payload).map_err(|error| invalid(&error, &sender, &request))?;
    let device = wish.device.unwrap_or_else(|| sender.client.clone());
    let body = RegisterDevice {
        user: Some(sender.user.clone()),
        provider: wish.provider,
        app: wish.app,
        token: wish.token,
        environment: wish.environment,
        client: (!sender.client.is_empty()).then(|| sender.client.clone()),
        locale: wish.locale,
        time_zone: wish.time_zone,
        version: wish.version,
        tags: wish.tags,
    };
    let url = gateway.device_url(&device);
    gateway.call(&sender, &request, &device, || gateway.http.put(&url).json(&body)).await
}

async fn unregister_push_token(
    sender: Sender,
    request: Request,
    State(gateway): State<Gateway>,
) -> Result<(), HandlerError> {
    let payload = &request.message().payload;
    let wish: Unregister = if payload.trim_ascii().is_empty() {
        Unregister::default()
    } else {
        serde_json::from_slice(payload).map_err(|error| invalid(&error, &sender, &request))?
    };
    let device = wish.device.unwrap_or_else(|| sender.client.clone());
    let url = format!("{}?user={}", gateway.device_url(&device), encoded(sender.user.as_str()));
    gateway.call(&sender, &request, &device, || gateway.http.delete(&url)).await
}

impl Gateway {
    fn device_url(&self, device: &str) -> String {
        format!("{}/v1/devices/{}", self.url, encoded(device))
    }

    async fn call(
        &self,
        sender: &Sender,
        request: &Request,
        device: &str,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<(), HandlerError> {
        let mut refused = "no service key is configured (keys.service)".to_owned();
        for key in &self.keys {
            let answer = build().bearer_auth(key).send().await;
            let answer = answer.map_err(|error| {
                HandlerError::unavailable(format!("the push-gateway at {}: {}", self.url, causes(&error)))
            })?;
            let status = answer.status();
            if status.is_success() {
                return Ok(());
            }
            let text = answer.text().await.unwrap_or_default();
            match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    refused = format!(
                        "the push-gateway at {} refuses the service key ({status}); compare keys.service here and there",
                        self.url
                    );
                }
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                    return Err(HandlerError::unavailable(format!(
                        "the push-gateway at {} is busy: {status}",
                        self.url
                    )));
                }
                _ if status.is_client_error() => return Err(turned_down(status, &text, sender, request, device)),
                _ => {
                    return Err(HandlerError::unavailable(format!(
                        "the push-gateway at {} answered {status}",
                        self.url
                    )));
                }
            }
        }
        Err(HandlerError::unavailable(refused))
    }
}

fn encoded(part: &str) -> String {
    utf8_percent_encode(part, NON_ALPHANUMERIC).to_string()
}

/// An error of the HTTP client with what caused it: the first text alone only says that a request failed.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[derive(Serialize, Deserialize)]
struct Detail {
    code: String,
    message: String,
}

#[derive(Deserialize)]
struct GatewayRefusal {
    error: Detail,
}

#[derive(Serialize)]
struct Refusal<'a> {
    error: Detail,
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    message_id: &'a str,
}

fn invalid(error: &serde_json::Error, sender: &Sender, request: &Request) -> HandlerError {
    let message = format!("the payload is not what {} expects: {error}", request.topic());
    refusal(
        HandlerError::permanent(&message),
        Detail { code: "payload_invalid".to_owned(), message },
        &sender.user,
        None,
        request,
    )
}

fn turned_down(status: StatusCode, text: &str, sender: &Sender, request: &Request, device: &str) -> HandlerError {
    let detail = serde_json::from_str::<GatewayRefusal>(text).map_or_else(
        // Something that is no gateway has answered: its words are not for devices.
        |_| Detail { code: "refused".to_owned(), message: "the push-gateway refuses the registration".to_owned() },
        |refusal| refusal.error,
    );
    let error =
        HandlerError::permanent(format!("the push-gateway answered {status}, {}: {}", detail.code, detail.message));
    refusal(error, detail, &sender.user, Some(device), request)
}

fn refusal(
    error: HandlerError,
    detail: Detail,
    user: &UserId,
    device: Option<&str>,
    request: &Request,
) -> HandlerError {
    let body = Refusal { error: detail, topic: request.topic(), device, message_id: request.id().as_str() };
    match Outgoing::to_user(user, names::PUSH_TOKEN_ERROR, &body) {
        Ok(answer) => error.tell(answer),
        Err(error) => error,
    }
}
