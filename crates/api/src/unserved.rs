//! KubeVirt's fields that this version does not serve: known to the schema, so that they are not
//! mistaken for misspelt ones, and refused (or, in the KubeVirt object, reported) by name.
//!
//! A path is relative to the spec it belongs to; `[]` stands for every item of a list. What is
//! neither a typed field nor listed here is unknown to the schema.

use std::collections::BTreeMap;

use serde_json::Value;

/// Fields beside the typed ones, kept as they came.
pub type Unserved = BTreeMap<String, Value>;

/// A field that is not served.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Where it is, e.g. `domain.devices.disks[].lun`.
    pub path: &'static str,
    /// What the user can do, as the end of a sentence after a semicolon.
    pub instead: &'static str,
}

const fn field(path: &'static str, instead: &'static str) -> Field {
    Field { path, instead }
}

const REMOVE: &str = "remove it";
const NO_MIGRATION: &str = "remove it: guests are not migrated or resized while they run";
const NO_HOST_DEVICE: &str = "remove it: devices of the host are not passed to guests";
const NO_PLACEMENT: &str = "remove it, or place the guest by nodeSelector and tolerations";
const NO_PROBE: &str = "remove it, and look at the guest from outside, e.g. by its serial log";
const NO_DNS: &str = "remove it, and set resolvers inside the guest, e.g. by cloud-init";
const NO_PINNING: &str = "remove it: virtual processors share the host's processors";
const NO_PCI_ADDRESS: &str = "remove it: addresses are chosen by anyvirt, in the order of the list";
const OTHER_DISK: &str = "use containerDisk, emptyDisk or hostDisk";
const OTHER_CLOUD_INIT: &str = "use cloudInitNoCloud to give the guest data";
const MASQUERADE: &str = "use masquerade: {}";
const POD_NETWORK: &str = "use pod: {}";
const PUBLIC_IMAGE: &str = "remove it, and use an image that can be pulled without a secret";

/// Fields of a VirtualMachineInstance's spec (and of a VirtualMachine's template) that are not served.
pub const INSTANCE: &[Field] = &[
    field("accessCredentials", "set keys and passwords by cloud-init"),
    field("affinity", NO_PLACEMENT),
    field("dnsConfig", NO_DNS),
    field("dnsPolicy", NO_DNS),
    field("livenessProbe", NO_PROBE),
    field(
        "priorityClassName",
        "remove it: pods are not preempted here",
    ),
    field("readinessProbe", NO_PROBE),
    field("resourceClaims", NO_HOST_DEVICE),
    field("schedulerName", NO_PLACEMENT),
    field("serviceAccountName", REMOVE),
    field("topologySpreadConstraints", NO_PLACEMENT),
    field("utilityVolumes", REMOVE),
    field("domain.chassis", REMOVE),
    field("domain.ioThreads", REMOVE),
    field("domain.ioThreadsPolicy", REMOVE),
    field(
        "domain.launchSecurity",
        "remove it: the guest's memory is not encrypted here",
    ),
    field(
        "domain.rebootPolicy",
        "remove it: a reboot of the guest stays inside its QEMU",
    ),
    field("domain.resources.claims", NO_HOST_DEVICE),
    field("domain.cpu.dedicatedCpuPlacement", NO_PINNING),
    field("domain.cpu.isolateEmulatorThread", NO_PINNING),
    field("domain.cpu.maxSockets", NO_MIGRATION),
    field("domain.cpu.numa", NO_PINNING),
    field("domain.cpu.realtime", NO_PINNING),
    field("domain.memory.hugepages", "set domain.memory.guest instead"),
    field("domain.memory.maxGuest", NO_MIGRATION),
    field(
        "domain.memory.reservedOverhead",
        "remove it: set domain.resources.requests.memory",
    ),
    field(
        "domain.firmware.acpi",
        "remove it: no ACPI tables of one's own can be given",
    ),
    field(
        "domain.firmware.bootloader.efi.persistent",
        "remove it: the firmware's variables last as long as the guest runs",
    ),
    field("domain.firmware.bootloader.bios.useSerial", "remove it"),
    field(
        "domain.firmware.kernelBoot.container.imagePullSecret",
        PUBLIC_IMAGE,
    ),
    field(
        "domain.clock.timer",
        "remove it: QEMU's own timers are used",
    ),
    field(
        "domain.features.apic",
        "remove it: the guest always has an APIC",
    ),
    field("domain.features.hyperv", REMOVE),
    field("domain.features.hypervPassthrough", REMOVE),
    field(
        "domain.features.kvm",
        "remove it: the hypervisor is not hidden from the guest",
    ),
    field("domain.features.pvspinlock", REMOVE),
    field("domain.features.smm", REMOVE),
    field(
        "domain.devices.autoattachVSOCK",
        "use the network or the serial console",
    ),
    field(
        "domain.devices.blockMultiQueue",
        "remove it: each disk has one queue",
    ),
    field("domain.devices.clientPassthrough", NO_HOST_DEVICE),
    field("domain.devices.downwardMetrics", REMOVE),
    field(
        "domain.devices.filesystems",
        "give the guest a disk, or use its network",
    ),
    field("domain.devices.gpus", NO_HOST_DEVICE),
    field("domain.devices.hostDevices", NO_HOST_DEVICE),
    field(
        "domain.devices.networkInterfaceMultiqueue",
        "remove it: each interface has one queue",
    ),
    field("domain.devices.panicDevices", REMOVE),
    field("domain.devices.sound", REMOVE),
    field("domain.devices.tpm", REMOVE),
    field(
        "domain.devices.useVirtioTransitional",
        "use a guest that knows virtio 1.0",
    ),
    field(
        "domain.devices.video",
        "remove it: the guest has a standard VGA card",
    ),
    field("domain.devices.watchdog", REMOVE),
    field(
        "domain.devices.disks[].blockSize",
        "remove it: disks have blocks of 512 bytes",
    ),
    field("domain.devices.disks[].changedBlockTracking", REMOVE),
    field("domain.devices.disks[].dedicatedIOThread", REMOVE),
    field(
        "domain.devices.disks[].errorPolicy",
        "remove it: an I/O error stops the guest",
    ),
    field("domain.devices.disks[].lun", "use disk: {}"),
    field(
        "domain.devices.disks[].shareable",
        "share a hostDisk by its field shared",
    ),
    field("domain.devices.disks[].tag", REMOVE),
    field("domain.devices.disks[].disk.pciAddress", NO_PCI_ADDRESS),
    field(
        "domain.devices.disks[].cdrom.tray",
        "remove it: the tray is closed",
    ),
    field("domain.devices.interfaces[].acpiIndex", REMOVE),
    field("domain.devices.interfaces[].binding", MASQUERADE),
    field(
        "domain.devices.interfaces[].bootOrder",
        "boot from a disk or a kernelBoot image",
    ),
    field("domain.devices.interfaces[].bridge", MASQUERADE),
    field("domain.devices.interfaces[].dhcpOptions", REMOVE),
    field("domain.devices.interfaces[].macvtap", MASQUERADE),
    field("domain.devices.interfaces[].passt", MASQUERADE),
    field("domain.devices.interfaces[].passtBinding", MASQUERADE),
    field("domain.devices.interfaces[].pciAddress", NO_PCI_ADDRESS),
    field(
        "domain.devices.interfaces[].portRanges",
        "list each port under ports",
    ),
    field("domain.devices.interfaces[].slirp", MASQUERADE),
    field("domain.devices.interfaces[].sriov", MASQUERADE),
    field(
        "domain.devices.interfaces[].state",
        "remove it: the link is up",
    ),
    field("domain.devices.interfaces[].tag", REMOVE),
    field("networks[].multus", POD_NETWORK),
    field("networks[].resourceClaim", POD_NETWORK),
    field(
        "networks[].pod.vmNetworkCIDR",
        "remove it: the guest's network is 10.0.2.0/24",
    ),
    field(
        "networks[].pod.vmIPv6NetworkCIDR",
        "remove it: the guest's network is IPv4 only",
    ),
    field("volumes[].cloudInitConfigDrive", OTHER_CLOUD_INIT),
    field("volumes[].configMap", OTHER_CLOUD_INIT),
    field("volumes[].containerPath", OTHER_DISK),
    field("volumes[].dataVolume", OTHER_DISK),
    field("volumes[].downwardAPI", OTHER_CLOUD_INIT),
    field("volumes[].downwardMetrics", REMOVE),
    field("volumes[].ephemeral", OTHER_DISK),
    field("volumes[].memoryDump", REMOVE),
    field("volumes[].persistentVolumeClaim", OTHER_DISK),
    field("volumes[].secret", "use cloudInitNoCloud with secretRef"),
    field("volumes[].serviceAccount", OTHER_CLOUD_INIT),
    field("volumes[].sysprep", OTHER_CLOUD_INIT),
    field("volumes[].containerDisk.imagePullSecret", PUBLIC_IMAGE),
];

/// Fields of a VirtualMachine's spec, its template apart, that are not served.
pub const MACHINE: &[Field] = &[
    field(
        "dataVolumeTemplates",
        "use a containerDisk, emptyDisk or hostDisk volume",
    ),
    field(
        "instancetype",
        "write cpu and memory into template.spec.domain",
    ),
    field("preference", "write its devices into template.spec.domain"),
    field(
        "updateVolumesStrategy",
        "stop the virtual machine to change its volumes",
    ),
];

/// Fields of a VirtualMachineRestore's spec that are not served.
pub const RESTORE: &[Field] = &[
    field(
        "volumeRestoreOverrides",
        "no volume that this version serves is restored as a claim; remove it",
    ),
    field(
        "volumeOwnershipPolicy",
        "no volume that this version serves is restored as a claim; remove it",
    ),
];

/// Fields of a VirtualMachinePool's spec, its template apart, that are not served.
pub const POOL: &[Field] = &[
    field(
        "autohealing",
        "remove it: a machine that fails to start is started again by its runStrategy",
    ),
    field(
        "scaleInStrategy.proactive.selectionPolicy.selectors",
        "use sortPolicy",
    ),
    field(
        "updateStrategy.proactive.selectionPolicy.selectors",
        "use sortPolicy",
    ),
];

/// Fields of a KubeVirt object's spec that are kept, have no effect, and are reported.
pub const KUBEVIRT: &[Field] = &[
    field("certificateRotateStrategy", REMOVE),
    field("customizeComponents", REMOVE),
    field("imagePullPolicy", REMOVE),
    field("imagePullSecrets", REMOVE),
    field("imageRegistry", REMOVE),
    field("imageTag", REMOVE),
    field("infra", REMOVE),
    field("monitorAccount", REMOVE),
    field("monitorNamespace", REMOVE),
    field("productComponent", REMOVE),
    field("productName", REMOVE),
    field("productVersion", REMOVE),
    field("serviceMonitorNamespace", REMOVE),
    field("synchronizationPort", REMOVE),
    field("uninstallStrategy", REMOVE),
    field("workloadUpdateStrategy", REMOVE),
    field("workloads", REMOVE),
    field("configuration.additionalGuestMemoryOverheadRatio", REMOVE),
    field("configuration.apiConfiguration", REMOVE),
    field("configuration.autoCPULimitNamespaceLabelSelector", REMOVE),
    field("configuration.changedBlockTrackingLabelSelectors", REMOVE),
    field("configuration.commonInstancetypesDeployment", REMOVE),
    field("configuration.confidentialCompute", REMOVE),
    field("configuration.controllerConfiguration", REMOVE),
    field("configuration.defaultRuntimeClass", REMOVE),
    field(
        "configuration.emulatedMachines",
        "use architectureConfiguration",
    ),
    field("configuration.handlerConfiguration", REMOVE),
    field("configuration.hypervisors", REMOVE),
    field("configuration.imagePullPolicy", REMOVE),
    field("configuration.instancetype", REMOVE),
    field("configuration.ksmConfiguration", REMOVE),
    field("configuration.liveUpdateConfiguration", REMOVE),
    field("configuration.machineType", "use architectureConfiguration"),
    field("configuration.mediatedDevicesConfiguration", REMOVE),
    field("configuration.memBalloonStatsPeriod", REMOVE),
    field("configuration.migrations", REMOVE),
    field("configuration.minCPUModel", REMOVE),
    field("configuration.obsoleteCPUModels", REMOVE),
    field("configuration.ovmfPath", REMOVE),
    field("configuration.permittedHostDevices", REMOVE),
    field("configuration.roleAggregationStrategy", REMOVE),
    field("configuration.seccompConfiguration", REMOVE),
    field("configuration.selinuxLauncherType", REMOVE),
    field("configuration.smbios", REMOVE),
    field("configuration.supportContainerResources", REMOVE),
    field("configuration.supportedGuestAgentVersions", REMOVE),
    field("configuration.tlsConfiguration", REMOVE),
    field("configuration.virtTemplateDeployment", REMOVE),
    field("configuration.virtualMachineInstancesPerNode", REMOVE),
    field("configuration.virtualMachineOptions", REMOVE),
    field("configuration.vmRolloutStrategy", REMOVE),
    field("configuration.vmStateStorageClass", REMOVE),
    field("configuration.webhookConfiguration", REMOVE),
    field(
        "configuration.architectureConfiguration.defaultArchitecture",
        REMOVE,
    ),
    field("configuration.architectureConfiguration.ppc64le", REMOVE),
    field("configuration.architectureConfiguration.s390x", REMOVE),
    field(
        "configuration.architectureConfiguration.amd64.ovmfPath",
        REMOVE,
    ),
    field(
        "configuration.architectureConfiguration.arm64.ovmfPath",
        REMOVE,
    ),
    field(
        "configuration.developerConfiguration.clusterProfiler",
        REMOVE,
    ),
    field(
        "configuration.developerConfiguration.diskVerification",
        REMOVE,
    ),
    field("configuration.developerConfiguration.logVerbosity", REMOVE),
    field(
        "configuration.developerConfiguration.minimumClusterTSCFrequency",
        REMOVE,
    ),
    field(
        "configuration.developerConfiguration.minimumReservePVCBytes",
        REMOVE,
    ),
    field(
        "configuration.developerConfiguration.pvcTolerateLessSpaceUpToPercent",
        REMOVE,
    ),
    field("configuration.network.binding", REMOVE),
    field(
        "configuration.network.permitBridgeInterfaceOnPodNetwork",
        REMOVE,
    ),
    field("configuration.network.permitSlirpInterface", REMOVE),
];

/// The fields of `table` that are set in `spec`, with the exact path of each.
///
/// Null, `false` and empty lists ask for nothing and are not found; an empty map often means "with
/// defaults", and is.
pub fn found(table: &'static [Field], spec: &Value) -> Vec<(String, &'static Field)> {
    let mut found = Vec::new();
    for field in table {
        let segments: Vec<&str> = field.path.split('.').collect();
        visit(spec, &segments, String::new(), &mut |path| {
            found.push((path, field))
        });
    }
    found
}

fn visit(value: &Value, segments: &[&str], path: String, hit: &mut impl FnMut(String)) {
    let Some((segment, rest)) = segments.split_first() else {
        if asks_for_something(value) {
            hit(path);
        }
        return;
    };
    let (name, is_list) = match segment.strip_suffix("[]") {
        Some(name) => (name, true),
        None => (*segment, false),
    };
    let Some(below) = value.get(name) else { return };
    let path = if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    };
    match (is_list, below) {
        (false, below) => visit(below, rest, path, hit),
        (true, Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                visit(item, rest, format!("{path}[{index}]"), hit);
            }
        }
        (true, _) => {}
    }
}

fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_found_with_their_exact_path() {
        let spec = json!({
            "livenessProbe": {"exec": {}},
            "domain": {"devices": {"disks": [{"name": "a"}, {"name": "b", "lun": {}}], "gpus": []}},
        });
        let paths: Vec<String> = found(INSTANCE, &spec)
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        assert_eq!(paths, ["livenessProbe", "domain.devices.disks[1].lun"]);
    }

    #[test]
    fn what_asks_for_nothing_is_not_found() {
        let spec = json!({
            "affinity": null,
            "accessCredentials": [],
            "domain": {"devices": {"blockMultiQueue": false}},
        });
        assert!(found(INSTANCE, &spec).is_empty());
    }

    #[test]
    fn no_field_is_listed_twice() {
        for table in [INSTANCE, MACHINE, KUBEVIRT] {
            let paths: BTreeSet<&str> = table.iter().map(|field| field.path).collect();
            assert_eq!(paths.len(), table.len());
        }
    }
}
