//! Every place in which emulation is permitted, capped or forced does what it should, at once.

use crate::cluster::{Cluster, unschedulable};
use crate::node::{self, Devices};
use api::condition;
use api::hyper_converged::HyperConverged;
use api::kubevirt::KubeVirt;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node};
use kube::Api;
use kube::ResourceExt as _;
use kube::api::PostParams;
use serde_json::{Value, json};

/// A cluster whose node has no hardware virtualization, and a VM that waits for it.
async fn waiting() -> Cluster {
    let cluster = Cluster::start(Devices::None).await;
    cluster.machine("m", "Always").await;
    cluster.wait_printed("m", "ErrorUnschedulable").await;
    cluster
}

/// Waits until the VM runs, and checks what runs it and who decided that.
async fn runs(cluster: &Cluster, accelerator: &str, decided_by: &str) -> VirtualMachineInstance {
    cluster.wait_printed("m", "Running").await;
    let vmi = cluster.wait_phase("m", "Running").await;
    let actual = vmi.status.clone().unwrap().accelerator.unwrap().type_;
    assert_eq!(actual, accelerator);
    assert_eq!(
        vmi.annotations()["anyvirt.io/emulation-decided-by"],
        decided_by
    );
    vmi
}

/// Waits until the VM's condition has this status; none: until it is gone.
async fn condition_is(cluster: &Cluster, type_: &str, status: Option<&str>) -> VirtualMachine {
    let is = |vm: Option<&VirtualMachine>| {
        let conditions = vm.and_then(|vm| Some(&vm.status.as_ref()?.conditions));
        let found = conditions.and_then(|all| condition::find(all, type_));
        conditions.is_some() && found.map(|it| it.status.as_str()) == status
    };
    cluster.wait("m", type_, is).await.unwrap()
}

fn kubevirts(cluster: &Cluster) -> Api<KubeVirt> {
    Api::namespaced(cluster.client.clone(), "kubevirt")
}

#[tokio::test]
async fn the_config_map_in_the_namespace_kubevirt() {
    let cluster = waiting().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "kubevirt");
    let map = json!({ "metadata": { "name": "kubevirt-config" },
        "data": { "debug.useEmulation": "true" } });
    if maps.get_opt("kubevirt-config").await.unwrap().is_some() {
        cluster.change(&maps, "kubevirt-config", map).await;
    } else {
        let map = serde_json::from_value(map).unwrap();
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    runs(
        &cluster,
        "TCG",
        "ConfigMap kubevirt/kubevirt-config debug.useEmulation",
    )
    .await;
}

#[tokio::test]
async fn the_config_map_in_the_namespace_openshift_cnv() {
    let cluster = waiting().await;
    cluster.switch(json!("true")).await;
    runs(
        &cluster,
        "TCG",
        "ConfigMap openshift-cnv/kubevirt-config debug.useEmulation",
    )
    .await;
}

#[tokio::test]
async fn the_annotation_of_hyper_converged() {
    let cluster = waiting().await;
    let patch = r#"[{"op":"add","path":"/spec/configuration/developerConfiguration/useEmulation","value":true}]"#;
    let object = json!({ "apiVersion": "hco.kubevirt.io/v1beta1", "kind": "HyperConverged",
        "metadata": { "name": "kubevirt-hyperconverged",
            "annotations": { "kubevirt.kubevirt.io/jsonpatch": patch } }, "spec": {} });
    let object: HyperConverged = serde_json::from_value(object).unwrap();
    let objects: Api<HyperConverged> = Api::namespaced(cluster.client.clone(), "openshift-cnv");
    objects
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
    let place = "HyperConverged openshift-cnv/kubevirt-hyperconverged annotation \
                 kubevirt.kubevirt.io/jsonpatch";
    runs(&cluster, "TCG", place).await;
}

#[tokio::test]
async fn both_fields_of_the_kubevirt_object() {
    let cluster = waiting().await;
    cluster.switch_object(json!(true)).await;
    let place = "KubeVirt kubevirt/kubevirt spec.configuration.developerConfiguration.useEmulation";
    runs(&cluster, "TCG", place).await;
    // The newer field stands above it: what runs is told so.
    let policy =
        |value: Value| json!({ "spec": { "configuration": { "emulationPolicy": value } } });
    let objects = kubevirts(&cluster);
    cluster
        .change(&objects, "kubevirt", policy(json!("None")))
        .await;
    condition_is(&cluster, "AcceleratorOutdated", Some("True")).await;
    cluster
        .change(&objects, "kubevirt", policy(json!("Software")))
        .await;
    condition_is(&cluster, "AcceleratorOutdated", None).await;
}

#[tokio::test]
async fn the_newer_field_of_the_kubevirt_object() {
    let cluster = waiting().await;
    let change = json!({ "spec": { "configuration": { "emulationPolicy": "Software" } } });
    cluster
        .change(&kubevirts(&cluster), "kubevirt", change)
        .await;
    runs(
        &cluster,
        "TCG",
        "KubeVirt kubevirt/kubevirt spec.configuration.emulationPolicy",
    )
    .await;
}

#[tokio::test]
async fn the_environment_of_the_server() {
    let cluster = Cluster::with_environment(Devices::None, "true").await;
    cluster.machine("m", "Always").await;
    runs(
        &cluster,
        "TCG",
        "environment variable KVM_EMULATION of the server",
    )
    .await;
}

#[tokio::test]
async fn the_cap_of_the_namespace_holds_from_the_first_machine_on_and_goes_with_its_label() {
    let cluster = Cluster::start(Devices::None).await;
    cluster.switch(json!("true")).await;
    let namespaces = Api::<Namespace>::all(cluster.client.clone());
    let cap = |value: Value| json!({ "metadata": { "labels": { "anyvirt.io/emulation-policy": value } } });
    cluster
        .change(&namespaces, "demo", cap(json!("None")))
        .await;
    cluster.machine("m", "Always").await;
    let vm = cluster.wait_printed("m", "ErrorUnschedulable").await;
    let place = "Namespace demo label anyvirt.io/emulation-policy";
    let told = condition_is(&cluster, "AcceleratorAvailable", Some("False")).await;
    let conditions = told.status.unwrap().conditions;
    let message = condition::find(&conditions, "AcceleratorAvailable")
        .unwrap()
        .message
        .clone();
    assert!(
        message
            .as_deref()
            .unwrap()
            .contains(&format!("set the {place} to Software")),
        "{message:?}"
    );
    assert_eq!(vm.status.unwrap().ready, Some(false));

    cluster.change(&namespaces, "demo", cap(Value::Null)).await;
    let vmi = runs(
        &cluster,
        "TCG",
        "ConfigMap openshift-cnv/kubevirt-config debug.useEmulation",
    )
    .await;
    condition_is(&cluster, "AcceleratorAvailable", None).await;

    // A cap that comes later is told to whoever runs; a value that is none counts as the strictest.
    cluster
        .change(&namespaces, "demo", cap(json!("maybe")))
        .await;
    condition_is(&cluster, "AcceleratorOutdated", Some("True")).await;
    cluster
        .change(&namespaces, "demo", cap(json!("Software")))
        .await;
    condition_is(&cluster, "AcceleratorOutdated", None).await;
    assert_eq!(cluster.wait_phase("m", "Running").await.uid(), vmi.uid());
}

#[tokio::test]
async fn the_cap_of_the_node() {
    let cluster = Cluster::start(Devices::None).await;
    cluster.switch(json!("true")).await;
    let nodes = Api::<Node>::all(cluster.client.clone());
    let cap = |value: Value| json!({ "metadata": { "labels": { "anyvirt.io/emulation-policy": value } } });
    cluster
        .change(&nodes, node::NAME, cap(json!("Hardware")))
        .await;
    cluster.machine("m", "Always").await;
    cluster.wait_printed("m", "ErrorUnschedulable").await;
    let words = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
    assert_eq!(
        unschedulable(&cluster.pods().await[0]).as_deref(),
        Some(words)
    );
    condition_is(&cluster, "AcceleratorAvailable", Some("False")).await;
    cluster.change(&nodes, node::NAME, cap(Value::Null)).await;
    let place = "ConfigMap openshift-cnv/kubevirt-config debug.useEmulation";
    runs(&cluster, "TCG", place).await;
    cluster.change(&nodes, node::NAME, cap(json!("None"))).await;
    condition_is(&cluster, "AcceleratorOutdated", Some("True")).await;
}

#[tokio::test]
async fn the_verdict_of_the_node() {
    let cluster = waiting().await;
    node::tell(&cluster.client, Devices::KvmAndVhostNet).await;
    runs(&cluster, "KVM", "default").await;
    // Lowered in use, and good again.
    node::tell(&cluster.client, Devices::UselessKvm).await;
    condition_is(&cluster, "AcceleratorOutdated", Some("True")).await;
    node::tell(&cluster.client, Devices::KvmAndVhostNet).await;
    condition_is(&cluster, "AcceleratorOutdated", None).await;
}

#[tokio::test]
async fn hardware_that_works_by_now_is_told_to_an_emulated_machine() {
    let cluster = waiting().await;
    cluster.switch(json!("true")).await;
    let place = "ConfigMap openshift-cnv/kubevirt-config debug.useEmulation";
    runs(&cluster, "TCG", place).await;
    node::tell(&cluster.client, Devices::KvmAndVhostNet).await;
    let vm = condition_is(&cluster, "AcceleratorOutdated", Some("True")).await;
    let conditions = vm.status.unwrap().conditions;
    let told = condition::find(&conditions, "AcceleratorOutdated").unwrap();
    assert_eq!(told.reason.as_deref(), Some("OtherAcceleratorNow"));
}

#[tokio::test]
async fn hardware_that_is_free_on_another_node_is_told_as_long_as_it_is() {
    let cluster = waiting().await;
    cluster.switch(json!("true")).await;
    let place = "ConfigMap openshift-cnv/kubevirt-config debug.useEmulation";
    runs(&cluster, "TCG", place).await;
    let before = cluster.wait_phase("m", "Running").await;
    let nodes = Api::<Node>::all(cluster.client.clone());
    node::register(&cluster.client, "n2", Devices::KvmAndVhostNet).await;
    let vm = condition_is(&cluster, "AcceleratorOutdated", Some("True")).await;
    let conditions = vm.status.unwrap().conditions;
    let told = condition::find(&conditions, "AcceleratorOutdated").unwrap();
    assert_eq!(told.reason.as_deref(), Some("HardwareFreeElsewhere"));
    let message = told.message.as_deref().unwrap_or_default();
    assert!(message.contains("on node n2,"), "{message}");
    let cordon = json!({ "spec": { "unschedulable": true } });
    cluster.change(&nodes, "n2", cordon).await;
    condition_is(&cluster, "AcceleratorOutdated", None).await;
    let after = cluster.wait_phase("m", "Running").await;
    assert_eq!(before.uid(), after.uid(), "it is only told");
}

#[tokio::test]
async fn the_machine_s_own_policy() {
    let cluster = waiting().await;
    let own = json!({ "spec": { "template": { "spec": { "emulationPolicy": "Software" } } } });
    cluster
        .change(&cluster.api::<VirtualMachine>(), "m", own)
        .await;
    let place = "VirtualMachineInstance demo/m spec.emulationPolicy";
    runs(&cluster, "TCG", place).await;
    condition_is(&cluster, "RestartRequired", None).await;
}

#[tokio::test]
async fn the_annotation_of_the_machine_or_of_its_instance_forces_kvm_against_the_verdict() {
    let forced = json!({ "metadata": { "annotations": { "anyvirt.io/accelerator": "kvm" } } });
    let cluster = Cluster::start(Devices::UselessKvm).await;
    cluster.machine("m", "Always").await;
    cluster.wait_printed("m", "ErrorUnschedulable").await;
    cluster
        .change(&cluster.api::<VirtualMachine>(), "m", forced.clone())
        .await;
    runs(&cluster, "KVM", "default").await;

    let cluster = Cluster::start(Devices::UselessKvm).await;
    cluster.machine("m", "Always").await;
    cluster.wait_printed("m", "ErrorUnschedulable").await;
    let vmis = cluster.api::<VirtualMachineInstance>();
    cluster.change(&vmis, "m", forced).await;
    runs(&cluster, "KVM", "default").await;
}
