//! The guest's serial line: everything is read, the first and the last of it is kept in files,
//! and at most one client at a time sees it and types into it.
//!
//! A guest may write without end, and a client may never read: neither ever blocks the other, and
//! neither takes more memory or disk than the bounds below.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::launcher::files;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use crate::bounded_file::{Head, Tail};

/// What is read from QEMU at once.
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks that wait for a client: 4 MiB, what a guest writes in the seconds in which a slow
/// network catches up. More is left out, and counted.
const WAITING_CHUNKS: usize = 256;
/// Pieces of input that wait for the guest, of at most [`INPUT_BYTES`] each. Then the client waits.
const WAITING_INPUT: usize = 4;
/// A client's input is read in pieces of this size.
const INPUT_BYTES: usize = 4 << 10;
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
    /// it, the continued log of the guest's first start. `first` is told of the first byte.
    ///
    /// # Errors
    /// If the log cannot be made.
    pub(crate) fn start(
        line: UnixStream,
        directory: &Path,
        first: oneshot::Sender<()>,
        marks: Option<&str>,
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
        tokio::spawn(read_line(reader, log, attached, Arc::clone(&count), first));
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
    first: oneshot::Sender<()>,
) {
    let mut first = Some(first);
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
                if let Some(first) = first.take() {
                    // Only for the record; nobody needs to hear it.
                    let _ = first.send(());
                }
                log.write(bytes);
                left_out += show(&mut client, bytes);
                if left_out > 0 && client.is_none() {
                    tracing::warn!("a console client was too slow: {left_out} bytes were left out");
                    left_out = 0;
                }
            }
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
