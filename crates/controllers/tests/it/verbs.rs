//! start, stop and restart, from the request to the guest.

use crate::cluster::{Cluster, phase};
use crate::node::Devices;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use controllers::subresource::{RestartOptions, StartOptions, StopOptions, restart, start, stop};
use kube::ResourceExt as _;

async fn gone(cluster: &Cluster) {
    cluster.wait_gone::<VirtualMachineInstance>("m").await;
    cluster.wait_printed("m", "Stopped").await;
}

#[tokio::test]
async fn a_manual_machine_starts_restarts_and_stops_as_asked() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    let client = &cluster.client;
    cluster.machine("m", "Manual").await;
    start(client, "demo", "m", &StartOptions::default())
        .await
        .unwrap();
    let first = cluster.wait_phase("m", "Running").await.uid();
    let quiet = |vm: Option<&VirtualMachine>| {
        vm.and_then(|vm| vm.status.as_ref())
            .is_some_and(|it| it.state_change_requests.is_empty())
    };
    cluster.wait("m", "without requests", quiet).await;
    restart(client, "demo", "m", &RestartOptions::default())
        .await
        .unwrap();
    let second = |vmi: Option<&VirtualMachineInstance>| {
        vmi.is_some_and(|vmi| vmi.uid() != first && phase(vmi) == "Running")
    };
    cluster.wait("m", "restarted", second).await;
    cluster.wait("m", "without requests", quiet).await;
    stop(client, "demo", "m", &StopOptions::default())
        .await
        .unwrap();
    gone(&cluster).await;
    let refused = stop(client, "demo", "m", &StopOptions::default())
        .await
        .unwrap_err();
    assert_eq!((refused.code, refused.reason), (409, "Conflict"));
    assert!(refused.message.ends_with("VM is not running"), "{refused}");
}

#[tokio::test]
async fn stopping_and_starting_an_always_machine_changes_its_strategy() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    cluster.machine("m", "Always").await;
    cluster.wait_phase("m", "Running").await;
    stop(&cluster.client, "demo", "m", &StopOptions::default())
        .await
        .unwrap();
    gone(&cluster).await;
    let vms = cluster.api::<VirtualMachine>();
    assert_eq!(
        vms.get("m").await.unwrap().spec.run_strategy.as_deref(),
        Some("Halted")
    );
    start(&cluster.client, "demo", "m", &StartOptions::default())
        .await
        .unwrap();
    cluster.wait_phase("m", "Running").await;
    assert_eq!(
        vms.get("m").await.unwrap().spec.run_strategy.as_deref(),
        Some("Always")
    );
}

#[tokio::test]
async fn a_halted_machine_can_be_started_paused() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    cluster.machine("m", "Halted").await;
    cluster.wait_printed("m", "Stopped").await;
    let paused = StartOptions {
        paused: true,
        ..Default::default()
    };
    start(&cluster.client, "demo", "m", &paused).await.unwrap();
    let vmi = cluster.wait_phase("m", "Running").await;
    assert_eq!(vmi.spec.start_strategy.as_deref(), Some("Paused"));
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    cluster.machine("m", "Halted").await;
    let before = cluster.wait_printed("m", "Stopped").await;
    let dry = StartOptions {
        dry_run: vec!["All".to_owned()],
        ..Default::default()
    };
    start(&cluster.client, "demo", "m", &dry).await.unwrap();
    let after = cluster.api::<VirtualMachine>().get("m").await.unwrap();
    assert_eq!(after.spec, before.spec);
    assert_eq!(after.metadata.generation, before.metadata.generation);
}

#[tokio::test]
async fn a_machine_that_is_not_there_is_not_found() {
    let cluster = Cluster::without_node().await;
    let refused = start(&cluster.client, "demo", "m", &StartOptions::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code, 404);
    assert_eq!(
        refused.message,
        "virtualmachine.kubevirt.io \"m\" not found"
    );
}
