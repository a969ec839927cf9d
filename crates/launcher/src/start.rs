//! From a request to a guest that runs: locks, disks, sockets, network, QEMU, monitor, `cont`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::accelerator::Accelerator;
use api::launcher::saved::Resumed;
use api::launcher::warm::{WarmFailure, WarmStage};
use api::launcher::{Identity, Milestone, StartRequest, files as names, milestones};
use api::scaling::Wait;
use host::identity::Signal;
use host::process::{Child, Ending};
use jiff::Timestamp;
use qemu::qmp::Event;
use qemu::version::Version;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::agent;
use crate::begin::{Beginning, Begun, Greeted};
use crate::files::{self, FileError};
use crate::kvm_failure::Watch;
use crate::loan::{self, Loans};
use crate::markers::Mark;
use crate::monitor::Monitor;
use crate::networks::{self, NetworkEnded};
use crate::output::Output;
use crate::serial::Serial;
use crate::setup::{self, Manner, Setup};
use crate::usage::Cable;
use crate::warm::channel::Listening;
use crate::warm::keep::Keepable;
use crate::warm::save::Saveable;
use crate::warm::standby::{self, Prepared};
use crate::warm::{Note, template};

/// A QEMU that gives up closes its monitor, and has then ended at once.
pub(crate) const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// The launcher's place and name.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    /// Its directory.
    pub(crate) directory: PathBuf,
    /// Whose it is.
    pub(crate) identity: Identity,
}

/// A guest that runs.
#[derive(Debug)]
pub(crate) struct Guest {
    /// QEMU.
    pub(crate) qemu: Child,
    /// What QEMU writes to its standard error.
    pub(crate) output: Output,
    /// Its monitor.
    pub(crate) monitor: Monitor,
    /// What the monitor says.
    pub(crate) events: mpsc::Receiver<Event>,
    /// Its version.
    pub(crate) version: Version,
    /// Its machine type, resolved.
    pub(crate) machine_type: String,
    /// What it runs on.
    pub(crate) accelerator: Accelerator,
    /// What that changes of what was asked for: sentences for people.
    pub(crate) adjustments: Vec<String>,
    /// Its serial line.
    pub(crate) serial: Option<Serial>,
    /// Whether its agent answers.
    pub(crate) agent: watch::Receiver<bool>,
    /// To be told when the agent has opened its channel.
    pub(crate) agent_opened: Arc<Notify>,
    /// Whether it has a graphics card.
    pub(crate) graphics: bool,
    /// Told of networks that ended before it.
    pub(crate) networks: mpsc::Receiver<NetworkEnded>,
    /// What carries its networks.
    pub(crate) cables: Vec<Cable>,
    /// Whether KVM runs it as it should, if it is to run on KVM.
    pub(crate) kvm: Option<Watch>,
    /// Whether its processors wait: `startStrategy: Paused`.
    pub(crate) paused: bool,
    /// Lends the agent's channel.
    pub(crate) agent_loans: Loans<UnixStream>,
    /// Random bytes of a guest that was renewed, in hexadecimal digits.
    pub(crate) random: Option<String>,
    /// What it is kept by, if it can be.
    pub(crate) keepable: Option<Keepable>,
    /// What it is saved by, unless it is being saved.
    pub(crate) saveable: Option<Saveable>,
    /// The hook in it waits, as far as is known.
    pub(crate) hook: bool,
    /// It has come to rest before, with that hook in it.
    pub(crate) rested: bool,
    /// What listens at that hook's port, if it has one.
    pub(crate) listening: Option<Listening>,
    /// How it goes on, if it was saved before.
    pub(crate) resumed: Option<Resumed>,
    /// Its QEMU was started before its machine was known, and ends when the guest restarts: the next one is told who it
    /// is.
    pub(crate) adopted: bool,
}

/// Why a guest does not run: a sentence for people with all causes.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct StartError(pub(crate) String);

impl StartError {
    /// The task that starts has failed in itself.
    pub(crate) fn from_panic(error: &tokio::task::JoinError) -> Self {
        Self(format!("the start failed inside: {error}"))
    }
}

/// Any error as one of the start.
pub(crate) fn failed(error: impl std::fmt::Display) -> StartError {
    StartError(error.to_string())
}

/// Tells what was reached.
#[derive(Clone, Debug)]
pub(crate) struct Progress(pub(crate) mpsc::Sender<Milestone>);

impl Progress {
    /// For what is no start of a machine.
    pub(crate) fn of_nobody() -> Self {
        Self(mpsc::channel(1).0)
    }

    /// It was reached now.
    pub(crate) fn reached(&self, name: &'static str) {
        self.mark(Mark { name, text: None }, Timestamp::now());
    }

    /// The guest showed this `at` that time.
    pub(crate) fn mark(&self, mark: Mark, at: Timestamp) {
        let milestone = Milestone {
            name: mark.name.to_owned(),
            at,
            text: mark.text,
            silence_milliseconds: None,
        };
        // For the record only: a full channel must not delay the start.
        if self.0.try_send(milestone).is_err() {
            tracing::debug!("a milestone is left out: {}", mark.name);
        }
    }
}

/// A launch that came to nothing.
#[derive(Debug)]
pub(crate) struct LaunchError {
    pub(crate) error: StartError,
    /// The template is to blame, at this step: without it the guest may start all the same.
    pub(crate) stage: Option<WarmStage>,
}

impl From<StartError> for LaunchError {
    fn from(error: StartError) -> Self {
        Self { error, stage: None }
    }
}

impl From<FileError> for LaunchError {
    fn from(error: FileError) -> Self {
        let stage = matches!(error, FileError::Template { .. }).then_some(WarmStage::Files);
        Self {
            error: failed(error),
            stage,
        }
    }
}

impl From<WarmFailure> for LaunchError {
    fn from(failure: WarmFailure) -> Self {
        Self {
            error: StartError(failure.message),
            stage: Some(failure.stage),
        }
    }
}

/// Starts the guest: the one that stands by, if there is one; from its template, if it has one; and without it if that is
/// of no use. When `abort` is told something, whatever was started is ended. `note` says how it went with the template.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub(crate) async fn start(
    home: Home,
    request: Arc<StartRequest>,
    progress: Progress,
    (note, standby): (Note, Prepared),
    mut abort: oneshot::Receiver<()>,
) -> Result<Guest, StartError> {
    let adopted = standby::adopted(standby, &home, &request, &progress, &mut abort).await;
    if let (Some((guest, since)), Some(template)) = (adopted?, template(&request)) {
        note.restored(template, guest.random.clone(), Some(since));
        return Ok(guest);
    }
    let launched = launch(&home, &request, &progress, &mut abort).await;
    let (LaunchError { error, stage }, template) = match (launched, template(&request)) {
        (Ok(guest), template) => {
            if let Some(template) = template {
                note.restored(template, guest.random.clone(), None);
            }
            return Ok(guest);
        }
        (Err(failed), None) => return Err(failed.error),
        (Err(failed), Some(template)) => (failed, template),
    };
    let Some(stage) = stage else {
        return Err(error);
    };
    files::remove_new_disks(&home.directory.join(names::DISKS), &request);
    tracing::warn!(
        "the template {} is of no use ({stage:?}): {error}",
        template.key
    );
    let failure = WarmFailure {
        stage,
        message: error.to_string(),
    };
    note.failed(template, failure);
    if template.required {
        return Err(StartError(format!(
            "the machine must start from its template {}, which is of no use: {error}",
            template.key
        )));
    }
    let instead = Mark {
        name: milestones::BOOTS_INSTEAD,
        text: Some(error.to_string()),
    };
    progress.mark(instead, Timestamp::now());
    let cold = Arc::new(StartRequest {
        warm: None,
        ..StartRequest::clone(&request)
    });
    let launched = launch(&home, &cold, &progress, &mut abort).await;
    launched.map_err(|failed| failed.error)
}

/// Starts a guest once more that went on from a template and has restarted: with the disks that it has, and what lies
/// `below` them.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub(crate) async fn start_again(
    home: Home,
    request: Arc<StartRequest>,
    below: BTreeMap<String, File>,
    progress: Progress,
    mut abort: oneshot::Receiver<()>,
) -> Result<Guest, StartError> {
    let mut again = StartRequest {
        warm: None,
        stepped_down: None,
        ..StartRequest::clone(&request)
    };
    again.instance.spec.start_strategy = None;
    let again = Arc::new(again);
    let launched = launch_as(
        (&home, Manner::Again(&request, &below)),
        &again,
        &progress,
        &mut abort,
    );
    let mut guest = launched.await.map_err(|failed| failed.error)?;
    // It is a machine, and no template.
    guest.keepable = None;
    Ok(guest)
}

fn given_up() -> LaunchError {
    failed("the start was given up").into()
}

/// One QEMU, from nothing to a guest that runs. When `abort` is told something, it is ended.
async fn launch(
    home: &Home,
    request: &Arc<StartRequest>,
    progress: &Progress,
    abort: &mut oneshot::Receiver<()>,
) -> Result<Guest, LaunchError> {
    launch_as((home, Manner::Start), request, progress, abort).await
}

async fn launch_as(
    (home, manner): (&Home, Manner<'_>),
    request: &Arc<StartRequest>,
    progress: &Progress,
    abort: &mut oneshot::Receiver<()>,
) -> Result<Guest, LaunchError> {
    let setup = tokio::select! {
        setup = setup::set_up(home, request, progress, manner) => setup?,
        _ = &mut *abort => return Err(given_up()),
    };
    let Setup {
        program,
        output,
        sockets,
        accelerator,
        required,
        mut adjustments,
        graphics,
        networks,
        cables,
        keepable,
        saveable,
        state,
        outputs,
        ..
    } = setup;
    let mut qemu = setup::spawn(program)?;
    progress.reached(milestones::SPAWNED);
    let (agent, sockets) = sockets.without_agent();
    let (mut serial, restored) = (None, AtomicBool::new(false));
    let beginning = Beginning {
        home,
        request,
        required: &required,
        progress,
        marks: manner.marks(request),
        state,
        serial: &mut serial,
        restored: &restored,
    };
    // Nobody wants it any more: none.
    let begun = tokio::select! {
        begun = beginning.begin(sockets) => Some(begun),
        ended = qemu.wait() => Some(Err(ended_early(ended, restored.load(Ordering::Relaxed)))),
        _ = &mut *abort => None,
    };
    let begun = judge(begun, request, &cables, outputs).await;
    let (greeted, begun) = match begun {
        Ok(begun) => begun,
        Err(mut failed) => {
            failed.error = end(qemu, output, failed.error).await;
            clear_away(&cables, serial).await;
            return Err(failed);
        }
    };
    let Greeted { connected, facts } = greeted;
    adjustments.extend(facts.adjustment);
    let listener = listen_to_agent(agent, accelerator, request);
    if begun.agent_opened {
        listener.opened.notify_one();
    }
    let kvm = (accelerator == Accelerator::Kvm)
        .then(|| Watch::start(connected.monitor.clone(), serial.clone()));
    Ok(Guest {
        kvm,
        qemu,
        output,
        monitor: connected.monitor,
        events: connected.events,
        version: connected.version,
        machine_type: facts.machine_type,
        accelerator,
        adjustments,
        serial,
        agent: listener.answers,
        agent_opened: listener.opened,
        agent_loans: listener.loans,
        graphics,
        networks,
        cables,
        paused: begun.paused,
        random: begun.random,
        keepable,
        saveable: Some(saveable),
        hook: begun.hook,
        rested: begun.rested,
        listening: begun.listening,
        resumed: begun.resumed,
        adopted: false,
    })
}

/// Whether the guest is there, and if not, whether its template is to blame. `begun` is none where nobody wants it.
async fn judge(
    begun: Option<Result<(Greeted, Begun), LaunchError>>,
    request: &StartRequest,
    cables: &[Cable],
    outputs: Vec<Output>,
) -> Result<(Greeted, Begun), LaunchError> {
    match begun {
        None => Err(given_up()),
        Some(Ok(begun)) => match networks::have_ended(cables, outputs).await {
            Some(error) => Err(error.into()),
            None => Ok(begun),
        },
        Some(Err(mut failed)) => {
            // Whatever it was: a QEMU that was to boot would have been another one.
            let restores = template(request).map(|_| WarmStage::Restore);
            failed.stage = failed.stage.or(restores);
            Err(failed)
        }
    }
}

/// QEMU has ended before its guest was there; perhaps after its state was `restored`.
fn ended_early(ended: std::io::Result<Ending>, restored: bool) -> LaunchError {
    match ended {
        Ok(ending) if restored => LaunchError {
            error: StartError(format!(
                "QEMU ended with {ending} before the guest was renewed"
            )),
            stage: Some(WarmStage::Renewal),
        },
        Ok(ending) => StartError(format!("QEMU ended at once with {ending}")).into(),
        Err(error) => failed(error).into(),
    }
}

/// Waits for what goes with a QEMU that has ended, so that another one can have its addresses and its logs.
pub(crate) async fn clear_away(cables: &[Cable], serial: Option<Serial>) {
    networks::end(cables).await;
    if let Some(serial) = serial {
        // What it still writes would be in the next one's log.
        let _ = tokio::time::timeout(ENDS_WITHIN, serial.ended()).await;
    }
}

/// What listens to the guest's agent.
pub(crate) struct Listener {
    /// Whether it answers.
    pub(crate) answers: watch::Receiver<bool>,
    /// To be told when it has opened its channel.
    pub(crate) opened: Arc<Notify>,
    /// Lends the channel.
    pub(crate) loans: Loans<UnixStream>,
}

pub(crate) fn listen_to_agent(
    channel: Option<UnixStream>,
    accelerator: Accelerator,
    request: &StartRequest,
) -> Listener {
    let (tell, answers) = watch::channel(false);
    let opened = Arc::new(Notify::new());
    let (loans, asked) = loan::loans();
    if let Some(channel) = channel {
        let gone_after = Wait::Agent.within(accelerator, request.slowdown);
        tokio::spawn(agent::run(
            channel,
            tell,
            Arc::clone(&opened),
            gone_after,
            asked,
        ));
    }
    Listener {
        answers,
        opened,
        loans,
    }
}

/// Kills QEMU if it still runs, and adds its last words to the error.
pub(crate) async fn end(mut qemu: Child, output: Output, error: StartError) -> StartError {
    if let Err(error) = qemu.identity().signal(Signal::Kill) {
        tracing::warn!("cannot kill QEMU: {error}");
    }
    if let Err(error) = qemu.wait().await {
        tracing::warn!("cannot wait for QEMU: {error}");
    }
    match output.last_words().await {
        words if words.is_empty() => error,
        words => StartError(format!("{error}; QEMU said: {words}")),
    }
}
