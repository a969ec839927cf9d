//! Owner references: dependants without a living owner are deleted; owners that wait for their
//! dependants are let go once those are gone (foreground) or have forgotten them (orphan).

mod graph;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use store::Listing;

use crate::garbage::graph::{Graph, Step};
use crate::internal::Actor;
use crate::metadata;
use crate::object::delete::{DeleteOptions, FOREGROUND, ORPHAN, Propagation};
use crate::registry::Kind;
use crate::server::Inner;
use crate::status::Status;
use crate::stored;

/// Steps that failed are tried again after this.
const REST: Duration = Duration::from_secs(1);

/// Runs for as long as the server.
pub(crate) async fn run(server: Arc<Inner>) {
    let actor = Actor::new("generic-garbage-collector");
    loop {
        if let Err(status) = work(&server, &actor).await {
            tracing::warn!(%status, "owner references could not be looked after; trying again");
        }
        tokio::time::sleep(REST).await;
    }
}

/// Works until the watch ends.
async fn work(server: &Inner, actor: &Actor) -> Result<(), Status> {
    let failed = |error| crate::object::store_failure(&error);
    let page = server
        .store
        .list("/registry/", Listing::default())
        .map_err(failed)?;
    let mut watch = server
        .store
        .watch("/registry/", page.revision)
        .map_err(failed)?;
    let mut graph = Graph::default();
    let mut due = BTreeSet::new();
    for entry in &page.entries {
        graph.put(&entry.key, &entry.value, &mut due);
    }
    let mut again = BTreeSet::new();
    loop {
        for uid in std::mem::take(&mut due) {
            if let Err(status) = settle(server, actor, &graph, &uid).await {
                tracing::debug!(%status, uid, "an owner reference is looked at again later");
                again.insert(uid);
            }
        }
        let event = if again.is_empty() {
            watch.next().await
        } else {
            match tokio::time::timeout(REST, watch.next()).await {
                Ok(event) => event,
                Err(_) => {
                    due.append(&mut again);
                    continue;
                }
            }
        };
        let mut next = event;
        loop {
            match next {
                Some(Ok(event)) => match event.entry() {
                    Some(entry) => graph.put(&entry.key, &entry.value, &mut due),
                    None => graph.remove(&event.key, &mut due),
                },
                Some(Err(_)) | None => return Ok(()),
            }
            // Everything that is known already comes first, so that an owner and its dependants,
            // deleted together, are seen together.
            next = match watch.try_next() {
                None => break,
                more => more,
            };
        }
    }
}

/// Does what the graph says about an object.
async fn settle(server: &Inner, actor: &Actor, graph: &Graph, uid: &str) -> Result<(), Status> {
    let registry = server.registry.load_full();
    let known = |api_version: &str, kind: &str| registry.by_kind(api_version, kind).is_some();
    for step in graph.steps(uid, &known) {
        let key = match &step {
            Step::Delete { key, .. } | Step::Forget { key, .. } | Step::Release { key, .. } => key,
        };
        let Some(parts) = stored::parts(key) else {
            continue;
        };
        let Some(kind) = registry.stored(parts.group, parts.resource) else {
            continue;
        };
        let target = Target {
            server,
            actor,
            kind,
            namespace: parts.namespace,
            name: parts.name,
        };
        match perform(&target, &step).await {
            Ok(()) => {}
            // The object changed or went; its event brings it here again if need be.
            Err(status) if matches!(status.code, 404 | 409) => {}
            Err(status) => return Err(status),
        }
    }
    Ok(())
}

struct Target<'a> {
    server: &'a Inner,
    actor: &'a Actor,
    kind: &'a Arc<Kind>,
    namespace: Option<&'a str>,
    name: &'a str,
}

async fn perform(target: &Target<'_>, step: &Step) -> Result<(), Status> {
    let Target {
        server,
        actor,
        kind,
        namespace,
        name,
    } = *target;
    match step {
        Step::Delete {
            uid, propagation, ..
        } => {
            let options = DeleteOptions {
                uid: Some(uid.clone()),
                propagation: Some(*propagation),
                ..DeleteOptions::default()
            };
            actor
                .delete(server, kind, namespace, name, &options)
                .await?;
        }
        Step::Forget { uid, owners, .. } => {
            let change = |object: Value| without_owners(object, uid, owners);
            actor
                .update(server, kind, namespace, name, None, &change)
                .await?;
        }
        Step::Release {
            uid, propagation, ..
        } => {
            let finalizer = if *propagation == Propagation::Orphan {
                ORPHAN
            } else {
                FOREGROUND
            };
            let change = |mut object: Value| {
                check_uid(&object, uid)?;
                let left: Vec<String> = metadata::finalizers(&object)
                    .into_iter()
                    .filter(|name| *name != finalizer)
                    .map(str::to_owned)
                    .collect();
                metadata::set_finalizers(&mut object, &left);
                Ok(object)
            };
            actor
                .update(server, kind, namespace, name, None, &change)
                .await?;
        }
    }
    Ok(())
}

fn check_uid(object: &Value, uid: &str) -> Result<(), Status> {
    if metadata::uid(object) == uid {
        Ok(())
    } else {
        Err(Status::new(
            409,
            "Conflict",
            "the object is another one of the same name",
        ))
    }
}

fn without_owners(mut object: Value, uid: &str, owners: &[String]) -> Result<Value, Status> {
    check_uid(&object, uid)?;
    let left: Vec<Value> = metadata::field(&object, "ownerReferences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|reference| {
            let owner = reference.get("uid").and_then(Value::as_str).unwrap_or("");
            !owners.iter().any(|gone| gone == owner)
        })
        .cloned()
        .collect();
    metadata::set(
        &mut object,
        "ownerReferences",
        (!left.is_empty()).then(|| Value::from(left)),
    );
    Ok(object)
}
