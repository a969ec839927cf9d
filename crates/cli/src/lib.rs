//! The verbs a person types: virtctl's names and flags, and our own.
//!
//! The binary flattens [`Globals`] and [`Verb`] into its command line, and calls [`run`]. Called as
//! `virtctl`, `kubectl-virt` or `oc-virt` ([`is_virtctl`]) it calls [`virtctl`] instead.
//!
//! Data goes to standard output, progress and hints to standard error; [`Exit`] has the exit codes.

pub mod cluster;
mod connect;
mod console;
pub mod doctor;
mod emulation;
pub mod explain;
mod failure;
pub mod image;
mod logs;
mod output;
mod power;
pub mod snapshot;
mod status;
mod suspend;
mod terminal;
mod timeline;
mod version;
mod web;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use connect::Connection;
pub use failure::Exit;
use failure::Failure;

/// Flags of every verb: kubectl's and virtctl's names.
#[derive(Args, Clone, Debug, Default)]
pub struct Globals {
    /// Kubeconfig file [default: $KUBECONFIG, the data directory's, ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace [default: the context's, else `default`]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Address of the API server, instead of the kubeconfig's
    #[arg(short, long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Bearer token, instead of the kubeconfig's credentials
    #[arg(long, global = true, value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Say more, on standard error
    #[arg(
        short = 'v',
        long = "v",
        global = true,
        value_name = "LEVEL",
        default_value_t = 0
    )]
    pub verbosity: u8,
}

/// What the binary knows and this library does not.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// Version of the binary.
    pub version: &'a str,
    /// Where `anyvirt up` keeps its data when nothing else is said.
    pub data_directory: &'a Path,
    /// Looks at this machine, for `doctor`. May take seconds; called on a thread that may block.
    pub facts: fn() -> doctor::Facts,
    /// Shows a page in the person's browser; the error says why it was not. May take some time to begin.
    pub browse: fn(&str) -> Result<(), String>,
    /// The whole command line of the binary, for `completion`.
    pub command: fn() -> clap::Command,
}

impl std::fmt::Debug for Environment<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Environment")
            .field("version", &self.version)
            .field("data_directory", &self.data_directory)
            .finish_non_exhaustive()
    }
}

/// What a person can ask for.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Show how the system stands: server, accelerator, virtual machines, problems
    Status {
        /// How to show it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Look at this machine: can it run virtual machines, how fast, and what is in the way?
    #[command(
        after_help = "Exit code 7: something without which no virtual machine starts is missing.\n\nExamples:\n  anyvirt doctor\n  anyvirt doctor -o json > report.json\n  anyvirt doctor --retake"
    )]
    Doctor {
        /// How to show it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
        /// Let a running node try its hardware virtualization again, and wait for the answer
        /// [default node: the only one]
        #[arg(long, value_name = "NODE", num_args = 0..=1, default_missing_value = "")]
        retake: Option<String>,
    },
    /// Say what is the matter with a virtual machine or a node: cause, evidence, and what helps
    #[command(
        after_help = "Exit code 0: nothing is wrong; 7: an accelerator or a device is missing; 1: something else.\n\nExamples:\n  anyvirt explain web\n  anyvirt explain vm/web -n demo -o json\n  anyvirt explain node/worker-1"
    )]
    Explain {
        /// `vm/NAME`, `node/NAME`, or just NAME
        #[arg(value_name = "[vm|node] NAME", num_args = 1..=2, required = true)]
        target: Vec<String>,
        /// How to show it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Open the web console, logged in as this kubeconfig's user; show who is logged in, or end it
    #[command(
        after_help = "The link works once, within ten minutes. An administrator sees everybody's sessions, others their own, a viewer none but the one of the browser.\n\nExamples:\n  anyvirt web\n  anyvirt web --print\n  anyvirt web --list\n  anyvirt web --revoke 0f1e2d3c4b5a6978\n  anyvirt web --revoke all"
    )]
    Web {
        /// Only print the link
        #[arg(long)]
        print: bool,
        /// Show who is logged in, and in which browser
        #[arg(long, conflicts_with = "print")]
        list: bool,
        /// End this session, and what streams in its name; repeat it for more, or say `all`
        #[arg(long, value_name = "SESSION", conflicts_with_all = ["print", "list"])]
        revoke: Vec<String>,
        /// How to show the list
        #[arg(short, long, value_enum, default_value_t, requires = "list")]
        output: Format,
    },
    /// Show or change whether virtual machines may be emulated in software
    #[command(subcommand)]
    Emulation(EmulationVerb),
    /// What virtual machines are made from
    #[command(subcommand)]
    Image(image::ImageVerb),
    /// Start a virtual machine
    #[command(
        after_help = "Examples:\n  anyvirt start web\n  anyvirt start web --paused\n  anyvirt start web --wait"
    )]
    Start {
        /// Name of the virtual machine
        name: String,
        /// Start it with its processors stopped
        #[arg(long)]
        paused: bool,
        /// Check only
        #[arg(long)]
        dry_run: bool,
        /// Show each step, and wait until the guest runs, somebody can log in, or its agent answers
        #[arg(long, value_enum, value_name = "GOAL", num_args = 0..=1, require_equals = true,
              default_missing_value = "login", conflicts_with_all = ["paused", "dry_run"])]
        wait: Option<timeline::Goal>,
        /// Seconds after which to stop waiting [default: never]
        #[arg(long, value_name = "SECONDS", requires = "wait")]
        timeout: Option<u64>,
    },
    /// Save a virtual machine with its memory, and end it; it goes on from there with resume
    #[command(
        after_help = "It goes on after anything: also after the host was started again. What is saved takes disk space, up to the guest's memory.\n\nExamples:\n  anyvirt suspend web\n  anyvirt suspend web --no-wait"
    )]
    Suspend(suspend::Suspend),
    /// Let a suspended virtual machine go on from where it was saved
    #[command(
        after_help = "A machine that cannot go on never boots instead: what was saved stays until it is thrown away.\n\nExamples:\n  anyvirt resume web\n  anyvirt resume web --discard"
    )]
    Resume(suspend::Resume),
    /// Show how a virtual machine starts, step by step, and what its earlier starts took
    #[command(after_help = "Examples:\n  anyvirt timeline web\n  anyvirt timeline web --watch")]
    Timeline(timeline::Asked),
    /// Stop a virtual machine
    #[command(
        after_help = "Examples:\n  anyvirt stop web\n  anyvirt stop web --force --grace-period=0"
    )]
    Stop {
        /// Name of the virtual machine
        name: String,
        /// How long the guest gets
        #[command(flatten)]
        force: Force,
    },
    /// Restart a virtual machine
    Restart {
        /// Name of the virtual machine
        name: String,
        /// How long the guest gets
        #[command(flatten)]
        force: Force,
    },
    /// Stop the processors of a running virtual machine
    Pause {
        /// Which one
        #[command(flatten)]
        target: Target,
        /// Check only
        #[arg(long)]
        dry_run: bool,
    },
    /// Let the processors of a paused virtual machine run again
    Unpause {
        /// Which one
        #[command(flatten)]
        target: Target,
        /// Check only
        #[arg(long)]
        dry_run: bool,
    },
    /// Snapshots, restores, forks and rewinds
    #[command(flatten)]
    Snapshots(snapshot::SnapshotVerb),
    /// Connect to the serial console of a virtual machine; Ctrl+] leaves
    Console {
        /// Name of the virtual machine
        name: String,
        /// Minutes to wait for it to run
        #[arg(long, value_name = "MINUTES", default_value_t = 5)]
        timeout: u32,
    },
    /// Show what a virtual machine wrote to its serial console
    Logs {
        /// Name of the virtual machine
        name: String,
        /// Go on showing what comes
        #[arg(short, long)]
        follow: bool,
        /// Show only the last lines
        #[arg(long, value_name = "LINES")]
        tail: Option<i64>,
    },
    /// Connect to the screen of a virtual machine (not served by this version)
    #[command(hide = true)]
    Vnc {
        /// Name of the virtual machine, and virtctl's flags
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Show the versions of this program and of the server
    Version {
        /// Only this program's
        #[arg(short, long)]
        client: bool,
        /// How to show it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Write a completion script for a shell to standard output
    #[command(after_help = "Example:\n  anyvirt completion bash > /etc/bash_completion.d/anyvirt")]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What can be asked about emulation.
#[derive(Clone, Debug, Subcommand)]
pub enum EmulationVerb {
    /// Show the policy, who decided it, and what each virtual machine runs on
    Status {
        /// How to show it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Permit software emulation where hardware virtualization does not work
    #[command(after_help = SCOPES)]
    On(Change),
    /// Hardware virtualization only
    #[command(after_help = SCOPES)]
    Off(Change),
    /// Remove what was set; for the cluster: permit emulation if no node has hardware that works
    #[command(after_help = SCOPES)]
    Auto(Change),
}

/// Help on the scopes of a change.
const SCOPES: &str = "Scopes:
  (none)            the cluster: debug.useEmulation in the ConfigMap openshift-cnv/kubevirt-config
  --namespace NAME  a cap on all virtual machines of a namespace; it never grants
  --node NAME       a cap on all virtual machines of a node; it never grants
  --vm NAME         the virtual machine's own policy, which stands before the cluster's; with -n NAMESPACE

Examples:
  anyvirt emulation on --dry-run
  anyvirt emulation off --namespace team-a --yes
  anyvirt emulation on --vm web -n demo
  anyvirt emulation auto --node worker-1";

/// What a change is about, and how to go about it.
#[derive(Args, Clone, Debug, Default)]
pub struct Change {
    /// The cap of this node
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// This virtual machine's own policy
    #[arg(long, value_name = "NAME")]
    pub vm: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Only show what would change
    #[arg(long)]
    pub dry_run: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// virtctl's flags for not waiting.
#[derive(Args, Clone, Copy, Debug)]
pub struct Force {
    /// Do not let the guest shut down by itself; needs --grace-period
    #[arg(long)]
    pub force: bool,
    /// Seconds the guest gets; needs --force
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    pub grace_period: i64,
    /// Check only
    #[arg(long)]
    pub dry_run: bool,
}

/// virtctl's way of naming a virtual machine or its instance.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// `vm NAME`, `vmi NAME`, or just NAME
    #[arg(value_name = "[vm|vmi] NAME", num_args = 1..=2, required = true)]
    pub words: Vec<String>,
}

/// How data is shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

/// Does the verb, tells the person, and answers with the exit code.
pub async fn run(verb: Verb, globals: &Globals, environment: Environment<'_>) -> Exit {
    match perform(verb, globals, environment).await {
        Ok(exit) => exit,
        Err(failure) => {
            output::failure(&failure);
            failure.exit
        }
    }
}

/// Is this the name of virtctl, or of it as a plugin of kubectl or oc?
pub fn is_virtctl(program: &str) -> bool {
    let name = Path::new(program)
        .file_name()
        .and_then(|name| name.to_str());
    matches!(name, Some("virtctl" | "kubectl-virt" | "oc-virt"))
}

/// The command line of virtctl.
#[derive(Debug, Parser)]
#[command(
    name = "virtctl",
    about = "Controls virtual machines",
    disable_version_flag = true
)]
struct Virtctl {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

/// The command line as virtctl has it; `arguments` begins with the program. Every failure is exit
/// code 1, as virtctl's is.
pub async fn virtctl(arguments: Vec<String>, environment: Environment<'_>) -> Exit {
    let virtctl = match Virtctl::try_parse_from(arguments) {
        Ok(virtctl) => virtctl,
        Err(error) => {
            output::usage(&error);
            return if error.use_stderr() {
                Exit::Failure
            } else {
                Exit::Ok
            };
        }
    };
    let environment = Environment {
        command: <Virtctl as clap::CommandFactory>::command,
        ..environment
    };
    match run(virtctl.verb, &virtctl.globals, environment).await {
        Exit::Ok => Exit::Ok,
        _ => Exit::Failure,
    }
}

async fn perform(
    verb: Verb,
    globals: &Globals,
    environment: Environment<'_>,
) -> Result<Exit, Failure> {
    let connect = || Connection::open(globals, environment.data_directory);
    match verb {
        Verb::Status { output } => status::run(&connect().await?, output).await,
        Verb::Doctor {
            output,
            retake: Some(node),
        } => doctor::retake(&connect().await?, &node, output).await,
        Verb::Doctor {
            output,
            retake: None,
        } => {
            let facts = environment.facts;
            let facts = tokio::task::spawn_blocking(facts).await.map_err(|error| {
                Failure::new(format!("looking at this machine failed: {error}"))
            })?;
            // A server that does not run is something the doctor tells, not a reason to stop.
            let connection = connect().await.map_err(|failure| failure.message);
            doctor::run(&facts, connection.as_ref().map_err(String::as_str), output).await
        }
        Verb::Web {
            list: true, output, ..
        } => web::list(&connect().await?, output, jiff::Timestamp::now()).await,
        Verb::Web { revoke, .. } if !revoke.is_empty() => {
            web::revoke(&connect().await?, &revoke).await
        }
        Verb::Web { print, .. } => web::run(&connect().await?, print, environment.browse).await,
        Verb::Emulation(EmulationVerb::Status { output }) => {
            emulation::show(&connect().await?, output).await
        }
        Verb::Emulation(EmulationVerb::On(change)) => {
            emulation::on(&connect().await?, globals, &change).await
        }
        Verb::Emulation(EmulationVerb::Off(change)) => {
            emulation::off(&connect().await?, globals, &change).await
        }
        Verb::Emulation(EmulationVerb::Auto(change)) => {
            emulation::auto(&connect().await?, globals, &change).await
        }
        Verb::Explain { target, output } => explain::run(&connect().await?, &target, output).await,
        Verb::Start {
            name,
            paused,
            dry_run,
            wait,
            timeout,
        } => {
            let connection = connect().await?;
            let started = power::start(&connection, &name, paused, dry_run).await?;
            let Some(goal) = wait else { return Ok(started) };
            let within = timeout.map(std::time::Duration::from_secs);
            timeline::follow(&connection, power::plain(&name), goal, within).await
        }
        Verb::Suspend(asked) => suspend::suspend(&connect().await?, &asked).await,
        Verb::Resume(asked) => suspend::resume(&connect().await?, &asked).await,
        Verb::Timeline(asked) => timeline::run(&connect().await?, &asked).await,
        Verb::Stop { name, force } => power::stop(&connect().await?, &name, force).await,
        Verb::Restart { name, force } => power::restart(&connect().await?, &name, force).await,
        Verb::Pause { target, dry_run } => {
            power::pause(&connect().await?, &target.words, true, dry_run).await
        }
        Verb::Unpause { target, dry_run } => {
            power::pause(&connect().await?, &target.words, false, dry_run).await
        }
        Verb::Snapshots(verb) => snapshot::run(verb, globals, environment.data_directory).await,
        Verb::Console { name, timeout } => console::run(&connect().await?, &name, timeout).await,
        Verb::Logs { name, follow, tail } => {
            logs::run(&connect().await?, &name, follow, tail).await
        }
        Verb::Vnc { .. } => Err(
            Failure::new("vnc is not served by this version of anyvirt").fix(
                "anyvirt console NAME",
                "the serial console of the same machine",
            ),
        ),
        Verb::Version { client, output } => {
            let connection = if client { None } else { Some(connect().await?) };
            version::run(environment.version, connection.as_ref(), output).await
        }
        Verb::Image(verb) => image::run(&verb, connect).await,
        Verb::Completion { shell } => {
            let mut command = (environment.command)();
            let name = command.get_name().to_owned();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, name, &mut script);
            output::bytes(&script)?;
            Ok(Exit::Ok)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Virtctl::command().debug_assert();
    }

    #[test]
    fn virtctls_flags_are_understood() {
        for line in [
            "virtctl start web --paused --dry-run",
            "virtctl -n demo stop web --force --grace-period=0",
            "virtctl restart web --namespace demo",
            "virtctl pause vm web",
            "virtctl unpause vmi web",
            "virtctl console web --timeout 1 -v 3",
            "virtctl version -c",
            "virtctl snapshot web --memory --name s",
            "virtctl restore web2 --snapshot s --stop",
            "virtctl fork web -n 5 --name-prefix w-",
            "virtctl rewind web --to -5m",
            "virtctl --kubeconfig a --context b --server https://c --token d logs web -f",
        ] {
            let words = line.split(' ').map(str::to_owned);
            assert!(Virtctl::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn virtctl_is_known_by_its_names() {
        for (name, expected) in [
            ("/usr/local/bin/virtctl", true),
            ("kubectl-virt", true),
            ("oc-virt", true),
            ("anyvirt", false),
            ("", false),
        ] {
            assert_eq!(is_virtctl(name), expected, "{name}");
        }
    }
}
