//! Which addresses a push may be posted to. Anybody who may register a device names one, so without a rule they could
//! make the gateway talk to whatever is inside its own network.
//!
//! The rule: `https`, an allowed port, and an address of the public internet, checked on the address that is connected
//! to. An allow-list opens networks and names for tests and for a UnifiedPush server of one's own.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use tidings_shared::http::egress::is_public;
use url::{Host, Url};

/// See the head of this file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    networks: Vec<Network>,
    /// Names, with everything below them.
    suffixes: Vec<String>,
    ports: Vec<u16>,
    plain_http: bool,
}

/// An entry of the settings that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Neither a network nor a name.
    #[error("\"{0}\" is neither a network (10.0.0.0/8, fd00::/8, 192.0.2.7) nor a host name (push.example.org)")]
    Allow(String),
    /// No port.
    #[error("\"{0}\" is no port: 1 to 65535")]
    Port(String),
}

/// An address that is not posted to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointRefusal {
    /// Not a URL.
    #[error("the push service's address is no URL")]
    Url,
    /// Neither `https`, nor `http` where that is allowed.
    #[error(
        "the push service's address begins with {0}://; https:// is allowed (http:// for push.webpush.allow, with push.webpush.plain_http)"
    )]
    Scheme(String),
    /// User name and password in the address.
    #[error("the push service's address has a user name or password; leave it out")]
    Credentials,
    /// A port that is not on the list.
    #[error("the push service's address has the port {0}, which push.webpush.ports does not allow")]
    Port(u16),
    /// An address that is not of the public internet.
    #[error("the push service's address {address} is {kind}, and not on push.webpush.allow")]
    Address {
        /// Which.
        address: IpAddr,
        /// What it is.
        kind: &'static str,
    },
    /// A name that only means this machine or this network.
    #[error("the push service's name \"{0}\" is a local one, and not on push.webpush.allow")]
    Name(String),
}

/// An address that may be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The whole address.
    pub url: Url,
    /// `https://host[:port]`: the audience of the VAPID token.
    pub origin: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Policy {
    /// `allow`: networks and host names; `ports`: the ports of everybody else; `plain_http`: `http://` is enough for
    /// what `allow` names.
    ///
    /// # Errors
    /// The entry that says nothing.
    pub fn new(allow: &[String], ports: &[String], plain_http: bool) -> Result<Self, PolicyError> {
        let mut policy = Self { plain_http, ..Self::default() };
        for entry in allow.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty()) {
            match entry.parse::<Network>() {
                Ok(network) => policy.networks.push(network),
                Err(()) => policy.suffixes.push(suffix(entry)?),
            }
        }
        for port in ports {
            let number = port.trim().parse::<u16>().ok().filter(|port| *port > 0);
            policy.ports.push(number.ok_or_else(|| PolicyError::Port(port.clone()))?);
        }
        Ok(policy)
    }

    /// Judges an address as far as that is possible without looking its name up.
    ///
    /// # Errors
    /// [`EndpointRefusal`] says why it is not posted to.
    pub fn endpoint(&self, text: &str) -> Result<Endpoint, EndpointRefusal> {
        let url = Url::parse(text).map_err(|_| EndpointRefusal::Url)?;
        let host = url.host().ok_or(EndpointRefusal::Url)?;
        let allowed = match &host {
            Host::Domain(name) => self.allows_name(name),
            Host::Ipv4(address) => self.allows_address((*address).into()),
            Host::Ipv6(address) => self.allows_address((*address).into()),
        };
        match url.scheme() {
            "https" => {}
            "http" if self.plain_http && allowed => {}
            other => return Err(EndpointRefusal::Scheme(other.to_owned())),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointRefusal::Credentials);
        }
        let port = url.port_or_known_default().ok_or(EndpointRefusal::Url)?;
        if !allowed && !self.ports.contains(&port) {
            return Err(EndpointRefusal::Port(port));
        }
        match &host {
            Host::Domain(name) if !allowed && local_name(name) => {
                return Err(EndpointRefusal::Name((*name).to_owned()));
            }
            Host::Domain(_) => {}
            Host::Ipv4(address) => self.address((*address).into(), false)?,
            Host::Ipv6(address) => self.address((*address).into(), false)?,
        }
        let origin = url.origin().ascii_serialization();
        Ok(Endpoint { url, origin })
    }

    /// Whether everything under this name is allowed, whatever its address.
    pub(super) fn allows_name(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.suffixes
            .iter()
            .any(|suffix| name == *suffix || name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.')))
    }

    /// Judges the address that is about to be connected to. `name_allowed`: the name was on the list.
    pub(super) fn address(&self, address: IpAddr, name_allowed: bool) -> Result<(), EndpointRefusal> {
        if name_allowed || self.allows_address(address) {
            return Ok(());
        }
        if is_public(address) {
            return Ok(());
        }
        Err(EndpointRefusal::Address { address, kind: kind(address) })
    }

    fn allows_address(&self, address: IpAddr) -> bool {
        let plain = plain(address);
        self.networks.iter().any(|network| network.contains(address) || network.contains(plain))
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.trim_matches(['[', ']']).parse().map_err(|_| ())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), |prefix| prefix.parse().map_err(|_| ()))?;
        if prefix > longest { Err(()) } else { Ok(Self { address, prefix }) }
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let leading = |a: u128, b: u128, width: u32| {
            let shift = width - u32::from(self.prefix);
            a.checked_shr(shift).unwrap_or(0) == b.checked_shr(shift).unwrap_or(0)
        };
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => leading(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => leading(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

fn suffix(entry: &str) -> Result<String, PolicyError> {
    let name = entry.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let named =
        !name.is_empty() && name.bytes().all(legal) && !name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if named { Ok(name) } else { Err(PolicyError::Allow(entry.to_owned())) }
}

/// Names that no public server has.
fn local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let local = ["localhost", "local", "internal", "home.arpa", "lan", "intranet"];
    !name.contains('.') || local.iter().any(|suffix| name == *suffix || name.ends_with(&format!(".{suffix}")))
}

/// IPv4 that was dressed up as IPv6 is judged as what it is.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// What an address is that is not public, in a word for people.
fn kind(address: IpAddr) -> &'static str {
    match plain(address) {
        address if address.is_loopback() => "a loopback address",
        address if address.is_multicast() => "a multicast address",
        IpAddr::V4(address) if address.is_private() => "a private address",
        IpAddr::V4(address) if address.is_link_local() => "a link-local address",
        IpAddr::V4(address) if matches!(address.octets(), [100, 64..=127, ..]) => "an address behind a carrier's NAT",
        IpAddr::V6(address) if address.is_unique_local() => "a private address",
        IpAddr::V6(address) if address.is_unicast_link_local() => "a link-local address",
        _ => "no address of the public internet",
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The path is the capability to send.
        f.write_str(&self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str], plain_http: bool) -> Policy {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Policy::new(&texts(allow), &texts(&["443"]), plain_http).unwrap()
    }

    #[test]
    fn addresses_of_the_public_internet_are_allowed_and_no_others() {
        let policy = policy(&[], false);
        for public in
            ["8.8.8.8", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
        {
            assert_eq!(policy.address(public.parse().unwrap(), false), Ok(()), "{public}");
        }
        for (local, word) in [
            ("127.0.0.1", "loopback"),
            ("127.255.0.9", "loopback"),
            ("0.0.0.0", "public"),
            ("10.1.2.3", "private"),
            ("172.16.0.1", "private"),
            ("192.168.0.1", "private"),
            ("169.254.169.254", "link-local"),
            ("100.64.0.1", "carrier"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "public"),
            ("198.18.0.1", "public"),
            ("192.0.2.1", "public"),
            ("::1", "loopback"),
            ("::", "public"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:169.254.169.254", "link-local"),
            ("::127.0.0.1", "public"),
            ("64:ff9b::a00:1", "public"),
            ("2002:a00:1::", "public"),
            ("64:ff9b:1::a00:1", "public"),
            ("fd00::1", "private"),
            ("fe80::1", "link-local"),
            ("fec0::1", "public"),
            ("ff02::1", "multicast"),
            ("2001:db8::1", "public"),
            ("4000::1", "public"),
        ] {
            let refusal = policy.address(local.parse().unwrap(), false).unwrap_err();
            let EndpointRefusal::Address { kind, .. } = refusal else { panic!("{refusal}") };
            assert!(kind.contains(word), "{local} is {kind}");
        }
    }

    #[test]
    fn an_address_is_judged_before_its_name_is_looked_up() {
        let policy = policy(&[], false);
        let judged =
            |text: &str| policy.endpoint(text).map(|endpoint| endpoint.origin).map_err(|refusal| refusal.to_string());
        assert_eq!(judged("https://fcm.googleapis.com/fcm/send/x"), Ok("https://fcm.googleapis.com".to_owned()));
        assert_eq!(judged("https://8.8.8.8/x"), Ok("https://8.8.8.8".to_owned()));
        for (refused, word) in [
            ("nonsense", "no URL"),
            ("http://push.example.org/x", "http://"),
            ("ftp://push.example.org/x", "ftp://"),
            ("https://user:secret@push.example.org/x", "user name"),
            ("https://push.example.org:8443/x", "8443"),
            ("https://localhost/x", "local"),
            ("https://router.local/x", "local"),
            ("https://metadata.google.internal/x", "local"),
            ("https://intranet/x", "local"),
            ("https://127.0.0.1/x", "loopback"),
            // The URL standard reads these as 127.0.0.1.
            ("https://2130706433/x", "loopback"),
            ("https://0x7f.1/x", "loopback"),
            ("https://[::ffff:10.0.0.1]/x", "private"),
        ] {
            let why = judged(refused).unwrap_err();
            assert!(why.contains(word), "{refused}: {why}");
        }
    }

    #[test]
    fn the_allow_list_opens_networks_and_names() {
        let open = policy(&["10.0.0.0/8", "fd00::/8", "push.example.org", "127.0.0.1"], true);
        for allowed in [
            "https://10.1.2.3:8443/x",
            "http://127.0.0.1:9/x",
            "https://[fd00::1]/x",
            "https://[::ffff:10.0.0.1]/x",
            "http://push.example.org:8080/x",
            "https://eu.push.example.org:8443/x",
        ] {
            assert!(open.endpoint(allowed).is_ok(), "{allowed}");
        }
        for refused in ["https://127.0.0.2/x", "http://push.other.org/x", "https://notpush.example.org:8443/x"] {
            assert!(open.endpoint(refused).is_err(), "{refused}");
        }
        assert!(open.allows_name("a.push.example.org.") && !open.allows_name("example.org"));
        let texts = |text: &str| vec![text.to_owned()];
        assert!(matches!(Policy::new(&texts("10.0.0.0/33"), &[], false), Err(PolicyError::Allow(_))));
        assert!(matches!(Policy::new(&texts("a b"), &[], false), Err(PolicyError::Allow(_))));
        assert!(matches!(Policy::new(&[], &texts("0"), false), Err(PolicyError::Port(_))));
    }
}
