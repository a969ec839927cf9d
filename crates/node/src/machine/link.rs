//! The connection to one machine's launcher: started, watched, found again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::launcher::{LOG_FILTER, Request, Status, files};
use host::changes::Changes;
use host::lock::LifeLock;
use host::process::{Ending, Program, SpawnError, Stream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::decide::LauncherSeen;
use super::record::{LAUNCHER_LOCK, read_exit};
use crate::launcher::{self, LauncherError};

/// A launcher makes its socket within milliseconds; a host so busy that it takes longer than this
/// has other troubles.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// A launcher did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("the launcher ended at once ({ending}): {log}")]
    Ended { ending: Ending, log: String },
    #[error("the launcher made no socket within {} s", START_DEADLINE.as_secs())]
    Silent,
    #[error("cannot prepare the launcher: {0}")]
    Io(#[from] io::Error),
}

/// Watches one launcher.
#[derive(Debug)]
pub(crate) struct Link {
    directory: PathBuf,
    changed: Arc<Notify>,
    watching: Option<(watch::Receiver<Option<Status>>, JoinHandle<()>)>,
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.watching {
            task.abort();
        }
    }
}

impl Link {
    /// A link to the launcher in `directory`; `changed` is told of each of its changes.
    pub(crate) fn new(directory: PathBuf, changed: Arc<Notify>) -> Self {
        Self {
            directory,
            changed,
            watching: None,
        }
    }

    /// How the launcher stands now.
    pub(crate) async fn look(&mut self) -> io::Result<LauncherSeen> {
        if let Some((status, _)) = &self.watching {
            if let Some(status) = status.borrow().clone() {
                return Ok(LauncherSeen::Answers(Box::new(status)));
            }
            // The connection ended.
            self.watching = None;
        }
        if !self.lives().await? {
            return self.absent().await;
        }
        match launcher::ask(&self.directory, &Request::Watch).await {
            Ok((status, connection)) => {
                self.watch(status.clone(), connection);
                Ok(LauncherSeen::Answers(Box::new(status)))
            }
            Err(LauncherError::Absent(_)) => Ok(LauncherSeen::Silent),
            Err(error) => {
                tracing::warn!(directory = %self.directory.display(), %error, "launcher");
                Ok(LauncherSeen::Silent)
            }
        }
    }

    /// Asks the launcher.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Status, LauncherError> {
        launcher::ask(&self.directory, request)
            .await
            .map(|(status, _)| status)
    }

    /// As [`Link::ask`], of what takes a launcher longer.
    pub(crate) async fn ask_within(
        &self,
        request: &Request,
        patience: Duration,
    ) -> Result<Status, LauncherError> {
        launcher::ask_within(&self.directory, request, patience)
            .await
            .map(|(status, _)| status)
    }

    /// Starts the launcher, and returns when it answers.
    pub(crate) async fn start(&mut self, program: &Path) -> Result<(), StartError> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.join(files::LOG))?;
        let mut program = Program::new(program)
            .argument("launcher")
            .argument("--directory")
            .argument(&self.directory)
            .environment("PATH", "/usr/bin:/bin")
            .new_session()
            .stdout(Stream::File(log.try_clone()?.into()))
            .stderr(Stream::File(log.into()));
        if let Some(filter) = std::env::var_os(LOG_FILTER) {
            program = program.environment(LOG_FILTER, filter);
        }
        // Watched before the start, so that its socket is not missed.
        let changes = Changes::of_entries(&self.directory)?;
        let mut child = program.spawn()?;
        let changed = Arc::clone(&self.changed);
        // Somebody has to wait for it, else it stays in the process table until we end.
        let mut ended = tokio::spawn(async move {
            let ending = child.wait().await;
            changed.notify_one();
            ending
        });
        let answers = wait_until_it_answers(&self.directory, changes);
        let answered = tokio::select! {
            answered = tokio::time::timeout(START_DEADLINE, answers) => answered,
            ending = &mut ended => {
                let ending = ending.map_err(io::Error::other)??;
                return Err(StartError::Ended { ending, log: last_line(&self.directory) });
            }
        };
        let (status, connection) = answered.map_err(|_| StartError::Silent)??;
        self.watch(status, connection);
        Ok(())
    }

    fn watch(&mut self, status: Status, mut connection: launcher::Connection) {
        let (sender, receiver) = watch::channel(Some(status));
        let changed = Arc::clone(&self.changed);
        let task = tokio::spawn(async move {
            loop {
                let next = launcher::next_status(&mut connection).await.ok();
                let ended = next.is_none();
                sender.send_replace(next);
                changed.notify_one();
                if ended {
                    return;
                }
            }
        });
        self.watching = Some((receiver, task));
    }

    /// Whether the launcher lives.
    pub(crate) async fn lives(&self) -> io::Result<bool> {
        is_held(self.directory.join(LAUNCHER_LOCK)).await
    }

    async fn absent(&self) -> io::Result<LauncherSeen> {
        let orphan = is_held(self.directory.join(files::LIFE_LOCK)).await?;
        // Its socket is gone when it ended well; the file of its lock stays.
        let was_started = self.directory.join(LAUNCHER_LOCK).exists();
        let exit = read_exit(&self.directory).unwrap_or_else(|error| {
            tracing::warn!(%error, "how the guest ended cannot be read");
            None
        });
        Ok(LauncherSeen::Absent {
            was_started,
            exit,
            orphan,
        })
    }
}

async fn is_held(path: PathBuf) -> io::Result<bool> {
    let looked = tokio::task::spawn_blocking(move || LifeLock::holder(&path));
    let holder = looked
        .await
        .map_err(io::Error::other)?
        .map_err(io::Error::other)?;
    Ok(holder.is_some())
}

async fn wait_until_it_answers(
    directory: &Path,
    mut changes: Changes,
) -> io::Result<(Status, launcher::Connection)> {
    loop {
        match launcher::ask(directory, &Request::Watch).await {
            Ok(answer) => return Ok(answer),
            // No socket yet, or nobody listens on it yet.
            Err(LauncherError::Absent(_)) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        changes.next().await?;
    }
}

/// The last line of the launcher's log, which says why it ended.
fn last_line(directory: &Path) -> String {
    let log = std::fs::read(directory.join(files::LOG)).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let line = log
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it logged nothing");
    line.chars().take(500).collect()
}

/// Kills the QEMU that outlived the launcher in `directory`, and waits for its end.
pub(crate) async fn kill_orphan(directory: &Path) -> io::Result<()> {
    let path = directory.join(files::LIFE_LOCK);
    let openers = tokio::task::spawn_blocking(move || host::lock::openers(&path));
    for process in openers.await.map_err(io::Error::other)?? {
        tracing::warn!(pid = process.pid, directory = %directory.display(),
            "killing a QEMU whose launcher is gone");
        process.signal(host::identity::Signal::Kill)?;
        process.ended().await?;
    }
    Ok(())
}
