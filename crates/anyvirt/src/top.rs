//! `metrics.k8s.io`: what `kubectl top` asks of, read off the latest samples; see `node::usage`.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apiserver::{Body, Extension, ExtensionResource, Handler, HandlerRequest, Status};
use async_trait::async_trait;
use http::{HeaderValue, Response, header};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, ObjectMeta};
use kube::{Client, ResourceExt as _};
use node::usage::{HostLatest, Latest, Usages};
use serde_json::{Value, json};

const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "v1beta1";

/// Answers for this machine's node and its pods.
pub(crate) struct Top {
    usages: Usages,
    node: String,
    /// Set once the server exists, which the client is made from.
    client: OnceLock<Client>,
}

/// The group for discovery, answered by `top`.
pub(crate) fn group(top: Arc<Top>) -> Extension {
    let resource = |name: &str, kind: &str, namespaced| ExtensionResource {
        name: name.to_owned(),
        kind: kind.to_owned(),
        namespaced,
        verbs: vec!["get".to_owned(), "list".to_owned()],
    };
    Extension {
        group: GROUP.to_owned(),
        versions: vec![VERSION.to_owned()],
        resources: vec![
            resource("nodes", "NodeMetrics", false),
            resource("pods", "PodMetrics", true),
        ],
        public: vec![],
        handler: top,
    }
}

impl Top {
    /// For the node of this name, whose guests are `usages`; [`Top::connect`] completes it.
    pub(crate) fn new(usages: Usages, node: String) -> Arc<Self> {
        Arc::new(Self {
            usages,
            node,
            client: OnceLock::new(),
        })
    }

    /// Hands in the client. A second call changes nothing.
    pub(crate) fn connect(&self, client: Client) {
        self.client.get_or_init(|| client);
    }

    async fn answer(&self, request: &HandlerRequest) -> Result<Value, Status> {
        if request.subresource.is_some() {
            return Err(Status::no_such_resource());
        }
        if !["get", "list"].contains(&request.verb) {
            return Err(Status::method_not_allowed());
        }
        let client = self
            .client
            .get()
            .ok_or_else(|| Status::unavailable("the server is starting; try again"))?;
        let (kind, items) = match (request.resource.as_str(), &request.namespace) {
            ("nodes", None) => ("NodeMetrics", self.nodes(client, request).await),
            ("pods", namespace) => {
                let pods = match namespace {
                    Some(namespace) => Api::namespaced(client.clone(), namespace),
                    None => Api::all(client.clone()),
                };
                ("PodMetrics", self.pods(pods, request).await)
            }
            _ => return Err(Status::no_such_resource()),
        };
        let mut items = items.map_err(|error| match error {
            kube::Error::Api(refused) => Status::new(refused.code, refused.reason, refused.message),
            other => Status::internal(other),
        })?;
        match &request.name {
            Some(name) if items.is_empty() => {
                Err(Status::not_found(GROUP, &request.resource, name))
            }
            Some(_) => Ok(items.swap_remove(0)),
            None => Ok(json!({
                "kind": format!("{kind}List"),
                "apiVersion": format!("{GROUP}/{VERSION}"),
                "metadata": {},
                "items": items,
            })),
        }
    }

    /// The node that is asked for, or those that are selected, as far as something is known.
    async fn nodes(&self, client: &Client, request: &HandlerRequest) -> kube::Result<Vec<Value>> {
        let Some(HostLatest {
            values: [Some(processor), Some(memory), ..],
            window: Some(window),
            age,
        }) = self.usages.host_latest()
        else {
            return Ok(vec![]);
        };
        let nodes = Api::<Node>::all(client.clone())
            .list(&selected(request))
            .await?;
        let nodes = nodes
            .into_iter()
            .filter(|node| node.name_any() == self.node);
        let usage = usage(f64::from(processor), f64::from(memory));
        let times = times(age, window);
        Ok(nodes
            .map(|node| {
                let mut told = object("NodeMetrics", &node.metadata, &times);
                told["usage"] = usage.clone();
                told
            })
            .collect())
    }

    /// The pod that is asked for, or those that are selected, as far as something is known.
    async fn pods(&self, pods: Api<Pod>, request: &HandlerRequest) -> kube::Result<Vec<Value>> {
        let latest: BTreeMap<String, Latest> = self
            .usages
            .latest()
            .into_iter()
            .map(|latest| (latest.identity.pod_uid.clone(), latest))
            .collect();
        let pods = pods.list(&selected(request)).await?;
        let told = pods.into_iter().filter_map(|pod| {
            let latest = latest.get(pod.metadata.uid.as_deref()?)?;
            let [processor, ..] = latest.values;
            let times = times(latest.age, latest.window?);
            let mut told = object("PodMetrics", &pod.metadata, &times);
            let usage = usage(f64::from(processor?), bytes(latest.usage.resident_bytes()));
            told["containers"] = json!([{"name": api::names::containers::COMPUTE, "usage": usage}]);
            Some(told)
        });
        Ok(told.collect())
    }
}

/// Which objects are asked for.
fn selected(request: &HandlerRequest) -> ListParams {
    let parameter = |name: &str| request.parameter(name).map(str::to_owned);
    ListParams {
        label_selector: parameter("labelSelector"),
        field_selector: match &request.name {
            Some(name) => Some(format!("metadata.name={name}")),
            None => parameter("fieldSelector"),
        },
        ..ListParams::default()
    }
}

/// When it was sampled, and over which time.
fn times(age: Duration, window: Duration) -> (Timestamp, String) {
    let now = Timestamp::now();
    let sampled = now.checked_sub(age).unwrap_or(now);
    (sampled, format!("{:.3}s", window.as_secs_f64()))
}

fn object(kind: &str, metadata: &ObjectMeta, (sampled, window): &(Timestamp, String)) -> Value {
    let mut own = json!({"name": metadata.name, "creationTimestamp": sampled.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
    if let Some(namespace) = &metadata.namespace {
        own["namespace"] = json!(namespace);
    }
    if let Some(labels) = &metadata.labels {
        own["labels"] = json!(labels);
    }
    json!({
        "kind": kind,
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "metadata": own,
        "timestamp": own["creationTimestamp"],
        "window": window,
    })
}

/// Processors and bytes as quantities.
fn usage(processors: f64, memory: f64) -> Value {
    json!({
        "cpu": format!("{:.0}n", (processors * 1e9).max(0.0)),
        "memory": format!("{:.0}Ki", (memory / 1024.0).max(0.0)),
    })
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
fn bytes(count: u64) -> f64 {
    count as f64
}

#[async_trait]
impl Handler for Top {
    async fn handle(&self, request: HandlerRequest) -> Response<Body> {
        match self.answer(&request).await {
            Ok(told) => {
                let mut response = Response::new(Body::full(told.to_string()));
                let kind = HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Err(status) => status.into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_whole_and_never_negative() {
        assert_eq!(
            usage(0.25, 2048.0),
            json!({"cpu": "250000000n", "memory": "2Ki"})
        );
        assert_eq!(usage(-1.0, -1.0), json!({"cpu": "0n", "memory": "0Ki"}));
    }

    #[test]
    fn a_metric_has_its_objects_name_and_labels_and_the_time_of_its_sample() {
        let metadata = ObjectMeta {
            name: Some("virt-launcher-a".to_owned()),
            namespace: Some("demo".to_owned()),
            labels: Some([("vm".to_owned(), "a".to_owned())].into()),
            uid: Some("u".to_owned()),
            ..ObjectMeta::default()
        };
        let sampled = "2026-11-23T08:00:05.25Z".parse().unwrap();
        let told = object("PodMetrics", &metadata, &(sampled, "5.000s".to_owned()));
        assert_eq!(
            told,
            json!({
                "kind": "PodMetrics",
                "apiVersion": "metrics.k8s.io/v1beta1",
                "metadata": {"name": "virt-launcher-a", "namespace": "demo", "labels": {"vm": "a"},
                    "creationTimestamp": "2026-11-23T08:00:05Z"},
                "timestamp": "2026-11-23T08:00:05Z",
                "window": "5.000s",
            })
        );
    }
}
