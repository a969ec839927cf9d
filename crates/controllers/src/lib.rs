//! One module per kind: looks at objects, answers with changes to objects.
//!
//! Each controller observes, decides (a pure function, in `decide`) and performs (in `perform`,
//! where acting twice is harmless). They meet each other, the node and people only in API objects.

pub mod bootstrap;
mod change;
pub mod clock;
mod difference;
mod engine;
pub mod event;
pub mod kubevirt;
pub mod metrics;
pub mod overview;
pub mod pool;
mod queue;
pub mod restore;
pub mod schedule;
pub mod snapshot;
pub mod snapshot_ring;
pub mod subresource;
pub mod virtual_machine;
pub mod virtual_machine_instance;
mod waiting;

pub use tokio_util::sync::CancellationToken;

use clock::{Clock, SystemClock};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use virtual_machine_instance::Launcher;

/// What the controllers are told at their start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The time and the dice.
    pub clock: Arc<dyn Clock>,
    /// Architecture of guests that name none, in Go's names: `amd64`, `arm64`.
    pub architecture: String,
    /// What is the same for every launcher pod.
    pub launcher: Launcher,
    /// The variable `KVM_EMULATION` of the server's environment, one of the places where emulation is
    /// permitted.
    pub kvm_emulation: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            clock: Arc::new(SystemClock),
            architecture: architecture.to_owned(),
            launcher: Launcher::default(),
            kvm_emulation: None,
        }
    }
}

/// Runs all controllers until cancelled. What they make of the cluster's configuration is published
/// in `configuration`, which admission reads too.
pub async fn run(
    client: kube::Client,
    settings: Settings,
    configuration: kubevirt::Publisher,
    cancel: CancellationToken,
) {
    let (all, stop) = ((client, settings), &cancel);
    let schedule = keep("schedule", stop, || {
        let (client, settings) = all.clone();
        let configuration = configuration.subscribe();
        schedule::run(client, settings, configuration, cancel.clone())
    });
    let machines = keep("virtual_machine", stop, || {
        let (client, settings) = all.clone();
        virtual_machine::run(client, settings, cancel.clone())
    });
    let instances = keep("virtual_machine_instance", stop, || {
        let (client, settings) = all.clone();
        let configuration = configuration.subscribe();
        virtual_machine_instance::run(client, settings, configuration, cancel.clone())
    });
    let kubevirt = keep("kubevirt", stop, || {
        let (client, settings) = all.clone();
        kubevirt::run(client, settings, configuration.clone(), cancel.clone())
    });
    let snapshots = keep("snapshot", stop, || {
        let (client, settings) = all.clone();
        snapshot::run(client, settings, cancel.clone())
    });
    let restores = keep("restore", stop, || {
        let (client, settings) = all.clone();
        restore::run(client, settings, cancel.clone())
    });
    let rings = keep("snapshot_ring", stop, || {
        let (client, settings) = all.clone();
        snapshot_ring::run(client, settings, cancel.clone())
    });
    let pools = keep("pool", stop, || {
        let (client, settings) = all.clone();
        pool::run(client, settings, cancel.clone())
    });
    tokio::join!(
        schedule, machines, instances, kubevirt, snapshots, restores, rings, pools
    );
}

/// How long a controller that panicked rests before it is started again: long enough that a defect
/// that shows at every start leaves the machine to its guests.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Runs a controller as a task of its own, again if it panics, until cancelled: a defect in one
/// leaves the others running, and it finds everything it needs in the API.
async fn keep<F>(name: &'static str, cancel: &CancellationToken, start: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        // The set ends its task with itself, should this future be dropped.
        let mut only = JoinSet::new();
        only.spawn(start());
        let ended = only.join_next().await;
        let panicked = ended.is_some_and(|ended| ended.is_err_and(|error| error.is_panic()));
        if !panicked || cancel.is_cancelled() {
            return;
        }
        tracing::error!(
            controller = name,
            "a controller panicked and is started again"
        );
        tokio::select! {
            () = tokio::time::sleep(RESTART_AFTER) => {}
            () = cancel.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn a_controller_that_panics_is_started_again() {
        let starts = Arc::new(AtomicU32::new(0));
        let cancel = CancellationToken::new();
        keep("test", &cancel, || {
            let starts = Arc::clone(&starts);
            async move {
                assert!(starts.fetch_add(1, Ordering::SeqCst) > 0, "a defect");
            }
        })
        .await;
        assert_eq!(starts.load(Ordering::SeqCst), 2);
    }
}
