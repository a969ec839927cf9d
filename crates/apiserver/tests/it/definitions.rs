use crate::harness::{DEFINITIONS, FOOS, World, foo, foo_definition};
use serde_json::{Value, json};

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"]
        .as_array()
        .expect("conditions");
    conditions
        .iter()
        .find(|condition| condition["type"] == kind)
        .expect("the condition")
}

#[tokio::test]
async fn a_definition_is_served_by_the_time_it_is_answered() {
    // 137
    let world = World::new().await;
    let made = world.post(DEFINITIONS, &foo_definition()).await.expect(201);
    assert_eq!(condition(&made, "Established")["status"], "True");
    assert_eq!(made["status"]["acceptedNames"]["listKind"], "FooList");
    let list = world.get(FOOS).await.expect(200);
    assert_eq!(
        (&list["kind"], &list["items"]),
        (&json!("FooList"), &json!([]))
    );
}

#[tokio::test]
async fn a_wrong_definition_is_refused_and_a_taken_name_is_told() {
    // 136
    let world = World::new().await;
    let mut wrong = foo_definition();
    wrong["metadata"]["name"] = json!("foo.ex.io");
    let properties = &mut wrong["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    properties["bad"] = json!({"description": "no type"});
    let answer = world.post(DEFINITIONS, &wrong).await;
    answer.refused(422, "Invalid");
    let causes = answer.json()["details"]["causes"].clone();
    assert!(
        causes.as_array().is_some_and(|causes| causes.len() >= 2),
        "{causes}"
    );
    world.post(DEFINITIONS, &foo_definition()).await.expect(201);
    let mut second = foo_definition();
    second["metadata"]["name"] = json!("bars.ex.io");
    second["spec"]["names"] = json!({"plural": "bars", "singular": "bar", "kind": "Foo"});
    let made = world.post(DEFINITIONS, &second).await.expect(201);
    assert_eq!(condition(&made, "NamesAccepted")["reason"], "KindConflict");
    assert_eq!(condition(&made, "Established")["status"], "False");
    let bars = world.get("/apis/ex.io/v1/namespaces/default/bars").await;
    bars.refused(404, "NotFound");
}

#[tokio::test]
async fn custom_objects_are_pruned_defaulted_and_judged() {
    // 138, 139, 140
    let world = World::new().await;
    world.post(DEFINITIONS, &foo_definition()).await.expect(201);
    let made = world
        .post(FOOS, &foo("a", json!({"color": "red", "zzz": 1})))
        .await;
    let object = made.expect(201);
    assert_eq!(object["spec"], json!({"color": "red", "replicas": 1}));
    assert_eq!(
        made.header("warning"),
        r#"299 - "unknown field \"spec.zzz\"""#
    );
    let strict = format!("{FOOS}?fieldValidation=Strict");
    let message = world
        .post(&strict, &foo("b", json!({"zzz": 1})))
        .await
        .refused(400, "BadRequest");
    assert_eq!(message, "strict decoding error: unknown field \"spec.zzz\"");
    for (spec, text) in [
        (
            json!({"color": "green"}),
            "spec.color: Unsupported value: \"green\"",
        ),
        (
            json!({"replicas": "x"}),
            "spec.replicas in body must be of type integer: \"string\"",
        ),
        (
            json!({"replicas": -1}),
            "spec.replicas in body should be greater than or equal to 0",
        ),
    ] {
        let answer = world.post(FOOS, &foo("c", spec)).await;
        let message = answer.refused(422, "Invalid");
        assert!(
            message.starts_with("Foo.ex.io \"c\" is invalid: "),
            "{message}"
        );
        assert!(message.contains(text), "{message}");
    }
    let proto = [("content-type", "application/vnd.kubernetes.protobuf")];
    world
        .ask("POST", FOOS, &proto, "k8s")
        .await
        .refused(415, "UnsupportedMediaType");
}

#[tokio::test]
async fn a_changed_schema_counts_at_once() {
    // 147, 139
    let world = World::new().await;
    world.post(DEFINITIONS, &foo_definition()).await.expect(201);
    world.post(FOOS, &foo("old", json!({}))).await.expect(201);
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size";
    let patch = json!([{"op": "add", "path": path, "value": {"type": "string", "default": "m"}}]);
    let definition = format!("{DEFINITIONS}/foos.ex.io");
    let changed = world
        .patch(&definition, "json-patch+json", &patch)
        .await
        .expect(200);
    assert_eq!(changed["metadata"]["generation"], 2);
    let made = world
        .post(FOOS, &foo("new", json!({"size": "xl"})))
        .await
        .expect(201);
    assert_eq!(made["spec"]["size"], "xl");
    let old = world.get(&format!("{FOOS}/old")).await.expect(200);
    assert_eq!(
        old["spec"]["size"], "m",
        "stored objects get the new default when read"
    );
}

#[tokio::test]
async fn two_versions_show_the_same_object() {
    // 146, 149
    let world = World::new().await;
    let mut definition = foo_definition();
    let mut second = definition["spec"]["versions"][0].clone();
    second["name"] = json!("v1beta1");
    second["storage"] = json!(false);
    second["deprecated"] = json!(true);
    definition["spec"]["versions"]
        .as_array_mut()
        .expect("versions")
        .push(second);
    world.post(DEFINITIONS, &definition).await.expect(201);
    world
        .post(FOOS, &foo("a", json!({"color": "red"})))
        .await
        .expect(201);
    let old = FOOS.replace("/v1/", "/v1beta1/");
    let answer = world.get(&format!("{old}/a")).await;
    let object = answer.expect(200);
    assert_eq!(
        (&object["apiVersion"], &object["spec"]["color"]),
        (&json!("ex.io/v1beta1"), &json!("red"))
    );
    assert_eq!(
        answer.header("warning"),
        "299 - \"ex.io/v1beta1 Foo is deprecated\""
    );
    let patch = json!({"spec": {"color": "blue"}});
    world
        .patch(&format!("{old}/a"), "merge-patch+json", &patch)
        .await
        .expect(200);
    let object = world.get(&format!("{FOOS}/a")).await.expect(200);
    assert_eq!(
        (&object["apiVersion"], &object["spec"]["color"]),
        (&json!("ex.io/v1"), &json!("blue"))
    );
    let group = world.get("/apis/ex.io").await.expect(200);
    assert_eq!(group["preferredVersion"]["version"], "v1");
}

#[tokio::test]
async fn a_deleted_definition_takes_its_objects_with_it() {
    // 148
    let world = World::new().await;
    world.post(DEFINITIONS, &foo_definition()).await.expect(201);
    let mut held = foo("held", json!({}));
    held["metadata"]["finalizers"] = json!(["ex.io/x"]);
    world.post(FOOS, &held).await.expect(201);
    world.post(FOOS, &foo("free", json!({}))).await.expect(201);
    let path = format!("{DEFINITIONS}/foos.ex.io");
    let ending = world.delete(&path).await.expect(200);
    assert_eq!(condition(&ending, "Terminating")["status"], "True");
    let late = world.post(FOOS, &foo("late", json!({}))).await;
    late.refused(405, "MethodNotAllowed");
    world
        .until(&format!("{FOOS}/free"), |answer| answer.code == 404)
        .await;
    let none = json!({"metadata": {"finalizers": null}});
    world
        .patch(&format!("{FOOS}/held"), "merge-patch+json", &none)
        .await
        .expect(200);
    world.until(&path, |answer| answer.code == 404).await;
    let gone = world.until(FOOS, |answer| answer.code == 404).await;
    assert_eq!(
        (gone.code, gone.header("content-type")),
        (404, "text/plain; charset=utf-8")
    );
    world.post(DEFINITIONS, &foo_definition()).await.expect(201);
    assert_eq!(world.get(FOOS).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn definitions_and_objects_are_there_after_a_restart() {
    let world = World::new().await;
    world.post(DEFINITIONS, &foo_definition()).await.expect(201);
    let made = world
        .post(FOOS, &foo("a", json!({"color": "red"})))
        .await
        .expect(201);
    let world = world.restarted().await;
    assert_eq!(world.get(&format!("{FOOS}/a")).await.expect(200), made);
}
