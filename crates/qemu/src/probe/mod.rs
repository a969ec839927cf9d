//! Whether KVM on this machine is worth trusting: a guest to run, and the verdict on what was seen of
//! it.
//!
//! A `/dev/kvm` that opens proves nothing, and neither does a guest that merely ends: some hosts
//! run the guest's kernel one instruction at a time in software, thousands of times too slowly, and
//! stop at the first instruction their emulator does not know; nested virtualization fails now and
//! then. So our guest ([`guest`]) does what every real kernel does: it switches from real to long
//! mode, uses devices, loops, calculates with SSE, enters user mode, waits for a timer, each a
//! [`Stage`] that reports. A [`Session`] follows one run; [`next`] says whether another is needed, and
//! in the end gives the [`Verdict`].
//!
//! Pure: whoever has the device runs the guest and brings back what it saw. The same guest runs in
//! QEMU as firmware.

mod assembler;
pub mod guest;
mod judge;
mod session;
mod stage;
mod verdict;
pub mod workload;

pub use judge::{
    HEALTHY_RUNS, Hints, LATE_TRIES, Next, Obstacle, TOTAL_PATIENCE, dead, left_behind, next,
    obstructed,
};
pub use session::{
    Ending, Exit, LOOP_BUDGET, Moment, Observation, RUN_PATIENCE, STAGE_BUDGET, STAGE_PATIENCE,
    Session, Step,
};
pub use stage::{
    DEVICE_ADDRESS, DEVICE_IDENTITY, END_PORT, Plan, REPORT_PORT, REPORT_READBACK, Report, Stage,
    healthy_report,
};
pub use verdict::{Class, Verdict};
