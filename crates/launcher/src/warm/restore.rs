//! A guest goes on from a template: its state is read, it runs without a network, the hook in it renews it and proves
//! it, and only then its network is plugged in. Or it goes on from where it was saved itself, as who it is.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::launcher::saved::Saved;
use api::launcher::warm::{Template, WarmFailure, WarmStage};
use api::launcher::{StartRequest, milestones};
use api::scaling::Wait;
use jiff::Timestamp;
use qemu::machine::Incoming;
use qemu::qmp::{Command, Event, MigrationState, StateFile};
use renewal::protocol::{FromGuest, FromHost, Order, Proof};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::begin::{Begun, Facts, begins_paused};
use crate::markers::Mark;
use crate::monitor::{Connected, Monitor, MonitorError};
use crate::start::{LaunchError, Progress, StartError};
use crate::warm::channel::{Channel, time_now};
use crate::warm::orders::{self, Fresh};

/// So much may a guest's clock be ahead of the time between our order and its answer: it counts in whole ticks, and is
/// told its time once.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);
/// The device of the guest agent's port; see the crate `qemu`.
pub(crate) const AGENT_PORT: &str = "agent0";

/// Where a guest goes on from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin<'a> {
    /// Another guest, which was kept as a template: its memory lies beside its state.
    Template(&'a Template),
    /// A machine that was saved: its memory is in its state.
    Saved(&'a Saved),
}

/// The slowest disk that a saved machine is read from, or written to, in bytes a second. Slower ones are on their way
/// out, or shared by too many.
const SLOWEST_DISK: u64 = 8 << 20;

/// So much longer than [`Wait::Migration`] it may take to read or write so many bytes.
pub(crate) fn patience(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SLOWEST_DISK)
}

impl Origin<'_> {
    /// In words.
    fn name(self) -> &'static str {
        match self {
            Self::Template(_) => "the template",
            Self::Saved(_) => "what was saved of the machine",
        }
    }

    /// MAC addresses of its cards.
    fn macs(self) -> Vec<String> {
        match self {
            Self::Template(template) => template.kept.macs.clone(),
            Self::Saved(saved) => saved.record.macs.clone(),
        }
    }

    /// Its machine type, and its QEMU's version.
    fn made_by(self) -> (String, String) {
        match self {
            Self::Template(template) => {
                let kept = &template.kept;
                (kept.machine_type.clone(), kept.qemu_version.clone())
            }
            Self::Saved(saved) => {
                let record = &saved.record;
                (record.machine_type.clone(), record.qemu_version.clone())
            }
        }
    }

    /// What migrates.
    fn extent(self) -> Command {
        match self {
            Self::Template(_) => Command::LeaveOutSharedMemory,
            Self::Saved(_) => Command::IncludeAllMemory,
        }
    }

    /// How much longer it takes than to read the state of the devices.
    fn patience(self) -> Duration {
        match self {
            Self::Template(_) => Duration::ZERO,
            Self::Saved(saved) => patience(saved.record.memory_bytes),
        }
    }
}

/// A QEMU that waits for the state of a guest.
pub(crate) struct Restoring<'a> {
    pub(crate) connected: &'a mut Connected,
    pub(crate) origin: Origin<'a>,
    pub(crate) request: &'a StartRequest,
    /// The file with the state.
    pub(crate) state: Incoming,
    pub(crate) progress: &'a Progress,
    /// To be told when the state is there.
    pub(crate) restored: &'a AtomicBool,
}

fn failed(stage: WarmStage, message: impl std::fmt::Display) -> WarmFailure {
    WarmFailure {
        stage,
        message: message.to_string(),
    }
}

fn late(what: &str, within: Duration) -> String {
    format!("{what} within {} s", within.as_secs())
}

impl Restoring<'_> {
    /// Restores the guest, over this channel to the hook in it.
    ///
    /// # Errors
    /// [`WarmFailure`]; the guest is of no use then, and must not run. Also `facts`'.
    pub(crate) async fn restore(
        mut self,
        channel: Channel,
        facts: impl Future<Output = Result<Facts, StartError>>,
    ) -> Result<(Facts, Begun), LaunchError> {
        let order = self.order()?;
        let facts = self.load_whole(facts).await?;
        self.progress.reached(milestones::RESTORED);
        let begun = self.become_somebody(channel, order).await?;
        Ok((facts, begun))
    }

    /// Restores the guest as nobody, lets it come to rest, and stops it: it has done then once what makes it somebody,
    /// which QEMU need not translate again. True if its agent has opened its channel.
    ///
    /// # Errors
    /// As [`Self::restore`].
    pub(crate) async fn wait_for_somebody(
        mut self,
        channel: &mut Channel,
        facts: impl Future<Output = Result<Facts, StartError>>,
    ) -> Result<(Facts, bool), LaunchError> {
        let facts = self.load_whole(facts).await?;
        let within = Wait::Settling.within(self.request.accelerator, self.request.slowdown);
        let begin = self.links(false).chain([Command::Cont]);
        self.ask(WarmStage::Restore, begin).await?;
        let mut agent_opened = false;
        let settled = async {
            tokio::select! {
                settled = settle(channel) => settled,
                trouble = trouble(&mut self.connected.events, &mut agent_opened) => Err(trouble),
            }
        };
        let settled = tokio::time::timeout(within, settled).await;
        settled.unwrap_or_else(|_| {
            let words = format!(
                "the guest has not come to rest within {} s",
                within.as_secs()
            );
            Err(failed(WarmStage::Renewal, words))
        })?;
        self.ask(WarmStage::Renewal, [Command::Stop]).await?;
        Ok((facts, agent_opened))
    }

    /// A guest that waits becomes the machine of this request.
    ///
    /// # Errors
    /// [`WarmFailure`]; the guest is of no use then.
    pub(crate) async fn adopt(mut self, channel: Channel) -> Result<Begun, LaunchError> {
        let order = self.order()?;
        Ok(self.become_somebody(channel, order).await?)
    }

    /// Checks what QEMU is, and reads the state.
    async fn load_whole(
        &mut self,
        facts: impl Future<Output = Result<Facts, StartError>>,
    ) -> Result<Facts, LaunchError> {
        let within = Wait::Migration.within(self.request.accelerator, self.request.slowdown)
            + self.origin.patience();
        let loaded = tokio::time::timeout(within, self.load());
        let (facts, loaded) = tokio::join!(facts, loaded);
        let facts = facts?;
        self.compare(&facts)?;
        loaded.unwrap_or_else(|_| {
            let what = format!("QEMU has not read the state of {}", self.origin.name());
            Err(failed(WarmStage::Restore, late(&what, within)))
        })?;
        self.restored.store(true, Ordering::Relaxed);
        Ok(facts)
    }

    async fn become_somebody(
        &mut self,
        mut channel: Channel,
        order: Order,
    ) -> Result<Begun, WarmFailure> {
        let within = Wait::Renewal.within(self.request.accelerator, self.request.slowdown);
        let renewed = tokio::time::timeout(within, self.renew(&mut channel, order)).await;
        let Renewed {
            proof,
            agent_opened,
        } = renewed.unwrap_or_else(|_| {
            let what = "the hook in the guest has not answered";
            Err(failed(WarmStage::Renewal, late(what, within)))
        })?;
        let paused = begins_paused(self.request);
        let last = paused.then_some(Command::Stop).into_iter();
        self.ask(WarmStage::Renewal, last.chain(self.links(true)))
            .await?;
        self.progress.reached(milestones::RENEWED);
        let listening = Some(channel.listen(within));
        let digits = proof.random.iter().map(|byte| format!("{byte:02x}"));
        Ok(Begun {
            paused,
            random: Some(digits.collect()),
            agent_opened,
            hook: true,
            rested: true,
            listening,
            resumed: None,
        })
    }

    /// The same guest goes on. With `used`, its disks are its own from then on: told just before it runs. True if the
    /// hook in it has set its clock.
    ///
    /// # Errors
    /// [`WarmFailure`]; the guest never ran then. Also `facts`'.
    pub(crate) async fn resume(
        mut self,
        channel: Option<Channel>,
        facts: impl Future<Output = Result<Facts, StartError>>,
        (paused, used): (bool, Option<&Path>),
    ) -> Result<(Facts, Begun, bool), LaunchError> {
        let (hook, rested) = match self.origin {
            Origin::Saved(saved) => (saved.record.has_hook(), saved.record.renewable),
            Origin::Template(_) => (true, true),
        };
        let within = Wait::Migration.within(self.request.accelerator, self.request.slowdown)
            + self.origin.patience();
        let facts = facts.await?;
        self.compare(&facts)?;
        let loaded = tokio::time::timeout(within, self.load()).await;
        loaded.unwrap_or_else(|_| {
            let words = format!(
                "QEMU has not read the guest's memory within {} s",
                within.as_secs()
            );
            Err(failed(WarmStage::Restore, words))
        })?;
        self.restored.store(true, Ordering::Relaxed);
        self.progress.reached(milestones::RESTORED);
        if let Some(directory) = used {
            super::resume::mark_used(directory)
                .map_err(|error| failed(WarmStage::Restore, error))?;
        }
        let paused = paused || begins_paused(self.request);
        if !paused {
            let before = Timestamp::now();
            self.ask(WarmStage::Restore, [Command::Cont]).await?;
            let name = milestones::RUNNING;
            self.progress.mark(Mark { name, text: None }, before);
        }
        // It knows who it is: it was that before.
        self.progress.reached(milestones::RENEWED);
        let within = Wait::Renewal.within(self.request.accelerator, self.request.slowdown);
        let listening = channel.map(|it| it.listen(within));
        let mut has_clock = false;
        if let Some(listening) = listening.as_ref().filter(|_| hook && !paused) {
            match listening.set_clock().await {
                Ok(()) => has_clock = true,
                // Its agent is asked then.
                Err(why) => tracing::warn!("the hook has not set the guest's clock: {why}"),
            }
        }
        let begun = Begun {
            paused,
            random: None,
            agent_opened: false,
            hook,
            rested,
            listening,
            resumed: None,
        };
        Ok((facts, begun, has_clock))
    }

    /// Whether the guest was made by such a QEMU.
    fn compare(&self, facts: &Facts) -> Result<(), WarmFailure> {
        let (machine_type, qemu_version) = self.origin.made_by();
        let version = self.connected.version.to_string();
        for (what, theirs, ours) in [
            ("machine type", &machine_type, &facts.machine_type),
            ("QEMU", &qemu_version, &version),
        ] {
            if theirs != ours {
                return Err(failed(
                    WarmStage::Files,
                    format_args!(
                        "{} is of {what} {theirs}, and this is {ours}",
                        self.origin.name()
                    ),
                ));
            }
        }
        Ok(())
    }

    fn order(&self) -> Result<Order, WarmFailure> {
        let order = Fresh::draw()
            .and_then(|fresh| orders::order(self.request, &self.origin.macs(), fresh, time_now()));
        order.map_err(|problem| failed(WarmStage::Renewal, problem))
    }

    async fn ask(
        &self,
        stage: WarmStage,
        commands: impl IntoIterator<Item = Command>,
    ) -> Result<(), WarmFailure> {
        let answers = self.connected.monitor.ask_all(commands).await;
        answers.map_err(|error| failed(stage, error))
    }

    /// What plugs all network cables in, or out.
    fn links(&self, up: bool) -> impl Iterator<Item = Command> + use<> {
        (0..self.request.interfaces.len()).map(move |card| Command::SetLink { card, up })
    }

    /// Reads the state. The guest is as it was when it was kept then, and stopped.
    async fn load(&mut self) -> Result<(), WarmFailure> {
        let stage = WarmStage::Restore;
        let Incoming { state, in_set } = self.state;
        let file = match u64::try_from(state) {
            Ok(set) if in_set => StateFile::Set(set),
            _ => StateFile::Descriptor(state.to_string()),
        };
        let commands = [self.origin.extent(), Command::MigrateIncoming(file)];
        self.ask(stage, commands).await?;
        let connected = &mut *self.connected;
        let migrated = migrated(&connected.monitor, &mut connected.events).await;
        migrated.map_err(|error| failed(stage, error))
    }

    /// Lets the guest run, gives the hook in it its orders, and checks what it proves.
    async fn renew(
        &mut self,
        channel: &mut Channel,
        mut order: Order,
    ) -> Result<Renewed, WarmFailure> {
        let stage = WarmStage::Renewal;
        let (before, sent) = (Timestamp::now(), Instant::now());
        order.time = time_now();
        let orders = FromHost::Renew(Box::new(order.clone()));
        // As its cables were when it was kept; but nothing of this guest leaves it before it is somebody else.
        let begin = self.links(false).chain([Command::Cont]);
        let (runs, said) = tokio::join!(self.ask(WarmStage::Restore, begin), channel.say(&orders));
        runs?;
        let running = Mark {
            name: milestones::RUNNING,
            text: None,
        };
        self.progress.mark(running, before);
        said.map_err(|error| failed(stage, format_args!("the hook cannot be told: {error}")))?;
        let mut agent_opened = false;
        let proof = tokio::select! {
            proof = answer(channel) => proof?,
            trouble = trouble(&mut self.connected.events, &mut agent_opened) => return Err(trouble),
        };
        let late = sent.elapsed() + CLOCK_TOLERANCE;
        proof
            .check(&order, late)
            .map_err(|problem| failed(stage, problem))?;
        Ok(Renewed {
            proof,
            agent_opened,
        })
    }
}

/// A guest that has proven who it is.
struct Renewed {
    proof: Proof,
    agent_opened: bool,
}

/// The hook's answer to its orders.
async fn answer(channel: &mut Channel) -> Result<Proof, WarmFailure> {
    loop {
        let heard = channel.hear().await.map_err(|error| {
            failed(
                WarmStage::Renewal,
                format_args!("the hook's channel was closed before the guest was renewed: {error}"),
            )
        })?;
        match heard {
            FromGuest::Renewed(proof) => return Ok(*proof),
            FromGuest::Failed(failure) => {
                let (step, words) = (failure.step.word(), failure.message);
                return Err(failed(
                    WarmStage::Renewal,
                    format_args!("the hook in the guest failed at {step}: {words}"),
                ));
            }
            // What it said before it was kept.
            FromGuest::Hello(_)
            | FromGuest::Settled(_)
            | FromGuest::ClockSet(_)
            | FromGuest::Note(_) => {}
        }
    }
}

/// Has the guest come to rest, which tries out each step of a renewal.
async fn settle(channel: &mut Channel) -> Result<(), WarmFailure> {
    let stage = WarmStage::Renewal;
    let said = channel.say(&FromHost::Settle).await;
    said.map_err(|error| failed(stage, format_args!("the hook cannot be told: {error}")))?;
    loop {
        let heard = channel.hear().await.map_err(|error| {
            failed(
                stage,
                format_args!(
                    "the hook's channel was closed before the guest came to rest: {error}"
                ),
            )
        })?;
        match heard {
            FromGuest::Settled(_) => return Ok(()),
            FromGuest::Failed(failure) => {
                let (step, words) = (failure.step.word(), failure.message);
                return Err(failed(
                    stage,
                    format_args!("the guest does not come to rest ({step}): {words}"),
                ));
            }
            // What it said before it was kept.
            FromGuest::Hello(_)
            | FromGuest::Renewed(_)
            | FromGuest::ClockSet(_)
            | FromGuest::Note(_) => {}
        }
    }
}

/// Waits for what must not happen to a guest that is not yet anybody. Notes that its agent has opened its channel.
async fn trouble(events: &mut mpsc::Receiver<Event>, agent_opened: &mut bool) -> WarmFailure {
    let words = loop {
        match events.recv().await {
            Some(Event::PortChange { id, open: true }) if id == AGENT_PORT => *agent_opened = true,
            Some(Event::Shutdown { .. } | Event::Reset { .. }) => {
                break "the guest went off before it was renewed";
            }
            Some(Event::GuestPanicked) => {
                break "the guest's system crashed before it was renewed";
            }
            Some(Event::BlockIoError(error)) if error.stopped => {
                let (device, reason) = (error.device, error.reason);
                let words = format_args!("the host's disk failed: {device}: {reason}");
                return failed(WarmStage::Host, words);
            }
            Some(_) => {}
            None => break "QEMU ended before the guest was renewed",
        }
    };
    failed(WarmStage::Renewal, words)
}

/// Waits until QEMU has read, or written, the state.
///
/// # Errors
/// QEMU's words for why it has not.
pub(crate) async fn migrated(
    monitor: &Monitor,
    events: &mut mpsc::Receiver<Event>,
) -> Result<(), String> {
    loop {
        match events.recv().await {
            Some(Event::Migration(MigrationState::Completed)) => return Ok(()),
            Some(Event::Migration(MigrationState::Failed)) => {
                return Err(migration_failure(monitor).await);
            }
            Some(_) => {}
            None => return Err(MonitorError::Closed.to_string()),
        }
    }
}

/// Why QEMU did not take, or write, the state.
pub(crate) async fn migration_failure(monitor: &Monitor) -> String {
    let answer = monitor.ask(Command::QueryMigrate).await.ok();
    let words = answer.as_ref().and_then(Command::migration_failure);
    words.unwrap_or("QEMU does not say why").to_owned()
}
