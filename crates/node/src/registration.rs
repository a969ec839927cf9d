//! The Node object: what this machine offers, and that it lives.

use std::collections::BTreeMap;
use std::time::Duration;

use ::images::StoredImage;
use api::accelerator::{HelperDevice, NodeVerdict};
use api::names::{conditions, resources};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    ContainerImage, Node, NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference, Time};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::event::Fact;
use crate::known::Known;
use crate::labels;

/// Where the leases of nodes are.
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Kubelet's: a node whose lease is older than this is taken for lost.
const LEASE_SECONDS: i32 = 40;
/// Kubelet renews four times as often as that.
pub(crate) const LEASE_PERIOD: Duration = Duration::from_secs(10);
/// KubeVirt's heartbeat annotation, whose limit is five minutes.
pub(crate) const HEARTBEAT_PERIOD: Duration = Duration::from_secs(60);
/// Reason of the event on a change of the verdict.
const CHANGED: &str = "HardwareVirtualizationChanged";
/// Kubelet's default for pods of a node.
const MOST_PODS: u32 = 250;
/// Kubelet's `nodeStatusMaxImages`: the object is read often, by many.
const MOST_IMAGES: usize = 50;
/// Kubelet's `MaxNamesPerImageInNodeStatus`.
const MOST_NAMES: usize = 5;

/// What is offered.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) known: Known,
    pub(crate) disk_bytes: u64,
    /// Images that are stored here, the largest first; `None` if they could not be read just now.
    pub(crate) images: Option<Vec<StoredImage>>,
}

/// The images as the Node object tells them: the largest, with so many names, as kubelet bounds both.
fn images(stored: &[StoredImage]) -> Vec<ContainerImage> {
    let told = |image: &StoredImage| ContainerImage {
        names: Some(image.names.iter().take(MOST_NAMES).cloned().collect()),
        size_bytes: i64::try_from(image.disk_bytes).ok(),
    };
    stored.iter().take(MOST_IMAGES).map(told).collect()
}

/// The status of the Node object. Conditions that did not change keep their transition times, and
/// those of others stay.
pub(crate) fn status(
    name: &str,
    offer: &Offer,
    before: Option<&NodeStatus>,
    now: Timestamp,
) -> NodeStatus {
    let (machine, devices) = (&offer.known.machine, &offer.known.devices);
    let verdict = offer.known.verdict(now);
    let devices = [
        (resources::KVM, verdict.usable),
        (resources::VHOST_NET, devices.usable(HelperDevice::VhostNet)),
        (
            resources::VHOST_VSOCK,
            devices.usable(HelperDevice::VhostVsock),
        ),
        (resources::TUN, devices.usable(HelperDevice::Tun)),
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
        verdict.usable,
        &verdict.class,
        &sentence(&verdict),
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
        images: match &offer.images {
            // An empty list, for none would leave what the object says.
            Some(stored) => Some(images(stored)),
            None => before.and_then(|it| it.images.clone()),
        },
        ..before.cloned().unwrap_or_default()
    }
}

/// The evidence, and where it was seen.
fn sentence(verdict: &NodeVerdict) -> String {
    if verdict.stage.is_empty() {
        return verdict.message.clone();
    }
    format!("{} (stage {})", verdict.message, verdict.stage)
}

/// What is told when the verdict is another one than the Node object said before.
fn change(before: Option<&Node>, offer: &Offer, now: Timestamp) -> Option<Fact> {
    let known = before?.status.as_ref()?.conditions.as_ref()?;
    let known = known
        .iter()
        .find(|it| it.type_ == conditions::HARDWARE_VIRTUALIZATION)?;
    let (old, new) = (known.reason.as_deref()?, offer.known.verdict(now));
    if old == new.class {
        return None;
    }
    let message = format!(
        "hardware virtualization was {old}, and is {}: {}",
        new.class,
        sentence(&new)
    );
    Some(if new.usable {
        Fact::normal(CHANGED, message)
    } else {
        Fact::warning(CHANGED, message)
    })
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

/// Creates the Node object, or brings it up to date. Returns it, and what there is to tell.
pub(crate) async fn register(
    client: &Client,
    name: &str,
    offer: &Offer,
    now: Timestamp,
) -> kube::Result<(Node, Option<Fact>)> {
    let nodes: Api<Node> = Api::all(client.clone());
    let verdict = offer.known.verdict(now);
    let wanted = labels::labels(name, &offer.known, &verdict);
    let annotations = labels::annotations(&offer.known, &verdict, now);
    let before = nodes.get_opt(name).await?;
    let known = match &before {
        Some(known) => known.clone(),
        None => {
            let node = Node {
                metadata: ObjectMeta {
                    name: Some(name.to_owned()),
                    labels: Some(wanted.clone()),
                    ..ObjectMeta::default()
                },
                ..Node::default()
            };
            nodes.create(&PostParams::default(), &node).await?
        }
    };
    let patch = json!({ "metadata": {
        "labels": labels::patch(&known, &wanted, offer.known.offered.is_learned()), "annotations": annotations,
    } });
    let parameters = PatchParams::default();
    nodes
        .patch(name, &parameters, &Patch::Merge(&patch))
        .await?;
    let status = status(name, offer, known.status.as_ref(), now);
    let patch = json!({ "status": status });
    let node = nodes
        .patch_status(name, &parameters, &Patch::Merge(&patch))
        .await?;
    Ok((node, change(before.as_ref(), offer, now)))
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
    use crate::labels::tests::known;
    use qemu::probe::Class;

    fn offer(usable: bool) -> Offer {
        let class = if usable {
            Class::Usable
        } else {
            Class::DeviceMissing
        };
        Offer {
            known: known(class),
            disk_bytes: 1 << 30,
            images: None,
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
        assert_eq!(amount(&with, resources::VHOST_VSOCK), text("1000", "0"));
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
    fn the_largest_images_are_told_and_stay_while_they_cannot_be_read() {
        let image = |bytes: u64| StoredImage {
            names: (0..9).map(|name| format!("{bytes}:{name}")).collect(),
            disk_bytes: bytes,
        };
        let with = |images| Offer {
            images,
            ..offer(true)
        };
        let many = with(Some((1..=60).rev().map(image).collect()));
        let told = status("n", &many, None, at(1));
        let images = told.images.clone().expect("images");
        assert_eq!(images.len(), 50);
        assert_eq!(images[0].size_bytes, Some(60));
        let names = images[49].names.clone().expect("names");
        assert_eq!(names, ["11:0", "11:1", "11:2", "11:3", "11:4"]);
        let unread = status("n", &with(None), Some(&told), at(2));
        assert_eq!(unread.images, told.images);
        let none = status("n", &with(Some(Vec::new())), Some(&told), at(3));
        assert_eq!(none.images, Some(Vec::new()));
    }

    #[test]
    fn another_class_is_told_once_with_the_old_one() {
        let before = |offer: &Offer| Node {
            status: Some(status("n", offer, None, at(1))),
            ..Node::default()
        };
        let worse = change(Some(&before(&offer(true))), &offer(false), at(2)).expect("told");
        assert!(worse.warning);
        assert_eq!(
            worse.message,
            "hardware virtualization was Usable, and is DeviceMissing: evidence"
        );
        let better = change(Some(&before(&offer(false))), &offer(true), at(2)).expect("told");
        assert!(!better.warning && better.reason == "HardwareVirtualizationChanged");
        assert_eq!(
            change(Some(&before(&offer(true))), &offer(true), at(2)),
            None
        );
        assert_eq!(change(None, &offer(true), at(2)), None);
        assert_eq!(change(Some(&Node::default()), &offer(true), at(2)), None);
    }
}
