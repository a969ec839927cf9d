use super::{View, text};
use api::configuration::ClusterConfiguration;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A series as a scraper reads it.
type Read = (String, BTreeMap<String, String>);

/// Reads the text format, strictly: as `promtool check metrics` does, a metric is described before its
/// first value, once, and no series is there twice.
fn parse(text: &str) -> BTreeMap<Read, f64> {
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.pop(), Some("# EOF"));
    let (mut helped, mut typed) = (BTreeSet::new(), BTreeSet::new());
    let mut found = BTreeMap::new();
    for line in lines {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help");
            assert!(!help.is_empty(), "{line}");
            assert!(helped.insert(name), "described twice: {line}");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(kind, "gauge");
            assert!(typed.insert(name), "typed twice: {line}");
            continue;
        }
        let (name, labels, value) = series(line);
        assert!(
            helped.contains(name.as_str()) && typed.contains(name.as_str()),
            "{line}"
        );
        let value = value.parse().expect("a number");
        assert!(
            found.insert((name, labels), value).is_none(),
            "twice: {line}"
        );
    }
    found
}

fn series(line: &str) -> (String, BTreeMap<String, String>, String) {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    let end = line.find(|letter| !is_name(letter)).expect("a value");
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            assert!(label.chars().all(is_name), "{line}");
            let mut value = String::new();
            let mut letters = after.char_indices();
            let end = loop {
                match letters.next().expect("a closing quotation mark") {
                    (at, '"') => break at,
                    (_, '\\') => match letters.next().expect("an escaped letter").1 {
                        'n' => value.push('\n'),
                        letter @ ('"' | '\\') => value.push(letter),
                        other => panic!("\\{other} in {line}"),
                    },
                    (_, letter) => value.push(letter),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("the labels' end");
    }
    let value = rest.strip_prefix(' ').expect("a blank");
    (name.to_owned(), labels, value.to_owned())
}

fn arc<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn instance(name: &str, status: Value) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": name, "namespace": "demo",
            "annotations": {"anyvirt.io/emulation-policy": "Software", "vm.kubevirt.io/os": "a \"quoted\"\nname\\"}},
        "spec": {"domain": {"devices": {}, "memory": {"guest": "1Gi"}}},
        "status": status,
    })
}

fn view() -> View {
    let node = |name: &str, status: &str, class: &str, kvm: &str| {
        json!({
            "metadata": {"name": name, "annotations": {"anyvirt.io/tcg-slowdown": "7.8"}},
            "status": {"allocatable": {"cpu": "2", "devices.kubevirt.io/kvm": kvm},
                "conditions": [{"type": "HardwareVirtualization", "status": status, "reason": class}]},
        })
    };
    let machine = |name: &str, status: &str| {
        json!({
            "metadata": {"name": name, "namespace": "demo"},
            "spec": {"template": {"spec": {"domain": {"devices": {}, "machine": {"type": "q35"}}}}},
            "status": {"printableStatus": status},
        })
    };
    let emulated = json!({
        "phase": "Running", "nodeName": "two",
        "accelerator": {"type": "TCG", "reason": "HardwareVirtualizationUnusable", "policy": "Software",
            "decidedBy": "ConfigMap a/b", "isolation": "process", "architecture": "amd64",
            "expectedSlowdown": "7.8"},
        "interfaces": [{"name": "default", "ipAddress": "10.0.0.5"}, {"name": "second"}],
        "conditions": [
            {"type": "AcceleratorOutdated", "status": "True", "reason": "OtherAcceleratorNow"},
            {"type": "EmulationIsolation", "status": "False", "reason": "TCGNotASecurityBoundary"},
        ],
    });
    let waiting = json!({
        "phase": "Scheduling",
        "conditions": [{"type": "AcceleratorAvailable", "status": "False", "reason": "EmulationNotPermitted"}],
    });
    let ended = json!({"phase": "Succeeded", "nodeName": "two", "accelerator": {"type": "KVM"}});
    View {
        configuration: Some(Arc::new(ClusterConfiguration::of_architecture("amd64"))),
        machines: vec![
            arc(machine("a", "Running")),
            arc(machine("b", "ErrorUnschedulable")),
        ],
        instances: vec![
            arc(instance("a", emulated)),
            arc(instance("b", waiting)),
            arc(instance("c", ended)),
        ],
        nodes: vec![
            arc(node("one", "True", "Usable", "1000")),
            arc(node("two", "False", "GuestKernelEmulated", "0")),
        ],
    }
}

/// The value of the one series of this name whose labels include these.
fn value(found: &BTreeMap<Read, f64>, name: &str, labels: &[(&str, &str)]) -> f64 {
    let has = |all: &BTreeMap<String, String>| {
        labels
            .iter()
            .all(|(key, value)| all.get(*key).map(String::as_str) == Some(*value))
    };
    let matching = found
        .iter()
        .filter(|((found, all), _)| found == name && has(all));
    let values: Vec<f64> = matching.map(|(_, value)| *value).collect();
    assert_eq!(values.len(), 1, "{name} {labels:?}");
    values[0]
}

#[test]
#[expect(clippy::float_cmp, reason = "values that a double holds exactly")]
#[expect(clippy::too_many_lines, reason = "one table")]
fn every_value_is_what_the_objects_say() {
    let text = text(&view()).unwrap();
    let found = parse(&text);
    let a = [("namespace", "demo"), ("name", "a"), ("node", "two")];
    let reason = |reason| [("name", "a"), ("reason", reason)];
    for (name, labels, expected) in [
        ("kubevirt_configuration_emulation_enabled", &[][..], 0.0),
        (
            "anyvirt_emulation_policy_info",
            &[("policy", "None"), ("decided_by", "default")],
            1.0,
        ),
        ("kubevirt_nodes_with_kvm", &[], 1.0),
        ("kubevirt_allocatable_nodes", &[], 2.0),
        ("kubevirt_number_of_vms", &[("namespace", "demo")], 2.0),
        (
            "kubevirt_vm_info",
            &[
                ("name", "a"),
                ("status_group", "running"),
                ("machine_type", "q35"),
            ],
            1.0,
        ),
        (
            "kubevirt_vm_info",
            &[
                ("name", "b"),
                ("status", "errorunschedulable"),
                ("status_group", "error"),
            ],
            1.0,
        ),
        (
            "kubevirt_vmi_info",
            &[
                ("name", "a"),
                ("phase", "running"),
                ("os", "a \"quoted\"\nname\\"),
            ],
            1.0,
        ),
        (
            "kubevirt_vmi_info",
            &[("name", "b"), ("phase", "scheduling"), ("node", "")],
            1.0,
        ),
        (
            "kubevirt_vmi_status_addresses",
            &[("name", "a"), ("address", "10.0.0.5")],
            1.0,
        ),
        (
            "anyvirt_node_hardware_virtualization",
            &[("node", "one"), ("class", "Usable")],
            1.0,
        ),
        (
            "anyvirt_node_hardware_virtualization",
            &[("node", "two"), ("class", "GuestKernelEmulated")],
            0.0,
        ),
        ("anyvirt_node_tcg_slowdown_ratio", &[("node", "two")], 7.8),
        ("anyvirt_vmi_expected_slowdown_ratio", &a, 7.8),
        ("anyvirt_vmi_accelerator_info", &a, 1.0),
        (
            "anyvirt_vmi_accelerator_info",
            &[
                ("accelerator", "TCG"),
                ("policy", "Software"),
                ("reason", "HardwareVirtualizationUnusable"),
                ("isolation", "process"),
            ],
            1.0,
        ),
        (
            "anyvirt_vmi_accelerator_outdated",
            &reason("OtherAcceleratorNow"),
            1.0,
        ),
        (
            "anyvirt_vmi_emulation_not_isolated",
            &reason("TCGNotASecurityBoundary"),
            1.0,
        ),
        (
            "anyvirt_vmi_accelerator_unavailable",
            &[("name", "b"), ("reason", "EmulationNotPermitted")],
            1.0,
        ),
    ] {
        assert_eq!(value(&found, name, labels), expected, "{name} {labels:?}");
    }
    let overhead = value(
        &found,
        "kubevirt_vmi_launcher_memory_overhead_bytes",
        &[("name", "a")],
    );
    let bytes = api::resources::memory_overhead_bytes(&view().instances[0].spec, true);
    assert_eq!(overhead, f64::from(u32::try_from(bytes).unwrap()));
    // A guest that ended runs on nothing any more.
    let ended = found.keys().filter(|(name, labels)| {
        name == "anyvirt_vmi_accelerator_info"
            && labels.get("name").map(String::as_str) == Some("c")
    });
    assert_eq!(ended.count(), 0);
}

#[test]
fn an_empty_cluster_has_metrics_that_parse() {
    let found = parse(&text(&View::default()).unwrap());
    let names: Vec<&str> = found.keys().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["kubevirt_allocatable_nodes", "kubevirt_nodes_with_kvm"]
    );
}

#[test]
fn a_scrape_of_the_same_objects_is_the_same_text() {
    let mut reversed = view();
    reversed.machines.reverse();
    reversed.instances.reverse();
    reversed.nodes.reverse();
    assert_eq!(text(&view()), text(&reversed));
}
