//! `kube::Client` over the local service: what every part of the product uses.

use crate::harness::{PATIENCE, World, foo_definition};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::json;

fn client(world: &World) -> Client {
    Client::new(world.server.local(world.user.clone()), "default")
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).expect("a ConfigMap")
}

#[tokio::test]
async fn a_kube_client_lists_creates_patches_and_deletes() {
    let world = World::new().await;
    let maps = Api::<ConfigMap>::default_namespaced(client(&world));
    maps.create(&PostParams::default(), &map("a"))
        .await
        .expect("created");
    let patch = Patch::Merge(json!({"data": {"k": "v"}}));
    let changed = maps
        .patch("a", &PatchParams::default(), &patch)
        .await
        .expect("patched");
    assert_eq!(changed.data.expect("data")["k"], "v");
    let apply = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"l": "w"}});
    let params = PatchParams::apply("me").force();
    let applied = maps
        .patch("a", &params, &Patch::Apply(apply))
        .await
        .expect("applied");
    assert_eq!(applied.data.expect("data").len(), 2);
    let list = maps
        .list(&ListParams::default().limit(1))
        .await
        .expect("listed");
    assert_eq!(list.items.len(), 1);
    maps.delete("a", &DeleteParams::default())
        .await
        .expect("deleted");
    let error = maps.get("a").await.expect_err("gone");
    assert!(matches!(error, kube::Error::Api(status) if status.code == 404));
}

#[tokio::test]
async fn watchers_of_both_strategies_see_objects_come_and_go() {
    let world = World::new().await;
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let maps = Api::<ConfigMap>::default_namespaced(client(&world));
        maps.create(&PostParams::default(), &map("a"))
            .await
            .expect("created");
        let mut stream = watcher(maps.clone(), config).applied_objects().boxed();
        let mut next = async || {
            let object = tokio::time::timeout(PATIENCE, stream.try_next())
                .await
                .expect("in time");
            object
                .expect("no error")
                .expect("an object")
                .metadata
                .name
                .expect("a name")
        };
        assert_eq!(next().await, "a");
        maps.create(&PostParams::default(), &map("b"))
            .await
            .expect("created");
        assert_eq!(next().await, "b");
        for name in ["a", "b"] {
            maps.delete(name, &DeleteParams::default())
                .await
                .expect("deleted");
        }
    }
}

#[tokio::test]
async fn a_custom_kind_is_defined_and_used() {
    let world = World::new().await;
    let definitions = Api::<CustomResourceDefinition>::all(client(&world));
    let definition = serde_json::from_value(foo_definition()).expect("a definition");
    definitions
        .create(&PostParams::default(), &definition)
        .await
        .expect("created");
    let resource = ApiResource {
        group: "ex.io".into(),
        version: "v1".into(),
        api_version: "ex.io/v1".into(),
        kind: "Foo".into(),
        plural: "foos".into(),
    };
    let foos = Api::<DynamicObject>::default_namespaced_with(client(&world), &resource);
    let object = DynamicObject::new("f", &resource).data(json!({"spec": {"color": "red"}}));
    let made = foos
        .create(&PostParams::default(), &object)
        .await
        .expect("created");
    assert_eq!(made.data["spec"]["replicas"], 1);
    let status = Patch::Merge(json!({"status": {"ready": true}}));
    let patched = foos
        .patch_status("f", &PatchParams::default(), &status)
        .await
        .expect("patched");
    assert_eq!(patched.data["status"]["ready"], true);
    let discovery = kube::Discovery::new(client(&world))
        .run()
        .await
        .expect("discovered");
    assert!(discovery.groups().any(|group| group.name() == "ex.io"));
}
