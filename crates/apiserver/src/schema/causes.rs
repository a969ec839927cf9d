//! Texts of field errors that only schemas need, beside those of [`Cause`].

use serde_json::Value;

use crate::status::Cause;

/// The path that errors of `allOf`, `anyOf`, `oneOf` and `not` carry: they name their field in the text.
pub(super) const NO_PATH: &str = "<nil>";

/// Too many items or properties.
pub(super) fn too_many(field: &str, actual: usize, limit: u64) -> Cause {
    let items = if limit == 1 { "item" } else { "items" };
    let message = format!("Too many: {actual}: must have at most {limit} {items}");
    Cause::new("FieldValueTooMany", field, message)
}

/// A string with more letters than allowed.
pub(super) fn too_long(field: &str, limit: u64) -> Cause {
    let message = format!("Too long: may not be more than {limit} bytes");
    Cause::new("FieldValueTooLong", field, message)
}

/// A value that is none of an enum; the supported ones are shown in the schema's order.
pub(super) fn not_in_enum(field: &str, value: &Value, supported: &[Value]) -> Cause {
    let names: Vec<String> = supported
        .iter()
        .map(|supported| match supported {
            Value::String(_) => supported.to_string(),
            other => Value::from(other.to_string()).to_string(),
        })
        .collect();
    let message = format!(
        "Unsupported value: {value}: supported values: {}",
        names.join(", ")
    );
    Cause::new("FieldValueNotSupported", field, message)
}
