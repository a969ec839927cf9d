//! Events: what happened to an object, for people. Facts in, `Event` objects out, off the path of
//! the work.
//!
//! One fact about one object (same type, reason, message and component) is one `Event` object, whose
//! `count` and `lastTimestamp` grow; its name is derived from the fact, so that this holds across a
//! restart too.

use crate::clock::Clock;
use crate::engine::causes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt as _};
use serde_json::json;
use std::fmt;
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::warn;

/// Facts that wait to be written. A thousand VMs starting at once tell five facts each; a queue
/// longer than a second of writes would only hide that the store cannot follow.
const WAITING_FACTS_MAX: usize = 8192;

/// Tries to add one to the count of a known event; only another recorder of the same component can
/// be in the way, so a second try nearly always wins.
const COUNT_TRIES: u32 = 5;

/// The longest message of an event; what Kubernetes' API allows.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Where the events of objects outside of namespaces live.
const CLUSTER_NAMESPACE: &str = "default";

/// How serious a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Information.
    Normal,
    /// Somebody may have to do something.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        })
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// How serious.
    pub severity: Severity,
    /// One CamelCase word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl Fact {
    /// A fact of severity `Normal`.
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Normal,
            reason,
            message: message.into(),
        }
    }

    /// A fact of severity `Warning`.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            reason,
            message: message.into(),
        }
    }
}

/// Takes facts; clones share one queue.
#[derive(Debug, Clone)]
pub struct Recorder {
    facts: mpsc::Sender<(ObjectReference, Fact, Timestamp)>,
    clock: Arc<dyn Clock>,
}

impl Recorder {
    /// A recorder for `component`, and the work of writing what it takes, which the caller runs. The
    /// work ends when every clone of the recorder is gone and everything taken is written.
    pub fn new(
        client: Client,
        component: &'static str,
        clock: Arc<dyn Clock>,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (facts, mut waiting) =
            mpsc::channel::<(ObjectReference, Fact, Timestamp)>(WAITING_FACTS_MAX);
        let write = async move {
            while let Some((object, fact, at)) = waiting.recv().await {
                if let Err(error) = write(&client, component, &object, &fact, at).await {
                    warn!(
                        component,
                        reason = fact.reason,
                        message = fact.message,
                        error = causes(&error),
                        "event not recorded"
                    );
                }
            }
        };
        (Self { facts, clock }, write)
    }

    /// Records a fact about `object`. Never waits: when the queue is full the fact is logged instead.
    pub fn record<K: Resource<DynamicType = ()>>(&self, object: &K, fact: Fact) {
        self.record_about(object.object_ref(&()), fact);
    }

    /// Records a fact about the object behind a reference.
    pub fn record_about(&self, object: ObjectReference, fact: Fact) {
        let at = self.clock.now();
        if let Err(error) = self.facts.try_send((object, fact, at)) {
            let (object, fact, _) = match &error {
                mpsc::error::TrySendError::Full(lost) | mpsc::error::TrySendError::Closed(lost) => {
                    lost
                }
            };
            warn!(object = object.name, reason = fact.reason, message = fact.message,
                cause = %error, "event not recorded");
        }
    }
}

/// Creates the event, or counts one more of it.
async fn write(
    client: &Client,
    component: &str,
    object: &ObjectReference,
    fact: &Fact,
    at: Timestamp,
) -> kube::Result<()> {
    let event = event(component, object, fact, at);
    let namespace = object.namespace.as_deref().unwrap_or(CLUSTER_NAMESPACE);
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    match events.create(&PostParams::default(), &event).await {
        Ok(_) => return Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(error),
    }
    let name = event.name_any();
    let mut tries = 1;
    loop {
        let Some(known) = events.get_opt(&name).await? else {
            // It expired meanwhile.
            return events
                .create(&PostParams::default(), &event)
                .await
                .map(drop);
        };
        let more = json!({
            "metadata": { "resourceVersion": known.metadata.resource_version },
            "count": known.count.unwrap_or(1).saturating_add(1),
            "lastTimestamp": Time(at),
        });
        match events
            .patch(&name, &PatchParams::default(), &Patch::Merge(&more))
            .await
        {
            Err(kube::Error::Api(status)) if status.is_conflict() && tries < COUNT_TRIES => {
                tries += 1
            }
            result => return result.map(drop),
        }
    }
}

/// The first event of a fact.
fn event(component: &str, object: &ObjectReference, fact: &Fact, at: Timestamp) -> Event {
    let subject = object.name.as_deref().unwrap_or_default();
    let namespace = object
        .namespace
        .clone()
        .unwrap_or_else(|| CLUSTER_NAMESPACE.to_owned());
    let severity = fact.severity.to_string();
    let identity = [
        object.kind.as_deref().unwrap_or_default(),
        object.uid.as_deref().unwrap_or_default(),
        object.field_path.as_deref().unwrap_or_default(),
        component,
        &severity,
        fact.reason,
        &fact.message,
    ];
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{subject}.{:016x}", fingerprint(&identity))),
            namespace: Some(namespace),
            ..Default::default()
        },
        // A resource version would say which state was looked at, and make every event a new one.
        involved_object: ObjectReference {
            resource_version: None,
            ..object.clone()
        },
        type_: Some(severity),
        reason: Some(fact.reason.to_owned()),
        message: Some(shortened(&fact.message)),
        count: Some(1),
        first_timestamp: Some(Time(at)),
        last_timestamp: Some(Time(at)),
        source: Some(EventSource {
            component: Some(component.to_owned()),
            host: None,
        }),
        reporting_component: Some(component.to_owned()),
        reporting_instance: Some(String::new()),
        ..Default::default()
    }
}

/// A message short enough for the API, cut between letters.
fn shortened(message: &str) -> String {
    if message.len() <= MESSAGE_BYTES_MAX {
        return message.to_owned();
    }
    let ellipsis = "…";
    let mut end = MESSAGE_BYTES_MAX - ellipsis.len();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ellipsis}", &message[..end])
}

/// FNV-1a over the parts, which must stay the same across releases: the names of events depend on
/// it. Nobody gains anything by finding two equal ones.
pub(crate) fn fingerprint(parts: &[&str]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        // 0xff ends a part: it never occurs in UTF-8, so ["ab", "c"] differs from ["a", "bc"].
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> ObjectReference {
        ObjectReference {
            kind: Some("Pod".into()),
            name: Some("p".into()),
            namespace: Some("ns".into()),
            uid: Some(uid.into()),
            resource_version: Some("7".into()),
            ..Default::default()
        }
    }

    fn name(uid: &str, fact: &Fact, at: i64) -> String {
        event("c", &pod(uid), fact, Timestamp::from_second(at).unwrap()).name_any()
    }

    #[test]
    fn one_fact_has_one_name_whenever_it_happens() {
        let fact = Fact::warning("Failed", "no");
        assert_eq!(name("1", &fact, 10), name("1", &fact, 20));
        assert_ne!(name("1", &fact, 10), name("2", &fact, 10));
        assert_ne!(
            name("1", &fact, 10),
            name("1", &Fact::normal("Failed", "no"), 10)
        );
        assert_ne!(
            name("1", &fact, 10),
            name("1", &Fact::warning("Failed", "yes"), 10)
        );
    }

    #[test]
    fn an_event_of_a_node_lives_in_the_default_namespace() {
        let node = ObjectReference {
            kind: Some("Node".into()),
            name: Some("n".into()),
            ..Default::default()
        };
        let event = event("c", &node, &Fact::normal("R", "m"), Timestamp::UNIX_EPOCH);
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(event.involved_object.namespace, None);
    }

    #[test]
    fn a_long_message_is_cut_between_letters() {
        let cut = shortened(&"ä".repeat(2000));
        assert!(cut.len() <= MESSAGE_BYTES_MAX && cut.ends_with("ä…"));
        assert_eq!(shortened("short"), "short");
    }
}
