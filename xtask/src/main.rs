//! The project's chores: `cargo xtask demo`, `test`, `setup`, `bench`.
//!
//! Every chore runs on a fresh Debian machine that has only Rust and Node: what is missing is
//! installed from Debian and npm first, and named while it happens.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people"
)]

mod check;
mod house;
mod run;
mod setup;

use clap::Parser;

/// The project's chores.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Chore {
    /// Installs what the other chores need (Debian packages, kubectl), and says what.
    Setup,
    /// Everything CI runs: format, lints, house rules, licences, all tests.
    Test {
        /// Only the tests (no format, lints or licences).
        #[arg(long)]
        tests_only: bool,
    },
    /// From a clone to a booted Debian guest: installs, builds, makes the guest, boots it, says how to reach it.
    Demo {
        /// End what the demo started.
        #[arg(long)]
        stop: bool,
    },
    /// Measurements that print ratios against a bare baseline in the same run.
    Bench {
        /// Which one: `start`, `accelerator`.
        name: String,
        /// Only this part of it, e.g. `probe`.
        part: Option<String>,
        /// Pairs of runs, where the part has pairs; each part has its own default.
        pairs: Option<usize>,
    },
    /// Runs the simulation of a mixed cluster: `mixed --seeds 0..100 --nodes 200 --vms 5000`, with a
    /// failing seed's script shrunk; `mixed --help` tells everything.
    Simulate {
        /// Which one: `mixed`; then what it is told.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Checks the crate floors, the map and the dependency list.
    House,
}

fn main() -> std::process::ExitCode {
    let result = match Chore::parse() {
        Chore::Setup => setup::everything(),
        Chore::Test { tests_only } => check::test(tests_only),
        Chore::Demo { stop } => demo(stop),
        Chore::Simulate { arguments } => simulate(&arguments),
        Chore::Bench { name, part, pairs } => bench(&name, part.as_deref(), pairs),
        Chore::House => house::check_all(),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn demo(stop: bool) -> Result<(), String> {
    setup::everything()?;
    run::run(
        "cargo",
        &[
            "build",
            "--locked",
            "--package",
            "anyvirt",
            "--package",
            "acceptance",
            "--bins",
        ],
    )?;
    let mut arguments = vec![
        "run",
        "--locked",
        "--quiet",
        "--package",
        "acceptance",
        "--bin",
        "demo",
        "--",
    ];
    arguments.extend(stop.then_some("--stop"));
    run::run("cargo", &arguments)
}

/// Builds with optimizations, without which it takes twenty times as long.
fn simulate(arguments: &[String]) -> Result<(), String> {
    let [name, told @ ..] = arguments else {
        return Err("which simulation? mixed".to_owned());
    };
    if name != "mixed" {
        return Err(format!("{name} is no simulation; there is: mixed"));
    }
    let cargo = [
        "run",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "simulation",
        "--bin",
        "mixed",
        "--",
    ];
    let told = told.iter().map(String::as_str);
    run::run("cargo", &cargo.into_iter().chain(told).collect::<Vec<_>>())
}

fn bench(name: &str, part: Option<&str>, pairs: Option<usize>) -> Result<(), String> {
    setup::everything()?;
    run::run(
        "cargo",
        &[
            "build",
            "--release",
            "--locked",
            "--package",
            "anyvirt",
            "--package",
            "acceptance",
            "--bins",
        ],
    )?;
    let mut arguments = vec![
        "run",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "acceptance",
        "--bin",
        "bench",
        "--",
        name,
    ];
    arguments.extend(part);
    let pairs = pairs.map(|pairs| pairs.to_string());
    arguments.extend(pairs.as_deref());
    run::run("cargo", &arguments)
}
