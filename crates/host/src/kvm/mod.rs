//! A guest of a few kilobytes on `/dev/kvm`, step by step: what a probe needs to see whether KVM does
//! its work; real guests are QEMU's business.
//!
//! [`Kvm`] is the interface, so that a test can put a KVM with faults in its place; [`Linux`] is the
//! kernel's.

mod linux;
mod mapping;

use std::io;
use std::time::Duration;

pub use linux::Linux;

/// What the guest's machine consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Zeroed memory from address zero on; whole pages.
    pub memory_bytes: usize,
    /// The firmware; whole pages. The processor starts 16 bytes before the end of four gibibytes.
    pub image: Vec<u8>,
    /// Where the firmware stands; the same bytes at each place.
    pub image_addresses: Vec<u64>,
    /// One or two.
    pub processors: usize,
    /// Interrupt controllers in the kernel. Without them a guest's HLT is an exit; with them it waits.
    pub interrupt_controllers: bool,
}

/// A step on the way to a running guest, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Open the device.
    Open,
    /// `KVM_GET_API_VERSION`; any version but 12 is an error.
    Version,
    /// `KVM_CREATE_VM`.
    CreateVm,
    /// `KVM_SET_TSS_ADDR`.
    PlaceTask,
    /// `KVM_CREATE_IRQCHIP`, where the layout wants it.
    InterruptControllers,
    /// `KVM_SET_USER_MEMORY_REGION`, for the memory and each place of the firmware.
    Memory,
    /// `KVM_CREATE_VCPU`, for each processor.
    CreateVcpu,
    /// `KVM_GET_VCPU_MMAP_SIZE`, and mapping what each vCPU shares with us.
    MapVcpu,
    /// `KVM_GET_SUPPORTED_CPUID`.
    GetFeatures,
    /// `KVM_SET_CPUID2`, for each processor.
    SetFeatures,
    /// `KVM_SET_SIGNAL_MASK` and a timer, so that a guest can be stopped.
    Deadline,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::Open,
        Self::Version,
        Self::CreateVm,
        Self::PlaceTask,
        Self::InterruptControllers,
        Self::Memory,
        Self::CreateVcpu,
        Self::MapVcpu,
        Self::GetFeatures,
        Self::SetFeatures,
        Self::Deadline,
    ];

    /// Its name as KVM's documentation has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Version => "KVM_GET_API_VERSION",
            Self::CreateVm => "KVM_CREATE_VM",
            Self::PlaceTask => "KVM_SET_TSS_ADDR",
            Self::InterruptControllers => "KVM_CREATE_IRQCHIP",
            Self::Memory => "KVM_SET_USER_MEMORY_REGION",
            Self::CreateVcpu => "KVM_CREATE_VCPU",
            Self::MapVcpu => "KVM_GET_VCPU_MMAP_SIZE",
            Self::GetFeatures => "KVM_GET_SUPPORTED_CPUID",
            Self::SetFeatures => "KVM_SET_CPUID2",
            Self::Deadline => "KVM_SET_SIGNAL_MASK",
        }
    }
}

/// Why the first processor came back from the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It wrote to a port, the first byte of which is this.
    Output {
        /// The port.
        port: u16,
        /// The byte.
        value: u8,
    },
    /// It reads a port; the answer is due before it runs on.
    Input {
        /// The port.
        port: u16,
    },
    /// It reads memory that is a device's; the answer is due before it runs on.
    Read {
        /// The address.
        address: u64,
    },
    /// It wrote to memory that is a device's.
    Write {
        /// The address.
        address: u64,
    },
    /// It executed HLT, and nothing in the kernel can wake it.
    Halted,
    /// A triple fault.
    Shutdown,
    /// The processor refused the state that KVM gave it.
    EntryFailed {
        /// The hardware's reason.
        reason: u64,
    },
    /// KVM gave up on it.
    InternalError {
        /// 1 means: an instruction that KVM could not emulate.
        suberror: u32,
        /// KVM's details.
        data: Vec<u64>,
    },
    /// It was interrupted, so that somebody can look at the clock.
    Interrupted,
    /// Another exit reason of KVM.
    Other(u32),
}

/// How much time has passed since some moment before the guest ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// On the clock.
    pub wall: Duration,
    /// Of a processor given to this thread: what a busy machine does not change.
    pub processor: Duration,
}

/// KVM with one small VM. All on one thread: a vCPU belongs to its thread.
pub trait Kvm {
    /// Takes a step. Each is taken once, in order; after an error no other may follow.
    ///
    /// # Errors
    /// The kernel's answer.
    fn prepare(&mut self, step: Step) -> io::Result<()>;

    /// Runs the first processor until its next exit. Comes back every few milliseconds, with
    /// [`Exit::Interrupted`] if nothing else happened.
    ///
    /// # Errors
    /// The kernel's answer, if it does not let the processor run.
    fn run(&mut self) -> io::Result<Exit>;

    /// The answer to [`Exit::Input`] and [`Exit::Read`]: what the guest will have read.
    fn answer(&mut self, bytes: &[u8]);

    /// How many instructions of the guest KVM has emulated so far; `None` before Linux 5.14.
    fn emulated_instructions(&mut self) -> Option<u64>;

    /// The clocks.
    fn times(&self) -> Times;
}
