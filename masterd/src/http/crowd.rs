//! Pure: no clock, no I/O, no async.
//!
//! Connections by address: one that opens thousands and says nothing must not keep everybody else out.

use std::collections::HashMap;
use std::net::IpAddr;

use super::rate::network_of;

/// Counts connections by address. Bounded by the connections there are.
#[derive(Debug, Default)]
pub(super) struct Crowd(HashMap<IpAddr, usize>);

impl Crowd {
    /// Counts a connection; false, and it is not counted, if its address has `max` already. A proxy on this host speaks for
    /// many: loopback has no limit of its own.
    pub(super) fn enter(&mut self, address: IpAddr, max: usize) -> bool {
        let count = self.0.entry(network_of(address)).or_default();
        if *count >= max && !address.to_canonical().is_loopback() {
            return false;
        }
        *count += 1;
        true
    }

    /// A counted connection has ended.
    pub(super) fn leave(&mut self, address: IpAddr) {
        let address = network_of(address);
        if let Some(count) = self.0.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_a_share_and_others_are_let_in() {
        let mut crowd = Crowd::default();
        let [flood, guest]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        assert!(crowd.enter(flood, 2) && crowd.enter("::ffff:192.0.2.1".parse().unwrap(), 2));
        assert!(!crowd.enter(flood, 2));
        assert!(crowd.enter(guest, 2));
        crowd.leave(flood);
        assert!(crowd.enter(flood, 2));
        for _ in 0..2 {
            crowd.leave(flood);
        }
        crowd.leave(guest);
        assert!(crowd.0.is_empty());
    }

    #[test]
    fn loopback_is_counted_but_not_limited() {
        let mut crowd = Crowd::default();
        let proxy: IpAddr = "127.0.0.1".parse().unwrap();
        assert!((0..10).all(|_| crowd.enter(proxy, 2)));
    }
}
