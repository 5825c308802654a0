//! `/api/imports`: rows of another provider's file, a portion at a time.

use axum::Json;
use axum::extract::{Request, State};
use http::{StatusCode, Uri};
use serde::Serialize;
use tidings_shared::http::ApiError;
use utoipa::ToSchema;

use super::answer::{json as parsed, storage};
use crate::import::{ImportRows, MOST_ROWS, Refusal, check};
use crate::store::{ImportResult, ImportState};
use crate::web::Door;
use crate::web::path::{Segments, body, query_parameter};

const LARGEST_BODY: usize = 16 * 1024 * 1024;
/// Imports that are shown.
const SHOWN: i64 = 200;
/// Refusals of one answer.
const PAGE: i64 = 1_000;

/// Imports, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Imports {
    imports: Vec<ImportState>,
}

/// Lines that were refused.
#[derive(Serialize, ToSchema)]
pub(super) struct Refusals {
    refusals: Vec<Refusal>,
    /// There may be more: ask again with `?after=` this line.
    next: Option<i64>,
}

/// Takes the next rows of a file: in one transaction with the line that they go up to, so that none is taken twice.
#[utoipa::path(post, path = "/api/imports/{id}/rows", tag = "imports", params(("id" = String, Path, description = "Names the file, for example by its digest")),
    request_body = ImportRows, security(("service_key" = [])), responses((status = 200, body = ImportResult)))]
pub(super) async fn rows(
    State(door): State<Door>,
    segments: Segments,
    request: Request,
) -> Result<Json<ImportResult>, ApiError> {
    let service = door.service()?;
    let id = id(&segments)?;
    let mut asked: ImportRows = parsed(&body(request, LARGEST_BODY).await?)?;
    if asked.rows.len() > MOST_ROWS {
        let message = format!("{} rows; a request has {MOST_ROWS} at most", asked.rows.len());
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "import_invalid", message));
    }
    if asked.last < asked.after {
        let message = format!("last: found {}; the rows go up to a line after `after`, {}", asked.last, asked.after);
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "import_invalid", message));
    }
    let rows = std::mem::take(&mut asked.rows);
    let now = service.clock.now_ms();
    let (worker, defaults) = (service.clone(), asked.clone());
    // Rendering many passes takes its time.
    let checked =
        tokio::task::spawn_blocking(move || check(&worker.passes, &defaults, rows, now)).await.map_err(|error| {
            tracing::error!(%error, "checking rows of an import ended in a panic");
            ApiError::internal()
        })?;
    let taken = service.store.import(id, &asked, checked, now).await;
    let result = taken.map_err(|error| storage(&error))?.map_err(|line| {
        let message = format!("the import stands at line {line}; send the rows after it");
        ApiError::new(StatusCode::CONFLICT, "import_elsewhere", message).detail("line", line)
    })?;
    if !asked.dry_run {
        service.metrics.imported_passes.inc_by(u64::try_from(result.passes).unwrap_or(0));
        service.metrics.imported_registrations.inc_by(u64::try_from(result.registrations).unwrap_or(0));
    }
    Ok(Json(result))
}

/// Shows how far an import is.
#[utoipa::path(get, path = "/api/imports/{id}", tag = "imports", params(("id" = String, Path)), security(("service_key" = [])),
    responses((status = 200, body = ImportState)))]
pub(super) async fn show(State(door): State<Door>, segments: Segments) -> Result<Json<ImportState>, ApiError> {
    let found = door.service()?.store.import_state(id(&segments)?).await.map_err(|error| storage(&error))?;
    Ok(Json(found.ok_or_else(unknown)?))
}

/// Lists the latest 200 imports.
#[utoipa::path(get, path = "/api/imports", tag = "imports", security(("service_key" = [])), responses((status = 200, body = Imports)))]
pub(super) async fn list(State(door): State<Door>) -> Result<Json<Imports>, ApiError> {
    let imports = door.service()?.store.imports(SHOWN).await.map_err(|error| storage(&error))?;
    Ok(Json(Imports { imports }))
}

/// The lines that were refused, in their order, 1,000 at a time; 100,000 of an import are kept.
#[utoipa::path(get, path = "/api/imports/{id}/refusals", tag = "imports",
    params(("id" = String, Path), ("after" = Option<i64>, Query, description = "Begin behind this line")),
    security(("service_key" = [])), responses((status = 200, body = Refusals)))]
pub(super) async fn refusals(
    State(door): State<Door>,
    segments: Segments,
    uri: Uri,
) -> Result<Json<Refusals>, ApiError> {
    let after = query_parameter(&uri, "after").and_then(|text| text.parse().ok()).unwrap_or(0);
    let found = door.service()?.store.import_refusals(id(&segments)?, after, PAGE).await;
    let mut refusals = found.map_err(|error| storage(&error))?;
    let full = i64::try_from(refusals.len()).is_ok_and(|count| count == PAGE);
    // A line may have several, far fewer than a page: the next page begins with a line.
    if let Some(line) = refusals.last().filter(|_| full).map(|last| last.line) {
        refusals.retain(|refusal| refusal.line < line);
    }
    let next = refusals.last().filter(|_| full).map(|last| last.line);
    Ok(Json(Refusals { refusals, next }))
}

fn id(segments: &Segments) -> Result<&str, ApiError> {
    segments.id(2).ok_or_else(unknown)
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "import_unknown", "there is no such import; GET /api/imports lists them")
}
