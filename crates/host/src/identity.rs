//! Who a process is: number, start time and boot. Numbers alone are given out again, and a signal
//! must never reach a stranger.

use std::io;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::descriptor;
use crate::process::open_pidfd;

/// A process, distinguishable from every later one on this machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// Process number.
    pub pid: u32,
    /// Start time in clock ticks since boot, as in `/proc/PID/stat`.
    pub start_time: u64,
    /// The boot it belongs to, as in `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// A signal that anyvirt sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
    /// SIGINT.
    Interrupt,
}

impl Signal {
    fn number(self) -> rustix::process::Signal {
        match self {
            Self::Terminate => rustix::process::Signal::TERM,
            Self::Kill => rustix::process::Signal::KILL,
            Self::Stop => rustix::process::Signal::STOP,
            Self::Continue => rustix::process::Signal::CONT,
            Self::Interrupt => rustix::process::Signal::INT,
        }
    }
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The process got it.
    Delivered,
    /// The process has ended; nobody got it.
    Ended,
}

impl Identity {
    /// The identity of a running process, or `None` if there is none with this number.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        Ok(match read_stat(pid)? {
            Some(stat) if !stat.ended => Some(Self {
                pid,
                start_time: stat.start_time,
                boot_id: boot_id()?.to_owned(),
            }),
            _ => None,
        })
    }

    /// Ours.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())?
            .ok_or_else(|| io::Error::other("/proc does not show our own process"))
    }

    /// As [`Identity::of`], also for a child that has ended and not been waited for.
    pub(crate) fn of_child(pid: u32) -> io::Result<Self> {
        let stat = read_stat(pid)?
            .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is missing")))?;
        Ok(Self {
            pid,
            start_time: stat.start_time,
            boot_id: boot_id()?.to_owned(),
        })
    }

    /// Whether exactly this process runs now. A process that ended but was not yet waited for by
    /// its parent does not run.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn is_running(&self) -> io::Result<bool> {
        if self.boot_id != boot_id()? {
            return Ok(false);
        }
        Ok(read_stat(self.pid)?
            .is_some_and(|stat| stat.start_time == self.start_time && !stat.ended))
    }

    /// Sends a signal to this process, and never to another that got its number.
    ///
    /// # Errors
    /// The kernel's answer, e.g. that we may not signal it.
    pub fn signal(&self, signal: Signal) -> io::Result<Delivery> {
        // The descriptor is opened first and the start time compared after: if it matches, the
        // descriptor cannot mean an earlier process, and it never means a later one.
        let Some(pidfd) = self.open()? else {
            return Ok(Delivery::Ended);
        };
        match rustix::process::pidfd_send_signal(&pidfd, signal.number()) {
            Ok(()) => Ok(Delivery::Delivered),
            Err(rustix::io::Errno::SRCH) => Ok(Delivery::Ended),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until this process, which need not be our child, has ended.
    ///
    /// # Errors
    /// The kernel's answer, if it cannot be watched.
    pub async fn ended(&self) -> io::Result<()> {
        match self.open()? {
            Some(pidfd) => descriptor::readable(&pidfd).await,
            None => Ok(()),
        }
    }

    fn open(&self) -> io::Result<Option<std::os::fd::OwnedFd>> {
        let pidfd = match open_pidfd(self.pid) {
            Ok(pidfd) => pidfd,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(self.is_running()?.then_some(pidfd))
    }
}

struct Stat {
    start_time: u64,
    ended: bool,
}

fn read_stat(pid: u32) -> io::Result<Option<Stat>> {
    let Some(text) = stat_text(pid)? else {
        return Ok(None);
    };
    parse_stat(&text)
        .map(Some)
        .ok_or_else(|| not_understood(pid))
}

/// What `/proc/PID/stat` says; `None` if there is no such process.
pub(crate) fn stat_text(pid: u32) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::ESRCH) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// `/proc/PID/stat` says what no kernel that we know says.
pub(crate) fn not_understood(pid: u32) -> io::Error {
    io::Error::other(format!("/proc/{pid}/stat is not understood"))
}

/// The program's name stands in parentheses and may itself contain blanks and parentheses, so the
/// fields are counted from the last one.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let close = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&text[close + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    // State is field 3, the start time field 22.
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Stat {
        start_time,
        ended: matches!(state, "Z" | "X" | "x"),
    })
}

/// The identifier of this boot.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn boot_id() -> io::Result<&'static str> {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = BOOT_ID.get() {
        return Ok(id);
    }
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned();
    Ok(BOOT_ID.get_or_init(|| id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let line = b"12 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        let stat = parse_stat(line).expect("a well-formed line");
        assert_eq!(stat.start_time, 4711);
        assert!(!stat.ended);
    }

    #[test]
    fn a_short_line_is_refused() {
        assert!(parse_stat(b"12 (a) R 1 2 3").is_none());
        assert!(parse_stat(b"").is_none());
    }

    #[test]
    fn we_run_and_a_process_of_another_boot_or_start_time_does_not() {
        let own = Identity::own().expect("our own entry in /proc");
        assert!(own.is_running().expect("readable /proc"));
        let stranger = Identity {
            start_time: own.start_time + 1,
            ..own.clone()
        };
        assert!(!stranger.is_running().expect("readable /proc"));
        assert_eq!(
            stranger.signal(Signal::Kill).expect("no error"),
            Delivery::Ended
        );
        let earlier = Identity {
            boot_id: "another boot".to_owned(),
            ..own
        };
        assert_eq!(
            earlier.signal(Signal::Kill).expect("no error"),
            Delivery::Ended
        );
    }
}
