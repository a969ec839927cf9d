//! Random pods and patches whose outcomes were recorded from kubectl, which carries upstream's strategic merge. See
//! `tests/golden/strategic/README.md`.

use std::path::Path;

use serde_json::{Map, Value};

use super::apply;
use crate::builtin_schema;

/// As a server stores it. kubectl leaves nulls and directives in new list items, and items of new lists that are only there to be
/// deleted.
fn stored(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map
                .iter()
                .filter(|(name, value)| !value.is_null() && !name.starts_with('$'));
            let kept = kept.map(|(name, value)| (name.clone(), stored(value)));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(list) => Value::Array(
            list.iter()
                .filter(|item| item["$patch"] != "delete")
                .map(stored)
                .collect(),
        ),
        scalar => scalar.clone(),
    }
}

#[test]
fn pods_are_patched_as_kubectl_patches_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/strategic/patches.jsonl");
    let text = std::fs::read_to_string(&path).expect("the recorded patches");
    let schema = builtin_schema::schema("", "v1", "Pod").expect("pods are built in");
    let mut count = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let patched = apply(
            &schema,
            &case["object"],
            case["patch"].to_string().as_bytes(),
        );
        let patched = patched.unwrap_or_else(|status| panic!("{status}\n{case:#}"));
        assert_eq!(stored(&patched), stored(&case["result"]), "{case:#}");
        count += 1;
    }
    assert!(count >= 100, "only {count} recorded patches");
}
