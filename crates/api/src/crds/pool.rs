//! The definition of pools, with KubeVirt's names, columns and sub-resources.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceSubresourceScale,
};

use super::{Kind, add, age, column, definition, schema_of};
use crate::names;
use crate::pool::{VirtualMachinePoolSpec, VirtualMachinePoolStatus};
use crate::unserved;

const VERSIONS: [(&str, Option<&str>); 2] =
    [(names::POOL_VERSION, None), (names::POOL_OLD_VERSION, None)];

pub(super) fn machine_pool() -> CustomResourceDefinition {
    let mut spec = schema_of::<VirtualMachinePoolSpec>();
    add(&mut spec, "", unserved::POOL);
    let template = "virtualMachineTemplate.spec.";
    add(&mut spec, template, unserved::MACHINE);
    let instance = format!("{template}template.spec.");
    add(&mut spec, &instance, unserved::INSTANCE);
    let mut definition = definition(Kind {
        names: [
            "VirtualMachinePool",
            "virtualmachinepool",
            "virtualmachinepools",
        ],
        short_names: &["vmpool", "vmpools"],
        label: names::labels::KUBEVIRT,
        versions: &VERSIONS,
        group: names::POOL_GROUP,
        status_subresource: true,
        columns: vec![
            integer(
                "Desired",
                ".spec.replicas",
                "How many machines it shall have",
            ),
            integer("Current", ".status.replicas", "How many machines it has"),
            integer(
                "Ready",
                ".status.readyReplicas",
                "How many of them are ready",
            ),
            age(),
        ],
        spec,
        status: schema_of::<VirtualMachinePoolStatus>(),
    });
    for version in &mut definition.spec.versions {
        let subresources = version.subresources.get_or_insert_default();
        subresources.scale = Some(CustomResourceSubresourceScale {
            spec_replicas_path: ".spec.replicas".to_owned(),
            status_replicas_path: ".status.replicas".to_owned(),
            label_selector_path: Some(".status.labelSelector".to_owned()),
        });
    }
    definition
}

fn integer(name: &str, path: &str, description: &str) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        type_: "integer".to_owned(),
        ..column(name, path, description, 0)
    }
}
