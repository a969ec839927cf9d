//! A virtual machine as QEMU will be told of it: complete, with no choice left open.
//!
//! Whoever builds a [`Machine`] has already decided everything; [`crate::command_line`] only
//! writes it down. Files and sockets stand here as the descriptor numbers at which the started
//! QEMU will find them, so that no path of a disk or socket, and no secret, is ever an argument.

use std::path::PathBuf;

use crate::architecture::Architecture;
use crate::version::Version;

/// A file descriptor number in the QEMU process.
pub type Descriptor = i32;

/// Everything QEMU is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// The guest's name as QEMU and its process title show it. Any text.
    pub name: String,
    /// What executes the guest's instructions.
    pub accelerator: Accelerator,
    /// QEMU's machine type, e.g. `q35` or `pc-q35-7.2`.
    pub machine_type: MachineType,
    /// The interrupt controller, where the machine type leaves a choice.
    pub interrupt_controller: InterruptController,
    /// The processors.
    pub processor: Processor,
    /// The guest's memory in bytes.
    pub memory_bytes: u64,
    /// Where that memory is.
    pub memory: Memory,
    /// What runs before the guest's own code.
    pub firmware: Firmware,
    /// A kernel that the firmware starts directly.
    pub kernel: Option<Kernel>,
    /// Disks and CD drives, in the order in which the guest sees those of one bus.
    pub disks: Vec<Disk>,
    /// Network cards.
    pub network_cards: Vec<NetworkCard>,
    /// A serial port (COM1; `ttyAMA0` on ARM) on a listening unix socket. QEMU waits at its start until somebody
    /// has connected to it, so that the guest's first byte is not lost.
    pub serial: Option<Descriptor>,
    /// A graphics card. It is seen by VNC clients handed over by QMP `add_client`.
    pub graphics: bool,
    /// A pointing device with absolute coordinates.
    pub tablet: Option<TabletBus>,
    /// A source of random numbers for the guest.
    pub random_numbers: bool,
    /// A memory balloon that also reports free pages to the host.
    pub balloon: bool,
    /// The guest agent's channel (`org.qemu.guest_agent.0`) on a listening unix socket.
    pub agent: Option<Descriptor>,
    /// The channel of the hook that makes a restored guest somebody else (`io.anyvirt.renew.0`), on a listening unix
    /// socket. Needs the agent's, beside which it is.
    pub renewal: Option<Descriptor>,
    /// The firmware's debug console on a listening unix socket: SeaBIOS writes some kilobytes there, 3 ms under emulation.
    pub firmware_console: Option<Descriptor>,
    /// The guest's real-time clock at its start.
    pub clock: Clock,
    /// What the firmware tells the guest about itself.
    pub system: SystemInformation,
    /// Whether the guest has ACPI tables; without them it cannot be asked to shut down.
    pub acpi: bool,
    /// The QMP monitor's listening unix socket.
    pub monitor: Descriptor,
    /// The state of the devices of a guest that was kept. The guest waits for
    /// [`crate::qmp::Command::MigrateIncoming`] then, instead of its firmware.
    pub incoming: Option<Incoming>,
}

/// The state of a kept guest's devices.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Incoming {
    /// The file, open for reading.
    pub state: Descriptor,
    /// It is in a set of the same number, as [`crate::qmp::StateFile::Set`] wants it.
    pub in_set: bool,
}

/// Where a guest's memory is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Memory {
    /// In QEMU alone.
    Own,
    /// In this file of that size, of which others may read it while the guest is stopped. Open for writing.
    Shared(Descriptor),
    /// It begins as what is in this file of that size, and what the guest changes is in QEMU alone. The pages that
    /// nobody changes are there once for all.
    Private {
        /// The file. Without `read_only` it must be possible to open it for writing, which is never done.
        file: Descriptor,
        /// QEMU opens it only for reading, which it can from [`Memory::READ_ONLY_SINCE`] on: before that, the guest's
        /// memory would be read-only as well.
        read_only: bool,
    },
}

impl Memory {
    /// `rom=off` came with QEMU 8.2, and since 9.1 reported free pages leave a read-only file alone.
    pub const READ_ONLY_SINCE: Version = Version {
        major: 9,
        minor: 1,
        micro: 0,
    };
}

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accelerator {
    /// The processor itself, by Linux' KVM.
    Kvm,
    /// QEMU's translator.
    Tcg {
        /// The most memory that translated code may take, in MiB.
        translation_cache_mib: u32,
        /// How it uses the host's processors.
        threads: Threads,
    },
}

/// How TCG uses the host's processors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Threads {
    /// One thread runs all of the guest's processors in turn.
    Single,
    /// Each of the guest's processors has a thread.
    Multiple,
}

/// A machine type that is one of the families we build for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MachineType {
    name: String,
    family: MachineFamily,
}

/// Families of machine types, which differ in their buses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MachineFamily {
    /// PCI Express, with a root port for each device; AHCI for SATA disks.
    Q35,
    /// One conventional PCI bus.
    Pc,
    /// ARM's: PCI Express with a root port for each device, no SATA.
    Virt,
}

/// The interrupt controller of [`MachineFamily::Virt`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InterruptController {
    /// GIC version 3.
    Version3,
    /// The host's.
    Host,
}

/// A machine type that is not served.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "machine type `{0}` is not served: use `q35`, `pc` or (arm64) `virt`, or a versioned one like `pc-q35-7.2`, `pc-i440fx-7.2` or `virt-7.2`"
)]
pub struct UnknownMachineType(pub String);

impl MachineType {
    /// The machine type of that name.
    ///
    /// # Errors
    /// If its family is not one of [`MachineFamily`].
    pub fn parse(name: &str) -> Result<Self, UnknownMachineType> {
        let version = |rest: &str| {
            !rest.is_empty()
                && rest
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
        };
        let family = match name {
            "q35" => Some(MachineFamily::Q35),
            "pc" => Some(MachineFamily::Pc),
            _ if name.strip_prefix("pc-q35-").is_some_and(version) => Some(MachineFamily::Q35),
            _ if name.strip_prefix("pc-i440fx-").is_some_and(version) => Some(MachineFamily::Pc),
            "virt" => Some(MachineFamily::Virt),
            _ if name.strip_prefix("virt-").is_some_and(version) => Some(MachineFamily::Virt),
            _ => None,
        };
        match family {
            Some(family) => Ok(Self {
                name: name.to_owned(),
                family,
            }),
            None => Err(UnknownMachineType(name.to_owned())),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its family.
    #[must_use]
    pub fn family(&self) -> MachineFamily {
        self.family
    }

    /// The architecture of its processors.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        match self.family {
            MachineFamily::Q35 | MachineFamily::Pc => Architecture::Amd64,
            MachineFamily::Virt => Architecture::Arm64,
        }
    }
}

/// The processors.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Processor {
    /// What they look like to the guest.
    pub model: ProcessorModel,
    /// Features added to or taken from the model, in this order.
    pub features: Vec<ProcessorFeature>,
    /// Sockets.
    pub sockets: u32,
    /// Cores in each socket.
    pub cores: u32,
    /// Threads in each core.
    pub threads: u32,
}

impl Processor {
    /// How many processors the guest sees.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.sockets
            .saturating_mul(self.cores)
            .saturating_mul(self.threads)
    }
}

/// What the processors look like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ProcessorModel {
    /// The host's own; only under KVM.
    Host,
    /// All that the accelerator has.
    Maximum,
    /// One of QEMU's named models, e.g. `Nehalem`.
    Named(Word),
}

/// A processor feature that is switched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProcessorFeature {
    /// QEMU's name of it.
    pub name: Word,
    /// On or off.
    pub on: bool,
}

/// A name that can stand as a key in QEMU's options: letters, digits, `.`, `_`, `+` and `-`,
/// beginning with a letter or digit, at most 64 bytes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Word(String);

/// A text that is no [`Word`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no name of QEMU's: letters, digits, `.`, `_`, `+` and `-`, at most 64")]
pub struct NoWord(pub String);

impl Word {
    /// Checks `text`.
    ///
    /// # Errors
    /// If it has other characters, is empty or too long.
    pub fn parse(text: &str) -> Result<Self, NoWord> {
        let first = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte));
        if first && rest && text.len() <= 64 {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoWord(text.chars().take(80).collect()))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What runs before the guest's own code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Firmware {
    /// Nothing: QEMU itself starts the kernel. Only with a kernel, on [`MachineFamily::Virt`].
    None,
    /// SeaBIOS, which QEMU brings. Not on [`MachineFamily::Virt`].
    Bios,
    /// OVMF or AAVMF: its code, read only, and the guest's variables, which it writes.
    Efi {
        /// The code image (raw).
        code: Descriptor,
        /// The variables (raw).
        variables: Descriptor,
    },
}

/// A kernel that the firmware starts directly.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kernel {
    /// The kernel; a path that QEMU can open, usually `/proc/self/fd/N`.
    pub image: PathBuf,
    /// The initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// The kernel's arguments. Any text.
    pub arguments: String,
}

/// A disk or CD drive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Disk {
    /// Where its bytes are.
    pub image: DiskImage,
    /// How the guest is connected to it.
    pub bus: DiskBus,
    /// A CD drive, not a hard disk. Always read only.
    pub cdrom: bool,
    /// The guest cannot write.
    pub read_only: bool,
    /// Place in the boot order, from 1; each place once.
    pub boot_order: Option<u32>,
    /// The serial number the guest sees. Any text, but QEMU shows at most 20 bytes on virtio.
    pub serial: Option<String>,
    /// The host's cache.
    pub cache: DiskCache,
    /// How QEMU does input and output.
    pub io: DiskIo,
    /// Other guests may write to it at the same time.
    pub shared: bool,
}

/// Where the bytes of a disk are. Formats are always told, never guessed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiskImage {
    /// A file.
    File {
        /// Its descriptor, opened for writing unless the disk is read only.
        file: Descriptor,
        /// Its format. Its header must not refer to other files.
        format: DiskFormat,
    },
    /// A qcow2 file that holds what the guest changes, over a file that is only read.
    Overlay {
        /// The qcow2 file, opened for writing; its header names no backing file.
        overlay: Descriptor,
        /// A qcow2 file between the two, opened for reading; its header names no backing file either.
        middle: Option<Descriptor>,
        /// The file below, opened for reading.
        base: Descriptor,
        /// The format of the file below. Its header must not refer to other files.
        base_format: DiskFormat,
    },
}

/// Formats of disk images.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiskFormat {
    /// The bytes as they are.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
}

/// How a guest is connected to a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiskBus {
    /// virtio-blk.
    Virtio,
    /// AHCI on q35, IDE on pc; not on virt.
    Sata,
    /// virtio-scsi.
    Scsi,
    /// A USB stick.
    Usb,
}

/// How the host caches a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiskCache {
    /// Past the host's page cache; needs a file system with O_DIRECT.
    None,
    /// Through the page cache, each write durable before it is acknowledged.
    Writethrough,
    /// Through the page cache, durable when the guest flushes.
    Writeback,
}

/// How QEMU does a disk's input and output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiskIo {
    /// A pool of threads.
    Threads,
    /// Linux' asynchronous I/O; only with [`DiskCache::None`].
    Native,
}

/// A network card on a stream of Ethernet frames.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NetworkCard {
    /// The card.
    pub model: NetworkModel,
    /// Its address.
    pub mac: MacAddress,
    /// The largest packet that passes; the guest is told of it where the model can. None: what
    /// Ethernet has, 1,500 bytes.
    pub mtu: Option<u16>,
    /// A connected stream socket: frames, each after its length in four bytes, big endian.
    pub stream: Descriptor,
    /// Place in the boot order, shared with the disks.
    pub boot_order: Option<u32>,
}

/// Models of network cards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NetworkModel {
    /// virtio-net.
    Virtio,
    /// Intel 82540EM.
    E1000,
    /// Intel 82574L.
    E1000e,
    /// Realtek 8139.
    Rtl8139,
}

impl NetworkModel {
    /// The model of KubeVirt's name; the empty name is virtio.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "" | "virtio" => Self::Virtio,
            "e1000" => Self::E1000,
            "e1000e" => Self::E1000e,
            "rtl8139" => Self::Rtl8139,
            _ => return None,
        })
    }
}

/// An Ethernet address of a single card.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct MacAddress([u8; 6]);

/// A text that is no [`MacAddress`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no MAC address of one card, like `02:00:00:00:00:01`")]
pub struct NoMacAddress(pub String);

impl MacAddress {
    /// Reads six hexadecimal bytes with `:` or `-` between them. Group addresses are refused.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn parse(text: &str) -> Result<Self, NoMacAddress> {
        let wrong = || NoMacAddress(text.chars().take(40).collect());
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            let digits = part.filter(|part| part.bytes().all(|digit| digit.is_ascii_hexdigit()));
            *byte = digits
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                .ok_or_else(wrong)?;
        }
        if parts.next().is_some() || bytes[0] & 1 == 1 {
            return Err(wrong());
        }
        Ok(Self(bytes))
    }
}

impl std::fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// How the tablet is connected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TabletBus {
    /// USB.
    Usb,
    /// virtio.
    Virtio,
}

/// The guest's real-time clock at its start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Clock {
    /// It shows UTC.
    Utc,
    /// It shows this time, in seconds since 1970, and runs on from there.
    At(i64),
}

/// SMBIOS: what the firmware tells the guest about itself. Any text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SystemInformation {
    /// Who made it.
    pub manufacturer: String,
    /// What it is.
    pub product: String,
    /// Its family.
    pub family: String,
    /// Its UUID.
    pub uuid: uuid::Uuid,
    /// Its serial number.
    pub serial: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_types_of_other_families_are_refused_with_the_way_out() {
        for (name, family) in [
            ("q35", MachineFamily::Q35),
            ("pc-q35-7.2", MachineFamily::Q35),
            ("pc-q35-rhel9.2.0", MachineFamily::Q35),
            ("pc", MachineFamily::Pc),
            ("pc-i440fx-5.1", MachineFamily::Pc),
            ("virt", MachineFamily::Virt),
            ("virt-7.2", MachineFamily::Virt),
        ] {
            let parsed = MachineType::parse(name).expect("served");
            assert_eq!(parsed.family(), family, "{name}");
            assert_eq!(parsed.name(), name);
        }
        for name in [
            "",
            "microvm",
            "virt-",
            "virtual",
            "pc-q35-",
            "q35,accel=kvm",
            "pc-q35-7.2,x=y",
            "isapc",
        ] {
            let error = MachineType::parse(name).expect_err("refused");
            assert!(error.to_string().contains("q35"), "{error}");
        }
    }

    #[test]
    fn words_and_addresses_cannot_carry_a_second_option() {
        for text in ["", "a,b", "a=b", "-x", "a b", "a\n", "ä", &"a".repeat(65)] {
            Word::parse(text).expect_err("refused");
        }
        assert_eq!(
            Word::parse("EPYC-v4.1_x").expect("a word").as_str(),
            "EPYC-v4.1_x"
        );
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "01:00:00:00:00:00",
            "+2:00:00:00:00:01",
        ] {
            MacAddress::parse(text).expect_err("refused");
        }
        let address = MacAddress::parse("02-Ab-00-00-00-01").expect("an address");
        assert_eq!(address.to_string(), "02:ab:00:00:00:01");
    }
}
