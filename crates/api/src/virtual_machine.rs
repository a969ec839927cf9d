//! `VirtualMachine` (`kubevirt.io/v1`): a virtual machine that exists whether it runs or not.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::unserved::Unserved;
use crate::virtual_machine_instance::VirtualMachineInstanceSpec;

/// What a virtual machine shall be, and when it shall run.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "kubevirt.io",
    version = "v1",
    kind = "VirtualMachine",
    plural = "virtualmachines",
    status = "VirtualMachineStatus",
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled",
    namespaced
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineSpec {
    /// Deprecated: true is run strategy `Always`, false is `Halted`. Excludes `runStrategy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<bool>,
    /// `Always`, `Halted`, `Manual`, `RerunOnFailure` or `Once`; see [`RunStrategy`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_strategy: Option<String>,
    /// What its instances look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<VirtualMachineInstanceTemplate>,
    /// Fields of KubeVirt that are not served; [`crate::validate`] refuses them by name.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unserved: Unserved,
}

impl VirtualMachineSpec {
    /// The run strategy in force: of `runStrategy`, else of the deprecated `running`; `None` if
    /// neither is set or the name is unknown, which validation refuses.
    pub fn strategy(&self) -> Option<RunStrategy> {
        match (&self.run_strategy, self.running) {
            (Some(name), _) => RunStrategy::parse(name),
            (None, Some(true)) => Some(RunStrategy::Always),
            (None, Some(false)) => Some(RunStrategy::Halted),
            (None, None) => None,
        }
    }
}

/// What a virtual machine's instances look like.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct VirtualMachineInstanceTemplate {
    /// Labels and annotations of the instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crds::any_object")]
    pub metadata: Option<ObjectMeta>,
    /// Their spec.
    pub spec: VirtualMachineInstanceSpec,
}

/// When a virtual machine runs.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum RunStrategy {
    /// Always; an instance that ended is replaced.
    Always,
    /// Never.
    Halted,
    /// When asked through the API.
    Manual,
    /// Until it ends well.
    RerunOnFailure,
    /// Once.
    Once,
}

impl RunStrategy {
    /// The strategy of that name, if it is served.
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::Always,
            Self::Halted,
            Self::Manual,
            Self::RerunOnFailure,
            Self::Once,
        ]
        .into_iter()
        .find(|strategy| strategy.to_string() == name)
    }
}

impl fmt::Display for RunStrategy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// What a virtual machine is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineStatus {
    /// It has an instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<bool>,
    /// Its instance is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// One word for people.
    #[serde(default)]
    pub printable_status: PrintableStatus,
    /// What runs its guest, `KVM` or `TCG`, as QEMU itself reports; only while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<String>,
    /// The run strategy last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_strategy: Option<RunStrategy>,
    /// What is true of it; every condition of the instance is repeated here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What was asked through the API and is not done yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state_change_requests: Vec<StateChangeRequest>,
    /// Where its guest is saved, while it is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspension: Option<Suspension>,
    /// How often starting it failed in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_failure: Option<StartFailure>,
    /// The generation the running instance was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The generation the next instance will be made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_generation: Option<i64>,
    /// The VirtualMachineSnapshot that is being taken of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_in_progress: Option<String>,
    /// The VirtualMachineRestore that is about to change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_in_progress: Option<String>,
}

/// Where the guest of a suspended machine is saved.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Suspension {
    /// The node that has it.
    pub node: String,
    /// Its name there.
    pub id: String,
    /// The instant from which the guest goes on.
    pub at: Time,
    /// Bytes of disk space that it takes.
    pub disk_bytes: i64,
}

/// A virtual machine's state in one word.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Deserialize,
    Eq,
    Hash,
    JsonSchema,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
)]
pub enum PrintableStatus {
    /// It does not run.
    #[default]
    Stopped,
    /// Its disks are being made.
    Provisioning,
    /// It is about to run.
    Starting,
    /// It runs.
    Running,
    /// Its processors are stopped.
    Paused,
    /// Its guest is saved with its memory, and goes on from there when it is resumed.
    Suspended,
    /// It is about to stop.
    Stopping,
    /// It is being deleted.
    Terminating,
    /// It ended again and again before it ran, and waits before the next try.
    CrashLoopBackOff,
    /// It moves to another node.
    Migrating,
    /// Its node cannot be asked.
    Unknown,
    /// No node can take its pod.
    ErrorUnschedulable,
    /// An image cannot be pulled.
    ErrImagePull,
    /// An image cannot be pulled, and the next try waits.
    ImagePullBackOff,
    /// A claim does not exist.
    ErrorPvcNotFound,
    /// A disk could not be made.
    DataVolumeError,
    /// A claim is not bound.
    WaitingForVolumeBinding,
    /// It waits for its other half in another cluster.
    WaitingForReceiver,
}

impl fmt::Display for PrintableStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// What was asked through the API.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct StateChangeRequest {
    /// Start or stop.
    pub action: StateChangeAction,
    /// Details, e.g. `paused: "true"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// The instance that is to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// Actions that can be asked.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum StateChangeAction {
    /// Make an instance.
    Start,
    /// Delete the instance.
    Stop,
}

/// Failures to start, in a row.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartFailure {
    /// How many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive_fail_count: Option<i32>,
    /// The instance that failed last.
    #[serde(
        default,
        rename = "lastFailedVMIUID",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_failed_vmi_uid: Option<String>,
    /// No earlier try than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_timestamp: Option<Time>,
}
