//! `timeline`: how a virtual machine starts, step by step, beside what its earlier starts took; and
//! waiting for it.

mod progress;
#[cfg(test)]
mod tests;
mod wait;

pub(crate) use wait::{Goal, follow};

use std::time::Duration;

use api::virtual_machine_instance::{
    Phase, StartStep, StartTimeline, VirtualMachineInstance, steps,
};
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use kube::Api;
use serde::Serialize;

use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::{Format, output, power};

/// Columns of the bars.
const BAR: usize = 30;

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
        steps::BOOTS_INSTEAD => "Boots instead",
        steps::BOOTS_AGAIN => "Boots again",
        steps::ADOPTED => "Adopted",
        steps::RESTORED => "Restored",
        steps::RENEWED => "Renewed",
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
        (None, _) if timeline.reached(steps::RENEWED).is_some() => {
            let renewed = timeline.steps.iter().find(|it| it.name == steps::RENEWED);
            let took = renewed.and_then(|step| after(timeline, step));
            let took = took.unwrap_or_default();
            format!("Started from a template, as itself after {took:.3} s.")
        }
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
