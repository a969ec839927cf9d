//! This machine as `anyvirt doctor` tells it: looked at by `host` and `node`, shown by `cli`.

use api::accelerator::NodeVerdict;
use cli::doctor::{Device, Facts, Program};
use host::facts::{self, Machine};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A program that only prints its version answers at once; one that does not is reported, not waited for.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// The most of a version's text that is read.
const ANSWER_BYTES: usize = 4096;

/// Looks at this machine. Blocks, at worst for some seconds while KVM is tried.
pub(crate) fn look() -> Facts {
    let machine = Machine::look();
    let flags = facts::processor_flags().unwrap_or_default();
    let verdict = node::hardware::take_verdict(Path::new(node::hardware::DEVICE));
    let data_directory = crate::default_data_directory().unwrap_or_default();
    Facts {
        processor: processor_name(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        processors: machine.as_ref().map_or(0, |machine| machine.processors),
        virtualization_flag: flags
            .into_iter()
            .find(|flag| flag == "vmx" || flag == "svm"),
        memory_bytes: machine.as_ref().map_or(0, |machine| machine.memory_bytes),
        kernel: machine
            .as_ref()
            .map_or_else(ToString::to_string, |machine| machine.kernel.clone()),
        distribution: machine
            .as_ref()
            .map_or_else(|_| String::new(), |machine| machine.distribution.clone()),
        kvm: device("/dev/kvm"),
        kvm_verdict: Some(NodeVerdict {
            usable: verdict.usable(),
            class: verdict.class.name().to_owned(),
            stage: verdict.stage.unwrap_or_default(),
            message: verdict.evidence,
        }),
        vhost_net: device("/dev/vhost-net"),
        tun: device("/dev/net/tun"),
        qemu: program(&qemu_candidates(), "qemu-system-x86"),
        passt: program(&[PathBuf::from("/usr/bin/passt")], "passt"),
        free_bytes: facts::file_system_bytes(&data_directory)
            .ok()
            .map(|(_, free)| free),
        data_directory,
    }
}

fn qemu_candidates() -> Vec<PathBuf> {
    let name = format!("qemu-system-{}", std::env::consts::ARCH);
    ["/usr/bin", "/usr/local/bin", "/usr/libexec"]
        .iter()
        .map(|folder| Path::new(folder).join(&name))
        .collect()
}

fn device(path: &str) -> Device {
    match facts::device(Path::new(path)) {
        facts::Device::Usable => Device::Usable,
        facts::Device::Missing => Device::Missing,
        facts::Device::PermissionDenied { rights } => Device::PermissionDenied(rights),
        facts::Device::Busy => Device::Broken("another program has it for itself".to_owned()),
        facts::Device::Broken { error } => Device::Broken(error),
    }
}

/// The first of `candidates` that exists, with the first line of what `--version` prints. Err: how to get it.
fn program(candidates: &[PathBuf], package: &str) -> Result<Program, String> {
    let paths: Vec<&Path> = candidates.iter().map(PathBuf::as_path).collect();
    let path = host::process::find_program(&paths)
        .ok_or_else(|| format!("not installed: apt-get install {package}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime
        .map_err(|error| format!("cannot ask {} for its version: {error}", path.display()))?;
    let output = runtime.block_on(
        host::process::Program::new(&path)
            .argument("--version")
            .output(ANSWER_PATIENCE, ANSWER_BYTES),
    );
    let output = output.map_err(|error| {
        format!(
            "{} does not start: {}",
            path.display(),
            crate::up::whole(&error)
        )
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Program {
        version: text.lines().next().unwrap_or_default().to_owned(),
        path,
    })
}

fn processor_name(cpuinfo: &str) -> String {
    let name = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(
        || "unknown processor".to_owned(),
        |(_, name)| name.trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_name_is_read_from_cpuinfo() {
        assert_eq!(
            processor_name("processor\t: 0\nmodel name\t: AMD EPYC 7763\n"),
            "AMD EPYC 7763"
        );
        assert_eq!(processor_name(""), "unknown processor");
    }

    #[test]
    fn a_missing_program_is_told_with_its_package() {
        let error = program(&[PathBuf::from("/nowhere/qemu")], "qemu-system-x86").unwrap_err();
        assert!(error.contains("apt-get install qemu-system-x86"), "{error}");
    }
}
