//! The patches of a restore: JSON patch operations, each a text of its own.

use json_patch::{PatchOperation, patch_unsafe};
use serde_json::Value;

/// The most patches of one restore: KubeVirt's own clones write a handful.
pub const MOST: usize = 256;

/// Where a patch may change something, as in KubeVirt.
const PLACES: [&str; 3] = ["/spec/", "/metadata/labels/", "/metadata/annotations/"];

/// The operation that `text` is.
///
/// # Errors
/// What is wrong with it.
pub fn read(text: &str) -> Result<PatchOperation, String> {
    let operation: PatchOperation = serde_json::from_str(text)
        .map_err(|error| format!("{text} is no operation of a JSON patch: {error}"))?;
    match operation {
        PatchOperation::Move(_) | PatchOperation::Copy(_) => {
            return Err(format!(
                "{text}: move and copy are not served; use add, remove, replace or test"
            ));
        }
        PatchOperation::Add(_)
        | PatchOperation::Remove(_)
        | PatchOperation::Replace(_)
        | PatchOperation::Test(_) => {}
    }
    let path = operation.path().to_string();
    if PLACES.iter().any(|place| path.starts_with(place)) {
        Ok(operation)
    } else {
        Err(format!(
            "patching is valid only for elements under /spec/ only: {text}"
        ))
    }
}

/// `machine`, a virtual machine, with `patches` applied in order.
///
/// # Errors
/// The patch that is wrong or does not fit, and why.
pub fn apply(machine: &Value, patches: &[String]) -> Result<Value, String> {
    let mut patched = machine.clone();
    for text in patches {
        let operation = read(text)?;
        // A failure leaves `patched` half done, and it is dropped.
        patch_unsafe(&mut patched, std::slice::from_ref(&operation))
            .map_err(|error| format!("spec.patches: {text} does not apply: {}", error.kind))?;
    }
    Ok(patched)
}
