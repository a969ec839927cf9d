//! `cargo xtask torture`: rounds of suspend and resume, snapshot and restore, and fork of a machine that works.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people"
)]

use acceptance::torture::torture;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|it| it.parse().ok())
        .collect();
    let [seed, rounds] = arguments[..] else {
        eprintln!("torture: a seed and a number of rounds are needed");
        return ExitCode::FAILURE;
    };
    let Ok(rounds) = usize::try_from(rounds) else {
        return ExitCode::FAILURE;
    };
    println!("{rounds} rounds of seed {seed}");
    let told = torture(seed, rounds, |number, round, took| {
        println!("{number}: {round:?}, {:.1} s", took.as_secs_f64());
    });
    for (round, mut times) in told {
        times.sort_unstable();
        let middle = times.get(times.len() / 2).copied().unwrap_or_default();
        println!(
            "{round:?}: {} rounds, {middle} ms in the middle, each with its checks",
            times.len()
        );
    }
    ExitCode::SUCCESS
}
