//! The start of a guest as its VMI shows it: steps, progress, what may be expected, and whether the
//! guest is stuck. Pure, but for [`history`].
//!
//! ```text
//!  VMI, pod ───────────────┐
//!  launcher's milestones ──┼──> wanted() ──> status.startTimeline, events
//!  earlier starts, clock ──┘
//! ```
//! It changes when a step is reached, when trouble is told, and when the guest gets stuck or goes
//! on; never with time alone.

pub(crate) mod history;
mod statistics;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use api::accelerator::Accelerator;
use api::launcher::{Milestone, State, Status, milestones};
use api::validate::stuck_after;
use api::virtual_machine_instance::{
    StartEstimate, StartStep, StartStuck, StartTimeline, StartTrouble, VirtualMachineInstance,
    steps,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::event::Fact;
use history::PastStart;
use statistics::{Spread, median, range};

/// Before the login, progress ends here: the last of it is always the slowest.
const MOST_BEFORE_LOGIN: i32 = 95;
/// A guest waits for something for at most as long as the longest wait that distributions have at
/// boot, two minutes for a network (systemd-networkd-wait-online), and a little more. Emulated
/// guests get more by their node's measured slowdown.
const SILENCE_WITHOUT_HISTORY: Duration = Duration::from_secs(150);
/// Nobody waits longer than this to be told. Also for nodes that have not measured their slowdown.
const LONGEST_SILENCE: Duration = Duration::from_secs(15 * 60);
/// With history, silences up to this are never told of: the launcher looks every 5 s.
const SHORTEST_SILENCE: Duration = Duration::from_secs(60);
/// So many times the longest silence that a step ever had is longer than usual.
const LONGER_THAN_USUAL: f64 = 3.0;

/// Progress at a step without earlier starts to compare with, in percent: the steps before the
/// guest runs are short, and user space takes most of the rest.
const PROGRESS_WITHOUT_HISTORY: [(&str, i32); 4] = [
    (steps::QEMU, 5),
    (steps::FIRMWARE, 10),
    (steps::KERNEL, 20),
    (steps::USER_SPACE, 50),
];

/// Earlier starts to compare with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Past {
    /// Of the same key.
    pub(crate) same: Vec<PastStart>,
    /// Of the same key on KVM, if this one is emulated.
    pub(crate) on_kvm: Vec<PastStart>,
    /// How many times slower than KVM emulation is here, if that was measured.
    pub(crate) slowdown: Option<f64>,
}

/// What is seen of a start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start<'a> {
    /// Its VMI.
    pub(crate) instance: &'a VirtualMachineInstance,
    /// Its pod.
    pub(crate) pod: &'a Pod,
    /// When its images were here, if this run of the node saw it.
    pub(crate) images_at: Option<Timestamp>,
    /// When its turn came, if it had to wait for others.
    pub(crate) queued_at: Option<Timestamp>,
    /// Its launcher, if that answers.
    pub(crate) launcher: Option<&'a Status>,
    /// Earlier starts.
    pub(crate) past: &'a Past,
}

/// The timeline that the VMI should show, and what happened since the one it shows.
pub(crate) fn wanted(start: Start<'_>, now: Timestamp) -> (StartTimeline, Vec<Fact>) {
    let known = start.instance.status.as_ref();
    let known = known.and_then(|status| status.start_timeline.clone());
    let mut timeline = known.unwrap_or_else(|| begun(start, now));
    let mut facts = Vec::new();
    let before = timeline.reached(steps::BOOTS_AGAIN);
    reach(&mut timeline, start, now);
    if before.is_none() && timeline.reached(steps::BOOTS_AGAIN).is_some() {
        let words = "the host was too busy to give the guest's kernel the ticks of its timer, without which it does not start: \
                     the guest was reset, and boots again";
        facts.push(Fact::warning("GuestBootsAgain", words.to_owned()));
    }
    show_past(&mut timeline, start.past);
    let percent = progress(&timeline, start.past);
    timeline.progress_percent = timeline.progress_percent.max(percent);
    if !timeline.is_done()
        && let Some(estimate) = estimate(&timeline, start.past)
    {
        timeline.estimate = Some(estimate);
    }
    tell_trouble(&mut timeline, start.launcher, &mut facts);
    tell_stuck(&mut timeline, start, now, &mut facts);
    (timeline, facts)
}

/// As the API keeps it: without what is below a microsecond.
fn stored(at: Timestamp) -> MicroTime {
    let whole = Timestamp::from_microsecond(at.as_microsecond());
    MicroTime(whole.unwrap_or(at))
}

fn begun(start: Start<'_>, now: Timestamp) -> StartTimeline {
    let created = start.instance.metadata.creation_timestamp.as_ref();
    let started_at = stored(created.map_or(now, |created| created.0));
    let step = |name: &str| StartStep {
        name: name.to_owned(),
        ..StartStep::default()
    };
    let usual = |name: &&&str| !steps::RARE.contains(*name);
    let all = steps::ALL.iter().filter(usual);
    let mut timeline = StartTimeline {
        started_at: started_at.clone(),
        steps: all.map(|name| step(name)).collect(),
        progress_percent: 0,
        estimate: None,
        trouble: None,
        stuck: None,
    };
    set(&mut timeline, steps::REQUESTED, started_at.0);
    timeline
}

/// Notes a step, once, and not before the one that comes before it: clocks of other machines may
/// differ.
fn set(timeline: &mut StartTimeline, name: &str, at: Timestamp) {
    let place = |name: &str| steps::ALL.iter().position(|it| *it == name);
    let index = match timeline.steps.iter().position(|step| step.name == name) {
        Some(index) => index,
        None => {
            let before = |step: &StartStep| place(&step.name) < place(name);
            let index = timeline.steps.partition_point(before);
            let step = StartStep {
                name: name.to_owned(),
                ..StartStep::default()
            };
            timeline.steps.insert(index, step);
            index
        }
    };
    let before = timeline.steps.iter().take(index);
    let earliest = before
        .filter_map(|step| step.at.as_ref().map(|at| at.0))
        .max();
    let at = earliest.map_or(at, |earliest| earliest.max(at));
    if let Some(step) = timeline.steps.get_mut(index) {
        step.at.get_or_insert_with(|| stored(at));
    }
}

fn reach(timeline: &mut StartTimeline, start: Start<'_>, now: Timestamp) {
    let scheduled = scheduled_at(start.pod).unwrap_or(now);
    set(timeline, steps::SCHEDULED, scheduled);
    if let Some(at) = start.images_at {
        set(timeline, steps::IMAGE, at);
    }
    if let Some(at) = start.queued_at {
        set(timeline, steps::QUEUED, at);
    }
    let Some(launcher) = start.launcher else {
        return;
    };
    let instead = launcher.milestones.iter().rev();
    let mut instead = instead.filter(|it| it.name == milestones::BOOTS_INSTEAD);
    if let Some(instead) = instead.next() {
        set(timeline, steps::BOOTS_INSTEAD, instead.at);
    }
    let reached = launcher.latest_milestones();
    let of = |name: &str| reached.iter().find(|it| it.name == name).map(|it| it.at);
    // The QEMU of a guest that stood by had answered long before.
    let adopted = of(milestones::ADOPTED);
    let Some(qemu) = of(milestones::QMP).or(adopted) else {
        return;
    };
    if timeline
        .reached(steps::QEMU)
        .is_some_and(|at| at < stored(qemu).0)
    {
        restart(timeline);
    }
    for (step, milestone) in [
        (steps::QEMU, milestones::ADOPTED),
        (steps::QEMU, milestones::QMP),
        (steps::ADOPTED, milestones::ADOPTED),
        (steps::RESTORED, milestones::RESTORED),
        (steps::RENEWED, milestones::RENEWED),
        (steps::FIRMWARE, milestones::FIRMWARE),
        (steps::KERNEL, milestones::KERNEL),
        (steps::BOOTS_AGAIN, milestones::BOOTS_AGAIN),
        (steps::USER_SPACE, milestones::USER_SPACE),
        (steps::LOGIN, milestones::LOGIN),
    ] {
        if let Some(at) = of(milestone) {
            set(timeline, step, at);
        }
    }
    if timeline.reached(steps::RENEWED).is_some() {
        // It has booted long ago: what is left are signs of a guest that is there.
        let ends = [steps::LOGIN, steps::AGENT];
        let steps = &mut timeline.steps;
        steps.retain(|step| step.at.is_some() || ends.contains(&step.name.as_str()));
    }
    // Programs start in any order: the agent may be there before the login.
    let agent = timeline.steps.iter_mut().find(|it| it.name == steps::AGENT);
    if let (Some(agent), Some(at)) = (agent, of(milestones::AGENT)) {
        agent.at.get_or_insert_with(|| stored(at));
    }
}

/// Another QEMU runs the guest than the one that the timeline tells of: the guest starts anew.
fn restart(timeline: &mut StartTimeline) {
    let guests = timeline.steps.iter_mut();
    for step in guests.skip_while(|step| step.name != steps::QEMU) {
        step.at = None;
    }
    for step in &mut timeline.steps {
        step.usual_seconds = None;
    }
    timeline.progress_percent = 0;
    timeline.estimate = None;
    timeline.trouble = None;
    timeline.stuck = None;
}

fn scheduled_at(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let condition = status.conditions.iter().flatten();
    let condition = condition
        .into_iter()
        .find(|it| it.type_ == "PodScheduled" && it.status == "True");
    let at = condition.and_then(|it| it.last_transition_time.as_ref());
    at.or(status.start_time.as_ref()).map(|at| at.0)
}

/// Seconds from the request to the guest's login, or to its agent where it shows no login.
fn done(start: &PastStart) -> Option<f64> {
    let step = |name: &str| start.steps.get(name).copied();
    step(steps::LOGIN).or(step(steps::AGENT))
}

fn show_past(timeline: &mut StartTimeline, past: &Past) {
    if past.same.is_empty() {
        return;
    }
    // What was shown stays: more starts may have come since, which are no news of this one.
    let unknown = timeline.steps.iter_mut();
    for step in unknown.filter(|step| step.usual_seconds.is_none()) {
        let before = past.same.iter();
        let usual = median(before.filter_map(|it| it.steps.get(&step.name).copied()));
        step.usual_seconds = usual.map(|seconds| (seconds * 10.0).round() / 10.0);
    }
}

/// The place of the latest step on the way of earlier starts, in percent.
fn progress(timeline: &StartTimeline, past: &Past) -> i32 {
    if timeline.is_done() {
        return 100;
    }
    let Some(latest) = timeline.latest() else {
        return 0;
    };
    let position = past.same.iter().filter_map(|start| {
        let all = done(start).filter(|all| *all > 0.0)?;
        Some(start.steps.get(&latest.name)? / all)
    });
    let percent = match median(position) {
        Some(position) => rounded_down(position * 100.0),
        None => PROGRESS_WITHOUT_HISTORY
            .iter()
            .find(|(name, _)| *name == latest.name)
            .map_or(0, |(_, percent)| i64::from(*percent)),
    };
    let bounded = percent.clamp(0, i64::from(MOST_BEFORE_LOGIN));
    i32::try_from(bounded).unwrap_or(MOST_BEFORE_LOGIN)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "casts of floats saturate, and seconds of a start are far below the bounds"
)]
fn rounded_down(value: f64) -> i64 {
    value.floor() as i64
}

/// When the login may be expected, as the latest step lets us know: earlier starts say how long the
/// rest takes.
fn estimate(timeline: &StartTimeline, past: &Past) -> Option<StartEstimate> {
    let reached = timeline.steps.iter().rev().filter(|step| step.at.is_some());
    let starts_from = |starts: &[PastStart], name: &str| -> Vec<f64> {
        let rest = starts.iter().filter_map(|start| {
            let step = start.steps.get(name)?;
            Some(done(start)? - step)
        });
        rest.collect()
    };
    for step in reached {
        let at = step.at.as_ref()?.0;
        let elapsed = at.duration_since(timeline.started_at.0).as_secs_f64();
        let same = starts_from(&past.same, &step.name);
        let (rest, spread, basis) = if same.is_empty() {
            // The steps before the guest runs take the same on either.
            if !PROGRESS_WITHOUT_HISTORY
                .iter()
                .any(|(name, _)| *name == step.name)
            {
                continue;
            }
            let Some(factor) = past.slowdown.filter(|it| it.is_finite() && *it >= 1.0) else {
                continue;
            };
            let scaled = starts_from(&past.on_kvm, &step.name);
            let scaled: Vec<f64> = scaled.into_iter().map(|rest| rest * factor).collect();
            let basis = format!(
                "from {} with KVM, times this node's measured slowdown {factor:.1}",
                counted(scaled.len())
            );
            (scaled, Spread::SCALED, basis)
        } else {
            let basis = format!("from {}", counted(same.len()));
            (same, Spread::ALIKE, basis)
        };
        let Some((low, high)) = range(&rest, spread) else {
            continue;
        };
        return Some(StartEstimate {
            low_seconds: rounded_down(elapsed + low),
            // The request's time is kept to the second, rounded down.
            high_seconds: rounded_down(elapsed + high).saturating_add(2),
            basis,
            starts: i32::try_from(rest.len()).unwrap_or(i32::MAX),
        });
    }
    None
}

fn counted(starts: usize) -> String {
    match starts {
        1 => "1 earlier start".to_owned(),
        more => format!("{more} earlier starts"),
    }
}

fn tell_trouble(timeline: &mut StartTimeline, launcher: Option<&Status>, facts: &mut Vec<Fact>) {
    let told = launcher.and_then(|launcher| {
        let reached = launcher.latest_milestones().iter().rev();
        reached.into_iter().find_map(|it| Some((reason(it)?, it)))
    });
    // Whoever can log in is past it.
    let login = timeline.reached(steps::LOGIN);
    let Some((reason, milestone)) = told.filter(|(_, it)| login.is_none_or(|at| at < it.at)) else {
        if login.is_some() {
            timeline.trouble = None;
        }
        return;
    };
    let trouble = StartTrouble {
        reason: reason.to_owned(),
        message: milestone.text.clone().unwrap_or_default(),
        at: stored(milestone.at),
    };
    if timeline.trouble.as_ref() != Some(&trouble) {
        facts.push(Fact::warning(
            "GuestStartFailed",
            format!("the guest does not start ({reason}): {}", trouble.message),
        ));
        timeline.trouble = Some(trouble);
    }
}

fn reason(milestone: &Milestone) -> Option<&'static str> {
    match milestone.name.as_str() {
        milestones::PANIC => Some("KernelPanic"),
        milestones::EMERGENCY => Some("EmergencyMode"),
        milestones::NO_BOOT_DISK => Some("NoBootDisk"),
        _ => None,
    }
}

/// The longest silence after each step, in seconds.
fn silences(launcher: &Status) -> BTreeMap<String, f64> {
    let mut found: BTreeMap<String, f64> = BTreeMap::new();
    let mut from = steps::QEMU;
    for milestone in launcher.latest_milestones() {
        let Some(silence) = milestone.silence_milliseconds else {
            continue;
        };
        let seconds = Duration::from_millis(silence).as_secs_f64();
        let longest = found.entry(from.to_owned()).or_default();
        *longest = longest.max(seconds);
        from = match milestone.name.as_str() {
            milestones::FIRMWARE => steps::FIRMWARE,
            milestones::KERNEL => steps::KERNEL,
            milestones::USER_SPACE => steps::USER_SPACE,
            milestones::LOGIN => steps::LOGIN,
            _ => from,
        };
    }
    found
}

/// How long a guest may be silent after a step, and the longest that it ever was.
fn allowed_silence(start: Start<'_>, step: &str) -> Option<(Duration, Option<Duration>)> {
    let launcher = start.launcher?;
    let before = start.past.same.iter();
    let usual = before
        .filter_map(|it| it.silences.get(step).copied())
        .reduce(f64::max)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let none = BTreeMap::new();
    let annotations = start.instance.metadata.annotations.as_ref();
    // Admission refuses what is no number.
    if let Ok(Some(seconds)) = stuck_after(annotations.unwrap_or(&none)) {
        return Some((Duration::from_secs(seconds.into()), usual));
    }
    let allowed = match usual {
        Some(usual) => usual.mul_f64(LONGER_THAN_USUAL).max(SHORTEST_SILENCE),
        // A guest that never writes to its serial console may be there, and idle.
        None if !writes(launcher) => return None,
        None => match (launcher.accelerator, start.past.slowdown) {
            (Some(Accelerator::Kvm), _) => SILENCE_WITHOUT_HISTORY,
            (_, Some(factor)) if factor.is_finite() => SILENCE_WITHOUT_HISTORY
                .mul_f64(factor.clamp(1.0, 100.0))
                .min(LONGEST_SILENCE),
            (_, _) => LONGEST_SILENCE,
        },
    };
    Some((allowed, usual))
}

/// Whether the guest's own system has used the serial console, so that a login may be expected there.
fn writes(launcher: &Status) -> bool {
    let reached = launcher.latest_milestones().iter();
    let mut reached = reached.map(|it| it.name.as_str());
    reached.any(|name| matches!(name, milestones::KERNEL | milestones::USER_SPACE))
}

/// When the guest will be stuck if it shows no sign of life until then. `None` if it is, or cannot be.
pub(crate) fn stuck_at(start: Start<'_>, timeline: &StartTimeline) -> Option<Timestamp> {
    if timeline.is_done() {
        return None;
    }
    let launcher = start.launcher.filter(|it| it.state == State::Running)?;
    let last = launcher.last_sign?;
    if timeline
        .stuck
        .as_ref()
        .is_some_and(|it| it.since == stored(last))
    {
        return None;
    }
    let (allowed, _) = allowed_silence(start, &timeline.latest()?.name)?;
    last.checked_add(allowed).ok()
}

fn tell_stuck(
    timeline: &mut StartTimeline,
    start: Start<'_>,
    now: Timestamp,
    facts: &mut Vec<Fact>,
) {
    let running = start.launcher.filter(|it| it.state == State::Running);
    let Some(launcher) = running.filter(|_| !timeline.is_done()) else {
        // It has started, is paused, or has ended.
        if start.launcher.is_some() {
            timeline.stuck = None;
        }
        return;
    };
    let Some(last) = launcher.last_sign else {
        return; // the launcher looks no more: what was so is what is known
    };
    let since = stored(last);
    if timeline.stuck.as_ref().is_some_and(|it| it.since == since) {
        return;
    }
    timeline.stuck = None;
    let Some(latest) = timeline.latest() else {
        return;
    };
    let Some((allowed, usual)) = allowed_silence(start, &latest.name) else {
        return;
    };
    let silent = Duration::try_from(now.duration_since(last)).unwrap_or_default();
    if silent < allowed {
        return;
    }
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let usually = match usual {
        Some(usual) => format!("usual {} s at this step", usual.as_secs()),
        None => format!("{} s are allowed without earlier starts", allowed.as_secs()),
    };
    let message = format!(
        "no guest progress for {} s ({usually}): after {} it wrote nothing to its serial console, \
         used no disk and kept no processor busy",
        silent.as_secs(),
        latest.name
    );
    facts.push(Fact::warning("GuestStuck", message.clone()));
    timeline.stuck = Some(StartStuck {
        since,
        usual_seconds: usual.map(seconds),
        message,
    });
}

/// What is remembered of a start that came to its end well: by a boot, with a login or an agent, and never
/// paused or started twice, which would make its times useless for others. `None` of any other.
pub(crate) fn to_remember(
    instance: &VirtualMachineInstance,
    launcher: &Status,
) -> Option<PastStart> {
    let timeline = instance.status.as_ref()?.start_timeline.as_ref()?;
    let disturbed = launcher.milestones.iter().any(|it| {
        matches!(
            it.name.as_str(),
            milestones::PAUSED
                | milestones::STEPPED_DOWN
                | milestones::RENEWED
                | milestones::BOOTS_INSTEAD
                | milestones::BOOTS_AGAIN
        )
    });
    if disturbed || !timeline.is_done() || timeline.trouble.is_some() {
        return None;
    }
    let reached = timeline.steps.iter().filter_map(|step| {
        let at = step.at.as_ref()?.0;
        let seconds = at.duration_since(timeline.started_at.0).as_secs_f64();
        Some((step.name.clone(), seconds))
    });
    Some(PastStart {
        uid: instance.metadata.uid.clone()?,
        started_at: timeline.started_at.0,
        steps: reached.collect(),
        silences: silences(launcher),
    })
}
