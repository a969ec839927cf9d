//! What is written of a guest that is kept or saved: by QEMU, and the files beside that.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use api::scaling::Wait;
use qemu::qmp::{Command, MigrationState, StateFile};
use qemu::version::Version;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::life::Refusal;
use crate::monitor::{Monitor, MonitorError};
use crate::warm::rest::Pace;
use crate::warm::restore::migration_failure;

/// Between two questions whether QEMU has come to the end of a migration.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// The name of the file in QEMU.
const NAME: &str = "outgoing";

/// A stopped guest, of which QEMU is to write something.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    /// Its monitor.
    pub(crate) monitor: &'a Monitor,
    /// Its QEMU.
    pub(crate) version: Version,
    /// How long to wait for it.
    pub(crate) pace: Pace,
    /// What is written, in words: `the guest's memory`.
    pub(crate) what: &'static str,
    /// What QEMU tells of it.
    pub(crate) migrations: &'a mut mpsc::Receiver<MigrationState>,
}

impl Outgoing<'_> {
    /// Lets QEMU write into `file`, after these `settings`; it may take so much longer than [`Wait::Migration`]. All of
    /// the guest's disks is in their files afterwards.
    ///
    /// # Errors
    /// A sentence: why it is not written. QEMU writes no more then.
    pub(crate) async fn write(
        &mut self,
        file: File,
        settings: &[Command],
        longer: Duration,
    ) -> Result<(), String> {
        let words = |error: MonitorError| error.to_string();
        let settings = self.monitor.ask_all(settings.iter().cloned()).await;
        settings.map_err(words)?;
        let to = self.hand_over(file).await.map_err(words)?;
        let begun = self.monitor.ask(Command::Migrate(to)).await;
        begun.map_err(words)?;
        let within = self.pace.within(Wait::Migration) + longer;
        match self.ended(within).await {
            Some(Some(MigrationState::Completed)) => Ok(()),
            Some(Some(_)) => Err(format!(
                "QEMU cannot write {}: {}",
                self.what,
                migration_failure(self.monitor).await
            )),
            Some(None) => Err(words(MonitorError::Closed)),
            None => {
                self.give_up().await;
                Err(format!(
                    "QEMU has not written {} within {} s",
                    self.what,
                    within.as_secs()
                ))
            }
        }
    }

    /// Gives QEMU the file.
    async fn hand_over(&self, file: File) -> Result<StateFile, MonitorError> {
        let file = Some(file.into());
        if self.version >= StateFile::SETS_SINCE {
            let added = self.monitor.ask_with(Command::AddDescriptor, file).await?;
            let set = Command::descriptor_set(&added);
            return Ok(StateFile::Set(set.ok_or(MonitorError::Answer("add-fd"))?));
        }
        let name = NAME.to_owned();
        let take = Command::TakeDescriptor { name: name.clone() };
        self.monitor.ask_with(take, file).await?;
        Ok(StateFile::Descriptor(name))
    }

    /// How the migration has ended; none if it has not, within this time.
    async fn ended(&mut self, within: Duration) -> Option<Option<MigrationState>> {
        let ended = async {
            loop {
                match self.migrations.recv().await {
                    Some(MigrationState::UnderWay) => {}
                    ended => return ended,
                }
            }
        };
        tokio::time::timeout(within, ended).await.ok()
    }

    /// Lets QEMU give up a migration that takes too long: it would fill a file that has no name any more, and stop the
    /// guest again at its end.
    async fn give_up(&mut self) {
        let within = self.pace.within(Wait::Migration);
        let told = self.monitor.ask(Command::CancelMigration).await;
        match (told, self.ended(within).await) {
            (Ok(_), Some(_)) => {}
            (told, ended) => tracing::error!(
                "QEMU does not give up what it writes: {:?}, {ended:?}",
                told.err()
            ),
        }
    }
}

/// Lets a guest run again of which something was written, or was to be.
///
/// # Errors
/// QEMU's, if it does not.
pub(crate) async fn run_again(monitor: &Monitor, pace: Pace) -> Result<(), MonitorError> {
    let until = Instant::now() + pace.within(Wait::Migration);
    // QEMU says that a migration is complete before it has come to its end ("Migration is not finalized yet"),
    // and nothing of when it has.
    while let Err(error) = monitor.ask(Command::Cont).await {
        if !matches!(error, MonitorError::Refused { .. }) || Instant::now() >= until {
            return Err(error);
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
    Ok(())
}

/// The folder is there, is nobody else's, and nothing is in it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_folder(directory: &Path) -> Result<(), Refusal> {
    let wrong = |problem: String| Refusal {
        reason: "WrongFolder",
        message: format!(
            "a guest is written down in an empty folder: {}: {problem}",
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
///
/// # Errors
/// As the file system has them; also if it is there already.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Makes `to`, which is new, have the content of `from`: without copying it where the file system can share it, else all
/// but what is zero.
///
/// # Errors
/// As the file systems have them.
pub(crate) fn copy_content(from: &File, to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    host::memory::copy_data(from, to, |_, _| Ok(())).map(drop)
}

/// Removes what was written of a guest, as far as it is there.
pub(crate) fn remove_files(directory: &Path, names: impl IntoIterator<Item = impl AsRef<Path>>) {
    for name in names {
        let path = directory.join(name);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("cannot remove {}: {error}", path.display()),
        }
    }
}
