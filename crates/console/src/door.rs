//! The door: who gets in, as whom, and until when.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::link::Links;
use crate::refusal::Refusal;
use crate::secret::{Secret, csrf, digest};
use crate::session::{Kept, Listed, Place, Sessions, name};
use crate::tries::Tries;
use crate::visit::{Hosts, Visit};

/// Links and sessions of users `U`.
#[derive(Debug)]
pub struct Door<U> {
    hosts: Hosts,
    /// When it is cancelled, everything is over.
    stop: CancellationToken,
    state: Mutex<State<U>>,
}

#[derive(Debug)]
struct State<U> {
    /// With whether their sessions last.
    links: Links<(U, bool)>,
    sessions: Sessions<U>,
    tries: Tries,
}

/// A try to log in.
#[derive(Debug)]
pub enum Attempt<'a, U> {
    /// With the key of a one-time link.
    Link(&'a str),
    /// With a token: whom it proves.
    Token(Option<U>),
}

/// A session that was just opened.
#[derive(Debug)]
pub struct Opened<U> {
    /// How it is called where sessions are listed.
    pub name: String,
    /// As whom it acts.
    pub user: U,
    /// For the cookie.
    pub id: Secret,
    /// For the page.
    pub csrf: Secret,
}

/// A request that belongs to a session.
#[derive(Clone, Debug)]
pub struct Entered<U> {
    /// How its session is called where sessions are listed.
    pub name: String,
    /// As whom it acts.
    pub user: U,
    /// For the page.
    pub csrf: Secret,
    /// Cancelled when the session is over.
    pub until: CancellationToken,
}

impl<U: Clone> Door<U> {
    /// A door for browsers that call this server by one of `hosts`. `stop` ends all sessions.
    #[must_use]
    pub fn new(hosts: Hosts, stop: CancellationToken) -> Self {
        Self {
            hosts,
            stop,
            state: Mutex::new(State {
                links: Links::new(),
                sessions: Sessions::new(),
                tries: Tries::default(),
            }),
        }
    }

    /// Makes a one-time link: `key` opens one session of `user` within [`crate::LINK_LIFE`]. The session `lasts` over a
    /// restart of the server if what proved the user does: a token may be gone then, so sessions of tokens never last.
    pub fn link(&self, key: &Secret, user: U, lasts: bool, now: Timestamp) {
        self.state().links.add(key, (user, lasts), now);
    }

    /// The sessions that last over a restart, as they may be written down.
    pub fn kept(&self) -> Vec<Kept<U>> {
        self.state().sessions.kept()
    }

    /// Opens sessions of an earlier server again, those that are not over.
    pub fn restore(&self, kept: Vec<Kept<U>>, now: Timestamp) {
        let mut state = self.state();
        for kept in kept {
            let until = self.stop.child_token();
            state.sessions.restore(kept, until, now);
        }
    }

    /// Logs in: opens a session with this new `id`.
    ///
    /// # Errors
    /// 403 when another site's page asks for it; for a wrong key or token 401, which does not tell what was wrong with
    /// it, or 429 after too many failures.
    pub fn log_in(
        &self,
        visit: &Visit,
        attempt: Attempt<'_, U>,
        id: Secret,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<Opened<U>, Refusal> {
        visit.check(&self.hosts)?;
        let mut state = self.state();
        // Judged before anything else: failures of others at the same address must never keep out who has the key.
        let user = match attempt {
            Attempt::Link(key) => state.links.redeem(key, now),
            Attempt::Token(user) => user.map(|user| (user, false)),
        };
        let Some((user, lasts)) = user else {
            return Err(failed(&mut state.tries, peer, now));
        };
        state.tries.succeed(peer);
        let until = self.stop.child_token();
        let from = Place {
            peer,
            browser: visit.browser().to_owned(),
        };
        state
            .sessions
            .open(&id, (user.clone(), lasts), from, until, now);
        let csrf = csrf(id.text());
        let name = name(digest(id.text()));
        Ok(Opened {
            name,
            user,
            id,
            csrf,
        })
    }

    /// Was this request of a browser made by a page of ours?
    ///
    /// # Errors
    /// 403 with what shows that it was not.
    pub fn check(&self, visit: &Visit) -> Result<(), Refusal> {
        visit.check(&self.hosts)
    }

    /// As whom a request goes on; `None`: it carries no cookie of ours.
    ///
    /// # Errors
    /// 403 when no page of ours made it, or without the session's token though it changes something; 401 when its
    /// session is over.
    pub fn enter(&self, visit: &Visit, now: Timestamp) -> Result<Option<Entered<U>>, Refusal> {
        let Some(id) = visit.cookie() else {
            return Ok(None);
        };
        visit.check(&self.hosts)?;
        let mut state = self.state();
        let Some(session) = state.sessions.find(id, now) else {
            return Err(Refusal::new(
                401,
                "SessionExpired",
                "Cookie",
                "this session is over; log in again, `anyvirt web` makes a link",
            ));
        };
        let csrf = csrf(id);
        let carried = visit.csrf().map(digest);
        if visit.changes() && carried != Some(digest(csrf.text())) {
            let (reason, message) = match carried {
                None => (
                    "CsrfTokenMissing",
                    "needs the session's token in the header X-CSRF-Token",
                ),
                Some(_) => (
                    "CsrfTokenWrong",
                    "carries another session's token in X-CSRF-Token",
                ),
            };
            return Err(Refusal::new(
                403,
                reason,
                "X-CSRF-Token",
                format!("this request {message}; /console/api/session tells it"),
            ));
        }
        Ok(Some(Entered {
            name: name(digest(id)),
            user: session.user.clone(),
            csrf,
            until: session.until.clone(),
        }))
    }

    /// Ends the session of a request that was let in.
    pub fn leave(&self, visit: &Visit) {
        if let Some(id) = visit.cookie() {
            self.state().sessions.close(id);
        }
    }

    /// All sessions, the newest first.
    pub fn sessions(&self, now: Timestamp) -> Vec<Listed<U>> {
        self.state().sessions.list(now)
    }

    /// Ends the session of this name, and its streams, if `may` permits it of its user: what it was.
    pub fn revoke(
        &self,
        name: &str,
        may: impl Fn(&U) -> bool,
        now: Timestamp,
    ) -> Option<Listed<U>> {
        self.state().sessions.revoke(name, may, now)
    }

    /// Ends sessions that nobody used for [`crate::IDLE`] or that are older than [`crate::SESSION_LIFE`]: with them end
    /// their streams, which ask nothing again.
    pub fn end_over(&self, now: Timestamp) {
        self.state().sessions.end_over(now);
    }

    fn state(&self) -> MutexGuard<'_, State<U>> {
        // A panic while it was held cannot have let anybody in.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a login that failed: too many at once have to wait.
fn failed(tries: &mut Tries, peer: IpAddr, now: Timestamp) -> Refusal {
    if let Some(seconds) = tries.wait(peer, now) {
        let message = format!("too many logins failed; try again in {seconds} s");
        let mut refusal = Refusal::new(429, "TooManyTries", "", message);
        refusal.retry_after = Some(seconds);
        return refusal;
    }
    tries.fail(peer, now);
    Refusal::new(
        401,
        "LoginFailed",
        "",
        "this link was used or is too old, or this token is not known here; `anyvirt web` makes a new link",
    )
}
