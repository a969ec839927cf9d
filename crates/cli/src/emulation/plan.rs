//! What a change would do: the cluster as it is and as it would be in, for whom it matters out. Pure.

use api::accelerator::Decision;
use kube::ResourceExt;
use serde::Serialize;

use super::change::{Edit, Target, Told, Wanted};
use crate::cluster::{Cluster, Judge, Machine, Prospect, Request};
use crate::output;

/// The machines or nodes that are named in one line; more are counted.
const MOST_NAMES: usize = 8;

/// What a change would do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    api_version: &'static str,
    kind: &'static str,
    /// What is written; nothing if it is so already.
    pub(crate) changes: Vec<Told>,
    /// The policy in force where the change is made: before and after.
    policy: BeforeAfter,
    /// For each node: on what a new machine of that scope would start.
    new_starts: Vec<NewStart>,
    /// Machines that wait.
    waiting: Vec<Fate>,
    /// Machines that run; none is touched.
    running: Vec<Fate>,
    /// Machines that are off, where their next start would differ.
    stopped: Vec<Fate>,
    notes: Vec<String>,
    /// For people: what is asked for.
    #[serde(skip)]
    wanted: &'static str,
}

#[derive(Debug, Serialize)]
struct BeforeAfter {
    before: String,
    after: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NewStart {
    node: String,
    before: String,
    after: String,
    /// Of the guest, if it would be emulated, and that was measured for its architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_slowdown: Option<String>,
}

/// What becomes of one machine.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Fate {
    namespace: String,
    name: String,
    /// What it runs on now, if it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    accelerator: Option<String>,
    /// On what it would start as things are: `KVM`, `TCG` or `waits`.
    before: String,
    /// On what it would start after the change.
    after: String,
    /// The node it would start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// Why it would wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<String>,
}

/// What `edits` would do to `cluster`.
pub(crate) fn plan(cluster: &Cluster, target: &Target, wanted: Wanted, edits: &[Edit]) -> Plan {
    let mut changed = cluster.clone();
    for edit in edits {
        edit.apply(&mut changed);
    }
    let (before, after) = (cluster.judge(), changed.judge());
    let fresh = fresh(cluster, &changed, target);
    let mut plan = Plan {
        api_version: crate::status::API_VERSION,
        kind: "EmulationPlan",
        changes: edits.iter().map(|edit| edit.told(cluster)).collect(),
        policy: BeforeAfter {
            before: in_force(&before, target, &fresh.0),
            after: in_force(&after, target, &fresh.1),
        },
        new_starts: new_starts(&before, &after, target, &fresh),
        waiting: Vec::new(),
        running: Vec::new(),
        stopped: Vec::new(),
        notes: cluster
            .unseen()
            .iter()
            .chain(&after.policy.problems)
            .map(|it| it.message.clone())
            .collect(),
        wanted: wanted.word(),
    };
    // Both lists are of the same machines in the same order.
    for (old, new) in cluster.all_machines().iter().zip(changed.all_machines()) {
        let is_target = matches!(target, Target::Machine { namespace, name }
            if old.namespace() == *namespace && old.name() == *name);
        // An instance keeps its spec, but one that waits for a node follows its machine's policy.
        let next = old.runs() || old.phase().is_none() || (is_target && old.follows());
        let fate = fate(
            old,
            &before.prospect(&old.request(next)),
            &after.prospect(&new.request(next)),
        );
        if old.runs() {
            plan.running.push(fate);
        } else if old.waits() {
            plan.waiting.push(fate);
        } else if fate.before != fate.after && is_startable(old) {
            plan.stopped.push(fate);
        }
    }
    plan.notes
        .extend(notes(cluster, target, wanted, &plan, &after));
    plan
}

/// A VM that is off can be started; an instance that ended cannot.
fn is_startable(machine: &Machine<'_>) -> bool {
    machine.vm.is_some()
}

/// What a new machine of the scope asks for, before and after.
fn fresh(cluster: &Cluster, changed: &Cluster, target: &Target) -> (Request, Request) {
    let of_namespace = |namespace: &str| Request {
        namespace: namespace.to_owned(),
        ..Request::default()
    };
    match target {
        Target::Cluster | Target::Node(_) => Default::default(),
        Target::Namespace(name) => (of_namespace(name), of_namespace(name)),
        Target::Machine { namespace, name } => {
            let of = |cluster: &Cluster| {
                cluster
                    .all_machines()
                    .into_iter()
                    .find(|it| it.namespace() == *namespace && it.name() == *name)
                    .map(|it| it.request(true))
                    .unwrap_or_default()
            };
            (of(cluster), of(changed))
        }
    }
}

/// The policy in force for the scope, with the place that decides it.
fn in_force(judge: &Judge<'_>, target: &Target, fresh: &Request) -> String {
    let policy = judge.policy_of(fresh);
    let policy = match target {
        Target::Node(name) => {
            let node = judge
                .nodes
                .iter()
                .find(|(node, _)| node.name_any() == *name);
            policy.capped_by_node(node.and_then(|(_, facts)| facts.cap.as_ref()))
        }
        _ => policy,
    };
    format!("{} ({})", policy.policy, policy.decided_by)
}

fn new_starts(
    before: &Judge<'_>,
    after: &Judge<'_>,
    target: &Target,
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
        .filter(|(_, name)| !matches!(target, Target::Node(only) if only != name))
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
        Prospect::Waits(refusal) => (None, Some(refusal.cause.clone())),
        Prospect::NoNode => (None, Some("no node that it may go to".to_owned())),
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

/// What a person should know besides.
fn notes(
    cluster: &Cluster,
    target: &Target,
    wanted: Wanted,
    plan: &Plan,
    after: &Judge<'_>,
) -> Vec<String> {
    let mut notes = Vec::new();
    let same = plan.policy.before.split(' ').next() == plan.policy.after.split(' ').next();
    if !plan.changes.is_empty() && same {
        notes.push(match (target, wanted) {
            (Target::Namespace(_) | Target::Node(_), Wanted::On) => format!(
                "the policy in force stays {}: a cap only takes away, it never grants",
                plan.policy.after
            ),
            _ => format!("the policy in force stays {}", plan.policy.after),
        });
    }
    let starts_emulated = plan
        .new_starts
        .iter()
        .any(|it| it.before != it.after && it.after == "TCG")
        || plan
            .waiting
            .iter()
            .any(|it| it.before != it.after && it.after == "TCG");
    if starts_emulated {
        notes.push(
            "QEMU's maintainers do not count software emulation as a security boundary: run no guests of \
             owners who do not trust each other on one node"
                .to_owned(),
        );
    }
    if let Target::Machine { namespace, name } = target
        && let Some(machine) = cluster
            .all_machines()
            .into_iter()
            .find(|it| it.namespace() == *namespace && it.name() == *name)
        && machine.waits()
        && !plan.changes.is_empty()
    {
        notes.push(if machine.follows() {
            format!("{namespace}/{name} waits for a node: it follows the new policy by itself")
        } else {
            format!(
                "{namespace}/{name} is starting on its node: it keeps its policy until it is started again"
            )
        });
    }
    let own: Vec<String> = cluster
        .all_machines()
        .iter()
        .filter(|_| matches!(target, Target::Cluster))
        .filter(|it| it.request(true).own.is_some())
        .map(Machine::full_name)
        .collect();
    if !own.is_empty() && !plan.changes.is_empty() {
        notes.push(format!(
            "machines with an emulationPolicy of their own do not follow the cluster's: {}",
            names(own.iter().map(String::as_str))
        ));
    }
    if after.nodes.is_empty() {
        notes.push("there is no node yet".to_owned());
    }
    notes
}

fn names<'a>(all: impl IntoIterator<Item = &'a str>) -> String {
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
    fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// The plan for people.
pub(crate) fn table(plan: &Plan) -> String {
    if plan.changes.is_empty() {
        return format!(
            "Nothing to change: emulation is {} there already; the policy in force is {}.\n",
            plan.wanted, plan.policy.after
        );
    }
    let mut text = String::new();
    for told in &plan.changes {
        let quoted = |value: &Option<String>| {
            value
                .as_ref()
                .map_or("unset".to_owned(), |value| format!("\"{value}\""))
        };
        text.push_str(&format!(
            "This sets {} of {} from {} to {}.\n",
            told.field,
            told.object,
            quoted(&told.before),
            quoted(&told.after)
        ));
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut section = |title: &str, lines: Vec<String>| {
        for (index, line) in lines.into_iter().enumerate() {
            let title = if index == 0 { title } else { "" };
            rows.push(vec![format!("  {title}"), line]);
        }
    };
    section(
        "policy",
        vec![if plan.policy.before == plan.policy.after {
            plan.policy.after.clone()
        } else {
            format!("{} -> {}", plan.policy.before, plan.policy.after)
        }],
    );
    section("new starts", new_start_lines(plan));
    section("waiting now", waiting_lines(plan));
    section("running now", running_lines(plan));
    section("stopped now", stopped_lines(plan));
    section("note", plan.notes.clone());
    text.push_str(&output::columns(&rows));
    text
}

/// One line for all nodes on which the same happens.
fn new_start_lines(plan: &Plan) -> Vec<String> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for start in &plan.new_starts {
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
    if groups.is_empty() {
        return vec!["there is no node".to_owned()];
    }
    groups
        .into_iter()
        .map(|(words, nodes)| {
            let noun = if nodes.len() == 1 { "node" } else { "nodes" };
            format!("{noun} {}: {words}", names(nodes))
        })
        .collect()
}

fn on(word: &str) -> String {
    match word {
        "waits" => "waits".to_owned(),
        accelerator => format!("on {accelerator}"),
    }
}

fn waiting_lines(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for fate in plan.waiting.iter().take(MOST_NAMES) {
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
            (None, because) => format!(
                "{}: goes on waiting: {}",
                fate.full_name(),
                because.as_deref().unwrap_or("no node takes it")
            ),
        });
    }
    if let Some(more @ 1..) = plan.waiting.len().checked_sub(MOST_NAMES) {
        lines.push(format!("and {more} more"));
    }
    if lines.is_empty() {
        lines.push("none".to_owned());
    }
    lines
}

fn running_lines(plan: &Plan) -> Vec<String> {
    let count = plan.running.len();
    if count == 0 {
        return vec!["none".to_owned()];
    }
    let mut lines = vec![match count {
        1 => "1 VM goes on unchanged until it restarts".to_owned(),
        _ => format!("{count} VMs go on unchanged until they restart"),
    }];
    let would_differ: Vec<&Fate> = plan
        .running
        .iter()
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

fn stopped_lines(plan: &Plan) -> Vec<String> {
    let would = |after: &str| match after {
        "waits" => "would not start".to_owned(),
        accelerator => format!("would start on {accelerator}"),
    };
    let mut lines: Vec<String> = plan
        .stopped
        .iter()
        .take(MOST_NAMES)
        .map(|fate| format!("{} {}", fate.full_name(), would(&fate.after)))
        .collect();
    if let Some(more @ 1..) = plan.stopped.len().checked_sub(MOST_NAMES) {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// Whether anything that waits would start.
pub(crate) fn starts_waiting(plan: &Plan) -> bool {
    plan.waiting
        .iter()
        .any(|fate| fate.before == "waits" && fate.after != "waits")
}

/// The verb that writes again what stood before, if one does.
pub(crate) fn undo(plan: &Plan, target: &Target) -> Option<Wanted> {
    let [change] = plan.changes.as_slice() else {
        return None;
    };
    // Only a remark was written: who set it.
    if change.before == change.after {
        return None;
    }
    let is_switch = *target == Target::Cluster;
    match change.before.as_deref() {
        None if !is_switch => Some(Wanted::Auto),
        Some("true") if is_switch => Some(Wanted::On),
        Some("false") if is_switch => Some(Wanted::Off),
        Some("Software") if !is_switch => Some(Wanted::On),
        Some("None") if !is_switch => Some(Wanted::Off),
        _ => None,
    }
}

/// The policy in force after the change, for a hint.
pub(crate) fn policy_after(plan: &Plan) -> &str {
    &plan.policy.after
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use jiff::Timestamp;
    use serde_json::json;

    use super::super::change::edits;
    use super::super::tests::{cluster, machine, node};
    use super::*;

    fn check(cluster: &Cluster, target: &Target, wanted: Wanted, expected: &Expect) {
        let edits = edits(cluster, target, wanted, Timestamp::UNIX_EPOCH).unwrap();
        expected.assert_eq(&table(&plan(cluster, target, wanted, &edits)));
    }

    #[test]
    fn permitting_tells_who_starts_and_who_goes_on() {
        check(
            &cluster(),
            &Target::Cluster,
            Wanted::On,
            &expect![[r#"
            This sets debug.useEmulation of ConfigMap openshift-cnv/kubevirt-config from unset to "true".
              policy        None (default) -> Software (ConfigMap openshift-cnv/kubevirt-config debug.useEmulation)
              new starts    node one: waits -> on TCG, several times slower than KVM
              waiting now   demo/fedora: starts on TCG, node one
              running now   1 VM goes on unchanged until it restarts
              stopped now   demo/off would start on TCG
              note          QEMU's maintainers do not count software emulation as a security boundary: run no guests of owners who do not trust each other on one node
        "#]],
        );
        let mut cluster = cluster();
        for edit in edits(
            &cluster,
            &Target::Cluster,
            Wanted::On,
            Timestamp::UNIX_EPOCH,
        )
        .unwrap()
        {
            edit.apply(&mut cluster);
        }
        check(
            &cluster,
            &Target::Cluster,
            Wanted::On,
            &expect![[r#"
            Nothing to change: emulation is on there already; the policy in force is Software (ConfigMap openshift-cnv/kubevirt-config debug.useEmulation).
        "#]],
        );
        check(
            &cluster,
            &Target::Cluster,
            Wanted::Off,
            &expect![[r#"
            This sets debug.useEmulation of ConfigMap openshift-cnv/kubevirt-config from "true" to "false".
              policy        Software (ConfigMap openshift-cnv/kubevirt-config debug.useEmulation) -> None (ConfigMap openshift-cnv/kubevirt-config debug.useEmulation)
              new starts    node one: on TCG -> waits
              waiting now   demo/fedora: goes on waiting: hardware virtualization does not work on this node: /dev/kvm does not exist (DeviceMissing); and software emulation is not permitted (policy None, by ConfigMap openshift-cnv/kubevirt-config debug.useEmulation)
              running now   1 VM goes on unchanged until it restarts
                            demo/web runs on TCG; started again it would not start
              stopped now   demo/off would not start
        "#]],
        );
    }

    #[test]
    fn a_mixed_cluster_is_told_by_nodes() {
        let mut cluster = cluster();
        for name in ["two", "three"] {
            cluster.nodes.push(node(name, true));
        }
        cluster.nodes[0].metadata.annotations =
            Some([("anyvirt.io/tcg-slowdown".to_owned(), "7.84".to_owned())].into());
        check(
            &cluster,
            &Target::Cluster,
            Wanted::On,
            &expect![[r#"
                This sets debug.useEmulation of ConfigMap openshift-cnv/kubevirt-config from unset to "true".
                  policy        None (default) -> Software (ConfigMap openshift-cnv/kubevirt-config debug.useEmulation)
                  new starts    node one: waits -> on TCG, about 7.8 times slower than KVM
                                nodes two, three: as before: on KVM
                  waiting now   demo/fedora: as before, may start on KVM
                  running now   1 VM goes on unchanged until it restarts
                                demo/web runs on TCG; started again it would run on KVM, with or without this change
                  note          QEMU's maintainers do not count software emulation as a security boundary: run no guests of owners who do not trust each other on one node
            "#]],
        );
        check(
            &cluster,
            &Target::Cluster,
            Wanted::Auto,
            &expect![[r#"
                This sets debug.useEmulation of ConfigMap openshift-cnv/kubevirt-config from unset to "false".
                  policy        None (default) -> None (ConfigMap openshift-cnv/kubevirt-config debug.useEmulation)
                  new starts    node one: as before: waits
                                nodes two, three: as before: on KVM
                  waiting now   demo/fedora: as before, may start on KVM
                  running now   1 VM goes on unchanged until it restarts
                                demo/web runs on TCG; started again it would run on KVM, with or without this change
                  note          the policy in force stays None (ConfigMap openshift-cnv/kubevirt-config debug.useEmulation)
            "#]],
        );
    }

    #[test]
    fn a_measured_slowdown_is_told_of_guests_it_was_measured_for() {
        let mut cluster = cluster();
        cluster.nodes.push(node("two", true));
        for node in &mut cluster.nodes {
            let measured = ("anyvirt.io/tcg-slowdown".to_owned(), "7.84".to_owned());
            node.metadata.annotations = Some([measured].into());
            let emulates = "kubevirt.io/vm-arch-arm64".to_owned();
            node.labels_mut().insert(emulates, "true".to_owned());
        }
        let slowdowns = |cluster: &Cluster| {
            let target = Target::Machine {
                namespace: "demo".to_owned(),
                name: "off".to_owned(),
            };
            let edits = edits(cluster, &target, Wanted::On, Timestamp::UNIX_EPOCH).unwrap();
            let plan = plan(cluster, &target, Wanted::On, &edits);
            let all = plan.new_starts.into_iter();
            all.map(|it| (it.after, it.expected_slowdown))
                .collect::<Vec<_>>()
        };
        let emulated = ("TCG".to_owned(), Some("7.8".to_owned()));
        assert_eq!(slowdowns(&cluster), [emulated, ("KVM".to_owned(), None)]);
        let template = cluster.machines[2].spec.template.as_mut().unwrap();
        template.spec.architecture = Some("arm64".to_owned());
        let foreign = ("TCG".to_owned(), None);
        assert_eq!(slowdowns(&cluster), [foreign.clone(), foreign]);
    }

    #[test]
    fn caps_take_away_and_never_grant() {
        let demo = Target::Namespace("demo".to_owned());
        check(
            &cluster(),
            &demo,
            Wanted::On,
            &expect![[r#"
                This sets label anyvirt.io/emulation-policy of Namespace demo from unset to "Software".
                  policy        None (default)
                  new starts    node one: as before: waits
                  waiting now   demo/fedora: goes on waiting: hardware virtualization does not work on this node: /dev/kvm does not exist (DeviceMissing); and software emulation is not permitted (policy None, by default)
                  running now   1 VM goes on unchanged until it restarts
                                demo/web runs on TCG; started again it would not start, with or without this change
                  note          the policy in force stays None (default): a cap only takes away, it never grants
            "#]],
        );
        let mut permitted = cluster();
        for edit in edits(
            &permitted,
            &Target::Cluster,
            Wanted::On,
            Timestamp::UNIX_EPOCH,
        )
        .unwrap()
        {
            edit.apply(&mut permitted);
        }
        check(
            &permitted,
            &demo,
            Wanted::Off,
            &expect![[r#"
            This sets label anyvirt.io/emulation-policy of Namespace demo from unset to "None".
              policy        Software (ConfigMap openshift-cnv/kubevirt-config debug.useEmulation) -> None (Namespace demo label anyvirt.io/emulation-policy)
              new starts    node one: on TCG -> waits
              waiting now   demo/fedora: goes on waiting: hardware virtualization does not work on this node: /dev/kvm does not exist (DeviceMissing); and software emulation is not permitted (policy None, by Namespace demo label anyvirt.io/emulation-policy)
              running now   1 VM goes on unchanged until it restarts
                            demo/web runs on TCG; started again it would not start
              stopped now   demo/off would not start
        "#]],
        );
        let one = Target::Node("one".to_owned());
        check(
            &permitted,
            &one,
            Wanted::Off,
            &expect![[r#"
            This sets label anyvirt.io/emulation-policy of Node one from unset to "None".
              policy        Software (ConfigMap openshift-cnv/kubevirt-config debug.useEmulation) -> None (Node one label anyvirt.io/emulation-policy)
              new starts    node one: on TCG -> waits
              waiting now   demo/fedora: goes on waiting: hardware virtualization does not work on this node: /dev/kvm does not exist (DeviceMissing); and software emulation is not permitted (policy None, by Node one label anyvirt.io/emulation-policy)
              running now   1 VM goes on unchanged until it restarts
                            demo/web runs on TCG; started again it would not start
              stopped now   demo/off would not start
        "#]],
        );
    }

    #[test]
    fn a_single_machine_follows_its_policy_while_it_waits_for_a_node() {
        let fedora = Target::Machine {
            namespace: "demo".to_owned(),
            name: "fedora".to_owned(),
        };
        check(
            &cluster(),
            &fedora,
            Wanted::On,
            &expect![[r#"
                This sets spec.template.spec.emulationPolicy of VirtualMachine demo/fedora from unset to "Software".
                  policy        None (default) -> Software (VirtualMachine demo/fedora spec.template.spec.emulationPolicy)
                  new starts    node one: waits -> on TCG, several times slower than KVM
                  waiting now   demo/fedora: starts on TCG, node one
                  running now   1 VM goes on unchanged until it restarts
                                demo/web runs on TCG; started again it would not start, with or without this change
                  note          QEMU's maintainers do not count software emulation as a security boundary: run no guests of owners who do not trust each other on one node
                                demo/fedora waits for a node: it follows the new policy by itself
            "#]],
        );
        let mut placed = cluster();
        for instance in &mut placed.instances {
            let status = instance.status.get_or_insert_default();
            status.node_name = Some("one".to_owned());
        }
        check(
            &placed,
            &fedora,
            Wanted::On,
            &expect![[r#"
                This sets spec.template.spec.emulationPolicy of VirtualMachine demo/fedora from unset to "Software".
                  policy        None (default) -> Software (VirtualMachine demo/fedora spec.template.spec.emulationPolicy)
                  new starts    node one: waits -> on TCG, several times slower than KVM
                  waiting now   demo/fedora: goes on waiting: hardware virtualization does not work on this node: /dev/kvm does not exist (DeviceMissing); and software emulation is not permitted (policy None, by default)
                  running now   1 VM goes on unchanged until it restarts
                                demo/web runs on TCG; started again it would not start, with or without this change
                  note          QEMU's maintainers do not count software emulation as a security boundary: run no guests of owners who do not trust each other on one node
                                demo/fedora is starting on its node: it keeps its policy until it is started again
            "#]],
        );
    }

    #[test]
    fn a_plan_tells_what_may_not_be_read_and_still_what_is_sure() {
        let mut cluster = cluster();
        let kubevirt = json!({
            "metadata": {"name": "kubevirt", "namespace": "kubevirt"}, "spec": {},
            "status": {"emulation": {"policy": "None", "decidedBy": "HyperConverged x"}},
        });
        cluster.kubevirt = serde_json::from_value(kubevirt).unwrap();
        cluster.hidden = ["the HyperConverged object"].into();
        let target = Target::Cluster;
        let edits = edits(&cluster, &target, Wanted::On, Timestamp::UNIX_EPOCH).unwrap();
        let plan = plan(&cluster, &target, Wanted::On, &edits);
        assert_eq!(plan.policy.before, "None (HyperConverged x)");
        // The switch stands above what is hidden.
        assert!(
            plan.policy
                .after
                .starts_with("Software (ConfigMap openshift-cnv/")
        );
        assert!(plan.notes[0].starts_with("you may not read the HyperConverged object"));
    }

    #[test]
    fn many_machines_are_counted() {
        let mut cluster = cluster();
        for number in 0..20 {
            let (vm, instance) = machine(&format!("m{number}"), json!({"phase": "Scheduling"}));
            cluster.machines.push(vm);
            cluster.instances.extend(instance);
        }
        let edits = edits(
            &cluster,
            &Target::Cluster,
            Wanted::On,
            Timestamp::UNIX_EPOCH,
        )
        .unwrap();
        let plan = plan(&cluster, &Target::Cluster, Wanted::On, &edits);
        assert_eq!(plan.waiting.len(), 21);
        assert_eq!(waiting_lines(&plan).len(), MOST_NAMES + 1);
        assert!(starts_waiting(&plan));
        let json = serde_json::to_value(&plan).unwrap();
        assert_eq!(json["kind"], "EmulationPlan");
        assert_eq!(json["newStarts"][0]["after"], "TCG");
    }
}
