//! Tells the API server where a pod runs, or the pod why it waits.

use super::Scheduler;
use crate::event::Fact;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

const POD_SCHEDULED: &str = "PodScheduled";

/// Binds `pod` to `node`. A pod that is gone is no failure. A conflict is one: whether the pod is bound
/// already or its binding lost a race is known at the next look only.
pub(super) async fn bind(scheduler: &Scheduler, pod: &Pod, node: &str) -> kube::Result<()> {
    let name = pod.name_any();
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: pod.namespace(),
            // Another pod of the same name is not meant.
            uid: pod.uid(),
            ..Default::default()
        },
        target: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..Default::default()
        },
    };
    let pods = pods(&scheduler.client, pod);
    let answer: kube::Result<serde_json::Value> = pods
        .create_subresource("binding", &name, &PostParams::default(), &binding)
        .await;
    match answer {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    }
    let namespace = pod.namespace().unwrap_or_default();
    let message = format!("Successfully assigned {namespace}/{name} to {node}");
    scheduler
        .recorder
        .record(pod, Fact::normal("Scheduled", message));
    Ok(())
}

/// Says on `pod` why it waits, once per reason.
pub(super) async fn wait(
    scheduler: &Scheduler,
    pod: &Pod,
    reason: &'static str,
    message: &str,
) -> kube::Result<()> {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let known = conditions
        .into_iter()
        .flatten()
        .find(|it| it.type_ == POD_SCHEDULED);
    let is_told = known.is_some_and(|it| {
        it.status == "False"
            && it.reason.as_deref() == Some(reason)
            && it.message.as_deref() == Some(message)
    });
    if is_told {
        return Ok(());
    }
    let since = known
        .filter(|it| it.status == "False")
        .and_then(|it| it.last_transition_time.clone());
    let condition = PodCondition {
        type_: POD_SCHEDULED.to_owned(),
        status: "False".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: since.or_else(|| Some(Time(scheduler.settings.clock.now()))),
        ..Default::default()
    };
    // Strategic: conditions are merged by their type, so those of others stay.
    let patch =
        json!({ "metadata": { "uid": pod.uid() }, "status": { "conditions": [condition] } });
    let pods = pods(&scheduler.client, pod);
    let answer = pods
        .patch_status(
            &pod.name_any(),
            &PatchParams::default(),
            &Patch::Strategic(&patch),
        )
        .await;
    match answer {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    }
    if reason == "Unschedulable" {
        scheduler
            .recorder
            .record(pod, Fact::warning("FailedScheduling", message));
    }
    Ok(())
}

fn pods(client: &Client, pod: &Pod) -> Api<Pod> {
    Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default())
}
