//! What a product adds to the writing of objects: defaults and refusals.

use serde_json::Value;

use crate::status::Status;
use crate::user::User;

/// What is being done to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The object does not exist yet.
    Create,
    /// The object exists; `old` is its present state.
    Update,
    /// The object is asked to go; `old` is its present state.
    Delete,
}

/// The circumstances of one write.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionRequest<'a> {
    /// Who writes.
    pub user: &'a User,
    /// What is being done.
    pub operation: Operation,
    /// API group; empty for the core group.
    pub group: &'a str,
    /// API version, e.g. `v1`.
    pub version: &'a str,
    /// Plural resource name, e.g. `virtualmachines`.
    pub resource: &'a str,
    /// `Some("status")` and the like when a sub-resource is written.
    pub subresource: Option<&'a str>,
    /// The object's namespace; `None` for cluster-scoped kinds.
    pub namespace: Option<&'a str>,
    /// The object's name; `None` while `generateName` has not chosen one.
    pub name: Option<&'a str>,
    /// The stored object before this write; `None` on create.
    pub old: Option<&'a Value>,
    /// Nothing will be stored.
    pub dry_run: bool,
}

/// A pure, synchronous admission step, called for every write of every kind. An implementation
/// looks at `group` and `resource` first and returns at once for kinds that are not its own.
pub trait Admission: Send + Sync {
    /// Changes the object before it is validated (defaults). Returns warnings for the client.
    ///
    /// # Errors
    /// A [`Status`] refuses the request.
    fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<Vec<String>, Status>;

    /// Judges the object as it will be stored (on delete: as it is stored). Returns warnings.
    ///
    /// # Errors
    /// A [`Status`] refuses the request.
    fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &Value,
    ) -> Result<Vec<String>, Status>;
}
