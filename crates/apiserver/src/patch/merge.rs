//! JSON merge patch (RFC 7386): null removes, objects merge, everything else (lists too) replaces.

use serde_json::Value;

use super::{expect_bounded, expect_object, parse};
use crate::status::Status;

/// The content type of these bodies.
pub const CONTENT_TYPE: &str = "application/merge-patch+json";

/// `object` with the merge patch `body` applied.
///
/// # Errors
/// 400 if the body is not a JSON object, 413 if the result is longer than [`super::RESULT_LIMIT`].
pub fn apply(object: &Value, body: &[u8]) -> Result<Value, Status> {
    let patch = expect_object(parse(body)?, "the patch")?;
    let mut patched = object.clone();
    json_patch::merge(&mut patched, &patch);
    expect_bounded(&patched)?;
    Ok(patched)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::tests::any_object;
    use super::*;

    #[test]
    fn null_removes_objects_merge_and_lists_are_replaced() {
        for (object, patch, expected) in [
            (json!({"a": 1, "b": 2}), json!({"a": null}), json!({"b": 2})),
            (
                json!({"a": {"b": 1}}),
                json!({"a": {"c": 2}}),
                json!({"a": {"b": 1, "c": 2}}),
            ),
            (json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]})),
            (
                json!({"a": 1}),
                json!({"a": {"b": null, "c": 1}}),
                json!({"a": {"c": 1}}),
            ),
            (
                json!({}),
                json!({"a": {"b": {"c": null}}}),
                json!({"a": {"b": {}}}),
            ),
        ] {
            assert_eq!(
                apply(&object, patch.to_string().as_bytes()),
                Ok(expected),
                "{object} {patch}"
            );
        }
    }

    #[test]
    fn a_body_that_is_no_object_is_a_bad_request() {
        for body in ["", "{", "[]", "3", "null"] {
            let status = apply(&json!({"a": 1}), body.as_bytes()).expect_err("must be refused");
            assert_eq!(
                (status.code, status.reason.as_ref()),
                (400, "BadRequest"),
                "{body}"
            );
            assert!(
                status.message.starts_with("error decoding patch: "),
                "{}",
                status.message
            );
        }
    }

    proptest! {
        #[test]
        fn the_empty_patch_changes_nothing(object in any_object()) {
            prop_assert_eq!(apply(&object, b"{}"), Ok(object));
        }

        #[test]
        fn patching_twice_is_patching_once(object in any_object(), patch in any_object()) {
            let patch = patch.to_string();
            let once = apply(&object, patch.as_bytes()).expect("an object");
            prop_assert_eq!(apply(&once, patch.as_bytes()), Ok(once));
        }
    }
}
