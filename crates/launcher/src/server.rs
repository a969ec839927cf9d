//! The launcher's socket: each connection carries one request of [`api::launcher`].

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use api::launcher::{LARGEST_REQUEST_BYTES, Reply, Request, Status};
use bytes::{Bytes, BytesMut};
use qemu::qmp::Command;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore, oneshot, watch};

use crate::life::{Input, Refusal};
use crate::monitor::Monitor;
use crate::owner::{Attachable, Desk, Order};
use crate::screen::{self, Manner, Viewers};
use crate::screenshot;
use crate::usage;

/// Connections at a time: the node has two or three, people a few; more would be a mistake that
/// must not use up our open files.
pub(crate) const MOST_CLIENTS: usize = 64;
/// A client that has not sent its request by then is hung.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// A client that does not take its answer by then is hung.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Whoever waits longer for those who want the screen too waits for a QEMU that hangs: each of them takes a
/// millisecond, and gives up when the monitor does.
const SCREEN_WITHIN: Duration = Duration::from_secs(30);

/// The last answers of a launcher that ends are sent at once, if their clients take them.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Room for the clients there may be at a time.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MOST_CLIENTS)))
    }

    /// Waits until the clients have their last answers.
    pub(crate) async fn left(self) {
        let all = u32::try_from(MOST_CLIENTS).unwrap_or(u32::MAX);
        if tokio::time::timeout(LAST_ANSWERS_WITHIN, self.0.acquire_many(all))
            .await
            .is_err()
        {
            tracing::warn!("the launcher ends while clients are still connected");
        }
    }
}

/// Answers for ever.
pub(crate) async fn serve(listener: UnixListener, desk: Desk, room: Room) {
    let screen = Arc::new(Mutex::new(Viewers::none()));
    let guest = desk.guest.clone();
    tokio::spawn(end_with_guest(Arc::clone(&screen), guest));
    let pictures = Arc::new(Mutex::new(()));
    let mut failing = false;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Usually no open files are left; some will be closed. Told once, not each time.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!("cannot accept a client: {error}");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        failing = false;
        match host::socket::peer(&stream) {
            Ok(peer) if peer.trusted() => {}
            Ok(peer) => {
                tracing::warn!("a client with uid {} was turned away", peer.uid);
                continue;
            }
            Err(error) => {
                tracing::warn!("a client without a name was turned away: {error}");
                continue;
            }
        }
        let connection = Connection {
            stream,
            desk: desk.clone(),
            screen: Arc::clone(&screen),
            pictures: Arc::clone(&pictures),
        };
        match Arc::clone(&room.0).try_acquire_owned() {
            Ok(permit) => {
                tokio::spawn(async move {
                    connection.serve().await;
                    drop(permit);
                });
            }
            Err(_) => {
                tokio::spawn(connection.turn_away());
            }
        }
    }
}

/// Who looks at it. Locked from the look at them until the next one has its place, so that of two who come at once one
/// is the first.
type Screen = Arc<Mutex<Viewers<Monitor>>>;

/// Ends the viewers' connections with their QEMU, whose end leaves our copies open. Returns when no guest can come.
async fn end_with_guest(screen: Screen, mut guest: watch::Receiver<Option<Attachable>>) {
    let is_alive = |guest: &Option<Attachable>| {
        let guest = guest.as_ref();
        guest.is_some_and(|guest| !guest.monitor.is_closed())
    };
    loop {
        let monitor = match guest.wait_for(is_alive).await {
            Ok(guest) => guest.as_ref().map(|guest| guest.monitor.clone()),
            Err(_) => return,
        };
        if let Some(monitor) = monitor {
            monitor.closed().await;
            screen.lock().await.end(Monitor::is_closed);
        }
    }
}

struct Connection {
    stream: UnixStream,
    desk: Desk,
    screen: Screen,
    /// One picture at a time: QEMU does nothing else while it makes one.
    pictures: Arc<Mutex<()>>,
}

impl Connection {
    async fn turn_away(mut self) {
        let message = format!("{MOST_CLIENTS} clients are connected already");
        answer(
            &mut self.stream,
            &refused(Refusal {
                reason: "TooManyClients",
                message,
            }),
        )
        .await;
    }

    async fn serve(mut self) {
        let read = tokio::time::timeout(REQUEST_WITHIN, read_request(&mut self.stream)).await;
        let (request, early) = match read {
            Ok(Ok(Some(read))) => read,
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(refusal)) => {
                answer(&mut self.stream, &refused(refusal)).await;
                return;
            }
        };
        let order = match request {
            Request::Status => {
                self.answer_status(Ok(())).await;
                return;
            }
            Request::Watch => return self.watch().await,
            Request::Console => return self.console(early).await,
            Request::Vnc => return self.vnc(early, Manner::TakesOver).await,
            Request::VncUnlessInUse => return self.vnc(early, Manner::UnlessInUse).await,
            Request::VncShared => return self.vnc(early, Manner::Shares).await,
            Request::Usage => return self.usage().await,
            Request::Screenshot { move_pointer } => return self.screenshot(move_pointer).await,
            Request::Start(request) => Order::Start(request),
            Request::Prepare(request) => Order::Prepare(request),
            Request::Stop {
                grace_period_seconds,
            } => Order::Do(Input::Stop {
                grace: Duration::from_secs(grace_period_seconds),
            }),
            Request::Kill => Order::Do(Input::Kill),
            Request::Pause => Order::Do(Input::Pause),
            Request::Unpause => Order::Do(Input::Unpause),
            Request::End => Order::Do(Input::End),
            Request::Keep { directory } => Order::Keep(directory),
            Request::Save {
                directory,
                go_on,
                renewable,
            } => Order::Save(crate::warm::save::Manner {
                directory,
                go_on,
                renewable,
            }),
        };
        let result = self.order(order).await;
        self.answer_status(result).await;
    }

    async fn order(&self, order: Order) -> Result<(), Refusal> {
        let gone = || Refusal {
            reason: "Leaving",
            message: "the launcher is ending".to_owned(),
        };
        let (answer, answered) = oneshot::channel();
        self.desk
            .orders
            .send((order, answer))
            .await
            .map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    fn status(&self) -> Status {
        let mut status = self.desk.status.borrow().clone();
        // Fresher than what is published once a second.
        if let Some(serial) = self
            .desk
            .guest
            .borrow()
            .as_ref()
            .and_then(|guest| guest.serial.as_ref())
        {
            status.serial_bytes = serial.bytes();
        }
        status
    }

    async fn answer_status(&mut self, result: Result<(), Refusal>) -> bool {
        let reply = match result {
            Ok(()) => Reply::Ok(Box::new(self.status())),
            Err(refusal) => refused(refusal),
        };
        answer(&mut self.stream, &reply).await
    }

    async fn watch(mut self) {
        self.desk.status.mark_changed();
        let mut nothing = [0; 64];
        loop {
            tokio::select! {
                changed = self.desk.status.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.desk.status.borrow_and_update();
                    if !self.answer_status(Ok(())).await {
                        return;
                    }
                }
                // The client closes, or breaks the protocol.
                _ = self.stream.read(&mut nothing) => return,
            }
        }
    }

    async fn usage(mut self) {
        if self.answer_status(Ok(())).await {
            usage::serve(self.stream, self.desk.guest).await;
        }
    }

    fn guest(&self) -> Result<Attachable, Refusal> {
        self.desk.guest.borrow().clone().ok_or_else(|| Refusal {
            reason: "NotRunning",
            message: format!(
                "no guest runs: its state is {:?}",
                self.desk.status.borrow().state
            ),
        })
    }

    async fn console(mut self, early: Bytes) {
        let serial = self.guest().and_then(|guest| {
            guest.serial.ok_or_else(|| Refusal {
                reason: "NoSerialConsole",
                message: "the guest has no serial console (autoattachSerialConsole: false)"
                    .to_owned(),
            })
        });
        match serial {
            Ok(serial) => {
                if self.answer_status(Ok(())).await {
                    serial.serve(self.stream, early).await;
                }
            }
            Err(refusal) => {
                self.answer_status(Err(refusal)).await;
            }
        }
    }

    /// The client's own connection is handed to QEMU, so that not a byte of it passes through here.
    async fn vnc(mut self, early: Bytes, manner: Manner) {
        let waited = Arc::clone(&self.screen).lock_owned();
        let Ok(mut screen) = tokio::time::timeout(SCREEN_WITHIN, waited).await else {
            let message = "QEMU does not answer those who want its screen".to_owned();
            let reason = "Busy";
            self.answer_status(Err(Refusal { reason, message })).await;
            return;
        };
        let handed = match screen.admit(manner) {
            Ok(()) => self.hand_over(early).await,
            Err(refusal) => Err(refusal),
        };
        let (guest, name) = match handed {
            Ok(handed) => handed,
            Err(refusal) => {
                self.answer_status(Err(refusal)).await;
                return;
            }
        };
        // QEMU speaks first on it, so our answer goes before.
        if !self.answer_status(Ok(())).await {
            return;
        }
        let added = guest.monitor.ask(Command::AddVncClient { name }).await;
        let own = match self.stream.into_std() {
            Ok(own) => OwnedFd::from(own),
            Err(error) => {
                tracing::warn!("a VNC client's connection is lost: {error}");
                return;
            }
        };
        match added {
            Ok(_) => screen.add(manner, own, guest.monitor),
            Err(error) => {
                tracing::warn!("a VNC client could not be added: {error}");
                // QEMU may hold a copy; this ends it for the client all the same.
                screen::close(&own);
            }
        }
    }

    async fn screenshot(mut self, move_pointer: bool) {
        let taken = match self.guest_with_screen() {
            Ok(guest) => {
                let _one = self.pictures.lock().await;
                let taken = screenshot::take(&guest.monitor, move_pointer).await;
                taken.map_err(|error| Refusal {
                    reason: "QemuFailed",
                    message: error.to_string(),
                })
            }
            Err(refusal) => Err(refusal),
        };
        match taken {
            Ok(picture) => {
                if self.answer_status(Ok(())).await {
                    // A client that does not take it has gone, or hangs.
                    let sent = self.stream.write_all(&picture);
                    let _ = tokio::time::timeout(ANSWER_WITHIN, sent).await;
                }
            }
            Err(refusal) => {
                self.answer_status(Err(refusal)).await;
            }
        }
    }

    fn guest_with_screen(&self) -> Result<Attachable, Refusal> {
        let guest = self.guest()?;
        if guest.graphics {
            return Ok(guest);
        }
        Err(Refusal {
            reason: "NoGraphics",
            message: "the guest has no graphics card (autoattachGraphicsDevice: false)".to_owned(),
        })
    }

    async fn hand_over(&self, early: Bytes) -> Result<(Attachable, String), Refusal> {
        let guest = self.guest_with_screen()?;
        if !early.is_empty() {
            return Err(Refusal {
                reason: "SpokeFirst",
                message: "a VNC client waits for the server's first words".to_owned(),
            });
        }
        let failed = |error: String| Refusal {
            reason: "QemuFailed",
            message: error,
        };
        let copy = std::os::fd::AsFd::as_fd(&self.stream)
            .try_clone_to_owned()
            .map_err(|error| failed(error.to_string()))?;
        // The same name each time: QEMU forgets it when it is used, or when it comes again.
        let name = "vnc-client".to_owned();
        let take = Command::TakeDescriptor { name: name.clone() };
        guest
            .monitor
            .ask_with(take, Some(copy))
            .await
            .map_err(|error| failed(error.to_string()))?;
        Ok((guest, name))
    }
}

fn refused(refusal: Refusal) -> Reply {
    Reply::Refused {
        reason: refusal.reason.to_owned(),
        message: refusal.message,
    }
}

/// One line. False: the client is gone.
async fn answer(stream: &mut UnixStream, reply: &Reply) -> bool {
    let mut line = match serde_json::to_vec(reply) {
        Ok(line) => line,
        Err(error) => {
            tracing::error!("a reply cannot be written: {error}");
            return false;
        }
    };
    line.push(b'\n');
    matches!(
        tokio::time::timeout(ANSWER_WITHIN, stream.write_all(&line)).await,
        Ok(Ok(()))
    )
}

/// The request, and what the client sent after it; `None` if it sent nothing whole.
async fn read_request(stream: &mut UnixStream) -> Result<Option<(Request, Bytes)>, Refusal> {
    let mut bytes = BytesMut::with_capacity(8 << 10);
    let mut looked = 0;
    loop {
        if let Some(end) = bytes[looked..].iter().position(|byte| *byte == b'\n') {
            let line = bytes.split_to(looked + end + 1);
            let request = serde_json::from_slice(&line).map_err(|error| Refusal {
                reason: "BadRequest",
                message: format!("the request is not understood: {error}"),
            })?;
            return Ok(Some((request, bytes.freeze())));
        }
        looked = bytes.len();
        if looked >= LARGEST_REQUEST_BYTES {
            return Err(Refusal {
                reason: "RequestTooLarge",
                message: format!("the request has more than {LARGEST_REQUEST_BYTES} bytes"),
            });
        }
        match stream.read_buf(&mut bytes).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Ok(None),
        }
    }
}
