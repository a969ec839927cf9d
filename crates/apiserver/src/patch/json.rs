//! JSON patch (RFC 6902): a list of operations, all of which apply or none.

use json_patch::{PatchOperation, patch_unsafe};
use serde_json::Value;

use super::{RESULT_LIMIT, expect_bounded, expect_object, length, parse};
use crate::status::{Cause, Status};

/// The content type of these bodies.
pub const CONTENT_TYPE: &str = "application/json-patch+json";

/// How many operations one patch may have: upstream's bound.
pub const OPERATION_LIMIT: usize = 10_000;

/// `object` with the operations in `body` applied, in order.
///
/// # Errors
/// 400 if the body is not a list of operations or the result is not an object; 413 for more than [`OPERATION_LIMIT`]
/// operations or a result longer than [`super::RESULT_LIMIT`]; 422 if a `test` fails or a path does not exist.
pub fn apply(object: &Value, body: &[u8]) -> Result<Value, Status> {
    let Value::Array(operations) = parse(body)? else {
        return Err(Status::bad_request(
            "error decoding patch: a JSON patch is a list of operations: [{\"op\": ...}]",
        ));
    };
    if operations.len() > OPERATION_LIMIT {
        return Err(Status::new(
            413,
            "RequestEntityTooLarge",
            format!(
                "Request entity too large: The allowed maximum operations in a JSON patch is {OPERATION_LIMIT}, got {}",
                operations.len()
            ),
        ));
    }
    let mut patched = object.clone();
    let mut copied = 0;
    for (index, operation) in operations.into_iter().enumerate() {
        let operation: PatchOperation = serde_json::from_value(operation).map_err(|error| {
            Status::bad_request(format!("error decoding patch: operation {index}: {error}"))
        })?;
        // Copies are counted one by one: ten thousand of them could double a value each.
        if let PatchOperation::Copy(copy) = &operation {
            copied += copy.from.resolve(&patched).map_or(0, length);
            if copied > RESULT_LIMIT {
                return Err(Status::too_large(RESULT_LIMIT));
            }
        }
        // A failure leaves `patched` half done, and it is dropped: `patch_unsafe` need not undo.
        patch_unsafe(&mut patched, std::slice::from_ref(&operation))
            .map_err(|error| does_not_apply(index, &operation, &error.kind.to_string()))?;
    }
    let patched = expect_object(patched, "the patched object")?;
    expect_bounded(&patched)?;
    Ok(patched)
}

/// Upstream says only that the request has an error; the cause says which operation and why.
fn does_not_apply(index: usize, operation: &PatchOperation, why: &str) -> Status {
    let path = operation.path().to_string();
    let cause = Cause::new(
        "FieldValueInvalid",
        path,
        format!("operation {index} of the JSON patch: {why}"),
    );
    Status::new(
        422,
        "Invalid",
        "the server rejected our request due to an error in our request",
    )
    .with_causes(vec![cause])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::tests::any_object;
    use super::*;

    fn patched(object: &Value, patch: &Value) -> Result<Value, Status> {
        apply(object, patch.to_string().as_bytes())
    }

    #[test]
    fn all_six_operations_and_both_escapes_work() {
        let object = json!({"a": {"b": [1, 2]}, "m~n": 1, "x/y": 2});
        for (operation, expected) in [
            (
                json!({"op": "add", "path": "/a/b/-", "value": 3}),
                json!({"a": {"b": [1, 2, 3]}, "m~n": 1, "x/y": 2}),
            ),
            (
                json!({"op": "add", "path": "/a/b/0", "value": 0}),
                json!({"a": {"b": [0, 1, 2]}, "m~n": 1, "x/y": 2}),
            ),
            (
                json!({"op": "remove", "path": "/m~0n"}),
                json!({"a": {"b": [1, 2]}, "x/y": 2}),
            ),
            (
                json!({"op": "replace", "path": "/x~1y", "value": null}),
                json!({"a": {"b": [1, 2]}, "m~n": 1, "x/y": null}),
            ),
            (
                json!({"op": "move", "from": "/a/b", "path": "/c"}),
                json!({"a": {}, "c": [1, 2], "m~n": 1, "x/y": 2}),
            ),
            (
                json!({"op": "copy", "from": "/a/b/1", "path": "/a/c"}),
                json!({"a": {"b": [1, 2], "c": 2}, "m~n": 1, "x/y": 2}),
            ),
            (
                json!({"op": "test", "path": "/a/b", "value": [1, 2]}),
                object.clone(),
            ),
        ] {
            assert_eq!(
                patched(&object, &json!([operation])),
                Ok(expected),
                "{operation}"
            );
        }
    }

    #[test]
    fn what_does_not_apply_is_a_422_that_names_the_operation() {
        let object = json!({"a": {"b": 1}});
        for operation in [
            json!({"op": "test", "path": "/a/b", "value": 2}),
            json!({"op": "remove", "path": "/nope"}),
            json!({"op": "replace", "path": "/a/nope", "value": 1}),
            json!({"op": "add", "path": "/nope/x", "value": 1}),
            json!({"op": "copy", "from": "/nope", "path": "/x"}),
            json!({"op": "move", "from": "/nope", "path": "/x"}),
        ] {
            let status = patched(
                &object,
                &json!([{"op": "add", "path": "/x", "value": 1}, operation]),
            )
            .expect_err("must be refused");
            assert_eq!(
                (status.code, status.reason.as_ref()),
                (422, "Invalid"),
                "{operation}"
            );
            assert_eq!(
                status.message,
                "the server rejected our request due to an error in our request"
            );
            let details = status.details.expect("details");
            assert_eq!(
                details.causes[0].field,
                operation["path"].as_str().expect("a path")
            );
            assert!(
                details.causes[0].message.starts_with("operation 1 of"),
                "{details:?}"
            );
        }
    }

    #[test]
    fn bodies_that_are_no_patch_are_bad_requests() {
        for body in [
            "",
            "{}",
            "[1]",
            r#"[{"op":"jump","path":"/a"}]"#,
            r#"[{"op":"add","path":"a","value":1}]"#,
            r#"[{"op":"add","path":"","value":[]}]"#,
        ] {
            let status = apply(&json!({"a": 1}), body.as_bytes()).expect_err("must be refused");
            assert_eq!(status.code, 400, "{body}: {status}");
        }
    }

    #[test]
    fn too_many_operations_and_ever_growing_copies_are_refused() {
        let test = json!({"op": "test", "path": "/a", "value": 1});
        let object = json!({"a": 1});
        assert!(patched(&object, &json!(vec![test.clone(); OPERATION_LIMIT])).is_ok());
        let status =
            patched(&object, &json!(vec![test; OPERATION_LIMIT + 1])).expect_err("too many");
        assert_eq!(status.code, 413);
        let double = json!({"op": "copy", "from": "", "path": "/b"});
        let status = patched(&json!({"a": "x".repeat(1000)}), &json!(vec![double; 100]))
            .expect_err("too large");
        assert_eq!(status.code, 413);
    }

    proptest! {
        #[test]
        fn a_copied_value_equals_its_source(object in any_object()) {
            let patch = json!([{"op": "add", "path": "/new", "value": object}, {"op": "copy", "from": "/new", "path": "/other"}]);
            let result = patched(&object, &patch).expect("applies");
            prop_assert_eq!(&result["other"], &object);
        }

        #[test]
        fn arbitrary_bodies_never_panic(body in "\\PC{0,60}") {
            let _ = apply(&json!({"a": [1]}), body.as_bytes());
        }
    }
}
