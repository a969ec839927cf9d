//! Whether one pod may run on one node, room aside, and if not, why: in kube-scheduler's order.

use super::requirements::Requirements;
use super::site::Facts;
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration};

/// Why a pod may not run on a node, however much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The node is cordoned.
    Cordon,
    /// The node's taint at this index.
    Taint(usize),
    /// The node is another one than the pod selects.
    Selector,
}

impl Obstacle {
    /// kube-scheduler's words for it.
    pub(super) fn words(self, node: &Facts) -> String {
        match self {
            Self::Cordon => "node(s) were unschedulable".to_owned(),
            Self::Taint(index) => {
                let taint = &node.taints[index];
                let value = taint.value.as_deref().unwrap_or_default();
                format!("node(s) had untolerated taint {{{}: {value}}}", taint.key)
            }
            Self::Selector => "node(s) didn't match Pod's node affinity/selector".to_owned(),
        }
    }
}

/// The first reason why a pod may not run there; none if it may, given room.
pub(super) fn obstacle(pod: &Requirements, node: &Facts) -> Option<Obstacle> {
    let tolerations = &pod.tolerations;
    if let Some(cordon) = &node.cordon
        && !tolerated(cordon, tolerations)
    {
        return Some(Obstacle::Cordon);
    }
    for (index, taint) in node.taints.iter().enumerate() {
        let repels = matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
        if repels && !tolerated(taint, tolerations) {
            return Some(Obstacle::Taint(index));
        }
    }
    (!selected(pod, node)).then_some(Obstacle::Selector)
}

/// How well a node suits, room aside: preferred affinity first, then fewest avoided taints. Greater
/// is better.
pub(super) fn suitability(pod: &Requirements, node: &Facts) -> (i64, i64) {
    let preference = pod
        .preferred
        .iter()
        .filter(|term| matches_term(&term.preference, node))
        .map(|term| i64::from(term.weight))
        .sum();
    let avoided = node
        .taints
        .iter()
        .filter(|taint| taint.effect == "PreferNoSchedule" && !tolerated(taint, &pod.tolerations))
        .count();
    (preference, -i64::try_from(avoided).unwrap_or(i64::MAX))
}

/// A taint without a value that keeps pods away.
pub(super) fn taint(key: &str) -> Taint {
    Taint {
        key: key.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Default::default()
    }
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

fn selected(pod: &Requirements, node: &Facts) -> bool {
    let plain = pod
        .selector
        .iter()
        .all(|(key, value)| node.labels.get(key) == Some(value));
    let required = pod.required.as_ref();
    plain && required.is_none_or(|terms| terms.iter().any(|term| matches_term(term, node)))
}

/// A term without requirements matches nothing.
fn matches_term(term: &NodeSelectorTerm, node: &Facts) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let label = |key: &str| node.labels.get(key).map(String::as_str);
    let field = |key: &str| match key {
        "metadata.name" => Some(node.name.as_str()),
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
