//! A snapshot, its content and its source in; what to do, and what the snapshot says of itself, out.
//!
//! ```text
//! hold ► lock the source ► capture ► (the node keeps the memory) ► ready ► unlock
//!            └──────────┬──────────────────┘
//!                       └ refused, replaced, deadline ► failed ► unlock, drop what there is
//! ```
//! Each look does the one thing that comes next; what was done is seen in the objects.

use super::capture;
use crate::engine::Next;
use crate::event::Fact;
use api::condition::{self, Condition};
use api::names::snapshot_finalizers as finalizers;
use api::snapshot::{
    DeletionPolicy, MemorySource, Phase, SnapshotError, VirtualMachineSnapshot,
    VirtualMachineSnapshotContent, VirtualMachineSnapshotContentStatus,
    VirtualMachineSnapshotStatus, conditions,
};
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::{Phase as InstancePhase, VirtualMachineInstance};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use std::time::Duration;

/// One change to an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Put our finalizer on the snapshot.
    Hold,
    /// Take it off.
    LetGo,
    /// Nobody else changes the source from now on.
    Lock,
    /// Others may again.
    Unlock,
    /// Create the content.
    Capture(Box<VirtualMachineSnapshotContent>),
    /// Say that the content, which has no memory, is whole.
    Finish(Box<VirtualMachineSnapshotContentStatus>),
    /// Delete the content.
    Drop,
    /// Leave the content to people.
    Leave,
}

/// What there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) snapshot: &'a VirtualMachineSnapshot,
    pub(super) content: Option<&'a VirtualMachineSnapshotContent>,
    /// The virtual machine that the snapshot names.
    pub(super) vm: Option<&'a VirtualMachine>,
    /// Its instance.
    pub(super) vmi: Option<&'a VirtualMachineInstance>,
}

/// What to do, and what the snapshot says of itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub(super) status: VirtualMachineSnapshotStatus,
    pub(super) actions: Vec<Action>,
    pub(super) fact: Option<Fact>,
    pub(super) next: Next,
}

/// Whether nothing more will come of a snapshot.
pub(super) fn is_over(snapshot: &VirtualMachineSnapshot) -> bool {
    matches!(phase(snapshot), Phase::Succeeded | Phase::Failed)
}

fn phase(snapshot: &VirtualMachineSnapshot) -> Phase {
    let status = snapshot.status.as_ref();
    status.and_then(|status| status.phase).unwrap_or_default()
}

/// Decides about a snapshot.
pub(super) fn decide(seen: &Seen<'_>, now: Timestamp) -> Decision {
    let snapshot = seen.snapshot;
    let mut decision = Decision {
        status: snapshot.status.clone().unwrap_or_default(),
        actions: Vec::new(),
        fact: None,
        next: Next::OnChange,
    };
    if snapshot.metadata.deletion_timestamp.is_some() {
        farewell(&mut decision, seen);
    } else if is_over(snapshot) {
        afterwards(&mut decision, seen, now);
    } else {
        progress(&mut decision, seen, now);
    }
    decision
}

fn is_held(snapshot: &VirtualMachineSnapshot) -> bool {
    let finalizers = snapshot.finalizers();
    finalizers.iter().any(|it| it == finalizers::SNAPSHOT)
}

/// Whether the source is locked, by this snapshot.
fn is_locked(seen: &Seen<'_>) -> bool {
    let name = seen.snapshot.name_any();
    seen.vm.is_some_and(|vm| locked_by(vm) == Some(&name))
}

fn locked_by(vm: &VirtualMachine) -> Option<&String> {
    vm.status.as_ref()?.snapshot_in_progress.as_ref()
}

/// What remains to do for a snapshot that is being deleted.
fn farewell(decision: &mut Decision, seen: &Seen<'_>) {
    if !is_held(seen.snapshot) {
        return;
    }
    decision.status.phase = Some(Phase::Deleting);
    decision.status.ready_to_use = Some(false);
    if is_locked(seen) {
        decision.actions.push(Action::Unlock);
    }
    if let Some(content) = seen.content {
        let retain = seen.snapshot.spec.deletion_policy == Some(DeletionPolicy::Retain);
        let leave = retain && is_ready(content);
        decision
            .actions
            .push(if leave { Action::Leave } else { Action::Drop });
    }
    decision.actions.push(Action::LetGo);
}

fn is_ready(content: &VirtualMachineSnapshotContent) -> bool {
    let status = content.status.as_ref();
    status.and_then(|status| status.ready_to_use) == Some(true)
}

/// What remains to do for a snapshot that was taken or not, and what is still true of it.
fn afterwards(decision: &mut Decision, seen: &Seen<'_>, now: Timestamp) {
    if is_locked(seen) {
        decision.actions.push(Action::Unlock);
    }
    if phase(seen.snapshot) == Phase::Failed {
        decision.actions.extend(seen.content.map(|_| Action::Drop));
        return;
    }
    let status = &mut decision.status;
    let wrong = match seen.content {
        None => Some(format!(
            "VirtualMachineSnapshotContent {} does not exist any more",
            capture::content_name(seen.snapshot)
        )),
        Some(content) => error_of(content),
    };
    let ready = wrong.is_none() && seen.content.is_some_and(is_ready);
    let known = status
        .error
        .as_ref()
        .and_then(|error| error.message.clone());
    if wrong != known {
        status.error = wrong.map(|message| error(&message, now));
    }
    status.ready_to_use = Some(ready);
    let reason = if ready {
        "Operation complete"
    } else {
        "In error state"
    };
    tell(status, conditions::READY, ready, reason, now);
}

fn error_of(content: &VirtualMachineSnapshotContent) -> Option<String> {
    let error = content.status.as_ref()?.error.as_ref()?;
    Some(
        error
            .message
            .clone()
            .unwrap_or_else(|| "unknown".to_owned()),
    )
}

/// The next step towards a snapshot.
fn progress(decision: &mut Decision, seen: &Seen<'_>, now: Timestamp) {
    let snapshot = seen.snapshot;
    decision.status.phase = Some(Phase::InProgress);
    decision.status.ready_to_use = Some(false);
    if !is_held(snapshot) {
        decision.actions.push(Action::Hold);
    }
    if let Some(left) = time_left(snapshot, now) {
        if left.is_zero() {
            return fail(decision, seen, "snapshot deadline exceeded", now);
        }
        decision.next = Next::After(left);
    }
    let Some(vm) = seen.vm else {
        return waits(decision, false, "Source does not exist", now);
    };
    let known = decision.status.source_uid.clone();
    if known.is_some() && known != vm.metadata.uid {
        let why = "the source was replaced by another virtual machine of its name";
        return fail(decision, seen, why, now);
    }
    let step = match seen.content {
        None => before_capture(decision, seen, vm, now),
        Some(content) => after_capture(decision, seen, content, now),
    };
    if let Err(why) = step {
        fail(decision, seen, &why, now);
    }
}

/// What is left of the time that it may take; `None`: it may take for ever.
fn time_left(snapshot: &VirtualMachineSnapshot, now: Timestamp) -> Option<Duration> {
    let deadline = snapshot.spec.deadline()?;
    let begun = snapshot.metadata.creation_timestamp.as_ref()?.0;
    let passed = Duration::try_from(now.duration_since(begun)).unwrap_or_default();
    Some(deadline.saturating_sub(passed))
}

/// Locks the source, or captures it once it is locked.
fn before_capture(
    decision: &mut Decision,
    seen: &Seen<'_>,
    vm: &VirtualMachine,
    now: Timestamp,
) -> Result<(), String> {
    if vm.metadata.deletion_timestamp.is_some() {
        return Err("the source is being deleted".to_owned());
    }
    let vmi = seen.vmi.filter(|vmi| is_live(vmi));
    let with_memory = seen.snapshot.spec.include_memory == Some(true);
    let memory = with_memory
        .then(|| memory_source(seen, vm, vmi))
        .transpose()?;
    decision.status.source_uid = vm.metadata.uid.clone();
    if !is_locked(seen) {
        let status = vm.status.as_ref();
        let restored = status.is_some_and(|status| status.restore_in_progress.is_some());
        if locked_by(vm).is_none() && !restored {
            decision.actions.push(Action::Lock);
        }
        waits(
            decision,
            true,
            "Source not locked and operation in progress",
            now,
        );
        return Ok(());
    }
    let status = &mut decision.status;
    status.snapshot_volumes = Some(capture::snapshot_volumes(vm, with_memory));
    status.source_indications = capture::source_indications(vm, vmi, with_memory);
    let words = status.source_indications.iter();
    status.indications = words.map(|it| it.indication.clone()).collect();
    let content = capture::content(seen.snapshot, vm, vmi, memory);
    let name = content.name_any();
    status.virtual_machine_snapshot_content_name = Some(name.clone());
    decision.fact = Some(Fact::normal(
        "SuccessfulVirtualMachineSnapshotContentCreate",
        format!("Successfully created VirtualMachineSnapshotContent {name}"),
    ));
    decision.actions.push(Action::Capture(Box::new(content)));
    waits(
        decision,
        true,
        "Source locked and operation in progress",
        now,
    );
    Ok(())
}

fn is_live(vmi: &VirtualMachineInstance) -> bool {
    !instance_phase(vmi).is_some_and(InstancePhase::is_final)
        && vmi.metadata.deletion_timestamp.is_none()
}

fn instance_phase(vmi: &VirtualMachineInstance) -> Option<InstancePhase> {
    vmi.status.as_ref()?.phase
}

/// Whose memory is kept, and by which node.
fn memory_source(
    seen: &Seen<'_>,
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
) -> Result<MemorySource, String> {
    if let Some(why) = capture::host_disk(vm) {
        return Err(why);
    }
    let running = vmi.filter(|vmi| instance_phase(vmi) == Some(InstancePhase::Running));
    let node = running.and_then(|vmi| vmi.status.as_ref()?.node_name.clone());
    let (Some(vmi), Some(node_name)) = (running, node) else {
        return Err(format!(
            "spec.includeMemory: virtual machine \"{}\" does not run, so it has no memory; start it, or leave the field out",
            vm.name_any()
        ));
    };
    Ok(MemorySource {
        node_name,
        instance_name: vmi.name_any(),
        instance_uid: vmi.uid().unwrap_or_default(),
        require_renewable: seen.snapshot.spec.require_renewable,
    })
}

/// Finishes a snapshot, or waits for its node.
fn after_capture(
    decision: &mut Decision,
    seen: &Seen<'_>,
    content: &VirtualMachineSnapshotContent,
    now: Timestamp,
) -> Result<(), String> {
    if let Some(error) = error_of(content) {
        return Err(error);
    }
    let status = content.status.as_ref();
    decision.status.virtual_machine_snapshot_content_name = Some(content.name_any());
    decision.status.creation_time = status.and_then(|status| status.creation_time.clone());
    if is_ready(content) {
        let status = &mut decision.status;
        status.phase = Some(Phase::Succeeded);
        status.ready_to_use = Some(true);
        status.error = None;
        tell(
            status,
            conditions::PROGRESSING,
            false,
            "Operation complete",
            now,
        );
        tell(status, conditions::READY, true, "Operation complete", now);
        decision.next = Next::OnChange;
        if is_locked(seen) {
            decision.actions.push(Action::Unlock);
        }
        return Ok(());
    }
    match &content.spec.memory {
        None => {
            let whole = VirtualMachineSnapshotContentStatus {
                creation_time: Some(Time(now)),
                ready_to_use: Some(true),
                ..Default::default()
            };
            decision.actions.push(Action::Finish(Box::new(whole)));
        }
        Some(memory) => {
            let goes_on = seen.vmi.is_some_and(|vmi| {
                vmi.uid().as_deref() == Some(&memory.instance_uid)
                    && !instance_phase(vmi).is_some_and(InstancePhase::is_final)
            });
            if !goes_on {
                return Err("the guest ended before its memory was kept".to_owned());
            }
        }
    }
    waits(
        decision,
        true,
        "Source locked and operation in progress",
        now,
    );
    Ok(())
}

fn waits(decision: &mut Decision, progressing: bool, reason: &str, now: Timestamp) {
    let status = &mut decision.status;
    tell(status, conditions::PROGRESSING, progressing, reason, now);
    tell(status, conditions::READY, false, "Not ready", now);
}

fn fail(decision: &mut Decision, seen: &Seen<'_>, why: &str, now: Timestamp) {
    let status = &mut decision.status;
    status.phase = Some(Phase::Failed);
    status.ready_to_use = Some(false);
    status.virtual_machine_snapshot_content_name = None;
    status.error = Some(error(why, now));
    tell(
        status,
        conditions::PROGRESSING,
        false,
        "In error state",
        now,
    );
    tell(status, conditions::READY, false, "Not ready", now);
    tell(status, conditions::FAILURE, true, why, now);
    decision.fact = Some(Fact::warning("VirtualMachineSnapshotFailed", why));
    decision.next = Next::OnChange;
    decision.actions.retain(|action| *action == Action::Hold);
    if is_locked(seen) {
        decision.actions.push(Action::Unlock);
    }
    decision.actions.extend(seen.content.map(|_| Action::Drop));
}

fn error(message: &str, now: Timestamp) -> SnapshotError {
    SnapshotError {
        time: Some(Time(now)),
        message: Some(message.to_owned()),
    }
}

/// Sets a condition; KubeVirt writes its sentence into `reason`.
fn tell(
    status: &mut VirtualMachineSnapshotStatus,
    type_: &str,
    is: bool,
    reason: &str,
    now: Timestamp,
) {
    let wanted = Condition::new(type_, is, now).because(reason, "");
    condition::set(&mut status.conditions, wanted);
}
