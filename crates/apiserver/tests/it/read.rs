use crate::harness::{DEFINITIONS, FOOS, MAPS, World, foo, foo_definition};
use serde_json::{Value, json};

#[tokio::test]
async fn an_object_is_read_as_it_was_written() {
    // 47, 48
    let world = World::new().await;
    let made = world.config_map("a", json!({"k": "v"})).await;
    assert_eq!(world.get(&format!("{MAPS}/a")).await.expect(200), made);
    let missing = world.get(&format!("{MAPS}/b")).await;
    assert_eq!(
        missing.refused(404, "NotFound"),
        "configmaps \"b\" not found"
    );
    assert_eq!(
        missing.json()["details"],
        json!({"name": "b", "kind": "configmaps"})
    );
    assert_eq!(missing.header("cache-control"), "no-cache, private");
    assert_ne!(missing.header("audit-id"), "");
}

#[tokio::test]
async fn people_get_indented_json_and_nobody_gets_xml() {
    // 49, 50
    let world = World::new().await;
    world.config_map("a", json!({})).await;
    let path = format!("{MAPS}/a");
    assert!(
        world
            .get(&format!("{path}?pretty=true"))
            .await
            .text()
            .starts_with("{\n  \"")
    );
    let curl = world
        .ask("GET", &path, &[("user-agent", "curl/8.1")], "")
        .await;
    assert!(curl.text().starts_with("{\n  \""));
    assert!(!world.get(&path).await.text().contains('\n'));
    let xml = world
        .ask("GET", &path, &[("accept", "application/xml")], "")
        .await;
    xml.refused(406, "NotAcceptable");
    let yaml = world
        .ask("GET", &path, &[("accept", "application/yaml")], "")
        .await;
    assert_eq!(yaml.header("content-type"), "application/yaml");
    assert!(yaml.text().contains("kind: ConfigMap"));
}

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PARTIAL: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";

#[tokio::test]
async fn tables_and_partial_metadata_are_served() {
    // 51, 52
    let world = World::new().await;
    world.config_map("a", json!({"k": "v"})).await;
    let table = world
        .ask("GET", MAPS, &[("accept", TABLE)], "")
        .await
        .expect(200);
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    let row = &table["rows"][0];
    assert_eq!(row["cells"][0], "a");
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    for (include, kind) in [("Object", json!("ConfigMap")), ("None", Value::Null)] {
        let path = format!("{MAPS}/a?includeObject={include}");
        let table = world
            .ask("GET", &path, &[("accept", TABLE)], "")
            .await
            .expect(200);
        assert_eq!(table["rows"][0]["object"]["kind"], kind, "{include}");
    }
    let partial = world
        .ask("GET", MAPS, &[("accept", PARTIAL)], "")
        .await
        .expect(200);
    assert_eq!(partial["kind"], "PartialObjectMetadataList");
    assert_eq!(partial["items"][0]["metadata"]["name"], "a");
    assert_eq!(partial["items"][0].get("data"), None);
}

async fn many(world: &World, count: usize) {
    for index in 0..count {
        world.config_map(&format!("m{index:03}"), json!({})).await;
    }
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("items");
    items
        .iter()
        .map(|item| {
            item["metadata"]["name"]
                .as_str()
                .expect("a name")
                .to_owned()
        })
        .collect()
}

#[tokio::test]
async fn pages_walk_one_moment_in_key_order() {
    // 54, 55, 56, 57
    let world = World::new().await;
    many(&world, 25).await;
    let first = world.get(&format!("{MAPS}?limit=10")).await.expect(200);
    assert_eq!(first["metadata"]["remainingItemCount"], 15);
    let version = first["metadata"]["resourceVersion"].clone();
    world.config_map("m005a", json!({})).await;
    world.delete(&format!("{MAPS}/m020")).await.expect(200);
    let mut all = names(&first);
    let mut page = first;
    while let Some(token) = page["metadata"]["continue"].as_str() {
        page = world
            .get(&format!("{MAPS}?limit=10&continue={token}"))
            .await
            .expect(200);
        assert_eq!(page["metadata"]["resourceVersion"], version);
        all.extend(names(&page));
    }
    let expected: Vec<String> = (0..25).map(|index| format!("m{index:03}")).collect();
    assert_eq!(all, expected);
    let bad = world.get(&format!("{MAPS}?limit=10&continue=xyz")).await;
    assert!(
        bad.refused(400, "BadRequest")
            .starts_with("invalid continue token")
    );
}

#[tokio::test]
async fn a_page_of_a_selection_is_full_and_counts_nothing() {
    // 55
    let world = World::new().await;
    for index in 0..12 {
        let object = json!({"metadata": {"name": format!("m{index:02}"),
            "labels": {"odd": (index % 2 == 1).to_string()}}});
        world.post(MAPS, &object).await.expect(201);
    }
    let path = format!("{MAPS}?labelSelector=odd%3Dtrue&limit=4");
    let page = world.get(&path).await.expect(200);
    assert_eq!(names(&page), ["m01", "m03", "m05", "m07"]);
    assert_eq!(page["metadata"].get("remainingItemCount"), None);
    let token = page["metadata"]["continue"].as_str().expect("more");
    let page = world
        .get(&format!("{path}&continue={token}"))
        .await
        .expect(200);
    assert_eq!(names(&page), ["m09", "m11"]);
    assert_eq!(page["metadata"].get("continue"), None);
}

#[tokio::test]
async fn an_expired_page_token_comes_back_with_one_that_works() {
    // 58
    let world = World::new().await;
    many(&world, 5).await;
    let page = world.get(&format!("{MAPS}?limit=2")).await.expect(200);
    let token = page["metadata"]["continue"]
        .as_str()
        .expect("more")
        .to_owned();
    world.config_map("z", json!({})).await;
    world
        .store
        .compact(world.store.revision())
        .await
        .expect("compacted");
    let gone = world.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    gone.refused(410, "Expired");
    let status = gone.json();
    let fresh = status["metadata"]["continue"]
        .as_str()
        .expect("a new token");
    let rest = world
        .get(&format!("{MAPS}?continue={fresh}"))
        .await
        .expect(200);
    assert_eq!(names(&rest), ["m002", "m003", "m004", "z"]);
}

#[tokio::test]
async fn versions_of_lists_mean_what_they_say() {
    // 59, 60, 66
    let world = World::new().await;
    let first = world.config_map("a", json!({"k": "1"})).await;
    let then = first["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .to_owned();
    let mut changed = first.clone();
    changed["data"]["k"] = json!("2");
    world.put(&format!("{MAPS}/a"), &changed).await.expect(200);
    let exact = format!("{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact");
    let list = world.get(&exact).await.expect(200);
    assert_eq!(list["items"][0]["data"]["k"], "1");
    for version in ["", "0", then.as_str()] {
        let list = world
            .get(&format!("{MAPS}?resourceVersion={version}"))
            .await
            .expect(200);
        assert_eq!(list["items"][0]["data"]["k"], "2", "{version}");
        let version = |value: &Value| -> u64 {
            value["metadata"]["resourceVersion"]
                .as_str()
                .expect("text")
                .parse()
                .expect("a number")
        };
        assert!(version(&list) >= version(&list["items"][0]));
    }
    let future = world
        .get(&format!("{MAPS}?resourceVersion=999999999"))
        .await;
    let message = future.refused(504, "Timeout");
    assert!(
        message.starts_with("Timeout: Too large resource version: 999999999"),
        "{message}"
    );
    assert_eq!(
        future.json()["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
    assert_eq!(future.header("retry-after"), "1");
    for query in [
        "resourceVersionMatch=Exact",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "resourceVersion=1&resourceVersionMatch=NotOlderThan&continue=x",
        "sendInitialEvents=true",
    ] {
        world
            .get(&format!("{MAPS}?{query}"))
            .await
            .refused(422, "Invalid");
    }
    world
        .get(&format!("{MAPS}?resourceVersion=abc"))
        .await
        .refused(400, "BadRequest");
}

#[tokio::test]
async fn selectors_choose_by_labels_and_fields() {
    // 61, 62, 63
    let world = World::new().await;
    for (name, labels) in [("a", json!({"x": "1"})), ("b", json!({"x": "2", "y": ""}))] {
        let object = json!({"metadata": {"name": name, "labels": labels}});
        world.post(MAPS, &object).await.expect(201);
    }
    for (selector, expected) in [
        ("labelSelector=x%3D1", vec!["a"]),
        ("labelSelector=x%21%3D1", vec!["b"]),
        ("labelSelector=x+in+(1,2),!y", vec!["a"]),
        ("labelSelector=y", vec!["b"]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        ("fieldSelector=metadata.name!%3Db", vec!["a"]),
    ] {
        let list = world.get(&format!("{MAPS}?{selector}")).await.expect(200);
        let found: Vec<String> = names(&list)
            .into_iter()
            .filter(|name| name != "kube-root-ca.crt")
            .collect();
        assert_eq!(found, expected, "{selector}");
    }
    world
        .get(&format!("{MAPS}?labelSelector=x+near+y"))
        .await
        .refused(400, "BadRequest");
    world
        .get(&format!("{MAPS}?fieldSelector=data.x%3D1"))
        .await
        .refused(400, "BadRequest");
    let pods = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn,status.phase!%3DFailed";
    assert_eq!(world.get(pods).await.expect(200)["items"], json!([]));
    world.post(DEFINITIONS, &foo_definition()).await.expect(201);
    for (name, color) in [("r", "red"), ("b", "blue")] {
        world
            .post(FOOS, &foo(name, json!({"color": color})))
            .await
            .expect(201);
    }
    let blue = world
        .get(&format!("{FOOS}?fieldSelector=spec.color%3Dblue"))
        .await
        .expect(200);
    assert_eq!(names(&blue), ["b"]);
    let unknown = world.get(&format!("{FOOS}?fieldSelector=spec.x%3D1")).await;
    assert_eq!(
        unknown.refused(400, "BadRequest"),
        "field label not supported: spec.x"
    );
}

#[tokio::test]
async fn lists_span_namespaces_and_scopes_are_kept_apart() {
    // 64, 65
    let world = World::new().await;
    world
        .post("/api/v1/namespaces", &json!({"metadata": {"name": "n2"}}))
        .await
        .expect(201);
    let other = "/api/v1/namespaces/n2/secrets";
    world
        .post(other, &json!({"metadata": {"name": "s"}}))
        .await
        .expect(201);
    let list = world.get("/api/v1/secrets").await.expect(200);
    assert_eq!(names(&list), ["s"]);
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&json!("SecretList"), &json!("v1"))
    );
    let empty = world
        .get("/api/v1/namespaces/default/secrets")
        .await
        .expect(200);
    assert_eq!(empty["items"], json!([]));
    world
        .get("/api/v1/namespaces/default/nodes")
        .await
        .refused(404, "NotFound");
    let post = world
        .post("/api/v1/secrets", &json!({"metadata": {"name": "s"}}))
        .await;
    post.refused(405, "MethodNotAllowed");
    world
        .ask("HEAD", MAPS, &[], "")
        .await
        .refused(405, "MethodNotAllowed");
}

#[tokio::test]
async fn an_event_has_two_forms() {
    // 159
    let world = World::new().await;
    let event = json!({"metadata": {"name": "e"}, "reason": "Started", "note": "hello",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Start", "type": "Normal",
        "reportingController": "c", "reportingInstance": "i"});
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let made = world.post(path, &event).await.expect(201);
    assert_eq!(
        (&made["note"], &made["apiVersion"]),
        (&json!("hello"), &json!("events.k8s.io/v1"))
    );
    let core = world
        .get("/api/v1/namespaces/default/events/e")
        .await
        .expect(200);
    assert_eq!(
        (&core["message"], &core["apiVersion"]),
        (&json!("hello"), &json!("v1"))
    );
    assert_eq!(core["involvedObject"]["name"], "p");
    let about = "/api/v1/events?fieldSelector=involvedObject.name%3Dp";
    assert_eq!(names(&world.get(about).await.expect(200)), ["e"]);
    let list = world.get(path).await.expect(200);
    assert_eq!(list["items"][0]["regarding"]["name"], "p");
}

#[tokio::test]
async fn only_large_answers_are_compressed() {
    // 53
    let world = World::new().await;
    world.config_map("small", json!({"k": "v"})).await;
    world
        .config_map("large", json!({"k": "x".repeat(200_000)}))
        .await;
    let gzip = [("accept-encoding", "gzip")];
    let small = world.ask("GET", &format!("{MAPS}/small"), &gzip, "").await;
    assert_eq!(small.header("content-encoding"), "");
    let large = world.ask("GET", &format!("{MAPS}/large"), &gzip, "").await;
    assert_eq!(large.header("content-encoding"), "gzip");
    assert!(large.bytes.len() < 10_000 && large.bytes.starts_with(&[0x1f, 0x8b]));
    assert_eq!(
        world
            .get(&format!("{MAPS}/large"))
            .await
            .header("content-encoding"),
        ""
    );
}
