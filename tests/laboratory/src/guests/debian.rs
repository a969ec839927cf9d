//! The Debian guest: a disk image with systemd, cloud-init, sshd and the guest agent, made from Debian packages without
//! mounting anything. BIOS boots it: syslinux on a small FAT partition, the root file system on the second one.

use super::{disk, made, run};
use std::fs;
use std::path::{Path, PathBuf};

const PACKAGES: &str = "linux-image-cloud-amd64,systemd-sysv,systemd-resolved,dbus,udev,cloud-init,cloud-guest-utils,\
    e2fsprogs,iproute2,iputils-ping,netbase,openssh-server,qemu-guest-agent,sudo,ca-certificates,less,python3-minimal";

/// Run inside the new system. What it turns off only costs an emulated guest time at boot.
const CUSTOMIZE: &str = r#"
set -e
echo debian > /etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 debian\n' > /etc/hosts
printf 'LABEL=root / ext4 rw,noatime,errors=remount-ro 0 0\n' > /etc/fstab
printf 'datasource_list: [ NoCloud, None ]\ndatasource: { NoCloud: { fs_label: cidata } }\n' > /etc/cloud/cloud.cfg.d/90_anyvirt.cfg
cat > /etc/cloud/cloud.cfg.d/91_anyvirt.cfg << 'END'
locale: false
system_info: { network: { renderers: [ networkd ] } }
apt: { preserve_sources_list: true }
manage_etc_hosts: false
ssh_genkeytypes: [ ed25519 ]
# Passwords are set before the login prompt can appear; what nobody here uses is left out, a Python import each.
cloud_init_modules: [ seed_random, bootcmd, write-files, growpart, resizefs, disk_setup, mounts, set_hostname,
  update_hostname, update_etc_hosts, ca-certs, rsyslog, users-groups, ssh, set-passwords ]
cloud_config_modules: [ apt-configure, ntp, timezone, runcmd ]
cloud_final_modules: [ package-update-upgrade-install, write-files-deferred, scripts-vendor, scripts-per-once,
  scripts-per-boot, scripts-per-instance, scripts-user, phone-home, final-message, power-state-change ]
END
mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\n' > /etc/systemd/journald.conf.d/anyvirt.conf
printf 'policy: enabled\n' > /etc/cloud/ds-identify.cfg
ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
systemctl enable systemd-networkd systemd-resolved ssh serial-getty@ttyS0.service
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
  systemd-networkd-wait-online.service e2scrub_reap.service systemd-pstore.service getty@tty1.service \
  modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service modprobe@fuse.service modprobe@loop.service \
  modprobe@efi_pstore.service sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
  sys-fs-fuse-connections.mount dev-mqueue.mount dev-hugepages.mount
printf 'MODULES=list\nCOMPRESS=lz4\nRESUME=none\n' > /etc/initramfs-tools/conf.d/anyvirt
printf 'virtio_pci\nvirtio_blk\nvirtio_scsi\nvirtio_net\nahci\nsd_mod\n' >> /etc/initramfs-tools/modules
rm -f /etc/machine-id /var/lib/dbus/machine-id /etc/ssh/ssh_host_*
: > /etc/machine-id
update-initramfs -u
"#;

/// Boots at once; the serial console is the system console. `loglevel=6` lets the kernel's first line through `quiet`, and
/// few others: what is seen of the kernel's start costs some milliseconds.
const SYSLINUX: &str = "DEFAULT debian\nTIMEOUT 1\nPROMPT 0\nLABEL debian\n  KERNEL vmlinuz\n  INITRD initrd\n  \
    APPEND root=LABEL=root ro console=ttyS0 quiet loglevel=6 audit=0 random.trust_cpu=on fsck.mode=skip\n";

/// Makes the Debian guest's disk (qcow2), or finds it in the cache. Takes about two minutes the first time; needs root.
///
/// # Errors
/// Which of Debian's tools failed, and how.
pub fn debian_disk() -> Result<PathBuf, String> {
    let folder = made("debian", &[PACKAGES, CUSTOMIZE, SYSLINUX, "1"], make)?;
    Ok(folder.join("disk.qcow2"))
}

fn make(work: &Path) -> Result<(), String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| format!("cannot {what}: {error}")
    };
    fs::write(work.join("customize"), CUSTOMIZE).map_err(failed("write the customizing script"))?;
    fs::write(work.join("syslinux.cfg"), SYSLINUX).map_err(failed("write syslinux.cfg"))?;
    let include = format!("--include={PACKAGES}");
    run(
        work,
        "mmdebstrap",
        &[
            "--quiet",
            "--variant=minbase",
            &include,
            "--aptopt=Acquire::Languages \"none\"",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            "--customize-hook=cp customize \"$1/tmp/customize\"",
            "--customize-hook=chroot \"$1\" sh /tmp/customize",
            "--customize-hook=rm \"$1/tmp/customize\"",
            "bookworm",
            "root",
        ],
    )?;
    boot_partition(work)?;
    let code = fs::read("/usr/lib/syslinux/mbr/mbr.bin")
        .map_err(|error| format!("cannot read syslinux' boot record: {error}"))?;
    disk::disk(work, &disk::Boot::Bios(&code))?;
    for file in ["customize", "syslinux.cfg"] {
        fs::remove_file(work.join(file)).map_err(failed(&format!("remove {file}")))?;
    }
    Ok(())
}

/// A FAT file system with the kernel, the initramfs and syslinux, made without mounting.
fn boot_partition(work: &Path) -> Result<(), String> {
    let boot = work.join("root/boot");
    let find = |start: &str| -> Result<String, String> {
        let names = fs::read_dir(&boot)
            .map_err(|error| format!("cannot read {}: {error}", boot.display()))?;
        names
            .filter_map(|entry| {
                entry
                    .ok()
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
            })
            .find(|name| name.starts_with(start))
            .ok_or_else(|| format!("the new system has no /boot/{start}*"))
    };
    let kernel = format!("root/boot/{}", find("vmlinuz-")?);
    let initrd = format!("root/boot/{}", find("initrd.img-")?);
    disk::boot_partition(
        work,
        &[],
        &[
            (kernel.as_str(), "vmlinuz"),
            (&initrd, "initrd"),
            ("syslinux.cfg", "syslinux.cfg"),
        ],
    )?;
    run(work, "syslinux", &["--install", "boot.img"])?;
    Ok(())
}
