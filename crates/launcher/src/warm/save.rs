//! Saves a machine: stops its guest, writes down its memory, the state of its devices and what is on its disks, all of
//! that instant, and lets the guest go on, or end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use api::launcher::saved::{self, HostDisk, Record, SavedNow, files as names};
use api::launcher::{ResolvedVolume, StartRequest, files};
use jiff::Timestamp;
use qemu::machine::Memory;
use qemu::qmp::{Command, MigrationState};
use qemu::version::Version;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::blueprint::{Blueprint, Source, lower_name};
use crate::files::Opened;
use crate::life::Refusal;
use crate::monitor::{Monitor, MonitorError};
use crate::start::Home;
use crate::warm::outgoing::{
    Outgoing, check_folder, copy_content, create, remove_files, run_again,
};
use crate::warm::rest::Pace;
use crate::warm::restore::patience;

/// Why nothing is saved, in a word.
pub(crate) const FAILED: &str = "SaveFailed";

/// What a guest is saved by, apart from what all guests have.
#[derive(Debug)]
pub(crate) struct Saveable {
    /// By their names among what is saved: the files of the machine's own, to which its guest may write.
    own: BTreeMap<String, PathBuf>,
    /// By their names among what is saved: what lies below those, and is nobody's image. They may have no name any more.
    lower: BTreeMap<String, File>,
    /// By volume name.
    host_disks: BTreeMap<String, PathBuf>,
    memory_bytes: u64,
    macs: Vec<String>,
    volumes: BTreeMap<String, String>,
    images: Vec<PathBuf>,
    /// Its memory is one that a template could be made of.
    template_shape: bool,
    /// It has the port of the hook that renews it.
    hook_port: bool,
    pace: Pace,
}

impl Saveable {
    /// That of a guest which is started so.
    ///
    /// # Errors
    /// If a file that was opened for it cannot be held.
    pub(crate) fn of(
        request: &StartRequest,
        blueprint: &Blueprint,
        opened: &[Opened],
        home: &Home,
    ) -> io::Result<Self> {
        let folder = home.directory.join(files::DISKS);
        let (mut own, mut lower) = (BTreeMap::new(), BTreeMap::new());
        // A volume's pieces follow each other: what is below its disk comes last before or right after it.
        let mut below = Vec::new();
        for piece in &blueprint.files {
            let name = match &piece.source {
                Source::NewDisk { volume, .. } => format!("{volume}{}", names::DISK_SUFFIX),
                Source::CloudInit { volume, .. } => format!("{volume}{}", names::CLOUD_INIT_SUFFIX),
                Source::FirmwareVariables(_) => names::EFI_VARIABLES.to_owned(),
                Source::SavedDisk { file, .. } => {
                    let name = file.path.file_name().unwrap_or_default();
                    name.to_string_lossy().into_owned()
                }
                Source::TemplateDisk { file, .. } => {
                    below.push((piece.number, file.path.clone()));
                    continue;
                }
                _ => continue,
            };
            own.insert(name.clone(), folder.join(&name));
        }
        for (number, path) in below {
            let opened = opened.iter().find(|opened| opened.number == number);
            if let Some(opened) = opened {
                lower.insert(lower_name(&path), opened.file.try_clone()?.into());
            }
        }
        let host_disks = request.volumes.iter();
        let host_disks = host_disks.filter_map(|(name, volume)| match volume {
            ResolvedVolume::HostDisk { path, .. } => Some((name.clone(), path.clone())),
            _ => None,
        });
        Ok(Self {
            own,
            lower,
            host_disks: host_disks.collect(),
            memory_bytes: blueprint.machine.memory_bytes,
            macs: request.interfaces.iter().map(|it| it.mac.clone()).collect(),
            volumes: volumes(request),
            images: images(request),
            template_shape: !matches!(blueprint.machine.memory, Memory::Own),
            hook_port: blueprint.machine.renewal.is_some(),
            pace: Pace::of(request, blueprint),
        })
    }

    /// That of the guest once it is the machine of `request`, in this home.
    pub(crate) fn adopted(self, request: &StartRequest, home: &Home) -> Self {
        let folder = home.directory.join(files::DISKS);
        let names = self.own.into_keys();
        Self {
            own: names
                .map(|name| (name.clone(), folder.join(name)))
                .collect(),
            macs: request.interfaces.iter().map(|it| it.mac.clone()).collect(),
            volumes: volumes(request),
            images: images(request),
            pace: Pace {
                slowdown: request.slowdown,
                ..self.pace
            },
            ..self
        }
    }

    /// What lies below the guest's own disks, by its names among what is saved.
    pub(crate) fn lower(&self) -> io::Result<BTreeMap<String, File>> {
        let lower = self.lower.iter();
        lower
            .map(|(name, file)| Ok((name.clone(), file.try_clone()?)))
            .collect()
    }

    /// All that may be written into the folder.
    fn names(&self) -> Vec<String> {
        let fixed = [names::STATE, names::RECORD].map(str::to_owned);
        let files = self.own.keys().chain(self.lower.keys()).cloned();
        fixed.into_iter().chain(files).collect()
    }

    /// What tells how long to wait for its guest.
    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }
}

/// What each of its volumes is made of.
pub(crate) fn volumes(request: &StartRequest) -> BTreeMap<String, String> {
    let volumes = request.volumes.iter();
    volumes
        .map(|(name, volume)| (name.clone(), saved::volume(volume)))
        .collect()
}

/// The files of images that lie below its disks.
fn images(request: &StartRequest) -> Vec<PathBuf> {
    let volumes = request.volumes.values();
    let disks = volumes.filter_map(|volume| match volume {
        ResolvedVolume::ContainerDisk { path, .. } => Some(path.clone()),
        _ => None,
    });
    let kernel = request.kernel.iter();
    let kernel = kernel.flat_map(|files| [Some(files.kernel.clone()), files.initrd.clone()]);
    disks.chain(kernel.flatten()).collect()
}

/// How a guest is to be saved.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// Where to.
    pub(crate) directory: PathBuf,
    /// It goes on.
    pub(crate) go_on: bool,
    /// Another machine is to go on from it.
    pub(crate) renewable: bool,
}

/// Whether a guest may be saved so at all.
///
/// # Errors
/// Why not.
pub(crate) fn check(saveable: &Saveable, manner: &Manner) -> Result<(), Refusal> {
    if manner.renewable && !saveable.hook_port {
        return Err(Refusal {
            reason: "NoHook",
            message: "the machine goes on since it was saved by an earlier anyvirt, and has no port for the program that makes it another machine: restart it".to_owned(),
        });
    }
    match saveable.host_disks.first_key_value() {
        Some((volume, path)) if manner.go_on || manner.renewable => Err(Refusal {
            reason: "HostDisk",
            message: format!(
                "volume `{volume}` is the file {} of the host, which is not among what is saved, and changes when the guest goes on: suspend the machine instead, or use another volume",
                path.display()
            ),
        }),
        _ => Ok(()),
    }
}

/// A guest that is being saved.
#[derive(Debug)]
pub(crate) struct Saving {
    /// What it is saved by.
    pub(crate) saveable: Saveable,
    /// How.
    pub(crate) manner: Manner,
    /// Its monitor.
    pub(crate) monitor: Monitor,
    /// Its QEMU.
    pub(crate) version: Version,
    /// Its machine type.
    pub(crate) machine_type: String,
    /// Its processors stand still already.
    pub(crate) paused: bool,
    /// A hook in it waits.
    pub(crate) hook: bool,
    /// It has come to rest once, since that hook is there.
    pub(crate) rested: bool,
    /// What QEMU tells of the state that it writes.
    pub(crate) migrations: mpsc::Receiver<MigrationState>,
}

/// How a save went.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What was saved, or why nothing was.
    pub(crate) result: Result<SavedNow, Refusal>,
    /// The guest stands still, though it was to go on.
    pub(crate) stands: bool,
}

/// What is left of it, for another try, and how it went.
pub(crate) type Done = (Saveable, Outcome);

fn failed(message: impl std::fmt::Display) -> Refusal {
    Refusal {
        reason: FAILED,
        message: message.to_string(),
    }
}

/// Another order is being done.
pub(crate) fn under_way() -> Refusal {
    Refusal {
        reason: "Saving",
        message: "the guest is being saved already".to_owned(),
    }
}

impl Saving {
    /// Saves it. It stands still afterwards if that succeeds and it is not to go on; else it is as it was before, and on
    /// failure the folder is empty.
    pub(crate) async fn save(mut self) -> Done {
        let mut stands = false;
        let result = self.try_save(&mut stands).await;
        (self.saveable, Outcome { result, stands })
    }

    async fn try_save(&mut self, stands: &mut bool) -> Result<SavedNow, Refusal> {
        check_folder(&self.manner.directory)?;
        let began = Instant::now();
        let at = Timestamp::now();
        let written = self.write_instant().await;
        let goes_on = self.manner.go_on || written.is_err();
        let resumed = if goes_on { self.go_on().await } else { Ok(()) };
        let stopped = began.elapsed();
        *stands = resumed.is_err();
        let saved = match (written, resumed) {
            (Ok(()), Ok(())) => self.write_rest(at).await,
            (Ok(()), Err(error)) => Err(failed(format_args!("the guest does not go on: {error}"))),
            (Err(refusal), Ok(())) => Err(refusal),
            (Err(refusal), Err(error)) => {
                // A QEMU that is gone cannot go on, and its owner hears of that elsewhere.
                tracing::warn!("the guest that could not be saved does not go on: {error}");
                Err(refusal)
            }
        };
        match saved {
            Ok(record) => Ok(SavedNow {
                at,
                stopped_milliseconds: goes_on
                    .then(|| u64::try_from(stopped.as_millis()).unwrap_or(u64::MAX)),
                disk_bytes: record.disk_bytes,
            }),
            Err(refusal) => {
                remove_files(&self.manner.directory, self.saveable.names());
                // What was written after the instant failed, e.g. for want of room.
                if !goes_on && let Err(error) = self.go_on().await {
                    *stands = true;
                    tracing::warn!("the guest that could not be saved does not go on: {error}");
                }
                Err(refusal)
            }
        }
    }

    /// Lets the guest be as it was before.
    async fn go_on(&self) -> Result<(), MonitorError> {
        run_again(&self.monitor, self.saveable.pace).await?;
        if self.paused {
            // A machine whose state was written is not paused, in QEMU's eyes, and could not be saved again: it was let
            // go for some microseconds.
            self.monitor.ask(Command::Stop).await?;
        }
        Ok(())
    }

    /// Stops the guest, and writes down what changes when it goes on.
    async fn write_instant(&mut self) -> Result<(), Refusal> {
        if !self.paused {
            let stopped = self.monitor.ask(Command::Stop).await;
            stopped.map(drop).map_err(failed)?;
        }
        self.write_state().await?;
        let (own, directory) = (self.saveable.own.clone(), self.manner.directory.clone());
        let keeps = self.manner.go_on;
        let written = tokio::task::spawn_blocking(move || {
            for (name, path) in own {
                let to = directory.join(&name);
                // A second name costs nothing, and the first goes with the machine's folder.
                if keeps || std::fs::hard_link(&path, &to).is_err() {
                    copy_content(&File::open(&path)?, &create(&to)?)?;
                }
            }
            Ok::<_, io::Error>(())
        });
        let written = written.await.map_err(failed)?;
        written.map_err(|error| failed(format_args!("the guest's disks cannot be saved: {error}")))
    }

    /// Writes what does not change any more, and makes all of it durable.
    async fn write_rest(&self, at: Timestamp) -> Result<Record, Refusal> {
        let mut lower = Vec::new();
        for (name, file) in &self.saveable.lower {
            lower.push((name.clone(), file.try_clone().map_err(failed)?));
        }
        let mut host_disks = BTreeMap::new();
        for (volume, path) in &self.saveable.host_disks {
            let found = std::fs::metadata(path).map_err(failed)?;
            host_disks.insert(volume.clone(), HostDisk::of(path.clone(), &found));
        }
        let files = self.saveable.own.keys().cloned();
        let files = files.chain(self.saveable.lower.keys().cloned());
        let mut record = Record {
            at,
            macs: self.saveable.macs.clone(),
            machine_type: self.machine_type.clone(),
            qemu_version: self.version.to_string(),
            memory_bytes: self.saveable.memory_bytes,
            template_shape: self.saveable.template_shape,
            hook_port: self.saveable.hook_port,
            hook: self.hook,
            renewable: self.hook && self.rested,
            paused: self.paused,
            accelerator: Some(self.saveable.pace.accelerator),
            volumes: self.saveable.volumes.clone(),
            images: self.saveable.images.clone(),
            host_disks,
            files: files.chain([names::STATE.to_owned()]).collect(),
            disk_bytes: 0,
        };
        let directory = self.manner.directory.clone();
        let written = tokio::task::spawn_blocking(move || {
            for (name, file) in lower {
                copy_content(&file, &create(&directory.join(name))?)?;
            }
            for name in &record.files {
                let file = File::open(directory.join(name))?;
                file.sync_all()?;
                record.disk_bytes += file.metadata()?.blocks() * 512;
            }
            let mut file = create(&directory.join(names::RECORD))?;
            file.write_all(&serde_json::to_vec(&record)?)?;
            file.sync_all()?;
            File::open(&directory)?.sync_all()?;
            Ok::<_, io::Error>(record)
        });
        let written = written.await.map_err(failed)?;
        written.map_err(|error| failed(format_args!("the guest cannot be saved: {error}")))
    }

    /// Lets QEMU write the guest's memory and the state of its devices. All of its disks is in their files afterwards.
    async fn write_state(&mut self) -> Result<(), Refusal> {
        let file = create(&self.manner.directory.join(names::STATE)).map_err(failed)?;
        let mut outgoing = Outgoing {
            monitor: &self.monitor,
            version: self.version,
            pace: self.saveable.pace,
            what: "the guest's memory",
            migrations: &mut self.migrations,
        };
        let settings = [Command::IncludeAllMemory, Command::UnboundMigration];
        let longer = patience(self.saveable.memory_bytes);
        let written = outgoing.write(file, &settings, longer).await;
        written.map_err(failed)
    }
}
