//! How much the threads of a process have run, and how much they wanted to.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

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
