//! Has a guest stand by, on an order, until a machine is known that adopts it.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use api::launcher::warm::{Standby as Told, WarmFailure, WarmStage};
use api::launcher::{StartRequest, State, files};
use tokio::sync::oneshot;
use tokio::task::JoinError;

use super::Owner;
use crate::life::Refusal;
use crate::warm::standby::{Prepared, Standby, UnderWay, get_ready};
use crate::warm::template;

/// How it went to get a guest ready.
pub(crate) type Got = Result<Result<Box<Standby>, WarmFailure>, JoinError>;

impl Owner {
    /// Gets a guest ready, without waiting for it here.
    pub(super) fn prepare(&mut self, request: StartRequest) -> Result<(), Refusal> {
        let refused = |message: String| Refusal {
            reason: "NotPreparable",
            message,
        };
        if template(&request).is_none() {
            return Err(refused(
                "a guest stands by only if it is restored from a template".to_owned(),
            ));
        }
        if self.life.state != State::Idle || !matches!(self.standby, Prepared::Nothing) {
            return Err(refused(format!(
                "the launcher is {:?}, and has or had a guest",
                self.life.state
            )));
        }
        let folder =
            File::open(&self.home.directory).map_err(|error| refused(error.to_string()))?;
        self.folder = Some(folder);
        let (abort, aborted) = oneshot::channel();
        let task = tokio::spawn(get_ready(self.home.clone(), Arc::new(request), aborted));
        self.standby = Prepared::UnderWay(UnderWay { abort, task });
        self.tell_standby(Some(Told::Preparing));
        Ok(())
    }

    fn tell_standby(&self, told: Option<Told>) {
        self.status.send_if_modified(|status| {
            let changed = status.standby != told;
            status.standby = told;
            changed
        });
    }

    /// A guest is ready, or cannot be.
    pub(super) fn prepared(&mut self, got: Got) {
        let failure = match got {
            Ok(Ok(standby)) => {
                let since = standby.since;
                self.standby = Prepared::Ready(standby);
                self.tell_standby(Some(Told::Ready { since }));
                return;
            }
            Ok(Err(failure)) => failure,
            Err(error) => WarmFailure {
                stage: WarmStage::Host,
                message: format!("getting a guest ready failed inside: {error}"),
            },
        };
        tracing::warn!("no guest stands by: {}", failure.message);
        self.standby = Prepared::Nothing;
        self.tell_standby(Some(Told::Failed(failure)));
    }

    /// The guest that stood by has ended.
    pub(super) fn standby_ended(&mut self, how: String) {
        tracing::warn!("the guest that stood by has ended: {how}");
        self.standby = Prepared::Nothing;
        self.tell_standby(Some(Told::Failed(WarmFailure {
            stage: WarmStage::Host,
            message: how,
        })));
    }

    /// What a machine finds that starts now.
    pub(super) fn take_standby(&mut self) -> Prepared {
        self.tell_standby(None);
        std::mem::take(&mut self.standby)
    }

    /// Whether the launcher's directory is gone. Notes where it is: that of a guest that stands by is moved to its
    /// machine's place.
    pub(super) fn is_homeless(&mut self) -> bool {
        let Some(folder) = &self.folder else {
            return !self.home.directory.is_dir();
        };
        match place(folder) {
            Some(place) => {
                self.home.directory = place;
                false
            }
            None => true,
        }
    }

    /// Looks again whose launcher this is, where it was got ready before that was known.
    pub(super) fn look_who_it_is(&mut self) -> Result<(), Refusal> {
        if self.folder.is_none() || self.life.state != State::Idle {
            return Ok(());
        }
        let unknown = |message: String| Refusal {
            reason: "NoIdentity",
            message: format!("whose launcher this is cannot be read: {message}"),
        };
        if self.is_homeless() {
            return Err(unknown("its directory is gone".to_owned()));
        }
        let path = self.home.directory.join(files::IDENTITY);
        let identity = crate::read_json(&path).map_err(|error| unknown(error.to_string()))?;
        self.home.identity = identity;
        Ok(())
    }
}

/// Where the folder is; none: it was removed.
fn place(folder: &File) -> Option<PathBuf> {
    let found = folder.metadata().ok()?;
    let path = std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).ok()?;
    // A file system may count no names of folders, and a folder that was removed has a name that no other one has.
    let there = path.metadata().ok()?;
    ((found.dev(), found.ino()) == (there.dev(), there.ino())).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_found_where_it_was_moved_to_and_not_once_it_is_gone() {
        let root = tempfile::tempdir().expect("a folder");
        let (before, after) = (root.path().join("before"), root.path().join("after"));
        std::fs::create_dir(&before).expect("made");
        let folder = File::open(&before).expect("open");
        assert_eq!(place(&folder).as_deref(), Some(&*before));
        std::fs::rename(&before, &after).expect("moved");
        // Another one takes its place.
        std::fs::create_dir(&before).expect("made");
        assert_eq!(place(&folder).as_deref(), Some(&*after));
        std::fs::remove_dir(&after).expect("removed");
        assert_eq!(place(&folder), None);
    }
}
