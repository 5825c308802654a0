//! Failed log-ins over HTTP: the same counting as over MQTT, around the routes that ask for a token or a key.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tidings_shared::auth::http::bearer;
use tidings_shared::http::ApiError;
use tokio::time::Instant;

use super::backoff::Kind;
use super::{Gate, Inner, login};

impl Gate {
    /// Holds back requests whose credentials, or whose address, have failed too often: 429 `login_backoff`. What the
    /// routes answer tells how it went: 401 is a failure, an answer with content a success.
    pub fn guard(&self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(self.0.clone(), count))
    }
}

async fn count(State(gate): State<Arc<Inner>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let (Some(peer), Some(credential)) = (peer, bearer(request.headers())) else {
        // Without a credential nothing is verified.
        return next.run(request).await;
    };
    let kind = if credential.split('.').count() == 3 { Kind::Token } else { Kind::Key };
    let user: &[u8] = if kind == Kind::Key { login::HANDLER_USER.as_bytes() } else { b"" };
    let attempt = gate.backoff.attempt(peer, kind, user, credential.as_bytes());
    if let Err(left) = gate.backoff.admit(&attempt, Instant::now()) {
        let refused = login::held_back(left);
        gate.metrics.refuse(refused.code);
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        return ApiError::new(StatusCode::TOO_MANY_REQUESTS, refused.code, refused.why)
            .retry_after(seconds)
            .into_response();
    }
    let response = next.run(request).await;
    match response.status() {
        StatusCode::UNAUTHORIZED => gate.backoff.failed(&attempt, Instant::now()),
        status if status.is_success() || status == StatusCode::NOT_MODIFIED => gate.backoff.succeeded(&attempt),
        _ => {}
    }
    response
}
