//! Bounds on connections that have not logged in yet: in all, and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;

/// Counts the connections between `accept` and a verified CONNECT.
#[derive(Debug, Clone)]
pub(super) struct Lobby(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    in_all: usize,
    per_address: usize,
    guests: Mutex<Guests>,
    gauge: Gauge,
}

#[derive(Debug, Default)]
struct Guests {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// Too many in all.
    InAll,
    /// Too many from this address.
    FromAddress,
}

impl Full {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::InAll => "unauthenticated_limit",
            Self::FromAddress => "unauthenticated_limit_per_address",
        }
    }
}

/// A place in the lobby, given back on drop.
#[derive(Debug)]
pub(super) struct Pass {
    lobby: Lobby,
    address: IpAddr,
}

impl Lobby {
    pub(super) fn new(in_all: usize, per_address: usize, gauge: Gauge) -> Self {
        Self(Arc::new(Inner { in_all, per_address, guests: Mutex::default(), gauge }))
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.0.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from `address`.
    pub(super) fn enter(&self, address: IpAddr) -> Result<Pass, Full> {
        let address = network(address);
        let mut guests = self.guests();
        if guests.total >= self.0.in_all {
            return Err(Full::InAll);
        }
        let here = guests.by_address.entry(address).or_default();
        if *here >= self.0.per_address {
            return Err(Full::FromAddress);
        }
        *here += 1;
        guests.total += 1;
        self.0.gauge.inc();
        Ok(Pass { lobby: self.clone(), address })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut guests = self.lobby.guests();
        guests.total -= 1;
        if let Some(here) = guests.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                guests.by_address.remove(&self.address);
            }
        }
        self.lobby.0.gauge.dec();
    }
}

/// What counts as one address: a whole /64 of IPv6, since one host commands as much.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn both_bounds_hold_and_places_come_back() {
        let gauge = Gauge::default();
        let lobby = Lobby::new(3, 2, gauge.clone());
        let first = lobby.enter(address("192.0.2.1")).unwrap();
        let second = lobby.enter(address("::ffff:192.0.2.1")).unwrap();
        assert_eq!(lobby.enter(address("192.0.2.1")).unwrap_err(), Full::FromAddress);
        let third = lobby.enter(address("192.0.2.2")).unwrap();
        assert_eq!(lobby.enter(address("192.0.2.3")).unwrap_err(), Full::InAll);
        assert_eq!(gauge.get(), 3);
        drop((first, second, third));
        assert_eq!(gauge.get(), 0);
        assert!(lobby.guests().by_address.is_empty());
        assert!(lobby.enter(address("192.0.2.1")).is_ok());
    }

    #[test]
    fn neighbours_in_a_64_share_a_bound() {
        let lobby = Lobby::new(10, 1, Gauge::default());
        let _first = lobby.enter(address("2001:db8::1")).unwrap();
        assert_eq!(lobby.enter(address("2001:db8::ffff:2")).unwrap_err(), Full::FromAddress);
        assert!(lobby.enter(address("2001:db8:0:1::1")).is_ok());
    }
}
