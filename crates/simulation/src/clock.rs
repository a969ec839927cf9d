//! Time that passes when the script says so.

use crate::random::Random;
use jiff::Timestamp;
use std::sync::{Mutex, PoisonError};

/// Where simulated time begins.
const BEGIN_SECONDS: i64 = 1_790_000_000;

/// The clock of the API server, the controllers and the node.
#[derive(Debug)]
pub(crate) struct Clock {
    seconds: Mutex<i64>,
    dice: Mutex<Random>,
}

impl Clock {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seconds: Mutex::new(0),
            dice: Mutex::new(Random::new(!seed)),
        }
    }

    /// Lets seconds pass.
    pub(crate) fn pass(&self, seconds: i64) {
        let mut passed = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        *passed = passed.saturating_add(seconds.max(0));
    }
}

impl controllers::clock::Clock for Clock {
    fn now(&self) -> Timestamp {
        let passed = *self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        Timestamp::from_second(BEGIN_SECONDS.saturating_add(passed)).unwrap_or(Timestamp::MAX)
    }

    fn random_up_to(&self, bound: u64) -> u64 {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        dice.next() % bound.saturating_add(1).max(1)
    }
}
