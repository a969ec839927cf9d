//! Takes wanted files out of layers. Names in a layer only ever decide *whether* an entry is wanted; what is written has
//! a name of our own in a directory of our own, so no entry, link or device in an image can reach anything else.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tar::EntryType;

use crate::Problem;
use crate::manifest::{Packing, digest_text};

/// Read at once; a run of zeros this long becomes a hole.
const CHUNK: usize = 64 << 10;
/// Memory that unpacking zstd may take (2^27 bytes), zstd's own default for untrusted data.
const ZSTD_WINDOW_LOG: u32 = 27;

/// What is wanted of an image.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// The only file in this directory.
    OnlyFileIn(String),
    /// These files.
    Files(Vec<String>),
}

impl Wanted {
    fn wants(&self, path: &str) -> bool {
        match self {
            Self::OnlyFileIn(directory) => path
                .rsplit_once('/')
                .is_some_and(|(parent, _)| parent == directory),
            Self::Files(files) => files.iter().any(|file| file == path),
        }
    }

    /// Whether a wanted file may lie below `path`.
    fn below(&self, path: &str) -> bool {
        let within = |wanted: &str| {
            wanted
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match self {
            Self::OnlyFileIn(directory) => within(directory),
            Self::Files(files) => files.iter().any(|file| file != path && within(file)),
        }
    }
}

/// How much one image may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnpackLimits {
    /// Bytes written, over all wanted files of all layers.
    pub(crate) file_bytes: u64,
    /// Bytes of unpacked layers read, wanted or not.
    pub(crate) unpacked_bytes: u64,
    /// Entries over all layers.
    pub(crate) entries: u64,
}

/// A file taken out of an image.
#[derive(Clone, Debug)]
pub(crate) struct Unpacked {
    /// Where it is now.
    pub(crate) file: PathBuf,
    pub(crate) size: u64,
    /// `sha256:…` of its content.
    pub(crate) digest: String,
}

/// Reads layers from the lowest to the highest and keeps what is wanted and visible.
#[derive(Debug)]
pub(crate) struct Unpacker {
    directory: PathBuf,
    wanted: Wanted,
    limits: UnpackLimits,
    visible: BTreeMap<String, Unpacked>,
    entries: u64,
    unpacked: u64,
    written: u64,
    files: u64,
}

impl Unpacker {
    /// `directory` exists, is empty, and nobody else writes there.
    pub(crate) fn new(directory: &Path, wanted: Wanted, limits: UnpackLimits) -> Self {
        Self {
            directory: directory.to_path_buf(),
            wanted,
            limits,
            visible: BTreeMap::new(),
            entries: 0,
            unpacked: 0,
            written: 0,
            files: 0,
        }
    }

    /// Reads one layer.
    pub(crate) fn layer(&mut self, packed: File, packing: Packing) -> Result<(), Problem> {
        let packed = BufReader::with_capacity(CHUNK, packed);
        let broken =
            |error: std::io::Error| Problem::Damaged(format!("a layer can't be read: {error}"));
        match packing {
            Packing::Tar => self.archive(packed),
            Packing::Gzip => self.archive(flate2::bufread::MultiGzDecoder::new(packed)),
            Packing::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(packed).map_err(broken)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(broken)?;
                self.archive(decoder)
            }
        }
    }

    fn archive(&mut self, unpacked: impl Read) -> Result<(), Problem> {
        let left = self.limits.unpacked_bytes.saturating_sub(self.unpacked);
        // One more than allowed, to tell the end from the limit.
        let mut counted = Counted {
            inner: unpacked.take(left.saturating_add(1)),
            read: 0,
        };
        let read = self.entries(&mut tar::Archive::new(&mut counted));
        self.unpacked = self.unpacked.saturating_add(counted.read);
        if counted.read > left {
            let limit = self.limits.unpacked_bytes;
            return Err(Problem::TooLarge {
                what: "the unpacked image".to_owned(),
                limit,
            });
        }
        read
    }

    fn entries<R: Read>(&mut self, archive: &mut tar::Archive<R>) -> Result<(), Problem> {
        let broken =
            |error: std::io::Error| Problem::Damaged(format!("a layer can't be read: {error}"));
        // Whiteouts hide what lower layers brought, wherever in this layer they stand.
        let mut own = BTreeMap::new();
        for entry in archive.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            self.entries += 1;
            if self.entries > self.limits.entries {
                let limit = self.limits.entries;
                return Err(Problem::TooLarge {
                    what: "the number of files".to_owned(),
                    limit,
                });
            }
            let kind = entry.header().entry_type();
            if matches!(kind, EntryType::XGlobalHeader) {
                continue;
            }
            let Some(path) = inner_path(&entry.path_bytes())? else {
                continue;
            };
            if self.hide(&path) {
                continue;
            }
            match kind {
                EntryType::Directory => {
                    own.remove(&path);
                    self.visible.remove(&path);
                }
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    self.forget(&mut own, &path);
                    if self.wanted.wants(&path) {
                        let file = self.unpack(&path, &mut entry)?;
                        own.insert(path, file);
                    } else if self.wanted.below(&path) {
                        return Err(Problem::Contents(format!(
                            "/{path} is a file, not a directory"
                        )));
                    }
                }
                other => {
                    self.forget(&mut own, &path);
                    if self.wanted.wants(&path) || self.wanted.below(&path) {
                        return Err(Problem::Contents(format!(
                            "/{path} is {}; only regular files are read",
                            kind_in_words(other)
                        )));
                    }
                }
            }
        }
        self.visible.append(&mut own);
        Ok(())
    }

    /// Applies a whiteout to what lower layers brought; `false` if `path` is none.
    fn hide(&mut self, path: &str) -> bool {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let hidden = match name.strip_prefix(".wh.") {
            None => return false,
            Some(".wh..opq") => parent.to_owned(),
            Some(hidden) if parent.is_empty() => hidden.to_owned(),
            Some(hidden) => format!("{parent}/{hidden}"),
        };
        self.visible
            .retain(|file, _| !is_or_is_below(file, &hidden));
        true
    }

    /// Something else stands at `path` now.
    fn forget(&mut self, own: &mut BTreeMap<String, Unpacked>, path: &str) {
        self.visible.retain(|file, _| !is_or_is_below(file, path));
        own.retain(|file, _| !is_or_is_below(file, path));
    }

    fn unpack(&mut self, path: &str, entry: &mut impl Read) -> Result<Unpacked, Problem> {
        let file = self.directory.join(format!("{}", self.files));
        self.files += 1;
        let failed = |error: std::io::Error| Problem::storage(&file, &error);
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&file)
            .map_err(failed)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        let mut size = 0;
        loop {
            let count = fill(entry, &mut buffer).map_err(|error| {
                Problem::Damaged(format!("/{path} can't be read from its layer: {error}"))
            })?;
            if count == 0 {
                break;
            }
            size += count as u64;
            self.written += count as u64;
            if self.written > self.limits.file_bytes {
                let limit = self.limits.file_bytes;
                return Err(Problem::TooLarge {
                    what: format!("/{path}"),
                    limit,
                });
            }
            let chunk = &buffer[..count];
            hash.update(chunk);
            if chunk.iter().all(|byte| *byte == 0) {
                out.seek(SeekFrom::Current(count as i64)).map_err(failed)?;
            } else {
                out.write_all(chunk).map_err(failed)?;
            }
        }
        // Also makes a hole of zeros at the end.
        out.set_len(size)
            .and_then(|()| out.sync_all())
            .map_err(failed)?;
        let digest = digest_text(&hash.finalize());
        Ok(Unpacked { file, size, digest })
    }

    /// The wanted files by their path in the image, after the last layer.
    pub(crate) fn finish(self) -> Result<BTreeMap<String, Unpacked>, Problem> {
        match &self.wanted {
            Wanted::OnlyFileIn(directory) => match self.visible.len() {
                0 => Err(Problem::Contents(format!(
                    "no file found in folder /{directory}, no disk present"
                ))),
                1 => Ok(self.visible),
                _ => Err(Problem::Contents(format!(
                    "more than one file found in folder /{directory}, only one disk is allowed"
                ))),
            },
            Wanted::Files(files) => {
                match files.iter().find(|file| !self.visible.contains_key(*file)) {
                    Some(missing) => Err(Problem::Contents(format!("no file found at /{missing}"))),
                    None => Ok(self.visible),
                }
            }
        }
    }
}

/// Reads until the buffer is full or the end, so that holes are found however the data comes.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read += count as u64;
        Ok(count)
    }
}

fn is_or_is_below(path: &str, directory: &str) -> bool {
    directory.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The path of an entry as `a/b/c`; `None` for the root itself.
fn inner_path(bytes: &[u8]) -> Result<Option<String>, Problem> {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                return Err(Problem::Contents(format!(
                    "the entry {text:?} leaves the image"
                )));
            }
            part => parts.push(part),
        }
    }
    Ok((!parts.is_empty()).then(|| parts.join("/")))
}

/// A path given by a user, as `a/b/c`.
pub(crate) fn wanted_path(path: &str) -> Result<String, Problem> {
    inner_path(path.as_bytes())?
        .ok_or_else(|| Problem::Contents(format!("{path:?} names no file in the image")))
}

fn kind_in_words(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Symlink => "a symbolic link",
        EntryType::Link => "a hard link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a named pipe",
        _ => "of an unknown kind",
    }
}
