//! What QEMU may still do: its user and files. It gets its disks and sockets as open files, so
//! that of paths it needs little more than its own libraries.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use api::accelerator::Accelerator;
use host::jail::{FileAccess, Jail, LIBRARIES, Namespaces, User};

const KVM: &str = "/dev/kvm";
/// Users of virtual machines: two for each, far above all that people and packages use.
const FIRST_USER: u32 = 2_000_000_000;
/// So many pairs of users; they end below 2^31, which some file systems have as their limit.
const PAIRS: u32 = 1 << 26;

/// The users of the virtual machine with this UID: QEMU's and that of its network. The same in
/// every launch. Two of a thousand machines on one host share theirs with a chance of 1 in 140.
pub(crate) fn users(uid: &str) -> (u32, u32) {
    // FNV-1a: spreads well, and is the same in every build.
    let hash = uid.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let pair = u32::try_from((hash >> 32) % u64::from(PAIRS)).unwrap_or(0);
    let qemu = FIRST_USER + 2 * pair;
    (qemu, qemu + 1)
}

/// A user without groups.
pub(crate) fn user(uid: u32) -> User {
    User {
        uid,
        gid: uid,
        groups: vec![],
    }
}

/// The jail of QEMU. `user` is its own user, `None` if we are not root; `readable` are files that
/// it opens itself.
pub(crate) fn jail(
    program: &Path,
    accelerator: Accelerator,
    user: Option<u32>,
    readable: Vec<PathBuf>,
) -> Jail {
    let mut read: Vec<PathBuf> = LIBRARIES.iter().map(PathBuf::from).collect();
    read.extend(installation(program));
    read.extend(readable);
    // QEMU tries there whether the kernel has the locks that keep disks apart, and goes without
    // them, silently, if it cannot.
    let mut write = vec![PathBuf::from("/dev/null")];
    let mut user = user.map(self::user);
    if accelerator == Accelerator::Kvm {
        write.push(PathBuf::from(KVM));
        user = user.and_then(may_open_kvm);
    }
    Jail {
        user,
        files: Some(FileAccess {
            read,
            write,
            tcp: false,
        }),
        namespaces: Namespaces {
            network: true,
            ipc: true,
            hostname: true,
        },
        ..Jail::default()
    }
}

/// QEMU opens `/dev/kvm` itself, as its own user: it gets the device's group if that may. If only
/// root may, QEMU stays root, without any capability and in the rest of its jail.
fn may_open_kvm(user: User) -> Option<User> {
    let Ok(device) = std::fs::metadata(KVM) else {
        return Some(user); // QEMU will say that it is missing
    };
    let mode = device.permissions().mode();
    if mode & 0o006 == 0o006 {
        Some(user)
    } else if mode & 0o060 == 0o060 {
        Some(User {
            groups: vec![device.gid()],
            ..user
        })
    } else {
        tracing::warn!(
            "{KVM} is for root only, so QEMU runs as root; cure: chgrp kvm {KVM}; chmod 660 {KVM}"
        );
        None
    }
}

/// Where a QEMU that was not installed by the distribution has its firmware.
fn installation(program: &Path) -> Vec<PathBuf> {
    let mut paths = vec![program.to_owned()];
    let folder = program.parent();
    let named = folder
        .and_then(Path::file_name)
        .is_some_and(|name| name == "bin" || name == "libexec");
    if let Some(prefix) = folder.and_then(Path::parent).filter(|_| named) {
        paths.extend(["lib", "share", "libexec"].map(|name| prefix.join(name)));
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_the_same_each_time_and_in_range() {
        let first = users("5d307ca9-b3ef-428c-8861-06e72d69f223");
        assert_eq!(first, users("5d307ca9-b3ef-428c-8861-06e72d69f223"));
        assert_ne!(first, users("5d307ca9-b3ef-428c-8861-06e72d69f224"));
        for number in 0..1000 {
            let (qemu, network) = users(&number.to_string());
            assert!(qemu >= FIRST_USER && network < 1 << 31 && network == qemu + 1);
        }
    }

    #[test]
    fn emulation_gets_no_device_and_no_network() {
        let jail = jail(
            Path::new("/opt/qemu/bin/qemu-system-x86_64"),
            Accelerator::Tcg,
            Some(7),
            vec!["/k".into()],
        );
        let files = jail.files.expect("restricted");
        assert_eq!(files.write, [PathBuf::from("/dev/null")]);
        assert!(!files.tcp && jail.namespaces.network);
        for path in ["/usr", "/k", "/opt/qemu/share"] {
            assert!(files.read.contains(&PathBuf::from(path)), "{path}");
        }
        assert!(!files.read.contains(&PathBuf::from("/")));
        assert_eq!(jail.user, Some(user(7)));
    }
}
