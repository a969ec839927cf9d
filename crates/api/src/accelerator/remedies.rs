//! What helps where hardware virtualization does not work: the best cure first, by the verdict's class
//! and the machine's surroundings.
//!
//! Commands are meant to be pasted; words in capitals stand for what only the reader knows. Facts about clouds are of 2026:
//! EC2's API reference (`CpuOptions`: nested virtualization on C8i, M8i, R8i and their flex variants), Compute Engine's
//! overview of nested virtualization (Intel only; not E2, not AMD, not Arm), Azure's sizes that list it (Dv3 and later, Ev3 and
//! later on Intel; not with security type Trusted Launch on older images).

use super::class::Class;
use super::surroundings::{Container, Platform, Processor, Surroundings};
use crate::explain::Remedy;

/// What makes hardware virtualization work, the best first. None where it does.
///
/// [`permit_emulation`] helps besides, wherever it is not permitted yet.
pub fn remedies(class: Class, surroundings: &Surroundings) -> Vec<Remedy> {
    match class {
        Class::Usable => Vec::new(),
        Class::PermissionDenied => permission(surroundings),
        Class::DeviceBusy => busy(),
        Class::DeviceMissing => missing(surroundings),
        Class::ModuleAbsent => vec![load_module(surroundings)],
        Class::DisabledByFirmware => vec![firmware(surroundings.processor)],
        Class::NestedOff => nested(surroundings),
        Class::OutOfMemory => vec![Remedy {
            title: "Free memory".to_owned(),
            command: Some("free -m; ulimit -l; cat /proc/pressure/memory".to_owned()),
            effect: "the kernel can make guests again; the verdict is taken again by itself"
                .to_owned(),
            cost: "stop something, or a machine with more memory".to_owned(),
            reversible: true,
        }],
        Class::DeviceBroken | Class::SetupFailed => setup(surroundings),
        Class::Unknown => vec![probe_again()],
        Class::EntryFailed
        | Class::GuestKernelEmulated
        | Class::InternalError
        | Class::GuestFault
        | Class::WrongResult
        | Class::Hang
        | Class::DeadVcpu
        | Class::NoTimer
        | Class::Slow => broken(class, surroundings),
    }
}

/// A device beside KVM that makes guests faster or gives them a way out.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum HelperDevice {
    /// `/dev/vhost-net`.
    VhostNet,
    /// `/dev/net/tun`.
    Tun,
    /// `/dev/vhost-vsock`.
    VhostVsock,
}

impl HelperDevice {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::VhostNet, Self::Tun, Self::VhostVsock];

    /// Where it is.
    pub fn path(self) -> &'static str {
        match self {
            Self::VhostNet => "/dev/vhost-net",
            Self::Tun => "/dev/net/tun",
            Self::VhostVsock => "/dev/vhost-vsock",
        }
    }

    fn module(self) -> &'static str {
        match self {
            Self::VhostNet => "vhost_net",
            Self::Tun => "tun",
            Self::VhostVsock => "vhost_vsock",
        }
    }

    fn brings(self) -> &'static str {
        match self {
            Self::VhostNet => "the network of guests is served by the kernel, with less latency",
            Self::Tun => "guests can have a network on a bridge",
            Self::VhostVsock => "guests can have vsock",
        }
    }
}

/// What helps when a helper device is not usable; `class` is its verdict.
pub fn device_remedies(
    device: HelperDevice,
    class: Class,
    surroundings: &Surroundings,
) -> Vec<Remedy> {
    match class {
        Class::Usable => Vec::new(),
        Class::PermissionDenied => permission_of(device.path(), surroundings),
        _ => {
            let mut found = Vec::new();
            if let Some(container) = surroundings.container {
                found.push(hand_in(container, device.path()));
            }
            found.push(Remedy {
                title: format!(
                    "Load the module {}{}",
                    device.module(),
                    on_host(surroundings)
                ),
                command: Some(persistent_modprobe(device.module())),
                effect: device.brings().to_owned(),
                cost: "root; no restart".to_owned(),
                reversible: true,
            });
            found
        }
    }
}

fn on_host(surroundings: &Surroundings) -> &'static str {
    if surroundings.container.is_some() {
        ", on the container's host"
    } else {
        ""
    }
}

fn persistent_modprobe(module: &str) -> String {
    format!("sudo modprobe {module} && echo {module} | sudo tee /etc/modules-load.d/{module}.conf")
}

fn permission(surroundings: &Surroundings) -> Vec<Remedy> {
    permission_of("/dev/kvm", surroundings)
}

fn permission_of(device: &str, surroundings: &Surroundings) -> Vec<Remedy> {
    let mut found = Vec::new();
    if let Some(container) = surroundings.container {
        found.push(hand_in(container, device));
    }
    let group = if device == "/dev/kvm" {
        Some("kvm")
    } else {
        None
    };
    if let Some(group) = group {
        found.push(Remedy {
            title: format!("Add the user that runs anyvirt to the group {group}"),
            command: Some(format!(
                "sudo usermod -aG {group} \"$USER\"  # then log in again, or restart the service"
            )),
            effect: format!("{device} opens; the verdict is taken again at the next start"),
            cost: "root; anyvirt restarts, running VMs go on".to_owned(),
            reversible: true,
        });
    }
    found.push(Remedy {
        title: format!("Give the user rights on {device} until the next boot"),
        command: Some(format!("sudo setfacl -m u:\"$USER\":rw {device}")),
        effect: format!("{device} opens at once"),
        cost: "root; gone after a boot".to_owned(),
        reversible: true,
    });
    found
}

fn hand_in(container: Container, device: &str) -> Remedy {
    let command = match container {
        Container::Docker => format!("docker run --device {device} …"),
        Container::Podman => format!("podman run --device {device} --group-add keep-groups …"),
        Container::Kubernetes => {
            // The kubelet hands all of the host's devices to a privileged container.
            "kubectl edit WORKLOAD  # in the container of anyvirt: securityContext: {privileged: true}".to_owned()
        }
        Container::Lxc => {
            let name = device.rsplit('/').next().unwrap_or(device);
            format!("incus config device add CONTAINER {name} unix-char source={device}")
        }
        Container::Nspawn => {
            format!("systemd-nspawn --bind={device} --property=DeviceAllow='{device} rw' …")
        }
        Container::Other => {
            format!("(hand {device} into the container, and allow it in its device cgroup)")
        }
    };
    Remedy {
        title: format!("Hand {device} into the container"),
        command: Some(command),
        effect: "the container sees the device of its host, if the host has it".to_owned(),
        cost: "the container starts anew, with rights on the host's device".to_owned(),
        reversible: true,
    }
}

fn busy() -> Vec<Remedy> {
    vec![
        Remedy {
            title: "Stop the other hypervisor".to_owned(),
            command: Some(
                "lsmod | grep -E 'vboxdrv|vmmon'; sudo systemctl stop vboxdrv vmware".to_owned(),
            ),
            effect: "the processor's virtualization is free; the verdict is taken again by itself"
                .to_owned(),
            cost: "the other hypervisor's virtual machines stop".to_owned(),
            reversible: true,
        },
        Remedy {
            title: "Let KVM hold the processor from its start".to_owned(),
            command: Some(
                "echo 'options kvm enable_virt_at_load=1' | sudo tee /etc/modprobe.d/kvm.conf"
                    .to_owned(),
            ),
            effect: "the other hypervisor is refused instead (Linux 6.12 and later)".to_owned(),
            cost: "a boot".to_owned(),
            reversible: true,
        },
    ]
}

/// No device, and no hint why.
fn missing(surroundings: &Surroundings) -> Vec<Remedy> {
    let mut found = Vec::new();
    if let Some(container) = surroundings.container {
        found.push(hand_in(container, "/dev/kvm"));
    }
    if surroundings.platform.is_virtual() {
        found.extend(nested(surroundings));
    } else {
        found.push(load_module(surroundings));
        found.push(firmware(surroundings.processor));
    }
    found
}

fn load_module(surroundings: &Surroundings) -> Remedy {
    let command = match surroundings.processor.module() {
        Some(module) => persistent_modprobe(module),
        None => "sudo modprobe kvm_intel || sudo modprobe kvm_amd".to_owned(),
    };
    Remedy {
        title: format!("Load KVM's module{}", on_host(surroundings)),
        command: Some(command),
        effect: "/dev/kvm appears; the verdict is taken again by itself".to_owned(),
        cost: "root; no restart".to_owned(),
        reversible: true,
    }
}

fn firmware(processor: Processor) -> Remedy {
    let name = match processor {
        Processor::Intel => "Intel Virtualization Technology (VT-x)",
        Processor::Amd => "SVM Mode (AMD-V)",
        Processor::Other => "virtualization (VT-x or SVM)",
    };
    Remedy {
        title: format!("Switch on {name} in the machine's firmware"),
        command: Some("sudo systemctl reboot --firmware-setup".to_owned()),
        effect: "the processor offers virtualization, the module loads, /dev/kvm appears"
            .to_owned(),
        cost: "a boot of the machine, at its console".to_owned(),
        reversible: true,
    }
}

/// How the platform hands virtualization on to its virtual machines.
fn nested(surroundings: &Surroundings) -> Vec<Remedy> {
    let remedy = |title: &str, command: &str, effect: &str, cost: &str, reversible| Remedy {
        title: title.to_owned(),
        command: Some(command.to_owned()),
        effect: effect.to_owned(),
        cost: cost.to_owned(),
        reversible,
    };
    let after = "this machine gets vmx or svm, and KVM works inside it";
    match surroundings.platform {
        Platform::Ec2 => ec2(surroundings, &remedy),
        // `instances update` has no such flag; the way over a file is the documented one.
        Platform::Gce => vec![
            remedy(
                "Switch on nested virtualization for this instance",
                "gcloud compute instances export INSTANCE --destination=i.yaml && printf 'advancedMachineFeatures:\\n  enableNestedVirtualization: true\\n' >> i.yaml && gcloud compute instances update-from-file INSTANCE --source=i.yaml --most-disruptive-allowed-action=RESTART",
                after,
                "a restart; Intel machine types only (N1, N2, C2, C3 …; not E2, not AMD, not Arm)",
                true,
            ),
            remedy(
                "Make an instance with nested virtualization",
                "gcloud compute instances create INSTANCE --enable-nested-virtualization --machine-type=n2-standard-4",
                "an instance with vmx, in which KVM works",
                "another instance; about the price of this one",
                true,
            ),
        ],
        Platform::Azure => vec![remedy(
            "Resize to a size that lists nested virtualization",
            "az vm deallocate -g GROUP -n VM && az vm resize -g GROUP -n VM --size Standard_D4s_v5 && az vm start -g GROUP -n VM",
            after,
            "a stop and a start; Dv3, Ev3 and later on Intel; security type Standard where Trusted Launch refuses it",
            true,
        )],
        Platform::Wsl2 => vec![remedy(
            "Switch on nested virtualization in .wslconfig",
            "In %UserProfile%\\.wslconfig, section [wsl2]: nestedVirtualization=true; then, in Windows: wsl --shutdown",
            after,
            "all WSL distributions stop; needs Windows 11",
            true,
        )],
        Platform::HyperV => vec![remedy(
            "Expose virtualization to this virtual machine",
            "In PowerShell on the host: Stop-VM NAME; Set-VMProcessor -VMName NAME -ExposeVirtualizationExtensions $true; Start-VM NAME",
            after,
            "a stop and a start; no dynamic memory",
            true,
        )],
        Platform::Qemu => qemu(surroundings.processor, &remedy),
        Platform::Vmware => vec![remedy(
            "Expose hardware assisted virtualization to this virtual machine",
            "In its .vmx file, while it is off: vhv.enable = \"TRUE\"  (vSphere: CPU > Hardware virtualization)",
            after,
            "a stop and a start",
            true,
        )],
        Platform::VirtualBox => vec![remedy(
            "Expose virtualization to this virtual machine",
            "On the host, while it is off: VBoxManage modifyvm NAME --nested-hw-virt on",
            after,
            "a stop and a start; nested guests of VirtualBox are slow and now and then hang",
            true,
        )],
        Platform::Xen => vec![remedy(
            "Use a Xen guest with nested HVM",
            "In the guest's xl configuration: type=\"hvm\" nestedhvm=1",
            after,
            "a stop and a start; experimental in Xen",
            true,
        )],
        Platform::Firecracker | Platform::OtherHypervisor => vec![other_machine()],
        Platform::Ec2Metal | Platform::BareMetal | Platform::Unknown => {
            vec![load_module(surroundings), firmware(surroundings.processor)]
        }
    }
}

type Make<'a> = &'a dyn Fn(&str, &str, &str, &str, bool) -> Remedy;

fn ec2(surroundings: &Surroundings, remedy: Make<'_>) -> Vec<Remedy> {
    let here = surroundings.instance_type.as_deref().unwrap_or_default();
    let metal = remedy(
        "Move to a bare metal instance",
        "aws ec2 modify-instance-attribute --instance-id ID --instance-type m7i.metal-24xl",
        "the processor itself, without a hypervisor between",
        "a stop and a start; the price of a whole server",
        true,
    );
    if offers_nested(here) {
        let enable = remedy(
            "Switch on nested virtualization for this instance",
            "aws ec2 stop-instances --instance-ids ID && aws ec2 modify-instance-cpu-options --instance-id ID --nested-virtualization enabled && aws ec2 start-instances --instance-ids ID",
            "this instance gets vmx, and KVM works inside it",
            "a stop and a start; no extra price",
            true,
        );
        return vec![enable, metal];
    }
    let family = remedy(
        "Use a C8i, M8i or R8i instance with nested virtualization",
        "aws ec2 run-instances --instance-type m8i.xlarge --cpu-options NestedVirtualization=enabled …",
        "an instance with vmx, in which KVM works",
        "another instance; about the price of this one",
        true,
    );
    vec![family, metal]
}

/// Whether an EC2 instance type can have nested virtualization: C8i, M8i, R8i and their flex variants.
fn offers_nested(instance_type: &str) -> bool {
    let family = instance_type.split('.').next().unwrap_or_default();
    ["c8i", "m8i", "r8i", "c8i-flex", "m8i-flex", "r8i-flex"].contains(&family)
}

fn qemu(processor: Processor, remedy: Make<'_>) -> Vec<Remedy> {
    let module = processor.module().unwrap_or("kvm_intel");
    vec![
        remedy(
            "Hand the host's processor on to this virtual machine",
            "On the host: qm set VMID --cpu host  (Proxmox); <cpu mode='host-passthrough'/>  (libvirt); -cpu host  (QEMU)",
            "this machine gets vmx or svm, and KVM works inside it",
            "a stop and a start of this machine",
            true,
        ),
        remedy(
            "Switch on nesting in the host's KVM",
            &format!(
                "On the host: echo 'options {module} nested=1' | sudo tee /etc/modprobe.d/{module}.conf && sudo modprobe -r {module} && sudo modprobe {module}"
            ),
            "the host hands virtualization on; on since Linux 4.20 by default",
            "all virtual machines of the host stop",
            true,
        ),
    ]
}

fn other_machine() -> Remedy {
    Remedy {
        title: "Use a machine with hardware virtualization".to_owned(),
        command: None,
        effect: "KVM works there: a physical machine, or a virtual one whose host offers nesting"
            .to_owned(),
        cost: "another machine".to_owned(),
        reversible: true,
    }
}

fn setup(surroundings: &Surroundings) -> Vec<Remedy> {
    let log = Remedy {
        title: "Read what the kernel says about KVM".to_owned(),
        command: Some("sudo dmesg | grep -i -E 'kvm|vmx|svm'".to_owned()),
        effect: "names what KVM refuses, and why".to_owned(),
        cost: "none".to_owned(),
        reversible: true,
    };
    let mut found = vec![log];
    if let Some(container) = surroundings.container {
        found.push(hand_in(container, "/dev/kvm"));
    }
    found.push(load_module(surroundings));
    found
}

fn probe_again() -> Remedy {
    Remedy {
        title: "Look at this machine again".to_owned(),
        command: Some("anyvirt doctor".to_owned()),
        effect: "runs the probe guest now, and says what it saw".to_owned(),
        cost: "none".to_owned(),
        reversible: true,
    }
}

/// KVM is there and does not do its work: the fault is below us.
fn broken(class: Class, surroundings: &Surroundings) -> Vec<Remedy> {
    let mut found = Vec::new();
    if matches!(
        class,
        Class::Hang | Class::DeadVcpu | Class::NoTimer | Class::Slow
    ) {
        found.push(probe_again());
    }
    match surroundings.platform {
        // A software layer under us, or nesting that fails: another kind of machine is the cure.
        Platform::Ec2 | Platform::Gce | Platform::Azure => found.extend(nested(surroundings)),
        Platform::BareMetal | Platform::Ec2Metal | Platform::Unknown => found.push(Remedy {
            title: "Update the kernel, the processor's microcode and the firmware".to_owned(),
            command: Some("sudo apt-get dist-upgrade  # or the like; then boot".to_owned()),
            effect: "known faults of KVM and processors are mended".to_owned(),
            cost: "a boot".to_owned(),
            reversible: false,
        }),
        _ if class == Class::GuestKernelEmulated => {}
        _ => found.push(Remedy {
            title: "Update the kernels of the host and of this machine".to_owned(),
            command: Some(
                "uname -r  # nested KVM is most reliable with Linux 6.1 or later on both"
                    .to_owned(),
            ),
            effect: "known faults of nested virtualization are mended".to_owned(),
            cost: "a boot of the host".to_owned(),
            reversible: false,
        }),
    }
    found.push(other_machine());
    found
}

/// To permit emulation in the whole cluster, which needs nothing and costs speed.
pub fn permit_emulation() -> Remedy {
    Remedy {
        title: "Permit software emulation".to_owned(),
        command: Some("anyvirt emulation on".to_owned()),
        effect: "VMs start on this machine as it is, without hardware virtualization".to_owned(),
        cost: "guests are several times slower, and emulation is no security boundary".to_owned(),
        reversible: true,
    }
}

#[cfg(test)]
mod tests;
