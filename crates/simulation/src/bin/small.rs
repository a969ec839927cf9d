//! Runs seeds of the small cluster, or a script: `cargo xtask simulate small --seeds 0..100`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use simulation::{Plant, run, script, seeds};

/// Simulates the real API server and controllers, one pretend node and a few VMs, with writes that fail.
#[derive(Parser)]
struct Arguments {
    /// The seeds, FROM..TO without TO; a number is one seed.
    #[arg(long, default_value = "0..10", value_parser = seeds)]
    seeds: (u64, u64),
    /// Runs the script in this file under each seed instead of the seed's own.
    #[arg(long)]
    script: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let given = arguments.script.map(|file| {
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string());
        let script = text.and_then(|text| script::parse(&text));
        script.map_err(|error| format!("{}: {error}", file.display()))
    });
    let given = match given.transpose() {
        Ok(given) => given,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let (from, to) = arguments.seeds;
    let begin = Instant::now();
    let mut failures = 0;
    for seed in from..to {
        let script = given.clone().unwrap_or_else(|| script::of_seed(seed));
        match run(seed, &script, Plant::Nothing) {
            Ok(report) => println!(
                "seed {seed}: {} writes, {} guests, {:.1?}\n  {}",
                report.writes,
                report.guests,
                begin.elapsed(),
                report.transcript.join("\n  ")
            ),
            Err(failure) => {
                failures += 1;
                println!("{failure}");
            }
        }
    }
    println!("{failures} of {} seeds failed", to - from);
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
