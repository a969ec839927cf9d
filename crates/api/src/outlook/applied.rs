//! What would follow if an object were applied as it is written.

use kube::ResourceExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node};

use super::judge::UNSEEN;
use super::{
    Cluster, Fate, INSTANCES, MACHINES, Machine, NODES, Prospect, Request, SWITCH_NAMESPACE, fates,
    new_start_lines, new_starts,
};
use crate::configuration::precedence;
use crate::hyper_converged::HyperConverged;
use crate::kubevirt::KubeVirt;
use crate::names;
use crate::virtual_machine::{RunStrategy, VirtualMachine};

/// An object that bears on virtual machines.
#[derive(Clone, Debug)]
pub enum Applied {
    /// A legacy ConfigMap.
    ConfigMap(Box<ConfigMap>),
    /// KubeVirt's own object.
    KubeVirt(Box<KubeVirt>),
    /// HyperConverged's object.
    HyperConverged(Box<HyperConverged>),
    /// A namespace, for its labels.
    Namespace(Box<Namespace>),
    /// A node, for its labels.
    Node(Box<Node>),
    /// A virtual machine.
    Machine(Box<VirtualMachine>),
}

/// What would follow.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Consequences {
    /// Machines that wait now, a line each.
    pub waiting: Vec<String>,
    /// Machines that run now.
    pub running: Vec<String>,
    /// What machines get that start from then on; empty: as before.
    pub new: String,
    /// What a person should look at before.
    pub problems: Vec<String>,
}

/// What an object is about.
enum About {
    /// Nothing that is told here.
    Nothing,
    /// A thing of a kind that may not be read.
    Unseen,
    Cluster,
    Namespace(String),
    Node(String),
    /// A machine; its namespace and name.
    Machine(String, String),
}

impl Applied {
    /// Reads an object; `None`: it is of a kind that bears on no virtual machine.
    ///
    /// # Errors
    /// Which field cannot be read.
    pub fn read(object: Value) -> Result<Option<Self>, String> {
        fn typed<T: DeserializeOwned>(object: Value) -> Result<Box<T>, String> {
            serde_json::from_value(object)
                .map(Box::new)
                .map_err(|error| error.to_string())
        }
        let text = |field: &str| {
            object
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let group = text("apiVersion")
            .split_once('/')
            .map_or("", |(group, _)| group);
        Ok(Some(match (group, text("kind")) {
            ("", "ConfigMap") => Self::ConfigMap(typed(object)?),
            ("", "Namespace") => Self::Namespace(typed(object)?),
            ("", "Node") => Self::Node(typed(object)?),
            (names::GROUP, "KubeVirt") => Self::KubeVirt(typed(object)?),
            (names::GROUP, "VirtualMachine") => Self::Machine(typed(object)?),
            ("hco.kubevirt.io", "HyperConverged") => Self::HyperConverged(typed(object)?),
            _ => return Ok(None),
        }))
    }

    /// The cluster once it is applied, and what it is about.
    fn apply(&self, cluster: &mut Cluster) -> About {
        match self {
            Self::ConfigMap(map) => apply_map(cluster, map),
            Self::KubeVirt(object) => {
                let key = |object: &KubeVirt| {
                    precedence(&object.metadata, names::NAMESPACE_KUBEVIRT, names::KUBEVIRT)
                };
                let present = cluster.kubevirt.as_ref();
                if present.is_some_and(|it| key(it) < key(object)) {
                    // The other one counts.
                    return About::Nothing;
                }
                let mut object = (**object).clone();
                object.status = present.and_then(|it| it.status.clone());
                cluster.kubevirt = Some(object);
                About::Cluster
            }
            Self::HyperConverged(object) => {
                let key = |object: &HyperConverged| {
                    let namespace = names::NAMESPACE_OPENSHIFT_CNV;
                    precedence(&object.metadata, namespace, names::HYPER_CONVERGED)
                };
                let present = cluster.hyper_converged.as_ref();
                if present.is_some_and(|it| key(it) < key(object)) {
                    // The other one counts.
                    return About::Nothing;
                }
                cluster.hyper_converged = Some((**object).clone());
                About::Cluster
            }
            Self::Namespace(namespace) => {
                put(&mut cluster.namespaces, namespace);
                About::Namespace(namespace.name_any())
            }
            Self::Node(node) => {
                let Some(known) = cluster
                    .nodes
                    .iter_mut()
                    .find(|it| it.name_any() == node.name_any())
                else {
                    return if cluster.hidden.contains(NODES) {
                        About::Unseen
                    } else {
                        About::Nothing
                    };
                };
                // What is known of it stays; a person changes its labels.
                known.metadata.labels = node.metadata.labels.clone();
                About::Node(node.name_any())
            }
            Self::Machine(machine) => {
                let known = cluster.machines.iter_mut().find(|it| {
                    it.name_any() == machine.name_any() && it.namespace() == machine.namespace()
                });
                match known {
                    Some(known) => {
                        known.spec = machine.spec.clone();
                        known.metadata.annotations = machine.metadata.annotations.clone();
                    }
                    None => cluster.machines.push((**machine).clone()),
                }
                About::Machine(machine.namespace().unwrap_or_default(), machine.name_any())
            }
        }
    }
}

fn apply_map(cluster: &mut Cluster, map: &ConfigMap) -> About {
    let namespace = map.namespace().unwrap_or_default();
    let places = [SWITCH_NAMESPACE, names::NAMESPACE_KUBEVIRT];
    if map.name_any() != names::CONFIG_MAP || !places.contains(&namespace.as_str()) {
        return About::Nothing;
    }
    let known = cluster
        .config_maps
        .iter_mut()
        .find(|it| it.namespace().as_deref() == Some(&namespace));
    match known {
        Some(known) => known.data = map.data.clone(),
        // The strongest first.
        None if namespace == SWITCH_NAMESPACE => cluster.config_maps.insert(0, map.clone()),
        None => cluster.config_maps.push(map.clone()),
    }
    About::Cluster
}

fn put(all: &mut Vec<Namespace>, object: &Namespace) {
    match all.iter_mut().find(|it| it.name_any() == object.name_any()) {
        Some(known) => known.metadata.labels = object.metadata.labels.clone(),
        None => all.push(object.clone()),
    }
}

/// What would follow if `applied` were applied to `cluster`.
pub fn consequences(cluster: &Cluster, applied: &Applied) -> Consequences {
    let mut changed = cluster.clone();
    let about = applied.apply(&mut changed);
    let mut told = match about {
        About::Nothing => return Consequences::default(),
        About::Unseen => Consequences::default(),
        About::Machine(namespace, name) => of_machine(cluster, &changed, &namespace, &name),
        About::Cluster => of_scope(cluster, &changed, &Request::default(), None, ""),
        About::Node(node) => of_scope(cluster, &changed, &Request::default(), Some(&node), ""),
        About::Namespace(name) => {
            let fresh = Request {
                namespace: name.clone(),
                ..Request::default()
            };
            of_scope(
                cluster,
                &changed,
                &fresh,
                None,
                &format!("in namespace {name}, "),
            )
        }
    };
    let present = cluster.configuration_problems();
    let added = changed.configuration_problems();
    let added = added.into_iter().filter(|it| !present.contains(it));
    told.problems.extend(
        cluster
            .unseen()
            .into_iter()
            .chain(added)
            .map(|it| it.message),
    );
    told
}

/// Of the cluster's policy, or a cap: everybody is looked at.
fn of_scope(
    cluster: &Cluster,
    changed: &Cluster,
    fresh: &Request,
    node: Option<&str>,
    place: &str,
) -> Consequences {
    let (before, after) = (cluster.judge(), changed.judge());
    let starts = new_starts(&before, &after, node, &(fresh.clone(), fresh.clone()));
    let fates = fates(cluster, changed);
    let (old, new) = (before.policy_of(fresh), after.policy_of(fresh));
    let moves = |fate: &Fate| fate.before != fate.after;
    let mut all = fates
        .waiting
        .iter()
        .chain(&fates.running)
        .chain(&fates.stopped);
    if old.policy == new.policy && starts.iter().all(|it| it.before == it.after) && !all.any(moves)
    {
        return Consequences::default();
    }
    let mut lines = Vec::new();
    if old.policy != new.policy {
        lines.push(format!(
            "{place}the policy is {} ({}); it was {} ({})",
            new.policy, new.decided_by, old.policy, old.decided_by
        ));
    }
    lines.extend(
        new_start_lines(&starts, after.hides_nodes)
            .into_iter()
            .map(|line| format!("{place}{line}")),
    );
    lines.extend(fates.stopped_lines());
    let emulated = starts
        .iter()
        .any(|it| it.before != it.after && it.after == "TCG")
        || fates
            .waiting
            .iter()
            .any(|it| moves(it) && it.after == "TCG");
    Consequences {
        waiting: unless_empty(&fates.waiting, fates.waiting_lines()),
        running: unless_empty(&fates.running, fates.running_lines()),
        new: lines.join("; "),
        problems: emulated.then(|| BOUNDARY.to_owned()).into_iter().collect(),
    }
}

/// What whoever permits emulation should know.
pub const BOUNDARY: &str = "QEMU's maintainers do not count software emulation as a security boundary: run no guests of \
                            owners who do not trust each other on one node";

/// The lines for nobody say so, for people at a terminal.
fn unless_empty(fates: &[Fate], lines: Vec<String>) -> Vec<String> {
    if fates.is_empty() { Vec::new() } else { lines }
}

/// Of one machine: only itself.
fn of_machine(cluster: &Cluster, changed: &Cluster, namespace: &str, name: &str) -> Consequences {
    if [MACHINES, INSTANCES]
        .iter()
        .any(|it| cluster.hidden.contains(it))
    {
        // It may exist, and run: nothing is sure.
        return Consequences::default();
    }
    let own = |it: &&Machine<'_>| it.namespace() == namespace && it.name() == name;
    let (old_machines, new_machines) = (cluster.all_machines(), changed.all_machines());
    let old = old_machines.iter().find(own);
    let Some(new) = new_machines.iter().find(own) else {
        return Consequences::default();
    };
    let prospect = changed.judge().prospect(&new.request(true));
    let mut told = Consequences::default();
    let strategy = |machine: &Machine<'_>| machine.vm.and_then(|vm| vm.spec.strategy());
    let template = |machine: &Machine<'_>| machine.vm.and_then(|vm| vm.spec.template.clone());
    let (wanted, is_new) = (strategy(new), old.is_none_or(|old| old.vm.is_none()));
    let phase = old.and_then(Machine::phase);
    if is_new || phase.is_none() {
        let when = match wanted {
            Some(RunStrategy::Halted | RunStrategy::Manual) | None => "when it is started, it",
            Some(_) => "it starts at once, and",
        };
        told.new = format!("{namespace}/{name}: {when} {}", would(&prospect));
        return told;
    }
    let Some(old) = old else {
        return told;
    };
    let stops = wanted == Some(RunStrategy::Halted) && strategy(old) != wanted;
    let line = if stops {
        Some("is shut down".to_owned())
    } else if template(old) == template(new) && old.request(true).forced == new.request(true).forced
    {
        None
    } else if old.runs() {
        Some(format!(
            "goes on unchanged; what is changed in its template counts from its next start, when it {}",
            would(&prospect)
        ))
    } else if old.follows() {
        Some(of_waiting(cluster, changed, old, new, &prospect))
    } else {
        Some("is starting; what is changed in its template counts from its next start".to_owned())
    };
    let line = line.map(|line| format!("{namespace}/{name} {line}"));
    if old.runs() {
        told.running.extend(line);
    } else {
        told.waiting.extend(line);
    }
    told
}

/// Of a machine that waits for a node; `later` is how it fares from its next start.
fn of_waiting(
    cluster: &Cluster,
    changed: &Cluster,
    old: &Machine<'_>,
    new: &Machine<'_>,
    later: &Prospect,
) -> String {
    let before = cluster.judge().prospect(&old.request(false));
    let after = changed.judge().prospect(&new.request(false));
    if before.word() == after.word() {
        return "waits; but for its emulation policy, what is changed in its template counts from its next start"
            .to_owned();
    }
    // All of the template that it does not follow.
    let rest = |machine: &Machine<'_>| {
        let mut spec = machine.vm?.spec.template.as_ref()?.spec.clone();
        spec.emulation_policy = None;
        Some(spec)
    };
    let rest = if rest(old) == rest(new) {
        String::new()
    } else {
        format!(
            "; what else is changed in its template counts from its next start, when it {}",
            would(later)
        )
    };
    format!(
        "waits for a node, and follows at once: it {}{rest}",
        would(&after)
    )
}

fn would(prospect: &Prospect) -> String {
    match prospect {
        Prospect::Runs(decision, node) => {
            let slower = match decision.slowdown {
                Some(factor) => format!(", about {factor:.1} times slower than KVM"),
                None => String::new(),
            };
            format!("runs on {}, node {node}{slower}", decision.accelerator)
        }
        Prospect::Waits(refusal) => format!("waits: {}", refusal.brief()),
        Prospect::NoNode => "waits: no node that it may go to".to_owned(),
        Prospect::Unseen => format!("runs or waits, which is {UNSEEN}"),
    }
}
