//! The truth: which machines there are, whatever anybody says of them. It notes what must never be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::accelerator::EmulationPolicy;
use tokio::sync::Notify;

/// How a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It shut down, by itself or when it was asked.
    ShutDown,
    /// It heard no request, and was killed.
    Killed,
    /// QEMU crashed.
    Crashed,
    /// It never ran.
    StartFailed,
    /// It was asked to stop before it was started.
    NeverStarted,
}

/// What a launcher is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Idle,
    Running,
    Ended(End),
}

/// One launcher with its QEMU.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) vm: String,
    pub(crate) pod: String,
    pub(crate) pod_uid: String,
    pub(crate) state: State,
    ignores: bool,
}

#[derive(Debug, Default)]
struct Inside {
    /// By the uid of the VMI.
    machines: BTreeMap<String, Machine>,
    /// The accelerator of every guest that ever ran, by the uid of its VMI.
    ran: BTreeMap<String, String>,
    /// VMs somebody asked to stop, or did something to that stops them, since the last rest.
    may_stop: BTreeSet<String>,
    unstartable: BTreeSet<String>,
    slow: BTreeSet<String>,
    /// VMs whose start their node refused since the last rest.
    refused: BTreeSet<String>,
    /// Whether the node's hardware virtualization works.
    usable: bool,
    /// What the node's cap is, and how often it began or ended to change.
    cap: Option<EmulationPolicy>,
    cap_changes: u64,
    wrong: Vec<String>,
}

/// The world. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    inside: Arc<Mutex<Inside>>,
    /// Told after each change of a machine.
    pub(crate) changed: Arc<Notify>,
}

impl World {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something that must never be, once.
    pub(crate) fn wrong(&self, what: String) {
        let mut inside = self.inside();
        if !inside.wrong.contains(&what) {
            inside.wrong.push(what);
        }
    }

    /// Everything that must never have been.
    pub(crate) fn wrongs(&self) -> Vec<String> {
        self.inside().wrong.clone()
    }

    pub(crate) fn machines(&self) -> BTreeMap<String, Machine> {
        self.inside().machines.clone()
    }

    pub(crate) fn machine(&self, uid: &str) -> Option<Machine> {
        self.inside().machines.get(uid).cloned()
    }

    /// The accelerator of a guest that runs or ever ran.
    pub(crate) fn ran(&self, uid: &str) -> Option<String> {
        self.inside().ran.get(uid).cloned()
    }

    /// Whether anything of this VM runs.
    pub(crate) fn lives(&self, vm: &str) -> bool {
        self.inside()
            .machines
            .values()
            .any(|it| it.vm == vm && it.state == State::Running)
    }

    /// How many guests ever ran.
    pub(crate) fn guests(&self) -> usize {
        self.inside().ran.len()
    }

    /// A launcher begins.
    pub(crate) fn launch(&self, uid: &str, vm: &str, pod: &str, pod_uid: &str) {
        let mut inside = self.inside();
        let machine = Machine {
            vm: vm.to_owned(),
            pod: pod.to_owned(),
            pod_uid: pod_uid.to_owned(),
            state: State::Idle,
            ignores: false,
        };
        inside.machines.entry(uid.to_owned()).or_insert(machine);
    }

    /// Whether the node's hardware virtualization works.
    pub(crate) fn usable(&self) -> bool {
        self.inside().usable
    }

    pub(crate) fn set_usable(&self, usable: bool) {
        self.inside().usable = usable;
        self.changed.notify_one();
    }

    /// The node's cap begins to change to this one, or has changed to it.
    pub(crate) fn set_cap(&self, cap: Option<EmulationPolicy>) {
        let mut inside = self.inside();
        inside.cap = cap;
        inside.cap_changes += 1;
    }

    /// How often the cap began or ended to change: what is odd is under way.
    pub(crate) fn cap_changes(&self) -> u64 {
        self.inside().cap_changes
    }

    /// The node refuses to start a guest.
    pub(crate) fn refuse(&self, uid: &str) {
        let mut inside = self.inside();
        if let Some(machine) = inside.machines.get_mut(uid) {
            machine.state = State::Ended(End::StartFailed);
            let vm = machine.vm.clone();
            inside.refused.insert(vm);
        }
        drop(inside);
        self.changed.notify_one();
    }

    /// Whether a start of this VM was refused since the last rest.
    pub(crate) fn was_refused(&self, vm: &str) -> bool {
        self.inside().refused.contains(vm)
    }

    /// QEMU begins. Whoever asks is believed; what is wrong with it is noted. `cap_changes` is what it
    /// was before the cap was read by which this was decided.
    pub(crate) fn start(&self, uid: &str, accelerator: &str, cap_changes: u64) {
        let mut inside = self.inside();
        let settled = cap_changes == inside.cap_changes && cap_changes.is_multiple_of(2);
        let capped = inside.cap.is_some_and(|cap| !cap.permits_software());
        if accelerator == "TCG" && capped && settled {
            let what = format!("{uid}: emulated although the node's cap forbids it");
            inside.wrong.push(what);
        }
        let Some(vm) = inside.machines.get(uid).map(|it| it.vm.clone()) else {
            return;
        };
        let mut wrong = Vec::new();
        if inside.ran.contains_key(uid) {
            wrong.push(format!(
                "{vm}: the machine of one instance was started twice"
            ));
        }
        let others = inside.machines.iter();
        if others
            .filter(|(other, _)| *other != uid)
            .any(|(_, it)| it.vm == vm && it.state == State::Running)
        {
            wrong.push(format!("{vm}: two machines live at one time"));
        }
        inside.wrong.extend(wrong);
        let fails = inside.unstartable.contains(&vm);
        if let Some(machine) = inside.machines.get_mut(uid) {
            machine.state = if fails {
                State::Ended(End::StartFailed)
            } else {
                State::Running
            };
        }
        if !fails {
            inside.ran.insert(uid.to_owned(), accelerator.to_owned());
        }
        drop(inside);
        self.changed.notify_one();
    }

    /// The guest is asked to stop, and ends, one way or the other.
    pub(crate) fn stop(&self, uid: &str) {
        let mut inside = self.inside();
        let Some(machine) = inside.machines.get_mut(uid) else {
            return;
        };
        let vm = machine.vm.clone();
        let was_running = machine.state == State::Running;
        match machine.state {
            State::Idle => machine.state = State::Ended(End::NeverStarted),
            State::Running if machine.ignores => machine.state = State::Ended(End::Killed),
            State::Running => machine.state = State::Ended(End::ShutDown),
            State::Ended(_) => {}
        }
        if was_running && !inside.may_stop.contains(&vm) {
            let what = format!("{vm}: its guest was ended, and nobody had asked for that");
            inside.wrong.push(what);
        }
        drop(inside);
        self.changed.notify_one();
    }

    /// The guest ends by itself.
    pub(crate) fn end(&self, vm: &str, how: End) {
        for machine in self.inside().machines.values_mut() {
            if machine.vm == vm && machine.state == State::Running {
                machine.state = State::Ended(how);
            }
        }
        self.changed.notify_one();
    }

    /// From now on, the running guest hears no request.
    pub(crate) fn ignore(&self, vm: &str) {
        for machine in self.inside().machines.values_mut() {
            machine.ignores |= machine.vm == vm;
        }
    }

    /// No guest of this VM starts until [`World::heal`].
    pub(crate) fn break_start(&self, vm: &str) {
        self.inside().unstartable.insert(vm.to_owned());
    }

    pub(crate) fn is_unstartable(&self, vm: &str) -> bool {
        self.inside().unstartable.contains(vm)
    }

    /// The node does not get to starting this VM's guests until [`World::heal`].
    pub(crate) fn slow_start(&self, vm: &str) {
        self.inside().slow.insert(vm.to_owned());
    }

    pub(crate) fn is_slow(&self, vm: &str) -> bool {
        self.inside().slow.contains(vm)
    }

    pub(crate) fn heal(&self) {
        let mut inside = self.inside();
        inside.unstartable.clear();
        inside.slow.clear();
        drop(inside);
        self.changed.notify_one();
    }

    /// Nothing is left of a machine. One that runs must not vanish.
    pub(crate) fn forget(&self, uid: &str) {
        let gone = self.inside().machines.remove(uid);
        if let Some(machine) = gone
            && machine.state == State::Running
        {
            let vm = machine.vm;
            self.wrong(format!(
                "{vm}: its launcher was forgotten while its guest ran"
            ));
        }
    }

    /// Something is about to be done that may stop a VM's guest.
    pub(crate) fn may_stop(&self, vm: &str) {
        self.inside().may_stop.insert(vm.to_owned());
    }

    /// Everything is at rest: what was asked for is done.
    pub(crate) fn at_rest(&self) {
        let mut inside = self.inside();
        inside.may_stop.clear();
        inside.refused.clear();
    }
}
