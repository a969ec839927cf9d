//! The node agents' part: probes, starts, guests that step down; and what hardware does to them.

use api::accelerator::{Accelerator, Cap, Decision, NodeVerdict, Scope};
use api::names;

use super::Simulation;
use super::rules::Failed;
use super::script::Kvm;
use super::world::{Event, Guest, Object, State};

/// Milliseconds a node agent waits before it tries a start again that was refused.
const REFUSED_RETRY: u64 = 30_000;
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
        site.booting.clear();
        site.queue.clear();
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
        for vm in pods {
            let this = &self.world.vms[vm];
            let Some(pod) = this.pod.as_ref().map(|pod| pod.uid) else {
                continue;
            };
            match &this.guest {
                // What was written down is done, if it was not.
                Some(guest) if guest.failed && guest.record && guest.steps_down == 0 => {
                    self.world.after(1, Event::StepDown { vm, pod, agent });
                }
                Some(guest) if guest.failed => self.kvm_failure_told(vm, node),
                Some(guest) if !guest.runs => self.fail(vm),
                Some(guest) if guest.actual == Accelerator::Tcg && this.state == State::Booting => {
                    self.world.sites[node].booting.insert(vm);
                }
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
        let (usable, class) = match site.kvm {
            Kvm::Usable => (true, "Usable"),
            Kvm::Flapping if luck => (true, "Usable"),
            Kvm::Missing => (false, "DeviceMissing"),
            Kvm::Denied => (false, "PermissionDenied"),
            Kvm::Liar | Kvm::Flapping => (false, "GuestKernelEmulated"),
        };
        site.facts.kvm_device = site.kvm.opens();
        self.set_verdict(node, usable, class);
    }

    fn set_verdict(&mut self, node: usize, usable: bool, class: &str) {
        let site = &mut self.world.sites[node];
        site.facts.verdict = NodeVerdict {
            usable,
            class: class.to_owned(),
            stage: String::new(),
            message: "simulated".to_owned(),
        };
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
        site.probed = false;
        site.probing = false;
        site.booting.clear();
        site.queue.clear();
        let (agent, pods) = (site.agent, site.pods.clone());
        for vm in pods {
            if let Some(guest) = &mut self.world.vms[vm].guest {
                guest.runs = false;
                guest.failed = false;
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
        if !self.lives(node, agent) || self.world.vms[vm].guest.is_some() {
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
        let this = &self.world.vms[vm];
        let Some(pod) = &this.pod else { return };
        let facts = &self.world.sites[node].facts;
        let line = &this.line;
        let decided = (self.rules.resolve)(&pod.made, line.forced, &line.architecture, facts);
        match decided {
            Ok(decision) => self.begin(vm, node, &decision),
            Err(_) => self.refused(vm, node),
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

    /// Starts a guest, or lets it wait for its turn.
    fn begin(&mut self, vm: usize, node: usize, decision: &Decision) {
        let site = &mut self.world.sites[node];
        if decision.accelerator == Accelerator::Tcg {
            if !(self.rules.may_boot)(site.booting.len(), site.line.cpus) {
                self.world.vms[vm].state = State::Queued;
                site.queue.push(vm);
                self.report.queued += 1;
                return;
            }
            site.booting.insert(vm);
        }
        self.run(vm, node, decision);
    }

    /// QEMU runs.
    fn run(&mut self, vm: usize, node: usize, decision: &Decision) {
        let before = self.world.vms[vm].guest.take();
        let actual = decision.accelerator;
        let mut guest = Guest {
            actual,
            shown: (self.rules.shown)(decision, actual),
            runs: true,
            failed: false,
            record: before.as_ref().is_some_and(|it| it.record),
            steps_down: before.as_ref().map_or(0, |it| it.steps_down),
        };
        guest.steps_down += u32::from(before.is_some());
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
        if actual == Accelerator::Kvm && self.kvm_fails(vm, node, pod) {
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
    fn kvm_fails(&self, vm: usize, node: usize, pod: u64) -> bool {
        let simple = self.world.vms[vm].line.simple;
        match self.world.sites[node].kvm {
            Kvm::Usable => false,
            Kvm::Missing | Kvm::Denied => true,
            Kvm::Liar => !simple,
            Kvm::Flapping => !simple && self.luck(pod),
        }
    }

    /// The launcher sees that KVM fails its guest, and writes that down.
    pub(super) fn kvm_failed(&mut self, vm: usize, uid: u64) {
        let Some(node) = self.placed(vm, uid) else {
            return;
        };
        let Some(guest) = &mut self.world.vms[vm].guest else {
            return;
        };
        if !guest.runs {
            return;
        }
        guest.runs = false;
        guest.failed = true;
        if self.world.sites[node].awake {
            self.kvm_failure_told(vm, node);
        }
    }

    /// The agent hears of it.
    fn kvm_failure_told(&mut self, vm: usize, node: usize) {
        self.report.kvm_failures += 1;
        // The verdict is lowered by what was seen, and taken again.
        self.set_verdict(node, false, "EntryFailed");
        self.probe_soon(node);
        let this = &self.world.vms[vm];
        let (Some(pod), Some(guest)) = (&this.pod, &this.guest) else {
            return;
        };
        let failed = Failed {
            policy: &pod.made,
            forced: this.line.forced,
            architecture: &this.line.architecture,
            node: &self.world.sites[node].facts,
            stepped_down: guest.record,
        };
        if (self.rules.step_down)(&failed).is_none() {
            return self.fail(vm);
        }
        let uid = pod.uid;
        if let Some(guest) = &mut self.world.vms[vm].guest {
            guest.record = self.rules.writes_down;
        }
        self.world.vms[vm].state = State::Bound;
        let agent = self.world.sites[node].agent;
        let soon = self.delay(uid, 22, 10, 2000);
        self.world.after(
            soon,
            Event::StepDown {
                vm,
                pod: uid,
                agent,
            },
        );
    }

    pub(super) fn step_down(&mut self, vm: usize, uid: u64, agent: u32) {
        let Some(node) = self.placed(vm, uid) else {
            return;
        };
        if !self.lives(node, agent) {
            return;
        }
        let this = &self.world.vms[vm];
        let (Some(pod), Some(guest)) = (&this.pod, &this.guest) else {
            return;
        };
        if guest.runs || !guest.failed {
            return;
        }
        let failed = Failed {
            policy: &pod.made,
            forced: this.line.forced,
            architecture: &this.line.architecture,
            node: &self.world.sites[node].facts,
            stepped_down: false,
        };
        match (self.rules.step_down)(&failed) {
            Some(decision) => {
                self.report.steps_down += 1;
                self.begin(vm, node, &decision);
            }
            // A cap came in between.
            None => self.fail(vm),
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
        self.leave_gate(vm, Some(node));
    }

    /// A guest that booted, or went, lets the next one boot.
    pub(super) fn leave_gate(&mut self, vm: usize, node: Option<usize>) {
        let Some(node) = node else { return };
        let site = &mut self.world.sites[node];
        site.queue.retain(|it| *it != vm);
        if !site.booting.remove(&vm) || site.queue.is_empty() || !site.up {
            return;
        }
        let next = site.queue.remove(0);
        let agent = site.agent;
        let this = &mut self.world.vms[next];
        this.state = State::Bound;
        let Some(pod) = this.pod.as_ref().map(|pod| pod.uid) else {
            return;
        };
        // It is decided anew: hardware, cap and gate may be others by now.
        let event = match this.guest {
            Some(_) => Event::StepDown {
                vm: next,
                pod,
                agent,
            },
            None => Event::Start {
                vm: next,
                pod,
                agent,
            },
        };
        self.world.after(1, event);
    }
}
