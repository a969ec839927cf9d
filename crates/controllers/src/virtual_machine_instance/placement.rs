//! Where a launcher pod may go, and what of it must be made anew when the policy changes: VMI,
//! configuration and policy in; node selector, affinity and resources out.

use crate::event::fingerprint;
use api::accelerator::{self, Accelerator, EffectivePolicy};
use api::configuration::ClusterConfiguration;
use api::names::{annotations, labels};
use api::resources;
use api::virtual_machine_instance::VirtualMachineInstance;
use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
    ResourceRequirements,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Processor models that are no model's name: every node has them.
const ANY_MODEL: [&str; 3] = ["", "host-model", "host-passthrough"];

/// What of a launcher pod decides where it can go. It cannot be changed in a pod.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Placement {
    /// Of the container that runs the guest.
    pub(super) resources: ResourceRequirements,
    pub(super) node_selector: BTreeMap<String, String>,
    pub(super) affinity: Option<Affinity>,
    /// Whether the pod must have room for a guest that is emulated.
    pub(super) may_be_emulated: bool,
    forced: Option<Accelerator>,
}

impl Placement {
    /// A text that is the same for equal placements only.
    pub(super) fn fingerprint(&self) -> String {
        // Maps with text as keys, lists and numbers always have a text.
        let text = serde_json::to_string(self).unwrap_or_else(|_| format!("{self:?}"));
        format!("{:016x}", fingerprint(&[&text]))
    }
}

/// The placement of the pod of `vmi` under its effective policy. The error says what of the VMI is in
/// the way, whatever node it would go to.
pub(super) fn placement(
    vmi: &VirtualMachineInstance,
    cluster: &ClusterConfiguration,
    policy: &EffectivePolicy,
) -> Result<Placement, String> {
    let forced = forced(vmi)?;
    if forced == Some(Accelerator::Tcg) && !policy.policy.permits_software() {
        return Err(format!(
            "metadata.annotations[{}]: tcg asks for software emulation, which is not permitted (policy {}, \
             by {}): permit it there, or remove the annotation",
            annotations::ACCELERATOR,
            policy.policy,
            policy.decided_by
        ));
    }
    let architecture = architecture(vmi, cluster);
    let shape = accelerator::shape(policy.policy, forced, architecture, &vmi.spec);
    let mut node_selector = cluster.node_selectors.clone();
    node_selector.extend(vmi.spec.node_selector.clone());
    node_selector.insert(labels::SCHEDULABLE.to_owned(), "true".to_owned());
    node_selector.extend(shape.node_selector);
    let mut node_affinity = shape.node_affinity;
    // Nodes tell of processors of their own architecture only.
    if architecture == cluster.architecture {
        let processor = processor(vmi, cluster);
        node_selector.extend(processor.has);
        node_affinity = without(node_affinity, &processor.lacks);
    }
    let may_be_emulated = accelerator::may_be_emulated(policy.policy, forced);
    Ok(Placement {
        resources: resources::pod_resources(&vmi.spec, cluster, &shape.devices, may_be_emulated),
        node_selector,
        affinity: node_affinity.map(|node_affinity| Affinity {
            node_affinity: Some(node_affinity),
            ..Affinity::default()
        }),
        may_be_emulated,
        forced,
    })
}

/// The accelerator the VMI insists on.
pub(super) fn forced(vmi: &VirtualMachineInstance) -> Result<Option<Accelerator>, String> {
    vmi.forced_accelerator().map_err(|value| {
        format!(
            "metadata.annotations[{}]: unknown accelerator \"{value}\": use kvm or tcg, or remove it",
            annotations::ACCELERATOR
        )
    })
}

/// The guest's architecture, in Go's names.
pub(super) fn architecture<'a>(
    vmi: &'a VirtualMachineInstance,
    cluster: &'a ClusterConfiguration,
) -> &'a str {
    let own = vmi.spec.architecture.as_deref();
    own.filter(|it| !it.is_empty())
        .unwrap_or(&cluster.architecture)
}

/// What a node must say of its processors.
struct Processor {
    /// Labels it must have.
    has: BTreeMap<String, String>,
    /// Labels it must not have.
    lacks: Vec<String>,
}

/// The labels that KubeVirt asks for: of a named model, and of features that are required or forbidden.
fn processor(vmi: &VirtualMachineInstance, cluster: &ClusterConfiguration) -> Processor {
    let cpu = vmi.spec.domain.cpu.as_ref();
    let own = cpu
        .and_then(|cpu| cpu.model.as_deref())
        .filter(|it| !it.is_empty());
    let model = own.unwrap_or(&cluster.cpu_model);
    let mut processor = Processor {
        has: BTreeMap::new(),
        lacks: Vec::new(),
    };
    if !ANY_MODEL.contains(&model) {
        let label = format!("{}{model}", labels::CPU_MODEL_PREFIX);
        processor.has.insert(label, "true".to_owned());
    }
    for feature in cpu.into_iter().flat_map(|cpu| &cpu.features) {
        let label = format!("{}{}", labels::CPU_FEATURE_PREFIX, feature.name);
        match feature.policy.as_deref() {
            None | Some("" | "require") => {
                processor.has.insert(label, "true".to_owned());
            }
            Some("forbid") => processor.lacks.push(label),
            Some(_) => {}
        }
    }
    processor
}

/// The affinity with the rule that a node has none of these labels, in each of its alternatives.
fn without(affinity: Option<NodeAffinity>, labels: &[String]) -> Option<NodeAffinity> {
    if labels.is_empty() {
        return affinity;
    }
    let rules = labels.iter().map(|label| NodeSelectorRequirement {
        key: label.clone(),
        operator: "DoesNotExist".to_owned(),
        values: None,
    });
    let mut affinity = affinity.unwrap_or_default();
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_with(|| NodeSelector {
            node_selector_terms: vec![NodeSelectorTerm::default()],
        });
    for term in &mut required.node_selector_terms {
        let expressions = term.match_expressions.get_or_insert_default();
        expressions.extend(rules.clone());
    }
    Some(affinity)
}
