use crate::harness::{DEFINITIONS, World, foo, foo_definition};
use apiserver::{Extensions, Settings};
use serde_json::json;

const NAMESPACES: &str = "/api/v1/namespaces";

async fn world() -> World {
    let settings = Settings {
        ca_pem: "CERTIFICATE".to_owned(),
        ..Settings::default()
    };
    World::with(settings, Extensions::default()).await
}

#[tokio::test]
async fn a_new_namespace_is_furnished() {
    // 129
    let world = world().await;
    let made = world
        .post(NAMESPACES, &json!({"metadata": {"name": "n"}}))
        .await
        .expect(201);
    assert_eq!(
        made["metadata"]["labels"]["kubernetes.io/metadata.name"],
        "n"
    );
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(made["status"]["phase"], "Active");
    let base = format!("{NAMESPACES}/n");
    world
        .until(&format!("{base}/serviceaccounts/default"), |answer| {
            answer.code == 200
        })
        .await;
    let map = format!("{base}/configmaps/kube-root-ca.crt");
    let map = world.until(&map, |answer| answer.code == 200).await.json();
    assert_eq!(map["data"]["ca.crt"], "CERTIFICATE");
}

#[tokio::test]
async fn a_deleted_namespace_takes_everything_with_it() {
    // 130, 132, 34
    let world = world().await;
    world
        .post(NAMESPACES, &json!({"metadata": {"name": "n"}}))
        .await
        .expect(201);
    world.post(DEFINITIONS, &foo_definition()).await.expect(201);
    let foos = "/apis/ex.io/v1/namespaces/n/foos";
    world.post(foos, &foo("f", json!({}))).await.expect(201);
    let maps = "/api/v1/namespaces/n/configmaps";
    let held = json!({"metadata": {"name": "held", "finalizers": ["ex.io/x"]}});
    world.post(maps, &held).await.expect(201);
    let ending = world.delete(&format!("{NAMESPACES}/n")).await.expect(200);
    assert_eq!(ending["status"]["phase"], "Terminating");
    let refused = world
        .post(maps, &json!({"metadata": {"name": "late"}}))
        .await;
    let message = refused.refused(403, "Forbidden");
    assert_eq!(
        message,
        "configmaps \"late\" is forbidden: unable to create new content in namespace n because it \
         is being terminated"
    );
    let cause = &refused.json()["details"]["causes"][0];
    assert_eq!(
        (&cause["reason"], &cause["field"]),
        (&json!("NamespaceTerminating"), &json!("metadata.namespace"))
    );
    let namespace = format!("{NAMESPACES}/n");
    let waiting = "Some resources are remaining: configmaps has 1 resource instances";
    world
        .until(&namespace, |answer| answer.text().contains(waiting))
        .await;
    world
        .get(&format!("{foos}/f"))
        .await
        .refused(404, "NotFound");
    let none = json!({"metadata": {"finalizers": null}});
    world
        .patch(&format!("{maps}/held"), "merge-patch+json", &none)
        .await
        .expect(200);
    world.until(&namespace, |answer| answer.code == 404).await;
}

#[tokio::test]
async fn some_namespaces_always_exist() {
    // 131
    let world = world().await;
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let message = world
            .delete(&format!("{NAMESPACES}/{name}"))
            .await
            .refused(403, "Forbidden");
        let text = format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted");
        assert_eq!(message, text);
    }
}
