//! What is wrong with snapshots and restores, and with a virtual machine's updates meanwhile, in KubeVirt's words.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::cause::{Cause, Causes, Path};
use super::refuse_unserved;
use crate::names;
use crate::snapshot::{
    LocalReference, VirtualMachineRestore, VirtualMachineSnapshot, parse_duration, patches, ring,
};
use crate::unserved;
use crate::virtual_machine::VirtualMachine;

/// What is wrong with a new snapshot.
#[must_use]
pub fn virtual_machine_snapshot(snapshot: &VirtualMachineSnapshot) -> Vec<Cause> {
    let mut causes = Causes::default();
    let spec = Path::of("spec");
    check_reference(&spec.field("source"), &snapshot.spec.source, &mut causes);
    if let Some(written) = &snapshot.spec.failure_deadline
        && parse_duration(written).is_none()
    {
        let path = spec.field("failureDeadline");
        let message = format!(
            "{path} '{}': is no duration of at most a year: write e.g. 5m0s, or 0 for no deadline",
            written.escape_debug()
        );
        causes.invalid(&path, message);
    }
    let needs_memory = snapshot.spec.require_renewable == Some(true);
    if needs_memory && snapshot.spec.include_memory != Some(true) {
        let path = spec.field("requireRenewable");
        let message =
            format!("{path}: without includeMemory no guest goes on; set that too, or remove this");
        causes.invalid(&path, message);
    }
    causes.into()
}

/// What is wrong with the update of a snapshot.
#[must_use]
pub fn virtual_machine_snapshot_update(
    old: &VirtualMachineSnapshot,
    new: &VirtualMachineSnapshot,
) -> Vec<Cause> {
    immutable(old.spec == new.spec)
}

/// What is wrong with a new restore.
#[must_use]
pub fn virtual_machine_restore(restore: &VirtualMachineRestore) -> Vec<Cause> {
    let mut causes = Causes::default();
    let spec = Path::of("spec");
    let value = serde_json::to_value(&restore.spec).unwrap_or_default();
    refuse_unserved(&spec, unserved::RESTORE, &value, &mut causes);
    check_reference(&spec.field("target"), &restore.spec.target, &mut causes);
    let name = spec.field("virtualMachineSnapshotName");
    if restore.spec.virtual_machine_snapshot_name.is_empty() {
        causes.required(&name, format!("{name} must name a VirtualMachineSnapshot"));
    }
    let path = spec.field("patches");
    if restore.spec.patches.len() > patches::MOST {
        let message = format!("{path}: at most {} patches are served", patches::MOST);
        causes.invalid(&path, message);
    }
    for (index, text) in restore.spec.patches.iter().enumerate().take(patches::MOST) {
        if let Err(why) = patches::read(text) {
            causes.invalid(&path.index(index), why);
        }
    }
    causes.into()
}

/// What is wrong with the update of a restore.
#[must_use]
pub fn virtual_machine_restore_update(
    old: &VirtualMachineRestore,
    new: &VirtualMachineRestore,
) -> Vec<Cause> {
    immutable(old.spec == new.spec)
}

fn immutable(stays: bool) -> Vec<Cause> {
    let mut causes = Causes::default();
    if !stays {
        // "in" is KubeVirt's own spelling, which clients compare with.
        causes.invalid(&Path::of("spec"), "spec in immutable after creation");
    }
    causes.into()
}

fn check_reference(path: &Path, reference: &LocalReference, causes: &mut Causes) {
    let group = path.field("apiGroup");
    match reference.api_group.as_deref() {
        None => causes.required(&group, "missing apiGroup"),
        Some(names::GROUP) if reference.kind == "VirtualMachine" => {}
        Some(names::GROUP) => causes.invalid(&path.field("kind"), "invalid kind"),
        Some(_) => causes.invalid(&group, "invalid apiGroup"),
    }
    let name = path.field("name");
    if reference.name.is_empty() {
        causes.required(&name, format!("{name} must name a VirtualMachine"));
    }
}

/// The annotation that asks for a ring of snapshots must be understood.
pub(super) fn check_ring(path: &Path, metadata: &ObjectMeta, causes: &mut Causes) {
    let path = path.field("annotations");
    let asked = metadata.annotations.as_ref().map(ring::asked);
    if let Some(Err(why)) = asked {
        causes.not_supported(&path, format!("{path}: {why}"));
    }
}

/// What is wrong with the update of a virtual machine while a snapshot of it is taken, or it is restored, by anybody
/// but those who do that.
#[must_use]
pub fn machine_lock(old: &VirtualMachine, new: &VirtualMachine) -> Vec<Cause> {
    let mut causes = Causes::default();
    let Some(status) = old.status.as_ref() else {
        return causes.into();
    };
    let spec = Path::of("spec");
    let runs_otherwise = old.spec.strategy() != new.spec.strategy();
    if let Some(name) = &status.snapshot_in_progress {
        let volumes = |machine: &VirtualMachine| {
            let template = machine.spec.template.clone();
            template.map(|it| (it.spec.volumes, it.spec.domain.devices.disks))
        };
        if volumes(old) != volumes(new) {
            let message =
                format!("Cannot update vm disks or volumes until snapshot \"{name}\" completes");
            causes.not_supported(&spec, message);
        }
        if runs_otherwise {
            let message =
                format!("Cannot update vm running state until snapshot \"{name}\" completes");
            causes.not_supported(&spec, message);
        }
    }
    if let Some(name) = &status.restore_in_progress
        && runs_otherwise
    {
        let message = format!("Cannot update VM runStrategy until restore \"{name}\" completes");
        causes.not_supported(&spec, message);
    }
    causes.into()
}
