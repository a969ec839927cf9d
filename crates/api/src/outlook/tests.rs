//! What follows from an object that is applied, line by line.

use serde_json::{Value, json};

use super::*;
use crate::accelerator::Accelerator;

fn node(name: &str, usable: bool) -> Node {
    let (status, reason, message) = if usable {
        ("True", "Usable", "a guest ran")
    } else {
        ("False", "DeviceMissing", "/dev/kvm does not exist")
    };
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/arch": "amd64", "kubevirt.io/vm-arch-amd64": "true"}},
        "status": {"conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "HardwareVirtualization", "status": status, "reason": reason, "message": message},
        ]},
    }))
    .unwrap()
}

fn machine(name: &str, strategy: &str) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": "demo"},
        "spec": {"runStrategy": strategy, "template": {"spec": {"domain": {"devices": {}}}}},
    })
}

/// One node without KVM; `demo/fedora` waits, `demo/web` runs emulated, `demo/off` is off.
fn cluster() -> Cluster {
    let mut cluster = Cluster {
        nodes: vec![node("one", false)],
        ..Cluster::default()
    };
    for (name, strategy, phase) in [
        ("fedora", "Always", Some("Scheduling")),
        ("web", "Always", Some("Running")),
        ("off", "Halted", None),
    ] {
        let vm = machine(name, strategy);
        cluster.machines.push(serde_json::from_value(vm).unwrap());
        let instance = json!({
            "metadata": {"name": name, "namespace": "demo"},
            "spec": {"domain": {"devices": {}}},
            "status": {"phase": phase},
        });
        if phase.is_some() {
            cluster
                .instances
                .push(serde_json::from_value(instance).unwrap());
        }
    }
    cluster
}

fn told(object: Value) -> Consequences {
    let applied = Applied::read(object)
        .unwrap()
        .expect("a kind that bears on machines");
    consequences(&cluster(), &applied)
}

fn switch(data: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kubevirt-config", "namespace": "openshift-cnv"}, "data": data,
    })
}

#[test]
fn the_articles_edit_starts_what_waits_and_leaves_what_runs() {
    let told = told(switch(json!({"debug.useEmulation": "true"})));
    assert_eq!(told.waiting, ["demo/fedora: starts on TCG, node one"]);
    assert_eq!(told.running[0], "1 VM goes on unchanged until it restarts");
    assert!(
        told.new
            .starts_with("the policy is Software (ConfigMap openshift-cnv/kubevirt-config")
            && told.new.contains("node one: waits -> on TCG")
            && told.new.ends_with("demo/off would start on TCG"),
        "{}",
        told.new
    );
    assert_eq!(told.problems, [BOUNDARY]);
}

#[test]
fn what_changes_nothing_has_no_consequences_and_a_slip_is_a_problem() {
    assert_eq!(
        told(switch(json!({"debug.useEmulation": "false"}))).waiting,
        [""; 0]
    );
    let slip = told(switch(json!({"debug.useEmulaton": "true"})));
    assert_eq!((slip.waiting.len(), slip.new.as_str()), (0, ""));
    assert!(
        slip.problems
            .iter()
            .any(|it| it.contains("debug.useEmulation")),
        "{:?}",
        slip.problems
    );
    let mut other = switch(json!({"debug.useEmulation": "true"}));
    other["metadata"]["namespace"] = json!("default");
    assert_eq!(told(other), Consequences::default());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    assert!(Applied::read(secret).unwrap().is_none());
}

#[test]
fn an_object_that_cannot_be_read_names_the_field() {
    let bare = switch(json!({"debug.useEmulation": true}));
    let error = Applied::read(bare).unwrap_err();
    assert!(error.contains("boolean"), "{error}");
}

#[test]
fn a_machines_change_counts_from_its_next_start_unless_it_still_waits() {
    let mut web = machine("web", "Always");
    web["spec"]["template"]["spec"]["emulationPolicy"] = json!("Software");
    let told_of = told(web.clone());
    assert_eq!(
        told_of.running,
        [
            "demo/web goes on unchanged; what is changed in its template counts from its next start, when it runs on \
          TCG, node one"
        ]
    );
    assert_eq!((told_of.waiting.len(), told_of.new.as_str()), (0, ""));
    assert_eq!(told(machine("web", "Always")), Consequences::default());
    assert_eq!(
        told(machine("web", "Halted")).running,
        ["demo/web is shut down"]
    );
    web["metadata"]["name"] = json!("fedora");
    assert_eq!(
        told(web).waiting,
        ["demo/fedora waits for a node, and follows at once: it runs on TCG, node one"]
    );
}

#[test]
fn a_new_machine_is_told_what_it_would_run_on() {
    let mut new = machine("new", "Always");
    assert!(
        told(new.clone())
            .new
            .starts_with("demo/new: it starts at once, and waits: hardware")
    );
    new["spec"]["template"]["spec"]["emulationPolicy"] = json!("Software");
    new["spec"]["runStrategy"] = json!("Halted");
    assert_eq!(
        told(new).new,
        "demo/new: when it is started, it runs on TCG, node one"
    );
}

#[test]
fn a_machine_that_waits_follows_in_what_it_says_of_emulation_and_in_nothing_else() {
    let told_of = |change: fn(&mut Value)| {
        let mut fedora = machine("fedora", "Always");
        change(&mut fedora["spec"]["template"]["spec"]);
        let mut told = told(fedora);
        assert_eq!(told.waiting.len(), 1, "{told:?}");
        told.waiting.remove(0)
    };
    let later = "what else is changed in its template counts from its next start, when it waits: no node that it may go to";
    let selects = json!({"zone": "far"});
    // What the template selects is not followed, so it starts here.
    assert_eq!(
        told_of(|spec| {
            spec["emulationPolicy"] = json!("Software");
            spec["nodeSelector"] = json!({"zone": "far"});
        }),
        format!(
            "demo/fedora waits for a node, and follows at once: it runs on TCG, node one; {later}"
        )
    );
    assert!(
        told_of(|spec| spec["nodeSelector"] = json!({"zone": "far"}))
            .starts_with("demo/fedora waits; but for its emulation policy,")
    );
    // Its node is what is missing: a template without a selector does not help it before it restarts.
    let mut cluster = cluster();
    cluster.instances[0].spec.node_selector = serde_json::from_value(selects).unwrap();
    let mut fedora = machine("fedora", "Always");
    fedora["spec"]["template"]["spec"]["emulationPolicy"] = json!("Software");
    let told = consequences(&cluster, &Applied::read(fedora).unwrap().unwrap());
    assert!(
        told.waiting[0].starts_with("demo/fedora waits; but for its emulation policy,"),
        "{:?}",
        told.waiting
    );
}

#[test]
fn an_instance_that_waits_asks_for_what_its_machine_insists_on() {
    let waiting = |of_machine: Option<&str>, own: Option<&str>, copied: Option<&str>| {
        let (mut vm, mut instance) = (cluster().machines.remove(0), cluster().instances.remove(0));
        let annotations = |pairs: &[(&str, Option<&str>)]| {
            let set = pairs
                .iter()
                .filter_map(|(key, value)| Some(((*key).to_owned(), (*value)?.to_owned())));
            Some(set.collect::<BTreeMap<_, _>>())
        };
        vm.metadata.annotations = annotations(&[("anyvirt.io/accelerator", of_machine)]);
        instance.metadata.annotations = annotations(&[
            ("anyvirt.io/accelerator", own),
            ("anyvirt.io/machine-accelerator", copied),
        ]);
        let machine = Machine {
            vm: Some(&vm),
            instance: Some(&instance),
        };
        machine.request(false).forced
    };
    let (tcg, kvm) = (Some(Accelerator::Tcg), Some(Accelerator::Kvm));
    for (of_machine, own, copied, expected) in [
        (None, None, None, None),
        (Some("tcg"), None, None, tcg),
        (Some("tcg"), Some("kvm"), Some("kvm"), tcg),
        (None, Some("kvm"), Some("kvm"), None),
        // A person asked the instance itself.
        (None, Some("kvm"), None, kvm),
        (Some("tcg"), Some("tcg"), Some("tcg"), tcg),
    ] {
        let found = waiting(of_machine, own, copied);
        assert_eq!(found, expected, "{of_machine:?} {own:?} {copied:?}");
    }
}

#[test]
fn of_a_machine_that_may_not_be_read_nothing_is_told() {
    for hidden in [MACHINES, INSTANCES] {
        let mut cluster = cluster();
        cluster.hidden = [hidden].into();
        if hidden == MACHINES {
            cluster.machines.clear();
        } else {
            cluster.instances.clear();
        }
        let mut web = machine("web", "Always");
        web["spec"]["template"]["spec"]["emulationPolicy"] = json!("Software");
        let told = consequences(&cluster, &Applied::read(web).unwrap().unwrap());
        let unseen = format!("you may not read {hidden}, so what is told here leaves that out");
        let expected = Consequences {
            problems: vec![unseen],
            ..Consequences::default()
        };
        assert_eq!(told, expected, "{hidden}");
    }
}

#[test]
fn a_machine_whose_instance_may_not_be_read_is_not_called_off() {
    let mut cluster = cluster();
    cluster.hidden = [INSTANCES].into();
    cluster.instances.clear();
    let on = Applied::read(switch(json!({"debug.useEmulation": "true"})));
    let told = consequences(&cluster, &on.unwrap().unwrap());
    assert!(!told.new.contains("would start"), "{}", told.new);
}

#[test]
fn nodes_that_may_not_be_read_are_unknown_and_not_none() {
    let mut cluster = cluster();
    cluster.hidden = [NODES].into();
    cluster.nodes.clear();
    let told = |object: Value| consequences(&cluster, &Applied::read(object).unwrap().unwrap());
    let unseen = "you may not read nodes, so what is told here leaves that out";
    let on = told(switch(json!({"debug.useEmulation": "true"})));
    let unknown = "unknown: you may not read nodes";
    assert_eq!(on.waiting, [format!("demo/fedora: {unknown}")]);
    assert_eq!(on.running, ["1 VM goes on unchanged until it restarts"]);
    assert!(on.new.ends_with(&format!("; {unknown}")), "{}", on.new);
    assert_eq!(on.problems, [unseen]);
    let new = told(machine("new", "Always"));
    let fares = format!("runs or waits, which is {unknown}");
    assert_eq!(new.new, format!("demo/new: it starts at once, and {fares}"));
    let capped = told(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one"}}));
    assert_eq!(capped.problems, [unseen]);
    assert_eq!(capped.new, "");
}

#[test]
fn of_several_objects_of_a_kind_the_one_with_the_usual_name_counts() {
    let kubevirt = |name: &str| {
        json!({"apiVersion": "kubevirt.io/v1", "kind": "KubeVirt",
            "metadata": {"name": name, "namespace": "kubevirt"},
            "spec": {"configuration": {"emulationPolicy": "Software"}}})
    };
    let converged = |name: &str| {
        let patch = r#"[{"op": "add",
            "path": "/spec/configuration/developerConfiguration/useEmulation", "value": true}]"#;
        json!({"apiVersion": "hco.kubevirt.io/v1beta1", "kind": "HyperConverged",
            "metadata": {"name": name, "namespace": "openshift-cnv",
                "annotations": {"kubevirt.kubevirt.io/jsonpatch": patch}}, "spec": {}})
    };
    let usual = ("kubevirt", "kubevirt-hyperconverged");
    for (present, applied, counts) in [
        (None, "other", true),
        (Some("usual"), "other", false),
        (Some("usual"), "usual", true),
        (Some("other"), "usual", true),
        (Some("b-other"), "a-other", true),
        (Some("a-other"), "b-other", false),
    ] {
        let named = |name: &str, usual: &str| name.replace("usual", usual);
        let mut with_kubevirt = cluster();
        with_kubevirt.kubevirt = present.map(|name| {
            let mut object = kubevirt(&named(name, usual.0));
            object["spec"] = json!({});
            serde_json::from_value(object).unwrap()
        });
        let mut with_converged = cluster();
        with_converged.hyper_converged = present.map(|name| {
            let mut object = converged(&named(name, usual.1));
            object["metadata"]["annotations"] = json!({});
            serde_json::from_value(object).unwrap()
        });
        for (cluster, object) in [
            (with_kubevirt, kubevirt(&named(applied, usual.0))),
            (with_converged, converged(&named(applied, usual.1))),
        ] {
            let kind = object["kind"].clone();
            let told = consequences(&cluster, &Applied::read(object).unwrap().unwrap());
            assert_eq!(
                told.new.starts_with("the policy is Software"),
                counts,
                "{kind} {applied} beside {present:?}: {told:?}"
            );
        }
    }
}

#[test]
fn a_namespaces_cap_is_told_of_it() {
    let mut cluster = cluster();
    let on = Applied::read(switch(json!({"debug.useEmulation": "true"})))
        .unwrap()
        .unwrap();
    let Applied::ConfigMap(map) = on else {
        panic!("no ConfigMap");
    };
    cluster.config_maps.push(*map);
    let cap = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "demo", "labels": {"anyvirt.io/emulation-policy": "None"}}});
    let told = consequences(&cluster, &Applied::read(cap).unwrap().unwrap());
    assert!(
        told.waiting[0].starts_with("demo/fedora: goes on waiting"),
        "{:?}",
        told.waiting
    );
    assert!(
        told.new
            .starts_with("in namespace demo, the policy is None"),
        "{}",
        told.new
    );
    assert_eq!(told.problems, [""; 0]);
}
