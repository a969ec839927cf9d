use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::resource_type::{GenerationRule, NameRule, Names, Origin, Strategy};

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn resource(origin: Origin, group: &str, kind: &str, columns: Vec<PrinterColumn>) -> ResourceType {
    ResourceType {
        group: group.to_owned(),
        version: "v1".to_owned(),
        names: Names {
            kind: kind.to_owned(),
            ..Names::default()
        },
        namespaced: true,
        origin,
        open_api_schema: Arc::new(json!({})),
        strategy: Strategy {
            status: false,
            scale: None,
            unconditional_update: true,
            create_on_update: false,
            graceful_delete: false,
            generation: GenerationRule::None,
            name_rule: NameRule::Subdomain,
        },
        columns,
        selectable_fields: Vec::new(),
        verbs: Vec::new(),
        deprecation_warning: None,
    }
}

/// The row as `kubectl get` (without and with `-o wide`) would print it, columns joined by bars.
fn printed(group: &str, kind: &str, object: &Value, is_wide: bool) -> (String, String) {
    let columns = Columns::of(&resource(Origin::BuiltIn, group, kind, Vec::new()));
    let cells = columns.cells(object, now());
    assert_eq!(cells.len(), columns.definitions.len(), "{kind}");
    let shown: Vec<usize> = (0..cells.len())
        .filter(|index| is_wide || columns.definitions[*index].priority == 0)
        .collect();
    let header: Vec<String> = shown
        .iter()
        .map(|index| columns.definitions[*index].name.to_uppercase())
        .collect();
    let row: Vec<String> = shown
        .iter()
        .map(|index| match &cells[*index] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
        .collect();
    (header.join("|"), row.join("|"))
}

fn with_metadata(mut object: Value) -> Value {
    let metadata = json!({"name": "a", "creationTimestamp": "2026-11-22T11:55:00Z"});
    match object.get_mut("metadata") {
        Some(Value::Object(given)) => given.extend(metadata.as_object().unwrap().clone()),
        _ => object["metadata"] = metadata,
    }
    object
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn built_in_kinds_show_the_columns_that_users_know() {
    let cases: &[(&str, &str, Value, bool, &str, &str)] = &[
        (
            "",
            "Namespace",
            json!({"status": {"phase": "Active"}}),
            false,
            "NAME|STATUS|AGE",
            "a|Active|5m",
        ),
        (
            "",
            "ConfigMap",
            json!({"data": {"a": "", "b": ""}, "binaryData": {"c": ""}}),
            false,
            "NAME|DATA|AGE",
            "a|3|5m",
        ),
        (
            "",
            "Secret",
            json!({"type": "Opaque", "data": {"a": ""}}),
            false,
            "NAME|TYPE|DATA|AGE",
            "a|Opaque|1|5m",
        ),
        (
            "",
            "ServiceAccount",
            json!({}),
            false,
            "NAME|SECRETS|AGE",
            "a|0|5m",
        ),
        (
            "coordination.k8s.io",
            "Lease",
            json!({"spec": {"holderIdentity": "h"}}),
            false,
            "NAME|HOLDER|AGE",
            "a|h|5m",
        ),
        (
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            json!({}),
            false,
            "NAME|CREATED AT",
            "a|2026-11-22T11:55:00Z",
        ),
        (
            "scheduling.k8s.io",
            "PriorityClass",
            json!({"value": 5}),
            false,
            "NAME|VALUE|GLOBAL-DEFAULT|AGE|PREEMPTIONPOLICY",
            "a|5|false|5m|PreemptLowerPriority",
        ),
        (
            "",
            "PersistentVolumeClaim",
            json!({
                "spec": {"volumeName": "v", "storageClassName": "s", "volumeMode": "Block"},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]},
            }),
            true,
            "NAME|STATUS|VOLUME|CAPACITY|ACCESS MODES|STORAGECLASS|VOLUMEATTRIBUTESCLASS|AGE|VOLUMEMODE",
            "a|Bound|v|1Gi|RWO,RWX|s|<unset>|5m|Block",
        ),
        (
            "",
            "Node",
            json!({
                "metadata": {"labels": {
                    "node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "",
                }},
                "spec": {"unschedulable": true},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                    "nodeInfo": {"kubeletVersion": "v1.35.0", "osImage": "Linux", "kernelVersion": "6.1"},
                },
            }),
            true,
            "NAME|STATUS|ROLES|AGE|VERSION|INTERNAL-IP|EXTERNAL-IP|OS-IMAGE|KERNEL-VERSION|CONTAINER-RUNTIME",
            "a|Ready,SchedulingDisabled|control-plane,worker|5m|v1.35.0|10.0.0.1|<none>|Linux|6.1|<unknown>",
        ),
        (
            "",
            "Event",
            json!({
                "type": "Warning", "reason": "Failed", "message": "no \n", "count": 3,
                "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec"},
                "firstTimestamp": "2026-11-22T11:00:00Z", "lastTimestamp": "2026-11-22T11:59:30Z",
                "source": {"component": "kubelet", "host": "n"},
            }),
            true,
            "LAST SEEN|TYPE|REASON|OBJECT|SUBOBJECT|SOURCE|MESSAGE|FIRST SEEN|COUNT|NAME",
            "30s|Warning|Failed|pod/p|spec|kubelet, n|no|60m|3|a",
        ),
        (
            "events.k8s.io",
            "Event",
            json!({
                "type": "Normal", "reason": "Created", "note": "yes", "eventTime": "2026-11-22T11:59:50.000000Z",
                "regarding": {"kind": "Pod", "name": "p"}, "reportingController": "c", "reportingInstance": "i",
            }),
            true,
            "LAST SEEN|TYPE|REASON|OBJECT|SUBOBJECT|SOURCE|MESSAGE|FIRST SEEN|COUNT|NAME",
            "10s|Normal|Created|pod/p||c, i|yes|10s|1|a",
        ),
    ];
    for (group, kind, object, is_wide, header, row) in cases {
        let actual = printed(group, kind, &with_metadata(object.clone()), *is_wide);
        assert_eq!(actual, ((*header).to_owned(), (*row).to_owned()), "{kind}");
    }
    let bare = printed("", "Node", &json!({}), false).1;
    assert_eq!(bare, "|Unknown|<none>|<unknown>|");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_pods_status_is_the_word_that_kubectl_shows() {
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "n"});
    let running = |ready: bool| json!({"name": "a", "ready": ready, "restartCount": 0, "state": {"running": {}}});
    let cases: &[(Value, Value, &str)] = &[
        (spec.clone(), json!({"phase": "Pending"}), "0/2|Pending|0"),
        (
            spec.clone(),
            json!({"phase": "Running", "containerStatuses": [running(true), running(true)]}),
            "2/2|Running|0",
        ),
        (
            spec.clone(),
            json!({"phase": "Pending", "containerStatuses": [
                {"restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff"}}}, running(true),
            ]}),
            "1/2|ImagePullBackOff|0",
        ),
        (
            spec.clone(),
            json!({"phase": "Running", "containerStatuses": [
                {"restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                 "lastState": {"terminated": {"finishedAt": "2026-11-22T11:57:00Z"}}},
                running(true),
            ]}),
            "1/2|CrashLoopBackOff|2 (3m ago)",
        ),
        (
            spec.clone(),
            json!({"phase": "Succeeded", "containerStatuses": [
                {"restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
            ]}),
            "0/2|Completed|0",
        ),
        (
            spec.clone(),
            json!({"phase": "Running", "containerStatuses": [
                {"restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}, running(true),
            ], "conditions": [{"type": "Ready", "status": "False"}]}),
            "1/2|NotReady|0",
        ),
        (
            spec.clone(),
            json!({"phase": "Failed", "containerStatuses": [
                {"restartCount": 0, "state": {"terminated": {"exitCode": 137, "signal": 9}}},
            ]}),
            "0/2|Signal:9|0",
        ),
        (
            spec.clone(),
            json!({"phase": "Failed", "reason": "Evicted"}),
            "0/2|Evicted|0",
        ),
        (
            spec.clone(),
            json!({"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"},
            ]}),
            "0/2|SchedulingGated|0",
        ),
        (
            json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]}),
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "restartCount": 0, "state": {"terminated": {"exitCode": 0}}},
                {"name": "j", "restartCount": 0, "state": {"running": {}}},
            ]}),
            "0/1|Init:1/2|0",
        ),
        (
            json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}),
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "restartCount": 1, "state": {"terminated": {"exitCode": 3}}},
            ]}),
            "0/1|Init:ExitCode:3|1",
        ),
        (
            json!({"initContainers": [{"name": "i", "restartPolicy": "Always"}], "containers": [{"name": "a"}]}),
            json!({"phase": "Running", "initContainerStatuses": [
                {"name": "i", "restartCount": 1, "started": true, "ready": true, "state": {"running": {}}},
            ], "containerStatuses": [running(true)]}),
            "2/2|Running|1",
        ),
    ];
    for (spec, status, expected) in cases {
        let pod = with_metadata(json!({"spec": spec, "status": status}));
        let row = printed("", "Pod", &pod, false).1;
        assert_eq!(row, format!("a|{expected}|5m"), "{status}");
    }
    let mut deleted =
        with_metadata(json!({"spec": spec, "status": {"phase": "Running", "podIP": "10.0.0.2"}}));
    deleted["metadata"]["deletionTimestamp"] = json!("2026-11-22T12:00:00Z");
    let (header, row) = printed("", "Pod", &deleted, true);
    assert_eq!(
        header,
        "NAME|READY|STATUS|RESTARTS|AGE|IP|NODE|NOMINATED NODE|READINESS GATES"
    );
    assert_eq!(row, "a|0/2|Terminating|0|5m|10.0.0.2|n|<none>|<none>");
}

fn custom_columns() -> Vec<PrinterColumn> {
    let column = |name: &str, kind: &str, json_path: &str, priority: i32| PrinterColumn {
        name: name.to_owned(),
        kind: kind.to_owned(),
        json_path: json_path.to_owned(),
        priority,
        ..PrinterColumn::default()
    };
    vec![
        column("S", "string", ".spec.s", 0),
        column("I", "integer", ".spec.i", 0),
        column("N", "number", ".spec.n", 0),
        column("B", "boolean", ".spec.b", 1),
        column("D", "date", ".spec.d", 0),
        column("Bad", "string", ".spec[", 0),
    ]
}

#[test]
fn columns_of_custom_resources_follow_their_types() {
    let columns = Columns::of(&resource(
        Origin::CustomResource,
        "x",
        "X",
        custom_columns(),
    ));
    let cases: &[(Value, Value)] = &[
        (
            json!({"s": "t", "i": 3.9, "n": 1.5, "b": true, "d": "2026-11-22T11:59:00Z"}),
            json!(["a", "t", 3, 1.5, true, "60s", null]),
        ),
        (
            json!({"s": 5, "i": "x", "n": "x", "b": "true", "d": "yesterday"}),
            json!(["a", "5", null, null, null, "<invalid>", null]),
        ),
        (
            json!({"s": ["x"], "d": null}),
            json!(["a", "[\"x\"]", null, null, null, null, null]),
        ),
        (json!({}), json!(["a", null, null, null, null, null, null])),
    ];
    for (spec, expected) in cases {
        let object = json!({"metadata": {"name": "a"}, "spec": spec});
        assert_eq!(
            Value::from(columns.cells(&object, now())),
            *expected,
            "{spec}"
        );
    }
    let definitions = columns.definitions();
    assert_eq!(definitions[0]["format"], "name");
    assert_eq!(
        definitions[4],
        json!({
            "name": "B", "type": "boolean", "format": "", "description": "", "priority": 1,
        })
    );
    let bare = Columns::of(&resource(Origin::CustomResource, "x", "X", Vec::new()));
    assert_eq!(
        bare.cells(&with_metadata(json!({})), now()),
        [json!("a"), json!("5m")]
    );
}

#[test]
fn a_table_holds_as_much_of_the_object_as_is_asked() {
    let columns = Columns::of(&resource(Origin::BuiltIn, "", "ConfigMap", Vec::new()));
    let object = json!({
        "kind": "ConfigMap", "apiVersion": "v1", "data": {"k": "v"},
        "metadata": {"name": "a", "resourceVersion": "7"},
    });
    let table = |include, with_definitions| {
        columns.table(
            [&object],
            metadata_of(&object),
            include,
            now(),
            with_definitions,
        )
    };
    let metadata = table(IncludeObject::Metadata, true);
    assert_eq!(metadata["kind"], "Table");
    assert_eq!(metadata["metadata"], json!({"resourceVersion": "7"}));
    assert_eq!(
        metadata["rows"][0]["object"],
        json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"name": "a", "resourceVersion": "7"},
        })
    );
    assert_eq!(
        table(IncludeObject::Object, true)["rows"][0]["object"],
        object
    );
    assert_eq!(
        table(IncludeObject::None, true)["rows"][0]["object"],
        Value::Null
    );
    assert_eq!(
        table(IncludeObject::None, false)["columnDefinitions"],
        Value::Null
    );
    assert_eq!(IncludeObject::parse("Everything"), None);
    let empty = columns.table(
        [],
        json!({"resourceVersion": "9"}),
        IncludeObject::Metadata,
        now(),
        true,
    );
    assert_eq!(empty["rows"], json!([]));
}
