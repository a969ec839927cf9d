//! What a program may no longer do once it runs: its user, capabilities, limits, files, networks.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};

/// The rights of files that exist up to Linux 6.10, whatever the running kernel knows of them.
const FILE_RIGHTS: ABI = ABI::V5;
/// Of TCP (Linux 6.7).
const NETWORK_RIGHTS: ABI = ABI::V4;
/// Of signals and abstract sockets (Linux 6.12).
const SCOPES: ABI = ABI::V6;

/// Files that every dynamically linked program reads. Missing ones are left out.
pub const LIBRARIES: [&str; 6] = [
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/alternatives",
];

/// A user of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// Further groups, e.g. the one that may open `/dev/kvm`.
    pub groups: Vec<u32>,
}

/// The only paths that remain reachable. Files already open stay usable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileAccess {
    /// Trees or files to read and execute.
    pub read: Vec<PathBuf>,
    /// Trees or files to read, write, create and remove; devices to use.
    pub write: Vec<PathBuf>,
    /// Whether TCP may be used.
    pub tcp: bool,
}

/// Namespaces of its own. Only root can have them; else the report says that they are missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// An empty network: no interface but a loopback that is down.
    pub network: bool,
    /// System V and POSIX message queues, semaphores and shared memory.
    pub ipc: bool,
    /// Host name.
    pub hostname: bool,
}

/// Rights taken from a program before its first instruction. Capabilities are always dropped,
/// gaining new ones by executing is always forbidden, its files are created for itself alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jail {
    /// Another user. Only root can change it; for others it must be `None`.
    pub user: Option<User>,
    /// The only reachable paths, by Landlock. `None`: as its user may.
    pub files: Option<FileAccess>,
    /// Namespaces of its own.
    pub namespaces: Namespaces,
    /// How many files it may have open.
    pub open_files: u64,
    /// Whether it keeps the one capability to listen on ports below 1024. Only root can give it.
    pub low_ports: bool,
}

impl Default for Jail {
    fn default() -> Self {
        Self {
            user: None,
            files: None,
            namespaces: Namespaces::default(),
            // Firecracker's figure: far above what one VM needs, far below what hurts the host.
            open_files: 2048,
            low_ports: false,
        }
    }
}

/// How far Landlock holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confinement {
    /// Not asked for.
    NotAsked,
    /// All rights asked for are restricted; the kernel's Landlock version.
    Full(u32),
    /// The kernel's Landlock is too old for some of them.
    Partial(u32),
    /// Nothing is restricted, with the reason.
    None(String),
}

/// Which parts of a jail hold for a started program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JailReport {
    /// Its user, if it was changed.
    pub user: Option<u32>,
    /// Whether all capabilities are gone, but that of low ports if it was asked for.
    pub capabilities_dropped: bool,
    /// Whether it cannot gain rights by executing a program.
    pub no_new_privileges: bool,
    /// Its files.
    pub files: Confinement,
    /// Its own namespaces, by name.
    pub namespaces: Vec<&'static str>,
    /// What was asked for and does not hold, each with its reason.
    pub missing: Vec<String>,
}

impl JailReport {
    /// The report on a program without a jail.
    #[must_use]
    pub fn unconfined() -> Self {
        Self {
            user: None,
            capabilities_dropped: false,
            no_new_privileges: false,
            files: Confinement::NotAsked,
            namespaces: Vec::new(),
            missing: Vec::new(),
        }
    }
}

/// The version of Landlock that the running kernel offers, 0 for none.
#[must_use]
pub fn landlock_version() -> u32 {
    crate::launch::landlock_version()
}

/// Makes the Landlock ruleset, which needs memory and open files and is therefore done before the
/// new process exists.
pub(crate) fn ruleset(access: &FileAccess) -> (Option<OwnedFd>, Confinement) {
    let version = landlock_version();
    if version == 0 {
        return (
            None,
            Confinement::None("this kernel has no Landlock, or it is off".to_owned()),
        );
    }
    match build(access) {
        Ok(Some(file)) if version >= 6 => (Some(file), Confinement::Full(version)),
        Ok(Some(file)) => (Some(file), Confinement::Partial(version)),
        Ok(None) => (
            None,
            Confinement::None("the kernel accepted no rule".to_owned()),
        ),
        Err(error) => (None, Confinement::None(error.to_string())),
    }
}

fn build(access: &FileAccess) -> Result<Option<OwnedFd>, landlock::RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(FILE_RIGHTS))?
        .scope(Scope::from_all(SCOPES))?;
    if !access.tcp {
        ruleset = ruleset.handle_access(AccessNet::from_all(NETWORK_RIGHTS))?;
    }
    let mut created = ruleset.create()?;
    let read = AccessFs::from_read(FILE_RIGHTS);
    let write = AccessFs::from_all(FILE_RIGHTS);
    for (paths, rights) in [(&access.read, read), (&access.write, write)] {
        for path in paths {
            // A path that is not there needs no right; the program sees that it is missing.
            let Ok(parent) = PathFd::new(path) else {
                continue;
            };
            let rights = if path.is_dir() {
                rights
            } else {
                rights & file_rights()
            };
            created = created.add_rule(PathBeneath::new(parent, rights))?;
        }
    }
    Ok(created.into())
}

/// The rights that make sense for something that is not a directory.
fn file_rights() -> BitFlags<AccessFs> {
    AccessFs::from_file(FILE_RIGHTS)
}
