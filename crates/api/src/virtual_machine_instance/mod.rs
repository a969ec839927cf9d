//! `VirtualMachineInstance` (`kubevirt.io/v1`): one run of a virtual machine.
//!
//! It has no status subresource, as KubeVirt's has none: status is written on the main object.

mod devices;
mod domain;
mod status;
mod timeline;
mod volumes;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use devices::*;
pub use domain::*;
pub use status::*;
pub use timeline::*;
pub use volumes::*;

use crate::accelerator::EmulationPolicy;
use crate::unserved::Unserved;

/// What a virtual machine shall be.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "kubevirt.io",
    version = "v1",
    kind = "VirtualMachineInstance",
    plural = "virtualmachineinstances",
    status = "VirtualMachineInstanceStatus",
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled",
    namespaced
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineInstanceSpec {
    /// The guest's processor architecture: `amd64`, `arm64` or `s390x`. Default: the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The guest's host name. Default: the object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The guest's sub-domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdomain: Option<String>,
    /// Hardware of the virtual machine.
    pub domain: DomainSpec,
    /// Networks that interfaces are attached to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// Volumes that disks show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Labels the node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that are accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Seconds the guest gets to shut down by itself. Default 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_grace_period_seconds: Option<i64>,
    /// What happens when its node is drained: `None` or `LiveMigrateIfPossible` are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eviction_strategy: Option<String>,
    /// The worst way to run the guest that is permitted: `None` (KVM only), `Hardware` or `Software`
    /// (emulation where KVM does not work). Default: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulation_policy: Option<EmulationPolicy>,
    /// `Paused` starts the guest with its processors stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_strategy: Option<String>,
    /// Fields of KubeVirt that are not served; [`crate::validate`] refuses them by name.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unserved: Unserved,
}
