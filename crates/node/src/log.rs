//! Logs of launcher pods, read from the files in a machine's folder, and followed as they grow.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use api::launcher::files;
use api::names::containers;
use futures::Stream;
use host::changes::Changes;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

/// What is read at once.
const PIECE: usize = 64 << 10;
/// The most of a log that is looked at for its last lines; serial logs are bounded below it.
const TAIL_BYTES: u64 = 16 << 20;

/// The files of which the latest bytes are kept, and how many.
const BOUNDED: [(&str, u64); 3] = [
    (files::LOG, files::LOG_BYTES),
    (files::SERIAL_TAIL_LOG, files::SERIAL_TAIL_BYTES),
    (files::QEMU_LOG, files::PROGRAM_LOG_BYTES),
];

/// Which part of a log is wanted, as in the API's `pods/log`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on as it grows, until the guest has ended.
    pub follow: bool,
    /// Only the last lines there are now.
    pub tail_lines: Option<u64>,
    /// End after this many bytes.
    pub limit_bytes: Option<u64>,
    /// Of the container's run before this one.
    pub previous: bool,
    /// With the time of each line.
    pub timestamps: bool,
    /// Only what was written in the last seconds.
    pub since_seconds: Option<i64>,
}

impl LogOptions {
    /// Refuses what no log here has.
    pub(crate) fn served(&self) -> Result<(), LogError> {
        if self.previous {
            return Err(LogError::Unsupported(
                "previous: a launcher is never restarted in its pod, so there is no earlier log",
            ));
        }
        if self.timestamps || self.since_seconds.is_some() {
            return Err(LogError::Unsupported(
                "timestamps, sinceSeconds, sinceTime: lines are kept as they came, without times; use \
                 tailLines",
            ));
        }
        Ok(())
    }
}

/// A log cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no such pod on this node.
    #[error("pod {0} has no logs on this node: it has not started here")]
    NoPod(String),
    /// The pod has no such container.
    #[error("container {0} is not valid for a launcher pod: it has compute and guest-console-log")]
    NoContainer(String),
    /// An option that is not served.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A file cannot be read.
    #[error("the log cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// A log as it comes.
pub type LogStream = Pin<Box<dyn Stream<Item = io::Result<Vec<u8>>> + Send>>;

/// Opens the log of `container` of the machine in `directory`.
pub(crate) async fn open(
    directory: &Path,
    container: &str,
    options: LogOptions,
) -> Result<LogStream, LogError> {
    options.served()?;
    let names: &[&str] = match container {
        containers::COMPUTE => &[files::LOG, files::QEMU_LOG],
        containers::GUEST_CONSOLE_LOG => &[files::SERIAL_LOG, files::SERIAL_TAIL_LOG],
        other => return Err(LogError::NoContainer(other.to_owned())),
    };
    // Watched before the first look, so that nothing is missed in between.
    let changes = if options.follow {
        Some(Changes::of_contents(directory)?)
    } else {
        None
    };
    let parts = names
        .iter()
        .map(|name| Part::new(directory.join(name)))
        .collect();
    let log = Log {
        directory: directory.to_owned(),
        parts,
        changes,
        ready: VecDeque::new(),
        left: options.limit_bytes.unwrap_or(u64::MAX),
        ending: false,
    };
    let log = match options.tail_lines {
        Some(lines) => log.skip_to_last(lines).await?,
        None => log,
    };
    Ok(Box::pin(futures::stream::unfold(Some(log), |log| async {
        let mut log = log?;
        match log.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(log))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })))
}

/// One file of a log, and how far it was read.
struct Part {
    path: PathBuf,
    open: Option<Open>,
    /// Where to go on in a file that replaced the one that was open.
    resume_at: u64,
}

struct Open {
    file: File,
    inode: u64,
    read: u64,
}

impl Part {
    fn new(path: PathBuf) -> Self {
        // A launcher that bounds a file replaces it by its younger half: what was open is still
        // read to its end, and the rest of the new one follows after that half.
        let named = |known: &&(&str, u64)| path.file_name().is_some_and(|name| name == known.0);
        let half = BOUNDED.iter().find(named).map(|(_, bytes)| bytes / 2);
        Self {
            resume_at: half.unwrap_or_default(),
            path,
            open: None,
        }
    }

    /// The next piece.
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(open) = &mut self.open
            && let Some(piece) = open.next().await?
        {
            return Ok(Some(piece));
        }
        let file = match File::open(&self.path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let inode = file.metadata().await?.ino();
        let read = match &self.open {
            Some(open) if open.inode == inode => return Ok(None),
            Some(_) => self.resume_at,
            None => 0,
        };
        self.open.insert(Open { file, inode, read }).next().await
    }
}

impl Open {
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let length = self.file.metadata().await?.len();
        if length < self.read {
            // It was cut: what it has now is new.
            self.read = 0;
        }
        if length == self.read {
            return Ok(None);
        }
        self.file.seek(io::SeekFrom::Start(self.read)).await?;
        let mut piece = vec![0; PIECE];
        let count = self.file.read(&mut piece).await?;
        piece.truncate(count);
        self.read += count as u64;
        Ok((count > 0).then_some(piece))
    }
}

struct Log {
    directory: PathBuf,
    parts: Vec<Part>,
    changes: Option<Changes>,
    ready: VecDeque<Vec<u8>>,
    left: u64,
    ending: bool,
}

impl Log {
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let Some(mut piece) = self.next_piece().await? else {
            return Ok(None);
        };
        let room = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(piece.len());
        piece.truncate(room);
        self.left -= room as u64;
        Ok(Some(piece))
    }

    async fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            for part in &mut self.parts {
                if let Some(piece) = part.next().await? {
                    return Ok(Some(piece));
                }
            }
            let Some(changes) = &mut self.changes else {
                return Ok(None);
            };
            // Once the guest has ended, one more look is all.
            if self.ending {
                return Ok(None);
            }
            if crate::machine::is_over(&self.directory)? {
                self.ending = true;
                continue;
            }
            changes.next().await?;
        }
    }

    /// Reads all there is now, and keeps the last lines.
    async fn skip_to_last(mut self, lines: u64) -> io::Result<Self> {
        let mut kept: VecDeque<Vec<u8>> = VecDeque::new();
        let mut bytes = 0;
        for part in &mut self.parts {
            while let Some(piece) = part.next().await? {
                bytes += piece.len() as u64;
                kept.push_back(piece);
                while bytes > TAIL_BYTES && kept.len() > 1 {
                    bytes -= kept.pop_front().map_or(0, |piece| piece.len() as u64);
                }
            }
        }
        let all: Vec<u8> = kept.into_iter().flatten().collect();
        let start = start_of_last(&all, lines);
        if start < all.len() {
            self.ready.push_back(all[start..].to_vec());
        }
        Ok(self)
    }
}

/// Where the last `lines` lines begin; an unfinished one counts.
fn start_of_last(text: &[u8], lines: u64) -> usize {
    if lines == 0 {
        return text.len();
    }
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let mut left = lines;
    for (index, byte) in body.iter().enumerate().rev() {
        if *byte == b'\n' {
            left -= 1;
            if left == 0 {
                return index + 1;
            }
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt as _;

    async fn text(stream: LogStream) -> String {
        let pieces: Vec<_> = stream.map(|piece| piece.expect("readable")).collect().await;
        String::from_utf8(pieces.concat()).expect("text")
    }

    async fn console(options: LogOptions, directory: &Path) -> LogStream {
        open(directory, containers::GUEST_CONSOLE_LOG, options)
            .await
            .expect("opened")
    }

    #[test]
    fn last_lines_are_counted_with_and_without_an_end() {
        for (text, lines, expected) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\n", 9, "a\nb\n"),
            ("a\n", 0, ""),
            ("", 3, ""),
        ] {
            assert_eq!(&text[start_of_last(text.as_bytes(), lines)..], expected);
        }
    }

    #[tokio::test]
    async fn the_console_is_its_first_bytes_then_its_last_cut_as_asked() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(files::SERIAL_LOG), "one\ntwo\n").expect("written");
        std::fs::write(directory.path().join(files::SERIAL_TAIL_LOG), "three\n").expect("written");
        let all = console(LogOptions::default(), directory.path()).await;
        assert_eq!(text(all).await, "one\ntwo\nthree\n");
        let options = LogOptions {
            tail_lines: Some(2),
            ..LogOptions::default()
        };
        assert_eq!(
            text(console(options, directory.path()).await).await,
            "two\nthree\n"
        );
        let options = LogOptions {
            limit_bytes: Some(5),
            ..LogOptions::default()
        };
        assert_eq!(
            text(console(options, directory.path()).await).await,
            "one\ntw"[..5]
        );
    }

    #[tokio::test]
    async fn a_followed_log_goes_on_until_the_guest_has_ended() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(files::SERIAL_LOG);
        std::fs::write(&path, "one\n").expect("written");
        let options = LogOptions {
            follow: true,
            ..LogOptions::default()
        };
        let mut log = console(options, directory.path()).await;
        assert_eq!(
            log.next().await.expect("a piece").expect("readable"),
            b"one\n"
        );
        std::fs::write(&path, "one\ntwo\n").expect("written");
        assert_eq!(
            log.next().await.expect("a piece").expect("readable"),
            b"two\n"
        );
        std::fs::write(directory.path().join(files::EXIT), "{}").expect("written");
        assert!(log.next().await.is_none());
    }

    #[tokio::test]
    async fn a_file_replaced_by_its_younger_half_is_followed_without_gap_or_repetition() {
        for (name, bound) in BOUNDED {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join(name);
            let mut part = Part::new(path.clone());
            let mut next = async || part.next().await.expect("readable");
            std::fs::write(&path, "older\n").expect("written");
            assert_eq!(next().await.as_deref(), Some(&b"older\n"[..]), "{name}");
            std::fs::write(&path, "older\nlast words\n").expect("written");
            let mut young = vec![b'x'; usize::try_from(bound / 2).expect("it fits")];
            young.extend(b"new\n");
            let aside = directory.path().join("aside");
            std::fs::write(&aside, young).expect("written");
            std::fs::rename(&aside, &path).expect("replaced");
            let rest = next().await;
            assert_eq!(rest.as_deref(), Some(&b"last words\n"[..]), "{name}");
            assert_eq!(next().await.as_deref(), Some(&b"new\n"[..]), "{name}");
            assert_eq!(next().await, None, "{name}");
        }
    }

    #[tokio::test]
    async fn what_is_not_served_is_refused_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        for (container, options, word) in [
            ("sidecar", LogOptions::default(), "sidecar"),
            (
                "compute",
                LogOptions {
                    previous: true,
                    ..LogOptions::default()
                },
                "previous",
            ),
            (
                "compute",
                LogOptions {
                    timestamps: true,
                    ..LogOptions::default()
                },
                "timestamps",
            ),
        ] {
            let error = open(directory.path(), container, options)
                .await
                .err()
                .expect("refused");
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
