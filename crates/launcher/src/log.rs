//! What the launcher itself logs: a file of bounded size, into which its standard output and standard
//! error go as well, wherever the file is.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use api::launcher::files;
use rustix::fs::fstat;

use crate::bounded_file::Tail;

/// The log of one launcher. Each write is whole lines.
#[derive(Debug)]
pub struct Log {
    tail: Tail,
    /// Standard output and standard error: are they this file?
    streams: (bool, bool),
}

impl Log {
    /// Opens the log of the launcher in `directory`. Whoever started the launcher may have made the file
    /// its standard output and standard error: these follow when the file is replaced by its younger
    /// half, so that a panic is told in the file that people read.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let tail = Tail::open(&directory.join(files::LOG), files::LOG_BYTES)?;
        let streams = (
            is_same(io::stdout().as_fd(), tail.file())?,
            is_same(io::stderr().as_fd(), tail.file())?,
        );
        Ok(Self { tail, streams })
    }

    fn follow(&self) -> io::Result<()> {
        let file = self.tail.file();
        if self.streams.0 && !is_same(io::stdout().as_fd(), file)? {
            rustix::stdio::dup2_stdout(file)?;
        }
        if self.streams.1 && !is_same(io::stderr().as_fd(), file)? {
            rustix::stdio::dup2_stderr(file)?;
        }
        Ok(())
    }
}

impl Write for Log {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.tail.write(lines)?;
        self.follow()?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_same(stream: BorrowedFd<'_>, file: &File) -> io::Result<bool> {
    let (stream, file) = (fstat(stream)?, fstat(file)?);
    Ok((stream.st_dev, stream.st_ino) == (file.st_dev, file.st_ino))
}
