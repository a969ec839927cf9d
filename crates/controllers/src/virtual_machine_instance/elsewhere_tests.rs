use super::elsewhere::{Answers, Elsewhere, Found, Guest, Hardware, Scene, Survey};
use super::pod::Launcher;
use super::tests::{Around, cluster, look_around, now, pod, policy, unchanged, up, vmi};
use crate::queue::Key;
use crate::schedule::Rules;
use api::accelerator::{Accelerator, EmulationPolicy, NodeFacts, NodeVerdict};
use api::condition;
use api::configuration::ClusterConfiguration;
use api::names::conditions::ACCELERATOR_OUTDATED;
use api::virtual_machine_instance::VirtualMachineInstance;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node whose hardware virtualization works, or does not.
fn host(name: &str, usable: bool, change: impl FnOnce(&mut Value)) -> Arc<Node> {
    let amount = if usable { "1000" } else { "0" };
    let status = if usable { "True" } else { "False" };
    let label = if usable { "usable" } else { "unusable" };
    let mut node = json!({
        "metadata": { "name": name, "labels": {
            "kubernetes.io/arch": "amd64", "kubevirt.io/schedulable": "true",
            "kubevirt.io/vm-arch-amd64": "true", "kubevirt.io/vm-arch-arm64": "true",
            "anyvirt.io/hardware-virtualization": label } },
        "status": {
            "allocatable": { "cpu": "8", "memory": "16Gi", "pods": "10",
                "devices.kubevirt.io/kvm": amount, "devices.kubevirt.io/vhost-net": amount },
            "conditions": [{ "type": "Ready", "status": "True" },
                { "type": "HardwareVirtualization", "status": status, "reason": "R" }],
        },
    });
    change(&mut node);
    Arc::new(serde_json::from_value(node).unwrap())
}

/// A guest that runs on `n1`.
fn running(name: &str, change: impl FnOnce(&mut Value)) -> VirtualMachineInstance {
    vmi("Running", |vmi| {
        vmi["metadata"]["name"] = json!(name);
        vmi["metadata"]["uid"] = json!(format!("uid-{name}"));
        vmi["status"]["nodeName"] = json!("n1");
        vmi["status"]["accelerator"] = json!({ "type": "TCG" });
        change(vmi);
    })
}

/// A pod that takes what there is of a resource of a node.
fn taking(node: &str, resource: &str, amount: &str) -> Arc<Pod> {
    let pod = json!({
        "metadata": { "name": "other", "namespace": "ns", "uid": "other" },
        "spec": { "nodeName": node, "containers": [
            { "name": "c", "resources": { "requests": { resource: amount } } }] },
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

struct World {
    survey: Survey,
    cluster: Arc<ClusterConfiguration>,
    nodes: Vec<Arc<Node>>,
    pods: Vec<Arc<Pod>>,
    guests: Vec<Arc<VirtualMachineInstance>>,
    answers: Answers,
}

impl World {
    /// One emulated guest beside a node whose hardware works and is idle.
    fn new() -> Self {
        Self {
            survey: Survey::default(),
            cluster: Arc::new(cluster(EmulationPolicy::Software)),
            nodes: vec![host("n1", false, unchanged), host("n2", true, unchanged)],
            pods: Vec::new(),
            guests: vec![Arc::new(running("m", unchanged))],
            answers: Answers::new(),
        }
    }

    /// What a survey finds; its answers are taken over.
    fn survey(&mut self) -> Found {
        let launcher = Launcher::default();
        let guests = self.guests.iter().map(|vmi| Guest {
            policy: policy(vmi, &self.cluster),
            vmi: Arc::clone(vmi),
        });
        let scene = Scene {
            nodes: self.nodes.clone(),
            pods: self.pods.clone(),
            rules: Rules::default(),
            guests: guests.collect(),
            cluster: Arc::clone(&self.cluster),
            launcher: &launcher,
        };
        let actual = |_: &Pod| Some(Accelerator::Tcg);
        let found = self.survey.take(&scene, actual, &self.answers);
        for (key, answer) in found.changes.clone() {
            match answer {
                Some(answer) => drop(self.answers.insert(key, answer)),
                None => drop(self.answers.remove(&key)),
            }
        }
        found
    }

    /// The node that is named for the guest `m` after a survey.
    fn named(&mut self) -> Option<String> {
        self.survey();
        let answer = self.answers.get(&Key::new("ns", "m"));
        answer.map(|(_, node)| node.clone())
    }
}

#[test]
fn hardware_counts_where_the_scheduler_would_place_the_guest_now_and_nowhere_else() {
    let with = |change: &dyn Fn(&mut World)| {
        let mut world = World::new();
        change(&mut world);
        world.named()
    };
    let node = |change: fn(&mut Value)| {
        with(&|world: &mut World| world.nodes[1] = host("n2", true, change))
    };
    let guest = |change: fn(&mut Value)| {
        with(&|world: &mut World| world.guests = vec![Arc::new(running("m", change))])
    };
    let full = |resource: &'static str, amount: &'static str| {
        with(&|world: &mut World| world.pods = vec![taking("n2", resource, amount)])
    };
    let under = |policy| with(&|world: &mut World| world.cluster = Arc::new(cluster(policy)));
    let there = Some("n2".to_owned());
    for (why, named, expected) in [
        ("there is room", node(unchanged), true),
        (
            "it does not work",
            node(|it| it["status"]["conditions"][1]["status"] = json!("False")),
            false,
        ),
        (
            "not ready",
            node(|it| it["status"]["conditions"][0]["status"] = json!("False")),
            false,
        ),
        (
            "cordoned",
            node(|it| it["spec"] = json!({ "unschedulable": true })),
            false,
        ),
        (
            "tainted",
            node(|it| it["spec"] = json!({ "taints": [{ "key": "k", "effect": "NoSchedule" }] })),
            false,
        ),
        (
            "no room for pods",
            node(|it| it["status"]["allocatable"]["pods"] = json!("0")),
            false,
        ),
        (
            "a cap is no bar to hardware",
            node(|it| it["metadata"]["labels"]["anyvirt.io/emulation-policy"] = json!("None")),
            true,
        ),
        (
            "another architecture",
            node(|it| it["metadata"]["labels"]["kubernetes.io/arch"] = json!("arm64")),
            false,
        ),
        ("no memory left", full("memory", "16Gi"), false),
        ("no processors left", full("cpu", "8"), false),
        ("some memory left", full("memory", "8Gi"), true),
        ("no emulation any more", under(EmulationPolicy::None), true),
        (
            "it selects its node",
            guest(|it| it["spec"]["nodeSelector"] = json!({ "disk": "fast" })),
            false,
        ),
        (
            "it tolerates nothing",
            guest(|it| it["spec"]["tolerations"] = json!([])),
            true,
        ),
        (
            "emulation is forced",
            guest(|it| it["metadata"]["annotations"] = json!({ "anyvirt.io/accelerator": "tcg" })),
            false,
        ),
        (
            "a foreign guest",
            guest(|it| it["spec"]["architecture"] = json!("arm64")),
            false,
        ),
        (
            "a model that no node has",
            guest(|it| it["spec"]["domain"]["cpu"] = json!({ "model": "Skylake" })),
            false,
        ),
    ] {
        let expected = there.clone().filter(|_| expected);
        assert_eq!(named, expected, "{why}");
    }
}

#[test]
fn the_devices_that_a_guest_needs_which_may_not_be_emulated_may_all_be_taken() {
    let mut world = World::new();
    world.cluster = Arc::new(cluster(EmulationPolicy::None));
    world.pods = vec![taking("n2", "devices.kubevirt.io/kvm", "999")];
    assert_eq!(world.named().as_deref(), Some("n2"));
    world.pods = vec![taking("n2", "devices.kubevirt.io/kvm", "1000")];
    assert_eq!(world.named(), None);
}

#[test]
fn a_named_node_stays_named_while_it_is_one_and_a_survey_without_news_changes_nothing() {
    let mut world = World::new();
    assert_eq!(world.named().as_deref(), Some("n2"));
    assert_eq!(world.survey(), Found::default());
    // A better one, and pods that come and go beside it.
    world.nodes.push(host("n0", true, |node| {
        node["status"]["allocatable"]["memory"] = json!("64Gi");
    }));
    world.pods = vec![taking("n2", "cpu", "1")];
    assert_eq!(world.survey(), Found::default());
    // Full, so the other one is named; then none; then one again.
    world.pods = vec![taking("n2", "cpu", "8")];
    assert_eq!(world.named().as_deref(), Some("n0"));
    world.nodes.truncate(2);
    assert_eq!(world.named(), None);
    world.pods = Vec::new();
    assert_eq!(world.named().as_deref(), Some("n2"));
    // Another VMI of the same name is told anew, one that is gone no more.
    let other = |vmi: &mut Value| vmi["metadata"]["uid"] = json!("other");
    world.guests = vec![Arc::new(running("m", other))];
    assert_eq!(world.survey().changes.len(), 1);
    world.guests = Vec::new();
    assert_eq!(world.named(), None);
}

#[test]
fn a_survey_has_a_bound_and_the_next_ones_go_on() {
    const GUESTS: usize = 1200;
    let mut world = World::new();
    let name = |number: usize| format!("m{number:04}");
    world.guests = (0..GUESTS)
        .map(|number| Arc::new(running(&name(number), unchanged)))
        .collect();
    let mut surveys = 0;
    loop {
        let found = world.survey();
        assert!(found.changes.len() <= 128, "{}", found.changes.len());
        surveys += 1;
        if !found.unfinished {
            break;
        }
        assert!(surveys < 20, "it never ends");
    }
    assert_eq!(world.answers.len(), GUESTS);
    assert_eq!(world.survey(), Found::default());
    // The hardware fails: that is told in the same measure.
    world.nodes.truncate(1);
    let found = world.survey();
    assert_eq!((found.changes.len(), found.unfinished), (128, true));
    while world.survey().unfinished {}
    assert_eq!(world.answers, BTreeMap::new());
}

#[test]
fn that_there_is_no_hardware_is_said_once_a_survey_was_finished() {
    let elsewhere = Elsewhere::default();
    let (named, told) = (running("named", unchanged), running("told", unchanged));
    let nobody = || -> Vec<Key> { panic!("it is asked once") };
    assert_eq!(elsewhere.of(&named), Hardware::Unknown);
    let answer = ("uid-named".to_owned(), "n2".to_owned());
    let found = Found {
        changes: [(Key::of(&named), Some(answer))].into(),
        unfinished: true,
    };
    elsewhere.publish(found, nobody);
    assert_eq!(elsewhere.of(&named), Hardware::Node("n2".to_owned()));
    assert_eq!(elsewhere.of(&told), Hardware::Unknown);
    assert_eq!(elsewhere.changed(), [Key::of(&named)]);
    // What is said without an answer is looked at again.
    let both = || vec![Key::of(&named), Key::of(&told)];
    elsewhere.publish(Found::default(), both);
    assert_eq!(elsewhere.of(&told), Hardware::None);
    assert_eq!(elsewhere.changed(), [Key::of(&told)]);
    elsewhere.publish(Found::default(), nobody);
    assert_eq!(elsewhere.changed(), []);
}

#[test]
fn what_was_said_before_a_start_is_taken_back_in_a_measure() {
    let elsewhere = Elsewhere::default();
    let told = |number: usize| Key::new("ns", &format!("m{number:03}"));
    let mut looked = Vec::new();
    for survey in 0..3 {
        elsewhere.publish(Found::default(), || (0..300).map(told).collect());
        let changed = elsewhere.changed();
        assert!(changed.len() <= 128, "survey {survey}: {}", changed.len());
        looked.extend(changed);
    }
    assert_eq!(looked, (0..300).map(told).collect::<Vec<_>>());
}

/// The node of a guest, whose hardware virtualization works, or does not.
fn facts(usable: bool) -> NodeFacts {
    NodeFacts {
        verdict: NodeVerdict {
            usable,
            class: "R".to_owned(),
            stage: String::new(),
            message: "evidence".to_owned(),
        },
        architecture: "amd64".to_owned(),
        ..NodeFacts::default()
    }
}

#[test]
fn an_emulated_guest_is_told_of_hardware_elsewhere_unless_its_own_node_has_it() {
    let running = |type_: &str, phase: &str| {
        vmi(phase, |vmi| {
            vmi["status"]["accelerator"] = json!({ "type": type_ })
        })
    };
    let elsewhere = Some("HardwareFreeElsewhere");
    // Accelerator, phase, policy, KVM usable on its node; the reason told.
    let table = [
        (
            "TCG",
            "Running",
            EmulationPolicy::Software,
            false,
            elsewhere,
        ),
        ("TCG", "Running", EmulationPolicy::None, false, elsewhere),
        (
            "TCG",
            "Running",
            EmulationPolicy::Software,
            true,
            Some("OtherAcceleratorNow"),
        ),
        ("KVM", "Running", EmulationPolicy::Software, true, None),
        (
            "KVM",
            "Running",
            EmulationPolicy::Software,
            false,
            Some("OtherAcceleratorNow"),
        ),
        ("TCG", "Scheduled", EmulationPolicy::Software, false, None),
        ("TCG", "Failed", EmulationPolicy::Software, false, None),
    ];
    let there = Hardware::Node("n2".to_owned());
    for (type_, phase, policy, works, expected) in table {
        let (vmi, cluster, node) = (running(type_, phase), cluster(policy), facts(works));
        let around = Around {
            node: Some(&node),
            elsewhere: Some(&there),
            ..Around::default()
        };
        let decision = look_around(&cluster, &vmi, &[pod(up)], around, now());
        let conditions = decision.vmi.status.clone().unwrap().conditions;
        let told = condition::find(&conditions, ACCELERATOR_OUTDATED);
        let reason = told.and_then(|it| it.reason.as_deref());
        assert_eq!(reason, expected, "{type_} {phase} {policy} {works}");
        if reason == elsewhere {
            let message = told
                .and_then(|it| it.message.as_deref())
                .unwrap_or_default();
            assert!(
                message.contains("works on node n2, which has room"),
                "{message}"
            );
            assert_eq!(decision.facts, [], "it is a state, not an event");
        }
        // Told once; it goes with its cause.
        let again = look_around(&cluster, &decision.vmi, &[pod(up)], around, now());
        assert_eq!(again.vmi, decision.vmi);
    }
}

#[test]
fn what_was_said_of_hardware_elsewhere_stays_until_a_survey_says_otherwise() {
    let (free, other) = (Some("HardwareFreeElsewhere"), Some("OtherAcceleratorNow"));
    // What is said, phase, KVM usable on its node, what is known; what is said then.
    for (said, phase, works, known, expected) in [
        (free, "Running", false, Hardware::Unknown, free),
        (free, "Running", false, Hardware::None, None),
        (free, "Running", true, Hardware::Unknown, other),
        (free, "Failed", false, Hardware::Unknown, None),
        (other, "Running", false, Hardware::Unknown, None),
        (None, "Running", false, Hardware::Unknown, None),
    ] {
        let vmi = vmi(phase, |vmi| {
            vmi["status"]["accelerator"] = json!({ "type": "TCG" });
            if let Some(reason) = said {
                vmi["status"]["conditions"] = json!([{ "type": ACCELERATOR_OUTDATED,
                    "status": "True", "reason": reason, "message": "as it was said" }]);
            }
        });
        let node = facts(works);
        let around = Around {
            node: Some(&node),
            elsewhere: Some(&known),
            ..Around::default()
        };
        let cluster = cluster(EmulationPolicy::Software);
        let decision = look_around(&cluster, &vmi, &[pod(up)], around, now());
        let conditions = decision.vmi.status.unwrap().conditions;
        let told = condition::find(&conditions, ACCELERATOR_OUTDATED);
        let reason = told.and_then(|it| it.reason.as_deref());
        assert_eq!(reason, expected, "{said:?} {phase} {works} {known:?}");
        if reason == free {
            let message = told.and_then(|it| it.message.as_deref());
            assert_eq!(message, Some("as it was said"));
        }
    }
}
