//! A disk with two partitions, made without mounting anything: a small FAT one, from which it boots, and the root file
//! system. Both begin at whole MiB; the partition table is that of a PC's boot record, which EFI reads as well.

use super::run;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

const SECTOR: u64 = 512;
const BOOT_START: u64 = 2048;
const BOOT_SECTORS: u64 = 128 * 2048;
const ROOT_START: u64 = BOOT_START + BOOT_SECTORS;
const ROOT_SECTORS: u64 = 2048 * 2048;

/// What the boot partition is for.
pub(super) enum Boot<'a> {
    /// BIOS: this code, of 440 bytes at most, looks for the active partition and runs its first sector.
    Bios(&'a [u8]),
    /// EFI: the firmware runs `EFI/BOOT/BOOT*.EFI` in it.
    Efi,
}

/// Makes `boot.img` in `work`: a FAT file system with these folders, and these files (file in `work`, path in the file
/// system).
pub(super) fn boot_partition(
    work: &Path,
    folders: &[&str],
    files: &[(&str, &str)],
) -> Result<(), String> {
    let size = format!("{}", BOOT_SECTORS * SECTOR / 1024);
    run(
        work,
        "mkfs.vfat",
        &["-C", "-F", "32", "-n", "BOOT", "boot.img", &size],
    )?;
    for folder in folders {
        run(work, "mmd", &["-i", "boot.img", &format!("::{folder}")])?;
    }
    for (from, to) in files {
        run(work, "mcopy", &["-i", "boot.img", from, &format!("::{to}")])?;
    }
    Ok(())
}

/// Makes `disk.qcow2` in `work` from `boot.img` and the folder `root`, and removes both.
pub(super) fn disk(work: &Path, boot: &Boot<'_>) -> Result<(), String> {
    let blocks = format!("{}", ROOT_SECTORS * SECTOR / 4096);
    run(
        work,
        "mkfs.ext4",
        &[
            "-q", "-F", "-b", "4096", "-L", "root", "-d", "root", "root.img", &blocks,
        ],
    )?;
    assemble(work, boot).map_err(|error| format!("cannot assemble the disk: {error}"))?;
    let convert = ["convert", "-f", "raw", "-O", "qcow2"];
    run(
        work,
        "qemu-img",
        &[&convert[..], &["disk.raw", "disk.qcow2"]].concat(),
    )?;
    for file in ["boot.img", "root.img", "disk.raw"] {
        fs::remove_file(work.join(file))
            .map_err(|error| format!("cannot remove {file}: {error}"))?;
    }
    fs::remove_dir_all(work.join("root"))
        .map_err(|error| format!("cannot remove the root folder: {error}"))
}

/// The boot record with two partitions, and both file systems in their places.
fn assemble(work: &Path, boot: &Boot<'_>) -> std::io::Result<()> {
    let mut record = [0_u8; 512];
    // FAT with sector numbers; the EFI system partition.
    let (flag, kind) = match boot {
        Boot::Bios(code) => {
            let length = code.len().min(440);
            record[..length].copy_from_slice(&code[..length]);
            (0x80, 0x0c)
        }
        Boot::Efi => (0x00, 0xef),
    };
    record[446..462].copy_from_slice(&partition(flag, kind, BOOT_START, BOOT_SECTORS));
    record[462..478].copy_from_slice(&partition(0x00, 0x83, ROOT_START, ROOT_SECTORS));
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    let mut disk = File::create(work.join("disk.raw"))?;
    disk.write_all(&record)?;
    for (name, start) in [("boot.img", BOOT_START), ("root.img", ROOT_START)] {
        let mut image = File::open(work.join(name))?;
        disk.seek(SeekFrom::Start(start * SECTOR))?;
        std::io::copy(&mut image, &mut disk)?;
    }
    disk.set_len((ROOT_START + ROOT_SECTORS) * SECTOR)
}

/// One entry of the partition table; cylinder numbers say "beyond", so that sector numbers count.
fn partition(flag: u8, kind: u8, start: u64, sectors: u64) -> [u8; 16] {
    let mut entry = [
        flag, 0xfe, 0xff, 0xff, kind, 0xfe, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    entry[8..12].copy_from_slice(&number(start));
    entry[12..].copy_from_slice(&number(sectors));
    entry
}
