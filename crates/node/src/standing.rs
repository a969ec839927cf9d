//! Whether this node's hardware virtualization counts as usable: what the probe saw, what guests
//! since then proved, and what an admin says. Pure, but for the file that remembers the guests.
//!
//! A guest that KVM failed counts more than a probe that passed, and more than an admin's word: the
//! next guest would fail as it did. It counts until
//! * the machine boots anew, or
//! * somebody asks for the verdict to be taken again (`anyvirt doctor --retake`), or
//! * some time has passed, since nested virtualization fails now and then: an hour after the first
//!   failure of a boot, twice as long after each further one, at most a day. Then the next guest tries.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use api::accelerator::NodeVerdict;
use api::launcher::KvmFailure;
use api::names::annotations::ASSUME_HARDWARE_VIRTUALIZATION;
use jiff::Timestamp;
use qemu::probe::Verdict;
use serde::{Deserialize, Serialize};

use crate::machine::{read_json, write_json};

/// In the data directory.
const FILE: &str = "kvm-failure.json";
/// The class of a verdict that an admin gave.
const ASSUMED: &str = "Assumed";
/// How long the first failure of a boot counts.
const FIRST: Duration = Duration::from_secs(3600);
/// How long any failure counts at most.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A guest proved that KVM does not work here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lowered {
    /// The boot in which it did.
    pub boot_id: String,
    /// How many guests did in this boot.
    pub failures: u32,
    /// The last one, `namespace/name`.
    pub machine: String,
    /// What was seen of it.
    pub failure: KvmFailure,
}

impl Lowered {
    /// After one more guest has failed.
    #[must_use]
    pub fn after(
        before: Option<&Self>,
        boot_id: &str,
        machine: String,
        failure: KvmFailure,
    ) -> Self {
        let earlier = before.filter(|before| before.boot_id == boot_id);
        Self {
            boot_id: boot_id.to_owned(),
            failures: earlier.map_or(1, |before| before.failures.saturating_add(1)),
            machine,
            failure,
        }
    }

    /// Until when it counts.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        let doublings = self.failures.saturating_sub(1).min(10);
        let lasts = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        self.failure.at.checked_add(lasts).unwrap_or(Timestamp::MAX)
    }

    fn counts(&self, boot_id: &str, now: Timestamp) -> bool {
        self.boot_id == boot_id && now < self.until()
    }

    /// What the data directory remembers.
    pub(crate) fn read(data_directory: &Path) -> io::Result<Option<Self>> {
        read_json(&data_directory.join(FILE))
    }

    /// Remembers it, durably.
    pub(crate) fn write(&self, data_directory: &Path) -> io::Result<()> {
        write_json(data_directory, FILE, self)
    }

    /// Forgets it.
    pub(crate) fn remove(data_directory: &Path) -> io::Result<()> {
        match fs::remove_file(data_directory.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The verdict that counts.
#[must_use]
pub fn standing(
    probe: &Verdict,
    assumed: bool,
    lowered: Option<&Lowered>,
    boot_id: &str,
    now: Timestamp,
) -> NodeVerdict {
    let stage = probe.stage.clone().unwrap_or_default();
    let usable = probe.usable() || assumed;
    if let Some(lowered) = lowered.filter(|it| usable && it.counts(boot_id, now)) {
        return NodeVerdict {
            usable: false,
            class: lowered.failure.kind.class().to_owned(),
            stage: "Guest".to_owned(),
            message: format!(
                "KVM failed the virtual machine {}: {} (the probe said {}: {}); counts until {}, \
                 until this machine boots anew, or until the verdict is taken again on demand",
                lowered.machine,
                lowered.failure.evidence,
                probe.class.name(),
                probe.evidence,
                lowered.until()
            ),
        };
    }
    if assumed && !probe.usable() {
        return NodeVerdict {
            usable: true,
            class: ASSUMED.to_owned(),
            stage,
            message: format!(
                "taken for usable because the annotation {ASSUME_HARDWARE_VIRTUALIZATION} of this \
                 node says so; the probe said {}: {}",
                probe.class.name(),
                probe.evidence
            ),
        };
    }
    NodeVerdict {
        usable: probe.usable(),
        class: probe.class.name().to_owned(),
        stage,
        message: probe.evidence.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::launcher::KvmFailureKind;
    use qemu::probe::Class;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn lowered(failures: u32) -> Lowered {
        Lowered {
            boot_id: "b".to_owned(),
            failures,
            machine: "ns/vm".to_owned(),
            failure: KvmFailure {
                kind: KvmFailureKind::NoProgress,
                evidence: "it got nowhere".to_owned(),
                at: at(1000),
            },
        }
    }

    #[test]
    fn a_guest_counts_more_than_an_admin_and_an_admin_more_than_the_probe() {
        let (usable, broken) = (Class::Usable, Class::DeviceMissing);
        for (name, probe, assumed, failure, now, expected) in [
            ("healthy", usable, false, None, 2000, (true, "Usable")),
            (
                "broken",
                broken,
                false,
                None,
                2000,
                (false, "DeviceMissing"),
            ),
            ("assumed", broken, true, None, 2000, (true, "Assumed")),
            (
                "assumed, and true",
                usable,
                true,
                None,
                2000,
                (true, "Usable"),
            ),
            (
                "a guest failed",
                usable,
                false,
                Some(lowered(1)),
                2000,
                (false, "GuestKernelEmulated"),
            ),
            (
                "a guest failed on what was assumed",
                broken,
                true,
                Some(lowered(1)),
                2000,
                (false, "GuestKernelEmulated"),
            ),
            (
                "the probe says more than an old guest",
                broken,
                false,
                Some(lowered(1)),
                2000,
                (false, "DeviceMissing"),
            ),
            (
                "an hour later",
                usable,
                false,
                Some(lowered(1)),
                4600,
                (true, "Usable"),
            ),
            (
                "an hour after the second",
                usable,
                false,
                Some(lowered(2)),
                4600,
                (false, "GuestKernelEmulated"),
            ),
        ] {
            let probe = Verdict::new(probe, "evidence");
            let found = standing(&probe, assumed, failure.as_ref(), "b", at(now));
            assert_eq!((found.usable, found.class.as_str()), expected, "{name}");
            // What the probe really saw is always told.
            assert!(found.message.contains("evidence"), "{name}: {found:?}");
            let elsewhere = standing(&probe, assumed, failure.as_ref(), "another", at(now));
            assert_ne!(
                elsewhere.class, "GuestKernelEmulated",
                "{name}: after a boot"
            );
        }
    }

    #[test]
    fn failures_of_one_boot_add_up_and_never_count_longer_than_a_day() {
        let first = lowered(1);
        let again = Lowered::after(Some(&first), "b", "ns/b".to_owned(), first.failure.clone());
        assert_eq!(again.failures, 2);
        let booted = Lowered::after(Some(&again), "c", "ns/c".to_owned(), first.failure.clone());
        assert_eq!(booted.failures, 1);
        for failures in 1..100 {
            let lasts = lowered(failures).until().as_second() - 1000;
            assert!((3600..=86_400).contains(&lasts), "{failures}: {lasts}");
        }
        assert_eq!(lowered(100).until(), at(1000 + 86_400));
    }

    #[test]
    fn it_is_remembered_and_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let read = || Lowered::read(directory.path()).expect("readable");
        assert_eq!(read(), None);
        lowered(3).write(directory.path()).expect("written");
        assert_eq!(read(), Some(lowered(3)));
        Lowered::remove(directory.path()).expect("removed");
        Lowered::remove(directory.path()).expect("removed already");
        assert_eq!(read(), None);
    }
}
