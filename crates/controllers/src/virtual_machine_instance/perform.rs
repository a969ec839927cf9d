//! Does what was decided about a VMI and its pods.

use super::Instances;
use super::decide::{Action, Decision};
use super::status::set_synchronized;
use crate::difference::merge_patch;
use crate::engine::{causes, gone_is_fine};
use crate::event::Fact;
use api::names::labels;
use api::virtual_machine_instance::VirtualMachineInstance;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

/// Acts on `decision` about `vmi`: on its pods first, so that the VMI never tells of what is not.
pub(super) async fn perform(
    instances: &Instances,
    vmi: &VirtualMachineInstance,
    decision: &Decision,
) -> kube::Result<()> {
    let (labelling, pods): (Vec<_>, Vec<_>) = decision
        .actions
        .iter()
        .partition(|it| matches!(it, Action::Label { .. } | Action::Gate { .. }));
    for action in pods {
        if let Err(error) = act(instances, vmi, action).await {
            tell_failure(instances, vmi, action, &error).await?;
            return Err(error);
        }
    }
    tell(&instances.client, vmi, &decision.vmi).await?;
    for fact in &decision.facts {
        instances.recorder.record(vmi, fact.clone());
    }
    for action in labelling {
        act(instances, vmi, action).await?;
    }
    Ok(())
}

/// Writes the VMI's metadata and status, where they change. There is no status subresource.
async fn tell(
    client: &Client,
    before: &VirtualMachineInstance,
    after: &VirtualMachineInstance,
) -> kube::Result<()> {
    let patch = merge_patch(before, after).map_err(kube::Error::SerdeError)?;
    let Some(mut patch) = patch else {
        return Ok(());
    };
    // The node writes conditions too: a list is replaced whole, so it must be the list we saw.
    let guard = [
        ("uid", json!(before.uid())),
        ("resourceVersion", json!(before.resource_version())),
    ];
    let metadata = patch
        .as_object_mut()
        .map(|fields| fields.entry("metadata").or_insert(json!({})));
    if let Some(Value::Object(metadata)) = metadata {
        metadata.extend(guard.map(|(name, value)| (name.to_owned(), value)));
    }
    let vmis: Api<VirtualMachineInstance> =
        Api::namespaced(client.clone(), &before.namespace().unwrap_or_default());
    match vmis
        .patch(
            &before.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await
    {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}

async fn act(
    instances: &Instances,
    vmi: &VirtualMachineInstance,
    action: &Action,
) -> kube::Result<()> {
    let pods: Api<Pod> = Api::namespaced(
        instances.client.clone(),
        &vmi.namespace().unwrap_or_default(),
    );
    match action {
        Action::Create(pod) => {
            let created = pods.create(&PostParams::default(), pod).await?;
            let message = format!("Created virtual machine pod {}", created.name_any());
            instances
                .recorder
                .record(vmi, Fact::normal("SuccessfulCreate", message));
        }
        Action::Delete {
            name,
            uid,
            resource_version,
        } => {
            let how = DeleteParams::default();
            delete(
                instances,
                vmi,
                &pods,
                name,
                how,
                uid.clone(),
                resource_version.clone(),
            )
            .await?;
        }
        Action::Discard {
            name,
            uid,
            resource_version,
        } => {
            let how = DeleteParams::default().grace_period(0);
            delete(
                instances,
                vmi,
                &pods,
                name,
                how,
                uid.clone(),
                resource_version.clone(),
            )
            .await?;
        }
        Action::Rename {
            name,
            uid,
            resource_version,
            annotations,
        } => {
            // One that got a node meanwhile is started under the policy that it had then.
            let told = json!({ "metadata": {
                "uid": uid, "resourceVersion": resource_version, "annotations": annotations } });
            let told = Patch::Merge(told);
            gone_is_fine(pods.patch(name, &PatchParams::default(), &told).await)?;
        }
        Action::Gate {
            name,
            uid,
            condition,
        } => {
            // Strategic: conditions are merged by their type, so those of others stay.
            let told =
                json!({ "metadata": { "uid": uid }, "status": { "conditions": [condition] } });
            let told = Patch::Strategic(told);
            gone_is_fine(
                pods.patch_status(name, &PatchParams::default(), &told)
                    .await,
            )?;
        }
        Action::Label { name, node } => {
            let labelled = json!({ "metadata": { "labels": { labels::NODE_NAME: node } } });
            let told = Patch::Merge(labelled);
            gone_is_fine(pods.patch(name, &PatchParams::default(), &told).await)?;
        }
    }
    Ok(())
}

/// Deletes one pod. One that is gone already is no failure; one that changed meanwhile is, and is
/// looked at again.
async fn delete(
    instances: &Instances,
    vmi: &VirtualMachineInstance,
    pods: &Api<Pod>,
    name: &str,
    how: DeleteParams,
    uid: Option<String>,
    resource_version: Option<String>,
) -> kube::Result<()> {
    let how = DeleteParams {
        preconditions: Some(Preconditions {
            uid,
            resource_version,
        }),
        ..how
    };
    match pods.delete(name, &how).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    }
    let message = format!("Deleted virtual machine pod {name}");
    instances
        .recorder
        .record(vmi, Fact::normal("SuccessfulDelete", message));
    Ok(())
}

/// Says on the VMI why its pod could not be created or deleted. A lost race is no failure.
async fn tell_failure(
    instances: &Instances,
    vmi: &VirtualMachineInstance,
    action: &Action,
    error: &kube::Error,
) -> kube::Result<()> {
    if matches!(error, kube::Error::Api(status) if status.is_conflict()) {
        return Ok(());
    }
    let cause = match error {
        kube::Error::Api(status) => status.message.clone(),
        other => causes(other),
    };
    let (reason, message) = match action {
        Action::Create(_) => ("FailedCreate", format!("Error creating pod: {cause}")),
        Action::Delete { name, .. } | Action::Discard { name, .. } => (
            "FailedDelete",
            format!("Error deleting pod {name}: {cause}"),
        ),
        Action::Label { .. } | Action::Gate { .. } | Action::Rename { .. } => return Ok(()),
    };
    instances
        .recorder
        .record(vmi, Fact::warning(reason, message.clone()));
    if reason == "FailedCreate" {
        let mut after = vmi.clone();
        let conditions = &mut after.status.get_or_insert_default().conditions;
        let now = instances.settings.clock.now();
        set_synchronized(conditions, Some((reason, message)), now);
        tell(&instances.client, vmi, &after).await?;
    }
    Ok(())
}
