//! The memory of snapshots: contents that name a guest of this node are filled in here, and what is of no content any more
//! is removed.
//!
//! ```text
//! content with spec.memory of this node ──► launcher saves, the guest goes on ──► saved/NAMESPACE/UID/ ──► status: ready
//! content deleted ──► saved/NAMESPACE/UID/ removed
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use api::launcher::saved::Record;
use api::quantity::Quantity;
use api::resources;
use api::snapshot::{MemorySource, VirtualMachineSnapshotContent};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use crate::agent::watch_all;
use crate::launcher::LauncherError;
use crate::machine::Context;
use crate::saved::{self, Made, Owner, SaveError, Stored};
use crate::templates;

/// Guests that are saved at one time: each writes as fast as the disk takes it.
const AT_ONCE: usize = 2;
/// After a failure that passes: another save of the same guest, or a launcher that does not answer.
const RETRY: Duration = Duration::from_secs(2);

/// What is to be done about a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Todo {
    /// Nothing, or somebody else does it.
    Nothing,
    /// Keep the running instant.
    Save,
    /// Its files are gone.
    Lost,
}

/// What is to be done about `content`, on `node`, where `is_here` tells whether there are files of it.
fn todo(content: &VirtualMachineSnapshotContent, node: &str, is_here: bool) -> Todo {
    let ours = memory_of(content, node).is_some();
    if !ours || content.metadata.deletion_timestamp.is_some() {
        return Todo::Nothing;
    }
    let status = content.status.clone().unwrap_or_default();
    match (status.ready_to_use, status.error) {
        (Some(true), None) if !is_here => Todo::Lost,
        (Some(true), _) | (_, Some(_)) => Todo::Nothing,
        (_, None) => Todo::Save,
    }
}

/// The guest that a content names, if that is one of `node`.
fn memory_of<'a>(
    content: &'a VirtualMachineSnapshotContent,
    node: &str,
) -> Option<&'a MemorySource> {
    let memory = content.spec.memory.as_ref();
    memory.filter(|memory| memory.node_name == node)
}

/// Fills contents in and removes files, for ever.
pub(crate) async fn keep(context: &Context) {
    context.objects.complete().await;
    let config = watcher::Config::default();
    let mut events = watch_all::<VirtualMachineSnapshotContent>(&context.client, config);
    let mut contents = Contents {
        context,
        by_uid: BTreeMap::new(),
        listing: None,
        waiting: VecDeque::new(),
        busy: BTreeSet::new(),
    };
    let mut saving = FuturesUnordered::new();
    loop {
        while saving.len() < AT_ONCE
            && let Some(content) = contents.next()
        {
            saving.push(fill(context, content));
        }
        tokio::select! {
            Some(event) = events.next() => contents.take(event).await,
            Some(uid) = saving.next(), if !saving.is_empty() => contents.done(&uid).await,
        }
    }
}

/// The contents of this node.
struct Contents<'a> {
    context: &'a Context,
    by_uid: BTreeMap<String, VirtualMachineSnapshotContent>,
    listing: Option<BTreeSet<String>>,
    /// UIDs of those that wait for their turn.
    waiting: VecDeque<String>,
    /// UIDs of those that wait, or are being saved.
    busy: BTreeSet<String>,
}

impl Contents<'_> {
    /// The next one to save.
    fn next(&mut self) -> Option<VirtualMachineSnapshotContent> {
        while let Some(uid) = self.waiting.pop_front() {
            match self.by_uid.get(&uid) {
                Some(content) => return Some(content.clone()),
                None => drop(self.busy.remove(&uid)),
            }
        }
        None
    }

    async fn take(&mut self, event: Event<VirtualMachineSnapshotContent>) {
        let node = self.context.settings.name.clone();
        let ours = |content: &VirtualMachineSnapshotContent| memory_of(content, &node).is_some();
        match event {
            Event::Init => self.listing = Some(BTreeSet::new()),
            Event::InitApply(content) | Event::Apply(content) if ours(&content) => {
                let uid = content.uid().unwrap_or_default();
                if let Some(listing) = &mut self.listing {
                    listing.insert(uid.clone());
                }
                self.by_uid.insert(uid.clone(), content);
                self.look(&uid).await;
            }
            Event::InitDone => {
                let listed = self.listing.take().unwrap_or_default();
                self.by_uid.retain(|uid, _| listed.contains(uid));
                if !self.context.foreign {
                    self.sweep().await;
                }
            }
            Event::Delete(content) if ours(&content) => {
                let uid = content.uid().unwrap_or_default();
                self.by_uid.remove(&uid);
                let namespace = content.namespace().unwrap_or_default();
                remove(self.context, namespace, uid).await;
            }
            Event::InitApply(_) | Event::Apply(_) | Event::Delete(_) => {}
        }
    }

    /// One was saved, or is to be tried again.
    async fn done(&mut self, uid: &str) {
        self.busy.remove(uid);
        self.look(uid).await;
    }

    async fn look(&mut self, uid: &str) {
        let Some(content) = self.by_uid.get(uid) else {
            return;
        };
        let namespace = content.namespace().unwrap_or_default();
        let stored = self.context.saved.get(&namespace, uid);
        // What cannot be read for a moment may be there.
        let is_here = match &stored {
            Ok(stored) => stored.is_some(),
            Err(fault) => fault.is_passing(),
        };
        match todo(content, &self.context.settings.name, is_here) {
            Todo::Nothing => {}
            Todo::Save => {
                if self.busy.insert(uid.to_owned()) {
                    self.waiting.push_back(uid.to_owned());
                }
            }
            Todo::Lost => {
                let node = &self.context.settings.name;
                let why = match stored {
                    Err(fault) => format!("what was kept on node {node} is of no use: {fault}"),
                    Ok(_) => format!("what was kept on node {node} is not there any more"),
                };
                tracing::warn!(content = content.name_any(), why, "a snapshot is lost");
                let status = failed(&why, self.context.clock.now());
                // The change it makes is seen; what is not written now is found again at our next start.
                if let Err(error) = write(self.context, content, &status).await {
                    tracing::warn!(%error, "a lost snapshot is not told");
                }
            }
        }
    }

    /// Removes what is of no content any more, after all that there are were listed.
    async fn sweep(&self) {
        let all = match self.context.saved.list() {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!(%error, "what is saved cannot be listed");
                return;
            }
        };
        let kind = VirtualMachineSnapshotContent::kind(&());
        for (namespace, id) in all {
            let stored = self.context.saved.get(&namespace, &id);
            let of_content = matches!(&stored, Ok(Some(it)) if it.manifest.owner.kind == kind);
            if of_content && !self.by_uid.contains_key(&id) {
                remove(self.context, namespace, id).await;
            }
        }
    }
}

async fn remove(context: &Context, namespace: String, id: String) {
    let store = context.saved.clone();
    let (of, name) = (namespace.clone(), id.clone());
    let removed = tokio::task::spawn_blocking(move || store.remove(&namespace, &id)).await;
    match removed {
        Ok(Ok(())) => tracing::info!(namespace = of, id = name, "a snapshot's memory is removed"),
        // Found again at our next start.
        Ok(Err(error)) => {
            tracing::warn!(namespace = of, id = name, %error, "a snapshot's memory stays");
        }
        Err(error) => tracing::warn!(%error, "a snapshot's memory stays"),
    }
}

/// Why a guest was not saved.
struct Failure {
    message: String,
    passing: bool,
}

impl Failure {
    fn lasting(message: impl ToString) -> Self {
        Self {
            message: message.to_string(),
            passing: false,
        }
    }
}

/// Saves the guest that a content names, and says in the content how that went. Answers with its UID: it is to be looked
/// at again.
async fn fill(context: &Context, content: VirtualMachineSnapshotContent) -> String {
    let uid = content.uid().unwrap_or_default();
    let now = || context.clock.now();
    let status = match save(context, &content).await {
        Ok((record, disk_bytes, stopped)) => ready(&record, disk_bytes, stopped),
        Err(failure) if failure.passing => {
            tracing::debug!(content = content.name_any(), why = failure.message, "later");
            tokio::time::sleep(RETRY).await;
            return uid;
        }
        Err(failure) => failed(&failure.message, now()),
    };
    loop {
        match write(context, &content, &status).await {
            Ok(()) => break,
            Err(kube::Error::Api(status))
                if matches!(status.code, 404 | 409) && is_gone(context, &content).await =>
            {
                // By whom the watch may have told before there were files.
                remove(
                    context,
                    content.namespace().unwrap_or_default(),
                    uid.clone(),
                )
                .await;
                break;
            }
            Err(error) => {
                tracing::warn!(%error, "a snapshot's content is not written; will try again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    uid
}

/// Whether a content was deleted, or another one has its name. What cannot be asked is there.
async fn is_gone(context: &Context, content: &VirtualMachineSnapshotContent) -> bool {
    let namespace = content.namespace().unwrap_or_default();
    let api: Api<VirtualMachineSnapshotContent> =
        Api::namespaced(context.client.clone(), &namespace);
    let found = api.get_opt(&content.name_any()).await;
    found.is_ok_and(|found| found.is_none_or(|found| found.uid() != content.uid()))
}

type Kept = (Record, u64, Option<u64>);

async fn save(context: &Context, content: &VirtualMachineSnapshotContent) -> Result<Kept, Failure> {
    let id = content.uid().unwrap_or_default();
    let namespace = content.namespace().unwrap_or_default();
    // Saved before a restart of ours, and not told.
    if let Ok(Some(stored)) = context.saved.get(&namespace, &id) {
        return Ok(kept(stored, None));
    }
    let Some(memory) = memory_of(content, &context.settings.name) else {
        return Err(Failure::lasting("its guest is of another node"));
    };
    let (_, instance) = context.objects.machine(&memory.instance_uid, None);
    // Whoever may write contents in one namespace reads no guest's memory in another by that.
    let instance = instance.filter(|it| it.metadata.namespace == content.metadata.namespace);
    let instance = instance.ok_or_else(|| {
        let (name, uid) = (&memory.instance_name, &memory.instance_uid);
        Failure::lasting(format!(
            "no guest of VirtualMachineInstance {name} ({uid}) of namespace {namespace} runs here"
        ))
    })?;
    let made = Made {
        owner: Owner {
            kind: VirtualMachineSnapshotContent::kind(&()).into_owned(),
            namespace,
            name: content.name_any(),
            uid: id.clone(),
        },
        shape: saved::shape(&instance),
        processor: Some(templates::processor()),
        made_at: context.clock.now(),
    };
    let machine = context.machines.join(&memory.instance_uid);
    let bytes = resources::guest_memory_bytes(&instance.spec).unwrap_or_default();
    let renewable = memory.require_renewable == Some(true);
    let asked = saved::save(&context.saved, &machine, &id, bytes, (true, renewable)).await;
    let status = asked.map_err(failure)?;
    let store = context.saved.clone();
    let commits = tokio::task::spawn_blocking(move || store.commit(&id, made)).await;
    let stored = commits.map_err(Failure::lasting)?;
    let stored = stored.map_err(|fault| {
        Failure::lasting(format!("what was kept of the guest is of no use: {fault}"))
    })?;
    let stopped = status.saved.and_then(|saved| saved.stopped_milliseconds);
    Ok(kept(stored, stopped))
}

fn kept(stored: Stored, stopped: Option<u64>) -> Kept {
    let manifest = stored.manifest;
    (manifest.record, manifest.disk_bytes, stopped)
}

fn failure(error: SaveError) -> Failure {
    match error {
        SaveError::Launcher(LauncherError::Refused { reason, message }) => Failure {
            // One that ends is seen by the snapshot's controller.
            passing: saved::is_under_way(&reason),
            message: format!("{reason}: {message}"),
        },
        // If it has ended, so has the guest, which the snapshot's controller sees.
        SaveError::Launcher(error) => Failure {
            message: error.to_string(),
            passing: true,
        },
        SaveError::NoRoom(message) => Failure::lasting(message),
        SaveError::Io(error) => Failure::lasting(error),
    }
}

fn ready(record: &Record, disk_bytes: u64, stopped: Option<u64>) -> Value {
    let because = (!record.renewable).then_some(
        "it has not come to rest with a renewal hook in it: take the snapshot with spec.requireRenewable (anyvirt snapshot --memory --renewable), or fork the machine while it runs (anyvirt fork)",
    );
    json!({
        "creationTime": Time(record.at),
        "readyToUse": true,
        "error": null,
        "memory": {
            "size": Quantity(format!("{}Mi", disk_bytes.div_ceil(1 << 20))),
            "pausedMilliseconds": stopped,
            "renewable": record.renewable,
            "notRenewableBecause": because,
        },
    })
}

fn failed(message: &str, now: jiff::Timestamp) -> Value {
    json!({ "readyToUse": false, "error": { "time": Time(now), "message": message } })
}

async fn write(
    context: &Context,
    content: &VirtualMachineSnapshotContent,
    status: &Value,
) -> kube::Result<()> {
    let namespace = content.namespace().unwrap_or_default();
    let api: Api<VirtualMachineSnapshotContent> =
        Api::namespaced(context.client.clone(), &namespace);
    let patch = json!({ "metadata": { "uid": content.uid() }, "status": status });
    let name = content.name_any();
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::snapshot::VirtualMachineSnapshotContentStatus;

    fn content(node: &str, status: &Value, going: bool) -> VirtualMachineSnapshotContent {
        let at = going.then_some("2026-11-23T12:00:00Z");
        serde_json::from_value(json!({
            "apiVersion": "snapshot.kubevirt.io/v1beta1", "kind": "VirtualMachineSnapshotContent",
            "metadata": { "name": "c", "namespace": "ns", "uid": "c-uid", "deletionTimestamp": at },
            "spec": { "source": {}, "memory": { "nodeName": node, "instanceName": "m", "instanceUID": "i" } },
            "status": status,
        }))
        .expect("a content")
    }

    #[test]
    fn only_new_contents_of_this_node_are_filled_in_and_lost_ones_are_told() {
        let (new, ready) = (json!({}), json!({ "readyToUse": true }));
        let failed = json!({ "readyToUse": false, "error": { "message": "m" } });
        for (node, status, going, is_here, expected) in [
            ("n", &new, false, false, Todo::Save),
            ("n", &new, false, true, Todo::Save),
            ("n", &new, true, false, Todo::Nothing),
            ("other", &new, false, false, Todo::Nothing),
            ("n", &ready, false, true, Todo::Nothing),
            ("n", &ready, false, false, Todo::Lost),
            ("n", &ready, true, false, Todo::Nothing),
            ("other", &ready, false, false, Todo::Nothing),
            ("n", &failed, false, false, Todo::Nothing),
        ] {
            let found = todo(&content(node, status, going), "n", is_here);
            assert_eq!(found, expected, "{node} {status} {going} {is_here}");
        }
    }

    #[test]
    fn what_is_written_is_understood() {
        let record = Record {
            renewable: false,
            ..Record::default()
        };
        let read = |status: Value| -> VirtualMachineSnapshotContentStatus {
            serde_json::from_value(status).expect("as the type has it")
        };
        let memory = read(ready(&record, (5 << 20) + 1, Some(12)))
            .memory
            .expect("memory");
        assert_eq!(memory.size, Some(Quantity("6Mi".to_owned())));
        assert_eq!(memory.paused_milliseconds, Some(12));
        assert_eq!(memory.renewable, Some(false));
        let told = read(failed("no room", jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(told.ready_to_use, Some(false));
        assert_eq!(
            told.error.and_then(|it| it.message).as_deref(),
            Some("no room")
        );
    }

    #[test]
    fn only_another_save_and_a_launcher_that_is_silent_are_tried_again() {
        let refused = |reason: &str| {
            failure(SaveError::Launcher(LauncherError::Refused {
                reason: reason.to_owned(),
                message: "m".to_owned(),
            }))
        };
        for reason in ["Saving", "Stopping", "NotRunning"] {
            assert!(refused(reason).passing, "{reason}");
        }
        assert!(!refused("NoHook").passing);
        assert_eq!(refused("NoHook").message, "NoHook: m");
        assert!(!failure(SaveError::NoRoom("full".to_owned())).passing);
    }
}
