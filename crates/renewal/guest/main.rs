//! `anyvirt-renew`: runs in a guest and waits, without costing anything, until the guest goes on from a template.
//! Made by `build.rs` without cargo: it must be small, static, and of nothing but this crate and Rust's own library.

// The protocol's source holds the host's half too.
#![allow(dead_code)]

#[path = "mod.rs"]
mod guest;
#[path = "../src/protocol/mod.rs"]
mod protocol;

fn main() -> std::process::ExitCode {
    guest::run()
}
