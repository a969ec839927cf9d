//! From what was seen to the verdict: which run is next, and what it all means.

use std::fmt::Write as _;
use std::time::Duration;

use super::guest::LOOP_INSTRUCTIONS;
use super::session::{Ending, Observation};
use super::stage::{Plan, Stage};
use super::verdict::{Class, Verdict};

/// So many runs must pass before KVM is trusted. Nested virtualization fails now and then: of a fault
/// that hits one start in three, three runs find 70 percent; and three healthy runs take some
/// milliseconds, far below the 100 that a start of the node may lose.
pub const HEALTHY_RUNS: usize = 3;
/// So many late runs in a row mean that the guest is slow or hangs, not that the machine is busy: one
/// late run is chance under load, and four of them stay within a second.
pub const LATE_TRIES: usize = 4;
/// All runs together: no further one is begun after this time.
pub const TOTAL_PATIENCE: Duration = Duration::from_millis(600);

/// Numbers of Linux' errors; the same on all its architectures.
const NOT_PERMITTED: i32 = 1;
const NO_ENTRY: i32 = 2;
const NO_DEVICE_OR_ADDRESS: i32 = 6;
const NO_MEMORY: i32 = 12;
const ACCESS_DENIED: i32 = 13;
const BUSY: i32 = 16;
const NO_DEVICE: i32 = 19;

/// The step by which a guest is entered.
pub(super) const RUN: &str = "KVM_RUN";

/// A step that failed, so that no guest ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The step, e.g. `KVM_CREATE_VM`; `open` for the device itself.
    pub step: &'static str,
    /// The number of the kernel's error, if it was the kernel's.
    pub number: Option<i32>,
    /// The error as a text.
    pub error: String,
    /// The device's rights, where they are in the way.
    pub rights: Option<String>,
}

/// What is known of the machine beside the device: never proof, but it names the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each true or not"
)]
pub struct Hints {
    /// The processor says that it runs under a hypervisor.
    pub virtual_machine: bool,
    /// The processor offers vmx or svm; `None` where its flags do not tell, as on any but x86.
    pub processor_flag: Option<bool>,
    /// `kvm_intel`, `kvm_amd` or the like is loaded.
    pub module_loaded: bool,
    /// The kernel's log says that the firmware has switched it off.
    pub firmware_disabled: bool,
    /// We are in a container.
    pub container: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Run a guest of this plan, and ask again with one observation more.
    Run(Plan),
    /// Enough was seen.
    Done(Verdict),
}

/// What to do after `seen`, in the order in which it was seen; `plan` is what a guest shall pass.
///
/// Starts with nothing seen; ends after at most [`HEALTHY_RUNS`] × [`LATE_TRIES`] runs and one or two
/// that only look for more evidence.
#[must_use]
pub fn next(plan: &Plan, seen: &[Observation]) -> Next {
    let whole: Vec<&Observation> = seen.iter().filter(|one| one.plan == *plan).collect();
    let passed = count(&whole, |one| one.ending == Ending::Passed);
    let failed: Vec<&Observation> = whole
        .iter()
        .filter(|one| !is_late(one) && one.ending != Ending::Passed)
        .copied()
        .collect();
    let took: Duration = seen.iter().map(|one| one.took).sum();
    let in_time = took < TOTAL_PATIENCE;

    // A counter is proof, and no chance: one run is enough, and another for the evidence.
    if let Some(emulated) = seen
        .iter()
        .find(|one| matches!(one.ending, Ending::Emulated(_)))
    {
        return match evidence_of(seen, plan, Stage::Instructions) {
            Evidence::Missing(plan) if in_time => Next::Run(plan),
            Evidence::Missing(_) => Next::Done(emulated_kernel(emulated, None, seen)),
            Evidence::Seen(more) => Next::Done(emulated_kernel(emulated, Some(more), seen)),
        };
    }
    if let Some(first) = failed.first() {
        // What an emulator of instructions cannot do, hardware can: the loop tells which it is.
        let instruction = matches!(first.ending, Ending::InternalError { .. });
        if instruction && first.loop_time.is_none() {
            match evidence_of(seen, plan, Stage::Loop) {
                Evidence::Missing(plan) if in_time => return Next::Run(plan),
                Evidence::Seen(one) if one.ending == Ending::Endless => {
                    return Next::Done(emulated_by_signs(one, 1, first, seen));
                }
                Evidence::Missing(_) | Evidence::Seen(_) => {}
            }
        }
        if whole.len() < HEALTHY_RUNS && in_time {
            return Next::Run(plan.clone());
        }
        return Next::Done(failure(first, failed.len(), whole.len(), seen));
    }
    if passed >= HEALTHY_RUNS {
        return Next::Done(usable(&whole, seen));
    }
    let late = whole.iter().rev().take_while(|one| is_late(one)).count();
    if late >= LATE_TRIES || !in_time {
        let last = whole.last().copied().filter(|one| is_late(one));
        return match last {
            // Passed before, or a loop that a busy machine let finish in no try.
            Some(last) if passed == 0 || late >= LATE_TRIES => too_late(plan, last, late, seen),
            _ if passed > 0 => Next::Done(usable(&whole, seen)),
            _ => Next::Run(plan.clone()),
        };
    }
    Next::Run(plan.clone())
}

/// The verdict when a step before the guest's first instruction failed, or its first entry.
#[must_use]
pub fn obstructed(obstacle: &Obstacle, hints: &Hints) -> Verdict {
    let step = obstacle.step;
    let at = |class, evidence: String| Verdict::new(class, evidence).at(step);
    let error = &obstacle.error;
    match (step, obstacle.number) {
        ("open", Some(NO_ENTRY)) => missing(hints),
        ("open", Some(NO_DEVICE | NO_DEVICE_OR_ADDRESS)) => {
            let verdict = missing(hints);
            let evidence = format!(
                "/dev/kvm is a file without a driver ({error}); {}",
                verdict.evidence
            );
            let class = match verdict.class {
                Class::DeviceMissing => Class::ModuleAbsent,
                other => other,
            };
            at(class, evidence)
        }
        ("open", Some(NOT_PERMITTED | ACCESS_DENIED)) => at(
            Class::PermissionDenied,
            format!(
                "/dev/kvm exists and may not be opened ({}): {error}",
                obstacle
                    .rights
                    .as_deref()
                    .unwrap_or("its rights are unknown")
            ),
        ),
        (_, Some(BUSY)) => at(
            Class::DeviceBusy,
            format!(
                "/dev/kvm exists, and another hypervisor holds the processor's virtualization: \
                 {step} says {error}"
            ),
        ),
        (_, Some(NO_MEMORY)) => at(
            Class::OutOfMemory,
            format!(
                "/dev/kvm opens, and the kernel has no memory for a guest: {step} says {error}"
            ),
        ),
        ("open" | "KVM_GET_API_VERSION", _) => at(
            Class::DeviceBroken,
            format!("/dev/kvm exists and does not work: {step} says {error}"),
        ),
        (RUN, _) => at(
            Class::EntryFailed,
            format!("/dev/kvm opens, and a guest cannot be entered: {step} says {error}"),
        ),
        (_, Some(NOT_PERMITTED | ACCESS_DENIED)) => at(
            Class::PermissionDenied,
            format!("/dev/kvm opens, and a guest may not be made: {step} says {error}"),
        ),
        (_, _) => at(
            Class::SetupFailed,
            format!("/dev/kvm opens, and a guest cannot be made: {step} says {error}"),
        ),
    }
}

/// The verdict when the kernel never came back to us; `place` is the step or the stage.
#[must_use]
pub fn dead(place: &str, waited: Duration) -> Verdict {
    Verdict::new(
        Class::DeadVcpu,
        format!(
            "/dev/kvm opens, and at {place} the kernel did not come back within {} ms, although it \
             was interrupted",
            waited.as_millis()
        ),
    )
    .at(place)
}

/// The verdict when so many earlier runs of this process never came back, and none more was begun: it
/// would have to leave another guest behind.
#[must_use]
pub fn left_behind(count: usize) -> Verdict {
    Verdict::new(
        Class::DeadVcpu,
        format!(
            "no further guest was made: the kernel has not come back from {count} earlier ones of \
             this process, although they were interrupted, and each holds its VM until it does"
        ),
    )
    .at("open")
}

/// No device: the hints say why, if anything does.
fn missing(hints: &Hints) -> Verdict {
    let (class, why) = if hints.container {
        (
            Class::DeviceMissing,
            "this is a container, and the device was not handed into it",
        )
    } else if hints.firmware_disabled {
        (
            Class::DisabledByFirmware,
            "the kernel says that the firmware has switched the processor's virtualization off",
        )
    } else {
        match (hints.processor_flag, hints.virtual_machine) {
            // Neither vmx nor a module with a maker's name is anything that this machine could have.
            (None, _) => (
                Class::DeviceMissing,
                "its kernel was built without KVM, was not started with the right to virtualize, or \
                 has made no device of it; this processor does not tell which",
            ),
            (Some(true), _) if !hints.module_loaded => (
                Class::ModuleAbsent,
                "the processor offers virtualization, and the module kvm_intel or kvm_amd is not loaded",
            ),
            (Some(true), _) => (
                Class::DeviceMissing,
                "the module is loaded, and yet nothing has made the device",
            ),
            (Some(false), true) => (
                Class::NestedOff,
                "this is a virtual machine, and its host does not hand virtualization on: its \
                 processor has neither vmx nor svm",
            ),
            (Some(false), false) => (
                Class::DisabledByFirmware,
                "the processor has neither vmx nor svm: it is switched off in the firmware, or the \
                 processor has none",
            ),
        }
    };
    Verdict::new(class, format!("there is no /dev/kvm: {why}")).at("open")
}

/// Whether a second, smaller run has told more.
enum Evidence<'a> {
    Missing(Plan),
    Seen(&'a Observation),
}

/// A run of only that stage, or of the whole plan if it came to the same.
fn evidence_of<'a>(seen: &'a [Observation], whole: &Plan, stage: Stage) -> Evidence<'a> {
    let plan = Plan::new(&[stage]);
    match seen.iter().find(|one| one.plan == plan && plan != *whole) {
        Some(one) => Evidence::Seen(one),
        None => Evidence::Missing(plan),
    }
}

fn count(seen: &[&Observation], which: impl Fn(&Observation) -> bool) -> usize {
    seen.iter().filter(|one| which(one)).count()
}

fn is_late(one: &Observation) -> bool {
    matches!(one.ending, Ending::Late | Ending::Endless)
}

fn stage_name(one: &Observation) -> &'static str {
    one.stage.map_or(RUN, Stage::name)
}

fn purpose(one: &Observation) -> &'static str {
    one.stage.map_or("its first instruction", Stage::purpose)
}

fn finish(verdict: Verdict, seen: &[Observation]) -> Verdict {
    Verdict {
        runs: u32::try_from(seen.len()).unwrap_or(u32::MAX),
        took: seen.iter().map(|one| one.took).sum(),
        ..verdict
    }
}

fn usable(whole: &[&Observation], seen: &[Observation]) -> Verdict {
    let best = whole
        .iter()
        .filter(|one| one.ending == Ending::Passed)
        .filter_map(|one| one.loop_time)
        .min();
    let passed = count(whole, |one| one.ending == Ending::Passed);
    let stages = whole.first().map_or(0, |one| one.plan.stages().len());
    let mut evidence = format!("a guest passed all {stages} stages in each of {passed} runs");
    if let Some(best) = best {
        let _ = write!(
            evidence,
            ", {} in {:.3} ms",
            Stage::Loop.purpose(),
            milliseconds(best)
        );
    }
    let late = count(whole, is_late);
    if late > 0 {
        let _ = write!(evidence, "; {late} more were late, as on a busy machine");
    }
    finish(Verdict::new(Class::Usable, evidence), seen)
}

fn emulated_kernel(
    emulated: &Observation,
    more: Option<&Observation>,
    seen: &[Observation],
) -> Verdict {
    let instructions = match emulated.ending {
        Ending::Emulated(count) => count,
        _ => 0,
    };
    let mut evidence = format!(
        "/dev/kvm opens, and KVM ran the guest's kernel mode instruction by instruction in \
         software: {instructions} of {LOOP_INSTRUCTIONS} instructions of {} in {:.1} ms, where a \
         processor takes 0.02 ms for all",
        Stage::Loop.purpose(),
        milliseconds(emulated.loop_time.unwrap_or(emulated.took)),
    );
    if let Some(more) = more.filter(|more| more.ending != Ending::Passed) {
        let _ = write!(evidence, "; {} ended with {}", purpose(more), ended(more));
    }
    finish(
        Verdict::new(Class::GuestKernelEmulated, evidence).at(Stage::Loop.name()),
        seen,
    )
}

fn failure(first: &Observation, failed: usize, of: usize, seen: &[Observation]) -> Verdict {
    let class = match first.ending {
        Ending::InternalError { .. } => Class::InternalError,
        Ending::EntryFailed(_) => Class::EntryFailed,
        Ending::Shutdown | Ending::Exception(_) | Ending::Other(_) => Class::GuestFault,
        Ending::WrongResult(_) | Ending::Ended | Ending::Babble(_) => Class::WrongResult,
        // Not failures, or judged elsewhere.
        Ending::Passed | Ending::Emulated(_) | Ending::Endless | Ending::Late => Class::Unknown,
    };
    let often = if failed == of {
        format!("in each of {of} runs")
    } else {
        format!("in {failed} of {of} runs, so it fails now and then")
    };
    let evidence = format!(
        "/dev/kvm opens, and a guest with {} ended with {}, {often}",
        purpose(first),
        ended(first)
    );
    finish(Verdict::new(class, evidence).at(stage_name(first)), seen)
}

/// Without a counter, a loop that is too slow and an instruction that KVM cannot emulate are the two
/// signs of a kernel mode in software.
fn emulated_by_signs(
    slow: &Observation,
    tries: usize,
    failed: &Observation,
    seen: &[Observation],
) -> Verdict {
    let evidence = format!(
        "/dev/kvm opens, and KVM runs the guest's kernel mode in software: {} did not end within \
         {:.0} ms of processor time in {tries} tries, where a processor takes 0.02 ms; {} ended with {}",
        Stage::Loop.purpose(),
        milliseconds(slow.loop_time.unwrap_or(slow.took)),
        purpose(failed),
        ended(failed),
    );
    finish(
        Verdict::new(Class::GuestKernelEmulated, evidence).at(Stage::Loop.name()),
        seen,
    )
}

/// The guest did not get on in any of the last tries.
fn too_late(plan: &Plan, last: &Observation, late: usize, seen: &[Observation]) -> Next {
    if last.stage == Some(Stage::Loop) && last.ending == Ending::Endless {
        match evidence_of(seen, plan, Stage::Instructions) {
            Evidence::Missing(plan) => return Next::Run(plan),
            Evidence::Seen(more) if matches!(more.ending, Ending::InternalError { .. }) => {
                return Next::Done(emulated_by_signs(last, late, more, seen));
            }
            Evidence::Seen(_) => {}
        }
    }
    let class = match (last.stage, &last.ending) {
        (Some(Stage::Timer), _) => Class::NoTimer,
        (Some(Stage::Loop), Ending::Endless) => Class::Slow,
        _ => Class::Hang,
    };
    let evidence = match class {
        Class::NoTimer => format!(
            "/dev/kvm opens, and no timer interrupt reached a guest within {:.0} ms, in {late} tries",
            milliseconds(last.took)
        ),
        Class::Slow => format!(
            "/dev/kvm opens, and {} did not end within {:.0} ms of processor time in {late} tries; \
             hardware takes 0.02 ms",
            Stage::Loop.purpose(),
            milliseconds(last.loop_time.unwrap_or(last.took))
        ),
        _ => format!(
            "/dev/kvm opens, and a guest did not get past {} within {:.0} ms, in {late} tries",
            purpose(last),
            milliseconds(last.took)
        ),
    };
    Next::Done(finish(
        Verdict::new(class, evidence).at(stage_name(last)),
        seen,
    ))
}

fn ended(one: &Observation) -> String {
    match &one.ending {
        Ending::Passed => "its result".to_owned(),
        Ending::WrongResult(result) => format!("the wrong result {result}"),
        Ending::Exception(number) => format!("the processor's exception {number}"),
        Ending::Ended => "no result".to_owned(),
        Ending::Babble(byte) => format!("the report {byte:#04x}, which it never makes"),
        Ending::Emulated(count) => format!("{count} emulated instructions"),
        Ending::InternalError {
            suberror,
            instruction,
        } => {
            let mut text = format!("KVM_EXIT_INTERNAL_ERROR, suberror {suberror}");
            if !instruction.is_empty() {
                // KVM tells what it fetched, which may be more than the instruction.
                let bytes: Vec<String> = instruction
                    .iter()
                    .take(4)
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                let _ = write!(text, ", at the code {}", bytes.join(" "));
            }
            text
        }
        Ending::Shutdown => "a triple fault".to_owned(),
        Ending::EntryFailed(reason) => {
            format!("the processor's refusal to enter it (hardware reason {reason:#x})")
        }
        Ending::Endless => "no result after its processor time".to_owned(),
        Ending::Late => "no result in time".to_owned(),
        Ending::Other(reason) => format!("KVM's exit reason {reason}"),
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests;
