//! Back to an instant that was kept.

use std::time::Duration;

use api::names::annotations;
use api::snapshot::{TargetReadinessPolicy, VirtualMachineRestore, VirtualMachineSnapshot};
use api::virtual_machine::VirtualMachine;
use clap::Args;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::instant::{Instant, Wanted, age, choose, instants};
use super::{api, complete, restored, wait};
use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::power::{not_found, plain};

/// What goes back, and to when.
#[derive(Args, Clone, Debug)]
pub struct Rewind {
    /// Name of the virtual machine
    pub machine: String,
    /// The latest instant that is at least so old (`-5m`), that is not after a time (`2026-11-23T12:00:00Z`), or that of
    /// a snapshot, by its name; what the machine did since is lost [default: show the instants]
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    pub to: Option<String>,
    /// Seconds after which to stop waiting [default: never]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

/// Rewinds a machine, or shows where it could go.
///
/// # Errors
/// Why it does not go back.
pub(super) async fn run(connection: &Connection, asked: &Rewind) -> Result<Exit, Failure> {
    let name = plain(&asked.machine);
    let machines: Api<VirtualMachine> = api(connection);
    let machine = match machines.get(name).await {
        Ok(machine) => machine,
        Err(error) => {
            let failure = connection.failure(error);
            return Err(match failure.exit {
                Exit::NotFound => not_found(connection, name, failure).await,
                _ => failure,
            });
        }
    };
    let snapshots: Api<VirtualMachineSnapshot> = api(connection);
    let found = snapshots.list(&ListParams::default()).await;
    let found = found.map_err(|error| connection.failure(error))?;
    let all = instants(machine.metadata.uid.as_deref(), &found.items);
    let now = Timestamp::now();
    let Some(to) = &asked.to else {
        output::data(&table(&all, now))?;
        return Ok(Exit::Ok);
    };
    let chosen = choose(&Wanted::parse(to), &all, now).map_err(|why| {
        let failure = Failure::new(format!("{name} cannot go back to {to}: {why}"));
        let failure = failure.exit(Exit::NotFound);
        if all.is_empty()
            && !machine
                .annotations()
                .contains_key(annotations::SNAPSHOT_RING)
        {
            let ring = format!(
                "kubectl annotate vm {name} {}=every=1m,keep=5",
                annotations::SNAPSHOT_RING
            );
            failure.fix(&ring, "keeps an instant each minute from now on")
        } else {
            failure.fix(&format!("anyvirt rewind {name}"), "shows the instants")
        }
    })?;
    let policy = TargetReadinessPolicy::StopTarget;
    let restore = restored(connection, &chosen.snapshot, name, policy).await?;
    let within = asked.timeout.map(Duration::from_secs);
    let done = complete(connection, &restore, within).await;
    if !matches!(&done, Err(failure) if failure.exit == Exit::TimedOut) {
        wait::remove::<VirtualMachineRestore>(connection, &restore).await;
    }
    done?;
    output::hint(&format!(
        "{name} goes on from {}, {} ago",
        chosen.at,
        age(chosen.at, now)
    ));
    output::data(&format!("{}\n", chosen.snapshot))?;
    Ok(Exit::Ok)
}

fn table(all: &[Instant], now: Timestamp) -> String {
    if all.is_empty() {
        return format!(
            "No instants. A machine keeps some by the annotation {}: every=1m,keep=5, or by anyvirt snapshot NAME --memory.\n",
            annotations::SNAPSHOT_RING
        );
    }
    let mut lines = vec![["AGO", "INSTANT", "SNAPSHOT"].map(str::to_owned).to_vec()];
    for instant in all.iter().rev() {
        let ago = age(instant.at, now);
        lines.push(vec![ago, instant.at.to_string(), instant.snapshot.clone()]);
    }
    output::columns(&lines)
}
