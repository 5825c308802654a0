//! Names that callers give to segments, templates and webhooks.

use http::StatusCode;
use tidings_shared::http::ApiError;

/// The longest name, in bytes.
const MAX_NAME: usize = 64;

/// A name, or what is wrong with it.
pub(super) fn check(name: &str) -> Result<(), ApiError> {
    let good = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if good {
        return Ok(());
    }
    let shown = shown(name);
    let message = format!("a name has 1 to {MAX_NAME} letters (a to z), digits, `-` and `_`; found \"{shown}\"");
    Err(ApiError::new(StatusCode::BAD_REQUEST, "name_invalid", message))
}

/// There is no `what` of this name.
pub(super) fn unknown(code: &'static str, what: &str, name: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, code, format!("there is no {what} \"{}\"", shown(name)))
}

/// So much of a name as may stand in an answer.
fn shown(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}
