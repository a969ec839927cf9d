//! The modelled cluster: the truth, what the API holds, and what each component has seen of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;

use api::accelerator::{Accelerator, EffectivePolicy, EmulationPolicy, NodeFacts};
use api::launcher::KvmFailure;
use controllers::schedule::Shape;
use jiff::Timestamp;
use node::decisions::{Entries, Lowered};
use qemu::probe::Verdict;

use super::script::{Kvm, NodeLine, VmLine};

/// Something that comes to pass at its time. What it is about may be gone by then, so each names the
/// pod or the life of the agent it was meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// The script's line.
    Script(usize),
    /// The controllers see the cluster's policy.
    PolicySeen,
    /// The controllers see a namespace's labels.
    NamespaceSeen(usize),
    /// A VM that was created, restarted or failed gets a pod.
    Create { vm: usize, life: u32 },
    /// The scheduler looks at everything that waits.
    Look,
    /// The API answers a binding.
    Bind { vm: usize, pod: u64, node: usize },
    /// The scheduler sees that a pod is gone.
    PodGone { pod: u64 },
    /// The scheduler sees a Node object.
    NodeSeen(usize),
    /// The agent sees its node's cap.
    CapSeen { node: usize, agent: u32 },
    /// The agent has run its probe.
    Probed { node: usize, agent: u32 },
    /// The agent has written its Node object.
    Published { node: usize, agent: u32 },
    /// The agent is back, with what is on its disk.
    AgentBack { node: usize, agent: u32 },
    /// A node that lost its power has not been heard of for a while.
    Silent { node: usize, agent: u32 },
    /// And for so long that its pods are given up.
    Evicted { node: usize, agent: u32 },
    /// A pod's images are there, or it is time to try once more: the guest may start.
    Start { vm: usize, pod: u64, agent: u32 },
    /// KVM fails a guest.
    KvmFails { vm: usize, pod: u64 },
    /// The scheduler sees what runs a guest.
    StatusSeen { vm: usize, pod: u64 },
    /// Somebody has waited at a gate for as long as anybody does.
    Gate { node: usize, agent: u32 },
    /// What a guest proved of its node's hardware may not count any more.
    Lapsed { node: usize, agent: u32 },
    /// It is time for a probe, whether there is a reason or not.
    Probe { node: usize, agent: u32 },
    /// A guest has booted.
    Booted { vm: usize, pod: u64 },
}

/// What happens next, in order of time and then of who came first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.heap.push(Reverse((at, self.count, event)));
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|Reverse((at, _, event))| (at, event))
    }
}

/// Labels of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Labels {
    pub(super) cap: Option<String>,
    pub(super) tenancy: Option<String>,
}

/// A value, and since when it is that.
#[derive(Debug, Clone, Default)]
pub(super) struct Since<T> {
    pub(super) value: T,
    pub(super) at: u64,
}

impl<T: PartialEq> Since<T> {
    pub(super) fn set(&mut self, value: T, at: u64) {
        if self.value != value {
            *self = Self { value, at };
        }
    }
}

/// What a Node object says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Object {
    pub(super) ready: bool,
    pub(super) usable: bool,
    pub(super) kvm_device: bool,
    pub(super) cap: Option<String>,
}

/// A node.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) line: NodeLine,
    /// Sets its delays apart from those of others, whatever else is in the script.
    pub(super) salt: u64,
    pub(super) kvm: Kvm,
    pub(super) up: bool,
    /// Whether its agent runs.
    pub(super) awake: bool,
    /// Counts the lives of its agent.
    pub(super) agent: u32,
    pub(super) cap: Since<Option<String>>,
    /// Counts how often it was turned on.
    pub(super) boot: u32,
    /// What the last probe saw.
    pub(super) probe: Verdict,
    /// What a guest proved since.
    pub(super) lowered: Option<Lowered>,
    /// What its agent knows.
    pub(super) facts: NodeFacts,
    /// Whether its agent has run a probe in this life.
    pub(super) probed: bool,
    /// Whether a probe is under way.
    pub(super) probing: bool,
    /// What the API says of it.
    pub(super) object: Object,
    /// What the scheduler has seen of that; none if it has seen nothing.
    pub(super) seen: Option<Object>,
    /// Pods bound to it.
    pub(super) pods: BTreeSet<usize>,
    /// Emulated guests that boot or wait for their turn.
    pub(super) gate: Entries,
    /// Pods that take room, by their uids, as the scheduler knows it, and what they take together.
    pub(super) held: BTreeMap<u64, Held>,
    pub(super) taken: Amounts,
}

/// What a pod takes: thousandths of a processor, bytes, pods, KVM devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amounts(pub(super) [i64; 4]);

impl Amounts {
    pub(super) fn add(&mut self, other: Self, times: i64) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more * times;
        }
    }
}

/// A pod as the scheduler counts it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) vm: usize,
    pub(super) policy: EmulationPolicy,
    pub(super) amounts: Amounts,
    /// What runs its guest, once its status was seen.
    pub(super) actual: Option<Accelerator>,
}

/// A launcher pod.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) uid: u64,
    /// The policy it was made under.
    pub(super) made: Rc<EffectivePolicy>,
    pub(super) shape: Shape,
    pub(super) amounts: Amounts,
    pub(super) node: Option<usize>,
}

/// A guest that QEMU runs, or ran in this folder.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    /// What `query-kvm` says.
    pub(super) actual: Accelerator,
    /// What the VMI's status says.
    pub(super) shown: String,
    /// Whether it runs now.
    pub(super) runs: bool,
    /// KVM failed it, as its launcher wrote down.
    pub(super) failed: Option<KvmFailure>,
    /// It is written in its folder that it stepped down.
    pub(super) record: bool,
    /// How often it did.
    pub(super) steps_down: u32,
}

/// How a virtual machine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Deleted, or not there yet.
    Absent,
    /// It gets a pod soon.
    Coming,
    /// Its pod has no node.
    Waiting,
    /// Its pod has one, and its guest does not run yet.
    Bound,
    /// Its guest waits for its turn to boot.
    Queued,
    /// Its guest boots.
    Booting,
    /// Its guest has booted.
    Running,
    /// It insists on a KVM that fails it, again and again.
    Looping,
}

/// A virtual machine.
#[derive(Debug)]
pub(super) struct Vm {
    pub(super) line: VmLine,
    pub(super) salt: u64,
    pub(super) namespace: usize,
    /// Everything its pod's form depends on, apart from policy.
    pub(super) class: usize,
    pub(super) state: State,
    /// Counts its instances.
    pub(super) life: u32,
    /// When its instance was made.
    pub(super) made: Timestamp,
    pub(super) failures: u32,
    pub(super) pod: Option<Pod>,
    pub(super) guest: Option<Guest>,
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) now: u64,
    pub(super) queue: Queue,
    pub(super) policy: Since<EmulationPolicy>,
    pub(super) policy_seen: EmulationPolicy,
    pub(super) namespaces: Vec<Since<Labels>>,
    pub(super) namespaces_seen: Vec<Labels>,
    pub(super) namespace_names: BTreeMap<String, usize>,
    pub(super) sites: Vec<Site>,
    pub(super) site_names: BTreeMap<String, usize>,
    pub(super) vms: Vec<Vm>,
    pub(super) vm_names: BTreeMap<String, usize>,
    /// VMs whose pod has no node, by the shape and the uid of the pod: the oldest first.
    pub(super) waiting: BTreeMap<Shape, BTreeMap<u64, usize>>,
    /// VMs for which no pod can be made under their policy.
    pub(super) unmade: BTreeSet<usize>,
    pub(super) next_pod: u64,
}

impl World {
    /// A pod waits for a node.
    pub(super) fn wait(&mut self, pod: u64, vm: usize, shape: Shape) {
        self.waiting.entry(shape).or_default().insert(pod, vm);
    }

    /// It does not any more, if it did.
    pub(super) fn wait_no_more(&mut self, pod: u64, shape: Shape) {
        if let Some(alike) = self.waiting.get_mut(&shape) {
            alike.remove(&pod);
            if alike.is_empty() {
                self.waiting.remove(&shape);
            }
        }
    }

    /// The time as components see it.
    pub(super) fn time(&self) -> Timestamp {
        let begin = 1_790_000_000_000;
        let now = i64::try_from(self.now).unwrap_or(i64::MAX / 2);
        Timestamp::from_millisecond(begin + now).unwrap_or(Timestamp::MAX)
    }

    pub(super) fn after(&mut self, delay: u64, event: Event) {
        self.queue.push(self.now + delay, event);
    }
}
