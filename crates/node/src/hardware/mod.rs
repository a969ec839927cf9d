//! What this machine's hardware virtualization is worth: runs the probe's guest on the device, looks
//! at the devices beside it, remembers the verdict as long as it holds.

pub mod cache;
pub mod devices;
mod run;

use std::path::Path;
use std::time::Instant;

use host::facts::Device;
use host::kvm::{Kvm, Layout, Linux};
use host::surroundings::Inputs;
use qemu::probe::{self, Hints, Next, Plan, Verdict};

pub use run::{MOST_LEFT_BEHIND, RUN_AND_GRACE};

/// Where KVM is.
pub const DEVICE: &str = "/dev/kvm";

/// Makes a KVM for one VM of that layout; called on the thread that runs it.
pub trait MakeKvm: Send + Sync {
    /// A new KVM, of which no step was taken.
    fn make(&self, layout: Layout) -> Box<dyn Kvm>;
}

impl<F: Fn(Layout) -> Box<dyn Kvm> + Send + Sync> MakeKvm for F {
    fn make(&self, layout: Layout) -> Box<dyn Kvm> {
        self(layout)
    }
}

/// Runs the probe on `device` and judges. Blocks for some milliseconds, at worst for a second: call
/// it on a thread that may block.
#[must_use]
pub fn take_verdict(device: &Path) -> Verdict {
    take_verdict_of(device, &Plan::whole())
}

/// As [`take_verdict`], with the stages of `plan`, e.g. a second processor.
#[must_use]
pub fn take_verdict_of(device: &Path, plan: &Plan) -> Verdict {
    if cfg!(not(target_arch = "x86_64")) && host::facts::device(device) == Device::Usable {
        let evidence = format!(
            "{} opens, and there is no probe guest for {} yet: nobody knows what it is worth",
            device.display(),
            std::env::consts::ARCH
        );
        return Verdict::new(probe::Class::Unknown, evidence);
    }
    let path = device.to_owned();
    let make = move |layout| Box::new(Linux::new(&path, layout)) as Box<dyn Kvm>;
    let mut verdict = take_verdict_with(make, device, plan, || hints(&Inputs::look()));
    if !verdict.usable() && host::facts::module_loaded("kvm_pvm") {
        // A hint, never proof; but it names the cause for whoever can change it.
        verdict.evidence.push_str(
            "; the module kvm_pvm is loaded: this machine's KVM is a software layer of its host",
        );
    }
    verdict
}

/// The verdict on any KVM, a test's too. `device` names the file whose rights are told when it may
/// not be opened; `look` is asked when no guest could be run.
#[must_use]
pub fn take_verdict_with(
    make: impl MakeKvm + 'static,
    device: &Path,
    plan: &Plan,
    look: impl FnOnce() -> Hints,
) -> Verdict {
    let began = Instant::now();
    let make: std::sync::Arc<dyn MakeKvm> = std::sync::Arc::new(make);
    let mut seen = Vec::new();
    let verdict = loop {
        let asked = match probe::next(plan, &seen) {
            Next::Done(verdict) => break verdict,
            Next::Run(asked) => asked,
        };
        match run::observe(&make, device, &asked) {
            Ok(observation) => seen.push(observation),
            Err(run::NoRun::Obstacle(obstacle)) => break probe::obstructed(&obstacle, &look()),
            Err(run::NoRun::Dead { place, waited }) => break probe::dead(&place, waited),
            Err(run::NoRun::LeftBehind(count)) => break probe::left_behind(count),
            Err(run::NoRun::Fault(fault)) => {
                break Verdict::new(probe::Class::Unknown, fault);
            }
        }
    };
    Verdict {
        took: began.elapsed(),
        ..verdict
    }
}

/// What the probe wants to know of the machine.
#[must_use]
pub fn hints(inputs: &Inputs) -> Hints {
    let seen = inputs.surroundings();
    Hints {
        virtual_machine: seen.is_virtual,
        processor_flag: seen.has_virtualization,
        module_loaded: seen.kvm_loaded,
        firmware_disabled: seen.firmware_disabled,
        container: seen.container.is_some(),
    }
}

/// Where this machine stands, as the API tells it.
#[must_use]
pub fn surroundings(inputs: &Inputs) -> api::accelerator::Surroundings {
    use api::accelerator as to;
    use host::surroundings as from;
    let seen = inputs.surroundings();
    to::Surroundings {
        platform: match seen.platform {
            from::Platform::Ec2 => to::Platform::Ec2,
            from::Platform::Ec2Metal => to::Platform::Ec2Metal,
            from::Platform::Gce => to::Platform::Gce,
            from::Platform::Azure => to::Platform::Azure,
            from::Platform::Wsl2 => to::Platform::Wsl2,
            from::Platform::HyperV => to::Platform::HyperV,
            from::Platform::Qemu => to::Platform::Qemu,
            from::Platform::Vmware => to::Platform::Vmware,
            from::Platform::VirtualBox => to::Platform::VirtualBox,
            from::Platform::Xen => to::Platform::Xen,
            from::Platform::Firecracker => to::Platform::Firecracker,
            from::Platform::OtherHypervisor => to::Platform::OtherHypervisor,
            from::Platform::BareMetal => to::Platform::BareMetal,
            from::Platform::Unknown => to::Platform::Unknown,
        },
        container: seen.container.map(|container| match container {
            from::Container::Docker => to::Container::Docker,
            from::Container::Podman => to::Container::Podman,
            from::Container::Kubernetes => to::Container::Kubernetes,
            from::Container::Lxc => to::Container::Lxc,
            from::Container::Nspawn => to::Container::Nspawn,
            from::Container::Other => to::Container::Other,
        }),
        instance_type: seen.instance_type,
        processor: match seen.processor {
            from::Processor::Intel => to::Processor::Intel,
            from::Processor::Amd => to::Processor::Amd,
            from::Processor::Other => to::Processor::Other,
        },
        hypervisor: seen.hypervisor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The probe and the API must speak of the same classes; they cannot share a type.
    #[test]
    fn the_classes_of_the_probe_are_those_of_the_api() {
        let ours: Vec<String> = probe::Class::ALL.iter().map(ToString::to_string).collect();
        let theirs: Vec<String> = api::accelerator::Class::ALL
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(ours, theirs);
    }
}
