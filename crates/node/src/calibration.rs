//! How many times slower than this machine's processor QEMU's TCG is here: measured, never assumed.
//!
//! The same machine code runs in a guest under TCG and, as a program, on the processor itself; or in
//! the same guest under KVM, where that works. All count the processor's cycles. The figure is the geometric mean over three kinds of work; it tells what a
//! mixture of ordinary work loses, not what any one program does.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host::process::{Program, SpawnError};
use jiff::Timestamp;
use qemu::probe::workload::{self, Measured, Workload};
use qemu::probe::{END_PORT, REPORT_PORT};
use serde::{Deserialize, Serialize};

use crate::machine::{read_understood, write_json, write_whole};

/// The file's name in the data directory.
pub const FILE: &str = "tcg-slowdown.json";
const GUEST_FILE: &str = "tcg-slowdown-guest.bin";
const PROGRAM_FILE: &str = "tcg-slowdown-native";
/// So many pairs of a guest and the processor; the median counts. Each takes some 0.1 s.
pub const PAIRS: usize = 3;
/// A pair takes 0.1 s; on a machine whose processors are all busy, a second.
const DEADLINE: Duration = Duration::from_secs(10);
/// From fork to exec takes a millisecond, on a busy machine some tens; and a server that starts a
/// hundred machines forks as often.
const BUSY_TRIES: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// A report has some 200 bytes.
const MOST_BYTES: usize = 4096;
/// A figure is taken again after this time: machines get other neighbours.
pub const HOLDS: Duration = Duration::from_secs(7 * 24 * 3600);

/// What TCG is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Baseline {
    /// The work as a program of this machine's Linux.
    Processor,
    /// The work in a guest under KVM: the very same instructions, a kernel's too.
    Kvm,
}

/// How many times slower TCG is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slowdown {
    /// The median of the pairs.
    pub ratio: f64,
    /// The lowest of the pairs.
    pub low: f64,
    /// The highest of the pairs.
    pub high: f64,
    /// When it was measured.
    pub at: Timestamp,
    /// Slower than what.
    pub baseline: Baseline,
    /// By kind of work, medians: integers, memory, system calls.
    pub parts: Parts,
}

/// Slowdowns by kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parts {
    /// Integers, calls and branches.
    pub compute: f64,
    /// Loads and stores.
    pub memory: f64,
    /// System calls.
    pub system: f64,
}

/// What a figure depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// The processor's name.
    pub processor: String,
    /// As `uname -r`: system calls are the kernel's.
    pub kernel: String,
    /// QEMU's version.
    pub qemu: String,
    /// What it is compared with; another verdict on KVM makes another figure.
    pub baseline: Baseline,
}

impl Key {
    /// Looks at this machine. `qemu` is the version of the QEMU in use; `kvm` says whether KVM is
    /// usable by the probe's verdict.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn look(qemu: &str, kvm: bool) -> io::Result<Self> {
        let text = std::fs::read_to_string("/proc/cpuinfo")?;
        let processor = host::facts::processor_field(&text, "model name");
        Ok(Self {
            processor: processor.unwrap_or_default().to_owned(),
            kernel: host::facts::Machine::look()?.kernel,
            qemu: qemu.to_owned(),
            baseline: if kvm {
                Baseline::Kvm
            } else {
                Baseline::Processor
            },
        })
    }
}

/// A figure with what it depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The figure.
    pub slowdown: Slowdown,
    /// What it depends on.
    pub key: Key,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// QEMU did not run.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A file cannot be written.
    #[error("cannot {step}: {source}")]
    Io {
        /// What failed, as a verb.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The program on the processor itself did not do its work.
    #[error("the work on the processor itself failed: {problem}")]
    Native {
        /// What is wrong with its results.
        problem: String,
    },
    /// The guest did not do its work.
    #[error("{problem}; QEMU said: {words}")]
    Guest {
        /// What is wrong with its report.
        problem: String,
        /// QEMU's standard error.
        words: String,
    },
}

/// Whether there is work for machines of this architecture (as `uname -m`): it is machine code.
#[must_use]
pub fn is_written_for(architecture: &str) -> bool {
    architecture == "x86_64"
}

/// Whether to measure now. Pure.
///
/// `starting` guests come first: their start is what the figure is for, and it would spoil the figure.
#[must_use]
pub fn should_measure(
    cached: Option<&Record>,
    current: &Key,
    starting: usize,
    now: Timestamp,
) -> bool {
    if starting > 0 {
        return false;
    }
    let Some(cached) = cached else { return true };
    let age = now.duration_since(cached.slowdown.at);
    cached.key != *current || age.is_negative() || age.unsigned_abs() >= HOLDS
}

/// Measures: [`PAIRS`] small guests under `qemu`'s TCG, one after another, with the same work on
/// `baseline` between them. Takes some 0.4 s, one processor.
///
/// # Errors
/// [`CalibrationError`]; nothing is left running.
pub async fn measure(
    qemu: &Path,
    data_directory: &Path,
    baseline: Baseline,
    now: Timestamp,
) -> Result<Slowdown, CalibrationError> {
    let written = |name: &str, bytes: &[u8], mode| {
        write_whole(data_directory, name, bytes, mode)
            .map(|()| data_directory.join(name))
            .map_err(|source| CalibrationError::Io {
                step: "write the guest's and the program's files",
                source,
            })
    };
    let firmware = written(GUEST_FILE, &workload::image(), 0o600)?;
    let program = written(PROGRAM_FILE, &workload::program(), 0o700)?;
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        let fast = match baseline {
            Baseline::Processor => on_the_processor(&program).await?,
            Baseline::Kvm => in_a_guest(qemu, "kvm", &firmware).await?,
        };
        let slow = in_a_guest(qemu, "tcg,thread=single", &firmware).await?;
        pairs.push((slow, fast));
    }
    Ok(slowdown(&pairs, baseline, now))
}

async fn in_a_guest(
    qemu: &Path,
    accelerator: &str,
    firmware: &Path,
) -> Result<Vec<Measured>, CalibrationError> {
    let output = Program::new(qemu)
        .arguments(["-nodefaults", "-no-user-config", "-display", "none"])
        .arguments(["-accel", accelerator, "-m", "16", "-no-reboot"])
        .arguments(["-M", "pc", "-cpu", "max"])
        .arguments(["-chardev", "stdio,id=report"])
        .argument("-device")
        .argument(format!(
            "isa-debugcon,iobase={REPORT_PORT:#x},chardev=report"
        ))
        .argument("-device")
        .argument(format!("isa-debug-exit,iobase={END_PORT:#x},iosize=1"))
        .argument("-bios")
        .argument(firmware)
        .output(DEADLINE, MOST_BYTES)
        .await?;
    workload::read_report(&output.stdout).map_err(|problem| CalibrationError::Guest {
        problem,
        words: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

async fn on_the_processor(program: &Path) -> Result<Vec<Measured>, CalibrationError> {
    let mut tries = 0;
    let output = loop {
        match Program::new(program).output(DEADLINE, MOST_BYTES).await {
            // Another thread started a program while this one was being written: between its fork and
            // its exec that process holds the descriptor too, and the kernel runs no file that is.
            Err(error)
                if error.source.kind() == io::ErrorKind::ExecutableFileBusy
                    && tries < BUSY_TRIES =>
            {
                tries += 1;
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            output => break output?,
        }
    };
    workload::read_results(&output.stdout).map_err(|problem| CalibrationError::Native {
        problem: format!("{problem}; it ended with {}", output.ending),
    })
}

/// The figure of pairs of (guest under TCG, baseline). Pure.
///
/// Of each side the fastest run counts: whatever else the machine does can only make a run slower.
#[must_use]
pub fn slowdown(
    pairs: &[(Vec<Measured>, Vec<Measured>)],
    baseline: Baseline,
    at: Timestamp,
) -> Slowdown {
    let fastest = |all: &[Measured], workload| {
        all.iter()
            .filter(|one| one.workload == workload)
            .flat_map(|one| one.cycles.iter().copied())
            .min()
            .unwrap_or(1)
            .max(1) as f64
    };
    let of = |workload| -> Vec<f64> {
        pairs
            .iter()
            .map(|(guest, native)| fastest(guest, workload) / fastest(native, workload))
            .collect()
    };
    let by_kind = Workload::ALL.map(of);
    let mut ratios: Vec<f64> = (0..pairs.len())
        .map(|pair| {
            let product: f64 = by_kind.iter().map(|kind| kind[pair]).product();
            product.powf(1.0 / by_kind.len() as f64)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let [compute, memory, system] = by_kind.map(median);
    Slowdown {
        low: rounded(ratios.first().copied().unwrap_or(1.0)),
        high: rounded(ratios.last().copied().unwrap_or(1.0)),
        ratio: rounded(median(ratios)),
        at,
        baseline,
        parts: Parts {
            compute: rounded(compute),
            memory: rounded(memory),
            system: rounded(system),
        },
    }
}

/// To hundredths, which is more than is known, and the same after it was written and read.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(1.0)
}

/// Where the figure is kept.
#[must_use]
pub fn file(data_directory: &Path) -> PathBuf {
    data_directory.join(FILE)
}

/// The figure that was kept; one that is too large or not understood is none.
///
/// # Errors
/// If it is there and cannot be read.
pub fn cached(data_directory: &Path) -> io::Result<Option<Record>> {
    read_understood(&file(data_directory))
}

/// Keeps a figure: whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub fn store(data_directory: &Path, record: &Record) -> io::Result<()> {
    write_json(data_directory, FILE, record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[tokio::test]
    async fn a_program_that_is_still_open_for_writing_elsewhere_is_run_later() {
        let folder = tempfile::tempdir().expect("a folder");
        write_whole(folder.path(), "program", b"#!/bin/sh\n", 0o700).expect("written");
        let program = folder.path().join("program");
        let writing = std::fs::OpenOptions::new().write(true).open(&program);
        let writing = writing.expect("opened");
        let (run, ()) = tokio::join!(on_the_processor(&program), async {
            tokio::time::sleep(BUSY_PAUSE).await;
            drop(writing);
        });
        let error = run.expect_err("it reports nothing");
        assert!(matches!(error, CalibrationError::Native { .. }), "{error}");
        let held = std::fs::OpenOptions::new().write(true).open(&program);
        let error = on_the_processor(&program).await.expect_err("it is busy");
        assert!(matches!(error, CalibrationError::Spawn(_)), "{error}");
        drop(held);
    }

    fn measured(cycles: [u64; 3]) -> Vec<Measured> {
        Workload::ALL
            .into_iter()
            .zip(cycles)
            .map(|(workload, fastest)| Measured {
                workload,
                cycles: vec![fastest * 3, fastest, fastest * 2],
            })
            .collect()
    }

    #[test]
    fn the_figure_is_the_median_of_the_geometric_means_of_the_fastest() {
        let native = || measured([10, 10, 10]);
        let pairs = [
            (measured([20, 40, 80]), native()),
            (measured([20, 20, 20]), native()),
            (measured([80, 80, 80]), native()),
        ];
        let found = slowdown(&pairs, Baseline::Processor, at(1));
        let close = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(close(found.ratio, 4.0), "{found:?}");
        assert!(close(found.low, 2.0) && close(found.high, 8.0), "{found:?}");
        assert!(close(found.parts.compute, 2.0) && close(found.parts.memory, 4.0));
    }

    #[test]
    fn nothing_measured_is_no_division_by_zero() {
        let found = slowdown(&[(Vec::new(), Vec::new())], Baseline::Kvm, at(1));
        assert!(found.ratio.is_finite(), "{found:?}");
        assert!(slowdown(&[], Baseline::Kvm, at(1)).ratio.is_finite());
    }

    #[test]
    fn it_is_measured_once_and_never_while_guests_start() {
        let key = Key {
            processor: "p".to_owned(),
            kernel: "k".to_owned(),
            qemu: "10".to_owned(),
            baseline: Baseline::Processor,
        };
        let record = Record {
            slowdown: slowdown(
                &[(measured([4, 4, 4]), measured([1, 1, 1]))],
                Baseline::Processor,
                at(1_000),
            ),
            key: key.clone(),
        };
        let later = 1_000 + i64::try_from(HOLDS.as_secs()).expect("small");
        let other = Key {
            qemu: "11".to_owned(),
            ..key.clone()
        };
        let on_kvm = Key {
            baseline: Baseline::Kvm,
            ..key.clone()
        };
        for (cached, current, starting, now, expected) in [
            (None, &key, 0, 1, true),
            (None, &key, 1, 1, false),
            (Some(&record), &key, 0, 1_001, false),
            (Some(&record), &key, 0, later, true),
            (Some(&record), &key, 0, 999, true),
            (Some(&record), &other, 0, 1_001, true),
            (Some(&record), &on_kvm, 0, 1_001, true),
            (Some(&record), &other, 3, 1_001, false),
        ] {
            let measures = should_measure(cached, current, starting, at(now));
            assert_eq!(measures, expected, "{starting} {now}");
        }
    }

    #[test]
    fn a_figure_is_kept_and_what_is_not_understood_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(cached(folder.path()).expect("readable").is_none());
        let record = Record {
            slowdown: slowdown(
                &[(measured([4, 4, 4]), measured([1, 1, 1]))],
                Baseline::Processor,
                at(1_000),
            ),
            key: Key::look("10.0", false).expect("readable"),
        };
        store(folder.path(), &record).expect("writable");
        assert_eq!(cached(folder.path()).expect("readable"), Some(record));
        let mut large = std::fs::read(file(folder.path())).expect("readable");
        large.resize(2 << 20, b' ');
        for text in [b"{}".to_vec(), large] {
            std::fs::write(file(folder.path()), text).expect("writable");
            assert!(cached(folder.path()).expect("readable").is_none());
        }
        std::fs::remove_file(file(folder.path())).expect("removed");
        std::fs::create_dir(file(folder.path())).expect("made");
        cached(folder.path()).expect_err("no file");
    }
}
