//! Which accelerator a guest gets on a node, or why none and what would help.

use std::fmt;

use jiff::Timestamp;

use super::Accelerator;
use super::class::Class;
use super::effective::{EffectivePolicy, Scope};
use super::facts::NodeFacts;
use super::policy::{POLICY_FIELD, SWITCH};
use crate::condition::Condition;
use crate::names;
use crate::virtual_machine_instance::AcceleratorStatus;

/// Which accelerator a guest gets, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The accelerator.
    pub accelerator: Accelerator,
    /// The policy that permits it, the node's cap included.
    pub policy: EffectivePolicy,
    /// One CamelCase word that says why.
    pub reason: &'static str,
    /// A sentence that says why.
    pub message: String,
    /// The guest's architecture, in Go's names.
    pub architecture: String,
    /// How many times slower than KVM it is expected to be under emulation there; none if that is not
    /// known, or if the node's measurement says nothing about a guest of another architecture.
    pub slowdown: Option<f64>,
}

/// Why a guest gets no accelerator at all.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{cause}; {}", remedies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", or "))]
pub struct Refusal {
    /// One CamelCase word for programs.
    pub reason: &'static str,
    /// What is in the way.
    pub cause: String,
    /// The same with what a verdict means in place of what was seen, where that is told.
    pub in_short: Option<String>,
    /// What helps, each by itself.
    pub remedies: Vec<Remedy>,
}

impl Refusal {
    /// What is in the way, as short as it can be said.
    pub fn brief(&self) -> &str {
        self.in_short.as_deref().unwrap_or(&self.cause)
    }
}

/// Something that helps: all of its steps together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remedy {
    /// At least one.
    pub steps: Vec<Step>,
}

/// One thing a person can do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Make the node's hardware virtualization work.
    RepairHardware,
    /// Give the node a `/dev/kvm` that opens.
    ProvideDevice,
    /// Permit software emulation for the cluster; `place` decides today.
    PermitByCluster {
        /// The place that decides the cluster's policy today.
        place: String,
    },
    /// Let the virtual machine itself choose software emulation.
    PermitByVirtualMachine,
    /// Raise the cap at `place` to `Software`.
    RaiseCap {
        /// Whose cap it is.
        scope: Scope,
        /// The place that sets it.
        place: String,
    },
    /// Take the annotation off that forces an accelerator.
    RemoveForced,
    /// Install the emulator for this architecture on the node.
    InstallEmulator {
        /// The guest's architecture, in Go's names.
        architecture: String,
    },
    /// Run the guest on a node of this architecture, with working hardware virtualization.
    UseNativeNode {
        /// The guest's architecture, in Go's names.
        architecture: String,
    },
}

impl fmt::Display for Remedy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            if at > 0 {
                formatter.write_str(" and ")?;
            }
            step.fmt(formatter)?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RepairHardware => formatter
                .write_str("make hardware virtualization work (`anyvirt doctor` shows how)"),
            Self::ProvideDevice => formatter
                .write_str("give the node a /dev/kvm that opens (`anyvirt doctor` shows how)"),
            // This field stands above the switch, so the switch would change nothing.
            Self::PermitByCluster { place } if place.ends_with(POLICY_FIELD) => {
                write!(
                    formatter,
                    "permit software emulation: set {place} to Software"
                )
            }
            Self::PermitByCluster { .. } => write!(
                formatter,
                "permit software emulation: `anyvirt emulation on`, or set {SWITCH} to \"true\" in the \
                 ConfigMap {}/{}",
                names::NAMESPACE_OPENSHIFT_CNV,
                names::CONFIG_MAP
            ),
            Self::PermitByVirtualMachine => formatter.write_str(
                "permit it for this virtual machine alone: set its spec.emulationPolicy \
                 (spec.template.spec.emulationPolicy of a VirtualMachine) to Software",
            ),
            Self::RaiseCap { place, .. } => {
                write!(
                    formatter,
                    "set the {place} to Software, or remove that label"
                )
            }
            Self::RemoveForced => {
                write!(
                    formatter,
                    "remove the annotation {}",
                    names::annotations::ACCELERATOR
                )
            }
            Self::InstallEmulator { architecture } => write!(
                formatter,
                "install {} for {architecture} on the node (on Debian: apt-get install {})",
                emulator(architecture, "and"),
                emulator_packages(architecture)
            ),
            Self::UseNativeNode { architecture } => write!(
                formatter,
                "run it on a node of architecture {architecture} with working hardware virtualization"
            ),
        }
    }
}

/// What guests of an architecture run by, in words, joined by `join`.
pub(crate) fn emulator(architecture: &str, join: &str) -> String {
    match architecture {
        // Its disks start by EFI firmware, which QEMU does not bring.
        "arm64" => format!("QEMU's emulator {join} EFI firmware"),
        _ => "QEMU's emulator".to_owned(),
    }
}

/// Debian's packages of it.
pub(crate) fn emulator_packages(architecture: &str) -> &'static str {
    match architecture {
        "amd64" => "qemu-system-x86",
        "arm64" => "qemu-system-arm qemu-efi-aarch64",
        _ => "qemu-system-misc",
    }
}

/// The best accelerator that works on a node and is permitted.
///
/// `forced` is what the VM's annotation `anyvirt.io/accelerator` asks for; it chooses among what is
/// permitted, and grants nothing. KVM is always permitted; forced, it is taken against the node's
/// verdict wherever its device opens.
///
/// # Errors
/// A [`Refusal`] when nothing that works is permitted.
pub fn resolve(
    policy: &EffectivePolicy,
    forced: Option<Accelerator>,
    guest_architecture: &str,
    node: &NodeFacts,
) -> Result<Decision, Refusal> {
    let question = Question {
        policy: policy.capped_by_node(node.cap.as_ref()),
        architecture: guest_architecture,
        node,
    };
    match forced {
        Some(Accelerator::Kvm) => question.forced_kvm(),
        Some(Accelerator::Tcg) => question.forced_tcg(),
        None if question.is_native() => question.native(),
        None => question.foreign(),
    }
}

/// A guest and a node.
struct Question<'a> {
    /// The node's cap is in it.
    policy: EffectivePolicy,
    architecture: &'a str,
    node: &'a NodeFacts,
}

impl Question<'_> {
    fn is_native(&self) -> bool {
        self.architecture == self.node.architecture
    }

    fn permitted(&self) -> bool {
        self.policy.policy.permits_software()
    }

    fn native(&self) -> Result<Decision, Refusal> {
        let verdict = &self.node.verdict;
        if verdict.usable {
            let message = "hardware virtualization works on this node".to_owned();
            return Ok(self.decision(Accelerator::Kvm, "HardwareVirtualizationUsable", message));
        }
        let reason = "HardwareVirtualizationUnusable";
        let evidence = verdict.evidence();
        if self.permitted() {
            let message = format!(
                "software emulation, {} slower than KVM, because hardware virtualization does not work on \
                 this node: {evidence}; permitted by {}",
                self.times(),
                self.policy.decided_by
            );
            return Ok(self.decision(Accelerator::Tcg, reason, message));
        }
        let cause = |seen: &str| {
            format!(
                "hardware virtualization does not work on this node: {seen}; and software emulation is not \
                 permitted ({})",
                self.by_whom()
            )
        };
        let meaning = Class::parse(&verdict.class).in_short();
        let mut remedies = vec![Remedy {
            steps: vec![Step::RepairHardware],
        }];
        remedies.extend(self.permissions(&[]));
        Err(Refusal {
            reason,
            cause: cause(&evidence),
            in_short: (!meaning.is_empty()).then(|| cause(meaning)),
            remedies,
        })
    }

    fn foreign(&self) -> Result<Decision, Refusal> {
        let (guest, host) = (self.architecture, &self.node.architecture);
        if !self.permitted() {
            let cause = format!(
                "a guest of architecture {guest} can only be emulated on this node of architecture {host}, \
                 and software emulation is not permitted ({})",
                self.by_whom()
            );
            let mut remedies = self.permissions(&[]);
            remedies.push(self.native_node(&[]));
            return Err(Refusal {
                reason: "EmulationNotPermitted",
                cause,
                in_short: None,
                remedies,
            });
        }
        if !self.node.can_emulate(guest) {
            return Err(self.no_emulator());
        }
        let message = format!(
            "software emulation, several times slower than KVM, because the guest's architecture is {guest} \
             and the node's is {host}; permitted by {}",
            self.policy.decided_by
        );
        Ok(self.decision(Accelerator::Tcg, "CrossArchitectureEmulation", message))
    }

    fn forced_tcg(&self) -> Result<Decision, Refusal> {
        let annotation = names::annotations::ACCELERATOR;
        let without: &[Step] = if self.node.verdict.usable {
            &[]
        } else {
            &[Step::RepairHardware]
        };
        if !self.permitted() {
            let cause = format!(
                "the annotation {annotation} asks for software emulation, which is not permitted ({})",
                self.by_whom()
            );
            let mut remedies = self.permissions(&[]);
            remedies.push(if self.is_native() {
                Remedy {
                    steps: [&[Step::RemoveForced], without].concat(),
                }
            } else {
                // Another node has not this one's cap, and emulates a guest of its own architecture too.
                let only_here = self
                    .policy
                    .in_the_way()
                    .all(|place| place.scope == Scope::Node);
                self.native_node(if only_here {
                    &[]
                } else {
                    &[Step::RemoveForced]
                })
            });
            return Err(Refusal {
                reason: "EmulationNotPermitted",
                cause,
                in_short: None,
                remedies,
            });
        }
        if !self.node.can_emulate(self.architecture) {
            return Err(self.no_emulator());
        }
        let message = format!(
            "the annotation {annotation} asks for software emulation, which is {} slower than KVM",
            self.times()
        );
        Ok(self.decision(Accelerator::Tcg, "ForcedByAnnotation", message))
    }

    fn forced_kvm(&self) -> Result<Decision, Refusal> {
        let annotation = names::annotations::ACCELERATOR;
        let node = self.node;
        if !self.is_native() {
            let cause = format!(
                "the annotation {annotation} asks for KVM, which runs guests of this node's architecture {} \
                 only; the guest's is {}",
                node.architecture, self.architecture
            );
            let mut remedies = vec![self.native_node(&[])];
            remedies.extend(self.permissions(&[Step::RemoveForced]));
            return Err(Refusal {
                reason: "ForeignArchitecture",
                cause,
                in_short: None,
                remedies,
            });
        }
        let evidence = node.verdict.evidence();
        let message = if node.verdict.usable {
            format!("the annotation {annotation} asks for KVM, which works on this node")
        } else if node.kvm_device {
            format!(
                "the annotation {annotation} asks for KVM against this node's verdict, which is that \
                 hardware virtualization does not work: {evidence}"
            )
        } else {
            let cause = format!(
                "the annotation {annotation} asks for KVM, but this node has no /dev/kvm that opens: \
                 {evidence}"
            );
            let mut remedies = vec![Remedy {
                steps: vec![Step::ProvideDevice],
            }];
            remedies.extend(self.permissions(&[Step::RemoveForced]));
            return Err(Refusal {
                reason: "DeviceMissing",
                cause,
                in_short: None,
                remedies,
            });
        };
        Ok(self.decision(Accelerator::Kvm, "ForcedByAnnotation", message))
    }

    fn no_emulator(&self) -> Refusal {
        let install = Step::InstallEmulator {
            architecture: self.architecture.to_owned(),
        };
        Refusal {
            reason: "EmulatorMissing",
            cause: format!(
                "a guest of architecture {} can only be emulated on this node of architecture {}, which lacks \
                 {} for it",
                self.architecture,
                self.node.architecture,
                emulator(self.architecture, "or")
            ),
            in_short: None,
            remedies: vec![
                Remedy {
                    steps: vec![install],
                },
                self.native_node(&[]),
            ],
        }
    }

    fn native_node(&self, before: &[Step]) -> Remedy {
        let node = Step::UseNativeNode {
            architecture: self.architecture.to_owned(),
        };
        Remedy {
            steps: [before, &[node]].concat(),
        }
    }

    /// The ways to have the guest emulated here: everything that is in the way is taken out of it. Where
    /// the cluster's word is in the way, the machine's own would do as well.
    fn permissions(&self, before: &[Step]) -> Vec<Remedy> {
        let mut own = None;
        let mut rest: Vec<Step> = Vec::new();
        for place in self.policy.in_the_way() {
            match place.scope {
                Scope::Cluster => {
                    let place = place.place.clone();
                    own = Some(vec![
                        Step::PermitByCluster { place },
                        Step::PermitByVirtualMachine,
                    ]);
                }
                Scope::VirtualMachine => own = Some(vec![Step::PermitByVirtualMachine]),
                scope @ (Scope::Namespace | Scope::Node) => rest.push(Step::RaiseCap {
                    scope,
                    place: place.place.clone(),
                }),
            }
        }
        if !self.node.can_emulate(self.architecture) {
            rest.push(Step::InstallEmulator {
                architecture: self.architecture.to_owned(),
            });
        }
        let alternatives = match own {
            Some(steps) => steps.into_iter().map(Some).collect(),
            None => vec![None],
        };
        alternatives
            .into_iter()
            .map(|own| Remedy {
                steps: before
                    .iter()
                    .cloned()
                    .chain(own)
                    .chain(rest.clone())
                    .collect(),
            })
            .collect()
    }

    fn by_whom(&self) -> String {
        format!(
            "policy {}, by {}",
            self.policy.policy, self.policy.decided_by
        )
    }

    /// "about 7.8 times", or what is known without a measurement.
    fn times(&self) -> String {
        match self.slowdown(Accelerator::Tcg) {
            Some(factor) => format!("about {factor:.1} times"),
            None => "several times".to_owned(),
        }
    }

    /// The calibration runs a guest of the node's own architecture.
    fn slowdown(&self, accelerator: Accelerator) -> Option<f64> {
        let emulated = accelerator == Accelerator::Tcg && self.is_native();
        self.node.slowdown.filter(|_| emulated)
    }

    fn decision(
        &self,
        accelerator: Accelerator,
        reason: &'static str,
        message: String,
    ) -> Decision {
        Decision {
            accelerator,
            policy: self.policy.clone(),
            reason,
            message,
            architecture: self.architecture.to_owned(),
            slowdown: self.slowdown(accelerator),
        }
    }
}

impl Decision {
    /// The status of a guest that was started by this decision, when QEMU reports `actual`.
    pub fn status(&self, actual: Accelerator) -> AcceleratorStatus {
        let (reason, message) = self.explained(actual);
        let emulated = actual == Accelerator::Tcg;
        let slowdown = self.slowdown.filter(|_| emulated);
        AcceleratorStatus {
            type_: actual.to_string(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            policy: Some(self.policy.policy.to_string()),
            decided_by: Some(self.policy.decided_by.clone()),
            considered: self.policy.considered.clone(),
            expected_slowdown: slowdown.map(|factor| format!("{factor:.1}")),
            isolation: Some(isolation_level(actual).to_owned()),
            adjustments: Vec::new(),
            architecture: Some(self.architecture.clone()),
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

/// What keeps a guest apart from its host and from other guests: the hardware, or only the process
/// that QEMU is in (QEMU's security policy makes no promise about emulated guests).
fn isolation_level(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "hardware",
        Accelerator::Tcg => "process",
    }
}
