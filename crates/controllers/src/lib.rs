//! One module per kind: looks at objects, answers with changes to objects.
//!
//! Each controller observes, decides (a pure function, in `decide`) and performs (in `perform`,
//! where acting twice is harmless). They meet each other, the node and people only in API objects.

pub mod clock;
mod difference;
mod engine;
pub mod event;
mod queue;
pub mod schedule;
pub mod virtual_machine;

pub use tokio_util::sync::CancellationToken;

use clock::{Clock, SystemClock};
use std::sync::Arc;

/// What the controllers are told at their start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The time and the dice.
    pub clock: Arc<dyn Clock>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
        }
    }
}
