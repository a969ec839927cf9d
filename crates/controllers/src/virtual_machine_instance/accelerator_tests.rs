use super::ACCELERATOR_AVAILABLE;
use super::decide::{Action, Decision};
use super::nodes::{Register, refusal};
use super::placement::placement;
use super::tests::{
    Around, bound, cluster, look, look_around, look_under, now, pod, policy, render, told,
    unchanged, up, vmi,
};
use crate::engine::Stands;
use api::accelerator::{
    Cap, EmulationMultiTenancy, EmulationPolicy, Isolation, NodeFacts, NodeVerdict, Refusal,
    Remedy, Scope, Step, effective,
};
use api::condition;
use api::configuration::ClusterConfiguration;
use api::names::conditions::ACCELERATOR_OUTDATED;
use api::virtual_machine_instance::VirtualMachineInstance;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

fn devices(pod: &Pod) -> Vec<String> {
    let limits = pod.spec.as_ref().unwrap().containers[0]
        .resources
        .as_ref()
        .unwrap()
        .limits
        .clone();
    limits
        .unwrap_or_default()
        .into_keys()
        .filter(|it| it.starts_with("devices"))
        .collect()
}

#[test]
fn a_waiting_pod_is_made_anew_under_a_new_policy_and_no_other_pod_is() {
    let software = cluster(EmulationPolicy::Software);
    let waiting = vmi("Scheduling", unchanged);
    let old = pod(unchanged);
    let decision = look_under(&software, &waiting, &[Arc::clone(&old)]);
    assert_eq!(told(&decision), "discard p Scheduling");
    // Only in the state in which it has no node: another state is looked at again.
    let Some(Action::Discard {
        uid,
        resource_version,
        ..
    }) = decision.actions.first()
    else {
        panic!("it must be discarded")
    };
    assert_eq!(
        (uid.as_deref(), resource_version.as_deref()),
        (Some("pod-uid"), Some("5"))
    );
    let decision = look_under(&software, &waiting, &[]);
    let Some(Action::Create(new)) = decision.actions.first() else {
        panic!("it must be created")
    };
    assert_eq!(devices(new), Vec::<String>::new());
    assert_eq!(
        devices(&old),
        ["devices.kubevirt.io/kvm", "devices.kubevirt.io/vhost-net"]
    );
    for phase in ["Scheduling", "Scheduled", "Running"] {
        assert!(
            !told(&look_under(&software, &vmi(phase, unchanged), &[pod(up)])).contains("discard")
        );
    }
    assert!(!told(&look_under(&software, &waiting, &[pod(bound)])).contains("discard"));
}

#[test]
fn a_running_guest_is_told_that_it_would_get_another_accelerator_now() {
    let running = |type_: &str| {
        vmi("Running", |vmi| {
            vmi["status"]["accelerator"] = json!({ "type": type_ })
        })
    };
    let usable = |usable: bool| NodeFacts {
        verdict: NodeVerdict {
            usable,
            class: "R".to_owned(),
            stage: String::new(),
            message: "evidence".to_owned(),
        },
        architecture: "amd64".to_owned(),
        ..NodeFacts::default()
    };
    // Accelerator, policy, KVM usable; the reason told.
    let table = [
        ("TCG", EmulationPolicy::Software, false, None),
        (
            "TCG",
            EmulationPolicy::Software,
            true,
            Some("OtherAcceleratorNow"),
        ),
        (
            "TCG",
            EmulationPolicy::None,
            false,
            Some("HardwareVirtualizationUnusable"),
        ),
        ("KVM", EmulationPolicy::None, true, None),
        ("KVM", EmulationPolicy::Software, true, None),
        (
            "KVM",
            EmulationPolicy::Software,
            false,
            Some("OtherAcceleratorNow"),
        ),
    ];
    for (type_, policy, works, expected) in table {
        let (vmi, cluster, node) = (running(type_), cluster(policy), usable(works));
        let around = Around {
            node: Some(&node),
            ..Around::default()
        };
        let decision = look_around(&cluster, &vmi, &[pod(up)], around, now());
        let conditions = decision.vmi.status.unwrap().conditions;
        let reason =
            condition::find(&conditions, ACCELERATOR_OUTDATED).and_then(|it| it.reason.clone());
        assert_eq!(reason.as_deref(), expected, "{type_} {policy} {works}");
    }
}

#[test]
fn a_vmi_that_waits_for_a_device_is_told_why_and_what_helps() {
    let waiting_for = |message: &str| {
        let message = message.to_owned();
        pod(move |pod| {
            pod["status"] = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled",
                "status": "False", "reason": "Unschedulable", "message": message }] });
        })
    };
    let refusal = Refusal {
        reason: "HardwareVirtualizationUnusable",
        cause: "the cause".to_owned(),
        in_short: None,
        remedies: [Step::RepairHardware, Step::RemoveForced]
            .map(|step| Remedy { steps: vec![step] })
            .to_vec(),
    };
    let cluster = cluster(EmulationPolicy::None);
    let look = |vmi: &VirtualMachineInstance, pods: &[Arc<Pod>], refusal: Option<&Refusal>| {
        let around = Around {
            refusal,
            ..Around::default()
        };
        look_around(&cluster, vmi, pods, around, now())
    };
    let kvm = [waiting_for(
        "0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm.",
    )];
    let first = look(&vmi("Scheduling", unchanged), &kvm, Some(&refusal));
    let conditions = first.vmi.status.clone().unwrap().conditions;
    let told = condition::find(&conditions, ACCELERATOR_AVAILABLE).unwrap();
    assert_eq!(
        (told.status.as_str(), told.reason.as_deref()),
        ("False", Some(refusal.reason))
    );
    assert_eq!(
        told.message.as_deref(),
        Some(
            "the cause; make hardware virtualization work (`anyvirt doctor` shows how), or remove the \
             annotation anyvirt.io/accelerator"
        )
    );
    assert_eq!(first.facts.len(), 1);
    // Once is enough, and it goes with its cause.
    let second = look(&first.vmi, &kvm, Some(&refusal));
    assert_eq!((second.facts.len(), second.vmi == first.vmi), (0, true));
    let other_evidence = Refusal {
        cause: "other evidence".to_owned(),
        ..refusal.clone()
    };
    assert_eq!(look(&first.vmi, &kvm, Some(&other_evidence)).facts, []);
    let gone = |pods: &[Arc<Pod>], refusal| {
        let after = look(&first.vmi, pods, refusal)
            .vmi
            .status
            .unwrap()
            .conditions;
        condition::find(&after, ACCELERATOR_AVAILABLE).is_none()
    };
    // The scheduler's words are its own: a cap is a matter of labels to it.
    assert!(!gone(
        &[waiting_for(
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
        )],
        Some(&refusal)
    ));
    assert!(gone(&kvm, None));
    assert!(gone(&[pod(up)], None));
}

/// A pod that waits, as it was made for `vmi` under this configuration.
fn waiting(vmi: &VirtualMachineInstance, cluster: &ClusterConfiguration) -> Arc<Pod> {
    let mut pod = render(vmi, cluster);
    pod.metadata.name = Some("p".to_owned());
    pod.metadata.uid = Some("pod-uid".to_owned());
    Arc::new(pod)
}

fn annotated(accelerator: &str) -> impl Fn(&mut Value) {
    let accelerator = accelerator.to_owned();
    move |vmi| {
        vmi["metadata"]["annotations"] = json!({ "anyvirt.io/accelerator": accelerator });
    }
}

fn own_policy(policy: &str) -> impl Fn(&mut Value) {
    let policy = policy.to_owned();
    move |vmi| vmi["spec"]["emulationPolicy"] = json!(policy)
}

/// Checks what is done to a pod that waits, and that pod and VMI tell of the policy in force.
fn follows(
    why: &str,
    cluster: &ClusterConfiguration,
    vmi: &VirtualMachineInstance,
    pod: Arc<Pod>,
    expected: &str,
) {
    let decision = look_under(cluster, vmi, &[pod]);
    assert_eq!(told(&decision), format!("{expected}Scheduling"), "{why}");
    if let Some(Action::Rename { annotations, .. }) = decision.actions.first() {
        assert_eq!(annotations, &policy(vmi, cluster).annotations(), "{why}");
        let on_vmi = decision.vmi.metadata.annotations.unwrap();
        assert!(
            annotations
                .iter()
                .all(|(name, value)| on_vmi.get(name) == Some(value))
        );
    }
}

#[test]
fn a_pod_that_waits_follows_every_input_and_is_made_anew_only_if_it_cannot_be_told() {
    use EmulationPolicy::{Hardware, None as No, Software};
    let by_another = |cluster: &mut ClusterConfiguration| {
        cluster.emulation.decided_by = "another place".to_owned();
    };
    let to = |policy| move |cluster: &mut ClusterConfiguration| cluster.emulation.policy = policy;
    type Change = Box<dyn Fn(&mut ClusterConfiguration)>;
    let same = || -> Change { Box::new(|_| {}) };
    let own = |name: &str| vmi("Scheduling", own_policy(name));
    let plain = || vmi("Scheduling", unchanged);
    let noted = vmi("Scheduling", |vmi| {
        vmi["metadata"]["annotations"] = json!({ "note": "new" })
    });
    let kvm = || vmi("Scheduling", annotated("kvm"));
    // Why; before; the cluster then; the change; the VMI now; what is done.
    let table: Vec<(&str, _, _, Change, _, &str)> = vec![
        ("nothing", plain(), No, same(), plain(), ""),
        (
            "switched on",
            plain(),
            No,
            Box::new(to(Software)),
            plain(),
            "discard p ",
        ),
        (
            "switched off",
            plain(),
            Software,
            Box::new(to(No)),
            plain(),
            "discard p ",
        ),
        (
            "the same devices",
            plain(),
            No,
            Box::new(to(Hardware)),
            plain(),
            "rename p ",
        ),
        (
            "another place",
            plain(),
            Software,
            Box::new(by_another),
            plain(),
            "rename p ",
        ),
        (
            "its own stands",
            own("Software"),
            No,
            Box::new(to(Software)),
            own("Software"),
            "rename p ",
        ),
        (
            "its own changed",
            own("Software"),
            No,
            same(),
            own("None"),
            "discard p ",
        ),
        ("forced", plain(), No, same(), kvm(), "discard p "),
        (
            "forced anyway",
            kvm(),
            No,
            Box::new(to(Software)),
            kvm(),
            "rename p ",
        ),
        ("a note", plain(), No, same(), noted, ""),
        (
            "another selector",
            plain(),
            No,
            Box::new(|cluster| drop(cluster.node_selectors.insert("a".into(), "b".into()))),
            plain(),
            "discard p ",
        ),
    ];
    for (why, before, then, change, vmi, expected) in table {
        let mut cluster = cluster(then);
        let pod = waiting(&before, &cluster);
        change(&mut cluster);
        follows(why, &cluster, &vmi, pod, expected);
    }
}

#[test]
fn a_pod_that_was_made_before_there_were_fingerprints_is_made_anew() {
    let old = pod(|pod| {
        let annotations = pod["metadata"]["annotations"].as_object_mut().unwrap();
        annotations.remove("anyvirt.io/placement-fingerprint");
    });
    let waits = vmi("Scheduling", unchanged);
    assert_eq!(told(&look(&waits, &[old])), "discard p Scheduling");
}

#[test]
fn emulation_that_is_forced_and_not_permitted_makes_no_pod_and_takes_back_the_one_that_waits() {
    let forced = vmi("Scheduling", annotated("tcg"));
    let message = "metadata.annotations[anyvirt.io/accelerator]: tcg asks for software emulation, which is \
                   not permitted (policy None, by a test): permit it there, or remove the annotation";
    let synchronized = |decision: &Decision| {
        let conditions = &decision.vmi.status.as_ref().unwrap().conditions;
        let found = condition::find(conditions, "Synchronized");
        found.and_then(|it| it.message.clone())
    };
    let software = cluster(EmulationPolicy::Software);
    let made = look_under(&software, &forced, &[]);
    assert_eq!(told(&made), "create Scheduling");
    let taken_back = look(&forced, &[waiting(&forced, &software)]);
    assert_eq!(told(&taken_back), "discard p Scheduling");
    assert_eq!(synchronized(&taken_back).as_deref(), Some(message));
    let refused = look(&forced, &[]);
    assert_eq!(told(&refused), "Scheduling");
    assert_eq!(synchronized(&refused).as_deref(), Some(message));
    // The nodes' refusal is told too, though no scheduler ever looked at it.
    let refusal = Refusal {
        reason: "EmulationNotPermitted",
        cause: "the cause".to_owned(),
        in_short: None,
        remedies: Vec::new(),
    };
    let around = Around {
        refusal: Some(&refusal),
        ..Around::default()
    };
    let cluster = cluster(EmulationPolicy::None);
    let told = look_around(&cluster, &forced, &[], around, now());
    let conditions = told.vmi.status.unwrap().conditions;
    assert!(condition::find(&conditions, ACCELERATOR_AVAILABLE).is_some());
}

#[test]
fn the_policy_in_force_is_recorded_with_the_place_that_decided_and_a_cap_that_is_misread_is_told() {
    let cap = |value: &str| {
        let labels = BTreeMap::from([("anyvirt.io/emulation-policy".to_owned(), value.to_owned())]);
        Cap::of_labels(Scope::Namespace, "ns", &labels)
    };
    let in_namespace = "Namespace ns label anyvirt.io/emulation-policy";
    let by_vmi = "VirtualMachineInstance ns/m spec.emulationPolicy";
    // Cluster; the VMI's own; the namespace's cap; the policy; who decided; devices; what is told.
    let table = [
        ("None", None, None, "None", "a test", 2, 0),
        ("Software", None, None, "Software", "a test", 0, 0),
        ("Software", Some("None"), None, "None", by_vmi, 2, 0),
        ("None", Some("Software"), None, "Software", by_vmi, 0, 0),
        (
            "None",
            Some("Software"),
            Some("None"),
            "None",
            in_namespace,
            2,
            0,
        ),
        (
            "Software",
            None,
            Some("Hardware"),
            "Hardware",
            in_namespace,
            2,
            0,
        ),
        ("None", None, Some("Software"), "None", "a test", 2, 0),
        ("Software", None, Some("maybe"), "None", in_namespace, 2, 1),
    ];
    for (in_cluster, own, label, expected, by, count, facts) in table {
        let cluster = cluster(EmulationPolicy::parse(in_cluster).unwrap());
        let vmi = vmi("Pending", |vmi| {
            if let Some(own) = own {
                own_policy(own)(vmi);
            }
        });
        let cap = label.and_then(cap);
        let policy = effective(&cluster.emulation, vmi.own_emulation_policy(), cap.as_ref());
        let around = Around {
            policy: Some(&policy),
            ..Around::default()
        };
        let decision = look_around(&cluster, &vmi, &[], around, now());
        let Some(Action::Create(pod)) = decision.actions.first() else {
            panic!("it must be created")
        };
        let place = format!("{in_cluster} {own:?} {label:?}");
        for metadata in [&pod.metadata, &decision.vmi.metadata] {
            let annotations = metadata.annotations.as_ref().unwrap();
            assert_eq!(
                annotations["anyvirt.io/emulation-policy"], expected,
                "{place}"
            );
            assert_eq!(
                annotations["anyvirt.io/emulation-decided-by"], by,
                "{place}"
            );
        }
        assert_eq!(devices(pod).len(), count, "{place}");
        assert_eq!(decision.facts.len(), facts, "{place}");
    }
}

/// Which nodes a pod selects, in short.
fn selection(policy: EmulationPolicy, change: &dyn Fn(&mut Value)) -> String {
    let vmi = vmi("Pending", |vmi| {
        vmi["spec"]["nodeSelector"] = json!({ "disk": "fast" });
        change(vmi);
    });
    let cluster = cluster(policy);
    let placement = placement(&vmi, &cluster, &self::policy(&vmi, &cluster)).unwrap();
    let selector: Vec<String> = placement
        .node_selector
        .iter()
        .filter(|(key, _)| !["disk", "kubevirt.io/schedulable"].contains(&key.as_str()))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let affinity = placement.affinity.and_then(|it| it.node_affinity);
    let required = affinity
        .and_then(|it| it.required_during_scheduling_ignored_during_execution)
        .map(|it| it.node_selector_terms)
        .unwrap_or_default();
    let terms: Vec<String> = required
        .iter()
        .map(|term| {
            let rules = term.match_expressions.iter().flatten().map(|rule| {
                let values = rule.values.clone().unwrap_or_default().join(",");
                format!("{} {} {values}", rule.key, rule.operator)
                    .trim_end()
                    .to_owned()
            });
            rules.collect::<Vec<_>>().join(" and ")
        })
        .collect();
    format!("{} | {}", selector.join(" "), terms.join(" or "))
}

#[test]
fn a_pod_selects_the_nodes_that_can_run_its_guest() {
    let processor = |vmi: &mut Value| {
        vmi["spec"]["domain"]["cpu"] = json!({ "model": "Haswell", "features": [
            { "name": "avx" }, { "name": "aes", "policy": "require" },
            { "name": "svm", "policy": "forbid" }, { "name": "ht", "policy": "disable" },
            { "name": "x2apic", "policy": "optional" }, { "name": "pcid", "policy": "force" }] });
    };
    let any_model =
        |vmi: &mut Value| vmi["spec"]["domain"]["cpu"] = json!({ "model": "host-passthrough" });
    let foreign = |vmi: &mut Value| {
        processor(vmi);
        vmi["spec"]["architecture"] = json!("arm64");
    };
    let labels = "cpu-feature.node.kubevirt.io/aes=true cpu-feature.node.kubevirt.io/avx=true \
                  cpu-model.node.kubevirt.io/Haswell=true";
    let without = "cpu-feature.node.kubevirt.io/svm DoesNotExist";
    let hardware = "anyvirt.io/hardware-virtualization In usable and kubernetes.io/arch In";
    let uncapped = "anyvirt.io/emulation-policy DoesNotExist";
    let capped = "anyvirt.io/emulation-policy In Software";
    use EmulationPolicy::{None as No, Software};
    type Change<'a> = &'a dyn Fn(&mut Value);
    let table: [(EmulationPolicy, Change<'_>, String); 8] = [
        (No, &unchanged, "kubernetes.io/arch=amd64 | ".to_owned()),
        (No, &any_model, "kubernetes.io/arch=amd64 | ".to_owned()),
        (
            No,
            &processor,
            format!("{labels} kubernetes.io/arch=amd64 | {without}"),
        ),
        (
            No,
            &annotated("kvm"),
            "anyvirt.io/kvm-device=true kubernetes.io/arch=amd64 | ".to_owned(),
        ),
        (
            Software,
            &unchanged,
            format!("kubevirt.io/vm-arch-amd64=true | {hardware} amd64 or {uncapped} or {capped}"),
        ),
        (
            Software,
            &annotated("tcg"),
            format!("kubevirt.io/vm-arch-amd64=true | {uncapped} or {capped}"),
        ),
        (
            Software,
            &processor,
            format!(
                "{labels} kubevirt.io/vm-arch-amd64=true | {hardware} amd64 and {without} or \
                 {uncapped} and {without} or {capped} and {without}"
            ),
        ),
        // What nodes say of processors is about those of their own architecture.
        (
            Software,
            &foreign,
            format!("kubevirt.io/vm-arch-arm64=true | {hardware} arm64 or {uncapped} or {capped}"),
        ),
    ];
    for (policy, change, expected) in table {
        assert_eq!(selection(policy, change), expected);
    }
}

fn node(name: &str, usable: bool, labels: Value) -> Node {
    let mut node = json!({
        "metadata": { "name": name, "labels": labels },
        "status": { "conditions": [{
            "type": "HardwareVirtualization", "status": if usable { "True" } else { "False" },
            "reason": "DeviceMissing", "message": format!("no /dev/kvm on {name}") }] },
    });
    node["metadata"]["labels"]["kubernetes.io/arch"] = json!("amd64");
    serde_json::from_value(node).unwrap()
}

#[test]
fn the_refusal_told_is_that_of_the_nearest_node_among_those_selected_and_none_if_one_accepts() {
    let refused = |nodes: &[Node], policy: EmulationPolicy, change: &dyn Fn(&mut Value)| {
        let register = Register::default();
        for node in nodes {
            register.take(node, Stands::There);
        }
        let (vmi, cluster) = (vmi("Pending", |vmi| change(vmi)), cluster(policy));
        let policy = self::policy(&vmi, &cluster);
        refusal(&vmi, &cluster, &policy, &register.now()).map(|it| it.cause)
    };
    use EmulationPolicy::{None as No, Software};
    let capped = |name| {
        node(
            name,
            false,
            json!({ "anyvirt.io/emulation-policy": "None" }),
        )
    };
    let broken = |name| node(name, false, json!({ "zone": name }));
    let works = |name| node(name, true, json!({ "zone": name }));
    let zone = |name: &'static str| {
        move |vmi: &mut Value| vmi["spec"]["nodeSelector"] = json!({ "zone": name })
    };
    let told = |nodes: &[Node], policy, change: &dyn Fn(&mut Value)| {
        let cause = refused(nodes, policy, change)?;
        Some(
            ["n1", "n2", "n3"]
                .into_iter()
                .find(|name| cause.contains(&format!("on {name}"))),
        )?
    };
    assert_eq!(told(&[], No, &unchanged), None);
    assert_eq!(told(&[broken("n1"), works("n2")], No, &unchanged), None);
    assert_eq!(
        told(&[broken("n1"), broken("n2")], No, &unchanged),
        Some("n1")
    );
    assert_eq!(
        told(&[broken("n1"), broken("n2")], Software, &unchanged),
        None
    );
    // Two things are in the way on the first.
    assert_eq!(
        told(&[capped("n1"), broken("n2")], No, &unchanged),
        Some("n2")
    );
    assert_eq!(told(&[capped("n1")], Software, &unchanged), Some("n1"));
    assert_eq!(
        told(&[broken("n1"), works("n2")], No, &zone("n1")),
        Some("n1")
    );
    assert_eq!(told(&[broken("n1"), works("n2")], No, &zone("n3")), None);
}

#[test]
fn a_node_that_says_nothing_new_is_no_change() {
    let register = Register::default();
    let plain = node("n1", false, json!({}));
    let heartbeat = Node {
        metadata: kube::api::ObjectMeta {
            annotations: Some([("kubevirt.io/heartbeat".to_owned(), "now".to_owned())].into()),
            ..plain.metadata.clone()
        },
        ..plain.clone()
    };
    let capped = node(
        "n1",
        false,
        json!({ "anyvirt.io/emulation-policy": "None" }),
    );
    let before = register.now();
    let steps = [
        (&plain, Stands::There, true),
        (&heartbeat, Stands::There, false),
        (&capped, Stands::There, true),
        (&node("n1", true, json!({})), Stands::There, true),
        (&plain, Stands::Gone, true),
        (&plain, Stands::Gone, false),
    ];
    for (at, (node, stands, expected)) in steps.into_iter().enumerate() {
        assert_eq!(register.take(node, stands), expected, "step {at}");
    }
    assert!(before.is_empty() && register.now().is_empty());
}

#[test]
fn a_guest_is_told_with_whom_it_shares_its_node_or_that_it_waits_because_it_may_not() {
    let shared = |value| Isolation::Shared {
        value,
        decided_by: "a place".to_owned(),
        with: ["other".to_owned()].into(),
    };
    let cluster = cluster(EmulationPolicy::Software);
    let look = |vmi: &VirtualMachineInstance, pod: &Arc<Pod>, isolation: Option<Isolation>| {
        let around = Around {
            isolation: isolation.as_ref(),
            ..Around::default()
        };
        look_around(&cluster, vmi, std::slice::from_ref(pod), around, now())
    };
    let reason = |decision: &Decision| {
        let conditions = &decision.vmi.status.as_ref().unwrap().conditions;
        let told = condition::find(conditions, "EmulationIsolation")?;
        assert_eq!(told.status, "False");
        told.reason.clone()
    };
    let (running, up) = (vmi("Running", unchanged), pod(up));
    let boundary = "TCGNotASecurityBoundary";
    let table = [
        (None, None),
        (Some(Isolation::OneOwner), None),
        (Some(shared(EmulationMultiTenancy::Allow)), None),
        (Some(shared(EmulationMultiTenancy::Warn)), Some(boundary)),
        (Some(shared(EmulationMultiTenancy::Deny)), Some(boundary)),
    ];
    for (isolation, expected) in table {
        let decision = look(&running, &up, isolation.clone());
        assert_eq!(reason(&decision).as_deref(), expected, "{isolation:?}");
        assert_eq!(decision.facts.len(), usize::from(expected.is_some()));
        // Once is enough, and it goes with its cause.
        let again = look(&decision.vmi, &up, isolation);
        assert_eq!((again.facts.len(), again.vmi == decision.vmi), (0, true));
        assert_eq!(reason(&look(&decision.vmi, &up, None)), None);
    }
    let waits = pod(|pod| {
        let message = "0/1 nodes are available: 1 node(s) had emulated guests of other namespaces \
                       (forbidden by a place).";
        pod["status"] = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled",
            "status": "False", "reason": "Unschedulable", "message": message }] });
    });
    let decision = look(&vmi("Scheduling", unchanged), &waits, None);
    assert_eq!(reason(&decision).as_deref(), Some("MultiTenancyDenied"));
    assert_eq!(decision.facts.len(), 1);
}
