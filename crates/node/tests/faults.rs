//! The probe on a KVM with faults: each has its class, its place and its evidence, and none makes the
//! probe panic, hang or leave anything behind.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use host::kvm::{Exit, Kvm, Layout, Step, Times};
use node::hardware::{DEVICE, MOST_LEFT_BEHIND, RUN_AND_GRACE, take_verdict, take_verdict_with};
use qemu::probe::{
    Class, DEVICE_ADDRESS, DEVICE_IDENTITY, END_PORT, Hints, Plan, REPORT_PORT, REPORT_READBACK,
    Report, Stage, Verdict,
};

/// How a KVM fails.
#[derive(Debug, Clone)]
enum Fault {
    None,
    /// A step answers with this error.
    Step(Step, i32),
    /// The first KVM_RUN does.
    FirstRun(i32),
    /// So many exits pass, and then this one comes.
    After(usize, Exit),
    /// This comes when the stage has begun.
    In(Stage, Exit),
    /// The stage begins, and nothing more: each tick on the clock and of the processor.
    Waits(Stage, Duration, Duration),
    /// As before, only in the first so many VMs.
    WaitsAtFirst(usize, Stage),
    /// The stage has this result.
    Result(Stage, u8),
    /// KVM counts so many emulated instructions in the loop.
    Emulates(u64),
    /// Every so many VMs, the processor refuses to enter the guest.
    NowAndThen(usize),
    /// The stage begins, and the kernel never comes back.
    Stuck(Stage),
    /// A fault of ours.
    Panics,
}

/// A healthy KVM, but for its fault.
struct Faulty {
    fault: Fault,
    /// Which VM of the test this is.
    number: usize,
    /// What the guest does next, the last first.
    script: Vec<Exit>,
    exits: usize,
    stage: Option<Stage>,
    times: Times,
    emulated: u64,
    /// What the guest must be answered before it runs on.
    expects: Option<Vec<u8>>,
    gate: Arc<Gate>,
}

/// What a stuck kernel waits for.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn wait(&self) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open {
            open = self.1.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn open(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.1.notify_all();
    }
}

fn report(value: u8) -> Exit {
    Exit::Output {
        port: u16::from(REPORT_PORT),
        value,
    }
}

/// What a healthy processor would do with this image: the stages are read from its code.
fn script(image: &[u8], fault: &Fault) -> Vec<Exit> {
    let mut exits = Vec::new();
    for code in image.windows(4) {
        let [0xb0, byte, 0xe6, REPORT_PORT] = code else {
            continue;
        };
        let Report::Begin(stage) = Report::of(*byte) else {
            continue;
        };
        exits.push(report(*byte));
        match stage {
            Stage::Ports => exits.push(Exit::Input {
                port: u16::from(REPORT_PORT),
            }),
            Stage::DeviceMemory => {
                exits.push(Exit::Write {
                    address: DEVICE_ADDRESS + 0x10,
                });
                exits.push(Exit::Read {
                    address: DEVICE_ADDRESS,
                });
            }
            _ => {}
        }
        exits.push(match fault {
            Fault::Result(wrong, result) if *wrong == stage => report(*result),
            _ => report(stage.number()),
        });
    }
    exits.push(Exit::Output {
        port: u16::from(END_PORT),
        value: 0,
    });
    exits.reverse();
    exits
}

impl Kvm for Faulty {
    fn prepare(&mut self, step: Step) -> io::Result<()> {
        match self.fault {
            Fault::Step(failing, number) if failing == step => {
                Err(io::Error::from_raw_os_error(number))
            }
            _ => Ok(()),
        }
    }

    fn run(&mut self) -> io::Result<Exit> {
        assert_eq!(self.expects, None, "the guest was not answered");
        let tick = |times: &mut Times, wall, processor| {
            times.wall += wall;
            times.processor += processor;
        };
        let step = Duration::from_micros(5);
        match &self.fault {
            Fault::FirstRun(number) => return Err(io::Error::from_raw_os_error(*number)),
            Fault::After(count, exit) if self.exits >= *count => return Ok(exit.clone()),
            Fault::In(stage, exit) if self.stage == Some(*stage) => return Ok(exit.clone()),
            Fault::Waits(stage, wall, processor) if self.stage == Some(*stage) => {
                tick(&mut self.times, *wall, *processor);
                return Ok(Exit::Interrupted);
            }
            Fault::WaitsAtFirst(count, stage)
                if self.number < *count && self.stage == Some(*stage) =>
            {
                tick(&mut self.times, Duration::from_millis(2), step);
                return Ok(Exit::Interrupted);
            }
            Fault::Emulates(count) if self.stage == Some(Stage::Loop) => self.emulated = *count,
            Fault::NowAndThen(every) if (self.number + 1).is_multiple_of(*every) => {
                return Ok(Exit::EntryFailed { reason: 7 });
            }
            Fault::Stuck(stage) if self.stage == Some(*stage) => self.gate.wait(),
            Fault::Panics => panic!("a fault of the test's"),
            _ => {}
        }
        tick(&mut self.times, step, step);
        self.exits += 1;
        let exit = self.script.pop().unwrap_or(Exit::Halted);
        match &exit {
            Exit::Output { value, .. } => {
                self.stage = match Report::of(*value) {
                    Report::Begin(stage) => Some(stage),
                    _ => None,
                };
            }
            Exit::Input { .. } => self.expects = Some(vec![REPORT_READBACK]),
            Exit::Read { .. } => self.expects = Some(DEVICE_IDENTITY.to_le_bytes().to_vec()),
            _ => {}
        }
        Ok(exit)
    }

    fn answer(&mut self, bytes: &[u8]) {
        assert_eq!(self.expects.take().as_deref(), Some(bytes));
    }

    fn emulated_instructions(&mut self) -> Option<u64> {
        // A kernel that is too old to count, where time shall tell.
        (!matches!(self.fault, Fault::Waits(..))).then_some(self.emulated)
    }

    fn times(&self) -> Times {
        self.times
    }
}

/// One test at a time: threads that are left behind are counted in the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn verdict_with(fault: Fault, gate: &Arc<Gate>) -> Verdict {
    let made = AtomicUsize::new(0);
    let gate = Arc::clone(gate);
    let make = move |layout: Layout| {
        Box::new(Faulty {
            script: script(&layout.image, &fault),
            fault: fault.clone(),
            number: made.fetch_add(1, Ordering::Relaxed),
            exits: 0,
            stage: None,
            times: Times::default(),
            emulated: 0,
            expects: None,
            gate: Arc::clone(&gate),
        }) as Box<dyn Kvm>
    };
    let hints = || Hints {
        processor_flag: Some(true),
        module_loaded: true,
        ..Hints::default()
    };
    take_verdict_with(make, Path::new(DEVICE), &Plan::whole(), hints)
}

fn verdict(fault: Fault) -> Verdict {
    verdict_with(fault, &Arc::default())
}

/// Threads of the probe in this process.
fn probes_running() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("our threads");
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.trim().starts_with("kvm-probe"))
        .count()
}

fn wait_until_no_probe_runs() {
    let began = Instant::now();
    while probes_running() > 0 {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "a thread is left"
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_kvm_without_a_fault_is_usable() {
    let _alone = alone();
    let found = verdict(Fault::None);
    assert_eq!((found.class, found.runs), (Class::Usable, 3), "{found:?}");
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EIO: i32 = 5;
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const EACCES: i32 = 13;
const EFAULT: i32 = 14;
const EBUSY: i32 = 16;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ENOTTY: i32 = 25;

#[test]
fn every_step_fails_with_every_error_and_each_has_its_class() {
    let _alone = alone();
    for step in Step::ALL {
        for number in [
            EPERM, ENOENT, EIO, EAGAIN, ENOMEM, EACCES, EFAULT, EBUSY, ENODEV, EINVAL, ENOTTY,
        ] {
            let found = verdict(Fault::Step(step, number));
            let expected = match (step, number) {
                (_, EBUSY) => Class::DeviceBusy,
                (_, ENOMEM) => Class::OutOfMemory,
                (Step::Open, ENOENT) => Class::DeviceMissing,
                (Step::Open, ENODEV) => Class::ModuleAbsent,
                (Step::Open, EPERM | EACCES) => Class::PermissionDenied,
                (Step::Open | Step::Version, _) => Class::DeviceBroken,
                (_, EPERM | EACCES) => Class::PermissionDenied,
                _ => Class::SetupFailed,
            };
            assert_eq!(found.class, expected, "{step:?} {number}: {found:?}");
            assert_eq!(found.stage.as_deref(), Some(step.name()), "{found:?}");
            assert!(found.evidence.len() > 20, "{found:?}");
        }
    }
    for (number, expected) in [
        (ENOMEM, Class::OutOfMemory),
        (EBUSY, Class::DeviceBusy),
        (EIO, Class::EntryFailed),
        (EFAULT, Class::EntryFailed),
        (EINVAL, Class::EntryFailed),
    ] {
        let found = verdict(Fault::FirstRun(number));
        assert_eq!(found.class, expected, "{found:?}");
        assert_eq!(found.stage.as_deref(), Some("KVM_RUN"));
    }
    wait_until_no_probe_runs();
}

#[test]
fn every_exit_in_every_stage_has_its_class() {
    let _alone = alone();
    for stage in Plan::whole().stages().iter().copied() {
        for (exit, class) in [
            (Exit::EntryFailed { reason: 7 }, Class::EntryFailed),
            (
                Exit::InternalError {
                    suberror: 1,
                    data: vec![0],
                },
                Class::InternalError,
            ),
            (Exit::Shutdown, Class::GuestFault),
            (Exit::Other(37), Class::GuestFault),
            (Exit::Halted, Class::WrongResult),
            (report(0x7f), Class::WrongResult),
            // Exits without end.
            (Exit::Write { address: 0x1000 }, Class::Hang),
        ] {
            let expected = match (class, stage) {
                (Class::Hang, Stage::Timer) => Class::NoTimer,
                (Class::Hang, Stage::Loop) => Class::Slow,
                _ => class,
            };
            let found = verdict(Fault::In(stage, exit.clone()));
            assert_eq!(found.class, expected, "{stage} {exit:?}: {found:?}");
            assert_eq!(found.stage.as_deref(), Some(stage.name()), "{found:?}");
        }
    }
    wait_until_no_probe_runs();
}

#[test]
fn entry_fails_after_any_number_of_exits() {
    let _alone = alone();
    for count in 0..25 {
        let found = verdict(Fault::After(
            count,
            Exit::EntryFailed {
                reason: 0x8000_0021,
            },
        ));
        assert_eq!(found.class, Class::EntryFailed, "{count}: {found:?}");
        assert!(found.evidence.contains("0x80000021"), "{found:?}");
    }
    // Beyond the guest's last exit nothing fails.
    let found = verdict(Fault::After(100, Exit::Shutdown));
    assert_eq!(found.class, Class::Usable);
}

#[test]
fn what_waits_or_spins_is_told_apart() {
    let _alone = alone();
    let (still, tick) = (Duration::ZERO, Duration::from_millis(2));
    for (stage, processor, class) in [
        (Stage::Timer, still, Class::NoTimer),
        (Stage::Timer, tick, Class::NoTimer),
        (Stage::Loop, tick, Class::Slow),
        (Stage::Loop, still, Class::Hang),
        (Stage::LongMode, tick, Class::Hang),
        (Stage::UserMode, still, Class::Hang),
    ] {
        let found = verdict(Fault::Waits(stage, tick, processor));
        assert_eq!(found.class, class, "{stage}: {found:?}");
        assert_eq!(found.stage.as_deref(), Some(stage.name()));
        assert!(found.runs <= 5, "{found:?}");
    }
}

#[test]
fn a_kernel_mode_in_software_a_wrong_result_and_a_flaky_kvm_are_found() {
    let _alone = alone();
    let found = verdict(Fault::Emulates(30_000));
    assert_eq!(found.class, Class::GuestKernelEmulated, "{found:?}");
    let found = verdict(Fault::Emulates(50));
    assert_eq!(
        found.class,
        Class::Usable,
        "an interrupt may cost some: {found:?}"
    );
    for stage in Plan::whole().stages().iter().copied() {
        let found = verdict(Fault::Result(stage, 0x7e));
        assert_eq!(found.class, Class::WrongResult, "{found:?}");
    }
    let found = verdict(Fault::NowAndThen(2));
    assert_eq!(found.class, Class::EntryFailed, "{found:?}");
    assert!(found.evidence.contains("now and then"), "{found:?}");
    let found = verdict(Fault::NowAndThen(1));
    assert!(found.evidence.contains("in each of 3 runs"), "{found:?}");
}

#[test]
fn a_busy_machine_does_not_cost_a_healthy_kvm_its_verdict() {
    let _alone = alone();
    for stage in [Stage::Timer, Stage::Loop, Stage::RealMode] {
        for late in 1..=3 {
            let found = verdict(Fault::WaitsAtFirst(late, stage));
            assert_eq!(found.class, Class::Usable, "{stage} {late}: {found:?}");
        }
    }
}

#[test]
fn a_kernel_that_never_comes_back_is_left_behind_and_no_more_than_some() {
    let _alone = alone();
    let gate = Arc::new(Gate::default());
    for (index, stage) in [Stage::RealMode, Stage::Loop, Stage::UserMode, Stage::Timer]
        .into_iter()
        .enumerate()
    {
        let found = verdict_with(Fault::Stuck(stage), &gate);
        assert_eq!(found.class, Class::DeadVcpu, "{found:?}");
        assert_eq!(found.stage.as_deref(), Some(stage.name()));
        assert!(found.took < RUN_AND_GRACE * 2, "{found:?}");
        assert_eq!(probes_running(), index + 1);
    }
    assert_eq!(probes_running(), MOST_LEFT_BEHIND);
    // No further VM is made, even of a KVM that works.
    let found = verdict(Fault::None);
    assert_eq!(found.class, Class::DeadVcpu, "{found:?}");
    // And nothing is told of it that was not seen.
    let words = "no further guest was made: the kernel has not come back from 4 earlier ones";
    assert!(found.evidence.starts_with(words), "{found:?}");
    assert!(!found.evidence.contains(" ms"), "{found:?}");
    assert_eq!((found.stage.as_deref(), found.runs), (Some("open"), 0));
    gate.open();
    wait_until_no_probe_runs();
    assert_eq!(verdict(Fault::None).class, Class::Usable);
}

#[test]
fn a_fault_of_ours_is_no_panic_of_the_callers() {
    let _alone = alone();
    let found = verdict(Fault::Panics);
    assert_eq!(found.class, Class::Unknown, "{found:?}");
    wait_until_no_probe_runs();
}

/// On the real device, whatever it is worth: nothing of KVM stays open, and no thread.
#[test]
fn a_verdict_leaves_nothing_behind() {
    let _alone = alone();
    let open = || {
        let files = std::fs::read_dir("/proc/self/fd").expect("our files");
        files
            .flatten()
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .filter(|path| path.to_string_lossy().contains("kvm"))
            .count()
    };
    assert_eq!(open(), 0);
    for _ in 0..10 {
        let _ = take_verdict(Path::new(DEVICE));
        let _ = take_verdict(Path::new("/dev/null"));
    }
    assert_eq!(open(), 0);
    wait_until_no_probe_runs();
}
