//! Runs seeds of the mixed cluster, or a script: `cargo xtask simulate mixed --seeds 0..100`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people"
)]

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use simulation::mixed::{Failure, Report, Rules, Shrunk, Size, of_seed, run, script, shrunk};
use simulation::seeds;

/// Simulates a mixed cluster: usable, broken, missing and flapping KVM; all policies.
#[derive(Parser)]
struct Arguments {
    /// The seeds, FROM..TO without TO; a number is one seed.
    #[arg(long, default_value = "0..10", value_parser = seeds)]
    seeds: (u64, u64),
    /// Nodes of a cluster.
    #[arg(long, default_value_t = 200)]
    nodes: usize,
    /// Virtual machines of a cluster.
    #[arg(long, default_value_t = 5000)]
    vms: usize,
    /// Seeds that are run at one time; all processors unless it is said.
    #[arg(long)]
    threads: Option<usize>,
    /// Runs the script in this file under the first seed instead of the seed's own.
    #[arg(long)]
    script: Option<PathBuf>,
    /// Prints the script of the first seed, and runs nothing.
    #[arg(long)]
    print: bool,
}

/// How often it is told how far it is.
const TELL: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let size = Size {
        nodes: arguments.nodes,
        vms: arguments.vms,
    };
    let (from, _) = arguments.seeds;
    if arguments.print {
        print!("{}", script::print(&of_seed(from, size)));
        return ExitCode::SUCCESS;
    }
    if let Some(file) = &arguments.script {
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string());
        return match text.and_then(|text| script::parse(&text)) {
            Ok(script) => tell(run(from, &script, Rules::default())),
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                ExitCode::FAILURE
            }
        };
    }
    tell(all(&arguments, size))
}

fn tell(outcome: Result<Report, impl Display>) -> ExitCode {
    match outcome {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs every seed, until one fails.
fn all(arguments: &Arguments, size: Size) -> Result<Report, Shrunk> {
    let (from, to) = arguments.seeds;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.unwrap_or(processors).max(1);
    let (next, failed) = (AtomicU64::new(from), AtomicBool::new(false));
    let sum = Mutex::new((Report::default(), 0_u64, Instant::now()));
    let first: Mutex<Option<Failure>> = Mutex::new(None);
    let begin = Instant::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= to || failed.load(Ordering::Relaxed) {
                return;
            }
            match run(seed, &of_seed(seed, size), Rules::default()) {
                Ok(report) => {
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.0.add(&report);
                    sum.1 += 1;
                    if sum.2.elapsed() > TELL {
                        sum.2 = Instant::now();
                        println!("{} of {} seeds, {:?}", sum.1, to - from, begin.elapsed());
                    }
                }
                Err(failure) => {
                    failed.store(true, Ordering::Relaxed);
                    let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                    if first.as_ref().is_none_or(|it| seed < it.seed) {
                        *first = Some(*failure);
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    if let Some(failure) = first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(shrunk(failure, Rules::default()));
    }
    let (report, count, _) = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    let took = begin.elapsed();
    let each = processor_time().as_secs_f64() * 1000.0 / count.max(1) as f64;
    println!(
        "{count} seeds of {} nodes and {} VMs came to rest in {took:.1?}, {each:.0} ms of a processor each",
        size.nodes, size.vms
    );
    Ok(report)
}

/// What this process has had of processors, whoever else wanted them.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // Neither is negative in a process's own time.
    let (seconds, nanoseconds) = (time.tv_sec.try_into(), time.tv_nsec.try_into());
    Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0))
}
