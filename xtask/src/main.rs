//! The project's chores: `cargo xtask demo`, `test`, `setup`, `bench`.
//!
//! Every chore runs on a fresh Debian machine that has only Rust and Node: what is missing is
//! installed from Debian and npm first, and named while it happens.
#![expect(clippy::print_stderr, reason = "a program for people")]

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
        /// Which one: `start`, `accelerator`, `console`, `warm-start`.
        name: String,
        /// Only this part of it, e.g. `probe`.
        part: Option<String>,
        /// Pairs of runs, where the part has pairs; each part has its own default.
        pairs: Option<usize>,
        /// How `console` and `warm-start` tell their figures.
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Runs a simulation: of a mixed cluster, `mixed --seeds 0..100 --nodes 200 --vms 5000`, with a failing
    /// seed's script shrunk; or of the real controllers, `small --seeds 0..100`. `--help` after its name
    /// tells everything.
    Simulate {
        /// Which one: `mixed` or `small`; then what it is told.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Suspends, resumes, snapshots, restores and forks a real guest that counts, writes and verifies, and kills the
    /// server in between; stops at the first thing that is not as it should be.
    Torture {
        /// How many rounds.
        #[arg(long, default_value_t = 500)]
        rounds: u64,
        /// What decides on their kinds.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Checks the crate floors, the map and the dependency list.
    House,
}

/// How figures are told.
#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs: one object, the only thing on standard output.
    Json,
}

fn main() -> std::process::ExitCode {
    let result = match Chore::parse() {
        Chore::Setup => setup::everything(),
        Chore::Test { tests_only } => check::test(tests_only),
        Chore::Demo { stop } => demo(stop),
        Chore::Simulate { arguments } => simulate(&arguments),
        Chore::Bench {
            name,
            part,
            pairs,
            output,
        } => bench(&name, part.as_deref(), pairs, output),
        Chore::Torture { rounds, seed } => torture(rounds, seed),
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

/// Builds `mixed` with optimizations, without which it takes twenty times as long; `small` mostly waits.
fn simulate(arguments: &[String]) -> Result<(), String> {
    let [name, told @ ..] = arguments else {
        return Err("which simulation? mixed or small".to_owned());
    };
    let optimized: &[&str] = match name.as_str() {
        "mixed" => &["--release"],
        "small" => &[],
        _ => {
            return Err(format!("{name} is no simulation; there are: mixed, small"));
        }
    };
    let mut cargo = vec!["run", "--locked", "--quiet", "--package", "simulation"];
    cargo.extend(optimized);
    cargo.extend(["--bin", name, "--"]);
    cargo.extend(told.iter().map(String::as_str));
    run::run("cargo", &cargo)
}

fn torture(rounds: u64, seed: u64) -> Result<(), String> {
    setup::everything()?;
    let build = "build --release --locked --package anyvirt --package acceptance --bins";
    run::run("cargo", &build.split(' ').collect::<Vec<_>>())?;
    let (seed, rounds) = (seed.to_string(), rounds.to_string());
    let run = "run --release --locked --quiet --package acceptance --bin torture --";
    let mut arguments: Vec<&str> = run.split(' ').collect();
    arguments.extend([seed.as_str(), rounds.as_str()]);
    run::run("cargo", &arguments)
}

/// Err: what of it no measurement has.
fn is_known(name: &str, part: Option<&str>, output: Output) -> Result<(), String> {
    match (name, part, output) {
        ("console" | "warm-start", Some(part), _) => Err(format!(
            "{name} has no part {part}: it is measured whole; --output json tells its figures to programs"
        )),
        ("console" | "warm-start", None, _) | (_, _, Output::Table) => Ok(()),
        (_, _, Output::Json) => Err(format!(
            "{name} tells no JSON: only console and warm-start do"
        )),
    }
}

fn bench(
    name: &str,
    part: Option<&str>,
    pairs: Option<usize>,
    output: Output,
) -> Result<(), String> {
    is_known(name, part, output)?;
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
    arguments.extend((output == Output::Json).then_some("json"));
    let pairs = pairs.map(|pairs| pairs.to_string());
    arguments.extend(pairs.as_deref());
    run::run("cargo", &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_measurement_does_not_have_is_refused_by_name() {
        for (name, part, output, refused) in [
            ("console", None, Output::Json, None),
            ("console", None, Output::Table, None),
            ("warm-start", None, Output::Json, None),
            (
                "warm-start",
                Some("small"),
                Output::Table,
                Some("part small"),
            ),
            ("accelerator", Some("probe"), Output::Table, None),
            ("console", Some("probe"), Output::Table, Some("part probe")),
            ("console", Some("json"), Output::Json, Some("part json")),
            ("start", None, Output::Json, Some("start tells no JSON")),
        ] {
            let known = is_known(name, part, output);
            let said = known.as_ref().err();
            assert_eq!(said.is_some(), refused.is_some(), "{known:?}");
            assert!(
                said.zip(refused)
                    .is_none_or(|(said, part)| said.contains(part)),
                "{known:?}"
            );
        }
    }
}
