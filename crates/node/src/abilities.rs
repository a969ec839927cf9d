//! What the installed QEMU can give guests here: asked of QEMU itself, once for each installation
//! and accelerator.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host::process::{Program, SpawnError, Stream, find_program};
use qemu::abilities::{
    Abilities, Accelerator, Conversation, NotUnderstood, Told, arguments, nearest_model,
};
use qemu::architecture::Architecture;
use qemu::version::Version;

/// QEMU answers in 50 ms; on a machine whose processors are all busy with emulation, in seconds.
const DEADLINE: Duration = Duration::from_secs(30);
/// QEMU's answers are 100 KiB.
const LARGEST_OUTPUT: usize = 1 << 20;

/// What guests can have here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Offered {
    /// By accelerator; one that QEMU does not have here is missing.
    pub(crate) by_accelerator: BTreeMap<Accelerator, Abilities>,
    /// The model that is nearest to the host's processor, under KVM.
    pub(crate) host_model: Option<String>,
    /// Architectures for which an emulator is installed, and the firmware that boots disks, in Go's names.
    pub(crate) emulates: BTreeSet<String>,
    /// QEMU's version.
    pub(crate) version: Option<Version>,
}

impl Offered {
    /// What can be known without asking QEMU: which emulators are installed.
    pub(crate) fn unasked(program: Option<&Path>) -> Self {
        Self {
            emulates: emulates(program),
            ..Self::default()
        }
    }

    /// Whether QEMU was asked, and answered.
    pub(crate) fn is_learned(&self) -> bool {
        self.version.is_some()
    }
}

/// QEMU did not tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AbilitiesError {
    #[error("no QEMU for this machine's architecture is installed")]
    Missing,
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{source}; it wrote to its standard error: {words}")]
    NotUnderstood {
        source: NotUnderstood,
        words: String,
    },
}

/// An installed program: another file, or another content, is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Installation {
    path: PathBuf,
    inode: u64,
    bytes: u64,
    changed: i64,
}

impl Installation {
    fn of(path: &Path) -> io::Result<Self> {
        let found = path.metadata()?;
        Ok(Self {
            path: path.to_owned(),
            inode: found.ino(),
            bytes: found.size(),
            changed: found.mtime(),
        })
    }
}

/// Asks, and remembers the answers as long as this process lives.
#[derive(Debug, Default)]
pub(crate) struct Asker {
    known: BTreeMap<(Installation, Accelerator), Told>,
}

impl Asker {
    /// What guests can have here. KVM is asked about only where its device opens (`on_kvm`). What
    /// cannot be learned is left out, and logged.
    pub(crate) async fn ask(&mut self, program: Option<&Path>, on_kvm: bool) -> Offered {
        let mut offered = Offered::unasked(program);
        let accelerators = [(Accelerator::Tcg, true), (Accelerator::Kvm, on_kvm)];
        for (accelerator, _) in accelerators.into_iter().filter(|(_, wanted)| *wanted) {
            match self.told(program, accelerator).await {
                Ok(told) => {
                    offered.version = Some(told.version);
                    offered.by_accelerator.insert(accelerator, told.abilities);
                }
                Err(error) => {
                    tracing::warn!(?accelerator, %error, "what QEMU can is not known");
                }
            }
        }
        let vendor = host::facts::processor_vendor().unwrap_or_default();
        offered.host_model = offered
            .by_accelerator
            .get(&Accelerator::Kvm)
            .and_then(|abilities| nearest_model(abilities, &vendor))
            .map(str::to_owned);
        offered
    }

    async fn told(
        &mut self,
        program: Option<&Path>,
        accelerator: Accelerator,
    ) -> Result<Told, AbilitiesError> {
        let program = own_program(program).ok_or(AbilitiesError::Missing)?;
        let key = (Installation::of(&program)?, accelerator);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let mut told = converse(&program, accelerator, &BTreeSet::new()).await?;
        if accelerator == Accelerator::Kvm {
            // How large each model is can be asked only once their names are known.
            told = converse(&program, accelerator, &told.abilities.models).await?;
        }
        // Of an installation that was replaced nothing need be remembered.
        self.known
            .retain(|(known, of), _| *known == key.0 || *of != accelerator);
        self.known.insert(key, told.clone());
        Ok(told)
    }
}

async fn converse(
    program: &Path,
    accelerator: Accelerator,
    compared: &BTreeSet<String>,
) -> Result<Told, AbilitiesError> {
    let conversation = Conversation::new(accelerator, compared.iter().map(String::as_str));
    let (reader, mut writer) = io::pipe()?;
    // Below the 64 KiB that a pipe holds, so this never waits for QEMU.
    writer.write_all(conversation.questions())?;
    drop(writer);
    let output = Program::new(program)
        .arguments(arguments(accelerator))
        .stdin(Stream::File(reader.into()))
        .output(DEADLINE, LARGEST_OUTPUT)
        .await?;
    conversation.understand(&output.stdout).map_err(|source| {
        let words = String::from_utf8_lossy(&output.stderr);
        AbilitiesError::NotUnderstood {
            source,
            words: words.trim().chars().take(500).collect(),
        }
    })
}

/// QEMU for guests of this machine's own architecture: the one that was set, else where it usually is.
pub(crate) fn own_program(program: Option<&Path>) -> Option<PathBuf> {
    let own = Architecture::of_machine(std::env::consts::ARCH)?;
    program.map(Path::to_owned).or_else(|| emulator(own, None))
}

/// QEMU for guests of `architecture`, as the launcher looks for it: beside the one that was set, then
/// where it usually is.
pub(crate) fn emulator(architecture: Architecture, beside: Option<&Path>) -> Option<PathBuf> {
    let beside = beside
        .and_then(Path::parent)
        .map(|folder| folder.join(format!("qemu-system-{}", architecture.machine_name())));
    let usual = architecture.programs(Architecture::of_machine(std::env::consts::ARCH));
    let places: Vec<&Path> = beside
        .iter()
        .map(PathBuf::as_path)
        .chain(usual.iter().map(Path::new))
        .collect();
    find_program(&places)
}

/// Architectures of guests that start here, in Go's names.
fn emulates(program: Option<&Path>) -> BTreeSet<String> {
    let own = Architecture::of_machine(std::env::consts::ARCH);
    let installed = |architecture: &Architecture| {
        architecture.starts_from_disks(Path::is_file)
            && (emulator(*architecture, program).is_some()
                || own == Some(*architecture) && own_program(program).is_some())
    };
    Architecture::ALL
        .into_iter()
        .filter(installed)
        .map(|architecture| architecture.go_name().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_installed_qemu_tells_what_it_can_once() {
        let mut asker = Asker::default();
        let offered = asker.ask(None, false).await;
        let abilities = &offered.by_accelerator[&Accelerator::Tcg];
        assert!(offered.version.expect("a version").served());
        assert!(abilities.models.contains("Nehalem"), "{abilities:?}");
        assert!(abilities.machine_types.contains("q35"), "{abilities:?}");
        assert!(abilities.features.contains("sse4.2"), "{abilities:?}");
        assert!(
            !abilities.features.contains("hotpluggable"),
            "{abilities:?}"
        );
        assert!(offered.emulates.contains("amd64"));
        assert_eq!(offered.host_model, None);
        // Answered from memory: nothing that is no QEMU is asked.
        assert_eq!(asker.known.len(), 1);
        assert_eq!(asker.ask(None, false).await, offered);
    }

    #[tokio::test]
    async fn what_is_no_qemu_tells_nothing_and_does_no_harm() {
        let offered = Asker::default()
            .ask(Some(Path::new("/bin/true")), false)
            .await;
        assert!(offered.by_accelerator.is_empty());
        let gone = Asker::default()
            .ask(Some(Path::new("/nonexistent")), false)
            .await;
        assert!(gone.by_accelerator.is_empty());
    }
}
