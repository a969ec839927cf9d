//! Disks and the files below them.

use api::launcher::saved::{Renewal, Saved, files as saved_names};
use api::launcher::warm::{CLOUD_INIT_IMAGE_BYTES, WarmStart};
use api::launcher::{DiskFormat, ResolvedVolume, StartRequest};
use api::virtual_machine_instance as devices;
use qemu::machine::{self, Disk, DiskBus, DiskCache, DiskImage, DiskIo};

use super::{BlueprintError, Files, ImageSize, Source, resumed, saved_file, wrong};

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
        disk.image = disk_image(request, &device.name, &disk, files, volume)?;
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

fn qemu_format(format: DiskFormat) -> machine::DiskFormat {
    match format {
        DiskFormat::Raw => machine::DiskFormat::Raw,
        DiskFormat::Qcow2 => machine::DiskFormat::Qcow2,
    }
}

fn disk_image(
    request: &StartRequest,
    name: &str,
    disk: &Disk,
    files: &mut Files,
    volume: &ResolvedVolume,
) -> Result<DiskImage, BlueprintError> {
    let direct = disk.cache == DiskCache::None;
    let read_only = disk.read_only || disk.cdrom;
    let raw = |file| DiskImage::File {
        file,
        format: machine::DiskFormat::Raw,
    };
    Ok(match volume {
        ResolvedVolume::ContainerDisk {
            path,
            format,
            virtual_size_bytes,
            ..
        } => {
            let base = Source::Base {
                path: path.clone(),
                format: *format,
                direct,
            };
            let base = (files.add(base), qemu_format(*format));
            if read_only {
                return Ok(DiskImage::File {
                    file: base.0,
                    format: base.1,
                });
            }
            let own = own(request, name, direct, *virtual_size_bytes)?;
            DiskImage::Overlay {
                middle: below(request, name, direct).map(|below| files.add(below)),
                overlay: files.add(own),
                base: base.0,
                base_format: base.1,
            }
        }
        ResolvedVolume::CloudInitNoCloud {
            user_data,
            network_data,
        } => {
            let new = Source::CloudInit {
                volume: name.to_owned(),
                user_data: user_data.clone(),
                network_data: network_data.clone(),
                read_only,
                size: image_size(request, name),
            };
            raw(files.add(cloud_init(request, name, read_only, new)?))
        }
        ResolvedVolume::EmptyDisk { capacity_bytes } => {
            let own = own(request, name, direct, *capacity_bytes)?;
            match below(request, name, direct).map(|below| files.add(below)) {
                Some(base) => DiskImage::Overlay {
                    overlay: files.add(own),
                    middle: None,
                    base,
                    base_format: machine::DiskFormat::Qcow2,
                },
                None => DiskImage::File {
                    file: files.add(own),
                    format: machine::DiskFormat::Qcow2,
                },
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
    })
}

/// The disk of its own, to which the guest writes.
fn own(
    request: &StartRequest,
    name: &str,
    direct: bool,
    bytes: u64,
) -> Result<Source, BlueprintError> {
    let Some(saved) = resumed(request) else {
        return Ok(Source::NewDisk {
            volume: name.to_owned(),
            bytes,
        });
    };
    Ok(Source::SavedDisk {
        file: saved_file(saved, &format!("{name}{}", saved_names::DISK_SUFFIX))?,
        take_over: saved.take_over,
        read_only: false,
        direct,
    })
}

/// What the template's guest had written to it, if this is another guest that goes on from there, or did.
fn below(request: &StartRequest, name: &str, direct: bool) -> Option<Source> {
    match &request.warm {
        Some(WarmStart::Restore(template)) => {
            let file = template.disks.get(name)?.clone();
            Some(Source::TemplateDisk { file, direct })
        }
        Some(WarmStart::Resume(saved)) => lower(saved, name, direct),
        Some(WarmStart::Keepable) | None => None,
    }
}

/// How large the cloud-init image of that volume is.
fn image_size(request: &StartRequest, volume: &str) -> ImageSize {
    match &request.warm {
        None | Some(WarmStart::Keepable) => ImageSize::AtLeast(CLOUD_INIT_IMAGE_BYTES),
        Some(WarmStart::Restore(_)) => ImageSize::Exactly(CLOUD_INIT_IMAGE_BYTES),
        Some(WarmStart::Resume(saved)) => {
            let name = format!("{volume}{}", saved_names::CLOUD_INIT_SUFFIX);
            let known = saved.files.get(&name).map(|known| known.bytes);
            ImageSize::Exactly(known.unwrap_or(CLOUD_INIT_IMAGE_BYTES))
        }
    }
}

/// The cloud-init image: that of the saved machine if it goes on itself, since its guest may have it mounted; else the
/// new one.
fn cloud_init(
    request: &StartRequest,
    name: &str,
    read_only: bool,
    new: Source,
) -> Result<Source, BlueprintError> {
    let saved = resumed(request).filter(|saved| saved.renewal == Renewal::Clock);
    let Some(saved) = saved else {
        return Ok(new);
    };
    Ok(Source::SavedDisk {
        file: saved_file(saved, &format!("{name}{}", saved_names::CLOUD_INIT_SUFFIX))?,
        take_over: saved.take_over,
        read_only,
        direct: false,
    })
}

/// What lies below the disk of a saved machine that was started from a template.
fn lower(saved: &Saved, volume: &str, direct: bool) -> Option<Source> {
    let name = format!("{volume}{}", saved_names::LOWER_SUFFIX);
    let file = saved_file(saved, &name).ok()?;
    Some(Source::TemplateDisk { file, direct })
}
