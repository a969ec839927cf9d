//! Ordered keys with revisions: get, list, compare-and-write, watch, compact; durable.
//!
//! Every change has a revision of its own, greater than all before; none is ever used twice, over restarts and compaction
//! too. A write that was answered is on disk (`fdatasync`), and every read after that answer shows it. Reads and watches
//! are served from memory and never wait for the disk or for a writer.
//!
//! ```text
//! put, delete, commit ──► queue ──► writer thread: plan ─► SQLite COMMIT ─► publish state ─► feed watchers ─► answer
//! get, list ◄── snapshot (persistent ordered map) ◄────────────────────────┘
//! ```

mod database;
mod directory;
mod entry;
mod error;
mod feed;
mod plan;
mod record;
mod state;
mod writer;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::database::Database;
use crate::directory::Directory;
use crate::feed::{Feed, QueueBounds};
use crate::state::HistoryBounds;
use crate::writer::{Published, Request, Write, Writer};

pub use crate::entry::{Change, Entry, Event, EventChange, Expect, Listing, Page};
pub use crate::error::StoreError;
pub use crate::feed::{Lagged, Watch};

/// Requests that may wait for the writer: a few batches, so that callers feel the back pressure early.
const WAITING_WRITES: usize = 1024;
/// The longest key in bytes: namespace, name, group and resource have 253 at most each.
const KEY_BYTES: usize = 2048;
/// Changes in one commit, so that one caller can't hold up all others.
const COMMIT_CHANGES: usize = 4096;

/// The bounds of a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Events kept for watches that resume and for lists of the past, while `history_bytes` allows.
    pub history_events: usize,
    /// Memory for those events, in bytes.
    pub history_bytes: usize,
    /// Events one watcher may be behind before it is dropped as [`Lagged`].
    pub watch_events: usize,
    /// Bytes of events one watcher may be behind; shared with the history and other watchers while they hold the same.
    pub watch_bytes: usize,
    /// The largest value in bytes.
    pub value_bytes: usize,
    /// The largest database in bytes; writes beyond it are [`StoreError::Full`]. `None`: as large as the disk allows.
    pub max_database_bytes: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // Ten minutes at 30 writes a second.
            history_events: 20_000,
            history_bytes: 128 << 20,
            watch_events: 8192,
            watch_bytes: 16 << 20,
            // Over the 3 MiB that Kubernetes allows in a request body.
            value_bytes: 4 << 20,
            max_database_bytes: None,
        }
    }
}

/// A handle to the store; clones share it. The store closes (and its directory is free again) when the last is dropped.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    published: Arc<Published>,
    /// `None` only while closing.
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    value_bytes: usize,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Store")
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // The writer finishes at most one batch, so this waits for milliseconds. A panic there was already reported
            // on stderr, and every caller got `Closed`.
            drop(thread.join());
        }
    }
}

impl Store {
    /// Opens the store in directory `path`, made if needed, and reads it into memory.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if somebody has it open, [`StoreError::Newer`], [`StoreError::Corrupt`] and
    /// [`StoreError::Missing`] if its database can't be used (nothing is changed then), [`StoreError::Io`] or
    /// [`StoreError::Full`] if the disk refuses.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        let directory = Directory::lock(path)?;
        let file = directory.database()?;
        let bounds = HistoryBounds {
            events: options.history_events,
            bytes: options.history_bytes,
        };
        let (database, state) = Database::open(&file, options.max_database_bytes, bounds)?;
        directory.mark()?;
        if !directory.set_aside() {
            tracing::warn!(path = %path.display(), "the disk is nearly full: no space is set aside for deletes");
        }
        let last = state.revision();
        let queues = QueueBounds {
            events: options.watch_events,
            bytes: options.watch_bytes,
        };
        let published = Arc::new(Published {
            state: ArcSwap::from_pointee(state),
            feed: Arc::new(Feed::new(last, queues)),
            failure: OnceLock::new(),
        });
        let (requests, receiver) = mpsc::channel(WAITING_WRITES);
        let writer = Writer {
            database,
            published: Arc::clone(&published),
            requests: receiver,
            bounds,
            last,
            clean_through: 0,
            directory,
            full: None,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::Io {
                path: file,
                cause: error.to_string(),
            })?;
        let value_bytes = options.value_bytes;
        let inner = Inner {
            published,
            requests: Some(requests),
            thread: Some(thread),
            value_bytes,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The newest revision. An empty store is at revision 1.
    pub fn revision(&self) -> u64 {
        self.inner.published.state.load().revision()
    }

    /// The oldest revision that can still be listed [`at`](Listing::at), or watched after.
    pub fn compacted(&self) -> u64 {
        self.inner.published.state.load().floor()
    }

    /// The entry at `key`, now.
    pub fn get(&self, key: &str) -> Option<Entry> {
        self.inner.published.state.load().get(key).cloned()
    }

    /// Entries whose key begins with `prefix`, in key order. Pages of one moment are had by passing the first page's
    /// revision as `at` and the last key as `after`.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if `at` is too old, [`StoreError::Future`] if it has not happened yet.
    pub fn list(&self, prefix: &str, listing: Listing<'_>) -> Result<Page, StoreError> {
        self.inner.published.state.load_full().list(prefix, listing)
    }

    /// Writes `value` at `key` and returns the new revision, once it is on disk. If the future is dropped, the write may
    /// still happen.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the expectation doesn't hold; [`StoreError::Full`], [`StoreError::Failed`].
    pub async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<u64, StoreError> {
        self.commit(vec![Change::Put {
            key: key.to_owned(),
            value,
            expect,
        }])
        .await
    }

    /// Deletes `key` and returns the revision of the delete.
    ///
    /// # Errors
    /// As [`put`](Self::put); a key that isn't there is a conflict with nothing current.
    pub async fn delete(&self, key: &str, expect: Expect) -> Result<u64, StoreError> {
        self.commit(vec![Change::Delete {
            key: key.to_owned(),
            expect,
        }])
        .await
    }

    /// Makes all changes or none, each with a revision of its own, in the order given; returns the last revision (the
    /// present one if there are no changes). Later changes see earlier ones.
    ///
    /// # Errors
    /// As [`put`](Self::put), of the first change that can't be made.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<u64, StoreError> {
        self.check(&changes)?;
        if changes.is_empty() {
            return Ok(self.revision());
        }
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Write(Write { changes, reply }), answer)
            .await
    }

    /// Watches all keys that begin with `prefix` for events after revision `after` (which may lie in the future).
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if events after `after` are no longer all kept.
    pub fn watch(&self, prefix: &str, after: u64) -> Result<Watch, StoreError> {
        let published = &self.inner.published;
        published.feed.register(prefix, after, || {
            let state = published.state.load_full();
            let backlog = state.since(prefix, after)?.cloned().collect();
            Ok((backlog, state.revision()))
        })
    }

    /// Gives up the history up to and including `revision`, which stays listable itself. Returns when that is on disk;
    /// space is freed in the background, between writes.
    ///
    /// # Errors
    /// [`StoreError::Future`] if there is no such revision yet; [`StoreError::Full`], [`StoreError::Failed`].
    pub async fn compact(&self, revision: u64) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Compact { revision, reply }, answer).await
    }

    /// Why no writes are accepted any more, if the disk has failed. A server should end itself then: after a new start
    /// the store knows again what is on disk.
    pub fn failure(&self) -> Option<StoreError> {
        self.inner.published.failure.get().cloned()
    }

    /// How many watches are open.
    pub fn watchers(&self) -> usize {
        self.inner.published.feed.len()
    }

    async fn ask<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let requests = self.inner.requests.as_ref().ok_or(StoreError::Closed)?;
        requests
            .send(request)
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    fn check(&self, changes: &[Change]) -> Result<(), StoreError> {
        let within = |what, size: usize, limit: usize| {
            if size > limit {
                Err(StoreError::TooLarge { what, size, limit })
            } else {
                Ok(())
            }
        };
        within(
            "the number of changes in a commit",
            changes.len(),
            COMMIT_CHANGES,
        )?;
        for change in changes {
            if change.key().is_empty() {
                return Err(StoreError::EmptyKey);
            }
            within("the key in bytes", change.key().len(), KEY_BYTES)?;
            within(
                "the value in bytes",
                change.value_bytes(),
                self.inner.value_bytes,
            )?;
        }
        Ok(())
    }
}
