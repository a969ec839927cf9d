//! QMP, QEMU's control protocol: bytes in, bytes out, no socket and no clock.
//!
//! ```text
//! bytes from QEMU ──> Session::receive ──> Incoming (greeting, answer, event, garbage)
//! Command ──────────> Session::send ─────> bytes for QEMU, and the id its answer will carry
//! ```
//! Only the commands of [`Command`] can be sent: one that QEMU's sandbox forbids would end the
//! guest (QEMU 7.2 is killed by the filter), so there is no way to send another.

mod message;
mod session;

pub use message::{
    BlockError, Command, CommandError, DiskStatistics, Event, KvmStatistics, MigrationState,
    RunState, ShutdownReason, StateFile,
};
pub use session::{CommandId, Incoming, LARGEST_LINE_BYTES, MOST_GARBAGE, Session, SessionError};
