//! How large a guest is, and what its launcher pod therefore asks of a node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements as PodResources;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as KubernetesQuantity;

use crate::accelerator::{self, EffectivePolicy};
use crate::configuration::ClusterConfiguration;
use crate::quantity::Quantity;
use crate::virtual_machine_instance::{
    CpuTopology, ResourceRequirements, VirtualMachineInstance, VirtualMachineInstanceSpec,
};

const MEBIBYTE: u64 = 1 << 20;

/// What QEMU itself needs, whatever runs the guest: its code and libraries 44 MiB, its heap and
/// device models 15, measured.
const QEMU_OVERHEAD: u64 = 60 * MEBIBYTE;
/// The launcher beside it: 5 MiB of its own, measured, and its share of code that all launchers have in common.
const LAUNCHER_OVERHEAD: u64 = 10 * MEBIBYTE;
/// Each virtual processor's thread and, emulated, its table of translated addresses.
const PROCESSOR_OVERHEAD: u64 = 8 * MEBIBYTE;
/// passt, for each network interface: 22 MiB, measured at rest and after 96 MiB each way over four connections
/// (its tables of flows are written when it starts, whoever talks).
const INTERFACE_OVERHEAD: u64 = 24 * MEBIBYTE;
/// Video memory and the picture made of it: 16 MiB each, as upstream counts them.
const GRAPHICS_OVERHEAD: u64 = 32 * MEBIBYTE;
/// ARM's EFI firmware and its variables: two flash chips of 64 MiB, which QEMU holds in memory.
const ARM_FIRMWARE_OVERHEAD: u64 = 128 * MEBIBYTE;
/// Of each block of translated code QEMU keeps a record, found by two tables: 95 MiB with 652 MiB
/// of code, measured.
const TRANSLATION_RECORDS_PERCENT: u64 = 15;
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

/// The most memory that translated code takes under emulation, in MiB: a quarter of the guest's
/// memory, at least 64 and at most 512, and at least 16 for each processor, at most 1,024 in all.
///
/// When it is full, QEMU throws all of it away and translates anew. Measured: a small Linux fills
/// 44 MiB. A Debian of 1 GiB makes 680 MiB of code on its way to the login prompt, most of it never
/// run again: with 256 MiB it is thrown away 3 times, which costs 4 % of processor time, with 128 MiB
/// 8 times and 8 %; QEMU's default, 1 GiB, more than doubles what such a guest takes of its host. A processor's share is the
/// region it fills alone, of which there must be several.
pub fn translation_cache_mib(guest_memory_bytes: u64, processors: u64) -> u32 {
    let quarter = (guest_memory_bytes / MEBIBYTE / 4).clamp(64, 512);
    let mib = quarter.max(processors.saturating_mul(16)).min(1024);
    // At most 1,024.
    u32::try_from(mib).unwrap_or(1024)
}

/// What a launcher pod needs beside the guest's memory, in bytes. `emulated` says that it may be
/// run by emulation, which keeps the code it translates.
pub fn memory_overhead_bytes(spec: &VirtualMachineInstanceSpec, emulated: bool) -> u64 {
    let guest = guest_memory_bytes(spec).unwrap_or(0);
    let processors = processors(spec);
    let devices = &spec.domain.devices;
    let mut overhead = QEMU_OVERHEAD + LAUNCHER_OVERHEAD + guest / PAGE_TABLE_SHARE;
    // More processors than a guest can have are refused elsewhere.
    overhead += processors.min(MOST_PROCESSORS) * PROCESSOR_OVERHEAD;
    overhead += devices.interfaces.len() as u64 * INTERFACE_OVERHEAD;
    if devices.autoattach_graphics_device != Some(false) {
        overhead += GRAPHICS_OVERHEAD;
    }
    if starts_by_arm_firmware(spec) {
        overhead += ARM_FIRMWARE_OVERHEAD;
    }
    if emulated {
        let cache = u64::from(translation_cache_mib(guest, processors));
        let records = (cache * TRANSLATION_RECORDS_PERCENT).div_ceil(100);
        overhead += (cache + records) * MEBIBYTE;
    }
    overhead
}

/// What the launcher pod of an instance was given beside the guest's memory, in bytes. None: the instance
/// does not tell under which policy a pod was made for it, so none was.
pub fn memory_overhead_of(instance: &VirtualMachineInstance) -> Option<u64> {
    let annotations = instance.metadata.annotations.as_ref()?;
    let policy = EffectivePolicy::of_annotations(annotations)?;
    // An annotation that nobody understands makes no pod.
    let forced = accelerator::forced(annotations).unwrap_or_default();
    let emulated = accelerator::may_be_emulated(policy.policy, forced);
    Some(memory_overhead_bytes(&instance.spec, emulated))
}

/// Whether an ARM guest starts by firmware, and not by a kernel that is given.
pub fn starts_by_arm_firmware(spec: &VirtualMachineInstanceSpec) -> bool {
    let firmware = spec.domain.firmware.as_ref();
    let kernel = firmware
        .and_then(|firmware| firmware.kernel_boot.as_ref())
        .is_some_and(|boot| boot.container.is_some());
    let efi = firmware
        .and_then(|firmware| firmware.bootloader.as_ref())
        .is_some_and(|bootloader| bootloader.efi.is_some());
    spec.architecture.as_deref() == Some("arm64") && (efi || !kernel)
}

/// Requests and limits of a launcher pod's `compute` container.
///
/// `devices` (of [`crate::accelerator::devices`]) become requests and limits; `emulated` as in
/// [`memory_overhead_bytes`].
pub fn pod_resources(
    spec: &VirtualMachineInstanceSpec,
    cluster: &ClusterConfiguration,
    devices: &BTreeMap<String, Quantity>,
    emulated: bool,
) -> PodResources {
    let written = spec.domain.resources.clone().unwrap_or_default();
    let guest = guest_memory_bytes(spec).unwrap_or(0);
    let overhead = memory_overhead_bytes(spec, emulated);
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
        let pod = pod_resources(&spec(domain), &cluster(), &BTreeMap::new(), true);
        let requests = pod.requests.unwrap();
        assert_eq!(requests["cpu"].0, "200m");
        // 1 GiB, 70 of QEMU and launcher, 2 of page tables, 16 for processors, 32 for the screen,
        // 256 of translated code and 39 of its records.
        assert_eq!(requests["memory"].0, "1439Mi");
        assert_eq!(pod.limits, None);
    }

    #[test]
    fn the_overhead_knows_what_runs_the_guest_and_what_it_has() {
        let mebibytes = |architecture: &str, more: serde_json::Value, emulated| {
            let mut domain = json!({"memory": {"guest": "512Mi"}, "devices": {}});
            let fields = domain.as_object_mut().unwrap();
            fields.extend(more.as_object().unwrap().clone());
            let spec = json!({"architecture": architecture, "domain": domain});
            memory_overhead_bytes(&serde_json::from_value(spec).unwrap(), emulated) / MEBIBYTE
        };
        let bare = json!({"devices": {"autoattachGraphicsDevice": false}});
        let kernel = json!({"firmware": {"kernelBoot": {"container": {"image": "a"}}}});
        let network = json!({"devices": {"interfaces": [{"name": "a"}]}});
        let table = [
            ("amd64", bare, false, 79),
            ("amd64", json!({}), false, 111),
            ("amd64", network, false, 135),
            ("amd64", json!({"cpu": {"cores": 4}}), false, 135),
            ("amd64", json!({}), true, 259),
            ("amd64", json!({"cpu": {"cores": 16}}), true, 526),
            ("arm64", json!({}), true, 387),
            ("arm64", kernel, true, 259),
        ];
        for (architecture, more, emulated, expected) in table {
            let found = mebibytes(architecture, more.clone(), emulated);
            assert_eq!(found, expected, "{architecture} {more} {emulated}");
        }
    }

    #[test]
    fn translated_code_grows_with_the_guest_within_bounds() {
        for (mebibytes, processors, expected) in [
            (0, 1, 64),
            (256, 1, 64),
            (1024, 1, 256),
            (1024, 2, 256),
            (1 << 20, 1, 512),
            (256, 8, 128),
            (256, u64::MAX, 1024),
            (u64::MAX / MEBIBYTE, 255, 1024),
        ] {
            let found = translation_cache_mib(mebibytes * MEBIBYTE, processors);
            assert_eq!(found, expected, "{mebibytes} {processors}");
        }
    }

    #[test]
    fn overcommitted_memory_is_asked_for_in_part() {
        let mut cluster = cluster();
        cluster.memory_overcommit = 200;
        let domain = json!({
            "memory": {"guest": "1Gi"},
            "resources": {"overcommitGuestOverhead": true},
        });
        let pod = pod_resources(&spec(domain), &cluster, &BTreeMap::new(), true);
        assert_eq!(pod.requests.unwrap()["memory"].0, "512Mi");
    }

    #[test]
    fn limits_have_room_for_the_overhead_and_devices_are_both() {
        let domain = json!({"resources": {"limits": {"memory": "512Mi"}}});
        let devices = [("devices.kubevirt.io/kvm".to_owned(), Quantity::from("1"))].into();
        let pod = pod_resources(&spec(domain), &cluster(), &devices, false);
        let (requests, limits) = (pod.requests.unwrap(), pod.limits.unwrap());
        assert_eq!(limits["memory"].0, "623Mi");
        assert_eq!(requests["memory"].0, "623Mi");
        assert_eq!(
            (
                &limits["devices.kubevirt.io/kvm"].0,
                &requests["devices.kubevirt.io/kvm"].0
            ),
            (&"1".to_owned(), &"1".to_owned())
        );
    }
}
