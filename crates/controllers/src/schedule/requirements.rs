//! What a pod asks of its node, apart from who it is: pods that ask for the same are placed alike, so
//! it is worked out once for all of them.

use super::guest::Guest;
use super::resources::{self, Amounts};
use k8s_openapi::api::core::v1::{
    NodeSelectorTerm, Pod, PodSpec, PreferredSchedulingTerm, Toleration,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Everything of a pod that placing looks at. [`Requirements::key`] tells two of them apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Requirements {
    /// Why it is not to be placed now, whatever nodes there are.
    pub(super) refusal: Option<Refusal>,
    /// What it takes from its node; empty if that cannot be read.
    pub(super) requested: Amounts,
    pub(super) selector: BTreeMap<String, String>,
    /// Alternatives, one of which must match; none: no such rule.
    pub(super) required: Option<Vec<NodeSelectorTerm>>,
    pub(super) preferred: Vec<PreferredSchedulingTerm>,
    pub(super) tolerations: Vec<Toleration>,
    /// Of a launcher pod.
    pub(super) guest: Option<Guest>,
}

/// Why a pod cannot be placed for reasons of its own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) enum Refusal {
    /// It has scheduling gates.
    Gated,
    /// It has a rule that is not served, this one.
    Unserved(&'static str),
    /// An amount of it cannot be read; a sentence that names it.
    Unreadable(String),
}

impl Requirements {
    /// Those of `pod`.
    pub(super) fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else {
            return Self::default();
        };
        let gates = spec.scheduling_gates.as_deref().unwrap_or_default();
        let requested = resources::requested(pod);
        let refusal = if !gates.is_empty() {
            Some(Refusal::Gated)
        } else if let Some(field) = unserved(spec) {
            Some(Refusal::Unserved(field))
        } else {
            let problem = requested.as_ref().err().cloned();
            problem.map(Refusal::Unreadable)
        };
        let affinity = spec.affinity.as_ref();
        let nodes = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
        let required = nodes.and_then(|nodes| {
            nodes
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        });
        let preferred = nodes.and_then(|nodes| {
            nodes
                .preferred_during_scheduling_ignored_during_execution
                .clone()
        });
        Self {
            refusal,
            requested: requested.unwrap_or_default(),
            selector: spec.node_selector.clone().unwrap_or_default(),
            required: required.map(|selector| selector.node_selector_terms.clone()),
            preferred: preferred.unwrap_or_default(),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            guest: Guest::of(pod),
        }
    }

    /// A text that is the same only for pods of which each node thinks the same as long as nothing is
    /// taken from it: they differ in owners and amounts.
    pub(super) fn kind(&self) -> String {
        let kind = Self {
            refusal: None,
            requested: Amounts::new(),
            guest: self.guest.as_ref().map(Guest::anybodys),
            ..self.clone()
        };
        kind.key()
    }

    /// A text that is the same for equal requirements only.
    pub(super) fn key(&self) -> String {
        // Maps with text as keys, lists and numbers always have a text; if one had none, what pods
        // share would be lost, not what they ask for.
        serde_json::to_string(self).unwrap_or_else(|_| format!("{self:?}"))
    }
}

/// The first rule of a pod that would be broken if it were placed regardless.
fn unserved(spec: &PodSpec) -> Option<&'static str> {
    let affinity = spec.affinity.as_ref();
    let near = affinity.and_then(|it| it.pod_affinity.as_ref());
    let far = affinity.and_then(|it| it.pod_anti_affinity.as_ref());
    let has_near = near
        .and_then(|it| {
            it.required_during_scheduling_ignored_during_execution
                .as_ref()
        })
        .is_some_and(|terms| !terms.is_empty());
    let has_far = far
        .and_then(|it| {
            it.required_during_scheduling_ignored_during_execution
                .as_ref()
        })
        .is_some_and(|terms| !terms.is_empty());
    let spread = spec.topology_spread_constraints.iter().flatten();
    if has_near {
        Some("spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution")
    } else if has_far {
        Some("spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution")
    } else if spread
        .into_iter()
        .any(|it| it.when_unsatisfiable == "DoNotSchedule")
    {
        Some("spec.topologySpreadConstraints with whenUnsatisfiable DoNotSchedule")
    } else if spec
        .resource_claims
        .as_ref()
        .is_some_and(|claims| !claims.is_empty())
    {
        Some("spec.resourceClaims")
    } else {
        None
    }
}
