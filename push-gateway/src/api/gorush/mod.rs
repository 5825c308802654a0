//! `POST /api/push` as gorush (github.com/appleboy/gorush) takes and answers it, so that its users move by changing an address.
//! What this gateway cannot do as gorush would is refused in `logs`, with the reason. Fields that gorush does not know are
//! ignored, as it ignores them.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tidings_shared::auth::ServiceKeys;
use tidings_shared::auth::http::bearer;
use tidings_shared::http::ApiError;
use tidings_shared::push_api::{Environment, MAX_BATCH, Provider, SendNotification, To, TokenTarget};

use super::Gateway;
use super::acceptance::{Outcome, Wanted, accept};

mod android;
mod fields;
mod ios;
#[cfg(test)]
mod tests;

use fields::Fields;

/// The most notifications of one request, as gorush's default `max_notification`, and the most tokens of one of them for Android.
const MAX_NOTIFICATIONS: usize = 100;
const MAX_ANDROID_TOKENS: usize = 500;

/// How these routes work.
#[derive(Clone, Debug)]
pub(crate) struct GorushSettings {
    pub(crate) enabled: bool,
    pub(crate) key: Option<String>,
    /// The app of pushes whose topic names no other.
    pub(crate) app: String,
    pub(crate) production: bool,
    /// The apps by their APNs topic.
    pub(crate) topics: HashMap<String, String>,
}

/// One push of a notification: who it is for as gorush's log shows it, and what is sent, or why it is not.
struct Item {
    token: String,
    wanted: Result<SendNotification, String>,
}

/// Takes a request of gorush's form. The answer counts the pushes that are stored; `logs` has the others.
#[utoipa::path(post, path = "/api/push", tag = "gorush", request_body(content = Object, description = "gorush's RequestPush"),
    security((), ("service_key" = [])), responses((status = 200, body = Object, description = "`success`, `counts` and `logs`")))]
pub(super) async fn push(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let settings = &gateway.rooms.gorush;
    authorize(settings, &gateway.service_keys, &headers)?;
    let body: Option<Value> = body.ok().and_then(|body| serde_json::from_slice(&body).ok());
    let notifications = match body.as_ref().and_then(|body| body["notifications"].as_array()) {
        None => return Ok(malformed("Missing notifications field.")),
        Some(list) if list.is_empty() => return Ok(malformed("Notifications field is empty.")),
        Some(list) if list.len() > MAX_NOTIFICATIONS => {
            let message = format!("Number of notifications({}) over limit({MAX_NOTIFICATIONS})", list.len());
            return Ok(malformed(&message));
        }
        Some(list) => list,
    };
    let now_ms = gateway.clock.now_ms();
    let mut done = Done::default();
    let mut waiting: Vec<Waiting<'_>> = Vec::new();
    for notification in notifications {
        for Item { token, wanted } in read(settings, notification, now_ms) {
            match wanted {
                Ok(request) => waiting.push((notification, token, request)),
                Err(reason) => done.logs.push(failed(notification, &token, &reason)),
            }
        }
    }
    let mut rest = waiting.as_slice();
    while !rest.is_empty() {
        let portion = &rest[..rest.len().min(MAX_BATCH)];
        let wanted = portion.iter().map(|(_, _, request)| Ok(Wanted { request: request.clone(), key: None })).collect();
        rest = done.take(rest, accept(&gateway, wanted).await)?;
    }
    Ok(Json(json!({"success": "ok", "counts": done.counts, "logs": done.logs})).into_response())
}

/// A push with its notification and its token, for the log.
type Waiting<'a> = (&'a Value, String, SendNotification);

/// What came of a request.
#[derive(Debug, Default)]
struct Done {
    counts: usize,
    logs: Vec<Value>,
}

impl Done {
    /// Takes the answer to the first portion of the rest, and gives what is left. An error is one of the whole request
    /// only while nothing is stored: its sender would repeat it, and what is stored would go out twice. After that
    /// everything that is left is in the log.
    fn take<'a, 'b>(
        &mut self,
        rest: &'a [Waiting<'b>],
        answered: Result<Vec<Outcome>, ApiError>,
    ) -> Result<&'a [Waiting<'b>], ApiError> {
        let (portion, left) = rest.split_at(rest.len().min(MAX_BATCH));
        match answered {
            Ok(outcomes) => {
                for ((notification, token, _), outcome) in portion.iter().zip(outcomes) {
                    match outcome {
                        Ok(_) => self.counts += 1,
                        Err(refusal) => self.logs.push(failed(notification, token, &refusal.message)),
                    }
                }
                Ok(left)
            }
            Err(error) if self.counts == 0 => Err(error),
            Err(error) => {
                self.logs.extend(rest.iter().map(|(value, token, _)| failed(value, token, &error.message)));
                Ok(&[])
            }
        }
    }
}

/// gorush asks nobody; here a setting opens the route, and another one asks for a key.
fn authorize(settings: &GorushSettings, service_keys: &ServiceKeys, headers: &HeaderMap) -> Result<(), ApiError> {
    if !settings.enabled {
        let message = "this server does not serve gorush's routes; its operator can (push.gorush.enabled)";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "gorush_disabled", message));
    }
    let Some(key) = &settings.key else { return Ok(()) };
    let keys = ServiceKeys::new(vec![key.clone()]);
    if bearer(headers).is_some_and(|sent| keys.accepts(sent) || service_keys.accepts(sent)) {
        return Ok(());
    }
    let message = "send push.gorush.key, or a service key, as `Authorization: Bearer`";
    Err(ApiError::new(StatusCode::UNAUTHORIZED, "gorush_key_wrong", message))
}

/// A refusal of the whole request in gorush's form.
fn malformed(message: &str) -> Response {
    let code = StatusCode::BAD_REQUEST;
    (code, Json(json!({"code": code.as_u16(), "message": message}))).into_response()
}

/// An entry of `logs` in gorush's form. The token is shown as its sender wrote it: it is the sender who reads this.
fn failed(notification: &Value, token: &str, reason: &str) -> Value {
    let mut entry = json!({
        "type": "failed-push",
        "platform": match notification["platform"].as_i64() {
            Some(1) => "ios",
            Some(2) => "android",
            Some(3) => "huawei",
            _ => "",
        },
        "token": token,
        "message": notification["message"].as_str().unwrap_or_default(),
        "error": reason,
    });
    if let Some(id) = notification["notif_id"].as_str().filter(|id| !id.is_empty()) {
        entry["notif_id"] = Value::from(id);
    }
    entry
}

/// The pushes of one notification.
fn read(settings: &GorushSettings, notification: &Value, now_ms: i64) -> Vec<Item> {
    let refused = |token: &str, reason: String| Item { token: token.to_owned(), wanted: Err(reason) };
    let fields = match Fields::of(notification) {
        Ok(fields) => fields,
        Err(reason) => return vec![refused("", reason)],
    };
    let tokens = match fields.tokens() {
        Ok(tokens) => tokens,
        Err(reason) => return vec![refused("", reason)],
    };
    let all = |reason: String| match tokens.is_empty() {
        true => vec![refused("", reason)],
        false => tokens.iter().map(|token| refused(token, reason.clone())).collect(),
    };
    let platform = fields.number("platform");
    let to_topic = platform == Ok(Some(2)) && (fields.has("topic") || fields.has("condition"));
    if tokens.is_empty() && !to_topic {
        return all("please provide at least one device token".to_owned());
    }
    let made = match platform {
        Ok(Some(1)) => ios::push(settings, &fields, now_ms),
        Ok(Some(2)) if tokens.len() > MAX_ANDROID_TOKENS => {
            Err(format!("you can specify up to {MAX_ANDROID_TOKENS} device registration tokens per invocation"))
        }
        Ok(Some(2)) => android::push(settings, &fields),
        Ok(Some(3)) => Err("platform 3 (Huawei) is not served here; 1 (iOS) and 2 (Android) are".to_owned()),
        Ok(Some(other)) => Err(format!("platform {other} is not served here; 1 (iOS) and 2 (Android) are")),
        Ok(None) => Err("platform is missing; 1 is iOS, 2 is Android".to_owned()),
        Err(reason) => Err(reason),
    };
    let made = match made {
        Ok(made) => made,
        Err(reason) => return all(reason),
    };
    let mut items = Vec::with_capacity(tokens.len() + made.others.len());
    items.extend(made.others.iter().map(|(name, to)| Item { token: name.clone(), wanted: Ok(made.to(to.clone())) }));
    items.extend(tokens.iter().map(|token| {
        let to = To::Token(TokenTarget {
            provider: made.provider,
            app: made.app.clone(),
            token: (*token).to_owned(),
            environment: made.environment,
            registered_at_ms: None,
        });
        Item { token: (*token).to_owned(), wanted: Ok(made.to(to)) }
    }));
    items
}

/// A notification of gorush in this gateway's words.
struct Made {
    provider: Provider,
    app: String,
    environment: Environment,
    /// Who it goes to besides its tokens, with the name for the log.
    others: Vec<(String, To)>,
    /// With any addressee.
    request: SendNotification,
}

impl Made {
    fn to(&self, to: To) -> SendNotification {
        SendNotification { to, ..self.request.clone() }
    }
}
