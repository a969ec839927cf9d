//! Waiting until a start has come as far as it shall, and how the waiting ends.

use std::io::IsTerminal as _;
use std::pin::pin;
use std::time::Duration;

use api::condition::{self, Condition};
use api::virtual_machine_instance::{Phase, StartTimeline, VirtualMachineInstance, steps};
use clap::ValueEnum;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::Api;
use kube::runtime::watcher::{self, watch_object};
use tokio::time::Instant;

use super::progress::Progress;
use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::output;

/// A machine that was told to start has an instance at once; a cluster under load takes seconds.
const INSTANCE_WITHIN: Duration = Duration::from_secs(60);
/// A node that comes back, or frees what another guest had, is found within seconds; a machine that
/// no node takes for so long needs somebody to do something.
pub(super) const UNPLACED_FOR: Duration = Duration::from_secs(10);
/// A watch that fails is begun again after a second, and fails again within ten if nobody answers; one
/// that has not failed for so long holds.
pub(super) const HOLDS_AFTER: Duration = Duration::from_secs(30);
/// A server that is started again is back within seconds; one that is gone for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// The line that says how it goes is written anew this often.
const REFRESH: Duration = Duration::from_secs(1);

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
pub(super) struct Outage {
    /// Its first failure, and its latest.
    failures: Option<(Instant, Instant)>,
}

impl Outage {
    /// The watch failed once more. Out: for how long it has done nothing else.
    pub(super) fn failed(&mut self, now: Instant) -> Duration {
        let first = match self.failures {
            Some((first, _)) if self.is_on(now) => first,
            _ => now,
        };
        self.failures = Some((first, now));
        now.duration_since(first)
    }

    /// Does it last? A watch is silent while nothing changes, so that silence alone ends it.
    pub(super) fn is_on(&self, now: Instant) -> bool {
        self.failures
            .is_some_and(|(_, latest)| now.duration_since(latest) < HOLDS_AFTER)
    }
}

/// The failure of a watch that will not come back; `lasts`: for how long it has failed.
pub(super) fn lost(error: watcher::Error, server: &str, lasts: Duration) -> Option<Failure> {
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
pub(super) fn outcome(
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
pub(super) fn unplaced(instance: &VirtualMachineInstance) -> Option<&Condition> {
    let status = instance.status.as_ref()?;
    condition::find(&status.conditions, "PodScheduled")
        .filter(|it| it.status == "False" && it.reason.as_deref() == Some("Unschedulable"))
}
