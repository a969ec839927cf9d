//! The labels and annotations by which a Node object tells what its machine can do. Pure.

use std::collections::BTreeMap;

use api::accelerator::NodeVerdict;
use api::names::{annotations, labels};
use host::facts::Device;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use qemu::abilities::{Abilities, Accelerator, vendor_of};
use serde_json::{Value, json};

use crate::known::Known;

/// Labels that begin like this are ours: what we do not say any more does not hold any more.
const OURS: [&str; 6] = [
    labels::VM_ARCHITECTURE_PREFIX,
    labels::CPU_MODEL_PREFIX,
    labels::CPU_FEATURE_PREFIX,
    labels::HOST_MODEL_CPU_PREFIX,
    labels::CPU_VENDOR_PREFIX,
    labels::MACHINE_TYPE_PREFIX,
];

/// Labels of the node `name`.
pub(crate) fn labels(name: &str, known: &Known, verdict: &NodeVerdict) -> BTreeMap<String, String> {
    let usable = if verdict.usable { "usable" } else { "unusable" };
    let kvm_device = known.devices.kvm == Device::Usable;
    let mut all: BTreeMap<String, String> = [
        (labels::ARCHITECTURE, known.machine.go_architecture()),
        (labels::HOSTNAME, name),
        ("kubernetes.io/os", "linux"),
        (labels::SCHEDULABLE, "true"),
        (labels::HARDWARE_VIRTUALIZATION, usable),
        (
            labels::KVM_DEVICE,
            if kvm_device { "true" } else { "false" },
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let mut holds = |prefix: &str, name: &str| {
        all.insert(format!("{prefix}{name}"), "true".to_owned());
    };
    for architecture in &known.offered.emulates {
        holds(labels::VM_ARCHITECTURE_PREFIX, architecture);
    }
    if let Some(abilities) = in_force(known, verdict) {
        for model in &abilities.models {
            holds(labels::CPU_MODEL_PREFIX, model);
        }
        for feature in &abilities.features {
            holds(labels::CPU_FEATURE_PREFIX, feature);
        }
        for machine_type in &abilities.machine_types {
            holds(labels::MACHINE_TYPE_PREFIX, machine_type);
        }
    }
    // What `host-model` stands for where guests are emulated is no model with a name.
    if let Some(model) = known.offered.host_model.as_ref().filter(|_| verdict.usable) {
        holds(labels::HOST_MODEL_CPU_PREFIX, model);
        holds(labels::CPU_VENDOR_PREFIX, vendor_name(vendor_of(model)));
    }
    all
}

/// What a guest without a wish can have here: on KVM where that is usable, else emulated.
fn in_force<'a>(known: &'a Known, verdict: &NodeVerdict) -> Option<&'a Abilities> {
    let accelerator = if verdict.usable {
        Accelerator::Kvm
    } else {
        Accelerator::Tcg
    };
    known.offered.by_accelerator.get(&accelerator)
}

/// libvirt's names of makers, which KubeVirt's labels carry.
fn vendor_name(vendor: &str) -> &'static str {
    match vendor {
        "GenuineIntel" => "Intel",
        "AuthenticAMD" => "AMD",
        "HygonGenuine" => "Hygon",
        _ => "Zhaoxin",
    }
}

/// Annotations of the node. `Null` takes one away.
pub(crate) fn annotations(
    known: &Known,
    verdict: &NodeVerdict,
    now: Timestamp,
) -> BTreeMap<String, Value> {
    let told = json!({
        "class": verdict.class,
        "stage": verdict.stage,
        "evidence": verdict.message,
        "at": known.record.at.to_string(),
        "took": format!("{:.1}ms", known.record.verdict.took.as_secs_f64() * 1000.0),
        "runs": known.record.verdict.runs,
    });
    let models: BTreeMap<&str, _> = known
        .offered
        .by_accelerator
        .iter()
        .map(|(accelerator, abilities)| {
            let name = match accelerator {
                Accelerator::Kvm => "KVM",
                Accelerator::Tcg => "TCG",
            };
            (name, &abilities.models)
        })
        .collect();
    let text = |text: String| Value::String(text);
    let mut all = BTreeMap::from([
        (annotations::HEARTBEAT.to_owned(), text(now.to_string())),
        (
            annotations::HARDWARE_VIRTUALIZATION_VERDICT.to_owned(),
            text(told.to_string()),
        ),
        (
            annotations::TCG_SLOWDOWN.to_owned(),
            known
                .slowdown
                .map_or(Value::Null, |factor| text(format!("{factor:.1}"))),
        ),
        (
            annotations::CPU_MODELS.to_owned(),
            text(json!(models).to_string()),
        ),
    ]);
    if let Some(token) = &known.answered {
        all.insert(annotations::VERDICT_RETAKEN.to_owned(), text(token.clone()));
    }
    all
}

/// The labels as a merge patch: `wanted`, and `Null` for those of ours that no longer hold. Labels
/// of others are not in it, so they stay. As long as nothing is `learned` of QEMU, what an earlier run
/// of the node learned stays as well: pods that select by it must not wait for a restart of ours.
pub(crate) fn patch(
    node: &Node,
    wanted: &BTreeMap<String, String>,
    learned: bool,
) -> BTreeMap<String, Value> {
    let gone = node
        .labels()
        .keys()
        .filter(|_| learned)
        .filter(|name| OURS.iter().any(|prefix| name.starts_with(prefix)))
        .filter(|name| !wanted.contains_key(*name))
        .map(|name| (name.clone(), Value::Null));
    wanted
        .iter()
        .map(|(name, value)| (name.clone(), Value::String(value.clone())))
        .chain(gone)
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::abilities::Offered;
    use crate::hardware::cache::{Key, Record};
    use crate::hardware::devices::judge;
    use crate::known::{Asked, Devices};
    use api::accelerator::HelperDevice;
    use host::facts::Machine;
    use qemu::probe::{Class, Verdict};

    pub(crate) fn known(class: Class) -> Known {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let abilities = |models: &[&str], features: &[&str]| Abilities {
            models: set(models),
            features: set(features),
            machine_types: BTreeSet::from(["q35".to_owned()]),
            ..Abilities::default()
        };
        Known {
            machine: Machine {
                processors: 2,
                memory_bytes: 24 << 30,
                kernel: "6.1".to_owned(),
                architecture: "x86_64".to_owned(),
                hostname: "host".to_owned(),
                boot_id: "boot".to_owned(),
                machine_id: "machine".to_owned(),
                distribution: "Debian".to_owned(),
            },
            devices: Devices {
                kvm: Device::Usable,
                helpers: vec![judge(HelperDevice::Tun, &Ok(2))],
            },
            record: Record {
                verdict: Verdict::new(class, "evidence"),
                at: Timestamp::UNIX_EPOCH,
                key: Key::default(),
            },
            lowered: None,
            asked: Asked::default(),
            answered: None,
            offered: Offered {
                by_accelerator: BTreeMap::from([
                    (Accelerator::Kvm, abilities(&["EPYC"], &["svm"])),
                    (Accelerator::Tcg, abilities(&["Nehalem"], &["aes"])),
                ]),
                host_model: Some("EPYC".to_owned()),
                emulates: set(&["amd64", "arm64"]),
                version: None,
            },
            slowdown: None,
        }
    }

    fn of(class: Class) -> BTreeMap<String, String> {
        let known = known(class);
        labels("n", &known, &known.verdict(Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn labels_tell_what_a_guest_without_a_wish_can_have() {
        let emulated = of(Class::GuestKernelEmulated);
        let value = |name: &str| emulated.get(name).map(String::as_str);
        for (name, expected) in [
            ("kubernetes.io/arch", Some("amd64")),
            ("kubevirt.io/schedulable", Some("true")),
            ("anyvirt.io/hardware-virtualization", Some("unusable")),
            ("anyvirt.io/kvm-device", Some("true")),
            ("kubevirt.io/vm-arch-amd64", Some("true")),
            ("kubevirt.io/vm-arch-arm64", Some("true")),
            ("cpu-model.node.kubevirt.io/Nehalem", Some("true")),
            ("cpu-model.node.kubevirt.io/EPYC", None),
            ("cpu-feature.node.kubevirt.io/aes", Some("true")),
            ("machine-type.node.kubevirt.io/q35", Some("true")),
            ("host-model-cpu.node.kubevirt.io/EPYC", None),
        ] {
            assert_eq!(value(name), expected, "{name}");
        }
        let usable = of(Class::Usable);
        for name in [
            "cpu-model.node.kubevirt.io/EPYC",
            "cpu-feature.node.kubevirt.io/svm",
            "host-model-cpu.node.kubevirt.io/EPYC",
            "cpu-vendor.node.kubevirt.io/AMD",
        ] {
            assert_eq!(usable.get(name).map(String::as_str), Some("true"), "{name}");
        }
        assert_eq!(usable["anyvirt.io/hardware-virtualization"], "usable");
    }

    #[test]
    fn what_no_longer_holds_is_taken_away_and_labels_of_others_stay() {
        let mut node = Node::default();
        for name in [
            "cpu-model.node.kubevirt.io/EPYC",
            "cpu-model.node.kubevirt.io/Nehalem",
            "theirs.io/cpu-model.node.kubevirt.io",
            "anyvirt.io/emulation-policy",
        ] {
            node.labels_mut().insert(name.to_owned(), "true".to_owned());
        }
        let unlearned = patch(&node, &of(Class::Slow), false);
        assert!(!unlearned.contains_key("cpu-model.node.kubevirt.io/EPYC"));
        let patch = patch(&node, &of(Class::Slow), true);
        assert_eq!(patch["cpu-model.node.kubevirt.io/EPYC"], Value::Null);
        assert_eq!(patch["cpu-model.node.kubevirt.io/Nehalem"], json!("true"));
        assert!(!patch.contains_key("theirs.io/cpu-model.node.kubevirt.io"));
        assert!(!patch.contains_key("anyvirt.io/emulation-policy"));
    }

    #[test]
    fn annotations_tell_the_verdict_and_only_a_measured_slowdown() {
        let mut known = known(Class::Slow);
        let at = Timestamp::UNIX_EPOCH;
        known.record.at = Timestamp::from_second(1_000).expect("a time");
        known.record.verdict = Verdict {
            stage: Some("Loop".to_owned()),
            took: std::time::Duration::from_micros(12_340),
            ..known.record.verdict
        };
        let verdict = known.verdict(at);
        let all = annotations(&known, &verdict, at);
        let told = all["anyvirt.io/hardware-virtualization-verdict"].as_str();
        let told: Value = serde_json::from_str(told.expect("text")).expect("JSON");
        let expected = json!({
            "class": "Slow",
            "stage": "Loop",
            "evidence": "evidence",
            "at": "1970-01-01T00:16:40Z",
            "took": "12.3ms",
            "runs": 0,
        });
        assert_eq!(told, expected);
        assert_eq!(all["anyvirt.io/tcg-slowdown"], Value::Null);
        assert!(!all.contains_key("anyvirt.io/verdict-retaken"));
        assert_eq!(
            all["anyvirt.io/cpu-models"],
            json!(r#"{"KVM":["EPYC"],"TCG":["Nehalem"]}"#)
        );
        known.slowdown = Some(7.84);
        known.answered = Some("t".to_owned());
        let all = annotations(&known, &verdict, at);
        assert_eq!(all["anyvirt.io/tcg-slowdown"], json!("7.8"));
        assert_eq!(all["anyvirt.io/verdict-retaken"], json!("t"));
    }
}
