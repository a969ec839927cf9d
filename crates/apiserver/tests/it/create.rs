use crate::harness::{MAPS, World};
use serde_json::json;

#[tokio::test]
async fn a_created_object_has_what_the_server_decides() {
    // 27, 45
    let world = World::new().await;
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a",
        "uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "selfLink": "/x"}, "data": {"k": "v"}});
    let made = world.post(MAPS, &object).await.expect(201);
    let metadata = &made["metadata"];
    let uid = metadata["uid"].as_str().expect("a uid");
    assert!(
        uuid::Uuid::parse_str(uid).is_ok_and(|uid| uid.get_version_num() == 4),
        "{uid}"
    );
    assert!(
        metadata["resourceVersion"]
            .as_str()
            .is_some_and(|text| text.parse::<u64>().is_ok())
    );
    let time = metadata["creationTimestamp"].as_str().expect("a time");
    assert!(
        time.ends_with('Z') && time.len() == 20 && !time.starts_with("2001"),
        "{time}"
    );
    assert_eq!(metadata["namespace"], "default");
    assert_eq!(metadata.get("selfLink"), None);
    assert_eq!(metadata["managedFields"][0]["operation"], "Update");
    assert_eq!(made["kind"], "ConfigMap");
}

#[tokio::test]
async fn names_are_taken_once_and_made_up_when_asked() {
    // 28, 29, 30, 31
    let world = World::new().await;
    world.config_map("a", json!({})).await;
    let again = world.post(MAPS, &json!({"metadata": {"name": "a"}})).await;
    assert_eq!(
        again.refused(409, "AlreadyExists"),
        "configmaps \"a\" already exists"
    );
    assert_eq!(again.json()["details"]["kind"], "configmaps");
    let made = world
        .post(MAPS, &json!({"metadata": {"generateName": "vm-"}}))
        .await
        .expect(201);
    let name = made["metadata"]["name"].as_str().expect("a name");
    assert!(name.starts_with("vm-") && name.len() == 8, "{name}");
    let none = world
        .post(MAPS, &json!({"metadata": {}}))
        .await
        .refused(422, "Invalid");
    let text = "metadata.name: Required value: name or generateName is required";
    assert_eq!(none, format!("ConfigMap \"\" is invalid: {text}"));
    let bad = world
        .post(MAPS, &json!({"metadata": {"name": "A_b"}}))
        .await;
    let message = bad.refused(422, "Invalid");
    assert!(
        message.contains("[a-z0-9]([-a-z0-9]*[a-z0-9])?"),
        "{message}"
    );
    assert_eq!(bad.json()["details"]["causes"][0]["field"], "metadata.name");
    assert_eq!(bad.json()["details"]["kind"], "ConfigMap");
}

#[tokio::test]
async fn the_namespace_must_be_the_one_of_the_path_and_exist() {
    // 32, 33
    let world = World::new().await;
    let object = json!({"metadata": {"name": "a", "namespace": "other"}});
    let message = world.post(MAPS, &object).await.refused(400, "BadRequest");
    assert_eq!(
        message,
        "the namespace of the provided object does not match the namespace sent on the request"
    );
    let nowhere = "/api/v1/namespaces/nons/configmaps";
    let answer = world
        .post(nowhere, &json!({"metadata": {"name": "a"}}))
        .await;
    assert_eq!(
        answer.refused(404, "NotFound"),
        "namespaces \"nons\" not found"
    );
}

#[tokio::test]
async fn bodies_of_the_wrong_kind_or_form_are_refused() {
    // 35, 36, 37, 38, 40
    let world = World::new().await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}});
    world.post(MAPS, &pod).await.refused(400, "BadRequest");
    let json = [("content-type", "application/json")];
    world
        .ask("POST", MAPS, &json, "{\"metadata\":")
        .await
        .refused(400, "BadRequest");
    let text = [("content-type", "text/plain")];
    world
        .ask("POST", MAPS, &text, "hello")
        .await
        .refused(415, "UnsupportedMediaType");
    let yaml = [("content-type", "application/yaml")];
    let body = "metadata:\n  name: m\ndata:\n  k: v\n";
    let made = world.ask("POST", MAPS, &yaml, body).await.expect(201);
    assert_eq!(made["data"]["k"], "v");
    let large = json!({"metadata": {"name": "l"}, "data": {"k": "x".repeat(3 * 1024 * 1024)}});
    let message = world
        .post(MAPS, &large)
        .await
        .refused(413, "RequestEntityTooLarge");
    assert_eq!(message, "Request entity too large: limit is 3145728");
}

/// `k8s\0`, then runtime.Unknown{typeMeta, raw} of a ConfigMap as its field numbers have it.
fn protobuf_config_map() -> Vec<u8> {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).expect("short")];
        out.extend_from_slice(bytes);
        out
    }
    let entry = [field(1, b"k"), field(2, b"v")].concat();
    let object = [field(1, &field(1, b"proto")), field(2, &entry)].concat();
    let kind = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
    [b"k8s\0".to_vec(), field(1, &kind), field(2, &object)].concat()
}

#[tokio::test]
async fn a_protobuf_body_makes_the_same_object_as_json() {
    // 39
    let world = World::new().await;
    let proto = [
        ("content-type", "application/vnd.kubernetes.protobuf"),
        (
            "accept",
            "application/vnd.kubernetes.protobuf,application/json",
        ),
    ];
    let made = world
        .ask("POST", MAPS, &proto, protobuf_config_map())
        .await
        .expect(201);
    assert_eq!(made["metadata"]["name"], "proto");
    assert_eq!(made["data"], json!({"k": "v"}));
    assert_eq!(made["apiVersion"], "v1");
}

#[tokio::test]
async fn unknown_and_duplicate_fields_are_handled_as_asked() {
    // 41, 42
    let world = World::new().await;
    let json = [("content-type", "application/json")];
    let body = |name: &str| {
        format!(r#"{{"metadata":{{"name":"{name}"}},"dat":{{}},"data":{{"a":"1","a":"2"}}}}"#)
    };
    let strict = format!("{MAPS}?fieldValidation=Strict");
    let message = world
        .ask("POST", &strict, &json, body("a"))
        .await
        .refused(400, "BadRequest");
    assert_eq!(
        message,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: \
         duplicate field \"data.a\", unknown field \"dat\""
    );
    let warned = world.ask("POST", MAPS, &json, body("a")).await;
    let made = warned.expect(201);
    assert_eq!((made.get("dat"), &made["data"]["a"]), (None, &json!("2")));
    let warnings: Vec<&str> = warned
        .headers
        .get_all("warning")
        .iter()
        .map(|value| value.to_str().expect("text"))
        .collect();
    assert_eq!(
        warnings,
        [
            r#"299 - "duplicate field \"data.a\"""#,
            r#"299 - "unknown field \"dat\"""#
        ]
    );
    let ignore = format!("{MAPS}?fieldValidation=Ignore");
    let silent = world.ask("POST", &ignore, &json, body("b")).await;
    silent.expect(201);
    assert_eq!(silent.header("warning"), "");
}

#[tokio::test]
async fn a_dry_run_does_everything_but_the_write() {
    // 43, 44
    let world = World::new().await;
    let object = json!({"metadata": {"name": "a"}});
    let made = world
        .post(&format!("{MAPS}?dryRun=All"), &object)
        .await
        .expect(201);
    assert_eq!(made["metadata"].get("resourceVersion"), None);
    assert!(made["metadata"]["uid"].is_string());
    world
        .get(&format!("{MAPS}/a"))
        .await
        .refused(404, "NotFound");
    let message = world
        .post(&format!("{MAPS}?dryRun=foo"), &object)
        .await
        .refused(422, "Invalid");
    assert!(
        message.contains("dryRun: Unsupported value: \"foo\""),
        "{message}"
    );
}

#[tokio::test]
async fn status_is_not_the_creators_to_set() {
    // 46
    let world = World::new().await;
    let pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Running"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = world
        .post("/api/v1/namespaces/default/pods", &pod)
        .await
        .expect(201);
    assert_eq!(made["status"]["phase"], "Pending");
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["spec"]["restartPolicy"], "Always");
}

#[tokio::test]
async fn plain_text_of_a_secret_is_stored_encoded() {
    let world = World::new().await;
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}});
    let made = world
        .post("/api/v1/namespaces/default/secrets", &secret)
        .await
        .expect(201);
    assert_eq!(made["data"], json!({"a": "Yg=="}));
    assert_eq!(made["type"], "Opaque");
    assert_eq!(made.get("stringData"), None);
}
