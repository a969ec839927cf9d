use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Update, record_update};
use crate::builtin_schema;
use crate::schema::Schema;

fn schema() -> Schema {
    builtin_schema::schema("", "v1", "ConfigMap").expect("built in")
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": data})
}

/// The object after `manager` wrote `new` over `old`, `seconds` after the epoch.
fn written(old: Option<&Value>, mut new: Value, manager: &str, seconds: i64) -> Value {
    if let Some(fields) = old.and_then(super::managed_fields)
        && super::managed_fields(&new).is_none()
    {
        new["metadata"]["managedFields"] = fields.clone();
    }
    record_update(Update {
        schema: &schema(),
        old,
        new: &mut new,
        manager,
        api_version: "v1",
        subresource: None,
        has_status_subresource: false,
        now: Timestamp::from_second(seconds).expect("in range"),
    });
    new
}

fn entries(object: &Value) -> Vec<(String, Value)> {
    let list = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    list.iter()
        .map(|entry| {
            let time = entry["time"].as_str().unwrap_or("never");
            (
                format!("{} {}", entry["manager"].as_str().unwrap_or("?"), time),
                entry["fieldsV1"].clone(),
            )
        })
        .collect()
}

#[test]
fn the_creator_owns_everything_but_identity() {
    let object = written(None, config_map(json!({"a": "1"})), "m", 0);
    assert_eq!(
        object["metadata"]["managedFields"],
        json!([{
            "manager": "m", "operation": "Update", "apiVersion": "v1", "time": "1970-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {".": {}, "f:a": {}}},
        }])
    );
}

#[test]
fn who_changes_a_field_owns_it_alone() {
    let object = written(None, config_map(json!({"a": "1", "b": "1"})), "one", 0);
    let object = written(
        Some(&object),
        config_map(json!({"a": "2", "b": "1", "c": "3"})),
        "two",
        1,
    );
    assert_eq!(
        entries(&object),
        [
            (
                "one 1970-01-01T00:00:00Z".to_owned(),
                json!({"f:data": {".": {}, "f:b": {}}})
            ),
            (
                "two 1970-01-01T00:00:01Z".to_owned(),
                json!({"f:data": {"f:a": {}, "f:c": {}}})
            ),
        ]
    );
}

#[test]
fn what_is_gone_is_owned_by_nobody() {
    let object = written(None, config_map(json!({"a": "1"})), "one", 0);
    let object = written(
        Some(&object),
        config_map(json!({"a": "1", "b": "1"})),
        "two",
        1,
    );
    let object = written(Some(&object), config_map(json!({"b": "1"})), "three", 2);
    assert_eq!(
        entries(&object),
        [
            ("one 1970-01-01T00:00:00Z".to_owned(), json!({"f:data": {}})),
            (
                "two 1970-01-01T00:00:01Z".to_owned(),
                json!({"f:data": {"f:b": {}}})
            ),
        ]
    );
}

#[test]
fn a_write_without_change_keeps_every_time() {
    let object = written(None, config_map(json!({"a": "1"})), "one", 0);
    assert_eq!(
        written(Some(&object), config_map(json!({"a": "1"})), "one", 9),
        object
    );
    assert_eq!(
        written(Some(&object), config_map(json!({"a": "1"})), "two", 9),
        object
    );
    let mut sent = object.clone();
    sent["metadata"]["resourceVersion"] = json!("7");
    sent["metadata"]["generation"] = json!(3);
    let again = written(Some(&object), sent, "two", 9);
    assert_eq!(
        again["metadata"]["managedFields"],
        object["metadata"]["managedFields"]
    );
}

#[test]
fn a_client_may_clear_the_record_and_then_none_is_kept() {
    let object = written(None, config_map(json!({"a": "1"})), "one", 0);
    let mut new = config_map(json!({"a": "2"}));
    new["metadata"]["managedFields"] = json!([{}]);
    let cleared = written(Some(&object), new, "two", 1);
    assert_eq!(super::managed_fields(&cleared), None);
    let later = written(Some(&cleared), config_map(json!({"a": "3"})), "three", 2);
    assert_eq!(super::managed_fields(&later), None);
}

#[test]
fn a_client_may_set_the_record_but_not_break_it() {
    let object = written(None, config_map(json!({"a": "1"})), "one", 0);
    let mine = json!([{"manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}}}]);
    let mut new = config_map(json!({"a": "1"}));
    new["metadata"]["managedFields"] = mine.clone();
    assert_eq!(
        written(Some(&object), new, "two", 1)["metadata"]["managedFields"],
        mine
    );
    for broken in [
        json!([]),
        json!(null),
        json!([{"manager": "x", "operation": "Jump", "fieldsType": "FieldsV1", "fieldsV1": {}}]),
        json!([{"manager": "x", "operation": "Update", "fieldsType": "FieldsV2", "fieldsV1": {}}]),
        json!([{"manager": "x", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"q": {}}}]),
    ] {
        let mut new = config_map(json!({"a": "1"}));
        new["metadata"]["managedFields"] = broken.clone();
        assert_eq!(written(Some(&object), new, "two", 1), object, "{broken}");
    }
}

#[test]
fn the_oldest_of_many_updaters_are_merged() {
    let mut object = written(None, config_map(json!({})), "m00", 0);
    for number in 1..=14 {
        let mut new = object.clone();
        new["data"][format!("k{number:02}")] = json!("v");
        object = written(Some(&object), new, &format!("m{number:02}"), number);
    }
    let entries = entries(&object);
    assert_eq!(entries.len(), 10);
    let (name, old) = &entries[0];
    assert_eq!(name, "ancient-changes 1970-01-01T00:00:05Z");
    assert_eq!(old["f:data"].as_object().expect("a map").len(), 6, "{old}");
    assert_eq!(entries[9].0, "m14 1970-01-01T00:00:14Z");
}

#[test]
fn a_subresource_has_its_own_entry_and_takes_no_record_from_the_client() {
    let schema = builtin_schema::schema("", "v1", "Pod").expect("built in");
    let pod = |phase: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]}});
    let mut old = pod("Pending");
    old["status"] = json!({"phase": "Pending"});
    let now = Timestamp::from_second(0).expect("in range");
    record_update(Update {
        schema: &schema,
        old: None,
        new: &mut old,
        manager: "one",
        api_version: "v1",
        subresource: None,
        has_status_subresource: true,
        now,
    });
    assert_eq!(
        super::managed_fields(&old),
        None,
        "the server's status is nobody's"
    );
    old["metadata"]["managedFields"] = json!([{"manager": "one", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}]);
    let mut new = pod("Running");
    new["metadata"]["managedFields"] = json!([{}]);
    record_update(Update {
        schema: &schema,
        old: Some(&old),
        new: &mut new,
        manager: "kubelet",
        api_version: "v1",
        subresource: Some("status"),
        has_status_subresource: true,
        now,
    });
    let list = new["metadata"]["managedFields"].as_array().expect("a list");
    let entry = list
        .iter()
        .find(|entry| entry["manager"] == "kubelet")
        .expect("an entry");
    assert_eq!(entry["subresource"], "status");
    assert_eq!(
        entry["fieldsV1"],
        json!({"f:status": {"f:phase": {}, "f:conditions": {".": {}, "k:{\"type\":\"Ready\"}": {".": {}, "f:type": {}, "f:status": {}}}}})
    );
}
