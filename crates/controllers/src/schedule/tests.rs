use super::decide::{Cluster, Placement, waiting};
use super::guest::Rules;
use super::memory::Memory;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) fn node(name: &str, change: impl FnOnce(&mut Value)) -> Arc<Node> {
    let mut node = json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/arch": "amd64", "speed": "7" } },
        "spec": {},
        "status": {
            "allocatable": {
                "cpu": "2", "memory": "4Gi", "pods": "3",
                "devices.kubevirt.io/kvm": "0", "devices.kubevirt.io/vhost-net": "0",
            },
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    });
    change(&mut node);
    Arc::new(serde_json::from_value(node).unwrap())
}

pub(super) fn pod(name: &str, change: impl FnOnce(&mut Value)) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": { "name": name, "namespace": "ns", "uid": name },
        "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": "100m" } } }] },
    });
    change(&mut pod);
    Arc::new(serde_json::from_value(pod).unwrap())
}

/// A scheduler that looks for the first time.
fn observe(nodes: &[Arc<Node>], pods: &[Arc<Pod>], assumed: &BTreeMap<String, String>) -> Memory {
    let mut memory = Memory::default();
    memory.refresh(nodes, pods, assumed, |_| None);
    memory
}

fn place(pod: &Arc<Pod>, nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> String {
    match observe(nodes, pods, &BTreeMap::new()).place(pod) {
        Placement::Bind { node } => format!("bind {node}"),
        Placement::Wait { message, .. } => message,
    }
}

/// One pod, one node, what becomes of it.
fn check(in_pod: impl FnOnce(&mut Value), in_node: impl FnOnce(&mut Value), expected: &str) {
    assert_eq!(
        place(&pod("p", in_pod), &[node("n1", in_node)], &[]),
        expected
    );
}

#[test]
fn a_pod_that_fits_is_bound() {
    check(|_| {}, |_| {}, "bind n1");
}

#[test]
fn without_kvm_the_sentence_of_the_article_is_told() {
    check(
        |pod| {
            pod["spec"]["containers"][0]["resources"]["limits"] = json!({
                "devices.kubevirt.io/vhost-net": "1", "devices.kubevirt.io/kvm": "1",
            });
        },
        |_| {},
        "0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm, \
         1 Insufficient devices.kubevirt.io/vhost-net.",
    );
}

#[test]
fn without_nodes_nothing_can_be_placed() {
    assert_eq!(
        place(&pod("p", |_| {}), &[], &[]),
        "no nodes available to schedule pods"
    );
}

#[test]
fn reasons_are_counted_over_nodes_and_sorted_as_text() {
    let hungry = pod("p", |pod| {
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("3");
        pod["spec"]["nodeSelector"] = json!({ "speed": "7" });
    });
    let mut nodes: Vec<_> = ["a", "b"].map(|name| node(name, |_| {})).into();
    nodes.push(node("c", |node| {
        node["metadata"]["labels"]["speed"] = json!("6")
    }));
    nodes.push(node("d", |node| {
        node["spec"]["unschedulable"] = json!(true)
    }));
    assert_eq!(
        place(&hungry, &nodes, &[]),
        "0/4 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, \
         1 node(s) were unschedulable, 2 Insufficient cpu."
    );
}

#[test]
fn a_node_that_is_not_ready_counts_as_tainted() {
    check(
        |_| {},
        |node| node["status"]["conditions"][0]["status"] = json!("Unknown"),
        "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.",
    );
    check(
        |pod| pod["spec"]["tolerations"] = json!([{ "operator": "Exists" }]),
        |node| node["status"]["conditions"] = json!([]),
        "bind n1",
    );
}

#[test]
fn a_taint_keeps_away_whoever_does_not_tolerate_it() {
    let taint = |node: &mut Value| {
        node["spec"]["taints"] = json!([
            { "key": "soft", "effect": "PreferNoSchedule" },
            { "key": "gpu", "value": "yes", "effect": "NoSchedule" },
        ]);
    };
    let refused = "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}.";
    let tolerating =
        |toleration: Value| move |pod: &mut Value| pod["spec"]["tolerations"] = json!([toleration]);
    check(|_| {}, taint, refused);
    check(
        tolerating(json!({ "key": "gpu", "value": "yes" })),
        taint,
        "bind n1",
    );
    check(
        tolerating(json!({ "key": "gpu", "operator": "Exists" })),
        taint,
        "bind n1",
    );
    check(
        tolerating(json!({ "key": "gpu", "value": "no" })),
        taint,
        refused,
    );
    check(
        tolerating(json!({ "key": "gpu", "operator": "Exists", "effect": "NoExecute" })),
        taint,
        refused,
    );
}

#[test]
fn every_operator_of_a_required_node_affinity_is_obeyed() {
    let cases = [
        ("In", json!(["amd64", "arm64"]), "kubernetes.io/arch", true),
        ("In", json!(["arm64"]), "kubernetes.io/arch", false),
        ("NotIn", json!(["arm64"]), "kubernetes.io/arch", true),
        ("NotIn", json!(["x"]), "absent", true),
        ("Exists", json!(null), "speed", true),
        ("Exists", json!(null), "absent", false),
        ("DoesNotExist", json!(null), "absent", true),
        ("DoesNotExist", json!(null), "speed", false),
        ("Gt", json!(["6"]), "speed", true),
        ("Gt", json!(["7"]), "speed", false),
        ("Lt", json!(["8"]), "speed", true),
        ("Lt", json!(["many"]), "speed", false),
        ("Like", json!(["7"]), "speed", false),
    ];
    for (operator, values, key, fits) in cases {
        let expected = if fits {
            "bind n1"
        } else {
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
        };
        let rule = json!({ "key": key, "operator": operator, "values": values });
        check(
            |pod| pod["spec"]["affinity"] = required(&rule),
            |_| {},
            expected,
        );
    }
}

#[test]
fn one_of_several_terms_must_match_whole_and_an_empty_one_matches_nothing() {
    let is = |key: &str, value: &str| json!({ "key": key, "operator": "In", "values": [value] });
    let table = [
        (
            json!([{ "matchExpressions": [is("speed", "7"), is("kubernetes.io/arch", "amd64")] }]),
            true,
        ),
        (
            json!([{ "matchExpressions": [is("speed", "7"), is("kubernetes.io/arch", "arm64")] }]),
            false,
        ),
        (
            json!([{ "matchExpressions": [is("speed", "8")] }, { "matchExpressions": [is("speed", "7")] }]),
            true,
        ),
        (
            json!([{}, { "matchExpressions": [is("speed", "8")] }]),
            false,
        ),
        (
            json!([{ "matchFields": [is("metadata.name", "n1")] }]),
            true,
        ),
        (
            json!([{ "matchFields": [is("metadata.name", "n2")] }]),
            false,
        ),
        (
            json!([{ "matchFields": [{ "key": "metadata.name", "operator": "NotIn", "values": ["n1"] }] }]),
            false,
        ),
        (
            json!([{ "matchFields": [is("metadata.name", "n1")], "matchExpressions": [is("speed", "8")] }]),
            false,
        ),
        (json!([]), false),
    ];
    for (terms, fits) in table {
        let expected = if fits {
            "bind n1"
        } else {
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
        };
        let affinity = json!({ "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } });
        check(|pod| pod["spec"]["affinity"] = affinity, |_| {}, expected);
    }
}

#[test]
fn the_weights_of_all_preferences_that_a_node_meets_are_added() {
    let with = |name: &str, labels: &'static [&str]| {
        node(name, |node| {
            for label in labels {
                node["metadata"]["labels"][label] = json!("");
            }
        })
    };
    let nodes = [with("a", &["x"]), with("b", &["y", "z"]), with("c", &["y"])];
    let prefer = |weights: [(i64, &'static str); 3]| {
        let preferred = weights.map(|(weight, key)| {
            json!({ "weight": weight, "preference": {
                "matchExpressions": [{ "key": key, "operator": "Exists" }] } })
        });
        pod("p", |pod| {
            pod["spec"]["affinity"] = json!({ "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": preferred } });
        })
    };
    let best = |weights| place(&prefer(weights), &nodes, &[]);
    assert_eq!(best([(50, "x"), (30, "y"), (30, "z")]), "bind b");
    assert_eq!(best([(61, "x"), (30, "y"), (30, "z")]), "bind a");
    assert_eq!(best([(1, "x"), (2, "y"), (1, "absent")]), "bind b");
}

fn required(rule: &Value) -> Value {
    json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{ "matchExpressions": [rule] }],
    } } })
}

#[test]
fn pods_that_run_take_their_room_and_pods_that_ended_give_it_back() {
    let taking = |phase: &'static str| {
        pod("other", move |pod| {
            pod["spec"]["nodeName"] = json!("n1");
            pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("1950m");
            pod["status"] = json!({ "phase": phase });
        })
    };
    let nodes = [node("n1", |_| {})];
    let new = pod("p", |_| {});
    let full = "0/1 nodes are available: 1 Insufficient cpu.";
    assert_eq!(place(&new, &nodes, &[taking("Running")]), full);
    assert_eq!(place(&new, &nodes, &[taking("Succeeded")]), "bind n1");
}

#[test]
fn a_binding_not_yet_seen_takes_its_room() {
    let nodes = [node("n1", |node| {
        node["status"]["allocatable"]["pods"] = json!("1")
    })];
    let pods = [pod("first", |_| {}), pod("second", |_| {})];
    let assumed = BTreeMap::from([("first".to_owned(), "n1".to_owned())]);
    let waiting = waiting(&pods, &assumed);
    assert_eq!(waiting.len(), 1);
    let Placement::Wait { message, .. } = observe(&nodes, &pods, &assumed).place(&waiting[0])
    else {
        panic!("there is no room for a second pod");
    };
    assert_eq!(message, "0/1 nodes are available: 1 Too many pods.");
}

#[test]
fn among_fitting_nodes_preference_wins_and_then_room() {
    let nodes = [
        node("a", |node| {
            node["status"]["allocatable"]["cpu"] = json!("1")
        }),
        node("b", |node| {
            node["status"]["allocatable"]["cpu"] = json!("8")
        }),
        node("c", |node| {
            node["metadata"]["labels"]["disk"] = json!("fast")
        }),
    ];
    assert_eq!(place(&pod("p", |_| {}), &nodes, &[]), "bind b");
    let choosy = pod("p", |pod| {
        pod["spec"]["affinity"] = json!({ "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 10, "preference": {
                "matchExpressions": [{ "key": "disk", "operator": "Exists" }] } }],
        } });
    });
    assert_eq!(place(&choosy, &nodes, &[]), "bind c");
}

#[test]
fn a_limit_without_a_request_counts_as_a_request() {
    check(
        |pod| pod["spec"]["containers"][0]["resources"] = json!({ "limits": { "memory": "5Gi" } }),
        |_| {},
        "0/1 nodes are available: 1 Insufficient memory.",
    );
}

#[test]
fn an_init_container_counts_when_it_is_the_hungriest() {
    let with = |cpu: &'static str, policy: Value| {
        move |pod: &mut Value| {
            pod["spec"]["initContainers"] = json!([{ "name": "i", "restartPolicy": policy,
                "resources": { "requests": { "cpu": cpu } } }]);
        }
    };
    let full = "0/1 nodes are available: 1 Insufficient cpu.";
    check(with("2", Value::Null), |_| {}, "bind n1");
    check(with("2001m", Value::Null), |_| {}, full);
    // A sidecar runs beside the containers, so both count.
    check(with("1950m", json!("Always")), |_| {}, full);
}

#[test]
fn rules_that_are_not_served_are_refused_by_name() {
    check(
        |pod| {
            pod["spec"]["affinity"] = json!({ "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{ "topologyKey": "h" }] } });
        },
        |_| {},
        "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution is not served \
         by this scheduler: remove it, or express it by a nodeSelector or a required node affinity",
    );
}

#[test]
fn an_amount_that_is_none_is_named() {
    check(
        |pod| pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("lots"),
        |_| {},
        "resource cpu: \"lots\" is not a quantity: write a number like 2, 500m, 1.5Gi",
    );
}

#[test]
fn only_living_pods_of_this_scheduler_without_a_node_wait_and_the_urgent_come_first() {
    let pods = [
        pod("bound", |pod| pod["spec"]["nodeName"] = json!("n1")),
        pod("foreign", |pod| {
            pod["spec"]["schedulerName"] = json!("mine")
        }),
        pod("going", |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")
        }),
        pod("over", |pod| pod["status"] = json!({ "phase": "Failed" })),
        pod("young", |pod| {
            pod["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z")
        }),
        pod("old", |pod| {
            pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z")
        }),
        pod("urgent", |pod| pod["spec"]["priority"] = json!(9)),
    ];
    let names: Vec<_> = waiting(&pods, &BTreeMap::new())
        .iter()
        .map(|pod| pod.metadata.name.clone().unwrap())
        .collect();
    assert_eq!(names, ["urgent", "old", "young"]);
}

#[test]
fn a_gated_pod_is_told_so() {
    let gated = pod("p", |pod| {
        pod["spec"]["schedulingGates"] = json!([{ "name": "g" }])
    });
    let nodes = [node("n1", |_| {})];
    let placement = observe(&nodes, &[], &BTreeMap::new()).place(&gated);
    assert!(matches!(
        placement,
        Placement::Wait {
            reason: "SchedulingGated",
            ..
        }
    ));
}

#[test]
fn a_pod_that_fitted_nowhere_may_fit_only_after_something_changed_for_the_better() {
    let of_cores = |cores: &str| {
        node("n1", |node| {
            node["status"]["allocatable"]["cpu"] = json!(cores);
        })
    };
    let mut cluster = Cluster::default();
    let small = cluster.shape(&pod("small", |_| {}));
    let large = cluster.shape(&pod("large", |pod| {
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("3");
    }));
    assert!(cluster.may_fit(large), "nobody has looked");
    let mut fits_after = |change: &mut dyn FnMut(&mut Cluster)| {
        change(&mut cluster);
        (cluster.may_fit(large), cluster.choose(large).is_some())
    };
    let two = of_cores("2");
    assert!(!fits_after(&mut |it| it.set_node(&two)).1);
    let unhelped = (false, false);
    assert_eq!(fits_after(&mut |it| it.set_node(&two)), unhelped);
    assert_eq!(fits_after(&mut |it| it.take("s", small, "n1")), unhelped);
    assert_eq!(fits_after(&mut |it| it.release("s")), (true, false));
    assert_eq!(fits_after(&mut |_| {}), unhelped);
    let rules = Rules {
        emulated_processors_per_core: 1,
        ..Rules::default()
    };
    let set = &mut |it: &mut Cluster| it.set_rules(rules.clone());
    assert_eq!(fits_after(set), (true, false));
    assert_eq!(fits_after(&mut |it| it.remove_node("n1")), unhelped);
    let four = of_cores("4");
    assert_eq!(fits_after(&mut |it| it.set_node(&four)), (true, true));
    assert_eq!(fits_after(&mut |_| {}), (true, true));
}

#[test]
fn what_is_remembered_places_as_a_first_look_does() {
    let mut dice = 7_u64;
    let mut roll = move |bound: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(dice >> 33).unwrap() % bound
    };
    let cpu = ["100m", "700m", "1500m"];
    let (mut nodes, mut pods) = (Vec::new(), Vec::<Arc<Pod>>::new());
    let mut assumed = BTreeMap::new();
    let mut memory = Memory::default();
    let mut outcomes = std::collections::BTreeSet::new();
    for round in 0..400 {
        let name = format!("n{}", roll(5));
        nodes.retain(|node: &Arc<Node>| node.metadata.name.as_ref() != Some(&name));
        if roll(4) > 0 {
            let (speed, all, ready) = (roll(3).to_string(), roll(4).to_string(), roll(5) > 0);
            nodes.push(node(&name, |node| {
                node["metadata"]["labels"]["speed"] = json!(speed);
                node["status"]["allocatable"]["cpu"] = json!(all);
                node["status"]["conditions"][0]["status"] =
                    json!(if ready { "True" } else { "False" });
            }));
        }
        let name = format!("p{}", roll(12));
        pods.retain(|pod| pod.metadata.name.as_ref() != Some(&name));
        assumed.remove(&name);
        let (cpu, at) = (cpu[roll(3)], format!("n{}", roll(6)));
        let (bound, over, picky) = (roll(3) > 0, roll(5) == 0, roll(2) == 0);
        if !bound && roll(2) == 0 {
            assumed.insert(name.clone(), at.clone());
        }
        pods.push(pod(&name, |pod| {
            pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!(cpu);
            if bound {
                pod["spec"]["nodeName"] = json!(at);
            }
            if over {
                pod["status"] = json!({ "phase": "Failed" });
            }
            if picky {
                let rule = json!({ "key": "speed", "operator": "In", "values": ["1", "2"] });
                pod["spec"]["affinity"] = required(&rule);
            }
        }));
        memory.refresh(&nodes, &pods, &assumed, |_| None);
        let mut fresh = observe(&nodes, &pods, &assumed);
        for pod in waiting(&pods, &assumed) {
            let (kept, first) = (memory.place(&pod), fresh.place(&pod));
            assert_eq!(kept, first, "round {round}, {:?}", pod.metadata.name);
            if let Placement::Bind { node } = &kept {
                memory.take(node, &pod);
                fresh.take(node, &pod);
            }
            outcomes.insert(matches!(kept, Placement::Bind { .. }));
        }
    }
    assert_eq!(outcomes.len(), 2, "both outcomes are met");
}

#[tokio::test]
async fn a_pod_whose_binding_meets_a_conflict_is_bound_at_the_next_look() {
    use super::{Scheduler, place_all};
    use crate::event::Recorder;
    use kube::runtime::{reflector::store::Writer, watcher::Event};
    use std::sync::atomic::{AtomicU32, Ordering};

    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let service = tower::service_fn(move |_: http::Request<kube::client::Body>| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let (code, status) = match first {
            true => (
                409,
                json!({ "status": "Failure", "reason": "Conflict", "code": 409 }),
            ),
            false => (201, json!({ "kind": "Status", "status": "Success" })),
        };
        let body = kube::client::Body::from(status.to_string().into_bytes());
        let answer = http::Response::builder().status(code).body(body);
        std::future::ready(answer)
    });
    let client = kube::Client::new(service, "ns");
    let settings = crate::Settings::default();
    let (recorder, _record) = Recorder::new(client.clone(), "test", settings.clock.clone());
    let (mut pods, mut nodes) = (Writer::<Pod>::default(), Writer::<Node>::default());
    let waits = pod("p", |pod| {
        pod["spec"]["schedulerName"] = json!("default-scheduler")
    });
    pods.apply_watcher_event(&Event::Apply((*waits).clone()));
    nodes.apply_watcher_event(&Event::Apply((*node("n1", |_| {})).clone()));
    let scheduler = Arc::new(Scheduler {
        client,
        settings,
        recorder,
        configuration: crate::kubevirt::Publisher::default().subscribe(),
        pods: pods.as_reader(),
        nodes: nodes.as_reader(),
        namespaces: Writer::default().as_reader(),
        vmis: Writer::default().as_reader(),
        assumed: std::sync::Mutex::default(),
        memory: std::sync::Mutex::default(),
    });
    assert!(place_all(Arc::clone(&scheduler)).await.is_err());
    assert!(place_all(scheduler).await.is_ok());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}
