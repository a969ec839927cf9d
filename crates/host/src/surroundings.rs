//! Where this machine stands: on whose hypervisor, in what container. Read from a handful of files
//! and one instruction ([`Inputs::look`]), judged purely ([`Inputs::surroundings`]).

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

/// Who made the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Hyper-V, not Azure.
    HyperV,
    /// QEMU and KVM: Proxmox, libvirt, OpenStack and many clouds.
    Qemu,
    /// VMware.
    Vmware,
    /// VirtualBox.
    VirtualBox,
    /// Xen.
    Xen,
    /// KVM without firmware tables, as Firecracker makes it.
    Firecracker,
    /// Another hypervisor.
    OtherHypervisor,
    /// No hypervisor.
    BareMetal,
    /// Not to be told.
    Unknown,
}

/// What contains us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// A pod of Kubernetes.
    Kubernetes,
    /// LXC and its like.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
    /// Another one.
    Other,
}

/// Who made the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    /// Intel.
    Intel,
    /// AMD and Hygon.
    Amd,
    /// Another one.
    Other,
}

/// Where this machine stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// Who made the machine.
    pub platform: Platform,
    /// What contains us, if anything does.
    pub container: Option<Container>,
    /// The maker's name of the machine's type, where it tells.
    pub instance_type: Option<String>,
    /// Who made the processor.
    pub processor: Processor,
    /// The hypervisor's name for itself.
    pub hypervisor: Option<String>,
    /// The processor says that it runs under a hypervisor.
    pub is_virtual: bool,
    /// The processor offers vmx or svm; `None` where it has no such flags, as any but x86.
    pub has_virtualization: Option<bool>,
    /// `kvm_intel` or `kvm_amd` is loaded, or `kvm` on an architecture that has no other.
    pub kvm_loaded: bool,
    /// The kernel said that the firmware has switched virtualization off.
    pub firmware_disabled: bool,
    /// The module `kvm_pvm`: KVM without the processor's virtualization.
    pub software_kvm: bool,
}

/// What the judgement is made from, as it was read; empty where it could not be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// `/sys/class/dmi/id/sys_vendor`.
    pub system_vendor: String,
    /// `/sys/class/dmi/id/product_name`.
    pub product_name: String,
    /// `/sys/class/dmi/id/chassis_asset_tag`.
    pub chassis_tag: String,
    /// `/sys/class/dmi/id/bios_version`.
    pub firmware_version: String,
    /// `/proc/version`.
    pub kernel: String,
    /// `/proc/1/cgroup`.
    pub control_groups: String,
    /// `/run/systemd/container`: systemd's word for the container.
    pub container: String,
    /// `/.dockerenv` exists.
    pub docker_file: bool,
    /// `/run/.containerenv` exists.
    pub podman_file: bool,
    /// The environment names a Kubernetes API.
    pub kubernetes: bool,
    /// `vendor_id` of `/proc/cpuinfo`.
    pub processor_vendor: String,
    /// `flags` of `/proc/cpuinfo`; only x86 has a line of that name.
    pub flags: BTreeSet<String>,
    /// What CPUID 0x40000000 says, if the processor runs under a hypervisor.
    pub hypervisor: Option<String>,
    /// Modules of KVM in `/sys/module`.
    pub modules: BTreeSet<String>,
    /// The kernel's log, as far as it may be read.
    pub kernel_log: String,
}

/// Names of KVM's modules that matter.
const MODULES: [&str; 4] = ["kvm", "kvm_intel", "kvm_amd", "kvm_pvm"];
/// Azure's machines carry it on their chassis, and no others of Hyper-V.
const AZURE_CHASSIS: &str = "7783-7084-3265-9085-8269-3286-77";
/// The kernel's log may be as long as its buffer; what we look for was said at the boot.
const LOG_BYTES: usize = 1 << 20;

impl Inputs {
    /// Reads this machine. What cannot be read stays empty.
    #[must_use]
    pub fn look() -> Self {
        let read = |path: &str| {
            std::fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let dmi = |name: &str| read(&format!("/sys/class/dmi/id/{name}"));
        let processor = read("/proc/cpuinfo");
        let field = |name| crate::facts::processor_field(&processor, name).unwrap_or_default();
        let flags: BTreeSet<String> = field("flags")
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect();
        Self {
            system_vendor: dmi("sys_vendor"),
            product_name: dmi("product_name"),
            chassis_tag: dmi("chassis_asset_tag"),
            firmware_version: dmi("bios_version"),
            kernel: read("/proc/version"),
            control_groups: read("/proc/1/cgroup"),
            container: read("/run/systemd/container"),
            docker_file: Path::new("/.dockerenv").exists(),
            podman_file: Path::new("/run/.containerenv").exists(),
            kubernetes: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
            processor_vendor: field("vendor_id").to_owned(),
            hypervisor: flags.contains("hypervisor").then(hypervisor_name).flatten(),
            flags,
            modules: modules(),
            kernel_log: kernel_log(),
        }
    }

    /// What they mean. Pure.
    #[must_use]
    pub fn surroundings(&self) -> Surroundings {
        let is_virtual = self.flags.contains("hypervisor");
        let has_flags = !self.flags.is_empty();
        let platform = self.platform(is_virtual);
        let log = self.kernel_log.to_lowercase();
        let processor = match self.processor_vendor.as_str() {
            "GenuineIntel" => Processor::Intel,
            "AuthenticAMD" | "HygonGenuine" => Processor::Amd,
            _ => Processor::Other,
        };
        let instance_type = matches!(platform, Platform::Ec2 | Platform::Ec2Metal)
            .then(|| self.product_name.clone())
            .filter(|name| name.contains('.'));
        Surroundings {
            platform,
            container: self.container_kind(),
            instance_type,
            processor,
            hypervisor: self.hypervisor.clone(),
            is_virtual,
            has_virtualization: has_flags
                .then(|| ["vmx", "svm"].iter().any(|flag| self.flags.contains(*flag))),
            kvm_loaded: self.modules.contains("kvm_intel")
                || self.modules.contains("kvm_amd")
                || !has_flags && self.modules.contains("kvm"),
            // Linux' words: "kvm: disabled by bios", "VMX (outside TXT) disabled by BIOS",
            // "SVM disabled (by BIOS) in MSR_VM_CR".
            firmware_disabled: log.lines().any(|line| {
                line.contains("disabled")
                    && line.contains("by bios")
                    && ["kvm", "vmx", "svm"].iter().any(|word| line.contains(word))
            }),
            software_kvm: self.modules.contains("kvm_pvm"),
        }
    }

    fn platform(&self, is_virtual: bool) -> Platform {
        let vendor = self.system_vendor.to_lowercase();
        let product = self.product_name.to_lowercase();
        let hypervisor = self.hypervisor.as_deref().unwrap_or_default();
        if self.kernel.to_lowercase().contains("microsoft") {
            return Platform::Wsl2;
        }
        if vendor.contains("amazon ec2") {
            return if product.contains("metal") || !is_virtual {
                Platform::Ec2Metal
            } else {
                Platform::Ec2
            };
        }
        if product.contains("google compute engine") || vendor == "google" && is_virtual {
            return Platform::Gce;
        }
        if vendor.starts_with("microsoft") && product == "virtual machine" {
            return if self.chassis_tag == AZURE_CHASSIS {
                Platform::Azure
            } else {
                Platform::HyperV
            };
        }
        if vendor.starts_with("vmware") {
            return Platform::Vmware;
        }
        if product == "virtualbox" || vendor.starts_with("innotek") {
            return Platform::VirtualBox;
        }
        if vendor == "xen" || hypervisor.starts_with("XenVMM") {
            // EC2's older instances.
            return if self.firmware_version.contains("amazon") {
                Platform::Ec2
            } else {
                Platform::Xen
            };
        }
        if vendor == "qemu" || product.starts_with("standard pc") || product == "kvm" {
            return Platform::Qemu;
        }
        match (is_virtual, hypervisor) {
            (true, "KVMKVMKVM") if vendor.is_empty() => Platform::Firecracker,
            (true, "KVMKVMKVM" | "TCGTCGTCGTCG" | "Linux KVM Hv") => Platform::Qemu,
            (true, "Microsoft Hv") => Platform::HyperV,
            (true, "VMwareVMware") => Platform::Vmware,
            (true, "VBoxVBoxVBox") => Platform::VirtualBox,
            (true, _) => Platform::OtherHypervisor,
            (false, _) if self.flags.is_empty() => Platform::Unknown,
            (false, _) => Platform::BareMetal,
        }
    }

    fn container_kind(&self) -> Option<Container> {
        let groups = &self.control_groups;
        if self.kubernetes || groups.contains("kubepods") {
            return Some(Container::Kubernetes);
        }
        match self.container.as_str() {
            "docker" => return Some(Container::Docker),
            "podman" => return Some(Container::Podman),
            "lxc" | "lxc-libvirt" => return Some(Container::Lxc),
            "systemd-nspawn" => return Some(Container::Nspawn),
            // systemd says so inside WSL, which is a virtual machine.
            "" | "wsl" => {}
            _ => return Some(Container::Other),
        }
        if self.podman_file {
            return Some(Container::Podman);
        }
        if self.docker_file || groups.contains("/docker") {
            return Some(Container::Docker);
        }
        if groups.contains("/lxc") {
            return Some(Container::Lxc);
        }
        None
    }
}

/// The modules of KVM that are loaded: all of this that may change while the machine runs.
#[must_use]
pub fn modules() -> BTreeSet<String> {
    MODULES
        .into_iter()
        .filter(|module| crate::facts::module_loaded(module))
        .map(str::to_owned)
        .collect()
}

/// The kernel's log from its beginning, without waiting for more. Empty where it may not be read.
fn kernel_log() -> String {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC);
    let Ok(mut file) = options.open("/dev/kmsg") else {
        return String::new();
    };
    let mut text = String::new();
    // Each read is one record, of at most this size.
    let mut record = vec![0; 8192];
    while text.len() < LOG_BYTES {
        match file.read(&mut record) {
            Ok(0) => break,
            Ok(length) => text.push_str(&String::from_utf8_lossy(&record[..length])),
            // The record was overwritten meanwhile: the next one is there.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(_) => break,
        }
    }
    text
}

/// What a hypervisor says of itself. Only asked for where there is one.
#[cfg(target_arch = "x86_64")]
#[allow(
    unused_unsafe,
    unsafe_code,
    reason = "asking the processor is safe since Rust 1.93, and unsafe before"
)]
fn hypervisor_name() -> Option<String> {
    // SAFETY: every 64 bit processor of this family has CPUID, and it changes nothing.
    let leaf = unsafe { std::arch::x86_64::__cpuid(0x4000_0000) };
    let bytes = [leaf.ebx, leaf.ecx, leaf.edx]
        .map(u32::to_le_bytes)
        .concat();
    let name = String::from_utf8_lossy(&bytes)
        .trim_end_matches('\0')
        .to_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(not(target_arch = "x86_64"))]
fn hypervisor_name() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(vendor: &str, product: &str, hypervisor: Option<&str>) -> Inputs {
        let mut flags = BTreeSet::from(["fpu".to_owned()]);
        if hypervisor.is_some() {
            flags.insert("hypervisor".to_owned());
        }
        Inputs {
            system_vendor: vendor.to_owned(),
            product_name: product.to_owned(),
            hypervisor: hypervisor.map(str::to_owned),
            flags,
            ..Inputs::default()
        }
    }

    #[test]
    fn platforms_are_told_by_their_firmware_tables_and_hypervisors() {
        let kvm = Some("KVMKVMKVM");
        for (vendor, product, hypervisor, platform) in [
            ("Amazon EC2", "c5.large", kvm, Platform::Ec2),
            ("Amazon EC2", "m7i.metal-24xl", None, Platform::Ec2Metal),
            ("Google", "Google Compute Engine", kvm, Platform::Gce),
            (
                "Microsoft Corporation",
                "Virtual Machine",
                Some("Microsoft Hv"),
                Platform::HyperV,
            ),
            (
                "QEMU",
                "Standard PC (Q35 + ICH9, 2009)",
                kvm,
                Platform::Qemu,
            ),
            ("Hetzner", "vServer", kvm, Platform::Qemu),
            (
                "OpenStack Foundation",
                "OpenStack Nova",
                kvm,
                Platform::Qemu,
            ),
            (
                "VMware, Inc.",
                "VMware7,1",
                Some("VMwareVMware"),
                Platform::Vmware,
            ),
            ("innotek GmbH", "VirtualBox", kvm, Platform::VirtualBox),
            ("Xen", "HVM domU", Some("XenVMMXenVMM"), Platform::Xen),
            ("", "", kvm, Platform::Firecracker),
            ("", "", Some("bhyve bhyve "), Platform::OtherHypervisor),
            ("Dell Inc.", "PowerEdge R640", None, Platform::BareMetal),
            // A laptop of Microsoft's is no virtual machine.
            (
                "Microsoft Corporation",
                "Surface Book",
                None,
                Platform::BareMetal,
            ),
        ] {
            let seen = inputs(vendor, product, hypervisor).surroundings();
            assert_eq!(seen.platform, platform, "{vendor} {product}");
        }
        let azure = Inputs {
            chassis_tag: AZURE_CHASSIS.to_owned(),
            ..inputs(
                "Microsoft Corporation",
                "Virtual Machine",
                Some("Microsoft Hv"),
            )
        };
        assert_eq!(azure.surroundings().platform, Platform::Azure);
        let old = Inputs {
            firmware_version: "4.11.amazon".to_owned(),
            ..inputs("Xen", "HVM domU", Some("XenVMMXenVMM"))
        };
        assert_eq!(old.surroundings().platform, Platform::Ec2);
        let windows = Inputs {
            kernel: "Linux version 5.15.153.1-microsoft-standard-WSL2".to_owned(),
            ..inputs("", "", Some("Microsoft Hv"))
        };
        assert_eq!(windows.surroundings().platform, Platform::Wsl2);
        assert_eq!(Inputs::default().surroundings().platform, Platform::Unknown);
    }

    #[test]
    fn an_ec2_instance_tells_its_type() {
        let seen = inputs("Amazon EC2", "m8i.xlarge", Some("KVMKVMKVM")).surroundings();
        assert_eq!(seen.instance_type.as_deref(), Some("m8i.xlarge"));
    }

    #[test]
    fn containers_are_told_by_their_marks() {
        let plain = Inputs::default;
        for (inputs, container) in [
            (plain(), None),
            (
                Inputs {
                    docker_file: true,
                    ..plain()
                },
                Some(Container::Docker),
            ),
            (
                Inputs {
                    podman_file: true,
                    docker_file: true,
                    ..plain()
                },
                Some(Container::Podman),
            ),
            (
                Inputs {
                    kubernetes: true,
                    docker_file: true,
                    ..plain()
                },
                Some(Container::Kubernetes),
            ),
            (
                Inputs {
                    control_groups: "0::/kubepods.slice/kubepods-burstable.slice".to_owned(),
                    ..plain()
                },
                Some(Container::Kubernetes),
            ),
            (
                Inputs {
                    container: "lxc".to_owned(),
                    ..plain()
                },
                Some(Container::Lxc),
            ),
            (
                Inputs {
                    container: "systemd-nspawn".to_owned(),
                    ..plain()
                },
                Some(Container::Nspawn),
            ),
            (
                Inputs {
                    container: "rkt".to_owned(),
                    ..plain()
                },
                Some(Container::Other),
            ),
            (
                Inputs {
                    container: "wsl".to_owned(),
                    ..plain()
                },
                None,
            ),
        ] {
            assert_eq!(inputs.surroundings().container, container, "{inputs:?}");
        }
    }

    #[test]
    fn virtualization_is_told_by_flags_and_modules_where_the_architecture_has_them() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        for (flags, modules, offered, loaded) in [
            (
                &["fpu", "vmx"][..],
                &["kvm", "kvm_intel"][..],
                Some(true),
                true,
            ),
            (&["fpu", "svm"], &["kvm"], Some(true), false),
            (&["fpu"], &["kvm", "kvm_pvm"], Some(false), false),
            (&[], &["kvm"], None, true),
            (&[], &[], None, false),
        ] {
            let inputs = Inputs {
                flags: set(flags),
                modules: set(modules),
                ..Inputs::default()
            };
            let seen = inputs.surroundings();
            assert_eq!(seen.has_virtualization, offered, "{inputs:?}");
            assert_eq!(seen.kvm_loaded, loaded, "{inputs:?}");
        }
    }

    #[test]
    fn the_kernels_words_about_the_firmware_are_understood() {
        for (line, disabled) in [
            ("6,1,1,-;kvm: disabled by bios", true),
            ("kvm_intel: VMX (outside TXT) disabled by BIOS", true),
            (
                "kvm_amd: SVM disabled (by BIOS) in MSR_VM_CR on CPU 0",
                true,
            ),
            ("mce: disabled by bios", false),
            ("kvm: Nested Virtualization enabled", false),
        ] {
            let inputs = Inputs {
                kernel_log: format!("one\n{line}\n"),
                ..Inputs::default()
            };
            let seen = inputs.surroundings().firmware_disabled;
            assert_eq!(seen, disabled, "{line}");
        }
    }

    #[test]
    fn this_machine_is_looked_at() {
        let inputs = Inputs::look();
        assert!(!inputs.kernel.is_empty());
        println!("{:?}", inputs.surroundings());
    }
}
