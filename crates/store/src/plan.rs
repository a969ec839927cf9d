//! Decides what a batch of writes does, without touching anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::state::State;
use crate::{Change, Entry, Event, EventChange, Expect, StoreError};

/// What a batch of transactions comes to.
#[derive(Debug)]
pub(crate) struct Plan {
    /// All events of the batch, in revision order.
    pub(crate) events: Vec<Arc<Event>>,
    /// For each transaction of the batch: its last revision, or why it is refused.
    pub(crate) outcomes: Vec<Result<u64, StoreError>>,
}

/// Gives each change that may be made a revision after `last`. A transaction sees the changes of those before it in the
/// batch, and is made whole or not at all.
pub(crate) fn plan<'a>(
    state: &State,
    last: u64,
    batch: impl IntoIterator<Item = &'a [Change]>,
) -> Plan {
    let mut overlay: BTreeMap<Arc<str>, Option<Entry>> = BTreeMap::new();
    let mut plan = Plan {
        events: Vec::new(),
        outcomes: Vec::new(),
    };
    let mut revision = last;
    for changes in batch {
        match plan_transaction(state, &overlay, revision, changes) {
            Ok(events) => {
                for event in &events {
                    overlay.insert(Arc::clone(&event.key), event.entry());
                }
                revision += events.len() as u64;
                plan.events.extend(events.into_iter().map(Arc::new));
                plan.outcomes.push(Ok(revision));
            }
            Err(refusal) => plan.outcomes.push(Err(refusal)),
        }
    }
    plan
}

fn plan_transaction(
    state: &State,
    before: &BTreeMap<Arc<str>, Option<Entry>>,
    last: u64,
    changes: &[Change],
) -> Result<Vec<Event>, StoreError> {
    let mut own: BTreeMap<Arc<str>, Option<Entry>> = BTreeMap::new();
    let mut events = Vec::with_capacity(changes.len());
    for (revision, change) in (last + 1..).zip(changes) {
        let key = change.key();
        let current = own
            .get(key)
            .or_else(|| before.get(key))
            .map_or_else(|| state.get(key).cloned(), Option::clone);
        let event = plan_change(change, revision, current)?;
        own.insert(Arc::clone(&event.key), event.entry());
        events.push(event);
    }
    Ok(events)
}

fn plan_change(
    change: &Change,
    revision: u64,
    current: Option<Entry>,
) -> Result<Event, StoreError> {
    let (expect, deletes) = match change {
        Change::Put { expect, .. } => (*expect, false),
        Change::Delete { expect, .. } => (*expect, true),
    };
    let holds = match (expect, &current) {
        (Expect::Any, None) => !deletes,
        (Expect::Any, Some(_)) => true,
        (Expect::Absent, current) => !deletes && current.is_none(),
        (Expect::Revision(_), None) => false,
        (Expect::Revision(wanted), Some(entry)) => entry.modified == wanted,
    };
    if !holds {
        let expected = match expect {
            Expect::Absent => "no such key".to_owned(),
            Expect::Any => "an entry".to_owned(),
            Expect::Revision(revision) => format!("revision {revision}"),
        };
        return Err(StoreError::Conflict {
            key: change.key().to_owned(),
            expected,
            current,
        });
    }
    let key = current
        .as_ref()
        .map_or_else(|| Arc::from(change.key()), |entry| Arc::clone(&entry.key));
    let change = match change {
        Change::Put { value, .. } => EventChange::Put {
            value: value.clone(),
            created: current.as_ref().map_or(revision, |entry| entry.created),
        },
        Change::Delete { .. } => EventChange::Delete,
    };
    Ok(Event {
        revision,
        key,
        change,
        previous: current,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn put(key: &str, value: &str, expect: Expect) -> Change {
        Change::Put {
            key: key.to_owned(),
            value: Bytes::copy_from_slice(value.as_bytes()),
            expect,
        }
    }

    fn delete(key: &str, expect: Expect) -> Change {
        Change::Delete {
            key: key.to_owned(),
            expect,
        }
    }

    /// A state at revision 3 with `/a` created at 2 and modified at 3.
    fn state() -> State {
        let mut state = State::new(1);
        for changes in [[put("/a", "1", Expect::Any)], [put("/a", "2", Expect::Any)]] {
            let decided = plan(&state, state.revision(), [&changes[..]]);
            for event in &decided.events {
                state.apply(event);
            }
        }
        state
    }

    #[test]
    fn an_expectation_decides_whether_a_change_is_made() {
        let table = [
            (put("/a", "x", Expect::Any), true),
            (put("/a", "x", Expect::Absent), false),
            (put("/a", "x", Expect::Revision(3)), true),
            (put("/a", "x", Expect::Revision(2)), false),
            (put("/b", "x", Expect::Any), true),
            (put("/b", "x", Expect::Absent), true),
            (put("/b", "x", Expect::Revision(3)), false),
            (delete("/a", Expect::Any), true),
            (delete("/a", Expect::Absent), false),
            (delete("/a", Expect::Revision(3)), true),
            (delete("/a", Expect::Revision(2)), false),
            (delete("/b", Expect::Any), false),
            (delete("/b", Expect::Absent), false),
        ];
        for (change, made) in table {
            let decided = plan(&state(), 3, [std::slice::from_ref(&change)]);
            match &decided.outcomes[0] {
                Ok(revision) => {
                    assert!(made, "{change:?} must be refused");
                    assert_eq!(*revision, 4);
                    assert_eq!(decided.events.len(), 1);
                }
                Err(StoreError::Conflict { current, .. }) => {
                    assert!(!made, "{change:?} must be made");
                    assert_eq!(current.is_some(), change.key() == "/a");
                    assert!(decided.events.is_empty());
                }
                Err(other) => panic!("{change:?}: {other}"),
            }
        }
    }

    #[test]
    fn a_transaction_sees_earlier_ones_of_its_batch() {
        let first = [put("/b", "1", Expect::Absent)];
        let second = [put("/b", "2", Expect::Absent)];
        let third = [
            put("/b", "3", Expect::Revision(4)),
            delete("/b", Expect::Any),
        ];
        let fourth = [put("/b", "4", Expect::Absent)];
        let batch = [&first[..], &second[..], &third[..], &fourth[..]];
        let decided = plan(&state(), 3, batch);
        assert!(matches!(decided.outcomes[0], Ok(4)));
        assert!(
            matches!(&decided.outcomes[1], Err(StoreError::Conflict { current: Some(entry), .. }) if entry.modified == 4)
        );
        assert!(matches!(decided.outcomes[2], Ok(6)));
        assert!(matches!(decided.outcomes[3], Ok(7)));
        let created: Vec<_> = decided
            .events
            .iter()
            .filter_map(|event| event.entry())
            .collect();
        assert_eq!(
            created.last().map(|entry| (entry.created, entry.modified)),
            Some((7, 7))
        );
    }

    #[test]
    fn a_transaction_is_made_whole_or_not_at_all() {
        let broken = [put("/b", "1", Expect::Any), put("/a", "1", Expect::Absent)];
        let after = [put("/b", "2", Expect::Absent)];
        let decided = plan(&state(), 3, [&broken[..], &after[..]]);
        assert!(decided.outcomes[0].is_err());
        assert!(matches!(decided.outcomes[1], Ok(4)));
        assert_eq!(decided.events.len(), 1);
    }
}
