//! The cluster's emulation policy, from all the places where it can be written.

mod places;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use places::Reading;
pub(crate) use places::letters_apart;
pub use places::{is_misspelt, switch_problem};

use super::EmulationPolicy;
use crate::hyper_converged::HyperConverged;
use crate::kubevirt::{EffectiveValue, EmulationStatus, KubeVirt};

/// The key of the legacy ConfigMap that permits software emulation.
pub const SWITCH: &str = "debug.useEmulation";

/// The field of the KubeVirt object that stands above every older place.
pub(super) const POLICY_FIELD: &str = "spec.configuration.emulationPolicy";

/// The variable of the server's environment by which HyperConverged's operator is told.
pub const ENVIRONMENT: &str = "KVM_EMULATION";

/// What decides when nothing is written anywhere.
const BY_DEFAULT: &str = "default";

/// All places where the switch can be written.
#[derive(Clone, Debug, Default)]
pub struct ClusterInputs<'a> {
    /// `data` of each legacy ConfigMap with its namespace; the first that has the key wins.
    pub config_maps: Vec<(&'a str, &'a BTreeMap<String, String>)>,
    /// The HyperConverged object, if there is one.
    pub hyper_converged: Option<&'a HyperConverged>,
    /// The variable `KVM_EMULATION` of the server's environment, by which HyperConverged's operator is
    /// told: `true` or `false`.
    pub environment: Option<&'a str>,
    /// The KubeVirt object, if there is one.
    pub kubevirt: Option<&'a KubeVirt>,
    /// The policy that stood before: it stays when the place that decides has an invalid value.
    pub last_good: Option<&'a ClusterPolicy>,
    /// The values of the other settings that stood before, likewise.
    pub last_values: &'a [EffectiveValue],
}

/// The emulation policy in force.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ClusterPolicy {
    /// The policy.
    pub policy: EmulationPolicy,
    /// The place that decided it, e.g. `ConfigMap openshift-cnv/kubevirt-config debug.useEmulation`.
    pub decided_by: String,
    /// What was not understood, and where places disagree.
    pub problems: Vec<Problem>,
}

/// Something in the configuration that a person should look at.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Problem {
    /// One CamelCase word: `InvalidValue`, `Conflict`, `Misspelt`, `UnknownKey`, `NotServed`.
    pub reason: String,
    /// A sentence that names the place, the value and the way out.
    pub message: String,
}

impl Problem {
    /// A problem with its reason in one word and a sentence.
    pub fn new(reason: &str, message: String) -> Self {
        Self {
            reason: reason.to_owned(),
            message,
        }
    }
}

impl Default for ClusterPolicy {
    /// No emulation, because nobody said otherwise.
    fn default() -> Self {
        Self {
            policy: EmulationPolicy::None,
            decided_by: BY_DEFAULT.to_owned(),
            problems: Vec::new(),
        }
    }
}

impl ClusterPolicy {
    /// The policy that follows from `inputs`. The strongest place that says something decides:
    /// KubeVirt `emulationPolicy`, the ConfigMaps in their order, HyperConverged, the environment,
    /// KubeVirt `useEmulation`.
    pub fn read(inputs: &ClusterInputs<'_>) -> Self {
        let mut problems = Vec::new();
        let places = places::read(inputs, &mut problems);
        let decided = decide(&places, inputs.last_good, &mut problems);
        let (policy, decided_by) =
            decided.unwrap_or((EmulationPolicy::None, BY_DEFAULT.to_owned()));
        Self {
            policy,
            decided_by,
            problems,
        }
    }

    /// Has somebody written something about emulation in one of the places? What cannot be understood
    /// is something too; what is empty is nothing.
    pub fn is_written(inputs: &ClusterInputs<'_>) -> bool {
        let places = places::read(inputs, &mut Vec::new());
        let mut readings = places.iter().map(|(_, reading)| reading);
        readings.any(|reading| !matches!(reading, Reading::Unset))
    }

    /// The policy as it was recorded in the KubeVirt object's status: the last good one after a
    /// restart.
    pub fn recorded(status: &EmulationStatus) -> Option<Self> {
        let policy = EmulationPolicy::parse(&status.policy)?;
        Some(Self {
            policy,
            decided_by: status.decided_by.clone(),
            problems: Vec::new(),
        })
    }

    /// Was it decided by a place that stands above the ConfigMap's switch?
    pub fn is_above_switch(&self) -> bool {
        self.decided_by.ends_with(POLICY_FIELD)
    }

    /// The same for the KubeVirt object's status.
    pub fn status(&self) -> EmulationStatus {
        EmulationStatus {
            policy: self.policy.to_string(),
            decided_by: self.decided_by.clone(),
            problems: self.problems.clone(),
        }
    }
}

/// The first place that says something decides; an invalid one keeps the last good policy.
fn decide(
    places: &[(String, Reading)],
    last_good: Option<&ClusterPolicy>,
    problems: &mut Vec<Problem>,
) -> Option<(EmulationPolicy, String)> {
    let mut decided: Option<(EmulationPolicy, String, String)> = None;
    for (place, reading) in places {
        if let Reading::Invalid { why, cure } = reading {
            let kept = match (&decided, last_good) {
                (None, Some(last)) => {
                    let kept = (
                        last.policy,
                        last.decided_by.clone(),
                        last.policy.to_string(),
                    );
                    decided = Some(kept);
                    format!(
                        "the last good policy stays: {}, by {}",
                        last.policy, last.decided_by
                    )
                }
                _ => "it is ignored".to_owned(),
            };
            let message = format!("{place}: {why}; {kept}; {cure}");
            problems.push(Problem::new("InvalidValue", message));
        }
        let Some(policy) = reading.policy() else {
            continue;
        };
        match &decided {
            None => decided = Some((policy, place.clone(), reading.shown())),
            Some((winner, by, said)) if reading.disagrees(*winner) => {
                let message = format!(
                    "{place} says {}, but {by} says {said} and wins; make them agree, or remove one",
                    reading.shown()
                );
                problems.push(Problem::new("Conflict", message));
            }
            Some(_) => {}
        }
    }
    decided.map(|(policy, by, _)| (policy, by))
}
