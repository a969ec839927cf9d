//! Machines and their arguments, one argument a line in `tests/golden`. After a wanted change:
//! `UPDATE_EXPECT=1 cargo test -p qemu --test command_line`, and read the difference.

use std::ffi::OsString;
use std::path::PathBuf;

use expect_test::expect_file;
use proptest::prelude::*;
use qemu::architecture::Architecture;
use qemu::command_line::{CommandLineError, command_line};
use qemu::machine::{
    Accelerator, Clock, Disk, DiskBus, DiskCache, DiskFormat, DiskImage, DiskIo, Firmware,
    Incoming, InterruptController, Kernel, MacAddress, Machine, MachineType, Memory, NetworkCard,
    NetworkModel, Processor, ProcessorFeature, ProcessorModel, SystemInformation, TabletBus,
    Threads, Word,
};
use qemu::profile::{self, Wish};

fn small() -> Machine {
    Machine {
        name: "default_small".to_owned(),
        accelerator: Accelerator::Tcg {
            translation_cache_mib: 64,
            threads: Threads::Single,
        },
        machine_type: MachineType::parse("q35").expect("served"),
        interrupt_controller: InterruptController::Version3,
        processor: Processor {
            model: ProcessorModel::Maximum,
            features: vec![],
            sockets: 1,
            cores: 1,
            threads: 1,
        },
        memory_bytes: 128 << 20,
        memory: Memory::Own,
        firmware: Firmware::Bios,
        kernel: None,
        disks: vec![],
        network_cards: vec![],
        serial: None,
        graphics: false,
        tablet: None,
        random_numbers: false,
        balloon: false,
        agent: None,
        renewal: None,
        firmware_console: None,
        clock: Clock::Utc,
        system: SystemInformation {
            manufacturer: "KubeVirt".to_owned(),
            product: "None".to_owned(),
            family: "KubeVirt".to_owned(),
            uuid: uuid::Uuid::from_u128(0x5d30_7ca9_b3ef_428c_8861_06e7_2d69_f223),
            serial: None,
        },
        acpi: true,
        monitor: 10,
        incoming: None,
    }
}

fn disk(bus: DiskBus, file: i32) -> Disk {
    Disk {
        image: DiskImage::File {
            file,
            format: DiskFormat::Raw,
        },
        bus,
        cdrom: false,
        read_only: false,
        boot_order: None,
        serial: None,
        cache: DiskCache::Writeback,
        io: DiskIo::Threads,
        shared: false,
    }
}

fn card(model: NetworkModel, stream: i32) -> NetworkCard {
    let mac = MacAddress::parse("02:00:00:00:00:01").expect("an address");
    NetworkCard {
        model,
        mac,
        mtu: None,
        stream,
        boot_order: None,
    }
}

/// The same machine as each accelerator runs it best.
fn on(mut machine: Machine, emulated: bool) -> Machine {
    let guest = machine.machine_type.architecture();
    let chosen = profile::processors(Wish {
        guest,
        emulated,
        version: None,
        model: "host-model",
        features: &[],
    });
    machine.processor.model = chosen.model;
    machine.processor.features = chosen.features;
    machine.interrupt_controller = profile::interrupt_controller(emulated);
    machine.accelerator = if emulated {
        Accelerator::Tcg {
            translation_cache_mib: 64,
            threads: profile::threads(guest, Some(Architecture::Amd64), machine.processor.count()),
        }
    } else {
        Accelerator::Kvm
    };
    machine
}

/// What a KubeVirt user's first machine becomes.
fn usual() -> Machine {
    let mut machine = small();
    machine.disks = vec![
        Disk {
            image: DiskImage::Overlay {
                overlay: 20,
                middle: None,
                base: 21,
                base_format: DiskFormat::Qcow2,
            },
            boot_order: Some(1),
            ..disk(DiskBus::Virtio, 0)
        },
        disk(DiskBus::Virtio, 22),
    ];
    machine.network_cards = vec![NetworkCard {
        mtu: Some(65_520),
        ..card(NetworkModel::Virtio, 30)
    }];
    machine.serial = Some(11);
    machine.agent = Some(12);
    machine.firmware_console = Some(13);
    machine.graphics = true;
    machine.random_numbers = true;
    machine.balloon = true;
    machine
}

fn every_bus_on_pc() -> Machine {
    let mut machine = usual();
    machine.machine_type = MachineType::parse("pc-i440fx-5.1").expect("served");
    machine.accelerator = Accelerator::Kvm;
    machine.processor.model = ProcessorModel::Host;
    machine.processor.sockets = 2;
    machine.processor.threads = 2;
    let cdrom = |bus, file| Disk {
        cdrom: true,
        read_only: true,
        ..disk(bus, file)
    };
    machine.disks.extend([
        Disk {
            io: DiskIo::Native,
            cache: DiskCache::None,
            shared: true,
            ..disk(DiskBus::Scsi, 23)
        },
        Disk {
            serial: Some("a,b=c\n\"".to_owned()),
            ..disk(DiskBus::Sata, 24)
        },
        cdrom(DiskBus::Sata, 25),
        cdrom(DiskBus::Scsi, 26),
        Disk {
            cache: DiskCache::Writethrough,
            ..disk(DiskBus::Usb, 27)
        },
        cdrom(DiskBus::Usb, 28),
    ]);
    machine.network_cards.extend([
        NetworkCard {
            boot_order: Some(2),
            ..card(NetworkModel::E1000, 31)
        },
        card(NetworkModel::Rtl8139, 32),
    ]);
    machine.tablet = Some(TabletBus::Usb);
    machine.clock = Clock::At(1_795_373_050);
    machine
}

fn direct_kernel() -> Machine {
    let mut machine = small();
    machine.name = "a,b=c -x".to_owned();
    machine.processor = Processor {
        model: ProcessorModel::Named(Word::parse("Nehalem").expect("a word")),
        features: vec![
            ProcessorFeature {
                name: Word::parse("pcid").expect("a word"),
                on: false,
            },
            ProcessorFeature {
                name: Word::parse("aes").expect("a word"),
                on: true,
            },
        ],
        ..machine.processor
    };
    machine.kernel = Some(Kernel {
        image: PathBuf::from("/proc/self/fd/40"),
        initrd: Some(PathBuf::from("/proc/self/fd/41")),
        arguments: "console=ttyS0,115200 quiet".to_owned(),
    });
    machine.system.serial = Some("x,uuid=0".to_owned());
    machine.acpi = false;
    machine.tablet = Some(TabletBus::Virtio);
    machine
}

fn efi() -> Machine {
    let mut machine = small();
    machine.firmware = Firmware::Efi {
        code: 50,
        variables: 51,
    };
    machine
}

/// An ARM machine that starts from its disk.
fn arm() -> Machine {
    let mut machine = usual();
    machine.machine_type = MachineType::parse("virt").expect("served");
    machine.firmware = Firmware::Efi {
        code: 50,
        variables: 51,
    };
    machine.firmware_console = None;
    machine.processor.cores = 2;
    on(machine, true)
}

/// An ARM machine that starts with a kernel.
fn arm_kernel() -> Machine {
    let mut machine = small();
    machine.machine_type = MachineType::parse("virt-7.2").expect("served");
    machine.firmware = Firmware::None;
    machine.serial = Some(11);
    machine.kernel = Some(Kernel {
        image: PathBuf::from("/proc/self/fd/40"),
        initrd: None,
        arguments: "console=ttyAMA0".to_owned(),
    });
    on(machine, false)
}

/// The usual machine, as one that is to be kept.
fn keepable() -> Machine {
    let mut machine = usual();
    machine.memory = Memory::Shared(60);
    machine.renewal = Some(14);
    machine
}

/// The same, restored.
fn restored(read_only: bool) -> Machine {
    let mut machine = keepable();
    machine.memory = Memory::Private {
        file: 60,
        read_only,
    };
    machine.incoming = Some(Incoming {
        state: 61,
        in_set: read_only,
    });
    machine.disks[0].image = DiskImage::Overlay {
        overlay: 20,
        middle: Some(62),
        base: 21,
        base_format: DiskFormat::Qcow2,
    };
    machine.disks[1].image = DiskImage::Overlay {
        overlay: 22,
        middle: None,
        base: 63,
        base_format: DiskFormat::Qcow2,
    };
    machine
}

/// What is told of it: a restored guest must find every device of the one that was kept, and no other.
#[test]
fn kept_and_restored_machines_differ_in_their_memory_files_and_state_only() {
    let mut text = String::new();
    for (name, machine, from) in [
        ("keepable", keepable(), usual()),
        ("restored", restored(false), keepable()),
        ("restored by 9.1", restored(true), restored(false)),
    ] {
        let (now, before) = (lines(&machine), lines(&from));
        for line in before
            .lines()
            .filter(|line| !now.lines().any(|it| it == *line))
        {
            text.push_str(&format!("{name}: without {line}\n"));
        }
        for line in now
            .lines()
            .filter(|line| !before.lines().any(|it| it == *line))
        {
            text.push_str(&format!("{name}: with {line}\n"));
        }
    }
    expect_file!["golden/warm.txt"].assert_eq(&text);
}

fn lines(machine: &Machine) -> String {
    command_line(machine)
        .expect("arguments")
        .iter()
        .map(|argument| format!("{}\n", argument.to_str().expect("text")))
        .collect()
}

#[test]
fn arguments_are_those_of_the_golden_files() {
    expect_file!["golden/small.txt"].assert_eq(&lines(&small()));
    expect_file!["golden/usual.txt"].assert_eq(&lines(&usual()));
    expect_file!["golden/every_bus_on_pc.txt"].assert_eq(&lines(&every_bus_on_pc()));
    expect_file!["golden/direct_kernel.txt"].assert_eq(&lines(&direct_kernel()));
    expect_file!["golden/efi.txt"].assert_eq(&lines(&efi()));
    expect_file!["golden/arm.txt"].assert_eq(&lines(&arm()));
    expect_file!["golden/arm_kernel.txt"].assert_eq(&lines(&arm_kernel()));
}

/// What an accelerator changes of a machine: these arguments and no others, so the guest finds the
/// same machine type and devices under both.
#[test]
fn accelerators_differ_in_these_arguments_only() {
    let mut two = usual();
    two.processor.cores = 2;
    let mut text = String::new();
    for (name, machine) in [("one", usual()), ("two", two), ("arm", arm())] {
        let (kvm, tcg) = (
            lines(&on(machine.clone(), false)),
            lines(&on(machine, true)),
        );
        let (kvm, tcg): (Vec<_>, Vec<_>) = (kvm.lines().collect(), tcg.lines().collect());
        assert_eq!(kvm.len(), tcg.len());
        for (kvm, tcg) in kvm.iter().zip(&tcg).filter(|(kvm, tcg)| kvm != tcg) {
            text.push_str(&format!("{name}: KVM {kvm}\n{name}: TCG {tcg}\n"));
        }
    }
    expect_file!["golden/accelerators.txt"].assert_eq(&text);
}

type Change = fn(&mut Machine);

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_qemu_does_not_have_is_refused_with_the_way_out() {
    let refused = |change: Change| {
        let mut machine = small();
        change(&mut machine);
        command_line(&machine).expect_err("refused").to_string()
    };
    let cases: [(Change, &str); 14] = [
        (
            |machine| {
                machine.disks = vec![Disk {
                    cdrom: true,
                    ..disk(DiskBus::Virtio, 20)
                }]
            },
            "use bus sata",
        ),
        (
            |machine| {
                machine.disks = vec![Disk {
                    read_only: true,
                    ..disk(DiskBus::Sata, 20)
                }]
            },
            "use bus virtio",
        ),
        (
            |machine| {
                machine.disks = vec![Disk {
                    io: DiskIo::Native,
                    ..disk(DiskBus::Virtio, 20)
                }]
            },
            "cache none",
        ),
        (
            |machine| machine.disks = vec![disk(DiskBus::Sata, 20); 7],
            "at most 6",
        ),
        (
            |machine| machine.disks = vec![disk(DiskBus::Virtio, 20); 65],
            "at most 64",
        ),
        (
            |machine| {
                machine.disks = vec![
                    Disk {
                        boot_order: Some(1),
                        ..disk(DiskBus::Virtio, 20)
                    };
                    2
                ]
            },
            "boot order 1",
        ),
        (
            |machine| machine.firmware = Firmware::None,
            "without firmware",
        ),
        (
            |machine| machine.machine_type = MachineType::parse("virt").expect("served"),
            "use EFI",
        ),
        (
            |machine| {
                machine.machine_type = MachineType::parse("virt").expect("served");
                machine.firmware = Firmware::None;
            },
            "without a kernel",
        ),
        (
            |machine| {
                *machine = arm();
                machine.disks.push(disk(DiskBus::Sata, 20));
            },
            "use bus virtio, scsi or usb",
        ),
        (|machine| machine.renewal = Some(14), "have both"),
        (
            |machine| machine.name = "a\0b".to_owned(),
            "name has a zero byte",
        ),
        (
            |machine| machine.system.product = "\0".to_owned(),
            "system has a zero byte",
        ),
        (
            |machine| {
                machine.kernel = Some(Kernel {
                    image: PathBuf::from("-x"),
                    initrd: None,
                    arguments: String::new(),
                });
            },
            "not absolute: -x",
        ),
    ];
    for (change, words) in cases {
        let message = refused(change);
        assert!(message.contains(words), "{message} lacks {words}");
    }
    assert_eq!(
        command_line(&Machine {
            kernel: Some(Kernel {
                image: PathBuf::from("/k"),
                initrd: None,
                arguments: "\0".to_owned()
            }),
            ..small()
        }),
        Err(CommandLineError::ZeroByte {
            field: "kernel.arguments"
        })
    );
}

/// QEMU's own option parser, as its documentation describes it: keys up to `=`, values up to a
/// single comma, two commas stand for one.
fn parse_options(text: &str) -> Vec<(String, String)> {
    let mut options = Vec::new();
    let mut rest = text.chars().peekable();
    while rest.peek().is_some() {
        let mut key = String::new();
        let mut value = String::new();
        let mut in_value = false;
        while let Some(character) = rest.next() {
            if character == ',' {
                if in_value && rest.peek() == Some(&',') {
                    rest.next();
                } else {
                    break;
                }
            } else if character == '=' && !in_value {
                in_value = true;
                continue;
            }
            if in_value {
                value.push(character)
            } else {
                key.push(character)
            }
        }
        options.push((key, value));
    }
    options
}

fn value_of(arguments: &[OsString], option: &str, at: usize) -> String {
    let values: Vec<_> = arguments
        .windows(2)
        .filter(|pair| pair[0] == option)
        .map(|pair| pair[1].to_str().expect("text").to_owned())
        .collect();
    values[at].clone()
}

proptest! {
    /// F63: whatever a user writes comes back from the arguments as it was, and makes no option.
    #[test]
    fn texts_of_users_come_back_and_add_no_option(
        name in "[^\0]{0,40}", manufacturer in "[,=\n -]{0,12}", product in "[^\0]{0,20}",
        serial in "[^\0]{0,20}", arguments in "[^\0]{0,60}", disk_serial in "[^\0]{0,20}",
    ) {
        let mut machine = small();
        machine.name = name.clone();
        machine.system.manufacturer = manufacturer.clone();
        machine.system.product = product.clone();
        machine.system.serial = Some(serial.clone());
        machine.kernel = Some(Kernel { image: PathBuf::from("/k"), initrd: None, arguments: arguments.clone() });
        machine.disks = vec![Disk { serial: Some(disk_serial.clone()), ..disk(DiskBus::Virtio, 20) }];
        let line = command_line(&machine).expect("arguments");

        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        prop_assert_eq!(
            parse_options(&value_of(&line, "-name", 0)),
            vec![pair("guest", &name), pair("debug-threads", "on")]
        );
        prop_assert_eq!(parse_options(&value_of(&line, "-smbios", 0)), vec![
            pair("type", "1"),
            pair("manufacturer", &manufacturer),
            pair("product", &product),
            pair("family", "KubeVirt"),
            pair("uuid", "5d307ca9-b3ef-428c-8861-06e72d69f223"),
            pair("serial", &serial),
        ]);
        prop_assert_eq!(value_of(&line, "-append", 0), arguments);
        let device: serde_json::Value =
            serde_json::from_str(&value_of(&line, "-device", 1)).expect("JSON");
        prop_assert_eq!(device["serial"].as_str(), Some(&disk_serial[..]));
        let mut plain = small();
        plain.kernel = Some(Kernel { image: PathBuf::from("/k"), initrd: None, arguments: String::new() });
        plain.disks = vec![disk(DiskBus::Virtio, 20)];
        prop_assert_eq!(line.len(), command_line(&plain).expect("arguments").len());
    }
}
