//! A cluster in a temporary folder, and the hand that does to it what a script says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use api::accelerator::EmulationPolicy;
use api::hyper_converged::HyperConverged;
use api::kubevirt::KubeVirt;
use api::names::{annotations, labels};
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use apiserver::{ApiServer, Extensions, User};
use controllers::clock::Clock as _;
use controllers::kubevirt::Publisher;
use controllers::subresource::{self, RestartOptions, StartOptions, StopOptions};
use controllers::{CancellationToken, bootstrap};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt as _};
use serde_json::{Value, json};
use store::{Options, Store};
use tokio::task::JoinHandle;

use crate::check;
use crate::clock::Clock;
use crate::faults::{Faults, FaultyService};
use crate::node::{self, Agent};
use crate::script::{Action, Capped, Place};
use crate::world::{End, World};
use crate::{Failure, Plant, Report};

/// The namespace of all VMs.
pub(crate) const NAMESPACE: &str = "default";

/// How long rest may take in real time. A correct cluster takes tens of milliseconds; the bound is
/// wide because the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(15);

/// Without a write for so long, nobody is at work: retries of a first failure come within 5 ms.
const QUIET: Duration = Duration::from_millis(25);

/// Without a write for so long, nothing is left to do, retries that doubled a few times included.
const VERY_QUIET: Duration = Duration::from_millis(150);

/// The most writes between the end of faults and rest. The longest life of a VM, from creation over a
/// crash to a second life, is about 40 writes with all events; there are three VMs, and a switch may
/// concern each of them a few times.
const WRITES_TO_REST: u64 = 500;

/// Without a write for so long, a script goes on, whether everybody was ready or just slow.
const IDLE: Duration = Duration::from_millis(8);

/// How long a look at whether somebody writes waits for the next.
const TURN: Duration = Duration::from_millis(2);

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs a script under a seed, in a thread of this caller.
///
/// # Errors
/// What went wrong in the cluster, or that the cluster itself could not be built.
pub fn run(seed: u64, script: &[Action], plant: Plant) -> Result<Report, Box<Failure>> {
    let mut transcript = Vec::new();
    let failed = |wrongs, transcript: &[String]| {
        Box::new(Failure {
            seed,
            wrongs,
            script: script.to_vec(),
            transcript: transcript.to_vec(),
        })
    };
    let outcome = template().and_then(|template| {
        block_on(async {
            let kvm = script.contains(&Action::Hardware(true));
            let mut cluster = Cluster::start(template, seed, kvm, plant).await?;
            for action in script {
                let result = cluster.act(action).await?;
                transcript.push(format!("{action}{result}"));
                let wrongs = cluster.world.wrongs();
                if !wrongs.is_empty() {
                    return Ok(Err(wrongs));
                }
            }
            Ok(Ok((cluster.store.revision(), cluster.world.guests())))
        })
    });
    match outcome {
        Ok(Ok((writes, guests))) => Ok(Report {
            writes,
            guests,
            transcript,
        }),
        Ok(Err(wrongs)) => Err(failed(wrongs, &transcript)),
        Err(error) => Err(failed(vec![chain(&*error)], &transcript)),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn block_on<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

/// A folder with a store in which the definitions are, made once in a process: making them takes
/// longer than running a script.
fn template() -> Outcome<&'static Path> {
    static TEMPLATE: OnceLock<Result<tempfile::TempDir, String>> = OnceLock::new();
    let made = TEMPLATE.get_or_init(|| {
        let make = || -> Outcome<tempfile::TempDir> {
            let folder = tempfile::tempdir()?;
            block_on(async {
                let store = Store::open(folder.path(), Options::default())?;
                let server =
                    ApiServer::new(apiserver::Settings::default(), store, Extensions::default())?;
                server.ready().await;
                let client = Client::new(server.local(User::admin("template")), NAMESPACE);
                bootstrap::ensure(&client).await?;
                let namespaces: Api<Namespace> = Api::all(client);
                if namespaces.get_opt(NAMESPACE).await?.is_none() {
                    let mut namespace = Namespace::default();
                    namespace.metadata.name = Some(NAMESPACE.to_owned());
                    namespaces
                        .create(&PostParams::default(), &namespace)
                        .await?;
                }
                Ok(())
            })?;
            Ok(folder)
        };
        make().map_err(|error| chain(&*error))
    });
    match made {
        Ok(folder) => Ok(folder.path()),
        Err(error) => Err(error.clone().into()),
    }
}

pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) store: Store,
    pub(crate) world: World,
    pub(crate) clock: Arc<Clock>,
    pub(crate) kvm: bool,
    /// What is permitted at most.
    pub(crate) caps: BTreeMap<Capped, EmulationPolicy>,
    /// Where the switch is set.
    pub(crate) switches: BTreeMap<Place, bool>,
    /// Whether a VM should run, as far as its strategy leaves that to what was asked; none: unknown.
    pub(crate) wanted: BTreeMap<String, Option<bool>>,
    /// When the controllers that run now began.
    pub(crate) controllers_began: Timestamp,
    faulty: Client,
    faults: Faults,
    plant: Plant,
    controllers: JoinHandle<()>,
    agent: JoinHandle<()>,
    watcher: JoinHandle<()>,
    actions: u64,
    _folder: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.controllers.abort();
        self.agent.abort();
        self.watcher.abort();
    }
}

impl Cluster {
    async fn start(template: &Path, seed: u64, kvm: bool, plant: Plant) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        for file in std::fs::read_dir(template)? {
            let file = file?;
            std::fs::copy(file.path(), folder.path().join(file.file_name()))?;
        }
        let store = Store::open(folder.path(), Options::default())?;
        let clock = Arc::new(Clock::new(seed));
        let told = Arc::clone(&clock);
        let settings = apiserver::Settings {
            clock: Arc::new(move || told.now()),
            ..Default::default()
        };
        let server = ApiServer::new(settings, store.clone(), Extensions::default())?;
        server.ready().await;
        let client = Client::new(server.local(User::admin("script")), NAMESPACE);
        let faults = Faults::new(seed);
        let faulty = FaultyService {
            inner: server.local(User::admin("components")),
            faults: faults.clone(),
        };
        let faulty = Client::new(faulty, NAMESPACE);
        let world = World::default();
        node::register(&client, kvm).await?;
        world.set_usable(kvm);
        let watcher = tokio::spawn(check::watch(
            store.watch("/registry/", store.revision())?,
            world.clone(),
        ));
        let mut cluster = Self {
            client,
            store,
            world,
            clock,
            kvm,
            caps: BTreeMap::new(),
            switches: BTreeMap::new(),
            wanted: BTreeMap::new(),
            controllers_began: Timestamp::UNIX_EPOCH,
            faulty,
            faults,
            plant,
            controllers: tokio::spawn(async {}),
            agent: tokio::spawn(async {}),
            watcher,
            actions: 0,
            _folder: folder,
        };
        cluster.restart_controllers();
        cluster.restart_agent();
        Ok(cluster)
    }

    /// Drops the controllers wherever they are, and starts new ones.
    fn restart_controllers(&mut self) {
        self.controllers.abort();
        self.controllers_began = self.clock.now();
        let clock: Arc<Clock> = Arc::clone(&self.clock);
        let settings = controllers::Settings {
            clock,
            ..Default::default()
        };
        let run = controllers::run(
            self.faulty.clone(),
            settings,
            Publisher::default(),
            CancellationToken::new(),
        );
        self.controllers = tokio::spawn(run);
    }

    /// Drops the agent with all it remembers, and starts a new one.
    fn restart_agent(&mut self) {
        self.agent.abort();
        let (world, clock) = (self.world.clone(), Arc::clone(&self.clock));
        let agent = Agent::new(self.faulty.clone(), world, clock, self.plant);
        self.agent = tokio::spawn(agent.run());
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Does one action; what came of it, for people.
    async fn act(&mut self, action: &Action) -> Outcome<String> {
        self.actions += 1;
        self.clock.pass(1);
        let refused = self.attempt(action).await?;
        // What cannot start may fail or come late, whatever was asked for.
        for (vm, wanted) in &mut self.wanted {
            if self.world.is_unstartable(vm) || self.world.was_refused(vm) {
                *wanted = None;
            }
        }
        Ok(refused)
    }

    async fn attempt(&mut self, action: &Action) -> Outcome<String> {
        let refusal = match action {
            Action::Hardware(_) => None,
            Action::Faults(percent) => {
                self.faults.set(*percent);
                None
            }
            Action::Create(vm, strategy) => self.create(vm, strategy).await?,
            Action::Delete(vm) => {
                self.world.may_stop(vm);
                let vms = self.api::<VirtualMachine>();
                let deleted = vms.delete(vm, &DeleteParams::default()).await.map(drop);
                self.wanted.remove(vm);
                refusal(deleted)?
            }
            Action::Strategy(vm, strategy) => {
                let patch = json!({ "spec": { "runStrategy": strategy } });
                let wanted = match strategy.as_str() {
                    "Always" => Some(true),
                    // An instance that has ended is the one that `Once` grants.
                    "Once" => self.wanted.get(vm).copied().flatten().map(|_| true),
                    "Halted" => Some(false),
                    _ => None,
                };
                self.change(vm, patch, wanted).await?
            }
            Action::Template(vm) => {
                let memory = format!("{}Mi", 64 + self.actions);
                self.template(vm, json!({ "domain": { "memory": { "guest": memory } } }))
                    .await?
            }
            Action::Start(vm) | Action::Stop(vm) | Action::Restart(vm) => {
                self.ask(action, vm).await
            }
            Action::Shutdown(vm) => self.end(vm, End::ShutDown),
            Action::Crash(vm) => self.end(vm, End::Crashed),
            Action::Ignore(vm) => {
                self.world.ignore(vm);
                None
            }
            Action::Unstartable(vm) => {
                self.world.break_start(vm);
                self.unsure(vm);
                None
            }
            Action::Slow(vm) => {
                self.world.slow_start(vm);
                None
            }
            Action::DeletePod(vm) => self.delete_pods(vm).await?,
            Action::DeleteInstance(vm) => {
                self.world.may_stop(vm);
                self.unsure(vm);
                let vmis = self.api::<VirtualMachineInstance>();
                refusal(vmis.delete(vm, &DeleteParams::default()).await.map(drop))?
            }
            Action::Switch(place, value) => self.switch(*place, *value).await?,
            Action::Cap(capped, policy) => self.cap(*capped, *policy).await?,
            Action::Policy(vm, policy) => self.own_policy(vm, *policy).await?,
            Action::Verdict(usable) => self.verdict(*usable).await?,
            Action::RestartAgent => {
                self.restart_agent();
                None
            }
            Action::RestartControllers => {
                self.restart_controllers();
                None
            }
            Action::Pass(seconds) => {
                self.clock.pass(*seconds);
                None
            }
            Action::Run(writes) => {
                self.progress(*writes).await;
                None
            }
            Action::Settle => {
                self.settle().await?;
                let machines = self.api::<VirtualMachine>();
                let machines = machines.list(&ListParams::default()).await?;
                let told: Vec<String> = machines.iter().map(check::told).collect();
                return Ok(format!("  -> {}", told.join(", ")));
            }
        };
        Ok(refusal.map_or_else(String::new, |why| format!("  -> refused: {why}")))
    }

    async fn create(&mut self, vm: &str, strategy: &str) -> Outcome<Option<String>> {
        let object = json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
            "metadata": { "name": vm },
            "spec": { "runStrategy": strategy, "template": { "spec": {
                "domain": { "devices": {}, "memory": { "guest": "64Mi" } },
                "terminationGracePeriodSeconds": 3,
            } } },
        });
        let object: VirtualMachine = serde_json::from_value(object)?;
        let vms = self.api::<VirtualMachine>();
        let created = vms.create(&PostParams::default(), &object).await.map(drop);
        let refused = refusal(created)?;
        if refused.is_none() {
            let runs = !matches!(strategy, "Manual" | "Halted");
            self.wanted.insert(vm.to_owned(), Some(runs));
        }
        Ok(refused)
    }

    async fn change(
        &mut self,
        vm: &str,
        patch: Value,
        wanted: Option<bool>,
    ) -> Outcome<Option<String>> {
        self.world.may_stop(vm);
        let vms = self.api::<VirtualMachine>();
        let params = PatchParams::default();
        let patched = vms
            .patch(vm, &params, &Patch::Merge(&patch))
            .await
            .map(drop);
        let refused = refusal(patched)?;
        if refused.is_none() {
            self.wanted.insert(vm.to_owned(), wanted);
        }
        Ok(refused)
    }

    /// `start`, `stop` or `restart`, as people do it.
    async fn ask(&mut self, verb: &Action, vm: &str) -> Option<String> {
        let client = &self.client;
        let (asked, runs) = match verb {
            Action::Start(_) => {
                let options = StartOptions::default();
                (
                    subresource::start(client, NAMESPACE, vm, &options).await,
                    true,
                )
            }
            Action::Stop(_) => {
                self.world.may_stop(vm);
                let options = StopOptions::default();
                (
                    subresource::stop(client, NAMESPACE, vm, &options).await,
                    false,
                )
            }
            _ => {
                self.world.may_stop(vm);
                let options = RestartOptions::default();
                (
                    subresource::restart(client, NAMESPACE, vm, &options).await,
                    true,
                )
            }
        };
        match asked {
            Ok(()) => {
                self.wanted.insert(vm.to_owned(), Some(runs));
                None
            }
            Err(refused) => Some(refused.message),
        }
    }

    fn end(&mut self, vm: &str, how: End) -> Option<String> {
        self.unsure(vm);
        let lives = self.world.lives(vm);
        self.world.end(vm, how);
        (!lives).then(|| "nothing runs".to_owned())
    }

    /// What becomes of this VM depends on what it was just doing.
    fn unsure(&mut self, vm: &str) {
        if let Some(wanted) = self.wanted.get_mut(vm) {
            *wanted = None;
        }
    }

    async fn delete_pods(&mut self, vm: &str) -> Outcome<Option<String>> {
        self.world.may_stop(vm);
        self.unsure(vm);
        let pods = self.api::<Pod>();
        let prefix = format!("virt-launcher-{vm}-");
        let mut found = false;
        for pod in pods.list(&ListParams::default()).await? {
            let name = pod.name_any();
            if name.starts_with(&prefix) {
                found = true;
                refusal(pods.delete(&name, &DeleteParams::default()).await.map(drop))?;
            }
        }
        Ok((!found).then(|| "no pod".to_owned()))
    }

    /// Changes the spec of a VM's template.
    async fn template(&self, vm: &str, spec: Value) -> Outcome<Option<String>> {
        let patch = json!({ "spec": { "template": { "spec": spec } } });
        let vms = self.api::<VirtualMachine>();
        let params = PatchParams::default();
        let patched = vms.patch(vm, &params, &Patch::Merge(&patch)).await;
        refusal(patched.map(drop))
    }

    async fn own_policy(
        &self,
        vm: &str,
        policy: Option<EmulationPolicy>,
    ) -> Outcome<Option<String>> {
        self.template(vm, json!({ "emulationPolicy": policy }))
            .await
    }

    async fn verdict(&mut self, usable: bool) -> Outcome<Option<String>> {
        self.kvm = usable;
        self.world.set_usable(usable);
        node::register(&self.client, usable).await?;
        Ok(None)
    }

    async fn cap(
        &mut self,
        capped: Capped,
        policy: Option<EmulationPolicy>,
    ) -> Outcome<Option<String>> {
        match policy {
            Some(policy) => self.caps.insert(capped, policy),
            None => self.caps.remove(&capped),
        };
        let label = policy.map(|policy| policy.to_string());
        let patch = json!({ "metadata": { "labels": { labels::EMULATION_POLICY: label } } });
        let (patch, params) = (Patch::Merge(&patch), PatchParams::default());
        match capped {
            Capped::Namespace => {
                let namespaces: Api<Namespace> = Api::all(self.client.clone());
                namespaces.patch(NAMESPACE, &params, &patch).await?;
            }
            Capped::Node => {
                self.world.set_cap(policy);
                let nodes: Api<Node> = Api::all(self.client.clone());
                nodes.patch(node::NAME, &params, &patch).await?;
                self.world.set_cap(policy);
            }
        }
        Ok(None)
    }

    async fn switch(&mut self, place: Place, value: Option<bool>) -> Outcome<Option<String>> {
        match value {
            Some(on) => self.switches.insert(place, on),
            None => self.switches.remove(&place),
        };
        let params = PatchParams::default();
        match place {
            Place::ConfigMap => {
                let value = value.map(|on| on.to_string());
                let patch = json!({ "data": { "debug.useEmulation": value } });
                let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "openshift-cnv");
                maps.patch("kubevirt-config", &params, &Patch::Merge(&patch))
                    .await?;
            }
            Place::KubeVirt => {
                let developer = json!({ "developerConfiguration": { "useEmulation": value } });
                let patch = json!({ "spec": { "configuration": developer } });
                let kubevirts: Api<KubeVirt> = Api::namespaced(self.client.clone(), "kubevirt");
                kubevirts
                    .patch("kubevirt", &params, &Patch::Merge(&patch))
                    .await?;
            }
            Place::HyperConverged => {
                let objects: Api<HyperConverged> =
                    Api::namespaced(self.client.clone(), "openshift-cnv");
                let name = "kubevirt-hyperconverged";
                if objects.get_opt(name).await?.is_none() {
                    let object = HyperConverged::new(name, Default::default());
                    objects.create(&PostParams::default(), &object).await?;
                }
                let change = value.map(|on| {
                    let path = "/spec/configuration/developerConfiguration/useEmulation";
                    json!([{ "op": "add", "path": path, "value": on }]).to_string()
                });
                let annotated = json!({ annotations::HYPER_CONVERGED_PATCH: change });
                let patch = json!({ "metadata": { "annotations": annotated } });
                objects.patch(name, &params, &Patch::Merge(&patch)).await?;
            }
        }
        Ok(None)
    }

    /// Lets everybody work until so many writes were done, or nobody writes.
    async fn progress(&self, writes: u64) {
        let goal = self.store.revision().saturating_add(writes);
        let (mut seen, mut since) = (self.store.revision(), Instant::now());
        while self.store.revision() < goal && since.elapsed() < IDLE {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if self.store.revision() != seen {
                (seen, since) = (self.store.revision(), Instant::now());
            }
        }
    }

    /// Whether nobody writes for `time`. Counted in our own turns, not by the clock: on a busy machine
    /// the clock runs on while nobody here, writers included, has had a processor.
    async fn is_quiet(&self, time: Duration) -> bool {
        let before = self.store.revision();
        for _ in 0..time.as_millis().div_ceil(TURN.as_millis()) {
            tokio::time::sleep(TURN).await;
            if self.store.revision() != before {
                return false;
            }
        }
        true
    }

    /// Ends all faults, and waits for rest.
    async fn settle(&mut self) -> Outcome<()> {
        self.faults.set(0);
        self.world.heal();
        let since = Instant::now();
        let before = self.store.revision();
        let mut wrongs = Vec::new();
        loop {
            let patience = match self.plant {
                Plant::Nothing => PATIENCE,
                _ => PATIENCE / 5,
            };
            let writes = self.store.revision() - before;
            if since.elapsed() > patience || writes > WRITES_TO_REST {
                // Said also where the last look found nothing wrong: somebody wrote after it.
                wrongs.push(if writes > WRITES_TO_REST {
                    "writes do not end".to_owned()
                } else {
                    format!("no rest within {patience:?}, after {writes} writes")
                });
                wrongs.into_iter().for_each(|it| self.world.wrong(it));
                return Ok(());
            }
            if !self.is_quiet(QUIET).await {
                wrongs = vec!["writes do not end".to_owned()];
                continue;
            }
            wrongs = check::at_rest(self).await?;
            if wrongs.is_empty() && self.is_quiet(VERY_QUIET).await {
                break;
            }
            if let Some(seconds) = check::waits(self).await? {
                // Waits of the controllers are real time; new controllers read the clock anew.
                self.clock.pass(seconds);
                self.restart_controllers();
            }
        }
        self.world.at_rest();
        self.stays_at_rest().await
    }

    /// At rest, controllers and an agent that start anew find nothing to do.
    async fn stays_at_rest(&mut self) -> Outcome<()> {
        let before = self.store.revision();
        self.restart_controllers();
        self.restart_agent();
        while !self.is_quiet(VERY_QUIET).await {
            if self.store.revision() > before + WRITES_TO_REST {
                break;
            }
        }
        let written = check::written(&self.store, before)?;
        if !written.is_empty() {
            let what = written.join(", ");
            self.world
                .wrong(format!("starting anew at rest writes: {what}"));
        }
        Ok(())
    }
}

/// A refusal by the API is an outcome like others; everything else is an error.
fn refusal(result: kube::Result<()>) -> Outcome<Option<String>> {
    match result {
        Ok(()) => Ok(None),
        Err(kube::Error::Api(status)) => Ok(Some(status.message.clone())),
        Err(error) => Err(error.into()),
    }
}
