//! Takes the verdict on this machine's KVM: runs the probe's guests on the device.

use std::path::Path;

use host::facts::Device;
use host::kvm::{self, Guest, KvmError, Mode};
use qemu::probe::{self, Ending, Next, Observation, Obstacle, Stage, Verdict};

/// Where KVM is.
pub const DEVICE: &str = "/dev/kvm";

/// Runs the probe on `device` and judges. Blocks for some milliseconds, at worst for some seconds
/// if the kernel hangs: call it on a thread that may block.
#[must_use]
pub fn take_verdict(device: &Path) -> Verdict {
    let mut verdict = probe_device(device);
    // A hint, never proof; but it names the cause for whoever can change it.
    if !verdict.usable() && host::facts::module_loaded("kvm_pvm") {
        verdict.evidence.push_str(
            "; the module kvm_pvm is loaded: this machine's KVM is a software layer of its host",
        );
    }
    verdict
}

fn probe_device(device: &Path) -> Verdict {
    let mut seen = Vec::new();
    loop {
        let stage = match probe::next(&seen) {
            Next::Done(verdict) => return verdict,
            Next::Run(stage) => stage,
        };
        match observe(device, stage) {
            Ok(observation) => seen.push(observation),
            Err(obstacle) => return probe::obstructed(&obstacle),
        }
    }
}

fn observe(device: &Path, stage: Stage) -> Result<Observation, Obstacle> {
    let guest = Guest {
        mode: Mode::Long,
        code: stage.code().to_vec(),
        deadline: stage.deadline(),
    };
    let run = kvm::run(device, &guest).map_err(obstacle)?;
    Ok(Observation {
        stage,
        ending: ending(run.ending),
        elapsed: run.elapsed,
        emulated: run.statistics.get("insn_emulation").copied(),
    })
}

fn ending(ending: kvm::Ending) -> Ending {
    match ending {
        kvm::Ending::Output { port, value } => Ending::Output { port, value },
        kvm::Ending::Halted => Ending::Halted,
        kvm::Ending::InternalError { suberror, .. } => Ending::InternalError { suberror },
        kvm::Ending::Shutdown => Ending::Shutdown,
        kvm::Ending::EntryFailed { .. } => Ending::EntryFailed,
        kvm::Ending::Deadline => Ending::Deadline,
        kvm::Ending::Other(reason) => Ending::Other(reason),
    }
}

fn obstacle(error: KvmError) -> Obstacle {
    match error {
        KvmError::Device(Device::Missing) => Obstacle::Missing,
        KvmError::Device(Device::PermissionDenied { rights }) => Obstacle::PermissionDenied(rights),
        KvmError::Device(Device::Busy) | KvmError::Busy => Obstacle::Busy,
        KvmError::Device(Device::Broken { error }) => Obstacle::Broken(error),
        KvmError::Stuck => Obstacle::Stuck,
        KvmError::Architecture => Obstacle::Architecture(std::env::consts::ARCH.to_owned()),
        KvmError::Version(_) => Obstacle::Broken(error.to_string()),
        // `Device(Usable)` is never an error; if it were, the text would show it.
        KvmError::Device(Device::Usable) | KvmError::Failed { .. } => {
            Obstacle::Setup(error.to_string())
        }
    }
}
