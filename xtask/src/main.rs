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
    },
    /// Checks the crate floors, the map and the dependency list.
    House,
}

fn main() -> std::process::ExitCode {
    let result = match Chore::parse() {
        Chore::Setup => setup::everything(),
        Chore::Test { tests_only } => check::test(tests_only),
        Chore::Demo { stop } => demo(stop),
        Chore::Bench { name, part } => bench(&name, part.as_deref()),
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

fn bench(name: &str, part: Option<&str>) -> Result<(), String> {
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
    run::run("cargo", &arguments)
}
