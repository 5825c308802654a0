//! What opens behind a save link: the JWT is checked as Google's page does it, and the pass is saved.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::{GoogleWalletSimulator, KINDS, lock};

/// How far clocks may differ, in seconds.
const SKEW_S: i64 = 300;

impl GoogleWalletSimulator {
    /// Opens a save link as somebody with a phone does: the ids of the objects that are saved now.
    ///
    /// # Errors
    /// What Google's page would show instead.
    pub fn open(&self, jwt: &str) -> Result<Vec<String>, String> {
        let claims = self.0.accounts.signed_claims(jwt)?;
        let is = |key: &str, wanted: &str| claims[key].as_str() == Some(wanted);
        if !is("aud", "google") || !is("typ", "savetowallet") {
            return Err("the JWT is not for Google Wallet: aud is `google`, typ is `savetowallet`".to_owned());
        }
        if !claims["origins"].is_array() {
            return Err("origins is an array".to_owned());
        }
        match claims["iat"].as_i64() {
            Some(iat) if iat <= self.0.clock.now_s() + SKEW_S => {}
            _ => return Err("iat is a time that has been".to_owned()),
        }
        let mut saved = Vec::new();
        for kind in KINDS {
            let all = |what: &str| claims["payload"][format!("{kind}{what}")].as_array().cloned().unwrap_or_default();
            for class in all("Classes") {
                // One that is there already stays as it is.
                if self.class(kind, class["id"].as_str().unwrap_or_default()).is_none() {
                    self.insert_class(kind, class).map_err(|error| error.body.to_string())?;
                }
            }
            for object in all("Objects") {
                let id = object["id"].as_str().unwrap_or_default().to_owned();
                if self.object(&id).is_none() {
                    self.insert_object(kind, object, 0).map_err(|error| error.body.to_string())?;
                }
                if let Some(kept) = lock(&self.0.objects).get_mut(&id) {
                    kept.users += 1;
                }
                saved.push(id);
            }
        }
        if saved.is_empty() {
            return Err("the JWT names no object".to_owned());
        }
        self.0.saves.fetch_add(1, Ordering::Relaxed);
        Ok(saved)
    }
}

pub(super) async fn page(State(simulator): State<GoogleWalletSimulator>, Path(jwt): Path<String>) -> Response {
    match simulator.open(&jwt) {
        Ok(saved) => Json(json!({ "saved": saved })).into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, Json::<Value>(json!({ "error": why }))).into_response(),
    }
}
