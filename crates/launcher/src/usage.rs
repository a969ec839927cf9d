//! What the guest uses of this machine: the counters of its processes, of QEMU's disks, of the cables of its networks.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use api::usage::{DiskUsage, InterfaceUsage, ProcessUsage, Run, Usage};
use host::activity::{self, Used};
use host::identity::Identity;
use host::network::Traffic;
use qemu::qmp::{Command, DiskStatistics};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::monitor::{Monitor, MonitorError};
use crate::owner::Attachable;

/// A QEMU that is busy is not waited for longer: whoever asks does so every few seconds, and gets the rest.
const DISKS_WITHIN: Duration = Duration::from_secs(2);
/// A client that does not take its answer by then is hung.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What there is to count of a guest.
#[derive(Debug)]
pub(crate) struct Accounts {
    /// QEMU.
    pub(crate) qemu: Identity,
    /// The volumes of its disks, by their numbers in the machine.
    pub(crate) disks: Vec<String>,
    /// What carries its networks.
    pub(crate) cables: Vec<Cable>,
}

/// What carries one network.
#[derive(Clone, Debug)]
pub(crate) struct Cable {
    /// The interface's name in the VMI.
    pub(crate) name: String,
    /// The process.
    pub(crate) process: Identity,
    /// What has passed.
    pub(crate) traffic: Arc<Traffic>,
}

impl Accounts {
    /// What is counted now, without the disks, of what `looked` sees of each process. `None` once QEMU has ended.
    ///
    /// # Errors
    /// If one of the processes cannot be looked at: without its part the sum would leap when it is seen again.
    fn read(&self, looked: Look) -> io::Result<Option<Usage>> {
        let at = host::clock::since_boot();
        let Some(qemu) = looked(&self.qemu)? else {
            return Ok(None);
        };
        let mut helpers = looked(&Identity::own()?)?.unwrap_or_default();
        for cable in &self.cables {
            // One that has ended takes its time with it.
            if let Some(carrier) = looked(&cable.process)? {
                helpers = sum(helpers, carrier);
            }
        }
        let interfaces = self.cables.iter().map(|cable| {
            let (received_packets, received_bytes) = cable.traffic.received.read();
            let (sent_packets, sent_bytes) = cable.traffic.sent.read();
            let usage = InterfaceUsage {
                received_packets,
                received_bytes,
                sent_packets,
                sent_bytes,
            };
            (cable.name.clone(), usage)
        });
        Ok(Some(Usage {
            run: Run {
                pid: self.qemu.pid,
                start_time: self.qemu.start_time,
            },
            at_nanoseconds: nanoseconds(at),
            qemu,
            helpers,
            disks: None,
            interfaces: interfaces.collect(),
        }))
    }

    /// The disks' counters by the names of their volumes.
    fn named(&self, counted: &BTreeMap<usize, DiskStatistics>) -> BTreeMap<String, DiskUsage> {
        let named = counted.iter().filter_map(|(number, disk)| {
            let usage = DiskUsage {
                reads: disk.reads,
                read_bytes: disk.read_bytes,
                read_nanoseconds: disk.read_nanoseconds,
                writes: disk.writes,
                written_bytes: disk.written_bytes,
                write_nanoseconds: disk.write_nanoseconds,
                flushes: disk.flushes,
                flush_nanoseconds: disk.flush_nanoseconds,
            };
            Some((self.disks.get(*number)?.clone(), usage))
        });
        named.collect()
    }
}

/// What a process uses; `None` if it has ended.
type Look = fn(&Identity) -> io::Result<Option<ProcessUsage>>;

fn of_process(process: &Identity) -> io::Result<Option<ProcessUsage>> {
    let used = activity::of_process(process)?;
    Ok(used.map(
        |Used {
             user,
             system,
             resident_bytes,
         }| ProcessUsage {
            user_nanoseconds: nanoseconds(user),
            system_nanoseconds: nanoseconds(system),
            resident_bytes,
        },
    ))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn sum(one: ProcessUsage, other: ProcessUsage) -> ProcessUsage {
    ProcessUsage {
        user_nanoseconds: one.user_nanoseconds.saturating_add(other.user_nanoseconds),
        system_nanoseconds: one
            .system_nanoseconds
            .saturating_add(other.system_nanoseconds),
        resident_bytes: one.resident_bytes.saturating_add(other.resident_bytes),
    }
}

/// A question to QEMU that may outlast the client's patience: while one is open, no other is asked.
#[derive(Debug, Default)]
struct Question(Option<JoinHandle<Result<Value, MonitorError>>>);

impl Question {
    async fn ask(&mut self, monitor: &Monitor) -> Option<BTreeMap<usize, DiskStatistics>> {
        // An answer that came late tells how it was then.
        if self.0.take_if(|open| open.is_finished()).is_none() && self.0.is_some() {
            return None;
        }
        let monitor = monitor.clone();
        let mut asked = tokio::spawn(async move { monitor.ask(Command::QueryBlockStats).await });
        let Ok(answered) = tokio::time::timeout(DISKS_WITHIN, &mut asked).await else {
            self.0 = Some(asked);
            return None;
        };
        match answered {
            Ok(Ok(answer)) => Command::disk_statistics(&answer),
            Ok(Err(error)) => {
                tracing::debug!("the disks' counters are not known: {error}");
                None
            }
            Err(error) => {
                tracing::error!("asking for the disks' counters failed inside: {error}");
                None
            }
        }
    }
}

/// Answers a client until it goes, or the launcher ends.
pub(crate) async fn serve(mut stream: UnixStream, guest: watch::Receiver<Option<Attachable>>) {
    let mut gone = guest.clone();
    let mut question = Question::default();
    let mut asked = [0; 1];
    loop {
        tokio::select! {
            () = ended(&mut gone) => return,
            read = stream.read(&mut asked) => if !matches!(read, Ok(1..)) { return },
        }
        let attachable = guest.borrow().clone();
        let read = attachable.as_ref().map(|it| it.accounts.read(of_process));
        let mut usage = match read.transpose() {
            Ok(usage) => usage.flatten(),
            // No answer: "no guest runs" would be a wrong one.
            Err(error) => {
                tracing::debug!("what the guest uses is not known: {error}");
                return;
            }
        };
        if let (Some(attachable), Some(usage)) = (&attachable, &mut usage) {
            let counted = question.ask(&attachable.monitor).await;
            usage.disks = counted.map(|counted| attachable.accounts.named(&counted));
        }
        let mut line = match serde_json::to_vec(&usage) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!("what the guest uses cannot be written: {error}");
                return;
            }
        };
        line.push(b'\n');
        let sent = tokio::time::timeout(ANSWER_WITHIN, stream.write_all(&line)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// Waits until the launcher ends.
async fn ended(guest: &mut watch::Receiver<Option<Attachable>>) {
    while guest.changed().await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    use tokio::sync::mpsc;

    /// A QEMU whose disk has done as many reads as it was asked for, and that answers each time when it is told to.
    async fn qemu(stream: UnixStream, mut answers: mpsc::Receiver<()>) {
        let (read, mut write) = stream.into_split();
        let greeting = json!({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}});
        write
            .write_all(format!("{greeting}\n").as_bytes())
            .await
            .expect("greeted");
        let mut lines = BufReader::new(read).lines();
        let mut reads = 0;
        while let Ok(Some(line)) = lines.next_line().await {
            let asked: Value = serde_json::from_str(&line).expect("JSON");
            let answer = if asked["execute"] == "query-blockstats" {
                reads += 1;
                let _ = answers.recv().await;
                json!([{"qdev": "/machine/peripheral/disk0", "stats": {"rd_operations": reads, "rd_bytes": 0,
                    "rd_total_time_ns": 0, "wr_operations": 0, "wr_bytes": 0, "wr_total_time_ns": 0,
                    "flush_operations": 0, "flush_total_time_ns": 0}}])
            } else {
                json!({})
            };
            let answer = json!({"return": answer, "id": asked["id"]});
            write
                .write_all(format!("{answer}\n").as_bytes())
                .await
                .expect("answered");
        }
    }

    #[test]
    fn a_process_that_cannot_be_looked_at_has_not_ended() {
        // Numbers that no process has: beyond the kernel's most, 2^22.
        const RUNS: u32 = 5_000_001;
        const ENDED: u32 = 5_000_002;
        const UNSEEN: u32 = 5_000_003;

        let process = |pid| Identity {
            pid,
            start_time: 1,
            boot_id: String::new(),
        };
        let cable = |pid| Cable {
            name: format!("net{pid}"),
            process: process(pid),
            traffic: Arc::default(),
        };
        let accounts = |qemu, carrier| Accounts {
            qemu: process(qemu),
            disks: vec![],
            cables: vec![cable(carrier)],
        };
        let look: Look = |process| match process.pid {
            ENDED => Ok(None),
            UNSEEN => Err(io::Error::from_raw_os_error(24)),
            _ => Ok(Some(ProcessUsage {
                user_nanoseconds: 10,
                ..ProcessUsage::default()
            })),
        };
        let helpers = |qemu, carrier| {
            let read = accounts(qemu, carrier).read(look);
            read.map(|usage| usage.map(|it| it.helpers.user_nanoseconds))
                .map_err(|error| error.raw_os_error())
        };
        assert_eq!(helpers(RUNS, RUNS), Ok(Some(20)));
        assert_eq!(helpers(RUNS, ENDED), Ok(Some(10)));
        assert_eq!(helpers(ENDED, RUNS), Ok(None));
        assert_eq!(helpers(UNSEEN, RUNS), Err(Some(24)));
        assert_eq!(helpers(RUNS, UNSEEN), Err(Some(24)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_late_is_not_taken_for_a_new_one() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let (tell, told) = mpsc::channel(1);
        tokio::spawn(qemu(theirs, told));
        let connected = Monitor::connect(ours, Duration::from_secs(3600))
            .await
            .expect("greeted");
        let monitor = connected.monitor;
        let mut question = Question::default();
        assert_eq!(question.ask(&monitor).await, None, "it is busy");
        assert_eq!(
            question.ask(&monitor).await,
            None,
            "still, and is not asked twice"
        );
        tell.send(()).await.expect("it waits");
        let open = question.0.as_mut().expect("it is open");
        let late = open.await.expect("it ends").expect("answered");
        assert_eq!(late[0]["stats"]["rd_operations"], 1);
        question.0 = Some(tokio::spawn(async move { Ok(late) }));
        tokio::task::yield_now().await;
        tell.send(()).await.expect("it waits");
        let disks = question.ask(&monitor).await.expect("answered in time");
        assert_eq!(disks[&0].reads, 2);
    }
}
