//! Saved machines: a guest that ran is written down with its memory, and the same machine goes on from there later; or
//! another one does, as somebody else.
//!
//! [`Request::Save`](super::Request::Save) writes the files of [`files`] into a folder, all of one instant. A start with
//! [`WarmStart::Resume`](super::warm::WarmStart::Resume) goes on from there. Unlike a template, a saved machine is of one
//! machine alone, with all that its guest knows: also its secrets. A resume that fails never boots instead: what was
//! saved stays, until somebody throws it away.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ResolvedVolume;
use super::warm::FileIdentity;
use crate::accelerator::Accelerator;

/// Names of the files that [`Request::Save`](super::Request::Save) writes.
pub mod files {
    /// The guest's memory and the state of its devices, as QEMU writes them.
    pub const STATE: &str = "state";
    /// A [`Record`](super::Record), which is written last.
    pub const RECORD: &str = "kept.json";
    /// What becomes of [`RECORD`] when a guest has taken over the disks beside it: from then on they are the guest's, and
    /// the state is of no use any more.
    pub const USED: &str = "used.json";
    /// Follows the name of a volume: what the guest has written to it.
    pub const DISK_SUFFIX: &str = ".qcow2";
    /// Follows the name of a volume: what lies between that and the volume itself, where the machine was started from a
    /// template.
    pub const LOWER_SUFFIX: &str = ".lower.qcow2";
    /// Follows the name of a volume: its cloud-init image.
    pub const CLOUD_INIT_SUFFIX: &str = ".iso";
    /// The variables of the guest's firmware, if it starts by EFI.
    pub const EFI_VARIABLES: &str = "efi-variables.raw";
}

/// What is noted of a guest that was saved.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    /// The instant: when its processors stopped.
    pub at: Timestamp,
    /// MAC addresses of its cards, in the order of the interfaces.
    pub macs: Vec<String>,
    /// The machine type with its version.
    pub machine_type: String,
    /// QEMU's version.
    pub qemu_version: String,
    /// Bytes of its memory.
    pub memory_bytes: u64,
    /// Its memory is that of a guest that was started from a template, by its name in QEMU. Such a guest has the port of
    /// the hook, too.
    pub template_shape: bool,
    /// It has the port of the hook that renews guests: machines that an earlier anyvirt booted have none.
    #[serde(default)]
    pub hook_port: bool,
    /// A hook in the guest waits.
    #[serde(default)]
    pub hook: bool,
    /// And it can make it somebody else: the guest has come to rest before.
    pub renewable: bool,
    /// Its processors had been stopped before already: so they are after a resume.
    pub paused: bool,
    /// What it ran on: its processor is another one on anything else.
    pub accelerator: Option<Accelerator>,
    /// By volume name: what each volume was made of, in one line.
    pub volumes: BTreeMap<String, String>,
    /// The files of images that lie below its disks, and those of the kernel that it boots: not among what is saved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<PathBuf>,
    /// By volume name: files of the host that are not among the saved, and must be as they were.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub host_disks: BTreeMap<String, HostDisk>,
    /// Names of the files beside the record.
    pub files: Vec<String>,
    /// Bytes of disk space that they take.
    pub disk_bytes: u64,
}

impl Record {
    /// Whether its guest has the port of the hook.
    #[must_use]
    pub fn has_hook_port(&self) -> bool {
        self.template_shape || self.hook_port
    }

    /// Whether a hook waits in its guest: one that can renew it waits, too.
    #[must_use]
    pub fn has_hook(&self) -> bool {
        self.hook || self.renewable
    }
}

/// What a volume is made of, in one line: the same for each volume on which a guest may go on. What is on the disks that
/// belong to the machine is among what is saved.
#[must_use]
pub fn volume(volume: &ResolvedVolume) -> String {
    match volume {
        ResolvedVolume::ContainerDisk {
            digest,
            format,
            virtual_size_bytes,
            ..
        } => format!("a container disk of {digest}, {format:?}, {virtual_size_bytes} bytes"),
        ResolvedVolume::CloudInitNoCloud { .. } => "cloud-init data".to_owned(),
        ResolvedVolume::EmptyDisk { capacity_bytes } => {
            format!("an empty disk of {capacity_bytes} bytes")
        }
        ResolvedVolume::HostDisk { path, .. } => format!("the host disk {}", path.display()),
    }
}

/// How a file of the host stood when its guest was saved.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HostDisk {
    /// Where it is.
    pub path: PathBuf,
    /// Its inode number.
    pub inode: u64,
    /// Its length.
    pub bytes: u64,
    /// When it was last written to, in seconds and nanoseconds.
    pub modified: (i64, i64),
}

impl HostDisk {
    /// That of the file at `path` which `found` was asked of.
    #[must_use]
    pub fn of(path: PathBuf, found: &Metadata) -> Self {
        Self {
            path,
            inode: found.ino(),
            bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        }
    }
}

/// A saved machine, checked by whoever names it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Saved {
    /// The folder.
    pub directory: PathBuf,
    /// What was noted in it.
    pub record: Record,
    /// By name: which file is meant, of each of [`Record::files`].
    pub files: BTreeMap<String, FileIdentity>,
    /// The disks become the guest's: the folder is of no use once the guest goes on ([`files::USED`]). Else it stays as
    /// it is, and the guest goes on with copies.
    pub take_over: bool,
    /// What the guest is told of the time that has passed.
    pub renewal: Renewal,
}

/// What a guest that goes on is told.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Renewal {
    /// It is the same machine: what time it is.
    Clock,
    /// It is another one: all that a guest from a template is told, and has to prove.
    Everything,
}

/// How a guest was saved.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SavedNow {
    /// The instant.
    pub at: Timestamp,
    /// For how long its processors stood still, in milliseconds, if it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_milliseconds: Option<u64>,
    /// Bytes of disk space that it takes.
    pub disk_bytes: u64,
}

/// How a guest goes on that was saved.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Resumed {
    /// When it was saved.
    pub saved_at: Timestamp,
    /// Its clock.
    pub clock: Clock,
}

/// The clock of a guest that goes on.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Clock {
    /// It was set.
    Set {
        /// By `agent` or `hook`.
        by: String,
    },
    /// It is late.
    Late {
        /// By so many seconds, as long as nobody in the guest sets it.
        seconds: u64,
        /// Why nobody could set it, a sentence.
        message: String,
    },
}
