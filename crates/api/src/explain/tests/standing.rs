//! Machines that run, start, or do not, and nodes.

use expect_test::expect;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use super::{World, a_node, causes, check, policy};
use crate::accelerator::EmulationPolicy;
use crate::explain::{CauseId, Explanation, Standing, node};

#[test]
fn machines_that_do_not_run_say_why() {
    for (strategy, cause) in [
        (
            "Halted",
            "its run strategy is Halted: nobody asked it to run",
        ),
        (
            "Manual",
            "its run strategy is Manual, and nobody started it",
        ),
        ("Once", "its run strategy is Once, and it has run"),
    ] {
        let mut world = World::new();
        world.instance = None;
        world.machine["spec"]["runStrategy"] = json!(strategy);
        let explained = world.explained();
        assert_eq!(causes(&explained), (CauseId::Stopped, Standing::Fine));
        assert_eq!(explained.cause, cause);
        assert_eq!(
            explained.remedies[0].command.as_deref(),
            Some("anyvirt start fedora -n demo")
        );
    }
}

#[test]
fn a_crash_loop_tells_how_often_and_when_again() {
    let mut world = World::new();
    world.instance = None;
    world.machine["status"] = json!({
        "printableStatus": "CrashLoopBackOff",
        "startFailure": {"consecutiveFailCount": 3, "retryAfterTimestamp": "2026-11-22T10:00:00Z"},
        "conditions": [],
    });
    world.events = vec![
        json!({"metadata": {}, "type": "Warning", "reason": "Stopped", "message": "it crashed",
            "involvedObject": {"kind": "VirtualMachineInstance", "name": "fedora"},
            "lastTimestamp": "2026-11-22T09:59:00Z"}),
        json!({"metadata": {}, "type": "Normal", "reason": "SuccessfulCreate", "message": "made",
            "involvedObject": {"kind": "VirtualMachine", "name": "fedora"}}),
    ];
    check(
        &world.explained(),
        &expect![[r#"
        CrashLoop (Problem)
        it ended 3 times in a row before it ran; the next try is at 2026-11-22T10:00:00Z
        - event Stopped on VirtualMachineInstance fedora: it crashed
        > Read what the guest wrote to its serial console | its last words often name the cause | none
          $ anyvirt logs fedora -n demo
        > Stop trying | nothing is tried until it is started | none
          $ anyvirt stop fedora -n demo
    "#]],
    );
}

#[test]
fn paused_and_stopping_machines_say_so() {
    let mut world = World::running(json!({"type": "TCG"}));
    world.say("Paused", "True", "PausedByUser", "VMI was paused by user");
    assert_eq!(
        causes(&world.explained()),
        (CauseId::Paused, Standing::Fine)
    );

    let mut world = World::running(json!({"type": "TCG"}));
    world.instance()["metadata"]["deletionTimestamp"] = json!("2026-11-22T10:00:00Z");
    assert_eq!(
        causes(&world.explained()),
        (CauseId::Stopping, Standing::InProgress)
    );
}

#[test]
fn a_start_that_the_node_refuses_is_told_in_the_policys_words() {
    let mut world = World::new();
    world.instance()["status"]["phase"] = json!("Scheduled");
    world.instance()["status"]["nodeName"] = json!("one");
    world.say(
        "Synchronized",
        "False",
        "Synchronizing with the Domain failed.",
        "it refuses",
    );
    assert_eq!(
        causes(&world.explained()),
        (CauseId::EmulationNotPermitted, Standing::Acceleration)
    );

    let mut world = World::new();
    world.cluster = policy(EmulationPolicy::Software);
    world.instance()["status"]["phase"] = json!("Scheduled");
    world.instance()["status"]["nodeName"] = json!("one");
    world.say(
        "Synchronized",
        "False",
        "Synchronizing with the Domain failed.",
        "no such kernel",
    );
    let explained = world.explained();
    assert_eq!(
        causes(&explained),
        (CauseId::StartFailed, Standing::Problem)
    );
    assert_eq!(
        explained.cause,
        "its guest cannot be started: no such kernel"
    );
}

#[test]
fn a_start_that_waits_for_its_turn_says_so() {
    let mut world = World::new();
    world.instance()["status"]["phase"] = json!("Scheduled");
    world.say(
        "StartQueued",
        "True",
        "EmulatedGuestsBoot",
        "2 guests boot before it",
    );
    let explained = world.explained();
    assert_eq!(
        causes(&explained),
        (CauseId::StartQueued, Standing::InProgress)
    );
    assert_eq!(
        explained.cause,
        "its start waits for its turn: 2 guests boot before it"
    );
}

#[test]
fn running_on_hardware_says_why() {
    let mut world = World::running(json!({
        "type": "KVM", "reason": "HardwareVirtualizationUsable",
        "message": "hardware virtualization works on this node",
        "policy": "None", "decidedBy": "default",
    }));
    world.nodes = vec![a_node("one", true)];
    check(
        &world.explained(),
        &expect![[r#"
        RunningOnHardware (Fine)
        it runs on KVM on node one: hardware virtualization works on this node
        - QEMU's answer to query-kvm, as status.accelerator.type: KVM (enabled: true)
        - Node one condition HardwareVirtualization (Usable): a guest ran through all stages in 3 ms
        - policy at default: None
    "#]],
    );
}

#[test]
fn running_emulated_says_why_and_what_would_be_faster() {
    let world = World::running(json!({
        "type": "TCG", "reason": "HardwareVirtualizationUnusable",
        "message": "software emulation, about 7.8 times slower than KVM",
        "policy": "Software", "decidedBy": "the cluster",
        "considered": [{"scope": "Cluster", "place": "the cluster", "policy": "Software"}],
    }));
    check(
        &world.explained(),
        &expect![[r#"
            RunningEmulated (Fine)
            it is emulated on node one: software emulation, about 7.8 times slower than KVM
            - QEMU's answer to query-kvm, as status.accelerator.type: TCG (enabled: false)
            - Node one condition HardwareVirtualization (DeviceMissing): /dev/kvm does not exist
            - policy at the cluster: Software
            > Load KVM's module | /dev/kvm appears; the verdict is taken again by itself | root; no restart
              $ sudo modprobe kvm_intel || sudo modprobe kvm_amd
            > Switch on virtualization (VT-x or SVM) in the machine's firmware | the processor offers virtualization, the module loads, /dev/kvm appears | a boot of the machine, at its console
              $ sudo systemctl reboot --firmware-setup
            > Add a node whose hardware virtualization works | it goes there by itself, at full speed | a machine: bare metal, or a cloud instance with nested virtualization
        "#]],
    );
}

#[test]
fn emulated_beside_free_hardware_is_told_with_the_restart_and_beside_other_hardware_what_is_known()
{
    let emulated = || {
        let mut world = World::running(json!({"type": "TCG", "message": "no KVM there"}));
        world.cluster = policy(EmulationPolicy::Software);
        world.nodes.push(a_node("two", true));
        world
    };
    let mut free = emulated();
    free.say(
        "AcceleratorOutdated",
        "True",
        "HardwareFreeElsewhere",
        "it runs on TCG; hardware virtualization works on node two, which has room for it",
    );
    check(
        &free.explained(),
        &expect![[r#"
        EmulatedBesideHardware (Fine)
        it is emulated on node one, several times slower than KVM: it runs on TCG; hardware virtualization works on node two, which has room for it
        - Node two condition HardwareVirtualization (Usable): a guest ran through all stages in 3 ms
        - status.accelerator.message, when it started: no KVM there
        - QEMU's answer to query-kvm, as status.accelerator.type: TCG (enabled: false)
        - Node one condition HardwareVirtualization (DeviceMissing): /dev/kvm does not exist
        > Restart it when it suits | it goes to a node with hardware that has room then, and runs at full speed | the guest reboots
          $ anyvirt restart fedora -n demo
    "#]],
    );

    // The controllers do not say that it is free.
    let untold = emulated().explained();
    assert_eq!(causes(&untold), (CauseId::RunningEmulated, Standing::Fine));
    let told: Vec<&str> = untold.evidence.iter().map(|it| it.text.as_str()).collect();
    assert_eq!(
        told[0],
        "hardware virtualization works on two, but nobody says that it could run there: there may be no \
         room, a rule of placement may forbid it, or the controllers have not looked yet"
    );

    // Nor where its own node's hardware works by now: then nobody looks elsewhere for it.
    let mut repaired = emulated();
    repaired.nodes[0] = a_node("one", true);
    let repaired = repaired.explained();
    assert_eq!(
        causes(&repaired),
        (CauseId::RunningEmulated, Standing::Fine)
    );
    assert!(!told_of(&repaired, "nobody says"), "{repaired:?}");

    // Not where it insists on emulation.
    let mut forced = emulated();
    forced.instance()["metadata"]["annotations"]["anyvirt.io/accelerator"] = json!("tcg");
    let forced = forced.explained();
    assert_eq!(causes(&forced), (CauseId::RunningEmulated, Standing::Fine));
    assert!(!told_of(&forced, "nobody says"), "{forced:?}");
}

fn told_of(explanation: &Explanation, words: &str) -> bool {
    explanation
        .evidence
        .iter()
        .any(|it| it.text.contains(words))
}

#[test]
fn a_stepped_down_machine_is_told() {
    let mut world = World::running(json!({
        "type": "TCG", "reason": "SteppedDown", "message": "KVM: entry failed, hardware error 0x7",
    }));
    world.nodes = vec![a_node("one", true)];
    assert_eq!(
        causes(&world.explained()),
        (CauseId::SteppedDown, Standing::Acceleration)
    );
}

#[test]
fn a_start_that_is_stuck_or_in_trouble_is_told() {
    let timeline = |more: Value| {
        let mut world = World::running(json!({"type": "TCG"}));
        let mut timeline = json!({
            "startedAt": "2026-11-22T10:00:00.000000Z", "progressPercent": 40,
            "steps": [{"name": "kernel", "at": "2026-11-22T10:00:09.000000Z"}, {"name": "login"}],
        });
        timeline
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        world.instance()["status"]["startTimeline"] = timeline;
        world.explained()
    };
    let stuck = json!({"stuck": {"since": "2026-11-22T10:00:09.000000Z", "usualSeconds": 4,
        "message": "no sign of life for 300 s at kernel"}});
    check(
        &timeline(stuck),
        &expect![[r#"
        StuckStart (Problem)
        its start is stuck: no sign of life for 300 s at kernel
        - the latest step of its start: kernel at 2026-11-22T10:00:09Z
        - its last sign of life: 2026-11-22T10:00:09Z
        - the longest silence at this step in earlier starts of its image: 4 s
        > Read what the guest wrote to its serial console | its last words often name the cause | none
          $ anyvirt logs fedora -n demo
        > Look at its serial console | a prompt may wait for somebody | none
          $ anyvirt console fedora -n demo
        > Start it again | the guest boots anew | what it has not written to its disks is lost
          $ anyvirt restart fedora -n demo
    "#]],
    );
    let trouble = json!({"trouble": {"reason": "KernelPanic", "at": "2026-11-22T10:00:10.000000Z",
        "message": "Kernel panic - not syncing: VFS"}});
    check(
        &timeline(trouble),
        &expect![[r#"
        GuestTrouble (Problem)
        the guest said that its start failed (KernelPanic): Kernel panic - not syncing: VFS
        - the guest's serial console at 2026-11-22T10:00:10Z: Kernel panic - not syncing: VFS
        - the latest step of its start: kernel at 2026-11-22T10:00:09Z
        > Read what the guest wrote to its serial console | its last words often name the cause | none
          $ anyvirt logs fedora -n demo
        > Look at its serial console | a prompt may wait for somebody | none
          $ anyvirt console fedora -n demo
        > Start it again | the guest boots anew | what it has not written to its disks is lost
          $ anyvirt restart fedora -n demo
    "#]],
    );
}

#[test]
fn what_would_be_otherwise_after_a_restart_is_told() {
    let mut world = World::running(json!({"type": "TCG", "message": "no KVM there"}));
    world.say(
        "AcceleratorOutdated",
        "True",
        "EmulationNotPermitted",
        "started again it would not start",
    );
    let explained = world.explained();
    assert_eq!(
        causes(&explained),
        (CauseId::AcceleratorOutdated, Standing::Fine)
    );
    assert!(
        explained
            .cause
            .ends_with("; but started again it would not start")
    );
}

#[test]
fn what_no_rule_knows_is_told_word_for_word() {
    let world = World::unschedulable("0/1 nodes are available: 1 node(s) sulk.");
    let mut world = World {
        nodes: vec![a_node("one", true)],
        ..world
    };
    world.events = vec![
        json!({"metadata": {}, "type": "Warning", "reason": "Odd", "message": "odd things",
        "involvedObject": {"kind": "Pod", "name": "p"}}),
    ];
    check(
        &world.explained(),
        &expect![[r#"
        Unknown (Unknown)
        no rule of anyvirt knows this; what was said is below, word for word
        - Pod virt-launcher-fedora-abcde condition PodScheduled=False: 0/1 nodes are available: 1 node(s) sulk.
        - event Odd on Pod p: odd things
        > Copy the report | whoever helps you sees what is seen here, without secrets | none
          $ anyvirt explain vm/fedora -n demo -o json; anyvirt doctor -o json
    "#]],
    );
}

#[test]
fn nodes_say_what_they_can_and_what_would_help() {
    let of = |value: Value, cluster: EmulationPolicy| {
        let parsed: Node = serde_json::from_value(value).unwrap();
        node(&parsed, &policy(cluster))
    };
    check(
        &of(a_node("one", true), EmulationPolicy::None),
        &expect![[r#"
            NodeUsable (Fine)
            guests of architecture amd64 run on KVM there: a guest ran through all stages in 3 ms
            - Node one condition HardwareVirtualization (Usable): a guest ran through all stages in 3 ms
            - cluster policy, by ConfigMap openshift-cnv/kubevirt-config debug.useEmulation: None
        "#]],
    );
    check(
        &of(a_node("one", false), EmulationPolicy::None),
        &expect![[r#"
            NodeUnusable (Acceleration)
            hardware virtualization does not work there: /dev/kvm does not exist (DeviceMissing); and software emulation is not permitted (policy None, by ConfigMap openshift-cnv/kubevirt-config debug.useEmulation), so guests start there only if they permit it themselves
            - Node one condition HardwareVirtualization (DeviceMissing): /dev/kvm does not exist
            - cluster policy, by ConfigMap openshift-cnv/kubevirt-config debug.useEmulation: None
            > Load KVM's module | /dev/kvm appears; the verdict is taken again by itself | root; no restart
              $ sudo modprobe kvm_intel || sudo modprobe kvm_amd
            > Switch on virtualization (VT-x or SVM) in the machine's firmware | the processor offers virtualization, the module loads, /dev/kvm appears | a boot of the machine, at its console
              $ sudo systemctl reboot --firmware-setup
            > Permit software emulation in the whole cluster | guests start there, emulated | several times slower than KVM; emulation is no security boundary
              $ anyvirt emulation on
            > Let the node try again | a new verdict within a second | none
              $ anyvirt doctor --retake one
        "#]],
    );
    let permitted = of(a_node("one", false), EmulationPolicy::Software);
    assert_eq!(causes(&permitted), (CauseId::NodeUnusable, Standing::Fine));
    let mut capped = a_node("one", false);
    capped["metadata"]["labels"]["anyvirt.io/emulation-policy"] = json!("None");
    check(
        &of(capped, EmulationPolicy::Software),
        &expect![[r#"
            NodeUnusable (Acceleration)
            hardware virtualization does not work there: /dev/kvm does not exist (DeviceMissing); and its cap forbids software emulation (Node one label anyvirt.io/emulation-policy)
            - Node one condition HardwareVirtualization (DeviceMissing): /dev/kvm does not exist
            - Node one label anyvirt.io/emulation-policy: None
            - cluster policy, by ConfigMap openshift-cnv/kubevirt-config debug.useEmulation: Software
            > Load KVM's module | /dev/kvm appears; the verdict is taken again by itself | root; no restart
              $ sudo modprobe kvm_intel || sudo modprobe kvm_amd
            > Switch on virtualization (VT-x or SVM) in the machine's firmware | the processor offers virtualization, the module loads, /dev/kvm appears | a boot of the machine, at its console
              $ sudo systemctl reboot --firmware-setup
            > Remove the cap Node one label anyvirt.io/emulation-policy | guests are emulated there, where their policy permits it | several times slower than KVM; emulation is no security boundary
              $ anyvirt emulation auto --node one
            > Let the node try again | a new verdict within a second | none
              $ anyvirt doctor --retake one
        "#]],
    );
    let mut silent = a_node("one", false);
    silent["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    assert_eq!(
        causes(&of(silent, EmulationPolicy::None)),
        (CauseId::NodeNotProbed, Standing::InProgress)
    );
    let mut lost = a_node("one", true);
    lost["status"]["conditions"][0] =
        json!({"type": "Ready", "status": "Unknown", "message": "silent"});
    assert_eq!(
        causes(&of(lost, EmulationPolicy::None)),
        (CauseId::NodeNotReady, Standing::Problem)
    );
}
