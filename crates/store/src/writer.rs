//! The one thread that writes. It gathers what callers ask for meanwhile, commits it together, publishes it, and only
//! then answers them. Between batches it removes what compaction gave up, a slice at a time.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use crate::database::{Database, Space};
use crate::directory::Directory;
use crate::feed::Feed;
use crate::plan::plan;
use crate::state::{HistoryBounds, State};
use crate::{Change, Event, StoreError};

/// Transactions in one commit: more gain little, and make the first of them wait longer.
const BATCH_WRITES: usize = 256;
/// Bytes of values in one commit, unless a single transaction has more.
const BATCH_BYTES: usize = 8 << 20;
/// Revisions cleaned at once: some milliseconds, so that writers hardly notice.
const SLICE: u64 = 1000;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What callers ask of the writer.
#[derive(Debug)]
pub(crate) enum Request {
    Write(Write),
    Compact { revision: u64, reply: Reply<()> },
}

/// One transaction.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) changes: Vec<Change>,
    pub(crate) reply: Reply<u64>,
}

/// A batch that could not be committed.
#[derive(Debug)]
struct Unwritten {
    batch: Vec<Write>,
    cause: StoreError,
}

/// What the writer publishes and everybody reads.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) state: ArcSwap<State>,
    pub(crate) feed: Arc<Feed>,
    /// Set once the disk has failed.
    pub(crate) failure: OnceLock<StoreError>,
}

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) database: Database,
    pub(crate) published: Arc<Published>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) bounds: HistoryBounds,
    /// The last revision given out, to writes that failed too.
    pub(crate) last: u64,
    /// Rows up to here are to be removed even if they are few, because someone asked for it.
    pub(crate) clean_through: u64,
    /// Held as long as this thread lives.
    pub(crate) directory: Directory,
    /// Set while the disk is full and the space set aside for deletes is in use: only deletes are tried then.
    pub(crate) full: Option<StoreError>,
}

impl Writer {
    /// Serves until every handle is gone.
    pub(crate) fn run(mut self) {
        let mut next = None;
        while let Some(first) = next.take().or_else(|| self.receive()) {
            match first {
                Request::Compact { revision, reply } => {
                    // A caller who no longer waits needs no answer.
                    drop(reply.send(self.compact(revision)));
                }
                Request::Write(write) => {
                    let (batch, other) = self.gather(write);
                    next = other;
                    self.write(batch);
                    if self.uncleaned() >= SLICE {
                        self.clean();
                    }
                }
            }
        }
        self.published.feed.close();
    }

    /// Waits for a request; cleans while there is none.
    fn receive(&mut self) -> Option<Request> {
        while self.database.cleaned() < self.clean_through || self.uncleaned() >= SLICE {
            match self.requests.try_recv() {
                Ok(request) => return Some(request),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) => {}
            }
            if !self.clean() {
                break;
            }
        }
        self.requests.blocking_recv()
    }

    fn gather(&mut self, first: Write) -> (Vec<Write>, Option<Request>) {
        let mut bytes = value_bytes(&first);
        let mut batch = vec![first];
        while batch.len() < BATCH_WRITES && bytes < BATCH_BYTES {
            match self.requests.try_recv() {
                Ok(Request::Write(write)) => {
                    bytes += value_bytes(&write);
                    batch.push(write);
                }
                Ok(other @ Request::Compact { .. }) => return (batch, Some(other)),
                Err(_) => break,
            }
        }
        (batch, None)
    }

    fn write(&mut self, batch: Vec<Write>) {
        if let Some(failure) = self.published.failure.get() {
            return refuse(batch, failure);
        }
        if self.full.is_some() && self.directory.set_aside() {
            self.full = None;
        }
        let (batch, cause) = match self.full.clone() {
            Some(full) => (batch, full),
            None => match self.try_write(batch, Space::Quota) {
                Some(Unwritten { batch, cause }) => (batch, cause),
                None => return,
            },
        };
        if !matches!(cause, StoreError::Full { .. }) {
            return refuse(batch, &cause);
        }
        // A full store must still be able to shrink: its deletes may use what was set aside, of the disk and of the quota.
        if self.full.is_none() && self.directory.release_if_full() {
            self.database.fold_log();
            self.full = Some(cause.clone());
        }
        let (deletes, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(only_deletes);
        refuse(others, &cause);
        if let Some(Unwritten { batch, cause }) = self.try_write(deletes, Space::Reserve) {
            refuse(batch, &cause);
        }
    }

    /// Commits, publishes and answers a batch, or gives it back with the reason.
    fn try_write(&mut self, batch: Vec<Write>, space: Space) -> Option<Unwritten> {
        let before = self.published.state.load_full();
        let decided = plan(
            &before,
            self.last,
            batch.iter().map(|write| &*write.changes),
        );
        if let Some(newest) = decided.events.last() {
            let mut after = State::clone(&before);
            for event in &decided.events {
                after.apply(event);
            }
            after.trim(self.bounds);
            // Never used again, even if the commit fails: it may have reached the disk all the same.
            self.last = newest.revision;
            if let Err(error) = self.database.append(&decided.events, after.len(), space) {
                self.note(&error);
                return Some(Unwritten {
                    batch,
                    cause: error,
                });
            }
            self.publish(after, &decided.events);
        }
        for (write, outcome) in batch.into_iter().zip(decided.outcomes) {
            // A caller who no longer waits needs no answer.
            drop(write.reply.send(outcome));
        }
        None
    }

    fn publish(&self, state: State, events: &[Arc<Event>]) {
        self.published.state.store(Arc::new(state));
        self.published.feed.dispatch(events);
    }

    fn compact(&mut self, revision: u64) -> Result<(), StoreError> {
        if let Some(failure) = self.published.failure.get() {
            return Err(failure.clone());
        }
        let before = self.published.state.load_full();
        if revision > before.revision() {
            return Err(StoreError::Future {
                asked: revision,
                current: before.revision(),
            });
        }
        if revision > before.floor() {
            self.database
                .set_floor(revision)
                .inspect_err(|error| self.note(error))?;
            let mut after = State::clone(&before);
            after.compact(revision);
            self.publish(after, &[]);
        }
        self.clean_through = self.clean_through.max(revision);
        Ok(())
    }

    /// Revisions whose rows history no longer needs.
    fn uncleaned(&self) -> u64 {
        self.published
            .state
            .load()
            .floor()
            .saturating_sub(self.database.cleaned())
    }

    /// Removes one slice; `false` if that can't be done now.
    fn clean(&mut self) -> bool {
        if self.published.failure.get().is_some() {
            return false;
        }
        let through = self.published.state.load().floor();
        match self.database.clean(through, SLICE) {
            Ok(()) => {
                if self.full.is_some() && self.uncleaned() == 0 {
                    // Gives the space of removed rows back to the file system.
                    self.database.fold_log();
                }
                true
            }
            Err(error) => {
                tracing::warn!(%error, "compaction is put off");
                self.note(&error);
                false
            }
        }
    }

    /// After a failure of the disk nothing may be acknowledged: what the file then holds is unknown until it is read
    /// again (a later flush that succeeds says nothing about the pages of the one that failed).
    fn note(&self, error: &StoreError) {
        if matches!(error, StoreError::Failed { .. })
            && self.published.failure.set(error.clone()).is_ok()
        {
            tracing::error!(%error, "the store accepts no further writes");
        }
    }
}

fn only_deletes(write: &Write) -> bool {
    let mut changes = write.changes.iter();
    changes.all(|change| matches!(change, Change::Delete { .. }))
}

fn value_bytes(write: &Write) -> usize {
    write.changes.iter().map(Change::value_bytes).sum()
}

fn refuse(batch: Vec<Write>, error: &StoreError) {
    for write in batch {
        // A caller who no longer waits needs no answer.
        drop(write.reply.send(Err(error.clone())));
    }
}
