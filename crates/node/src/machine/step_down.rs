//! What follows when KVM fails a guest. Pure, but for the record in the machine's folder.
//!
//! ```text
//! KVM fails a guest ─┬─ its policy permits emulation ──► StartAgain: QEMU is killed, and the same
//!   (once, by its    │                                   guest starts again, emulated
//!    launcher)       ├─ it does not, or KVM is forced ─► Fail: the VMI fails, naming the cure
//!                    └─ KVM is forced, and works on ───► LeaveAlone: told, and nothing more
//! ```
//! The answer is written down before anything is done, and is given once in the life of a machine:
//! so nothing happens twice, and the machine never goes round in circles, even if this process dies
//! in between. Told it is in any case: by an event, the node's verdict, and the VMI's status.

use std::io;
use std::path::Path;

use api::accelerator::{self, Accelerator, Decision, EffectivePolicy, NodeFacts};
use api::launcher::{KvmFailure, KvmFailureKind};
use api::names::annotations;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::{read_json, write_json};
use crate::event::Fact;

/// In the machine's folder.
const FILE: &str = "step-down.json";
/// Why a guest is emulated that KVM failed.
pub(crate) const STEPPED_DOWN: &str = "SteppedDown";
/// How a guest ended that KVM failed and that may not be emulated.
pub(crate) const KVM_FAILED: &str = "KvmFailed";

/// What was decided about a guest that KVM failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepDown {
    /// What its launcher saw.
    pub(crate) failure: KvmFailure,
    /// What follows.
    pub(crate) answer: Answer,
    /// When that was decided.
    pub(crate) at: Timestamp,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It starts again, emulated.
    StartAgain,
    /// It fails, for this reason.
    Fail {
        /// A sentence with the cure.
        message: String,
    },
    /// It runs on.
    LeaveAlone {
        /// A sentence with the cure.
        message: String,
    },
}

/// A guest that KVM failed.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What its launcher saw.
    pub failure: &'a KvmFailure,
    /// The accelerator that its annotation forces.
    pub forced: Option<Accelerator>,
    /// The policy under which it runs.
    pub policy: &'a EffectivePolicy,
    /// Its architecture.
    pub architecture: &'a str,
    /// What the node knows of itself.
    pub node: &'a NodeFacts,
}

impl StepDown {
    /// Reads what was decided about the machine in `directory`.
    pub(crate) fn read(directory: &Path) -> io::Result<Option<Self>> {
        read_json(&directory.join(FILE))
    }

    /// Writes it down, durably.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        write_json(directory, FILE, self)
    }

    /// Whether the guest starts again.
    pub(crate) fn starts_again(&self) -> bool {
        self.answer == Answer::StartAgain
    }

    /// What is told of it.
    pub(crate) fn fact(&self) -> Fact {
        match &self.answer {
            Answer::StartAgain => Fact::warning("AcceleratorSteppedDown", self.message()),
            Answer::Fail { message } => Fact::warning(KVM_FAILED, message.clone()),
            Answer::LeaveAlone { message } => Fact::warning("KvmMakesNoProgress", message.clone()),
        }
    }

    /// Why the guest is emulated.
    pub(crate) fn message(&self) -> String {
        format!(
            "KVM failed this guest, which was started again under software emulation, once: {}: {}",
            self.failure.kind.class(),
            self.failure.evidence
        )
    }

    /// The decision by which the guest starts again, as `decided` for a node whose hardware
    /// virtualization does not work.
    pub(crate) fn decision(&self, decided: Decision) -> Decision {
        Decision {
            reason: STEPPED_DOWN,
            message: self.message(),
            ..decided
        }
    }
}

/// The node as it is once KVM has failed a guest.
#[must_use]
pub fn lowered(node: &NodeFacts, failure: &KvmFailure) -> NodeFacts {
    let mut node = node.clone();
    node.verdict.usable = false;
    failure.kind.class().clone_into(&mut node.verdict.class);
    "Guest".clone_into(&mut node.verdict.stage);
    node.verdict.message.clone_from(&failure.evidence);
    node
}

/// Decides what follows.
#[must_use]
pub fn answer(question: &Question<'_>) -> Answer {
    let failure = question.failure;
    if question.forced == Some(Accelerator::Kvm) {
        let message = format!(
            "KVM, which the annotation {} forces, fails this guest: {}: {}; it is never emulated \
             instead: remove the annotation, or make hardware virtualization work (`anyvirt doctor` \
             shows how)",
            annotations::ACCELERATOR,
            failure.kind.class(),
            failure.evidence
        );
        // Whoever forces KVM against the verdict may want just that: a guest that crawls.
        return match failure.kind {
            KvmFailureKind::NoProgress => Answer::LeaveAlone { message },
            KvmFailureKind::EntryFailed
            | KvmFailureKind::InternalError
            | KvmFailureKind::Refused => Answer::Fail { message },
        };
    }
    let node = lowered(question.node, failure);
    match accelerator::resolve(question.policy, None, question.architecture, &node) {
        Ok(decision) if decision.accelerator == Accelerator::Tcg => Answer::StartAgain,
        // Not for a node whose verdict is as low as this one's.
        Ok(_) => Answer::Fail {
            message: format!("KVM failed this guest: {}", failure.evidence),
        },
        Err(refusal) => Answer::Fail {
            message: refusal.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::accelerator::{Cap, ClusterPolicy, EmulationPolicy, NodeVerdict, Scope};

    const KINDS: [KvmFailureKind; 4] = [
        KvmFailureKind::EntryFailed,
        KvmFailureKind::InternalError,
        KvmFailureKind::NoProgress,
        KvmFailureKind::Refused,
    ];

    fn failure(kind: KvmFailureKind) -> KvmFailure {
        KvmFailure {
            kind,
            evidence: "seen".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn policy(policy: EmulationPolicy) -> EffectivePolicy {
        let cluster = ClusterPolicy {
            policy,
            decided_by: "ConfigMap a/b".to_owned(),
            problems: Vec::new(),
        };
        accelerator::effective(&cluster, None, None)
    }

    fn node(cap: Option<EmulationPolicy>) -> NodeFacts {
        NodeFacts {
            // As the probe had it, or an admin.
            verdict: NodeVerdict {
                usable: true,
                class: "Usable".to_owned(),
                ..NodeVerdict::default()
            },
            architecture: "amd64".to_owned(),
            kvm_device: true,
            cap: cap.map(|policy| Cap {
                scope: Scope::Node,
                place: "Node n label".to_owned(),
                policy,
                problem: None,
            }),
            ..NodeFacts::default()
        }
    }

    #[test]
    fn every_case_has_the_answer_that_its_policy_has() {
        use EmulationPolicy::{Hardware, None as Forbidden, Software};
        for kind in KINDS {
            for (allowed, cap, forced, expected) in [
                (Software, None, None, "start again"),
                (Software, Some(Software), None, "start again"),
                (Software, Some(Hardware), None, "fail"),
                (Software, Some(Forbidden), None, "fail"),
                (Hardware, None, None, "fail"),
                (Forbidden, None, None, "fail"),
                (Forbidden, Some(Software), None, "fail"),
                (Software, None, Some(Accelerator::Kvm), "forced"),
                (Forbidden, None, Some(Accelerator::Kvm), "forced"),
            ] {
                let failure = failure(kind);
                let found = answer(&Question {
                    failure: &failure,
                    forced,
                    policy: &policy(allowed),
                    architecture: "amd64",
                    node: &node(cap),
                });
                let crawls = kind == KvmFailureKind::NoProgress;
                match (&found, expected) {
                    (Answer::StartAgain, "start again") => {}
                    (Answer::Fail { message }, "fail") => {
                        assert!(message.contains("seen"), "{message}");
                        assert!(message.contains("anyvirt doctor"), "no cure: {message}");
                    }
                    (Answer::Fail { message }, "forced") if !crawls => {
                        assert!(message.contains("remove the annotation"), "{message}");
                    }
                    (Answer::LeaveAlone { message }, "forced") if crawls => {
                        assert!(message.contains("remove the annotation"), "{message}");
                    }
                    _ => panic!("{kind:?} {allowed} {cap:?} {forced:?}: {found:?}"),
                }
                let told = StepDown {
                    failure,
                    answer: found,
                    at: Timestamp::UNIX_EPOCH,
                };
                // Never silent.
                assert!(told.fact().warning && told.fact().message.contains("seen"));
            }
        }
    }

    #[test]
    fn the_answer_is_remembered() {
        let directory = tempfile::tempdir().expect("a directory");
        let read = || StepDown::read(directory.path()).expect("readable");
        assert_eq!(read(), None);
        for answer in [
            Answer::StartAgain,
            Answer::Fail {
                message: "m".to_owned(),
            },
        ] {
            let decided = StepDown {
                failure: failure(KvmFailureKind::Refused),
                answer,
                at: Timestamp::UNIX_EPOCH,
            };
            decided.write(directory.path()).expect("written");
            assert_eq!(read(), Some(decided));
        }
    }
}
