//! `VirtualMachineRestore`: somebody asks that a virtual machine becomes what a snapshot has.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LocalReference;
use crate::condition::Condition;
use crate::unserved::Unserved;

/// What shall be restored, and as what.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "snapshot.kubevirt.io",
    version = "v1beta1",
    kind = "VirtualMachineRestore",
    plural = "virtualmachinerestores",
    status = "VirtualMachineRestoreStatus",
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled",
    namespaced
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineRestoreSpec {
    /// The virtual machine that becomes it: the snapshot's source, or one that does not exist yet.
    pub target: LocalReference,
    /// The snapshot.
    pub virtual_machine_snapshot_name: String,
    /// What if the target runs? `WaitGracePeriod` (the default: five minutes), `StopTarget`, `FailImmediate` or
    /// `WaitEventually`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_readiness_policy: Option<TargetReadinessPolicy>,
    /// How restored volumes are named. This version serves no volumes of which it could be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_restore_policy: Option<VolumeRestorePolicy>,
    /// JSON patches, each one operation written as text, e.g. `{"op": "replace", "path": "/spec/runStrategy", "value": "Halted"}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<String>,
    /// Fields of KubeVirt that are not served; [`crate::validate`] refuses them by name.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unserved: Unserved,
}

/// What a restore does with a target that runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum TargetReadinessPolicy {
    /// It waits five minutes for somebody to stop it.
    #[default]
    WaitGracePeriod,
    /// It stops it.
    StopTarget,
    /// It fails.
    FailImmediate,
    /// It waits for ever.
    WaitEventually,
}

/// How restored volumes are named.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum VolumeRestorePolicy {
    /// At random.
    #[default]
    RandomizeNames,
    /// As they were.
    InPlace,
    /// With the target's name before theirs.
    PrefixTargetName,
}

/// A volume that was restored.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeRestore {
    /// The volume.
    pub volume_name: String,
    /// Its claim.
    #[serde(default, rename = "persistentVolumeClaim")]
    pub persistent_volume_claim_name: String,
    /// Its snapshot.
    #[serde(default)]
    pub volume_snapshot_name: String,
}

/// How a restore stands.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineRestoreStatus {
    /// Volumes that were restored; this version serves none that can be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restores: Vec<VolumeRestore>,
    /// When it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_time: Option<Time>,
    /// It is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<bool>,
    /// What is true of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
