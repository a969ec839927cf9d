//! Does what was decided about a pool.

use super::Pools;
use super::decide::{Action, Decision, controls};
use super::machine::owner;
use super::status::{Failure, status};
use crate::change;
use crate::engine::{causes, gone_is_fine};
use crate::event::Fact;
use api::pool::VirtualMachinePool;
use api::virtual_machine::{StateChangeAction, StateChangeRequest, VirtualMachine};
use futures::StreamExt as _;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, PostParams, Preconditions};
use serde_json::json;
use std::collections::BTreeMap;

/// Writes that are under way at one time: enough that they share a disk flush.
const WRITES_AT_ONCE: usize = 16;

/// Acts on `decision`, and writes the status.
pub(super) async fn perform(
    pools: &Pools,
    pool: &VirtualMachinePool,
    decision: Decision,
) -> kube::Result<()> {
    // Whose machines they are is settled before any is made or deleted.
    let (owners, others): (Vec<_>, Vec<_>) = decision
        .actions
        .into_iter()
        .partition(|action| matches!(action, Action::Release(_) | Action::Adopt(_)));
    let mut done = all(pools, pool, owners).await;
    if done.is_ok() {
        done = all(pools, pool, others).await;
    }
    let failure = done
        .as_ref()
        .err()
        .and_then(|(action, error)| failure(action, error));
    let now = pools.settings.clock.now();
    let (after, facts) = status(pool, &decision.members, failure.as_ref(), now);
    let before = pool.status.clone();
    // A pool without any status gets one, even if there is nothing in it.
    let told = change::status(&pools.client, pool, &before, &Some(after)).await;
    match told {
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        told => drop(told?),
    }
    for fact in facts {
        pools.recorder.record(pool, fact);
    }
    done.map_err(|(_, error)| error)
}

/// Does all of it, whatever of it fails. Err: the first that failed.
async fn all(
    pools: &Pools,
    pool: &VirtualMachinePool,
    actions: Vec<Action>,
) -> Result<(), (Action, kube::Error)> {
    let acts = futures::stream::iter(actions).map(|action| async move {
        let done = act(pools, pool, &action).await;
        if let Err(error) = &done
            && let Some(fact) = failed(pool, &action, error)
        {
            pools.recorder.record(pool, fact);
        }
        done.map_err(|error| (action, error))
    });
    let done: Vec<_> = acts.buffered(WRITES_AT_ONCE).collect().await;
    done.into_iter().collect()
}

async fn act(pools: &Pools, pool: &VirtualMachinePool, action: &Action) -> kube::Result<()> {
    let client = &pools.client;
    match action {
        Action::Release(vm) => {
            let others = vm.owner_references().iter();
            let others: Vec<_> = others
                .filter(|it| Some(&it.uid) != pool.metadata.uid.as_ref())
                .collect();
            let change = json!({ "metadata": { "ownerReferences": others } });
            gone_is_fine(change::object(client, vm.as_ref(), change).await)
        }
        Action::Adopt(vm) => adopt(pools, pool, vm).await,
        Action::Create(vm) => create(pools, pool, vm).await,
        Action::Delete(vm) => delete(pools, pool, vm).await,
        Action::Change(vm, change) => {
            change::object(client, vm.as_ref(), change.clone()).await?;
            let message = format!("Updated VM {}", full_name(pool, vm));
            pools
                .recorder
                .record(pool, Fact::normal("SuccessfulUpdate", message));
            Ok(())
        }
        Action::Restart(vm, vmi) => {
            let before = vm.status.clone().unwrap_or_default();
            let mut after = before.clone();
            let request = |action, uid| StateChangeRequest {
                action,
                data: BTreeMap::new(),
                uid,
            };
            after.state_change_requests = vec![
                request(StateChangeAction::Stop, vmi.uid()),
                request(StateChangeAction::Start, None),
            ];
            change::status(client, vm.as_ref(), &before, &after).await?;
            let name = full_name(pool, vm);
            let message = format!("Restarts VM {name}, which runs as an older template says");
            pools
                .recorder
                .record(pool, Fact::normal("SuccessfulUpdate", message));
            Ok(())
        }
    }
}

/// Takes control of a machine, unless the pool is being deleted by now.
async fn adopt(pools: &Pools, pool: &VirtualMachinePool, vm: &VirtualMachine) -> kube::Result<()> {
    let api = change::api::<VirtualMachinePool>(&pools.client, pool);
    let fresh = api.get_opt(&pool.name_any()).await?;
    let stands = fresh.is_some_and(|it| {
        it.metadata.uid == pool.metadata.uid && it.metadata.deletion_timestamp.is_none()
    });
    let Some(owner) = owner(pool).filter(|_| stands) else {
        return Ok(());
    };
    let mut owners = vm.owner_references().to_vec();
    owners.push(owner);
    let change = json!({ "metadata": { "ownerReferences": owners } });
    gone_is_fine(change::object(&pools.client, vm, change).await)
}

async fn create(pools: &Pools, pool: &VirtualMachinePool, vm: &VirtualMachine) -> kube::Result<()> {
    let vms = change::api::<VirtualMachine>(&pools.client, pool);
    match vms.create(&PostParams::default(), vm).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            // Made a moment ago, and not yet seen; somebody else's is seen at the next look.
            let present = vms.get_opt(&vm.name_any()).await?;
            let ours = present.is_some_and(|present| controls(pool, &present));
            return if ours {
                Ok(())
            } else {
                Err(kube::Error::Api(status))
            };
        }
        Err(error) => return Err(error),
    }
    let message = format!("Created VM {}", full_name(pool, vm));
    pools
        .recorder
        .record(pool, Fact::normal("SuccessfulCreate", message));
    Ok(())
}

async fn delete(pools: &Pools, pool: &VirtualMachinePool, vm: &VirtualMachine) -> kube::Result<()> {
    let how = DeleteParams {
        // Only the machine that was looked at, not a later one of the same name.
        preconditions: Some(Preconditions {
            uid: vm.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let uid = vm.uid().unwrap_or_default();
    let vms = change::api::<VirtualMachine>(&pools.client, pool);
    match vms.delete(&vm.name_any(), &how).await {
        Ok(_) => pools.doom(pool, &uid),
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            pools.doom(pool, &uid);
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    let name = full_name(pool, vm);
    let message = format!("Deleted VM {name} with uid {uid} from pool");
    pools
        .recorder
        .record(pool, Fact::normal("SuccessfulDelete", message));
    Ok(())
}

fn full_name(pool: &VirtualMachinePool, vm: &VirtualMachine) -> String {
    format!("{}/{}", pool.namespace().unwrap_or_default(), vm.name_any())
}

fn cause(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => causes(other),
    }
}

/// A lost race is no failure.
fn is_race(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict())
}

/// The event of an action that failed.
fn failed(pool: &VirtualMachinePool, action: &Action, error: &kube::Error) -> Option<Fact> {
    let cause = (!is_race(error)).then(|| cause(error))?;
    let fact = match action {
        Action::Create(_) => Fact::warning("FailedCreate", format!("Error creating VM: {cause}")),
        Action::Delete(vm) => {
            let name = full_name(pool, vm);
            Fact::warning(
                "FailedDelete",
                format!("Error deleting virtual machine {name}: {cause}"),
            )
        }
        Action::Change(vm, _) | Action::Restart(vm, _) => {
            let name = full_name(pool, vm);
            Fact::warning(
                "FailedUpdate",
                format!("Error updating virtual machine {name}: {cause}"),
            )
        }
        Action::Release(_) | Action::Adopt(_) => return None,
    };
    Some(fact)
}

/// What the pool says of an action that failed.
fn failure(action: &Action, error: &kube::Error) -> Option<Failure> {
    let cause = (!is_race(error)).then(|| cause(error))?;
    let (reason, during) = match action {
        Action::Create(_) => ("FailedScaleOut", "scale out"),
        Action::Delete(_) => ("FailedScaleIn", "scale in"),
        Action::Change(..) | Action::Restart(..) => ("FailedUpdate", "VM update"),
        Action::Release(_) | Action::Adopt(_) => return None,
    };
    Some(Failure {
        reason,
        message: format!("error during {during}: {cause}"),
    })
}
