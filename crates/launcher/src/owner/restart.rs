//! A guest that was adopted restarts: its QEMU, which was started before the machine was known, ends then, and another
//! one that is told who the machine is boots it with the same disks. For everybody else it runs on.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use api::launcher::{Milestone, StartRequest, milestones};
use tokio::sync::{mpsc, oneshot};

use super::Owner;
use crate::heard::{Running, Starting};
use crate::life::Input;
use crate::start::{Guest, Progress, StartError, clear_away, start_again};
use crate::warm::Note;

/// A start has at most as many milestones as there are names.
const MOST_TOLD: usize = 32;

/// What another QEMU needs of the one that has ended.
struct Left {
    request: Arc<StartRequest>,
    below: BTreeMap<String, File>,
}

impl Owner {
    /// Starts the guest of this QEMU again, which has ended, if that is what is to follow. Else gives it back.
    pub(super) fn restart(&mut self, running: Running) -> Option<Running> {
        if !running.guest.adopted || !self.life.restarts() {
            return Some(running);
        }
        let left = match left(&running) {
            Ok(left) => left,
            Err(error) => {
                tracing::error!("the guest cannot restart: {error}");
                return Some(running);
            }
        };
        tracing::info!("the guest restarts, in another QEMU");
        self.life.goes_on();
        let (abort, aborted) = oneshot::channel();
        let (home, request) = (self.home.clone(), Arc::clone(&left.request));
        let progress = troubles(self.progress.0.clone());
        let Guest { cables, serial, .. } = running.guest;
        let task = tokio::spawn(async move {
            clear_away(&cables, serial).await;
            start_again(home, left.request, left.below, progress, aborted).await
        });
        self.status
            .send_modify(|status| status.agent_connected = false);
        self.attachable.send_replace(None);
        self.starting = Some(Starting {
            request,
            note: Note::default(),
            abort: Some(abort),
            task,
            restarts: true,
        });
        None
    }

    /// The guest runs again, or could not be started.
    pub(super) async fn restarted(&mut self, started: Result<Guest, StartError>) -> bool {
        match started {
            Ok(guest) => {
                self.adopt(guest);
                self.input(Input::Restarted).await
            }
            Err(error) => {
                self.starting = None;
                let message =
                    format!("the guest could not start again after it restarted: {error}");
                self.input(Input::RestartFailed(message)).await
            }
        }
    }

    /// Whether the guest is between two QEMUs.
    pub(super) fn is_restarting(&self) -> bool {
        self.starting.as_ref().is_some_and(|it| it.restarts)
    }
}

/// Tells of troubles alone: it is no start of the machine.
fn troubles(tell: Progress) -> Progress {
    let (all, mut told) = mpsc::channel::<Milestone>(MOST_TOLD);
    tokio::spawn(async move {
        while let Some(milestone) = told.recv().await {
            let is_trouble = matches!(
                milestone.name.as_str(),
                milestones::BOOTS_AGAIN
                    | milestones::PANIC
                    | milestones::EMERGENCY
                    | milestones::NO_BOOT_DISK
            );
            // The launcher ends when nobody listens.
            if is_trouble && tell.0.send(milestone).await.is_err() {
                return;
            }
        }
    });
    Progress(all)
}

fn left(running: &Running) -> Result<Left, StartError> {
    let missing = |what: &str| StartError(format!("{what} is not known"));
    let request = running.request.clone();
    let saveable = running.guest.saveable.as_ref();
    let saveable = saveable.ok_or_else(|| missing("what its disks are"))?;
    Ok(Left {
        request: request.ok_or_else(|| missing("how it was started"))?,
        below: saveable.lower().map_err(crate::start::failed)?,
    })
}
