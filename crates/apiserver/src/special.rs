//! What is special about a few built-in kinds: defaults and rules that no schema says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::metadata;
use crate::registry::Kind;
use crate::status::Cause;

/// Fills in what the server decides about a new object. `object` is a map.
pub(crate) fn prepare_create(kind: &Kind, object: &mut Value) {
    match names(kind) {
        ("", "namespaces") => {
            object["spec"] = json!({"finalizers": ["kubernetes"]});
            object["status"] = json!({"phase": "Active"});
            name_label(object);
        }
        ("", "pods") => pod_defaults(object),
        ("", "secrets") => secret_defaults(object),
        ("", "persistentvolumeclaims") => {
            object["status"] = json!({"phase": "Pending"});
            default(&mut object["spec"], "volumeMode", "Filesystem");
        }
        _ => {}
    }
}

/// Fills in what the server decides about a changed object.
pub(crate) fn prepare_update(kind: &Kind, object: &mut Value, old: &Value) {
    match names(kind) {
        ("", "namespaces") => {
            // Only the sub-resource `finalize` changes these.
            object["spec"] = old.get("spec").cloned().unwrap_or_else(|| json!({}));
            name_label(object);
        }
        ("", "pods") => pod_spec_defaults(object),
        ("", "secrets") => secret_defaults(object),
        _ => {}
    }
}

/// What is wrong with an object beyond its schema and its metadata.
pub(crate) fn validate(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    match names(kind) {
        ("", "configmaps") => {
            let mut causes = data_keys(object, &["data", "binaryData"]);
            causes.extend(immutable_data(object, old, &["data", "binaryData"]));
            causes
        }
        ("", "secrets") => secret(object, old),
        ("", "pods") => pod(object, old),
        ("", "persistentvolumeclaims") => claim(object, old),
        ("coordination.k8s.io", "leases") => lease(object),
        ("scheduling.k8s.io", "priorityclasses") => priority_class(object, old),
        _ => Vec::new(),
    }
}

fn names(kind: &Kind) -> (&str, &str) {
    (&kind.resource.group, &kind.resource.names.plural)
}

fn name_label(object: &mut Value) {
    let name = metadata::name(object).to_owned();
    let labels = metadata::of(object)
        .entry("labels")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Some(labels) = labels.as_object_mut() {
        labels.insert("kubernetes.io/metadata.name".to_owned(), Value::from(name));
    }
}

/// Sets `field` of a map unless it is there. What is no map is left to validation.
fn default(map: &mut Value, field: &str, value: impl Into<Value>) {
    if map.is_null() {
        *map = json!({});
    }
    if let Some(map) = map.as_object_mut() {
        let entry = map.entry(field).or_insert(Value::Null);
        if entry.is_null() {
            *entry = value.into();
        }
    }
}

fn pod_defaults(object: &mut Value) {
    pod_spec_defaults(object);
    object["status"] = json!({"phase": "Pending", "qosClass": qos_class(object)});
}

fn pod_spec_defaults(object: &mut Value) {
    let spec = &mut object["spec"];
    default(spec, "restartPolicy", "Always");
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "enableServiceLinks", true);
    default(spec, "securityContext", json!({}));
    default(spec, "serviceAccountName", "default");
    for list in ["initContainers", "containers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for container in containers
            .iter_mut()
            .filter(|container| container.is_object())
        {
            let image = container.get("image").and_then(Value::as_str).unwrap_or("");
            let moving = image.ends_with(":latest")
                || !image.rsplit('/').next().unwrap_or("").contains([':', '@']);
            default(
                container,
                "imagePullPolicy",
                if moving { "Always" } else { "IfNotPresent" },
            );
            default(container, "terminationMessagePath", "/dev/termination-log");
            default(container, "terminationMessagePolicy", "File");
            default(container, "resources", json!({}));
            if let Some(resources) = container.get_mut("resources") {
                requests_from_limits(resources);
            }
            let ports = container.get_mut("ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten() {
                default(port, "protocol", "TCP");
            }
        }
    }
}

/// As upstream, a limit without a request is also the request.
fn requests_from_limits(resources: &mut Value) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else {
        return;
    };
    for (name, value) in limits {
        default(&mut resources["requests"], &name, value);
    }
}

fn qos_class(object: &Value) -> &'static str {
    let containers: Vec<&Value> = ["initContainers", "containers"]
        .iter()
        .filter_map(|list| object["spec"].get(*list).and_then(Value::as_array))
        .flatten()
        .collect();
    let quantity =
        |container: &Value, kind: &str, name: &str| container["resources"][kind].get(name).cloned();
    let any = containers.iter().any(|container| {
        ["requests", "limits"].iter().any(|kind| {
            ["cpu", "memory"]
                .iter()
                .any(|name| quantity(container, kind, name).is_some())
        })
    });
    let full = containers.iter().all(|container| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = quantity(container, "limits", name);
            limit.is_some() && limit == quantity(container, "requests", name)
        })
    });
    match (any, full) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn secret_defaults(object: &mut Value) {
    default(object, "type", "Opaque");
    let Some(plain) = object
        .as_object_mut()
        .and_then(|map| map.remove("stringData"))
    else {
        return;
    };
    for (key, value) in plain.as_object().into_iter().flatten() {
        if object["data"].is_null() {
            object["data"] = json!({});
        }
        if let (Some(text), Some(data)) = (value.as_str(), object["data"].as_object_mut()) {
            data.insert(key.clone(), Value::from(STANDARD.encode(text)));
        }
    }
}

fn data_keys(object: &Value, maps: &[&str]) -> Vec<Cause> {
    let mut causes = Vec::new();
    for map in maps {
        for key in object
            .get(*map)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
        {
            let good = !key.is_empty()
                && key.len() <= 253
                && key != "."
                && !key.starts_with("..")
                && key
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if !good {
                causes.push(Cause::invalid(
                    format!("{map}[{key}]"),
                    &json!(key),
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' \
                     (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation \
                     is '[-._a-zA-Z0-9]+')",
                ));
            }
        }
    }
    causes
}

/// An absent map and an empty one are the same.
fn same(one: Option<&Value>, two: Option<&Value>) -> bool {
    let empty = |value: &&Value| !(value.is_null() || value.as_object().is_some_and(Map::is_empty));
    one.filter(empty) == two.filter(empty)
}

fn immutable_data(object: &Value, old: Option<&Value>, maps: &[&str]) -> Vec<Cause> {
    let Some(old) = old.filter(|old| old.get("immutable") == Some(&Value::Bool(true))) else {
        return Vec::new();
    };
    let why = "field is immutable when `immutable` is set";
    let mut causes = Vec::new();
    if object.get("immutable") != Some(&Value::Bool(true)) {
        causes.push(Cause::forbidden("immutable", why));
    }
    for map in maps {
        if !same(object.get(*map), old.get(*map)) {
            causes.push(Cause::forbidden(*map, why));
        }
    }
    causes
}

fn secret(object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = data_keys(object, &["data"]);
    for (key, value) in object
        .get("data")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let good = value.is_null()
            || value
                .as_str()
                .is_some_and(|text| STANDARD.decode(text).is_ok());
        if !good {
            causes.push(Cause::invalid(
                format!("data[{key}]"),
                &json!("<the value is not shown>"),
                "must be base64; use stringData for plain text",
            ));
        }
    }
    causes.extend(immutable_data(object, old, &["data"]));
    if let Some(old) = old
        && old.get("type") != object.get("type")
    {
        let value = object.get("type").cloned().unwrap_or_default();
        causes.push(Cause::invalid("type", &value, "field is immutable"));
    }
    causes
}

/// A pod's spec with everything that an update may change taken out.
fn fixed_pod_spec(object: &Value) -> Value {
    let mut spec = object.get("spec").cloned().unwrap_or_default();
    for list in ["initContainers", "containers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(container) = container.as_object_mut() {
                container.remove("image");
            }
        }
    }
    if let Some(spec) = spec.as_object_mut() {
        for field in [
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
        ] {
            spec.remove(field);
        }
        // Gates may be taken away; that none is added is the scheduler's concern upstream.
        spec.remove("schedulingGates");
    }
    spec
}

fn pod(object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let containers = object["spec"].get("containers").and_then(Value::as_array);
    if containers.is_none_or(Vec::is_empty) {
        causes.push(Cause::required("spec.containers", ""));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (index, container) in containers.into_iter().flatten().enumerate() {
        match container.get("name").and_then(Value::as_str) {
            None | Some("") => {
                causes.push(Cause::required(
                    format!("spec.containers[{index}].name"),
                    "",
                ));
            }
            Some(name) if !seen.insert(name) => {
                let field = format!("spec.containers[{index}].name");
                causes.push(Cause::duplicate(field, &json!(name)));
            }
            Some(_) => {}
        }
    }
    if let Some(old) = old
        && fixed_pod_spec(object) != fixed_pod_spec(old)
    {
        causes.push(Cause::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,\
             `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
             additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to \
             be set to 1 if it was previously negative)",
        ));
    }
    causes
}

fn claim(object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &object["spec"];
    if spec
        .get("accessModes")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty)
    {
        causes.push(Cause::required(
            "spec.accessModes",
            "at least 1 access mode is required",
        ));
    }
    if spec["resources"]["requests"].get("storage").is_none() {
        causes.push(Cause::required("spec.resources[storage]", ""));
    }
    let fixed = |object: &Value| {
        let mut spec = object.get("spec").cloned().unwrap_or_default();
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("resources");
            spec.remove("volumeAttributesClassName");
        }
        spec
    };
    if let Some(old) = old {
        // A claim may be bound to a volume once.
        let mut before = fixed(old);
        let after = fixed(object);
        if before.get("volumeName").is_none()
            && let (Some(before), Some(name)) = (before.as_object_mut(), after.get("volumeName"))
        {
            before.insert("volumeName".to_owned(), name.clone());
        }
        if before != after {
            causes.push(Cause::forbidden(
                "spec",
                "spec is immutable after creation except resources.requests and \
                 volumeAttributesClassName for bound claims",
            ));
        }
    }
    causes
}

fn lease(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let seconds = &object["spec"]["leaseDurationSeconds"];
    if seconds.as_i64().is_some_and(|seconds| seconds <= 0) {
        let field = "spec.leaseDurationSeconds";
        causes.push(Cause::invalid(field, seconds, "must be greater than 0"));
    }
    let transitions = &object["spec"]["leaseTransitions"];
    if transitions.as_i64().is_some_and(|count| count < 0) {
        let why = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.leaseTransitions", transitions, why));
    }
    causes
}

fn priority_class(object: &Value, old: Option<&Value>) -> Vec<Cause> {
    match old {
        Some(old) if old.get("value") != object.get("value") => {
            vec![Cause::forbidden(
                "value",
                "may not be changed in an update.",
            )]
        }
        _ => Vec::new(),
    }
}
