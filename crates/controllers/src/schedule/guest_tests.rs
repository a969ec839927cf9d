use super::decide::{Placement, waiting};
use super::guest::Rules;
use super::memory::Memory;
use super::tests::{node, pod};
use api::accelerator::Accelerator;
use api::configuration::ClusterConfiguration;
use api::kubevirt::KubeVirt;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A node whose hardware virtualization works, or does not.
fn host(name: &str, usable: bool, change: impl FnOnce(&mut Value)) -> Arc<Node> {
    node(name, |node| {
        node["status"]["allocatable"]["pods"] = json!("110");
        let status = if usable { "True" } else { "False" };
        let conditions = node["status"]["conditions"].as_array_mut().unwrap();
        conditions
            .push(json!({ "type": "HardwareVirtualization", "status": status, "reason": "R" }));
        change(node);
    })
}

fn unchanged(_: &mut Value) {}

/// A launcher pod of a namespace under a policy.
fn guest(name: &str, namespace: &str, policy: &str, change: impl FnOnce(&mut Value)) -> Arc<Pod> {
    pod(name, |pod| {
        pod["metadata"]["namespace"] = json!(namespace);
        pod["metadata"]["labels"] = json!({ "kubevirt.io": "virt-launcher" });
        pod["metadata"]["annotations"] = json!({ "anyvirt.io/emulation-policy": policy });
        change(pod);
    })
}

fn on(node: &'static str) -> impl Fn(&mut Value) {
    move |pod| pod["spec"]["nodeName"] = json!(node)
}

fn with_processors(count: u32) -> impl Fn(&mut Value) {
    move |pod| pod["metadata"]["annotations"]["anyvirt.io/processors"] = json!(count.to_string())
}

fn forced(accelerator: &'static str) -> impl Fn(&mut Value) {
    move |pod| pod["metadata"]["annotations"]["anyvirt.io/accelerator"] = json!(accelerator)
}

fn both(first: impl Fn(&mut Value), second: impl Fn(&mut Value)) -> impl Fn(&mut Value) {
    move |object| {
        first(object);
        second(object);
    }
}

fn told(placement: Placement) -> String {
    match placement {
        Placement::Bind { node } => format!("bind {node}"),
        Placement::Wait { message, .. } => message,
    }
}

/// Rules with this configuration in the KubeVirt object, and these namespaces' labels.
fn rules(configuration: Value, labels: &[(&str, &str)]) -> Rules {
    let kubevirt: KubeVirt = serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt",
        "metadata": { "name": "kubevirt", "namespace": "kubevirt" },
        "spec": { "configuration": configuration },
    }))
    .unwrap();
    let inputs = api::accelerator::ClusterInputs {
        kubevirt: Some(&kubevirt),
        ..Default::default()
    };
    let cluster = ClusterConfiguration::read(&inputs, "amd64");
    let labels: Vec<(&str, BTreeMap<String, String>)> = labels
        .iter()
        .map(|(namespace, value)| {
            let label = (
                "anyvirt.io/emulation-multi-tenancy".to_owned(),
                (*value).to_owned(),
            );
            (*namespace, BTreeMap::from([label]))
        })
        .collect();
    Rules::of(
        &cluster,
        labels.iter().map(|(name, labels)| (*name, labels)),
    )
}

/// Where `new` goes; `actual` says what runs the pods of these names.
fn place(
    new: &Arc<Pod>,
    nodes: &[Arc<Node>],
    pods: &[Arc<Pod>],
    rules: &Rules,
    actual: &[(&str, Accelerator)],
) -> String {
    let mut memory = Memory::default();
    memory.set_rules(rules.clone());
    memory.refresh(nodes, pods, &BTreeMap::new(), |pod| {
        let found = actual
            .iter()
            .find(|(name, _)| pod.metadata.name.as_deref() == Some(name));
        found.map(|(_, accelerator)| *accelerator)
    });
    told(memory.place(new))
}

#[test]
fn a_guest_that_may_be_emulated_takes_hardware_that_has_room_whatever_else_it_prefers() {
    let bound = |name: &str, cpu: &'static str| {
        guest(name, "ns", "None", |pod| {
            on("hardware")(pod);
            pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!(cpu);
        })
    };
    let nodes = [
        host("hardware", true, unchanged),
        host("roomy", false, |node| {
            node["metadata"]["labels"]["favourite"] = json!("yes");
            node["status"]["allocatable"]["cpu"] = json!("64");
        }),
    ];
    let prefers_the_other = |pod: &mut Value| {
        pod["spec"]["affinity"] = json!({ "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 100, "preference": {
                "matchExpressions": [{ "key": "favourite", "operator": "Exists" }] } }] } });
    };
    let rules = Rules::default();
    let go = |new: Arc<Pod>, pods: &[Arc<Pod>]| place(&new, &nodes, pods, &rules, &[]);
    let software = |change: &dyn Fn(&mut Value)| guest("p", "ns", "Software", |pod| change(pod));
    assert_eq!(go(software(&prefers_the_other), &[]), "bind hardware");
    let almost_full = [bound("b", "1900m")];
    assert_eq!(
        go(software(&prefers_the_other), &almost_full),
        "bind hardware"
    );
    let full = [bound("b", "1901m")];
    assert_eq!(go(software(&unchanged), &full), "bind roomy");
    // A guest that is emulated anyhow has no use for hardware; other pods have none either.
    assert_eq!(go(software(&forced("tcg")), &[]), "bind roomy");
    assert_eq!(go(pod("p", unchanged), &[]), "bind roomy");
    // One of another architecture is emulated on both.
    let foreign = |pod: &mut Value| {
        pod["spec"]["nodeSelector"] = json!({ "kubevirt.io/vm-arch-arm64": "true" });
    };
    let nodes = ["a", "b"].map(|name| {
        host(name, name == "a", |node| {
            node["metadata"]["labels"]["kubevirt.io/vm-arch-arm64"] = json!("true");
            node["status"]["allocatable"]["cpu"] = json!(if name == "a" { "2" } else { "64" });
        })
    });
    assert_eq!(
        place(&software(&foreign), &nodes, &[], &rules, &[]),
        "bind b"
    );
}

#[test]
fn among_nodes_that_emulate_the_one_with_fewest_emulated_processors_per_core_is_taken() {
    let nodes = [
        host("large", false, |node| {
            node["status"]["allocatable"]["cpu"] = json!("8")
        }),
        host("small", false, |node| {
            node["status"]["allocatable"]["cpu"] = json!("2")
        }),
    ];
    let new = guest("p", "ns", "Software", unchanged);
    let eight = guest("e", "ns", "Software", both(on("large"), with_processors(8)));
    let six = guest("e", "ns", "Software", both(on("large"), with_processors(6)));
    let one = guest("o", "ns", "Software", on("small"));
    let go = |pods: &[Arc<Pod>], actual: &[(&str, Accelerator)]| {
        place(&new, &nodes, pods, &Rules::default(), actual)
    };
    // 9/8 against 2/2; 7/8 against 2/2.
    assert_eq!(go(&[eight.clone(), one.clone()], &[]), "bind small");
    assert_eq!(go(&[six, one.clone()], &[]), "bind large");
    // What runs on hardware is no burden, whatever the node says of its hardware now.
    assert_eq!(
        go(&[eight.clone(), one.clone()], &[("e", Accelerator::Kvm)]),
        "bind large"
    );
    let hardware_only = guest("e", "ns", "None", both(on("large"), with_processors(8)));
    assert_eq!(go(&[hardware_only, one], &[]), "bind large");
    assert_eq!(go(&[eight], &[]), "bind small");
}

#[test]
fn beyond_the_bound_of_emulated_processors_a_node_takes_no_more_and_the_field_is_named() {
    let nodes = [host("n1", false, unchanged)];
    let three = rules(json!({ "emulatedProcessorsPerCore": 3 }), &[]);
    let taken = [guest(
        "t",
        "ns",
        "Software",
        both(on("n1"), with_processors(4)),
    )];
    let go = |processors: u32, actual: &[(&str, Accelerator)]| {
        let new = guest("p", "ns", "Software", with_processors(processors));
        place(&new, &nodes, &taken, &three, actual)
    };
    assert_eq!(go(2, &[]), "bind n1");
    assert_eq!(
        go(3, &[]),
        "0/1 nodes are available: 1 node(s) would have more than 3 emulated processors per core \
         (KubeVirt spec.configuration.emulatedProcessorsPerCore)."
    );
    assert_eq!(go(3, &[("t", Accelerator::Kvm)]), "bind n1");
    // No rounding: 1333 thousandths of a core are a little less than four processors need.
    let of_cores = |cores: &str| {
        let nodes = [host("n1", false, |node| {
            node["status"]["allocatable"]["cpu"] = json!(cores);
        })];
        let new = guest("p", "ns", "Software", with_processors(4));
        place(&new, &nodes, &[], &three, &[])
    };
    assert_eq!(of_cores("1334m"), "bind n1");
    assert!(of_cores("1333m").contains("more than 3"));
    // On hardware there is no such bound, nor is there for other pods.
    let on_hardware = [host("n1", true, unchanged)];
    let new = guest("p", "ns", "Software", with_processors(64));
    assert_eq!(place(&new, &on_hardware, &taken, &three, &[]), "bind n1");
    assert_eq!(
        place(&pod("p", unchanged), &nodes, &taken, &three, &[]),
        "bind n1"
    );
}

#[test]
fn emulated_guests_of_several_owners_share_a_node_unless_one_of_them_or_the_cluster_denies_it() {
    let nodes = [host("n1", false, unchanged)];
    let by_cluster = "KubeVirt kubevirt/kubevirt spec.configuration.emulationMultiTenancy";
    let by = |place: &str| {
        format!(
            "0/1 nodes are available: 1 node(s) had emulated guests of other namespaces (forbidden by \
             {place})."
        )
    };
    let label = |namespace: &str| {
        by(&format!(
            "Namespace {namespace} label anyvirt.io/emulation-multi-tenancy"
        ))
    };
    let fits = || "bind n1".to_owned();
    let table = [
        (json!({}), vec![], fits()),
        (json!({ "emulationMultiTenancy": "Allow" }), vec![], fits()),
        (json!({ "emulationMultiTenancy": "Warn" }), vec![], fits()),
        (
            json!({ "emulationMultiTenancy": "Deny" }),
            vec![],
            by(by_cluster),
        ),
        (
            json!({ "emulationMultiTenancy": "Deny" }),
            vec![("new", "Allow")],
            by(by_cluster),
        ),
        (
            json!({ "emulationMultiTenancy": "Allow" }),
            vec![("new", "Deny")],
            label("new"),
        ),
        // Whoever is there already keeps its word too.
        (json!({}), vec![("old", "Deny")], label("old")),
        (json!({}), vec![("old", "maybe")], label("old")),
        (json!({}), vec![("third", "Deny")], fits()),
    ];
    let new = guest("p", "new", "Software", unchanged);
    let old = [guest("o", "old", "Software", on("n1"))];
    for (configuration, labels, expected) in table {
        let rules = rules(configuration.clone(), &labels);
        assert_eq!(
            place(&new, &nodes, &old, &rules, &[]),
            expected,
            "{configuration} {labels:?}"
        );
    }
    let deny = rules(json!({ "emulationMultiTenancy": "Deny" }), &[]);
    let own = guest("p", "old", "Software", unchanged);
    assert_eq!(place(&own, &nodes, &old, &deny, &[]), "bind n1");
    // Guests on hardware keep nobody away, and are kept away by nobody.
    assert_eq!(
        place(&new, &nodes, &old, &deny, &[("o", Accelerator::Kvm)]),
        "bind n1"
    );
    let usable = [host("n1", true, unchanged)];
    assert_eq!(
        place(&new, &usable, &old, &deny, &[("o", Accelerator::Tcg)]),
        "bind n1"
    );
    let tcg = guest("p", "new", "Software", forced("tcg"));
    assert_eq!(place(&tcg, &usable, &old, &deny, &[]), "bind n1");
    assert_eq!(
        place(&tcg, &usable, &old, &deny, &[("o", Accelerator::Tcg)]),
        by(by_cluster)
    );
}

#[test]
fn what_is_kept_from_look_to_look_counts_guests_as_a_first_look_does() {
    let mut dice = 11_u64;
    let mut roll = |bound: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(dice >> 33).unwrap() % bound
    };
    let policies = ["None", "Software", "Software"];
    let tenancies = ["Allow", "Warn", "Deny"];
    let (mut nodes, mut pods) = (Vec::<Arc<Node>>::new(), Vec::<Arc<Pod>>::new());
    let mut memory = Memory::default();
    let mut outcomes = BTreeSet::new();
    for round in 0..600 {
        let name = format!("n{}", roll(4));
        nodes.retain(|node| node.metadata.name.as_ref() != Some(&name));
        if roll(5) > 0 {
            nodes.push(host(&name, roll(3) == 0, unchanged));
        }
        let name = format!("p{}", roll(14));
        pods.retain(|pod| pod.metadata.name.as_ref() != Some(&name));
        let (namespace, policy) = (["a", "b"][roll(2)], policies[roll(3)]);
        let (bound, at, processors) = (roll(3) > 0, format!("n{}", roll(5)), roll(4).to_string());
        pods.push(guest(&name, namespace, policy, |pod| {
            pod["metadata"]["annotations"]["anyvirt.io/processors"] = json!(processors);
            if bound {
                pod["spec"]["nodeName"] = json!(at);
            }
        }));
        let known: BTreeMap<String, Accelerator> = (0..14)
            .filter_map(|number| {
                let accelerator = [None, Some(Accelerator::Kvm), Some(Accelerator::Tcg)][roll(3)];
                Some((format!("p{number}"), accelerator?))
            })
            .collect();
        let actual = |pod: &Pod| known.get(pod.metadata.name.as_ref()?).copied();
        let configuration = json!({ "emulatedProcessorsPerCore": 1 + roll(3) });
        let rules = rules(configuration, &[("a", tenancies[roll(3)])]);
        let assumed = BTreeMap::new();
        memory.set_rules(rules.clone());
        memory.refresh(&nodes, &pods, &assumed, actual);
        let mut fresh = Memory::default();
        fresh.set_rules(rules);
        fresh.refresh(&nodes, &pods, &assumed, actual);
        for pod in waiting(&pods, &assumed) {
            let (kept, first) = (memory.place(&pod), fresh.place(&pod));
            assert_eq!(kept, first, "round {round}, {:?}", pod.metadata.name);
            if let Placement::Bind { node } = &kept {
                memory.take(node, &pod);
                fresh.take(node, &pod);
            }
            let told = told(kept);
            outcomes
                .insert(["bind", "processors per core", "forbidden"].map(|it| told.contains(it)));
        }
        // What was taken here and is bound nowhere is given back.
        memory.refresh(&nodes, &pods, &assumed, actual);
    }
    for which in 0..3 {
        assert!(outcomes.iter().any(|it| it[which]), "{outcomes:?}");
    }
}
