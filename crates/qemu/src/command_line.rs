//! A [`Machine`] as QEMU's arguments. Pure: the same machine gives the same arguments.
//!
//! Texts of users stand only as values: inside JSON where QEMU takes it, else after
//! [`Options::text`], which doubles commas as QEMU's option parser wants it. Keys are always ours.
//! The arguments hold no secret, no path of a disk, and are the same for QEMU 7.2 and 10, but for two of a guest that is
//! restored ([`crate::machine::Memory::READ_ONLY_SINCE`], [`crate::qmp::StateFile::SETS_SINCE`]).

mod disks;

use std::ffi::OsString;
use std::path::Path;

use serde_json::{Value, json};

use crate::machine::{
    Accelerator, Clock, Descriptor, DiskBus, DiskCache, DiskFormat, DiskIo, Firmware, Incoming,
    InterruptController, Kernel, Machine, MachineFamily, Memory, NetworkCard, NetworkModel,
    Processor, ProcessorModel, SystemInformation, TabletBus, Threads,
};

/// Why a [`Machine`] cannot be built.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CommandLineError {
    /// Arguments of programs end at a zero byte.
    #[error("{field} has a zero byte, which no argument of a program can carry")]
    ZeroByte {
        /// The field of [`Machine`].
        field: &'static str,
    },
    /// A bus is full.
    #[error("too many devices on {bus}: at most {most} fit; move some to another bus")]
    BusFull {
        /// The bus.
        bus: &'static str,
        /// How many devices fit.
        most: usize,
    },
    /// There is no such device.
    #[error("{what} is not possible: {instead}")]
    Impossible {
        /// What was wanted.
        what: &'static str,
        /// What is possible.
        instead: &'static str,
    },
    /// Two devices want one place in the boot order.
    #[error("boot order {0} is given to two devices")]
    BootOrderTwice(u32),
    /// A path that is not absolute.
    #[error("the path of {field} is not absolute: {path}")]
    RelativePath {
        /// The field of [`Machine`].
        field: &'static str,
        /// The path.
        path: String,
    },
}

/// QEMU's arguments for `machine`, without the program's name.
///
/// # Errors
/// [`CommandLineError`] if QEMU has no such machine.
pub fn command_line(machine: &Machine) -> Result<Vec<OsString>, CommandLineError> {
    check_boot_order(machine)?;
    check_family(machine)?;
    check_restore(machine)?;
    let mut line = Line::default();
    line.constants();
    line.platform(machine)?;
    line.monitor(machine.monitor);
    let mut slots = Slots::new(machine.machine_type.family());
    line.graphics(machine);
    for (index, card) in machine.network_cards.iter().enumerate() {
        line.network_card(index, card, &mut slots)?;
    }
    line.controllers(machine, &mut slots)?;
    line.disks(machine, &mut slots)?;
    line.small_devices(machine, &mut slots)?;
    line.incoming(machine.incoming);
    Ok(line.arguments)
}

/// What guests that are kept or restored need.
fn check_restore(machine: &Machine) -> Result<(), CommandLineError> {
    let impossible = |what, instead| Err(CommandLineError::Impossible { what, instead });
    if machine.renewal.is_some() && machine.agent.is_none() {
        return impossible(
            "a channel of the renewal without the guest agent's",
            "have both",
        );
    }
    Ok(())
}

fn check_boot_order(machine: &Machine) -> Result<(), CommandLineError> {
    let disks = machine.disks.iter().filter_map(|disk| disk.boot_order);
    let cards = machine
        .network_cards
        .iter()
        .filter_map(|card| card.boot_order);
    let mut seen = std::collections::BTreeSet::new();
    for order in disks.chain(cards) {
        if !seen.insert(order) {
            return Err(CommandLineError::BootOrderTwice(order));
        }
    }
    Ok(())
}

/// What a family of machine types does not have.
fn check_family(machine: &Machine) -> Result<(), CommandLineError> {
    let impossible = |what, instead| Err(CommandLineError::Impossible { what, instead });
    let arm = machine.machine_type.family() == MachineFamily::Virt;
    let emulated = matches!(machine.accelerator, Accelerator::Tcg { .. });
    match machine.firmware {
        Firmware::Bios if arm => return impossible("BIOS on machine type virt", "use EFI"),
        Firmware::None if !arm => {
            return impossible("a machine without firmware on x86", "use BIOS or EFI");
        }
        Firmware::None if machine.kernel.is_none() => {
            return impossible("a machine without firmware and without a kernel", "use EFI");
        }
        Firmware::None | Firmware::Bios | Firmware::Efi { .. } => {}
    }
    if arm && machine.disks.iter().any(|disk| disk.bus == DiskBus::Sata) {
        return impossible(
            "a disk on sata with machine type virt",
            "use bus virtio, scsi or usb",
        );
    }
    if arm && machine.firmware_console.is_some() {
        return impossible(
            "a debug console with machine type virt",
            "read the serial port",
        );
    }
    if emulated && machine.processor.model == ProcessorModel::Host {
        return impossible("the host's processor under emulation", "use another model");
    }
    Ok(())
}

/// The name of the guest's memory where it is a file; the state of a kept guest knows it by that.
const MEMORY: &str = "memory0";

/// One value in QEMU's `key=value,key=value` syntax.
struct Options {
    text: String,
    field: &'static str,
}

impl Options {
    /// Starts with a word of ours, for errors in `field`.
    fn new(first: &str, field: &'static str) -> Self {
        Self {
            text: first.to_owned(),
            field,
        }
    }

    /// Adds a value of ours: no commas.
    fn plain(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        let value = value.to_string();
        debug_assert!(!value.contains(','), "{key} is not a value of ours");
        if !self.text.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(&format!("{key}={value}"));
        self
    }

    /// Adds any text.
    fn text(mut self, key: &str, value: &str) -> Result<Self, CommandLineError> {
        no_zero_byte(value, self.field)?;
        if !self.text.is_empty() {
            self.text.push(',');
        }
        self.text
            .push_str(&format!("{key}={}", value.replace(',', ",,")));
        Ok(self)
    }
}

fn no_zero_byte(text: &str, field: &'static str) -> Result<(), CommandLineError> {
    if text.contains('\0') {
        return Err(CommandLineError::ZeroByte { field });
    }
    Ok(())
}

/// Where devices on PCI go. Network cards come first, so that a guest's first one has the name it
/// has under KubeVirt: `enp1s0` on q35.
struct Slots {
    family: MachineFamily,
    used: usize,
}

/// Slots 2 to 9 of q35 carry eight root ports each; far more than any guest of ours has.
const Q35_DEVICES: usize = 64;
/// Slots 3 to 31 of the conventional bus.
const PC_DEVICES: usize = 29;

impl Slots {
    fn new(family: MachineFamily) -> Self {
        Self { family, used: 0 }
    }
}

#[derive(Default)]
struct Line {
    arguments: Vec<OsString>,
}

impl Line {
    fn flag(&mut self, name: &str) {
        self.arguments.push(name.into());
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.arguments.push(name.into());
        self.arguments.push(value.into());
    }

    fn options(&mut self, name: &str, options: Options) {
        self.option(name, options.text);
    }

    fn json(&mut self, name: &str, value: &Value) {
        self.option(name, value.to_string());
    }

    /// What is the same for all machines: nothing that was not asked for, nothing of the user's
    /// configuration, stopped until told to run, and no way to start other programs.
    fn constants(&mut self) {
        self.flag("-nodefaults");
        self.flag("-no-user-config");
        self.option("-display", "none");
        self.flag("-S");
        self.option(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        );
    }

    fn platform(&mut self, machine: &Machine) -> Result<(), CommandLineError> {
        let name = Options::new("", "name")
            .text("guest", &machine.name)?
            .plain("debug-threads", "on");
        self.options("-name", name);

        let mut platform =
            Options::new("", "machine_type").plain("type", machine.machine_type.name());
        platform = match machine.machine_type.family() {
            // hpet=off: its timer alone costs an idle guest 1 % of a core under TCG. Under KVM as
            // well, so that a guest that is started again finds the same machine.
            MachineFamily::Q35 | MachineFamily::Pc => {
                platform.plain("hpet", "off").plain("vmport", "off")
            }
            MachineFamily::Virt => platform.plain(
                "gic-version",
                match machine.interrupt_controller {
                    InterruptController::Version3 => "3",
                    InterruptController::Host => "host",
                },
            ),
        };
        platform = platform.plain("dump-guest-core", "off");
        if self.memory(machine) {
            platform = platform.plain("memory-backend", MEMORY);
        }
        if !machine.acpi {
            platform = platform.plain("acpi", "off");
        }
        if let Firmware::Efi { code, variables } = machine.firmware {
            platform = platform
                .plain("pflash0", "efi-code")
                .plain("pflash1", "efi-variables");
            for (node, file, read_only) in [
                ("efi-code", code, true),
                ("efi-variables", variables, false),
            ] {
                self.file_node(
                    &format!("{node}-file"),
                    file,
                    read_only,
                    DiskCache::Writeback,
                    DiskIo::Threads,
                );
                self.format_node(
                    node,
                    &format!("{node}-file"),
                    DiskFormat::Raw,
                    read_only,
                    None,
                );
            }
        }
        self.options("-machine", platform);
        match machine.accelerator {
            Accelerator::Kvm => self.option("-accel", "kvm"),
            Accelerator::Tcg {
                translation_cache_mib,
                threads,
            } => {
                let thread = match threads {
                    Threads::Single => "single",
                    Threads::Multiple => "multi",
                };
                self.options(
                    "-accel",
                    Options::new("tcg", "accelerator")
                        .plain("thread", thread)
                        .plain("tb-size", translation_cache_mib),
                );
            }
        }
        self.processor(&machine.processor);
        self.options(
            "-m",
            Options::new("", "memory_bytes")
                .plain("size", format_args!("{}B", machine.memory_bytes)),
        );
        self.boot(machine.firmware);
        self.clock(machine.clock);
        self.system(&machine.system)?;
        if let Some(kernel) = &machine.kernel {
            self.kernel(kernel)?;
        }
        Ok(())
    }

    fn system(&mut self, system: &SystemInformation) -> Result<(), CommandLineError> {
        let mut information = Options::new("", "system")
            .plain("type", 1)
            .text("manufacturer", &system.manufacturer)?
            .text("product", &system.product)?
            .text("family", &system.family)?
            .plain("uuid", system.uuid);
        if let Some(serial) = &system.serial {
            information = information.text("serial", serial)?;
        }
        self.options("-smbios", information);
        Ok(())
    }

    /// The guest's memory, where it is a file. Says whether it is.
    fn memory(&mut self, machine: &Machine) -> bool {
        let (file, shared, read_only) = match machine.memory {
            Memory::Own => return false,
            Memory::Shared(file) => (file, true, false),
            Memory::Private { file, read_only } => (file, false, read_only),
        };
        let mut memory = json!({
            "qom-type": "memory-backend-file", "id": MEMORY, "size": machine.memory_bytes,
            "mem-path": format!("/proc/self/fd/{file}"), "share": shared,
        });
        if read_only {
            memory["readonly"] = Value::from(true);
            memory["rom"] = Value::from("off");
        }
        self.json("-object", &memory);
        true
    }

    /// A guest that waits for its state.
    fn incoming(&mut self, incoming: Option<Incoming>) {
        let Some(Incoming { state, in_set }) = incoming else {
            return;
        };
        // What is in a set is no longer at its own number.
        if in_set {
            self.options(
                "-add-fd",
                Options::new("", "incoming")
                    .plain("fd", state)
                    .plain("set", state),
            );
        }
        self.option("-incoming", "defer");
    }

    fn boot(&mut self, firmware: Firmware) {
        let mut boot = Options::new("", "boot");
        // AAVMF waits five seconds for a key before it boots, and nobody sees it: with a menu whose time is
        // over it does not (EDK II, QemuBootOrderLib: GetFrontPageTimeoutFromQemu).
        if matches!(firmware, Firmware::Efi { .. }) {
            boot = boot.plain("menu", "on").plain("splash-time", 0);
        }
        self.options("-boot", boot.plain("strict", "on"));
    }

    fn processor(&mut self, processor: &Processor) {
        let mut model = match &processor.model {
            ProcessorModel::Named(name) => Options::new(name.as_str(), "processor"),
            ProcessorModel::Host => Options::new("host", "processor"),
            ProcessorModel::Maximum => Options::new("max", "processor"),
        };
        for feature in &processor.features {
            let value = if feature.on { "on" } else { "off" };
            model = model.plain(feature.name.as_str(), value);
        }
        self.options("-cpu", model);
        self.options(
            "-smp",
            Options::new("", "processor")
                .plain("cpus", processor.count())
                .plain("sockets", processor.sockets)
                .plain("cores", processor.cores)
                .plain("threads", processor.threads),
        );
    }

    fn clock(&mut self, clock: Clock) {
        let base = match clock {
            Clock::Utc => "utc".to_owned(),
            Clock::At(seconds) => civil(seconds),
        };
        self.options(
            "-rtc",
            Options::new("", "clock")
                .plain("base", base)
                .plain("clock", "host"),
        );
    }

    /// QEMU takes the value of `-append` as it is: its commas stay single.
    fn kernel(&mut self, kernel: &Kernel) -> Result<(), CommandLineError> {
        self.option("-kernel", absolute(&kernel.image, "kernel.image")?);
        if let Some(initrd) = &kernel.initrd {
            self.option("-initrd", absolute(initrd, "kernel.initrd")?);
        }
        no_zero_byte(&kernel.arguments, "kernel.arguments")?;
        self.option("-append", kernel.arguments.as_str());
        Ok(())
    }

    fn monitor(&mut self, monitor: Descriptor) {
        self.options("-chardev", listening("qmp", monitor).plain("wait", "off"));
        self.options(
            "-mon",
            Options::new("", "monitor")
                .plain("chardev", "qmp")
                .plain("mode", "control"),
        );
    }

    /// Adds a device on PCI, behind a root port of its own where the machine has those.
    fn pci(&mut self, slots: &mut Slots, mut device: Value) -> Result<(), CommandLineError> {
        let index = slots.used;
        slots.used += 1;
        match slots.family {
            MachineFamily::Q35 | MachineFamily::Virt => {
                if index >= Q35_DEVICES {
                    return Err(CommandLineError::BusFull {
                        bus: "PCI",
                        most: Q35_DEVICES,
                    });
                }
                let port = format!("port{index}");
                let (slot, function) = (2 + index / 8, index % 8);
                self.json(
                    "-device",
                    &json!({
                        "driver": "pcie-root-port", "id": port, "bus": "pcie.0",
                        "addr": format!("{slot:x}.{function}"), "multifunction": function == 0,
                        "port": slot * 8 + function, "chassis": index + 1,
                    }),
                );
                device["bus"] = Value::from(port);
            }
            MachineFamily::Pc => {
                if index >= PC_DEVICES {
                    return Err(CommandLineError::BusFull {
                        bus: "PCI",
                        most: PC_DEVICES,
                    });
                }
                device["bus"] = Value::from("pci.0");
                device["addr"] = Value::from(format!("{:x}", 3 + index));
            }
        }
        self.json("-device", &device);
        Ok(())
    }

    /// The card has its place of its own, before all others, as firmware wants it.
    fn graphics(&mut self, machine: &Machine) {
        if !machine.graphics {
            return;
        }
        // No socket of its own: clients come as descriptors, and who hands them over decides who is there with whom.
        // What the clients themselves say of sharing would let any of them end the others.
        self.option("-vnc", "none,share=ignore");
        let device = match machine.machine_type.family() {
            MachineFamily::Q35 => json!({
                "driver": "VGA", "id": "graphics0", "vgamem_mb": 16, "bus": "pcie.0", "addr": "1",
            }),
            MachineFamily::Pc => json!({
                "driver": "VGA", "id": "graphics0", "vgamem_mb": 16, "bus": "pci.0", "addr": "2",
            }),
            // ARM's firmware and kernels draw on it; VGA's memory they cannot map.
            MachineFamily::Virt => json!({
                "driver": "virtio-gpu-pci", "id": "graphics0", "bus": "pcie.0", "addr": "1",
            }),
        };
        self.json("-device", &device);
    }

    fn network_card(
        &mut self,
        index: usize,
        card: &NetworkCard,
        slots: &mut Slots,
    ) -> Result<(), CommandLineError> {
        let network = format!("network{index}");
        self.json(
            "-netdev",
            &json!({
                "type": "stream", "id": network, "server": false,
                "addr": {"type": "fd", "str": card.stream.to_string()},
            }),
        );
        let driver = match card.model {
            NetworkModel::Virtio => "virtio-net-pci",
            NetworkModel::E1000 => "e1000",
            NetworkModel::E1000e => "e1000e",
            NetworkModel::Rtl8139 => "rtl8139",
        };
        let mut device = json!({
            "driver": driver, "id": format!("card{index}"), "netdev": network,
            "mac": card.mac.to_string(),
        });
        if let Some(mtu) = card.mtu.filter(|_| card.model == NetworkModel::Virtio) {
            device["host_mtu"] = Value::from(mtu);
        }
        match card.boot_order {
            Some(order) => device["bootindex"] = Value::from(order),
            // Without the boot program of the card, which only costs time.
            None => device["romfile"] = Value::from(""),
        }
        self.pci(slots, device)
    }

    fn controllers(
        &mut self,
        machine: &Machine,
        slots: &mut Slots,
    ) -> Result<(), CommandLineError> {
        let on = |bus| machine.disks.iter().any(|disk| disk.bus == bus);
        if on(DiskBus::Scsi) {
            self.pci(slots, json!({"driver": "virtio-scsi-pci", "id": "scsi0"}))?;
        }
        if let Some(agent) = machine.agent {
            self.pci(
                slots,
                // The first port is for consoles only.
                json!({"driver": "virtio-serial-pci", "id": "channels0",
                    "max_ports": if machine.renewal.is_some() { 3 } else { 2 }}),
            )?;
            self.options("-chardev", listening("agent", agent).plain("wait", "off"));
            self.json(
                "-device",
                &json!({
                    "driver": "virtserialport", "id": "agent0", "bus": "channels0.0",
                    "chardev": "agent", "name": "org.qemu.guest_agent.0",
                }),
            );
        }
        if let Some(renewal) = machine.renewal {
            self.options(
                "-chardev",
                listening("renewal", renewal).plain("wait", "off"),
            );
            self.json(
                "-device",
                &json!({
                    "driver": "virtserialport", "id": "renewal0", "bus": "channels0.0",
                    "chardev": "renewal", "name": "io.anyvirt.renew.0",
                }),
            );
        }
        // A PC has its keyboard; ARM's machine has none to go with its screen.
        let keyboard = machine.graphics && machine.machine_type.family() == MachineFamily::Virt;
        if on(DiskBus::Usb) || machine.tablet == Some(TabletBus::Usb) || keyboard {
            self.pci(slots, json!({"driver": "qemu-xhci", "id": "usb"}))?;
        }
        if keyboard {
            self.json(
                "-device",
                &json!({"driver": "usb-kbd", "id": "keyboard0", "bus": "usb.0"}),
            );
        }
        Ok(())
    }

    fn small_devices(
        &mut self,
        machine: &Machine,
        slots: &mut Slots,
    ) -> Result<(), CommandLineError> {
        if let Some(serial) = machine.serial {
            self.options("-chardev", listening("serial0", serial).plain("wait", "on"));
            match machine.machine_type.family() {
                MachineFamily::Q35 | MachineFamily::Pc => self.json(
                    "-device",
                    &json!({"driver": "isa-serial", "id": "port-serial0", "chardev": "serial0"}),
                ),
                // A part of the board, which takes the first line given.
                MachineFamily::Virt => self.option("-serial", "chardev:serial0"),
            }
        }
        if let Some(console) = machine.firmware_console {
            // SeaBIOS and debug builds of EDK II find it by themselves, and write to it what they do.
            self.options(
                "-chardev",
                listening("firmware0", console).plain("wait", "on"),
            );
            self.json(
                "-device",
                &json!({"driver": "isa-debugcon", "id": "firmware-console0", "iobase": 0x402,
                        "chardev": "firmware0"}),
            );
        }
        match machine.tablet {
            Some(TabletBus::Usb) => {
                self.json(
                    "-device",
                    &json!({"driver": "usb-tablet", "id": "tablet0", "bus": "usb.0"}),
                );
            }
            Some(TabletBus::Virtio) => self.pci(
                slots,
                json!({"driver": "virtio-tablet-pci", "id": "tablet0"}),
            )?,
            None => {}
        }
        if machine.balloon {
            self.pci(
                slots,
                json!({
                    "driver": "virtio-balloon-pci", "id": "balloon0",
                    // QEMU gives free pages back to the host by holes in the file that they are in, which is not the
                    // guest's to change.
                    "free-page-reporting": machine.memory == Memory::Own,
                }),
            )?;
        }
        if machine.random_numbers {
            self.json(
                "-object",
                &json!({"qom-type": "rng-builtin", "id": "random0"}),
            );
            self.pci(
                slots,
                json!({"driver": "virtio-rng-pci", "id": "rng0", "rng": "random0"}),
            )?;
        }
        Ok(())
    }
}

/// A unix socket that listens already.
fn listening(id: &str, socket: Descriptor) -> Options {
    Options::new("socket", "socket")
        .plain("id", id)
        .plain("fd", socket)
        .plain("server", "on")
}

fn absolute(path: &Path, field: &'static str) -> Result<OsString, CommandLineError> {
    use std::os::unix::ffi::OsStrExt as _;
    if !path.is_absolute() {
        return Err(CommandLineError::RelativePath {
            field,
            path: path.display().to_string(),
        });
    }
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(CommandLineError::ZeroByte { field });
    }
    Ok(path.as_os_str().to_owned())
}

/// `seconds` since 1970 as QEMU's `-rtc base=` wants it, e.g. `2026-11-22T18:40:54`.
/// Times outside the years 1970 to 9999 are moved to their edge, as the clock's chip knows no others.
fn civil(seconds: i64) -> String {
    let seconds = seconds.clamp(0, 253_402_300_799);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from March 1 of year 0 on, so that a leap day ends its year; an era is the
    // 400 years after which the calendar repeats.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}",
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_dates() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00"),
            (-5, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_795_373_050, "2026-11-22T18:44:10"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (i64::MAX, "9999-12-31T23:59:59"),
        ] {
            assert_eq!(civil(seconds), date, "{seconds}");
        }
    }
}
