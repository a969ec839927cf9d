//! Sessions over a restart of the server: a file that opens none of them.
//!
//! A session is kept as the hash of its id, so whoever reads the file gets in nowhere; whoever could write it could
//! write the database and the authority's key beside it. It is kept only if it came from a client certificate or from
//! the server's own link, and only for the same authority: what ends those credentials ends their sessions.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ::console::{Door, Kept, Place};
use apiserver::User;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The file in the data directory.
const NAME: &str = "console-sessions.json";

/// The door lets no more than a thousand sessions be open, of some hundred bytes each.
const LARGEST: u64 = 4 << 20;

/// Where sessions are kept.
#[derive(Debug)]
pub(crate) struct Keeper {
    path: PathBuf,
    /// The hash of the authority's certificate.
    authority: String,
    /// What the file says; held while it is written, so that the newest stays.
    written: Mutex<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    authority: String,
    sessions: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    /// The hash of its id, in hexadecimal digits.
    id: String,
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: std::collections::BTreeMap<String, Vec<String>>,
    peer: std::net::IpAddr,
    browser: String,
    opened: Timestamp,
    used: Timestamp,
}

impl Keeper {
    /// One in `data`, for sessions of this authority.
    pub(crate) fn new(data: &Path, authority_pem: &str) -> Self {
        Self {
            path: data.join(NAME),
            authority: hexadecimal(&Sha256::digest(authority_pem.as_bytes())),
            written: Mutex::new(Vec::new()),
        }
    }

    /// Opens the sessions of an earlier server again.
    ///
    /// # Errors
    /// If the file cannot be read or understood; then nobody is logged in.
    pub(crate) fn restore(&self, door: &Door<User>, now: Timestamp) -> io::Result<()> {
        let file = match fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let invalid = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
        let mut text = Vec::new();
        if file.take(LARGEST + 1).read_to_end(&mut text)? as u64 > LARGEST {
            return Err(invalid(format!("it has more than {LARGEST} bytes")));
        }
        let file: File =
            serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
        if file.authority != self.authority {
            return Ok(());
        }
        let kept: Option<Vec<_>> = file.sessions.into_iter().map(kept).collect();
        let kept = kept.ok_or_else(|| invalid("an id is no hash".to_owned()))?;
        door.restore(kept, now);
        Ok(())
    }

    /// Writes down who is logged in, if that has changed. Blocks until it is on the disk.
    ///
    /// # Errors
    /// If it cannot be written. Then the file is gone if that can be done, so that it opens no session that has ended.
    pub(crate) fn keep(&self, door: &Door<User>) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let file = File {
            authority: self.authority.clone(),
            sessions: door.kept().into_iter().map(line).collect(),
        };
        let text = serde_json::to_vec(&file).map_err(io::Error::other)?;
        if *written == text {
            return Ok(());
        }
        let result = write(&self.path, &text);
        *written = match &result {
            Ok(()) => text,
            Err(_) => {
                // It may be there no more, or never have been.
                let _ = fs::remove_file(&self.path);
                Vec::new()
            }
        };
        result
    }
}

/// In one step and durably, for nobody else to read.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("json.new");
    // What a torn write left may have other rights.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn line(kept: Kept<User>) -> Line {
    Line {
        id: hexadecimal(&kept.id),
        user: kept.user.name,
        uid: kept.user.uid,
        groups: kept.user.groups,
        extra: kept.user.extra,
        peer: kept.from.peer,
        browser: kept.from.browser,
        opened: kept.opened,
        used: kept.used,
    }
}

/// None: its id is no hash.
fn kept(line: Line) -> Option<Kept<User>> {
    Some(Kept {
        id: bytes(&line.id)?,
        user: User {
            name: line.user,
            uid: line.uid,
            groups: line.groups,
            extra: line.extra,
        },
        from: Place {
            peer: line.peer,
            browser: line.browser,
        },
        opened: line.opened,
        used: line.used,
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(text: &str) -> Option<[u8; 32]> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|it| u8::try_from(it).ok()))
        .collect();
    let pairs = digits?
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |all, digit| all * 16 + digit))
        .collect::<Vec<u8>>();
    (text.len() == 64).then_some(())?;
    pairs.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_written() {
        let all: [u8; 32] = std::array::from_fn(|index| (index * 8) as u8);
        assert_eq!(bytes(&hexadecimal(&all)), Some(all));
        for wrong in [
            "",
            "0",
            "zz",
            &"0".repeat(63),
            &"é".repeat(32),
            &"0".repeat(66),
        ] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
