//! The REST API: `/walletobjects/v1/{kind}Class` and `/walletobjects/v1/{kind}Object`.

use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use super::error::WalletError;
use super::{
    DAY_MS, GoogleWalletSimulator, KINDS, MOST_MESSAGES, MOST_NOTIFICATIONS, WalletAction, WalletObject, lock,
};
use super::{rules, save};

type Answer = Result<Value, WalletError>;

impl GoogleWalletSimulator {
    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/walletobjects/v1/{collection}", post(insert))
            .route("/walletobjects/v1/{collection}/{id}", get(read).patch(patch))
            .route("/walletobjects/v1/{collection}/{id}/addMessage", post(add_message))
            .route("/gp/v/save/{jwt}", get(save::page))
            .with_state(self.clone())
    }

    /// Whether the access token lets its bearer in.
    fn authenticate(&self, headers: &HeaderMap) -> Result<(), WalletError> {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .unwrap_or_default();
        match self.0.accounts.wallet_access(token) {
            Some(true) => Ok(()),
            Some(false) => Err(WalletError::forbidden("Request had insufficient authentication scopes.")),
            None => Err(WalletError::unauthenticated()),
        }
    }

    /// Lets a script have its say, then answers.
    async fn answer(
        &self,
        headers: &HeaderMap,
        id: &str,
        call: &str,
        act: impl FnOnce(&Self) -> Answer + Send,
    ) -> Response {
        if let Err(error) = self.authenticate(headers) {
            return self.respond(Err(error));
        }
        let hit = self.0.script.next(id, call);
        let action = hit.as_ref().map(|hit| hit.action.clone());
        let acts = hit.as_ref().is_none_or(|hit| hit.delivered)
            || matches!(action, Some(WalletAction::Accept | WalletAction::Lost));
        let answer = if acts { act(self) } else { Ok(Value::Null) };
        if let Some(hit) = hit {
            tokio::time::sleep(hit.delay).await;
        }
        match action {
            None | Some(WalletAction::Accept) => self.respond(answer),
            Some(WalletAction::Status(status)) => self.respond(Err(WalletError::scripted(status))),
            Some(WalletAction::Lost) => {
                (StatusCode::BAD_GATEWAY, "<!DOCTYPE html><title>Error 502</title>").into_response()
            }
            Some(WalletAction::Stall) => std::future::pending().await,
        }
    }

    fn respond(&self, answer: Answer) -> Response {
        match answer {
            Ok(value) => {
                self.0.accepted.fetch_add(1, Ordering::Relaxed);
                Json(value).into_response()
            }
            Err(error) => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                (error.status, Json(error.body)).into_response()
            }
        }
    }

    pub(super) fn insert_class(&self, kind: &str, class: Value) -> Answer {
        rules::class(kind, &class)?;
        let id = text(&class, "id");
        let mut classes = lock(&self.0.classes);
        if classes.contains_key(&(kind.to_owned(), id.clone())) {
            return Err(WalletError::exists("Class", &id));
        }
        classes.insert((kind.to_owned(), id), class.clone());
        Ok(class)
    }

    pub(super) fn insert_object(&self, kind: &str, object: Value, users: u64) -> Answer {
        rules::object(kind, &object)?;
        self.check_class(kind, &object)?;
        let id = text(&object, "id");
        let mut objects = lock(&self.0.objects);
        if objects.contains_key(&id) {
            return Err(WalletError::exists("Object", &id));
        }
        let kept =
            WalletObject { kind: kind.to_owned(), object: object.clone(), users, notified: Vec::new(), patches: 0 };
        objects.insert(id, kept);
        Ok(object)
    }

    fn check_class(&self, kind: &str, object: &Value) -> Result<(), WalletError> {
        let class = text(object, "classId");
        if self.class(kind, &class).is_none() {
            return Err(WalletError::no_class(&class));
        }
        Ok(())
    }

    fn patch_class(&self, kind: &str, id: &str, parts: &Value) -> Answer {
        let mut classes = lock(&self.0.classes);
        let class =
            classes.get_mut(&(kind.to_owned(), id.to_owned())).ok_or_else(|| WalletError::missing("Class", id))?;
        let patched = patched(class, parts)?;
        rules::class(kind, &patched)?;
        class.clone_from(&patched);
        Ok(patched)
    }

    fn patch_object(&self, kind: &str, id: &str, parts: &Value) -> Answer {
        let mut objects = lock(&self.0.objects);
        let kept =
            objects.get_mut(id).filter(|kept| kept.kind == kind).ok_or_else(|| WalletError::missing("Object", id))?;
        let patched = patched(&kept.object, parts)?;
        rules::object(kind, &patched)?;
        if parts.get("classId").is_some() {
            self.check_class(kind, &patched)?;
        }
        kept.object.clone_from(&patched);
        kept.patches += 1;
        Ok(patched)
    }

    fn read_object(&self, kind: &str, id: &str) -> Answer {
        let kept =
            self.object(id).filter(|kept| kept.kind == kind).ok_or_else(|| WalletError::missing("Object", id))?;
        let mut object = kept.object;
        object["hasUsers"] = (kept.users > 0).into();
        Ok(object)
    }

    fn message(&self, kind: &str, id: &str, message: &Value) -> Answer {
        rules::message(message)?;
        let now_ms = self.0.clock.now_ms();
        let mut objects = lock(&self.0.objects);
        let kept =
            objects.get_mut(id).filter(|kept| kept.kind == kind).ok_or_else(|| WalletError::missing("Object", id))?;
        let mut messages = kept.object["messages"].as_array().cloned().unwrap_or_default();
        if messages.len() >= MOST_MESSAGES {
            return Err(WalletError::invalid("messages: the maximum number of these fields is 10"));
        }
        if message["messageType"] == "TEXT_AND_NOTIFY" {
            kept.notified.retain(|at| *at > now_ms - DAY_MS);
            if kept.notified.len() >= MOST_NOTIFICATIONS {
                return Err(WalletError::quota("The notification limit of this object is reached: 3 in 24 hours."));
            }
            kept.notified.push(now_ms);
            if kept.users > 0 {
                self.0.notifications.fetch_add(1, Ordering::Relaxed);
            }
        }
        messages.push(message.clone());
        kept.object["messages"] = Value::Array(messages);
        Ok(serde_json::json!({ "resource": kept.object }))
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// `parts` laid over a resource; null takes a part away.
fn patched(resource: &Value, parts: &Value) -> Answer {
    let (Some(old), Some(parts)) = (resource.as_object(), parts.as_object()) else {
        return Err(WalletError::invalid("a JSON object is expected"));
    };
    if parts.get("id").is_some_and(|id| Some(id) != old.get("id")) {
        return Err(WalletError::invalid("the id of a resource cannot be changed"));
    }
    let mut new: Map<String, Value> = old.clone();
    for (key, value) in parts {
        if value.is_null() {
            new.remove(key);
        } else {
            new.insert(key.clone(), value.clone());
        }
    }
    Ok(new.into())
}

/// A collection's kind, and whether it is one of classes.
fn collection(name: &str) -> Option<(&'static str, bool)> {
    KINDS.into_iter().find_map(|kind| match name.strip_prefix(kind)? {
        "Class" => Some((kind, true)),
        "Object" => Some((kind, false)),
        _ => None,
    })
}

fn json(bytes: &[u8]) -> Answer {
    serde_json::from_slice(bytes)
        .map_err(|error| WalletError::invalid(&format!("Invalid JSON payload received. {error}")))
}

async fn insert(
    State(simulator): State<GoogleWalletSimulator>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some((kind, is_class)) = collection(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let value = match json(&body) {
        Ok(value) => value,
        Err(error) => return simulator.respond(Err(error)),
    };
    let id = text(&value, "id");
    let act = |simulator: &GoogleWalletSimulator| match is_class {
        true => simulator.insert_class(kind, value),
        false => simulator.insert_object(kind, value, 0),
    };
    simulator.answer(&headers, &id, "insert", act).await
}

async fn patch(
    State(simulator): State<GoogleWalletSimulator>,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some((kind, is_class)) = collection(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let act = |simulator: &GoogleWalletSimulator| {
        let parts = json(&body)?;
        if is_class { simulator.patch_class(kind, &id, &parts) } else { simulator.patch_object(kind, &id, &parts) }
    };
    simulator.answer(&headers, &id, "patch", act).await
}

async fn read(
    State(simulator): State<GoogleWalletSimulator>,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let Some((kind, is_class)) = collection(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let act = |simulator: &GoogleWalletSimulator| match is_class {
        true => simulator.class(kind, &id).ok_or_else(|| WalletError::no_class(&id)),
        false => simulator.read_object(kind, &id),
    };
    simulator.answer(&headers, &id, "get", act).await
}

async fn add_message(
    State(simulator): State<GoogleWalletSimulator>,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some((kind, false)) = collection(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let act = |simulator: &GoogleWalletSimulator| simulator.message(kind, &id, &json(&body)?["message"]);
    simulator.answer(&headers, &id, "addMessage", act).await
}
