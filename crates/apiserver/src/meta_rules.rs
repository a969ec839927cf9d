//! The rules that `metadata` of every kind obeys.

use serde_json::{Value, json};

use crate::metadata;
use crate::names;
use crate::resource_type::ResourceType;
use crate::status::Cause;

/// The annotations of one object together, keys and values.
const MAXIMUM_ANNOTATION_BYTES: usize = 256 * 1024;

/// What is wrong with the metadata of an object that is to be created or updated.
pub(crate) fn validate(resource: &ResourceType, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if old.is_none() {
        causes.extend(names::name_cause(
            resource.strategy.name_rule,
            metadata::name(object),
        ));
    }
    labels(object, &mut causes);
    annotations(object, &mut causes);
    finalizers(object, old, &mut causes);
    owner_references(object, &mut causes);
    if let Some(old) = old {
        for field in ["name", "namespace"] {
            if metadata::text(object, field) != metadata::text(old, field) {
                let value = Value::from(metadata::text(object, field));
                causes.push(Cause::invalid(
                    format!("metadata.{field}"),
                    &value,
                    "field is immutable",
                ));
            }
        }
    }
    causes
}

fn labels(object: &Value, causes: &mut Vec<Cause>) {
    let Some(labels) = metadata::field(object, "labels") else {
        return;
    };
    let Some(map) = labels.as_object() else {
        if !labels.is_null() {
            causes.push(Cause::type_invalid(
                "metadata.labels",
                labels,
                "must be a map of strings",
            ));
        }
        return;
    };
    for (key, value) in map {
        if let Some(why) = names::qualified_name_fault(key) {
            causes.push(Cause::invalid("metadata.labels", &json!(key), &why));
        }
        match value.as_str() {
            Some(text) => {
                if let Some(why) = names::label_value_fault(text) {
                    causes.push(Cause::invalid("metadata.labels", value, &why));
                }
            }
            None => {
                let field = format!("metadata.labels.{key}");
                causes.push(Cause::type_invalid(field, value, "must be a string"));
            }
        }
    }
}

fn annotations(object: &Value, causes: &mut Vec<Cause>) {
    let Some(annotations) = metadata::field(object, "annotations") else {
        return;
    };
    let Some(map) = annotations.as_object() else {
        if !annotations.is_null() {
            let cause = "must be a map of strings";
            causes.push(Cause::type_invalid(
                "metadata.annotations",
                annotations,
                cause,
            ));
        }
        return;
    };
    let mut bytes = 0;
    for (key, value) in map {
        // Upstream allows upper case in the prefix of annotations.
        if let Some(why) = names::qualified_name_fault(&key.to_ascii_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", &json!(key), &why));
        }
        match value.as_str() {
            Some(text) => bytes += key.len() + text.len(),
            None => {
                let field = format!("metadata.annotations.{key}");
                causes.push(Cause::type_invalid(field, value, "must be a string"));
            }
        }
    }
    if bytes > MAXIMUM_ANNOTATION_BYTES {
        causes.push(Cause::too_long(
            "metadata.annotations",
            MAXIMUM_ANNOTATION_BYTES,
        ));
    }
}

fn finalizers(object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let new = metadata::finalizers(object);
    for finalizer in &new {
        if let Some(why) = names::qualified_name_fault(finalizer) {
            causes.push(Cause::invalid(
                "metadata.finalizers",
                &json!(finalizer),
                &why,
            ));
        }
    }
    if new.contains(&"orphan") && new.contains(&"foregroundDeletion") {
        let why = "finalizer orphan and finalizer foregroundDeletion cannot be both set";
        causes.push(Cause::invalid("metadata.finalizers", &json!(new), why));
    }
    let Some(old) = old.filter(|old| metadata::is_deleting(old)) else {
        return;
    };
    let before = metadata::finalizers(old);
    let added: Vec<&&str> = new.iter().filter(|name| !before.contains(name)).collect();
    if !added.is_empty() {
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers \
             {added:?}"
        );
        causes.push(Cause::forbidden("metadata.finalizers", &why));
    }
}

fn owner_references(object: &Value, causes: &mut Vec<Cause>) {
    let Some(references) = metadata::field(object, "ownerReferences") else {
        return;
    };
    let Some(list) = references.as_array() else {
        if !references.is_null() {
            let why = "must be a list";
            causes.push(Cause::type_invalid(
                "metadata.ownerReferences",
                references,
                why,
            ));
        }
        return;
    };
    let mut controller: Option<&str> = None;
    for (index, reference) in list.iter().enumerate() {
        let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or("");
        for (field, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if text(field).is_empty() {
                let path = format!("metadata.ownerReferences[{index}].{field}");
                causes.push(Cause::invalid(path, &json!(""), why));
            }
        }
        if reference.get("controller") == Some(&Value::Bool(true)) {
            if let Some(first) = controller {
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in \
                     references for {first} and {}",
                    text("name")
                );
                causes.push(Cause::invalid("metadata.ownerReferences", references, &why));
            }
            controller = Some(text("name"));
        }
    }
}

/// Warnings about metadata that is allowed but surely not meant.
pub(crate) fn warnings(object: &Value) -> Vec<String> {
    let Some(list) = metadata::field(object, "ownerReferences").and_then(Value::as_array) else {
        return Vec::new();
    };
    let mut seen = std::collections::BTreeSet::new();
    let twice = list
        .iter()
        .filter_map(|reference| reference.get("uid").and_then(Value::as_str))
        .any(|uid| !seen.insert(uid));
    if twice {
        vec![
            ".metadata.ownerReferences contains duplicate entries, API server dedups owner \
             references in 1.20+, and may reject such requests as early as 1.24; please fix your \
             requests"
                .to_owned(),
        ]
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut causes = Vec::new();
        labels(object, &mut causes);
        annotations(object, &mut causes);
        finalizers(object, old, &mut causes);
        owner_references(object, &mut causes);
        causes.into_iter().map(|cause| cause.field).collect()
    }

    #[test]
    fn bad_metadata_is_named_by_field() {
        for (metadata, expected) in [
            (json!({"labels": {"a": "b"}}), vec![]),
            (json!({"labels": {"a b": "c"}}), vec!["metadata.labels"]),
            (json!({"labels": {"a": 1}}), vec!["metadata.labels.a"]),
            (json!({"annotations": {"Up.io/x": "any text"}}), vec![]),
            (json!({"annotations": "x"}), vec!["metadata.annotations"]),
            (
                json!({"finalizers": ["not a name"]}),
                vec!["metadata.finalizers"],
            ),
            (
                json!({"ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "n"}]}),
                vec!["metadata.ownerReferences[0].uid"],
            ),
        ] {
            assert_eq!(
                fields(&json!({"metadata": metadata}), None),
                expected,
                "{metadata}"
            );
        }
    }

    #[test]
    fn an_object_that_goes_gets_no_new_finalizers() {
        let old = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["a.io/x", "a.io/y"]}});
        let fewer = json!({"metadata": {"finalizers": ["a.io/x"]}});
        assert!(fields(&fewer, Some(&old)).is_empty());
        let more = json!({"metadata": {"finalizers": ["a.io/x", "a.io/z"]}});
        assert_eq!(fields(&more, Some(&old)), ["metadata.finalizers"]);
    }
}
