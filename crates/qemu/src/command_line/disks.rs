//! Disks: their files, formats and devices.

use serde_json::{Value, json};

use super::{CommandLineError, Line, Options, Slots, no_zero_byte};
use crate::machine::{
    Descriptor, Disk, DiskBus, DiskCache, DiskFormat, DiskImage, DiskIo, Machine, MachineFamily,
};

impl Line {
    pub(super) fn disks(
        &mut self,
        machine: &Machine,
        slots: &mut Slots,
    ) -> Result<(), CommandLineError> {
        let mut sata = 0;
        let mut scsi = 0;
        for (index, disk) in machine.disks.iter().enumerate() {
            check_disk(disk)?;
            self.disk_nodes(index, disk);
            let mut device = disk_device(index, disk);
            match disk.bus {
                DiskBus::Virtio => {
                    device["driver"] = Value::from("virtio-blk-pci");
                    self.pci(slots, device)?;
                }
                DiskBus::Sata => {
                    let (bus, unit) = sata_place(machine.machine_type.family(), sata)?;
                    sata += 1;
                    device["driver"] = Value::from(if disk.cdrom { "ide-cd" } else { "ide-hd" });
                    device["bus"] = Value::from(bus);
                    device["unit"] = Value::from(unit);
                    self.json("-device", &device);
                }
                DiskBus::Scsi => {
                    if scsi >= SCSI_TARGETS {
                        return Err(CommandLineError::BusFull {
                            bus: "SCSI",
                            most: SCSI_TARGETS,
                        });
                    }
                    device["driver"] = Value::from(scsi_driver(disk));
                    device["bus"] = Value::from("scsi0.0");
                    device["scsi-id"] = Value::from(scsi);
                    device["lun"] = Value::from(0);
                    scsi += 1;
                    self.json("-device", &device);
                }
                DiskBus::Usb => {
                    let stick = format!("stick{index}");
                    self.json(
                        "-device",
                        &json!({"driver": "usb-bot", "id": stick, "bus": "usb.0"}),
                    );
                    device["driver"] = Value::from(scsi_driver(disk));
                    device["bus"] = Value::from(format!("{stick}.0"));
                    device["scsi-id"] = Value::from(0);
                    device["lun"] = Value::from(0);
                    self.json("-device", &device);
                }
            }
        }
        Ok(())
    }

    fn disk_nodes(&mut self, index: usize, disk: &Disk) {
        let read_only = disk.read_only || disk.cdrom;
        let (image, file) = (format!("image{index}"), format!("file{index}"));
        match disk.image {
            DiskImage::File {
                file: descriptor,
                format,
            } => {
                self.file_node(&file, descriptor, read_only, disk.cache, disk.io);
                self.format_node(&image, &file, format, read_only, None);
            }
            DiskImage::Overlay {
                overlay,
                middle,
                base,
                base_format,
            } => {
                let (base_image, base_file) = (format!("base{index}"), format!("base-file{index}"));
                self.file_node(&base_file, base, true, disk.cache, disk.io);
                self.format_node(&base_image, &base_file, base_format, true, None);
                let mut below = base_image;
                if let Some(middle) = middle {
                    let (middle_image, middle_file) =
                        (format!("middle{index}"), format!("middle-file{index}"));
                    self.file_node(&middle_file, middle, true, disk.cache, disk.io);
                    let qcow2 = DiskFormat::Qcow2;
                    self.format_node(&middle_image, &middle_file, qcow2, true, Some(&below));
                    below = middle_image;
                }
                self.file_node(&file, overlay, read_only, disk.cache, disk.io);
                self.format_node(&image, &file, DiskFormat::Qcow2, read_only, Some(&below));
            }
        }
    }

    pub(super) fn file_node(
        &mut self,
        name: &str,
        file: Descriptor,
        read_only: bool,
        cache: DiskCache,
        io: DiskIo,
    ) {
        // A set of one descriptor: QEMU opens it again, by the number we know.
        self.options(
            "-add-fd",
            Options::new("", "file")
                .plain("fd", file)
                .plain("set", file),
        );
        self.json(
            "-blockdev",
            &json!({
                "driver": "file", "node-name": name, "filename": format!("/dev/fdset/{file}"),
                "read-only": read_only, "auto-read-only": false, "discard": "unmap",
                "cache": {"direct": cache == DiskCache::None, "no-flush": false},
                "aio": match io { DiskIo::Threads => "threads", DiskIo::Native => "native" },
                // Never written to without a lock that holds: fail where there is none.
                "locking": if read_only { "auto" } else { "on" },
            }),
        );
    }

    pub(super) fn format_node(
        &mut self,
        name: &str,
        file: &str,
        format: DiskFormat,
        read_only: bool,
        backing: Option<&str>,
    ) {
        let mut node = json!({
            "driver": match format { DiskFormat::Raw => "raw", DiskFormat::Qcow2 => "qcow2" },
            "node-name": name, "file": file, "read-only": read_only,
            "auto-read-only": false, "discard": "unmap",
        });
        if format == DiskFormat::Qcow2 {
            // Told even when there is none, so that a name in the header opens nothing.
            node["backing"] = backing.map_or(Value::Null, Value::from);
        }
        self.json("-blockdev", &node);
    }
}

/// virtio-scsi has 256 targets; more disks than that are a mistake.
const SCSI_TARGETS: usize = 256;

fn check_disk(disk: &Disk) -> Result<(), CommandLineError> {
    if let Some(serial) = &disk.serial {
        no_zero_byte(serial, "disks.serial")?;
    }
    let impossible = |what, instead| Err(CommandLineError::Impossible { what, instead });
    if disk.cdrom && disk.bus == DiskBus::Virtio {
        return impossible("a CD drive on virtio", "use bus sata, scsi or usb");
    }
    if disk.bus == DiskBus::Sata && disk.read_only && !disk.cdrom {
        return impossible(
            "a read-only hard disk on sata",
            "use bus virtio or scsi, or a CD drive",
        );
    }
    if disk.io == DiskIo::Native && disk.cache != DiskCache::None {
        return impossible("io native with a cache", "use cache none, or io threads");
    }
    Ok(())
}

fn disk_device(index: usize, disk: &Disk) -> Value {
    // An error of the host's disk stops the guest until it is mended, and never reaches it.
    let mut device = json!({
        "driver": "", "id": format!("disk{index}"), "drive": format!("image{index}"),
        "werror": "stop", "rerror": "stop",
    });
    if !disk.cdrom {
        device["write-cache"] = Value::from(if disk.cache == DiskCache::Writethrough {
            "off"
        } else {
            "on"
        });
        if disk.shared {
            device["share-rw"] = Value::from(true);
        }
    }
    if let Some(order) = disk.boot_order {
        device["bootindex"] = Value::from(order);
    }
    if let Some(serial) = &disk.serial {
        device["serial"] = Value::from(serial.as_str());
    }
    device
}

fn scsi_driver(disk: &Disk) -> &'static str {
    if disk.cdrom { "scsi-cd" } else { "scsi-hd" }
}

fn sata_place(family: MachineFamily, index: usize) -> Result<(String, usize), CommandLineError> {
    match family {
        MachineFamily::Q35 if index < 6 => Ok((format!("ide.{index}"), 0)),
        MachineFamily::Q35 => Err(CommandLineError::BusFull {
            bus: "SATA",
            most: 6,
        }),
        MachineFamily::Pc if index < 4 => Ok((format!("ide.{}", index / 2), index % 2)),
        MachineFamily::Pc => Err(CommandLineError::BusFull {
            bus: "IDE",
            most: 4,
        }),
        MachineFamily::Virt => Err(CommandLineError::BusFull {
            bus: "SATA",
            most: 0,
        }),
    }
}
