//! Why a request has no answer, and what that says about whether Apple has the push.

use super::answer::credentials_refused;
use super::goaway;

/// Why a request has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum TransportError {
    #[error("no connection to {endpoint}: {why}")]
    Connect { endpoint: String, why: String },
    #[error("the push is no valid request: {why}")]
    Invalid { why: String },
    #[error("no stream became free in time")]
    NoRoom,
    #[error("the connection was closed before the request was taken: {why}")]
    NotTaken { reason: Option<String>, why: String },
    #[error("the connection broke before the answer came: {why}")]
    Cut { why: String },
    #[error("no answer in time")]
    Timeout,
    #[error("the connection was refused because of our credentials: {reason}")]
    Refused { reason: String },
}

impl TransportError {
    pub(super) fn broken(error: h2::Error, handed_over: bool) -> Self {
        let why = error.to_string();
        let reason = goaway::reason(&error);
        if let Some(reason) = reason.as_deref().filter(|reason| credentials_refused(reason)) {
            return Self::Refused { reason: reason.to_owned() };
        }
        if let Some(reason) = error.get_io().and_then(goaway::certificate_alert) {
            return Self::Refused { reason };
        }
        // RFC 9113: streams above GOAWAY's last id, and refused ones, were not processed.
        let unprocessed = !handed_over
            || (error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR))
            || error.reason() == Some(h2::Reason::REFUSED_STREAM);
        if unprocessed { Self::NotTaken { reason, why } } else { Self::Cut { why } }
    }

    /// Whether the peer may have processed the request.
    pub(super) fn maybe_taken(&self) -> bool {
        matches!(self, Self::Cut { .. } | Self::Timeout)
    }

    /// A word for the record of the push.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Connect { .. } => "connect_failed".to_owned(),
            Self::Invalid { .. } => "invalid_request".to_owned(),
            Self::NoRoom => "no_free_stream".to_owned(),
            Self::NotTaken { reason, .. } => reason.clone().unwrap_or_else(|| "connection_closed".to_owned()),
            Self::Cut { .. } => "connection_cut".to_owned(),
            Self::Timeout => "timeout".to_owned(),
            Self::Refused { reason } => reason.clone(),
        }
    }
}
