//! An embeddable Kubernetes API server: requests in, stored objects and watch events out.
//! It knows nothing of virtual machines: kinds come from built-in tables and from
//! CustomResourceDefinitions, both through one path.
//!
//! The crate is in two halves. The pure half ([`schema`], [`jsonpath`], [`table`], [`selector`],
//! [`openapi`], [`patch`], [`managed_fields`], [`protobuf`]) turns values into values. The other
//! half serves: sockets, the store, and the order in which the pure functions are called.
//!
//! ```text
//! socket ─ http ─┐                          ┌─ discovery, reviews, extensions
//!                ├─ server ─ dispatch ──────┼─ list, watch ◄──┐
//! kube ─ local ──┘  (who? may they?)        └─ object ────► store ─► namespace, garbage, cleanup
//! ```

pub mod admission;
mod authenticate;
mod authorize;
mod binding;
pub mod body;
mod builtin;
pub mod builtin_schema;
pub mod certificates;
mod crd;
mod crd_cleanup;
mod decode;
mod discovery;
mod dispatch;
mod events;
pub mod extension;
mod filter;
pub mod front;
mod garbage;
mod history;
mod internal;
pub mod jsonpath;
mod list;
pub mod local;
pub mod managed_fields;
mod meta_rules;
mod metadata;
mod names;
mod namespace;
mod negotiate;
mod object;
pub mod openapi;
pub mod patch;
pub mod protobuf;
mod registry;
pub mod resource_type;
mod respond;
mod reviews;
mod route;
pub mod schema;
pub mod selector;
pub mod server;
pub mod settings;
mod sockets;
mod special;
pub mod status;
mod stored;
pub mod table;
mod tasks;
pub mod user;
mod watch;

pub use admission::{Admission, AdmissionRequest, Operation};
pub use body::Body;
pub use discovery::version_info;
pub use extension::{Extension, ExtensionResource, Extensions, Handler, HandlerRequest, Upgrade};
pub use front::{Arrival, Front, FrontRequest, Passage, Proof, Proven};
pub use local::LocalService;
pub use resource_type::ResourceType;
pub use respond::warn;
pub use server::{ApiServer, ServerError};
pub use settings::{Settings, Token};
pub use status::{Cause, Status};
pub use user::User;
