//! `POST /v1/log`: what devices complain about. Always 200: anything else makes them send it again.

use axum::extract::{Request, State};
use http::StatusCode;
use serde_json::Value;

use super::Door;
use super::path::body;

const LARGEST_BODY: usize = 64 * 1024;

pub(super) async fn log(State(door): State<Door>, request: Request) -> StatusCode {
    let (Ok(service), Ok(bytes)) = (door.service(), body(request, LARGEST_BODY).await) else { return StatusCode::OK };
    service.recorder.record(&lines(&bytes));
    StatusCode::OK
}

/// `{"logs":["…"]}`, or the bare array.
fn lines(bytes: &[u8]) -> Vec<String> {
    let Ok(body) = serde_json::from_slice::<Value>(bytes) else { return Vec::new() };
    let entries = match &body {
        Value::Array(entries) => Some(entries),
        other => other.get("logs").and_then(Value::as_array),
    };
    entries
        .into_iter()
        .flatten()
        .map(|entry| entry.as_str().map_or_else(|| entry.to_string(), str::to_owned))
        .filter(|line| !line.trim().is_empty())
        .collect()
}
