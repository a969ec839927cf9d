use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::tests::any_object;
use super::apply;
use crate::builtin_schema;
use crate::schema::Schema;
use crate::status::Status;

fn pod_schema() -> Schema {
    builtin_schema::schema("", "v1", "Pod").expect("pods are built in")
}

fn patched(pod: &Value, patch: &Value) -> Result<Value, Status> {
    apply(&pod_schema(), pod, patch.to_string().as_bytes())
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "1"}, "finalizers": ["x/a", "x/b"]},
        "spec": {
            "containers": [
                {"name": "one", "image": "i1", "env": [{"name": "A", "value": "1"}], "args": ["x", "y"]},
                {"name": "two", "image": "i2"},
            ],
            "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}],
            "tolerations": [{"key": "k", "operator": "Exists"}],
        },
    })
}

fn names(pod: &Value) -> Vec<&str> {
    let containers = pod["spec"]["containers"].as_array().expect("a list");
    containers
        .iter()
        .map(|container| container["name"].as_str().expect("a name"))
        .collect()
}

#[test]
fn containers_are_changed_added_and_deleted_by_name() {
    let changed = patched(
        &pod(),
        &json!({"spec": {"containers": [
            {"name": "two", "image": "i3"},
            {"name": "three", "image": "i4", "command": null},
            {"name": "one", "$patch": "delete"},
        ]}}),
    )
    .expect("applies");
    assert_eq!(
        changed["spec"]["containers"],
        json!([{"name": "two", "image": "i3"}, {"name": "three", "image": "i4"}])
    );
    let changed = patched(
        &pod(),
        &json!({"spec": {"containers": [
            {"name": "one", "env": [{"name": "B", "value": "2"}], "args": ["z"], "image": null},
        ]}}),
    )
    .expect("applies");
    let one = &changed["spec"]["containers"][0];
    assert_eq!(
        one["args"],
        json!(["z"]),
        "a list without merge strategy is replaced"
    );
    assert_eq!(one.get("image"), None);
    let mut env: Vec<&str> = one["env"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|env| env["name"].as_str())
        .collect();
    env.sort_unstable();
    assert_eq!(env, ["A", "B"], "nested lists merge too");
    assert_eq!(names(&changed), ["one", "two"]);
}

#[test]
fn tolerations_are_replaced_whole() {
    let changed =
        patched(&pod(), &json!({"spec": {"tolerations": [{"key": "n"}]}})).expect("applies");
    assert_eq!(changed["spec"]["tolerations"], json!([{"key": "n"}]));
}

#[test]
fn a_list_or_map_can_be_replaced_by_directive() {
    let changed = patched(
        &pod(),
        &json!({"spec": {"containers": [
            {"$patch": "replace"},
            {"name": "only", "image": "i"},
        ]}}),
    )
    .expect("applies");
    assert_eq!(
        changed["spec"]["containers"],
        json!([{"name": "only", "image": "i"}])
    );
    let changed = patched(
        &pod(),
        &json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}}}),
    );
    assert_eq!(
        changed.expect("applies")["metadata"]["labels"],
        json!({"b": "2"})
    );
    let changed = patched(
        &pod(),
        &json!({"metadata": {"labels": {"$patch": "delete"}}}),
    );
    assert_eq!(changed.expect("applies")["metadata"]["labels"], json!({}));
}

#[test]
fn retain_keys_drops_the_other_members_of_a_union() {
    let volume =
        json!({"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}});
    let changed = patched(&pod(), &json!({"spec": {"volumes": [volume]}})).expect("applies");
    assert_eq!(
        changed["spec"]["volumes"],
        json!([{"name": "v", "configMap": {"name": "c"}}])
    );
    let volume = json!({"name": "v", "$retainKeys": ["name"], "configMap": {"name": "c"}});
    let status = patched(&pod(), &json!({"spec": {"volumes": [volume]}})).expect_err("refused");
    assert_eq!(
        (status.code, status.message.as_str()),
        (400, "invalid patch format of retainKeys")
    );
}

#[test]
fn scalar_lists_merge_by_value_and_shrink_by_directive() {
    let changed =
        patched(&pod(), &json!({"metadata": {"finalizers": ["x/b", "x/c"]}})).expect("applies");
    assert_eq!(
        changed["metadata"]["finalizers"],
        json!(["x/a", "x/b", "x/c"])
    );
    let patch = json!({"metadata": {
        "$deleteFromPrimitiveList/finalizers": ["x/a"],
        "$setElementOrder/finalizers": ["x/c", "x/b"],
        "finalizers": ["x/c"],
    }});
    let changed = patched(&pod(), &patch).expect("applies");
    assert_eq!(changed["metadata"]["finalizers"], json!(["x/c", "x/b"]));
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": "x/a"}});
    let status = patched(&pod(), &patch).expect_err("refused");
    assert_eq!(
        (status.code, status.message.as_str()),
        (400, "invalid patch format of primitive list")
    );
}

#[test]
fn set_element_order_arranges_the_merged_list() {
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "three"}, {"name": "two"}, {"name": "one"}],
        "containers": [{"name": "three", "image": "i3"}],
    }});
    let changed = patched(&pod(), &patch).expect("applies");
    assert_eq!(names(&changed), ["three", "two", "one"]);
    let patch =
        json!({"spec": {"$setElementOrder/containers": [{"name": "two"}, {"name": "one"}]}});
    let changed = patched(&pod(), &patch).expect("applies");
    assert_eq!(names(&changed), ["two", "one"]);
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "two"}],
        "containers": [{"name": "three", "image": "i3"}],
    }});
    let status = patched(&pod(), &patch).expect_err("refused");
    assert_eq!(status.code, 400);
    assert!(
        status
            .message
            .contains("doesn't match $setElementOrder/containers"),
        "{status}"
    );
}

#[test]
fn items_only_the_server_has_keep_their_place() {
    let mut live = pod();
    live["spec"]["containers"] =
        json!([{"name": "side"}, {"name": "one"}, {"name": "two"}, {"name": "tail"}]);
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "two"}, {"name": "one"}],
        "containers": [{"name": "one", "image": "i9"}],
    }});
    let changed = patched(&live, &patch).expect("applies");
    assert_eq!(names(&changed), ["side", "two", "one", "tail"]);
}

#[test]
fn directives_never_end_up_in_the_object() {
    let bare = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "one"}],
        "$retainKeys": ["containers", "volumes"],
        "containers": [{"name": "one", "$setElementOrder/env": [], "image": "i"}, {"name": "gone", "$patch": "delete"}],
        "volumes": [{"name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}, "configMap": null}],
    }});
    assert_eq!(
        patched(&bare, &patch).expect("applies")["spec"],
        json!({"containers": [{"name": "one", "image": "i"}], "volumes": [{"name": "v", "emptyDir": {}}]})
    );
}

#[test]
fn a_refusal_names_its_field() {
    for (patch, code, message, field) in [
        (
            json!({"spec": {"containers": [{"image": "i"}]}}),
            422,
            "map does not contain declared merge key: name",
            "spec.containers",
        ),
        (
            json!({"spec": {"containers": [{"$patch": "delete"}]}}),
            422,
            "map does not contain declared merge key: name",
            "spec.containers",
        ),
        (
            json!({"spec": {"$patch": "jump"}}),
            422,
            "unknown patch type: \"jump\" in map",
            "spec",
        ),
        (
            json!({"spec": {"containers": [1]}}),
            422,
            "a list holds objects and other values",
            "spec.containers",
        ),
        (
            json!({"spec": {"containers": [[]]}}),
            422,
            "lists of lists are not supported",
            "spec.containers",
        ),
        (
            json!({"spec": {"$setElementOrder/containers": 1}}),
            400,
            "invalid patch format of setElementOrder list",
            "spec.containers",
        ),
    ] {
        let status = patched(&pod(), &patch).expect_err("refused");
        assert_eq!(
            (status.code, status.message.as_str()),
            (code, message),
            "{patch}"
        );
        assert_eq!(status.details.expect("details").causes[0].field, field);
    }
    assert_eq!(
        apply(&pod_schema(), &pod(), b"[")
            .expect_err("refused")
            .code,
        400
    );
}

/// Where the keys come from upstream's own struct tags: a client computes its patch with these.
#[test]
fn merge_keys_are_those_that_clients_use() {
    fn at(schema: &Schema, path: &str) -> Option<Schema> {
        path.split('.').try_fold(schema.clone(), |schema, name| {
            let child = schema.property(name)?;
            let items = child
                .items()
                .filter(|items| items.properties().next().is_some());
            Some(items.unwrap_or(child).clone())
        })
    }
    let schema = pod_schema();
    for (parent, field, key) in [
        ("metadata", "ownerReferences", Some("uid")),
        ("metadata", "finalizers", None),
        ("spec", "containers", Some("name")),
        ("spec", "initContainers", Some("name")),
        ("spec", "ephemeralContainers", Some("name")),
        ("spec", "volumes", Some("name")),
        ("spec", "imagePullSecrets", Some("name")),
        ("spec", "hostAliases", Some("ip")),
        ("spec", "topologySpreadConstraints", Some("topologyKey")),
        ("spec", "schedulingGates", Some("name")),
        ("spec", "resourceClaims", Some("name")),
        ("spec.containers", "ports", Some("containerPort")),
        ("spec.containers", "env", Some("name")),
        ("spec.containers", "volumeMounts", Some("mountPath")),
        ("spec.containers", "volumeDevices", Some("devicePath")),
        ("status", "conditions", Some("type")),
        ("status", "podIPs", Some("ip")),
        ("status", "hostIPs", Some("ip")),
    ] {
        let parent_schema = at(&schema, parent).unwrap_or_else(|| panic!("{parent} has a schema"));
        let list = parent_schema
            .property(field)
            .unwrap_or_else(|| panic!("{parent}.{field}"));
        assert!(list.patch_strategy().merge, "{parent}.{field} merges");
        assert_eq!(list.patch_merge_key(), key, "{parent}.{field}");
    }
    let spec = schema.property("spec").expect("a schema");
    assert!(
        !spec
            .property("tolerations")
            .expect("a schema")
            .patch_strategy()
            .merge
    );
}

proptest! {
    #[test]
    fn arbitrary_patches_without_a_schema_are_merge_patches(object in any_object(), patch in any_object()) {
        let anything = Schema::anything();
        let body = patch.to_string();
        // Nulls inside lists and new values are where the two differ: RFC 7386 keeps the former.
        prop_assume!(!body.contains("null"));
        let merged = super::super::merge::apply(&object, body.as_bytes()).expect("applies");
        prop_assert_eq!(apply(&anything, &object, body.as_bytes()).expect("applies"), merged);
    }

    #[test]
    fn arbitrary_bodies_never_panic(object in any_object(), body in "\\PC{0,60}") {
        let _ = apply(&pod_schema(), &object, body.as_bytes());
    }
}
