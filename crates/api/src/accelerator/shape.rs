//! How a launcher pod is shaped so that the scheduler puts it where its guest can run.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PreferredSchedulingTerm,
};

use super::{Accelerator, EmulationPolicy};
use crate::names::{labels, resources};
use crate::quantity::Quantity;
use crate::virtual_machine_instance::{Interface, VirtualMachineInstanceSpec};

/// Weight of a node that runs the guest on hardware: the most there is.
const WEIGHT_HARDWARE: i32 = 100;

/// Weight of a node of the guest's own architecture among those that emulate it: less than hardware's,
/// so that two of these never outweigh it.
const WEIGHT_NATIVE: i32 = 40;

/// What the policy adds to a launcher pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodShape {
    /// Device resources of the container that runs the guest, each a limit.
    pub devices: BTreeMap<String, Quantity>,
    /// Labels the node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Which nodes the guest can run on, and which are better.
    pub node_affinity: Option<NodeAffinity>,
}

/// The shape of the pod of a guest of `architecture` (in Go's names) under its effective policy.
///
/// Where software emulation is not permitted the pod asks for the devices that hardware virtualization
/// needs. Where it is, it asks for none, and may go to a node that runs it on hardware or to one whose
/// cap lets it be emulated. A guest that is forced onto KVM asks for no device either, since a node whose
/// KVM does not work offers none, but for a node whose `/dev/kvm` opens.
pub fn shape(
    policy: EmulationPolicy,
    forced: Option<Accelerator>,
    architecture: &str,
    spec: &VirtualMachineInstanceSpec,
) -> PodShape {
    let native = || [(labels::ARCHITECTURE.to_owned(), architecture.to_owned())].into();
    let devices = devices(policy, forced, spec);
    if forced == Some(Accelerator::Kvm) {
        let mut node_selector: BTreeMap<_, _> = native();
        node_selector.insert(labels::KVM_DEVICE.to_owned(), "true".to_owned());
        return PodShape {
            devices,
            node_selector,
            node_affinity: None,
        };
    }
    if !policy.permits_software() {
        return PodShape {
            devices,
            node_selector: native(),
            node_affinity: None,
        };
    }
    let can_run = format!("{}{architecture}", labels::VM_ARCHITECTURE_PREFIX);
    let on_hardware = || {
        vec![
            requirement(labels::HARDWARE_VIRTUALIZATION, "In", &["usable"]),
            requirement(labels::ARCHITECTURE, "In", &[architecture]),
        ]
    };
    // A cap that cannot be read permits nothing, so what permits is listed, not what forbids.
    let mut terms = vec![
        term(vec![requirement(
            labels::EMULATION_POLICY,
            "DoesNotExist",
            &[],
        )]),
        term(vec![requirement(
            labels::EMULATION_POLICY,
            "In",
            &["Software"],
        )]),
    ];
    let mut preferred = vec![weighted(
        WEIGHT_NATIVE,
        vec![requirement(labels::ARCHITECTURE, "In", &[architecture])],
    )];
    if forced.is_none() {
        terms.insert(0, term(on_hardware()));
        preferred.insert(0, weighted(WEIGHT_HARDWARE, on_hardware()));
    }
    PodShape {
        devices,
        node_selector: [(can_run, "true".to_owned())].into(),
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: terms,
            }),
            preferred_during_scheduling_ignored_during_execution: Some(preferred),
        }),
    }
}

/// The device resources a launcher pod asks for, each as a limit: hardware virtualization unless it
/// may be emulated or is forced, and with it the kernel's virtio network for an interface that can use
/// it.
pub fn devices(
    policy: EmulationPolicy,
    forced: Option<Accelerator>,
    spec: &VirtualMachineInstanceSpec,
) -> BTreeMap<String, Quantity> {
    let mut devices = BTreeMap::new();
    if policy.permits_software() || forced == Some(Accelerator::Kvm) {
        return devices;
    }
    devices.insert(resources::KVM.to_owned(), Quantity::from("1"));
    let interfaces = &spec.domain.devices.interfaces;
    let is_virtio =
        |interface: &Interface| matches!(interface.model.as_deref(), None | Some("" | "virtio"));
    let attached_by_default = interfaces.is_empty()
        && spec.networks.is_empty()
        && spec.domain.devices.autoattach_pod_interface != Some(false);
    if attached_by_default || interfaces.iter().any(is_virtio) {
        devices.insert(resources::VHOST_NET.to_owned(), Quantity::from("1"));
    }
    devices
}

fn requirement(key: &str, operator: &str, values: &[&str]) -> NodeSelectorRequirement {
    let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
    NodeSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: Some(values).filter(|values| !values.is_empty()),
    }
}

fn term(requirements: Vec<NodeSelectorRequirement>) -> NodeSelectorTerm {
    NodeSelectorTerm {
        match_expressions: Some(requirements),
        match_fields: None,
    }
}

fn weighted(weight: i32, requirements: Vec<NodeSelectorRequirement>) -> PreferredSchedulingTerm {
    PreferredSchedulingTerm {
        weight,
        preference: term(requirements),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;

    use super::*;
    use crate::accelerator::{
        Cap, ClusterPolicy, NodeFacts, NodeVerdict, Scope, effective, resolve,
    };
    use crate::names::annotations;

    fn spec(interfaces: &[Option<&str>], attach: Option<bool>) -> VirtualMachineInstanceSpec {
        let mut spec = VirtualMachineInstanceSpec::default();
        let interfaces = interfaces.iter().map(|model| Interface {
            name: "default".to_owned(),
            model: model.map(str::to_owned),
            ..Interface::default()
        });
        spec.domain.devices.interfaces = interfaces.collect();
        spec.domain.devices.autoattach_pod_interface = attach;
        spec
    }

    #[test]
    fn pods_ask_for_devices_exactly_where_emulation_is_not_permitted() {
        use EmulationPolicy::{Hardware, None as No, Software};
        let (kvm, vhost) = (resources::KVM, resources::VHOST_NET);
        let virtio = || spec(&[Some("virtio")], None);
        for (policy, forced, spec, expected) in [
            (No, None, spec(&[None], None), vec![kvm, vhost]),
            (No, None, virtio(), vec![kvm, vhost]),
            (Hardware, None, virtio(), vec![kvm, vhost]),
            (No, None, spec(&[Some("e1000")], None), vec![kvm]),
            (No, None, spec(&[], None), vec![kvm, vhost]),
            (No, None, spec(&[], Some(false)), vec![kvm]),
            (Software, None, virtio(), vec![]),
            (Software, Some(Accelerator::Kvm), virtio(), vec![]),
            (No, Some(Accelerator::Kvm), virtio(), vec![]),
            (No, Some(Accelerator::Tcg), virtio(), vec![kvm, vhost]),
        ] {
            let devices = devices(policy, forced, &spec);
            assert_eq!(
                devices.keys().map(String::as_str).collect::<Vec<_>>(),
                expected
            );
        }
    }

    /// The scheduler's rules about labels, as far as shapes use them.
    fn matches(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>) -> bool {
        term.match_expressions.iter().flatten().all(|requirement| {
            let value = labels.get(&requirement.key);
            match requirement.operator.as_str() {
                "In" => value
                    .is_some_and(|value| requirement.values.iter().flatten().any(|it| it == value)),
                "DoesNotExist" => value.is_none(),
                other => panic!("{other}"),
            }
        })
    }

    fn fits(shape: &PodShape, node: &Node) -> bool {
        let labels = node.metadata.labels.clone().unwrap_or_default();
        let selected = shape
            .node_selector
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value));
        let required = shape.node_affinity.as_ref().and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        });
        let required = required.is_none_or(|selector| {
            selector
                .node_selector_terms
                .iter()
                .any(|term| matches(term, &labels))
        });
        let usable = labels
            .get(labels::HARDWARE_VIRTUALIZATION)
            .map(String::as_str)
            == Some("usable");
        selected && required && (usable || !shape.devices.contains_key(resources::KVM))
    }

    fn weight(shape: &PodShape, node: &Node) -> i32 {
        let labels = node.metadata.labels.clone().unwrap_or_default();
        let preferred = shape.node_affinity.as_ref().and_then(|affinity| {
            affinity
                .preferred_during_scheduling_ignored_during_execution
                .as_ref()
        });
        let preferred = preferred.into_iter().flatten();
        preferred
            .filter(|term| matches(&term.preference, &labels))
            .map(|term| term.weight)
            .sum()
    }

    /// A node as the node agent labels it.
    fn node(architecture: &str, usable: bool, device: bool, also: bool, cap: Option<&str>) -> Node {
        let other = if architecture == "amd64" {
            "arm64"
        } else {
            "amd64"
        };
        let word = if usable { "usable" } else { "unusable" };
        let mut all: BTreeMap<String, String> = [
            (labels::ARCHITECTURE.to_owned(), architecture.to_owned()),
            (labels::HARDWARE_VIRTUALIZATION.to_owned(), word.to_owned()),
            (labels::KVM_DEVICE.to_owned(), device.to_string()),
            (
                format!("{}{architecture}", labels::VM_ARCHITECTURE_PREFIX),
                "true".to_owned(),
            ),
        ]
        .into();
        if also {
            let key = format!("{}{other}", labels::VM_ARCHITECTURE_PREFIX);
            all.insert(key, "true".to_owned());
        }
        all.extend(cap.map(|cap| (labels::EMULATION_POLICY.to_owned(), cap.to_owned())));
        let mut node = Node::default();
        node.metadata.name = Some("n".to_owned());
        node.metadata.labels = Some(all);
        node.metadata.annotations =
            Some([(annotations::TCG_SLOWDOWN.to_owned(), "8".to_owned())].into());
        node
    }

    fn every_node(mut check: impl FnMut(&Node, &NodeFacts)) {
        for architecture in ["amd64", "arm64"] {
            for (usable, device) in [(true, true), (false, true), (false, false)] {
                for also in [true, false] {
                    for cap in [
                        None,
                        Some("None"),
                        Some("Hardware"),
                        Some("Software"),
                        Some("soft"),
                    ] {
                        let node = node(architecture, usable, device, also, cap);
                        let mut facts = NodeFacts::of(&node);
                        facts.verdict = NodeVerdict {
                            usable,
                            ..NodeVerdict::default()
                        };
                        check(&node, &facts);
                    }
                }
            }
        }
    }

    #[test]
    fn a_pod_fits_exactly_the_nodes_on_which_its_guest_gets_an_accelerator() {
        let forced = [None, Some(Accelerator::Kvm), Some(Accelerator::Tcg)];
        for policy in EmulationPolicy::ALL {
            let cluster = ClusterPolicy {
                policy,
                ..ClusterPolicy::default()
            };
            let effective = effective(&cluster, None, None);
            for forced in forced {
                // Refused everywhere, so where it waits does not matter.
                if forced == Some(Accelerator::Tcg) && !policy.permits_software() {
                    continue;
                }
                for guest in ["amd64", "arm64"] {
                    let shape = shape(policy, forced, guest, &spec(&[], None));
                    every_node(|node, facts| {
                        let found = resolve(&effective, forced, guest, facts);
                        assert_eq!(
                            fits(&shape, node),
                            found.is_ok(),
                            "{policy} {forced:?} {guest} {:?}: {found:?}",
                            node.metadata.labels
                        );
                    });
                }
            }
        }
    }

    #[test]
    fn hardware_is_preferred_wherever_it_serves_and_native_nodes_next() {
        let shape = shape(EmulationPolicy::Software, None, "amd64", &spec(&[], None));
        let cap = Cap::of_labels(Scope::Node, "n", &BTreeMap::new());
        assert_eq!(cap, None);
        let of = |architecture: &str, usable: bool| {
            weight(&shape, &node(architecture, usable, usable, true, None))
        };
        assert!(of("amd64", true) > of("amd64", false));
        assert!(of("amd64", false) > of("arm64", true));
        assert_eq!(of("arm64", true), of("arm64", false));
    }
}
