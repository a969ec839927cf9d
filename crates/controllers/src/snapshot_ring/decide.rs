//! A virtual machine and the snapshots of its ring in; the next one, and those that are too many, out.

use crate::engine::Next;
use api::condition;
use api::names::{annotations, labels};
use api::snapshot::{
    DeletionPolicy, LocalReference, Phase, VirtualMachineSnapshot, VirtualMachineSnapshotSpec, ring,
};
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::{Phase as InstancePhase, VirtualMachineInstance};
use jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};
use std::sync::Arc;
use std::time::Duration;

/// One change to an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Take this snapshot.
    Take(Box<VirtualMachineSnapshot>),
    /// Delete the snapshot of this name.
    Delete(String),
}

/// Decides about the ring of `vm`, whose snapshots `all` are.
pub(super) fn decide(
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    all: &[Arc<VirtualMachineSnapshot>],
    now: Timestamp,
) -> (Vec<Action>, Next) {
    // Admission lets nobody write one that cannot be read.
    let Ok(Some(ring)) = ring::asked(vm.annotations()) else {
        return (Vec::new(), Next::OnChange);
    };
    let mut all: Vec<&VirtualMachineSnapshot> = all.iter().map(AsRef::as_ref).collect();
    all.retain(|it| it.metadata.deletion_timestamp.is_none());
    all.sort_by_key(|it| (begun(it), it.name_any()));
    let mut actions: Vec<Action> = too_many(&all, ring.keep).map(Action::Delete).collect();
    if vm.metadata.deletion_timestamp.is_some() || !is_idle(vm) || !runs(vmi) {
        return (actions, Next::OnChange);
    }
    if all.iter().any(|it| !is_over(it)) {
        return (actions, Next::OnChange);
    }
    let last = all.last().and_then(|it| begun(it));
    let passed = last.and_then(|last| Duration::try_from(now.duration_since(last)).ok());
    let left = passed.map_or(Duration::ZERO, |passed| ring.every.saturating_sub(passed));
    if !left.is_zero() {
        return (actions, Next::After(left));
    }
    actions.push(Action::Take(Box::new(snapshot(vm, now))));
    (actions, Next::After(ring.every))
}

fn begun(snapshot: &VirtualMachineSnapshot) -> Option<Timestamp> {
    snapshot.creation_timestamp().map(|time| time.0)
}

fn phase(snapshot: &VirtualMachineSnapshot) -> Phase {
    let status = snapshot.status.as_ref();
    status.and_then(|status| status.phase).unwrap_or_default()
}

fn is_over(snapshot: &VirtualMachineSnapshot) -> bool {
    matches!(phase(snapshot), Phase::Succeeded | Phase::Failed)
}

/// Nobody else is at work on the machine.
fn is_idle(vm: &VirtualMachine) -> bool {
    let status = vm.status.as_ref();
    status.is_none_or(|it| it.snapshot_in_progress.is_none() && it.restore_in_progress.is_none())
}

/// A guest that stands still is as it was.
fn runs(vmi: Option<&VirtualMachineInstance>) -> bool {
    let Some(vmi) = vmi.filter(|vmi| vmi.metadata.deletion_timestamp.is_none()) else {
        return false;
    };
    let status = vmi.status.clone().unwrap_or_default();
    status.phase == Some(InstancePhase::Running)
        && !condition::is_true(&status.conditions, "Paused")
}

/// Names of those that are not kept, of snapshots sorted by age: all but the latest `keep` that were taken; and those that
/// were not, except the last if it is the latest of all, which people may want to read.
fn too_many<'a>(
    all: &'a [&VirtualMachineSnapshot],
    keep: u32,
) -> impl Iterator<Item = String> + 'a {
    let taken = all
        .iter()
        .filter(|it| phase(it) == Phase::Succeeded)
        .count();
    let surplus = taken.saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
    let old = all
        .iter()
        .filter(|it| phase(it) == Phase::Succeeded)
        .take(surplus);
    let latest = all.last().map(|it| it.name_any());
    let failed = all
        .iter()
        .filter(move |it| phase(it) == Phase::Failed && Some(it.name_any()) != latest);
    old.chain(failed).map(|it| it.name_any())
}

fn snapshot(vm: &VirtualMachine, now: Timestamp) -> VirtualMachineSnapshot {
    let name = name(&vm.name_any(), now);
    let spec = VirtualMachineSnapshotSpec {
        source: LocalReference::machine(&vm.name_any()),
        deletion_policy: Some(DeletionPolicy::Delete),
        failure_deadline: None,
        include_memory: Some(true),
        require_renewable: None,
    };
    let mut snapshot = VirtualMachineSnapshot::new(&name, spec);
    snapshot.metadata.namespace = vm.metadata.namespace.clone();
    snapshot.metadata.labels = Some(
        [(
            labels::SNAPSHOT_RING.to_owned(),
            vm.uid().unwrap_or_default(),
        )]
        .into(),
    );
    snapshot.metadata.annotations = Some(
        [annotations::SNAPSHOT_RING]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), vm.annotations().get(name)?.clone())))
            .collect(),
    );
    // Its machine's history goes with the machine.
    snapshot.metadata.owner_references = vm.owner_ref(&()).map(|owner| vec![owner]);
    snapshot
}

/// Names sort by time. The longest name of an object is 253 bytes.
fn name(vm: &str, now: Timestamp) -> String {
    const LONGEST: usize = 253 - "-ring-20261123t120000z".len();
    let short = vm.get(..vm.len().min(LONGEST)).unwrap_or(vm);
    let short = short.trim_end_matches(['-', '.']);
    format!("{short}-ring-{}", now.strftime("%Y%m%dt%H%M%Sz"))
}
