//! The rules about virtual machines, the first that applies wins.

use super::seen::MachineSeen;
use super::{CauseId, Evidence, Explanation, Remedy, Standing, cures, running, waiting};
use crate::condition::Condition;
use crate::names::conditions;
use crate::virtual_machine::{PrintableStatus, RunStrategy};
use crate::virtual_machine_instance::{Phase, StartTimeline};

type Rule = fn(&MachineSeen<'_>) -> Option<Explanation>;

/// In order: what makes everything after it meaningless comes first.
const RULES: [Rule; 14] = [
    stopping,
    not_created,
    crash_loop,
    ended,
    stopped,
    image,
    waiting::unschedulable,
    start_failed,
    queued,
    starting,
    paused,
    trouble,
    stuck,
    running::running,
];

/// What is the matter with a virtual machine.
pub fn machine(seen: &MachineSeen<'_>) -> Explanation {
    RULES
        .iter()
        .find_map(|rule| rule(seen))
        .unwrap_or_else(|| unknown(seen))
}

/// What was said, word for word, where no rule knows it.
pub(super) fn unknown(seen: &MachineSeen<'_>) -> Explanation {
    let conditions = seen.status().map(|it| it.conditions.as_slice());
    let conditions = conditions
        .or_else(|| Some(seen.machine?.status.as_ref()?.conditions.as_slice()))
        .unwrap_or_default();
    let told = conditions
        .iter()
        .filter(|condition| condition.status == "False" || condition.type_ == "Failure")
        .filter_map(|condition| seen.told(&condition.type_));
    let cause = "no rule of anyvirt knows this; what was said is below, word for word".to_owned();
    seen.found(CauseId::Unknown, Standing::Unknown, cause)
        .with(told)
        .with(seen.warnings())
        .cured_by([cures::report(seen)])
}

fn stopping(seen: &MachineSeen<'_>) -> Option<Explanation> {
    let machine = seen.machine.map(|machine| &machine.metadata);
    let instance = seen.instance.map(|instance| &instance.metadata);
    let (what, metadata) = [("it", machine), ("its instance", instance)]
        .into_iter()
        .find_map(|(what, metadata)| {
            let metadata = metadata?;
            metadata
                .deletion_timestamp
                .as_ref()
                .map(|_| (what, metadata))
        })?;
    let since = metadata
        .deletion_timestamp
        .as_ref()
        .map(|time| time.0.to_string());
    let waits_for = metadata.finalizers.clone().unwrap_or_default().join(", ");
    let evidence = Evidence {
        source: "metadata.deletionTimestamp".to_owned(),
        text: since.unwrap_or_default(),
    };
    let finalizers = Evidence {
        source: "metadata.finalizers".to_owned(),
        text: waits_for,
    };
    let name = seen.name();
    let cause = format!("{what} is being deleted: the guest gets its grace period to shut down");
    let hurry = Remedy::new(
        "Do not wait for the guest",
        "it ends at once",
        "what the guest has not written to its disks is lost",
        false,
    )
    .command(format!(
        "anyvirt stop {name}{} --force --grace-period=0",
        seen.flag()
    ));
    Some(
        seen.found(CauseId::Stopping, Standing::InProgress, cause)
            .with([evidence, finalizers])
            .cured_by([hurry]),
    )
}

/// A pod, or an instance, was refused.
fn not_created(seen: &MachineSeen<'_>) -> Option<Explanation> {
    let failed = |condition: &&Condition| {
        condition.status == "False" && condition.reason.as_deref() == Some("FailedCreate")
    };
    let type_ = if seen.instance.is_some() {
        seen.condition("Synchronized")
            .filter(failed)
            .map(|_| "Synchronized")
    } else {
        seen.condition("Failure")
            .filter(|condition| condition.is_true())
            .map(|_| "Failure")
    }?;
    if let Some(refused) = waiting::refused_everywhere(seen) {
        return Some(refused.with(seen.told(type_)));
    }
    let message = seen.condition(type_)?.message.clone().unwrap_or_default();
    let what = if seen.instance.is_some() {
        "launcher pod"
    } else {
        "instance"
    };
    let cause = format!("no {what} can be made for it: {message}");
    Some(
        seen.found(CauseId::PodNotCreated, Standing::Problem, cause)
            .with(seen.told(type_))
            .with(seen.warnings())
            .cured_by([cures::edit(seen)]),
    )
}

fn crash_loop(seen: &MachineSeen<'_>) -> Option<Explanation> {
    let status = seen.machine?.status.as_ref()?;
    if status.printable_status != PrintableStatus::CrashLoopBackOff {
        return None;
    }
    let failure = status.start_failure.as_ref();
    let times = failure
        .and_then(|it| it.consecutive_fail_count)
        .unwrap_or(0);
    let retry = failure.and_then(|it| it.retry_after_timestamp.as_ref());
    let next = retry.map_or(String::new(), |time| {
        format!("; the next try is at {}", time.0)
    });
    let cause = format!("it ended {times} times in a row before it ran{next}");
    Some(
        seen.found(CauseId::CrashLoop, Standing::Problem, cause)
            .with(seen.told("Synchronized"))
            .with(seen.told("Failure"))
            .with(seen.warnings())
            .cured_by([cures::read_logs(seen), cures::stop(seen)]),
    )
}

/// An instance that ended, of a machine that does not start it again or of none.
fn ended(seen: &MachineSeen<'_>) -> Option<Explanation> {
    match seen.phase()? {
        Phase::Failed => {
            let told = seen.told("Synchronized");
            let why = told
                .as_ref()
                .map_or(String::new(), |it| format!(": {}", it.text));
            let cause = format!("its guest ended badly{why}");
            Some(
                seen.found(CauseId::GuestFailed, Standing::Problem, cause)
                    .with(told)
                    .with(seen.warnings())
                    .cured_by([cures::read_logs(seen), cures::start(seen)]),
            )
        }
        Phase::Succeeded => {
            let cause = "its guest shut down by itself, and nothing asks to start it again";
            Some(
                seen.found(CauseId::Stopped, Standing::Fine, cause.to_owned())
                    .with(seen.events_of("Stopped"))
                    .with(strategy(seen).map(strategy_evidence))
                    .cured_by([cures::start(seen)]),
            )
        }
        _ => None,
    }
}

fn strategy(seen: &MachineSeen<'_>) -> Option<RunStrategy> {
    seen.machine?.spec.strategy()
}

fn strategy_evidence(strategy: RunStrategy) -> Evidence {
    Evidence {
        source: "spec.runStrategy".to_owned(),
        text: strategy.to_string(),
    }
}

fn stopped(seen: &MachineSeen<'_>) -> Option<Explanation> {
    if seen.instance.is_some() {
        return None;
    }
    let strategy = strategy(seen)?;
    let cause = match strategy {
        RunStrategy::Halted => "its run strategy is Halted: nobody asked it to run",
        RunStrategy::Manual => "its run strategy is Manual, and nobody started it",
        RunStrategy::Once => "its run strategy is Once, and it has run",
        RunStrategy::RerunOnFailure => {
            "its run strategy is RerunOnFailure: it ended well or was stopped, so it is not run again"
        }
        RunStrategy::Always => return Some(about_to_be_made(seen)),
    };
    Some(
        seen.found(CauseId::Stopped, Standing::Fine, cause.to_owned())
            .with([strategy_evidence(strategy)])
            .with(seen.events_of("Stopped"))
            .cured_by([cures::start(seen)]),
    )
}

fn about_to_be_made(seen: &MachineSeen<'_>) -> Explanation {
    let cause = "its instance is about to be made".to_owned();
    seen.found(CauseId::Starting, Standing::InProgress, cause)
        .with([strategy_evidence(RunStrategy::Always)])
        .with(seen.warnings())
}

fn image(seen: &MachineSeen<'_>) -> Option<Explanation> {
    let condition = seen.condition("Synchronized")?;
    let reason = condition.reason.as_deref()?;
    if condition.status != "False" || !matches!(reason, "ErrImagePull" | "ImagePullBackOff") {
        return None;
    }
    let message = condition.message.clone().unwrap_or_default();
    let cause = format!("an image cannot be pulled: {message}");
    Some(
        seen.found(CauseId::ImagePull, Standing::Problem, cause)
            .with(seen.told("Synchronized"))
            .with(seen.warnings())
            .cured_by(cures::image(seen, &message)),
    )
}

/// The node could not start the guest.
fn start_failed(seen: &MachineSeen<'_>) -> Option<Explanation> {
    if seen.phase()? == Phase::Running {
        return None;
    }
    let condition = seen.condition("Synchronized")?;
    if condition.status != "False" {
        return None;
    }
    // A node that refuses says so in the words of the policy.
    if let Some(refused) = waiting::refused_there(seen) {
        return Some(refused.with(seen.told("Synchronized")));
    }
    let message = condition.message.clone().unwrap_or_default();
    let cause = format!("its guest cannot be started: {message}");
    Some(
        seen.found(CauseId::StartFailed, Standing::Problem, cause)
            .with(seen.told("Synchronized"))
            .with(seen.warnings())
            .cured_by([
                cures::read_launcher_log(seen),
                cures::doctor(),
                cures::report(seen),
            ]),
    )
}

/// Other emulated guests boot first.
fn queued(seen: &MachineSeen<'_>) -> Option<Explanation> {
    let condition = seen
        .condition(conditions::START_QUEUED)
        .filter(|it| it.is_true())?;
    let message = condition.message.clone().unwrap_or_default();
    let cause = format!("its start waits for its turn: {message}");
    Some(
        seen.found(CauseId::StartQueued, Standing::InProgress, cause)
            .with(seen.told(conditions::START_QUEUED))
            .cured_by([cures::make_room(), cures::add_node()]),
    )
}

fn starting(seen: &MachineSeen<'_>) -> Option<Explanation> {
    let step = match seen.phase()? {
        Phase::Pending => "its launcher pod is about to be made",
        Phase::Scheduling => "its launcher pod waits for a node, for its image, or for its start",
        Phase::Scheduled => "its node starts the guest",
        Phase::WaitingForSync => "it waits for its other half in another cluster",
        _ => return None,
    };
    let cause = match estimate(seen) {
        Some(estimate) => format!("{step}; {estimate}"),
        None => step.to_owned(),
    };
    Some(
        seen.found(CauseId::Starting, Standing::InProgress, cause)
            .with(seen.told("Ready"))
            .with(seen.warnings()),
    )
}

fn estimate(seen: &MachineSeen<'_>) -> Option<String> {
    let estimate = seen.status()?.start_timeline.as_ref()?.estimate.as_ref()?;
    Some(format!(
        "somebody can log in {} to {} s after the request ({})",
        estimate.low_seconds, estimate.high_seconds, estimate.basis
    ))
}

/// The guest said that its start failed.
fn trouble(seen: &MachineSeen<'_>) -> Option<Explanation> {
    let timeline = seen.status()?.start_timeline.as_ref()?;
    let trouble = timeline.trouble.as_ref()?;
    let cause = format!(
        "the guest said that its start failed ({}): {}",
        trouble.reason, trouble.message
    );
    let said = Evidence {
        source: format!("the guest's serial console at {}", trouble.at.0),
        text: trouble.message.clone(),
    };
    Some(
        seen.found(CauseId::GuestTrouble, Standing::Problem, cause)
            .with([said])
            .with(last_step(timeline))
            .cured_by([
                cures::read_logs(seen),
                cures::console(seen),
                cures::restart(seen),
            ]),
    )
}

/// The guest has been silent for too long.
fn stuck(seen: &MachineSeen<'_>) -> Option<Explanation> {
    let timeline = seen.status()?.start_timeline.as_ref()?;
    let stuck = timeline.stuck.as_ref()?;
    let cause = format!("its start is stuck: {}", stuck.message);
    let silent = Evidence {
        source: "its last sign of life".to_owned(),
        text: stuck.since.0.to_string(),
    };
    let usual = stuck.usual_seconds.map(|seconds| Evidence {
        source: "the longest silence at this step in earlier starts of its image".to_owned(),
        text: format!("{seconds} s"),
    });
    Some(
        seen.found(CauseId::StuckStart, Standing::Problem, cause)
            .with(last_step(timeline))
            .with([silent])
            .with(usual)
            .with(seen.warnings())
            .cured_by([
                cures::read_logs(seen),
                cures::console(seen),
                cures::restart(seen),
            ]),
    )
}

fn last_step(timeline: &StartTimeline) -> Option<Evidence> {
    let step = timeline.latest()?;
    Some(Evidence {
        source: "the latest step of its start".to_owned(),
        text: match &step.at {
            Some(at) => format!("{} at {}", step.name, at.0),
            None => step.name.clone(),
        },
    })
}

fn paused(seen: &MachineSeen<'_>) -> Option<Explanation> {
    let condition = seen.condition("Paused").filter(|it| it.is_true())?;
    let why = condition.message.clone().unwrap_or_default();
    let cause = format!("its processors are stopped: {why}");
    let go_on = Remedy::new(
        "Let it run again",
        "the guest goes on where it was",
        "none",
        true,
    )
    .command(format!("anyvirt unpause {}{}", seen.name(), seen.flag()));
    Some(
        seen.found(CauseId::Paused, Standing::Fine, cause)
            .with(seen.told("Paused"))
            .cured_by([go_on]),
    )
}
