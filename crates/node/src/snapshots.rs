//! The memory of snapshots: contents that name a guest of this node are filled in here, and what is of no content any more
//! is removed.
//!
//! ```text
//! content with spec.memory of this node ──► launcher saves, the guest goes on ──► saved/NAMESPACE/UID/ ──► status: ready
//! annotation check-requested ──► files, QEMU, processor and room looked through ──► status.memory.checked
//! content deleted ──► saved/NAMESPACE/UID/ removed
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use api::launcher::saved::Record;
use api::quantity::Quantity;
use api::resources;
use api::snapshot::{MemoryCheck, MemorySource, VirtualMachineSnapshotContent};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use crate::agent::watch_all;
use crate::launcher::LauncherError;
use crate::machine::Context;
use crate::saved::{self, Made, Owner, SaveError, Stored};
use crate::templates::{self, store::Fault};

/// Contents that are written or read at one time, each as fast as the disk takes it.
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
    /// Look through it, for a restore.
    Check,
}

/// What is to be done about `content`, on `node`, where `is_here` tells whether there are files of it, and `answered` for
/// which restore it was looked through already.
fn todo(
    content: &VirtualMachineSnapshotContent,
    node: &str,
    is_here: bool,
    answered: Option<&str>,
) -> Todo {
    let ours = memory_of(content, node).is_some();
    if !ours || content.metadata.deletion_timestamp.is_some() {
        return Todo::Nothing;
    }
    let status = content.status.clone().unwrap_or_default();
    match (status.ready_to_use, status.error) {
        (Some(true), None) if !is_here => Todo::Lost,
        (Some(true), None) => {
            check_wanted(content, answered).map_or(Todo::Nothing, |_| Todo::Check)
        }
        (Some(true), _) | (_, Some(_)) => Todo::Nothing,
        (_, None) => Todo::Save,
    }
}

/// UID of the restore for which a content is to be looked through, if that is not done.
fn check_wanted<'a>(
    content: &'a VirtualMachineSnapshotContent,
    answered: Option<&str>,
) -> Option<&'a str> {
    content
        .check_pending()
        .filter(|pending| answered != Some(*pending))
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
        answered: BTreeMap::new(),
    };
    let mut working = FuturesUnordered::new();
    loop {
        while working.len() < AT_ONCE
            && let Some((content, answered)) = contents.next()
        {
            working.push(work(context, content, answered));
        }
        tokio::select! {
            Some(event) = events.next() => contents.take(event).await,
            Some(done) = working.next(), if !working.is_empty() => contents.done(done).await,
        }
    }
}

/// UIDs of a content that is to be looked at again, and of the restore for which it was looked through.
type Done = (String, Option<String>);

/// Does what is to be done about a content that waited for its turn.
async fn work(
    context: &Context,
    content: VirtualMachineSnapshotContent,
    answered: Option<String>,
) -> Done {
    let ready = content.status.as_ref().and_then(|it| it.ready_to_use) == Some(true);
    if !ready {
        return (fill(context, content).await, None);
    }
    let uid = content.uid().unwrap_or_default();
    let Some(requested) = check_wanted(&content, answered.as_deref()) else {
        return (uid, None);
    };
    let is_told = check(context, &content, requested).await;
    (uid, is_told.then(|| requested.to_owned()))
}

/// The contents of this node.
struct Contents<'a> {
    context: &'a Context,
    by_uid: BTreeMap<String, VirtualMachineSnapshotContent>,
    listing: Option<BTreeSet<String>>,
    /// UIDs of those that wait for their turn.
    waiting: VecDeque<String>,
    /// UIDs of those that wait, or are worked on.
    busy: BTreeSet<String>,
    /// By UID: for which restore a content was looked through last. What was written of that may not be seen yet.
    answered: BTreeMap<String, String>,
}

impl Contents<'_> {
    /// The next one to work on, and for which restore it was looked through.
    fn next(&mut self) -> Option<(VirtualMachineSnapshotContent, Option<String>)> {
        while let Some(uid) = self.waiting.pop_front() {
            match self.by_uid.get(&uid) {
                Some(content) => return Some((content.clone(), self.answered.get(&uid).cloned())),
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
                self.answered.retain(|uid, _| listed.contains(uid));
                if !self.context.foreign {
                    self.sweep().await;
                }
            }
            Event::Delete(content) if ours(&content) => {
                let uid = content.uid().unwrap_or_default();
                self.by_uid.remove(&uid);
                self.answered.remove(&uid);
                let namespace = content.namespace().unwrap_or_default();
                remove(self.context, namespace, uid).await;
            }
            Event::InitApply(_) | Event::Apply(_) | Event::Delete(_) => {}
        }
    }

    /// One was worked on, or is to be tried again.
    async fn done(&mut self, (uid, answered): Done) {
        self.busy.remove(&uid);
        if let Some(requested) = answered.filter(|_| self.by_uid.contains_key(&uid)) {
            self.answered.insert(uid.clone(), requested);
        }
        self.look(&uid).await;
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
        let answered = self.answered.get(uid).map(String::as_str);
        match todo(content, &self.context.settings.name, is_here, answered) {
            Todo::Nothing => {}
            Todo::Save | Todo::Check => {
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
    tell(context, &content, &status).await;
    uid
}

/// Says in a content how it stands, as often as that takes. What is of a content that is gone goes.
async fn tell(context: &Context, content: &VirtualMachineSnapshotContent, status: &Value) {
    loop {
        match write(context, content, status).await {
            Ok(()) => break,
            Err(kube::Error::Api(status))
                if matches!(status.code, 404 | 409) && is_gone(context, content).await =>
            {
                // By whom the watch may have told before there were files.
                let namespace = content.namespace().unwrap_or_default();
                remove(context, namespace, content.uid().unwrap_or_default()).await;
                break;
            }
            Err(error) => {
                tracing::warn!(%error, "a snapshot's content is not written; will try again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Looks through what is kept for a content, and says in it what was found, for the restore of the UID `requested`.
/// False: that could not be seen for a moment.
async fn check(
    context: &Context,
    content: &VirtualMachineSnapshotContent,
    requested: &str,
) -> bool {
    let problem = match look_through(context, content).await {
        Ok(()) => None,
        Err(failure) if failure.passing => {
            let why = failure.message;
            tracing::debug!(content = content.name_any(), why, "looked through later");
            tokio::time::sleep(RETRY).await;
            return false;
        }
        Err(failure) => Some(failure.message),
    };
    if let Some(why) = &problem {
        tracing::warn!(
            content = content.name_any(),
            why,
            "no guest can go on from a snapshot"
        );
    }
    let found = MemoryCheck {
        restore_uid: requested.to_owned(),
        problem,
    };
    tell(context, content, &checked(&found)).await;
    true
}

/// Whether a guest can go on from what is kept for a content, as far as that can be seen before there is a machine.
async fn look_through(
    context: &Context,
    content: &VirtualMachineSnapshotContent,
) -> Result<(), Failure> {
    let of_fault = |fault: Fault| Failure {
        passing: fault.is_passing(),
        message: format!("what was kept of it is of no use: {fault}"),
    };
    let namespace = content.namespace().unwrap_or_default();
    let id = content.uid().unwrap_or_default();
    let stored = context.saved.get(&namespace, &id).map_err(of_fault)?;
    let stored = stored.ok_or_else(|| {
        let node = &context.settings.name;
        Failure::lasting(format!("nothing is kept of it on node {node}"))
    })?;
    let architecture = stored.manifest.shape["architecture"].as_str();
    let architecture = architecture.unwrap_or_default();
    let surroundings = context.templates.surroundings(architecture, None);
    let version = surroundings.map(|it| it.qemu_version);
    saved::fits_here(&stored.manifest, version.as_deref()).map_err(Failure::lasting)?;
    let verifies = stored.clone();
    let verified = tokio::task::spawn_blocking(move || verifies.verify()).await;
    verified.map_err(Failure::lasting)?.map_err(of_fault)?;
    let bytes = stored.copied_bytes().map_err(of_fault)?;
    let is_enough = |free| saved::room(saved::Writes::Copies, free, bytes);
    let room = context.saved.reserve(bytes, is_enough);
    let cannot_tell = |error: std::io::Error| Failure {
        passing: true,
        message: error.to_string(),
    };
    match room.map_err(cannot_tell)? {
        // Whoever goes on reserves it anew.
        Ok(_) => Ok(()),
        Err(message) => Err(Failure::lasting(format!(
            "{message}, or stop the virtual machine first: its disks go then"
        ))),
    }
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

/// Says nothing of what the check before has found.
fn checked(found: &MemoryCheck) -> Value {
    json!({ "memory": { "checked": { "restoreUID": found.restore_uid, "problem": found.problem } } })
}

fn failed(message: &str, now: Timestamp) -> Value {
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
        let (new, ready) = (json!({}), json!({ "readyToUse": true, "memory": {} }));
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
            let found = todo(&content(node, status, going), "n", is_here, None);
            assert_eq!(found, expected, "{node} {status} {going} {is_here}");
        }
    }

    #[test]
    fn a_snapshot_is_looked_through_once_for_each_restore_that_asks() {
        let ready = |checked: Option<&str>| {
            let checked = checked.map(|uid| json!({ "restoreUID": uid }));
            json!({ "readyToUse": true, "memory": { "checked": checked } })
        };
        for (requested, status, is_here, answered, expected) in [
            (None, ready(None), true, None, Todo::Nothing),
            (Some("b"), ready(None), true, None, Todo::Check),
            (Some("b"), ready(Some("a")), true, None, Todo::Check),
            (Some("b"), ready(Some("a")), true, Some("a"), Todo::Check),
            (Some("b"), ready(Some("b")), true, None, Todo::Nothing),
            // Told, and not seen yet.
            (Some("b"), ready(Some("a")), true, Some("b"), Todo::Nothing),
            (Some("b"), ready(None), false, None, Todo::Lost),
            (Some("b"), json!({}), true, None, Todo::Save),
        ] {
            let mut content = content("n", &status, false);
            let name = api::names::annotations::CHECK_REQUESTED.to_owned();
            let annotated = requested.map(|uid| (name, uid.to_owned()));
            content.metadata.annotations = Some(annotated.into_iter().collect());
            let found = todo(&content, "n", is_here, answered);
            assert_eq!(
                found, expected,
                "{requested:?} {status} {is_here} {answered:?}"
            );
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
        let found = MemoryCheck {
            restore_uid: "r-uid".to_owned(),
            problem: Some("its file state is damaged".to_owned()),
        };
        let memory = read(checked(&found)).memory.expect("memory");
        assert_eq!(memory.checked, Some(found));
        let told = read(failed("no room", Timestamp::UNIX_EPOCH));
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
