//! Asks the scheduler's choice about pods that do not exist: where a guest that runs would go if its
//! pod were made now.

use super::decide::Shape;
use super::guest::Rules;
use super::memory::Memory;
use api::accelerator::Accelerator;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The nodes with what is taken from them, for questions only: nothing that is asked takes room.
#[derive(Debug, Default)]
pub(crate) struct Outlook {
    memory: Memory,
}

impl Outlook {
    /// Takes over how things stand; `actual` says what runs the guest of a pod, if that is known.
    /// Shapes of another [`Outlook::generation`] mean nothing afterwards.
    pub(crate) fn refresh(
        &mut self,
        nodes: &[Arc<Node>],
        pods: &[Arc<Pod>],
        rules: Rules,
        actual: impl Fn(&Pod) -> Option<Accelerator>,
    ) {
        self.memory.set_rules(rules);
        self.memory.refresh(nodes, pods, &BTreeMap::new(), actual);
    }

    /// How often all shapes were forgotten.
    pub(crate) fn generation(&self) -> u64 {
        self.memory.generation()
    }

    /// What `pod` asks for.
    pub(crate) fn shape(&mut self, pod: &Pod) -> Shape {
        self.memory.cluster().shape(pod)
    }

    /// The node on which a pod of `shape` would be placed now and its guest run on hardware that works:
    /// `before`, if that still is one, else the scheduler's choice. None: it would wait or be emulated.
    pub(crate) fn hardware(&mut self, shape: Shape, before: Option<&str>) -> Option<String> {
        let cluster = self.memory.cluster();
        if let Some(node) = before.filter(|node| cluster.is_hardware(shape, node)) {
            return Some(node.to_owned());
        }
        let chosen = cluster.choose(shape)?.to_owned();
        cluster.is_hardware(shape, &chosen).then_some(chosen)
    }
}
