//! The last steps that create, update and delete share.

use serde_json::Value;
use tokio::sync::MutexGuard;

use crate::managed_fields;
use crate::object::Write;
use crate::status::Status;

/// Records who owns the fields that a write (other than apply) has set.
pub(crate) fn own_fields(write: &Write<'_>, old: Option<&Value>, object: &mut Value) {
    let api_version = write.kind.resource.api_version();
    managed_fields::record_update(managed_fields::Update {
        schema: &write.kind.schema,
        old,
        new: object,
        manager: &write.options.manager,
        api_version: &api_version,
        subresource: write.subresource,
        has_status_subresource: write.kind.resource.strategy.status,
        now: write.server.now(),
    });
}

/// Writes of definitions happen one after the other, since each looks at the names of all others.
pub(crate) async fn lock_definitions<'a>(write: &Write<'a>) -> Option<MutexGuard<'a, ()>> {
    if crate::crd::is_definition(write.kind) {
        Some(write.server.definitions.lock().await)
    } else {
        None
    }
}

/// What must follow an acknowledged write before it is answered: a changed definition of a kind is
/// served at once.
pub(crate) fn after_write(write: &Write<'_>) -> Result<(), Status> {
    if crate::crd::is_definition(write.kind) {
        write.server.reload()?;
    }
    Ok(())
}

/// Whether two states of an object are the same but for resource version and the times of managed
/// fields.
pub(crate) fn is_same(one: &Value, two: &Value) -> bool {
    let (Some(one), Some(two)) = (one.as_object(), two.as_object()) else {
        return one == two;
    };
    let body = |map: &serde_json::Map<String, Value>, other: &serde_json::Map<String, Value>| {
        map.iter()
            .all(|(key, value)| key == "metadata" || other.get(key) == Some(value))
    };
    body(one, two)
        && body(two, one)
        && plain_metadata(one.get("metadata")) == plain_metadata(two.get("metadata"))
}

fn plain_metadata(value: Option<&Value>) -> Option<Value> {
    let mut value = value.cloned()?;
    let map = value.as_object_mut()?;
    map.remove("resourceVersion");
    // Absent and empty are the same for these.
    for field in [
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "managedFields",
    ] {
        let empty = match map.get(field) {
            Some(Value::Object(fields)) => fields.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Null) => true,
            _ => false,
        };
        if empty {
            map.remove(field);
        }
    }
    if let Some(entries) = map.get_mut("managedFields").and_then(Value::as_array_mut) {
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::is_same;
    use serde_json::json;

    #[test]
    fn versions_and_times_of_ownership_make_no_difference() {
        let one = json!({"data": {"a": "1"}, "metadata": {"name": "n", "resourceVersion": "1",
            "labels": {}, "managedFields": [{"manager": "m", "time": "t1"}]}});
        let mut two = json!({"data": {"a": "1"}, "metadata": {"name": "n", "resourceVersion": "2",
            "managedFields": [{"manager": "m", "time": "t2"}]}});
        assert!(is_same(&one, &two));
        two["metadata"]["managedFields"][0]["manager"] = json!("k");
        assert!(!is_same(&one, &two));
        let more = json!({"data": {"a": "1"}, "x": 1, "metadata": one["metadata"]});
        assert!(!is_same(&one, &more) && !is_same(&more, &one));
    }
}
