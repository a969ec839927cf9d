//! Is the guest agent there? Asked by `guest-sync` now and then, without ever waiting on the guest.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::loan::{self, Asked};

/// Often enough for a status, rare enough to cost nothing.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// While nobody answers, questions pile up in the channel until an agent starts: so fewer of them.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// An answer is below 100 bytes; the guest may send anything.
const LARGEST_LINE: usize = 4096;

/// Asks on `channel` until QEMU closes it, and tells `connected` what is so. Asks at once when it is
/// told that a program in the guest has `opened` the other end. An agent that has not answered
/// within `gone_after` is gone. The channel is lent to those who ask for it (`loans`); meanwhile nothing is asked.
pub(crate) async fn run(
    mut channel: UnixStream,
    connected: watch::Sender<bool>,
    opened: Arc<Notify>,
    gone_after: Duration,
    mut loans: Asked<UnixStream>,
) {
    let mut line = Line::default();
    let mut asked = 0_u64;
    let mut next = Instant::now() + ASK_EVERY;
    let mut answered: Option<Instant> = None;
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {
                let fresh = answered.is_some_and(|at| at.elapsed() < gone_after);
                if !fresh {
                    connected.send_if_modified(|connected| std::mem::replace(connected, false));
                }
                asked += 1;
                let question = format!("{{\"execute\":\"guest-sync\",\"arguments\":{{\"id\":{asked}}}}}\n");
                // A full channel means that nobody reads: asking again can wait.
                let _ = channel.try_write(question.as_bytes());
                next = Instant::now() + if fresh { ASK_EVERY } else { ASK_AGAIN_AFTER };
            }
            () = opened.notified() => next = Instant::now(),
            Some(borrower) = loans.recv() => {
                match loan::lend(channel, borrower).await {
                    Some(returned) => channel = returned,
                    None => return,
                }
                line = Line::default();
                next = Instant::now();
            }
            readable = channel.readable() => {
                match readable.and_then(|()| channel.try_read(&mut buffer)) {
                    Ok(0) => return,
                    Ok(count) => {
                        if line.answers(&buffer[..count]).any(|id| (1..=asked).contains(&id)) {
                            answered = Some(Instant::now());
                            next = next.min(Instant::now() + ASK_EVERY);
                            connected.send_if_modified(|connected| !std::mem::replace(connected, true));
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        }
    }
}

/// Cuts what the guest sends into lines; too long ones are dropped.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    too_long: bool,
}

impl Line {
    /// The ids of the answers that end in `bytes`.
    fn answers(&mut self, bytes: &[u8]) -> impl Iterator<Item = u64> {
        let mut ids = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.bytes.len() + piece.len() > LARGEST_LINE {
                self.too_long = true;
                self.bytes.clear();
            }
            if !self.too_long {
                self.bytes.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.bytes);
                if !std::mem::replace(&mut self.too_long, false) {
                    ids.extend(id(&line));
                }
            }
        }
        ids.into_iter()
    }
}

fn id(line: &[u8]) -> Option<u64> {
    // An agent that was just started may put 0xff before its first answer.
    let line = line
        .iter()
        .position(|byte| *byte != 0xff)
        .map(|start| &line[start..])?;
    serde_json::from_slice::<Value>(line)
        .ok()?
        .get("return")?
        .as_u64()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

    use super::*;
    use crate::loan::Loan;

    #[test]
    fn answers_are_found_among_whatever_a_guest_sends() {
        let mut line = Line::default();
        let ids = |line: &mut Line, bytes: &[u8]| line.answers(bytes).collect::<Vec<_>>();
        assert_eq!(
            ids(&mut line, b"{\"return\": 7}\n\xff{\"return\": 8}\n"),
            [7, 8]
        );
        assert_eq!(ids(&mut line, b"{\"ret"), [0; 0]);
        assert_eq!(
            ids(&mut line, b"urn\": 9}\nnonsense\n{\"error\": {}}\n\n\xff\n"),
            [9]
        );
        assert_eq!(ids(&mut line, &vec![b'x'; 1 << 20]), [0; 0]);
        assert_eq!(line.bytes.capacity(), 0);
        assert_eq!(ids(&mut line, b"{\"return\": 1}\n{\"return\": 2}\n"), [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_is_there_while_it_answers_and_gone_when_it_no_longer_does() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (tell, mut connected) = watch::channel(false);
        let opened = Arc::new(Notify::new());
        let (loans, asked) = loan::loans();
        let task = tokio::spawn(run(
            ours,
            tell,
            Arc::clone(&opened),
            Duration::from_secs(25),
            asked,
        ));
        let mut theirs = BufReader::new(theirs);
        let mut question = String::new();
        theirs.read_line(&mut question).await.expect("asked");
        let question: Value = serde_json::from_str(&question).expect("JSON");
        assert_eq!(question["execute"], "guest-sync");
        // Somebody opens the channel: asked at once, not after half a minute.
        let before = Instant::now();
        opened.notify_one();
        let mut again = String::new();
        theirs.read_line(&mut again).await.expect("asked again");
        assert_eq!(before.elapsed(), Duration::ZERO);
        let id = &question["arguments"]["id"];
        // An answer to a question that was never asked proves nothing.
        let answer = format!("{{\"return\": 99}}\n{{\"return\": {id}}}\n");
        theirs.write_all(answer.as_bytes()).await.expect("answered");
        connected
            .wait_for(|connected| *connected)
            .await
            .expect("there");
        // It stays silent: the clock of the test goes on by itself.
        connected
            .wait_for(|connected| !*connected)
            .await
            .expect("gone");
        // Lent, the channel belongs to one alone, and comes back.
        let mut loan = Loan::of(&loans).await.expect("lent");
        let borrowed = loan.lent().expect("there");
        let mut said = String::new();
        borrowed.write_all(b"mine\n").await.expect("said");
        while said != "mine\n" {
            said.clear();
            theirs.read_line(&mut said).await.expect("said");
        }
        drop(loan);
        let mut again = String::new();
        theirs.read_line(&mut again).await.expect("asked again");
        assert!(again.contains("guest-sync"), "{again}");
        drop(theirs);
        task.await.expect("ends with the channel");
    }
}
