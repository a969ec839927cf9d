//! What becomes of virtual machines: the cluster as it is, and as it would be, and who starts, waits or runs on what.
//! Objects in, words out; pure. For everybody who tells of a change before it is made.

mod applied;
mod fate;
mod judge;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node};
use kube::ResourceExt;

use crate::accelerator::{
    Accelerator, Cap, ClusterInputs, ClusterPolicy, ENVIRONMENT, EmulationPolicy, NodeFacts,
    Problem, Scope,
};
use crate::configuration::ClusterConfiguration;
use crate::hyper_converged::HyperConverged;
use crate::kubevirt::KubeVirt;
use crate::names;
use crate::names::annotations::MACHINE_ACCELERATOR;
use crate::virtual_machine::VirtualMachine;
use crate::virtual_machine_instance::{Phase, VirtualMachineInstance};

pub use applied::{Applied, BOUNDARY, Consequences, consequences};
pub use fate::{Fate, Fates, NewStart, fates, listed, new_start_lines, new_starts};
pub use judge::{Judge, Prospect, Request};

/// The namespace whose ConfigMap the article's reader edits, and so do we.
pub const SWITCH_NAMESPACE: &str = names::NAMESPACE_OPENSHIFT_CNV;

/// How what may be hidden is called: first the places of the cluster's policy, the strongest first. KubeVirt's own object.
pub const KUBEVIRT: &str = "the KubeVirt object";
/// The ConfigMap that the article's reader edits.
pub const SWITCH_MAP: &str = "the ConfigMap openshift-cnv/kubevirt-config";
/// The same in KubeVirt's own namespace.
pub const OTHER_MAP: &str = "the ConfigMap kubevirt/kubevirt-config";
/// HyperConverged's annotation.
pub const HYPER_CONVERGED: &str = "the HyperConverged object";
/// These places, the strongest first.
const PLACES: [&str; 4] = [KUBEVIRT, SWITCH_MAP, OTHER_MAP, HYPER_CONVERGED];
/// The nodes, by which `emulation auto` chooses.
pub const NODES: &str = "nodes";
/// The VMs.
pub const MACHINES: &str = "virtual machines";
/// Their instances, of which it is known who runs.
pub const INSTANCES: &str = "their instances";

/// What the server knows that bears on accelerators.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// The legacy ConfigMaps that exist, the strongest first.
    pub config_maps: Vec<ConfigMap>,
    /// HyperConverged's object, where its operator is.
    pub hyper_converged: Option<HyperConverged>,
    /// The KubeVirt object that counts.
    pub kubevirt: Option<KubeVirt>,
    /// All namespaces.
    pub namespaces: Vec<Namespace>,
    /// All nodes.
    pub nodes: Vec<Node>,
    /// All virtual machines.
    pub machines: Vec<VirtualMachine>,
    /// All instances.
    pub instances: Vec<VirtualMachineInstance>,
    /// What may not be read by who asks, in words for people.
    pub hidden: BTreeSet<&'static str>,
}

/// One virtual machine: a VM, or an instance that stands alone.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// The VM, if there is one.
    pub vm: Option<&'a VirtualMachine>,
    /// Its instance, if there is one.
    pub instance: Option<&'a VirtualMachineInstance>,
}

impl Cluster {
    /// The cluster's policy: as it follows from what was seen, or, where a hidden place could say
    /// otherwise, as the controllers recorded it.
    pub fn policy(&self) -> ClusterPolicy {
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
    pub fn hides_policy(&self) -> bool {
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
    pub fn unseen(&self) -> Vec<Problem> {
        let tell = |what: &&str| {
            let message = format!("you may not read {what}, so what is told here leaves that out");
            Problem::new("Hidden", message)
        };
        self.hidden.iter().map(tell).collect()
    }

    /// The cluster's policy as it follows from what was seen.
    fn read_policy(&self) -> ClusterPolicy {
        self.with_inputs(ClusterPolicy::read)
    }

    /// What a person should look at in all places of the configuration.
    fn configuration_problems(&self) -> Vec<Problem> {
        let architecture = self.architecture();
        self.with_inputs(|inputs| ClusterConfiguration::read(inputs, &architecture).problems)
    }

    fn with_inputs<T>(&self, read: impl FnOnce(&ClusterInputs<'_>) -> T) -> T {
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
        read(&ClusterInputs {
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
    pub fn problems(&self) -> Vec<String> {
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
    pub fn caps(&self) -> Vec<Cap> {
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
    pub fn switch(&self) -> Option<&str> {
        let data = self.switch_map()?.data.as_ref()?;
        data.get(crate::accelerator::SWITCH).map(String::as_str)
    }

    /// The ConfigMap that `anyvirt emulation` writes.
    pub fn switch_map(&self) -> Option<&ConfigMap> {
        self.config_maps
            .iter()
            .find(|map| map.metadata.namespace.as_deref() == Some(SWITCH_NAMESPACE))
    }

    /// The architecture of guests that name none.
    pub fn architecture(&self) -> String {
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

    /// The namespace of that name.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.iter().find(|it| it.name_any() == name)
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|it| it.name_any() == name)
    }

    /// All machines, and instances that no machine owns, by namespace and name.
    pub fn all_machines(&self) -> Vec<Machine<'_>> {
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
    pub fn judge(&self) -> Judge<'_> {
        let caps = self.namespaces.iter().filter_map(|it| {
            let name = it.name_any();
            let cap = Cap::of_labels(Scope::Namespace, &name, it.labels())?;
            Some((name, cap))
        });
        Judge {
            policy: self.policy(),
            architecture: self.architecture(),
            caps: caps.collect(),
            hides_nodes: self.hidden.contains(NODES),
            nodes: self
                .nodes
                .iter()
                .map(|node| (node, NodeFacts::of(node)))
                .collect(),
        }
    }
}

impl Machine<'_> {
    /// Its namespace.
    pub fn namespace(&self) -> String {
        let vm = self.vm.and_then(|vm| vm.namespace());
        vm.or_else(|| self.instance.and_then(|it| it.namespace()))
            .unwrap_or_default()
    }

    /// Its name.
    pub fn name(&self) -> String {
        let vm = self.vm.map(|vm| vm.name_any());
        vm.or_else(|| self.instance.map(|it| it.name_any()))
            .unwrap_or_default()
    }

    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }

    /// What decides about its instance, or, with `next`, about the one that is made from the
    /// template when it starts the next time. An instance that [follows](Self::follows) is as it will
    /// be when the controllers have written into it what its VM says of emulation, and nothing else.
    pub fn request(&self, next: bool) -> Request {
        let template = self.vm.and_then(|vm| vm.spec.template.as_ref());
        let instance = self.instance.filter(|_| !next || template.is_none());
        let of_template = template.map(|template| &template.spec);
        let spec = instance.map(|it| &it.spec).or(of_template);
        let followed = of_template.filter(|_| self.follows()).or(spec);
        let (kind, field) = match self.vm {
            Some(_) => ("VirtualMachine", "spec.template.spec.emulationPolicy"),
            None => ("VirtualMachineInstance", "spec.emulationPolicy"),
        };
        let place = format!("{kind} {} {field}", self.full_name());
        let own = followed.and_then(|spec| spec.emulation_policy);
        Request {
            namespace: self.namespace(),
            own: own.map(|policy| (place, policy)),
            forced: self.forced(instance),
            architecture: spec
                .and_then(|spec| spec.architecture.clone())
                .unwrap_or_default(),
            selector: spec
                .map(|spec| spec.node_selector.clone())
                .unwrap_or_default(),
        }
    }

    /// The accelerator that `instance` insists on, or, without it, that the VM's next one will. An
    /// unknown value is refused at admission; what slipped through forces nothing.
    fn forced(&self, instance: Option<&VirtualMachineInstance>) -> Option<Accelerator> {
        let wanted = self.vm.and_then(VirtualMachine::forced_accelerator);
        let Some(instance) = instance else {
            return wanted?.accelerator();
        };
        let own = instance.forced_accelerator().unwrap_or_default();
        let has_template = self.vm.is_some_and(|vm| vm.spec.template.is_some());
        let known = instance.annotations().get(MACHINE_ACCELERATOR);
        let known = known.map(String::as_str).unwrap_or_default();
        let told = wanted.as_ref().map(|it| it.value).unwrap_or_default();
        if !has_template || !self.follows() || known == told {
            // Nothing is written, and what a person asked the instance itself for stays.
            return own;
        }
        wanted?.accelerator()
    }

    /// Where its instance is in its life, if it has one that has not ended.
    pub fn phase(&self) -> Option<Phase> {
        let instance = self.instance?;
        let phase = instance.status.as_ref().and_then(|status| status.phase);
        Some(phase.unwrap_or(Phase::Pending)).filter(|phase| !phase.is_final())
    }

    /// Does its guest run?
    pub fn runs(&self) -> bool {
        self.phase() == Some(Phase::Running)
    }

    /// It should run and does not yet.
    pub fn waits(&self) -> bool {
        matches!(
            self.phase(),
            Some(Phase::Pending | Phase::Scheduling | Phase::Scheduled)
        )
    }

    /// It has no node yet, so that the controllers write what its VM says of emulation into it.
    pub fn follows(&self) -> bool {
        let is_going = |it: &VirtualMachineInstance| it.metadata.deletion_timestamp.is_some();
        let status = self.instance.and_then(|it| it.status.as_ref());
        let placed = status.is_some_and(|status| status.node_name.is_some());
        matches!(self.phase(), Some(Phase::Pending | Phase::Scheduling))
            && !placed
            && !self.instance.is_some_and(is_going)
    }

    /// `KVM` or `TCG`, as QEMU says, once it runs.
    pub fn accelerator(&self) -> Option<&str> {
        let status = self.instance?.status.as_ref()?;
        Some(status.accelerator.as_ref()?.type_.as_str())
    }
}
