//! `"validate_only": true`: nothing is stored or sent, the providers are asked what they would do.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tidings_shared::http::ApiError;
use tidings_shared::push_api::{Provider, Push, SendNotification, To, Ttl, Verdict, Verdicts};

use super::addressees::Known;
use super::{Gateway, addressees, content, refusal};
use crate::devices::Registered;
use crate::provider::{Message, Outcome};
use crate::queue::{Address, NewTarget};

/// Questions to a provider at once.
const AT_ONCE: usize = 16;

/// Answers for targets that keep every rule that is known here.
pub(super) async fn answer(gateway: &Gateway, request: &SendNotification, now_ms: i64) -> Result<Response, ApiError> {
    if matches!(request.to, To::Segment(_)) {
        let message = "`validate_only` asks the provider of each addressee; that is not for whole segments";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", message));
    }
    let mut connection = gateway.database()?.pool().acquire().await.map_err(refusal::storage)?;
    let content = content::of(gateway, Some(&mut connection), request, &gateway.ids.next()).await?;
    let targets = addressees::targets(gateway, Some(&mut connection), &Known::default(), request, &content).await?;
    // The providers take their time; the database need not wait for them.
    drop(connection);
    let (targets, push) = (targets.as_slice(), content.push);
    let expires_at_ms = addressees::expiry(request.ttl.unwrap_or(Ttl::new(gateway.ttl)), now_ms);
    let mut asked = Vec::with_capacity(targets.len());
    for target in targets {
        asked.push(message(gateway, request, &push, target, expires_at_ms).await?);
    }
    let mut verdicts = Vec::with_capacity(targets.len());
    for (targets, messages) in targets.chunks(AT_ONCE).zip(asked.chunks(AT_ONCE)) {
        let questions: Vec<_> =
            targets.iter().zip(messages).map(|(target, message)| verdict(gateway, target, message)).collect();
        verdicts.extend(futures_util::future::join_all(questions).await);
    }
    Ok(Json(Verdicts { verdicts }).into_response())
}

async fn message(
    gateway: &Gateway,
    request: &SendNotification,
    push: &Arc<Push>,
    target: &NewTarget,
    expires_at_ms: i64,
) -> Result<Message, ApiError> {
    let token = match &target.to {
        Address::Token { token, .. } => token.clone(),
        // Only FCM has a way to ask, so only its tokens are needed.
        Address::Device { .. } if target.provider != Provider::Fcm => String::new(),
        Address::Device { id, .. } => {
            let mut connection = gateway.database()?.pool().acquire().await.map_err(refusal::storage)?;
            let device = crate::devices::store::by_id(&mut connection, id).await.map_err(refusal::storage)?;
            device.map(|Registered { registration, .. }| registration.token).unwrap_or_default()
        }
    };
    Ok(Message {
        id: target.id.clone(),
        token,
        environment: target.environment,
        registered_at_ms: None,
        push: Arc::clone(push),
        collapse_id: request.collapse_id.clone(),
        expires_at_ms,
    })
}

async fn verdict(gateway: &Gateway, target: &NewTarget, message: &Message) -> Verdict {
    let answer = match gateway.apps.lane(target.provider, &target.app) {
        Some(lane) => lane.client.validate(message).await,
        None => None,
    };
    let accepted = answer.as_ref().and_then(|answer| match answer.outcome {
        Outcome::Accepted => Some(true),
        Outcome::Retry(_) => None,
        _ => Some(false),
    });
    Verdict {
        device: match &target.to {
            Address::Device { name, .. } => Some(name.clone()),
            Address::Token { .. } => None,
        },
        provider: target.provider,
        app: target.app.clone(),
        accepted,
        provider_status: answer.as_ref().and_then(|answer| answer.status),
        reason: answer.and_then(|answer| answer.reason),
    }
}
