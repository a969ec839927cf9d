//! Whether KVM on this machine is worth trusting: tiny guests to run, and the verdict on what was
//! seen of them.
//!
//! A `/dev/kvm` that opens proves nothing, and neither does a guest that merely ends: some hosts
//! run the guest's kernel one instruction at a time in software, thousands of times too slowly, and
//! stop at the first instruction their emulator does not know. So the guests here do, in the
//! kernel's ring of 64 bit mode, what every real kernel does and such an emulator cannot.
//!
//! Pure: whoever has the device runs the guests ([`next`] says which) and brings back what it saw.

mod verdict;

use std::time::Duration;

pub use verdict::{Class, Verdict};

/// Where a guest writes its result.
pub const PORT: u16 = 0xf4;

/// The guest that uses ordinary instructions which no emulator of KVM knows in full: SSE, x87 and
/// a 16 byte compare-and-exchange, all in every 64 bit processor with virtualization. Position
/// independent; needs zeroed, writable memory at 0x10000.
pub const INSTRUCTIONS: &[u8] = &[
    0x0f, 0x57, 0xc0, // xorps xmm0, xmm0
    0x66, 0x0f, 0x7e, 0xc3, // movd ebx, xmm0          ebx = 0
    0x83, 0xc3, 0x08, // add ebx, 8              ebx = 8
    0x31, 0xc9, // xor ecx, ecx
    0xbf, 0x00, 0x00, 0x01, 0x00, // mov edi, 0x10000
    0x31, 0xc0, // xor eax, eax
    0x31, 0xd2, // xor edx, edx
    0x48, 0x0f, 0xc7, 0x0f, // cmpxchg16b [rdi]        zero there: becomes rcx:rbx, ZF = 1
    0x0f, 0x94, 0xc0, // sete al                 al = 1
    0x02, 0x07, // add al, [rdi]           al = 9
    0xd9, 0xe8, // fld1
    0xdb, 0x5f, 0x10, // fistp dword [rdi + 16]  1 there
    0x02, 0x47, 0x10, // add al, [rdi + 16]      al = 10
    0xe6, 0xf4, // out 0xf4, al
    0xf4, // hlt
];
const INSTRUCTIONS_RESULT: u8 = 10;

/// The guest that counts down from 20,000: some 0.05 ms on a processor, 50 ms in an emulator.
pub const LOOP: &[u8] = &[
    0xb9, 0x20, 0x4e, 0x00, 0x00, // mov ecx, 20000
    0xff, 0xc9, // dec ecx
    0x75, 0xfc, // jnz to dec ecx
    0xb0, 0x2a, // mov al, 42
    0xe6, 0xf4, // out 0xf4, al
    0xf4, // hlt
];
const LOOP_RESULT: u8 = 42;
/// How many instructions the loop is.
const LOOP_INSTRUCTIONS: u64 = 40_003;

/// A busy host may keep a processor from us this long by chance, but hardly so often in a row.
const LOOP_DEADLINE: Duration = Duration::from_millis(10);
const LOOP_TRIES: usize = 5;
/// No loop here; this much only passes on a host that is overloaded beyond use.
const INSTRUCTIONS_DEADLINE: Duration = Duration::from_millis(500);
/// A real processor lets KVM emulate only accesses to devices: one here, the port.
const FEW_EMULATED: u64 = 100;

/// A guest of the probe. All run in 64 bit mode in the kernel's ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// [`INSTRUCTIONS`].
    Instructions,
    /// [`LOOP`].
    Loop,
}

impl Stage {
    /// Its code.
    #[must_use]
    pub fn code(self) -> &'static [u8] {
        match self {
            Self::Instructions => INSTRUCTIONS,
            Self::Loop => LOOP,
        }
    }

    /// How long it may run.
    #[must_use]
    pub fn deadline(self) -> Duration {
        match self {
            Self::Instructions => INSTRUCTIONS_DEADLINE,
            Self::Loop => LOOP_DEADLINE,
        }
    }

    fn result(self) -> u8 {
        match self {
            Self::Instructions => INSTRUCTIONS_RESULT,
            Self::Loop => LOOP_RESULT,
        }
    }

    fn purpose(self) -> &'static str {
        match self {
            Self::Instructions => "SSE, x87 and cmpxchg16b instructions in kernel mode",
            Self::Loop => "a loop of 20,000 rounds in kernel mode",
        }
    }
}

/// Why no guest could be run at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no device.
    Missing,
    /// We may not open it; its rights.
    PermissionDenied(String),
    /// Another hypervisor has it.
    Busy,
    /// It cannot be opened, or is no KVM; the error.
    Broken(String),
    /// A step before the guest's first instruction failed; the step and the error.
    Setup(String),
    /// The vCPU never came back.
    Stuck,
    /// There is no guest for this architecture.
    Architecture(String),
}

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It wrote this value to this port.
    Output {
        /// The port.
        port: u16,
        /// The value.
        value: u8,
    },
    /// It halted.
    Halted,
    /// KVM gave up on it; 1 means an instruction that it could not emulate.
    InternalError {
        /// KVM's suberror.
        suberror: u32,
    },
    /// A triple fault.
    Shutdown,
    /// The processor refused to enter it.
    EntryFailed,
    /// It was stopped at its deadline.
    Deadline,
    /// Another exit of KVM.
    Other(u32),
}

/// What was seen of one guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Which guest.
    pub stage: Stage,
    /// How it ended.
    pub ending: Ending,
    /// How long it ran.
    pub elapsed: Duration,
    /// How many instructions KVM emulated, where the kernel counts them.
    pub emulated: Option<u64>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Run this guest, and ask again with one observation more.
    Run(Stage),
    /// Enough was seen.
    Done(Verdict),
}

/// What to do after `seen`, in the order in which it was seen. Starts with nothing seen; ends
/// after at most six guests.
#[must_use]
pub fn next(seen: &[Observation]) -> Next {
    let loops = || {
        seen.iter()
            .filter(|observation| observation.stage == Stage::Loop)
    };
    if !seen
        .iter()
        .any(|observation| observation.stage == Stage::Instructions)
    {
        return Next::Run(Stage::Instructions);
    }
    // The loop is run even after a failure: it tells an emulated kernel from a broken one.
    let Some(last) = loops().next_back() else {
        return Next::Run(Stage::Loop);
    };
    let maybe_chance = last.ending == Ending::Deadline
        && !emulated_much(last)
        && seen
            .iter()
            .all(|observation| !matches!(observation.ending, Ending::InternalError { .. }));
    if maybe_chance && loops().count() < LOOP_TRIES {
        return Next::Run(Stage::Loop);
    }
    Next::Done(judge(seen))
}

/// The verdict when no guest could be run.
#[must_use]
pub fn obstructed(obstacle: &Obstacle) -> Verdict {
    match obstacle {
        Obstacle::Missing => Verdict::new(
            Class::DeviceMissing,
            "there is no /dev/kvm: the processor has no virtualization, it is off in the firmware, \
             this machine is itself a virtual machine without nested virtualization, or the module \
             kvm_intel or kvm_amd is not loaded",
        ),
        Obstacle::PermissionDenied(rights) => Verdict::new(
            Class::PermissionDenied,
            format!(
                "/dev/kvm exists and may not be opened ({rights}): add the user that runs anyvirt \
                 to the device's group, usually `kvm`"
            ),
        ),
        Obstacle::Busy => Verdict::new(
            Class::DeviceBusy,
            "/dev/kvm exists, and another hypervisor holds the processor's virtualization",
        ),
        Obstacle::Broken(error) => Verdict::new(
            Class::DeviceBroken,
            format!("/dev/kvm exists and does not work: {error}"),
        ),
        Obstacle::Setup(error) => Verdict::new(
            Class::SetupFailed,
            format!("/dev/kvm opens, and a guest cannot be made: {error}"),
        ),
        Obstacle::Stuck => Verdict::new(
            Class::DeadVcpu,
            "/dev/kvm opens, and a guest's vCPU never came back from the kernel",
        ),
        Obstacle::Architecture(name) => Verdict::new(
            Class::Unknown,
            format!("there is no probe guest for {name} yet"),
        ),
    }
}

fn emulated_much(observation: &Observation) -> bool {
    observation
        .emulated
        .is_some_and(|count| count > FEW_EMULATED)
}

/// Most telling first.
fn judge(seen: &[Observation]) -> Verdict {
    let internal_error = seen
        .iter()
        .find(|observation| matches!(observation.ending, Ending::InternalError { .. }));
    let emulated = seen
        .iter()
        .filter(|observation| emulated_much(observation))
        .max_by_key(|observation| observation.emulated);
    if let Some(observation) = emulated {
        let mut message = format!(
            "/dev/kvm opens, and KVM ran the guest's kernel mode instruction by instruction in \
             software: {} of {LOOP_INSTRUCTIONS} instructions of {} ({})",
            observation
                .emulated
                .unwrap_or_default()
                .min(LOOP_INSTRUCTIONS),
            observation.stage.purpose(),
            ended(observation),
        );
        if let Some(failed) = internal_error {
            message.push_str(&format!(
                "; {} ended with {}",
                failed.stage.purpose(),
                ended(failed)
            ));
        }
        return Verdict::new(Class::GuestKernelEmulated, message);
    }
    if let Some(failed) = internal_error {
        return refusal(Class::InternalError, failed);
    }
    for observation in seen {
        let reason = match observation.ending {
            Ending::Output { port: PORT, value } if value == observation.stage.result() => continue,
            Ending::Output { .. } | Ending::Halted => Class::WrongResult,
            Ending::Shutdown | Ending::Other(_) => Class::GuestFault,
            Ending::EntryFailed => Class::EntryFailed,
            Ending::InternalError { .. } => Class::InternalError,
            // Judged below: once is chance.
            Ending::Deadline if observation.stage == Stage::Loop => continue,
            Ending::Deadline => Class::Slow,
        };
        return refusal(reason, observation);
    }
    let best = seen
        .iter()
        .filter(|observation| observation.stage == Stage::Loop)
        .min_by_key(|observation| (observation.ending == Ending::Deadline, observation.elapsed));
    match best {
        Some(best) if best.ending != Ending::Deadline => Verdict::new(
            Class::Usable,
            format!(
                "guests ran in kernel mode as on hardware: {} took {:.2} ms",
                best.stage.purpose(),
                milliseconds(best.elapsed)
            ),
        ),
        Some(late) => {
            let tries = seen
                .iter()
                .filter(|observation| observation.stage == Stage::Loop)
                .count();
            Verdict::new(
                Class::Slow,
                format!(
                    "/dev/kvm opens, and {} did not end within {} ms in {tries} tries; hardware \
                     takes less than 0.2 ms",
                    late.stage.purpose(),
                    late.stage.deadline().as_millis()
                ),
            )
        }
        None => Verdict::new(Class::SetupFailed, "no guest was run"),
    }
}

fn refusal(reason: Class, observation: &Observation) -> Verdict {
    Verdict::new(
        reason,
        format!(
            "/dev/kvm opens, and the probe guest with {} ended with {}",
            observation.stage.purpose(),
            ended(observation)
        ),
    )
}

fn ended(observation: &Observation) -> String {
    let how = match &observation.ending {
        Ending::Output { port, value } => format!("{value} written to port {port:#x}"),
        Ending::Halted => "HLT before its result".to_owned(),
        Ending::InternalError { suberror } => {
            format!("KVM_EXIT_INTERNAL_ERROR, suberror {suberror}")
        }
        Ending::Shutdown => "a triple fault".to_owned(),
        Ending::EntryFailed => "the processor's refusal to enter it".to_owned(),
        Ending::Deadline => {
            return format!(
                "no result after {} ms",
                observation.stage.deadline().as_millis()
            );
        }
        Ending::Other(reason) => format!("KVM's exit reason {reason}"),
    };
    format!("{how} after {:.2} ms", milliseconds(observation.elapsed))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(stage: Stage, ending: Ending, emulated: Option<u64>) -> Observation {
        Observation {
            stage,
            ending,
            elapsed: Duration::from_micros(60),
            emulated,
        }
    }

    fn good(stage: Stage) -> Observation {
        seen(
            stage,
            Ending::Output {
                port: PORT,
                value: stage.result(),
            },
            Some(1),
        )
    }

    fn reason(observations: &[Observation]) -> Class {
        match next(observations) {
            Next::Done(verdict) => verdict.class,
            Next::Run(stage) => panic!("wants {stage:?} after {observations:?}"),
        }
    }

    #[test]
    fn healthy_hardware_passes_after_two_guests_with_and_without_counters() {
        assert_eq!(next(&[]), Next::Run(Stage::Instructions));
        assert_eq!(next(&[good(Stage::Instructions)]), Next::Run(Stage::Loop));
        let both = [good(Stage::Instructions), good(Stage::Loop)];
        assert_eq!(reason(&both), Class::Usable);
        let uncounted = both.map(|observation| Observation {
            emulated: None,
            ..observation
        });
        assert_eq!(reason(&uncounted), Class::Usable);
    }

    #[test]
    fn an_emulated_kernel_is_found_by_counters_by_the_instructions_or_by_time() {
        let error = || {
            seen(
                Stage::Instructions,
                Ending::InternalError { suberror: 1 },
                Some(1),
            )
        };
        let slow = |emulated| seen(Stage::Loop, Ending::Deadline, emulated);
        assert_eq!(
            reason(&[error(), slow(Some(16_000))]),
            Class::GuestKernelEmulated
        );
        assert_eq!(reason(&[error(), slow(None)]), Class::InternalError);
        assert_eq!(
            reason(&[good(Stage::Instructions), slow(Some(16_000))]),
            Class::GuestKernelEmulated
        );
        // Finished in time on a fast host, and yet emulated.
        let finished = seen(
            Stage::Loop,
            Ending::Output {
                port: PORT,
                value: 42,
            },
            Some(40_003),
        );
        assert_eq!(
            reason(&[good(Stage::Instructions), finished]),
            Class::GuestKernelEmulated
        );
    }

    #[test]
    fn one_late_loop_is_chance_and_five_are_slow() {
        let late = || seen(Stage::Loop, Ending::Deadline, None);
        let mut observations = vec![good(Stage::Instructions), late()];
        assert_eq!(next(&observations), Next::Run(Stage::Loop));
        let lucky = [observations.clone(), vec![good(Stage::Loop)]].concat();
        assert_eq!(reason(&lucky), Class::Usable);
        observations.extend([late(), late(), late(), late()]);
        assert_eq!(reason(&observations), Class::Slow);
    }

    #[test]
    fn a_guest_that_merely_halts_or_calculates_wrongly_or_faults_is_refused() {
        for (ending, expected) in [
            (Ending::Halted, Class::WrongResult),
            (
                Ending::Output {
                    port: PORT,
                    value: 9,
                },
                Class::WrongResult,
            ),
            (
                Ending::Output {
                    port: 0x80,
                    value: 10,
                },
                Class::WrongResult,
            ),
            (Ending::Shutdown, Class::GuestFault),
            (Ending::EntryFailed, Class::EntryFailed),
            (Ending::Other(99), Class::GuestFault),
            (Ending::Deadline, Class::Slow),
        ] {
            let observations = [seen(Stage::Instructions, ending, None), good(Stage::Loop)];
            assert_eq!(reason(&observations), expected, "{observations:?}");
        }
    }

    #[test]
    fn each_obstacle_has_its_reason_and_says_what_to_do() {
        let rights = "mode 660, user 0, group 108".to_owned();
        for (obstacle, expected, word) in [
            (Obstacle::Missing, Class::DeviceMissing, "nested"),
            (
                Obstacle::PermissionDenied(rights),
                Class::PermissionDenied,
                "group 108",
            ),
            (Obstacle::Busy, Class::DeviceBusy, "another hypervisor"),
            (
                Obstacle::Broken("ENODEV".to_owned()),
                Class::DeviceBroken,
                "ENODEV",
            ),
            (
                Obstacle::Setup("create a VM".to_owned()),
                Class::SetupFailed,
                "create a VM",
            ),
            (Obstacle::Stuck, Class::DeadVcpu, "never"),
            (
                Obstacle::Architecture("riscv64".to_owned()),
                Class::Unknown,
                "riscv64",
            ),
        ] {
            let verdict = obstructed(&obstacle);
            assert_eq!(verdict.class, expected);
            assert!(!verdict.usable());
            assert!(verdict.evidence.contains(word), "{}", verdict.evidence);
        }
    }
}
