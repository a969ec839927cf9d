//! Takes snapshots: VirtualMachineSnapshots, the machines they name and the contents that nodes fill in; contents, locks on
//! the machines, and the snapshots' status, out.

mod capture;
mod decide;
mod perform;
#[cfg(test)]
mod tests;

pub(crate) use capture::content_name;

use crate::Settings;
use crate::engine::{Engine, Next, Presence, Stands};
use crate::event::Recorder;
use crate::queue::Key;
use crate::waiting::Waiting;
use api::names::components::SNAPSHOT_CONTROLLER;
use api::snapshot::{VirtualMachineSnapshot, VirtualMachineSnapshotContent};
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use decide::{Seen, decide, is_over};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt as _};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs until cancelled.
pub async fn run(client: Client, settings: Settings, cancel: CancellationToken) {
    let mut engine = Engine::new("snapshot");
    let clock = settings.clock.clone();
    let (recorder, record) = Recorder::new(client.clone(), SNAPSHOT_CONTROLLER, clock);
    engine.beside(record);
    let (config, required) = (Config::default, Presence::Required);
    // Who is over waits for its machine only as long as that is locked, which its own last look undoes.
    let waiting = Waiting::default();
    let noted = waiting.clone();
    let api = Api::<VirtualMachineSnapshot>::all(client.clone());
    let snapshots = engine.watch_told(api, config(), required, move |snapshot, stands| {
        let source = Key::new(
            &snapshot.namespace().unwrap_or_default(),
            &snapshot.spec.source.name,
        );
        let waits = stands == Stands::There && !is_over(snapshot);
        noted.note(source, Key::of(snapshot), waits);
        vec![Key::of(snapshot)]
    });
    let api = Api::<VirtualMachineSnapshotContent>::all(client.clone());
    let contents = engine.watch(api, config(), required, |content| {
        let namespace = content.namespace().unwrap_or_default();
        let name = content.spec.virtual_machine_snapshot_name.as_deref();
        name.map(|name| Key::new(&namespace, name))
            .into_iter()
            .collect()
    });
    let api = Api::<VirtualMachine>::all(client.clone());
    let by_machine = waiting.clone();
    let vms = engine.watch(api, config(), required, move |vm| {
        by_machine.of(&Key::of(vm))
    });
    let api = Api::<VirtualMachineInstance>::all(client.clone());
    let vmis = engine.watch(api, config(), required, move |vmi| {
        waiting.of(&Key::of(vmi))
    });
    let controller = Arc::new(Controller {
        client,
        settings,
        recorder,
        snapshots,
        contents,
        vms,
        vmis,
    });
    engine
        .run(cancel, move |key| look(Arc::clone(&controller), key))
        .await;
}

/// What this controller knows.
struct Controller {
    client: Client,
    settings: Settings,
    recorder: Recorder,
    snapshots: Store<VirtualMachineSnapshot>,
    contents: Store<VirtualMachineSnapshotContent>,
    vms: Store<VirtualMachine>,
    vmis: Store<VirtualMachineInstance>,
}

async fn look(controller: Arc<Controller>, key: Key) -> kube::Result<Next> {
    let namespace = &key.namespace;
    let snapshot = controller
        .snapshots
        .get(&ObjectRef::new(&key.name).within(namespace));
    let Some(snapshot) = snapshot else {
        perform::let_contents_go(&controller, &key).await?;
        return Ok(Next::OnChange);
    };
    let named = |name: &str| ObjectRef::new(name).within(namespace);
    let content = controller
        .contents
        .get(&ObjectRef::new(&content_name(&snapshot)).within(namespace));
    let source = &snapshot.spec.source.name;
    let vm = controller.vms.get(&named(source));
    let vmi = controller
        .vmis
        .get(&ObjectRef::new(source).within(namespace));
    let seen = Seen {
        snapshot: &snapshot,
        content: content.as_deref(),
        vm: vm.as_deref(),
        vmi: vmi.as_deref(),
    };
    let decision = decide(&seen, controller.settings.clock.now());
    perform::perform(&controller, &seen, &decision).await?;
    Ok(decision.next)
}
