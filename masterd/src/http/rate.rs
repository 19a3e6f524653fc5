//! Pure: no clock, no I/O, no async.
//!
//! A token bucket for each address: how often it may fail to authenticate, or use paths that are open to all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Size and refill of the buckets.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Requests at once.
    pub burst: u32,
    /// Requests per second after that.
    pub per_second: u32,
}

/// Counts requests by address. Bounded: an address that has been quiet long enough is forgotten, which changes
/// nothing for it.
#[derive(Debug)]
pub struct RateLimiter {
    rate: Rate,
    buckets: HashMap<IpAddr, Bucket>,
    addresses_max: usize,
    /// No bucket is full before this; sweeping earlier frees nothing.
    sweep_at: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When the bucket will be full again; the later, the emptier it is.
    full_at: Duration,
}

impl RateLimiter {
    /// An empty limiter.
    #[must_use]
    pub fn new(rate: Rate, addresses_max: usize) -> Self {
        Self { rate, buckets: HashMap::new(), addresses_max, sweep_at: Duration::ZERO }
    }

    /// Takes one request from the address's bucket.
    ///
    /// # Errors
    /// The time after which there is one to take.
    pub fn take(&mut self, now: Duration, address: IpAddr) -> Result<(), Duration> {
        let address = network_of(address);
        self.check(now, address)?;
        if !self.buckets.contains_key(&address) && !self.make_room(now) {
            // Too many addresses at once: whoever is new must wait, those known are served by their buckets.
            return Err(self.cost());
        }
        let cost = self.cost();
        let bucket = self.buckets.entry(address).or_insert(Bucket { full_at: now });
        bucket.full_at = bucket.full_at.max(now) + cost;
        Ok(())
    }

    /// Says whether there is something to take, without taking it.
    ///
    /// # Errors
    /// The time after which there is.
    pub fn check(&self, now: Duration, address: IpAddr) -> Result<(), Duration> {
        let Some(bucket) = self.buckets.get(&network_of(address)) else { return Ok(()) };
        let span = self.cost() * (self.rate.burst - 1);
        let free_at = bucket.full_at.saturating_sub(span);
        if free_at > now { Err(free_at - now) } else { Ok(()) }
    }

    fn cost(&self) -> Duration {
        Duration::from_secs(1) / self.rate.per_second
    }

    fn make_room(&mut self, now: Duration) -> bool {
        if self.buckets.len() >= self.addresses_max && now >= self.sweep_at {
            self.buckets.retain(|_, bucket| bucket.full_at > now);
            // Bounds the work of a flood from ever new addresses to one sweep in this time.
            self.sweep_at = now + Duration::from_secs(1);
        }
        self.buckets.len() < self.addresses_max
    }
}

/// One IPv6 subscriber has a network of 64 bits of addresses.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, per_second: 2 };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_passes_then_one_each_interval() {
        let mut limiter = RateLimiter::new(RATE, 10);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(limiter.take(at(0), address), Ok(()));
        }
        assert_eq!(limiter.take(at(0), address), Err(at(500)));
        assert_eq!(limiter.check(at(499), address), Err(at(1)));
        assert_eq!(limiter.take(at(500), address), Ok(()));
        assert!(limiter.take(at(501), address).is_err());
        assert_eq!(limiter.take(at(0), "192.0.2.2".parse().unwrap()), Ok(()));
    }

    #[test]
    fn one_ipv6_network_is_one_address_and_mapped_ones_are_ipv4() {
        let mut limiter = RateLimiter::new(Rate { burst: 1, per_second: 1 }, 10);
        assert!(limiter.take(at(0), "2001:db8::1".parse().unwrap()).is_ok());
        assert!(limiter.take(at(0), "2001:db8::2".parse().unwrap()).is_err());
        assert!(limiter.take(at(0), "::ffff:192.0.2.1".parse().unwrap()).is_ok());
        assert!(limiter.take(at(0), "192.0.2.1".parse().unwrap()).is_err());
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_quiet() {
        let mut limiter = RateLimiter::new(RATE, 2);
        for last in 1..=2_u8 {
            assert!(limiter.take(at(0), IpAddr::from([192, 0, 2, last])).is_ok());
        }
        assert!(limiter.take(at(0), IpAddr::from([192, 0, 2, 3])).is_err());
        assert_eq!(limiter.buckets.len(), 2);
        assert!(limiter.take(at(1500), IpAddr::from([192, 0, 2, 3])).is_ok());
        assert_eq!(limiter.buckets.len(), 1);
    }
}
