//! What must hold, worked out a second time and in another way than by the functions that are tested:
//! at every decision, and when everything has come to rest.

use api::accelerator::{Accelerator, EmulationPolicy};

use super::scheduler::allocatable;
use super::world::{Amounts, Guest, Held, Labels, Object, Site, State, Vm};
use super::{LAG, Simulation};

/// Milliseconds after which a change has reached every component: eight lags, one after the other, and
/// a little.
pub(super) const REACHED: u64 = 100;
const _: () = assert!(REACHED >= 8 * LAG);

/// A cap as people write it: what is no policy permits nothing.
fn cap(text: Option<&String>) -> EmulationPolicy {
    match text.map(String::as_str) {
        None | Some("Software") => EmulationPolicy::Software,
        Some("Hardware") => EmulationPolicy::Hardware,
        Some(_) => EmulationPolicy::None,
    }
}

/// The policy of a VM before it has a node.
fn effective(cluster: EmulationPolicy, vm: &Vm, namespace: &Labels) -> EmulationPolicy {
    let own = vm.line.policy.unwrap_or(cluster);
    own.min(cap(namespace.cap.as_ref()))
}

/// Whether a guest of this architecture can be emulated on a node.
fn emulates(site: &Site, architecture: &str) -> bool {
    site.line.architecture == architecture || site.line.emulates.as_deref() == Some(architecture)
}

/// How the best way to run a VM on a node is, by what is said of that node; none: not at all.
fn best(vm: &Vm, policy: EmulationPolicy, site: &Site, object: &Object) -> Option<Accelerator> {
    let native = vm.line.architecture == site.line.architecture;
    let software = policy.min(cap(object.cap.as_ref())) == EmulationPolicy::Software
        && emulates(site, &vm.line.architecture);
    match vm.line.forced {
        Some(Accelerator::Kvm) => (native && object.kvm_device).then_some(Accelerator::Kvm),
        Some(Accelerator::Tcg) => software.then_some(Accelerator::Tcg),
        None if native && object.usable => Some(Accelerator::Kvm),
        None => software.then_some(Accelerator::Tcg),
    }
}

/// The most emulated processors for each of a node's, where nobody says otherwise.
const EMULATED_PER_PROCESSOR: i64 = 10;

impl Simulation {
    /// What is in the way of one more emulated guest on a node: too many there, or neighbours that it or
    /// they do not want.
    fn company(&self, vm: &Vm, site: &Site, object: &Object) -> Option<&'static str> {
        let emulated = |held: &&Held| {
            let actual = held.actual;
            let way = || best(&self.world.vms[held.vm], held.policy, site, object);
            actual.or_else(way) == Some(Accelerator::Tcg)
        };
        let mut processors = i64::from(vm.line.cpus);
        let denies = |namespace: usize| {
            let tenancy = &self.world.namespaces_seen[namespace].tenancy;
            tenancy.as_deref() == Some("Deny")
        };
        let mut unwanted = false;
        for held in site.held.values().filter(emulated) {
            let other = &self.world.vms[held.vm];
            processors += i64::from(other.line.cpus);
            let stranger = other.namespace != vm.namespace;
            unwanted |= stranger && (denies(vm.namespace) || denies(other.namespace));
        }
        if processors > EMULATED_PER_PROCESSOR * i64::from(site.line.cpus) {
            return Some("too many emulated processors");
        }
        unwanted.then_some("neighbours that are not wanted")
    }

    /// What the agent of a node knows of it.
    fn known(site: &Site) -> Object {
        Object {
            ready: true,
            usable: site.facts.verdict.usable,
            kvm_device: site.facts.kvm_device,
            cap: site.cap.value.clone(),
        }
    }

    fn has_room(&self, vm: &Vm, site: &Site, object: &Object) -> bool {
        let has = allocatable(&site.line, object);
        let asked = vm.pod.as_ref().map_or(Amounts([0; 4]), |pod| pod.amounts);
        (0..has.0.len()).all(|it| {
            let asked = asked.0[it];
            asked == 0 || site.taken.0[it] + asked <= has.0[it]
        })
    }

    /// The scheduler chose a node.
    pub(super) fn check_choice(&mut self, vm: usize, node: usize) {
        let (this, site) = (&self.world.vms[vm], &self.world.sites[node]);
        let Some(pod) = &this.pod else { return };
        let policy = pod.made.policy;
        let name = &this.line.name;
        let on = &site.line.name;
        let Some(seen) = site.seen.as_ref().filter(|seen| seen.ready) else {
            return self.wrong(format!("{name} is placed on {on}, which is not ready"));
        };
        if !self.has_room(this, site, seen) {
            return self.wrong(format!("{name} is placed on {on}, which has no room"));
        }
        let way = best(this, policy, site, seen);
        let Some(way) = way else {
            return self.wrong(format!(
                "{name} is placed on {on}, where it cannot run under policy {policy}"
            ));
        };
        if way == Accelerator::Kvm {
            return;
        }
        if let Some(company) = self.company(this, site, seen) {
            return self.wrong(format!("{name} is placed on {on}, which has {company}"));
        }
        if this.line.forced.is_some() {
            return;
        }
        let idle = self.world.sites.iter().find(|site| {
            let seen = site.seen.as_ref().filter(|seen| seen.ready);
            seen.is_some_and(|seen| {
                best(this, policy, site, seen) == Some(Accelerator::Kvm)
                    && self.has_room(this, site, seen)
            })
        });
        if let Some(idle) = idle {
            let idle = &idle.line.name;
            self.wrong(format!(
                "{name} is placed on {on} to be emulated while {idle} has hardware and room for it"
            ));
        }
    }

    /// A pod got its node.
    pub(super) fn check_binding(&mut self, vm: usize) {
        let this = &self.world.vms[vm];
        let Some(pod) = &this.pod else { return };
        let world = &self.world;
        let made = pod.made.policy;
        let by_seen = effective(
            world.policy_seen,
            this,
            &world.namespaces_seen[this.namespace],
        );
        let truth = &world.namespaces[this.namespace];
        let now = effective(world.policy.value, this, &truth.value);
        let changed = world.policy.at.max(truth.at);
        let name = &this.line.name;
        if made != by_seen {
            let what = format!("{name} is placed under {made}, and its policy is {by_seen}");
            self.wrong(what);
        } else if made != now && changed + REACHED < world.now {
            let what = format!("{name} is placed under {made}, long after it became {now}");
            self.wrong(what);
        } else if made != now {
            self.report.raced += 1;
        }
    }

    /// QEMU is started for a guest; `before` is what ran in its folder before.
    pub(super) fn check_start(
        &mut self,
        vm: usize,
        node: usize,
        guest: &Guest,
        before: Option<&Guest>,
    ) {
        let (this, site) = (&self.world.vms[vm], &self.world.sites[node]);
        let Some(pod) = &this.pod else { return };
        let (name, on) = (&this.line.name, &site.line.name);
        let mut wrongs = Vec::new();
        if guest.shown != guest.actual.to_string() {
            wrongs.push(format!(
                "{name} runs on {}, and {} is shown",
                guest.actual, guest.shown
            ));
        }
        if this
            .line
            .forced
            .is_some_and(|forced| forced != guest.actual)
        {
            wrongs.push(format!(
                "{name} insists on its accelerator, and runs on {}",
                guest.actual
            ));
        }
        let mut known = Self::known(site);
        // A cap that was changed a moment ago may not have reached the agent.
        let fresh = site.cap.at + REACHED >= self.world.now;
        let under = match guest.actual {
            Accelerator::Kvm => EmulationPolicy::None,
            Accelerator::Tcg if fresh => pod.made.policy,
            Accelerator::Tcg => pod.made.policy.min(cap(known.cap.as_ref())),
        };
        if guest.actual == Accelerator::Tcg && under != EmulationPolicy::Software {
            wrongs.push(format!(
                "{name} is emulated on {on}, and only {under} is permitted"
            ));
        }
        if fresh {
            known.cap = None;
        }
        match before {
            Some(before) => {
                if before.steps_down > 0 || guest.steps_down > 1 {
                    wrongs.push(format!("{name} steps down a second time"));
                }
                if !guest.record {
                    wrongs.push(format!("{name} steps down, and it is not written down"));
                }
                if before.actual != Accelerator::Kvm || guest.actual != Accelerator::Tcg {
                    wrongs.push(format!(
                        "{name} steps from {} to {}",
                        before.actual, guest.actual
                    ));
                }
                if this.line.forced.is_some() {
                    wrongs.push(format!("{name} insists on its accelerator, and steps down"));
                }
            }
            None => {
                let way = best(this, pod.made.policy, site, &known);
                if way != Some(guest.actual) && !fresh {
                    wrongs.push(format!(
                        "{name} runs on {} on {on}, where the best is {way:?}",
                        guest.actual
                    ));
                }
            }
        }
        if !site.up {
            wrongs.push(format!("{name} starts on {on}, which has no power"));
        }
        wrongs.into_iter().for_each(|it| self.wrong(it));
    }

    /// The agent refuses a start.
    pub(super) fn check_refusal(&mut self, vm: usize, node: usize) {
        let (this, site) = (&self.world.vms[vm], &self.world.sites[node]);
        let Some(pod) = &this.pod else { return };
        let fresh = site.cap.at + REACHED >= self.world.now;
        let mut known = Self::known(site);
        // Whom KVM failed does not start on it again, and a cap may forbid by now to emulate it.
        known.usable &= this.guest.as_ref().is_none_or(|it| it.failed.is_none());
        if let Some(way) = best(this, pod.made.policy, site, &known)
            && !fresh
        {
            let (name, on) = (&this.line.name, &site.line.name);
            self.wrong(format!(
                "{name} is refused by {on}, where it can run on {way}"
            ));
        }
    }

    /// Nothing is left to happen.
    pub(super) fn check_rest(&mut self) {
        let mut wrongs = Vec::new();
        for site in &self.world.sites {
            let on = &site.line.name;
            if !site.gate.is_empty() {
                wrongs.push(format!("at rest, {on} lets guests wait for their turn"));
            }
            if site.up && site.seen.as_ref() != Some(&Self::known(site)) {
                wrongs.push(format!(
                    "at rest, {on} is another one than the scheduler has seen"
                ));
            }
        }
        for this in &self.world.vms {
            let name = &this.line.name;
            let labels = &self.world.namespaces[this.namespace].value;
            let policy = effective(self.world.policy.value, this, labels);
            match this.state {
                State::Absent | State::Looping => {}
                State::Waiting => {
                    let made = this.pod.as_ref().map(|pod| pod.made.policy);
                    if made.is_some_and(|made| made != policy) {
                        wrongs.push(format!(
                            "at rest, {name} waits under {made:?}, not {policy}"
                        ));
                    }
                    let room = self.world.sites.iter().find(|site| {
                        let seen = site.seen.as_ref().filter(|seen| seen.ready);
                        seen.is_some_and(|seen| match best(this, policy, site, seen) {
                            None => false,
                            Some(Accelerator::Kvm) => self.has_room(this, site, seen),
                            Some(Accelerator::Tcg) => {
                                self.has_room(this, site, seen)
                                    && self.company(this, site, seen).is_none()
                            }
                        })
                    });
                    if let Some(site) = room {
                        let on = &site.line.name;
                        wrongs.push(format!("at rest, {name} waits, and could run on {on}"));
                    }
                }
                State::Running => {
                    let runs = this.guest.as_ref().is_some_and(|guest| guest.runs);
                    if !runs {
                        wrongs.push(format!("at rest, {name} is called running, and does not"));
                    }
                }
                state => wrongs.push(format!("at rest, {name} is {state:?}")),
            }
        }
        wrongs.into_iter().for_each(|it| self.wrong(it));
    }
}
