//! Writing objects: one path for every kind, from a decoded body to an acknowledged revision.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod finish;
pub(crate) mod options;
pub(crate) mod scale;
pub(crate) mod update;

use std::sync::Arc;

use serde_json::Value;
use store::{Expect, StoreError};

use crate::admission::{AdmissionRequest, Operation};
use crate::metadata;
use crate::registry::Kind;
use crate::server::Inner;
use crate::status::{Cause, Status};
use crate::user::User;

pub(crate) use options::{Validation, WriteOptions};

/// The circumstances of one write.
pub(crate) struct Write<'a> {
    /// The server.
    pub(crate) server: &'a Inner,
    /// The kind, in the version of the request.
    pub(crate) kind: &'a Arc<Kind>,
    /// The namespace; `None` for cluster-scoped kinds.
    pub(crate) namespace: Option<&'a str>,
    /// `status`, `scale`, `finalize`, `binding`; `None` for the object itself.
    pub(crate) subresource: Option<&'a str>,
    /// Who writes.
    pub(crate) user: &'a User,
    /// How.
    pub(crate) options: WriteOptions,
}

/// What a write led to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The object as it is now (or, in a dry run, would be).
    pub(crate) object: Value,
    /// It did not exist before.
    pub(crate) created: bool,
    /// Warnings for the client.
    pub(crate) warnings: Vec<String>,
}

impl Write<'_> {
    /// 404 for this kind.
    pub(crate) fn not_found(&self, name: &str) -> Status {
        let resource = &self.kind.resource;
        Status::not_found(&resource.group, &resource.names.plural, name)
    }

    /// 409 for this kind.
    pub(crate) fn conflict(&self, name: &str, why: &str) -> Status {
        let resource = &self.kind.resource;
        Status::conflict(&resource.group, &resource.names.plural, name, why)
    }

    /// 422 for this kind.
    pub(crate) fn invalid(&self, name: &str, causes: Vec<Cause>) -> Status {
        let resource = &self.kind.resource;
        Status::invalid(&resource.group, &resource.names.kind, name, causes)
    }

    /// The store key of an object of this kind.
    pub(crate) fn key(&self, name: &str) -> String {
        self.kind.key(self.namespace, name)
    }

    /// What admission is told.
    pub(crate) fn admission<'b>(
        &'b self,
        operation: Operation,
        name: &'b str,
        old: Option<&'b Value>,
    ) -> AdmissionRequest<'b> {
        AdmissionRequest {
            user: self.user,
            operation,
            group: &self.kind.resource.group,
            version: &self.kind.resource.version,
            resource: &self.kind.resource.names.plural,
            subresource: self.subresource,
            namespace: self.namespace,
            name: (!name.is_empty()).then_some(name),
            old,
            dry_run: self.options.dry_run,
        }
    }

    /// Checks kind and version of a body, fills in what is missing, and records unknown and
    /// duplicate fields as the client wishes. Unknown fields are dropped.
    pub(crate) fn accept(
        &self,
        object: &mut Value,
        duplicates: &[String],
    ) -> Result<Vec<String>, Status> {
        let resource = &self.kind.resource;
        let api_version = resource.api_version();
        let Some(map) = object.as_object_mut() else {
            return Err(Status::bad_request("the body must be one JSON object"));
        };
        for (field, expected) in [
            ("kind", resource.names.kind.as_str()),
            ("apiVersion", api_version.as_str()),
        ] {
            match map.get(field).and_then(Value::as_str).unwrap_or("") {
                "" if resource.is_custom() && field == "kind" => {
                    return Err(Status::bad_request("Object 'Kind' is missing in the body"));
                }
                "" => {
                    map.insert(field.to_owned(), Value::from(expected));
                }
                found if found != expected => {
                    return Err(Status::bad_request(format!(
                        "the {field} in the data ({found}) does not match the expected {field} \
                         ({expected})"
                    )));
                }
                _ => {}
            }
        }
        let mut faults: Vec<String> = Vec::new();
        if self.options.validation != Validation::Ignore {
            faults.extend(
                duplicates
                    .iter()
                    .map(|path| format!("duplicate field \"{path}\"")),
            );
            let unknown = self.kind.schema.unknown_fields(object);
            faults.extend(
                unknown
                    .iter()
                    .map(|path| format!("unknown field \"{path}\"")),
            );
        }
        self.kind.schema.prune(object);
        if self.options.validation == Validation::Strict && !faults.is_empty() {
            let faults = faults.join(", ");
            let strict = format!("strict decoding error: {faults}");
            return Err(Status::bad_request(if resource.is_custom() {
                strict
            } else {
                let (kind, version) = (&resource.names.kind, &resource.version);
                format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {strict}")
            }));
        }
        Ok(faults)
    }

    /// The namespace of the body must be that of the path, or be absent.
    pub(crate) fn check_place(&self, object: &Value) -> Result<(), Status> {
        let stated = metadata::namespace(object);
        if stated.is_empty() || Some(stated) == self.namespace {
            return Ok(());
        }
        Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ))
    }

    /// Sets the namespace of the path, unless the body has another.
    pub(crate) fn place(&self, object: &mut Value) -> Result<(), Status> {
        self.check_place(object)?;
        metadata::set(object, "namespace", self.namespace.map(Value::from));
        Ok(())
    }

    /// Lets every admission step change the object.
    pub(crate) fn mutate(
        &self,
        operation: Operation,
        object: &mut Value,
        old: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        let name = metadata::name(object).to_owned();
        let request = self.admission(operation, &name, old);
        for step in &self.server.extensions.admission {
            warnings.extend(step.mutate(&request, object)?);
        }
        if !self.server.extensions.admission.is_empty() {
            self.kind.schema.prune(object);
            self.kind.schema.default(object);
        }
        Ok(())
    }

    /// Lets every admission step judge the object.
    pub(crate) fn judge(
        &self,
        operation: Operation,
        object: &Value,
        old: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        let request = self.admission(operation, metadata::name(object), old);
        for step in &self.server.extensions.admission {
            warnings.extend(step.validate(&request, object)?);
        }
        Ok(())
    }

    /// Validates by metadata rules, schema, and what is special about the kind.
    pub(crate) fn validate(&self, object: &Value, old: Option<&Value>) -> Result<(), Status> {
        let mut causes = crate::meta_rules::validate(&self.kind.resource, object, old);
        causes.extend(self.kind.schema.validate(object, old));
        // What a sub-resource may change was decided before; these rules are for the main endpoint.
        let before = old.filter(|_| self.subresource.is_none());
        causes.extend(crate::special::validate(self.kind, object, before));
        if causes.is_empty() {
            Ok(())
        } else {
            Err(self.invalid(metadata::name(object), causes))
        }
    }

    /// Stores an object; the result has its new resource version.
    pub(crate) async fn put(&self, object: Value, expect: Expect) -> Result<Value, PutError> {
        let key = self.key(metadata::name(&object));
        let api_version = self.kind.resource.api_version();
        let mut stored = self.kind.to_stored(object);
        let bytes = crate::stored::encode(&stored);
        let revision = self
            .server
            .store
            .put(&key, bytes, expect)
            .await
            .map_err(PutError::from)?;
        metadata::set(
            &mut stored,
            "resourceVersion",
            Some(Value::from(revision.to_string())),
        );
        if self.kind.storage.api_version != api_version {
            stored = self.kind.to_served(stored);
        }
        Ok(stored)
    }
}

/// Why an object was not stored.
#[derive(Debug)]
pub(crate) enum PutError {
    /// Somebody else was faster.
    Conflict,
    /// Anything else.
    Failed(Status),
}

impl From<StoreError> for PutError {
    fn from(error: StoreError) -> PutError {
        match error {
            StoreError::Conflict { .. } => PutError::Conflict,
            other => PutError::Failed(store_failure(&other)),
        }
    }
}

/// The status of a store that refuses.
pub(crate) fn store_failure(error: &StoreError) -> Status {
    match error {
        StoreError::Full { .. } => Status::new(507, "InsufficientStorage", error.to_string()),
        StoreError::TooLarge { limit, .. } => Status::too_large(*limit),
        StoreError::Closed => Status::unavailable("the server is stopping"),
        _ => Status::internal(error),
    }
}
