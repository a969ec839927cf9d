//! A virtual machine and its instance in; what to do, and what to remember, out.
//!
//! | strategy | no instance | it lives | it succeeded | it failed |
//! |---|---|---|---|---|
//! | `Always` | create | stop if asked | delete | delete |
//! | `RerunOnFailure` | create if asked or new | stop if asked | delete | delete, ask for a start |
//! | `Manual` | create if asked | stop if asked | keep | keep |
//! | `Once` | create | keep | keep | keep |
//! | `Halted` | nothing; if asked become `Always` | delete | delete | delete |
//!
//! While a restore is about to change the machine nothing is started. A machine that is to go on from a saved state is
//! started whatever its strategy (except `Halted`); the instance that was to and ended is kept, for whoever asked: it is
//! not booted instead.

use super::instance::{
    self, Start, controller, controls, has_run, instance_generation, is_final, is_going,
    is_outdated,
};
use super::suspend;
use crate::engine::Next;
use api::names::finalizers;
use api::virtual_machine::{
    RunStrategy, StartFailure, StateChangeAction, StateChangeRequest, Suspension, VirtualMachine,
    VirtualMachineStatus,
};
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Wait after the first start that failed; the n-th in a row waits n² times as long.
const FIRST_BACKOFF_SECONDS: u64 = 10;
/// The longest wait before another start.
const LONGEST_BACKOFF_SECONDS: u64 = 300;
/// The finalizer by which a client asks that dependents stay.
const ORPHAN: &str = "orphan";

/// One change to an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Put our finalizer on the VM.
    Hold,
    /// Take it off, which lets the VM go.
    LetGo,
    /// Take control of an instance that nobody controls.
    Adopt,
    /// Create the instance.
    Create(Box<VirtualMachineInstance>),
    /// Delete the instance.
    Delete,
    /// Take our finalizer off the instance: its end is seen and counted.
    Release,
    /// The instance equals the VM's newest generation: say so on it.
    FollowGeneration,
    /// The instance waits, and the VM says something else of emulation by now: change it so.
    FollowPolicy(Value),
    /// Make the VM's strategy `Always`.
    BecomeAlways,
    /// The guest is to be saved, or is no longer: say so on the instance.
    TellSave(Value),
}

/// What to do, and what the status remembers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub(super) actions: Vec<Action>,
    pub(super) requests: Vec<StateChangeRequest>,
    pub(super) start_failure: Option<StartFailure>,
    /// Where its guest is saved.
    pub(super) suspension: Option<Suspension>,
    /// The strategy acted on.
    pub(super) strategy: Option<RunStrategy>,
    pub(super) next: Next,
}

/// Decides about `vm`. `found` is the instance of the same name, whoever controls it. `roll` is any
/// random number; it spreads the retries of machines that fail together.
pub(super) fn decide(
    vm: &VirtualMachine,
    found: Option<&VirtualMachineInstance>,
    now: Timestamp,
    roll: u64,
) -> Decision {
    let vmi = found.filter(|vmi| controls(vm, vmi));
    let known = vm.status.clone().unwrap_or_default();
    let strategy = vm.spec.strategy();
    let mut decision = Decision {
        actions: Vec::new(),
        requests: open_requests(&known, vmi),
        start_failure: start_failure(&known, vmi, strategy, now, roll),
        suspension: suspend::suspension(vm, &known, vmi),
        strategy,
        next: Next::OnChange,
    };
    // The instance of an earlier machine of this name, which is gone: nobody else lets it go.
    if let Some(theirs) = found.filter(|found| is_going(found) && !controls(vm, found))
        && let Some(release) = release(theirs)
    {
        decision.actions.push(release);
        return decision;
    }
    if vm.metadata.deletion_timestamp.is_some() {
        decision.actions.extend(farewell(vm, vmi));
        return decision;
    }
    if let Some(vmi) = found
        && controller(vmi).is_none()
        && !is_going(vmi)
    {
        // The change it makes is seen, and looked at again.
        decision.actions.push(Action::Adopt);
        return decision;
    }
    match vmi {
        Some(vmi) => with_instance(&mut decision, vm, vmi, strategy),
        None => without_instance(&mut decision, vm, &known, strategy, now),
    }
    // After the instance, which need not wait for it: should the VM vanish in between, its instance is
    // collected, and released all the same.
    if !vm
        .finalizers()
        .iter()
        .any(|it| it == finalizers::VIRTUAL_MACHINE_CONTROLLER)
    {
        decision.actions.push(Action::Hold);
    }
    decision
}

/// What remains to do for a VM that is being deleted.
fn farewell(vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>) -> Option<Action> {
    let is_orphaning = vm.finalizers().iter().any(|it| it == ORPHAN);
    match vmi {
        Some(vmi) if !is_orphaning => match (is_going(vmi), is_final(vmi)) {
            (false, _) => Some(Action::Delete),
            (true, true) => release(vmi),
            (true, false) => None,
        },
        _ => {
            let held = vm
                .finalizers()
                .iter()
                .any(|it| it == finalizers::VIRTUAL_MACHINE_CONTROLLER);
            held.then_some(Action::LetGo)
        }
    }
}

/// Takes the finalizer off an instance that still has it.
pub(super) fn release(vmi: &VirtualMachineInstance) -> Option<Action> {
    let held = vmi
        .finalizers()
        .iter()
        .any(|it| it == finalizers::VIRTUAL_MACHINE_CONTROLLER);
    held.then_some(Action::Release)
}

fn with_instance(
    decision: &mut Decision,
    vm: &VirtualMachine,
    vmi: &VirtualMachineInstance,
    strategy: Option<RunStrategy>,
) {
    if is_going(vmi) {
        if is_final(vmi) {
            decision.actions.extend(release(vmi));
        }
        return;
    }
    let stop_asked = asked(&decision.requests, StateChangeAction::Stop).is_some();
    let over = is_final(vmi);
    let delete = match strategy {
        Some(strategy) if over && strategy != RunStrategy::Halted && resumes(vm).is_some() => {
            // One of before is in the way.
            !instance::goes_on_as_asked(vm, vmi)
        }
        Some(RunStrategy::Always | RunStrategy::RerunOnFailure) => stop_asked || over,
        Some(RunStrategy::Manual) => stop_asked,
        Some(RunStrategy::Halted) => true,
        Some(RunStrategy::Once) | None => false,
    };
    // Another one goes on from there.
    let delete = delete || suspend::was_saved(vmi);
    if delete {
        let failed = instance::phase(vmi) == Phase::Failed;
        let reruns = strategy == Some(RunStrategy::RerunOnFailure) && failed && !stop_asked;
        if reruns && !suspend::is_asked(vm) {
            decision.requests.push(StateChangeRequest {
                action: StateChangeAction::Start,
                data: BTreeMap::new(),
                uid: None,
            });
        }
        decision.actions.push(Action::Delete);
    } else if let Some(change) = suspend::tell_instance(vm, vmi) {
        // The change it makes is seen, and looked at again.
        decision.actions.push(Action::TellSave(change));
    } else if let Some(change) = instance::follow_policy(vm, vmi) {
        // The change it makes is seen, and looked at again.
        decision.actions.push(Action::FollowPolicy(change));
    } else if !over && !is_outdated(vm, vmi) && instance_generation(vmi) != vm.metadata.generation {
        decision.actions.push(Action::FollowGeneration);
    }
}

fn without_instance(
    decision: &mut Decision,
    vm: &VirtualMachine,
    known: &VirtualMachineStatus,
    strategy: Option<RunStrategy>,
    now: Timestamp,
) {
    let start = asked(&decision.requests, StateChangeAction::Start);
    let resumes = resumes(vm).is_some();
    if known.restore_in_progress.is_some() && !resumes {
        // Not acted on yet: a strategy that starts once must still find itself new.
        decision.strategy = known.run_strategy;
        return;
    }
    let wanted = match strategy {
        Some(strategy) if resumes => strategy != RunStrategy::Halted,
        Some(RunStrategy::Always | RunStrategy::Once) => true,
        Some(RunStrategy::RerunOnFailure) => start.is_some() || known.run_strategy != strategy,
        Some(RunStrategy::Manual) => start.is_some(),
        Some(RunStrategy::Halted) => {
            if start.is_some() && !suspend::is_asked(vm) {
                decision.actions.push(Action::BecomeAlways);
            }
            false
        }
        None => false,
    };
    let resumes = decision.suspension.is_some() && strategy != Some(RunStrategy::Halted);
    if suspend::is_asked(vm) || !(wanted || resumes) {
        return;
    }
    let retry_after = decision
        .start_failure
        .as_ref()
        .and_then(|it| it.retry_after_timestamp.as_ref());
    let wait = retry_after.map_or(SignedDuration::ZERO, |time| time.0.duration_since(now));
    if let Ok(wait) = Duration::try_from(wait)
        && !wait.is_zero()
    {
        decision.next = Next::After(wait);
        // Not acted on yet: a strategy that starts once must still find itself new.
        decision.strategy = known.run_strategy;
        return;
    }
    let paused = start.is_some_and(|it| it.data.get("paused").is_some_and(|value| value == "true"));
    let start = if paused {
        Start::Paused
    } else {
        Start::Running
    };
    if let Some(mut vmi) = instance::instance(vm, start) {
        if let Some(suspension) = &decision.suspension {
            suspend::go_on(&mut vmi, suspension);
        }
        decision.actions.push(Action::Create(Box::new(vmi)));
    }
}

/// The saved state that `vm` is to go on from, if it is.
fn resumes(vm: &VirtualMachine) -> Option<&str> {
    instance::resume_annotation(vm)
}

/// The first request, if it asks for `action`. Later ones wait until it is done.
fn asked(
    requests: &[StateChangeRequest],
    action: StateChangeAction,
) -> Option<&StateChangeRequest> {
    requests.first().filter(|request| request.action == action)
}

/// The requests that are not done: a stop is done when the instance it names is gone, a start when
/// an instance lives.
fn open_requests(
    known: &VirtualMachineStatus,
    vmi: Option<&VirtualMachineInstance>,
) -> Vec<StateChangeRequest> {
    let mut open = known.state_change_requests.clone();
    let done = open.first().is_some_and(|request| match request.action {
        StateChangeAction::Stop => {
            vmi.is_none()
                || request.uid.as_deref() != vmi.and_then(|vmi| vmi.metadata.uid.as_deref())
        }
        StateChangeAction::Start => vmi.is_some_and(|vmi| !is_final(vmi) && !is_going(vmi)),
    });
    if done {
        open.remove(0);
    }
    open
}

/// How many starts failed in a row. A start failed when the instance ended by itself without ever
/// running; one that was deleted meanwhile did not get its chance.
fn start_failure(
    known: &VirtualMachineStatus,
    vmi: Option<&VirtualMachineInstance>,
    strategy: Option<RunStrategy>,
    now: Timestamp,
    roll: u64,
) -> Option<StartFailure> {
    match strategy? {
        RunStrategy::Always | RunStrategy::RerunOnFailure | RunStrategy::Once => {}
        RunStrategy::Manual | RunStrategy::Halted => return None,
    }
    let known = known.start_failure.clone();
    let Some(vmi) = vmi else { return known };
    if has_run(vmi) {
        return None;
    }
    let counted = known
        .as_ref()
        .is_some_and(|it| it.last_failed_vmi_uid == vmi.metadata.uid);
    if !is_final(vmi) || is_going(vmi) || counted {
        return known;
    }
    let before = known.and_then(|it| it.consecutive_fail_count).unwrap_or(0);
    let count = before.saturating_add(1);
    let wait =
        SignedDuration::from_secs(i64::try_from(backoff_seconds(count, roll)).unwrap_or(i64::MAX));
    Some(StartFailure {
        consecutive_fail_count: Some(count),
        last_failed_vmi_uid: vmi.metadata.uid.clone(),
        retry_after_timestamp: now.checked_add(wait).ok().map(Time),
    })
}

/// Seconds to wait after `count` failures in a row.
fn backoff_seconds(count: i32, roll: u64) -> u64 {
    let count = u64::try_from(count).unwrap_or(1).max(1);
    let wait = FIRST_BACKOFF_SECONDS.saturating_mul(count.saturating_mul(count));
    let jitter = roll % (wait / 2 + 1);
    wait.saturating_add(jitter).min(LONGEST_BACKOFF_SECONDS)
}
