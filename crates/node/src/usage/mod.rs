//! What the guests of this machine and the machine itself use: sampled every few seconds, remembered in memory for a
//! day, told to who asks. No object is written for it.
//!
//! ```text
//! launcher (counters of /proc, QMP, cables) ─┐ every 5 s
//! /proc, statvfs ────────────────────────────┴> sampler ──> histories (pure) ──> whoever asks
//! ```
//! A restart of this server begins a new history; the counters themselves live as long as their guests.

mod history;
mod ring;
mod sampler;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use history::Histories;
pub use history::{
    Capacity, HOST_SERIES, HostLatest, HostValues, Latest, MACHINE_SERIES, MachineValues, Series,
};

/// The longest time of which something is remembered.
pub const LONGEST_SPAN: Duration = Duration::from_secs(24 * 3600);

/// What is used on this machine.
#[derive(Debug, Clone)]
pub struct Usages {
    data_directory: PathBuf,
    histories: Arc<Mutex<Histories>>,
}

impl Usages {
    /// Of the machines of `data_directory`; nothing is known before [`Usages::run`].
    #[must_use]
    pub fn new(data_directory: &Path) -> Self {
        Self {
            data_directory: data_directory.to_owned(),
            histories: Arc::new(Mutex::new(Histories::new())),
        }
    }

    /// Samples until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(sampler::run(&self)).await;
    }

    /// What is known of a machine in the time `span` until now; none if nothing is. What it uses now is told of the
    /// instance `uid` alone: the last sample may be of one before it.
    #[must_use]
    pub fn machine(
        &self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
        span: Duration,
    ) -> Option<Series<{ MACHINE_SERIES.len() }>> {
        self.histories()
            .machine(namespace, name, uid, span, host::clock::since_boot())
    }

    /// What is known of the host in the time `span` until now, and what it is made of, if it was looked at.
    #[must_use]
    pub fn host(&self, span: Duration) -> (Series<{ HOST_SERIES.len() }>, Option<Capacity>) {
        self.histories().host(span, host::clock::since_boot())
    }

    /// What the host uses now; none if that is not known.
    #[must_use]
    pub fn host_latest(&self) -> Option<HostLatest> {
        self.histories().host_latest(host::clock::since_boot())
    }

    /// What the machines that run use now, in the order of their names.
    #[must_use]
    pub fn latest(&self) -> Vec<Latest> {
        self.histories().latest(host::clock::since_boot())
    }

    fn histories(&self) -> MutexGuard<'_, Histories> {
        // Histories are whole after each sample: one that panicked is left out.
        self.histories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
