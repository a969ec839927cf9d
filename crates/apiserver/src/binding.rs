//! `pods/binding`: giving a pod its node, once.

use serde_json::{Value, json};

use crate::metadata;
use crate::object::update::{Change, update};
use crate::object::{Outcome, Write};
use crate::status::{Cause, Status};

/// Binds the pod `name` as the Binding says.
///
/// # Errors
/// 422 when the target is no node; 404 when there is no such pod; 409 when it is bound already or
/// on its way out.
pub(crate) async fn bind(
    write: &Write<'_>,
    name: &str,
    binding: &Value,
) -> Result<Outcome, Status> {
    let target = &binding["target"];
    let kind = target["kind"].as_str().unwrap_or("");
    let node = target["name"].as_str().unwrap_or("").to_owned();
    let mut causes = Vec::new();
    if !kind.is_empty() && kind != "Node" {
        causes.push(Cause::not_supported(
            "target.kind",
            &json!(kind),
            &["Node", "<empty>"],
        ));
    }
    if node.is_empty() {
        causes.push(Cause::required("target.name", ""));
    }
    if !causes.is_empty() {
        return Err(Status::invalid("", "Binding", name, causes));
    }
    let asked_uid = metadata::uid(binding).to_owned();
    let now = metadata::time(write.server.now());
    let change = |mut pod: Value| {
        let conflict = |why: String| Err(write.conflict(name, &why));
        if !asked_uid.is_empty() && asked_uid != metadata::uid(&pod) {
            return conflict(format!(
                "Precondition failed: UID in precondition: {asked_uid}, UID in object meta: {}",
                metadata::uid(&pod)
            ));
        }
        if metadata::is_deleting(&pod) {
            return conflict(format!(
                "pod {name} is being deleted, cannot be assigned to a host"
            ));
        }
        if let Some(present) = pod["spec"]["nodeName"]
            .as_str()
            .filter(|node| !node.is_empty())
        {
            return conflict(format!(
                "pod {name} is already assigned to node \"{present}\""
            ));
        }
        pod["spec"]["nodeName"] = json!(node);
        for (key, value) in binding["metadata"]["annotations"]
            .as_object()
            .into_iter()
            .flatten()
        {
            pod["metadata"]["annotations"][key] = value.clone();
        }
        let scheduled =
            json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now});
        if !pod["status"]["conditions"].is_array() {
            pod["status"]["conditions"] = json!([]);
        }
        if let Some(conditions) = pod["status"]["conditions"].as_array_mut() {
            conditions.retain(|condition| condition["type"] != "PodScheduled");
            conditions.push(scheduled);
        }
        Ok(pod)
    };
    update(write, name, Change::With(&change)).await
}
