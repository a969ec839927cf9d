use crate::harness::{MAPS, World};
use serde_json::{Value, json};

#[tokio::test]
async fn a_deleted_object_is_gone() {
    // 117, 118, 124, 126
    let world = World::new().await;
    let made = world.config_map("a", json!({})).await;
    let path = format!("{MAPS}/a");
    let json = [("content-type", "application/json")];
    let other = r#"{"preconditions":{"uid":"xx"}}"#;
    let message = world
        .ask("DELETE", &path, &json, other)
        .await
        .refused(409, "Conflict");
    assert!(
        message.contains("the UID in the precondition (xx) does not match"),
        "{message}"
    );
    let both = r#"{"propagationPolicy":"Orphan","orphanDependents":true}"#;
    world
        .ask("DELETE", &path, &json, both)
        .await
        .refused(422, "Invalid");
    world
        .delete(&format!("{path}?propagationPolicy=Later"))
        .await
        .refused(422, "Invalid");
    world
        .delete(&format!("{path}?dryRun=All"))
        .await
        .expect(200);
    world.get(&path).await.expect(200);
    let status = world.delete(&path).await.expect(200);
    assert_eq!(
        (&status["kind"], &status["status"]),
        (&json!("Status"), &json!("Success"))
    );
    assert_eq!(status["details"]["uid"], made["metadata"]["uid"]);
    assert_eq!(status["details"]["kind"], "configmaps");
    world.delete(&path).await.refused(404, "NotFound");
}

#[tokio::test]
async fn a_finalizer_keeps_an_object_until_it_is_taken_away() {
    // 119
    let world = World::new().await;
    let object = json!({"metadata": {"name": "a", "finalizers": ["ex.io/x"]}});
    world.post(MAPS, &object).await.expect(201);
    let path = format!("{MAPS}/a");
    let marked = world.delete(&path).await.expect(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(
        world.delete(&path).await.expect(200),
        marked,
        "a repeat changes nothing"
    );
    let more = json!({"metadata": {"finalizers": ["ex.io/x", "ex.io/y"]}});
    let answer = world.patch(&path, "merge-patch+json", &more).await;
    let message = answer.refused(422, "Invalid");
    assert!(
        message.contains("no new finalizers can be added"),
        "{message}"
    );
    let none = json!({"metadata": {"finalizers": null}});
    world
        .patch(&path, "merge-patch+json", &none)
        .await
        .expect(200);
    world.get(&path).await.refused(404, "NotFound");
}

async fn owned(world: &World, name: &str, owner: &Value, blocks: bool) {
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "blockOwnerDeletion": blocks});
    let object = json!({"metadata": {"name": name, "ownerReferences": [reference]}});
    world.post(MAPS, &object).await.expect(201);
}

#[tokio::test]
async fn dependants_follow_their_owner_first_last_or_not() {
    // 120, 121, 122
    let world = World::new().await;
    for policy in ["Background", "Foreground", "Orphan"] {
        let owner = world.config_map("owner", json!({})).await;
        owned(&world, "child", &owner, true).await;
        world
            .delete(&format!("{MAPS}/owner?propagationPolicy={policy}"))
            .await
            .expect(200);
        world
            .until(&format!("{MAPS}/owner"), |answer| answer.code == 404)
            .await;
        let child = format!("{MAPS}/child");
        if policy == "Orphan" {
            let left = world.get(&child).await.expect(200);
            assert_eq!(left["metadata"].get("ownerReferences"), None);
            world.delete(&child).await.expect(200);
        } else {
            world.until(&child, |answer| answer.code == 404).await;
        }
    }
}

#[tokio::test]
async fn a_dependant_that_waits_holds_a_foreground_owner() {
    // 120
    let world = World::new().await;
    let owner = world.config_map("owner", json!({})).await;
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner",
        "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true});
    let object = json!({"metadata": {"name": "child", "finalizers": ["ex.io/x"],
        "ownerReferences": [reference]}});
    world.post(MAPS, &object).await.expect(201);
    let marked = world
        .delete(&format!("{MAPS}/owner?propagationPolicy=Foreground"))
        .await;
    assert_eq!(
        marked.expect(200)["metadata"]["finalizers"],
        json!(["foregroundDeletion"])
    );
    let child = format!("{MAPS}/child");
    world
        .until(&child, |answer| answer.text().contains("deletionTimestamp"))
        .await;
    world.get(&format!("{MAPS}/owner")).await.expect(200);
    let none = json!({"metadata": {"finalizers": null}});
    world
        .patch(&child, "merge-patch+json", &none)
        .await
        .expect(200);
    world
        .until(&format!("{MAPS}/owner"), |answer| answer.code == 404)
        .await;
}

#[tokio::test]
async fn an_owner_that_never_was_is_no_owner() {
    // 123
    let world = World::new().await;
    let ghost = json!({"metadata": {"name": "ghost", "uid": "no-such-uid"}});
    owned(&world, "child", &ghost, false).await;
    world
        .until(&format!("{MAPS}/child"), |answer| answer.code == 404)
        .await;
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    // 125
    let world = World::new().await;
    for (name, label) in [("a", "1"), ("b", "1"), ("c", "2")] {
        let object = json!({"metadata": {"name": name, "labels": {"x": label}}});
        world.post(MAPS, &object).await.expect(201);
    }
    let list = world
        .delete(&format!("{MAPS}?labelSelector=x%3D1"))
        .await
        .expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2));
    world
        .get(&format!("{MAPS}/a"))
        .await
        .refused(404, "NotFound");
    world.get(&format!("{MAPS}/c")).await.expect(200);
}

#[tokio::test]
async fn a_running_pod_gets_its_grace_period() {
    // 127
    let world = World::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n",
        "containers": [{"name": "c", "image": "i"}]}});
    world.post(pods, &pod).await.expect(201);
    let path = format!("{pods}/p");
    let marked = world.delete(&path).await.expect(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let longer = world
        .delete(&format!("{path}?gracePeriodSeconds=90"))
        .await
        .expect(200);
    assert_eq!(longer["metadata"], marked["metadata"]);
    let shorter = world
        .delete(&format!("{path}?gracePeriodSeconds=5"))
        .await
        .expect(200);
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    let status = json!({"status": {"phase": "Running"}});
    let running = world
        .patch(&format!("{path}/status"), "merge-patch+json", &status)
        .await;
    assert_eq!(running.expect(200)["status"]["phase"], "Running");
    world
        .delete(&format!("{path}?gracePeriodSeconds=0"))
        .await
        .expect(200);
    world.get(&path).await.refused(404, "NotFound");
}
