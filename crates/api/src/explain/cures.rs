//! What helps: each cure with its command, effect and cost.

use super::seen::{MachineSeen, Prospect};
use super::{Evidence, Remedy};
use k8s_openapi::api::core::v1::Node;

use crate::accelerator::{
    Class, NodeFacts, Refusal, SURROUNDINGS_ANNOTATION, Scope, Step, Surroundings, emulator,
    emulator_packages, permit_emulation, remedies,
};
use crate::names::annotations;
use crate::names::labels::EMULATION_MULTI_TENANCY;
use crate::virtual_machine_instance::VirtualMachineInstanceSpec;

const NONE: &str = "none";

/// For what no rule knows.
pub(super) fn report(seen: &MachineSeen<'_>) -> Remedy {
    Remedy::new(
        "Copy the report",
        "whoever helps you sees what is seen here, without secrets",
        NONE,
        true,
    )
    .command(format!(
        "anyvirt explain {}{} -o json; anyvirt doctor -o json",
        target(seen),
        seen.flag()
    ))
}

fn target(seen: &MachineSeen<'_>) -> String {
    let prefix = if seen.machine.is_some() { "vm" } else { "vmi" };
    format!("{prefix}/{}", seen.name())
}

pub(super) fn edit(seen: &MachineSeen<'_>) -> Remedy {
    let remedy = Remedy::new(
        "Change the field that is in the way",
        "it is tried again at once",
        "the manifest differs from before",
        true,
    );
    remedy.command(format!("kubectl edit {}{}", target(seen), seen.flag()))
}

pub(super) fn start(seen: &MachineSeen<'_>) -> Remedy {
    let remedy = Remedy::new("Start it", "it runs", "its processors and memory", true);
    match seen.machine {
        Some(_) => remedy.command(format!("anyvirt start {}{}", seen.name(), seen.flag())),
        // An instance of its own runs once.
        None => Remedy::new(
            "Make it anew",
            "it runs once more",
            "the finished instance is gone",
            false,
        )
        .command(format!("kubectl delete vmi/{}{}", seen.name(), seen.flag())),
    }
}

pub(super) fn stop(seen: &MachineSeen<'_>) -> Remedy {
    Remedy::new(
        "Stop trying",
        "nothing is tried until it is started",
        NONE,
        true,
    )
    .command(format!("anyvirt stop {}{}", seen.name(), seen.flag()))
}

pub(super) fn read_logs(seen: &MachineSeen<'_>) -> Remedy {
    Remedy::new(
        "Read what the guest wrote to its serial console",
        "its last words often name the cause",
        NONE,
        true,
    )
    .command(format!("anyvirt logs {}{}", seen.name(), seen.flag()))
}

pub(super) fn console(seen: &MachineSeen<'_>) -> Remedy {
    Remedy::new(
        "Look at its serial console",
        "a prompt may wait for somebody",
        NONE,
        true,
    )
    .command(format!("anyvirt console {}{}", seen.name(), seen.flag()))
}

pub(super) fn restart(seen: &MachineSeen<'_>) -> Remedy {
    let remedy = Remedy::new(
        "Start it again",
        "the guest boots anew",
        "what it has not written to its disks is lost",
        false,
    );
    match seen.machine {
        Some(_) => remedy.command(format!("anyvirt restart {}{}", seen.name(), seen.flag())),
        None => remedy,
    }
}

pub(super) fn read_launcher_log(seen: &MachineSeen<'_>) -> Remedy {
    let remedy = Remedy::new(
        "Read the launcher's log",
        "it says what the launcher met, and what QEMU said",
        NONE,
        true,
    );
    match seen.pod.and_then(|pod| pod.metadata.name.as_deref()) {
        Some(pod) => remedy.command(format!("kubectl logs {pod} -c compute{}", seen.flag())),
        None => remedy,
    }
}

pub(super) fn doctor() -> Remedy {
    Remedy::new(
        "Look at the node",
        "every check with its cure",
        "run it on the node",
        true,
    )
    .command("anyvirt doctor")
}

/// Cures of an image that cannot be pulled, by what was said about it.
pub(super) fn image(seen: &MachineSeen<'_>, message: &str) -> Vec<Remedy> {
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let edit =
        |title: &str| {
            Remedy::new(title, "the next try, within minutes, pulls it", NONE, true)
                .command(format!("kubectl edit {}{}", target(seen), seen.flag()))
        };
    let mut cures = Vec::new();
    if says(&[
        "not found",
        "404",
        "no such",
        "unknown manifest",
        "manifest unknown",
    ]) {
        cures.push(edit("Correct the image's name or tag"));
    }
    if says(&["unauthorized", "denied", "401", "403"]) {
        cures.push(edit("Use an image that may be pulled without a login"));
    }
    if says(&[
        "refused",
        "timed out",
        "timeout",
        "resolve",
        "dns",
        "unreachable",
        "connect",
    ]) {
        cures.push(Remedy::new(
            "Let the node reach the registry",
            "the next try, within minutes, pulls it",
            "the network's configuration",
            true,
        ));
    }
    if says(&["space", "quota"]) {
        cures.push(Remedy::new(
            "Make room on the node's disk",
            "the next try, within minutes, pulls it",
            NONE,
            true,
        ));
    }
    if says(&["certificate", "tls", "x509"]) {
        cures.push(Remedy::new(
            "Give the registry a certificate that the node trusts",
            "the next try, within minutes, pulls it",
            "the registry's or the node's configuration",
            true,
        ));
    }
    if cures.is_empty() {
        cures.push(edit("Check the image's reference"));
        cures.push(report(seen));
    }
    cures
}

pub(super) fn add_node() -> Remedy {
    Remedy::new(
        "Add a node whose hardware virtualization works",
        "it goes there by itself, at full speed",
        "a machine: bare metal, or a cloud instance with nested virtualization",
        true,
    )
}

pub(super) fn make_room() -> Remedy {
    Remedy::new(
        "Stop a virtual machine that is not needed",
        "its room is free at once",
        "that machine stops",
        true,
    )
    .command("anyvirt status")
}

pub(super) fn ask_less(seen: &MachineSeen<'_>) -> Remedy {
    Remedy::new(
        "Ask for fewer processors or less memory",
        "it fits where there is room now",
        "the guest is smaller",
        true,
    )
    .command(format!("kubectl edit {}{}", target(seen), seen.flag()))
}

pub(super) fn uncordon() -> Remedy {
    Remedy::new(
        "Let a node take pods again",
        "it starts there",
        "whoever cordoned the node had a reason",
        true,
    )
    .command("kubectl get nodes; kubectl uncordon NODE")
}

pub(super) fn load_vhost_net() -> Remedy {
    Remedy::new(
        "Load the module vhost_net on each node",
        "it starts at full speed",
        "root on each node; until the next boot, unless /etc/modules-load.d names it",
        true,
    )
    .command("sudo modprobe vhost_net")
}

pub(super) fn other_network_card(seen: &MachineSeen<'_>) -> Remedy {
    let remedy = Remedy::new(
        "Give it an e1000e network card",
        "it needs no /dev/vhost-net and starts",
        "a slower network",
        true,
    );
    let named = seen
        .spec()
        .is_some_and(|spec: &VirtualMachineInstanceSpec| spec.domain.devices.interfaces.len() == 1);
    match seen.machine {
        Some(_) if named => remedy.command(format!(
            "kubectl patch {}{} --type=json -p='[{{\"op\":\"add\",\"path\":\"/spec/template/spec/domain/devices/interfaces/0/model\",\"value\":\"e1000e\"}}]'",
            target(seen),
            seen.flag()
        )),
        _ => remedy,
    }
}

/// Cures of owners who may not share a node; `words` end with who forbids it: `(forbidden by PLACE)`.
pub(super) fn multi_tenancy(words: &str) -> Vec<Remedy> {
    let place = words
        .split_once("(forbidden by ")
        .map_or("", |(_, place)| place.trim_end_matches(')'));
    // `Namespace team-a label …`: the name is the second word.
    let command = match place
        .strip_prefix("Namespace ")
        .and_then(|rest| rest.split(' ').next())
    {
        Some(name) => format!("kubectl label namespace {name} {EMULATION_MULTI_TENANCY}-"),
        None => "kubectl -n kubevirt patch kubevirt kubevirt --type=merge -p \
                 '{\"spec\":{\"configuration\":{\"emulationMultiTenancy\":\"Warn\"}}}'"
            .to_owned(),
    };
    vec![
        add_node(),
        Remedy::new(
            "Permit emulated guests of several namespaces on one node",
            "it starts beside them",
            "only the launcher's jail keeps the guests apart: QEMU's maintainers do not count software \
             emulation as a security boundary",
            true,
        )
        .command(command),
    ]
}

/// More emulated processors for each core; `words` say how many there may be: `… more than 10 emulated
/// processors per core …`.
pub(super) fn more_processors_per_core(words: &str) -> Remedy {
    let remedy = Remedy::new(
        "Let more emulated processors share a core",
        "it starts beside the others",
        "all emulated guests there are slower while they are busy",
        true,
    );
    let most = words
        .split_once(" emulated processors")
        .and_then(|(before, _)| before.rsplit(' ').next()?.parse::<u32>().ok());
    match most {
        Some(most) => remedy.command(format!(
            "kubectl -n kubevirt patch kubevirt kubevirt --type=merge -p \
             '{{\"spec\":{{\"configuration\":{{\"emulatedProcessorsPerCore\":{}}}}}}}'",
            most.saturating_mul(2)
        )),
        None => remedy,
    }
}

/// What the pod asks of the resources that lack.
pub(super) fn asked(seen: &MachineSeen<'_>, lacking: &[&str]) -> Vec<Evidence> {
    let spec = seen.pod.and_then(|pod| pod.spec.as_ref());
    let compute = spec.and_then(|spec| spec.containers.first());
    let requests = compute.and_then(|it| it.resources.as_ref()?.requests.as_ref());
    requests
        .into_iter()
        .flatten()
        .filter(|(name, _)| lacking.contains(&name.as_str()))
        .map(|(name, quantity)| Evidence {
            source: format!("the launcher pod's request of {name}"),
            text: quantity.0.clone(),
        })
        .collect()
}

/// The ways to make a node's hardware virtualization work.
pub(super) fn hardware(node: &Node) -> Vec<Remedy> {
    let annotations = node.metadata.annotations.as_ref();
    let annotation = annotations.and_then(|all| all.get(SURROUNDINGS_ANNOTATION));
    let surroundings = Surroundings::of(annotation.map(String::as_str));
    let class = Class::parse(&NodeFacts::of(node).verdict.class);
    remedies(class, &surroundings)
}

/// The ways to permit software emulation where hardware virtualization works, and only the network's
/// device is missing: the guest's processors stay on hardware.
pub(super) fn permit_slower_network(seen: &MachineSeen<'_>) -> Vec<Remedy> {
    let mut cures = permit(seen, "a slower network; the guest's processors stay on KVM");
    for cure in &mut cures {
        "it starts on KVM, its network without the kernel's help".clone_into(&mut cure.effect);
        "a slower network; where KVM fails later, emulation, which is no security boundary"
            .clone_into(&mut cure.cost);
    }
    cures
}

/// The ways to permit software emulation, where nothing but the cluster's policy is in the way.
pub(super) fn permit(seen: &MachineSeen<'_>, slower: &str) -> Vec<Remedy> {
    let place = seen.cluster.decided_by.clone();
    [
        Step::PermitByCluster { place },
        Step::PermitByVirtualMachine,
    ]
    .into_iter()
    .map(|step| permission(seen, &[step], slower))
    .collect()
}

/// The cures that a refusal names, told in full.
pub(super) fn of_refusal(
    seen: &MachineSeen<'_>,
    prospect: &Prospect<'_>,
    refusal: &Refusal,
    slower: &str,
) -> Vec<Remedy> {
    refusal
        .remedies
        .iter()
        .flat_map(|remedy| match remedy.steps.as_slice() {
            [Step::RepairHardware | Step::ProvideDevice] => hardware(prospect.node),
            steps => vec![permission(seen, steps, slower)],
        })
        .collect()
}

/// One cure of several steps.
fn permission(seen: &MachineSeen<'_>, steps: &[Step], slower: &str) -> Remedy {
    let mut titles: Vec<String> = steps.iter().map(|step| title(seen, step)).collect();
    for title in titles.iter_mut().skip(1) {
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_lowercase();
        }
    }
    let commands: Vec<String> = steps
        .iter()
        .filter_map(|step| command(seen, step))
        .collect();
    let emulated = steps.iter().any(|step| {
        matches!(
            step,
            Step::PermitByCluster { .. }
                | Step::PermitByVirtualMachine
                | Step::RaiseCap { .. }
                | Step::InstallEmulator { .. }
        )
    });
    let (effect, cost) = if emulated {
        (
            "it starts, emulated wherever hardware virtualization does not work",
            format!("{slower}; emulation is no security boundary"),
        )
    } else {
        ("it starts at full speed", "a machine".to_owned())
    };
    let mut remedy = Remedy::new(&titles.join(", then "), effect, &cost, true);
    // Some steps of several would be half a cure.
    if !commands.is_empty() && commands.len() == steps.len() {
        remedy.command = Some(commands.join(" && "));
    }
    remedy
}

fn title(seen: &MachineSeen<'_>, step: &Step) -> String {
    match step {
        Step::PermitByCluster { .. } => "Permit software emulation in the whole cluster".to_owned(),
        Step::PermitByVirtualMachine => {
            format!("Permit software emulation for {} alone", seen.name())
        }
        Step::RaiseCap { place, .. } => format!("Remove the cap {place}"),
        Step::RemoveForced => format!("Remove the annotation {}", annotations::ACCELERATOR),
        Step::InstallEmulator { architecture } => {
            let emulator = emulator(architecture, "and");
            format!("Install {emulator} for {architecture} on the node")
        }
        Step::UseNativeNode { architecture } => {
            format!("Add a node of architecture {architecture} whose hardware virtualization works")
        }
        Step::RepairHardware => "Make the node's hardware virtualization work".to_owned(),
        Step::ProvideDevice => "Give the node a /dev/kvm that opens".to_owned(),
    }
}

fn command(seen: &MachineSeen<'_>, step: &Step) -> Option<String> {
    let flag = seen.flag();
    match step {
        // That field stands above the switch that `emulation on` sets.
        Step::PermitByCluster { place } if place.ends_with("emulationPolicy") => Some(
            "kubectl -n kubevirt patch kubevirt kubevirt --type=merge -p \
             '{\"spec\":{\"configuration\":{\"emulationPolicy\":\"Software\"}}}'"
                .to_owned(),
        ),
        Step::PermitByCluster { .. } => permit_emulation().command,
        // An instance of its own cannot be changed.
        Step::PermitByVirtualMachine => seen
            .machine
            .map(|_| format!("anyvirt emulation on --vm {}{flag}", seen.name())),
        Step::RaiseCap { scope, place } => {
            // `Namespace team-a label …`: the name is the second word.
            let name = place.split(' ').nth(1)?;
            let option = match scope {
                Scope::Namespace => "--namespace",
                Scope::Node => "--node",
                Scope::Cluster | Scope::VirtualMachine => return None,
            };
            Some(format!("anyvirt emulation auto {option} {name}"))
        }
        Step::RemoveForced => {
            // With one of two gone, the other would stand.
            let removed: Vec<String> = seen
                .machine?
                .accelerator_annotations()
                .map(|it| format!("{{\"op\":\"remove\",\"path\":\"{}\"}}", it.pointer))
                .collect();
            (!removed.is_empty()).then(|| {
                format!(
                    "kubectl patch vm/{}{flag} --type=json -p='[{}]'",
                    seen.name(),
                    removed.join(",")
                )
            })
        }
        Step::InstallEmulator { architecture } => {
            let packages = emulator_packages(architecture);
            Some(format!("sudo apt-get install {packages}"))
        }
        Step::RepairHardware | Step::ProvideDevice => Some("anyvirt doctor".to_owned()),
        Step::UseNativeNode { .. } => None,
    }
}
