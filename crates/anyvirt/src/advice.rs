//! What admission says beside its answer: an object that is written and the cluster around it in, warnings out.
//!
//! Decides nothing itself: see `api::accelerator::advice` and `api::configuration`.

use api::accelerator::{self, Accelerator, ClusterInputs, NodeFacts, Wish};
use api::accelerator::{Cap, SWITCH, Scope, tenancy};
use api::configuration::ClusterConfiguration;
use api::kubevirt::KubeVirt;
use api::names;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::{VirtualMachineInstance, VirtualMachineInstanceSpec};
use apiserver::Status;
use controllers::overview::Overview;
use serde_json::Value;
use std::collections::BTreeMap;

/// Warnings about the accelerator of a virtual machine.
pub(crate) fn machine(
    machine: &VirtualMachine,
    namespace: &str,
    cluster: &ClusterConfiguration,
    overview: &Overview,
) -> Vec<String> {
    let Some(template) = &machine.spec.template else {
        return Vec::new();
    };
    // A value that is none was refused.
    let forced = machine.forced_accelerator();
    let forced = forced.and_then(|it| it.accelerator());
    let place = "spec.template.spec.emulationPolicy";
    guest(&template.spec, place, forced, namespace, cluster, overview)
}

/// Warnings about the accelerator of an instance.
pub(crate) fn instance(
    instance: &VirtualMachineInstance,
    namespace: &str,
    cluster: &ClusterConfiguration,
    overview: &Overview,
) -> Vec<String> {
    // A value that is none was refused.
    let forced = instance.forced_accelerator().unwrap_or_default();
    let place = "spec.emulationPolicy";
    guest(&instance.spec, place, forced, namespace, cluster, overview)
}

fn guest(
    spec: &VirtualMachineInstanceSpec,
    place: &str,
    forced: Option<Accelerator>,
    namespace: &str,
    cluster: &ClusterConfiguration,
    overview: &Overview,
) -> Vec<String> {
    let labels = labels_of_namespaces(overview);
    let none = BTreeMap::new();
    let nodes: Vec<NodeFacts> = overview
        .nodes()
        .iter()
        .map(|node| NodeFacts::of(node))
        .collect();
    let emulated: BTreeMap<String, BTreeMap<String, String>> = overview
        .instances()
        .iter()
        .filter(|instance| is_emulated(instance))
        .filter_map(|instance| instance.metadata.namespace.clone())
        .map(|owner| {
            let labels = labels.get(&owner).cloned().unwrap_or_default();
            (owner, labels)
        })
        .collect();
    let wish = Wish {
        namespace,
        namespace_labels: labels.get(namespace).unwrap_or(&none),
        own: spec.emulation_policy.map(|policy| (place, policy)),
        forced,
        architecture: spec
            .architecture
            .as_deref()
            .unwrap_or(&cluster.architecture),
    };
    accelerator::advice(&wish, cluster, &nodes, &emulated)
}

fn labels_of_namespaces(overview: &Overview) -> BTreeMap<String, BTreeMap<String, String>> {
    let namespaces = overview.namespaces();
    let named = namespaces.iter().filter_map(|namespace| {
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        Some((namespace.metadata.name.clone()?, labels))
    });
    named.collect()
}

fn is_emulated(instance: &VirtualMachineInstance) -> bool {
    let Some(status) = &instance.status else {
        return false;
    };
    let runs = status.phase.is_some_and(|phase| !phase.is_final());
    let accelerator = status.accelerator.as_ref();
    runs && accelerator.is_some_and(|found| found.type_ == Accelerator::Tcg.to_string())
}

/// Warnings about the labels of a Namespace or Node that cap its virtual machines.
pub(crate) fn caps(scope: Scope, object: &Value, cluster: &ClusterConfiguration) -> Vec<String> {
    let labels = object.pointer("/metadata/labels").cloned();
    let labels: BTreeMap<String, String> = labels
        .and_then(|labels| serde_json::from_value(labels).ok())
        .unwrap_or_default();
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    let name = name.unwrap_or_default();
    let cap = Cap::of_labels(scope, name, &labels).and_then(|cap| cap.problem);
    let owners = match scope {
        Scope::Namespace => tenancy(&cluster.tenancy, name, &labels).problems,
        _ => Vec::new(),
    };
    let problems = cap.into_iter().chain(owners);
    problems.map(|problem| problem.message).collect()
}

/// Warnings about a KubeVirt object: what in it has no effect, or is not understood.
pub(crate) fn kubevirt(object: &KubeVirt, cluster: &ClusterConfiguration) -> Vec<String> {
    let inputs = ClusterInputs {
        kubevirt: Some(object),
        ..ClusterInputs::default()
    };
    let read = ClusterConfiguration::read(&inputs, &cluster.architecture);
    read.problems.into_iter().map(|it| it.message).collect()
}

/// Warnings about the legacy ConfigMap: keys and values that have no effect, and a stronger place that says
/// something else.
pub(crate) fn legacy(
    namespace: &str,
    object: &Value,
    cluster: &ClusterConfiguration,
) -> Vec<String> {
    let data: BTreeMap<String, String> = object
        .get("data")
        .and_then(|data| serde_json::from_value(data.clone()).ok())
        .unwrap_or_default();
    let last_values = cluster.effective();
    let inputs = ClusterInputs {
        config_maps: vec![(namespace, &data)],
        last_good: Some(&cluster.emulation),
        last_values: &last_values,
        ..ClusterInputs::default()
    };
    let read = ClusterConfiguration::read(&inputs, &cluster.architecture);
    let mut warnings: Vec<String> = read.problems.into_iter().map(|it| it.message).collect();
    let place = format!("ConfigMap {namespace}/{} {SWITCH}", names::CONFIG_MAP);
    let now = &cluster.emulation;
    let asks = read.emulation.policy.permits_software();
    if read.emulation.decided_by == place
        && now.is_above_switch()
        && asks != now.policy.permits_software()
    {
        warnings.push(format!(
            "{place} says {asks}, but {} says {} and wins; make them agree, or remove one",
            now.decided_by, now.policy
        ));
    }
    warnings
}

/// Refuses values of the legacy ConfigMap that are no strings, with the quotation marks that are missing: YAML
/// makes a boolean of an unquoted `true`.
pub(crate) fn refuse_unquoted(object: &Value) -> Result<(), Status> {
    let data = object.get("data").and_then(Value::as_object);
    for (key, value) in data.into_iter().flatten() {
        let kind = match value {
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => continue,
        };
        return Err(Status::bad_request(format!(
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal {kind} into Go \
             struct field ConfigMap.data of type string: data.{key} is {value} without quotation marks; write \
             {key}: \"{value}\""
        )));
    }
    Ok(())
}
