//! What a virtual machine says of itself.

use super::decide::{Action, Decision};
use super::instance::{
    self, controls, generation, instance_generation, is_final, is_going, is_outdated,
};
use super::suspend;
use api::condition::{self, Condition};
use api::names::conditions as names;
use api::virtual_machine::{PrintableStatus, RunStrategy, VirtualMachine, VirtualMachineStatus};
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use jiff::Timestamp;

/// Conditions that are the VM's own; every other one is its instance's.
const OWN: [&str; 5] = [
    "Ready",
    "Failure",
    "RestartRequired",
    "ManualRecoveryRequired",
    names::SUSPENDED,
];

/// Why an action failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The status after `decision` was acted on, or failed to be.
pub(super) fn status(
    vm: &VirtualMachine,
    found: Option<&VirtualMachineInstance>,
    decision: &Decision,
    failure: Option<&Failure>,
    now: Timestamp,
) -> VirtualMachineStatus {
    let vmi = found.filter(|vmi| controls(vm, vmi));
    let known = vm.status.clone().unwrap_or_default();
    let creates = decision
        .actions
        .iter()
        .any(|it| matches!(it, Action::Create(_)));
    let created = creates && failure.is_none();
    let suspension = decision.suspension.as_ref();
    let mut conditions = conditions(vm, vmi, failure, now);
    match suspend::condition(vm, vmi, suspension, now) {
        Some(told) => drop(condition::set(&mut conditions, told)),
        None => drop(condition::remove(&mut conditions, names::SUSPENDED)),
    }
    let ready = vmi.is_some() && condition::is_true(&conditions, "Ready");
    let observed = if created {
        Some(generation(vm))
    } else {
        vmi.and_then(instance_generation)
    };
    VirtualMachineStatus {
        created: Some(vmi.is_some() || created),
        ready: Some(ready),
        printable_status: printable(vm, vmi, decision, created),
        accelerator: vmi.filter(|vmi| !is_final(vmi)).and_then(accelerator),
        // What could not be done is not acted on, and must be found as new next time.
        run_strategy: if creates && !created {
            known.run_strategy
        } else {
            decision.strategy
        },
        conditions,
        state_change_requests: decision.requests.clone(),
        suspension: decision.suspension.clone(),
        start_failure: decision.start_failure.clone(),
        observed_generation: observed.or(known.observed_generation),
        desired_generation: vm.metadata.generation,
        // Written by whoever takes and restores snapshots.
        snapshot_in_progress: known.snapshot_in_progress,
        restore_in_progress: known.restore_in_progress,
    }
}

fn accelerator(vmi: &VirtualMachineInstance) -> Option<String> {
    let status = vmi.status.as_ref()?;
    Some(status.accelerator.as_ref()?.type_.clone())
}

fn conditions_of(vmi: &VirtualMachineInstance) -> &[Condition] {
    vmi.status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default()
}

/// The VM's state in one word: the first rule that applies.
fn printable(
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    decision: &Decision,
    created: bool,
) -> PrintableStatus {
    if vm.metadata.deletion_timestamp.is_some() {
        return PrintableStatus::Terminating;
    }
    let failing = decision
        .start_failure
        .as_ref()
        .and_then(|it| it.consecutive_fail_count)
        > Some(0);
    let retries = matches!(
        vm.spec.strategy(),
        Some(RunStrategy::Always | RunStrategy::RerunOnFailure | RunStrategy::Once)
    );
    let suspended = decision.suspension.is_some() && suspend::is_asked(vm);
    let Some(vmi) = vmi else {
        return match (created, failing && retries) {
            _ if suspended => PrintableStatus::Suspended,
            (true, _) => PrintableStatus::Starting,
            (false, true) => PrintableStatus::CrashLoopBackOff,
            (false, false) => PrintableStatus::Stopped,
        };
    };
    if is_final(vmi) {
        return if suspended {
            PrintableStatus::Stopping
        } else if failing && retries {
            PrintableStatus::CrashLoopBackOff
        } else if !decision.requests.is_empty() {
            // Until the instance is gone nothing else can be asked, so it is not yet what people wait for.
            PrintableStatus::Stopping
        } else {
            PrintableStatus::Stopped
        };
    }
    if is_going(vmi) || decision.actions.contains(&Action::Delete) {
        return PrintableStatus::Stopping;
    }
    let conditions = conditions_of(vmi);
    let is_false = |type_: &str, reason: &str| {
        condition::find(conditions, type_)
            .is_some_and(|it| it.status == "False" && it.reason.as_deref() == Some(reason))
    };
    match instance::phase(vmi) {
        Phase::Running if condition::is_true(conditions, "Paused") => PrintableStatus::Paused,
        Phase::Running => PrintableStatus::Running,
        _ if is_false("Synchronized", "FailedPvcNotFound") => PrintableStatus::ErrorPvcNotFound,
        _ if is_false("PodScheduled", "Unschedulable") => PrintableStatus::ErrorUnschedulable,
        _ if is_false("Synchronized", "ErrImagePull") => PrintableStatus::ErrImagePull,
        _ if is_false("Synchronized", "ImagePullBackOff") => PrintableStatus::ImagePullBackOff,
        Phase::Pending | Phase::Scheduling | Phase::Scheduled => PrintableStatus::Starting,
        Phase::WaitingForSync => PrintableStatus::WaitingForReceiver,
        Phase::Unknown | Phase::Succeeded | Phase::Failed => PrintableStatus::Unknown,
    }
}

/// What `theirs` should say, if it says that a guest is ready which does not run.
fn contradiction(
    vmi: Option<&VirtualMachineInstance>,
    theirs: &Condition,
    now: Timestamp,
) -> Option<Condition> {
    let vmi = vmi.filter(|_| theirs.type_ == "Ready" && theirs.is_true())?;
    let not = |reason: &str, message: &str| {
        Some(Condition::new("Ready", false, now).because(reason, message.to_owned()))
    };
    if instance::phase(vmi) != Phase::Running {
        return not("GuestNotRunning", "Guest VM is not reported as running");
    }
    if condition::is_true(conditions_of(vmi), "Paused") {
        return not("Paused", "the virtual machine is paused");
    }
    None
}

/// The instance's conditions, and the VM's own.
fn conditions(
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Vec<Condition> {
    let known = vm
        .status
        .as_ref()
        .map(|status| status.conditions.clone())
        .unwrap_or_default();
    let theirs = vmi.map(conditions_of).unwrap_or_default();
    let mut conditions = known;
    conditions.retain(|it| {
        OWN.contains(&it.type_.as_str()) || condition::find(theirs, &it.type_).is_some()
    });
    for theirs in theirs {
        // Whoever ends or pauses a guest is faster than whoever takes its readiness back.
        if let Some(corrected) = contradiction(vmi, theirs, now) {
            condition::set(&mut conditions, corrected);
            continue;
        }
        match conditions.iter_mut().find(|it| it.type_ == theirs.type_) {
            Some(ours) => *ours = theirs.clone(),
            None => conditions.push(theirs.clone()),
        }
    }
    if condition::find(theirs, "Ready").is_none() {
        let (reason, message) = match vmi {
            None => ("VMINotExists", "VMI does not exist"),
            Some(_) => ("VMIConditionMissing", "VMI is missing the Ready condition"),
        };
        let ready = Condition::new("Ready", false, now).because(reason, message);
        condition::set(&mut conditions, ready);
    }
    match failure {
        Some(Failure { reason, message }) => {
            let failed = Condition::new("Failure", true, now).because(reason, message);
            condition::set(&mut conditions, failed);
        }
        None => drop(condition::remove(&mut conditions, "Failure")),
    }
    if vmi.is_some_and(|vmi| !is_final(vmi) && !is_going(vmi) && is_outdated(vm, vmi)) {
        let message = "a non-live-updatable field was changed in the template spec";
        let required =
            Condition::new("RestartRequired", true, now).because("TemplateChanged", message);
        condition::set(&mut conditions, required);
    } else {
        condition::remove(&mut conditions, "RestartRequired");
    }
    conditions
}
