//! Makes a template: a neutral guest boots in a folder of its own, is kept when it is ready, and is gone.
//!
//! The guest is nobody's: it has the shape of the machine that asked, and nothing of what makes that machine somebody
//! (names, addresses, cloud-init data and whatever secrets are in it, forwarded ports). So nothing of one machine can
//! reach another one through a template. It is no machine of the API: its launcher is found by its folder, and what a
//! crash leaves of it is killed and removed at the next start.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::accelerator::Accelerator;
use api::defaults::mac_address;
use api::launcher::warm::WarmStart;
use api::launcher::{
    Identity, Request, ResolvedVolume, StartRequest, State, Status, files, milestones,
};
use api::resources;
use api::scaling::Wait;
use api::warm_start;
use host::identity::Signal;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::book::{About, Cause, Id};
use super::key::Shape;
use super::store::{Fault, Made, Stored};
use crate::gate::{Admission, Booting};
use crate::launcher::LauncherError;
use crate::machine::{
    Context, LAUNCHER_LOCK, LauncherSeen, Link, Pulled, Record, StartError, kill_orphan,
};

/// The folder below that of templates, in which builders' folders are. No namespace has such a name.
pub(crate) const FOLDER: &str = ".builders";
/// The user-data of a guest that becomes a template: nothing, in cloud-init's words.
const NO_USER_DATA: &str = "#cloud-config\n";
/// Its host name, until it is told one of its own.
const HOSTNAME: &str = "template";
/// Room that is left to others: memory beside that of the guest, and on disk.
const MARGIN_BYTES: u64 = 256 << 20;
/// A boot that others do not wait for may take longer than one that they do: so many times [`Wait::Boot`].
const BOOTS: u32 = 3;
/// After its login a guest's agent gets this part of [`Wait::Agent`] to come, where nothing else can put the hook into it:
/// distributions start both at the same time.
const AGENT_PART: u32 = 2;
/// Bytes of a guest's memory that even a slow disk takes in a second, on a machine that is busy.
const COPIED_EACH_SECOND: u64 = 16 << 20;
/// How often a guest's serial log is looked at for the text that a user waits for.
const LOOK: Duration = Duration::from_millis(500);
/// A launcher whose guest is dead ends within milliseconds; one that does not is killed.
const LAUNCHER_ENDS: Duration = Duration::from_secs(10);

/// A template that somebody asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) id: Id,
    pub(crate) shape: Shape,
    pub(crate) about: About,
    /// Of the machine that asked.
    request: StartRequest,
    pulled: Pulled,
}

impl Wanted {
    /// A template for starts like this one.
    pub(crate) fn new(id: Id, shape: Shape, request: &StartRequest, pulled: &Pulled) -> Self {
        let about = About {
            image: Shape::image(request),
            accelerator: request.accelerator.to_string(),
            memory_bytes: resources::guest_memory_bytes(&request.instance.spec).unwrap_or_default(),
            qemu_version: request.qemu_version.clone().unwrap_or_default(),
        };
        Self {
            about,
            request: neutral(request, &id),
            pulled: pulled.clone(),
            shape,
            id,
        }
    }

    fn marker(&self) -> Option<String> {
        let marker = self.shape.guest.get("marker")?.as_str()?;
        Some(marker.to_owned())
    }
}

/// The start of a guest of the same shape that is nobody's.
pub(crate) fn neutral(request: &StartRequest, (namespace, key): &Id) -> StartRequest {
    let mut request = request.clone();
    let uuid = key.uuid();
    let metadata = &mut request.instance.metadata;
    *metadata = kube::api::ObjectMeta {
        name: Some(format!("template-{}", key.short())),
        namespace: Some(namespace.clone()),
        uid: Some(uuid.clone()),
        ..Default::default()
    };
    request.instance.status = None;
    let spec = &mut request.instance.spec;
    spec.hostname = None;
    spec.subdomain = None;
    spec.node_selector.clear();
    spec.tolerations.clear();
    spec.start_strategy = None;
    if let Some(firmware) = &mut spec.domain.firmware {
        firmware.uuid = Some(uuid.clone());
        firmware.serial = None;
    }
    for interface in &mut spec.domain.devices.interfaces {
        interface.mac_address = None;
        interface.ports.clear();
    }
    for volume in &mut spec.volumes {
        if let Some(source) = &mut volume.cloud_init_no_cloud {
            *source = api::virtual_machine_instance::CloudInitNoCloud {
                user_data: Some(NO_USER_DATA.to_owned()),
                ..Default::default()
            };
        }
    }
    for volume in request.volumes.values_mut() {
        if let ResolvedVolume::CloudInitNoCloud {
            user_data,
            network_data,
        } = volume
        {
            NO_USER_DATA.clone_into(user_data);
            *network_data = None;
        }
    }
    for interface in &mut request.interfaces {
        interface.mac = mac_address(&uuid, &interface.name);
        interface.ports.clear();
    }
    HOSTNAME.clone_into(&mut request.hostname);
    request.instance_id = format!("anyvirt-template-{}", key.short());
    request.firmware_uuid = uuid;
    request.stepped_down = None;
    request.save_on_leaving = None;
    request.warm = Some(WarmStart::Keepable);
    request
}

/// Why no template was made.
#[derive(Debug)]
pub(crate) struct NotBuilt {
    /// One word for programs.
    pub(crate) reason: String,
    /// A sentence for people.
    pub(crate) message: String,
    /// Whether trying again may help.
    pub(crate) cause: Cause,
}

impl NotBuilt {
    /// The host stood in the way.
    fn by_host(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.into(),
            cause: Cause::Host,
        }
    }

    /// The guest was no good, this time.
    fn by_guest(reason: &str, message: impl Into<String>) -> Self {
        Self {
            cause: Cause::Guest,
            ..Self::by_host(reason, message)
        }
    }
}

impl From<io::Error> for NotBuilt {
    fn from(error: io::Error) -> Self {
        Self::by_host("Io", format!("the template cannot be made: {error}"))
    }
}

impl From<Fault> for NotBuilt {
    fn from(fault: Fault) -> Self {
        let message = format!("what was kept is not whole: {fault}");
        match fault {
            Fault::Io(_) => Self::by_host("NotKept", message),
            _ => Self::by_guest("NotKept", message),
        }
    }
}

impl From<StartError> for NotBuilt {
    fn from(error: StartError) -> Self {
        Self::by_host("LauncherFailed", error.to_string())
    }
}

impl From<LauncherError> for NotBuilt {
    fn from(error: LauncherError) -> Self {
        match error {
            LauncherError::Refused { reason, message } => Self {
                // What the launcher says of the guest holds for every guest of its shape.
                cause: match reason.as_str() {
                    NO_HOOK => Cause::Shape,
                    _ => Cause::Guest,
                },
                reason,
                message,
            },
            error @ (LauncherError::Absent(_) | LauncherError::Broken(_)) => {
                Self::by_host(LAUNCHER_LOST, error.to_string())
            }
        }
    }
}

/// Nothing in the guest could give it an identity of its own.
const NO_HOOK: &str = "NoHook";
/// Something of this machine has ended the launcher, or it does not answer.
const LAUNCHER_LOST: &str = "LauncherLost";

/// Makes the template that `wanted` asks for. Its guest and launcher are gone afterwards, whatever happened.
pub(crate) async fn build(context: &Context, wanted: &Wanted) -> Result<Stored, NotBuilt> {
    let (_, key) = &wanted.id;
    let store = context.templates.store();
    let directory = context.templates.builders().join(key.short());
    end(&directory).await?;
    let holder = format!("template-{key}");
    context.in_use.hold(&holder, &wanted.pulled);
    let kept = match store.building(key) {
        Ok(building) => boot_and_keep(context, wanted, &directory, &building)
            .await
            .map(|()| building),
        Err(error) => Err(error.into()),
    };
    context.gate.forget(&wanted.request.firmware_uuid);
    let ended = end(&directory).await;
    context.in_use.release(&holder);
    let made = Made {
        shape: wanted.shape.clone(),
        image: wanted.about.image.clone(),
        made_at: context.clock.now(),
    };
    let stored = match kept {
        Ok(building) => {
            let store = store.clone();
            tokio::task::spawn_blocking(move || store.commit(&building, &made))
                .await
                .map_err(io::Error::other)?
                .map_err(NotBuilt::from)
        }
        Err(error) => Err(error),
    };
    if stored.is_err()
        && let Err(error) = store.discard(key)
    {
        tracing::warn!(%error, "what is left of a template stays until the next start");
    }
    ended?;
    stored
}

async fn boot_and_keep(
    context: &Context,
    wanted: &Wanted,
    directory: &Path,
    building: &Path,
) -> Result<(), NotBuilt> {
    wait_for_a_turn(context, wanted).await;
    has_room(context, wanted)?;
    let mut request = wanted.request.clone();
    let address = write_record(context, &request, directory).await?;
    for interface in &mut request.interfaces {
        interface.address = address.into();
    }
    let changed = Arc::new(Notify::new());
    let mut link = Link::new(directory.to_owned(), Arc::clone(&changed));
    link.start(&context.settings.anyvirt_program).await?;
    let (accelerator, slowdown) = (request.accelerator, request.slowdown);
    link.ask(&Request::Start(Box::new(request))).await?;
    let boot = Wait::Boot.within(accelerator, slowdown) * BOOTS;
    let late = || {
        let message = format!(
            "the guest that was to become a template showed neither a login nor an agent within {} s{}",
            boot.as_secs(),
            match wanted.marker() {
                Some(marker) => format!(", nor the text {marker:?}"),
                None => String::new(),
            }
        );
        NotBuilt::by_guest("NotReady", message)
    };
    let ready = Ready {
        directory,
        marker: wanted.marker(),
    };
    tokio::time::timeout(boot, ready.wait(&mut link, &changed))
        .await
        .map_err(|_| late())??;
    context.gate.leave(&wanted.request.firmware_uuid);
    let agent = Wait::Agent.within(accelerator, slowdown) / AGENT_PART;
    let keeping = keeps_within(
        |wait| wait.within(accelerator, slowdown),
        wanted.about.memory_bytes,
    );
    keep(&mut link, &changed, building, (agent, keeping)).await
}

/// How long a launcher may take to keep a guest of so much memory: the sum of what it waits for, and twice for the hook,
/// which it may have to put there, and which may be late; then everything is written to disk.
fn keeps_within(within: impl Fn(Wait) -> Duration, memory_bytes: u64) -> Duration {
    let placing = within(Wait::Settling) + within(Wait::Renewal) * 2;
    let copying = Duration::from_secs(memory_bytes / COPIED_EACH_SECOND);
    placing + within(Wait::Settling) + within(Wait::Migration) + copying + within(Wait::Answer)
}

/// Asks the launcher to keep the guest. Where nothing in it could renew it, its agent may still come, and bring that.
async fn keep(
    link: &mut Link,
    changed: &Notify,
    building: &Path,
    (agent, keeping): (Duration, Duration),
) -> Result<(), NotBuilt> {
    let request = Request::Keep {
        directory: building.to_owned(),
    };
    let had_agent = agent_answers(link).await?;
    let refused = match link.ask_within(&request, keeping).await {
        Err(error) if is_no_hook(&error) && !had_agent => NotBuilt::from(error),
        answer => return answer.map(drop).map_err(NotBuilt::from),
    };
    let comes = async {
        while !agent_answers(link).await? {
            changed.notified().await;
        }
        Ok::<(), NotBuilt>(())
    };
    tokio::time::timeout(agent, comes)
        .await
        .map_err(|_| refused)??;
    link.ask_within(&request, keeping).await?;
    Ok(())
}

fn is_no_hook(error: &LauncherError) -> bool {
    matches!(error, LauncherError::Refused { reason, .. } if reason == NO_HOOK)
}

async fn agent_answers(link: &mut Link) -> Result<bool, NotBuilt> {
    Ok(running(link.look().await?)?.is_some_and(|status| status.agent_connected))
}

/// The status of a guest that runs or starts; none while its launcher does not answer.
fn running(seen: LauncherSeen) -> Result<Option<Box<Status>>, NotBuilt> {
    let ended = |how: &str| {
        let message = format!("the guest that was to become a template has ended: {how}");
        Err(NotBuilt::by_guest("GuestEnded", message))
    };
    match seen {
        LauncherSeen::Silent => Ok(None),
        LauncherSeen::Absent {
            exit: Some(exit), ..
        } => ended(&exit.message),
        LauncherSeen::Absent { exit: None, .. } => Err(NotBuilt::by_host(
            LAUNCHER_LOST,
            "the launcher of the guest that was to become a template is gone",
        )),
        LauncherSeen::Answers(status) if status.state == State::Ended => {
            let how = status.exit.as_ref();
            ended(how.map_or("nobody knows how", |exit| exit.message.as_str()))
        }
        LauncherSeen::Answers(status) => Ok(Some(status)),
    }
}

/// What a guest is waited for by.
struct Ready<'a> {
    directory: &'a Path,
    marker: Option<String>,
}

impl Ready<'_> {
    async fn wait(&self, link: &mut Link, changed: &Notify) -> Result<(), NotBuilt> {
        loop {
            let status = running(link.look().await?)?;
            if let Some(status) = status.filter(|status| status.state == State::Running)
                && self.is_reached(&status).await?
            {
                return Ok(());
            }
            // A launcher tells of milestones, not of each line.
            if tokio::time::timeout(LOOK, changed.notified())
                .await
                .is_err()
            {
                tracing::trace!("the guest of a template is looked at again");
            }
        }
    }

    async fn is_reached(&self, status: &Status) -> io::Result<bool> {
        let Some(marker) = self.marker.clone() else {
            let reached = |name: &str| status.latest_milestones().iter().any(|it| it.name == name);
            return Ok(status.agent_connected
                || reached(milestones::LOGIN)
                || reached(milestones::AGENT));
        };
        let logs = [files::SERIAL_LOG, files::SERIAL_TAIL_LOG].map(|it| self.directory.join(it));
        let found = tokio::task::spawn_blocking(move || {
            logs.iter().any(|path| {
                // Bounded by the launcher; not there before the guest has written.
                let text = std::fs::read(path).unwrap_or_default();
                let marker = marker.as_bytes();
                text.windows(marker.len()).any(|part| part == marker)
            })
        });
        found.await.map_err(io::Error::other)
    }
}

/// Refuses a build for which there is no room: it must not take what guests need.
fn has_room(context: &Context, wanted: &Wanted) -> Result<(), NotBuilt> {
    let spec = &wanted.request.instance.spec;
    let emulated = wanted.request.accelerator == Accelerator::Tcg;
    let guest = wanted.about.memory_bytes;
    let needed = guest
        .saturating_add(resources::memory_overhead_bytes(spec, emulated))
        .saturating_add(MARGIN_BYTES);
    if let Some(free) = host::facts::available_memory_bytes().filter(|free| *free < needed) {
        return Err(NotBuilt::by_host(
            "NoMemory",
            format!(
                "a template needs {needed} bytes of memory while it is made, and {free} are free"
            ),
        ));
    }
    let needed = guest.saturating_add(MARGIN_BYTES);
    let free = context.templates.store().free()?;
    if free < needed {
        return Err(NotBuilt::by_host(
            "NoDisk",
            format!("a template needs {needed} bytes of disk, and {free} are free"),
        ));
    }
    Ok(())
}

/// Waits until nobody boots whose start is waited for by somebody.
async fn wait_for_a_turn(context: &Context, wanted: &Wanted) {
    if wanted.request.accelerator != Accelerator::Tcg {
        return;
    }
    let guest = Booting {
        uid: wanted.request.firmware_uuid.clone(),
        made: context.clock.now(),
        processors: u32::try_from(resources::processors(&wanted.request.instance.spec))
            .unwrap_or(u32::MAX),
    };
    let wake = Arc::new(Notify::new());
    while let Admission::Wait { .. } = context.gate.ask(&guest, &wake) {
        wake.notified().await;
    }
}

/// Writes down whose launcher is in `directory`, with an address that nobody has.
async fn write_record(
    context: &Context,
    request: &StartRequest,
    directory: &Path,
) -> io::Result<Ipv4Addr> {
    let _choosing = context.choosing_address.lock().await;
    let taken = context.taken_addresses()?;
    let range = context.settings.pod_addresses;
    let address = range
        .choose(&request.firmware_uuid, &taken)
        .ok_or_else(|| io::Error::other("no address is free"))?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let metadata = &request.instance.metadata;
    let record = Record {
        identity: Identity {
            namespace: text(&metadata.namespace),
            name: text(&metadata.name),
            uid: text(&metadata.uid),
            pod_name: text(&metadata.name),
            pod_uid: text(&metadata.uid),
            qemu_program: context.settings.qemu_program.clone(),
            grace_period_seconds: 0,
        },
        pod_address: address,
    };
    host::socket::private_directory(directory)?;
    record.write(directory)?;
    Ok(address)
}

/// Ends all builders of which something is here: nobody waits for them any more. One that does not end holds up none
/// of the others.
///
/// # Errors
/// If the folder cannot be read.
pub(crate) async fn end_all(builders: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(builders) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let builder = entry?.path();
        if let Err(error) = end(&builder).await {
            tracing::warn!(builder = %builder.display(), %error, "a template's guest is not ended");
        }
    }
    Ok(())
}

/// Ends the builder in `directory`, if there is one: guest, launcher and folder.
pub(crate) async fn end(directory: &Path) -> io::Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    let mut link = Link::new(directory.to_owned(), Arc::new(Notify::new()));
    if tokio::time::timeout(LAUNCHER_ENDS, ask_to_end(&mut link))
        .await
        .is_err()
    {
        tracing::warn!(directory = %directory.display(), "the launcher of a template does not end");
    }
    let lock = directory.join(LAUNCHER_LOCK);
    if lock.exists() && link.lives().await? {
        let openers = tokio::task::spawn_blocking(move || host::lock::openers(&lock));
        for process in openers.await.map_err(io::Error::other)?? {
            process.signal(Signal::Kill)?;
            tokio::time::timeout(LAUNCHER_ENDS, process.ended())
                .await
                .map_err(|_| io::Error::other(format!("process {} does not end", process.pid)))??;
        }
    }
    if directory.join(files::LIFE_LOCK).exists() {
        kill_orphan(directory).await?;
    }
    let directory = directory.to_owned();
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(directory));
    removed.await.map_err(io::Error::other)?
}

/// Kills the guest, and asks its launcher to end, until it has.
async fn ask_to_end(link: &mut Link) {
    while let Ok(true) = link.lives().await {
        match link.ask(&Request::End).await {
            Err(LauncherError::Refused { .. }) => {
                if let Err(error) = link.ask(&Request::Kill).await {
                    tracing::debug!(%error, "the guest of a template is not killed");
                }
            }
            Ok(_) | Err(LauncherError::Absent(_) | LauncherError::Broken(_)) => {}
        }
        // Its end is told by its lock alone.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The folder of builders below that of templates.
pub(crate) fn folder(templates: &Path) -> PathBuf {
    templates.join(FOLDER)
}

/// Why a machine cannot start from a template, or have one made of it, for what its node knows of it.
pub(crate) fn obstacle(request: &StartRequest) -> Option<warm_start::Obstacle> {
    let data = request.volumes.values().map(|volume| match volume {
        ResolvedVolume::CloudInitNoCloud {
            user_data,
            network_data,
        } => user_data.len() + network_data.as_ref().map_or(0, String::len),
        _ => 0,
    });
    warm_start::obstacle(&request.instance).or_else(|| warm_start::cloud_init_obstacle(data.sum()))
}

/// When a template was made, for people: how long before `now`.
pub(crate) fn age(made_at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(made_at).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::templates::fixtures::{request, surroundings};

    #[test]
    fn a_neutral_guest_has_nothing_of_whoever_asked_for_it_and_the_same_shape() {
        let asked = request();
        let shape = Shape::of(&asked, surroundings());
        let id = ("ns".to_owned(), shape.key());
        let neutral = neutral(&asked, &id);
        let text = serde_json::to_string(&neutral).expect("JSON");
        assert!(!text.contains("secret"), "{text}");
        assert!(!text.contains("02:00:00:00:00:01"), "{text}");
        assert_eq!(neutral.warm, Some(WarmStart::Keepable));
        assert!(neutral.interfaces[0].ports.is_empty());
        assert_ne!(neutral.interfaces[0].mac, asked.interfaces[0].mac);
        assert_eq!(Shape::of(&neutral, surroundings()).key(), id.1);
        // Whoever asks, it is the same guest.
        let mut other = request();
        other.instance.metadata.name = Some("b".to_owned());
        other.instance.metadata.uid = Some("b".to_owned());
        assert_eq!(super::neutral(&other, &id), neutral);
    }

    #[test]
    fn a_launcher_may_take_as_long_to_keep_a_guest_as_it_waits_for_it() {
        use api::accelerator::Accelerator;
        for (accelerator, slowdown) in [(Accelerator::Kvm, None), (Accelerator::Tcg, Some(20.0))] {
            let within = |wait: Wait| wait.within(accelerator, slowdown);
            let waits = [Wait::Settling, Wait::Renewal, Wait::Migration].map(within);
            let small = keeps_within(within, 128 << 20);
            assert!(small > waits.into_iter().sum(), "{small:?}");
            // Two gibibytes have to be written, too.
            let large = keeps_within(within, 2 << 30);
            assert!(large >= small + Duration::from_secs(60), "{large:?}");
        }
    }

    #[test]
    fn data_of_secrets_counts_where_it_has_to_fit() {
        let mut request = request();
        request.instance.spec.domain.firmware = None;
        assert_eq!(obstacle(&request), None);
        let user_data = "x".repeat(api::launcher::warm::LARGEST_CLOUD_INIT_BYTES);
        let network_data = Some("y".to_owned());
        request.volumes.insert(
            "init".to_owned(),
            ResolvedVolume::CloudInitNoCloud {
                user_data,
                network_data,
            },
        );
        let found = obstacle(&request).map(|it| it.reason);
        assert_eq!(found, Some("CloudInitTooLarge"));
    }

    #[test]
    fn what_the_host_lacks_is_not_the_guests_fault() {
        let io = || io::Error::other("no address is free");
        let refused = |reason: &str| LauncherError::Refused {
            reason: reason.to_owned(),
            message: "m".to_owned(),
        };
        let absent = LauncherSeen::Absent {
            was_started: true,
            exit: None,
            orphan: false,
        };
        for (failed, cause) in [
            (NotBuilt::from(io()), Cause::Host),
            (NotBuilt::from(Fault::Io(io())), Cause::Host),
            (running(absent).expect_err("gone"), Cause::Host),
            (LauncherError::Absent(io()).into(), Cause::Host),
            (LauncherError::Broken(io()).into(), Cause::Host),
            (Fault::Damaged("state".to_owned()).into(), Cause::Guest),
            (refused("KeepFailed").into(), Cause::Guest),
            (refused(NO_HOOK).into(), Cause::Shape),
        ] {
            assert_eq!(failed.cause, cause, "{failed:?}");
        }
    }

    #[test]
    fn an_age_is_told_in_the_unit_that_fits() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        for (seconds, expected) in [
            (-5, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_200, "2 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(age(at(1_000_000), at(1_000_000 + seconds)), expected);
        }
    }
}
