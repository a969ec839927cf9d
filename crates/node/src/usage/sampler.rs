//! Asks launchers and the kernel, and hands on what they say.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::launcher::{Identity, Request};
use api::usage::Usage;
use futures::StreamExt as _;
use host::load::{self, Load};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::MissedTickBehavior;

use super::Usages;
use super::history::HostSample;
use crate::handle::MACHINES;
use crate::launcher::{self, Connection, LauncherError};
use crate::machine::Record;

/// As often as a person who watches wants to see something move. A sample costs a guest's launcher 0.7 ms of a
/// processor in an unoptimized build, and QEMU 0.3 ms: 2 % of one processor for 100 guests.
const EVERY: Duration = Duration::from_secs(5);
/// A launcher waits 2 s for a QEMU that is busy; one that takes longer is asked anew.
const ANSWERS_WITHIN: Duration = Duration::from_secs(4);
/// Launchers that are asked at a time: a few hundred must not all wake at once.
const AT_ONCE: usize = 16;
/// Counters of a guest with dozens of disks are some kilobytes.
const LONGEST_LINE: u64 = 1 << 20;

/// One machine, and the way to its launcher.
#[derive(Debug)]
struct Sampled {
    directory: PathBuf,
    identity: Identity,
    connection: Option<Connection>,
}

/// Samples for ever.
pub(super) async fn run(usages: &Usages) {
    let machines = usages.data_directory.join(MACHINES);
    let mut sampled = BTreeMap::new();
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        match look(usages.data_directory.clone()).await {
            Ok(sample) => usages.histories().take_host(sample),
            Err(error) => tracing::warn!(%error, "what this machine uses is not known"),
        }
        match found(machines.clone(), std::mem::take(&mut sampled)).await {
            Ok(found) => sampled = found,
            Err(error) => tracing::warn!(%error, "the machines' folders cannot be looked at"),
        }
        futures::stream::iter(sampled.values_mut())
            .for_each_concurrent(AT_ONCE, |machine| machine.sample(usages))
            .await;
        usages.histories().forget_old(host::clock::since_boot());
    }
}

/// Looks at the host, on a thread that may wait for a disk.
async fn look(data_directory: PathBuf) -> io::Result<HostSample> {
    let looked = tokio::task::spawn_blocking(move || {
        let disk = load::disk(&data_directory);
        let disk = disk.inspect_err(|error| tracing::debug!(%error, "the disk is not known"));
        Ok(HostSample {
            at: host::clock::since_boot(),
            load: Load::look()?,
            disk: disk.ok(),
        })
    });
    looked.await.map_err(io::Error::other)?
}

/// The machines that have folders, of which some are known.
async fn found(
    machines: PathBuf,
    known: BTreeMap<String, Sampled>,
) -> io::Result<BTreeMap<String, Sampled>> {
    let looked = tokio::task::spawn_blocking(move || find(&machines, known));
    looked.await.map_err(io::Error::other)?
}

fn find(
    machines: &Path,
    mut known: BTreeMap<String, Sampled>,
) -> io::Result<BTreeMap<String, Sampled>> {
    let mut found = BTreeMap::new();
    let entries = match std::fs::read_dir(machines) {
        Ok(entries) => entries,
        // The node agent makes it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(uid) = entry.file_name().into_string() else {
            continue;
        };
        // Whoever answers on an open connection is who it was. Without one, a new pod may have begun in this folder.
        if let Some(machine) = known.remove(&uid)
            && machine.connection.is_some()
        {
            found.insert(uid, machine);
            continue;
        }
        let directory = entry.path();
        // A folder that just comes or goes has no readable record; it is looked at again.
        if let Ok(Some(record)) = Record::read(&directory) {
            let machine = Sampled {
                directory,
                identity: record.identity,
                connection: None,
            };
            found.insert(uid, machine);
        }
    }
    Ok(found)
}

impl Sampled {
    async fn sample(&mut self, usages: &Usages) {
        // Taken out: after an answer that did not come whole, the next one would be its rest.
        let connection = self.connection.take();
        let asked = tokio::time::timeout(ANSWERS_WITHIN, ask(&self.directory, connection)).await;
        match asked {
            Ok(Ok((connection, usage))) => {
                self.connection = Some(connection);
                if let Some(usage) = usage {
                    usages.histories().take(&self.identity, usage);
                }
            }
            // It has not started yet, or has ended.
            Ok(Err(LauncherError::Absent(_))) => {}
            Ok(Err(error)) => {
                tracing::debug!(machine = self.identity.uid, %error, "what it uses is not known");
            }
            Err(_) => {
                tracing::debug!(
                    machine = self.identity.uid,
                    "its launcher does not say what it uses"
                );
            }
        }
    }
}

/// Asks once, on a connection that is there or anew. None: no guest runs.
async fn ask(
    directory: &Path,
    connection: Option<Connection>,
) -> Result<(Connection, Option<Usage>), LauncherError> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => launcher::ask(directory, &Request::Usage).await?.1,
    };
    let broken = LauncherError::Broken;
    connection.write_all(b"\n").await.map_err(broken)?;
    let mut line = Vec::new();
    let mut limited = (&mut connection).take(LONGEST_LINE);
    limited.read_until(b'\n', &mut line).await.map_err(broken)?;
    let usage = serde_json::from_slice(&line)
        .map_err(|error| broken(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    Ok((connection, usage))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn a_new_pod_in_the_same_folder_is_known_once_the_launcher_has_changed() {
        let machines = tempfile::tempdir().unwrap();
        let directory = machines.path().join("u");
        std::fs::create_dir(&directory).unwrap();
        let write = |pod_uid: &str| {
            let identity = Identity {
                namespace: "demo".to_owned(),
                name: "a".to_owned(),
                uid: "u".to_owned(),
                pod_name: "virt-launcher-a".to_owned(),
                pod_uid: pod_uid.to_owned(),
                qemu_program: None,
                grace_period_seconds: 30,
            };
            let record = Record {
                identity,
                pod_address: Ipv4Addr::LOCALHOST,
            };
            record.write(&directory).unwrap();
        };
        write("old");
        let mut known = find(machines.path(), BTreeMap::new()).unwrap();
        assert_eq!(known["u"].identity.pod_uid, "old");
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        known.get_mut("u").unwrap().connection = Some(Connection::new(ours));
        write("new");
        let mut known = find(machines.path(), known).unwrap();
        assert_eq!(known["u"].identity.pod_uid, "old", "its launcher answers");
        known.get_mut("u").unwrap().connection = None;
        drop(theirs);
        let known = find(machines.path(), known).unwrap();
        assert_eq!(known["u"].identity.pod_uid, "new");
    }
}
