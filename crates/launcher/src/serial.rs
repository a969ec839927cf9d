//! The guest's serial line: everything is read, the first and the last of it is kept in files,
//! and at most one client at a time sees it and types into it.
//!
//! A guest may write without end, and a client may never read: neither ever blocks the other, and
//! neither takes more memory or disk than the bounds below.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::launcher::{files, milestones};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::bounded_file::{Head, Tail};
use crate::markers::{Origin, Scanner};
use crate::start::Progress;

/// What is read from QEMU at once.
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks that wait for a client: 4 MiB, what a guest writes in the seconds in which a slow
/// network catches up. More is left out, and counted.
const WAITING_CHUNKS: usize = 256;
/// Pieces of input that wait for the guest, of at most [`INPUT_BYTES`] each. Then the client waits.
const WAITING_INPUT: usize = 4;
/// A client's input is read in pieces of this size.
const INPUT_BYTES: usize = 4 << 10;
/// What may be a shell's prompt is one if nothing more comes for so long. An emulated guest on a
/// busy machine pauses within a line for tens of milliseconds.
const PROMPT_SETTLES: Duration = Duration::from_secs(1);
/// A client that takes nothing for so long is gone.
const CLIENT_STALLS: Duration = Duration::from_secs(60);

/// A handle to the line.
#[derive(Clone, Debug)]
pub(crate) struct Serial {
    attach: mpsc::Sender<Client>,
    input: mpsc::Sender<Bytes>,
    count: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Client {
    output: mpsc::Sender<Bytes>,
}

impl Serial {
    /// Reads `line` from now on, with its log in `directory`: a new one, or, with a line that `marks`
    /// it, the continued log of the guest's first start. `progress` is told of the first byte and
    /// of the steps of the start that the guest tells of.
    ///
    /// # Errors
    /// If the log cannot be made.
    pub(crate) fn start(
        line: UnixStream,
        directory: &Path,
        marks: Option<&str>,
        progress: Progress,
    ) -> std::io::Result<Self> {
        let (head, tail) = (
            directory.join(files::SERIAL_LOG),
            directory.join(files::SERIAL_TAIL_LOG),
        );
        let mut log = match marks {
            None => Log {
                head: Head::create(&head, files::SERIAL_LOG_BYTES)?,
                tail: Tail::create(&tail, files::SERIAL_TAIL_BYTES)?,
                failed: false,
            },
            Some(_) => Log {
                head: Head::open(&head, files::SERIAL_LOG_BYTES)?,
                tail: Tail::open(&tail, files::SERIAL_TAIL_BYTES)?,
                failed: false,
            },
        };
        log.write(marks.unwrap_or_default().as_bytes());
        let (attach, attached) = mpsc::channel(1); // one after the other: the newest replaces
        let (input, typed) = mpsc::channel(WAITING_INPUT);
        let count = Arc::new(AtomicU64::new(0));
        let (reader, writer) = line.into_split();
        let steps = Steps::new(progress);
        tokio::spawn(read_line(reader, log, attached, Arc::clone(&count), steps));
        tokio::spawn(write_line(writer, typed));
        Ok(Self {
            attach,
            input,
            count,
        })
    }

    /// Bytes that the guest has written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until all that the guest has written is read, after its QEMU has ended.
    pub(crate) async fn ended(&self) {
        self.attach.closed().await;
    }

    /// Serves a client until it leaves, a newer one comes, or the guest ends. `early` is what it
    /// sent before.
    pub(crate) async fn serve(&self, client: UnixStream, early: Bytes) {
        let (output, mut shown) = mpsc::channel(WAITING_CHUNKS);
        if self.attach.send(Client { output }).await.is_err() {
            return; // the guest has ended
        }
        let (mut reader, mut writer) = client.into_split();
        let show = async {
            // Ends when the line drops its sender: replaced, or the guest has ended.
            while let Some(bytes) = shown.recv().await {
                let written = tokio::time::timeout(CLIENT_STALLS, writer.write_all(&bytes)).await;
                if !matches!(written, Ok(Ok(()))) {
                    return;
                }
            }
        };
        let typed = async {
            if !early.is_empty() && self.input.send(early).await.is_err() {
                return;
            }
            let mut buffer = vec![0; INPUT_BYTES];
            loop {
                match reader.read(&mut buffer).await {
                    Ok(count @ 1..) => {
                        let bytes = Bytes::copy_from_slice(&buffer[..count]);
                        if self.input.send(bytes).await.is_err() {
                            return;
                        }
                    }
                    Ok(0) | Err(_) => return,
                }
            }
        };
        tokio::select! {
            () = show => {}
            () = typed => {}
        }
    }
}

async fn write_line(mut line: OwnedWriteHalf, mut typed: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = typed.recv().await {
        if line.write_all(&bytes).await.is_err() {
            return; // QEMU has ended
        }
    }
}

async fn read_line(
    mut line: OwnedReadHalf,
    mut log: Log,
    mut attached: mpsc::Receiver<Client>,
    count: Arc<AtomicU64>,
    mut steps: Steps,
) {
    let mut client: Option<Client> = None;
    let mut left_out = 0_u64;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        tokio::select! {
            newer = attached.recv() => match newer {
                // The older one's sender is dropped here, which ends it.
                Some(newer) => client = Some(newer),
                None => return,
            },
            read = line.read(&mut buffer) => {
                let Ok(bytes @ 1..) = read else {
                    return; // QEMU has ended
                };
                let bytes = &buffer[..bytes];
                count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                steps.take(bytes);
                log.write(bytes);
                left_out += show(&mut client, bytes);
                if left_out > 0 && client.is_none() {
                    tracing::warn!("a console client was too slow: {left_out} bytes were left out");
                    left_out = 0;
                }
            }
            () = steps.settled() => {}
        }
    }
}

/// The steps of the start, as the line tells of them.
struct Steps {
    progress: Progress,
    scanner: Scanner,
    /// When the last byte came, for the record and for waiting.
    last: Option<(Timestamp, Instant)>,
}

impl Steps {
    fn new(progress: Progress) -> Self {
        Self {
            progress,
            scanner: Scanner::new(Origin::Serial),
            last: None,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.last.is_none() {
            self.progress.reached(milestones::FIRST_BYTE);
        } else if self.scanner.is_done() {
            return;
        }
        let now = Timestamp::now();
        self.last = Some((now, Instant::now()));
        for mark in self.scanner.feed(bytes) {
            self.progress.mark(mark, now);
        }
    }

    /// Waits until the end of what came stands long enough to be a prompt, and tells of it. For
    /// ever if it is none. May be cancelled at any time.
    async fn settled(&mut self) {
        let last = self.last.filter(|_| self.scanner.may_be_prompt());
        let Some((at, instant)) = last else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(instant + PROMPT_SETTLES).await;
        for mark in self.scanner.settled() {
            self.progress.mark(mark, at);
        }
    }
}

/// Gives `bytes` to the client if there is one. Returns how many were left out.
fn show(client: &mut Option<Client>, bytes: &[u8]) -> u64 {
    let Some(sender) = client.as_ref().map(|client| &client.output) else {
        return 0;
    };
    match sender.try_send(Bytes::copy_from_slice(bytes)) {
        Ok(()) => 0,
        Err(mpsc::error::TrySendError::Full(_)) => bytes.len() as u64,
        Err(mpsc::error::TrySendError::Closed(_)) => {
            *client = None;
            0
        }
    }
}

struct Log {
    head: Head,
    tail: Tail,
    failed: bool,
}

impl Log {
    /// A full disk must not stop the guest: it is reported once, and the line goes on.
    fn write(&mut self, bytes: &[u8]) {
        let written = self.head.write(bytes).and_then(|rest| {
            if rest.is_empty() {
                Ok(())
            } else {
                self.tail.write(rest)
            }
        });
        if let Err(error) = written
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::warn!("the guest's serial log is incomplete: {error}");
        }
    }
}
