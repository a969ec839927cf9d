use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::resource_type::{GenerationRule, NameRule, Names, Origin, Strategy};

const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

fn resource(origin: Origin, group: &str, version: &str, kind: &str, plural: &str) -> ResourceType {
    let schema = match origin {
        Origin::BuiltIn => crate::builtin_schema::open_api_schema(group, version, kind)
            .cloned()
            .unwrap(),
        Origin::CustomResource => json!({"type": "object", "properties": {
            "spec": {"type": "object", "description": "What is wanted.", "properties": {
                "replicas": {"type": "integer", "format": "int32", "nullable": true},
                "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"a": {"type": "string"}}},
                "template": {"type": "object", "x-kubernetes-embedded-resource": true,
                    "x-kubernetes-preserve-unknown-fields": true},
            }},
        }}),
    };
    ResourceType {
        group: group.to_owned(),
        version: version.to_owned(),
        names: Names {
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            list_kind: format!("{kind}List"),
            ..Names::default()
        },
        namespaced: kind != "Namespace",
        origin,
        open_api_schema: Arc::new(schema),
        strategy: Strategy {
            status: true,
            scale: None,
            unconditional_update: true,
            create_on_update: false,
            graceful_delete: false,
            generation: GenerationRule::Spec,
            name_rule: NameRule::Subdomain,
        },
        columns: Vec::new(),
        selectable_fields: Vec::new(),
        verbs: match kind.ends_with("Review") {
            true => vec!["create"],
            false => VERBS.to_vec(),
        },
        deprecation_warning: None,
    }
}

fn resources() -> Vec<ResourceType> {
    vec![
        resource(Origin::BuiltIn, "", "v1", "Pod", "pods"),
        resource(Origin::BuiltIn, "", "v1", "Namespace", "namespaces"),
        resource(
            Origin::BuiltIn,
            "authorization.k8s.io",
            "v1",
            "SubjectAccessReview",
            "subjectaccessreviews",
        ),
        resource(Origin::CustomResource, "ex.io", "v1", "Foo", "foos"),
    ]
}

fn descriptors(resources: &[ResourceType]) -> Vec<Descriptor<'_>> {
    let status = Subresource {
        name: "status",
        verbs: &["get", "patch", "update"],
        kind: None,
    };
    let binding = Subresource {
        name: "binding",
        verbs: &["create"],
        kind: Some(("", "v1", "Binding")),
    };
    let log = Subresource {
        name: "log",
        verbs: &["get"],
        kind: None,
    };
    let scale = Subresource {
        name: "scale",
        verbs: &["get", "patch", "update"],
        kind: Some(("autoscaling", "v1", "Scale")),
    };
    resources
        .iter()
        .map(|resource| Descriptor {
            resource,
            subresources: match resource.names.kind.as_str() {
                "Pod" => vec![status, binding, log],
                "Foo" => vec![status, scale],
                _ => Vec::new(),
            },
        })
        .collect()
}

fn strings<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
            Value::String(text) if name == key => found.push(text),
            other => strings(other, key, found),
        }),
        Value::Array(items) => items.iter().for_each(|item| strings(item, key, found)),
        _ => {}
    }
}

#[test]
fn every_reference_of_a_document_is_in_the_document() {
    let resources = resources();
    let descriptors = descriptors(&resources);
    let documents = [
        (
            v3_document("", "v1", &descriptors, "v1"),
            "/components/schemas",
            "#/components/schemas/",
        ),
        (
            v3_document("ex.io", "v1", &descriptors, "v1"),
            "/components/schemas",
            "#/components/schemas/",
        ),
        (
            v2_document(&descriptors, "v1"),
            "/definitions",
            "#/definitions/",
        ),
    ];
    for (document, schemas, prefix) in &documents {
        let mut targets = Vec::new();
        strings(document, "$ref", &mut targets);
        assert!(targets.len() > 20);
        let known = document.pointer(schemas).unwrap();
        for target in targets {
            let name = target.strip_prefix(prefix).unwrap_or(target);
            assert!(known.get(name).is_some(), "{target}");
        }
    }
}

#[test]
fn operation_ids_are_unique() {
    let resources = resources();
    let document = v2_document(&descriptors(&resources), "v1");
    let mut ids = Vec::new();
    strings(&document["paths"], "operationId", &mut ids);
    let distinct: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(distinct.len(), ids.len());
    for expected in [
        "listCoreV1NamespacedPod",
        "listCoreV1PodForAllNamespaces",
        "readExIoV1NamespacedFoo",
    ] {
        assert!(
            distinct.contains(expected),
            "{expected} is not in {distinct:?}"
        );
    }
}

#[test]
fn every_patch_operation_knows_what_kubectl_asks_for() {
    let resources = resources();
    let descriptors = descriptors(&resources);
    for (group, plural, strategic) in [("", "pods", true), ("ex.io", "foos", false)] {
        let document = v3_document(group, "v1", &descriptors, "v1");
        let root = format!("/{}", v3_path(group, "v1"));
        for suffix in ["", "/status"] {
            let path = format!("{root}/namespaces/{{namespace}}/{plural}/{{name}}{suffix}");
            let patch = &document["paths"][&path]["patch"];
            let mut names = Vec::new();
            strings(&patch["parameters"], "name", &mut names);
            assert_eq!(
                names,
                ["dryRun", "fieldManager", "fieldValidation", "force"],
                "{path}"
            );
            let content = &patch["requestBody"]["content"];
            assert_eq!(
                content
                    .get("application/strategic-merge-patch+json")
                    .is_some(),
                strategic
            );
            assert!(content.get("application/apply-patch+yaml").is_some());
            assert_eq!(patch["x-kubernetes-group-version-kind"]["group"], group);
        }
    }
}

#[test]
fn paths_are_those_that_are_served() {
    let resources = resources();
    let descriptors = descriptors(&resources);
    let document = v3_document("", "v1", &descriptors, "v1");
    let paths: Vec<(&String, Vec<&String>)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, item)| {
            (
                path,
                item.as_object()
                    .unwrap()
                    .keys()
                    .filter(|key| *key != "parameters")
                    .collect(),
            )
        })
        .collect();
    let expected: &[(&str, &[&str])] = &[
        ("/api/v1/namespaces", &["delete", "get", "post"]),
        (
            "/api/v1/namespaces/{namespace}/pods",
            &["delete", "get", "post"],
        ),
        (
            "/api/v1/namespaces/{namespace}/pods/{name}",
            &["delete", "get", "patch", "put"],
        ),
        (
            "/api/v1/namespaces/{namespace}/pods/{name}/binding",
            &["post"],
        ),
        ("/api/v1/namespaces/{namespace}/pods/{name}/log", &["get"]),
        (
            "/api/v1/namespaces/{namespace}/pods/{name}/status",
            &["get", "patch", "put"],
        ),
        (
            "/api/v1/namespaces/{name}",
            &["delete", "get", "patch", "put"],
        ),
        ("/api/v1/pods", &["get"]),
    ];
    let actual: Vec<(&str, Vec<&str>)> = paths
        .iter()
        .map(|(path, methods)| {
            (
                path.as_str(),
                methods.iter().map(|method| method.as_str()).collect(),
            )
        })
        .collect();
    let expected: Vec<(&str, Vec<&str>)> = expected
        .iter()
        .map(|(path, methods)| (*path, methods.to_vec()))
        .collect();
    assert_eq!(actual, expected);
    let reviews = v3_document("authorization.k8s.io", "v1", &descriptors, "v1");
    assert_eq!(reviews["paths"].as_object().unwrap().len(), 1);
}

#[test]
fn a_custom_kind_is_published_with_its_object_fields() {
    let resources = resources();
    let document = v3_document("ex.io", "v1", &descriptors(&resources), "v1");
    let foo = &document["components"]["schemas"]["io.ex.v1.Foo"];
    assert_eq!(
        foo["x-kubernetes-group-version-kind"],
        json!([{"group": "ex.io", "kind": "Foo", "version": "v1"}])
    );
    assert_eq!(
        foo["properties"]["metadata"]["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    );
    let spec = &foo["properties"]["spec"]["properties"];
    assert_eq!(spec["template"]["properties"]["kind"]["type"], "string");
    assert_eq!(spec["replicas"]["nullable"], true);
    let list = &document["components"]["schemas"]["io.ex.v1.FooList"];
    assert_eq!(
        list["properties"]["items"]["items"]["$ref"],
        "#/components/schemas/io.ex.v1.Foo"
    );
    assert!(document["components"]["schemas"]["io.k8s.api.autoscaling.v1.Scale"].is_object());
}

#[test]
fn version_two_has_only_the_keywords_that_it_knows() {
    let resources = resources();
    let document = v2_document(&descriptors(&resources), "v1");
    let foo = &document["definitions"]["io.ex.v1.Foo"]["properties"]["spec"]["properties"];
    assert_eq!(foo["port"]["type"], "string");
    assert_eq!(foo["port"]["format"], "int-or-string");
    assert_eq!(foo["port"].get("anyOf"), None);
    assert_eq!(foo["replicas"], json!({"format": "int32"}));
    assert_eq!(
        foo["open"],
        json!({"x-kubernetes-preserve-unknown-fields": true})
    );
    let quantity = &document["definitions"]["io.k8s.apimachinery.pkg.api.resource.Quantity"];
    assert_eq!(quantity["type"], "string");
    assert_eq!(quantity.get("oneOf"), None);
    let containers =
        &document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
}

#[test]
fn the_index_leads_to_documents_by_hash() {
    let index = v3_index([
        (v3_path("", "v1"), hash(b"a")),
        (v3_path("ex.io", "v1"), hash(b"b")),
    ]);
    let url = index["paths"]["api/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    assert!(
        url.starts_with("/openapi/v3/api/v1?hash=1F40FC92DA241694750979EE6CF582F2D5D7D28E18335DE0")
    );
    assert!(index["paths"]["apis/ex.io/v1"].is_object());
    assert_eq!(hash(b"").len(), 128);
}
