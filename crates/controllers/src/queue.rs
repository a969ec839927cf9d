//! Names of objects that want to be looked at: each at most once in the queue, each at most once at
//! work, in the order they came, with times at which they want to be looked at again.
//!
//! The queue never holds more names than there are objects, which is its bound.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The name of one object. Objects outside of namespaces have the empty namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl Key {
    /// The name of `object`.
    pub(crate) fn of(object: &impl kube::ResourceExt) -> Self {
        let metadata = object.meta();
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            formatter.write_str(&self.name)
        } else {
            write!(formatter, "{}/{}", self.namespace, self.name)
        }
    }
}

/// The queue itself; clones are the same queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queue(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    order: VecDeque<Key>,
    wanted: BTreeSet<Key>,
    at_work: BTreeSet<Key>,
    /// When each name wants to be looked at again; the earliest time asked for.
    later: BTreeMap<Key, Instant>,
}

impl State {
    fn add(&mut self, key: Key) {
        // A name at work is queued again only when that work is done: two looks at one object at
        // once would act on each other's leftovers.
        if self.wanted.insert(key.clone()) && !self.at_work.contains(&key) {
            self.order.push_back(key);
        }
    }
}

impl Queue {
    /// Asks for a look at `key`, soon.
    pub(crate) fn add(&self, key: Key) {
        self.lock().add(key);
        self.0.changed.notify_one();
    }

    /// Asks for a look at `key` at `time`, unless an earlier one is agreed on already.
    pub(crate) fn add_at(&self, key: Key, time: Instant) {
        let mut state = self.lock();
        let agreed = state.later.entry(key).or_insert(time);
        *agreed = (*agreed).min(time);
        drop(state);
        self.0.changed.notify_one();
    }

    /// The next name to look at, as soon as there is one. Give it back by [`Self::done`].
    pub(crate) async fn next(&self) -> Key {
        loop {
            let earliest = {
                let mut state = self.lock();
                let now = Instant::now();
                let due: Vec<Key> = state
                    .later
                    .iter()
                    .filter(|(_, time)| **time <= now)
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in due {
                    state.later.remove(&key);
                    state.add(key);
                }
                if let Some(key) = state.order.pop_front() {
                    state.wanted.remove(&key);
                    state.at_work.insert(key.clone());
                    return key;
                }
                state.later.values().min().copied()
            };
            match earliest {
                None => self.0.changed.notified().await,
                Some(time) => {
                    // Either way the state is looked at again, so which one came does not matter.
                    let _ = tokio::time::timeout_at(time, self.0.changed.notified()).await;
                }
            }
        }
    }

    /// Says that the work on `key` is over.
    pub(crate) fn done(&self, key: &Key) {
        let mut state = self.lock();
        state.at_work.remove(key);
        if state.wanted.contains(key) {
            state.order.push_back(key.clone());
        }
        drop(state);
        self.0.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing here panics half way through a change, so a poisoned lock guards a whole state.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use std::time::Duration;

    #[tokio::test]
    async fn a_name_added_twice_comes_once() {
        let queue = Queue::default();
        queue.add(Key::new("ns", "a"));
        queue.add(Key::new("ns", "a"));
        queue.add(Key::new("ns", "b"));
        let first = queue.next().await;
        assert_eq!(first, Key::new("ns", "a"));
        assert_eq!(queue.next().await, Key::new("ns", "b"));
        queue.done(&first);
        assert_eq!(queue.next().now_or_never(), None);
    }

    #[tokio::test]
    async fn a_name_added_while_at_work_comes_again_after_it() {
        let queue = Queue::default();
        let key = Key::new("", "a");
        queue.add(key.clone());
        assert_eq!(queue.next().await, key);
        queue.add(key.clone());
        assert_eq!(queue.next().now_or_never(), None);
        queue.done(&key);
        assert_eq!(queue.next().await, key);
    }

    #[tokio::test]
    async fn a_name_for_later_comes_at_the_earliest_time_asked_for() {
        let queue = Queue::default();
        let begin = Instant::now();
        let (a, b) = (Key::new("", "a"), Key::new("", "b"));
        queue.add_at(a.clone(), begin + Duration::from_millis(60));
        queue.add_at(b.clone(), begin + Duration::from_millis(40));
        queue.add_at(a.clone(), begin + Duration::from_millis(20));
        queue.add_at(a.clone(), begin + Duration::from_millis(80));
        assert_eq!(queue.next().await, a);
        assert_eq!(queue.next().await, b);
        assert!(begin.elapsed().as_millis() >= 40);
    }
}
