//! Does what was decided about a restore. The status is written first: what it says is decided, and a look after a
//! failure does what remains. Except that of a restore that is complete: who waits for that may start the machine.

use super::Controller;
use super::decide::{Action, Decision, Seen};
use crate::change;
use crate::difference::merge_patch;
use crate::engine::{causes, gone_is_fine};
use crate::event::Fact;
use crate::subresource::strategy_patch;
use api::names::{annotations, snapshot_finalizers as finalizers};
use api::snapshot::VirtualMachineRestore;
use api::virtual_machine::{RunStrategy, VirtualMachine};
use api::virtual_machine_instance::VirtualMachineInstance;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

/// Seconds that a guest gets of which nothing is needed any more: time for QEMU to flush, not for the guest.
const AT_ONCE_SECONDS: i64 = 1;

/// Acts on `decision`.
pub(super) async fn perform(
    controller: &Controller,
    seen: &Seen<'_>,
    decision: &Decision,
) -> kube::Result<()> {
    let complete = decision.status.complete == Some(true);
    let mut restore = seen.restore.clone();
    if !complete && !tell(controller, &mut restore, decision).await? {
        return Ok(());
    }
    let mut vm = seen.vm.cloned();
    for action in &decision.actions {
        act(controller, &mut restore, &mut vm, seen, action).await?;
    }
    if complete && !tell(controller, &mut restore, decision).await? {
        return Ok(());
    }
    // What is said again and again while it waits is told once.
    let is_news = seen.restore.status.as_ref() != Some(&decision.status);
    if let Some(fact) = decision.fact.as_ref().filter(|_| is_news) {
        controller.recorder.record(seen.restore, fact.clone());
    }
    Ok(())
}

/// Writes the status. False: the restore is gone.
async fn tell(
    controller: &Controller,
    restore: &mut VirtualMachineRestore,
    decision: &Decision,
) -> kube::Result<bool> {
    let before = restore.status.clone().unwrap_or_default();
    change::told(&controller.client, restore, &before, &decision.status).await
}

async fn act(
    controller: &Controller,
    restore: &mut VirtualMachineRestore,
    vm: &mut Option<VirtualMachine>,
    seen: &Seen<'_>,
    action: &Action,
) -> kube::Result<()> {
    let client = &controller.client;
    match (action, vm) {
        (Action::Hold, _) => {
            *restore = change::finalizer(client, restore, finalizers::RESTORE, true).await?;
        }
        (Action::LetGo, _) => {
            let gone = change::finalizer(client, restore, finalizers::RESTORE, false).await;
            gone_is_fine(gone)?;
        }
        (Action::Create(wanted), _) => create(controller, restore, wanted).await?,
        (Action::Own, Some(vm)) => {
            let mut owners = restore.owner_references().to_vec();
            owners.extend(vm.controller_owner_ref(&()));
            let change = json!({ "metadata": { "ownerReferences": owners } });
            *restore = change::object(client, restore, change).await?;
        }
        (Action::Lock, Some(vm)) => *vm = lock(controller, vm, Some(restore.name_any())).await?,
        (Action::Unlock, Some(vm)) => {
            gone_is_fine(lock(controller, vm, None).await)?;
        }
        (Action::Check, _) => {
            if let Some(content) = seen.content {
                let asked = json!({ annotations::CHECK_REQUESTED: restore.uid() });
                let change = json!({ "metadata": { "annotations": asked } });
                change::object(client, content, change).await?;
            }
        }
        (Action::Stop { at_once }, Some(vm)) => {
            if *at_once && let Some(vmi) = seen.vmi {
                shorten(controller, vmi).await?;
            }
            if vm.spec.strategy() != Some(RunStrategy::Halted) {
                let change = json!({ "spec": strategy_patch(vm, RunStrategy::Halted) });
                *vm = change::object(client, vm, change).await?;
            }
        }
        (Action::Write(wanted), Some(vm)) => write(controller, restore, vm, wanted).await?,
        (Action::Consume, Some(vm)) => {
            *vm = change::object(client, vm, json!({ "metadata": ordinary() })).await?;
        }
        (Action::LeaveStopped, Some(vm)) => {
            let spec = strategy_patch(vm, RunStrategy::Halted);
            let change = json!({ "metadata": ordinary(), "spec": spec });
            *vm = change::object(client, vm, change).await?;
        }
        // The target went in between, which another look sees.
        (_, None) => {}
    }
    Ok(())
}

/// The metadata of a machine whose next start is an ordinary one.
fn ordinary() -> Value {
    json!({ "annotations": {
        annotations::RESUME_FROM: null,
        annotations::RESUME_AS: null,
        annotations::RESUME_NODE: null,
    } })
}

async fn lock(
    controller: &Controller,
    vm: &VirtualMachine,
    name: Option<String>,
) -> kube::Result<VirtualMachine> {
    let before = vm.status.clone().unwrap_or_default();
    let mut after = before.clone();
    after.restore_in_progress = name;
    change::status(&controller.client, vm, &before, &after).await
}

/// Gives a guest hardly any time to shut down.
async fn shorten(controller: &Controller, vmi: &VirtualMachineInstance) -> kube::Result<()> {
    let given = vmi.spec.termination_grace_period_seconds;
    if given.is_some_and(|seconds| seconds <= AT_ONCE_SECONDS) {
        return Ok(());
    }
    let patch = json!({ "metadata": { "uid": vmi.uid() },
        "spec": { "terminationGracePeriodSeconds": AT_ONCE_SECONDS } });
    let vmis = change::api::<VirtualMachineInstance>(&controller.client, vmi);
    let name = vmi.name_any();
    let patched = vmis
        .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await;
    gone_is_fine(patched)
}

/// Writes the target's spec, labels and annotations as they are to be.
async fn write(
    controller: &Controller,
    restore: &VirtualMachineRestore,
    vm: &mut VirtualMachine,
    wanted: &VirtualMachine,
) -> kube::Result<()> {
    let of = |vm: &VirtualMachine| {
        json!({
            "metadata": { "labels": vm.labels(), "annotations": vm.annotations() },
            "spec": vm.spec,
        })
    };
    let patch = merge_patch(&of(vm), &of(wanted)).map_err(kube::Error::SerdeError)?;
    let Some(patch) = patch else { return Ok(()) };
    let written = change::object(&controller.client, vm, patch).await;
    *vm = tell_refusal(controller, restore, written)?;
    Ok(())
}

async fn create(
    controller: &Controller,
    restore: &VirtualMachineRestore,
    wanted: &VirtualMachine,
) -> kube::Result<()> {
    let vms = change::api::<VirtualMachine>(&controller.client, restore);
    let created = vms.create(&PostParams::default(), wanted).await;
    // Created a moment ago, and not yet seen; or by somebody else, which another look tells.
    if let Err(kube::Error::Api(status)) = &created
        && status.is_already_exists()
    {
        return Ok(());
    }
    tell_refusal(controller, restore, created).map(drop)
}

/// A target that admission refuses is tried again and again: people must know why.
fn tell_refusal<T>(
    controller: &Controller,
    restore: &VirtualMachineRestore,
    result: kube::Result<T>,
) -> kube::Result<T> {
    if let Err(kube::Error::Api(status)) = &result
        && !status.is_conflict()
    {
        let fact = Fact::warning(
            "VirtualMachineRestoreError",
            format!("VirtualMachineRestore encountered error {}", status.message),
        );
        controller.recorder.record(restore, fact);
    } else if let Err(error) = &result {
        tracing::debug!(
            error = causes(error),
            "a restore's target is not written yet"
        );
    }
    result
}
