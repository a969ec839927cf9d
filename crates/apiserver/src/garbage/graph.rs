//! Who owns whom, and what follows from it. Pure: events go in, steps come out.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::object::delete::{FOREGROUND, ORPHAN, Propagation};
use crate::stored;

/// The part of an object that matters here; everything else is skipped while reading.
#[derive(Debug, Deserialize)]
struct Head {
    #[serde(default)]
    metadata: Meta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    owner_references: Option<Vec<Owner>>,
    #[serde(default)]
    finalizers: Option<Vec<String>>,
    #[serde(default)]
    deletion_timestamp: Option<String>,
}

/// One owner reference.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Owner {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    block_owner_deletion: Option<bool>,
}

#[derive(Debug)]
struct Node {
    key: String,
    owners: Vec<Owner>,
    deleting: bool,
    foreground: bool,
    orphan: bool,
}

impl Node {
    fn namespace(&self) -> Option<&str> {
        stored::parts(&self.key).and_then(|parts| parts.namespace)
    }
}

/// What is to be done to an object. Each names the object by key and uid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Delete it.
    Delete {
        key: String,
        uid: String,
        propagation: Propagation,
    },
    /// Take the references to these owners from it.
    Forget {
        key: String,
        uid: String,
        owners: Vec<String>,
    },
    /// Take the finalizer of this propagation from it.
    Release {
        key: String,
        uid: String,
        propagation: Propagation,
    },
}

/// All objects by uid, with their owners and dependants.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<String, Node>,
    by_key: BTreeMap<String, String>,
    /// Dependants by the uid of an owner, whether that exists or not.
    dependants: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// An object is as `value` says. Uids of objects to look at are added to `due`.
    pub(super) fn put(&mut self, key: &str, value: &[u8], due: &mut BTreeSet<String>) {
        let Ok(head) = serde_json::from_slice::<Head>(value) else {
            tracing::error!(key, "a stored object cannot be read");
            return;
        };
        let meta = head.metadata;
        if meta.uid.is_empty() {
            return;
        }
        if self.by_key.get(key).is_some_and(|known| *known != meta.uid) {
            self.remove(key, due);
        }
        let finalizers = meta.finalizers.unwrap_or_default();
        let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
        let node = Node {
            key: key.to_owned(),
            owners: meta.owner_references.unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
        };
        let before = self
            .nodes
            .get(&meta.uid)
            .map(|node| node.owners.clone())
            .unwrap_or_default();
        if before != node.owners {
            for owner in &before {
                self.forget_dependant(&owner.uid, &meta.uid);
                // An owner that waits may wait no more.
                due.insert(owner.uid.clone());
            }
            for owner in &node.owners {
                self.dependants
                    .entry(owner.uid.clone())
                    .or_default()
                    .insert(meta.uid.clone());
            }
        }
        if !node.owners.is_empty() || node.deleting {
            due.insert(meta.uid.clone());
        }
        self.by_key.insert(key.to_owned(), meta.uid.clone());
        self.nodes.insert(meta.uid, node);
    }

    /// The object at a key is gone.
    pub(super) fn remove(&mut self, key: &str, due: &mut BTreeSet<String>) {
        let Some(uid) = self.by_key.remove(key) else {
            return;
        };
        if let Some(node) = self.nodes.remove(&uid) {
            for owner in node.owners {
                self.forget_dependant(&owner.uid, &uid);
                due.insert(owner.uid);
            }
        }
        due.extend(self.dependants.get(&uid).into_iter().flatten().cloned());
    }

    fn forget_dependant(&mut self, owner: &str, dependant: &str) {
        if let Some(set) = self.dependants.get_mut(owner) {
            set.remove(dependant);
            if set.is_empty() {
                self.dependants.remove(owner);
            }
        }
    }

    fn dependants(&self, uid: &str) -> impl Iterator<Item = (&String, &Node)> {
        self.dependants
            .get(uid)
            .into_iter()
            .flatten()
            .filter_map(|uid| self.nodes.get_key_value(uid))
    }

    /// What follows for an object. `known` tells whether a kind (apiVersion, kind) is served.
    pub(super) fn steps(&self, uid: &str, known: &dyn Fn(&str, &str) -> bool) -> Vec<Step> {
        let Some(node) = self.nodes.get(uid) else {
            return Vec::new();
        };
        let mut steps = Vec::new();
        if node.deleting && node.orphan {
            steps.extend(self.orphan(uid, node));
        } else if node.deleting && node.foreground {
            steps.extend(self.foreground(uid, node, known));
        }
        steps.extend(self.judge(uid, node, known));
        steps
    }

    fn orphan(&self, uid: &str, node: &Node) -> Vec<Step> {
        let mut steps: Vec<Step> = self
            .dependants(uid)
            .map(|(dependant, other)| Step::Forget {
                key: other.key.clone(),
                uid: dependant.clone(),
                owners: vec![uid.to_owned()],
            })
            .collect();
        // Only when a later look finds no dependant is the finalizer taken away.
        if steps.is_empty() {
            steps.push(Step::Release {
                key: node.key.clone(),
                uid: uid.to_owned(),
                propagation: Propagation::Orphan,
            });
        }
        steps
    }

    fn foreground(&self, uid: &str, node: &Node, known: &dyn Fn(&str, &str) -> bool) -> Vec<Step> {
        let mut blocked = false;
        let mut steps = Vec::new();
        for (dependant, other) in self.dependants(uid) {
            blocked |= other
                .owners
                .iter()
                .any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true));
            steps.extend(self.judge(dependant, other, known));
        }
        if !blocked {
            steps.push(Step::Release {
                key: node.key.clone(),
                uid: uid.to_owned(),
                propagation: Propagation::Foreground,
            });
        }
        steps
    }

    /// Whether a dependant may live on.
    fn judge(&self, uid: &str, node: &Node, known: &dyn Fn(&str, &str) -> bool) -> Option<Step> {
        if node.owners.is_empty() || node.deleting {
            return None;
        }
        let (mut solid, mut waiting, mut absent) = (0, Vec::new(), Vec::new());
        for owner in &node.owners {
            match self.nodes.get(&owner.uid) {
                // An owner elsewhere counts as absent; one that could not be meant is left alone.
                Some(found)
                    if found.namespace().is_some() && found.namespace() != node.namespace() =>
                {
                    if node.namespace().is_some() {
                        absent.push(owner.uid.clone());
                    } else {
                        solid += 1;
                    }
                }
                Some(found) if found.deleting && found.foreground => {
                    waiting.push(owner.uid.clone())
                }
                Some(_) => solid += 1,
                // Of a kind that is not served nobody knows whether the owner exists.
                None if !known(&owner.api_version, &owner.kind) => solid += 1,
                None => absent.push(owner.uid.clone()),
            }
        }
        let key = node.key.clone();
        let uid = uid.to_owned();
        if solid > 0 {
            absent.append(&mut waiting);
            return (!absent.is_empty()).then_some(Step::Forget {
                key,
                uid,
                owners: absent,
            });
        }
        let blocks = self.dependants(&uid).any(|(_, other)| {
            let mut owners = other.owners.iter();
            owners.any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
        });
        let propagation = if node.orphan {
            Propagation::Orphan
        } else if node.foreground || (!waiting.is_empty() && blocks) {
            Propagation::Foreground
        } else {
            Propagation::Background
        };
        Some(Step::Delete {
            key,
            uid,
            propagation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    struct World(Graph, BTreeSet<String>);

    impl World {
        fn new() -> World {
            World(Graph::default(), BTreeSet::new())
        }

        fn put(&mut self, place: &str, uid: &str, metadata: Value) {
            let mut metadata = metadata;
            metadata["uid"] = json!(uid);
            let value = json!({"metadata": metadata, "spec": {"ignored": true}}).to_string();
            self.0.put(&key(place, uid), value.as_bytes(), &mut self.1);
        }

        fn remove(&mut self, place: &str, uid: &str) {
            self.0.remove(&key(place, uid), &mut self.1);
        }

        /// All steps for everything that is due.
        fn steps(&mut self) -> Vec<Step> {
            let known = |_: &str, kind: &str| kind != "Unknown";
            std::mem::take(&mut self.1)
                .iter()
                .flat_map(|uid| self.0.steps(uid, &known))
                .collect()
        }
    }

    fn key(place: &str, uid: &str) -> String {
        format!("/registry/core/configmaps/{place}/{uid}")
    }

    fn owned(uid: &str, blocks: bool) -> Value {
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": uid,
            "uid": uid, "blockOwnerDeletion": blocks}]})
    }

    fn deletes(uid: &str, propagation: Propagation) -> Step {
        Step::Delete {
            key: key("n", uid),
            uid: uid.to_owned(),
            propagation,
        }
    }

    #[test]
    fn a_dependant_goes_after_its_owner() {
        let mut world = World::new();
        world.put("n", "a", json!({}));
        world.put("n", "b", owned("a", false));
        assert_eq!(world.steps(), []);
        world.remove("n", "a");
        assert_eq!(world.steps(), [deletes("b", Propagation::Background)]);
    }

    #[test]
    fn an_owner_in_another_namespace_is_no_owner() {
        let mut world = World::new();
        world.put("m", "a", json!({}));
        world.put("n", "b", owned("a", false));
        assert_eq!(world.steps(), [deletes("b", Propagation::Background)]);
        world.put("-", "c", json!({}));
        world.put("n", "d", owned("c", false));
        assert!(
            !world
                .steps()
                .contains(&deletes("d", Propagation::Background))
        );
    }

    #[test]
    fn an_owner_of_an_unknown_kind_is_believed() {
        let mut world = World::new();
        world.put(
            "n",
            "b",
            json!({"ownerReferences": [
            {"apiVersion": "x/v1", "kind": "Unknown", "name": "a", "uid": "a"}]}),
        );
        assert_eq!(world.steps(), []);
    }

    #[test]
    fn one_living_owner_is_enough_and_the_dead_one_is_forgotten() {
        let mut world = World::new();
        world.put("n", "a", json!({}));
        let mut metadata = owned("a", false);
        let dead = owned("gone", false)["ownerReferences"][0].clone();
        metadata["ownerReferences"]
            .as_array_mut()
            .expect("a list")
            .push(dead);
        world.put("n", "b", metadata);
        let forget = Step::Forget {
            key: key("n", "b"),
            uid: "b".into(),
            owners: vec!["gone".into()],
        };
        assert_eq!(world.steps(), [forget]);
    }

    #[test]
    fn a_foreground_owner_waits_for_blocking_dependants() {
        let mut world = World::new();
        let waiting =
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FOREGROUND]});
        world.put("n", "b", owned("a", true));
        world.put("n", "a", waiting);
        assert!(
            world
                .steps()
                .iter()
                .all(|step| *step == deletes("b", Propagation::Background))
        );
        world.remove("n", "b");
        let release = Step::Release {
            key: key("n", "a"),
            uid: "a".into(),
            propagation: Propagation::Foreground,
        };
        assert_eq!(world.steps(), [release]);
    }

    #[test]
    fn an_orphaning_owner_is_forgotten_before_it_goes() {
        let mut world = World::new();
        world.put(
            "n",
            "a",
            json!({"deletionTimestamp": "t", "finalizers": [ORPHAN]}),
        );
        world.put("n", "b", owned("a", false));
        let forget = Step::Forget {
            key: key("n", "b"),
            uid: "b".into(),
            owners: vec!["a".into()],
        };
        assert_eq!(world.steps(), [forget]);
        world.put("n", "b", json!({}));
        let release = Step::Release {
            key: key("n", "a"),
            uid: "a".into(),
            propagation: Propagation::Orphan,
        };
        assert_eq!(world.steps(), [release]);
    }
}
