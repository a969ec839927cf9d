//! A pretend node agent: in the API it does what crate `node` does, and its machines are those of
//! [`World`]. What it remembers ends with it; the machines do not.

use std::collections::BTreeMap;
use std::time::Duration;

use api::accelerator::{self, EffectivePolicy, NodeFacts, NodeVerdict};
use api::names::{conditions, labels, resources};
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use controllers::clock::Clock as _;
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::Plant;
use crate::clock::Clock;
use crate::world::{End, Machine, State, World};
use std::sync::Arc;

/// The node's name.
pub(crate) const NAME: &str = "pretended";

/// The wait after a write that failed: most are lost races, which the next event has won already.
const RETRY: Duration = Duration::from_millis(5);

/// The agent.
pub(crate) struct Agent {
    pub(crate) client: Client,
    pub(crate) world: World,
    pub(crate) clock: Arc<Clock>,
    pub(crate) plant: Plant,
    pods: BTreeMap<String, Pod>,
    instances: BTreeMap<String, VirtualMachineInstance>,
    /// Guests this agent started; used by a planted defect only.
    started: Vec<String>,
}

/// Whether the node has KVM.
pub(crate) fn verdict(kvm: bool) -> NodeVerdict {
    NodeVerdict {
        usable: kvm,
        class: if kvm { "Usable" } else { "DeviceMissing" }.to_owned(),
        stage: String::new(),
        message: "simulated".to_owned(),
    }
}

/// Registers the Node object. A second time it changes nothing.
pub(crate) async fn register(client: &Client, kvm: bool) -> kube::Result<()> {
    let amount = if kvm { "1000" } else { "0" };
    let architecture = controllers::Settings::default().architecture;
    let verdict = verdict(kvm);
    let status = json!({
        "allocatable": {
            "cpu": "64", "memory": "256Gi", "pods": "250",
            resources::KVM: amount, resources::VHOST_NET: amount,
        },
        "conditions": [
            { "type": "Ready", "status": "True" },
            { "type": conditions::HARDWARE_VIRTUALIZATION, "reason": verdict.class,
              "message": verdict.message, "status": if kvm { "True" } else { "False" } },
        ],
    });
    let nodes: Api<Node> = Api::all(client.clone());
    let usable = if kvm { "usable" } else { "unusable" };
    // Without KVM its node is one without the device, as [`verdict`] says.
    let device = if kvm { "true" } else { "false" };
    let runs = format!("{}{architecture}", labels::VM_ARCHITECTURE_PREFIX);
    let told = [
        (labels::SCHEDULABLE, "true"),
        (labels::ARCHITECTURE, architecture.as_str()),
        (labels::HARDWARE_VIRTUALIZATION, usable),
        (labels::KVM_DEVICE, device),
        (runs.as_str(), "true"),
    ];
    let told: BTreeMap<String, String> = told
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    if nodes.get_opt(NAME).await?.is_none() {
        let mut node = Node::default();
        node.metadata.name = Some(NAME.to_owned());
        node.metadata.labels = Some(told);
        nodes.create(&PostParams::default(), &node).await?;
    } else {
        let patch = Patch::Merge(json!({ "metadata": { "labels": told } }));
        nodes.patch(NAME, &PatchParams::default(), &patch).await?;
    }
    let patch = Patch::Merge(json!({ "status": status }));
    nodes
        .patch_status(NAME, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// What a watch told.
enum Told {
    Pod(Box<Event<Pod>>),
    Instance(Box<Event<VirtualMachineInstance>>),
    Machine,
}

impl Agent {
    pub(crate) fn new(client: Client, world: World, clock: Arc<Clock>, plant: Plant) -> Self {
        Self {
            client,
            world,
            clock,
            plant,
            pods: BTreeMap::new(),
            instances: BTreeMap::new(),
            started: Vec::new(),
        }
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        let pods = watcher(Api::<Pod>::all(self.client.clone()), Config::default());
        let pods = pods
            .default_backoff()
            .filter_map(async |event| event.ok().map(|it| Told::Pod(Box::new(it))));
        let instances = Api::<VirtualMachineInstance>::all(self.client.clone());
        let instances = watcher(instances, Config::default())
            .default_backoff()
            .filter_map(async |event| event.ok().map(|it| Told::Instance(Box::new(it))));
        let changed = Arc::clone(&self.world.changed);
        let machines = futures::stream::unfold(changed, |changed| async {
            changed.notified().await;
            Some((Told::Machine, changed))
        });
        let mut told =
            futures::stream::select_all([pods.boxed(), instances.boxed(), machines.boxed()]);
        let mut ready = (false, false);
        let mut failed = false;
        loop {
            let next = if failed {
                // Bounded by the first write that works.
                tokio::time::timeout(RETRY, told.next())
                    .await
                    .ok()
                    .flatten()
            } else {
                told.next().await
            };
            let mut next = next;
            while let Some(event) = next {
                self.take(event, &mut ready);
                next = told.next().now_or_never().flatten();
            }
            // Before everything was told once, a pod that is not told is not one that is gone.
            failed = ready == (true, true) && self.pass().await.is_err();
        }
    }

    fn take(&mut self, told: Told, ready: &mut (bool, bool)) {
        match told {
            Told::Pod(event) => ready.0 = take(&mut self.pods, *event, ready.0),
            Told::Instance(event) => {
                if self.plant == Plant::EndsGuestsOnRestart && matches!(*event, Event::InitDone) {
                    for uid in self.world.machines().keys() {
                        self.world.stop(uid);
                    }
                }
                ready.1 = take(&mut self.instances, *event, ready.1);
            }
            Told::Machine => {}
        }
    }

    /// Does one step for every machine.
    async fn pass(&mut self) -> kube::Result<()> {
        let ours = |pod: &&Pod| {
            let spec = pod.spec.as_ref();
            spec.and_then(|spec| spec.node_name.as_deref()) == Some(NAME)
        };
        let pods: Vec<Pod> = self.pods.values().filter(ours).cloned().collect();
        let mut machines: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
        for uid in self.world.machines().into_keys() {
            machines.entry(uid).or_default();
        }
        for pod in pods {
            if let Some(uid) = pod.labels().get(labels::CREATED_BY) {
                machines.entry(uid.clone()).or_default().push(pod);
            }
        }
        let mut result = Ok(());
        for (uid, pods) in machines {
            let machine = self.world.machine(&uid);
            let mut own = None;
            for pod in pods {
                let is_its = machine
                    .as_ref()
                    .is_none_or(|it| Some(&it.pod_uid) == pod.metadata.uid.as_ref());
                if own.is_none() && is_its {
                    own = Some(pod);
                } else if pod.metadata.deletion_timestamp.is_some() {
                    result = result.and(self.delete_pod(&pod).await);
                }
            }
            result = result.and(self.step(&uid, own.as_ref(), machine).await);
        }
        result
    }

    async fn step(
        &mut self,
        uid: &str,
        pod: Option<&Pod>,
        machine: Option<Machine>,
    ) -> kube::Result<()> {
        let instance = self.instances.get(uid).cloned();
        let (pod, machine) = match (pod, machine) {
            (None, None) => return Ok(()),
            (None, Some(machine)) => return self.without_pod(uid, &machine).await,
            (Some(pod), None) if is_going(pod) => return self.delete_pod(pod).await,
            (Some(pod), None) => {
                let wanted = instance.as_ref().is_some_and(|it| !is_stopped(it));
                if wanted && !is_over(pod) {
                    let name = instance
                        .as_ref()
                        .map(|it| it.name_any())
                        .unwrap_or_default();
                    let pod_uid = pod.uid().unwrap_or_default();
                    self.world.launch(uid, &name, &pod.name_any(), &pod_uid);
                }
                match self.world.machine(uid) {
                    Some(machine) => (pod, machine),
                    None => return Ok(()),
                }
            }
            (Some(pod), Some(machine)) => (pod, machine),
        };
        self.tell_instance(uid, instance.as_ref(), &machine).await?;
        self.tell_pod(pod, &machine).await?;
        let must_stop = is_going(pod) || is_over(pod) || instance.as_ref().is_none_or(is_stopped);
        match machine.state {
            State::Idle | State::Running if must_stop => {
                if self.plant == Plant::LeaksMachines && is_going(pod) {
                    return self.delete_pod(pod).await;
                }
                self.world.stop(uid);
            }
            State::Idle if self.world.is_slow(&machine.vm) => {}
            State::Idle => self.start(uid, instance.as_ref()).await?,
            State::Running => {
                if self.plant == Plant::StartsTwice && !self.started.contains(&uid.to_owned()) {
                    self.start(uid, instance.as_ref()).await?;
                }
            }
            State::Ended(_) if is_going(pod) => {
                self.world.forget(uid);
                self.delete_pod(pod).await?;
            }
            State::Ended(_) => {}
        }
        Ok(())
    }

    /// The pod is gone, so nothing may be left; the watch's word is checked first.
    async fn without_pod(&self, uid: &str, machine: &Machine) -> kube::Result<()> {
        if self.plant == Plant::LeaksMachines {
            return Ok(());
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), crate::cluster::NAMESPACE);
        let found = pods.get_opt(&machine.pod).await?;
        if found.is_some_and(|it| it.uid().as_ref() == Some(&machine.pod_uid)) {
            return Ok(());
        }
        match machine.state {
            State::Idle | State::Running => self.world.stop(uid),
            State::Ended(_) => self.world.forget(uid),
        }
        Ok(())
    }

    /// Starts the guest, or refuses to, by what the node knows of itself now.
    async fn start(
        &mut self,
        uid: &str,
        instance: Option<&VirtualMachineInstance>,
    ) -> kube::Result<()> {
        let Some(instance) = instance.filter(|it| is_ours(it)) else {
            return Ok(());
        };
        if phase(instance) != Phase::Scheduled && self.plant != Plant::StartsTwice {
            return Ok(());
        }
        let cap_changes = self.world.cap_changes();
        let node = Api::<Node>::all(self.client.clone()).get(NAME).await?;
        let mut facts = NodeFacts::of(&node);
        // What it says of itself may be older than what it knows.
        facts.verdict = verdict(self.world.usable());
        if self.plant == Plant::IgnoresCap {
            facts.cap = None;
        }
        let policy = EffectivePolicy::of_annotations(instance.annotations()).unwrap_or_default();
        let forced = accelerator::forced(instance.annotations()).unwrap_or_default();
        match accelerator::resolve(&policy, forced, &facts.architecture, &facts) {
            Ok(decision) => {
                self.started.push(uid.to_owned());
                let accelerator = decision.accelerator.to_string();
                self.world.start(uid, &accelerator, cap_changes);
            }
            Err(_) => self.world.refuse(uid),
        }
        Ok(())
    }

    /// Writes the VMI's status, if it does not say what is.
    async fn tell_instance(
        &self,
        uid: &str,
        instance: Option<&VirtualMachineInstance>,
        machine: &Machine,
    ) -> kube::Result<()> {
        let Some(instance) = instance.filter(|it| is_ours(it) && !phase(it).is_final()) else {
            return Ok(());
        };
        let state = match machine.state {
            State::Idle
                if self.plant == Plant::ClaimsTooEarly && phase(instance) == Phase::Scheduled =>
            {
                State::Running
            }
            state => state,
        };
        let next = match state {
            State::Idle => return Ok(()),
            State::Running => Phase::Running,
            State::Ended(End::ShutDown | End::NeverStarted) => Phase::Succeeded,
            State::Ended(End::Killed | End::Crashed | End::StartFailed) => Phase::Failed,
        };
        if phase(instance) == next && self.plant != Plant::NeverQuiet {
            return Ok(());
        }
        let now = self.clock.now();
        let mut status = instance.status.clone().unwrap_or_default();
        status.phase = Some(next);
        let mut status = serde_json::to_value(&status).map_err(kube::Error::SerdeError)?;
        if let Some(history) = status["phaseTransitionTimestamps"].as_array_mut()
            && phase(instance) != next
        {
            history.push(json!({ "phase": next, "phaseTransitionTimestamp": now.to_string() }));
        }
        if next == Phase::Running {
            let accelerator = self.world.ran(uid).unwrap_or_else(|| "KVM".to_owned());
            status["accelerator"] = json!({ "type": accelerator });
            let address = "127.64.0.1";
            status["interfaces"] =
                json!([{ "name": "default", "ipAddress": address, "mac": "02:00:00:00:00:01" }]);
        }
        if self.plant == Plant::NeverQuiet {
            status["guestOSInfo"] = json!({ "id": instance.resource_version() });
        }
        let patch = json!({
            "metadata": { "resourceVersion": instance.resource_version() }, "status": status,
        });
        let instances: Api<VirtualMachineInstance> =
            Api::namespaced(self.client.clone(), crate::cluster::NAMESPACE);
        let name = instance.name_any();
        let patched = instances
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        gone_is_fine(patched)
    }

    /// Writes the pod's status, if it does not say what is.
    async fn tell_pod(&self, pod: &Pod, machine: &Machine) -> kube::Result<()> {
        let (next, ready) = match machine.state {
            State::Idle | State::Running => ("Running", "True"),
            State::Ended(End::ShutDown | End::NeverStarted) => ("Succeeded", "False"),
            State::Ended(End::Killed | End::Crashed | End::StartFailed) => ("Failed", "False"),
        };
        let before = pod.status.as_ref().and_then(|it| it.phase.as_deref());
        if before == Some(next) || is_over(pod) {
            return Ok(());
        }
        let now = self.clock.now().to_string();
        let condition = |type_: &str| -> Value {
            json!({ "type": type_, "status": ready, "lastTransitionTime": now })
        };
        let patch = json!({
            "metadata": { "uid": pod.uid(), "resourceVersion": pod.resource_version() },
            "status": { "phase": next, "podIP": "127.64.0.1",
                "conditions": [condition("ContainersReady"), condition("Ready")] },
        });
        let name = pod.name_any();
        let patched = self
            .pods(pod)
            .patch_status(&name, &PatchParams::default(), &Patch::Strategic(&patch))
            .await;
        gone_is_fine(patched)
    }

    async fn delete_pod(&self, pod: &Pod) -> kube::Result<()> {
        let this = Preconditions {
            uid: pod.uid(),
            resource_version: None,
        };
        let now = DeleteParams::default().grace_period(0).preconditions(this);
        gone_is_fine(self.pods(pod).delete(&pod.name_any(), &now).await)
    }

    fn pods(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default())
    }
}

/// Takes an event into a cache, and says whether the cache holds everything; `ready`: it did before.
fn take<K: kube::Resource>(cache: &mut BTreeMap<String, K>, event: Event<K>, ready: bool) -> bool {
    match event {
        Event::Init => {
            cache.clear();
            return false;
        }
        Event::InitApply(object) | Event::Apply(object) => {
            cache.insert(object.uid().unwrap_or_default(), object);
        }
        Event::Delete(object) => {
            cache.remove(&object.uid().unwrap_or_default());
        }
        Event::InitDone => return true,
    }
    ready
}

fn gone_is_fine<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}

fn phase(instance: &VirtualMachineInstance) -> Phase {
    let status = instance.status.as_ref();
    status.and_then(|it| it.phase).unwrap_or(Phase::Pending)
}

fn is_ours(instance: &VirtualMachineInstance) -> bool {
    let status = instance.status.as_ref();
    status.and_then(|it| it.node_name.as_deref()) == Some(NAME)
}

fn is_stopped(instance: &VirtualMachineInstance) -> bool {
    instance.metadata.deletion_timestamp.is_some() || phase(instance).is_final()
}

fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
