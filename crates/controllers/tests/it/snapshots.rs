//! Snapshots and restores, with a played node.

use crate::cluster::{Cluster, NAMESPACE};
use crate::node::Devices;
use api::snapshot::{
    Phase, VirtualMachineRestore, VirtualMachineSnapshot, VirtualMachineSnapshotContent,
};
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use controllers::subresource::{StartOptions, start};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

async fn take(cluster: &Cluster, name: &str, memory: bool) -> VirtualMachineSnapshot {
    let snapshot = json!({
        "apiVersion": "snapshot.kubevirt.io/v1beta1", "kind": "VirtualMachineSnapshot",
        "metadata": { "name": name },
        "spec": { "source": { "apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "m" },
            "includeMemory": memory },
    });
    let snapshot: VirtualMachineSnapshot = serde_json::from_value(snapshot).unwrap();
    let taken = cluster
        .api()
        .create(&PostParams::default(), &snapshot)
        .await;
    let taken = taken.unwrap();
    if memory {
        keep(cluster, &taken).await;
    }
    let is_over = |it: Option<&VirtualMachineSnapshot>| {
        let phase = it.and_then(|it| it.status.as_ref()?.phase);
        matches!(phase, Some(Phase::Succeeded | Phase::Failed))
    };
    cluster.wait(name, "taken", is_over).await.unwrap()
}

/// Plays the node that keeps the memory.
async fn keep(cluster: &Cluster, snapshot: &VirtualMachineSnapshot) {
    let name = format!("vmsnapshot-content-{}", snapshot.uid().unwrap());
    let there = |it: Option<&VirtualMachineSnapshotContent>| it.is_some();
    let content = cluster.wait(&name, "there", there).await.unwrap();
    let memory = content.spec.memory.unwrap();
    let vmi = cluster.wait_phase("m", "Running").await;
    assert_eq!(
        Some(memory.node_name),
        vmi.status.clone().unwrap().node_name
    );
    assert_eq!(Some(memory.instance_uid), vmi.uid());
    // Nobody starts or stops it meanwhile.
    let refused = start(&cluster.client, NAMESPACE, "m", &StartOptions::default()).await;
    assert_eq!(refused.unwrap_err().code, 409);
    let status = json!({ "status": { "readyToUse": true, "creationTime": "2026-11-23T12:00:00Z",
        "memory": { "renewable": true } } });
    write_status(cluster, &name, &status).await;
}

async fn write_status(cluster: &Cluster, content: &str, status: &Value) {
    let contents = cluster.api::<VirtualMachineSnapshotContent>();
    let (how, patch) = (PatchParams::default(), Patch::Merge(status));
    let written = contents.patch_status(content, &how, &patch);
    written.await.unwrap();
}

async fn restore(cluster: &Cluster, name: &str, target: &str) -> VirtualMachineRestore {
    let restore = json!({
        "apiVersion": "snapshot.kubevirt.io/v1beta1", "kind": "VirtualMachineRestore",
        "metadata": { "name": name },
        "spec": { "target": { "apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": target },
            "virtualMachineSnapshotName": "s", "targetReadinessPolicy": "StopTarget" },
    });
    let restore: VirtualMachineRestore = serde_json::from_value(restore).unwrap();
    let runs = cluster.api::<VirtualMachineInstance>();
    let runs = runs.get_opt(target).await.unwrap();
    let made = cluster.api().create(&PostParams::default(), &restore).await;
    let made: VirtualMachineRestore = made.unwrap();
    if let Some(vmi) = runs {
        check(cluster, &vmi, &made).await;
    }
    let complete = |it: Option<&VirtualMachineRestore>| {
        it.and_then(|it| it.status.as_ref()?.complete) == Some(true)
    };
    cluster.wait(name, "complete", complete).await.unwrap()
}

/// Plays the node that looks through the memory: meanwhile the guest runs.
async fn check(cluster: &Cluster, vmi: &VirtualMachineInstance, restore: &VirtualMachineRestore) {
    let uid = restore.uid().unwrap();
    let snapshot: VirtualMachineSnapshot = cluster.api().get("s").await.unwrap();
    let name = format!("vmsnapshot-content-{}", snapshot.uid().unwrap());
    let asked = |it: Option<&VirtualMachineSnapshotContent>| {
        it.and_then(VirtualMachineSnapshotContent::check_requested) == Some(&uid)
    };
    cluster.wait(&name, "to be checked", asked).await;
    let still: VirtualMachineInstance = cluster.api().get(&vmi.name_any()).await.unwrap();
    assert_eq!(still.uid(), vmi.uid());
    assert_eq!(still.metadata.deletion_timestamp, None);
    let status = json!({ "status": { "memory": { "checked": { "restoreUID": uid } } } });
    write_status(cluster, &name, &status).await;
}

async fn is_unlocked(cluster: &Cluster, name: &str) -> VirtualMachine {
    let free = |vm: Option<&VirtualMachine>| {
        let Some(vm) = vm else { return false };
        let status = vm.status.clone().unwrap_or_default();
        status.snapshot_in_progress.is_none()
            && status.restore_in_progress.is_none()
            && !vm.finalizers().iter().any(|it| it.contains("snapshot"))
    };
    cluster.wait(name, "unlocked", free).await.unwrap()
}

fn guest_memory(vm: &VirtualMachine) -> Value {
    let spec = serde_json::to_value(&vm.spec).unwrap();
    spec["template"]["spec"]["domain"]["memory"]["guest"].clone()
}

#[tokio::test]
async fn a_machine_that_is_off_gets_its_spec_back() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    cluster.machine("m", "Halted").await;
    let snapshot = take(&cluster, "s", false).await;
    let status = snapshot.status.unwrap();
    assert_eq!(status.phase, Some(Phase::Succeeded));
    assert_eq!(status.ready_to_use, Some(true));
    is_unlocked(&cluster, "m").await;
    let vms = cluster.api::<VirtualMachine>();
    let larger = json!({ "spec": { "template": { "spec": { "domain": { "memory": { "guest": "96Mi" } } } } } });
    cluster.change(&vms, "m", larger).await;
    restore(&cluster, "r", "m").await;
    let vm = is_unlocked(&cluster, "m").await;
    assert_eq!(guest_memory(&vm), "64Mi");
    cluster
        .wait_event(NAMESPACE, "VirtualMachineRestoreComplete", "r")
        .await;
    // Its restores go with the machine, its snapshots stay until somebody deletes them.
    vms.delete("m", &DeleteParams::default()).await.unwrap();
    cluster.wait_gone::<VirtualMachineRestore>("r").await;
    let snapshots = cluster.api::<VirtualMachineSnapshot>();
    snapshots
        .delete("s", &DeleteParams::default())
        .await
        .unwrap();
    cluster.wait_gone::<VirtualMachineSnapshot>("s").await;
    let name = status.virtual_machine_snapshot_content_name.unwrap();
    cluster
        .wait_gone::<VirtualMachineSnapshotContent>(&name)
        .await;
}

#[tokio::test]
async fn a_running_machine_goes_back_to_its_memory_and_a_fork_comes_beside_it() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    cluster.machine("m", "Always").await;
    let first = cluster.wait_phase("m", "Running").await;
    let snapshot = take(&cluster, "s", true).await;
    assert_eq!(snapshot.status.unwrap().phase, Some(Phase::Succeeded));
    is_unlocked(&cluster, "m").await;
    let content = format!("vmsnapshot-content-{}", snapshot.metadata.uid.unwrap());
    let content: VirtualMachineSnapshotContent = cluster.api().get(&content).await.unwrap();
    for (restored, target, renewal) in [("back", "m", "Clock"), ("fork", "m2", "Everything")] {
        restore(&cluster, restored, target).await;
        let vm = is_unlocked(&cluster, target).await;
        assert_eq!(vm.spec.run_strategy.as_deref(), Some("Always"));
        assert!(
            !vm.annotations().keys().any(|it| it.contains("resume")),
            "{vm:?}"
        );
        let vmi: VirtualMachineInstance = cluster.api().get(target).await.unwrap();
        assert_ne!(vmi.uid(), first.uid());
        assert_eq!(
            vmi.annotations()["anyvirt.io/resume-from"],
            content.uid().unwrap()
        );
        assert_eq!(vmi.annotations()["anyvirt.io/resume-as"], renewal);
    }
}

#[tokio::test]
async fn a_machine_that_is_off_has_no_memory_and_the_refusal_says_so() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    cluster.machine("m", "Halted").await;
    let snapshot = json!({
        "apiVersion": "snapshot.kubevirt.io/v1beta1", "kind": "VirtualMachineSnapshot",
        "metadata": { "name": "s" },
        "spec": { "source": { "apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "m" }, "includeMemory": true },
    });
    let snapshot: VirtualMachineSnapshot = serde_json::from_value(snapshot).unwrap();
    let taken = cluster
        .api()
        .create(&PostParams::default(), &snapshot)
        .await;
    taken.unwrap();
    let failed = |it: Option<&VirtualMachineSnapshot>| {
        it.and_then(|it| it.status.as_ref()?.phase) == Some(Phase::Failed)
    };
    let failed = cluster.wait("s", "refused", failed).await.unwrap();
    let message = failed.status.unwrap().error.unwrap().message.unwrap();
    assert!(
        message.contains("does not run, so it has no memory"),
        "{message}"
    );
    is_unlocked(&cluster, "m").await;
}

#[tokio::test]
async fn a_machine_with_a_ring_is_kept_again_and_again() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    cluster.machine("m", "Always").await;
    cluster.wait_phase("m", "Running").await;
    let vms = cluster.api::<VirtualMachine>();
    let ring =
        json!({ "metadata": { "annotations": { "anyvirt.io/snapshot-ring": "every=1h,keep=1" } } });
    cluster.change(&vms, "m", ring).await;
    let locked = |vm: Option<&VirtualMachine>| {
        vm.and_then(|vm| vm.status.as_ref()?.snapshot_in_progress.as_ref())
            .is_some()
    };
    let vm = cluster
        .wait::<VirtualMachine>("m", "locked", locked)
        .await
        .unwrap();
    let name = vm.status.unwrap().snapshot_in_progress.unwrap();
    let snapshot: VirtualMachineSnapshot = cluster.api().get(&name).await.unwrap();
    assert_eq!(snapshot.spec.include_memory, Some(true));
    keep(&cluster, &snapshot).await;
    is_unlocked(&cluster, "m").await;
    // It goes with its machine.
    vms.delete("m", &DeleteParams::default()).await.unwrap();
    cluster.wait_gone::<VirtualMachineSnapshot>(&name).await;
}
