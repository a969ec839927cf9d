//! Keeps as many machines of one template as a pool wants: VirtualMachinePools, machines and their instances in; machines
//! made, deleted, changed and restarted, and the pools' status, out.
//!
//! What differs from KubeVirt: there are no ControllerRevisions (the kind is not served); which state of the template a
//! machine and its instance are of is a fingerprint in the same label. A machine is restarted as people restart it, so that
//! it runs again whatever its run strategy. Machines that nobody controls are adopted if their names are this pool's. A
//! machine that is suspended, or of which a snapshot is taken, is changed when that is over.

mod decide;
mod machine;
mod perform;
mod status;
#[cfg(test)]
mod tests;

use crate::Settings;
use crate::engine::{Engine, Next, Presence};
use crate::event::Recorder;
use crate::queue::Key;
use api::names::{POOL_GROUP, components::POOL_CONTROLLER};
use api::pool::{VirtualMachinePool, pool_and_index};
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use decide::{Seen, controller, decide};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt as _};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// Runs until cancelled.
pub async fn run(client: Client, settings: Settings, cancel: CancellationToken) {
    let mut engine = Engine::new("pool");
    let clock = settings.clock.clone();
    let (recorder, record) = Recorder::new(client.clone(), POOL_CONTROLLER, clock);
    engine.beside(record);
    let required = Presence::Required;
    let api = Api::<VirtualMachinePool>::all(client.clone());
    let all = engine.watch(api, Config::default(), required, |pool| vec![Key::of(pool)]);
    let api = Api::<VirtualMachine>::all(client.clone());
    let machines = engine.watch(api, Config::default(), required, pools_of);
    let api = Api::<VirtualMachineInstance>::all(client.clone());
    let known = machines.clone();
    // An instance has the name of its machine.
    let instances = engine.watch(api, Config::default(), required, move |vmi| {
        let key = Key::of(vmi);
        let vm = known.get(&ObjectRef::new(&key.name).within(&key.namespace));
        vm.as_deref().map(pools_of).unwrap_or_default()
    });
    let pools = Arc::new(Pools {
        client,
        settings,
        recorder,
        all,
        machines,
        instances,
        doomed: Mutex::default(),
    });
    engine
        .run(cancel, move |key| look(Arc::clone(&pools), key))
        .await;
}

/// The pool that controls a machine, and the one whose name it has.
fn pools_of(vm: &VirtualMachine) -> Vec<Key> {
    let namespace = vm.namespace().unwrap_or_default();
    let group = format!("{POOL_GROUP}/");
    let owner = controller(vm)
        .filter(|it| it.kind == "VirtualMachinePool" && it.api_version.starts_with(&group));
    let name = vm.name_any();
    let named = pool_and_index(&name).map(|(pool, _)| pool);
    let keys = [owner.map(|it| it.name.as_str()), named];
    let keys: BTreeSet<&str> = keys.into_iter().flatten().collect();
    keys.into_iter()
        .map(|name| Key::new(&namespace, name))
        .collect()
}

/// What this controller knows.
struct Pools {
    client: Client,
    settings: Settings,
    recorder: Recorder,
    all: Store<VirtualMachinePool>,
    machines: Store<VirtualMachine>,
    instances: Store<VirtualMachineInstance>,
    /// UIDs of machines that were deleted, by pool, until that is seen: at most as many as there are machines.
    doomed: Mutex<BTreeMap<Key, BTreeSet<String>>>,
}

impl Pools {
    /// Remembers that a machine was deleted.
    fn doom(&self, pool: &VirtualMachinePool, uid: &str) {
        let mut doomed = self.doomed.lock().unwrap_or_else(PoisonError::into_inner);
        doomed
            .entry(Key::of(pool))
            .or_default()
            .insert(uid.to_owned());
    }

    /// The machines of the pool that were deleted, and still look as if they stayed.
    fn doomed(&self, pool: &Key, machines: &[Arc<VirtualMachine>]) -> BTreeSet<String> {
        let stay = machines
            .iter()
            .filter(|vm| vm.metadata.deletion_timestamp.is_none());
        let stay: BTreeSet<String> = stay.filter_map(|vm| vm.uid()).collect();
        let mut all = self.doomed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(doomed) = all.get_mut(pool) else {
            return BTreeSet::new();
        };
        doomed.retain(|uid| stay.contains(uid));
        let doomed = doomed.clone();
        if doomed.is_empty() {
            all.remove(pool);
        }
        doomed
    }
}

async fn look(pools: Arc<Pools>, key: Key) -> kube::Result<Next> {
    let pool = pools
        .all
        .get(&ObjectRef::new(&key.name).within(&key.namespace));
    let Some(pool) = pool else {
        let mut doomed = pools.doomed.lock().unwrap_or_else(PoisonError::into_inner);
        doomed.remove(&key);
        return Ok(Next::OnChange);
    };
    let mut machines = pools.machines.state();
    machines.retain(|vm| vm.metadata.namespace.as_deref() == Some(&key.namespace));
    let theirs = machines.iter().filter_map(|vm| {
        let instance = ObjectRef::new(&vm.name_any()).within(&key.namespace);
        Some((vm.name_any(), pools.instances.get(&instance)?))
    });
    let instances: BTreeMap<String, Arc<VirtualMachineInstance>> = theirs.collect();
    let doomed = pools.doomed(&key, &machines);
    let seen = Seen {
        pool: &pool,
        machines: &machines,
        instances: &instances,
        doomed: &doomed,
    };
    let decision = decide(&seen).map_err(kube::Error::SerdeError)?;
    tracing::trace!(pool = %key, actions = decision.actions.len(), "looked at");
    perform::perform(&pools, &pool, decision).await?;
    Ok(Next::OnChange)
}
