//! Machine types by architecture of the guest.

use super::ClusterConfiguration;
use crate::kubevirt::{KubeVirt, MachineTypes};

/// Architectures that guests can have, in Go's names.
pub const GUEST_ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// Machine types of one architecture.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Machines {
    /// The type of guests that name none.
    pub default: String,
    /// Patterns of types that are allowed.
    pub allowed: Vec<String>,
}

impl Machines {
    /// Upstream's for an architecture in Go's name.
    pub fn of_architecture(architecture: &str) -> Self {
        let (default, allowed): (_, &[_]) = match architecture {
            "arm64" => ("virt", &["virt*"]),
            "s390x" => ("s390-ccw-virtio", &["s390-ccw-virtio*"]),
            _ => ("q35", &["q35*", "pc-q35*"]),
        };
        Self {
            default: default.to_owned(),
            allowed: allowed.iter().map(|&pattern| pattern.to_owned()).collect(),
        }
    }

    /// Takes what is written in a KubeVirt object.
    fn apply(&mut self, written: &MachineTypes) {
        let default = written.machine_type.as_deref();
        if let Some(name) = default.filter(|name| !name.is_empty()) {
            name.clone_into(&mut self.default);
        }
        if !written.emulated_machines.is_empty() {
            self.allowed.clone_from(&written.emulated_machines);
        }
    }
}

impl ClusterConfiguration {
    /// Machine types of guests of `architecture`, in Go's name.
    pub fn machines(&self, architecture: &str) -> Machines {
        if architecture == self.architecture {
            return Machines {
                default: self.machine_type.clone(),
                allowed: self.emulated_machines.clone(),
            };
        }
        let foreign = self.foreign_machines.get(architecture).cloned();
        foreign.unwrap_or_else(|| Machines::of_architecture(architecture))
    }

    /// Takes the machine types of guests of other architectures than the host's from the object; no
    /// older place has any.
    pub(super) fn read_foreign_machines(&mut self, object: &KubeVirt) {
        let configuration = object.spec.configuration.as_ref();
        let Some(types) = configuration.and_then(|found| found.architecture_configuration.as_ref())
        else {
            return;
        };
        for (architecture, written) in [("amd64", &types.amd64), ("arm64", &types.arm64)] {
            if let Some(written) = written
                .as_ref()
                .filter(|_| architecture != self.architecture)
            {
                let mut machines = Machines::of_architecture(architecture);
                machines.apply(written);
                self.foreign_machines
                    .insert(architecture.to_owned(), machines);
            }
        }
    }
}
