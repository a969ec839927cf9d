//! This machine as `anyvirt doctor` tells it: looked at by `host` and `node`, judged and shown by `cli`.

use api::accelerator::{Class, HelperDevice};
use cli::doctor::{
    ControlGroups, Emulator, Facts, Firmware, Helper, Program, Slowdown, User, Verdict,
};
use host::facts::{self, Machine};
use host::limits;
use host::surroundings::Inputs;
use jiff::Timestamp;
use node::calibration::Baseline;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A program that only prints its version answers at once; one that does not is reported, not waited for.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// The most of a version's text that is read.
const ANSWER_BYTES: usize = 4096;

/// Modules of KVM, and of the devices beside it.
const MODULES: [&str; 7] = [
    "kvm",
    "kvm_amd",
    "kvm_intel",
    "kvm_pvm",
    "tun",
    "vhost_net",
    "vhost_vsock",
];

/// Looks at this machine. Blocks, at worst for some seconds while programs are asked.
pub(crate) fn look() -> Facts {
    let machine = Machine::look();
    let of_machine =
        |text: fn(&Machine) -> String| machine.as_ref().map_or_else(ToString::to_string, text);
    let architecture = of_machine(|machine| machine.go_architecture().to_owned());
    let emulators = emulators(&architecture);
    let kvm = verdict();
    let flags = facts::processor_flags().unwrap_or_default();
    let data_directory = crate::default_data_directory().unwrap_or_default();
    Facts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        processor: processor_name(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        processors: machine.as_ref().map_or(0, |machine| machine.processors),
        virtualization_flag: flags
            .into_iter()
            .find(|flag| flag == "vmx" || flag == "svm"),
        memory_bytes: machine.as_ref().map_or(0, |machine| machine.memory_bytes),
        available_bytes: facts::available_memory_bytes(),
        kernel: of_machine(|machine| machine.kernel.clone()),
        distribution: of_machine(|machine| machine.distribution.clone()),
        surroundings: node::hardware::surroundings(&Inputs::look()),
        kvm_file: facts::rights(Path::new(node::hardware::DEVICE)),
        helpers: helpers(),
        modules: modules(),
        nested: facts::nested().map(|(module, value)| (module.to_owned(), value)),
        slowdown: slowdown(&emulators, kvm.class),
        kvm,
        emulators,
        firmware: firmware(),
        passt: program(&[host::network::PASST.into()], "passt"),
        user: user(),
        control_groups: control_groups(),
        free_bytes: free_bytes(&data_directory),
        data_directory,
        architecture,
    }
}

/// Free bytes where `data_directory` is, or would be made. Err: what the kernel said, without names.
fn free_bytes(data_directory: &Path) -> Result<u64, String> {
    for folder in data_directory.ancestors() {
        match facts::file_system_bytes(folder) {
            Ok((free, _)) => return Ok(free),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("no folder above it exists".to_owned())
}

fn verdict() -> Verdict {
    let verdict = node::hardware::take_verdict(Path::new(node::hardware::DEVICE));
    Verdict {
        class: Class::parse(verdict.class.name()),
        stage: verdict.stage,
        evidence: verdict.evidence,
        runs: verdict.runs,
        took: verdict.took,
    }
}

/// Measures how slow emulation is here, in a folder of its own that is gone afterwards.
fn slowdown(emulators: &[Emulator], kvm: Class) -> Result<Slowdown, String> {
    let own = emulators.first().map(|emulator| &emulator.program);
    let qemu = match own {
        Some(Ok(program)) => &program.path,
        Some(Err(why)) => return Err(why.clone()),
        None => return Err("there is no QEMU".to_owned()),
    };
    if cfg!(not(target_arch = "x86_64")) {
        return Err(format!(
            "there is no such measurement for {} yet",
            std::env::consts::ARCH
        ));
    }
    let (baseline, than) = if kvm == Class::Usable {
        (Baseline::Kvm, "KVM")
    } else {
        (Baseline::Processor, "the processor itself")
    };
    let folder = std::env::temp_dir().join(format!("anyvirt-doctor-{}", std::process::id()));
    // Never somebody else's folder, which could hold links to elsewhere.
    std::fs::create_dir(&folder)
        .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let measured = runtime().and_then(|runtime| {
        let measured = node::calibration::measure(qemu, &folder, baseline, Timestamp::now());
        runtime
            .block_on(measured)
            .map_err(|error| error.to_string())
    });
    let removed = std::fs::remove_dir_all(&folder)
        .map_err(|error| format!("cannot remove {}: {error}", folder.display()));
    let measured = measured?;
    removed?;
    Ok(Slowdown {
        than: than.to_owned(),
        ratio: measured.ratio,
        low: measured.low,
        high: measured.high,
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start programs: {error}"))
}

fn helpers() -> Vec<Helper> {
    let look = |device: HelperDevice| {
        let verdict = node::hardware::devices::look_at(device);
        Helper {
            device,
            class: verdict.class,
            evidence: verdict.evidence,
        }
    };
    HelperDevice::ALL.map(look).to_vec()
}

fn modules() -> BTreeMap<String, bool> {
    MODULES
        .into_iter()
        .map(|name| (name.to_owned(), facts::module_loaded(name)))
        .collect()
}

fn user() -> User {
    let user = limits::User::look();
    User {
        id: user.id,
        groups: user.groups,
        can_change_user: user.can_change_user,
    }
}

fn control_groups() -> ControlGroups {
    let groups = limits::ControlGroups::look();
    let version = match (groups.first, groups.second) {
        (true, true) => "v1 and v2",
        (true, false) => "v1",
        (false, true) => "v2",
        (false, false) => "",
    };
    ControlGroups {
        version: version.to_owned(),
        controllers: groups.controllers,
        writable: groups.writable,
    }
}

/// QEMU for each architecture, this machine's own first.
fn emulators(own: &str) -> Vec<Emulator> {
    let mut all: Vec<Emulator> = [
        ("amd64", "x86_64", "qemu-system-x86"),
        ("arm64", "aarch64", "qemu-system-arm"),
    ]
    .into_iter()
    .map(|(architecture, machine, package)| {
        let name = format!("qemu-system-{machine}");
        let candidates: Vec<PathBuf> = ["/usr/bin", "/usr/local/bin"]
            .iter()
            .map(|folder| Path::new(folder).join(&name))
            .chain((architecture == own).then(|| PathBuf::from("/usr/libexec/qemu-kvm")))
            .collect();
        let program = program(&candidates, package);
        Emulator {
            architecture: architecture.to_owned(),
            accelerators: program
                .as_ref()
                .map(|program| accelerators(&program.path))
                .unwrap_or_default(),
            program,
            package: package.to_owned(),
        }
    })
    .collect();
    all.sort_by_key(|emulator| emulator.architecture != own);
    all
}

/// The accelerators that a QEMU was built with; none if it does not tell.
fn accelerators(program: &Path) -> Vec<String> {
    let said = ask(program, &["-accel", "help"]).unwrap_or_default();
    parse_accelerators(&said)
}

/// The names below QEMU's headline.
fn parse_accelerators(said: &str) -> Vec<String> {
    said.lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.contains(' '))
        .map(str::to_owned)
        .collect()
}

/// Firmware for guests that start by EFI: where distributions have it, the first that is there.
fn firmware() -> Vec<Firmware> {
    let places: [(&str, &[&str], &str); 2] = [
        (
            "EFI for amd64",
            &[
                "/usr/share/OVMF/OVMF_CODE_4M.fd",
                "/usr/share/OVMF/OVMF_CODE.fd",
                "/usr/share/edk2/ovmf/OVMF_CODE.fd",
            ],
            "ovmf",
        ),
        (
            "EFI for arm64",
            &[
                "/usr/share/AAVMF/AAVMF_CODE.fd",
                "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
            ],
            "qemu-efi-aarch64",
        ),
    ];
    places
        .into_iter()
        .map(|(name, paths, package)| Firmware {
            name: name.to_owned(),
            path: paths.iter().map(PathBuf::from).find(|path| path.is_file()),
            package: package.to_owned(),
            without: "guests of that architecture do not start by EFI".to_owned(),
        })
        .collect()
}

/// The first of `candidates` that exists, with the first line of what `--version` prints. Err: how to get it.
fn program(candidates: &[PathBuf], package: &str) -> Result<Program, String> {
    let paths: Vec<&Path> = candidates.iter().map(PathBuf::as_path).collect();
    let path = host::process::find_program(&paths)
        .ok_or_else(|| format!("not installed: apt-get install {package}"))?;
    let text = ask(&path, &["--version"])?;
    let version =
        version(&text).ok_or_else(|| format!("{} --version printed no version", path.display()))?;
    Ok(Program { version, path })
}

/// The first line of what `--version` prints, unless it is empty.
fn version(text: &str) -> Option<String> {
    let line = text.lines().next().map(str::trim)?;
    (!line.is_empty()).then(|| line.to_owned())
}

/// What a program prints. Err: why it does not.
fn ask(path: &Path, arguments: &[&str]) -> Result<String, String> {
    let runtime = runtime()?;
    let mut program = host::process::Program::new(path);
    for argument in arguments {
        program = program.argument(argument);
    }
    let output = runtime.block_on(program.output(ANSWER_PATIENCE, ANSWER_BYTES));
    let output = output.map_err(|error| {
        format!(
            "{} does not start: {}",
            path.display(),
            crate::up::whole(&error)
        )
    })?;
    if !output.ending.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().map(str::trim).find(|line| !line.is_empty());
        return Err(format!(
            "{} {} failed with {}: {}",
            path.display(),
            arguments.join(" "),
            output.ending,
            said.unwrap_or("it said nothing")
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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

    #[test]
    fn a_program_that_fails_is_told_with_its_ending_and_first_words() {
        let shell = |script: &str| ask(Path::new("/bin/sh"), &["-c", script]);
        assert_eq!(shell("echo 1.0").as_deref(), Ok("1.0\n"));
        for (script, words) in [
            (
                "echo 1.0; echo >&2; echo broken library >&2; exit 127",
                "exit status 127: broken library",
            ),
            ("echo 1.0; kill -9 $$", "signal 9: it said nothing"),
        ] {
            let error = shell(script).unwrap_err();
            assert!(error.ends_with(words), "{error}");
        }
        assert_eq!(version("QEMU 7.2\nmore\n").as_deref(), Some("QEMU 7.2"));
        assert_eq!(version(" \n"), None);
        assert_eq!(version(""), None);
    }

    #[test]
    fn free_space_is_measured_where_the_folder_would_be_made() {
        let folder = std::env::temp_dir();
        assert!(free_bytes(&folder.join("anyvirt-nowhere/data")).is_ok());
        assert!(free_bytes(Path::new("")).is_err());
        // Below a file there is nothing, and nothing can be made.
        assert!(free_bytes(Path::new("/proc/self/status/data")).is_err());
    }

    #[test]
    fn accelerators_are_the_names_below_the_headline() {
        let said = "Accelerators supported in QEMU binary:\ntcg\nxen\nkvm\n";
        assert_eq!(parse_accelerators(said), ["tcg", "xen", "kvm"]);
        assert_eq!(parse_accelerators(""), Vec::<String>::new());
    }
}
