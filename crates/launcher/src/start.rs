//! From a request to a guest that runs: locks, disks, sockets, network, QEMU, monitor, `cont`.

use std::net::{IpAddr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::accelerator::Accelerator;
use api::launcher::{Identity, Milestone, Protocol, StartRequest, files as names, milestones};
use api::scaling::Wait;
use host::identity::Signal;
use host::lock::LifeLock;
use host::network::PASST;
use host::process::{Child, Ending, Program, find_program};
use jiff::Timestamp;
use qemu::architecture::Architecture;
use qemu::command_line::command_line;
use qemu::qmp::{Command, Event};
use qemu::version::Version;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::blueprint::processor::check_missing;
use crate::blueprint::{self, Blueprint, Piece, Socket, Source, Surroundings};
use crate::files::{self, Opened, Places};
use crate::kvm_failure::{self, Watch};
use crate::markers::Mark;
use crate::monitor::{Connected, Monitor, MonitorError};
use crate::output::Output;
use crate::serial::Serial;
use crate::usage::Cable;
use crate::{agent, debug_console, jail};

/// A QEMU that gives up closes its monitor, and has then ended at once.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
/// passt answers within some milliseconds; on a machine busy with emulation within seconds.
const NETWORK_WITHIN: Duration = Duration::from_secs(30);

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
}

/// A guest's network has ended, and the guest has not.
#[derive(Clone, Debug)]
pub(crate) struct NetworkEnded {
    /// The network's own address.
    pub(crate) address: IpAddr,
    /// What happened, in words.
    pub(crate) how: String,
}

/// Why a guest does not run: a sentence for people with all causes.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct StartError(String);

impl StartError {
    /// The task that starts has failed in itself.
    pub(crate) fn from_panic(error: &tokio::task::JoinError) -> Self {
        Self(format!("the start failed inside: {error}"))
    }
}

fn failed(error: impl std::fmt::Display) -> StartError {
    StartError(error.to_string())
}

/// Tells what was reached.
#[derive(Clone, Debug)]
pub(crate) struct Progress(pub(crate) mpsc::Sender<Milestone>);

impl Progress {
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

/// Starts the guest. When `abort` is told something, whatever was started is ended.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub(crate) async fn start(
    home: Home,
    request: Arc<StartRequest>,
    progress: Progress,
    mut abort: oneshot::Receiver<()>,
) -> Result<Guest, StartError> {
    let prepared = tokio::select! {
        prepared = prepare(&home, &request, &progress) => prepared?,
        _ = &mut abort => return Err(failed("the start was given up")),
    };
    let Prepared {
        program,
        output,
        sockets,
        accelerator,
        required,
        mut adjustments,
        graphics,
        networks,
        cables,
    } = prepared;
    let mut qemu = program.spawn().map_err(failed)?;
    progress.reached(milestones::SPAWNED);
    for missing in &qemu.jail_report().missing {
        tracing::warn!("QEMU's jail is incomplete: {missing}");
    }
    let greeted = tokio::select! {
        greeted = greet(sockets.monitor, &request, &required, &progress) => greeted,
        ended = qemu.wait() => Err(match ended {
            Ok(ending) => StartError(format!("QEMU ended at once with {ending}")),
            Err(error) => failed(error),
        }),
        _ = &mut abort => Err(failed("the start was given up")),
    };
    match greeted {
        Ok(Greeted {
            connected,
            machine_type,
            adjustment,
        }) => {
            adjustments.extend(adjustment);
            if let Some(line) = sockets.firmware {
                tokio::spawn(debug_console::run(line, progress.clone()));
            }
            let serial = open_serial(sockets.serial, &home, &request, &progress);
            let paused = request.instance.spec.start_strategy.as_deref() == Some("Paused");
            // The guest may have said something before QEMU's answer to `cont` is read.
            let before = Timestamp::now();
            let started = match serial {
                Ok(serial) if paused => Ok(serial),
                Ok(serial) => connected
                    .monitor
                    .ask(Command::Cont)
                    .await
                    .map(|_| serial)
                    .map_err(failed),
                Err(error) => Err(error),
            };
            let serial = match started {
                Ok(serial) => serial,
                Err(error) => return Err(end(qemu, output, error).await),
            };
            if !paused {
                let name = milestones::RUNNING;
                progress.mark(Mark { name, text: None }, before);
            }
            let (agent, agent_opened) = listen_to_agent(sockets.agent, accelerator, &request);
            let kvm = (accelerator == Accelerator::Kvm)
                .then(|| Watch::start(connected.monitor.clone(), serial.clone()));
            Ok(Guest {
                kvm,
                qemu,
                output,
                monitor: connected.monitor,
                events: connected.events,
                version: connected.version,
                machine_type,
                accelerator,
                adjustments,
                serial,
                agent,
                agent_opened,
                graphics,
                networks,
                cables,
                paused,
            })
        }
        Err(error) => Err(end(qemu, output, error).await),
    }
}

/// Whether the guest's agent answers on its channel, if there is one, and who is to be told when it has opened that.
fn listen_to_agent(
    channel: Option<UnixStream>,
    accelerator: Accelerator,
    request: &StartRequest,
) -> (watch::Receiver<bool>, Arc<Notify>) {
    let (tell, agent) = watch::channel(false);
    let opened = Arc::new(Notify::new());
    if let Some(channel) = channel {
        let gone_after = Wait::Agent.within(accelerator, request.slowdown);
        tokio::spawn(agent::run(channel, tell, Arc::clone(&opened), gone_after));
    }
    (agent, opened)
}

/// Reads the serial line, if there is one.
fn open_serial(
    line: Option<UnixStream>,
    home: &Home,
    request: &StartRequest,
    progress: &Progress,
) -> Result<Option<Serial>, StartError> {
    let Some(line) = line else { return Ok(None) };
    let marks = request.stepped_down.as_ref().map(kvm_failure::marker);
    Serial::start(line, &home.directory, marks.as_deref(), progress.clone())
        .map(Some)
        .map_err(failed)
}

/// Kills QEMU if it still runs, and adds its last words to the error.
async fn end(mut qemu: Child, output: Output, error: StartError) -> StartError {
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

/// Everything up to the program that is ready to be spawned.
struct Prepared {
    program: Program,
    output: Output,
    sockets: Sockets,
    accelerator: Accelerator,
    /// Processor features without which the guest must not run: name and field of the VMI.
    required: Vec<(String, String)>,
    adjustments: Vec<String>,
    graphics: bool,
    networks: mpsc::Receiver<NetworkEnded>,
    cables: Vec<Cable>,
}

/// What QEMU has said of itself.
struct Greeted {
    connected: Connected,
    machine_type: String,
    /// What it cannot give of what was asked for, in a sentence.
    adjustment: Option<String>,
}

/// QEMU's program for guests of this architecture. The one that the owner has set is for guests of
/// the host's; others are first looked for beside it.
fn program(
    home: &Home,
    guest: Architecture,
    host: Option<Architecture>,
) -> Result<PathBuf, StartError> {
    let set = home.identity.qemu_program.as_ref();
    if let Some(program) = set.filter(|_| host == Some(guest)) {
        return Ok(program.clone());
    }
    let beside = set
        .and_then(|program| program.parent())
        .map(|folder| folder.join(format!("qemu-system-{}", guest.machine_name())));
    let usual = guest.programs(host);
    let places: Vec<&Path> = beside
        .iter()
        .map(PathBuf::as_path)
        .chain(usual.iter().map(Path::new))
        .collect();
    find_program(&places).ok_or_else(|| {
        StartError(format!(
            "spec.architecture: QEMU for guests of {guest} is missing: install the Debian package `{}` (looked for {})",
            guest.program_package(),
            usual.join(", ")
        ))
    })
}

/// Our ends of QEMU's sockets.
struct Sockets {
    monitor: UnixStream,
    serial: Option<UnixStream>,
    agent: Option<UnixStream>,
    firmware: Option<UnixStream>,
}

async fn prepare(
    home: &Home,
    request: &Arc<StartRequest>,
    progress: &Progress,
) -> Result<Prepared, StartError> {
    let root = rustix::process::geteuid().is_root();
    let now = Timestamp::now();
    let surroundings = Surroundings {
        now,
        root,
        host: Architecture::of_machine(std::env::consts::ARCH),
    };
    let blueprint = blueprint::blueprint(request, surroundings).map_err(failed)?;
    let guest = blueprint.machine.machine_type.architecture();
    let program = program(home, guest, surroundings.host)?;
    let arguments = command_line(&blueprint.machine).map_err(failed)?;
    // For whoever reads the pod's log; what a guest is set up with is on its disks, not here.
    tracing::info!(?program, ?arguments, "QEMU's command line");

    let holder = holder(home);
    let life =
        LifeLock::acquire(&home.directory.join(names::LIFE_LOCK), &holder).map_err(failed)?;
    let opened = open_files(home, request, &blueprint, holder, now).await?;
    progress.reached(milestones::DISKS);
    let (mut inherited, sockets) = open_sockets(home, &blueprint.files).await?;
    inherited.extend(opened.files);
    let (qemu_user, network_user) = jail::users(&home.identity.uid);
    let Networks {
        files,
        ended: networks,
        cables,
    } = start_networks(home, request, &blueprint, root.then_some(network_user)).await?;
    inherited.extend(files);
    progress.reached(milestones::NETWORK);
    let number = blueprint
        .files
        .iter()
        .find(|piece| piece.source == Source::LifeLock);
    let number = number
        .ok_or_else(|| failed("the machine has no life-lock"))?
        .number;
    inherited.push(Opened {
        number,
        file: life.into_descriptor(),
    });

    let (output, stderr) =
        Output::to_file(&home.directory.join(names::QEMU_LOG)).map_err(failed)?;
    let jail = jail::jail(
        &program,
        request.accelerator,
        root.then_some(qemu_user),
        opened.readable,
    );
    let mut program = Program::new(program)
        .arguments(arguments)
        .new_session()
        .stderr(stderr)
        .jail(jail);
    for Opened { number, file } in inherited {
        program = program.inherit(file, number);
    }
    Ok(Prepared {
        program,
        output,
        sockets,
        accelerator: request.accelerator,
        required: blueprint.required,
        adjustments: blueprint.adjustments,
        graphics: blueprint.machine.graphics,
        networks,
        cables,
    })
}

fn holder(home: &Home) -> String {
    let Identity {
        namespace,
        name,
        uid,
        ..
    } = &home.identity;
    format!("VirtualMachineInstance {namespace}/{name} ({uid})")
}

async fn open_files(
    home: &Home,
    request: &Arc<StartRequest>,
    blueprint: &Blueprint,
    holder: String,
    now: Timestamp,
) -> Result<files::OpenedFiles, StartError> {
    let disks = home.directory.join(names::DISKS);
    // The directory is <data>/machines/<uid>, so all machines of this installation share this.
    let locks = home.directory.join("../../locks");
    host::socket::private_directory(&disks).map_err(failed)?;
    let (pieces, request) = (blueprint.files.clone(), Arc::clone(request));
    // A disk may be on a file system that takes its time.
    tokio::task::spawn_blocking(move || {
        let places = Places {
            disks: &disks,
            locks: &locks,
            holder: &holder,
        };
        files::open(&pieces, &request, places, now)
    })
    .await
    .map_err(failed)?
    .map_err(failed)
}

async fn open_sockets(home: &Home, pieces: &[Piece]) -> Result<(Vec<Opened>, Sockets), StartError> {
    let mut inherited = Vec::new();
    let (mut monitor, mut serial, mut agent, mut firmware) = (None, None, None, None);
    for piece in pieces {
        let Source::Socket(socket) = piece.source else {
            continue;
        };
        let (name, ours) = match socket {
            Socket::Monitor => ("qmp.sock", &mut monitor),
            Socket::Serial => ("serial.sock", &mut serial),
            Socket::Agent => ("agent.sock", &mut agent),
            Socket::Firmware => ("firmware.sock", &mut firmware),
        };
        let path = home.directory.join(name);
        let listener = host::socket::bind(&path).map_err(failed)?;
        // Connected before QEMU exists: it finds us waiting, so nothing it says is lost.
        *ours = Some(host::socket::connect(&path).await.map_err(failed)?);
        inherited.push(Opened {
            number: piece.number,
            file: listener.into(),
        });
    }
    let monitor = monitor.ok_or_else(|| failed("the machine has no monitor"))?;
    Ok((
        inherited,
        Sockets {
            monitor,
            serial,
            agent,
            firmware,
        },
    ))
}

/// The guest's networks.
struct Networks {
    /// Their ends for QEMU.
    files: Vec<Opened>,
    /// Told of those that end.
    ended: mpsc::Receiver<NetworkEnded>,
    /// What carries them.
    cables: Vec<Cable>,
}

async fn start_networks(
    home: &Home,
    request: &StartRequest,
    blueprint: &Blueprint,
    user: Option<u32>,
) -> Result<Networks, StartError> {
    let mut inherited = Vec::new();
    let mut cables = Vec::new();
    // Each network ends once.
    let (tell, networks) = mpsc::channel(blueprint.networks.len().max(1));
    for piece in &blueprint.files {
        let Source::Network(index) = piece.source else {
            continue;
        };
        let Some(network) = blueprint.networks.get(index) else {
            continue;
        };
        let forwards = network.ports.iter().map(|port| match port.protocol {
            Protocol::Tcp => (host::network::Protocol::Tcp, port.port),
            Protocol::Udp => (host::network::Protocol::Udp, port.port),
        });
        // Ports that nobody named are left out where something else has them.
        let free = |port: u16| TcpListener::bind(SocketAddrV4::new(network.address, port)).is_ok();
        let forwards = forwards
            .filter(|(_, port)| network.named || free(*port))
            .collect();
        let (output, log) =
            Output::to_file(&home.directory.join(format!("passt{index}.log"))).map_err(failed)?;
        let address = network.address;
        let network = host::network::Network {
            program: PathBuf::from(PASST),
            address: network.address,
            forwards,
            user: user.map(jail::user),
            log,
        };
        let mut passt = network.start().map_err(failed)?;
        let ready = passt.ready(NETWORK_WITHIN).await;
        if let Some(interface) = request.interfaces.get(index) {
            cables.push(Cable {
                name: interface.name.clone(),
                process: passt.identity().clone(),
                traffic: passt.traffic(),
            });
        }
        let (mut process, socket) = passt.into_parts();
        // It ends with its socket, so mostly with QEMU, of whose end the owner hears in this time.
        let tell = tell.clone();
        let reaper = tokio::spawn(async move {
            let how = match process.wait().await {
                Ok(Ending::Exited(code)) => format!("passt ended with status {code}"),
                Ok(Ending::Signalled(signal)) => format!("passt was ended by signal {signal}"),
                Err(error) => format!("passt is lost: {error}"),
            };
            tokio::time::sleep(ENDS_WITHIN).await;
            // Nobody listens once the guest is gone.
            let _ = tell.try_send(NetworkEnded {
                address: address.into(),
                how,
            });
        });
        if let Err(error) = ready {
            drop(socket);
            let _ = tokio::time::timeout(NETWORK_WITHIN, reaper).await;
            return Err(match output.last_words().await {
                words if words.is_empty() => failed(error),
                words => StartError(format!("{error}; passt said: {words}")),
            });
        }
        inherited.push(Opened {
            number: piece.number,
            file: socket,
        });
    }
    Ok(Networks {
        files: inherited,
        ended: networks,
        cables,
    })
}

/// Waits for QEMU's greeting and checks that it is what was asked for.
async fn greet(
    monitor: UnixStream,
    request: &StartRequest,
    required: &[(String, String)],
    progress: &Progress,
) -> Result<Greeted, StartError> {
    let accelerator = request.accelerator;
    let greets_within = Wait::Greeting.within(accelerator, request.slowdown);
    let answers_within = Wait::Answer.within(accelerator, request.slowdown);
    let greeted = async {
        let connected = match Monitor::connect(monitor, answers_within).await {
            Ok(connected) => connected,
            Err(error) => {
                // Usually because QEMU has ended, which the caller hears first and says better.
                tokio::time::sleep(ENDS_WITHIN).await;
                return Err(failed(error));
            }
        };
        progress.reached(milestones::QMP);
        if !connected.version.served() {
            return Err(StartError(format!(
                "QEMU is version {}, and the oldest that works is {}: upgrade it",
                connected.version,
                Version::OLDEST
            )));
        }
        let fact = if connected.monitor.kvm_enabled().await.map_err(failed)? {
            Accelerator::Kvm
        } else {
            Accelerator::Tcg
        };
        if fact != accelerator {
            return Err(StartError(format!(
                "QEMU runs on {fact}, though {accelerator} was asked for"
            )));
        }
        let machine_type = connected.monitor.machine_type().await.map_err(failed)?;
        let missing = match connected.monitor.missing_features().await {
            Ok(missing) => missing,
            // Only x86 has that property.
            Err(MonitorError::Refused { .. }) if required.is_empty() => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        let emulated = fact == Accelerator::Tcg;
        let adjustment = check_missing(&missing, required, emulated).map_err(failed)?;
        Ok(Greeted {
            connected,
            machine_type,
            adjustment,
        })
    };
    match tokio::time::timeout(greets_within, greeted).await {
        Ok(greeted) => greeted,
        Err(_) => Err(StartError(format!(
            "QEMU's monitor did not answer within {} s",
            greets_within.as_secs()
        ))),
    }
}
