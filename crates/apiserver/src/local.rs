//! A client's way in without a socket: a tower service, as `kube::Client::new` takes one.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use tower::Service;

use crate::body::Body;
use crate::server::ApiServer;
use crate::user::User;

/// Requests of one user in this process. Response bodies are streams, watches included. Clones
/// share the server.
#[derive(Clone, Debug)]
pub struct LocalService {
    server: ApiServer,
    user: User,
}

impl LocalService {
    pub(crate) fn new(server: ApiServer, user: User) -> LocalService {
        LocalService { server, user }
    }
}

impl<B> Service<Request<B>> for LocalService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The server itself limits what is worked on at once.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let server = self.server.clone();
        let user = self.user.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let closing = server.inner.closing.clone();
            Ok(server.answer(parts, body, Ok(user), None, closing).await)
        })
    }
}
