//! The classes of verdicts on a node's KVM, as a Node's condition names them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a node's KVM is usable, and in which way not. The same names as those of the probe, which
/// lives in the crate `qemu`; a test of the node agent compares them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
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
    /// A virtual machine whose host does not hand virtualization on.
    NestedOff,
    /// A step before a guest's first instruction failed.
    SetupFailed,
    /// The kernel had no memory for a guest.
    OutOfMemory,
    /// The processor refused to enter a guest.
    EntryFailed,
    /// A guest's kernel mode is run one instruction at a time in software.
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
    /// No timer interrupt reached a guest.
    NoTimer,
    /// Guests run far too slowly, each time.
    Slow,
    /// Nobody looked, or there is no probe for this machine.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Class {
    /// All of them.
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

    /// The class of that name; `Unknown` for a name of another release.
    pub fn parse(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|class| class.to_string() == name)
            .unwrap_or_default()
    }

    /// What it means, a few words for the middle of a sentence; nothing for `Unknown`. What was seen
    /// stands in the verdict's message.
    pub fn in_short(self) -> &'static str {
        match self {
            Self::Usable => "KVM runs guests as it should",
            Self::DeviceMissing => "there is no /dev/kvm",
            Self::PermissionDenied => "/dev/kvm may not be opened",
            Self::DeviceBusy => "another hypervisor holds the processor",
            Self::DeviceBroken => "/dev/kvm cannot be opened",
            Self::ModuleAbsent => "KVM's kernel module is not loaded",
            Self::DisabledByFirmware => {
                "the processor's virtualization is missing or off in the firmware"
            }
            Self::NestedOff => "this virtual machine's host does not hand virtualization on",
            Self::SetupFailed => "KVM cannot set up a guest",
            Self::OutOfMemory => "the kernel had no memory for a guest",
            Self::EntryFailed => "the processor refuses to enter a guest",
            Self::GuestKernelEmulated => {
                "/dev/kvm opens, but runs guests' kernels in software, instruction by instruction"
            }
            Self::InternalError => "KVM gives up on guests",
            Self::GuestFault => "guests on KVM fault where none should",
            Self::WrongResult => "guests on KVM calculate wrongly",
            Self::Hang => "guests on KVM get stuck",
            Self::DeadVcpu => "a processor of a guest on KVM never came back from the kernel",
            Self::NoTimer => "guests on KVM get no timer interrupts",
            Self::Slow => "guests on KVM run far too slowly",
            Self::Unknown => "",
        }
    }

    /// Does `/dev/kvm` run guests, but wrongly? Then its host is at fault, not a setting here.
    pub fn is_broken_in_use(self) -> bool {
        matches!(
            self,
            Self::EntryFailed
                | Self::GuestKernelEmulated
                | Self::InternalError
                | Self::GuestFault
                | Self::WrongResult
                | Self::Hang
                | Self::DeadVcpu
                | Self::NoTimer
                | Self::Slow
        )
    }
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_read_back_and_others_are_unknown() {
        for class in Class::ALL {
            assert_eq!(Class::parse(&class.to_string()), class);
        }
        assert_eq!(Class::parse("ProbeFailed"), Class::Unknown);
    }
}
