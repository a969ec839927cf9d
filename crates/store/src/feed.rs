//! Hands events to watchers. The writer never waits for one: a watcher that falls behind is told so and dropped.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::Event;

/// How far one watcher may fall behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueBounds {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// The watcher was too slow and has missed events: list again, and watch from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the watcher fell too far behind; it has seen everything up to revision {seen}")]
pub struct Lagged {
    /// All events up to this revision were delivered; a new watch may start after it while history lasts.
    pub seen: u64,
}

/// All watchers.
#[derive(Debug)]
pub(crate) struct Feed {
    watchers: Mutex<Watchers>,
    /// Every event up to this revision is in the queues it belongs to.
    dispatched: AtomicU64,
    bounds: QueueBounds,
}

#[derive(Debug, Default)]
struct Watchers {
    queues: BTreeMap<u64, Arc<Queue>>,
    next: u64,
    closed: bool,
}

#[derive(Debug)]
struct Queue {
    prefix: String,
    /// Only events after this revision are wanted.
    after: u64,
    waiting: Mutex<Waiting>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// History at the start of the watch: bounded by the history itself.
    backlog: VecDeque<Arc<Event>>,
    /// What came since: bounded by `QueueBounds`.
    live: VecDeque<Arc<Event>>,
    live_bytes: usize,
    /// Set for good once the watcher was too slow.
    lagged: Option<Lagged>,
    /// Nothing further will be said once the queues are empty.
    closed: bool,
}

impl Waiting {
    /// What to say next: `None` if there is nothing yet, `Some(None)` if there never will be.
    fn poll(&mut self) -> Option<Option<Result<Arc<Event>, Lagged>>> {
        if let Some(event) = self.pop() {
            return Some(Some(Ok(event)));
        }
        if self.closed {
            return Some(None);
        }
        let lagged = self.lagged?;
        self.closed = true;
        Some(Some(Err(lagged)))
    }

    fn first(&self) -> Option<&Arc<Event>> {
        self.backlog.front().or_else(|| self.live.front())
    }

    fn pop(&mut self) -> Option<Arc<Event>> {
        if let Some(event) = self.backlog.pop_front() {
            return Some(event);
        }
        let event = self.live.pop_front()?;
        self.live_bytes -= event.cost();
        Some(event)
    }

    fn push(&mut self, event: &Arc<Event>, bounds: QueueBounds) {
        self.live.push_back(Arc::clone(event));
        self.live_bytes += event.cost();
        if self.live.len() > bounds.events || self.live_bytes > bounds.bytes {
            let seen = self.first().map_or(0, |first| first.revision - 1);
            *self = Self {
                lagged: Some(Lagged { seen }),
                ..Self::default()
            };
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The data is whole at every point where a holder could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    pub(crate) fn new(revision: u64, bounds: QueueBounds) -> Self {
        Self {
            watchers: Mutex::default(),
            dispatched: AtomicU64::new(revision),
            bounds,
        }
    }

    /// Registers a watcher. `read` is called while nothing is being dispatched and returns the backlog and the revision
    /// it reaches; later events come live.
    pub(crate) fn register<E>(
        self: &Arc<Self>,
        prefix: &str,
        after: u64,
        read: impl FnOnce() -> Result<(Vec<Arc<Event>>, u64), E>,
    ) -> Result<Watch, E> {
        let mut watchers = lock(&self.watchers);
        let (backlog, reached) = read()?;
        let start = after.max(reached);
        let closed = watchers.closed;
        let waiting = Waiting {
            backlog: backlog.into(),
            closed,
            ..Waiting::default()
        };
        let queue = Arc::new(Queue {
            prefix: prefix.to_owned(),
            after: start,
            waiting: Mutex::new(waiting),
            notify: Notify::new(),
        });
        let id = watchers.next;
        watchers.next += 1;
        watchers.queues.insert(id, Arc::clone(&queue));
        Ok(Watch {
            queue,
            feed: Arc::clone(self),
            id,
        })
    }

    /// Puts events into the queues of those who want them. Called by the writer only, after the state is published.
    pub(crate) fn dispatch(&self, events: &[Arc<Event>]) {
        let mut watchers = lock(&self.watchers);
        watchers
            .queues
            .retain(|_, queue| queue.offer(events, self.bounds));
        if let Some(last) = events.last() {
            self.dispatched.store(last.revision, Ordering::Release);
        }
    }

    /// Ends all watches once they have delivered what they hold.
    pub(crate) fn close(&self) {
        let mut watchers = lock(&self.watchers);
        watchers.closed = true;
        for queue in std::mem::take(&mut watchers.queues).into_values() {
            lock(&queue.waiting).closed = true;
            queue.notify.notify_one();
        }
    }

    /// How many watchers there are.
    pub(crate) fn len(&self) -> usize {
        lock(&self.watchers).queues.len()
    }
}

impl Queue {
    /// Returns whether the watcher is still to be served.
    fn offer(&self, events: &[Arc<Event>], bounds: QueueBounds) -> bool {
        let wanted = |event: &&Arc<Event>| {
            event.revision > self.after && event.key.starts_with(&*self.prefix)
        };
        let mut wanted = events.iter().filter(wanted).peekable();
        if wanted.peek().is_none() {
            return true;
        }
        let mut waiting = lock(&self.waiting);
        for event in wanted {
            waiting.push(event, bounds);
            if waiting.lagged.is_some() {
                break;
            }
        }
        self.notify.notify_one();
        waiting.lagged.is_none()
    }
}

/// Events of one prefix, in order, without gaps, each once.
#[derive(Debug)]
pub struct Watch {
    queue: Arc<Queue>,
    feed: Arc<Feed>,
    id: u64,
}

impl Watch {
    /// The next event; waits for one. `Some(Err(Lagged))` once if this watcher was too slow, `None` after that and after
    /// the store was closed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Arc<Event>, Lagged>> {
        loop {
            let said = lock(&self.queue.waiting).poll();
            if let Some(said) = said {
                return said;
            }
            self.queue.notify.notified().await;
        }
    }

    /// As [`next`](Self::next), but answers `None` at once when nothing waits.
    pub fn try_next(&mut self) -> Option<Result<Arc<Event>, Lagged>> {
        lock(&self.queue.waiting).poll().flatten()
    }

    /// Everything that this watch has to say up to this revision has been delivered by [`next`](Self::next): what a
    /// bookmark may carry.
    pub fn progress(&self) -> u64 {
        // Read first: whatever is dispatched after this has a greater revision.
        let dispatched = self.feed.dispatched.load(Ordering::Acquire);
        let waiting = lock(&self.queue.waiting);
        match (waiting.first(), waiting.lagged) {
            (Some(first), _) => first.revision - 1,
            (None, Some(lagged)) => lagged.seen,
            (None, None) => dispatched.max(self.queue.after),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.feed.watchers).queues.remove(&self.id);
    }
}
