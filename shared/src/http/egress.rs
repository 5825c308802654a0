//! Requests to addresses that somebody else named: they never reach the inside of our network (server-side request
//! forgery). What counts is the address that is connected to, not the name: it is checked after every look-up, so that a name
//! that changes its mind between check and use gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Which addresses may be named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    /// Loopback, private, link-local and other addresses that are not on the public internet, and `http://`.
    pub allow_private: bool,
}

/// An address that may not be named, for the one who named it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedUrl {
    /// No URL.
    #[error("\"{0}\" is no URL: {1}")]
    Unreadable(String, String),
    /// Not HTTPS.
    #[error("the address begins with https://; found \"{0}://\"")]
    Scheme(String),
    /// A name and password, which would be shown in logs.
    #[error("the address has a user name or a password; leave them out")]
    Credentials,
    /// An address inside.
    #[error("{0} is not a public address; this server reaches public addresses only")]
    Private(String),
}

impl EgressPolicy {
    /// Checks what can be checked before the name is looked up.
    ///
    /// # Errors
    /// [`RefusedUrl`] says what is allowed.
    pub fn check(self, url: &str) -> Result<reqwest::Url, RefusedUrl> {
        let shown: String = url.chars().take(200).collect();
        let parsed = reqwest::Url::parse(url).map_err(|error| RefusedUrl::Unreadable(shown, error.to_string()))?;
        match parsed.scheme() {
            "https" => {}
            "http" if self.allow_private => {}
            other => return Err(RefusedUrl::Scheme(other.to_owned())),
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(RefusedUrl::Credentials);
        }
        let host = parsed.host_str().unwrap_or_default();
        let literal: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let inside = literal.is_some_and(|address| !is_public(address))
            || host.trim_end_matches('.').eq_ignore_ascii_case("localhost");
        if inside && !self.allow_private {
            return Err(RefusedUrl::Private(host.to_owned()));
        }
        Ok(parsed)
    }

    /// A client that keeps to the policy: no redirects, no proxy, and names that lead inside are not connected to.
    ///
    /// # Errors
    /// When `ca` cannot be used; the text names it.
    pub fn client(self, ca: Option<&Path>, timeout: Duration) -> anyhow::Result<reqwest::Client> {
        use anyhow::Context;

        crate::tls::install_provider();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if !self.allow_private {
            builder = builder.dns_resolver(PublicOnly);
        }
        if let Some(file) = ca {
            let pem =
                std::fs::read(file).with_context(|| format!("{}: the certificates cannot be read", file.display()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{}: these are no PEM certificates", file.display()))?;
            builder = builder.tls_certs_merge(certificates);
        }
        Ok(builder.build()?)
    }
}

/// Looks names up and forgets addresses that are not public.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> = found.into_iter().filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(RefusedUrl::Private(name.as_str().to_owned()).into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address is on the public internet (IANA's registries of special-purpose addresses).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        // Carrier-grade NAT, IETF protocol assignments, 6to4 relays, benchmarks, reserved.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // What carries an IPv4 address inside is as public as that.
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // NAT64 and 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, ORCHIDv2 and other protocol assignments; documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, ..] => false,
        // Global unicast is 2000::/3; everything else is local, multicast or reserved.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn what_may_be_named() {
        let policy = EgressPolicy::default();
        assert!(policy.check("https://example.org/hook?x=1").is_ok());
        for wrong in [
            "http://example.org",
            "ftp://example.org",
            "https://localhost/x",
            "https://localhost./x",
            "https://[::1]/x",
            "https://2130706433/x",
            "https://0x7f.1/x",
            "https://anna:secret@example.org",
            "no url",
        ] {
            assert!(policy.check(wrong).is_err(), "{wrong}");
        }
        let inside = EgressPolicy { allow_private: true };
        assert!(inside.check("http://127.0.0.1:8000/hook").is_ok());
        assert!(inside.check("file:///etc/passwd").is_err());
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        let client = EgressPolicy::default().client(None, Duration::from_secs(5)).unwrap();
        let error = client.get(url).send().await.unwrap_err();
        let mut causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        assert!(causes.any(|cause| cause.to_string().contains("not a public address")), "{error:?}");
        let connected = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(connected.is_err(), "nobody was called");
    }
}
