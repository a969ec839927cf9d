//! How much processes and their threads have run, how much they wanted to, and how much memory they hold.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crate::identity::{Identity, not_understood, stat_text};

/// So many threads are looked at; QEMU has two and one for each processor of the guest.
const MOST_THREADS: usize = 1024;

/// What one thread has done since it began.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Activity {
    /// Time on a processor.
    pub ran: Duration,
    /// Time that it was ready to run and waited for a processor, since others had them all. Zero
    /// where the kernel does not count it (`CONFIG_SCHED_INFO`).
    pub waited: Duration,
}

/// The activity of the threads of process `pid` whose names begin with `prefix`, by their numbers.
/// Costs two small reads of `/proc` for each thread. A thread that ends meanwhile is left out.
///
/// # Errors
/// If the process is gone, or `/proc` cannot be read.
pub fn of_threads(pid: u32, prefix: &str) -> io::Result<BTreeMap<u32, Activity>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))?.take(MOST_THREADS) {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(thread) = name.and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Both files are gone when the thread has ended.
        let Ok(name) = std::fs::read(path.join("comm")) else {
            continue;
        };
        if !name.starts_with(prefix.as_bytes()) {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(path.join("schedstat")) else {
            continue;
        };
        let activity = parse(&text)
            .ok_or_else(|| io::Error::other(format!("{} is not understood", path.display())))?;
        found.insert(thread, activity);
    }
    Ok(found)
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Used {
    /// Processor time in its own code, and in its guest's if it is one of KVM's, since it began.
    pub user: Duration,
    /// Processor time in the kernel's code since it began.
    pub system: Duration,
    /// Memory of its own and of files that it has in the machine's memory now, in bytes.
    pub resident_bytes: u64,
}

/// What this very process uses; `None` if it has ended. Costs one small read of `/proc`.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn of_process(process: &Identity) -> io::Result<Option<Used>> {
    let Some(text) = stat_text(process.pid)? else {
        return Ok(None);
    };
    let (start_time, used) = parse_process(&text, rustix::param::clock_ticks_per_second())
        .ok_or_else(|| not_understood(process.pid))?;
    Ok((start_time == process.start_time).then_some(used))
}

/// The fields 14, 15, 22 and 24 of `/proc/PID/stat`; the name in field 2 may hold anything but ends at the last
/// parenthesis. Out: the start time, and what the process uses.
fn parse_process(text: &[u8], ticks_per_second: u64) -> Option<(u64, Used)> {
    let close = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&text[close + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let mut number = |skipped| fields.nth(skipped)?.parse::<u64>().ok();
    let (user, system) = (number(11)?, number(0)?);
    let (start_time, pages) = (number(6)?, number(1)?);
    let time =
        |ticks: u64| Duration::from_millis(ticks.saturating_mul(1000) / ticks_per_second.max(1));
    let used = Used {
        user: time(user),
        system: time(system),
        resident_bytes: pages.saturating_mul(rustix::param::page_size() as u64),
    };
    Some((start_time, used))
}

/// `schedstat`: nanoseconds on a processor, nanoseconds of waiting for one, time slices.
fn parse(text: &str) -> Option<Activity> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    let mut next = || Some(Duration::from_nanos(numbers.next()?.ok()?));
    Some(Activity {
        ran: next()?,
        waited: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_understood_and_nonsense_is_not() {
        let activity = Activity {
            ran: Duration::from_nanos(689_528),
            waited: Duration::from_nanos(2_674_129),
        };
        assert_eq!(parse("689528 2674129 1\n"), Some(activity));
        for nonsense in ["", "1", "a b c", "-1 2 3"] {
            assert_eq!(parse(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn a_process_is_read_behind_any_name_and_never_taken_for_another() {
        let text = b"7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 4711 9999 12 5";
        let (start_time, used) = parse_process(text, 100).expect("a well-formed line");
        assert_eq!(start_time, 4711);
        assert_eq!(used.user, Duration::from_millis(2500));
        assert_eq!(used.system, Duration::from_millis(500));
        assert_eq!(used.resident_bytes, 12 * rustix::param::page_size() as u64);
        assert_eq!(parse_process(b"7 (a) S 1 2 3", 100), None);

        let own = Identity::own().expect("we run");
        let used = of_process(&own).expect("readable").expect("we run");
        assert!(used.resident_bytes > 100 << 10, "{used:?}");
        let earlier = Identity {
            start_time: own.start_time - 1,
            ..own
        };
        assert_eq!(of_process(&earlier).expect("readable"), None);
    }

    #[test]
    fn a_thread_that_works_is_told_from_one_that_sleeps_and_from_others() {
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let start = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let builder = std::thread::Builder::new().name(name.to_owned());
            builder.spawn(work).expect("a thread")
        };
        let sleeper = start(
            "seen sleeps",
            Box::new(move || {
                // Ends when the test drops its end.
                let _ = told.recv();
            }),
        );
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        let worker = start(
            "seen works",
            Box::new(move || {
                while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }),
        );
        let wanted = Duration::from_millis(50);
        let activities = loop {
            let seen = of_threads(std::process::id(), "seen ").expect("our own threads");
            assert!(seen.len() <= 2, "{seen:?}");
            if seen.values().any(|it| it.ran > wanted) {
                break seen;
            }
            std::thread::yield_now();
        };
        let quiet = activities.values().filter(|it| it.ran < wanted);
        assert_eq!(quiet.count(), 1, "{activities:?}");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        drop(tell);
        worker.join().expect("ends");
        sleeper.join().expect("ends");
        of_threads(u32::MAX, "").expect_err("no such process");
    }
}
