//! What of the nodes decides about accelerators, kept beside the cache: a node's heartbeat makes
//! nobody look at anything.

use crate::engine::Stands;
use api::accelerator::{self, EffectivePolicy, NodeFacts, Refusal};
use api::configuration::ClusterConfiguration;
use api::virtual_machine_instance::VirtualMachineInstance;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::placement;

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub(super) facts: NodeFacts,
    labels: BTreeMap<String, String>,
}

/// All nodes, by their names.
pub(super) type Nodes = BTreeMap<String, Arc<Known>>;

/// Where they are kept; clones are the same place.
#[derive(Debug, Clone, Default)]
pub(super) struct Register(Arc<Mutex<Arc<Nodes>>>);

impl Register {
    /// Takes what a watch tells, and says whether anything changed.
    pub(super) fn take(&self, node: &Node, stands: Stands) -> bool {
        let name = node.name_any();
        let known = (stands == Stands::There).then(|| Known {
            facts: NodeFacts::of(node),
            labels: node.labels().clone(),
        });
        let mut nodes = self.lock();
        if nodes.get(&name).map(|known| &**known) == known.as_ref() {
            return false;
        }
        // Looks at work keep the list they began with.
        let mut changed = Nodes::clone(&nodes);
        match known {
            Some(known) => drop(changed.insert(name, Arc::new(known))),
            None => drop(changed.remove(&name)),
        }
        *nodes = Arc::new(changed);
        true
    }

    /// The nodes now.
    pub(super) fn now(&self) -> Arc<Nodes> {
        Arc::clone(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Nodes>> {
        // The list is replaced whole, so a poisoned lock guards a whole list.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why no node has an accelerator for `vmi` that works and is permitted: the refusal of the node that
/// is nearest to having one. None if a node has one, or if no node is to be asked: those are that the
/// VMI and the cluster select.
pub(super) fn refusal(
    vmi: &VirtualMachineInstance,
    cluster: &ClusterConfiguration,
    policy: &EffectivePolicy,
    nodes: &Nodes,
) -> Option<Refusal> {
    // An annotation nobody understands is told when the pod is made.
    let forced = placement::forced(vmi).unwrap_or_default();
    let architecture = placement::architecture(vmi, cluster);
    let selected = |node: &&Arc<Known>| {
        let wanted = cluster.node_selectors.iter().chain(&vmi.spec.node_selector);
        wanted
            .into_iter()
            .all(|(key, value)| node.labels.get(key) == Some(value))
    };
    let mut nearest: Option<((Reverse<usize>, usize), Refusal)> = None;
    for node in nodes.values().filter(selected) {
        let refusal = accelerator::resolve(policy, forced, architecture, &node.facts).err()?;
        // The more ways there are that take one thing to do, and the less there is to do in all, the
        // nearer it is.
        let steps = || refusal.remedies.iter().map(|remedy| remedy.steps.len());
        let distance = (
            Reverse(steps().filter(|it| *it == 1).count()),
            steps().sum(),
        );
        if nearest.as_ref().is_none_or(|(least, _)| distance < *least) {
            nearest = Some((distance, refusal));
        }
    }
    nearest.map(|(_, refusal)| refusal)
}
