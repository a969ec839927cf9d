//! How far the guest's start is, as it is told to everybody who watches.

use api::launcher::{Milestone, milestones};

use super::Owner;
use crate::serial::Serial;
use crate::signs::Silence;

/// The steps whose silences are told.
const REACHED_BY_GUEST: [&str; 5] = [
    milestones::FIRMWARE,
    milestones::KERNEL,
    milestones::USER_SPACE,
    milestones::LOGIN,
    milestones::AGENT,
];

impl Owner {
    pub(super) fn milestone(&mut self, mut milestone: Milestone) {
        if milestone.name == milestones::BOOTS_AGAIN {
            self.boot_again(&mut milestone);
        }
        if matches!(
            milestone.name.as_str(),
            milestones::BOOTS_INSTEAD | milestones::NOT_ADOPTED
        ) {
            self.note_warm();
            self.silence = Silence::default();
        }
        if REACHED_BY_GUEST.contains(&milestone.name.as_str()) {
            let silence = self.silence.reached(milestone.at);
            milestone.silence_milliseconds = u64::try_from(silence.as_millis()).ok();
        }
        self.status.send_modify(|status| {
            let known = &mut status.milestones;
            let place = known.partition_point(|it| it.at <= milestone.at);
            known.insert(place, milestone);
        });
        if !self.starts() {
            self.forget_looks();
        }
        self.publish_sign();
    }

    /// Nobody looks at a guest that has started.
    pub(super) fn forget_looks(&mut self) {
        self.silence.forget();
        if let Some(running) = &mut self.guest {
            running.looks = None;
        }
    }

    pub(super) fn reached(&self, name: &str) -> bool {
        let status = self.status.borrow();
        status.latest_milestones().iter().any(|it| it.name == name)
    }

    /// Whether the guest is still on its way to a login or its agent. One that was restored was there before.
    pub(super) fn starts(&self) -> bool {
        let ends = [milestones::LOGIN, milestones::AGENT, milestones::RENEWED];
        !ends.into_iter().any(|end| self.reached(end))
    }

    /// Whether somebody looks for signs of life of the guest.
    pub(super) fn is_looked_at(&self) -> bool {
        self.guest
            .as_ref()
            .is_some_and(|running| running.looks.is_some())
    }

    pub(super) fn publish_sign(&self) {
        let sign = self.silence.last_sign();
        self.status
            .send_if_modified(|status| std::mem::replace(&mut status.last_sign, sign) != sign);
    }

    pub(super) fn count_serial(&self) {
        let serial = self
            .guest
            .as_ref()
            .and_then(|running| running.guest.serial.as_ref());
        let Some(bytes) = serial.map(Serial::bytes) else {
            return;
        };
        self.status.send_if_modified(|status| {
            let changed = status.serial_bytes != bytes;
            status.serial_bytes = bytes;
            changed
        });
    }
}
