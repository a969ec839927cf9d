//! A way to the API server on which writes fail: refused with a conflict, or done without an answer.

use crate::random::Random;
use apiserver::{Body, LocalService, Status};
use futures::future::BoxFuture;
use http::{Method, Request, Response, header};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tower::Service;

/// How often writes fail, and the dice for it. Clones share both.
#[derive(Debug, Clone)]
pub(crate) struct Faults(Arc<Mutex<(u64, Random)>>);

enum Fault {
    Conflict,
    LostAnswer,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new((0, Random::new(seed.rotate_left(32))))))
    }

    /// From now on, so many percent of the writes fail.
    pub(crate) fn set(&self, percent: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = percent;
    }

    fn roll(&self) -> Option<Fault> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (percent, random) = &mut *state;
        if *percent == 0 || random.below(100) >= *percent {
            return None;
        }
        Some(match random.below(2) {
            0 => Fault::Conflict,
            _ => Fault::LostAnswer,
        })
    }
}

/// Requests of one user, some of which fail.
#[derive(Debug, Clone)]
pub(crate) struct FaultyService {
    pub(crate) inner: LocalService,
    pub(crate) faults: Faults,
}

impl Service<Request<kube::client::Body>> for FaultyService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        // An event that is lost is lost; only what is acted on is of interest here.
        let spared = request.method() == Method::GET || request.uri().path().contains("/events");
        let fault = if spared { None } else { self.faults.roll() };
        let served = self.inner.call(request);
        Box::pin(async move {
            match fault {
                None => served.await,
                Some(Fault::Conflict) => {
                    let why = "the object has been modified; please apply your changes to the \
                               latest version and try again";
                    Ok(answer(&Status::conflict("", "objects", "simulated", why)))
                }
                Some(Fault::LostAnswer) => {
                    served.await?;
                    Ok(answer(&Status::timeout("the answer was lost")))
                }
            }
        })
    }
}

fn answer(status: &Status) -> Response<Body> {
    let text = serde_json::to_vec(status).unwrap_or_default();
    let mut response = Response::new(Body::full(text));
    *response.status_mut() =
        http::StatusCode::from_u16(status.code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
