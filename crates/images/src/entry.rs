//! One thing in the cache: a directory with files taken out of an image, and a marker that says what they must be.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Problem;
use crate::manifest::digest_text;

const MARKER: &str = "marker.json";
/// A marker is some hundred bytes.
const MARKER_BYTES: u64 = 64 << 10;

/// What a file was when it was put there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) size: u64,
    /// `sha256:…` of the content.
    pub(crate) digest: String,
    /// Nanoseconds since 1970. A file whose size and time are as they were is believed; any other is read again.
    modified: i128,
}

/// The marker of an entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Marker {
    /// The reference that brought it, for people who look.
    pub(crate) reference: String,
    /// The manifest's digest.
    pub(crate) image: String,
    /// Files by their name in the entry.
    pub(crate) files: BTreeMap<String, Kept>,
}

/// Makes a directory an entry: moves `files` (name in the entry, where it is now, size, digest) in and writes the
/// marker. Everything is on disk afterwards.
pub(crate) fn seal(
    directory: &Path,
    reference: &str,
    image: &str,
    files: &[(&str, &Path, u64, &str)],
) -> Result<(), Problem> {
    let mut marker = Marker {
        reference: reference.to_owned(),
        image: image.to_owned(),
        files: BTreeMap::new(),
    };
    for (name, from, size, digest) in files {
        let to = directory.join(name);
        let failed = |error: std::io::Error| Problem::storage(&to, &error);
        fs::rename(from, &to).map_err(failed)?;
        // QEMU runs as somebody else and only ever reads it.
        fs::set_permissions(&to, fs::Permissions::from_mode(0o444)).map_err(failed)?;
        let modified = modified(&to).map_err(failed)?;
        let kept = Kept {
            size: *size,
            digest: (*digest).to_owned(),
            modified,
        };
        marker.files.insert((*name).to_owned(), kept);
    }
    let path = directory.join(MARKER);
    write_json(&path, &marker)?;
    sync_directory(directory)
}

/// The marker of an entry, whatever its files are now; `None` if there is none that can be read.
pub(crate) fn marker(directory: &Path) -> Option<Marker> {
    let text = read_bounded(&directory.join(MARKER)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The marker of an entry whose files are all still what they were; `None` (and the cause in the log) otherwise.
pub(crate) fn check(directory: &Path) -> Option<Marker> {
    let text = read_bounded(&directory.join(MARKER)).ok()?;
    match serde_json::from_slice::<Marker>(&text)
        .map_err(|error| error.to_string())
        .and_then(|mut marker| {
            let changed = check_files(directory, &mut marker)?;
            if changed {
                // Believed again from now on; if it can't be written the next check just reads once more.
                drop(write_json(&directory.join(MARKER), &marker));
            }
            Ok(marker)
        }) {
        Ok(marker) => Some(marker),
        Err(cause) => {
            tracing::warn!(directory = %directory.display(), cause, "a cached image is damaged");
            None
        }
    }
}

/// Notes that an entry is used now, by its marker's time.
pub(crate) fn touch(directory: &Path) -> std::io::Result<()> {
    File::options()
        .write(true)
        .open(directory.join(MARKER))?
        .set_modified(SystemTime::now())
}

/// When an entry was last used, and the space it takes; an entry without a marker was never used.
pub(crate) fn usage(directory: &Path) -> std::io::Result<(SystemTime, u64)> {
    let used = match fs::metadata(directory.join(MARKER)) {
        Ok(marker) => marker.modified()?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => SystemTime::UNIX_EPOCH,
        Err(error) => return Err(error),
    };
    let mut bytes = 0;
    for file in fs::read_dir(directory)? {
        // What `stat` counts in 512 bytes, whatever the file system's blocks are.
        bytes += file?.metadata()?.blocks() * 512;
    }
    Ok((used, bytes))
}

/// Whether a time had to be renewed; an error if a file is not what it was.
fn check_files(directory: &Path, marker: &mut Marker) -> Result<bool, String> {
    let mut renewed = false;
    for (name, kept) in &mut marker.files {
        let path = directory.join(name);
        let metadata = fs::symlink_metadata(&path).map_err(|error| format!("{name}: {error}"))?;
        if !metadata.is_file() || metadata.len() != kept.size {
            return Err(format!(
                "{name} has {} bytes instead of {}",
                metadata.len(),
                kept.size
            ));
        }
        let modified = modified(&path).map_err(|error| format!("{name}: {error}"))?;
        if modified == kept.modified {
            continue;
        }
        let found = digest_file(&path).map_err(|error| format!("{name}: {error}"))?;
        if found != kept.digest {
            return Err(format!(
                "{name} has digest {found} instead of {}",
                kept.digest
            ));
        }
        kept.modified = modified;
        renewed = true;
    }
    Ok(renewed)
}

fn modified(path: &Path) -> std::io::Result<i128> {
    let metadata = fs::symlink_metadata(path)?;
    Ok(i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()))
}

fn digest_file(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest_text(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// Writes JSON so that a reader sees the old or the new, whole.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Problem> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|error| Problem::storage(path, &std::io::Error::other(error)))?;
    let temporary: PathBuf = path.with_extension("new");
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    written.map_err(|error| Problem::storage(path, &error))
}

/// Reads a small file of ours.
pub(crate) fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?
        .take(MARKER_BYTES)
        .read_to_end(&mut text)?;
    Ok(text)
}

pub(crate) fn sync_directory(directory: &Path) -> Result<(), Problem> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Problem::storage(directory, &error))
}
