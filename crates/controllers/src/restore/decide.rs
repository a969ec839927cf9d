//! A restore, its snapshot and its target in; what to do, and what the restore says of itself, out.
//!
//! ```text
//! hold ► snapshot ready? ► target off? ► lock ► write its spec ► complete ► unlock
//!            │ waits          │ stops it, waits, or fails          ▲
//!            └─ failed        └─ or it is new: created ──┬─────────┤
//!                                     with memory: its instance goes on from there, or fails: left stopped
//! ```
//! Each look does the one thing that comes next; what was done is seen in the objects.

use super::machine::{is_fork, mark, restored};
use crate::engine::Next;
use crate::event::Fact;
use crate::virtual_machine::goes_on_as_asked;
use api::condition::{self, Condition};
use api::names::{annotations, snapshot_finalizers as finalizers};
use api::snapshot::{
    CapturedMachine, Phase, TargetReadinessPolicy, VirtualMachineRestore,
    VirtualMachineRestoreStatus, VirtualMachineSnapshot, VirtualMachineSnapshotContent, conditions,
};
use api::suspend::{self, Asked};
use api::virtual_machine::{RunStrategy, VirtualMachine};
use api::virtual_machine_instance::{Phase as InstancePhase, VirtualMachineInstance};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use std::time::Duration;

/// How long a target may take to be stopped by people, as in KubeVirt.
const GRACE: Duration = Duration::from_secs(300);

/// One change to an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Put our finalizer on the restore.
    Hold,
    /// Take it off.
    LetGo,
    /// The target becomes the restore's owner: the restore goes with it.
    Own,
    /// Nobody else starts the target from now on.
    Lock,
    /// Others may again.
    Unlock,
    /// Have the node that has the memory look through it, for this restore.
    Check,
    /// Stop the target; `at_once` if what its guest does is thrown away.
    Stop { at_once: bool },
    /// Write the target's spec and annotations.
    Write(Box<VirtualMachine>),
    /// Create the target.
    Create(Box<VirtualMachine>),
    /// The target's next start is an ordinary one.
    Consume,
    /// The same, and it does not start by itself.
    LeaveStopped,
}

/// What there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) restore: &'a VirtualMachineRestore,
    pub(super) snapshot: Option<&'a VirtualMachineSnapshot>,
    pub(super) content: Option<&'a VirtualMachineSnapshotContent>,
    /// The virtual machine that the restore names.
    pub(super) vm: Option<&'a VirtualMachine>,
    /// Its instance.
    pub(super) vmi: Option<&'a VirtualMachineInstance>,
    /// The node that has the memory, if the cluster has no such node any more.
    pub(super) gone: Option<&'a str>,
}

/// What to do, and what the restore says of itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub(super) status: VirtualMachineRestoreStatus,
    pub(super) actions: Vec<Action>,
    pub(super) fact: Option<Fact>,
    pub(super) next: Next,
}

/// Why a restore does not go on.
enum Stop {
    /// It waits for this.
    Waits(String),
    /// It failed, for good.
    Fails(String),
}

/// Whether nothing more will come of a restore.
pub(super) fn is_over(restore: &VirtualMachineRestore) -> bool {
    let status = restore.status.as_ref();
    status.is_some_and(|status| {
        status.complete == Some(true) || condition::is_true(&status.conditions, conditions::FAILURE)
    })
}

/// Decides about a restore.
pub(super) fn decide(seen: &Seen<'_>, now: Timestamp) -> Decision {
    let mut decision = Decision {
        status: seen.restore.status.clone().unwrap_or_default(),
        actions: Vec::new(),
        fact: None,
        next: Next::OnChange,
    };
    if seen.restore.metadata.deletion_timestamp.is_some() {
        if is_held(seen.restore) {
            leave(&mut decision, seen);
            decision.actions.push(Action::LetGo);
        }
    } else if is_over(seen.restore) {
        leave(&mut decision, seen);
    } else {
        progress(&mut decision, seen, now);
    }
    decision
}

fn is_held(restore: &VirtualMachineRestore) -> bool {
    restore
        .finalizers()
        .iter()
        .any(|it| it == finalizers::RESTORE)
}

/// Whether the target is locked, by this restore.
fn is_locked(seen: &Seen<'_>) -> bool {
    let name = seen.restore.name_any();
    seen.vm.is_some_and(|vm| locked_by(vm) == Some(&name))
}

fn locked_by(vm: &VirtualMachine) -> Option<&String> {
    vm.status.as_ref()?.restore_in_progress.as_ref()
}

/// Whether this restore has written the target.
fn is_written(seen: &Seen<'_>, vm: &VirtualMachine) -> bool {
    vm.annotations().get(annotations::LAST_RESTORE) == Some(&mark(seen.restore))
}

/// The target is everybody's again. One that was to go on from its memory and has not is not booted instead.
fn leave(decision: &mut Decision, seen: &Seen<'_>) {
    let Some(vm) = seen.vm else { return };
    let resumes = vm.annotations().get(annotations::RESUME_FROM);
    if resumes.is_some() && is_written(seen, vm) && vm.metadata.deletion_timestamp.is_none() {
        let complete = decision.status.complete == Some(true);
        let goes_on = complete || resumed(vm, seen.vmi) == Some(InstancePhase::Running);
        decision.actions.push(if goes_on {
            Action::Consume
        } else {
            Action::LeaveStopped
        });
    }
    if is_locked(seen) {
        decision.actions.push(Action::Unlock);
    }
}

/// The phase of the instance that goes on from what `vm` names, if there is one.
fn resumed(vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>) -> Option<InstancePhase> {
    vmi.filter(|vmi| goes_on_as_asked(vm, vmi)).map(phase)
}

fn phase(vmi: &VirtualMachineInstance) -> InstancePhase {
    let status = vmi.status.as_ref();
    status
        .and_then(|it| it.phase)
        .unwrap_or(InstancePhase::Pending)
}

fn progress(decision: &mut Decision, seen: &Seen<'_>, now: Timestamp) {
    decision.status.complete = Some(false);
    if !is_held(seen.restore) {
        decision.actions.push(Action::Hold);
        return waits(decision, "Initializing VirtualMachineRestore", now);
    }
    if let Some(vm) = seen.vm.filter(|vm| is_written(seen, vm))
        && !seen
            .restore
            .owner_references()
            .iter()
            .any(|it| Some(&it.uid) == vm.metadata.uid.as_ref())
    {
        decision.actions.push(Action::Own);
    }
    match next_step(decision, seen, now) {
        Ok(()) => {}
        Err(Stop::Waits(reason)) => waits(decision, &reason, now),
        Err(Stop::Fails(reason)) => {
            let status = &mut decision.status;
            tell(status, conditions::PROGRESSING, false, &reason, now);
            tell(status, conditions::READY, false, &reason, now);
            tell(status, conditions::FAILURE, true, &reason, now);
            decision.fact = Some(Fact::warning(
                "VirtualMachineRestoreError",
                format!("VirtualMachineRestore encountered error {reason}"),
            ));
            decision.next = Next::OnChange;
            decision.actions.retain(|action| *action == Action::Own);
            leave(decision, seen);
        }
    }
}

/// The next step towards the target.
fn next_step(decision: &mut Decision, seen: &Seen<'_>, now: Timestamp) -> Result<(), Stop> {
    if let Some(vm) = seen.vm.filter(|vm| is_written(seen, vm)) {
        return after_write(decision, seen, vm, now);
    }
    let (content, source) = usable(seen)?;
    // Before a target that runs is ended for it.
    is_reachable(seen)?;
    if content.spec.memory.is_some() && is_fork(seen.restore, source) {
        let memory = content.status.as_ref().and_then(|it| it.memory.as_ref());
        if memory.and_then(|it| it.renewable) == Some(false) {
            let why = memory.and_then(|it| it.not_renewable_because.clone());
            return Err(Stop::Fails(format!(
                "NoHook: the guest cannot go on as another machine: {}",
                why.unwrap_or_else(|| "nothing in it can renew it".to_owned())
            )));
        }
    }
    match seen.vm {
        None => {
            let vm = restored(seen.restore, content, source, None).map_err(Stop::Fails)?;
            decision.actions.push(Action::Create(Box::new(vm)));
        }
        Some(vm) => {
            is_source(seen, vm)?;
            // Before its guest is ended for it.
            let wanted = restored(seen.restore, content, source, Some(vm)).map_err(Stop::Fails)?;
            ready(decision, seen, vm, content, now)?;
            if !is_locked(seen) {
                decision.actions.push(Action::Lock);
                return Err(Stop::Waits("Initializing VirtualMachineRestore".to_owned()));
            }
            decision.actions.push(Action::Write(Box::new(wanted)));
        }
    }
    waits(decision, "Updating target spec", now);
    Ok(())
}

/// A memory is where it was kept, and nowhere else.
fn is_reachable(seen: &Seen<'_>) -> Result<(), Stop> {
    let Some(node) = seen.gone else {
        return Ok(());
    };
    let name = &seen.restore.spec.virtual_machine_snapshot_name;
    Err(Stop::Fails(format!(
        "NodeGone: the memory of VirtualMachineSnapshot {name} is on node {node}, which the cluster has no more: bring \
         that node back under its name, with its data directory, or take another snapshot"
    )))
}

/// The content of the snapshot, once that is ready, and what it is of.
fn usable<'a>(
    seen: &Seen<'a>,
) -> Result<(&'a VirtualMachineSnapshotContent, &'a CapturedMachine), Stop> {
    let name = &seen.restore.spec.virtual_machine_snapshot_name;
    let is_not = |what: &str| Stop::Waits(format!("VirtualMachineSnapshot {name} {what}"));
    let snapshot = seen.snapshot.ok_or_else(|| is_not("does not exist"))?;
    let status = snapshot.status.clone().unwrap_or_default();
    if status.phase == Some(Phase::Failed) {
        return Err(Stop::Fails(format!(
            "VirtualMachineSnapshot {name} failed and is invalid to use"
        )));
    }
    if snapshot.metadata.deletion_timestamp.is_some() {
        return Err(Stop::Fails(format!(
            "VirtualMachineSnapshot {name} is being deleted"
        )));
    }
    if status.ready_to_use != Some(true) {
        // It was, and is not to be any more.
        if status.phase == Some(Phase::Succeeded)
            && let Some(message) = status.error.and_then(|error| error.message)
        {
            return Err(Stop::Fails(format!(
                "VirtualMachineSnapshot {name} is of no use any more: {message}"
            )));
        }
        return Err(is_not("is not ready to use"));
    }
    let content = seen.content.ok_or_else(|| is_not("has no content"))?;
    let machine = content.spec.source.virtual_machine.as_ref();
    let machine = machine.ok_or_else(|| {
        Stop::Fails(format!(
            "VirtualMachineSnapshotContent {} is of no virtual machine",
            content.name_any()
        ))
    })?;
    Ok((content, machine))
}

/// A target that exists must be the source.
fn is_source(seen: &Seen<'_>, vm: &VirtualMachine) -> Result<(), Stop> {
    let status = seen.snapshot.and_then(|snapshot| snapshot.status.as_ref());
    let source = status.and_then(|status| status.source_uid.as_ref());
    if source.is_some() && source == vm.metadata.uid.as_ref() {
        return Ok(());
    }
    Err(Stop::Fails(
        "restore source and restore target are different but restore target already exists"
            .to_owned(),
    ))
}

/// The target must be off, and nobody else at work on it.
fn ready(
    decision: &mut Decision,
    seen: &Seen<'_>,
    vm: &VirtualMachine,
    content: &VirtualMachineSnapshotContent,
    now: Timestamp,
) -> Result<(), Stop> {
    let with_memory = content.spec.memory.is_some();
    let waits = |reason: &str| Err(Stop::Waits(reason.to_owned()));
    if let Some(other) = locked_by(vm).filter(|name| **name != seen.restore.name_any()) {
        return waits(&format!("VirtualMachineRestore \"{other}\" in progress"));
    }
    let status = vm.status.as_ref();
    if let Some(other) = status.and_then(|status| status.snapshot_in_progress.as_ref()) {
        return waits(&format!("VirtualMachineSnapshot \"{other}\" in progress"));
    }
    if is_suspended(vm) {
        let name = vm.name_any();
        return Err(Stop::Fails(format!(
            "virtual machine {name} is suspended; resume it first (anyvirt resume {name}), or throw its guest away \
             (anyvirt resume {name} --discard)"
        )));
    }
    if is_off(vm, seen.vmi) {
        return Ok(());
    }
    let off = "Waiting for target VM to be powered off. Please stop the restore target to proceed with restore";
    match seen
        .restore
        .spec
        .target_readiness_policy
        .unwrap_or_default()
    {
        TargetReadinessPolicy::StopTarget => {
            if with_memory {
                is_whole(decision, seen, content)?;
            }
            decision.actions.push(Action::Stop {
                at_once: with_memory,
            });
            waits("Waiting for target VM to be powered off")
        }
        TargetReadinessPolicy::FailImmediate => {
            Err(Stop::Fails("Restore target VMI still exists".to_owned()))
        }
        TargetReadinessPolicy::WaitEventually => {
            decision.fact = Some(Fact::normal("RestoreTargetNotReady", off));
            waits(off)
        }
        TargetReadinessPolicy::WaitGracePeriod => {
            let begun = seen.restore.metadata.creation_timestamp.as_ref();
            let passed = begun.map(|begun| now.duration_since(begun.0));
            let passed = passed.and_then(|it| Duration::try_from(it).ok());
            let left = GRACE.saturating_sub(passed.unwrap_or_default());
            if left.is_zero() {
                let why = "Restore target failed to be ready within 5m0s";
                return Err(Stop::Fails(why.to_owned()));
            }
            decision.next = Next::After(left);
            decision.fact = Some(Fact::normal("RestoreTargetNotReady", off));
            waits(off)
        }
    }
}

/// The node that has the memory has looked through it for this restore: what runs is not ended for something from which no
/// guest can go on.
fn is_whole(
    decision: &mut Decision,
    seen: &Seen<'_>,
    content: &VirtualMachineSnapshotContent,
) -> Result<(), Stop> {
    let uid = seen.restore.uid().unwrap_or_default();
    if let Some(check) = content.checked().filter(|check| check.restore_uid == uid) {
        let Some(problem) = &check.problem else {
            return Ok(());
        };
        let name = &seen.restore.spec.virtual_machine_snapshot_name;
        return Err(Stop::Fails(format!(
            "no guest can go on from VirtualMachineSnapshot {name}: {problem}; the virtual machine was not stopped for it"
        )));
    }
    // Another restore's turn ends when it is answered.
    if content.check_pending().is_none() {
        decision.actions.push(Action::Check);
    }
    Err(Stop::Waits(
        "Checking the snapshot's memory before the target VM is stopped".to_owned(),
    ))
}

/// Its guest is saved, or is to be: what of it is to go on is for people to say.
fn is_suspended(vm: &VirtualMachine) -> bool {
    let status = vm.status.as_ref();
    suspend::asked(vm.annotations()) != Asked::Nothing
        || status.is_some_and(|status| status.suspension.is_some())
}

/// Nothing of a virtual machine runs, nor starts by itself.
fn is_off(vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>) -> bool {
    match (vm.spec.strategy(), vmi.map(phase)) {
        (_, Some(phase)) if !phase.is_final() => false,
        (Some(RunStrategy::Always), _) | (Some(RunStrategy::Once), None) => false,
        (
            Some(
                RunStrategy::Halted
                | RunStrategy::Manual
                | RunStrategy::RerunOnFailure
                | RunStrategy::Once,
            )
            | None,
            _,
        ) => true,
    }
}

/// Done, unless its memory is still to go on.
fn after_write(
    decision: &mut Decision,
    seen: &Seen<'_>,
    vm: &VirtualMachine,
    now: Timestamp,
) -> Result<(), Stop> {
    if vm.annotations().contains_key(annotations::RESUME_FROM) {
        match resumed(vm, seen.vmi) {
            Some(InstancePhase::Running) => decision.actions.push(Action::Consume),
            Some(phase) if phase.is_final() => {
                let why = seen.vmi.and_then(failure);
                return Err(Stop::Fails(format!(
                    "the guest did not go on from its memory: {}; the virtual machine is left stopped, and the snapshot as it is",
                    why.unwrap_or_else(|| format!("its instance is {phase:?}"))
                )));
            }
            Some(_) | None => {
                is_reachable(seen)?;
                return Err(Stop::Waits(
                    "Waiting for the guest to go on from its memory".to_owned(),
                ));
            }
        }
    }
    if is_locked(seen) {
        decision.actions.push(Action::Unlock);
    }
    let status = &mut decision.status;
    status.complete = Some(true);
    status.restore_time = Some(Time(now));
    tell(
        status,
        conditions::PROGRESSING,
        false,
        "Operation complete",
        now,
    );
    tell(status, conditions::READY, true, "Operation complete", now);
    decision.fact = Some(Fact::normal(
        "VirtualMachineRestoreComplete",
        format!(
            "Successfully completed VirtualMachineRestore {}",
            seen.restore.name_any()
        ),
    ));
    Ok(())
}

/// What an instance that ended says of why.
fn failure(vmi: &VirtualMachineInstance) -> Option<String> {
    let status = vmi.status.as_ref()?;
    let synchronized = condition::find(&status.conditions, "Synchronized");
    let told = synchronized.filter(|it| it.status == "False");
    let told = told.and_then(|it| it.message.clone());
    told.or_else(|| status.reason.clone())
}

fn waits(decision: &mut Decision, reason: &str, now: Timestamp) {
    let status = &mut decision.status;
    tell(status, conditions::PROGRESSING, true, reason, now);
    tell(status, conditions::READY, false, reason, now);
}

/// Sets a condition; KubeVirt writes its sentence into `reason`.
fn tell(
    status: &mut VirtualMachineRestoreStatus,
    type_: &str,
    is: bool,
    reason: &str,
    now: Timestamp,
) {
    let wanted = Condition::new(type_, is, now).because(reason, "");
    condition::set(&mut status.conditions, wanted);
}
