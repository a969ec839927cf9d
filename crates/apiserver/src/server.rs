//! The server itself: what it holds, and the way of a request from authorization to answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::Timestamp;
use store::Store;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::authenticate::Tokens;
use crate::authorize;
use crate::body::Body;
use crate::extension::{Extensions, Upgrade};
use crate::front::{Front, FrontRequest, Proven};
use crate::local::LocalService;
use crate::registry::Registry;
use crate::respond;
use crate::route::{Query, RequestInfo, is_long_running};
use crate::settings::Settings;
use crate::status::Status;
use crate::user::{AUTHENTICATED, User};

/// The largest request body in bytes, as upstream.
pub const BODY_LIMIT: usize = 3 * 1024 * 1024;
/// The largest body in bytes of who has proved nothing: a login is a token or a key, and some words around it.
pub const STRANGERS_BODY_LIMIT: usize = 8 * 1024;
/// How long such a body may take; it comes in one packet or two.
const STRANGERS_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that may be worked on at once, long-running ones aside; upstream's 400 reading and 200
/// changing ones together. More are told to come back.
const IN_FLIGHT: usize = 600;
/// The longest that a request may take which is not long-running.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// An error with which the server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The stored definitions cannot be read.
    #[error("the stored objects cannot be served: {0}")]
    Stored(Status),
    /// A socket failed.
    #[error("cannot serve: {0}")]
    Socket(#[from] std::io::Error),
}

/// A Kubernetes API server. Clones share one server; when the last is dropped (with all its
/// [`LocalService`]s), its background tasks end.
#[derive(Clone)]
pub struct ApiServer {
    pub(crate) inner: Arc<Inner>,
    _tasks: Arc<DropGuard>,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ApiServer")
            .field("settings", &self.inner.settings)
            .finish_non_exhaustive()
    }
}

/// What all requests share.
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) extensions: Extensions,
    pub(crate) tokens: Tokens,
    pub(crate) registry: ArcSwap<Registry>,
    /// Held while a definition is written, since each must see the names of all others.
    pub(crate) definitions: Mutex<()>,
    in_flight: Semaphore,
    /// Cancelled when the server ends; watches end with it.
    pub(crate) closing: CancellationToken,
}

impl Inner {
    /// To whom what is granted.
    pub(crate) fn grants(&self) -> authorize::Grants<'_> {
        authorize::Grants {
            trusted_groups: &self.settings.trusted_groups,
            viewer_groups: &self.settings.viewer_groups,
            extensions: &self.extensions.groups,
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        (self.settings.clock)()
    }

    /// Builds the table of kinds anew from the stored definitions.
    ///
    /// # Errors
    /// 500 when a stored definition cannot be read; the old table stays.
    pub(crate) fn reload(&self) -> Result<(), Status> {
        let registry =
            crate::crd::build(&self.store, &self.extensions, Some(&self.registry.load()))?;
        self.registry.store(Arc::new(registry));
        Ok(())
    }
}

/// One request with everything that was found out about it.
pub(crate) struct Call {
    pub(crate) user: User,
    pub(crate) info: RequestInfo,
    pub(crate) query: Query,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) upgrade: Option<Upgrade>,
    /// Cancelled when the listener (or the server) closes.
    pub(crate) closing: CancellationToken,
}

impl ApiServer {
    /// A server over this store. Its background tasks (namespaces, owner references, definitions,
    /// history) start at once, so this must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When stored definitions cannot be read.
    pub fn new(
        settings: Settings,
        store: Store,
        extensions: Extensions,
    ) -> Result<ApiServer, ServerError> {
        let registry = crate::crd::build(&store, &extensions, None).map_err(ServerError::Stored)?;
        let closing = CancellationToken::new();
        let inner = Arc::new(Inner {
            tokens: Tokens::new(&settings.tokens),
            settings,
            store,
            extensions,
            registry: ArcSwap::from_pointee(registry),
            definitions: Mutex::new(()),
            in_flight: Semaphore::new(IN_FLIGHT),
            closing: closing.clone(),
        });
        crate::tasks::start(&inner);
        Ok(ApiServer {
            inner,
            _tasks: Arc::new(closing.drop_guard()),
        })
    }

    /// A service for clients in this process: no socket, no TLS; every request is this user's.
    pub fn local(&self, user: User) -> LocalService {
        LocalService::new(self.clone(), user)
    }

    /// Whom a static bearer token proves.
    pub fn token_user(&self, secret: &str) -> Option<User> {
        self.inner.tokens.find(secret).cloned()
    }

    /// Waits until the namespaces that always exist are there and the server is ready.
    pub async fn ready(&self) {
        crate::tasks::ready(&self.inner).await;
    }

    /// Answers one request of a known sender.
    pub(crate) async fn answer<B>(
        &self,
        parts: Parts,
        body: B,
        user: Result<User, Status>,
        upgrade: Option<Upgrade>,
        closing: CancellationToken,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let audit = audit_id(&parts);
        let takes_gzip = respond::takes_gzip(&parts.headers);
        let mut response = match self.authorized(parts, body, user, upgrade, closing).await {
            Ok(response) => response,
            Err(status) => status.into_response(),
        };
        if takes_gzip {
            respond::compress(&mut response);
        }
        let headers = response.headers_mut();
        headers.insert("audit-id", audit);
        headers
            .entry(http::header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-cache, private"));
        response
    }

    async fn authorized<B>(
        &self,
        parts: Parts,
        body: B,
        user: Result<User, Status>,
        upgrade: Option<Upgrade>,
        closing: CancellationToken,
    ) -> Result<Response<Body>, Status>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let query = Query::parse(parts.uri.query().unwrap_or(""));
        let info = RequestInfo::parse(&parts.method, parts.uri.path(), &query);
        let grants = self.inner.grants();
        let user = authorize::impersonate(user?, grants.trusted_groups, &parts.headers)?;
        authorize::decide(&user, grants, &info)?;
        if is_long_running(&info) {
            let body = tokio::time::timeout(REQUEST_TIMEOUT, collect(body, BODY_LIMIT))
                .await
                .unwrap_or_else(|_| Err(Status::timeout("the body did not come in time")))?;
            let headers = parts.headers;
            let call = Call {
                user,
                info,
                query,
                headers,
                body,
                upgrade,
                closing,
            };
            return Ok(crate::dispatch::dispatch(&self.inner, call).await);
        }
        let known = user.is_in(AUTHENTICATED);
        self.bounded(body, known, async |body| {
            let headers = parts.headers;
            let call = Call {
                user,
                info,
                query,
                headers,
                body,
                upgrade,
                closing,
            };
            crate::dispatch::dispatch(&self.inner, call).await
        })
        .await
    }

    /// Lets the front answer a request of its own, whose sender it knows or does not.
    pub(crate) async fn answer_by_front<B>(
        &self,
        front: &Arc<dyn Front>,
        parts: Parts,
        body: B,
        proven: Option<Proven>,
        peer: IpAddr,
        known: bool,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let answer = async |body| {
            let request = FrontRequest {
                parts,
                proven,
                peer,
                body,
            };
            front.answer(request).await
        };
        self.bounded(body, known, answer)
            .await
            .unwrap_or_else(Status::into_response)
    }

    /// Does the work of a request that is not long-running: in bounded time, and not too many at once. The body of
    /// somebody unknown is small and there before it counts as being worked on, so that strangers who send slowly take
    /// nobody's place.
    async fn bounded<B>(
        &self,
        body: B,
        known: bool,
        work: impl AsyncFnOnce(Bytes) -> Response<Body>,
    ) -> Result<Response<Body>, Status>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if known {
            let _permit = self.permit()?;
            let work = async { Ok(work(collect(body, BODY_LIMIT).await?).await) };
            return within(REQUEST_TIMEOUT, work).await;
        }
        let body = within(STRANGERS_TIMEOUT, collect(body, STRANGERS_BODY_LIMIT)).await?;
        let _permit = self.permit()?;
        within(REQUEST_TIMEOUT, async { Ok(work(body).await) }).await
    }

    /// A place among the requests that are worked on.
    fn permit(&self) -> Result<SemaphorePermit<'_>, Status> {
        self.inner.in_flight.try_acquire().map_err(|_| {
            Status::new(
                429,
                "TooManyRequests",
                "too many requests at once, please try again later",
            )
            .with_retry_after(1)
        })
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let seconds = limit.as_secs();
        let why = format!("request did not complete within {seconds} seconds");
        Err(Status::timeout(why))
    })
}

/// The whole body, of at most `limit` bytes.
async fn collect<B>(body: B, limit: usize) -> Result<Bytes, Status>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Status::too_large(limit)),
        Err(error) => Err(Status::bad_request(format!(
            "the body could not be read: {error}"
        ))),
    }
}

/// The client's own id for the request, or a new one.
fn audit_id(parts: &Parts) -> HeaderValue {
    parts
        .headers
        .get("audit-id")
        .filter(|value| value.len() <= 64)
        .cloned()
        .or_else(|| HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).ok())
        .unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use futures::FutureExt as _;
    use http_body_util::{Empty, StreamBody};

    use crate::front::{Arrival, Passage};

    /// Answers whatever comes.
    struct Doorman;

    #[async_trait]
    impl Front for Doorman {
        fn meet(&self, _: &Arrival<'_>) -> Passage {
            Passage::OwnOfStranger
        }

        async fn answer(&self, request: FrontRequest) -> Response<Body> {
            Response::new(Body::full(request.body))
        }
    }

    fn server(directory: &std::path::Path) -> ApiServer {
        let store = Store::open(directory, store::Options::default()).expect("a store");
        ApiServer::new(Settings::default(), store, Extensions::default()).expect("a server")
    }

    fn parts() -> Parts {
        let (parts, ()) = http::Request::get("/version")
            .body(())
            .expect("a request")
            .into_parts();
        parts
    }

    async fn asked<B>(server: &ApiServer, body: B, known: bool) -> u16
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let front: Arc<dyn Front> = Arc::new(Doorman);
        let peer = IpAddr::from([127, 0, 0, 1]);
        let answer = server.answer_by_front(&front, parts(), body, None, peer, known);
        answer.await.status().as_u16()
    }

    /// A body that never comes.
    fn never() -> impl http_body::Body<Data = Bytes, Error = Status> + Send {
        StreamBody::new(futures::stream::pending())
    }

    #[tokio::test]
    async fn strangers_who_send_slowly_take_nobodys_place() {
        let directory = tempfile::tempdir().expect("a directory");
        let server = server(directory.path());
        // Pages of the front's, and what the API tells anybody.
        let stranger = || Ok(User::anonymous());
        let mut slow = Vec::new();
        for _ in 0..IN_FLIGHT {
            slow.push(asked(&server, never(), false).boxed());
            let closing = CancellationToken::new();
            let api = server.answer(parts(), never(), stranger(), None, closing);
            slow.push(api.map(|answer| answer.status().as_u16()).boxed());
        }
        for request in &mut slow {
            assert!(futures::poll!(request).is_pending());
        }
        assert_eq!(asked(&server, Empty::new(), true).await, 200);
        assert_eq!(asked(&server, Empty::new(), false).await, 200);
        // Of somebody known it is work from the beginning.
        let mut known = Vec::new();
        for _ in 0..IN_FLIGHT {
            known.push(asked(&server, never(), true).boxed());
        }
        for request in &mut known {
            assert!(futures::poll!(request).is_pending());
        }
        assert_eq!(asked(&server, Empty::new(), true).await, 429);
    }

    #[tokio::test]
    async fn a_strangers_body_is_as_large_as_a_login_and_no_larger() {
        let directory = tempfile::tempdir().expect("a directory");
        let server = server(directory.path());
        let body = |size| http_body_util::Full::new(Bytes::from(vec![b' '; size]));
        let most = STRANGERS_BODY_LIMIT;
        for (size, known, code) in [
            (most, false, 200),
            (most + 1, false, 413),
            (BODY_LIMIT, true, 200),
            (BODY_LIMIT + 1, true, 413),
        ] {
            assert_eq!(
                asked(&server, body(size), known).await,
                code,
                "{size} {known}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_who_sends_nothing_is_answered_soon() {
        let directory = tempfile::tempdir().expect("a directory");
        let server = server(directory.path());
        let start = tokio::time::Instant::now();
        assert_eq!(asked(&server, never(), false).await, 504);
        let took = start.elapsed();
        assert!(
            (STRANGERS_TIMEOUT..REQUEST_TIMEOUT).contains(&took),
            "{took:?}"
        );
    }
}
