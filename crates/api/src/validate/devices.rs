//! Rules for disks and input devices.

use std::collections::BTreeMap;

use super::cause::{Causes, Path};
use super::domain::is_arm;
use crate::virtual_machine_instance::{Disk, Input, VirtualMachineInstanceSpec};

/// The longest serial number of a disk.
const SERIAL_BYTES: usize = 256;

pub(super) fn check(path: &Path, spec: &VirtualMachineInstanceSpec, causes: &mut Causes) {
    let devices = path.field("domain").field("devices");
    disks(&devices.field("disks"), spec, causes);
    for (index, input) in spec.domain.devices.inputs.iter().enumerate() {
        check_input(&devices.field("inputs").index(index), index, input, causes);
    }
}

fn disks(path: &Path, spec: &VirtualMachineInstanceSpec, causes: &mut Causes) {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut boot_orders: BTreeMap<u32, usize> = BTreeMap::new();
    for (index, disk) in spec.domain.devices.disks.iter().enumerate() {
        let here = path.index(index);
        if !spec.volumes.iter().any(|volume| volume.name == disk.name) {
            // Upstream's message has a capital letter where the field has none.
            let message = format!("{here}.Name '{}' not found.", disk.name);
            causes.invalid(&here.field("name"), message);
        }
        if let Some(earlier) = names.insert(&disk.name, index) {
            let other = path.index(earlier);
            let message = format!("{here} and {other} must not have the same Name.");
            causes.invalid(&here.field("name"), message);
        }
        if let Some(order) = disk.boot_order {
            let field = here.field("bootOrder");
            if order == 0 {
                causes.invalid(
                    &field,
                    format!("{here} must have a boot order > 0, if supplied"),
                );
            } else if boot_orders.insert(order, index).is_some() {
                let message = format!("Boot order for {field} already set for a different device.");
                causes.invalid(&field, message);
            }
        }
        check_disk(&here, disk, causes);
        if is_arm(spec) {
            let target = disk.disk.as_ref().and_then(|disk| disk.bus.as_deref());
            let cdrom = disk.cdrom.as_ref().and_then(|cdrom| cdrom.bus.as_deref());
            for (name, bus) in [("disk", target), ("cdrom", cdrom)] {
                if bus == Some("sata") {
                    let path = here.field(name).field("bus");
                    let message = format!("{path}: there is no sata on arm64; use virtio or scsi");
                    causes.not_supported(&path, message);
                }
            }
        }
    }
}

fn check_disk(path: &Path, disk: &Disk, causes: &mut Causes) {
    let lun = disk.unserved.get("lun").is_some_and(|lun| !lun.is_null());
    let targets = [disk.disk.is_some(), disk.cdrom.is_some(), lun];
    if targets.into_iter().filter(|is_set| *is_set).count() > 1 {
        causes.invalid(
            path,
            format!("{path} can only have a single target type defined"),
        );
    }
    if let Some(target) = &disk.disk {
        let path = path.field("disk");
        bus(&path, target.bus.as_deref(), causes);
        if target.bus.as_deref() == Some("sata") && target.readonly == Some(true) {
            causes.invalid(
                &path.field("readonly"),
                "sata hard-disks do not support read-only.",
            );
        }
    }
    if let Some(target) = &disk.cdrom {
        let path = path.field("cdrom");
        bus(&path, target.bus.as_deref(), causes);
        if target.bus.as_deref() == Some("virtio") {
            causes.invalid(
                &path.field("bus"),
                "Bus type virtio is invalid for CD-ROM device",
            );
        }
        if target.readonly == Some(false) {
            let path = path.field("readonly");
            causes.unserved(
                &path,
                "a CD drive that can be written",
                "use disk: {}, or remove it",
            );
        }
    }
    if let Some(serial) = &disk.serial {
        let path = path.field("serial");
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
        if !serial.bytes().all(allowed) {
            let message = format!(
                "{path} must be made up of the following characters [A-Za-z0-9_.+-], if specified"
            );
            causes.invalid(&path, message);
        }
        if serial.len() > SERIAL_BYTES {
            let message = format!(
                "{path} must be less than or equal to {SERIAL_BYTES} in length, if specified"
            );
            causes.invalid(&path, message);
        }
    }
    if let Some(cache) = disk.cache.as_deref()
        && !matches!(cache, "" | "none" | "writethrough" | "writeback")
    {
        let path = path.field("cache");
        causes.invalid(&path, format!("{path} has invalid value {cache}"));
    }
    if let Some(io) = disk.io.as_deref()
        && !matches!(io, "" | "native" | "threads")
    {
        let path = path.field("io");
        let message = format!(
            "Disk IO mode for {path} is not supported. Supported modes are: native, threads."
        );
        causes.not_supported(&path, message);
    }
}

fn bus(path: &Path, bus: Option<&str>, causes: &mut Causes) {
    let path = path.field("bus");
    match bus {
        None | Some("" | "virtio" | "scsi" | "sata" | "usb") => {}
        Some("ide") => causes.invalid(&path, "IDE bus is not supported"),
        Some(other) => {
            let message = format!(
                "{path} is set with an unrecognized bus {other}, must be one of: [virtio scsi sata usb]"
            );
            causes.invalid(&path, message);
        }
    }
}

fn check_input(path: &Path, index: usize, input: &Input, causes: &mut Causes) {
    if !matches!(input.bus.as_deref(), None | Some("" | "usb" | "virtio")) {
        causes.invalid(
            &path.field("bus"),
            "Input device can have only virtio or usb bus.",
        );
    }
    if !matches!(input.type_.as_deref(), None | Some("" | "tablet")) {
        causes.invalid(
            &path.field("type"),
            "Input device can have only tablet type.",
        );
    }
    if index > 0 {
        causes.unserved(
            path,
            "a second input device",
            "remove it: one tablet is enough",
        );
    }
}
