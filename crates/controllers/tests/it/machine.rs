//! The life of one machine: from apply to running, and away again.

use crate::cluster::Cluster;
use crate::node::Devices;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use serde_json::json;

#[tokio::test]
async fn a_machine_gets_an_instance_a_pod_and_a_node_and_runs() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    cluster.machine("m", "Always").await;
    let vm = cluster.wait_printed("m", "Running").await;
    let status = vm.status.as_ref().unwrap();
    assert_eq!(status.created, Some(true));
    let vmi = cluster.wait_phase("m", "Running").await;
    let entered = vmi
        .status
        .as_ref()
        .unwrap()
        .phase_transition_timestamps
        .iter();
    let entered: Vec<_> = entered.map(|it| it.phase.to_string()).collect();
    assert_eq!(entered, ["Pending", "Scheduling", "Scheduled", "Running"]);
    let pods = cluster.pods().await;
    let [pod] = pods.as_slice() else {
        panic!("one pod: {pods:#?}")
    };
    assert!(
        pod.name_any().starts_with("virt-launcher-m-"),
        "{}",
        pod.name_any()
    );
    assert_eq!(
        vmi.status.as_ref().unwrap().active_pods[&pod.uid().unwrap()],
        "n1"
    );
    let ready = |vm: Option<&VirtualMachine>| {
        vm.and_then(|vm| vm.status.as_ref())
            .is_some_and(|status| status.ready == Some(true))
    };
    cluster.wait("m", "ready", ready).await;
    let created = "Started the virtual machine by creating the new virtual machine instance m";
    cluster
        .wait_event("demo", "SuccessfulCreate", created)
        .await;
    let name = pod.name_any();
    cluster
        .wait_event(
            "demo",
            "SuccessfulCreate",
            &format!("Created virtual machine pod {name}"),
        )
        .await;
    cluster
        .wait_event(
            "demo",
            "Scheduled",
            &format!("Successfully assigned demo/{name} to n1"),
        )
        .await;
    let labelled = |pod: Option<&Pod>| {
        pod.is_some_and(|pod| pod.labels().get("kubevirt.io/nodeName").is_some())
    };
    cluster.wait(&name, "labelled", labelled).await;
}

#[tokio::test]
async fn a_deleted_machine_leaves_nothing_behind() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    cluster.machine("m", "Always").await;
    cluster.wait_phase("m", "Running").await;
    cluster
        .api::<VirtualMachine>()
        .delete("m", &DeleteParams::default())
        .await
        .unwrap();
    cluster.wait_gone::<VirtualMachine>("m").await;
    cluster.wait_gone::<VirtualMachineInstance>("m").await;
    assert_eq!(cluster.pods().await.len(), 0);
}

#[tokio::test]
async fn a_deleted_machine_that_never_started_leaves_nothing_behind() {
    let cluster = Cluster::start(Devices::None).await;
    cluster.machine("m", "Always").await;
    cluster.wait_printed("m", "ErrorUnschedulable").await;
    cluster
        .api::<VirtualMachine>()
        .delete("m", &DeleteParams::default())
        .await
        .unwrap();
    cluster.wait_gone::<VirtualMachine>("m").await;
    cluster.wait_gone::<VirtualMachineInstance>("m").await;
    assert_eq!(cluster.pods().await.len(), 0);
}

#[tokio::test]
async fn an_instance_of_an_orphaning_deletion_lives_on_and_can_be_deleted() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    cluster.machine("m", "Always").await;
    let before = cluster.wait_phase("m", "Running").await;
    let how = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    cluster
        .api::<VirtualMachine>()
        .delete("m", &how)
        .await
        .unwrap();
    cluster.wait_gone::<VirtualMachine>("m").await;
    let vmis = cluster.api::<VirtualMachineInstance>();
    let after = vmis.get("m").await.unwrap();
    assert_eq!(
        (after.uid(), after.metadata.deletion_timestamp),
        (before.uid(), None)
    );
    vmis.delete("m", &DeleteParams::default()).await.unwrap();
    cluster.wait_gone::<VirtualMachineInstance>("m").await;
}

#[tokio::test]
async fn a_deleted_instance_is_replaced() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    cluster.machine("m", "Always").await;
    let first = cluster.wait_phase("m", "Running").await.uid();
    cluster
        .api::<VirtualMachineInstance>()
        .delete("m", &DeleteParams::default())
        .await
        .unwrap();
    let second = |vmi: Option<&VirtualMachineInstance>| {
        vmi.is_some_and(|vmi| vmi.uid() != first && crate::cluster::phase(vmi) == "Running")
    };
    cluster.wait("m", "replaced", second).await;
}

#[tokio::test]
async fn a_pod_that_vanishes_takes_its_instance_along_and_both_are_replaced() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    cluster.machine("m", "Always").await;
    let first = cluster.wait_phase("m", "Running").await.uid();
    let pod = cluster.pods().await[0].name_any();
    let now = DeleteParams::default().grace_period(0);
    cluster.api::<Pod>().delete(&pod, &now).await.unwrap();
    let second = |vmi: Option<&VirtualMachineInstance>| {
        vmi.is_some_and(|vmi| vmi.uid() != first && crate::cluster::phase(vmi) == "Running")
    };
    cluster.wait("m", "replaced", second).await;
}

#[tokio::test]
async fn a_changed_template_waits_for_the_next_start() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    cluster.machine("m", "Always").await;
    cluster.wait_printed("m", "Running").await;
    let memory = json!({ "spec": { "template": { "spec": { "domain": { "memory": { "guest": "128Mi" } } } } } });
    let vms = cluster.api::<VirtualMachine>();
    vms.patch("m", &PatchParams::default(), &Patch::Merge(&memory))
        .await
        .unwrap();
    let required = |vm: Option<&VirtualMachine>| {
        let status = vm.and_then(|vm| vm.status.as_ref());
        status.is_some_and(|it| api::condition::is_true(&it.conditions, "RestartRequired"))
    };
    let vm = cluster
        .wait("m", "in need of a restart", required)
        .await
        .unwrap();
    let status = vm.status.unwrap();
    assert!(
        status.observed_generation < status.desired_generation,
        "{status:?}"
    );
}

#[tokio::test]
async fn an_instance_of_its_own_needs_no_machine() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    let vmi = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": { "name": "alone" },
        "spec": { "domain": { "devices": {}, "memory": { "guest": "64Mi" } } },
    });
    let vmis = cluster.api::<VirtualMachineInstance>();
    vmis.create(&Default::default(), &serde_json::from_value(vmi).unwrap())
        .await
        .unwrap();
    cluster.wait_phase("alone", "Running").await;
    vmis.delete("alone", &DeleteParams::default())
        .await
        .unwrap();
    cluster.wait_gone::<VirtualMachineInstance>("alone").await;
    assert_eq!(cluster.pods().await.len(), 0);
}

/// Writes of everybody, events included, from the VM's creation until its instance runs: 13 to 15 of
/// them are needed, and a writer that writes twice shows here first.
const WRITES_OF_A_START_MAX: u64 = 20;

#[tokio::test]
async fn a_start_takes_few_writes() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    let vm = cluster.machine("m", "Always").await;
    let vmi = cluster.wait_phase("m", "Running").await;
    let writes = revision(&vmi) - revision(&vm);
    assert!(writes <= WRITES_OF_A_START_MAX, "{writes} writes");
}

fn revision(object: &impl ResourceExt) -> u64 {
    object.resource_version().unwrap().parse().unwrap()
}
