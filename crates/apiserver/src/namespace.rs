//! The life of namespaces: those that always exist, what each new one gets, and how one ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use store::{Entry, Listing};

use crate::internal::Actor;
use crate::metadata;
use crate::object::delete::{DeleteOptions, PERMANENT_NAMESPACES};
use crate::registry::Kind;
use crate::server::Inner;
use crate::status::Status;

/// How often a namespace that waits for its content to go is looked at. Content that goes by itself
/// (pods, finalizers) may end at any time, and a look costs microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Rest after a failure, so that a full disk is not made busy too.
const REST: Duration = Duration::from_secs(1);

/// Runs for as long as the server.
pub(crate) async fn run(server: Arc<Inner>) {
    let actor = Actor::new("namespace-controller");
    loop {
        if let Err(status) = work(&server, &actor).await {
            tracing::warn!(%status, "namespaces could not be looked after; trying again");
        }
        tokio::time::sleep(REST).await;
    }
}

fn kind(server: &Inner, group: &str, plural: &str) -> Result<Arc<Kind>, Status> {
    let registry = server.registry.load();
    registry
        .stored(group, plural)
        .cloned()
        .ok_or_else(|| Status::internal(format!("there is no kind {plural}")))
}

/// Works until the watch ends.
async fn work(server: &Inner, actor: &Actor) -> Result<(), Status> {
    let namespaces = kind(server, "", "namespaces")?;
    for name in PERMANENT_NAMESPACES {
        let object = json!({"metadata": {"name": name}});
        match actor.create(server, &namespaces, None, object).await {
            Ok(_) => {}
            Err(status) if status.reason == "AlreadyExists" => {}
            Err(status) => return Err(status),
        }
    }
    let prefix = namespaces.prefix(Some("-"));
    let failed = |error| crate::object::store_failure(&error);
    let page = server
        .store
        .list(&prefix, Listing::default())
        .map_err(failed)?;
    let mut watch = server.store.watch(&prefix, page.revision).map_err(failed)?;
    let mut ending = BTreeSet::new();
    for entry in &page.entries {
        look(server, actor, entry, &mut ending).await;
    }
    loop {
        let event = if ending.is_empty() {
            watch.next().await
        } else {
            match tokio::time::timeout(LOOK_EVERY, watch.next()).await {
                Ok(event) => event,
                Err(_) => {
                    sweep_all(server, actor, &namespaces, &mut ending).await;
                    continue;
                }
            }
        };
        match event {
            Some(Ok(event)) => {
                if let Some(entry) = event.entry() {
                    look(server, actor, &entry, &mut ending).await;
                }
            }
            // The watch fell behind or the store closed: begin anew.
            Some(Err(_)) | None => return Ok(()),
        }
    }
}

/// A namespace as it is now: a new one is furnished, an ending one is noted.
async fn look(server: &Inner, actor: &Actor, entry: &Entry, ending: &mut BTreeSet<String>) {
    let Ok(namespace) = crate::stored::decode_entry(entry) else {
        tracing::error!(key = %entry.key, "a stored namespace cannot be read");
        return;
    };
    let name = metadata::name(&namespace);
    if metadata::is_deleting(&namespace) {
        ending.insert(name.to_owned());
    } else if let Err(status) = furnish(server, actor, name).await {
        tracing::warn!(name, %status, "a namespace could not be furnished");
    }
}

/// Gives a namespace its default ServiceAccount and the authority's certificate.
async fn furnish(server: &Inner, actor: &Actor, namespace: &str) -> Result<(), Status> {
    let accounts = kind(server, "", "serviceaccounts")?;
    if server
        .store
        .get(&accounts.key(Some(namespace), "default"))
        .is_none()
    {
        let object = json!({"metadata": {"name": "default"}});
        expected(
            actor
                .create(server, &accounts, Some(namespace), object)
                .await,
        )?;
    }
    let certificate = &server.settings.ca_pem;
    if certificate.is_empty() {
        return Ok(());
    }
    let maps = kind(server, "", "configmaps")?;
    let name = "kube-root-ca.crt";
    match server.store.get(&maps.key(Some(namespace), name)) {
        None => {
            let object = json!({
                "metadata": {"name": name, "annotations": {"kubernetes.io/description":
                    "The certificate by which clients in this namespace know the API server."}},
                "data": {"ca.crt": certificate},
            });
            expected(actor.create(server, &maps, Some(namespace), object).await)
        }
        Some(entry) => {
            let present = maps.read(&entry)?;
            if present["data"]["ca.crt"] == certificate.as_str() {
                return Ok(());
            }
            let change = |mut object: Value| {
                object["data"] = json!({"ca.crt": certificate});
                Ok(object)
            };
            expected(
                actor
                    .update(server, &maps, Some(namespace), name, None, &change)
                    .await,
            )
        }
    }
}

/// Somebody else may have been faster, or the namespace may be gone or going.
fn expected<T>(result: Result<T, Status>) -> Result<(), Status> {
    match result {
        Ok(_) => Ok(()),
        Err(status) if matches!(status.code, 403 | 404 | 409) => Ok(()),
        Err(status) => Err(status),
    }
}

async fn sweep_all(
    server: &Inner,
    actor: &Actor,
    namespaces: &Arc<Kind>,
    ending: &mut BTreeSet<String>,
) {
    for name in ending.clone() {
        match sweep(server, actor, namespaces, &name).await {
            Ok(true) => {
                ending.remove(&name);
            }
            Ok(false) => {}
            Err(status) => {
                tracing::warn!(name, %status, "a namespace's content could not be deleted yet");
            }
        }
    }
}

/// Deletes what is in a namespace and, once it is empty, the namespace. Returns whether it is gone.
async fn sweep(
    server: &Inner,
    actor: &Actor,
    namespaces: &Arc<Kind>,
    name: &str,
) -> Result<bool, Status> {
    if server.store.get(&namespaces.key(None, name)).is_none() {
        return Ok(true);
    }
    let mut left = Left::default();
    let kinds: Vec<Arc<Kind>> = server.registry.load().stored_kinds().cloned().collect();
    for kind in kinds.iter().filter(|kind| kind.resource.namespaced) {
        delete_content(server, actor, kind, name, &mut left).await?;
    }
    let conditions = left.conditions();
    let now = metadata::time(server.now());
    let change = |mut object: Value| {
        set_conditions(&mut object, &conditions, &now);
        Ok(object)
    };
    expected(
        actor
            .update(server, namespaces, None, name, Some("status"), &change)
            .await,
    )?;
    if !left.kinds.is_empty() {
        return Ok(false);
    }
    let change = |mut object: Value| {
        object["spec"]["finalizers"] = json!([]);
        Ok(object)
    };
    expected(
        actor
            .update(server, namespaces, None, name, Some("finalize"), &change)
            .await,
    )?;
    // A finalizer in its metadata may hold it still.
    if server.store.get(&namespaces.key(None, name)).is_some() {
        return Ok(false);
    }
    // A create that looked at the namespace before it was marked may have ended after the last look.
    let mut late = Left::default();
    for kind in kinds.iter().filter(|kind| kind.resource.namespaced) {
        delete_content(server, actor, kind, name, &mut late).await?;
    }
    Ok(true)
}

/// What is still in a namespace.
#[derive(Default)]
struct Left {
    /// Count by `resource.group`.
    kinds: BTreeMap<String, usize>,
    /// Count by finalizer.
    finalizers: BTreeMap<String, usize>,
    /// The first failures.
    failures: Vec<String>,
}

async fn delete_content(
    server: &Inner,
    actor: &Actor,
    kind: &Arc<Kind>,
    namespace: &str,
    left: &mut Left,
) -> Result<(), Status> {
    let page = server
        .store
        .list(&kind.prefix(Some(namespace)), Listing::default())
        .map_err(|error| crate::object::store_failure(&error))?;
    for entry in page.entries {
        let object = kind.read(&entry)?;
        if !metadata::is_deleting(&object) {
            let options = DeleteOptions {
                uid: Some(metadata::uid(&object).to_owned()),
                ..DeleteOptions::default()
            };
            let name = metadata::name(&object);
            let result = actor
                .delete(server, kind, Some(namespace), name, &options)
                .await;
            if let Err(status) = expected(result) {
                left.failures.push(status.message);
            }
        }
        if let Some(entry) = server.store.get(&entry.key) {
            let object = kind.read(&entry)?;
            *left
                .kinds
                .entry(kind.resource.qualified_resource())
                .or_default() += 1;
            for finalizer in metadata::finalizers(&object) {
                *left.finalizers.entry(finalizer.to_owned()).or_default() += 1;
            }
        }
    }
    Ok(())
}

impl Left {
    /// The five conditions of an ending namespace.
    fn conditions(&self) -> Vec<Value> {
        let list = |counts: &BTreeMap<String, usize>| {
            let texts: Vec<String> = counts
                .iter()
                .map(|(name, count)| format!("{name} has {count} resource instances"))
                .collect();
            texts.join(", ")
        };
        let owners: Vec<String> = self
            .finalizers
            .iter()
            .map(|(name, count)| format!("{name} in {count} resource instances"))
            .collect();
        let condition = |kind: &str, bad: bool, reason: &str, good: &str, message: String| {
            let (status, reason) = if bad {
                ("True", reason)
            } else {
                ("False", good)
            };
            json!({"type": kind, "status": status, "reason": reason, "message": message})
        };
        vec![
            condition(
                "NamespaceDeletionDiscoveryFailure",
                false,
                "",
                "ResourcesDiscovered",
                "All resources successfully discovered".to_owned(),
            ),
            condition(
                "NamespaceDeletionGroupVersionParsingFailure",
                false,
                "",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed".to_owned(),
            ),
            condition(
                "NamespaceDeletionContentFailure",
                !self.failures.is_empty(),
                "ContentDeletionFailed",
                "ContentDeleted",
                match self.failures.first() {
                    None => "All content successfully deleted, may be waiting on finalization"
                        .to_owned(),
                    Some(first) => format!("Failed to delete all resource types: {first}"),
                },
            ),
            condition(
                "NamespaceContentRemaining",
                !self.kinds.is_empty(),
                "SomeResourcesRemain",
                "ContentRemoved",
                if self.kinds.is_empty() {
                    "All content successfully removed".to_owned()
                } else {
                    format!("Some resources are remaining: {}", list(&self.kinds))
                },
            ),
            condition(
                "NamespaceFinalizersRemaining",
                !self.finalizers.is_empty(),
                "SomeFinalizersRemain",
                "ContentHasNoFinalizers",
                if self.finalizers.is_empty() {
                    "All content-preserving finalizers finished".to_owned()
                } else {
                    format!(
                        "Some content in the namespace has finalizers remaining: {}",
                        owners.join(", ")
                    )
                },
            ),
        ]
    }
}

/// Sets conditions; the time of one changes with its status only.
fn set_conditions(object: &mut Value, conditions: &[Value], now: &str) {
    let before = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let timed = conditions.iter().map(|condition| {
        let mut condition = condition.clone();
        let same = before
            .iter()
            .find(|known| known["type"] == condition["type"]);
        condition["lastTransitionTime"] = match same {
            Some(known) if known["status"] == condition["status"] => {
                known["lastTransitionTime"].clone()
            }
            _ => json!(now),
        };
        condition
    });
    object["status"]["conditions"] = timed.collect();
}
