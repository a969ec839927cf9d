//! Does what was decided about a virtual machine.

use super::Machines;
use super::decide::{Action, Decision};
use super::instance::{controls, generation, owner};
use super::status::{Failure, status};
use crate::difference::merge_patch;
use crate::engine::{causes, gone_is_fine};
use crate::event::Fact;
use crate::subresource::strategy_patch;
use api::names::{annotations, finalizers};
use api::virtual_machine::{RunStrategy, VirtualMachine};
use api::virtual_machine_instance::VirtualMachineInstance;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

/// Acts on `decision` about `vm`, and writes the status it leads to.
pub(super) async fn perform(
    machines: &Machines,
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    decision: &Decision,
) -> kube::Result<()> {
    // The end of an instance is counted before the instance may go; the start of one is not delayed
    // by telling of it.
    let tells_first = decision
        .actions
        .iter()
        .any(|it| matches!(it, Action::Delete | Action::Release | Action::LetGo));
    let mut vm = vm.clone();
    if tells_first {
        tell(machines, &mut vm, vmi, decision, None).await?;
    }
    for action in &decision.actions {
        if let Err(error) = act(machines, &mut vm, vmi, action).await {
            if let Some(failure) = failure(action, &error) {
                machines
                    .recorder
                    .record(&vm, Fact::warning(failure.reason, failure.message.clone()));
                tell(machines, &mut vm, vmi, decision, Some(&failure)).await?;
            }
            return Err(error);
        }
    }
    if tells_first {
        Ok(())
    } else {
        tell(machines, &mut vm, vmi, decision, None).await
    }
}

/// Writes the status, if it changes.
async fn tell(
    machines: &Machines,
    vm: &mut VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    decision: &Decision,
    failure: Option<&Failure>,
) -> kube::Result<()> {
    let before = vm.status.clone().unwrap_or_default();
    let after = status(vm, vmi, decision, failure, machines.settings.clock.now());
    let patch = merge_patch(&before, &after).map_err(kube::Error::SerdeError)?;
    // A VM without any status gets one, even if all of it is default.
    let Some(patch) = patch.or_else(|| vm.status.is_none().then(|| json!({}))) else {
        return Ok(());
    };
    let patch = json!({ "metadata": guard(vm), "status": patch });
    let vms = api::<VirtualMachine>(machines, vm);
    *vm = vms
        .patch_status(
            &vm.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await?;
    Ok(())
}

async fn act(
    machines: &Machines,
    vm: &mut VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    action: &Action,
) -> kube::Result<()> {
    match action {
        Action::Hold => {
            let mut held = vm.finalizers().to_vec();
            held.push(finalizers::VIRTUAL_MACHINE_CONTROLLER.to_owned());
            *vm = patch(machines, vm, json!({ "finalizers": held })).await?;
            Ok(())
        }
        Action::LetGo => gone_is_fine(patch(machines, vm, without_ours(vm)).await),
        Action::BecomeAlways => {
            let change =
                json!({ "metadata": guard(vm), "spec": strategy_patch(vm, RunStrategy::Always) });
            let vms = api::<VirtualMachine>(machines, vm);
            *vm = vms
                .patch(
                    &vm.name_any(),
                    &PatchParams::default(),
                    &Patch::Merge(&change),
                )
                .await?;
            Ok(())
        }
        Action::Create(vmi) => create(machines, vm, vmi).await,
        Action::Delete => delete(machines, vm, vmi).await,
        Action::Adopt => {
            let (Some(vmi), Some(owner)) = (vmi, owner(vm)) else {
                return Ok(());
            };
            let mut owners = vmi.owner_references().to_vec();
            owners.push(owner);
            gone_is_fine(patch(machines, vmi, json!({ "ownerReferences": owners })).await)
        }
        Action::Release => {
            let Some(vmi) = vmi else { return Ok(()) };
            release(machines, vmi).await
        }
        Action::FollowPolicy(change) | Action::TellSave(change) => {
            let Some(vmi) = vmi else { return Ok(()) };
            gone_is_fine(patch_whole(machines, vmi, change.clone()).await)
        }
        Action::FollowGeneration => {
            let Some(vmi) = vmi else { return Ok(()) };
            let change = json!({ "annotations": { annotations::VM_GENERATION: generation(vm).to_string() } });
            gone_is_fine(patch(machines, vmi, change).await)
        }
    }
}

async fn create(
    machines: &Machines,
    vm: &VirtualMachine,
    vmi: &VirtualMachineInstance,
) -> kube::Result<()> {
    let vmis = api::<VirtualMachineInstance>(machines, vm);
    match vmis.create(&PostParams::default(), vmi).await {
        Ok(_) => {}
        // Created a moment ago, and not yet seen.
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let present = vmis.get_opt(&vmi.name_any()).await?;
            let ours = present.is_some_and(|present| controls(vm, &present));
            return if ours {
                Ok(())
            } else {
                Err(kube::Error::Api(status))
            };
        }
        Err(error) => return Err(error),
    }
    let message = format!(
        "Started the virtual machine by creating the new virtual machine instance {}",
        vmi.name_any()
    );
    machines
        .recorder
        .record(vm, Fact::normal("SuccessfulCreate", message));
    Ok(())
}

async fn delete(
    machines: &Machines,
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
) -> kube::Result<()> {
    let Some(vmi) = vmi else { return Ok(()) };
    let uid = vmi.uid().unwrap_or_default();
    let how = DeleteParams {
        // Only the instance that was looked at, not a later one of the same name.
        preconditions: Some(Preconditions {
            uid: vmi.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api::<VirtualMachineInstance>(machines, vm)
        .delete(&vmi.name_any(), &how)
        .await
    {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        // A conflict too: it may be a lost race, after which the instance still lives.
        Err(error) => return Err(error),
    }
    let message =
        format!("Stopped the virtual machine by deleting the virtual machine instance {uid}");
    machines
        .recorder
        .record(vm, Fact::normal("SuccessfulDelete", message));
    Ok(())
}

/// Takes our finalizer off an instance.
pub(super) async fn release(machines: &Machines, vmi: &VirtualMachineInstance) -> kube::Result<()> {
    gone_is_fine(patch(machines, vmi, without_ours(vmi)).await)
}

/// Metadata without our finalizer.
fn without_ours(object: &impl ResourceExt) -> serde_json::Value {
    let others = object.finalizers().iter();
    let others: Vec<_> = others
        .filter(|it| *it != finalizers::VIRTUAL_MACHINE_CONTROLLER)
        .collect();
    json!({ "finalizers": others })
}

/// The metadata that makes a write fail if the object is not as it was looked at.
fn guard(object: &impl ResourceExt) -> serde_json::Value {
    json!({ "uid": object.uid(), "resourceVersion": object.resource_version() })
}

async fn patch<K>(machines: &Machines, object: &K, metadata: serde_json::Value) -> kube::Result<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned,
{
    patch_whole(machines, object, json!({ "metadata": metadata })).await
}

/// Changes an object that is as it was looked at.
async fn patch_whole<K>(
    machines: &Machines,
    object: &K,
    mut change: serde_json::Value,
) -> kube::Result<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned,
{
    if let Some(fields) = change.as_object_mut()
        && let serde_json::Value::Object(guard) = guard(object)
    {
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.extend(guard);
        }
    }
    let objects = api::<K>(machines, object);
    objects
        .patch(
            &object.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&change),
        )
        .await
}

/// The objects of a kind in the namespace of `neighbour`.
fn api<K>(machines: &Machines, neighbour: &impl ResourceExt) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    Api::namespaced(
        machines.client.clone(),
        &neighbour.namespace().unwrap_or_default(),
    )
}

/// What the VM says of a failed action; a lost race is no failure.
fn failure(action: &Action, error: &kube::Error) -> Option<Failure> {
    if matches!(error, kube::Error::Api(status) if status.is_conflict()) {
        return None;
    }
    let cause = match error {
        kube::Error::Api(status) => status.message.clone(),
        other => causes(other),
    };
    match action {
        Action::Create(_) => Some(Failure {
            reason: "FailedCreate",
            message: format!("Error creating virtual machine instance: {cause}"),
        }),
        Action::Delete => Some(Failure {
            reason: "FailedDelete",
            message: format!("Error deleting virtual machine instance: {cause}"),
        }),
        Action::Hold
        | Action::LetGo
        | Action::Adopt
        | Action::Release
        | Action::FollowGeneration
        | Action::FollowPolicy(_)
        | Action::TellSave(_)
        | Action::BecomeAlways => None,
    }
}
