//! Time that passed on this machine: while it slept, and on its processors.

use std::io;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long this machine has slept since it booted: one clock runs on meanwhile, the other does not.
#[must_use]
pub fn slept() -> Duration {
    // In this order the difference never seems larger than it is.
    let awake = read(ClockId::Monotonic);
    let all = since_boot();
    all.saturating_sub(awake)
}

/// The time since this machine booted, its sleep included. Nobody can set it, so it never jumps.
#[must_use]
pub fn since_boot() -> Duration {
    read(ClockId::Boottime)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// The processor time that a process has used so far, in its own and in the kernel's code.
///
/// # Errors
/// If there is no such process.
pub fn processor_time(pid: u32) -> io::Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = parse_ticks(&text)
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is not as it should be")))?;
    let rate = rustix::param::clock_ticks_per_second().max(1);
    Ok(Duration::from_millis(ticks.saturating_mul(1000) / rate))
}

/// Fields 14 and 15; the name in field 2 may hold anything but ends at the last parenthesis.
fn parse_ticks(text: &str) -> Option<u64> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()?.saturating_add(next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_asleep_does_not_jump_while_awake() {
        let before = slept();
        let after = slept();
        assert!(after.abs_diff(before) < Duration::from_secs(1));
    }

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse_ticks(text), Some(300));
        assert_eq!(parse_ticks("7 (a) S 1"), None);
        processor_time(std::process::id()).expect("we run");
        processor_time(u32::MAX).expect_err("nobody has this number");
    }
}
