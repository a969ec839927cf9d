//! Who waits for what: names of objects that want to be looked at when another one changes.

use crate::queue::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The register; clones are the same one. It holds each object that waits once, which is its bound.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Arc<Mutex<BTreeMap<Key, BTreeSet<Key>>>>);

impl Waiting {
    /// Notes whether `waiter` waits for `subject`.
    pub(crate) fn note(&self, subject: Key, waiter: Key, waits: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waits {
            all.entry(subject).or_default().insert(waiter);
        } else if let Some(waiters) = all.get_mut(&subject) {
            waiters.remove(&waiter);
            if waiters.is_empty() {
                all.remove(&subject);
            }
        }
    }

    /// Those that wait for `subject`.
    pub(crate) fn of(&self, subject: &Key) -> Vec<Key> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(subject).into_iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_and_who_does_not_any_more_is_not() {
        let waiting = Waiting::default();
        let key = |name: &str| Key::new("ns", name);
        waiting.note(key("vm"), key("a"), true);
        waiting.note(key("vm"), key("a"), true);
        waiting.note(key("vm"), key("b"), true);
        assert_eq!(waiting.of(&key("vm")), [key("a"), key("b")]);
        waiting.note(key("vm"), key("a"), false);
        waiting.note(key("other"), key("a"), false);
        assert_eq!(waiting.of(&key("vm")), [key("b")]);
        assert_eq!(waiting.of(&key("other")), []);
    }
}
