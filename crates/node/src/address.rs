//! Addresses of pods on this machine: from the loopback network, where any address can be listened
//! on without being set up.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A range of IPv4 addresses, as in `127.64.0.0/10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    first: u32,
    prefix_length: u8,
}

/// A text is no range that pods could have addresses from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no range of pod addresses: {cause}; the default is 127.64.0.0/10")]
pub struct NotARange {
    text: String,
    cause: &'static str,
}

impl Default for AddressRange {
    fn default() -> Self {
        Self {
            first: u32::from(Ipv4Addr::new(127, 64, 0, 0)),
            prefix_length: 10,
        }
    }
}

impl FromStr for AddressRange {
    type Err = NotARange;

    fn from_str(text: &str) -> Result<Self, NotARange> {
        let refused = |cause| NotARange {
            text: text.to_owned(),
            cause,
        };
        let (address, length) = text.split_once('/').ok_or_else(|| refused("no / in it"))?;
        let address: Ipv4Addr = address
            .parse()
            .map_err(|_| refused("not an IPv4 address"))?;
        let prefix_length: u8 = length
            .parse()
            .map_err(|_| refused("no number after the /"))?;
        if !(8..=28).contains(&prefix_length) {
            return Err(refused("the number after the / is not between 8 and 28"));
        }
        if !address.is_loopback() {
            return Err(refused(
                "only 127.0.0.0/8 can be listened on without being set up",
            ));
        }
        let first = u32::from(address) & (u32::MAX << (32 - prefix_length));
        Ok(Self {
            first,
            prefix_length,
        })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}/{}",
            Ipv4Addr::from(self.first),
            self.prefix_length
        )
    }
}

impl AddressRange {
    /// A free address for the pod with this UID: where its hash points, or the next free one. So
    /// servers side by side rarely choose the same, and never by their own fault. `None` if all
    /// are taken. The first and last address of the range are never given.
    #[must_use]
    pub fn choose(&self, pod_uid: &str, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        let count = (1u32 << (32 - self.prefix_length)) - 2;
        let start = fingerprint(pod_uid) % count;
        // Among one more than are taken, one is free.
        let tries = count.min(
            u32::try_from(taken.len())
                .unwrap_or(u32::MAX)
                .saturating_add(1),
        );
        (0..tries)
            .map(|step| Ipv4Addr::from(self.first + 1 + (start + step) % count))
            .find(|address| !taken.contains(address))
    }
}

/// FNV-1a: spreads well enough, and needs to be no secret.
fn fingerprint(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_and_others_refused() {
        let range: AddressRange = "127.64.9.9/10".parse().expect("a range");
        assert_eq!(range, AddressRange::default());
        assert_eq!(range.to_string(), "127.64.0.0/10");
        for text in [
            "127.64.0.0",
            "x/10",
            "127.64.0.0/x",
            "127.64.0.0/31",
            "10.0.0.0/10",
        ] {
            AddressRange::from_str(text).expect_err(text);
        }
    }

    #[test]
    fn addresses_are_given_once_until_the_range_is_full() {
        let range: AddressRange = "127.64.0.0/28".parse().expect("a range");
        let mut taken = BTreeSet::new();
        for _ in 0..14 {
            let address = range.choose("the same pod", &taken).expect("one is free");
            assert!(taken.insert(address), "{address} given twice");
        }
        assert_eq!(range.choose("the same pod", &taken), None);
        assert!(!taken.contains(&Ipv4Addr::new(127, 64, 0, 0)));
        assert!(!taken.contains(&Ipv4Addr::new(127, 64, 0, 15)));
    }
}
