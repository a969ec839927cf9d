//! The policy of one virtual machine: its own choice or the cluster's, capped by Namespace and Node.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::{ClusterPolicy, Problem};
use super::{Accelerator, EmulationPolicy, forced};
use crate::names;
use crate::virtual_machine::VirtualMachine;
use crate::virtual_machine_instance::VirtualMachineInstance;

/// Where a policy is written.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum Scope {
    /// For the whole cluster; in force unless the virtual machine says otherwise.
    Cluster,
    /// By the virtual machine itself.
    VirtualMachine,
    /// A cap on all virtual machines of a namespace.
    Namespace,
    /// A cap on all virtual machines of a node.
    Node,
}

/// One place that was looked at, and what it says.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Considered {
    /// Its kind.
    pub scope: Scope,
    /// The place, e.g. `Namespace team-a label anyvirt.io/emulation-policy`.
    pub place: String,
    /// What it says.
    pub policy: EmulationPolicy,
}

/// The most that a Namespace or Node permits. It never grants anything.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cap {
    /// [`Scope::Namespace`] or [`Scope::Node`].
    pub scope: Scope,
    /// The place, e.g. `Node n1 label anyvirt.io/emulation-policy`.
    pub place: String,
    /// The most that is permitted.
    pub policy: EmulationPolicy,
    /// Why the label could not be read, if so; the policy is `None` then.
    pub problem: Option<Problem>,
}

impl Cap {
    /// The cap that the labels of an object of this scope and name set, if they set one. A value that
    /// is no policy counts as `None`: whoever wrote it wanted to restrict something.
    pub fn of_labels(scope: Scope, name: &str, labels: &BTreeMap<String, String>) -> Option<Self> {
        let key = names::labels::EMULATION_POLICY;
        let value = labels.get(key)?;
        let place = format!("{scope:?} {name} label {key}");
        let (policy, problem) = match EmulationPolicy::parse(value) {
            Some(policy) => (policy, None),
            None => {
                let message = format!(
                    "{place}: \"{value}\" is no policy and counts as None; write None, Hardware or \
                     Software, or remove the label"
                );
                let problem = Problem::new("InvalidValue", message);
                (EmulationPolicy::None, Some(problem))
            }
        };
        Some(Self {
            scope,
            place,
            policy,
            problem,
        })
    }

    fn considered(&self) -> Considered {
        Considered {
            scope: self.scope,
            place: self.place.clone(),
            policy: self.policy,
        }
    }
}

/// The policy of one virtual machine, and everything that had a say in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EffectivePolicy {
    /// The policy.
    pub policy: EmulationPolicy,
    /// The place that decided it.
    pub decided_by: String,
    /// Every place that says something: the cluster's, the machine's, then the caps.
    pub considered: Vec<Considered>,
    /// What was not understood on the way.
    pub problems: Vec<Problem>,
}

impl Default for EffectivePolicy {
    /// No emulation, because nobody said otherwise.
    fn default() -> Self {
        effective(&ClusterPolicy::default(), None, None)
    }
}

/// The policy of a virtual machine before it has a node.
///
/// The machine's own choice (`vm`: the place where it is written, and what it says) stands before the
/// cluster's in both directions; the Namespace's cap stands above both.
pub fn effective(
    cluster: &ClusterPolicy,
    vm: Option<(String, EmulationPolicy)>,
    namespace: Option<&Cap>,
) -> EffectivePolicy {
    let mut considered = vec![Considered {
        scope: Scope::Cluster,
        place: cluster.decided_by.clone(),
        policy: cluster.policy,
    }];
    considered.extend(vm.map(|(place, policy)| Considered {
        scope: Scope::VirtualMachine,
        place,
        policy,
    }));
    let base = &considered[considered.len() - 1];
    let effective = EffectivePolicy {
        policy: base.policy,
        decided_by: base.place.clone(),
        considered,
        problems: Vec::new(),
    };
    effective.capped(namespace)
}

impl EffectivePolicy {
    /// The same on a node whose label sets `cap`.
    pub fn capped_by_node(&self, cap: Option<&Cap>) -> Self {
        self.clone().capped(cap)
    }

    fn capped(mut self, cap: Option<&Cap>) -> Self {
        let Some(cap) = cap else { return self };
        self.considered.push(cap.considered());
        self.problems.extend(cap.problem.clone());
        if cap.policy < self.policy {
            self.policy = cap.policy;
            self.decided_by.clone_from(&cap.place);
        }
        self
    }

    /// What stands between this policy and software emulation: the machine's own word or else the
    /// cluster's, and each cap, as far as they do not permit it.
    pub(super) fn in_the_way(&self) -> impl Iterator<Item = &Considered> {
        let own = self
            .considered
            .iter()
            .any(|place| place.scope == Scope::VirtualMachine);
        let counts = move |place: &&Considered| !own || place.scope != Scope::Cluster;
        let counting = self.considered.iter().filter(counts);
        counting.filter(|place| !place.policy.permits_software())
    }

    /// The policy under which an object was made, from its annotations. None: it carries none, or one
    /// that is no policy.
    pub fn of_annotations(annotations: &BTreeMap<String, String>) -> Option<Self> {
        let policy =
            EmulationPolicy::parse(annotations.get(names::annotations::EMULATION_POLICY)?)?;
        let decided_by = annotations
            .get(names::annotations::EMULATION_DECIDED_BY)
            .cloned()
            .unwrap_or_else(|| "an unknown place".to_owned());
        // Objects of earlier versions carry no list.
        let considered = annotations
            .get(names::annotations::EMULATION_CONSIDERED)
            .and_then(|text| serde_json::from_str(text).ok())
            .filter(|list: &Vec<Considered>| !list.is_empty())
            .unwrap_or_else(|| {
                vec![Considered {
                    scope: Scope::Cluster,
                    place: decided_by.clone(),
                    policy,
                }]
            });
        Some(Self {
            policy,
            decided_by,
            considered,
            problems: Vec::new(),
        })
    }

    /// The annotations that record the policy on a pod or VMI.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let considered = serde_json::to_string(&self.considered).unwrap_or_default();
        [
            (
                names::annotations::EMULATION_POLICY,
                self.policy.to_string(),
            ),
            (
                names::annotations::EMULATION_DECIDED_BY,
                self.decided_by.clone(),
            ),
            (names::annotations::EMULATION_CONSIDERED, considered),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// An annotation by which a virtual machine insists on an accelerator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ForcedAccelerator<'a> {
    /// As it is written; admission refuses all but `kvm` and `tcg`.
    pub value: &'a str,
    /// Where it is written, as a JSON pointer into the VirtualMachine.
    pub pointer: &'static str,
}

impl ForcedAccelerator<'_> {
    /// The accelerator of that name, if it is one.
    pub fn accelerator(&self) -> Option<Accelerator> {
        super::named(self.value)
    }
}

impl VirtualMachine {
    /// The annotation by which its next instance insists on an accelerator: the template's, else its own,
    /// which is the one annotation of the VM itself that its instance heeds.
    pub fn forced_accelerator(&self) -> Option<ForcedAccelerator<'_>> {
        self.accelerator_annotations().next()
    }

    /// All annotations by which it insists on an accelerator, the strongest first.
    pub fn accelerator_annotations(&self) -> impl Iterator<Item = ForcedAccelerator<'_>> {
        let template = self.spec.template.as_ref();
        let template = template.and_then(|it| it.metadata.as_ref()?.annotations.as_ref());
        let places = [
            (
                template,
                "/spec/template/metadata/annotations/anyvirt.io~1accelerator",
            ),
            (
                self.metadata.annotations.as_ref(),
                "/metadata/annotations/anyvirt.io~1accelerator",
            ),
        ];
        places.into_iter().filter_map(|(annotations, pointer)| {
            let value = annotations?.get(names::annotations::ACCELERATOR)?;
            Some(ForcedAccelerator { value, pointer })
        })
    }
}

impl VirtualMachineInstance {
    /// What the instance itself says about emulation, and where.
    pub fn own_emulation_policy(&self) -> Option<(String, EmulationPolicy)> {
        let policy = self.spec.emulation_policy?;
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let place = format!("VirtualMachineInstance {namespace}/{name} spec.emulationPolicy");
        Some((place, policy))
    }

    /// The accelerator it insists on.
    ///
    /// # Errors
    /// The annotation's value when it is neither `kvm` nor `tcg`.
    pub fn forced_accelerator(&self) -> Result<Option<Accelerator>, String> {
        match &self.metadata.annotations {
            Some(annotations) => forced(annotations),
            None => Ok(None),
        }
    }
}
