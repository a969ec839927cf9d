//! Strategic merge patch: a merge patch that merges lists too, by the merge keys of the kind's schema, and understands
//! directives: `$patch`, `$retainKeys`, `$deleteFromPrimitiveList/FIELD` and `$setElementOrder/FIELD`.
//!
//! kubectl computes such patches on its side, so which lists merge, and by which key, must agree with upstream for every kind.

mod order;

use serde_json::{Map, Value};

use super::{expect_bounded, expect_object, parse};
use crate::schema::Schema;
use crate::status::{Cause, Status};

/// The content type of these bodies.
pub const CONTENT_TYPE: &str = "application/strategic-merge-patch+json";

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const SET_ELEMENT_ORDER: &str = "$setElementOrder/";

type Object = Map<String, Value>;

/// `object` with the strategic merge patch `body` applied; `schema` is that of the object's kind. Fields without a schema merge
/// as in a merge patch.
///
/// # Errors
/// 400 if the body is not a JSON object or a directive is malformed, 413 if the result is too long, 422 if a list item lacks
/// its merge key or a directive is not known.
pub fn apply(schema: &Schema, object: &Value, body: &[u8]) -> Result<Value, Status> {
    let Value::Object(patch) = expect_object(parse(body)?, "the patch")? else {
        return Err(Status::bad_request("error decoding patch"));
    };
    let Value::Object(object) = object.clone() else {
        return Err(Status::internal("the object to patch is not a JSON object"));
    };
    let patched = merge_maps(Some(schema), object, patch).map_err(Fault::into_status)?;
    let patched = Value::Object(patched);
    expect_bounded(&patched)?;
    Ok(patched)
}

/// What can be wrong with a patch, with the path of the place, written from the inside out.
#[derive(Debug)]
struct Fault {
    code: u16,
    message: String,
    path: String,
}

impl Fault {
    fn malformed(message: &str) -> Fault {
        Fault {
            code: 400,
            message: message.to_owned(),
            path: String::new(),
        }
    }

    fn unprocessable(message: String) -> Fault {
        Fault {
            code: 422,
            message,
            path: String::new(),
        }
    }

    fn at(mut self, field: &str) -> Fault {
        self.path = match self.path.is_empty() {
            true => field.to_owned(),
            false => format!("{field}.{}", self.path),
        };
        self
    }

    fn into_status(self) -> Status {
        let reason = if self.code == 400 {
            "BadRequest"
        } else {
            "Invalid"
        };
        let cause = Cause::new("FieldValueInvalid", self.path, self.message.clone());
        Status::new(self.code, reason, self.message).with_causes(vec![cause])
    }
}

/// Merges `patch` into `original`. The order matters: first what removes or replaces whole, then ordered lists, then the rest.
fn merge_maps(
    schema: Option<&Schema>,
    mut original: Object,
    mut patch: Object,
) -> Result<Object, Fault> {
    match patch.remove(PATCH) {
        None => {}
        Some(Value::String(directive)) if directive == "replace" => return Ok(clean_map(patch)),
        Some(Value::String(directive)) if directive == "delete" => return Ok(Object::new()),
        Some(Value::String(directive)) if directive == "merge" => {}
        Some(other) => {
            return Err(Fault::unprocessable(format!(
                "unknown patch type: {other} in map"
            )));
        }
    }
    retain_keys(&mut original, &mut patch)?;
    let orders: Vec<String> = patch
        .keys()
        .filter_map(|key| key.strip_prefix(SET_ELEMENT_ORDER))
        .map(str::to_owned)
        .collect();
    for field in orders {
        ordered_list(schema, &mut original, &mut patch, &field)
            .map_err(|fault| fault.at(&field))?;
    }
    for (key, value) in patch {
        match key.strip_prefix(DELETE_FROM_LIST) {
            Some(field) => {
                delete_from_list(&mut original, field, &value).map_err(|fault| fault.at(field))?
            }
            None => {
                merge_field(schema, &mut original, &key, value).map_err(|fault| fault.at(&key))?
            }
        }
    }
    Ok(original)
}

fn merge_field(
    schema: Option<&Schema>,
    original: &mut Object,
    key: &str,
    value: Value,
) -> Result<(), Fault> {
    if value.is_null() {
        original.remove(key);
        return Ok(());
    }
    // Nothing to delete: the field does not appear by being deleted.
    if !original.contains_key(key) && order::directive(&value) == Some("delete") {
        return Ok(());
    }
    let field = schema.and_then(|schema| schema.property(key));
    let replace = field.is_some_and(|field| field.patch_strategy().replace);
    let merged = match (original.remove(key), value) {
        (Some(Value::Object(present)), Value::Object(patch)) if !replace => {
            Value::Object(merge_maps(field, present, patch)?)
        }
        (Some(Value::Array(present)), Value::Array(patch)) if merges(field) => {
            Value::Array(merge_lists(field, present, patch)?)
        }
        (_, value) => clean(value),
    };
    original.insert(key.to_owned(), merged);
    Ok(())
}

fn merges(field: Option<&Schema>) -> bool {
    field.is_some_and(|field| field.patch_strategy().merge)
}

/// `$retainKeys`: fields of the present object that are not listed go, and the patch may only set listed ones.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), Fault> {
    const MALFORMED: &str = "invalid patch format of retainKeys";
    let Some(retained) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(retained) = retained else {
        return Err(Fault::malformed(MALFORMED));
    };
    let is_retained = |key: &str| {
        retained
            .iter()
            .any(|retained| retained.as_str() == Some(key))
    };
    let sets_others = patch
        .iter()
        .any(|(key, value)| !value.is_null() && !key.starts_with('$') && !is_retained(key));
    if sets_others {
        return Err(Fault::malformed(MALFORMED));
    }
    original.retain(|key, _| is_retained(key));
    Ok(())
}

/// `$deleteFromPrimitiveList/FIELD`: these values leave the list.
fn delete_from_list(original: &mut Object, field: &str, values: &Value) -> Result<(), Fault> {
    let Value::Array(values) = values else {
        return Err(Fault::malformed("invalid patch format of primitive list"));
    };
    if let Some(Value::Array(list)) = original.get_mut(field) {
        list.retain(|item| !values.contains(item));
    }
    Ok(())
}

/// `$setElementOrder/FIELD`: merges the field's list now, and puts its items into the wanted order.
fn ordered_list(
    schema: Option<&Schema>,
    original: &mut Object,
    patch: &mut Object,
    field: &str,
) -> Result<(), Fault> {
    const MALFORMED: &str = "invalid patch format of setElementOrder list";
    let Some(Value::Array(wanted)) = patch.remove(&format!("{SET_ELEMENT_ORDER}{field}")) else {
        return Err(Fault::malformed(MALFORMED));
    };
    let field_schema = schema.and_then(|schema| schema.property(field));
    let key = field_schema.and_then(Schema::patch_merge_key);
    match patch.get(field) {
        None => {}
        Some(Value::Array(patched)) => {
            let changed: Vec<&Value> = patched
                .iter()
                .filter(|item| order::directive(item) != Some("delete"))
                .collect();
            if !order::is_ordered_as(&changed, &wanted, key) {
                return Err(Fault::malformed(&format!(
                    "The order in patch list doesn't match {SET_ELEMENT_ORDER}{field} list"
                )));
            }
        }
        Some(Value::Null) => return Ok(()),
        Some(_) => return Err(Fault::malformed(MALFORMED)),
    }
    let Some(Value::Array(present)) = original.get(field) else {
        return Ok(());
    };
    let present = present.clone();
    let merged = match patch.remove(field) {
        Some(Value::Array(patched)) if merges(field_schema) => {
            merge_lists(field_schema, present.clone(), patched)?
        }
        Some(replaced) => {
            original.insert(field.to_owned(), clean(replaced));
            return Ok(());
        }
        // A value may only leave a list of scalars by the deletion list, which has its turn after the order.
        None => present.clone(),
    };
    let arranged = order::arrange(merged, &wanted, &present, key);
    original.insert(field.to_owned(), Value::Array(arranged));
    Ok(())
}

/// Merges a list that has the merge strategy: scalars by value, objects by the merge key.
fn merge_lists(
    field: Option<&Schema>,
    present: Vec<Value>,
    patch: Vec<Value>,
) -> Result<Vec<Value>, Fault> {
    let mut all = present.iter().chain(&patch);
    let objects = all.clone().filter(|item| item.is_object()).count();
    if all.any(Value::is_array) {
        return Err(Fault::unprocessable(
            "lists of lists are not supported".to_owned(),
        ));
    }
    if objects == 0 {
        let mut merged = present.clone();
        for item in &patch {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return Ok(order::arrange(merged, &patch, &present, None));
    }
    if objects != present.len() + patch.len() {
        return Err(Fault::unprocessable(
            "a list holds objects and other values".to_owned(),
        ));
    }
    let key = field
        .and_then(Schema::patch_merge_key)
        .ok_or_else(|| Fault::unprocessable("cannot merge lists without merge key".to_owned()))?;
    let (mut merged, patch) = directives(present.clone(), patch, key)?;
    let items = field.and_then(Schema::items);
    let mut patched_keys = Vec::with_capacity(patch.len());
    for item in patch {
        let (Some(wanted), Value::Object(item)) = (item.get(key).cloned(), item) else {
            return Err(no_merge_key(key));
        };
        patched_keys.push(Value::Object(Object::from_iter([(
            key.to_owned(),
            wanted.clone(),
        )])));
        let place = merged
            .iter_mut()
            .find(|present| present.get(key) == Some(&wanted));
        match place {
            Some(Value::Object(present)) => {
                let merged = merge_maps(items, std::mem::take(present), item)?;
                *present = merged;
            }
            _ => merged.push(Value::Object(clean_map(item))),
        }
    }
    Ok(order::arrange(merged, &patched_keys, &present, Some(key)))
}

/// Carries out `$patch: delete` and `$patch: replace` of list items, and returns the list and the items without a directive.
fn directives(
    mut present: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Fault> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut replace = false;
    for mut item in patch {
        match item.as_object_mut().and_then(|item| item.remove(PATCH)) {
            None => plain.push(item),
            Some(Value::String(directive)) if directive == "delete" => {
                let wanted = item.get(key).ok_or_else(|| no_merge_key(key))?;
                present.retain(|present| present.get(key) != Some(wanted));
            }
            // Only a directive, as upstream has it: other fields of its item count for nothing.
            Some(Value::String(directive)) if directive == "replace" => replace = true,
            Some(Value::String(directive)) if directive == "merge" => {
                return Err(Fault::unprocessable(
                    "merging lists cannot yet be specified in the patch".to_owned(),
                ));
            }
            Some(other) => {
                return Err(Fault::unprocessable(format!(
                    "unknown patch type: {other} in map"
                )));
            }
        }
    }
    if replace {
        present.clear();
    }
    Ok((present, plain))
}

fn no_merge_key(key: &str) -> Fault {
    Fault::unprocessable(format!("map does not contain declared merge key: {key}"))
}

/// A value as it is stored when there is nothing to merge it with: without directives and nulls.
fn clean(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(clean_map(map)),
        Value::Array(list) => Value::Array(
            list.into_iter()
                .filter(|item| order::directive(item) != Some("delete"))
                .filter(|item| {
                    let only_directive = item.as_object().is_some_and(|item| item.len() == 1);
                    !(only_directive && order::directive(item).is_some())
                })
                .map(clean)
                .collect(),
        ),
        scalar => scalar,
    }
}

fn clean_map(map: Object) -> Object {
    let is_directive = |key: &str| {
        key == PATCH
            || key == RETAIN_KEYS
            || key.starts_with(DELETE_FROM_LIST)
            || key.starts_with(SET_ELEMENT_ORDER)
    };
    map.into_iter()
        .filter(|(key, value)| !is_directive(key) && !value.is_null())
        .map(|(key, value)| (key, clean(value)))
        .collect()
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod recorded;
