//! `VirtualMachinePool` (`pool.kubevirt.io`): so many virtual machines of one template.

mod strategy;
#[cfg(test)]
mod tests;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use kube::core::{ParseExpressionError, Selector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use strategy::{
    OpportunisticScaleIn, OpportunisticUpdate, ProactiveScaleIn, ProactiveUpdate, ScaleIn,
    ScaleInStrategy, SelectionPolicy, SortPolicy, StatePreservation, Unmanaged, Update,
    UpdateStrategy,
};

use crate::condition::Condition;
use crate::unserved::Unserved;
use crate::virtual_machine::VirtualMachineSpec;

/// How many machines a pool has that does not say.
pub const DEFAULT_REPLICAS: i32 = 1;

/// Types of a pool's conditions.
pub mod conditions {
    /// Machines could not be made, deleted or changed.
    pub const REPLICA_FAILURE: &str = "ReplicaFailure";
    /// Machines are neither made nor deleted nor changed, since `spec.paused` says so.
    pub const REPLICA_PAUSED: &str = "ReplicaPaused";
}

/// Which machines a pool shall have.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "pool.kubevirt.io",
    version = "v1beta1",
    kind = "VirtualMachinePool",
    plural = "virtualmachinepools",
    status = "VirtualMachinePoolStatus",
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled",
    namespaced
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachinePoolSpec {
    /// How many; 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,
    /// Which labels its machines have. The template's labels must match it; it never changes.
    pub selector: LabelSelector,
    /// What its machines look like.
    pub virtual_machine_template: VirtualMachineTemplate,
    /// Machines are neither made nor deleted nor changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// What is different in each machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_generation: Option<NameGeneration>,
    /// How many machines may be not ready while they are restarted for a changed template: a number, or a part such as
    /// `25%`; at least one. `100%` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int_or_string")]
    pub max_unavailable: Option<IntOrString>,
    /// What happens when there are too many machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_in_strategy: Option<ScaleInStrategy>,
    /// What happens when the template changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_strategy: Option<UpdateStrategy>,
    /// Fields of KubeVirt that are not served; [`crate::validate`] refuses them by name.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unserved: Unserved,
}

fn int_or_string(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "x-kubernetes-int-or-string": true, "nullable": true })
}

impl VirtualMachinePoolSpec {
    /// How many machines there shall be.
    #[must_use]
    pub fn wanted(&self) -> usize {
        let replicas = self.replicas.unwrap_or(DEFAULT_REPLICAS);
        usize::try_from(replicas).unwrap_or_default()
    }

    /// Are machines to be left as they are?
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused == Some(true)
    }

    /// The selector.
    ///
    /// # Errors
    /// What is wrong with it; admission lets nobody write such a one.
    pub fn selector(&self) -> Result<Selector, ParseExpressionError> {
        self.selector.clone().try_into()
    }

    /// How many machines may be not ready while they are restarted: at least one, or else nothing would ever change.
    #[must_use]
    pub fn max_unavailable(&self) -> usize {
        let written = self.max_unavailable.as_ref();
        let most = written.map_or(Some(Unavailable::Percent(100)), Unavailable::read);
        let most = match most {
            Some(Unavailable::Machines(count)) => count,
            Some(Unavailable::Percent(percent)) => self.wanted().saturating_mul(percent) / 100,
            // Admission lets nobody write one that cannot be read.
            None => 1,
        };
        most.max(1)
    }
}

/// What `maxUnavailable` may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unavailable {
    /// So many machines.
    Machines(usize),
    /// So many of a hundred.
    Percent(usize),
}

impl Unavailable {
    /// Reads what was written; `None` if that is neither a number from 0 nor a part from `0%` to `100%`.
    #[must_use]
    pub fn read(written: &IntOrString) -> Option<Self> {
        match written {
            IntOrString::Int(count) => usize::try_from(*count).ok().map(Self::Machines),
            IntOrString::String(text) => {
                let digits = text.strip_suffix('%')?;
                let plain = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
                let percent = digits.parse().ok().filter(|percent| *percent <= 100)?;
                plain.then_some(Self::Percent(percent))
            }
        }
    }
}

/// What the machines of a pool look like.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct VirtualMachineTemplate {
    /// Their labels and annotations; the rest of it is theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crds::any_object")]
    pub metadata: Option<ObjectMeta>,
    /// Their spec.
    pub spec: VirtualMachineSpec,
}

/// What is different in each machine of a pool.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NameGeneration {
    /// `-INDEX` is appended to the name of each ConfigMap that a volume names. No volume that is served names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append_index_to_config_map_refs: Option<bool>,
    /// `-INDEX` is appended to the name of each Secret that a volume names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append_index_to_secret_refs: Option<bool>,
}

/// How a pool stands.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachinePoolStatus {
    /// How many machines it has.
    #[serde(default)]
    pub replicas: i32,
    /// How many of them are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// What is true of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The selector in one line, for whoever scales it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<String>,
}

/// The name of the machine of `pool` with this index.
#[must_use]
pub fn machine_name(pool: &str, index: usize) -> String {
    format!("{pool}-{index}")
}

/// The pool and the index of a machine of this name; `None` for a name that no pool would give.
#[must_use]
pub fn pool_and_index(machine: &str) -> Option<(&str, usize)> {
    let (pool, index) = machine.rsplit_once('-')?;
    let plain = !index.is_empty() && index.bytes().all(|it| it.is_ascii_digit());
    let leading = index.len() > 1 && index.starts_with('0');
    let index = index.parse().ok().filter(|_| plain && !leading)?;
    (!pool.is_empty()).then_some((pool, index))
}
