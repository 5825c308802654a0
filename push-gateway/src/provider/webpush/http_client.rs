//! The HTTP client for push services: it looks names up through the policy, so that the address that was judged is the
//! address that is connected to, follows no redirect, and asks no proxy.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::policy::{EndpointRefusal, Policy};

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(90);

/// A client whose connections keep the policy. `ca_file`: certificates to trust besides the system's.
///
/// # Errors
/// The file cannot be used, or TLS cannot be set up.
pub fn client(policy: &Arc<Policy>, ca_file: Option<&Path>, timeout: Duration) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .dns_resolver(Arc::new(PolicyResolver(Arc::clone(policy))))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(8)
        .user_agent("tidings");
    if let Some(file) = ca_file {
        let pem = std::fs::read(file).with_context(|| format!("{}: cannot be read", file.display()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .with_context(|| format!("{}: no certificates in PEM", file.display()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().context("the HTTP client for Web Push cannot be made")
}

/// Looks names up, and gives only addresses that the policy allows.
struct PolicyResolver(Arc<Policy>);

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.0);
        Box::pin(async move {
            let allowed = policy.allows_name(name.as_str());
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            choose(&policy, found, allowed)
                .map_err(Into::into)
                .map(|addresses| Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The allowed ones; an error when there is none although the name has addresses.
fn choose(policy: &Policy, found: Vec<SocketAddr>, name_allowed: bool) -> Result<Vec<SocketAddr>, Refused> {
    let mut refused = None;
    let mut addresses = Vec::with_capacity(found.len());
    for address in found {
        match policy.address(address.ip(), name_allowed) {
            Ok(()) => addresses.push(address),
            Err(refusal) => refused = Some(refusal),
        }
    }
    match refused {
        Some(refusal) if addresses.is_empty() => Err(Refused(refusal)),
        _ => Ok(addresses),
    }
}

/// A name that stands for no allowed address.
#[derive(Debug)]
pub(super) struct Refused(EndpointRefusal);

impl Refused {
    /// The refusal inside of an error of the client.
    pub(super) fn within<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(refused) = error.downcast_ref() {
                return Some(refused);
            }
            cause = error.source();
        }
        None
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_addresses_only_the_allowed_ones_are_tried() {
        let policy = Policy::default();
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let mixed = addresses(&["127.0.0.1:0", "8.8.8.8:0", "[::1]:0"]);
        assert_eq!(choose(&policy, mixed.clone(), false).unwrap(), addresses(&["8.8.8.8:0"]));
        assert_eq!(choose(&policy, mixed.clone(), true).unwrap(), mixed);
        let local = choose(&policy, addresses(&["10.0.0.1:0"]), false).unwrap_err();
        assert!(local.to_string().contains("private"), "{local}");
        assert!(choose(&policy, Vec::new(), false).unwrap().is_empty());
    }
}
