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
    let shown: String = name.chars().take(MAX_NAME).collect();
    let message = format!("a name has 1 to {MAX_NAME} letters (a to z), digits, `-` and `_`; found \"{shown}\"");
    Err(ApiError::new(StatusCode::BAD_REQUEST, "name_invalid", message))
}
