//! The node agent, played: its Node, its pods, and the instances handed to it.

use api::accelerator::{EffectivePolicy, NodeFacts};
use api::names::resources;
use api::virtual_machine_instance::VirtualMachineInstance;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

/// The node's name.
pub(crate) const NAME: &str = "n1";
/// On a VMI: the phase its guest ends in now.
pub(crate) const END: &str = "test.anyvirt.io/end";

/// The devices a node has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Devices {
    None,
    /// `/dev/kvm` opens, and is of no use.
    UselessKvm,
    KvmAndVhostNet,
}

/// Registers the node; the future it returns plays it.
pub(crate) async fn play(client: Client, devices: Devices) -> impl Future<Output = ()> + Send {
    register(&client, NAME, devices).await;
    async move {
        tokio::join!(play_pods(client.clone()), play_guests(client));
    }
}

/// Makes a Node that nobody plays: nothing starts there.
pub(crate) async fn register(client: &Client, name: &str, devices: Devices) {
    let architecture = architecture();
    let node = json!({
        "metadata": { "name": name, "labels": {
            "kubevirt.io/schedulable": "true", "kubernetes.io/arch": architecture,
            "kubernetes.io/hostname": name,
            (format!("kubevirt.io/vm-arch-{architecture}")): "true",
        } },
    });
    let node: Node = serde_json::from_value(node).unwrap();
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.create(&PostParams::default(), &node).await.unwrap();
    tell_of(client, name, devices).await;
}

/// Writes what the node finds out about its hardware virtualization.
pub(crate) async fn tell(client: &Client, devices: Devices) {
    tell_of(client, NAME, devices).await;
}

async fn tell_of(client: &Client, name: &str, devices: Devices) {
    let works = devices == Devices::KvmAndVhostNet;
    let amount = if works { "1000" } else { "0" };
    let nodes: Api<Node> = Api::all(client.clone());
    let label = if works { "usable" } else { "unusable" };
    let opens = devices != Devices::None;
    let labels = json!({ "metadata": { "labels": {
        "anyvirt.io/hardware-virtualization": label, "anyvirt.io/kvm-device": opens.to_string() } } });
    nodes
        .patch(name, &PatchParams::default(), &Patch::Merge(&labels))
        .await
        .unwrap();
    let verdict = json!({
        "type": "HardwareVirtualization", "status": if works { "True" } else { "False" },
        "reason": if works { "Usable" } else { "DeviceMissing" }, "message": "played",
    });
    let status = json!({ "status": {
        "allocatable": {
            "cpu": "8", "memory": "16Gi", "pods": "110",
            resources::KVM: amount, resources::VHOST_NET: amount,
        },
        "conditions": [{ "type": "Ready", "status": "True" }, verdict],
    } });
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
}

fn architecture() -> String {
    controllers::Settings::default().architecture
}

/// Pods bound here run and are ready at once, and go when they are asked to.
async fn play_pods(client: Client) {
    let all: Api<Pod> = Api::all(client.clone());
    let mut changed = std::pin::pin!(
        watcher(all, watcher::Config::default())
            .default_backoff()
            .applied_objects()
    );
    while let Some(pod) = changed.next().await {
        let pod = pod.unwrap();
        let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
        let name = pod.name_any();
        if pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) != Some(NAME) {
            continue;
        }
        if pod.metadata.deletion_timestamp.is_some() {
            gone_is_fine(
                pods.delete(&name, &DeleteParams::default().grace_period(0))
                    .await,
            );
        } else if phase(&pod) == "Pending" {
            let ready = |type_: &str| json!({ "type": type_, "status": "True" });
            let status = json!({ "status": { "phase": "Running", "podIP": "127.64.0.1",
                "conditions": [ready("ContainersReady"), ready("Ready")] } });
            gone_is_fine(
                pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(&status))
                    .await,
            );
        }
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending")
}

/// Instances handed over run, end when they are told to, and stop when they are deleted.
async fn play_guests(client: Client) {
    let all: Api<VirtualMachineInstance> = Api::all(client.clone());
    let mut changed = std::pin::pin!(
        watcher(all, watcher::Config::default())
            .default_backoff()
            .applied_objects()
    );
    while let Some(vmi) = changed.next().await {
        let vmi = vmi.unwrap();
        let vmis: Api<VirtualMachineInstance> =
            Api::namespaced(client.clone(), &vmi.namespace().unwrap());
        let now = crate::cluster::phase(&vmi);
        let going = vmi.metadata.deletion_timestamp.is_some();
        let end = vmi.annotations().get(END).cloned();
        let next = match (now.as_str(), going, end) {
            ("Scheduled" | "Running", true, _) => "Succeeded".to_owned(),
            ("Running", false, Some(end)) => end,
            ("Scheduled", false, Some(end)) if end == "FailedToStart" => "Failed".to_owned(),
            ("Scheduled", false, _) => "Running".to_owned(),
            _ => continue,
        };
        let entered = json!({ "phase": next, "phaseTransitionTimestamp": "2026-11-22T12:00:00Z" });
        let mut history =
            serde_json::to_value(&vmi).unwrap()["status"]["phaseTransitionTimestamps"].clone();
        if !history.is_array() {
            history = json!([]);
        }
        history.as_array_mut().unwrap().push(entered);
        let accelerator: Value = json!({ "type": accelerator(&client, &vmi).await });
        let patch = json!({
            "metadata": { "resourceVersion": vmi.resource_version() },
            "status": { "phase": next, "phaseTransitionTimestamps": history, "accelerator": accelerator },
        });
        // A conflict means that a newer state is on its way here.
        gone_is_fine(
            vmis.patch(
                &vmi.name_any(),
                &PatchParams::default(),
                &Patch::Merge(&patch),
            )
            .await,
        );
    }
}

/// What runs the guest here, decided as the node agent decides it; it never runs without.
async fn accelerator(client: &Client, vmi: &VirtualMachineInstance) -> String {
    let nodes: Api<Node> = Api::all(client.clone());
    let facts = NodeFacts::of(&nodes.get(NAME).await.unwrap());
    let policy = EffectivePolicy::of_annotations(vmi.annotations()).expect("a policy is recorded");
    let forced = vmi.forced_accelerator().expect("an accelerator there is");
    let decision = api::accelerator::resolve(&policy, forced, &architecture(), &facts);
    match decision {
        Ok(decision) => decision.accelerator.to_string(),
        Err(refusal) => panic!("{} was handed over: {refusal}", vmi.name_any()),
    }
}

fn gone_is_fine<T>(result: kube::Result<T>) {
    match result {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
        Err(error) => panic!("the node cannot do its part: {error}"),
    }
}
