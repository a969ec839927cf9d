//! What every controller stands on: watches in, one look at a time at each object out.
//!
//! ```text
//! watch ─► cache ─► names of objects concerned ─► queue ─► look (observe, decide, perform)
//!                                                   ▲            │ error, or "again in …"
//!                                                   └────────────┘
//! ```
//! There is no debounce and no polling: a change is looked at in the same moment as it arrives, and
//! always after the cache has it.

use crate::queue::{Key, Queue};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use futures::{FutureExt as _, Stream};
use kube::Api;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, reflector::Lookup};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

/// Looks that run at one time in one controller: enough that writes share a disk flush, few enough
/// that a burst of VMs leaves the machine to its guests.
const LOOKS_AT_ONCE: usize = 32;

/// The wait after a first failed look. Most failures are lost races that the next look wins.
const FIRST_RETRY: Duration = Duration::from_millis(5);

/// The longest wait between failed looks: what a person watching is willing to wait for.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Failures in a row after which somebody should look; the ones before are races.
const FAILURES_WORTH_A_WARNING: u32 = 3;

/// What a look at an object asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing before something changes.
    OnChange,
    /// Another look after this time, if nothing changes before.
    After(Duration),
}

/// One controller being put together: its watches and its queue.
pub(crate) struct Engine {
    name: &'static str,
    queue: Queue,
    drivers: Vec<BoxFuture<'static, ()>>,
    ready: Vec<BoxFuture<'static, ()>>,
}

/// Whether the first look waits until a watch has delivered everything once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The kind is always served.
    Required,
    /// The kind may not be served here; then nothing waits for it, and its cache stays empty.
    Optional,
}

/// Whether an object that a watch tells of is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stands {
    /// It is, in this state.
    There,
    /// It was, in this state.
    Gone,
}

impl Engine {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            queue: Queue::default(),
            drivers: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// Watches a kind. `concerned` names the objects to look at when one of the kind changes.
    /// The cache it returns holds a change before the objects concerned are looked at.
    pub(crate) fn watch<K>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        presence: Presence,
        concerned: impl Fn(&K) -> Vec<Key> + Send + 'static,
    ) -> Store<K>
    where
        K: kube::Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
        K: serde::de::DeserializeOwned,
    {
        self.watch_told(api, config, presence, move |object, _| concerned(object))
    }

    /// The same for who keeps something by the objects: `concerned` is also told whether the object
    /// is there or gone. It may be told twice of either.
    pub(crate) fn watch_told<K>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        presence: Presence,
        concerned: impl Fn(&K, Stands) -> Vec<Key> + Send + 'static,
    ) -> Store<K>
    where
        K: kube::Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
        K: serde::de::DeserializeOwned,
    {
        let writer = Writer::<K>::default();
        let cache = writer.as_reader();
        let queue = self.queue.clone();
        let events = watcher(api, config).default_backoff();
        let settled = CancellationToken::new();
        self.ready.push(settled.clone().cancelled_owned().boxed());
        let watch = Watch {
            controller: self.name,
            presence,
            settled,
        };
        self.drivers
            .push(watch.follow(writer, events, queue, concerned).boxed());
        cache
    }

    /// Looks at the objects `concerned` names, each time `changes` yields.
    pub(crate) fn trigger(
        &mut self,
        changes: impl Stream<Item = ()> + Send + 'static,
        concerned: impl Fn() -> Vec<Key> + Send + 'static,
    ) {
        let queue = self.queue.clone();
        let driver = changes.for_each(move |()| {
            concerned().into_iter().for_each(|key| queue.add(key));
            std::future::ready(())
        });
        self.drivers.push(driver.boxed());
    }

    /// Runs something beside the looks, for as long as they run.
    pub(crate) fn beside(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.drivers.push(work.boxed());
    }

    /// Lets the first look wait for something.
    pub(crate) fn wait_for(&mut self, ready: impl Future<Output = ()> + Send + 'static) {
        self.ready.push(ready.boxed());
    }

    /// Looks at `key` at the start, whether anything changes or not.
    pub(crate) fn look_first_at(&self, key: Key) {
        self.queue.add(key);
    }

    /// Runs until cancelled. `look` must be safe to repeat. An error means: look again soon.
    pub(crate) async fn run<F, Fut, E>(self, cancel: CancellationToken, look: F)
    where
        F: Fn(Key) -> Fut,
        Fut: Future<Output = Result<Next, E>> + Send + 'static,
        E: Error + Send + 'static,
    {
        let Self {
            name,
            queue,
            drivers,
            ready,
        } = self;
        let mut drivers: FuturesUnordered<_> = drivers.into_iter().collect();
        let drive = async {
            while drivers.next().await.is_some() {}
            std::future::pending::<()>().await;
        };
        let work = async {
            futures::future::join_all(ready).await;
            work(name, &queue, look).await;
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = drive => {}
            () = work => {}
        }
    }
}

/// One watch of one controller.
struct Watch {
    controller: &'static str,
    presence: Presence,
    /// Cancelled when the cache holds everything, or, of an optional kind, when the first try failed.
    settled: CancellationToken,
}

impl Watch {
    /// Takes each event into the cache first, then the names concerned into the queue.
    async fn follow<K>(
        self,
        mut writer: Writer<K>,
        events: impl Stream<Item = watcher::Result<Event<K>>>,
        queue: Queue,
        concerned: impl Fn(&K, Stands) -> Vec<Key>,
    ) where
        K: Lookup + Clone + 'static,
        K::DynamicType: Default + Eq + Hash + Clone,
    {
        let cache = writer.as_reader();
        let mut before: BTreeMap<String, std::sync::Arc<K>> = BTreeMap::new();
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    warn!(controller = self.controller, kind = %K::kind(&K::DynamicType::default()),
                        error = causes(&error), "watch failed, trying again");
                    if self.presence == Presence::Optional {
                        self.settled.cancel();
                    }
                    continue;
                }
            };
            if matches!(event, Event::Init) {
                // After a lost watch the list may lack objects that were deleted meanwhile.
                before = by_name(&cache);
            }
            writer.apply_watcher_event(&event);
            match &event {
                Event::Apply(object) => {
                    let keys = concerned(object, Stands::There);
                    keys.into_iter().for_each(|key| queue.add(key));
                }
                Event::Delete(object) => {
                    let keys = concerned(object, Stands::Gone);
                    keys.into_iter().for_each(|key| queue.add(key));
                }
                Event::Init | Event::InitApply(_) => {}
                Event::InitDone => {
                    self.settled.cancel();
                    let now = by_name(&cache);
                    let mut gone = std::mem::take(&mut before);
                    // Another object of the same name is another object.
                    gone.retain(|name, object| {
                        now.get(name).is_none_or(|now| now.uid() != object.uid())
                    });
                    let gone = gone.values().map(|object| (object, Stands::Gone));
                    let there = now.values().map(|object| (object, Stands::There));
                    for (object, stands) in gone.chain(there) {
                        let keys = concerned(object, stands);
                        keys.into_iter().for_each(|key| queue.add(key));
                    }
                }
            }
        }
    }
}

/// The objects of a cache, in the order of their names.
fn by_name<K>(cache: &Store<K>) -> BTreeMap<String, std::sync::Arc<K>>
where
    K: Lookup + Clone + 'static,
    K::DynamicType: Default + Eq + Hash + Clone,
{
    let name = |object: &K| ObjectRef::from_obj(object).to_string();
    cache
        .state()
        .into_iter()
        .map(|object| (name(&object), object))
        .collect()
}

async fn work<F, Fut, E>(name: &'static str, queue: &Queue, look: F)
where
    F: Fn(Key) -> Fut,
    Fut: Future<Output = Result<Next, E>> + Send + 'static,
    E: Error + Send + 'static,
{
    let mut looks = JoinSet::new();
    let mut keys: BTreeMap<tokio::task::Id, Key> = BTreeMap::new();
    let mut failures: BTreeMap<Key, u32> = BTreeMap::new();
    loop {
        tokio::select! {
            key = queue.next(), if looks.len() < LOOKS_AT_ONCE => {
                let task = looks.spawn(look(key.clone()));
                keys.insert(task.id(), key);
            }
            Some(ended) = looks.join_next_with_id() => {
                let (id, result) = match ended {
                    Ok((id, result)) => (id, Ok(result)),
                    Err(panicked) => (panicked.id(), Err(panicked)),
                };
                let Some(key) = keys.remove(&id) else { continue };
                let retry = match result {
                    Ok(Ok(Next::OnChange)) => { failures.remove(&key); None }
                    Ok(Ok(Next::After(wait))) => { failures.remove(&key); Some(wait) }
                    Ok(Err(error)) => Some(after_failure(name, &key, &error, &mut failures)),
                    Err(panicked) => {
                        error!(controller = name, object = %key, "a look panicked");
                        Some(after_failure(name, &key, &panicked, &mut failures))
                    }
                };
                if let Some(wait) = retry {
                    queue.add_at(key.clone(), Instant::now() + wait);
                }
                queue.done(&key);
            }
        }
    }
}

/// How long to wait after one more failure, which is told to whoever reads the log.
fn after_failure(
    name: &'static str,
    key: &Key,
    error: &dyn Error,
    failures: &mut BTreeMap<Key, u32>,
) -> Duration {
    let count = failures.entry(key.clone()).or_insert(0);
    let wait = retry_after(*count);
    *count = count.saturating_add(1);
    let causes = causes(error);
    if *count >= FAILURES_WORTH_A_WARNING {
        warn!(controller = name, object = %key, failures = *count, ?wait, error = causes, "look failed");
    } else {
        debug!(controller = name, object = %key, failures = *count, ?wait, error = causes, "look failed");
    }
    wait
}

/// What is gone already needs neither a change nor a deletion; every other error stays one.
pub(crate) fn gone_is_fine<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}

/// An error with everything behind it, in one line.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The wait after `failures` earlier failures in a row: doubling, bounded.
fn retry_after(failures: u32) -> Duration {
    FIRST_RETRY
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let waits: Vec<u128> = (0..15).map(|n| retry_after(n).as_millis()).collect();
        assert_eq!(&waits[..4], &[5, 10, 20, 40]);
        assert_eq!(waits[14], 30_000);
        assert_eq!(retry_after(u32::MAX).as_millis(), 30_000);
    }

    #[tokio::test]
    async fn a_failed_look_and_a_panicking_one_are_repeated() {
        let looks = Arc::new(AtomicU32::new(0));
        let cancel = CancellationToken::new();
        let engine = Engine::new("test");
        engine.look_first_at(Key::new("ns", "a"));
        let (count, end) = (Arc::clone(&looks), cancel.clone());
        engine
            .run(cancel, move |_| {
                let (count, end) = (Arc::clone(&count), end.clone());
                async move {
                    match count.fetch_add(1, Ordering::SeqCst) {
                        0 => Err(std::io::Error::other("lost a race")),
                        1 => panic!("a defect"),
                        _ => {
                            end.cancel();
                            Ok(Next::OnChange)
                        }
                    }
                }
            })
            .await;
        assert_eq!(looks.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn an_object_gone_while_the_watch_was_lost_is_looked_at() {
        use k8s_openapi::api::core::v1::ConfigMap;
        let map = |name: &str| ConfigMap {
            metadata: kube::api::ObjectMeta {
                name: Some(name.into()),
                ..Default::default()
            },
            ..Default::default()
        };
        let events = futures::stream::iter([
            Ok(Event::Init),
            Ok(Event::InitApply(map("old"))),
            Ok(Event::InitDone),
            Ok(Event::Init),
            Ok(Event::InitApply(map("new"))),
            Ok(Event::InitDone),
        ]);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let names = Arc::clone(&seen);
        let watch = Watch {
            controller: "test",
            presence: Presence::Required,
            settled: CancellationToken::new(),
        };
        let settled = watch.settled.clone();
        let concerned = move |map: &ConfigMap, stands: Stands| {
            let name = map.metadata.name.clone().unwrap();
            names.lock().unwrap().push(format!("{name} {stands:?}"));
            Vec::new()
        };
        watch
            .follow(Writer::default(), events, Queue::default(), concerned)
            .await;
        assert!(settled.is_cancelled());
        assert_eq!(
            *seen.lock().unwrap(),
            ["old There", "old Gone", "new There"]
        );
    }
}
