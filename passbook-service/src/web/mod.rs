//! The HTTP doors: Apple's routes under `/v1`, the service-key API under `/api`, health and metrics.

mod api;
mod authenticate;
mod bundle;
mod download;
mod guard;
mod http_date;
mod image;
mod limits;
mod list;
mod log;
mod order;
mod pass;
mod path;
mod personalize;
mod registration;

pub use api::openapi;
pub(crate) use path::encode;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http::StatusCode;
use tidings_shared::auth::ServiceKeys;
use tidings_shared::clock::Clock;
use tidings_shared::http::ApiError;
use tokio::sync::Notify;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use crate::campaign::Question;
use crate::diagnose::Recorder;
use crate::google::Google;
use crate::link::{LinkedPass, Links};
use crate::metrics::Metrics;
use crate::order::OrderCatalog;
use crate::store::Store;
use crate::update::{Jobs, Passes};

pub use limits::Limits;

/// A request that takes longer than this, its body included, is ended.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What the routes stand on.
pub struct Service {
    /// The tables.
    pub store: Store,
    /// Passes and how they change.
    pub passes: Passes,
    /// Changes of many passes.
    pub jobs: Jobs,
    /// Makes and opens links to download pages.
    pub links: Links,
    /// How long a link opens, ms.
    pub links_ttl_ms: i64,
    /// Device logs.
    pub recorder: Recorder,
    /// Keys of the service API.
    pub keys: ServiceKeys,
    /// The address in passes.
    pub public_url: String,
    /// Told when a campaign may go on.
    pub campaigns: Arc<Notify>,
    /// Campaigns whose coverage this process counts at the moment.
    pub counting: Arc<Mutex<BTreeSet<String>>>,
    /// How long a device is in quarantine before it is forgotten, ms.
    pub quarantine_ms: i64,
    /// Time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// Templates of orders.
    pub orders: OrderCatalog,
    /// Google Wallet, if it is configured.
    pub google: Option<Arc<Google>>,
}

impl AsRef<Passes> for Service {
    fn as_ref(&self) -> &Passes {
        &self.passes
    }
}

impl Service {
    /// The address of a download page for these passes, and its end (ms since 1970). `ttl_s`: for how many seconds;
    /// `None`: as configured.
    ///
    /// # Errors
    /// 400 for a time that cannot be.
    pub fn download_link(&self, passes: Vec<LinkedPass>, ttl_s: Option<i64>) -> Result<(String, i64), ApiError> {
        /// Longer than this nobody can say who has the link.
        const LONGEST_S: i64 = 10 * 366 * 86_400;
        let ttl_ms = match ttl_s {
            Some(seconds) if (1..=LONGEST_S).contains(&seconds) => seconds * 1000,
            Some(seconds) => {
                let message = format!("ttl: found {seconds}; a link opens for 1 to {LONGEST_S} seconds");
                return Err(ApiError::new(StatusCode::BAD_REQUEST, "request_invalid", message));
            }
            None => self.links_ttl_ms,
        };
        let ends_at = self.clock.now_ms() + ttl_ms;
        let link = self.links.seal(passes, ends_at).map_err(|error| {
            tracing::error!(%error, "a link cannot be made");
            ApiError::internal()
        })?;
        if link.len() > crate::link::LONGEST_MADE {
            let message = format!(
                "passes: the link would have {} characters and at most {} open everywhere; link fewer passes at once",
                link.len(),
                crate::link::LONGEST_MADE
            );
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "link_too_long", message));
        }
        Ok((format!("{}/get/{link}", self.public_url), ends_at))
    }
}

/// The service, once its database answers.
#[derive(Clone, Default)]
pub struct Door(Arc<OnceLock<Arc<Service>>>);

impl Door {
    /// Lets requests in. Only the first call counts.
    pub fn open(&self, service: Arc<Service>) {
        let _opened = self.0.set(service);
    }

    fn service(&self) -> Result<Arc<Service>, ApiError> {
        self.0.get().cloned().ok_or_else(unavailable)
    }
}

/// 503 while the database is away.
fn unavailable() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        "the service cannot reach its database at the moment; try again",
    )
    .retry_after(5)
}

/// All routes but health and metrics.
pub fn router(door: Door, metrics: Metrics, limits: Arc<Limits>) -> Router {
    let apple = Router::new()
        .route("/v1/devices/{device}/registrations/{pass_type}", get(list::list))
        .route(
            "/v1/devices/{device}/registrations/{pass_type}/{serial}",
            post(registration::register).merge(delete(registration::unregister)),
        )
        .route("/v1/passes/{pass_type}/{serial}", get(pass::get))
        .route("/v1/passes/{pass_type}/{serial}/personalize", post(personalize::personalize))
        .route("/v1/orders/{order_type}/{order_identifier}", get(order::get))
        .route("/v1/log", post(log::log));
    let routes = apple
        .merge(api::router(door.clone()))
        .merge(download::router())
        .route("/get/image/{template}/{file}", get(image::image))
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address"))
        .method_not_allowed_fallback(async || {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this address does not know this method",
            )
        })
        .layer(from_fn_with_state(guard::Guard { limits, metrics: metrics.clone() }, guard::guard))
        .layer(from_fn_with_state(metrics, count))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, TIMEOUT))
        .with_state(door);
    // Routing sees the tidied path only if that is done outside of the router.
    Router::new().fallback_service(ServiceBuilder::new().map_request(path::tidy).service(routes))
}

async fn count(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    // Methods are the client's words: unknown ones must not become new time series.
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PATCH" | "DELETE") => known.to_owned(),
        _ => "OTHER".to_owned(),
    };
    let question = match (method.as_str(), route.as_str()) {
        ("GET", "/v1/devices/{device}/registrations/{pass_type}") => Some(Question::List),
        ("GET", "/v1/passes/{pass_type}/{serial}") => Some(Question::Get),
        _ => None,
    };
    let route = format!("{method} {route}");
    let begin = tokio::time::Instant::now();
    let response = next.run(request).await;
    // Whom a limit turns away tells nothing of how the service bears its load.
    if let Some(question) = question.filter(|_| response.status() != StatusCode::TOO_MANY_REQUESTS) {
        let status = response.status();
        let failed = status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT;
        metrics.load.note(question, begin.elapsed(), failed);
    }
    metrics.request(&route, response.status().as_u16());
    response
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a request ended in a panic; this is a fault of the service");
    ApiError::internal().into_response()
}
