//! The agent of one node: watches the API and the machine, and keeps one task for each virtual
//! machine.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::virtual_machine_instance::VirtualMachineInstance;
use futures::{FutureExt as _, Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Node, ObjectReference, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::event::{Fact, Recorder};
use crate::gate::{self, Gate};
use crate::handle::MACHINES;
use crate::known::Knowledge;
use crate::machine::{Context, InUse, Machine, Record, inspect, refused};
use crate::registration::{self, HEARTBEAT_PERIOD, LEASE_PERIOD, Offer};
use crate::saved;
use crate::seen::{Objects, machine_of};
use crate::snapshots;
use crate::templates::{self, Templates};
use crate::timeline::history::History;
use crate::{Clock, NodeError, NodeSettings};

/// An image that no start has asked for in so long is removed; kubelet's cache is emptied by need, ours by age.
const IMAGE_UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);
/// How often unused images are looked for; far below [`IMAGE_UNUSED`].
const IMAGE_LOOK_PERIOD: Duration = Duration::from_secs(6 * 3600);
/// A machine's task that failed by a fault of ours is started again after this time.
const AFTER_FAULT: Duration = Duration::from_secs(60);
/// Between tries to reach an API that does not answer.
const API_RETRY: Duration = Duration::from_secs(1);
/// What is still to be written when we stop gets this long.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(crate) async fn run(
    settings: NodeSettings,
    client: Client,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), NodeError> {
    let machines = settings.data_directory.join(MACHINES);
    let used = |path: &Path| {
        let path = path.to_owned();
        move |source| NodeError::Directory { path, source }
    };
    host::socket::private_directory(&machines).map_err(used(&machines))?;
    let image_folder = settings.data_directory.join("images");
    let cache = images::Cache::open(&image_folder, images::Limits::default(), inspect())
        .map_err(used(&image_folder))?;
    let machine = host::facts::Machine::look().map_err(NodeError::Machine)?;
    let here = machines_here(&machines).map_err(used(&machines))?;

    let knowledge = Knowledge::gather(
        machine,
        &settings.data_directory,
        settings.qemu_program.clone(),
        clock.clone(),
    )
    .await;
    let (recorder, write_events) = Recorder::new(client.clone(), settings.name.clone());
    let mut writer = tokio::spawn(write_events);

    let ready = async {
        let foreign = is_foreign(&client, &settings.data_directory, !here.is_empty()).await?;
        // What it asks of us must be known before the first guest starts.
        let node = Api::<Node>::all(client.clone())
            .get_opt(&settings.name)
            .await;
        match node {
            Ok(Some(node)) => take_node(&knowledge, &recorder, &clock, &node),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "what the Node object asks is not known yet"),
        }
        Ok(foreign)
    };
    let gate = Gate::new(
        knowledge.known().machine.processors,
        here.keys().cloned().collect(),
        clock.clone(),
    );
    let foreign = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        foreign = ready => {
            foreign.map_err(used(&settings.data_directory))?
        }
    };
    if foreign {
        warn_of_strangers(&recorder, &settings.name, &here, &clock);
    }
    let history = History::of(&settings.data_directory);
    let template_folder = settings.data_directory.join("templates");
    let templates = Templates::open(&settings, knowledge.known().machine.memory_bytes)
        .await
        .map_err(used(&template_folder))?;
    let saved_folder = settings.data_directory.join(saved::FOLDER);
    let saved = saved::open(&settings.data_directory, &machines).map_err(used(&saved_folder))?;
    let context = Arc::new(Context {
        settings,
        machines,
        client,
        clock,
        cache,
        in_use: InUse::default(),
        recorder,
        objects: Objects::new(),
        knowledge: Arc::clone(&knowledge),
        gate,
        choosing_address: tokio::sync::Mutex::new(()),
        templates,
        saved,
        history,
        writing_history: tokio::sync::Mutex::new(()),
        foreign,
    });
    tokio::select! {
        () = stop.cancelled() => {}
        () = knowledge.keep_fresh() => {}
        () = knowledge.keep_learning() => {}
        () = knowledge.keep_calibrated(|| context.gate.starting()) => {}
        () = keep_asked(&context) => {}
        () = keep_turns(&context) => {}
        () = keep_registered(&context) => {}
        () = keep_machines(&context, here.into_keys().collect()) => {}
        () = keep_cache_small(&context) => {}
        _ = async { tokio::join!(templates::keep(&context), saved::keep(&context), snapshots::keep(&context)) } => {}
    }
    end_builders(&context).await;
    // All tasks that record events are gone with what was selected above; their last words are
    // written if the API still listens.
    drop(context);
    let _ = tokio::time::timeout(LAST_WORDS, &mut writer).await;
    writer.abort();
    Ok(())
}

/// The guest of a template outlives us as any guest does, but nobody would wait for it.
async fn end_builders(context: &Context) {
    match tokio::time::timeout(LAST_WORDS, context.templates.end_builders()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "a template's guest runs on until our next start"),
        Err(_) => tracing::warn!("a template's guest runs on until our next start"),
    }
}

/// The machines that have folders here, with their records.
fn machines_here(machines: &Path) -> std::io::Result<BTreeMap<String, Record>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(machines)? {
        let entry = entry?;
        let (Some(uid), Some(record)) = (
            entry.file_name().to_str().map(str::to_owned),
            Record::read(&entry.path())?,
        ) else {
            continue;
        };
        found.insert(uid, record);
    }
    Ok(found)
}

/// Whether the API is another one than that whose machines are here: then what it does not know is
/// not gone, but somebody else's. An API is known by the UID of its namespace `default`, which
/// nobody can delete. Waits for an API that does not answer.
async fn is_foreign(
    client: &Client,
    data_directory: &Path,
    has_machines: bool,
) -> std::io::Result<bool> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let uid = loop {
        match namespaces.get("default").await {
            Ok(namespace) => break namespace.uid().unwrap_or_default(),
            Err(error) => tracing::warn!(%error, "the API does not answer; waiting for it"),
        }
        tokio::time::sleep(API_RETRY).await;
    };
    let path = data_directory.join("machines-of");
    let known = match std::fs::read_to_string(&path) {
        Ok(known) => Some(known),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if known.as_deref() == Some(uid.as_str()) {
        return Ok(false);
    }
    if known.is_some() && has_machines {
        return Ok(true);
    }
    std::fs::write(&path, uid)?;
    Ok(false)
}

fn warn_of_strangers(
    recorder: &Recorder,
    node: &str,
    here: &BTreeMap<String, Record>,
    clock: &Clock,
) {
    let names: Vec<String> = here
        .values()
        .map(|record| format!("{}/{}", record.identity.namespace, record.identity.name))
        .collect();
    let message = format!(
        "{} virtual machine(s) of another API server run here and are left alone: {}. Restore that \
         server's database, or stop them by ending their launchers.",
        names.len(),
        names.join(", ")
    );
    tracing::error!(message);
    let reference = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(node.to_owned()),
        ..ObjectReference::default()
    };
    recorder.record(
        reference,
        Fact::warning("OrphanedMachines", message),
        clock.now(),
    );
}

/// Removes images that no start has asked for in a long time, but none that a machine may start with again. That of a guest
/// which ran before we did may go: QEMU holds it open, and its next start pulls it again.
async fn keep_cache_small(context: &Context) {
    loop {
        let unused_since = SystemTime::now()
            .checked_sub(IMAGE_UNUSED)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let mut in_use = context.in_use.files();
        match context.saved.images() {
            Ok(images) => in_use.extend(images),
            Err(error) => {
                tracing::warn!(%error, "unused images stay: which ones saved machines need is not known");
                tokio::time::sleep(IMAGE_LOOK_PERIOD).await;
                continue;
            }
        }
        match context.cache.prune(&in_use, unused_since).await {
            Ok(0) => {}
            Ok(bytes) => tracing::info!(bytes, "removed unused images"),
            Err(error) => tracing::warn!(%error, "unused images cannot be removed"),
        }
        tokio::time::sleep(IMAGE_LOOK_PERIOD).await;
    }
}

/// Takes what the Node object asks of us. A cap that cannot be read permits nothing, and that is told once.
fn take_node(knowledge: &Knowledge, recorder: &Recorder, clock: &Clock, node: &Node) {
    if let Some(problem) = knowledge.take_node(node) {
        let fact = Fact::warning("InvalidConfiguration", problem.message);
        recorder.record(node.object_ref(&()), fact, clock.now());
    }
}

/// Hears what the Node object asks of us.
async fn keep_asked(context: &Context) {
    let ours = format!("metadata.name={}", context.settings.name);
    let mut nodes = watch_all::<Node>(&context.client, watcher::Config::default().fields(&ours));
    while let Some(event) = nodes.next().await {
        match event {
            Event::Apply(node) | Event::InitApply(node) => {
                take_node(&context.knowledge, &context.recorder, &context.clock, &node);
            }
            Event::Init | Event::InitDone | Event::Delete(_) => {}
        }
    }
}

/// Ends the turns of guests that have booted.
async fn keep_turns(context: &Context) {
    loop {
        context
            .gate
            .set_slowdown(context.knowledge.facts().slowdown);
        context.gate.look();
        tokio::time::sleep(gate::LOOK_EVERY).await;
    }
}

/// The images of this machine, for its Node object.
async fn stored_images(context: &Context) -> Option<Vec<images::StoredImage>> {
    let stored = context.cache.stored().await;
    stored
        .inspect_err(|error| tracing::warn!(%error, "the stored images cannot be listed"))
        .ok()
}

/// Registers the node, and tells that it lives.
async fn keep_registered(context: &Context) {
    let mut changes = context.knowledge.subscribe();
    loop {
        let images = stored_images(context).await;
        let offer = Offer {
            known: changes.borrow_and_update().clone(),
            disk_bytes: host::facts::file_system_bytes(&context.machines)
                .map_or(0, |(_, total)| total),
            images,
        };
        let now = context.clock.now();
        let registered =
            registration::register(&context.client, &context.settings.name, &offer, now).await;
        let (node, fact) = match registered {
            Ok(registered) => registered,
            Err(error) => {
                tracing::warn!(%error, "the node is not registered; will try again");
                tokio::time::sleep(API_RETRY).await;
                continue;
            }
        };
        if let Some(fact) = fact {
            context.recorder.record(node.object_ref(&()), fact, now);
        }
        tokio::select! {
            () = renew_lease(context, &node) => {}
            // What keeps it fresh lives as long as we do.
            _ = changes.changed() => {}
        }
    }
}

/// Renews the node's lease until its next heartbeat.
async fn renew_lease(context: &Context, node: &Node) {
    let times = HEARTBEAT_PERIOD.as_secs() / LEASE_PERIOD.as_secs();
    for _ in 0..times {
        if let Err(error) = registration::renew(&context.client, node, context.clock.now()).await {
            tracing::warn!(%error, "the node's lease is not renewed");
        }
        tokio::time::sleep(LEASE_PERIOD).await;
    }
}

/// One task for each virtual machine that has a pod bound to us, or a folder here.
struct Machines<'a> {
    context: &'a Arc<Context>,
    tasks: JoinSet<String>,
    changed: BTreeMap<String, Arc<Notify>>,
}

impl Machines<'_> {
    fn wake(&self, uid: &str) -> bool {
        match self.changed.get(uid) {
            Some(changed) => {
                changed.notify_one();
                true
            }
            None => false,
        }
    }

    fn wake_or_start(&mut self, uid: String) {
        if self.wake(&uid) {
            return;
        }
        let changed = Arc::new(Notify::new());
        self.changed.insert(uid.clone(), Arc::clone(&changed));
        let machine = Machine::new(Arc::clone(self.context), uid.clone(), changed);
        self.tasks.spawn(async move {
            // A fault in one machine's task must not take the others down.
            if AssertUnwindSafe(machine.run())
                .catch_unwind()
                .await
                .is_err()
            {
                tracing::error!(
                    machine = uid,
                    "its task failed; it is looked at again later"
                );
                tokio::time::sleep(AFTER_FAULT).await;
            }
            uid
        });
    }

    /// A task ended: nothing is left of its machine, unless its VMI got another pod meanwhile.
    fn ended(&mut self, uid: String) {
        self.changed.remove(&uid);
        let has_folder = self.context.machines.join(&uid).exists();
        if has_folder || self.context.objects.machine(&uid, None).0.is_some() {
            self.wake_or_start(uid);
        }
    }
}

async fn keep_machines(context: &Arc<Context>, here: Vec<String>) {
    let mut machines = Machines {
        context,
        tasks: JoinSet::new(),
        changed: BTreeMap::new(),
    };
    for uid in here {
        machines.wake_or_start(uid);
    }
    let ours = format!("spec.nodeName={}", context.settings.name);
    let mut pods = watch_all::<Pod>(&context.client, watcher::Config::default().fields(&ours));
    let mut instances =
        watch_all::<VirtualMachineInstance>(&context.client, watcher::Config::default());
    loop {
        tokio::select! {
            Some(event) = pods.next() => {
                for pod in context.objects.take_pod(event) {
                    match machine_of(&pod) {
                        Some(uid) => machines.wake_or_start(uid),
                        None => refuse(context, &pod).await,
                    }
                }
            }
            Some(event) = instances.next() => {
                for uid in context.objects.take_instance(event) {
                    machines.wake(&uid);
                }
            }
            Some(ended) = machines.tasks.join_next() => match ended {
                Ok(uid) => machines.ended(uid),
                // Only when we end.
                Err(error) => tracing::debug!(%error, "a machine's task was cancelled"),
            },
        }
    }
}

pub(crate) type Events<K> = Pin<Box<dyn Stream<Item = Event<K>> + Send>>;

/// Watches objects, over and over if the API goes away.
pub(crate) fn watch_all<K>(client: &Client, config: watcher::Config) -> Events<K>
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let api: Api<K> = Api::all(client.clone());
    let kind = K::kind(&()).into_owned();
    let events = watcher(api, config).default_backoff();
    Box::pin(events.filter_map(move |event| {
        let kind = kind.clone();
        async move {
            event
                .inspect_err(|error| tracing::warn!(kind, %error, "watch interrupted"))
                .ok()
        }
    }))
}

/// Somebody bound a pod to us that runs no virtual machine: say so on it.
async fn refuse(context: &Context, pod: &Pod) {
    let api: Api<Pod> =
        Api::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    let done = if pod.metadata.deletion_timestamp.is_some() {
        api.delete(&name, &DeleteParams::default().grace_period(0))
            .await
            .map(drop)
    } else {
        let message = "this node runs launcher pods of virtual machines only; containers need a \
                       Kubernetes node";
        let Some(status) = refused(pod, "UnsupportedPod", message, context.clock.now()) else {
            return;
        };
        let patch = json!({ "metadata": { "uid": pod.metadata.uid }, "status": status });
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map(drop)
    };
    if let Err(error) = done
        && !matches!(&error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
    {
        tracing::warn!(pod = name, %error, "a pod without a virtual machine is not refused");
    }
}
