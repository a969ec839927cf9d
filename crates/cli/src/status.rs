//! How the system stands: server, accelerator, virtual machines, problems.

use std::collections::BTreeMap;

use api::accelerator::{self, ClusterPolicy, NodeFacts};
use api::condition;
use api::names;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use crate::connect::Connection;
use crate::emulation::{self, Seen};
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
    nodes: Vec<NodeRow>,
    virtual_machines: Vec<Machine>,
    /// Why virtual machines wait for a device, if any do.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<Waiting>,
    problems: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    cause: String,
    remedies: Vec<String>,
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
    /// The policy as a sentence; for people.
    #[serde(skip)]
    words: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeRow {
    name: String,
    hardware_virtualization: bool,
    reason: String,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Machine {
    namespace: String,
    name: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    accelerator: Option<String>,
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
    let seen = Seen::look(connection).await?;
    let failure = |error| connection.failure(error);
    let machines: Api<VirtualMachine> = Api::all(connection.client.clone());
    let machines = machines
        .list(&ListParams::default())
        .await
        .map_err(failure)?;
    let instances: Api<VirtualMachineInstance> = Api::all(connection.client.clone());
    let instances = instances
        .list(&ListParams::default())
        .await
        .map_err(failure)?;
    let policy = seen.policy(None);
    let mut problems: Vec<String> = policy
        .problems
        .iter()
        .map(|problem| problem.message.clone())
        .collect();
    for problem in reported(&seen) {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    let virtual_machines = rows(&machines.items, &instances.items);
    let waiting = waiting(&virtual_machines, &seen, &policy);
    let system = System {
        api_version: API_VERSION,
        kind: "Status",
        server: Server {
            address: connection.server.clone(),
            version: version
                .get("gitVersion")
                .and_then(Value::as_str)
                .unwrap_or("unknown")
                .to_owned(),
        },
        emulation: Emulation {
            policy: policy.policy.to_string(),
            words: emulation::policy_words(&policy),
            decided_by: policy.decided_by,
        },
        nodes: seen
            .nodes
            .iter()
            .map(|(name, verdict)| NodeRow {
                name: name.clone(),
                hardware_virtualization: verdict.usable,
                reason: verdict.class.clone(),
                message: verdict.message.clone(),
            })
            .collect(),
        virtual_machines,
        waiting,
        problems,
    };
    output::object(format, &system, || table(&system, Timestamp::now()))
}

/// Why machines wait for a device, and what helps; `None` if none does, or if the cause is another.
fn waiting(rows: &[Machine], seen: &Seen, policy: &ClusterPolicy) -> Option<Waiting> {
    let devices = [names::resources::KVM, names::resources::VHOST_NET];
    let waits = |row: &Machine| {
        let message = row.message.as_deref().unwrap_or_default();
        devices.iter().any(|device| message.contains(device))
    };
    if !rows.iter().any(waits) || seen.nodes.iter().any(|(_, verdict)| verdict.usable) {
        return None;
    }
    let (_, verdict) = seen.nodes.first()?;
    let policy = accelerator::effective(policy, None, None);
    let node = NodeFacts {
        verdict: verdict.clone(),
        ..NodeFacts::default()
    };
    let refusal = accelerator::resolve(&policy, None, "", &node).err()?;
    Some(Waiting {
        cause: refusal.cause,
        remedies: refusal.remedies.iter().map(ToString::to_string).collect(),
    })
}

/// What the controllers say is wrong with the configuration.
fn reported(seen: &Seen) -> Vec<String> {
    let status = seen
        .kubevirt
        .as_ref()
        .and_then(|object| object.status.as_ref());
    let emulation = status.and_then(|status| status.emulation.as_ref());
    let problems = emulation
        .map(|emulation| emulation.problems.as_slice())
        .unwrap_or_default();
    problems
        .iter()
        .map(|problem| problem.message.clone())
        .collect()
}

/// Machines, and instances that no machine owns, sorted by namespace and name.
fn rows(machines: &[VirtualMachine], instances: &[VirtualMachineInstance]) -> Vec<Machine> {
    let mut by_name: BTreeMap<(String, String), Machine> = BTreeMap::new();
    for machine in machines {
        let status = machine.status.clone().unwrap_or_default();
        let key = (machine.namespace().unwrap_or_default(), machine.name_any());
        let waits = condition::find(&status.conditions, "PodScheduled")
            .or_else(|| condition::find(&status.conditions, "Synchronized"))
            .filter(|condition| condition.status == "False");
        let failed = condition::find(&status.conditions, "Failure").filter(|found| found.is_true());
        let row = Machine {
            namespace: key.0.clone(),
            name: key.1.clone(),
            status: status.printable_status.to_string(),
            accelerator: None,
            address: None,
            created: machine.creation_timestamp().map(|time| time.0),
            message: waits
                .or(failed)
                .and_then(|condition| condition.message.clone()),
        };
        by_name.insert(key, row);
    }
    for instance in instances {
        let status = instance.status.clone().unwrap_or_default();
        let key = (
            instance.namespace().unwrap_or_default(),
            instance.name_any(),
        );
        let row = by_name.entry(key.clone()).or_insert_with(|| Machine {
            namespace: key.0,
            name: key.1,
            status: status
                .phase
                .map_or("Pending".to_owned(), |phase| phase.to_string()),
            accelerator: None,
            address: None,
            created: instance.creation_timestamp().map(|time| time.0),
            message: None,
        });
        row.accelerator = status.accelerator.map(|accelerator| accelerator.type_);
        row.address = status
            .interfaces
            .into_iter()
            .find_map(|interface| interface.ip_address);
    }
    by_name.into_values().collect()
}

fn table(system: &System, now: Timestamp) -> String {
    let running = system
        .virtual_machines
        .iter()
        .filter(|row| row.status == "Running")
        .count();
    let total = system.virtual_machines.len();
    let mut head = vec![
        vec![
            "SERVER".to_owned(),
            format!(
                "{}, Kubernetes API {}",
                system.server.address, system.server.version
            ),
        ],
        vec![
            "EMULATION".to_owned(),
            format!(
                "{} ({})",
                system.emulation.words, system.emulation.decided_by
            ),
        ],
    ];
    for node in &system.nodes {
        let works = if node.hardware_virtualization {
            "works"
        } else {
            "does not work"
        };
        let words = format!(
            "{}: hardware virtualization {works} ({})",
            node.name, node.reason
        );
        head.push(vec!["NODE".to_owned(), words]);
    }
    head.push(vec![
        "VMS".to_owned(),
        format!("{running} running, {total} in all"),
    ]);
    if system.problems.is_empty() {
        head.push(vec!["PROBLEMS".to_owned(), "none".to_owned()]);
    }
    for problem in &system.problems {
        head.push(vec!["PROBLEM".to_owned(), problem.clone()]);
    }
    let mut text = output::columns(&head);
    if system.virtual_machines.is_empty() {
        return text;
    }
    let words = ["NAMESPACE", "NAME", "STATUS", "ACCELERATOR", "IP", "AGE"];
    let mut rows = vec![words.map(str::to_owned).to_vec()];
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for row in &system.virtual_machines {
        rows.push(vec![
            row.namespace.clone(),
            row.name.clone(),
            row.status.clone(),
            or_dash(&row.accelerator),
            or_dash(&row.address),
            row.created
                .map_or("-".to_owned(), |created| age(created, now)),
        ]);
    }
    text.push('\n');
    text.push_str(&output::columns(&rows));
    for row in &system.virtual_machines {
        if let Some(message) = &row.message {
            text.push_str(&format!("\n{}/{}: {message}\n", row.namespace, row.name));
        }
    }
    if let Some(waiting) = &system.waiting {
        text.push_str(&format!("\n  cause   {}\n", waiting.cause));
        for (index, remedy) in waiting.remedies.iter().enumerate() {
            let word = if index == 0 { "fix" } else { " or" };
            text.push_str(&format!("  {word}     {remedy}\n"));
        }
    }
    text
}

/// How long ago, as kubectl says it.
fn age(from: Timestamp, now: Timestamp) -> String {
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

    use super::*;

    fn system() -> System {
        let machine = |name: &str, status: &str, accelerator: Option<&str>| Machine {
            namespace: "demo".to_owned(),
            name: name.to_owned(),
            status: status.to_owned(),
            accelerator: accelerator.map(str::to_owned),
            address: accelerator.map(|_| "127.64.0.2".to_owned()),
            created: Some(Timestamp::UNIX_EPOCH),
            message: accelerator
                .is_none()
                .then(|| "0/1 nodes are available.".to_owned()),
        };
        System {
            api_version: API_VERSION,
            kind: "Status",
            server: Server {
                address: "https://127.0.0.1:6443".to_owned(),
                version: "v1.35.0".to_owned(),
            },
            emulation: Emulation {
                policy: "None".to_owned(),
                decided_by: "default".to_owned(),
                words: "hardware virtualization only",
            },
            nodes: vec![NodeRow {
                name: "one".to_owned(),
                hardware_virtualization: false,
                reason: "Slow".to_owned(),
                message: "3000 times too slow".to_owned(),
            }],
            virtual_machines: vec![
                machine("old", "Running", Some("TCG")),
                machine("new", "ErrorUnschedulable", None),
            ],
            waiting: Some(Waiting {
                cause: "hardware virtualization does not work".to_owned(),
                remedies: vec!["make it work".to_owned(), "permit emulation".to_owned()],
            }),
            problems: Vec::new(),
        }
    }

    #[test]
    fn the_table_shows_the_system_and_each_machine() {
        let now = Timestamp::from_second(300).unwrap();
        expect![[r#"
            SERVER      https://127.0.0.1:6443, Kubernetes API v1.35.0
            EMULATION   hardware virtualization only (default)
            NODE        one: hardware virtualization does not work (Slow)
            VMS         1 running, 2 in all
            PROBLEMS    none

            NAMESPACE   NAME   STATUS               ACCELERATOR   IP           AGE
            demo        old    Running              TCG           127.64.0.2   5m
            demo        new    ErrorUnschedulable   -             -            5m

            demo/new: 0/1 nodes are available.

              cause   hardware virtualization does not work
              fix     make it work
               or     permit emulation
        "#]]
        .assert_eq(&table(&system(), now));
    }

    #[test]
    fn objects_for_programs_have_a_version() {
        let json = serde_json::to_value(system()).unwrap();
        assert_eq!(json["apiVersion"], "cli.anyvirt.io/v1");
        assert_eq!(json["virtualMachines"][0]["accelerator"], "TCG");
        let yaml = serde_saphyr::to_string(&system()).unwrap();
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
