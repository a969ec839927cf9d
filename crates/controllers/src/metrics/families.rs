//! Which metrics there are, and what each is read off.

use super::{Family, Label, Series, View};
use crate::virtual_machine_instance::ACCELERATOR_AVAILABLE;
use api::accelerator::NodeFacts;
use api::condition::{self, Condition};
use api::names;
use api::resources;
use api::virtual_machine::{PrintableStatus, VirtualMachine};
use api::virtual_machine_instance::{VirtualMachineInstance, VirtualMachineInstanceSpec};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use std::collections::BTreeMap;

/// What KubeVirt writes for a label that has no value.
const NONE: &str = "<none>";

/// All of them, in the order of their names; series in the order of their labels.
pub(super) fn all(view: &View) -> Vec<Family> {
    let mut families = cluster(view);
    families.extend(nodes(view));
    families.extend(machines(view));
    families.extend(instances(view));
    families.extend(accelerators(view));
    families.extend(super::usage::families(view));
    families.extend(super::warm_start::families(view));
    for family in &mut families {
        family
            .series
            .sort_by(|one, other| one.labels.cmp(&other.labels));
    }
    families.sort_by_key(|family| family.name);
    families
}

pub(super) fn family(
    name: &'static str,
    help: &'static str,
    series: impl IntoIterator<Item = Series>,
) -> Family {
    Family {
        name,
        help,
        series: series.into_iter().collect(),
    }
}

pub(super) fn series<const N: usize>(labels: [Label; N], value: f64) -> Series {
    Series {
        labels: labels.into(),
        value,
    }
}

fn truth(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

/// Exact up to 2^53, far more than there are objects.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of objects and bytes of memory"
)]
pub(super) fn count(number: u64) -> f64 {
    number as f64
}

fn cluster(view: &View) -> Vec<Family> {
    let configuration = view.configuration.as_deref();
    let emulation = configuration.map(|it| &it.emulation);
    let enabled = emulation.map(|it| series([], truth(it.policy.permits_software())));
    let policy = emulation.map(|it| {
        let labels = [
            ("policy", it.policy.to_string()),
            ("decided_by", it.decided_by.clone()),
        ];
        series(labels, 1.0)
    });
    let mut problems: BTreeMap<&str, u64> = BTreeMap::new();
    for problem in configuration.iter().flat_map(|it| &it.problems) {
        *problems.entry(&problem.reason).or_default() += 1;
    }
    let problems = problems
        .into_iter()
        .map(|(reason, number)| series([("reason", reason.to_owned())], count(number)));
    vec![
        family(
            "kubevirt_configuration_emulation_enabled",
            "Indicates whether the Software Emulation is enabled in the configuration",
            enabled,
        ),
        family(
            "anyvirt_emulation_policy_info",
            "The emulation policy of the cluster and the place that decided it",
            policy,
        ),
        family(
            "anyvirt_configuration_problems",
            "Settings of the cluster that are not understood, have no effect or contradict each other",
            problems,
        ),
    ]
}

fn nodes(view: &View) -> Vec<Family> {
    let allocatable = |node: &&std::sync::Arc<Node>, resource: &str| {
        let status = node.status.as_ref();
        let amount = status.and_then(|it| it.allocatable.as_ref()?.get(resource));
        amount.is_some_and(|amount| amount.0 != "0")
    };
    let of = |resource: &str| {
        let number = view.nodes.iter().filter(|node| allocatable(node, resource));
        series([], count(number.count() as u64))
    };
    let facts: Vec<(String, NodeFacts)> = view
        .nodes
        .iter()
        .map(|node| (node.name_any(), NodeFacts::of(node)))
        .collect();
    let verdicts = facts.iter().map(|(name, facts)| {
        let labels = [
            ("node", name.clone()),
            ("class", facts.verdict.class.clone()),
        ];
        series(labels, truth(facts.verdict.usable))
    });
    let slowdowns = facts
        .iter()
        .filter_map(|(name, facts)| Some(series([("node", name.clone())], facts.slowdown?)));
    vec![
        family(
            "kubevirt_nodes_with_kvm",
            "The number of nodes in the cluster that have the devices.kubevirt.io/kvm resource available",
            [of(names::resources::KVM)],
        ),
        family(
            "kubevirt_allocatable_nodes",
            "The number of allocatable nodes in the cluster",
            [of("cpu")],
        ),
        family(
            "anyvirt_node_hardware_virtualization",
            "Whether a guest ran on the node's hardware virtualization as it should, and the class of the verdict",
            verdicts,
        ),
        family(
            "anyvirt_node_tcg_slowdown_ratio",
            "How many times slower than KVM an emulated guest is on the node, as measured there",
            slowdowns,
        ),
    ]
}

fn machines(view: &View) -> Vec<Family> {
    let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
    for machine in &view.machines {
        *numbers
            .entry(machine.namespace().unwrap_or_default())
            .or_default() += 1;
    }
    let numbers = numbers
        .into_iter()
        .map(|(namespace, number)| series([("namespace", namespace)], count(number)));
    vec![
        family(
            "kubevirt_number_of_vms",
            "The number of VMs in the cluster by namespace",
            numbers,
        ),
        family(
            "kubevirt_vm_info",
            "Information about Virtual Machines",
            view.machines.iter().map(|machine| machine_info(machine)),
        ),
    ]
}

fn machine_info(machine: &VirtualMachine) -> Series {
    let template = machine.spec.template.as_ref();
    let metadata = template.and_then(|template| template.metadata.as_ref());
    let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref());
    let status = machine.status.as_ref();
    let status = status.map(|it| it.printable_status).unwrap_or_default();
    let machine_type = template.and_then(|it| machine_type(&it.spec));
    let [os, workload, flavor] = annotated(annotations);
    let labels = [
        ("name", machine.name_any()),
        ("namespace", machine.namespace().unwrap_or_default()),
        os,
        workload,
        flavor,
        ("instance_type", NONE.to_owned()),
        ("preference", NONE.to_owned()),
        ("machine_type", machine_type.unwrap_or_default()),
        ("status", status.to_string().to_lowercase()),
        ("status_group", status_group(status).to_owned()),
    ];
    series(labels, 1.0)
}

/// KubeVirt's groups of statuses.
fn status_group(status: PrintableStatus) -> &'static str {
    match status {
        PrintableStatus::Provisioning
        | PrintableStatus::Starting
        | PrintableStatus::WaitingForVolumeBinding
        | PrintableStatus::WaitingForReceiver => "starting",
        PrintableStatus::Running => "running",
        PrintableStatus::Migrating => "migrating",
        PrintableStatus::Stopped
        | PrintableStatus::Paused
        | PrintableStatus::Suspended
        | PrintableStatus::Stopping
        | PrintableStatus::Terminating => "non_running",
        PrintableStatus::CrashLoopBackOff
        | PrintableStatus::Unknown
        | PrintableStatus::ErrorUnschedulable
        | PrintableStatus::ErrImagePull
        | PrintableStatus::ImagePullBackOff
        | PrintableStatus::ErrorPvcNotFound
        | PrintableStatus::DataVolumeError => "error",
    }
}

fn machine_type(spec: &VirtualMachineInstanceSpec) -> Option<String> {
    spec.domain.machine.as_ref()?.type_.clone()
}

/// What OpenShift's templates say of a guest by annotations.
fn annotated(annotations: Option<&BTreeMap<String, String>>) -> [Label; 3] {
    ["os", "workload", "flavor"].map(|name| {
        let value = annotations.and_then(|all| all.get(&format!("vm.kubevirt.io/{name}")));
        (name, value.cloned().unwrap_or_else(|| NONE.to_owned()))
    })
}

pub(super) fn place(instance: &VirtualMachineInstance) -> [Label; 3] {
    let node = instance.status.as_ref().and_then(|it| it.node_name.clone());
    [
        ("node", node.unwrap_or_default()),
        ("namespace", instance.namespace().unwrap_or_default()),
        ("name", instance.name_any()),
    ]
}

fn instances(view: &View) -> Vec<Family> {
    let addresses = view.instances.iter().flat_map(|instance| {
        let status = instance.status.as_ref();
        let interfaces = status
            .map(|it| it.interfaces.as_slice())
            .unwrap_or_default();
        interfaces.iter().filter_map(|interface| {
            let [node, namespace, name] = place(instance);
            let labels = [
                node,
                namespace,
                name,
                ("network_name", interface.name.clone().unwrap_or_default()),
                ("address", interface.ip_address.clone()?),
                ("type", "ExternalInterface".to_owned()),
            ];
            Some(series(labels, 1.0))
        })
    });
    let overheads = view.instances.iter().filter_map(|instance| {
        let bytes = resources::memory_overhead_of(instance)?;
        let [_, namespace, name] = place(instance);
        Some(series([namespace, name], count(bytes)))
    });
    vec![
        family(
            "kubevirt_vmi_info",
            "Information about VirtualMachineInstances",
            view.instances
                .iter()
                .map(|instance| instance_info(instance)),
        ),
        family(
            "kubevirt_vmi_status_addresses",
            "The addresses of a VirtualMachineInstance",
            addresses,
        ),
        family(
            "kubevirt_vmi_launcher_memory_overhead_bytes",
            "Estimation of the memory amount required for virt-launcher's infrastructure components",
            overheads,
        ),
    ]
}

fn instance_info(instance: &VirtualMachineInstance) -> Series {
    let status = instance.status.as_ref();
    let phase = status.and_then(|it| it.phase);
    let phase = phase.map(|phase| phase.to_string().to_lowercase());
    let guest = status
        .and_then(|it| it.guest_os_info.clone())
        .unwrap_or_default();
    let [node, namespace, name] = place(instance);
    let [os, workload, flavor] = annotated(instance.metadata.annotations.as_ref());
    let labels = [
        node,
        namespace,
        name,
        ("phase", phase.unwrap_or_default()),
        os,
        workload,
        flavor,
        ("instance_type", NONE.to_owned()),
        ("preference", NONE.to_owned()),
        (
            "guest_os_kernel_release",
            guest.kernel_release.unwrap_or_default(),
        ),
        ("guest_os_machine", guest.machine.unwrap_or_default()),
        ("guest_os_name", guest.name.unwrap_or_default()),
        ("guest_os_version_id", guest.version_id.unwrap_or_default()),
        // No guest is migrated, so none can be evicted.
        ("evictable", "false".to_owned()),
    ];
    series(labels, 1.0)
}

fn accelerators(view: &View) -> Vec<Family> {
    let running = view.instances.iter().filter_map(|instance| {
        let status = instance.status.as_ref()?;
        let ended = status.phase.is_none_or(|phase| phase.is_final());
        let found = status.accelerator.as_ref().filter(|_| !ended)?;
        let [node, namespace, name] = place(instance);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let labels = [
            namespace,
            name,
            node,
            ("accelerator", found.type_.clone()),
            ("reason", text(&found.reason)),
            ("policy", text(&found.policy)),
            ("decided_by", text(&found.decided_by)),
            ("isolation", text(&found.isolation)),
            ("architecture", text(&found.architecture)),
        ];
        Some(series(labels, 1.0))
    });
    let slowdowns = view.instances.iter().filter_map(|instance| {
        let found = instance.status.as_ref()?.accelerator.as_ref()?;
        let factor = found.expected_slowdown.as_ref()?.parse().ok()?;
        let [node, namespace, name] = place(instance);
        Some(series([namespace, name, node], factor))
    });
    vec![
        family(
            "anyvirt_vmi_accelerator_info",
            "What runs the guest as QEMU itself reports, why, and which setting decided",
            running,
        ),
        family(
            "anyvirt_vmi_expected_slowdown_ratio",
            "How many times slower than KVM the emulated guest is expected to be",
            slowdowns,
        ),
        family(
            "anyvirt_vmi_accelerator_outdated",
            "Guests that would get another accelerator, or none, if they were started now",
            told(view, names::conditions::ACCELERATOR_OUTDATED, "True"),
        ),
        family(
            "anyvirt_vmi_accelerator_unavailable",
            "Guests that wait because no accelerator that works is permitted",
            told(view, ACCELERATOR_AVAILABLE, "False"),
        ),
        family(
            "anyvirt_vmi_emulation_not_isolated",
            "Emulated guests that share their node with emulated guests of other namespaces",
            told(view, names::conditions::EMULATION_ISOLATION, "False"),
        ),
    ]
}

/// A series for each instance whose condition of this type has this status.
fn told(view: &View, type_: &str, status: &str) -> Vec<Series> {
    let with = view.instances.iter().filter_map(|instance| {
        let conditions = &instance.status.as_ref()?.conditions;
        let found: &Condition =
            condition::find(conditions, type_).filter(|it| it.status == status)?;
        let [node, namespace, name] = place(instance);
        let reason = ("reason", found.reason.clone().unwrap_or_default());
        Some(series([namespace, name, node, reason], 1.0))
    });
    with.collect()
}
