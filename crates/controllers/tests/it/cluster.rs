//! A cluster in a folder: API server, store, controllers, and one played node.

use crate::node::{self, Devices};
use api::condition::{self, Condition};
use api::kubevirt::KubeVirt;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use apiserver::{ApiServer, Extensions, User};
use controllers::kubevirt::Publisher;
use controllers::{CancellationToken, Settings, bootstrap};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::wait::await_condition;
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::time::Duration;
use store::{Options, Store};
use tokio::task::JoinSet;

/// How long a condition may take on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The namespace of all objects of a test.
pub(crate) const NAMESPACE: &str = "demo";

/// Everything a test needs; all of it ends with the value.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    cancel: CancellationToken,
    tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
    _server: ApiServer,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.tasks.abort_all();
    }
}

impl Cluster {
    /// A cluster with one node that has these devices.
    pub(crate) async fn start(devices: Devices) -> Self {
        let mut cluster = Self::without_node().await;
        let node = node::play(cluster.client.clone(), devices).await;
        cluster.tasks.spawn(node);
        cluster
    }

    /// A cluster whose controllers the test runs itself.
    pub(crate) async fn without_controllers(devices: Devices) -> Self {
        let mut cluster = Self::bare().await;
        let node = node::play(cluster.client.clone(), devices).await;
        cluster.tasks.spawn(node);
        cluster
    }

    /// A cluster with one node whose server has the variable `KVM_EMULATION` in its environment.
    pub(crate) async fn with_environment(devices: Devices, value: &str) -> Self {
        let settings = Settings {
            kvm_emulation: Some(value.to_owned()),
            ..Settings::default()
        };
        let mut cluster = Self::controlled(settings).await;
        let node = node::play(cluster.client.clone(), devices).await;
        cluster.tasks.spawn(node);
        cluster
    }

    /// A cluster without any node.
    pub(crate) async fn without_node() -> Self {
        Self::controlled(Settings::default()).await
    }

    async fn controlled(settings: Settings) -> Self {
        let mut cluster = Self::bare().await;
        let publisher = Publisher::default();
        let cancel = cluster.cancel.clone();
        let run = controllers::run(cluster.client.clone(), settings, publisher, cancel);
        cluster.tasks.spawn(run);
        cluster
    }

    /// An API server and what the controllers stand on.
    async fn bare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Options::default()).unwrap();
        let settings = apiserver::Settings::default();
        let server = ApiServer::new(settings, store, Extensions::default()).unwrap();
        server.ready().await;
        let client = Client::new(server.local(User::admin("test")), NAMESPACE);
        bootstrap::ensure(&client).await.unwrap();
        // A second time is harmless.
        bootstrap::ensure(&client).await.unwrap();
        let namespace = json!({ "metadata": { "name": NAMESPACE } });
        let namespaces = Api::<Namespace>::all(client.clone());
        let namespace = serde_json::from_value(namespace).unwrap();
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        Self {
            client,
            cancel: CancellationToken::new(),
            tasks: JoinSet::new(),
            _folder: folder,
            _server: server,
        }
    }

    /// The objects of a kind in the test's namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Changes an object by a merge patch.
    pub(crate) async fn change<K>(&self, objects: &Api<K>, name: &str, patch: Value)
    where
        K: Clone + Debug + DeserializeOwned,
    {
        let how = PatchParams::default();
        objects
            .patch(name, &how, &Patch::Merge(&patch))
            .await
            .unwrap();
    }

    /// How many writes there were since the beginning.
    pub(crate) async fn writes(&self) -> u64 {
        let one = ListParams::default().limit(1);
        let list = self.api::<Pod>().list(&one).await.unwrap();
        list.metadata.resource_version.unwrap().parse().unwrap()
    }

    /// Creates a VM with a run strategy.
    pub(crate) async fn machine(&self, name: &str, strategy: &str) -> VirtualMachine {
        let vm = json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
            "metadata": { "name": name },
            "spec": { "runStrategy": strategy, "template": { "spec": {
                "domain": { "devices": {}, "memory": { "guest": "64Mi" } },
                "terminationGracePeriodSeconds": 3,
            } } },
        });
        let vm: VirtualMachine = serde_json::from_value(vm).unwrap();
        self.api()
            .create(&PostParams::default(), &vm)
            .await
            .unwrap()
    }

    /// Waits until the object `name` is as wanted; without the object, until it is gone.
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
        let condition = move |object: Option<&K>| wanted(object);
        let waited = await_condition(api.clone(), name, condition);
        match tokio::time::timeout(PATIENCE, waited).await {
            Ok(found) => found.unwrap(),
            Err(_) => panic!("{name} is not {what}: {:#?}", api.get_opt(name).await),
        }
    }

    /// Waits for a VM's printable status.
    pub(crate) async fn wait_printed(&self, name: &str, status: &str) -> VirtualMachine {
        let printed = |vm: Option<&VirtualMachine>| {
            vm.and_then(|vm| vm.status.as_ref())
                .is_some_and(|it| it.printable_status.to_string() == status)
        };
        self.wait(name, status, printed).await.unwrap()
    }

    /// Waits for a VMI's phase.
    pub(crate) async fn wait_phase(&self, name: &str, phase: &str) -> VirtualMachineInstance {
        let is =
            |vmi: Option<&VirtualMachineInstance>| vmi.is_some_and(|vmi| self::phase(vmi) == phase);
        self.wait(name, phase, is).await.unwrap()
    }

    /// Waits until an object is gone.
    pub(crate) async fn wait_gone<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + Send + DeserializeOwned + 'static,
    {
        self.wait::<K>(name, "gone", |object| object.is_none())
            .await;
    }

    /// The launcher pods.
    pub(crate) async fn pods(&self) -> Vec<Pod> {
        self.api::<Pod>()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
    }

    /// Waits until an event says so, and returns it.
    pub(crate) async fn wait_event(&self, namespace: &str, reason: &str, part: &str) -> Event {
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let found = |event: &Event| {
            event.reason.as_deref() == Some(reason)
                && event.message.as_deref().unwrap_or_default().contains(part)
        };
        let search = async {
            use futures::StreamExt as _;
            use kube::runtime::{WatchStreamExt as _, watcher};
            let events = watcher(events.clone(), watcher::Config::default()).default_backoff();
            let mut events = std::pin::pin!(events.applied_objects());
            loop {
                match events.next().await {
                    Some(Ok(event)) if found(&event) => return event,
                    Some(_) => {}
                    None => panic!("the watch ended"),
                }
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(event) => event,
            Err(_) => {
                let all = events.list(&ListParams::default()).await.unwrap();
                let all: Vec<_> = all.iter().map(|it| (&it.reason, &it.message)).collect();
                panic!("no event {reason} with {part:?} in {namespace}: {all:#?}")
            }
        }
    }

    /// Writes the switch into the legacy ConfigMap of a namespace.
    pub(crate) async fn switch(&self, value: Value) {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "openshift-cnv");
        let patch = json!({ "data": { "debug.useEmulation": value } });
        maps.patch(
            "kubevirt-config",
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await
        .unwrap();
    }

    /// Writes the switch into the KubeVirt object.
    pub(crate) async fn switch_object(&self, value: Value) {
        let developer = json!({ "developerConfiguration": { "useEmulation": value } });
        let patch = json!({ "spec": { "configuration": developer } });
        let kubevirts: Api<KubeVirt> = Api::namespaced(self.client.clone(), "kubevirt");
        kubevirts
            .patch("kubevirt", &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
    }

    /// Waits until the KubeVirt object's condition about emulation is as wanted.
    pub(crate) async fn wait_configuration(
        &self,
        what: &str,
        wanted: impl Fn(&KubeVirt, &Condition) -> bool,
    ) -> KubeVirt {
        let kubevirts: Api<KubeVirt> = Api::namespaced(self.client.clone(), "kubevirt");
        let is = move |object: Option<&KubeVirt>| {
            let status = object.and_then(|it| it.status.as_ref());
            let told =
                status.and_then(|it| condition::find(&it.conditions, "EmulationConfiguration"));
            object
                .zip(told)
                .is_some_and(|(object, told)| wanted(object, told))
        };
        let waited = await_condition(kubevirts.clone(), "kubevirt", is);
        match tokio::time::timeout(PATIENCE, waited).await {
            Ok(found) => found.unwrap().unwrap(),
            Err(_) => panic!("{what} is not told: {:#?}", kubevirts.get("kubevirt").await),
        }
    }

    /// Tells the played node how the guest of a VMI ends: `Succeeded` or `Failed`.
    pub(crate) async fn end_guest(&self, name: &str, phase: &str) {
        let patch = json!({ "metadata": { "annotations": { node::END: phase } } });
        let vmis = self.api::<VirtualMachineInstance>();
        vmis.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
    }
}

/// The phase of a VMI.
pub(crate) fn phase(vmi: &VirtualMachineInstance) -> String {
    let phase = vmi.status.as_ref().and_then(|status| status.phase);
    phase.map(|phase| phase.to_string()).unwrap_or_default()
}

/// The message of a pod's condition `PodScheduled`, if it is unschedulable.
pub(crate) fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let told = conditions
        .iter()
        .find(|it| it.type_ == "PodScheduled" && it.status == "False")?;
    assert_eq!(
        told.reason.as_deref(),
        Some("Unschedulable"),
        "{}",
        pod.name_any()
    );
    told.message.clone()
}
