//! Disks and the files below them.

use api::launcher::{DiskFormat, ResolvedVolume, StartRequest};
use api::virtual_machine_instance as devices;
use qemu::machine::{self, Disk, DiskBus, DiskCache, DiskImage, DiskIo};

use super::{BlueprintError, Files, Source, wrong};

/// The machine's disks; their files are added to `files`.
pub(super) fn disks(
    request: &StartRequest,
    files: &mut Files,
) -> Result<Vec<Disk>, BlueprintError> {
    let devices = &request.instance.spec.domain.devices.disks;
    let any_order = devices.iter().any(|disk| disk.boot_order.is_some());
    let mut next_order = 1;
    let mut disks = Vec::new();
    for (index, device) in devices.iter().enumerate() {
        let field = format!("spec.domain.devices.disks[{index}]");
        let volume = request.volumes.get(&device.name).ok_or_else(|| {
            wrong(
                format!("{field}.name"),
                format!("there is no volume `{}`", device.name),
            )
        })?;
        check_volume_name(&field, &device.name)?;
        let mut disk = disk(&field, device)?;
        let shared = matches!(volume, ResolvedVolume::HostDisk { shared: true, .. });
        disk.shared = shared;
        disk.image = disk_image(&device.name, volume, &disk, files);
        disk.boot_order = device.boot_order;
        // Without an order, disks are tried as they are listed; data for cloud-init never boots.
        if !any_order && !matches!(volume, ResolvedVolume::CloudInitNoCloud { .. }) {
            disk.boot_order = Some(next_order);
            next_order += 1;
        }
        disks.push(disk);
    }
    Ok(disks)
}

/// It becomes a file's name.
fn check_volume_name(field: &str, name: &str) -> Result<(), BlueprintError> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > 63 || !name.bytes().all(good) {
        return Err(wrong(
            format!("{field}.name"),
            "is not 1 to 63 of a-z, 0-9 and `-`",
        ));
    }
    Ok(())
}

fn disk(field: &str, device: &devices::Disk) -> Result<Disk, BlueprintError> {
    let (bus, read_only, cdrom) = match (&device.disk, &device.cdrom) {
        (_, Some(cdrom)) => (cdrom.bus.as_deref().unwrap_or("sata"), true, true),
        (Some(disk), None) => (
            disk.bus.as_deref().unwrap_or("virtio"),
            disk.readonly == Some(true),
            false,
        ),
        (None, None) => ("virtio", false, false),
    };
    let bus = match bus {
        "" | "virtio" => DiskBus::Virtio,
        "sata" => DiskBus::Sata,
        "scsi" => DiskBus::Scsi,
        "usb" => DiskBus::Usb,
        other => {
            return Err(wrong(
                format!("{field}.bus"),
                format!("`{other}` is none of virtio, sata, scsi, usb"),
            ));
        }
    };
    let io = match device.io.as_deref() {
        None | Some("" | "threads") => DiskIo::Threads,
        Some("native") => DiskIo::Native,
        Some(other) => {
            return Err(wrong(
                format!("{field}.io"),
                format!("`{other}` is none of native, threads"),
            ));
        }
    };
    let cache = match device.cache.as_deref() {
        // QEMU has native I/O only past the page cache.
        None | Some("") if io == DiskIo::Native => DiskCache::None,
        None | Some("" | "writeback") => DiskCache::Writeback,
        Some("none") => DiskCache::None,
        Some("writethrough") => DiskCache::Writethrough,
        Some(other) => {
            return Err(wrong(
                format!("{field}.cache"),
                format!("`{other}` is none of none, writethrough, writeback"),
            ));
        }
    };
    Ok(Disk {
        // Replaced by the volume's.
        image: DiskImage::File {
            file: 0,
            format: machine::DiskFormat::Raw,
        },
        bus,
        cdrom,
        read_only,
        boot_order: None,
        serial: device.serial.clone(),
        cache,
        io,
        shared: false,
    })
}

fn disk_image(name: &str, volume: &ResolvedVolume, disk: &Disk, files: &mut Files) -> DiskImage {
    let direct = disk.cache == DiskCache::None;
    let read_only = disk.read_only || disk.cdrom;
    let raw = |file| DiskImage::File {
        file,
        format: machine::DiskFormat::Raw,
    };
    match volume {
        ResolvedVolume::ContainerDisk {
            path,
            format,
            virtual_size_bytes,
            ..
        } => {
            let base = files.add(Source::Base {
                path: path.clone(),
                format: *format,
                direct,
            });
            let base_format = match format {
                DiskFormat::Raw => machine::DiskFormat::Raw,
                DiskFormat::Qcow2 => machine::DiskFormat::Qcow2,
            };
            if read_only {
                return DiskImage::File {
                    file: base,
                    format: base_format,
                };
            }
            let new = Source::NewDisk {
                volume: name.to_owned(),
                bytes: *virtual_size_bytes,
            };
            DiskImage::Overlay {
                overlay: files.add(new),
                base,
                base_format,
            }
        }
        ResolvedVolume::CloudInitNoCloud {
            user_data,
            network_data,
        } => raw(files.add(Source::CloudInit {
            volume: name.to_owned(),
            user_data: user_data.clone(),
            network_data: network_data.clone(),
            read_only,
        })),
        ResolvedVolume::EmptyDisk { capacity_bytes } => {
            let new = Source::NewDisk {
                volume: name.to_owned(),
                bytes: *capacity_bytes,
            };
            DiskImage::File {
                file: files.add(new),
                format: machine::DiskFormat::Qcow2,
            }
        }
        ResolvedVolume::HostDisk {
            path,
            create_bytes,
            shared,
        } => {
            let file = files.add(Source::HostDisk {
                path: path.clone(),
                create_bytes: *create_bytes,
                read_only,
                direct,
            });
            if !shared && !read_only {
                files.add(Source::LockOf(file));
            }
            raw(file)
        }
    }
}
