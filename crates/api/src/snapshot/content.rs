//! `VirtualMachineSnapshotContent`: what a snapshot has. Written by the controller, and, of the memory, by the node that
//! has it; deleting it deletes the files.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::{CustomResource, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SnapshotError;
use crate::names::annotations;
use crate::quantity::Quantity;
use crate::virtual_machine::{VirtualMachineSpec, VirtualMachineStatus};

/// What a snapshot has.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "snapshot.kubevirt.io",
    version = "v1beta1",
    kind = "VirtualMachineSnapshotContent",
    plural = "virtualmachinesnapshotcontents",
    status = "VirtualMachineSnapshotContentStatus",
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled",
    namespaced
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineSnapshotContentSpec {
    /// The snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_machine_snapshot_name: Option<String>,
    /// What the source was.
    pub source: SourceSpec,
    /// Volumes with snapshots of their own; this version serves no such volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_backups: Vec<VolumeBackup>,
    /// The running instant that is, or is to be, kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemorySource>,
}

/// What the source was.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceSpec {
    /// The virtual machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_machine: Option<CapturedMachine>,
}

/// A virtual machine as it was.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CapturedMachine {
    /// Its metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crds::any_object")]
    pub metadata: Option<ObjectMeta>,
    /// Its spec: of what ran, where something ran.
    #[serde(default)]
    #[schemars(schema_with = "crate::crds::any_object")]
    pub spec: VirtualMachineSpec,
    /// Its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crds::any_object")]
    pub status: Option<VirtualMachineStatus>,
}

/// A volume with a snapshot of its own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeBackup {
    /// The volume.
    pub volume_name: String,
    /// Its snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_name: Option<String>,
}

/// Whose running instant is kept, and where.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemorySource {
    /// The node where it runs, which keeps it.
    pub node_name: String,
    /// Name of the VirtualMachineInstance.
    pub instance_name: String,
    /// Its UID.
    #[serde(rename = "instanceUID")]
    pub instance_uid: String,
    /// It is not kept if it could not go on as another machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_renewable: Option<bool>,
}

/// How a content stands.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineSnapshotContentStatus {
    /// The instant that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_time: Option<Time>,
    /// It is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_to_use: Option<bool>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<SnapshotError>,
    /// The running instant that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStatus>,
}

/// A running instant that is kept.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStatus {
    /// Room that it takes on the node's disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,
    /// For how many milliseconds the guest stood still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_milliseconds: Option<i64>,
    /// Can it go on as another machine? That needs a program in the guest that renews it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewable: Option<bool>,
    /// Why it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_renewable_because: Option<String>,
    /// What its node found when it was last asked to look through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<MemoryCheck>,
}

/// What a node found when it looked through a running instant that it keeps.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryCheck {
    /// UID of the VirtualMachineRestore that asked, by the annotation `anyvirt.io/check-requested`.
    #[serde(rename = "restoreUID")]
    pub restore_uid: String,
    /// Why no guest can go on from it; absent: one can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl VirtualMachineSnapshotContent {
    /// UID of the restore for which its node is to look through the memory.
    #[must_use]
    pub fn check_requested(&self) -> Option<&str> {
        let asked = self.annotations().get(annotations::CHECK_REQUESTED);
        asked.map(String::as_str)
    }

    /// What its node found when it last looked through the memory.
    #[must_use]
    pub fn checked(&self) -> Option<&MemoryCheck> {
        self.status.as_ref()?.memory.as_ref()?.checked.as_ref()
    }

    /// UID of the restore for which its node is still to look through the memory.
    #[must_use]
    pub fn check_pending(&self) -> Option<&str> {
        let answered = self.checked().map(|check| &*check.restore_uid);
        self.check_requested()
            .filter(|asked| answered != Some(*asked))
    }
}
