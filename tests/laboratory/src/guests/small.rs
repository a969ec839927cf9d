//! The small guest: Debian's cloud kernel and busybox in an initramfs. It prints a marker as the first thing it does,
//! takes an address by DHCP, shows a login prompt on the serial console, and obeys the ACPI power button.

use super::cpio::Archive;
use super::packages::{Apt, Architecture};
use super::{made, run};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// How each line begins that the guest writes to its console by itself.
pub const OWN_WORDS: &str = "anyvirt-guest: ";

/// The first words of the guest's user space on its serial console.
pub const FIRST_LINE: &str = "anyvirt-guest: first line";

/// Files of the small guest.
#[derive(Debug, Clone)]
pub struct SmallGuest {
    /// Debian's bzImage; its Image on ARM.
    pub kernel: PathBuf,
    /// The same kernel unpacked (ELF with a PVH entry): starts half a second sooner under emulation.
    /// On ARM it is the same file.
    pub kernel_unpacked: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
}

/// Modules in the order in which they need each other; a stock kernel has few of them built in.
const MODULES: [&str; 11] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/block/virtio_blk",
    "drivers/acpi/button",
    "drivers/input/evdev",
];

/// Those of [`MODULES`] that Debian's cloud kernel for ARM has built in.
const BUILT_IN_ON_ARM: [&str; 1] = ["drivers/acpi/button"];

const INIT: &str = r#"#!/bin/sh
echo "anyvirt-guest: first line" > /dev/console
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
hostname small
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
exec /sbin/init
"#;

const INITTAB: &str = "::sysinit:/bin/network\n\
    ::respawn:/sbin/acpid -f\n\
    ttyS0::respawn:/sbin/getty -L 115200 ttyS0 vt100\n\
    ::shutdown:/bin/sh -c 'echo anyvirt-guest: powering off > /dev/ttyS0'\n";

const NETWORK: &str = r#"#!/bin/sh
ip link set lo up
ip link set eth0 up 2>/dev/null || { echo "anyvirt-guest: no network" > /dev/ttyS0; exit 0; }
udhcpc -q -n -f -i eth0 -s /bin/lease > /dev/null 2>&1
"#;

const LEASE: &str = r#"#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add "$ip/${mask:-24}" dev eth0
[ -n "$router" ] && ip route add default via "$router"
: > /etc/resolv.conf
for server in $dns; do echo "nameserver $server" >> /etc/resolv.conf; done
echo "anyvirt-guest: address $ip/${mask:-24}" > /dev/ttyS0
"#;

const MACHINE_ID: &str = "00000000000000000000000000000001\n";

/// Makes the small guest, or finds it in the cache.
///
/// # Errors
/// Which of Debian's tools failed, and how.
pub fn small_files() -> Result<SmallGuest, String> {
    small_files_of(Architecture::Amd64)
}

/// Makes the small guest of an architecture, or finds it in the cache.
///
/// # Errors
/// Which of Debian's tools failed, and how.
pub fn small_files_of(architecture: Architecture) -> Result<SmallGuest, String> {
    Variant {
        name: match architecture {
            Architecture::Amd64 => "small",
            Architecture::Arm64 => "small-arm64",
        },
        architecture,
        modules: MODULES.to_vec(),
        folders: &[],
        files: Vec::new(),
    }
    .finished()
}

/// Makes the small guest that can go on from a template as another machine, or finds it in the cache: `hook` is the
/// program that waits in it for that. It has what a machine must not share with another: a machine-id, host keys. The
/// address that it took at its boot it may share, since all guests of anyvirt have the same one, each behind a gateway of
/// its own.
///
/// # Errors
/// Which of Debian's tools failed, and how.
pub fn warm_files(hook: &[u8]) -> Result<SmallGuest, String> {
    let inittab = format!("{INITTAB}::respawn:/bin/anyvirt-renew\n");
    Variant {
        name: "warm",
        architecture: Architecture::Amd64,
        modules: [&MODULES[..], &["drivers/char/virtio_console"]].concat(),
        folders: &["etc/ssh", "run"],
        files: vec![
            ("bin/anyvirt-renew", 0o755, hook),
            ("etc/inittab", 0o644, inittab.as_bytes()),
            ("etc/machine-id", 0o444, MACHINE_ID.as_bytes()),
            ("etc/ssh/ssh_host_ed25519_key", 0o600, b"the image's key\n"),
            (
                "etc/ssh/ssh_host_ed25519_key.pub",
                0o644,
                b"ssh-ed25519 the-image\n",
            ),
        ],
    }
    .finished()
}

/// One kind of small guest.
struct Variant<'a> {
    name: &'a str,
    architecture: Architecture,
    modules: Vec<&'static str>,
    /// Beyond those that all have.
    folders: &'a [&'a str],
    /// Path, mode and content; they take the place of those that all have.
    files: Vec<(&'a str, u32, &'a [u8])>,
}

impl Variant<'_> {
    fn finished(&self) -> Result<SmallGuest, String> {
        let apt = Apt::of(self.architecture)?;
        let package = apt.kernel_package()?;
        let modules = self.modules.join(" ");
        let own: Vec<String> = self
            .files
            .iter()
            .map(|(path, mode, content)| format!("{path} {mode:o} {:x}", Sha256::digest(content)))
            .collect();
        let mut recipe = vec![&*package, INIT, INITTAB, NETWORK, LEASE, &modules, "2"];
        recipe.extend(own.iter().map(String::as_str));
        let folder = made(self.name, &recipe, |work| make(work, &apt, self, &package))?;
        let unpacked = match self.architecture {
            Architecture::Amd64 => "vmlinux",
            Architecture::Arm64 => "vmlinuz",
        };
        Ok(SmallGuest {
            kernel: folder.join("vmlinuz"),
            kernel_unpacked: folder.join(unpacked),
            initrd: folder.join("initrd"),
        })
    }
}

fn make(work: &Path, apt: &Apt, variant: &Variant<'_>, package: &str) -> Result<(), String> {
    let architecture = variant.architecture;
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| format!("cannot {what}: {error}")
    };
    apt.unpack(work, &[package, "busybox-static"])?;
    let version = package.trim_start_matches("linux-image-");
    let root = work.join("root");
    let kernel = fs::read(root.join(format!("boot/vmlinuz-{version}")))
        .map_err(failed("read the kernel"))?;
    if architecture == Architecture::Amd64 {
        fs::write(work.join("payload.lz4"), payload(&kernel)?)
            .map_err(failed("write the kernel's payload"))?;
        run(work, "lz4", &["-d", "-q", "-f", "payload.lz4", "vmlinux"])?;
        fs::remove_file(work.join("payload.lz4")).map_err(failed("remove the payload"))?;
    }
    fs::write(work.join("vmlinuz"), &kernel).map_err(failed("write the kernel"))?;

    let mut archive = Archive::default();
    for folder in [
        "bin",
        "sbin",
        "dev",
        "proc",
        "sys",
        "etc",
        "etc/acpi",
        "etc/acpi/PWRF",
        "modules",
        "root",
        "tmp",
        "var",
        "var/run",
        "var/log",
    ]
    .iter()
    .chain(variant.folders)
    {
        archive.folder(folder);
    }
    archive.character_device("dev/console", 5, 1);
    let busybox = fs::read(root.join("bin/busybox")).map_err(failed("read busybox"))?;
    archive.file("bin/busybox", 0o755, &busybox);
    // This machine's busybox, which runs here, has the same applets.
    for applet in run(work, "busybox", &["--list"])?
        .lines()
        .filter(|applet| *applet != "busybox")
    {
        archive.link(&format!("bin/{applet}"), "busybox");
        archive.link(&format!("sbin/{applet}"), "../bin/busybox");
    }
    let modules = root.join(format!("lib/modules/{version}/kernel"));
    let mut order = String::new();
    for module in &variant.modules {
        let name = module.rsplit('/').next().unwrap_or(module);
        let path = modules.join(format!("{module}.ko"));
        if architecture == Architecture::Arm64 && BUILT_IN_ON_ARM.contains(module) {
            continue;
        }
        let content = fs::read(path).map_err(failed(&format!("read the module {module}")))?;
        archive.file(&format!("modules/{name}.ko"), 0o644, &content);
        order.push_str(name);
        order.push('\n');
    }
    archive.file("modules/order", 0o644, order.as_bytes());
    let serial = |text: &str| text.replace("ttyS0", architecture.serial()).into_bytes();
    archive.file("init", 0o755, &serial(INIT));
    archive.file("bin/network", 0o755, &serial(NETWORK));
    archive.file("bin/lease", 0o755, &serial(LEASE));
    archive.file("etc/inittab", 0o644, &serial(INITTAB));
    // The power button's event, as busybox's acpid names it.
    archive.file("etc/acpi/PWRF/00000080", 0o755, b"#!/bin/sh\npoweroff\n");
    archive.file("etc/passwd", 0o644, b"root::0:0:root:/root:/bin/sh\n");
    archive.file("etc/group", 0o644, b"root:x:0:\n");
    archive.file("etc/hostname", 0o644, b"small\n");
    for (path, mode, content) in &variant.files {
        archive.file(path, *mode, content);
    }
    fs::write(work.join("initrd"), archive.finish()).map_err(failed("write the initramfs"))?;
    fs::remove_dir_all(&root).map_err(failed("remove the unpacked packages"))
}

/// The compressed kernel inside a bzImage, by the header of Linux's boot protocol (2.08 and later):
/// payload_offset and payload_length are 32-bit numbers at 0x248 and 0x24c, counted from the end of the setup sectors.
fn payload(bz_image: &[u8]) -> Result<&[u8], String> {
    let number = |place: usize| {
        let bytes = bz_image.get(place..place + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    if bz_image.get(0x202..0x206) != Some(b"HdrS") {
        return Err("the kernel is no bzImage: it lacks the mark HdrS".to_owned());
    }
    let setup_sectors = usize::from(bz_image[0x1f1]).max(1);
    let start =
        (setup_sectors + 1) * 512 + number(0x248).ok_or("the kernel's header is cut off")?;
    let length = number(0x24c).ok_or("the kernel's header is cut off")?;
    // The last four bytes are the unpacked size, which lz4's own tool does not expect.
    bz_image
        .get(start..start + length.saturating_sub(4))
        .ok_or_else(|| "the kernel's payload is cut off".to_owned())
}
