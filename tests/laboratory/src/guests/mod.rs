//! Guests made from Debian packages: nothing but the package registry is reachable, so nothing else is used.
//!
//! A guest is made once for a recipe (a hash over everything that goes in) and kept in a cache folder:
//! `$ANYVIRT_LABORATORY_CACHE`, else `target/laboratory` of this repository.

mod boot_sector;
mod cpio;
mod debian;
mod debian_arm;
mod disk;
mod packages;
mod small;

pub use boot_sector::{BOOT_SECTOR_ANSWER, BOOT_SECTOR_HELLO, boot_sector_disk};
pub use debian::debian_disk;
pub use debian_arm::debian_arm_disk;
pub use packages::Architecture;
pub use small::{FIRST_LINE, OWN_WORDS, SmallGuest, small_files, small_files_of, warm_files};

use crate::images::{Image, Layout, Packing};

use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder that keeps finished guests.
pub fn cache() -> PathBuf {
    std::env::var_os("ANYVIRT_LABORATORY_CACHE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/laboratory"),
        PathBuf::from,
    )
}

/// The small guest as an image for `kernelBoot`: `/boot/vmlinux`, `/boot/vmlinuz` and `/boot/initrd`, tagged `latest`.
///
/// # Errors
/// Which of Debian's tools failed, and how.
pub fn small() -> Result<Image, String> {
    let files = small_files()?;
    image(
        "small-image",
        &[
            ("boot/vmlinux", &files.kernel_unpacked),
            ("boot/vmlinuz", &files.kernel),
            ("boot/initrd", &files.initrd),
        ],
    )
}

/// The small guest that can go on from a template, with anyvirt's own program in it: its files, and an image of them
/// with `/boot/vmlinux`, `/boot/vmlinuz` and `/boot/initrd`, tagged `latest`.
///
/// # Errors
/// Which of Debian's tools failed, and how; this machine is none whose program could run in the guest.
pub fn warm() -> Result<(SmallGuest, Image), String> {
    let hook = renewal::program("amd64")
        .ok_or("the small guest that goes on from a template is made on amd64 alone")?;
    let files = warm_files(hook)?;
    let image = image(
        "warm-image",
        &[
            ("boot/vmlinux", &files.kernel_unpacked),
            ("boot/vmlinuz", &files.kernel),
            ("boot/initrd", &files.initrd),
        ],
    )?;
    Ok((files, image))
}

/// The small guest with one more program in `/bin`, and its image.
///
/// # Errors
/// Which of Debian's tools failed, and how; the program cannot be read.
pub fn small_with(name: &str, program: &Path) -> Result<(SmallGuest, Image), String> {
    let files = small_files()?;
    let failed = |error: std::io::Error| format!("cannot add {}: {error}", program.display());
    let bytes = fs::read(program).map_err(failed)?;
    let digest: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let initrd = files.initrd.display().to_string();
    let made = made(
        &format!("small-{name}"),
        &[&initrd, name, &digest],
        |work| {
            // Linux unpacks one archive after the other.
            let mut both = fs::read(&files.initrd).map_err(failed)?;
            both.resize(both.len().next_multiple_of(4), 0);
            let mut archive = cpio::Archive::default();
            archive.file(&format!("bin/{name}"), 0o755, &bytes);
            both.extend(archive.finish());
            fs::write(work.join("initrd"), both).map_err(failed)
        },
    )?;
    let files = SmallGuest {
        initrd: made.join("initrd"),
        ..files
    };
    let image = image(
        &format!("small-{name}-image"),
        &[
            ("boot/vmlinux", &files.kernel_unpacked),
            ("boot/initrd", &files.initrd),
        ],
    )?;
    Ok((files, image))
}

/// The small guest for ARM as such an image; `/boot/vmlinux` and `/boot/vmlinuz` are the same there.
///
/// # Errors
/// Which of Debian's tools failed, and how.
pub fn small_arm() -> Result<Image, String> {
    let files = small_files_of(Architecture::Arm64)?;
    image(
        "small-arm64-image",
        &[
            ("boot/vmlinuz", &files.kernel),
            ("boot/initrd", &files.initrd),
        ],
    )
}

/// The Debian guest as a containerDisk image, tagged `latest` and `12`.
///
/// # Errors
/// Which of Debian's tools failed, and how.
pub fn debian() -> Result<Image, String> {
    image("debian-image", &[("disk/debian.qcow2", &debian_disk()?)])
}

/// The Debian guest for ARM as a containerDisk image, tagged `latest` and `12`.
///
/// # Errors
/// Which of Debian's tools failed, and how.
pub fn debian_arm() -> Result<Image, String> {
    image(
        "debian-arm64-image",
        &[("disk/debian.qcow2", &debian_arm_disk()?)],
    )
}

/// A manifest of a VM that boots the Debian guest for ARM of `image` (a reference) from its disk, with a screen.
pub fn debian_arm_vm(name: &str, image: &str) -> String {
    format!(
        r#"
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  runStrategy: Always
  template:
    spec:
      architecture: arm64
      terminationGracePeriodSeconds: 60
      domain:
        memory: {{guest: 512Mi}}
        devices:
          disks: [{{name: root, disk: {{bus: virtio}}}}]
          interfaces: [{{name: default, masquerade: {{}}}}]
      networks: [{{name: default, pod: {{}}}}]
      volumes: [{{name: root, containerDisk: {{image: "{image}"}}}}]
"#
    )
}

/// The boot sector guest as a containerDisk image, tagged `latest`.
///
/// # Errors
/// If a file can't be written.
pub fn boot_sector() -> Result<Image, String> {
    let bytes = boot_sector_disk();
    let recipe: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = made("boot-sector", &[recipe.trim_end_matches('0')], |work| {
        fs::write(work.join("disk.img"), &bytes)
            .map_err(|error| format!("cannot write the disk: {error}"))
    })?;
    image(
        "boot-sector-image",
        &[("disk/disk.img", &folder.join("disk.img"))],
    )
}

/// A manifest of a VM that boots the boot sector guest of `image` (a reference). It hears no request to shut down.
pub fn boot_sector_vm(name: &str, image: &str) -> String {
    format!(
        r#"
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  runStrategy: Always
  template:
    spec:
      terminationGracePeriodSeconds: 0
      domain:
        memory: {{guest: 32Mi}}
        devices:
          autoattachGraphicsDevice: false
          autoattachPodInterface: false
          disks: [{{name: disk, disk: {{bus: virtio}}}}]
      volumes: [{{name: disk, containerDisk: {{image: "{image}"}}}}]
"#
    )
}

/// A manifest of a VM that boots the small guest of `image` (a reference) and stops quickly.
pub fn small_vm(name: &str, image: &str) -> String {
    format!(
        r#"
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  runStrategy: Always
  template:
    spec:
      terminationGracePeriodSeconds: 5
      domain:
        memory: {{guest: 256Mi}}
        firmware:
          kernelBoot:
            container: {{image: "{image}", kernelPath: /boot/vmlinux, initrdPath: /boot/initrd}}
            kernelArgs: console=ttyS0 quiet
        devices:
          interfaces: [{{name: default, masquerade: {{}}}}]
      networks: [{{name: default, pod: {{}}}}]
"#
    )
}

/// A manifest of a VM of the guest of [`warm`] of `image` (a reference), which only starts from a template.
pub fn warm_vm(name: &str, image: &str) -> String {
    small_vm(name, image)
        .replace("guest: 256Mi", "guest: 128Mi")
        .replace(
            "  template:\n    spec:\n",
            "  template:\n    metadata: {annotations: {anyvirt.io/warm-start: Require}}\n    spec:\n",
        )
}

/// The same for the small guest for ARM of `image`, of [`small_arm`].
pub fn small_arm_vm(name: &str, image: &str) -> String {
    small_vm(name, image)
        .replace("/boot/vmlinux,", "/boot/vmlinuz,")
        .replace("console=ttyS0", "console=ttyAMA0")
        .replace(
            "      domain:\n",
            "      architecture: arm64\n      domain:\n",
        )
}

/// An image layout with these files (path in the image, file on this machine), kept in the cache.
fn image(name: &str, files: &[(&str, &Path)]) -> Result<Image, String> {
    // The files' own folders are named by their recipes, so their paths stand for their content.
    let recipe: Vec<String> = files
        .iter()
        .map(|(path, file)| format!("{path}={}", file.display()))
        .collect();
    let recipe: Vec<&str> = recipe.iter().map(String::as_str).collect();
    let folder = made(name, &recipe, |work| {
        let failed = |error: std::io::Error| format!("cannot make the image {name}: {error}");
        let layout = Layout::create(&work.join("layout")).map_err(failed)?;
        let layer = layout.layer(Packing::Tar, |archive| {
            files
                .iter()
                .try_for_each(|(path, file)| archive.append_file(path, &mut File::open(file)?))
        });
        let layer = layer.map_err(failed)?;
        layout
            .image("12", std::slice::from_ref(&layer))
            .map_err(failed)?;
        let digest = layout.image("latest", &[layer]).map_err(failed)?;
        fs::write(work.join("digest"), digest).map_err(failed)
    })?;
    let digest = fs::read_to_string(folder.join("digest"))
        .map_err(|error| format!("cannot read the digest of {name}: {error}"))?;
    Ok(Image {
        layout: folder.join("layout"),
        digest,
    })
}

/// Gives the folder of a finished thing named `name` and made by `recipe`; calls `make` with an empty
/// folder if there is none yet. Processes that want the same thing wait for one another.
fn made(
    name: &str,
    recipe: &[&str],
    make: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let mut hash = Sha256::new();
    for part in recipe {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest: String = hash
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let folder = cache().join(format!("{name}-{digest}"));
    let failed = |what: &str, error: std::io::Error| {
        format!("cannot {what} for {}: {error}", folder.display())
    };
    fs::create_dir_all(cache()).map_err(|error| failed("make the cache folder", error))?;
    let lock = File::create(cache().join(format!("{name}.lock")))
        .map_err(|error| failed("make the lock file", error))?;
    lock.lock()
        .map_err(|error| failed("take the lock", error))?;
    if folder.is_dir() {
        return Ok(folder);
    }
    let work =
        tempfile::tempdir_in(cache()).map_err(|error| failed("make a work folder", error))?;
    make(work.path())?;
    // Renamed when whole: a half-made guest is never taken for one.
    fs::rename(work.keep(), &folder)
        .map_err(|error| failed("put the finished folder in place", error))?;
    Ok(folder)
}

/// Runs a program to its end in `folder`. Err: its name, how it ended, and the last it said.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> Result<String, String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "making guests is running Debian's tools"
    )]
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        // Tools that make file systems stand where a user's PATH may not look.
        .env(
            "PATH",
            format!(
                "{}:/usr/sbin:/sbin",
                std::env::var("PATH").unwrap_or_default()
            ),
        )
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            format!("cannot start {program}: {error} (cargo xtask setup installs it)")
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let last: Vec<&str> = said.lines().rev().take(8).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(format!(
        "{program} {} ended with {}:\n{}",
        arguments.join(" "),
        output.status,
        last.join("\n")
    ))
}
