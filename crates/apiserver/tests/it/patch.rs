use crate::harness::{DEFINITIONS, FOOS, MAPS, World, foo, foo_definition};
use serde_json::json;

const APPLY: &str = "apply-patch+yaml";

#[tokio::test]
async fn patches_of_all_types_change_an_object() {
    // 95, 96, 97, 100, 101, 102
    let world = World::new().await;
    world.config_map("a", json!({"k": "1", "l": "2"})).await;
    let path = format!("{MAPS}/a");
    let operations = json!([{"op": "test", "path": "/data/k", "value": "1"},
        {"op": "replace", "path": "/data/k", "value": "3"}]);
    let changed = world
        .patch(&path, "json-patch+json", &operations)
        .await
        .expect(200);
    assert_eq!(changed["data"]["k"], "3");
    world
        .patch(&path, "json-patch+json", &operations)
        .await
        .refused(422, "Invalid");
    let merge = json!({"data": {"l": null}});
    let changed = world
        .patch(&path, "merge-patch+json", &merge)
        .await
        .expect(200);
    assert_eq!(changed["data"], json!({"k": "3"}));
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}});
    world.post(pods, &pod).await.expect(201);
    let strategic = json!({"spec": {"containers": [{"name": "b", "image": "2"}]}});
    let kind = "strategic-merge-patch+json";
    let changed = world
        .patch(&format!("{pods}/p"), kind, &strategic)
        .await
        .expect(200);
    let containers = changed["spec"]["containers"]
        .as_array()
        .expect("containers");
    assert_eq!(containers.len(), 2);
    assert_eq!(
        (&containers[0]["image"], &containers[1]["image"]),
        (&json!("1"), &json!("2"))
    );
    let json = [("content-type", "application/merge-patch+json")];
    world
        .ask("PATCH", &path, &json, "{")
        .await
        .refused(400, "BadRequest");
    world
        .patch(&format!("{MAPS}/b"), "merge-patch+json", &merge)
        .await
        .refused(404, "NotFound");
    let stale = json!({"metadata": {"resourceVersion": "1"}, "data": {"k": "9"}});
    world
        .patch(&path, "merge-patch+json", &stale)
        .await
        .refused(409, "Conflict");
}

#[tokio::test]
async fn patch_types_that_a_kind_does_not_take_are_refused() {
    // 98, 99
    let world = World::new().await;
    world.post(DEFINITIONS, &foo_definition()).await.expect(201);
    world.post(FOOS, &foo("a", json!({}))).await.expect(201);
    let kind = "strategic-merge-patch+json";
    let answer = world.patch(&format!("{FOOS}/a"), kind, &json!({})).await;
    let message = answer.refused(415, "UnsupportedMediaType");
    assert!(
        message.ends_with(
            "application/json-patch+json, application/merge-patch+json, \
             application/apply-patch+yaml"
        ),
        "{message}"
    );
    let odd = world.patch(&format!("{MAPS}/a"), "odd", &json!({})).await;
    odd.refused(415, "UnsupportedMediaType");
}

#[tokio::test]
async fn apply_creates_and_then_owns() {
    // 103, 105, 106, 107
    let world = World::new().await;
    let path = format!("{MAPS}/a");
    let wish = |data| {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a"}, "data": data})
    };
    let as_one = format!("{path}?fieldManager=m1");
    let both = wish(json!({"k": "1", "l": "1"}));
    let made = world.patch(&as_one, APPLY, &both).await.expect(201);
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!(
        (&entry["manager"], &entry["operation"]),
        (&json!("m1"), &json!("Apply"))
    );
    let same = world.patch(&as_one, APPLY, &both).await.expect(200);
    assert_eq!(
        same["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    let other = wish(json!({"k": "2"}));
    let as_two = format!("{path}?fieldManager=m2");
    let conflict = world.patch(&as_two, APPLY, &other).await;
    let message = conflict.refused(409, "Conflict");
    assert_eq!(
        message,
        "Apply failed with 1 conflict: conflict with \"m1\": .data.k"
    );
    let cause = &conflict.json()["details"]["causes"][0];
    assert_eq!(
        (&cause["reason"], &cause["field"]),
        (&json!("FieldManagerConflict"), &json!(".data.k"))
    );
    world
        .patch(&format!("{as_two}&force=true"), APPLY, &other)
        .await
        .expect(200);
    let less = world
        .patch(&as_one, APPLY, &wish(json!({})))
        .await
        .expect(200);
    assert_eq!(
        less["data"],
        json!({"k": "2"}),
        "l had one owner, k has another"
    );
}

#[tokio::test]
async fn apply_has_rules_of_its_own() {
    // 110, 115, 116
    let world = World::new().await;
    let path = format!("{MAPS}/a");
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let message = world
        .patch(&path, APPLY, &object)
        .await
        .refused(422, "Invalid");
    let text = "fieldManager: Required value: is required for apply patch";
    assert!(message.ends_with(text), "{message}");
    let forced = format!("{path}?force=true");
    world
        .patch(&forced, "merge-patch+json", &object)
        .await
        .refused(422, "Invalid");
    let mut managed = object.clone();
    managed["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    let named = format!("{path}?fieldManager=m");
    let message = world
        .patch(&named, APPLY, &managed)
        .await
        .refused(400, "BadRequest");
    assert_eq!(message, "metadata.managedFields must be nil");
    let dry = format!("{named}&dryRun=All");
    world.patch(&dry, APPLY, &object).await.expect(201);
    world.get(&path).await.refused(404, "NotFound");
    world.post(DEFINITIONS, &foo_definition()).await.expect(201);
    let path = format!("{FOOS}/a?fieldManager=m");
    let unknown = foo("a", json!({"nope": 1}));
    let answer = world.patch(&path, APPLY, &unknown).await;
    let message = answer.expect(500)["message"].to_string();
    assert!(
        message.contains(".spec.nope: field not declared in schema"),
        "{message}"
    );
    let made = world
        .patch(&path, APPLY, &foo("a", json!({"color": "red"})))
        .await
        .expect(201);
    assert_eq!(made["spec"]["replicas"], 1, "defaults are applied");
}
