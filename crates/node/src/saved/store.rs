//! Saved machines on disk: `<data>/saved/<namespace>/<id>/`, each a folder that appears and goes as a whole.
//!
//! ```text
//! .building-ID/  ──launcher writes, manifest.json written, renamed──►  NAMESPACE/ID/  ──renamed──►  .going-ID/ ──► gone
//! ```
//! What a crash leaves of either end begins with a point, and is removed at the next start, unless a machine's launcher
//! still writes there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use api::launcher::saved::{Record, files};
use api::launcher::warm::FileIdentity;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::machine::{read_json, write_json};
use crate::templates::store::{Facts, Fault, checksum, remove, stat};

/// The list of a saved machine's files, which is written last.
const MANIFEST: &str = "manifest.json";
const BUILDING: &str = ".building-";
const GOING: &str = ".going-";
/// Of the layout of the files: raised when it changes.
const FORMAT: u32 = 1;

/// Whose a saved machine is: it goes when that object goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// `VirtualMachine`, `VirtualMachineInstance` or `VirtualMachineSnapshotContent`.
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// All that is noted of a saved machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    pub(crate) owner: Owner,
    /// The machine's devices, see [`super::shape`].
    pub(crate) shape: Value,
    /// The host's processor, of a guest on KVM.
    pub(crate) processor: Option<String>,
    pub(crate) made_at: Timestamp,
    pub(crate) record: Record,
    pub(crate) files: BTreeMap<String, Facts>,
    /// Bytes of disk space that it takes.
    pub(crate) disk_bytes: u64,
}

/// What is known of a machine that is about to be saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) owner: Owner,
    pub(crate) shape: Value,
    pub(crate) processor: Option<String>,
    pub(crate) made_at: Timestamp,
}

/// A saved machine whose manifest was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) directory: PathBuf,
    pub(crate) manifest: Manifest,
}

impl Stored {
    /// Reads all files, and compares their checksums. Blocks. What a launcher is told: which files are meant.
    pub(crate) fn verify(&self) -> Result<BTreeMap<String, FileIdentity>, Fault> {
        let mut files = BTreeMap::new();
        for (name, facts) in &self.manifest.files {
            let path = self.directory.join(name);
            let found = stat(&path, name)?;
            if found.size() < facts.bytes {
                return Err(Fault::Truncated {
                    name: name.clone(),
                    found: found.size(),
                    wanted: facts.bytes,
                });
            }
            if checksum(&path, name)? != facts.sha256 {
                return Err(Fault::Damaged(name.clone()));
            }
            files.insert(name.clone(), FileIdentity::of(&stat(&path, name)?));
        }
        Ok(files)
    }

    /// Bytes on disk of what a machine gets copies of that goes on without taking it over: all but the state.
    pub(crate) fn copied_bytes(&self) -> Result<u64, Fault> {
        let names = self.manifest.files.keys();
        let copied = names.filter(|name| *name != files::STATE);
        copied
            .map(|name| Ok(stat(&self.directory.join(name), name)?.blocks() * 512))
            .sum()
    }
}

/// Whether this can be the name of a saved machine: a UID, for which nobody chose a path.
pub(crate) fn is_id(id: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !id.is_empty() && id.len() <= 63 && id.bytes().all(good)
}

/// The folder of saved machines.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
    /// Bytes that are about to be written; clones share them.
    reserved: Arc<Mutex<u64>>,
}

/// Room on the disk that nobody else counts on, until this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    reserved: Arc<Mutex<u64>>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        *reserved = reserved.saturating_sub(self.bytes);
    }
}

impl Store {
    /// The store in `root`, which is made if it is missing.
    pub(crate) fn open(root: PathBuf) -> io::Result<Self> {
        host::socket::private_directory(&root)?;
        Ok(Self {
            root,
            reserved: Arc::default(),
        })
    }

    /// Removes what a crash left, but for the folders of these ids, which are being written.
    pub(crate) fn sweep(&self, written: &BTreeSet<String>) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let building = name.strip_prefix(BUILDING);
            if building.is_some_and(|id| !written.contains(id)) || name.starts_with(GOING) {
                tracing::info!(%name, "removing what is left of a saved machine");
                // What cannot be removed is in nobody's way.
                if let Err(error) = remove(&entry.path()) {
                    tracing::warn!(%name, %error, "what is left of a saved machine stays");
                }
            }
        }
        Ok(())
    }

    /// Where a machine is saved to: there is nothing until [`Store::prepare`].
    pub(crate) fn building(&self, id: &str) -> PathBuf {
        self.root.join(format!("{BUILDING}{id}"))
    }

    /// An empty folder for a machine that is about to be saved.
    pub(crate) fn prepare(&self, id: &str) -> io::Result<PathBuf> {
        let folder = self.building(id);
        remove(&folder)?;
        host::socket::private_directory(&folder)?;
        Ok(folder)
    }

    /// Removes the folder of [`Store::prepare`].
    pub(crate) fn discard(&self, id: &str) -> io::Result<()> {
        remove(&self.building(id))
    }

    fn place(&self, namespace: &str, id: &str) -> PathBuf {
        self.root.join(namespace).join(id)
    }

    /// Takes a folder of [`Store::prepare`] into the store, with the files that the launcher has written, in place of
    /// an older one of that name. Blocks until that is durable.
    pub(crate) fn commit(&self, id: &str, made: Made) -> Result<Stored, Fault> {
        let building = self.building(id);
        let record: Option<Record> = read_json(&building.join(files::RECORD))?;
        let record = record.ok_or_else(|| Fault::Missing(files::RECORD.to_owned()))?;
        let (mut facts, mut disk_bytes) = (BTreeMap::new(), 0);
        for name in &record.files {
            let path = building.join(name);
            let sha256 = checksum(&path, name)?;
            let found = stat(&path, name)?;
            disk_bytes += found.blocks() * 512;
            let known = Facts {
                bytes: found.size(),
                sha256,
                modified: (found.mtime(), found.mtime_nsec()),
                inode: found.ino(),
            };
            facts.insert(name.clone(), known);
        }
        let Made {
            owner,
            shape,
            processor,
            made_at,
        } = made;
        let namespace = owner.namespace.clone();
        let manifest = Manifest {
            format: FORMAT,
            owner,
            shape,
            processor,
            made_at,
            record,
            files: facts,
            disk_bytes,
        };
        write_json(&building, MANIFEST, &manifest)?;
        self.remove(&namespace, id)?;
        let folder = self.root.join(&namespace);
        host::socket::private_directory(&folder)?;
        let directory = self.place(&namespace, id);
        fs::rename(&building, &directory)?;
        File::open(&folder)?.sync_all()?;
        File::open(&self.root)?.sync_all()?;
        Ok(Stored {
            directory,
            manifest,
        })
    }

    /// The saved machine of that name; `None`: there is none. One of which a guest has taken over the disks is there,
    /// and [`is_used`].
    pub(crate) fn get(&self, namespace: &str, id: &str) -> Result<Option<Stored>, Fault> {
        let directory = self.place(namespace, id);
        if !directory.is_dir() {
            return Ok(None);
        }
        let manifest: Option<Manifest> = read_json(&directory.join(MANIFEST))?;
        let manifest = manifest.ok_or_else(|| Fault::Missing(MANIFEST.to_owned()))?;
        if manifest.format != FORMAT {
            return Err(Fault::Foreign(format!(
                "it was saved by another anyvirt, in the format {}, and this one has {FORMAT}",
                manifest.format
            )));
        }
        if manifest.owner.namespace != namespace {
            return Err(Fault::Mismatch);
        }
        Ok(Some(Stored {
            directory,
            manifest,
        }))
    }

    /// All that there are: namespace and id.
    pub(crate) fn list(&self) -> io::Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        for namespace in fs::read_dir(&self.root)? {
            let namespace = namespace?;
            let name = namespace.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || !namespace.path().is_dir() {
                continue;
            }
            for entry in fs::read_dir(namespace.path())? {
                let id = entry?.file_name().to_string_lossy().into_owned();
                found.push((name.clone(), id));
            }
        }
        Ok(found)
    }

    /// The files of images without which saved machines cannot go on.
    pub(crate) fn images(&self) -> io::Result<BTreeSet<PathBuf>> {
        let mut images = BTreeSet::new();
        for (namespace, id) in self.list()? {
            // One that cannot be read, nobody can go on from.
            if let Ok(Some(stored)) = self.get(&namespace, &id) {
                images.extend(stored.manifest.record.images);
            }
        }
        Ok(images)
    }

    /// Removes a saved machine, if it is there. A guest that has taken over its disks keeps them.
    pub(crate) fn remove(&self, namespace: &str, id: &str) -> io::Result<()> {
        let going = self.root.join(format!("{GOING}{id}"));
        remove(&going)?;
        match fs::rename(self.place(namespace, id), &going) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed?,
        }
        // Only if it is empty.
        let _ = fs::remove_dir(self.root.join(namespace));
        remove(&going)
    }

    /// Free bytes of the file system.
    pub(crate) fn free(&self) -> io::Result<u64> {
        Ok(host::facts::file_system_bytes(&self.root)?.0)
    }

    /// Room for so many bytes, if `is_enough` says so of what is free and not reserved.
    ///
    /// # Errors
    /// What `is_enough` says.
    pub(crate) fn reserve(
        &self,
        bytes: u64,
        is_enough: impl FnOnce(u64) -> Result<(), String>,
    ) -> io::Result<Result<Reservation, String>> {
        let free = self.free()?;
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(message) = is_enough(free.saturating_sub(*reserved)) {
            return Ok(Err(message));
        }
        *reserved = reserved.saturating_add(bytes);
        Ok(Ok(Reservation {
            reserved: Arc::clone(&self.reserved),
            bytes,
        }))
    }
}

/// Whether a guest has taken over the disks of what was saved: it is of no use any more.
pub(crate) fn is_used(directory: &Path) -> bool {
    directory.join(files::USED).exists()
}
