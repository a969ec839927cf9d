//! What is seen of one machine in; what to do next out. Pure.
//!
//! ```text
//! no folder ──images pulled──► launcher started ──VMI Scheduled──► guest started ──► guest ended ──► launcher ended
//!     ▲                                                        ▲            │ (KVM failed it, and it may   │
//!     │                                                        └────────────┘  be emulated: once more)     │
//!     └──────────────────────────── pod asked to go: folder removed, pod deleted ◄────────────────────────┘
//! ```

use api::accelerator::{self, Accelerator};
use api::defaults::GRACE_PERIOD_SECONDS;
use api::launcher::{Exit, ExitKind, KvmFailure, State, Status};
use api::scaling::Wait;
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::images::PullFailure;
use super::record::Record;
use super::save::{self, Save};
use super::step_down::{Answer, KVM_FAILED, StepDown};
use super::warm::Told;
use crate::timeline::Past;

/// How a guest ended for which nothing that works is permitted on its node.
pub(crate) const REFUSED: &str = "AcceleratorRefused";

/// What is seen of a machine's launcher.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LauncherSeen {
    /// No launcher lives.
    Absent {
        /// One did begin here.
        was_started: bool,
        /// How the guest ended, if it was written down.
        exit: Option<Exit>,
        /// QEMU lives without it.
        orphan: bool,
    },
    /// It lives, and does not answer (yet).
    Silent,
    /// It answers.
    Answers(Box<Status>),
}

/// How the pulling of a machine's images stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImagesSeen {
    /// Nothing was done since this process started.
    NotPulled,
    /// It goes on.
    Pulling,
    /// It failed, and is tried again.
    Failed {
        /// Why.
        failure: PullFailure,
        /// How often in a row.
        failures: u32,
        /// When it is tried again.
        retry_at: Timestamp,
    },
    /// All are here.
    Pulled,
}

/// The last try to start the guest, if it was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartFailure {
    /// Why, as a sentence.
    pub(crate) message: String,
    /// When it is tried again.
    pub(crate) retry_at: Timestamp,
    /// Nothing that works is permitted for it here, in a word for programs, so it fails, as a pod does that kubelet does
    /// not admit: another node may have what it needs, and the policy its pod was made under does not change any more.
    pub(crate) refused: Option<&'static str>,
}

/// Everything that is seen of one machine.
#[derive(Debug, Clone)]
pub(crate) struct Seen<'a> {
    /// Our name.
    pub(crate) node: &'a str,
    /// Its pod, if that is bound to us.
    pub(crate) pod: Option<&'a Pod>,
    /// Its VMI.
    pub(crate) instance: Option<&'a VirtualMachineInstance>,
    /// What we remember of it, if it has a folder.
    pub(crate) record: Option<&'a Record>,
    /// Its launcher.
    pub(crate) launcher: &'a LauncherSeen,
    /// Its images.
    pub(crate) images: &'a ImagesSeen,
    /// Why it did not start.
    pub(crate) start_failure: Option<&'a StartFailure>,
    /// The grace period in seconds with which it was asked to stop.
    pub(crate) stopping: Option<u64>,
    /// Why it got the accelerator it has.
    pub(crate) accelerator: Option<&'a accelerator::Decision>,
    /// What was decided when KVM failed it, and written down.
    pub(crate) step_down: Option<&'a StepDown>,
    /// The answer to a failure of KVM that nothing was decided about yet.
    pub(crate) answer: Option<&'a StepDown>,
    /// Why it does not start yet: others boot before it.
    pub(crate) queued: Option<&'a str>,
    /// How slow emulation is here.
    pub(crate) slowdown: Option<f64>,
    /// What is told of its start from a template, until its launcher has something to tell.
    pub(crate) warm: Option<&'a Told>,
    /// What it has to do with saving.
    pub(crate) save: &'a Save,
    /// When its images were here, if this process saw it.
    pub(crate) images_at: Option<Timestamp>,
    /// When others let it boot, if this process saw it wait for them.
    pub(crate) queued_at: Option<Timestamp>,
    /// Earlier starts of the same.
    pub(crate) past: &'a Past,
}

impl Seen<'_> {
    /// Whether the guest is to start again after KVM failed it: its first QEMU ends or has ended.
    pub(crate) fn steps_down(&self) -> bool {
        self.step_down.is_some_and(StepDown::starts_again) && kvm_failure(self.launcher).is_some()
    }

    /// Whether the guest, or how it ended, is a failure of KVM that must be answered first.
    fn waits_for_answer(&self, pod: &Pod) -> bool {
        self.step_down.is_none() && kvm_failure(self.launcher).is_some() && !must_stop(self, pod)
    }
}

/// The failure of KVM that a launcher, or how its guest ended, tells of.
pub(crate) fn kvm_failure(launcher: &LauncherSeen) -> Option<&KvmFailure> {
    match launcher {
        LauncherSeen::Answers(status) => status
            .exit
            .as_ref()
            .map_or(status.kvm_failure.as_ref(), |exit| {
                exit.kvm_failure.as_ref()
            }),
        LauncherSeen::Absent { exit, .. } => exit.as_ref()?.kvm_failure.as_ref(),
        LauncherSeen::Silent => None,
    }
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Pull its images.
    PullImages,
    /// Make its folder and start its launcher.
    StartLauncher,
    /// Hand the VMI to its launcher.
    StartGuest,
    /// Write down what follows from a failure of KVM, and tell it.
    StepDown,
    /// Kill a guest that KVM failed.
    KillGuest,
    /// Save the guest, which ends then.
    Save,
    /// Ask the guest to stop.
    Stop {
        /// Seconds it gets.
        grace_period_seconds: u64,
    },
    /// Let the launcher end.
    EndLauncher,
    /// Kill a QEMU whose launcher is gone: nobody can serve it any more.
    KillOrphan,
    /// Remove its folder.
    RemoveDirectory,
    /// Tell the API that the pod is gone.
    DeletePod,
    /// Nothing is left of it.
    Forget,
    /// Nothing until something changes, or this time comes.
    Wait(Option<Timestamp>),
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Well, or not.
    pub(crate) succeeded: bool,
    /// One word for the pod's container: `Completed`, `Error`, `StartFailed`, `LauncherLost`,
    /// `KvmFailed`.
    pub(crate) reason: &'static str,
    /// A sentence.
    pub(crate) message: String,
    /// The guest or QEMU crashed.
    pub(crate) crashed: bool,
    /// The guest never ran.
    pub(crate) never_ran: bool,
    /// When, if that is known.
    pub(crate) at: Option<Timestamp>,
}

/// Decides the next step.
pub(crate) fn decide(seen: &Seen<'_>, now: Timestamp) -> Action {
    let Some(pod) = seen.pod else {
        return without_pod(seen);
    };
    let going = pod.metadata.deletion_timestamp.is_some();
    match (seen.record, seen.launcher) {
        (None, _) if going => Action::DeletePod,
        (None, _) if is_over(pod) => Action::Wait(None),
        (None, _) => prepare(seen, now),
        (Some(_), LauncherSeen::Absent { orphan: true, .. }) => Action::KillOrphan,
        (Some(_), LauncherSeen::Absent { .. }) if going => Action::RemoveDirectory,
        (Some(_), LauncherSeen::Absent { .. } | LauncherSeen::Answers(_))
            if seen.waits_for_answer(pod) && !is_over(pod) =>
        {
            if seen.answer.is_some() {
                Action::StepDown
            } else {
                Action::Wait(None)
            }
        }
        // The launcher died with its guest; the guest's second start needs another one.
        (Some(_), LauncherSeen::Absent { .. }) if seen.steps_down() && !must_stop(seen, pod) => {
            Action::StartLauncher
        }
        (
            Some(_),
            LauncherSeen::Absent {
                was_started: false, ..
            },
        ) if !is_over(pod) => Action::StartLauncher,
        // Its end is told in the statuses; the folder stays for its logs.
        (Some(_), LauncherSeen::Absent { .. } | LauncherSeen::Silent) => Action::Wait(None),
        (Some(record), LauncherSeen::Answers(status)) => match status.state {
            State::Idle if must_stop(seen, pod) => Action::EndLauncher,
            State::Idle => start(seen, now),
            State::Starting | State::Running | State::Paused if must_stop(seen, pod) => {
                stop(seen, grace(seen, pod, record))
            }
            State::Starting => Action::Wait(None),
            State::Running | State::Paused => match seen.step_down.map(|it| &it.answer) {
                Some(Answer::StartAgain | Answer::Fail { .. }) if status.kvm_failure.is_some() => {
                    Action::KillGuest
                }
                _ => save(seen, now),
            },
            State::Ended if seen.steps_down() && !must_stop(seen, pod) => start(seen, now),
            State::Ended => Action::EndLauncher,
        },
    }
}

/// The pod is gone from the API, so nothing of it may be left here.
fn without_pod(seen: &Seen<'_>) -> Action {
    match (seen.record, seen.launcher) {
        (None, _) => Action::Forget,
        (Some(_), LauncherSeen::Absent { orphan: true, .. }) => Action::KillOrphan,
        (Some(_), LauncherSeen::Absent { .. }) => Action::RemoveDirectory,
        (Some(_), LauncherSeen::Silent) => Action::Wait(None),
        (Some(record), LauncherSeen::Answers(status)) => match status.state {
            State::Idle | State::Ended => Action::EndLauncher,
            State::Starting | State::Running | State::Paused => {
                stop(seen, record.identity.grace_period_seconds)
            }
        },
    }
}

fn prepare(seen: &Seen<'_>, now: Timestamp) -> Action {
    let Some(instance) = seen.instance else {
        return Action::Wait(None);
    };
    if instance.metadata.deletion_timestamp.is_some() || phase(instance).is_final() {
        // Its pod is about to be deleted.
        return Action::Wait(None);
    }
    with_images(seen, now, Action::StartLauncher)
}

fn start(seen: &Seen<'_>, now: Timestamp) -> Action {
    let Some(instance) = seen.instance else {
        return Action::Wait(None);
    };
    // A guest that starts again ran before.
    let starts_again = seen.step_down.is_some_and(StepDown::starts_again);
    let due = match phase(instance) {
        Phase::Scheduled => true,
        Phase::Running => starts_again || seen.save.goes_on.is_some(),
        _ => false,
    };
    if !due || !is_ours(seen, instance) {
        return Action::Wait(None);
    }
    match seen.start_failure {
        // It ends as soon as that is told.
        Some(failure) if failure.refused.is_some() => Action::Wait(None),
        Some(failure) if now < failure.retry_at => Action::Wait(Some(failure.retry_at)),
        _ => with_images(seen, now, Action::StartGuest),
    }
}

fn with_images(seen: &Seen<'_>, now: Timestamp, then: Action) -> Action {
    match seen.images {
        ImagesSeen::NotPulled => Action::PullImages,
        ImagesSeen::Pulling => Action::Wait(None),
        ImagesSeen::Failed { retry_at, .. } if now < *retry_at => Action::Wait(Some(*retry_at)),
        ImagesSeen::Failed { .. } => Action::PullImages,
        ImagesSeen::Pulled => then,
    }
}

fn stop(seen: &Seen<'_>, grace_period_seconds: u64) -> Action {
    match seen.stopping {
        // Asked already, and not in less of a hurry than now.
        Some(asked) if asked <= grace_period_seconds => Action::Wait(None),
        _ => Action::Stop {
            grace_period_seconds,
        },
    }
}

/// A guest that runs is saved if that is asked for.
fn save(seen: &Seen<'_>, now: Timestamp) -> Action {
    let asked = seen
        .instance
        .filter(|instance| phase(instance) == Phase::Running)
        .and_then(save::wanted);
    match (asked, &seen.save.failure) {
        (None, _) => Action::Wait(None),
        (Some(_), Some((_, retry_at))) if now < *retry_at => Action::Wait(Some(*retry_at)),
        (Some(_), _) => Action::Save,
    }
}

fn must_stop(seen: &Seen<'_>, pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        || is_over(pod)
        || seen.instance.is_none_or(|instance| {
            instance.metadata.deletion_timestamp.is_some() || phase(instance).is_final()
        })
}

/// Seconds the guest gets: what its VMI says, or less if whoever deleted the pod said so.
fn grace(seen: &Seen<'_>, pod: &Pod, record: &Record) -> u64 {
    let own = match seen.instance {
        None => record.identity.grace_period_seconds,
        Some(instance) => given_grace(instance).unwrap_or_else(|| default_grace(seen)),
    };
    let usual = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.termination_grace_period_seconds);
    let pods = pod
        .metadata
        .deletion_timestamp
        .as_ref()
        .and(pod.metadata.deletion_grace_period_seconds)
        // What every deletion of the pod has was said by nobody.
        .filter(|seconds| Some(*seconds) != usual);
    pods.and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(own, |seconds| seconds.min(own))
}

/// Seconds a VMI's guest gets to shut down by itself.
pub(crate) fn grace_of(instance: &VirtualMachineInstance) -> u64 {
    given_grace(instance).unwrap_or(GRACE_PERIOD_SECONDS)
}

fn given_grace(instance: &VirtualMachineInstance) -> Option<u64> {
    let given = instance.spec.termination_grace_period_seconds;
    given.and_then(|seconds| u64::try_from(seconds).ok())
}

/// An emulated guest takes longer to shut down, so where nobody said how long it may take it gets
/// longer.
fn default_grace(seen: &Seen<'_>) -> u64 {
    let accelerator = match seen.launcher {
        LauncherSeen::Answers(status) => status.accelerator,
        LauncherSeen::Absent { .. } | LauncherSeen::Silent => None,
    };
    Wait::DefaultGrace
        .within(accelerator.unwrap_or(Accelerator::Kvm), seen.slowdown)
        .as_secs()
}

/// The VMI's phase; one not admitted counts as pending.
pub(crate) fn phase(instance: &VirtualMachineInstance) -> Phase {
    instance
        .status
        .as_ref()
        .and_then(|status| status.phase)
        .unwrap_or(Phase::Pending)
}

/// Whether the VMI was given to this node.
pub(crate) fn is_ours(seen: &Seen<'_>, instance: &VirtualMachineInstance) -> bool {
    let status = instance.status.as_ref();
    status.and_then(|status| status.node_name.as_deref()) == Some(seen.node)
}

/// Whether a pod has ended for good.
pub(crate) fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The end of a machine whose start was refused for good.
fn refused(seen: &Seen<'_>) -> Option<Outcome> {
    let failure = seen.start_failure?;
    let reason = failure.refused?;
    let LauncherSeen::Answers(status) = seen.launcher else {
        return None;
    };
    matches!(status.state, State::Idle | State::Ended).then(|| Outcome {
        succeeded: false,
        reason,
        message: failure.message.clone(),
        crashed: false,
        never_ran: seen.instance.is_none_or(|it| phase(it) != Phase::Running),
        at: None,
    })
}

/// How the machine ended, if it has.
pub(crate) fn outcome(seen: &Seen<'_>) -> Option<Outcome> {
    seen.record?;
    if let Some(refused) = refused(seen) {
        return Some(refused);
    }
    let exit = match seen.launcher {
        LauncherSeen::Answers(status) if status.state == State::Ended => status.exit.as_ref(),
        LauncherSeen::Absent {
            orphan: false,
            exit: Some(exit),
            ..
        } => Some(exit),
        LauncherSeen::Absent {
            orphan: false,
            exit: None,
            was_started: true,
        } => None,
        LauncherSeen::Absent { .. } | LauncherSeen::Silent | LauncherSeen::Answers(_) => {
            return None;
        }
    };
    // It goes on here, once what its launcher has saved is taken in.
    if exit.is_some_and(|exit| exit.kind == ExitKind::Saved)
        && seen.save.done.is_none()
        && seen.save.failure.is_none()
    {
        return None;
    }
    if let Some(exit) = exit.filter(|exit| exit.kvm_failure.is_some())
        && let Some(pod) = seen.pod
        && !must_stop(seen, pod)
    {
        return match seen.step_down.map(|it| &it.answer) {
            // Not the end yet.
            None | Some(Answer::StartAgain) => None,
            Some(Answer::Fail { message }) => Some(Outcome {
                succeeded: false,
                reason: KVM_FAILED,
                message: message.clone(),
                crashed: false,
                never_ran: seen.instance.is_none_or(|it| phase(it) != Phase::Running),
                at: Some(exit.at),
            }),
            Some(Answer::LeaveAlone { .. }) => Some(of_exit(exit, seen.instance)),
        };
    }
    Some(match exit {
        Some(exit) => of_exit(exit, seen.instance),
        None if was_asked_before_it_ran(seen) => Outcome {
            succeeded: true,
            reason: "Completed",
            message: "it was asked to stop before the guest ran".to_owned(),
            crashed: false,
            never_ran: true,
            at: None,
        },
        None => Outcome {
            succeeded: false,
            reason: "LauncherLost",
            message: "the launcher ended without saying how; its log says more".to_owned(),
            crashed: true,
            never_ran: false,
            at: None,
        },
    })
}

fn was_asked_before_it_ran(seen: &Seen<'_>) -> bool {
    let pod_goes = seen
        .pod
        .is_some_and(|pod| pod.metadata.deletion_timestamp.is_some());
    seen.instance.is_some_and(|instance| {
        (pod_goes || instance.metadata.deletion_timestamp.is_some())
            && phase(instance) != Phase::Running
    })
}

fn of_exit(exit: &Exit, instance: Option<&VirtualMachineInstance>) -> Outcome {
    let outcome = |succeeded, reason| Outcome {
        succeeded,
        reason,
        message: exit.message.clone(),
        crashed: false,
        never_ran: false,
        at: Some(exit.at),
    };
    match exit.kind {
        ExitKind::GuestShutdown | ExitKind::Stopped | ExitKind::Kept => outcome(true, "Completed"),
        ExitKind::Saved => outcome(true, "Suspended"),
        // As KubeVirt has it: who had a chance to shut down and did not take it, failed.
        ExitKind::Killed => {
            let had_a_chance = instance.is_some_and(|it| grace_of(it) != 0 && has_acpi(it));
            outcome(
                !had_a_chance,
                if had_a_chance { "Error" } else { "Completed" },
            )
        }
        ExitKind::Crashed { .. } => Outcome {
            crashed: true,
            ..outcome(false, "Error")
        },
        ExitKind::StartFailed => Outcome {
            never_ran: true,
            ..outcome(false, "StartFailed")
        },
    }
}

fn has_acpi(instance: &VirtualMachineInstance) -> bool {
    let features = instance.spec.domain.features.as_ref();
    features
        .and_then(|features| features.acpi.as_ref())
        .and_then(|acpi| acpi.enabled)
        .unwrap_or(true)
}
