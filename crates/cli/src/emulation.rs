//! Who may be emulated: shows the policy, and changes it where the article says.

use std::collections::BTreeMap;

use api::accelerator::{ClusterInputs, ClusterPolicy, NodeVerdict, SWITCH};
use api::condition;
use api::hyper_converged::HyperConverged;
use api::kubevirt::KubeVirt;
use api::names;
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde_json::json;

use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::{Change, Format, output, terminal};

/// What the cluster says about emulation.
pub(crate) struct Seen {
    pub(crate) config_maps: Vec<(String, BTreeMap<String, String>)>,
    pub(crate) hyper_converged: Option<HyperConverged>,
    pub(crate) kubevirt: Option<KubeVirt>,
    pub(crate) nodes: Vec<(String, NodeVerdict)>,
    pub(crate) instances: Vec<Instance>,
}

/// A virtual machine that runs, or waits to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Instance {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) phase: String,
    /// `KVM` or `TCG` once it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accelerator: Option<String>,
    /// No node takes its pod.
    #[serde(skip)]
    pub(crate) waits: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    api_version: &'static str,
    kind: &'static str,
    policy: String,
    decided_by: &'a str,
    problems: &'a [api::accelerator::Problem],
    nodes: Vec<ShownNode<'a>>,
    virtual_machines: &'a [Instance],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownNode<'a> {
    name: &'a str,
    #[serde(flatten)]
    verdict: &'a NodeVerdict,
}

impl Seen {
    /// Asks the server for everything that bears on emulation.
    pub(crate) async fn look(connection: &Connection) -> Result<Self, Failure> {
        let failure = |error| connection.failure(error);
        let client = &connection.client;
        let mut config_maps = Vec::new();
        for namespace in [names::NAMESPACE_OPENSHIFT_CNV, names::NAMESPACE_KUBEVIRT] {
            let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            if let Some(map) = maps.get_opt(names::CONFIG_MAP).await.map_err(failure)? {
                config_maps.push((namespace.to_owned(), map.data.unwrap_or_default()));
            }
        }
        let kubevirts: Api<KubeVirt> = Api::all(client.clone());
        let kubevirt = kubevirts
            .list(&ListParams::default())
            .await
            .map_err(failure)?;
        let converged: Api<HyperConverged> = Api::all(client.clone());
        // A cluster without that operator does not know the kind.
        let converged = match converged.list(&ListParams::default()).await {
            Ok(list) => list.items,
            Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
            Err(error) => return Err(connection.failure(error)),
        };
        let nodes: Api<Node> = Api::all(client.clone());
        let nodes = nodes.list(&ListParams::default()).await.map_err(failure)?;
        let instances: Api<VirtualMachineInstance> = Api::all(client.clone());
        let instances = instances
            .list(&ListParams::default())
            .await
            .map_err(failure)?;
        Ok(Self {
            config_maps,
            hyper_converged: converged.into_iter().next(),
            kubevirt: kubevirt.items.into_iter().next(),
            nodes: nodes
                .iter()
                .map(|node| (node.name_any(), NodeVerdict::of(node)))
                .collect(),
            instances: instances.iter().filter_map(Instance::of).collect(),
        })
    }

    /// The policy as it follows from what was seen, with the switch of one ConfigMap set as given.
    pub(crate) fn policy(&self, set: Option<bool>) -> ClusterPolicy {
        let mut config_maps = self.config_maps.clone();
        if let Some(value) = set {
            let place = names::NAMESPACE_OPENSHIFT_CNV;
            if !config_maps.iter().any(|(namespace, _)| namespace == place) {
                config_maps.insert(0, (place.to_owned(), BTreeMap::new()));
            }
            for (_, data) in config_maps
                .iter_mut()
                .filter(|(namespace, _)| namespace == place)
            {
                data.insert(SWITCH.to_owned(), value.to_string());
            }
        }
        let last_good = self
            .kubevirt
            .as_ref()
            .and_then(|object| object.status.as_ref()?.emulation.as_ref())
            .and_then(ClusterPolicy::recorded);
        ClusterPolicy::read(&ClusterInputs {
            config_maps: config_maps
                .iter()
                .map(|(namespace, data)| (namespace.as_str(), data))
                .collect(),
            hyper_converged: self.hyper_converged.as_ref(),
            // The server's environment is not seen from here; what it decided is in the status.
            environment: None,
            kubevirt: self.kubevirt.as_ref(),
            last_good: last_good.as_ref(),
            last_values: &[],
        })
    }

    /// The switch's value in the ConfigMap that `anyvirt emulation` writes.
    fn switch(&self) -> Option<&str> {
        let place = names::NAMESPACE_OPENSHIFT_CNV;
        let (_, data) = self
            .config_maps
            .iter()
            .find(|(namespace, _)| namespace == place)?;
        data.get(SWITCH).map(String::as_str)
    }
}

impl Instance {
    fn of(instance: &VirtualMachineInstance) -> Option<Self> {
        let status = instance.status.as_ref()?;
        let phase = status.phase.filter(|phase| !phase.is_final())?;
        let scheduled = condition::find(&status.conditions, "PodScheduled");
        let unschedulable = scheduled.is_some_and(|condition| {
            !condition.is_true() && condition.reason.as_deref() == Some("Unschedulable")
        });
        Some(Self {
            namespace: instance.namespace().unwrap_or_default(),
            name: instance.name_any(),
            phase: phase.to_string(),
            accelerator: status
                .accelerator
                .as_ref()
                .map(|accelerator| accelerator.type_.clone()),
            waits: unschedulable && phase != Phase::Running,
        })
    }

    fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

pub(crate) async fn show(connection: &Connection, format: Format) -> Result<Exit, Failure> {
    let seen = Seen::look(connection).await?;
    let policy = seen.policy(None);
    let shown = Shown {
        api_version: crate::status::API_VERSION,
        kind: "Emulation",
        policy: policy.policy.to_string(),
        decided_by: &policy.decided_by,
        problems: &policy.problems,
        nodes: seen
            .nodes
            .iter()
            .map(|(name, verdict)| ShownNode { name, verdict })
            .collect(),
        virtual_machines: &seen.instances,
    };
    output::object(format, &shown, || table(&seen, &policy))
}

fn table(seen: &Seen, policy: &ClusterPolicy) -> String {
    let mut rows = vec![
        vec!["POLICY".to_owned(), policy_words(policy).to_owned()],
        vec!["DECIDED BY".to_owned(), policy.decided_by.clone()],
    ];
    for (name, verdict) in &seen.nodes {
        rows.push(vec![
            "NODE".to_owned(),
            format!("{name}: {}", verdict_words(verdict)),
        ]);
    }
    let running = running_words(&seen.instances);
    rows.push(vec!["RUNNING".to_owned(), running]);
    rows.push(vec![
        "WAITING".to_owned(),
        waiting_names(&seen.instances).unwrap_or("none".to_owned()),
    ]);
    for problem in &policy.problems {
        rows.push(vec!["PROBLEM".to_owned(), problem.message.clone()]);
    }
    output::columns(&rows)
}

pub(crate) fn policy_words(policy: &ClusterPolicy) -> &'static str {
    if policy.policy.permits_software() {
        "software emulation is permitted where hardware virtualization does not work"
    } else {
        "hardware virtualization only"
    }
}

pub(crate) fn verdict_words(verdict: &NodeVerdict) -> String {
    let works = if verdict.usable {
        "works"
    } else {
        "does not work"
    };
    format!(
        "hardware virtualization {works} ({}: {})",
        verdict.class, verdict.message
    )
}

fn running_words(instances: &[Instance]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for accelerator in instances
        .iter()
        .filter_map(|instance| instance.accelerator.as_deref())
    {
        *counts.entry(accelerator).or_default() += 1;
    }
    if counts.is_empty() {
        return "none".to_owned();
    }
    let parts: Vec<String> = counts
        .into_iter()
        .map(|(accelerator, count)| format!("{count} on {accelerator}"))
        .collect();
    parts.join(", ")
}

fn waiting_names(instances: &[Instance]) -> Option<String> {
    let names: Vec<String> = instances
        .iter()
        .filter(|instance| instance.waits)
        .map(Instance::full_name)
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}

pub(crate) async fn set(
    connection: &Connection,
    permit: bool,
    change: Change,
) -> Result<Exit, Failure> {
    let seen = Seen::look(connection).await?;
    output::data(&plan(&seen, permit))?;
    if seen.switch() == Some(if permit { "true" } else { "false" }) {
        return Ok(Exit::Ok);
    }
    if change.dry_run {
        output::hint("Dry run: nothing was changed.");
        return Ok(Exit::Ok);
    }
    if !change.yes {
        if !terminal::is_interactive() {
            let message = "nobody can be asked here, so nothing was changed";
            return Err(Failure::new(message).exit(Exit::Usage).fix(
                &format!(
                    "anyvirt emulation {} --yes",
                    if permit { "on" } else { "off" }
                ),
                "changes it without asking",
            ));
        }
        output::question("Apply? [y/N] ");
        if !terminal::answer() {
            output::hint("Nothing was changed.");
            return Ok(Exit::Ok);
        }
    }
    write(connection, permit).await?;
    let (done, undo) = if permit {
        ("permitted", "off")
    } else {
        ("forbidden", "on")
    };
    output::hint(&format!(
        "Emulation is {done}. Undo: anyvirt emulation {undo}"
    ));
    Ok(Exit::Ok)
}

async fn write(connection: &Connection, permit: bool) -> Result<(), Failure> {
    let namespace = names::NAMESPACE_OPENSHIFT_CNV;
    let maps: Api<ConfigMap> = Api::namespaced(connection.client.clone(), namespace);
    let data = json!({ SWITCH: permit.to_string() });
    let patch = json!({ "data": data });
    let patched = maps
        .patch(
            names::CONFIG_MAP,
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await;
    match patched {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let mut map = ConfigMap {
                data: Some([(SWITCH.to_owned(), permit.to_string())].into()),
                ..ConfigMap::default()
            };
            map.metadata.name = Some(names::CONFIG_MAP.to_owned());
            let created = maps.create(&PostParams::default(), &map).await;
            created
                .map(|_| ())
                .map_err(|error| connection.failure(error))
        }
        Err(error) => Err(connection.failure(error)),
    }
}

/// What would change, for new, waiting and running machines.
fn plan(seen: &Seen, permit: bool) -> String {
    let value = permit.to_string();
    let place = format!("{}/{}", names::NAMESPACE_OPENSHIFT_CNV, names::CONFIG_MAP);
    let switch = seen.switch();
    if switch == Some(value.as_str()) {
        return format!(
            "{SWITCH} in ConfigMap {place} is \"{value}\" already: nothing to change.\n"
        );
    }
    let before = switch.map_or("unset".to_owned(), |value| format!("\"{value}\""));
    let (old, new) = (seen.policy(None), seen.policy(Some(permit)));
    let works = seen.nodes.iter().any(|(_, verdict)| verdict.usable);
    let fresh = match (permit, works) {
        (true, true) => "on KVM where it works, else emulated in software".to_owned(),
        (true, false) => {
            "emulated in software, several times slower: KVM does not work on any node".to_owned()
        }
        (false, true) => "on KVM; only nodes where it works take them".to_owned(),
        (false, false) => "will wait, because KVM does not work on any node".to_owned(),
    };
    let waiting = match (waiting_names(&seen.instances), permit) {
        (None, _) => "none".to_owned(),
        (Some(names), true) => {
            format!("{names}: will be looked at anew, and start where permitted")
        }
        (Some(names), false) => format!("{names}: will go on waiting"),
    };
    let mut rows = vec![
        vec!["  new starts".to_owned(), fresh],
        vec!["  waiting now".to_owned(), waiting],
        vec!["  running now".to_owned(), unchanged(&seen.instances)],
    ];
    if old.policy == new.policy {
        let same = format!("none: {} says so already", old.decided_by);
        rows.insert(0, vec!["  effect".to_owned(), same]);
    }
    for problem in &new.problems {
        rows.push(vec!["  note".to_owned(), problem.message.clone()]);
    }
    format!(
        "This sets {SWITCH} in ConfigMap {place} from {before} to \"{value}\".\n{}",
        output::columns(&rows)
    )
}

fn unchanged(instances: &[Instance]) -> String {
    let count = instances
        .iter()
        .filter(|instance| instance.phase == "Running")
        .count();
    match count {
        0 => "none".to_owned(),
        1 => "1 VM goes on unchanged until it restarts".to_owned(),
        _ => format!("{count} VMs go on unchanged until they restart"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn instance(name: &str, accelerator: Option<&str>) -> Instance {
        Instance {
            namespace: "demo".to_owned(),
            name: name.to_owned(),
            phase: if accelerator.is_some() {
                "Running"
            } else {
                "Scheduling"
            }
            .to_owned(),
            accelerator: accelerator.map(str::to_owned),
            waits: accelerator.is_none(),
        }
    }

    fn seen(switch: Option<&str>) -> Seen {
        let data = switch
            .map(|value| (SWITCH.to_owned(), value.to_owned()))
            .into_iter()
            .collect();
        let verdict = NodeVerdict {
            usable: false,
            class: "DeviceMissing".to_owned(),
            stage: String::new(),
            message: "/dev/kvm does not exist".to_owned(),
        };
        Seen {
            config_maps: vec![(names::NAMESPACE_OPENSHIFT_CNV.to_owned(), data)],
            hyper_converged: None,
            kubevirt: None,
            nodes: vec![("one".to_owned(), verdict)],
            instances: vec![instance("fedora", None), instance("web", Some("TCG"))],
        }
    }

    #[test]
    fn the_plan_tells_what_changes_for_whom() {
        expect![[r#"
            This sets debug.useEmulation in ConfigMap openshift-cnv/kubevirt-config from unset to "true".
              new starts    emulated in software, several times slower: KVM does not work on any node
              waiting now   demo/fedora: will be looked at anew, and start where permitted
              running now   1 VM goes on unchanged until it restarts
        "#]]
        .assert_eq(&plan(&seen(None), true));
        expect![[r#"
            This sets debug.useEmulation in ConfigMap openshift-cnv/kubevirt-config from "true" to "false".
              new starts    will wait, because KVM does not work on any node
              waiting now   demo/fedora: will go on waiting
              running now   1 VM goes on unchanged until it restarts
        "#]]
        .assert_eq(&plan(&seen(Some("true")), false));
        expect![[r#"
            debug.useEmulation in ConfigMap openshift-cnv/kubevirt-config is "true" already: nothing to change.
        "#]]
        .assert_eq(&plan(&seen(Some("true")), true));
    }

    #[test]
    fn the_status_names_policy_place_nodes_and_machines() {
        let seen = seen(Some("maybe"));
        expect![[r#"
            POLICY       hardware virtualization only
            DECIDED BY   default
            NODE         one: hardware virtualization does not work (DeviceMissing: /dev/kvm does not exist)
            RUNNING      1 on TCG
            WAITING      demo/fedora
            PROBLEM      ConfigMap openshift-cnv/kubevirt-config debug.useEmulation: "maybe" is neither "true" nor "false"; it is ignored; write true or false
        "#]]
        .assert_eq(&table(&seen, &seen.policy(None)));
    }
}
