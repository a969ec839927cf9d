//! What this node knows of itself, and how it stays fresh.
//!
//! The verdict is taken again when `/dev` changes, after the machine slept, after KVM failed a guest,
//! every [`AGAIN_AFTER`], and on demand (the Node's annotation `anyvirt.io/retake-verdict`). The
//! time-consuming rest (what QEMU can, how slow emulation is) follows in the background.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::accelerator::{Cap, HelperDevice, NodeFacts, NodeVerdict, Problem, Scope};
use api::launcher::KvmFailure;
use api::names::annotations;
use host::changes::{Change, Changes};
use host::facts::{Device, Machine};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use qemu::probe::{Class, Verdict};
use tokio::sync::{Notify, watch};

use crate::abilities::{Asker, Offered, own_program};
use crate::calibration::{self, CalibrationError};
use crate::hardware::cache::{self, Event, Key, Record};
use crate::hardware::devices::DeviceVerdict;
use crate::standing::{Lowered, standing};
use crate::{Clock, hardware};

/// The devices that guests use, and where they are.
const DEVICES: [(&str, &str); 4] = [
    ("/dev", "kvm"),
    ("/dev", "vhost-net"),
    ("/dev", "vhost-vsock"),
    ("/dev/net", "tun"),
];
/// Devices come with a burst of changes; they are looked at once, after it.
const SETTLED: Duration = Duration::from_millis(200);
/// Where a folder cannot be watched, the devices are looked at this often; and the machine's sleep
/// always is.
const LOOK_PERIOD: Duration = Duration::from_secs(10);
/// A verdict that nothing called into doubt is taken again after this time: it costs milliseconds.
const AGAIN_AFTER: Duration = Duration::from_secs(600);
/// What a verdict depends on (the kernel, its modules, the microcode, QEMU) is looked at this often.
const KEY_PERIOD: Duration = Duration::from_secs(60);
/// Whether the slowdown is to be measured is looked at this often: soon enough after the start, and
/// between two guests.
const CALIBRATION_LOOK: Duration = Duration::from_secs(5);
/// The clocks of a machine that is awake differ by less.
const ASLEEP: Duration = Duration::from_secs(1);

/// The devices of guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Devices {
    pub(crate) kvm: Device,
    /// Those beside it.
    pub(crate) helpers: Vec<DeviceVerdict>,
}

impl Devices {
    fn look() -> Self {
        Self {
            kvm: host::facts::device(Path::new(hardware::DEVICE)),
            helpers: hardware::devices::look(),
        }
    }

    /// Whether a device beside KVM may be offered to guests.
    pub(crate) fn usable(&self, device: HelperDevice) -> bool {
        self.helpers
            .iter()
            .any(|it| it.device == device && it.usable())
    }
}

/// What the Node object asks of us, besides its own name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The most that the node's label permits.
    pub(crate) cap: Option<Cap>,
    /// KVM shall be taken for usable.
    pub(crate) assume: bool,
    /// The verdict shall be taken again; a token that is not answered yet.
    pub(crate) retake: Option<String>,
}

impl Asked {
    /// What the Node object asks.
    pub(crate) fn of(node: &Node) -> Self {
        let annotation = |name: &str| node.annotations().get(name);
        let answered = annotation(annotations::VERDICT_RETAKEN);
        Self {
            cap: Cap::of_labels(Scope::Node, &node.name_any(), node.labels()),
            assume: annotation(annotations::ASSUME_HARDWARE_VIRTUALIZATION)
                .is_some_and(|value| value == "true"),
            retake: annotation(annotations::RETAKE_VERDICT)
                .filter(|token| Some(*token) != answered)
                .cloned(),
        }
    }
}

/// What is known.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) machine: Machine,
    pub(crate) devices: Devices,
    /// What the probe saw, and when.
    pub(crate) record: Record,
    pub(crate) lowered: Option<Lowered>,
    pub(crate) asked: Asked,
    /// The last token of a retake that was answered by this process.
    pub(crate) answered: Option<String>,
    pub(crate) offered: Offered,
    /// How many times slower than KVM emulation is here; measured after the start.
    pub(crate) slowdown: Option<f64>,
}

impl Known {
    /// The verdict that counts.
    pub(crate) fn verdict(&self, now: Timestamp) -> NodeVerdict {
        standing(
            &self.record.verdict,
            self.asked.assume,
            self.lowered.as_ref(),
            &self.machine.boot_id,
            now,
        )
    }

    /// What decides on this node which accelerator a guest gets.
    pub(crate) fn facts(&self, now: Timestamp) -> NodeFacts {
        NodeFacts {
            verdict: self.verdict(now),
            cap: self.asked.cap.clone(),
            architecture: self.machine.go_architecture().to_owned(),
            emulates: self.offered.emulates.clone(),
            kvm_device: self.devices.kvm == Device::Usable,
            slowdown: self.slowdown,
        }
    }
}

/// What is known, shared by all machines of the node.
#[derive(Debug)]
pub(crate) struct Knowledge {
    known: watch::Sender<Known>,
    data_directory: PathBuf,
    qemu_program: Option<PathBuf>,
    clock: Clock,
    /// Told when the verdict is to be taken again.
    doubt: Notify,
}

/// Why the probe runs again.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    /// Devices came, went or changed their rights.
    Devices,
    /// The machine slept.
    Slept,
    /// A guest failed.
    Doubt,
    /// Time passed.
    Time,
    /// Somebody asked, with this token.
    Demand(String),
    /// Perhaps something changed of what the verdict depends on.
    Look,
}

impl Cause {
    fn event(&self) -> Event {
        match self {
            Self::Devices => Event::DevicesChanged,
            Self::Slept => Event::Resumed,
            Self::Doubt => Event::KvmFailed,
            Self::Time | Self::Demand(_) => Event::Asked,
            Self::Look => Event::Tick,
        }
    }
}

impl Knowledge {
    /// Takes the first verdict.
    pub(crate) async fn gather(
        machine: Machine,
        data_directory: &Path,
        qemu_program: Option<PathBuf>,
        clock: Clock,
    ) -> Arc<Self> {
        let lowered = Lowered::read(data_directory).unwrap_or_else(|error| {
            tracing::warn!(%error, "what guests proved of KVM is not known any more");
            None
        });
        let known = Known {
            machine,
            devices: Devices::look(),
            record: take(
                data_directory.to_owned(),
                Event::Start,
                None,
                None,
                clock.now(),
            )
            .await
            .0,
            lowered,
            asked: Asked::default(),
            answered: None,
            offered: Offered::unasked(qemu_program.as_deref()),
            slowdown: kept_slowdown(data_directory).map(|kept| kept.slowdown.ratio),
        };
        let knowledge = Self {
            known: watch::Sender::new(known),
            data_directory: data_directory.to_owned(),
            qemu_program,
            clock,
            doubt: Notify::new(),
        };
        knowledge.log();
        Arc::new(knowledge)
    }

    /// What is known now.
    pub(crate) fn known(&self) -> Known {
        self.known.borrow().clone()
    }

    /// What decides now which accelerator a guest gets.
    pub(crate) fn facts(&self) -> NodeFacts {
        self.known.borrow().facts(self.clock.now())
    }

    /// Tells of each change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// KVM failed a guest, `namespace/name`: from now on it is not usable, whatever the probe says.
    /// Told again for the same failure it does not count it again, only remembers it if it could not
    /// before.
    ///
    /// # Errors
    /// If that cannot be remembered. It counts all the same as long as this process lives.
    pub(crate) fn lower(&self, machine: &str, failure: &KvmFailure) -> std::io::Result<()> {
        let mut written = Ok(());
        self.known.send_if_modified(|known| {
            let same = |known: &Lowered| known.machine == machine && known.failure == *failure;
            if let Some(lowered) = known.lowered.as_ref().filter(|known| same(known)) {
                written = lowered.write(&self.data_directory);
                return false;
            }
            let lowered = Lowered::after(
                known.lowered.as_ref(),
                &known.machine.boot_id,
                machine.to_owned(),
                failure.clone(),
            );
            written = lowered.write(&self.data_directory);
            known.lowered = Some(lowered);
            true
        });
        self.log();
        self.doubt.notify_one();
        written
    }

    /// A guest could not start with KVM: the verdict is to be taken again.
    pub(crate) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// The Node object as it is now; why its cap cannot be read, if that is news.
    pub(crate) fn take_node(&self, node: &Node) -> Option<Problem> {
        let asked = Asked::of(node);
        let mut told = None;
        let changed = self.known.send_if_modified(|known| {
            let changed = known.asked != asked;
            let before = std::mem::replace(&mut known.asked, asked.clone());
            told = before.cap.and_then(|cap| cap.problem);
            changed
        });
        if changed {
            self.log();
        }
        if asked.retake.is_some() {
            self.doubt.notify_one();
        }
        let problem = asked.cap.and_then(|cap| cap.problem);
        problem.filter(|problem| told.as_ref() != Some(problem))
    }

    fn log(&self) {
        let verdict = self.known.borrow().verdict(self.clock.now());
        tracing::info!(
            usable = verdict.usable,
            class = verdict.class,
            stage = verdict.stage,
            message = verdict.message,
            "hardware virtualization"
        );
    }

    /// Takes the verdict again, for ever, whenever there is a reason.
    pub(crate) async fn keep_fresh(&self) {
        let mut folders = Folders::watch();
        let mut slept = host::clock::slept();
        let mut waited = Duration::ZERO;
        loop {
            let demanded = self.known.borrow().demanded();
            let cause = match demanded {
                Some(token) => Cause::Demand(token),
                None => tokio::select! {
                    () = folders.changed() => Cause::Devices,
                    () = self.doubt.notified() => Cause::Doubt,
                    () = tokio::time::sleep(LOOK_PERIOD) => {
                        waited += LOOK_PERIOD;
                        let now = host::clock::slept();
                        let jump = now.saturating_sub(std::mem::replace(&mut slept, now));
                        match (jump > ASLEEP, waited >= AGAIN_AFTER) {
                            (true, _) => Cause::Slept,
                            (_, true) => Cause::Time,
                            _ if waited.as_secs().is_multiple_of(KEY_PERIOD.as_secs()) => Cause::Look,
                            _ => continue,
                        }
                    }
                },
            };
            if cause != Cause::Look {
                waited = Duration::ZERO;
            }
            if cause == Cause::Devices {
                tokio::time::sleep(SETTLED).await;
            }
            self.retake(cause).await;
        }
    }

    async fn retake(&self, cause: Cause) {
        let now = self.clock.now();
        let (before, cached, qemu) = {
            let known = self.known.borrow();
            let qemu = known.offered.version.map(|version| version.to_string());
            (known.verdict(now), known.record.clone(), qemu)
        };
        let directory = self.data_directory.clone();
        let (record, why) = take(directory, cause.event(), Some(cached), qemu, now).await;
        if why.is_none() && cause == Cause::Look {
            return;
        }
        let devices = Devices::look();
        if let Cause::Demand(_) = cause
            && let Err(error) = Lowered::remove(&self.data_directory)
        {
            tracing::warn!(%error, "what guests proved of KVM is forgotten only until the next start");
        }
        // Told even if it is the same: its time is new.
        self.known.send_modify(|known| {
            known.record = record;
            known.devices = devices;
            if let Cause::Demand(token) = &cause {
                known.answered = Some(token.clone());
                known.lowered = None;
            }
        });
        let after = self.known.borrow().verdict(now);
        if (before.usable, &before.class) != (after.usable, &after.class) {
            tracing::info!(?cause, why, "the verdict has changed");
            self.log();
        }
    }

    /// Measures, for ever, how slow emulation is here: once QEMU is known, when `starting` says that no
    /// guest starts, and again when what the figure depends on changes.
    pub(crate) async fn keep_calibrated(&self, starting: impl Fn() -> usize) {
        let architecture = self.known.borrow().machine.architecture.clone();
        if !calibration::is_written_for(&architecture) {
            tracing::info!(
                architecture,
                "how slow emulation is here is not measured: there is no such measurement for it yet"
            );
            return std::future::pending().await;
        }
        loop {
            let wait = match self.calibrate(starting()).await {
                Ok(()) => CALIBRATION_LOOK,
                Err(error) => {
                    tracing::warn!(%error, "the slowdown of emulation is not known");
                    AGAIN_AFTER
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn calibrate(&self, starting: usize) -> Result<(), CalibrationError> {
        let now = self.clock.now();
        let (version, on_kvm) = {
            let known = self.known.borrow();
            // What an admin assumes is no measure.
            let on_kvm = known.record.verdict.usable() && known.verdict(now).usable;
            (known.offered.version, on_kvm)
        };
        let Some(version) = version else {
            return Ok(());
        };
        let Some(program) = own_program(self.qemu_program.as_deref()) else {
            return Ok(());
        };
        let io = |step| move |source| CalibrationError::Io { step, source };
        let key = calibration::Key::look(&version.to_string(), on_kvm)
            .map_err(io("see what the slowdown depends on"))?;
        let kept = kept_slowdown(&self.data_directory);
        if !calibration::should_measure(kept.as_ref(), &key, starting, now) {
            return Ok(());
        }
        let slowdown =
            calibration::measure(&program, &self.data_directory, key.baseline, now).await?;
        tracing::info!(
            ratio = slowdown.ratio,
            low = slowdown.low,
            high = slowdown.high,
            "emulation is slower than the processor by this factor"
        );
        self.known
            .send_modify(|known| known.slowdown = Some(slowdown.ratio));
        calibration::store(&self.data_directory, &calibration::Record { slowdown, key })
            .map_err(io("keep the slowdown"))
    }

    /// Learns, for ever, what takes longer than a start of ours should: what QEMU can here, asked
    /// again when KVM comes or goes, and with each new installation.
    pub(crate) async fn keep_learning(&self) {
        let mut asker = Asker::default();
        let mut changes = self.known.subscribe();
        loop {
            let on_kvm = changes.borrow_and_update().devices.kvm == Device::Usable;
            let offered = asker.ask(self.qemu_program.as_deref(), on_kvm).await;
            self.known.send_if_modified(|known| {
                let changed = known.offered != offered;
                known.offered = offered;
                changed
            });
            // At least as often as the verdict is taken; what is known already costs nothing.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The slowdown that was measured before, if it was.
fn kept_slowdown(data_directory: &Path) -> Option<calibration::Record> {
    calibration::cached(data_directory).unwrap_or_else(|error| {
        tracing::warn!(%error, "the measured slowdown cannot be read");
        None
    })
}

impl Known {
    /// The token of a retake that nobody has answered.
    fn demanded(&self) -> Option<String> {
        self.asked
            .retake
            .clone()
            .filter(|token| Some(token) != self.answered.as_ref())
    }
}

/// The verdict after `event`: the one that is known or was kept in the data directory where it still
/// holds, else taken anew and kept, and why. `qemu` is QEMU's version, if it is known.
async fn take(
    data_directory: PathBuf,
    event: Event,
    known: Option<Record>,
    qemu: Option<String>,
    now: Timestamp,
) -> (Record, Option<String>) {
    let kept = |directory: &Path| {
        let kept = cache::cached(directory);
        kept.unwrap_or_else(|error| {
            tracing::warn!(%error, "the verdict that was kept cannot be read");
            None
        })
    };
    let taken = tokio::task::spawn_blocking(move || {
        let known = known.or_else(|| kept(&data_directory));
        // A version that is not known yet is no other one.
        let qemu = qemu.or_else(|| known.as_ref().map(|known| known.key.qemu.clone()));
        let device = Path::new(hardware::DEVICE);
        let key = Key::look(device, &qemu.unwrap_or_default()).unwrap_or_else(|error| {
            tracing::warn!(%error, "what the verdict depends on is not known");
            Key::default()
        });
        let why = cache::should_retake(event, known.as_ref(), &key, now);
        match (known, why) {
            (Some(known), None) => (known, None),
            (_, why) => {
                let verdict = hardware::take_verdict(device);
                let record = Record {
                    verdict,
                    at: now,
                    key,
                };
                if let Err(error) = cache::store(&data_directory, &record) {
                    tracing::warn!(%error, "the verdict is not kept over a restart");
                }
                (record, why)
            }
        }
    });
    taken.await.unwrap_or_else(|error| {
        let evidence = format!("the probe of /dev/kvm did not end well: {error}");
        let record = Record {
            verdict: Verdict::new(Class::Unknown, evidence),
            at: now,
            key: Key::default(),
        };
        (record, Some("the probe failed".to_owned()))
    })
}

/// The folders of devices. One that does not exist, or cannot be watched, is looked at now and then.
struct Folders {
    watched: Vec<(&'static str, Changes)>,
    seen: Devices,
}

impl Folders {
    fn watch() -> Self {
        let folders: BTreeSet<&str> = DEVICES.iter().map(|(folder, _)| *folder).collect();
        let watched = folders.into_iter().filter_map(|folder| {
            let changes = Changes::of_entries(Path::new(folder));
            let changes = changes.inspect_err(|error| {
                tracing::warn!(folder, %error, "is not watched, only looked at");
            });
            Some((folder, changes.ok()?))
        });
        Self {
            watched: watched.collect(),
            seen: Devices::look(),
        }
    }

    /// Waits until a device of guests may have changed. Safe to cancel.
    async fn changed(&mut self) {
        loop {
            if self.watched.len() < 2 {
                // Made by a module that was just loaded, or forbidden to be watched.
                let now = Devices::look();
                if now != std::mem::replace(&mut self.seen, now.clone()) {
                    return;
                }
            }
            let each = self
                .watched
                .iter_mut()
                .map(|(folder, changes)| Box::pin(async move { (*folder, changes.next().await) }));
            let each: Vec<_> = each.collect();
            let changed = async {
                if each.is_empty() {
                    std::future::pending().await
                } else {
                    futures::future::select_all(each).await.0
                }
            };
            let changed = tokio::select! {
                changed = changed => changed,
                () = tokio::time::sleep(LOOK_PERIOD) => continue,
            };
            match changed {
                (folder, Ok(Change::Entries(names))) if !concerns(folder, &names) => {}
                (_, Ok(Change::Entries(_))) => return,
                (folder, Ok(Change::Unknown)) => {
                    // Too much at once, or the folder is gone: a new watch tells which.
                    self.watched.retain(|(known, _)| *known != folder);
                    if let Ok(changes) = Changes::of_entries(Path::new(folder)) {
                        self.watched.push((folder, changes));
                    }
                    return;
                }
                (folder, Err(error)) => {
                    tracing::warn!(folder, %error, "is not watched any more, only looked at");
                    self.watched.retain(|(known, _)| *known != folder);
                }
            }
        }
    }
}

/// Whether one of these entries of `folder` is a device of guests.
fn concerns(folder: &str, names: &BTreeSet<std::ffi::OsString>) -> bool {
    DEVICES
        .iter()
        .any(|(of, name)| *of == folder && names.contains(OsStr::new(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::accelerator::EmulationPolicy;
    use api::launcher::KvmFailureKind;
    use serde_json::json;

    fn node(annotations: serde_json::Value) -> Node {
        serde_json::from_value(json!({ "metadata": {
            "name": "n",
            "labels": { "anyvirt.io/emulation-policy": "Hardware" },
            "annotations": annotations,
        } }))
        .expect("a node")
    }

    #[test]
    fn a_node_is_asked_by_its_labels_and_annotations() {
        let asked = Asked::of(&node(json!({
            "anyvirt.io/assume-hardware-virtualization": "true",
            "anyvirt.io/retake-verdict": "7",
            "anyvirt.io/verdict-retaken": "6",
        })));
        assert!(asked.assume);
        assert_eq!(asked.retake.as_deref(), Some("7"));
        let cap = asked.cap.expect("a cap");
        assert_eq!(cap.policy, EmulationPolicy::Hardware);
        let asked = Asked::of(&node(json!({
            "anyvirt.io/assume-hardware-virtualization": "yes",
            "anyvirt.io/retake-verdict": "7",
            "anyvirt.io/verdict-retaken": "7",
        })));
        assert!(!asked.assume);
        assert_eq!(asked.retake, None);
    }

    #[tokio::test]
    async fn a_cap_that_cannot_be_read_is_told_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let knowledge = knowledge(directory.path()).await;
        let mut told = Vec::new();
        for cap in ["Hardware", "soft", "soft", "Software", "hard", "soft"] {
            let mut node = node(json!({}));
            let labels = node.labels_mut();
            labels.insert("anyvirt.io/emulation-policy".to_owned(), cap.to_owned());
            let problem = knowledge.take_node(&node);
            told.push(problem.map(|it| it.message.contains("no policy and counts as None")));
        }
        let news = Some(true);
        assert_eq!(told, [None, news, None, None, news, news]);
    }

    #[test]
    fn only_devices_of_guests_concern_us() {
        let names = |name: &str| BTreeSet::from([std::ffi::OsString::from(name)]);
        assert!(concerns("/dev", &names("kvm")));
        assert!(concerns("/dev/net", &names("tun")));
        assert!(!concerns("/dev", &names("tun")));
        assert!(!concerns("/dev", &names("pts")));
    }

    #[tokio::test]
    async fn another_architecture_is_not_measured_with_machine_code_of_x86() {
        use futures::FutureExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let knowledge = knowledge(directory.path()).await;
        for (architecture, measured) in [("aarch64", false), ("riscv64", false), ("x86_64", true)] {
            let named = |known: &mut Known| known.machine.architecture = architecture.to_owned();
            knowledge.known.send_modify(named);
            let asked = std::cell::Cell::new(false);
            let starting = || {
                asked.set(true);
                1 // so that nothing is measured
            };
            let ended = knowledge.keep_calibrated(starting).now_or_never();
            assert!(ended.is_none(), "{architecture}: it goes on for ever");
            assert_eq!(asked.get(), measured, "{architecture}");
        }
    }

    async fn knowledge(directory: &Path) -> Arc<Knowledge> {
        let machine = Machine::look().expect("readable");
        Knowledge::gather(machine, directory, None, Clock::default()).await
    }

    fn failure() -> KvmFailure {
        KvmFailure {
            kind: KvmFailureKind::EntryFailed,
            evidence: "refused".to_owned(),
            at: Timestamp::now(),
        }
    }

    #[tokio::test]
    async fn a_failed_guest_that_could_not_be_remembered_is_once_it_can_be() {
        let directory = tempfile::tempdir().expect("a directory");
        let knowledge = knowledge(directory.path()).await;
        // A directory where the file is to be made: not even root can write it.
        let in_the_way = directory.path().join("kvm-failure.json");
        std::fs::create_dir_all(in_the_way.join("full")).expect("made");
        let failure = failure();
        for _ in 0..2 {
            knowledge
                .lower("ns/vm", &failure)
                .expect_err("it is in the way");
            assert!(
                knowledge.known().lowered.is_some(),
                "it counts all the same"
            );
        }
        std::fs::remove_dir_all(&in_the_way).expect("removed");
        knowledge.lower("ns/vm", &failure).expect("remembered");
        let kept = Lowered::read(directory.path()).expect("readable");
        assert_eq!(kept, knowledge.known().lowered);
        assert_eq!(kept.map(|it| it.failures), Some(1));
    }

    #[tokio::test]
    async fn a_failed_guest_counts_at_once_over_restarts_until_somebody_asks_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = knowledge(directory.path()).await;
        first.take_node(&node(json!({
            "anyvirt.io/assume-hardware-virtualization": "true",
        })));
        assert!(first.facts().verdict.usable);
        first.lower("ns/vm", &failure()).expect("remembered");
        first.lower("ns/vm", &failure()).expect("remembered");
        assert_eq!(first.facts().verdict.class, "EntryFailed");
        let again = knowledge(directory.path()).await;
        let lowered = again.known().lowered.expect("remembered");
        assert_eq!(lowered.machine, "ns/vm");
        let demand = node(json!({
            "anyvirt.io/assume-hardware-virtualization": "true",
            "anyvirt.io/retake-verdict": "t",
        }));
        again.take_node(&demand);
        let mut changes = again.subscribe();
        let answered = async {
            changes
                .wait_for(|known| known.answered.as_deref() == Some("t"))
                .await
                .expect("it lives")
                .clone()
        };
        let known = tokio::select! {
            known = answered => known,
            () = again.keep_fresh() => unreachable!("it goes on for ever"),
        };
        assert_eq!(known.lowered, None);
        assert!(again.facts().verdict.usable);
        assert_eq!(Lowered::read(directory.path()).expect("readable"), None);
    }
}
