//! One machine's whole system, but for HTTPS.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use apiserver::{ApiServer, Extensions, User};
use controllers::kubevirt::Publisher;
use controllers::{CancellationToken, Settings, bootstrap};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::wait::await_condition;
use kube::{Client, Resource, ResourceExt as _};
use node::{AddressRange, Clock, NodeError, NodeHandle, NodeSettings};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use store::{Options, Store};
use tokio::task::JoinHandle;

/// Far above what anything here takes on a machine of which other tests have the rest.
const PATIENCE: Duration = Duration::from_secs(120);
const NAMESPACE: &str = "demo";
pub(crate) const NODE: &str = "here";
/// A port that is forwarded to each guest.
pub(crate) const PORT: u16 = 8022;

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) folder: tempfile::TempDir,
    stop: CancellationToken,
    agent: Option<(CancellationToken, JoinHandle<Result<(), NodeError>>)>,
    _others: Vec<ApiServer>,
    _server: ApiServer,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
        // Launchers and guests outlive us by design: a test that failed must not leave any.
        for machine in self.machines() {
            for lock in ["launcher.lock", "life.lock"] {
                for process in host::lock::openers(&machine.join(lock)).unwrap_or_default() {
                    let _ = process.signal(host::identity::Signal::Kill);
                }
            }
        }
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (server, client) = api(&folder.path().join("state")).await;
        let stop = CancellationToken::new();
        let controlling = controllers::run(
            client.clone(),
            Settings::default(),
            Publisher::default(),
            stop.clone(),
        );
        tokio::spawn(controlling);
        let mut world = Self {
            client,
            folder,
            stop,
            agent: None,
            _others: Vec::new(),
            _server: server,
        };
        world.start_agent();
        world
    }

    pub(crate) fn start_agent(&mut self) {
        let settings = NodeSettings {
            name: NODE.to_owned(),
            data_directory: self.folder.path().to_owned(),
            anyvirt_program: std::env::current_exe().expect("this program"),
            qemu_program: None,
            pod_addresses: AddressRange::default(),
            insecure_loopback_registries: true,
        };
        let stop = CancellationToken::new();
        let run = node::run(
            settings,
            self.client.clone(),
            Clock::default(),
            stop.clone(),
        );
        self.agent = Some((stop, tokio::spawn(run)));
    }

    /// Another API, which knows nothing of what is here, in place of ours. Returns ours.
    pub(crate) async fn replace_api(&mut self) -> Client {
        let (server, client) = api(&self.folder.path().join("other-state")).await;
        self._others.push(server);
        std::mem::replace(&mut self.client, client)
    }

    pub(crate) async fn stop_agent(&mut self) {
        let (stop, agent) = self.agent.take().expect("it runs");
        stop.cancel();
        agent.await.expect("no panic").expect("no error");
    }

    pub(crate) fn handle(&self) -> NodeHandle {
        NodeHandle::new(self.folder.path())
    }

    pub(crate) fn machines(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path().join("machines")).expect("readable");
        entries
            .map(|entry| entry.expect("readable").path())
            .collect()
    }

    pub(crate) async fn permit_emulation(&self) {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "openshift-cnv");
        let patch = json!({ "data": { "debug.useEmulation": "true" } });
        maps.patch(
            "kubevirt-config",
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await
        .expect("patched");
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// A VM with one disk of this image.
    pub(crate) async fn create(&self, name: &str, strategy: &str, image: &str, more: Value) {
        let mut vm = json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
            "metadata": { "name": name },
            "spec": { "runStrategy": strategy, "template": { "spec": {
                "terminationGracePeriodSeconds": 60,
                "architecture": "amd64",
                "domain": {
                    "memory": { "guest": "64Mi" },
                    "machine": { "type": "q35" },
                    "features": { "acpi": { "enabled": true } },
                    "firmware": { "uuid": "7a1d0a5e-3c7b-4f43-9c6f-1f6d0d5c2b11" },
                    "devices": {
                        "disks": [{ "name": "boot", "disk": { "bus": "virtio" } }],
                        "interfaces": [{
                            "name": "default", "masquerade": {}, "ports": [{ "port": PORT }],
                        }],
                    },
                },
                "networks": [{ "name": "default", "pod": {} }],
                "volumes": [{ "name": "boot", "containerDisk": { "image": image } }],
            } } },
        });
        if let (Some(spec), Value::Object(more)) =
            (vm["spec"]["template"]["spec"].as_object_mut(), more)
        {
            spec.extend(more);
        }
        let vm: VirtualMachine = serde_json::from_value(vm).expect("a VM");
        self.api::<VirtualMachine>()
            .create(&PostParams::default(), &vm)
            .await
            .expect("created");
    }

    pub(crate) async fn delete<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        self.api::<K>()
            .delete(name, &DeleteParams::default())
            .await
            .expect("deleted");
    }

    pub(crate) async fn wait<K>(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(Option<&K>) -> bool,
    ) -> Option<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + Send + DeserializeOwned + 'static,
    {
        let api: Api<K> = self.api();
        let waited = await_condition(api.clone(), name, move |object: Option<&K>| wanted(object));
        match tokio::time::timeout(PATIENCE, waited).await {
            Ok(found) => found.expect("watched"),
            Err(_) => panic!("{name} is not {what}: {:#?}", api.get_opt(name).await),
        }
    }

    pub(crate) async fn wait_phase(&self, name: &str, phase: &str) -> VirtualMachineInstance {
        let is = |vmi: Option<&VirtualMachineInstance>| {
            let status = vmi.and_then(|vmi| vmi.status.as_ref());
            status
                .and_then(|it| it.phase)
                .is_some_and(|it| it.to_string() == phase)
        };
        self.wait(name, phase, is).await.expect("it is there")
    }

    /// The launcher pod of a VM.
    pub(crate) async fn pod(&self, machine: &str) -> Pod {
        let pods = self
            .api::<Pod>()
            .list(&ListParams::default())
            .await
            .expect("listed");
        let prefix = format!("virt-launcher-{machine}-");
        pods.items
            .into_iter()
            .find(|pod| pod.name_any().starts_with(&prefix))
            .expect("a pod")
    }

    /// Waits until no machine has a folder.
    pub(crate) async fn wait_empty(&self) {
        let start = std::time::Instant::now();
        let mut changes = host::changes::Changes::of_entries(&self.folder.path().join("machines"))
            .expect("watched");
        while !self.machines().is_empty() {
            if start.elapsed() > PATIENCE {
                let all = ListParams::default();
                let vmis = self.api::<VirtualMachineInstance>().list(&all).await;
                let pods = self.api::<Pod>().list(&all).await;
                panic!("left: {:?}\n{vmis:#?}\n{pods:#?}", self.machines());
            }
            // Looked at again now and then, should a change have come between two looks.
            let _ = tokio::time::timeout(Duration::from_secs(1), changes.next()).await;
        }
    }
}

/// An API server with its store at `state`, set up.
async fn api(state: &Path) -> (ApiServer, Client) {
    let store = Store::open(state, Options::default()).expect("a store");
    let server = ApiServer::new(apiserver::Settings::default(), store, Extensions::default())
        .expect("a server");
    server.ready().await;
    let client = Client::new(server.local(User::admin("test")), NAMESPACE);
    bootstrap::ensure(&client).await.expect("set up");
    let namespace: Namespace =
        serde_json::from_value(json!({ "metadata": { "name": NAMESPACE } })).expect("JSON");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .expect("created");
    (server, client)
}
