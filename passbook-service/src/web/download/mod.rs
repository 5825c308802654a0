//! `/get/…`: pages for people, opened by a sealed link. They give the passes behind it to a phone, and show a desktop
//! visitor a QR code. Nothing here is kept by caches, sent on as a referrer, or found by search engines.

mod page;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, StatusCode};
use tidings_shared::http::ApiError;

use super::api::passes::pictures;
use super::api::templates::{beside, svg};
use super::{Door, Service, bundle, pass as package_of};
use crate::link::{LinkError, LinkedPass};
use crate::package::qr_svg;
use crate::store::PassRow;

/// The routes under `/get`.
pub(super) fn router() -> Router<Door> {
    Router::new()
        .route("/get/{link}", get(page))
        .route("/get/{link}/pass.pkpass", get(package))
        .route("/get/{link}/passes.pkpasses", get(packages))
        .route("/get/{link}/qr.svg", get(code))
        .route("/get/{link}/front/{number}", get(front))
        .route("/get/{link}/google/{number}", get(google))
}

/// A page that says no: for people, in plain words.
enum Refusal {
    Bad,
    Ended,
    Error(ApiError),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, words) = match self {
            Self::Bad => (StatusCode::NOT_FOUND, "This link is not complete, or it was changed. Ask for a new one."),
            Self::Ended => (StatusCode::GONE, "This link has ended. Ask for a new one."),
            Self::Error(error) if error.status == StatusCode::NOT_FOUND => {
                (StatusCode::GONE, "This pass is no longer there.")
            }
            Self::Error(error) => (error.status, "The pass cannot be given out at the moment. Try again in a while."),
        };
        (status, headers("text/html; charset=utf-8"), page::refusal(words)).into_response()
    }
}

async fn page(State(door): State<Door>, Path(link): Path<String>, asked: HeaderMap) -> Result<Response, Refusal> {
    let service = door.service()?;
    let passes = open(&service, &link).await?;
    let language = asked.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut shown = Vec::new();
    for (pass, _) in &passes {
        let Ok(template) = service.passes.template_of(pass).await else { return Err(ApiError::internal().into()) };
        let json = service.passes.rendered_with(&template, &pass.clone().into(), &pass.id);
        let json = json.map_err(|_| ApiError::internal())?;
        let texts = template.strings_for(&page::languages(language));
        let text = |key: &str| {
            let text = json.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
            texts.get(text).cloned().unwrap_or_else(|| text.to_owned())
        };
        shown.push(page::Shown { organization: text("organizationName"), description: text("description") });
    }
    let body = page::page(&link, &shown, language, service.google.is_some());
    Ok((headers("text/html; charset=utf-8"), body).into_response())
}

async fn package(State(door): State<Door>, Path(link): Path<String>) -> Result<Response, Refusal> {
    let service = door.service()?;
    let Some((pass, token)) = open(&service, &link).await?.into_iter().next() else { return Err(Refusal::Bad) };
    let pass = package_of::current(&service, pass).await?;
    let package = package_of::build(&service, pass, token).await?;
    let disposition = [(CONTENT_DISPOSITION, "attachment; filename=\"pass.pkpass\"")];
    Ok((headers(package_of::PKPASS), disposition, package).into_response())
}

async fn packages(State(door): State<Door>, Path(link): Path<String>) -> Result<Response, Refusal> {
    let service = door.service()?;
    let passes = open(&service, &link).await?;
    let bundle = bundle::pack(&service, passes).await?;
    let disposition = [(CONTENT_DISPOSITION, "attachment; filename=\"passes.pkpasses\"")];
    Ok((headers(bundle::PKPASSES), disposition, bundle).into_response())
}

async fn code(State(door): State<Door>, Path(link): Path<String>) -> Result<Response, Refusal> {
    let service = door.service()?;
    // Only who has a link gets its code.
    let _passes = service.links.open(&link, service.clock.now_ms()).map_err(refused)?;
    let address = format!("{}/get/{link}", service.public_url);
    // A long link is more than a code can hold.
    Ok(svg(beside(move || qr_svg(&address)).await?.ok_or(Refusal::Bad)?))
}

async fn front(
    State(door): State<Door>,
    Path((link, number)): Path<(String, String)>,
    asked: HeaderMap,
) -> Result<Response, Refusal> {
    let service = door.service()?;
    let passes = open(&service, &link).await?;
    let number: usize = number.trim_end_matches(".svg").parse().map_err(|_| Refusal::Bad)?;
    let (pass, _) = passes.get(number).ok_or(Refusal::Bad)?;
    let language = asked.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let language = page::languages(language).into_iter().next();
    Ok(svg(pictures(&service, pass, language).await?.front))
}

/// Leads to Google's page that saves the pass. Google hears of a pass only when somebody wants it there.
async fn google(State(door): State<Door>, Path((link, number)): Path<(String, usize)>) -> Result<Response, Refusal> {
    let service = door.service()?;
    let google = service.google.clone().ok_or(Refusal::Bad)?;
    let passes = open(&service, &link).await?;
    let (pass, _) = passes.get(number).ok_or(Refusal::Bad)?;
    let saved = google.save_link(&service, &pass.id).await.map_err(|_| {
        tracing::error!(pass_type = pass.id.pass_type, "a pass cannot be offered to Google Wallet");
        ApiError::internal()
    })?;
    Ok((headers("text/html; charset=utf-8"), axum::response::Redirect::to(&saved.url)).into_response())
}

/// The passes behind a link, each with its token.
async fn open(service: &Arc<Service>, link: &str) -> Result<Vec<(PassRow, String)>, Refusal> {
    let linked = service.links.open(link, service.clock.now_ms()).map_err(refused)?;
    let mut passes = Vec::new();
    for one in linked {
        passes.push(found(service, one).await?);
    }
    Ok(passes)
}

async fn found(service: &Service, linked: LinkedPass) -> Result<(PassRow, String), Refusal> {
    let pass = service.store.pass(&linked.id()).await.map_err(|error| {
        tracing::error!(%error, "a pass behind a link cannot be read");
        super::unavailable()
    })?;
    let pass = pass.ok_or(Refusal::Ended)?;
    let token = linked.token.or_else(|| service.passes.token_of(&pass)).ok_or(Refusal::Ended)?;
    let fits = crate::token::fits(&token, Some((pass.token_algorithm, &pass.token_hash)));
    if fits { Ok((pass, token)) } else { Err(Refusal::Ended) }
}

fn refused(error: LinkError) -> Refusal {
    match error {
        LinkError::Bad => Refusal::Bad,
        LinkError::Ended => Refusal::Ended,
    }
}

/// What every answer here carries.
fn headers(kind: &'static str) -> [(HeaderName, &'static str); 6] {
    [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "private, no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ]
}
