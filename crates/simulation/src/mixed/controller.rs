//! The controllers' part: a pod for every VM that shall run, under the policy that is in force.

use std::collections::BTreeMap;
use std::rc::Rc;

use api::accelerator::{Accelerator, Cap, ClusterPolicy, EffectivePolicy, EmulationPolicy, Scope};
use api::configuration::ClusterConfiguration;
use api::names;
use api::quantity::Quantity;
use api::virtual_machine_instance::VirtualMachineInstance;
use controllers::schedule::{Rules, Shape};
use controllers::virtual_machine_instance::{Launcher, Standing};
use k8s_openapi::api::core::v1 as core;
use serde_json::json;

use super::Simulation;
use super::script::VmLine;
use super::world::{Amounts, Event, Pod, State};

/// Milliseconds between a failure of a VM and its next start; doubled with each.
const FIRST_BACK_OFF: u64 = 10_000;
/// Bound of that.
const LAST_BACK_OFF: u64 = 300_000;
/// Failures in a row after which a VM that insists on a KVM that fails it is left to its loop.
const LOOPING: u32 = 9;

/// What the form of a pod depends on, policy apart.
pub(super) type ClassKey = (String, u32, u32, Option<&'static str>);

/// The cluster's policy and a VM's own.
type PolicyKey = (EmulationPolicy, Option<EmulationPolicy>);

/// A shape, a class and a policy.
type StandingKey = (Shape, usize, EmulationPolicy);

/// VMs that differ in name, namespace and policy only, and what was worked out for them: these functions
/// are pure, so what they said once they say again.
#[derive(Debug, Default)]
pub(super) struct Forms {
    classes: BTreeMap<ClassKey, usize>,
    instances: Vec<VirtualMachineInstance>,
    /// What policies come to, by the namespace's cap.
    policies: BTreeMap<Option<String>, BTreeMap<PolicyKey, Rc<EffectivePolicy>>>,
    shapes: BTreeMap<(usize, usize, EmulationPolicy), Option<(Shape, Amounts)>>,
    /// A pod of each shape.
    pods: BTreeMap<Shape, core::Pod>,
    /// Whether a pod of a shape, for a VM of a class, is outdated under a policy, by the place that
    /// decided the policy.
    standings: BTreeMap<StandingKey, BTreeMap<String, bool>>,
}

impl Forms {
    /// Forgets what was worked out; which classes of VMs there are, and the pods that were made, stay.
    pub(super) fn forget(&mut self) {
        self.policies.clear();
        self.shapes.clear();
        self.standings.clear();
    }

    /// The class of a VM.
    pub(super) fn class(&mut self, vm: &VmLine) -> usize {
        let forced = vm.forced.map(super::script::forced_name);
        let key = (vm.architecture.clone(), vm.cpus, vm.memory, forced);
        if let Some(class) = self.classes.get(&key) {
            return *class;
        }
        let class = self.instances.len();
        let object = json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": { "name": format!("class-{class}"), "namespace": "simulated" },
            "spec": { "architecture": vm.architecture, "domain": {
                "cpu": { "cores": vm.cpus },
                "memory": { "guest": format!("{}Gi", vm.memory) },
                "devices": { "autoattachPodInterface": vm.cpus > 1 },
            } },
        });
        let mut instance: VirtualMachineInstance = serde_json::from_value(object)
            .unwrap_or_else(|_| VirtualMachineInstance::new("unreadable", Default::default()));
        let annotations = instance.metadata.annotations.get_or_insert_default();
        annotations.extend(
            forced.map(|name| (names::annotations::ACCELERATOR.to_owned(), name.to_owned())),
        );
        self.instances.push(instance);
        self.classes.insert(key, class);
        class
    }
}

impl Simulation {
    /// Script: a VM is created, again, or started anew.
    pub(super) fn create_soon(&mut self, vm: usize) {
        let lag = self.lag(self.world.vms[vm].salt, 1);
        let made = self.world.time();
        let this = &mut self.world.vms[vm];
        this.state = State::Coming;
        this.life += 1;
        this.made = made;
        let life = this.life;
        self.world.after(lag, Event::Create { vm, life });
    }

    /// The VM's pod goes, whatever it did.
    pub(super) fn drop_pod(&mut self, vm: usize) {
        self.world.unmade.remove(&vm);
        let Some(pod) = self.world.vms[vm].pod.take() else {
            return;
        };
        self.world.wait_no_more(pod.uid, pod.shape);
        if let Some(node) = pod.node {
            let site = &mut self.world.sites[node];
            site.pods.remove(&vm);
        }
        self.world.vms[vm].guest = None;
        if let Some(node) = pod.node {
            self.leave_gate(vm, node);
        }
        let lag = self.lag(pod.uid, 2);
        self.world.after(lag, Event::PodGone { pod: pod.uid });
    }

    /// The VM's instance failed; it runs always, so there is another one after a while.
    pub(super) fn fail(&mut self, vm: usize) {
        self.report.failures += 1;
        self.drop_pod(vm);
        let made = self.world.time();
        let this = &mut self.world.vms[vm];
        this.failures += 1;
        if this.failures >= LOOPING && this.line.forced == Some(Accelerator::Kvm) {
            this.state = State::Looping;
            return;
        }
        this.state = State::Coming;
        this.life += 1;
        this.made = made;
        let life = this.life;
        let doubled = FIRST_BACK_OFF << (this.failures - 1).min(8);
        self.world
            .after(doubled.min(LAST_BACK_OFF), Event::Create { vm, life });
    }

    pub(super) fn create(&mut self, vm: usize, life: u32) {
        let this = &self.world.vms[vm];
        if this.life == life && this.state == State::Coming {
            self.make_pod(vm);
        }
    }

    fn make_pod(&mut self, vm: usize) {
        let made = self.policy(vm);
        self.world.vms[vm].state = State::Waiting;
        let Some((shape, amounts)) = self.shape(vm, &made) else {
            // Nothing would permit what it insists on: it waits for another policy.
            self.world.unmade.insert(vm);
            return;
        };
        self.world.next_pod += 1;
        let uid = self.world.next_pod;
        self.world.vms[vm].pod = Some(Pod {
            uid,
            made,
            shape,
            amounts,
            node: None,
        });
        self.world.wait(uid, vm, shape);
        self.report.pods += 1;
        self.look_soon();
    }

    /// The policy of a VM, by what the controllers have seen.
    pub(super) fn policy(&mut self, vm: usize) -> Rc<EffectivePolicy> {
        let this = &self.world.vms[vm];
        let labels = &self.world.namespaces_seen[this.namespace];
        let key = (self.world.policy_seen, this.line.policy);
        let capped = self.forms.policies.get(&labels.cap);
        if let Some(known) = capped.and_then(|all| all.get(&key)) {
            return Rc::clone(known);
        }
        let label = labels.cap.clone();
        let cluster = cluster_policy(key.0);
        let own = key.1.map(|own| {
            (
                "VirtualMachineInstance spec.emulationPolicy".to_owned(),
                own,
            )
        });
        let cap = label
            .clone()
            .map(|cap| (names::labels::EMULATION_POLICY.to_owned(), cap));
        let cap = Cap::of_labels(Scope::Namespace, "simulated", &cap.into_iter().collect());
        let made = Rc::new((self.rules.effective)(&cluster, own, cap.as_ref()));
        let capped = self.forms.policies.entry(label).or_default();
        capped.insert(key, Rc::clone(&made));
        made
    }

    /// The shape of a VM's pod; none if it cannot be made under this policy.
    fn shape(&mut self, vm: usize, made: &EffectivePolicy) -> Option<(Shape, Amounts)> {
        let (class, namespace) = (self.world.vms[vm].class, self.world.vms[vm].namespace);
        let key = (class, namespace, made.policy);
        if let Some(known) = self.forms.shapes.get(&key) {
            return *known;
        }
        let mut vmi = self.forms.instances[class].clone();
        vmi.metadata.namespace = Some(self.world.vms[vm].line.namespace.clone());
        let configuration = configuration();
        let launcher = Launcher::default();
        let pod = (self.rules.render)(&vmi, &configuration, made, &launcher).ok();
        let known = pod.map(|pod| {
            let (shape, amounts) = (self.cluster.shape(&pod), amounts(&pod));
            self.forms.pods.insert(shape, pod);
            (shape, amounts)
        });
        self.forms.shapes.insert(key, known);
        known
    }

    /// The scheduler sees what namespaces say of neighbours.
    fn tell_rules(&mut self) {
        let key = names::labels::EMULATION_MULTI_TENANCY;
        let labels: Vec<(&str, BTreeMap<String, String>)> = self
            .world
            .namespace_names
            .iter()
            .map(|(name, index)| {
                let tenancy = self.world.namespaces_seen[*index].tenancy.clone();
                let label = tenancy.map(|it| (key.to_owned(), it));
                (name.as_str(), label.into_iter().collect())
            })
            .collect();
        let configuration = configuration();
        let all = labels.iter().map(|(name, labels)| (*name, labels));
        self.cluster.set_rules(Rules::of(&configuration, all));
        self.look_soon();
    }

    /// The controllers see another policy: pods that wait, made under another one than they would be
    /// made under now, are made again.
    pub(super) fn policy_seen(&mut self, namespace: Option<usize>) {
        match namespace {
            None => self.world.policy_seen = self.world.policy.value,
            Some(index) => {
                let labels = self.world.namespaces[index].value.clone();
                self.world.namespaces_seen[index] = labels;
                self.tell_rules();
            }
        }
        let unmade: Vec<usize> = std::mem::take(&mut self.world.unmade).into_iter().collect();
        unmade.into_iter().for_each(|vm| self.make_pod(vm));
        let concerned = |vm: &usize| namespace.is_none_or(|it| self.world.vms[*vm].namespace == it);
        let waiting = self.world.waiting.values().flat_map(BTreeMap::values);
        let waiting: Vec<usize> = waiting.copied().filter(concerned).collect();
        // Thousands may wait, and their policies are few.
        let mut policies: BTreeMap<(usize, Option<EmulationPolicy>), Rc<EffectivePolicy>> =
            BTreeMap::new();
        for vm in waiting {
            let this = &self.world.vms[vm];
            let key = (this.namespace, this.line.policy);
            let known = policies.get(&key).cloned();
            let now = known.unwrap_or_else(|| self.policy(vm));
            policies.entry(key).or_insert_with(|| Rc::clone(&now));
            self.follow_policy(vm, now);
        }
    }

    /// Keeps a pod that waits under the policy in force, which is `now`.
    fn follow_policy(&mut self, vm: usize, now: Rc<EffectivePolicy>) {
        let this = &self.world.vms[vm];
        let Some(pod) = &this.pod else { return };
        if pod.made == now {
            return;
        }
        let key = (pod.shape, this.class, now.policy);
        let known = self.forms.standings.get(&key);
        let known = known.and_then(|all| all.get(&now.decided_by)).copied();
        let is_outdated = known.unwrap_or_else(|| {
            let vmi = &self.forms.instances[this.class];
            let made = self.forms.pods.get(&pod.shape);
            let compare = |made| (self.rules.compare)(made, vmi, &configuration(), &now);
            let standing = made.map(compare);
            let outdated = !matches!(standing, Some(Ok(Standing::Current | Standing::Renamed(_))));
            let all = self.forms.standings.entry(key).or_default();
            all.insert(now.decided_by.clone(), outdated);
            outdated
        });
        if is_outdated {
            self.report.renewed += 1;
            self.drop_pod(vm);
            self.make_pod(vm);
        } else if let Some(pod) = &mut self.world.vms[vm].pod {
            // It is told on the pod which policy it is under.
            pod.made = now;
        }
    }
}

/// The cluster's configuration, policy apart.
fn configuration() -> ClusterConfiguration {
    ClusterConfiguration::of_architecture("amd64")
}

/// A cluster's policy as its KubeVirt object says it.
pub(super) fn cluster_policy(policy: EmulationPolicy) -> ClusterPolicy {
    ClusterPolicy {
        policy,
        decided_by: "KubeVirt kubevirt/kubevirt spec.configuration.emulationPolicy".to_owned(),
        problems: Vec::new(),
    }
}

/// What a pod asks for, as the oracle reads it.
fn amounts(pod: &core::Pod) -> Amounts {
    let containers = pod.spec.iter().flat_map(|spec| {
        let sidecars = spec.init_containers.iter().flatten();
        sidecars.chain(&spec.containers)
    });
    let mut sum = Amounts([0, 0, 1, 0]);
    for resources in containers.filter_map(|it| it.resources.as_ref()) {
        let asked = |name: &str| {
            let requests = resources.requests.as_ref().and_then(|all| all.get(name));
            let limits = resources.limits.as_ref().and_then(|all| all.get(name));
            requests.or(limits).map(|it| Quantity::from(it.clone()))
        };
        let cpu = asked("cpu").and_then(|it| it.to_thousandths());
        let memory = asked("memory").and_then(|it| it.to_units());
        let kvm = asked(names::resources::KVM).and_then(|it| it.to_units());
        let signed =
            |amount: Option<u64>| amount.and_then(|it| i64::try_from(it).ok()).unwrap_or(0);
        sum.add(Amounts([signed(cpu), signed(memory), 0, signed(kvm)]), 1);
    }
    sum
}
