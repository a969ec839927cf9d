//! Makes this machine match the VirtualMachineInstances bound to it; runs launcher pods on one machine.
//!
//! What exists on this machine is under the data directory, one folder per virtual machine; what
//! shall exist is what the API says. Each virtual machine has a task of its own ([`machine`]), which
//! looks at both, decides by a pure function, and acts. Acting twice is harmless, so a restart of
//! this process only means to look again: launchers and guests run on meanwhile.

mod abilities;
pub mod address;
mod agent;
pub mod calibration;
#[cfg(test)]
mod disk_full;
pub mod event;
mod gate;
pub mod handle;
pub mod hardware;
mod known;
mod labels;
mod launcher;
pub mod log;
mod machine;
mod registration;
mod saved;
mod seen;
mod snapshots;
mod standing;
mod templates;
mod timeline;
pub mod usage;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

/// What a node agent decides, as pure functions: for crate `simulation`, which runs them by the
/// thousands.
pub mod decisions {
    pub use crate::gate::{Entries, Entry, LONGEST_WAIT, Order, Turn, advance};
    pub use crate::machine::step_down::{Answer, Question, answer, lowered};
    pub use crate::standing::{Lowered, standing};
}

pub use address::AddressRange;
pub use handle::{HandleError, NodeHandle, Viewing};
pub use launcher::Connection;
pub use log::{LogError, LogOptions, LogStream};

/// The time, as an argument, so that a simulation has its own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that asks `now`.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    /// The machine's clock.
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Clock")
    }
}

/// What the node agent is told at its start.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// Name of the Node object.
    pub name: String,
    /// Everything of this server is under it; ours is in `machines` and `images`.
    pub data_directory: PathBuf,
    /// The program that is started as `anyvirt launcher --directory DIR`.
    pub anyvirt_program: PathBuf,
    /// QEMU. `None`: each launcher looks where Debian and Fedora put it.
    pub qemu_program: Option<PathBuf>,
    /// Where pods get their addresses from.
    pub pod_addresses: AddressRange,
    /// Registries on this machine's loopback may be spoken to without TLS.
    pub insecure_loopback_registries: bool,
}

/// The node agent could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file or folder of the data directory cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Directory {
        /// The file or folder.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// This machine cannot be described.
    #[error("cannot look at this machine: {0}")]
    Machine(#[source] std::io::Error),
}

/// Runs the node agent until `stop` is cancelled. Machines run on; the next run finds them again.
///
/// # Errors
/// [`NodeError`] if it cannot start. An API server that does not answer is waited for.
pub async fn run(
    settings: NodeSettings,
    client: kube::Client,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), NodeError> {
    agent::run(settings, client, clock, stop).await
}
