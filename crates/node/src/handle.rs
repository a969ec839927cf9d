//! What the API's routes need of this machine: streams and logs. Stateless: it looks at the folders.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::launcher::{LARGEST_SCREENSHOT_BYTES, Request, Status, files};
use api::names::containers;
use tokio::io::AsyncReadExt as _;

use crate::launcher::{self, Connection, LauncherError};
use crate::log::{self, LogError, LogOptions, LogStream};
use crate::machine::Record;

/// A picture comes from memory over a local socket.
const PICTURE_PATIENCE: Duration = Duration::from_secs(10);

/// The folder of machines in a data directory.
pub(crate) const MACHINES: &str = "machines";

/// Access to the machines of a data directory, whether or not the agent runs.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    machines: PathBuf,
}

/// How a client of a screen comes to those who are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewing {
    /// In their place: their connections are closed.
    TakesOver,
    /// Only if nobody is there.
    UnlessInUse,
    /// Beside them.
    Shares,
}

/// A machine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// It is not on this node.
    #[error("no virtual machine with UID {0} runs on this node")]
    NotHere(String),
    /// Its launcher refused, e.g. because the guest does not run.
    #[error("{message}")]
    Refused {
        /// One word for programs.
        reason: String,
        /// A sentence for people.
        message: String,
    },
    /// Its launcher cannot be talked to.
    #[error("the launcher of the virtual machine does not answer: {0}")]
    Unreachable(#[source] io::Error),
}

impl NodeHandle {
    /// The machines of `data_directory`.
    #[must_use]
    pub fn new(data_directory: &Path) -> Self {
        Self {
            machines: data_directory.join(MACHINES),
        }
    }

    /// The guest's serial console, as raw bytes in both directions. An earlier client is closed.
    ///
    /// # Errors
    /// [`HandleError`].
    pub async fn open_console(&self, uid: &str) -> Result<Connection, HandleError> {
        Ok(self.ask(uid, &Request::Console).await?.1)
    }

    /// The guest's screen: the RFB protocol in both directions, for who comes in this manner.
    ///
    /// # Errors
    /// [`HandleError`]; among its reasons are `InUse` and `TooManyViewers`.
    pub async fn open_vnc(&self, uid: &str, manner: Viewing) -> Result<Connection, HandleError> {
        let request = match manner {
            Viewing::TakesOver => Request::Vnc,
            Viewing::UnlessInUse => Request::VncUnlessInUse,
            Viewing::Shares => Request::VncShared,
        };
        Ok(self.ask(uid, &request).await?.1)
    }

    /// What the guest's screen shows, as PNG of at most [`LARGEST_SCREENSHOT_BYTES`]. With `move_pointer` its pointer
    /// is moved first, which wakes a screen that sleeps.
    ///
    /// # Errors
    /// [`HandleError`].
    pub async fn screenshot(&self, uid: &str, move_pointer: bool) -> Result<Vec<u8>, HandleError> {
        let (_, mut connection) = self.ask(uid, &Request::Screenshot { move_pointer }).await?;
        let mut picture = Vec::new();
        let most = LARGEST_SCREENSHOT_BYTES as u64;
        let mut limited = (&mut connection).take(most);
        let read = limited.read_to_end(&mut picture);
        let read = tokio::time::timeout(PICTURE_PATIENCE, read).await;
        read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
            .and_then(|read| read)
            .map_err(HandleError::Unreachable)?;
        // PNG's last chunk: a launcher that ended in the middle leaves half a picture.
        if !picture.ends_with(b"IEND\xae\x42\x60\x82") {
            let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "the picture is cut off");
            return Err(HandleError::Unreachable(cut));
        }
        Ok(picture)
    }

    /// What the guest of `uid` wrote to its serial console, from its first byte.
    ///
    /// # Errors
    /// [`LogError`] if it has not started here, or the options are not served.
    pub async fn serial_log(&self, uid: &str, options: LogOptions) -> Result<LogStream, LogError> {
        // Told at once, also of a log that is not there yet.
        options.served()?;
        let directory = self
            .directory(uid)
            .ok_or_else(|| LogError::NoPod(uid.to_owned()))?;
        log::open(&directory, containers::GUEST_CONSOLE_LOG, options).await
    }

    /// Stops the guest's processors, keeping its memory.
    ///
    /// # Errors
    /// [`HandleError`].
    pub async fn pause(&self, uid: &str) -> Result<Status, HandleError> {
        Ok(self.ask(uid, &Request::Pause).await?.0)
    }

    /// Lets the guest's processors run again.
    ///
    /// # Errors
    /// [`HandleError`].
    pub async fn unpause(&self, uid: &str) -> Result<Status, HandleError> {
        Ok(self.ask(uid, &Request::Unpause).await?.0)
    }

    /// How a machine stands, as its launcher says.
    ///
    /// # Errors
    /// [`HandleError`].
    pub async fn status(&self, uid: &str) -> Result<Status, HandleError> {
        Ok(self.ask(uid, &Request::Status).await?.0)
    }

    /// The log of a container of a launcher pod, from its oldest byte: `compute` is the launcher's
    /// and QEMU's, `guest-console-log` is what the guest wrote to its serial console.
    ///
    /// # Errors
    /// [`LogError`] if there is no such pod or container here.
    pub async fn pod_log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        options: LogOptions,
    ) -> Result<LogStream, LogError> {
        let machines = self.machines.clone();
        let (wanted_namespace, wanted_pod) = (namespace.to_owned(), pod.to_owned());
        let found = tokio::task::spawn_blocking(move || {
            find_pod(&machines, &wanted_namespace, &wanted_pod)
        });
        let directory = found
            .await
            .map_err(io::Error::other)??
            .ok_or_else(|| LogError::NoPod(format!("{namespace}/{pod}")))?;
        log::open(&directory, container, options).await
    }

    /// The folder of a machine that is here.
    fn directory(&self, uid: &str) -> Option<PathBuf> {
        // The UID comes from an object, never from a path; still it must not leave the folder.
        let plain = !uid.is_empty()
            && uid
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let directory = self.machines.join(uid);
        (plain && directory.join(files::IDENTITY).is_file()).then_some(directory)
    }

    async fn ask(&self, uid: &str, request: &Request) -> Result<(Status, Connection), HandleError> {
        let directory = self
            .directory(uid)
            .ok_or_else(|| HandleError::NotHere(uid.to_owned()))?;
        launcher::ask(&directory, request)
            .await
            .map_err(|error| match error {
                LauncherError::Refused { reason, message } => {
                    HandleError::Refused { reason, message }
                }
                LauncherError::Absent(source) | LauncherError::Broken(source) => {
                    HandleError::Unreachable(source)
                }
            })
    }
}

fn find_pod(machines: &Path, namespace: &str, pod: &str) -> io::Result<Option<PathBuf>> {
    let entries = match std::fs::read_dir(machines) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let directory = entry?.path();
        // A folder that just comes or goes has no readable record.
        let Ok(Some(record)) = Record::read(&directory) else {
            continue;
        };
        if record.identity.namespace == namespace && record.identity.pod_name == pod {
            return Ok(Some(directory));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_that_is_not_here_is_said_to_be_so_and_no_path_is_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(directory.path().join("machines/a")).expect("made");
        std::fs::write(directory.path().join(files::IDENTITY), "{}").expect("written");
        let handle = NodeHandle::new(directory.path());
        for uid in ["", "a", "..", "a/../.."] {
            let error = handle.open_console(uid).await.expect_err(uid);
            assert!(matches!(error, HandleError::NotHere(_)), "{error}");
        }
    }
}
