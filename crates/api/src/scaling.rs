//! How long we wait for guests: everything that depends on a guest's speed, in one place.
//!
//! An emulated guest is slower than one on KVM by a factor that each node measures (its annotation
//! `anyvirt.io/tcg-slowdown`). What is enough for the one is too little for the other, so each wait
//! is its base times that factor, never above its bound:
//!
//! | wait | base | bound | where |
//! |---|---|---|---|
//! | QEMU greets on its monitor | 30 s | 2 min | `launcher::start` |
//! | QEMU answers a command | 15 s | 1 min | `launcher::monitor` |
//! | QEMU ends after its machine went off | 30 s | 2 min | `launcher::life` |
//! | QEMU reads a template's state, or writes one | 5 s | 1 min | `launcher::warm` |
//! | a restored guest renews itself and proves it | 3 s | 1 min | `launcher::warm` |
//! | a guest that is to be kept comes to rest | 1 min | 15 min | `launcher::warm` |
//! | a guest that is used, and of which others are to be made, comes to rest | 20 s | 3 min | `launcher::warm` |
//! | a silent guest agent counts as gone | 25 s | 2 min | `launcher::agent` |
//! | a guest shuts down, if its VMI does not say how long | 30 s | 5 min | `node::machine` |
//! | a booting guest keeps others from booting | 20 s | 5 min | `node::gate` |
//!
//! Waits that a user gave are never changed.

use std::time::Duration;

use crate::accelerator::Accelerator;
use crate::defaults::GRACE_PERIOD_SECONDS;

/// Taken for the factor of a node that has not measured its own: above what was seen of most
/// machines, since waiting a little longer for what fails costs less than giving up what works.
const UNMEASURED: f64 = 10.0;
/// A factor beyond this is a fault of the measurement.
const LARGEST: f64 = 100.0;

/// What is waited for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Wait {
    /// QEMU greets on its monitor. Not the guest's work, but done on processors that other emulated
    /// guests keep busy.
    Greeting,
    /// QEMU answers a command; between a guest's instructions, and see [`Wait::Greeting`].
    Answer,
    /// QEMU ends after it said that its machine goes off.
    LastBreath,
    /// QEMU reads or writes the state of a guest's devices, and a template's files are written: milliseconds, beside
    /// others who do the same on two processors a second.
    Migration,
    /// A restored guest renews itself: a tenth of a second, and with fifty others at once ten seconds.
    Renewal,
    /// A guest that is to be kept has done what it does after its start, e.g. all that cloud-init has to do.
    Settling,
    /// A guest that somebody uses has done what it does after its start, and others can go on from it: as a rule it had
    /// done that long ago.
    Rest,
    /// The guest agent answers a question.
    Agent,
    /// The guest shuts down by itself, where its VMI does not say how long it may take.
    DefaultGrace,
    /// An emulated guest boots, and others wait for it.
    Boot,
}

impl Wait {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Greeting,
        Self::Answer,
        Self::LastBreath,
        Self::Migration,
        Self::Renewal,
        Self::Settling,
        Self::Rest,
        Self::Agent,
        Self::DefaultGrace,
        Self::Boot,
    ];

    /// Enough for a guest on KVM, and the most for any.
    #[must_use]
    pub fn bounds(self) -> (Duration, Duration) {
        let seconds = |base, most| (Duration::from_secs(base), Duration::from_secs(most));
        match self {
            Self::Greeting | Self::LastBreath => seconds(30, 120),
            Self::Answer => seconds(15, 60),
            Self::Migration => seconds(5, 60),
            Self::Renewal => seconds(3, 60),
            Self::Settling => seconds(60, 900),
            Self::Rest => seconds(20, 180),
            Self::Agent => seconds(25, 120),
            Self::DefaultGrace => seconds(GRACE_PERIOD_SECONDS, 300),
            Self::Boot => seconds(20, 300),
        }
    }

    /// How long to wait for a guest on `accelerator`, where emulation is `slowdown` times slower
    /// than KVM (`None`: not measured). Between the two [`Wait::bounds`].
    #[must_use]
    pub fn within(self, accelerator: Accelerator, slowdown: Option<f64>) -> Duration {
        let (base, most) = self.bounds();
        let factor = match accelerator {
            Accelerator::Kvm => 1.0,
            Accelerator::Tcg => slowdown
                .filter(|factor| factor.is_finite())
                .unwrap_or(UNMEASURED)
                .clamp(1.0, LARGEST),
        };
        base.mul_f64(factor).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulated_guests_get_more_time_by_their_node_s_factor_and_within_bounds() {
        let seconds =
            |wait: Wait, accelerator, slowdown| wait.within(accelerator, slowdown).as_secs_f64();
        for (wait, accelerator, slowdown, expected) in [
            (Wait::DefaultGrace, Accelerator::Kvm, Some(8.0), 30.0),
            (Wait::DefaultGrace, Accelerator::Kvm, None, 30.0),
            (Wait::DefaultGrace, Accelerator::Tcg, Some(2.5), 75.0),
            (Wait::DefaultGrace, Accelerator::Tcg, Some(8.0), 240.0),
            (Wait::DefaultGrace, Accelerator::Tcg, Some(50.0), 300.0),
            (Wait::DefaultGrace, Accelerator::Tcg, None, 300.0),
            // Nobody waits less for emulation than for KVM.
            (Wait::DefaultGrace, Accelerator::Tcg, Some(0.2), 30.0),
            (Wait::DefaultGrace, Accelerator::Tcg, Some(f64::NAN), 300.0),
            (Wait::Boot, Accelerator::Tcg, Some(7.5), 150.0),
            (Wait::Answer, Accelerator::Tcg, Some(2.0), 30.0),
        ] {
            assert_eq!(
                seconds(wait, accelerator, slowdown),
                expected,
                "{wait:?} {accelerator} {slowdown:?}"
            );
        }
    }

    #[test]
    fn every_wait_has_a_bound_above_its_base_and_grows_with_the_factor() {
        for wait in Wait::ALL {
            let (base, most) = wait.bounds();
            assert!(base < most, "{wait:?}");
            let mut before = Duration::ZERO;
            for tenths in 0..2000_u32 {
                let now = wait.within(Accelerator::Tcg, Some(f64::from(tenths) / 10.0));
                assert!(now >= before && now >= base && now <= most, "{wait:?}");
                before = now;
            }
        }
    }
}
