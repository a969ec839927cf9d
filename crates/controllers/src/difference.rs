//! The smallest JSON merge patch that makes one object of another, so that a writer touches only the
//! fields it changed.

use serde::Serialize;
use serde_json::{Map, Value};

/// The patch that leads from `before` to `after`; none if they are equal.
///
/// # Errors
/// Only if one of them has no JSON form, which no API object lacks.
pub(crate) fn merge_patch(
    before: &impl Serialize,
    after: &impl Serialize,
) -> serde_json::Result<Option<Value>> {
    Ok(between(
        &serde_json::to_value(before)?,
        &serde_json::to_value(after)?,
    ))
}

fn between(before: &Value, after: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return Some(after.clone());
    };
    let gone = before
        .keys()
        .filter(|key| !after.contains_key(*key))
        .map(|key| (key.clone(), Value::Null));
    let changed = after.iter().filter_map(|(key, value)| {
        let patch = match before.get(key) {
            // A merge patch cannot say "set to null"; absent and null mean the same in API objects.
            None if value.is_null() => None,
            None => Some(value.clone()),
            Some(before) => between(before, value),
        };
        Some((key.clone(), patch?))
    });
    let patch: Map<String, Value> = gone.chain(changed).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_names_only_what_changed() {
        let cases = [
            (json!({ "a": 1 }), json!({ "a": 1 }), None),
            (
                json!({ "a": 1 }),
                json!({ "a": 2 }),
                Some(json!({ "a": 2 })),
            ),
            (
                json!({ "a": 1, "b": 2 }),
                json!({ "b": 2 }),
                Some(json!({ "a": null })),
            ),
            (json!({}), json!({ "a": null }), None),
            (
                json!({ "a": [1, 2] }),
                json!({ "a": [2] }),
                Some(json!({ "a": [2] })),
            ),
            (
                json!({ "a": { "b": 1, "c": 2 }, "d": 3 }),
                json!({ "a": { "b": 1, "c": 4 }, "d": 3 }),
                Some(json!({ "a": { "c": 4 } })),
            ),
        ];
        for (before, after, patch) in cases {
            assert_eq!(between(&before, &after), patch, "{before} to {after}");
        }
    }
}
