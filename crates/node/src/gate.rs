//! The start gate: emulated guests that boot all at once starve each other, so they boot in turn.
//!
//! * At most as many emulated processors boot at a time as the node has; a guest with more boots
//!   alone.
//! * First come, first served, by the time at which the VMI was made: who waits is overtaken only by
//!   who has waited [`LONGEST_WAIT`], so nobody starves. A restart of the node keeps this order and
//!   the turns of those who boot; waits are counted from it anew.
//! * A guest's turn ends when it shows a login, its agent answers, its processors idle, it ends, or
//!   after a time scaled by the node's slowdown ([`Wait::Boot`]); who has waited [`LONGEST_WAIT`]
//!   does not wait any more.
//!
//! Guests on KVM boot within seconds, and pass by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::accelerator::Accelerator;
use api::scaling::Wait;
use host::identity::Identity;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::Clock;

/// Slow is better than never: who has waited so long boots beside the others.
pub const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// After a start of ours, guests that boot already are waited for, but not longer than this.
const ROLL_CALL: Duration = Duration::from_secs(10);
/// How often the processors of booting guests are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Below this share of a processor in each of [`IDLE_LOOKS`] looks in a row, a guest has booted: an
/// idle emulated guest takes 0.3 to 1.5 % of a processor, a booting one all it can get.
const IDLE_PERCENT: u128 = 20;
/// Waits for a disk are shorter than three looks.
const IDLE_LOOKS: u32 = 3;

/// The place in the queue: when the VMI was made, then its UID.
pub type Order = (Timestamp, String);

/// An emulated guest that boots or wants to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the queue.
    pub order: Order,
    /// Its virtual processors.
    pub processors: u32,
    /// Whether it boots.
    pub turn: Turn,
}

/// Whether a guest boots or waits for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It waits.
    Waits {
        /// Since this time.
        since: Timestamp,
    },
    /// It boots.
    Boots {
        /// By then it counts as booted, whatever it does.
        until: Timestamp,
    },
}

impl Entry {
    /// Whether it boots.
    #[must_use]
    pub fn boots(&self) -> bool {
        matches!(self.turn, Turn::Boots { .. })
    }
}

/// The guests at a node's gate, by the UIDs of their VMIs.
pub type Entries = BTreeMap<String, Entry>;

/// Ends the turns that are over, and gives turns to those who wait, on a node with so many
/// processors. Returns who got one.
pub fn advance(
    entries: &mut Entries,
    processors: u32,
    now: Timestamp,
    boots_within: Duration,
) -> Vec<String> {
    entries.retain(|_, entry| !matches!(entry.turn, Turn::Boots { until } if until <= now));
    let mut busy = entries
        .values()
        .filter(|entry| entry.boots())
        .fold(0_u32, |busy, entry| busy.saturating_add(entry.processors));
    let mut waiting: Vec<(Order, String)> = entries
        .iter()
        .filter(|(_, entry)| !entry.boots())
        .map(|(uid, entry)| (entry.order.clone(), uid.clone()))
        .collect();
    waiting.sort();
    let until = now.checked_add(boots_within).unwrap_or(Timestamp::MAX);
    let mut entered = Vec::new();
    let mut blocked = false;
    for (_, uid) in waiting {
        let Some(entry) = entries.get_mut(&uid) else {
            continue;
        };
        let Turn::Waits { since } = entry.turn else {
            continue;
        };
        let fits = !blocked && (busy == 0 || busy.saturating_add(entry.processors) <= processors);
        let too_long = since
            .checked_add(LONGEST_WAIT)
            .is_ok_and(|most| most <= now);
        if !fits && !too_long {
            // Whoever is behind it waits too, unless it has waited too long: an older VMI may have
            // come later.
            blocked = true;
            continue;
        }
        busy = busy.saturating_add(entry.processors);
        entry.turn = Turn::Boots { until };
        entered.push(uid);
    }
    entered
}

/// How many guests boot before this one does.
fn before(entries: &Entries, uid: &str) -> usize {
    let Some(own) = entries.get(uid) else {
        return 0;
    };
    entries
        .values()
        .filter(|entry| entry.boots() || entry.order < own.order)
        .count()
}

/// What is seen of a machine that may boot.
#[derive(Debug, Clone)]
pub(crate) struct Booting {
    /// The machine.
    pub(crate) uid: String,
    /// When its VMI was made.
    pub(crate) made: Timestamp,
    /// How many processors its guest has.
    pub(crate) processors: u32,
}

/// The answer to who wants to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Now.
    Enter,
    /// Not yet; it is told when.
    Wait {
        /// A sentence.
        message: String,
    },
}

/// The gate of a node.
#[derive(Debug)]
pub(crate) struct Gate {
    processors: u32,
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    entries: Entries,
    wake: BTreeMap<String, Arc<Notify>>,
    /// Processes of booting guests, and how much they were seen to do.
    load: BTreeMap<String, Load>,
    /// Machines that were here when we started, and have not said yet whether they boot.
    expected: BTreeSet<String>,
    opens_at: Timestamp,
    slowdown: Option<f64>,
}

#[derive(Debug)]
struct Load {
    process: Identity,
    used: Option<(Timestamp, Duration)>,
    idle_looks: u32,
}

impl Gate {
    /// A gate for this many processors; `here` are the machines found at the start.
    pub(crate) fn new(processors: usize, here: BTreeSet<String>, clock: Clock) -> Self {
        let opens_at = clock.now().checked_add(ROLL_CALL);
        Self {
            processors: u32::try_from(processors).unwrap_or(u32::MAX).max(1),
            inner: Mutex::new(Inner {
                entries: BTreeMap::new(),
                wake: BTreeMap::new(),
                load: BTreeMap::new(),
                expected: here,
                opens_at: opens_at.unwrap_or(Timestamp::MIN),
                slowdown: None,
            }),
            clock,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds it panics half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How slow emulation is here, once it was measured.
    pub(crate) fn set_slowdown(&self, slowdown: Option<f64>) {
        self.lock().slowdown = slowdown;
    }

    /// Asks for a turn to boot; asking again changes nothing. `wake` is told when it may be asked
    /// again with another answer.
    pub(crate) fn ask(&self, guest: &Booting, wake: &Arc<Notify>) -> Admission {
        let now = self.clock.now();
        let mut inner = self.lock();
        inner.expected.remove(&guest.uid);
        inner
            .entries
            .entry(guest.uid.clone())
            .or_insert_with(|| Entry {
                order: (guest.made, guest.uid.clone()),
                processors: guest.processors.max(1),
                turn: Turn::Waits { since: now },
            });
        inner.wake.insert(guest.uid.clone(), Arc::clone(wake));
        self.advance(&mut inner, now);
        match inner.entries.get(&guest.uid) {
            Some(entry) if !entry.boots() => Admission::Wait {
                message: sentence(before(&inner.entries, &guest.uid)),
            },
            _ => Admission::Enter,
        }
    }

    /// How many guests boot or wait for it.
    pub(crate) fn starting(&self) -> usize {
        self.lock().entries.len()
    }

    /// A guest that was found booting, started at `since`: it has its turn already.
    pub(crate) fn found_booting(&self, guest: &Booting, since: Timestamp, process: &Identity) {
        let now = self.clock.now();
        let mut inner = self.lock();
        inner.expected.remove(&guest.uid);
        let within = Wait::Boot.within(Accelerator::Tcg, inner.slowdown);
        let until = since.checked_add(within).unwrap_or(Timestamp::MAX);
        if until > now && !inner.entries.contains_key(&guest.uid) && !inner.has_left(process) {
            let entry = Entry {
                order: (guest.made, guest.uid.clone()),
                processors: guest.processors.max(1),
                turn: Turn::Boots { until },
            };
            inner.entries.insert(guest.uid.clone(), entry);
        }
        if inner.entries.contains_key(&guest.uid) {
            let load = inner.load.entry(guest.uid.clone());
            let load = load.or_insert_with(|| Load::of(process));
            if load.process != *process {
                *load = Load::of(process);
            }
        }
        self.advance(&mut inner, now);
    }

    /// A guest does not boot: not any more, or it never wanted to.
    pub(crate) fn leave(&self, uid: &str) {
        let now = self.clock.now();
        let mut inner = self.lock();
        let known = inner.entries.remove(uid).is_some() | inner.expected.remove(uid);
        inner.wake.remove(uid);
        if known {
            self.advance(&mut inner, now);
        }
    }

    /// A machine is gone, or starts anew.
    pub(crate) fn forget(&self, uid: &str) {
        self.leave(uid);
        self.lock().load.remove(uid);
    }

    fn advance(&self, inner: &mut Inner, now: Timestamp) {
        if !inner.expected.is_empty() && now < inner.opens_at {
            return;
        }
        inner.expected.clear();
        let within = Wait::Boot.within(Accelerator::Tcg, inner.slowdown);
        let entered = advance(&mut inner.entries, self.processors, now, within);
        if entered.is_empty() {
            return;
        }
        // Those who wait on have fewer before them.
        for wake in inner.wake.values() {
            wake.notify_one();
        }
        for uid in entered {
            inner.wake.remove(&uid);
        }
    }

    /// Looks at the processors of those who boot, and ends the turns of those that idle or whose
    /// time is over. To be called every [`LOOK_EVERY`].
    pub(crate) fn look(&self) {
        let now = self.clock.now();
        let mut inner = self.lock();
        let inner = &mut *inner;
        for (uid, load) in &mut inner.load {
            let Ok(used) = host::clock::processor_time(load.process.pid) else {
                continue; // its end is told by its launcher
            };
            if load.take(now, used) {
                inner.entries.remove(uid);
            }
        }
        self.advance(inner, now);
    }
}

impl Inner {
    /// Whether this process was seen idle before: then its guest has booted.
    fn has_left(&self, process: &Identity) -> bool {
        self.load
            .values()
            .any(|load| load.process == *process && load.idle_looks >= IDLE_LOOKS)
    }
}

impl Load {
    fn of(process: &Identity) -> Self {
        Self {
            process: process.clone(),
            used: None,
            idle_looks: 0,
        }
    }

    /// Takes in the processor time used until `now`; true once the guest has idled long enough.
    fn take(&mut self, now: Timestamp, used: Duration) -> bool {
        if self.idle_looks >= IDLE_LOOKS {
            return true;
        }
        if let Some((before, known)) = self.used.replace((now, used)) {
            let passed = Duration::try_from(now.duration_since(before)).unwrap_or_default();
            let worked = used.saturating_sub(known);
            let idle =
                !passed.is_zero() && worked.as_micros() * 100 < passed.as_micros() * IDLE_PERCENT;
            self.idle_looks = if idle { self.idle_looks + 1 } else { 0 };
        }
        self.idle_looks >= IDLE_LOOKS
    }
}

fn sentence(before: usize) -> String {
    match before {
        // Only then is the first in the queue not let in.
        0 => "the emulated guests that were here when the node's agent started are looked at first"
            .to_owned(),
        1 => "1 emulated guest is booting before it".to_owned(),
        count => format!("{count} emulated guests are booting before it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn waits(name: &str, made: i64, processors: u32, since: i64) -> (String, Entry) {
        let entry = Entry {
            order: (at(made), name.to_owned()),
            processors,
            turn: Turn::Waits { since: at(since) },
        };
        (name.to_owned(), entry)
    }

    fn boots(name: &str, processors: u32, until: i64) -> (String, Entry) {
        let entry = Entry {
            order: (at(0), name.to_owned()),
            processors,
            turn: Turn::Boots { until: at(until) },
        };
        (name.to_owned(), entry)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn who_enters_follows_from_processors_order_and_time() {
        for (name, entries, now, expected) in [
            ("nobody else", vec![waits("a", 1, 1, 1)], 1, vec!["a"]),
            (
                "two on two processors, the third waits",
                vec![
                    waits("c", 3, 1, 1),
                    waits("b", 2, 1, 1),
                    waits("a", 1, 1, 1),
                ],
                1,
                vec!["a", "b"],
            ),
            (
                "more processors than the node has: alone",
                vec![waits("a", 1, 8, 1), waits("b", 2, 1, 1)],
                1,
                vec!["a"],
            ),
            (
                "a small one does not overtake a large one",
                vec![boots("x", 1, 99), waits("a", 1, 2, 1), waits("b", 2, 1, 1)],
                1,
                vec![],
            ),
            (
                "a turn is over",
                vec![boots("x", 2, 50), waits("a", 1, 1, 1)],
                50,
                vec!["a"],
            ),
            (
                "a turn is not over",
                vec![boots("x", 2, 50), waits("a", 1, 1, 1)],
                49,
                vec![],
            ),
            (
                "waited too long",
                vec![
                    boots("x", 2, 5000),
                    waits("a", 1, 1, 1),
                    waits("b", 2, 1, 2),
                ],
                901,
                vec!["a"],
            ),
            (
                "waited too long behind an older one that came later",
                vec![
                    boots("x", 2, 5000),
                    waits("a", 1, 1, 800),
                    waits("b", 2, 1, 1),
                    waits("c", 3, 1, 700),
                ],
                901,
                vec!["b"],
            ),
            (
                "who does not fit is not overtaken by who would, beside one that waited too long",
                vec![
                    boots("x", 1, 5000),
                    waits("a", 1, 2, 800),
                    waits("b", 2, 1, 800),
                    waits("c", 3, 4, 1),
                ],
                901,
                vec!["c"],
            ),
            (
                "more processors than can be counted",
                vec![
                    boots("x", u32::MAX, 50),
                    boots("y", u32::MAX, 50),
                    waits("a", 1, u32::MAX, 1),
                ],
                2,
                vec![],
            ),
        ] {
            let mut entries: Entries = entries.into_iter().collect();
            let entered = advance(&mut entries, 2, at(now), MINUTE);
            assert_eq!(entered, expected, "{name}");
            // Asking again gives nobody a second turn.
            assert!(
                advance(&mut entries, 2, at(now), MINUTE).is_empty(),
                "{name}"
            );
        }
    }

    /// By construction: each sequence of arrivals and ends, some thousand of them.
    #[test]
    fn turns_are_given_in_order_never_to_too_many_and_to_everybody_in_the_end() {
        for seed in 0..2000_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut random = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let node = u32::try_from(1 + random(4)).expect("small");
            let mut entries = Entries::new();
            let (mut entered, mut arrived) = (Vec::new(), 0_i64);
            let mut now = 0;
            while entered.len() < 12 {
                now += 1;
                assert!(now < 5000, "{seed}: somebody starves");
                if arrived < 12 && random(3) == 0 {
                    let processors = u32::try_from(1 + random(5)).expect("small");
                    let name = format!("{arrived:02}");
                    entries.extend([waits(&name, arrived, processors, now)]);
                    arrived += 1;
                }
                if random(4) == 0 {
                    let booting = entries.iter().find(|(_, entry)| entry.boots());
                    let done = booting.map(|(name, _)| name.clone());
                    done.and_then(|name| entries.remove(&name));
                }
                entered.extend(advance(&mut entries, node, at(now), MINUTE));
                let busy: Vec<u32> = entries
                    .values()
                    .filter(|entry| entry.boots())
                    .map(|entry| entry.processors)
                    .collect();
                let sum: u32 = busy.iter().sum();
                assert!(sum <= node || busy.len() == 1, "{seed}: {busy:?} on {node}");
            }
            assert!(entered.is_sorted(), "{seed}: {entered:?}");
        }
    }

    fn guest(uid: &str, made: i64) -> Booting {
        Booting {
            uid: uid.to_owned(),
            made: at(made),
            processors: 1,
        }
    }

    fn wait(count: usize) -> Admission {
        Admission::Wait {
            message: sentence(count),
        }
    }

    fn gate(here: &[&str]) -> (Gate, Arc<Mutex<Timestamp>>) {
        let time = Arc::new(Mutex::new(at(0)));
        let read = Arc::clone(&time);
        let clock = Clock::new(move || *read.lock().expect("nobody panics"));
        let here = here.iter().map(|uid| (*uid).to_owned()).collect();
        (Gate::new(1, here, clock), time)
    }

    #[tokio::test]
    async fn who_waits_is_told_how_many_are_before_it_and_woken() {
        let (gate, _) = gate(&[]);
        let wake = Arc::new(Notify::new());
        assert_eq!(gate.ask(&guest("a", 1), &wake), Admission::Enter);
        assert_eq!(gate.ask(&guest("b", 2), &wake), wait(1));
        assert_eq!(gate.ask(&guest("c", 3), &wake), wait(2));
        assert_eq!(gate.ask(&guest("a", 1), &wake), Admission::Enter);
        assert_eq!(sentence(1), "1 emulated guest is booting before it");
        assert_eq!(sentence(2), "2 emulated guests are booting before it");
        assert!(
            sentence(0).ends_with("are looked at first"),
            "{}",
            sentence(0)
        );
        gate.leave("a");
        wake.notified().await;
        assert_eq!(gate.ask(&guest("c", 3), &wake), wait(1));
        assert_eq!(gate.ask(&guest("b", 2), &wake), Admission::Enter);
    }

    #[test]
    fn after_a_restart_those_found_booting_keep_their_turns_and_the_order_stands() {
        let own = Identity::own().expect("we run");
        let (gate, time) = gate(&["a", "b", "c"]);
        let wake = Arc::new(Notify::new());
        // The youngest comes first, and has to wait for the roll call.
        assert_eq!(gate.ask(&guest("c", 3), &wake), wait(0));
        gate.found_booting(&guest("a", 1), at(0), &own);
        assert_eq!(gate.ask(&guest("b", 2), &wake), wait(1));
        assert_eq!(gate.ask(&guest("c", 3), &wake), wait(2));
        gate.leave("a");
        assert_eq!(gate.ask(&guest("b", 2), &wake), Admission::Enter);
        // One that does not answer the call is not waited for much longer.
        let (other, clock) = self::gate(&["silent"]);
        assert_eq!(other.ask(&guest("x", 9), &wake), wait(0));
        *clock.lock().expect("nobody panics") = at(11);
        assert_eq!(other.ask(&guest("x", 9), &wake), Admission::Enter);
        drop(time);
    }

    #[test]
    fn a_guest_has_booted_when_its_processors_idle_for_some_looks_in_a_row() {
        for (name, percents, expected) in [
            ("busy", vec![100; 9], false),
            ("idle", vec![100, 100, 1, 1, 1], true),
            ("waits for its disk", vec![100, 5, 5, 90, 5, 5, 100], false),
        ] {
            let mut load = Load::of(&Identity::own().expect("we run"));
            let mut used = Duration::ZERO;
            let mut booted = load.take(at(0), used);
            for (look, percent) in percents.into_iter().enumerate() {
                used += Duration::from_millis(20 * percent);
                let now = at(2 * (i64::try_from(look).expect("few") + 1));
                booted = load.take(now, used);
            }
            assert_eq!(booted, expected, "{name}");
        }
    }
}
