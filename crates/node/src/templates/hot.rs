//! Hot templates: whose memory lies in this process, sealed, for all guests that start from it to share.
//!
//! Nobody can write to a sealed memory, not even a QEMU that a guest has taken over; it was compared with its checksum
//! when it was read, and is good from then on, whatever happens to the file it came from. The rest of a template, which
//! QEMU opens by path, was read and compared then too, and is looked at before each use.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::launcher::warm::{FileIdentity, Template, TemplateFile, files};

use super::store::{Fault, MemoryChecksum, Stored};

/// A hot template.
#[derive(Debug)]
pub(crate) struct Hot {
    pub(crate) stored: Arc<Stored>,
    memory: OwnedFd,
    inode: u64,
    /// Bytes of this machine's memory that it takes.
    pub(crate) held_bytes: u64,
    /// That of each other file, from before it was compared.
    seen: BTreeMap<String, FileIdentity>,
    state: TemplateFile,
    disks: BTreeMap<String, TemplateFile>,
}

fn seen(path: &Path) -> std::io::Result<FileIdentity> {
    path.symlink_metadata()
        .map(|found| FileIdentity::of(&found))
}

impl Hot {
    /// Reads a template into memory, and compares every byte with its checksums. Blocks, for about a second each
    /// gigabyte that the guest had used.
    ///
    /// # Errors
    /// What is wrong with it, by name.
    pub(crate) fn load(stored: Arc<Stored>) -> Result<Self, Fault> {
        let mut known = BTreeMap::new();
        for name in stored.manifest.files.keys() {
            if name == files::MEMORY {
                continue;
            }
            // Before it is read: what changes meanwhile is seen at its use.
            let before = seen(&stored.path(name)).map_err(|_| Fault::Missing(name.clone()));
            known.insert(name.clone(), before?);
            stored.verify(name)?;
        }
        let file = |name: &str, path: PathBuf| {
            let identity = known.get(name).copied();
            let identity = identity.ok_or_else(|| Fault::Missing(name.to_owned()))?;
            Ok::<_, Fault>(TemplateFile { path, identity })
        };
        let state = file(files::STATE, stored.path(files::STATE))?;
        let disks = stored.disks().into_iter().map(|(volume, path)| {
            let name = format!("{volume}{}", files::DISK_SUFFIX);
            Ok((volume, file(&name, path)?))
        });
        let disks = disks.collect::<Result<_, Fault>>()?;
        let (memory, held_bytes) = read_memory(&stored)?;
        let inode = host::memory::inode(&memory)?;
        Ok(Self {
            stored,
            memory,
            inode,
            held_bytes,
            seen: known,
            state,
            disks,
        })
    }

    /// Whether the files that are used by path are those that were checked. Costs some calls to the kernel.
    ///
    /// # Errors
    /// [`Fault::Stale`], or [`Fault::Missing`].
    pub(crate) fn check(&self) -> Result<(), Fault> {
        for (name, known) in &self.seen {
            match seen(&self.stored.path(name)) {
                Ok(found) if found == *known => {}
                Ok(_) => return Err(Fault::Stale(name.clone())),
                Err(_) => return Err(Fault::Missing(name.clone())),
            }
        }
        Ok(())
    }

    /// What a launcher is told of it. Valid as long as this value lives.
    pub(crate) fn template(&self, required: bool) -> Template {
        let manifest = &self.stored.manifest;
        Template {
            key: manifest.key.as_str().to_owned(),
            made_at: manifest.made_at,
            memory: host::memory::path_of(self.memory.as_fd()),
            memory_inode: self.inode,
            state: self.state.clone(),
            disks: self.disks.clone(),
            kept: manifest.kept.clone(),
            required,
        }
    }
}

fn read_memory(stored: &Stored) -> Result<(OwnedFd, u64), Fault> {
    let name = files::MEMORY;
    match stored.look(name) {
        // Its content is compared below.
        Ok(()) | Err(Fault::Stale(_)) => {}
        Err(fault) => return Err(fault),
    }
    let file = File::open(stored.path(name))?;
    let bytes = file.metadata()?.size();
    let memory = host::memory::create("anyvirt-template", bytes)?;
    let memory = File::from(memory);
    let mut sum = MemoryChecksum::default();
    let held = host::memory::copy_data(&file, &memory, |at, piece| {
        sum.take(at, piece);
        Ok(())
    })?;
    let wanted = stored.manifest.files.get(name).map(|it| it.sha256.clone());
    if wanted != Some(sum.finish(bytes)) {
        return Err(Fault::Damaged(name.to_owned()));
    }
    host::memory::seal(&memory)?;
    Ok((memory.into(), held))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::templates::fixtures::{keep, made};
    use crate::templates::store::Store;
    use std::os::unix::fs::FileExt as _;

    fn kept() -> (tempfile::TempDir, Arc<Stored>) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path().join("templates")).expect("opened");
        let stored = keep(&store, &made());
        (folder, Arc::new(stored))
    }

    #[test]
    fn a_launcher_opens_a_sealed_memory_with_the_guests_bytes() {
        let (_folder, stored) = kept();
        let hot = Hot::load(Arc::clone(&stored)).expect("loaded");
        let told = hot.template(true);
        assert!(told.required);
        assert_eq!(told.key, stored.manifest.key.as_str());
        for (file, name) in [(&told.state, "state"), (&told.disks["root"], "root.qcow2")] {
            assert_eq!(file.path, stored.path(name));
            let found = file.path.metadata().expect("there");
            assert_eq!(file.identity, FileIdentity::of(&found));
        }
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&told.memory)
            .expect("opened");
        assert!(host::memory::is_sealed(&opened));
        assert_eq!(opened.metadata().expect("known").ino(), told.memory_inode);
        let mut found = [0; 5];
        opened.read_exact_at(&mut found, 4 << 20).expect("read");
        assert_eq!(&found, b"guest");
        assert!(hot.held_bytes < 2 << 20, "holes take nothing");
        hot.check().expect("as it was");
        // The memory's own file may go: it is not used any more.
        std::fs::remove_file(stored.path("memory")).expect("removed");
        hot.check().expect("as it was");
    }

    #[test]
    fn what_is_damaged_is_found_before_it_is_used() {
        for name in ["memory", "state", "root.qcow2"] {
            let (_folder, stored) = kept();
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(stored.path(name));
            file.expect("open")
                .write_all_at(b"!", 9000)
                .expect("written");
            let fault = Hot::load(stored).expect_err(name);
            assert!(
                matches!(&fault, Fault::Damaged(it) if it == name),
                "{fault}"
            );
        }
    }

    #[test]
    fn a_launcher_is_told_the_files_that_were_checked_and_not_those_that_came_after() {
        let (_folder, stored) = kept();
        let hot = Hot::load(Arc::clone(&stored)).expect("loaded");
        let before = hot.template(true);
        for name in ["state", "root.qcow2"] {
            let (path, other) = (stored.path(name), stored.path("rebuilt"));
            std::fs::copy(&path, &other).expect("copied");
            std::fs::rename(&other, &path).expect("in its place");
        }
        let told = hot.template(true);
        assert_eq!(told, before);
        for file in [&told.state, &told.disks["root"]] {
            let found = file.path.metadata().expect("there");
            assert_ne!(file.identity, FileIdentity::of(&found));
        }
    }

    #[test]
    fn what_changes_after_it_was_checked_is_stale_also_if_the_times_are_put_back() {
        let (_folder, stored) = kept();
        let hot = Hot::load(Arc::clone(&stored)).expect("loaded");
        let path = stored.path("root.qcow2");
        let before = path.metadata().expect("there").modified().expect("known");
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .expect("open");
        file.write_all_at(b"!", 9000).expect("written");
        file.set_modified(before).expect("put back");
        let fault = hot.check().expect_err("changed");
        assert!(
            matches!(&fault, Fault::Stale(it) if it == "root.qcow2"),
            "{fault}"
        );
        std::fs::remove_file(path).expect("removed");
        assert!(matches!(hot.check(), Err(Fault::Missing(_))));
    }
}
