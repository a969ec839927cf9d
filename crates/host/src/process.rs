//! Programs are started here and nowhere else, and known by an identity that cannot be mistaken
//! for a later process with the same number.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{PidfdFlags, WaitId, WaitIdOptions};
use tokio::io::AsyncReadExt as _;

use crate::descriptor;
use crate::identity::{self, Identity};
use crate::jail::{Jail, JailReport};
use crate::launch;

/// Where a standard stream of a program comes from or goes to.
#[derive(Debug, Default)]
pub enum Stream {
    /// `/dev/null`.
    #[default]
    Null,
    /// The same as ours.
    Inherit,
    /// This open file; our copy is closed after the start.
    File(OwnedFd),
}

/// A program that is to be started. Its environment starts empty, and of our open files it gets
/// only those handed over by name.
#[derive(Debug)]
pub struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: BTreeMap<OsString, OsString>,
    pub(crate) inherited: Vec<(OwnedFd, RawFd)>,
    pub(crate) new_session: bool,
    pub(crate) small_pages: bool,
    pub(crate) ignores_termination: bool,
    pub(crate) stdin: Stream,
    pub(crate) stdout: Stream,
    pub(crate) stderr: Stream,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) jail: Option<Jail>,
}

impl Program {
    /// A program by its absolute path (no search along `PATH`).
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            inherited: Vec::new(),
            new_session: false,
            small_pages: false,
            ignores_termination: false,
            stdin: Stream::Null,
            stdout: Stream::Null,
            stderr: Stream::Null,
            directory: None,
            jail: None,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Sets one variable of the program's environment.
    #[must_use]
    pub fn environment(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Hands `file` over, so that the program finds it at descriptor `number` (3 or more, each
    /// number once). Our copy is closed after the start.
    #[must_use]
    pub fn inherit(mut self, file: impl Into<OwnedFd>, number: RawFd) -> Self {
        self.inherited.push((file.into(), number));
        self
    }

    /// Starts the program as leader of a session of its own, so that it outlives us and gets no
    /// signal of our terminal.
    #[must_use]
    pub fn new_session(mut self) -> Self {
        self.new_session = true;
        self
    }

    /// Lets the kernel give the program no huge pages, whatever it asks for: each is filled with zeros and counts whole
    /// when its first byte is written.
    #[must_use]
    pub fn small_pages(mut self) -> Self {
        self.small_pages = true;
        self
    }

    /// Starts the program with SIGTERM blocked: a host that shuts down tells all processes at once to end, and this one
    /// must not before somebody else has done with it. SIGKILL ends it as ever.
    #[must_use]
    pub fn ignore_termination(mut self) -> Self {
        self.ignores_termination = true;
        self
    }

    /// Sets standard input (else `/dev/null`).
    #[must_use]
    pub fn stdin(mut self, stream: Stream) -> Self {
        self.stdin = stream;
        self
    }

    /// Sets standard output (else `/dev/null`).
    #[must_use]
    pub fn stdout(mut self, stream: Stream) -> Self {
        self.stdout = stream;
        self
    }

    /// Sets standard error (else `/dev/null`).
    #[must_use]
    pub fn stderr(mut self, stream: Stream) -> Self {
        self.stderr = stream;
        self
    }

    /// Sets the working directory (else `/`, so that a started program pins no file system).
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Takes rights away from the program before it runs its first instruction.
    #[must_use]
    pub fn jail(mut self, jail: Jail) -> Self {
        self.jail = Some(jail);
        self
    }

    /// Starts the program. Returns when the kernel has accepted to execute it (some milliseconds).
    ///
    /// # Errors
    /// [`SpawnError`] with the step that failed; nothing runs then.
    pub fn spawn(self) -> Result<Child, SpawnError> {
        launch::spawn(self)
    }

    /// Starts the program, waits for its end and returns what it printed. At most `limit` bytes
    /// of each stream are kept (the rest is read and dropped); after `deadline` it is killed.
    ///
    /// # Errors
    /// [`SpawnError`] if it cannot be started, its output not be read, or at the deadline.
    pub async fn output(mut self, deadline: Duration, limit: usize) -> Result<Output, SpawnError> {
        let path = self.path.clone();
        let failed = |step: &'static str| {
            let path = path.clone();
            move |source: io::Error| SpawnError { path, step, source }
        };
        let (stdout_reader, stdout_writer) = pipe().map_err(failed("make a pipe"))?;
        let (stderr_reader, stderr_writer) = pipe().map_err(failed("make a pipe"))?;
        self.stdout = Stream::File(stdout_writer);
        self.stderr = Stream::File(stderr_writer);
        let mut child = self.spawn()?;
        let run = async {
            let (stdout, stderr, ending) = tokio::join!(
                read_bounded(stdout_reader, limit),
                read_bounded(stderr_reader, limit),
                child.wait()
            );
            Ok::<_, io::Error>(Output {
                ending: ending?,
                stdout: stdout?,
                stderr: stderr?,
            })
        };
        match tokio::time::timeout(deadline, run).await {
            Ok(result) => result.map_err(failed("read its output")),
            Err(_) => {
                let late = io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("not finished after {} ms, killed", deadline.as_millis()),
                );
                child
                    .identity()
                    .signal(identity::Signal::Kill)
                    .map_err(failed("kill it after the deadline"))?;
                child.wait().await.map_err(failed("wait for its end"))?;
                Err(failed("wait for its end")(late))
            }
        }
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), writer.into()))
}

async fn read_bounded(reader: OwnedFd, limit: usize) -> io::Result<Vec<u8>> {
    let mut reader = tokio::net::unix::pipe::Receiver::from_owned_fd(reader)?;
    let mut kept = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = reader.read(&mut buffer).await?;
        if count == 0 {
            return Ok(kept);
        }
        let room = limit.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
}

/// What a program printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub ending: Ending,
    /// Standard output, cut at the limit.
    pub stdout: Vec<u8>,
    /// Standard error, cut at the limit.
    pub stderr: Vec<u8>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It called `exit` with this status.
    Exited(i32),
    /// This signal number ended it.
    Signalled(i32),
}

impl Ending {
    /// Whether it called `exit(0)`.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(status) => write!(formatter, "exit status {status}"),
            Self::Signalled(signal) => write!(formatter, "signal {signal}"),
        }
    }
}

/// A program could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {}: failed to {step}: {source}", path.display())]
pub struct SpawnError {
    /// The program.
    pub path: PathBuf,
    /// What failed, as a verb: "execute it", "change to its user" …
    pub step: &'static str,
    /// The kernel's answer.
    pub source: io::Error,
}

impl SpawnError {
    /// Whether the program's file does not exist.
    #[must_use]
    pub fn missing(&self) -> bool {
        self.step == launch::STEP_EXECUTE && self.source.kind() == io::ErrorKind::NotFound
    }
}

/// A started program. Dropping it neither ends the program nor waits for it: whoever starts a
/// program keeps waiting for it, else its entry in the process table stays until we end.
#[derive(Debug)]
pub struct Child {
    identity: Identity,
    pidfd: OwnedFd,
    report: JailReport,
    ending: Option<Ending>,
}

impl Child {
    pub(crate) fn new(identity: Identity, pidfd: OwnedFd, report: JailReport) -> Self {
        Self {
            identity,
            pidfd,
            report,
            ending: None,
        }
    }

    /// Who it is; outlives this value and this process.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Which parts of its jail hold.
    #[must_use]
    pub fn jail_report(&self) -> &JailReport {
        &self.report
    }

    /// Waits for its end. Safe to call again after a cancelled or finished wait.
    ///
    /// # Errors
    /// The kernel's answer, if it cannot be waited for.
    pub async fn wait(&mut self) -> io::Result<Ending> {
        if let Some(ending) = self.ending {
            return Ok(ending);
        }
        descriptor::readable(&self.pidfd).await?;
        let status = rustix::process::waitid(
            WaitId::PidFd(std::os::fd::AsFd::as_fd(&self.pidfd)),
            WaitIdOptions::EXITED,
        )?
        .ok_or_else(|| io::Error::other("the kernel reported an end, then no status"))?;
        let ending = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ending::Exited(code),
            (None, Some(signal)) => Ending::Signalled(signal),
            (None, None) => return Err(io::Error::other("neither status nor signal reported")),
        };
        self.ending = Some(ending);
        Ok(ending)
    }
}

/// Opens a pidfd for a process number.
pub(crate) fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a process number"))?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// The first of `candidates` that is a file we may execute.
#[must_use]
pub fn find_program(candidates: &[&Path]) -> Option<PathBuf> {
    candidates
        .iter()
        .find(|path| {
            path.is_file() && rustix::fs::access(**path, rustix::fs::Access::EXEC_OK).is_ok()
        })
        .map(|path| path.to_path_buf())
}
