//! Snapshots of virtual machines: take them, restore them, fork a machine, and rewind it.

mod fork;
mod instant;
mod rewind;
mod wait;

use api::names;
use api::snapshot::{
    LocalReference, Phase, TargetReadinessPolicy, VirtualMachineRestore, VirtualMachineRestoreSpec,
    VirtualMachineSnapshot, VirtualMachineSnapshotContent, VirtualMachineSnapshotSpec, conditions,
};
use api::virtual_machine::VirtualMachine;
use clap::{Args, Subcommand};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

pub use fork::Fork;
pub use rewind::Rewind;

use crate::Globals;
use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::power::{not_found, plain};

/// What can be asked about snapshots.
#[derive(Clone, Debug, Subcommand)]
pub enum SnapshotVerb {
    /// Take a snapshot of a virtual machine
    #[command(
        after_help = "Examples:\n  anyvirt snapshot web\n  anyvirt snapshot web --memory --name before-upgrade\n  anyvirt snapshot web --memory --renewable --name golden"
    )]
    Snapshot(Take),
    /// Let a virtual machine become what a snapshot has, or make a new one of it
    #[command(
        after_help = "Examples:\n  anyvirt restore web --snapshot before-upgrade --stop\n  anyvirt restore web2 --snapshot before-upgrade"
    )]
    Restore(Restore),
    /// Make copies of a running virtual machine, which go on from the same instant as machines of their own
    #[command(
        after_help = "Examples:\n  anyvirt fork web\n  anyvirt fork web -n 5\n  anyvirt fork web -n demo --count 5 --name-prefix worker-"
    )]
    Fork(Fork),
    /// Let a virtual machine go back to an instant that was kept; what it did since is lost
    #[command(
        after_help = "Instants are kept by the annotation anyvirt.io/snapshot-ring: every=1m,keep=5 of the VM, and by anyvirt snapshot NAME --memory.\n\nExamples:\n  anyvirt rewind web\n  anyvirt rewind web --to -5m\n  anyvirt rewind web --to 2026-11-23T12:00:00Z"
    )]
    Rewind(Rewind),
}

/// Does what is asked.
///
/// # Errors
/// Why it was not done.
pub(crate) async fn run(
    verb: SnapshotVerb,
    globals: &Globals,
    data_directory: &Path,
) -> Result<Exit, Failure> {
    let connect =
        |globals: Globals| async move { Connection::open(&globals, data_directory).await };
    match verb {
        SnapshotVerb::Snapshot(asked) => take(&connect(globals.clone()).await?, &asked).await,
        SnapshotVerb::Restore(asked) => restore(&connect(globals.clone()).await?, &asked).await,
        SnapshotVerb::Fork(asked) => {
            let (globals, asked) = fork::globals(globals, &asked);
            fork::run(&connect(globals).await?, &asked).await
        }
        SnapshotVerb::Rewind(asked) => rewind::run(&connect(globals.clone()).await?, &asked).await,
    }
}

/// What is taken.
#[derive(Args, Clone, Debug)]
pub struct Take {
    /// Name of the virtual machine
    pub machine: String,
    /// Keep the running instant too: memory, devices and disks. The machine must run, and stands still meanwhile
    #[arg(long)]
    pub memory: bool,
    /// So that other machines can be made of it, too: the guest comes to rest first
    #[arg(long, requires = "memory")]
    pub renewable: bool,
    /// Name of the snapshot [default: one is made up]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Seconds after which to stop waiting [default: never]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

/// What is restored.
#[derive(Args, Clone, Debug)]
pub struct Restore {
    /// Name of the virtual machine: the snapshot's own, or that of a new one
    pub target: String,
    /// Name of the snapshot
    #[arg(long, value_name = "NAME")]
    pub snapshot: String,
    /// Stop the machine if it runs: what it does is lost
    #[arg(long)]
    pub stop: bool,
    /// Seconds after which to stop waiting [default: never]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

/// Takes a snapshot, and waits until it is taken.
///
/// # Errors
/// Why it was not taken.
async fn take(connection: &Connection, asked: &Take) -> Result<Exit, Failure> {
    let within = asked.timeout.map(Duration::from_secs);
    let name = asked.name.as_deref();
    let kind = match (asked.memory, asked.renewable) {
        (false, _) => Memory::LeftOut,
        (true, false) => Memory::Kept,
        (true, true) => Memory::Renewable,
    };
    let taken = taken(connection, plain(&asked.machine), name, kind, within).await?;
    output::data(&format!("{}\n", taken.name_any()))?;
    Ok(Exit::Ok)
}

/// Whether the running instant is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Memory {
    LeftOut,
    Kept,
    /// And it can go on as another machine.
    Renewable,
}

/// A snapshot of `machine` that was taken.
async fn taken(
    connection: &Connection,
    machine: &str,
    name: Option<&str>,
    memory: Memory,
    within: Option<Duration>,
) -> Result<VirtualMachineSnapshot, Failure> {
    let machines: Api<VirtualMachine> = api(connection);
    if let Err(error) = machines.get(machine).await {
        let failure = connection.failure(error);
        return Err(match failure.exit {
            Exit::NotFound => not_found(connection, machine, failure).await,
            _ => failure,
        });
    }
    let spec = VirtualMachineSnapshotSpec {
        source: LocalReference::machine(machine),
        include_memory: (memory != Memory::LeftOut).then_some(true),
        require_renewable: (memory == Memory::Renewable).then_some(true),
        ..VirtualMachineSnapshotSpec::default()
    };
    let mut snapshot = VirtualMachineSnapshot::new("", spec);
    snapshot.metadata = named(name, machine, "snapshot");
    let snapshot = create(connection, &snapshot).await?;
    let name = snapshot.name_any();
    let snapshots: Api<VirtualMachineSnapshot> = api(connection);
    let taken = wait::until(connection, &snapshots, &name, within, |found| {
        over(&name, found)
    });
    let taken = taken.await?;
    output::hint(&told(connection, &taken).await);
    Ok(taken)
}

/// How a snapshot ended, once it has.
fn over(
    name: &str,
    found: Option<&VirtualMachineSnapshot>,
) -> Option<Result<VirtualMachineSnapshot, Failure>> {
    let Some(found) = found else {
        let message = format!("snapshot {name} was deleted before it was taken");
        return Some(Err(Failure::new(message)));
    };
    let status = found.status.clone().unwrap_or_default();
    match status.phase {
        Some(Phase::Succeeded) => Some(Ok(found.clone())),
        Some(Phase::Failed) => {
            let why = status.error.and_then(|error| error.message);
            let why = why.unwrap_or_else(|| "the server does not say why".to_owned());
            Some(Err(Failure::new(format!("no snapshot: {why}"))))
        }
        Some(Phase::InProgress | Phase::Deleting | Phase::Unknown) | None => None,
    }
}

/// What was taken, for the person who watches.
async fn told(connection: &Connection, taken: &VirtualMachineSnapshot) -> String {
    let status = taken.status.clone().unwrap_or_default();
    let at = status.creation_time.map(|time| time.0.to_string());
    let mut text = format!(
        "snapshot {} of {}",
        taken.name_any(),
        at.unwrap_or_default()
    );
    let contents: Api<VirtualMachineSnapshotContent> = api(connection);
    let name = status.virtual_machine_snapshot_content_name;
    let content = contents.get_opt(&name.unwrap_or_default()).await;
    let memory = content.ok().flatten().and_then(|it| it.status?.memory);
    if let Some(memory) = memory {
        let size = memory.size.map(|size| size.0).unwrap_or_default();
        text.push_str(&format!(", {size} on disk"));
        if let Some(stood) = memory.paused_milliseconds {
            text.push_str(&format!("; the guest stood still for {stood} ms"));
        }
    }
    text
}

/// Restores a snapshot, and waits until that is done.
///
/// # Errors
/// Why it was not.
async fn restore(connection: &Connection, asked: &Restore) -> Result<Exit, Failure> {
    let snapshots: Api<VirtualMachineSnapshot> = api(connection);
    let found = snapshots.get_opt(&asked.snapshot).await;
    let found = found.map_err(|error| connection.failure(error))?;
    if found.is_none() {
        let message = format!(
            "no snapshot \"{}\" in namespace {}",
            asked.snapshot, connection.namespace
        );
        return Err(Failure::new(message)
            .exit(Exit::NotFound)
            .fix("kubectl get vmsnapshot", "shows the snapshots"));
    }
    let target = plain(&asked.target);
    let policy = if asked.stop {
        TargetReadinessPolicy::StopTarget
    } else {
        TargetReadinessPolicy::FailImmediate
    };
    let within = asked.timeout.map(Duration::from_secs);
    let restored = restored(connection, &asked.snapshot, target, policy).await?;
    let done = complete(connection, &restored, within).await;
    if let Err(failure) = done {
        // It may not start later, when nobody expects it any more.
        if failure.exit != Exit::TimedOut {
            wait::remove::<VirtualMachineRestore>(connection, &restored).await;
        }
        let runs = failure.message.contains("VMI still exists");
        return Err(if runs {
            let command = format!(
                "anyvirt restore {target} --snapshot {} --stop",
                asked.snapshot
            );
            Failure::new(format!("{target} runs"))
                .exit(Exit::Conflict)
                .fix(&command, "stops it first; what it does is lost")
        } else {
            failure
        });
    }
    wait::remove::<VirtualMachineRestore>(connection, &restored).await;
    output::data(&format!("{target}\n"))?;
    Ok(Exit::Ok)
}

/// Asks for a restore; answers with its name.
async fn restored(
    connection: &Connection,
    snapshot: &str,
    target: &str,
    policy: TargetReadinessPolicy,
) -> Result<String, Failure> {
    let spec = VirtualMachineRestoreSpec {
        target: LocalReference::machine(target),
        virtual_machine_snapshot_name: snapshot.to_owned(),
        target_readiness_policy: Some(policy),
        ..VirtualMachineRestoreSpec::default()
    };
    let mut restore = VirtualMachineRestore::new("", spec);
    restore.metadata = named(None, target, "restore");
    Ok(create(connection, &restore).await?.name_any())
}

/// Waits until a restore is done.
async fn complete(
    connection: &Connection,
    name: &str,
    within: Option<Duration>,
) -> Result<(), Failure> {
    let restores: Api<VirtualMachineRestore> = api(connection);
    wait::until(connection, &restores, name, within, |found| {
        let Some(found) = found else {
            return Some(Err(Failure::new(format!("restore {name} was deleted"))));
        };
        let status = found.status.as_ref()?;
        if status.complete == Some(true) {
            return Some(Ok(()));
        }
        let failure = api::condition::find(&status.conditions, conditions::FAILURE)?;
        let why = failure.reason.clone().unwrap_or_default();
        failure.is_true().then(|| Err(Failure::new(why)))
    })
    .await
}

/// The name that was asked for, or one that the server makes up of what it is about.
fn named(name: Option<&str>, of: &str, what: &str) -> ObjectMeta {
    ObjectMeta {
        name: name.map(str::to_owned),
        generate_name: name.is_none().then(|| format!("{of}-{what}-")),
        ..ObjectMeta::default()
    }
}

async fn create<K>(connection: &Connection, object: &K) -> Result<K, Failure>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    let created = api::<K>(connection)
        .create(&PostParams::default(), object)
        .await;
    created.map_err(|error| match &error {
        kube::Error::Api(status) if status.code == 404 => Failure::new(format!(
            "{} serves no {}: it is older than this program",
            connection.server,
            names::SNAPSHOT_GROUP
        )),
        _ => connection.failure(error),
    })
}

fn api<K>(connection: &Connection) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    Api::namespaced(connection.client.clone(), &connection.namespace)
}
