//! What is stored, what is asked for, and what happened.

use std::sync::Arc;

use bytes::Bytes;

/// One key with its value, as it stood at revision `modified`. Cloning copies no value bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// The value, exactly as it was put.
    pub value: Bytes,
    /// Revision of the put that brought the key into being (after its last delete, if any).
    pub created: u64,
    /// Revision of the last put.
    pub modified: u64,
}

/// What a writer expects to find; if it finds something else nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything: an entry or none. (A delete still needs an entry to delete.)
    Any,
    /// No entry. (A delete with this expectation can never succeed.)
    Absent,
    /// An entry whose `modified` is this revision.
    Revision(u64),
}

/// One change of a [`commit`](crate::Store::commit).
#[derive(Clone, Debug)]
pub enum Change {
    /// Writes `value` at `key`.
    Put {
        /// The key; not empty.
        key: String,
        /// The value.
        value: Bytes,
        /// What must be there before.
        expect: Expect,
    },
    /// Removes `key`; refused as a conflict when there is no such key.
    Delete {
        /// The key.
        key: String,
        /// What must be there before.
        expect: Expect,
    },
}

impl Change {
    /// The key this change is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    pub(crate) fn value_bytes(&self) -> usize {
        match self {
            Self::Put { value, .. } => value.len(),
            Self::Delete { .. } => 0,
        }
    }
}

/// One acknowledged change, as watchers see it. Each has its own revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The revision this change made.
    pub revision: u64,
    /// The key that changed.
    pub key: Arc<str>,
    /// What was done to it.
    pub change: EventChange,
    /// The entry as it stood before; `None` if the key was absent.
    pub previous: Option<Entry>,
}

/// What an [`Event`] did to its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventChange {
    /// The key now has this value.
    Put {
        /// The new value.
        value: Bytes,
        /// Revision that brought the key into being; equal to the event's own for a new key.
        created: u64,
    },
    /// The key is gone.
    Delete,
}

impl Event {
    /// The entry after this event; `None` after a delete.
    pub fn entry(&self) -> Option<Entry> {
        match &self.change {
            EventChange::Put { value, created } => Some(Entry {
                key: Arc::clone(&self.key),
                value: value.clone(),
                created: *created,
                modified: self.revision,
            }),
            EventChange::Delete => None,
        }
    }

    /// Bytes this event adds to memory: key, value and a flat charge for the bookkeeping. The previous value is not
    /// counted, because the event that brought it is nearly always still held too.
    pub(crate) fn cost(&self) -> usize {
        const BOOKKEEPING: usize = 128;
        let value = match &self.change {
            EventChange::Put { value, .. } => value.len(),
            EventChange::Delete => self.previous.as_ref().map_or(0, |entry| entry.value.len()),
        };
        BOOKKEEPING + self.key.len() + value
    }
}

/// Which part of a prefix to list. The default is everything, now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listing<'a> {
    /// List as it stood at this revision; `None` means now.
    pub at: Option<u64>,
    /// Only keys strictly greater than this one (the last key of the page before).
    pub after: Option<&'a str>,
    /// At most this many entries; `None` means all of them.
    pub limit: Option<usize>,
}

/// The answer to a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Entries in key order.
    pub entries: Vec<Entry>,
    /// The revision the page shows; pass it as [`Listing::at`] to get further pages of the same moment.
    pub revision: u64,
    /// Whether there are entries after the last one given.
    pub more: bool,
    /// How many entries there are after the last one given.
    pub remaining: usize,
}
