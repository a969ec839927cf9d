//! Locks that live exactly as long as the processes that hold them: `flock` on a file whose
//! descriptor a program inherits. They need no clean-up and cannot go stale.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::identity::Identity;

/// The most that is read of a holder's own words.
const HOLDER_BYTES: u64 = 512;

/// A held lock. Ends when the last copy of its descriptor is closed: dropped here, and every
/// program that inherited it ended.
#[derive(Debug)]
pub struct LifeLock {
    file: File,
    path: PathBuf,
}

/// A lock was not got.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is locked by {by}", path.display())]
    Held {
        /// The lock's file.
        path: PathBuf,
        /// What the holder wrote about itself, or "another process".
        by: String,
    },
    /// The file system has no locks, so nothing could be promised.
    #[error("the file system of {} has no locks: {source}", path.display())]
    Unsupported {
        /// The lock's file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot lock {}: {source}", path.display())]
    Failed {
        /// The lock's file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl LifeLock {
    /// Takes the lock at `path` (made if missing) without waiting. `holder` says in a line who
    /// holds it, for the error of the next one who asks, e.g. `VirtualMachineInstance a/b (pid 7)`.
    ///
    /// # Errors
    /// [`LockError::Held`] if it is taken, [`LockError::Unsupported`] on a file system without
    /// locks.
    pub fn acquire(path: &Path, holder: &str) -> Result<Self, LockError> {
        let failed = |source| LockError::Failed {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LockError::Held {
                    path: path.to_owned(),
                    by: read_holder(&mut file),
                });
            }
            Err(error @ (rustix::io::Errno::NOLCK | rustix::io::Errno::OPNOTSUPP)) => {
                return Err(LockError::Unsupported {
                    path: path.to_owned(),
                    source: error.into(),
                });
            }
            Err(error) => return Err(failed(error.into())),
        }
        let line: String = holder
            .chars()
            .filter(|character| !character.is_control())
            .collect();
        file.set_len(0)
            .and_then(|()| file.write_all(line.as_bytes()))
            .map_err(failed)?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Takes the lock of a disk, whatever names the disk has: one lock file per device and inode
    /// in `directory`, which all processes that write disks on this machine must share.
    ///
    /// # Errors
    /// As [`LifeLock::acquire`].
    pub fn acquire_for_disk(
        directory: &Path,
        disk: &File,
        holder: &str,
    ) -> Result<Self, LockError> {
        let identity = disk.metadata().map_err(|source| LockError::Failed {
            path: directory.to_owned(),
            source,
        })?;
        let name = format!("disk-{:x}-{:x}.lock", identity.dev(), identity.ino());
        Self::acquire(&directory.join(name), holder)
    }

    /// Whether somebody holds the lock at `path`; `None` if not or if there is no such file,
    /// else what the holder wrote.
    ///
    /// # Errors
    /// As [`LifeLock::acquire`], but never [`LockError::Held`].
    pub fn holder(path: &Path) -> Result<Option<String>, LockError> {
        let failed = |source| LockError::Failed {
            path: path.to_owned(),
            source,
        };
        let mut file = match OpenOptions::new().read(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(read_holder(&mut file))),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// The lock's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor to hand to a program ([`crate::process::Program::inherit`]), which then
    /// holds the lock alone.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.file.into()
    }
}

/// The processes that have the file at `path` open, found by looking at all of them: for the rare
/// case that a lock's holder must be ended and nobody remembers who it is. Processes whose files
/// we may not see are left out.
///
/// # Errors
/// If `path` or `/proc` cannot be read.
pub fn openers(path: &Path) -> io::Result<Vec<Identity>> {
    let wanted = std::fs::metadata(path)?;
    let wanted = (wanted.dev(), wanted.ino());
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc")? {
        let process = process?;
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // It may end while we look, or not be ours to look at.
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let has_it = files.flatten().any(|file| {
            std::fs::metadata(file.path()).is_ok_and(|found| (found.dev(), found.ino()) == wanted)
        });
        if has_it && let Some(identity) = Identity::of(pid)? {
            found.push(identity);
        }
    }
    Ok(found)
}

/// The holder may be writing just now; then its line is short, never wrong in kind.
fn read_holder(file: &mut File) -> String {
    let mut text = Vec::new();
    let read = file.rewind().and_then(|()| {
        io::Read::by_ref(file)
            .take(HOLDER_BYTES)
            .read_to_end(&mut text)
    });
    match read {
        Ok(count) if count > 0 => String::from_utf8_lossy(&text).into_owned(),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_the_lock_until_it_is_dropped() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("life.lock");
        assert_eq!(LifeLock::holder(&path).expect("no file, no error"), None);
        let lock = LifeLock::acquire(&path, "VirtualMachineInstance a/b\n").expect("free");
        match LifeLock::acquire(&path, "second") {
            Err(LockError::Held { by, .. }) => assert_eq!(by, "VirtualMachineInstance a/b"),
            other => panic!("expected Held, got {other:?}"),
        }
        assert_eq!(
            LifeLock::holder(&path).expect("readable").as_deref(),
            Some("VirtualMachineInstance a/b")
        );
        drop(lock);
        LifeLock::acquire(&path, "second").expect("free again");
    }

    #[test]
    fn two_names_of_one_disk_have_one_lock() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = directory.path().join("disk");
        std::fs::write(&first, b"").expect("written");
        let second = directory.path().join("another-name");
        std::fs::hard_link(&first, &second).expect("linked");
        let open = |path: &Path| File::open(path).expect("opened");
        let _lock =
            LifeLock::acquire_for_disk(directory.path(), &open(&first), "one").expect("free");
        assert!(matches!(
            LifeLock::acquire_for_disk(directory.path(), &open(&second), "two"),
            Err(LockError::Held { .. })
        ));
    }
}
