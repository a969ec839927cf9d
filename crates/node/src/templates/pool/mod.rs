//! Guests that stand by: restored from templates in demand before their machines are known, so that a machine that starts
//! only adopts one.
//!
//! ```text
//! a machine asks for a warm start ──► demand ──► decide ─┬─► fill: a launcher in a folder of its own gets a guest ready
//!                                                        └─► end: launcher, guest and folder are gone
//! a machine's launcher is to start ──► take: the folder becomes the machine's, its launcher adopts the guest
//! ```
//! They are no machines of the API. What a crash leaves of them is ended and removed at the next start.

pub(super) mod decide;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::accelerator::{Accelerator, ClusterInputs};
use api::configuration::{ClusterConfiguration, WarmStartPool, precedence};
use api::kubevirt::KubeVirt;
use api::launcher::warm::{Standby, WarmStart};
use api::launcher::{Identity, Request, StartRequest, files};
use api::names;
use api::quantity::Quantity;
use api::resources;
use api::scaling::Wait;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::runtime::watcher::{self, Event};
use tokio::sync::Notify;

use super::book::{Book, Id};
use super::builder::{self, neutral};
use super::hot::Hot;
use crate::agent::watch_all;
use crate::launcher::LauncherError;
use crate::machine::{Context, LAUNCHER_LOCK, LauncherSeen, Link, Pulled, Record, StartError};
use decide::{Seen, Stands, Step, Wanted, decide};

/// The folder below that of templates, in which their folders are. No namespace has such a name.
pub(crate) const FOLDER: &str = ".standbys";
/// How often memory and guests are looked at, while some stand by.
const LOOK: Duration = Duration::from_secs(5);
/// A machine that starts without a guest that stands by has taken its memory by then.
const NEEDS: Duration = Duration::from_secs(60);
/// Guests that stand by may take this part of the machine's memory, unless somebody sets it.
const MEMORY_PART: u64 = 20;

/// How many guests may stand by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Of each template.
    pub(crate) size: u32,
    /// Bytes of memory that they take together.
    pub(crate) maximum_bytes: u64,
}

impl Setting {
    /// What is set, on a machine with so much memory.
    pub(crate) fn of(set: &WarmStartPool, memory_bytes: u64) -> Self {
        let maximum = set.maximum_memory.as_ref().and_then(Quantity::to_units);
        Self {
            size: set.size,
            maximum_bytes: maximum.unwrap_or(memory_bytes / MEMORY_PART),
        }
    }

    /// What holds where nothing is set.
    pub(crate) fn default_of(memory_bytes: u64) -> Self {
        Self::of(&WarmStartPool::default(), memory_bytes)
    }
}

/// A template that machines ask for.
#[derive(Debug, Clone)]
struct Demand {
    asked_at: Timestamp,
    /// The start of a guest of it that is nobody's.
    request: StartRequest,
    pulled: Pulled,
    /// What one takes, as far as was seen.
    bytes: Option<u64>,
    failed: Option<(u32, Timestamp)>,
}

/// A guest that stands by.
#[derive(Debug)]
struct Member {
    id: Id,
    name: String,
    directory: PathBuf,
    /// Its template, which stays in memory as long as it does.
    hot: Arc<Hot>,
    link: Arc<tokio::sync::Mutex<Link>>,
    /// Its launcher and its QEMU.
    processes: Vec<host::identity::Identity>,
    bytes: u64,
    lives: bool,
}

#[derive(Debug)]
struct Inner {
    setting: Setting,
    demand: BTreeMap<Id, Demand>,
    members: Vec<Member>,
    started_at: Option<Timestamp>,
    needs: Option<(u64, Timestamp)>,
}

/// The guests that stand by.
#[derive(Debug)]
pub(crate) struct Pool {
    folder: PathBuf,
    /// How many there were.
    number: AtomicU64,
    inner: Mutex<Inner>,
    work: Arc<Notify>,
}

/// A guest that a machine is to adopt: its folder is nobody else's any more.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Who holds its images.
    pub(crate) name: String,
    /// The folder, with a launcher in it.
    pub(crate) directory: PathBuf,
}

impl Pool {
    /// None stands by yet.
    pub(super) fn new(templates: &Path, setting: Setting) -> Self {
        let inner = Inner {
            setting,
            demand: BTreeMap::new(),
            members: Vec::new(),
            started_at: None,
            needs: None,
        };
        Self {
            folder: templates.join(FOLDER),
            number: AtomicU64::new(0),
            inner: Mutex::new(inner),
            work: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds it panics half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is set.
    pub(crate) fn set(&self, setting: Setting) {
        let before = std::mem::replace(&mut self.lock().setting, setting);
        if before != setting {
            self.work.notify_one();
        }
    }

    /// A machine starts from this template.
    pub(crate) fn ask(&self, id: &Id, request: &StartRequest, pulled: &Pulled, now: Timestamp) {
        let mut inner = self.lock();
        inner.started_at = Some(now);
        if inner.setting.size == 0 {
            return;
        }
        let mut start = neutral(request, id);
        start.warm = None;
        // Whether it is saved when its launcher leaves shapes its QEMU; where to is its machine's.
        start.save_on_leaving = request.save_on_leaving.as_ref().map(|_| PathBuf::new());
        let before = inner.demand.remove(id);
        inner
            .demand
            .retain(|_, it| decide::is_in_demand(it.asked_at, now));
        let demand = Demand {
            asked_at: now,
            request: start,
            pulled: pulled.clone(),
            bytes: before.as_ref().and_then(|it| it.bytes),
            failed: before.and_then(|it| it.failed),
        };
        inner.demand.insert(id.clone(), demand);
        drop(inner);
        self.work.notify_one();
    }

    /// A machine starts without a guest that stands by, and needs so much memory.
    pub(crate) fn make_room(&self, bytes: u64, now: Timestamp) {
        let mut inner = self.lock();
        inner.started_at = Some(now);
        inner.needs = Some((bytes, now));
        let is_empty = inner.members.is_empty();
        drop(inner);
        if !is_empty {
            self.work.notify_one();
        }
    }

    /// A guest of this template for a machine, if one stands by.
    pub(crate) fn take(&self, id: &Id, hot: &Arc<Hot>, now: Timestamp) -> Option<Taken> {
        let mut inner = self.lock();
        inner.started_at = Some(now);
        let suits = |it: &Member| it.lives && it.id == *id && Arc::ptr_eq(&it.hot, hot);
        let index = inner.members.iter().position(suits)?;
        let member = inner.members.remove(index);
        drop(inner);
        self.work.notify_one();
        Some(Taken {
            name: member.name,
            directory: member.directory,
        })
    }

    /// How many guests of it stand by, and how many are to; none where nobody asks for it.
    pub(crate) fn standing(&self, id: &Id) -> Option<(u32, u32)> {
        let inner = self.lock();
        let here = inner.members.iter().filter(|it| it.id == *id && it.lives);
        let ready = u32::try_from(here.count()).unwrap_or(u32::MAX);
        let wanted = inner.demand.get(id).map(|_| inner.setting.size);
        wanted
            .map(|wanted| (ready, wanted))
            .or_else(|| (ready > 0).then_some((ready, 0)))
    }

    fn seen(&self, book: &Book, booting: usize, now: Timestamp) -> Seen<Id> {
        let inner = self.lock();
        let made_at = |id: &Id| {
            let hot = book.entries.get(id).and_then(|entry| entry.hot.as_ref());
            hot.map(|hot| hot.stored.manifest.made_at)
        };
        let wanted = inner.demand.iter().map(|(id, demand)| Wanted {
            id: id.clone(),
            asked_at: demand.asked_at,
            made_at: made_at(id),
            bytes: demand.bytes.unwrap_or_else(|| most_bytes(&demand.request)),
            failed: demand.failed,
        });
        let standbys = inner.members.iter().map(|it| Stands {
            name: it.name.clone(),
            id: it.id.clone(),
            made_at: it.hot.stored.manifest.made_at,
            bytes: it.bytes,
            lives: it.lives,
        });
        let needed = inner.needs.filter(|(_, at)| {
            let over = at.checked_add(NEEDS).unwrap_or(Timestamp::MAX);
            over > now
        });
        Seen {
            setting: inner.setting,
            wanted: wanted.collect(),
            standbys: standbys.collect(),
            free_bytes: host::facts::available_memory_bytes(),
            needed_bytes: needed.map_or(0, |(bytes, _)| bytes),
            booting,
            started_at: inner.started_at,
        }
    }

    /// Looks at each guest that stands by. Machines may take them meanwhile.
    async fn look(&self) {
        let members: Vec<_> = {
            let inner = self.lock();
            let members = inner.members.iter();
            members
                .map(|it| (it.name.clone(), Arc::clone(&it.link), it.processes.clone()))
                .collect()
        };
        for (name, link, processes) in members {
            let lives = lives(&link).await;
            let bytes = taken_bytes(&processes);
            let mut inner = self.lock();
            let inner = &mut *inner;
            let Some(member) = inner.members.iter_mut().find(|it| it.name == name) else {
                continue;
            };
            member.lives = lives;
            member.bytes = bytes.unwrap_or(member.bytes);
            if let Some(demand) = inner.demand.get_mut(&member.id) {
                demand.bytes = Some(member.bytes);
            }
        }
    }

    fn remove(&self, name: &str) -> Option<Member> {
        let mut inner = self.lock();
        let index = inner.members.iter().position(|it| it.name == name)?;
        Some(inner.members.remove(index))
    }

    /// Notes how it went to get one ready.
    fn filled(&self, id: &Id, filled: Result<Member, String>, now: Timestamp) {
        let mut inner = self.lock();
        let failed = match filled {
            Ok(member) => {
                inner.members.push(member);
                None
            }
            Err(why) => {
                tracing::warn!(namespace = id.0, key = %id.1, why, "no guest stands by");
                Some(now)
            }
        };
        if let Some(demand) = inner.demand.get_mut(id) {
            let before = demand.failed.map_or(0, |(count, _)| count);
            demand.failed = failed.map(|at| (before.saturating_add(1), at));
        }
    }

    /// Ends all of which something is here.
    pub(crate) async fn end_all(&self) -> io::Result<()> {
        self.lock().members.clear();
        builder::end_all(&self.folder).await
    }
}

/// The most that a guest takes while it stands by: its pages are the template's, but for those few that it has written.
fn most_bytes(request: &StartRequest) -> u64 {
    let emulated = request.accelerator == Accelerator::Tcg;
    resources::memory_overhead_bytes(&request.instance.spec, emulated)
}

/// Whether the guest of this launcher still stands by.
async fn lives(link: &tokio::sync::Mutex<Link>) -> bool {
    match link.lock().await.look().await {
        Ok(LauncherSeen::Answers(status)) => {
            matches!(status.standby, Some(Standby::Ready { .. }))
        }
        Ok(LauncherSeen::Silent | LauncherSeen::Absent { .. }) => false,
        Err(error) => {
            tracing::warn!(%error, "a guest that stands by cannot be looked at");
            false
        }
    }
}

/// The launcher and the QEMU in this folder.
fn processes(directory: &Path) -> io::Result<Vec<host::identity::Identity>> {
    let mut found = Vec::new();
    for lock in [LAUNCHER_LOCK, files::LIFE_LOCK] {
        found.extend(host::lock::openers(&directory.join(lock))?);
    }
    Ok(found)
}

/// What these have of their own; what they share with their template is counted there.
fn taken_bytes(processes: &[host::identity::Identity]) -> Option<u64> {
    let each = processes.iter();
    let each = each.map(|process| host::facts::own_memory_bytes(process.pid));
    each.sum()
}

/// Keeps as many guests standing by as there are to be, for ever.
pub(super) async fn keep(context: &Context) {
    let pool = &context.templates.pool;
    loop {
        pool.look().await;
        let now = context.clock.now();
        let step = {
            let book = context.templates.book();
            let seen = pool.seen(&book, context.gate.starting(), now);
            decide(&seen, now)
        };
        match step {
            Step::End(name, why) => end(context, &name, why).await,
            Step::Fill(id) => {
                let filled = fill(context, &id).await;
                pool.filled(&id, filled, context.clock.now());
                context.templates.tell(&id);
            }
            Step::Wait(at) => {
                let wait = at.map(|at| Duration::try_from(at.duration_since(now)));
                let wait = wait
                    .and_then(Result::ok)
                    .map_or(LOOK, |wait| wait.min(LOOK));
                tokio::select! {
                    () = pool.work.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}

/// Takes in what the KubeVirt object says of it, for ever.
pub(super) async fn keep_set(context: &Context) {
    let templates = &context.templates;
    let mut objects = watch_all::<KubeVirt>(&context.client, watcher::Config::default());
    let mut known: BTreeMap<String, KubeVirt> = BTreeMap::new();
    while let Some(event) = objects.next().await {
        let name = |object: &KubeVirt| format!("{:?}", object.metadata.uid);
        match event {
            Event::Init => known.clear(),
            Event::InitApply(object) => {
                known.insert(name(&object), object);
                continue;
            }
            Event::Apply(object) => {
                known.insert(name(&object), object);
            }
            Event::Delete(object) => {
                known.remove(&name(&object));
            }
            Event::InitDone => {}
        }
        let all = known.values();
        let first = all.min_by_key(|it| precedence(&it.metadata, names::KUBEVIRT, names::KUBEVIRT));
        let status = first.and_then(|it| it.status.as_ref());
        let inputs = ClusterInputs {
            kubevirt: first,
            last_values: status.map_or(&[], |status| &status.effective_configuration),
            ..ClusterInputs::default()
        };
        let set = ClusterConfiguration::read(&inputs, "").warm_start_pool;
        templates
            .pool
            .set(Setting::of(&set, templates.memory_bytes));
    }
}

async fn end(context: &Context, name: &str, why: &str) {
    let pool = &context.templates.pool;
    let Some(member) = pool.remove(name) else {
        return;
    };
    tracing::info!(namespace = member.id.0, key = %member.id.1, why, "a guest does not stand by any more");
    if let Err(error) = builder::end(&member.directory).await {
        tracing::warn!(%error, "a guest that stood by is not ended");
    }
    context.in_use.release(&member.name);
    context.templates.tell(&member.id);
}

/// Gets a guest ready.
async fn fill(context: &Context, id: &Id) -> Result<Member, String> {
    let pool = &context.templates.pool;
    let (request, pulled) = {
        let inner = pool.lock();
        let demand = inner.demand.get(id).ok_or("nobody asks for it any more")?;
        (demand.request.clone(), demand.pulled.clone())
    };
    let hot = {
        let book = context.templates.book();
        book.entries.get(id).and_then(|entry| entry.hot.clone())
    };
    let hot = hot.ok_or("its template is not in memory any more")?;
    hot.check().map_err(|fault| fault.to_string())?;
    // The users that its programs run as depend on the UID, which no other guest has or had.
    let number = pool.number.fetch_add(1, Ordering::Relaxed);
    let uid = format!("{} {} {number}", id.1.as_str(), context.clock.now());
    let name = format!("{}-{number}", id.1.short());
    let directory = pool.folder.join(&name);
    context.in_use.hold(&name, &pulled);
    let prepared = prepare(context, (&uid, &directory), request, &hot).await;
    match prepared {
        Ok((link, processes)) => Ok(Member {
            bytes: taken_bytes(&processes).unwrap_or_default(),
            id: id.clone(),
            name,
            directory,
            hot,
            link: Arc::new(tokio::sync::Mutex::new(link)),
            processes,
            lives: true,
        }),
        Err(error) => {
            if let Err(error) = builder::end(&directory).await {
                tracing::warn!(%error, "what is left of a guest that was to stand by stays until the next start");
            }
            context.in_use.release(&name);
            Err(error.0)
        }
    }
}

/// Why no guest stands by, a sentence.
struct NotReady(String);

impl From<io::Error> for NotReady {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<StartError> for NotReady {
    fn from(error: StartError) -> Self {
        Self(error.to_string())
    }
}

impl From<LauncherError> for NotReady {
    fn from(error: LauncherError) -> Self {
        Self(error.to_string())
    }
}

async fn prepare(
    context: &Context,
    (uid, directory): (&str, &Path),
    mut request: StartRequest,
    hot: &Hot,
) -> Result<(Link, Vec<host::identity::Identity>), NotReady> {
    let (namespace, name) = (
        request.instance.metadata.namespace.clone(),
        request.instance.metadata.name.clone(),
    );
    let record = Record {
        identity: Identity {
            namespace: namespace.unwrap_or_default(),
            name: name.unwrap_or_default(),
            uid: uid.to_owned(),
            pod_name: String::new(),
            pod_uid: String::new(),
            qemu_program: context.settings.qemu_program.clone(),
            grace_period_seconds: 0,
        },
        // It has no network before it is a machine.
        pod_address: Ipv4Addr::UNSPECIFIED,
    };
    host::socket::private_directory(&context.templates.pool.folder)?;
    host::socket::private_directory(directory)?;
    record.write(directory)?;
    let changed = Arc::clone(&context.templates.pool.work);
    let mut link = Link::new(directory.to_owned(), Arc::clone(&changed));
    link.start(&context.settings.anyvirt_program).await?;
    request.warm = Some(WarmStart::Restore(Box::new(hot.template(true))));
    let (accelerator, slowdown) = (request.accelerator, request.slowdown);
    let within = |wait: Wait| wait.within(accelerator, slowdown);
    let within = within(Wait::Greeting) + within(Wait::Migration) + within(Wait::Settling);
    link.ask(&Request::Prepare(Box::new(request))).await?;
    let ready = async {
        loop {
            match link.look().await? {
                LauncherSeen::Answers(status) => match status.standby {
                    Some(Standby::Ready { .. }) => return Ok(()),
                    Some(Standby::Failed(failure)) => return Err(NotReady(failure.message)),
                    Some(Standby::Preparing) | None => {}
                },
                LauncherSeen::Silent => {}
                LauncherSeen::Absent { .. } => {
                    return Err(NotReady("its launcher is gone".to_owned()));
                }
            }
            changed.notified().await;
        }
    };
    let ready = tokio::time::timeout(within, ready).await;
    ready.unwrap_or_else(|_| {
        let seconds = within.as_secs();
        Err(NotReady(format!("it was not ready within {seconds} s")))
    })?;
    let directory = directory.to_owned();
    let found = tokio::task::spawn_blocking(move || processes(&directory));
    Ok((link, found.await.map_err(io::Error::other)??))
}
