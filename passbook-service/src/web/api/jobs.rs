//! `/api/jobs`: changes of many passes.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tidings_shared::http::ApiError;
use utoipa::ToSchema;

use super::answer::{json as parsed, storage};
use super::passes::LARGEST_BODY;
use crate::package::ChangeMessage;
use crate::store::{Job, JobFault, PassQuery};
use crate::update::Patch;
use crate::web::Door;
use crate::web::path::{Segments, body};

/// How many passes a dry run looks at.
const SAMPLE: i64 = 10;

/// A change of many passes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct StartJob {
    /// Which passes.
    query: PassQuery,
    /// What becomes of them.
    change: Patch,
    /// Only says how many there are, and what would become of the first of them.
    #[serde(default)]
    dry_run: bool,
}

/// A job, and how far it is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownJob {
    id: String,
    query: PassQuery,
    change: Patch,
    /// `running`, `done` or `cancelled`.
    state: String,
    /// How many passes the query found when it was asked.
    total: Option<i64>,
    /// How many were looked at.
    done: i64,
    /// How many of them changed.
    changed: i64,
    /// How many could not be changed.
    failed: i64,
    /// The first of these.
    faults: Vec<JobFault>,
    /// ms since 1970.
    created_at: i64,
    /// ms since 1970.
    updated_at: i64,
}

impl From<Job> for ShownJob {
    fn from(job: Job) -> Self {
        Self {
            id: job.id,
            query: job.query,
            change: job.change,
            state: job.state,
            total: (job.total >= 0).then_some(job.total),
            done: job.done,
            changed: job.changed,
            failed: job.failed,
            faults: job.faults,
            created_at: job.created_at,
            updated_at: job.updated_at,
        }
    }
}

/// The latest jobs.
#[derive(Serialize, ToSchema)]
pub(super) struct ShownJobs {
    jobs: Vec<ShownJob>,
}

/// What a job would do.
#[derive(Serialize, ToSchema)]
pub(super) struct Rehearsal {
    /// How many passes the query finds.
    total: i64,
    /// The first of them.
    sample: Vec<RehearsedPass>,
}

/// What a job would make of a pass.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RehearsedPass {
    pass_type_identifier: String,
    serial_number: String,
    /// Whether anything on the pass changes.
    changed: bool,
    /// What phones would show.
    messages: Vec<ChangeMessage>,
    /// Why it could not be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

/// Changes every pass that a query finds, in the background: 202 when it is stored. With `dryRun` nothing changes, and the
/// answer (200) says how many passes there are and what would become of the first ten.
#[utoipa::path(post, path = "/api/jobs", tag = "jobs", request_body = StartJob, security(("service_key" = [])),
    responses((status = 202, body = ShownJob), (status = 200, body = Rehearsal)))]
pub(super) async fn start(State(door): State<Door>, request: Request) -> Result<Response, ApiError> {
    let service = door.service()?;
    let asked: StartJob = parsed(&body(request, LARGEST_BODY).await?)?;
    let invalid = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "request_invalid", message);
    asked.query.check().map_err(invalid)?;
    if asked.change == Patch::default() {
        return Err(invalid(
            "change: found nothing; say what becomes of the passes: fields, userInfo, voided or expirationDate"
                .to_owned(),
        ));
    }
    if !asked.dry_run {
        let job = service.jobs.start(asked.query, asked.change).await.map_err(|error| storage(&error))?;
        return Ok((StatusCode::ACCEPTED, Json(ShownJob::from(job))).into_response());
    }
    let total = service.store.count_passes(&asked.query).await.map_err(|error| storage(&error))?;
    let page = service.store.find_pass_rows(&asked.query, None, SAMPLE).await.map_err(|error| storage(&error))?;
    let sample = page.into_iter().map(|pass| {
        let (changed, messages, fault) = match service.passes.rehearse(&pass, &asked.change) {
            Ok((changed, messages)) => (changed, messages, None),
            Err(error) => (false, Vec::new(), Some(error.to_string())),
        };
        RehearsedPass {
            pass_type_identifier: pass.id.pass_type,
            serial_number: pass.id.serial,
            changed,
            messages,
            fault,
        }
    });
    Ok(Json(Rehearsal { total, sample: sample.collect() }).into_response())
}

/// Lists the latest jobs.
#[utoipa::path(get, path = "/api/jobs", tag = "jobs", security(("service_key" = [])), responses((status = 200, body = ShownJobs)))]
pub(super) async fn list(State(door): State<Door>) -> Result<Json<ShownJobs>, ApiError> {
    let jobs = door.service()?.store.jobs(100).await.map_err(|error| storage(&error))?;
    Ok(Json(ShownJobs { jobs: jobs.into_iter().map(ShownJob::from).collect() }))
}

/// Shows how far a job is.
#[utoipa::path(get, path = "/api/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job")),
    security(("service_key" = [])), responses((status = 200, body = ShownJob)))]
pub(super) async fn show(State(door): State<Door>, segments: Segments) -> Result<Json<ShownJob>, ApiError> {
    let service = door.service()?;
    let id = segments.id(2).ok_or_else(unknown)?;
    let job = service.store.job(id).await.map_err(|error| storage(&error))?.ok_or_else(unknown)?;
    Ok(Json(job.into()))
}

/// Ends a running job where it stands: what it has changed stays changed.
#[utoipa::path(delete, path = "/api/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job")),
    security(("service_key" = [])), responses((status = 200, body = ShownJob)))]
pub(super) async fn cancel(State(door): State<Door>, segments: Segments) -> Result<Json<ShownJob>, ApiError> {
    let service = door.service()?;
    let id = segments.id(2).ok_or_else(unknown)?;
    let _running = service.store.cancel_job(id, service.clock.now_ms()).await.map_err(|error| storage(&error))?;
    let job = service.store.job(id).await.map_err(|error| storage(&error))?.ok_or_else(unknown)?;
    Ok(Json(job.into()))
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "job_unknown", "there is no such job, or it ended long ago")
}
