//! The four kinds of PATCH: JSON patch, merge patch, strategic merge patch, server-side apply.
//!
//! All are pure: the present object and the request's body go in, the patched object comes out. Who may patch, which fields a
//! kind protects, validation and storing are the caller's.

pub mod apply;
pub mod json;
pub mod merge;
pub mod strategic;

use serde_json::Value;

use crate::status::Status;

/// How large an object may become by a patch, in bytes of its JSON: what a request body may be. Without it a few `copy`
/// operations could double an object until memory ends.
pub const RESULT_LIMIT: usize = 3 * 1024 * 1024;

/// Parses a patch body. A body that is not JSON is a 400.
fn parse(body: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))
}

/// The same value if it is a JSON object, as every Kubernetes object and every merge patch is. Otherwise a 400 that names
/// `what` is wrong.
fn expect_object(value: Value, what: &str) -> Result<Value, Status> {
    if value.is_object() {
        return Ok(value);
    }
    let text = value.to_string();
    let shown: String = text.chars().take(80).collect();
    Err(Status::bad_request(format!(
        "error decoding patch: {what} is not a JSON object: {shown}"
    )))
}

/// Refuses a value whose JSON is longer than [`RESULT_LIMIT`].
fn expect_bounded(value: &Value) -> Result<(), Status> {
    if length(value) > RESULT_LIMIT {
        return Err(Status::too_large(RESULT_LIMIT));
    }
    Ok(())
}

/// How many bytes the value's compact JSON has, without building it.
fn length(value: &Value) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value)
        .expect("counting never fails, and a Value's keys are texts");
    counter.0
}

#[cfg(test)]
mod tests;
