//! The scheduler's part: a node for every pod that waits, by what it has seen of pods and nodes.

use std::collections::BTreeMap;

use api::accelerator::EmulationPolicy;
use api::names::{conditions, labels, resources};
use controllers::schedule::Shape;
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Simulation;
use super::script::NodeLine;
use super::world::{Amounts, Event, Held, Object, State};

/// The most pods a node has, as its agent says it.
pub(super) const MOST_PODS: i64 = 250;

impl Simulation {
    /// Something changed that may concern what waits.
    pub(super) fn look_soon(&mut self) {
        if !self.look_is_due {
            self.look_is_due = true;
            let lag = self.lag(self.world.now, 3);
            self.world.after(lag, Event::Look);
        }
    }

    /// Places every pod that waits and has no binding under way: the oldest first. Pods of one shape
    /// wait for the same, so when one of them found no node the others of this look find none either.
    pub(super) fn look(&mut self) {
        self.look_is_due = false;
        self.report.looks += 1;
        // The next of each shape, the oldest first.
        let mut next: BTreeMap<u64, (usize, Shape)> = BTreeMap::new();
        for (shape, alike) in &self.world.waiting {
            next.extend(self.after(alike, 0).map(|(uid, vm)| (uid, (vm, *shape))));
        }
        while let Some((uid, (vm, shape))) = next.pop_first() {
            let Some(pod) = &self.world.vms[vm].pod else {
                continue;
            };
            let (policy, amounts) = (pod.made.policy, pod.amounts);
            let Some(name) = (self.rules.choose)(&mut self.cluster, shape) else {
                continue;
            };
            let Some(node) = self.world.site_names.get(&name).copied() else {
                self.wrong(format!("{name} is no node, and was chosen"));
                continue;
            };
            self.check_choice(vm, node);
            self.cluster.take(&uid.to_string(), shape, &name);
            let held = Held {
                vm,
                policy,
                amounts,
                actual: None,
            };
            let site = &mut self.world.sites[node];
            site.taken.add(amounts, 1);
            site.held.insert(uid, held);
            self.assumed.insert(uid, node);
            let lag = self.lag(uid, 4);
            self.world.after(lag, Event::Bind { vm, pod: uid, node });
            if let Some(alike) = self.world.waiting.get(&shape) {
                let another = self.after(alike, uid + 1);
                next.extend(another.map(|(uid, vm)| (uid, (vm, shape))));
            }
        }
    }

    /// The first of these pods from a uid on that has no binding under way.
    fn after(&self, alike: &BTreeMap<u64, usize>, from: u64) -> Option<(u64, usize)> {
        let mut free = alike
            .range(from..)
            .filter(|(uid, _)| !self.assumed.contains_key(uid));
        free.next().map(|(uid, vm)| (*uid, *vm))
    }

    /// The scheduler sees what runs a guest.
    pub(super) fn status_seen(&mut self, vm: usize, uid: u64) {
        let this = &self.world.vms[vm];
        let is_its = this.pod.as_ref().is_some_and(|pod| pod.uid == uid);
        let guest = this.guest.as_ref().filter(|_| is_its);
        let (Some(guest), Some(node)) = (guest, self.assumed.get(&uid)) else {
            return;
        };
        let actual = Some(guest.actual);
        let held = self.world.sites[*node].held.get_mut(&uid);
        if let Some(held) = held.filter(|held| held.policy == EmulationPolicy::Software) {
            held.actual = actual;
            self.cluster.runs_on(&uid.to_string(), actual);
            self.look_soon();
        }
    }

    /// The API answers: a pod that is gone is not bound.
    pub(super) fn bind(&mut self, vm: usize, uid: u64, node: usize) {
        let this = &mut self.world.vms[vm];
        let Some(pod) = this.pod.as_mut().filter(|pod| pod.uid == uid) else {
            return self.pod_gone(uid);
        };
        pod.node = Some(node);
        this.state = State::Bound;
        let shape = pod.shape;
        self.world.wait_no_more(uid, shape);
        let site = &mut self.world.sites[node];
        site.pods.insert(vm);
        let agent = site.agent;
        self.report.placed += 1;
        self.check_binding(vm);
        // Images are pulled meanwhile.
        let pull = self.delay(uid, 5, 20, 3000);
        self.world.after(
            pull,
            Event::Start {
                vm,
                pod: uid,
                agent,
            },
        );
    }

    /// The scheduler sees that a pod is gone.
    pub(super) fn pod_gone(&mut self, uid: u64) {
        let Some(node) = self.assumed.remove(&uid) else {
            return;
        };
        self.cluster.release(&uid.to_string());
        let site = &mut self.world.sites[node];
        if let Some(held) = site.held.remove(&uid) {
            site.taken.add(held.amounts, -1);
        }
        self.look_soon();
    }

    /// The scheduler sees a Node object.
    pub(super) fn node_seen(&mut self, node: usize) {
        let site = &mut self.world.sites[node];
        if site.seen.as_ref() != Some(&site.object) {
            site.seen = Some(site.object.clone());
            let object = node_object(&site.line, &site.object);
            self.cluster.set_node(&object);
            self.look_soon();
        }
    }
}

/// What a node has for pods, as its agent says it.
pub(super) fn allocatable(line: &NodeLine, object: &Object) -> Amounts {
    let devices = if object.usable {
        resources::PER_DEVICE
    } else {
        0
    };
    Amounts([
        i64::from(line.cpus) * 1000,
        i64::from(line.memory) << 30,
        MOST_PODS,
        devices,
    ])
}

/// The Node object as the agent writes it.
fn node_object(line: &NodeLine, object: &Object) -> Node {
    let yes = |yes: bool| if yes { "true" } else { "false" }.to_owned();
    let usable = if object.usable { "usable" } else { "unusable" };
    let mut all: BTreeMap<String, String> = [
        (labels::ARCHITECTURE, line.architecture.clone()),
        (labels::SCHEDULABLE, yes(true)),
        (labels::HARDWARE_VIRTUALIZATION, usable.to_owned()),
        (labels::KVM_DEVICE, yes(object.kvm_device)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for architecture in line.emulates.iter().chain([&line.architecture]) {
        let name = format!("{}{architecture}", labels::VM_ARCHITECTURE_PREFIX);
        all.insert(name, yes(true));
    }
    let cap = object.cap.clone();
    all.extend(cap.map(|cap| (labels::EMULATION_POLICY.to_owned(), cap)));
    let condition = |type_: &str, holds: bool| NodeCondition {
        type_: type_.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        ..Default::default()
    };
    let has = allocatable(line, object);
    let amounts = [
        ("cpu", format!("{}m", has.0[0])),
        ("memory", has.0[1].to_string()),
        ("pods", has.0[2].to_string()),
        (resources::KVM, has.0[3].to_string()),
        (resources::VHOST_NET, has.0[3].to_string()),
    ];
    Node {
        metadata: ObjectMeta {
            name: Some(line.name.clone()),
            labels: Some(all),
            ..Default::default()
        },
        status: Some(NodeStatus {
            allocatable: Some(
                amounts
                    .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
                    .into(),
            ),
            conditions: Some(vec![
                condition("Ready", object.ready),
                condition(conditions::HARDWARE_VIRTUALIZATION, object.usable),
            ]),
            ..Default::default()
        }),
        ..Default::default()
    }
}
