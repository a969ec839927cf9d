//! What the server knows that bears on accelerators: fetched once, then only looked at.

use std::collections::{BTreeMap, BTreeSet};

use api::accelerator::{
    Accelerator, Cap, ClusterInputs, ClusterPolicy, Decision, ENVIRONMENT, EffectivePolicy,
    EmulationPolicy, NodeFacts, Problem, Refusal, Scope, effective, resolve,
};
use api::configuration::precedence;
use api::hyper_converged::HyperConverged;
use api::kubevirt::KubeVirt;
use api::names;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::connect::Connection;
use crate::failure::Failure;

/// The namespace whose ConfigMap the article's reader edits, and so do we.
pub(crate) const SWITCH_NAMESPACE: &str = names::NAMESPACE_OPENSHIFT_CNV;

/// How what may be hidden is called: the places of the cluster's policy, the strongest first.
const KUBEVIRT: &str = "the KubeVirt object";
const SWITCH_MAP: &str = "the ConfigMap openshift-cnv/kubevirt-config";
const OTHER_MAP: &str = "the ConfigMap kubevirt/kubevirt-config";
const HYPER_CONVERGED: &str = "the HyperConverged object";
const PLACES: [&str; 4] = [KUBEVIRT, SWITCH_MAP, OTHER_MAP, HYPER_CONVERGED];
/// The nodes, by which `emulation auto` chooses.
pub(crate) const NODES: &str = "nodes";

/// What the server knows that bears on accelerators.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    /// The legacy ConfigMaps that exist, the strongest first.
    pub(crate) config_maps: Vec<ConfigMap>,
    pub(crate) hyper_converged: Option<HyperConverged>,
    pub(crate) kubevirt: Option<KubeVirt>,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) machines: Vec<VirtualMachine>,
    pub(crate) instances: Vec<VirtualMachineInstance>,
    /// What we may not read.
    pub(crate) hidden: BTreeSet<&'static str>,
}

/// One virtual machine: a VM, or an instance that stands alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) vm: Option<&'a VirtualMachine>,
    pub(crate) instance: Option<&'a VirtualMachineInstance>,
}

/// Where a machine would run if it were started now.
#[derive(Clone, Debug)]
pub(crate) enum Prospect {
    /// As decided, on the best of the nodes that can.
    Runs(Box<Decision>, String),
    /// Nowhere.
    Waits(Box<Refusal>),
    /// There is no node.
    NoNode,
}

impl Cluster {
    /// Asks the server for everything.
    pub(crate) async fn look(connection: &Connection) -> Result<Self, Failure> {
        let mut cluster = Self::look_at_settings(connection).await?;
        let client = &connection.client;
        cluster.machines = cluster
            .list(connection, Api::all(client.clone()), "virtual machines")
            .await?;
        cluster.instances = cluster
            .list(connection, Api::all(client.clone()), "their instances")
            .await?;
        Ok(cluster)
    }

    /// Asks the server for everything but the machines.
    pub(crate) async fn look_at_settings(connection: &Connection) -> Result<Self, Failure> {
        let client = &connection.client;
        let mut cluster = Self::default();
        for (namespace, what) in [
            (SWITCH_NAMESPACE, SWITCH_MAP),
            (names::NAMESPACE_KUBEVIRT, OTHER_MAP),
        ] {
            let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            match maps.get_opt(names::CONFIG_MAP).await {
                Ok(map) => cluster.config_maps.extend(map),
                Err(error) => cluster.hide(connection, error, what)?,
            }
        }
        let kubevirt = cluster
            .list::<KubeVirt>(connection, Api::all(client.clone()), KUBEVIRT)
            .await?;
        // As the controllers choose.
        cluster.kubevirt = kubevirt.into_iter().min_by_key(|object| {
            precedence(&object.metadata, names::NAMESPACE_KUBEVIRT, names::KUBEVIRT)
        });
        let converged: Api<HyperConverged> = Api::all(client.clone());
        // A cluster without that operator does not know the kind.
        match converged.list(&ListParams::default()).await {
            Ok(list) => {
                cluster.hyper_converged = list.items.into_iter().min_by_key(|object| {
                    precedence(
                        &object.metadata,
                        names::NAMESPACE_OPENSHIFT_CNV,
                        names::HYPER_CONVERGED,
                    )
                });
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => cluster.hide(connection, error, HYPER_CONVERGED)?,
        }
        cluster.namespaces = cluster
            .list(connection, Api::all(client.clone()), "namespaces")
            .await?;
        cluster.nodes = cluster
            .list(connection, Api::all(client.clone()), NODES)
            .await?;
        Ok(cluster)
    }

    async fn list<K>(
        &mut self,
        connection: &Connection,
        api: Api<K>,
        what: &'static str,
    ) -> Result<Vec<K>, Failure>
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        match api.list(&ListParams::default()).await {
            Ok(list) => Ok(list.items),
            Err(error) => {
                self.hide(connection, error, what)?;
                Ok(Vec::new())
            }
        }
    }

    /// Who may not read something sees less; every other failure is one.
    fn hide(
        &mut self,
        connection: &Connection,
        error: kube::Error,
        what: &'static str,
    ) -> Result<(), Failure> {
        match error {
            kube::Error::Api(status) if status.code == 403 => {
                self.hidden.insert(what);
                Ok(())
            }
            error => Err(connection.failure(error)),
        }
    }

    /// The cluster's policy: as it follows from what was seen, or, where a hidden place could say
    /// otherwise, as the controllers recorded it.
    pub(crate) fn policy(&self) -> ClusterPolicy {
        let read = self.read_policy();
        if !self.is_doubtful(&read) {
            return read;
        }
        match self.recorded() {
            Some(recorded) => ClusterPolicy {
                problems: read.problems,
                ..recorded
            },
            None => ClusterPolicy {
                decided_by: format!("{}, as far as you may read", read.decided_by),
                ..read
            },
        }
    }

    /// Nobody can tell from here what the cluster's policy is.
    pub(crate) fn hides_policy(&self) -> bool {
        self.recorded().is_none() && self.is_doubtful(&self.read_policy())
    }

    /// Could a hidden place say something else than what was read? A weaker one than the one that
    /// decides could not.
    fn is_doubtful(&self, read: &ClusterPolicy) -> bool {
        let by = read.decided_by.as_str();
        let stronger = if read.is_above_switch() && by.starts_with("KubeVirt ") {
            0
        } else if by.starts_with("ConfigMap openshift-cnv/") {
            1
        } else if by.starts_with("ConfigMap kubevirt/") {
            2
        } else if by.starts_with("HyperConverged ") {
            3
        } else {
            PLACES.len()
        };
        PLACES
            .iter()
            .take(stronger)
            .any(|place| self.hidden.contains(place))
    }

    /// What may not be read, so that nothing is told of it.
    pub(crate) fn unseen(&self) -> Vec<Problem> {
        let tell = |what: &&str| {
            let message = format!("you may not read {what}, so what is told here leaves that out");
            Problem::new("Hidden", message)
        };
        self.hidden.iter().map(tell).collect()
    }

    /// The cluster's policy as it follows from what was seen.
    fn read_policy(&self) -> ClusterPolicy {
        let empty = BTreeMap::new();
        let maps = self.config_maps.iter().map(|map| {
            let namespace = map.metadata.namespace.as_deref().unwrap_or_default();
            (namespace, map.data.as_ref().unwrap_or(&empty))
        });
        let last_good = self.recorded();
        // The server's environment is not seen from here; that it decided is recorded.
        let environment = last_good
            .as_ref()
            .filter(|policy| policy.decided_by.contains(ENVIRONMENT))
            .map(|policy| match policy.policy {
                EmulationPolicy::Software => "true",
                EmulationPolicy::None | EmulationPolicy::Hardware => "false",
            });
        ClusterPolicy::read(&ClusterInputs {
            config_maps: maps.collect(),
            hyper_converged: self.hyper_converged.as_ref(),
            environment,
            kubevirt: self.kubevirt.as_ref(),
            last_good: last_good.as_ref(),
            // Of other settings, which are not told here.
            last_values: &[],
        })
    }

    /// What the controllers last wrote down as the policy in force.
    fn recorded(&self) -> Option<ClusterPolicy> {
        let status = self.kubevirt.as_ref()?.status.as_ref()?;
        ClusterPolicy::recorded(status.emulation.as_ref()?)
    }

    /// What is wrong with the configuration: what is seen here, and what the controllers say.
    pub(crate) fn problems(&self) -> Vec<String> {
        let status = self.kubevirt.as_ref().and_then(|it| it.status.as_ref());
        let emulation = status.and_then(|status| status.emulation.as_ref());
        let reported = emulation.map(|it| it.problems.clone()).unwrap_or_default();
        let mut problems: Vec<String> = Vec::new();
        let caps = self.caps().into_iter().filter_map(|cap| cap.problem);
        for problem in self
            .unseen()
            .into_iter()
            .chain(self.policy().problems)
            .chain(reported)
            .chain(caps)
        {
            if !problems.contains(&problem.message) {
                problems.push(problem.message);
            }
        }
        problems
    }

    /// All caps, those of namespaces first.
    pub(crate) fn caps(&self) -> Vec<Cap> {
        let namespaces = self
            .namespaces
            .iter()
            .filter_map(|it| Cap::of_labels(Scope::Namespace, &it.name_any(), it.labels()));
        let nodes = self
            .nodes
            .iter()
            .filter_map(|it| Cap::of_labels(Scope::Node, &it.name_any(), it.labels()));
        namespaces.chain(nodes).collect()
    }

    /// The switch's value in the ConfigMap that `anyvirt emulation` writes.
    pub(crate) fn switch(&self) -> Option<&str> {
        let data = self.switch_map()?.data.as_ref()?;
        data.get(api::accelerator::SWITCH).map(String::as_str)
    }

    /// The ConfigMap that `anyvirt emulation` writes.
    pub(crate) fn switch_map(&self) -> Option<&ConfigMap> {
        self.config_maps
            .iter()
            .find(|map| map.metadata.namespace.as_deref() == Some(SWITCH_NAMESPACE))
    }

    /// The architecture of guests that name none.
    pub(crate) fn architecture(&self) -> String {
        let status = self.kubevirt.as_ref().and_then(|it| it.status.as_ref());
        let recorded = status.and_then(|status| status.default_architecture.clone());
        let of_nodes = || {
            self.nodes
                .iter()
                .map(|node| NodeFacts::of(node).architecture)
                .next()
        };
        recorded
            .filter(|name| !name.is_empty())
            .or_else(of_nodes)
            .unwrap_or_default()
    }

    pub(crate) fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.iter().find(|it| it.name_any() == name)
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|it| it.name_any() == name)
    }

    /// All machines, and instances that no machine owns, by namespace and name.
    pub(crate) fn all_machines(&self) -> Vec<Machine<'_>> {
        let key = |namespace: Option<String>, name: String| (namespace.unwrap_or_default(), name);
        let mut all: BTreeMap<(String, String), Machine<'_>> = BTreeMap::new();
        for vm in &self.machines {
            let machine = Machine {
                vm: Some(vm),
                instance: None,
            };
            all.insert(key(vm.namespace(), vm.name_any()), machine);
        }
        for instance in &self.instances {
            let machine = all
                .entry(key(instance.namespace(), instance.name_any()))
                .or_insert(Machine {
                    vm: None,
                    instance: None,
                });
            machine.instance = Some(instance);
        }
        all.into_values().collect()
    }

    /// Ready to say how machines would fare.
    pub(crate) fn judge(&self) -> Judge<'_> {
        let caps = self.namespaces.iter().filter_map(|it| {
            let name = it.name_any();
            let cap = Cap::of_labels(Scope::Namespace, &name, it.labels())?;
            Some((name, cap))
        });
        Judge {
            policy: self.policy(),
            architecture: self.architecture(),
            caps: caps.collect(),
            nodes: self
                .nodes
                .iter()
                .map(|node| (node, NodeFacts::of(node)))
                .collect(),
        }
    }
}

/// Says how machines would fare, by the pure rules of `api::accelerator`.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) policy: ClusterPolicy,
    architecture: String,
    /// Of namespaces.
    caps: BTreeMap<String, Cap>,
    pub(crate) nodes: Vec<(&'a Node, NodeFacts)>,
}

/// What decides about one machine beside the cluster and the nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) namespace: String,
    /// What it says itself, and where.
    pub(crate) own: Option<(String, EmulationPolicy)>,
    pub(crate) forced: Option<Accelerator>,
    /// In Go's names; empty for the cluster's default.
    pub(crate) architecture: String,
    /// Labels that its node must have.
    pub(crate) selector: BTreeMap<String, String>,
}

impl Judge<'_> {
    /// The policy in force before there is a node.
    pub(crate) fn policy_of(&self, request: &Request) -> EffectivePolicy {
        let cap = self.caps.get(&request.namespace);
        effective(&self.policy, request.own.clone(), cap)
    }

    /// How it would fare on one node.
    pub(crate) fn on_node(
        &self,
        request: &Request,
        facts: &NodeFacts,
    ) -> Result<Decision, Refusal> {
        let architecture = if request.architecture.is_empty() {
            &self.architecture
        } else {
            &request.architecture
        };
        resolve(
            &self.policy_of(request),
            request.forced,
            architecture,
            facts,
        )
    }

    /// How it would fare on the best of all nodes.
    pub(crate) fn prospect(&self, request: &Request) -> Prospect {
        let selected = |node: &Node| {
            request
                .selector
                .iter()
                .all(|(key, value)| node.labels().get(key) == Some(value))
        };
        let mut best = Prospect::NoNode;
        for (node, facts) in self.nodes.iter().filter(|(node, _)| selected(node)) {
            let outcome = self.on_node(request, facts);
            let better = match (&best, &outcome) {
                (Prospect::NoNode, _) | (Prospect::Waits(_), Ok(_)) => true,
                (Prospect::Runs(best, _), Ok(found)) => found.accelerator < best.accelerator,
                _ => false,
            };
            if better {
                best = match outcome {
                    Ok(decision) => Prospect::Runs(Box::new(decision), node.name_any()),
                    Err(refusal) => Prospect::Waits(Box::new(refusal)),
                };
            }
        }
        best
    }
}

impl Machine<'_> {
    pub(crate) fn namespace(&self) -> String {
        let vm = self.vm.and_then(|vm| vm.namespace());
        vm.or_else(|| self.instance.and_then(|it| it.namespace()))
            .unwrap_or_default()
    }

    pub(crate) fn name(&self) -> String {
        let vm = self.vm.map(|vm| vm.name_any());
        vm.or_else(|| self.instance.map(|it| it.name_any()))
            .unwrap_or_default()
    }

    /// `namespace/name`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }

    /// What decides about its instance, or, with `next`, about the one that is made from the
    /// template when it starts the next time.
    pub(crate) fn request(&self, next: bool) -> Request {
        let template = self.vm.and_then(|vm| vm.spec.template.as_ref());
        let instance = self.instance.filter(|_| !next || template.is_none());
        // An unknown value is refused at admission; what slipped through forces nothing.
        let (spec, forced) = match instance {
            Some(instance) => (
                Some(&instance.spec),
                instance.forced_accelerator().unwrap_or_default(),
            ),
            None => (
                template.map(|template| &template.spec),
                self.vm
                    .and_then(VirtualMachine::forced_accelerator)
                    .and_then(|it| it.accelerator()),
            ),
        };
        let (kind, field) = match self.vm {
            Some(_) => ("VirtualMachine", "spec.template.spec.emulationPolicy"),
            None => ("VirtualMachineInstance", "spec.emulationPolicy"),
        };
        let place = format!("{kind} {} {field}", self.full_name());
        let own = spec.and_then(|spec| spec.emulation_policy);
        Request {
            namespace: self.namespace(),
            own: own.map(|policy| (place, policy)),
            forced,
            architecture: spec
                .and_then(|spec| spec.architecture.clone())
                .unwrap_or_default(),
            selector: spec
                .map(|spec| spec.node_selector.clone())
                .unwrap_or_default(),
        }
    }

    /// Where its instance is in its life, if it has one that has not ended.
    pub(crate) fn phase(&self) -> Option<Phase> {
        let instance = self.instance?;
        let phase = instance.status.as_ref().and_then(|status| status.phase);
        Some(phase.unwrap_or(Phase::Pending)).filter(|phase| !phase.is_final())
    }

    pub(crate) fn runs(&self) -> bool {
        self.phase() == Some(Phase::Running)
    }

    /// It should run and does not yet.
    pub(crate) fn waits(&self) -> bool {
        matches!(
            self.phase(),
            Some(Phase::Pending | Phase::Scheduling | Phase::Scheduled)
        )
    }

    /// It has no node yet, so that the controllers write what its VM says of emulation into it.
    pub(crate) fn follows(&self) -> bool {
        let status = self.instance.and_then(|it| it.status.as_ref());
        let placed = status.is_some_and(|status| status.node_name.is_some());
        matches!(self.phase(), Some(Phase::Pending | Phase::Scheduling)) && !placed
    }

    /// `KVM` or `TCG`, as QEMU says, once it runs.
    pub(crate) fn accelerator(&self) -> Option<&str> {
        let status = self.instance?.status.as_ref()?;
        Some(status.accelerator.as_ref()?.type_.as_str())
    }
}

impl Prospect {
    /// `KVM`, `TCG`, or `waits`.
    pub(crate) fn word(&self) -> String {
        match self {
            Self::Runs(decision, _) => decision.accelerator.to_string(),
            Self::Waits(_) | Self::NoNode => "waits".to_owned(),
        }
    }
}
