//! Which emulated guests are on which node: who shares one with whom is asked at every look.

use super::node_name;
use crate::engine::Stands;
use crate::queue::Key;
use api::accelerator::Accelerator;
use api::virtual_machine_instance::VirtualMachineInstance;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All emulated guests; clones are the same list.
#[derive(Debug, Clone, Default)]
pub(super) struct Neighbours(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// The node of each.
    node: BTreeMap<Key, String>,
    /// Those of each node; none has none.
    on: BTreeMap<String, BTreeSet<Key>>,
}

impl Inner {
    /// The namespaces on a node.
    fn namespaces(&self, node: Option<&String>) -> BTreeSet<&str> {
        let keys = node.and_then(|node| self.on.get(node));
        let keys = keys.into_iter().flatten();
        keys.map(|key| key.namespace.as_str()).collect()
    }
}

/// The node on which the guest of `vmi` is emulated.
pub(super) fn emulated_on(vmi: &VirtualMachineInstance) -> Option<String> {
    let status = vmi.status.as_ref()?;
    let accelerator = Accelerator::parse(&status.accelerator.as_ref()?.type_);
    let over = status.phase.is_some_and(|phase| phase.is_final());
    (accelerator == Some(Accelerator::Tcg) && !over)
        .then(|| node_name(vmi).map(str::to_owned))
        .flatten()
}

impl Neighbours {
    /// Takes what a watch tells of `vmi`, and names the VMIs that have other neighbours now.
    pub(super) fn take(&self, vmi: &VirtualMachineInstance, stands: Stands) -> Vec<Key> {
        let key = Key::of(vmi);
        let after = emulated_on(vmi).filter(|_| stands == Stands::There);
        let mut inner = self.lock();
        let before = inner.node.get(&key).cloned();
        if before == after {
            return Vec::new();
        }
        let owners = |inner: &Inner| {
            let of = |node: &Option<String>| -> BTreeSet<String> {
                let namespaces = inner.namespaces(node.as_ref());
                namespaces.into_iter().map(str::to_owned).collect()
            };
            [of(&before), of(&after)]
        };
        let known = owners(&inner);
        if let Some(node) = &before {
            let on = inner.on.entry(node.clone()).or_default();
            on.remove(&key);
            if on.is_empty() {
                inner.on.remove(node);
            }
            inner.node.remove(&key);
        }
        if let Some(node) = &after {
            inner
                .on
                .entry(node.clone())
                .or_default()
                .insert(key.clone());
            inner.node.insert(key, node.clone());
        }
        let changed = owners(&inner);
        let nodes = [&before, &after]
            .into_iter()
            .zip(known.iter().zip(&changed));
        let nodes = nodes.filter(|(_, (known, changed))| known != changed);
        nodes
            .filter_map(|(node, _)| inner.on.get(node.as_ref()?))
            .flatten()
            .cloned()
            .collect()
    }

    /// The namespaces of the guests that are emulated on a node.
    pub(super) fn namespaces(&self, node: &str) -> BTreeSet<String> {
        let inner = self.lock();
        let namespaces = inner.namespaces(Some(&node.to_owned()));
        namespaces.into_iter().map(str::to_owned).collect()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Key> {
        self.lock().node.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing here panics half way through a change, so a poisoned lock guards a whole list.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vmi(namespace: &str, name: &str, node: &str, type_: &str) -> VirtualMachineInstance {
        serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": { "name": name, "namespace": namespace },
            "spec": { "domain": { "devices": {} } },
            "status": { "phase": "Running", "nodeName": node, "accelerator": { "type": type_ } },
        }))
        .unwrap()
    }

    #[test]
    fn guests_are_looked_at_when_the_owners_on_their_node_change_and_at_no_other_time() {
        use Stands::{Gone, There};
        let neighbours = Neighbours::default();
        let key = |namespace: &str, name: &str| Key::new(namespace, name);
        // What is told, and who has other neighbours then.
        let steps = [
            (vmi("a", "1", "n", "TCG"), There, vec![key("a", "1")]),
            (vmi("a", "2", "n", "TCG"), There, vec![]),
            (vmi("b", "1", "m", "TCG"), There, vec![key("b", "1")]),
            (vmi("b", "2", "n", "KVM"), There, vec![]),
            (
                vmi("b", "1", "n", "TCG"),
                There,
                vec![key("a", "1"), key("a", "2"), key("b", "1")],
            ),
            (vmi("b", "1", "n", "TCG"), There, vec![]),
            (vmi("a", "2", "n", "TCG"), Gone, vec![]),
            (vmi("b", "1", "n", "TCG"), Gone, vec![key("a", "1")]),
            (vmi("b", "1", "n", "TCG"), Gone, vec![]),
        ];
        for (at, (vmi, stands, expected)) in steps.into_iter().enumerate() {
            assert_eq!(neighbours.take(&vmi, stands), expected, "step {at}");
        }
        assert_eq!(neighbours.namespaces("n"), BTreeSet::from(["a".to_owned()]));
        assert_eq!(neighbours.namespaces("m"), BTreeSet::new());
        assert_eq!(neighbours.all(), [key("a", "1")]);
    }
}
