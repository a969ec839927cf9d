//! Files that a guest or a program fills, and that stay small whatever it writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Keeps the first bytes and drops the rest.
#[derive(Debug)]
pub(crate) struct Head {
    file: File,
    room: u64,
}

impl Head {
    /// A new file at `path` of at most `limit` bytes.
    pub(crate) fn create(path: &Path, limit: u64) -> io::Result<Self> {
        Ok(Self {
            file: create(path)?,
            room: limit,
        })
    }

    /// The file at `path`, continued at its end if it is there, of at most `limit` bytes in all.
    pub(crate) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let mut file = options().open(path)?;
        let length = file.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            room: limit.saturating_sub(length),
        })
    }

    /// Writes what fits, and gives the rest.
    pub(crate) fn write<'a>(&mut self, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        let fits = usize::try_from(self.room)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let (now, rest) = bytes.split_at(fits);
        self.file.write_all(now)?;
        self.room -= fits as u64;
        Ok(rest)
    }
}

/// Keeps the last bytes: when the limit is reached, the older half is dropped.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    file: File,
    length: u64,
    limit: u64,
}

impl Tail {
    /// A new file at `path` of at most `limit` bytes.
    pub(crate) fn create(path: &Path, limit: u64) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: create(path)?,
            length: 0,
            limit,
        })
    }

    /// The file at `path`, continued at its end if it is there.
    pub(crate) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let mut file = options().open(path)?;
        let length = file.seek(SeekFrom::End(0))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            limit,
        })
    }

    /// The file as it is now; one that was halved is another.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Adds `bytes`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // More than half the file at once: only its end is worth keeping.
        let half = self.limit / 2;
        let keep = usize::try_from(half).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = &bytes[bytes.len() - keep..];
        if self.length + bytes.len() as u64 > self.limit {
            self.halve()?;
        }
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Where the file is now: its folder may have been moved.
    fn place(&self) -> PathBuf {
        let open = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let open = std::fs::read_link(open).ok();
        match (
            open.as_deref().and_then(Path::parent),
            self.path.file_name(),
        ) {
            (Some(folder), Some(name)) => folder.join(name),
            _ => self.path.clone(),
        }
    }

    /// Writes the younger half to a new file and puts it in this one's place, so that a reader
    /// sees either.
    fn halve(&mut self) -> io::Result<()> {
        let mut young = Vec::new();
        // Others may have written to it too.
        let length = self.file.metadata()?.len();
        self.file
            .seek(SeekFrom::Start(length.saturating_sub(self.limit / 2)))?;
        (&self.file).take(self.limit).read_to_end(&mut young)?;
        self.path = self.place();
        let aside = self.path.with_extension("new");
        let mut file = create(&aside)?;
        file.write_all(&young)?;
        std::fs::rename(&aside, &self.path)?;
        self.file = file;
        self.length = young.len() as u64;
        Ok(())
    }
}

/// For writing at the end, whoever else writes.
fn options() -> OpenOptions {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::APPEND;
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed());
    options
}

fn create(path: &Path) -> io::Result<File> {
    options().truncate(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_keeps_the_first_bytes_and_gives_back_the_rest() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let mut head = Head::create(&path, 5).expect("made");
        assert_eq!(head.write(b"abc").expect("written"), b"");
        assert_eq!(head.write(b"defg").expect("written"), b"fg");
        assert_eq!(head.write(b"h").expect("written"), b"h");
        assert_eq!(std::fs::read(&path).expect("read"), b"abcde");
        let mut again = Head::open(&path, 7).expect("opened");
        assert_eq!(again.write(b"fgh").expect("written"), b"h");
        assert_eq!(std::fs::read(&path).expect("read"), b"abcdefg");
    }

    #[test]
    fn the_tail_keeps_the_last_bytes_and_never_grows_beyond_its_limit() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let mut tail = Tail::create(&path, 100).expect("made");
        let mut all = Vec::new();
        for number in 0..200_u32 {
            let line = format!("line {number}\n");
            tail.write(line.as_bytes()).expect("written");
            all.extend(line.into_bytes());
            let kept = std::fs::read(&path).expect("read");
            assert!(kept.len() <= 100 && all.ends_with(&kept), "{number}");
            assert!(kept.len() >= 40.min(all.len()), "{number}: {}", kept.len());
        }
        tail.write(&vec![b'x'; 1000]).expect("written");
        assert!(std::fs::metadata(&path).expect("there").len() <= 100);
        let mut again = Tail::open(&path, 100).expect("opened");
        again.write(b"end").expect("written");
        assert!(std::fs::read(&path).expect("read").ends_with(b"xend"));
    }
}
