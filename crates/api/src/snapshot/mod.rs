//! Snapshots of virtual machines (`snapshot.kubevirt.io`): KubeVirt's kinds, and with `spec.includeMemory` also the
//! running instant: memory, devices and disks together.

mod content;
mod duration;
mod machine_snapshot;
pub mod patches;
mod restore;
pub mod ring;
#[cfg(test)]
mod tests;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use content::{
    CapturedMachine, MemoryCheck, MemorySource, MemoryStatus, SourceSpec,
    VirtualMachineSnapshotContent, VirtualMachineSnapshotContentSpec,
    VirtualMachineSnapshotContentStatus, VolumeBackup,
};
pub use duration::parse as parse_duration;
pub use machine_snapshot::{
    DEFAULT_FAILURE_DEADLINE, DeletionPolicy, Phase, SnapshotVolumes, SourceIndication,
    VirtualMachineSnapshot, VirtualMachineSnapshotSpec, VirtualMachineSnapshotStatus, indications,
};
pub use restore::{
    TargetReadinessPolicy, VirtualMachineRestore, VirtualMachineRestoreSpec,
    VirtualMachineRestoreStatus, VolumeRestore, VolumeRestorePolicy,
};

/// Types of the conditions of these kinds. What KubeVirt says of them it says in their `reason`.
pub mod conditions {
    /// It is done, and may be used.
    pub const READY: &str = "Ready";
    /// Work goes on.
    pub const PROGRESSING: &str = "Progressing";
    /// It failed, for good.
    pub const FAILURE: &str = "Failure";
}

/// What a snapshot is of, or a restore changes.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalReference {
    /// Its API group: `kubevirt.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// Its kind: `VirtualMachine`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl LocalReference {
    /// The virtual machine of this name.
    #[must_use]
    pub fn machine(name: &str) -> Self {
        Self {
            api_group: Some(crate::names::GROUP.to_owned()),
            kind: "VirtualMachine".to_owned(),
            name: name.to_owned(),
        }
    }
}

/// What went wrong.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotError {
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// A sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
