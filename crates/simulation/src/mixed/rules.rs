//! What decides in the simulation: anyvirt's own functions, and no others. A test puts in functions that
//! break a rule, to see that the simulation notices.

use std::time::Duration;

use api::accelerator::{
    self, Accelerator, Cap, ClusterPolicy, Decision, EffectivePolicy, EmulationPolicy, NodeFacts,
    NodeVerdict, Refusal,
};
use api::configuration::ClusterConfiguration;
use api::virtual_machine_instance::VirtualMachineInstance;
use controllers::schedule::{Cluster, Shape};
use controllers::virtual_machine_instance::{Launcher, Standing, render, standing};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use node::decisions::{self, Answer, Entries, Lowered, Question};
use qemu::probe::Verdict;

/// The policy of a VM before it has a node.
pub type Effective =
    fn(&ClusterPolicy, Option<(String, EmulationPolicy)>, Option<&Cap>) -> EffectivePolicy;
/// Its pod; the error says why none can be made.
pub type Render = fn(
    &VirtualMachineInstance,
    &ClusterConfiguration,
    &EffectivePolicy,
    &Launcher,
) -> Result<Pod, String>;
/// How a pod stands to what would be made now.
pub type Compare = fn(
    &Pod,
    &VirtualMachineInstance,
    &ClusterConfiguration,
    &EffectivePolicy,
) -> Result<Standing, String>;
/// The accelerator of a guest on a node.
pub type Resolve =
    fn(&EffectivePolicy, Option<Accelerator>, &str, &NodeFacts) -> Result<Decision, Refusal>;
/// Who of those at a node's gate may boot now.
pub type Advance = fn(&mut Entries, u32, Timestamp, Duration) -> Vec<String>;
/// The verdict of a node that counts.
pub type Stands = fn(&Verdict, bool, Option<&Lowered>, &str, Timestamp) -> NodeVerdict;

/// The functions that decide.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Which policy a VM has before it has a node.
    pub effective: Effective,
    /// Its pod.
    pub render: Render,
    /// Whether a pod that waits must be made anew.
    pub compare: Compare,
    /// Which node a pod gets.
    pub choose: fn(&mut Cluster, Shape) -> Option<String>,
    /// Which accelerator a guest gets there.
    pub resolve: Resolve,
    /// What the status says of a guest that was started by a decision and runs on something.
    pub shown: fn(&Decision, Accelerator) -> String,
    /// What follows when KVM fails a guest.
    pub answer: fn(&Question<'_>) -> Answer,
    /// Who boots, of the emulated guests of a node.
    pub advance: Advance,
    /// What a node's probe and its guests come to.
    pub stands: Stands,
    /// What follows when KVM fails a guest is written down before it is done.
    pub writes_down: bool,
    /// A VM that is refused on its node fails, so that another node is found for it.
    pub gives_up_when_refused: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            effective: accelerator::effective,
            render,
            compare: standing,
            choose: |cluster, shape| cluster.choose(shape).map(str::to_owned),
            resolve: accelerator::resolve,
            shown: |decision, actual| decision.status(actual).type_,
            answer: decisions::answer,
            advance: decisions::advance,
            stands: decisions::standing,
            writes_down: true,
            gives_up_when_refused: true,
        }
    }
}
