//! Sequences of applies and updates whose outcomes were recorded from Go's structured-merge-diff (the library inside
//! kube-apiserver, 4.1.2): who conflicts with whom, what the object is, who owns what. See `tests/golden/apply/README.md`.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Apply, server_side_apply};
use crate::managed_fields::{Update, record_update};
use crate::schema::Schema;
use crate::status::Status;

fn schema() -> Schema {
    let text = json!({"type": "string"});
    let words = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let port = json!({"type": "object", "required": ["port"], "properties": {
        "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "name": text, "words": words,
    }});
    let spec = json!({"type": "object", "properties": {
        "a": text,
        "nested": {"type": "object", "properties": {"x": text, "y": text}},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "atomicMap": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
        "words": words,
        "list": {"type": "array", "items": text},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": text},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"], "items": port},
    }});
    Schema::compile(&json!({"type": "object", "properties": {"spec": spec}})).expect("structural")
}

/// Without nulls, empty containers and the order of lists: the library leaves null where a container lost its last field, and
/// merges lists in an order that later versions changed.
fn plain(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(map) => {
            let map: Map<String, Value> = map
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), plain(value)?)))
                .collect();
            (!map.is_empty()).then_some(Value::Object(map))
        }
        Value::Array(list) => {
            let mut list: Vec<Value> = list.iter().filter_map(plain).collect();
            list.sort_by_key(Value::to_string);
            (!list.is_empty()).then_some(Value::Array(list))
        }
        Value::Number(number) => Some(json!(number.as_f64())),
        scalar => Some(scalar.clone()),
    }
}

fn without_identity(fields: &Value) -> Value {
    let mut fields = fields.clone();
    if let Some(map) = fields.as_object_mut() {
        map.remove("f:apiVersion");
        map.remove("f:kind");
        if let Some(metadata) = map.get_mut("f:metadata").and_then(Value::as_object_mut) {
            metadata.remove("f:name");
            metadata.remove(".");
            if metadata.is_empty() {
                map.remove("f:metadata");
            }
        }
    }
    fields
}

fn owners(object: &Value) -> Value {
    let list = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    list.iter()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap_or_default();
            (
                format!("{} {}", text("manager"), text("operation")),
                entry["fieldsV1"].clone(),
            )
        })
        .collect()
}

fn conflicts(status: &Status) -> BTreeSet<String> {
    let causes = status
        .details
        .as_ref()
        .map(|details| details.causes.as_slice())
        .unwrap_or_default();
    causes
        .iter()
        .map(|cause| {
            let owner = cause.message.trim_start_matches("conflict with ");
            let manager = owner.split('"').nth(1).unwrap_or_default();
            let operation = if owner.ends_with("using v1") {
                "Update"
            } else {
                "Apply"
            };
            format!("{manager} {operation} {}", cause.field)
        })
        .collect()
}

fn step(
    schema: &Schema,
    live: Option<&Value>,
    operation: &Value,
    now: Timestamp,
) -> Result<Value, Status> {
    let object = &operation["object"];
    let manager = operation["manager"].as_str().expect("a name");
    if operation["op"] == "apply" {
        return server_side_apply(Apply {
            schema,
            live,
            applied: object,
            manager,
            force: operation["force"] == json!(true),
            subresource: None,
            has_status_subresource: false,
            api_version: "v1",
            now,
        });
    }
    let mut new = object.clone();
    record_update(Update {
        schema,
        old: live,
        new: &mut new,
        manager,
        api_version: "v1",
        subresource: None,
        has_status_subresource: false,
        now,
    });
    Ok(new)
}

#[test]
fn sequences_end_as_the_go_library_ends_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/apply/sequences.jsonl");
    let text = std::fs::read_to_string(&path).expect("the recorded sequences");
    let schema = schema();
    let (mut steps, mut refused) = (0, 0);
    for (line, sequence) in text.lines().enumerate() {
        let sequence: Value = serde_json::from_str(sequence).expect("JSON");
        let mut live: Option<Value> = None;
        for (index, operation) in sequence.as_array().expect("a list").iter().enumerate() {
            steps += 1;
            let place = format!("sequence {line} step {index}:\n{:#}", sequence);
            let now = Timestamp::from_second(steps).expect("in range");
            let expected: BTreeSet<String> = operation["conflicts"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|conflict| conflict.as_str().map(str::to_owned))
                .collect();
            match step(&schema, live.as_ref(), operation, now) {
                Ok(object) => {
                    assert!(expected.is_empty(), "{place}");
                    live = Some(object);
                }
                Err(status) => {
                    refused += 1;
                    assert_eq!(conflicts(&status), expected, "{status} {place}");
                }
            }
            let live = live.clone().unwrap_or_default();
            let mut bare = live.clone();
            crate::managed_fields::take_entries(&mut bare);
            assert_eq!(plain(&bare), plain(&operation["result"]), "{place}");
            let recorded: Map<String, Value> = operation["owners"]
                .as_object()
                .expect("a map")
                .iter()
                .map(|(owner, fields)| (owner.clone(), without_identity(fields)))
                .filter(|(_, fields)| fields.as_object().is_some_and(|map| !map.is_empty()))
                .collect();
            assert_eq!(owners(&live), Value::Object(recorded), "{place}");
        }
    }
    assert!(
        steps > 400 && refused > 50,
        "only {steps} steps, {refused} refused"
    );
}
