//! What is remembered of every machine and of the host, decided purely: samples in, series out.

use std::collections::BTreeMap;
use std::time::Duration;

use api::launcher::Identity;
use api::usage::{DiskUsage, InterfaceUsage, Usage};
use host::load::Load;

use super::ring::{LONGEST_INTERVAL, Points, Ring, STEPS, Values};

/// What is known of a machine over time, in this order.
pub const MACHINE_SERIES: [&str; 8] = [
    "processor",
    "memory",
    "diskRead",
    "diskWritten",
    "diskReads",
    "diskWrites",
    "networkReceived",
    "networkSent",
];

/// What is known of the host over time, in this order.
pub const HOST_SERIES: [&str; 4] = ["processor", "memory", "disk", "waiting"];

/// The memory that one machine's day takes: 828 steps of 8 values of 4 bytes are 26 KB, and the steps under way and
/// its names are some hundred bytes.
#[cfg(test)]
const MACHINE_BYTES: usize = 28 << 10;

/// Machines whose day is remembered: more than run on one host, and at most 28 MiB. Names that come and go would
/// otherwise fill the memory within a day.
const MOST_MACHINES: usize = 1024;

/// What was sampled longer ago than this is no answer to what is used now: three samples did not come.
const STALE: Duration = Duration::from_secs(15);

/// Values of a machine, in the order of [`MACHINE_SERIES`].
pub type MachineValues = Values<{ MACHINE_SERIES.len() }>;
/// Values of the host, in the order of [`HOST_SERIES`].
pub type HostValues = Values<{ HOST_SERIES.len() }>;

/// What the host is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Capacity {
    /// Processors.
    pub processors: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Of the file system with the data directory what is used and what may still be, in bytes; none if it did not tell.
    pub disk_bytes: Option<u64>,
}

/// A look at the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct HostSample {
    pub(super) at: Duration,
    pub(super) load: Load,
    /// Used and available bytes of the file system with the data directory, if it told.
    pub(super) disk: Option<(u64, u64)>,
}

/// What is known of something over some time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series<const SERIES: usize> {
    /// The length of a step.
    pub step: Duration,
    /// How long ago the first step began.
    pub began: Duration,
    /// Averages over the steps, one after the other; the last step is under way.
    pub values: Vec<[Option<f32>; SERIES]>,
    /// What it uses now; none if that is not known.
    pub latest: Option<[Option<f32>; SERIES]>,
}

/// What a machine uses now.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// Whose it is.
    pub identity: Identity,
    /// All its counters.
    pub usage: Usage,
    /// What it uses, in the order of [`MACHINE_SERIES`]; nothing but its memory after its first sample.
    pub values: MachineValues,
    /// The time between the last two samples; none after the first.
    pub window: Option<Duration>,
    /// How long ago its last sample was.
    pub age: Duration,
}

/// What the host uses now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostLatest {
    /// What it uses, in the order of [`HOST_SERIES`]; nothing of its processors after its first sample.
    pub values: HostValues,
    /// The time between the last two samples; none after the first.
    pub window: Option<Duration>,
    /// How long ago its last sample was.
    pub age: Duration,
}

/// The last look at the host, and what came of it.
#[derive(Clone, Copy, Debug)]
struct Host {
    sample: HostSample,
    values: HostValues,
    window: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Machine {
    identity: Identity,
    ring: Ring<{ MACHINE_SERIES.len() }>,
    usage: Usage,
    values: MachineValues,
    window: Option<Duration>,
}

/// All that is remembered.
#[derive(Clone, Debug)]
pub(super) struct Histories {
    /// By namespace and name, so that a history goes on when its machine starts again.
    machines: BTreeMap<(String, String), Machine>,
    host: Ring<{ HOST_SERIES.len() }>,
    looked: Option<Host>,
}

impl Histories {
    pub(super) fn new() -> Self {
        Self {
            machines: BTreeMap::new(),
            host: Ring::new(),
            looked: None,
        }
    }

    /// Takes in what a machine has used.
    pub(super) fn take(&mut self, identity: &Identity, usage: Usage) {
        let key = (identity.namespace.clone(), identity.name.clone());
        let Some(machine) = self.machines.get_mut(&key) else {
            self.begin(key, identity, usage);
            return;
        };
        let (before, now) = (at(&machine.usage), at(&usage));
        if now <= before {
            return;
        }
        let elapsed = now - before;
        machine.values = [None; MACHINE_SERIES.len()];
        machine.window = None;
        // Another QEMU counts anew, and what was between is not known.
        if machine.usage.run == usage.run && elapsed <= LONGEST_INTERVAL {
            machine.values = rates(&machine.usage, &usage, elapsed);
            machine.window = Some(elapsed);
            machine.ring.take(before, now, &machine.values);
        }
        machine.values[1] = Some(number(usage.resident_bytes()));
        machine.identity = identity.clone();
        machine.usage = usage;
    }

    fn begin(&mut self, key: (String, String), identity: &Identity, usage: Usage) {
        if self.machines.len() >= MOST_MACHINES {
            let longest = self.machines.iter().min_by_key(|(_, it)| at(&it.usage));
            match longest.map(|(key, machine)| (key.clone(), at(&machine.usage))) {
                // One that runs is not forgotten for another.
                Some((longest, last)) if at(&usage).saturating_sub(last) > LONGEST_INTERVAL => {
                    self.machines.remove(&longest);
                }
                _ => return,
            }
        }
        let mut values = [None; MACHINE_SERIES.len()];
        values[1] = Some(number(usage.resident_bytes()));
        let machine = Machine {
            identity: identity.clone(),
            ring: Ring::new(),
            usage,
            values,
            window: None,
        };
        self.machines.insert(key, machine);
    }

    /// Takes in how the host is.
    pub(super) fn take_host(&mut self, sample: HostSample) {
        let mut values = host_values(&sample);
        let mut window = None;
        if let Some(Host { sample: before, .. }) = self.looked {
            if sample.at <= before.at {
                return;
            }
            let elapsed = sample.at - before.at;
            if elapsed <= LONGEST_INTERVAL {
                let busy = sample.load.busy.checked_sub(before.load.busy);
                values[0] = busy.map(|busy| ratio(busy, elapsed));
                window = Some(elapsed);
                self.host.take(before.at, sample.at, &values);
            }
        }
        self.looked = Some(Host {
            sample,
            values,
            window,
        });
    }

    /// Forgets machines of which nothing is within a day.
    pub(super) fn forget_old(&mut self, now: Duration) {
        let [.., coarsest] = STEPS;
        let day = coarsest.length * u32::try_from(coarsest.count).unwrap_or(u32::MAX);
        self.machines
            .retain(|_, machine| now.saturating_sub(at(&machine.usage)) <= day);
    }

    /// What is known of a machine; none if nothing is. What it uses now is told of the instance `uid` alone: the last
    /// sample may be of one before it.
    pub(super) fn machine(
        &self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
        span: Duration,
        now: Duration,
    ) -> Option<Series<{ MACHINE_SERIES.len() }>> {
        let key = (namespace.to_owned(), name.to_owned());
        let machine = self.machines.get(&key)?;
        let is_now = now.saturating_sub(at(&machine.usage)) <= STALE;
        let is_its = uid == Some(machine.identity.uid.as_str());
        let latest = (is_now && is_its).then_some(machine.values);
        Some(series(machine.ring.points(span, now), latest, now))
    }

    /// What is known of the host, and what it is made of.
    pub(super) fn host(
        &self,
        span: Duration,
        now: Duration,
    ) -> (Series<{ HOST_SERIES.len() }>, Option<Capacity>) {
        let known = self.looked_lately(now);
        let capacity = known.map(|Host { sample, .. }| Capacity {
            processors: sample.load.processors,
            memory_bytes: sample.load.memory_bytes,
            disk_bytes: sample
                .disk
                .map(|(used, available)| used.saturating_add(available)),
        });
        let latest = known.map(|known| known.values);
        (series(self.host.points(span, now), latest, now), capacity)
    }

    /// What the host uses now; none if that is not known.
    pub(super) fn host_latest(&self, now: Duration) -> Option<HostLatest> {
        let known = self.looked_lately(now)?;
        Some(HostLatest {
            values: known.values,
            window: known.window,
            age: now.saturating_sub(known.sample.at),
        })
    }

    fn looked_lately(&self, now: Duration) -> Option<Host> {
        let is_now = |known: &Host| now.saturating_sub(known.sample.at) <= STALE;
        self.looked.filter(is_now)
    }

    /// What machines use now, in the order of their names.
    pub(super) fn latest(&self, now: Duration) -> Vec<Latest> {
        let known = self.machines.values().filter_map(|machine| {
            let age = now.saturating_sub(at(&machine.usage));
            (age <= STALE).then(|| Latest {
                identity: machine.identity.clone(),
                usage: machine.usage.clone(),
                values: machine.values,
                window: machine.window,
                age,
            })
        });
        known.collect()
    }
}

fn at(usage: &Usage) -> Duration {
    Duration::from_nanos(usage.at_nanoseconds)
}

fn series<const SERIES: usize>(
    points: Points<SERIES>,
    latest: Option<Values<SERIES>>,
    now: Duration,
) -> Series<SERIES> {
    Series {
        step: points.step,
        began: now.saturating_sub(points.begin),
        values: points.values,
        latest,
    }
}

/// What was used between two samples of one run of QEMU, in the order of [`MACHINE_SERIES`]: processors, bytes, and
/// bytes and operations per second. A counter that went back, or is not known in both, is not known.
fn rates(before: &Usage, now: &Usage, elapsed: Duration) -> MachineValues {
    let processor = |of: fn(&Usage) -> Duration| of(now).checked_sub(of(before));
    let processor = processor(|it| it.qemu.processor_time())
        .zip(processor(|it| it.helpers.processor_time()))
        .map(|(qemu, helpers)| ratio(qemu + helpers, elapsed));
    let disks = (before.disks.as_ref(), now.disks.as_ref());
    let disk = |of: fn(&DiskUsage) -> u64| {
        let more = growth(disks.0?, disks.1?, of)?;
        Some(per_second(more, elapsed))
    };
    let network = |of: fn(&InterfaceUsage) -> u64| {
        let more = growth(&before.interfaces, &now.interfaces, of)?;
        Some(per_second(more, elapsed))
    };
    [
        processor,
        Some(number(now.resident_bytes())),
        disk(|it| it.read_bytes),
        disk(|it| it.written_bytes),
        disk(|it| it.reads),
        disk(|it| it.writes),
        network(|it| it.received_bytes),
        network(|it| it.sent_bytes),
    ]
}

/// How much a counter grew, over all that have it both times; none if none has, or one went back.
fn growth<T>(
    before: &BTreeMap<String, T>,
    now: &BTreeMap<String, T>,
    of: fn(&T) -> u64,
) -> Option<u64> {
    let both = now
        .iter()
        .filter_map(|(name, now)| Some((before.get(name)?, now)));
    both.map(|(before, now)| of(now).checked_sub(of(before)))
        .reduce(|sum, more| sum?.checked_add(more?))?
}

fn host_values(sample: &HostSample) -> HostValues {
    let load = &sample.load;
    let disk = sample.disk.map(|(used, _)| number(used));
    [
        None,
        Some(number(
            load.memory_bytes.saturating_sub(load.available_bytes),
        )),
        disk,
        Some(narrow(load.waiting)),
    ]
}

fn ratio(part: Duration, whole: Duration) -> f32 {
    narrow(part.as_secs_f64() / whole.as_secs_f64())
}

fn per_second(more: u64, elapsed: Duration) -> f32 {
    narrow(f64::from(number(more)) / elapsed.as_secs_f64())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seven digits are enough for a chart"
)]
fn number(number: u64) -> f32 {
    number as f32
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "seven digits are enough for a chart"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests;
