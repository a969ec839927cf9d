//! Sockets: TLS, HTTP/1.1 and HTTP/2, upgrades, and an orderly end.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::authenticate;
use crate::extension::Upgrade;
use crate::front::{Arrival, Passage, Proven};
use crate::server::{ApiServer, ServerError};
use crate::user::User;

/// Connections at once. Each costs some 50 KB, and informers need one each.
const CONNECTIONS: usize = 2000;
/// A client that does not finish its handshake by then is gone.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// A client of HTTP/1.1 that begins no request (or does not end its headers) by then is gone. Go's
/// clients keep idle connections for a minute and a half, others up to three.
const IDLE_TIMEOUT: Duration = Duration::from_secs(200);
/// Streams of one HTTP/2 connection; Go clients expect at least 250.
const STREAMS: u32 = 1000;
/// Requests that are under way when the server is told to stop get this long.
const GOODBYE: Duration = Duration::from_secs(10);
/// How long accepting rests when the system has no file descriptor left.
const ACCEPT_REST: Duration = Duration::from_millis(100);

impl ApiServer {
    /// Serves until `shutdown` is cancelled; then watches end, requests under way are finished, and
    /// connections are closed.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        shutdown: CancellationToken,
    ) -> Result<(), ServerError> {
        let acceptor = TlsAcceptor::from(tls);
        let graceful = GracefulShutdown::new();
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Too many open files and the like pass; a client that is gone already is none
                    // of our concern.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                tracing::warn!(CONNECTIONS, "a connection was refused: there are too many");
                continue;
            };
            let server = self.clone();
            let acceptor = acceptor.clone();
            let shutdown = shutdown.clone();
            let watcher = graceful.watcher();
            tokio::spawn(async move {
                server.connection(stream, acceptor, shutdown, watcher).await;
                drop(slot);
            });
        }
        drop(listener);
        if tokio::time::timeout(GOODBYE, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("connections were cut that did not end in time");
        }
        Ok(())
    }

    async fn connection(
        self,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        shutdown: CancellationToken,
        watcher: hyper_util::server::graceful::Watcher,
    ) {
        // A client that is gone already has no address.
        let Ok(peer) = stream.peer_addr().map(|address| address.ip()) else {
            return;
        };
        // Small answers go out at once. A socket that refuses this is broken and says so below.
        drop(stream.set_nodelay(true));
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                return;
            }
            Err(_) => return,
        };
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(|first| authenticate::certificate_user(first));
        let service = service_fn(|request: Request<Incoming>| {
            let server = self.clone();
            let certificate = certificate.clone();
            let shutdown = shutdown.clone();
            async move {
                let response = server.request(request, certificate, peer, shutdown).await;
                Ok::<_, Infallible>(response)
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIMEOUT)
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(64 * 1024)
            .keep_alive_interval(Duration::from_secs(30));
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            // Clients that go away in the middle of a watch are everyday.
            tracing::debug!(error, "a connection ended early");
        }
    }

    async fn request(
        &self,
        mut request: Request<Incoming>,
        certificate: Option<User>,
        peer: IpAddr,
        shutdown: CancellationToken,
    ) -> http::Response<crate::body::Body> {
        let on_upgrade = hyper::upgrade::on(&mut request);
        let (parts, body) = request.into_parts();
        let upgrade = Upgrade::from_headers(&parts.headers, on_upgrade);
        let proven = authenticate::user(certificate.as_ref(), &parts.headers, &self.inner.tokens);
        let as_is =
            |proven: Option<Proven>| proven.map_or_else(User::anonymous, |proven| proven.user);
        let (user, closing) = match (proven, &self.inner.extensions.front) {
            (Err(status), _) => (Err(status), shutdown),
            (Ok(proven), None) => (Ok(as_is(proven)), shutdown),
            (Ok(proven), Some(front)) => {
                let arrival = Arrival {
                    parts: &parts,
                    proven: proven.as_ref(),
                };
                let passage = front.meet(&arrival);
                let known = matches!(passage, Passage::Own);
                match passage {
                    Passage::On => (Ok(as_is(proven)), shutdown),
                    Passage::As(user, until) => (Ok(user), until),
                    Passage::Own | Passage::OwnOfStranger => {
                        let answer = self.answer_by_front(front, parts, body, proven, peer, known);
                        return answer.await;
                    }
                    Passage::Refused(status) => (Err(status), shutdown),
                }
            }
        };
        self.answer(parts, body, user, upgrade, closing).await
    }
}
