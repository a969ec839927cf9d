//! The instants that a machine can go back to, and which of them is meant.

use std::time::Duration;

use api::snapshot::{Phase, VirtualMachineSnapshot, parse_duration};
use jiff::Timestamp;
use kube::ResourceExt as _;

/// An instant that was kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Instant {
    /// When.
    pub(super) at: Timestamp,
    /// The snapshot that has it.
    pub(super) snapshot: String,
}

/// Which one is meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    /// The latest that is at least so old.
    Ago(Duration),
    /// The latest that is not after this.
    At(Timestamp),
    /// That of this snapshot.
    Named(String),
}

impl Wanted {
    /// `-5m`, `2026-11-23T12:00:00Z`, or the name of a snapshot.
    pub(super) fn parse(text: &str) -> Self {
        let ago = text.strip_prefix('-').and_then(parse_duration);
        if let Some(ago) = ago {
            return Self::Ago(ago);
        }
        match text.parse() {
            Ok(at) => Self::At(at),
            Err(_) => Self::Named(text.to_owned()),
        }
    }
}

/// The instants of the machine with this UID among `snapshots`, the earliest first.
pub(super) fn instants(uid: Option<&str>, snapshots: &[VirtualMachineSnapshot]) -> Vec<Instant> {
    let mut all: Vec<Instant> = snapshots
        .iter()
        .filter_map(|snapshot| {
            let status = snapshot.status.as_ref()?;
            let usable = snapshot.spec.include_memory == Some(true)
                && status.phase == Some(Phase::Succeeded)
                && status.ready_to_use == Some(true)
                && status.source_uid.as_deref() == uid;
            let at = status.creation_time.as_ref().filter(|_| usable)?.0;
            let snapshot = snapshot.name_any();
            Some(Instant { at, snapshot })
        })
        .collect();
    all.sort_by(|one, other| (one.at, &one.snapshot).cmp(&(other.at, &other.snapshot)));
    all
}

/// The one that is meant.
///
/// # Errors
/// Why there is none, a sentence.
pub(super) fn choose(wanted: &Wanted, all: &[Instant], now: Timestamp) -> Result<Instant, String> {
    let before = |limit: Timestamp| all.iter().rev().find(|it| it.at <= limit);
    let found = match wanted {
        Wanted::Named(name) => all.iter().find(|it| it.snapshot == *name),
        Wanted::At(at) => before(*at),
        Wanted::Ago(ago) => now.checked_sub(*ago).ok().and_then(before),
    };
    found.cloned().ok_or_else(|| match (wanted, all.first()) {
        (_, None) => "no instant of it was kept".to_owned(),
        (Wanted::Named(name), Some(_)) => {
            format!("it has no snapshot with memory called \"{name}\"")
        }
        (_, Some(first)) => format!(
            "the earliest instant that was kept is {}, {} ago",
            first.at,
            age(first.at, now)
        ),
    })
}

/// How long ago `at` is, in words: the two largest units.
pub(super) fn age(at: Timestamp, now: Timestamp) -> String {
    match now.duration_since(at).as_secs().max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn now() -> Timestamp {
        "2026-11-23T12:10:00Z".parse().unwrap()
    }

    fn snapshot(name: &str, at: &str, change: impl FnOnce(&mut Value)) -> VirtualMachineSnapshot {
        let mut snapshot = json!({
            "apiVersion": "snapshot.kubevirt.io/v1beta1", "kind": "VirtualMachineSnapshot",
            "metadata": { "name": name },
            "spec": { "source": { "kind": "VirtualMachine", "name": "m" }, "includeMemory": true },
            "status": { "phase": "Succeeded", "readyToUse": true, "sourceUID": "u", "creationTime": format!("2026-11-23T{at}Z") },
        });
        change(&mut snapshot);
        serde_json::from_value(snapshot).unwrap()
    }

    fn some() -> Vec<Instant> {
        let unchanged = |_: &mut Value| {};
        instants(
            Some("u"),
            &[
                snapshot("c", "12:08:00", unchanged),
                snapshot("a", "12:00:00", unchanged),
                snapshot("b", "12:04:30", unchanged),
                snapshot("other", "12:05:00", |it| {
                    it["status"]["sourceUID"] = json!("other")
                }),
                snapshot("off", "12:05:00", |it| {
                    it["spec"]["includeMemory"] = Value::Null
                }),
                snapshot("damaged", "12:05:00", |it| {
                    it["status"]["readyToUse"] = json!(false)
                }),
            ],
        )
    }

    #[test]
    fn only_whole_instants_of_the_same_machine_count_in_the_order_of_time() {
        let names: Vec<String> = some().into_iter().map(|it| it.snapshot).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn the_latest_that_is_old_enough_is_meant() {
        for (text, expected) in [
            ("-1m", Ok("c")),
            ("-2m", Ok("c")),
            ("-5m", Ok("b")),
            ("-5m31s", Ok("a")),
            ("-0s", Ok("c")),
            (
                "-11m",
                Err("the earliest instant that was kept is 2026-11-23T12:00:00Z, 10m0s ago"),
            ),
            ("2026-11-23T12:05:00Z", Ok("b")),
            ("2026-11-23T11:00:00Z", Err("the earliest instant")),
            ("c", Ok("c")),
            ("nobody", Err("no snapshot with memory called \"nobody\"")),
            ("-x", Err("called \"-x\"")),
        ] {
            let found = choose(&Wanted::parse(text), &some(), now());
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.snapshot, expected, "{text}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{text}: {found}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
        let none = choose(&Wanted::Ago(Duration::ZERO), &[], now());
        assert_eq!(none.unwrap_err(), "no instant of it was kept");
    }
}
