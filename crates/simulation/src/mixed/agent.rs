//! The node agents' part: probes, starts, guests that step down; and what hardware does to them.

use api::accelerator::{Accelerator, Cap, Decision, Scope};
use api::launcher::{KvmFailure, KvmFailureKind};
use api::names;
use api::scaling::Wait;
use node::decisions::{self, Answer, Entry, LONGEST_WAIT, Lowered, Question, Turn};
use qemu::probe::{Class, Verdict};

use super::Simulation;
use super::script::Kvm;
use super::world::{Event, Guest, Object, State};

/// Milliseconds a node agent waits before it tries a start again that was refused.
const REFUSED_RETRY: u64 = 30_000;
/// Milliseconds after which a verdict is taken again although nothing calls it into doubt.
pub(super) const PROBED_AGAIN: u64 = 600_000;
/// Milliseconds without a word after which a node counts as not ready.
const SILENT_AFTER: u64 = 40_000;
/// And after which its pods are given up.
const GIVEN_UP_AFTER: u64 = 300_000;

impl Simulation {
    // The node.

    /// The agent begins a life: it looks at its hardware, and at what is in its folder.
    pub(super) fn agent_begins(&mut self, node: usize) {
        let site = &mut self.world.sites[node];
        site.agent += 1;
        site.awake = false;
        site.probing = false;
        site.gate.clear();
        let (agent, salt) = (site.agent, site.salt);
        let back = self.delay(salt, 10 + u64::from(agent), 200, 3000);
        self.world.after(back, Event::AgentBack { node, agent });
    }

    pub(super) fn agent_back(&mut self, node: usize, agent: u32) {
        let site = &mut self.world.sites[node];
        if !site.up || site.agent != agent {
            return;
        }
        site.awake = true;
        let pods: Vec<usize> = site.pods.iter().copied().collect();
        self.take_cap(node);
        self.probe_soon(node);
        let now = self.world.time();
        for vm in &pods {
            // Who boots already has its turn.
            let this = &self.world.vms[*vm];
            let emulated = this.guest.as_ref().is_some_and(|guest| {
                guest.runs && guest.actual == Accelerator::Tcg && this.state == State::Booting
            });
            if emulated {
                let slowdown = self.world.sites[node].facts.slowdown;
                let until = now.checked_add(Wait::Boot.within(Accelerator::Tcg, slowdown));
                let until = until.unwrap_or(now);
                let entry = Entry {
                    order: (this.made, vm.to_string()),
                    processors: this.line.cpus,
                    turn: Turn::Boots { until },
                };
                self.world.sites[node].gate.insert(vm.to_string(), entry);
            }
        }
        for vm in pods {
            let this = &self.world.vms[vm];
            let Some(pod) = this.pod.as_ref().map(|pod| pod.uid) else {
                continue;
            };
            match &this.guest {
                // What was written down is done, if it was not.
                Some(guest) if guest.failed.is_some() && guest.record && !guest.runs => {
                    self.world.after(1, Event::Start { vm, pod, agent });
                }
                Some(guest) if guest.failed.is_some() && !guest.record => {
                    self.kvm_failure_told(vm, node);
                }
                Some(guest) if !guest.runs => self.fail(vm),
                Some(_) => {}
                None => {
                    self.world.vms[vm].state = State::Bound;
                    self.world.after(1, Event::Start { vm, pod, agent });
                }
            }
        }
    }

    fn lives(&self, node: usize, agent: u32) -> bool {
        let site = &self.world.sites[node];
        site.awake && site.agent == agent
    }

    /// A probe is due, unless one is under way.
    pub(super) fn probe_soon(&mut self, node: usize) {
        let site = &mut self.world.sites[node];
        if !site.awake || site.probing {
            return;
        }
        site.probing = true;
        let (agent, salt) = (site.agent, site.salt);
        let takes = self.delay(salt ^ self.world.now, 11, 20, 1000);
        self.world.after(takes, Event::Probed { node, agent });
    }

    pub(super) fn probed(&mut self, node: usize, agent: u32) {
        if !self.lives(node, agent) {
            return;
        }
        let luck = self.luck(self.world.sites[node].salt ^ self.world.now);
        let site = &mut self.world.sites[node];
        site.probing = false;
        site.probed = true;
        let class = match site.kvm {
            Kvm::Usable | Kvm::Sly => Class::Usable,
            Kvm::Flapping if luck => Class::Usable,
            Kvm::Missing => Class::DeviceMissing,
            Kvm::Denied => Class::PermissionDenied,
            Kvm::Liar | Kvm::Flapping => Class::GuestKernelEmulated,
        };
        site.facts.kvm_device = site.kvm.opens();
        site.probe = Verdict::new(class, "simulated");
        self.take_verdict(node);
    }

    /// A guest proved that KVM does not work here.
    fn lower(&mut self, node: usize, machine: String, failure: KvmFailure) {
        let site = &mut self.world.sites[node];
        let boot = site.boot.to_string();
        let lowered = Lowered::after(site.lowered.as_ref(), &boot, machine, failure);
        let until = lowered.until();
        site.lowered = Some(lowered);
        let (agent, salt) = (site.agent, site.salt);
        let left = until.duration_since(self.world.time()).as_millis();
        let left = u64::try_from(left).unwrap_or(0);
        let later = self.delay(salt ^ self.world.now, 14, 0, PROBED_AGAIN);
        self.world
            .after(left + later, Event::Lapsed { node, agent });
        self.take_verdict(node);
        self.probe_soon(node);
    }

    /// It may not count any more.
    pub(super) fn lapsed(&mut self, node: usize, agent: u32) {
        if self.lives(node, agent) {
            self.take_verdict(node);
        }
    }

    pub(super) fn probe_due(&mut self, node: usize, agent: u32) {
        if self.lives(node, agent) {
            self.probe_soon(node);
        }
    }

    /// Somebody asks for the verdict to be taken again.
    pub(super) fn retake(&mut self, node: usize) {
        let site = &mut self.world.sites[node];
        if site.awake {
            site.lowered = None;
            self.probe_soon(node);
        }
    }

    /// What the probe and guests come to, written into the Node object if it is another verdict.
    fn take_verdict(&mut self, node: usize) {
        let now = self.world.time();
        let site = &mut self.world.sites[node];
        let boot = site.boot.to_string();
        let lowered = site.lowered.as_ref();
        site.facts.verdict = (self.rules.stands)(&site.probe, false, lowered, &boot, now);
        let (agent, salt) = (site.agent, site.salt);
        let writes = self.lag(salt ^ self.world.now, 12);
        self.world.after(writes, Event::Published { node, agent });
    }

    pub(super) fn published(&mut self, node: usize, agent: u32) {
        if !self.lives(node, agent) {
            return;
        }
        let site = &mut self.world.sites[node];
        site.object = Object {
            ready: true,
            usable: site.facts.verdict.usable,
            kvm_device: site.facts.kvm_device,
            cap: site.cap.value.clone(),
        };
        self.object_changed(node);
    }

    pub(super) fn object_changed(&mut self, node: usize) {
        let lag = self.lag(self.world.sites[node].salt ^ self.world.now, 13);
        self.world.after(lag, Event::NodeSeen(node));
    }

    pub(super) fn cap_seen(&mut self, node: usize, agent: u32) {
        if self.lives(node, agent) {
            self.take_cap(node);
        }
    }

    fn take_cap(&mut self, node: usize) {
        let site = &mut self.world.sites[node];
        let key = names::labels::EMULATION_POLICY.to_owned();
        let labels = site.cap.value.clone().map(|cap| (key, cap));
        let cap = Cap::of_labels(Scope::Node, &site.line.name, &labels.into_iter().collect());
        site.facts.cap = cap;
    }

    /// The node loses its power.
    pub(super) fn lose(&mut self, node: usize) {
        let site = &mut self.world.sites[node];
        if !site.up {
            return;
        }
        site.up = false;
        site.awake = false;
        site.agent += 1;
        site.boot += 1;
        site.probed = false;
        site.probing = false;
        site.gate.clear();
        let (agent, pods) = (site.agent, site.pods.clone());
        for vm in pods {
            if let Some(guest) = &mut self.world.vms[vm].guest {
                guest.runs = false;
                guest.failed = None;
            }
        }
        self.world
            .after(SILENT_AFTER, Event::Silent { node, agent });
        self.world
            .after(GIVEN_UP_AFTER, Event::Evicted { node, agent });
    }

    pub(super) fn come_back(&mut self, node: usize) {
        if !self.world.sites[node].up {
            self.world.sites[node].up = true;
            self.agent_begins(node);
        }
    }

    pub(super) fn silent(&mut self, node: usize, agent: u32) {
        let site = &mut self.world.sites[node];
        if !site.up && site.agent == agent {
            site.object.ready = false;
            self.object_changed(node);
        }
    }

    pub(super) fn evicted(&mut self, node: usize, agent: u32) {
        let site = &self.world.sites[node];
        if !site.up && site.agent == agent {
            let pods: Vec<usize> = site.pods.iter().copied().collect();
            pods.into_iter().for_each(|vm| self.fail(vm));
        }
    }

    // Its guests.

    /// The VM's pod with this uid, and the node it is on.
    fn placed(&self, vm: usize, uid: u64) -> Option<usize> {
        let pod = self.world.vms[vm].pod.as_ref();
        pod.filter(|pod| pod.uid == uid)?.node
    }

    pub(super) fn start(&mut self, vm: usize, uid: u64, agent: u32) {
        let Some(node) = self.placed(vm, uid) else {
            return;
        };
        let this = &self.world.vms[vm];
        if !self.lives(node, agent) || this.guest.as_ref().is_some_and(|guest| guest.runs) {
            return;
        }
        if !self.world.sites[node].probed {
            // The agent starts nothing before it knows its hardware.
            let again = Event::Start {
                vm,
                pod: uid,
                agent,
            };
            return self.world.after(100, again);
        }
        let Some(pod) = &this.pod else { return };
        // Whom KVM failed here is started as if the verdict said so.
        let facts = &self.world.sites[node].facts;
        let failed = this.guest.as_ref().and_then(|guest| guest.failed.as_ref());
        let lowered = failed.map(|failure| decisions::lowered(facts, failure));
        let facts = lowered.as_ref().unwrap_or(facts);
        let line = &this.line;
        match (self.rules.resolve)(&pod.made, line.forced, &line.architecture, facts) {
            Ok(decision) if decision.accelerator == Accelerator::Kvm => {
                self.leave_gate(vm, node);
                self.run(vm, node, &decision);
            }
            Ok(decision) => {
                if self.asks_for_a_turn(vm, node) {
                    self.run(vm, node, &decision);
                }
            }
            Err(_) => {
                self.leave_gate(vm, node);
                self.refused(vm, node);
            }
        }
    }

    /// Nothing that works is permitted on the node the pod was bound to.
    fn refused(&mut self, vm: usize, node: usize) {
        self.report.refused += 1;
        self.check_refusal(vm, node);
        let agent = self.world.sites[node].agent;
        if self.rules.gives_up_when_refused {
            return self.fail(vm);
        }
        if let Some(pod) = self.world.vms[vm].pod.as_ref().map(|pod| pod.uid) {
            self.world.vms[vm].state = State::Bound;
            self.world
                .after(REFUSED_RETRY, Event::Start { vm, pod, agent });
        }
    }

    /// QEMU runs.
    fn run(&mut self, vm: usize, node: usize, decision: &Decision) {
        let before = self.world.vms[vm].guest.take();
        let actual = decision.accelerator;
        let mut guest = Guest {
            actual,
            shown: (self.rules.shown)(decision, actual),
            runs: true,
            failed: None,
            record: before.as_ref().is_some_and(|it| it.record),
            steps_down: before.as_ref().map_or(0, |it| it.steps_down),
        };
        guest.steps_down += u32::from(before.is_some());
        self.report.steps_down += u64::from(before.is_some());
        self.check_start(vm, node, &guest, before.as_ref());
        match actual {
            Accelerator::Kvm => self.report.kvm += 1,
            Accelerator::Tcg => self.report.tcg += 1,
        }
        let this = &mut self.world.vms[vm];
        this.guest = Some(guest);
        this.state = State::Booting;
        let Some(pod) = this.pod.as_ref().map(|pod| pod.uid) else {
            return;
        };
        let told = self.lag(pod, 23);
        self.world.after(told, Event::StatusSeen { vm, pod });
        if actual == Accelerator::Kvm && self.kvm_fails(vm, node, pod).is_some() {
            let after = self.delay(pod, 20, 100, 5000);
            return self.world.after(after, Event::KvmFails { vm, pod });
        }
        let (least, most) = match actual {
            Accelerator::Kvm => (1000, 6000),
            Accelerator::Tcg => (8000, 48_000),
        };
        let after = self.delay(pod, 21, least, most);
        self.world.after(after, Event::Booted { vm, pod });
    }

    /// What the hardware does to a guest.
    fn kvm_fails(&self, vm: usize, node: usize, pod: u64) -> Option<KvmFailureKind> {
        let simple = self.world.vms[vm].line.simple;
        match self.world.sites[node].kvm {
            Kvm::Usable => None,
            Kvm::Missing | Kvm::Denied => Some(KvmFailureKind::Refused),
            Kvm::Liar => (!simple).then_some(KvmFailureKind::NoProgress),
            Kvm::Sly => (!simple).then_some(KvmFailureKind::EntryFailed),
            Kvm::Flapping => {
                let fails = !simple && self.luck(pod);
                fails.then_some(KvmFailureKind::EntryFailed)
            }
        }
    }

    /// The launcher sees that KVM fails its guest, and says so.
    pub(super) fn kvm_failed(&mut self, vm: usize, uid: u64) {
        let Some(node) = self.placed(vm, uid) else {
            return;
        };
        let kind = self.kvm_fails(vm, node, uid);
        let at = self.world.time();
        let Some(guest) = &mut self.world.vms[vm].guest else {
            return;
        };
        if !guest.runs {
            return;
        }
        guest.failed = Some(KvmFailure {
            kind: kind.unwrap_or(KvmFailureKind::EntryFailed),
            evidence: "simulated".to_owned(),
            at,
        });
        if self.world.sites[node].awake {
            self.kvm_failure_told(vm, node);
        }
    }

    /// The agent hears of it: it lowers its verdict, writes down what follows, and does it.
    fn kvm_failure_told(&mut self, vm: usize, node: usize) {
        self.report.kvm_failures += 1;
        let this = &self.world.vms[vm];
        let failed = this.guest.as_ref().and_then(|guest| guest.failed.clone());
        let (Some(pod), Some(failure)) = (&this.pod, failed) else {
            return;
        };
        let answer = (self.rules.answer)(&Question {
            failure: &failure,
            forced: this.line.forced,
            policy: &pod.made,
            architecture: &this.line.architecture,
            node: &self.world.sites[node].facts,
        });
        let (uid, name) = (pod.uid, this.line.name.clone());
        self.lower(node, name, failure);
        let writes_down = self.rules.writes_down;
        let this = &mut self.world.vms[vm];
        let Some(guest) = &mut this.guest else { return };
        match answer {
            Answer::StartAgain => {
                guest.record = writes_down;
                guest.runs = false;
                this.state = State::Bound;
                let agent = self.world.sites[node].agent;
                let ends = self.delay(uid, 22, 10, 2000);
                self.world.after(
                    ends,
                    Event::Start {
                        vm,
                        pod: uid,
                        agent,
                    },
                );
            }
            Answer::Fail { .. } => self.fail(vm),
            // It crawls, as somebody wanted.
            Answer::LeaveAlone { .. } => {
                guest.record = writes_down;
                this.state = State::Running;
                this.failures = 0;
            }
        }
    }

    pub(super) fn booted(&mut self, vm: usize, uid: u64) {
        let Some(node) = self.placed(vm, uid) else {
            return;
        };
        let this = &mut self.world.vms[vm];
        if this.state != State::Booting || !this.guest.as_ref().is_some_and(|it| it.runs) {
            return;
        }
        this.state = State::Running;
        this.failures = 0;
        self.leave_gate(vm, node);
    }

    // Its gate.

    /// Asks for a turn to boot; asking again changes nothing. Whether it is there.
    fn asks_for_a_turn(&mut self, vm: usize, node: usize) -> bool {
        let since = self.world.time();
        let key = vm.to_string();
        let this = &self.world.vms[vm];
        let (made, processors) = (this.made, this.line.cpus);
        let agent = self.world.sites[node].agent;
        if !self.world.sites[node].gate.contains_key(&key) {
            let entry = Entry {
                order: (made, key.clone()),
                processors,
                turn: Turn::Waits { since },
            };
            self.world.sites[node].gate.insert(key.clone(), entry);
            let longest = u64::try_from(LONGEST_WAIT.as_millis()).unwrap_or(u64::MAX);
            self.world.after(longest, Event::Gate { node, agent });
        }
        self.open_gate(node, Some(vm));
        let boots = self.world.sites[node]
            .gate
            .get(&key)
            .is_none_or(Entry::boots);
        if !boots {
            self.world.vms[vm].state = State::Queued;
            self.report.queued += 1;
        }
        boots
    }

    /// Gives turns to those who wait, and tells them, but for the one who asks.
    fn open_gate(&mut self, node: usize, asks: Option<usize>) {
        let now = self.world.time();
        let site = &mut self.world.sites[node];
        let within = Wait::Boot.within(Accelerator::Tcg, site.facts.slowdown);
        let entered = (self.rules.advance)(&mut site.gate, site.line.cpus, now, within);
        let agent = site.agent;
        for vm in entered.iter().filter_map(|key| key.parse::<usize>().ok()) {
            let this = &self.world.vms[vm];
            if asks == Some(vm) || this.state != State::Queued {
                continue;
            }
            if let Some(pod) = this.pod.as_ref().map(|pod| pod.uid) {
                // It is decided anew: hardware and cap may be others by now.
                self.world.after(1, Event::Start { vm, pod, agent });
            }
        }
    }

    /// A guest that booted, or went, lets others boot.
    pub(super) fn leave_gate(&mut self, vm: usize, node: usize) {
        let site = &mut self.world.sites[node];
        if site.gate.remove(&vm.to_string()).is_some() && site.awake {
            self.open_gate(node, None);
        }
    }

    pub(super) fn gate_due(&mut self, node: usize, agent: u32) {
        if self.lives(node, agent) {
            self.open_gate(node, None);
        }
    }
}
