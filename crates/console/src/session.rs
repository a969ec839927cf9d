//! Sessions: who is logged in, kept in memory only. A server that starts again knows nobody.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::secret::{Digest, Secret, digest};

/// A session that nobody used for so long is over.
pub const IDLE: SignedDuration = SignedDuration::from_hours(12);

/// Sessions at a time, some hundred bytes each; the one that was idle longest makes room.
const MOST: usize = 1024;

/// One login.
#[derive(Debug)]
pub(crate) struct Session<U> {
    /// As whom its requests act.
    pub(crate) user: U,
    /// What requests that change something must carry in a header, which no other site's page can set.
    pub(crate) csrf: Secret,
    /// Cancelled when the session is over, and with it everything that streams in its name.
    pub(crate) until: CancellationToken,
    used: Timestamp,
}

/// Everybody who is logged in.
#[derive(Debug)]
pub(crate) struct Sessions<U> {
    open: BTreeMap<Digest, Session<U>>,
}

impl<U> Sessions<U> {
    /// Nobody.
    pub(crate) fn new() -> Self {
        Self {
            open: BTreeMap::new(),
        }
    }

    /// Opens one.
    pub(crate) fn open(
        &mut self,
        id: &Secret,
        csrf: Secret,
        user: U,
        until: CancellationToken,
        now: Timestamp,
    ) {
        self.end_idle(now);
        if self.open.len() >= MOST {
            let idle = self.open.iter().min_by_key(|(_, session)| session.used);
            if let Some(idle) = idle.map(|(id, _)| *id) {
                self.end(idle);
            }
        }
        let session = Session {
            user,
            csrf,
            until,
            used: now,
        };
        self.open.insert(digest(id.text()), session);
    }

    /// The session of this id, which is used now.
    pub(crate) fn find(&mut self, id: &str, now: Timestamp) -> Option<&Session<U>> {
        self.end_idle(now);
        let session = self.open.get_mut(&digest(id))?;
        session.used = session.used.max(now);
        Some(session)
    }

    /// Ends the session of this id, if there is one.
    pub(crate) fn close(&mut self, id: &str) {
        self.end(digest(id));
    }

    /// Ends those that nobody used for [`IDLE`].
    pub(crate) fn end_idle(&mut self, now: Timestamp) {
        let idle: Vec<Digest> = self
            .open
            .iter()
            .filter(|(_, session)| now.duration_since(session.used) >= IDLE)
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            self.end(id);
        }
    }

    fn end(&mut self, id: Digest) {
        if let Some(session) = self.open.remove(&id) {
            session.until.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> Secret {
        let mut bits = [0; 32];
        bits[..2].copy_from_slice(&number.to_be_bytes());
        Secret::of(bits)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn a_session_lives_as_long_as_it_is_used_and_its_streams_end_with_it() {
        let mut sessions = Sessions::new();
        let until = CancellationToken::new();
        sessions.open(&id(1), id(2), "alice", until.clone(), at(0));
        let idle = IDLE.as_secs();
        assert_eq!(
            sessions.find(id(1).text(), at(idle - 1)).unwrap().user,
            "alice"
        );
        assert!(sessions.find(id(1).text(), at(2 * idle - 2)).is_some());
        assert!(!until.is_cancelled());
        assert!(sessions.find(id(1).text(), at(3 * idle - 2)).is_none());
        assert!(until.is_cancelled());
    }

    #[test]
    fn a_closed_session_is_over_and_a_full_table_ends_the_idlest() {
        let mut sessions = Sessions::new();
        for number in 0..MOST as u16 {
            sessions.open(
                &id(number),
                id(0),
                number,
                CancellationToken::new(),
                at(number.into()),
            );
        }
        // The first is used again, so the second is the idlest.
        let now = at(MOST as i64);
        assert!(sessions.find(id(0).text(), now).is_some());
        sessions.open(&id(9999), id(0), 9999, CancellationToken::new(), now);
        assert!(sessions.find(id(0).text(), now).is_some());
        assert!(sessions.find(id(1).text(), now).is_none());
        sessions.close(id(9999).text());
        assert!(sessions.find(id(9999).text(), now).is_none());
    }
}
