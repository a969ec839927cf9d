//! A definition that is deleted takes its objects with it: they go first, then the definition.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use store::{Entry, Expect, Listing};

use crate::builtin::EXTENSIONS_GROUP;
use crate::crd::{CLEANUP, DEFINITIONS};
use crate::internal::Actor;
use crate::metadata;
use crate::object::delete::DeleteOptions;
use crate::server::Inner;
use crate::status::Status;
use crate::stored;

/// How often a definition that waits for its objects to go is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Rest after a failure.
const REST: Duration = Duration::from_secs(1);

/// Runs for as long as the server.
pub(crate) async fn run(server: Arc<Inner>) {
    let actor = Actor::new("customresource-cleanup");
    loop {
        if let Err(status) = work(&server, &actor).await {
            tracing::warn!(%status, "deleted definitions could not be cleaned up; trying again");
        }
        tokio::time::sleep(REST).await;
    }
}

async fn work(server: &Inner, actor: &Actor) -> Result<(), Status> {
    let prefix = stored::prefix(EXTENSIONS_GROUP, DEFINITIONS, None);
    let failed = |error| crate::object::store_failure(&error);
    let page = server
        .store
        .list(&prefix, Listing::default())
        .map_err(failed)?;
    let mut watch = server.store.watch(&prefix, page.revision).map_err(failed)?;
    let mut ending: BTreeSet<String> = page.entries.iter().filter_map(ending_name).collect();
    loop {
        for name in ending.clone() {
            if clean(server, actor, &name).await? {
                ending.remove(&name);
            }
        }
        let event = if ending.is_empty() {
            watch.next().await
        } else {
            match tokio::time::timeout(LOOK_EVERY, watch.next()).await {
                Ok(event) => event,
                Err(_) => continue,
            }
        };
        match event {
            Some(Ok(event)) => ending.extend(event.entry().as_ref().and_then(ending_name)),
            Some(Err(_)) | None => return Ok(()),
        }
    }
}

/// The name of a definition that waits for its objects.
fn ending_name(entry: &Entry) -> Option<String> {
    let definition = stored::decode_entry(entry).ok()?;
    let waits =
        metadata::is_deleting(&definition) && metadata::finalizers(&definition).contains(&CLEANUP);
    waits.then(|| metadata::name(&definition).to_owned())
}

/// Deletes the objects of a definition and, once there are none, lets it go. Returns whether there
/// is nothing left to do.
async fn clean(server: &Inner, actor: &Actor, name: &str) -> Result<bool, Status> {
    let key = stored::key(EXTENSIONS_GROUP, DEFINITIONS, None, name);
    let Some(entry) = server.store.get(&key) else {
        return Ok(true);
    };
    let definition = stored::decode_entry(&entry).map_err(Status::internal)?;
    let group = definition["spec"]["group"].as_str().unwrap_or("");
    let plural = definition["status"]["acceptedNames"]["plural"]
        .as_str()
        .unwrap_or("");
    if !plural.is_empty() && !delete_objects(server, actor, group, plural).await? {
        return Ok(false);
    }
    let registry = server.registry.load_full();
    let Some(definitions) = registry.stored(EXTENSIONS_GROUP, DEFINITIONS) else {
        return Ok(true);
    };
    let change = |mut object: Value| {
        let left: Vec<String> = metadata::finalizers(&object)
            .into_iter()
            .filter(|finalizer| *finalizer != CLEANUP)
            .map(str::to_owned)
            .collect();
        metadata::set_finalizers(&mut object, &left);
        Ok(object)
    };
    match actor
        .update(server, definitions, None, name, None, &change)
        .await
    {
        Ok(_) => {}
        Err(status) if status.code == 404 => {}
        Err(status) => return Err(status),
    }
    // A create that began before the definition was marked may have ended after the last look.
    if !plural.is_empty() {
        let prefix = stored::prefix(group, plural, None);
        let failed = |error| crate::object::store_failure(&error);
        for entry in server
            .store
            .list(&prefix, Listing::default())
            .map_err(failed)?
            .entries
        {
            match server.store.delete(&entry.key, Expect::Any).await {
                Ok(_) | Err(store::StoreError::Conflict { .. }) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Ok(true)
}

/// Returns whether no object is left.
async fn delete_objects(
    server: &Inner,
    actor: &Actor,
    group: &str,
    plural: &str,
) -> Result<bool, Status> {
    let registry = server.registry.load_full();
    // Without a kind no version of it is served, and nothing can be in the way.
    let Some(kind) = registry.stored(group, plural) else {
        return Ok(true);
    };
    let prefix = stored::prefix(group, plural, None);
    let failed = |error| crate::object::store_failure(&error);
    for entry in server
        .store
        .list(&prefix, Listing::default())
        .map_err(failed)?
        .entries
    {
        let Some(parts) = stored::parts(&entry.key) else {
            continue;
        };
        let object = kind.read(&entry)?;
        if metadata::is_deleting(&object) {
            continue;
        }
        let options = DeleteOptions::default();
        match actor
            .delete(server, kind, parts.namespace, parts.name, &options)
            .await
        {
            Ok(_) => {}
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let left = server.store.list(
        &prefix,
        Listing {
            limit: Some(1),
            ..Listing::default()
        },
    );
    Ok(left.map_err(failed)?.entries.is_empty())
}
