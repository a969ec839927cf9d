//! The channel of the hook in the guest, which renews it after a restore.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use renewal::protocol::{FromGuest, FromHost, GuestDecoder, Time};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::loan::{self, Loan, Loans};

/// So many notes of one guest are logged: a renewal has some ten, and a guest may say more than the host's disk holds.
const MOST_NOTES: u32 = 200;

/// The host's end.
#[derive(Debug)]
pub(crate) struct Channel {
    stream: UnixStream,
    decoder: GuestDecoder,
    heard: VecDeque<FromGuest>,
    notes: Notes,
}

/// Counts what the guest says for people.
#[derive(Debug, Default)]
struct Notes {
    heard: u32,
}

impl Notes {
    /// What is to be logged of one more.
    fn logged<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        self.heard = self.heard.saturating_add(1);
        match self.heard {
            ..=MOST_NOTES => Some(text),
            heard if heard == MOST_NOTES + 1 => {
                Some("it says too much: nothing more that it notes is logged")
            }
            _ => None,
        }
    }
}

impl Channel {
    /// Over this connection to QEMU.
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            decoder: GuestDecoder::default(),
            heard: VecDeque::new(),
            notes: Notes::default(),
        }
    }

    /// Says it. What nobody in the guest reads yet waits in the channel.
    ///
    /// # Errors
    /// If the message cannot be said, or QEMU has ended.
    pub(crate) async fn say(&mut self, message: &FromHost) -> io::Result<()> {
        let text = message
            .encode()
            .map_err(|fault| io::Error::new(io::ErrorKind::InvalidInput, fault.to_string()))?;
        self.stream.write_all(text.as_bytes()).await
    }

    /// Listens until QEMU has ended: what the hook in a renewed guest does after its proof stands in the log, and whatever
    /// is in the guest is never kept waiting by a full channel. It is lent to those who want to be answered, which the
    /// hook has `within` to do.
    pub(crate) fn listen(self, within: Duration) -> Listening {
        let (loans, mut asked) = loan::loans();
        tokio::spawn(async move {
            let mut channel = self;
            loop {
                tokio::select! {
                    heard = channel.hear() => if heard.is_err() { return },
                    Some(borrower) = asked.recv() => match loan::lend(channel, borrower).await {
                        Some(returned) => channel = returned,
                        None => return,
                    }
                }
            }
        });
        Listening { loans, within }
    }

    /// Tells the hook in a guest that has stood still how late it is.
    ///
    /// # Errors
    /// A sentence: why the guest's clock is not set.
    pub(crate) async fn set_clock(&mut self, within: Duration) -> Result<(), String> {
        let set = async {
            let told = time_now();
            let said = self.say(&FromHost::Clock(told)).await;
            said.map_err(|error| error.to_string())?;
            loop {
                match self.hear().await.map_err(|error| error.to_string())? {
                    FromGuest::ClockSet(shown) if shown.seconds >= told.seconds => return Ok(()),
                    FromGuest::ClockSet(shown) => {
                        return Err(format!("it shows {shown}, and was told {told}"));
                    }
                    FromGuest::Failed(failure) => {
                        let (step, words) = (failure.step.word(), failure.message);
                        return Err(format!("{step}: {words}"));
                    }
                    // What it said before.
                    FromGuest::Hello(_)
                    | FromGuest::Settled(_)
                    | FromGuest::Renewed(_)
                    | FromGuest::Note(_) => {}
                }
            }
        };
        let late = |_| Err(format!("it has not answered within {} s", within.as_secs()));
        tokio::time::timeout(within, set).await.unwrap_or_else(late)
    }

    /// The next thing that the guest says. May be cancelled at any time.
    ///
    /// # Errors
    /// If QEMU has ended.
    pub(crate) async fn hear(&mut self) -> io::Result<FromGuest> {
        // A guest may send what it wants, as fast as it wants: at most one read's worth waits here.
        let mut buffer = [0; 4096];
        loop {
            while let Some(message) = self.heard.pop_front() {
                match message {
                    FromGuest::Note(text) => {
                        if let Some(text) = self.notes.logged(&text) {
                            tracing::info!("the hook in the guest: {text}");
                        }
                    }
                    message => return Ok(message),
                }
            }
            let count = self.stream.read(&mut buffer).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            for heard in self.decoder.feed(&buffer[..count]) {
                match heard {
                    Ok(message) => self.heard.push_back(message),
                    Err(fault) => {
                        if let Some(text) = self.notes.logged(&fault.to_string()) {
                            tracing::debug!("the hook in the guest: {text}");
                        }
                    }
                }
            }
        }
    }
}

/// The port of a hook in a guest that runs, which somebody listens to, whether there is a hook or not.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    loans: Loans<Channel>,
    within: Duration,
}

impl Listening {
    /// Has the guest's clock set.
    ///
    /// # Errors
    /// A sentence: why it is not set.
    pub(crate) async fn set_clock(&self) -> Result<(), String> {
        const ENDED: &str = "the guest has ended";
        let mut loan = self.borrow().await.ok_or(ENDED)?;
        loan.lent().ok_or(ENDED)?.set_clock(self.within).await
    }

    /// Borrows the channel; none: the guest has ended.
    pub(crate) async fn borrow(&self) -> Option<Loan<Channel>> {
        Loan::of(&self.loans).await
    }
}

/// The time of day, as a hook is told it.
pub(crate) fn time_now() -> Time {
    let now = Timestamp::now();
    Time {
        // Both are positive since 1970.
        seconds: now.as_second().unsigned_abs(),
        nanoseconds: now.subsec_nanosecond().unsigned_abs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_says_much_is_logged_so_far_and_no_further() {
        let mut notes = Notes::default();
        let logged: Vec<_> = (0..3 * MOST_NOTES)
            .filter_map(|_| notes.logged("words"))
            .collect();
        let (last, before) = logged.split_last().expect("some");
        assert_eq!(before.len(), 200);
        assert!(before.iter().all(|text| *text == "words"));
        assert!(last.contains("nothing more"), "{last}");
    }

    #[tokio::test]
    async fn what_is_not_logged_is_heard_all_the_same() {
        let (host, mut guest) = UnixStream::pair().expect("a pair");
        let say = async move {
            for _ in 0..=2 * MOST_NOTES {
                let note = FromGuest::Note("words".to_owned()).encode();
                guest.write_all(note.as_bytes()).await.expect("said");
            }
            let settled = FromGuest::Settled("now".to_owned()).encode();
            guest.write_all(settled.as_bytes()).await.expect("said");
            guest
        };
        let mut channel = Channel::new(host);
        let (heard, _guest) = tokio::join!(channel.hear(), say);
        assert_eq!(heard.expect("heard"), FromGuest::Settled("now".to_owned()));
    }

    #[tokio::test]
    async fn a_guest_that_was_not_asked_anything_may_say_what_it_wants_and_is_answered_later() {
        let (host, mut guest) = UnixStream::pair().expect("a pair");
        let listening = Channel::new(host).listen(Duration::from_secs(60));
        // More than any socket holds: somebody takes it.
        let line = [b'x'; 1023];
        for _ in 0..4096 {
            guest.write_all(&line).await.expect("said");
            guest.write_all(b"\n").await.expect("said");
        }
        let mut loan = listening.borrow().await.expect("there");
        let channel = loan.lent().expect("lent");
        channel.say(&FromHost::Who).await.expect("said");
        // One at a time has it, and whoever else wants it waits.
        let next = listening.borrow();
        tokio::pin!(next);
        let waits = std::future::poll_fn(|task| std::task::Poll::Ready(next.as_mut().poll(task)));
        assert!(waits.await.is_pending());
        drop(loan);
        assert!(next.await.is_some());
        let mut said = [0; 5];
        guest.read_exact(&mut said).await.expect("asked");
        assert_eq!(&said, b"\nwho\n");
    }

    #[tokio::test]
    async fn a_guest_that_stood_still_is_told_the_time_while_it_is_listened_to() {
        let (host, mut guest) = UnixStream::pair().expect("a pair");
        let listening = Channel::new(host).listen(Duration::from_secs(60));
        let answer = async {
            let mut ear = renewal::protocol::HostDecoder::default();
            let (mut buffer, mut answered) = ([0; 4096], 0);
            while answered < 2 {
                let count = guest.read(&mut buffer).await.expect("read");
                for heard in ear.feed(&buffer[..count]) {
                    let Ok(FromHost::Clock(mut time)) = heard else {
                        panic!("{heard:?}");
                    };
                    // The second time it does not believe it.
                    time.seconds -= answered;
                    answered += 1;
                    let said = format!("note words\n{}", FromGuest::ClockSet(time).encode());
                    guest.write_all(said.as_bytes()).await.expect("said");
                }
            }
        };
        let ask = async { (listening.set_clock().await, listening.set_clock().await) };
        let ((first, second), ()) = tokio::join!(ask, answer);
        assert_eq!(first, Ok(()));
        assert!(second.expect_err("late").contains("and was told"));
        drop(guest);
        assert!(listening.set_clock().await.is_err());
    }
}
