//! The address of an APNs server.

use bytes::Bytes;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// Where a provider listens: an `https` address without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) authority: Authority,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Endpoint {
    /// Reads a base URL such as `https://api.push.apple.com`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let refused =
            |why: &str| Err(format!("\"{url}\" {why}; a base URL is, for example, https://api.push.apple.com:443"));
        let Ok(uri) = url.parse::<Uri>() else { return refused("is not a URL") };
        if uri.scheme_str() != Some("https") {
            return refused("does not begin with https://");
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return refused("has a path");
        }
        let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else { return refused("names no host") };
        Ok(Self {
            authority: authority.clone(),
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: uri.port_u16().unwrap_or(443),
        })
    }

    pub(super) fn uri(&self, path: String) -> Result<Uri, http::Error> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(Bytes::from(path))?);
        Ok(Uri::from_parts(parts)?)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.authority.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_https_without_a_path() {
        let endpoint = Endpoint::parse("https://api.push.apple.com").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("api.push.apple.com", 443));
        assert_eq!(endpoint.uri("/3/device/ab".to_owned()).unwrap(), "https://api.push.apple.com/3/device/ab");
        assert_eq!(Endpoint::parse("https://127.0.0.1:8443/").unwrap().port, 8443);
        assert_eq!(Endpoint::parse("https://[::1]:8443").unwrap().host, "::1");
        for wrong in ["", "api.push.apple.com", "http://localhost:1", "https://a/b", "https://a?x=1"] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
