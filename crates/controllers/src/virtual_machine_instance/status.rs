//! What a VMI says of its pod, and of the accelerator it would get today.

use super::decide::Seen;
use super::elsewhere::Hardware;
use super::{observe, placement};
use crate::event::Fact;
use crate::schedule;
use api::accelerator::{self, Accelerator, Decision, Isolation, NodeFacts, Refusal};
use api::condition::{self, Condition};
use api::names::conditions::{
    self, ACCELERATOR_OUTDATED, EMULATION_ISOLATION, HARDWARE_FREE_ELSEWHERE,
};
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

/// On a VMI that waits for a node because of hardware virtualization: why, and what would help.
pub const ACCELERATOR_AVAILABLE: &str = "AcceleratorAvailable";

/// Why emulated guests of several owners on one node are worth a word.
const NOT_A_SECURITY_BOUNDARY: &str = "TCGNotASecurityBoundary";
/// Why one of them waits instead.
const MULTI_TENANCY_DENIED: &str = "MultiTenancyDenied";

const READY: &str = "Ready";
const PAUSED: &str = "Paused";
const POD_SCHEDULED: &str = "PodScheduled";
const SYNCHRONIZED: &str = "Synchronized";

/// The reasons for which this controller sets `Synchronized`; other ones are the node's.
const OWN_REASONS: [&str; 3] = ["FailedCreate", "ErrImagePull", "ImagePullBackOff"];

/// The phase, where one not yet admitted counts as pending.
pub(super) fn phase(vmi: &VirtualMachineInstance) -> Phase {
    vmi.status
        .as_ref()
        .and_then(|status| status.phase)
        .unwrap_or(Phase::Pending)
}

/// Sets the conditions that follow from the pod. `problem` is why no pod can be made.
pub(super) fn explain(
    vmi: &mut VirtualMachineInstance,
    pod: Option<&Pod>,
    problem: Option<String>,
    now: Timestamp,
) {
    let (phase, paused) = (phase(vmi), is_paused(vmi));
    let conditions = &mut vmi.status.get_or_insert_default().conditions;
    condition::set(conditions, ready(phase, paused, pod, now));
    match pod
        .filter(|_| phase == Phase::Scheduling)
        .and_then(unscheduled)
    {
        Some(unscheduled) => drop(condition::set(conditions, unscheduled)),
        None => drop(condition::remove(conditions, POD_SCHEDULED)),
    }
    let waits = matches!(phase, Phase::Pending | Phase::Scheduling);
    let image = pod.filter(|_| waits).and_then(observe::image_problem);
    let problem = problem.map(|message| ("FailedCreate", message)).or(image);
    set_synchronized(conditions, problem, now);
}

/// Sets `Synchronized` to `False` for one of our reasons, or takes it away if it stood for one.
pub(super) fn set_synchronized(
    conditions: &mut Vec<Condition>,
    problem: Option<(&'static str, String)>,
    now: Timestamp,
) {
    if let Some((reason, message)) = problem {
        let failed = Condition::new(SYNCHRONIZED, false, now).because(reason, message);
        condition::set(conditions, failed);
        return;
    }
    let reason = condition::find(conditions, SYNCHRONIZED).and_then(|it| it.reason.as_deref());
    if reason.is_some_and(|reason| OWN_REASONS.contains(&reason)) {
        condition::remove(conditions, SYNCHRONIZED);
    }
}

/// The pod's condition that its readiness gate waits for, in KubeVirt's words.
pub(super) fn unpaused(vmi: &VirtualMachineInstance, now: Timestamp) -> PodCondition {
    let (status, reason, message) = if is_paused(vmi) {
        ("False", "Paused", "the virtual machine is paused")
    } else {
        ("True", "NotPaused", "the virtual machine is not paused")
    };
    PodCondition {
        type_: conditions::UNPAUSED.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    }
}

fn is_paused(vmi: &VirtualMachineInstance) -> bool {
    let status = vmi.status.as_ref();
    status.is_some_and(|status| condition::is_true(&status.conditions, PAUSED))
}

fn ready(phase: Phase, paused: bool, pod: Option<&Pod>, now: Timestamp) -> Condition {
    let not = |reason: &str, message: &str| {
        Condition::new(READY, false, now).because(reason, message.to_owned())
    };
    let Some(pod) = pod else {
        return not(
            "PodNotExists",
            "virt-launcher pod has not yet been scheduled",
        );
    };
    if observe::is_going(pod) || observe::is_over(pod) {
        return not("PodTerminating", "virt-launcher pod is terminating");
    }
    if phase != Phase::Running {
        return not("GuestNotRunning", "Guest VM is not reported as running");
    }
    match observe::condition(pod, READY) {
        // The pod follows in a moment; until then these are kubelet's words already.
        Some(theirs) if paused && theirs.status == "True" => not(
            "ReadinessGatesNotReady",
            &format!(
                "the status of pod readiness gate {:?} is not \"True\", but False",
                conditions::UNPAUSED
            ),
        ),
        Some(theirs) => Condition {
            type_: READY.to_owned(),
            status: theirs.status.clone(),
            reason: theirs.reason.clone(),
            message: theirs.message.clone(),
            last_probe_time: None,
            last_transition_time: theirs.last_transition_time.clone(),
        },
        None => not(
            "PodConditionMissing",
            "virt-launcher pod is missing the Ready condition",
        ),
    }
}

/// The scheduler's word on a pod it found no node for.
fn unscheduled(pod: &Pod) -> Option<Condition> {
    let theirs = observe::condition(pod, POD_SCHEDULED).filter(|it| it.status == "False")?;
    Some(Condition {
        type_: POD_SCHEDULED.to_owned(),
        status: theirs.status.clone(),
        reason: theirs.reason.clone(),
        message: theirs.message.clone(),
        last_probe_time: None,
        last_transition_time: theirs.last_transition_time.clone(),
    })
}

/// Says of a VMI that waits why nothing that works is permitted on any node, and what would help: the
/// scheduler names a resource or a label only. `cannot_be_made`: it waits for want of a pod. The fact
/// is told once per cause.
pub(super) fn explain_refusal(
    vmi: &mut VirtualMachineInstance,
    refusal: Option<&Refusal>,
    cannot_be_made: bool,
    now: Timestamp,
) -> Option<Fact> {
    let conditions = &mut vmi.status.get_or_insert_default().conditions;
    let waits = cannot_be_made || condition::find(conditions, POD_SCHEDULED).is_some();
    let Some(refusal) = refusal.filter(|_| waits) else {
        condition::remove(conditions, ACCELERATOR_AVAILABLE);
        return None;
    };
    // The evidence may differ from one probe of the node to the next; that is no news.
    let message = refusal.to_string();
    let is_news = tell(
        conditions,
        ACCELERATOR_AVAILABLE,
        refusal.reason,
        &message,
        now,
    );
    is_news.then(|| Fact::warning("AcceleratorUnavailable", message))
}

/// Says of an emulated guest with whom it shares its node, and of one that waits because it may not.
/// The fact is told once.
pub(super) fn explain_isolation(
    vmi: &mut VirtualMachineInstance,
    isolation: Option<&Isolation>,
    now: Timestamp,
) -> Option<Fact> {
    let conditions = &mut vmi.status.get_or_insert_default().conditions;
    let refused = condition::find(conditions, POD_SCHEDULED)
        .and_then(|it| it.message.as_deref())
        .filter(|message| message.contains(schedule::SHARED));
    let shared = isolation.and_then(Isolation::warning);
    let (reason, message) = match (refused, shared) {
        (Some(refused), _) => (
            MULTI_TENANCY_DENIED,
            format!(
                "it waits for a node without emulated guests of other namespaces, because emulation is no \
                 security boundary: {refused}"
            ),
        ),
        (None, Some(shared)) => (NOT_A_SECURITY_BOUNDARY, shared),
        (None, None) => {
            condition::remove(conditions, EMULATION_ISOLATION);
            return None;
        }
    };
    let is_news = tell(conditions, EMULATION_ISOLATION, reason, &message, now);
    is_news.then(|| Fact::warning(reason, message))
}

/// Sets a condition to `False`, and says whether it was not, or for another reason.
fn tell(
    conditions: &mut Vec<Condition>,
    type_: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let known = condition::find(conditions, type_).and_then(|it| it.reason.as_deref());
    let is_news = known != Some(reason);
    let told = Condition::new(type_, false, now).because(reason, message.to_owned());
    condition::set(conditions, told);
    is_news
}

/// Says of a running guest whether it would get another accelerator if it were started now, on its node
/// or, emulated, on another one. It is only said: nobody's guest is stopped for it.
pub(super) fn compare_accelerator<P>(
    vmi: &mut VirtualMachineInstance,
    seen: &Seen<'_, P>,
    now: Timestamp,
) {
    let fares = running(vmi).and_then(|actual| {
        let here = resolved(vmi, seen, seen.node?);
        let elsewhere = match seen.elsewhere {
            _ if actual != Accelerator::Tcg || is_on_hardware(&here) => &Hardware::None,
            elsewhere => elsewhere,
        };
        Some((actual, here, elsewhere))
    });
    if matches!(fares, Some((.., Hardware::Unknown))) && is_told_of_hardware_elsewhere(vmi) {
        // Taken back and said again, it would be news twice at every start of the controllers.
        return;
    }
    let difference = fares
        .and_then(|(actual, here, elsewhere)| difference(&vmi.name_any(), actual, here, elsewhere));
    let conditions = &mut vmi.status.get_or_insert_default().conditions;
    match difference {
        Some((reason, message)) => {
            let outdated = Condition::new(ACCELERATOR_OUTDATED, true, now).because(reason, message);
            condition::set(conditions, outdated);
        }
        None => drop(condition::remove(conditions, ACCELERATOR_OUTDATED)),
    }
}

/// Whether it is said of a guest that hardware is free for it on another node.
pub(super) fn is_told_of_hardware_elsewhere(vmi: &VirtualMachineInstance) -> bool {
    let status = vmi.status.as_ref();
    status
        .and_then(|status| condition::find(&status.conditions, ACCELERATOR_OUTDATED))
        .is_some_and(|it| it.is_true() && it.reason.as_deref() == Some(HARDWARE_FREE_ELSEWHERE))
}

/// What runs the guest of an instance that runs.
fn running(vmi: &VirtualMachineInstance) -> Option<Accelerator> {
    let status = vmi.status.as_ref();
    status.filter(|status| status.phase == Some(Phase::Running))?;
    schedule::accelerator(vmi)
}

/// What the guest would get on its node now.
fn resolved<P>(
    vmi: &VirtualMachineInstance,
    seen: &Seen<'_, P>,
    node: &NodeFacts,
) -> Result<Decision, Refusal> {
    let forced = placement::forced(vmi).unwrap_or_default();
    let architecture = placement::architecture(vmi, seen.cluster);
    accelerator::resolve(seen.policy, forced, architecture, node)
}

/// Whether a guest would run on its node's hardware now.
fn is_on_hardware(here: &Result<Decision, Refusal>) -> bool {
    matches!(here, Ok(decision) if decision.accelerator == Accelerator::Kvm)
}

/// Reason and message, if a guest that runs on `actual` would fare otherwise if it were started now:
/// `here`, on its node, or `elsewhere`, on a node whose hardware has room for it.
fn difference(
    name: &str,
    actual: Accelerator,
    here: Result<Decision, Refusal>,
    elsewhere: &Hardware,
) -> Option<(&'static str, String)> {
    if let Hardware::Node(node) = elsewhere {
        let message = format!(
            "it runs on {actual}; hardware virtualization works on node {node}, which has room for it: \
             started again now it would run on {} there. Running machines are never moved for it: restart \
             it when it suits, e.g. `virtctl restart {name}`",
            Accelerator::Kvm
        );
        return Some((HARDWARE_FREE_ELSEWHERE, message));
    }
    match here {
        Ok(decision) if decision.accelerator == actual => None,
        Ok(decision) => {
            let message = format!(
                "it runs on {actual}; started again on its node it would run on {}, because {}: restart \
                 it when it suits, e.g. `virtctl restart {name}`",
                decision.accelerator, decision.message
            );
            Some(("OtherAcceleratorNow", message))
        }
        Err(refusal) => {
            let message = format!(
                "it runs on {actual}; started again on its node it would not start: {refusal}"
            );
            Some((refusal.reason, message))
        }
    }
}
