//! Makes the guest's program with the compiler that makes this crate: cargo itself cannot make a program that a library
//! then holds. It is static, so that it runs in any Linux guest of this architecture, and small, since each of its
//! pages that an emulated guest touches costs time.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a build script starts the compiler and talks to cargo; it is not shipped"
)]

use std::path::PathBuf;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Cargo shows this of a build script that failed.
            eprintln!("cannot make the guest's program: {message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    for changed in ["build.rs", "guest", "src/protocol"] {
        println!("cargo::rerun-if-changed={changed}");
    }
    let told = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let target = told("TARGET")?;
    let program = PathBuf::from(told("OUT_DIR")?).join("anyvirt-renew");
    let mut compiler = Command::new(told("RUSTC")?);
    compiler
        .args([
            "guest/main.rs",
            "--crate-name",
            "anyvirt_renew",
            "--crate-type",
            "bin",
        ])
        .args([
            "--edition",
            "2024",
            "--cap-lints",
            "allow",
            "--target",
            &target,
        ])
        .args([
            "-C",
            "target-feature=+crt-static",
            "-C",
            "relocation-model=static",
        ])
        .args([
            "-C",
            "panic=abort",
            "-C",
            "opt-level=s",
            "-C",
            "strip=symbols",
        ])
        .args(["-C", "lto=fat", "-C", "codegen-units=1"])
        .arg("-o")
        .arg(&program);
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        compiler.arg("-C").arg(format!("linker={linker}"));
    }
    let ended = compiler
        .output()
        .map_err(|error| format!("cannot start {compiler:?}: {error}"))?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(format!("{compiler:?} ended with {}:\n{said}", ended.status));
    }
    println!("cargo::rustc-env=ANYVIRT_RENEW={}", program.display());
    Ok(())
}
