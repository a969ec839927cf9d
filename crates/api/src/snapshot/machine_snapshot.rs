//! `VirtualMachineSnapshot`: somebody asks for a snapshot of a virtual machine.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LocalReference, SnapshotError};
use crate::condition::Condition;

/// How long a snapshot may take if it says nothing itself, as in KubeVirt.
pub const DEFAULT_FAILURE_DEADLINE: Duration = Duration::from_secs(300);

/// What a snapshot shall be of.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "snapshot.kubevirt.io",
    version = "v1beta1",
    kind = "VirtualMachineSnapshot",
    plural = "virtualmachinesnapshots",
    status = "VirtualMachineSnapshotStatus",
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled",
    namespaced
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineSnapshotSpec {
    /// The virtual machine.
    pub source: LocalReference,
    /// What happens to the content when this object is deleted: `Delete` (the default) or `Retain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// How long it may take, e.g. `5m0s` (the default); 0 for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_deadline: Option<String>,
    /// Also keep the running instant: the guest's memory, its devices and its disks. The virtual machine must run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_memory: Option<bool>,
    /// With the memory: refuse, before anything is kept, a guest that could not go on as another machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_renewable: Option<bool>,
}

impl VirtualMachineSnapshotSpec {
    /// How long it may take; `None` for ever. What cannot be read, which admission lets nobody write, is the default.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let written = self
            .failure_deadline
            .as_deref()
            .and_then(super::parse_duration);
        Some(written.unwrap_or(DEFAULT_FAILURE_DEADLINE)).filter(|it| !it.is_zero())
    }
}

/// What happens to a content when its snapshot is deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DeletionPolicy {
    /// It is deleted too.
    #[default]
    Delete,
    /// It stays.
    Retain,
}

/// How a snapshot stands.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Phase {
    /// It is being taken.
    InProgress,
    /// It was taken.
    Succeeded,
    /// It was not taken.
    Failed,
    /// It is being deleted.
    Deleting,
    /// Nobody has looked at it yet.
    #[default]
    Unknown,
}

/// What is said of a source when its snapshot is taken.
pub mod indications {
    /// It ran.
    pub const ONLINE: &str = "Online";
    /// Its processors were stopped.
    pub const PAUSED: &str = "Paused";
    /// It ran, and nothing in it was asked to bring its file systems to rest.
    pub const NO_GUEST_AGENT: &str = "NoGuestAgent";
    /// Some volumes are not in it.
    pub const PARTIAL_SNAPSHOT: &str = "PartialSnapshot";
    /// Ours: memory, devices and disks are of one instant.
    pub const MEMORY: &str = "Memory";
}

/// Something that is worth knowing about how a snapshot was taken.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct SourceIndication {
    /// One word.
    pub indication: String,
    /// A sentence.
    pub message: String,
}

/// Which volumes are in a snapshot.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotVolumes {
    /// Those that are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included_volumes: Vec<String>,
    /// Those that are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_volumes: Vec<String>,
}

/// How a snapshot stands.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineSnapshotStatus {
    /// UID of the virtual machine.
    #[serde(default, rename = "sourceUID", skip_serializing_if = "Option::is_none")]
    pub source_uid: Option<String>,
    /// What it has, which is an object of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_machine_snapshot_content_name: Option<String>,
    /// The instant that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_time: Option<Time>,
    /// How it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// It may be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_to_use: Option<bool>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<SnapshotError>,
    /// What is true of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The words of `sourceIndications`; deprecated by KubeVirt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indications: Vec<String>,
    /// How it was taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_indications: Vec<SourceIndication>,
    /// Which volumes are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_volumes: Option<SnapshotVolumes>,
}
