//! What the API says, kept by machine: the pods bound to this node, and the VMIs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::names::labels;
use api::virtual_machine_instance::VirtualMachineInstance;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use tokio::sync::watch;

use crate::machine::Record;

/// The objects seen last. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    inner: Arc<Mutex<Inner>>,
    complete: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Inner {
    pods: Kept<Pod>,
    instances: Kept<VirtualMachineInstance>,
}

/// Objects by UID, and whether a first list of them is complete.
#[derive(Debug)]
struct Kept<K> {
    objects: BTreeMap<String, Arc<K>>,
    listing: Option<BTreeSet<String>>,
    complete: bool,
}

impl<K> Default for Kept<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            listing: None,
            complete: false,
        }
    }
}

impl<K: kube::Resource> Kept<K> {
    /// Takes an event in, and returns the objects that came, changed or went.
    fn take(&mut self, event: Event<K>) -> Vec<Arc<K>> {
        match event {
            Event::Init => {
                self.listing = Some(BTreeSet::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let uid = object.uid().unwrap_or_default();
                if let Some(listing) = &mut self.listing {
                    listing.insert(uid);
                }
                self.put(object)
            }
            Event::InitDone => {
                self.complete = true;
                let listed = self.listing.take().unwrap_or_default();
                let gone: Vec<String> = self
                    .objects
                    .keys()
                    .filter(|uid| !listed.contains(*uid))
                    .cloned()
                    .collect();
                gone.iter()
                    .filter_map(|uid| self.objects.remove(uid))
                    .collect()
            }
            Event::Apply(object) => self.put(object),
            Event::Delete(object) => {
                let object = Arc::new(object);
                self.objects.remove(&object.uid().unwrap_or_default());
                vec![object]
            }
        }
    }

    /// Keeps the answer to our own write, unless the object is gone by now: the watch may have told of its end
    /// before we came to take the answer in, and would not tell of it again.
    fn put_if_known(&mut self, object: K) {
        if self.objects.contains_key(&object.uid().unwrap_or_default()) {
            self.put(object);
        }
    }

    /// Keeps an object unless a newer state of it is known: what we wrote ourselves is known
    /// before the watch tells of it.
    fn put(&mut self, object: K) -> Vec<Arc<K>> {
        let uid = object.uid().unwrap_or_default();
        let version = |object: &K| {
            object
                .resource_version()
                .and_then(|it| it.parse::<u64>().ok())
        };
        if let Some(known) = self.objects.get(&uid)
            && let (Some(known), Some(new)) = (version(known), version(&object))
            && new <= known
        {
            return Vec::new();
        }
        let object = Arc::new(object);
        self.objects.insert(uid, Arc::clone(&object));
        vec![object]
    }
}

/// The UID of the VMI that a launcher pod runs.
pub(crate) fn machine_of(pod: &Pod) -> Option<String> {
    let is_launcher =
        pod.labels().get(labels::KUBEVIRT).map(String::as_str) == Some(labels::KUBEVIRT_LAUNCHER);
    // It becomes the name of a folder.
    let plain = |uid: &&String| {
        !uid.is_empty()
            && uid
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    pod.labels()
        .get(labels::CREATED_BY)
        .filter(|_| is_launcher)
        .filter(plain)
        .cloned()
}

impl Objects {
    /// Nothing seen yet.
    pub(crate) fn new() -> Self {
        Self {
            inner: Arc::default(),
            complete: watch::Sender::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds it panics half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in an event about pods; returns those that changed.
    pub(crate) fn take_pod(&self, event: Event<Pod>) -> Vec<Arc<Pod>> {
        let changed = self.lock().pods.take(event);
        self.note_complete();
        changed
    }

    /// Takes in an event about VMIs; returns the UIDs of those that changed.
    pub(crate) fn take_instance(&self, event: Event<VirtualMachineInstance>) -> Vec<String> {
        let changed = self.lock().instances.take(event);
        self.note_complete();
        changed
            .iter()
            .filter_map(|instance| instance.uid())
            .collect()
    }

    fn note_complete(&self) {
        let inner = self.lock();
        let complete = inner.pods.complete && inner.instances.complete;
        drop(inner);
        self.complete.send_if_modified(|known| {
            let changed = *known != complete;
            *known = complete;
            changed
        });
    }

    /// Waits until both kinds were listed once. Before, nothing may be taken for gone.
    pub(crate) async fn complete(&self) {
        let mut complete = self.complete.subscribe();
        // The sender lives in `self`.
        let _ = complete.wait_for(|complete| *complete).await;
    }

    /// Takes in a pod as the API returned it after our own change.
    pub(crate) fn wrote_pod(&self, pod: Pod) {
        self.lock().pods.put_if_known(pod);
    }

    /// Takes in a VMI as the API returned it after our own change.
    pub(crate) fn wrote_instance(&self, instance: VirtualMachineInstance) {
        self.lock().instances.put_if_known(instance);
    }

    /// Forgets a pod that we deleted.
    pub(crate) fn deleted_pod(&self, uid: &str) {
        self.lock().pods.objects.remove(uid);
    }

    /// Whether it is so of any VMI.
    pub(crate) fn any_instance(&self, is: impl Fn(&VirtualMachineInstance) -> bool) -> bool {
        self.lock().instances.objects.values().any(|it| is(it))
    }

    /// The pod and the VMI of a machine. With a record, only the pod that it is about: another one
    /// has to wait until the folder of the first is gone.
    pub(crate) fn machine(
        &self,
        uid: &str,
        record: Option<&Record>,
    ) -> (Option<Arc<Pod>>, Option<Arc<VirtualMachineInstance>>) {
        let inner = self.lock();
        let instance = inner.instances.objects.get(uid).cloned();
        let pod = match record {
            Some(record) => inner.pods.objects.get(&record.identity.pod_uid).cloned(),
            None => inner
                .pods
                .objects
                .values()
                .filter(|pod| machine_of(pod).as_deref() == Some(uid))
                .max_by_key(|pod| pod.creation_timestamp().map(|time| time.0))
                .cloned(),
        };
        (pod, instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, version: &str) -> Pod {
        serde_json::from_value(json!({ "metadata": {
            "name": uid, "uid": uid, "resourceVersion": version,
            "labels": { "kubevirt.io": "virt-launcher", "kubevirt.io/created-by": "m" },
        } }))
        .expect("a pod")
    }

    #[tokio::test]
    async fn what_a_new_list_lacks_is_gone_and_older_states_are_ignored() {
        let objects = Objects::new();
        objects.take_pod(Event::Init);
        objects.take_pod(Event::InitApply(pod("a", "1")));
        objects.take_pod(Event::InitApply(pod("b", "2")));
        assert!(objects.take_pod(Event::InitDone).is_empty());
        objects.take_instance(Event::Init);
        objects.take_instance(Event::InitDone);
        objects.complete().await;
        objects.wrote_pod(pod("a", "7"));
        assert!(objects.take_pod(Event::Apply(pod("a", "6"))).is_empty());
        assert_eq!(objects.take_pod(Event::Apply(pod("a", "8"))).len(), 1);
        objects.take_pod(Event::Init);
        objects.take_pod(Event::InitApply(pod("a", "8")));
        let gone = objects.take_pod(Event::InitDone);
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].name_any(), "b");
        assert_eq!(objects.machine("m", None).0.expect("a pod").name_any(), "a");
    }

    #[test]
    fn a_late_answer_to_a_write_revives_nothing_that_is_gone() {
        let objects = Objects::new();
        objects.take_pod(Event::Apply(pod("a", "1")));
        objects.take_pod(Event::Delete(pod("a", "3")));
        objects.wrote_pod(pod("a", "2"));
        assert_eq!(objects.machine("m", None).0, None);
        let instance = || -> VirtualMachineInstance {
            serde_json::from_value(json!({
                "metadata": { "name": "m", "uid": "m", "resourceVersion": "2" },
                "spec": { "domain": { "devices": {} } },
            }))
            .expect("a VMI")
        };
        objects.take_instance(Event::Apply(instance()));
        objects.take_instance(Event::Delete(instance()));
        objects.wrote_instance(instance());
        assert!(objects.machine("m", None).1.is_none());
    }

    #[test]
    fn only_launcher_pods_with_a_plain_uid_are_machines() {
        assert_eq!(machine_of(&pod("a", "1")).as_deref(), Some("m"));
        let mut other = pod("a", "1");
        other
            .labels_mut()
            .insert(labels::CREATED_BY.to_owned(), "../x".to_owned());
        assert_eq!(machine_of(&other), None);
        assert_eq!(machine_of(&Pod::default()), None);
    }
}
