//! Changes of the entries of a directory, as the kernel tells them (inotify).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::descriptor;

/// Watches one directory.
#[derive(Debug)]
pub struct Changes {
    file: OwnedFd,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Entries with these names came, went, changed their rights, or were written to if that is watched.
    Entries(BTreeSet<OsString>),
    /// Too much changed to be told, or the directory itself is gone: look at everything.
    Unknown,
}

impl Changes {
    /// Watches from now on which entries `directory` has, and their rights.
    ///
    /// # Errors
    /// If it cannot be watched, e.g. because it does not exist.
    pub fn of_entries(directory: &Path) -> io::Result<Self> {
        Self::of(directory, WatchFlags::empty())
    }

    /// As [`Changes::of_entries`], and when files in it are written to. Not for `/dev`, where
    /// every use of a device counts as writing.
    ///
    /// # Errors
    /// As [`Changes::of_entries`].
    pub fn of_contents(directory: &Path) -> io::Result<Self> {
        Self::of(directory, WatchFlags::MODIFY)
    }

    fn of(directory: &Path, more: WatchFlags) -> io::Result<Self> {
        let file = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let wanted = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&file, directory, wanted | more)?;
        Ok(Self { file })
    }

    /// Waits for changes. Safe to cancel: what was not returned is returned next time.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn next(&mut self) -> io::Result<Change> {
        loop {
            descriptor::readable(&self.file).await?;
            if let Some(change) = self.read()? {
                return Ok(change);
            }
        }
    }

    fn read(&mut self) -> io::Result<Option<Change>> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.file, &mut buffer);
        let mut names = BTreeSet::new();
        let mut unknown = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let lost = ReadFlags::QUEUE_OVERFLOW | ReadFlags::IGNORED;
                    unknown |= event.events().intersects(lost);
                    if let Some(name) = event.file_name() {
                        names.insert(OsString::from_vec(name.to_bytes().to_vec()));
                    }
                    if reader.is_buffer_empty() {
                        break;
                    }
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(match (unknown, names.is_empty()) {
            (true, _) => Some(Change::Unknown),
            (false, true) => None,
            (false, false) => Some(Change::Entries(names)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn new_changed_and_removed_entries_are_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut changes = Changes::of_contents(directory.path()).expect("watched");
        let path = directory.path().join("kvm");
        let expected = Change::Entries(BTreeSet::from([OsString::from("kvm")]));
        std::fs::write(&path, "x").expect("written");
        assert_eq!(changes.next().await.expect("told"), expected);
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(changes.next().await.expect("told"), expected);
        std::fs::remove_dir(directory.path()).expect("removed");
        assert_eq!(changes.next().await.expect("told"), Change::Unknown);
    }

    #[test]
    fn a_missing_directory_cannot_be_watched() {
        Changes::of_entries(Path::new("/nonexistent")).expect_err("refused");
    }
}
