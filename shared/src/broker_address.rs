//! Where a broker is, as services that connect to it are told.

/// `mqtt://HOST[:PORT]` (1883) or `mqtts://HOST[:PORT]` (8883).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// A text that is no broker address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no broker address; it must be mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")]
pub struct InvalidBroker(String);

impl BrokerAddress {
    /// Reads an address.
    ///
    /// # Errors
    /// [`InvalidBroker`] says what is allowed.
    pub fn parse(text: &str) -> Result<Self, InvalidBroker> {
        let invalid = || InvalidBroker(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
        let (tls, default_port) = match scheme {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return Err(invalid()),
        };
        let authority = rest.trim_end_matches('/');
        let (host, port) = match authority.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(invalid)?)),
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(default_port), |port| port.parse().map_err(|_| invalid()))?;
        if host.is_empty() || host.contains(['/', '@', ' ']) {
            return Err(invalid());
        }
        Ok(Self { host: host.to_owned(), port, tls })
    }
}

impl std::fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{scheme}://{host}:{}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_a_host_and_maybe_a_port() {
        let parsed = |url: &str| BrokerAddress::parse(url).map(|address| (address.host, address.port, address.tls));
        assert_eq!(parsed("mqtt://127.0.0.1"), Ok(("127.0.0.1".to_owned(), 1883, false)));
        assert_eq!(parsed("mqtts://broker.example/"), Ok(("broker.example".to_owned(), 8883, true)));
        assert_eq!(parsed("mqtt://[::1]:7"), Ok(("::1".to_owned(), 7, false)));
        assert_eq!(BrokerAddress::parse("mqtt://[::1]:7").unwrap().to_string(), "mqtt://[::1]:7");
        for wrong in ["", "broker", "http://broker", "mqtt://", "mqtt://u@h", "mqtt://h/x", "mqtt://h:x"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
