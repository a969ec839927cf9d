use super::decide::{Action, Decision, Seen, decide};
use super::elsewhere::Hardware;
use super::observe;
use super::pod::{self, Launcher};
use crate::engine::Next;
use api::accelerator::{
    ClusterPolicy, EffectivePolicy, EmulationPolicy, Isolation, NodeFacts, Refusal, effective,
};
use api::condition::{self, Condition};
use api::configuration::ClusterConfiguration;
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

pub(super) fn cluster(policy: EmulationPolicy) -> ClusterConfiguration {
    let mut cluster = ClusterConfiguration::of_architecture("amd64");
    cluster.emulation = ClusterPolicy {
        policy,
        decided_by: "a test".to_owned(),
        problems: Vec::new(),
    };
    cluster
}

pub(super) fn vmi(phase: &str, change: impl FnOnce(&mut Value)) -> VirtualMachineInstance {
    let mut vmi = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {
            "name": "m", "namespace": "ns", "uid": "vmi-uid", "labels": { "app": "web" },
            "creationTimestamp": "2026-11-22T11:59:00Z",
            "finalizers": ["kubevirt.io/foregroundDeleteVirtualMachine"],
        },
        "spec": {
            "domain": { "devices": { "interfaces": [{ "name": "default", "masquerade": {} }] },
                "memory": { "guest": "1Gi" } },
            "networks": [{ "name": "default", "pod": {} }],
        },
        "status": { "phase": phase },
    });
    change(&mut vmi);
    serde_json::from_value(vmi).unwrap()
}

/// The pod made for a VMI under the policy `None`.
pub(super) fn pod(change: impl FnOnce(&mut Value)) -> Arc<Pod> {
    let mut pod = serde_json::to_value(render(
        &vmi("Pending", unchanged),
        &cluster(EmulationPolicy::None),
    ))
    .unwrap();
    pod["metadata"]["name"] = json!("p");
    pod["metadata"]["uid"] = json!("pod-uid");
    pod["metadata"]["resourceVersion"] = json!("5");
    change(&mut pod);
    Arc::new(serde_json::from_value(pod).unwrap())
}

pub(super) fn unchanged(_: &mut Value) {}

/// The policy in force in a namespace without a cap.
pub(super) fn policy(
    vmi: &VirtualMachineInstance,
    cluster: &ClusterConfiguration,
) -> EffectivePolicy {
    effective(&cluster.emulation, vmi.own_emulation_policy(), None)
}

pub(super) fn render(vmi: &VirtualMachineInstance, cluster: &ClusterConfiguration) -> Pod {
    pod::render(vmi, cluster, &policy(vmi, cluster), &Launcher::default()).unwrap()
}

/// What is seen of a VMI beside it and its pods.
#[derive(Clone, Copy, Default)]
pub(super) struct Around<'a> {
    pub(super) policy: Option<&'a EffectivePolicy>,
    pub(super) node: Option<&'a NodeFacts>,
    pub(super) refusal: Option<&'a Refusal>,
    pub(super) isolation: Option<&'a Isolation>,
    /// `None`: a survey found none.
    pub(super) elsewhere: Option<&'a Hardware>,
}

pub(super) fn look_around(
    cluster: &ClusterConfiguration,
    vmi: &VirtualMachineInstance,
    pods: &[Arc<Pod>],
    around: Around<'_>,
    now: Timestamp,
) -> Decision {
    let uncapped = policy(vmi, cluster);
    let seen = Seen {
        vmi,
        pods,
        cluster,
        policy: around.policy.unwrap_or(&uncapped),
        launcher: &Launcher::default(),
        node: around.node,
        refusal: around.refusal,
        isolation: around.isolation,
        elsewhere: around.elsewhere.unwrap_or(&Hardware::None),
    };
    decide(&seen, now)
}

pub(super) fn going(object: &mut Value) {
    object["metadata"]["deletionTimestamp"] = json!("2026-11-22T11:59:59Z");
}

pub(super) fn bound(pod: &mut Value) {
    pod["spec"]["nodeName"] = json!("n1");
    pod["status"] = json!({ "phase": "Pending", "conditions": [unpaused()] });
}

/// The condition that a pod's readiness gate waits for.
fn unpaused() -> Value {
    json!({ "type": "kubevirt.io/virtual-machine-unpaused", "status": "True" })
}

pub(super) fn up(pod: &mut Value) {
    bound(pod);
    pod["status"] = json!({ "phase": "Running", "qosClass": "Burstable", "conditions": [
        { "type": "ContainersReady", "status": "True" }, { "type": "Ready", "status": "True" }, unpaused()] });
}

pub(super) fn look(vmi: &VirtualMachineInstance, pods: &[Arc<Pod>]) -> Decision {
    look_under(&cluster(EmulationPolicy::None), vmi, pods)
}

pub(super) fn look_under(
    cluster: &ClusterConfiguration,
    vmi: &VirtualMachineInstance,
    pods: &[Arc<Pod>],
) -> Decision {
    look_around(cluster, vmi, pods, Around::default(), now())
}

/// What is done to the pods and which phase follows, in short.
pub(super) fn told(decision: &Decision) -> String {
    let actions = decision.actions.iter().map(|action| match action {
        Action::Create(_) => "create".to_owned(),
        Action::Delete { name, .. } => format!("delete {name}"),
        Action::Discard { name, .. } => format!("discard {name}"),
        Action::Label { name, node } => format!("label {name} {node}"),
        Action::Rename { name, .. } => format!("rename {name}"),
        Action::Gate {
            name, condition, ..
        } => format!("gate {name} {}", condition.status),
    });
    let status = decision.vmi.status.as_ref().unwrap();
    let reason = status.reason.iter().cloned();
    let held = decision
        .vmi
        .metadata
        .finalizers
        .as_ref()
        .is_some_and(|all| !all.is_empty());
    let phase = status.phase.map(|phase| phase.to_string()).into_iter();
    let gone = (!held).then(|| "let go".to_owned()).into_iter();
    actions
        .chain(phase)
        .chain(reason)
        .chain(gone)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn each_phase_with_each_pod_leads_where_the_picture_says() {
    let over = |phase: &'static str| {
        move |pod: &mut Value| {
            bound(pod);
            pod["status"] = json!({ "phase": phase });
        }
    };
    let bound_going = |pod: &mut Value| {
        bound(pod);
        going(pod);
    };
    let no: Vec<Arc<Pod>> = Vec::new();
    let table = [
        ("Pending", no.clone(), "create Scheduling"),
        ("Pending", vec![pod(unchanged)], "Scheduling"),
        ("Scheduling", no.clone(), "create Scheduling"),
        ("Scheduling", vec![pod(unchanged)], "Scheduling"),
        ("Scheduling", vec![pod(going)], "create Scheduling"),
        ("Scheduling", vec![pod(bound)], "Scheduling"),
        ("Scheduling", vec![pod(up)], "label p n1 Scheduled"),
        ("Scheduling", vec![pod(over("Failed"))], "Failed PodEnded"),
        (
            "Scheduling",
            vec![pod(over("Succeeded"))],
            "Failed PodEnded",
        ),
        ("Scheduling", vec![pod(bound_going)], "Failed PodDeleted"),
        ("Scheduled", vec![pod(up)], "Scheduled"),
        ("Scheduled", no.clone(), "Failed PodDeleted"),
        ("Running", vec![pod(up)], "Running"),
        ("Running", vec![pod(bound_going)], "Running"),
        ("Running", no.clone(), "Failed PodDeleted"),
        ("Succeeded", vec![pod(over("Succeeded"))], "Succeeded"),
        ("Failed", no, "Failed"),
    ];
    for (phase, pods, expected) in table {
        let decision = look(&vmi(phase, unchanged), &pods);
        assert_eq!(told(&decision), expected, "{phase} with {pods:?}");
    }
}

#[test]
fn a_vmi_that_is_asked_to_go_loses_its_pod_and_then_our_finalizer() {
    let bound_going = |pod: &mut Value| {
        bound(pod);
        going(pod);
    };
    let no: Vec<Arc<Pod>> = Vec::new();
    let table = [
        ("Pending", no.clone(), "Failed let go"),
        ("Scheduling", vec![pod(unchanged)], "discard p Scheduling"),
        ("Scheduling", vec![pod(bound)], "delete p Scheduling"),
        ("Scheduling", vec![pod(bound_going)], "Scheduling"),
        ("Scheduling", no.clone(), "Failed let go"),
        // The node stops the guest first.
        ("Scheduled", vec![pod(up)], "Scheduled"),
        ("Running", vec![pod(up)], "Running"),
        ("Succeeded", vec![pod(up)], "delete p Succeeded"),
        ("Succeeded", vec![pod(bound_going)], "Succeeded"),
        ("Succeeded", no.clone(), "Succeeded let go"),
        ("Failed", no, "Failed let go"),
    ];
    for (phase, pods, expected) in table {
        let decision = look(&vmi(phase, going), &pods);
        assert_eq!(told(&decision), expected, "{phase} with {pods:?}");
    }
}

#[test]
fn a_vmi_not_yet_admitted_is_held_and_gets_a_pod() {
    let fresh = vmi("", |vmi| {
        vmi["status"] = Value::Null;
        vmi["metadata"]["finalizers"] = Value::Null;
    });
    let decision = look(&fresh, &[]);
    assert_eq!(told(&decision), "create Scheduling");
    let status = decision.vmi.status.unwrap();
    let entered: Vec<_> = status
        .phase_transition_timestamps
        .iter()
        .map(|it| it.phase.to_string())
        .collect();
    assert_eq!(entered, ["Pending", "Scheduling"]);
}

#[test]
fn a_second_look_at_what_was_decided_changes_nothing() {
    let first = look(&vmi("Pending", unchanged), &[]);
    for pods in [vec![pod(unchanged)], vec![pod(up)]] {
        let second = look(&first.vmi, &pods);
        let third = look(&second.vmi, &pods);
        assert_eq!(third.vmi, second.vmi);
    }
}

#[test]
fn the_vmi_records_where_it_runs_and_under_which_policy() {
    let created = look(&vmi("Pending", unchanged), &[]).vmi;
    let annotations = created.metadata.annotations.clone().unwrap();
    assert_eq!(annotations["anyvirt.io/emulation-policy"], "None");
    assert_eq!(annotations["anyvirt.io/emulation-decided-by"], "a test");
    let handed = look(&created, &[pod(up)]).vmi;
    assert_eq!(
        handed.metadata.labels.unwrap()["kubevirt.io/nodeName"],
        "n1"
    );
    let status = handed.status.unwrap();
    assert_eq!(status.node_name.as_deref(), Some("n1"));
    assert_eq!(status.active_pods["pod-uid"], "n1");
    assert_eq!(status.qos_class.as_deref(), Some("Burstable"));
}

#[test]
fn a_policy_that_could_not_be_told_at_first_is_told_from_the_pod() {
    let untold = vmi("Pending", unchanged);
    let annotations = look(&untold, &[pod(up)]).vmi.metadata.annotations.unwrap();
    assert_eq!(annotations["anyvirt.io/emulation-policy"], "None");
    assert_eq!(annotations["anyvirt.io/emulation-decided-by"], "a test");
}

#[test]
fn a_forced_accelerator_that_nobody_knows_is_refused_by_name() {
    let wrong = vmi("Pending", |vmi| {
        vmi["metadata"]["annotations"] = json!({ "anyvirt.io/accelerator": "xen" });
    });
    let decision = look(&wrong, &[]);
    assert_eq!(told(&decision), "Pending");
    let conditions = decision.vmi.status.unwrap().conditions;
    let synchronized = condition::find(&conditions, "Synchronized").unwrap();
    assert_eq!(
        synchronized.message.as_deref().unwrap(),
        "metadata.annotations[anyvirt.io/accelerator]: unknown accelerator \"xen\": use kvm or tcg, or \
         remove it"
    );
}

#[test]
fn the_scheduler_s_word_is_repeated_while_the_pod_waits() {
    let refused = pod(|pod| {
        pod["status"] = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled",
            "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available" }] });
    });
    let waiting = look(&vmi("Scheduling", unchanged), &[refused]).vmi;
    let conditions = &waiting.status.as_ref().unwrap().conditions;
    let word = condition::find(conditions, "PodScheduled").unwrap();
    assert_eq!(word.status, "False");
    assert_eq!(word.reason.as_deref(), Some("Unschedulable"));
    assert_eq!(word.message.as_deref(), Some("0/1 nodes are available"));
    let handed = look(&waiting, &[pod(up)]).vmi;
    assert_eq!(
        condition::find(&handed.status.unwrap().conditions, "PodScheduled"),
        None
    );
}

#[test]
fn an_image_that_cannot_be_had_is_told_and_forgotten_when_it_can() {
    for reason in ["ErrImagePull", "ImagePullBackOff"] {
        let stuck = pod(|pod| {
            bound(pod);
            pod["status"] = json!({ "phase": "Pending", "containerStatuses": [{
                "name": "compute", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": reason, "message": "no such image" } } }] });
        });
        let waiting = look(&vmi("Scheduling", unchanged), &[stuck]).vmi;
        let conditions = &waiting.status.as_ref().unwrap().conditions;
        let synchronized = condition::find(conditions, "Synchronized").unwrap();
        assert_eq!(synchronized.status, "False");
        assert_eq!(synchronized.reason.as_deref(), Some(reason));
        assert_eq!(synchronized.message.as_deref(), Some("no such image"));
        let handed = look(&waiting, &[pod(up)]).vmi;
        assert_eq!(
            condition::find(&handed.status.unwrap().conditions, "Synchronized"),
            None
        );
    }
}

#[test]
fn a_synchronized_condition_of_the_node_is_left_alone() {
    let failing = vmi("Running", |vmi| {
        vmi["status"]["conditions"] =
            json!([{ "type": "Synchronized", "status": "False", "reason": "SyncFailed" }]);
    });
    let after = look(&failing, &[pod(up)]).vmi;
    assert!(condition::find(&after.status.unwrap().conditions, "Synchronized").is_some());
}

#[test]
fn ready_follows_pod_and_guest() {
    let bound_going = |pod: &mut Value| {
        bound(pod);
        going(pod);
    };
    let without_conditions = |pod: &mut Value| {
        bound(pod);
        pod["status"] = json!({ "phase": "Running", "conditions": [unpaused()] });
    };
    let table = [
        ("Succeeded", vec![], "False", Some("PodNotExists")),
        ("Pending", vec![], "False", Some("GuestNotRunning")),
        (
            "Scheduling",
            vec![pod(unchanged)],
            "False",
            Some("GuestNotRunning"),
        ),
        (
            "Running",
            vec![pod(bound_going)],
            "False",
            Some("PodTerminating"),
        ),
        (
            "Running",
            vec![pod(without_conditions)],
            "False",
            Some("PodConditionMissing"),
        ),
        ("Running", vec![pod(up)], "True", None),
    ];
    for (phase, pods, status, reason) in table {
        let conditions = look(&vmi(phase, unchanged), &pods)
            .vmi
            .status
            .unwrap()
            .conditions;
        let ready = condition::find(&conditions, "Ready").unwrap();
        assert_eq!(
            (ready.status.as_str(), ready.reason.as_deref()),
            (status, reason),
            "{phase}"
        );
    }
}

#[test]
fn a_paused_guest_is_not_ready_and_its_pod_is_told_so() {
    let paused = |vmi: &mut Value| {
        vmi["status"]["conditions"] = json!([{ "type": "Paused", "status": "True" }]);
    };
    let gate = |pod: &mut Value, status: &str| {
        let conditions = pod["status"]["conditions"].as_array_mut().unwrap();
        conditions.retain(|it| it["type"] != "kubevirt.io/virtual-machine-unpaused");
        if !status.is_empty() {
            conditions
                .push(json!({ "type": "kubevirt.io/virtual-machine-unpaused", "status": status }));
        }
    };
    let kubelets = |pod: &mut Value| {
        pod["status"]["conditions"][1] =
            json!({ "type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady" });
    };
    // Paused; the gate's condition; whether the pod knows; what is done; the VMI's readiness.
    let table = [
        (false, "True", false, "Running", "True"),
        (false, "", false, "gate p True Running", "True"),
        (false, "False", true, "gate p True Running", "False"),
        (true, "True", false, "gate p False Running", "False"),
        (true, "False", false, "Running", "False"),
        (true, "False", true, "Running", "False"),
    ];
    for (is_paused, told_gate, knows, expected, ready) in table {
        let vmi = vmi("Running", |vmi| {
            if is_paused {
                paused(vmi);
            }
        });
        let pod = pod(|pod| {
            up(pod);
            gate(pod, told_gate);
            if knows {
                kubelets(pod);
            }
        });
        let decision = look(&vmi, &[pod]);
        assert_eq!(told(&decision), expected);
        let conditions = decision.vmi.status.unwrap().conditions;
        let found = condition::find(&conditions, "Ready").unwrap();
        assert_eq!(found.status, ready, "{is_paused} {told_gate} {knows}");
        if ready == "False" {
            assert_eq!(found.reason.as_deref(), Some("ReadinessGatesNotReady"));
        }
    }
    // A pod that waits for a node is not told yet; one that has just got one is.
    let waiting = pod(unchanged);
    assert_eq!(
        told(&look(&vmi("Scheduling", unchanged), &[waiting])),
        "Scheduling"
    );
    let just_bound = pod(|pod| pod["spec"]["nodeName"] = json!("n1"));
    assert_eq!(
        told(&look(&vmi("Scheduling", unchanged), &[just_bound])),
        "gate p True Scheduling"
    );
}

#[test]
fn the_node_gets_time_to_say_how_a_guest_ended() {
    let ended = |at: &'static str| {
        pod(move |pod| {
            bound(pod);
            pod["status"] = json!({ "phase": "Failed", "containerStatuses": [{
                "name": "compute", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "terminated": { "exitCode": 1, "finishedAt": at } } }] });
        })
    };
    let decision = look(&vmi("Running", unchanged), &[ended("2026-11-22T11:59:50Z")]);
    assert_eq!(told(&decision), "Running");
    assert_eq!(
        decision.next,
        Next::After(std::time::Duration::from_secs(20))
    );
    let decision = look(&vmi("Running", unchanged), &[ended("2026-11-22T11:59:30Z")]);
    assert_eq!(told(&decision), "Failed PodEnded");
}

#[test]
fn the_pod_is_shaped_as_kubevirt_shapes_it() {
    let full = vmi("Pending", |vmi| {
        vmi["metadata"]["annotations"] = json!({ "note": "kept", "kubectl.kubernetes.io/last-applied-configuration": "dropped" });
        vmi["spec"]["nodeSelector"] = json!({ "disk": "fast" });
        vmi["spec"]["tolerations"] = json!([{ "key": "k", "operator": "Exists" }]);
        vmi["spec"]["terminationGracePeriodSeconds"] = json!(10);
        vmi["spec"]["domain"]["devices"]["interfaces"][0]["ports"] = json!([{ "port": 22 }]);
        vmi["spec"]["domain"]["firmware"] =
            json!({ "kernelBoot": { "container": { "image": "kernel:1" } } });
        vmi["spec"]["volumes"] = json!([
            { "name": "root", "containerDisk": { "image": "registry:5000/disk" } },
            { "name": "seed", "cloudInitNoCloud": { "userData": "#cloud-config" } },
        ]);
    });
    let mut cluster = cluster(EmulationPolicy::None);
    cluster
        .node_selectors
        .insert("zone".to_owned(), "a".to_owned());
    let launcher = Launcher {
        image: "launcher:1".to_owned(),
    };
    let made = pod::render(&full, &cluster, &policy(&full, &cluster), &launcher);
    let made = serde_json::to_string_pretty(&made.unwrap());
    expect_test::expect_file!["./testdata/pod.json"].assert_eq(&made.unwrap());
}

#[test]
fn the_console_is_logged_unless_the_vmi_has_none_or_says_not_to() {
    let logged = |devices: Value| {
        let vmi = vmi("Pending", |vmi| vmi["spec"]["domain"]["devices"] = devices);
        let pod = render(&vmi, &cluster(EmulationPolicy::None));
        pod.spec.unwrap().init_containers.is_some()
    };
    assert!(logged(json!({})));
    assert!(!logged(json!({ "logSerialConsole": false })));
    assert!(!logged(json!({ "autoattachSerialConsole": false })));
}

#[test]
fn a_host_name_is_a_label() {
    let named = |name: &str| {
        let name = name.to_owned();
        pod::hostname(&vmi("Pending", |vmi| vmi["metadata"]["name"] = json!(name)))
    };
    assert_eq!(named("web"), "web");
    assert_eq!(named("web.example"), "web");
    assert_eq!(named(&format!("{}-tail", "a".repeat(62))), "a".repeat(62));
}

#[test]
fn of_several_pods_the_newest_that_stays_counts() {
    let dated = |name: &'static str, at: &'static str, change: fn(&mut Value)| {
        pod(move |pod| {
            pod["metadata"]["name"] = json!(name);
            pod["metadata"]["creationTimestamp"] = json!(at);
            change(pod);
        })
    };
    let pods = [
        dated("old", "2026-11-22T11:00:00Z", unchanged),
        dated("going", "2026-11-22T11:02:00Z", going),
        dated("new", "2026-11-22T11:01:00Z", unchanged),
    ];
    assert_eq!(
        observe::current(&pods).unwrap().metadata.name.as_deref(),
        Some("new")
    );
}

#[test]
fn a_condition_keeps_its_time_while_it_stands() {
    let first = look(&vmi("Running", unchanged), &[pod(bound)]).vmi;
    let ready: Condition = condition::find(&first.status.as_ref().unwrap().conditions, "Ready")
        .unwrap()
        .clone();
    let cluster = cluster(EmulationPolicy::None);
    let later = "2026-11-22T13:00:00Z".parse().unwrap();
    let later = look_around(&cluster, &first, &[pod(bound)], Around::default(), later).vmi;
    assert_eq!(
        condition::find(&later.status.unwrap().conditions, "Ready"),
        Some(&ready)
    );
    assert_eq!(first.status.unwrap().phase, Some(Phase::Running));
}
