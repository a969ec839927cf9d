//! Keeps a virtual machine as its run strategy wants it: VirtualMachines and their instances in;
//! instances created and deleted, and the VMs' status, out.
//!
//! What differs from KubeVirt: there are no ControllerRevisions (the kind is not served). Whether a
//! template was changed since the start is known by a fingerprint on the instance instead. Nothing
//! of a template is updated in a living instance: every change waits for the next start, and says so
//! (`RestartRequired`). Except for what it says of emulation: an instance that waits for a node follows
//! that at once, since it may be just what it waits for.

mod decide;
mod instance;
mod perform;
mod status;
mod suspend;
#[cfg(test)]
mod tests;

pub(crate) use instance::{goes_on_as_asked, is_outdated, write_sorted};

use crate::Settings;
use crate::engine::{Engine, Next, Presence};
use crate::event::Recorder;
use crate::queue::Key;
use api::names::components::VIRTUAL_MACHINE_CONTROLLER;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt as _};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs until cancelled.
pub async fn run(client: Client, settings: Settings, cancel: CancellationToken) {
    let mut engine = Engine::new("virtual_machine");
    let clock = settings.clock.clone();
    let (recorder, record) = Recorder::new(client.clone(), VIRTUAL_MACHINE_CONTROLLER, clock);
    engine.beside(record);
    let vms = Api::<VirtualMachine>::all(client.clone());
    let vms = engine.watch(vms, Config::default(), Presence::Required, |vm| {
        vec![Key::of(vm)]
    });
    let vmis = Api::<VirtualMachineInstance>::all(client.clone());
    // An instance has the name of its machine.
    let vmis = engine.watch(vmis, Config::default(), Presence::Required, |vmi| {
        vec![Key::of(vmi)]
    });
    let machines = Arc::new(Machines {
        client,
        settings,
        recorder,
        vms,
        vmis,
    });
    engine
        .run(cancel, move |key| look(Arc::clone(&machines), key))
        .await;
}

/// What this controller knows.
struct Machines {
    client: Client,
    settings: Settings,
    recorder: Recorder,
    vms: Store<VirtualMachine>,
    vmis: Store<VirtualMachineInstance>,
}

async fn look(machines: Arc<Machines>, key: Key) -> kube::Result<Next> {
    let vm = machines
        .vms
        .get(&ObjectRef::new(&key.name).within(&key.namespace));
    let vmi = machines
        .vmis
        .get(&ObjectRef::new(&key.name).within(&key.namespace));
    let Some(vm) = vm else {
        // The VM is gone, by force or with its dependents orphaned: nobody else lets its instance go.
        if let Some(vmi) = vmi
            && vmi.metadata.deletion_timestamp.is_some()
            && decide::release(&vmi).is_some()
        {
            perform::release(&machines, &vmi).await?;
        }
        return Ok(Next::OnChange);
    };
    let clock = &machines.settings.clock;
    let decision = decide::decide(
        &vm,
        vmi.as_deref(),
        clock.now(),
        clock.random_up_to(u64::MAX),
    );
    perform::perform(&machines, &vm, vmi.as_deref(), &decision).await?;
    tracing::trace!(
        vm = vm.name_any(),
        actions = decision.actions.len(),
        "looked at"
    );
    Ok(decision.next)
}
