//! What both routes read from a request: who asks, what the client calls itself, times and numbers in the query.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use tidings_shared::auth::{Claims, http::bearer};
use tidings_shared::cursor::Cursor;
use tidings_shared::http::ApiError;
use tidings_shared::identity::UserId;
use tidings_shared::topic::access::Principal;

use super::Parts;

/// The header in which a client may name itself instead of `?client=`.
const CLIENT: &str = "tidings-client";

/// Where a stream of events goes on.
const LAST_EVENT_ID: &str = "last-event-id";

/// The longest name of a client, in bytes.
const CLIENT_LENGTH: usize = 256;

fn token(headers: &HeaderMap) -> Result<&str, ApiError> {
    bearer(headers).ok_or_else(|| {
        let message = "send the app's token as `Authorization: Bearer TOKEN`";
        ApiError::new(StatusCode::UNAUTHORIZED, "token_missing", message)
    })
}

/// The device's claims.
pub(super) async fn device(parts: &Parts, headers: &HeaderMap) -> Result<Claims, ApiError> {
    let claims = parts.verifier.verify(token(headers)?).await?;
    parts.engine.revocations().admit(&claims)?;
    Ok(claims)
}

/// A handler with its key, or a device with its token.
pub(super) async fn publisher(parts: &Parts, headers: &HeaderMap) -> Result<(Principal, Option<Claims>), ApiError> {
    let token = token(headers)?;
    if parts.keys.accepts(token) {
        return Ok((Principal::Handler, None));
    }
    let claims = device(parts, headers).await?;
    Ok((claims.principal(), Some(claims)))
}

/// Who asks about users.
pub(super) enum Asker {
    /// A handler, another service or an administrator, with their key.
    Service,
    /// A device of this user, with its token.
    Device(UserId),
}

/// A service with its key, or a device with its token.
pub(super) async fn asker(parts: &Parts, headers: &HeaderMap) -> Result<Asker, ApiError> {
    let token = token(headers)?;
    let keys = [&parts.keys, &parts.service_keys, &parts.admin.keys];
    if keys.into_iter().any(|keys| keys.accepts(token)) {
        return Ok(Asker::Service);
    }
    Ok(Asker::Device(device(parts, headers).await?.user))
}

/// What the client calls itself: `?client=`, else the header; empty when it does not say.
pub(super) fn client(query: Option<String>, headers: &HeaderMap) -> Result<String, ApiError> {
    let invalid = || {
        let message = format!("a client's name is at most {CLIENT_LENGTH} bytes of text without control characters");
        ApiError::new(StatusCode::BAD_REQUEST, "client_invalid", message)
    };
    let client = match (query, headers.get(CLIENT)) {
        (Some(client), _) => client,
        (None, Some(value)) => str::from_utf8(value.as_bytes()).map_err(|_| invalid())?.to_owned(),
        (None, None) => String::new(),
    };
    if client.len() > CLIENT_LENGTH || client.contains(char::is_control) { Err(invalid()) } else { Ok(client) }
}

/// The cursor in `If-None-Match`. Weak tags and the suffix of compressing proxies are understood: the content is the
/// same.
pub(super) fn cursor(headers: &HeaderMap) -> Result<Option<Cursor>, ApiError> {
    let Some(value) = headers.get(header::IF_NONE_MATCH) else { return Ok(None) };
    let tag = value.to_str().unwrap_or_default().trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let text = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
    let text = text.strip_suffix("-gzip").unwrap_or(text);
    text.parse().map(Some).map_err(|_| {
        let message =
            "If-None-Match takes the ETag of an earlier answer as it was, in its quotes; leave it away to begin anew";
        ApiError::new(StatusCode::BAD_REQUEST, "cursor_invalid", message)
    })
}

/// Where a stream goes on: `Last-Event-ID`, which clients set when they come back to the same address, else `?cursor=`.
pub(super) fn last_event(query: Option<&str>, headers: &HeaderMap) -> Result<Option<Cursor>, ApiError> {
    let header = headers.get(LAST_EVENT_ID).map(|value| value.to_str().unwrap_or("?").trim());
    let Some(text) = header.filter(|text| !text.is_empty()).or(query).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        let message =
            "Last-Event-ID and ?cursor= take the id of an earlier event as it was; leave them away to begin anew";
        ApiError::new(StatusCode::BAD_REQUEST, "cursor_invalid", message)
    })
}

/// A refusal of a parameter of the query.
pub(super) fn invalid(name: &str, allowed: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "query_invalid", format!("the parameter `{name}` must be {allowed}"))
}

/// A time such as `500ms`, `25s`, `2m`, `1h`, `7d`, or whole seconds.
pub(super) fn duration(name: &str, text: &str) -> Result<Duration, ApiError> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let millis = factor.and_then(|factor: u64| number.parse::<u64>().ok()?.checked_mul(factor));
    millis.map(Duration::from_millis).ok_or_else(|| invalid(name, "a time such as 25s, 500ms or 1h"))
}

/// A flag: present without a value, or `true`, `1`, `false`, `0`.
pub(super) fn flag(name: &str, text: Option<&str>) -> Result<bool, ApiError> {
    match text {
        None | Some("false" | "0") => Ok(false),
        Some("" | "true" | "1") => Ok(true),
        Some(_) => Err(invalid(name, "true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn times_are_read_with_and_without_a_unit() {
        let read = |text| duration("wait", text).ok().map(|time| time.as_millis());
        assert_eq!(read("25s"), Some(25_000));
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("500ms"), Some(500));
        for text in ["", "s", "-1s", "1.5s", "25 s", "1w", "99999999999999999999d", "18446744073709551615d"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn cursors_survive_what_proxies_do_to_tags() {
        let expected = Cursor { epoch: 255, offset: 7 };
        for text in
            ["\"00000000000000ff-7\"", "W/\"00000000000000ff-7\"", "\"00000000000000ff-7-gzip\"", "00000000000000ff-7"]
        {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(text))]);
            assert_eq!(cursor(&headers).unwrap(), Some(expected), "{text}");
        }
        for text in ["*", "\"\"", "\"x\"", "\"00000000000000ff-7\", \"00000000000000ff-8\""] {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(text))]);
            assert_eq!(cursor(&headers).unwrap_err().code, "cursor_invalid", "{text}");
        }
        assert_eq!(cursor(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn a_stream_goes_on_where_the_header_says_else_the_address() {
        let header = |text| HeaderMap::from_iter([("last-event-id".parse().unwrap(), HeaderValue::from_static(text))]);
        let offset = |query, headers: &HeaderMap| last_event(query, headers).unwrap().map(|cursor| cursor.offset);
        let query = Some("0000000000000001-2");
        assert_eq!(offset(query, &header("0000000000000001-3")), Some(3));
        assert_eq!(offset(query, &header("")), Some(2));
        assert_eq!(offset(query, &HeaderMap::new()), Some(2));
        assert_eq!(offset(None, &HeaderMap::new()), None);
        assert_eq!(last_event(None, &header("seven")).unwrap_err().code, "cursor_invalid");
        assert_eq!(last_event(Some("seven"), &HeaderMap::new()).unwrap_err().code, "cursor_invalid");
    }

    #[test]
    fn a_client_names_itself_once() {
        let headers = HeaderMap::from_iter([("tidings-client".parse().unwrap(), HeaderValue::from_static("phone"))]);
        assert_eq!(client(None, &headers).unwrap(), "phone");
        assert_eq!(client(Some("tablet".to_owned()), &headers).unwrap(), "tablet");
        assert_eq!(client(None, &HeaderMap::new()).unwrap(), "");
        assert!(client(Some("x".repeat(257)), &headers).is_err());
        assert!(client(Some("a\nb".to_owned()), &headers).is_err());
    }
}
