use super::*;
use crate::schema::{ListType, MAX_DEPTH, Type};

#[test]
fn every_reference_of_every_definition_leads_somewhere() {
    fn walk(value: &Value, missing: &mut Vec<String>) {
        match value {
            Value::Object(keywords) => {
                if let Some(Value::String(reference)) = keywords.get("$ref") {
                    let name = reference
                        .strip_prefix(REFERENCE_PREFIX)
                        .unwrap_or(reference);
                    if !definitions().contains_key(name) {
                        missing.push(reference.clone());
                    }
                }
                keywords.values().for_each(|value| walk(value, missing));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, missing)),
            _ => {}
        }
    }
    let mut missing = Vec::new();
    definitions()
        .values()
        .for_each(|schema| walk(schema, &mut missing));
    assert_eq!(missing, Vec::<String>::new());
    assert!(definitions().len() > 100, "{}", definitions().len());
}

#[test]
fn all_definitions_compile() {
    assert_eq!(
        Schema::compile_definitions(definitions())
            .map(|all| all.len())
            .ok(),
        { Some(definitions().len()) }
    );
    for entry in tables::KINDS {
        assert!(
            schema(entry.group, entry.version, entry.kind).is_some(),
            "{}",
            entry.kind
        );
    }
}

#[test]
fn a_pod_knows_how_its_lists_are_merged() {
    let pod = schema("", "v1", "Pod").unwrap();
    let spec = pod.property("spec").unwrap();
    let containers = spec.property("containers").unwrap();
    assert_eq!(containers.list_type(), ListType::Map);
    assert_eq!(containers.list_keys(), ["name"]);
    assert_eq!(containers.patch_merge_key(), Some("name"));
    assert!(containers.patch_strategy().merge);
    let ports = containers.items().unwrap().property("ports").unwrap();
    assert_eq!(ports.list_keys(), ["containerPort", "protocol"]);
    assert_eq!(ports.patch_merge_key(), Some("containerPort"));
    assert_eq!(
        spec.property("tolerations").unwrap().list_type(),
        ListType::Atomic
    );
    assert_eq!(
        spec.property("nodeName").unwrap().value_type(),
        Some(Type::String)
    );
    let finalizers = object_meta().property("finalizers").cloned().unwrap();
    assert_eq!(finalizers.list_type(), ListType::Set);
    assert!(finalizers.patch_strategy().merge);
}

#[test]
fn a_small_pod_is_valid_once_defaulted() {
    let pod = schema("", "v1", "Pod").unwrap();
    let mut value = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "creationTimestamp": null},
        "spec": {"containers": [{
            "name": "c", "image": "i", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
            "livenessProbe": {"httpGet": {"port": "http"}},
        }]},
        "status": {},
    });
    assert_eq!(pod.unknown_fields(&value), Vec::<String>::new());
    pod.prune(&mut value);
    pod.default(&mut value);
    assert_eq!(pod.validate(&value, None), vec![]);
    assert_eq!(value["metadata"], json!({"name": "a"}));
    assert_eq!(value["spec"]["restartPolicy"], "Always");
    assert_eq!(value["spec"]["securityContext"], json!({}));
    assert_eq!(
        value["spec"]["containers"][0]["ports"][0]["protocol"],
        "TCP"
    );
    assert_eq!(
        value["spec"]["containers"][0]["livenessProbe"]["periodSeconds"],
        10
    );
}

#[test]
fn unknown_fields_and_wrong_types_of_built_in_kinds_are_named() {
    let pod = schema("", "v1", "Pod").unwrap();
    let value = json!({
        "metadata": {"labels": {"a": 1}, "nmae": "x"},
        "spec": {"containers": [{"name": "c", "imgae": "i"}], "nodeName": 5},
        "zzz": 1,
    });
    let mut unknown = pod.unknown_fields(&value);
    unknown.sort();
    assert_eq!(
        unknown,
        ["metadata.nmae", "spec.containers[0].imgae", "zzz"]
    );
    let causes: Vec<String> = pod
        .validate(&value, None)
        .iter()
        .map(|cause| cause.to_string())
        .collect();
    assert_eq!(
        causes,
        [
            "metadata.labels.a: Invalid value: \"integer\": metadata.labels.a in body must be of \
         type string: \"integer\"",
            "spec.nodeName: Invalid value: \"integer\": spec.nodeName in body must be of type \
         string: \"integer\"",
        ]
    );
}

#[test]
fn quantities_int_or_strings_and_open_objects_take_what_upstream_takes() {
    let pod = schema("", "v1", "Pod").unwrap();
    let with_cpu = |cpu: Value| json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": cpu}}}]}});
    for good in [json!(1), json!(0.5), json!("100m")] {
        assert_eq!(pod.validate(&with_cpu(good), None), vec![]);
    }
    assert!(!pod.validate(&with_cpu(json!(true)), None).is_empty());
    let managed = json!({"metadata": {"managedFields": [{
        "manager": "m", "fieldsV1": {"f:data": {"f:a": {}, ".": {}}},
    }]}});
    assert_eq!(pod.unknown_fields(&managed), Vec::<String>::new());
    assert_eq!(pod.validate(&managed, None), vec![]);
}

#[test]
fn a_definition_that_holds_itself_is_followed_as_deep_as_the_value() {
    let crd = schema("apiextensions.k8s.io", "v1", "CustomResourceDefinition").unwrap();
    let mut inner = json!({"type": "object", "nonsense": 1});
    for _ in 0..20 {
        inner = json!({"type": "object", "properties": {"a": inner}});
    }
    let value =
        json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": inner}}]}});
    let unknown = crd.unknown_fields(&value);
    assert_eq!(unknown.len(), 1);
    assert!(unknown[0].ends_with(".nonsense"), "{unknown:?}");
    let mut deep = json!(1);
    for _ in 0..(MAX_DEPTH * 2) {
        deep = json!({"properties": {"a": deep}});
    }
    let deep = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": deep}}]}});
    assert!(!crd.validate(&deep, None).is_empty());
}

#[test]
fn unknown_fields_are_found_where_a_schema_or_something_else_may_stand() {
    let crd = schema("apiextensions.k8s.io", "v1", "CustomResourceDefinition").unwrap();
    let value = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"type": "string", "typo": 1}},
            "b": {"type": "object", "additionalProperties": {"type": "string", "typo": 1}},
            "c": {"type": "object", "additionalProperties": true},
            "d": {"type": "string", "default": {"anything": 1}, "enum": [1, {"x": 1}]},
        },
    }}}]}});
    let at = "spec.versions[0].schema.openAPIV3Schema.properties";
    let mut unknown = crd.unknown_fields(&value);
    unknown.sort();
    assert_eq!(
        unknown,
        [
            format!("{at}.a.items.typo"),
            format!("{at}.b.additionalProperties.typo")
        ]
    );
    let faults = crd.validate(&value["spec"]["versions"][0]["schema"], None);
    assert_eq!(
        faults
            .iter()
            .filter(|cause| cause.field.contains("properties"))
            .count(),
        0
    );
}

#[test]
fn zeroes_fill_what_upstream_fills() {
    let pod = schema("", "v1", "Pod").unwrap();
    let mut value = json!({"spec": {"containers": [{"name": "c"}]}, "status": {
        "containerStatuses": [{"name": "c"}],
    }});
    pod.default(&mut value);
    assert_eq!(pod.validate(&value, None), vec![]);
    assert_eq!(
        value["status"]["containerStatuses"][0],
        json!({
            "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        })
    );
    let request = schema("authentication.k8s.io", "v1", "TokenRequest").unwrap();
    let mut value = json!({"spec": {"audiences": null}});
    request.prune(&mut value);
    request.default(&mut value);
    assert_eq!(
        value,
        json!({"spec": {"audiences": [], "expirationSeconds": 3600}})
    );
}

#[test]
fn words_are_checked_and_an_empty_word_is_no_word() {
    let pod = schema("", "v1", "Pod").unwrap();
    let mut value =
        json!({"spec": {"restartPolicy": "Sometimes", "dnsPolicy": "", "containers": []}});
    pod.prune(&mut value);
    pod.default(&mut value);
    assert_eq!(value["spec"]["dnsPolicy"], "ClusterFirst");
    let causes: Vec<String> = pod
        .validate(&value, None)
        .iter()
        .map(|cause| cause.to_string())
        .collect();
    assert_eq!(
        causes,
        [
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ]
    );
}

#[test]
fn no_definition_has_an_empty_list_of_required_fields() {
    let empty: Vec<&String> = definitions()
        .iter()
        .filter(|(_, schema)| {
            schema
                .get("required")
                .is_some_and(|list| *list == json!([]))
        })
        .map(|(name, _)| name)
        .collect();
    assert_eq!(empty, Vec::<&String>::new());
}
