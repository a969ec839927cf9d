//! What decides in the simulation: anyvirt's own functions, and no others. A test puts in functions that
//! break a rule, to see that the simulation notices.

use api::accelerator::{
    self, Accelerator, Cap, ClusterPolicy, Decision, EffectivePolicy, EmulationPolicy, NodeFacts,
    PodShape, Refusal,
};
use api::virtual_machine_instance::VirtualMachineInstanceSpec;
use controllers::schedule::{Cluster, Shape};

/// The policy of a VM before it has a node.
pub type Effective =
    fn(&ClusterPolicy, Option<(String, EmulationPolicy)>, Option<&Cap>) -> EffectivePolicy;
/// The accelerator of a guest on a node.
pub type Resolve =
    fn(&EffectivePolicy, Option<Accelerator>, &str, &NodeFacts) -> Result<Decision, Refusal>;

/// A guest that KVM failed.
#[derive(Debug, Clone, Copy)]
pub struct Failed<'a> {
    /// The policy its pod was made under.
    pub policy: &'a EffectivePolicy,
    /// The accelerator it insists on.
    pub forced: Option<Accelerator>,
    /// Its architecture.
    pub architecture: &'a str,
    /// Its node.
    pub node: &'a NodeFacts,
    /// It is written down that it stepped down before.
    pub stepped_down: bool,
}

/// The functions that decide.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Which policy a VM has before it has a node.
    pub effective: Effective,
    /// What a pod asks of its node.
    pub shape:
        fn(EmulationPolicy, Option<Accelerator>, &str, &VirtualMachineInstanceSpec) -> PodShape,
    /// Which node a pod gets.
    pub choose: fn(&mut Cluster, Shape) -> Option<String>,
    /// Which accelerator a guest gets there.
    pub resolve: Resolve,
    /// What the status says of a guest that was started by a decision and runs on something.
    pub shown: fn(&Decision, Accelerator) -> String,
    /// How a guest that KVM failed is started again; none: not.
    pub step_down: fn(&Failed<'_>) -> Option<Decision>,
    /// Whether one more emulated guest may boot, beside so many, on so many processors.
    pub may_boot: fn(usize, u32) -> bool,
    /// It is written down that a guest steps down, before it does.
    pub writes_down: bool,
    /// A VM that is refused on its node fails, so that another node is found for it.
    pub gives_up_when_refused: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            effective: accelerator::effective,
            shape: accelerator::shape,
            choose: |cluster, shape| cluster.choose(shape).map(str::to_owned),
            resolve: accelerator::resolve,
            shown: |decision, actual| decision.status(actual).type_,
            step_down,
            may_boot: |booting, processors| booting < processors as usize,
            writes_down: true,
            gives_up_when_refused: true,
        }
    }
}

fn step_down(failed: &Failed<'_>) -> Option<Decision> {
    if failed.stepped_down || failed.forced.is_some() {
        return None;
    }
    let decided = accelerator::resolve(failed.policy, None, failed.architecture, failed.node);
    decided
        .ok()
        .filter(|decision| decision.accelerator == Accelerator::Tcg)
}
