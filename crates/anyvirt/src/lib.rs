//! The one binary: settings, wiring of roles, dispatch by name.

mod admission;
mod advice;
mod browser;
mod console;
mod facts;
mod kubeconfig;
mod metrics;
mod relay;
mod report;
mod serial_log;
mod settings;
mod subresources;
mod top;
mod up;

use api::launcher::LOG_FILTER;
use clap::{CommandFactory as _, Parser, Subcommand};
use futures::future::LocalBoxFuture;
use settings::{Surroundings, UpArguments};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use tracing_subscriber::EnvFilter;

/// The version that is shown: of this workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// KubeVirt virtual machines anywhere: with hardware virtualization where it works, emulated where it does not.
#[derive(Debug, Parser)]
#[command(
    name = "anyvirt",
    version,
    after_help = "Examples:\n  anyvirt up\n  kubectl --kubeconfig /var/lib/anyvirt/kubeconfig apply -f vm.yaml\n  anyvirt console NAME"
)]
struct Arguments {
    #[command(flatten)]
    globals: cli::Globals,
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
    #[command(flatten)]
    Verb(cli::Verb),
}

/// Runs the binary with the process' arguments; its exit code.
pub fn main() -> ExitCode {
    // An error means that a provider is there already, which does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let words: Vec<String> = std::env::args().collect();
    if words
        .first()
        .is_some_and(|program| cli::is_virtctl(program))
    {
        return verb(|environment| Box::pin(cli::virtctl(words, environment)));
    }
    let arguments = Arguments::parse();
    match arguments.role {
        Role::Up(arguments) => finish(in_runtime(Runtime::ManyThreads, serve(arguments))),
        Role::Launcher { directory } => finish(in_runtime(Runtime::OneThread, launch(directory))),
        Role::Verb(typed) => {
            let globals = arguments.globals;
            verb(|environment| {
                Box::pin(async move { cli::run(typed, &globals, environment).await })
            })
        }
    }
}

/// Runs a verb of the command line.
fn verb(
    work: impl FnOnce(cli::Environment<'static>) -> LocalBoxFuture<'static, cli::Exit>,
) -> ExitCode {
    // Lives as long as the process, which ends with this verb.
    let data_directory: &'static Path = Box::leak(
        default_data_directory()
            .unwrap_or_default()
            .into_boxed_path(),
    );
    let environment = cli::Environment {
        version: VERSION,
        data_directory,
        facts: facts::look,
        browse: browser::show,
        command: Arguments::command,
    };
    match in_runtime(Runtime::ManyThreads, async { Ok(work(environment).await) }) {
        Ok(exit) => exit.into(),
        Err(message) => finish(Err(message)),
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

/// What is logged: what the environment says, or `usual`.
fn log_filter(usual: &str) -> EnvFilter {
    EnvFilter::new(std::env::var(LOG_FILTER).unwrap_or_else(|_| usual.to_owned()))
}

async fn launch(directory: PathBuf) -> Result<(), String> {
    let log = launcher::Log::open(&directory)
        .map_err(|error| format!("cannot open the log in {}: {error}", directory.display()))?;
    tracing_subscriber::fmt()
        .with_env_filter(log_filter("warn,launcher=info"))
        .with_ansi(false)
        .with_writer(Mutex::new(log))
        .init();
    launcher::run(&directory)
        .await
        .map_err(|error| up::whole(&error))
}

async fn serve(arguments: UpArguments) -> Result<(), String> {
    use std::io::IsTerminal as _;
    tracing_subscriber::fmt()
        .with_env_filter(log_filter(
            "warn,anyvirt=info,audit=info,node=info,controllers=info",
        ))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    up::up(settings::resolve(&arguments, &surroundings()?)?).await
}

fn surroundings() -> Result<Surroundings, String> {
    let current = std::env::current_dir()
        .map_err(|error| format!("cannot find the current folder: {error}"))?;
    let host_name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let root = rustix::process::geteuid().is_root();
    Ok(Surroundings {
        root,
        home: std::env::home_dir(),
        current,
        host_name,
        kvm_emulation: std::env::var(api::accelerator::ENVIRONMENT).ok(),
    })
}

/// Where `anyvirt up` keeps its data when nothing else is said.
pub(crate) fn default_data_directory() -> Result<PathBuf, String> {
    let data_dir = std::env::var_os("ANYVIRT_DATA_DIR").map(PathBuf::from);
    settings::data_directory(data_dir.as_deref(), &surroundings()?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_fits_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_verbs_kubeconfig_and_the_servers_do_not_get_in_each_others_way() {
        let typed = Arguments::parse_from(["anyvirt", "up", "--kubeconfig", "k"]);
        assert!(
            matches!(typed.role, Role::Up(UpArguments { kubeconfig: Some(path), .. }) if path.as_path() == Path::new("k"))
        );
        let typed = Arguments::parse_from(["anyvirt", "status", "--kubeconfig", "k"]);
        assert_eq!(typed.globals.kubeconfig, Some(PathBuf::from("k")));
    }
}
