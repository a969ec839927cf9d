//! `KubeVirt` (`kubevirt.io/v1`): the installation and its configuration.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::accelerator::{EmulationMultiTenancy, EmulationPolicy, Problem};
use crate::condition::Condition;
use crate::quantity::Quantity;
use crate::unserved::Unserved;
use crate::warm_start::Mode;

/// What the installation shall be.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "kubevirt.io",
    version = "v1",
    kind = "KubeVirt",
    plural = "kubevirts",
    status = "KubeVirtStatus",
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled",
    namespaced
)]
#[serde(rename_all = "camelCase")]
pub struct KubeVirtSpec {
    /// How virtual machines are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<KubeVirtConfiguration>,
    /// Fields of KubeVirt that are not served.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unserved: Unserved,
}

/// How virtual machines are made.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeVirtConfiguration {
    /// Settings that KubeVirt files under development.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub developer_configuration: Option<DeveloperConfiguration>,
    /// The worst way to run guests that is permitted: `None` (KVM only), `Hardware` or `Software`
    /// (emulation where KVM does not work). Stands above every older place of this setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulation_policy: Option<EmulationPolicy>,
    /// What happens when emulated guests of several namespaces would share a node: `Allow`, `Warn`
    /// (the default) or `Deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulation_multi_tenancy: Option<EmulationMultiTenancy>,
    /// The most virtual processors of emulated guests for each core of a node, since a busy one costs a
    /// core. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulated_processors_per_core: Option<u32>,
    /// Whether virtual machines that say nothing themselves start from templates: `Never` (the default), `Auto` or
    /// `Require`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_start: Option<Mode>,
    /// Guests that stand by: restored from templates in demand before a machine is there, which then only adopts one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_start_pool: Option<WarmStartPoolConfiguration>,
    /// Default processor model.
    #[serde(default, rename = "cpuModel", skip_serializing_if = "Option::is_none")]
    pub cpu_model: Option<String>,
    /// Default processor request of a guest.
    #[serde(
        default,
        rename = "cpuRequest",
        skip_serializing_if = "Option::is_none"
    )]
    pub cpu_request: Option<Quantity>,
    /// Machine types by architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture_configuration: Option<ArchitectureConfiguration>,
    /// Network defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkConfiguration>,
    /// Default eviction strategy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eviction_strategy: Option<String>,
    /// Fields of KubeVirt that are not served.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unserved: Unserved,
}

/// How many guests stand by.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WarmStartPoolConfiguration {
    /// Of each template that machines started from in the last half hour, on each node: 0 (none) to 16. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 16))]
    pub size: Option<u32>,
    /// The most memory that all of a node take beside what they share with their templates. Default: a twentieth of
    /// the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_memory: Option<Quantity>,
}

/// Settings that KubeVirt files under development.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeveloperConfiguration {
    /// Permit software emulation where hardware virtualization does not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_emulation: Option<bool>,
    /// Feature gates that are on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feature_gates: Vec<String>,
    /// Feature gates that are off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disabled_feature_gates: Vec<String>,
    /// Guest memory as a percentage of the memory that is asked for. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_overcommit: Option<u32>,
    /// Virtual processors per processor that is asked for. Default 10.
    #[serde(
        default,
        rename = "cpuAllocationRatio",
        skip_serializing_if = "Option::is_none"
    )]
    pub cpu_allocation_ratio: Option<u32>,
    /// Labels that every launcher pod's node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selectors: BTreeMap<String, String>,
    /// Fields of KubeVirt that are not served.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unserved: Unserved,
}

/// Machine types by architecture.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchitectureConfiguration {
    /// x86-64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amd64: Option<MachineTypes>,
    /// 64-bit Arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm64: Option<MachineTypes>,
    /// Fields of KubeVirt that are not served.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unserved: Unserved,
}

/// Machine types of one architecture.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineTypes {
    /// The default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_type: Option<String>,
    /// Patterns of those that are allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emulated_machines: Vec<String>,
    /// Fields of KubeVirt that are not served.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unserved: Unserved,
}

/// Network defaults.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkConfiguration {
    /// Binding of an interface that is attached by default: `masquerade`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_network_interface: Option<String>,
    /// Fields of KubeVirt that are not served.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unserved: Unserved,
}

/// What the installation is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeVirtStatus {
    /// `Deploying`, `Deployed`, `Deleting` or `Deleted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// What is true of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Version of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_version: Option<String>,
    /// Version that is wanted.
    #[serde(
        default,
        rename = "targetKubeVirtVersion",
        skip_serializing_if = "Option::is_none"
    )]
    pub target_kubevirt_version: Option<String>,
    /// Version that runs.
    #[serde(
        default,
        rename = "observedKubeVirtVersion",
        skip_serializing_if = "Option::is_none"
    )]
    pub observed_kubevirt_version: Option<String>,
    /// Architecture that guests have by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_architecture: Option<String>,
    /// The emulation policy in force, and who decided it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulation: Option<EmulationStatus>,
    /// Every value of the configuration in force, and where it comes from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effective_configuration: Vec<EffectiveValue>,
}

/// A value of the configuration in force.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveValue {
    /// The field of the KubeVirt object that stands for it, whether it is written there or elsewhere.
    pub field: String,
    /// The value, lists separated by commas; empty if there is none.
    #[serde(default)]
    pub value: String,
    /// The place that says so, or `default`.
    pub from: String,
}

/// The emulation policy in force.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EmulationStatus {
    /// `None`, `Hardware` or `Software`.
    pub policy: String,
    /// The place that decided it.
    pub decided_by: String,
    /// What was not understood, and where places disagree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}
