//! A VMI and its launcher pods in; what to do with the pods, and how the VMI changes, out.
//!
//! ```text
//! Pending ──pod created──► Scheduling ──pod up on a node──► Scheduled ──node──► Running ──node──► Succeeded
//!                             │  ▲                              │                  │             or Failed
//!                             │  └─ policy changed while the    └──no pod left─────┴────────────► Failed
//!                             │     pod has no node: new pod
//!                             └──the pod ended or was deleted───────────────────────────────────► Failed
//!
//! asked to go: a VMI that never reached its node loses its pod and fails; one that did is stopped by
//! the node first. When it has ended and no pod is left, our finalizer goes.
//! ```

use super::elsewhere::Hardware;
use super::observe;
use super::pod::{self, Launcher, Standing};
use super::status;
use crate::engine::Next;
use crate::event::Fact;
use api::accelerator::{EffectivePolicy, Isolation, NodeFacts, Refusal};
use api::configuration::ClusterConfiguration;
use api::names::{conditions, finalizers, labels};
use api::virtual_machine_instance::{
    Phase, PhaseTransition, VirtualMachineInstance, VirtualMachineInstanceStatus,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the node may take to say how a guest ended whose pod is over. Its own patch follows the
/// pod's within milliseconds; a node agent that is being restarted is back within this time.
const NODE_SAYS_HOW_IT_ENDED: SignedDuration = SignedDuration::from_secs(30);

/// One change to a pod.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Create the launcher pod.
    Create(Box<Pod>),
    /// Delete a pod, and nothing but this one in this state.
    Delete {
        name: String,
        uid: Option<String>,
        resource_version: Option<String>,
    },
    /// Delete a pod that never had a node, at once.
    Discard {
        name: String,
        uid: Option<String>,
        resource_version: Option<String>,
    },
    /// Say on the pod, for people and selectors, on which node it runs.
    Label { name: String, node: String },
    /// Tell on a pod that waits of the policy that it is under, and on nothing but this one in this
    /// state.
    Rename {
        name: String,
        uid: Option<String>,
        resource_version: Option<String>,
        annotations: BTreeMap<String, String>,
    },
    /// Say on the pod whether its guest is paused, which its readiness gate waits for.
    Gate {
        name: String,
        uid: Option<String>,
        condition: Box<PodCondition>,
    },
}

/// What is seen of one VMI.
#[derive(Debug)]
pub(super) struct Seen<'a, P> {
    pub(super) vmi: &'a VirtualMachineInstance,
    /// Every pod it controls. Without any, this must be what the API server says, not a cache.
    pub(super) pods: &'a [P],
    pub(super) cluster: &'a ClusterConfiguration,
    /// The policy in force for it: the cluster's or its own, capped by its namespace.
    pub(super) policy: &'a EffectivePolicy,
    pub(super) launcher: &'a Launcher,
    /// What the node it runs on says of its accelerators; none if it has no node.
    pub(super) node: Option<&'a NodeFacts>,
    /// Why no node has an accelerator for it that works and is permitted; none if one has.
    pub(super) refusal: Option<&'a Refusal>,
    /// How it stands to the other guests that are emulated on its node; none if it is not emulated.
    pub(super) isolation: Option<&'a Isolation>,
    /// Where an emulated guest would run on hardware, if it were started now.
    pub(super) elsewhere: &'a Hardware,
}

/// What to do, and the VMI as it shall be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub(super) actions: Vec<Action>,
    pub(super) vmi: VirtualMachineInstance,
    /// What happened, to be told once the VMI is written.
    pub(super) facts: Vec<Fact>,
    pub(super) next: Next,
}

/// Decides about one VMI.
pub(super) fn decide<P: AsRef<Pod>>(seen: &Seen<'_, P>, now: Timestamp) -> Decision {
    let mut decision = Decision {
        actions: Vec::new(),
        vmi: seen.vmi.clone(),
        facts: Vec::new(),
        next: Next::OnChange,
    };
    let problem = step(seen, now, &mut decision).err();
    let pod = observe::current(seen.pods);
    decision
        .actions
        .extend(pod.and_then(|pod| gate(seen.vmi, pod, now)));
    hold(&mut decision.vmi);
    // What is said after a pod was created is what its first appearance would make us say.
    let created = decision.actions.iter().find_map(|action| match action {
        Action::Create(pod) => Some(pod.clone()),
        _ => None,
    });
    let pod = created.as_deref().or(pod);
    let cannot_be_made = problem.is_some();
    let vmi = &mut decision.vmi;
    status::explain(vmi, pod, problem, now);
    let refused = status::explain_refusal(vmi, seen.refusal, cannot_be_made, now);
    decision.facts.extend(refused);
    status::compare_accelerator(vmi, seen, now);
    let shared = status::explain_isolation(vmi, seen.isolation, now);
    decision.facts.extend(shared);
    decision
}

/// The next step in the VMI's life. An error is a pod that cannot be described, and says why.
fn step<P: AsRef<Pod>>(
    seen: &Seen<'_, P>,
    now: Timestamp,
    decision: &mut Decision,
) -> Result<(), String> {
    let pod = observe::current(seen.pods);
    let going = seen.vmi.metadata.deletion_timestamp.is_some();
    match status::phase(seen.vmi) {
        Phase::Pending | Phase::Scheduling if going => {
            decision.actions.extend(deletions(seen.pods));
            if seen.pods.is_empty() {
                // It never ran, so it did not succeed.
                enter(&mut decision.vmi, Phase::Failed, now);
                let_go(&mut decision.vmi);
            }
        }
        Phase::Pending | Phase::Scheduling => match pod {
            None => create(seen, decision, now)?,
            Some(pod) => schedule(seen, pod, decision, now)?,
        },
        Phase::Scheduled | Phase::Running | Phase::Unknown | Phase::WaitingForSync => {
            watch_over(pod, decision, now);
        }
        Phase::Succeeded | Phase::Failed if going => {
            decision.actions.extend(deletions(seen.pods));
            if seen.pods.is_empty() {
                let_go(&mut decision.vmi);
            }
        }
        // The pod stays, with its logs, as long as the VMI does.
        Phase::Succeeded | Phase::Failed => {}
    }
    Ok(())
}

/// Creates the launcher pod, and records under which policy.
fn create<P>(seen: &Seen<'_, P>, decision: &mut Decision, now: Timestamp) -> Result<(), String> {
    let pod = pod::render(seen.vmi, seen.cluster, seen.policy, seen.launcher)?;
    decision.actions.push(Action::Create(Box::new(pod)));
    let mut recorded = seen.policy.annotations();
    recorded.extend(api::warm_start::recorded(
        seen.vmi.annotations(),
        seen.cluster,
    ));
    decision.vmi.annotations_mut().extend(recorded);
    let misread = seen.policy.problems.iter();
    let misread = misread.map(|it| Fact::warning("InvalidConfiguration", it.message.clone()));
    decision.facts.extend(misread);
    enter(&mut decision.vmi, Phase::Pending, now);
    enter(&mut decision.vmi, Phase::Scheduling, now);
    Ok(())
}

/// Follows the pod until it is up on a node.
fn schedule<P>(
    seen: &Seen<'_, P>,
    pod: &Pod,
    decision: &mut Decision,
    now: Timestamp,
) -> Result<(), String> {
    enter(&mut decision.vmi, Phase::Pending, now);
    enter(&mut decision.vmi, Phase::Scheduling, now);
    // The node starts the guest under the policy its VMI tells, which must be the pod's also when
    // telling it failed after the pod was created.
    if let Some(made_under) = EffectivePolicy::of_annotations(pod.annotations()) {
        decision
            .vmi
            .annotations_mut()
            .extend(made_under.annotations());
    }
    let Some(node) = observe::node(pod) else {
        if observe::is_over(pod) {
            fail(&mut decision.vmi, "PodEnded", now);
        } else {
            follow_policy(seen, pod, decision)?;
        }
        return Ok(());
    };
    if observe::is_going(pod) {
        fail(&mut decision.vmi, "PodDeleted", now);
    } else if observe::is_over(pod) {
        fail(&mut decision.vmi, "PodEnded", now);
    } else if observe::is_up(pod) {
        hand_over(&mut decision.vmi, pod, node, now);
        let label = pod.labels().get(labels::NODE_NAME);
        if label.map(String::as_str) != Some(node) {
            let name = pod.name_any();
            decision.actions.push(Action::Label {
                name,
                node: node.to_owned(),
            });
        }
    }
    Ok(())
}

/// Keeps a pod that has no node under the policy in force. One that can no longer be made is made no
/// more, and the error says why.
fn follow_policy<P>(seen: &Seen<'_, P>, pod: &Pod, decision: &mut Decision) -> Result<(), String> {
    let (name, uid, resource_version) = identity(pod);
    let standing = pod::standing(pod, seen.vmi, seen.cluster, seen.policy);
    let problem = standing.as_ref().err().cloned();
    match standing {
        Ok(Standing::Current) => {}
        Ok(Standing::Renamed(annotations)) => {
            decision.vmi.annotations_mut().extend(annotations.clone());
            decision.actions.push(Action::Rename {
                name,
                uid,
                resource_version,
                annotations,
            });
        }
        // The next look finds no pod, and creates one under the new policy.
        Ok(Standing::Outdated) | Err(_) => decision.actions.push(Action::Discard {
            name,
            uid,
            resource_version,
        }),
    }
    problem.map_or(Ok(()), Err)
}

/// What the readiness gate of `pod` shall say, if it says something else. From the moment at which the
/// pod has a node, so that it never delays the pod's readiness.
fn gate(vmi: &VirtualMachineInstance, pod: &Pod, now: Timestamp) -> Option<Action> {
    let gates = pod.spec.as_ref()?.readiness_gates.iter().flatten();
    let mut ours = gates.filter(|gate| gate.condition_type == conditions::UNPAUSED);
    if observe::is_going(pod) || observe::is_over(pod) {
        return None;
    }
    let (_, _) = (ours.next()?, observe::node(pod)?);
    let wanted = status::unpaused(vmi, now);
    let known = observe::condition(pod, conditions::UNPAUSED);
    if known.is_some_and(|known| known.status == wanted.status) {
        return None;
    }
    Some(Action::Gate {
        name: pod.name_any(),
        uid: pod.uid(),
        condition: Box::new(wanted),
    })
}

/// Gives the VMI to its node.
fn hand_over(vmi: &mut VirtualMachineInstance, pod: &Pod, node: &str, now: Timestamp) {
    enter(vmi, Phase::Scheduled, now);
    vmi.labels_mut()
        .insert(labels::NODE_NAME.to_owned(), node.to_owned());
    let status = status_mut(vmi);
    status.node_name = Some(node.to_owned());
    status
        .active_pods
        .insert(pod.uid().unwrap_or_default(), node.to_owned());
    let spec = pod.spec.as_ref();
    let compute = spec.and_then(|spec| spec.containers.first());
    status.launcher_container_image_version = compute.and_then(|compute| compute.image.clone());
    status.qos_class = pod
        .status
        .as_ref()
        .and_then(|status| status.qos_class.clone());
}

/// A VMI in the node's hands: only the loss of its pod is ours to see.
fn watch_over(pod: Option<&Pod>, decision: &mut Decision, now: Timestamp) {
    let Some(pod) = pod else {
        return fail(&mut decision.vmi, "PodDeleted", now);
    };
    let Some(over_for) = observe::over_for(pod, now) else {
        return;
    };
    let left = NODE_SAYS_HOW_IT_ENDED - over_for;
    match Duration::try_from(left) {
        Ok(left) if !left.is_zero() => decision.next = Next::After(left),
        _ => fail(&mut decision.vmi, "PodEnded", now),
    }
}

/// Deletes every pod that is not going yet.
fn deletions<P: AsRef<Pod>>(pods: &[P]) -> Vec<Action> {
    let stay = pods
        .iter()
        .map(AsRef::as_ref)
        .filter(|pod| !observe::is_going(pod));
    stay.map(|pod| {
        let (name, uid, resource_version) = identity(pod);
        match observe::node(pod) {
            Some(_) => Action::Delete {
                name,
                uid,
                resource_version: None,
            },
            None => Action::Discard {
                name,
                uid,
                resource_version,
            },
        }
    })
    .collect()
}

fn identity(pod: &Pod) -> (String, Option<String>, Option<String>) {
    (pod.name_any(), pod.uid(), pod.resource_version())
}

fn fail(vmi: &mut VirtualMachineInstance, reason: &str, now: Timestamp) {
    status_mut(vmi).reason = Some(reason.to_owned());
    enter(vmi, Phase::Failed, now);
}

/// Puts the VMI into a phase, and remembers when. It never goes back from `Scheduling` to `Pending`.
fn enter(vmi: &mut VirtualMachineInstance, phase: Phase, now: Timestamp) {
    let created = vmi.metadata.creation_timestamp.clone();
    let status = status_mut(vmi);
    let known = status
        .phase_transition_timestamps
        .iter()
        .any(|it| it.phase == phase);
    if !known {
        let since = created
            .filter(|_| phase == Phase::Pending)
            .unwrap_or(Time(now));
        let transition = PhaseTransition {
            phase,
            phase_transition_timestamp: since,
        };
        status.phase_transition_timestamps.push(transition);
    }
    if status
        .phase
        .is_none_or(|before| before == Phase::Pending || phase != Phase::Pending)
    {
        status.phase = Some(phase);
    }
}

/// Puts our finalizer on a VMI that is to stay.
fn hold(vmi: &mut VirtualMachineInstance) {
    let ours = finalizers::FOREGROUND_DELETE;
    let held = vmi.finalizers().iter().any(|it| it == ours);
    if vmi.metadata.deletion_timestamp.is_none() && !held {
        vmi.finalizers_mut().push(ours.to_owned());
    }
}

/// Takes our finalizer off.
fn let_go(vmi: &mut VirtualMachineInstance) {
    vmi.finalizers_mut()
        .retain(|it| it != finalizers::FOREGROUND_DELETE);
}

fn status_mut(vmi: &mut VirtualMachineInstance) -> &mut VirtualMachineInstanceStatus {
    vmi.status.get_or_insert_default()
}
