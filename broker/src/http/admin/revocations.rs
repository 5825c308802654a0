//! `/v1/admin/revocations`: tokens that end before they expire.

use axum::Json;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidings_shared::http::ApiError;
use tidings_shared::identity::UserId;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::engine::{Change, Revocation, Target};
use crate::http::{Door, request};

/// Revocations at once; each is held in memory.
const MOST: usize = 1_000_000;
/// The longest `jti`, in bytes: a token with a longer one is not accepted anyway.
const JTI: usize = 256;
/// Revocations in one answer, at most.
const PAGE: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    jti: Option<String>,
    exp: Option<Value>,
    user: Option<String>,
    issued_before: Option<Value>,
}

#[derive(Serialize)]
struct Shown {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_before_ms: Option<i64>,
    made_at_ms: i64,
    until_ms: Option<i64>,
}

impl From<&Revocation> for Shown {
    fn from(revocation: &Revocation) -> Self {
        let jti = match &revocation.target {
            Target::Token(id) => Some(id.to_string()),
            _ => None,
        };
        Self {
            id: revocation.target.to_string(),
            jti,
            user: revocation.target.user().map(ToString::to_string),
            issued_before_ms: revocation.issued_before_ms,
            made_at_ms: revocation.made_ms,
            until_ms: revocation.until_ms,
        }
    }
}

#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    revocation: Shown,
    closed: usize,
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "revocation_invalid", message)
}

/// A time: seconds since 1970 as in a token, RFC 3339, or `now`.
fn time_ms(name: &str, value: &Value, now_ms: i64) -> Result<i64, ApiError> {
    let wrong = || {
        invalid(format!(
            "`{name}` is a time: seconds since 1970 as in a token, \"2026-11-21T23:00:00Z\", or \"now\"; found {value}"
        ))
    };
    match value {
        Value::Number(seconds) => {
            let seconds = seconds.as_f64().filter(|seconds| (0.0..=9e12).contains(seconds)).ok_or_else(wrong)?;
            #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
            Ok((seconds * 1000.0) as i64)
        }
        Value::String(text) if text == "now" => Ok(now_ms),
        Value::String(text) => match text.parse::<i64>() {
            Ok(seconds) if (0..=9_000_000_000_000).contains(&seconds) => Ok(seconds * 1000),
            _ => {
                let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
                i64::try_from(time.unix_timestamp_nanos() / 1_000_000).map_err(|_| wrong())
            }
        },
        _ => Err(wrong()),
    }
}

impl Asked {
    fn revocation(self, door: &Door) -> Result<Revocation, ApiError> {
        let (now, keep) = (door.parts.clock.now_ms(), door.parts.admin.keep_ms);
        let kept_from = |at: i64| keep.map(|keep| at.saturating_add(keep));
        let user = |id: &str| UserId::new(id).map_err(|error| invalid(format!("`user`: {error}")));
        let (target, issued_before_ms, until_ms) = match (self.jti, self.user, self.issued_before) {
            (Some(jti), None, None) => {
                if jti.is_empty() || jti.len() > JTI {
                    return Err(invalid(format!("`jti` has 1 to {JTI} bytes; this one has {}", jti.len())));
                }
                let until = match &self.exp {
                    // As long as some door takes the token: the leeway is added.
                    Some(exp) => Some(time_ms("exp", exp, now)?.saturating_add(door.parts.verifier.tolerance_ms())),
                    None => kept_from(now),
                };
                (Target::Token(jti.into()), None, until)
            }
            (None, Some(id), None) if self.exp.is_none() => (Target::User(user(&id)?), None, None),
            (None, Some(id), Some(before)) if self.exp.is_none() => {
                let before = time_ms("issued_before", &before, now)?;
                (Target::IssuedBefore(user(&id)?), Some(before), kept_from(before.max(now)))
            }
            _ => {
                return Err(invalid(
                    "name one token (`jti`, and its `exp` if you know it) or one user (`user`, and `issued_before` to spare the tokens issued later)",
                ));
            }
        };
        Ok(Revocation { target, issued_before_ms, until_ms, made_ms: now })
    }
}

pub(super) async fn revoke(
    State(door): State<Door>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let revocation = super::read::<Asked>(body)?.revocation(&door)?;
    let revocations = door.parts.engine.revocations();
    if revocations.read(|list| list.len() >= MOST && list.get(&revocation.target).is_none()) {
        let message = format!("there are {MOST} revocations already; take some back, or say `exp` so that they end");
        return Err(ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "revocations_full", message));
    }
    let target = revocation.target.clone();
    let closed = door.parts.engine.revoke(Change::Set(revocation.clone())).await.map_err(|error| not_stored(&error))?;
    // Which tokens: a user id or a `jti`, never a token.
    tracing::info!(revocation = %target, closed, "tokens revoked");
    let shown = Shown::from(&revocations.get(&target).unwrap_or(revocation));
    Ok((StatusCode::CREATED, Json(Made { revocation: shown, closed })).into_response())
}

fn not_stored(error: &crate::log::LogError) -> ApiError {
    tracing::error!(%error, "a change of the revocations could not be stored");
    let message =
        "the change is in force, but the message log could not store it: a restart would forget it; try again";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "revocation_not_stored", message).retry_after(1)
}

#[derive(Deserialize)]
pub(super) struct Listed {
    user: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(door): State<Door>,
    query: Result<Query<Listed>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(asked) =
        query.map_err(|_| request::invalid("limit", "a whole number; the others are `user` and `after`"))?;
    let limit = asked.limit.unwrap_or(PAGE).clamp(1, PAGE);
    let after = asked.after.as_deref().map(|id| Target::parse(id).ok_or_else(|| unknown(id))).transpose()?;
    let (shown, total) = door.parts.engine.revocations().read(|list| {
        let of_user =
            |r: &&Revocation| asked.user.as_deref().is_none_or(|u| r.target.user().is_some_and(|o| o.as_str() == u));
        let later = |r: &&Revocation| after.as_ref().is_none_or(|after| r.target > *after);
        let shown: Vec<Shown> = list.iter().filter(of_user).filter(later).take(limit).map(Shown::from).collect();
        (shown, list.len())
    });
    Ok(Json(serde_json::json!({ "revocations": shown, "total": total })).into_response())
}

fn unknown(id: &str) -> ApiError {
    let id: String = id.chars().take(300).collect();
    let message = format!("there is no revocation `{id}`; ids look like jti:…, user:… and issued-before:…");
    ApiError::new(StatusCode::NOT_FOUND, "revocation_unknown", message)
}

fn named(door: &Door, id: Result<Path<String>, PathRejection>) -> Result<Revocation, ApiError> {
    let Path(id) = id.map_err(|_| unknown("(not UTF-8)"))?;
    let target = Target::parse(&id).ok_or_else(|| unknown(&id))?;
    door.parts.engine.revocations().get(&target).ok_or_else(|| unknown(&id))
}

pub(super) async fn one(
    State(door): State<Door>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    Ok(Json(Shown::from(&named(&door, id)?)).into_response())
}

pub(super) async fn take_back(
    State(door): State<Door>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let target = named(&door, id)?.target;
    door.parts.engine.revoke(Change::Removed(target.clone())).await.map_err(|error| not_stored(&error))?;
    tracing::info!(revocation = %target, "a revocation was taken back");
    Ok(StatusCode::NO_CONTENT)
}
