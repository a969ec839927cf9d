//! Paths and operations as OpenAPI v3 writes them.

use serde_json::{Map, Value, json};

use super::operations::{Operation, PathItem, extensions, shared_parameters};
use super::schemas::reference;

/// A path item as OpenAPI v3 writes it.
pub(super) fn path(item: &PathItem) -> Value {
    let mut methods = Map::new();
    for operation in &item.operations {
        methods.insert(operation.method.to_owned(), v3_operation(operation));
    }
    let parameters: Vec<Value> = shared_parameters(item)
        .into_iter()
        .map(|(name, place, description)| {
            let mut parameter = json!({
                "name": name, "in": place, "description": description,
                "schema": {"type": "string"},
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

fn v3_operation(operation: &Operation) -> Value {
    let schema = |definition: Option<&String>| match definition {
        Some(name) => reference(name),
        None => json!({}),
    };
    let mut answer_types = vec!["application/json"];
    if operation.action == "list" {
        answer_types.push("application/json;stream=watch");
    }
    let content = |media_types: &[&str], definition: Option<&String>| -> Map<String, Value> {
        media_types
            .iter()
            .map(|media_type| {
                (
                    (*media_type).to_owned(),
                    json!({"schema": schema(definition)}),
                )
            })
            .collect()
    };
    let mut responses: Map<String, Value> = operation
        .statuses
        .iter()
        .map(|(code, description)| {
            let content = content(&answer_types, operation.answer.as_ref());
            (
                (*code).to_owned(),
                json!({"description": description, "content": content}),
            )
        })
        .collect();
    responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    let parameters: Vec<Value> = operation
        .query
        .iter()
        .map(|parameter| {
            json!({
                "name": parameter.name, "in": "query", "description": parameter.description,
                "schema": {"type": parameter.kind},
            })
        })
        .collect();
    let mut written = Map::new();
    written.insert("tags".to_owned(), json!([operation.tag]));
    written.insert("description".to_owned(), json!(operation.description));
    written.insert("operationId".to_owned(), json!(operation.id));
    written.insert("parameters".to_owned(), Value::from(parameters));
    if let Some(body) = &operation.body {
        let mut request = Map::new();
        request.insert(
            "content".to_owned(),
            Value::Object(content(body.media_types, body.definition.as_ref())),
        );
        if body.required {
            request.insert("required".to_owned(), Value::Bool(true));
        }
        written.insert("requestBody".to_owned(), Value::Object(request));
    }
    written.insert("responses".to_owned(), Value::Object(responses));
    extensions(operation, &mut written);
    Value::Object(written)
}
