//! The accelerator policy: who may run on what, decided by a pure function.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Accelerator {
    /// The processor itself, by Linux' KVM.
    #[serde(rename = "KVM")]
    Kvm,
    /// QEMU's translator, in software.
    #[serde(rename = "TCG")]
    Tcg,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

/// The worst way to run a guest that is permitted. The best way that works is always taken.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum EmulationPolicy {
    /// No emulation: KVM only.
    #[default]
    None,
    /// Emulation with the help of hardware; the same as `None` until such help is served.
    Hardware,
    /// Emulation in software where KVM does not work.
    Software,
}

impl EmulationPolicy {
    /// May a guest be emulated in software?
    pub fn permits_software(self) -> bool {
        self == Self::Software
    }

    /// The policy of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::None, Self::Hardware, Self::Software]
            .into_iter()
            .find(|policy| policy.to_string() == name)
    }
}

impl fmt::Display for EmulationPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}
