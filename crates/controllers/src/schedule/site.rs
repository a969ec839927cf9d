//! A node as placing sees it: what it is, what it has, and what is taken from it.

use super::decide::Suitability;
use super::fit::{self, Obstacle};
use super::guest::Guest;
use super::requirements::Requirements;
use super::resources::{self, Amounts};
use api::accelerator::{Accelerator, NodeFacts};
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::ResourceExt as _;
use std::collections::{BTreeMap, BTreeSet};
use tracing::warn;

/// The taint a node without a `Ready` condition is treated to have, as the node lifecycle
/// controller of a cluster would set it.
const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// The taint a cordoned node is treated to have.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// What of a Node object matters for placing. A heartbeat changes nothing of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    /// Of a cordoned node, the taint that stands for it.
    pub(super) cordon: Option<Taint>,
    pub(super) taints: Vec<Taint>,
    /// What decides there which accelerator a guest gets.
    pub(super) node: NodeFacts,
    allocatable: Amounts,
}

impl Facts {
    pub(super) fn of(node: &Node) -> Self {
        let spec = node.spec.as_ref();
        let taints = spec.and_then(|spec| spec.taints.as_deref());
        let not_ready = (!is_ready(node)).then(|| fit::taint(NOT_READY));
        let cordoned = spec.and_then(|spec| spec.unschedulable) == Some(true);
        // A node that cannot say what it has gets no pods; it is the node's defect to repair.
        let allocatable = resources::allocatable(node).unwrap_or_else(|problem| {
            warn!(
                node = node.name_any(),
                problem, "node's resources cannot be read"
            );
            Amounts::new()
        });
        Self {
            name: node.name_any(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            cordon: cordoned.then(|| fit::taint(UNSCHEDULABLE)),
            taints: taints
                .unwrap_or_default()
                .iter()
                .chain(&not_ready)
                .cloned()
                .collect(),
            node: NodeFacts::of(node),
            allocatable,
        }
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

/// Names of resources as numbers: amounts are then lists. There are as many as nodes and pods ever
/// named, which is a handful.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: BTreeMap<String, usize>,
}

impl Names {
    /// The number of a name.
    pub(super) fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.numbers.len();
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

/// What is asked for of one resource.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ask {
    pub(super) name: String,
    pub(super) number: usize,
    pub(super) amount: i128,
}

/// A node with what is taken from it.
#[derive(Debug, Default)]
pub(super) struct Site {
    /// None: there is no such node, but pods are bound to it.
    pub(super) facts: Option<Facts>,
    /// Its number among the sites.
    pub(super) number: usize,
    /// When the facts or what is taken changed, in changes of the cluster.
    pub(super) revision: u64,
    /// When a change last can have made it fit; 0: never.
    pub(super) helped: u64,
    /// Of each kind of pod, by its number, what follows from the facts, once it was asked for.
    fixed: Vec<Option<Fixed>>,
    /// The pods that take room.
    pub(super) uids: BTreeSet<String>,
    allocatable: Vec<i128>,
    taken: Vec<i128>,
    pods: i128,
    /// The virtual processors of guests that are emulated there.
    emulated: i128,
    /// How many emulated guests each namespace has there; none has 0.
    tenants: BTreeMap<String, i128>,
}

fn of(amounts: &[i128], number: usize) -> i128 {
    amounts.get(number).copied().unwrap_or(0)
}

/// What follows for a kind of pod from a node's facts alone, whatever is taken from it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fixed {
    pub(super) obstacle: Option<Obstacle>,
    /// Whether its guest would be emulated there.
    pub(super) emulated: bool,
    /// As far as it does not depend on what is taken.
    pub(super) suitability: Suitability,
}

impl Fixed {
    fn of(requirements: &Requirements, facts: &Facts) -> Self {
        let (preference, avoided) = fit::suitability(requirements, facts);
        let guest = requirements.guest.as_ref();
        let accelerator = guest.and_then(|guest| guest.accelerator(&facts.node));
        let prefers = guest.is_some_and(Guest::prefers_hardware);
        Self {
            obstacle: fit::obstacle(requirements, facts),
            emulated: accelerator == Some(Accelerator::Tcg),
            suitability: Suitability {
                hardware: prefers && accelerator == Some(Accelerator::Kvm),
                preference,
                avoided,
                ..Suitability::default()
            },
        }
    }
}

impl Site {
    /// What its facts mean for pods of a kind, one of which has `requirements`; none without a node.
    pub(super) fn fixed(&mut self, kind: usize, requirements: &Requirements) -> Option<Fixed> {
        let facts = self.facts.as_ref()?;
        if self.fixed.len() <= kind {
            self.fixed.resize(kind + 1, None);
        }
        Some(*self.fixed[kind].get_or_insert_with(|| Fixed::of(requirements, facts)))
    }

    /// Takes what the Node object says.
    pub(super) fn set(&mut self, facts: Facts, names: &mut Names) {
        self.fixed.clear();
        self.allocatable.clear();
        for (name, amount) in &facts.allocatable {
            let number = names.number(name);
            if self.allocatable.len() <= number {
                self.allocatable.resize(number + 1, 0);
            }
            self.allocatable[number] = *amount;
        }
        self.facts = Some(facts);
    }

    /// Counts a pod in (`times` 1) or out (-1).
    pub(super) fn count(&mut self, asks: &[Ask], times: i128) {
        self.pods += times;
        for ask in asks {
            if self.taken.len() <= ask.number {
                self.taken.resize(ask.number + 1, 0);
            }
            self.taken[ask.number] += ask.amount * times;
        }
    }

    /// Counts an emulated guest in (`times` 1) or out (-1), beside its pod.
    pub(super) fn count_emulated(&mut self, guest: &Guest, times: i128) {
        self.emulated += guest.processors * times;
        let count = self.tenants.entry(guest.namespace.clone()).or_insert(0);
        *count += times;
        if *count <= 0 {
            self.tenants.remove(&guest.namespace);
        }
    }

    /// The namespaces whose guests are emulated there.
    pub(super) fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.keys().map(String::as_str)
    }

    /// Emulated processors per core, in thousandths, if `guest` were emulated there too; `cpu` is that
    /// resource's number. A node without cores is as crowded as can be.
    pub(super) fn crowd(&self, guest: &Guest, cpu: usize) -> i128 {
        let processors = self.emulated + guest.processors;
        match of(&self.allocatable, cpu) {
            // Cores are counted in thousandths already.
            cores if cores > 0 => processors.saturating_mul(1_000_000) / cores,
            _ => i128::MAX,
        }
    }

    /// Whether there would be more than `most` emulated processors per core, if `guest` were emulated
    /// there too; exactly, while [`Site::crowd`] rounds. `cpu` is that resource's number.
    pub(super) fn crowded(&self, guest: &Guest, cpu: usize, most: u32) -> bool {
        let processors = self.emulated.saturating_add(guest.processors);
        let cores = of(&self.allocatable, cpu);
        cores <= 0 || processors.saturating_mul(1000) > i128::from(most).saturating_mul(cores)
    }

    /// Whether no pod is bound to it.
    pub(super) fn is_empty(&self) -> bool {
        self.pods == 0
    }

    /// Whether one more pod would be too many; `pods` is that resource's number.
    pub(super) fn is_full(&self, pods: usize) -> bool {
        (self.pods + 1) * 1000 > of(&self.allocatable, pods)
    }

    /// Whether there is too little left for one ask.
    pub(super) fn lacks(&self, ask: &Ask) -> bool {
        ask.amount > 0
            && ask.amount > of(&self.allocatable, ask.number) - of(&self.taken, ask.number)
    }

    /// How much would be left of a resource, in thousandths of all there is.
    pub(super) fn left_permille(&self, number: usize, asked: i128) -> i128 {
        let all = of(&self.allocatable, number);
        if all <= 0 {
            return 0;
        }
        (all - of(&self.taken, number) - asked) * 1000 / all
    }
}
