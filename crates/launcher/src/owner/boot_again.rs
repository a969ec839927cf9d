//! A guest whose kernel gave up for want of its timer's ticks boots again: nothing was wrong but the host's load.

use api::launcher::{Milestone, milestones};
use qemu::qmp::Command;

use super::Owner;

/// So often in one start. Of boots on a host with five times the load that it can carry, one in twenty ends so.
const MOST: usize = 5;

impl Owner {
    /// Presses the guest's reset button. The last time, its kernel's end is told as any other.
    pub(super) fn boot_again(&self, milestone: &mut Milestone) {
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
        self.tell_qemu(vec![Command::SystemReset]);
    }
}
