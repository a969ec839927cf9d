//! Templates on disk: `<data>/templates/<namespace>/<key>/`, each a folder that appears and goes as a whole.
//!
//! ```text
//! .building-KEY/  ──files durable, manifest.json written, renamed──►  NAMESPACE/KEY/  ──renamed──►  .going-KEY/ ──► gone
//! ```
//! What a crash leaves of either end begins with a point, and is removed at the next start.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use api::launcher::warm::{Kept, files};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::key::{Key, Shape, Surroundings, hexadecimal};
use crate::machine::{read_json, write_json};

/// The list of a template's files, which is written last.
const MANIFEST: &str = "manifest.json";
const BUILDING: &str = ".building-";
const GOING: &str = ".going-";
/// A page: what is all zero of this size counts for nothing in a memory's checksum.
const PAGE: usize = 4096;
/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// Why a template cannot be used: what of it is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("its file {0} is missing")]
    Missing(String),
    #[error("its file {name} is truncated: it has {found} of {wanted} bytes")]
    Truncated {
        name: String,
        found: u64,
        wanted: u64,
    },
    #[error("its file {0} is damaged: it has another checksum than when it was made")]
    Damaged(String),
    #[error("its file {0} has changed since it was checked")]
    Stale(String),
    #[error("its manifest is of another template")]
    Mismatch,
    #[error("it does not fit here any more: {0}")]
    Foreign(String),
    #[error("its memory takes {bytes} bytes, and there is room for {room} bytes")]
    NoRoom { bytes: u64, room: u64 },
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl Fault {
    /// Whether it is this machine that had no memory, room or descriptors for a moment: the template is as good as before.
    pub(crate) fn is_passing(&self) -> bool {
        use io::ErrorKind::{Interrupted, OutOfMemory, StorageFull, WouldBlock};
        let error = match self {
            Self::Io(error) => error,
            Self::NoRoom { .. } => return true,
            _ => return false,
        };
        matches!(
            error.kind(),
            OutOfMemory | StorageFull | Interrupted | WouldBlock
        ) || matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
    }
}

/// Too many open files, of the machine and of the process: errno(3). The standard library has no kinds for them.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// How a file stood when the template was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// Seconds and nanoseconds.
    pub(crate) modified: (i64, i64),
    pub(crate) inode: u64,
}

/// All that is noted of a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) key: Key,
    pub(crate) shape: Shape,
    /// What it has booted from, for people.
    pub(crate) image: String,
    pub(crate) made_at: Timestamp,
    pub(crate) kept: Kept,
    pub(crate) files: BTreeMap<String, Facts>,
    /// Bytes of disk space that it takes.
    pub(crate) disk_bytes: u64,
}

/// A template whose manifest was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) directory: PathBuf,
    pub(crate) manifest: Manifest,
}

impl Stored {
    pub(crate) fn namespace(&self) -> &str {
        &self.manifest.shape.namespace
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Bytes that its memory takes when it is read: what is not a hole.
    pub(crate) fn held_bytes(&self) -> Result<u64, Fault> {
        // In units of 512 bytes, whatever the file system has: stat(2).
        Ok(stat(&self.path(files::MEMORY), files::MEMORY)?.blocks() * 512)
    }

    /// By volume name: what the guest had written to its disks.
    pub(crate) fn disks(&self) -> BTreeMap<String, PathBuf> {
        let names = self.manifest.files.keys();
        names
            .filter_map(|name| {
                let volume = name.strip_suffix(files::DISK_SUFFIX)?;
                Some((volume.to_owned(), self.path(name)))
            })
            .collect()
    }

    /// Whether the file stands as when the template was made, as far as the kernel tells without reading it.
    pub(crate) fn look(&self, name: &str) -> Result<(), Fault> {
        let wanted = self
            .manifest
            .files
            .get(name)
            .ok_or_else(|| Fault::Missing(name.to_owned()))?;
        let found = stat(&self.path(name), name)?;
        if found.size() < wanted.bytes {
            return Err(Fault::Truncated {
                name: name.to_owned(),
                found: found.size(),
                wanted: wanted.bytes,
            });
        }
        let same = found.size() == wanted.bytes
            && found.ino() == wanted.inode
            && (found.mtime(), found.mtime_nsec()) == wanted.modified;
        if same {
            Ok(())
        } else {
            Err(Fault::Stale(name.to_owned()))
        }
    }

    /// Reads a file, and compares its checksum. Blocks.
    pub(crate) fn verify(&self, name: &str) -> Result<(), Fault> {
        match self.look(name) {
            // Only its content counts then; a backup that was put back has other times.
            Err(Fault::Stale(_)) | Ok(()) => {}
            Err(fault) => return Err(fault),
        }
        let wanted = self.manifest.files.get(name).map(|it| it.sha256.as_str());
        let found = checksum(&self.path(name), name)?;
        if wanted == Some(found.as_str()) {
            Ok(())
        } else {
            Err(Fault::Damaged(name.to_owned()))
        }
    }
}

pub(crate) fn stat(path: &Path, name: &str) -> Result<fs::Metadata, Fault> {
    // Not through a link: ours are plain files.
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(found),
        Ok(_) => Err(Fault::Damaged(name.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Fault::Missing(name.to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// The checksum of a memory in pieces: of each page that is not all zero, with its place, so that holes cost nothing.
#[derive(Debug, Default)]
pub(crate) struct MemoryChecksum(Sha256);

impl MemoryChecksum {
    /// Takes in a piece that begins at `at`; pieces come in order.
    pub(crate) fn take(&mut self, at: u64, piece: &[u8]) {
        let mut at = at;
        for page in piece.chunks(PAGE) {
            if page.iter().any(|byte| *byte != 0) {
                self.0.update(at.to_le_bytes());
                self.0.update(page);
            }
            at += page.len() as u64;
        }
    }

    /// The checksum of a memory of so many bytes.
    pub(crate) fn finish(mut self, bytes: u64) -> String {
        self.0.update(bytes.to_le_bytes());
        hexadecimal(&self.0.finalize())
    }
}

pub(crate) fn checksum(path: &Path, name: &str) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE];
    if name == files::MEMORY {
        let bytes = file.metadata()?.size();
        let mut sum = MemoryChecksum::default();
        let mut at = 0;
        while let Some((start, end)) = host::memory::next_data(&file, at, bytes)? {
            io::Seek::seek(&mut file, io::SeekFrom::Start(start))?;
            at = start;
            while at < end {
                let wanted = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
                let part = piece.get_mut(..wanted).unwrap_or_default();
                file.read_exact(part)?;
                sum.take(at, part);
                at += wanted as u64;
            }
        }
        return Ok(sum.finish(bytes));
    }
    let mut sum = Sha256::new();
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hexadecimal(&sum.finalize())),
            count => sum.update(piece.get(..count).unwrap_or_default()),
        }
    }
}

/// What was found at the start.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// Templates that can be used, as far as was looked.
    pub(crate) stored: Vec<Stored>,
    /// Those that were removed: namespace, key, and what was wrong.
    pub(crate) removed: Vec<(String, Key, Fault)>,
}

/// The folder of templates.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
}

/// What is known of a template that is about to be kept.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) shape: Shape,
    pub(crate) image: String,
    pub(crate) made_at: Timestamp,
}

impl Store {
    /// The store in `root`, which is made if it is missing.
    pub(crate) fn open(root: PathBuf) -> io::Result<Self> {
        host::socket::private_directory(&root)?;
        Ok(Self { root })
    }

    /// Removes what a crash left, and reads what is there. What is not whole, or `foreign` by what it was made in, is
    /// removed too, and why is logged.
    pub(crate) fn sweep(
        &self,
        foreign: impl Fn(&Surroundings) -> Option<String>,
    ) -> io::Result<Swept> {
        let mut found = Swept::default();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let swept = if name.starts_with(BUILDING) || name.starts_with(GOING) {
                tracing::info!(%name, "removing what is left of a template");
                remove(&entry.path())
            } else if entry.path().is_dir() && name != super::builder::FOLDER {
                self.sweep_namespace(&entry.path(), &foreign, &mut found)
            } else {
                Ok(())
            };
            // What cannot be read or removed is of no use, and in nobody's way.
            if let Err(error) = swept {
                tracing::warn!(%name, %error, "what is left of templates stays");
            }
        }
        Ok(found)
    }

    fn sweep_namespace(
        &self,
        folder: &Path,
        foreign: &impl Fn(&Surroundings) -> Option<String>,
        found: &mut Swept,
    ) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match self.read(&path).and_then(|stored| {
                match foreign(&stored.manifest.shape.surroundings) {
                    Some(why) => Err(Fault::Foreign(why)),
                    None => Ok(stored),
                }
            }) {
                Ok(stored) => found.stored.push(stored),
                // It is as good as before, and is not known to this run.
                Err(fault) if fault.is_passing() => {
                    tracing::warn!(template = %path.display(), %fault, "a template is not read now");
                }
                Err(fault) => {
                    tracing::warn!(template = %path.display(), %fault, "a template is removed");
                    // One that stays is found again at the next start.
                    if let Err(error) = remove(&path) {
                        tracing::warn!(template = %path.display(), %error, "it stays");
                    }
                    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
                    let key = name(&path).and_then(|name| Key::parse(&name));
                    if let (Some(namespace), Some(key)) = (name(folder), key) {
                        found.removed.push((namespace, key, fault));
                    }
                }
            }
        }
        // Only if it is empty.
        let _ = fs::remove_dir(folder);
        Ok(())
    }

    fn read(&self, directory: &Path) -> Result<Stored, Fault> {
        let manifest: Option<Manifest> = read_json(&directory.join(MANIFEST))?;
        let manifest = manifest.ok_or_else(|| Fault::Missing(MANIFEST.to_owned()))?;
        let stored = Stored {
            directory: directory.to_owned(),
            manifest,
        };
        let key = &stored.manifest.key;
        if stored.manifest.shape.key() != *key
            || self.place(stored.namespace(), key) != stored.directory
        {
            return Err(Fault::Mismatch);
        }
        for (name, facts) in &stored.manifest.files {
            let found = stat(&stored.path(name), name)?;
            if found.size() < facts.bytes {
                return Err(Fault::Truncated {
                    name: name.clone(),
                    found: found.size(),
                    wanted: facts.bytes,
                });
            }
        }
        Ok(stored)
    }

    fn place(&self, namespace: &str, key: &Key) -> PathBuf {
        self.root.join(namespace).join(key.as_str())
    }

    /// An empty folder for a template that is about to be made.
    pub(crate) fn building(&self, key: &Key) -> io::Result<PathBuf> {
        let folder = self.root.join(format!("{BUILDING}{}", key.short()));
        remove(&folder)?;
        host::socket::private_directory(&folder)?;
        Ok(folder)
    }

    /// Removes the folder of [`Store::building`].
    pub(crate) fn discard(&self, key: &Key) -> io::Result<()> {
        remove(&self.root.join(format!("{BUILDING}{}", key.short())))
    }

    /// Takes a folder of [`Store::building`] into the store, with the files that the launcher has written. Blocks until
    /// that is durable.
    pub(crate) fn commit(&self, building: &Path, made: &Made) -> Result<Stored, Fault> {
        let kept: Option<Kept> = read_json(&building.join(files::KEPT))?;
        let kept = kept.ok_or_else(|| Fault::Missing(files::KEPT.to_owned()))?;
        let (mut facts, mut disk_bytes) = (BTreeMap::new(), 0);
        for entry in fs::read_dir(building)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            let sha256 = checksum(&path, &name)?;
            File::open(&path)?.sync_all()?;
            let found = stat(&path, &name)?;
            disk_bytes += found.blocks() * 512;
            let known = Facts {
                bytes: found.size(),
                sha256,
                modified: (found.mtime(), found.mtime_nsec()),
                inode: found.ino(),
            };
            facts.insert(name, known);
        }
        for needed in [files::MEMORY, files::STATE] {
            if !facts.contains_key(needed) {
                return Err(Fault::Missing(needed.to_owned()));
            }
        }
        let key = made.shape.key();
        let manifest = Manifest {
            key: key.clone(),
            shape: made.shape.clone(),
            image: made.image.clone(),
            made_at: made.made_at,
            kept,
            files: facts,
            disk_bytes,
        };
        write_json(building, MANIFEST, &manifest)?;
        let directory = self.place(&made.shape.namespace, &key);
        let namespace = self.root.join(&made.shape.namespace);
        host::socket::private_directory(&namespace)?;
        // One of the same key that nobody trusts any more.
        self.remove(&made.shape.namespace, &key)?;
        host::socket::private_directory(&namespace)?;
        fs::rename(building, &directory)?;
        File::open(&namespace)?.sync_all()?;
        File::open(&self.root)?.sync_all()?;
        Ok(Stored {
            directory,
            manifest,
        })
    }

    /// Removes a template, if it is there. Guests that started from it keep what they have open.
    pub(crate) fn remove(&self, namespace: &str, key: &Key) -> io::Result<()> {
        let going = self.root.join(format!("{GOING}{}", key.short()));
        remove(&going)?;
        match fs::rename(self.place(namespace, key), &going) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed?,
        }
        // Only if it is empty.
        let _ = fs::remove_dir(self.root.join(namespace));
        remove(&going)
    }

    /// The most bytes of disk space that all templates together may take: a tenth of the file system, which leaves
    /// room for images and guests' disks.
    pub(crate) fn bound(&self) -> io::Result<u64> {
        Ok(host::facts::file_system_bytes(&self.root)?.1 / 10)
    }

    /// Free bytes of the file system.
    pub(crate) fn free(&self) -> io::Result<u64> {
        Ok(host::facts::file_system_bytes(&self.root)?.0)
    }
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let is_folder = match fs::symlink_metadata(path) {
        Ok(found) => found.is_dir(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if is_folder {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::templates::fixtures::{self, keep, made};
    use std::os::unix::fs::FileExt as _;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path().join("templates")).expect("opened");
        (folder, store)
    }

    fn all(store: &Store) -> Vec<Stored> {
        let swept = store.sweep(|made| fixtures::surroundings().foreign(made));
        swept.expect("swept").stored
    }

    fn is_empty(store: &Store) -> bool {
        let mut entries = fs::read_dir(&store.root).expect("readable");
        entries.next().is_none()
    }

    #[test]
    fn a_template_that_was_kept_is_found_again_and_verified() {
        let (_folder, store) = store();
        let kept = keep(&store, &made());
        assert_eq!(all(&store), std::slice::from_ref(&kept));
        for name in kept.manifest.files.keys() {
            kept.look(name).expect("as it was");
            kept.verify(name).expect("as it was");
        }
        let names: Vec<_> = kept.manifest.files.keys().map(String::as_str).collect();
        assert_eq!(names, ["kept.json", "memory", "root.qcow2", "state"]);
        assert_eq!(kept.disks().keys().collect::<Vec<_>>(), ["root"]);
        let mode = fs::metadata(&kept.directory).expect("there").mode() & 0o777;
        assert_eq!(mode, 0o700);
        // Kept again, it is another one at the same place.
        let again = keep(&store, &made());
        assert_eq!(again.directory, kept.directory);
        assert_eq!(all(&store).len(), 1);
        store.remove("ns", &kept.manifest.key).expect("removed");
        store.remove("ns", &kept.manifest.key).expect("twice");
        assert!(all(&store).is_empty() && is_empty(&store));
    }

    #[test]
    fn each_way_in_which_a_file_is_not_what_it_was_is_told_by_name() {
        for name in ["memory", "state", "root.qcow2"] {
            let (_folder, store) = store();
            let kept = keep(&store, &made());
            let path = kept.path(name);
            let bytes = fs::metadata(&path).expect("there").size();
            let file = || {
                fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .expect("open")
            };
            let told = |fault: Result<(), Fault>| fault.expect_err(name).to_string();
            // The same length, one other byte, and the times put back: only reading tells.
            let before = fs::metadata(&path)
                .expect("there")
                .modified()
                .expect("known");
            file().write_all_at(b"!", bytes / 2).expect("written");
            assert!(told(kept.look(name)).contains("has changed"));
            file().set_modified(before).expect("put back");
            kept.look(name).expect("looks the same");
            assert_eq!(
                told(kept.verify(name)),
                format!(
                    "its file {name} is damaged: it has another checksum than when it was made"
                )
            );
            file().set_len(bytes - 1).expect("cut");
            assert!(told(kept.look(name)).contains("truncated"));
            assert!(told(kept.verify(name)).contains("truncated"));
            fs::remove_file(&path).expect("removed");
            assert!(told(kept.verify(name)).contains("missing"));
            assert!(all(&store).is_empty(), "the next start removes it");
            assert!(is_empty(&store));
        }
    }

    #[test]
    fn the_same_content_written_again_is_stale_and_good() {
        let (_folder, store) = store();
        let kept = keep(&store, &made());
        let path = kept.path("state");
        let content = fs::read(&path).expect("read");
        fs::remove_file(&path).expect("removed");
        fs::write(&path, content).expect("written");
        assert!(matches!(kept.look("state"), Err(Fault::Stale(_))));
        kept.verify("state").expect("its content is the same");
    }

    #[test]
    fn a_namespace_may_have_any_name_and_what_cannot_be_read_is_in_nobodys_way() {
        let (_folder, store) = store();
        let mut made = made();
        made.shape.namespace = "building".to_owned();
        keep(&store, &made);
        fs::write(store.root.join("a file"), "").expect("written");
        fs::create_dir(store.root.join(crate::templates::builder::FOLDER)).expect("made");
        fs::write(store.root.join("building/a file"), "").expect("written");
        let found = all(&store);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].namespace(), "building");
    }

    #[test]
    fn what_a_crash_left_at_any_step_is_gone_after_the_sweep() {
        let (_folder, store) = store();
        let made = made();
        let key = made.shape.key();
        let steps: [(&str, &dyn Fn()); 5] = [
            ("an empty folder", &|| {
                store.building(&key).expect("made");
            }),
            ("files without a manifest", &|| {
                fixtures::write_files(&store.building(&key).expect("made"));
            }),
            ("a manifest, not renamed", &|| {
                let kept = keep(&store, &made);
                let building = store.building(&key).expect("made");
                fs::remove_dir(&building).expect("empty");
                fs::rename(&kept.directory, building).expect("renamed");
            }),
            ("renamed to go", &|| {
                let kept = keep(&store, &made);
                let going = store.root.join(format!("{GOING}{}", key.short()));
                fs::rename(&kept.directory, going).expect("renamed");
            }),
            ("half removed", &|| {
                let kept = keep(&store, &made);
                fs::remove_file(kept.path(MANIFEST)).expect("removed");
            }),
        ];
        for (name, step) in steps {
            step();
            assert!(!is_empty(&store), "{name}");
            assert!(all(&store).is_empty(), "{name}");
            assert!(is_empty(&store), "{name}");
            // And a new one can be made.
            keep(&store, &made);
            assert_eq!(all(&store).len(), 1, "{name}");
            store.remove("ns", &key).expect("removed");
        }
    }

    #[test]
    fn a_template_without_its_files_is_not_taken() {
        for missing in ["memory", "state", "kept.json"] {
            let (_folder, store) = store();
            let building = store.building(&made().shape.key()).expect("made");
            fixtures::write_files(&building);
            fs::remove_file(building.join(missing)).expect("removed");
            let fault = store.commit(&building, &made()).expect_err(missing);
            assert_eq!(fault.to_string(), format!("its file {missing} is missing"));
            assert!(all(&store).is_empty() && is_empty(&store));
        }
    }

    #[test]
    fn a_template_at_anothers_place_or_of_other_programs_is_removed() {
        let (_folder, store) = store();
        let kept = keep(&store, &made());
        let other = store.root.join("ns").join("0".repeat(64));
        fs::rename(&kept.directory, other).expect("renamed");
        assert!(all(&store).is_empty() && is_empty(&store));
        let kept = keep(&store, &made());
        fs::create_dir(store.root.join("other")).expect("made");
        let other = store.root.join("other").join(kept.manifest.key.as_str());
        fs::rename(&kept.directory, other).expect("renamed");
        assert!(all(&store).is_empty() && is_empty(&store));
        keep(&store, &made());
        let mut here = fixtures::surroundings();
        here.qemu_version = "9.1.0".to_owned();
        let swept = store.sweep(|made| here.foreign(made)).expect("swept");
        assert!(swept.stored.is_empty());
        let told = swept.removed.first().map(|(_, _, fault)| fault.to_string());
        assert!(
            told.expect("named")
                .contains("QEMU 7.2.22, and here is 9.1.0")
        );
        assert!(is_empty(&store));
    }

    #[test]
    fn a_memorys_checksum_does_not_depend_on_its_holes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let mut bytes = vec![0_u8; 3 << 20];
        bytes[5000..5005].copy_from_slice(b"guest");
        bytes[(2 << 20) + 7] = 1;
        fs::write(path("full"), &bytes).expect("written");
        let sparse = File::create(path("sparse")).expect("made");
        sparse.set_len(bytes.len() as u64).expect("set");
        sparse.write_all_at(b"guest", 5000).expect("written");
        sparse.write_all_at(&[1], (2 << 20) + 7).expect("written");
        let sum = |name: &str| checksum(&path(name), files::MEMORY).expect("read");
        assert_eq!(sum("full"), sum("sparse"));
        sparse.set_len(4 << 20).expect("grown");
        assert_ne!(sum("full"), sum("sparse"));
        sparse.set_len(bytes.len() as u64).expect("cut");
        sparse.write_all_at(&[2], (2 << 20) + 7).expect("written");
        assert_ne!(sum("full"), sum("sparse"));
    }

    #[test]
    fn what_passes_on_the_host_is_told_from_what_is_wrong_with_a_template() {
        let of = |number| Fault::Io(io::Error::from_raw_os_error(number));
        let [enomem, enospc, eio, eacces] = [12, 28, 5, 13];
        for passing in [enomem, enospc, ENFILE, EMFILE] {
            assert!(of(passing).is_passing(), "{passing}");
        }
        for lasting in [eio, eacces] {
            assert!(!of(lasting).is_passing(), "{lasting}");
        }
        assert!(!Fault::Damaged("state".to_owned()).is_passing());
    }
}
