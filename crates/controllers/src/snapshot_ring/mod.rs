//! Takes snapshots with memory of virtual machines that ask for it (`anyvirt.io/snapshot-ring: every=1m,keep=5`), and deletes
//! the oldest ones: machines and the snapshots of their rings in; snapshots out.

mod decide;
#[cfg(test)]
mod tests;

use crate::Settings;
use crate::change;
use crate::engine::{Engine, Next, Presence, gone_is_fine};
use crate::queue::Key;
use api::names::{annotations, labels};
use api::snapshot::VirtualMachineSnapshot;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use decide::{Action, decide};
use kube::api::{DeleteParams, PostParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt as _};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs until cancelled.
pub async fn run(client: Client, settings: Settings, cancel: CancellationToken) {
    let mut engine = Engine::new("snapshot_ring");
    let required = Presence::Required;
    let api = Api::<VirtualMachine>::all(client.clone());
    let vms = engine.watch(api, Config::default(), required, |vm| {
        let asks = vm.annotations().contains_key(annotations::SNAPSHOT_RING);
        asks.then(|| Key::of(vm)).into_iter().collect()
    });
    let api = Api::<VirtualMachineInstance>::all(client.clone());
    let known = vms.clone();
    let vmis = engine.watch(api, Config::default(), required, move |vmi| {
        let key = Key::of(vmi);
        let vm = known.get(&ObjectRef::new(&key.name).within(&key.namespace));
        let asks = vm.is_some_and(|vm| vm.annotations().contains_key(annotations::SNAPSHOT_RING));
        asks.then_some(key).into_iter().collect()
    });
    let api = Api::<VirtualMachineSnapshot>::all(client.clone());
    // Only those of rings.
    let config = Config::default().labels(labels::SNAPSHOT_RING);
    let snapshots = engine.watch(api, config, required, |snapshot| {
        let namespace = snapshot.namespace().unwrap_or_default();
        vec![Key::new(&namespace, &snapshot.spec.source.name)]
    });
    let rings = Arc::new(Rings {
        client,
        settings,
        vms,
        vmis,
        snapshots,
    });
    engine
        .run(cancel, move |key| look(Arc::clone(&rings), key))
        .await;
}

/// What this controller knows.
struct Rings {
    client: Client,
    settings: Settings,
    vms: Store<VirtualMachine>,
    vmis: Store<VirtualMachineInstance>,
    snapshots: Store<VirtualMachineSnapshot>,
}

async fn look(rings: Arc<Rings>, key: Key) -> kube::Result<Next> {
    let vm = rings
        .vms
        .get(&ObjectRef::new(&key.name).within(&key.namespace));
    let Some(vm) = vm else {
        return Ok(Next::OnChange);
    };
    let vmi = rings
        .vmis
        .get(&ObjectRef::new(&key.name).within(&key.namespace));
    let mut theirs = rings.snapshots.state();
    theirs.retain(|it| it.labels().get(labels::SNAPSHOT_RING) == vm.metadata.uid.as_ref());
    let now = rings.settings.clock.now();
    let (actions, next) = decide(&vm, vmi.as_deref(), &theirs, now);
    let api = change::api::<VirtualMachineSnapshot>(&rings.client, vm.as_ref());
    for action in actions {
        match action {
            Action::Take(snapshot) => {
                match api.create(&PostParams::default(), &snapshot).await {
                    // Taken a moment ago, and not yet seen.
                    Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                    taken => drop(taken?),
                }
            }
            Action::Delete(name) => {
                gone_is_fine(api.delete(&name, &DeleteParams::default()).await)?;
            }
        }
    }
    Ok(next)
}
