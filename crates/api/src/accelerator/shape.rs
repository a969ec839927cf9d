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
