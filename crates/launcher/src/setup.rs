//! All that a QEMU needs before it is spawned: what it is to be, its files, sockets and networks, and its jail.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::accelerator::Accelerator;
use api::launcher::warm::{WarmFailure, WarmStage, WarmStart};
use api::launcher::{Identity, StartRequest, files as names, milestones};
use host::lock::LifeLock;
use host::process::{Child, Program, find_program};
use jiff::Timestamp;
use qemu::architecture::Architecture;
use qemu::command_line::command_line;
use qemu::machine::Incoming;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::blueprint::{self, Blueprint, Piece, Socket, Source, Surroundings};
use crate::files::{self, Opened, Places};
use crate::networks::{self, Ends, NetworkEnded, Networks};
use crate::output::Output;
use crate::start::{Home, LaunchError, Progress, StartError, failed};
use crate::usage::Cable;
use crate::warm::keep::Keepable;
use crate::warm::save::Saveable;
use crate::warm::{resume, template};
use crate::{jail, kvm_failure};

/// Stands in the serial log between what a guest said before its restart and after it.
const RESTARTS: &str = "\r\n[anyvirt: the guest restarts]\r\n";

/// For what a QEMU is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner<'a> {
    /// For a machine.
    Start,
    /// For one that is not known yet: it has cards, and no networks.
    Standby,
    /// For a guest that went on from the template of this request and has restarted; what lies below its disks.
    Again(&'a StartRequest, &'a BTreeMap<String, File>),
}

impl Manner<'_> {
    /// What stands in the serial log before what the guest says, if that goes on with an earlier one.
    pub(crate) fn marks(self, request: &StartRequest) -> Option<String> {
        match self {
            Self::Again(..) => Some(RESTARTS.to_owned()),
            Self::Start | Self::Standby => request.stepped_down.as_ref().map(kvm_failure::marker),
        }
    }

    fn blueprint(
        self,
        request: &StartRequest,
        surroundings: Surroundings,
    ) -> Result<Blueprint, StartError> {
        let blueprint = match self {
            Self::Start | Self::Standby => blueprint::blueprint(request, surroundings),
            Self::Again(first, _) => {
                blueprint::blueprint(first, surroundings).map(Blueprint::again)
            }
        };
        blueprint.map_err(failed)
    }

    /// What lies below the guest's disks and is not opened by its path.
    fn lower(self) -> std::io::Result<BTreeMap<String, File>> {
        let Self::Again(_, lower) = self else {
            return Ok(BTreeMap::new());
        };
        let lower = lower.iter();
        lower
            .map(|(name, file)| Ok((name.clone(), file.try_clone()?)))
            .collect()
    }

    async fn networks(
        self,
        home: &Home,
        request: &StartRequest,
        blueprint: &Blueprint,
        user: Option<u32>,
    ) -> Result<(Networks, Ends), StartError> {
        match self {
            Self::Standby => networks::cards(blueprint),
            Self::Start | Self::Again(..) => {
                let networks = networks::start(home, request, blueprint, user).await?;
                Ok((networks, Ends::new()))
            }
        }
    }
}

/// Everything up to the program that is ready to be spawned.
pub(crate) struct Setup {
    pub(crate) program: Program,
    pub(crate) output: Output,
    pub(crate) sockets: Sockets,
    pub(crate) accelerator: Accelerator,
    /// Processor features without which the guest must not run: name and field of the VMI.
    pub(crate) required: Vec<(String, String)>,
    pub(crate) adjustments: Vec<String>,
    pub(crate) graphics: bool,
    pub(crate) networks: mpsc::Receiver<NetworkEnded>,
    pub(crate) cables: Vec<Cable>,
    pub(crate) keepable: Option<Keepable>,
    pub(crate) saveable: Saveable,
    /// The file with the template's state, if there is one.
    pub(crate) state: Option<Incoming>,
    /// What the networks say.
    pub(crate) outputs: Vec<Output>,
    /// Our ends of the cards, of a guest that stands by.
    pub(crate) ends: Ends,
    /// What it was made by.
    pub(crate) blueprint: Blueprint,
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
pub(crate) struct Sockets {
    pub(crate) monitor: UnixStream,
    pub(crate) serial: Option<UnixStream>,
    pub(crate) agent: Option<UnixStream>,
    pub(crate) firmware: Option<UnixStream>,
    pub(crate) renewal: Option<UnixStream>,
}

impl Sockets {
    /// That of the agent, and the rest.
    pub(crate) fn without_agent(mut self) -> (Option<UnixStream>, Self) {
        (self.agent.take(), self)
    }
}

/// Whether the guest can go on from where it is to go on from, as far as that tells.
fn check_origin(request: &StartRequest) -> Result<(), LaunchError> {
    if let Some(template) = template(request) {
        template::suits(template, request).map_err(|problem| WarmFailure {
            stage: WarmStage::Files,
            message: problem,
        })?;
    }
    if let Some(WarmStart::Resume(saved)) = &request.warm {
        resume::suits(saved, request)?;
    }
    Ok(())
}

/// What a blueprint depends on here.
pub(crate) fn surroundings(now: Timestamp) -> Surroundings {
    Surroundings {
        now,
        root: rustix::process::geteuid().is_root(),
        host: Architecture::of_machine(std::env::consts::ARCH),
    }
}

/// The number of the life-lock in QEMU.
fn lock_number(blueprint: &Blueprint) -> Result<RawFd, StartError> {
    let mut pieces = blueprint.files.iter();
    let piece = pieces.find(|piece| piece.source == Source::LifeLock);
    let piece = piece.ok_or_else(|| failed("the machine has no life-lock"))?;
    Ok(piece.number)
}

/// Opens all that a QEMU needs.
pub(crate) async fn set_up(
    home: &Home,
    request: &Arc<StartRequest>,
    progress: &Progress,
    manner: Manner<'_>,
) -> Result<Setup, LaunchError> {
    check_origin(request)?;
    let now = Timestamp::now();
    let surroundings = surroundings(now);
    let root = surroundings.root;
    let blueprint = manner.blueprint(request, surroundings)?;
    let guest = blueprint.machine.machine_type.architecture();
    let program = program(home, guest, surroundings.host)?;
    let arguments = command_line(&blueprint.machine).map_err(failed)?;
    // For whoever reads the pod's log; what a guest is set up with is on its disks, not here.
    tracing::info!(?program, ?arguments, "QEMU's command line");
    let holder = holder(home);
    let life =
        LifeLock::acquire(&home.directory.join(names::LIFE_LOCK), &holder).map_err(failed)?;
    let (qemu_user, network_user) = jail::users(&home.identity.uid);
    let lower = manner.lower().map_err(failed)?;
    let files = open_files((home, holder), request, &blueprint, (lower, now), progress);
    let networks = manner.networks(home, request, &blueprint, root.then_some(network_user));
    // Side by side: one waits for a file system, the other for a program.
    let (opened, (networks, ends)) = match tokio::join!(files, networks) {
        (Ok(opened), networks) => (opened, networks?),
        (Err(error), networks) => {
            if let Ok((networks, _)) = networks {
                networks::end(&networks.cables).await;
            }
            return Err(error);
        }
    };
    progress.reached(milestones::NETWORK);
    let Networks {
        files,
        ended: networks,
        cables,
        outputs,
    } = networks;
    let keepable = Keepable::of(request, &blueprint, &opened.files, home).map_err(failed)?;
    let saveable = Saveable::of(request, &blueprint, &opened.files, home).map_err(failed)?;
    let (mut inherited, sockets) = open_sockets(home, &blueprint.files).await?;
    inherited.extend(opened.files);
    inherited.extend(files);
    inherited.push(Opened {
        number: lock_number(&blueprint)?,
        file: life.into_descriptor(),
    });

    let (output, stderr) =
        Output::to_file(&home.directory.join(names::QEMU_LOG)).map_err(failed)?;
    let user = root.then_some(qemu_user);
    let jail = jail::jail(&program, request.accelerator, user, opened.readable);
    let mut program = Program::new(program)
        .arguments(arguments)
        .new_session()
        .stderr(stderr)
        .jail(jail);
    if template(request).is_some() {
        // To fill huge pages of its translation cache with zeros takes QEMU longer than to use them for this one's few
        // pages would save.
        program = program.small_pages();
    }
    if request.save_on_leaving.is_some() {
        // Its launcher saves the guest first, and then tells it to end.
        program = program.ignore_termination();
    }
    let inherit = |program: Program, it: Opened| program.inherit(it.file, it.number);
    let program = inherited.into_iter().fold(program, inherit);
    Ok(Setup {
        program,
        output,
        sockets,
        accelerator: request.accelerator,
        required: blueprint.required.clone(),
        adjustments: blueprint.adjustments.clone(),
        graphics: blueprint.machine.graphics,
        networks,
        cables,
        keepable,
        saveable,
        state: blueprint.machine.incoming,
        outputs,
        ends,
        blueprint,
    })
}

pub(crate) fn holder(home: &Home) -> String {
    let Identity {
        namespace,
        name,
        uid,
        ..
    } = &home.identity;
    format!("VirtualMachineInstance {namespace}/{name} ({uid})")
}

/// Spawns a QEMU that is set up.
pub(crate) fn spawn(program: Program) -> Result<Child, StartError> {
    let qemu = program.spawn().map_err(failed)?;
    for missing in &qemu.jail_report().missing {
        tracing::warn!("QEMU's jail is incomplete: {missing}");
    }
    Ok(qemu)
}

async fn open_files(
    (home, holder): (&Home, String),
    request: &Arc<StartRequest>,
    blueprint: &Blueprint,
    (lower, now): (BTreeMap<String, File>, Timestamp),
    progress: &Progress,
) -> Result<files::OpenedFiles, LaunchError> {
    let disks = home.directory.join(names::DISKS);
    // The directory is <data>/machines/<uid>, so all machines of this installation share this.
    let locks = home.directory.join("../../locks");
    host::socket::private_directory(&disks).map_err(failed)?;
    let (pieces, request) = (blueprint.files.clone(), Arc::clone(request));
    // A disk may be on a file system that takes its time.
    let opened = tokio::task::spawn_blocking(move || {
        let places = Places {
            disks: &disks,
            locks: &locks,
            holder: &holder,
            lower: &lower,
        };
        files::open(&pieces, &request, places, now)
    })
    .await
    .map_err(failed)?;
    progress.reached(milestones::DISKS);
    Ok(opened?)
}

async fn open_sockets(home: &Home, pieces: &[Piece]) -> Result<(Vec<Opened>, Sockets), StartError> {
    let mut inherited = Vec::new();
    let (mut monitor, mut serial, mut agent) = (None, None, None);
    let (mut firmware, mut renewal) = (None, None);
    for piece in pieces {
        let Source::Socket(socket) = piece.source else {
            continue;
        };
        let (name, ours) = match socket {
            Socket::Monitor => ("qmp.sock", &mut monitor),
            Socket::Serial => ("serial.sock", &mut serial),
            Socket::Agent => ("agent.sock", &mut agent),
            Socket::Firmware => ("firmware.sock", &mut firmware),
            Socket::Renewal => ("renewal.sock", &mut renewal),
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
            renewal,
        },
    ))
}
