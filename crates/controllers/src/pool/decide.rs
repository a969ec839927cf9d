//! A pool, the machines around it and their instances in; what to do about them out.
//!
//! | machines | what happens |
//! |---|---|
//! | too few | made, with the lowest free indexes |
//! | too many | deleted, as the scale-in strategy sorts them; those that are going count as gone |
//! | so many as wanted | changed and restarted, as the update strategy says |
//!
//! What was done a moment ago need not be seen yet: a machine's name follows from its index, and who was deleted is
//! remembered ([`Seen::doomed`]), so that doing it again is harmless.

use super::machine::{Revisions, change, machine, next_revision, revision_of};
use crate::event::fingerprint;
use api::condition;
use api::names::labels::POOL_REVISION;
use api::pool::{ScaleIn, SortPolicy, Update, VirtualMachinePool, pool_and_index};
use api::suspend::{Asked, asked};
use api::virtual_machine::{RunStrategy, VirtualMachine};
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};
use serde_json::Value;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The most machines that are made, deleted or changed at one look, as in KubeVirt; the next look follows at once.
pub(super) const BURST: usize = 250;

/// What a look has seen.
pub(super) struct Seen<'a> {
    pub(super) pool: &'a VirtualMachinePool,
    /// All machines of its namespace.
    pub(super) machines: &'a [Arc<VirtualMachine>],
    /// All their instances, by name.
    pub(super) instances: &'a BTreeMap<String, Arc<VirtualMachineInstance>>,
    /// UIDs of machines that were deleted, which need not be seen yet.
    pub(super) doomed: &'a BTreeSet<String>,
}

/// One change to an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Let go a machine that the selector does not match any more.
    Release(Arc<VirtualMachine>),
    /// Take control of a machine that nobody controls, has a name of this pool's, and matches the selector.
    Adopt(Arc<VirtualMachine>),
    /// Make this machine.
    Create(Box<VirtualMachine>),
    /// Delete it.
    Delete(Arc<VirtualMachine>),
    /// Make it as the template is; a merge patch.
    Change(Arc<VirtualMachine>, Value),
    /// Restart it: this instance of it is of an older template.
    Restart(Arc<VirtualMachine>, Arc<VirtualMachineInstance>),
}

/// What to do, and which machines are the pool's.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Decision {
    pub(super) actions: Vec<Action>,
    pub(super) members: Vec<Arc<VirtualMachine>>,
}

/// Decides about a pool.
pub(super) fn decide(seen: &Seen<'_>) -> serde_json::Result<Decision> {
    let pool = seen.pool;
    let machines = seen.machines.iter().cloned();
    let ours = machines.clone().filter(|vm| controls(pool, vm));
    let mut decision = Decision::default();
    // Admission lets nobody write a selector that cannot be read.
    let selector = pool.spec.selector().ok();
    let Some(selector) = selector.filter(|_| pool.metadata.deletion_timestamp.is_none()) else {
        // Its machines go with it, or stay, as whoever deletes it has asked.
        decision.members = ours.collect();
        return Ok(decision);
    };
    let (mut members, strays): (Vec<_>, Vec<_>) =
        ours.partition(|vm| selector.matches(vm.labels()));
    let strays = strays.into_iter().filter(|vm| !is_going(vm));
    decision.actions.extend(strays.map(Action::Release));
    for orphan in machines.filter(|vm| is_orphan(pool, &selector, vm)) {
        decision.actions.push(Action::Adopt(Arc::clone(&orphan)));
        members.push(orphan);
    }
    decision.members.clone_from(&members);
    let adopts = decision
        .actions
        .iter()
        .any(|it| matches!(it, Action::Adopt(_)));
    // Nothing is done to a machine before it is the pool's: the change is seen, and looked at again.
    if adopts || pool.spec.is_paused() {
        return Ok(decision);
    }
    let revisions = Revisions::of(pool);
    // Others would be let go and made anew for ever.
    if !selector.matches(machine(pool, 0, &revisions).labels()) {
        return Ok(decision);
    }
    let wanted = pool.spec.wanted();
    match (members.len().cmp(&wanted), pool.spec.scale_in()) {
        (Ordering::Less, _) => {
            let missing = (wanted - members.len()).min(BURST);
            let indexes = free_indexes(seen).take(missing);
            let machines = indexes.map(|index| machine(pool, index, &revisions));
            let create = machines.map(|vm| Action::Create(Box::new(vm)));
            decision.actions.extend(create);
        }
        (Ordering::Greater, ScaleIn::Pool(policy)) => {
            let count = members.len();
            members.retain(|vm| !is_leaving(seen, vm));
            let leaving = count - members.len();
            let surplus = (count - wanted).saturating_sub(leaving).min(BURST);
            sort(seen, policy, &mut members);
            let delete = members.into_iter().take(surplus).map(Action::Delete);
            decision.actions.extend(delete);
        }
        (Ordering::Greater, ScaleIn::Others) | (Ordering::Equal, _) => {
            decision.actions.extend(update(seen, &revisions, members)?);
        }
    }
    Ok(decision)
}

/// Changes machines that are of an older template, and restarts those whose instances are.
fn update(
    seen: &Seen<'_>,
    revisions: &Revisions,
    members: Vec<Arc<VirtualMachine>>,
) -> serde_json::Result<Vec<Action>> {
    let mut actions = Vec::new();
    let how = seen.pool.spec.update();
    if how == Update::Nothing {
        return Ok(actions);
    }
    let unavailable = members.iter().filter(|vm| !is_available(seen, vm)).count();
    let free = members
        .into_iter()
        .filter(|vm| !is_leaving(seen, vm) && !is_held(vm));
    let (current, outdated): (Vec<_>, Vec<_>) =
        free.partition(|vm| revision_of(vm) == Some(&revisions.machine));
    for vm in outdated.into_iter().take(BURST) {
        let name = vm.name_any();
        if let Some((_, index)) = pool_and_index(&name) {
            let wanted = machine(seen.pool, index, revisions);
            let change = change(&vm, wanted)?;
            actions.push(Action::Change(vm, change));
        }
    }
    if let Update::Restart(policy) = how {
        let room = seen.pool.spec.max_unavailable().saturating_sub(unavailable);
        let restarts = restarts(seen, policy, current, room);
        actions.extend(restarts.take(BURST));
    }
    Ok(actions)
}

/// Those of the `current` machines that are restarted now: whoever is not ready anyway, and so many others as there is
/// `room` for.
fn restarts(
    seen: &Seen<'_>,
    policy: SortPolicy,
    mut current: Vec<Arc<VirtualMachine>>,
    mut room: usize,
) -> impl Iterator<Item = Action> {
    sort(seen, policy, &mut current);
    let old = current.into_iter().filter_map(|vm| {
        let vmi = instance(seen, &vm)?;
        let is_old = vmi.labels().get(POOL_REVISION) != next_revision(&vm);
        let restarts = is_old && restarts_by_itself(&vm) && lives(vmi) && !is_asked(&vm);
        restarts.then(|| (vm, Arc::clone(vmi)))
    });
    let now = old.filter(move |(vm, _)| {
        if !is_available(seen, vm) {
            return true;
        }
        let may = room > 0;
        room = room.saturating_sub(1);
        may
    });
    now.map(|(vm, vmi)| Action::Restart(vm, vmi))
}

/// Sorts machines: those that are deleted or restarted first come first.
fn sort(seen: &Seen<'_>, policy: SortPolicy, machines: &mut [Arc<VirtualMachine>]) {
    let index = |vm: &VirtualMachine| pool_and_index(&vm.name_any()).map(|(_, index)| index);
    let made = |vm: &VirtualMachine| vm.creation_timestamp().map(|time| time.0);
    match policy {
        SortPolicy::AscendingOrder => machines.sort_by_key(|vm| index(vm)),
        SortPolicy::DescendingOrder => machines.sort_by_key(|vm| Reverse(index(vm))),
        SortPolicy::Newest => machines.sort_by_key(|vm| Reverse((made(vm), index(vm)))),
        SortPolicy::Oldest => machines.sort_by_key(|vm| (made(vm), index(vm))),
        // As good as random, and the same at the next look.
        SortPolicy::Random => machines.sort_by_key(|vm| {
            (
                worth(seen, vm),
                fingerprint(&[&vm.uid().unwrap_or_default()]),
            )
        }),
    }
}

/// What would be lost with a machine: nothing, a start, or a guest that serves or is saved.
fn worth(seen: &Seen<'_>, vm: &VirtualMachine) -> u8 {
    match instance(seen, vm) {
        _ if is_held(vm) || is_available(seen, vm) => 2,
        Some(vmi) if lives(vmi) => 1,
        _ => 0,
    }
}

/// The lowest indexes that no machine of the namespace has, the pool's or not.
fn free_indexes(seen: &Seen<'_>) -> impl Iterator<Item = usize> + use<> {
    let pool = seen.pool.name_any();
    let taken = |vm: &Arc<VirtualMachine>| {
        let name = vm.name_any();
        let (theirs, index) = pool_and_index(&name)?;
        (theirs == pool).then_some(index)
    };
    let taken: BTreeSet<usize> = seen.machines.iter().filter_map(taken).collect();
    (0..).filter(move |index| !taken.contains(index))
}

/// The owner that controls a machine.
pub(super) fn controller(vm: &VirtualMachine) -> Option<&OwnerReference> {
    let owners = vm.owner_references().iter();
    owners
        .into_iter()
        .find(|owner| owner.controller == Some(true))
}

/// Whether `pool` controls `vm`.
pub(super) fn controls(pool: &VirtualMachinePool, vm: &VirtualMachine) -> bool {
    controller(vm).is_some_and(|owner| Some(&owner.uid) == pool.metadata.uid.as_ref())
}

fn is_orphan(pool: &VirtualMachinePool, selector: &Selector, vm: &VirtualMachine) -> bool {
    let name = vm.name_any();
    let named = pool_and_index(&name).is_some_and(|(theirs, _)| theirs == pool.name_any());
    named && controller(vm).is_none() && !is_going(vm) && selector.matches(vm.labels())
}

fn is_going(vm: &VirtualMachine) -> bool {
    vm.metadata.deletion_timestamp.is_some()
}

/// Whether it goes, or was deleted a moment ago.
fn is_leaving(seen: &Seen<'_>, vm: &VirtualMachine) -> bool {
    is_going(vm) || vm.uid().is_some_and(|uid| seen.doomed.contains(&uid))
}

/// Whether its guest is saved, or others are at work on it: it is changed when that is over.
fn is_held(vm: &VirtualMachine) -> bool {
    let status = vm.status.as_ref();
    asked(vm.annotations()) == Asked::Suspend
        || status.is_some_and(|it| {
            it.suspension.is_some()
                || it.snapshot_in_progress.is_some()
                || it.restore_in_progress.is_some()
        })
}

/// Whether a start or a stop was asked for, and is not done.
fn is_asked(vm: &VirtualMachine) -> bool {
    let status = vm.status.as_ref();
    status.is_some_and(|status| !status.state_change_requests.is_empty())
}

/// A machine that runs once is not run twice, and one that is halted is about to stop.
fn restarts_by_itself(vm: &VirtualMachine) -> bool {
    match vm.spec.strategy() {
        Some(RunStrategy::Always | RunStrategy::RerunOnFailure | RunStrategy::Manual) => true,
        Some(RunStrategy::Halted | RunStrategy::Once) | None => false,
    }
}

/// The instance of a machine.
fn instance<'a>(seen: &Seen<'a>, vm: &VirtualMachine) -> Option<&'a Arc<VirtualMachineInstance>> {
    let vmi = seen.instances.get(&vm.name_any())?;
    let owner = vmi
        .owner_references()
        .iter()
        .find(|it| it.controller == Some(true))?;
    (Some(&owner.uid) == vm.metadata.uid.as_ref()).then_some(vmi)
}

fn lives(vmi: &VirtualMachineInstance) -> bool {
    let phase = vmi.status.as_ref().and_then(|status| status.phase);
    vmi.metadata.deletion_timestamp.is_none() && !phase.is_some_and(Phase::is_final)
}

/// Whether its guest is ready, and nobody is about to stop it.
fn is_available(seen: &Seen<'_>, vm: &VirtualMachine) -> bool {
    let vmi = instance(seen, vm).filter(|vmi| lives(vmi) && !is_asked(vm));
    let status = vmi.and_then(|vmi| vmi.status.as_ref());
    status.is_some_and(|status| {
        status.phase == Some(Phase::Running) && condition::is_true(&status.conditions, "Ready")
    })
}
