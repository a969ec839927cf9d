//! Machines that no node takes.

use expect_test::expect;
use serde_json::json;

use super::{FIGURE_1, NEITHER, World, a_node, causes, check, policy};
use crate::accelerator::EmulationPolicy;
use crate::explain::{CauseId, Remedy, Standing};

#[test]
fn no_kvm_and_no_permission_is_the_articles_case() {
    check(
        &World::unschedulable(NEITHER).explained(),
        &expect![[r#"
            EmulationNotPermitted (Acceleration)
            hardware virtualization does not work on this node: there is no /dev/kvm; and software emulation is not permitted (policy None, by ConfigMap openshift-cnv/kubevirt-config debug.useEmulation)
            - Pod virt-launcher-fedora-abcde condition PodScheduled=False: 0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm, 1 Insufficient devices.kubevirt.io/vhost-net.
            - Node one condition HardwareVirtualization (DeviceMissing): /dev/kvm does not exist
            - ConfigMap openshift-cnv/kubevirt-config debug.useEmulation: None
            > Load KVM's module | /dev/kvm appears; the verdict is taken again by itself | root; no restart
              $ sudo modprobe kvm_intel || sudo modprobe kvm_amd
            > Switch on virtualization (VT-x or SVM) in the machine's firmware | the processor offers virtualization, the module loads, /dev/kvm appears | a boot of the machine, at its console
              $ sudo systemctl reboot --firmware-setup
            > Permit software emulation in the whole cluster | it starts, emulated wherever hardware virtualization does not work | several times slower than KVM; emulation is no security boundary
              $ anyvirt emulation on
            > Permit software emulation for fedora alone | it starts, emulated wherever hardware virtualization does not work | several times slower than KVM; emulation is no security boundary
              $ anyvirt emulation on --vm fedora -n demo
            > Add a node whose hardware virtualization works | it goes there by itself, at full speed | a machine: bare metal, or a cloud instance with nested virtualization
        "#]],
    );
}

#[test]
fn figure_1_with_working_kvm_lacks_only_vhost_net() {
    let mut world = World::unschedulable(FIGURE_1);
    world.nodes = (1..=6)
        .map(|number| a_node(&format!("node{number}"), true))
        .collect();
    check(
        &world.explained(),
        &expect![[r#"
            VhostNetMissing (Acceleration)
            no node offers /dev/vhost-net, which a virtio network card needs while software emulation is not permitted (policy None, by ConfigMap openshift-cnv/kubevirt-config debug.useEmulation)
            - Pod virt-launcher-fedora-abcde condition PodScheduled=False: 0/6 nodes are available: ... Insufficient devices.kubevirt.io/vhost-net.
            - Node node1 condition HardwareVirtualization (Usable): a guest ran through all stages in 3 ms
            > Load the module vhost_net on each node | it starts at full speed | root on each node; until the next boot, unless /etc/modules-load.d names it
              $ sudo modprobe vhost_net
            > Permit software emulation in the whole cluster | it starts on KVM, its network without the kernel's help | a slower network; where KVM fails later, emulation, which is no security boundary
              $ anyvirt emulation on
            > Permit software emulation for fedora alone | it starts on KVM, its network without the kernel's help | a slower network; where KVM fails later, emulation, which is no security boundary
              $ anyvirt emulation on --vm fedora -n demo
            > Give it an e1000e network card | it needs no /dev/vhost-net and starts | a slower network
              $ kubectl patch vm/fedora -n demo --type=json -p='[{"op":"add","path":"/spec/template/spec/domain/devices/interfaces/0/model","value":"e1000e"}]'
            > Add a node whose hardware virtualization works | it goes there by itself, at full speed | a machine: bare metal, or a cloud instance with nested virtualization
        "#]],
    );
}

#[test]
fn figure_1_without_any_node_known_is_still_explained() {
    let mut world = World::unschedulable(FIGURE_1);
    world.nodes.clear();
    assert_eq!(
        causes(&world.explained()),
        (CauseId::VhostNetMissing, Standing::Acceleration)
    );
    let mut world = World::unschedulable(NEITHER);
    world.nodes.clear();
    assert_eq!(
        causes(&world.explained()),
        (CauseId::EmulationNotPermitted, Standing::Acceleration)
    );
}

#[test]
fn several_nodes_are_told_together() {
    let mut world = World::unschedulable(NEITHER);
    world.nodes = ["a", "b", "c"].map(|name| a_node(name, false)).to_vec();
    world.nodes[0]["metadata"]["annotations"]["anyvirt.io/tcg-slowdown"] = json!("7.8");
    world.nodes[1]["metadata"]["annotations"]["anyvirt.io/tcg-slowdown"] = json!("9.1");
    check(
        &world.explained(),
        &expect![[r#"
            EmulationNotPermitted (Acceleration)
            hardware virtualization does not work on any of 3 nodes (3 DeviceMissing), and software emulation is not permitted (policy None, by ConfigMap openshift-cnv/kubevirt-config debug.useEmulation)
            - Pod virt-launcher-fedora-abcde condition PodScheduled=False: 0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm, 1 Insufficient devices.kubevirt.io/vhost-net.
            - Node a condition HardwareVirtualization (DeviceMissing): /dev/kvm does not exist
            - ConfigMap openshift-cnv/kubevirt-config debug.useEmulation: None
            > Load KVM's module | /dev/kvm appears; the verdict is taken again by itself | root; no restart
              $ sudo modprobe kvm_intel || sudo modprobe kvm_amd
            > Switch on virtualization (VT-x or SVM) in the machine's firmware | the processor offers virtualization, the module loads, /dev/kvm appears | a boot of the machine, at its console
              $ sudo systemctl reboot --firmware-setup
            > Permit software emulation in the whole cluster | it starts, emulated wherever hardware virtualization does not work | about 7.8 to 9.1 times slower than KVM (calibrated); emulation is no security boundary
              $ anyvirt emulation on
            > Permit software emulation for fedora alone | it starts, emulated wherever hardware virtualization does not work | about 7.8 to 9.1 times slower than KVM (calibrated); emulation is no security boundary
              $ anyvirt emulation on --vm fedora -n demo
            > Add a node whose hardware virtualization works | it goes there by itself, at full speed | a machine: bare metal, or a cloud instance with nested virtualization
        "#]],
    );
}

#[test]
fn a_namespaces_cap_is_named_with_the_way_to_remove_it() {
    let mut world = World::unschedulable(NEITHER);
    world.cluster = policy(EmulationPolicy::Software);
    world.namespace["metadata"]["labels"]["anyvirt.io/emulation-policy"] = json!("None");
    check(
        &world.explained(),
        &expect![[r#"
            CappedByNamespace (Acceleration)
            hardware virtualization does not work on this node: there is no /dev/kvm; and software emulation is not permitted (policy None, by Namespace demo label anyvirt.io/emulation-policy)
            - Pod virt-launcher-fedora-abcde condition PodScheduled=False: 0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm, 1 Insufficient devices.kubevirt.io/vhost-net.
            - Node one condition HardwareVirtualization (DeviceMissing): /dev/kvm does not exist
            - ConfigMap openshift-cnv/kubevirt-config debug.useEmulation: Software
            - Namespace demo label anyvirt.io/emulation-policy: None
            > Load KVM's module | /dev/kvm appears; the verdict is taken again by itself | root; no restart
              $ sudo modprobe kvm_intel || sudo modprobe kvm_amd
            > Switch on virtualization (VT-x or SVM) in the machine's firmware | the processor offers virtualization, the module loads, /dev/kvm appears | a boot of the machine, at its console
              $ sudo systemctl reboot --firmware-setup
            > Remove the cap Namespace demo label anyvirt.io/emulation-policy | it starts, emulated wherever hardware virtualization does not work | several times slower than KVM; emulation is no security boundary
              $ anyvirt emulation auto --namespace demo
            > Add a node whose hardware virtualization works | it goes there by itself, at full speed | a machine: bare metal, or a cloud instance with nested virtualization
        "#]],
    );
}

#[test]
fn a_nodes_cap_is_named_with_the_way_to_remove_it() {
    let mut world = World::unschedulable(
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    );
    world.cluster = policy(EmulationPolicy::Software);
    world.nodes[0]["metadata"]["labels"]["anyvirt.io/emulation-policy"] = json!("Hardware");
    check(
        &world.explained(),
        &expect![[r#"
            CappedByNode (Acceleration)
            hardware virtualization does not work on this node: there is no /dev/kvm; and software emulation is not permitted (policy Hardware, by Node one label anyvirt.io/emulation-policy)
            - Pod virt-launcher-fedora-abcde condition PodScheduled=False: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.
            - Node one condition HardwareVirtualization (DeviceMissing): /dev/kvm does not exist
            - ConfigMap openshift-cnv/kubevirt-config debug.useEmulation: Software
            > Load KVM's module | /dev/kvm appears; the verdict is taken again by itself | root; no restart
              $ sudo modprobe kvm_intel || sudo modprobe kvm_amd
            > Switch on virtualization (VT-x or SVM) in the machine's firmware | the processor offers virtualization, the module loads, /dev/kvm appears | a boot of the machine, at its console
              $ sudo systemctl reboot --firmware-setup
            > Remove the cap Node one label anyvirt.io/emulation-policy | it starts, emulated wherever hardware virtualization does not work | several times slower than KVM; emulation is no security boundary
              $ anyvirt emulation auto --node one
            > Add a node whose hardware virtualization works | it goes there by itself, at full speed | a machine: bare metal, or a cloud instance with nested virtualization
        "#]],
    );
}

#[test]
fn the_machines_own_policy_is_named() {
    let mut world = World::unschedulable(NEITHER);
    world.cluster = policy(EmulationPolicy::Software);
    world.instance()["spec"]["emulationPolicy"] = json!("None");
    check(
        &world.explained(),
        &expect![[r#"
            OwnPolicy (Acceleration)
            hardware virtualization does not work on this node: there is no /dev/kvm; and software emulation is not permitted (policy None, by VirtualMachine demo/fedora spec.template.spec.emulationPolicy)
            - Pod virt-launcher-fedora-abcde condition PodScheduled=False: 0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm, 1 Insufficient devices.kubevirt.io/vhost-net.
            - Node one condition HardwareVirtualization (DeviceMissing): /dev/kvm does not exist
            - ConfigMap openshift-cnv/kubevirt-config debug.useEmulation: Software
            - VirtualMachine demo/fedora spec.template.spec.emulationPolicy: None
            > Load KVM's module | /dev/kvm appears; the verdict is taken again by itself | root; no restart
              $ sudo modprobe kvm_intel || sudo modprobe kvm_amd
            > Switch on virtualization (VT-x or SVM) in the machine's firmware | the processor offers virtualization, the module loads, /dev/kvm appears | a boot of the machine, at its console
              $ sudo systemctl reboot --firmware-setup
            > Permit software emulation for fedora alone | it starts, emulated wherever hardware virtualization does not work | several times slower than KVM; emulation is no security boundary
              $ anyvirt emulation on --vm fedora -n demo
            > Add a node whose hardware virtualization works | it goes there by itself, at full speed | a machine: bare metal, or a cloud instance with nested virtualization
        "#]],
    );
}

#[test]
fn an_annotation_of_the_vm_itself_is_removed_where_it_is() {
    let remedies = |in_template: bool| {
        let mut world = World::new();
        world.instance = None;
        world.pod = None;
        world.machine["metadata"]["annotations"] = json!({"anyvirt.io/accelerator": "kvm"});
        if in_template {
            world.machine["spec"]["template"]["metadata"]["annotations"]["anyvirt.io/accelerator"] =
                json!("kvm");
        }
        let vm: crate::virtual_machine::VirtualMachine =
            serde_json::from_value(world.machine.clone()).unwrap();
        let nodes = [serde_json::from_value(world.nodes[0].clone()).unwrap()];
        let seen = super::super::MachineSeen {
            machine: Some(&vm),
            instance: None,
            pod: None,
            events: &[],
            nodes: &nodes,
            namespace: None,
            cluster: &world.cluster,
            architecture: "amd64",
        };
        let explained = super::super::waiting::refused_everywhere(&seen).unwrap();
        assert_eq!(explained.cause_id, CauseId::ForcedAcceleratorRefused);
        let commands = explained.remedies.into_iter().filter_map(|it| it.command);
        commands
            .filter(|command| command.contains("patch vm/"))
            .collect::<Vec<_>>()
    };
    let own = r#"{"op":"remove","path":"/metadata/annotations/anyvirt.io~1accelerator"}"#;
    let template =
        r#"{"op":"remove","path":"/spec/template/metadata/annotations/anyvirt.io~1accelerator"}"#;
    let patch = |operations: &str| {
        format!("kubectl patch vm/fedora -n demo --type=json -p='[{operations}]'")
    };
    for (in_template, operations) in [(false, own.to_owned()), (true, format!("{template},{own}"))]
    {
        let commands = remedies(in_template);
        assert!(!commands.is_empty());
        for command in commands {
            assert!(command.starts_with(&patch(&operations)), "{command}");
        }
    }
}

#[test]
fn a_forced_accelerator_that_cannot_be_had_is_named() {
    let mut world = World::unschedulable(
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    );
    world.instance()["metadata"]["annotations"]["anyvirt.io/accelerator"] = json!("kvm");
    // From which the instance has it.
    world.machine["spec"]["template"]["metadata"]["annotations"]["anyvirt.io/accelerator"] =
        json!("kvm");
    check(
        &world.explained(),
        &expect![[r#"
            ForcedAcceleratorRefused (Acceleration)
            the annotation anyvirt.io/accelerator asks for KVM, but this node has no /dev/kvm that opens: /dev/kvm does not exist (DeviceMissing)
            - Pod virt-launcher-fedora-abcde condition PodScheduled=False: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.
            - Node one condition HardwareVirtualization (DeviceMissing): /dev/kvm does not exist
            - annotation anyvirt.io/accelerator of fedora: kvm
            - ConfigMap openshift-cnv/kubevirt-config debug.useEmulation: None
            > Load KVM's module | /dev/kvm appears; the verdict is taken again by itself | root; no restart
              $ sudo modprobe kvm_intel || sudo modprobe kvm_amd
            > Switch on virtualization (VT-x or SVM) in the machine's firmware | the processor offers virtualization, the module loads, /dev/kvm appears | a boot of the machine, at its console
              $ sudo systemctl reboot --firmware-setup
            > Remove the annotation anyvirt.io/accelerator, then permit software emulation in the whole cluster | it starts, emulated wherever hardware virtualization does not work | several times slower than KVM; emulation is no security boundary
              $ kubectl patch vm/fedora -n demo --type=json -p='[{"op":"remove","path":"/spec/template/metadata/annotations/anyvirt.io~1accelerator"}]' && anyvirt emulation on
            > Remove the annotation anyvirt.io/accelerator, then permit software emulation for fedora alone | it starts, emulated wherever hardware virtualization does not work | several times slower than KVM; emulation is no security boundary
              $ kubectl patch vm/fedora -n demo --type=json -p='[{"op":"remove","path":"/spec/template/metadata/annotations/anyvirt.io~1accelerator"}]' && anyvirt emulation on --vm fedora -n demo
            > Add a node whose hardware virtualization works | it goes there by itself, at full speed | a machine: bare metal, or a cloud instance with nested virtualization
        "#]],
    );

    let mut world = World::new();
    world.instance()["metadata"]["annotations"]["anyvirt.io/accelerator"] = json!("tcg");
    world.say("Synchronized", "False", "FailedCreate", "not permitted");
    assert_eq!(
        causes(&world.explained()),
        (CauseId::ForcedAcceleratorRefused, Standing::Acceleration)
    );
}

#[test]
fn an_architecture_that_no_node_emulates_is_named() {
    let mut world = World::unschedulable(
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    );
    world.cluster = policy(EmulationPolicy::Software);
    world.instance()["spec"]["architecture"] = json!("arm64");
    check(
        &world.explained(),
        &expect![[r#"
            ArchitectureNotEmulated (Acceleration)
            a guest of architecture arm64 can only be emulated on this node of architecture amd64, which lacks QEMU's emulator or EFI firmware for it
            - Pod virt-launcher-fedora-abcde condition PodScheduled=False: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.
            - Node one condition HardwareVirtualization (DeviceMissing): /dev/kvm does not exist
            - ConfigMap openshift-cnv/kubevirt-config debug.useEmulation: Software
            > Install QEMU's emulator and EFI firmware for arm64 on the node | it starts, emulated wherever hardware virtualization does not work | several times slower than KVM; emulation is no security boundary
              $ sudo apt-get install qemu-system-arm qemu-efi-aarch64
            > Add a node of architecture arm64 whose hardware virtualization works | it starts at full speed | a machine
        "#]],
    );
}

#[test]
fn images_that_cannot_be_pulled_have_cures_by_their_error() {
    for (message, title) in [
        (
            "image quay.io/a/b:42: manifest unknown",
            "Correct the image's name or tag",
        ),
        (
            "image x: 401 Unauthorized",
            "Use an image that may be pulled without a login",
        ),
        (
            "image x: connection refused",
            "Let the node reach the registry",
        ),
        (
            "image x: no space left on device",
            "Make room on the node's disk",
        ),
        (
            "image x: invalid peer certificate",
            "Give the registry a certificate that the node trusts",
        ),
        ("image x: who knows", "Check the image's reference"),
    ] {
        let mut world = World::new();
        world.say("Synchronized", "False", "ImagePullBackOff", message);
        let explained = world.explained();
        assert_eq!(causes(&explained), (CauseId::ImagePull, Standing::Problem));
        assert_eq!(explained.remedies[0].title, title, "{message}");
        assert_eq!(explained.evidence[0].text, message);
    }
}

#[test]
fn too_little_room_is_told_apart_by_who_needs_it() {
    let full = "0/1 nodes are available: 1 Insufficient cpu.";
    let mut world = World::unschedulable(full);
    world.nodes = vec![a_node("one", true)];
    check(
        &world.explained(),
        &expect![[r#"
        InsufficientResources (Problem)
        no node that could run it has enough cpu left
        - Pod virt-launcher-fedora-abcde condition PodScheduled=False: 0/1 nodes are available: 1 Insufficient cpu.
        > Stop a virtual machine that is not needed | its room is free at once | that machine stops
          $ anyvirt status
        > Ask for fewer processors or less memory | it fits where there is room now | the guest is smaller
          $ kubectl edit vm/fedora -n demo
        > Add a node whose hardware virtualization works | it goes there by itself, at full speed | a machine: bare metal, or a cloud instance with nested virtualization
    "#]],
    );

    let mut world = World::unschedulable(
        "0/1 nodes are available: 1 node(s) would have more than 10 emulated processors per core (KubeVirt \
         spec.configuration.emulatedProcessorsPerCore).",
    );
    world.cluster = policy(EmulationPolicy::Software);
    world.pod = Some(json!({
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "compute", "resources": {"requests": {"cpu": "2"}}}]},
    }));
    check(
        &world.explained(),
        &expect![[r#"
            EmulatedProcessors (Problem)
            no node has processors left for one more emulated guest, of whose processors a busy one takes a whole core: node(s) would have more than 10 emulated processors per core (KubeVirt spec.configuration.emulatedProcessorsPerCore)
            - Pod p condition PodScheduled=False: 0/1 nodes are available: 1 node(s) would have more than 10 emulated processors per core (KubeVirt spec.configuration.emulatedProcessorsPerCore).
            > Stop a virtual machine that is not needed | its room is free at once | that machine stops
              $ anyvirt status
            > Ask for fewer processors or less memory | it fits where there is room now | the guest is smaller
              $ kubectl edit vm/fedora -n demo
            > Let more emulated processors share a core | it starts beside the others | all emulated guests there are slower while they are busy
              $ kubectl -n kubevirt patch kubevirt kubevirt --type=merge -p '{"spec":{"configuration":{"emulatedProcessorsPerCore":20}}}'
            > Load KVM's module | /dev/kvm appears; the verdict is taken again by itself | root; no restart
              $ sudo modprobe kvm_intel || sudo modprobe kvm_amd
            > Switch on virtualization (VT-x or SVM) in the machine's firmware | the processor offers virtualization, the module loads, /dev/kvm appears | a boot of the machine, at its console
              $ sudo systemctl reboot --firmware-setup
            > Add a node whose hardware virtualization works | it goes there by itself, at full speed | a machine: bare metal, or a cloud instance with nested virtualization
        "#]],
    );

    let mut world = World::unschedulable(
        "0/2 nodes are available: 1 Insufficient devices.kubevirt.io/kvm, 1 Insufficient memory.",
    );
    world.nodes.push(a_node("two", true));
    let explained = world.explained();
    assert_eq!(
        causes(&explained),
        (CauseId::InsufficientResources, Standing::Problem)
    );
    assert!(
        explained
            .cause
            .contains("enough memory left, and on the others")
    );
    let permits = |it: &Remedy| it.command.as_deref() == Some("anyvirt emulation on");
    assert!(explained.remedies.iter().any(permits));
}

#[test]
fn nodes_that_take_nobody_are_named() {
    for (sentence, cause) in [
        (
            "no nodes available to schedule pods",
            "there is no node in the cluster",
        ),
        (
            "0/1 nodes are available: 1 node(s) were unschedulable.",
            "no node takes pods now: cordoned",
        ),
        (
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.",
            "no node takes pods now: not ready",
        ),
        (
            "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}.",
            "no node takes pods now: tainted {gpu: yes}",
        ),
    ] {
        let mut world = World::unschedulable(sentence);
        world.nodes = vec![a_node("one", true)];
        let explained = world.explained();
        assert_eq!(causes(&explained), (CauseId::NoNode, Standing::Problem));
        assert_eq!(explained.cause, cause);
        assert_eq!(explained.evidence[0].text, sentence);
    }
}

#[test]
fn labels_that_no_node_has_are_named() {
    let mut world = World::unschedulable(
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    );
    world.nodes = vec![a_node("one", true)];
    world.instance()["spec"]["nodeSelector"] = json!({"disk": "fast"});
    let explained = world.explained();
    assert_eq!(
        causes(&explained),
        (CauseId::NodeSelector, Standing::Problem)
    );
    assert_eq!(
        explained.cause,
        "no node that could run it has the labels it asks for: disk=fast"
    );
}

#[test]
fn a_permission_that_came_meanwhile_is_on_its_way() {
    let mut world = World::unschedulable(NEITHER);
    world.cluster = policy(EmulationPolicy::Software);
    assert_eq!(
        causes(&world.explained()),
        (CauseId::Starting, Standing::InProgress)
    );
}

#[test]
fn owners_who_may_not_share_a_node_are_told() {
    let mut world = World::unschedulable(
        "0/1 nodes are available: 1 node(s) had emulated guests of other namespaces (forbidden by Namespace \
         team-a label anyvirt.io/emulation-multi-tenancy).",
    );
    world.cluster = policy(EmulationPolicy::Software);
    check(
        &world.explained(),
        &expect![[r#"
            MultiTenancyDenied (Acceleration)
            every node that could take it runs emulated guests of another namespace, and these may not share a node: node(s) had emulated guests of other namespaces (forbidden by Namespace team-a label anyvirt.io/emulation-multi-tenancy)
            - Pod virt-launcher-fedora-abcde condition PodScheduled=False: 0/1 nodes are available: 1 node(s) had emulated guests of other namespaces (forbidden by Namespace team-a label anyvirt.io/emulation-multi-tenancy).
            > Add a node whose hardware virtualization works | it goes there by itself, at full speed | a machine: bare metal, or a cloud instance with nested virtualization
            > Permit emulated guests of several namespaces on one node | it starts beside them | only the launcher's jail keeps the guests apart: QEMU's maintainers do not count software emulation as a security boundary
              $ kubectl label namespace team-a anyvirt.io/emulation-multi-tenancy-
        "#]],
    );
}
