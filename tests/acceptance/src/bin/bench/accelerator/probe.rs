//! How long a verdict on KVM takes, on a quiet and on a busy machine, beside the same guest under
//! TCG; and the measured slowdown of TCG.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use node::calibration::Baseline;
use node::hardware::{DEVICE, take_verdict};

/// Verdicts of each kind; the issue wants the same one a hundred times of a hundred.
const RUNS: usize = 100;
/// Calibrations, for their spread.
const CALIBRATIONS: usize = 5;
/// The goal for a broken KVM, and the limit for any.
const GOAL: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(1);

/// Prints the figures.
pub(super) fn measure() {
    for busy in [false, true] {
        let _load = busy.then(Busy::all_processors);
        verdicts(if busy { "busy" } else { "idle" });
        slowdown(if busy { "busy" } else { "idle" });
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load {}", load.trim());
}

fn verdicts(state: &str) {
    let mut times = Vec::new();
    let mut classes: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..RUNS {
        let began = Instant::now();
        let verdict = take_verdict(Path::new(DEVICE));
        times.push(began.elapsed());
        let stage = verdict.stage.unwrap_or_default();
        *classes
            .entry(format!("{} {stage}", verdict.class))
            .or_default() += 1;
    }
    times.sort();
    let at = |percent: usize| milliseconds(times[(times.len() - 1) * percent / 100]);
    let counts: Vec<String> = classes
        .iter()
        .map(|(class, count)| format!("{class} x {count}"))
        .collect();
    println!(
        "verdict {state:<5} median {:>7.2} ms   95 % {:>7.2} ms   longest {:>7.2} ms   (goal {} ms, limit {} ms)   {}",
        at(50),
        at(95),
        at(100),
        GOAL.as_millis(),
        LIMIT.as_millis(),
        counts.join(", ")
    );
}

fn slowdown(state: &str) {
    let Some(qemu) = host::process::find_program(&[Path::new("/usr/bin/qemu-system-x86_64")])
    else {
        println!("SKIPPED: no QEMU for the slowdown of TCG");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let baseline = if take_verdict(Path::new(DEVICE)).usable() {
        Baseline::Kvm
    } else {
        Baseline::Processor
    };
    for _ in 0..CALIBRATIONS {
        let began = Instant::now();
        let now = jiff::Timestamp::now();
        match runtime.block_on(node::calibration::measure(
            &qemu,
            folder.path(),
            baseline,
            now,
        )) {
            Ok(found) => println!(
                "slowdown {state:<5} {:.2} ({:.2} to {:.2}; compute {:.2}, memory {:.2}, system {:.2}) in {:.0} ms",
                found.ratio,
                found.low,
                found.high,
                found.parts.compute,
                found.parts.memory,
                found.parts.system,
                milliseconds(began.elapsed())
            ),
            Err(error) => println!("slowdown {state:<5} not measured: {error}"),
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Keeps every processor busy until dropped.
struct Busy(Arc<AtomicBool>, Vec<std::thread::JoinHandle<()>>);

impl Busy {
    fn all_processors() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let count = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = (0..count)
            .map(|_| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        Self(stop, threads)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        for thread in self.1.drain(..) {
            // A thread that only spins does not panic.
            let _ = thread.join();
        }
    }
}
