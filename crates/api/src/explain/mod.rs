//! What is the matter with a virtual machine or a node: the cause in one sentence, what shows it,
//! and what helps.
//!
//! One table of rules for everybody who explains: `anyvirt explain`, the doctor.
//! Objects in, [`Explanation`] out; pure.

mod cures;
mod machine;
mod node;
mod running;
mod scheduler;
mod seen;
#[cfg(test)]
mod tests;
mod waiting;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use machine::machine;
pub use node::node;
pub use scheduler::{Obstacle, Unschedulable};
pub use seen::MachineSeen;

/// What is the matter with one object.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What it is about.
    pub subject: Subject,
    /// Which rule found it, for programs; stable across releases.
    pub cause_id: CauseId,
    /// How bad it is.
    pub standing: Standing,
    /// The cause, one sentence.
    pub cause: String,
    /// What shows it, word for word, the strongest first.
    pub evidence: Vec<Evidence>,
    /// What helps, the best first; each by itself. None if nothing is wrong.
    pub remedies: Vec<Remedy>,
}

/// What an explanation is about.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Subject {
    /// Its kind, e.g. `VirtualMachine`, `Node`.
    pub kind: String,
    /// Its namespace; a node has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// Something that was said or seen, word for word.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Evidence {
    /// Who says so, e.g. `pod virt-launcher-web-x7 condition PodScheduled`.
    pub source: String,
    /// What it says.
    pub text: String,
}

/// Something that helps.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Remedy {
    /// What to do, e.g. `Permit software emulation`.
    pub title: String,
    /// The command that does it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What it brings.
    pub effect: String,
    /// What it costs: speed, money, a restart, rights that are needed.
    pub cost: String,
    /// Can it be taken back without a trace?
    pub reversible: bool,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Standing {
    /// As wanted.
    Fine,
    /// On its way; waiting helps.
    InProgress,
    /// An accelerator or a device is missing, or not permitted.
    Acceleration,
    /// Something else is in the way.
    Problem,
    /// No rule knows it; the evidence is all there is.
    Unknown,
}

/// Which rule found the cause.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum CauseId {
    /// Hardware virtualization works nowhere, and emulation is not permitted by the cluster.
    EmulationNotPermitted,
    /// Only `/dev/vhost-net` is missing.
    VhostNetMissing,
    /// The namespace permits less than is needed.
    CappedByNamespace,
    /// The nodes that could run it permit less than is needed.
    CappedByNode,
    /// The machine's own policy permits less than is needed.
    OwnPolicy,
    /// It insists on an accelerator that it cannot get.
    ForcedAcceleratorRefused,
    /// No node runs or emulates its architecture.
    ArchitectureNotEmulated,
    /// An image cannot be pulled.
    ImagePull,
    /// No node has enough processors or memory left.
    InsufficientResources,
    /// No node has processors left for one more emulated guest.
    EmulatedProcessors,
    /// Emulated guests of several owners may not share a node.
    MultiTenancyDenied,
    /// No node has the labels it asks for.
    NodeSelector,
    /// No node takes pods: none is there, cordoned, or not ready.
    NoNode,
    /// No pod can be made for it.
    PodNotCreated,
    /// KVM failed for it, and it was started again in software.
    SteppedDown,
    /// Its guest has shown no sign of life for longer than others of its image.
    StuckStart,
    /// Its guest said itself that its start failed.
    GuestTrouble,
    /// Its guest cannot be started by the node.
    StartFailed,
    /// It ends again and again before it runs.
    CrashLoop,
    /// Its guest ended badly.
    GuestFailed,
    /// It is not asked to run.
    Stopped,
    /// It is about to end.
    Stopping,
    /// It starts.
    Starting,
    /// It waits until other emulated guests have booted, so that they do not starve each other.
    StartQueued,
    /// Its processors are stopped.
    Paused,
    /// It runs in software although hardware is free on another node.
    EmulatedBesideHardware,
    /// Started again it would run on something else, or not at all.
    AcceleratorOutdated,
    /// It runs in software.
    RunningEmulated,
    /// It runs on hardware.
    RunningOnHardware,
    /// A node on which hardware virtualization works.
    NodeUsable,
    /// A node on which it does not.
    NodeUnusable,
    /// A node that was not looked at yet.
    NodeNotProbed,
    /// A node that cannot be asked.
    NodeNotReady,
    /// No rule knows it.
    Unknown,
}

impl Remedy {
    /// A remedy without a command.
    pub fn new(title: &str, effect: &str, cost: &str, reversible: bool) -> Self {
        Self {
            title: title.to_owned(),
            command: None,
            effect: effect.to_owned(),
            cost: cost.to_owned(),
            reversible,
        }
    }

    /// The same with the command that does it.
    #[must_use]
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }
}
