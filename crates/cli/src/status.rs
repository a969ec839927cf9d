//! How the system stands: server, accelerator, virtual machines, problems.

use std::collections::BTreeMap;

use api::condition;
use api::names::conditions::ACCELERATOR_OUTDATED;
use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;

use crate::cluster::{self, Cluster, Machine};
use crate::connect::Connection;
use crate::emulation::{NodeRow, node_rows, node_table, policy_words};
use crate::failure::{Exit, Failure};
use crate::{Format, output};

/// Version of the objects that our own verbs print.
pub(crate) const API_VERSION: &str = "cli.anyvirt.io/v1";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct System {
    api_version: &'static str,
    kind: &'static str,
    server: Server,
    emulation: Emulation,
    acceleration: Acceleration,
    nodes: Vec<NodeRow>,
    virtual_machines: Vec<Row>,
    problems: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    address: String,
    version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Emulation {
    policy: String,
    decided_by: String,
}

/// What the guests that run really run on, as QEMU says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Acceleration {
    /// Guests by accelerator.
    running: BTreeMap<String, usize>,
    /// Guests that would run on something else, or not at all, if they were started again.
    outdated: usize,
    /// Nodes on which hardware virtualization works.
    usable_nodes: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    namespace: String,
    name: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    accelerator: Option<String>,
    /// How many times slower than KVM it is expected to be, if it is emulated and that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_slowdown: Option<String>,
    /// Started again, it would run on something else, or not at all.
    outdated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<Timestamp>,
    /// Why it does not run although it should.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

pub(crate) async fn run(connection: &Connection, format: Format) -> Result<Exit, Failure> {
    let version: Value = connection.get("/version").await?;
    let cluster = cluster::look(&connection.client)
        .await
        .map_err(|error| connection.failure(error))?;
    let version = version
        .get("gitVersion")
        .and_then(Value::as_str)
        .unwrap_or("unknown");
    let server = Server {
        address: connection.server.clone(),
        version: version.to_owned(),
    };
    let system = system(server, &cluster);
    output::object(format, &system, || table(&system, Timestamp::now()))
}

fn system(server: Server, cluster: &Cluster) -> System {
    let policy = cluster.policy();
    let rows: Vec<Row> = cluster.all_machines().iter().map(row).collect();
    let nodes = node_rows(cluster);
    let mut running: BTreeMap<String, usize> = BTreeMap::new();
    for accelerator in rows.iter().filter_map(|row| row.accelerator.clone()) {
        *running.entry(accelerator).or_default() += 1;
    }
    System {
        api_version: API_VERSION,
        kind: "Status",
        server,
        emulation: Emulation {
            policy: policy.policy.to_string(),
            decided_by: policy.decided_by,
        },
        acceleration: Acceleration {
            running,
            outdated: rows.iter().filter(|row| row.outdated).count(),
            usable_nodes: nodes.iter().filter(|node| node.usable).count(),
        },
        nodes,
        virtual_machines: rows,
        problems: cluster.problems(),
    }
}

fn row(machine: &Machine<'_>) -> Row {
    let vm = machine.vm.map(|vm| vm.status.clone().unwrap_or_default());
    let instance = machine.instance.and_then(|it| it.status.clone());
    let conditions = vm
        .as_ref()
        .map(|status| status.conditions.clone())
        .or_else(|| instance.as_ref().map(|status| status.conditions.clone()))
        .unwrap_or_default();
    let waits = condition::find(&conditions, "PodScheduled")
        .or_else(|| condition::find(&conditions, "Synchronized"))
        .filter(|condition| condition.status == "False");
    let failed = condition::find(&conditions, "Failure").filter(|found| found.is_true());
    let running = instance
        .as_ref()
        .and_then(|status| status.accelerator.clone())
        .filter(|_| machine.runs());
    let created = machine.vm.map_or_else(
        || machine.instance.and_then(ResourceExt::creation_timestamp),
        ResourceExt::creation_timestamp,
    );
    let phase = instance.as_ref().and_then(|status| status.phase);
    Row {
        namespace: machine.namespace(),
        name: machine.name(),
        status: match &vm {
            Some(status) => status.printable_status.to_string(),
            None => phase.map_or("Pending".to_owned(), |phase| phase.to_string()),
        },
        expected_slowdown: running.as_ref().and_then(|it| it.expected_slowdown.clone()),
        accelerator: running.map(|it| it.type_),
        outdated: machine.runs() && condition::is_true(&conditions, ACCELERATOR_OUTDATED),
        address: instance
            .map(|status| status.interfaces)
            .unwrap_or_default()
            .into_iter()
            .find_map(|interface| interface.ip_address),
        created: created.map(|time| time.0),
        message: waits
            .or(failed)
            .and_then(|condition| condition.message.clone()),
    }
}

/// What the running guests run on, in words.
fn acceleration_words(acceleration: &Acceleration, nodes: usize) -> String {
    let mut parts: Vec<String> = acceleration
        .running
        .iter()
        .map(|(accelerator, count)| match accelerator.as_str() {
            "TCG" => format!("{count} emulated (TCG)"),
            other => format!("{count} on {other}"),
        })
        .collect();
    if parts.is_empty() {
        parts.push("no guest runs".to_owned());
    }
    if acceleration.outdated > 0 {
        parts.push(format!(
            "{} would differ if started again",
            acceleration.outdated
        ));
    }
    parts.push(format!(
        "hardware works on {} of {nodes} nodes",
        acceleration.usable_nodes
    ));
    parts.join("; ")
}

fn table(system: &System, now: Timestamp) -> String {
    let rows = &system.virtual_machines;
    let running = rows.iter().filter(|row| row.status == "Running").count();
    let line = |title: &str, text: String| vec![title.to_owned(), text];
    let mut head = vec![
        line(
            "SERVER",
            format!(
                "{}, Kubernetes API {}",
                system.server.address, system.server.version
            ),
        ),
        line(
            "EMULATION",
            format!(
                "{} ({})",
                policy_words(&system.emulation.policy),
                system.emulation.decided_by
            ),
        ),
        line(
            "GUESTS",
            acceleration_words(&system.acceleration, system.nodes.len()),
        ),
        line("VMS", format!("{running} running, {} in all", rows.len())),
    ];
    if system.problems.is_empty() {
        head.push(line("PROBLEMS", "none".to_owned()));
    }
    for problem in &system.problems {
        head.push(line("PROBLEM", problem.clone()));
    }
    let mut text = output::columns(&head);
    text.push('\n');
    text.push_str(&node_table(&system.nodes));
    if rows.is_empty() {
        return text;
    }
    text.push('\n');
    text.push_str(&machine_table(rows, now));
    let mut waiting = rows.iter().filter(|row| row.message.is_some()).peekable();
    let first = waiting
        .peek()
        .map(|row| (row.namespace.clone(), row.name.clone()));
    for row in waiting {
        let message = row.message.as_deref().unwrap_or_default();
        text.push_str(&format!("\n{}/{}: {message}\n", row.namespace, row.name));
    }
    if let Some((namespace, name)) = first {
        text.push_str(&format!(
            "\nCause and cures: anyvirt explain vm/{name} -n {namespace}\n"
        ));
    }
    text
}

fn machine_table(machines: &[Row], now: Timestamp) -> String {
    let words = ["NAMESPACE", "NAME", "STATUS", "ACCELERATOR", "IP", "AGE"];
    let mut rows = vec![words.map(str::to_owned).to_vec()];
    for row in machines {
        let slower = row
            .expected_slowdown
            .as_ref()
            .map_or(String::new(), |factor| format!(", {factor} x slower"));
        let outdated = if row.outdated { ", outdated" } else { "" };
        rows.push(vec![
            row.namespace.clone(),
            row.name.clone(),
            row.status.clone(),
            row.accelerator
                .as_ref()
                .map_or("-".to_owned(), |it| format!("{it}{slower}{outdated}")),
            row.address.clone().unwrap_or_else(|| "-".to_owned()),
            row.created
                .map_or("-".to_owned(), |created| age(created, now)),
        ]);
    }
    output::columns(&rows)
}

/// How long ago, as kubectl says it.
pub(crate) fn age(from: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(from.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::emulation::tests::cluster;

    fn seen() -> System {
        let mut cluster = cluster();
        for vm in &mut cluster.machines {
            vm.metadata.creation_timestamp = Some(
                k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH),
            );
        }
        let waits = json!({"printableStatus": "ErrorUnschedulable", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available."}]});
        let runs = json!({"printableStatus": "Running", "conditions": [
            {"type": "AcceleratorOutdated", "status": "True"}]});
        cluster.machines[0].status = serde_json::from_value(waits).unwrap();
        cluster.machines[1].status = serde_json::from_value(runs).unwrap();
        let server = Server {
            address: "https://127.0.0.1:6443".to_owned(),
            version: "v1.35.0".to_owned(),
        };
        system(server, &cluster)
    }

    #[test]
    fn the_table_shows_the_system_and_each_machine() {
        let now = Timestamp::from_second(300).unwrap();
        expect![[r#"
            SERVER      https://127.0.0.1:6443, Kubernetes API v1.35.0
            EMULATION   None: hardware virtualization only (default)
            GUESTS      1 emulated (TCG); 1 would differ if started again; hardware works on 0 of 1 nodes
            VMS         1 running, 3 in all
            PROBLEMS    none

            NODE   HARDWARE        CLASS           SLOWDOWN         CAP   GUESTS
            one    does not work   DeviceMissing   not calibrated   -     amd64
            one: /dev/kvm does not exist

            NAMESPACE   NAME     STATUS               ACCELERATOR                   IP   AGE
            demo        fedora   ErrorUnschedulable   -                             -    5m
            demo        off      Stopped              -                             -    5m
            demo        web      Running              TCG, 7.8 x slower, outdated   -    5m

            demo/fedora: 0/1 nodes are available.

            Cause and cures: anyvirt explain vm/fedora -n demo
        "#]].assert_eq(&table(&seen(), now));
    }

    #[test]
    fn objects_for_programs_have_a_version() {
        let system = seen();
        let json = serde_json::to_value(&system).unwrap();
        assert_eq!(json["apiVersion"], "cli.anyvirt.io/v1");
        assert_eq!(json["acceleration"]["running"]["TCG"], 1);
        assert_eq!(json["virtualMachines"][2]["accelerator"], "TCG");
        let yaml = serde_saphyr::to_string(&system).unwrap();
        assert!(
            yaml.starts_with("apiVersion: cli.anyvirt.io/v1\n"),
            "{yaml}"
        );
    }

    #[test]
    fn ages_are_told_as_kubectl_tells_them() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7200, "2h"),
            (200_000, "2d"),
        ] {
            let now = Timestamp::from_second(seconds).unwrap();
            assert_eq!(age(Timestamp::UNIX_EPOCH, now), text);
        }
    }
}
