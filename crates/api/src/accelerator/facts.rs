//! What a Node says of itself that decides about accelerators.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize};

use super::effective::{Cap, Scope};
use crate::names;

/// What a node found out about its hardware virtualization by running a guest.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct NodeVerdict {
    /// KVM runs guests there, fast enough.
    pub usable: bool,
    /// One CamelCase word, e.g. `Usable`, `DeviceMissing`, `PermissionDenied`, `Slow`.
    pub class: String,
    /// How far the guest came, e.g. `LongMode`; empty if none was run or none stopped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stage: String,
    /// The evidence, a sentence.
    pub message: String,
}

/// The part of the annotation `anyvirt.io/hardware-virtualization-verdict` that is read here.
#[derive(Deserialize)]
struct Recorded {
    #[serde(default)]
    stage: Option<String>,
}

impl NodeVerdict {
    /// The verdict as a Node's condition `HardwareVirtualization` tells it. A node without that
    /// condition has not been looked at, which is not usable.
    pub fn of(node: &Node) -> Self {
        let conditions = node
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_deref());
        let condition = conditions
            .unwrap_or_default()
            .iter()
            .find(|condition| condition.type_ == names::conditions::HARDWARE_VIRTUALIZATION);
        let Some(condition) = condition else {
            return Self {
                usable: false,
                class: "NotProbed".to_owned(),
                stage: String::new(),
                message: "the node has not tried to run a guest yet".to_owned(),
            };
        };
        let annotations = node.metadata.annotations.as_ref();
        let recorded = annotations
            .and_then(|all| all.get(names::annotations::HARDWARE_VIRTUALIZATION_VERDICT))
            .and_then(|text| serde_json::from_str::<Recorded>(text).ok());
        Self {
            usable: condition.status == "True",
            class: condition.reason.clone().unwrap_or_default(),
            stage: recorded
                .and_then(|recorded| recorded.stage)
                .unwrap_or_default(),
            message: condition.message.clone().unwrap_or_default(),
        }
    }

    /// The evidence with its class, for the middle of a sentence.
    pub fn evidence(&self) -> String {
        match (self.class.as_str(), self.message.as_str()) {
            ("", "") => "no reason was given".to_owned(),
            ("", message) => message.to_owned(),
            (class, "") => class.to_owned(),
            (class, message) => format!("{message} ({class})"),
        }
    }
}

/// What decides on a node which accelerator a guest gets there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    /// Does its hardware virtualization work?
    pub verdict: NodeVerdict,
    /// The most that its label permits; none without the label.
    pub cap: Option<Cap>,
    /// Its own architecture, in Go's names (`amd64`).
    pub architecture: String,
    /// Architectures for which an emulator is installed, in Go's names.
    pub emulates: BTreeSet<String>,
    /// `/dev/kvm` is there and opens, whatever it is worth.
    pub kvm_device: bool,
    /// How many times slower than KVM an emulated guest is expected to be there; none if that was
    /// not measured.
    pub slowdown: Option<f64>,
}

impl NodeFacts {
    /// The facts that a Node's labels, annotations and conditions tell.
    pub fn of(node: &Node) -> Self {
        let labels = node.metadata.labels.as_ref();
        let label = |name: &str| labels.and_then(|all| all.get(name)).map(String::as_str);
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let verdict = NodeVerdict::of(node);
        let info = node
            .status
            .as_ref()
            .and_then(|status| status.node_info.as_ref());
        let emulates = labels
            .into_iter()
            .flatten()
            .filter(|(_, value)| *value == "true")
            .filter_map(|(key, _)| key.strip_prefix(names::labels::VM_ARCHITECTURE_PREFIX));
        let slowdown = node
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(names::annotations::TCG_SLOWDOWN))
            .and_then(|text| text.parse().ok())
            .filter(|factor: &f64| factor.is_finite() && *factor > 0.0);
        Self {
            cap: labels.and_then(|labels| Cap::of_labels(Scope::Node, name, labels)),
            architecture: label(names::labels::ARCHITECTURE)
                .or_else(|| info.map(|info| info.architecture.as_str()))
                .unwrap_or_default()
                .to_owned(),
            emulates: emulates.map(str::to_owned).collect(),
            // A node that ran a guest on it has it, also before it says so by a label.
            kvm_device: label(names::labels::KVM_DEVICE) == Some("true") || verdict.usable,
            slowdown,
            verdict,
        }
    }

    /// Can a guest of this architecture be emulated there? One of the node's own is emulated by the
    /// same QEMU that runs it on KVM.
    pub fn can_emulate(&self, architecture: &str) -> bool {
        architecture == self.architecture || self.emulates.contains(architecture)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::accelerator::EmulationPolicy;

    fn node(value: serde_json::Value) -> Node {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_node_that_was_not_looked_at_is_not_usable() {
        let verdict = NodeVerdict::of(&Node::default());
        assert!(!verdict.usable);
        assert_eq!(verdict.class, "NotProbed");
    }

    #[test]
    fn a_node_tells_everything_that_decides() {
        let facts = NodeFacts::of(&node(json!({
            "metadata": {
                "name": "n1",
                "labels": {
                    "kubernetes.io/arch": "amd64",
                    "kubevirt.io/vm-arch-amd64": "true",
                    "kubevirt.io/vm-arch-arm64": "true",
                    "kubevirt.io/vm-arch-s390x": "false",
                    "anyvirt.io/kvm-device": "true",
                    "anyvirt.io/emulation-policy": "Hardware",
                },
                "annotations": {
                    "anyvirt.io/tcg-slowdown": "7.8",
                    "anyvirt.io/hardware-virtualization-verdict": "{\"stage\":\"LongMode\"}",
                },
            },
            "status": {"conditions": [{"type": "HardwareVirtualization", "status": "False",
                "reason": "GuestKernelEmulated", "message": "it crawls"}]},
        })));
        assert!(!facts.verdict.usable);
        assert_eq!(facts.verdict.stage, "LongMode");
        assert_eq!(facts.verdict.evidence(), "it crawls (GuestKernelEmulated)");
        assert_eq!(
            facts.cap.as_ref().unwrap().policy,
            EmulationPolicy::Hardware
        );
        assert!(facts.kvm_device);
        assert_eq!(facts.slowdown, Some(7.8));
        assert!(facts.can_emulate("amd64") && facts.can_emulate("arm64"));
        assert!(!facts.can_emulate("s390x"));
    }

    #[test]
    fn nonsense_about_speed_is_no_fact() {
        for text in ["", "fast", "-1", "0", "inf", "NaN"] {
            let facts = NodeFacts::of(&node(json!({"metadata": {
                "annotations": {"anyvirt.io/tcg-slowdown": text}}})));
            assert_eq!(facts.slowdown, None, "{text}");
        }
    }
}
