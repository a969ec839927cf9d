//! How large a guest is, and what its launcher pod therefore asks of a node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements as PodResources;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as KubernetesQuantity;

use crate::configuration::ClusterConfiguration;
use crate::quantity::Quantity;
use crate::virtual_machine_instance::{
    CpuTopology, ResourceRequirements, VirtualMachineInstanceSpec,
};

const MEBIBYTE: u64 = 1 << 20;

/// What QEMU needs beyond the guest's memory, measured with a Linux guest under TCG: its code,
/// device models and translated code.
const QEMU_OVERHEAD: u64 = 110 * MEBIBYTE;
/// The launcher beside it, measured.
const LAUNCHER_OVERHEAD: u64 = 10 * MEBIBYTE;
/// Page tables: 8 bytes for each page of 4 KiB.
const PAGE_TABLE_SHARE: u64 = 512;

/// The most virtual processors a guest can have: what QEMU's `q35` gives without an IOMMU.
pub const MOST_PROCESSORS: u64 = 255;

/// Sockets, cores and threads with defaults: unset factors are 1; if nothing is set, as many
/// sockets as processors are asked for.
pub fn topology(spec: &VirtualMachineInstanceSpec) -> CpuTopology {
    let cpu = spec.domain.cpu.as_ref();
    let set = |value: Option<u32>| value.filter(|&value| value > 0);
    let cores = set(cpu.and_then(|cpu| cpu.cores));
    let sockets = set(cpu.and_then(|cpu| cpu.sockets));
    let threads = set(cpu.and_then(|cpu| cpu.threads));
    let sockets = match (cores, sockets, threads) {
        (None, None, None) => asked_processors(spec.domain.resources.as_ref()),
        (_, sockets, _) => sockets.unwrap_or(1),
    };
    CpuTopology {
        sockets: Some(sockets),
        cores: Some(cores.unwrap_or(1)),
        threads: Some(threads.unwrap_or(1)),
    }
}

/// Whole processors that limits or requests ask for, at least 1.
fn asked_processors(resources: Option<&ResourceRequirements>) -> u32 {
    let asked = resources.and_then(|resources| {
        resources
            .limits
            .get("cpu")
            .or_else(|| resources.requests.get("cpu"))
    });
    let units = asked.and_then(Quantity::to_units).unwrap_or(1).max(1);
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// The number of virtual processors.
pub fn processors(spec: &VirtualMachineInstanceSpec) -> u64 {
    let topology = topology(spec);
    [topology.sockets, topology.cores, topology.threads]
        .into_iter()
        .fold(1, |product: u64, factor| {
            product.saturating_mul(u64::from(factor.unwrap_or(1)))
        })
}

/// The guest's memory in bytes: as written, else as requested, else the limit. `None` if nothing
/// readable says.
pub fn guest_memory_bytes(spec: &VirtualMachineInstanceSpec) -> Option<u64> {
    guest_memory(spec).and_then(Quantity::to_units)
}

/// The quantity that says how much memory the guest has.
pub(crate) fn guest_memory(spec: &VirtualMachineInstanceSpec) -> Option<&Quantity> {
    let written = spec
        .domain
        .memory
        .as_ref()
        .and_then(|memory| memory.guest.as_ref());
    let resources = spec.domain.resources.as_ref();
    written
        .or_else(|| resources.and_then(|resources| resources.requests.get("memory")))
        .or_else(|| resources.and_then(|resources| resources.limits.get("memory")))
}

/// What a launcher pod needs beside the guest's memory, in bytes.
pub fn memory_overhead_bytes(guest_memory_bytes: u64) -> u64 {
    QEMU_OVERHEAD + LAUNCHER_OVERHEAD + guest_memory_bytes / PAGE_TABLE_SHARE
}

/// Requests and limits of a launcher pod's `compute` container.
///
/// `devices` (of [`crate::accelerator::devices`]) become requests and limits.
pub fn pod_resources(
    spec: &VirtualMachineInstanceSpec,
    cluster: &ClusterConfiguration,
    devices: &BTreeMap<String, Quantity>,
) -> PodResources {
    let written = spec.domain.resources.clone().unwrap_or_default();
    let guest = guest_memory_bytes(spec).unwrap_or(0);
    let overhead = memory_overhead_bytes(guest);
    let mut requests = written.requests;
    let mut limits = written.limits;

    if !requests.contains_key("cpu") {
        let thousandths = processors(spec)
            .saturating_mul(1000)
            .div_ceil(u64::from(cluster.cpu_allocation_ratio.max(1)));
        requests.insert("cpu".to_owned(), Quantity::from_thousandths(thousandths));
    }
    let asked = requests
        .get("memory")
        .and_then(Quantity::to_units)
        .unwrap_or_else(|| {
            let percent = u128::from(cluster.memory_overcommit.max(1));
            u64::try_from(u128::from(guest) * 100 / percent).unwrap_or(u64::MAX)
        });
    let left_out = written.overcommit_guest_overhead == Some(true);
    let asked = asked.saturating_add(if left_out { 0 } else { overhead });
    requests.insert("memory".to_owned(), Quantity::from_bytes(asked));
    if let Some(limit) = limits.get("memory").and_then(Quantity::to_units) {
        let limit = limit.saturating_add(overhead).max(asked);
        limits.insert("memory".to_owned(), Quantity::from_bytes(limit));
    }
    for (name, amount) in devices {
        requests.insert(name.clone(), amount.clone());
        limits.insert(name.clone(), amount.clone());
    }
    PodResources {
        requests: of_pod(requests),
        limits: of_pod(limits),
        claims: None,
    }
}

fn of_pod(amounts: BTreeMap<String, Quantity>) -> Option<BTreeMap<String, KubernetesQuantity>> {
    let amounts: BTreeMap<_, _> = amounts
        .into_iter()
        .map(|(name, amount)| (name, amount.into()))
        .collect();
    (!amounts.is_empty()).then_some(amounts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(domain: serde_json::Value) -> VirtualMachineInstanceSpec {
        let mut domain = domain;
        domain["devices"] = json!({});
        serde_json::from_value(json!({ "domain": domain })).unwrap()
    }

    fn cluster() -> ClusterConfiguration {
        ClusterConfiguration::of_architecture("amd64")
    }

    #[test]
    fn processors_are_the_product_of_the_topology() {
        for (domain, expected) in [
            (json!({}), 1),
            (json!({"cpu": {"cores": 3}}), 3),
            (json!({"cpu": {"sockets": 3, "threads": 2}}), 6),
            (
                json!({"cpu": {"cores": 0}, "resources": {"limits": {"cpu": "2500m"}}}),
                3,
            ),
            (json!({"resources": {"requests": {"cpu": 2}}}), 2),
            (
                json!({"cpu": {"sockets": 2}, "resources": {"requests": {"cpu": 8}}}),
                2,
            ),
            (
                json!({"cpu": {"cores": 4294967295u32, "sockets": 4294967295u32, "threads": 2}}),
                u64::MAX,
            ),
        ] {
            assert_eq!(processors(&spec(domain.clone())), expected, "{domain}");
        }
    }

    #[test]
    fn pods_ask_for_the_guests_memory_and_the_overhead() {
        let domain = json!({"cpu": {"cores": 2}, "memory": {"guest": "1Gi"}});
        let pod = pod_resources(&spec(domain), &cluster(), &BTreeMap::new());
        let requests = pod.requests.unwrap();
        assert_eq!(requests["cpu"].0, "200m");
        // 1 GiB and 120 MiB and 2 MiB of page tables
        assert_eq!(requests["memory"].0, "1146Mi");
        assert_eq!(pod.limits, None);
    }

    #[test]
    fn overcommitted_memory_is_asked_for_in_part() {
        let mut cluster = cluster();
        cluster.memory_overcommit = 200;
        let domain = json!({
            "memory": {"guest": "1Gi"},
            "resources": {"overcommitGuestOverhead": true},
        });
        let pod = pod_resources(&spec(domain), &cluster, &BTreeMap::new());
        assert_eq!(pod.requests.unwrap()["memory"].0, "512Mi");
    }

    #[test]
    fn limits_have_room_for_the_overhead_and_devices_are_both() {
        let domain = json!({"resources": {"limits": {"memory": "512Mi"}}});
        let devices = [("devices.kubevirt.io/kvm".to_owned(), Quantity::from("1"))].into();
        let pod = pod_resources(&spec(domain), &cluster(), &devices);
        let (requests, limits) = (pod.requests.unwrap(), pod.limits.unwrap());
        assert_eq!(limits["memory"].0, "633Mi");
        assert_eq!(requests["memory"].0, "633Mi");
        assert_eq!(
            (
                &limits["devices.kubevirt.io/kvm"].0,
                &requests["devices.kubevirt.io/kvm"].0
            ),
            (&"1".to_owned(), &"1".to_owned())
        );
    }
}
