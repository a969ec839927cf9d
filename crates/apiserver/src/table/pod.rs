//! The row of a Pod: what of its containers is worth one word.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::age;
use super::builtin::{array, name, or, text};

/// What the containers' statuses amount to.
#[derive(Debug, Default)]
struct Summary {
    reason: String,
    ready: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
    /// Of init containers that run as long as the pod (restartPolicy Always).
    sidecar_restarts: i64,
    sidecar_last_restart: Option<Timestamp>,
}

/// Name, Ready, Status, Restarts, Age; wide: IP, Node, Nominated Node, Readiness Gates.
pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let init_containers = array(pod, "/spec/initContainers");
    let sidecars = init_containers
        .iter()
        .filter(|container| is_sidecar(container))
        .count();
    let total = array(pod, "/spec/containers").len() + sidecars;
    let mut summary = Summary {
        reason: phase_or_reason(pod),
        ..Summary::default()
    };
    let initializing = init_statuses(pod, init_containers, &mut summary);
    if !initializing || condition(pod, "Initialized") == Some("True") {
        container_statuses(pod, &mut summary);
    }
    let phase = text(pod, "/status/phase");
    if pod
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|time| !time.is_null())
    {
        if text(pod, "/status/reason") == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            summary.reason = "Terminating".to_owned();
        }
    }
    let restarts = match (summary.restarts, summary.last_restart) {
        (0, _) | (_, None) => summary.restarts.to_string(),
        (count, Some(last)) => {
            format!(
                "{count} ({} ago)",
                super::human_duration(now.duration_since(last))
            )
        }
    };
    let gates = array(pod, "/spec/readinessGates");
    let met = gates
        .iter()
        .filter(|gate| condition(pod, text(gate, "/conditionType")) == Some("True"))
        .count();
    vec![
        name(pod),
        json!(format!("{}/{total}", summary.ready)),
        json!(summary.reason),
        json!(restarts),
        json!(age(pod.pointer("/metadata/creationTimestamp"), now)),
        json!(or(
            text(pod, "/status/podIPs/0/ip"),
            or(text(pod, "/status/podIP"), "<none>")
        )),
        json!(or(text(pod, "/spec/nodeName"), "<none>")),
        json!(or(text(pod, "/status/nominatedNodeName"), "<none>")),
        match gates.is_empty() {
            true => json!("<none>"),
            false => json!(format!("{met}/{}", gates.len())),
        },
    ]
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "/restartPolicy") == "Always"
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a str> {
    let found = array(pod, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == kind)?;
    Some(text(found, "/status"))
}

fn phase_or_reason(pod: &Value) -> String {
    let gated = array(pod, "/status/conditions").iter().any(|condition| {
        text(condition, "/type") == "PodScheduled"
            && text(condition, "/reason") == "SchedulingGated"
    });
    match gated {
        true => "SchedulingGated".to_owned(),
        false => or(text(pod, "/status/reason"), text(pod, "/status/phase")).to_owned(),
    }
}

/// Goes through the init containers up to the first that is not done; whether there is one.
fn init_statuses(pod: &Value, init_containers: &[Value], summary: &mut Summary) -> bool {
    for (index, status) in array(pod, "/status/initContainerStatuses")
        .iter()
        .enumerate()
    {
        let sidecar = init_containers.iter().any(|container| {
            text(container, "/name") == text(status, "/name") && is_sidecar(container)
        });
        let restarts = number(status, "/restartCount");
        let finished = finished_at(status);
        summary.restarts += restarts;
        summary.last_restart = summary.last_restart.max(finished);
        if sidecar {
            summary.sidecar_restarts += restarts;
            summary.sidecar_last_restart = summary.sidecar_last_restart.max(finished);
        }
        if let Some(terminated) = object(status, "/state/terminated") {
            if number(terminated, "/exitCode") == 0 {
                continue;
            }
            summary.reason = format!("Init:{}", exit_reason(terminated));
        } else if sidecar && status.get("started") == Some(&Value::Bool(true)) {
            if status.get("ready") == Some(&Value::Bool(true)) {
                summary.ready += 1;
            }
            continue;
        } else {
            summary.reason = match text(status, "/state/waiting/reason") {
                "" | "PodInitializing" => format!("Init:{index}/{}", init_containers.len()),
                reason => format!("Init:{reason}"),
            };
        }
        return true;
    }
    false
}

fn container_statuses(pod: &Value, summary: &mut Summary) {
    summary.restarts = summary.sidecar_restarts;
    summary.last_restart = summary.sidecar_last_restart;
    let mut has_running = false;
    for status in array(pod, "/status/containerStatuses").iter().rev() {
        summary.restarts += number(status, "/restartCount");
        summary.last_restart = summary.last_restart.max(finished_at(status));
        let waiting = text(status, "/state/waiting/reason");
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if let Some(terminated) = object(status, "/state/terminated") {
            summary.reason = exit_reason(terminated);
        } else if status.get("ready") == Some(&Value::Bool(true))
            && object(status, "/state/running").is_some()
        {
            has_running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && has_running {
        let ready = condition(pod, "Ready") == Some("True");
        summary.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn exit_reason(terminated: &Value) -> String {
    match (text(terminated, "/reason"), number(terminated, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(terminated, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn finished_at(status: &Value) -> Option<Timestamp> {
    text(status, "/lastState/terminated/finishedAt")
        .parse()
        .ok()
}

fn number(value: &Value, pointer: &str) -> i64 {
    value
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

fn object<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    value.pointer(pointer).filter(|value| value.is_object())
}
