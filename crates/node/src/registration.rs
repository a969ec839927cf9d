//! The Node object: what this machine offers, and that it lives.

use std::collections::BTreeMap;
use std::time::Duration;

use api::accelerator::NodeVerdict;
use api::names::{annotations, conditions, labels, resources};
use host::facts::{Device, Machine};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference, Time};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

/// Where the leases of nodes are.
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Kubelet's: a node whose lease is older than this is taken for lost.
const LEASE_SECONDS: i32 = 40;
/// Kubelet renews four times as often as that.
pub(crate) const LEASE_PERIOD: Duration = Duration::from_secs(10);
/// KubeVirt's heartbeat annotation, whose limit is five minutes.
pub(crate) const HEARTBEAT_PERIOD: Duration = Duration::from_secs(60);
/// Kubelet's default for pods of a node.
const MOST_PODS: u32 = 250;

/// What is known of the machine.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) machine: Machine,
    pub(crate) verdict: NodeVerdict,
    pub(crate) vhost_net: Device,
    pub(crate) tun: Device,
    pub(crate) disk_bytes: u64,
}

/// Labels and annotations of the Node object.
pub(crate) fn metadata(name: &str, offer: &Offer, now: Timestamp) -> ObjectMeta {
    let architecture = offer.machine.go_architecture();
    let text = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(text(&[
            (labels::ARCHITECTURE, architecture),
            (labels::HOSTNAME, name),
            ("kubernetes.io/os", "linux"),
            (labels::SCHEDULABLE, "true"),
        ])),
        annotations: Some(text(&[(annotations::HEARTBEAT, &now.to_string())])),
        ..ObjectMeta::default()
    }
}

/// The status of the Node object. Conditions that did not change keep their transition times, and
/// those of others stay.
pub(crate) fn status(
    name: &str,
    offer: &Offer,
    before: Option<&NodeStatus>,
    now: Timestamp,
) -> NodeStatus {
    let machine = &offer.machine;
    let devices = [
        (resources::KVM, offer.verdict.usable),
        (resources::VHOST_NET, offer.vhost_net == Device::Usable),
        (resources::TUN, offer.tun == Device::Usable),
    ];
    let mut capacity: BTreeMap<String, Quantity> = BTreeMap::from([
        ("cpu".to_owned(), Quantity(machine.processors.to_string())),
        (
            "memory".to_owned(),
            Quantity(format!("{}Ki", machine.memory_bytes / 1024)),
        ),
        (
            "ephemeral-storage".to_owned(),
            Quantity(format!("{}Ki", offer.disk_bytes / 1024)),
        ),
        ("pods".to_owned(), Quantity(MOST_PODS.to_string())),
    ]);
    let mut allocatable = capacity.clone();
    for (device, usable) in devices {
        // As KubeVirt's device plugins have it: the capacity is fixed, a missing device takes all
        // of it out of what can be allocated.
        let all = resources::PER_DEVICE.to_string();
        capacity.insert(device.to_owned(), Quantity(all.clone()));
        let free = if usable { all } else { "0".to_owned() };
        allocatable.insert(device.to_owned(), Quantity(free));
    }
    let mut wanted = before
        .and_then(|it| it.conditions.clone())
        .unwrap_or_default();
    let ready = "the node agent is running";
    set(&mut wanted, "Ready", true, "NodeAgentReady", ready, now);
    set(
        &mut wanted,
        conditions::HARDWARE_VIRTUALIZATION,
        offer.verdict.usable,
        &offer.verdict.class,
        &offer.verdict.message,
        now,
    );
    let address = |kind: &str, address: &str| NodeAddress {
        type_: kind.to_owned(),
        address: address.to_owned(),
    };
    NodeStatus {
        capacity: Some(capacity),
        allocatable: Some(allocatable),
        conditions: Some(wanted),
        addresses: Some(vec![
            address("InternalIP", "127.0.0.1"),
            address("Hostname", name),
        ]),
        node_info: Some(NodeSystemInfo {
            architecture: machine.go_architecture().to_owned(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: concat!("anyvirt://", env!("CARGO_PKG_VERSION")).to_owned(),
            kernel_version: machine.kernel.clone(),
            kubelet_version: concat!("v", env!("CARGO_PKG_VERSION"), "+anyvirt").to_owned(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.distribution.clone(),
            ..NodeSystemInfo::default()
        }),
        ..before.cloned().unwrap_or_default()
    }
}

fn set(
    conditions: &mut Vec<NodeCondition>,
    type_: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let state = if holds { "True" } else { "False" };
    let known = conditions
        .iter()
        .position(|condition| condition.type_ == type_);
    let since = known
        .map(|index| &conditions[index])
        .filter(|condition| condition.status == state)
        .and_then(|condition| condition.last_transition_time.clone())
        .unwrap_or(Time(now));
    let wanted = NodeCondition {
        type_: type_.to_owned(),
        status: state.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(since),
    };
    match known {
        Some(index) => conditions[index] = wanted,
        None => conditions.push(wanted),
    }
}

/// Creates the Node object, or brings it up to date.
pub(crate) async fn register(
    client: &Client,
    name: &str,
    offer: &Offer,
    now: Timestamp,
) -> kube::Result<Node> {
    let nodes: Api<Node> = Api::all(client.clone());
    let wanted = metadata(name, offer, now);
    let known = match nodes.get_opt(name).await? {
        Some(known) => {
            let patch = json!({ "metadata": {
                "labels": wanted.labels, "annotations": wanted.annotations,
            } });
            nodes
                .patch(
                    &known.name_any(),
                    &PatchParams::default(),
                    &Patch::Merge(&patch),
                )
                .await?
        }
        None => {
            let node = Node {
                metadata: wanted,
                ..Node::default()
            };
            nodes.create(&PostParams::default(), &node).await?
        }
    };
    let status = status(name, offer, known.status.as_ref(), now);
    let patch = json!({ "status": status });
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
}

/// Says that the node lives, in its Lease.
pub(crate) async fn renew(client: &Client, node: &Node, now: Timestamp) -> kube::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASE_NAMESPACE);
    let name = node.name_any();
    let spec = LeaseSpec {
        holder_identity: Some(name.clone()),
        lease_duration_seconds: Some(LEASE_SECONDS),
        renew_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    };
    let patch = json!({ "spec": spec });
    match leases
        .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
    {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        result => return result.map(drop),
    }
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(LEASE_NAMESPACE.to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name,
                uid: node.uid().unwrap_or_default(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
    };
    leases
        .create(&PostParams::default(), &lease)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(usable: bool) -> Offer {
        Offer {
            machine: Machine {
                processors: 2,
                memory_bytes: 24 << 30,
                kernel: "6.1".to_owned(),
                architecture: "x86_64".to_owned(),
                hostname: "host".to_owned(),
                boot_id: "boot".to_owned(),
                machine_id: "machine".to_owned(),
                distribution: "Debian".to_owned(),
            },
            verdict: NodeVerdict {
                usable,
                class: if usable { "Usable" } else { "DeviceMissing" }.to_owned(),
                stage: String::new(),
                message: "evidence".to_owned(),
            },
            vhost_net: Device::Missing,
            tun: Device::Usable,
            disk_bytes: 1 << 30,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn amount(status: &NodeStatus, name: &str) -> (String, String) {
        let of = |amounts: &Option<BTreeMap<String, Quantity>>| {
            amounts
                .as_ref()
                .and_then(|it| it.get(name))
                .map_or_else(String::new, |it| it.0.clone())
        };
        (of(&status.capacity), of(&status.allocatable))
    }

    #[test]
    fn devices_are_allocatable_by_verdict_and_by_opening_them() {
        let text = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        let without = status("n", &offer(false), None, at(1));
        assert_eq!(amount(&without, resources::KVM), text("1000", "0"));
        assert_eq!(amount(&without, resources::VHOST_NET), text("1000", "0"));
        assert_eq!(amount(&without, resources::TUN), text("1000", "1000"));
        assert_eq!(amount(&without, "memory"), text("25165824Ki", "25165824Ki"));
        let with = status("n", &offer(true), Some(&without), at(2));
        assert_eq!(amount(&with, resources::KVM), text("1000", "1000"));
    }

    #[test]
    fn conditions_keep_their_times_until_they_change_and_those_of_others_stay() {
        let mut first = status("n", &offer(false), None, at(1));
        let theirs = NodeCondition {
            type_: "Theirs".to_owned(),
            ..NodeCondition::default()
        };
        first.conditions.get_or_insert_default().push(theirs);
        let find = |status: &NodeStatus, name: &str| {
            let all = status.conditions.clone().unwrap_or_default();
            all.into_iter()
                .find(|it| it.type_ == name)
                .expect("it is there")
        };
        let second = status("n", &offer(true), Some(&first), at(2));
        let hardware = find(&second, conditions::HARDWARE_VIRTUALIZATION);
        assert_eq!(
            (hardware.status.as_str(), hardware.reason.as_deref()),
            ("True", Some("Usable"))
        );
        assert_eq!(hardware.last_transition_time, Some(Time(at(2))));
        assert_eq!(
            find(&second, "Ready").last_transition_time,
            Some(Time(at(1)))
        );
        find(&second, "Theirs");
    }

    #[test]
    fn labels_name_the_architecture_as_kubernetes_does() {
        let labels = metadata("n", &offer(true), at(1)).labels.expect("labels");
        assert_eq!(labels["kubernetes.io/arch"], "amd64");
        assert_eq!(labels["kubevirt.io/schedulable"], "true");
    }
}
