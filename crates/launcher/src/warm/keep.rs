//! Keeps a guest as a template: lets it come to rest, stops it, and writes down its memory, the state of its devices and
//! what it had written to its disks, all of that instant.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::launcher::warm::{Kept, files as names};
use api::launcher::{ResolvedVolume, StartRequest, files};
use qemu::qmp::{Command, MigrationState};
use qemu::version::Version;
use tokio::sync::mpsc;

use crate::blueprint::{Blueprint, Source};
use crate::files::Opened;
use crate::life::Refusal;
use crate::monitor::{Monitor, MonitorError};
use crate::start::Home;
use crate::warm::outgoing::{
    Outgoing, check_folder, copy_content, create, remove_files, run_again,
};
use crate::warm::rest::{Pace, Resting};

/// Why nothing is kept, in a word.
const FAILED: &str = "KeepFailed";

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
            remove_files(&self.directory, self.keepable.files());
            if let Err(error) = self.go_on().await {
                // A QEMU that is gone cannot go on, and its owner hears of that elsewhere.
                tracing::warn!("the guest that could not be kept does not go on: {error}");
            }
        }
        saved
    }

    /// Lets the guest run again.
    async fn go_on(&self) -> Result<(), MonitorError> {
        run_again(&self.monitor, self.keepable.pace).await?;
        let cards = 0..self.keepable.macs.len();
        let links = cards.map(|card| Command::SetLink { card, up: true });
        self.monitor.ask_all(links).await
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
        let file = create(&self.directory.join(names::STATE)).map_err(failed)?;
        let copy = file.try_clone().map_err(failed)?;
        let mut outgoing = Outgoing {
            monitor: &self.monitor,
            version: self.version,
            pace: self.keepable.pace,
            what: "the state of the guest's devices",
            migrations: &mut self.migrations,
        };
        let settings = [Command::LeaveOutSharedMemory];
        let written = outgoing.write(copy, &settings, Duration::ZERO).await;
        written.map(|()| file).map_err(failed)
    }
}

/// Copies all but what is zero, durably.
fn copy(from: &File, to: &Path) -> io::Result<()> {
    let to = create(to)?;
    copy_content(from, &to)?;
    to.sync_all()
}

impl Keepable {
    /// The names of all files that may be written of it.
    pub(crate) fn files(&self) -> Vec<String> {
        let disks = self.disks.keys();
        let disks = disks.map(|volume| format!("{volume}{}", names::DISK_SUFFIX));
        let own = [names::MEMORY, names::STATE, names::KEPT];
        own.map(str::to_owned).into_iter().chain(disks).collect()
    }
}
