//! Why the store refuses.

use std::path::PathBuf;

use crate::Entry;

/// Why a call failed. Cloneable, since all writers of a failed batch get the same one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The expectation of a write did not hold. Nothing was written.
    #[error("{key}: another write came first: expected {expected}, found {}", found(current.as_ref()))]
    Conflict {
        /// The key whose expectation failed.
        key: String,
        /// What the writer expected, in words.
        expected: String,
        /// What is there instead; `None` if there is no such key.
        current: Option<Entry>,
    },
    /// The revision asked for is no longer kept.
    #[error(
        "revision {asked} is compacted: the oldest still kept is {compacted}; list again and go on from there"
    )]
    Compacted {
        /// The revision asked for.
        asked: u64,
        /// The oldest revision that can still be listed, or watched after.
        compacted: u64,
    },
    /// The revision asked for has not happened yet.
    #[error("revision {asked} is in the future: the store is at {current}")]
    Future {
        /// The revision asked for.
        asked: u64,
        /// The newest revision.
        current: u64,
    },
    /// A key is empty or too long, a value or a commit is too large.
    #[error("{what} is {size}, more than the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size, in the limit's unit.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A key is empty.
    #[error("an empty key can't be written")]
    EmptyKey,
    /// The disk, or the quota of [`Options::max_database_bytes`](crate::Options::max_database_bytes), is full.
    /// Nothing was written; reads go on, deletes are still tried, and a later write may succeed.
    #[error("no space left for {}: {cause}; free space or delete objects, then try again", path.display())]
    Full {
        /// The database file.
        path: PathBuf,
        /// The database's own words.
        cause: String,
    },
    /// Another program kept the database locked for seconds. Nothing was written; a later write may succeed.
    #[error("{} is locked by another program: {cause}; end that program, then try again", path.display())]
    Busy {
        /// The database file.
        path: PathBuf,
        /// The database's own words.
        cause: String,
    },
    /// The disk failed while writing. Whether the write is on disk is unknown, so the store accepts no further writes
    /// until it is opened again; reads go on.
    #[error(
        "writing {} failed, and no write is accepted until the store is opened again: {cause}",
        path.display()
    )]
    Failed {
        /// The database file.
        path: PathBuf,
        /// The first failure, in the database's own words.
        cause: String,
    },
    /// Another process (or another store of this process) has the directory open.
    #[error("{} is in use by process {}", path.display(), holder.as_deref().unwrap_or("unknown"))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The holder's process id, if it could be read.
        holder: Option<String>,
    },
    /// The database was written by a newer version.
    #[error(
        "{} has schema version {found}, but this program knows only up to {supported}: use the newer program, or \
         restore a backup made before the upgrade",
        path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The version found in it.
        found: u64,
        /// The newest version this program knows.
        supported: u64,
    },
    /// The database is there, but damaged, truncated or not ours. Nothing was changed.
    #[error("{} is damaged: {cause}; restore it from a backup (nothing was changed)", path.display())]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The directory was in use before, but its database is gone.
    #[error(
        "{} is missing, although {} says that there was one: restore it from a backup, or delete {} to begin anew",
        path.display(), marker.display(), marker.display()
    )]
    Missing {
        /// The database file.
        path: PathBuf,
        /// The file that says so.
        marker: PathBuf,
    },
    /// A file or directory could not be made or read.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What happened.
        cause: String,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

fn found(current: Option<&Entry>) -> String {
    current.map_or_else(
        || "no such key".to_owned(),
        |entry| format!("revision {}", entry.modified),
    )
}
