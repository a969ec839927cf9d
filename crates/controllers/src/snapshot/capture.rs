//! What a snapshot has of its source.

use crate::virtual_machine::is_outdated;
use api::condition;
use api::names::{annotations, labels, snapshot_finalizers};
use api::snapshot::{
    CapturedMachine, MemorySource, SnapshotVolumes, SourceIndication, SourceSpec,
    VirtualMachineSnapshot, VirtualMachineSnapshotContent, VirtualMachineSnapshotContentSpec,
    indications,
};
use api::virtual_machine::{VirtualMachine, VirtualMachineSpec};
use api::virtual_machine_instance::{VirtualMachineInstance, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

/// The name of a snapshot's content.
pub(crate) fn content_name(snapshot: &VirtualMachineSnapshot) -> String {
    format!("vmsnapshot-content-{}", snapshot.uid().unwrap_or_default())
}

/// The content of `snapshot`, which is of `vm` and of what runs of it; with `memory` a node will fill it.
pub(super) fn content(
    snapshot: &VirtualMachineSnapshot,
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    memory: Option<MemorySource>,
) -> VirtualMachineSnapshotContent {
    let machine = CapturedMachine {
        metadata: Some(metadata(vm)),
        spec: spec(vm, vmi),
        status: vm.status.clone(),
    };
    let spec = VirtualMachineSnapshotContentSpec {
        virtual_machine_snapshot_name: Some(snapshot.name_any()),
        source: SourceSpec {
            virtual_machine: Some(machine),
        },
        volume_backups: Vec::new(),
        memory,
    };
    let mut content = VirtualMachineSnapshotContent::new(&content_name(snapshot), spec);
    content.metadata.namespace = snapshot.metadata.namespace.clone();
    content.metadata.finalizers = Some(vec![snapshot_finalizers::CONTENT.to_owned()]);
    content
}

fn metadata(vm: &VirtualMachine) -> ObjectMeta {
    let mut annotated = vm.annotations().clone();
    for name in [
        annotations::LAST_APPLIED,
        annotations::RESUME_FROM,
        annotations::RESUME_AS,
        annotations::RESUME_NODE,
    ] {
        annotated.remove(name);
    }
    ObjectMeta {
        name: vm.metadata.name.clone(),
        namespace: vm.metadata.namespace.clone(),
        uid: vm.metadata.uid.clone(),
        generation: vm.metadata.generation,
        creation_timestamp: vm.metadata.creation_timestamp.clone(),
        labels: vm.metadata.labels.clone(),
        annotations: (!annotated.is_empty()).then_some(annotated),
        ..ObjectMeta::default()
    }
}

/// The machine's spec, of what runs if that is another one.
fn spec(vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>) -> VirtualMachineSpec {
    let mut spec = vm.spec.clone();
    if let Some(vmi) = vmi.filter(|vmi| is_outdated(vm, vmi))
        && let Some(template) = &mut spec.template
    {
        template.spec = vmi.spec.clone();
        // That it goes on where its state was is not of its template.
        if vmi.annotations().contains_key(annotations::RESUME_NODE) {
            template.spec.node_selector.remove(labels::HOSTNAME);
        }
    }
    spec
}

fn volumes(vm: &VirtualMachine) -> &[Volume] {
    let template = vm.spec.template.as_ref();
    template
        .map(|it| it.spec.volumes.as_slice())
        .unwrap_or_default()
}

/// A volume that cannot be kept together with the memory.
pub(super) fn host_disk(vm: &VirtualMachine) -> Option<String> {
    let mut volumes = volumes(vm).iter().enumerate();
    let (at, volume) = volumes.find(|(_, volume)| volume.host_disk.is_some())?;
    Some(format!(
        "spec.template.spec.volumes[{at}] \"{}\" is a hostDisk, which goes on changing when the instant is kept; use \
         containerDisk or emptyDisk, or leave out spec.includeMemory",
        volume.name
    ))
}

/// Which volumes are in a snapshot: with the memory all of them; without, none can be read at an instant.
pub(super) fn snapshot_volumes(vm: &VirtualMachine, memory: bool) -> SnapshotVolumes {
    let names = volumes(vm)
        .iter()
        .map(|volume| volume.name.clone())
        .collect();
    if memory {
        SnapshotVolumes {
            included_volumes: names,
            excluded_volumes: Vec::new(),
        }
    } else {
        SnapshotVolumes {
            included_volumes: Vec::new(),
            excluded_volumes: names,
        }
    }
}

/// How the snapshot is taken.
pub(super) fn source_indications(
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    memory: bool,
) -> Vec<SourceIndication> {
    let mut all = Vec::new();
    let mut tell = |indication: &str, message: &str| {
        all.push(SourceIndication {
            indication: indication.to_owned(),
            message: message.to_owned(),
        });
    };
    let is = |type_: &str| {
        let status = vmi.and_then(|vmi| vmi.status.as_ref());
        status.is_some_and(|status| condition::is_true(&status.conditions, type_))
    };
    if vmi.is_some() {
        tell(indications::ONLINE, "the virtual machine ran");
        if is("Paused") {
            tell(indications::PAUSED, "its processors were stopped");
        }
        if memory {
            let message = "memory, devices and disks are of one instant";
            tell(indications::MEMORY, message);
        } else if !is("AgentConnected") {
            tell(
                indications::NO_GUEST_AGENT,
                "nothing in it was asked to bring its file systems to rest",
            );
        }
    }
    if !memory && !volumes(vm).is_empty() {
        let message = "its volumes are not in the snapshot: set spec.includeMemory to keep what the guest has written";
        tell(indications::PARTIAL_SNAPSHOT, message);
    }
    all
}
