//! What is the matter with a virtual machine or a node: the cause, what shows it, and what helps.

use api::explain::{Explanation, MachineSeen, Standing};
use api::names::labels;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;

use crate::cluster::{self, Cluster};
use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::{Format, output, power};

/// Events that are read of one object; a chattier one repeats itself.
const MOST_EVENTS: u32 = 200;

/// What is to be explained.
#[derive(Debug, Eq, PartialEq)]
enum Asked<'a> {
    Machine(&'a str),
    Instance(&'a str),
    Node(&'a str),
    /// A machine, else an instance, else a node of that name.
    Any(&'a str),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    explanation: &'a Explanation,
}

pub(crate) async fn run(
    connection: &Connection,
    words: &[String],
    format: Format,
) -> Result<Exit, Failure> {
    let asked = asked(words)?;
    let cluster = cluster::look_at_settings(&connection.client)
        .await
        .map_err(|error| connection.failure(error))?;
    for what in &cluster.hidden {
        output::hint(&format!(
            "You may not read {what}, so the explanation says less."
        ));
    }
    let explanation = explain(connection, &cluster, &asked).await?;
    let report = Report {
        api_version: crate::status::API_VERSION,
        kind: "Explanation",
        explanation: &explanation,
    };
    output::object(format, &report, || text(&explanation))?;
    Ok(exit(explanation.standing))
}

/// `vm/NAME`, `vm NAME`, `node/NAME`, or just the name.
fn asked(words: &[String]) -> Result<Asked<'_>, Failure> {
    let (kind, name) = match words {
        [one] => match one.split_once('/') {
            Some((kind, name)) => (Some(kind), name),
            None => (None, one.as_str()),
        },
        [kind, name] => (Some(kind.as_str()), name.as_str()),
        _ => (None, ""),
    };
    let wrong = |message: String| Err(Failure::new(message).exit(Exit::Usage));
    if name.is_empty() {
        return wrong("say what to explain: vm/NAME, node/NAME, or a name".to_owned());
    }
    match kind {
        None => Ok(Asked::Any(name)),
        Some("vm" | "vms" | "virtualmachine" | "virtualmachines") => Ok(Asked::Machine(name)),
        Some("vmi" | "vmis" | "virtualmachineinstance" | "virtualmachineinstances") => {
            Ok(Asked::Instance(name))
        }
        Some("node" | "nodes" | "no") => Ok(Asked::Node(name)),
        Some(kind) => wrong(format!(
            "cannot explain a {kind}; write vm/{name} or node/{name}"
        )),
    }
}

fn exit(standing: Standing) -> Exit {
    match standing {
        Standing::Fine | Standing::InProgress => Exit::Ok,
        Standing::Acceleration => Exit::Acceleration,
        Standing::Problem | Standing::Unknown => Exit::Failure,
    }
}

async fn explain(
    connection: &Connection,
    cluster: &Cluster,
    asked: &Asked<'_>,
) -> Result<Explanation, Failure> {
    let of_node = |name: &str| {
        let node = cluster.node(name)?;
        Some(api::explain::node(node, &cluster.policy()))
    };
    let name = match asked {
        Asked::Node(name) => {
            return of_node(name).ok_or_else(|| {
                Failure::new(format!("no node \"{name}\""))
                    .exit(Exit::NotFound)
                    .fix("anyvirt emulation status", "shows all nodes")
            });
        }
        Asked::Machine(name) | Asked::Instance(name) | Asked::Any(name) => *name,
    };
    let kinds = match asked {
        Asked::Instance(_) => Kinds::Instance,
        Asked::Machine(_) => Kinds::Machine,
        Asked::Any(_) | Asked::Node(_) => Kinds::Any,
    };
    let explained = of_kinds(
        &connection.client,
        cluster,
        &connection.namespace,
        name,
        kinds,
    )
    .await;
    if let Some(explanation) = explained.map_err(|error| connection.failure(error))? {
        return Ok(explanation);
    }
    if let (Asked::Any(_), Some(explained)) = (asked, of_node(name)) {
        return Ok(explained);
    }
    let failure = Failure::new(String::new()).exit(Exit::NotFound);
    Err(power::not_found(connection, name, failure).await)
}

/// Which objects a name may be of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kinds {
    /// A VM, with its instance.
    Machine,
    /// An instance, as if it had no VM.
    Instance,
    /// A VM, or else an instance that stands alone.
    Any,
}

/// What is the matter with the VM of this name, or with an instance that stands alone, with the rights of `client`;
/// `None`: there is neither.
///
/// # Errors
/// Of a request that failed.
pub async fn machine(
    client: &Client,
    namespace: &str,
    name: &str,
) -> kube::Result<Option<Explanation>> {
    let cluster = cluster::look_at_settings(client).await?;
    of_kinds(client, &cluster, namespace, name, Kinds::Any).await
}

async fn of_kinds(
    client: &Client,
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    kinds: Kinds,
) -> kube::Result<Option<Explanation>> {
    let machines: Api<VirtualMachine> = Api::namespaced(client.clone(), namespace);
    let instances: Api<VirtualMachineInstance> = Api::namespaced(client.clone(), namespace);
    let machine = match kinds {
        Kinds::Instance => None,
        Kinds::Machine | Kinds::Any => machines.get_opt(name).await?,
    };
    let instance = instances.get_opt(name).await?;
    if machine.is_none() && (instance.is_none() || kinds == Kinds::Machine) {
        return Ok(None);
    }
    let pod = pod(client, namespace, instance.as_ref()).await?;
    let events = events(client, namespace, name, pod.as_ref()).await?;
    Ok(Some(api::explain::machine(&MachineSeen {
        machine: machine.as_ref(),
        instance: instance.as_ref(),
        pod: pod.as_ref(),
        events: &events,
        nodes: &cluster.nodes,
        namespace: cluster.namespace(namespace),
        cluster: &cluster.policy(),
        architecture: &cluster.architecture(),
    })))
}

/// The youngest of the instance's pods.
async fn pod(
    client: &Client,
    namespace: &str,
    instance: Option<&VirtualMachineInstance>,
) -> kube::Result<Option<Pod>> {
    let Some(uid) = instance.and_then(|instance| instance.uid()) else {
        return Ok(None);
    };
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let of_instance = ListParams::default().labels(&format!("{}={uid}", labels::CREATED_BY));
    let pods = pods.list(&of_instance).await?;
    Ok(pods
        .items
        .into_iter()
        .max_by_key(|pod| pod.creation_timestamp().map(|time| time.0)))
}

/// Events about the machine, its instance and its pod.
async fn events(
    client: &Client,
    namespace: &str,
    name: &str,
    pod: Option<&Pod>,
) -> kube::Result<Vec<Event>> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let mut events = Vec::new();
    for object in [Some(name.to_owned()), pod.map(ResourceExt::name_any)]
        .into_iter()
        .flatten()
    {
        let about = ListParams::default()
            .fields(&format!("involvedObject.name={object}"))
            .limit(MOST_EVENTS);
        events.extend(api.list(&about).await?.items);
    }
    Ok(events)
}

/// The explanation for people.
fn text(explanation: &Explanation) -> String {
    let subject = &explanation.subject;
    let name = match &subject.namespace {
        Some(namespace) => format!("{namespace}/{}", subject.name),
        None => subject.name.clone(),
    };
    let mut text = format!(
        "{} {name}: {:?}\n\ncause\n  {}\n",
        subject.kind, explanation.cause_id, explanation.cause
    );
    if !explanation.evidence.is_empty() {
        text.push_str("\nevidence\n");
    }
    for evidence in &explanation.evidence {
        text.push_str(&format!("  {}\n    {}\n", evidence.source, evidence.text));
    }
    let title = match explanation.standing {
        Standing::Fine => "what would change it",
        _ => "what helps",
    };
    if !explanation.remedies.is_empty() {
        text.push_str(&format!("\n{title}, the best first\n"));
    }
    for (index, remedy) in explanation.remedies.iter().enumerate() {
        text.push_str(&format!("  {}. {}\n", index + 1, remedy.title));
        if let Some(command) = &remedy.command {
            text.push_str(&format!("     $ {command}\n"));
        }
        let back = if remedy.reversible {
            ""
        } else {
            "; cannot be taken back"
        };
        text.push_str(&format!(
            "     effect  {}\n     cost    {}{back}\n",
            remedy.effect, remedy.cost
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use api::explain::{CauseId, Evidence, Remedy, Subject};
    use expect_test::expect;

    use super::*;

    #[test]
    fn what_is_asked_can_be_said_in_several_ways() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (line, expected) in [
            ("vm/web", Asked::Machine("web")),
            ("vm web", Asked::Machine("web")),
            ("vmi/web", Asked::Instance("web")),
            ("node/one", Asked::Node("one")),
            ("web", Asked::Any("web")),
        ] {
            assert_eq!(asked(&words(line)).unwrap(), expected, "{line}");
        }
        for line in ["pod/web", "vm/", ""] {
            assert_eq!(asked(&words(line)).unwrap_err().exit, Exit::Usage, "{line}");
        }
    }

    #[test]
    fn an_explanation_reads_from_cause_to_cures() {
        let explanation = Explanation {
            subject: Subject {
                kind: "VirtualMachine".to_owned(),
                namespace: Some("demo".to_owned()),
                name: "fedora".to_owned(),
            },
            cause_id: CauseId::VhostNetMissing,
            standing: Standing::Acceleration,
            cause: "no node offers /dev/vhost-net".to_owned(),
            evidence: vec![Evidence {
                source: "Pod virt-launcher-fedora condition PodScheduled=False".to_owned(),
                text: "0/6 nodes are available: 6 Insufficient devices.kubevirt.io/vhost-net."
                    .to_owned(),
            }],
            remedies: vec![
                Remedy::new("Load it", "full speed", "root", true)
                    .command("sudo modprobe vhost_net"),
                Remedy::new("Add a node", "it goes there", "a machine", false),
            ],
        };
        expect![[r#"
            VirtualMachine demo/fedora: VhostNetMissing

            cause
              no node offers /dev/vhost-net

            evidence
              Pod virt-launcher-fedora condition PodScheduled=False
                0/6 nodes are available: 6 Insufficient devices.kubevirt.io/vhost-net.

            what helps, the best first
              1. Load it
                 $ sudo modprobe vhost_net
                 effect  full speed
                 cost    root
              2. Add a node
                 effect  it goes there
                 cost    a machine; cannot be taken back
        "#]]
        .assert_eq(&text(&explanation));
        assert_eq!(exit(explanation.standing), Exit::Acceleration);
        assert_eq!(exit(Standing::Fine), Exit::Ok);
        assert_eq!(exit(Standing::Unknown), Exit::Failure);
    }
}
