//! Every combination of cluster, machine, Namespace, Node, annotation, verdict and architecture.

use std::collections::BTreeMap;

use super::rules::{self, Kind, Label, Row};
use crate::accelerator::{
    Accelerator, Cap, Class, ClusterPolicy, Decision, EffectivePolicy, EmulationPolicy, NodeFacts,
    NodeVerdict, Refusal, Remedy, Scope, Step, effective, resolve,
};

const GUEST: &str = "amd64";
const WAYS: [EmulationPolicy; 3] = EmulationPolicy::ALL;
const LABELS: [Label; 5] = [
    Label::Absent,
    Label::Way(0),
    Label::Way(1),
    Label::Way(2),
    Label::Unreadable,
];

/// A row as the code under test sees it.
#[derive(Clone)]
struct Scene {
    cluster: ClusterPolicy,
    machine: Option<EmulationPolicy>,
    namespace: BTreeMap<String, String>,
    forced: Option<Accelerator>,
    node: NodeFacts,
}

fn labels(label: Label) -> BTreeMap<String, String> {
    let value = match label {
        Label::Absent => return BTreeMap::new(),
        Label::Way(way) => WAYS[usize::from(way)].to_string(),
        Label::Unreadable => "software".to_owned(),
    };
    [("anyvirt.io/emulation-policy".to_owned(), value)].into()
}

fn scene(row: &Row, class: Class) -> Scene {
    let mut emulates = std::collections::BTreeSet::new();
    if row.kind == Kind::ForeignWithEmulator {
        emulates.insert(GUEST.to_owned());
    }
    let architecture = match row.kind {
        Kind::Native => GUEST,
        Kind::ForeignWithEmulator | Kind::ForeignWithout => "arm64",
    };
    Scene {
        cluster: ClusterPolicy {
            policy: WAYS[usize::from(row.cluster)],
            decided_by: "cluster".to_owned(),
            problems: Vec::new(),
        },
        machine: row.machine.map(|way| WAYS[usize::from(way)]),
        namespace: labels(row.namespace),
        forced: match row.forced {
            None => None,
            Some("kvm") => Some(Accelerator::Kvm),
            Some(_) => Some(Accelerator::Tcg),
        },
        node: NodeFacts {
            verdict: NodeVerdict {
                usable: row.works,
                class: class.to_string(),
                stage: String::new(),
                message: "evidence".to_owned(),
            },
            cap: Cap::of_labels(Scope::Node, "n1", &labels(row.node)),
            architecture: architecture.to_owned(),
            emulates,
            kvm_device: row.device,
            slowdown: Some(7.84),
        },
    }
}

impl Scene {
    fn policy(&self) -> EffectivePolicy {
        let machine = self.machine.map(|policy| ("machine".to_owned(), policy));
        let cap = Cap::of_labels(Scope::Namespace, "ns", &self.namespace);
        effective(&self.cluster, machine, cap.as_ref())
    }

    fn resolve(&self) -> Result<Decision, Refusal> {
        resolve(&self.policy(), self.forced, GUEST, &self.node)
    }

    /// The same after somebody did what a step says.
    fn after(&self, step: &Step) -> Self {
        let mut after = self.clone();
        match step {
            Step::RepairHardware => {
                after.node.verdict.usable = true;
                after.node.kvm_device = true;
            }
            Step::ProvideDevice => after.node.kvm_device = true,
            Step::PermitByCluster { place } => {
                assert_eq!(place, "cluster");
                after.cluster.policy = EmulationPolicy::Software;
            }
            Step::PermitByVirtualMachine => after.machine = Some(EmulationPolicy::Software),
            Step::RaiseCap { scope, place } => {
                let kept = labels(Label::Way(2));
                match scope {
                    Scope::Namespace => {
                        assert_eq!(place, "Namespace ns label anyvirt.io/emulation-policy");
                        after.namespace = kept;
                    }
                    Scope::Node => {
                        assert_eq!(place, "Node n1 label anyvirt.io/emulation-policy");
                        after.node.cap = Cap::of_labels(Scope::Node, "n1", &kept);
                    }
                    Scope::Cluster | Scope::VirtualMachine => panic!("{scope:?} is no cap"),
                }
            }
            Step::RemoveForced => after.forced = None,
            Step::InstallEmulator { architecture } => {
                after.node.emulates.insert(architecture.clone());
            }
            Step::UseNativeNode { architecture } => {
                after.node = NodeFacts {
                    verdict: NodeVerdict {
                        usable: true,
                        ..NodeVerdict::default()
                    },
                    architecture: architecture.clone(),
                    kvm_device: true,
                    ..NodeFacts::default()
                };
            }
        }
        after
    }

    fn after_all<'a>(&self, steps: impl IntoIterator<Item = &'a Step>) -> Self {
        steps
            .into_iter()
            .fold(self.clone(), |scene, step| scene.after(step))
    }
}

/// Classes that stand for all where only their being usable matters.
const FEW: [Class; 3] = [
    Class::Usable,
    Class::DeviceMissing,
    Class::GuestKernelEmulated,
];

fn every_row(classes: &[Class], mut check: impl FnMut(&Row, &Scene)) -> usize {
    let mut rows = 0;
    for cluster in 0..3 {
        for machine in [None, Some(0), Some(1), Some(2)] {
            for namespace in LABELS {
                for node in LABELS {
                    for forced in [None, Some("kvm"), Some("tcg")] {
                        for kind in [
                            Kind::Native,
                            Kind::ForeignWithEmulator,
                            Kind::ForeignWithout,
                        ] {
                            for &class in classes {
                                for device in [true, false] {
                                    let row = Row {
                                        cluster,
                                        machine,
                                        namespace,
                                        node,
                                        forced,
                                        works: class == Class::Usable,
                                        device,
                                        kind,
                                    };
                                    check(&row, &scene(&row, class));
                                    rows += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    rows
}

#[test]
fn every_combination_is_resolved_by_the_rules() {
    let rows = every_row(&Class::ALL, |row, scene| {
        let found = scene.resolve();
        let kind = match &found {
            Ok(decision) if decision.accelerator == Accelerator::Kvm => Ok("KVM"),
            Ok(_) => Ok("TCG"),
            Err(refusal) => Err(refusal.reason),
        };
        assert_eq!(kind, rules::outcome(row), "{row:?}: {found:?}");
        let policy = scene.policy().capped_by_node(scene.node.cap.as_ref());
        let (by, way) = rules::decider(row);
        assert_eq!(policy.policy, WAYS[usize::from(way)], "{row:?}");
        assert!(policy.decided_by.starts_with(by), "{row:?}: {policy:?}");
        if let Ok(decision) = found {
            assert_eq!(decision.policy, policy, "{row:?}");
        }
    });
    assert_eq!(rows, 3 * 4 * 5 * 5 * 3 * 3 * 20 * 2);
}

#[test]
fn every_remedy_helps_and_has_no_step_too_many() {
    let mut tried: BTreeMap<&'static str, usize> = BTreeMap::new();
    every_row(&FEW, |row, scene| {
        let Err(refusal) = scene.resolve() else {
            return;
        };
        assert!(!refusal.cause.is_empty());
        assert!(!refusal.remedies.is_empty(), "{row:?}: {refusal:?}");
        for Remedy { steps } in &refusal.remedies {
            assert!(!steps.is_empty(), "{row:?}");
            let after = scene.after_all(steps).resolve();
            assert!(after.is_ok(), "{row:?}: {steps:?} does not help: {after:?}");
            for left_out in 0..steps.len() {
                let others = steps.iter().enumerate();
                let others = others.filter_map(|(at, step)| (at != left_out).then_some(step));
                let after = scene.after_all(others).resolve();
                assert!(
                    after.is_err(),
                    "{row:?}: {steps:?} does not need step {left_out}"
                );
            }
        }
        *tried.entry(refusal.reason).or_default() += 1;
    });
    let reasons: Vec<&str> = tried.keys().copied().collect();
    assert_eq!(
        reasons,
        [
            "DeviceMissing",
            "EmulationNotPermitted",
            "EmulatorMissing",
            "ForeignArchitecture",
            "HardwareVirtualizationUnusable"
        ]
    );
}

#[test]
fn the_status_tells_what_was_decided_and_what_it_costs() {
    every_row(&FEW, |row, scene| {
        let Ok(decision) = scene.resolve() else {
            return;
        };
        let status = decision.status(decision.accelerator);
        let emulated = status.type_ == "TCG";
        let slowdown = (emulated && row.kind == Kind::Native).then_some("7.8");
        assert_eq!(status.expected_slowdown.as_deref(), slowdown, "{row:?}");
        let isolation = if emulated { "process" } else { "hardware" };
        assert_eq!(status.isolation.as_deref(), Some(isolation));
        assert_eq!(status.architecture.as_deref(), Some(GUEST));
        assert_eq!(
            status.decided_by.as_deref(),
            Some(decision.policy.decided_by.as_str())
        );
        let places = 1
            + usize::from(row.machine.is_some())
            + usize::from(row.namespace != Label::Absent)
            + usize::from(row.node != Label::Absent);
        assert_eq!(status.considered.len(), places, "{row:?}");
    });
}
