//! `timeline`: how a virtual machine starts, step by step, beside what its earlier starts took; and
//! waiting for it.

use std::io::IsTerminal as _;
use std::pin::pin;
use std::time::Duration;

use api::condition::{self, Condition};
use api::virtual_machine_instance::{
    Phase, StartStep, StartTimeline, VirtualMachineInstance, steps,
};
use clap::{Args, ValueEnum};
use futures::StreamExt as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use kube::runtime::watcher::{self, watch_object};
use kube::{Api, ResourceExt as _};
use serde::Serialize;
use tokio::time::Instant;

use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::{Format, output, power};

/// A machine that was told to start has an instance at once; a cluster under load takes seconds.
const INSTANCE_WITHIN: Duration = Duration::from_secs(60);
/// A node that comes back, or frees what another guest had, is found within seconds; a machine that
/// no node takes for so long needs somebody to do something.
const UNPLACED_FOR: Duration = Duration::from_secs(10);
/// A watch that fails is begun again after a second, and fails again within ten if nobody answers; one
/// that has not failed for so long holds.
const HOLDS_AFTER: Duration = Duration::from_secs(30);
/// A server that is started again is back within seconds; one that is gone for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// The line that says how it goes is written anew this often.
const REFRESH: Duration = Duration::from_secs(1);
/// Columns of the bars.
const BAR: usize = 30;

/// Until when to wait.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Goal {
    /// The guest's processors run.
    Running,
    /// Somebody can log in, or the guest agent answers.
    #[default]
    Login,
    /// The guest agent answers.
    Agent,
}

/// What `timeline` is asked.
#[derive(Args, Clone, Debug)]
pub struct Asked {
    /// Name of the virtual machine
    pub name: String,
    /// Go on showing what is reached, until somebody can log in
    #[arg(short, long)]
    pub watch: bool,
    /// Seconds after which to stop waiting [default: never]
    #[arg(long, value_name = "SECONDS", requires = "watch")]
    pub timeout: Option<u64>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t, conflicts_with = "watch")]
    pub output: Format,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    api_version: &'static str,
    kind: &'static str,
    namespace: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    accelerator: Option<&'a str>,
    #[serde(flatten)]
    timeline: &'a StartTimeline,
}

pub(crate) async fn run(connection: &Connection, asked: &Asked) -> Result<Exit, Failure> {
    let name = power::plain(&asked.name);
    let instances: Api<VirtualMachineInstance> =
        Api::namespaced(connection.client.clone(), &connection.namespace);
    let found = instances
        .get_opt(name)
        .await
        .map_err(|error| connection.failure(error))?;
    let Some(instance) = found else {
        let failure = Failure::new(format!(
            "VM {name} does not run, so there is no start to show"
        ))
        .exit(Exit::NotFound)
        .fix(
            &format!("anyvirt start {name} --wait"),
            "starts it and shows how that goes",
        );
        return Err(power::not_found(connection, name, failure).await);
    };
    if asked.watch {
        let within = asked.timeout.map(Duration::from_secs);
        return follow(connection, name, Goal::Login, within).await;
    }
    let Some(timeline) = timeline(&instance) else {
        let phase = instance.status.as_ref().and_then(|status| status.phase);
        let phase = phase.unwrap_or(Phase::Pending);
        let message = format!("the start of VM {name} has no steps yet: it is {phase}");
        return Err(Failure::new(message)
            .exit(Exit::NotFound)
            .fix(&format!("anyvirt explain {name}"), "says what it waits for"));
    };
    let shown = Shown {
        api_version: crate::status::API_VERSION,
        kind: "StartTimeline",
        namespace: &connection.namespace,
        name,
        accelerator: accelerator(&instance),
        timeline,
    };
    output::object(asked.output, &shown, || {
        table(timeline, Timestamp::now(), &TimeZone::system())
    })
}

fn timeline(instance: &VirtualMachineInstance) -> Option<&StartTimeline> {
    instance.status.as_ref()?.start_timeline.as_ref()
}

fn accelerator(instance: &VirtualMachineInstance) -> Option<&str> {
    let status = instance.status.as_ref()?;
    status.accelerator.as_ref().map(|it| it.type_.as_str())
}

/// The name of a step for people.
fn title(name: &str) -> &str {
    match name {
        steps::REQUESTED => "Requested",
        steps::SCHEDULED => "Scheduled",
        steps::IMAGE => "Image",
        steps::QUEUED => "Queued",
        steps::QEMU => "QEMU",
        steps::FIRMWARE => "Firmware",
        steps::KERNEL => "Kernel",
        steps::USER_SPACE => "User space",
        steps::LOGIN => "Login",
        steps::AGENT => "Agent",
        other => other,
    }
}

/// Seconds from the request to the step.
fn after(timeline: &StartTimeline, step: &StartStep) -> Option<f64> {
    let at = step.at.as_ref()?.0;
    Some(at.duration_since(timeline.started_at.0).as_secs_f64())
}

fn seconds(value: f64) -> String {
    format!("{value:.1} s")
}

/// The steps as a table with bars, and below it what may be expected.
fn table(timeline: &StartTimeline, now: Timestamp, zone: &TimeZone) -> String {
    let reached = timeline.steps.iter().filter_map(|it| after(timeline, it));
    let usual = timeline.steps.iter().filter_map(|it| it.usual_seconds);
    let whole = reached.chain(usual).fold(0.0, f64::max);
    let mut header = vec!["STEP", "TIME", "AFTER", "TOOK", "USUALLY AFTER"];
    header.retain(|column| *column != "USUALLY AFTER" || has_past(timeline));
    let mut rows = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    let mut before = 0.0;
    let last = timeline.latest().map(|step| step.name.as_str());
    let mut passed = last.is_some();
    for step in &timeline.steps {
        let mut row = vec![title(&step.name).to_owned()];
        let mut bar = String::new();
        match (after(timeline, step), &step.at) {
            (Some(reached), Some(at)) => {
                let time = at.0.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string();
                let took = (reached - before).max(0.0);
                row.extend([time, seconds(reached), seconds(took)]);
                bar = bar_of(before, reached, whole);
                before = reached;
            }
            // A later step was reached, so this one was too, and told nothing.
            _ if passed => row.extend(["no signal".to_owned(), String::new(), String::new()]),
            _ => row.extend(["-".to_owned(), String::new(), String::new()]),
        }
        if has_past(timeline) {
            row.push(step.usual_seconds.map(seconds).unwrap_or_default());
        }
        row.push(bar);
        rows.push(row);
        passed &= last != Some(step.name.as_str());
    }
    let mut text = output::columns(&rows);
    for line in remarks(timeline, now) {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn has_past(timeline: &StartTimeline) -> bool {
    timeline
        .steps
        .iter()
        .any(|step| step.usual_seconds.is_some())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "columns of a bar: from 0 to BAR"
)]
fn bar_of(from: f64, to: f64, whole: f64) -> String {
    if whole <= 0.0 {
        return String::new();
    }
    let column = |at: f64| ((at / whole).clamp(0.0, 1.0) * BAR as f64).round() as usize;
    let (from, to) = (column(from), column(to));
    format!(
        "{}{}",
        " ".repeat(from),
        "█".repeat(to.saturating_sub(from))
    )
}

/// What there is to say below the steps.
fn remarks(timeline: &StartTimeline, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(trouble) = &timeline.trouble {
        lines.push(format!("! {}: {}", trouble.reason, trouble.message));
    }
    if let Some(stuck) = &timeline.stuck {
        lines.push(format!("! stuck: {}", stuck.message));
    }
    let login = timeline
        .reached(steps::LOGIN)
        .map(|at| at.duration_since(timeline.started_at.0).as_secs_f64());
    let expected = timeline.estimate.as_ref().map(|it| {
        let (low, high) = (it.low_seconds, it.high_seconds);
        (format!("{low}-{high} s ({})", it.basis), low, high)
    });
    lines.push(match (login, expected) {
        (Some(login), Some((words, ..))) => {
            format!("Login after {}; expected after {words}.", seconds(login))
        }
        (Some(login), None) => format!("Login after {}.", seconds(login)),
        (None, _) if timeline.is_done() => "The guest agent answers.".to_owned(),
        (None, Some((words, _, high))) => {
            let percent = timeline.progress_percent;
            let elapsed = now.duration_since(timeline.started_at.0).as_secs();
            let late = if elapsed > high {
                ", later than expected"
            } else {
                ""
            };
            format!("{percent} % after {elapsed} s; login expected after {words}{late}.")
        }
        (None, None) => format!(
            "{} %; no estimate yet: no earlier start of the same image, processors and accelerator \
             reached its login on this node.",
            timeline.progress_percent
        ),
    });
    lines
}

/// Waits until the goal is reached, and shows each step as it comes.
///
/// # Errors
/// [`Exit::Failure`] if the guest or its start fails, [`Exit::Acceleration`] if no node takes it for want
/// of a device, [`Exit::TimedOut`] after `within`.
pub(crate) async fn follow(
    connection: &Connection,
    name: &str,
    goal: Goal,
    within: Option<Duration>,
) -> Result<Exit, Failure> {
    let instances: Api<VirtualMachineInstance> =
        Api::namespaced(connection.client.clone(), &connection.namespace);
    let mut changes = pin!(watch_object(instances, name));
    let begun = Instant::now();
    let mut shown = Progress::new(std::io::stderr().is_terminal());
    let mut refresh = tokio::time::interval(REFRESH);
    let mut latest: Option<Option<VirtualMachineInstance>> = None;
    let mut outage = Outage::default();
    let outcome = loop {
        if let Some(instance) = &latest
            && let Some(outcome) = outcome(name, instance.as_ref(), goal, &shown, begun.elapsed())
        {
            break outcome;
        }
        let late = async {
            match within {
                Some(within) => tokio::time::sleep_until(begun + within).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(instance)) => {
                    outage = Outage::default();
                    for line in shown.take(instance.as_ref()) {
                        shown.clear();
                        output::data(&line)?;
                    }
                    latest = Some(instance);
                }
                // The watch is begun again by itself.
                Some(Err(error)) => {
                    let lasts = outage.failed(Instant::now());
                    if let Some(failure) = lost(error, &connection.server, lasts) {
                        break Err(failure);
                    }
                    tokio::time::sleep(REFRESH).await;
                }
                None => break Err(Failure::new("the watch has ended")),
            },
            _ = refresh.tick() => {
                let unknown = outage.is_on(Instant::now());
                if shown.instance.is_none() && begun.elapsed() > INSTANCE_WITHIN && !unknown {
                    let message = format!("VM {name} has no instance after {} s", INSTANCE_WITHIN.as_secs());
                    break Err(Failure::new(message).exit(Exit::TimedOut).fix(&format!("anyvirt explain {name}"), "says why"));
                }
                shown.refresh(Timestamp::now());
            }
            () = late => {
                let message = format!(
                    "VM {name} did not get there within {} s; it goes on starting",
                    within.unwrap_or_default().as_secs()
                );
                break Err(Failure::new(message).exit(Exit::TimedOut).fix(&format!("anyvirt timeline {name}"), "shows how far it is"));
            }
        }
    };
    shown.clear();
    outcome
}

/// For how long the watch has failed, over all tries.
#[derive(Debug, Default)]
struct Outage {
    /// Its first failure, and its latest.
    failures: Option<(Instant, Instant)>,
}

impl Outage {
    /// The watch failed once more. Out: for how long it has done nothing else.
    fn failed(&mut self, now: Instant) -> Duration {
        let first = match self.failures {
            Some((first, _)) if self.is_on(now) => first,
            _ => now,
        };
        self.failures = Some((first, now));
        now.duration_since(first)
    }

    /// Does it last? A watch is silent while nothing changes, so that silence alone ends it.
    fn is_on(&self, now: Instant) -> bool {
        self.failures
            .is_some_and(|(_, latest)| now.duration_since(latest) < HOLDS_AFTER)
    }
}

/// The failure of a watch that will not come back; `lasts`: for how long it has failed.
fn lost(error: watcher::Error, server: &str, lasts: Duration) -> Option<Failure> {
    use watcher::Error::{
        InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed,
    };
    let said = error.to_string();
    let failure = match error {
        InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) => {
            Failure::of(error, server)
        }
        WatchError(status) => Failure::of(kube::Error::Api(status), server),
        NoResourceVersion => Failure::new(format!("{server}: {said}")),
    };
    // Who may not look now may not look later.
    if failure.exit == Exit::Forbidden {
        return Some(failure);
    }
    let message = format!(
        "the watch has failed for {} s: {}",
        lasts.as_secs(),
        failure.message
    );
    (lasts >= GONE_AFTER).then_some(Failure {
        message,
        exit: Exit::Unreachable,
        ..failure
    })
}

/// How the waiting ends, if it does.
fn outcome(
    name: &str,
    instance: Option<&VirtualMachineInstance>,
    goal: Goal,
    shown: &Progress,
    waited: Duration,
) -> Option<Result<Exit, Failure>> {
    let explain = format!("anyvirt explain {name}");
    let failed = |message: String| Some(Err(Failure::new(message).fix(&explain, "says why")));
    let Some(instance) = instance else {
        // One that was there and is gone was stopped; one that was not there yet may come.
        return if shown.instance.is_some() {
            failed(format!("VM {name} was stopped while it started"))
        } else {
            None
        };
    };
    let status = instance.status.clone().unwrap_or_default();
    let timeline = status.start_timeline.as_ref();
    let is_running = status.phase == Some(Phase::Running);
    let reached = match goal {
        Goal::Running => is_running,
        Goal::Login => is_running && timeline.is_some_and(StartTimeline::is_done),
        Goal::Agent => is_running && timeline.is_some_and(|it| it.reached(steps::AGENT).is_some()),
    };
    if reached {
        return Some(Ok(Exit::Ok));
    }
    if let Some(phase) = status.phase.filter(|phase| phase.is_final()) {
        // It may be the one before, whose successor comes at once.
        let old = shown.instance.is_none() && waited < INSTANCE_WITHIN;
        let why = status.reason.map_or(String::new(), |it| format!(" ({it})"));
        return if old {
            None
        } else {
            failed(format!("VM {name} ended before that: {phase}{why}"))
        };
    }
    if let Some(trouble) = timeline.and_then(|it| it.trouble.as_ref()) {
        return failed(format!(
            "VM {name} does not start ({}): {}",
            trouble.reason, trouble.message
        ));
    }
    let unplaced = unplaced(instance)?;
    if shown
        .unplaced
        .is_none_or(|since| since.elapsed() < UNPLACED_FOR)
    {
        return None;
    }
    let message = unplaced.message.clone().unwrap_or_default();
    let exit = if message.contains("devices.kubevirt.io/") {
        Exit::Acceleration
    } else {
        Exit::Failure
    };
    let failure = Failure::new(format!("VM {name} cannot be scheduled: {message}"));
    Some(Err(failure
        .exit(exit)
        .fix(&explain, "says why, and what helps")))
}

/// The condition of a machine that no node takes.
fn unplaced(instance: &VirtualMachineInstance) -> Option<&Condition> {
    let status = instance.status.as_ref()?;
    condition::find(&status.conditions, "PodScheduled")
        .filter(|it| it.status == "False" && it.reason.as_deref() == Some("Unschedulable"))
}

/// What has been shown of a start.
struct Progress {
    terminal: bool,
    /// UID of the instance that is followed.
    instance: Option<String>,
    told: Vec<String>,
    timeline: Option<StartTimeline>,
    line: bool,
    /// Since when no node takes it.
    unplaced: Option<Instant>,
}

impl Progress {
    fn new(terminal: bool) -> Self {
        Self {
            terminal,
            instance: None,
            told: Vec::new(),
            timeline: None,
            line: false,
            unplaced: None,
        }
    }

    /// Lines for what is new.
    fn take(&mut self, instance: Option<&VirtualMachineInstance>) -> Vec<String> {
        let Some(instance) = instance else {
            return Vec::new();
        };
        let phase = instance.status.as_ref().and_then(|status| status.phase);
        if self.instance.is_none() && phase.is_some_and(Phase::is_final) {
            return Vec::new();
        }
        if self.instance != instance.uid() {
            self.instance = instance.uid();
            self.told.clear();
        }
        self.unplaced = unplaced(instance).map(|_| self.unplaced.unwrap_or_else(Instant::now));
        let Some(timeline) = timeline(instance) else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        for step in &timeline.steps {
            let Some(reached) = after(timeline, step) else {
                continue;
            };
            let more = match step.name.as_str() {
                steps::QEMU => accelerator(instance).unwrap_or_default(),
                _ => "",
            };
            let line = format!(
                "✓ {:<12} {:>8}   {more}",
                title(&step.name),
                seconds(reached)
            );
            self.tell(&step.name, line.trim_end(), &mut lines);
        }
        if let Some(stuck) = &timeline.stuck {
            self.tell(&stuck.message, &format!("! {}", stuck.message), &mut lines);
        }
        if let Some(estimate) = timeline.estimate.as_ref().filter(|_| !timeline.is_done()) {
            let line = format!(
                "  login expected after {}-{} s ({})",
                estimate.low_seconds, estimate.high_seconds, estimate.basis
            );
            // Once; the moving line has the latest.
            self.tell("estimate", &line, &mut lines);
        }
        self.timeline = Some(timeline.clone());
        lines
    }

    fn tell(&mut self, what: &str, line: &str, lines: &mut Vec<String>) {
        if !self.told.iter().any(|told| told == what) {
            self.told.push(what.to_owned());
            lines.push(format!("{line}\n"));
        }
    }

    /// The line that says how it goes, on a terminal.
    fn refresh(&mut self, now: Timestamp) {
        let Some(timeline) = self.timeline.as_ref().filter(|_| self.terminal) else {
            return;
        };
        output::question(&format!("\r\x1b[K  {}", moving(timeline, now)));
        self.line = true;
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.line) {
            output::question("\r\x1b[K");
        }
    }
}

/// How it goes, in one line.
fn moving(timeline: &StartTimeline, now: Timestamp) -> String {
    let elapsed = now.duration_since(timeline.started_at.0).as_secs().max(0);
    let percent = timeline.progress_percent;
    let rest = timeline.estimate.as_ref().map(|estimate| {
        let (low, high) = (
            estimate.low_seconds - elapsed,
            estimate.high_seconds - elapsed,
        );
        match (low, high) {
            (_, ..=0) => "later than expected".to_owned(),
            (..=0, high) => format!("login within {high} s ({})", estimate.basis),
            (low, high) => format!("login in {low}-{high} s ({})", estimate.basis),
        }
    });
    let rest = rest.unwrap_or_else(|| "no estimate yet".to_owned());
    format!("{elapsed} s, {percent} %, {rest}")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{Value, json};

    use super::*;

    fn instance(timeline: &Value, more: &Value) -> VirtualMachineInstance {
        let mut object = json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": { "name": "web", "uid": "u" },
            "spec": { "domain": { "devices": {} } },
            "status": { "phase": "Running", "accelerator": { "type": "TCG" }, "startTimeline": timeline },
        });
        for (key, value) in more.as_object().expect("an object") {
            object["status"][key] = value.clone();
        }
        serde_json::from_value(object).expect("a VMI")
    }

    fn started(reached: &[(&str, Option<&str>)]) -> Value {
        let steps: Vec<Value> = reached
            .iter()
            .map(|(name, at)| match at {
                Some(at) => json!({ "name": name, "at": format!("2026-11-22T10:00:{at}Z") }),
                None => json!({ "name": name }),
            })
            .collect();
        json!({ "startedAt": "2026-11-22T10:00:00Z", "progressPercent": 40, "steps": steps })
    }

    fn now(second: i64) -> Timestamp {
        let start: Timestamp = "2026-11-22T10:00:00Z".parse().expect("a time");
        start + jiff::SignedDuration::from_secs(second)
    }

    #[test]
    fn a_finished_start_shows_times_bars_and_what_gave_no_signal() {
        let mut value = started(&[
            ("requested", Some("00.0")),
            ("scheduled", Some("00.0")),
            ("image", Some("01.5")),
            ("qemu", Some("02.0")),
            ("firmware", Some("02.1")),
            ("kernel", None),
            ("user-space", Some("07.0")),
            ("login", Some("12.0")),
            ("agent", None),
        ]);
        value["estimate"] = json!({ "lowSeconds": 8, "highSeconds": 20, "starts": 3, "basis": "from 3 earlier starts" });
        value["steps"][7]["usualSeconds"] = json!(11.4);
        let instance = instance(&value, &json!({}));
        let timeline = timeline(&instance).expect("there");
        expect![[r#"
            STEP         TIME        AFTER    TOOK    USUALLY AFTER
            Requested    10:00:00    0.0 s    0.0 s
            Scheduled    10:00:00    0.0 s    0.0 s
            Image        10:00:01    1.5 s    1.5 s                   ████
            QEMU         10:00:02    2.0 s    0.5 s                       █
            Firmware     10:00:02    2.1 s    0.1 s
            Kernel       no signal
            User space   10:00:07    7.0 s    4.9 s                        █████████████
            Login        10:00:12    12.0 s   5.0 s   11.4 s                            ████████████
            Agent        -
            Login after 12.0 s; expected after 8-20 s (from 3 earlier starts).
        "#]]
        .assert_eq(&table(timeline, now(13), &TimeZone::UTC));
    }

    #[test]
    fn a_start_under_way_says_what_to_expect_and_what_is_wrong() {
        let mut value = started(&[
            ("requested", Some("00.0")),
            ("qemu", Some("02.0")),
            ("login", None),
        ]);
        let remarks = |value: &Value, second| {
            let instance = instance(value, &json!({}));
            remarks(timeline(&instance).expect("there"), now(second))
        };
        assert!(remarks(&value, 9)[0].starts_with("40 %; no estimate yet: "));
        value["estimate"] = json!({ "lowSeconds": 8, "highSeconds": 20, "starts": 1, "basis": "from 1 earlier start" });
        assert_eq!(
            remarks(&value, 9),
            ["40 % after 9 s; login expected after 8-20 s (from 1 earlier start)."]
        );
        assert!(remarks(&value, 21)[0].ends_with("later than expected."));
        value["stuck"] =
            json!({ "since": "2026-11-22T10:00:02Z", "message": "no guest progress for 90 s" });
        value["trouble"] =
            json!({ "reason": "KernelPanic", "message": "VFS", "at": "2026-11-22T10:00:02Z" });
        assert_eq!(
            remarks(&value, 9)[..2],
            ["! KernelPanic: VFS", "! stuck: no guest progress for 90 s"]
        );
        let instance = instance(&value, &json!({}));
        let timeline = timeline(&instance).expect("there");
        for (second, line) in [
            (5, "5 s, 40 %, login in 3-15 s (from 1 earlier start)"),
            (9, "9 s, 40 %, login within 11 s (from 1 earlier start)"),
            (20, "20 s, 40 %, later than expected"),
        ] {
            assert_eq!(moving(timeline, now(second)), line);
        }
    }

    #[test]
    fn waiting_shows_each_step_once_and_ends_at_its_goal() {
        let mut shown = Progress::new(false);
        let short = started(&[
            ("requested", Some("00.0")),
            ("qemu", Some("02.0")),
            ("login", None),
        ]);
        let whole = started(&[
            ("requested", Some("00.0")),
            ("qemu", Some("02.0")),
            ("login", Some("09.5")),
        ]);
        let first = instance(&short, &json!({}));
        assert_eq!(
            shown.take(Some(&first)),
            [
                "✓ Requested       0.0 s\n",
                "✓ QEMU            2.0 s   TCG\n"
            ]
        );
        assert_eq!(shown.take(Some(&first)), [""; 0]);
        let end = |instance: &VirtualMachineInstance, goal, shown: &Progress| {
            outcome("web", Some(instance), goal, shown, Duration::ZERO)
        };
        assert_eq!(end(&first, Goal::Running, &shown), Some(Ok(Exit::Ok)));
        assert_eq!(end(&first, Goal::Login, &shown), None);
        let last = instance(&whole, &json!({}));
        assert_eq!(shown.take(Some(&last)), ["✓ Login           9.5 s\n"]);
        assert_eq!(end(&last, Goal::Login, &shown), Some(Ok(Exit::Ok)));
        assert_eq!(end(&last, Goal::Agent, &shown), None);
    }

    #[test]
    fn an_agent_that_answered_and_is_gone_is_not_waited_for_with_success() {
        let timeline = started(&[("requested", Some("00.0")), ("agent", Some("09.0"))]);
        let mut shown = Progress::new(false);
        let running = instance(&timeline, &json!({}));
        shown.take(Some(&running));
        let end = |instance: &VirtualMachineInstance| {
            outcome("web", Some(instance), Goal::Agent, &shown, Duration::ZERO)
        };
        assert_eq!(end(&running), Some(Ok(Exit::Ok)));
        for phase in ["Failed", "Succeeded"] {
            let ended = end(&instance(&timeline, &json!({ "phase": phase })));
            let failure = ended.expect("an end").expect_err("a failure");
            assert_eq!(
                failure.message,
                format!("VM web ended before that: {phase}")
            );
        }
    }

    fn refused(code: u16) -> watcher::Error {
        let status = json!({ "status": "Failure", "message": "no", "reason": "R", "code": code });
        watcher::Error::WatchError(serde_json::from_value(status).expect("a Status"))
    }

    #[test]
    fn a_watch_that_may_not_look_is_told_at_once_and_another_when_it_lasts() {
        let lost = |code, seconds| lost(refused(code), "S", Duration::from_secs(seconds));
        for code in [401, 403] {
            assert_eq!(lost(code, 0).map(|it| it.exit), Some(Exit::Forbidden));
        }
        assert_eq!(lost(500, 59), None);
        let gone = lost(500, 60).expect("a failure");
        assert_eq!(gone.exit, Exit::Unreachable);
        assert_eq!(gone.message, "the watch has failed for 60 s: no");
    }

    #[tokio::test(start_paused = true)]
    async fn only_failures_without_a_pause_between_are_one_outage() {
        let mut outage = Outage::default();
        for seconds in [0, 11, 22] {
            assert_eq!(outage.failed(Instant::now()).as_secs(), seconds);
            tokio::time::advance(Duration::from_secs(11)).await;
        }
        assert!(outage.is_on(Instant::now()));
        // Silence: the watch held, and nothing changed.
        tokio::time::advance(HOLDS_AFTER).await;
        assert!(!outage.is_on(Instant::now()));
        assert_eq!(outage.failed(Instant::now()), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_nothing_more_can_come() {
        let short = started(&[("requested", Some("00.0")), ("login", None)]);
        let mut trouble = short.clone();
        trouble["trouble"] =
            json!({ "reason": "NoBootDisk", "message": "none", "at": "2026-11-22T10:00:02Z" });
        let nowhere = |message: &str| {
            json!({ "phase": "Scheduling", "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message }] })
        };
        for (instance, exit, words) in [
            (
                instance(&short, &json!({ "phase": "Failed", "reason": "Error" })),
                Exit::Failure,
                "VM web ended before that: Failed (Error)",
            ),
            (
                instance(&trouble, &json!({})),
                Exit::Failure,
                "VM web does not start (NoBootDisk): none",
            ),
            (
                instance(
                    &short,
                    &nowhere("0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm."),
                ),
                Exit::Acceleration,
                "VM web cannot be scheduled: 0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm.",
            ),
            (
                instance(&short, &nowhere("0/1 nodes")),
                Exit::Failure,
                "VM web cannot be scheduled: 0/1 nodes",
            ),
        ] {
            let mut shown = Progress::new(false);
            shown.take(Some(&instance));
            shown.instance = Some("u".to_owned());
            if unplaced(&instance).is_some() {
                // A node may just come back.
                let early = outcome("web", Some(&instance), Goal::Login, &shown, Duration::ZERO);
                assert_eq!(early, None);
                tokio::time::advance(UNPLACED_FOR).await;
            }
            let failure = outcome("web", Some(&instance), Goal::Login, &shown, Duration::ZERO)
                .expect("an end")
                .expect_err("a failure");
            assert_eq!((failure.exit, failure.message.as_str()), (exit, words));
        }
        // What is left of the start before is waited out, and so is the time until there is one.
        let mut shown = Progress::new(false);
        let old = instance(&short, &json!({ "phase": "Succeeded" }));
        assert_eq!(shown.take(Some(&old)), [""; 0]);
        assert_eq!(
            outcome("web", Some(&old), Goal::Login, &shown, Duration::ZERO),
            None
        );
        assert_eq!(
            outcome("web", None, Goal::Login, &shown, Duration::ZERO),
            None
        );
        shown.take(Some(&instance(&short, &json!({}))));
        let gone = outcome("web", None, Goal::Login, &shown, Duration::ZERO);
        assert!(gone.expect("an end").is_err());
    }
}
