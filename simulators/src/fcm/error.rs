//! The error model of FCM v1: `google.rpc.Status` with the FCM code in its details.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Details, ScriptedError};
use crate::script::RetryAfterForm;

const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
const QUOTA_FAILURE: &str = "type.googleapis.com/google.rpc.QuotaFailure";
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// An answer other than 200.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FcmError {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<(u64, RetryAfterForm)>,
    pub(crate) body: Value,
}

/// The HTTP status and the `google.rpc.Code` of an FCM code.
fn status_of(code: &str) -> (StatusCode, &str) {
    match code {
        "INVALID_ARGUMENT" => (StatusCode::BAD_REQUEST, code),
        "UNREGISTERED" => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        "SENDER_ID_MISMATCH" => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
        "THIRD_PARTY_AUTH_ERROR" => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
        "QUOTA_EXCEEDED" => (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
        "INTERNAL" => (StatusCode::INTERNAL_SERVER_ERROR, code),
        "UNAVAILABLE" => (StatusCode::SERVICE_UNAVAILABLE, code),
        _ => (StatusCode::BAD_REQUEST, code),
    }
}

fn violation(field: &str, description: &str) -> Value {
    json!({ "@type": BAD_REQUEST, "fieldViolations": [{ "field": field, "description": description }] })
}

impl FcmError {
    fn new(status: StatusCode, message: &str, rpc: &str, details: Vec<Value>) -> Self {
        let mut error = json!({ "code": status.as_u16(), "message": message, "status": rpc });
        if !details.is_empty() {
            error["details"] = Value::Array(details);
        }
        Self { status, retry_after: None, body: json!({ "error": error }) }
    }

    /// An error with the FCM code in its details.
    pub(crate) fn fcm(code: &str, message: &str) -> Self {
        let (status, rpc) = status_of(code);
        Self::new(status, message, rpc, vec![json!({ "@type": FCM_ERROR, "errorCode": code })])
    }

    /// A message that breaks a rule: INVALID_ARGUMENT, with the field.
    pub(crate) fn invalid(field: &str, message: &str) -> Self {
        let code = "INVALID_ARGUMENT";
        let details = vec![json!({ "@type": FCM_ERROR, "errorCode": code }), violation(field, message)];
        Self::new(StatusCode::BAD_REQUEST, message, code, details)
    }

    /// A body that does not even parse as the request's type: there is no FCM detail then.
    pub(crate) fn unparsable(field: &str, message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message, "INVALID_ARGUMENT", vec![violation(field, message)])
    }

    /// No or no valid access token: the OAuth layer's own 401.
    pub(crate) fn unauthenticated() -> Self {
        let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or \
                       other valid authentication credential. See \
                       https://developers.google.com/identity/sign-in/web/devconsole-project.";
        let info = json!({
            "@type": ERROR_INFO,
            "reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED",
            "metadata": { "service": "fcm.googleapis.com", "method": "google.firebase.fcm.v1.FcmService.SendMessage" },
        });
        Self::new(StatusCode::UNAUTHORIZED, message, "UNAUTHENTICATED", vec![info])
    }

    /// The access token belongs to another project.
    pub(crate) fn permission_denied(project: &str) -> Self {
        let message = format!(
            "Permission 'cloudmessaging.messages.create' denied on resource \
             '//cloudresourcemanager.googleapis.com/projects/{project}' (or it may not exist)."
        );
        let info = json!({ "@type": ERROR_INFO, "reason": "IAM_PERMISSION_DENIED", "domain": "cloudresourcemanager.googleapis.com" });
        Self::new(StatusCode::FORBIDDEN, &message, "PERMISSION_DENIED", vec![info])
    }

    /// The error that a script asks for.
    pub(crate) fn scripted(script: &ScriptedError) -> Self {
        let (status, rpc) = status_of(&script.code);
        let status = script.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(status);
        let message = script.message.as_deref().unwrap_or("scripted by the simulator's control");
        let details = match script.details {
            Details::None => Vec::new(),
            Details::Fcm => vec![json!({ "@type": FCM_ERROR, "errorCode": script.code })],
            Details::BadRequest => vec![violation(script.field.as_deref().unwrap_or("message.token"), message)],
            Details::Quota => vec![json!({
                "@type": QUOTA_FAILURE,
                "violations": [{ "subject": "project", "description": message }],
            })],
        };
        let retry_after = script.retry_after.map(|seconds| (seconds, script.retry_after_form));
        Self { retry_after, ..Self::new(status, message, rpc, details) }
    }
}
