//! What is fuzzed of the HTTP door: see [`crate::fuzzing`].

use http::HeaderMap;
use tidings_shared::auth::http::bearer;

use super::request;

/// Everything that is read from headers, and from the parameters of a query: a time, a flag, a cursor, a client.
pub(crate) fn request(headers: &HeaderMap, query: &[&str]) {
    let given = |at: usize| query.get(at).copied();
    let _ = (bearer(headers), request::cursor(headers));
    if let Ok(time) = request::duration("wait", given(0).unwrap_or_default()) {
        assert!(given(0).is_some_and(|text| text.starts_with(|first: char| first.is_ascii_digit())), "{time:?}");
    }
    let _ = request::flag("retain", given(1));
    let _ = request::last_event(given(2), headers);
    if let Ok(client) = request::client(given(3).map(str::to_owned), headers) {
        assert!(client.len() <= 256 && !client.contains(char::is_control));
    }
}
