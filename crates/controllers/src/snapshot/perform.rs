//! Does what was decided about a snapshot. The status is written first: what it says is decided, and a look after a
//! failure does what remains. Except that of a snapshot that was taken: who waits for that may start and stop the machine.

use super::Controller;
use super::decide::{Action, Decision, Seen};
use crate::change;
use crate::engine::gone_is_fine;
use crate::queue::Key;
use api::names::snapshot_finalizers as finalizers;
use api::snapshot::{Phase, VirtualMachineSnapshot, VirtualMachineSnapshotContent};
use api::virtual_machine::VirtualMachine;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, PostParams, Preconditions};

/// Acts on `decision`.
pub(super) async fn perform(
    controller: &Controller,
    seen: &Seen<'_>,
    decision: &Decision,
) -> kube::Result<()> {
    let taken = decision.status.phase == Some(Phase::Succeeded);
    let mut snapshot = seen.snapshot.clone();
    if !taken && !tell(controller, &mut snapshot, decision).await? {
        return Ok(());
    }
    for action in &decision.actions {
        act(controller, &mut snapshot, seen, action).await?;
    }
    if taken && !tell(controller, &mut snapshot, decision).await? {
        return Ok(());
    }
    if let Some(fact) = &decision.fact {
        controller.recorder.record(seen.snapshot, fact.clone());
    }
    Ok(())
}

/// Writes the status. False: the snapshot is gone.
async fn tell(
    controller: &Controller,
    snapshot: &mut VirtualMachineSnapshot,
    decision: &Decision,
) -> kube::Result<bool> {
    let before = snapshot.status.clone().unwrap_or_default();
    change::told(&controller.client, snapshot, &before, &decision.status).await
}

async fn act(
    controller: &Controller,
    snapshot: &mut VirtualMachineSnapshot,
    seen: &Seen<'_>,
    action: &Action,
) -> kube::Result<()> {
    let client = &controller.client;
    match action {
        Action::Hold => {
            *snapshot = change::finalizer(client, snapshot, finalizers::SNAPSHOT, true).await?;
        }
        Action::LetGo => {
            let gone = change::finalizer(client, snapshot, finalizers::SNAPSHOT, false).await;
            gone_is_fine(gone)?;
        }
        Action::Lock => {
            if let Some(vm) = seen.vm {
                let vm = lock(controller, vm, Some(snapshot.name_any())).await?;
                change::finalizer(client, &vm, finalizers::SOURCE, true).await?;
            }
        }
        Action::Unlock => {
            if let Some(vm) = seen.vm {
                // The finalizer first: without the lock nobody would know that it is ours.
                let free = change::finalizer(client, vm, finalizers::SOURCE, false).await;
                match free {
                    Ok(vm) => drop(gone_is_fine(lock(controller, &vm, None).await)?),
                    Err(error) => gone_is_fine::<VirtualMachine>(Err(error))?,
                }
            }
        }
        Action::Capture(content) => {
            let contents = change::api::<VirtualMachineSnapshotContent>(client, snapshot);
            match contents.create(&PostParams::default(), content).await {
                // Created a moment ago, and not yet seen.
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                created => drop(created?),
            }
        }
        Action::Finish(whole) => {
            if let Some(content) = seen.content {
                let before = content.status.clone().unwrap_or_default();
                change::status(client, content, &before, whole.as_ref()).await?;
            }
        }
        Action::Drop => {
            if let Some(content) = seen.content {
                remove(controller, content).await?;
            }
        }
        Action::Leave => {
            if let Some(content) = seen.content {
                let left = change::finalizer(client, content, finalizers::CONTENT, false).await;
                gone_is_fine(left)?;
            }
        }
    }
    Ok(())
}

async fn lock(
    controller: &Controller,
    vm: &VirtualMachine,
    name: Option<String>,
) -> kube::Result<VirtualMachine> {
    let before = vm.status.clone().unwrap_or_default();
    let mut after = before.clone();
    after.snapshot_in_progress = name;
    change::status(&controller.client, vm, &before, &after).await
}

/// Deletes a content, and lets it go.
async fn remove(
    controller: &Controller,
    content: &VirtualMachineSnapshotContent,
) -> kube::Result<()> {
    let client = &controller.client;
    let free = change::finalizer(client, content, finalizers::CONTENT, false).await;
    match free {
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        free => drop(free?),
    }
    let how = DeleteParams {
        preconditions: Some(Preconditions {
            uid: content.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let contents = change::api::<VirtualMachineSnapshotContent>(client, content);
    match contents.delete(&content.name_any(), &how).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => deleted.map(drop),
    }
}

/// The snapshot of this name is gone: nobody else lets its contents go, should they be deleted.
pub(super) async fn let_contents_go(controller: &Controller, key: &Key) -> kube::Result<()> {
    let contents = controller.contents.state();
    let theirs = contents.iter().filter(|content| {
        content.namespace().as_deref() == Some(&key.namespace)
            && content.spec.virtual_machine_snapshot_name.as_deref() == Some(&key.name)
            && content.metadata.deletion_timestamp.is_some()
    });
    for content in theirs {
        let free = change::finalizer(
            &controller.client,
            content.as_ref(),
            finalizers::CONTENT,
            false,
        );
        gone_is_fine(free.await)?;
    }
    Ok(())
}
