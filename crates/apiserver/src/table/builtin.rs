//! Columns and cells of built-in kinds.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::age;
use super::{Definition, name_definition, pod};

/// A column of a built-in kind.
pub(super) struct Column {
    name: &'static str,
    kind: &'static str,
    priority: i32,
    description: &'static str,
}

impl Column {
    pub(super) fn definition(&self) -> Definition {
        if self.name == "Name" && self.priority == 0 {
            return name_definition();
        }
        Definition {
            name: self.name.to_owned(),
            kind: self.kind.to_owned(),
            format: String::new(),
            description: self.description.to_owned(),
            priority: self.priority,
        }
    }
}

const fn column(name: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        priority: 0,
        description,
    }
}

const fn wide(name: &'static str, description: &'static str) -> Column {
    Column {
        priority: 1,
        ..column(name, description)
    }
}

const fn integer(name: &'static str, description: &'static str) -> Column {
    Column {
        kind: "integer",
        ..column(name, description)
    }
}

const NAME: Column = column("Name", "");
const AGE: Column = column("Age", super::AGE_DESCRIPTION);

type Cells = fn(&Value, Timestamp) -> Vec<Value>;

/// Columns and the function that makes a row's cells; `None` for kinds that show name and age only.
pub(super) fn columns(group: &str, kind: &str) -> Option<(&'static [Column], Cells)> {
    let found: (&'static [Column], Cells) = match (group, kind) {
        ("", "ConfigMap") => (CONFIG_MAP, config_map),
        ("" | "events.k8s.io", "Event") => (EVENT, event),
        ("", "Namespace") => (NAMESPACE, namespace),
        ("", "Node") => (NODE, node),
        ("", "PersistentVolumeClaim") => (CLAIM, claim),
        ("", "Pod") => (POD, pod::cells),
        ("", "Secret") => (SECRET, secret),
        ("", "ServiceAccount") => (SERVICE_ACCOUNT, service_account),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => (DEFINITION, definition),
        ("coordination.k8s.io", "Lease") => (LEASE, lease),
        ("scheduling.k8s.io", "PriorityClass") => (PRIORITY_CLASS, priority_class),
        _ => return None,
    };
    Some(found)
}

const CONFIG_MAP: &[Column] = &[
    NAME,
    column("Data", "Number of keys, binary ones too."),
    AGE,
];

fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    let count = fields(object, "/data") + fields(object, "/binaryData");
    vec![name(object), json!(count.to_string()), created(object, now)]
}

const NAMESPACE: &[Column] = &[NAME, column("Status", "Active or Terminating."), AGE];

fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(text(object, "/status/phase")),
        created(object, now),
    ]
}

const SECRET: &[Column] = &[
    NAME,
    column("Type", "What the secret is for."),
    column("Data", "Number of keys."),
    AGE,
];

fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(text(object, "/type")),
        json!(fields(object, "/data").to_string()),
        created(object, now),
    ]
}

const SERVICE_ACCOUNT: &[Column] = &[
    NAME,
    column(
        "Secrets",
        "Number of secrets that pods of this account may use.",
    ),
    AGE,
];

fn service_account(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(array(object, "/secrets").len().to_string()),
        created(object, now),
    ]
}

const LEASE: &[Column] = &[NAME, column("Holder", "Who holds the lease."), AGE];

fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(text(object, "/spec/holderIdentity")),
        created(object, now),
    ]
}

const DEFINITION: &[Column] = &[
    NAME,
    Column {
        kind: "date",
        ..column("Created At", "When the definition was created.")
    },
];

fn definition(object: &Value, _now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(text(object, "/metadata/creationTimestamp")),
    ]
}

const PRIORITY_CLASS: &[Column] = &[
    NAME,
    integer("Value", "The priority itself."),
    Column {
        kind: "boolean",
        ..column(
            "Global-Default",
            "Whether pods without a class get this one.",
        )
    },
    AGE,
    column(
        "PreemptionPolicy",
        "Whether pods of this class may push out others.",
    ),
];

fn priority_class(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        object.get("value").cloned().unwrap_or_else(|| json!(0)),
        json!(object.get("globalDefault") == Some(&Value::Bool(true))),
        created(object, now),
        json!(or(
            text(object, "/preemptionPolicy"),
            "PreemptLowerPriority"
        )),
    ]
}

const NODE: &[Column] = &[
    NAME,
    column("Status", "Whether the node is ready and takes pods."),
    column("Roles", "The node's roles, from its labels."),
    AGE,
    column("Version", "Version of the node's agent."),
    wide("Internal-IP", "Address inside the cluster."),
    wide("External-IP", "Address outside of the cluster."),
    wide("OS-Image", "The operating system."),
    wide("Kernel-Version", "The kernel."),
    wide("Container-Runtime", "What runs the containers."),
];

fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    let ready = array(object, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == "Ready")
        .map(|condition| text(condition, "/status"));
    let mut status = match ready {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| {
        array(object, "/status/addresses")
            .iter()
            .find(|address| text(address, "/type") == kind)
            .map_or("<none>", |address| text(address, "/address"))
    };
    let info = |field: &str| {
        let pointer = format!("/status/nodeInfo/{field}");
        json!(or(text(object, &pointer), "<unknown>"))
    };
    vec![
        name(object),
        json!(status),
        json!(roles(object)),
        created(object, now),
        json!(text(object, "/status/nodeInfo/kubeletVersion")),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn roles(node: &Value) -> String {
    let mut roles = std::collections::BTreeSet::new();
    if let Some(Value::Object(labels)) = node.pointer("/metadata/labels") {
        for (key, value) in labels {
            if let Some(role) = key
                .strip_prefix("node-role.kubernetes.io/")
                .filter(|role| !role.is_empty())
            {
                roles.insert(role.to_owned());
            } else if key == "kubernetes.io/role"
                && let Some(role) = value.as_str().filter(|role| !role.is_empty())
            {
                roles.insert(role.to_owned());
            }
        }
    }
    match roles.is_empty() {
        true => "<none>".to_owned(),
        false => roles.into_iter().collect::<Vec<_>>().join(","),
    }
}

const POD: &[Column] = &[
    NAME,
    column("Ready", "Ready containers, of all containers."),
    column("Status", "The pod's phase, or why it is not running."),
    column("Restarts", "How often its containers were started again."),
    AGE,
    wide("IP", "The pod's address."),
    wide("Node", "The node it is bound to."),
    wide("Nominated Node", "The node that makes room for it."),
    wide("Readiness Gates", "Met readiness gates, of all gates."),
];

const EVENT: &[Column] = &[
    column("Last Seen", "Time since it was last seen."),
    column("Type", "Normal or Warning."),
    column("Reason", "Short, for machines."),
    column("Object", "The object that it is about."),
    wide("Subobject", "The part of the object."),
    wide("Source", "Who reported it."),
    column("Message", "For people."),
    wide("First Seen", "Time since it was first seen."),
    Column {
        kind: "integer",
        ..wide("Count", "How often it was seen.")
    },
    wide("Name", "The event's own name."),
];

/// Both versions of an event: core names first, then those of events.k8s.io.
fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let either = |one: &str, other: &str| -> String {
        or(text(object, one), text(object, other)).to_owned()
    };
    let moment = |pointers: &[&str]| {
        pointers
            .iter()
            .filter_map(|pointer| object.pointer(pointer))
            .find(|value| !value.is_null())
    };
    let first = age(
        moment(&["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"]),
        now,
    );
    let last = match moment(&[
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/deprecatedLastTimestamp",
    ]) {
        None => first.clone(),
        seen => age(seen, now),
    };
    let count = ["/series/count", "/count", "/deprecatedCount"]
        .iter()
        .find_map(|pointer| object.pointer(pointer)?.as_i64())
        .filter(|count| *count > 0)
        .unwrap_or(1);
    let target_name = either("/involvedObject/name", "/regarding/name");
    let target = match either("/involvedObject/kind", "/regarding/kind").to_lowercase() {
        kind if kind.is_empty() => target_name,
        kind => format!("{kind}/{target_name}"),
    };
    let message = either("/message", "/note");
    vec![
        json!(last),
        json!(text(object, "/type")),
        json!(text(object, "/reason")),
        json!(target),
        json!(either("/involvedObject/fieldPath", "/regarding/fieldPath")),
        json!(event_source(object)),
        json!(message.trim()),
        json!(first),
        json!(count),
        name(object),
    ]
}

fn event_source(event: &Value) -> String {
    let component = [
        "/source/component",
        "/deprecatedSource/component",
        "/reportingComponent",
        "/reportingController",
    ]
    .iter()
    .map(|pointer| text(event, pointer))
    .find(|component| !component.is_empty())
    .unwrap_or_default();
    let host = [
        "/source/host",
        "/deprecatedSource/host",
        "/reportingInstance",
    ]
    .iter()
    .map(|pointer| text(event, pointer))
    .find(|host| !host.is_empty());
    match host {
        Some(host) => format!("{component}, {host}"),
        None => component.to_owned(),
    }
}

const CLAIM: &[Column] = &[
    NAME,
    column("Status", "Pending, Bound, Lost or Terminating."),
    column("Volume", "The bound volume."),
    column("Capacity", "Its size."),
    column("Access Modes", "How the volume may be mounted."),
    column("StorageClass", "The class asked for."),
    column("VolumeAttributesClass", "The attributes' class asked for."),
    AGE,
    wide("VolumeMode", "Filesystem or Block."),
];

fn claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let deleting = object
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|time| !time.is_null());
    let volume = text(object, "/spec/volumeName");
    let (capacity, modes) = match volume {
        "" => (String::new(), String::new()),
        _ => (
            match object.pointer("/status/capacity/storage") {
                Some(Value::String(size)) => size.clone(),
                Some(size) => size.to_string(),
                None => String::new(),
            },
            access_modes(array(object, "/status/accessModes")),
        ),
    };
    let class = object
        .pointer("/metadata/annotations/volume.beta.kubernetes.io~1storage-class")
        .and_then(Value::as_str)
        .unwrap_or_else(|| text(object, "/spec/storageClassName"));
    vec![
        name(object),
        json!(if deleting {
            "Terminating"
        } else {
            text(object, "/status/phase")
        }),
        json!(volume),
        json!(capacity),
        json!(modes),
        json!(class),
        json!(or(
            text(object, "/spec/volumeAttributesClassName"),
            "<unset>"
        )),
        created(object, now),
        json!(or(text(object, "/spec/volumeMode"), "<unset>")),
    ]
}

fn access_modes(modes: &[Value]) -> String {
    let known = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let short: Vec<&str> = known
        .iter()
        .filter(|(mode, _)| modes.iter().any(|given| given == mode))
        .map(|(_, short)| *short)
        .collect();
    short.join(",")
}

/// The name of an object, as a cell.
pub(super) fn name(object: &Value) -> Value {
    super::name_cell(object)
}

/// Text at a pointer; empty if there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Items at a pointer; empty if there is no list.
pub(super) fn array<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The first text, or the second if it is empty.
pub(super) fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

fn fields(object: &Value, pointer: &str) -> usize {
    object
        .pointer(pointer)
        .and_then(Value::as_object)
        .map_or(0, serde_json::Map::len)
}

fn created(object: &Value, now: Timestamp) -> Value {
    json!(age(object.pointer("/metadata/creationTimestamp"), now))
}
