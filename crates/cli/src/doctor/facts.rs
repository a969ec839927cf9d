//! What was found on this machine: the binary looks, this library judges.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use api::accelerator::{Class, HelperDevice, Surroundings};

/// What was found on this machine. Nothing in it names its user or its network.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Version of this program.
    pub version: String,
    /// The processor's name, e.g. `AMD EPYC 7763`.
    pub processor: String,
    /// How many processors there are.
    pub processors: usize,
    /// The processor's flag for hardware virtualization, `vmx` or `svm`, if it shows one.
    pub virtualization_flag: Option<String>,
    /// Its architecture, in Go's names.
    pub architecture: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Memory that is free for programs, if the kernel says it.
    pub available_bytes: Option<u64>,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution, e.g. `Debian GNU/Linux 12 (bookworm)`.
    pub distribution: String,
    /// On whose machine, in what container.
    pub surroundings: Surroundings,
    /// How `/dev/kvm` stands as a file, e.g. `crw-rw---- root kvm`; or that there is none.
    pub kvm_file: String,
    /// What running small guests on it showed.
    pub kvm: Verdict,
    /// vhost-net, tun, vsock.
    pub helpers: Vec<Helper>,
    /// KVM's modules and those of the helpers: loaded or not.
    pub modules: BTreeMap<String, bool>,
    /// The module that hands virtualization on to guests' guests, and its parameter `nested`.
    pub nested: Option<(String, String)>,
    /// QEMU for each architecture that can be served, this machine's own first.
    pub emulators: Vec<Emulator>,
    /// Firmware for guests.
    pub firmware: Vec<Firmware>,
    /// How many times slower emulated guests are here, measured now; or why that could not be.
    pub slowdown: Result<Slowdown, String>,
    /// passt, which gives guests their network; or why there is none.
    pub passt: Result<Program, String>,
    /// Whom we run as.
    pub user: User,
    /// How processes can be limited.
    pub control_groups: ControlGroups,
    /// Where data is kept.
    pub data_directory: PathBuf,
    /// Free bytes in its file system; or why they could not be read.
    pub free_bytes: Result<u64, String>,
}

/// What running guests showed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// Usable, or in which way not.
    pub class: Class,
    /// Where it was seen, e.g. `LongMode`.
    pub stage: Option<String>,
    /// A sentence.
    pub evidence: String,
    /// How many guests were run.
    pub runs: u32,
    /// How long it took.
    pub took: Duration,
}

/// How many times slower software emulation is.
#[derive(Clone, Debug, PartialEq)]
pub struct Slowdown {
    /// Slower than what: `KVM`, or `the processor itself` where KVM does not work.
    pub than: String,
    /// The median of several runs.
    pub ratio: f64,
    /// The lowest of them.
    pub low: f64,
    /// The highest of them.
    pub high: f64,
}

/// A device beside KVM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Helper {
    /// Which.
    pub device: HelperDevice,
    /// Usable, or in which way not.
    pub class: Class,
    /// A sentence.
    pub evidence: String,
}

/// QEMU for guests of one architecture.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Emulator {
    /// In Go's names.
    pub architecture: String,
    /// Where and which version; or why there is none.
    pub program: Result<Program, String>,
    /// Accelerators that it was built with, e.g. `kvm`, `tcg`.
    pub accelerators: Vec<String>,
    /// The Debian package that has it.
    pub package: String,
}

/// Firmware for guests of one architecture.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Firmware {
    /// E.g. `EFI for amd64`.
    pub name: String,
    /// Where it is, if it is there.
    pub path: Option<PathBuf>,
    /// The Debian package that has it.
    pub package: String,
    /// What does not start without it.
    pub without: String,
}

/// A program that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Program {
    /// Its path.
    pub path: PathBuf,
    /// Its version.
    pub version: String,
}

/// Whom we run as, without a name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct User {
    /// User id.
    pub id: u32,
    /// Names of groups that matter here (`kvm`, `root`) and that we are in.
    pub groups: Vec<String>,
    /// Can we become other users, so that each guest gets one of its own?
    pub can_change_user: bool,
}

/// How processes can be limited.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ControlGroups {
    /// `v2`, `v1`, `v1 and v2`; empty if there are none.
    pub version: String,
    /// Which of cpu, memory and pids can be limited.
    pub controllers: Vec<String>,
    /// May we make groups?
    pub writable: bool,
}
