//! One module per kind: looks at objects, answers with changes to objects.
//!
//! Each controller observes, decides (a pure function, in `decide`) and performs (in `perform`,
//! where acting twice is harmless). They meet each other, the node and people only in API objects.

pub mod bootstrap;
pub mod clock;
mod difference;
mod engine;
pub mod event;
pub mod kubevirt;
mod queue;
pub mod schedule;
pub mod subresource;
pub mod virtual_machine;
pub mod virtual_machine_instance;

pub use tokio_util::sync::CancellationToken;

use clock::{Clock, SystemClock};
use std::sync::Arc;
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
    let read = configuration.subscribe();
    tokio::join!(
        schedule::run(client.clone(), settings.clone(), cancel.clone()),
        virtual_machine::run(client.clone(), settings.clone(), cancel.clone()),
        virtual_machine_instance::run(client.clone(), settings.clone(), read, cancel.clone()),
        kubevirt::run(client, settings, configuration, cancel),
    );
}
