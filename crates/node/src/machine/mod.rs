//! One machine: looked at, decided about, acted on, until nothing is left of it.

mod decide;
mod images;
mod instance_status;
mod link;
mod migration;
mod perform;
mod pod_status;
mod record;
mod save;
mod saved_status;
mod standby;
mod start;
pub(crate) mod step_down;
#[cfg(test)]
mod tests;
mod volumes;
mod warm;

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::accelerator;
use api::virtual_machine_instance::VirtualMachineInstance;
use jiff::Timestamp;
use tokio::sync::{Mutex, Notify};
use tokio::task::{JoinError, JoinHandle};

pub(crate) use decide::LauncherSeen;
pub(crate) use images::{InUse, Pulled, inspect};
pub(crate) use link::{Link, StartError, kill_orphan};
pub(crate) use pod_status::refused;
pub(crate) use record::{
    LAUNCHER_LOCK, Record, read_json, read_understood, write_json, write_whole,
};

use crate::event::Recorder;
use crate::gate::Gate;
use crate::known::Knowledge;
use crate::seen::Objects;
use crate::templates::Templates;
use crate::timeline::history::History;
use crate::{Clock, NodeSettings};
use decide::{Action, ImagesSeen, Seen, StartFailure};
use images::PullFailure;
use save::Save;
pub(crate) use save::saving_ids;
use start::Start;
use step_down::StepDown;
use warm::Warm;

/// After a failure to act, or to reach the API, the next try waits this long, doubled up to the
/// longest: short enough that nobody notices one, long enough not to flood a log.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// How a start goes is told at most this often while nothing else of its machine changes: a write costs more than many a
/// step of a start, and most starts from templates are over by then.
const LULL: Duration = Duration::from_millis(250);

/// Images that are here are found in this time, mostly in a tenth of it.
const QUICK_PULL: Duration = Duration::from_millis(20);

/// A launcher that lives and does not answer is asked again this often.
const SILENT_RETRY: Duration = Duration::from_secs(5);

/// What all machines share.
pub(crate) struct Context {
    pub(crate) settings: NodeSettings,
    pub(crate) machines: PathBuf,
    pub(crate) client: kube::Client,
    pub(crate) clock: Clock,
    pub(crate) cache: ::images::Cache,
    /// What of the cache machines may start with.
    pub(crate) in_use: InUse,
    pub(crate) recorder: Recorder,
    pub(crate) objects: Objects,
    /// What the node knows of itself.
    pub(crate) knowledge: Arc<Knowledge>,
    /// Who of the emulated guests may boot.
    pub(crate) gate: Gate,
    /// Held while an address is chosen and written down.
    pub(crate) choosing_address: Mutex<()>,
    /// Guests that others start from.
    pub(crate) templates: Templates,
    /// Machines that were saved.
    pub(crate) saved: crate::saved::Store,
    /// Earlier starts.
    pub(crate) history: History,
    /// Held while earlier starts are written.
    pub(crate) writing_history: Mutex<()>,
    /// The API is another one than that whose machines are here: nothing may be taken for gone.
    pub(crate) foreign: bool,
}

impl Context {
    /// The addresses of all machines here, and of guests of which templates are made.
    pub(crate) fn taken_addresses(&self) -> io::Result<BTreeSet<Ipv4Addr>> {
        let mut taken = BTreeSet::new();
        for folder in [self.machines.clone(), self.templates.builders()] {
            let entries = match std::fs::read_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let record = Record::read(&entry?.path())?;
                taken.extend(record.map(|record| record.pod_address));
            }
        }
        Ok(taken)
    }
}

/// One machine's task.
pub(crate) struct Machine {
    context: Arc<Context>,
    uid: String,
    directory: PathBuf,
    changed: Arc<Notify>,
    link: Link,
    images: ImagesSeen,
    pulled: Pulled,
    pulling: Option<JoinHandle<Result<Pulled, PullFailure>>>,
    start_failure: Option<StartFailure>,
    start_failures: u32,
    stopping: Option<u64>,
    accelerator: Option<accelerator::Decision>,
    queued: Option<String>,
    warm: Warm,
    save: Save,
    start: Start,
    /// When the VMI's status was last written.
    told_at: Option<Timestamp>,
    failures: u32,
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(pulling) = &self.pulling {
            pulling.abort();
        }
        self.context.in_use.release(&self.uid);
        self.context.gate.forget(&self.uid);
    }
}

/// How a step went.
enum Step {
    /// Look again at once.
    Again,
    /// Look again when something changes, or at this time.
    Wait(Option<Timestamp>),
    /// Nothing is left.
    Done,
}

/// How it went to tell of a machine.
enum Telling {
    /// Something was written.
    Written,
    /// Nothing is to be told.
    Nothing,
    /// What there is to tell can wait until this time.
    Later(Timestamp),
}

/// A step failed, and is tried again.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("the API: {0}")]
    Api(#[from] kube::Error),
    #[error("the machine's folder: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the launcher: {0}")]
    Launcher(#[from] crate::launcher::LauncherError),
    #[error("a status cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("no address is free in {0}")]
    NoAddress(crate::AddressRange),
}

impl Machine {
    /// The machine of the VMI with this UID; `changed` is told when the API's view of it changes.
    pub(crate) fn new(context: Arc<Context>, uid: String, changed: Arc<Notify>) -> Self {
        let directory = context.machines.join(&uid);
        let link = Link::new(directory.clone(), Arc::clone(&changed));
        Self {
            context,
            uid,
            directory,
            changed,
            link,
            images: ImagesSeen::NotPulled,
            pulled: Pulled::default(),
            pulling: None,
            start_failure: None,
            start_failures: 0,
            stopping: None,
            accelerator: None,
            queued: None,
            warm: Warm::default(),
            save: Save::default(),
            start: Start::default(),
            told_at: None,
            failures: 0,
        }
    }

    /// Runs until nothing is left of the machine.
    pub(crate) async fn run(mut self) {
        self.context.objects.complete().await;
        loop {
            let wake = match self.step().await {
                Ok(Step::Done) => return,
                Ok(step) => {
                    self.failures = 0;
                    match step {
                        Step::Again => continue,
                        Step::Wait(at) => at.map(|at| self.until(at)),
                        Step::Done => return,
                    }
                }
                // Somebody else changed the object; the watch tells how in a moment.
                Err(StepError::Api(kube::Error::Api(status))) if status.code == 409 => None,
                Err(error) => {
                    self.failures = self.failures.saturating_add(1);
                    tracing::warn!(machine = self.uid, %error, "will try again");
                    Some(retry(self.failures))
                }
            };
            // A conflict may also stem from a state that the watch told of before we looked.
            let wake = wake.unwrap_or(LONGEST_RETRY);
            self.wait(wake).await;
        }
    }

    fn until(&self, at: Timestamp) -> Duration {
        // In the past: at once.
        Duration::try_from(at.duration_since(self.context.clock.now())).unwrap_or_default()
    }

    async fn wait(&mut self, wake: Duration) {
        let pulled = async {
            match &mut self.pulling {
                Some(pulling) => pulling.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.changed.notified() => {}
            () = tokio::time::sleep(wake) => {}
            result = pulled => {
                self.pulling = None;
                self.take_pull_of(result);
            }
        }
    }

    /// Takes what a pull gave that is over already.
    async fn take_finished_pull(&mut self) {
        if let Some(pulling) = self.pulling.take_if(|pulling| pulling.is_finished()) {
            self.take_pull_of(pulling.await);
        }
    }

    /// Takes what a pull gives at once: of images that are here there is nothing to tell.
    async fn take_quick_pull(&mut self) {
        if let Some(pulling) = &mut self.pulling
            && let Ok(result) = tokio::time::timeout(QUICK_PULL, pulling).await
        {
            self.pulling = None;
            self.take_pull_of(result);
        }
    }

    /// A pull that panicked is a pull that failed.
    fn take_pull_of(&mut self, result: Result<Result<Pulled, PullFailure>, JoinError>) {
        let result = result.unwrap_or_else(|error| {
            Err(PullFailure {
                reason: "ErrImagePull".to_owned(),
                message: error.to_string(),
                back_off_message: error.to_string(),
            })
        });
        self.take_pull(result);
    }

    fn take_pull(&mut self, result: Result<Pulled, PullFailure>) {
        match result {
            Ok(pulled) => {
                self.context.in_use.hold(&self.uid, &pulled);
                self.pulled = pulled;
                self.start.images_at = Some(self.context.clock.now());
                self.images = ImagesSeen::Pulled;
            }
            Err(failure) => {
                let failures = match &self.images {
                    ImagesSeen::Failed { failures, .. } => failures.saturating_add(1),
                    _ => 1,
                };
                let back_off = images::back_off(failures);
                let now = self.context.clock.now();
                let retry_at = now.checked_add(back_off).unwrap_or(Timestamp::MAX);
                self.images = ImagesSeen::Failed {
                    failure,
                    failures,
                    retry_at,
                };
            }
        }
    }

    /// Whether a machine of which no pod is known may not be taken for gone.
    async fn is_left_alone(&self, record: &Record) -> Result<bool, StepError> {
        if self.context.foreign {
            tracing::error!(
                machine = self.uid,
                name = record.identity.name,
                namespace = record.identity.namespace,
                "left running: the API does not know it, and is another one than it came from"
            );
            return Ok(true);
        }
        // If it is there after all, the watch will tell.
        self.pod_exists(record).await
    }

    /// While a pull that failed is repeated, its failure is what there is to tell.
    fn images_seen(&self) -> ImagesSeen {
        match (&self.pulling, &self.images) {
            (Some(_), ImagesSeen::NotPulled) => ImagesSeen::Pulling,
            (_, known) => known.clone(),
        }
    }

    /// Takes in what the launcher tells of its origin and of what it saved. True: it is to be looked at again.
    async fn settle(
        &mut self,
        launcher: &LauncherSeen,
        record: Option<&Record>,
        instance: Option<&VirtualMachineInstance>,
    ) -> Result<bool, StepError> {
        self.settle_warm_start(launcher, record).await;
        Ok(record.is_some() && self.settle_save(launcher, instance).await?)
    }

    /// What it takes to answer a failure of KVM: what was answered before, and the answer to a new one.
    fn failure_answer(
        &self,
        launcher: &LauncherSeen,
        instance: Option<&VirtualMachineInstance>,
        facts: &accelerator::NodeFacts,
    ) -> Result<(Option<StepDown>, Option<StepDown>), StepError> {
        let step_down = StepDown::read(&self.directory)?;
        let failure = decide::kvm_failure(launcher).filter(|_| step_down.is_none());
        let answer = match (failure, instance) {
            (Some(failure), Some(instance)) => Some(self.answer(failure, instance, facts)),
            _ => None,
        };
        Ok((step_down, answer))
    }

    /// Writes what is to be told, one object at a time; nothing if a start `begins`.
    async fn write_statuses(
        &mut self,
        seen: &Seen<'_>,
        begins: bool,
        now: Timestamp,
    ) -> Result<Telling, StepError> {
        if begins {
            return Ok(Telling::Nothing);
        }
        let pod = pod_status::wanted(seen, now).and_then(|status| Some((seen.pod?, status)));
        // Once its pod is over, others ask why.
        let is_over = |phase: &str| phase == "Succeeded" || phase == "Failed";
        if let Some((pod, status)) = &pod
            && !status.phase.as_deref().is_some_and(is_over)
        {
            // It is what others wait for.
            self.write_pod(pod, status).await?;
            return Ok(Telling::Written);
        }
        let mut told = Telling::Nothing;
        if let Some(change) = instance_status::wanted(seen, &self.pulled.disks, now)
            && let Some(instance) = seen.instance
        {
            // A clock that was set back says nothing.
            let told_at = self.told_at.filter(|at| *at <= now);
            let lull = told_at.and_then(|at| at.checked_add(LULL).ok());
            match lull.filter(|lull| now < *lull && change.is_progress(instance)) {
                Some(lull) => told = Telling::Later(lull),
                None => {
                    self.write_instance(instance, change).await?;
                    self.told_at = Some(now);
                    return Ok(Telling::Written);
                }
            }
        }
        if let Some((pod, status)) = pod {
            self.write_pod(pod, &status).await?;
            return Ok(Telling::Written);
        }
        Ok(told)
    }

    /// Whether `action` begins a start: nothing that is told waits for it then, and it waits for nothing that is to be
    /// told, which is told at once with what comes of it. Where it waits or has failed before, that is told first.
    fn begins(&self, action: &Action) -> bool {
        let is_first = self.failures == 0 && self.start_failure.is_none() && !self.waits();
        is_first && matches!(action, Action::StartLauncher | Action::StartGuest)
    }

    /// Looks, tells, acts once.
    async fn step(&mut self) -> Result<Step, StepError> {
        let record = Record::read(&self.directory)?;
        let (pod, instance) = self.context.objects.machine(&self.uid, record.as_ref());
        let launcher = match &record {
            Some(_) => self.link.look().await?,
            None => LauncherSeen::Absent {
                was_started: false,
                exit: None,
                orphan: false,
            },
        };
        if let (None, Some(record)) = (&pod, &record)
            && self.is_left_alone(record).await?
        {
            return Ok(Step::Wait(None));
        }
        self.take_finished_pull().await;
        let images = self.images_seen();
        self.start
            .recall(&self.context, (&self.uid, &self.directory), &launcher);
        let past = self.start.past.clone();
        let (start_failure, accelerator) = (self.start_failure.clone(), self.accelerator.clone());
        let facts = self.context.knowledge.facts();
        let (step_down, answer) = self.failure_answer(&launcher, instance.as_deref(), &facts)?;
        self.take_turn(&launcher, instance.as_deref());
        if self
            .settle(&launcher, record.as_ref(), instance.as_deref())
            .await?
        {
            return Ok(Step::Again);
        }
        let (save, queued) = (self.save.clone(), self.queued.clone());
        let warm = self.warm.told.clone();
        let seen = Seen {
            node: &self.context.settings.name.clone(),
            pod: pod.as_deref(),
            instance: instance.as_deref(),
            record: record.as_ref(),
            launcher: &launcher,
            images: &images,
            start_failure: start_failure.as_ref(),
            stopping: self.stopping,
            accelerator: accelerator.as_ref(),
            step_down: step_down.as_ref(),
            answer: answer.as_ref(),
            queued: queued.as_deref(),
            warm: warm.as_ref(),
            save: &save,
            slowdown: facts.slowdown,
            images_at: self.start.images_at,
            queued_at: self.start.queued_at,
            past: &past,
        };
        let now = self.context.clock.now();
        let action = decide::decide(&seen, now);
        // Begun before anything is told: images that are here are found while it is written.
        if let (Action::PullImages, None, Some(instance)) = (&action, &self.pulling, &instance) {
            self.pull_images(instance);
            self.take_quick_pull().await;
            return Ok(Step::Again);
        }
        let begins = self.begins(&action);
        let later = match self.write_statuses(&seen, begins, now).await? {
            Telling::Written => return Ok(Step::Again),
            Telling::Later(at) => Some(at),
            Telling::Nothing => None,
        };
        if let Some(instance) = &instance {
            self.start
                .remember(&self.context, instance, &launcher)
                .await;
        }
        let due = instance_status::due(&seen);
        let action = match (&action, &self.pulling) {
            (Action::PullImages, Some(_)) => Action::Wait(None),
            _ => action,
        };
        let silent = matches!(launcher, LauncherSeen::Silent).then_some(SILENT_RETRY);
        let (pod, instance) = (pod.as_deref(), instance.as_deref());
        let performed = self
            .perform(action, pod, instance, record.as_ref(), answer.or(step_down))
            .await?;
        let retry = silent.and_then(|wait| now.checked_add(wait).ok());
        Ok(match performed {
            // What is to be told still is.
            Step::Wait(_) if begins => Step::Again,
            Step::Wait(at) => Step::Wait(at.or(retry).into_iter().chain(due).chain(later).min()),
            step => step,
        })
    }
}

/// Whether the guest in `directory` has ended for good: one that KVM failed may start again.
pub(crate) fn is_over(directory: &Path) -> io::Result<bool> {
    let exit = match record::read_exit(directory) {
        Ok(Some(exit)) => exit,
        Ok(None) => return Ok(!directory.exists()),
        // It ended, in words of another version.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(true),
        Err(error) => return Err(error),
    };
    if exit.kvm_failure.is_none() {
        return Ok(true);
    }
    // Nothing was decided yet, or it starts again: then its exit is put aside.
    let decided = StepDown::read(directory)?;
    Ok(decided.is_some_and(|decided| !decided.starts_again()))
}

/// How long to wait after so many failures in a row (1 or more).
fn retry(failures: u32) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(LONGEST_RETRY)
}
