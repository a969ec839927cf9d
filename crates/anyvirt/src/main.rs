//! The binary `anyvirt`; called as `virtctl` or `kubectl-virt` it takes those names' ways.

fn main() -> std::process::ExitCode {
    anyvirt::main()
}
