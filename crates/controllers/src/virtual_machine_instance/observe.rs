//! What a look at a VMI's launcher pods shows.

use api::names::labels;
use api::virtual_machine_instance::VirtualMachineInstance;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use kube::{Resource as _, ResourceExt as _};
use std::cmp::Reverse;

/// Whether `vmi` controls `pod`.
pub(super) fn controls(vmi: &VirtualMachineInstance, pod: &Pod) -> bool {
    let uid = vmi.metadata.uid.as_deref().unwrap_or_default();
    pod.owner_references()
        .iter()
        .any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

/// The name of the VMI that controls `pod`.
pub(super) fn owner_name(pod: &Pod) -> Option<&str> {
    let is_vmi = |kind: &str| kind == VirtualMachineInstance::kind(&());
    let owner = pod
        .owner_references()
        .iter()
        .find(|it| it.controller == Some(true) && is_vmi(&it.kind))?;
    Some(&owner.name)
}

/// The selector of the pods of `vmi`.
pub(super) fn selector(vmi: &VirtualMachineInstance) -> String {
    format!(
        "{}={}",
        labels::CREATED_BY,
        vmi.metadata.uid.as_deref().unwrap_or_default()
    )
}

/// The pod that counts: the newest that is not going, else the newest that ever got a node. One that
/// goes without ever having had a node leaves nothing behind.
pub(super) fn current<P: AsRef<Pod>>(pods: &[P]) -> Option<&Pod> {
    pods.iter()
        .map(AsRef::as_ref)
        .filter(|pod| !is_going(pod) || node(pod).is_some())
        .min_by_key(|pod| {
            (
                is_going(pod),
                Reverse(pod.metadata.creation_timestamp.clone()),
                pod.name_any(),
            )
        })
}

/// The node the pod is bound to.
pub(super) fn node(pod: &Pod) -> Option<&str> {
    pod.spec
        .as_ref()?
        .node_name
        .as_deref()
        .filter(|name| !name.is_empty())
}

/// Whether the pod is being deleted.
pub(super) fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether all the pod's containers have ended.
pub(super) fn is_over(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// The pod's phase.
pub(super) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending")
}

/// The pod's condition of a type.
pub(super) fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|it| it.type_ == type_)
}

/// Whether the launcher is up: all containers ready, readiness gates aside.
pub(super) fn is_up(pod: &Pod) -> bool {
    let is_true = |type_| condition(pod, type_).is_some_and(|it| it.status == "True");
    !is_going(pod) && !is_over(pod) && (is_true("ContainersReady") || is_true("Ready"))
}

/// Why an image cannot be had, as kubelet says it: reason and message.
pub(super) fn image_problem(pod: &Pod) -> Option<(&'static str, String)> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let problem = |container: &ContainerStatus| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = match waiting.reason.as_deref()? {
            "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName" => "ErrImagePull",
            "ImagePullBackOff" => "ImagePullBackOff",
            _ => return None,
        };
        Some((reason, waiting.message.clone().unwrap_or_default()))
    };
    init.chain(status.container_statuses.iter().flatten())
        .find_map(problem)
}

/// For how long the pod's containers have been over, as far as it is known.
pub(super) fn over_for(pod: &Pod, now: Timestamp) -> Option<SignedDuration> {
    if !is_over(pod) {
        return None;
    }
    let containers = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let ended = containers
        .filter_map(|it| it.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref())
        .map(|time| time.0)
        .max();
    let since = ended.or_else(|| Some(condition(pod, "Ready")?.last_transition_time.as_ref()?.0));
    let since = since.or_else(|| Some(pod.metadata.creation_timestamp.as_ref()?.0));
    Some(now.duration_since(since.unwrap_or(now)))
}
