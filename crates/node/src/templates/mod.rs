//! Templates: guests that have booted and were kept, for machines of the same shape to go on from.
//!
//! ```text
//! a start (machine::warm) ──shape──► key ──► Templates::choose ─┬─ hot ──► the launcher restores it
//!                                                               ├─ on disk: read, verified, hot
//!                                                               └─ missing: want() ──► builder ──► store ──► hot
//! objects: WarmStartTemplate ◄── what stands in the book; deleting one forgets its entry and its files
//! ```
//! What is in a template: `docs/decisions/0015-warm-start.md`.

mod book;
pub(crate) mod builder;
#[cfg(test)]
pub(crate) mod fixtures;
mod hot;
pub(crate) mod key;
mod objects;
pub(crate) mod pool;
pub(crate) mod store;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use qemu::architecture::Architecture;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use crate::NodeSettings;
use crate::abilities::emulator;
use crate::machine::{Context, read_understood, write_json};
pub(crate) use book::{Asked, Id, Refusal};
use book::{Book, Entry, Found, Standing};
pub(crate) use builder::Wanted;
pub(crate) use hot::Hot;
use key::{FORMAT, Installed, Shape, Surroundings};
use pool::{Pool, Setting};
use store::{Fault, Store, Stored};

/// The folder below the data directory.
const FOLDER: &str = "templates";
/// Below [`FOLDER`]: the version of the QEMU that was asked for it last, so that the first starts after a start of ours
/// need not wait until it is asked again.
const VERSION: &str = "qemu-version.json";
/// Templates may hold this part of the machine's memory: guests need the rest.
const HELD_PART: u64 = 4;

/// So much memory stays free beside a template that is read.
const MARGIN_BYTES: u64 = 256 << 20;
/// Templates are made from then on also if the API does not tell of those that there were.
const OBJECTS: Duration = Duration::from_secs(30);

/// What a start that may be warm gets.
#[derive(Debug)]
pub(crate) enum Chosen {
    /// This template; it must live until the launcher has opened it.
    Start(Arc<Hot>),
    /// One is being made.
    Building,
    /// There is none, and none is made now.
    Refused(Refusal),
    /// There is none; why one that there was is not used any more.
    Missing(Option<String>),
}

/// The templates of this node.
#[derive(Debug)]
pub(crate) struct Templates {
    root: PathBuf,
    store: Store,
    book: Mutex<Book>,
    /// Told when objects have to be written.
    changed: Notify,
    /// Told when there is something to build.
    work: Notify,
    /// Held while a template is read into memory: two starts at once read it once.
    loading: tokio::sync::Mutex<()>,
    /// This machine's.
    memory_bytes: u64,
    held_bound: u64,
    anyvirt_program: PathBuf,
    processor: String,
    qemu_program: Option<PathBuf>,
    version: Mutex<Option<(Installed, String)>>,
    /// Guests that stand by.
    pub(crate) pool: Pool,
}

impl Templates {
    /// The templates of a node with these settings. What an earlier run left unfinished is removed, builders of it are
    /// ended, and what does not fit to this machine any more goes.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub(crate) async fn open(settings: &NodeSettings, memory_bytes: u64) -> io::Result<Self> {
        let root = settings.data_directory.join(FOLDER);
        let store = Store::open(root.clone())?;
        // Machines start without templates, too: what is left of some must not keep the node from its work.
        if let Err(error) = builder::end_all(&builder::folder(&root)).await {
            tracing::warn!(%error, "what is left of templates is not looked at");
        }
        let pool = Pool::new(&root, Setting::default_of(memory_bytes));
        if let Err(error) = pool.end_all().await {
            tracing::warn!(%error, "what is left of guests that stood by is not looked at");
        }
        let version = read_understood(&root.join(VERSION)).unwrap_or_else(|error| {
            tracing::warn!(%error, "QEMU is asked for its version again");
            None
        });
        let templates = Self {
            store,
            book: Mutex::default(),
            changed: Notify::new(),
            work: Notify::new(),
            loading: tokio::sync::Mutex::default(),
            memory_bytes,
            held_bound: memory_bytes / HELD_PART,
            anyvirt_program: settings.anyvirt_program.clone(),
            processor: processor(),
            qemu_program: settings.qemu_program.clone(),
            version: Mutex::new(version),
            pool,
            root,
        };
        let swept = templates.store.sweep(|made| templates.foreign(made))?;
        for stored in swept.stored {
            let id = (stored.namespace().to_owned(), stored.manifest.key.clone());
            let about = objects::about(&stored);
            let entry = Entry::new(Standing::Ready(Arc::new(stored)), about);
            templates.book().entries.insert(id, entry);
        }
        for (namespace, key, fault) in swept.removed {
            let why = format!("the template {key} is of no use: {fault}");
            let id = (namespace, key);
            let mut book = templates.book();
            match fault {
                // No start can ask for it any more.
                Fault::Foreign(_) | Fault::Mismatch => book.news.push((id, why)),
                _ => book.found_useless(id, why),
            }
        }
        Ok(templates)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing that holds it panics half-way through a change.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The folder of builders.
    pub(crate) fn builders(&self) -> PathBuf {
        builder::folder(&self.root)
    }

    /// Ends the guest of a build that goes on, and those that stand by: nobody will wait for them.
    pub(crate) async fn end_builders(&self) -> io::Result<()> {
        let builders = self.builders();
        let (built, stood) = tokio::join!(builder::end_all(&builders), self.pool.end_all());
        built.and(stood)
    }

    /// The template of this key is to be told anew.
    fn tell(&self, id: &Id) {
        if let Some(entry) = self.book().entries.get_mut(id) {
            entry.changed = true;
        }
        self.changed.notify_one();
    }

    /// A guest of this shape that stands by, for a machine that is about to start.
    pub(crate) fn take_standby(&self, shape: &Shape, now: Timestamp) -> Option<pool::Taken> {
        let id = (shape.namespace.clone(), shape.key());
        let Found::Hot(hot) = self.book().look(&id, now, None) else {
            return None;
        };
        hot.check().ok()?;
        let taken = self.pool.take(&id, &hot, now)?;
        self.tell(&id);
        Some(taken)
    }

    /// What shapes guests of `architecture` (in Go's names; empty: the host's) here; `None` while QEMU's version is not
    /// known, or no QEMU is installed. `learned` is the version, if it was asked for.
    pub(crate) fn surroundings(
        &self,
        architecture: &str,
        learned: Option<String>,
    ) -> Option<Surroundings> {
        let own = Architecture::of_machine(std::env::consts::ARCH);
        let guest = Architecture::of_go(architecture).or(own)?;
        let set = self.qemu_program.as_deref();
        let program = match set.filter(|_| own == Some(guest)) {
            Some(set) => set.to_owned(),
            None => emulator(guest, set)?,
        };
        let qemu = Installed::of(&program).ok()?;
        let qemu_version = self.version_of(&qemu, learned)?;
        Some(self.around(guest, qemu, qemu_version))
    }

    fn around(&self, guest: Architecture, qemu: Installed, qemu_version: String) -> Surroundings {
        let firmware = guest.installed_firmware(Path::is_file);
        let firmware = firmware.map(|image| [image.code, image.variables]);
        Surroundings {
            format: FORMAT,
            anyvirt_version: env!("CARGO_PKG_VERSION").to_owned(),
            // One that cannot be looked at is like no other.
            anyvirt: Installed::of(&self.anyvirt_program).unwrap_or_default(),
            qemu_version,
            qemu,
            firmware: firmware
                .into_iter()
                .flatten()
                .filter_map(|path| Installed::of(Path::new(path)).ok())
                .collect(),
            processor: self.processor.clone(),
        }
    }

    /// The version of an installed QEMU, which is remembered over restarts.
    fn version_of(&self, qemu: &Installed, learned: Option<String>) -> Option<String> {
        let mut known = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(learned) = learned else {
            let known = known.as_ref().filter(|(of, _)| of == qemu);
            return known.map(|(_, version)| version.clone());
        };
        let news = Some((qemu.clone(), learned.clone()));
        if *known != news {
            *known = news;
            // Without it the first starts after the next restart boot.
            if let Err(error) = write_json(&self.root, VERSION, &*known) {
                tracing::warn!(%error, "QEMU's version is not remembered");
            }
        }
        Some(learned)
    }

    /// What is another one here than where a template was made.
    fn foreign(&self, made: &Surroundings) -> Option<String> {
        let Ok(qemu) = Installed::of(Path::new(&made.qemu.path)) else {
            return Some(format!("its QEMU is gone: {}", made.qemu.path));
        };
        // The same program has the same version.
        let version = if qemu == made.qemu {
            made.qemu_version.clone()
        } else {
            self.version_of(&qemu, None)
                .unwrap_or_else(|| "another one".to_owned())
        };
        let mut here = self.around(Architecture::Amd64, qemu, version);
        let has = |it: &Installed| Installed::of(Path::new(&it.path)).ok().as_ref() == Some(it);
        // Firmware is compared by what it was made with: it tells the architecture, too.
        here.firmware = made.firmware.iter().filter(|it| has(it)).cloned().collect();
        here.foreign(made)
    }

    /// What of this machine's surroundings a refusal holds for.
    fn fingerprint(&self) -> String {
        let anyvirt = Installed::of(&self.anyvirt_program).unwrap_or_default();
        let text = format!("{FORMAT} {anyvirt:?} {}", self.processor);
        let digest = key::hexadecimal(&Sha256::digest(text.as_bytes()));
        digest.chars().take(16).collect()
    }

    /// What there is for a start of this shape. Reads a template into memory if it has to. `wake`, if given, is told when
    /// one that is being made stands otherwise.
    pub(crate) async fn choose(
        &self,
        shape: &Shape,
        now: Timestamp,
        wake: Option<&Arc<Notify>>,
    ) -> Chosen {
        let id = (shape.namespace.clone(), shape.key());
        // Each further turn is one in which somebody else has dropped or replaced the template.
        loop {
            let found = self.book().look(&id, now, wake);
            let (stored, stale) = match found {
                Found::Hot(hot) => match hot.check() {
                    Ok(()) => return Chosen::Start(hot),
                    // Its content may still be what it was: then it was only put back from somewhere.
                    Err(_) => (Arc::clone(&hot.stored), Some(hot)),
                },
                Found::Cold(stored) => (stored, None),
                Found::Building => return Chosen::Building,
                Found::Refused(refusal) => return Chosen::Refused(refusal),
                Found::Missing => return Chosen::Missing(self.drop_foreign(shape).await),
            };
            let made_at = stored.manifest.made_at;
            match self.load(&id, stored, stale).await {
                Ok(Some(hot)) => return Chosen::Start(hot),
                Ok(None) => {}
                Err(fault) if fault.is_passing() => {
                    return Chosen::Refused(Refusal {
                        reason: "NotReadNow".to_owned(),
                        message: format!("the template {} cannot be read now: {fault}", id.1),
                        retry_at: Some(now),
                    });
                }
                Err(fault) => {
                    let why = format!("the template {} is of no use: {fault}", id.1);
                    if self.fail(&id, made_at, "Files", &why).await {
                        return Chosen::Missing(Some(why));
                    }
                }
            }
        }
    }

    /// Reads a template into memory, unless another start has done so meanwhile. `None`: it was dropped or replaced.
    async fn load(
        &self,
        id: &Id,
        stored: Arc<Stored>,
        stale: Option<Arc<Hot>>,
    ) -> Result<Option<Arc<Hot>>, Fault> {
        let _loading = self.loading.lock().await;
        let loaded = match self.book().entries.get(id) {
            Some(entry) if entry.was_made_at(stored.manifest.made_at) => entry.hot.clone(),
            // Whoever had the lock before found it to be of no use.
            _ => return Ok(None),
        };
        let is_stale = |hot: &Arc<Hot>| stale.as_ref().is_some_and(|it| Arc::ptr_eq(it, hot));
        if let Some(hot) = loaded.filter(|hot| !is_stale(hot)) {
            return Ok(Some(hot));
        }
        self.make_room(
            id,
            stored.held_bytes()?,
            host::facts::available_memory_bytes(),
        )?;
        let hot = tokio::task::spawn_blocking(move || Hot::load(stored))
            .await
            .map_err(io::Error::other)??;
        let hot = Arc::new(hot);
        let is_known = self.book().heat(id, Arc::clone(&hot), self.held_bound);
        self.changed.notify_one();
        Ok(is_known.then_some(hot))
    }

    /// Lets others go from memory for one of so many bytes.
    ///
    /// # Errors
    /// [`Fault::NoRoom`]: it is larger than all that templates may hold, or other programs have taken what is left of
    /// `free` bytes.
    fn make_room(&self, id: &Id, bytes: u64, free: Option<u64>) -> Result<(), Fault> {
        let no_room = |room: u64| Fault::NoRoom { bytes, room };
        let left = self.held_bound.checked_sub(bytes);
        let left = left.ok_or_else(|| no_room(self.held_bound))?;
        let before = self.book().held_bytes();
        self.book().cool(id, left);
        // What has gone is free as soon as the launchers that open it just now have ended.
        let gone = before.saturating_sub(self.book().held_bytes());
        match free.map(|free| free.saturating_add(gone).saturating_sub(MARGIN_BYTES)) {
            Some(room) if room < bytes => Err(no_room(room)),
            _ => Ok(()),
        }
    }

    /// Drops templates of the same guest that were made in other surroundings; says of one why.
    async fn drop_foreign(&self, shape: &Shape) -> Option<String> {
        let foreign: Vec<(Id, String)> = self
            .book()
            .entries
            .iter()
            .filter_map(|(id, entry)| {
                let Standing::Ready(stored) = &entry.standing else {
                    return None;
                };
                let made = &stored.manifest.shape;
                let same = made.namespace == shape.namespace && made.guest == shape.guest;
                let why = shape.surroundings.foreign(&made.surroundings)?;
                same.then(|| (id.clone(), why))
            })
            .collect();
        let mut told = None;
        for (id, why) in foreign {
            let why = format!("the template {} is of no use: {why}", id.1);
            tracing::warn!(namespace = id.0, why);
            self.book().news.push((id.clone(), why.clone()));
            self.forget(&id).await;
            told = Some(why);
        }
        told
    }

    /// Asks that a template be made. `wake`, if given, is told when it stands otherwise.
    pub(crate) fn want(&self, wanted: Wanted, now: Timestamp, wake: Option<&Arc<Notify>>) -> Asked {
        let asked = self.book().want(wanted, now, wake);
        if asked == Asked::Building {
            self.work.notify_one();
            self.changed.notify_one();
        }
        asked
    }

    /// A machine goes on from it.
    pub(crate) fn used(&self, id: &Id, now: Timestamp) {
        self.book().used(id, now);
        self.changed.notify_one();
    }

    /// A machine could not be restored from the template that was made then: it is dropped. False: it is another one by
    /// now, or gone.
    pub(crate) async fn failed(&self, id: &Id, made_at: Timestamp, message: &str) -> bool {
        self.fail(id, made_at, "RestoreFailed", message).await
    }

    /// Drops the template that was made then. False: it is another one by now, or gone.
    async fn fail(&self, id: &Id, made_at: Timestamp, reason: &str, message: &str) -> bool {
        if !self.book().dropped(id, made_at, reason, message) {
            return false;
        }
        tracing::warn!(namespace = id.0, key = %id.1, message, "a template is dropped");
        self.remove_files(id).await;
        self.changed.notify_one();
        true
    }

    /// Removes a template, and all that is remembered of it.
    async fn forget(&self, id: &Id) {
        self.book().forget(id);
        self.remove_files(id).await;
        self.changed.notify_one();
    }

    async fn remove_files(&self, (namespace, key): &Id) {
        let (store, namespace, key) = (self.store.clone(), namespace.clone(), key.clone());
        let removed = tokio::task::spawn_blocking(move || store.remove(&namespace, &key)).await;
        match removed {
            Ok(Ok(())) => {}
            // It is in no book any more, and the next start removes it.
            Ok(Err(error)) => tracing::warn!(%error, "a template is not removed"),
            Err(error) => tracing::error!(%error, "a template is not removed"),
        }
    }
}

/// Makes templates that are asked for, one at a time, and keeps their objects, for ever.
pub(crate) async fn keep(context: &Context) {
    let (ready, known) = tokio::sync::oneshot::channel();
    tokio::join!(objects::keep(context, ready), async {
        // What was refused by an earlier run is known from its objects; where they cannot be read, it is tried again.
        if tokio::time::timeout(OBJECTS, known).await.is_err() {
            tracing::warn!(
                "objects of kind WarmStartTemplate cannot be listed: is its CRD there, and may this node?"
            );
        }
        tokio::join!(
            keep_building(context),
            pool::keep(context),
            pool::keep_set(context)
        );
    });
}

async fn keep_building(context: &Context) {
    let templates = &context.templates;
    warm_up(templates).await;
    loop {
        let wanted = templates.book().next();
        let Some(wanted) = wanted else {
            templates.work.notified().await;
            continue;
        };
        let (namespace, key) = &wanted.id;
        tracing::info!(namespace, %key, "a template is made");
        match make(context, &wanted).await {
            Ok(hot) => finish(templates, &wanted.id, hot).await,
            Err(failed) => {
                let (reason, message) = (&failed.reason, &failed.message);
                tracing::warn!(namespace, %key, reason, message, "no template was made");
                let now = context.clock.now();
                let cause = failed.cause;
                templates
                    .book()
                    .not_built(&wanted.id, reason, message.clone(), cause, now);
            }
        }
        templates.changed.notify_one();
    }
}

async fn make(context: &Context, wanted: &Wanted) -> Result<Arc<Hot>, builder::NotBuilt> {
    let stored = Arc::new(builder::build(context, wanted).await?);
    let hot = tokio::task::spawn_blocking(move || Hot::load(stored));
    Ok(Arc::new(hot.await.map_err(io::Error::other)??))
}

/// Takes in a template that was made, and lets those go for which there is no room any more.
async fn finish(templates: &Templates, id: &Id, hot: Arc<Hot>) {
    let wanted = {
        let mut book = templates.book();
        let wanted = book.built(id, Arc::clone(&hot));
        book.heat(id, hot, templates.held_bound);
        wanted
    };
    if !wanted {
        return templates.remove_files(id).await;
    }
    let bound = templates.store.bound().unwrap_or(u64::MAX);
    let going = templates.book().beyond(bound, id);
    for id in going {
        tracing::info!(namespace = id.0, key = %id.1, "a template goes for want of room");
        templates.forget(&id).await;
    }
}

/// Reads those templates into memory that were used last, as far as there is room, so that the first machine need not
/// wait for it.
async fn warm_up(templates: &Templates) {
    let mut all: Vec<(Id, Arc<Stored>)> = {
        let book = templates.book();
        let ready = book.entries.iter();
        ready
            .filter_map(|(id, entry)| match &entry.standing {
                Standing::Ready(stored) => Some((id.clone(), Arc::clone(stored))),
                Standing::Building | Standing::Refused(_) => None,
            })
            .collect()
    };
    all.sort_by_key(|(_, stored)| std::cmp::Reverse(stored.manifest.made_at));
    for (id, stored) in all {
        let room = templates
            .held_bound
            .saturating_sub(templates.book().held_bytes());
        if stored.manifest.disk_bytes > room {
            return;
        }
        let made_at = stored.manifest.made_at;
        if let Err(fault) = templates.load(&id, stored, None).await {
            if fault.is_passing() {
                tracing::warn!(namespace = id.0, key = %id.1, %fault, "a template is not read now");
                continue;
            }
            let why = format!("the template {} is of no use: {fault}", id.1);
            templates.fail(&id, made_at, "Files", &why).await;
        }
    }
}

/// The host's processor: a guest that knows its features cannot go on without them.
pub(crate) fn processor() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let fields = ["vendor_id", "cpu family", "model", "model name", "stepping"];
    let fields = fields.map(|name| {
        host::facts::processor_field(&cpuinfo, name)
            .unwrap_or_default()
            .to_owned()
    });
    let mut flags = host::facts::processor_flags().unwrap_or_default();
    flags.sort();
    let flags = key::hexadecimal(&Sha256::digest(flags.join(" ").as_bytes()));
    let flags = flags.get(..12).unwrap_or_default();
    let [vendor, family, model, name, stepping] = fields;
    format!("{name} ({vendor} {family}/{model}/{stepping}, features {flags})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::templates::fixtures::{keep, made};

    /// The templates of a node that has one, on disk.
    fn templates(folder: &Path) -> (Templates, Id) {
        let root = folder.join(FOLDER);
        let store = Store::open(root.clone()).expect("opened");
        let stored = keep(&store, &made());
        let id = (stored.namespace().to_owned(), stored.manifest.key.clone());
        let entry = Entry::new(Standing::Ready(Arc::new(stored)), book::About::default());
        let templates = Templates {
            root,
            store,
            book: Mutex::default(),
            changed: Notify::new(),
            work: Notify::new(),
            loading: tokio::sync::Mutex::default(),
            memory_bytes: 0,
            held_bound: u64::MAX,
            anyvirt_program: PathBuf::new(),
            processor: String::new(),
            qemu_program: None,
            version: Mutex::default(),
            pool: Pool::new(folder, Setting::default_of(0)),
        };
        templates.book().entries.insert(id.clone(), entry);
        (templates, id)
    }

    #[tokio::test]
    async fn a_template_is_read_only_where_there_is_room_for_it_and_stays_where_there_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut templates, id) = templates(folder.path());
        let free = MARGIN_BYTES + 100;
        assert!(templates.make_room(&id, 100, Some(free)).is_ok());
        let fault = templates.make_room(&id, 101, Some(free));
        assert!(fault.expect_err("no room").is_passing());
        templates.held_bound = 1;
        let (shape, now) = (made().shape, Timestamp::UNIX_EPOCH);
        let chosen = templates.choose(&shape, now, None).await;
        let Chosen::Refused(refusal) = chosen else {
            panic!("{chosen:?}");
        };
        assert_eq!(refusal.reason, "NotReadNow");
        assert!(refusal.message.contains("1 bytes"), "{}", refusal.message);
        let entry = templates.book().entries[&id].clone();
        assert_eq!((entry.failures, entry.dropped), (0, 0));
        assert!(matches!(entry.standing, Standing::Ready(_)));
    }

    #[tokio::test]
    async fn starts_at_once_on_one_damaged_template_are_one_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        let (templates, id) = templates(folder.path());
        let state = templates.root.join(&id.0).join(id.1.as_str()).join("state");
        std::fs::write(&state, b"damaged").expect("written");
        let (shape, now) = (made().shape, Timestamp::UNIX_EPOCH);
        let all = [(); 4].map(|()| templates.choose(&shape, now, None));
        for chosen in futures::future::join_all(all).await {
            assert!(matches!(chosen, Chosen::Missing(_)), "{chosen:?}");
        }
        let entry = templates.book().entries[&id].clone();
        assert_eq!((entry.failures, entry.dropped), (1, 1));
        assert!(!state.exists(), "it is removed");
    }
}
