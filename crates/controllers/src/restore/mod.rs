//! Makes virtual machines what snapshots have: VirtualMachineRestores, the snapshots and machines that they name in; machines
//! written and created, and the restores' status, out. With memory the machine's next instance goes on from there
//! (`anyvirt.io/resume-from`), and the restore is complete when it runs.

mod decide;
mod machine;
mod perform;
#[cfg(test)]
mod tests;

use crate::Settings;
use crate::engine::{Engine, Next, Presence, Stands};
use crate::event::Recorder;
use crate::queue::Key;
use crate::snapshot::content_name;
use crate::waiting::Waiting;
use api::names::annotations;
use api::names::components::RESTORE_CONTROLLER;
use api::snapshot::{VirtualMachineRestore, VirtualMachineSnapshot, VirtualMachineSnapshotContent};
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use decide::{Seen, decide, is_over};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt as _};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs until cancelled.
pub async fn run(client: Client, settings: Settings, cancel: CancellationToken) {
    let mut engine = Engine::new("restore");
    let clock = settings.clock.clone();
    let (recorder, record) = Recorder::new(client.clone(), RESTORE_CONTROLLER, clock);
    engine.beside(record);
    let (config, required) = (Config::default, Presence::Required);
    let (for_machines, for_snapshots) = (Waiting::default(), Waiting::default());
    let (machines, snapshots) = (for_machines.clone(), for_snapshots.clone());
    let api = Api::<VirtualMachineRestore>::all(client.clone());
    let restores = engine.watch_told(api, config(), required, move |restore, stands| {
        let namespace = restore.namespace().unwrap_or_default();
        let waits = stands == Stands::There && !is_over(restore);
        let target = Key::new(&namespace, &restore.spec.target.name);
        machines.note(target, Key::of(restore), waits);
        let snapshot = Key::new(&namespace, &restore.spec.virtual_machine_snapshot_name);
        snapshots.note(snapshot, Key::of(restore), waits);
        vec![Key::of(restore)]
    });
    let api = Api::<VirtualMachineSnapshot>::all(client.clone());
    let by_snapshot = for_snapshots.clone();
    let snapshots = engine.watch(api, config(), required, move |snapshot| {
        by_snapshot.of(&Key::of(snapshot))
    });
    let api = Api::<VirtualMachineSnapshotContent>::all(client.clone());
    let contents = engine.watch(api, config(), required, move |content| {
        let namespace = content.namespace().unwrap_or_default();
        let name = content.spec.virtual_machine_snapshot_name.as_deref();
        name.map(|name| for_snapshots.of(&Key::new(&namespace, name)))
            .unwrap_or_default()
    });
    let api = Api::<VirtualMachine>::all(client.clone());
    let by_machine = for_machines.clone();
    let vms = engine.watch(api, config(), required, move |vm| {
        by_machine.of(&Key::of(vm))
    });
    let api = Api::<VirtualMachineInstance>::all(client.clone());
    let vmis = engine.watch(api, config(), required, move |vmi| {
        for_machines.of(&Key::of(vmi))
    });
    let waiting = restores.clone();
    // Those that wait for a node that goes.
    let nodes = engine.watch_told(
        Api::<Node>::all(client.clone()),
        config(),
        required,
        move |_, stands| {
            if stands == Stands::There {
                return Vec::new();
            }
            let open = waiting.state_filter(|restore| !is_over(restore));
            open.iter().map(|restore| Key::of(&**restore)).collect()
        },
    );
    let controller = Arc::new(Controller {
        client,
        settings,
        recorder,
        restores,
        snapshots,
        contents,
        vms,
        vmis,
        nodes,
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
    restores: Store<VirtualMachineRestore>,
    snapshots: Store<VirtualMachineSnapshot>,
    contents: Store<VirtualMachineSnapshotContent>,
    vms: Store<VirtualMachine>,
    vmis: Store<VirtualMachineInstance>,
    nodes: Store<Node>,
}

async fn look(controller: Arc<Controller>, key: Key) -> kube::Result<Next> {
    let namespace = &key.namespace;
    let named = ObjectRef::new(&key.name).within(namespace);
    let Some(restore) = controller.restores.get(&named) else {
        return Ok(Next::OnChange);
    };
    let name = &restore.spec.virtual_machine_snapshot_name;
    let snapshot = controller
        .snapshots
        .get(&ObjectRef::new(name).within(namespace));
    let content = snapshot.as_deref().and_then(|snapshot| {
        let name = ObjectRef::new(&content_name(snapshot)).within(namespace);
        controller.contents.get(&name)
    });
    let target = &restore.spec.target.name;
    let vm = controller
        .vms
        .get(&ObjectRef::new(target).within(namespace));
    let vmi = controller
        .vmis
        .get(&ObjectRef::new(target).within(namespace));
    let memory = content.as_deref().and_then(|it| it.spec.memory.as_ref());
    let asked = vm
        .as_deref()
        .and_then(|vm| vm.annotations().get(annotations::RESUME_NODE));
    let node = memory.map(|it| &it.node_name).or(asked);
    let gone = node.filter(|name| controller.nodes.get(&ObjectRef::new(name)).is_none());
    let seen = Seen {
        restore: &restore,
        snapshot: snapshot.as_deref(),
        content: content.as_deref(),
        vm: vm.as_deref(),
        vmi: vmi.as_deref(),
        gone: gone.map(String::as_str),
    };
    let decision = decide(&seen, controller.settings.clock.now());
    perform::perform(&controller, &seen, &decision).await?;
    Ok(decision.next)
}
