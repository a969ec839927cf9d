//! OpenAPI v2 and v3 documents of the served kinds.
//!
//! `kubectl explain` reads schemas and the kinds of operations; `kubectl apply`, `replace` and `diff` read the PATCH
//! operations (whether `fieldValidation` is known, whether a strategic merge may be sent); Terraform and the dynamic
//! clients of Python and JavaScript read the v2 document. Documents are made on demand; keep the bytes.

mod operations;
mod schemas;
mod swagger;
mod v3;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::resource_type::ResourceType;

/// One served kind with its sub-resources.
#[derive(Debug, Clone)]
pub struct Descriptor<'a> {
    /// The kind.
    pub resource: &'a ResourceType,
    /// What stands behind `/{name}/`.
    pub subresources: Vec<Subresource<'a>>,
}

/// A sub-resource as discovery tells it.
#[derive(Debug, Clone, Copy)]
pub struct Subresource<'a> {
    /// The last segment, e.g. `status`.
    pub name: &'a str,
    /// Verbs in discovery's words, e.g. `get`, `update`, `patch`, `create`.
    pub verbs: &'a [&'a str],
    /// Group, version and kind of what is sent and answered; `None`: those of the resource.
    pub kind: Option<(&'a str, &'a str, &'a str)>,
}

/// Where the v3 document of a group and version is, below `/openapi/v3/`: `api/v1` or `apis/GROUP/VERSION`.
pub fn v3_path(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        _ => format!("apis/{group}/{version}"),
    }
}

/// `GET /openapi/v3`: the documents there are, each as its path ([`v3_path`]) and the hash of its bytes ([`hash`]).
pub fn v3_index<P: AsRef<str>, H: AsRef<str>>(
    documents: impl IntoIterator<Item = (P, H)>,
) -> Value {
    let paths: Map<String, Value> = documents
        .into_iter()
        .map(|(path, hash)| {
            let (path, hash) = (path.as_ref(), hash.as_ref());
            let url = format!("/openapi/v3/{path}?hash={hash}");
            (path.to_owned(), json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// SHA-512 of a document's bytes, in upper-case hexadecimal: the `hash` of its URL and its ETag.
pub fn hash(bytes: &[u8]) -> String {
    Sha512::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}

/// The v3 document of one group and version. Descriptors of other groups and versions are left out.
pub fn v3_document(
    group: &str,
    version: &str,
    descriptors: &[Descriptor<'_>],
    server_version: &str,
) -> Value {
    let served: Vec<&Descriptor<'_>> = descriptors
        .iter()
        .filter(|descriptor| {
            descriptor.resource.group == group && descriptor.resource.version == version
        })
        .collect();
    let mut paths = Map::new();
    for item in served
        .iter()
        .flat_map(|descriptor| operations::path_items(descriptor))
    {
        paths.insert(item.path.clone(), v3::path(&item));
    }
    let mut schemas = schemas::for_kinds(&served);
    for schema in schemas.values_mut() {
        schemas::wrap_references(schema, 0);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"BearerToken": {
                "description": "Bearer Token authentication",
                "type": "apiKey",
                "name": "authorization",
                "in": "header",
            }},
        },
    })
}

/// `GET /openapi/v2`: one swagger 2.0 document of all kinds.
pub fn v2_document(descriptors: &[Descriptor<'_>], server_version: &str) -> Value {
    swagger::document(descriptors, server_version)
}
