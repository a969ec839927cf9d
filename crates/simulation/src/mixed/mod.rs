//! A mixed cluster of hundreds of nodes and thousands of VMs, in milliseconds of real time.
//!
//! ```text
//! seed ──► script ──► events, in order of simulated time
//!                        │
//!        controllers ── scheduler ── node agents          modelled: lags, races, lives and deaths,
//!             │             │             │               what hardware does, and what is known of it
//!          effective      choose       resolve, answer    real: the functions that decide ([`Rules`])
//!       render, standing            advance, standing
//!                        │
//!                     oracle                              the same rules, worked out a second time
//! ```
//!
//! What decides is anyvirt's own: the policy and a pod's form (crate `api`), the choice of nodes (crate
//! `controllers`), starts and steps down (crates `api` and `node`). What carries decisions out is a
//! model, so that a seed with 200 nodes and 5,000 VMs takes a fraction of a second; the real controllers
//! on the real API server are run by the rest of this crate, with a few VMs.
//!
//! The oracle notes, at every event: a guest that runs against the policy it was placed under, or is
//! started after a cap forbids it; a forced accelerator that is not obeyed; a second step down, or one
//! that is not written down; a status that differs from the fact; a VM that is emulated while a node
//! that may run it on hardware had room. And at rest, which must come after a bounded number of events:
//! a VM that waits and could run, and anything that is still on its way.
//!
//! A seed fixes everything. Delays depend on who waits, not on who waited before, so that a script from
//! which lines were taken goes on as before; that is how a failing one is shrunk.

mod agent;
mod controller;
mod oracle;
pub mod rules;
mod scheduler;
pub mod script;
mod seed;
mod shrink;
mod world;

pub use rules::Rules;
pub use seed::of_seed;
pub use shrink::{Shrunk, shrunk};

use std::collections::BTreeMap;
use std::fmt;

use api::accelerator::NodeFacts;
use controllers::schedule::Cluster;
use qemu::probe::{Class, Verdict};

use crate::random::Random;
use controller::Forms;
use script::{Action, Line, NodeLine, VmLine};
use world::{Amounts, Event, Labels, Object, Since, Site, State, Vm, World};

/// How large a cluster a seed makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Nodes.
    pub nodes: usize,
    /// Virtual machines.
    pub vms: usize,
}

/// What happened, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Events.
    pub events: u64,
    /// Looks of the scheduler.
    pub looks: u64,
    /// Pods that were made.
    pub pods: u64,
    /// Of these, in place of one that was made under another policy.
    pub renewed: u64,
    /// Pods that got a node.
    pub placed: u64,
    /// Pods that got it while a change of policy was on its way to the controllers.
    pub raced: u64,
    /// Starts on KVM.
    pub kvm: u64,
    /// Starts under emulation.
    pub tcg: u64,
    /// Guests that KVM failed.
    pub kvm_failures: u64,
    /// Steps down.
    pub steps_down: u64,
    /// Starts that a node refused.
    pub refused: u64,
    /// Emulated guests that waited for their turn to boot.
    pub queued: u64,
    /// Instances that failed.
    pub failures: u64,
    /// VMs that run at rest.
    pub running: u64,
    /// VMs that wait at rest, since no node may and can run them.
    pub waiting: u64,
    /// VMs that insist on a KVM that fails them.
    pub looping: u64,
}

impl Report {
    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Self) {
        for ((_, sum), (_, more)) in self.numbers().into_iter().zip(other.clone().numbers()) {
            *sum += *more;
        }
    }

    fn numbers(&mut self) -> [(&'static str, &mut u64); 16] {
        [
            ("events", &mut self.events),
            ("looks", &mut self.looks),
            ("pods", &mut self.pods),
            ("renewed", &mut self.renewed),
            ("placed", &mut self.placed),
            ("raced", &mut self.raced),
            ("KVM starts", &mut self.kvm),
            ("TCG starts", &mut self.tcg),
            ("KVM failures", &mut self.kvm_failures),
            ("steps down", &mut self.steps_down),
            ("refused", &mut self.refused),
            ("queued", &mut self.queued),
            ("failures", &mut self.failures),
            ("running", &mut self.running),
            ("waiting", &mut self.waiting),
            ("looping", &mut self.looping),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut report = *self;
        let told = report
            .numbers()
            .map(|(name, number)| format!("{name} {number}"));
        formatter.write_str(&told.join(", "))
    }
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What must not be; the first few.
    pub wrongs: Vec<String>,
    /// What happened.
    pub script: Vec<Line>,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "seed {} fails:", self.seed)?;
        for wrong in &self.wrongs {
            writeln!(formatter, "  {wrong}")?;
        }
        write!(formatter, "script:\n{}", script::print(&self.script))
    }
}

impl std::error::Error for Failure {}

/// Events after which a cluster counts as one that never comes to rest, for each line of its script:
/// a VM's life has about ten, each change of a node concerns some tens of VMs, and each line about one.
const EVENTS_PER_LINE: u64 = 100;
/// The wrongs that are told: the first is the one that matters.
const WRONGS: usize = 8;
/// The longest that anything takes to be seen by whom it concerns, in milliseconds; how many of these
/// the oracle allows for: [`oracle::REACHED`].
const LAG: u64 = 12;

/// How many times slower than KVM nodes emulate.
const SLOWDOWN: f64 = 7.8;

/// Runs a script under a seed.
///
/// # Errors
/// What went wrong in the cluster.
pub fn run(seed: u64, script: &[Line], rules: Rules) -> Result<Report, Box<Failure>> {
    go(seed, script, rules, true)
}

/// [`run`]; one that does not remember works everything out again that [`Forms`] knows, at every event.
fn go(seed: u64, script: &[Line], rules: Rules, remembers: bool) -> Result<Report, Box<Failure>> {
    let mut simulation = Simulation {
        seed,
        rules,
        world: World::default(),
        cluster: Cluster::default(),
        forms: Forms::default(),
        assumed: BTreeMap::new(),
        look_is_due: false,
        report: Report::default(),
        wrongs: Vec::new(),
    };
    for (index, line) in script.iter().enumerate() {
        simulation.world.queue.push(line.at, Event::Script(index));
    }
    let bound = EVENTS_PER_LINE * (script.len() as u64 + 10);
    while let Some((at, event)) = simulation.world.queue.pop() {
        simulation.world.now = at;
        simulation.report.events += 1;
        if !remembers {
            simulation.forms.forget();
        }
        simulation.happen(event, script);
        if simulation.report.events > bound {
            simulation.wrong(format!("{bound} events, and no rest"));
        }
        if !simulation.wrongs.is_empty() {
            break;
        }
    }
    if simulation.wrongs.is_empty() {
        simulation.check_rest();
    }
    if simulation.wrongs.is_empty() {
        return Ok(simulation.reported());
    }
    Err(Box::new(Failure {
        seed,
        wrongs: simulation.wrongs,
        script: script.to_vec(),
    }))
}

/// One run.
#[derive(Debug)]
pub(crate) struct Simulation {
    seed: u64,
    rules: Rules,
    world: World,
    /// The scheduler's memory.
    cluster: Cluster,
    forms: Forms,
    /// The nodes of pods, as the scheduler knows them.
    assumed: BTreeMap<u64, usize>,
    look_is_due: bool,
    report: Report,
    wrongs: Vec<String>,
}

impl Simulation {
    fn wrong(&mut self, what: String) {
        if self.wrongs.len() < WRONGS {
            self.wrongs.push(format!("{} ms: {what}", self.world.now));
        }
    }

    /// Milliseconds between `least` and `most` that depend on the seed, on who asks and what for.
    fn delay(&self, who: u64, what: u64, least: u64, most: u64) -> u64 {
        let mut random = Random::new(self.seed ^ who.rotate_left(24) ^ what.rotate_left(56));
        least + random.below(most - least + 1)
    }

    /// How long it takes until somebody sees something.
    fn lag(&self, who: u64, what: u64) -> u64 {
        self.delay(who, what, 1, LAG)
    }

    /// A coin.
    fn luck(&self, who: u64) -> bool {
        self.delay(who, 99, 0, 1) == 1
    }

    fn happen(&mut self, event: Event, script: &[Line]) {
        match event {
            Event::Script(index) => self.act(&script[index].action),
            Event::PolicySeen => self.policy_seen(None),
            Event::NamespaceSeen(index) => self.policy_seen(Some(index)),
            Event::Create { vm, life } => self.create(vm, life),
            Event::Look => self.look(),
            Event::Bind { vm, pod, node } => self.bind(vm, pod, node),
            Event::PodGone { pod } => self.pod_gone(pod),
            Event::NodeSeen(node) => self.node_seen(node),
            Event::CapSeen { node, agent } => self.cap_seen(node, agent),
            Event::Probed { node, agent } => self.probed(node, agent),
            Event::Published { node, agent } => self.published(node, agent),
            Event::AgentBack { node, agent } => self.agent_back(node, agent),
            Event::Silent { node, agent } => self.silent(node, agent),
            Event::Evicted { node, agent } => self.evicted(node, agent),
            Event::Start { vm, pod, agent } => self.start(vm, pod, agent),
            Event::KvmFails { vm, pod } => self.kvm_failed(vm, pod),
            Event::Gate { node, agent } => self.gate_due(node, agent),
            Event::Lapsed { node, agent } => self.lapsed(node, agent),
            Event::Probe { node, agent } => self.probe_due(node, agent),
            Event::StatusSeen { vm, pod } => self.status_seen(vm, pod),
            Event::Booted { vm, pod } => self.booted(vm, pod),
        }
    }

    /// Does what a line says. One that is about something that is not there does nothing: the line that
    /// made it may have been taken out.
    fn act(&mut self, action: &Action) {
        let site = |world: &World, name: &String| world.site_names.get(name).copied();
        let vm = |world: &World, name: &String| world.vm_names.get(name).copied();
        match action {
            Action::Switch(policy) => {
                self.world.policy.set(*policy, self.world.now);
                let lag = self.lag(self.world.now, 6);
                self.world.after(lag, Event::PolicySeen);
            }
            Action::Namespace { name, cap, tenancy } => {
                let index = self.namespace(name);
                let labels = Labels {
                    cap: cap.clone(),
                    tenancy: tenancy.clone(),
                };
                let now = self.world.now;
                self.world.namespaces[index].set(labels, now);
                let lag = self.lag(now, 7);
                self.world.after(lag, Event::NamespaceSeen(index));
            }
            Action::Node(line) => self.join(line),
            Action::Kvm(name, kvm) => {
                if let Some(node) = site(&self.world, name) {
                    let before = std::mem::replace(&mut self.world.sites[node].kvm, *kvm);
                    // A device that comes or goes is seen; whether it is worth anything is not.
                    if before.opens() != kvm.opens() {
                        self.probe_soon(node);
                    }
                    let site = &self.world.sites[node];
                    let (agent, salt) = (site.agent, site.salt);
                    let later = self.delay(salt ^ self.world.now, 9, 1, agent::PROBED_AGAIN);
                    self.world.after(later, Event::Probe { node, agent });
                }
            }
            Action::CapNode(name, cap) => {
                if let Some(node) = site(&self.world, name) {
                    let now = self.world.now;
                    let site = &mut self.world.sites[node];
                    site.cap.set(cap.clone(), now);
                    site.object.cap.clone_from(cap);
                    let (agent, salt) = (site.agent, site.salt);
                    let lag = self.lag(salt ^ now, 8);
                    self.world.after(lag, Event::CapSeen { node, agent });
                    self.object_changed(node);
                }
            }
            Action::Probe(name) => {
                if let Some(node) = site(&self.world, name) {
                    self.retake(node);
                }
            }
            Action::Lose(name) => {
                if let Some(node) = site(&self.world, name) {
                    self.lose(node);
                }
            }
            Action::Return(name) => {
                if let Some(node) = site(&self.world, name) {
                    self.come_back(node);
                }
            }
            Action::RestartAgent(name) => {
                if let Some(node) = site(&self.world, name).filter(|it| self.world.sites[*it].up) {
                    self.agent_begins(node);
                }
            }
            Action::Vm(line) => self.appear(line),
            Action::Restart(name, policy) => {
                if let Some(vm) = vm(&self.world, name) {
                    self.drop_pod(vm);
                    self.world.vms[vm].line.policy = *policy;
                    self.world.vms[vm].failures = 0;
                    self.create_soon(vm);
                }
            }
            Action::Delete(name) => {
                if let Some(vm) = vm(&self.world, name) {
                    self.drop_pod(vm);
                    self.world.vms[vm].state = State::Absent;
                }
            }
        }
    }

    fn namespace(&mut self, name: &str) -> usize {
        if let Some(index) = self.world.namespace_names.get(name) {
            return *index;
        }
        let index = self.world.namespaces.len();
        self.world.namespaces.push(Since::default());
        self.world.namespaces_seen.push(Labels::default());
        self.world.namespace_names.insert(name.to_owned(), index);
        index
    }

    fn join(&mut self, line: &NodeLine) {
        if self.world.site_names.contains_key(&line.name) {
            return;
        }
        let node = self.world.sites.len();
        let emulates = line.emulates.iter().chain([&line.architecture]);
        let facts = NodeFacts {
            architecture: line.architecture.clone(),
            emulates: emulates.cloned().collect(),
            slowdown: Some(SLOWDOWN),
            ..NodeFacts::default()
        };
        self.world.site_names.insert(line.name.clone(), node);
        self.world.sites.push(Site {
            salt: salt(&line.name),
            kvm: line.kvm,
            up: true,
            awake: false,
            agent: 0,
            cap: Since {
                value: line.cap.clone(),
                at: self.world.now,
            },
            facts,
            probed: false,
            probing: false,
            object: Object {
                cap: line.cap.clone(),
                ..Object::default()
            },
            seen: None,
            pods: Default::default(),
            gate: Default::default(),
            boot: 0,
            probe: Verdict::new(Class::Unknown, "not probed"),
            lowered: None,
            held: BTreeMap::new(),
            taken: Amounts::default(),
            line: line.clone(),
        });
        self.agent_begins(node);
    }

    fn appear(&mut self, line: &VmLine) {
        if self.world.vm_names.contains_key(&line.name) {
            return;
        }
        let vm = self.world.vms.len();
        let namespace = self.namespace(&line.namespace);
        let class = self.forms.class(line);
        self.world.vm_names.insert(line.name.clone(), vm);
        self.world.vms.push(Vm {
            salt: salt(&line.name),
            namespace,
            class,
            state: State::Absent,
            life: 0,
            made: self.world.time(),
            failures: 0,
            pod: None,
            guest: None,
            line: line.clone(),
        });
        self.create_soon(vm);
    }

    fn reported(mut self) -> Report {
        for vm in &self.world.vms {
            match vm.state {
                State::Running => self.report.running += 1,
                State::Waiting => self.report.waiting += 1,
                State::Looping => self.report.looping += 1,
                _ => {}
            }
        }
        self.report
    }
}

/// A number of a name (FNV-1a).
fn salt(name: &str) -> u64 {
    let begin = 0xcbf2_9ce4_8422_2325;
    name.bytes().fold(begin, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_pods_and_policies_is_what_would_be_worked_out_anew() {
        for seed in 0..6 {
            let script = of_seed(seed, Size { nodes: 8, vms: 60 });
            let report = go(seed, &script, Rules::default(), true);
            assert_eq!(report, go(seed, &script, Rules::default(), false));
        }
    }
}
