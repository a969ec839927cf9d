//! What of a virtual machine's decision and status has to do with being suspended. Pure.

use api::condition::{self, Condition};
use api::names::{annotations, conditions};
use api::suspend::{Asked, asked};
use api::virtual_machine::{Suspension, VirtualMachine, VirtualMachineStatus};
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::instance::{is_final, is_going, phase};

/// Whether the guest of `vm` shall be saved, or stay so.
pub(super) fn is_asked(vm: &VirtualMachine) -> bool {
    asked(vm.annotations()) == Asked::Suspend
}

/// Whether the instance has ended because its guest was saved.
pub(super) fn was_saved(vmi: &VirtualMachineInstance) -> bool {
    is_final(vmi) && saved_of(vmi).is_some()
}

fn saved_of(vmi: &VirtualMachineInstance) -> Option<Suspension> {
    let status = vmi.status.as_ref()?;
    let saved = status.saved.clone()?;
    Some(Suspension {
        node: status.node_name.clone()?,
        id: saved.id,
        at: saved.at,
        disk_bytes: saved.disk_bytes,
    })
}

/// Where the machine's guest is saved, if it is: told by the instance that ended so, forgotten once a guest goes on from
/// there, or it is thrown away. A guest that went on and ended before anybody saw it run has gone on, too.
pub(super) fn suspension(
    vm: &VirtualMachine,
    known: &VirtualMachineStatus,
    vmi: Option<&VirtualMachineInstance>,
) -> Option<Suspension> {
    if asked(vm.annotations()) == Asked::Discard {
        return None;
    }
    let new = vmi.filter(|vmi| is_final(vmi)).and_then(saved_of);
    // As the machine, or at its host's shutdown as the instance, which then failed to go on.
    let own = [vm.uid(), vmi.and_then(|vmi| vmi.uid())];
    if let Some(new) = new.filter(|new| own.iter().flatten().any(|uid| *uid == new.id)) {
        return Some(new);
    }
    let known = known.suspension.clone()?;
    let goes_on = vmi.is_some_and(|vmi| {
        let from = vmi.annotations().get(annotations::RESUME_FROM);
        let status = vmi.status.as_ref();
        let resumed = status
            .is_some_and(|status| condition::is_true(&status.conditions, conditions::RESUMED));
        (resumed || phase(vmi) == Phase::Running) && from == Some(&known.id)
    });
    (!goes_on).then_some(known)
}

/// The change by which a living instance learns whether its guest is to be saved; none if it knows.
pub(super) fn tell_instance(vm: &VirtualMachine, vmi: &VirtualMachineInstance) -> Option<Value> {
    if is_final(vmi) || is_going(vmi) {
        return None;
    }
    let wanted = if is_asked(vm) { vm.uid() } else { None };
    let known = vmi.annotations().get(annotations::SAVE_TO);
    if known == wanted.as_ref() {
        return None;
    }
    // Somebody else saves it.
    if wanted.is_none() && known != vm.uid().as_ref() {
        return None;
    }
    Some(json!({ "metadata": { "annotations": { annotations::SAVE_TO: wanted } } }))
}

/// What makes a new instance of a suspended machine go on from where its guest was saved.
pub(super) fn go_on(vmi: &mut VirtualMachineInstance, suspension: &Suspension) {
    let annotated = vmi.annotations_mut();
    // A snapshot that is restored was asked for later.
    if annotated.contains_key(annotations::RESUME_FROM) {
        return;
    }
    annotated.insert(annotations::RESUME_FROM.to_owned(), suspension.id.clone());
    let selector = &mut vmi.spec.node_selector;
    selector.insert(
        api::names::labels::HOSTNAME.to_owned(),
        suspension.node.clone(),
    );
}

/// The condition `Suspended`, if there is anything to say.
pub(super) fn condition(
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    suspension: Option<&Suspension>,
    now: Timestamp,
) -> Option<Condition> {
    let told = |is: bool, reason: &str, message: String| {
        Some(Condition::new(conditions::SUSPENDED, is, now).because(reason, message))
    };
    let name = vm.name_any();
    if let Some(Suspension {
        node,
        at,
        disk_bytes,
        ..
    }) = suspension
    {
        let mebibytes = disk_bytes >> 20;
        let message = format!(
            "its guest was saved at {:.0} on node {node}: {mebibytes} MiB; it goes on with: anyvirt resume {name}",
            at.0
        );
        return told(true, "Saved", message);
    }
    if !is_asked(vm) {
        return None;
    }
    let Some(vmi) = vmi.filter(|vmi| !is_final(vmi)) else {
        let message = format!(
            "no guest ran that could be saved, and none is started until: anyvirt resume {name}"
        );
        return told(false, "NothingSaved", message);
    };
    let conditions = vmi.status.as_ref().map(|status| &status.conditions);
    let failed = conditions.and_then(|all| condition::find(all, conditions::SAVED));
    match failed.filter(|it| it.status == "False") {
        Some(failed) => {
            let message = failed.message.clone().unwrap_or_default();
            told(false, "SaveFailed", message)
        }
        None => told(false, "Saving", "its guest is being saved".to_owned()),
    }
}
