//! What `emulation on`, `off` and `auto` write, for each scope.

use std::collections::BTreeMap;

use api::accelerator::{EmulationPolicy, NodeFacts, SWITCH};
use api::kubevirt::KubeVirt;
use api::names;
use api::virtual_machine::VirtualMachine;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster::{Cluster, MACHINES, NODES, SWITCH_NAMESPACE};
use crate::connect::Connection;
use crate::failure::{Exit, Failure};

/// On the ConfigMap: that `anyvirt emulation auto` set the switch, when and why.
pub(crate) const SET_BY: &str = "anyvirt.io/emulation-set-by";

/// What the change is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    Cluster,
    Namespace(String),
    Node(String),
    Machine { namespace: String, name: String },
}

/// What is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wanted {
    On,
    Off,
    Auto,
}

/// One value that is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Edit {
    /// The switch in the article's ConfigMap; `set_by` says that `auto` did it.
    Switch { value: bool, set_by: Option<String> },
    /// Takes `emulationPolicy` off the KubeVirt object, which would stand above the switch.
    RemoveClusterPolicy { namespace: String, name: String },
    /// The cap of a namespace.
    NamespaceCap {
        name: String,
        value: Option<EmulationPolicy>,
    },
    /// The cap of a node.
    NodeCap {
        name: String,
        value: Option<EmulationPolicy>,
    },
    /// The machine's own policy.
    Own {
        namespace: String,
        name: String,
        value: Option<EmulationPolicy>,
    },
}

/// An edit as it is told.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Told {
    /// E.g. `ConfigMap openshift-cnv/kubevirt-config`.
    pub(crate) object: String,
    pub(crate) field: &'static str,
    /// Absent: unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<String>,
    /// Absent: unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<String>,
}

impl Wanted {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Auto => "auto",
        }
    }

    /// As a policy; `auto` is that none is written.
    fn policy(self) -> Option<EmulationPolicy> {
        match self {
            Self::On => Some(EmulationPolicy::Software),
            Self::Off => Some(EmulationPolicy::None),
            Self::Auto => None,
        }
    }
}

/// What must be written so that it is as wanted. Nothing, if it is so already.
pub(crate) fn edits(
    cluster: &Cluster,
    target: &Target,
    wanted: Wanted,
    now: Timestamp,
) -> Result<Vec<Edit>, Failure> {
    let value = wanted.policy();
    let edits = match target {
        Target::Cluster => of_cluster(cluster, wanted, now)?,
        Target::Namespace(name) => {
            if cluster.namespace(name).is_none() {
                return Err(missing(cluster, "namespaces", &format!("namespace {name}")));
            }
            let name = name.clone();
            vec![Edit::NamespaceCap { name, value }]
        }
        Target::Node(name) => {
            if cluster.node(name).is_none() {
                return Err(missing(cluster, NODES, &format!("node {name}"))
                    .fix("anyvirt emulation status", "shows all nodes"));
            }
            let name = name.clone();
            vec![Edit::NodeCap { name, value }]
        }
        Target::Machine { namespace, name } => {
            if find_machine(cluster, namespace, name).is_none() {
                let what = format!("VM \"{name}\" in namespace {namespace}");
                return Err(missing(cluster, MACHINES, &what).fix(
                    "anyvirt status",
                    "shows the virtual machines of all namespaces",
                ));
            }
            vec![Edit::Own {
                namespace: namespace.clone(),
                name: name.clone(),
                value,
            }]
        }
    };
    Ok(edits
        .into_iter()
        .filter(|edit| !edit.is_done(cluster))
        .collect())
}

/// The failure for `what`, one of `all`, which is not among those that were read.
fn missing(cluster: &Cluster, all: &str, what: &str) -> Failure {
    if cluster.hidden.contains(all) {
        let message = format!("you may not read {all}, so whether there is a {what} is not known");
        return Failure::new(message).exit(Exit::Forbidden);
    }
    Failure::new(format!("no {what}")).exit(Exit::NotFound)
}

fn find_machine<'a>(
    cluster: &'a Cluster,
    namespace: &str,
    name: &str,
) -> Option<&'a VirtualMachine> {
    cluster
        .machines
        .iter()
        .find(|vm| vm.name_any() == name && vm.namespace().as_deref() == Some(namespace))
}

fn of_cluster(cluster: &Cluster, wanted: Wanted, now: Timestamp) -> Result<Vec<Edit>, Failure> {
    let stronger = cluster.kubevirt.as_ref().and_then(|object| {
        let configuration = object.spec.configuration.as_ref()?;
        Some((object, configuration.emulation_policy?))
    });
    let value = match wanted {
        Wanted::On => true,
        Wanted::Off => false,
        Wanted::Auto => {
            if cluster.hidden.contains(NODES) {
                let message = "you may not read nodes, and `auto` chooses by what they can";
                return Err(Failure::new(message)
                    .exit(Exit::Forbidden)
                    .fix("anyvirt emulation on", "permits emulation without looking")
                    .fix("anyvirt emulation off", "forbids it without looking"));
            }
            let (value, because) = automatic(cluster);
            let set_by = format!("set by auto at {now} because {because}");
            let mut edits = Vec::new();
            if let Some((object, _)) = stronger {
                edits.push(Edit::RemoveClusterPolicy {
                    namespace: object.namespace().unwrap_or_default(),
                    name: object.name_any(),
                });
            }
            edits.push(Edit::Switch {
                value,
                set_by: Some(set_by),
            });
            return Ok(edits);
        }
    };
    if let Some((object, policy)) =
        stronger.filter(|(_, policy)| policy.permits_software() != value)
    {
        let namespace = object.namespace().unwrap_or_default();
        let name = object.name_any();
        let message = format!(
            "KubeVirt {namespace}/{name} spec.configuration.emulationPolicy is {policy} and stands above the \
             switch, so setting {SWITCH} would change nothing"
        );
        let wanted = if value { "Software" } else { "None" };
        return Err(Failure::new(message)
            .exit(Exit::Conflict)
            .fix(
                &format!(
                    "kubectl -n {namespace} patch kubevirt {name} --type=merge -p \
                     '{{\"spec\":{{\"configuration\":{{\"emulationPolicy\":\"{wanted}\"}}}}}}'"
                ),
                "changes it there",
            )
            .fix(
                "anyvirt emulation auto",
                "removes that field, and sets the switch by what the nodes can",
            ));
    }
    Ok(vec![Edit::Switch {
        value,
        set_by: None,
    }])
}

/// What `auto` chooses for the cluster, and why: emulation where no node has hardware that works.
fn automatic(cluster: &Cluster) -> (bool, String) {
    let usable: Vec<String> = cluster
        .nodes
        .iter()
        .filter(|node| NodeFacts::of(node).verdict.usable)
        .map(ResourceExt::name_any)
        .collect();
    match usable.first() {
        Some(first) if usable.len() == 1 => (
            false,
            format!("hardware virtualization works on node {first}"),
        ),
        Some(_) => (
            false,
            format!(
                "hardware virtualization works on {} of {} nodes",
                usable.len(),
                cluster.nodes.len()
            ),
        ),
        None => (
            true,
            format!(
                "hardware virtualization works on none of {} nodes",
                cluster.nodes.len()
            ),
        ),
    }
}

impl Edit {
    /// Is it so already?
    fn is_done(&self, cluster: &Cluster) -> bool {
        let told = self.told(cluster);
        match self {
            // Who set it is part of it.
            Self::Switch { set_by: None, .. } => {
                told.before == told.after && set_by(cluster).is_none()
            }
            Self::Switch {
                set_by: Some(_), ..
            } => told.before == told.after && set_by(cluster).is_some(),
            _ => told.before == told.after,
        }
    }

    /// What it changes in `cluster`.
    pub(crate) fn told(&self, cluster: &Cluster) -> Told {
        let text = |value: Option<EmulationPolicy>| value.map(|value| value.to_string());
        match self {
            Self::Switch { value, .. } => Told {
                object: format!("ConfigMap {SWITCH_NAMESPACE}/{}", names::CONFIG_MAP),
                field: SWITCH,
                before: cluster.switch().map(str::to_owned),
                after: Some(value.to_string()),
            },
            Self::RemoveClusterPolicy { namespace, name } => Told {
                object: format!("KubeVirt {namespace}/{name}"),
                field: "spec.configuration.emulationPolicy",
                before: text(
                    cluster
                        .kubevirt
                        .as_ref()
                        .and_then(|object| object.spec.configuration.as_ref()?.emulation_policy),
                ),
                after: None,
            },
            Self::NamespaceCap { name, value } => Told {
                object: format!("Namespace {name}"),
                field: "label anyvirt.io/emulation-policy",
                before: label(cluster.namespace(name).map(ResourceExt::labels)),
                after: text(*value),
            },
            Self::NodeCap { name, value } => Told {
                object: format!("Node {name}"),
                field: "label anyvirt.io/emulation-policy",
                before: label(cluster.node(name).map(ResourceExt::labels)),
                after: text(*value),
            },
            Self::Own {
                namespace,
                name,
                value,
            } => Told {
                object: format!("VirtualMachine {namespace}/{name}"),
                field: "spec.template.spec.emulationPolicy",
                before: text(
                    find_machine(cluster, namespace, name)
                        .and_then(|vm| vm.spec.template.as_ref()?.spec.emulation_policy),
                ),
                after: text(*value),
            },
        }
    }

    /// The cluster as it will be. Pure.
    pub(crate) fn apply(&self, cluster: &mut Cluster) {
        match self {
            Self::Switch { value, .. } => {
                if cluster.switch_map().is_none() {
                    // The strongest of the ConfigMaps.
                    cluster.config_maps.insert(0, switch_map(*value, None));
                }
                let map = cluster
                    .config_maps
                    .iter_mut()
                    .find(|map| map.metadata.namespace.as_deref() == Some(SWITCH_NAMESPACE));
                if let Some(map) = map {
                    let data = map.data.get_or_insert_default();
                    data.insert(SWITCH.to_owned(), value.to_string());
                }
            }
            Self::RemoveClusterPolicy { .. } => {
                let configuration = cluster
                    .kubevirt
                    .as_mut()
                    .and_then(|object| object.spec.configuration.as_mut());
                if let Some(configuration) = configuration {
                    configuration.emulation_policy = None;
                }
            }
            Self::NamespaceCap { name, value } => {
                let found = cluster
                    .namespaces
                    .iter_mut()
                    .find(|it| it.name_any() == *name);
                if let Some(namespace) = found {
                    set_label(namespace.labels_mut(), *value);
                }
            }
            Self::NodeCap { name, value } => {
                let found = cluster.nodes.iter_mut().find(|it| it.name_any() == *name);
                if let Some(node) = found {
                    set_label(node.labels_mut(), *value);
                }
            }
            Self::Own {
                namespace,
                name,
                value,
            } => {
                let found = cluster.machines.iter_mut().find(|vm| {
                    vm.name_any() == *name && vm.namespace().as_deref() == Some(namespace)
                });
                if let Some(template) = found.and_then(|vm| vm.spec.template.as_mut()) {
                    template.spec.emulation_policy = *value;
                }
            }
        }
    }

    /// The merge patch that does it.
    fn patch(&self) -> Value {
        let label = |value: &Option<EmulationPolicy>| {
            json!({"metadata": {"labels": {
                names::labels::EMULATION_POLICY: value.map(|value| value.to_string()),
            }}})
        };
        match self {
            Self::Switch { value, set_by } => json!({
                "metadata": {"annotations": {SET_BY: set_by}},
                "data": {SWITCH: value.to_string()},
            }),
            Self::RemoveClusterPolicy { .. } => {
                json!({"spec": {"configuration": {"emulationPolicy": null}}})
            }
            Self::NamespaceCap { value, .. } | Self::NodeCap { value, .. } => label(value),
            Self::Own { value, .. } => json!({"spec": {"template": {"spec": {
                "emulationPolicy": value.map(|value| value.to_string()),
            }}}}),
        }
    }

    /// Writes it.
    pub(crate) async fn write(&self, connection: &Connection) -> Result<(), Failure> {
        let client = connection.client.clone();
        let patch = Patch::Merge(self.patch());
        let parameters = PatchParams::default();
        let written = match self {
            Self::Switch { value, set_by } => {
                let maps: Api<ConfigMap> = Api::namespaced(client, SWITCH_NAMESPACE);
                match maps.patch(names::CONFIG_MAP, &parameters, &patch).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => maps
                        .create(
                            &PostParams::default(),
                            &switch_map(*value, set_by.as_deref()),
                        )
                        .await
                        .map(drop),
                    other => other.map(drop),
                }
            }
            Self::RemoveClusterPolicy { namespace, name } => {
                let objects: Api<KubeVirt> = Api::namespaced(client, namespace);
                objects.patch(name, &parameters, &patch).await.map(drop)
            }
            Self::NamespaceCap { name, .. } => {
                let namespaces: Api<Namespace> = Api::all(client);
                namespaces.patch(name, &parameters, &patch).await.map(drop)
            }
            Self::NodeCap { name, .. } => {
                let nodes: Api<Node> = Api::all(client);
                nodes.patch(name, &parameters, &patch).await.map(drop)
            }
            Self::Own {
                namespace, name, ..
            } => {
                let machines: Api<VirtualMachine> = Api::namespaced(client, namespace);
                machines.patch(name, &parameters, &patch).await.map(drop)
            }
        };
        written.map_err(|error| connection.failure(error))
    }
}

/// Who set the switch, if `auto` did.
pub(crate) fn set_by(cluster: &Cluster) -> Option<&str> {
    let map = cluster.switch_map()?;
    map.annotations().get(SET_BY).map(String::as_str)
}

fn switch_map(value: bool, set_by: Option<&str>) -> ConfigMap {
    let mut map = ConfigMap {
        data: Some([(SWITCH.to_owned(), value.to_string())].into()),
        ..ConfigMap::default()
    };
    map.metadata.name = Some(names::CONFIG_MAP.to_owned());
    map.metadata.namespace = Some(SWITCH_NAMESPACE.to_owned());
    map.metadata.annotations = set_by.map(|text| [(SET_BY.to_owned(), text.to_owned())].into());
    map
}

fn label(labels: Option<&BTreeMap<String, String>>) -> Option<String> {
    labels?.get(names::labels::EMULATION_POLICY).cloned()
}

fn set_label(labels: &mut BTreeMap<String, String>, value: Option<EmulationPolicy>) {
    let key = names::labels::EMULATION_POLICY;
    match value {
        Some(value) => drop(labels.insert(key.to_owned(), value.to_string())),
        None => drop(labels.remove(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::cluster;
    use super::*;

    fn at() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn done(cluster: &Cluster, target: &Target, wanted: Wanted) -> Vec<Told> {
        let edits = edits(cluster, target, wanted, at()).unwrap();
        edits.iter().map(|edit| edit.told(cluster)).collect()
    }

    fn targets() -> [Target; 4] {
        [
            Target::Cluster,
            Target::Namespace("demo".to_owned()),
            Target::Node("one".to_owned()),
            Target::Machine {
                namespace: "demo".to_owned(),
                name: "fedora".to_owned(),
            },
        ]
    }

    #[test]
    fn what_was_applied_is_not_done_again() {
        for target in targets() {
            for wanted in [Wanted::On, Wanted::Off] {
                let mut cluster = cluster();
                for edit in edits(&cluster, &target, wanted, at()).unwrap() {
                    edit.apply(&mut cluster);
                }
                assert_eq!(done(&cluster, &target, wanted), [], "{target:?} {wanted:?}");
                let other = if wanted == Wanted::On {
                    Wanted::Off
                } else {
                    Wanted::On
                };
                assert_eq!(done(&cluster, &target, other).len(), 1);
            }
        }
    }

    #[test]
    fn auto_removes_what_was_written_below_the_cluster() {
        for target in targets().into_iter().skip(1) {
            let mut cluster = cluster();
            assert_eq!(done(&cluster, &target, Wanted::Auto), [], "{target:?}");
            for edit in edits(&cluster, &target, Wanted::Off, at()).unwrap() {
                edit.apply(&mut cluster);
            }
            let told = done(&cluster, &target, Wanted::Auto);
            assert_eq!(told[0].before.as_deref(), Some("None"));
            assert_eq!(told[0].after, None);
        }
    }

    #[test]
    fn auto_chooses_by_what_the_nodes_can_and_says_so() {
        let mut cluster = cluster();
        let edit = |cluster: &Cluster| {
            edits(cluster, &Target::Cluster, Wanted::Auto, at())
                .unwrap()
                .remove(0)
        };
        assert_eq!(
            edit(&cluster),
            Edit::Switch {
                value: true,
                set_by: Some(
                    "set by auto at 2027-01-15T08:00:00Z because hardware virtualization works on none of 1 \
                     nodes"
                        .to_owned()
                ),
            }
        );
        cluster.nodes.push(super::super::tests::node("two", true));
        let Edit::Switch { value, set_by } = edit(&cluster) else {
            panic!("not the switch");
        };
        assert!(!value);
        assert!(
            set_by
                .unwrap()
                .ends_with("hardware virtualization works on node two")
        );
    }

    #[test]
    fn auto_is_refused_to_who_may_not_see_the_nodes() {
        let mut cluster = cluster();
        cluster.nodes.clear();
        cluster.hidden.insert(NODES);
        let failure = edits(&cluster, &Target::Cluster, Wanted::Auto, at()).unwrap_err();
        assert_eq!(failure.exit, Exit::Forbidden);
        // Nothing is chosen by nodes here.
        let demo = Target::Namespace("demo".to_owned());
        assert_eq!(done(&cluster, &demo, Wanted::Auto), []);
        assert_eq!(done(&cluster, &Target::Cluster, Wanted::Off).len(), 1);
    }

    #[test]
    fn a_stronger_place_is_named_and_auto_removes_it() {
        let mut cluster = cluster();
        let object: KubeVirt = serde_json::from_value(json!({
            "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
            "spec": {"configuration": {"emulationPolicy": "None"}},
        }))
        .unwrap();
        cluster.kubevirt = Some(object);
        let failure = edits(&cluster, &Target::Cluster, Wanted::On, at()).unwrap_err();
        assert_eq!(failure.exit, Exit::Conflict);
        assert_eq!(failure.fixes.len(), 2);
        let told = done(&cluster, &Target::Cluster, Wanted::Auto);
        assert_eq!(told[0].field, "spec.configuration.emulationPolicy");
        assert_eq!(told[1].field, SWITCH);
    }

    #[test]
    fn patches_write_exactly_one_value() {
        let cap = Edit::NodeCap {
            name: "one".to_owned(),
            value: None,
        };
        assert_eq!(
            cap.patch(),
            json!({"metadata": {"labels": {"anyvirt.io/emulation-policy": null}}})
        );
        let own = Edit::Own {
            namespace: "demo".to_owned(),
            name: "fedora".to_owned(),
            value: Some(EmulationPolicy::Software),
        };
        assert_eq!(
            own.patch(),
            json!({"spec": {"template": {"spec": {"emulationPolicy": "Software"}}}})
        );
        let switch = Edit::Switch {
            value: true,
            set_by: None,
        };
        assert_eq!(
            switch.patch(),
            json!({"metadata": {"annotations": {SET_BY: null}}, "data": {SWITCH: "true"}})
        );
    }

    #[test]
    fn what_is_not_there_is_told() {
        for target in [
            Target::Namespace("nowhere".to_owned()),
            Target::Node("nobody".to_owned()),
            Target::Machine {
                namespace: "demo".to_owned(),
                name: "nothing".to_owned(),
            },
        ] {
            let failure = edits(&cluster(), &target, Wanted::On, at()).unwrap_err();
            assert_eq!(failure.exit, Exit::NotFound, "{target:?}");
            let mut blind = cluster();
            blind.hidden = ["namespaces", NODES, MACHINES].into();
            let failure = edits(&blind, &target, Wanted::On, at()).unwrap_err();
            assert_eq!(failure.exit, Exit::Forbidden, "{target:?}");
        }
    }
}
