//! The data directory: who has it open, and whether it was ever used.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::StoreError;

const DATABASE: &str = "state.db";
const LOCK: &str = "lock";
const MARKER: &str = "in-use";

/// An open directory. The lock goes with this value, or with the process, however it ends.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
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
            _lock: lock,
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
