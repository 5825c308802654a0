//! What a request must pass before its route is asked: sizes of its head, and limits on what is open to anybody.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use tidings_shared::http::ApiError;

use super::limits::{Caller, Counted, Limits};
use super::path::Segments;
use crate::metrics::Metrics;

/// Longest path and query. An id has at most 255 bytes, three times as many when they are percent-encoded.
const LONGEST_URI: usize = 4096;
/// All names and values of the header together.
const LARGEST_HEAD: usize = 16 * 1024;

/// What the guard stands on. Cheap to clone.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) limits: Arc<Limits>,
    pub(super) metrics: Metrics,
}

/// What a request asks for, as far as limits are concerned.
enum Asks {
    /// `/v1/log`.
    Log,
    /// "What changed?" of this device.
    List(String),
    /// Something that its own token or the service key opens; the segments name it.
    Opened(Vec<String>),
    /// Anything else.
    Other,
}

pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if request.uri().path_and_query().is_some_and(|text| text.as_str().len() > LONGEST_URI) {
        let message = format!("the path and query have more than {LONGEST_URI} bytes");
        return ApiError::new(StatusCode::URI_TOO_LONG, "uri_too_long", message).into_response();
    }
    let head: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if head > LARGEST_HEAD {
        let message = format!("the header has {head} bytes; {LARGEST_HEAD} are allowed");
        return ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large", message).into_response();
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let caller = guard.limits.caller(peer, request.headers());
    let path = request.uri().path().to_owned();
    match asks(request.method(), &path) {
        Asks::Log => {
            if let Caller::At(address) = caller
                && guard.limits.take(Counted::LogFrom, address).is_err()
            {
                // Anything but 200 makes a device send it again.
                guard.metrics.limited("log");
                return StatusCode::OK.into_response();
            }
            next.run(request).await
        }
        Asks::List(device) => {
            let taken = guard.limits.take(Counted::ListOfDevice, &device).and_then(|()| match caller {
                Caller::At(address) => guard.limits.take(Counted::ListFrom, address),
                Caller::Here => Ok(()),
            });
            match taken {
                Ok(()) => next.run(request).await,
                Err(seconds) => guard.too_many("list", seconds),
            }
        }
        Asks::Opened(what) => guard.opened(caller, &what, request, next).await,
        Asks::Other => next.run(request).await,
    }
}

impl Guard {
    /// Lets through who has not failed too often, or was good lately.
    async fn opened(&self, caller: Caller, what: &[String], request: Request, next: Next) -> Response {
        let Caller::At(address) = caller else { return next.run(request).await };
        let credentials = (what.to_vec(), request.headers().get(AUTHORIZATION).map(|value| value.as_bytes().to_vec()));
        let room = self
            .limits
            .room(Counted::FailureAtPass, (address, what))
            .and(self.limits.room(Counted::FailureFrom, address));
        if let Err(seconds) = room
            && !self.limits.was_good(&credentials)
        {
            return self.too_many("authentication", seconds);
        }
        let response = next.run(request).await;
        if response.status() == StatusCode::UNAUTHORIZED {
            // Both are counted, whether there is room or not.
            let _ = self.limits.take(Counted::FailureAtPass, (address, what));
            let _ = self.limits.take(Counted::FailureFrom, address);
        } else if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
            self.limits.good(&credentials);
        }
        response
    }

    fn too_many(&self, what: &'static str, seconds: u64) -> Response {
        self.metrics.limited(what);
        ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            "too many requests; Retry-After says when to try again",
        )
        .retry_after(seconds)
        .into_response()
    }
}

fn asks(method: &Method, path: &str) -> Asks {
    // Decoded, as the routes read it: an id that is written in another way is no other id.
    let segments = Segments::of(path.trim_end_matches('/')).all();
    let segment = |position: usize| segments.get(position).map(String::as_str);
    let from = |position: usize| Asks::Opened(segments[position..].to_vec());
    match (segment(0), segment(1)) {
        (Some("v1"), Some("log")) => Asks::Log,
        (Some("v1"), Some("devices")) => match (segment(2), segments.len()) {
            (Some(device), 5) if *method == Method::GET || *method == Method::HEAD => Asks::List(device.to_owned()),
            // Who registers many devices for one pass fails at that pass.
            (Some(_), 4..) => from(3),
            _ => Asks::Other,
        },
        (Some("v1"), Some(_)) => from(1),
        // Open to everybody: that it is answered says nothing about a key.
        (Some("api"), Some("openapi.json")) => Asks::Other,
        (Some("api"), _) => Asks::Opened(vec!["api".to_owned()]),
        _ => Asks::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_known_by_its_address() {
        let kind = |method: Method, path: &str| match asks(&method, path) {
            Asks::Log => "log".to_owned(),
            Asks::List(device) => format!("list {device}"),
            Asks::Opened(what) => format!("opened {}", what.join("/")),
            Asks::Other => "other".to_owned(),
        };
        assert_eq!(kind(Method::POST, "/v1/log"), "log");
        assert_eq!(kind(Method::GET, "/v1/devices/d/registrations/t"), "list d");
        assert_eq!(kind(Method::POST, "/v1/devices/d/registrations/t/s"), "opened registrations/t/s");
        assert_eq!(kind(Method::DELETE, "/v1/devices/d/registrations/t/s"), "opened registrations/t/s");
        assert_eq!(kind(Method::GET, "/v1/passes/t/s"), "opened passes/t/s");
        assert_eq!(kind(Method::GET, "/v1/orders/t/s"), "opened orders/t/s");
        assert_eq!(kind(Method::POST, "/api/passes"), "opened api");
        assert_eq!(kind(Method::GET, "/api/openapi.json"), "other");
        assert_eq!(kind(Method::GET, "/v1/passes/t/%41"), "opened passes/t/A");
        assert_eq!(kind(Method::GET, "/v1/devices/%64/registrations/t"), "list d");
        assert_eq!(kind(Method::GET, "/get/x"), "other");
        assert_eq!(kind(Method::GET, "/healthz"), "other");
    }
}
