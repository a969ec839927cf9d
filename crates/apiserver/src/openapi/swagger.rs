//! The same kinds as swagger 2.0, which knows fewer keywords.

use serde_json::{Map, Value, json};

use super::operations::{self, Operation, PathItem, extensions, shared_parameters};
use super::{Descriptor, schemas};
use crate::builtin_schema::REFERENCE_PREFIX;
use crate::schema::MAX_DEPTH;

const V2_PREFIX: &str = "#/definitions/";

pub(super) fn document(descriptors: &[Descriptor<'_>], server_version: &str) -> Value {
    let all: Vec<&Descriptor<'_>> = descriptors.iter().collect();
    let mut paths = Map::new();
    for item in all
        .iter()
        .flat_map(|descriptor| operations::path_items(descriptor))
    {
        paths.insert(item.path.clone(), path(&item));
    }
    let definitions: Map<String, Value> = schemas::for_kinds(&all)
        .into_iter()
        .map(|(name, mut schema)| {
            reduce(&mut schema, 0);
            (name, schema)
        })
        .collect();
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": {
            "description": "Bearer Token authentication",
            "type": "apiKey",
            "name": "authorization",
            "in": "header",
        }},
        "security": [{"BearerToken": []}],
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("{V2_PREFIX}{name}")})
}

fn path(item: &PathItem) -> Value {
    let mut methods = Map::new();
    for one in &item.operations {
        methods.insert(one.method.to_owned(), operation(one));
    }
    let parameters: Vec<Value> = shared_parameters(item)
        .into_iter()
        .map(|(name, place, description)| {
            let mut parameter = json!({
                "name": name, "in": place, "description": description, "type": "string",
                "uniqueItems": true,
            });
            if place == "path" {
                parameter["required"] = Value::Bool(true);
            }
            parameter
        })
        .collect();
    methods.insert("parameters".to_owned(), Value::from(parameters));
    Value::Object(methods)
}

fn operation(operation: &Operation) -> Value {
    let schema = |definition: Option<&String>| match definition {
        Some(name) => reference(name),
        None => json!({"type": "object"}),
    };
    let mut parameters: Vec<Value> = Vec::new();
    if let Some(body) = &operation.body {
        let mut parameter =
            json!({"name": "body", "in": "body", "schema": schema(body.definition.as_ref())});
        if body.required {
            parameter["required"] = Value::Bool(true);
        }
        parameters.push(parameter);
    }
    parameters.extend(operation.query.iter().map(|parameter| {
        json!({
            "name": parameter.name, "in": "query", "description": parameter.description,
            "type": parameter.kind, "uniqueItems": true,
        })
    }));
    let mut responses: Map<String, Value> = operation
        .statuses
        .iter()
        .map(|(code, description)| {
            let schema = schema(operation.answer.as_ref());
            (
                (*code).to_owned(),
                json!({"description": description, "schema": schema}),
            )
        })
        .collect();
    responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    let mut produces = vec!["application/json"];
    if operation.action == "list" {
        produces.push("application/json;stream=watch");
    }
    let consumes = match &operation.body {
        Some(body) => json!(body.media_types),
        None => json!(["*/*"]),
    };
    let mut written = Map::new();
    written.insert("tags".to_owned(), json!([operation.tag]));
    written.insert("description".to_owned(), json!(operation.description));
    written.insert("operationId".to_owned(), json!(operation.id));
    written.insert("schemes".to_owned(), json!(["https"]));
    written.insert("consumes".to_owned(), consumes);
    written.insert("produces".to_owned(), json!(produces));
    written.insert("parameters".to_owned(), Value::from(parameters));
    written.insert("responses".to_owned(), Value::Object(responses));
    extensions(operation, &mut written);
    Value::Object(written)
}

/// Rewrites a v3 schema for v2: references point at `definitions`; `oneOf`, `anyOf`, `not` and `nullable` do not exist;
/// open nodes are left without a shape, as upstream does, because old clients would drop fields they do not see.
fn reduce(schema: &mut Value, depth: usize) {
    if depth >= MAX_DEPTH {
        return;
    }
    let Value::Object(keywords) = schema else {
        return;
    };
    if let Some(Value::String(target)) = keywords.get_mut("$ref") {
        if let Some(name) = target.strip_prefix(REFERENCE_PREFIX) {
            *target = format!("{V2_PREFIX}{name}");
        }
        return;
    }
    let is = |name: &str| keywords.get(name) == Some(&Value::Bool(true));
    let is_int_or_string = is("x-kubernetes-int-or-string")
        || keywords.get("format").and_then(Value::as_str) == Some("int-or-string");
    let is_open = is("x-kubernetes-preserve-unknown-fields");
    let is_nullable = is("nullable");
    let is_quantity = keywords.contains_key("oneOf") && !keywords.contains_key("type");
    for keyword in ["oneOf", "anyOf", "allOf", "not", "nullable"] {
        keywords.remove(keyword);
    }
    if is_int_or_string {
        keywords.insert("type".to_owned(), json!("string"));
        keywords.insert("format".to_owned(), json!("int-or-string"));
    } else if is_quantity {
        keywords.insert("type".to_owned(), json!("string"));
    }
    if is_open || is_nullable {
        for keyword in ["type", "properties", "items", "additionalProperties"] {
            if is_open || keyword == "type" {
                keywords.remove(keyword);
            }
        }
    }
    if let Some(Value::Object(properties)) = keywords.get_mut("properties") {
        properties
            .values_mut()
            .for_each(|schema| reduce(schema, depth + 1));
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(schema) = keywords.get_mut(keyword) {
            reduce(schema, depth + 1);
        }
    }
    if keywords.get("additionalProperties") == Some(&Value::Bool(true)) {
        keywords.insert("additionalProperties".to_owned(), json!({}));
    }
}
