//! `GET /metrics`: who answers a scrape, and nothing more; see `controllers::metrics`.

use apiserver::{Body, Handler, HandlerRequest, Status};
use async_trait::async_trait;
use controllers::kubevirt::Reader;
use controllers::metrics::{self, Used};
use controllers::overview::Overview;
use futures::FutureExt as _;
use http::{HeaderValue, Response, header};
use node::usage::Usages;

/// Its path.
pub(crate) const PATH: &str = "/metrics";

/// Answers scrapes.
pub(crate) struct Metrics {
    /// The objects.
    pub(crate) overview: Overview,
    /// The configuration in force.
    pub(crate) configuration: Reader,
    /// What guests use.
    pub(crate) usages: Usages,
}

impl Metrics {
    fn answer(&self) -> Result<Response<Body>, Status> {
        // A scrape of half the objects would look as if the others were gone.
        if self.overview.known().now_or_never().is_none() {
            return Err(Status::unavailable("the server is starting; try again"));
        }
        let used = self.usages.latest().into_iter().map(|latest| Used {
            uid: latest.identity.uid,
            usage: latest.usage,
        });
        let view = self
            .overview
            .view(self.configuration.current(), used.collect());
        let text = metrics::text(&view).map_err(Status::internal)?;
        let mut response = Response::new(Body::full(text));
        let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
    }
}

#[async_trait]
impl Handler for Metrics {
    async fn handle(&self, _request: HandlerRequest) -> Response<Body> {
        self.answer().unwrap_or_else(Status::into_response)
    }
}
