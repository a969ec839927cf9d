//! Running other programs: the words of a command line in; success, or a sentence naming what failed, out.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// The repository's root folder.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// A command that runs in the repository's root.
#[expect(
    clippy::disallowed_methods,
    reason = "chores start programs; they are not shipped"
)]
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Runs `program` with `arguments`, its output shown. Err: which command, and how it ended.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    ended(program, arguments, &mut command(program))
}

/// As [`run`], with all output on standard error: for what comes before figures, which have standard output alone.
pub(crate) fn prepare(program: &str, arguments: &[&str]) -> Result<(), String> {
    let mut prepared = command(program);
    prepared.stdout(std::io::stderr());
    ended(program, arguments, &mut prepared)
}

/// Runs `program` with `arguments`, and shows its output as a whole when it has ended.
pub(crate) fn kept(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = command(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    eprintln!("+ {program} {}", arguments.join(" "));
    for text in [&output.stderr, &output.stdout] {
        eprint!("{}", String::from_utf8_lossy(text));
    }
    judged(program, arguments, output.status)
}

/// What `program` prints to its standard output.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = command(program)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    judged(program, arguments, output.status)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn ended(program: &str, arguments: &[&str], command: &mut Command) -> Result<(), String> {
    eprintln!("+ {program} {}", arguments.join(" "));
    let status = command
        .args(arguments)
        .status()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    judged(program, arguments, status)
}

fn judged(program: &str, arguments: &[&str], status: ExitStatus) -> Result<(), String> {
    if status.success() {
        Ok(())
    } else {
        Err(format!(
            "`{program} {}` ended with {status}",
            arguments.join(" ")
        ))
    }
}

/// True if `program` is on the PATH.
pub(crate) fn exists(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}
