use std::sync::LazyLock;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Apply, server_side_apply};
use crate::builtin_schema;
use crate::managed_fields::{Update, record_update};
use crate::schema::Schema;
use crate::status::Status;

static FOO: LazyLock<Schema> = LazyLock::new(|| {
    let spec = json!({"type": "object", "properties": {
        "a": {"type": "string"},
        "limit": {"x-kubernetes-int-or-string": true},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "atomicMap": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
        "list": {"type": "array", "items": {"type": "string"}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"], "items": {
            "type": "object", "required": ["port"], "properties": {
                "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"},
            }}},
    }});
    let schema = json!({"type": "object", "properties": {"spec": spec, "status": {"type": "object", "properties": {"phase": {"type": "string"}}}}});
    Schema::compile(&schema).expect("structural")
});

/// One object and the managers that write it, a second after each other.
struct Cluster {
    schema: Schema,
    api_version: &'static str,
    has_status_subresource: bool,
    object: Option<Value>,
    seconds: i64,
}

impl Cluster {
    fn config_map() -> Cluster {
        Cluster::of(
            builtin_schema::schema("", "v1", "ConfigMap").expect("built in"),
            "v1",
        )
    }

    fn pod() -> Cluster {
        let mut cluster = Cluster::of(
            builtin_schema::schema("", "v1", "Pod").expect("built in"),
            "v1",
        );
        cluster.has_status_subresource = true;
        cluster
    }

    fn foo() -> Cluster {
        let mut cluster = Cluster::of(FOO.clone(), "ex.io/v1");
        cluster.has_status_subresource = true;
        cluster
    }

    fn of(schema: Schema, api_version: &'static str) -> Cluster {
        Cluster {
            schema,
            api_version,
            has_status_subresource: false,
            object: None,
            seconds: 0,
        }
    }

    fn now(&mut self) -> Timestamp {
        self.seconds += 1;
        Timestamp::from_second(self.seconds).expect("in range")
    }

    fn complete(&self, mut object: Value) -> Value {
        object["apiVersion"] = json!(self.api_version);
        object["kind"] = json!("Foo");
        object["metadata"]["name"] = json!("a");
        object
    }

    fn try_apply(
        &mut self,
        manager: &str,
        object: Value,
        force: bool,
        subresource: Option<&str>,
    ) -> Result<Value, Status> {
        let applied = self.complete(object);
        let now = self.now();
        let object = server_side_apply(Apply {
            schema: &self.schema,
            live: self.object.as_ref(),
            applied: &applied,
            manager,
            force,
            subresource,
            has_status_subresource: self.has_status_subresource,
            api_version: self.api_version,
            now,
        })?;
        self.object = Some(object.clone());
        Ok(object)
    }

    fn apply(&mut self, manager: &str, object: Value) -> Value {
        self.try_apply(manager, object, false, None)
            .expect("no conflict")
    }

    fn conflict(&mut self, manager: &str, object: Value) -> Status {
        self.try_apply(manager, object, false, None)
            .expect_err("a conflict")
    }

    /// PUT of the present object after `change`.
    fn update(&mut self, manager: &str, change: impl FnOnce(&mut Value)) -> Value {
        let old = self.object.clone();
        let mut new = old.clone().unwrap_or_else(|| self.complete(json!({})));
        change(&mut new);
        let now = self.now();
        record_update(Update {
            schema: &self.schema,
            old: old.as_ref(),
            new: &mut new,
            manager,
            api_version: self.api_version,
            subresource: None,
            has_status_subresource: self.has_status_subresource,
            now,
        });
        self.object = Some(new.clone());
        new
    }
}

fn owners(object: &Value, pointer: &[&str]) -> Vec<String> {
    let list = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    list.iter()
        .filter(|entry| {
            pointer
                .iter()
                .try_fold(&entry["fieldsV1"], |set, name| set.get(*name))
                .is_some()
        })
        .map(|entry| {
            format!(
                "{} {}",
                entry["manager"].as_str().unwrap_or("?"),
                entry["operation"].as_str().unwrap_or("?")
            )
        })
        .collect()
}

#[test]
fn the_first_apply_creates_and_the_same_again_changes_nothing() {
    let mut cluster = Cluster::config_map();
    let wanted =
        json!({"data": {"k": "v"}, "metadata": {"labels": {"l": "1"}, "creationTimestamp": null}});
    let created = cluster.apply("m1", wanted.clone());
    assert_eq!(created["data"], json!({"k": "v"}));
    assert_eq!(
        created["metadata"]["managedFields"],
        json!([{
            "manager": "m1", "operation": "Apply", "apiVersion": "v1", "time": "1970-01-01T00:00:01Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:k": {}}, "f:metadata": {"f:labels": {"f:l": {}}}},
        }])
    );
    assert_eq!(cluster.apply("m1", wanted), created);
}

#[test]
fn managers_that_want_the_same_value_own_it_together() {
    let mut cluster = Cluster::config_map();
    cluster.apply("m1", json!({"data": {"k": "v", "j": "1"}}));
    let object = cluster.apply("m2", json!({"data": {"k": "v"}}));
    assert_eq!(
        owners(&object, &["f:data", "f:k"]),
        ["m1 Apply", "m2 Apply"]
    );
    let object = cluster.apply("m1", json!({"data": {"j": "1"}}));
    assert_eq!(
        object["data"],
        json!({"k": "v", "j": "1"}),
        "m2 still wants k"
    );
    let object = cluster.apply("m2", json!({}));
    assert_eq!(object["data"], json!({"j": "1"}), "nobody wants k");
    assert_eq!(
        owners(&object, &[]),
        ["m1 Apply"],
        "who wants nothing has no entry"
    );
}

#[test]
fn conflicts_are_told_in_upstreams_words() {
    let mut cluster = Cluster::config_map();
    cluster.apply("m1", json!({"data": {"k": "v", "j": "w"}}));
    let before = cluster.object.clone();
    let status = cluster.conflict("m2", json!({"data": {"k": "x"}}));
    assert_eq!((status.code, status.reason.as_ref()), (409, "Conflict"));
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"m1\": .data.k"
    );
    assert_eq!(
        status.to_value()["details"],
        json!({"causes": [{"reason": "FieldManagerConflict", "message": "conflict with \"m1\"", "field": ".data.k"}]})
    );
    let status = cluster.conflict("m2", json!({"data": {"k": "x", "j": "y"}}));
    assert_eq!(
        status.message,
        "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .data.j\n- .data.k"
    );
    assert_eq!(cluster.object, before, "a refused apply leaves no trace");
    cluster.update("edit", |object| object["data"]["z"] = json!("1"));
    let status = cluster.conflict("m2", json!({"data": {"k": "x", "z": "2"}}));
    assert_eq!(
        status.message,
        "Apply failed with 2 conflicts: conflicts with \"edit\" using v1:\n- .data.z\nconflicts with \"m1\":\n- .data.k"
    );
}

#[test]
fn force_moves_ownership() {
    let mut cluster = Cluster::config_map();
    cluster.apply("m1", json!({"data": {"k": "v", "j": "w"}}));
    let object = cluster
        .try_apply("m2", json!({"data": {"k": "x"}}), true, None)
        .expect("forced");
    assert_eq!(object["data"], json!({"k": "x", "j": "w"}));
    assert_eq!(owners(&object, &["f:data", "f:k"]), ["m2 Apply"]);
    let object = cluster.apply("m1", json!({"data": {"j": "w"}}));
    assert_eq!(
        object["data"],
        json!({"k": "x", "j": "w"}),
        "m1 no longer owns k"
    );
}

#[test]
fn an_update_takes_fields_from_appliers() {
    let mut cluster = Cluster::config_map();
    cluster.apply("m1", json!({"data": {"k": "v"}}));
    let object = cluster.update("edit", |object| object["data"]["k"] = json!("e"));
    assert_eq!(owners(&object, &["f:data", "f:k"]), ["edit Update"]);
    let status = cluster.conflict("m1", json!({"data": {"k": "v"}}));
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"edit\" using v1: .data.k"
    );
    let object = cluster.apply("m1", json!({"data": {"k": "e"}}));
    assert_eq!(
        owners(&object, &["f:data", "f:k"]),
        ["m1 Apply", "edit Update"]
    );
}

#[test]
fn removing_the_last_label_leaves_the_rest_of_metadata() {
    let mut cluster = Cluster::config_map();
    cluster.apply(
        "m1",
        json!({"metadata": {"labels": {"l": "1"}}, "data": {"k": "v"}}),
    );
    cluster.update("edit", |object| {
        object["metadata"]["annotations"] = json!({"x": "y"})
    });
    let object = cluster.object.as_mut().expect("created");
    object["metadata"]["uid"] = json!("u");
    let object = cluster.apply("m1", json!({}));
    assert_eq!(object["metadata"]["uid"], "u");
    assert_eq!(object["metadata"]["annotations"], json!({"x": "y"}));
    assert_eq!(object["metadata"].get("labels"), None);
    assert_eq!(object.get("data"), None);
}

#[test]
fn list_items_are_owned_by_their_keys() {
    let mut cluster = Cluster::foo();
    cluster.apply(
        "m1",
        json!({"spec": {"ports": [{"port": 80, "name": "web"}]}}),
    );
    let object = cluster.apply(
        "m2",
        json!({"spec": {"ports": [{"port": 80, "protocol": "UDP"}, {"port": 443}]}}),
    );
    assert_eq!(
        object["spec"]["ports"],
        json!([{"port": 80, "name": "web"}, {"port": 80, "protocol": "UDP"}, {"port": 443}]),
        "the default of protocol tells the items apart"
    );
    let status = cluster.conflict(
        "m2",
        json!({"spec": {"ports": [{"port": 80, "protocol": "TCP", "name": "other"}]}}),
    );
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"m1\": .spec.ports[port=80,protocol=\"TCP\"].name"
    );
    let object = cluster.apply("m2", json!({"spec": {"ports": [{"port": 443}]}}));
    assert_eq!(
        object["spec"]["ports"],
        json!([{"port": 80, "name": "web"}, {"port": 443}])
    );
}

#[test]
fn sets_are_owned_by_value_and_atomic_lists_and_maps_whole() {
    let mut cluster = Cluster::foo();
    cluster.apply(
        "m1",
        json!({"spec": {"set": ["a", "b"], "list": ["x"], "atomicMap": {"k": "v"}}}),
    );
    let object = cluster.apply("m2", json!({"spec": {"set": ["c", "b"]}}));
    assert_eq!(object["spec"]["set"], json!(["a", "c", "b"]));
    let object = cluster.apply(
        "m1",
        json!({"spec": {"set": ["b"], "list": ["x"], "atomicMap": {"k": "v"}}}),
    );
    assert_eq!(object["spec"]["set"], json!(["c", "b"]));
    let status = cluster.conflict(
        "m2",
        json!({"spec": {"list": ["x", "y"], "atomicMap": {"l": "w"}}}),
    );
    assert_eq!(
        status.message,
        "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .spec.atomicMap\n- .spec.list"
    );
}

#[test]
fn items_only_others_have_keep_their_order() {
    let mut cluster = Cluster::foo();
    cluster.apply("m1", json!({"spec": {"set": ["a", "b", "c", "d"]}}));
    let object = cluster.apply("m2", json!({"spec": {"set": ["d", "n", "b"]}}));
    assert_eq!(object["spec"]["set"], json!(["a", "c", "d", "n", "b"]));
}

#[test]
fn unmanaged_fields_belong_to_who_came_before() {
    let mut cluster = Cluster::config_map();
    cluster.object = Some(cluster.complete(json!({"data": {"old": "1", "k": "v"}})));
    let status = cluster.conflict("m1", json!({"data": {"k": "x"}}));
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.k"
    );
    let object = cluster.apply("m1", json!({"data": {"k": "v"}}));
    assert_eq!(
        owners(&object, &["f:data", "f:k"]),
        ["m1 Apply", "before-first-apply Update"]
    );
    assert_eq!(object["data"], json!({"old": "1", "k": "v"}));
}

#[test]
fn kubectl_may_take_what_it_applied_from_the_clients_side() {
    let last = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "annotations": {}}, "data": {"k": "v"}});
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let mut cluster = Cluster::config_map();
    cluster.update("kubectl-client-side-apply", |object| {
        object["data"] = json!({"k": "v"});
        object["metadata"]["annotations"] = json!({annotation: last.to_string()});
    });
    let status = cluster.conflict("other", json!({"data": {"k": "new"}}));
    assert_eq!(status.code, 409, "only kubectl moves without force");
    let object = cluster.apply("kubectl", json!({"data": {"k": "new"}}));
    assert_eq!(object["data"], json!({"k": "new"}));
    let text = object["metadata"]["annotations"][annotation]
        .as_str()
        .expect("kept");
    let now: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(now["data"], json!({"k": "new"}));
    let mut cluster = Cluster::config_map();
    cluster.update("kubectl-client-side-apply", |object| {
        object["data"] = json!({"k": "v", "j": "1"});
        object["metadata"]["annotations"] = json!({annotation: last.to_string()});
    });
    let status = cluster.conflict("kubectl", json!({"data": {"k": "new", "j": "2"}}));
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.j",
        "j was not in the last applied configuration"
    );
}

#[test]
fn a_body_that_does_not_fit_the_schema_names_the_field() {
    for (spec, expected) in [
        (
            json!({"nope": 1}),
            ".spec.nope: field not declared in schema",
        ),
        (json!({"a": 1}), ".spec.a: expected string, got 1"),
        (
            json!({"set": ["a", "a"]}),
            ".spec.set: duplicate entries for key [=\"a\"]",
        ),
        (
            json!({"ports": [{"name": "x"}]}),
            ".spec.ports: element 0: associative list with keys has an element that omits key field \"port\" (and doesn't have default value)",
        ),
        (
            json!({"ports": [1]}),
            ".spec.ports: element 0: associative list with keys may not have non-map elements",
        ),
        (json!({"list": {}}), ".spec.list: expected list, got {}"),
    ] {
        let status = Cluster::foo().conflict("m", json!({"spec": spec}));
        assert_eq!((status.code, status.reason.as_ref()), (500, ""));
        assert_eq!(
            status.message,
            format!("failed to create typed patch object (/a; ex.io/v1, Kind=Foo): {expected}")
        );
    }
    let status = Cluster::foo().conflict("m", json!({"x": 1, "y": 2}));
    assert!(
        status.message.ends_with(
            ": errors:\n  .x: field not declared in schema\n  .y: field not declared in schema"
        ),
        "{status}"
    );
}

#[test]
fn open_trees_take_any_field_and_lists_in_them_are_atomic() {
    let mut cluster = Cluster::foo();
    let object = cluster.apply(
        "m1",
        json!({"spec": {"open": {"x": {"y": [1, {"z": 2}]}}, "limit": "5%"}}),
    );
    assert_eq!(object["spec"]["open"], json!({"x": {"y": [1, {"z": 2}]}}));
    let object = cluster.apply("m2", json!({"spec": {"open": {"w": 1}}}));
    assert_eq!(
        object["spec"]["open"],
        json!({"x": {"y": [1, {"z": 2}]}, "w": 1})
    );
    let status = cluster.conflict("m2", json!({"spec": {"open": {"x": {"y": [1]}}}}));
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"m1\": .spec.open.x.y"
    );
    assert_eq!(
        cluster.apply("m2", json!({"spec": {"limit": "5%"}}))["spec"]["limit"],
        "5%"
    );
}

#[test]
fn status_belongs_to_its_own_endpoint() {
    let mut cluster = Cluster::foo();
    let object = cluster.apply("m1", json!({"spec": {"a": "1"}, "status": {"phase": "no"}}));
    assert_eq!(object.get("status"), None);
    let object = cluster
        .try_apply("m1", json!({"spec": {"a": "2"}, "status": {"phase": "Ready"}, "metadata": {"labels": {"x": "y"}}}), false, Some("status"))
        .expect("no conflict");
    assert_eq!(object["spec"], json!({"a": "1"}));
    assert_eq!(object["metadata"].get("labels"), None);
    assert_eq!(object["status"], json!({"phase": "Ready"}));
    let entry = object["metadata"]["managedFields"]
        .as_array()
        .and_then(|list| list.iter().find(|entry| entry["subresource"] == "status"))
        .expect("an entry of its own");
    assert_eq!(entry["fieldsV1"], json!({"f:status": {"f:phase": {}}}));
    let object = cluster.apply("m1", json!({"spec": {"a": "1"}}));
    assert_eq!(
        object["status"],
        json!({"phase": "Ready"}),
        "the other endpoint's entry is another owner"
    );
}

#[test]
fn a_pods_containers_merge_by_name() {
    let mut cluster = Cluster::pod();
    cluster.apply("m1", json!({"spec": {"containers": [{"name": "a", "image": "i1", "ports": [{"containerPort": 80}]}]}}));
    cluster.update("defaults", |object| {
        object["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
        object["spec"]["containers"][0]["ports"][0]["protocol"] = json!("TCP");
    });
    let object = cluster.apply("m1", json!({"spec": {"containers": [{"name": "a", "image": "i2", "ports": [{"containerPort": 80}]}]}}));
    assert_eq!(
        object["spec"]["containers"],
        json!([{"name": "a", "image": "i2", "imagePullPolicy": "Always", "ports": [{"containerPort": 80, "protocol": "TCP"}]}])
    );
    let status = cluster.conflict(
        "m2",
        json!({"spec": {"containers": [{"name": "a", "image": "i3"}]}}),
    );
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"m1\": .spec.containers[name=\"a\"].image"
    );
}

#[test]
fn bodies_that_break_the_rules_of_apply_are_bad_requests() {
    let mut cluster = Cluster::config_map();
    let status = cluster.conflict("m", json!({"metadata": {"managedFields": [{}]}}));
    assert_eq!(
        (status.code, status.message.as_str()),
        (400, "metadata.managedFields must be nil")
    );
    cluster.api_version = "v2";
    let applied = cluster.complete(json!({}));
    let status = server_side_apply(Apply {
        schema: &cluster.schema,
        live: None,
        applied: &applied,
        manager: "m",
        force: false,
        subresource: None,
        has_status_subresource: false,
        api_version: "v1",
        now: Timestamp::UNIX_EPOCH,
    })
    .expect_err("another version");
    assert_eq!(status.code, 400);
    assert!(
        status
            .message
            .starts_with("Incorrect version specified in apply patch."),
        "{status}"
    );
}

fn any_spec() -> impl Strategy<Value = Value> {
    let word = || "[a-c]".prop_map(Value::from);
    let words = || {
        proptest::collection::btree_set("[a-c]", 0..3)
            .prop_map(|set| Value::from(set.into_iter().collect::<Vec<_>>()))
    };
    let ports = proptest::collection::btree_map(1..4_i64, proptest::option::of("[a-b]"), 0..3)
        .prop_map(|ports| {
            Value::Array(
                ports
                    .into_iter()
                    .map(|(port, name)| match name {
                        Some(name) => json!({"port": port, "name": name}),
                        None => json!({"port": port}),
                    })
                    .collect(),
            )
        });
    let open = super::super::tests::any_object();
    let fields = (
        proptest::option::of(word()),
        proptest::option::of(words()),
        proptest::option::of(words()),
        proptest::option::of(ports),
        proptest::option::of(open),
    );
    fields.prop_map(|(a, list, set, ports, open)| {
        let named = [
            ("a", a),
            ("list", list),
            ("set", set),
            ("ports", ports),
            ("open", open),
        ];
        let spec = named
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(spec.collect())
    })
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(first in any_spec(), second in any_spec(), third in any_spec()) {
        let mut cluster = Cluster::foo();
        cluster.apply("m1", json!({"spec": first}));
        cluster.try_apply("m2", json!({"spec": second}), true, None).expect("forced");
        let once = cluster.try_apply("m1", json!({"spec": third}), true, None).expect("forced");
        prop_assert_eq!(cluster.try_apply("m1", json!({"spec": third}), true, None), Ok(once));
    }

    #[test]
    fn a_lone_manager_gets_exactly_what_it_wants_last(first in any_spec(), second in any_spec()) {
        let mut cluster = Cluster::foo();
        cluster.apply("m1", json!({"spec": first}));
        let twice = cluster.apply("m1", json!({"spec": second}));
        let mut fresh = Cluster::foo();
        let once = fresh.apply("m1", json!({"spec": second}));
        // A container that nothing is left in may stay or go; what is in containers is the same.
        prop_assert_eq!(leaves(&twice["spec"]), leaves(&once["spec"]));
    }

    #[test]
    fn a_forced_apply_is_always_granted(first in any_spec(), second in any_spec()) {
        let mut cluster = Cluster::foo();
        cluster.apply("m1", json!({"spec": first}));
        let object = cluster.try_apply("m2", json!({"spec": second}), true, None).expect("forced");
        for name in ["a", "list"] {
            if let Some(value) = second.get(name) {
                prop_assert_eq!(&object["spec"][name], value);
            }
        }
    }
}

fn leaves(value: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, leaves: &mut Vec<String>) {
        match value {
            Value::Object(map) => map
                .iter()
                .for_each(|(name, value)| walk(value, &format!("{path}.{name}"), leaves)),
            Value::Array(list) if list.is_empty() => {}
            other => leaves.push(format!("{path}={other}")),
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found
}
