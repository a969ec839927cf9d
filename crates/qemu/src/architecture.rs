//! What differs between the architectures of guests outside the guest itself: which program of
//! QEMU's runs them, which firmware they start with, and how to get both.

use std::path::Path;

/// A guest's processor architecture.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Architecture {
    /// x86 with 64 bits: `amd64` in Kubernetes.
    Amd64,
    /// ARM with 64 bits: `arm64` in Kubernetes.
    Arm64,
}

/// An image of firmware: its code, and the variables that each guest gets a copy of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FirmwareImage {
    /// The code, only read.
    pub code: &'static str,
    /// What the variables are at first.
    pub variables: &'static str,
}

impl Architecture {
    /// All architectures that guests can have.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The architecture of Go's and Kubernetes' name (`amd64`, `arm64`).
    #[must_use]
    pub fn of_go(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|architecture| architecture.go_name() == name)
    }

    /// The architecture of the kernel's and Rust's name (`x86_64`, `aarch64`).
    #[must_use]
    pub fn of_machine(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|architecture| architecture.machine_name() == name)
    }

    /// Go's and Kubernetes' name.
    #[must_use]
    pub fn go_name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The kernel's and QEMU's name.
    #[must_use]
    pub fn machine_name(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// Where QEMU's program for guests of this architecture stands, best place first. A host whose
    /// own architecture it is may have it as `qemu-kvm`, as Fedora and Red Hat name it.
    #[must_use]
    pub fn programs(self, host: Option<Self>) -> Vec<&'static str> {
        let mut programs = match self {
            Self::Amd64 => vec![
                "/usr/bin/qemu-system-x86_64",
                "/usr/local/bin/qemu-system-x86_64",
            ],
            Self::Arm64 => vec![
                "/usr/bin/qemu-system-aarch64",
                "/usr/local/bin/qemu-system-aarch64",
            ],
        };
        if host == Some(self) {
            programs.push("/usr/libexec/qemu-kvm");
        }
        programs
    }

    /// The Debian package that has the program.
    #[must_use]
    pub fn program_package(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-system-x86",
            Self::Arm64 => "qemu-system-arm",
        }
    }

    /// EFI firmware, best place first: Debian's, then Fedora's (raw images; its qcow2 ones are not
    /// used). None for amd64, whose guests start by SeaBIOS, which QEMU brings.
    #[must_use]
    pub fn efi_firmware(self) -> &'static [FirmwareImage] {
        match self {
            Self::Amd64 => &[],
            Self::Arm64 => &[
                FirmwareImage {
                    code: "/usr/share/AAVMF/AAVMF_CODE.fd",
                    variables: "/usr/share/AAVMF/AAVMF_VARS.fd",
                },
                FirmwareImage {
                    code: "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
                    variables: "/usr/share/edk2/aarch64/vars-template-pflash.raw",
                },
            ],
        }
    }

    /// The EFI firmware that is installed, by what `is_file` finds; `None` where none is whole.
    #[must_use]
    pub fn installed_firmware(
        self,
        is_file: impl Fn(&Path) -> bool,
    ) -> Option<&'static FirmwareImage> {
        self.efi_firmware()
            .iter()
            .find(|image| is_file(Path::new(image.code)) && is_file(Path::new(image.variables)))
    }

    /// Whether a guest can start from its disk, by what `is_file` finds: with the emulator alone it could
    /// start only by a kernel that it is given.
    #[must_use]
    pub fn starts_from_disks(self, is_file: impl Fn(&Path) -> bool) -> bool {
        self.efi_firmware().is_empty() || self.installed_firmware(is_file).is_some()
    }

    /// The Debian package that has the EFI firmware.
    #[must_use]
    pub fn firmware_package(self) -> &'static str {
        match self {
            Self::Amd64 => "ovmf",
            Self::Arm64 => "qemu-efi-aarch64",
        }
    }
}

impl std::fmt::Display for Architecture {
    /// Kubernetes' name.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.go_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_architecture() {
        for architecture in Architecture::ALL {
            assert_eq!(
                Architecture::of_go(architecture.go_name()),
                Some(architecture)
            );
            assert_eq!(
                Architecture::of_machine(architecture.machine_name()),
                Some(architecture)
            );
            for program in architecture.programs(None) {
                assert!(program.ends_with(architecture.machine_name()), "{program}");
            }
        }
        assert_eq!(Architecture::of_go("s390x"), None);
        assert_eq!(Architecture::of_machine("amd64"), None);
    }

    #[test]
    fn a_program_of_the_host_alone_runs_no_foreign_guest() {
        use Architecture::{Amd64, Arm64};
        let kvm = |guest: Architecture, host| {
            guest
                .programs(host)
                .iter()
                .any(|it| it.ends_with("qemu-kvm"))
        };
        assert!(kvm(Amd64, Some(Amd64)) && kvm(Arm64, Some(Arm64)));
        assert!(!kvm(Arm64, Some(Amd64)) && !kvm(Amd64, None));
    }
    #[test]
    fn disks_start_where_firmware_is_whole_or_not_needed() {
        use Architecture::{Amd64, Arm64};
        let nothing = |_: &Path| false;
        assert!(Amd64.starts_from_disks(nothing) && !Arm64.starts_from_disks(nothing));
        let code_alone = |path: &Path| path.ends_with("AAVMF_CODE.fd");
        assert!(!Arm64.starts_from_disks(code_alone));
        let fedora = |path: &Path| path.starts_with("/usr/share/edk2/aarch64");
        assert!(Arm64.starts_from_disks(fedora));
        let found = Arm64.installed_firmware(fedora).map(|image| image.code);
        assert_eq!(found, Some("/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw"));
        let everything = |_: &Path| true;
        let found = Arm64.installed_firmware(everything).map(|image| image.code);
        assert_eq!(found, Some("/usr/share/AAVMF/AAVMF_CODE.fd"));
    }
}
