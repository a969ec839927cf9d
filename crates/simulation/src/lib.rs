//! Development only: a whole cluster in one thread, one seed, faults, checkers.
//!
//! ```text
//! seed ──► script ──► apply, delete, start, stop, crash, switch, restart …
//!                        │
//!   real apiserver + store (temporary folder) ◄── writes that fail ── real controllers
//!        ▲         │                           ◄── writes that fail ── pretend node ─► World
//!        │         └── every event ─► checker: nothing is claimed that is not       (the truth)
//!        └── `settle`: faults stop ─► checker: everything is as it should be, and stays so
//! ```
//!
//! # What a seed fixes, and what it does not
//! A seed fixes the script, the time that components see (it passes only when the script says so), the
//! controllers' dice and the sequence of dice by which writes fail. All tasks run in one thread. It does
//! not fix in which order that thread is woken: the store answers from a thread of its own after a real
//! `fdatasync`, retries wait in real time, and uids and names of pods are random. So a failing seed is
//! likely to fail again, and may need a few runs. What bounds this: between two actions a script counts
//! writes, not milliseconds; no checker measures time; and only [`run`]'s patience, which a correct
//! cluster never needs, is real.
//!
//! # Not simulated
//! Admission (it is wired in crate `anyvirt`), lost and late watch events, pods deleted by force (then
//! the API forgets a pod whose QEMU may still run: the life-lock of crate `launcher` is what protects
//! disks there), more than one node (see [`mixed`]), disks, and crashes of the API server.

mod check;
mod clock;
mod cluster;
mod faults;
pub mod mixed;
mod node;
mod random;
pub mod script;
mod world;

pub use cluster::run;

use script::Action;
use std::fmt;

/// Seeds as people write them: `FROM..TO` without `TO`, or a number for one.
///
/// # Errors
/// What of it is no number, or that there is no seed in it.
pub fn seeds(text: &str) -> Result<(u64, u64), String> {
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|_| format!("{text:?} is no number"))
    };
    let (from, to) = match text.split_once("..") {
        Some((from, to)) => (number(from)?, number(to)?),
        None => (number(text)?, number(text)?.saturating_add(1)),
    };
    if from >= to {
        return Err(format!(
            "there is no seed in {text}: write FROM..TO, FROM below TO"
        ));
    }
    Ok((from, to))
}

/// A defect put into the pretend node on purpose: proof that the checkers can fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Plant {
    /// None.
    #[default]
    Nothing,
    /// An agent that was restarted starts what runs already.
    StartsTwice,
    /// A VMI is called running before its guest is started.
    ClaimsTooEarly,
    /// An agent that was restarted ends every guest it finds.
    EndsGuestsOnRestart,
    /// A pod is let go while its guest runs.
    LeaksMachines,
    /// The agent writes a status each time it sees one.
    NeverQuiet,
    /// A guest is started whatever the node's cap forbids.
    IgnoresCap,
}

/// What went well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Writes there were.
    pub writes: u64,
    /// Guests that ran.
    pub guests: usize,
    /// Each action with what came of it, for people.
    pub transcript: Vec<String>,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What must not be.
    pub wrongs: Vec<String>,
    /// The script.
    pub script: Vec<Action>,
    /// Each action up to the failure with what came of it.
    pub transcript: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "seed {} fails:", self.seed)?;
        for wrong in &self.wrongs {
            writeln!(formatter, "  {wrong}")?;
        }
        writeln!(formatter, "after:\n  {}", self.transcript.join("\n  "))?;
        write!(formatter, "script:\n{}", script::print(&self.script))
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::seeds;

    #[test]
    fn seeds_are_a_range_or_a_number_and_never_none() {
        assert_eq!(seeds("3..7"), Ok((3, 7)));
        assert_eq!(seeds("3"), Ok((3, 4)));
        for wrong in ["", "3..", "7..3", "3..3", "a..b", "-1"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
    }
}
