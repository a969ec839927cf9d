//! The CustomResourceDefinitions of the kinds, generated from their types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceSubresourceStatus,
    CustomResourceSubresources, CustomResourceValidation, JSONSchemaProps,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::schema::{OptionalEnum, OptionalIntOrString, StructuralSchemaRewriter};
use schemars::generate::SchemaSettings;
use schemars::transform::AddNullable;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

mod pool;
mod snapshot;

use crate::hyper_converged::HyperConvergedStatus;
use crate::kubevirt::{KubeVirtSpec, KubeVirtStatus};
use crate::names;
use crate::unserved::{self, Field};
use crate::virtual_machine::{VirtualMachineSpec, VirtualMachineStatus};
use crate::virtual_machine_instance::{VirtualMachineInstanceSpec, VirtualMachineInstanceStatus};
use crate::warm_start::{WarmStartTemplateSpec, WarmStartTemplateStatus};

/// What the server says to clients that use the old version.
const DEPRECATION: &str =
    "kubevirt.io/v1alpha3 is now deprecated and will be removed in a future release.";

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// The definitions of all kinds, sorted by name.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        hyper_converged(),
        kubevirt(),
        virtual_machine_instance(),
        pool::machine_pool(),
        snapshot::restore(),
        virtual_machine(),
        snapshot::content(),
        snapshot::machine_snapshot(),
        warm_start_template(),
    ]
}

/// A schema for an object whose fields are somebody else's.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "nullable": true, PRESERVE: true })
}

fn virtual_machine() -> CustomResourceDefinition {
    let mut spec = schema_of::<VirtualMachineSpec>();
    add(&mut spec, "", unserved::MACHINE);
    add(&mut spec, "template.spec.", unserved::INSTANCE);
    let mut status = schema_of::<VirtualMachineStatus>();
    status["properties"]["printableStatus"]["default"] = json!("Stopped");
    definition(Kind {
        names: ["VirtualMachine", "virtualmachine", "virtualmachines"],
        short_names: &["vm", "vms"],
        label: names::labels::KUBEVIRT,
        versions: &KUBEVIRT_VERSIONS,
        group: names::GROUP,
        status_subresource: true,
        columns: vec![
            age(),
            column(
                "Status",
                ".status.printableStatus",
                "Human Readable Status",
                0,
            ),
            condition("Ready", "Ready", 0),
            column(
                "Accelerator",
                ".status.accelerator",
                "What runs the guest's instructions",
                0,
            ),
        ],
        spec,
        status,
    })
}

fn virtual_machine_instance() -> CustomResourceDefinition {
    let mut spec = schema_of::<VirtualMachineInstanceSpec>();
    add(&mut spec, "", unserved::INSTANCE);
    definition(Kind {
        names: [
            "VirtualMachineInstance",
            "virtualmachineinstance",
            "virtualmachineinstances",
        ],
        short_names: &["vmi", "vmis"],
        label: names::labels::KUBEVIRT,
        versions: &KUBEVIRT_VERSIONS,
        group: names::GROUP,
        status_subresource: false,
        columns: vec![
            age(),
            column("Phase", ".status.phase", "", 0),
            column("IP", ".status.interfaces[0].ipAddress", "", 0),
            column("NodeName", ".status.nodeName", "", 0),
            column(
                "Accelerator",
                ".status.accelerator.type",
                "KVM, or TCG for software emulation, as QEMU itself reports",
                0,
            ),
            condition("Ready", "Ready", 0),
            condition("Live-Migratable", names::conditions::LIVE_MIGRATABLE, 1),
            condition("Paused", "Paused", 1),
            column(
                "Accelerator-Reason",
                ".status.accelerator.reason",
                "Why it runs on this accelerator",
                1,
            ),
            column(
                "Decided-By",
                ".status.accelerator.decidedBy",
                "The setting that decided whether it may be emulated",
                1,
            ),
            column(
                "Slowdown",
                ".status.accelerator.expectedSlowdown",
                "How many times slower than KVM it is expected to be, as its node measured",
                1,
            ),
            column(
                "Isolation",
                ".status.accelerator.isolation",
                "hardware, or process: emulation is no security boundary",
                1,
            ),
            condition("Outdated", names::conditions::ACCELERATOR_OUTDATED, 1),
        ],
        spec,
        status: schema_of::<VirtualMachineInstanceStatus>(),
    })
}

fn kubevirt() -> CustomResourceDefinition {
    let mut spec = schema_of::<KubeVirtSpec>();
    add(&mut spec, "", unserved::KUBEVIRT);
    definition(Kind {
        names: ["KubeVirt", "kubevirt", "kubevirts"],
        short_names: &["kv", "kvs"],
        label: "operator.kubevirt.io",
        versions: &KUBEVIRT_VERSIONS,
        group: names::GROUP,
        status_subresource: true,
        columns: vec![age(), column("Phase", ".status.phase", "", 0)],
        spec,
        status: schema_of::<KubeVirtStatus>(),
    })
}

fn hyper_converged() -> CustomResourceDefinition {
    definition(Kind {
        names: ["HyperConverged", "hyperconverged", "hyperconvergeds"],
        short_names: &["hco", "hcos"],
        label: "operator.hyperconverged.io",
        versions: &[("v1beta1", None)],
        group: "hco.kubevirt.io",
        status_subresource: true,
        columns: vec![age()],
        spec: json!({ "type": "object", PRESERVE: true }),
        status: schema_of::<HyperConvergedStatus>(),
    })
}

fn warm_start_template() -> CustomResourceDefinition {
    definition(Kind {
        names: [
            "WarmStartTemplate",
            "warmstarttemplate",
            "warmstarttemplates",
        ],
        short_names: &["wst"],
        label: names::OWN_GROUP,
        versions: &[(names::OWN_VERSION, None)],
        group: names::OWN_GROUP,
        status_subresource: true,
        columns: vec![
            column("Image", ".spec.image", "What the guest has booted from", 0),
            column("Phase", ".status.phase", "", 0),
            column("Size", ".status.size", "Room that it takes on disk", 0),
            column(
                "Uses",
                ".status.uses",
                "How many machines have started from it",
                0,
            ),
            age(),
            column("Message", ".status.message", "", 0),
            column("Node", ".spec.node", "", 1),
            column("Accelerator", ".spec.accelerator", "", 1),
        ],
        spec: schema_of::<WarmStartTemplateSpec>(),
        status: schema_of::<WarmStartTemplateStatus>(),
    })
}

/// Versions with their deprecation warnings; the first one is stored.
const KUBEVIRT_VERSIONS: [(&str, Option<&str>); 2] = [
    (names::VERSION, None),
    (names::DEPRECATED_VERSION, Some(DEPRECATION)),
];

struct Kind {
    /// Kind, singular, plural.
    names: [&'static str; 3],
    short_names: &'static [&'static str],
    label: &'static str,
    versions: &'static [(&'static str, Option<&'static str>)],
    group: &'static str,
    status_subresource: bool,
    columns: Vec<CustomResourceColumnDefinition>,
    spec: Value,
    status: Value,
}

fn definition(kind: Kind) -> CustomResourceDefinition {
    let [name, singular, plural] = kind.names;
    let schema = json!({
        "type": "object",
        "description": kind.spec.get("description").cloned().unwrap_or_default(),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this object's schema."},
            "kind": {"type": "string", "description": "Kind of this object."},
            "metadata": {"type": "object"},
            "spec": kind.spec,
            "status": kind.status,
        },
    });
    let schema: JSONSchemaProps = serde_json::from_value(schema)
        .expect("a schema made by schemars and this module is a JSONSchemaProps");
    let version = |(at, (version, warning)): (usize, &(&str, Option<&str>))| {
        CustomResourceDefinitionVersion {
            name: (*version).to_owned(),
            served: true,
            storage: at == 0,
            deprecated: warning.map(|_| true),
            deprecation_warning: warning.map(str::to_owned),
            additional_printer_columns: Some(kind.columns.clone()),
            subresources: kind.status_subresource.then(|| CustomResourceSubresources {
                status: Some(CustomResourceSubresourceStatus(json!({}))),
                scale: None,
            }),
            schema: Some(CustomResourceValidation {
                open_api_v3_schema: Some(schema.clone()),
            }),
            selectable_fields: None,
        }
    };
    CustomResourceDefinition {
        metadata: ObjectMeta {
            name: Some(format!("{plural}.{}", kind.group)),
            labels: Some([(kind.label.to_owned(), String::new())].into()),
            ..ObjectMeta::default()
        },
        spec: CustomResourceDefinitionSpec {
            group: kind.group.to_owned(),
            names: CustomResourceDefinitionNames {
                kind: name.to_owned(),
                list_kind: Some(format!("{name}List")),
                singular: Some(singular.to_owned()),
                plural: plural.to_owned(),
                short_names: Some(
                    kind.short_names
                        .iter()
                        .map(|&name| name.to_owned())
                        .collect(),
                ),
                categories: Some(vec!["all".to_owned()]),
            },
            scope: "Namespaced".to_owned(),
            versions: kind.versions.iter().enumerate().map(version).collect(),
            ..CustomResourceDefinitionSpec::default()
        },
        status: None,
    }
}

fn column(
    name: &str,
    path: &str,
    description: &str,
    priority: i32,
) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: name.to_owned(),
        json_path: path.to_owned(),
        type_: "string".to_owned(),
        description: (!description.is_empty()).then(|| description.to_owned()),
        priority: (priority > 0).then_some(priority),
        format: None,
    }
}

fn condition(name: &str, condition: &str, priority: i32) -> CustomResourceColumnDefinition {
    let path = format!(".status.conditions[?(@.type=='{condition}')].status");
    column(name, &path, "", priority)
}

fn age() -> CustomResourceColumnDefinition {
    let mut column = column("Age", ".metadata.creationTimestamp", "", 0);
    column.type_ = "date".to_owned();
    column
}

/// The structural schema of a type, as Kubernetes wants it.
fn schema_of<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(AddNullable::default())
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum)
        .with_transform(OptionalIntOrString)
        .into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    schema
}

/// Takes away what Kubernetes does not know (`title`, Rust's number formats) and the defaults, which
/// are this crate's defaulting's business and would otherwise be written into stored objects.
fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    for keyword in ["title", "default", "$schema"] {
        object.remove(keyword);
    }
    if object
        .get("format")
        .is_some_and(|format| format == "uint32")
    {
        object.remove("format");
        object.insert("maximum".to_owned(), json!(u32::MAX));
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(tidy);
    }
    for keyword in ["items", "additionalProperties"] {
        object.get_mut(keyword).map(tidy);
    }
}

/// Adds the fields that are not served, so that the schema knows and keeps them.
fn add(schema: &mut Value, prefix: &str, table: &[Field]) {
    for field in table {
        let path = format!("{prefix}{}", field.path);
        let mut segments: Vec<&str> = path.split('.').collect();
        let last = segments.pop().unwrap_or_default();
        let mut node = &mut *schema;
        for segment in segments {
            let (name, is_list) = match segment.strip_suffix("[]") {
                Some(name) => (name, true),
                None => (segment, false),
            };
            node = &mut node["properties"][name];
            if is_list {
                node = &mut node["items"];
            }
        }
        assert!(
            node.is_object(),
            "the table names {path}, but its parent is no typed field"
        );
        let properties = node.as_object_mut().map(|node| {
            node.entry("properties")
                .or_insert_with(|| Value::Object(Map::new()))
        });
        if let Some(Value::Object(properties)) = properties {
            properties.insert(
                last.to_owned(),
                json!({
                    "description": format!("Not served by this version of anyvirt; {}.", field.instead),
                    PRESERVE: true,
                }),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    fn json_of(name: &str) -> String {
        let crd = crds()
            .into_iter()
            .find(|crd| crd.metadata.name.as_deref() == Some(name));
        let mut text = serde_json::to_string_pretty(&crd.unwrap()).unwrap();
        text.push('\n');
        text
    }

    /// `UPDATE_EXPECT=1 cargo test -p api --lib crds` writes the files anew.
    #[test]
    fn the_committed_definitions_are_the_generated_ones() {
        expect_file!["../../../deploy/crds/hyperconvergeds.hco.kubevirt.io.json"]
            .assert_eq(&json_of("hyperconvergeds.hco.kubevirt.io"));
        expect_file!["../../../deploy/crds/kubevirts.kubevirt.io.json"]
            .assert_eq(&json_of("kubevirts.kubevirt.io"));
        expect_file!["../../../deploy/crds/virtualmachineinstances.kubevirt.io.json"]
            .assert_eq(&json_of("virtualmachineinstances.kubevirt.io"));
        expect_file!["../../../deploy/crds/virtualmachines.kubevirt.io.json"]
            .assert_eq(&json_of("virtualmachines.kubevirt.io"));
        expect_file!["../../../deploy/crds/warmstarttemplates.anyvirt.io.json"]
            .assert_eq(&json_of("warmstarttemplates.anyvirt.io"));
        expect_file!["../../../deploy/crds/virtualmachinepools.pool.kubevirt.io.json"]
            .assert_eq(&json_of("virtualmachinepools.pool.kubevirt.io"));
        expect_file!["../../../deploy/crds/virtualmachinesnapshots.snapshot.kubevirt.io.json"]
            .assert_eq(&json_of("virtualmachinesnapshots.snapshot.kubevirt.io"));
        expect_file![
            "../../../deploy/crds/virtualmachinesnapshotcontents.snapshot.kubevirt.io.json"
        ]
        .assert_eq(&json_of(
            "virtualmachinesnapshotcontents.snapshot.kubevirt.io",
        ));
        expect_file!["../../../deploy/crds/virtualmachinerestores.snapshot.kubevirt.io.json"]
            .assert_eq(&json_of("virtualmachinerestores.snapshot.kubevirt.io"));
    }

    #[test]
    fn schemas_are_structural() {
        fn check(path: &str, schema: &Value) {
            let node = schema
                .as_object()
                .unwrap_or_else(|| panic!("{path} is no object"));
            for keyword in [
                "$ref",
                "oneOf",
                "anyOf",
                "allOf",
                "not",
                "definitions",
                "default",
            ] {
                let allowed = keyword == "default" && path.ends_with(".printableStatus");
                assert!(
                    allowed || !node.contains_key(keyword),
                    "{path} has {keyword}"
                );
            }
            let open = ["x-kubernetes-int-or-string", PRESERVE]
                .iter()
                .any(|keyword| node.get(*keyword) == Some(&Value::Bool(true)));
            assert!(
                node.contains_key("type") || open,
                "{path} has no type: {schema}"
            );
            assert_ne!(
                node.get("additionalProperties"),
                Some(&Value::Bool(true)),
                "{path}"
            );
            for (name, below) in node
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                check(&format!("{path}.{name}"), below);
            }
            for keyword in ["items", "additionalProperties"] {
                if let Some(below) = node.get(keyword).filter(|below| !below.is_boolean()) {
                    check(&format!("{path}[]"), below);
                }
            }
        }
        for crd in crds() {
            for version in &crd.spec.versions {
                let schema = version
                    .schema
                    .as_ref()
                    .unwrap()
                    .open_api_v3_schema
                    .as_ref()
                    .unwrap();
                check(&crd.spec.names.kind, &serde_json::to_value(schema).unwrap());
            }
        }
    }

    #[test]
    fn instances_have_no_status_subresource_and_machines_have_one() {
        for crd in crds() {
            let expected = crd.spec.names.kind != "VirtualMachineInstance";
            for version in crd.spec.versions {
                assert_eq!(
                    version.subresources.is_some(),
                    expected,
                    "{}",
                    crd.spec.names.kind
                );
            }
        }
    }
}
