//! `/api/passes/{passType}/{serial}/google`: save links for Google Wallet, and what Google was told.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::{StatusCode, Uri};
use serde::Serialize;
use tidings_shared::http::ApiError;

use super::answer::{no_pass, storage};
use super::passes::pass_id;
use crate::google::{Google, LinkError, Reply, Resource, SaveLink};
use crate::web::path::{Segments, query_parameter};
use crate::web::{Door, Service};

/// A link that saves a pass to Google Wallet.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct GoogleLink {
    /// Whoever opens it gets the pass. It does not end.
    save_url: String,
    /// `embedded`: the pass stands in the link; `short`: the link names it, and Google has it.
    form: &'static str,
    /// Google's word for the kind of pass: `loyalty`, `offer`, `eventTicket`, `flight`, `transit`, `generic`.
    kind: &'static str,
    /// The object's id at Google.
    object_id: String,
    /// The class's id at Google.
    class_id: String,
}

impl From<SaveLink> for GoogleLink {
    fn from(link: SaveLink) -> Self {
        Self {
            save_url: link.url,
            form: link.form,
            kind: link.kind,
            object_id: link.object_id,
            class_id: link.class_id,
        }
    }
}

/// What Google was told about a pass.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct GoogleState {
    /// Google's word for the kind of pass.
    kind: String,
    /// The object's id at Google.
    object_id: String,
    /// Whether Google has the latest version.
    up_to_date: bool,
    /// The pass's revision that Google has; 0: none yet.
    revision: i64,
    /// When Google was last told something, ms since 1970.
    told_at: Option<i64>,
    /// When Google is told next, ms since 1970.
    due_at: Option<i64>,
    /// Failed attempts since.
    attempts: i64,
    /// Why the last attempt failed.
    last_error: Option<String>,
    /// Notifications within the last 24 hours.
    notifications: usize,
    /// Whether somebody has saved it, as Google says; absent unless `live=true`, and when Google does not answer or has no
    /// such object.
    #[serde(skip_serializing_if = "Option::is_none")]
    has_users: Option<bool>,
}

/// Makes a save link for Google Wallet; from now on Google hears of the pass's changes.
#[utoipa::path(post, path = "/api/passes/{pass_type}/{serial}/google", tag = "google",
    params(("pass_type" = String, Path, description = "Pass type identifier"), ("serial" = String, Path, description = "Serial number")),
    security(("service_key" = [])), responses((status = 200, body = GoogleLink)))]
pub(super) async fn link(State(door): State<Door>, segments: Segments) -> Result<Json<GoogleLink>, ApiError> {
    let service = door.service()?;
    let google = configured(&service)?;
    let link = google.save_link(&service, &pass_id(&segments)?).await.map_err(refusal)?;
    Ok(Json(link.into()))
}

/// What Google was told about a pass. With `live=true` Google is asked who has saved it: a request that counts against
/// `wallet.google.per_second` like those that tell of changes.
#[utoipa::path(get, path = "/api/passes/{pass_type}/{serial}/google", tag = "google",
    params(("pass_type" = String, Path, description = "Pass type identifier"), ("serial" = String, Path, description = "Serial number"),
        ("live" = Option<bool>, Query, description = "Ask Google")),
    security(("service_key" = [])), responses((status = 200, body = GoogleState)))]
pub(super) async fn state(
    State(door): State<Door>,
    segments: Segments,
    uri: Uri,
) -> Result<Json<GoogleState>, ApiError> {
    let service = door.service()?;
    let google = configured(&service)?;
    let id = pass_id(&segments)?;
    let object = service.store.google_object(&id).await.map_err(|error| storage(&error))?.ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "google_unknown",
            "this pass was never offered to Google Wallet: POST makes a link",
        )
    })?;
    let live = query_parameter(&uri, "live").as_deref() == Some("true");
    let has_users = match Resource::from_name(&object.kind).filter(|_| live) {
        Some(resource) => match google.client.object(resource, &object.object_id).await {
            Reply::Done(present) => Some(present["hasUsers"].as_bool().unwrap_or(false)),
            _ => None,
        },
        None => None,
    };
    let day_ago = service.clock.now_ms() - crate::google::notice::DAY_MS;
    Ok(Json(GoogleState {
        up_to_date: object.due_at.is_none() && object.last_error.is_none(),
        kind: object.kind,
        object_id: object.object_id,
        revision: object.sent_revision,
        told_at: object.told_at,
        due_at: object.due_at,
        attempts: object.attempts,
        last_error: object.last_error,
        notifications: object.notified.iter().filter(|at| **at >= day_ago).count(),
        has_users,
    }))
}

fn configured(service: &Service) -> Result<Arc<Google>, ApiError> {
    service.google.clone().ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "google_not_configured",
            "there is no Google Wallet here: set wallet.google.issuer_id and wallet.google.service_account_file",
        )
    })
}

fn refusal(error: LinkError) -> ApiError {
    let (status, code) = match &error {
        LinkError::NoPass => return no_pass(),
        LinkError::Unmappable(_) => (StatusCode::UNPROCESSABLE_ENTITY, "pass_not_for_google"),
        LinkError::Refused(_) => (StatusCode::BAD_GATEWAY, "google_refused"),
        LinkError::Waiting(_) => (StatusCode::SERVICE_UNAVAILABLE, "google_unavailable"),
        LinkError::Sign => return ApiError::internal(),
        LinkError::Storage(error) => return storage(error),
    };
    let answer = ApiError::new(status, code, error.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE { answer.retry_after(5) } else { answer }
}
