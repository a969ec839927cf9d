//! The accelerator policy: who may run on what, decided by a pure function.

mod class;
mod policy;
mod remedies;
mod surroundings;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize};

pub use class::Class;
pub use policy::{ClusterInputs, ClusterPolicy, Problem, SWITCH};
pub use remedies::{HelperDevice, device_remedies, remedies};
pub use surroundings::{Container, Platform, Processor, SURROUNDINGS_ANNOTATION, Surroundings};

use crate::condition::Condition;
use crate::names;
use crate::quantity::Quantity;
use crate::virtual_machine_instance::{AcceleratorStatus, Interface, VirtualMachineInstanceSpec};

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Accelerator {
    /// The processor itself, by Linux' KVM.
    #[serde(rename = "KVM")]
    Kvm,
    /// QEMU's translator, in software.
    #[serde(rename = "TCG")]
    Tcg,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

/// The worst way to run a guest that is permitted. The best way that works is always taken.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum EmulationPolicy {
    /// No emulation: KVM only.
    #[default]
    None,
    /// Emulation with the help of hardware; the same as `None` until such help is served.
    Hardware,
    /// Emulation in software where KVM does not work.
    Software,
}

impl EmulationPolicy {
    /// May a guest be emulated in software?
    pub fn permits_software(self) -> bool {
        self == Self::Software
    }

    /// The policy of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::None, Self::Hardware, Self::Software]
            .into_iter()
            .find(|policy| policy.to_string() == name)
    }
}

impl fmt::Display for EmulationPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// What a node found out about its hardware virtualization by running a guest.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct NodeVerdict {
    /// KVM runs guests there, fast enough.
    pub usable: bool,
    /// One CamelCase word, e.g. `Usable`, `DeviceMissing`, `PermissionDenied`, `Slow`.
    pub reason: String,
    /// The evidence, a sentence.
    pub message: String,
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
        match condition {
            Some(condition) => Self {
                usable: condition.status == "True",
                reason: condition.reason.clone().unwrap_or_default(),
                message: condition.message.clone().unwrap_or_default(),
            },
            None => Self {
                usable: false,
                reason: "NotProbed".to_owned(),
                message: "the node has not tried to run a guest yet".to_owned(),
            },
        }
    }
}

/// Which accelerator a guest gets, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// The accelerator.
    pub accelerator: Accelerator,
    /// The policy that permits it.
    pub policy: EmulationPolicy,
    /// The place that decided that policy.
    pub permitted_by: String,
    /// One CamelCase word that says why.
    pub reason: &'static str,
    /// A sentence that says why.
    pub message: String,
}

/// Why a guest gets no accelerator at all.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{cause}; {}", remedies.join(", or "))]
pub struct Refusal {
    /// One CamelCase word for programs.
    pub reason: &'static str,
    /// What is in the way.
    pub cause: String,
    /// What helps, each by itself.
    pub remedies: Vec<String>,
}

/// The best accelerator that works and is permitted.
///
/// `forced` is what the VM's annotation `anyvirt.io/accelerator` asks for; it chooses among what is
/// permitted, and grants nothing.
///
/// # Errors
/// A [`Refusal`] when nothing that works is permitted.
pub fn resolve(
    cluster: &ClusterPolicy,
    forced: Option<Accelerator>,
    verdict: &NodeVerdict,
) -> Result<Decision, Refusal> {
    let decision = |accelerator, reason, message| Decision {
        accelerator,
        policy: cluster.policy,
        permitted_by: cluster.decided_by.clone(),
        reason,
        message,
    };
    let permitted = cluster.policy.permits_software();
    match (forced, verdict.usable, permitted) {
        (Some(Accelerator::Kvm), true, _) => Ok(decision(
            Accelerator::Kvm,
            "ForcedByAnnotation",
            format!(
                "the annotation {} asks for KVM, which works on this node",
                names::annotations::ACCELERATOR
            ),
        )),
        (None, true, _) => Ok(decision(
            Accelerator::Kvm,
            "HardwareVirtualizationUsable",
            "hardware virtualization works on this node".to_owned(),
        )),
        (Some(Accelerator::Tcg), _, true) => Ok(decision(
            Accelerator::Tcg,
            "ForcedByAnnotation",
            format!(
                "the annotation {} asks for software emulation, which is several times slower than KVM",
                names::annotations::ACCELERATOR
            ),
        )),
        (None, false, true) => Ok(decision(
            Accelerator::Tcg,
            "HardwareVirtualizationUnusable",
            format!(
                "software emulation, several times slower than KVM, because hardware virtualization \
                 does not work on this node: {}; permitted by {}",
                evidence(verdict),
                cluster.decided_by
            ),
        )),
        (Some(Accelerator::Tcg), _, false) => Err(not_permitted(cluster)),
        (Some(Accelerator::Kvm), false, _) => Err(Refusal {
            reason: "HardwareVirtualizationUnusable",
            cause: format!(
                "the annotation {} asks for KVM, but hardware virtualization does not work on this node: {}",
                names::annotations::ACCELERATOR,
                evidence(verdict)
            ),
            remedies: vec![
                "make hardware virtualization work (`anyvirt doctor` shows how)".to_owned(),
                format!("remove the annotation {}", names::annotations::ACCELERATOR),
            ],
        }),
        (None, false, false) => Err(Refusal {
            reason: "HardwareVirtualizationUnusable",
            cause: format!(
                "hardware virtualization does not work on this node: {}; and software emulation is \
                 not permitted (policy {}, by {})",
                evidence(verdict),
                cluster.policy,
                cluster.decided_by
            ),
            remedies: vec![
                "make hardware virtualization work (`anyvirt doctor` shows how)".to_owned(),
                permit_emulation(),
            ],
        }),
    }
}

fn not_permitted(cluster: &ClusterPolicy) -> Refusal {
    Refusal {
        reason: "EmulationNotPermitted",
        cause: format!(
            "the annotation {} asks for software emulation, which is not permitted (policy {}, by {})",
            names::annotations::ACCELERATOR,
            cluster.policy,
            cluster.decided_by
        ),
        remedies: vec![
            permit_emulation(),
            format!("remove the annotation {}", names::annotations::ACCELERATOR),
        ],
    }
}

fn permit_emulation() -> String {
    format!(
        "permit software emulation: `anyvirt emulation on`, or set {} to \"true\" in the ConfigMap {}/{}",
        SWITCH,
        names::NAMESPACE_OPENSHIFT_CNV,
        names::CONFIG_MAP
    )
}

fn evidence(verdict: &NodeVerdict) -> String {
    match (verdict.reason.as_str(), verdict.message.as_str()) {
        ("", "") => "no reason was given".to_owned(),
        ("", message) => message.to_owned(),
        (reason, "") => reason.to_owned(),
        (reason, message) => format!("{message} ({reason})"),
    }
}

/// The accelerator that the annotation `anyvirt.io/accelerator` forces, if it is there.
///
/// # Errors
/// The annotation's value when it is neither `kvm` nor `tcg`.
pub fn forced(annotations: &BTreeMap<String, String>) -> Result<Option<Accelerator>, String> {
    match annotations
        .get(names::annotations::ACCELERATOR)
        .map(String::as_str)
    {
        None => Ok(None),
        Some("kvm") => Ok(Some(Accelerator::Kvm)),
        Some("tcg") => Ok(Some(Accelerator::Tcg)),
        Some(other) => Err(other.to_owned()),
    }
}

/// The device resources a launcher pod asks for, each as a limit: hardware virtualization unless it
/// may be emulated, and with it the kernel's virtio network for an interface that can use it.
pub fn devices(
    policy: EmulationPolicy,
    forced: Option<Accelerator>,
    spec: &VirtualMachineInstanceSpec,
) -> BTreeMap<String, Quantity> {
    let mut devices = BTreeMap::new();
    if policy.permits_software() && forced != Some(Accelerator::Kvm) {
        return devices;
    }
    devices.insert(names::resources::KVM.to_owned(), Quantity::from("1"));
    let interfaces = &spec.domain.devices.interfaces;
    let is_virtio =
        |interface: &Interface| matches!(interface.model.as_deref(), None | Some("" | "virtio"));
    let attached_by_default = interfaces.is_empty()
        && spec.networks.is_empty()
        && spec.domain.devices.autoattach_pod_interface != Some(false);
    if attached_by_default || interfaces.iter().any(is_virtio) {
        devices.insert(names::resources::VHOST_NET.to_owned(), Quantity::from("1"));
    }
    devices
}

impl Decision {
    /// The status of a guest that was started by this decision, when QEMU reports `actual`.
    pub fn status(&self, actual: Accelerator) -> AcceleratorStatus {
        let (reason, message) = self.explained(actual);
        AcceleratorStatus {
            type_: actual.to_string(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            policy: Some(self.policy.to_string()),
            decided_by: Some(self.permitted_by.clone()),
        }
    }

    /// The condition `SoftwareEmulation` of such a guest; `now` is used if it is new.
    pub fn condition(&self, actual: Accelerator, now: Timestamp) -> Condition {
        let (reason, message) = self.explained(actual);
        let emulated = actual == Accelerator::Tcg;
        Condition::new(names::conditions::SOFTWARE_EMULATION, emulated, now)
            .because(reason, message)
    }

    fn explained(&self, actual: Accelerator) -> (&'static str, String) {
        if actual == self.accelerator {
            return (self.reason, self.message.clone());
        }
        let message = format!(
            "{} was chosen, but QEMU reports {actual}: {}",
            self.accelerator, self.message
        );
        ("OtherThanChosen", message)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn cluster(policy: EmulationPolicy) -> ClusterPolicy {
        ClusterPolicy {
            policy,
            decided_by: "a test".to_owned(),
            problems: Vec::new(),
        }
    }

    fn verdict(usable: bool) -> NodeVerdict {
        if usable {
            return NodeVerdict {
                usable,
                reason: "Usable".to_owned(),
                message: "it ran".to_owned(),
            };
        }
        NodeVerdict {
            usable,
            reason: "DeviceMissing".to_owned(),
            message: "/dev/kvm does not exist".to_owned(),
        }
    }

    #[test]
    fn every_combination_is_decided() {
        use Accelerator::{Kvm, Tcg};
        use EmulationPolicy::{Hardware, None as No, Software};
        let table = [
            // policy, forced, usable -> accelerator and reason
            (No, None, true, Ok((Kvm, "HardwareVirtualizationUsable"))),
            (No, None, false, Err("HardwareVirtualizationUnusable")),
            (No, Some(Kvm), true, Ok((Kvm, "ForcedByAnnotation"))),
            (No, Some(Kvm), false, Err("HardwareVirtualizationUnusable")),
            (No, Some(Tcg), true, Err("EmulationNotPermitted")),
            (No, Some(Tcg), false, Err("EmulationNotPermitted")),
            (
                Hardware,
                None,
                true,
                Ok((Kvm, "HardwareVirtualizationUsable")),
            ),
            (Hardware, None, false, Err("HardwareVirtualizationUnusable")),
            (Hardware, Some(Kvm), true, Ok((Kvm, "ForcedByAnnotation"))),
            (
                Hardware,
                Some(Kvm),
                false,
                Err("HardwareVirtualizationUnusable"),
            ),
            (Hardware, Some(Tcg), true, Err("EmulationNotPermitted")),
            (Hardware, Some(Tcg), false, Err("EmulationNotPermitted")),
            (
                Software,
                None,
                true,
                Ok((Kvm, "HardwareVirtualizationUsable")),
            ),
            (
                Software,
                None,
                false,
                Ok((Tcg, "HardwareVirtualizationUnusable")),
            ),
            (Software, Some(Kvm), true, Ok((Kvm, "ForcedByAnnotation"))),
            (
                Software,
                Some(Kvm),
                false,
                Err("HardwareVirtualizationUnusable"),
            ),
            (Software, Some(Tcg), true, Ok((Tcg, "ForcedByAnnotation"))),
            (Software, Some(Tcg), false, Ok((Tcg, "ForcedByAnnotation"))),
        ];
        for (policy, forced, usable, expected) in table {
            let found = resolve(&cluster(policy), forced, &verdict(usable))
                .map(|decision| (decision.accelerator, decision.reason))
                .map_err(|refusal| refusal.reason);
            assert_eq!(found, expected, "{policy} {forced:?} {usable}");
        }
    }

    #[test]
    fn a_refusal_names_cause_and_remedies() {
        let refusal = resolve(&cluster(EmulationPolicy::None), None, &verdict(false)).unwrap_err();
        expect![[r#"hardware virtualization does not work on this node: /dev/kvm does not exist (DeviceMissing); and software emulation is not permitted (policy None, by a test); make hardware virtualization work (`anyvirt doctor` shows how), or permit software emulation: `anyvirt emulation on`, or set debug.useEmulation to "true" in the ConfigMap openshift-cnv/kubevirt-config"#]]
            .assert_eq(&refusal.to_string());
    }

    #[test]
    fn a_guest_that_runs_on_something_else_than_chosen_says_so() {
        let decision = resolve(&cluster(EmulationPolicy::Software), None, &verdict(true)).unwrap();
        let status = decision.status(Accelerator::Tcg);
        assert_eq!(
            (status.type_.as_str(), status.reason.as_deref()),
            ("TCG", Some("OtherThanChosen"))
        );
        let condition = decision.condition(Accelerator::Kvm, Timestamp::UNIX_EPOCH);
        assert_eq!(condition.status, "False");
    }

    #[test]
    fn pods_ask_for_devices_exactly_where_emulation_is_not_permitted() {
        use EmulationPolicy::{None as No, Software};
        let interface = |model: Option<&str>| Interface {
            name: "default".to_owned(),
            model: model.map(str::to_owned),
            ..Interface::default()
        };
        let spec = |interfaces: Vec<Interface>, attach: Option<bool>| {
            let mut spec = VirtualMachineInstanceSpec::default();
            spec.domain.devices.interfaces = interfaces;
            spec.domain.devices.autoattach_pod_interface = attach;
            spec
        };
        let kvm = names::resources::KVM;
        let vhost = names::resources::VHOST_NET;
        for (policy, forced, spec, expected) in [
            (
                No,
                None,
                spec(vec![interface(None)], None),
                vec![kvm, vhost],
            ),
            (
                No,
                None,
                spec(vec![interface(Some("virtio"))], None),
                vec![kvm, vhost],
            ),
            (
                No,
                None,
                spec(vec![interface(Some("e1000"))], None),
                vec![kvm],
            ),
            (No, None, spec(vec![], None), vec![kvm, vhost]),
            (No, None, spec(vec![], Some(false)), vec![kvm]),
            (Software, None, spec(vec![interface(None)], None), vec![]),
            (
                Software,
                Some(Accelerator::Kvm),
                spec(vec![], None),
                vec![kvm, vhost],
            ),
            (
                No,
                Some(Accelerator::Tcg),
                spec(vec![], None),
                vec![kvm, vhost],
            ),
        ] {
            let devices = devices(policy, forced, &spec);
            assert_eq!(
                devices.keys().map(String::as_str).collect::<Vec<_>>(),
                expected
            );
        }
    }

    #[test]
    fn a_node_that_was_not_looked_at_is_not_usable() {
        let verdict = NodeVerdict::of(&Node::default());
        assert!(!verdict.usable);
        assert_eq!(verdict.reason, "NotProbed");
    }
}
