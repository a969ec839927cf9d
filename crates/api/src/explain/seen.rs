//! What is known of the virtual machine that is to be explained.

use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod};

use super::{CauseId, Evidence, Explanation, Remedy, Standing, Subject};
use crate::accelerator::{
    Accelerator, Cap, ClusterPolicy, Decision, EffectivePolicy, NodeFacts, Refusal, Scope,
    effective, resolve,
};
use crate::condition::{self, Condition};
use crate::names::{annotations, labels};
use crate::virtual_machine::VirtualMachine;
use crate::virtual_machine_instance::{
    Phase, VirtualMachineInstance, VirtualMachineInstanceSpec, VirtualMachineInstanceStatus,
};

/// Everything that bears on one virtual machine. What cannot be had is left out; the explanation
/// then says less.
#[derive(Clone, Copy, Debug)]
pub struct MachineSeen<'a> {
    /// The machine; none if the instance stands alone.
    pub machine: Option<&'a VirtualMachine>,
    /// Its instance, if it has one.
    pub instance: Option<&'a VirtualMachineInstance>,
    /// Its launcher pod, if it has one.
    pub pod: Option<&'a Pod>,
    /// Events about any of the three, in any order.
    pub events: &'a [Event],
    /// All nodes.
    pub nodes: &'a [Node],
    /// Its namespace.
    pub namespace: Option<&'a Namespace>,
    /// The cluster's policy in force.
    pub cluster: &'a ClusterPolicy,
    /// Architecture of guests that name none, in Go's names.
    pub architecture: &'a str,
}

/// How a machine would fare on one node.
#[derive(Clone, Debug)]
pub(super) struct Prospect<'a> {
    pub(super) node: &'a Node,
    pub(super) facts: NodeFacts,
    pub(super) outcome: Result<Decision, Refusal>,
}

impl Prospect<'_> {
    pub(super) fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }
}

impl<'a> MachineSeen<'a> {
    pub(super) fn subject(&self) -> Subject {
        let (kind, metadata) = match (self.machine, self.instance) {
            (Some(machine), _) => ("VirtualMachine", Some(&machine.metadata)),
            (None, Some(instance)) => ("VirtualMachineInstance", Some(&instance.metadata)),
            (None, None) => ("VirtualMachine", None),
        };
        Subject {
            kind: kind.to_owned(),
            namespace: metadata.and_then(|it| it.namespace.clone()),
            name: metadata.and_then(|it| it.name.clone()).unwrap_or_default(),
        }
    }

    pub(super) fn name(&self) -> String {
        self.subject().name
    }

    /// ` -n NAMESPACE`, for commands.
    pub(super) fn flag(&self) -> String {
        self.subject()
            .namespace
            .map(|namespace| format!(" -n {namespace}"))
            .unwrap_or_default()
    }

    pub(super) fn status(&self) -> Option<&'a VirtualMachineInstanceStatus> {
        self.instance?.status.as_ref()
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.instance.map(|_| {
            self.status()
                .and_then(|it| it.phase)
                .unwrap_or(Phase::Pending)
        })
    }

    pub(super) fn spec(&self) -> Option<&'a VirtualMachineInstanceSpec> {
        match (self.instance, self.machine) {
            (Some(instance), _) => Some(&instance.spec),
            (None, Some(machine)) => Some(&machine.spec.template.as_ref()?.spec),
            (None, None) => None,
        }
    }

    /// The instance's condition of that type, else the machine's.
    pub(super) fn condition(&self, type_: &str) -> Option<&'a Condition> {
        let instance = self
            .status()
            .and_then(|status| condition::find(&status.conditions, type_));
        instance.or_else(|| condition::find(&self.machine?.status.as_ref()?.conditions, type_))
    }

    pub(super) fn guest_architecture(&self) -> &'a str {
        self.spec()
            .and_then(|spec| spec.architecture.as_deref())
            .filter(|name| !name.is_empty())
            .unwrap_or(self.architecture)
    }

    pub(super) fn forced(&self) -> Option<Accelerator> {
        // An unknown value is refused at admission; what slipped through forces nothing.
        match self.instance {
            Some(instance) => instance.forced_accelerator().unwrap_or_default(),
            None => self.machine?.forced_accelerator()?.accelerator(),
        }
    }

    /// The policy in force for it before it has a node.
    pub(super) fn policy(&self) -> EffectivePolicy {
        let own = self.spec().and_then(|spec| spec.emulation_policy);
        let subject = self.subject();
        let field = if self.machine.is_some() {
            "spec.template.spec.emulationPolicy"
        } else {
            "spec.emulationPolicy"
        };
        let namespace = subject.namespace.as_deref().unwrap_or_default();
        let place = format!("{} {namespace}/{} {field}", subject.kind, subject.name);
        let cap = self.namespace.and_then(|found| {
            let name = found.metadata.name.as_deref().unwrap_or_default();
            Cap::of_labels(Scope::Namespace, name, found.metadata.labels.as_ref()?)
        });
        effective(
            self.cluster,
            own.map(|policy| (place, policy)),
            cap.as_ref(),
        )
    }

    /// How it would fare on each node that it may go to by its own node selector.
    pub(super) fn prospects(&self) -> Vec<Prospect<'a>> {
        let (policy, forced) = (self.policy(), self.forced());
        let selected = |node: &Node| {
            let wanted = self.spec().map(|spec| &spec.node_selector);
            let own = node.metadata.labels.as_ref();
            wanted
                .into_iter()
                .flatten()
                .all(|(key, value)| own.and_then(|labels| labels.get(key)) == Some(value))
        };
        self.nodes
            .iter()
            .filter(|node| selected(node))
            .map(|node| {
                let facts = NodeFacts::of(node);
                Prospect {
                    node,
                    outcome: resolve(&policy, forced, self.guest_architecture(), &facts),
                    facts,
                }
            })
            .collect()
    }

    /// The node that it is on.
    pub(super) fn node(&self) -> Option<&'a Node> {
        let name = self.status()?.node_name.as_deref()?;
        self.nodes
            .iter()
            .find(|node| node.metadata.name.as_deref() == Some(name))
    }

    pub(super) fn found(
        &self,
        cause_id: CauseId,
        standing: Standing,
        cause: String,
    ) -> Explanation {
        Explanation {
            subject: self.subject(),
            cause_id,
            standing,
            cause,
            evidence: Vec::new(),
            remedies: Vec::new(),
        }
    }

    /// A condition as evidence.
    pub(super) fn told(&self, type_: &str) -> Option<Evidence> {
        let condition = self.condition(type_)?;
        let owner = match self.instance {
            Some(_) => "VirtualMachineInstance",
            None => "VirtualMachine",
        };
        let text = condition.message.as_ref().or(condition.reason.as_ref());
        Some(Evidence {
            source: format!(
                "{owner} {} condition {type_}={}",
                self.name(),
                condition.status
            ),
            text: text.cloned().unwrap_or_default(),
        })
    }

    /// The latest events that satisfy `wanted`, the newest first; at most three, since older ones
    /// say the same.
    pub(super) fn events(&self, wanted: impl Fn(&Event) -> bool) -> Vec<Evidence> {
        const MOST: usize = 3;
        let mut events: Vec<&Event> = self.events.iter().filter(|event| wanted(event)).collect();
        events.sort_by_key(|event| std::cmp::Reverse(time(event)));
        events.into_iter().take(MOST).map(event_evidence).collect()
    }

    pub(super) fn events_of(&self, reason: &str) -> Vec<Evidence> {
        self.events(|event| event.reason.as_deref() == Some(reason))
    }

    pub(super) fn warnings(&self) -> Vec<Evidence> {
        self.events(|event| event.type_.as_deref() == Some("Warning"))
    }
}

/// When it was last seen.
fn time(event: &Event) -> Option<jiff::Timestamp> {
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    last.or_else(|| event.event_time.as_ref().map(|time| time.0))
        .or_else(|| {
            event
                .metadata
                .creation_timestamp
                .as_ref()
                .map(|time| time.0)
        })
}

fn event_evidence(event: &Event) -> Evidence {
    let object = &event.involved_object;
    Evidence {
        source: format!(
            "event {} on {} {}",
            event.reason.as_deref().unwrap_or_default(),
            object.kind.as_deref().unwrap_or_default(),
            object.name.as_deref().unwrap_or_default()
        ),
        text: event.message.clone().unwrap_or_default(),
    }
}

impl Explanation {
    pub(super) fn with(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Self {
        for more in evidence {
            // A condition and an event often say the same; once is enough.
            let known = self.evidence.iter().any(|known| known.text == more.text);
            if !known && !more.text.is_empty() {
                self.evidence.push(more);
            }
        }
        self
    }

    pub(super) fn cured_by(mut self, remedies: impl IntoIterator<Item = Remedy>) -> Self {
        for remedy in remedies {
            if !self.remedies.contains(&remedy) {
                self.remedies.push(remedy);
            }
        }
        self
    }
}

/// Does the node take pods now? Ready, not cordoned, and KubeVirt's label does not say no.
pub(super) fn takes_pods(node: &Node) -> bool {
    let status = node.status.as_ref();
    let ready = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let label = node
        .metadata
        .labels
        .as_ref()
        .and_then(|all| all.get(labels::SCHEDULABLE));
    ready && !cordoned && label.is_none_or(|value| value == "true")
}

/// `about 7.8 times slower`, or what can be said without a measurement: one was made with a guest of the
/// node's own architecture, and says nothing about a guest of another.
pub(super) fn slower<'a>(
    architecture: &str,
    facts: impl IntoIterator<Item = &'a NodeFacts>,
) -> String {
    let measured = facts
        .into_iter()
        .filter(|it| it.architecture == architecture);
    let factors: Vec<f64> = measured.filter_map(|it| it.slowdown).collect();
    let low = factors.iter().copied().reduce(f64::min);
    let high = factors.iter().copied().reduce(f64::max);
    match (low, high) {
        // Closer than a tenth is the same.
        (Some(low), Some(high)) if high - low >= 0.1 => {
            format!("about {low:.1} to {high:.1} times slower than KVM (calibrated)")
        }
        (Some(low), Some(_)) => format!("about {low:.1} times slower than KVM (calibrated)"),
        _ => "several times slower than KVM".to_owned(),
    }
}

/// A node's verdict as evidence.
pub(super) fn verdict_evidence(node: &str, facts: &NodeFacts) -> Evidence {
    let verdict = &facts.verdict;
    let stage = if verdict.stage.is_empty() {
        String::new()
    } else {
        format!(", stage {}", verdict.stage)
    };
    Evidence {
        source: format!(
            "Node {node} condition HardwareVirtualization ({}{stage})",
            verdict.class
        ),
        text: verdict.message.clone(),
    }
}

/// The annotation that forces an accelerator, as evidence.
pub(super) fn forced_evidence(seen: &MachineSeen<'_>) -> Option<Evidence> {
    let forced = seen.forced()?;
    let value = forced.to_string().to_lowercase();
    Some(Evidence {
        source: format!("annotation {} of {}", annotations::ACCELERATOR, seen.name()),
        text: value,
    })
}
