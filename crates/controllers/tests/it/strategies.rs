//! What each run strategy makes of the end of an instance.

use crate::cluster::{Cluster, phase};
use crate::node::Devices;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use controllers::subresource::{StartOptions, start};
use kube::ResourceExt as _;

/// Starts a machine under a strategy, lets its guest end, and returns it with the ended instance's uid.
async fn ended(cluster: &Cluster, strategy: &str, end: &str) -> Option<String> {
    cluster.machine("m", strategy).await;
    if strategy == "Manual" {
        let started = start(&cluster.client, "demo", "m", &StartOptions::default()).await;
        started.unwrap();
    }
    let vmi = cluster.wait_phase("m", "Running").await;
    cluster.wait_printed("m", "Running").await;
    cluster.end_guest("m", end).await;
    vmi.uid()
}

async fn is_replaced(strategy: &str, end: &str) {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    let first = ended(&cluster, strategy, end).await;
    let second = move |vmi: Option<&VirtualMachineInstance>| {
        vmi.is_some_and(|vmi| vmi.uid() != first && phase(vmi) == "Running")
    };
    cluster.wait("m", "replaced", second).await;
}

async fn is_removed(strategy: &str, end: &str) {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    ended(&cluster, strategy, end).await;
    let stopped = |vm: Option<&VirtualMachine>| {
        let status = vm.and_then(|vm| vm.status.as_ref());
        status.is_some_and(|it| {
            it.printable_status.to_string() == "Stopped" && it.created == Some(false)
        })
    };
    cluster
        .wait("m", "stopped without an instance", stopped)
        .await;
}

async fn is_kept(strategy: &str, end: &str) {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    let first = ended(&cluster, strategy, end).await;
    cluster.wait_printed("m", "Stopped").await;
    let vmi = cluster.wait_phase("m", end).await;
    assert_eq!((vmi.uid(), vmi.metadata.deletion_timestamp), (first, None));
}

#[tokio::test]
async fn always_replaces_an_instance_that_succeeded() {
    is_replaced("Always", "Succeeded").await;
}

#[tokio::test]
async fn always_replaces_an_instance_that_failed() {
    is_replaced("Always", "Failed").await;
}

#[tokio::test]
async fn rerun_on_failure_removes_an_instance_that_succeeded() {
    is_removed("RerunOnFailure", "Succeeded").await;
}

#[tokio::test]
async fn rerun_on_failure_replaces_an_instance_that_failed() {
    is_replaced("RerunOnFailure", "Failed").await;
}

#[tokio::test]
async fn manual_keeps_an_instance_that_succeeded() {
    is_kept("Manual", "Succeeded").await;
}

#[tokio::test]
async fn manual_keeps_an_instance_that_failed() {
    is_kept("Manual", "Failed").await;
}

#[tokio::test]
async fn once_keeps_an_instance_that_succeeded() {
    is_kept("Once", "Succeeded").await;
}

#[tokio::test]
async fn once_keeps_an_instance_that_failed() {
    is_kept("Once", "Failed").await;
}

#[tokio::test]
async fn halted_creates_nothing() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    cluster.machine("m", "Halted").await;
    let vm = cluster.wait_printed("m", "Stopped").await;
    let seen = |vm: Option<&VirtualMachine>| {
        vm.and_then(|vm| vm.status.as_ref())
            .is_some_and(|it| it.created == Some(false))
    };
    cluster.wait("m", "looked at", seen).await;
    assert_eq!(vm.spec.run_strategy.as_deref(), Some("Halted"));
    assert_eq!(
        cluster
            .api::<VirtualMachineInstance>()
            .get_opt("m")
            .await
            .unwrap(),
        None
    );
}
