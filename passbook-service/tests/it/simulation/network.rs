//! The push-gateway, Apple and the air between, as the simulation plays them: pushes lie there until the history lets
//! them arrive, late, never or twice. A request that comes again with its idempotency key is not carried out again, as
//! the real gateway has it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::judge::Ticks;

/// What the gateway does with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Manner {
    /// Takes it.
    #[default]
    Right,
    /// Is overloaded.
    Refuses,
    /// Takes it, and its answer never arrives.
    LosesAnswers,
}

/// A push on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OnItsWay {
    /// When the gateway took it; no two have the same.
    pub(super) taken_at: u64,
    pub(super) token: String,
    pub(super) topic: String,
}

#[derive(Default)]
struct Air {
    manner: Manner,
    /// What each key was used for.
    keys: BTreeMap<String, Value>,
    by_token: BTreeMap<String, VecDeque<OnItsWay>>,
    taken: u64,
    repeated: u64,
    unfit: Vec<String>,
}

/// The gateway and the air. Clones share them.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) url: String,
    /// Apple keeps one push for a sleeping device and app; a later one takes its place.
    keeps_one: Arc<Mutex<bool>>,
    pub(super) ticks: Ticks,
    air: Arc<Mutex<Air>>,
}

impl Network {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let network = Self { url, keeps_one: Arc::default(), ticks: Ticks::default(), air: Arc::default() };
        let router = Router::new()
            .route("/healthz", get(async || "ok"))
            .route("/v1/notifications", post(one))
            .route("/v1/notifications/batch", post(many))
            .with_state(network.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        network
    }

    fn air(&self) -> MutexGuard<'_, Air> {
        self.air.lock().unwrap()
    }

    /// Whether a later push takes the place of an earlier one that has not arrived.
    pub(super) fn keep_one(&self, one: bool) {
        *self.keeps_one.lock().unwrap() = one;
    }

    pub(super) fn behave(&self, manner: Manner) {
        self.air().manner = manner;
    }

    /// Takes the oldest push to this token out of the air.
    pub(super) fn take(&self, token: &str) -> Option<OnItsWay> {
        self.air().by_token.get_mut(token)?.pop_front()
    }

    /// How many are on their way to this token.
    pub(super) fn on_their_way(&self, token: &str) -> usize {
        self.air().by_token.get(token).map_or(0, VecDeque::len)
    }

    /// How many pushes were taken, and how many requests came again with the key of an earlier one.
    pub(super) fn counts(&self) -> (u64, u64) {
        let air = self.air();
        (air.taken, air.repeated)
    }

    /// Requests that the real gateway would have refused.
    pub(super) fn unfit(&self) -> Vec<String> {
        self.air().unfit.clone()
    }

    /// The status of the answer to a request.
    fn send(&self, key: &str, body: &Value) -> StatusCode {
        let one = *self.keeps_one.lock().unwrap();
        let mut air = self.air();
        if air.manner == Manner::Refuses {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let text = |path: &str| body.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (token, topic) = (text("/to/token/token"), text("/to/token/app"));
        if key.is_empty() || token.is_empty() || topic.is_empty() || text("/push/kind") != "pass" {
            air.unfit.push(body.to_string());
            return StatusCode::UNPROCESSABLE_ENTITY;
        }
        let known = air.keys.get(key).map(|before| before == body);
        match known {
            Some(true) => air.repeated += 1,
            Some(false) => return StatusCode::CONFLICT,
            None => {
                air.keys.insert(key.to_owned(), body.clone());
                air.taken += 1;
                let push = OnItsWay { taken_at: self.ticks.next(), token: token.clone(), topic };
                let waiting = air.by_token.entry(token).or_default();
                if one {
                    waiting.clear();
                }
                waiting.push_back(push);
            }
        }
        // What was taken and not answered looks like this to who asked.
        if air.manner == Manner::LosesAnswers { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::ACCEPTED }
    }
}

async fn one(State(network): State<Network>, headers: HeaderMap, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    let status = network.send(key, &body);
    (status, Json(answer(status)))
}

async fn many(State(network): State<Network>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    let mut results = Vec::new();
    for mut item in body["notifications"].as_array().cloned().unwrap_or_default() {
        let key = item.as_object_mut().and_then(|fields| fields.remove("idempotency_key"));
        let status = network.send(key.as_ref().and_then(Value::as_str).unwrap_or_default(), &item);
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) {
            return (status, Json(answer(status)));
        }
        let told = answer(status);
        let part = if status.is_success() { json!({"notification": told}) } else { json!({"error": told["error"]}) };
        let mut result = json!({"status": status.as_u16()});
        result.as_object_mut().unwrap().extend(part.as_object().cloned().unwrap());
        results.push(result);
    }
    (StatusCode::OK, Json(json!({"results": results})))
}

fn answer(status: StatusCode) -> Value {
    match status {
        StatusCode::ACCEPTED => json!({"id": "1", "targets": []}),
        StatusCode::CONFLICT => json!({"error": {"code": "idempotency_key_reused", "message": "another body"}}),
        _ => json!({"error": {"code": "overloaded", "message": "later"}}),
    }
}
