//! The policy in its four scopes, what each node can, and what each machine runs on.

use api::accelerator::{Considered, EffectivePolicy, NodeFacts, Problem};
use api::condition;
use api::names::conditions::ACCELERATOR_OUTDATED;
use kube::ResourceExt;
use serde::Serialize;

use super::change;
use crate::cluster::{self, Cluster, Machine};
use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::{Format, output};

/// Nodes whose evidence is told below their table; the rest is a question to `explain`.
const MOST_REASONS: usize = 5;

/// Everything about emulation.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    api_version: &'static str,
    kind: &'static str,
    /// The cluster's.
    policy: String,
    decided_by: String,
    /// If `anyvirt emulation auto` set it: when and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    set_by: Option<String>,
    problems: Vec<Problem>,
    caps: Vec<Considered>,
    nodes: Vec<NodeRow>,
    virtual_machines: Vec<MachineRow>,
}

/// One node.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeRow {
    pub(crate) name: String,
    pub(crate) usable: bool,
    pub(crate) class: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) stage: String,
    pub(crate) message: String,
    /// How many times slower than KVM an emulated guest is there; absent: not calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slowdown: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cap: Option<String>,
    /// Architectures it runs or emulates.
    pub(crate) architectures: Vec<String>,
}

/// One machine.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MachineRow {
    namespace: String,
    name: String,
    phase: String,
    /// `KVM` or `TCG`, as QEMU says, once it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    accelerator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_slowdown: Option<String>,
    /// `hardware` or `process`.
    #[serde(skip_serializing_if = "Option::is_none")]
    isolation: Option<String>,
    /// The policy in force: of its start, if it runs; of the next one, if not.
    policy: String,
    decided_by: String,
    considered: Vec<Considered>,
    /// Why it would run on something else, or not at all, if it were started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    outdated: Option<String>,
}

pub(crate) async fn show(connection: &Connection, format: Format) -> Result<Exit, Failure> {
    let cluster = cluster::look(&connection.client)
        .await
        .map_err(|error| connection.failure(error))?;
    let shown = shown(&cluster);
    output::object(format, &shown, || table(&shown))
}

fn shown(cluster: &Cluster) -> Shown {
    let judge = cluster.judge();
    let machines = cluster.all_machines();
    let rows = machines.iter().map(|machine| {
        let policy = judge.policy_of(&machine.request(!machine.waits()));
        machine_row(machine, policy)
    });
    let problems = cluster.unseen().into_iter();
    let problems = problems.chain(judge.policy.problems.iter().cloned());
    let of_caps = cluster.caps().into_iter().filter_map(|cap| cap.problem);
    Shown {
        api_version: crate::status::API_VERSION,
        kind: "Emulation",
        policy: judge.policy.policy.to_string(),
        decided_by: judge.policy.decided_by.clone(),
        set_by: change::set_by(cluster).map(str::to_owned),
        problems: problems.chain(of_caps).collect(),
        caps: cluster
            .caps()
            .into_iter()
            .map(|cap| Considered {
                scope: cap.scope,
                place: cap.place,
                policy: cap.policy,
            })
            .collect(),
        nodes: node_rows(cluster),
        virtual_machines: rows.collect(),
    }
}

/// Every node with what it can.
pub(crate) fn node_rows(cluster: &Cluster) -> Vec<NodeRow> {
    let row = |node: &k8s_openapi::api::core::v1::Node| {
        let facts = NodeFacts::of(node);
        let mut architectures: Vec<String> = facts.emulates.iter().cloned().collect();
        if !architectures.contains(&facts.architecture) {
            architectures.insert(0, facts.architecture.clone());
        }
        NodeRow {
            name: node.name_any(),
            usable: facts.verdict.usable,
            class: facts.verdict.class,
            stage: facts.verdict.stage,
            message: facts.verdict.message,
            slowdown: facts.slowdown.map(|factor| format!("{factor:.1}")),
            cap: facts.cap.map(|cap| cap.policy.to_string()),
            architectures,
        }
    };
    cluster.nodes.iter().map(row).collect()
}

fn machine_row(machine: &Machine<'_>, policy: EffectivePolicy) -> MachineRow {
    let status = machine.instance.and_then(|it| it.status.as_ref());
    let running = status
        .filter(|_| machine.runs())
        .and_then(|status| status.accelerator.clone());
    let outdated = status
        .and_then(|status| condition::find(&status.conditions, ACCELERATOR_OUTDATED))
        .filter(|condition| condition.is_true())
        .map(|condition| {
            let said = condition
                .message
                .clone()
                .or_else(|| condition.reason.clone());
            said.unwrap_or_default()
        });
    let mut row = MachineRow {
        namespace: machine.namespace(),
        name: machine.name(),
        phase: machine
            .phase()
            .map_or("Stopped".to_owned(), |phase| phase.to_string()),
        accelerator: None,
        reason: None,
        expected_slowdown: None,
        isolation: None,
        policy: policy.policy.to_string(),
        decided_by: policy.decided_by,
        considered: policy.considered,
        outdated,
    };
    if let Some(running) = running {
        row.accelerator = Some(running.type_);
        row.reason = running.reason;
        row.expected_slowdown = running.expected_slowdown;
        row.isolation = running.isolation;
        row.policy = running.policy.unwrap_or(row.policy);
        row.decided_by = running.decided_by.unwrap_or(row.decided_by);
        if !running.considered.is_empty() {
            row.considered = running.considered;
        }
    }
    row
}

fn table(shown: &Shown) -> String {
    let mut head = vec![
        vec!["POLICY".to_owned(), policy_words(&shown.policy)],
        vec!["DECIDED BY".to_owned(), shown.decided_by.clone()],
    ];
    if let Some(set_by) = &shown.set_by {
        head.push(vec!["SET BY".to_owned(), set_by.clone()]);
    }
    for cap in &shown.caps {
        head.push(vec![
            "CAP".to_owned(),
            format!("{}: at most {}", cap.place, cap.policy),
        ]);
    }
    for problem in &shown.problems {
        head.push(vec!["PROBLEM".to_owned(), problem.message.clone()]);
    }
    let mut text = output::columns(&head);
    text.push('\n');
    text.push_str(&node_table(&shown.nodes));
    if shown.virtual_machines.is_empty() {
        return text;
    }
    text.push('\n');
    text.push_str(&machine_table(&shown.virtual_machines));
    for row in &shown.virtual_machines {
        if let Some(outdated) = &row.outdated {
            text.push_str(&format!(
                "\n{}/{} is outdated: {outdated}\n",
                row.namespace, row.name
            ));
        }
    }
    text
}

pub(crate) fn node_table(nodes: &[NodeRow]) -> String {
    let words = ["NODE", "HARDWARE", "CLASS", "SLOWDOWN", "CAP", "GUESTS"];
    let mut rows = vec![words.map(str::to_owned).to_vec()];
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for node in nodes {
        let class = if node.stage.is_empty() {
            node.class.clone()
        } else {
            format!("{} at {}", node.class, node.stage)
        };
        rows.push(vec![
            node.name.clone(),
            if node.usable {
                "works"
            } else {
                "does not work"
            }
            .to_owned(),
            class,
            node.slowdown
                .as_ref()
                .map_or("not calibrated".to_owned(), |factor| format!("{factor} x")),
            or_dash(&node.cap),
            node.architectures.join(","),
        ]);
    }
    let mut text = output::columns(&rows);
    for node in nodes.iter().filter(|node| !node.usable).take(MOST_REASONS) {
        text.push_str(&format!("{}: {}\n", node.name, node.message));
    }
    text
}

fn machine_table(machines: &[MachineRow]) -> String {
    let words = [
        "NAMESPACE",
        "NAME",
        "PHASE",
        "ACCELERATOR",
        "SLOWER",
        "POLICY",
        "DECIDED BY",
    ];
    let mut rows = vec![words.map(str::to_owned).to_vec()];
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for row in machines {
        let outdated = if row.outdated.is_some() {
            ", outdated"
        } else {
            ""
        };
        let slower = match (&row.expected_slowdown, row.accelerator.as_deref()) {
            (Some(factor), _) => format!("{factor} x"),
            (None, Some("TCG")) => "unknown".to_owned(),
            (None, _) => "-".to_owned(),
        };
        rows.push(vec![
            row.namespace.clone(),
            row.name.clone(),
            row.phase.clone(),
            format!("{}{outdated}", or_dash(&row.accelerator)),
            slower,
            row.policy.clone(),
            row.decided_by.clone(),
        ]);
    }
    output::columns(&rows)
}

/// A policy as a sentence.
pub(crate) fn policy_words(policy: &str) -> String {
    match policy {
        "Software" => {
            "Software: emulation in software is permitted where hardware virtualization does not work"
                .to_owned()
        }
        "Hardware" => {
            "Hardware: no emulation in software; the same as None until such help is served".to_owned()
        }
        other => format!("{other}: hardware virtualization only"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::super::tests::cluster;
    use super::*;

    #[test]
    fn everything_that_has_a_say_is_shown() {
        let mut cluster = cluster();
        cluster.namespaces[0].metadata.labels = Some(
            [(
                "anyvirt.io/emulation-policy".to_owned(),
                "nonsense".to_owned(),
            )]
            .into(),
        );
        let map = json!({
            "metadata": {"name": "kubevirt-config", "namespace": "openshift-cnv",
                "annotations": {"anyvirt.io/emulation-set-by": "set by auto at T because of it"}},
            "data": {"debug.useEmulation": "true"},
        });
        cluster
            .config_maps
            .push(serde_json::from_value(map).unwrap());
        let status = cluster.instances[1].status.as_mut().unwrap();
        status.conditions.push(
            serde_json::from_value(json!({"type": "AcceleratorOutdated", "status": "True",
                "message": "it runs on TCG; started again it would not start"}))
            .unwrap(),
        );
        expect![[r#"
            POLICY       Software: emulation in software is permitted where hardware virtualization does not work
            DECIDED BY   ConfigMap openshift-cnv/kubevirt-config debug.useEmulation
            SET BY       set by auto at T because of it
            CAP          Namespace demo label anyvirt.io/emulation-policy: at most None
            PROBLEM      Namespace demo label anyvirt.io/emulation-policy: "nonsense" is no policy and counts as None; write None, Hardware or Software, or remove the label

            NODE   HARDWARE        CLASS           SLOWDOWN         CAP   GUESTS
            one    does not work   DeviceMissing   not calibrated   -     amd64
            one: /dev/kvm does not exist

            NAMESPACE   NAME     PHASE        ACCELERATOR     SLOWER   POLICY     DECIDED BY
            demo        fedora   Scheduling   -               -        None       Namespace demo label anyvirt.io/emulation-policy
            demo        off      Stopped      -               -        None       Namespace demo label anyvirt.io/emulation-policy
            demo        web      Running      TCG, outdated   7.8 x    Software   an earlier policy

            demo/web is outdated: it runs on TCG; started again it would not start
        "#]].assert_eq(&table(&shown(&cluster)));
    }

    #[test]
    fn what_may_not_be_read_is_told_and_the_recorded_policy_stands() {
        let mut cluster = cluster();
        let place = "ConfigMap openshift-cnv/kubevirt-config debug.useEmulation";
        let kubevirt = json!({
            "metadata": {"name": "kubevirt", "namespace": "kubevirt"}, "spec": {},
            "status": {"emulation": {"policy": "Software", "decidedBy": place}},
        });
        cluster.kubevirt = serde_json::from_value(kubevirt).unwrap();
        assert_eq!(shown(&cluster).policy, "None");
        cluster.hidden = ["the ConfigMap openshift-cnv/kubevirt-config", "namespaces"].into();
        let now = shown(&cluster);
        assert_eq!(
            (now.policy.as_str(), now.decided_by.as_str()),
            ("Software", place)
        );
        assert!(!cluster.hides_policy());
        let told: Vec<&str> = now.problems.iter().map(|it| it.message.as_str()).collect();
        assert_eq!(
            told,
            [
                "you may not read namespaces, so what is told here leaves that out",
                "you may not read the ConfigMap openshift-cnv/kubevirt-config, so what is told here leaves that out",
            ]
        );
        assert_eq!(cluster.problems(), told);
        // What stands above every hidden place is sure.
        let object = cluster.kubevirt.as_mut().unwrap();
        let configuration = object.spec.configuration.get_or_insert_default();
        configuration.emulation_policy = Some(api::accelerator::EmulationPolicy::Hardware);
        assert_eq!(shown(&cluster).policy, "Hardware");
        // Without a record, nobody knows.
        cluster.kubevirt = None;
        cluster.hidden.insert("the KubeVirt object");
        assert!(cluster.hides_policy());
        let now = shown(&cluster);
        assert_eq!(now.decided_by, "default, as far as you may read");
    }

    #[test]
    fn programs_get_the_same() {
        let json = serde_json::to_value(shown(&cluster())).unwrap();
        assert_eq!(json["policy"], "None");
        assert_eq!(json["nodes"][0]["class"], "DeviceMissing");
        let web = json["virtualMachines"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["name"] == "web")
            .unwrap();
        assert_eq!(web["accelerator"], "TCG");
        assert_eq!(web["expectedSlowdown"], "7.8");
        assert_eq!(web["decidedBy"], "an earlier policy");
    }
}
