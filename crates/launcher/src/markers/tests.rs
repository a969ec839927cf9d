//! Recordings of guests that were booted here (QEMU 7.2 under TCG, cut to a few lines), tables of
//! what others write, and bytes in arbitrary pieces.

use proptest::prelude::*;

use super::*;

/// What the bytes tell in these pieces, with what settles at the end.
fn told(origin: Origin, pieces: &[&[u8]]) -> Vec<String> {
    let mut scanner = Scanner::new(origin);
    let mut marks: Vec<Mark> = pieces
        .iter()
        .flat_map(|piece| scanner.feed(piece))
        .collect();
    if scanner.may_be_prompt() {
        marks.extend(scanner.settled());
    }
    assert!(!scanner.may_be_prompt(), "told once");
    marks
        .into_iter()
        .map(|mark| match mark.text {
            Some(text) => format!("{}: {text}", mark.name),
            None => mark.name.to_owned(),
        })
        .collect()
}

fn serial(bytes: &[u8]) -> Vec<String> {
    told(Origin::Serial, &[bytes])
}

/// A name, where it came from, what came, and what it tells.
type Recording = (&'static str, Origin, &'static [u8], &'static [&'static str]);

macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!("recorded/", $name)).as_slice()
    };
}

fn recordings() -> Vec<Recording> {
    [on_pc(), on_arm()].concat()
}

/// Machines for ARM, which start by AAVMF.
fn on_arm() -> Vec<Recording> {
    use Origin::Serial;
    vec![
        (
            "Debian for ARM, from its disk",
            Serial,
            recorded!("debian-arm64.log"),
            &["firmware", "kernel", "user-space", "login"],
        ),
        (
            "AAVMF, an empty disk",
            Serial,
            recorded!("no-boot-disk-arm64.log"),
            &[
                "firmware",
                "no-boot-disk: BdsDxe: failed to load Boot0001 \"UEFI Misc Device\" from \
                 PciRoot(0x0)/Pci(0x3,0x0): Not Found; Shell>",
            ],
        ),
    ]
}

/// PCs, which start by SeaBIOS.
fn on_pc() -> Vec<Recording> {
    use Origin::{Firmware, Serial};
    vec![
        (
            "small",
            Serial,
            recorded!("small.log"),
            &["kernel", "user-space", "login"],
        ),
        // A step without a sign gets none.
        (
            "small, quiet",
            Serial,
            recorded!("small-quiet.log"),
            &["login"],
        ),
        (
            "Debian",
            Serial,
            recorded!("debian.log"),
            &["kernel", "user-space", "login"],
        ),
        // Its first line is cloud-init's, with a time stamp as the kernel's.
        (
            "Debian, quiet",
            Serial,
            recorded!("debian-quiet.log"),
            &["user-space", "login"],
        ),
        (
            "a shell",
            Serial,
            recorded!("shell.log"),
            &["user-space", "login"],
        ),
        (
            "an init that sleeps",
            Serial,
            recorded!("sleeping-init.log"),
            &["kernel", "user-space"],
        ),
        (
            "no root file system for the kernel",
            Serial,
            recorded!("panic.log"),
            &[
                "kernel",
                "panic: Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
            ],
        ),
        (
            "no root file system for the initramfs",
            Serial,
            recorded!("initramfs.log"),
            &["emergency: ALERT!  LABEL=none does not exist.  Dropping to a shell!"],
        ),
        (
            "emergency mode",
            Serial,
            recorded!("emergency.log"),
            &[
                "emergency: You are in emergency mode. After logging in, type \"journalctl -xb\" to view",
            ],
        ),
        ("SeaBIOS", Firmware, recorded!("small.debug"), &["firmware"]),
        (
            "SeaBIOS, an empty disk",
            Firmware,
            recorded!("no-boot-disk.debug"),
            &[
                "firmware",
                "no-boot-disk: Boot failed: not a bootable disk; No bootable device.",
            ],
        ),
    ]
}

#[test]
fn recorded_starts_tell_their_steps_whole_and_byte_by_byte() {
    for (name, origin, bytes, marks) in recordings() {
        assert_eq!(told(origin, &[bytes]), marks, "{name}");
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(told(origin, &single), marks, "{name}, byte by byte");
    }
}

#[test]
fn lines_tell_what_only_the_right_one_writes() {
    for (line, marks) in [
        ("", &[][..]),
        ("[    0.000000] Linux version 6.1.0 (x)\n", &["kernel"]),
        ("[    0.000000][    T0] Linux version 6.1.0\n", &["kernel"]),
        ("\u{fffd}\u{1}~Linux version 6.12\n", &["kernel"]),
        (
            "Booting Linux on physical CPU 0x0000000000 [0x410fd083]\n",
            &["kernel"],
        ),
        ("EFI stub: Booting Linux Kernel...\n", &["kernel"]),
        ("[   12.345678] usb 1-1: new device\n", &["kernel"]),
        // Not a kernel: loaders, menus, firmware, other brackets.
        ("Booting `Debian GNU/Linux'\n", &[]),
        ("Booting from Hard Disk...\n", &[]),
        ("  Booting a command list\n", &[]),
        ("the Linux version is unknown\n", &[]),
        ("[1.5] mine\n", &[]),
        ("[    0.12345] five digits\n", &[]),
        ("Welcome to GRUB!\n", &[]),
        (
            "Welcome to \x1b[1mFedora Linux 42\x1b[0m!\r\n",
            &["user-space"],
        ),
        (
            "[\x1b[0;32m  OK  \x1b[0m] Started ssh.service\n",
            &["user-space"],
        ),
        (
            "[    3.697667] Run /sbin/init as init process\n",
            &["kernel", "user-space"],
        ),
        (
            "[   27.5209] systemd[1]: bad stamp, real word\n",
            &["user-space"],
        ),
        (
            "[   27.520994] systemd[1]: Inserted module\n",
            &["user-space"],
        ),
        ("[   27.520994] sshd[4711]: listening\n", &["user-space"]),
        ("[    1.520994] acme[oem]: a driver\n", &["kernel"]),
        // The kernel's arguments hold anything.
        (
            "[    0.0] Kernel command line: x systemd[1]: cloud-init[1] login: Welcome to y\n",
            &[],
        ),
        (
            "[    0.012345] Kernel command line: console=ttyS0 systemd[1]:\n",
            &["kernel"],
        ),
        ("login:", &["login"]),
        ("small login: ", &["login"]),
        ("\x1b[H\x1b[Jhost-1.example login:", &["login"]),
        ("noise\rhost login: ", &["login"]),
        // A message of the kernel behind the prompt does not hide it.
        ("host login: [   60.123456] late\n", &["login"]),
        ("Last login: Mon Nov 16\n", &[]),
        ("how to login: see the manual\n", &[]),
        ("mylogin:\n", &[]),
        ("host login\n", &[]),
        ("/ # ", &["login"]),
        ("root@debian:~# ", &["login"]),
        ("[root@localhost ~]# ", &["login"]),
        ("bash-5.2$ ", &["login"]),
        // More came: no prompt.
        ("# a comment\n", &[]),
        ("what costs 5 $ ", &[]),
        ("(initramfs) ", &["emergency: (initramfs)"]),
        (
            "You are in emergency mode.\n# ",
            &["emergency: You are in emergency mode."],
        ),
        (
            "Entering emergency mode.\n\nhost login:",
            &["emergency: Entering emergency mode.", "login"],
        ),
        (
            "BdsDxe: loading Boot0001\nBdsDxe: No bootable option or device was found.\n",
            &[
                "firmware",
                "no-boot-disk: BdsDxe: No bootable option or device was found.",
            ],
        ),
        // What comes too late is not ticked: its time would be wrong.
        (
            "Welcome to Debian!\n[   12.345678] a warning\n",
            &["user-space"],
        ),
        ("host login: \nWelcome to Debian!\n", &["login"]),
        // Sequences that noise began end with the line.
        ("\x1b]half a title\nhost login:", &["login"]),
        ("\x1b[\x1b[\x1b[0mhost login:", &["login"]),
    ] {
        assert_eq!(serial(line.as_bytes()), marks, "{line:?}");
    }
}

#[test]
fn the_firmwares_shell_tells_that_nothing_boots_unless_it_runs_a_script() {
    let firmwares = "UEFI Interactive Shell v2.2\r\nEDK II\r\n";
    let script = format!("{firmwares}Shell> FS0:\\EFI\\BOOT\\BOOTAA64.EFI\n");
    assert_eq!(serial(script.as_bytes()), [""; 0]);
    let prompt = format!("{firmwares}Shell> ");
    assert_eq!(serial(prompt.as_bytes()), ["no-boot-disk: Shell>"]);
    // A guest's own, with a kernel that says nothing or is none.
    assert_eq!(serial(b"Shell> "), [""; 0]);
    assert_eq!(serial(b"SeaBIOS (version 1.16)\nShell> "), ["firmware"]);
    let after = format!("{firmwares}[    0.000000] Linux version 6.1\nShell> ");
    assert_eq!(serial(after.as_bytes()), ["kernel"]);
}

#[test]
fn a_kernel_without_ticks_is_told_each_time_and_only_while_it_is_on_its_own() {
    let panic = "[    0.044000] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug\r\n";
    let words = "boots-again: Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug";
    let twice = [panic.as_bytes(), panic.as_bytes()].concat();
    assert_eq!(serial(&twice), ["kernel", words, "kernel", words]);
    // Somebody who can write this has programs, and a timer.
    let later = format!("debian login:{panic}");
    assert_eq!(serial(later.as_bytes()), ["login"]);
}

#[test]
fn the_firmwares_console_tells_of_the_firmware_only() {
    let kernel = b"x\n[    0.000000] Linux version 6.1\nhost login: \n# ";
    assert_eq!(told(Origin::Firmware, &[kernel]), ["firmware"]);
    assert_eq!(told(Origin::Firmware, &[b""]), [""; 0]);
}

#[test]
fn a_line_without_end_takes_no_memory_and_hides_nothing_after_it() {
    let mut scanner = Scanner::new(Origin::Serial);
    for _ in 0..1000 {
        assert_eq!(scanner.feed(&[b'x'; 10_000]), []);
    }
    assert!(scanner.line.capacity() <= 2 * LINE_BYTES);
    let marks = scanner.feed(b"\nhost login: ");
    assert_eq!(marks[0].name, "login");
    // After the end of the start nothing is looked at.
    assert_eq!(scanner.feed(b"Kernel panic - not syncing: x\n"), []);
}

fn words() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => Just(b"\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"\x1b[0;32m".to_vec()),
        1 => Just(b"\x1b[2J".to_vec()),
        1 => Just(b"[    1.234567] ".to_vec()),
        1 => Just(b"Linux version 6.1".to_vec()),
        1 => Just(b"systemd[1]: x".to_vec()),
        1 => Just(b"host login:".to_vec()),
        1 => Just(b"/ # ".to_vec()),
        1 => Just(b"Kernel panic - not syncing: x".to_vec()),
    ]
}

proptest! {
    #[test]
    fn pieces_do_not_matter(
        parts in proptest::collection::vec(words(), 0..30),
        cuts in proptest::collection::vec(1_usize..40, 1..20),
    ) {
        let bytes = parts.concat();
        for origin in [Origin::Serial, Origin::Firmware] {
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(told(origin, &pieces), told(origin, &[&bytes]));
        }
    }

    #[test]
    fn each_mark_comes_once_and_steps_in_their_order(
        parts in proptest::collection::vec(words(), 0..60),
    ) {
        let told = serial(&parts.concat());
        let names: Vec<&str> = told.iter().filter_map(|it| it.split(':').next()).collect();
        let order = ["firmware", "kernel", "user-space", "login"];
        let places: Vec<_> = names.iter().filter_map(|name| order.iter().position(|it| it == name)).collect();
        prop_assert!(places.is_sorted_by(|a, b| a < b), "{:?}", names);
        let once: std::collections::BTreeSet<_> = names.iter().collect();
        prop_assert_eq!(once.len(), names.len());
    }

    #[test]
    fn noise_ticks_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        // Random bytes may end like a prompt by chance, and then by right.
        let mut scanner = Scanner::new(Origin::Serial);
        prop_assert_eq!(scanner.feed(&bytes), vec![]);
    }
}
