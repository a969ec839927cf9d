//! The definitions of snapshots, their contents and restores, with KubeVirt's names and columns, and one column of ours.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition,
};

use super::{Kind, add, age, column, definition, schema_of};
use crate::names;
use crate::snapshot::{
    VirtualMachineRestoreSpec, VirtualMachineRestoreStatus, VirtualMachineSnapshotContentSpec,
    VirtualMachineSnapshotContentStatus, VirtualMachineSnapshotSpec, VirtualMachineSnapshotStatus,
};
use crate::unserved;

const VERSIONS: [(&str, Option<&str>); 2] = [
    (names::SNAPSHOT_VERSION, None),
    (names::SNAPSHOT_OLD_VERSION, None),
];

pub(super) fn machine_snapshot() -> CustomResourceDefinition {
    definition(Kind {
        names: [
            "VirtualMachineSnapshot",
            "virtualmachinesnapshot",
            "virtualmachinesnapshots",
        ],
        short_names: &["vmsnapshot", "vmsnapshots"],
        label: names::labels::KUBEVIRT,
        versions: &VERSIONS,
        group: names::SNAPSHOT_GROUP,
        status_subresource: true,
        columns: vec![
            column("SourceKind", ".spec.source.kind", "", 0),
            column("SourceName", ".spec.source.name", "", 0),
            column("Phase", ".status.phase", "", 0),
            boolean("ReadyToUse", ".status.readyToUse"),
            date("CreationTime", ".status.creationTime"),
            column("Error", ".status.error.message", "", 0),
            column(
                "Memory",
                ".spec.includeMemory",
                "Is the running instant in it?",
                1,
            ),
        ],
        spec: schema_of::<VirtualMachineSnapshotSpec>(),
        status: schema_of::<VirtualMachineSnapshotStatus>(),
    })
}

pub(super) fn content() -> CustomResourceDefinition {
    definition(Kind {
        names: [
            "VirtualMachineSnapshotContent",
            "virtualmachinesnapshotcontent",
            "virtualmachinesnapshotcontents",
        ],
        short_names: &["vmsnapshotcontent", "vmsnapshotcontents"],
        label: names::labels::KUBEVIRT,
        versions: &VERSIONS,
        group: names::SNAPSHOT_GROUP,
        status_subresource: true,
        columns: vec![
            boolean("ReadyToUse", ".status.readyToUse"),
            date("CreationTime", ".status.creationTime"),
            column("Error", ".status.error.message", "", 0),
            column(
                "MemorySize",
                ".status.memory.size",
                "Room that the running instant takes on disk",
                1,
            ),
            column("Node", ".spec.memory.nodeName", "", 1),
        ],
        spec: schema_of::<VirtualMachineSnapshotContentSpec>(),
        status: schema_of::<VirtualMachineSnapshotContentStatus>(),
    })
}

pub(super) fn restore() -> CustomResourceDefinition {
    let mut spec = schema_of::<VirtualMachineRestoreSpec>();
    add(&mut spec, "", unserved::RESTORE);
    definition(Kind {
        names: [
            "VirtualMachineRestore",
            "virtualmachinerestore",
            "virtualmachinerestores",
        ],
        short_names: &["vmrestore", "vmrestores"],
        label: names::labels::KUBEVIRT,
        versions: &VERSIONS,
        group: names::SNAPSHOT_GROUP,
        status_subresource: true,
        columns: vec![
            column("TargetKind", ".spec.target.kind", "", 0),
            column("TargetName", ".spec.target.name", "", 0),
            boolean("Complete", ".status.complete"),
            date("RestoreTime", ".status.restoreTime"),
            CustomResourceColumnDefinition {
                priority: Some(1),
                ..age()
            },
        ],
        spec,
        status: schema_of::<VirtualMachineRestoreStatus>(),
    })
}

fn boolean(name: &str, path: &str) -> CustomResourceColumnDefinition {
    of_type("boolean", name, path)
}

fn date(name: &str, path: &str) -> CustomResourceColumnDefinition {
    of_type("date", name, path)
}

fn of_type(type_: &str, name: &str, path: &str) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        type_: type_.to_owned(),
        ..column(name, path, "", 0)
    }
}
