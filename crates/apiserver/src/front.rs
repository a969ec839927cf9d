//! What a product puts before the API on its sockets: pages of its own, and other ways to say who asks.

use std::net::IpAddr;

use async_trait::async_trait;
use bytes::Bytes;
use http::Response;
use http::request::Parts;
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::status::Status;
use crate::user::User;

/// Who proved to be the sender of a request, and how.
#[derive(Clone, Debug)]
pub struct Proven {
    /// The user.
    pub user: User,
    /// By what.
    pub by: Proof,
}

/// By what a request proves its user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Proof {
    /// The client certificate of its connection. A browser that has one uses it for whatever page asks, as it does with
    /// cookies.
    Certificate,
    /// A token, which somebody put into this very request.
    Token,
}

/// A request that came over a socket, before anything was decided about it.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Method, URI and headers.
    pub parts: &'a Parts,
    /// Whom its client certificate or token proves; `None`: it carries neither. A request whose token is not good
    /// never arrives here.
    pub proven: Option<&'a Proven>,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Passage {
    /// It goes on to the API as what it is.
    On,
    /// It goes on to the API as this user; what streams in its answer ends when the token is cancelled.
    As(User, CancellationToken),
    /// It is the front's own: [`Front::answer`] gets it with its body, of at most [`crate::server::BODY_LIMIT`] bytes.
    Own,
    /// As [`Passage::Own`], of somebody whom the front does not know: its body has at most
    /// [`crate::server::STRANGERS_BODY_LIMIT`] bytes, and comes soon.
    OwnOfStranger,
    /// It goes nowhere.
    Refused(Status),
}

/// A request for [`Front::answer`].
#[derive(Debug)]
pub struct FrontRequest {
    /// Method, URI and headers.
    pub parts: Parts,
    /// Whom its client certificate or token proves; `None`: it carries neither.
    pub proven: Option<Proven>,
    /// Where it comes from.
    pub peer: IpAddr,
    /// The whole body.
    pub body: Bytes,
}

/// Stands before the API.
#[async_trait]
pub trait Front: Send + Sync {
    /// Decides at once what becomes of a request.
    fn meet(&self, arrival: &Arrival<'_>) -> Passage;

    /// Answers a request of its own, within the time that every request has.
    async fn answer(&self, request: FrontRequest) -> Response<Body>;
}
