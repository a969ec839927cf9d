//! What a machine's start is compared with, and what is kept of it for later ones.

use std::path::Path;

use api::accelerator::Accelerator;
use api::launcher::StartRequest;
use api::virtual_machine_instance::VirtualMachineInstance;
use jiff::Timestamp;

use super::Context;
use super::decide::LauncherSeen;
use super::record::{read_json, write_json};
use crate::timeline::history::{Key, PastStart};
use crate::timeline::{self, Past};

/// In the machine's folder: what was started, so that another run of the node knows it too.
const FILE: &str = "start.json";

/// The start of one machine.
#[derive(Debug, Default)]
pub(super) struct Start {
    /// When its images were here.
    pub(super) images_at: Option<Timestamp>,
    /// When others let it boot, if it had to wait for them.
    pub(super) queued_at: Option<Timestamp>,
    /// Earlier starts of the same.
    pub(super) past: Past,
    key: Option<Key>,
    /// What `past` was read for.
    read_for: Option<Key>,
    /// What was kept of this start.
    kept: Option<PastStart>,
}

impl Start {
    /// Notes what is about to be started. That another run of the node does not know it costs an
    /// estimate, so a failure is only logged.
    pub(super) fn begin(&mut self, directory: &Path, request: &StartRequest) {
        let key = Key::of(request);
        // A start from a template is no start to compare others with, and has no time for a disk.
        if request.warm.is_none()
            && let Err(error) = write_json(directory, FILE, &key)
        {
            tracing::warn!("what is started is not noted: {error}");
        }
        self.key = Some(key);
    }

    /// Reads earlier starts of what was started, once, and again when it runs on another
    /// accelerator than it was started for.
    pub(super) fn recall(
        &mut self,
        context: &Context,
        (uid, directory): (&str, &Path),
        launcher: &LauncherSeen,
    ) {
        let LauncherSeen::Answers(status) = launcher else {
            return;
        };
        if self.key.is_none() {
            self.key = read_json(&directory.join(FILE)).unwrap_or_else(|error| {
                tracing::warn!("what was started is not known: {error}");
                None
            });
        }
        let Some(key) = &self.key else { return };
        let key = status
            .accelerator
            .map_or_else(|| key.clone(), |accelerator| key.with(accelerator));
        if self.read_for.as_ref() == Some(&key) {
            return;
        }
        let on_kvm = if key.accelerator == Accelerator::Tcg {
            context.history.starts(&key.with(Accelerator::Kvm))
        } else {
            Vec::new()
        };
        // After a restart of the node, this one may be among them.
        let mut same = context.history.starts(&key);
        same.retain(|start| start.uid != uid);
        self.past = Past {
            same,
            on_kvm,
            slowdown: context.knowledge.facts().slowdown,
        };
        self.read_for = Some(key);
    }

    /// Keeps the start for later ones, once it came to its end well; again if more of it is known.
    pub(super) async fn remember(
        &mut self,
        context: &Context,
        instance: &VirtualMachineInstance,
        launcher: &LauncherSeen,
    ) {
        let (LauncherSeen::Answers(status), Some(key)) = (launcher, &self.read_for) else {
            return;
        };
        let Some(start) = timeline::to_remember(instance, status) else {
            return;
        };
        if self.kept.as_ref() == Some(&start) {
            return;
        }
        let (history, key, new) = (context.history.clone(), key.clone(), start.clone());
        let added = {
            let _writing = context.writing_history.lock().await;
            tokio::task::spawn_blocking(move || history.add(&key, new)).await
        };
        // An estimate less is no reason to try for ever.
        match added {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("this start is not kept for later ones: {error}"),
            Err(error) => tracing::error!("this start is not kept for later ones: {error}"),
        }
        self.kept = Some(start);
    }
}
