//! What is known of the templates of this node: one entry for each key. Pure: what is done about it is done elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::builder::Wanted;
use super::hot::Hot;
use super::key::Key;
use super::store::Stored;

/// Builds that wait: more shapes than that are not asked for at once, and whoever starts later asks again.
const MOST_WANTED: usize = 32;
/// A build that failed is tried again after this time, doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(60);
/// So many failures in a row, of builds or of restores, and no more is tried: what fails three times fails always.
pub(crate) const MOST_FAILURES: u32 = 3;

/// A host that has no room now is looked at again after at most so many doublings of [`FIRST_RETRY`]: some times an hour.
const MOST_DOUBLINGS: u32 = 4;

/// Which template: namespace and key.
pub(crate) type Id = (String, Key);

/// Why there is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// One word for programs.
    pub(crate) reason: String,
    /// A sentence for people.
    pub(crate) message: String,
    /// When it is worth trying again; `None`: never, unless somebody forgets it.
    pub(crate) retry_at: Option<Timestamp>,
}

/// What the reason lies with that no template was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// This machine, as it was then: it says nothing of the guest, so it is tried again as long as somebody asks.
    Host,
    /// The guest, or what was kept of it: it may go better, some times.
    Guest,
    /// The guest, and it is no use to try again.
    Shape,
}

/// How a template stands.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    /// Its guest waits for its turn to be built, or boots.
    Building,
    /// It is there.
    Ready(Arc<Stored>),
    /// There is none.
    Refused(Refusal),
}

/// One template.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) standing: Standing,
    pub(crate) hot: Option<Arc<Hot>>,
    pub(crate) about: About,
    /// Machines that started from it.
    pub(crate) uses: i64,
    pub(crate) last_used_at: Option<Timestamp>,
    /// Templates of this key that were dropped.
    pub(crate) dropped: i64,
    /// Builds or restores that failed, since one went well.
    pub(crate) failures: u32,
    /// Builds that the host stood in the way of, since one was tried.
    pub(crate) put_off: u32,
    /// Why the latest one of them was dropped.
    pub(crate) last_failure: Option<String>,
    /// Whether its object is to be written.
    pub(crate) changed: bool,
}

/// What its object says of the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) image: String,
    pub(crate) accelerator: String,
    pub(crate) memory_bytes: u64,
    pub(crate) qemu_version: String,
}

impl Entry {
    pub(crate) fn new(standing: Standing, about: About) -> Self {
        Self {
            standing,
            hot: None,
            about,
            uses: 0,
            last_used_at: None,
            dropped: 0,
            failures: 0,
            put_off: 0,
            last_failure: None,
            changed: true,
        }
    }

    /// Whether the template that was made then is there.
    pub(crate) fn was_made_at(&self, made_at: Timestamp) -> bool {
        matches!(&self.standing, Standing::Ready(stored) if stored.manifest.made_at == made_at)
    }

    fn disk_bytes(&self) -> u64 {
        match &self.standing {
            Standing::Ready(stored) => stored.manifest.disk_bytes,
            Standing::Building | Standing::Refused(_) => 0,
        }
    }
}

/// The entries, and who waits for what.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) entries: BTreeMap<Id, Entry>,
    pub(crate) wanted: Vec<Wanted>,
    /// What is to be told of templates that were dropped.
    pub(crate) news: Vec<(Id, String)>,
    waiting: BTreeMap<Id, Vec<Arc<Notify>>>,
}

/// What a start finds.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// A template in memory.
    Hot(Arc<Hot>),
    /// A template on disk.
    Cold(Arc<Stored>),
    /// One is being made, or will be.
    Building,
    /// None, and why none is made now.
    Refused(Refusal),
    /// None; one may be asked for.
    Missing,
}

/// What comes of asking for a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It is made, or will be.
    Building,
    /// Since it was looked for it was made, or none could be: whoever asks may look again.
    Decided,
    /// Too many others are asked for already.
    TooMany,
}

impl Book {
    /// What there is for a start now. If one is being made, `wake` is told when that has ended.
    pub(crate) fn look(&mut self, id: &Id, now: Timestamp, wake: Option<&Arc<Notify>>) -> Found {
        let found = self.find(id, now);
        if let (Found::Building, Some(wake)) = (&found, wake) {
            self.wait(id, wake);
        }
        found
    }

    fn find(&self, id: &Id, now: Timestamp) -> Found {
        let Some(entry) = self.entries.get(id) else {
            return Found::Missing;
        };
        match &entry.standing {
            Standing::Building => Found::Building,
            Standing::Ready(stored) => match &entry.hot {
                Some(hot) => Found::Hot(Arc::clone(hot)),
                None => Found::Cold(Arc::clone(stored)),
            },
            Standing::Refused(refusal) => match refusal.retry_at {
                Some(at) if at <= now => Found::Missing,
                _ => Found::Refused(refusal.clone()),
            },
        }
    }

    /// Asks that a template be made, once, however many ask. If it is, `wake` is told when that has ended.
    pub(crate) fn want(
        &mut self,
        wanted: Wanted,
        now: Timestamp,
        wake: Option<&Arc<Notify>>,
    ) -> Asked {
        match self.look(&wanted.id, now, wake) {
            Found::Missing => {}
            Found::Building => return Asked::Building,
            Found::Hot(_) | Found::Cold(_) | Found::Refused(_) => return Asked::Decided,
        }
        if self.wanted.len() >= MOST_WANTED {
            return Asked::TooMany;
        }
        let about = wanted.about.clone();
        let entry = self
            .entries
            .entry(wanted.id.clone())
            .or_insert_with(|| Entry::new(Standing::Building, About::default()));
        entry.about = about;
        entry.standing = Standing::Building;
        entry.changed = true;
        if let Some(wake) = wake {
            self.wait(&wanted.id, wake);
        }
        self.wanted.push(wanted);
        Asked::Building
    }

    /// Tells `wake` when the template of `id` stands otherwise. In one turn with the look that found it to be made: an end
    /// in between would be told to nobody.
    fn wait(&mut self, id: &Id, wake: &Arc<Notify>) {
        let waiting = self.waiting.entry(id.clone()).or_default();
        if !waiting.iter().any(|known| Arc::ptr_eq(known, wake)) {
            waiting.push(Arc::clone(wake));
        }
    }

    fn tell(&mut self, id: &Id) {
        for wake in self.waiting.remove(id).into_iter().flatten() {
            wake.notify_one();
        }
    }

    /// A template was made. False: nobody wants it any more, and its files are to be removed.
    pub(crate) fn built(&mut self, id: &Id, hot: Arc<Hot>) -> bool {
        self.tell(id);
        let Some(entry) = self.entries.get_mut(id) else {
            return false;
        };
        entry.standing = Standing::Ready(Arc::clone(&hot.stored));
        entry.hot = Some(hot);
        entry.failures = 0;
        entry.put_off = 0;
        entry.changed = true;
        true
    }

    /// None was made. Says nothing of one that is there.
    pub(crate) fn not_built(
        &mut self,
        id: &Id,
        reason: &str,
        message: String,
        cause: Cause,
        now: Timestamp,
    ) {
        let entry = self.entries.get_mut(id);
        if let Some(entry) = entry.filter(|it| !matches!(it.standing, Standing::Ready(_))) {
            let (count, lasting) = if cause == Cause::Host {
                entry.put_off = entry.put_off.saturating_add(1);
                (entry.put_off, false)
            } else {
                entry.put_off = 0;
                entry.failures = entry.failures.saturating_add(1);
                let is_last = entry.failures >= MOST_FAILURES;
                (entry.failures, cause == Cause::Shape || is_last)
            };
            let doublings = count.saturating_sub(1).min(MOST_DOUBLINGS);
            let retry = FIRST_RETRY.saturating_mul(1 << doublings);
            entry.standing = Standing::Refused(Refusal {
                reason: reason.to_owned(),
                message,
                retry_at: now.checked_add(retry).ok().filter(|_| !lasting),
            });
            entry.hot = None;
            entry.changed = true;
        }
        self.tell(id);
    }

    /// One that was there when we started was of no use, and was removed.
    pub(crate) fn found_useless(&mut self, id: Id, message: String) {
        let nothing = Standing::Refused(Refusal {
            reason: String::new(),
            message: String::new(),
            retry_at: None,
        });
        let entry = Entry::new(nothing, About::default());
        self.entries.insert(id.clone(), entry);
        self.drop_entry(&id, "Files", &message);
    }

    /// The template that was made then is of no use: whoever starts next makes another one, unless too many were of no
    /// use. False: it is another one by now, or gone, and nothing has changed.
    pub(crate) fn dropped(
        &mut self,
        id: &Id,
        made_at: Timestamp,
        reason: &str,
        message: &str,
    ) -> bool {
        let entry = self.entries.get(id);
        let is_it = entry.is_some_and(|entry| entry.was_made_at(made_at));
        if is_it {
            self.drop_entry(id, reason, message);
        }
        is_it
    }

    fn drop_entry(&mut self, id: &Id, reason: &str, message: &str) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        entry.dropped = entry.dropped.saturating_add(1);
        entry.failures = entry.failures.saturating_add(1);
        entry.hot = None;
        entry.changed = true;
        entry.last_failure = Some(message.to_owned());
        self.news.push((id.clone(), message.to_owned()));
        let lasting = entry.failures >= MOST_FAILURES;
        entry.standing = Standing::Refused(Refusal {
            reason: reason.to_owned(),
            message: message.to_owned(),
            // At once: also by a start that looked at its clock before this was dropped.
            retry_at: (!lasting).then_some(Timestamp::MIN),
        });
        self.tell(id);
    }

    /// Nothing of `id` is remembered any more.
    pub(crate) fn forget(&mut self, id: &Id) {
        self.entries.remove(id);
        self.wanted.retain(|wanted| wanted.id != *id);
        self.tell(id);
    }

    /// A machine goes on from it: what failed before is no pattern.
    pub(crate) fn used(&mut self, id: &Id, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.uses = entry.uses.saturating_add(1);
            entry.last_used_at = Some(now);
            entry.failures = 0;
            entry.changed = true;
        }
    }

    /// Puts a template into memory, and lets others go from it until at most `bound` bytes are held. False: it was
    /// dropped or replaced while it was read.
    pub(crate) fn heat(&mut self, id: &Id, hot: Arc<Hot>, bound: u64) -> bool {
        let entry = self.entries.get_mut(id);
        let Some(entry) = entry.filter(|it| it.was_made_at(hot.stored.manifest.made_at)) else {
            return false;
        };
        entry.hot = Some(hot);
        entry.changed = true;
        self.cool(id, bound);
        true
    }

    /// Lets templates other than `kept` go from memory, those not used for the longest first, until at most `bound` bytes
    /// are held.
    pub(crate) fn cool(&mut self, kept: &Id, bound: u64) {
        while self.held_bytes() > bound {
            let coldest = self.coldest(|key, entry| key != kept && entry.hot.is_some());
            let Some(entry) = coldest.and_then(|id| self.entries.get_mut(&id)) else {
                break;
            };
            entry.hot = None;
            entry.changed = true;
        }
    }

    /// The next template to make, if anybody still waits for one.
    pub(crate) fn next(&mut self) -> Option<Wanted> {
        while !self.wanted.is_empty() {
            let wanted = self.wanted.remove(0);
            // One that was forgotten and asked for again while it was made is there by now.
            let entry = self.entries.get(&wanted.id);
            if entry.is_some_and(|entry| matches!(entry.standing, Standing::Building)) {
                return Some(wanted);
            }
        }
        None
    }

    /// Bytes that are held in memory.
    pub(crate) fn held_bytes(&self) -> u64 {
        let hot = self.entries.values().filter_map(|entry| entry.hot.as_ref());
        hot.fold(0, |sum, hot| sum.saturating_add(hot.held_bytes))
    }

    /// Templates that must go from disk so that at most `bound` bytes are taken, those not used for the longest first;
    /// never `newest`.
    pub(crate) fn beyond(&self, bound: u64, newest: &Id) -> Vec<Id> {
        let mut all: Vec<(&Id, &Entry)> = self
            .entries
            .iter()
            .filter(|(_, entry)| matches!(entry.standing, Standing::Ready(_)))
            .collect();
        all.sort_by_key(|(id, entry)| (*id == newest, last_used(entry)));
        let mut taken = all.iter().fold(0_u64, |sum, (_, entry)| {
            sum.saturating_add(entry.disk_bytes())
        });
        let mut going = Vec::new();
        for (id, entry) in all {
            if taken <= bound || id == newest {
                break;
            }
            taken = taken.saturating_sub(entry.disk_bytes());
            going.push(id.clone());
        }
        going
    }

    fn coldest(&self, which: impl Fn(&Id, &Entry) -> bool) -> Option<Id> {
        let entries = self.entries.iter();
        let coldest = entries
            .filter(|(id, entry)| which(id, entry))
            .min_by_key(|(_, entry)| last_used(entry));
        coldest.map(|(id, _)| id.clone())
    }
}

/// When it was used last, or made.
fn last_used(entry: &Entry) -> Timestamp {
    let made = match &entry.standing {
        Standing::Ready(stored) => stored.manifest.made_at,
        Standing::Building | Standing::Refused(_) => Timestamp::MIN,
    };
    entry.last_used_at.map_or(made, |used| used.max(made))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::templates::fixtures::{self, keep, made};
    use crate::templates::store::Store;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    /// Templates of these namespaces, made at the seconds of their places.
    fn book(namespaces: &[&str]) -> (tempfile::TempDir, Book, Vec<Id>) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path().join("templates")).expect("opened");
        let (mut book, mut ids) = (Book::default(), Vec::new());
        for (second, namespace) in (1_i64..).zip(namespaces) {
            let mut made = made();
            (*namespace).clone_into(&mut made.shape.namespace);
            made.made_at = at(second);
            let stored = Arc::new(keep(&store, &made));
            let id = ((*namespace).to_owned(), stored.manifest.key.clone());
            let entry = Entry::new(Standing::Ready(stored), About::default());
            book.entries.insert(id.clone(), entry);
            ids.push(id);
        }
        (folder, book, ids)
    }

    fn heat(book: &mut Book, id: &Id, bound: u64) -> u64 {
        let Found::Cold(stored) = book.find(id, at(0)) else {
            panic!("{id:?} is not on disk");
        };
        let hot = Arc::new(Hot::load(stored).expect("loaded"));
        let held = hot.held_bytes;
        assert!(book.heat(id, hot, bound));
        held
    }

    #[test]
    fn those_not_used_for_the_longest_leave_memory_and_disk_first() {
        let (_folder, mut book, ids) = book(&["a", "b", "c"]);
        let held = heat(&mut book, &ids[0], u64::MAX);
        heat(&mut book, &ids[1], u64::MAX);
        book.used(&ids[0], at(50));
        heat(&mut book, &ids[2], held * 2);
        assert!(matches!(book.find(&ids[0], at(60)), Found::Hot(_)));
        assert!(matches!(book.find(&ids[1], at(60)), Found::Cold(_)));
        assert!(matches!(book.find(&ids[2], at(60)), Found::Hot(_)));
        assert_eq!(book.held_bytes(), held * 2);
        // Room for one that is about to be read.
        book.cool(&ids[1], held);
        assert_eq!(book.held_bytes(), held);
        assert!(matches!(book.find(&ids[0], at(60)), Found::Hot(_)));
        // One that was read is held whatever the bound is by then.
        heat(&mut book, &ids[1], 1);
        assert_eq!(book.held_bytes(), held);
        let disk = book.entries[&ids[0]].disk_bytes();
        assert!(disk > 0);
        assert_eq!(book.beyond(disk * 3, &ids[2]), []);
        assert_eq!(book.beyond(disk * 2, &ids[2]), [ids[1].clone()]);
        assert_eq!(book.beyond(0, &ids[2]), [ids[1].clone(), ids[0].clone()]);
        assert_eq!(book.beyond(0, &ids[1]), [ids[2].clone(), ids[0].clone()]);
    }

    #[test]
    fn a_build_that_fails_is_tried_again_later_and_not_for_ever() {
        let mut book = Book::default();
        let wanted = fixtures::wanted();
        let id = wanted.id.clone();
        let mut now = at(0);
        for failures in 1..=MOST_FAILURES {
            assert!(matches!(book.find(&id, now), Found::Missing));
            assert_eq!(book.want(wanted.clone(), now, None), Asked::Building);
            assert!(matches!(book.find(&id, now), Found::Building));
            book.wanted.clear();
            book.not_built(&id, "TimedOut", "m".to_owned(), Cause::Guest, now);
            let Found::Refused(refusal) = book.find(&id, now) else {
                panic!("refused");
            };
            match refusal.retry_at {
                Some(at) => now = at,
                None => assert_eq!(failures, MOST_FAILURES),
            }
        }
        assert!(matches!(book.find(&id, Timestamp::MAX), Found::Refused(_)));
        book.forget(&id);
        assert!(matches!(book.find(&id, now), Found::Missing));
        // What is no use to try is not tried.
        book.want(wanted, now, None);
        book.not_built(&id, "NoHook", "m".to_owned(), Cause::Shape, now);
        assert!(matches!(book.find(&id, Timestamp::MAX), Found::Refused(_)));
    }

    #[test]
    fn what_stands_in_the_way_of_a_build_on_the_host_is_never_a_lasting_refusal() {
        let mut book = Book::default();
        let wanted = fixtures::wanted();
        let id = wanted.id.clone();
        let (mut now, mut waits) = (at(0), Vec::new());
        for _ in 0..7 {
            assert_eq!(book.want(wanted.clone(), now, None), Asked::Building);
            book.wanted.clear();
            book.not_built(&id, "NoMemory", "m".to_owned(), Cause::Host, now);
            let Found::Refused(refusal) = book.find(&id, now) else {
                panic!("refused");
            };
            let again = refusal.retry_at.expect("not lasting");
            waits.push(again.duration_since(now).as_secs());
            now = again;
        }
        assert_eq!(waits, [60, 120, 240, 480, 960, 960, 960]);
        // Nor does it bring the guest's own failures nearer to their end.
        assert_eq!(book.entries[&id].failures, 0);
        book.not_built(&id, "NotReady", "m".to_owned(), Cause::Guest, now);
        assert_eq!(book.entries[&id].failures, 1);
        assert!(matches!(book.find(&id, Timestamp::MAX), Found::Missing));
    }

    #[test]
    fn a_template_that_fails_is_dropped_and_made_again_but_not_for_ever() {
        let (_folder, mut book, ids) = book(&["a"]);
        let ready = book.entries[&ids[0]].standing.clone();
        assert!(book.dropped(&ids[0], at(1), "Restore", "m"));
        // Also for a start that began before it was dropped.
        assert!(matches!(book.find(&ids[0], at(0)), Found::Missing));
        // Who comes late says nothing of what stands there now, nor of another template.
        assert!(!book.dropped(&ids[0], at(1), "Restore", "m"));
        book.entries.get_mut(&ids[0]).expect("known").standing = ready.clone();
        assert!(!book.dropped(&ids[0], at(2), "Restore", "m"));
        assert_eq!(book.entries[&ids[0]].dropped, 1);
        book.used(&ids[0], at(9));
        for _ in 0..MOST_FAILURES {
            book.entries.get_mut(&ids[0]).expect("known").standing = ready.clone();
            assert!(book.dropped(&ids[0], at(1), "Restore", "m"));
        }
        assert!(matches!(
            book.find(&ids[0], Timestamp::MAX),
            Found::Refused(_)
        ));
        assert_eq!(book.entries[&ids[0]].dropped, 4);
        assert_eq!(book.news.len(), 4, "each is told");
        book.found_useless(ids[0].clone(), "its file state is missing".to_owned());
        assert!(matches!(book.find(&ids[0], at(0)), Found::Missing));
        let told = book.news.last().map(|(_, message)| message.as_str());
        assert_eq!(told, Some("its file state is missing"));
    }

    #[test]
    fn many_who_ask_for_one_template_are_one_build_and_none_spoils_one_that_is_there() {
        let (_folder, mut book, ids) = book(&["ns"]);
        let wanted = fixtures::wanted();
        assert_eq!(wanted.id, ids[0]);
        assert_eq!(book.want(wanted.clone(), at(1), None), Asked::Decided);
        book.not_built(&ids[0], "NotReady", "m".to_owned(), Cause::Shape, at(1));
        assert!(matches!(book.find(&ids[0], at(1)), Found::Cold(_)));
        assert_eq!(book.entries[&ids[0]].failures, 0);
        book.forget(&ids[0]);
        for _ in 0..3 {
            assert_eq!(book.want(wanted.clone(), at(1), None), Asked::Building);
        }
        assert_eq!(book.wanted.len(), 1);
        // Nor while it is built, and is in the list no more.
        book.wanted.clear();
        assert_eq!(book.want(wanted.clone(), at(1), None), Asked::Building);
        assert!(book.wanted.is_empty());
        book.not_built(&ids[0], "NoHook", "m".to_owned(), Cause::Shape, at(1));
        assert_eq!(book.want(wanted, at(1), None), Asked::Decided);
    }

    #[test]
    fn one_that_is_forgotten_and_asked_for_again_while_it_is_made_is_made_once() {
        let (_folder, mut book, ids) = book(&["ns"]);
        let (ready, wanted) = (book.entries[&ids[0]].standing.clone(), fixtures::wanted());
        book.forget(&ids[0]);
        book.want(wanted.clone(), at(1), None);
        assert!(book.next().is_some() && book.next().is_none());
        book.forget(&ids[0]);
        assert_eq!(book.want(wanted, at(1), None), Asked::Building);
        let Standing::Ready(stored) = ready else {
            panic!("it was ready");
        };
        assert!(book.built(&ids[0], Arc::new(Hot::load(stored).expect("loaded"))));
        assert!(book.next().is_none(), "it is there");
        assert!(matches!(book.find(&ids[0], at(1)), Found::Hot(_)));
    }

    #[tokio::test]
    async fn who_waits_is_told_of_each_end() {
        let mut book = Book::default();
        let wanted = fixtures::wanted();
        let id = wanted.id.clone();
        let wake = Arc::new(Notify::new());
        book.want(wanted.clone(), at(0), Some(&wake));
        book.look(&id, at(0), Some(&wake));
        book.not_built(&id, "NoHook", "m".to_owned(), Cause::Shape, at(1));
        wake.notified().await;
        // There is nothing to wait for, and nobody is kept who would.
        book.look(&id, at(1), Some(&wake));
        assert_eq!(
            book.want(wanted.clone(), at(1), Some(&wake)),
            Asked::Decided
        );
        assert!(book.waiting.is_empty());
        book.forget(&id);
        book.want(wanted.clone(), at(1), None);
        assert!(book.waiting.is_empty(), "who boots does not wait");
        book.want(wanted.clone(), at(1), Some(&wake));
        book.forget(&id);
        wake.notified().await;
        let other = |namespace: usize| {
            let mut other = wanted.clone();
            other.id.0 = namespace.to_string();
            other
        };
        let asked = (0..=MOST_WANTED).map(|it| book.want(other(it), at(1), None));
        let most = asked.filter(|asked| *asked == Asked::Building).count();
        assert_eq!(most, MOST_WANTED);
        let last = other(MOST_WANTED);
        assert_eq!(book.want(last.clone(), at(1), Some(&wake)), Asked::TooMany);
        assert!(!book.waiting.contains_key(&last.id), "nobody would wake it");
        assert!(matches!(book.find(&last.id, at(1)), Found::Missing));
    }
}
