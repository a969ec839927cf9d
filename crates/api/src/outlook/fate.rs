//! What becomes of each machine, and of new ones: told as values and as lines for people.

use kube::ResourceExt;
use serde::Serialize;

use super::judge::{UNKNOWN, UNSEEN};
use super::{Cluster, INSTANCES, Judge, Machine, Prospect, Request};
use crate::accelerator::Decision;

/// The machines or nodes that are named in one line; more are counted.
const MOST_NAMES: usize = 8;

/// On what a new machine would start on one node.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewStart {
    /// The node.
    pub node: String,
    /// As things are: `KVM`, `TCG` or `waits`.
    pub before: String,
    /// After the change.
    pub after: String,
    /// Of the guest, if it would be emulated, and that was measured for its architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_slowdown: Option<String>,
}

/// What becomes of one machine.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fate {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it runs on now, if it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<String>,
    /// On what it would start as things are: `KVM`, `TCG`, `waits` or `unknown`.
    pub before: String,
    /// On what it would start after the change.
    pub after: String,
    /// The node it would start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Why it would wait, or why that is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// What becomes of all machines.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Fates {
    /// Those that wait.
    pub waiting: Vec<Fate>,
    /// Those that run; none is touched.
    pub running: Vec<Fate>,
    /// Those that are off, where their next start would differ.
    pub stopped: Vec<Fate>,
}

/// What becomes of the machines of `cluster` when it is as `changed`, which has the same machines.
pub fn fates(cluster: &Cluster, changed: &Cluster) -> Fates {
    let (before, after) = (cluster.judge(), changed.judge());
    let mut fates = Fates::default();
    // Both lists are of the same machines in the same order.
    for (old, new) in cluster.all_machines().iter().zip(changed.all_machines()) {
        let next = old.runs() || old.phase().is_none();
        let fate = fate(
            old,
            &before.prospect(&old.request(next)),
            &after.prospect(&new.request(next)),
        );
        if old.runs() {
            fates.running.push(fate);
        } else if old.waits() {
            fates.waiting.push(fate);
        } else if fate.before != fate.after && cluster.is_startable(old) {
            fates.stopped.push(fate);
        }
    }
    fates
}

impl Cluster {
    /// A VM that is off can be started; an instance that ended cannot. Whose instance may not be read
    /// is not known to be off.
    fn is_startable(&self, machine: &Machine<'_>) -> bool {
        machine.vm.is_some() && !self.hidden.contains(INSTANCES)
    }
}

/// For each node, or for `only` this one: on what a machine would start that asks as `fresh` says before and after.
pub fn new_starts(
    before: &Judge<'_>,
    after: &Judge<'_>,
    only: Option<&str>,
    fresh: &(Request, Request),
) -> Vec<NewStart> {
    let decided = |judge: &Judge<'_>, request: &Request, index: usize| {
        let (_, facts) = &judge.nodes[index];
        judge.on_node(request, facts).ok()
    };
    let word = |decision: &Option<Decision>| {
        let accelerator = decision.as_ref().map(|it| it.accelerator.to_string());
        accelerator.unwrap_or_else(|| "waits".to_owned())
    };
    // The nodes are the same before and after, in the same order.
    (0..before.nodes.len())
        .map(|index| (index, before.nodes[index].0.name_any()))
        .filter(|(_, name)| only.is_none_or(|only| only == name))
        .map(|(index, node)| {
            let decision = decided(after, &fresh.1, index);
            let slowdown = decision.as_ref().and_then(|it| it.slowdown);
            NewStart {
                before: word(&decided(before, &fresh.0, index)),
                after: word(&decision),
                expected_slowdown: slowdown.map(|factor| format!("{factor:.1}")),
                node,
            }
        })
        .collect()
}

fn fate(machine: &Machine<'_>, before: &Prospect, after: &Prospect) -> Fate {
    let (node, because) = match after {
        Prospect::Runs(_, node) => (Some(node.clone()), None),
        Prospect::Waits(refusal) => (None, Some(refusal.brief().to_owned())),
        Prospect::NoNode => (None, Some("no node that it may go to".to_owned())),
        Prospect::Unseen => (None, Some("you may not read nodes".to_owned())),
    };
    Fate {
        namespace: machine.namespace(),
        name: machine.name(),
        accelerator: machine.accelerator().map(str::to_owned),
        before: before.word(),
        after: after.word(),
        node,
        because,
    }
}

/// Names in one line: the first ones, and how many more there are.
pub fn listed<'a>(all: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<&str> = all.into_iter().collect();
    let shown = all
        .iter()
        .take(MOST_NAMES)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match all.len().checked_sub(MOST_NAMES) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

impl Fate {
    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// One line for all nodes on which the same happens; `hides_nodes`: they may not be read.
pub fn new_start_lines(starts: &[NewStart], hides_nodes: bool) -> Vec<String> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for start in starts {
        let speed = match (&start.expected_slowdown, start.after.as_str()) {
            (Some(factor), "TCG") => format!(", about {factor} times slower than KVM"),
            (None, "TCG") => ", several times slower than KVM".to_owned(),
            _ => String::new(),
        };
        let words = if start.before == start.after {
            format!("as before: {}{speed}", on(&start.after))
        } else {
            format!("{} -> {}{speed}", on(&start.before), on(&start.after))
        };
        match groups.iter_mut().find(|(known, _)| *known == words) {
            Some((_, nodes)) => nodes.push(&start.node),
            None => groups.push((words, vec![&start.node])),
        }
    }
    if hides_nodes {
        return vec![UNSEEN.to_owned()];
    }
    if groups.is_empty() {
        return vec!["there is no node".to_owned()];
    }
    groups
        .into_iter()
        .map(|(words, nodes)| {
            let noun = if nodes.len() == 1 { "node" } else { "nodes" };
            format!("{noun} {}: {words}", listed(nodes))
        })
        .collect()
}

fn on(word: &str) -> String {
    match word {
        "waits" => "waits".to_owned(),
        accelerator => format!("on {accelerator}"),
    }
}

impl Fates {
    /// What becomes of those that wait, for people.
    pub fn waiting_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for fate in self.waiting.iter().take(MOST_NAMES) {
            lines.push(match (&fate.node, &fate.because) {
                (Some(node), _) if fate.before == "waits" => {
                    format!(
                        "{}: starts on {}, node {node}",
                        fate.full_name(),
                        fate.after
                    )
                }
                (Some(_), _) => format!(
                    "{}: as before, may start on {}",
                    fate.full_name(),
                    fate.after
                ),
                (None, _) if fate.after == UNKNOWN => format!("{}: {UNSEEN}", fate.full_name()),
                (None, because) => format!(
                    "{}: goes on waiting: {}",
                    fate.full_name(),
                    because.as_deref().unwrap_or("no node takes it")
                ),
            });
        }
        if let Some(more @ 1..) = self.waiting.len().checked_sub(MOST_NAMES) {
            lines.push(format!("and {more} more"));
        }
        if lines.is_empty() {
            lines.push("none".to_owned());
        }
        lines
    }

    /// Of those that run.
    pub fn running_lines(&self) -> Vec<String> {
        let count = self.running.len();
        if count == 0 {
            return vec!["none".to_owned()];
        }
        let mut lines = vec![match count {
            1 => "1 VM goes on unchanged until it restarts".to_owned(),
            _ => format!("{count} VMs go on unchanged until they restart"),
        }];
        let would_differ: Vec<&Fate> = self
            .running
            .iter()
            .filter(|fate| fate.after != UNKNOWN)
            .filter(|fate| fate.accelerator.as_deref() != Some(fate.after.as_str()))
            .collect();
        for fate in would_differ.iter().take(MOST_NAMES) {
            let now = fate.accelerator.as_deref().unwrap_or("something unknown");
            let then = match fate.after.as_str() {
                "waits" => "not start".to_owned(),
                accelerator => format!("run on {accelerator}"),
            };
            let already = if fate.before == fate.after {
                ", with or without this change"
            } else {
                ""
            };
            lines.push(format!(
                "{} runs on {now}; started again it would {then}{already}",
                fate.full_name()
            ));
        }
        if let Some(more @ 1..) = would_differ.len().checked_sub(MOST_NAMES) {
            lines.push(format!("and {more} more that would differ"));
        }
        lines
    }

    /// Of those that are off.
    pub fn stopped_lines(&self) -> Vec<String> {
        let would = |after: &str| match after {
            "waits" => "would not start".to_owned(),
            accelerator => format!("would start on {accelerator}"),
        };
        let mut lines: Vec<String> = self
            .stopped
            .iter()
            .take(MOST_NAMES)
            .map(|fate| format!("{} {}", fate.full_name(), would(&fate.after)))
            .collect();
        if let Some(more @ 1..) = self.stopped.len().checked_sub(MOST_NAMES) {
            lines.push(format!("and {more} more"));
        }
        lines
    }
}
