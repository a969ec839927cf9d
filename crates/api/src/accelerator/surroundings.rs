//! Where a machine stands: on whose hypervisor, in what container. It decides which cure for missing
//! hardware virtualization is within reach.

use std::fmt;

use serde::{Deserialize, Serialize};

/// On a Node: its [`Surroundings`], as JSON.
pub const SURROUNDINGS_ANNOTATION: &str = "anyvirt.io/surroundings";

/// Where a machine stands.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Surroundings {
    /// Who made the machine.
    pub platform: Platform,
    /// Are we in a container on it?
    pub container: Option<Container>,
    /// The maker's name of the machine's type, e.g. `c5.large`, where it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// Who made the processor.
    pub processor: Processor,
    /// The hypervisor, by the name it gives itself, e.g. `KVMKVMKVM`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<String>,
}

impl Surroundings {
    /// What a Node's annotation says. A node without it, or with one of a later release, stands in
    /// unknown surroundings.
    pub fn of(annotation: Option<&str>) -> Self {
        annotation
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// The annotation's text.
    pub fn annotation(&self) -> String {
        serde_json::to_string(self).expect("strings and unit variants always serialize")
    }
}

impl fmt::Display for Surroundings {
    /// For people, e.g. `Amazon EC2 c5.large, in a Docker container`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.platform.title())?;
        if let Some(instance_type) = &self.instance_type {
            write!(formatter, " {instance_type}")?;
        }
        match self.container {
            Some(container) => write!(formatter, ", in {}", container.title()),
            None => Ok(()),
        }
    }
}

/// Who made a machine.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Platform {
    /// A virtual machine of Amazon EC2.
    Ec2,
    /// A bare metal instance of Amazon EC2.
    Ec2Metal,
    /// Google Compute Engine.
    Gce,
    /// Microsoft Azure.
    Azure,
    /// Windows Subsystem for Linux, version 2.
    Wsl2,
    /// Microsoft Hyper-V, not Azure.
    HyperV,
    /// A virtual machine of QEMU and KVM: Proxmox, libvirt, OpenStack and many more.
    Qemu,
    /// VMware.
    Vmware,
    /// VirtualBox.
    VirtualBox,
    /// Xen, not EC2.
    Xen,
    /// Firecracker, which has no firmware tables.
    Firecracker,
    /// A hypervisor that is none of these.
    OtherHypervisor,
    /// A physical machine.
    BareMetal,
    /// Nothing is known.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Platform {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Ec2,
        Self::Ec2Metal,
        Self::Gce,
        Self::Azure,
        Self::Wsl2,
        Self::HyperV,
        Self::Qemu,
        Self::Vmware,
        Self::VirtualBox,
        Self::Xen,
        Self::Firecracker,
        Self::OtherHypervisor,
        Self::BareMetal,
        Self::Unknown,
    ];

    /// Is it a virtual machine?
    pub fn is_virtual(self) -> bool {
        !matches!(self, Self::Ec2Metal | Self::BareMetal | Self::Unknown)
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Ec2 => "Amazon EC2",
            Self::Ec2Metal => "Amazon EC2 bare metal",
            Self::Gce => "Google Compute Engine",
            Self::Azure => "Microsoft Azure",
            Self::Wsl2 => "Windows Subsystem for Linux 2",
            Self::HyperV => "Hyper-V",
            Self::Qemu => "a virtual machine of QEMU/KVM",
            Self::Vmware => "VMware",
            Self::VirtualBox => "VirtualBox",
            Self::Xen => "Xen",
            Self::Firecracker => "a Firecracker microVM",
            Self::OtherHypervisor => "a virtual machine",
            Self::BareMetal => "a physical machine",
            Self::Unknown => "an unknown machine",
        }
    }
}

/// What contains us.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Container {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// A pod of Kubernetes.
    Kubernetes,
    /// LXC, LXD, Incus.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
    /// Another one.
    #[serde(other)]
    Other,
}

impl Container {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Docker,
        Self::Podman,
        Self::Kubernetes,
        Self::Lxc,
        Self::Nspawn,
        Self::Other,
    ];

    /// For people, with its article.
    pub fn title(self) -> &'static str {
        match self {
            Self::Docker => "a Docker container",
            Self::Podman => "a Podman container",
            Self::Kubernetes => "a pod of Kubernetes",
            Self::Lxc => "an LXC container",
            Self::Nspawn => "a systemd-nspawn container",
            Self::Other => "a container",
        }
    }
}

/// Who made a processor; names its kernel module.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Processor {
    /// Intel: VT-x, `kvm_intel`.
    Intel,
    /// AMD and Hygon: SVM, `kvm_amd`.
    Amd,
    /// Another one, or not known.
    #[default]
    #[serde(other)]
    Other,
}

impl Processor {
    /// The module that drives its virtualization, where it has one of its own.
    pub fn module(self) -> Option<&'static str> {
        match self {
            Self::Intel => Some("kvm_intel"),
            Self::Amd => Some("kvm_amd"),
            Self::Other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_read_back_and_a_strange_one_is_unknown() {
        let here = Surroundings {
            platform: Platform::Ec2,
            container: Some(Container::Docker),
            instance_type: Some("c5.large".to_owned()),
            processor: Processor::Intel,
            hypervisor: Some("KVMKVMKVM".to_owned()),
        };
        assert_eq!(Surroundings::of(Some(&here.annotation())), here);
        assert_eq!(
            here.to_string(),
            "Amazon EC2 c5.large, in a Docker container"
        );
        assert_eq!(Surroundings::of(None), Surroundings::default());
        assert_eq!(Surroundings::of(Some("{")), Surroundings::default());
        let later = Surroundings::of(Some(r#"{"platform":"Mars","container":"Jar","more":1}"#));
        assert_eq!(later.platform, Platform::Unknown);
        assert_eq!(later.container, Some(Container::Other));
    }
}
