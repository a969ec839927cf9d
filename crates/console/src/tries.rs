//! Logins that failed, by where they came from.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use jiff::{SignedDuration, Timestamp};

/// Failures in a row that cost nothing.
const FREE: u32 = 5;

/// The wait after them, during which failures are only told to wait. Right keys never wait, since anybody on the machine
/// can fail: no pace of guessing finds 256 bits, and a token can be tried at the API itself.
const WAIT: SignedDuration = SignedDuration::from_secs(30);

/// Failures are forgotten after this long.
const MEMORY: SignedDuration = SignedDuration::from_hours(1);

/// Addresses that are remembered; the one that failed longest ago makes room.
const MOST: usize = 1024;

/// Who failed how often, and when last.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    failed: BTreeMap<IpAddr, (u32, Timestamp)>,
}

impl Tries {
    /// Seconds that `peer`, which failed again, has to wait; `None`: nothing yet.
    pub(crate) fn wait(&self, peer: IpAddr, now: Timestamp) -> Option<u32> {
        let (count, last) = self.failed.get(&network(peer))?;
        let left = WAIT - now.duration_since(*last);
        (*count >= FREE && left.is_positive())
            .then(|| u32::try_from(left.as_secs() + 1).unwrap_or(u32::MAX))
    }

    /// Remembers a failure.
    pub(crate) fn fail(&mut self, peer: IpAddr, now: Timestamp) {
        self.failed
            .retain(|_, (_, last)| now.duration_since(*last) < MEMORY);
        let peer = network(peer);
        if self.failed.len() >= MOST && !self.failed.contains_key(&peer) {
            let oldest = self.failed.iter().min_by_key(|(_, (_, last))| *last);
            if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
                self.failed.remove(&oldest);
            }
        }
        let (count, last) = self.failed.entry(peer).or_insert((0, now));
        *count = count.saturating_add(1);
        *last = now;
    }

    /// Forgets the failures of one who succeeded.
    pub(crate) fn succeed(&mut self, peer: IpAddr) {
        self.failed.remove(&network(peer));
    }
}

/// Of IPv6, a host has a whole /64 to try from.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        )),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn five_failures_are_free_and_then_one_waits() {
        let mut tries = Tries::default();
        let (peer, other): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [10, 0, 0, 1].into());
        for _ in 0..4 {
            tries.fail(peer, at(0));
            assert_eq!(tries.wait(peer, at(0)), None);
        }
        tries.fail(peer, at(0));
        assert_eq!(tries.wait(peer, at(0)), Some(31));
        assert_eq!(tries.wait(other, at(0)), None);
        assert_eq!(tries.wait(peer, at(30)), None);
        tries.fail(peer, at(30));
        assert_eq!(tries.wait(peer, at(31)), Some(30));
        tries.succeed(peer);
        assert_eq!(tries.wait(peer, at(31)), None);
    }

    #[test]
    fn a_host_of_ipv6_is_its_network_and_an_hour_forgets() {
        let mut tries = Tries::default();
        for last in 0..5_u16 {
            tries.fail(IpAddr::from([0xfd00, 0, 0, 1, 0, 0, 0, last]), at(0));
        }
        let same: IpAddr = "fd00:0:0:1::ff".parse().unwrap();
        assert!(tries.wait(same, at(1)).is_some());
        tries.fail(same, at(3600));
        assert_eq!(tries.wait(same, at(3600)), None);
    }
}
