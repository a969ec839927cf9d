//! The stages of the probe's guest, in the order in which it goes through them.

use std::fmt;

/// The guest reports each stage here: that it begins, then its result. QEMU's debug console.
pub const REPORT_PORT: u8 = 0xe9;
/// What the port of the debug console gives when it is read; whoever plays the machine answers so.
pub const REPORT_READBACK: u8 = 0xe9;
/// A byte written here ends the guest. QEMU's `isa-debug-exit`.
pub const END_PORT: u8 = 0xf4;
/// Where the guest expects a device in memory outside of KVM: the identity of a HPET, as QEMU has it.
pub const DEVICE_ADDRESS: u64 = 0xfed0_0000;
/// What is to be read there.
pub const DEVICE_IDENTITY: u32 = 0x8086_a201;

/// Set in the report of a stage's begin.
const BEGIN: u8 = 0x80;
/// The report of a processor's exception; its number follows.
pub(super) const EXCEPTION: u8 = 0xe0;
/// The result of a stage whose check failed.
pub(super) const FAILED: u8 = 0x7f;

/// A stage of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// From the reset vector: 16 bit mode, a loop, the stack.
    RealMode = 1,
    /// The guest switches to 32 bit mode.
    ProtectedMode = 2,
    /// The guest makes page tables and switches to 64 bit mode; one page is seen at two addresses.
    LongMode = 3,
    /// CPUID offers what every 64 bit system needs.
    Cpuid = 4,
    /// Model specific registers are written and read back.
    Registers = 5,
    /// A port is written and read.
    Ports = 6,
    /// A device in memory is written and read.
    DeviceMemory = 7,
    /// 20,000 rounds in the kernel's ring: some 0.02 ms on a processor, 50 ms in an emulator.
    Loop = 8,
    /// SSE, x87, popcnt and cmpxchg16b in the kernel's ring: ordinary, and beyond KVM's emulator.
    Instructions = 9,
    /// To the user's ring by SYSRET, and back by SYSCALL.
    UserMode = 10,
    /// HLT until the local interrupt controller's timer interrupts.
    Timer = 11,
    /// A second processor is started by INIT and SIPI.
    SecondProcessor = 12,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 12] = [
        Self::RealMode,
        Self::ProtectedMode,
        Self::LongMode,
        Self::Cpuid,
        Self::Registers,
        Self::Ports,
        Self::DeviceMemory,
        Self::Loop,
        Self::Instructions,
        Self::UserMode,
        Self::Timer,
        Self::SecondProcessor,
    ];
    /// Those which every guest goes through, since each later one needs them.
    pub const SWITCHES: [Self; 3] = [Self::RealMode, Self::ProtectedMode, Self::LongMode];

    /// Its number, which is also its result when all is well.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn begin(self) -> u8 {
        BEGIN | self.number()
    }

    fn of_begin(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.begin() == byte)
    }

    /// Its name in a verdict.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RealMode => "RealMode",
            Self::ProtectedMode => "ProtectedMode",
            Self::LongMode => "LongMode",
            Self::Cpuid => "Cpuid",
            Self::Registers => "Registers",
            Self::Ports => "Ports",
            Self::DeviceMemory => "DeviceMemory",
            Self::Loop => "Loop",
            Self::Instructions => "Instructions",
            Self::UserMode => "UserMode",
            Self::Timer => "Timer",
            Self::SecondProcessor => "SecondProcessor",
        }
    }

    /// What it does, for a sentence.
    #[must_use]
    pub fn purpose(self) -> &'static str {
        match self {
            Self::RealMode => "16 bit code at the reset vector",
            Self::ProtectedMode => "the switch to 32 bit mode",
            Self::LongMode => "the switch to 64 bit mode with paging",
            Self::Cpuid => "CPUID",
            Self::Registers => "model specific registers",
            Self::Ports => "input and output by ports",
            Self::DeviceMemory => "a device in memory",
            Self::Loop => "a loop of 20,000 rounds in kernel mode",
            Self::Instructions => "SSE, x87, popcnt and cmpxchg16b in kernel mode",
            Self::UserMode => "user mode and a system call",
            Self::Timer => "a timer interrupt",
            Self::SecondProcessor => "a second processor",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Which stages a guest goes through; the switches of mode always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    stages: Vec<Stage>,
}

impl Plan {
    /// A plan with the switches of mode and these stages, in the order of [`Stage::ALL`].
    #[must_use]
    pub fn new(wanted: &[Stage]) -> Self {
        let stages = Stage::ALL
            .into_iter()
            .filter(|stage| Stage::SWITCHES.contains(stage) || wanted.contains(stage))
            .collect();
        Self { stages }
    }

    /// Everything that a guest with one processor does.
    #[must_use]
    pub fn whole() -> Self {
        Self::new(&Stage::ALL[..Stage::ALL.len() - 1])
    }

    /// Everything, with a second processor.
    #[must_use]
    pub fn with_second_processor() -> Self {
        Self::new(&Stage::ALL)
    }

    /// Its stages, in order.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// How many processors it needs.
    #[must_use]
    pub fn processors(&self) -> usize {
        if self.stages.contains(&Stage::SecondProcessor) {
            2
        } else {
            1
        }
    }
}

/// What a byte of the guest's report means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// A stage begins.
    Begin(Stage),
    /// The stage that began ends with this result; its number when all is well.
    Result(u8),
    /// A processor's exception, whose number follows as the next byte.
    Exception,
    /// Nothing that the guest says.
    Noise(u8),
}

impl Report {
    /// Reads a byte.
    #[must_use]
    pub fn of(byte: u8) -> Self {
        match byte {
            EXCEPTION => Self::Exception,
            byte if byte < BEGIN => Self::Result(byte),
            byte => Stage::of_begin(byte).map_or(Self::Noise(byte), Self::Begin),
        }
    }
}

/// What a healthy guest of this plan reports, byte by byte.
#[must_use]
pub fn healthy_report(plan: &Plan) -> Vec<u8> {
    plan.stages
        .iter()
        .flat_map(|stage| [stage.begin(), stage.number()])
        .collect()
}
