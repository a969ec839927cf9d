//! Settings of `anyvirt up`: the command line in, complete and checked values out. Read once, handed down.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What the ConfigMap's key `debug.useEmulation` shall say after the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Emulation {
    /// Permit emulation if hardware virtualization is found unusable; leave a choice made before alone.
    Auto,
    /// Permit emulation where hardware virtualization does not work.
    On,
    /// Hardware virtualization only: where it does not work, VMs wait and say so.
    Off,
}

/// The command line of `anyvirt up`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct UpArguments {
    /// Folder that holds everything this server keeps; servers with different folders run side by side
    /// [default: /var/lib/anyvirt, or ~/.local/share/anyvirt for ordinary users]
    #[arg(long, value_name = "DIR", env = "ANYVIRT_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address of the Kubernetes API
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6443")]
    pub(crate) listen: SocketAddr,
    /// Where to write the kubeconfig; other contexts in it stay [default: DIR/kubeconfig]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Whether VMs may be emulated where hardware virtualization does not work
    #[arg(long, value_enum, default_value_t = Emulation::Auto)]
    pub(crate) emulation: Emulation,
    /// Name of this machine's Node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// QEMU to run instead of qemu-system-ARCH on the PATH
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) qemu: Option<PathBuf>,
}

/// Complete settings of one server.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Absolute path of the data directory.
    pub(crate) data_directory: PathBuf,
    /// Where the API listens.
    pub(crate) listen: SocketAddr,
    /// Absolute path of the kubeconfig to write.
    pub(crate) kubeconfig: PathBuf,
    /// The wish of the command line.
    pub(crate) emulation: Emulation,
    /// A valid Kubernetes name for this machine.
    pub(crate) node_name: String,
    /// Another QEMU, if asked for.
    pub(crate) qemu: Option<PathBuf>,
    /// `$KVM_EMULATION`, one of the places where emulation is permitted.
    pub(crate) kvm_emulation: Option<String>,
}

/// What the surroundings say, as values, so that [`resolve`] is pure.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// True for uid 0.
    pub(crate) root: bool,
    /// `$HOME`.
    pub(crate) home: Option<PathBuf>,
    /// The current folder.
    pub(crate) current: PathBuf,
    /// The host name.
    pub(crate) host_name: String,
    /// `$KVM_EMULATION`.
    pub(crate) kvm_emulation: Option<String>,
}

/// Completes the command line. Err: a sentence with the way out.
pub(crate) fn resolve(
    arguments: &UpArguments,
    surroundings: &Surroundings,
) -> Result<Settings, String> {
    let absolute = |path: &Path| surroundings.current.join(path);
    let data_directory = data_directory(arguments.data_dir.as_deref(), surroundings)?;
    let kubeconfig = arguments
        .kubeconfig
        .as_deref()
        .map_or_else(|| data_directory.join("kubeconfig"), absolute);
    let wanted = arguments
        .node_name
        .clone()
        .unwrap_or_else(|| surroundings.host_name.clone());
    Ok(Settings {
        kubeconfig,
        data_directory,
        listen: arguments.listen,
        emulation: arguments.emulation,
        node_name: node_name(&wanted)?,
        qemu: arguments.qemu.as_deref().map(absolute),
        kvm_emulation: surroundings.kvm_emulation.clone(),
    })
}

/// The data directory: the one asked for, else the usual one of this user. Err: a sentence with the way out.
pub(crate) fn data_directory(
    asked: Option<&Path>,
    surroundings: &Surroundings,
) -> Result<PathBuf, String> {
    match (asked, surroundings.root, &surroundings.home) {
        (Some(folder), _, _) => Ok(surroundings.current.join(folder)),
        (None, true, _) => Ok(PathBuf::from("/var/lib/anyvirt")),
        (None, false, Some(home)) => Ok(home.join(".local/share/anyvirt")),
        (None, false, None) => {
            Err("no home folder is known: name a data directory with --data-dir".into())
        }
    }
}

/// A host name as a Kubernetes name: lower case, `[a-z0-9.-]`, at most 63 characters.
fn node_name(wanted: &str) -> Result<String, String> {
    let mapped: String = wanted
        .to_ascii_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
                c
            } else {
                '-'
            }
        })
        .take(63)
        .collect();
    let name = mapped.trim_matches(|c| c == '-' || c == '.').to_owned();
    if name.is_empty() {
        return Err(format!(
            "host name {wanted:?} makes no valid node name: give one with --node-name"
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        up: UpArguments,
    }

    fn arguments(line: &[&str]) -> UpArguments {
        Line::parse_from(std::iter::once("anyvirt").chain(line.iter().copied())).up
    }

    fn user() -> Surroundings {
        Surroundings {
            root: false,
            home: Some("/home/ada".into()),
            current: "/work".into(),
            host_name: "Ada_Laptop.local".into(),
            kvm_emulation: None,
        }
    }

    #[test]
    fn a_user_keeps_everything_below_home_and_root_below_var_lib() {
        let settings = resolve(&arguments(&[]), &user()).unwrap();
        assert_eq!(
            settings.data_directory,
            Path::new("/home/ada/.local/share/anyvirt")
        );
        assert_eq!(
            settings.kubeconfig,
            Path::new("/home/ada/.local/share/anyvirt/kubeconfig")
        );
        let settings = resolve(
            &arguments(&[]),
            &Surroundings {
                root: true,
                ..user()
            },
        )
        .unwrap();
        assert_eq!(settings.data_directory, Path::new("/var/lib/anyvirt"));
    }

    #[test]
    fn relative_paths_are_made_absolute() {
        let settings = resolve(
            &arguments(&["--data-dir", "d", "--kubeconfig", "k"]),
            &user(),
        )
        .unwrap();
        assert_eq!(
            (settings.data_directory, settings.kubeconfig),
            ("/work/d".into(), "/work/k".into())
        );
    }

    #[test]
    fn a_host_name_becomes_a_kubernetes_name_or_is_refused_with_the_way_out() {
        assert_eq!(
            resolve(&arguments(&[]), &user()).unwrap().node_name,
            "ada-laptop.local"
        );
        let odd = Surroundings {
            host_name: "___".into(),
            ..user()
        };
        assert!(
            resolve(&arguments(&[]), &odd)
                .unwrap_err()
                .contains("--node-name")
        );
    }
}
