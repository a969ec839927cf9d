//! What the node remembers of a machine, in the machine's folder, written before its launcher starts.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use api::launcher::{Exit, Identity, files};
use serde::{Deserialize, Serialize};

/// Taken (`flock`) by the launcher when it begins, and held exactly as long as it lives.
pub(crate) const LAUNCHER_LOCK: &str = "launcher.lock";
/// All that we keep has some hundred bytes; earlier starts have some thousand.
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
    /// Reads the record in `directory`; `None` if there is none. An empty one is none: the host went off before it was
    /// durable, so before anybody was told of a machine here.
    pub(crate) fn read(directory: &Path) -> io::Result<Option<Self>> {
        let path = directory.join(files::IDENTITY);
        match read_json(&path) {
            Err(error)
                if error.kind() == io::ErrorKind::InvalidData
                    && fs::metadata(&path)?.len() == 0 =>
            {
                Ok(None)
            }
            read => read,
        }
    }

    /// Writes the record into `directory`, in one step. Others may read it at once; after that host's sudden end it is
    /// whole, empty or not there, until it [is durable](Self::make_durable).
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        write_new(directory, files::IDENTITY, &text, 0o600)
    }

    /// Returns when the record in `directory` outlives a sudden end of the host: on a busy disk after some hundredths
    /// of a second, in which its launcher can start.
    pub(crate) fn make_durable(directory: &Path) -> io::Result<()> {
        File::open(directory.join(files::IDENTITY))?.sync_all()?;
        File::open(directory)?.sync_all()
    }
}

/// Writes `value` into the file `name` of `directory`, in one step and durably.
pub(crate) fn write_json<T: Serialize>(directory: &Path, name: &str, value: &T) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
    write_whole(directory, name, &text, 0o600)
}

/// Writes `bytes` into the file `name` of `directory`, with these rights, in one step and durably.
pub(crate) fn write_whole(directory: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let file = write_temporary(directory, name, bytes, mode)?;
    file.sync_all()?;
    put_in_place(directory, name)?;
    File::open(directory)?.sync_all()
}

/// As [`write_whole`], but not durably.
fn write_new(directory: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_temporary(directory, name, bytes, mode)?;
    put_in_place(directory, name)
}

fn put_in_place(directory: &Path, name: &str) -> io::Result<()> {
    fs::rename(directory.join(format!("{name}.new")), directory.join(name))
}

fn write_temporary(directory: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<File> {
    let temporary = directory.join(format!("{name}.new"));
    // What a torn write left behind may have other rights.
    if let Err(error) = fs::remove_file(&temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    if let Err(error) = file.write_all(bytes) {
        // On a full disk it would only take room; one that stays goes at the next try.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    Ok(file)
}

/// How the guest ended, if the launcher has written it down.
pub(crate) fn read_exit(directory: &Path) -> io::Result<Option<Exit>> {
    read_json(&directory.join(files::EXIT))
}

/// Reads the JSON file at `path`; `None` if there is none. One that is larger than ours are or that is
/// not understood is `InvalidData`.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let invalid = |problem: &dyn std::fmt::Display| {
        let text = format!("{}: {problem}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let mut text = Vec::new();
    let length = file.take(LARGEST + 1).read_to_end(&mut text)?;
    if length as u64 > LARGEST {
        return Err(invalid(&format!("has more than {LARGEST} bytes")));
    }
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| invalid(&error))
}

/// As [`read_json`], of what can be had anew: what is not understood is none. It was written by
/// another release, or torn.
pub(crate) fn read_understood<T: serde::de::DeserializeOwned>(
    path: &Path,
) -> io::Result<Option<T>> {
    match read_json(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        read => read,
    }
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
        Record::make_durable(directory.path()).expect("durable");
        assert_eq!(
            Record::read(directory.path()).expect("readable"),
            Some(record.clone())
        );
        let text = fs::read(directory.path().join(files::IDENTITY)).expect("read");
        let launchers: Identity = serde_json::from_slice(&text).expect("its part");
        assert_eq!(launchers, record.identity);
        fs::write(directory.path().join(files::IDENTITY), "{").expect("written");
        Record::read(directory.path()).expect_err("damaged");
        // The host ended when it was not durable yet.
        fs::write(directory.path().join(files::IDENTITY), "").expect("written");
        assert_eq!(Record::read(directory.path()).expect("readable"), None);
        Record::write(&record, directory.path()).expect("written again");
        assert_eq!(
            Record::read(directory.path()).expect("readable"),
            Some(record)
        );
    }
}
