//! Events: what happened to an object, for people, written off the path of the work.
//!
//! One fact about one object is one `Event`, whose count grows; its name is derived from the fact,
//! so that this holds across a restart too.

use api::names::components::VIRT_HANDLER;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;

/// Facts that wait to be written: five each of a hundred VMs that start at once. What is beyond
/// is logged.
const WAITING: usize = 512;
/// What Kubernetes allows of a message, in bytes.
const LONGEST_MESSAGE: usize = 1024;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Whether somebody may have to do something.
    pub warning: bool,
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl Fact {
    /// Something that went well.
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            warning: false,
            reason,
            message: message.into(),
        }
    }

    /// Something that did not.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            warning: true,
            reason,
            message: message.into(),
        }
    }
}

/// Takes facts; clones share a queue.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    facts: mpsc::Sender<(ObjectReference, Fact, Timestamp)>,
}

impl Recorder {
    /// A recorder, and the work of writing what it takes, which ends when all its clones are gone
    /// and everything is written.
    pub(crate) fn new(
        client: kube::Client,
        node: String,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (facts, mut waiting) = mpsc::channel::<(ObjectReference, Fact, Timestamp)>(WAITING);
        let write = async move {
            while let Some((object, fact, at)) = waiting.recv().await {
                let event = event(&node, object, &fact, at);
                if let Err(error) = write(&client, event, at).await {
                    let (reason, message) = (fact.reason, fact.message);
                    tracing::warn!(reason, message, %error, "event not recorded");
                }
            }
        };
        (Self { facts }, write)
    }

    /// Records a fact. Never waits.
    pub(crate) fn record(&self, object: ObjectReference, fact: Fact, at: Timestamp) {
        if let Err(error) = self.facts.try_send((object, fact, at)) {
            tracing::warn!(%error, "event not recorded");
        }
    }
}

async fn write(client: &kube::Client, event: Event, at: Timestamp) -> kube::Result<()> {
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let name = event.metadata.name.clone().unwrap_or_default();
    let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
    match events.create(&PostParams::default(), &event).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        result => return result.map(drop),
    }
    // Only this node writes events of this name, so nobody counts in between.
    let Some(known) = events.get_opt(&name).await? else {
        return Ok(());
    };
    let count = known.count.unwrap_or(1).saturating_add(1);
    let more = json!({ "count": count, "lastTimestamp": Time(at) });
    events
        .patch(&name, &PatchParams::default(), &Patch::Merge(&more))
        .await
        .map(drop)
}

fn event(node: &str, object: ObjectReference, fact: &Fact, at: Timestamp) -> Event {
    let kind = if fact.warning { "Warning" } else { "Normal" };
    let subject = object.name.clone().unwrap_or_default();
    let parts = [
        object.kind.as_deref().unwrap_or_default(),
        object.uid.as_deref().unwrap_or_default(),
        node,
        kind,
        fact.reason,
        &fact.message,
    ];
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{subject}.{:016x}", fingerprint(&parts))),
            // Objects outside of namespaces have their events there.
            namespace: Some(
                object
                    .namespace
                    .clone()
                    .unwrap_or_else(|| "default".to_owned()),
            ),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            resource_version: None,
            ..object
        },
        type_: Some(kind.to_owned()),
        reason: Some(fact.reason.to_owned()),
        message: Some(shortened(&fact.message)),
        count: Some(1),
        first_timestamp: Some(Time(at)),
        last_timestamp: Some(Time(at)),
        source: Some(EventSource {
            component: Some(VIRT_HANDLER.to_owned()),
            host: Some(node.to_owned()),
        }),
        reporting_component: Some(VIRT_HANDLER.to_owned()),
        reporting_instance: Some(node.to_owned()),
        ..Event::default()
    }
}

fn shortened(message: &str) -> String {
    let mut end = message.len().min(LONGEST_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_owned()
}

/// FNV-1a over the parts. Names of events depend on it, so it must stay the same across releases.
fn fingerprint(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fact_has_one_name_whenever_it_happens() {
        let object = ObjectReference {
            name: Some("vm".to_owned()),
            namespace: Some("ns".to_owned()),
            uid: Some("1".to_owned()),
            ..ObjectReference::default()
        };
        let at = |second| Timestamp::from_second(second).expect("a time");
        let fact = Fact::normal("Started", "It started.");
        let first = event("node", object.clone(), &fact, at(1));
        assert_eq!(
            first.metadata.name,
            event("node", object.clone(), &fact, at(2)).metadata.name
        );
        let other = Fact::warning("Started", "It started.");
        assert_ne!(
            first.metadata.name,
            event("node", object, &other, at(1)).metadata.name
        );
        assert_eq!(first.metadata.namespace.as_deref(), Some("ns"));
    }
}
