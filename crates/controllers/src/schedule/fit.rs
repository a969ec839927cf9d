//! Whether one pod may run on one node, and if not, why: in kube-scheduler's order and words.

use super::resources::Amounts;
use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration,
};

/// The taint a node without a `Ready` condition is treated to have, as the node lifecycle
/// controller of a cluster would set it.
const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// The taint a cordoned node is treated to have.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// A node with what is taken from it.
#[derive(Debug, Clone)]
pub(super) struct Room<'a> {
    pub(super) node: &'a Node,
    pub(super) allocatable: Amounts,
    pub(super) taken: Amounts,
    pub(super) pods: i128,
}

/// The reasons why `pod` may not run there; none if it may. Only the first kind of reason that
/// applies is told, but every resource that lacks.
pub(super) fn obstacles(pod: &Pod, requested: &Amounts, room: &Room<'_>) -> Vec<String> {
    let Some(spec) = &pod.spec else {
        return Vec::new();
    };
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let node_spec = room.node.spec.as_ref();
    if node_spec.and_then(|spec| spec.unschedulable) == Some(true)
        && !tolerated(&taint(UNSCHEDULABLE), tolerations)
    {
        return vec!["node(s) were unschedulable".to_owned()];
    }
    let not_ready = (!is_ready(room.node)).then(|| taint(NOT_READY));
    let taints = node_spec
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default();
    for taint in taints.iter().chain(&not_ready) {
        let repels = matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
        if repels && !tolerated(taint, tolerations) {
            let value = taint.value.as_deref().unwrap_or_default();
            return vec![format!(
                "node(s) had untolerated taint {{{}: {value}}}",
                taint.key
            )];
        }
    }
    if !selected(spec, room.node) {
        return vec!["node(s) didn't match Pod's node affinity/selector".to_owned()];
    }
    lacking(requested, room)
}

/// Every resource of which the node has too little left.
fn lacking(requested: &Amounts, room: &Room<'_>) -> Vec<String> {
    let mut lacking = Vec::new();
    let of = |amounts: &Amounts, name: &str| amounts.get(name).copied().unwrap_or(0);
    if (room.pods + 1) * 1000 > of(&room.allocatable, "pods") {
        lacking.push("Too many pods".to_owned());
    }
    for (name, amount) in requested {
        let left = of(&room.allocatable, name) - of(&room.taken, name);
        if *amount > 0 && *amount > left {
            lacking.push(format!("Insufficient {name}"));
        }
    }
    lacking
}

/// How well a fitting node suits: preferred affinity first, then fewest avoided taints, then most
/// room left. Greater is better.
pub(super) fn suitability(pod: &Pod, requested: &Amounts, room: &Room<'_>) -> (i64, i64, i128) {
    let spec = pod.spec.as_ref();
    let affinity = spec.and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let preferred = affinity
        .and_then(|node| {
            node.preferred_during_scheduling_ignored_during_execution
                .as_deref()
        })
        .unwrap_or_default();
    let preference = preferred
        .iter()
        .filter(|term| matches_term(&term.preference, room.node))
        .map(|term| i64::from(term.weight))
        .sum();
    let tolerations = spec
        .and_then(|spec| spec.tolerations.as_deref())
        .unwrap_or_default();
    let taints = room
        .node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default();
    let avoided = taints
        .iter()
        .filter(|taint| taint.effect == "PreferNoSchedule" && !tolerated(taint, tolerations))
        .count();
    let left_permille = ["cpu", "memory"].map(|name| {
        let of = |amounts: &Amounts| amounts.get(name).copied().unwrap_or(0);
        let all = of(&room.allocatable);
        if all <= 0 {
            0
        } else {
            (all - of(&room.taken) - of(requested)) * 1000 / all
        }
    });
    (
        preference,
        -i64::try_from(avoided).unwrap_or(i64::MAX),
        left_permille.iter().sum(),
    )
}

fn taint(key: &str) -> Taint {
    Taint {
        key: key.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Default::default()
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|it| it.type_ == "Ready" && it.status == "True")
}

fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let key = toleration.key.as_deref().unwrap_or_default();
        if !(effect.is_empty() || effect == taint.effect) || !(key.is_empty() || key == taint.key) {
            return false;
        }
        match toleration.operator.as_deref().unwrap_or_default() {
            "Exists" => true,
            "" | "Equal" => {
                toleration.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
            }
            _ => false,
        }
    })
}

fn selected(spec: &PodSpec, node: &Node) -> bool {
    let no_labels = std::collections::BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&no_labels);
    let plain = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let required = spec.affinity.as_ref().and_then(|affinity| {
        affinity
            .node_affinity
            .as_ref()?
            .required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    plain
        && required.is_none_or(|selector| {
            selector
                .node_selector_terms
                .iter()
                .any(|term| matches_term(term, node))
        })
}

/// A term without requirements matches nothing.
fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let label = |key: &str| node.metadata.labels.as_ref()?.get(key).map(String::as_str);
    let field = |key: &str| match key {
        "metadata.name" => node.metadata.name.as_deref(),
        _ => None,
    };
    expressions
        .iter()
        .all(|it| matches_requirement(it, label(&it.key)))
        && fields
            .iter()
            .all(|it| matches_requirement(it, field(&it.key)))
}

fn matches_requirement(requirement: &NodeSelectorRequirement, actual: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = |actual: &str| values.iter().any(|value| value == actual);
    let compared = || {
        let bound: i64 = values.first()?.parse().ok()?;
        let actual: i64 = actual?.parse().ok()?;
        Some(actual.cmp(&bound))
    };
    match requirement.operator.as_str() {
        "In" => actual.is_some_and(listed),
        "NotIn" => !actual.is_some_and(listed),
        "Exists" => actual.is_some(),
        "DoesNotExist" => actual.is_none(),
        "Gt" => compared().is_some_and(std::cmp::Ordering::is_gt),
        "Lt" => compared().is_some_and(std::cmp::Ordering::is_lt),
        _ => false,
    }
}
