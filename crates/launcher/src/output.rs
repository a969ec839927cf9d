//! What a program writes to its standard error: kept in a file of bounded size, and its last
//! lines for error messages.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::launcher::files;
use host::process::Stream;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use crate::bounded_file::Tail;

/// Of what is quoted.
const QUOTED_BYTES: usize = 1024;
/// The end of a program closes the stream at once, unless a child of it lives on.
const CLOSES_WITHIN: Duration = Duration::from_secs(1);

/// The stream of one program.
#[derive(Debug)]
pub(crate) struct Output {
    last: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Output {
    /// A stream for a program that is to be started, kept in the file `log`.
    ///
    /// # Errors
    /// If the pipe or the file cannot be made.
    pub(crate) fn to_file(log: &Path) -> io::Result<(Self, Stream)> {
        let (reader, writer) = io::pipe()?;
        let mut file = Tail::open(log, files::PROGRAM_LOG_BYTES)?;
        let mut reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
        let last = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&last);
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                let bytes = &buffer[..count];
                if let Err(error) = file.write(bytes) {
                    tracing::warn!("a log is incomplete: {error}");
                }
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(bytes);
                let excess = kept.len().saturating_sub(QUOTED_BYTES);
                kept.drain(..excess);
            }
        });
        Ok((Self { last, reader }, Stream::File(writer.into())))
    }

    /// The last lines so far; empty if it said nothing of interest.
    pub(crate) fn so_far(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        of_interest(&String::from_utf8_lossy(&last))
    }

    /// The last lines, after the program has ended; empty if it said nothing of interest.
    pub(crate) async fn last_words(mut self) -> String {
        // Its end matters less than the answer.
        let _ = tokio::time::timeout(CLOSES_WITHIN, &mut self.reader).await;
        self.so_far()
    }
}

/// Without what QEMU says of each start: that it waits for our own connection, and its own name.
fn of_interest(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("info: QEMU waiting for connection"))
        .map(|line| {
            line.split_once(": ")
                .filter(|(program, _)| program.starts_with("qemu-system"))
                .map_or(line, |(_, words)| words)
        })
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = lines.len().saturating_sub(5);
    lines[from..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_quoted_without_noise() {
        let text = "qemu-system-x86_64: -chardev x: info: QEMU waiting for connection on: y\n\
                    qemu-system-x86_64: -accel kvm: Could not access KVM kernel module: Permission denied\n\n\
                    failed to initialize kvm: Permission denied\n";
        assert_eq!(
            of_interest(text),
            "-accel kvm: Could not access KVM kernel module: Permission denied; failed to initialize kvm: Permission denied"
        );
        assert_eq!(of_interest(""), "");
        assert_eq!(of_interest(&"line\n".repeat(50)).matches("line").count(), 5);
    }
}
