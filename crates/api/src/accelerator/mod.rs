//! The accelerator policy: who may run on what, decided by pure functions.
//!
//! ```text
//! cluster's places ─► ClusterPolicy ┐
//! VM spec.emulationPolicy ──────────┼─► EffectivePolicy ─► pod (shape) ─► scheduler
//! Namespace's cap ──────────────────┘          │
//! Node: cap, verdict, architectures ───────────┴─► resolve ─► Decision or Refusal
//! ```

mod advice;
mod class;
mod effective;
mod facts;
mod isolation;
mod policy;
mod remedies;
mod resolve;
mod shape;
mod surroundings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use advice::{Wish, advice};
pub use class::Class;
pub use effective::{Cap, Considered, EffectivePolicy, ForcedAccelerator, Scope, effective};
pub use facts::{NodeFacts, NodeVerdict};
pub use isolation::{
    EmulationMultiTenancy, Isolation, Tenancy, Tenant, cluster_tenancy, isolation, strictest,
    tenancy,
};
pub(crate) use policy::letters_apart;
pub use policy::{
    ClusterInputs, ClusterPolicy, ENVIRONMENT, Problem, SWITCH, is_misspelt, switch_problem,
};
pub use remedies::{HelperDevice, device_remedies, permit_emulation, remedies};
pub use resolve::{Decision, Refusal, Remedy, Step, resolve};
pub(crate) use resolve::{emulator, emulator_packages};
pub use shape::{PodShape, devices, shape};
pub use surroundings::{Container, Platform, Processor, SURROUNDINGS_ANNOTATION, Surroundings};

use crate::names;

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Accelerator {
    /// The processor itself, by Linux' KVM.
    #[serde(rename = "KVM")]
    Kvm,
    /// QEMU's translator, in software.
    #[serde(rename = "TCG")]
    Tcg,
}

impl Accelerator {
    /// The accelerator that a VMI's status names: `KVM` or `TCG`.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Kvm, Self::Tcg]
            .into_iter()
            .find(|accelerator| accelerator.to_string() == name)
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

/// The worst way to run a guest that is permitted. The best way that works is always taken.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum EmulationPolicy {
    /// No emulation: KVM only.
    #[default]
    None,
    /// Emulation with the help of hardware; the same as `None` until such help is served.
    Hardware,
    /// Emulation in software where KVM does not work.
    Software,
}

impl EmulationPolicy {
    /// All of them, the strictest first.
    pub const ALL: [Self; 3] = [Self::None, Self::Hardware, Self::Software];

    /// May a guest be emulated in software?
    pub fn permits_software(self) -> bool {
        self == Self::Software
    }

    /// The policy of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.to_string() == name)
    }
}

impl fmt::Display for EmulationPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// May a guest under this policy be emulated in software, whatever its node? One that insists on KVM never is.
pub fn may_be_emulated(policy: EmulationPolicy, forced: Option<Accelerator>) -> bool {
    policy.permits_software() && forced != Some(Accelerator::Kvm)
}

/// The accelerator that the annotation `anyvirt.io/accelerator` forces, if it is there.
///
/// # Errors
/// The annotation's value when it is neither `kvm` nor `tcg`.
pub fn forced(annotations: &BTreeMap<String, String>) -> Result<Option<Accelerator>, String> {
    match annotations.get(names::annotations::ACCELERATOR) {
        None => Ok(None),
        Some(value) => named(value).map(Some).ok_or_else(|| value.clone()),
    }
}

/// The accelerator by its name in that annotation.
fn named(value: &str) -> Option<Accelerator> {
    match value {
        "kvm" => Some(Accelerator::Kvm),
        "tcg" => Some(Accelerator::Tcg),
        _ => None,
    }
}
