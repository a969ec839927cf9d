//! Gives every virtual machine instance its launcher pod, and the instance to its node: VMIs, pods and
//! the cluster's configuration in; pods, and the VMIs' phases and conditions, out.
//!
//! From `Scheduled` on the phase belongs to the node; see [`decide`] for the picture. A pod that waits
//! for a node is made anew when the emulation policy changes, so that a machine that could not start
//! starts without anybody touching it; running guests are only told about.

mod decide;
mod observe;
mod perform;
mod pod;
mod status;
#[cfg(test)]
mod tests;

pub use pod::Launcher;
pub use status::{ACCELERATOR_AVAILABLE, ACCELERATOR_OUTDATED};

use crate::Settings;
use crate::engine::{Engine, Next, Presence};
use crate::event::Recorder;
use crate::kubevirt::Reader;
use crate::queue::Key;
use api::accelerator::{self, NodeFacts, Refusal};
use api::configuration::ClusterConfiguration;
use api::names::components::VIRTUAL_MACHINE_CONTROLLER;
use api::virtual_machine_instance::VirtualMachineInstance;
use decide::{Seen, decide};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt as _};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs until cancelled. Nothing is done before the cluster's configuration is known.
pub async fn run(client: Client, settings: Settings, cluster: Reader, cancel: CancellationToken) {
    let mut engine = Engine::new("virtual_machine_instance");
    let clock = settings.clock.clone();
    let (recorder, record) = Recorder::new(client.clone(), VIRTUAL_MACHINE_CONTROLLER, clock);
    engine.beside(record);
    let vmis = Api::<VirtualMachineInstance>::all(client.clone());
    let vmis = engine.watch(vmis, Config::default(), Presence::Required, |vmi| {
        vec![Key::of(vmi)]
    });
    let pods = Api::<Pod>::all(client.clone());
    let pods = engine.watch(pods, Config::default(), Presence::Required, |pod| {
        let namespace = pod.namespace().unwrap_or_default();
        observe::owner_name(pod)
            .map(|name| Key::new(&namespace, name))
            .into_iter()
            .collect()
    });
    let all = vmis.clone();
    let nodes = Api::<Node>::all(client.clone());
    let nodes = engine.watch(
        nodes,
        Config::default(),
        Presence::Required,
        move |node: &Node| {
            let name = node.name_any();
            // Those that have no node yet are told why this one does not suit them.
            let told = |vmi: &_| node_name(vmi).is_none_or(|there| there == name);
            all.state_filter(told)
                .iter()
                .map(|vmi| Key::of(&**vmi))
                .collect()
        },
    );
    let all = vmis.clone();
    engine.trigger(cluster.changes(), move || {
        all.state().iter().map(|vmi| Key::of(&**vmi)).collect()
    });
    engine.wait_for(cluster.clone().known());
    let instances = Arc::new(Instances {
        client,
        settings,
        recorder,
        vmis,
        pods,
        nodes,
        cluster,
    });
    engine
        .run(cancel, move |key| look(Arc::clone(&instances), key))
        .await;
}

/// What this controller knows.
struct Instances {
    client: Client,
    settings: Settings,
    recorder: Recorder,
    vmis: Store<VirtualMachineInstance>,
    pods: Store<Pod>,
    nodes: Store<Node>,
    cluster: Reader,
}

async fn look(instances: Arc<Instances>, key: Key) -> kube::Result<Next> {
    let vmi = instances
        .vmis
        .get(&ObjectRef::new(&key.name).within(&key.namespace));
    let (Some(vmi), Some(cluster)) = (vmi, instances.cluster.current()) else {
        return Ok(Next::OnChange);
    };
    let mut pods = instances.pods.state_filter(|pod| {
        pod.metadata.namespace == vmi.metadata.namespace && observe::controls(&vmi, pod)
    });
    if pods.is_empty() {
        // A pod that was created a moment ago may not be in the cache yet; acting as if there were
        // none would create a second one.
        pods = listed(&instances.client, &vmi).await?;
    }
    // The cache has no order of its own; what is done shall have one.
    pods.sort_by_key(|pod| pod.name_any());
    let node = node_name(&vmi).and_then(|name| instances.nodes.get(&ObjectRef::new(name)));
    let node = node.map(|node| NodeFacts::of(&node));
    let refusal = match node_name(&vmi) {
        Some(_) => None,
        None => refusal(&vmi, &cluster, &instances.nodes.state()),
    };
    let seen = Seen {
        vmi: &vmi,
        pods: &pods,
        cluster: &cluster,
        launcher: &instances.settings.launcher,
        node: node.as_ref(),
        refusal: refusal.as_ref(),
    };
    let decision = decide(&seen, instances.settings.clock.now());
    perform::perform(&instances, &vmi, &decision).await?;
    Ok(decision.next)
}

/// The VMI's pods as the API server has them now.
async fn listed(client: &Client, vmi: &VirtualMachineInstance) -> kube::Result<Vec<Arc<Pod>>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &vmi.namespace().unwrap_or_default());
    let list = pods
        .list(&ListParams::default().labels(&observe::selector(vmi)))
        .await?;
    let owned = list
        .items
        .into_iter()
        .filter(|pod| observe::controls(vmi, pod));
    Ok(owned.map(Arc::new).collect())
}

/// Why no node has an accelerator for `vmi` that works and is permitted; none if one has, or if there
/// are no nodes to ask.
fn refusal(
    vmi: &VirtualMachineInstance,
    cluster: &ClusterConfiguration,
    nodes: &[Arc<Node>],
) -> Option<Refusal> {
    // An annotation nobody understands is told when the pod is made.
    let forced = accelerator::forced(vmi.annotations()).unwrap_or_default();
    let mut nodes: Vec<&Arc<Node>> = nodes.iter().collect();
    nodes.sort_by_key(|node| node.name_any());
    let policy = pod::policy(vmi, cluster);
    let architecture = pod::architecture(vmi, cluster);
    let ask = |node: &&Arc<Node>| {
        accelerator::resolve(&policy, forced, architecture, &NodeFacts::of(node)).err()
    };
    let refusals: Option<Vec<Refusal>> = nodes.iter().map(ask).collect();
    refusals?.into_iter().next()
}

fn node_name(vmi: &VirtualMachineInstance) -> Option<&str> {
    vmi.status.as_ref()?.node_name.as_deref()
}
