//! The push service's HTTP door (RFC 8030, section 5).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::{Browser, PUSH_PATH, WebPushAction, WebPushSimulator, decrypt, lock, vapid};
use crate::inbox::{Provider, Push};

/// The largest body that push services take.
const MAX_BODY: usize = 4096;
const MAX_TTL: u64 = 2_419_200;

/// A refusal: the status, and what is wrong.
type Refusal = (StatusCode, String);

impl WebPushSimulator {
    pub(crate) fn router(&self) -> Router {
        Router::new().route(&format!("{PUSH_PATH}/{{id}}"), post(push)).with_state(self.clone())
    }
}

async fn push(
    State(simulator): State<WebPushSimulator>,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // HTTP/2 says it in the request line, HTTP/1.1 in a header.
    let host = uri.authority().map(|authority| authority.as_str().to_owned());
    let host = host.or_else(|| Some(headers.get(header::HOST)?.to_str().ok()?.to_owned())).unwrap_or_default();
    let delivery = match judge(&simulator, &id, &host, &headers, &body) {
        Ok(delivery) => delivery,
        Err(refusal) => return refuse(&simulator, refusal),
    };
    let hit = simulator.0.script.next(&delivery.token, "");
    let accepts = hit.as_ref().is_none_or(|hit| hit.delivered || hit.action == WebPushAction::Accept);
    let (message, ttl) = (delivery.id.clone(), delivery.headers.get("ttl").cloned().unwrap_or_default());
    if accepts {
        simulator.0.inbox.deliver(delivery);
    }
    if let Some(hit) = hit {
        tokio::time::sleep(hit.delay).await;
        match hit.action {
            WebPushAction::Accept => {}
            WebPushAction::Stall => std::future::pending::<()>().await,
            WebPushAction::Redirect(location) => {
                return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response();
            }
            WebPushAction::Answer(answer) => {
                simulator.0.refused.fetch_add(1, Ordering::Relaxed);
                let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut response = (status, answer.body).into_response();
                if let Some(after) = answer.retry_after.and_then(|after| after.parse().ok()) {
                    response.headers_mut().insert(header::RETRY_AFTER, after);
                }
                return response;
            }
        }
    }
    simulator.0.accepted.fetch_add(1, Ordering::Relaxed);
    let location = format!("{}/webpush/message/{message}", simulator.0.url);
    (StatusCode::CREATED, [(header::LOCATION.as_str(), location), ("ttl", ttl)]).into_response()
}

fn judge(
    simulator: &WebPushSimulator,
    id: &str,
    host: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Push, Refusal> {
    let refused = |status, why: &str| Err((status, why.to_owned()));
    let browser: Option<Arc<Browser>> = lock(&simulator.0.browsers).get(id).cloned();
    let Some(browser) = browser else { return refused(StatusCode::NOT_FOUND, "no such subscription") };
    if browser.gone {
        return refused(StatusCode::GONE, "the subscription is gone");
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(authorization) = text("authorization") else {
        return refused(StatusCode::UNAUTHORIZED, "no Authorization header: the scheme is vapid");
    };
    let now_s = simulator.0.clock.now_s();
    let key = vapid::verify(authorization, &format!("https://{host}"), now_s)
        .map_err(|why| (StatusCode::UNAUTHORIZED, why))?;
    if browser.server_key.as_ref().is_some_and(|allowed| *allowed != key) {
        return refused(StatusCode::FORBIDDEN, "the subscription was made for another application server key");
    }
    let Some(ttl) = text("ttl").and_then(|ttl| ttl.parse::<u64>().ok()).filter(|ttl| *ttl <= MAX_TTL) else {
        return refused(StatusCode::BAD_REQUEST, "TTL is missing, or not a number from 0 to 2419200");
    };
    let urgency = text("urgency");
    if urgency.is_some_and(|urgency| !["very-low", "low", "normal", "high"].contains(&urgency)) {
        return refused(StatusCode::BAD_REQUEST, "Urgency is none of very-low, low, normal, high");
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let topic = text("topic");
    if topic.is_some_and(|topic| !(1..=32).contains(&topic.len()) || !topic.bytes().all(legal)) {
        return refused(StatusCode::BAD_REQUEST, "Topic is not 1 to 32 characters of Base64 for URLs");
    }
    if body.len() > MAX_BODY {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "the body has more than 4096 bytes");
    }
    let payload = if body.is_empty() {
        Value::Null
    } else {
        if text("content-encoding") != Some("aes128gcm") {
            return refused(StatusCode::BAD_REQUEST, "Content-Encoding is not aes128gcm");
        }
        let plain = decrypt::decrypt(body, &browser).map_err(|why| (StatusCode::BAD_REQUEST, why.to_owned()))?;
        serde_json::from_slice(&plain).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&plain).into_owned()))
    };
    let mut kept = BTreeMap::from([("ttl".to_owned(), ttl.to_string())]);
    kept.extend(urgency.map(|urgency| ("urgency".to_owned(), urgency.to_owned())));
    kept.extend(topic.map(|topic| ("topic".to_owned(), topic.to_owned())));
    Ok(Push {
        seq: 0,
        provider: Provider::WebPush,
        token: format!("{}{PUSH_PATH}/{id}", simulator.0.url),
        id: uuid::Uuid::new_v4().to_string(),
        at_ms: simulator.0.clock.now_ms(),
        topic: topic.unwrap_or_default().to_owned(),
        headers: kept,
        sender: format!("vapid {}", BASE64.encode(key)),
        connection: 0,
        payload,
    })
}

/// In the form of Mozilla's autopush.
fn refuse(simulator: &WebPushSimulator, (status, why): Refusal) -> Response {
    simulator.0.refused.fetch_add(1, Ordering::Relaxed);
    let body = json!({ "code": status.as_u16(), "error": status.canonical_reason(), "message": why });
    (status, axum::Json(body)).into_response()
}
