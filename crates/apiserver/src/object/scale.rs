//! The `scale` sub-resource: an `autoscaling/v1` Scale that reads and writes fields of an object.

use serde_json::{Value, json};

use crate::metadata;
use crate::registry::Kind;
use crate::status::{Cause, Status};

/// The Scale of an object.
///
/// # Errors
/// 404 when the kind has no such sub-resource.
pub(crate) fn of(kind: &Kind, object: &Value) -> Result<Value, Status> {
    let scale = kind
        .resource
        .strategy
        .scale
        .as_ref()
        .ok_or_else(Status::no_such_resource)?;
    let number = |path: &str| pointer(object, path).and_then(Value::as_i64).unwrap_or(0);
    let selector = scale
        .label_selector_path
        .as_deref()
        .and_then(|path| pointer(object, path))
        .and_then(Value::as_str)
        .unwrap_or("");
    let mut status = json!({"replicas": number(&scale.status_replicas_path)});
    if !selector.is_empty() {
        status["selector"] = json!(selector);
    }
    let mut own = json!({});
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = metadata::field(object, field) {
            own[field] = value.clone();
        }
    }
    Ok(json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": own,
        "spec": {"replicas": number(&scale.spec_replicas_path)},
        "status": status,
    }))
}

/// Writes the wanted count of a Scale back into the object.
///
/// # Errors
/// 422 when the count is missing, negative or no number; 409 when the Scale's version is stale.
pub(crate) fn write_back(kind: &Kind, mut object: Value, scale: &Value) -> Result<Value, Status> {
    let paths = kind
        .resource
        .strategy
        .scale
        .as_ref()
        .ok_or_else(Status::no_such_resource)?;
    let name = metadata::name(&object).to_owned();
    let asked = metadata::resource_version(scale);
    if !asked.is_empty() && asked != metadata::resource_version(&object) {
        let resource = &kind.resource;
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        return Err(Status::conflict(
            &resource.group,
            &resource.names.plural,
            &name,
            why,
        ));
    }
    let replicas = scale["spec"]
        .get("replicas")
        .cloned()
        .unwrap_or_else(|| json!(0));
    if replicas
        .as_i64()
        .is_none_or(|count| !(0..=i64::from(i32::MAX)).contains(&count))
    {
        let why = "should be a non-negative integer";
        let cause = Cause::invalid("spec.replicas", &replicas, why);
        return Err(Status::invalid("autoscaling", "Scale", &name, vec![cause]));
    }
    let mut at = &mut object;
    for segment in segments(&paths.spec_replicas_path) {
        if !at[segment].is_object() && !at[segment].is_number() {
            at[segment] = json!({});
        }
        at = &mut at[segment];
    }
    *at = replicas;
    Ok(object)
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|segment| !segment.is_empty())
}

fn pointer<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    segments(path).try_fold(object, |value, segment| value.get(segment))
}
