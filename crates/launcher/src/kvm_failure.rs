//! Does KVM run this guest, or only pretend to? Seen from beside the guest, while it runs.
//!
//! Three things are looked at: what KVM counts (QMP `query-stats`), whether QEMU stopped the guest
//! for an internal error, and QEMU's last words. What follows is the node agent's decision.

use std::sync::Arc;
use std::time::Duration;

use api::launcher::{KvmFailure, KvmFailureKind};
use jiff::Timestamp;
use qemu::qmp::{Command, KvmStatistics, RunState};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::monitor::{Monitor, MonitorError};
use crate::serial::Serial;

/// A guest that writes nothing for so long may be judged by KVM's counters. A healthy guest's
/// firmware and boot loader take less, and emulate next to nothing meanwhile.
const SILENT_FOR: Duration = Duration::from_secs(3);
/// So many instructions in software since the guest last wrote something. A healthy guest has some
/// thousands there: one for each access to a device that KVM does not know by its exit alone.
const MANY_EMULATED: u64 = 200_000;
/// KVM leaves a healthy guest once for each instruction that it emulates. Where it emulates this many
/// for one exit, it runs the guest's kernel (measured on such a machine: 300 to 500).
const EMULATED_FOR_ONE_EXIT: u64 = 20;
/// A guest's boot is looked at each second.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A guest that KVM ran for so long is run by it; from then on only QEMU's own word counts.
const LOOK_FOR: Duration = Duration::from_secs(120);

/// What was counted of a guest at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Sample {
    /// Since the guest's start.
    at: Duration,
    /// Bytes that it had written to its serial line.
    written: u64,
    /// What KVM had counted.
    counted: KvmStatistics,
}

/// Judges samples as they come.
#[derive(Debug, Default)]
struct Progress {
    /// The first sample after the guest last wrote something.
    since: Option<Sample>,
}

impl Progress {
    /// Takes a sample; the evidence if it shows that the guest gets nowhere.
    fn take(&mut self, sample: Sample) -> Option<String> {
        let since = match self.since {
            Some(since) if since.written == sample.written => since,
            _ => {
                // Nothing was counted before the guest's first instruction.
                let first = self.since.is_none() && sample.written == 0;
                let since = Sample {
                    at: if first { Duration::ZERO } else { sample.at },
                    counted: if first {
                        KvmStatistics {
                            emulated: 0,
                            exits: 0,
                        }
                    } else {
                        sample.counted
                    },
                    ..sample
                };
                *self.since.insert(since)
            }
        };
        let silent = sample.at.saturating_sub(since.at);
        let more = |now: u64, before: u64| now.saturating_sub(before);
        let emulated = more(sample.counted.emulated, since.counted.emulated);
        let exits = more(sample.counted.exits, since.counted.exits);
        let fails = silent >= SILENT_FOR
            && emulated >= MANY_EMULATED
            && emulated >= exits.saturating_mul(EMULATED_FOR_ONE_EXIT);
        fails.then(|| {
            format!(
                "KVM ran {emulated} of the guest's instructions one by one in software ({exits} \
                 exits) in {} s, in which the guest wrote nothing",
                silent.as_secs()
            )
        })
    }
}

/// What QEMU's words say of KVM, if they blame it: the kind, by the message's fixed part in QEMU's
/// source (`accel/kvm/kvm-all.c`, `target/i386/kvm/kvm.c`).
fn of_words(words: &str) -> Option<KvmFailureKind> {
    const BLAME: [(&str, KvmFailureKind); 8] = [
        ("KVM: entry failed", KvmFailureKind::EntryFailed),
        ("KVM internal error", KvmFailureKind::InternalError),
        ("KVM: unknown exit", KvmFailureKind::InternalError),
        ("kvm run failed", KvmFailureKind::InternalError),
        ("failed to set MSR", KvmFailureKind::Refused),
        ("kvm/kvm.c:", KvmFailureKind::Refused),
        ("failed to initialize kvm", KvmFailureKind::Refused),
        (
            "Could not access KVM kernel module",
            KvmFailureKind::Refused,
        ),
    ];
    BLAME
        .iter()
        .find(|(text, _)| words.contains(text))
        .map(|(_, kind)| *kind)
}

/// The failure that QEMU's last words tell, if they blame KVM.
pub(crate) fn told(words: &str, at: Timestamp) -> Option<KvmFailure> {
    let kind = of_words(words)?;
    Some(KvmFailure {
        kind,
        evidence: format!("QEMU ended and blames KVM: {words}"),
        at,
    })
}

/// The line in the guest's serial log between its two starts.
pub(crate) fn marker(failure: &KvmFailure) -> String {
    format!(
        "\r\n[anyvirt: KVM failed this guest ({}): {}; started again under software emulation]\r\n",
        failure.kind.class(),
        failure.evidence
    )
}

/// Watches one guest on KVM.
#[derive(Debug)]
pub(crate) struct Watch {
    stopped: Arc<Notify>,
    failures: mpsc::Receiver<KvmFailure>,
}

impl Watch {
    /// Watches the guest of `monitor` from now on, until QEMU ends.
    pub(crate) fn start(monitor: Monitor, serial: Option<Serial>) -> Self {
        let stopped = Arc::new(Notify::new());
        let (tell, failures) = mpsc::channel(1); // one is told, then it is over
        tokio::spawn(watch(monitor, serial, Arc::clone(&stopped), tell));
        Self { stopped, failures }
    }

    /// QEMU said that the guest's processors stopped.
    pub(crate) fn guest_stopped(&self) {
        self.stopped.notify_one();
    }

    /// Waits for a failure. `None`: there will be none any more.
    pub(crate) async fn failed(&mut self) -> Option<KvmFailure> {
        self.failures.recv().await
    }
}

async fn watch(
    monitor: Monitor,
    serial: Option<Serial>,
    stopped: Arc<Notify>,
    tell: mpsc::Sender<KvmFailure>,
) {
    let start = Instant::now();
    let mut progress = Progress::default();
    let mut counts = true;
    loop {
        let look = counts && start.elapsed() < LOOK_FOR;
        let failure = tokio::select! {
            () = stopped.notified() => internal_error(&monitor, &tell).await,
            () = tokio::time::sleep(LOOK_EVERY), if look => {
                match monitor.ask(Command::QueryKvmStatistics).await {
                    Ok(answer) => {
                        let sample = Command::kvm_statistics(&answer).map(|counted| Sample {
                            at: start.elapsed(),
                            written: serial.as_ref().map_or(0, Serial::bytes),
                            counted,
                        });
                        sample.and_then(|sample| progress.take(sample)).map(|evidence| KvmFailure {
                            kind: KvmFailureKind::NoProgress,
                            evidence,
                            at: Timestamp::now(),
                        })
                    }
                    // An older QEMU or Linux: then only QEMU's own word counts.
                    Err(MonitorError::Refused { source, .. }) => {
                        tracing::info!("KVM's counters cannot be read: {source}");
                        counts = false;
                        None
                    }
                    Err(MonitorError::Closed | MonitorError::Io(_)) => return,
                    Err(error) => {
                        tracing::warn!("{error}");
                        None
                    }
                }
            }
            () = tell.closed() => return,
        };
        if let Some(failure) = failure {
            // The owner is gone only when the launcher ends.
            let _ = tell.send(failure).await;
            return;
        }
    }
}

/// Whether QEMU stopped the guest because KVM failed. QEMU says only once that it stopped it, so a
/// question that gets no answer is asked again, as long as there is a QEMU and somebody to tell.
async fn internal_error(monitor: &Monitor, tell: &mpsc::Sender<KvmFailure>) -> Option<KvmFailure> {
    loop {
        let error = match monitor.ask(Command::QueryStatus).await {
            Ok(answer) => {
                let failed = Command::run_state(&answer) == Some(RunState::InternalError);
                return failed.then(|| KvmFailure {
                    kind: KvmFailureKind::InternalError,
                    evidence: "KVM gave up on the guest, and QEMU stopped it (internal-error)"
                        .to_owned(),
                    at: Timestamp::now(),
                });
            }
            Err(MonitorError::Closed | MonitorError::Io(_)) => return None,
            Err(error) => error,
        };
        tracing::warn!("why the guest was stopped is not known yet: {error}");
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = tell.closed() => return None,
        }
    }
}

/// QEMU prints why it stopped a guest, and says on its monitor only that it did.
pub(crate) fn with_words(mut failure: KvmFailure, words: &str) -> KvmFailure {
    if failure.kind == KvmFailureKind::InternalError && !words.is_empty() {
        failure.kind = of_words(words).unwrap_or(failure.kind);
        // The first line says it; a dump of registers follows.
        let first = words.split("; ").next().unwrap_or(words);
        failure.evidence = format!("{}: {first}", failure.evidence);
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: u64, written: u64, emulated: u64, exits: u64) -> Sample {
        Sample {
            at: Duration::from_secs(second),
            written,
            counted: KvmStatistics { emulated, exits },
        }
    }

    #[test]
    fn a_guest_gets_nowhere_if_it_is_silent_while_kvm_emulates_far_more_than_it_exits() {
        for (name, samples, fails_at) in [
            (
                "a Linux kernel on this project's machines",
                vec![
                    sample(1, 0, 974_874, 3_181),
                    sample(2, 0, 2_449_992, 6_397),
                    sample(3, 0, 4_163_953, 8_333),
                ],
                Some(3),
            ),
            (
                "it wrote at first",
                vec![
                    sample(1, 0, 900_000, 3_000),
                    sample(2, 40, 2_000_000, 6_000),
                    sample(4, 40, 2_100_000, 6_500),
                    sample(5, 40, 2_300_000, 6_600),
                ],
                Some(5),
            ),
            (
                "it writes on, however slowly",
                (1..60)
                    .map(|second| sample(second, second, second * 1_000_000, second))
                    .collect(),
                None,
            ),
            (
                "healthy: one exit for each emulated instruction",
                (1..60)
                    .map(|second| sample(second, 0, second * 300_000, second * 300_000))
                    .collect(),
                None,
            ),
            (
                "healthy: idle",
                (1..60)
                    .map(|second| sample(second, 0, 20_000, 900))
                    .collect(),
                None,
            ),
            (
                "too early to say",
                vec![sample(1, 0, 9_000_000, 10), sample(2, 0, 9_000_000, 10)],
                None,
            ),
        ] {
            let mut progress = Progress::default();
            let failed = samples
                .into_iter()
                .find_map(|sample| progress.take(sample).map(|_| sample.at.as_secs()));
            assert_eq!(failed, fails_at, "{name}");
        }
    }

    #[test]
    fn qemu_s_words_tell_a_failure_of_kvm_from_others() {
        for (words, expected) in [
            (
                "KVM: entry failed, hardware error 0x80000021",
                Some(KvmFailureKind::EntryFailed),
            ),
            (
                "KVM internal error. Suberror: 1",
                Some(KvmFailureKind::InternalError),
            ),
            (
                "error: failed to set MSR 0x10a to 0x69; ../../target/i386/kvm/kvm.c:3183: \
                 kvm_buf_set_msrs: Assertion `ret == cpu->kvm_msr_buf->nmsrs' failed.",
                Some(KvmFailureKind::Refused),
            ),
            (
                "Could not access KVM kernel module: Permission denied; failed to initialize kvm: \
                 Permission denied",
                Some(KvmFailureKind::Refused),
            ),
            ("warning: host doesn't support requested feature", None),
            ("-drive: could not open disk image kvm.img", None),
            ("", None),
        ] {
            assert_eq!(of_words(words), expected, "{words}");
        }
    }

    #[test]
    fn an_internal_error_is_told_with_its_first_line() {
        let failure = KvmFailure {
            kind: KvmFailureKind::InternalError,
            evidence: "stopped".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        };
        let told = with_words(
            failure.clone(),
            "KVM: entry failed, hardware error 0x7; RAX=0000",
        );
        assert_eq!(told.kind, KvmFailureKind::EntryFailed);
        assert_eq!(
            told.evidence,
            "stopped: KVM: entry failed, hardware error 0x7"
        );
        assert_eq!(with_words(failure.clone(), ""), failure);
    }
}
