//! The web console before the API: its files, its calls, and browsers' requests in the name of their sessions.
//!
//! The crate `console` decides; here its answers get the API's users, errors and bodies.

mod keep;
mod machines;
mod metrics;
mod query;
mod sessions;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::console::{Attempt, Door, Entered, Hosts, Refusal, Route, Secret, Visit};
use apiserver::settings::Clock;
use apiserver::{
    ApiServer, Arrival, Body, Cause, Front, FrontRequest, Passage, Proof, Proven, Settings, Status,
    User, certificates,
};
use async_trait::async_trait;
use base64::Engine as _;
use http::request::Parts;
use http::{HeaderValue, Method, Response, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use metrics::Metrics;
use node::usage::Usages;

pub(crate) use keep::Keeper;

/// Where the log tells who got in, and who ended whose session.
const AUDIT: &str = "audit";

/// How often sessions that are over are looked for. Their requests are refused at once; this ends their streams.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);

/// The console of one server.
pub(crate) struct Console {
    door: Arc<Door<User>>,
    /// None: a restart ends all sessions.
    keeper: Option<Arc<Keeper>>,
    clock: Clock,
    stop: CancellationToken,
    /// Set once the server exists, before which nothing is served.
    server: OnceLock<ApiServer>,
    /// Set with the server.
    metrics: OnceLock<Metrics>,
}

impl Console {
    /// A console that is reached under `names` beside the machine's own. `stop` ends it; its sessions go on with the
    /// next one of the same `keeper`.
    pub(crate) fn new(names: &[String], stop: CancellationToken, keeper: Keeper) -> Arc<Self> {
        Self::with_clock(names, stop, Some(keeper), Settings::default().clock)
    }

    fn with_clock(
        names: &[String],
        stop: CancellationToken,
        keeper: Option<Keeper>,
        clock: Clock,
    ) -> Arc<Self> {
        let hosts = Hosts::new(certificates::serving_names(names));
        let door = Door::new(hosts, stop.clone());
        if let Some(keeper) = &keeper
            && let Err(error) = keeper.restore(&door, clock())
        {
            tracing::warn!(
                "the console's sessions cannot be read, so all have to log in again: {error}"
            );
        }
        Arc::new(Self {
            door: Arc::new(door),
            keeper: keeper.map(Arc::new),
            clock,
            stop,
            server: OnceLock::new(),
            metrics: OnceLock::new(),
        })
    }

    /// Hands in the server and what is used on its machine, the node of this name, and from now on ends sessions that
    /// are over. Called once, inside a runtime.
    pub(crate) fn connect(self: &Arc<Self>, server: ApiServer, usages: Usages, node: &str) {
        let node = node.to_owned();
        self.metrics.get_or_init(|| Metrics { usages, node });
        self.server.get_or_init(|| server);
        let console = Arc::clone(self);
        tokio::spawn(async move {
            let mut period = tokio::time::interval(SWEEP_PERIOD);
            let stop = console.stop.clone();
            while stop.run_until_cancelled(period.tick()).await.is_some() {
                console.door.end_over((console.clock)());
                // When they were used last; a restart forgets a minute of that.
                console.keep_or_warn().await;
            }
        });
    }

    /// Writes down who is logged in.
    async fn keep(&self) -> io::Result<()> {
        let Some(keeper) = self.keeper.clone() else {
            return Ok(());
        };
        let door = Arc::clone(&self.door);
        let kept = tokio::task::spawn_blocking(move || keeper.keep(&door)).await;
        kept.map_err(io::Error::other)?
    }

    async fn keep_or_warn(&self) {
        if let Err(error) = self.keep().await {
            tracing::warn!(
                "the console's sessions cannot be written, so a restart ends them: {error}"
            );
        }
    }

    /// Writes down that a session has ended, before anybody is told so: it must not come back.
    async fn keep_ended(&self) -> Result<(), Status> {
        self.keep().await.map_err(|error| {
            let problem = format!("the session has ended, but may be open again after a restart of the server: {error}");
            Status::internal(problem)
        })
    }

    /// A new one-time link for `user` at this server's `url`, made by the server itself.
    pub(crate) fn link(&self, user: User, url: &str) -> String {
        format!("{url}{}", self.link_path(user, true))
    }

    /// The key is in the fragment, which browsers never send.
    fn link_path(&self, user: User, lasts: bool) -> String {
        let key = Secret::of(rand::random());
        self.door.link(&key, user, lasts, (self.clock)());
        format!("/console/login#otk={}", key.text())
    }

    fn server(&self) -> Result<&ApiServer, Status> {
        self.server.get().ok_or_else(starting)
    }

    /// Asks the API with the rights of `user`.
    fn client(&self, user: User) -> Result<kube::Client, Status> {
        Ok(kube::Client::new(self.server()?.local(user), "default"))
    }

    /// Who sends a request.
    ///
    /// A token was put into it by its sender, so it is judged by that alone. A browser uses its certificate for
    /// whatever page asks, as it does its cookies: what comes from one must be a page of ours, and belongs to the
    /// session that somebody opened there, if any.
    fn sender(&self, parts: &Parts, proven: Option<&Proven>) -> Result<Sender, Status> {
        let visit = Visit::of(parts);
        if let Some(Proven { user, by }) = proven {
            let by_browser = *by == Proof::Certificate && visit.is_of_browser();
            if !by_browser {
                return Ok(Sender::Program(user.clone()));
            }
            if visit.cookie().is_none() {
                self.door
                    .check(&visit)
                    .map_err(|refusal| status(&refusal))?;
                return Ok(Sender::Browser(user.clone()));
            }
        }
        let entered = self.door.enter(&visit, (self.clock)());
        Ok(match entered.map_err(|refusal| status(&refusal))? {
            Some(entered) => Sender::Session(entered),
            None => Sender::Nobody,
        })
    }

    /// The sender of a call under `/console/api/`, which acts as nobody else.
    fn caller(&self, parts: &Parts, proven: Option<&Proven>) -> Result<Sender, Status> {
        refuse_impersonation(parts)?;
        match self.sender(parts, proven)? {
            Sender::Nobody => Err(logged_out()),
            sender => Ok(sender),
        }
    }

    /// The API with the caller's rights.
    fn callers_client(&self, request: &FrontRequest) -> Result<kube::Client, Status> {
        let caller = self.caller(&request.parts, request.proven.as_ref())?;
        self.client(caller.user().ok_or_else(logged_out)?)
    }

    async fn call(&self, call: &str, request: &FrontRequest) -> Result<Response<Body>, Status> {
        let parts = &request.parts;
        match (&parts.method, call) {
            (&Method::POST, "login") => self.log_in(request).await,
            (&Method::GET, "session") => {
                let session = self.browser_session(request)?;
                Ok(answer(&told(&session.user, &session.csrf)))
            }
            (&Method::DELETE, "session") => {
                let session = self.browser_session(request)?;
                self.door.leave(&Visit::of(parts));
                self.keep_ended().await?;
                tracing::info!(target: AUDIT, user = session.user.name, session = session.name,
                    "a session of the console was left");
                let mut response = answer(&json!({}));
                ::console::clear_cookie(response.headers_mut());
                Ok(response)
            }
            (&Method::GET, "sessions") => self.list_sessions(request),
            (&Method::DELETE, call) if let Some(name) = call.strip_prefix("sessions/") => {
                self.revoke_session(request, name).await
            }
            (&Method::POST, "links") => self.make_link(request),
            (&Method::GET, "explain") => {
                let client = self.callers_client(request)?;
                machines::explain(&client, parts.uri.query().unwrap_or("")).await
            }
            (&Method::GET, "metrics") => {
                let client = self.callers_client(request)?;
                let metrics = self.metrics.get().ok_or_else(starting)?;
                metrics
                    .answer(&client, parts.uri.query().unwrap_or(""))
                    .await
            }
            (&Method::POST, "consequences") => {
                let client = self.callers_client(request)?;
                machines::consequences(&client, &request.body).await
            }
            (
                _,
                "login" | "session" | "sessions" | "links" | "explain" | "metrics" | "consequences",
            ) => Err(Status::method_not_allowed()),
            _ => Err(Status::no_such_resource()),
        }
    }

    fn browser_session(&self, request: &FrontRequest) -> Result<Entered<User>, Status> {
        match self.caller(&request.parts, request.proven.as_ref())? {
            Sender::Session(entered) => Ok(entered),
            Sender::Browser(_) | Sender::Nobody => Err(logged_out()),
            Sender::Program(_) => Err(Status::bad_request(
                "this is about a browser's session, and a request with a token or a certificate has none",
            )),
        }
    }

    async fn log_in(&self, request: &FrontRequest) -> Result<Response<Body>, Status> {
        // No form of another site can send this type.
        let kind = request.parts.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or("");
        if kind.split(';').next().map(str::trim) != Some("application/json") {
            return Err(Status::unsupported_media_type(&["application/json"]));
        }
        let credential: Credential = serde_json::from_slice(&request.body).map_err(|error| {
            Status::bad_request(format!(
                "a login is {{\"link\": KEY}} or {{\"token\": TOKEN}}: {error}"
            ))
        })?;
        let attempt = match &credential {
            Credential::Link(key) => Attempt::Link(key),
            Credential::Token(token) => Attempt::Token(self.server()?.token_user(token)),
        };
        let id = Secret::of(rand::random());
        let visit = Visit::of(&request.parts);
        let opened = self
            .door
            .log_in(&visit, attempt, id, request.peer, (self.clock)())
            .inspect_err(|refusal| {
                // What another site's page asked for was refused before anything was tried.
                if refusal.code == 401 {
                    tracing::warn!(target: AUDIT, peer = %request.peer, "a login to the console failed");
                }
            })
            .map_err(|refusal| status(&refusal))?;
        tracing::info!(target: AUDIT, user = opened.user.name, session = opened.name, peer = %request.peer,
            "a session of the console was opened");
        self.keep_or_warn().await;
        let mut response = answer(&told(&opened.user, &opened.csrf));
        ::console::set_cookie(response.headers_mut(), &opened.id);
        Ok(response)
    }

    /// Only for who proves an identity by other means than a session, which could otherwise go on for ever.
    fn make_link(&self, request: &FrontRequest) -> Result<Response<Body>, Status> {
        let by = request.proven.as_ref().map(|proven| proven.by);
        let user = match self.caller(&request.parts, request.proven.as_ref())? {
            Sender::Program(user) | Sender::Browser(user) => user,
            Sender::Session(_) | Sender::Nobody => {
                return Err(Status::new(
                    401,
                    "Unauthorized",
                    "a link is made for who has a kubeconfig: run anyvirt web",
                ));
            }
        };
        let seconds = ::console::LINK_LIFE.as_secs();
        tracing::info!(target: AUDIT, user = user.name, peer = %request.peer, "a link into the console was made");
        let lasts = by == Some(Proof::Certificate);
        Ok(answer(
            &json!({"path": self.link_path(user, lasts), "expiresInSeconds": seconds}),
        ))
    }
}

/// Who sends a request.
enum Sender {
    /// A program with a token or a certificate.
    Program(User),
    /// A page of ours in a browser that has a certificate and no session.
    Browser(User),
    /// A page of ours in the name of a session.
    Session(Entered<User>),
    /// It says nothing of it.
    Nobody,
}

impl Sender {
    fn user(self) -> Option<User> {
        match self {
            Self::Program(user) | Self::Browser(user) => Some(user),
            Self::Session(entered) => Some(entered.user),
            Self::Nobody => None,
        }
    }
}

/// What a login brings.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Credential {
    Link(String),
    Token(String),
}

/// A proxy that asks in another's name must not get answers, or a link, with its own rights. Refused rather than
/// served: no client of these calls impersonates.
fn refuse_impersonation(parts: &Parts) -> Result<(), Status> {
    let mut names = parts.headers.keys().map(header::HeaderName::as_str);
    match names.find(|name| name.starts_with("impersonate-")) {
        None => Ok(()),
        Some(name) => Err(Status::bad_request(format!(
            "{name}: the console's calls act as whoever asks; ask with the other user's own kubeconfig or token"
        ))),
    }
}

fn route(parts: &Parts) -> Route {
    let uri = &parts.uri;
    ::console::route(&parts.method, uri.path(), uri.query(), &parts.headers)
}

#[async_trait]
impl Front for Console {
    fn meet(&self, arrival: &Arrival<'_>) -> Passage {
        let parts = arrival.parts;
        match route(parts) {
            Route::File(_) => Passage::OwnOfStranger,
            Route::SecretInUrl(name) => Passage::Refused(Status::bad_request(format!(
                "{name}: a secret in a URL is never accepted, since URLs are kept in histories and logs; POST it to \
                 /console/api/login"
            ))),
            Route::Call(call) if call == "login" => Passage::OwnOfStranger,
            // Whoever may not call is told before the body is read.
            Route::Call(_) => match self.caller(parts, arrival.proven) {
                Ok(_) => Passage::Own,
                Err(status) => Passage::Refused(status),
            },
            Route::Other => match self.sender(parts, arrival.proven) {
                Ok(Sender::Session(session)) => Passage::As(session.user, session.until),
                Ok(Sender::Program(_) | Sender::Browser(_) | Sender::Nobody) => Passage::On,
                Err(status) => Passage::Refused(status),
            },
        }
    }

    async fn answer(&self, request: FrontRequest) -> Response<Body> {
        let mut response = match route(&request.parts) {
            Route::File(file) => {
                let nonce =
                    base64::engine::general_purpose::STANDARD.encode(rand::random::<[u8; 16]>());
                ::console::serve(&file, &request.parts.headers, &nonce).map(Body::full)
            }
            Route::Call(call) => self
                .call(&call, &request)
                .await
                .unwrap_or_else(Status::into_response),
            Route::SecretInUrl(_) | Route::Other => Status::no_such_resource().into_response(),
        };
        ::console::secure(response.headers_mut());
        response
            .headers_mut()
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        if request.parts.method == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        response
    }
}

/// What a page is told of its session.
fn told(user: &User, csrf: &Secret) -> Value {
    json!({"user": {"name": user.name, "groups": user.groups}, "csrf": csrf.text()})
}

fn answer(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::full(value.to_string()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

fn starting() -> Status {
    Status::unavailable("the server is starting; try again")
}

fn logged_out() -> Status {
    Status::new(
        401,
        "Unauthorized",
        "nobody is logged in; `anyvirt web` makes a link",
    )
}

/// A refusal in the API's form; its reason is that of the first cause, since clients know those of codes.
fn status(refusal: &Refusal) -> Status {
    let reason = match refusal.code {
        401 => "Unauthorized",
        403 => "Forbidden",
        429 => "TooManyRequests",
        _ => "BadRequest",
    };
    let cause = Cause::new(refusal.reason, refusal.field, refusal.message.clone());
    let status =
        Status::new(refusal.code, reason, refusal.message.clone()).with_causes(vec![cause]);
    match refusal.retry_after {
        Some(seconds) => status.with_retry_after(seconds),
        None => status,
    }
}
