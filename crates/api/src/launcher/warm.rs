//! Warm starts: what a launcher is told of templates, and what it answers.
//!
//! A template is a guest that has booted and was kept: its memory, the state of its devices, what it had written to
//! its disks, all of one instant. It is made of a guest of its own, which the node starts for that with
//! [`WarmStart::Keepable`] and without anybody's cloud-init data, and keeps with
//! [`Request::Keep`](super::Request::Keep). A machine that is started with [`WarmStart::Restore`] goes on from there as
//! somebody else: before it counts as running, its name, addresses, keys, clock and random numbers were renewed by the
//! hook in the guest, and the hook has proven it.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Bytes of each cloud-init image: the kernel of a guest that goes on as another machine knows the size of the one that it
/// had, so all have one size. [`LARGEST_CLOUD_INIT_BYTES`] of data fit. A machine that boots may have more.
pub const CLOUD_INIT_IMAGE_BYTES: u64 = 1 << 20;
/// The most user-data and network-config together, in bytes, with which a machine may start from a template.
pub const LARGEST_CLOUD_INIT_BYTES: usize = 512 << 10;

/// Names of the files that [`Request::Keep`](super::Request::Keep) writes.
pub mod files {
    /// The guest's memory, sparse.
    pub const MEMORY: &str = "memory";
    /// The state of its devices, as QEMU writes it.
    pub const STATE: &str = "state";
    /// A [`Kept`](super::Kept).
    pub const KEPT: &str = "kept.json";
    /// Follows the name of a volume: what the guest has written to it.
    pub const DISK_SUFFIX: &str = ".qcow2";
}

/// What a start has to do with templates.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum WarmStart {
    /// Boot, as a guest that can be kept.
    Keepable,
    /// Restore the template instead of booting.
    Restore(Box<Template>),
    /// Go on from a saved machine. It never boots instead.
    Resume(Box<super::saved::Saved>),
}

/// A template, checked by whoever names it, and immutable from then on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Template {
    /// What it was made for: hexadecimal digits.
    pub key: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// The guest's memory: `/proc/PID/fd/N`, a memfd that is sealed against writing and resizing.
    pub memory: PathBuf,
    /// That file's inode number: with another one, the process is not the one that was meant.
    pub memory_inode: u64,
    /// The state of its devices.
    pub state: TemplateFile,
    /// By name of those volumes to which the guest could write: the qcow2 files with what it had written. Each lies
    /// over what the volume itself is.
    pub disks: BTreeMap<String, TemplateFile>,
    /// What was noted when it was kept.
    pub kept: Kept,
    /// Fail, rather than boot instead.
    pub required: bool,
}

/// A file of a template that is opened by path.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TemplateFile {
    /// Where it is: the same place for each template of this key, one after another.
    pub path: PathBuf,
    /// Which one is meant.
    pub identity: FileIdentity,
}

/// What the kernel tells of a file without reading it: while it is the same, so is the content.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FileIdentity {
    /// The file's inode number. A file system gives that of a removed file to a new one.
    pub inode: u64,
    /// Its length.
    pub bytes: u64,
    /// When its content or attributes last changed (`st_ctim`), in seconds and nanoseconds: nobody can put it back.
    pub changed: (i64, i64),
}

impl FileIdentity {
    /// That of the file which this was asked of.
    #[must_use]
    pub fn of(found: &Metadata) -> Self {
        Self {
            inode: found.ino(),
            bytes: found.size(),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// What is noted of a guest that was kept.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Kept {
    /// MAC addresses of its cards, in the order of the interfaces.
    pub macs: Vec<String>,
    /// The machine type with its version.
    pub machine_type: String,
    /// QEMU's version.
    pub qemu_version: String,
    /// Bytes of its memory.
    pub memory_bytes: u64,
    /// The hook's word for itself: where it came from, `image` or `agent`.
    pub hook: String,
}

/// How a start that was to restore a template went.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WarmOutcome {
    /// The template's key.
    pub key: String,
    /// When the template was made.
    pub made_at: Timestamp,
    /// Why the guest was booted instead; none: it goes on from the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<WarmFailure>,
    /// Since when a standby guest of the template had been ready that the machine adopted; none: it restored the template
    /// itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby_since: Option<Timestamp>,
    /// Hexadecimal digits of random bytes that the guest's kernel gave after the renewal: different in each guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<String>,
}

/// How a guest stands that waits for a machine.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Standby {
    /// It is being restored, or comes to rest.
    Preparing,
    /// It waits, stopped.
    Ready {
        /// Since then.
        since: Timestamp,
    },
    /// There is none: it could not be got ready, or has ended.
    Failed(WarmFailure),
}

/// Why a template was of no use.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WarmFailure {
    /// Where it failed.
    pub stage: WarmStage,
    /// A sentence for people.
    pub message: String,
}

/// The steps of a restore.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum WarmStage {
    /// A file of the template is missing, or not what it should be.
    Files,
    /// QEMU did not take the state.
    Restore,
    /// The hook in the guest did not do, or not prove, what it was told.
    Renewal,
    /// The host stood in the way, whatever the template is like: its disk is full, or failed.
    Host,
}
