//! The last verdict, kept in the data directory, and when it no longer holds.
//!
//! A verdict is true of one boot, kernel, QEMU, microcode, set of modules and device. Whoever has
//! another one of these has another machine, as far as KVM goes.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use qemu::probe::{Class, Verdict};
use serde::{Deserialize, Serialize};

use crate::machine::{read_understood, write_json};

/// The file's name in the data directory.
pub const FILE: &str = "hardware-verdict.json";
/// A bad verdict may come from something that passed (memory, another hypervisor), so it is looked at
/// again after this time even when nothing is known to have changed.
pub const BAD_HOLDS: Duration = Duration::from_secs(10 * 60);
/// The same for those whose cause passes by itself within seconds.
pub const PASSING_HOLDS: Duration = Duration::from_secs(30);

/// What a verdict depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// This boot.
    pub boot_id: String,
    /// As `uname -r`.
    pub kernel: String,
    /// QEMU's version; empty if there is none.
    pub qemu: String,
    /// The processor's microcode.
    pub microcode: String,
    /// The modules of KVM.
    pub modules: BTreeSet<String>,
    /// The device: number, inode and time of its last change; `None` if there is none.
    pub device: Option<DeviceKey>,
}

/// Which device file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceKey {
    /// Its inode.
    pub inode: u64,
    /// Its major and minor number.
    pub number: u64,
    /// Seconds of its last change of rights or owner; a look inside a device file changes other times.
    pub changed: i64,
    /// Its rights, owner and group.
    pub rights: (u32, u32, u32),
}

impl Key {
    /// Looks at this machine. `qemu` is the version of the QEMU in use.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn look(device: &Path, qemu: &str) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let machine = host::facts::Machine::look()?;
        let processor = std::fs::read_to_string("/proc/cpuinfo")?;
        Ok(Self {
            boot_id: machine.boot_id,
            kernel: machine.kernel,
            qemu: qemu.to_owned(),
            microcode: host::facts::processor_field(&processor, "microcode")
                .unwrap_or_default()
                .to_owned(),
            modules: host::surroundings::modules(),
            device: std::fs::metadata(device).ok().map(|found| DeviceKey {
                inode: found.ino(),
                number: found.rdev(),
                changed: found.ctime(),
                rights: (found.mode() & 0o7777, found.uid(), found.gid()),
            }),
        })
    }

    /// What is different, in words; empty if nothing is.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        [
            (self.boot_id != other.boot_id, "another boot"),
            (self.kernel != other.kernel, "another kernel"),
            (self.qemu != other.qemu, "another QEMU"),
            (self.microcode != other.microcode, "other microcode"),
            (self.modules != other.modules, "other modules of KVM"),
            (self.device != other.device, "another device"),
        ]
        .into_iter()
        .filter_map(|(different, words)| different.then_some(words))
        .collect()
    }
}

/// A verdict with its time and what it depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The verdict.
    pub verdict: Verdict,
    /// When it was taken.
    pub at: Timestamp,
    /// What it depends on.
    pub key: Key,
}

/// Something after which a verdict may no longer hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The node agent starts.
    Start,
    /// Something in `/dev` came, went or changed its rights.
    DevicesChanged,
    /// The machine was suspended or migrated, and goes on.
    Resumed,
    /// QEMU failed on KVM, or a guest on KVM did not get on.
    KvmFailed,
    /// Somebody asks.
    Asked,
    /// Time passes.
    Tick,
}

/// Whether the verdict must be taken again, and why, in words for the log.
#[must_use]
pub fn should_retake(
    event: Event,
    cached: Option<&Record>,
    current: &Key,
    now: Timestamp,
) -> Option<String> {
    let Some(cached) = cached else {
        return Some("none was taken yet".to_owned());
    };
    match event {
        // The machine under us may be another one.
        Event::Resumed => return Some("the machine was resumed".to_owned()),
        Event::KvmFailed => return Some("KVM failed in use".to_owned()),
        Event::Asked => return Some("somebody asks".to_owned()),
        Event::Start | Event::DevicesChanged | Event::Tick => {}
    }
    let differences = cached.key.differences(current);
    if !differences.is_empty() {
        return Some(differences.join(", "));
    }
    let holds = match cached.verdict.class {
        Class::Usable => return None,
        Class::OutOfMemory | Class::DeviceBusy => PASSING_HOLDS,
        _ => BAD_HOLDS,
    };
    let age = now.duration_since(cached.at);
    // A clock that went back says nothing about age.
    let old = age.is_negative() || age.unsigned_abs() >= holds;
    // At a start there is no hurry to trust a bad verdict of before: taking it costs milliseconds.
    (old || event == Event::Start).then(|| format!("{} is looked at again", cached.verdict.class))
}

/// Where the verdict is kept.
#[must_use]
pub fn file(data_directory: &Path) -> PathBuf {
    data_directory.join(FILE)
}

/// The verdict that was kept. A file that is not there, too large or not understood is none: it was
/// written by another release, or torn.
///
/// # Errors
/// If it is there and cannot be read.
pub fn cached(data_directory: &Path) -> io::Result<Option<Record>> {
    read_understood(&file(data_directory))
}

/// Keeps a verdict: whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub fn store(data_directory: &Path, record: &Record) -> io::Result<()> {
    write_json(data_directory, FILE, record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn key() -> Key {
        Key {
            boot_id: "boot".to_owned(),
            kernel: "6.18".to_owned(),
            qemu: "10.0.2".to_owned(),
            microcode: "0x1".to_owned(),
            modules: BTreeSet::from(["kvm".to_owned()]),
            device: Some(DeviceKey {
                inode: 1,
                number: 2,
                changed: 3,
                rights: (0o660, 0, 108),
            }),
        }
    }

    fn record(class: Class) -> Record {
        Record {
            verdict: Verdict::new(class, "evidence").at("Loop"),
            at: at(1_000),
            key: key(),
        }
    }

    fn retakes(event: Event, cached: Option<&Record>, current: &Key, second: i64) -> bool {
        should_retake(event, cached, current, at(second)).is_some()
    }

    #[test]
    fn a_verdict_holds_until_what_it_depends_on_changes() {
        let good = record(Class::Usable);
        for event in [Event::Start, Event::DevicesChanged, Event::Tick] {
            assert!(retakes(event, None, &key(), 1_000));
            assert!(!retakes(event, Some(&good), &key(), 9_000_000), "{event:?}");
            let changes: [fn(&mut Key); 7] = [
                |key| key.boot_id.clear(),
                |key| key.kernel.clear(),
                |key| key.qemu.clear(),
                |key| key.microcode.clear(),
                |key| key.modules.clear(),
                |key| key.device = None,
                |key| key.device.as_mut().expect("there").rights.0 = 0o600,
            ];
            for change in changes {
                let mut changed = key();
                change(&mut changed);
                assert!(retakes(event, Some(&good), &changed, 1_001), "{changed:?}");
            }
        }
        for event in [Event::Resumed, Event::KvmFailed, Event::Asked] {
            assert!(retakes(event, Some(&good), &key(), 1_001), "{event:?}");
        }
    }

    #[test]
    fn a_bad_verdict_is_looked_at_again_after_its_time() {
        let long = i64::try_from(BAD_HOLDS.as_secs()).expect("small");
        let short = i64::try_from(PASSING_HOLDS.as_secs()).expect("small");
        for (class, holds) in [
            (Class::GuestKernelEmulated, long),
            (Class::DeviceMissing, long),
            (Class::DeviceBusy, short),
            (Class::OutOfMemory, short),
        ] {
            let bad = record(class);
            for event in [Event::DevicesChanged, Event::Tick] {
                assert!(!retakes(event, Some(&bad), &key(), 1_000 + holds - 1));
                assert!(retakes(event, Some(&bad), &key(), 1_000 + holds));
                assert!(
                    retakes(event, Some(&bad), &key(), 900),
                    "the clock went back"
                );
            }
            assert!(retakes(Event::Start, Some(&bad), &key(), 1_001), "{class}");
        }
    }

    #[test]
    fn a_verdict_is_kept_and_what_is_not_understood_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(cached(folder.path()).expect("readable"), None);
        let kept = record(Class::NoTimer);
        store(folder.path(), &kept).expect("writable");
        assert_eq!(cached(folder.path()).expect("readable"), Some(kept.clone()));
        store(folder.path(), &record(Class::Usable)).expect("twice");
        for text in ["", "{", "{\"verdict\":{\"class\":\"Mars\"}}"] {
            std::fs::write(file(folder.path()), text).expect("writable");
            assert_eq!(cached(folder.path()).expect("readable"), None, "{text}");
        }
        // A record, and more behind it than any has.
        let mut large = serde_json::to_vec(&kept).expect("JSON");
        large.resize(2 << 20, b' ');
        std::fs::write(file(folder.path()), large).expect("writable");
        assert_eq!(cached(folder.path()).expect("readable"), None);
    }

    #[test]
    fn this_machine_has_a_key_and_it_is_the_same_twice() {
        let look = || Key::look(Path::new(super::super::DEVICE), "10.0").expect("readable");
        assert!(look().differences(&look()).is_empty());
    }
}
