//! Schemas of the built-in kinds, taken from `k8s-openapi` at run time and completed by our tables.
//!
//! `k8s-openapi` knows every field, type and description; it does not know how lists are merged, nor defaults. Those
//! are in [`tables`]. Everything is made once, on first use.

mod tables;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use k8s_openapi::api::{
    authentication, authorization, autoscaling, coordination, core, events, scheduling,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::schema::Schema;

/// Where references point in an OpenAPI v3 document.
pub const REFERENCE_PREFIX: &str = "#/components/schemas/";

/// The definition of ObjectMeta.
pub const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
/// The definition of ListMeta.
pub const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
/// The definition of Status.
pub const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
/// The definition of DeleteOptions.
pub const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
/// The definition of Patch: any JSON.
pub const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
/// The definition of WatchEvent.
pub const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";

static DEFINITIONS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(build);

static COMPILED: LazyLock<BTreeMap<String, Schema>> = LazyLock::new(|| {
    // A fault here is one of our tables', which the tests of this module would show.
    let mut definitions = DEFINITIONS.clone();
    open_unions(&mut definitions);
    Schema::compile_definitions(&definitions).unwrap_or_default()
});

static OBJECT_META_SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    COMPILED
        .get(OBJECT_META)
        .cloned()
        .unwrap_or_else(Schema::anything)
});

/// Every definition by its name (`io.k8s.api.core.v1.Pod`), as OpenAPI v3; references start with
/// [`REFERENCE_PREFIX`].
pub fn definitions() -> &'static BTreeMap<String, Value> {
    &DEFINITIONS
}

/// The name of the definition of a built-in kind; the core group is "".
pub fn definition_name(group: &str, version: &str, kind: &str) -> Option<&'static str> {
    tables::KINDS
        .iter()
        .find(|entry| entry.group == group && entry.version == version && entry.kind == kind)
        .map(|entry| entry.definition)
}

/// The OpenAPI v3 schema of a built-in kind, with references.
pub fn open_api_schema(group: &str, version: &str, kind: &str) -> Option<&'static Value> {
    DEFINITIONS.get(definition_name(group, version, kind)?)
}

/// The compiled schema of a built-in kind. Cheap: a clone of a shared node.
pub fn schema(group: &str, version: &str, kind: &str) -> Option<Schema> {
    COMPILED
        .get(definition_name(group, version, kind)?)
        .cloned()
}

/// Both forms of the schema of a built-in kind: compiled, and as OpenAPI v3 with references.
pub fn of(group: &str, version: &str, kind: &str) -> Option<(Schema, Arc<Value>)> {
    let compiled = schema(group, version, kind)?;
    let open_api = open_api_schema(group, version, kind)?;
    Some((compiled, Arc::new(open_api.clone())))
}

/// The compiled schema of a definition.
pub fn definition(name: &str) -> Option<Schema> {
    COMPILED.get(name).cloned()
}

/// The compiled schema of `metadata` in every object.
pub fn object_meta() -> Schema {
    OBJECT_META_SCHEMA.clone()
}

fn build() -> BTreeMap<String, Value> {
    let mut generator = SchemaGenerator::default();
    collect_kinds(&mut generator);
    let mut definitions: BTreeMap<String, Value> = generator
        .take_definitions(true)
        .into_iter()
        .map(|(name, mut schema)| {
            move_references(&mut schema, 0);
            (name, schema)
        })
        .collect();
    for (name, schema) in &mut definitions {
        reshape(name, schema);
    }
    definitions.insert(PATCH.to_owned(), patch_definition());
    definitions.insert(WATCH_EVENT.to_owned(), watch_event_definition());
    tables::complete(&mut definitions);
    definitions
}

fn collect_kinds(generator: &mut SchemaGenerator) {
    fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
        generator.subschema_for::<T>();
    }
    add::<autoscaling::v1::Scale>(generator);
    add::<core::v1::Binding>(generator);
    add::<core::v1::ConfigMap>(generator);
    add::<core::v1::Event>(generator);
    add::<core::v1::Namespace>(generator);
    add::<core::v1::Node>(generator);
    add::<core::v1::PersistentVolumeClaim>(generator);
    add::<core::v1::Pod>(generator);
    add::<core::v1::Secret>(generator);
    add::<core::v1::ServiceAccount>(generator);
    add::<events::v1::Event>(generator);
    add::<coordination::v1::Lease>(generator);
    add::<scheduling::v1::PriorityClass>(generator);
    add::<authentication::v1::SelfSubjectReview>(generator);
    add::<authentication::v1::TokenRequest>(generator);
    add::<authentication::v1::TokenReview>(generator);
    add::<authorization::v1::LocalSubjectAccessReview>(generator);
    add::<authorization::v1::SelfSubjectAccessReview>(generator);
    add::<authorization::v1::SelfSubjectRulesReview>(generator);
    add::<authorization::v1::SubjectAccessReview>(generator);
    add::<apiextensions::v1::CustomResourceDefinition>(generator);
    add::<meta::v1::APIResourceList>(generator);
    add::<meta::v1::DeleteOptions>(generator);
    add::<meta::v1::ListMeta>(generator);
    add::<meta::v1::Status>(generator);
}

/// `#/$defs/X` becomes `#/components/schemas/X`, at any depth.
fn move_references(schema: &mut Value, depth: usize) {
    if depth >= crate::schema::MAX_DEPTH {
        return;
    }
    match schema {
        Value::Object(keywords) => {
            if let Some(Value::String(reference)) = keywords.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("{REFERENCE_PREFIX}{name}");
            }
            for value in keywords.values_mut() {
                move_references(value, depth + 1);
            }
        }
        Value::Array(items) => {
            for item in items {
                move_references(item, depth + 1);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Shapes that `k8s-openapi` writes otherwise than upstream's documents.
fn reshape(name: &str, schema: &mut Value) {
    let Value::Object(keywords) = schema else {
        return;
    };
    let short = name.rsplit('.').next().unwrap_or_default();
    match short {
        "Quantity" => {
            keywords.remove("x-kubernetes-int-or-string");
            keywords.insert(
                "oneOf".to_owned(),
                json!([{"type": "string"}, {"type": "number"}]),
            );
            return;
        }
        "IntOrString" => {
            keywords.remove("x-kubernetes-int-or-string");
            keywords.insert("format".to_owned(), json!("int-or-string"));
            keywords.insert(
                "oneOf".to_owned(),
                json!([{"type": "integer"}, {"type": "string"}]),
            );
            return;
        }
        "JSON"
        | "JSONSchemaPropsOrArray"
        | "JSONSchemaPropsOrBool"
        | "JSONSchemaPropsOrStringArray" => {
            keywords.remove("type");
            keywords.insert(
                "x-kubernetes-preserve-unknown-fields".to_owned(),
                Value::from(true),
            );
            return;
        }
        _ => {}
    }
    let is_open = keywords.get("type").and_then(Value::as_str) == Some("object")
        && !keywords.contains_key("properties")
        && !keywords.contains_key("additionalProperties");
    if is_open {
        // FieldsV1 and RawExtension: any object.
        keywords.insert(
            "x-kubernetes-preserve-unknown-fields".to_owned(),
            Value::from(true),
        );
    }
    // Upstream does not ask for metadata: an absent one is an empty one.
    tables::not_required(keywords, |field| field == "metadata");
}

/// Fields of a CustomResourceDefinition that hold a schema or something else (`items`, `additionalProperties`,
/// `dependencies`) are published without a shape, as upstream does. For finding unknown fields they get one here: the
/// fields of a schema, of any type; and where a list of schemas may stand, its items.
fn open_unions(definitions: &mut BTreeMap<String, Value>) {
    let name =
        |short: &str| format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.{short}");
    let Some(properties) = definitions
        .get(&name("JSONSchemaProps"))
        .and_then(|schema| schema.get("properties"))
    else {
        return;
    };
    let union = json!({"properties": properties});
    let mut with_items = union.clone();
    with_items["items"] = json!({"$ref": format!("{REFERENCE_PREFIX}{}", name("JSONSchemaProps"))});
    definitions.insert(name("JSONSchemaPropsOrBool"), union.clone());
    definitions.insert(name("JSONSchemaPropsOrStringArray"), union);
    definitions.insert(name("JSONSchemaPropsOrArray"), with_items);
}

fn patch_definition() -> Value {
    json!({
        "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.",
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

fn watch_event_definition() -> Value {
    json!({
        "description": "Event represents a single event to a watched resource.",
        "type": "object",
        "required": ["type", "object"],
        "properties": {
            "object": {
                "description": "The object: its state after the event, before a deletion, or a Status of an error.",
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
            },
            "type": {"type": "string", "default": ""},
        },
    })
}

#[cfg(test)]
mod tests;
