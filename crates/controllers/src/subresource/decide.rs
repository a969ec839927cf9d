//! May it be started, stopped, restarted, paused, unpaused? A machine and its instance in; the
//! changes that do it, or KubeVirt's words of refusal, out.

use super::{Refusal, RestartOptions, StartOptions, StopOptions};
use api::condition;
use api::suspend::{Asked, asked};
use api::virtual_machine::{RunStrategy, StateChangeAction, StateChangeRequest, VirtualMachine};
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use kube::ResourceExt as _;
use std::collections::BTreeMap;

/// Seconds a guest gets when it is restarted by force: time for QEMU to flush, not for the guest.
const FORCED_GRACE_SECONDS: i64 = 1;

/// One change to an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The VM's run strategy becomes this one.
    Strategy(RunStrategy),
    /// The VM's requests become these.
    Requests(Vec<StateChangeRequest>),
    /// The instance's guest gets this many seconds to shut down.
    GracePeriod(i64),
    /// The VM is suspended no longer, and goes on.
    Resume,
}

/// Starts `vm`.
pub fn start(
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    options: &StartOptions,
) -> Result<Vec<Change>, Refusal> {
    let suspends = is_to_be_suspended(vm);
    if vmi.is_some_and(|vmi| is_live(vmi) && phase(vmi) != Some(Phase::Unknown)) {
        if !suspends {
            return Err(conflict(vm, "VM is already running"));
        }
        // Its guest, which may be being saved, stays, or goes on.
        unlocked(vm)?;
        return Ok(vec![Change::Resume]);
    }
    unlocked(vm)?;
    // Then the controller starts it without being asked.
    let goes_on = suspends
        && match strategy(vm)? {
            RunStrategy::Always | RunStrategy::Once => true,
            RunStrategy::RerunOnFailure | RunStrategy::Manual => is_saved(vm),
            RunStrategy::Halted => false,
        };
    if goes_on {
        return Ok(vec![Change::Resume]);
    }
    let resume = suspends.then_some(Change::Resume).into_iter();
    Ok(resume.chain(start_off(vm, vmi, options)?).collect())
}

/// Starts `vm`, which has no guest and nothing else in the way.
fn start_off(
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    options: &StartOptions,
) -> Result<Vec<Change>, Refusal> {
    let conditions = vm
        .status
        .as_ref()
        .map(|it| it.conditions.as_slice())
        .unwrap_or_default();
    if let Some(required) = condition::find(conditions, "ManualRecoveryRequired")
        && required.is_true()
    {
        let message = required
            .message
            .as_deref()
            .unwrap_or("manual recovery is required");
        return Err(conflict(vm, message));
    }
    let start = request(StateChangeAction::Start, None, options.paused);
    match strategy(vm)? {
        RunStrategy::Halted if options.paused => Ok(vec![ask(vm, vec![start])?]),
        RunStrategy::Halted => Ok(vec![Change::Strategy(RunStrategy::Always)]),
        RunStrategy::RerunOnFailure if vmi.and_then(phase) == Some(Phase::Failed) => Err(conflict(
            vm,
            "RerunOnFailure does not support starting VM from failed state",
        )),
        RunStrategy::RerunOnFailure | RunStrategy::Manual => {
            // One that is over must go before another can come.
            let stop = vmi.filter(|vmi| is_final(vmi)).map(stop_request);
            Ok(vec![ask(vm, stop.into_iter().chain([start]).collect())?])
        }
        strategy @ (RunStrategy::Always | RunStrategy::Once) => Err(conflict(
            vm,
            &format!("{strategy} does not support manual start requests"),
        )),
    }
}

/// Stops `vm`.
pub fn stop(
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    options: &StopOptions,
) -> Result<Vec<Change>, Refusal> {
    if options.grace_period.is_some_and(|seconds| seconds < 0) {
        return Err(Refusal::bad_request(
            "gracePeriod has to be greater or equal to 0",
        ));
    }
    unlocked(vm)?;
    let live = vmi.filter(|vmi| is_live(vmi));
    not_suspended(vm, live, options.grace_period == Some(0))?;
    let grace = live.and(options.grace_period).map(Change::GracePeriod);
    let how = match (strategy(vm)?, live) {
        (RunStrategy::Always | RunStrategy::Once, _) => Change::Strategy(RunStrategy::Halted),
        (_, None) => return Err(conflict(vm, "VM is not running")),
        (RunStrategy::Halted, Some(vmi)) => {
            let current = vmi.spec.termination_grace_period_seconds;
            let is_shorter = options
                .grace_period
                .is_some_and(|wanted| current.is_none_or(|current| wanted < current));
            if !is_shorter {
                let message =
                    "Halted only supports manual stop requests with a shorter graceperiod";
                return Err(conflict(vm, message));
            }
            Change::Requests(vec![stop_request(vmi)])
        }
        // A stop takes the place of whatever was asked before.
        (RunStrategy::RerunOnFailure | RunStrategy::Manual, Some(vmi)) => {
            Change::Requests(vec![stop_request(vmi)])
        }
    };
    Ok(grace.into_iter().chain([how]).collect())
}

/// Restarts `vm`.
pub fn restart(
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    options: &RestartOptions,
) -> Result<Vec<Change>, Refusal> {
    match options.grace_period_seconds {
        Some(seconds) if seconds > 0 => {
            let message = "For force restart, only gracePeriod=0 is supported for now";
            return Err(Refusal::bad_request(message));
        }
        Some(seconds) if seconds < 0 => {
            return Err(Refusal::bad_request(
                "gracePeriod has to be greater or equal to 0",
            ));
        }
        _ => {}
    }
    unlocked(vm)?;
    let live = vmi.filter(|vmi| is_live(vmi));
    not_suspended(vm, live, options.grace_period_seconds == Some(0))?;
    let strategy = strategy(vm)?;
    if matches!(strategy, RunStrategy::Halted | RunStrategy::Once) {
        // "RunStategy" is KubeVirt's own spelling, which clients compare with.
        let message = format!("RunStategy {strategy} does not support manual restart requests");
        return Err(conflict(vm, &message));
    }
    let Some(vmi) = vmi else {
        return Err(conflict(vm, "VM is not running: Halted"));
    };
    let start = request(StateChangeAction::Start, None, false);
    let asked = ask(vm, vec![stop_request(vmi), start])?;
    let forced = options.grace_period_seconds.filter(|_| is_live(vmi));
    let grace = forced.map(|_| Change::GracePeriod(FORCED_GRACE_SECONDS));
    Ok(grace.into_iter().chain([asked]).collect())
}

/// Whether the guest of `vmi` may be paused.
pub fn pause(vmi: &VirtualMachineInstance) -> Result<(), Refusal> {
    if phase(vmi) != Some(Phase::Running) {
        return Err(instance_conflict(vmi, "VM is not running"));
    }
    if vmi.spec.unserved.contains_key("livenessProbe") {
        return Err(Refusal {
            code: 403,
            reason: "Forbidden",
            message: "Pausing VMIs with a non-GuestAgentPing LivenessProbe is not supported"
                .to_owned(),
        });
    }
    if is_paused(vmi) {
        return Err(instance_conflict(vmi, "VMI is already paused"));
    }
    Ok(())
}

/// Whether the guest of `vmi` may go on.
pub fn unpause(vmi: &VirtualMachineInstance) -> Result<(), Refusal> {
    if phase(vmi) != Some(Phase::Running) {
        return Err(instance_conflict(vmi, "VMI is not running"));
    }
    if !is_paused(vmi) {
        return Err(instance_conflict(vmi, "VMI is not paused"));
    }
    Ok(())
}

/// While a snapshot of `vm` is taken, or it is restored, nobody starts or stops it.
fn unlocked(vm: &VirtualMachine) -> Result<(), Refusal> {
    let status = vm.status.as_ref();
    if let Some(name) = status.and_then(|status| status.snapshot_in_progress.as_ref()) {
        let cause = format!("Cannot update vm running state until snapshot \"{name}\" completes");
        return Err(conflict(vm, &cause));
    }
    if let Some(name) = status.and_then(|status| status.restore_in_progress.as_ref()) {
        let cause = format!("Cannot update VM runStrategy until restore \"{name}\" completes");
        return Err(conflict(vm, &cause));
    }
    Ok(())
}

/// Whether its guest is to be saved, or stay so.
fn is_to_be_suspended(vm: &VirtualMachine) -> bool {
    asked(vm.annotations()) == Asked::Suspend
}

/// Whether its guest is saved.
fn is_saved(vm: &VirtualMachine) -> bool {
    let status = vm.status.as_ref();
    status.is_some_and(|status| status.suspension.is_some())
}

/// What is to be suspended is not stopped: its guest would be lost in the midst of being saved. By force it may be, as
/// long as it runs.
fn not_suspended(
    vm: &VirtualMachine,
    live: Option<&VirtualMachineInstance>,
    by_force: bool,
) -> Result<(), Refusal> {
    if !is_to_be_suspended(vm) || (by_force && live.is_some()) {
        return Ok(());
    }
    let name = vm.name_any();
    let cause = if is_saved(vm) {
        format!(
            "VM is suspended: let it go on first (anyvirt resume {name}), or throw away what was saved of it (anyvirt resume {name} --discard)"
        )
    } else {
        format!(
            "VM is being suspended: wait for that, take it back (anyvirt resume {name}), or end its guest unsaved with a grace period of 0"
        )
    };
    Err(conflict(vm, &cause))
}

fn strategy(vm: &VirtualMachine) -> Result<RunStrategy, Refusal> {
    vm.spec.strategy().ok_or_else(|| {
        let written = vm.spec.run_strategy.clone().unwrap_or_default();
        conflict(
            vm,
            &format!("spec.runStrategy: \"{written}\" is no run strategy: set one, e.g. Always"),
        )
    })
}

/// Puts requests on the VM, unless others are being worked on.
fn ask(vm: &VirtualMachine, requests: Vec<StateChangeRequest>) -> Result<Change, Refusal> {
    let underway = vm
        .status
        .as_ref()
        .is_some_and(|status| !status.state_change_requests.is_empty());
    if underway {
        return Err(Refusal::internal(
            "unable to complete request: stop/start already underway",
        ));
    }
    Ok(Change::Requests(requests))
}

fn stop_request(vmi: &VirtualMachineInstance) -> StateChangeRequest {
    request(StateChangeAction::Stop, vmi.uid(), false)
}

fn request(action: StateChangeAction, uid: Option<String>, paused: bool) -> StateChangeRequest {
    let paused = paused.then(|| ("paused".to_owned(), "true".to_owned()));
    StateChangeRequest {
        action,
        data: paused.into_iter().collect::<BTreeMap<_, _>>(),
        uid,
    }
}

fn phase(vmi: &VirtualMachineInstance) -> Option<Phase> {
    vmi.status.as_ref()?.phase
}

fn is_final(vmi: &VirtualMachineInstance) -> bool {
    phase(vmi).is_some_and(Phase::is_final)
}

fn is_live(vmi: &VirtualMachineInstance) -> bool {
    !is_final(vmi)
}

fn is_paused(vmi: &VirtualMachineInstance) -> bool {
    vmi.status
        .as_ref()
        .is_some_and(|status| condition::is_true(&status.conditions, "Paused"))
}

fn conflict(vm: &VirtualMachine, cause: &str) -> Refusal {
    Refusal::conflict("virtualmachine", &vm.name_any(), cause)
}

fn instance_conflict(vmi: &VirtualMachineInstance, cause: &str) -> Refusal {
    Refusal::conflict("virtualmachineinstance", &vmi.name_any(), cause)
}
