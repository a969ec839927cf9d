//! Copies of a running machine, each going on from the same instant as somebody else.

use std::collections::BTreeSet;
use std::time::Duration;

use api::snapshot::{TargetReadinessPolicy, VirtualMachineRestore, VirtualMachineSnapshot};
use api::virtual_machine::VirtualMachine;
use clap::Args;
use futures::future::join_all;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::{Memory, api, complete, restored, taken, wait};
use crate::Globals;
use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::power::plain;

/// The most copies of one call: more would not answer within the time that a person waits.
const MOST: u32 = 100;

/// What is copied, and how often.
#[derive(Args, Clone, Debug)]
pub struct Fork {
    /// Name of the virtual machine, which must run
    pub machine: String,
    /// How many copies [default: 1]; `-n 5` means the same here, unless this is given too
    #[arg(short, long, value_name = "NUMBER")]
    pub count: Option<u32>,
    /// The copies' names begin with this, and end with a number [default: the machine's name and `-fork-`]
    #[arg(long, value_name = "PREFIX")]
    pub name_prefix: Option<String>,
    /// Seconds after which to stop waiting [default: never]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

/// The flags of a fork: `-n 5` is a namespace called 5 everywhere else, and here, unless the count is given too, the
/// count.
pub(super) fn globals(globals: &Globals, asked: &Fork) -> (Globals, Fork) {
    let (mut globals, mut asked) = (globals.clone(), asked.clone());
    let number = globals.namespace.as_deref().and_then(|it| it.parse().ok());
    if asked.count.is_none() && number.is_some() {
        asked.count = number;
        globals.namespace = None;
    }
    (globals, asked)
}

/// Forks a machine.
///
/// # Errors
/// Why a copy does not go on. Those that do stay.
pub(super) async fn run(connection: &Connection, asked: &Fork) -> Result<Exit, Failure> {
    let count = asked.count.unwrap_or(1);
    if !(1..=MOST).contains(&count) {
        let message = format!("--count {count}: a number from 1 to {MOST}");
        return Err(Failure::new(message).exit(Exit::Usage));
    }
    let machine = plain(&asked.machine);
    let prefix = asked.name_prefix.clone();
    let prefix = prefix.unwrap_or_else(|| format!("{machine}-fork-"));
    let machines: Api<VirtualMachine> = api(connection);
    let present = machines.list(&ListParams::default()).await;
    let present = present.map_err(|error| connection.failure(error))?;
    let present = present.items.iter().map(|vm| vm.name_any()).collect();
    let names = free(&prefix, count, &present);
    let within = asked.timeout.map(Duration::from_secs);
    let snapshot = taken(connection, machine, None, Memory::Renewable, within).await?;
    let snapshot = snapshot.name_any();
    let copies = names
        .iter()
        .map(|name| copy(connection, &snapshot, name, within));
    let results = join_all(copies).await;
    wait::remove::<VirtualMachineSnapshot>(connection, &snapshot).await;
    let failed = results.iter().filter(|it| it.is_err()).count();
    let first = results.into_iter().find_map(Result::err);
    match first {
        None => Ok(Exit::Ok),
        Some(failure) => Err(Failure {
            message: format!(
                "{failed} of {count} copies do not go on: {}",
                failure.message
            ),
            ..failure
        }),
    }
}

async fn copy(
    connection: &Connection,
    snapshot: &str,
    name: &str,
    within: Option<Duration>,
) -> Result<(), Failure> {
    let policy = TargetReadinessPolicy::FailImmediate;
    let restore = restored(connection, snapshot, name, policy).await?;
    let done = complete(connection, &restore, within).await;
    wait::remove::<VirtualMachineRestore>(connection, &restore).await;
    done.map_err(|failure| Failure {
        message: format!("{name}: {}", failure.message),
        ..failure
    })?;
    output::data(&format!("{name}\n"))
}

/// The first `count` names with a number that nobody has.
fn free(prefix: &str, count: u32, present: &BTreeSet<String>) -> Vec<String> {
    let names = (1_u32..).map(|number| format!("{prefix}{number}"));
    let free = names.filter(|name| !present.contains(name));
    free.take(usize::try_from(count).unwrap_or(usize::MAX))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fork(count: Option<u32>) -> Fork {
        Fork {
            machine: "web".to_owned(),
            count,
            name_prefix: None,
            timeout: None,
        }
    }

    #[test]
    fn copies_get_numbers_that_nobody_has() {
        let present = ["a-fork-2", "a-fork-10"].map(str::to_owned).into();
        assert_eq!(
            free("a-fork-", 3, &present),
            ["a-fork-1", "a-fork-3", "a-fork-4"]
        );
    }

    #[test]
    fn a_number_for_a_namespace_is_the_count_unless_that_is_given_too() {
        for (namespace, count, left, counted) in [
            (Some("5"), None, None, Some(5)),
            (Some("demo"), None, Some("demo"), None),
            (Some("5"), Some(2), Some("5"), Some(2)),
            (None, None, None, None),
        ] {
            let given = Globals {
                namespace: namespace.map(str::to_owned),
                ..Globals::default()
            };
            let (globals, asked) = globals(&given, &fork(count));
            assert_eq!(
                (globals.namespace.as_deref(), asked.count),
                (left, counted),
                "{namespace:?}"
            );
        }
    }
}
