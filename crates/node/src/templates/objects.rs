//! The objects of kind WarmStartTemplate: what stands in the book, for people; and their deletion, which empties it.
//!
//! They are written off the path of starts, and at most some times a second.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::names;
use api::quantity::Quantity;
use api::warm_start::{WarmStartTemplate, WarmStartTemplateSpec, phases};
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::watcher::{self, Event};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::Templates;
use super::book::{About, Book, Entry, Id, Refusal, Standing};
use super::key::Key;
use super::store::Stored;
use crate::agent::watch_all;
use crate::event::Fact;
use crate::machine::Context;

/// Between two rounds of writing: fifty machines that start at once are one change.
const PAUSE: Duration = Duration::from_millis(500);
/// After a write that failed.
const RETRY: Duration = Duration::from_secs(5);

/// Namespace and name of an object.
type Name = (String, String);

/// What an object says of a template that was found on disk.
pub(super) fn about(stored: &Stored) -> About {
    let guest = &stored.manifest.shape.guest;
    let text = |name: &str| guest.get(name).and_then(Value::as_str).unwrap_or_default();
    About {
        image: stored.manifest.image.clone(),
        accelerator: text("accelerator").to_owned(),
        memory_bytes: stored.manifest.kept.memory_bytes,
        qemu_version: stored.manifest.shape.surroundings.qemu_version.clone(),
    }
}

/// Writes objects and hears of their deletion, for ever. Tells `ready` once the existing ones are known.
pub(super) async fn keep(context: &Context, ready: oneshot::Sender<()>) {
    let mut ready = Some(ready);
    let mut objects = watch_all::<WarmStartTemplate>(&context.client, watcher::Config::default());
    let mut known = Objects {
        context,
        since: context.clock.now(),
        by_name: BTreeMap::new(),
        listing: None,
    };
    loop {
        tokio::select! {
            Some(event) = objects.next() => {
                if known.take(event).await && let Some(ready) = ready.take() {
                    known.adopt().await;
                    // Nobody waits for it only when we end.
                    let _ = ready.send(());
                }
            }
            () = context.templates.changed.notified(), if ready.is_none() => {
                let pause = if known.write().await { PAUSE } else { RETRY };
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// The objects of this node.
struct Objects<'a> {
    context: &'a Context,
    /// When we began to look.
    since: Timestamp,
    by_name: BTreeMap<Name, WarmStartTemplate>,
    listing: Option<BTreeSet<Name>>,
}

fn name_of(object: &WarmStartTemplate) -> Name {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// What an object is of, if it is one of ours.
fn id_of(object: &WarmStartTemplate) -> Option<Id> {
    let key = Key::parse(&object.spec.key)?;
    Some((object.namespace().unwrap_or_default(), key))
}

/// Templates from before `since` whose objects were deleted while nobody looked. Those made from then on may have none
/// yet.
fn deleted_meanwhile(book: &Book, with_object: &BTreeSet<Id>, since: Timestamp) -> Vec<Id> {
    let entries = book.entries.iter();
    entries
        .filter(|(id, entry)| match &entry.standing {
            Standing::Building => false,
            Standing::Ready(stored) if stored.manifest.made_at >= since => false,
            Standing::Ready(_) | Standing::Refused(_) => !with_object.contains(*id),
        })
        .map(|(id, _)| id.clone())
        .collect()
}

impl Objects<'_> {
    fn templates(&self) -> &Templates {
        &self.context.templates
    }

    /// Takes an event in; true when a list of all is complete.
    async fn take(&mut self, event: Event<WarmStartTemplate>) -> bool {
        let ours = |object: &WarmStartTemplate| object.spec.node == self.context.settings.name;
        match event {
            Event::Init => self.listing = Some(BTreeSet::new()),
            Event::InitApply(object) | Event::Apply(object) if ours(&object) => {
                let name = name_of(&object);
                if let Some(listing) = &mut self.listing {
                    listing.insert(name.clone());
                }
                self.by_name.insert(name, object);
            }
            Event::InitDone => {
                let listed = self.listing.take().unwrap_or_default();
                let gone: Vec<Name> = self
                    .by_name
                    .keys()
                    .filter(|name| !listed.contains(*name))
                    .cloned()
                    .collect();
                for name in gone {
                    self.gone(&name).await;
                }
                return true;
            }
            Event::Delete(object) if ours(&object) => {
                let name = name_of(&object);
                let known = self.by_name.get(&name);
                // Not an older one of the same name, whose end is told late.
                if known.is_some_and(|known| known.uid() == object.uid()) {
                    self.gone(&name).await;
                }
            }
            Event::InitApply(_) | Event::Apply(_) | Event::Delete(_) => {}
        }
        false
    }

    /// An object is gone: so is its template, if we did not remove it ourselves.
    async fn gone(&mut self, name: &Name) {
        let object = self.by_name.remove(name);
        let Some(id) = object.as_ref().and_then(id_of) else {
            return;
        };
        let is_known = self.templates().book().entries.contains_key(&id);
        if is_known {
            tracing::info!(namespace = id.0, key = %id.1, "a template was deleted");
            self.templates().forget(&id).await;
        }
    }

    /// Brings together what is on disk and what the API knows, after a start of ours.
    async fn adopt(&mut self) {
        let fingerprint = self.templates().fingerprint();
        let mut with_object = BTreeSet::new();
        for object in self.by_name.values() {
            let (Some(id), Some(status)) = (id_of(object), &object.status) else {
                continue;
            };
            let mut book = self.context.templates.book();
            let refused =
                status.phase == phases::REFUSED && object.spec.surroundings == fingerprint;
            if refused && !book.entries.contains_key(&id) {
                let refusal = Refusal {
                    reason: status.reason.clone().unwrap_or_default(),
                    message: status.message.clone().unwrap_or_default(),
                    retry_at: None,
                };
                let entry = Entry::new(Standing::Refused(refusal), about_of(&object.spec));
                book.entries.insert(id.clone(), entry);
            }
            if let Some(entry) = book.entries.get_mut(&id) {
                entry.uses = entry.uses.saturating_add(status.uses);
                entry.dropped = entry.dropped.saturating_add(status.failures);
                let used = status.last_used_at.as_ref().map(|time| time.0);
                entry.last_used_at = entry.last_used_at.max(used);
            }
            with_object.insert(id);
        }
        // Another API server knows nothing of what is here.
        let without = deleted_meanwhile(&self.templates().book(), &with_object, self.since);
        if !self.context.foreign {
            for id in without {
                tracing::info!(namespace = id.0, key = %id.1, "a template was deleted");
                self.templates().forget(&id).await;
            }
        }
        self.templates().changed.notify_one();
    }

    /// Writes what has changed; false if something has to be tried again.
    async fn write(&mut self) -> bool {
        let changed: Vec<(Id, Entry)> = {
            let mut book = self.context.templates.book();
            let entries = book.entries.iter_mut().filter(|(_, entry)| entry.changed);
            let take = |(id, entry): (&Id, &mut Entry)| {
                entry.changed = false;
                (id.clone(), entry.clone())
            };
            entries.map(take).collect()
        };
        self.tell_news();
        let mut all_well = true;
        for (id, entry) in changed {
            match self.write_one(&id, &entry).await {
                Ok(()) => {}
                Err(kube::Error::Api(status)) if is_over(&status) => {
                    self.templates().forget(&id).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "a template's object is not written; will try again");
                    all_well = false;
                    if let Some(entry) = self.templates().book().entries.get_mut(&id) {
                        entry.changed = true;
                    }
                }
            }
        }
        all_well &= self.delete_those_without_an_entry().await;
        if !all_well {
            self.templates().changed.notify_one();
        }
        all_well
    }

    /// Tells of templates that were dropped, by events on their objects, which may be gone in a moment.
    fn tell_news(&self) {
        let news = std::mem::take(&mut self.context.templates.book().news);
        for (id, message) in news {
            let name = self.name(&id);
            let known = self.by_name.get(&name);
            let reference = ObjectReference {
                uid: known.and_then(WarmStartTemplate::uid),
                api_version: Some(format!("{}/{}", names::OWN_GROUP, names::OWN_VERSION)),
                kind: Some("WarmStartTemplate".to_owned()),
                namespace: Some(name.0),
                name: Some(name.1),
                ..ObjectReference::default()
            };
            let fact = Fact::warning("TemplateDropped", message);
            let now = self.context.clock.now();
            self.context.recorder.record(reference, fact, now);
        }
    }

    /// What its object is called: nodes may have templates of the same key.
    fn name(&self, id: &Id) -> Name {
        let node = &self.context.settings.name;
        (id.0.clone(), format!("{}-{node}", id.1.short()))
    }

    async fn write_one(&mut self, id: &Id, entry: &Entry) -> kube::Result<()> {
        let name = self.name(id);
        let api: Api<WarmStartTemplate> = Api::namespaced(self.context.client.clone(), &name.0);
        if !self.by_name.contains_key(&name) {
            let mut object = WarmStartTemplate::new(&name.1, self.spec(id, entry));
            object.metadata = ObjectMeta {
                name: Some(name.1.clone()),
                namespace: Some(name.0.clone()),
                ..ObjectMeta::default()
            };
            let created = api.create(&PostParams::default(), &object).await;
            let created = match created {
                // The watch tells of it in a moment.
                Err(kube::Error::Api(status)) if status.code == 409 => api.get(&name.1).await?,
                created => created?,
            };
            self.by_name.insert(name.clone(), created);
        }
        let mut status = status(entry);
        let standing = self.templates().pool.standing(id);
        status["standby"] = standing.map_or(
            Value::Null,
            |(ready, wanted)| json!({ "ready": ready, "wanted": wanted }),
        );
        let patch = json!({ "status": status });
        let parameters = PatchParams::default();
        api.patch_status(&name.1, &parameters, &Patch::Merge(&patch))
            .await
            .map(drop)
    }

    fn spec(&self, id: &Id, entry: &Entry) -> WarmStartTemplateSpec {
        let about = &entry.about;
        WarmStartTemplateSpec {
            node: self.context.settings.name.clone(),
            key: id.1.as_str().to_owned(),
            image: about.image.clone(),
            accelerator: about.accelerator.clone(),
            memory: Some(Quantity::from_bytes(about.memory_bytes)),
            qemu_version: about.qemu_version.clone(),
            surroundings: self.templates().fingerprint(),
        }
    }

    async fn delete_those_without_an_entry(&mut self) -> bool {
        let stale: Vec<(Name, Option<String>)> = {
            let book = self.context.templates.book();
            let objects = self.by_name.iter();
            let is_stale = |object: &WarmStartTemplate| {
                id_of(object).is_none_or(|id| !book.entries.contains_key(&id))
            };
            objects
                .filter(|(_, object)| is_stale(object))
                .map(|(name, object)| (name.clone(), object.uid()))
                .collect()
        };
        let mut all_well = true;
        for ((namespace, name), uid) in stale {
            let api: Api<WarmStartTemplate> =
                Api::namespaced(self.context.client.clone(), &namespace);
            let parameters = DeleteParams {
                preconditions: Some(Preconditions {
                    uid,
                    resource_version: None,
                }),
                ..DeleteParams::default()
            };
            match api.delete(&name, &parameters).await {
                Err(kube::Error::Api(status)) if !matches!(status.code, 404 | 409) => {
                    tracing::warn!(%status.message, "a template's object is not deleted");
                    all_well = false;
                    continue;
                }
                Err(error) if !matches!(error, kube::Error::Api(_)) => {
                    tracing::warn!(%error, "a template's object is not deleted");
                    all_well = false;
                    continue;
                }
                _ => {}
            }
            self.by_name.remove(&(namespace, name));
        }
        all_well
    }
}

/// Whether an answer says that an object is gone, or that its namespace goes, and with it what it holds. Whoever merely
/// may not write it is told in vain: the template is as good as before.
fn is_over(status: &kube::core::Status) -> bool {
    let details = status.details.iter();
    let mut causes = details.flat_map(|details| &details.causes);
    // As Kubernetes' NamespaceLifecycle has it.
    status.code == 404
        || status.code == 403 && causes.any(|cause| cause.reason == "NamespaceTerminating")
}

fn about_of(spec: &WarmStartTemplateSpec) -> About {
    let memory = spec.memory.as_ref().and_then(Quantity::to_units);
    About {
        image: spec.image.clone(),
        accelerator: spec.accelerator.clone(),
        memory_bytes: memory.unwrap_or_default(),
        qemu_version: spec.qemu_version.clone(),
    }
}

/// The status of an entry's object, whole: what is not there is null, and so removed.
fn status(entry: &Entry) -> Value {
    let (phase, refusal, stored) = match &entry.standing {
        Standing::Building => (phases::BUILDING, None, None),
        Standing::Ready(stored) => (phases::READY, None, Some(stored)),
        Standing::Refused(refusal) => match refusal.retry_at {
            None => (phases::REFUSED, Some(refusal), None),
            Some(_) => (phases::FAILED, Some(refusal), None),
        },
    };
    let manifest = stored.map(|stored| &stored.manifest);
    let again = entry.last_failure.as_ref().filter(|_| stored.is_some());
    let again = again.map(|why| format!("made again: {why}"));
    let message = refusal.map(|it| it.message.clone()).or(again);
    let held = entry.hot.as_ref().map_or(0, |hot| hot.held_bytes);
    json!({
        "phase": phase,
        "reason": refusal.map(|it| &it.reason),
        "message": message,
        "madeAt": manifest.map(|it| Time(it.made_at)),
        "size": manifest.map(|it| size(it.disk_bytes)),
        "sizeBytes": manifest.map(|it| it.disk_bytes),
        "heldBytes": held,
        "uses": entry.uses,
        "lastUsedAt": entry.last_used_at.map(Time),
        "failures": entry.dropped,
    })
}

/// Bytes in a unit that fits, rounded up: for people, the exact number stands beside.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{}Ki", bytes.div_ceil(1 << 10)),
        _ => format!("{}Mi", bytes.div_ceil(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::templates::fixtures::{keep, made};
    use crate::templates::store::Store;
    use std::sync::Arc;

    #[test]
    fn a_template_without_an_object_was_deleted_only_if_it_could_have_had_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path().join("templates")).expect("opened");
        let stored = Arc::new(keep(&store, &made()));
        let made_at = stored.manifest.made_at;
        let id = ("ns".to_owned(), stored.manifest.key.clone());
        let mut book = Book::default();
        let about = about(&stored);
        let entry = Entry::new(Standing::Ready(stored), about);
        book.entries.insert(id.clone(), entry);
        let (later, none) = (made_at + Duration::from_secs(1), BTreeSet::new());
        let all = BTreeSet::from([id.clone()]);
        assert_eq!(deleted_meanwhile(&book, &none, later), [id]);
        assert_eq!(deleted_meanwhile(&book, &all, later), []);
        assert_eq!(deleted_meanwhile(&book, &none, made_at), []);
        for entry in book.entries.values_mut() {
            entry.standing = Standing::Building;
        }
        assert_eq!(deleted_meanwhile(&book, &none, later), []);
    }

    #[test]
    fn each_standing_has_a_phase_and_a_refusal_its_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path().join("templates")).expect("opened");
        let stored = Arc::new(keep(&store, &made()));
        let refusal = |retry_at| Refusal {
            reason: "NoHook".to_owned(),
            message: "m".to_owned(),
            retry_at,
        };
        let soon = Some(Timestamp::UNIX_EPOCH);
        for (standing, phase, reason) in [
            (Standing::Building, "Building", Value::Null),
            (Standing::Ready(Arc::clone(&stored)), "Ready", Value::Null),
            (Standing::Refused(refusal(None)), "Refused", json!("NoHook")),
            (Standing::Refused(refusal(soon)), "Failed", json!("NoHook")),
        ] {
            let found = status(&Entry::new(standing, about(&stored)));
            assert_eq!(
                (&found["phase"], &found["reason"]),
                (&json!(phase), &reason)
            );
            let read: api::warm_start::WarmStartTemplateStatus =
                serde_json::from_value(found.clone()).expect("as the type has it");
            assert_eq!(read.size.is_some(), phase == "Ready", "{found}");
        }
        assert_eq!(size(1), "1Ki");
        assert_eq!(size(80 << 20), "80Mi");
    }

    #[test]
    fn only_what_is_gone_or_going_is_forgotten() {
        let answer = |code: u16, cause: Option<&str>| -> kube::core::Status {
            let causes =
                cause.map(|cause| json!({ "reason": cause, "message": "m", "field": "f" }));
            serde_json::from_value(json!({
                "status": "Failure", "code": code, "message": "m", "reason": "r",
                "details": { "causes": causes.into_iter().collect::<Vec<_>>() },
            }))
            .expect("a Status")
        };
        assert!(is_over(&answer(404, None)));
        assert!(is_over(&answer(403, Some("NamespaceTerminating"))));
        assert!(!is_over(&answer(403, None)));
        assert!(!is_over(&answer(403, Some("QuotaExceeded"))));
        assert!(!is_over(&answer(500, Some("NamespaceTerminating"))));
    }
}
