//! A guest whose kernel gave up for want of its timer's ticks boots again: nothing was wrong but the host's load.

use api::launcher::{Milestone, milestones};
use jiff::Timestamp;
use qemu::qmp::Command;

use super::Owner;
use crate::markers::Mark;

/// So often in one start. Of boots on a host with five times the load that it can carry, one in twenty ends so.
const MOST: usize = 5;

impl Owner {
    /// Presses the guest's reset button. The last time, its kernel's end is told as any other.
    pub(super) fn boot_again(&mut self, milestone: &mut Milestone) {
        let words = milestone.text.as_deref().unwrap_or_default();
        let before = {
            let status = self.status.borrow();
            let all = status.latest_milestones().iter();
            all.filter(|it| it.name == milestones::BOOTS_AGAIN).count()
        };
        if before >= MOST {
            tracing::warn!(
                "the guest has booted again {before} times, and gives up again: {words}"
            );
            milestone.name = milestones::PANIC.to_owned();
            return;
        }
        tracing::warn!("the host was too busy for the guest's timer, and it boots again: {words}");
        self.owes_reset = Some(milestone.clone());
        self.reset_if_owed();
    }

    /// Presses it, once the guest is here: its words may be heard before its start is.
    pub(super) fn reset_if_owed(&mut self) {
        let Some(running) = &self.guest else {
            return;
        };
        let Some(owed) = self.owes_reset.take() else {
            return;
        };
        let (monitor, progress) = (running.guest.monitor.clone(), self.progress.0.clone());
        tokio::spawn(async move {
            if let Err(error) = monitor.ask(Command::SystemReset).await {
                tracing::warn!("the guest cannot be reset: {error}");
                let name = milestones::PANIC;
                let text = owed.text;
                progress.mark(Mark { name, text }, Timestamp::now());
            }
        });
    }
}
