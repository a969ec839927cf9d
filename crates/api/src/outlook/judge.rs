//! How machines would fare, by the pure rules of [`crate::accelerator`].

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

use crate::accelerator::{
    Accelerator, Cap, ClusterPolicy, Decision, EffectivePolicy, EmulationPolicy, NodeFacts,
    Refusal, effective, resolve,
};

/// Where a machine would run if it were started now.
#[derive(Clone, Debug)]
pub enum Prospect {
    /// As decided, on the best of the nodes that can.
    Runs(Box<Decision>, String),
    /// Nowhere.
    Waits(Box<Refusal>),
    /// There is no node.
    NoNode,
    /// Nodes may not be read.
    Unseen,
}

/// What is told of [`Prospect::Unseen`]: [`UNKNOWN`], and why.
pub(super) const UNSEEN: &str = "unknown: you may not read nodes";
/// The word of [`Prospect::Unseen`].
pub(super) const UNKNOWN: &str = "unknown";

/// Says how machines would fare, by the pure rules of `api::accelerator`.
#[derive(Debug)]
pub struct Judge<'a> {
    /// The cluster's policy.
    pub policy: ClusterPolicy,
    pub(super) architecture: String,
    /// Of namespaces.
    pub(super) caps: BTreeMap<String, Cap>,
    /// The nodes may not be read, so that nothing is known of them.
    pub hides_nodes: bool,
    /// All nodes, and what is known of each.
    pub nodes: Vec<(&'a Node, NodeFacts)>,
}

/// What decides about one machine beside the cluster and the nodes.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Its namespace.
    pub namespace: String,
    /// What it says itself, and where.
    pub own: Option<(String, EmulationPolicy)>,
    /// The accelerator that it insists on.
    pub forced: Option<Accelerator>,
    /// In Go's names; empty for the cluster's default.
    pub architecture: String,
    /// Labels that its node must have.
    pub selector: BTreeMap<String, String>,
}

impl Judge<'_> {
    /// The policy in force before there is a node.
    pub fn policy_of(&self, request: &Request) -> EffectivePolicy {
        let cap = self.caps.get(&request.namespace);
        effective(&self.policy, request.own.clone(), cap)
    }

    /// How it would fare on one node.
    ///
    /// # Errors
    /// Why it would not start there.
    pub fn on_node(&self, request: &Request, facts: &NodeFacts) -> Result<Decision, Refusal> {
        let architecture = if request.architecture.is_empty() {
            &self.architecture
        } else {
            &request.architecture
        };
        resolve(
            &self.policy_of(request),
            request.forced,
            architecture,
            facts,
        )
    }

    /// How it would fare on the best of all nodes.
    pub fn prospect(&self, request: &Request) -> Prospect {
        if self.hides_nodes {
            return Prospect::Unseen;
        }
        let selected = |node: &Node| {
            request
                .selector
                .iter()
                .all(|(key, value)| node.labels().get(key) == Some(value))
        };
        let mut best = Prospect::NoNode;
        for (node, facts) in self.nodes.iter().filter(|(node, _)| selected(node)) {
            let outcome = self.on_node(request, facts);
            let better = match (&best, &outcome) {
                (Prospect::NoNode, _) | (Prospect::Waits(_), Ok(_)) => true,
                (Prospect::Runs(best, _), Ok(found)) => found.accelerator < best.accelerator,
                _ => false,
            };
            if better {
                best = match outcome {
                    Ok(decision) => Prospect::Runs(Box::new(decision), node.name_any()),
                    Err(refusal) => Prospect::Waits(Box::new(refusal)),
                };
            }
        }
        best
    }
}

impl Prospect {
    /// `KVM`, `TCG`, `waits`, or `unknown`.
    pub fn word(&self) -> String {
        match self {
            Self::Runs(decision, _) => decision.accelerator.to_string(),
            Self::Waits(_) | Self::NoNode => "waits".to_owned(),
            Self::Unseen => UNKNOWN.to_owned(),
        }
    }
}
