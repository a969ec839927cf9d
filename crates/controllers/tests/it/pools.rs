//! Pools of machines, with a played node.

use crate::cluster::{Cluster, NAMESPACE};
use crate::node::Devices;
use api::condition;
use api::pool::VirtualMachinePool;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, PostParams, PropagationPolicy};
use serde_json::{Value, json};

const REVISION: &str = "kubevirt.io/vm-pool-revision-name";

async fn pool(cluster: &Cluster, replicas: u32, strategy: &str, more: Value) -> VirtualMachinePool {
    let mut pool = json!({
        "apiVersion": "pool.kubevirt.io/v1beta1", "kind": "VirtualMachinePool",
        "metadata": { "name": "web" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "pool": "web" } },
            "virtualMachineTemplate": {
                "metadata": { "labels": { "pool": "web" } },
                "spec": { "runStrategy": strategy, "template": { "spec": {
                    "domain": { "devices": {}, "memory": { "guest": "64Mi" } },
                    "terminationGracePeriodSeconds": 3,
                } } },
            },
        },
    });
    let more = more.as_object().unwrap().clone();
    pool["spec"].as_object_mut().unwrap().extend(more);
    let pool: VirtualMachinePool = serde_json::from_value(pool).unwrap();
    let made = cluster.api().create(&PostParams::default(), &pool).await;
    made.unwrap()
}

async fn scale(cluster: &Cluster, replicas: u32) {
    let pools = cluster.api::<VirtualMachinePool>();
    let spec = json!({ "spec": { "replicas": replicas } });
    cluster.change(&pools, "web", spec).await;
}

/// Waits until the pool has so many machines, of which so many are ready.
async fn has(cluster: &Cluster, replicas: i32, ready: i32) -> VirtualMachinePool {
    let stands = move |pool: Option<&VirtualMachinePool>| {
        pool.and_then(|pool| pool.status.as_ref())
            .is_some_and(|it| (it.replicas, it.ready_replicas) == (replicas, ready))
    };
    let what = format!("of {replicas}, {ready} of them ready");
    cluster.wait("web", &what, stands).await.unwrap()
}

async fn names(cluster: &Cluster) -> Vec<String> {
    let all = cluster
        .api::<VirtualMachine>()
        .list(&ListParams::default())
        .await;
    let mut names: Vec<String> = all.unwrap().iter().map(|vm| vm.name_any()).collect();
    names.sort();
    names
}

fn is_owned(vm: &VirtualMachine, pool: &VirtualMachinePool) -> bool {
    vm.owner_references()
        .iter()
        .any(|it| Some(&it.uid) == pool.uid().as_ref())
}

#[tokio::test]
async fn a_pool_grows_and_shrinks_and_takes_its_machines_along() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    let newest = json!({ "scaleInStrategy": { "proactive": { "selectionPolicy": { "sortPolicy": "DescendingOrder" } } } });
    pool(&cluster, 2, "Always", newest).await;
    let stands = has(&cluster, 2, 2).await;
    assert_eq!(
        stands.status.unwrap().label_selector.as_deref(),
        Some("pool=web")
    );
    assert_eq!(names(&cluster).await, ["web-0", "web-1"]);
    cluster
        .wait_event(NAMESPACE, "SuccessfulCreate", "Created VM demo/web-1")
        .await;
    scale(&cluster, 4).await;
    has(&cluster, 4, 4).await;
    scale(&cluster, 1).await;
    has(&cluster, 1, 1).await;
    assert_eq!(names(&cluster).await, ["web-0"]);
    cluster
        .wait_event(NAMESPACE, "SuccessfulDelete", "Deleted VM demo/web-3")
        .await;
    // One that is deleted by hand is made anew.
    let vms = cluster.api::<VirtualMachine>();
    let first = vms.get("web-0").await.unwrap().uid();
    vms.delete("web-0", &DeleteParams::default()).await.unwrap();
    let other = |vm: Option<&VirtualMachine>| vm.is_some_and(|vm| vm.uid() != first);
    cluster.wait("web-0", "made anew", other).await;
    let pools = cluster.api::<VirtualMachinePool>();
    pools.delete("web", &DeleteParams::default()).await.unwrap();
    cluster.wait_gone::<VirtualMachinePool>("web").await;
    cluster.wait_gone::<VirtualMachine>("web-0").await;
    cluster.wait_gone::<VirtualMachineInstance>("web-0").await;
}

#[tokio::test]
async fn machines_leave_and_join_a_pool_by_their_labels() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    let first = pool(&cluster, 2, "Halted", json!({})).await;
    has(&cluster, 2, 0).await;
    let vms = cluster.api::<VirtualMachine>();
    let out = json!({ "metadata": { "labels": { "pool": null } } });
    cluster.change(&vms, "web-0", out).await;
    let free = |vm: Option<&VirtualMachine>| vm.is_some_and(|vm| vm.owner_references().is_empty());
    cluster.wait("web-0", "let go", free).await;
    let third = |vm: Option<&VirtualMachine>| vm.is_some_and(|vm| is_owned(vm, &first));
    cluster.wait("web-2", "made in its place", third).await;
    has(&cluster, 2, 0).await;
    // Orphaned machines are adopted by a pool of the same name, as they are.
    let how = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    let pools = cluster.api::<VirtualMachinePool>();
    pools.delete("web", &how).await.unwrap();
    cluster.wait_gone::<VirtualMachinePool>("web").await;
    let uid = vms.get("web-2").await.unwrap().uid();
    let second = pool(&cluster, 2, "Halted", json!({})).await;
    let adopted = |vm: Option<&VirtualMachine>| vm.is_some_and(|vm| is_owned(vm, &second));
    let vm = cluster.wait("web-2", "adopted", adopted).await.unwrap();
    assert_eq!(vm.uid(), uid);
    has(&cluster, 2, 0).await;
    assert_eq!(names(&cluster).await, ["web-0", "web-1", "web-2"]);
}

#[tokio::test]
async fn a_paused_pool_leaves_everything_as_it_is() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    pool(&cluster, 1, "Halted", json!({ "paused": true })).await;
    let paused = |pool: Option<&VirtualMachinePool>| {
        let status = pool.and_then(|pool| pool.status.as_ref());
        status.is_some_and(|it| condition::is_true(&it.conditions, "ReplicaPaused"))
    };
    let stands = cluster.wait("web", "paused", paused).await.unwrap();
    assert_eq!(stands.status.unwrap().replicas, 0);
    assert_eq!(names(&cluster).await, [""; 0]);
    cluster
        .wait_event(NAMESPACE, "SuccessfulPaused", "Pool is paused")
        .await;
    let pools = cluster.api::<VirtualMachinePool>();
    cluster
        .change(&pools, "web", json!({ "spec": { "paused": false } }))
        .await;
    let stands = has(&cluster, 1, 0).await;
    assert_eq!(stands.status.unwrap().conditions, []);
    cluster
        .wait_event(NAMESPACE, "SuccessfulResume", "Pool is unpaused")
        .await;
}

#[tokio::test]
async fn a_changed_template_reaches_every_machine_and_its_guest() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    pool(
        &cluster,
        2,
        "RerunOnFailure",
        json!({ "maxUnavailable": 1 }),
    )
    .await;
    has(&cluster, 2, 2).await;
    let before = cluster.api::<VirtualMachine>().get("web-0").await.unwrap();
    let pools = cluster.api::<VirtualMachinePool>();
    let memory = json!({ "template": { "spec": { "domain": { "memory": { "guest": "96Mi" } } } } });
    let template = json!({ "spec": { "virtualMachineTemplate": { "spec": memory } } });
    cluster.change(&pools, "web", template).await;
    for name in ["web-0", "web-1"] {
        let larger = |vmi: Option<&VirtualMachineInstance>| {
            let Some(vmi) = vmi else { return false };
            let spec = serde_json::to_value(&vmi.spec).unwrap();
            spec["domain"]["memory"]["guest"] == "96Mi" && crate::cluster::phase(vmi) == "Running"
        };
        cluster.wait(name, "restarted", larger).await;
    }
    has(&cluster, 2, 2).await;
    let after = cluster.api::<VirtualMachine>().get("web-0").await.unwrap();
    assert_eq!(after.uid(), before.uid());
    assert_ne!(after.labels()[REVISION], before.labels()[REVISION]);
    cluster
        .wait_event(NAMESPACE, "SuccessfulUpdate", "Restarts VM demo/web-0")
        .await;
}

#[tokio::test]
async fn a_pool_that_cannot_make_machines_says_why() {
    let cluster = Cluster::start(Devices::KvmAndVhostNet).await;
    // The cluster of these tests has no admission, which would have refused it.
    let long = "x".repeat(300);
    let template = json!({ "virtualMachineTemplate": {
        "metadata": { "labels": { "pool": "web", "long": long } },
        "spec": { "runStrategy": "Halted", "template": { "spec": { "domain": { "devices": {} } } } } } });
    pool(&cluster, 1, "Halted", template).await;
    let failed = |pool: Option<&VirtualMachinePool>| {
        let status = pool.and_then(|pool| pool.status.as_ref());
        status.is_some_and(|it| condition::is_true(&it.conditions, "ReplicaFailure"))
    };
    let stands = cluster.wait("web", "failed", failed).await.unwrap();
    let conditions = stands.status.unwrap().conditions;
    let told = condition::find(&conditions, "ReplicaFailure").unwrap();
    assert_eq!(told.reason.as_deref(), Some("FailedScaleOut"));
    assert!(told.message.as_ref().unwrap().contains("label"), "{told:?}");
    cluster
        .wait_event(NAMESPACE, "FailedCreate", "Error creating VM: ")
        .await;
}
