//! Where the controllers take the time and their random numbers from: arguments, so that a
//! simulation hands in its own.

use jiff::Timestamp;
use std::fmt::Debug;

/// The time and the dice of one process.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// A number from 0 to `bound`, both included; used for jitter only, never for secrets.
    fn random_up_to(&self, bound: u64) -> u64;
}

/// The machine's clock, and a random generator seeded by the operating system.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn random_up_to(&self, bound: u64) -> u64 {
        rand::random_range(0..=bound)
    }
}
