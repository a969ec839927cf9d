//! One-time links: a key that opens one session, once, soon.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::secret::{Digest, Secret, digest};

/// How long a link can be used: time to find the browser, not to lose the terminal's contents to somebody else.
pub const LIFE: SignedDuration = SignedDuration::from_mins(10);

/// Links at a time. Whoever may make them can make no more than a person uses; the oldest goes first.
const MOST: usize = 64;

/// Links that were made and not used.
#[derive(Debug)]
pub(crate) struct Links<U> {
    waiting: BTreeMap<Digest, (U, Timestamp)>,
}

impl<U> Links<U> {
    /// None.
    pub(crate) fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
        }
    }

    /// Lets `key` open a session of `user`.
    pub(crate) fn add(&mut self, key: &Secret, user: U, now: Timestamp) {
        self.forget_old(now);
        if self.waiting.len() >= MOST {
            let oldest = self.waiting.iter().min_by_key(|(_, (_, made))| *made);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.waiting.remove(&oldest);
            }
        }
        self.waiting.insert(digest(key.text()), (user, now));
    }

    /// Uses `key` up: whose session it opens, if any.
    pub(crate) fn redeem(&mut self, key: &str, now: Timestamp) -> Option<U> {
        self.forget_old(now);
        self.waiting.remove(&digest(key)).map(|(user, _)| user)
    }

    fn forget_old(&mut self, now: Timestamp) {
        self.waiting
            .retain(|_, (_, made)| now.duration_since(*made) < LIFE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Secret {
        Secret::of([number; 32])
    }

    #[test]
    fn a_link_opens_once_and_only_within_ten_minutes() {
        let now = Timestamp::UNIX_EPOCH;
        let mut links = Links::new();
        links.add(&key(1), "alice", now);
        links.add(&key(2), "bob", now);
        assert_eq!(links.redeem("guess", now), None);
        let soon = now + SignedDuration::from_secs(599);
        assert_eq!(links.redeem(key(1).text(), soon), Some("alice"));
        assert_eq!(links.redeem(key(1).text(), soon), None);
        assert_eq!(links.redeem(key(2).text(), now + LIFE), None);
    }

    #[test]
    fn the_oldest_link_makes_room() {
        let mut links = Links::new();
        for number in 0..=MOST {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(number as i64);
            links.add(&key(number as u8), number, now);
        }
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(MOST as i64);
        assert_eq!(links.redeem(key(0).text(), now), None);
        assert_eq!(links.redeem(key(1).text(), now), Some(1));
        assert_eq!(links.redeem(key(MOST as u8).text(), now), Some(MOST));
    }
}
