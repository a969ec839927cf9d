//! An image reference becomes a local file.
//!
//! Images come from OCI registries or from an OCI image layout on this machine (`oci-layout:/path[:tag]`, also written
//! `oci:/path[:tag]`). Of an image only the files asked for are kept: the disk of a containerDisk, or a kernel and an
//! initrd. Everything is checked against its digest on the way in, and against its marker each time it is used.

mod cache;
mod entry;
mod error;
mod layer;
mod manifest;
mod reference;
mod source;
mod stored;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use crate::cache::Cache;
pub use crate::error::{Problem, PullError};
pub use crate::reference::is_loopback;
pub use crate::stored::StoredImage;

/// Reads the header of the disk image at a path. Refuses, with the cause, an image that names other files (backing file,
/// data file) or is otherwise not to be used.
pub type Inspect = Arc<dyn Fn(&Path) -> Result<Inspected, String> + Send + Sync>;

/// Called with the progress of a download.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// What a disk image's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The format.
    pub format: Format,
    /// The size a guest sees.
    pub virtual_size_bytes: u64,
}

/// Formats of disk images that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The bytes of the disk, one after another.
    Raw,
    /// QEMU's format, without references to other files.
    Qcow2,
}

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that came so far.
    pub done_bytes: u64,
    /// Bytes of all layers.
    pub total_bytes: u64,
}

/// When an image is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// The registry is asked each time what the reference means; layers that are here are not fetched again.
    Always,
    /// Only if it is not here.
    IfNotPresent,
    /// Not at all: if it is not here, that is an error.
    Never,
}

/// A user of a registry.
#[derive(Clone)]
pub struct Credentials {
    /// Name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// An image that somebody wants.
#[derive(Clone)]
pub struct ImageRequest {
    /// The image: `[registry/]name[:tag][@digest]`, or `oci-layout:/path[:tag]`.
    pub reference: String,
    /// For a containerDisk: the disk's path in the image; `None` for the only file in `/disk`.
    pub path: Option<String>,
    /// When to fetch it.
    pub pull_policy: PullPolicy,
    /// For a private image.
    pub credentials: Option<Credentials>,
    /// Speak plain HTTP if the registry is on this machine's loopback. Any other registry is spoken to over TLS.
    pub insecure: bool,
    /// Called now and then while layers come; must not block.
    pub progress: Option<OnProgress>,
}

impl ImageRequest {
    /// A public image, fetched if it is not here; plain HTTP on loopback.
    pub fn new(reference: impl Into<String>) -> Self {
        Self {
            reference: reference.into(),
            path: None,
            pull_policy: PullPolicy::IfNotPresent,
            credentials: None,
            insecure: true,
            progress: None,
        }
    }
}

impl std::fmt::Debug for ImageRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ImageRequest")
            .field("reference", &self.reference)
            .field("path", &self.path)
            .field("pull_policy", &self.pull_policy)
            .finish_non_exhaustive()
    }
}

/// The disk of a containerDisk image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedDisk {
    /// The file; read-only, shared by everybody who uses the image.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// The size a guest sees.
    pub virtual_size_bytes: u64,
    /// `sha256:…` of the image's manifest.
    pub digest: String,
}

/// The files of a kernelBoot image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedKernel {
    /// The kernel, if one was asked for.
    pub kernel: Option<PathBuf>,
    /// The initrd, if one was asked for.
    pub initrd: Option<PathBuf>,
    /// `sha256:…` of the image's manifest.
    pub digest: String,
}

/// How much an image may take, so that no image can fill the disk or the memory.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of all layers of an image, packed.
    pub download_bytes: u64,
    /// Bytes of all layers of an image, unpacked.
    pub unpacked_bytes: u64,
    /// Bytes of the files taken out of an image. Zeros count, though they take no space on disk.
    pub file_bytes: u64,
    /// The largest disk a guest may see.
    pub virtual_bytes: u64,
    /// Files in an image.
    pub entries: u64,
    /// Images fetched at the same time; further ones wait.
    pub concurrent_pulls: usize,
    /// Whether references to layouts on this machine are served.
    pub layouts: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            download_bytes: 64 << 30,
            unpacked_bytes: 256 << 30,
            file_bytes: 128 << 30,
            virtual_bytes: 16 << 40,
            // The largest base images have some 100,000.
            entries: 1_000_000,
            // More share the same line and the same disk.
            concurrent_pulls: 3,
            layouts: true,
        }
    }
}
