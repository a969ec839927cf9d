//! Keeps the guest as a template, on an order.

use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinError;

use super::Owner;
use super::rest::resting;
use crate::heard::Keep;
use crate::life::{Action, Input, Refusal};
use crate::warm::keep::{self, Keepable, Keeping};
use crate::warm::outgoing::remove_files;
use crate::warm::rest::Age;

impl Owner {
    /// Keeps the guest, without waiting for it here.
    pub(super) fn keep(
        &mut self,
        directory: PathBuf,
        answer: oneshot::Sender<Result<(), Refusal>>,
    ) {
        let keepable = self.guest.as_ref().map(|running| {
            let not = || Refusal {
                reason: "NotKeepable",
                message: "the guest was not started as one that can be kept".to_owned(),
            };
            let request = running.request.as_ref().ok_or_else(not)?;
            keep::check(request)?;
            let whole = running.guest.keepable.is_some();
            // One that is being kept has them away.
            if whole || self.keep.is_some() {
                Ok(())
            } else {
                Err(not())
            }
        });
        let decided = match keepable {
            Some(Err(refusal)) => Err(refusal),
            _ => self.life.decide(self.born.elapsed(), Input::Keep).answer,
        };
        let parts = match (decided, &mut self.guest) {
            (Err(refusal), _) => Err(refusal),
            (Ok(()), Some(running)) => Ok(running),
            // Decided only while a guest runs.
            (Ok(()), None) => return,
        };
        let running = match parts {
            Ok(running) => running,
            Err(refusal) => {
                // The client may have gone; then nobody needs the answer.
                let _ = answer.send(Err(refusal));
                return;
            }
        };
        let pace = running.guest.keepable.as_ref().map(Keepable::pace);
        let resting = pace.and_then(|pace| resting(running, pace, Age::Young));
        let (Some(resting), Some(keepable)) = (resting, running.guest.keepable.take()) else {
            // All that can be kept have a port.
            return;
        };
        // QEMU tells of each step once, and there are few.
        let (tell, migrations) = mpsc::channel(16);
        let keeping = Keeping {
            keepable,
            directory: directory.clone(),
            monitor: running.guest.monitor.clone(),
            version: running.guest.version,
            machine_type: running.guest.machine_type.clone(),
            resting,
            migrations,
        };
        self.keep = Some(Keep {
            directory,
            answer: Some(answer),
            migrations: tell,
            task: Some(tokio::spawn(keeping.keep())),
        });
    }

    /// The guest was written down, and is to end; or it was not, and runs on.
    pub(super) async fn kept(&mut self, done: Result<keep::Done, JoinError>) -> bool {
        let Some(keep) = &mut self.keep else {
            return false;
        };
        let (files, result) = match done {
            Ok((keepable, result)) => {
                let files = keepable.files();
                if let Some(running) = &mut self.guest {
                    running.guest.keepable = Some(keepable);
                }
                (files, result)
            }
            Err(error) => {
                let message = format!("keeping the guest failed inside: {error}");
                let reason = "KeepFailed";
                (vec![], Err(Refusal { reason, message }))
            }
        };
        let written = result.is_ok();
        let decided = self.life.decide(self.born.elapsed(), Input::Kept(written));
        let quits = decided.actions.contains(&Action::Quit);
        if !quits {
            if written {
                remove_files(&keep.directory, files);
            }
            let gone = || Refusal {
                reason: "Killed",
                message: "the guest was ended while it was being kept".to_owned(),
            };
            if let Some(answer) = keep.answer.take() {
                let _ = answer.send(result.and_then(|()| Err(gone())));
            }
            self.keep = None;
        }
        self.publish_state();
        self.perform(decided.actions, None).await
    }
}
