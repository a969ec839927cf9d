//! Tables of what is seen of a machine, and what follows.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use api::accelerator::{self, Accelerator, ClusterPolicy, Decision, EmulationPolicy};
use api::condition;
use api::launcher::{Exit, ExitKind, Identity, InterfaceStatus, ResolvedVolume, State, Status};
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Value, json};

use super::decide::{Action, ImagesSeen, LauncherSeen, Seen, StartFailure, decide, outcome};
use super::images::PullFailure;
use super::instance_status::{difference, wanted as wanted_instance};
use super::pod_status::wanted as wanted_pod;
use super::record::Record;
use super::step_down::StepDown;
use crate::timeline::Past;

mod kvm_failure;
mod pod;
mod saved;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn merge(base: Value, more: Value) -> Value {
    match (base, more) {
        (Value::Object(mut base), Value::Object(more)) => {
            for (name, value) in more {
                let old = base.remove(&name).unwrap_or(Value::Null);
                base.insert(name, merge(old, value));
            }
            Value::Object(base)
        }
        (_, more) => more,
    }
}

fn pod(more: Value) -> Pod {
    let base = json!({
        "metadata": { "name": "virt-launcher-vm-x", "namespace": "ns", "uid": "p" },
        "spec": {
            "nodeName": "node",
            "containers": [{ "name": "compute", "image": "i", "resources": {
                "requests": { "memory": "1Gi" }, "limits": {} } }],
            "initContainers": [{ "name": "guest-console-log", "image": "i" }],
        },
        "status": { "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "True" }] },
    });
    serde_json::from_value(merge(base, more)).expect("a pod")
}

fn instance(phase: &str, more: Value) -> VirtualMachineInstance {
    let base = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": { "name": "vm", "namespace": "ns", "uid": "u", "resourceVersion": "5" },
        "spec": { "terminationGracePeriodSeconds": 20, "domain": {
            "memory": { "guest": "1Gi" },
            "devices": { "disks": [
                { "name": "root", "disk": { "bus": "virtio" } },
                { "name": "init", "disk": { "bus": "virtio" } },
                { "name": "cd", "cdrom": { "bus": "sata" } },
            ] } },
            "volumes": [
                { "name": "root", "containerDisk": { "image": "i" } },
                { "name": "init", "cloudInitNoCloud": { "userData": "x" } },
                { "name": "cd", "emptyDisk": { "capacity": "1Gi" } },
            ] },
        "status": { "phase": phase, "nodeName": "node" },
    });
    serde_json::from_value(merge(base, more)).expect("a VMI")
}

fn going() -> Value {
    json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } })
}

fn record() -> Record {
    Record {
        identity: Identity {
            namespace: "ns".to_owned(),
            name: "vm".to_owned(),
            uid: "u".to_owned(),
            pod_name: "virt-launcher-vm-x".to_owned(),
            pod_uid: "p".to_owned(),
            qemu_program: None,
            grace_period_seconds: 7,
        },
        pod_address: Ipv4Addr::new(127, 64, 0, 5),
    }
}

fn answers(state: State) -> LauncherSeen {
    LauncherSeen::Answers(Box::new(Status {
        state,
        ..Status::default()
    }))
}

fn ended(kind: ExitKind) -> LauncherSeen {
    LauncherSeen::Answers(Box::new(Status {
        state: State::Ended,
        exit: Some(exit(kind)),
        ..Status::default()
    }))
}

fn exit(kind: ExitKind) -> Exit {
    Exit {
        kind,
        message: "so it ended".to_owned(),
        at: at(90),
        kvm_failure: None,
    }
}

fn absent(was_started: bool, orphan: bool) -> LauncherSeen {
    LauncherSeen::Absent {
        was_started,
        exit: None,
        orphan,
    }
}

fn failed(failures: u32, retry_at: i64) -> ImagesSeen {
    let failure = PullFailure {
        reason: "ErrImagePull".to_owned(),
        message: "no such image".to_owned(),
        back_off_message: "Back-off pulling".to_owned(),
    };
    ImagesSeen::Failed {
        failure,
        failures,
        retry_at: at(retry_at),
    }
}

/// Everything that can be seen, to be changed by each case.
struct Case {
    pod: Option<Pod>,
    instance: Option<VirtualMachineInstance>,
    record: Option<Record>,
    launcher: LauncherSeen,
    images: ImagesSeen,
    start_failure: Option<StartFailure>,
    stopping: Option<u64>,
    accelerator: Option<Decision>,
    step_down: Option<StepDown>,
    answer: Option<StepDown>,
    queued: Option<String>,
    slowdown: Option<f64>,
    save: super::save::Save,
    past: Past,
}

impl Case {
    /// A pod just bound.
    fn bound() -> Self {
        Self {
            pod: Some(pod(json!({}))),
            instance: Some(instance("Scheduling", json!({}))),
            record: None,
            launcher: absent(false, false),
            images: ImagesSeen::NotPulled,
            start_failure: None,
            stopping: None,
            accelerator: None,
            step_down: None,
            answer: None,
            queued: None,
            slowdown: None,
            save: super::save::Save::default(),
            past: Past::default(),
        }
    }

    /// A guest that runs.
    fn running() -> Self {
        Self {
            pod: Some(pod(json!({ "status": { "phase": "Running" } }))),
            instance: Some(instance("Running", json!({}))),
            record: Some(record()),
            launcher: answers(State::Running),
            images: ImagesSeen::Pulled,
            ..Self::bound()
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn seen(&self) -> Seen<'_> {
        Seen {
            node: "node",
            pod: self.pod.as_ref(),
            instance: self.instance.as_ref(),
            record: self.record.as_ref(),
            launcher: &self.launcher,
            images: &self.images,
            start_failure: self.start_failure.as_ref(),
            stopping: self.stopping,
            accelerator: self.accelerator.as_ref(),
            step_down: self.step_down.as_ref(),
            answer: self.answer.as_ref(),
            queued: self.queued.as_deref(),
            warm: None,
            save: &self.save,
            slowdown: self.slowdown,
            images_at: None,
            queued_at: None,
            past: &self.past,
        }
    }

    fn decide(&self) -> Action {
        decide(&self.seen(), at(100))
    }

    fn pod_status(&self) -> Option<PodStatus> {
        wanted_pod(&self.seen(), at(100))
    }
}

fn stop(grace_period_seconds: u64) -> Action {
    Action::Stop {
        grace_period_seconds,
    }
}

#[test]
fn a_bound_pod_gets_its_images_then_a_launcher() {
    let wait = || Action::Wait(None);
    for (name, case, expected) in [
        ("just bound", Case::bound(), Action::PullImages),
        (
            "pulling",
            Case::bound().with(|it| it.images = ImagesSeen::Pulling),
            wait(),
        ),
        (
            "failed, too early",
            Case::bound().with(|it| it.images = failed(1, 110)),
            Action::Wait(Some(at(110))),
        ),
        (
            "failed, time",
            Case::bound().with(|it| it.images = failed(1, 100)),
            Action::PullImages,
        ),
        (
            "images here",
            Case::bound().with(|it| it.images = ImagesSeen::Pulled),
            Action::StartLauncher,
        ),
        (
            "VMI not seen yet",
            Case::bound().with(|it| it.instance = None),
            wait(),
        ),
        (
            "VMI asked to go",
            Case::bound().with(|it| it.instance = Some(instance("Scheduling", going()))),
            wait(),
        ),
        (
            "pod asked to go before anything started",
            Case::bound().with(|it| it.pod = Some(pod(going()))),
            Action::DeletePod,
        ),
        (
            "crashed between folder and launcher",
            Case::bound().with(|it| it.record = Some(record())),
            Action::StartLauncher,
        ),
    ] {
        assert_eq!(case.decide(), expected, "{name}");
    }
}

#[test]
fn a_guest_is_started_once_its_instance_is_scheduled_here() {
    let idle = || Case::running().with(|it| it.launcher = answers(State::Idle));
    let with_phase = |phase: &str| {
        let instance = instance(phase, json!({}));
        idle().with(|it| it.instance = Some(instance))
    };
    let failure = |retry_at| StartFailure {
        message: "no".to_owned(),
        retry_at: at(retry_at),
        refused: None,
    };
    for (name, case, expected) in [
        ("scheduling", with_phase("Scheduling"), Action::Wait(None)),
        ("scheduled", with_phase("Scheduled"), Action::StartGuest),
        (
            "scheduled, after a restart of the node",
            with_phase("Scheduled").with(|it| it.images = ImagesSeen::NotPulled),
            Action::PullImages,
        ),
        (
            "scheduled elsewhere",
            idle().with(|it| {
                let elsewhere = json!({ "status": { "nodeName": "other" } });
                it.instance = Some(instance("Scheduled", elsewhere));
            }),
            Action::Wait(None),
        ),
        (
            "refused, too early",
            with_phase("Scheduled").with(|it| it.start_failure = Some(failure(130))),
            Action::Wait(Some(at(130))),
        ),
        (
            "refused, time",
            with_phase("Scheduled").with(|it| it.start_failure = Some(failure(99))),
            Action::StartGuest,
        ),
        (
            "asked to go before it ran",
            idle().with(|it| it.instance = Some(instance("Scheduled", going()))),
            Action::EndLauncher,
        ),
    ] {
        assert_eq!(case.decide(), expected, "{name}");
    }
}

#[test]
fn a_running_guest_is_stopped_only_when_asked_and_with_the_grace_it_was_given() {
    let instance_goes =
        || Case::running().with(|it| it.instance = Some(instance("Running", going())));
    let pod_goes = |grace: i64| {
        let asked = json!({ "metadata": {
            "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace,
        } });
        let pod = pod(merge(json!({ "status": { "phase": "Running" } }), asked));
        Case::running().with(|it| it.pod = Some(pod))
    };
    for (name, case, expected) in [
        ("runs", Case::running(), Action::Wait(None)),
        (
            "paused",
            Case::running().with(|it| it.launcher = answers(State::Paused)),
            Action::Wait(None),
        ),
        (
            "silent",
            Case::running().with(|it| it.launcher = LauncherSeen::Silent),
            Action::Wait(None),
        ),
        ("VMI goes", instance_goes(), stop(20)),
        (
            "VMI goes, asked",
            instance_goes().with(|it| it.stopping = Some(20)),
            Action::Wait(None),
        ),
        (
            "VMI goes, now faster",
            instance_goes().with(|it| it.stopping = Some(30)),
            stop(20),
        ),
        (
            "VMI goes while it starts",
            instance_goes().with(|it| it.launcher = answers(State::Starting)),
            stop(20),
        ),
        (
            "VMI removed by force",
            Case::running().with(|it| it.instance = None),
            stop(7),
        ),
        ("pod goes slowly", pod_goes(50), stop(20)),
        ("pod goes fast", pod_goes(3), stop(3)),
        (
            "pod removed by force",
            Case::running().with(|it| it.pod = None),
            stop(7),
        ),
        (
            "pod removed by force, idle",
            Case::running().with(|it| {
                it.pod = None;
                it.launcher = answers(State::Idle);
            }),
            Action::EndLauncher,
        ),
    ] {
        assert_eq!(case.decide(), expected, "{name}");
    }
}

#[test]
fn what_is_left_of_an_ended_machine_is_removed_only_with_its_pod() {
    let lost = |orphan| Case::running().with(|it| it.launcher = absent(true, orphan));
    let with_pod = |case: Case, pod: Option<Pod>| case.with(|it| it.pod = pod);
    for (name, case, expected) in [
        (
            "guest ended",
            Case::running().with(|it| it.launcher = ended(ExitKind::GuestShutdown)),
            Action::EndLauncher,
        ),
        (
            "launcher ended, pod stays for its logs",
            lost(false),
            Action::Wait(None),
        ),
        ("QEMU outlives its launcher", lost(true), Action::KillOrphan),
        (
            "QEMU outlives launcher and pod",
            with_pod(lost(true), None),
            Action::KillOrphan,
        ),
        (
            "pod goes",
            with_pod(lost(false), Some(pod(going()))),
            Action::RemoveDirectory,
        ),
        (
            "pod is gone",
            with_pod(lost(false), None),
            Action::RemoveDirectory,
        ),
        (
            "all is gone",
            with_pod(lost(false), None).with(|it| it.record = None),
            Action::Forget,
        ),
        (
            "folder is gone, pod goes",
            with_pod(lost(false), Some(pod(going()))).with(|it| it.record = None),
            Action::DeletePod,
        ),
    ] {
        assert_eq!(case.decide(), expected, "{name}");
    }
}

#[test]
fn the_outcome_follows_kubevirt() {
    let crashed = ExitKind::Crashed {
        signal: Some(11),
        code: None,
    };
    let no_grace = || {
        let none = json!({ "spec": { "terminationGracePeriodSeconds": 0 } });
        instance("Running", none)
    };
    let succeeded = |case: &Case| outcome(&case.seen()).map(|it| it.succeeded);
    let with = |launcher| Case::running().with(|it| it.launcher = launcher);
    assert_eq!(succeeded(&Case::running()), None);
    assert_eq!(succeeded(&with(ended(ExitKind::GuestShutdown))), Some(true));
    assert_eq!(succeeded(&with(ended(ExitKind::Stopped))), Some(true));
    assert_eq!(succeeded(&with(ended(ExitKind::Killed))), Some(false));
    let hurried = with(ended(ExitKind::Killed)).with(|it| it.instance = Some(no_grace()));
    assert_eq!(succeeded(&hurried), Some(true));
    assert_eq!(succeeded(&with(ended(crashed))), Some(false));
    assert_eq!(succeeded(&with(ended(ExitKind::StartFailed))), Some(false));
    // The launcher is gone, and what it wrote down counts.
    let written = LauncherSeen::Absent {
        was_started: true,
        exit: Some(exit(ExitKind::Stopped)),
        orphan: false,
    };
    assert_eq!(succeeded(&with(written)), Some(true));
    assert_eq!(succeeded(&with(absent(true, false))), Some(false));
    assert_eq!(
        succeeded(&with(absent(true, true))),
        None,
        "QEMU still runs"
    );
    assert_eq!(succeeded(&with(LauncherSeen::Silent)), None);
}

fn run_status(accelerator: Accelerator, state: State) -> LauncherSeen {
    LauncherSeen::Answers(Box::new(Status {
        state,
        accelerator: Some(accelerator),
        started_at: Some(at(80)),
        machine_type: Some("pc-q35-7.2".to_owned()),
        agent_connected: true,
        interfaces: vec![InterfaceStatus {
            name: "default".to_owned(),
            mac: "02:00:00:00:00:01".to_owned(),
            address: Ipv4Addr::new(127, 64, 0, 5).into(),
            failure: None,
        }],
        ..Status::default()
    }))
}

#[test]
fn a_guest_that_lost_its_network_runs_on_and_says_so_once() {
    let case = Case::running().with(|it| {
        it.launcher = run_status(Accelerator::Tcg, State::Running);
        it.accelerator = Some(decision());
        if let LauncherSeen::Answers(status) = &mut it.launcher {
            status.interfaces[0].failure = Some("passt was ended by signal 9".to_owned());
        }
    });
    let change = wanted_instance(&case.seen(), &BTreeMap::new(), at(100)).expect("a change");
    assert_eq!(change.status.phase, Some(Phase::Running));
    assert_eq!(
        change.status.interfaces[0].link_state.as_deref(),
        Some("down")
    );
    let told = |facts: &[crate::event::Fact]| {
        facts
            .iter()
            .filter(|fact| fact.reason == "InterfaceFailed")
            .count()
    };
    assert_eq!(told(&change.facts), 1);
    let condition =
        condition::find(&change.status.conditions, "Synchronized").expect("a condition");
    assert_eq!(condition.status, "False");
    let message = condition.message.as_deref().unwrap_or_default();
    assert!(message.contains("signal 9; restart"), "{message}");
    let later = case.with(|it| {
        it.instance.as_mut().expect("a VMI").status = Some(change.status);
    });
    assert_eq!(
        wanted_instance(&later.seen(), &BTreeMap::new(), at(101)),
        None
    );
}

fn decision() -> Decision {
    Decision {
        accelerator: Accelerator::Tcg,
        policy: accelerator::effective(
            &ClusterPolicy {
                policy: EmulationPolicy::Software,
                decided_by: "ConfigMap a/b".to_owned(),
                problems: Vec::new(),
            },
            None,
            None,
        ),
        reason: "HardwareVirtualizationUnusable",
        message: "because".to_owned(),
        architecture: "amd64".to_owned(),
        slowdown: None,
    }
}

#[test]
fn a_guest_that_runs_is_told_with_its_accelerator_interfaces_and_volumes() {
    let disk = ResolvedVolume::ContainerDisk {
        path: "/x".into(),
        format: api::launcher::DiskFormat::Raw,
        virtual_size_bytes: 4096,
        digest: "sha256:0".to_owned(),
    };
    let pulled = BTreeMap::from([("root".to_owned(), disk)]);
    let case = Case::running().with(|it| {
        it.instance = Some(instance("Scheduled", json!({})));
        it.launcher = run_status(Accelerator::Tcg, State::Running);
        it.accelerator = Some(decision());
    });
    let change = wanted_instance(&case.seen(), &pulled, at(100)).expect("a change");
    let status = &change.status;
    assert_eq!(status.phase, Some(Phase::Running));
    assert_eq!(
        status.phase_transition_timestamps[0]
            .phase_transition_timestamp
            .0,
        at(80)
    );
    let accelerator = status.accelerator.as_ref().expect("an accelerator");
    assert_eq!(
        (accelerator.type_.as_str(), accelerator.policy.as_deref()),
        ("TCG", Some("Software"))
    );
    assert!(condition::is_true(&status.conditions, "SoftwareEmulation"));
    assert!(condition::is_true(&status.conditions, "AgentConnected"));
    let moves = condition::find(&status.conditions, "LiveMigratable").expect("it is told");
    assert_eq!(
        (moves.status.as_str(), moves.reason.as_deref()),
        ("False", Some("LiveMigrationNotServed"))
    );
    assert_eq!(
        status.interfaces[0].ip_address.as_deref(),
        Some("127.64.0.5")
    );
    let targets: Vec<_> = status
        .volume_status
        .iter()
        .map(|it| it.target.as_str())
        .collect();
    assert_eq!(targets, ["vda", "vdb", "sda"]);
    assert_eq!(status.volume_status[0].size, Some(4096));
    let reasons: Vec<_> = change.facts.iter().map(|it| it.reason).collect();
    assert_eq!(reasons, ["Started", "AcceleratorSelected"]);

    // After a restart of the node neither why it was chosen nor its disks are known: nothing changes.
    let later = case.with(|it| {
        it.instance.as_mut().expect("a VMI").status = Some(change.status.clone());
        it.accelerator = None;
    });
    assert_eq!(
        wanted_instance(&later.seen(), &BTreeMap::new(), at(200)),
        None
    );
}

#[test]
fn what_an_accelerator_changes_of_the_spec_is_in_the_status_and_told_once() {
    let words = "cpu.model host-model: the guest sees all features that emulation does well";
    let case = Case::running().with(|it| {
        it.launcher = run_status(Accelerator::Tcg, State::Running);
        if let LauncherSeen::Answers(status) = &mut it.launcher {
            status.adjustments = vec![words.to_owned()];
        }
    });
    let change = wanted_instance(&case.seen(), &BTreeMap::new(), at(100)).expect("a change");
    let shown = change.status.accelerator.as_ref().expect("shown");
    assert_eq!(shown.adjustments, [words]);
    let told = change
        .facts
        .iter()
        .filter(|it| it.reason == "AcceleratorAdjusted" && it.message.contains(words));
    assert_eq!(told.count(), 1);
    let later = case.with(|it| {
        it.instance.as_mut().expect("a VMI").status = Some(change.status);
    });
    assert_eq!(
        wanted_instance(&later.seen(), &BTreeMap::new(), at(200)),
        None
    );
}

#[test]
fn pausing_is_a_condition_that_goes_with_it() {
    let paused =
        Case::running().with(|it| it.launcher = run_status(Accelerator::Kvm, State::Paused));
    let change = wanted_instance(&paused.seen(), &BTreeMap::new(), at(100)).expect("a change");
    assert_eq!(change.status.phase, Some(Phase::Running));
    let found = condition::find(&change.status.conditions, "Paused").expect("paused");
    assert_eq!(found.reason.as_deref(), Some("PausedByUser"));
    let again = paused.with(|it| {
        it.instance.as_mut().expect("a VMI").status = Some(change.status);
        it.launcher = run_status(Accelerator::Kvm, State::Running);
    });
    let change = wanted_instance(&again.seen(), &BTreeMap::new(), at(100)).expect("a change");
    assert!(condition::find(&change.status.conditions, "Paused").is_none());
}

#[test]
fn an_ended_guest_is_told_once_with_kubevirts_events() {
    let crashed = ExitKind::Crashed {
        signal: None,
        code: Some(1),
    };
    for (kind, phase, reason, message) in [
        (
            ExitKind::Stopped,
            Phase::Succeeded,
            "Stopped",
            "The VirtualMachineInstance was shut down.",
        ),
        (
            crashed,
            Phase::Failed,
            "Stopped",
            "The VirtualMachineInstance crashed.",
        ),
        (
            ExitKind::StartFailed,
            Phase::Failed,
            "SyncFailed",
            "so it ended",
        ),
    ] {
        let case = Case::running().with(|it| it.launcher = ended(kind));
        let change = wanted_instance(&case.seen(), &BTreeMap::new(), at(100)).expect("a change");
        assert_eq!(change.status.phase, Some(phase));
        let facts: Vec<_> = change
            .facts
            .iter()
            .map(|it| (it.reason, it.message.as_str()))
            .collect();
        assert_eq!(facts, [(reason, message)]);
        let later = case.with(|it| {
            it.instance.as_mut().expect("a VMI").status = Some(change.status);
        });
        assert_eq!(
            wanted_instance(&later.seen(), &BTreeMap::new(), at(100)),
            None
        );
    }
}

#[test]
fn a_refused_start_is_a_condition_until_it_runs() {
    let failure = StartFailure {
        message: "no KVM here".to_owned(),
        retry_at: at(110),
        refused: None,
    };
    let case = Case::running().with(|it| {
        it.instance = Some(instance("Scheduled", json!({})));
        it.launcher = answers(State::Idle);
        it.start_failure = Some(failure);
    });
    let change = wanted_instance(&case.seen(), &BTreeMap::new(), at(100)).expect("a change");
    assert_eq!(change.status.phase, Some(Phase::Scheduled));
    let found = condition::find(&change.status.conditions, "Synchronized").expect("it failed");
    assert_eq!(found.message.as_deref(), Some("no KVM here"));
    let runs = case.with(|it| {
        it.instance.as_mut().expect("a VMI").status = Some(change.status);
        it.launcher = run_status(Accelerator::Tcg, State::Running);
    });
    let change = wanted_instance(&runs.seen(), &BTreeMap::new(), at(100)).expect("a change");
    assert!(condition::find(&change.status.conditions, "Synchronized").is_none());
}

#[test]
fn a_guest_for_which_nothing_that_works_is_permitted_here_fails() {
    let refused = StartFailure {
        message: "no KVM here, and no emulation".to_owned(),
        retry_at: at(110),
        refused: Some("AcceleratorRefused"),
    };
    let case = Case::running().with(|it| {
        it.instance = Some(instance("Scheduled", json!({})));
        it.launcher = answers(State::Idle);
        it.start_failure = Some(refused);
    });
    let change = wanted_instance(&case.seen(), &BTreeMap::new(), at(100)).expect("a change");
    assert_eq!(change.status.phase, Some(Phase::Failed));
    let ended = outcome(&case.seen()).expect("it ended");
    assert_eq!(
        (ended.reason, ended.never_ran),
        ("AcceleratorRefused", true)
    );
    assert_eq!(case.decide(), Action::Wait(None));
    let told = case.with(|it| it.instance = Some(instance("Failed", json!({}))));
    assert_eq!(told.decide(), Action::EndLauncher);
}

#[test]
fn the_vmi_of_another_node_or_without_its_pod_is_not_touched() {
    let elsewhere = json!({ "status": { "nodeName": "other" } });
    let case = Case::running().with(|it| {
        it.instance = Some(instance("Running", elsewhere));
        it.launcher = ended(ExitKind::Killed);
    });
    assert_eq!(
        wanted_instance(&case.seen(), &BTreeMap::new(), at(100)),
        None
    );
    let podless = Case::running().with(|it| {
        it.launcher = ended(ExitKind::Killed);
        it.pod = None;
    });
    assert_eq!(
        wanted_instance(&podless.seen(), &BTreeMap::new(), at(100)),
        None
    );
}

#[test]
fn a_patch_names_only_what_changed_and_what_is_gone() {
    let before = instance(
        "Running",
        json!({ "status": {
        "reason": "old", "machine": { "type": "a" }, "accelerator": { "type": "TCG", "policy": "x" },
    } }),
    );
    let after = instance(
        "Running",
        json!({ "status": {
        "machine": { "type": "a" }, "accelerator": { "type": "KVM" },
    } }),
    );
    let status = |it: VirtualMachineInstance| it.status.expect("a status");
    let patch = difference(&status(before), &status(after)).expect("JSON");
    assert_eq!(
        patch,
        json!({ "reason": null, "accelerator": { "type": "KVM", "policy": null } })
    );
}
