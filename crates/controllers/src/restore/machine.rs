//! What a virtual machine becomes by a restore.

use api::launcher::saved::Renewal;
use api::names::annotations;
use api::snapshot::{
    CapturedMachine, VirtualMachineRestore, VirtualMachineSnapshotContent, patches,
};
use api::virtual_machine::{RunStrategy, VirtualMachine};
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Annotations of a source that its copies do not have.
const OF_THE_SOURCE_ALONE: [&str; 5] = [
    annotations::SNAPSHOT_RING,
    annotations::SUSPENDED,
    annotations::LAST_APPLIED,
    annotations::LAST_RESTORE,
    annotations::GENERATED_FIRMWARE,
];

/// What is noted on a virtual machine of the restore that has written its spec last.
pub(super) fn mark(restore: &VirtualMachineRestore) -> String {
    let uid = restore.uid().unwrap_or_default();
    format!("{}-{uid}", restore.name_any())
}

/// Whether the target becomes another machine than the source is.
pub(super) fn is_fork(restore: &VirtualMachineRestore, source: &CapturedMachine) -> bool {
    let metadata = source.metadata.as_ref();
    metadata.and_then(|it| it.name.as_ref()) != Some(&restore.spec.target.name)
}

/// The virtual machine as it is to be: `present` changed, or a new one.
///
/// # Errors
/// Why it cannot be, a sentence.
pub(super) fn restored(
    restore: &VirtualMachineRestore,
    content: &VirtualMachineSnapshotContent,
    source: &CapturedMachine,
    present: Option<&VirtualMachine>,
) -> Result<VirtualMachine, String> {
    let mut spec = source.spec.clone();
    let strategy = if content.spec.memory.is_some() {
        spec.strategy().unwrap_or(RunStrategy::Always)
    } else {
        // As in KubeVirt: the snapshot may be of a machine that ran, and whoever restores it starts it.
        RunStrategy::Halted
    };
    match spec.running {
        Some(_) => spec.running = Some(strategy == RunStrategy::Always),
        None => spec.run_strategy = Some(strategy.to_string()),
    }
    let (labels, annotated) = match present {
        Some(vm) => (vm.labels().clone(), vm.annotations().clone()),
        None => of_source(source),
    };
    let mut machine = json!({
        "metadata": { "labels": labels, "annotations": annotated },
        "spec": as_json(&spec)?,
    });
    if is_fork(restore, source) {
        forget_identity(&mut machine);
    }
    let mut machine = patches::apply(&machine, &restore.spec.patches)?;
    machine["apiVersion"] = json!("kubevirt.io/v1");
    machine["kind"] = json!("VirtualMachine");
    let mut vm: VirtualMachine = serde_json::from_value(machine)
        .map_err(|error| format!("what was patched is no virtual machine: {error}"))?;
    vm.metadata.name = Some(restore.spec.target.name.clone());
    vm.metadata.namespace = restore.namespace();
    let annotated = vm.annotations_mut();
    annotated.insert(annotations::LAST_RESTORE.to_owned(), mark(restore));
    if let Some(memory) = &content.spec.memory {
        let renewal = if is_fork(restore, source) {
            Renewal::Everything
        } else {
            Renewal::Clock
        };
        for (name, value) in [
            (annotations::RESUME_FROM, content.uid().unwrap_or_default()),
            (annotations::RESUME_AS, format!("{renewal:?}")),
            (annotations::RESUME_NODE, memory.node_name.clone()),
        ] {
            annotated.insert(name.to_owned(), value);
        }
        if vm.spec.strategy() == Some(RunStrategy::Halted) {
            return Err(
                "spec.patches: a machine that goes on from its memory runs; leave its runStrategy, or make it Manual"
                    .to_owned(),
            );
        }
    }
    Ok(vm)
}

fn as_json(value: &impl serde::Serialize) -> Result<Value, String> {
    serde_json::to_value(value).map_err(|error| error.to_string())
}

fn of_source(source: &CapturedMachine) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let metadata = source.metadata.clone().unwrap_or_default();
    let mut annotated = metadata.annotations.unwrap_or_default();
    annotated.retain(|name, _| !OF_THE_SOURCE_ALONE.contains(&name.as_str()));
    (metadata.labels.unwrap_or_default(), annotated)
}

/// Two machines with one firmware identity, or one MAC address, would be in each other's way; admission and the node
/// make new ones.
fn forget_identity(machine: &mut Value) {
    let template = "/spec/template/metadata/annotations";
    if let Some(Value::Object(annotated)) = machine.pointer_mut(template) {
        annotated.remove(annotations::GENERATED_FIRMWARE);
    }
    let firmware = machine.pointer_mut("/spec/template/spec/domain/firmware");
    if let Some(Value::Object(firmware)) = firmware {
        firmware.remove("uuid");
        firmware.remove("serial");
    }
    let interfaces = machine.pointer_mut("/spec/template/spec/domain/devices/interfaces");
    let interfaces = interfaces.and_then(Value::as_array_mut);
    let objects = interfaces.into_iter().flatten();
    for interface in objects.filter_map(Value::as_object_mut) {
        let _: Option<Value> = Map::remove(interface, "macAddress");
    }
}
