//! Paths as clients send them: doubled and trailing slashes, percent-encoded ids.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::extract::Request;
use http::Uri;
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Longest id or serial number in a path, decoded.
pub(super) const LONGEST_ID: usize = 255;

/// Everything but unreserved characters (RFC 3986, 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `//v1/…` is `/v1/…`, and a slash at the end is none: clients disagree about the slash of webServiceURL.
pub(super) fn tidy<B>(mut request: http::Request<B>) -> http::Request<B> {
    let path = request.uri().path();
    let tidied = format!("/{}", path.trim_matches('/'));
    if tidied != path {
        let text = match request.uri().query() {
            Some(query) => format!("{tidied}?{query}"),
            None => tidied,
        };
        if let Ok(uri) = text.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// The segments of the path, decoded. Bytes that are not UTF-8 become the replacement character: such an id is simply
/// an unknown one.
pub(super) struct Segments(Vec<String>);

impl Segments {
    /// The segment at a position, counted from 0; `None` when it is absent, empty or too long.
    pub(super) fn id(&self, position: usize) -> Option<&str> {
        self.0.get(position).map(String::as_str).filter(|id| (1..=LONGEST_ID).contains(&id.len()) && !id.contains('\0'))
    }

    /// All of them.
    pub(super) fn all(self) -> Vec<String> {
        self.0
    }

    pub(super) fn of(path: &str) -> Self {
        Self(
            path.trim_start_matches('/')
                .split('/')
                .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
                .collect(),
        )
    }
}

impl<S: Sync> FromRequestParts<S> for Segments {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts.uri.path()))
    }
}

/// A parameter of the query, decoded; `None` when it is absent.
pub(super) fn query_parameter(uri: &Uri, name: &str) -> Option<String> {
    uri.query()?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode_str(key).decode_utf8_lossy() == name)
            .then(|| percent_decode_str(value).decode_utf8_lossy().into_owned())
    })
}

/// A text as one segment of a path.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn body(request: Request, limit: usize) -> Result<axum::body::Bytes, tidings_shared::http::ApiError> {
    axum::body::to_bytes(request.into_body(), limit).await.map_err(|_| {
        let message = format!("the body has more than {limit} bytes, or ended early");
        tidings_shared::http::ApiError::new(http::StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_are_tidied_and_the_query_stays() {
        for (from, to) in [
            ("//v1/log", "/v1/log"),
            ("/v1/log/", "/v1/log"),
            ("///v1/passes/a/b//?x=%2F/", "/v1/passes/a/b?x=%2F/"),
            ("/", "/"),
            ("/v1/log", "/v1/log"),
        ] {
            let request = http::Request::builder().uri(format!("http://host{from}")).body(()).unwrap();
            assert_eq!(tidy(request).uri().path_and_query().unwrap().as_str(), to, "{from}");
        }
    }

    #[test]
    fn ids_are_decoded_and_bounded() {
        let segments = Segments::of("/v1/passes/a%2Fb%20c/%FF/é");
        assert_eq!(segments.id(2), Some("a/b c"));
        assert_eq!(segments.id(3), Some("\u{fffd}"));
        assert_eq!(segments.id(4), Some("é"));
        assert_eq!(segments.id(5), None);
        assert_eq!(Segments::of(&format!("/{}", "x".repeat(256))).id(0), None);
        assert_eq!(Segments::of("/a%00b").id(0), None);
        assert_eq!(encode("a/b c~é"), "a%2Fb%20c~%C3%A9");
    }

    #[test]
    fn query_parameters_are_decoded() {
        let uri: Uri = "/x?a=1&passesUpdatedSince=e%2E7&b".parse().unwrap();
        assert_eq!(query_parameter(&uri, "passesUpdatedSince").as_deref(), Some("e.7"));
        assert_eq!(query_parameter(&uri, "b").as_deref(), Some(""));
        assert_eq!(query_parameter(&uri, "c"), None);
    }
}
