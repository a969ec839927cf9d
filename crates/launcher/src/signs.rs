//! Signs of life of a guest that starts: it writes to its serial console, uses a disk, or keeps a
//! processor busy. One that shows none for long is stuck, which the node decides.
//!
//! Looked at every [`LOOK_EVERY`], and no longer once the start is over.

use std::collections::BTreeMap;
use std::time::Duration;

use api::launcher::{State, Status};
use host::activity::{self, Activity};
use jiff::Timestamp;
use qemu::qmp::Command;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::monitor::Monitor;
use crate::serial::Serial;

/// Silences matter from tens of seconds on, and a look costs one question to QEMU and two reads of
/// `/proc` for each processor: less than a thousandth of a core.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A guest that nobody could log in to by then shows no login, or never will: it is not looked at
/// for ever. The slowest start measured, two emulated guests on a busy core, took 15 minutes.
const LOOK_FOR: Duration = Duration::from_secs(2 * 3600);
/// QEMU's names of the threads that run the guest's processors begin so.
const PROCESSORS: &str = "CPU ";
/// A guest that waits for something takes 0.3 to 1.5 % of a core under emulation, timers
/// included; one that works takes all that it gets.
const BUSY_PERCENT: u128 = 10;
/// On a machine with too much to do, a guest that works gets little, and waits for the rest. One
/// that sleeps has to wait at each of its few wake-ups too, but not most of the time.
const WANTING_PERCENT: u128 = 60;

/// What one look saw.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Look {
    /// When.
    pub(crate) at: Timestamp,
    /// There was a sign since the look before.
    pub(crate) sign: bool,
}

/// What is counted.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sample {
    /// Bytes on the serial line.
    serial: u64,
    /// Operations on disks; `None` if QEMU did not answer.
    disks: Option<u64>,
    /// The guest's processors.
    processors: BTreeMap<u32, Activity>,
}

impl Sample {
    /// Whether there was a sign of life since `before`, which is `elapsed` ago.
    fn shows_life(&self, before: &Self, elapsed: Duration) -> bool {
        let wrote = self.serial != before.serial;
        let used_disks = match (self.disks, before.disks) {
            (Some(now), Some(before)) => now != before,
            _ => false,
        };
        let mut ran = Duration::ZERO;
        let mut wanted = Duration::ZERO;
        for (thread, now) in &self.processors {
            let before = before.processors.get(thread).copied().unwrap_or_default();
            let more = now.ran.saturating_sub(before.ran);
            ran = ran.saturating_add(more);
            wanted = wanted
                .saturating_add(more)
                .saturating_add(now.waited.saturating_sub(before.waited));
        }
        let percent = |part: Duration| part.as_nanos() * 100 / elapsed.as_nanos().max(1);
        wrote || used_disks || percent(ran) >= BUSY_PERCENT || percent(wanted) >= WANTING_PERCENT
    }
}

/// The guest that is looked at.
#[derive(Debug)]
pub(crate) struct Watched {
    /// Its monitor.
    pub(crate) monitor: Monitor,
    /// Its serial line.
    pub(crate) serial: Option<Serial>,
    /// QEMU's process.
    pub(crate) pid: u32,
    /// How it stands.
    pub(crate) status: watch::Receiver<Status>,
}

impl Watched {
    /// Looks, and tells what was seen, until nobody listens any more or [`LOOK_FOR`] is over. A
    /// guest that is paused is not looked at.
    pub(crate) async fn look(self, tell: mpsc::Sender<Look>) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = Instant::now() + LOOK_FOR;
        let mut before: Option<(Instant, Sample)> = None;
        while Instant::now() < end {
            tokio::select! {
                _ = every.tick() => {}
                () = tell.closed() => return,
            }
            if self.status.borrow().state != State::Running {
                before = None;
                continue;
            }
            let now = Instant::now();
            let sample = self.sample().await;
            // The first look after it was started or unpaused has nothing to compare with.
            let sign = before
                .as_ref()
                .is_none_or(|(at, before)| sample.shows_life(before, now.duration_since(*at)));
            before = Some((now, sample));
            let at = Timestamp::now();
            if tell.send(Look { at, sign }).await.is_err() {
                return;
            }
        }
    }

    async fn sample(&self) -> Sample {
        let disks = match self.monitor.ask(Command::QueryBlockStats).await {
            Ok(answer) => Command::block_operations(&answer),
            Err(error) => {
                tracing::debug!("the disks' counters are not known: {error}");
                None
            }
        };
        let processors = activity::of_threads(self.pid, PROCESSORS).unwrap_or_else(|error| {
            tracing::debug!("the processors' times are not known: {error}");
            BTreeMap::new()
        });
        Sample {
            serial: self.serial.as_ref().map_or(0, Serial::bytes),
            disks,
            processors,
        }
    }
}

/// How long the guest has been silent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Silence {
    last: Option<Timestamp>,
    longest: Duration,
}

impl Silence {
    /// The last sign; `None` while nobody looks.
    pub(crate) fn last_sign(&self) -> Option<Timestamp> {
        self.last
    }

    /// Takes in a look.
    pub(crate) fn look(&mut self, look: Look) {
        match self.last {
            Some(last) if !look.sign => {
                let silent = Duration::try_from(look.at.duration_since(last));
                self.longest = self.longest.max(silent.unwrap_or_default());
            }
            _ => self.last = self.last.max(Some(look.at)),
        }
    }

    /// The guest reached a step, which is a sign too. Gives its longest silence on the way.
    pub(crate) fn reached(&mut self, at: Timestamp) -> Duration {
        self.last = self.last.map(|last| last.max(at));
        std::mem::take(&mut self.longest)
    }

    /// Its processors run again: what was before does not count.
    pub(crate) fn resumed(&mut self, at: Timestamp) {
        self.last = Some(at);
    }

    /// Nobody looks any more.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: Duration = Duration::from_secs(5);

    fn sample(serial: u64, disks: Option<u64>, threads: &[(u64, u64)]) -> Sample {
        let processors = threads.iter().zip(1..).map(|((ran, waited), thread)| {
            let activity = Activity {
                ran: Duration::from_millis(*ran),
                waited: Duration::from_millis(*waited),
            };
            (thread, activity)
        });
        Sample {
            serial,
            disks,
            processors: processors.collect(),
        }
    }

    #[test]
    fn bytes_disks_and_busy_processors_are_signs_and_idling_is_none() {
        let before = sample(100, Some(40), &[(1000, 2000), (500, 0)]);
        for (what, now, sign) in [
            (
                "nothing",
                sample(100, Some(40), &[(1000, 2000), (500, 0)]),
                false,
            ),
            (
                "a byte",
                sample(101, Some(40), &[(1000, 2000), (500, 0)]),
                true,
            ),
            (
                "a read",
                sample(100, Some(41), &[(1000, 2000), (500, 0)]),
                true,
            ),
            (
                "idle timers",
                sample(100, Some(40), &[(1075, 2100), (515, 30)]),
                false,
            ),
            (
                "one busy processor",
                sample(100, Some(40), &[(1000, 2000), (5400, 100)]),
                true,
            ),
            // A quiet kernel under emulation beside nine builds on two cores.
            (
                "busy, and gets little",
                sample(100, Some(40), &[(1250, 6700), (500, 0)]),
                true,
            ),
            (
                "sleeps on a busy machine",
                sample(100, Some(40), &[(1060, 3500), (500, 0)]),
                false,
            ),
            (
                "a thread more",
                sample(100, Some(40), &[(1000, 2000), (500, 0), (600, 0)]),
                true,
            ),
            ("QEMU does not answer", sample(100, None, &[]), false),
        ] {
            assert_eq!(now.shows_life(&before, FIVE), sign, "{what}");
        }
        assert!(!before.shows_life(&before, Duration::ZERO));
    }

    #[test]
    fn the_longest_silence_is_told_with_the_step_that_ends_it() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let look = |second, sign| Look {
            at: at(second),
            sign,
        };
        let mut silence = Silence::default();
        assert_eq!(silence.last_sign(), None);
        for (second, sign) in [(5, true), (10, true), (15, false), (20, false), (25, true)] {
            silence.look(look(second, sign));
        }
        assert_eq!(silence.last_sign(), Some(at(25)));
        silence.look(look(30, false));
        assert_eq!(silence.reached(at(31)), Duration::from_secs(10));
        assert_eq!(silence.last_sign(), Some(at(31)));
        assert_eq!(silence.reached(at(33)), Duration::ZERO);
        silence.look(look(45, false));
        silence.resumed(at(100));
        silence.look(look(105, false));
        assert_eq!(silence.reached(at(106)), Duration::from_secs(12));
        silence.forget();
        assert_eq!(silence.last_sign(), None);
    }
}
