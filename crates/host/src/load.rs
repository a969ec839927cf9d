//! What this whole machine has to do: its processors, its memory, who waits.

use std::io;
use std::path::Path;
use std::time::Duration;

/// What this machine uses of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Time that its processors were busy since it booted, all together. Guests are in it, what a hypervisor below
    /// took away is not.
    pub busy: Duration,
    /// Processors that are there.
    pub processors: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Memory in bytes that programs can get without others being swapped out, as the kernel estimates it.
    pub available_bytes: u64,
    /// Tasks that run or wait to, on average over the last minute (`/proc/loadavg`).
    pub waiting: f64,
}

impl Load {
    /// Looks at this machine. Costs three small reads of `/proc`.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn look() -> io::Result<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{name}"));
        let (stat, memory, average) = (read("stat")?, read("meminfo")?, read("loadavg")?);
        parse(
            (&stat, &memory, &average),
            rustix::param::clock_ticks_per_second(),
        )
        .ok_or_else(|| io::Error::other("/proc is not understood"))
    }
}

/// Used bytes of the file system that holds `path`, and those that programs like ours may still write: `df`'s. What is
/// kept for others is in neither.
///
/// # Errors
/// If it cannot be asked.
pub fn disk(path: &Path) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    let used = found.f_blocks.saturating_sub(found.f_bfree);
    Ok((bytes(used), bytes(found.f_bavail)))
}

/// Reads `stat`, `meminfo` and `loadavg`.
fn parse((stat, memory, average): (&str, &str, &str), ticks_per_second: u64) -> Option<Load> {
    let ticks = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user nice system idle iowait irq softirq steal; guests' time is in user's and nice's.
    let mut busy = 0_u64;
    for (index, field) in ticks.split_ascii_whitespace().take(7).enumerate() {
        let is_idle = index == 3 || index == 4;
        let ticks: u64 = field.parse().ok()?;
        busy = busy.saturating_add(if is_idle { 0 } else { ticks });
    }
    let is_processor = |line: &&str| {
        let number = line
            .strip_prefix("cpu")
            .and_then(|rest| rest.bytes().next());
        number.is_some_and(|byte| byte.is_ascii_digit())
    };
    let processors = stat.lines().filter(is_processor).count();
    Some(Load {
        busy: Duration::from_millis(busy.saturating_mul(1000) / ticks_per_second.max(1)),
        processors: u32::try_from(processors).ok()?,
        memory_bytes: crate::facts::parse_kibibytes(memory, "MemTotal:")?,
        available_bytes: crate::facts::parse_kibibytes(memory, "MemAvailable:")?,
        waiting: average.split_ascii_whitespace().next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_disk_is_idle_and_all_else_is_busy() {
        let stat = "cpu  100 20 30 5000 400 5 6 7 80 0\ncpu0 1 1 1 1 1 1 1 1 1 1\ncpu1 1\nintr 7\ncpufreq 1\n";
        let memory = "MemTotal: 2048 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\n";
        let load = parse((stat, memory, "0.25 0.50 1.00 2/300 4711\n"), 100);
        assert_eq!(
            load,
            Some(Load {
                busy: Duration::from_millis(1610),
                processors: 2,
                memory_bytes: 2 << 20,
                available_bytes: 1 << 20,
                waiting: 0.25,
            })
        );
        for (stat, memory, average) in [
            ("", memory, "0.25"),
            (stat, "MemTotal: 1 kB", "0.25"),
            (stat, memory, ""),
            ("cpu  a", memory, "0.25"),
        ] {
            assert_eq!(parse((stat, memory, average), 100), None);
        }
    }

    #[test]
    fn this_machine_has_something_to_do() {
        let load = Load::look().expect("readable");
        assert!(
            load.processors > 0 && load.busy > Duration::ZERO,
            "{load:?}"
        );
        assert!(load.available_bytes <= load.memory_bytes, "{load:?}");
        let (used, available) = disk(Path::new("/")).expect("mounted");
        let (_, all) = crate::facts::file_system_bytes(Path::new("/")).expect("mounted");
        assert!(used + available <= all, "{used} and {available} of {all}");
    }
}
