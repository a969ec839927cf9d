//! What a probe of KVM finds: a class, where it was seen, and the evidence.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whether KVM is usable, and in which way not. The names are the reasons of the Node condition
/// `HardwareVirtualization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// Guests run as they should.
    Usable,
    /// No `/dev/kvm`, and nothing says more about why.
    DeviceMissing,
    /// `/dev/kvm` may not be opened.
    PermissionDenied,
    /// Another hypervisor holds the processor.
    DeviceBusy,
    /// `/dev/kvm` cannot be opened for another reason, or is something else.
    DeviceBroken,
    /// The processor can do it, and the kernel's module is not loaded.
    ModuleAbsent,
    /// The processor's virtualization is off in the firmware, or it has none.
    DisabledByFirmware,
    /// This machine is a virtual machine whose host does not hand virtualization on.
    NestedOff,
    /// A step before the guest's first instruction failed.
    SetupFailed,
    /// The kernel had no memory for a guest.
    OutOfMemory,
    /// The processor refused to enter the guest.
    EntryFailed,
    /// The guest's kernel mode is run one instruction at a time in software.
    GuestKernelEmulated,
    /// KVM gave up on a guest.
    InternalError,
    /// A guest faulted where none should.
    GuestFault,
    /// A guest calculated wrongly, or ended without its result.
    WrongResult,
    /// A guest did not get past a stage.
    Hang,
    /// A vCPU never came back from the kernel.
    DeadVcpu,
    /// No timer interrupt reached the guest.
    NoTimer,
    /// Guests run far too slowly, each time.
    Slow,
    /// There is no probe for this machine.
    Unknown,
}

impl Class {
    /// All of them, best first, then in the order in which a probe meets them.
    pub const ALL: [Self; 20] = [
        Self::Usable,
        Self::DeviceMissing,
        Self::PermissionDenied,
        Self::DeviceBusy,
        Self::DeviceBroken,
        Self::ModuleAbsent,
        Self::DisabledByFirmware,
        Self::NestedOff,
        Self::SetupFailed,
        Self::OutOfMemory,
        Self::EntryFailed,
        Self::GuestKernelEmulated,
        Self::InternalError,
        Self::GuestFault,
        Self::WrongResult,
        Self::Hang,
        Self::DeadVcpu,
        Self::NoTimer,
        Self::Slow,
        Self::Unknown,
    ];

    /// The name in a condition.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Usable => "Usable",
            Self::DeviceMissing => "DeviceMissing",
            Self::PermissionDenied => "PermissionDenied",
            Self::DeviceBusy => "DeviceBusy",
            Self::DeviceBroken => "DeviceBroken",
            Self::ModuleAbsent => "ModuleAbsent",
            Self::DisabledByFirmware => "DisabledByFirmware",
            Self::NestedOff => "NestedOff",
            Self::SetupFailed => "SetupFailed",
            Self::OutOfMemory => "OutOfMemory",
            Self::EntryFailed => "EntryFailed",
            Self::GuestKernelEmulated => "GuestKernelEmulated",
            Self::InternalError => "InternalError",
            Self::GuestFault => "GuestFault",
            Self::WrongResult => "WrongResult",
            Self::Hang => "Hang",
            Self::DeadVcpu => "DeadVcpu",
            Self::NoTimer => "NoTimer",
            Self::Slow => "Slow",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Whether KVM is usable here, and what shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which case it is.
    pub class: Class,
    /// Where it was seen: a stage of the guest (`Instructions`) or a step before it
    /// (`KVM_CREATE_VM`). `None` when usable, or nothing was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The evidence, as a sentence for people.
    pub evidence: String,
    /// How many guests were run.
    pub runs: u32,
    /// How long it took to find out.
    pub took: Duration,
}

impl Verdict {
    /// Whether guests may be run with KVM.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.class == Class::Usable
    }

    /// A verdict without any run.
    pub fn new(class: Class, evidence: impl Into<String>) -> Self {
        Self {
            class,
            stage: None,
            evidence: evidence.into(),
            runs: 0,
            took: Duration::ZERO,
        }
    }

    /// The same, seen there.
    #[must_use]
    pub fn at(mut self, stage: impl Into<String>) -> Self {
        self.stage = Some(stage.into());
        self
    }
}
