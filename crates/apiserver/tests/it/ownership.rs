//! Who owns which field, over requests. The rules themselves are tested beside `managed_fields` and
//! `patch::apply`; here is what the server around them must not spoil.

use serde_json::{Value, json};

use crate::harness::{DEFINITIONS, FOOS, MAPS, World, foo, foo_definition};

const APPLY: &str = "apply-patch+yaml";
const MERGE: &str = "merge-patch+json";

fn wish(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn entry<'a>(object: &'a Value, manager: &str) -> Option<&'a Value> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    entries.iter().find(|entry| entry["manager"] == manager)
}

#[tokio::test]
async fn an_applied_typo_is_refused_and_takes_nothing_away() {
    // 115: with the unknown field pruned, the rest would mean "data is no longer wanted".
    let world = World::new().await;
    let path = format!("{MAPS}/a?fieldManager=m");
    let made = world
        .patch(&path, APPLY, &wish(json!({"k": "v"})))
        .await
        .expect(201);
    let typo = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "dat": {"k": "v"}});
    let answer = world.patch(&path, APPLY, &typo).await.expect(500);
    assert_eq!(
        answer["message"],
        "failed to create typed patch object (default/a; /v1, Kind=ConfigMap): .dat: field not declared in schema"
    );
    assert_eq!(world.get(&format!("{MAPS}/a")).await.expect(200), made);
}

#[tokio::test]
async fn who_wants_nothing_any_more_leaves_nothing_behind() {
    // 107
    let world = World::new().await;
    let path = format!("{MAPS}/a?fieldManager=m");
    let mut first = wish(json!({"k": "v"}));
    first["metadata"]["labels"] = json!({"l": "1"});
    world.patch(&path, APPLY, &first).await.expect(201);
    let bare = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let left = world.patch(&path, APPLY, &bare).await.expect(200);
    assert_eq!(left.get("data"), None);
    assert_eq!(left["metadata"].get("labels"), None);
    assert_eq!(left["metadata"].get("managedFields"), None);
}

#[tokio::test]
async fn a_client_can_clear_the_record() {
    // 114
    let world = World::new().await;
    world.config_map("a", json!({"k": "v"})).await;
    let path = format!("{MAPS}/a");
    let clear = json!({"metadata": {"managedFields": [{}]}});
    let cleared = world.patch(&path, MERGE, &clear).await.expect(200);
    assert_eq!(cleared["metadata"].get("managedFields"), None);
    let changed = world
        .patch(&path, MERGE, &json!({"data": {"l": "w"}}))
        .await
        .expect(200);
    assert_eq!(
        changed["metadata"].get("managedFields"),
        None,
        "as upstream, until the next apply"
    );
    let as_one = format!("{path}?fieldManager=m");
    let message = world
        .patch(&as_one, APPLY, &wish(json!({"k": "x"})))
        .await
        .refused(409, "Conflict");
    assert!(
        message.contains("conflict with \"before-first-apply\" using v1: .data.k"),
        "{message}"
    );
}

#[tokio::test]
async fn an_update_takes_fields_over_and_a_no_op_does_not() {
    // 109, 90
    let world = World::new().await;
    let path = format!("{MAPS}/a");
    let as_one = format!("{path}?fieldManager=m");
    let made = world
        .patch(&as_one, APPLY, &wish(json!({"k": "v", "l": "w"})))
        .await
        .expect(201);
    let as_two = format!("{path}?fieldManager=two");
    let same = world
        .patch(&as_two, MERGE, &json!({"data": {"k": "v"}}))
        .await
        .expect(200);
    assert_eq!(same, made);
    let taken = world
        .patch(&as_two, MERGE, &json!({"data": {"k": "x"}}))
        .await
        .expect(200);
    let fields = |manager: &str| entry(&taken, manager).map(|entry| entry["fieldsV1"].clone());
    assert_eq!(fields("m"), Some(json!({"f:data": {"f:l": {}}})));
    assert_eq!(fields("two"), Some(json!({"f:data": {"f:k": {}}})));
}

#[tokio::test]
async fn status_has_owners_of_its_own() {
    // 111
    let world = World::new().await;
    world.post(DEFINITIONS, &foo_definition()).await.expect(201);
    let mut object = foo("a", json!({"color": "red"}));
    object["status"] = json!({"phase": "no"});
    let path = format!("{FOOS}/a?fieldManager=m");
    let made = world.patch(&path, APPLY, &object).await.expect(201);
    assert_eq!(made.get("status"), None);
    let mut status = foo("a", json!({"color": "blue"}));
    status["status"] = json!({"phase": "Up"});
    let path = format!("{FOOS}/a/status?fieldManager=s");
    let changed = world.patch(&path, APPLY, &status).await.expect(200);
    assert_eq!(
        (&changed["spec"]["color"], &changed["status"]),
        (&json!("red"), &json!({"phase": "Up"}))
    );
    let own = entry(&changed, "s").expect("an entry of its own");
    assert_eq!(own["subresource"], "status");
    assert_eq!(own["fieldsV1"], json!({"f:status": {"f:phase": {}}}));
    let main = entry(&changed, "m").expect("the other entry");
    assert_eq!(main["fieldsV1"], json!({"f:spec": {"f:color": {}}}));
}

#[tokio::test]
async fn what_the_server_says_in_status_is_nobodys() {
    let world = World::new().await;
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "1"}]}});
    let made = world
        .post("/api/v1/namespaces/default/pods", &pod)
        .await
        .expect(201);
    assert_eq!(made["status"]["phase"], "Pending");
    let entries = made["metadata"]["managedFields"]
        .as_array()
        .expect("entries");
    assert!(
        entries
            .iter()
            .all(|entry| entry["fieldsV1"].get("f:status").is_none()),
        "{entries:?}"
    );
    let status = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"phase": "Running"}});
    let path = "/api/v1/namespaces/default/pods/p/status?fieldManager=node";
    let changed = world.patch(path, APPLY, &status).await.expect(200);
    assert_eq!(
        changed["status"]["phase"], "Running",
        "no conflict with the creator"
    );
}
