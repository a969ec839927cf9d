//! What a guest wrote to its serial console: the log of its launcher pod.

use api::names;
use api::virtual_machine_instance::VirtualMachineInstance;
use futures::AsyncBufReadExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt};

use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::{output, power};

pub(crate) async fn run(
    connection: &Connection,
    name: &str,
    follow: bool,
    tail: Option<i64>,
) -> Result<Exit, Failure> {
    let name = power::plain(name);
    let pod = launcher_pod(connection, name).await?;
    let parameters = LogParams {
        container: Some(names::containers::GUEST_CONSOLE_LOG.to_owned()),
        follow,
        tail_lines: tail,
        ..LogParams::default()
    };
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), &connection.namespace);
    let mut stream = pods
        .log_stream(&pod, &parameters)
        .await
        .map_err(|error| connection.failure(error))?;
    let lost = |error: std::io::Error| Failure::new(format!("the log broke off: {error}"));
    loop {
        let bytes = stream.fill_buf().await.map_err(lost)?;
        if bytes.is_empty() {
            return Ok(Exit::Ok);
        }
        output::bytes(bytes)?;
        let count = bytes.len();
        stream.consume_unpin(count);
    }
}

/// The pod of the machine's instance; of the last one, if it has ended and its pod is kept.
async fn launcher_pod(connection: &Connection, name: &str) -> Result<String, Failure> {
    let instances: Api<VirtualMachineInstance> =
        Api::namespaced(connection.client.clone(), &connection.namespace);
    let instance = instances
        .get_opt(name)
        .await
        .map_err(|error| connection.failure(error))?;
    let selector = match instance.as_ref().and_then(ResourceExt::uid) {
        Some(uid) => format!("{}={uid}", names::labels::CREATED_BY),
        None => format!(
            "{}={}",
            names::labels::KUBEVIRT,
            names::labels::KUBEVIRT_LAUNCHER
        ),
    };
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), &connection.namespace);
    let pods = pods
        .list(&ListParams::default().labels(&selector))
        .await
        .map_err(|error| connection.failure(error))?;
    let mut pods = pods.items;
    if instance.is_none() {
        pods.retain(|pod| belongs(pod, name));
    }
    if let Some(pod) = newest(pods) {
        return Ok(pod);
    }
    let message = match instance {
        Some(_) => format!("VM {name} has no pod yet, so nothing was logged"),
        None => format!("VM {name} does not run, and no log of an earlier run is kept"),
    };
    let failure = Failure::new(message)
        .exit(Exit::NotFound)
        .fix(&format!("anyvirt start {name}"), "starts it");
    Err(power::not_found(connection, name, failure).await)
}

/// Is it a launcher pod of that machine?
fn belongs(pod: &Pod, name: &str) -> bool {
    pod.annotations()
        .get(names::annotations::DOMAIN)
        .is_some_and(|domain| domain == name)
}

fn newest(pods: Vec<Pod>) -> Option<String> {
    pods.into_iter()
        .max_by_key(ResourceExt::creation_timestamp)
        .and_then(|pod| pod.metadata.name)
}
