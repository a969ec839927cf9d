//! Writes of one object each, that fail if the object is not as it was looked at.

use crate::difference::merge_patch;
use kube::api::{Api, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

/// Changes an object; `change` is a merge patch. Answers with the object as it is now.
pub(crate) async fn object<K>(client: &Client, object: &K, change: Value) -> kube::Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug,
    K: DeserializeOwned,
{
    let change = guarded(object, change);
    let objects = api::<K>(client, object);
    let name = object.name_any();
    objects
        .patch(&name, &PatchParams::default(), &Patch::Merge(&change))
        .await
}

/// Changes what differs between two states of an object's status, if anything does. Answers with the object as it is
/// now.
pub(crate) async fn status<K>(
    client: &Client,
    object: &K,
    before: &impl Serialize,
    after: &impl Serialize,
) -> kube::Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug,
    K: DeserializeOwned,
{
    let Some(patch) = merge_patch(before, after).map_err(kube::Error::SerdeError)? else {
        return Ok(object.clone());
    };
    let change = guarded(object, json!({ "status": patch }));
    let objects = api::<K>(client, object);
    let name = object.name_any();
    objects
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(&change))
        .await
}

/// The same, and takes in the object as it is now. False: it is gone.
pub(crate) async fn told<K>(
    client: &Client,
    object: &mut K,
    before: &impl Serialize,
    after: &impl Serialize,
) -> kube::Result<bool>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug,
    K: DeserializeOwned,
{
    match status(client, object, before, after).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        written => {
            *object = written?;
            Ok(true)
        }
    }
}

/// Puts a finalizer on, or takes it off. Answers with the object as it is now.
pub(crate) async fn finalizer<K>(
    client: &Client,
    held: &K,
    finalizer: &str,
    is_held: bool,
) -> kube::Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug,
    K: DeserializeOwned,
{
    let has = held.finalizers().iter().any(|it| it == finalizer);
    if has == is_held {
        return Ok(held.clone());
    }
    let others = held.finalizers().iter().filter(|it| *it != finalizer);
    let ours = is_held.then_some(finalizer);
    let wanted: Vec<&str> = others.map(String::as_str).chain(ours).collect();
    object(
        client,
        held,
        json!({ "metadata": { "finalizers": wanted } }),
    )
    .await
}

/// The objects of a kind in the namespace of `neighbour`.
pub(crate) fn api<K>(client: &Client, neighbour: &impl kube::ResourceExt) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), &neighbour.namespace().unwrap_or_default())
}

fn guarded(object: &impl kube::ResourceExt, mut change: Value) -> Value {
    let uid = object.uid();
    let version = object.resource_version();
    change["metadata"]["uid"] = json!(uid);
    change["metadata"]["resourceVersion"] = json!(version);
    change
}
