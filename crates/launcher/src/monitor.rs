//! The connection to QEMU's monitor: one task that reads and writes, and a handle that asks.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use qemu::qmp::{Command, CommandError, CommandId, Event, Incoming, Session, SessionError};
use qemu::version::Version;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::Value;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

/// Events wait here until the owner takes them; QEMU itself limits how often it repeats one.
const WAITING_EVENTS: usize = 256;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MonitorError {
    /// QEMU refused.
    #[error("QEMU refused {command}: {source}")]
    Refused {
        /// Our command.
        command: String,
        /// QEMU's words.
        source: CommandError,
    },
    /// QEMU does not answer.
    #[error("QEMU did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// The connection is closed.
    #[error("the connection to QEMU's monitor is closed")]
    Closed,
    /// The connection failed.
    #[error("the connection to QEMU's monitor failed: {0}")]
    Io(#[from] io::Error),
    /// What came is not QMP.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// An answer without the fields it should have.
    #[error("QEMU's answer to {0} is not understood")]
    Answer(&'static str),
}

/// Asks QEMU.
#[derive(Clone, Debug)]
pub(crate) struct Monitor {
    asks: mpsc::Sender<Ask>,
    /// QEMU answers within a millisecond; on a machine whose processors are all busy with emulation,
    /// within seconds. Beyond this it hangs.
    answers_within: Duration,
}

#[derive(Debug)]
struct Ask {
    command: Command,
    descriptor: Option<OwnedFd>,
    answer: oneshot::Sender<Result<Value, CommandError>>,
}

/// A monitor that is ready for commands.
#[derive(Debug)]
pub(crate) struct Connected {
    /// Asks it.
    pub(crate) monitor: Monitor,
    /// What it says. Ends when QEMU's end is closed and all was read.
    pub(crate) events: mpsc::Receiver<Event>,
    /// QEMU's version.
    pub(crate) version: Version,
}

impl Monitor {
    /// Waits for QEMU's greeting on `stream` and gets it ready for commands. The caller puts a
    /// deadline on it. Each later answer must come within `answers_within`.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub(crate) async fn connect(
        stream: UnixStream,
        answers_within: Duration,
    ) -> Result<Connected, MonitorError> {
        let mut session = Session::new();
        let mut version = None;
        let mut buffer = vec![0; 4096];
        while version.is_none() {
            for incoming in receive(&stream, &mut session, &mut buffer).await? {
                if let Incoming::Greeting(greeted) = incoming {
                    version = Some(greeted);
                }
            }
        }
        let (asks, asked) = mpsc::channel(16); // as many as clients may ask at once; others wait
        let (say, events) = mpsc::channel(WAITING_EVENTS);
        let task = Task {
            stream,
            session,
            say,
            pending: BTreeMap::new(),
        };
        tokio::spawn(task.run(asked));
        let monitor = Self {
            asks,
            answers_within,
        };
        monitor.ask(Command::Capabilities).await?;
        let version = version.ok_or(MonitorError::Answer("its greeting"))?;
        Ok(Connected {
            monitor,
            events,
            version,
        })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`MonitorError`], at the latest after the time that was given at the start.
    pub(crate) async fn ask(&self, command: Command) -> Result<Value, MonitorError> {
        self.ask_with(command, None).await
    }

    /// Asks all, and waits for the answers. QEMU does one after the other, without waiting for us in between, and the
    /// later ones even if it refuses an earlier one.
    ///
    /// # Errors
    /// The first of them, as [`Monitor::ask`] has it.
    pub(crate) async fn ask_all(
        &self,
        commands: impl IntoIterator<Item = Command>,
    ) -> Result<(), MonitorError> {
        let asked = async {
            let mut answers = Vec::new();
            for command in commands {
                let words = format!("{command:?}");
                let (answer, answered) = oneshot::channel();
                let ask = Ask {
                    command,
                    descriptor: None,
                    answer,
                };
                let sent = self.asks.send(ask).await;
                sent.map_err(|_| MonitorError::Closed)?;
                answers.push((words, answered));
            }
            for (command, answered) in answers {
                let answer = answered.await.map_err(|_| MonitorError::Closed)?;
                answer.map_err(|source| MonitorError::Refused { command, source })?;
            }
            Ok(())
        };
        let result = tokio::time::timeout(self.answers_within, asked).await;
        result.map_err(|_| MonitorError::Silent(self.answers_within))?
    }

    /// Waits until QEMU's end of the connection is closed, as it is when QEMU has ended.
    pub(crate) async fn closed(&self) {
        self.asks.closed().await;
    }

    /// Is QEMU's end closed?
    pub(crate) fn is_closed(&self) -> bool {
        self.asks.is_closed()
    }

    /// As [`Monitor::ask`], and sends `descriptor` along.
    ///
    /// # Errors
    /// As [`Monitor::ask`].
    pub(crate) async fn ask_with(
        &self,
        command: Command,
        descriptor: Option<OwnedFd>,
    ) -> Result<Value, MonitorError> {
        let words = format!("{command:?}");
        let (answer, answered) = oneshot::channel();
        let asked = async {
            let ask = Ask {
                command,
                descriptor,
                answer,
            };
            self.asks
                .send(ask)
                .await
                .map_err(|_| MonitorError::Closed)?;
            answered.await.map_err(|_| MonitorError::Closed)
        };
        let result = tokio::time::timeout(self.answers_within, asked).await;
        result
            .map_err(|_| MonitorError::Silent(self.answers_within))??
            .map_err(|source| MonitorError::Refused {
                command: words,
                source,
            })
    }

    /// Whether KVM runs the guest.
    ///
    /// # Errors
    /// As [`Monitor::ask`].
    pub(crate) async fn kvm_enabled(&self) -> Result<bool, MonitorError> {
        let answer = self.ask(Command::QueryKvm).await?;
        Command::kvm_enabled(&answer).ok_or(MonitorError::Answer("query-kvm"))
    }

    /// Processor features that were asked for and are not given. None on ARM, whose QEMU refuses
    /// to start instead.
    ///
    /// # Errors
    /// As [`Monitor::ask`].
    pub(crate) async fn missing_features(&self) -> Result<Vec<String>, MonitorError> {
        let answer = self.ask(Command::QueryProcessors).await?;
        let first =
            Command::first_processor(&answer).ok_or(MonitorError::Answer("query-cpus-fast"))?;
        let ask = Command::QueryMissingFeatures {
            processor: first.to_owned(),
        };
        let answer = self.ask(ask).await?;
        serde_json::from_value(answer).map_err(|_| MonitorError::Answer("qom-get"))
    }

    /// The machine type, with its version.
    ///
    /// # Errors
    /// As [`Monitor::ask`].
    pub(crate) async fn machine_type(&self) -> Result<String, MonitorError> {
        let answer = self.ask(Command::QueryMachineType).await?;
        let name = Command::machine_type(&answer).ok_or(MonitorError::Answer("qom-get"))?;
        Ok(name.to_owned())
    }
}

async fn receive(
    stream: &UnixStream,
    session: &mut Session,
    buffer: &mut [u8],
) -> Result<Vec<Incoming>, MonitorError> {
    loop {
        stream.readable().await?;
        match stream.try_read(buffer) {
            Ok(0) => return Err(MonitorError::Closed),
            Ok(count) => return Ok(session.receive(&buffer[..count])?),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

struct Task {
    stream: UnixStream,
    session: Session,
    say: mpsc::Sender<Event>,
    pending: BTreeMap<CommandId, oneshot::Sender<Result<Value, CommandError>>>,
}

impl Task {
    /// Ends when QEMU's end is closed, and then everybody who waits sees that it did.
    async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        let mut buffer = vec![0; 16 << 10];
        let mut asking = true;
        loop {
            tokio::select! {
                incoming = receive(&self.stream, &mut self.session, &mut buffer) => match incoming {
                    Ok(incoming) => self.take(incoming).await,
                    Err(MonitorError::Closed) => return,
                    Err(error) => {
                        tracing::warn!("{error}");
                        return;
                    }
                },
                // When all handles are gone, events still matter.
                ask = asked.recv(), if asking => match ask {
                    Some(ask) => {
                        if let Err(error) = self.send(ask).await {
                            tracing::warn!("{error}");
                            return;
                        }
                    }
                    None => asking = false,
                },
            }
        }
    }

    async fn take(&mut self, incoming: Vec<Incoming>) {
        for incoming in incoming {
            match incoming {
                Incoming::Answer { id, result } => {
                    // Whoever asked may have gone.
                    let _ = self.pending.remove(&id).map(|answer| answer.send(result));
                }
                Incoming::Event(Event::Other { .. }) | Incoming::Greeting(_) => {}
                Incoming::Event(event) => {
                    // The owner is gone only when the launcher ends.
                    let _ = self.say.send(event).await;
                }
                Incoming::Garbage(line) => tracing::warn!("QEMU's monitor sent no message: {line}"),
            }
        }
    }

    async fn send(&mut self, ask: Ask) -> Result<(), MonitorError> {
        let (id, bytes) = self.session.send(&ask.command)?;
        let mut rest = &bytes[..];
        let mut descriptor = ask.descriptor;
        while !rest.is_empty() {
            let sent = send_some(&self.stream, rest, descriptor.as_ref()).await?;
            // It went along with the first bytes.
            descriptor = None;
            rest = &rest[sent..];
        }
        self.pending.insert(id, ask.answer);
        Ok(())
    }
}

async fn send_some(
    stream: &UnixStream,
    bytes: &[u8],
    descriptor: Option<&OwnedFd>,
) -> io::Result<usize> {
    stream
        .async_io(Interest::WRITABLE, || {
            let descriptors: Vec<_> = descriptor.iter().map(|file| file.as_fd()).collect();
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&descriptors));
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut control, flags)
                .map_err(io::Error::from)
        })
        .await
}
