//! The data directory: who has it open, and whether it was ever used.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::StoreError;

const DATABASE: &str = "state.db";
const LOCK: &str = "lock";
const MARKER: &str = "in-use";
const RESERVE: &str = "reserve";
/// What deletes and compaction need to make room again: the write-ahead log holds up to 8 MiB before it is put into the
/// database, plus one batch of up to 8 MiB.
const RESERVE_BYTES: u64 = 16 << 20;

/// An open directory. The lock goes with this value, or with the process, however it ends.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing alone is not enough: a program that is just being started has a copy of the file until its exec. If
        // this fails, closing does it a moment later.
        drop(self.lock.unlock());
    }
}

impl Directory {
    /// Makes the directory if needed (mode 0700) and locks it.
    pub(crate) fn lock(path: &Path) -> Result<Self, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| io(path, &error))?;
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|error| io(&lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Reading is best effort: the refusal stands without the name.
                let named = (&lock).take(32).read_to_string(&mut holder).is_ok();
                let holder = Some(holder.trim().to_owned()).filter(|pid| named && !pid.is_empty());
                return Err(StoreError::InUse {
                    path: path.to_path_buf(),
                    holder,
                });
            }
            Err(TryLockError::Error(error)) => return Err(io(&lock_path, &error)),
        }
        let named = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        named.map_err(|error| io(&lock_path, &error))?;
        Ok(Self {
            path: path.to_path_buf(),
            lock,
        })
    }

    /// The database file, made empty if this directory never had one.
    pub(crate) fn database(&self) -> Result<PathBuf, StoreError> {
        let path = self.path.join(DATABASE);
        let marker = self.path.join(MARKER);
        let empty = std::fs::metadata(&path).map_or(true, |metadata| metadata.len() == 0);
        if !empty {
            return Ok(path);
        }
        if marker.exists() {
            return Err(StoreError::Missing { path, marker });
        }
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| io(&path, &error))?;
        self.sync()?;
        Ok(path)
    }

    /// Remembers, outside the database, that there is one: so that a lost database is not taken for a first start.
    pub(crate) fn mark(&self) -> Result<(), StoreError> {
        let marker = self.path.join(MARKER);
        if marker.exists() {
            return Ok(());
        }
        let written = File::create(&marker).and_then(|mut file| {
            writeln!(
                file,
                "{DATABASE} beside this file holds the state; without it nothing starts."
            )?;
            file.sync_all()
        });
        written.map_err(|error| io(&marker, &error))?;
        self.sync()
    }

    /// Sets space aside that only deletes may use once the disk is full; `false` if there is not enough. Without it the
    /// store works all the same.
    pub(crate) fn set_aside(&self) -> bool {
        let path = self.path.join(RESERVE);
        if std::fs::metadata(&path).is_ok_and(|file| file.len() == RESERVE_BYTES) {
            return true;
        }
        if self.available() < RESERVE_BYTES {
            return false;
        }
        let reserved = File::create(&path).and_then(|mut file| {
            match rustix::fs::fallocate(
                &file,
                rustix::fs::FallocateFlags::empty(),
                0,
                RESERVE_BYTES,
            ) {
                Err(rustix::io::Errno::OPNOTSUPP) => {
                    // Written, not only sized: a hole takes no space.
                    std::io::copy(&mut std::io::repeat(0).take(RESERVE_BYTES), &mut file)?;
                }
                allocated => allocated?,
            }
            file.sync_all()
        });
        reserved.inspect_err(|_| self.release()).is_ok()
    }

    /// Gives that space to the file system, if the disk is full at all (and not only a quota reached).
    pub(crate) fn release_if_full(&self) -> bool {
        let full = self.available() < RESERVE_BYTES;
        if full {
            self.release();
        }
        full
    }

    fn release(&self) {
        // If it is not there, there is nothing to release.
        drop(std::fs::remove_file(self.path.join(RESERVE)));
    }

    /// Bytes that may still be written to this file system; 0 if that is unknown.
    fn available(&self) -> u64 {
        rustix::fs::statvfs(&self.path)
            .map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn sync(&self) -> Result<(), StoreError> {
        File::open(&self.path)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| io(&self.path, &error))
    }
}

fn io(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io {
        path: path.to_path_buf(),
        cause: error.to_string(),
    }
}
