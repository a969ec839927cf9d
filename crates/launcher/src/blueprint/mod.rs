//! What a [`StartRequest`] asks for, as a [`Machine`] and the list of files that QEMU inherits.
//!
//! Pure: nothing is opened here. Every file gets its number in QEMU here, and the machine speaks
//! of files by these numbers only; [`crate::files`] then opens each [`Source`].

mod disks;
pub(crate) mod processor;

use std::net::Ipv4Addr;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use api::accelerator::Accelerator;
use api::launcher::saved::{Saved, files as saved_names};
use api::launcher::warm::{TemplateFile, WarmStart};
use api::launcher::{DiskFormat, ForwardedPort, Protocol, StartRequest};
use api::virtual_machine_instance as devices;
use api::virtual_machine_instance::DomainSpec;
use jiff::Timestamp;
use qemu::architecture::Architecture;
use qemu::machine::{
    self, Clock, Firmware, Incoming, Kernel, MacAddress, Machine, MachineFamily, MachineType,
    Memory, NetworkCard, NetworkModel, SystemInformation, TabletBus,
};
use qemu::profile;
use qemu::qmp::StateFile;
use qemu::version::Version;

/// The first number after the standard streams.
const FIRST_NUMBER: RawFd = 3;
/// A program is handed at most 64 files (see `host`), three of which are its streams.
const MOST_FILES: usize = 60;
/// Forwarded when a guest lists no ports. KubeVirt forwards all 65,535; each costs a listening
/// socket here, so these are the ones that people try first: ssh, web, remote desktop.
const USUAL_PORTS: [u16; 6] = [22, 80, 443, 3389, 8080, 8443];
const MEBIBYTE: u64 = 1 << 20;

/// Why a request cannot become a machine.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub(crate) struct BlueprintError {
    /// The field of the VMI, or of the request.
    pub(crate) field: String,
    /// What is wrong, and the way out.
    pub(crate) problem: String,
}

/// A machine and its files.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Blueprint {
    /// The machine; its descriptors are the numbers of `files`.
    pub(crate) machine: Machine,
    /// What QEMU inherits.
    pub(crate) files: Vec<Piece>,
    /// The guest's networks, in the order of its cards.
    pub(crate) networks: Vec<Network>,
    /// Processor features without which the guest must not start: name and field of the VMI.
    pub(crate) required: Vec<(String, String)>,
    /// What the accelerator changes of what was asked for: sentences for people.
    pub(crate) adjustments: Vec<String>,
}

/// One inherited file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Piece {
    /// Its number in QEMU.
    pub(crate) number: RawFd,
    /// Where it comes from.
    pub(crate) source: Source,
}

/// Where a file comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// A listening socket of the launcher.
    Socket(Socket),
    /// The lock that lives as long as QEMU.
    LifeLock,
    /// A new qcow2 file of this size in the folder of disks.
    NewDisk {
        /// The volume.
        volume: String,
        /// Bytes that the guest sees.
        bytes: u64,
    },
    /// A new cloud-init image in the folder of disks.
    CloudInit {
        /// The volume.
        volume: String,
        /// `user-data`.
        user_data: String,
        /// `network-config`.
        network_data: Option<String>,
        /// The guest only reads it.
        read_only: bool,
        /// How large the image is.
        size: ImageSize,
    },
    /// An image that is only read.
    Base {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: DiskFormat,
        /// Past the page cache.
        direct: bool,
    },
    /// A file of this machine.
    HostDisk {
        /// The file.
        path: PathBuf,
        /// Create it in this size if it is missing.
        create_bytes: Option<u64>,
        /// The guest only reads it.
        read_only: bool,
        /// Past the page cache.
        direct: bool,
    },
    /// The lock that keeps others from writing to the host disk of that number.
    LockOf(RawFd),
    /// A kernel or initial RAM disk.
    Boot(PathBuf),
    /// New memory for the guest, which can be kept.
    Memory {
        /// Its size.
        bytes: u64,
    },
    /// A template's memory.
    TemplateMemory {
        /// Where it is.
        path: PathBuf,
        /// Its inode number.
        inode: u64,
        /// Its size.
        bytes: u64,
    },
    /// The state of a template's devices.
    TemplateState(TemplateFile),
    /// What a template's guest had written to a disk.
    TemplateDisk {
        /// The qcow2 file.
        file: TemplateFile,
        /// Past the page cache.
        direct: bool,
    },
    /// The state of a saved machine, with its memory.
    SavedState(TemplateFile),
    /// A disk of a saved machine, which becomes this one's own.
    SavedDisk {
        /// The saved file; its name is that of the disk, too.
        file: TemplateFile,
        /// The saved file itself becomes the disk, where it can; else a copy of it.
        take_over: bool,
        /// The guest only reads it.
        read_only: bool,
        /// Past the page cache.
        direct: bool,
    },
    /// A file in the folder of disks, as the guest left it when it started again.
    Own {
        /// Its name.
        name: String,
        /// The guest only reads it.
        read_only: bool,
    },
    /// What lies below a disk of a guest that starts again, by its name among what is saved.
    Lower(String),
    /// The code of the architecture's EFI firmware.
    FirmwareCode(Architecture),
    /// A new copy of its variables.
    FirmwareVariables(Architecture),
    /// The network of this index.
    Network(usize),
}

/// How large a cloud-init image is, whatever is in it: guests remember how large their disks are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ImageSize {
    /// So large, or larger if the data need it.
    AtLeast(u64),
    /// So large: the guest knows it already, as another machine.
    Exactly(u64),
}

/// The sockets of the launcher to QEMU.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Socket {
    /// QMP.
    Monitor,
    /// The serial port.
    Serial,
    /// The guest agent's channel.
    Agent,
    /// The channel of the hook that renews a restored guest.
    Renewal,
    /// The firmware's debug console.
    Firmware,
}

/// A guest's network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Network {
    /// Our address.
    pub(crate) address: Ipv4Addr,
    /// What is forwarded from it, each once.
    pub(crate) ports: Vec<ForwardedPort>,
    /// The user named these ports; else those that are taken are left out.
    pub(crate) named: bool,
}

/// What a blueprint depends on beside the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings {
    /// The time at which the guest's clock starts.
    pub(crate) now: Timestamp,
    /// Ports below 1024 can be listened on.
    pub(crate) root: bool,
    /// The host's architecture; `None` for one whose guests we do not know.
    pub(crate) host: Option<Architecture>,
}

/// Makes the blueprint.
///
/// # Errors
/// [`BlueprintError`] for what the object asks and QEMU does not have.
pub(crate) fn blueprint(
    request: &StartRequest,
    surroundings: Surroundings,
) -> Result<Blueprint, BlueprintError> {
    let Surroundings { now, root, host } = surroundings;
    let spec = &request.instance.spec;
    let domain = &spec.domain;
    let mut files = Files::default();
    let monitor = files.add(Source::Socket(Socket::Monitor));
    files.add(Source::LifeLock);
    let on = |field: Option<bool>| field.unwrap_or(true);
    let devices = &domain.devices;
    let serial =
        on(devices.autoattach_serial_console).then(|| files.add(Source::Socket(Socket::Serial)));
    let agent = Some(files.add(Source::Socket(Socket::Agent)));
    let warm = request.warm.as_ref();
    let renewal = has_renewal(warm).then(|| files.add(Source::Socket(Socket::Renewal)));
    let machine_type = machine_type(request, host)?;
    // ARM's firmware tells on the serial port what it does.
    let firmware_console = (machine_type.family() != MachineFamily::Virt)
        .then(|| files.add(Source::Socket(Socket::Firmware)));
    let disks = disks::disks(request, &mut files)?;
    let (network_cards, networks) = networks(request, &mut files, root)?;
    let kernel = kernel(request, &mut files);
    let memory_bytes = memory(domain)?;
    let guest = machine_type.architecture();
    let emulated = request.accelerator == Accelerator::Tcg;
    let version = request.qemu_version.as_deref();
    let version = version.and_then(Version::of_numbers);
    let (memory, incoming) = memory_files(warm, memory_bytes, version, &mut files)?;
    let firmware = firmware(request, &machine_type, &mut files)?;
    let processor::Processors {
        processor,
        required,
        adjustments,
    } = processor::processors(domain, guest, emulated, version)?;
    let machine = Machine {
        name: name(request),
        accelerator: match request.accelerator {
            Accelerator::Kvm => machine::Accelerator::Kvm,
            Accelerator::Tcg => machine::Accelerator::Tcg {
                // What the pod's memory was accounted with.
                translation_cache_mib: api::resources::translation_cache_mib(
                    memory_bytes,
                    processor.count().into(),
                ),
                threads: profile::threads(guest, host, processor.count()),
            },
        },
        interrupt_controller: profile::interrupt_controller(emulated),
        machine_type,
        processor,
        memory_bytes,
        memory,
        firmware,
        kernel,
        disks,
        network_cards,
        serial,
        graphics: on(devices.autoattach_graphics_device),
        tablet: tablet(devices)?,
        random_numbers: devices.rng.is_some(),
        balloon: on(devices.autoattach_mem_balloon),
        agent,
        renewal,
        firmware_console,
        clock: clock(domain, now)?,
        system: system(request)?,
        acpi: domain
            .features
            .as_ref()
            .and_then(|features| features.acpi.as_ref())
            .is_none_or(|acpi| on(acpi.enabled)),
        monitor,
        incoming,
    };
    if files.pieces.len() > MOST_FILES {
        return Err(wrong(
            "spec.domain.devices",
            format!(
                "the machine needs {} files; at most {MOST_FILES} are possible: use fewer disks",
                files.pieces.len()
            ),
        ));
    }
    Ok(Blueprint {
        machine,
        files: files.pieces,
        networks,
        required,
        adjustments,
    })
}

impl Blueprint {
    /// The machine of a guest that went on from a template and starts again: it boots, with the disks that it has.
    pub(crate) fn again(mut self) -> Self {
        if let Memory::Private { file, .. } = self.machine.memory {
            self.machine.memory = Memory::Shared(file);
        }
        self.machine.incoming = None;
        self.files
            .retain(|piece| !matches!(piece.source, Source::TemplateState(_)));
        for piece in &mut self.files {
            piece.source = match std::mem::replace(&mut piece.source, Source::LifeLock) {
                Source::TemplateMemory { bytes, .. } => Source::Memory { bytes },
                Source::NewDisk { volume, .. } => Source::Own {
                    name: format!("{volume}{}", saved_names::DISK_SUFFIX),
                    read_only: false,
                },
                Source::CloudInit {
                    volume, read_only, ..
                } => Source::Own {
                    name: format!("{volume}{}", saved_names::CLOUD_INIT_SUFFIX),
                    read_only,
                },
                Source::FirmwareVariables(_) => Source::Own {
                    name: saved_names::EFI_VARIABLES.to_owned(),
                    read_only: false,
                },
                Source::TemplateDisk { file, .. } => Source::Lower(lower_name(&file.path)),
                other => other,
            };
        }
        self
    }

    /// Whether a guest that was started so can be the machine of `other`: all is alike but who it is.
    ///
    /// # Errors
    /// What is not.
    pub(crate) fn suits(&self, other: &Self) -> Result<(), String> {
        let mut machine = self.machine.clone();
        machine.name.clone_from(&other.machine.name);
        machine.system.clone_from(&other.machine.system);
        let cards = machine.network_cards.iter_mut();
        for (card, theirs) in cards.zip(&other.machine.network_cards) {
            card.mac = theirs.mac;
        }
        if machine != other.machine {
            return Err("its devices are others".to_owned());
        }
        let nobodys = |it: &Self| -> Vec<Piece> {
            let mut pieces = it.files.clone();
            for piece in &mut pieces {
                if let Source::CloudInit {
                    user_data,
                    network_data,
                    ..
                } = &mut piece.source
                {
                    user_data.clear();
                    *network_data = None;
                }
            }
            pieces
        };
        if nobodys(self) != nobodys(other) {
            return Err("its files are others".to_owned());
        }
        Ok(())
    }
}

/// The name among what is saved of what lies below a disk.
pub(crate) fn lower_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let volume = name.strip_suffix(saved_names::LOWER_SUFFIX);
    let volume = volume.or_else(|| name.strip_suffix(saved_names::DISK_SUFFIX));
    format!("{}{}", volume.unwrap_or(&name), saved_names::LOWER_SUFFIX)
}

/// Where the guest's memory is, and the state in which it begins, if it is a kept one's.
fn memory_files(
    warm: Option<&WarmStart>,
    bytes: u64,
    version: Option<Version>,
    files: &mut Files,
) -> Result<(Memory, Option<Incoming>), BlueprintError> {
    let incoming = |source, files: &mut Files| Incoming {
        state: files.add(source),
        in_set: version.is_some_and(|version| version >= StateFile::SETS_SINCE),
    };
    Ok(match warm {
        None => (Memory::Own, None),
        Some(WarmStart::Keepable) => (Memory::Shared(files.add(Source::Memory { bytes })), None),
        Some(WarmStart::Resume(saved)) => {
            // By another name QEMU would not know it in the state.
            let memory = if saved.record.template_shape {
                Memory::Shared(files.add(Source::Memory { bytes }))
            } else {
                Memory::Own
            };
            let state = Source::SavedState(saved_file(saved, saved_names::STATE)?);
            (memory, Some(incoming(state, files)))
        }
        Some(WarmStart::Restore(template)) => {
            let memory = Source::TemplateMemory {
                path: template.memory.clone(),
                inode: template.memory_inode,
                bytes,
            };
            let memory = Memory::Private {
                file: files.add(memory),
                read_only: version.is_some_and(|version| version >= Memory::READ_ONLY_SINCE),
            };
            let state = Source::TemplateState(template.state.clone());
            (memory, Some(incoming(state, files)))
        }
    })
}

/// Whether the guest has the port of the hook that renews it: all have, but for those that were saved without it.
fn has_renewal(warm: Option<&WarmStart>) -> bool {
    match warm {
        None | Some(WarmStart::Keepable | WarmStart::Restore(_)) => true,
        Some(WarmStart::Resume(saved)) => saved.record.has_hook_port(),
    }
}

/// The file of that name of a saved machine.
fn saved_file(saved: &Saved, name: &str) -> Result<TemplateFile, BlueprintError> {
    let identity = saved.files.get(name).copied();
    let identity = identity.ok_or_else(|| {
        wrong(
            "the saved machine",
            format!("has no file `{name}`: it is of another machine than this one"),
        )
    })?;
    Ok(TemplateFile {
        path: saved.directory.join(name),
        identity,
    })
}

/// The saved machine from which this one goes on.
fn resumed(request: &StartRequest) -> Option<&Saved> {
    match &request.warm {
        Some(WarmStart::Resume(saved)) => Some(saved),
        Some(WarmStart::Keepable | WarmStart::Restore(_)) | None => None,
    }
}

/// QEMU's name of the guest, as libvirt would have it under KubeVirt.
fn name(request: &StartRequest) -> String {
    let metadata = &request.instance.metadata;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    format!("{}_{}", text(&metadata.namespace), text(&metadata.name))
}

fn wrong(field: impl Into<String>, problem: impl Into<String>) -> BlueprintError {
    BlueprintError {
        field: field.into(),
        problem: problem.into(),
    }
}

#[derive(Default)]
struct Files {
    pieces: Vec<Piece>,
}

impl Files {
    fn add(&mut self, source: Source) -> RawFd {
        // Never near the end of the type: MOST_FILES is checked before anything is opened.
        let number = RawFd::try_from(self.pieces.len())
            .map_or(RawFd::MAX, |index| FIRST_NUMBER.saturating_add(index));
        self.pieces.push(Piece { number, source });
        number
    }
}

/// The machine type, which must be one of the guest's architecture. A guest whose architecture is
/// not told has the host's.
fn machine_type(
    request: &StartRequest,
    host: Option<Architecture>,
) -> Result<MachineType, BlueprintError> {
    let spec = &request.instance.spec;
    let named = spec.architecture.as_deref().filter(|name| !name.is_empty());
    let guest = match named {
        Some(name) => Architecture::of_go(name),
        None => host,
    };
    let guest = guest.ok_or_else(|| {
        let name = named.unwrap_or("of this machine");
        wrong(
            "spec.architecture",
            format!("the architecture {name} is not served: use amd64 or arm64"),
        )
    })?;
    if request.accelerator == Accelerator::Kvm && host != Some(guest) {
        return Err(wrong(
            "spec.architecture",
            format!(
                "a guest of {guest} cannot run by KVM on this machine: permit software emulation"
            ),
        ));
    }
    let domain = &spec.domain;
    let name = domain
        .machine
        .as_ref()
        .and_then(|machine| machine.type_.as_deref());
    let name = name.filter(|name| !name.is_empty()).unwrap_or(match guest {
        Architecture::Amd64 => "q35",
        Architecture::Arm64 => "virt",
    });
    let found = MachineType::parse(name)
        .map_err(|error| wrong("spec.domain.machine.type", error.to_string()))?;
    if found.architecture() != guest {
        return Err(wrong(
            "spec.domain.machine.type",
            format!(
                "`{name}` is a machine of {}, not of {guest}",
                found.architecture()
            ),
        ));
    }
    Ok(found)
}

/// A PC starts by SeaBIOS, ARM's machine by EFI, or at once with the kernel that is given.
fn firmware(
    request: &StartRequest,
    machine_type: &MachineType,
    files: &mut Files,
) -> Result<Firmware, BlueprintError> {
    if machine_type.family() != MachineFamily::Virt {
        return Ok(Firmware::Bios);
    }
    let firmware = request.instance.spec.domain.firmware.as_ref();
    let efi = firmware
        .and_then(|firmware| firmware.bootloader.as_ref())
        .is_some_and(|bootloader| bootloader.efi.is_some());
    if request.kernel.is_some() && !efi {
        return Ok(Firmware::None);
    }
    let architecture = machine_type.architecture();
    let variables = match resumed(request) {
        None => Source::FirmwareVariables(architecture),
        Some(saved) => Source::SavedDisk {
            file: saved_file(saved, saved_names::EFI_VARIABLES)?,
            take_over: saved.take_over,
            read_only: false,
            direct: false,
        },
    };
    Ok(Firmware::Efi {
        code: files.add(Source::FirmwareCode(architecture)),
        variables: files.add(variables),
    })
}

fn memory(domain: &DomainSpec) -> Result<u64, BlueprintError> {
    let guest = domain
        .memory
        .as_ref()
        .and_then(|memory| memory.guest.as_ref());
    let asked = domain.resources.as_ref().and_then(|resources| {
        resources
            .requests
            .get("memory")
            .or_else(|| resources.limits.get("memory"))
    });
    let field = if guest.is_some() {
        "spec.domain.memory.guest"
    } else {
        "spec.domain.resources.requests.memory"
    };
    let quantity = guest.or(asked).ok_or_else(|| {
        wrong(
            "spec.domain.memory.guest",
            "is missing: say how much memory the guest has, e.g. 1Gi",
        )
    })?;
    match quantity.to_units() {
        Some(bytes) if bytes >= MEBIBYTE => Ok(bytes.next_multiple_of(MEBIBYTE)),
        _ => Err(wrong(
            field,
            format!("`{}` is no amount of memory of at least 1Mi", quantity.0),
        )),
    }
}

fn tablet(devices: &devices::Devices) -> Result<Option<TabletBus>, BlueprintError> {
    let Some(input) = devices.inputs.first() else {
        let wanted = devices.autoattach_input_device == Some(true);
        return Ok(wanted.then_some(TabletBus::Usb));
    };
    if devices.inputs.len() > 1 {
        return Err(wrong(
            "spec.domain.devices.inputs",
            "one input device is served; remove the others",
        ));
    }
    match (input.type_.as_deref(), input.bus.as_deref()) {
        (None | Some("tablet"), None | Some("" | "usb")) => Ok(Some(TabletBus::Usb)),
        (None | Some("tablet"), Some("virtio")) => Ok(Some(TabletBus::Virtio)),
        _ => Err(wrong(
            "spec.domain.devices.inputs[0]",
            "only type tablet on bus usb or virtio is served",
        )),
    }
}

fn clock(domain: &DomainSpec, now: Timestamp) -> Result<Clock, BlueprintError> {
    let Some(clock) = &domain.clock else {
        return Ok(Clock::Utc);
    };
    if let Some(name) = &clock.timezone {
        let zone = jiff::tz::TimeZone::get(name).map_err(|error| {
            wrong(
                "spec.domain.clock.timezone",
                format!("`{name}` is not a time zone of this machine: {error}"),
            )
        })?;
        let offset = zone.to_offset(now).seconds();
        return Ok(Clock::At(now.as_second().saturating_add(offset.into())));
    }
    match clock.utc.as_ref().and_then(|utc| utc.offset_seconds) {
        None | Some(0) => Ok(Clock::Utc),
        Some(offset) => Ok(Clock::At(now.as_second().saturating_add(offset))),
    }
}

fn system(request: &StartRequest) -> Result<SystemInformation, BlueprintError> {
    let firmware = request.instance.spec.domain.firmware.as_ref();
    let uuid = request.firmware_uuid.parse().map_err(|_| {
        wrong(
            "spec.domain.firmware.uuid",
            format!("`{}` is no UUID", request.firmware_uuid),
        )
    })?;
    Ok(SystemInformation {
        manufacturer: "KubeVirt".to_owned(),
        product: "None".to_owned(),
        family: "KubeVirt".to_owned(),
        uuid,
        serial: firmware.and_then(|firmware| firmware.serial.clone()),
    })
}

fn kernel(request: &StartRequest, files: &mut Files) -> Option<Kernel> {
    let resolved = request.kernel.as_ref()?;
    let boot = request
        .instance
        .spec
        .domain
        .firmware
        .as_ref()
        .and_then(|firmware| firmware.kernel_boot.as_ref());
    // By number: QEMU's user need not be able to walk to where the file is.
    let mut open = |path: &PathBuf| {
        PathBuf::from(format!(
            "/proc/self/fd/{}",
            files.add(Source::Boot(path.clone()))
        ))
    };
    Some(Kernel {
        image: open(&resolved.kernel),
        initrd: resolved.initrd.as_ref().map(&mut open),
        arguments: boot
            .and_then(|boot| boot.kernel_args.clone())
            .unwrap_or_default(),
    })
}

fn networks(
    request: &StartRequest,
    files: &mut Files,
    root: bool,
) -> Result<(Vec<NetworkCard>, Vec<Network>), BlueprintError> {
    let mut cards = Vec::new();
    let mut networks = Vec::new();
    for (index, interface) in request.interfaces.iter().enumerate() {
        let field = |name: &str| format!("spec.domain.devices.interfaces[{index}].{name}");
        let model = NetworkModel::parse(&interface.model).ok_or_else(|| {
            wrong(
                field("model"),
                format!(
                    "`{}` is none of virtio, e1000, e1000e, rtl8139",
                    interface.model
                ),
            )
        })?;
        let mac = MacAddress::parse(&interface.mac)
            .map_err(|error| wrong(field("macAddress"), error.to_string()))?;
        let std::net::IpAddr::V4(address) = interface.address else {
            return Err(wrong(
                field("address"),
                format!("{} is not IPv4, the only one served", interface.address),
            ));
        };
        let mut ports = interface.ports.clone();
        // A guest that is to be kept is nobody's, and nobody reaches it.
        let keepable = request.warm == Some(WarmStart::Keepable);
        let named = !ports.is_empty() || keepable;
        if !named {
            let open = USUAL_PORTS.into_iter().filter(|port| root || *port >= 1024);
            ports = open
                .map(|port| ForwardedPort {
                    protocol: Protocol::Tcp,
                    port,
                })
                .collect();
        }
        ports.sort_unstable();
        ports.dedup();
        cards.push(NetworkCard {
            model,
            mac,
            mtu: Some(host::network::MTU),
            stream: files.add(Source::Network(index)),
            boot_order: None,
        });
        networks.push(Network {
            address,
            ports,
            named,
        });
    }
    Ok((cards, networks))
}

#[cfg(test)]
mod tests;
