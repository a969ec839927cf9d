//! What the processes of a machine take of their host's memory, beside what its pod accounts for.

use crate::{Server, processes_of, run};
use serde_json::Value;
use std::path::Path;

const MEBIBYTE: u64 = 1 << 20;

/// In MiB.
#[derive(Debug)]
pub struct Memory {
    /// The most that QEMU had at any time: all of it, the guest's memory too.
    pub qemu_peak: u64,
    /// What QEMU has now beside the guest's memory: its code and heap, and what it translated.
    pub qemu_beside_guest: u64,
    /// What the launcher has for itself. Its code is the server's and that of all other launchers, which they share, and
    /// several times larger in the builds that tests run than in those that users do.
    pub launcher: u64,
    /// The most that the program of the guest's network had; 0 without a network.
    pub network_peak: u64,
    /// What the pod asks for the container that runs the guest.
    pub requested: u64,
    /// The part of it that is not the guest's memory.
    pub overhead: u64,
}

impl Memory {
    /// Looks at the running VMI `name` of the namespace `default`, whose guest has `guest` MiB.
    ///
    /// # Panics
    /// If the VMI does not run, or its processes or pod cannot be looked at.
    pub fn of(server: &Server, name: &str, guest: u64) -> Memory {
        let instance = server.get("vmi", name, "default").expect("a VMI");
        let uid = instance["metadata"]["uid"].as_str().expect("a uid");
        let directory = server.data_directory().join("machines").join(uid);
        let called = |program: &str| {
            let is = |process: &u32| read(*process, "comm").starts_with(program);
            let found = processes_of(&directory).into_iter().find(is);
            found.unwrap_or_else(|| panic!("{program} of {name} runs"))
        };
        let (qemu, launcher) = (called("qemu-system"), called("anyvirt"));
        // The network's program has no file of the machine open.
        let parent = launcher.to_string();
        let network = run(Path::new("pgrep"), &["--parent", &parent, "passt"], &[]);
        let network = network.out.lines().map(|line| line.parse().expect("a pid"));
        let networks: Vec<u32> = network.collect();
        let cards = instance["spec"]["networks"].as_array().map_or(0, Vec::len);
        assert_eq!(
            networks.len(),
            cards,
            "one passt for each network of {name}"
        );
        let selector = format!("kubevirt.io/created-by={uid}");
        let pods = server.kubectl(&["get", "pods", "-l", &selector, "-o", "json"]);
        let pods: Value = serde_json::from_str(&pods).expect("a list");
        let pod = &pods["items"][0];
        let requested = &pod["spec"]["containers"][0]["resources"]["requests"]["memory"];
        let overhead = &pod["metadata"]["annotations"]["kubevirt.io/memory-overhead-bytes"];
        let overhead: u64 = overhead.as_str().expect("bytes").parse().expect("bytes");
        Memory {
            qemu_peak: peak(qemu),
            qemu_beside_guest: resident_beside(qemu, guest * 1024) / 1024,
            launcher: own(launcher),
            network_peak: networks.into_iter().map(peak).sum(),
            requested: mebibytes(requested.as_str().expect("an amount")),
            overhead: overhead / MEBIBYTE,
        }
    }

    /// Checks that the account is true: nothing takes more than was asked for, with the guest's memory and
    /// without it, where an idle guest's room cannot hide what is missing.
    ///
    /// # Panics
    /// With all figures, if it is not.
    #[expect(
        clippy::print_stdout,
        reason = "figures for whoever reads the test's output"
    )]
    pub fn check(&self) {
        println!("{self:?}");
        let others = self.launcher + self.network_peak;
        assert!(self.qemu_peak + others <= self.requested, "{self:?}");
        assert!(self.qemu_beside_guest + others <= self.overhead, "{self:?}");
    }
}

fn read(process: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default()
}

/// The most that a process had resident, in MiB, rounded up.
fn peak(process: u32) -> u64 {
    of_status(process, "VmHWM:").div_ceil(1024)
}

/// What a process has resident that is not a file's, in MiB, rounded up.
fn own(process: u32) -> u64 {
    let kibibytes = of_status(process, "RssAnon:") + of_status(process, "RssShmem:");
    kibibytes.div_ceil(1024)
}

/// An amount of `/proc/PROCESS/status`, in KiB.
fn of_status(process: u32, name: &str) -> u64 {
    let status = read(process, "status");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    number(line.unwrap_or_else(|| panic!("process {process} is gone")))
}

/// What a process has resident, in KiB, without the one mapping of `left_out` KiB.
fn resident_beside(process: u32, left_out: u64) -> u64 {
    let smaps = read(process, "smaps");
    let mut size = 0;
    let (mut found, mut resident) = (0, 0);
    for line in smaps.lines() {
        if let Some(text) = line.strip_prefix("Size:") {
            size = number(text);
            found += u32::from(size == left_out);
        } else if let Some(text) = line.strip_prefix("Rss:")
            && size != left_out
        {
            resident += number(text);
        }
    }
    assert_eq!(found, 1, "the guest's memory of {left_out} kB: {smaps}");
    resident
}

/// The number in `  123 kB`.
fn number(text: &str) -> u64 {
    let digits = text.split_whitespace().next().expect("a number");
    digits.parse().expect("a number")
}

/// An amount of memory as pods have it, in MiB.
fn mebibytes(amount: &str) -> u64 {
    let units = [("Ki", 1024), ("Mi", MEBIBYTE), ("Gi", 1024 * MEBIBYTE)];
    let found = units
        .into_iter()
        .find_map(|(unit, bytes)| Some((amount.strip_suffix(unit)?, bytes)));
    let (digits, bytes) = found.unwrap_or((amount, 1));
    let number: u64 = digits.parse().unwrap_or_else(|_| panic!("{amount}"));
    number * bytes / MEBIBYTE
}
