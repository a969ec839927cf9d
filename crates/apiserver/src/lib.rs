//! An embeddable Kubernetes API server: requests in, stored objects and watch events out.
//! It knows nothing of virtual machines: kinds come from built-in tables and from
//! CustomResourceDefinitions, both through one path.
//!
//! The crate is in two halves. The pure half ([`schema`], [`jsonpath`], [`table`], [`selector`],
//! [`openapi`], [`patch`], [`managed_fields`], [`protobuf`]) turns values into values. The other
//! half serves: sockets, the store, and the order in which the pure functions are called.

pub mod admission;
pub mod body;
pub mod builtin_schema;
pub mod extension;
pub mod jsonpath;
pub mod managed_fields;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod resource_type;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod user;

pub use admission::{Admission, AdmissionRequest, Operation};
pub use body::Body;
pub use extension::{Extension, ExtensionResource, Extensions, Handler, HandlerRequest, Upgrade};
pub use resource_type::ResourceType;
pub use status::{Cause, Status};
pub use user::User;
