use super::{Used, View, text};
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
    let (mut helped, mut typed) = (BTreeSet::new(), BTreeMap::new());
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
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert!(!name.ends_with("_total"), "{line}");
            assert!(typed.insert(name, kind).is_none(), "typed twice: {line}");
            continue;
        }
        let (name, labels, value) = series(line);
        let (described, kind) = match name.strip_suffix("_total") {
            Some(described) => (described, "counter"),
            None => (name.as_str(), "gauge"),
        };
        assert!(helped.contains(described), "{line}");
        assert_eq!(typed.get(described), Some(&kind), "{line}");
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
        "metadata": {"name": name, "namespace": "demo", "uid": format!("uid-{name}"),
            "annotations": {"anyvirt.io/emulation-policy": "Software", "vm.kubevirt.io/os": "a \"quoted\"\nname\\"}},
        "spec": {"domain": {"devices": {}, "memory": {"guest": "1Gi"}}},
        "status": status,
    })
}

/// What a guest with one disk and one interface has used.
fn used(uid: &str) -> Used {
    let usage = json!({
        "run": {"pid": 7, "start_time": 1},
        "at_nanoseconds": 1,
        "qemu": {"user_nanoseconds": 2_500_000_000_u64, "system_nanoseconds": 500_000_000, "resident_bytes": 4096},
        "helpers": {"user_nanoseconds": 1, "system_nanoseconds": 1, "resident_bytes": 1},
        "disks": {"root": {"reads": 1, "read_bytes": 2, "read_nanoseconds": 3_000_000_000_u64, "writes": 4,
            "written_bytes": 5, "write_nanoseconds": 6_000_000_000_u64, "flushes": 7, "flush_nanoseconds": 8_000_000_000_u64}},
        "interfaces": {"default": {"received_packets": 1, "received_bytes": 2, "sent_packets": 3, "sent_bytes": 4}},
    });
    Used {
        uid: uid.to_owned(),
        usage: serde_json::from_value(usage).unwrap(),
    }
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
        templates: Vec::new(),
        used: vec![used("uid-a"), used("uid-of-an-earlier-b")],
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
#[expect(clippy::float_cmp, reason = "values that a double holds exactly")]
fn what_guests_use_is_told_under_kubevirts_names() {
    let found = parse(&text(&view()).unwrap());
    let of = |name: &str| format!("kubevirt_vmi_{name}");
    for (name, expected) in [
        ("cpu_usage_seconds_total", 3.0),
        ("cpu_user_usage_seconds_total", 2.5),
        ("cpu_system_usage_seconds_total", 0.5),
        ("memory_resident_bytes", 4096.0),
    ] {
        let labels = [("node", "two"), ("namespace", "demo"), ("name", "a")];
        assert_eq!(value(&found, &of(name), &labels), expected, "{name}");
    }
    for (name, expected) in [
        ("iops_read_total", 1.0),
        ("read_traffic_bytes_total", 2.0),
        ("read_times_seconds_total", 3.0),
        ("iops_write_total", 4.0),
        ("write_traffic_bytes_total", 5.0),
        ("write_times_seconds_total", 6.0),
        ("flush_requests_total", 7.0),
        ("flush_times_seconds_total", 8.0),
    ] {
        let labels = [("node", "two"), ("name", "a"), ("drive", "root")];
        let name = of(&format!("storage_{name}"));
        assert_eq!(value(&found, &name, &labels), expected, "{name}");
    }
    for (name, expected) in [
        ("receive_packets_total", 1.0),
        ("receive_bytes_total", 2.0),
        ("transmit_packets_total", 3.0),
        ("transmit_bytes_total", 4.0),
    ] {
        let labels = [("node", "two"), ("name", "a"), ("interface", "default")];
        let name = of(&format!("network_{name}"));
        assert_eq!(value(&found, &name, &labels), expected, "{name}");
    }
    // A guest whose object is gone, also if there is a new one of its name; and what was not counted.
    let name = of("memory_resident_bytes");
    let told: Vec<_> = found.keys().filter(|(told, _)| *told == name).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let mut view = view();
    for used in &mut view.used {
        used.usage.disks = None;
        used.usage.interfaces.clear();
    }
    let text = text(&view).unwrap();
    assert!(
        !text.contains("drive=") && !text.contains("interface="),
        "{text}"
    );
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
    reversed.used.reverse();
    assert_eq!(text(&view()), text(&reversed));
}

#[test]
fn templates_are_counted_by_node_and_phase_and_their_room_is_added_up() {
    let template = |node: &str, status: Value| {
        let object = json!({
            "metadata": { "name": "t", "namespace": "ns" },
            "spec": { "node": node, "key": "0" },
            "status": status,
        });
        Arc::new(serde_json::from_value(object).expect("a template"))
    };
    let ready = json!({ "phase": "Ready", "sizeBytes": 10, "heldBytes": 7, "uses": 3, "failures": 1,
            "standby": { "ready": 1, "wanted": 2 } });
    let view = View {
        templates: vec![
            template("a", ready.clone()),
            template("a", ready),
            template("a", json!({ "phase": "Refused" })),
            template("b", Value::Null),
        ],
        ..View::default()
    };
    let found = parse(&text(&view).expect("written"));
    let of = |name: &str, labels: &[(&str, &str)]| {
        let labels = labels.iter();
        let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        found
            .get(&(format!("anyvirt_warm_start_{name}"), labels.collect()))
            .copied()
    };
    assert_eq!(
        of("templates", &[("node", "a"), ("phase", "Ready")]),
        Some(2.0)
    );
    assert_eq!(
        of("templates", &[("node", "a"), ("phase", "Refused")]),
        Some(1.0)
    );
    assert_eq!(
        of("templates", &[("node", "b"), ("phase", "Unknown")]),
        Some(1.0)
    );
    let standby = |state| of("standby", &[("node", "a"), ("state", state)]);
    assert_eq!(
        (standby("ready"), standby("wanted")),
        (Some(2.0), Some(4.0))
    );
    assert_eq!(of("template_disk_bytes", &[("node", "a")]), Some(20.0));
    assert_eq!(of("template_held_bytes", &[("node", "a")]), Some(14.0));
    assert_eq!(of("restores", &[("node", "a")]), Some(6.0));
    assert_eq!(of("failures", &[("node", "a")]), Some(2.0));
    assert_eq!(of("restores", &[("node", "b")]), Some(0.0));
}
