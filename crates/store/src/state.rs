//! Everything the store holds in memory, as one immutable value: readers take a snapshot and walk it without a lock.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use crate::{Entry, Event, Listing, Page, StoreError};

/// The first revision, of an empty store. Not 0, which means "any" to Kubernetes clients.
pub(crate) const FIRST_REVISION: u64 = 1;

/// How much history is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistoryBounds {
    /// Events.
    pub(crate) events: usize,
    /// Bytes as [`Event::cost`] counts them.
    pub(crate) bytes: usize,
}

/// Entries and recent history at one revision. Cloning is cheap: the maps share their nodes.
#[derive(Clone, Debug)]
pub(crate) struct State {
    entries: OrdMap<Arc<str>, Entry>,
    history: OrdMap<u64, Arc<Event>>,
    history_bytes: usize,
    revision: u64,
    /// All events after this revision are in `history`.
    floor: u64,
}

impl State {
    /// An empty state that has reached `revision`, with no history.
    pub(crate) fn new(revision: u64) -> Self {
        Self {
            entries: OrdMap::new(),
            history: OrdMap::new(),
            history_bytes: 0,
            revision,
            floor: revision,
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Puts an event into effect; `event.revision` must be greater than all before.
    pub(crate) fn apply(&mut self, event: &Arc<Event>) {
        debug_assert!(event.revision > self.revision, "revisions only go up");
        match event.entry() {
            Some(entry) => {
                self.entries.insert(Arc::clone(&event.key), entry);
            }
            None => {
                self.entries.remove(&*event.key);
            }
        }
        self.revision = event.revision;
        self.history_bytes += event.cost();
        self.history.insert(event.revision, Arc::clone(event));
    }

    /// Says that `revision` is reached without an event (numbers may be skipped, never used twice).
    pub(crate) fn advance(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
    }

    /// Drops the oldest events until the bounds hold.
    pub(crate) fn trim(&mut self, bounds: HistoryBounds) {
        while self.history.len() > bounds.events || self.history_bytes > bounds.bytes {
            let Some(&(oldest, _)) = self.history.get_min() else {
                break;
            };
            self.forget(oldest);
        }
    }

    /// Drops all events up to and including `revision` (no further than the newest).
    pub(crate) fn compact(&mut self, revision: u64) {
        let revision = revision.min(self.revision);
        while let Some(&(oldest, _)) = self.history.get_min()
            && oldest <= revision
        {
            self.forget(oldest);
        }
        self.floor = self.floor.max(revision);
    }

    /// For loading: history begins after `floor`.
    pub(crate) fn set_floor(&mut self, floor: u64) {
        self.floor = floor;
    }

    /// For loading: an entry older than the history.
    pub(crate) fn set_entry(&mut self, entry: Entry) {
        self.revision = self.revision.max(entry.modified);
        self.entries.insert(Arc::clone(&entry.key), entry);
    }

    /// For loading: a delete older than the history.
    pub(crate) fn remove_entry(&mut self, key: &str) {
        self.entries.remove(key);
    }

    fn forget(&mut self, revision: u64) {
        if let Some(event) = self.history.remove(&revision) {
            self.history_bytes -= event.cost();
        }
        self.floor = self.floor.max(revision);
    }

    /// Events after `after` whose key begins with `prefix`, oldest first.
    pub(crate) fn since<'a>(
        &'a self,
        prefix: &'a str,
        after: u64,
    ) -> Result<impl Iterator<Item = &'a Arc<Event>>, StoreError> {
        if after < self.floor {
            return Err(StoreError::Compacted {
                asked: after,
                compacted: self.floor,
            });
        }
        let range = (Bound::Excluded(after), Bound::Unbounded);
        let events = self.history.range::<_, u64>(range).map(|(_, event)| event);
        Ok(events.filter(move |event| event.key.starts_with(prefix)))
    }

    /// One page of the entries whose key begins with `prefix`.
    pub(crate) fn list(&self, prefix: &str, listing: Listing<'_>) -> Result<Page, StoreError> {
        let revision = listing.at.unwrap_or(self.revision);
        if revision > self.revision {
            return Err(StoreError::Future {
                asked: revision,
                current: self.revision,
            });
        }
        if revision == self.revision {
            return Ok(page(&self.entries, prefix, listing, revision));
        }
        let mut undone = OrdMap::clone(&self.entries);
        let newer: Vec<_> = self.since(prefix, revision)?.collect();
        for event in newer.into_iter().rev() {
            match &event.previous {
                Some(entry) => {
                    undone.insert(Arc::clone(&event.key), entry.clone());
                }
                None => {
                    undone.remove(&*event.key);
                }
            }
        }
        Ok(page(&undone, prefix, listing, revision))
    }
}

fn page(
    entries: &OrdMap<Arc<str>, Entry>,
    prefix: &str,
    listing: Listing<'_>,
    revision: u64,
) -> Page {
    let start = match listing.after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        Some(_) | None => Bound::Included(prefix),
    };
    let mut matching = entries
        .range::<_, str>((start, Bound::Unbounded))
        .map(|(_, entry)| entry)
        .take_while(|entry| entry.key.starts_with(prefix));
    let limit = listing.limit.unwrap_or(usize::MAX);
    let entries: Vec<Entry> = matching.by_ref().take(limit).cloned().collect();
    let remaining = if entries.len() < limit {
        0
    } else {
        matching.count()
    };
    Page {
        entries,
        revision,
        more: remaining > 0,
        remaining,
    }
}
