//! A guest that stands by: restored from a template as nobody, before its machine is known, and stopped. The machine that
//! adopts it only renews it, with a QEMU that runs already and has translated what the renewal does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::accelerator::Accelerator;
use api::launcher::warm::{Template, WarmFailure, WarmStage};
use api::launcher::{StartRequest, files as names, milestones};
use host::process::{Child, Ending};
use jiff::Timestamp;
use qemu::machine::Incoming;
use qemu::qmp::{Command, Event};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::begin::{self, Begun, Facts};
use crate::blueprint::{self, Blueprint};
use crate::kvm_failure::Watch;
use crate::markers::Mark;
use crate::monitor::Connected;
use crate::networks::{self, Ends, Networks};
use crate::output::Output;
use crate::serial::Serial;
use crate::setup::{self, Manner, Setup, Sockets};
use crate::start::{self, Guest, Home, LaunchError, Progress, StartError, failed};
use crate::warm::channel::Channel;
use crate::warm::restore::{AGENT_PORT, Origin, Restoring};
use crate::warm::save::Saveable;
use crate::warm::template;
use crate::{debug_console, files, jail};

/// What a machine finds when it starts.
#[derive(Debug, Default)]
pub(crate) enum Prepared {
    /// Nothing stands by.
    #[default]
    Nothing,
    /// It is being got ready.
    UnderWay(UnderWay),
    /// It is there.
    Ready(Box<Standby>),
}

/// A guest that is being got ready.
#[derive(Debug)]
pub(crate) struct UnderWay {
    /// Gives it up.
    pub(crate) abort: oneshot::Sender<()>,
    /// Gets it ready.
    pub(crate) task: JoinHandle<Result<Box<Standby>, WarmFailure>>,
}

impl Prepared {
    /// Ends it, if it is there.
    pub(crate) async fn end(self, why: &str) {
        match self {
            Self::Nothing => {}
            Self::UnderWay(UnderWay { abort, task }) => {
                // One that is just done hears nothing.
                let _ = abort.send(());
                match task.await {
                    Ok(Ok(standby)) => standby.end(why).await,
                    Ok(Err(_)) => {}
                    Err(error) => tracing::error!("the guest that was to stand by: {error}"),
                }
            }
            Self::Ready(standby) => standby.end(why).await,
        }
    }
}

/// A guest that stands by.
#[derive(Debug)]
pub(crate) struct Standby {
    /// Since when.
    pub(crate) since: Timestamp,
    request: Arc<StartRequest>,
    blueprint: Blueprint,
    required_of_qemu: Facts,
    state: Incoming,
    qemu: Child,
    output: Output,
    connected: Connected,
    serial: Option<UnixStream>,
    agent: Option<UnixStream>,
    firmware: Option<UnixStream>,
    channel: Channel,
    ends: Ends,
    saveable: Saveable,
    agent_opened: bool,
}

/// Gets a guest ready. When `abort` is told something, whatever was started is ended.
///
/// # Errors
/// [`WarmFailure`]; nothing runs then.
pub(crate) async fn get_ready(
    home: Home,
    request: Arc<StartRequest>,
    mut abort: oneshot::Receiver<()>,
) -> Result<Box<Standby>, WarmFailure> {
    let got = try_to_get_ready(&home, request, &mut abort).await;
    got.map_err(|LaunchError { error, stage }| WarmFailure {
        // What is nobody's fault says nothing of the template.
        stage: stage.unwrap_or(WarmStage::Host),
        message: error.to_string(),
    })
}

async fn try_to_get_ready(
    home: &Home,
    request: Arc<StartRequest>,
    abort: &mut oneshot::Receiver<()>,
) -> Result<Box<Standby>, LaunchError> {
    let progress = Progress::of_nobody();
    let setup = setup::set_up(home, &request, &progress, Manner::Standby);
    let setup = tokio::select! {
        setup = setup => setup?,
        _ = &mut *abort => return Err(given_up()),
    };
    let Setup {
        program,
        output,
        sockets,
        required,
        saveable,
        state,
        ends,
        blueprint,
        ..
    } = setup;
    let state = state.ok_or_else(|| failed("the guest has no template"))?;
    let mut qemu = setup::spawn(program)?;
    let restored = AtomicBool::new(false);
    let getting = Getting {
        request: &request,
        required: &required,
        state,
        progress: &progress,
        restored: &restored,
    };
    let rested = tokio::select! {
        rested = getting.get(sockets) => rested,
        ended = qemu.wait() => Err(ended_early(ended, restored.load(Ordering::Relaxed))),
        _ = &mut *abort => Err(given_up()),
    };
    let rested = match rested {
        Ok(rested) => rested,
        Err(mut failed) => {
            failed.error = start::end(qemu, output, failed.error).await;
            return Err(failed);
        }
    };
    let Rested {
        connected,
        facts,
        sockets: (serial, agent, firmware),
        channel,
        agent_opened,
    } = rested;
    Ok(Box::new(Standby {
        since: Timestamp::now(),
        request,
        blueprint,
        required_of_qemu: facts,
        state,
        qemu,
        output,
        connected,
        serial,
        agent,
        firmware,
        channel,
        ends,
        saveable,
        agent_opened,
    }))
}

fn given_up() -> LaunchError {
    StartError("nobody wants it any more".to_owned()).into()
}

fn ended_early(ended: std::io::Result<Ending>, restored: bool) -> LaunchError {
    let stage = if restored {
        WarmStage::Renewal
    } else {
        WarmStage::Restore
    };
    match ended {
        Ok(ending) => LaunchError {
            error: StartError(format!(
                "QEMU ended with {ending} before the guest stood by"
            )),
            stage: Some(stage),
        },
        Err(error) => failed(error).into(),
    }
}

/// What it takes to get a guest ready whose QEMU was spawned.
struct Getting<'a> {
    request: &'a StartRequest,
    required: &'a [(String, String)],
    state: Incoming,
    progress: &'a Progress,
    restored: &'a AtomicBool,
}

/// A guest that has come to rest.
struct Rested {
    connected: Connected,
    facts: Facts,
    /// The serial line, the agent's, and the firmware's.
    sockets: (Option<UnixStream>, Option<UnixStream>, Option<UnixStream>),
    channel: Channel,
    agent_opened: bool,
}

impl Getting<'_> {
    async fn get(self, sockets: Sockets) -> Result<Rested, LaunchError> {
        let Sockets {
            monitor,
            serial,
            agent,
            firmware,
            renewal,
        } = sockets;
        let mut connected = begin::connect(monitor, self.request, self.progress).await?;
        let renewal = renewal.ok_or_else(begin::no_port)?;
        let mut channel = Channel::new(renewal);
        let template = template(self.request);
        let template = template.ok_or_else(|| failed("the guest has no template"))?;
        let monitor = connected.monitor.clone();
        let facts = begin::facts(&monitor, self.request, self.required);
        let restoring = Restoring {
            connected: &mut connected,
            origin: Origin::Template(template),
            request: self.request,
            state: self.state,
            progress: self.progress,
            restored: self.restored,
        };
        // What it says meanwhile is no machine's.
        let (facts, agent_opened) = tokio::select! {
            waits = restoring.wait_for_somebody(&mut channel, facts) => waits?,
            error = unheard(serial.as_ref()) => return Err(failed(error).into()),
        };
        if let Some(line) = &serial {
            forget_what_it_said(line).map_err(failed)?;
        }
        Ok(Rested {
            connected,
            facts,
            sockets: (serial, agent, firmware),
            channel,
            agent_opened,
        })
    }
}

/// Reads what nobody needs, until that fails.
async fn unheard(line: Option<&UnixStream>) -> std::io::Error {
    let Some(line) = line else {
        return std::future::pending().await;
    };
    loop {
        let read = match line.readable().await {
            Ok(()) => forget_what_it_said(line),
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            return error;
        }
    }
}

/// Reads what there is.
fn forget_what_it_said(line: &UnixStream) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match line.try_read(&mut buffer) {
            Ok(1..) => {}
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// The guest that stands by, as the machine of this request, and since when it stood by; none: there is none, or it is of
/// no use, and has ended.
///
/// # Errors
/// The start was given up; nothing runs then.
pub(crate) async fn adopted(
    prepared: Prepared,
    home: &Home,
    request: &StartRequest,
    progress: &Progress,
    abort: &mut oneshot::Receiver<()>,
) -> Result<Option<(Guest, Timestamp)>, StartError> {
    let standby = match prepared {
        Prepared::Ready(standby) => standby,
        other => {
            other.end("a machine starts that cannot wait for it").await;
            return Ok(None);
        }
    };
    let since = standby.since;
    let error = match standby.adopt(home, request, progress, abort).await {
        Ok(guest) => return Ok(Some((guest, since))),
        Err(NotAdopted::GivenUp) => {
            return Err(StartError("the start was given up".to_owned()));
        }
        Err(NotAdopted::Failed(error)) => error,
    };
    tracing::warn!("the guest that stood by is of no use: {error}");
    files::remove_new_disks(&home.directory.join(names::DISKS), request);
    let instead = Mark {
        name: milestones::NOT_ADOPTED,
        text: Some(error.to_string()),
    };
    progress.mark(instead, Timestamp::now());
    Ok(None)
}

/// Why a guest was not adopted.
enum NotAdopted {
    /// Nobody wants the machine any more.
    GivenUp,
    /// It is of no use for this machine.
    Failed(StartError),
}

/// What a machine adds to the guest that it adopts.
struct Own {
    blueprint: Blueprint,
    networks: Networks,
    serial: Option<Serial>,
}

impl Standby {
    /// Waits until it has ended by itself, and says how. May be cancelled at any time.
    pub(crate) async fn ended(&mut self) -> String {
        loop {
            tokio::select! {
                event = self.connected.events.recv() => match event {
                    Some(Event::PortChange { id, open: true }) if id == AGENT_PORT => {
                        self.agent_opened = true;
                    }
                    Some(_) => {}
                    None => return match self.qemu.wait().await {
                        Ok(ending) => format!("QEMU ended with {ending}"),
                        Err(error) => error.to_string(),
                    },
                },
                ended = self.qemu.wait() => return match ended {
                    Ok(ending) => format!("QEMU ended with {ending}"),
                    Err(error) => error.to_string(),
                },
            }
        }
    }

    /// Ends it.
    pub(crate) async fn end(self, why: &str) {
        let error = start::end(self.qemu, self.output, StartError(why.to_owned())).await;
        tracing::info!("the guest that stood by has ended: {error}");
    }

    /// Whether it can be the machine of this request.
    fn suits(&self, request: &StartRequest, blueprint: &Blueprint) -> Result<(), StartError> {
        let told = |it: &StartRequest| {
            template(it).map(|template| Template {
                required: false,
                ..template.clone()
            })
        };
        let template = told(request);
        if template.is_none() || template != told(&self.request) {
            return Err(failed("it is of another template"));
        }
        if request.accelerator != self.request.accelerator
            || request.save_on_leaving.is_some() != self.request.save_on_leaving.is_some()
        {
            return Err(failed("its QEMU was started in another manner"));
        }
        self.blueprint.suits(blueprint).map_err(failed)
    }

    /// Makes it the machine of this request.
    async fn adopt(
        mut self: Box<Self>,
        home: &Home,
        request: &StartRequest,
        progress: &Progress,
        abort: &mut oneshot::Receiver<()>,
    ) -> Result<Guest, NotAdopted> {
        progress.reached(milestones::ADOPTED);
        let mut own = match self.equip(home, request, progress) {
            Ok(own) => own,
            Err(error) => return Err(NotAdopted::Failed(self.fail(error).await)),
        };
        let become_it = renew(
            &mut self.connected,
            (self.state, self.channel),
            request,
            progress,
        );
        let begun = tokio::select! {
            begun = become_it => begun.map_err(|failed| NotAdopted::Failed(failed.error)),
            ended = self.qemu.wait() => {
                let error = ended_early(ended, true).error;
                Err(NotAdopted::Failed(error))
            }
            _ = &mut *abort => Err(NotAdopted::GivenUp),
        };
        let outputs = std::mem::take(&mut own.networks.outputs);
        let begun = match begun {
            Ok(begun) => match networks::have_ended(&own.networks.cables, outputs).await {
                None => Ok(begun),
                Some(error) => Err(NotAdopted::Failed(error)),
            },
            Err(error) => Err(error),
        };
        let begun = match begun {
            Ok(begun) => begun,
            Err(not) => {
                let error = match &not {
                    NotAdopted::GivenUp => failed("the start was given up"),
                    NotAdopted::Failed(error) => error.clone(),
                };
                let error = start::end(self.qemu, self.output, error).await;
                start::clear_away(&own.networks.cables, own.serial).await;
                return Err(match not {
                    NotAdopted::GivenUp => not,
                    NotAdopted::Failed(_) => NotAdopted::Failed(error),
                });
            }
        };
        let listener = start::listen_to_agent(self.agent, request.accelerator, request);
        if begun.agent_opened || self.agent_opened {
            listener.opened.notify_one();
        }
        let mut adjustments = own.blueprint.adjustments;
        adjustments.extend(self.required_of_qemu.adjustment);
        let monitor = self.connected.monitor;
        let kvm = (request.accelerator == Accelerator::Kvm)
            .then(|| Watch::start(monitor.clone(), own.serial.clone()));
        Ok(Guest {
            kvm,
            qemu: self.qemu,
            output: self.output,
            monitor,
            events: self.connected.events,
            version: self.connected.version,
            machine_type: self.required_of_qemu.machine_type,
            accelerator: request.accelerator,
            adjustments,
            serial: own.serial,
            agent: listener.answers,
            agent_opened: listener.opened,
            agent_loans: listener.loans,
            graphics: own.blueprint.machine.graphics,
            networks: own.networks.ended,
            cables: own.networks.cables,
            paused: begun.paused,
            random: begun.random,
            rested: begun.rested,
            keepable: None,
            saveable: Some(self.saveable.adopted(request, home)),
            hook: begun.hook,
            listening: begun.listening,
            resumed: None,
            adopted: true,
        })
    }

    async fn fail(self, error: StartError) -> StartError {
        start::end(self.qemu, self.output, error).await
    }

    /// Gives it the machine's files, networks and serial line.
    fn equip(
        &mut self,
        home: &Home,
        request: &StartRequest,
        progress: &Progress,
    ) -> Result<Own, StartError> {
        let now = Timestamp::now();
        let surroundings = setup::surroundings(now);
        let blueprint = blueprint::blueprint(request, surroundings).map_err(failed)?;
        self.suits(request, &blueprint)?;
        let disks = home.directory.join(names::DISKS);
        files::renew_cloud_init(&blueprint.files, request, &disks, now).map_err(failed)?;
        // Held by its QEMU; whoever finds it so reads for whom.
        let lock = home.directory.join(names::LIFE_LOCK);
        std::fs::write(lock, setup::holder(home)).map_err(failed)?;
        let (_, network_user) = jail::users(&home.identity.uid);
        let user = surroundings.root.then_some(network_user);
        let ends = std::mem::take(&mut self.ends);
        let networks = networks::carry(home, request, &blueprint, user, ends)?;
        progress.reached(milestones::NETWORK);
        if let Some(line) = self.firmware.take() {
            tokio::spawn(debug_console::run(line, progress.clone()));
        }
        let serial = begin::open_serial(self.serial.take(), home, None, progress)?;
        Ok(Own {
            blueprint,
            networks,
            serial,
        })
    }
}

/// Makes the guest somebody, and its QEMU one that ends when the guest restarts.
async fn renew(
    connected: &mut Connected,
    (state, channel): (Incoming, Channel),
    request: &StartRequest,
    progress: &Progress,
) -> Result<Begun, LaunchError> {
    let template = template(request).ok_or_else(|| failed("the guest has no template"))?;
    let ends = connected.monitor.ask(Command::EndAtRestart).await;
    ends.map_err(failed)?;
    let restoring = Restoring {
        connected,
        origin: Origin::Template(template),
        request,
        state,
        progress,
        restored: &AtomicBool::new(true),
    };
    restoring.adopt(channel).await
}
