//! Builds `web/` with npm and packs what comes out, so that the binary carries the console.
//!
//! Without npm, or with `ANYVIRT_CONSOLE=none`, the binary carries a page that says so. When npm is there and fails,
//! the build fails with its output: a console that is half there would be worse than none.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a build script starts programs and talks to cargo; it is not shipped"
)]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What packing makes smaller; pictures and fonts are packed already.
const PACKABLE: [&str; 8] = [
    "css",
    "html",
    "js",
    "json",
    "map",
    "svg",
    "txt",
    "webmanifest",
];

/// Kept beside the installed packages: the lock file they were installed from.
const INSTALLED: &str = "node_modules/.anyvirt-installed";

/// The word in index.html that each response replaces by its own nonce.
const NONCE: &str = "__CSP_NONCE__";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Cargo shows this of a build script that failed.
            eprintln!("the web console was not built: {message}");
            eprintln!("ANYVIRT_CONSOLE=none in the environment builds anyvirt without it.");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    println!("cargo::rerun-if-env-changed=ANYVIRT_CONSOLE");
    for own in ["build.rs", "pack.mjs"] {
        println!("cargo::rerun-if-changed={own}");
    }
    let web = here.join("../../web");
    if std::env::var("ANYVIRT_CONSOLE").is_ok_and(|value| value == "none") {
        return absent(&out, "it was built with ANYVIRT_CONSOLE=none");
    }
    let Some(npm) = on_path("npm") else {
        // One that is installed into a folder of the same PATH later is not noticed: cargo would have to look through
        // all of them at each build. So the warning, which cargo repeats, says what to do.
        println!("cargo::rerun-if-env-changed=PATH");
        println!(
            "cargo::warning=npm is not on the PATH: anyvirt is built without its web console. Install Node with npm, \
             then: cargo clean -p console"
        );
        return absent(&out, "there was no npm where it was built");
    };
    watch(&web)?;
    // Held until the end: several builds (debug, release, other target folders) share one web/.
    let lock = web.join("package-lock.json");
    let locked = File::open(&lock).map_err(|error| said(&lock, &error))?;
    locked.lock().map_err(|error| said(&lock, &error))?;
    install(&npm, &web, &lock)?;
    run(Command::new(&npm).args(["run", "build"]).current_dir(&web))?;
    embed(&here, &web.join("dist"), &out)
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| format!("{name}: {error}"))
}

fn said(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Asks cargo to come back when a source changes: not for what npm writes, nor for the browser's tests.
fn watch(web: &Path) -> Result<(), String> {
    for entry in fs::read_dir(web).map_err(|error| said(web, &error))? {
        let entry = entry.map_err(|error| said(web, &error))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !["node_modules", "dist", "tests"].contains(&&*name) && !name.starts_with('.') {
            println!("cargo::rerun-if-changed={}", entry.path().display());
        }
    }
    Ok(())
}

/// Installs the packages, unless those of this very lock file are there. Scripts of packages are not run: none needs it.
fn install(npm: &Path, web: &Path, lock: &Path) -> Result<(), String> {
    let wanted = fs::read(lock).map_err(|error| said(lock, &error))?;
    let stamp = web.join(INSTALLED);
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    run(Command::new(npm).args(words).current_dir(web))?;
    fs::write(&stamp, wanted).map_err(|error| said(&stamp, &error))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("cannot start {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Writes the table of a binary without a console.
fn absent(out: &Path, why: &str) -> Result<(), String> {
    let text = format!("Built {{ absent: Some({why:?}), index: \"\", assets: &[] }}\n");
    fs::write(out.join("built.rs"), text).map_err(|error| said(out, &error))
}

/// Packs `dist`, and writes the table of what is in it.
fn embed(here: &Path, dist: &Path, out: &Path) -> Result<(), String> {
    let index = dist.join("index.html");
    let page = fs::read_to_string(&index).map_err(|error| said(&index, &error))?;
    if !page.contains(NONCE) {
        return Err(format!("{} has no {NONCE}", index.display()));
    }
    let mut files = Vec::new();
    collect(dist, &mut files)?;
    // Maps are for developers, who have the sources.
    files.retain(|file| *file != index && file.extension().is_none_or(|kind| kind != "map"));
    files.sort();
    let packed = out.join("packed");
    if packed.exists() {
        fs::remove_dir_all(&packed).map_err(|error| said(&packed, &error))?;
    }
    fs::create_dir_all(&packed).map_err(|error| said(&packed, &error))?;
    let (packable, plain): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| {
        let kind = file.extension().and_then(|kind| kind.to_str());
        kind.is_some_and(|kind| PACKABLE.contains(&kind))
    });
    let node = on_path("node").ok_or("npm is on the PATH, but node is not")?;
    run(Command::new(node)
        .arg(here.join("pack.mjs"))
        .arg(&packed)
        .args(&packable))?;
    let mut table = String::new();
    for (index, file) in packable.iter().enumerate() {
        let variant = |kind: &str| packed.join(format!("{index}.{kind}"));
        let bytes = format!(
            "Bytes::Packed {{ brotli: include_bytes!({:?}), gzip: include_bytes!({:?}) }}",
            variant("br"),
            variant("gz")
        );
        row(&mut table, dist, file, &bytes)?;
    }
    for (index, file) in plain.iter().enumerate() {
        // A copy: dist may be another one by the time the compiler reads it.
        let copy = packed.join(format!("{index}.plain"));
        fs::copy(file, &copy).map_err(|error| said(file, &error))?;
        row(
            &mut table,
            dist,
            file,
            &format!("Bytes::Plain(include_bytes!({copy:?}))"),
        )?;
    }
    let text = format!("Built {{ absent: None, index: {page:?}, assets: &[\n{table}] }}\n");
    fs::write(out.join("built.rs"), text).map_err(|error| said(out, &error))
}

fn row(table: &mut String, dist: &Path, file: &Path, bytes: &str) -> Result<(), String> {
    let name = file
        .strip_prefix(dist)
        .map_err(|error| said(file, &error))?;
    let name = name
        .to_str()
        .ok_or_else(|| said(file, &"its name is no text"))?;
    let mut hasher = DefaultHasher::new();
    fs::read(file)
        .map_err(|error| said(file, &error))?
        .hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    writeln!(
        table,
        "Asset {{ name: {name:?}, tag: {tag:?}, bytes: {bytes} }},"
    )
    .map_err(|error| error.to_string())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    for entry in fs::read_dir(folder).map_err(|error| said(folder, &error))? {
        let path = entry.map_err(|error| said(folder, &error))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
