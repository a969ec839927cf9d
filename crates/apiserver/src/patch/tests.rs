//! Values that the tests of all patches share.

use proptest::prelude::*;
use serde_json::Value;

/// Small JSON objects with few different keys, so that two of them overlap often.
pub(super) fn any_object() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4_i64).prop_map(Value::from),
        "[a-c]".prop_map(Value::from),
    ];
    let value = scalar.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    proptest::collection::btree_map("[a-d]", value, 0..5)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}
