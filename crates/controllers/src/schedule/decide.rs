//! Pods without a node and the nodes there are in; a node for each, or the reason why not, out.

use super::fit::{Room, obstacles, suitability};
use super::resources::{self, Amounts};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use std::collections::BTreeMap;
use tracing::warn;

/// The scheduler a pod names when it means this one.
pub const SCHEDULER_NAME: &str = "default-scheduler";

/// What becomes of one pod that has no node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// It shall run on this node.
    Bind {
        /// The node's name.
        node: String,
    },
    /// It must wait.
    Wait {
        /// kube-scheduler's word for why: `Unschedulable` or `SchedulingGated`.
        reason: &'static str,
        /// kube-scheduler's sentence.
        message: String,
    },
}

/// The nodes with what is taken from them.
#[derive(Debug)]
pub(super) struct Cluster<'a> {
    rooms: BTreeMap<String, Room<'a>>,
}

impl<'a> Cluster<'a> {
    /// `assumed` names the nodes of pods, by uid, whose binding is made but not yet seen.
    pub(super) fn observe(
        nodes: &'a [impl AsRef<Node>],
        pods: &[impl AsRef<Pod>],
        assumed: &BTreeMap<String, String>,
    ) -> Self {
        let mut rooms = BTreeMap::new();
        for node in nodes.iter().map(AsRef::as_ref) {
            // A node that cannot say what it has gets no pods; it is the node's defect to repair.
            let allocatable = resources::allocatable(node).unwrap_or_else(|problem| {
                warn!(
                    node = node.name_any(),
                    problem, "node's resources cannot be read"
                );
                Amounts::new()
            });
            rooms.insert(
                node.name_any(),
                Room {
                    node,
                    allocatable,
                    taken: Amounts::new(),
                    pods: 0,
                },
            );
        }
        let mut cluster = Self { rooms };
        for pod in pods.iter().map(AsRef::as_ref).filter(|pod| !is_over(pod)) {
            let bound = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            let node = bound.or_else(|| assumed.get(pod.metadata.uid.as_deref()?).cloned());
            if let Some(node) = node {
                cluster.take(&node, pod);
            }
        }
        cluster
    }

    /// Counts `pod` as running on `node`.
    pub(super) fn take(&mut self, node: &str, pod: &Pod) {
        let Some(room) = self.rooms.get_mut(node) else {
            return;
        };
        room.pods += 1;
        match resources::requested(pod) {
            Ok(requested) => resources::add(&mut room.taken, &requested),
            Err(problem) => warn!(
                pod = pod.name_any(),
                problem, "pod's resources cannot be read"
            ),
        }
    }

    /// Finds a node for `pod`.
    pub(super) fn place(&self, pod: &Pod) -> Placement {
        let wait = |reason, message| Placement::Wait { reason, message };
        if let Some(gates) = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.scheduling_gates.as_deref())
            && !gates.is_empty()
        {
            let message = "Scheduling is blocked due to non-empty scheduling gates".to_owned();
            return wait("SchedulingGated", message);
        }
        if self.rooms.is_empty() {
            return wait(
                "Unschedulable",
                "no nodes available to schedule pods".to_owned(),
            );
        }
        if let Some(field) = unserved(pod) {
            let message = format!(
                "{field} is not served by this scheduler: remove it, or express it by a nodeSelector \
                 or a required node affinity"
            );
            return wait("Unschedulable", message);
        }
        let requested = match resources::requested(pod) {
            Ok(requested) => requested,
            Err(problem) => return wait("Unschedulable", problem),
        };
        let mut best: Option<(_, &str)> = None;
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        for (name, room) in &self.rooms {
            let obstacles = obstacles(pod, &requested, room);
            if obstacles.is_empty() {
                let suitability = suitability(pod, &requested, room);
                if best.is_none_or(|(highest, _)| suitability > highest) {
                    best = Some((suitability, name));
                }
            }
            for obstacle in obstacles {
                *reasons.entry(obstacle).or_insert(0) += 1;
            }
        }
        match best {
            Some((_, node)) => Placement::Bind {
                node: node.to_owned(),
            },
            None => wait("Unschedulable", fit_error(self.rooms.len(), &reasons)),
        }
    }
}

/// kube-scheduler's sentence: each reason with the number of nodes it applies to, the strings sorted.
fn fit_error(nodes: usize, reasons: &BTreeMap<String, usize>) -> String {
    let mut told: Vec<String> = reasons
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    told.sort();
    format!("0/{nodes} nodes are available: {}.", told.join(", "))
}

/// The pods this scheduler must find a node for, the most urgent and oldest first.
pub(super) fn waiting<P: AsRef<Pod> + Clone>(
    pods: &[P],
    assumed: &BTreeMap<String, String>,
) -> Vec<P> {
    let is_assumed = |pod: &Pod| {
        pod.metadata
            .uid
            .as_ref()
            .is_some_and(|uid| assumed.contains_key(uid))
    };
    let mut waiting: Vec<P> = pods
        .iter()
        .filter(|pod| wants_a_node(pod.as_ref()) && !is_assumed(pod.as_ref()))
        .cloned()
        .collect();
    waiting.sort_by_key(|pod| {
        let pod = pod.as_ref();
        let priority = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.priority)
            .unwrap_or(0);
        let created = pod.metadata.creation_timestamp.clone();
        (
            std::cmp::Reverse(priority),
            created,
            pod.namespace(),
            pod.name_any(),
        )
    });
    waiting
}

/// Whether it is this scheduler's task to find a node for `pod`.
pub(super) fn wants_a_node(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.node_name.as_deref().unwrap_or_default().is_empty()
        && spec.scheduler_name.as_deref().unwrap_or(SCHEDULER_NAME) == SCHEDULER_NAME
        && pod.metadata.deletion_timestamp.is_none()
        && !is_over(pod)
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The first rule of a pod that would be broken if it were placed regardless.
fn unserved(pod: &Pod) -> Option<&'static str> {
    let spec = pod.spec.as_ref()?;
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
