//! Sessions: who is logged in. What a server that starts again needs to know of them opens none.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::secret::{Digest, Secret, digest};

/// A session that nobody used for so long is over.
pub const IDLE: SignedDuration = SignedDuration::from_hours(12);

/// A session is over so long after its login, however much it is used: an open page never stops asking.
pub const LIFE: SignedDuration = SignedDuration::from_hours(24);

/// Sessions at a time, some hundred bytes each; the one that was idle longest makes room.
const MOST: usize = 1024;

/// Where a login came from, to tell sessions apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The address.
    pub peer: IpAddr,
    /// What the browser called itself: printable letters, at most two hundred.
    pub browser: String,
}

/// A session as it is shown.
#[derive(Clone, Debug)]
pub struct Listed<U> {
    /// By what it is revoked. It tells nothing of the session's id.
    pub name: String,
    /// As whom it acts.
    pub user: U,
    /// Where its login came from.
    pub from: Place,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it was used last.
    pub used: Timestamp,
    /// When it is over if nobody uses it again.
    pub ends: Timestamp,
}

/// One login.
#[derive(Debug)]
pub(crate) struct Session<U> {
    /// As whom its requests act.
    pub(crate) user: U,
    /// Where its login came from.
    pub(crate) from: Place,
    /// Cancelled when the session is over, and with it everything that streams in its name.
    pub(crate) until: CancellationToken,
    opened: Timestamp,
    used: Timestamp,
    /// Is it kept over a restart of the server?
    lasts: bool,
}

/// A session as it is kept over a restart.
#[derive(Clone, Debug)]
pub struct Kept<U> {
    /// The hash of its id, by which it is found, and which is not its id.
    pub id: [u8; 32],
    /// As whom it acts.
    pub user: U,
    /// Where its login came from.
    pub from: Place,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it was used last.
    pub used: Timestamp,
}

impl<U> Session<U> {
    fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.used) >= IDLE || now.duration_since(self.opened) >= LIFE
    }
}

impl<U: Clone> Session<U> {
    fn listed(&self, id: Digest) -> Listed<U> {
        Listed {
            name: name(id),
            user: self.user.clone(),
            from: self.from.clone(),
            opened: self.opened,
            used: self.used,
            ends: (self.used + IDLE).min(self.opened + LIFE),
        }
    }
}

/// How a session is called: 64 of the 256 bits by which it is found.
pub(crate) fn name(id: Digest) -> String {
    let bytes = id[..8].iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
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

    /// Opens one, which is kept over a restart if it `lasts`.
    pub(crate) fn open(
        &mut self,
        id: &Secret,
        (user, lasts): (U, bool),
        from: Place,
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
            from,
            until,
            opened: now,
            used: now,
            lasts,
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

    /// Ends the session of this name if `may` permits it of its user: what it was.
    pub(crate) fn revoke(
        &mut self,
        name_of_it: &str,
        may: impl Fn(&U) -> bool,
        now: Timestamp,
    ) -> Option<Listed<U>>
    where
        U: Clone,
    {
        self.end_over(now);
        let mut open = self.open.iter();
        let (id, session) = open.find(|(id, _)| name(**id) == name_of_it)?;
        if !may(&session.user) {
            return None;
        }
        let (id, listed) = (*id, session.listed(*id));
        self.end(id);
        Some(listed)
    }

    /// All of them, the newest first.
    pub(crate) fn list(&mut self, now: Timestamp) -> Vec<Listed<U>>
    where
        U: Clone,
    {
        self.end_over(now);
        let open = self.open.iter();
        let mut listed: Vec<_> = open.map(|(id, session)| session.listed(*id)).collect();
        listed.sort_by_key(|session| std::cmp::Reverse(session.opened));
        listed
    }

    /// Those that last.
    pub(crate) fn kept(&self) -> Vec<Kept<U>>
    where
        U: Clone,
    {
        let lasting = self.open.iter().filter(|(_, session)| session.lasts);
        let kept = lasting.map(|(id, session)| Kept {
            id: *id,
            user: session.user.clone(),
            from: session.from.clone(),
            opened: session.opened,
            used: session.used,
        });
        kept.collect()
    }

    /// Opens one of an earlier server again, if it is not over.
    pub(crate) fn restore(&mut self, kept: Kept<U>, until: CancellationToken, now: Timestamp) {
        let session = Session {
            user: kept.user,
            from: kept.from,
            until,
            opened: kept.opened,
            used: kept.used,
            lasts: true,
        };
        // One of the future would not be over for longer than a day: the clock was put back.
        let is_of_future = kept.opened > now || kept.used > now;
        if !is_of_future && !session.is_over(now) && self.open.len() < MOST {
            self.open.insert(kept.id, session);
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

    fn place() -> Place {
        Place {
            peer: IpAddr::from([127, 0, 0, 1]),
            browser: "Lynx".to_owned(),
        }
    }

    #[test]
    fn sessions_are_listed_and_revoked_by_name_by_whom_they_are_of() {
        let mut sessions = Sessions::new();
        let until = CancellationToken::new();
        sessions.open(&id(1), ("alice", true), place(), until.clone(), at(0));
        sessions.open(
            &id(2),
            ("bob", true),
            place(),
            CancellationToken::new(),
            at(1),
        );
        assert!(sessions.find(id(1).text(), at(60)).is_some());
        let listed = sessions.list(at(60));
        let told: Vec<_> = listed
            .iter()
            .map(|it| (it.user, it.opened, it.used))
            .collect();
        assert_eq!(told, [("bob", at(1), at(1)), ("alice", at(0), at(60))]);
        assert_eq!(listed[1].ends, at(60) + IDLE);
        let alice = listed[1].name.clone();
        assert!(!id(1).text().contains(&alice), "a name is no secret");

        assert!(
            sessions
                .revoke(&alice, |user| *user == "bob", at(60))
                .is_none()
        );
        assert!(sessions.revoke("none", |_| true, at(60)).is_none());
        assert!(!until.is_cancelled());
        let revoked = sessions.revoke(&alice, |user| *user == "alice", at(60));
        assert_eq!(revoked.expect("it is hers").user, "alice");
        assert!(until.is_cancelled());
        assert!(sessions.find(id(1).text(), at(60)).is_none());
        assert!(sessions.revoke(&alice, |_| true, at(60)).is_none());

        let late = IDLE.as_secs() + 1;
        assert!(sessions.list(at(late)).is_empty(), "what is over is gone");
        // Its last hours are told rightly.
        sessions.open(
            &id(3),
            ("carol", true),
            place(),
            CancellationToken::new(),
            at(0),
        );
        for hour in 1..20 {
            assert!(sessions.find(id(3).text(), at(hour * 3600)).is_some());
        }
        assert_eq!(sessions.list(at(19 * 3600))[0].ends, at(0) + LIFE);
    }

    #[test]
    fn what_lasts_is_open_again_after_a_restart_and_never_longer_than_before() {
        let mut earlier = Sessions::new();
        let until = CancellationToken::new;
        earlier.open(&id(1), ("alice", true), place(), until(), at(100));
        earlier.open(&id(2), ("bob", false), place(), until(), at(100));
        assert!(earlier.find(id(1).text(), at(500)).is_some());
        let kept = earlier.kept();
        assert_eq!(kept.len(), 1);
        assert_ne!(Secret::of(kept[0].id), id(1), "it opens nothing");
        let restored = |now| {
            let mut later = Sessions::new();
            for kept in kept.clone() {
                later.restore(kept, until(), now);
            }
            later
        };
        let mut later = restored(at(600));
        assert!(later.find(id(2).text(), at(600)).is_none());
        assert_eq!(later.list(at(600))[0].opened, at(100));
        assert!(later.find(id(1).text(), at(600)).is_some());
        let end = at(100) + LIFE;
        for hour in 1..24 {
            assert!(later.find(id(1).text(), at(100 + hour * 3600)).is_some());
        }
        assert!(later.find(id(1).text(), end).is_none());
        // Over meanwhile, or opened after now.
        assert!(restored(at(500) + IDLE).list(at(500)).is_empty());
        assert!(restored(at(99)).list(at(99)).is_empty());
        assert!(restored(at(499)).list(at(499)).is_empty());
    }

    #[test]
    fn a_session_that_nobody_uses_is_over_and_its_streams_end_with_it() {
        let mut sessions = Sessions::new();
        let until = CancellationToken::new();
        sessions.open(&id(1), ("alice", true), place(), until.clone(), at(0));
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
        sessions.open(&id(1), ("alice", true), place(), until.clone(), at(0));
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
                (number, true),
                place(),
                CancellationToken::new(),
                at(number.into()),
            );
        }
        // The first is used again, so the second is the idlest.
        let now = at(MOST as i64);
        assert!(sessions.find(id(0).text(), now).is_some());
        sessions.open(
            &id(9999),
            (9999, true),
            place(),
            CancellationToken::new(),
            now,
        );
        assert!(sessions.find(id(0).text(), now).is_some());
        assert!(sessions.find(id(1).text(), now).is_none());
        sessions.close(id(9999).text());
        assert!(sessions.find(id(9999).text(), now).is_none());
    }
}
