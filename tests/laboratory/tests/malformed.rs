//! Each malformed manifest really is malformed: the generated schema or a rule refuses it, and
//! names the field.

use api::configuration::ClusterConfiguration;
use api::crds::crds;
use api::defaults::{self, FirmwareIdentity};
use api::validate::{self, Cause};
use api::virtual_machine_instance::VirtualMachineInstance;
use laboratory::malformed::malformed;
use serde_json::Value;

/// What a structural schema says against `value`: unknown fields, wrong types, missing fields.
fn against(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let flag = |name: &str| schema.get(name) == Some(&Value::Bool(true));
    if flag("x-kubernetes-preserve-unknown-fields") {
        return;
    }
    let is_right = match schema.get("type").and_then(Value::as_str) {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some(_) => false,
        None => value.is_string() || value.is_i64(),
    };
    let number = value.as_f64().unwrap_or_default();
    let bound =
        |name: &str, default: f64| schema.get(name).and_then(Value::as_f64).unwrap_or(default);
    if !is_right || number < bound("minimum", f64::MIN) || number > bound("maximum", f64::MAX) {
        found.push(path.to_owned());
        return;
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        against(&schema["items"], item, &format!("{path}[{index}]"), found);
    }
    for (name, below) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let known = schema.pointer(&format!("/properties/{name}"));
        match known.or(schema.get("additionalProperties")) {
            Some(schema) => against(schema, below, &path, found),
            None if path == ".metadata.name" || path == ".metadata.namespace" => {}
            None => found.push(path),
        }
    }
    for name in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if value.get(name.as_str().unwrap_or_default()).is_none() {
            found.push(format!("{path}.{}", name.as_str().unwrap_or_default()));
        }
    }
}

/// What the rules say against an object, defaults filled in.
fn against_the_rules(kind: &str, manifest: Value, cluster: &ClusterConfiguration) -> Vec<Cause> {
    if kind == "VirtualMachine" {
        let machine = serde_json::from_value(manifest).expect("the schema found nothing wrong");
        return validate::virtual_machine(&machine, cluster);
    }
    let mut instance: VirtualMachineInstance =
        serde_json::from_value(manifest).expect("the schema found nothing wrong");
    let identity = FirmwareIdentity {
        uuid: "5d307ca9-b3ef-428c-8861-06e72d69f223".to_owned(),
        serial: "s".to_owned(),
    };
    defaults::virtual_machine_instance(&mut instance, cluster, &identity, Default::default());
    validate::virtual_machine_instance(&instance, cluster, false)
}

#[test]
fn five_hundred_malformed_manifests_are_refused_with_their_field() {
    let cluster = ClusterConfiguration::of_architecture("amd64");
    let crds = crds();
    for seed in 0..500 {
        let wrong = malformed(seed);
        let kind = wrong.manifest["kind"].as_str().unwrap();
        let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).unwrap();
        let schema = crd.spec.versions[0]
            .schema
            .as_ref()
            .unwrap()
            .open_api_v3_schema
            .as_ref();
        let mut fields = Vec::new();
        against(
            &serde_json::to_value(schema).unwrap(),
            &wrong.manifest,
            "",
            &mut fields,
        );
        if fields.is_empty() {
            let causes = against_the_rules(kind, wrong.manifest.clone(), &cluster);
            fields = causes.into_iter().map(|cause| cause.field).collect();
        }
        assert!(
            fields.iter().any(|field| field.contains(&wrong.field)),
            "seed {seed}: {}: {fields:?} does not name {}",
            wrong.what_is_wrong,
            wrong.field,
        );
    }
}

#[test]
fn a_seed_always_makes_the_same_manifest() {
    for seed in [0, 1, u64::MAX] {
        assert_eq!(malformed(seed).manifest, malformed(seed).manifest);
    }
}
