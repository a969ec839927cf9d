//! Which standby guests there are to be. Pure: what is seen in, one step out.

use std::time::Duration;

use jiff::Timestamp;

use super::Setting;

/// Nobody has started from a template for so long: no guest of it stands by.
pub(crate) const IDLE: Duration = Duration::from_secs(30 * 60);
/// Nobody has started at all for so long: there is time to get a guest ready. A warm start is over by then.
pub(crate) const QUIET: Duration = Duration::from_secs(2);
/// So much memory stays free beside guests that stand by.
pub(crate) const MARGIN_BYTES: u64 = 256 << 20;
/// What could not be got ready is tried again after this time, doubled each time up to [`MOST_DOUBLINGS`].
const FIRST_RETRY: Duration = Duration::from_secs(30);
const MOST_DOUBLINGS: u32 = 6;

/// A template that machines started from.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<Id> {
    /// Which.
    pub(crate) id: Id,
    /// When a machine last asked for it.
    pub(crate) asked_at: Timestamp,
    /// Which of its versions is in memory; none: it is not.
    pub(crate) made_at: Option<Timestamp>,
    /// Bytes that a guest of it takes while it stands by: seen, or else the most.
    pub(crate) bytes: u64,
    /// How often in a row none could be got ready, and when last.
    pub(crate) failed: Option<(u32, Timestamp)>,
}

/// A guest that stands by.
#[derive(Debug, Clone)]
pub(crate) struct Stands<Id> {
    /// Which.
    pub(crate) name: String,
    /// Its template.
    pub(crate) id: Id,
    /// Which of its versions.
    pub(crate) made_at: Timestamp,
    /// Bytes that it takes.
    pub(crate) bytes: u64,
    /// It is still there.
    pub(crate) lives: bool,
}

/// What is seen.
#[derive(Debug, Clone)]
pub(crate) struct Seen<Id> {
    pub(crate) setting: Setting,
    pub(crate) wanted: Vec<Wanted<Id>>,
    pub(crate) standbys: Vec<Stands<Id>>,
    /// Memory that this machine could give to programs; none where that is not known.
    pub(crate) free_bytes: Option<u64>,
    /// What a machine needs that starts just now without a guest that stands by.
    pub(crate) needed_bytes: u64,
    /// Guests that boot, or wait for it.
    pub(crate) booting: usize,
    /// When a machine was last about to start.
    pub(crate) started_at: Option<Timestamp>,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step<Id> {
    /// End this guest, for this reason.
    End(String, &'static str),
    /// Get one ready.
    Fill(Id),
    /// Nothing, until something changes or this time comes.
    Wait(Option<Timestamp>),
}

/// Decides it.
pub(crate) fn decide<Id: Clone + PartialEq>(seen: &Seen<Id>, now: Timestamp) -> Step<Id> {
    if let Some((name, why)) = too_many(seen, now) {
        return Step::End(name, why);
    }
    // What waits for time.
    let mut due: Option<Timestamp> = None;
    let mut wait_until = |at: Timestamp| due = Some(due.map_or(at, |due| due.min(at)));
    if let Some(first) = seen.wanted.iter().map(|it| after(it.asked_at, IDLE)).min()
        && !seen.standbys.is_empty()
    {
        wait_until(first);
    }
    let quiet_at = seen.started_at.map(|at| after(at, QUIET));
    let mut wanted: Vec<_> = seen
        .wanted
        .iter()
        .filter(|it| lacks(seen, it, now))
        .collect();
    // Who started last starts next.
    wanted.sort_by_key(|it| std::cmp::Reverse(it.asked_at));
    for it in wanted {
        let retry_at = it.failed.map(|(count, at)| {
            let doublings = count.saturating_sub(1).min(MOST_DOUBLINGS);
            after(at, FIRST_RETRY.saturating_mul(1 << doublings))
        });
        match retry_at
            .into_iter()
            .chain(quiet_at)
            .filter(|at| *at > now)
            .max()
        {
            Some(at) => wait_until(at),
            None if seen.booting == 0 && has_room(seen, it.bytes) => {
                return Step::Fill(it.id.clone());
            }
            None => {}
        }
    }
    Step::Wait(due)
}

fn after(at: Timestamp, time: Duration) -> Timestamp {
    at.checked_add(time).unwrap_or(Timestamp::MAX)
}

/// Whether guests are still to stand by for a template that was last asked for then.
pub(super) fn is_in_demand(asked_at: Timestamp, now: Timestamp) -> bool {
    after(asked_at, IDLE) > now
}

/// Whether there are fewer guests of it than there are to be.
fn lacks<Id: PartialEq>(seen: &Seen<Id>, it: &Wanted<Id>, now: Timestamp) -> bool {
    let here = seen.standbys.iter().filter(|standby| standby.id == it.id);
    let size = usize::try_from(seen.setting.size).unwrap_or(usize::MAX);
    it.made_at.is_some() && is_in_demand(it.asked_at, now) && here.count() < size
}

fn taken<Id>(seen: &Seen<Id>) -> u64 {
    let all = seen.standbys.iter();
    all.fold(0, |sum, it| sum.saturating_add(it.bytes))
}

/// Whether one more guest may take so many bytes.
fn has_room<Id>(seen: &Seen<Id>, bytes: u64) -> bool {
    let fits = taken(seen).saturating_add(bytes) <= seen.setting.maximum_bytes;
    let needed = bytes
        .saturating_add(MARGIN_BYTES)
        .saturating_add(seen.needed_bytes);
    fits && seen.free_bytes.is_none_or(|free| free >= needed)
}

/// A guest that is not to stand by any more, and why.
fn too_many<Id: PartialEq>(seen: &Seen<Id>, now: Timestamp) -> Option<(String, &'static str)> {
    let wanted = |it: &Stands<Id>| seen.wanted.iter().find(|wanted| wanted.id == it.id);
    for (index, it) in seen.standbys.iter().enumerate() {
        let before = seen.standbys.iter().take(index);
        let size = usize::try_from(seen.setting.size).unwrap_or(usize::MAX);
        let why = match wanted(it) {
            _ if !it.lives => "it has ended by itself",
            None => "its template is not used",
            Some(wanted) if wanted.made_at != Some(it.made_at) => {
                "its template is not in memory any more, or another one"
            }
            Some(wanted) if !is_in_demand(wanted.asked_at, now) => {
                "its template is not used any more"
            }
            Some(_) if before.filter(|before| before.id == it.id).count() >= size => {
                "fewer are to stand by"
            }
            Some(_) => continue,
        };
        return Some((it.name.clone(), why));
    }
    let is_short = seen
        .free_bytes
        .is_some_and(|free| free < MARGIN_BYTES.saturating_add(seen.needed_bytes));
    let why = if is_short {
        "other guests and programs need the memory"
    } else if taken(seen) > seen.setting.maximum_bytes {
        "guests that stand by take more memory than they may"
    } else {
        return None;
    };
    // The one whose template was not asked for in the longest time.
    let coldest = seen
        .standbys
        .iter()
        .min_by_key(|it| wanted(it).map(|wanted| wanted.asked_at));
    coldest.map(|it| (it.name.clone(), why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn seen() -> Seen<u8> {
        Seen {
            setting: Setting {
                size: 1,
                maximum_bytes: GIB,
            },
            wanted: vec![Wanted {
                id: 1,
                asked_at: at(1000),
                made_at: Some(at(10)),
                bytes: 100 << 20,
                failed: None,
            }],
            standbys: vec![],
            free_bytes: Some(8 * GIB),
            needed_bytes: 0,
            booting: 0,
            started_at: Some(at(1000)),
        }
    }

    fn stands(name: &str, id: u8) -> Stands<u8> {
        Stands {
            name: name.to_owned(),
            id,
            made_at: at(10),
            bytes: 100 << 20,
            lives: true,
        }
    }

    type Change = fn(&mut Seen<u8>);

    #[test]
    fn a_guest_is_got_ready_when_there_is_time_and_room_for_it() {
        let cases: [(&str, Change, i64, Step<u8>); 12] = [
            ("now", |_| {}, 1002, Step::Fill(1)),
            ("just started", |_| {}, 1001, Step::Wait(Some(at(1002)))),
            ("others boot", |it| it.booting = 1, 1002, Step::Wait(None)),
            (
                "enough",
                |it| it.standbys.push(stands("a", 1)),
                1002,
                Step::Wait(Some(after(at(1000), IDLE))),
            ),
            (
                "two are to be",
                |it| {
                    it.setting.size = 2;
                    it.standbys.push(stands("a", 1));
                },
                1002,
                Step::Fill(1),
            ),
            (
                "none is to be",
                |it| it.setting.size = 0,
                1002,
                Step::Wait(None),
            ),
            (
                "cold",
                |it| it.wanted[0].made_at = None,
                1002,
                Step::Wait(None),
            ),
            ("long ago", |_| {}, 1000 + 1800, Step::Wait(None)),
            (
                "bound",
                |it| it.setting.maximum_bytes = (100 << 20) - 1,
                1002,
                Step::Wait(None),
            ),
            (
                "memory",
                |it| it.free_bytes = Some((356 << 20) - 1),
                1002,
                Step::Wait(None),
            ),
            (
                "failed",
                |it| it.wanted[0].failed = Some((2, at(1001))),
                1002,
                Step::Wait(Some(at(1061))),
            ),
            (
                "the last one first",
                |it| {
                    let other = Wanted {
                        id: 2,
                        asked_at: at(1001),
                        ..it.wanted[0].clone()
                    };
                    it.wanted.push(other);
                },
                1003,
                Step::Fill(2),
            ),
        ];
        for (name, change, now, expected) in cases {
            let mut seen = seen();
            change(&mut seen);
            assert_eq!(decide(&seen, at(now)), expected, "{name}");
        }
    }

    #[test]
    fn a_guest_that_is_not_to_stand_by_any_more_ends_and_is_told_why() {
        let cases: [(&str, Change, i64); 8] = [
            ("ended by itself", |it| it.standbys[0].lives = false, 1001),
            ("is not used", |it| it.wanted.clear(), 1001),
            (
                "or another one",
                |it| it.wanted[0].made_at = Some(at(11)),
                1001,
            ),
            ("or another one", |it| it.wanted[0].made_at = None, 1001),
            ("not used any more", |_| {}, 1000 + 1800),
            ("fewer", |it| it.setting.size = 0, 1001),
            ("need the memory", |it| it.free_bytes = Some(0), 1001),
            ("than they may", |it| it.setting.maximum_bytes = 0, 1001),
        ];
        for (words, change, now) in cases {
            let mut seen = seen();
            seen.standbys.push(stands("a", 1));
            change(&mut seen);
            let Step::End(name, why) = decide(&seen, at(now)) else {
                panic!("{words}: {:?}", decide(&seen, at(now)));
            };
            assert_eq!(name, "a");
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn a_machine_that_starts_otherwise_has_the_memory_and_the_coldest_guest_goes_first() {
        let mut seen = seen();
        let cold = Wanted {
            id: 2,
            asked_at: at(900),
            ..seen.wanted[0].clone()
        };
        seen.wanted.push(cold);
        seen.standbys = vec![stands("a", 1), stands("b", 2)];
        seen.needed_bytes = 8 * GIB;
        assert!(matches!(decide(&seen, at(1001)), Step::End(name, _) if name == "b"));
    }

    proptest! {
        /// However it began, it comes to rest, and then is within its bounds.
        #[test]
        fn it_comes_to_rest_within_its_bounds(
            size in 0_u32..4,
            maximum in 0_u64..1000,
            free in 0_u64..2000,
            wanted in prop::collection::vec((0_i64..4000, any::<bool>(), 1_u64..200), 0..4),
            standbys in prop::collection::vec((0_u8..5, 0_i64..2, any::<bool>()), 0..6),
        ) {
            let now = at(4000);
            let wanted: Vec<_> = (0..).zip(wanted).map(|(id, (asked, hot, mib))| Wanted {
                id,
                asked_at: at(asked),
                made_at: hot.then(|| at(0)),
                bytes: mib << 20,
                failed: None,
            }).collect();
            let known = wanted.clone();
            let bytes_of = |id: u8| known.iter().find(|it| it.id == id).map_or(1 << 20, |it| it.bytes);
            let standbys: Vec<_> = (0..).zip(standbys).map(|(name, (id, made, lives)): (u8, _)| Stands {
                name: name.to_string(),
                id,
                made_at: at(made),
                bytes: bytes_of(id),
                lives,
            }).collect();
            let taken_at_first = standbys.iter().map(|it| it.bytes).sum::<u64>();
            let mut seen = Seen {
                setting: Setting { size, maximum_bytes: maximum << 20 },
                wanted,
                standbys,
                free_bytes: Some(free << 20),
                needed_bytes: 0,
                booting: 0,
                started_at: None,
            };
            let all = (free << 20) + taken_at_first;
            let mut steps = 0;
            loop {
                match decide(&seen, now) {
                    Step::End(name, _) => seen.standbys.retain(|it| it.name != name),
                    Step::Fill(id) => {
                        let bytes = bytes_of(id);
                        seen.standbys.push(Stands {
                            name: format!("new{steps}"),
                            id,
                            made_at: at(0),
                            bytes,
                            lives: true,
                        });
                    }
                    Step::Wait(_) => break,
                }
                seen.free_bytes = Some(all.saturating_sub(taken(&seen)));
                steps += 1;
                prop_assert!(steps < 40, "it does not come to rest: {seen:?}");
            }
            prop_assert!(taken(&seen) <= maximum << 20);
            for it in &seen.standbys {
                let wanted = seen.wanted.iter().find(|wanted| wanted.id == it.id);
                prop_assert!(it.lives && wanted.is_some_and(|wanted| wanted.made_at == Some(it.made_at)));
                let same = seen.standbys.iter().filter(|other| other.id == it.id).count();
                prop_assert!(same <= size as usize);
            }
        }
    }
}
