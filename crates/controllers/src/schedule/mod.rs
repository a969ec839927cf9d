//! Finds a node for every pod that has none: pods and nodes in, bindings out, or the reason why not
//! in kube-scheduler's words.
//!
//! ```text
//! Pod without spec.nodeName ──fits──────────► POST pods/NAME/binding, event Scheduled
//!            │ ▲
//!  fits none │ └── any node or pod changed
//!            └────────────────────────────► condition PodScheduled=False, event FailedScheduling
//! ```
//! Served: cordons, node readiness, taints, node selectors, node affinity (required and preferred),
//! cpu, memory, devices and the number of pods. A pod with required pod (anti-)affinity, a strict
//! topology spread or resource claims is told that these are not served. On a cluster this module is
//! not run: its scheduler does the work.

mod decide;
mod fit;
mod memory;
mod perform;
mod requirements;
mod resources;
mod site;
#[cfg(test)]
mod tests;

pub use decide::{Cluster, Placement, SCHEDULER_NAME, Shape};

use crate::Settings;
use crate::engine::{Engine, Next, Presence};
use crate::event::Recorder;
use crate::queue::Key;
use decide::{waiting, wants_a_node};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::reflector::Store;
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt as _};
use memory::Memory;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Binds pods until cancelled.
pub async fn run(client: Client, settings: Settings, cancel: CancellationToken) {
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
    let scheduler = Arc::new(Scheduler {
        client,
        settings,
        recorder,
        pods,
        nodes,
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
    pods: Store<Pod>,
    nodes: Store<Node>,
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
        memory.refresh(&nodes, &pods, &assumed);
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

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
