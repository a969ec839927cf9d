//! Debian's packages, downloaded and unpacked, never installed: also those of another architecture.

use super::{cache, run};
use std::fs;
use std::path::{Path, PathBuf};

/// A guest's architecture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Architecture {
    /// x86 with 64 bits.
    Amd64,
    /// ARM with 64 bits.
    Arm64,
}

impl Architecture {
    /// Debian's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The serial port that its kernels know.
    pub(super) fn serial(self) -> &'static str {
        match self {
            Self::Amd64 => "ttyS0",
            Self::Arm64 => "ttyAMA0",
        }
    }

    /// The same as this machine's?
    fn is_native(self) -> bool {
        let native = match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        };
        std::env::consts::ARCH == native
    }
}

/// Where a Debian machine says which of Debian's archives it uses, newer form first.
const SOURCES: [&str; 2] = [
    "/etc/apt/sources.list.d/debian.sources",
    "/etc/apt/sources.list",
];

/// apt for an architecture. That of another one knows nothing of this machine's packages, and keeps
/// its lists in the cache folder, so that this machine stays as it is.
#[derive(Debug)]
pub(super) struct Apt {
    architecture: Architecture,
    options: Vec<String>,
}

impl Apt {
    pub(super) fn of(architecture: Architecture) -> Result<Self, String> {
        if architecture.is_native() {
            return Ok(Self {
                architecture,
                options: Vec::new(),
            });
        }
        let sources = SOURCES
            .into_iter()
            .find(|path| Path::new(path).is_file())
            .ok_or("this machine has no list of Debian's archives")?;
        // The cache folder may be named relative to where we are; apt runs elsewhere.
        let state = std::path::absolute(cache())
            .map_err(|error| format!("cannot find the cache folder: {error}"))?
            .join(format!("apt-{}", architecture.name()));
        for folder in ["lists/partial", "archives/partial"] {
            let folder = state.join(folder);
            fs::create_dir_all(&folder)
                .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        }
        let name = architecture.name();
        let state = state.display();
        let options = [
            format!("APT::Architecture={name}"),
            format!("APT::Architectures={name}"),
            format!("Dir::State::lists={state}/lists"),
            format!("Dir::Cache={state}"),
            format!("Dir::Etc::sourcelist={sources}"),
            "Dir::Etc::sourceparts=-".to_owned(),
            "Dir::State::status=/dev/null".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // The folder may be one that apt's own user cannot enter.
            "APT::Sandbox::User=root".to_owned(),
        ];
        Ok(Self {
            architecture,
            options: options.into(),
        })
    }

    fn run(&self, folder: &Path, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut all = Vec::new();
        for option in &self.options {
            all.extend(["-o", option.as_str()]);
        }
        all.extend(arguments);
        run(folder, program, &all)
    }

    /// The package that the meta package of Debian's cloud kernel stands for now, e.g.
    /// `linux-image-6.1.0-56-cloud-amd64`.
    pub(super) fn kernel_package(&self) -> Result<String, String> {
        let root = Path::new("/");
        let meta = format!("linux-image-cloud-{}", self.architecture.name());
        let look = || self.run(root, "apt-cache", &["depends", &meta]);
        // A fresh machine has no package lists yet.
        let text = look().or_else(|_| {
            self.run(root, "apt-get", &["update", "-q"])
                .and_then(|_| look())
        })?;
        text.lines()
            .find_map(|line| {
                line.trim()
                    .strip_prefix("Depends: linux-image-")
                    .map(|rest| format!("linux-image-{rest}"))
            })
            .ok_or_else(|| format!("apt-cache knows no {meta}: run apt-get update"))
    }

    /// Downloads packages without installing them and unpacks them below `folder`/root.
    pub(super) fn unpack(&self, folder: &Path, packages: &[&str]) -> Result<(), String> {
        // apt's unprivileged user must be able to write here, or apt warns for each package.
        let downloads: PathBuf = folder.join("downloads");
        fs::create_dir_all(&downloads)
            .map_err(|error| format!("cannot make {}: {error}", downloads.display()))?;
        let mut arguments = vec!["download", "-q"];
        arguments.extend(packages);
        let download = || self.run(&downloads, "apt-get", &arguments);
        // Lists grow old: the archive keeps a package for some time only.
        download().or_else(|_| {
            self.run(&downloads, "apt-get", &["update", "-q"])
                .and_then(|_| download())
        })?;
        for entry in fs::read_dir(&downloads)
            .map_err(|error| format!("cannot read {}: {error}", downloads.display()))?
        {
            let path = entry.map_err(|error| error.to_string())?.path();
            run(
                folder,
                "dpkg-deb",
                &["-x", &path.display().to_string(), "root"],
            )?;
        }
        fs::remove_dir_all(&downloads)
            .map_err(|error| format!("cannot remove {}: {error}", downloads.display()))
    }
}
