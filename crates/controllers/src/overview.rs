//! All objects that tell how the cluster stands, kept by watches for those who ask at any moment and do
//! not wait: admission and metrics.

use crate::metrics::{Used, View};
use api::configuration::ClusterConfiguration;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use api::warm_start::WarmStartTemplate;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::runtime::reflector::{self, Lookup, Store, store::Writer};
use kube::runtime::{WatchStreamExt as _, watcher, watcher::Config};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The objects as they were last seen; empty before [`Feed::run`] has seen them.
#[derive(Clone, Debug)]
pub struct Overview {
    machines: Store<VirtualMachine>,
    instances: Store<VirtualMachineInstance>,
    nodes: Store<Node>,
    namespaces: Store<Namespace>,
    templates: Store<WarmStartTemplate>,
}

/// What keeps an [`Overview`] up to date.
pub struct Feed {
    machines: Writer<VirtualMachine>,
    instances: Writer<VirtualMachineInstance>,
    nodes: Writer<Node>,
    namespaces: Writer<Namespace>,
    templates: Writer<WarmStartTemplate>,
}

impl Debug for Feed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Feed").finish_non_exhaustive()
    }
}

/// An overview, empty yet, and what fills it.
pub fn overview() -> (Overview, Feed) {
    let (machines, machines_writer) = reflector::store();
    let (instances, instances_writer) = reflector::store();
    let (nodes, nodes_writer) = reflector::store();
    let (namespaces, namespaces_writer) = reflector::store();
    let (templates, templates_writer) = reflector::store();
    let overview = Overview {
        machines,
        instances,
        nodes,
        namespaces,
        templates,
    };
    let feed = Feed {
        machines: machines_writer,
        instances: instances_writer,
        nodes: nodes_writer,
        namespaces: namespaces_writer,
        templates: templates_writer,
    };
    (overview, feed)
}

impl Overview {
    /// All instances, in no order.
    pub fn instances(&self) -> Vec<Arc<VirtualMachineInstance>> {
        self.instances.state()
    }

    /// All nodes, in no order.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.state()
    }

    /// What metrics are read off, with the configuration in force and what guests have used.
    pub fn view(&self, configuration: Option<Arc<ClusterConfiguration>>, used: Vec<Used>) -> View {
        View {
            configuration,
            machines: self.machines.state(),
            instances: self.instances(),
            nodes: self.nodes(),
            templates: self.templates.state(),
            used,
        }
    }

    /// All namespaces, in no order.
    pub fn namespaces(&self) -> Vec<Arc<Namespace>> {
        self.namespaces.state()
    }

    /// Waits until everything was seen once. Never ends if its feed is gone before.
    pub async fn known(&self) {
        let seen = futures::join!(
            self.machines.wait_until_ready(),
            self.instances.wait_until_ready(),
            self.nodes.wait_until_ready(),
            self.namespaces.wait_until_ready(),
            self.templates.wait_until_ready(),
        );
        if [seen.0, seen.1, seen.2, seen.3, seen.4]
            .iter()
            .any(Result::is_err)
        {
            std::future::pending::<()>().await;
        }
    }
}

impl Feed {
    /// Keeps the overview up to date until cancelled.
    pub async fn run(self, client: Client, cancel: CancellationToken) {
        let all = async {
            futures::join!(
                keep(Api::all(client.clone()), self.machines),
                keep(Api::all(client.clone()), self.instances),
                keep(Api::all(client.clone()), self.nodes),
                keep(Api::all(client.clone()), self.namespaces),
                keep(Api::all(client.clone()), self.templates),
            )
        };
        cancel.run_until_cancelled(all).await;
    }
}

async fn keep<K>(api: Api<K>, writer: Writer<K>)
where
    K: kube::Resource<DynamicType = ()> + Lookup<DynamicType = ()>,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    <K as Lookup>::DynamicType: Hash,
{
    let events = watcher(api, Config::default()).default_backoff();
    reflector::reflector(writer, events)
        .for_each(|event| {
            if let Err(error) = event {
                tracing::debug!(%error, "a watch of the overview begins anew");
            }
            futures::future::ready(())
        })
        .await;
}
