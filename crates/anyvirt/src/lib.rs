//! The one binary: settings, wiring of roles, dispatch by name.

mod admission;
mod kubeconfig;
mod relay;
mod report;
mod settings;
mod subresources;
mod up;

use clap::{CommandFactory as _, Parser, Subcommand};
use settings::{Surroundings, UpArguments};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// KubeVirt virtual machines anywhere.
#[derive(Debug, Parser)]
#[command(name = "anyvirt", version, propagate_version = false)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

/// Roles of the binary, and the verbs a person types.
#[derive(Debug, Subcommand)]
enum Role {
    /// Run the whole system on this machine until interrupted; virtual machines outlive it
    Up(UpArguments),
    /// Own one virtual machine; started by the node agent
    #[command(hide = true)]
    Launcher {
        /// The machine's folder
        #[arg(long)]
        directory: PathBuf,
    },
}

/// Runs the binary with the process' arguments; its exit code.
pub fn main() -> ExitCode {
    // An error means that a provider is there already, which does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    match arguments.role {
        Role::Up(arguments) => finish(in_runtime(Runtime::ManyThreads, serve(arguments))),
        Role::Launcher { directory } => finish(in_runtime(Runtime::OneThread, async move {
            launcher::run(&directory)
                .await
                .map_err(|error| up::whole(&error))
        })),
    }
}

/// How many threads a role needs: a launcher is one of many processes, and mostly waits.
enum Runtime {
    OneThread,
    ManyThreads,
}

fn in_runtime<T>(
    runtime: Runtime,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let built = match runtime {
        Runtime::OneThread => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        Runtime::ManyThreads => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build(),
    };
    built
        .map_err(|error| format!("cannot start the runtime: {error}"))?
        .block_on(work)
}

async fn serve(arguments: UpArguments) -> Result<(), String> {
    let filter = std::env::var("ANYVIRT_LOG")
        .unwrap_or_else(|_| "warn,anyvirt=info,node=info,controllers=info".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .init();
    up::up(settings::resolve(&arguments, &surroundings()?)?).await
}

fn surroundings() -> Result<Surroundings, String> {
    let current = std::env::current_dir()
        .map_err(|error| format!("cannot find the current folder: {error}"))?;
    let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap_or_default()
        .trim()
        .to_owned();
    Ok(Surroundings {
        root: rustix::process::geteuid().is_root(),
        home: std::env::home_dir(),
        current,
        host_name,
    })
}

#[expect(
    clippy::print_stderr,
    reason = "the last word of a program that failed"
)]
fn finish(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
