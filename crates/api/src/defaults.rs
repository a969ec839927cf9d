//! What the user left out, filled in when an object is admitted. Pure: time and randomness are arguments.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use crate::configuration::ClusterConfiguration;
use crate::names;
use crate::pool::{DEFAULT_REPLICAS, VirtualMachinePool};
use crate::quantity::Quantity;
use crate::resources;
use crate::virtual_machine::VirtualMachine;
use crate::virtual_machine_instance::{
    CdromTarget, Devices, Disk, DiskTarget, FeatureState, Firmware, Input, Interface, Masquerade,
    Network, Phase, PhaseTransition, PodNetwork, VirtualMachineInstance,
    VirtualMachineInstanceSpec,
};

/// Seconds a guest gets to shut down by itself when its spec does not say.
pub const GRACE_PERIOD_SECONDS: u64 = 30;

/// Random identity for a machine that has none yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FirmwareIdentity {
    /// SMBIOS system UUID, in the usual form of 8-4-4-4-12 hexadecimal digits.
    pub uuid: String,
    /// SMBIOS system serial number; any UUID does.
    pub serial: String,
}

/// Fills in a virtual machine: machine type, architecture and a firmware identity that stays the
/// same over restarts. On an update, `old` is the stored machine, whose identity is kept.
pub fn virtual_machine(
    machine: &mut VirtualMachine,
    old: Option<&VirtualMachine>,
    cluster: &ClusterConfiguration,
    identity: &FirmwareIdentity,
) {
    let Some(template) = &mut machine.spec.template else {
        return;
    };
    architecture_and_machine(&mut template.spec, cluster);
    let known = old
        .and_then(|old| old.spec.template.as_ref())
        .and_then(|template| template.spec.domain.firmware.as_ref());
    let firmware = template.spec.domain.firmware.get_or_insert_default();
    let mut made_up = vec![identity.uuid.clone(), identity.serial.clone()];
    if is_unset(firmware.uuid.as_deref()) {
        let known = known.and_then(|firmware| firmware.uuid.clone());
        firmware.uuid = Some(known.unwrap_or_else(|| identity.uuid.clone()));
    }
    if is_unset(firmware.serial.as_deref()) {
        let known = known.and_then(|firmware| firmware.serial.clone());
        firmware.serial = Some(known.unwrap_or_else(|| identity.serial.clone()));
    }
    let before = old.and_then(|old| old.spec.template.as_ref()?.metadata.as_ref());
    made_up.extend(known_made_up(before));
    note_made_up(template.metadata.get_or_insert_default(), firmware, made_up);
}

/// Fills in a pool: how many machines it has. What its machines lack is filled in when they are made.
pub fn virtual_machine_pool(pool: &mut VirtualMachinePool) {
    pool.spec.replicas.get_or_insert(DEFAULT_REPLICAS);
}

/// The values of the firmware's identity that an object says were made up for it.
fn known_made_up(metadata: Option<&ObjectMeta>) -> Vec<String> {
    let noted = metadata
        .and_then(|metadata| metadata.annotations.as_ref())
        .and_then(|all| all.get(names::annotations::GENERATED_FIRMWARE));
    let noted = noted.map(String::as_str).unwrap_or_default();
    noted.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Notes which values of the firmware's identity were made up: nobody insists on those, so that the guest may start
/// from a template which has booted with others.
fn note_made_up(metadata: &mut ObjectMeta, firmware: &Firmware, mut made_up: Vec<String>) {
    made_up.extend(known_made_up(Some(metadata)));
    let values = [&firmware.uuid, &firmware.serial].into_iter().flatten();
    let noted: Vec<&str> = values
        .filter(|value| made_up.contains(value))
        .map(String::as_str)
        .collect();
    let name = names::annotations::GENERATED_FIRMWARE;
    if noted.is_empty() {
        if let Some(annotations) = &mut metadata.annotations {
            annotations.remove(name);
        }
    } else {
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(name.to_owned(), noted.join(" "));
    }
}

/// Fills in a new virtual machine instance, gives it the finalizer and the phase `Pending`.
pub fn virtual_machine_instance(
    instance: &mut VirtualMachineInstance,
    cluster: &ClusterConfiguration,
    identity: &FirmwareIdentity,
    now: Timestamp,
) {
    instance_spec(&mut instance.spec, cluster, identity);
    if let Some(firmware) = &instance.spec.domain.firmware {
        note_made_up(
            &mut instance.metadata,
            firmware,
            vec![identity.uuid.clone()],
        );
    }
    let finalizers = instance.metadata.finalizers.get_or_insert_default();
    if !finalizers
        .iter()
        .any(|name| name == names::finalizers::FOREGROUND_DELETE)
    {
        finalizers.push(names::finalizers::FOREGROUND_DELETE.to_owned());
    }
    let status = instance.status.get_or_insert_default();
    if status.phase.is_none() {
        status.phase = Some(Phase::Pending);
        status.phase_transition_timestamps.push(PhaseTransition {
            phase: Phase::Pending,
            phase_transition_timestamp: Time(now),
        });
    }
}

/// Fills in an instance's spec, in KubeVirt's order: later defaults see the earlier ones.
pub fn instance_spec(
    spec: &mut VirtualMachineInstanceSpec,
    cluster: &ClusterConfiguration,
    identity: &FirmwareIdentity,
) {
    architecture_and_machine(spec, cluster);
    processor_request(spec, cluster);
    guest_memory(spec);
    topology(spec);
    pull_policies(spec);
    if is_unset(spec.eviction_strategy.as_deref()) {
        spec.eviction_strategy
            .clone_from(&cluster.eviction_strategy);
    }
    let firmware = spec.domain.firmware.get_or_insert_default();
    if is_unset(firmware.uuid.as_deref()) {
        firmware.uuid = Some(identity.uuid.clone());
    }
    let uuid = firmware.uuid.clone().unwrap_or_default();
    network(spec);
    disks_for_volumes(spec);
    let arm = spec.architecture.as_deref() == Some("arm64");
    if arm {
        arm_firmware(spec);
    }
    // ARM's machine has no SATA, and no CD drive can be on virtio.
    let buses = if arm {
        ("virtio", "scsi")
    } else {
        ("sata", "sata")
    };
    devices(&mut spec.domain.devices, buses, &uuid);
    let acpi = &mut spec.domain.features.get_or_insert_default().acpi;
    if acpi.is_none() {
        *acpi = Some(FeatureState::default());
    }
    if let Some(FeatureState {
        enabled: enabled @ None,
    }) = acpi
    {
        *enabled = Some(true);
    }
    let cpu = spec.domain.cpu.get_or_insert_default();
    if is_unset(cpu.model.as_deref()) {
        // ARM's processors have no other model under KVM; the cluster's is one of the host's
        // architecture.
        cpu.model = Some(if arm {
            "host-passthrough".to_owned()
        } else {
            cluster.cpu_model.clone()
        });
    }
}

/// ARM's guests start by EFI, without Secure Boot; a kernel that is given starts by itself unless
/// EFI is asked for.
fn arm_firmware(spec: &mut VirtualMachineInstanceSpec) {
    let firmware = spec.domain.firmware.get_or_insert_default();
    let kernel = firmware
        .kernel_boot
        .as_ref()
        .is_some_and(|boot| boot.container.is_some());
    if firmware.bootloader.is_none() && kernel {
        return;
    }
    let bootloader = firmware.bootloader.get_or_insert_default();
    if bootloader.bios.is_none() {
        let efi = bootloader.efi.get_or_insert_default();
        efi.secure_boot.get_or_insert(false);
    }
}

/// A stable address for an interface that was given none: the same machine keeps its address over
/// restarts, and two interfaces hardly ever share one. Locally administered, unicast.
pub fn mac_address(firmware_uuid: &str, interface: &str) -> String {
    // FNV-1a, 64 bits: spreads well, and needs to be no secret.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in firmware_uuid.bytes().chain([0]).chain(interface.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let [_, _, _, a, b, c, d, e] = (hash ^ (hash >> 40)).to_be_bytes();
    // 02:00:00:00:00:00 is reserved; the lowest bit of the last byte keeps away from it.
    let e = if [a, b, c, d, e] == [0; 5] { 1 } else { e };
    format!("02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}")
}

fn is_unset(text: Option<&str>) -> bool {
    text.is_none_or(str::is_empty)
}

fn architecture_and_machine(spec: &mut VirtualMachineInstanceSpec, cluster: &ClusterConfiguration) {
    if is_unset(spec.architecture.as_deref()) {
        spec.architecture = Some(cluster.architecture.clone());
    }
    let machine = spec.domain.machine.get_or_insert_default();
    if is_unset(machine.type_.as_deref()) {
        let architecture = spec.architecture.as_deref().unwrap_or_default();
        machine.type_ = Some(cluster.machines(architecture).default);
    }
}

fn processor_request(spec: &mut VirtualMachineInstanceSpec, cluster: &ClusterConfiguration) {
    let resources = spec.domain.resources.as_ref();
    if resources.is_some_and(|resources| resources.requests.contains_key("cpu")) {
        return;
    }
    let limit = resources
        .and_then(|resources| resources.limits.get("cpu"))
        .cloned();
    // 100m is what one virtual processor asks for anyway.
    let configured = cluster
        .cpu_request
        .clone()
        .filter(|request| request.to_thousandths() != Some(100));
    if let Some(request) = limit.or(configured) {
        let resources = spec.domain.resources.get_or_insert_default();
        resources.requests.insert("cpu".to_owned(), request);
    }
}

fn guest_memory(spec: &mut VirtualMachineInstanceSpec) {
    let guest: Option<Quantity> = resources::guest_memory(spec).cloned();
    if let Some(guest) = guest {
        spec.domain.memory.get_or_insert_default().guest = Some(guest);
    }
}

fn topology(spec: &mut VirtualMachineInstanceSpec) {
    let topology = resources::topology(spec);
    let cpu = spec.domain.cpu.get_or_insert_default();
    cpu.sockets = topology.sockets;
    cpu.cores = topology.cores;
    cpu.threads = topology.threads;
}

fn pull_policies(spec: &mut VirtualMachineInstanceSpec) {
    for disk in spec
        .volumes
        .iter_mut()
        .filter_map(|volume| volume.container_disk.as_mut())
    {
        if is_unset(disk.image_pull_policy.as_deref()) {
            disk.image_pull_policy = Some(pull_policy(&disk.image).to_owned());
        }
    }
}

/// `Always` for an image whose tag moves, else `IfNotPresent`.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn network(spec: &mut VirtualMachineInstanceSpec) {
    let devices = &mut spec.domain.devices;
    let wanted = devices.autoattach_pod_interface != Some(false);
    if wanted && devices.interfaces.is_empty() && spec.networks.is_empty() {
        devices.interfaces.push(Interface {
            name: "default".to_owned(),
            masquerade: Some(Masquerade::default()),
            ..Interface::default()
        });
        spec.networks.push(Network {
            name: "default".to_owned(),
            pod: Some(PodNetwork::default()),
            ..Network::default()
        });
    }
}

fn disks_for_volumes(spec: &mut VirtualMachineInstanceSpec) {
    let disks = &mut spec.domain.devices.disks;
    for volume in &spec.volumes {
        if !disks.iter().any(|disk| disk.name == volume.name) {
            disks.push(Disk {
                name: volume.name.clone(),
                ..Disk::default()
            });
        }
    }
}

fn devices(devices: &mut Devices, (bus, cdrom_bus): (&str, &str), firmware_uuid: &str) {
    for disk in &mut devices.disks {
        if disk.disk.is_none() && disk.cdrom.is_none() && !disk.unserved.contains_key("lun") {
            disk.disk = Some(DiskTarget::default());
        }
        if let Some(target) = &mut disk.disk
            && is_unset(target.bus.as_deref())
        {
            target.bus = Some(bus.to_owned());
        }
        if let Some(CdromTarget {
            bus: target,
            readonly,
            ..
        }) = &mut disk.cdrom
        {
            if is_unset(target.as_deref()) {
                *target = Some(cdrom_bus.to_owned());
            }
            readonly.get_or_insert(true);
        }
    }
    for interface in &mut devices.interfaces {
        if is_unset(interface.model.as_deref()) {
            interface.model = Some("virtio".to_owned());
        }
        if is_unset(interface.mac_address.as_deref()) {
            interface.mac_address = Some(mac_address(firmware_uuid, &interface.name));
        }
    }
    if devices.autoattach_input_device == Some(true) && devices.inputs.is_empty() {
        devices.inputs.push(Input {
            name: "default-0".to_owned(),
            ..Input::default()
        });
    }
    for input in &mut devices.inputs {
        if is_unset(input.bus.as_deref()) {
            input.bus = Some("usb".to_owned());
        }
        if is_unset(input.type_.as_deref()) {
            input.type_ = Some("tablet".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{Value, json};

    use super::*;

    fn cluster() -> ClusterConfiguration {
        ClusterConfiguration::of_architecture("amd64")
    }

    fn identity() -> FirmwareIdentity {
        FirmwareIdentity {
            uuid: "6a1a24a1-4061-4607-8bf4-a3963d0c5895".to_owned(),
            serial: "s".to_owned(),
        }
    }

    fn spec(value: Value) -> VirtualMachineInstanceSpec {
        serde_json::from_value(value).unwrap()
    }

    fn small() -> Value {
        json!({
            "domain": {"devices": {}, "resources": {"requests": {"memory": "64M"}}},
            "volumes": [{"name": "disk", "containerDisk": {"image": "registry/cirros"}}],
        })
    }

    #[test]
    fn a_small_instance_is_filled_in() {
        let mut filled = spec(small());
        instance_spec(&mut filled, &cluster(), &identity());
        expect![[r#"
            {
              "architecture": "amd64",
              "domain": {
                "resources": {
                  "requests": {
                    "memory": "64M"
                  }
                },
                "cpu": {
                  "cores": 1,
                  "sockets": 1,
                  "threads": 1,
                  "model": "host-model"
                },
                "memory": {
                  "guest": "64M"
                },
                "machine": {
                  "type": "q35"
                },
                "firmware": {
                  "uuid": "6a1a24a1-4061-4607-8bf4-a3963d0c5895"
                },
                "features": {
                  "acpi": {
                    "enabled": true
                  }
                },
                "devices": {
                  "disks": [
                    {
                      "name": "disk",
                      "disk": {
                        "bus": "sata"
                      }
                    }
                  ],
                  "interfaces": [
                    {
                      "name": "default",
                      "model": "virtio",
                      "masquerade": {},
                      "macAddress": "02:ef:9c:42:58:66"
                    }
                  ]
                }
              },
              "networks": [
                {
                  "name": "default",
                  "pod": {}
                }
              ],
              "volumes": [
                {
                  "name": "disk",
                  "containerDisk": {
                    "image": "registry/cirros",
                    "imagePullPolicy": "Always"
                  }
                }
              ]
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&filled).unwrap());
    }

    #[test]
    fn filling_in_twice_changes_nothing_the_second_time() {
        let mut once = spec(small());
        instance_spec(&mut once, &cluster(), &identity());
        let mut twice = once.clone();
        let other = FirmwareIdentity {
            uuid: "other".to_owned(),
            serial: "other".to_owned(),
        };
        instance_spec(&mut twice, &cluster(), &other);
        assert_eq!(once, twice);
    }

    #[test]
    fn an_arm_guest_gets_arms_machine_and_no_sata() {
        let arm = |firmware: Value| {
            let mut filled = spec(json!({
                "architecture": "arm64",
                "domain": {
                    "memory": {"guest": "1Gi"}, "firmware": firmware,
                    "devices": {"disks": [{"name": "disk"}, {"name": "cd", "cdrom": {}}]},
                },
                "volumes": [{"name": "disk", "emptyDisk": {"capacity": "1Gi"}}],
            }));
            instance_spec(&mut filled, &cluster(), &identity());
            filled
        };
        let filled = arm(json!({}));
        let domain = &filled.domain;
        assert_eq!(
            domain.machine.as_ref().unwrap().type_.as_deref(),
            Some("virt")
        );
        let model = domain.cpu.as_ref().unwrap().model.as_deref();
        assert_eq!(model, Some("host-passthrough"));
        let disks = &domain.devices.disks;
        let disk = disks[0].disk.as_ref().unwrap().bus.as_deref();
        let cdrom = disks[1].cdrom.as_ref().unwrap().bus.as_deref();
        assert_eq!((disk, cdrom), (Some("virtio"), Some("scsi")));
        let bootloader = |filled: &VirtualMachineInstanceSpec| {
            let firmware = filled.domain.firmware.clone().unwrap();
            serde_json::to_value(firmware.bootloader).unwrap()
        };
        let efi = json!({"efi": {"secureBoot": false}});
        assert_eq!(bootloader(&filled), efi);
        let kernel = json!({"container": {"image": "a", "kernelPath": "/k"}});
        let direct = arm(json!({"kernelBoot": kernel.clone()}));
        assert_eq!(bootloader(&direct), Value::Null);
        let asked = arm(json!({"kernelBoot": kernel, "bootloader": {"efi": {}}}));
        assert_eq!(bootloader(&asked), efi);
    }

    #[test]
    fn what_the_user_wrote_stays() {
        let mut filled = spec(json!({
            "domain": {
                "cpu": {"cores": 2, "model": "Haswell"},
                "machine": {"type": "pc-q35-7.2"},
                "memory": {"guest": "1Gi"},
                "resources": {"requests": {"memory": "512Mi"}, "limits": {"cpu": "4"}},
                "features": {"acpi": {"enabled": false}},
                "devices": {
                    "autoattachPodInterface": false,
                    "autoattachInputDevice": true,
                    "disks": [{"name": "disk", "cdrom": {}}],
                },
            },
            "volumes": [{"name": "disk", "containerDisk": {"image": "a:5000/b/c:1", "path": "/x"}}],
        }));
        instance_spec(&mut filled, &cluster(), &identity());
        let domain = &filled.domain;
        assert_eq!(domain.cpu.as_ref().unwrap().sockets, Some(1));
        assert_eq!(
            domain.memory.as_ref().unwrap().guest,
            Some(Quantity::from("1Gi"))
        );
        assert_eq!(
            domain.resources.as_ref().unwrap().requests["cpu"],
            Quantity::from("4")
        );
        assert!(filled.networks.is_empty() && domain.devices.interfaces.is_empty());
        assert_eq!(domain.devices.inputs[0].name, "default-0");
        assert_eq!(
            domain
                .features
                .as_ref()
                .unwrap()
                .acpi
                .as_ref()
                .unwrap()
                .enabled,
            Some(false)
        );
        let cdrom = domain.devices.disks[0].cdrom.as_ref().unwrap();
        assert_eq!(
            (cdrom.bus.as_deref(), cdrom.readonly),
            (Some("sata"), Some(true))
        );
        let image = filled.volumes[0].container_disk.as_ref().unwrap();
        assert_eq!(image.image_pull_policy.as_deref(), Some("IfNotPresent"));
    }

    #[test]
    fn tags_that_move_are_pulled_always() {
        for (image, policy) in [
            ("cirros", "Always"),
            ("localhost:5000/cirros", "Always"),
            ("cirros:latest", "Always"),
            ("cirros:0.6", "IfNotPresent"),
            ("localhost:5000/a/cirros:0.6", "IfNotPresent"),
            ("cirros@sha256:00", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn a_machine_keeps_its_identity_over_updates() {
        let new = || {
            let mut machine = VirtualMachine::default();
            machine.spec.template = Some(Default::default());
            machine
        };
        let mut created = new();
        virtual_machine(&mut created, None, &cluster(), &identity());
        let mut updated = new();
        let other = FirmwareIdentity {
            uuid: "other".to_owned(),
            serial: "other".to_owned(),
        };
        virtual_machine(&mut updated, Some(&created), &cluster(), &other);
        assert_eq!(created, updated);
    }

    #[test]
    fn what_was_made_up_of_the_firmwares_identity_is_noted_and_what_somebody_chose_is_not() {
        let machine = |firmware: Value| -> VirtualMachine {
            serde_json::from_value(json!({ "metadata": {}, "spec": { "template": { "spec": {
                "domain": { "devices": {}, "firmware": firmware } } } } }))
            .unwrap()
        };
        let noted = |machine: &VirtualMachine| {
            let metadata = machine.spec.template.as_ref().unwrap().metadata.as_ref();
            known_made_up(metadata).join(" ")
        };
        let made = identity();
        let other = FirmwareIdentity {
            uuid: "other".to_owned(),
            serial: "other".to_owned(),
        };
        let mut first = machine(json!({}));
        virtual_machine(&mut first, None, &cluster(), &made);
        assert_eq!(noted(&first), format!("{} {}", made.uuid, made.serial));
        // Written back without what was filled in, and with it.
        for firmware in [
            json!({}),
            json!({ "uuid": made.uuid, "serial": made.serial }),
        ] {
            let mut again = machine(firmware);
            virtual_machine(&mut again, Some(&first), &cluster(), &other);
            assert_eq!(noted(&again), noted(&first));
        }
        let mut chosen = machine(json!({ "serial": "S-77" }));
        virtual_machine(&mut chosen, Some(&first), &cluster(), &other);
        assert_eq!(noted(&chosen), made.uuid);
        let mut chosen = machine(json!({ "uuid": "u", "serial": "S-77" }));
        virtual_machine(&mut chosen, None, &cluster(), &made);
        assert_eq!(noted(&chosen), "");
    }

    #[test]
    fn a_new_instance_is_pending_and_held_by_the_finalizer() {
        let mut instance = VirtualMachineInstance::new("a", spec(small()));
        virtual_machine_instance(
            &mut instance,
            &cluster(),
            &identity(),
            Timestamp::UNIX_EPOCH,
        );
        let status = instance.status.as_ref().unwrap();
        assert_eq!(status.phase, Some(Phase::Pending));
        assert_eq!(status.phase_transition_timestamps.len(), 1);
        assert_eq!(
            instance.metadata.finalizers.unwrap(),
            [names::finalizers::FOREGROUND_DELETE]
        );
    }

    #[test]
    fn addresses_are_stable_and_differ() {
        let first = mac_address("a", "default");
        assert_eq!(first, mac_address("a", "default"));
        assert_ne!(first, mac_address("a", "second"));
        assert_ne!(first, mac_address("b", "default"));
    }
}
