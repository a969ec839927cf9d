//! The article's walk, as far as controllers go: refused, switched, started, and back.

use crate::cluster::{Cluster, unschedulable};
use crate::node::Devices;
use api::condition;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

const REFUSED: &str = "0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm, \
                       1 Insufficient devices.kubevirt.io/vhost-net.";

#[tokio::test]
async fn without_kvm_a_machine_waits_with_the_article_s_words() {
    let cluster = Cluster::start(Devices::None).await;
    cluster.machine("m", "Always").await;
    let vm = cluster.wait_printed("m", "ErrorUnschedulable").await;
    let conditions = vm.status.unwrap().conditions;
    let told = condition::find(&conditions, "PodScheduled").unwrap();
    assert_eq!(told.message.as_deref(), Some(REFUSED));
    let cause = cluster
        .wait_event("demo", "AcceleratorUnavailable", "debug.useEmulation")
        .await;
    assert_eq!(
        cause.involved_object.kind.as_deref(),
        Some("VirtualMachineInstance")
    );
    let pods = cluster.pods().await;
    assert_eq!(unschedulable(&pods[0]).as_deref(), Some(REFUSED));
    let event = cluster
        .wait_event("demo", "FailedScheduling", REFUSED)
        .await;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert_eq!(
        event.source.unwrap().component.as_deref(),
        Some("default-scheduler")
    );
}

#[tokio::test]
async fn without_a_node_a_machine_waits_for_one() {
    let cluster = Cluster::without_node().await;
    cluster.machine("m", "Always").await;
    cluster.wait_printed("m", "ErrorUnschedulable").await;
    let words = "no nodes available to schedule pods";
    assert_eq!(
        unschedulable(&cluster.pods().await[0]).as_deref(),
        Some(words)
    );
    let node = crate::node::play(cluster.client.clone(), Devices::KvmAndVhostNet).await;
    let running = cluster.wait_printed("m", "Running");
    tokio::select! {
        () = node => panic!("the node ended"),
        _ = running => {}
    }
}

#[tokio::test]
async fn the_switch_starts_a_waiting_machine_and_leaves_a_running_one_alone() {
    let cluster = Cluster::start(Devices::None).await;
    cluster.machine("first", "Always").await;
    cluster.wait_printed("first", "ErrorUnschedulable").await;
    let before = cluster.pods().await[0].name_any();

    cluster.switch(json!("true")).await;
    cluster.wait_printed("first", "Running").await;
    let pods = cluster.pods().await;
    let [pod] = pods.as_slice() else {
        panic!("one pod: {pods:#?}")
    };
    assert_ne!(pod.name_any(), before);
    assert_eq!(pod.annotations()["anyvirt.io/emulation-policy"], "Software");
    let place = "ConfigMap openshift-cnv/kubevirt-config debug.useEmulation";
    assert_eq!(pod.annotations()["anyvirt.io/emulation-decided-by"], place);
    let vmi = cluster.wait_phase("first", "Running").await;
    assert_eq!(vmi.annotations()["anyvirt.io/emulation-policy"], "Software");

    cluster.switch(json!("false")).await;
    cluster.machine("second", "Always").await;
    let second = cluster.wait_printed("second", "ErrorUnschedulable").await;
    let conditions = second.status.unwrap().conditions;
    assert_eq!(
        condition::find(&conditions, "PodScheduled")
            .unwrap()
            .message
            .as_deref(),
        Some(REFUSED)
    );
    let still = cluster.wait_phase("first", "Running").await;
    assert_eq!(still.uid(), vmi.uid());
    let kept = |found: Option<&Pod>| found.is_some_and(|found| found.uid() == pod.uid());
    cluster.wait(&pod.name_any(), "kept", kept).await;
}

#[tokio::test]
async fn the_object_switches_too_and_a_conflict_is_told_with_its_winner() {
    let cluster = Cluster::start(Devices::None).await;
    cluster.machine("m", "Always").await;
    cluster.wait_printed("m", "ErrorUnschedulable").await;
    cluster.switch_object(json!(true)).await;
    cluster.wait_printed("m", "Running").await;

    cluster.switch(json!("false")).await;
    let told = cluster
        .wait_configuration("the conflict", |_, told| {
            told.reason.as_deref() == Some("Conflict")
        })
        .await;
    let status = told.status.unwrap();
    let emulation = status.emulation.unwrap();
    assert_eq!(emulation.policy, "None");
    assert!(
        emulation.decided_by.starts_with("ConfigMap openshift-cnv"),
        "{}",
        emulation.decided_by
    );
    assert_eq!(emulation.problems.len(), 1);
    let part = "make them agree";
    let on_object = cluster
        .wait_event("kubevirt", "ConflictingConfiguration", part)
        .await;
    assert_eq!(on_object.involved_object.kind.as_deref(), Some("KubeVirt"));
    let on_map = cluster
        .wait_event("openshift-cnv", "ConflictingConfiguration", part)
        .await;
    assert_eq!(on_map.involved_object.kind.as_deref(), Some("ConfigMap"));

    cluster.switch(Value::Null).await;
    cluster
        .wait_configuration("the end of the conflict", |_, told| told.is_true())
        .await;
}

#[tokio::test]
async fn an_invalid_value_is_told_and_the_last_good_one_stays() {
    let cluster = Cluster::start(Devices::None).await;
    cluster.switch(json!("true")).await;
    cluster
        .wait_configuration("the switch", |object, _| policy(object) == "Software")
        .await;
    cluster.switch(json!("maybe")).await;
    let told = cluster
        .wait_configuration("the invalid value", |_, told| {
            told.reason.as_deref() == Some("InvalidValue")
        })
        .await;
    assert_eq!(policy(&told), "Software");
    let conditions = told.status.unwrap().conditions;
    let message = condition::find(&conditions, "EmulationConfiguration")
        .unwrap()
        .message
        .clone();
    assert!(message.unwrap().contains("maybe"));
    cluster
        .wait_event("openshift-cnv", "InvalidConfiguration", "maybe")
        .await;
    cluster.machine("m", "Always").await;
    cluster.wait_printed("m", "Running").await;
}

fn policy(kubevirt: &api::kubevirt::KubeVirt) -> String {
    let status = kubevirt.status.as_ref();
    status
        .and_then(|it| it.emulation.as_ref())
        .map(|it| it.policy.clone())
        .unwrap_or_default()
}
