//! The schemas of a document: those of its kinds and all that they refer to.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Descriptor;
use crate::builtin_schema::{
    self, DELETE_OPTIONS, LIST_META, OBJECT_META, PATCH, REFERENCE_PREFIX, STATUS, WATCH_EVENT,
};
use crate::resource_type::ResourceType;
use crate::schema::MAX_DEPTH;

const API_VERSION_DESCRIPTION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND_DESCRIPTION: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA_DESCRIPTION: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// The name of a kind's definition: `io.k8s.api.core.v1.Pod`, `io.kubevirt.v1.VirtualMachine`.
pub(super) fn definition_name(resource: &ResourceType) -> String {
    let names = &resource.names;
    if !resource.is_custom()
        && let Some(known) =
            builtin_schema::definition_name(&resource.group, &resource.version, &names.kind)
    {
        return known.to_owned();
    }
    let reversed: Vec<&str> = resource.group.rsplit('.').collect();
    format!("{}.{}.{}", reversed.join("."), resource.version, names.kind)
}

/// The name of the definition of a kind's list.
pub(super) fn list_name(resource: &ResourceType) -> String {
    let name = definition_name(resource);
    let scope = name.rsplit_once('.').map_or("", |(scope, _)| scope);
    format!("{scope}.{}", resource.names.list_kind)
}

/// A reference to a definition.
pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("{REFERENCE_PREFIX}{name}")})
}

/// The definitions of kinds and their lists, and everything that these refer to.
pub(super) fn for_kinds(descriptors: &[&Descriptor<'_>]) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for descriptor in descriptors {
        let resource = descriptor.resource;
        found.insert(definition_name(resource), kind_definition(resource));
        if resource.verbs.contains(&"list") {
            found.insert(list_name(resource), list_definition(resource));
        }
        for subresource in &descriptor.subresources {
            if let Some((group, version, kind)) = subresource.kind
                && let Some(name) = builtin_schema::definition_name(group, version, kind)
                && let Some(schema) = builtin_schema::definitions().get(name)
            {
                found.insert(name.to_owned(), schema.clone());
            }
        }
    }
    for name in [
        DELETE_OPTIONS,
        LIST_META,
        OBJECT_META,
        PATCH,
        STATUS,
        WATCH_EVENT,
    ] {
        if let Some(schema) = builtin_schema::definitions().get(name) {
            found.insert(name.to_owned(), schema.clone());
        }
    }
    let mut open: Vec<String> = found.values().flat_map(references).collect();
    while let Some(name) = open.pop() {
        if found.contains_key(&name) {
            continue;
        }
        if let Some(schema) = builtin_schema::definitions().get(&name) {
            open.extend(references(schema));
            found.insert(name, schema.clone());
        }
    }
    found
}

fn references(schema: &Value) -> Vec<String> {
    let mut names = Vec::new();
    walk(schema, 0, &mut |keywords| {
        if let Some(Value::String(target)) = keywords.get("$ref") {
            names.extend(target.strip_prefix(REFERENCE_PREFIX).map(str::to_owned));
        }
    });
    names
}

fn walk(schema: &Value, depth: usize, visit: &mut impl FnMut(&Map<String, Value>)) {
    if depth >= MAX_DEPTH {
        return;
    }
    match schema {
        Value::Object(keywords) => {
            visit(keywords);
            keywords
                .values()
                .for_each(|value| walk(value, depth + 1, visit));
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, depth + 1, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn kind_definition(resource: &ResourceType) -> Value {
    let mut schema = (*resource.open_api_schema).clone();
    if resource.is_custom() {
        complete_object(&mut schema, 0);
    }
    if let Value::Object(keywords) = &mut schema {
        // A custom resource whose schema is open has at least its object fields.
        keywords.entry("type").or_insert_with(|| json!("object"));
        keywords.insert(
            "x-kubernetes-group-version-kind".to_owned(),
            json!([{
                "group": resource.group, "kind": resource.names.kind, "version": resource.version,
            }]),
        );
    }
    schema
}

/// Adds what every object has to the root and to embedded resources: `apiVersion`, `kind`, `metadata`.
fn complete_object(schema: &mut Value, depth: usize) {
    if depth >= MAX_DEPTH {
        return;
    }
    let Value::Object(keywords) = schema else {
        return;
    };
    if let Some(Value::Object(properties)) = keywords.get_mut("properties") {
        properties
            .values_mut()
            .for_each(|schema| complete_object(schema, depth + 1));
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(schema) = keywords.get_mut(keyword) {
            complete_object(schema, depth + 1);
        }
    }
    let is_embedded = keywords.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true));
    if depth > 0 && !is_embedded {
        return;
    }
    let properties = keywords.entry("properties").or_insert_with(|| json!({}));
    if let Value::Object(properties) = properties {
        let described = |text: &str| json!({"description": text, "type": "string"});
        properties.insert("apiVersion".to_owned(), described(API_VERSION_DESCRIPTION));
        properties.insert("kind".to_owned(), described(KIND_DESCRIPTION));
        let mut metadata = reference(OBJECT_META);
        metadata["description"] = json!(METADATA_DESCRIPTION);
        properties.insert("metadata".to_owned(), metadata);
    }
}

fn list_definition(resource: &ResourceType) -> Value {
    let kind = &resource.names.kind;
    let mut metadata = reference(LIST_META);
    metadata["description"] = json!("Standard list metadata.");
    json!({
        "description": format!("{} is a list of {kind}", resource.names.list_kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": API_VERSION_DESCRIPTION, "type": "string"},
            "items": {
                "description": format!("List of {}.", resource.names.plural),
                "type": "array",
                "items": reference(&definition_name(resource)),
            },
            "kind": {"description": KIND_DESCRIPTION, "type": "string"},
            "metadata": metadata,
        },
        "x-kubernetes-group-version-kind": [{
            "group": resource.group, "kind": resource.names.list_kind, "version": resource.version,
        }],
    })
}

/// OpenAPI v3 ignores what stands beside `$ref`, so a described reference becomes `allOf` with the reference alone.
pub(super) fn wrap_references(schema: &mut Value, depth: usize) {
    if depth >= MAX_DEPTH {
        return;
    }
    match schema {
        Value::Object(keywords) => {
            if keywords.len() > 1
                && keywords.get("$ref").is_some_and(Value::is_string)
                && let Some(target) = keywords.remove("$ref")
            {
                keywords.insert("allOf".to_owned(), json!([{"$ref": target}]));
                return;
            }
            keywords
                .values_mut()
                .for_each(|value| wrap_references(value, depth + 1));
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| wrap_references(item, depth + 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
