//! The switch, flipped again and again while machines run and wait.

use crate::cluster::Cluster;
use crate::node::Devices;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use std::collections::BTreeMap;

/// Machines that run all the time.
const RUNNING: usize = 10;
/// Flips.
const FLIPS: u32 = 100;

/// Writes that a flip may cost. The ConfigMap, the KubeVirt object's status and the event of it, 3; of
/// each machine that runs the condition AcceleratorOutdated on both objects, 2 times 10; of the one that
/// waits: its pod deleted, made, refused again, told on both objects, with their events, 14. And room for
/// steps that are told one by one.
const WRITES_OF_A_FLIP_MAX: u64 = 60;

/// The uids of instances or pods, by their names.
async fn uids<K>(cluster: &Cluster) -> BTreeMap<String, String>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let all = cluster
        .api::<K>()
        .list(&ListParams::default())
        .await
        .unwrap();
    let all = all.items.into_iter();
    all.map(|it| (it.name_any(), it.uid().unwrap())).collect()
}

/// Waits until the pod of the machine that can never start is one of this policy, and was refused.
async fn refused_under(cluster: &Cluster, policy: &str) {
    let is = |vmi: Option<&VirtualMachineInstance>| {
        let conditions = vmi.and_then(|vmi| Some(&vmi.status.as_ref()?.conditions));
        let waits = conditions.and_then(|all| api::condition::find(all, "PodScheduled"));
        let made_under = vmi.and_then(|vmi| vmi.annotations().get("anyvirt.io/emulation-policy"));
        waits.is_some() && made_under.map(String::as_str) == Some(policy)
    };
    cluster.wait("waits", policy, is).await;
}

#[tokio::test]
async fn a_hundred_flips_restart_nobody_start_who_waits_and_cost_a_bounded_number_of_writes() {
    let cluster = Cluster::start(Devices::None).await;
    cluster.switch(json!("true")).await;
    for number in 0..RUNNING {
        cluster.machine(&format!("r{number}"), "Always").await;
    }
    for number in 0..RUNNING {
        cluster.wait_phase(&format!("r{number}"), "Running").await;
    }
    let (instances, pods) = (
        uids::<VirtualMachineInstance>(&cluster).await,
        uids::<Pod>(&cluster).await,
    );
    // One that waits under either policy.
    let nowhere: VirtualMachineInstance = serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": { "name": "waits" },
        "spec": { "nodeSelector": { "zone": "nowhere" },
            "domain": { "devices": {}, "memory": { "guest": "64Mi" } } },
    }))
    .unwrap();
    let vmis = cluster.api::<VirtualMachineInstance>();
    vmis.create(&PostParams::default(), &nowhere).await.unwrap();
    refused_under(&cluster, "Software").await;
    let mut spent = 0;
    for flip in 0..FLIPS {
        let on = flip % 2 == 1;
        let before = cluster.writes().await;
        cluster
            .switch(json!(if on { "true" } else { "false" }))
            .await;
        refused_under(&cluster, if on { "Software" } else { "None" }).await;
        spent += cluster.writes().await - before;
        // Now and then one comes while emulation is off, and starts as soon as it is on.
        let name = format!("w{}", flip / 10);
        if flip % 10 == 0 {
            cluster.machine(&name, "Always").await;
            cluster.wait_printed(&name, "ErrorUnschedulable").await;
        } else if flip % 10 == 1 {
            cluster.wait_printed(&name, "Running").await;
            let vms = cluster.api::<VirtualMachine>();
            vms.delete(&name, &Default::default()).await.unwrap();
            cluster.wait_gone::<VirtualMachine>(&name).await;
        }
    }
    // What was still to be said when the last flip was over counts too.
    let settled = |vm: Option<&VirtualMachine>| {
        let status = vm.and_then(|vm| vm.status.as_ref());
        status.is_some_and(|status| {
            api::condition::find(&status.conditions, "AcceleratorOutdated").is_none()
        })
    };
    let before = cluster.writes().await;
    for number in 0..RUNNING {
        cluster
            .wait(&format!("r{number}"), "settled", settled)
            .await;
    }
    spent += cluster.writes().await - before;
    assert!(
        spent <= WRITES_OF_A_FLIP_MAX * u64::from(FLIPS),
        "{spent} writes for {FLIPS} flips"
    );
    let (mut instances_now, mut pods_now) = (
        uids::<VirtualMachineInstance>(&cluster).await,
        uids::<Pod>(&cluster).await,
    );
    instances_now.retain(|name, _| instances.contains_key(name));
    pods_now.retain(|name, _| pods.contains_key(name));
    assert_eq!(instances_now, instances, "no instance was replaced");
    assert_eq!(pods_now, pods, "no pod was replaced");
    for number in 0..RUNNING {
        cluster.wait_printed(&format!("r{number}"), "Running").await;
    }
}
