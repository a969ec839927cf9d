//! The Debian guest for ARM: a disk image with systemd, udev, networkd and the guest agent, which EFI firmware boots by
//! systemd-boot, as it boots clouds' images. Packages are only unpacked, for their scripts are programs for ARM: what
//! those would have written, a few files, is written here. No cloud-init: its Python takes most of an emulated boot,
//! and the guest for amd64 has it.

use super::cpio::Archive;
use super::packages::Architecture;
use super::{disk, made, run};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// apt adds what these depend on. Nothing is "essential" to a system that is only unpacked.
const PACKAGES: &str = "linux-image-cloud-arm64,systemd-sysv,systemd-boot-efi,dbus,udev,kmod,base-files,base-passwd,bash,dash,\
    coreutils,util-linux,mount,login,passwd,libpam-runtime,libpam-modules,hostname,procps,iproute2,iputils-ping,netbase,\
    e2fsprogs,qemu-guest-agent,busybox-static";

/// Files of the new system, which scripts of its packages would have written, or an administrator.
const FILES: [(&str, &str); 11] = [
    ("etc/hostname", "debian\n"),
    ("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 debian\n"),
    // Empty: made up at each boot, which is no first boot then, with its presets.
    ("etc/machine-id", ""),
    (
        "etc/fstab",
        "LABEL=root / ext4 rw,noatime,errors=remount-ro 0 0\n",
    ),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    ),
    ("etc/pam.d/common-account", "account required pam_unix.so\n"),
    (
        "etc/pam.d/common-auth",
        "auth required pam_unix.so nullok\n",
    ),
    (
        "etc/pam.d/common-password",
        "password required pam_unix.so\n",
    ),
    ("etc/pam.d/common-session", SESSION),
    (
        "etc/systemd/network/80-dhcp.network",
        "[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n",
    ),
    (
        "etc/systemd/journald.conf.d/anyvirt.conf",
        "[Journal]\nStorage=volatile\n",
    ),
];

const SESSION: &str = "session required pam_unix.so\nsession optional pam_systemd.so\n";

/// Users and groups of packages, beyond those of base-passwd, with equal numbers for both.
const USERS: [(&str, u32); 3] = [
    ("systemd-journal", 999),
    ("systemd-network", 998),
    ("messagebus", 997),
];

/// Units that are turned on: link and unit.
const ENABLED: [(&str, &str); 3] = [
    ("default.target", "multi-user.target"),
    (
        "multi-user.target.wants/systemd-networkd.service",
        "systemd-networkd.service",
    ),
    (
        "sockets.target.wants/systemd-networkd.socket",
        "systemd-networkd.socket",
    ),
];

/// Units that are turned off: they only cost an emulated guest time at boot.
const MASKED: [&str; 30] = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "systemd-networkd-wait-online.service",
    "e2scrub_reap.service",
    "systemd-pstore.service",
    "getty@tty1.service",
    "getty-static.service",
    "modprobe@configfs.service",
    "modprobe@dm_mod.service",
    "modprobe@drm.service",
    "modprobe@fuse.service",
    "modprobe@loop.service",
    "modprobe@efi_pstore.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount",
    "dev-mqueue.mount",
    "dev-hugepages.mount",
    "systemd-boot-system-token.service",
    "systemd-machine-id-commit.service",
    "systemd-random-seed.service",
    "systemd-repart.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
];

/// What no emulated guest here reads, a third of all files.
const LEFT_OUT: [&str; 4] = [
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
];

/// What the kernel needs to find its disk, in the order in which they need each other; ext4 is built in.
const MODULES: [&str; 6] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
];

/// The initramfs: finds the disk's second partition and goes on there.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin
busybox mount -t devtmpfs dev /dev
for module in $(busybox cat /modules/order); do busybox insmod /modules/$module.ko; done
until [ -b /dev/vda2 ]; do busybox sleep 0.1; done
busybox mount -t ext4 -o ro /dev/vda2 /root
busybox mount --move /dev /root/dev
exec busybox switch_root /root /sbin/init
"#;

const LOADER: &str = "default debian\ntimeout 0\n";

/// `loglevel=6` shows the kernel's first line and few others: an emulated serial port takes its time for each byte.
const ENTRY: &str = "title Debian\nlinux /vmlinuz\ninitrd /initrd\noptions root=/dev/vda2 ro console=ttyAMA0 loglevel=6 \
    audit=0 fsck.mode=skip\n";

/// Makes the Debian guest's disk for ARM (qcow2), or finds it in the cache. Takes about a minute the first time; needs
/// root.
///
/// # Errors
/// Which of Debian's tools failed, and how.
pub fn debian_arm_disk() -> Result<PathBuf, String> {
    let mut recipe = vec![PACKAGES, INIT, LOADER, ENTRY, "1"];
    recipe.extend(FILES.iter().flat_map(|(path, text)| [*path, *text]));
    recipe.extend(USERS.iter().map(|(name, _)| *name));
    recipe.extend(ENABLED.iter().flat_map(|(link, unit)| [*link, *unit]));
    recipe.extend(MASKED);
    recipe.extend(LEFT_OUT);
    recipe.extend(MODULES);
    let folder = made("debian-arm64", &recipe, make)?;
    Ok(folder.join("disk.qcow2"))
}

fn make(work: &Path) -> Result<(), String> {
    let include = format!("--include={PACKAGES}");
    let architecture = format!("--architectures={}", Architecture::Arm64.name());
    run(
        work,
        "mmdebstrap",
        &[
            "--quiet",
            "--variant=extract",
            "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
            &architecture,
            &include,
            "--aptopt=Acquire::Languages \"none\"",
            "bookworm",
            "root",
        ],
    )?;
    let root = work.join("root");
    for folder in LEFT_OUT {
        fs::remove_dir_all(root.join(folder))
            .map_err(|error| format!("cannot remove {folder}: {error}"))?;
    }
    let kernel = kernel_version(&root)?;
    run(work, "depmod", &["-b", "root", &kernel])?;
    configure(&root).map_err(|(path, error)| format!("cannot write {path}: {error}"))?;
    let initrd = initramfs(&root, &kernel)?;
    for (name, content) in [
        ("initrd", initrd.as_slice()),
        ("loader.conf", LOADER.as_bytes()),
        ("debian.conf", ENTRY.as_bytes()),
    ] {
        fs::write(work.join(name), content)
            .map_err(|error| format!("cannot write {name}: {error}"))?;
    }
    let vmlinuz = format!("root/boot/vmlinuz-{kernel}");
    disk::boot_partition(
        work,
        &["EFI", "EFI/BOOT", "loader", "loader/entries"],
        &[
            // Where firmware looks that knows nothing of this disk yet.
            (
                "root/usr/lib/systemd/boot/efi/systemd-bootaa64.efi",
                "EFI/BOOT/BOOTAA64.EFI",
            ),
            ("loader.conf", "loader/loader.conf"),
            ("debian.conf", "loader/entries/debian.conf"),
            (&vmlinuz, "vmlinuz"),
            ("initrd", "initrd"),
        ],
    )?;
    disk::disk(work, &disk::Boot::Efi)?;
    for name in ["initrd", "loader.conf", "debian.conf"] {
        fs::remove_file(work.join(name))
            .map_err(|error| format!("cannot remove {name}: {error}"))?;
    }
    Ok(())
}

/// E.g. `6.1.0-56-cloud-arm64`: the only one that was unpacked.
fn kernel_version(root: &Path) -> Result<String, String> {
    let folder = root.join("usr/lib/modules");
    let failed = |error| format!("cannot read {}: {error}", folder.display());
    let first = fs::read_dir(&folder).map_err(failed)?.next();
    let entry = first.ok_or_else(|| format!("{} is empty", folder.display()))?;
    let name = entry.map_err(failed)?.file_name();
    Ok(name.to_string_lossy().into_owned())
}

/// Writes what scripts would have written. Err: the file, and why it cannot be.
fn configure(root: &Path) -> Result<(), (String, std::io::Error)> {
    let write = |path: &str, text: &str| {
        let file = root.join(path);
        let folder = file.parent().unwrap_or(root);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&file, text))
            .map_err(|error| (path.to_owned(), error))
    };
    let link = |path: &str, target: &str| {
        let place = root.join("etc/systemd/system").join(path);
        let folder = place.parent().unwrap_or(root);
        fs::create_dir_all(folder)
            .and_then(|()| symlink(target, &place))
            .map_err(|error| (path.to_owned(), error))
    };
    for (path, text) in FILES {
        write(path, text)?;
    }
    write("etc/pam.d/common-session-noninteractive", SESSION)?;
    let master = |name: &str| {
        let path = format!("usr/share/base-passwd/{name}.master");
        fs::read_to_string(root.join(&path)).map_err(|error| (path, error))
    };
    // The only user who can log in, and needs no password for it.
    let mut users = master("passwd")?.replacen("root:*:", "root::", 1);
    let mut groups = master("group")?;
    for (name, number) in USERS {
        users.push_str(&format!(
            "{name}:*:{number}:{number}::/:/usr/sbin/nologin\n"
        ));
        groups.push_str(&format!("{name}:*:{number}:\n"));
    }
    write("etc/passwd", &users)?;
    write("etc/group", &groups)?;
    for (path, unit) in ENABLED {
        link(path, &format!("/lib/systemd/system/{unit}"))?;
    }
    for unit in MASKED {
        link(unit, "/dev/null")?;
    }
    // Newer than /usr: systemd need not bring anything up to date at the first boot.
    write("etc/.updated", "")?;
    write("var/.updated", "")
}

fn initramfs(root: &Path, kernel: &str) -> Result<Vec<u8>, String> {
    let read = |path: &str| {
        fs::read(root.join(path)).map_err(|error| format!("cannot read {path}: {error}"))
    };
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "modules", "root"] {
        archive.folder(folder);
    }
    archive.character_device("dev/console", 5, 1);
    archive.file("bin/busybox", 0o755, &read("usr/bin/busybox")?);
    let mut order = String::new();
    for module in MODULES {
        let name = module.rsplit('/').next().unwrap_or(module);
        let content = read(&format!("usr/lib/modules/{kernel}/kernel/{module}.ko"))?;
        archive.file(&format!("modules/{name}.ko"), 0o644, &content);
        order.push_str(name);
        order.push('\n');
    }
    archive.file("modules/order", 0o644, order.as_bytes());
    archive.file("init", 0o755, INIT.as_bytes());
    Ok(archive.finish())
}
