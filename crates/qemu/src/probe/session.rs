//! One run of the guest, as it is seen from outside: exits in, what to do with them out, and in the
//! end an [`Observation`]. Pure: the clocks and counters are arguments.

use std::time::Duration;

use super::guest::LOOP_INSTRUCTIONS;
use super::stage::{
    DEVICE_ADDRESS, DEVICE_IDENTITY, END_PORT, Plan, REPORT_PORT, REPORT_READBACK, Report, Stage,
};

/// Processor time after which a stage is given up: a loop of 0.02 ms in hardware is far beyond bearing
/// at 250 times that.
pub const LOOP_BUDGET: Duration = Duration::from_millis(5);
/// The other stages are some microseconds in hardware and some tens of them with nested virtualization,
/// and a millisecond at most where an emulator does them; this much only a processor that got stuck.
pub const STAGE_BUDGET: Duration = Duration::from_millis(50);
/// A stage that waits (for an interrupt, for a processor that is busy with others) waits this long:
/// many times what a scheduler lets a thread wait on an overloaded machine, and little enough for
/// some tries within a second.
pub const STAGE_PATIENCE: Duration = Duration::from_millis(120);
/// All stages together, so that a run is bounded whatever the guest does.
pub const RUN_PATIENCE: Duration = Duration::from_millis(250);
/// Exits of a run; a healthy guest makes some forty, and a wild one shall not keep us busy.
const MOST_EXITS: u32 = 2_000;

/// Hardware lets KVM emulate only accesses to devices: none in the loop. An interrupt of ours may
/// catch an instruction.
const FEW_EMULATED: u64 = 100;

/// Why the processor came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// A byte written to a port.
    Output {
        /// The port.
        port: u16,
        /// The byte.
        value: u8,
    },
    /// A port is read.
    Input {
        /// The port.
        port: u16,
    },
    /// A device's memory is read.
    Read {
        /// Where.
        address: u64,
    },
    /// A device's memory was written.
    Write {
        /// Where.
        address: u64,
    },
    /// HLT, and nothing can wake it.
    Halted,
    /// A triple fault.
    Shutdown,
    /// The processor refused to enter the guest.
    EntryFailed {
        /// The hardware's reason.
        reason: u64,
    },
    /// KVM gave up.
    InternalError {
        /// KVM's suberror; 1 means an instruction that it could not emulate.
        suberror: u32,
        /// KVM's details.
        data: Vec<u64>,
    },
    /// Time to look at the clocks.
    Interrupted,
    /// Another exit of KVM.
    Other(u32),
}

/// Clocks and counters at the moment of an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// On the clock.
    pub wall: Duration,
    /// Of a processor given to the guest's thread.
    pub processor: Duration,
    /// How many instructions KVM has emulated, where the kernel counts them.
    pub emulated: Option<u64>,
}

/// What to do after an exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Run on.
    Resume,
    /// Give these bytes to the guest, and run on.
    Answer(Vec<u8>),
    /// It is over.
    Stop,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Every stage gave its result.
    Passed,
    /// A stage gave another result than its own.
    WrongResult(u8),
    /// The guest's processor met an exception.
    Exception(u8),
    /// The guest ended or halted before its last stage.
    Ended,
    /// Something was reported that the guest does not say.
    Babble(u8),
    /// KVM executed the loop one instruction at a time.
    Emulated(u64),
    /// KVM gave up.
    InternalError {
        /// KVM's suberror.
        suberror: u32,
        /// The bytes of the instruction that it could not emulate, where it tells them.
        instruction: Vec<u8>,
    },
    /// A triple fault.
    Shutdown,
    /// The processor refused to enter the guest.
    EntryFailed(u64),
    /// The stage used up its processor time.
    Endless,
    /// The stage's time was over, and the processor had done little.
    Late,
    /// Another exit of KVM.
    Other(u32),
}

/// What was seen of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The stages that were to be run.
    pub plan: Plan,
    /// The stage in which it ended; the last one if it passed. `None` if none began.
    pub stage: Option<Stage>,
    /// How it ended.
    pub ending: Ending,
    /// From the first instruction to the end.
    pub took: Duration,
    /// Processor time of the loop, if it was reached.
    pub loop_time: Option<Duration>,
}

/// A run as it goes on.
#[derive(Debug)]
pub struct Session {
    plan: Plan,
    /// How many stages have begun.
    begun: usize,
    in_stage: bool,
    exception: bool,
    exits: u32,
    /// When the guest began, and when the present stage did.
    start: Moment,
    stage_start: Moment,
    last: Moment,
    loop_time: Option<Duration>,
    ending: Option<Ending>,
}

impl Session {
    /// A guest of this plan is about to be run.
    #[must_use]
    pub fn new(plan: Plan, start: Moment) -> Self {
        Self {
            plan,
            begun: 0,
            in_stage: false,
            exception: false,
            exits: 0,
            start,
            stage_start: start,
            last: start,
            loop_time: None,
            ending: None,
        }
    }

    /// Whether the next moment should tell the counter: it costs a system call, and is needed only
    /// around the loop.
    #[must_use]
    pub fn wants_counter(&self) -> bool {
        self.next_stage() == Some(Stage::Loop) || self.stage() == Some(Stage::Loop)
    }

    /// How many stages have begun.
    #[must_use]
    pub fn stages_begun(&self) -> usize {
        self.begun
    }

    fn stage(&self) -> Option<Stage> {
        self.begun
            .checked_sub(1)
            .and_then(|index| self.plan.stages().get(index))
            .copied()
    }

    fn next_stage(&self) -> Option<Stage> {
        self.plan.stages().get(self.begun).copied()
    }

    /// What to do after an exit at that moment.
    pub fn exit(&mut self, exit: &Exit, now: Moment) -> Step {
        self.last = now;
        self.exits += 1;
        let ending = match exit {
            Exit::Output { port, value } if *port == u16::from(REPORT_PORT) => {
                self.report(*value, now)
            }
            Exit::Output { port, .. } if *port == u16::from(END_PORT) => Some(self.end()),
            Exit::Input { port } => {
                let known = *port == u16::from(REPORT_PORT);
                return self.bounded(Step::Answer(vec![if known {
                    REPORT_READBACK
                } else {
                    u8::MAX
                }]));
            }
            Exit::Read { address } => {
                let identity = if *address == DEVICE_ADDRESS {
                    DEVICE_IDENTITY
                } else {
                    0
                };
                return self.bounded(Step::Answer(identity.to_le_bytes().to_vec()));
            }
            Exit::Output { .. } | Exit::Write { .. } => None,
            Exit::Interrupted => self.look_at_clocks(now),
            Exit::Halted => Some(Ending::Ended),
            Exit::Shutdown => Some(Ending::Shutdown),
            Exit::EntryFailed { reason } => Some(Ending::EntryFailed(*reason)),
            Exit::InternalError { suberror, data } => Some(Ending::InternalError {
                suberror: *suberror,
                instruction: instruction(*suberror, data),
            }),
            Exit::Other(reason) => Some(Ending::Other(*reason)),
        };
        match ending {
            Some(ending) => {
                self.ending = Some(ending);
                Step::Stop
            }
            None => self.bounded(Step::Resume),
        }
    }

    fn bounded(&mut self, step: Step) -> Step {
        if self.exits < MOST_EXITS {
            return step;
        }
        self.ending = Some(Ending::Endless);
        Step::Stop
    }

    fn report(&mut self, byte: u8, now: Moment) -> Option<Ending> {
        if self.exception {
            return Some(Ending::Exception(byte));
        }
        match Report::of(byte) {
            Report::Exception => {
                self.exception = true;
                None
            }
            Report::Begin(stage) if !self.in_stage && self.next_stage() == Some(stage) => {
                self.begun += 1;
                self.in_stage = true;
                self.stage_start = now;
                None
            }
            Report::Result(result) if self.in_stage => {
                let stage = self.stage()?;
                if result != stage.number() {
                    return Some(Ending::WrongResult(result));
                }
                self.in_stage = false;
                if stage == Stage::Loop {
                    self.loop_time = Some(now.processor.saturating_sub(self.stage_start.processor));
                    return self.emulated(now);
                }
                None
            }
            Report::Begin(_) | Report::Result(_) | Report::Noise(_) => Some(Ending::Babble(byte)),
        }
    }

    fn emulated(&self, now: Moment) -> Option<Ending> {
        let count = now.emulated?.saturating_sub(self.stage_start.emulated?);
        (count > FEW_EMULATED).then_some(Ending::Emulated(count.min(LOOP_INSTRUCTIONS)))
    }

    fn end(&self) -> Ending {
        if self.begun == self.plan.stages().len() && !self.in_stage {
            Ending::Passed
        } else {
            Ending::Ended
        }
    }

    fn look_at_clocks(&mut self, now: Moment) -> Option<Ending> {
        let in_loop = self.in_stage && self.stage() == Some(Stage::Loop);
        let used = now.processor.saturating_sub(self.stage_start.processor);
        if in_loop {
            self.loop_time = Some(used);
            if let Some(ending) = self.emulated(now) {
                return Some(ending);
            }
        }
        let budget = if in_loop { LOOP_BUDGET } else { STAGE_BUDGET };
        if used >= budget {
            return Some(Ending::Endless);
        }
        let late = now.wall.saturating_sub(self.stage_start.wall) >= STAGE_PATIENCE
            || now.wall.saturating_sub(self.start.wall) >= RUN_PATIENCE;
        late.then_some(Ending::Late)
    }

    /// What was seen.
    #[must_use]
    pub fn observation(self) -> Observation {
        Observation {
            stage: self.stage(),
            ending: self.ending.unwrap_or(Ending::Ended),
            took: self.last.wall.saturating_sub(self.start.wall),
            loop_time: self.loop_time,
            plan: self.plan,
        }
    }
}

/// The instruction that KVM could not emulate: since Linux 5.15 its details are flags, of which the
/// lowest bit says that bytes follow, a length, and up to 15 bytes.
fn instruction(suberror: u32, data: &[u64]) -> Vec<u8> {
    let (1, [flags, first, second, ..]) = (suberror, data) else {
        return Vec::new();
    };
    if flags & 1 == 0 {
        return Vec::new();
    }
    let bytes = [first.to_le_bytes(), second.to_le_bytes()].concat();
    let length = usize::from(bytes[0]).min(15);
    bytes[1..=length].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::healthy_report;

    fn at(milliseconds: u64) -> Moment {
        Moment {
            wall: Duration::from_millis(milliseconds),
            processor: Duration::from_millis(milliseconds),
            emulated: Some(0),
        }
    }

    fn output(value: u8) -> Exit {
        Exit::Output {
            port: u16::from(REPORT_PORT),
            value,
        }
    }

    /// A session in which everything before `stage` passed, and `stage` began.
    fn in_stage(stage: Stage) -> Session {
        let mut session = Session::new(Plan::with_second_processor(), at(0));
        for byte in healthy_report(&Plan::with_second_processor()) {
            assert_eq!(session.exit(&output(byte), at(0)), Step::Resume);
            if session.in_stage && session.stage() == Some(stage) {
                break;
            }
        }
        session
    }

    fn ends(mut session: Session, exit: &Exit, now: Moment) -> (Option<Stage>, Ending) {
        assert_eq!(session.exit(exit, now), Step::Stop, "{exit:?}");
        let seen = session.observation();
        (seen.stage, seen.ending)
    }

    #[test]
    fn a_healthy_report_passes_and_devices_are_answered() {
        let mut session = in_stage(Stage::SecondProcessor);
        session.exit(&output(Stage::SecondProcessor.number()), at(1));
        let end = Exit::Output {
            port: u16::from(END_PORT),
            value: 0,
        };
        let (stage, ending) = ends(session, &end, at(2));
        assert_eq!(
            (stage, ending),
            (Some(Stage::SecondProcessor), Ending::Passed)
        );

        let mut session = in_stage(Stage::DeviceMemory);
        let read = Exit::Read {
            address: DEVICE_ADDRESS,
        };
        assert_eq!(
            session.exit(&read, at(0)),
            Step::Answer(DEVICE_IDENTITY.to_le_bytes().to_vec())
        );
        let input = Exit::Input {
            port: u16::from(REPORT_PORT),
        };
        assert_eq!(
            session.exit(&input, at(0)),
            Step::Answer(vec![REPORT_READBACK])
        );
    }

    #[test]
    fn every_other_exit_ends_the_run_in_its_stage() {
        for stage in Stage::ALL {
            for (exit, expected) in [
                (Exit::Halted, Ending::Ended),
                (Exit::Shutdown, Ending::Shutdown),
                (Exit::EntryFailed { reason: 7 }, Ending::EntryFailed(7)),
                (Exit::Other(24), Ending::Other(24)),
                (output(0x7f), Ending::WrongResult(0x7f)),
                (
                    output(stage.number() | 0x80),
                    Ending::Babble(stage.number() | 0x80),
                ),
                (
                    Exit::Output {
                        port: u16::from(END_PORT),
                        value: 0,
                    },
                    Ending::Ended,
                ),
            ] {
                let seen = ends(in_stage(stage), &exit, at(0));
                assert_eq!(seen, (Some(stage), expected));
            }
        }
    }

    #[test]
    fn an_exception_is_told_with_its_number() {
        let mut session = in_stage(Stage::Instructions);
        assert_eq!(session.exit(&output(0xe0), at(0)), Step::Resume);
        assert_eq!(
            ends(session, &output(6), at(0)),
            (Some(Stage::Instructions), Ending::Exception(6))
        );
    }

    #[test]
    fn the_instruction_that_could_not_be_emulated_is_read_from_the_details() {
        let exit = Exit::InternalError {
            suberror: 1,
            data: vec![1, u64::from_le_bytes([3, 0x0f, 0x57, 0xc0, 1, 2, 3, 4]), 0],
        };
        let (_, ending) = ends(in_stage(Stage::Instructions), &exit, at(0));
        let expected = Ending::InternalError {
            suberror: 1,
            instruction: vec![0x0f, 0x57, 0xc0],
        };
        assert_eq!(ending, expected);
    }

    #[test]
    fn the_loop_is_judged_by_the_counter_and_by_processor_time() {
        let moment = |processor, emulated| Moment {
            wall: Duration::from_millis(processor),
            processor: Duration::from_millis(processor),
            emulated,
        };
        let done = output(Stage::Loop.number());
        // Emulated, though in time, and while it still runs.
        assert_eq!(
            ends(in_stage(Stage::Loop), &done, moment(3, Some(40_003))).1,
            Ending::Emulated(40_000)
        );
        assert_eq!(
            ends(
                in_stage(Stage::Loop),
                &Exit::Interrupted,
                moment(2, Some(1_500))
            )
            .1,
            Ending::Emulated(1_500)
        );
        // Without a counter, only time tells.
        assert_eq!(
            ends(in_stage(Stage::Loop), &Exit::Interrupted, moment(5, None)).1,
            Ending::Endless
        );
        let mut session = in_stage(Stage::Loop);
        assert_eq!(
            session.exit(&Exit::Interrupted, moment(2, None)),
            Step::Resume
        );
        assert_eq!(session.exit(&done, moment(4, None)), Step::Resume);
        assert_eq!(
            session.observation().loop_time,
            Some(Duration::from_millis(4))
        );
    }

    #[test]
    fn a_busy_machine_makes_it_late_not_endless() {
        let waiting = |wall| Moment {
            wall: Duration::from_millis(wall),
            processor: Duration::from_millis(1),
            emulated: None,
        };
        for stage in [Stage::Loop, Stage::Timer, Stage::Cpuid] {
            let mut session = in_stage(stage);
            assert_eq!(session.exit(&Exit::Interrupted, waiting(100)), Step::Resume);
            assert_eq!(session.exit(&Exit::Interrupted, waiting(120)), Step::Stop);
            assert_eq!(session.observation().ending, Ending::Late);
        }
    }

    #[test]
    fn a_guest_that_exits_without_end_is_stopped() {
        let mut session = in_stage(Stage::Ports);
        let exit = Exit::Write { address: 1 };
        let steps = (0..MOST_EXITS).filter(|_| session.exit(&exit, at(0)) == Step::Resume);
        assert!(steps.count() < MOST_EXITS as usize);
        assert_eq!(session.observation().ending, Ending::Endless);
    }
}
