//! The rules about nodes.

use k8s_openapi::api::core::v1::{Node, NodeCondition};

use super::seen::{slower, verdict_evidence};
use super::{CauseId, Evidence, Explanation, Remedy, Standing, Subject, cures};
use crate::accelerator::{ClusterPolicy, NodeFacts};
use crate::names::annotations;

/// What is the matter with a node: can it run guests, on what, and why.
pub fn node(node: &Node, cluster: &ClusterPolicy) -> Explanation {
    let name = node.metadata.name.clone().unwrap_or_default();
    let facts = NodeFacts::of(node);
    let found = |cause_id, standing, cause| Explanation {
        subject: Subject {
            kind: "Node".to_owned(),
            namespace: None,
            name: name.clone(),
        },
        cause_id,
        standing,
        cause,
        evidence: Vec::new(),
        remedies: Vec::new(),
    };
    let explained = match ready(node) {
        Some(ready) if ready.status == "True" => of_facts(node, &facts, cluster, found),
        not_ready => {
            let said = not_ready
                .and_then(|it| it.message.clone())
                .unwrap_or_default();
            let cause = format!("the node cannot be asked, and takes no guests: {said}");
            let start = Remedy::new(
                "Start anyvirt on the node",
                "it reports again within seconds; its guests ran on all the while",
                "none",
                true,
            )
            .command("anyvirt up");
            found(CauseId::NodeNotReady, Standing::Problem, cause)
                .with(not_ready.map(|it| Evidence {
                    source: format!("Node {name} condition Ready={}", it.status),
                    text: said,
                }))
                .cured_by([start])
        }
    };
    explained
        .with([verdict_evidence(&name, &facts)])
        .with(recorded(node, &name))
        .with(facts.cap.as_ref().map(|cap| Evidence {
            source: cap.place.clone(),
            text: cap.policy.to_string(),
        }))
        .with([Evidence {
            source: format!("cluster policy, by {}", cluster.decided_by),
            text: cluster.policy.to_string(),
        }])
}

fn ready(node: &Node) -> Option<&NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
}

fn of_facts(
    node: &Node,
    facts: &NodeFacts,
    cluster: &ClusterPolicy,
    found: impl Fn(CauseId, Standing, String) -> Explanation,
) -> Explanation {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let verdict = &facts.verdict;
    let emulates = {
        let mut all: Vec<&str> = facts.emulates.iter().map(String::as_str).collect();
        if all.is_empty() {
            all.push(&facts.architecture);
        }
        all.join(" and ")
    };
    if verdict.usable {
        let cause = format!(
            "guests of architecture {} run on KVM there: {}",
            facts.architecture, verdict.message
        );
        return found(CauseId::NodeUsable, Standing::Fine, cause);
    }
    if verdict.class == "NotProbed" {
        let cause =
            "the node has not said yet whether hardware virtualization works there".to_owned();
        return found(CauseId::NodeNotProbed, Standing::InProgress, cause).cured_by([retake(name)]);
    }
    let own = &facts.architecture;
    let mut slower = slower(own, [facts]);
    if facts.slowdown.is_some() && facts.emulates.iter().any(|it| it != own) {
        slower.push_str(&format!(" for guests of {own}"));
    }
    let cap = facts
        .cap
        .as_ref()
        .filter(|cap| !cap.policy.permits_software());
    let permitted = cap.is_none() && cluster.policy.permits_software();
    let (standing, then) = match (permitted, cap) {
        (true, _) => (
            Standing::Fine,
            format!("guests of {emulates} are emulated, {slower}"),
        ),
        (false, Some(cap)) => (
            Standing::Acceleration,
            format!("and its cap forbids software emulation ({})", cap.place),
        ),
        (false, None) => (
            Standing::Acceleration,
            format!(
                "and software emulation is not permitted (policy {}, by {}), so guests start there only if \
                 they permit it themselves",
                cluster.policy, cluster.decided_by
            ),
        ),
    };
    let cause = format!(
        "hardware virtualization does not work there: {}; {then}",
        verdict.evidence()
    );
    let mut explained =
        found(CauseId::NodeUnusable, standing, cause).cured_by(cures::hardware(node));
    if let Some(cap) = cap {
        explained = explained.cured_by([Remedy::new(
            &format!("Remove the cap {}", cap.place),
            "guests are emulated there, where their policy permits it",
            &format!("{slower}; emulation is no security boundary"),
            true,
        )
        .command(format!("anyvirt emulation auto --node {name}"))]);
    } else if !permitted {
        explained = explained.cured_by([Remedy::new(
            "Permit software emulation in the whole cluster",
            "guests start there, emulated",
            &format!("{slower}; emulation is no security boundary"),
            true,
        )
        .command("anyvirt emulation on")]);
    }
    explained.cured_by([retake(name)])
}

fn retake(name: &str) -> Remedy {
    Remedy::new(
        "Let the node try again",
        "a new verdict within a second",
        "none",
        true,
    )
    .command(format!("anyvirt doctor --retake {name}"))
}

fn recorded(node: &Node, name: &str) -> Option<Evidence> {
    let all = node.metadata.annotations.as_ref()?;
    let key = annotations::HARDWARE_VIRTUALIZATION_VERDICT;
    Some(Evidence {
        source: format!("Node {name} annotation {key}"),
        text: all.get(key)?.clone(),
    })
}
