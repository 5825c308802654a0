//! `/api/campaigns`: start, look at, pause, resume, sweep again, cancel.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use tidings_shared::http::ApiError;
use tidings_shared::storage::StorageError;
use utoipa::ToSchema;

use super::answer::{json as parsed, storage};
use crate::campaign::{Campaign, Coverage, CreateCampaign, State as CampaignState};
use crate::token;
use crate::web::path::{Segments, body};
use crate::web::{Door, Service};

const LARGEST_BODY: usize = 256 * 1024;
/// Campaigns that are shown.
const SHOWN: i64 = 200;
/// A count that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Campaigns, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Campaigns {
    campaigns: Vec<Campaign>,
}

/// Starts a campaign. It runs when no other one does, else after that.
#[utoipa::path(post, path = "/api/campaigns", tag = "campaigns", request_body = CreateCampaign, security(("service_key" = [])),
    responses((status = 201, body = Campaign)))]
pub(super) async fn create(State(door): State<Door>, request: Request) -> Result<Response, ApiError> {
    let service = door.service()?;
    let asked: CreateCampaign = parsed(&body(request, LARGEST_BODY).await?)?;
    asked.check().map_err(|fault| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "campaign_invalid", fault))?;
    let id = token::random_hex::<8>().map_err(|error| {
        tracing::error!(%error, "a campaign cannot be named");
        ApiError::internal()
    })?;
    let now = service.clock.now_ms();
    let stored = service.store.insert_campaign(&id, &asked.name, &asked.query, &asked.plan(), now).await;
    stored.map_err(|error| storage(&error))?;
    service.campaigns.notify_one();
    Ok((StatusCode::CREATED, Json(found(&service, &id).await?)).into_response())
}

/// Lists the latest 200 campaigns.
#[utoipa::path(get, path = "/api/campaigns", tag = "campaigns", security(("service_key" = [])),
    responses((status = 200, body = Campaigns)))]
pub(super) async fn list(State(door): State<Door>) -> Result<Json<Campaigns>, ApiError> {
    let campaigns = door.service()?.store.campaigns(SHOWN).await.map_err(|error| storage(&error))?;
    Ok(Json(Campaigns { campaigns }))
}

/// Shows how far a campaign is.
#[utoipa::path(get, path = "/api/campaigns/{id}", tag = "campaigns", params(("id" = String, Path)), security(("service_key" = [])),
    responses((status = 200, body = Campaign)))]
pub(super) async fn show(State(door): State<Door>, segments: Segments) -> Result<Json<Campaign>, ApiError> {
    let service = door.service()?;
    Ok(Json(found(&service, id(&segments)?).await?))
}

/// Counts who has asked since the campaign began. With tens of millions of devices that goes on behind the answer: it has the
/// last count then, with its time, or is 202 when there is none yet.
#[utoipa::path(get, path = "/api/campaigns/{id}/coverage", tag = "campaigns", params(("id" = String, Path)),
    security(("service_key" = [])), responses((status = 200, body = Coverage), (status = 202, description = "It is being counted")))]
pub(super) async fn coverage(State(door): State<Door>, segments: Segments) -> Result<Response, ApiError> {
    let service = door.service()?;
    let campaign = found(&service, id(&segments)?).await?;
    let known = campaign.coverage;
    if let Some(counting) = count(&service, campaign)
        && let Ok(Ok(coverage)) = tokio::time::timeout(PATIENCE, counting).await
    {
        return Ok(Json(coverage.map_err(|error| storage(&error))?).into_response());
    }
    Ok(match known {
        Some(coverage) => Json(coverage).into_response(),
        None => (StatusCode::ACCEPTED, Json(serde_json::json!({"counting": true}))).into_response(),
    })
}

/// Counts a campaign's coverage, whoever waits for it; `None`: that is done already.
fn count(
    service: &Arc<Service>,
    campaign: Campaign,
) -> Option<tokio::task::JoinHandle<Result<Coverage, StorageError>>> {
    if !service.counting.lock().unwrap_or_else(PoisonError::into_inner).insert(campaign.id.clone()) {
        return None;
    }
    let service = service.clone();
    Some(tokio::spawn(async move {
        let coverage = service.store.count_coverage(&campaign, service.clock.now_ms()).await;
        if let Err(error) = &coverage {
            tracing::warn!(%error, campaign = campaign.id, "the coverage of a campaign cannot be counted");
        }
        service.counting.lock().unwrap_or_else(PoisonError::into_inner).remove(&campaign.id);
        coverage
    }))
}

/// Stops a campaign where it is.
#[utoipa::path(post, path = "/api/campaigns/{id}/pause", tag = "campaigns", params(("id" = String, Path)),
    security(("service_key" = [])), responses((status = 200, body = Campaign)))]
pub(super) async fn pause(State(door): State<Door>, segments: Segments) -> Result<Json<Campaign>, ApiError> {
    moved(&door, &segments, &[CampaignState::Running, CampaignState::Waiting], CampaignState::Paused).await
}

/// Lets a paused campaign go on where it stands.
#[utoipa::path(post, path = "/api/campaigns/{id}/resume", tag = "campaigns", params(("id" = String, Path)),
    security(("service_key" = [])), responses((status = 200, body = Campaign)))]
pub(super) async fn resume(State(door): State<Door>, segments: Segments) -> Result<Json<Campaign>, ApiError> {
    moved(&door, &segments, &[CampaignState::Paused], CampaignState::Running).await
}

/// Ends a campaign; what was pushed stays pushed.
#[utoipa::path(post, path = "/api/campaigns/{id}/cancel", tag = "campaigns", params(("id" = String, Path)),
    security(("service_key" = [])), responses((status = 200, body = Campaign)))]
pub(super) async fn cancel(State(door): State<Door>, segments: Segments) -> Result<Json<Campaign>, ApiError> {
    let from = [CampaignState::Running, CampaignState::Waiting, CampaignState::Paused];
    moved(&door, &segments, &from, CampaignState::Cancelled).await
}

/// Sweeps once more over those that have not asked since the campaign began.
#[utoipa::path(post, path = "/api/campaigns/{id}/sweep", tag = "campaigns", params(("id" = String, Path)),
    security(("service_key" = [])), responses((status = 200, body = Campaign)))]
pub(super) async fn sweep(State(door): State<Door>, segments: Segments) -> Result<Json<Campaign>, ApiError> {
    let service = door.service()?;
    let campaign = found(&service, id(&segments)?).await?;
    let now = service.clock.now_ms();
    let begun = service.store.begin_sweep(&campaign.id, campaign.sweep, now).await.map_err(|error| storage(&error))?;
    let campaign = found(&service, &campaign.id).await?;
    if !begun {
        return Err(elsewhere(&campaign));
    }
    service.campaigns.notify_one();
    Ok(Json(campaign))
}

async fn moved(
    door: &Door,
    segments: &Segments,
    from: &[CampaignState],
    to: CampaignState,
) -> Result<Json<Campaign>, ApiError> {
    let service = door.service()?;
    let id = id(segments)?;
    let now = service.clock.now_ms();
    let moved = service.store.move_campaign(id, from, to, now).await.map_err(|error| storage(&error))?;
    let campaign = found(&service, id).await?;
    // Asking twice does no harm.
    if !moved && campaign.state != to {
        return Err(elsewhere(&campaign));
    }
    service.campaigns.notify_one();
    Ok(Json(campaign))
}

fn elsewhere(campaign: &Campaign) -> ApiError {
    let message = format!("the campaign is {}; this cannot be done to it now", campaign.state.as_str());
    ApiError::new(StatusCode::CONFLICT, "campaign_state", message)
}

async fn found(service: &Service, id: &str) -> Result<Campaign, ApiError> {
    let campaign = service.store.campaign(id).await.map_err(|error| storage(&error))?;
    campaign.ok_or_else(unknown)
}

fn id(segments: &Segments) -> Result<&str, ApiError> {
    segments.id(2).ok_or_else(unknown)
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "campaign_unknown", "there is no such campaign; GET /api/campaigns lists them")
}
