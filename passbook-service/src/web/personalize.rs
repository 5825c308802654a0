//! `POST /v1/passes/{passType}/{serial}/personalize`: the holder signs up with a pass that asks for it. The answer is a
//! signature over Wallet's token; so that it can never be one over a manifest, the token must be short and
//! have nothing of what JSON is written with.

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
    if !is_token(token) {
        return Err(refused(
            "a personalizationToken has 1 to 1024 visible ASCII characters, none of them a brace, a bracket, a quotation mark or a backslash",
        ));
    }
    Ok(sign_up)
}

/// Whether a text can be a token, and no manifest for any reader. JSON parsers differ in what they take: Apple's reads UTF-16,
/// byte order marks, deep nesting and large numbers too. So it is not asked whether the text is JSON; what it may be
/// written with is said.
fn is_token(text: &str) -> bool {
    (1..=LONGEST_TOKEN).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}[]\"\\".contains(&byte))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_any_reader_takes_for_a_manifest_is_a_token() {
        for token in ["a", "AbC0-_.~+/=:,;!$", "1F0E6C9A-3B1D-4E55-9A7C-0D6C2B7F1E11", &"x".repeat(LONGEST_TOKEN)] {
            assert!(is_token(token), "{token}");
        }
        let manifest = r#"{"pass.json":"da39a3ee"}"#;
        let utf16: String = manifest.chars().flat_map(|c| ['\0', c]).collect();
        let reversed: String = manifest.chars().flat_map(|c| [c, '\0']).collect();
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        for token in [
            "",
            &"x".repeat(LONGEST_TOKEN + 1),
            manifest,
            &utf16,
            &reversed,
            &format!("\u{feff}{manifest}"),
            "\u{feff}",
            &deep,
            r#"{"a":1e999}"#,
            r#"{"a":"\ud800"}"#,
            r#""text""#,
            "[1]",
            "two words",
            "line\n",
            "é",
        ] {
            assert!(!is_token(token), "{token:?}");
        }
    }
}
