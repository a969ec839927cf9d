//! What the node remembers of a machine, in the machine's folder, written before its launcher starts.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use api::launcher::{Exit, Identity, files};
use serde::{Deserialize, Serialize};

/// Taken (`flock`) by the launcher when it begins, and held exactly as long as it lives.
pub(crate) const LAUNCHER_LOCK: &str = "launcher.lock";
/// A record or an exit is some hundred bytes.
const LARGEST: u64 = 1 << 20;

/// The content of `launcher.json`: the launcher's identity, and what the node adds to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Whose launcher it is.
    #[serde(flatten)]
    pub(crate) identity: Identity,
    /// The pod's address, which must survive a restart of the node.
    pub(crate) pod_address: Ipv4Addr,
}

impl Record {
    /// Reads the record in `directory`; `None` if there is none.
    pub(crate) fn read(directory: &Path) -> io::Result<Option<Self>> {
        read_json(&directory.join(files::IDENTITY))
    }

    /// Writes the record into `directory`, in one step and durably.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        write_json(directory, files::IDENTITY, self)
    }
}

/// Writes `value` into the file `name` of `directory`, in one step and durably.
pub(crate) fn write_json<T: Serialize>(directory: &Path, name: &str, value: &T) -> io::Result<()> {
    let temporary = directory.join(format!("{name}.new"));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&serde_json::to_vec_pretty(value).map_err(io::Error::other)?)?;
    file.sync_all()?;
    fs::rename(&temporary, directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// How the guest ended, if the launcher has written it down.
pub(crate) fn read_exit(directory: &Path) -> io::Result<Option<Exit>> {
    read_json(&directory.join(files::EXIT))
}

/// Reads the JSON file at `path`; `None` if there is none.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    serde_json::from_reader(io::Read::take(file, LARGEST))
        .map(Some)
        .map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}: {error}", path.display()),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_written_and_the_launcher_reads_its_part() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(Record::read(directory.path()).expect("readable"), None);
        let record = Record {
            identity: Identity {
                namespace: "ns".to_owned(),
                name: "vm".to_owned(),
                uid: "u".to_owned(),
                pod_name: "virt-launcher-vm-x".to_owned(),
                pod_uid: "p".to_owned(),
                qemu_program: None,
                grace_period_seconds: 30,
            },
            pod_address: Ipv4Addr::new(127, 64, 0, 7),
        };
        record.write(directory.path()).expect("written");
        assert_eq!(
            Record::read(directory.path()).expect("readable"),
            Some(record.clone())
        );
        let text = fs::read(directory.path().join(files::IDENTITY)).expect("read");
        let launchers: Identity = serde_json::from_slice(&text).expect("its part");
        assert_eq!(launchers, record.identity);
        fs::write(directory.path().join(files::IDENTITY), "{").expect("written");
        Record::read(directory.path()).expect_err("damaged");
    }
}
