//! What a change would do: the cluster as it is and as it would be in, for whom it matters out. Pure.

use api::outlook::{
    BOUNDARY, Cluster, Fates, Judge, Machine, NewStart, Request, fates, listed, new_start_lines,
    new_starts,
};
use kube::ResourceExt;
use serde::Serialize;

use super::change::{Edit, Target, Told, Wanted};
use crate::output;

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
    /// What becomes of the machines.
    #[serde(flatten)]
    fates: Fates,
    notes: Vec<String>,
    /// For people: what is asked for.
    #[serde(skip)]
    wanted: &'static str,
    /// For people: no nodes are told because they may not be read.
    #[serde(skip)]
    hides_nodes: bool,
}

#[derive(Debug, Serialize)]
struct BeforeAfter {
    before: String,
    after: String,
}

/// What `edits` would do to `cluster`.
pub(crate) fn plan(cluster: &Cluster, target: &Target, wanted: Wanted, edits: &[Edit]) -> Plan {
    let mut changed = cluster.clone();
    for edit in edits {
        edit.apply(&mut changed);
    }
    let (before, after) = (cluster.judge(), changed.judge());
    let fresh = fresh(cluster, &changed, target);
    let only_node = match target {
        Target::Node(name) => Some(name.as_str()),
        Target::Machine { .. } | Target::Cluster | Target::Namespace(_) => None,
    };
    let mut plan = Plan {
        api_version: crate::status::API_VERSION,
        kind: "EmulationPlan",
        changes: edits.iter().map(|edit| edit.told(cluster)).collect(),
        policy: BeforeAfter {
            before: in_force(&before, target, &fresh.0),
            after: in_force(&after, target, &fresh.1),
        },
        new_starts: new_starts(&before, &after, only_node, &fresh),
        fates: fates(cluster, &changed),
        notes: cluster
            .unseen()
            .iter()
            .chain(&after.policy.problems)
            .map(|it| it.message.clone())
            .collect(),
        wanted: wanted.word(),
        hides_nodes: after.hides_nodes,
    };
    plan.notes
        .extend(notes(cluster, target, wanted, &plan, &after));
    plan
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
            .fates
            .waiting
            .iter()
            .any(|it| it.before != it.after && it.after == "TCG");
    if starts_emulated {
        notes.push(BOUNDARY.to_owned());
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
            listed(own.iter().map(String::as_str))
        ));
    }
    if after.nodes.is_empty() && !after.hides_nodes {
        notes.push("there is no node yet".to_owned());
    }
    notes
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
    section(
        "new starts",
        new_start_lines(&plan.new_starts, plan.hides_nodes),
    );
    section("waiting now", plan.fates.waiting_lines());
    section("running now", plan.fates.running_lines());
    section("stopped now", plan.fates.stopped_lines());
    section("note", plan.notes.clone());
    text.push_str(&output::columns(&rows));
    text
}

/// Whether anything that waits would start.
pub(crate) fn starts_waiting(plan: &Plan) -> bool {
    plan.fates
        .waiting
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
              waiting now   demo/fedora: goes on waiting: hardware virtualization does not work on this node: there is no /dev/kvm; and software emulation is not permitted (policy None, by ConfigMap openshift-cnv/kubevirt-config debug.useEmulation)
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
                  waiting now   demo/fedora: goes on waiting: hardware virtualization does not work on this node: there is no /dev/kvm; and software emulation is not permitted (policy None, by default)
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
              waiting now   demo/fedora: goes on waiting: hardware virtualization does not work on this node: there is no /dev/kvm; and software emulation is not permitted (policy None, by Namespace demo label anyvirt.io/emulation-policy)
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
              waiting now   demo/fedora: goes on waiting: hardware virtualization does not work on this node: there is no /dev/kvm; and software emulation is not permitted (policy None, by Node one label anyvirt.io/emulation-policy)
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
                  waiting now   demo/fedora: goes on waiting: hardware virtualization does not work on this node: there is no /dev/kvm; and software emulation is not permitted (policy None, by default)
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
    fn nodes_that_may_not_be_read_are_not_told_as_none() {
        let mut cluster = cluster();
        cluster.hidden = [api::outlook::NODES].into();
        cluster.nodes.clear();
        check(
            &cluster,
            &Target::Cluster,
            Wanted::On,
            &expect![[r#"
            This sets debug.useEmulation of ConfigMap openshift-cnv/kubevirt-config from unset to "true".
              policy        None (default) -> Software (ConfigMap openshift-cnv/kubevirt-config debug.useEmulation)
              new starts    unknown: you may not read nodes
              waiting now   demo/fedora: unknown: you may not read nodes
              running now   1 VM goes on unchanged until it restarts
              note          you may not read nodes, so what is told here leaves that out
        "#]],
        );
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
        assert_eq!(plan.fates.waiting.len(), 21);
        assert_eq!(plan.fates.waiting_lines().len(), 9);
        assert!(starts_waiting(&plan));
        let json = serde_json::to_value(&plan).unwrap();
        assert_eq!(json["kind"], "EmulationPlan");
        assert_eq!(json["newStarts"][0]["after"], "TCG");
    }
}
