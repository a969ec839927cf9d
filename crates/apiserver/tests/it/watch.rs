use crate::harness::{Events, MAPS, World};
use serde_json::{Value, json};

async fn label(world: &World, name: &str, value: Value) {
    let patch = json!({"metadata": {"labels": {"l": value}}});
    world
        .patch(&format!("{MAPS}/{name}"), "merge-patch+json", &patch)
        .await
        .expect(200);
}

#[tokio::test]
async fn a_watch_from_a_version_tells_everything_after_it_in_order() {
    // 68, 71
    let world = World::new().await;
    let from = world.config_map("a", json!({})).await["metadata"]["resourceVersion"].clone();
    world.config_map("b", json!({})).await;
    label(&world, "a", json!("1")).await;
    world.delete(&format!("{MAPS}/b")).await.expect(200);
    let from = from.as_str().expect("a version");
    let mut events = world
        .watch(&format!("{MAPS}?watch=1&resourceVersion={from}"), "*/*")
        .await;
    assert_eq!(events.line().await, "ADDED b");
    assert_eq!(events.line().await, "MODIFIED a");
    let deleted = events.next().await.expect("an event");
    assert_eq!(deleted["type"], "DELETED");
    assert_eq!(deleted["object"]["metadata"]["name"], "b");
    let revision = world.store.revision().to_string();
    assert_eq!(
        deleted["object"]["metadata"]["resourceVersion"],
        json!(revision)
    );
    world.config_map("c", json!({})).await;
    assert_eq!(events.line().await, "ADDED c");
}

#[tokio::test]
async fn a_watch_without_a_version_begins_with_what_is_there() {
    let world = World::new().await;
    world.config_map("a", json!({})).await;
    let mut events = world.watch(&format!("{MAPS}?watch=true"), "*/*").await;
    assert_eq!(events.line().await, "ADDED a");
    world.config_map("b", json!({})).await;
    assert_eq!(events.line().await, "ADDED b");
}

#[tokio::test]
async fn objects_enter_and_leave_a_selection() {
    // 70
    let world = World::new().await;
    let version = world.config_map("a", json!({})).await["metadata"]["resourceVersion"].clone();
    let version = version.as_str().expect("a version");
    let path = format!("{MAPS}?watch=1&labelSelector=l%3D1&resourceVersion={version}");
    let mut events = world.watch(&path, "*/*").await;
    label(&world, "a", json!("1")).await;
    assert_eq!(events.line().await, "ADDED a");
    let patch = json!({"data": {"k": "v"}});
    world
        .patch(&format!("{MAPS}/a"), "merge-patch+json", &patch)
        .await
        .expect(200);
    assert_eq!(events.line().await, "MODIFIED a");
    label(&world, "a", json!("2")).await;
    let left = events.next().await.expect("an event");
    assert_eq!(left["type"], "DELETED");
    assert_eq!(
        left["object"]["metadata"]["labels"]["l"], "1",
        "the last state that matched"
    );
    let revision = world.store.revision().to_string();
    assert_eq!(
        left["object"]["metadata"]["resourceVersion"],
        json!(revision)
    );
}

const INITIAL: &str = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
                       &allowWatchBookmarks=true";

#[tokio::test]
async fn a_watch_list_ends_its_beginning_with_a_marked_bookmark() {
    // 72, 73, 74
    let world = World::new().await;
    let made = world.config_map("a", json!({})).await;
    let version = made["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version");
    for query in [
        INITIAL.to_owned(),
        format!("{INITIAL}&resourceVersion={version}"),
    ] {
        let mut events = world.watch(&format!("{MAPS}?{query}"), "*/*").await;
        assert_eq!(events.line().await, "ADDED a");
        let mark = loop {
            let event = events.next().await.expect("an event");
            if event["type"] == "BOOKMARK" {
                break event;
            }
        };
        let metadata = &mark["object"]["metadata"];
        assert_eq!(metadata["annotations"]["k8s.io/initial-events-end"], "true");
        assert_eq!(mark["object"]["kind"], "ConfigMap");
        assert!(metadata["resourceVersion"].is_string());
        label(&world, "a", json!(query.len().to_string())).await;
        assert_eq!(events.line().await, "MODIFIED a");
    }
    for query in [
        "watch=1&sendInitialEvents=true",
        "watch=1&resourceVersionMatch=NotOlderThan",
    ] {
        world
            .get(&format!("{MAPS}?{query}"))
            .await
            .refused(422, "Invalid");
    }
}

#[tokio::test]
async fn an_end_is_asked_for_and_kept() {
    // 76
    let world = World::new().await;
    let revision = world.store.revision();
    let path = format!(
        "{MAPS}?watch=1&resourceVersion={revision}&timeoutSeconds=1&allowWatchBookmarks=true"
    );
    let began = std::time::Instant::now();
    let mut events = world.watch(&path, "*/*").await;
    assert_eq!(events.line().await, "BOOKMARK -");
    assert_eq!(events.line().await, "END");
    let took = began.elapsed().as_secs_f32();
    assert!((0.9..4.0).contains(&took), "{took}");
}

#[tokio::test]
async fn a_version_that_is_forgotten_is_told_in_the_stream() {
    // 77
    let world = World::new().await;
    world.config_map("a", json!({})).await;
    world.config_map("b", json!({})).await;
    world
        .store
        .compact(world.store.revision())
        .await
        .expect("compacted");
    let mut events = world
        .watch(&format!("{MAPS}?watch=1&resourceVersion=2"), "*/*")
        .await;
    let error = events.next().await.expect("an event");
    assert_eq!(error["type"], "ERROR");
    assert_eq!(
        (&error["object"]["code"], &error["object"]["reason"]),
        (&json!(410), &json!("Expired"))
    );
    assert_eq!(events.line().await, "END");
}

#[tokio::test]
async fn a_version_of_the_future_is_waited_for() {
    // 78
    let world = World::new().await;
    let future = world.store.revision() + 2;
    let mut events = world
        .watch(&format!("{MAPS}?watch=1&resourceVersion={future}"), "*/*")
        .await;
    for name in ["a", "b", "c"] {
        world.config_map(name, json!({})).await;
    }
    assert_eq!(events.line().await, "ADDED c");
}

#[tokio::test]
async fn tables_and_partial_metadata_are_watched_too() {
    // 79
    let world = World::new().await;
    world.config_map("a", json!({})).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let mut events = world.watch(&format!("{MAPS}?watch=1"), table).await;
    let first = events.next().await.expect("an event");
    assert_eq!(first["object"]["kind"], "Table");
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    assert!(first["object"]["columnDefinitions"].is_array());
    world.config_map("b", json!({})).await;
    let second = events.next().await.expect("an event");
    assert_eq!(second["object"]["columnDefinitions"], Value::Null);
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let mut events = world.watch(&format!("{MAPS}?watch=1"), partial).await;
    let first = events.next().await.expect("an event");
    assert_eq!(first["object"]["kind"], "PartialObjectMetadata");
    let mut events = world.watch(&format!("{MAPS}?{INITIAL}"), table).await;
    let mark = loop {
        let event = events.next().await.expect("an event");
        if event["type"] == "BOOKMARK" {
            break event;
        }
    };
    let row = &mark["object"]["rows"][0]["object"]["metadata"];
    assert_eq!(row["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn one_object_is_watched_by_field_or_by_the_old_path() {
    // 80
    let world = World::new().await;
    for name in ["a", "b"] {
        world.config_map(name, json!({})).await;
    }
    for path in [
        format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Db"),
        "/api/v1/watch/namespaces/default/configmaps/b".to_owned(),
    ] {
        let mut events = world.watch(&path, "*/*").await;
        assert_eq!(events.line().await, "ADDED b");
    }
}

#[tokio::test]
async fn many_watchers_see_the_same() {
    // 83, smaller
    let world = World::new().await;
    world.config_map("a", json!({})).await;
    let revision = world.store.revision();
    let mut watchers: Vec<Events> = Vec::new();
    for _ in 0..100 {
        let path = format!("{MAPS}?watch=1&resourceVersion={revision}");
        watchers.push(world.watch(&path, "*/*").await);
    }
    for index in 0..10 {
        label(&world, "a", json!(index.to_string())).await;
    }
    for events in &mut watchers {
        for index in 0..10 {
            let event = events.next().await.expect("an event");
            assert_eq!(
                event["object"]["metadata"]["labels"]["l"],
                json!(index.to_string())
            );
        }
    }
}

#[tokio::test]
async fn a_watcher_that_comes_back_after_each_event_misses_none() {
    // 69, smaller
    let world = World::new().await;
    let made = world.config_map("a", json!({})).await;
    let mut version = made["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .to_owned();
    let writes = async {
        for index in 0..100 {
            label(&world, "a", json!(index.to_string())).await;
        }
    };
    let reads = async {
        let mut seen = Vec::new();
        while seen.len() < 100 {
            let path = format!("{MAPS}?watch=1&resourceVersion={version}");
            let event = world
                .watch(&path, "*/*")
                .await
                .next()
                .await
                .expect("an event");
            let metadata = &event["object"]["metadata"];
            version = metadata["resourceVersion"]
                .as_str()
                .expect("a version")
                .to_owned();
            seen.push(
                metadata["labels"]["l"]
                    .as_str()
                    .expect("a label")
                    .to_owned(),
            );
        }
        seen
    };
    let ((), seen) = tokio::join!(writes, reads);
    let expected: Vec<String> = (0..100).map(|index| index.to_string()).collect();
    assert_eq!(seen, expected);
}
