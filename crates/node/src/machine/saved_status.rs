//! What a VMI says of being saved, and of going on from there. Pure.

use api::condition::{self, Condition};
use api::launcher::Status;
use api::launcher::saved::Clock;
use api::names::conditions::{RESUMED, SAVED};
use api::virtual_machine_instance::{VirtualMachineInstance, VirtualMachineInstanceStatus};
use jiff::Timestamp;

use super::decide::Outcome;
use super::save::{self, Save};
use crate::event::Fact;

/// A guest that has ended says whether it was saved, and whether it went on from what was saved before: nobody may have
/// seen it run.
pub(super) fn ended(
    status: &mut VirtualMachineInstanceStatus,
    (outcome, save): (&Outcome, &Save),
    now: Timestamp,
    facts: &mut Vec<Fact>,
) {
    let told = condition::find(&status.conditions, RESUMED).is_some();
    if save.went_on && !told && outcome.reason != save::REFUSED {
        let message = "it went on from what was saved, and ended";
        let resumed = Condition::new(RESUMED, true, now).because("Ended", message);
        condition::set(&mut status.conditions, resumed);
    }
    // Saved at its host's shutdown, it did not go on: whoever controls it has what was saved.
    if let Some(kept) = save.goes_on.as_ref().filter(|_| !save.went_on)
        && !outcome.succeeded
    {
        let message = format!(
            "saved at its host's shutdown, it did not go on: {}; what was saved stays",
            outcome.message
        );
        let saved = Condition::new(SAVED, true, now).because(outcome.reason, message);
        condition::set(&mut status.conditions, saved);
        status.saved = Some(kept.clone());
    }
    let Some(done) = &save.done else {
        return;
    };
    let at = done.at.0;
    let mebibytes = done.disk_bytes >> 20;
    let message = format!("saved with its memory at {at:.0}: {mebibytes} MiB");
    facts.push(Fact::normal("Saved", message.clone()));
    let saved = Condition::new(SAVED, true, now).because("Suspended", message);
    condition::set(&mut status.conditions, saved);
    status.saved = Some(done.clone());
}

/// A guest that runs says why it could not be saved, if that was asked for, and how it goes on, if it was saved before.
pub(super) fn runs(
    status: &mut VirtualMachineInstanceStatus,
    launcher: &Status,
    (instance, save): (&VirtualMachineInstance, &Save),
    now: Timestamp,
    facts: &mut Vec<Fact>,
) {
    match &save.failure {
        Some((message, _)) if save::wanted(instance).is_some() => {
            let failed = Condition::new(SAVED, false, now).because("SaveFailed", message.clone());
            condition::set(&mut status.conditions, failed);
        }
        _ => drop(condition::remove(&mut status.conditions, SAVED)),
    }
    let Some(resumed) = &launcher.resumed else {
        return;
    };
    let (reason, clock) = match &resumed.clock {
        Clock::Set { by } => ("ClockSet", format!("its clock was set by its {by}")),
        Clock::Late { seconds, message } => (
            "ClockLate",
            format!("its clock was late by {seconds} s when it went on: {message}"),
        ),
    };
    let message = format!("it goes on from {:.0}; {clock}", resumed.saved_at);
    let known = condition::find(&status.conditions, RESUMED);
    if known.is_none() {
        let told = format!("It goes on from {:.0}.", resumed.saved_at);
        facts.push(Fact::normal(RESUMED, told));
    }
    let goes_on = Condition::new(RESUMED, true, now).because(reason, message);
    condition::set(&mut status.conditions, goes_on);
}
