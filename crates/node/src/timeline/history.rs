//! Earlier starts on this node, by what was started: one small file for each, in the data directory.
//!
//! A file is replaced as a whole, so a crash leaves the old one or the new one. What cannot be
//! read is left out and written anew: history is worth an estimate, not a failed start.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use api::accelerator::Accelerator;
use api::launcher::{ResolvedVolume, StartRequest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::machine::{read_json, write_json};

/// The folder below the data directory.
const FOLDER: &str = "start-history";
/// Starts that are kept of one key: enough for the spread to show, few enough that a machine which
/// became slower or faster is seen within some starts.
const STARTS: usize = 20;
/// Keys that are kept, 5 KiB each at most; the one not written for the longest goes.
const KEYS: usize = 256;

/// What was started. Starts of the same key take about the same time.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Key {
    /// What it boots from: digests of images, paths of kernels and of host disks.
    pub(crate) image: Vec<String>,
    /// The guest's processor architecture, in Go's names; empty: the node's.
    pub(crate) architecture: String,
    /// Its processors.
    pub(crate) processors: u32,
    /// What begins: `bios`, or `kernel` where that is booted directly.
    pub(crate) firmware: String,
    /// What runs it.
    pub(crate) accelerator: Accelerator,
}

impl Key {
    /// The key of a start.
    pub(crate) fn of(request: &StartRequest) -> Self {
        let spec = &request.instance.spec;
        let kernel = request.kernel.iter().map(|kernel| kernel.kernel.as_path());
        let kernel = kernel.map(|path| format!("kernel {}", path.display()));
        // In the order of the disks, so that the one that is booted counts as such.
        let volumes = spec.volumes.iter();
        let volumes = volumes.filter_map(|volume| match request.volumes.get(&volume.name)? {
            ResolvedVolume::ContainerDisk { digest, .. } => Some(digest.clone()),
            ResolvedVolume::HostDisk { path, .. } => Some(format!("disk {}", path.display())),
            ResolvedVolume::CloudInitNoCloud { .. } | ResolvedVolume::EmptyDisk { .. } => None,
        });
        let topology = api::resources::topology(spec);
        let product = [topology.sockets, topology.cores, topology.threads]
            .into_iter()
            .flatten()
            .fold(1, u32::saturating_mul);
        Self {
            image: kernel.chain(volumes).collect(),
            architecture: spec.architecture.clone().unwrap_or_default(),
            processors: product.max(1),
            firmware: if request.kernel.is_some() {
                "kernel"
            } else {
                "bios"
            }
            .to_owned(),
            accelerator: request.accelerator,
        }
    }

    /// The same start with another accelerator.
    pub(crate) fn with(&self, accelerator: Accelerator) -> Self {
        Self {
            accelerator,
            ..self.clone()
        }
    }

    /// FNV-1a over the parts: names of files, so it must stay the same across releases. A clash is
    /// found by the key in the file.
    fn file_name(&self) -> String {
        let parts = self
            .image
            .iter()
            .map(String::as_str)
            .chain([self.architecture.as_str(), self.firmware.as_str()]);
        let bytes = parts
            .flat_map(|part| part.bytes().chain([0xff]))
            .chain(self.processors.to_le_bytes())
            .chain(self.accelerator.to_string().into_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}.json")
    }
}

/// A start that reached its login.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct PastStart {
    /// UID of the VMI: one start is kept once.
    pub(crate) uid: String,
    /// When it was asked for.
    pub(crate) started_at: Timestamp,
    /// By step: seconds from the request until it was reached.
    pub(crate) steps: BTreeMap<String, f64>,
    /// By step: the longest silence after it, in seconds.
    #[serde(default)]
    pub(crate) silences: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Kept {
    key: Key,
    /// By the time of the request.
    starts: Vec<PastStart>,
}

/// The history in a data directory.
#[derive(Clone, Debug)]
pub(crate) struct History {
    folder: PathBuf,
}

impl History {
    /// The history of the node with this data directory.
    pub(crate) fn of(data_directory: &Path) -> Self {
        Self {
            folder: data_directory.join(FOLDER),
        }
    }

    /// Earlier starts of this key, by the time of their requests. None if they cannot be read,
    /// which is logged.
    pub(crate) fn starts(&self, key: &Key) -> Vec<PastStart> {
        let path = self.folder.join(key.file_name());
        match read_json::<Kept>(&path) {
            Ok(Some(kept)) if kept.key == *key => kept.starts,
            Ok(_) => Vec::new(),
            Err(error) => {
                tracing::warn!("earlier starts are not known: {error}");
                Vec::new()
            }
        }
    }

    /// Adds a start, or replaces what was kept of the same one. The oldest beyond [`STARTS`] go, and
    /// the longest unused keys beyond [`KEYS`]. Nobody else may write at the same time.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn add(&self, key: &Key, start: PastStart) -> io::Result<()> {
        let mut starts = self.starts(key);
        starts.retain(|kept| kept.uid != start.uid);
        starts.push(start);
        starts.sort_by_key(|kept| kept.started_at);
        let surplus = starts.len().saturating_sub(STARTS);
        starts.drain(..surplus);
        host::socket::private_directory(&self.folder)?;
        let kept = Kept {
            key: key.clone(),
            starts,
        };
        write_json(&self.folder, &key.file_name(), &kept)?;
        self.forget_unused()
    }

    fn forget_unused(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            // One that is gone by now needs not be forgotten.
            if let Ok(changed) = changed {
                files.push((changed, entry.path()));
            }
        }
        files.sort();
        let surplus = files.len().saturating_sub(KEYS);
        for (_, path) in files.into_iter().take(surplus) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
