//! Sessions: who is logged in, kept in memory only. A server that starts again knows nobody.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::secret::{Digest, Secret, digest};

/// A session that nobody used for so long is over.
pub const IDLE: SignedDuration = SignedDuration::from_hours(12);

/// A session is over so long after its login, however much it is used: an open page never stops asking.
pub const LIFE: SignedDuration = SignedDuration::from_hours(24);

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
    opened: Timestamp,
    used: Timestamp,
}

impl<U> Session<U> {
    fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.used) >= IDLE || now.duration_since(self.opened) >= LIFE
    }
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
        self.end_over(now);
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
            opened: now,
            used: now,
        };
        self.open.insert(digest(id.text()), session);
    }

    /// The session of this id, which is used now.
    pub(crate) fn find(&mut self, id: &str, now: Timestamp) -> Option<&Session<U>> {
        self.end_over(now);
        let session = self.open.get_mut(&digest(id))?;
        session.used = session.used.max(now);
        Some(session)
    }

    /// Ends the session of this id, if there is one.
    pub(crate) fn close(&mut self, id: &str) {
        self.end(digest(id));
    }

    /// Ends those that nobody used for [`IDLE`], or that are older than [`LIFE`].
    pub(crate) fn end_over(&mut self, now: Timestamp) {
        let over: Vec<Digest> = self
            .open
            .iter()
            .filter(|(_, session)| session.is_over(now))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
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
    fn a_session_that_nobody_uses_is_over_and_its_streams_end_with_it() {
        let mut sessions = Sessions::new();
        let until = CancellationToken::new();
        sessions.open(&id(1), id(2), "alice", until.clone(), at(0));
        let (idle, used) = (IDLE.as_secs(), 3600);
        assert_eq!(sessions.find(id(1).text(), at(used)).unwrap().user, "alice");
        sessions.end_over(at(used + idle - 1));
        assert!(!until.is_cancelled());
        assert!(sessions.find(id(1).text(), at(used + idle)).is_none());
        assert!(until.is_cancelled());
    }

    #[test]
    fn a_session_that_is_used_all_the_time_is_over_after_a_day_all_the_same() {
        let mut sessions = Sessions::new();
        let until = CancellationToken::new();
        sessions.open(&id(1), id(2), "alice", until.clone(), at(0));
        // A page reopens its watch sooner than this.
        let step = 300;
        for used in (0..LIFE.as_secs()).step_by(step) {
            assert!(sessions.find(id(1).text(), at(used)).is_some(), "{used}");
        }
        assert!(!until.is_cancelled());
        assert!(sessions.find(id(1).text(), at(LIFE.as_secs())).is_none());
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
