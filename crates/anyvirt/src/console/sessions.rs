//! Who is logged in: to be looked at, and ended one by one.

use ::console::Listed;
use apiserver::user::MASTERS;
use apiserver::{Body, FrontRequest, Status, User};
use http::Response;
use serde_json::{Value, json};

use crate::up::VIEWERS;

use super::{AUDIT, Console, Sender, answer, logged_out};

impl Console {
    /// The sessions that the caller may end.
    pub(super) fn list_sessions(&self, request: &FrontRequest) -> Result<Response<Body>, Status> {
        let (asks, current) = self.asks(request)?;
        let sessions = self.door.sessions((self.clock)());
        let may = |it: &&Listed<User>| may_end(&asks, current.as_deref(), &it.user, &it.name);
        let shown = sessions.iter().filter(may);
        let shown: Vec<_> = shown
            .map(|session| told(session, current.as_deref()))
            .collect();
        Ok(answer(&json!({ "sessions": shown })))
    }

    /// Ends the session of this name; one that the caller may not see is not there.
    pub(super) async fn revoke_session(
        &self,
        request: &FrontRequest,
        name: &str,
    ) -> Result<Response<Body>, Status> {
        let (asks, current) = self.asks(request)?;
        let may = |user: &User| may_end(&asks, current.as_deref(), user, name);
        let revoked = self.door.revoke(name, may, (self.clock)());
        let revoked = revoked.ok_or_else(|| Status::not_found("", "sessions", name))?;
        tracing::info!(target: AUDIT, user = revoked.user.name, session = revoked.name, by = asks.name,
            peer = %request.peer, "a session of the console was revoked");
        self.keep_ended().await?;
        let mut response = answer(&told(&revoked, current.as_deref()));
        if current.as_deref() == Some(name) {
            ::console::clear_cookie(response.headers_mut());
        }
        Ok(response)
    }

    /// Who asks, and in which session.
    fn asks(&self, request: &FrontRequest) -> Result<(User, Option<String>), Status> {
        match self.caller(&request.parts, request.proven.as_ref())? {
            Sender::Session(entered) => Ok((entered.user, Some(entered.name))),
            Sender::Program(user) | Sender::Browser(user) => Ok((user, None)),
            Sender::Nobody => Err(logged_out()),
        }
    }
}

/// Everybody may end their own sessions, an administrator everybody's. Of who may only look, own is the one they ask
/// in: a token of theirs is given to many, who all have its name.
fn may_end(asks: &User, current: Option<&str>, owner: &User, session: &str) -> bool {
    let is_own = if asks.is_in(VIEWERS) {
        current == Some(session)
    } else {
        asks.name == owner.name
    };
    is_own || asks.is_in(MASTERS)
}

fn told(session: &Listed<User>, current: Option<&str>) -> Value {
    json!({
        "name": session.name,
        "user": session.user.name,
        "peer": session.from.peer,
        "browser": session.from.browser,
        "opened": session.opened,
        "lastUsed": session.used,
        "ends": session.ends,
        "current": current == Some(session.name.as_str()),
    })
}
