//! What a product serves by code of its own: whole groups, and sub-resources of stored kinds.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{HeaderMap, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::body::Body;
use crate::front::Front;
use crate::status::Status;
use crate::user::User;

/// Everything a product hands to the server.
#[derive(Clone, Default)]
pub struct Extensions {
    /// Called in this order for every write.
    pub admission: Vec<Arc<dyn Admission>>,
    /// Groups served whole by code.
    pub groups: Vec<Extension>,
    /// `(group, resource, subresource, handler)`, e.g. `("", "pods", "log", …)`, beside stored
    /// kinds. They appear in discovery with the verb `get` (and `create` for `exec` and `attach`).
    pub subresources: Vec<(String, String, String, Arc<dyn Handler>)>,
    /// `(path, handler)` of pages beside the API that trusted users may read, e.g. `/metrics`. The
    /// handler's request has the path as its resource.
    pub pages: Vec<(String, Arc<dyn Handler>)>,
    /// What stands before the API on its sockets.
    pub front: Option<Arc<dyn Front>>,
}

impl fmt::Debug for Extensions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Extensions")
            .field("admission", &self.admission.len())
            .field("groups", &self.groups)
            .field("subresources", &self.subresources.len())
            .finish()
    }
}

/// A group served whole by code, e.g. `subresources.kubevirt.io`.
#[derive(Clone)]
pub struct Extension {
    /// API group.
    pub group: String,
    /// Versions, the preferred one first.
    pub versions: Vec<String>,
    /// What discovery lists.
    pub resources: Vec<ExtensionResource>,
    /// Resources without objects that whoever asks may read, whether known or not, e.g. `version`.
    pub public: Vec<String>,
    /// Who answers.
    pub handler: Arc<dyn Handler>,
}

impl fmt::Debug for Extension {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Extension")
            .field("group", &self.group)
            .field("versions", &self.versions)
            .field("resources", &self.resources)
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// One line of a group's discovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionResource {
    /// `virtualmachineinstances/console`.
    pub name: String,
    /// Kind of the answer, e.g. `VirtualMachineInstance`.
    pub kind: String,
    /// Whether the path has a namespace.
    pub namespaced: bool,
    /// Verbs, e.g. `get`, `update`.
    pub verbs: Vec<String>,
}

/// Code that answers requests.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Answers one request, which is authenticated and authorized already. Errors are answers
    /// too: [`Status::into_response`].
    async fn handle(&self, request: HandlerRequest) -> Response<Body>;
}

/// A request for a [`Handler`].
#[derive(Debug)]
pub struct HandlerRequest {
    /// Who asks.
    pub user: User,
    /// The API verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: &'static str,
    /// The version in the path.
    pub version: String,
    /// The namespace in the path.
    pub namespace: Option<String>,
    /// The resource in the path, e.g. `virtualmachineinstances`.
    pub resource: String,
    /// The object's name in the path.
    pub name: Option<String>,
    /// The sub-resource in the path, e.g. `portforward`.
    pub subresource: Option<String>,
    /// Path segments after the sub-resource, e.g. `["22", "tcp"]`.
    pub rest: Vec<String>,
    /// Query parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
    /// Headers.
    pub headers: HeaderMap,
    /// Present when the client asked for a WebSocket over HTTP/1.1.
    pub upgrade: Option<Upgrade>,
    /// Cancelled when whatever streams in the answer has to end. Bodies end by themselves then, WebSockets are the
    /// handler's.
    pub closing: CancellationToken,
}

impl HandlerRequest {
    /// The first value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A WebSocket's connection after the handshake.
pub type ServerWebSocket = WebSocketStream<TokioIo<Upgraded>>;

/// The 101 response of an accepted upgrade, and the WebSocket that is there once it is sent.
pub type Accepted = (
    Response<Body>,
    BoxFuture<'static, Result<ServerWebSocket, hyper::Error>>,
);

/// A client's wish to go on as a WebSocket.
pub struct Upgrade {
    on_upgrade: OnUpgrade,
    key: String,
    protocols: Vec<String>,
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Upgrade")
            .field("protocols", &self.protocols)
            .finish()
    }
}

impl Upgrade {
    /// Reads the handshake from the headers of a request; `None` when it is not one (or not
    /// version 13).
    pub fn from_headers(headers: &HeaderMap, on_upgrade: OnUpgrade) -> Option<Upgrade> {
        let is = |name: http::header::HeaderName, word: &str| {
            headers.get_all(name).iter().any(|value| {
                value.to_str().is_ok_and(|text| {
                    text.split(',')
                        .any(|part| part.trim().eq_ignore_ascii_case(word))
                })
            })
        };
        let version = headers
            .get("sec-websocket-version")
            .and_then(|value| value.to_str().ok());
        if !is(CONNECTION, "upgrade") || !is(UPGRADE, "websocket") || version != Some("13") {
            return None;
        }
        let key = headers.get("sec-websocket-key")?.to_str().ok()?.to_owned();
        // RFC 6455: the key is 16 random bytes in base64.
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(&key)
            .ok()?;
        if decoded.len() != 16 {
            return None;
        }
        let protocols = headers
            .get_all("sec-websocket-protocol")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.is_empty())
            .collect();
        Some(Upgrade {
            on_upgrade,
            key,
            protocols,
        })
    }

    /// The sub-protocols that the client offers, in its order.
    pub fn offered(&self) -> &[String] {
        &self.protocols
    }

    /// Accepts. `choose` sees the offered sub-protocols and names one of them, or `None` for
    /// none. Returns the 101 response, which the handler must return, and a future (to be
    /// spawned) that yields the WebSocket once the response is out.
    ///
    /// # Errors
    /// 400 when the client offered sub-protocols and none was chosen.
    pub fn accept(
        self,
        choose: impl FnOnce(&[String]) -> Option<String>,
    ) -> Result<Accepted, Status> {
        let chosen = choose(&self.protocols);
        if chosen.is_none() && !self.protocols.is_empty() {
            return Err(Status::bad_request(format!(
                "none of the offered WebSocket sub-protocols is served: {}",
                self.protocols.join(", ")
            )));
        }
        let header = |text: &str| {
            HeaderValue::from_str(text).map_err(|error| Status::bad_request(error.to_string()))
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(
            "sec-websocket-accept",
            header(&derive_accept_key(self.key.as_bytes()))?,
        );
        if let Some(chosen) = &chosen {
            headers.insert("sec-websocket-protocol", header(chosen)?);
        }
        let on_upgrade = self.on_upgrade;
        let stream = async move {
            let upgraded = on_upgrade.await?;
            Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await)
        };
        Ok((response, Box::pin(stream)))
    }
}
