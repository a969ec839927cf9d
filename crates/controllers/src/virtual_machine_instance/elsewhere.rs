//! Which guests that are emulated would run on hardware on another node, if they were started now.
//!
//! ```text
//! nodes, pods, VMIs, namespaces, configuration ─ something changed ─► survey, at most every PERIOD
//!                                                                       │ the scheduler's own choice
//! a look at each VMI whose answer changed ◄─────────────────────────────┘
//! ```
//! The answer depends on all pods and all nodes, so it is not worked out at each look at a VMI, but for
//! all emulated guests at once. A node that was named stays the answer as long as it is one, so that
//! pods which come and go beside it change nobody's condition.

use super::pod::{self, Launcher};
use super::{node_name, status};
use crate::kubevirt::Reader;
use crate::queue::Key;
use crate::schedule::{self, Outlook, Rules, Shape};
use api::accelerator::{Accelerator, EffectivePolicy, EmulationPolicy, NodeVerdict};
use api::configuration::ClusterConfiguration;
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use futures::Stream;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::runtime::reflector::{ObjectRef, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// A change is answered after this time: those that wait for the hardware have taken it by then, and
/// a guest that restarts is back.
const SETTLED: Duration = Duration::from_secs(1);
/// Surveys are this far apart at least: one of 5,000 guests takes some tens of milliseconds, and nobody
/// restarts a machine for it within seconds.
const PERIOD: Duration = Duration::from_secs(5);
/// The most pods that one survey works out anew, some 50 µs each; the others have their turn in the next.
const DESCRIBED_AT_ONCE: usize = 512;
/// The most answers that one survey changes, each of which is a write of a VMI and one of its VM.
const CHANGED_AT_ONCE: usize = 128;

/// The answers; clones are the same ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Elsewhere(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Something changed since the last survey.
    doubt: Notify,
    /// A survey changed something.
    surveyed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    answers: Answers,
    /// A survey was finished, so that no answer means that there is none.
    finished: bool,
    /// Guests of which something is said that no survey has borne out, and that were not looked at
    /// again since.
    unproven: BTreeSet<Key>,
    /// Those that changed and were not looked at yet.
    changed: BTreeSet<Key>,
}

/// Whether a guest that is emulated would run on hardware on another node, if it were started now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Hardware {
    /// The first survey is not finished, so that what was said of it before the controllers were
    /// started is as good as anything.
    #[default]
    Unknown,
    /// It would not.
    None,
    /// It would on this node, which has room for it.
    Node(String),
}

/// By VMI: its uid, and the node.
pub(super) type Answers = BTreeMap<Key, (String, String)>;

impl Elsewhere {
    /// Something changed that may change an answer.
    pub(super) fn doubt(&self) {
        self.0.doubt.notify_one();
    }

    /// Where `vmi` would run on hardware that has room for it.
    pub(super) fn of(&self, vmi: &VirtualMachineInstance) -> Hardware {
        let state = self.lock();
        let answer = state.answers.get(&Key::of(vmi));
        match answer.filter(|(uid, _)| vmi.metadata.uid.as_ref() == Some(uid)) {
            Some((_, node)) => Hardware::Node(node.clone()),
            None if state.finished => Hardware::None,
            None => Hardware::Unknown,
        }
    }

    /// Yields when answers changed.
    pub(super) fn changes(&self) -> impl Stream<Item = ()> + Send + use<> {
        let seen = self.0.surveyed.subscribe();
        futures::stream::unfold(seen, |mut seen| async move {
            seen.changed().await.ok()?;
            Some(((), seen))
        })
    }

    /// The VMIs whose answer changed since this was last asked.
    pub(super) fn changed(&self) -> Vec<Key> {
        let changed = std::mem::take(&mut self.lock().changed);
        changed.into_iter().collect()
    }

    /// Keeps the answers up to date for as long as it is polled.
    pub(super) async fn keep(self, around: Around) {
        around.known().await;
        let mut survey = Survey::default();
        loop {
            self.0.doubt.notified().await;
            tokio::time::sleep(SETTLED).await;
            if let Some(scene) = around.scene() {
                let answers = self.lock().answers.clone();
                let found = survey.take(&scene, |pod| around.actual(pod), &answers);
                self.publish(found, || around.told());
            }
            tokio::time::sleep(PERIOD.saturating_sub(SETTLED)).await;
        }
    }

    /// Takes over what a survey found; `told`: of which guests it is said that hardware is free for
    /// them elsewhere, which is asked once.
    pub(super) fn publish(&self, found: Found, told: impl FnOnce() -> Vec<Key>) {
        let mut state = self.lock();
        let room = CHANGED_AT_ONCE.saturating_sub(found.changes.len());
        for (key, answer) in found.changes {
            match answer {
                Some(answer) => drop(state.answers.insert(key.clone(), answer)),
                None => drop(state.answers.remove(&key)),
            }
            state.changed.insert(key);
        }
        if !found.unfinished && !state.finished {
            state.finished = true;
            let mut unproven = told();
            unproven.retain(|key| !state.answers.contains_key(key));
            state.unproven = unproven.into_iter().collect();
        }
        for _ in 0..room {
            let Some(key) = state.unproven.pop_first() else {
                break;
            };
            state.changed.insert(key);
        }
        let (unfinished, is_news) = (
            found.unfinished || !state.unproven.is_empty(),
            !state.changed.is_empty(),
        );
        drop(state);
        if unfinished {
            self.doubt();
        }
        if is_news {
            self.0.surveyed.send_replace(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing here panics half way through a change, so a poisoned lock guards a whole list.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a survey reads.
pub(super) struct Around {
    pub(super) nodes: Store<Node>,
    pub(super) pods: Store<Pod>,
    pub(super) vmis: Store<VirtualMachineInstance>,
    pub(super) namespaces: Store<Namespace>,
    pub(super) cluster: Reader,
    pub(super) launcher: Launcher,
}

impl Around {
    /// Waits until everything was seen once: a node without its pods would look empty.
    async fn known(&self) {
        let seen = futures::join!(
            self.nodes.wait_until_ready(),
            self.pods.wait_until_ready(),
            self.vmis.wait_until_ready(),
            self.namespaces.wait_until_ready(),
            self.cluster.clone().known(),
        );
        if [seen.0, seen.1, seen.2, seen.3].iter().any(Result::is_err) {
            std::future::pending::<()>().await;
        }
    }

    fn scene(&self) -> Option<Scene<'_>> {
        let cluster = self.cluster.current()?;
        let policy = |vmi: &VirtualMachineInstance| {
            let name = vmi.metadata.namespace.as_deref().unwrap_or_default();
            let namespace = self.namespaces.get(&ObjectRef::new(name));
            super::policy(vmi, &cluster, namespace.as_deref())
        };
        let mut guests: Vec<Guest> = self
            .vmis
            .state_filter(is_emulated)
            .into_iter()
            .map(|vmi| Guest {
                policy: policy(&vmi),
                vmi,
            })
            .collect();
        // The cache has no order of its own; whose turn it is shall have one.
        guests.sort_by_cached_key(|guest| Key::of(&*guest.vmi));
        Some(Scene {
            nodes: self.nodes.state(),
            pods: self.pods.state(),
            rules: schedule::rules(&cluster, &self.namespaces),
            guests,
            cluster,
            launcher: &self.launcher,
        })
    }

    /// The guests of which it is said that hardware is free for them elsewhere.
    fn told(&self) -> Vec<Key> {
        let told = self
            .vmis
            .state_filter(status::is_told_of_hardware_elsewhere);
        told.iter().map(|vmi| Key::of(&**vmi)).collect()
    }

    fn actual(&self, pod: &Pod) -> Option<Accelerator> {
        schedule::actual(&self.vmis, pod)
    }
}

/// Whether a VMI's guest runs emulated, and is to go on.
fn is_emulated(vmi: &VirtualMachineInstance) -> bool {
    let phase = vmi.status.as_ref().and_then(|status| status.phase);
    phase == Some(Phase::Running)
        && vmi.metadata.deletion_timestamp.is_none()
        && node_name(vmi).is_some()
        && schedule::accelerator(vmi) == Some(Accelerator::Tcg)
}

/// A guest that is emulated.
pub(super) struct Guest {
    pub(super) vmi: Arc<VirtualMachineInstance>,
    /// The policy in force for it now.
    pub(super) policy: EffectivePolicy,
}

/// Everything a survey looks at.
pub(super) struct Scene<'a> {
    pub(super) nodes: Vec<Arc<Node>>,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) rules: Rules,
    /// In the order of their names.
    pub(super) guests: Vec<Guest>,
    pub(super) cluster: Arc<ClusterConfiguration>,
    pub(super) launcher: &'a Launcher,
}

/// What a survey found.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    /// Other answers than before; none: there is none any more.
    pub(super) changes: BTreeMap<Key, Option<(String, String)>>,
    /// Not all could be answered, or not all answers be changed, in one survey.
    pub(super) unfinished: bool,
}

/// What surveys remember, so that only what changed is worked out again.
#[derive(Debug, Default)]
pub(super) struct Survey {
    outlook: Outlook,
    described: BTreeMap<Key, Described>,
}

/// The pod that would be made for a guest now.
#[derive(Debug)]
struct Described {
    vmi: Arc<VirtualMachineInstance>,
    cluster: Arc<ClusterConfiguration>,
    policy: EmulationPolicy,
    generation: u64,
    /// None: no pod can be made.
    shape: Option<Shape>,
}

impl Survey {
    /// Asks for each guest where the scheduler would place it now; `answers` are those before. Bounded
    /// by [`DESCRIBED_AT_ONCE`] and [`CHANGED_AT_ONCE`].
    pub(super) fn take(
        &mut self,
        scene: &Scene<'_>,
        actual: impl Fn(&Pod) -> Option<Accelerator>,
        answers: &Answers,
    ) -> Found {
        let is_usable = |node: &Arc<Node>| NodeVerdict::of(node).usable;
        let mut found = Found::default();
        if scene.guests.is_empty() || !scene.nodes.iter().any(is_usable) {
            // The most common case by far, and then nothing is worth remembering.
            *self = Self::default();
            let gone = answers.keys().take(CHANGED_AT_ONCE);
            found.changes = gone.map(|key| (key.clone(), None)).collect();
            found.unfinished = answers.len() > CHANGED_AT_ONCE;
            return found;
        }
        let rules = scene.rules.clone();
        self.outlook
            .refresh(&scene.nodes, &scene.pods, rules, actual);
        let mut before = std::mem::take(&mut self.described);
        let mut new = 0;
        let mut chosen: BTreeMap<(Shape, Option<&str>), Option<String>> = BTreeMap::new();
        let mut now = Answers::new();
        for guest in &scene.guests {
            let key = Key::of(&*guest.vmi);
            let uid = guest.vmi.metadata.uid.clone().unwrap_or_default();
            let answer = answers.get(&key).filter(|(of, _)| *of == uid);
            let known = before.remove(&key);
            let known = known.filter(|known| self.is_current(known, guest, scene));
            if known.is_none() && new == DESCRIBED_AT_ONCE {
                found.unfinished = true;
                now.extend(answer.map(|answer| (key, answer.clone())));
                continue;
            }
            let described = known.unwrap_or_else(|| {
                new += 1;
                self.describe(guest, scene)
            });
            let stays = answer.map(|(_, node)| node.as_str());
            let node = described.shape.and_then(|shape| {
                let node = chosen
                    .entry((shape, stays))
                    .or_insert_with(|| self.outlook.hardware(shape, stays));
                node.clone()
            });
            self.described.insert(key.clone(), described);
            now.extend(node.map(|node| (key, (uid, node))));
        }
        let keys: BTreeSet<&Key> = answers.keys().chain(now.keys()).collect();
        let mut changed = keys
            .into_iter()
            .filter(|key| answers.get(key) != now.get(key));
        let told = changed.by_ref().take(CHANGED_AT_ONCE);
        found.changes = told
            .map(|key| (key.clone(), now.get(key).cloned()))
            .collect();
        found.unfinished |= changed.next().is_some();
        found
    }

    fn is_current(&self, known: &Described, guest: &Guest, scene: &Scene<'_>) -> bool {
        known.generation == self.outlook.generation()
            && known.policy == guest.policy.policy
            && Arc::ptr_eq(&known.vmi, &guest.vmi)
            && Arc::ptr_eq(&known.cluster, &scene.cluster)
    }

    fn describe(&mut self, guest: &Guest, scene: &Scene<'_>) -> Described {
        // What is in the way of a pod is told where one is made.
        let pod = pod::render(&guest.vmi, &scene.cluster, &guest.policy, scene.launcher).ok();
        Described {
            vmi: Arc::clone(&guest.vmi),
            cluster: Arc::clone(&scene.cluster),
            policy: guest.policy.policy,
            generation: self.outlook.generation(),
            shape: pod.map(|pod| self.outlook.shape(&pod)),
        }
    }
}
