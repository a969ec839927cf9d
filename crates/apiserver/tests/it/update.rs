use crate::harness::{DEFINITIONS, FOOS, MAPS, World, foo, foo_definition};
use serde_json::{Value, json};

#[tokio::test]
async fn an_update_needs_the_present_version() {
    // 85, 86, 88
    let world = World::new().await;
    let mut object = world.config_map("a", json!({"k": "1"})).await;
    let path = format!("{MAPS}/a");
    let stale = object.clone();
    object["data"]["k"] = json!("2");
    let changed = world.put(&path, &object).await.expect(200);
    assert_ne!(
        changed["metadata"]["resourceVersion"],
        stale["metadata"]["resourceVersion"]
    );
    let answer = world.put(&path, &stale).await;
    assert_eq!(
        answer.refused(409, "Conflict"),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please \
         apply your changes to the latest version and try again"
    );
    let missing = json!({"metadata": {"name": "b"}});
    world
        .put(&format!("{MAPS}/b"), &missing)
        .await
        .refused(404, "NotFound");
}

#[tokio::test]
async fn built_in_kinds_are_overwritten_without_a_version_and_custom_ones_are_not() {
    // 87
    let world = World::new().await;
    world.config_map("a", json!({"k": "1"})).await;
    let object = json!({"metadata": {"name": "a"}, "data": {"k": "2"}});
    world.put(&format!("{MAPS}/a"), &object).await.expect(200);
    world.post(DEFINITIONS, &foo_definition()).await.expect(201);
    world.post(FOOS, &foo("a", json!({}))).await.expect(201);
    let answer = world
        .put(&format!("{FOOS}/a"), &foo("a", json!({"color": "red"})))
        .await;
    let message = answer.refused(422, "Invalid");
    let text = "metadata.resourceVersion: Invalid value: 0: must be specified for an update";
    assert!(message.ends_with(text), "{message}");
}

#[tokio::test]
async fn another_name_or_uid_is_another_object() {
    // 89
    let world = World::new().await;
    let mut object = world.config_map("a", json!({})).await;
    let message = world
        .put(&format!("{MAPS}/b"), &object)
        .await
        .refused(400, "BadRequest");
    let text = "the name of the object (a) does not match the name on the URL (b)";
    assert_eq!(message, text);
    object["metadata"]["uid"] = json!("other");
    world
        .put(&format!("{MAPS}/a"), &object)
        .await
        .refused(409, "Conflict");
}

#[tokio::test]
async fn a_write_that_changes_nothing_is_no_write() {
    // 90
    let world = World::new().await;
    let object = world.config_map("a", json!({"k": "1"})).await;
    let revision = world.store.revision();
    let same = world.put(&format!("{MAPS}/a"), &object).await.expect(200);
    assert_eq!(same, object);
    let patch = json!({"data": {"k": "1"}});
    world
        .patch(&format!("{MAPS}/a"), "merge-patch+json", &patch)
        .await
        .expect(200);
    assert_eq!(world.store.revision(), revision);
}

#[tokio::test]
async fn what_cannot_change_does_not() {
    // 91
    let world = World::new().await;
    let base = "/api/v1/namespaces/default";
    let mut map = world.config_map("a", json!({"k": "1"})).await;
    map["immutable"] = json!(true);
    let mut map = world.put(&format!("{MAPS}/a"), &map).await.expect(200);
    map["data"]["k"] = json!("2");
    let message = world
        .put(&format!("{MAPS}/a"), &map)
        .await
        .refused(422, "Invalid");
    let text = "data: Forbidden: field is immutable when `immutable` is set";
    assert!(message.contains(text), "{message}");
    let secret = json!({"metadata": {"name": "s"}, "type": "a"});
    let mut secret = world
        .post(&format!("{base}/secrets"), &secret)
        .await
        .expect(201);
    secret["type"] = json!("b");
    world
        .put(&format!("{base}/secrets/s"), &secret)
        .await
        .refused(422, "Invalid");
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let mut pod = world.post(&format!("{base}/pods"), &pod).await.expect(201);
    pod["spec"]["containers"][0]["image"] = json!("j");
    let mut pod = world.put(&format!("{base}/pods/p"), &pod).await.expect(200);
    pod["spec"]["nodeName"] = json!("n");
    world
        .put(&format!("{base}/pods/p"), &pod)
        .await
        .refused(422, "Invalid");
}

fn generation(object: &Value) -> i64 {
    object["metadata"]["generation"].as_i64().unwrap_or(0)
}

#[tokio::test]
async fn status_and_the_rest_are_written_apart_and_count_apart() {
    // 92, 93
    let world = World::new().await;
    world.post(DEFINITIONS, &foo_definition()).await.expect(201);
    let mut object = foo("a", json!({"color": "red"}));
    object["status"] = json!({"x": 1});
    let mut object = world.post(FOOS, &object).await.expect(201);
    assert_eq!((generation(&object), object.get("status")), (1, None));
    let path = format!("{FOOS}/a");
    object["status"] = json!({"x": 1});
    object["spec"]["color"] = json!("blue");
    let mut object = world.put(&path, &object).await.expect(200);
    assert_eq!((generation(&object), object.get("status")), (2, None));
    object["status"] = json!({"x": 2});
    object["spec"]["color"] = json!("red");
    let status = world
        .put(&format!("{path}/status"), &object)
        .await
        .expect(200);
    assert_eq!(
        (generation(&status), &status["status"]["x"]),
        (2, &json!(2))
    );
    assert_eq!(status["spec"]["color"], "blue");
    let entries = status["metadata"]["managedFields"]
        .as_array()
        .expect("entries");
    assert!(
        entries.iter().any(|entry| entry["subresource"] == "status"),
        "{entries:?}"
    );
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let labelled = world
        .patch(&path, "merge-patch+json", &label)
        .await
        .expect(200);
    assert_eq!(generation(&labelled), 2);
    let scale = world.get(&format!("{path}/scale")).await.expect(200);
    assert_eq!(
        (&scale["kind"], &scale["spec"]["replicas"]),
        (&json!("Scale"), &json!(1))
    );
    let more = json!({"spec": {"replicas": 4}});
    let scale = world
        .patch(&format!("{path}/scale"), "merge-patch+json", &more)
        .await
        .expect(200);
    assert_eq!(scale["spec"]["replicas"], 4);
    let object = world.get(&path).await.expect(200);
    assert_eq!(
        (generation(&object), &object["spec"]["replicas"]),
        (3, &json!(4))
    );
}

#[tokio::test]
async fn no_update_is_lost_among_many_writers() {
    // 94
    let world = World::new().await;
    world.config_map("a", json!({"n": "0"})).await;
    let path = format!("{MAPS}/a");
    let writer = async || {
        loop {
            let mut object = world.get(&path).await.expect(200);
            let count: u32 = object["data"]["n"]
                .as_str()
                .expect("n")
                .parse()
                .expect("a number");
            object["data"]["n"] = json!((count + 1).to_string());
            match world.put(&path, &object).await.code {
                200 => break,
                code => assert_eq!(code, 409),
            }
        }
    };
    futures::future::join_all((0..32).map(|_| writer())).await;
    assert_eq!(world.get(&path).await.expect(200)["data"]["n"], "32");
}

#[tokio::test]
async fn a_lease_is_made_by_put_and_kept_by_its_version() {
    // 158
    let world = World::new().await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a",
        "leaseDurationSeconds": 15}});
    let first = world.put(path, &lease).await.expect(201);
    world.put(path, &lease).await.refused(422, "Invalid");
    let mut second = first.clone();
    second["spec"]["holderIdentity"] = json!("b");
    world.put(path, &second).await.expect(200);
    world.put(path, &first).await.refused(409, "Conflict");
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    // 157
    let world = World::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    world.post(pods, &pod).await.expect(201);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    let done = world
        .post(&format!("{pods}/p/binding"), &binding)
        .await
        .expect(201);
    assert_eq!(done["status"], "Success");
    let bound = world.get(&format!("{pods}/p")).await.expect(200);
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    let again = world.post(&format!("{pods}/p/binding"), &binding).await;
    let message = again.refused(409, "Conflict");
    assert!(
        message.ends_with("pod p is already assigned to node \"n1\""),
        "{message}"
    );
}
