//! Finds a node for every pod that has none: pods and nodes in, bindings out, or the reason why not
//! in kube-scheduler's words.
//!
//! ```text
//! Pod without spec.nodeName ──fits──────────► POST pods/NAME/binding, event Scheduled
//!            │ ▲
//!  fits none │ └── a node, a pod, a namespace's label or the configuration changed
//!            └────────────────────────────► condition PodScheduled=False, event FailedScheduling
//! ```
//! Served: cordons, node readiness, taints, node selectors, node affinity (required and preferred),
//! cpu, memory, devices and the number of pods. Of launcher pods also: a guest that may be emulated goes
//! where hardware runs it, if there is room; where none does, to the node with the fewest emulated
//! processors per core, within a bound; and not to guests of other owners, where that is forbidden. A pod with required pod (anti-)affinity, a strict
//! topology spread or resource claims is told that these are not served. On a cluster this module is
//! not run: its scheduler does the work.

mod decide;
mod fit;
mod guest;
#[cfg(test)]
mod guest_tests;
mod memory;
mod outlook;
mod perform;
mod requirements;
mod resources;
mod site;
#[cfg(test)]
mod tests;

pub use decide::{Cluster, Placement, SCHEDULER_NAME, SHARED, Shape};
pub use guest::Rules;
pub(crate) use outlook::Outlook;

use crate::Settings;
use crate::engine::{Engine, Next, Presence};
use crate::event::Recorder;
use crate::kubevirt::Reader;
use crate::queue::Key;
use api::accelerator::Accelerator;
use api::configuration::ClusterConfiguration;
use api::virtual_machine_instance::VirtualMachineInstance;
use decide::{waiting, wants_a_node};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt as _};
use memory::Memory;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Binds pods until cancelled. Nothing is bound before the cluster's configuration is known.
pub async fn run(
    client: Client,
    settings: Settings,
    configuration: Reader,
    cancel: CancellationToken,
) {
    let mut engine = Engine::new("schedule");
    // One look places every pod that waits: they compete for the same room.
    let everything = || vec![Key::new("", "pods")];
    let (recorder, record) = Recorder::new(client.clone(), SCHEDULER_NAME, settings.clock.clone());
    engine.beside(record);
    let pods = Api::<Pod>::all(client.clone());
    let pods = engine.watch(pods, Config::default(), Presence::Required, move |_| {
        everything()
    });
    let nodes = Api::<Node>::all(client.clone());
    let nodes = engine.watch(nodes, Config::default(), Presence::Required, move |_| {
        everything()
    });
    let namespaces = Api::<Namespace>::all(client.clone());
    let namespaces = engine.watch(
        namespaces,
        Config::default(),
        Presence::Required,
        move |_| everything(),
    );
    let vmis = Api::<VirtualMachineInstance>::all(client.clone());
    // What runs a guest changes what may join it; an instance that goes takes its pod with it.
    let vmis = engine.watch(vmis, Config::default(), Presence::Required, move |vmi| {
        accelerator(vmi).map_or_else(Vec::new, |_| everything())
    });
    engine.trigger(configuration.changes(), everything);
    engine.wait_for(configuration.clone().known());
    let scheduler = Arc::new(Scheduler {
        client,
        settings,
        recorder,
        configuration,
        pods,
        nodes,
        namespaces,
        vmis,
        assumed: Mutex::default(),
        memory: Mutex::default(),
    });
    engine
        .run(cancel, move |_| place_all(Arc::clone(&scheduler)))
        .await;
}

/// What one scheduler knows.
struct Scheduler {
    client: Client,
    settings: Settings,
    recorder: Recorder,
    configuration: Reader,
    pods: Store<Pod>,
    nodes: Store<Node>,
    namespaces: Store<Namespace>,
    vmis: Store<VirtualMachineInstance>,
    /// The nodes of pods, by the pods' uids, whose binding is made but not yet seen.
    assumed: Mutex<BTreeMap<String, String>>,
    /// What the last look saw. A look takes it out while it works; one that is given up loses it,
    /// and the next reads everything again.
    memory: Mutex<Memory>,
}

/// Places every pod that waits. The error is the first there was; every pod had its turn.
async fn place_all(scheduler: Arc<Scheduler>) -> kube::Result<Next> {
    let pods = scheduler.pods.state();
    let mut assumed = locked(&scheduler.assumed).clone();
    let unseen: BTreeSet<&str> = pods
        .iter()
        .filter(|pod| wants_a_node(pod))
        .filter_map(|pod| pod.metadata.uid.as_deref())
        .collect();
    assumed.retain(|uid, _| unseen.contains(uid.as_str()));
    let mut failure = None;
    let waiting = waiting(&pods, &assumed);
    if !waiting.is_empty() {
        let nodes = scheduler.nodes.state();
        let mut memory = std::mem::take(&mut *locked(&scheduler.memory));
        memory.set_rules(scheduler.rules());
        memory.refresh(&nodes, &pods, &assumed, |pod| actual(&scheduler.vmis, pod));
        for pod in waiting {
            match memory.place(&pod) {
                Placement::Bind { node } => match perform::bind(&scheduler, &pod, &node).await {
                    Ok(()) => {
                        memory.take(&node, &pod);
                        assumed.insert(pod.uid().unwrap_or_default(), node);
                    }
                    Err(error) => failure = failure.or(Some(error)),
                },
                Placement::Wait { reason, message } => {
                    if let Err(error) = perform::wait(&scheduler, &pod, reason, &message).await {
                        failure = failure.or(Some(error));
                    }
                }
            }
        }
        *locked(&scheduler.memory) = memory;
    }
    *locked(&scheduler.assumed) = assumed;
    failure.map_or(Ok(Next::OnChange), Err)
}

impl Scheduler {
    /// The rules for emulated guests as they stand.
    fn rules(&self) -> Rules {
        let Some(configuration) = self.configuration.current() else {
            return Rules::default();
        };
        rules(&configuration, &self.namespaces)
    }
}

/// The rules for emulated guests under a configuration.
pub(crate) fn rules(configuration: &ClusterConfiguration, namespaces: &Store<Namespace>) -> Rules {
    let namespaces = namespaces.state();
    let labelled = namespaces.iter().filter_map(|namespace| {
        let metadata = &namespace.metadata;
        Some((metadata.name.as_deref()?, metadata.labels.as_ref()?))
    });
    Rules::of(configuration, labelled)
}

/// What runs the guest of a launcher pod, as its instance says.
pub(crate) fn actual(vmis: &Store<VirtualMachineInstance>, pod: &Pod) -> Option<Accelerator> {
    let owner = pod
        .owner_references()
        .iter()
        .find(|it| it.controller == Some(true))?;
    let namespace = pod.metadata.namespace.as_deref()?;
    let vmi = vmis.get(&ObjectRef::new(&owner.name).within(namespace))?;
    (vmi.metadata.uid.as_ref() == Some(&owner.uid)).then(|| accelerator(&vmi))?
}

/// What runs the guest of an instance; none before it runs.
pub(crate) fn accelerator(vmi: &VirtualMachineInstance) -> Option<Accelerator> {
    let status = vmi.status.as_ref()?.accelerator.as_ref()?;
    Accelerator::parse(&status.type_)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
