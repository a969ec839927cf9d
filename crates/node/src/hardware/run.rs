//! One run of the probe's guest: the steps before it, its exits, and a thread that can be left behind.

use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use host::facts::{self, Device};
use host::kvm::{self, Kvm, Layout, Step};
use qemu::probe::guest::{IMAGE_ADDRESSES, MEMORY_BYTES, image};
use qemu::probe::{Exit, Moment, Observation, Obstacle, Plan, RUN_PATIENCE, Session};

use super::MakeKvm;

/// A run is over by then: its own patience, and as much again for making the VM and for a kernel
/// that is slow to come back.
pub const RUN_AND_GRACE: Duration = RUN_PATIENCE
    .saturating_mul(2)
    .saturating_add(Duration::from_millis(200));
/// Threads that never came back hold a VM each; beyond so many no other is begun.
pub const MOST_LEFT_BEHIND: usize = 4;

/// Threads of this process that run a guest, most of them none.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Why there is no observation.
pub(super) enum NoRun {
    /// A step failed.
    Obstacle(Obstacle),
    /// The kernel did not come back.
    Dead { place: String, waited: Duration },
    /// None was begun: the kernel came back from so many earlier ones never.
    LeftBehind(usize),
    /// A fault of ours.
    Fault(String),
}

/// Runs a guest of this plan on a thread of its own: its signal mask is changed, and it can be left
/// behind if the kernel never returns.
pub(super) fn observe(
    make: &Arc<dyn MakeKvm>,
    device: &Path,
    plan: &Plan,
) -> Result<Observation, NoRun> {
    let left_behind = RUNNING.load(Ordering::Acquire);
    if left_behind >= MOST_LEFT_BEHIND {
        return Err(NoRun::LeftBehind(left_behind));
    }
    let progress = Arc::new(Progress::default());
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("kvm-probe".to_owned());
    let spawned = thread.spawn({
        let (make, plan, progress) = (Arc::clone(make), plan.clone(), Arc::clone(&progress));
        move || {
            let running = Running::begin();
            let mut kvm = make.make(layout(&plan));
            let result = run(kvm.as_mut(), &plan, &progress);
            // The VM goes before its result does, so that the next run does not meet it.
            drop(kvm);
            // Nor is this thread counted any more: several runs follow each other at once, and the
            // ends of their threads may come late.
            drop(running);
            // Nobody listens any more when we were given up on.
            let _ = sender.send(result);
        }
    });
    if let Err(error) = spawned {
        return Err(NoRun::Obstacle(Obstacle {
            step: "clone",
            number: error.raw_os_error(),
            error: error.to_string(),
            rights: None,
        }));
    }
    match receiver.recv_timeout(RUN_AND_GRACE) {
        Ok(Ok(observation)) => Ok(observation),
        Ok(Err((step, error))) => Err(NoRun::Obstacle(obstacle(step, &error, device))),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(NoRun::Dead {
            place: progress.place(plan),
            waited: RUN_AND_GRACE,
        }),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(NoRun::Fault(format!(
            "the probe of /dev/kvm failed at {}, by a fault of anyvirt's",
            progress.place(plan)
        ))),
    }
}

struct Running;

impl Running {
    fn begin() -> Self {
        RUNNING.fetch_add(1, Ordering::AcqRel);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How far a run has come: steps, then stages.
#[derive(Default)]
struct Progress(AtomicU8);

impl Progress {
    fn step(&self, index: usize) {
        self.0
            .store(u8::try_from(index).unwrap_or(u8::MAX), Ordering::Release);
    }

    fn place(&self, plan: &Plan) -> String {
        let index = usize::from(self.0.load(Ordering::Acquire));
        let stage = index
            .checked_sub(Step::ALL.len() + 1)
            .and_then(|index| plan.stages().get(index));
        match (Step::ALL.get(index), stage) {
            (Some(step), _) => step.name().to_owned(),
            (None, Some(stage)) => stage.name().to_owned(),
            (None, None) => "KVM_RUN".to_owned(),
        }
    }
}

fn layout(plan: &Plan) -> Layout {
    Layout {
        memory_bytes: MEMORY_BYTES,
        image: image(plan),
        image_addresses: IMAGE_ADDRESSES.to_vec(),
        processors: plan.processors(),
        interrupt_controllers: true,
    }
}

fn run(
    kvm: &mut dyn Kvm,
    plan: &Plan,
    progress: &Progress,
) -> Result<Observation, (&'static str, std::io::Error)> {
    for (index, step) in Step::ALL.into_iter().enumerate() {
        progress.step(index);
        kvm.prepare(step).map_err(|error| (step.name(), error))?;
    }
    let entered = Step::ALL.len();
    progress.step(entered);
    let mut session = Session::new(plan.clone(), moment(kvm, false));
    loop {
        let exit = kvm.run().map_err(|error| ("KVM_RUN", error))?;
        let now = moment(kvm, session.wants_counter());
        let step = session.exit(&translated(exit), now);
        progress.step(entered + session.stages_begun());
        match step {
            qemu::probe::Step::Resume => {}
            qemu::probe::Step::Answer(bytes) => kvm.answer(&bytes),
            qemu::probe::Step::Stop => return Ok(session.observation()),
        }
    }
}

fn moment(kvm: &mut dyn Kvm, counted: bool) -> Moment {
    let times = kvm.times();
    Moment {
        wall: times.wall,
        processor: times.processor,
        emulated: if counted {
            kvm.emulated_instructions()
        } else {
            None
        },
    }
}

fn translated(exit: kvm::Exit) -> Exit {
    match exit {
        kvm::Exit::Output { port, value } => Exit::Output { port, value },
        kvm::Exit::Input { port } => Exit::Input { port },
        kvm::Exit::Read { address } => Exit::Read { address },
        kvm::Exit::Write { address } => Exit::Write { address },
        kvm::Exit::Halted => Exit::Halted,
        kvm::Exit::Shutdown => Exit::Shutdown,
        kvm::Exit::EntryFailed { reason } => Exit::EntryFailed { reason },
        kvm::Exit::InternalError { suberror, data } => Exit::InternalError { suberror, data },
        kvm::Exit::Interrupted => Exit::Interrupted,
        kvm::Exit::Other(reason) => Exit::Other(reason),
    }
}

fn obstacle(step: &'static str, error: &std::io::Error, device: &Path) -> Obstacle {
    let rights = match facts::device(device) {
        Device::PermissionDenied { rights } => Some(rights),
        _ => None,
    };
    Obstacle {
        step,
        number: error.raw_os_error(),
        error: error.to_string(),
        rights,
    }
}

#[cfg(test)]
mod tests {
    use qemu::probe::Stage;

    use super::*;

    #[test]
    fn a_place_is_told_by_its_step_or_its_stage() {
        let plan = Plan::whole();
        let progress = Progress::default();
        assert_eq!(progress.place(&plan), "open");
        progress.step(Step::ALL.len());
        assert_eq!(progress.place(&plan), "KVM_RUN");
        for (index, stage) in plan.stages().iter().enumerate() {
            progress.step(Step::ALL.len() + 1 + index);
            assert_eq!(progress.place(&plan), stage.name());
        }
        assert_eq!(plan.stages().last(), Some(&Stage::Timer));
    }
}
