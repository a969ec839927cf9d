//! The rules about machines that run.

use super::seen::{MachineSeen, Prospect, forced_evidence, slower, verdict_evidence};
use super::{CauseId, Evidence, Explanation, Remedy, Standing, cures};
use crate::accelerator::NodeFacts;
use crate::names::conditions::{ACCELERATOR_OUTDATED, HARDWARE_FREE_ELSEWHERE};
use crate::virtual_machine_instance::{AcceleratorStatus, Phase};

const KVM: &str = "KVM";

/// It runs: on what, why, and what would change it.
pub(super) fn running(seen: &MachineSeen<'_>) -> Option<Explanation> {
    if seen.phase()? != Phase::Running {
        return None;
    }
    let accelerator = seen.status()?.accelerator.as_ref()?;
    let emulated = accelerator.type_ != KVM;
    let explained = if emulated {
        stepped_down(seen, accelerator)
            .or_else(|| beside_hardware(seen, accelerator))
            .unwrap_or_else(|| in_software(seen, accelerator))
    } else {
        on_hardware(seen, accelerator)
    };
    let explained = explained
        .with(fact(seen, accelerator))
        .with(policy(accelerator));
    let explained = outdated(seen, explained);
    Some(explained.with(seen.told("EmulationIsolation")))
}

/// What QEMU says it runs on, and why.
fn fact(seen: &MachineSeen<'_>, accelerator: &AcceleratorStatus) -> Vec<Evidence> {
    let enabled = accelerator.type_ == KVM;
    let mut evidence = vec![Evidence {
        source: "QEMU's answer to query-kvm, as status.accelerator.type".to_owned(),
        text: format!("{} (enabled: {enabled})", accelerator.type_),
    }];
    evidence.extend(forced_evidence(seen));
    if let (Some(node), Some(name)) = (seen.node(), node_name(seen)) {
        evidence.push(verdict_evidence(&name, &NodeFacts::of(node)));
    }
    evidence
}

fn policy(accelerator: &AcceleratorStatus) -> Vec<Evidence> {
    let considered = accelerator.considered.iter().map(|place| Evidence {
        source: format!("policy at {}", place.place),
        text: place.policy.to_string(),
    });
    let mut evidence: Vec<Evidence> = considered.collect();
    if let (true, Some(policy)) = (evidence.is_empty(), &accelerator.policy) {
        evidence.push(Evidence {
            source: format!(
                "policy at {}",
                accelerator
                    .decided_by
                    .as_deref()
                    .unwrap_or("an unknown place")
            ),
            text: policy.clone(),
        });
    }
    evidence
}

fn node_name(seen: &MachineSeen<'_>) -> Option<String> {
    seen.status()?.node_name.clone()
}

fn place(seen: &MachineSeen<'_>) -> String {
    node_name(seen).map_or(String::new(), |name| format!(" on node {name}"))
}

fn why(accelerator: &AcceleratorStatus) -> String {
    accelerator
        .message
        .clone()
        .or_else(|| accelerator.reason.clone())
        .unwrap_or_else(|| "no reason was recorded".to_owned())
}

fn on_hardware(seen: &MachineSeen<'_>, accelerator: &AcceleratorStatus) -> Explanation {
    let cause = format!("it runs on KVM{}: {}", place(seen), why(accelerator));
    seen.found(CauseId::RunningOnHardware, Standing::Fine, cause)
}

fn in_software(seen: &MachineSeen<'_>, accelerator: &AcceleratorStatus) -> Explanation {
    let cause = format!("it is emulated{}: {}", place(seen), why(accelerator));
    let found = seen.found(CauseId::RunningEmulated, Standing::Fine, cause);
    let found = found.with(untold_hardware(seen));
    let Some(node) = seen.node() else {
        return found;
    };
    let facts = NodeFacts::of(node);
    if facts.verdict.usable || seen.forced().is_some() {
        return found;
    }
    found
        .cured_by(cures::hardware(node))
        .cured_by([cures::add_node()])
}

/// KVM failed for it on its node, and it was started again in software.
fn stepped_down(seen: &MachineSeen<'_>, accelerator: &AcceleratorStatus) -> Option<Explanation> {
    if !accelerator.reason.as_deref()?.contains("SteppedDown") {
        return None;
    }
    let cause = format!("it is emulated{}: {}", place(seen), why(accelerator));
    let found = seen
        .found(CauseId::SteppedDown, Standing::Acceleration, cause)
        .with(seen.events(|event| {
            event
                .reason
                .as_deref()
                .is_some_and(|reason| reason.contains("SteppedDown"))
        }));
    let hardware = seen.node().map(cures::hardware);
    Some(
        found
            .cured_by(hardware.unwrap_or_default())
            .cured_by([cures::add_node()]),
    )
}

/// Emulated, although the hardware of another node has room for it, as the controllers have found by the
/// scheduler's own choice.
fn beside_hardware(seen: &MachineSeen<'_>, accelerator: &AcceleratorStatus) -> Option<Explanation> {
    let told = seen
        .condition(ACCELERATOR_OUTDATED)
        .filter(|it| it.is_true() && it.reason.as_deref() == Some(HARDWARE_FREE_ELSEWHERE))?;
    let own_facts = seen.node().map(NodeFacts::of);
    let cause = format!(
        "it is emulated{}, {}: {}",
        place(seen),
        slower(seen.guest_architecture(), own_facts.as_ref()),
        told.message
            .as_deref()
            .unwrap_or("hardware is free on another node")
    );
    let restart = Remedy::new(
        "Restart it when it suits",
        "it goes to a node with hardware that has room then, and runs at full speed",
        "the guest reboots",
        true,
    );
    let restart = match seen.machine {
        Some(_) => restart.command(format!("anyvirt restart {}{}", seen.name(), seen.flag())),
        None => restart,
    };
    let verdicts = hardware_elsewhere(seen);
    let verdicts = verdicts
        .iter()
        .map(|it| verdict_evidence(it.name(), &it.facts));
    let found = seen.found(CauseId::EmulatedBesideHardware, Standing::Fine, cause);
    let mut recorded = Vec::new();
    if let Some(message) = &accelerator.message {
        recorded.push(Evidence {
            source: "status.accelerator.message, when it started".to_owned(),
            text: message.clone(),
        });
    }
    Some(found.with(verdicts).with(recorded).cured_by([restart]))
}

/// Other nodes that it selects, and whose hardware virtualization works for it; at most three, since
/// more say the same.
fn hardware_elsewhere<'a>(seen: &MachineSeen<'a>) -> Vec<Prospect<'a>> {
    const MOST: usize = 3;
    let own = node_name(seen);
    let mut others = seen.prospects();
    others.retain(|it| {
        own.as_deref() != Some(it.name())
            && it.facts.verdict.usable
            && it.facts.architecture == seen.guest_architecture()
    });
    others.truncate(MOST);
    others
}

/// Working hardware elsewhere of which the controllers do not say that it is free. Why they do not is not
/// seen from here, so that only what it may be is told.
fn untold_hardware(seen: &MachineSeen<'_>) -> Option<Evidence> {
    let own_works = seen
        .node()
        .map(NodeFacts::of)
        .is_some_and(|own| own.verdict.usable && own.architecture == seen.guest_architecture());
    // Of such guests nothing is said of other nodes, free or not.
    if own_works || seen.forced().is_some() {
        return None;
    }
    let others = hardware_elsewhere(seen);
    let names: Vec<&str> = others.iter().map(Prospect::name).collect();
    let names = (!names.is_empty()).then(|| names.join(", "))?;
    Some(Evidence {
        source: format!("no condition {ACCELERATOR_OUTDATED} ({HARDWARE_FREE_ELSEWHERE})"),
        text: format!(
            "hardware virtualization works on {names}, but nobody says that it could run there: there may be no \
             room, a rule of placement may forbid it, or the controllers have not looked yet"
        ),
    })
}

/// What would happen if it were started again, where that is something else.
fn outdated(seen: &MachineSeen<'_>, explained: Explanation) -> Explanation {
    let Some(condition) = seen
        .condition(ACCELERATOR_OUTDATED)
        .filter(|it| it.is_true())
    else {
        return explained;
    };
    if explained.cause_id == CauseId::EmulatedBesideHardware {
        // The cause is that condition's message.
        return explained;
    }
    let message = condition.message.clone().unwrap_or_default();
    let changed = Explanation {
        cause_id: CauseId::AcceleratorOutdated,
        cause: format!("{}; but {message}", explained.cause),
        ..explained
    };
    changed.with(seen.told(ACCELERATOR_OUTDATED))
}
