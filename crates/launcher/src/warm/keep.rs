//! Keeps a guest as a template: lets it come to rest, stops it, and writes down its memory, the state of its devices and
//! what it had written to its disks, all of that instant.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::launcher::warm::{Kept, files as names};
use api::launcher::{ResolvedVolume, StartRequest, files};
use api::scaling::Wait;
use qemu::qmp::{Command, MigrationState, StateFile};
use qemu::version::Version;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::blueprint::{Blueprint, Source};
use crate::files::Opened;
use crate::life::Refusal;
use crate::monitor::{Monitor, MonitorError};
use crate::start::Home;
use crate::warm::rest::{Pace, Resting};
use crate::warm::restore::migration_failure;

/// Between two questions whether QEMU has come to the end of a migration.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// Why nothing is kept, in a word.
const FAILED: &str = "KeepFailed";
/// The name of the state's file in QEMU.
const STATE: &str = "state";

/// What a guest is kept by, apart from what all guests have.
#[derive(Debug)]
pub(crate) struct Keepable {
    memory: File,
    memory_bytes: u64,
    /// The new disks, by the names of their volumes.
    disks: BTreeMap<String, PathBuf>,
    macs: Vec<String>,
    pace: Pace,
}

impl Keepable {
    /// That of a guest which is started so that it can be kept; none for others.
    ///
    /// # Errors
    /// If the files that were opened for it cannot be held.
    pub(crate) fn of(
        request: &StartRequest,
        blueprint: &Blueprint,
        opened: &[Opened],
        home: &Home,
    ) -> io::Result<Option<Self>> {
        let memory = blueprint.files.iter().find_map(|piece| match piece.source {
            Source::Memory { bytes } => Some((piece.number, bytes)),
            _ => None,
        });
        let Some((number, memory_bytes)) = memory else {
            return Ok(None);
        };
        let Some(memory) = opened.iter().find(|opened| opened.number == number) else {
            return Ok(None);
        };
        let folder = home.directory.join(files::DISKS);
        let disks = blueprint
            .files
            .iter()
            .filter_map(|piece| match &piece.source {
                Source::NewDisk { volume, .. } => {
                    Some((volume.clone(), folder.join(format!("{volume}.qcow2"))))
                }
                _ => None,
            });
        Ok(Some(Self {
            memory: memory.file.try_clone()?.into(),
            memory_bytes,
            disks: disks.collect(),
            macs: request.interfaces.iter().map(|it| it.mac.clone()).collect(),
            pace: Pace::of(request, blueprint),
        }))
    }

    /// What tells how long to wait for its guest.
    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }
}

/// Whether a guest started by this request may be kept at all.
///
/// # Errors
/// Why not.
pub(crate) fn check(request: &StartRequest) -> Result<(), Refusal> {
    let host_disk = request
        .volumes
        .iter()
        .find(|(_, volume)| matches!(volume, ResolvedVolume::HostDisk { .. }));
    match host_disk {
        None => Ok(()),
        Some((name, _)) => Err(Refusal {
            reason: "NotKeepable",
            message: format!(
                "volume `{name}` is a host disk, which others change: its guest cannot be kept"
            ),
        }),
    }
}

/// A guest that is being kept.
#[derive(Debug)]
pub(crate) struct Keeping {
    /// What it is kept by.
    pub(crate) keepable: Keepable,
    /// Where to.
    pub(crate) directory: PathBuf,
    /// Its monitor.
    pub(crate) monitor: Monitor,
    /// Its QEMU.
    pub(crate) version: Version,
    /// Its machine type.
    pub(crate) machine_type: String,
    /// Has it come to rest.
    pub(crate) resting: Resting,
    /// What QEMU tells of the state that it writes.
    pub(crate) migrations: mpsc::Receiver<MigrationState>,
}

/// What is left of it, for another try, and how it went.
pub(crate) type Done = (Keepable, Result<(), Refusal>);

fn failed(message: impl std::fmt::Display) -> Refusal {
    Refusal {
        reason: FAILED,
        message: message.to_string(),
    }
}

impl Keeping {
    /// Keeps it. Stopped it stays if that succeeds; else it runs on, and the folder is empty.
    pub(crate) async fn keep(mut self) -> Done {
        let result = self.try_keep().await;
        (self.keepable, result)
    }

    async fn try_keep(&mut self) -> Result<(), Refusal> {
        check_folder(&self.directory)?;
        let rested = self.resting.rest().await;
        let hook = rested.map_err(|why| why.refusal(FAILED))?.to_owned();
        let kept = Kept {
            macs: self.keepable.macs.clone(),
            machine_type: self.machine_type.clone(),
            qemu_version: self.version.to_string(),
            memory_bytes: self.keepable.memory_bytes,
            hook,
        };
        let saved = self.save(&kept).await;
        if saved.is_err() {
            remove_files(&self.directory, self.keepable.disks.keys());
            if let Err(error) = self.go_on().await {
                // A QEMU that is gone cannot go on, and its owner hears of that elsewhere.
                tracing::warn!("the guest that could not be kept does not go on: {error}");
            }
        }
        saved
    }

    /// Lets the guest run again.
    async fn go_on(&self) -> Result<(), MonitorError> {
        let until = Instant::now() + self.keepable.pace.within(Wait::Migration);
        // QEMU says that a migration is complete before it has come to its end ("Migration is not finalized yet"),
        // and nothing of when it has.
        while let Err(error) = self.monitor.ask(Command::Cont).await {
            if !matches!(error, MonitorError::Refused { .. }) || Instant::now() >= until {
                return Err(error);
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
        let cards = 0..self.keepable.macs.len();
        let links = cards.map(|card| Command::SetLink { card, up: true });
        self.monitor.ask_all(links).await
    }

    async fn ask(&self, command: Command) -> Result<(), Refusal> {
        self.monitor.ask(command).await.map(drop).map_err(failed)
    }

    /// Stops the guest and writes everything down, durably.
    async fn save(&mut self, kept: &Kept) -> Result<(), Refusal> {
        // What goes on from here begins without a network, and is plugged in when it is somebody.
        let cards = 0..self.keepable.macs.len();
        let links = cards.map(|card| Command::SetLink { card, up: false });
        let stopped = self.monitor.ask_all(links.chain([Command::Stop])).await;
        stopped.map_err(failed)?;
        let state = self.save_state().await?;
        let memory = self.keepable.memory.try_clone().map_err(failed)?;
        let (disks, directory) = (self.keepable.disks.clone(), self.directory.clone());
        let kept = serde_json::to_vec(kept).map_err(failed)?;
        let written = tokio::task::spawn_blocking(move || {
            state.sync_all()?;
            copy(&memory, &directory.join(names::MEMORY))?;
            for (volume, disk) in disks {
                let to = directory.join(format!("{volume}{}", names::DISK_SUFFIX));
                copy(&File::open(disk)?, &to)?;
            }
            let mut file = create(&directory.join(names::KEPT))?;
            file.write_all(&kept)?;
            file.sync_all()?;
            File::open(&directory)?.sync_all()
        });
        written
            .await
            .map_err(failed)?
            .map_err(|error| failed(format_args!("the guest cannot be written down: {error}")))
    }

    /// Lets QEMU write the state of the guest's devices. All of its disks is in their files afterwards.
    async fn save_state(&mut self) -> Result<File, Refusal> {
        let path = self.directory.join(names::STATE);
        let file = create(&path).map_err(failed)?;
        let copy = file.try_clone().map_err(failed)?.into();
        self.ask(Command::LeaveOutSharedMemory).await?;
        let to = if self.version >= StateFile::SETS_SINCE {
            let add = self
                .monitor
                .ask_with(Command::AddDescriptor, Some(copy))
                .await;
            let set = add.map_err(failed)?;
            let set = Command::descriptor_set(&set);
            StateFile::Set(set.ok_or_else(|| failed(MonitorError::Answer("add-fd")))?)
        } else {
            let name = STATE.to_owned();
            let take = Command::TakeDescriptor { name: name.clone() };
            let taken = self.monitor.ask_with(take, Some(copy)).await;
            taken.map_err(failed)?;
            StateFile::Descriptor(name)
        };
        self.ask(Command::Migrate(to)).await?;
        let within = self.keepable.pace.within(Wait::Migration);
        let ended = async {
            loop {
                match self.migrations.recv().await {
                    Some(MigrationState::UnderWay) => {}
                    ended => return ended,
                }
            }
        };
        match tokio::time::timeout(within, ended).await {
            Ok(Some(MigrationState::Completed)) => Ok(file),
            Ok(Some(_)) => Err(failed(migration_failure(&self.monitor).await)),
            Ok(None) => Err(failed(MonitorError::Closed)),
            Err(_) => Err(failed(format_args!(
                "QEMU has not written the guest's state within {} s",
                within.as_secs()
            ))),
        }
    }
}

/// The folder is there, is nobody else's, and nothing is in it.
fn check_folder(directory: &Path) -> Result<(), Refusal> {
    let wrong = |problem: String| Refusal {
        reason: "WrongFolder",
        message: format!(
            "a guest is kept in an empty folder: {}: {problem}",
            directory.display()
        ),
    };
    let mut entries = std::fs::read_dir(directory).map_err(|error| wrong(error.to_string()))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(wrong("it is not empty".to_owned())),
    }
}

/// A new file for nobody else's eyes.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Copies all but what is zero, durably.
fn copy(from: &File, to: &Path) -> io::Result<()> {
    let to = create(to)?;
    host::memory::copy_data(from, &to, |_, _| Ok(()))?;
    to.sync_all()
}

/// Removes what was written of a guest with these volumes.
pub(crate) fn remove_files<'a>(directory: &Path, volumes: impl IntoIterator<Item = &'a String>) {
    let disks = volumes
        .into_iter()
        .map(|volume| format!("{volume}{}", names::DISK_SUFFIX));
    let own = [names::MEMORY, names::STATE, names::KEPT];
    for name in own.map(str::to_owned).into_iter().chain(disks) {
        match std::fs::remove_file(directory.join(&name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("cannot remove {name}: {error}"),
        }
    }
}

impl Keepable {
    /// The volumes to which the guest writes.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = &String> {
        self.disks.keys()
    }
}
