//! Random work against a model that is too simple to be wrong: a list of all states that ever were.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use store::{
    Change, Entry, Event, EventChange, Expect, Listing, Options, Store, StoreError, Watch,
};

const HISTORY: usize = 25;
const KEYS: [&str; 6] = ["/a/1", "/a/2", "/a/20", "/a/3", "/b/1", "/c"];
const PREFIXES: [&str; 4] = ["", "/a/", "/a/2", "/d"];

#[derive(Clone, Debug)]
enum Wanted {
    Any,
    Absent,
    /// The revision that is there.
    Present,
    /// A revision this much older than the newest.
    Stale(u64),
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(usize, Option<u8>, Wanted)>),
    List {
        prefix: usize,
        back: Option<u64>,
        after: Option<usize>,
        limit: Option<usize>,
    },
    Watch {
        prefix: usize,
        back: u64,
    },
    Compact {
        back: u64,
    },
    Reopen,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![
        3 => Just(Wanted::Any),
        2 => Just(Wanted::Absent),
        3 => Just(Wanted::Present),
        1 => (1..9_u64).prop_map(Wanted::Stale),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let change = (
        0..KEYS.len(),
        prop::option::weighted(0.7, any::<u8>()),
        wanted(),
    );
    let list = (
        0..PREFIXES.len(),
        prop::option::of(0..40_u64),
        prop::option::of(0..KEYS.len()),
        prop::option::of(0..5_usize),
    );
    prop_oneof![
        8 => prop::collection::vec(change, 1..4).prop_map(Step::Commit),
        3 => list.prop_map(|(prefix, back, after, limit)| Step::List { prefix, back, after, limit }),
        2 => (0..PREFIXES.len(), 0..40_u64).prop_map(|(prefix, back)| Step::Watch { prefix, back }),
        1 => (0..20_u64).prop_map(|back| Step::Compact { back }),
        1 => Just(Step::Reopen),
    ]
}

/// All states by revision, and all events.
struct Model {
    states: Vec<BTreeMap<String, Entry>>,
    events: Vec<Event>,
    compacted: u64,
}

impl Model {
    fn new() -> Self {
        // Nothing at revisions 0 and 1.
        Self {
            states: vec![BTreeMap::new(); 2],
            events: Vec::new(),
            compacted: 1,
        }
    }

    fn revision(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn floor(&self) -> u64 {
        self.compacted
            .max(self.revision().saturating_sub(HISTORY as u64))
            .max(1)
    }

    fn now(&self) -> &BTreeMap<String, Entry> {
        &self.states[self.states.len() - 1]
    }

    fn resolve(&self, wanted: &Wanted, key: &str) -> Expect {
        match wanted {
            Wanted::Any => Expect::Any,
            Wanted::Absent => Expect::Absent,
            Wanted::Present => Expect::Revision(self.now().get(key).map_or(0, |e| e.modified)),
            Wanted::Stale(by) => Expect::Revision(self.revision().saturating_sub(*by)),
        }
    }

    /// The states and events that the changes make, or `None` if one can't be made.
    fn commit(&mut self, changes: &[Change]) -> Option<u64> {
        let (states, events) = (self.states.len(), self.events.len());
        for change in changes {
            if !self.make(change) {
                self.states.truncate(states);
                self.events.truncate(events);
                return None;
            }
        }
        Some(self.revision())
    }

    fn make(&mut self, change: &Change) -> bool {
        let revision = self.revision() + 1;
        let mut state = self.now().clone();
        let previous = state.get(change.key()).cloned();
        let (expect, put) = match change {
            Change::Put { expect, value, .. } => (expect, Some(value.clone())),
            Change::Delete { expect, .. } => (expect, None),
        };
        let holds = match expect {
            Expect::Any => put.is_some() || previous.is_some(),
            Expect::Absent => put.is_some() && previous.is_none(),
            Expect::Revision(revision) => previous
                .as_ref()
                .is_some_and(|entry| entry.modified == *revision),
        };
        if !holds {
            return false;
        }
        let created = previous.as_ref().map_or(revision, |entry| entry.created);
        let happened = match put {
            Some(value) => {
                let entry = Entry {
                    key: change.key().into(),
                    value: value.clone(),
                    created,
                    modified: revision,
                };
                state.insert(change.key().to_owned(), entry);
                EventChange::Put { value, created }
            }
            None => {
                state.remove(change.key());
                EventChange::Delete
            }
        };
        self.states.push(state);
        self.events.push(Event {
            revision,
            key: change.key().into(),
            change: happened,
            previous,
        });
        true
    }

    fn events(&self, prefix: &str, after: u64) -> Vec<Event> {
        let wanted = |event: &&Event| event.revision > after && event.key.starts_with(prefix);
        self.events.iter().filter(wanted).cloned().collect()
    }
}

fn drain(watch: &mut Watch) -> Vec<Event> {
    std::iter::from_fn(|| watch.try_next())
        .map(|event| Event::clone(&event.expect("no watcher is slow here")))
        .collect()
}

fn check_list(store: &Store, model: &Model, prefix: &str, listing: Listing<'_>) {
    let revision = listing.at.unwrap_or(model.revision());
    let listed = store.list(prefix, listing);
    if revision < model.floor() {
        let refused = matches!(
            &listed,
            Err(StoreError::Compacted { asked, compacted })
                if (*asked, *compacted) == (revision, model.floor())
        );
        assert!(refused, "{listing:?} gave {listed:?}");
        return;
    }
    let page = listed.unwrap();
    let state = &model.states[usize::try_from(revision).unwrap()];
    let mut matching: Vec<Entry> = state
        .iter()
        .filter(|(key, _)| key.starts_with(prefix) && Some(key.as_str()) > listing.after)
        .map(|(_, entry)| entry.clone())
        .collect();
    let rest = matching.split_off(matching.len().min(listing.limit.unwrap_or(usize::MAX)));
    assert_eq!(page.entries, matching, "{prefix} {listing:?}");
    assert_eq!(
        (page.more, page.remaining, page.revision),
        (!rest.is_empty(), rest.len(), revision)
    );
}

async fn run(steps: Vec<Step>) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        history_events: HISTORY,
        ..Options::default()
    };
    let open = || Store::open(directory.path(), options.clone()).unwrap();
    let mut store = open();
    let mut model = Model::new();
    let mut follower = store.watch("/a/", 1).unwrap();
    let mut followed = 1;
    for step in steps {
        match step {
            Step::Commit(changes) => {
                let changes: Vec<Change> = changes
                    .into_iter()
                    .map(|(key, put, wanted)| {
                        let key = KEYS[key].to_owned();
                        let expect = model.resolve(&wanted, &key);
                        match put {
                            Some(byte) => {
                                let value = Bytes::from(vec![byte; usize::from(byte)]);
                                Change::Put { key, value, expect }
                            }
                            None => Change::Delete { key, expect },
                        }
                    })
                    .collect();
                let expected = model.commit(&changes);
                assert_eq!(store.commit(changes).await.ok(), expected);
            }
            Step::List {
                prefix,
                back,
                after,
                limit,
            } => {
                let at = back.map(|back| model.revision().saturating_sub(back));
                let listing = Listing {
                    at,
                    after: after.map(|key| KEYS[key]),
                    limit,
                };
                check_list(&store, &model, PREFIXES[prefix], listing);
            }
            Step::Watch { prefix, back } => {
                let after = model.revision().saturating_sub(back);
                let watch = store.watch(PREFIXES[prefix], after);
                if after < model.floor() {
                    assert!(
                        matches!(watch, Err(StoreError::Compacted { .. })),
                        "{watch:?}"
                    );
                } else {
                    let mut watch = watch.unwrap();
                    assert_eq!(drain(&mut watch), model.events(PREFIXES[prefix], after));
                    assert_eq!(watch.progress(), model.revision());
                }
            }
            Step::Compact { back } => {
                let revision = model.revision().saturating_sub(back);
                store.compact(revision).await.unwrap();
                model.compacted = model.compacted.max(revision);
            }
            Step::Reopen => {
                assert_eq!(drain(&mut follower), model.events("/a/", followed));
                drop(store);
                store = open();
                followed = model.revision();
                follower = store.watch("/a/", followed).unwrap();
            }
        }
        assert_eq!(
            (store.revision(), store.compacted()),
            (model.revision(), model.floor())
        );
        check_list(&store, &model, "", Listing::default());
    }
    assert_eq!(drain(&mut follower), model.events("/a/", followed));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps));
    }
}
