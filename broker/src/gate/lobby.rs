//! Bounds on connections that have not logged in yet: in all, from one address, and new ones in a second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use tidings_shared::recent::Recent;
use tokio::time::Instant;

use super::bucket::{Bucket, Rate};

/// Addresses of which it is remembered how many connections came lately, in each of two generations.
const REMEMBERED: usize = 64 * 1024;

/// Counts the connections between `accept` and a verified CONNECT.
#[derive(Debug, Clone)]
pub(super) struct Lobby(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    in_all: usize,
    per_address: usize,
    rate: Rate,
    guests: Mutex<Guests>,
    arrivals: Mutex<Recent<IpAddr, Bucket>>,
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
    /// `None` as long as only a proxy's address is known, which is no guest's.
    address: Option<IpAddr>,
}

impl Lobby {
    pub(super) fn new(in_all: usize, per_address: usize, rate: Rate, gauge: Gauge) -> Self {
        let arrivals = Mutex::new(Recent::new(REMEMBERED));
        Self(Arc::new(Inner { in_all, per_address, rate, guests: Mutex::default(), arrivals, gauge }))
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.0.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from an address that is still to be told.
    pub(super) fn enter_unnamed(&self) -> Result<Pass, Full> {
        let mut guests = self.guests();
        if guests.total >= self.0.in_all {
            return Err(Full::InAll);
        }
        guests.total += 1;
        self.0.gauge.inc();
        Ok(Pass { lobby: self.clone(), address: None })
    }

    /// A place for a connection from `address`.
    pub(super) fn enter(&self, address: IpAddr) -> Result<Pass, Full> {
        let mut pass = self.enter_unnamed()?;
        pass.name(address)?;
        Ok(pass)
    }

    /// Counts a connection from `address` that has just come; false when too many came from there lately.
    pub(super) fn is_in_time(&self, address: IpAddr) -> bool {
        if self.0.rate.per_second == 0 {
            return true;
        }
        let now = Instant::now();
        let mut arrivals = self.0.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = arrivals.touch(network(address), || Bucket::new(now));
        let waits = bucket.wait(now, self.0.rate).is_some();
        if !waits {
            bucket.take(now, 1, self.0.rate);
        }
        !waits
    }
}

impl Pass {
    /// The connection's address is known now.
    pub(super) fn name(&mut self, address: IpAddr) -> Result<(), Full> {
        let address = network(address);
        let mut guests = self.lobby.guests();
        let here = guests.by_address.entry(address).or_default();
        if *here >= self.lobby.0.per_address {
            return Err(Full::FromAddress);
        }
        *here += 1;
        drop(guests);
        self.address = Some(address);
        Ok(())
    }

    /// Whether more than half of the places are taken, in all or those of this address: then nobody may dawdle.
    pub(super) fn is_crowded(&self) -> bool {
        let guests = self.lobby.guests();
        let here = self.address.and_then(|address| guests.by_address.get(&address)).copied().unwrap_or(0);
        guests.total * 2 > self.lobby.0.in_all || here * 2 > self.lobby.0.per_address
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut guests = self.lobby.guests();
        guests.total -= 1;
        if let Some(address) = self.address
            && let Some(here) = guests.by_address.get_mut(&address)
        {
            *here -= 1;
            if *here == 0 {
                guests.by_address.remove(&address);
            }
        }
        self.lobby.0.gauge.dec();
    }
}

pub(super) use tidings_shared::network::site as network;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn both_bounds_hold_and_places_come_back() {
        let gauge = Gauge::default();
        let lobby = Lobby::new(3, 2, Rate::OFF, gauge.clone());
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
        let lobby = Lobby::new(10, 1, Rate::OFF, Gauge::default());
        let _first = lobby.enter(address("2001:db8::1")).unwrap();
        assert_eq!(lobby.enter(address("2001:db8::ffff:2")).unwrap_err(), Full::FromAddress);
        assert!(lobby.enter(address("2001:db8:0:1::1")).is_ok());
    }
    #[tokio::test(start_paused = true)]
    async fn arrivals_are_counted_by_address_and_time() {
        let rate = Rate { per_second: 2, burst: Duration::from_secs(2) };
        let lobby = Lobby::new(10, 10, rate, Gauge::default());
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!((0..10).filter(|_| lobby.is_in_time(one)).count(), 4);
        assert!(lobby.is_in_time(other));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!((0..10).filter(|_| lobby.is_in_time(one)).count(), 1);
    }

    #[test]
    fn more_than_half_is_a_crowd() {
        let lobby = Lobby::new(100, 4, Rate::OFF, Gauge::default());
        let mut proxied = lobby.enter_unnamed().unwrap();
        proxied.name(address("192.0.2.1")).unwrap();
        let mut passes = vec![proxied];
        passes.push(lobby.enter(address("192.0.2.1")).unwrap());
        assert!(!passes[0].is_crowded());
        passes.push(lobby.enter(address("192.0.2.1")).unwrap());
        assert!(passes[0].is_crowded());
        assert!(!lobby.enter(address("192.0.2.2")).unwrap().is_crowded());
    }
}
