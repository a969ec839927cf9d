//! Whether an applied object fits its schema, in so far as ownership needs it: every field declared, every list item told apart.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::managed_fields::typed::Type as Node;
use crate::schema::{ListType, Schema, Type};

/// How many faults are listed: a body of the wrong kind has one per field.
const FAULT_LIMIT: usize = 20;

/// What does not fit, each as `.path: what`.
pub(super) fn faults(schema: &Schema, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(schema, value, &mut String::new(), &mut faults);
    faults.truncate(FAULT_LIMIT);
    faults
}

fn check(schema: &Schema, value: &Value, path: &mut String, faults: &mut Vec<String>) {
    if let Some(expected) = wrong_type(schema, value) {
        faults.push(format!("{path}: expected {expected}, got {}", shown(value)));
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let length = path.len();
                path.push('.');
                path.push_str(name);
                match schema.property(name) {
                    Some(field) => check(field, value, path, faults),
                    None if schema.preserves_unknown_fields() => {}
                    None => faults.push(format!("{path}: field not declared in schema")),
                }
                path.truncate(length);
            }
        }
        Value::Array(list) => check_list(schema, list, path, faults),
        _ => {}
    }
}

fn check_list(schema: &Schema, list: &[Value], path: &mut String, faults: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (index, item) in list.iter().enumerate() {
        let length = path.len();
        match schema.list_type() {
            ListType::Atomic => path.push_str(&format!("[{index}]")),
            kind => match list_element(schema, kind, item) {
                Ok(element) if seen.insert(element.clone()) => path.push_str(&element),
                Ok(element) => faults.push(format!("{path}: duplicate entries for key {element}")),
                Err(fault) => {
                    faults.push(format!("{path}: element {index}: {fault}"));
                    continue;
                }
            },
        }
        if let Some(items) = schema.items() {
            check(items, item, path, faults);
        }
        path.truncate(length);
    }
}

/// The text of the element by which a list's item is told apart.
fn list_element(schema: &Schema, kind: ListType, item: &Value) -> Result<String, String> {
    let node = Node(Some(schema));
    if kind == ListType::Set {
        return match item {
            Value::Object(_) | Value::Array(_) => {
                Err("a set may only have scalars as its elements".to_owned())
            }
            _ => Ok(node.item(item).to_string()),
        };
    }
    if !item.is_object() {
        return Err("associative list with keys may not have non-map elements".to_owned());
    }
    match schema
        .list_keys()
        .iter()
        .find(|key| node.key(item, key).is_none())
    {
        Some(key) => Err(format!(
            "associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"
        )),
        None => Ok(node.item(item).to_string()),
    }
}

/// What the schema asks for, if the value is something else.
fn wrong_type(schema: &Schema, value: &Value) -> Option<&'static str> {
    let expected = schema.value_type()?;
    let fits = match (expected, value) {
        (_, Value::Null) | (Type::Object, Value::Object(_)) | (Type::Array, Value::Array(_)) => {
            true
        }
        (Type::Object | Type::Array, _) => false,
        // Scalars that are numbers or texts at will are checked by validation, which knows them.
        (_, Value::String(_) | Value::Number(_)) if schema.is_int_or_string() => true,
        (Type::String, Value::String(_)) | (Type::Boolean, Value::Bool(_)) => true,
        (Type::Integer | Type::Number, Value::Number(_)) => true,
        _ => false,
    };
    if fits {
        return None;
    }
    Some(match expected {
        Type::Object => "map",
        Type::Array => "list",
        Type::String => "string",
        Type::Boolean => "boolean",
        Type::Integer | Type::Number => "numeric (int or float)",
    })
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// The value without nulls where the schema does not take them: a null there means "not given".
pub(super) fn without_nulls(schema: &Schema, value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter_map(|(name, value)| {
                let field = schema.property(name);
                if value.is_null() && field.is_none_or(|field| !field.is_nullable()) {
                    return None;
                }
                let kept = field.map_or_else(|| value.clone(), |field| without_nulls(field, value));
                Some((name.clone(), kept))
            });
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(list) => match schema.items() {
            Some(items) => {
                Value::Array(list.iter().map(|item| without_nulls(items, item)).collect())
            }
            None => value.clone(),
        },
        _ => value.clone(),
    }
}
