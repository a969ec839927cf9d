//! Keeps a [`Cluster`] true from look to look: only what changed since the last look is read again.

use super::decide::{Cluster, Placement, Shape, is_over};
use super::guest::Rules;
use api::accelerator::Accelerator;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Shapes beyond those that pods have now, after which all are forgotten and worked out again: what
/// they cost is small beside what pods themselves do.
const SHAPES_TOO_MANY: usize = 256;

/// A cluster, and the objects it was last told of.
#[derive(Debug, Default)]
pub(super) struct Memory {
    cluster: Cluster,
    nodes: BTreeMap<String, Arc<Node>>,
    pods: BTreeMap<String, (Arc<Pod>, Shape)>,
    rules: Rules,
    /// How often the shapes were forgotten.
    generation: u64,
}

impl Memory {
    /// How often all shapes were forgotten: one that was given out before means nothing now.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The cluster itself.
    pub(super) fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// The rules for emulated guests as they stand.
    pub(super) fn set_rules(&mut self, rules: Rules) {
        self.rules.clone_from(&rules);
        self.cluster.set_rules(rules);
    }

    /// Takes over how things stand. `assumed` names the nodes of pods, by uid, whose binding is made
    /// but not yet seen; `actual` says what runs the guest of a pod, if that is known. An object is
    /// read only if it is another one than at the last look.
    pub(super) fn refresh(
        &mut self,
        nodes: &[Arc<Node>],
        pods: &[Arc<Pod>],
        assumed: &BTreeMap<String, String>,
        actual: impl Fn(&Pod) -> Option<Accelerator>,
    ) {
        if self.cluster.shapes() > self.pods.len() + SHAPES_TOO_MANY {
            let rules = std::mem::take(&mut self.rules);
            *self = Self {
                generation: self.generation + 1,
                ..Self::default()
            };
            self.set_rules(rules);
        }
        self.refresh_nodes(nodes);
        let mut before = std::mem::take(&mut self.pods);
        for pod in pods.iter().filter(|pod| !is_over(pod)) {
            let key = key(pod);
            let known = before.remove(&key);
            let known = known.filter(|(known, _)| Arc::ptr_eq(known, pod));
            let shape = known.map_or_else(|| self.cluster.shape(pod), |(_, shape)| shape);
            let bound = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
            let bound = bound.filter(|node| !node.is_empty());
            let bound = bound.or_else(|| assumed.get(pod.metadata.uid.as_ref()?));
            match bound {
                Some(node) => {
                    self.cluster.take(&key, shape, node);
                    if self.cluster.may_be_emulated(shape) {
                        self.cluster.runs_on(&key, actual(pod));
                    }
                }
                // A binding that was assumed and did not come about.
                None => self.cluster.release(&key),
            }
            self.pods.insert(key, (Arc::clone(pod), shape));
        }
        for key in before.keys() {
            if !self.pods.contains_key(key) {
                self.cluster.release(key);
            }
        }
    }

    fn refresh_nodes(&mut self, nodes: &[Arc<Node>]) {
        let mut before = std::mem::take(&mut self.nodes);
        for node in nodes {
            let name = node.name_any();
            let known = before.remove(&name);
            if !known.is_some_and(|known| Arc::ptr_eq(&known, node)) {
                self.cluster.set_node(node);
            }
            self.nodes.insert(name, Arc::clone(node));
        }
        for name in before.keys() {
            self.cluster.remove_node(name);
        }
    }

    /// Finds a node for `pod`.
    pub(super) fn place(&mut self, pod: &Arc<Pod>) -> Placement {
        let shape = self.shape(pod);
        self.cluster.place(shape)
    }

    /// Counts `pod` as running on `node`.
    pub(super) fn take(&mut self, node: &str, pod: &Arc<Pod>) {
        let shape = self.shape(pod);
        self.cluster.take(&key(pod), shape, node);
    }

    fn shape(&mut self, pod: &Arc<Pod>) -> Shape {
        match self.pods.get(&key(pod)) {
            Some((known, shape)) if Arc::ptr_eq(known, pod) => *shape,
            _ => self.cluster.shape(pod),
        }
    }
}

/// What tells a pod from others: its uid, which only a pod that never was in an API lacks.
fn key(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_else(|| {
        let namespace = pod.namespace().unwrap_or_default();
        format!("{namespace}/{}", pod.name_any())
    })
}
