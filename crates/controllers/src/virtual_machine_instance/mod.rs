//! Gives every virtual machine instance its launcher pod, and the instance to its node: VMIs, pods and
//! the cluster's configuration in; pods, and the VMIs' phases and conditions, out.
//!
//! From `Scheduled` on the phase belongs to the node; see [`decide`] for the picture. A pod that waits
//! for a node is made anew when the emulation policy changes, wherever it is written, so that a machine
//! that could not start starts without anybody touching it; running guests are only told about.
//!
//! ```text
//! configuration in force ┐
//! spec.emulationPolicy   ├► effective policy ► placement ► pod        (made anew while it waits)
//! Namespace, label       ┘        │
//! Node, label and verdict ────────┴► AcceleratorAvailable, AcceleratorOutdated, EmulationIsolation
//! all nodes and pods ► elsewhere ────────────────────────────────┘
//! ```

#[cfg(test)]
mod accelerator_tests;
mod decide;
mod elsewhere;
#[cfg(test)]
mod elsewhere_tests;
mod neighbours;
mod nodes;
mod observe;
mod perform;
mod placement;
mod pod;
mod status;
#[cfg(test)]
mod tests;

pub use pod::{Launcher, Standing, render, standing};
pub use status::ACCELERATOR_AVAILABLE;

use crate::Settings;
use crate::engine::{Engine, Next, Presence};
use crate::event::Recorder;
use crate::kubevirt::Reader;
use crate::queue::Key;
use api::accelerator::{self, Cap, EffectivePolicy, Isolation, Scope, Tenant};
use api::configuration::ClusterConfiguration;
use api::names::components::VIRTUAL_MACHINE_CONTROLLER;
use api::virtual_machine_instance::VirtualMachineInstance;
use decide::{Seen, decide};
use elsewhere::Elsewhere;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::ListParams;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt as _};
use neighbours::Neighbours;
use nodes::Register;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs until cancelled. Nothing is done before the cluster's configuration is known.
pub async fn run(client: Client, settings: Settings, cluster: Reader, cancel: CancellationToken) {
    let mut engine = Engine::new("virtual_machine_instance");
    let clock = settings.clock.clone();
    let (recorder, record) = Recorder::new(client.clone(), VIRTUAL_MACHINE_CONTROLLER, clock);
    engine.beside(record);
    let (nodes, neighbours) = (Register::default(), Neighbours::default());
    let elsewhere = Elsewhere::default();
    let vmis = Api::<VirtualMachineInstance>::all(client.clone());
    let (around, doubt) = (neighbours.clone(), elsewhere.clone());
    let vmis = engine.watch_told(
        vmis,
        Config::default(),
        Presence::Required,
        move |vmi, stands| {
            doubt.doubt();
            let mut keys = around.take(vmi, stands);
            keys.push(Key::of(vmi));
            keys
        },
    );
    let pods = Api::<Pod>::all(client.clone());
    let doubt = elsewhere.clone();
    let pods = engine.watch(pods, Config::default(), Presence::Required, move |pod| {
        doubt.doubt();
        let namespace = pod.namespace().unwrap_or_default();
        observe::owner_name(pod)
            .map(|name| Key::new(&namespace, name))
            .into_iter()
            .collect()
    });
    let every = watch_nodes(&mut engine, &client, &nodes, &vmis, &elsewhere);
    let namespaces = watch_namespaces(&mut engine, &client, &neighbours, &vmis, &elsewhere);
    let (all, doubt) = (vmis.clone(), elsewhere.clone());
    engine.trigger(cluster.changes(), move || {
        doubt.doubt();
        all.state().iter().map(|vmi| Key::of(&**vmi)).collect()
    });
    engine.wait_for(cluster.clone().known());
    let answers = elsewhere.clone();
    engine.trigger(elsewhere.changes(), move || answers.changed());
    engine.beside(elsewhere.clone().keep(elsewhere::Around {
        nodes: every,
        pods: pods.clone(),
        vmis: vmis.clone(),
        namespaces: namespaces.clone(),
        cluster: cluster.clone(),
        launcher: settings.launcher.clone(),
    }));
    let instances = Arc::new(Instances {
        client,
        settings,
        recorder,
        vmis,
        pods,
        namespaces,
        nodes,
        neighbours,
        elsewhere,
        cluster,
    });
    engine
        .run(cancel, move |key| look(Arc::clone(&instances), key))
        .await;
}

/// Looks at the VMIs that a node's accelerators concern: those that run there, and those that wait,
/// which are told why no node suits them.
fn watch_nodes(
    engine: &mut Engine,
    client: &Client,
    register: &Register,
    vmis: &Store<VirtualMachineInstance>,
    elsewhere: &Elsewhere,
) -> Store<Node> {
    let (register, vmis, elsewhere) = (register.clone(), vmis.clone(), elsewhere.clone());
    engine.watch_told(
        Api::<Node>::all(client.clone()),
        Config::default(),
        Presence::Required,
        move |node, stands| {
            elsewhere.doubt();
            if !register.take(node, stands) {
                return Vec::new();
            }
            let name = node.name_any();
            let told = |vmi: &_| node_name(vmi).is_none_or(|there| there == name);
            let told = vmis.state_filter(told);
            told.iter().map(|vmi| Key::of(&**vmi)).collect()
        },
    )
}

/// Looks at the VMIs that a namespace's labels concern: its own, and all emulated ones, which may
/// share a node with them.
fn watch_namespaces(
    engine: &mut Engine,
    client: &Client,
    neighbours: &Neighbours,
    vmis: &Store<VirtualMachineInstance>,
    elsewhere: &Elsewhere,
) -> Store<Namespace> {
    let (neighbours, vmis, elsewhere) = (neighbours.clone(), vmis.clone(), elsewhere.clone());
    engine.watch(
        Api::<Namespace>::all(client.clone()),
        Config::default(),
        Presence::Required,
        move |namespace| {
            elsewhere.doubt();
            let name = namespace.metadata.name.as_deref();
            let own = vmis.state_filter(|vmi| vmi.metadata.namespace.as_deref() == name);
            let own = own.iter().map(|vmi| Key::of(&**vmi));
            own.chain(neighbours.all()).collect()
        },
    )
}

/// What this controller knows.
struct Instances {
    client: Client,
    settings: Settings,
    recorder: Recorder,
    vmis: Store<VirtualMachineInstance>,
    pods: Store<Pod>,
    namespaces: Store<Namespace>,
    nodes: Register,
    neighbours: Neighbours,
    elsewhere: Elsewhere,
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
    let mut namespace = instances.namespaces.get(&ObjectRef::new(&key.namespace));
    if pods.is_empty() {
        // A pod that was created a moment ago may not be in the cache yet; acting as if there were
        // none would create a second one.
        pods = listed(&instances.client, &vmi).await?;
        if pods.is_empty() {
            // A cap that was set before the VMI was created must hold for it, seen or not.
            let namespaces = Api::<Namespace>::all(instances.client.clone());
            namespace = namespaces.get_opt(&key.namespace).await?.map(Arc::new);
        }
    }
    // The cache has no order of its own; what is done shall have one.
    pods.sort_by_key(|pod| pod.name_any());
    let policy = policy(&vmi, &cluster, namespace.as_deref());
    let nodes = instances.nodes.now();
    let refusal = match node_name(&vmi) {
        Some(_) => None,
        None => nodes::refusal(&vmi, &cluster, &policy, &nodes),
    };
    let isolation = instances.isolation(&vmi, &cluster);
    let elsewhere = instances.elsewhere.of(&vmi);
    let seen = Seen {
        vmi: &vmi,
        pods: &pods,
        cluster: &cluster,
        policy: &policy,
        launcher: &instances.settings.launcher,
        node: node_name(&vmi).and_then(|name| Some(&nodes.get(name)?.facts)),
        refusal: refusal.as_ref(),
        isolation: isolation.as_ref(),
        elsewhere: &elsewhere,
    };
    let decision = decide(&seen, instances.settings.clock.now());
    perform::perform(&instances, &vmi, &decision).await?;
    Ok(decision.next)
}

/// The policy in force for an instance: the cluster's or its own, capped by its namespace.
fn policy(
    vmi: &VirtualMachineInstance,
    cluster: &ClusterConfiguration,
    namespace: Option<&Namespace>,
) -> EffectivePolicy {
    let name = vmi.metadata.namespace.as_deref().unwrap_or_default();
    let labels = namespace.and_then(|it| it.metadata.labels.as_ref());
    let cap = labels.and_then(|labels| Cap::of_labels(Scope::Namespace, name, labels));
    accelerator::effective(&cluster.emulation, vmi.own_emulation_policy(), cap.as_ref())
}

impl Instances {
    /// How an emulated guest stands to the others on its node; none of one that is not emulated.
    fn isolation(
        &self,
        vmi: &VirtualMachineInstance,
        cluster: &ClusterConfiguration,
    ) -> Option<Isolation> {
        let node = neighbours::emulated_on(vmi)?;
        let tenant = |namespace: &str| {
            let object = self.namespaces.get(&ObjectRef::new(namespace));
            let labels = object.and_then(|it| it.metadata.labels.clone());
            Tenant {
                namespace: namespace.to_owned(),
                tenancy: accelerator::tenancy(
                    &cluster.tenancy,
                    namespace,
                    &labels.unwrap_or_default(),
                ),
            }
        };
        let owner = tenant(vmi.metadata.namespace.as_deref().unwrap_or_default());
        let there = self.neighbours.namespaces(&node);
        let others: Vec<Tenant> = there.iter().map(|it| tenant(it)).collect();
        Some(accelerator::isolation(&owner, &others))
    }
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

fn node_name(vmi: &VirtualMachineInstance) -> Option<&str> {
    vmi.status.as_ref()?.node_name.as_deref()
}
