//! Google's errors: `google.rpc.Status` in JSON, with the older `errors` list beside it.

use http::StatusCode;
use serde_json::{Value, json};

/// An answer other than 200.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WalletError {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl WalletError {
    fn new(status: StatusCode, rpc: &str, reason: &str, message: &str) -> Self {
        let body = json!({ "error": {
            "code": status.as_u16(),
            "message": message,
            "errors": [{ "message": message, "domain": "walletobjects", "reason": reason }],
            "status": rpc,
        }});
        Self { status, body }
    }

    pub(super) fn invalid(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", "invalid", message)
    }

    pub(super) fn unauthenticated() -> Self {
        let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or \
                       other valid authentication credential. See \
                       https://developers.google.com/identity/sign-in/web/devconsole-project.";
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", "authError", message)
    }

    pub(super) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", "permissionDenied", message)
    }

    pub(super) fn no_class(id: &str) -> Self {
        let message = format!("Class {id} not found.");
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "classNotFound", &message)
    }

    pub(super) fn missing(what: &str, id: &str) -> Self {
        let message = format!("{what} {id} not found.");
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "resourceNotFound", &message)
    }

    pub(super) fn exists(what: &str, id: &str) -> Self {
        let message = format!("{what} {id} already exists.");
        Self::new(StatusCode::CONFLICT, "ALREADY_EXISTS", "existingResource", &message)
    }

    pub(super) fn quota(message: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", "rateLimitExceeded", message)
    }

    /// The error that a script asks for.
    pub(super) fn scripted(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let (rpc, reason) = match status.as_u16() {
            400 => ("INVALID_ARGUMENT", "invalid"),
            401 => return Self::unauthenticated(),
            403 => ("PERMISSION_DENIED", "permissionDenied"),
            404 => ("NOT_FOUND", "resourceNotFound"),
            409 => ("ALREADY_EXISTS", "existingResource"),
            429 => ("RESOURCE_EXHAUSTED", "rateLimitExceeded"),
            503 => ("UNAVAILABLE", "backendError"),
            _ => ("INTERNAL", "internalError"),
        };
        Self::new(status, rpc, reason, "scripted by the simulator's control")
    }
}
