//! How often the routes may be asked that know nobody yet: by device and by address, in a memory of fixed size.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use tidings_shared::clock::Clock;
use tidings_shared::network::site;
use tidings_shared::recent::Recent;

use crate::config::LimitConfig;

/// Entries of a memory in each of its two generations; an entry is about 40 bytes.
const REMEMBERED: usize = 64 * 1024;
const MINUTE_US: i64 = 60_000_000;

/// Who asks, as limits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A client on another machine (IPv6: its /64).
    At(IpAddr),
    /// A client on this machine, or a private address that speaks for others: a proxy that is not declared may stand for
    /// everybody there.
    Here,
}

/// What is counted, each by its own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    ListOfDevice,
    ListFrom,
    LogFrom,
    FailureAtPass,
    FailureFrom,
}

/// The limits of this process.
pub struct Limits {
    config: LimitConfig,
    clock: Clock,
    /// With a random key: nobody outside can aim at an entry, and nothing in it can be turned back.
    hasher: RandomState,
    memory: Mutex<Memory>,
    warned: AtomicBool,
}

struct Memory {
    /// When the allowance is full again, µs since 1970.
    full_at: Recent<u64, i64>,
    /// Credentials that were good lately.
    good: Recent<u64, ()>,
}

impl Limits {
    /// Nothing is counted yet.
    #[must_use]
    pub fn new(config: LimitConfig, clock: Clock) -> Self {
        let memory = Memory { full_at: Recent::new(REMEMBERED), good: Recent::new(REMEMBERED) };
        Self { config, clock, hasher: RandomState::new(), memory: Mutex::new(memory), warned: AtomicBool::new(false) }
    }

    /// Who asks: the peer, or whom a trusted proxy speaks for.
    pub(super) fn caller(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Caller {
        let Some(peer) = peer else { return Caller::Here };
        let trusted = |address: IpAddr| self.config.trusted_proxies.iter().any(|network| network.contains(address));
        let mut address = peer;
        let forwarded = headers.get_all("x-forwarded-for");
        if trusted(peer) {
            let listed: Vec<&str> =
                forwarded.iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',')).collect();
            for text in listed.into_iter().rev() {
                // What cannot be read was not written by a proxy of ours: the one who wrote it is as far as we see.
                let Some(named) = forwarded_address(text.trim()) else { break };
                address = named;
                if !trusted(named) {
                    break;
                }
            }
        } else if forwarded.iter().next().is_some() {
            let private = is_private(peer);
            if !self.warned.swap(true, Ordering::Relaxed) {
                let meanwhile = if private { "do not apply to it" } else { "count all of its clients as one" };
                tracing::warn!(%peer, "requests carry X-Forwarded-For from an address that is no trusted proxy: limits for each address {meanwhile}. Name it in wallet.trusted_proxies if it is yours");
            }
            // A container network's proxy that nobody has declared: all phones come from there.
            if private {
                return Caller::Here;
            }
        }
        let address = address.to_canonical();
        if address.is_loopback() { Caller::Here } else { Caller::At(site(address)) }
    }

    /// Counts one; the error is the seconds until there is room for it.
    pub(super) fn take(&self, counted: Counted, key: impl Hash) -> Result<(), u64> {
        self.count(counted, key, true)
    }

    /// Whether there is room, without counting.
    pub(super) fn room(&self, counted: Counted, key: impl Hash) -> Result<(), u64> {
        self.count(counted, key, false)
    }

    /// Remembers credentials that were good.
    pub(super) fn good(&self, credentials: impl Hash) {
        let entry = self.hasher.hash_one(credentials);
        self.memory().good.touch(entry, || ());
    }

    /// Whether these credentials were good lately.
    pub(super) fn was_good(&self, credentials: impl Hash) -> bool {
        let entry = self.hasher.hash_one(credentials);
        self.memory().good.peek(&entry).is_some()
    }

    fn count(&self, counted: Counted, key: impl Hash, take: bool) -> Result<(), u64> {
        let rate = match counted {
            Counted::ListOfDevice => self.config.list_per_device,
            Counted::ListFrom => self.config.list_per_address,
            Counted::LogFrom => self.config.log_per_address,
            Counted::FailureAtPass => self.config.failures_per_pass,
            Counted::FailureFrom => self.config.failures_per_address,
        };
        if rate == 0 {
            return Ok(());
        }
        let interval = MINUTE_US / i64::from(rate);
        let now = self.clock.now_ms().saturating_mul(1000);
        let entry = self.hasher.hash_one((counted, key));
        let mut memory = self.memory();
        let full_at = memory.full_at.touch(entry, || i64::MIN);
        // Later than an empty allowance: the clock was set back.
        if *full_at > now.saturating_add(MINUTE_US) {
            *full_at = now;
        }
        let after = (*full_at).max(now) + interval;
        if after > now.saturating_add(MINUTE_US) {
            let missing_us = after - now - MINUTE_US;
            return Err(u64::try_from(missing_us).unwrap_or_default().div_ceil(1_000_000));
        }
        if take {
            *full_at = after;
        }
        Ok(())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// RFC 1918, RFC 4193 and what is on the same link.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.
fn forwarded_address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_matches(|c| c == '[' || c == ']');
    bare.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(list_per_device: u32, proxies: &[&str]) -> (Limits, Clock) {
        let clock = Clock::manual(1_790_000_000_000);
        let trusted_proxies = proxies.iter().map(|text| text.parse().unwrap()).collect();
        let config = LimitConfig { list_per_device, trusted_proxies, ..LimitConfig::default() };
        (Limits::new(config, clock.clone()), clock)
    }

    #[test]
    fn a_minutes_worth_at_once_then_one_for_each_part_of_it() {
        let (limits, clock) = limits(60, &[]);
        for _ in 0..60 {
            assert_eq!(limits.take(Counted::ListOfDevice, "d"), Ok(()));
        }
        assert_eq!(limits.take(Counted::ListOfDevice, "d"), Err(1));
        assert_eq!(limits.take(Counted::ListOfDevice, "another"), Ok(()));
        assert_eq!(limits.take(Counted::LogFrom, "d"), Ok(()), "0 is no limit");
        clock.advance(1_000);
        assert_eq!(limits.room(Counted::ListOfDevice, "d"), Ok(()), "looking takes nothing");
        assert_eq!(limits.take(Counted::ListOfDevice, "d"), Ok(()));
        assert_eq!(limits.take(Counted::ListOfDevice, "d"), Err(1));
        clock.advance(-3_600_000);
        assert_eq!(limits.take(Counted::ListOfDevice, "d"), Ok(()), "a clock that was set back locks nobody out");
    }

    #[test]
    fn a_clients_address_is_believed_of_trusted_proxies_only() {
        let (limits, _) = limits(1, &["10.0.0.0/8", "2001:db8::/32"]);
        let at = |peer: &str, forwarded: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(forwarded) = forwarded {
                headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            }
            limits.caller(Some(peer.parse().unwrap()), &headers)
        };
        let is = |text: &str| Caller::At(text.parse().unwrap());
        assert_eq!(at("192.0.2.1", None), is("192.0.2.1"));
        assert_eq!(at("192.0.2.1", Some("198.51.100.7")), is("192.0.2.1"), "a stranger's word");
        assert_eq!(at("172.17.0.1", Some("198.51.100.7")), Caller::Here, "a proxy that nobody has declared");
        assert_eq!(at("fd00::1", Some("198.51.100.7")), Caller::Here);
        assert_eq!(at("172.17.0.1", None), is("172.17.0.1"));
        assert_eq!(at("10.0.0.1", Some("198.51.100.7")), is("198.51.100.7"));
        assert_eq!(
            at("10.0.0.1", Some("1.1.1.1, 198.51.100.7, 10.9.9.9")),
            is("198.51.100.7"),
            "the last that is none of ours"
        );
        assert_eq!(at("10.0.0.1", Some("1.1.1.1, garbage")), is("10.0.0.1"));
        assert_eq!(at("10.0.0.1", None), is("10.0.0.1"));
        assert_eq!(at("10.0.0.1", Some("[2a00::1:2:3:4]:443")), is("2a00::"), "a /64 is one");
        assert_eq!(at("::ffff:192.0.2.1", None), is("192.0.2.1"));
        assert_eq!(at("127.0.0.1", None), Caller::Here);
        assert_eq!(limits.caller(None, &HeaderMap::new()), Caller::Here);
    }
}
