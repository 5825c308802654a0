//! `POST /v1/passes/{passType}/{serial}/personalize`: the holder signs up with a pass that asks for it. The answer is a
//! signature over Wallet's token; so that it can never be one over a manifest, the token must be no JSON and short.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};
use tidings_shared::http::ApiError;
use tidings_shared::storage::StorageError;

use super::authenticate::{Refusal, authenticate};
use super::path::{Segments, body};
use super::registration::check_pass_type;
use super::{Door, Service, unavailable};
use crate::store::{PassId, PassRow};
use crate::token;
use crate::update::ChangeError;

const LARGEST_BODY: usize = 16 * 1024;
/// Bytes of a token.
const LONGEST_TOKEN: usize = 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignUp {
    personalization_token: String,
    #[serde(default)]
    required_personalization_info: Map<String, Value>,
}

pub(super) async fn personalize(
    State(door): State<Door>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refusal> {
    let service = door.service()?;
    let id = segments
        .id(2)
        .zip(segments.id(3))
        .map(|(pass_type, serial)| PassId { pass_type: pass_type.to_owned(), serial: serial.to_owned() });
    let (pass, _) = authenticate(&service, &headers, id.as_ref()).await?;
    check_pass_type(&service, &pass.id)?;
    let bytes = body(request, LARGEST_BODY).await?;
    let sign_up = read(&bytes)?;
    let hash = token::hash(&sign_up.personalization_token);
    if service.passes.asks_to_sign_up(&pass) {
        keep(&service, &pass, &sign_up, &hash).await?;
    } else if service.store.personalization_token(&pass.id).await.map_err(failed)?.as_deref() != Some(&hash) {
        // The same token again is a device that did not get its answer.
        let message = "this pass does not ask its holder to sign up, or somebody has";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "not_personalizable", message).into());
    }
    let signature = sign(&service, &pass, sign_up.personalization_token).await?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], signature).into_response())
}

fn read(bytes: &[u8]) -> Result<SignUp, ApiError> {
    let refused = |message: &str| ApiError::new(StatusCode::BAD_REQUEST, "invalid_personalization", message);
    let sign_up: SignUp = serde_json::from_slice(bytes).map_err(|_| {
        refused("the body is JSON of the form {\"personalizationToken\":\"…\",\"requiredPersonalizationInfo\":{…}}")
    })?;
    let token = &sign_up.personalization_token;
    if token.is_empty() || token.len() > LONGEST_TOKEN || serde_json::from_str::<Value>(token).is_ok() {
        return Err(refused("a personalizationToken has 1 to 1024 bytes and is no JSON"));
    }
    Ok(sign_up)
}

/// What they gave is durable, and the pass no longer asks for it, before anything is signed.
async fn keep(service: &Service, pass: &PassRow, sign_up: &SignUp, hash: &str) -> Result<(), ApiError> {
    let info = &sign_up.required_personalization_info;
    service.store.insert_personalization(&pass.id, hash, info, service.clock.now_ms()).await.map_err(failed)?;
    service.passes.sign_up(&pass.id, info).await.map_err(|error| match error {
        ChangeError::Storage(error) => failed(error),
        error => {
            tracing::error!(%error, "a pass cannot be rendered for somebody who signed up");
            ApiError::internal()
        }
    })?;
    service.metrics.personalizations.inc();
    Ok(())
}

async fn sign(service: &Service, pass: &PassRow, token: String) -> Result<Vec<u8>, ApiError> {
    let internal = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "a personalization token cannot be signed");
        ApiError::internal()
    };
    let builder = service.passes.builder(&pass.id.pass_type).map_err(|error| internal(&error))?.clone();
    let now_ms = service.clock.now_ms();
    let signed = tokio::task::spawn_blocking(move || builder.sign(token.as_bytes(), now_ms)).await;
    signed.map_err(|error| internal(&error))?.map_err(|error| internal(&error))
}

fn failed(error: StorageError) -> ApiError {
    tracing::error!(%error, "a sign-up cannot be stored");
    unavailable()
}
