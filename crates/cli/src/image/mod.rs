//! Verbs about what machines are made from.

mod renewal_hook;
mod templates;

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use crate::Format;
use crate::connect::Connection;
use crate::failure::{Exit, Failure};

/// What can be done about images.
#[derive(Clone, Debug, Subcommand)]
pub enum ImageVerb {
    /// Show the templates that machines start from, of this namespace
    #[command(
        after_help = "A template is made when a machine asks for a warm start (annotation anyvirt.io/warm-start: Auto or Require in its template, or spec.configuration.warmStart of the KubeVirt object) and there is none for its image and shape.\nDelete one: kubectl delete wst NAME\n\nExamples:\n  anyvirt image templates\n  anyvirt image templates --all-namespaces -o json"
    )]
    Templates {
        /// Of all namespaces
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        /// How to show them
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Write the program that lets guests of an image start warm
    ///
    /// A machine that starts from a template becomes itself by this program: it renews name, addresses, keys, clock and
    /// random numbers before the machine counts as running. Guests with the QEMU guest agent need it not in their
    /// image: it is put there when a template is made.
    #[command(
        after_help = "In the image, start it once the machine is up, and again should it end:\n  systemd   [Service] ExecStart=/usr/local/sbin/anyvirt-renew  Restart=on-failure\n  busybox   ::respawn:/sbin/anyvirt-renew in /etc/inittab (kernel module virtio_console)\nIt runs /etc/anyvirt/renewed, if there is such a program, when the machine has become another one.\n\nExamples:\n  anyvirt image renewal-hook > anyvirt-renew\n  anyvirt image renewal-hook --output rootfs/usr/local/sbin/anyvirt-renew"
    )]
    RenewalHook {
        /// Write it to this file, executable, instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Of the guests [default: this machine's]
        #[arg(long, value_enum)]
        architecture: Option<GuestArchitecture>,
    },
}

/// Kubernetes' names of the architectures that guests have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum GuestArchitecture {
    /// x86_64.
    Amd64,
    /// aarch64.
    Arm64,
}

impl GuestArchitecture {
    /// This machine's. Others than ARM's are taken for the one that has guests of ours.
    fn own() -> Self {
        match std::env::consts::ARCH {
            "aarch64" => Self::Arm64,
            _ => Self::Amd64,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// Does it; `connect` is called by verbs that need the server.
pub(crate) async fn run(
    verb: &ImageVerb,
    connect: impl AsyncFnOnce() -> Result<Connection, Failure>,
) -> Result<Exit, Failure> {
    match verb {
        ImageVerb::Templates {
            all_namespaces,
            output,
        } => templates::run(&connect().await?, *all_namespaces, *output).await,
        ImageVerb::RenewalHook {
            output,
            architecture,
        } => {
            let guest = architecture.unwrap_or_else(GuestArchitecture::own).name();
            renewal_hook::run(guest, output.as_deref())
        }
    }
}
