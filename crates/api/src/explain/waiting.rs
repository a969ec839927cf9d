//! The rules about machines that no node takes.

use std::collections::BTreeMap;

use super::scheduler::{Obstacle, Unschedulable};
use super::seen::{MachineSeen, Prospect, forced_evidence, slower, takes_pods, verdict_evidence};
use super::{CauseId, Evidence, Explanation, Standing, cures};
use crate::accelerator::{NodeFacts, Refusal, Scope};
use crate::names::resources;

/// The nodes whose verdicts are shown one by one; more say the same in a large cluster.
const MOST_VERDICTS: usize = 4;

/// Our scheduler's words when emulated guests of several owners would share a node.
const OTHER_OWNERS: &str = "emulated guests of other namespaces";

/// Our scheduler's words when a node has as many emulated processors as it may.
const CROWDED: &str = "emulated processors per core";

/// No node takes the pod, and the scheduler says why.
pub(super) fn unschedulable(seen: &MachineSeen<'_>) -> Option<Explanation> {
    let condition = seen.condition("PodScheduled")?;
    if condition.status != "False" {
        return None;
    }
    let message = condition.message.clone().unwrap_or_default();
    let explained = match Unschedulable::parse(&message) {
        Some(sentence) => of_sentence(seen, &sentence),
        None => super::machine::unknown(seen),
    };
    let said = Evidence {
        source: scheduler_source(seen),
        text: message,
    };
    let mut evidence = vec![said];
    evidence.extend(explained.evidence.iter().cloned());
    let explained = Explanation {
        evidence: Vec::new(),
        ..explained
    };
    Some(explained.with(evidence))
}

fn scheduler_source(seen: &MachineSeen<'_>) -> String {
    match seen.pod.and_then(|pod| pod.metadata.name.as_deref()) {
        Some(pod) => format!("Pod {pod} condition PodScheduled=False"),
        None => format!("{} condition PodScheduled=False", seen.name()),
    }
}

fn of_sentence(seen: &MachineSeen<'_>, sentence: &Unschedulable) -> Explanation {
    if sentence.nodes == Some(0) {
        return no_node(seen, "there is no node in the cluster".to_owned());
    }
    let prospects = seen.prospects();
    let possible: Vec<&Prospect<'_>> = prospects.iter().filter(|it| it.outcome.is_ok()).collect();
    let lacks_vhost = sentence.lacks(resources::VHOST_NET);
    let lacks_kvm = sentence.lacks(resources::KVM);
    // Where KVM works, only the network's device may be missing.
    let kvm_works = if prospects.is_empty() {
        !lacks_kvm
    } else {
        prospects.iter().any(|it| it.facts.verdict.usable)
    };
    if lacks_vhost && kvm_works && !seen.policy().policy.permits_software() {
        return vhost_net(seen, &prospects);
    }
    if possible.is_empty() && !prospects.is_empty() {
        return refused(seen, &prospects);
    }
    if (lacks_kvm || lacks_vhost) && prospects.is_empty() {
        return without_facts(seen);
    }
    if (lacks_kvm || lacks_vhost) && seen.policy().policy.permits_software() {
        let cause = "software emulation is permitted by now: its pod, which still asks for hardware, \
                     is about to be made anew";
        return seen.found(CauseId::Starting, Standing::InProgress, cause.to_owned());
    }
    of_obstacles(seen, sentence, &possible)
}

/// The remaining obstacles, the one a person can do most about first.
fn of_obstacles(
    seen: &MachineSeen<'_>,
    sentence: &Unschedulable,
    possible: &[&Prospect<'_>],
) -> Explanation {
    let words = |wanted: &str| {
        sentence
            .obstacles
            .iter()
            .find_map(|(_, obstacle)| match obstacle {
                Obstacle::Other(words) if words.contains(wanted) => Some(words.clone()),
                _ => None,
            })
    };
    if let Some(words) = words(OTHER_OWNERS) {
        let cause = format!(
            "every node that could take it runs emulated guests of another namespace, and these may not \
             share a node: {words}"
        );
        return seen
            .found(CauseId::MultiTenancyDenied, Standing::Acceleration, cause)
            .cured_by(cures::multi_tenancy(&words));
    }
    if let Some(words) = words(CROWDED) {
        let cause = format!(
            "no node has processors left for one more emulated guest, of whose processors a busy one takes a \
             whole core: {words}"
        );
        let hardware = possible.first().map(|it| cures::hardware(it.node));
        return seen
            .found(CauseId::EmulatedProcessors, Standing::Problem, cause)
            .cured_by([cures::make_room(), cures::ask_less(seen)])
            .cured_by([cures::more_processors_per_core(&words)])
            .cured_by(hardware.unwrap_or_default())
            .cured_by([cures::add_node()]);
    }
    let lacking: Vec<&str> = sentence
        .obstacles
        .iter()
        .filter_map(|(_, obstacle)| match obstacle {
            Obstacle::Insufficient(name) if !is_device(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    if !lacking.is_empty() {
        return insufficient(seen, sentence, &lacking);
    }
    if sentence.has(&Obstacle::TooManyPods) {
        let cause = "every node that could take it runs as many pods as it may".to_owned();
        return seen
            .found(CauseId::InsufficientResources, Standing::Problem, cause)
            .cured_by([cures::make_room(), cures::add_node()]);
    }
    if sentence.has(&Obstacle::Labels) {
        return labels(seen);
    }
    let closed: Vec<String> = sentence
        .obstacles
        .iter()
        .filter_map(|(_, obstacle)| match obstacle {
            Obstacle::Cordoned => Some("cordoned".to_owned()),
            Obstacle::Taint(taint) if taint.contains("not-ready") => Some("not ready".to_owned()),
            Obstacle::Taint(taint) => Some(format!("tainted {taint}")),
            _ => None,
        })
        .collect();
    if !closed.is_empty() {
        let cause = format!("no node takes pods now: {}", closed.join(", "));
        return no_node(seen, cause);
    }
    super::machine::unknown(seen)
}

fn is_device(resource: &str) -> bool {
    resource.starts_with("devices.kubevirt.io/")
}

fn no_node(seen: &MachineSeen<'_>, cause: String) -> Explanation {
    let told = seen
        .nodes
        .iter()
        .filter(|node| !takes_pods(node))
        .take(MOST_VERDICTS)
        .map(|node| {
            let status = node.status.as_ref();
            let ready = status
                .and_then(|status| status.conditions.as_ref())
                .into_iter()
                .flatten()
                .find(|condition| condition.type_ == "Ready");
            let text = match ready {
                Some(ready) => format!(
                    "Ready={}: {}",
                    ready.status,
                    ready.message.as_deref().unwrap_or_default()
                ),
                None => "no condition Ready".to_owned(),
            };
            Evidence {
                source: format!("Node {}", node.metadata.name.as_deref().unwrap_or_default()),
                text,
            }
        });
    seen.found(CauseId::NoNode, Standing::Problem, cause)
        .with(told)
        .cured_by([cures::uncordon(), cures::add_node()])
}

fn labels(seen: &MachineSeen<'_>) -> Explanation {
    let selector: Vec<String> = seen
        .spec()
        .into_iter()
        .flat_map(|spec| &spec.node_selector)
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let selector = selector.join(", ");
    let cause = if selector.is_empty() {
        "no node has the labels that its launcher pod asks for".to_owned()
    } else {
        format!("no node that could run it has the labels it asks for: {selector}")
    };
    let told = Evidence {
        source: "spec.nodeSelector".to_owned(),
        text: selector,
    };
    seen.found(CauseId::NodeSelector, Standing::Problem, cause)
        .with([told])
        .cured_by([cures::edit(seen)])
}

/// Nodes could run it, and have no room.
fn insufficient(seen: &MachineSeen<'_>, sentence: &Unschedulable, lacking: &[&str]) -> Explanation {
    let asked = cures::asked(seen, lacking);
    let what = lacking.join(" and ");
    let mut cause = format!("no node that could run it has enough {what} left");
    let mut more = Vec::new();
    if sentence.lacks(resources::KVM) {
        let policy = seen.policy();
        cause.push_str(&format!(
            ", and on the others hardware virtualization does not work while software emulation is not \
             permitted (policy {}, by {})",
            policy.policy, policy.decided_by
        ));
        // Where hardware works, it would not be emulated.
        let prospects = seen.prospects();
        let emulating = prospects.iter().map(|it| &it.facts);
        let emulating = emulating.filter(|facts| !facts.verdict.usable);
        more = cures::permit(seen, &slower(seen.guest_architecture(), emulating));
    }
    seen.found(CauseId::InsufficientResources, Standing::Problem, cause)
        .with(asked)
        .cured_by([cures::make_room(), cures::ask_less(seen)])
        .cured_by(more)
        .cured_by([cures::add_node()])
}

/// KVM works, and `/dev/vhost-net` is missing where it does.
fn vhost_net(seen: &MachineSeen<'_>, prospects: &[Prospect<'_>]) -> Explanation {
    let policy = seen.policy();
    let cause = format!(
        "no node offers /dev/vhost-net, which a virtio network card needs while software emulation is not \
         permitted (policy {}, by {})",
        policy.policy, policy.decided_by
    );
    let usable = prospects.iter().filter(|it| it.facts.verdict.usable);
    let told = usable
        .take(MOST_VERDICTS)
        .map(|it| verdict_evidence(it.name(), &it.facts));
    seen.found(CauseId::VhostNetMissing, Standing::Acceleration, cause)
        .with(told)
        .cured_by([cures::load_vhost_net()])
        .cured_by(cures::permit_slower_network(seen))
        .cured_by([cures::other_network_card(seen), cures::add_node()])
}

/// The scheduler lacks a device, and no node's facts are known.
fn without_facts(seen: &MachineSeen<'_>) -> Explanation {
    let policy = seen.policy();
    let cause = format!(
        "no node offers hardware virtualization, and software emulation is not permitted (policy {}, by {})",
        policy.policy, policy.decided_by
    );
    seen.found(cause_of(seen, None), Standing::Acceleration, cause)
        .cured_by([cures::doctor()])
        .cured_by(cures::permit(seen, &slower(seen.guest_architecture(), [])))
        .cured_by([cures::add_node()])
}

/// Nothing that works on any node is permitted for it, as far as is known before a pod is made.
pub(super) fn refused_everywhere(seen: &MachineSeen<'_>) -> Option<Explanation> {
    let prospects = seen.prospects();
    let all = !prospects.is_empty() && prospects.iter().all(|it| it.outcome.is_err());
    all.then(|| refused(seen, &prospects))
}

/// Nothing that works on its own node is permitted for it.
pub(super) fn refused_there(seen: &MachineSeen<'_>) -> Option<Explanation> {
    let name = seen.status()?.node_name.as_deref()?;
    let there: Vec<Prospect<'_>> = seen
        .prospects()
        .into_iter()
        .filter(|it| it.name() == name && it.outcome.is_err())
        .collect();
    (!there.is_empty()).then(|| refused(seen, &there))
}

/// `prospects`: at least one, all of them refusals.
fn refused(seen: &MachineSeen<'_>, prospects: &[Prospect<'_>]) -> Explanation {
    let refusals: Vec<(&Prospect<'_>, &Refusal)> = prospects
        .iter()
        .filter_map(|it| it.outcome.as_ref().err().map(|refusal| (it, refusal)))
        .collect();
    let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
    for (prospect, _) in &refusals {
        *classes
            .entry(prospect.facts.verdict.class.as_str())
            .or_default() += 1;
    }
    let first = refusals.first().map(|(_, refusal)| *refusal);
    let cause = match first {
        // What was seen of KVM is evidence, and too long for the cause.
        Some(refusal) if refusals.len() == 1 => refusal.brief().to_owned(),
        _ => on_all(seen, &classes, refusals.len()),
    };
    let told = refusals
        .iter()
        .take(MOST_VERDICTS)
        .map(|(prospect, _)| verdict_evidence(prospect.name(), &prospect.facts));
    let considered = seen.policy().considered.into_iter().map(|place| Evidence {
        source: place.place,
        text: place.policy.to_string(),
    });
    let facts: Vec<&NodeFacts> = refusals
        .iter()
        .map(|(prospect, _)| &prospect.facts)
        .collect();
    let slower = slower(seen.guest_architecture(), facts.iter().copied());
    let remedies = refusals
        .first()
        .map(|(prospect, refusal)| cures::of_refusal(seen, prospect, refusal, &slower))
        .unwrap_or_default();
    let cause_id = cause_of(seen, first);
    // A node of another architecture would not help; the refusal names the one that would.
    let more = (cause_id != CauseId::ArchitectureNotEmulated).then(cures::add_node);
    seen.found(cause_id, Standing::Acceleration, cause)
        .with(told)
        .with(forced_evidence(seen))
        .with(considered)
        .cured_by(remedies)
        .cured_by(more)
}

fn on_all(seen: &MachineSeen<'_>, classes: &BTreeMap<&str, usize>, nodes: usize) -> String {
    let counts: Vec<String> = classes
        .iter()
        .map(|(class, count)| format!("{count} {class}"))
        .collect();
    let policy = seen.policy();
    let by = if policy.policy.permits_software() {
        "its cap does not permit software emulation there".to_owned()
    } else {
        format!(
            "software emulation is not permitted (policy {}, by {})",
            policy.policy, policy.decided_by
        )
    };
    format!(
        "hardware virtualization does not work on any of {nodes} nodes ({}), and {by}",
        counts.join(", ")
    )
}

/// Which rule a refusal belongs to: who stands in the way.
fn cause_of(seen: &MachineSeen<'_>, refusal: Option<&Refusal>) -> CauseId {
    if seen.forced().is_some() {
        return CauseId::ForcedAcceleratorRefused;
    }
    if refusal.is_some_and(|it| matches!(it.reason, "EmulatorMissing" | "EmulationNotPermitted")) {
        return CauseId::ArchitectureNotEmulated;
    }
    let policy = seen.policy();
    if policy.policy.permits_software() {
        return CauseId::CappedByNode;
    }
    let decided = policy
        .considered
        .iter()
        .find(|place| place.place == policy.decided_by)
        .map(|place| place.scope);
    match decided {
        Some(Scope::Namespace) => CauseId::CappedByNamespace,
        Some(Scope::VirtualMachine) => CauseId::OwnPolicy,
        Some(Scope::Node) => CauseId::CappedByNode,
        Some(Scope::Cluster) | None => CauseId::EmulationNotPermitted,
    }
}
