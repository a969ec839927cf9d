//! What must hold: always (safety, at every write), and at rest (liveness, once faults stop).

use std::collections::BTreeMap;

use api::accelerator::EmulationPolicy;
use api::virtual_machine::{PrintableStatus, RunStrategy, VirtualMachine, VirtualMachineStatus};
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use controllers::clock::Clock as _;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use store::{EventChange, Store, Watch};

use crate::cluster::Cluster;
use crate::world::{State, World};

/// Where the store has VMIs, and pods.
const INSTANCES: &str = "/registry/kubevirt.io/virtualmachineinstances/";
const PODS: &str = "/registry/core/pods/";

/// Sees every write in its order, and notes what must never be written. Ends with the store.
pub(crate) async fn watch(mut writes: Watch, world: World) {
    let mut phases: BTreeMap<String, Phase> = BTreeMap::new();
    let mut pods: BTreeMap<String, (String, bool)> = BTreeMap::new();
    while let Some(event) = writes.next().await {
        let Ok(event) = event else {
            world.wrong("the simulation itself is too slow to see every write".to_owned());
            return;
        };
        let key = event.key.to_string();
        match &event.change {
            EventChange::Put { value, .. } if key.starts_with(INSTANCES) => {
                match serde_json::from_slice(value) {
                    Ok(instance) => {
                        check_instance(&instance, &mut phases)
                            .into_iter()
                            .chain(check_claims(&instance, &world))
                            .for_each(|it| world.wrong(it));
                    }
                    Err(error) => world.wrong(format!("{key} is stored unreadable: {error}")),
                }
            }
            EventChange::Put { value, .. } if key.starts_with(PODS) => {
                if let Ok(pod) = serde_json::from_slice::<Pod>(value)
                    && let Some(owner) = pod.owner_references().first()
                {
                    pods.insert(key, (owner.uid.clone(), occupies(&pod)));
                    let of_owner = pods.values().filter(|it| **it == (owner.uid.clone(), true));
                    if of_owner.count() > 1 {
                        let name = &owner.name;
                        world.wrong(format!("{name}: one instance has two pods on the node"));
                    }
                }
            }
            EventChange::Delete if key.starts_with(PODS) => drop(pods.remove(&key)),
            EventChange::Put { .. } | EventChange::Delete => {}
        }
    }
}

/// Whether a pod is on the node and not over.
fn occupies(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
    let node = pod.spec.as_ref().and_then(|it| it.node_name.as_ref());
    node.is_some() && !matches!(phase, Some("Succeeded" | "Failed"))
}

fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Pending => 0,
        Phase::Scheduling => 1,
        Phase::Scheduled | Phase::Unknown | Phase::WaitingForSync => 2,
        Phase::Running => 3,
        Phase::Succeeded | Phase::Failed => 4,
    }
}

/// A VMI's life goes forward only, and ends in one way.
fn check_instance(
    instance: &VirtualMachineInstance,
    phases: &mut BTreeMap<String, Phase>,
) -> Option<String> {
    let phase = phase(instance);
    let before = phases.insert(instance.uid().unwrap_or_default(), phase)?;
    let back = rank(phase) < rank(before) || (before.is_final() && phase != before);
    back.then(|| {
        format!(
            "{}: its instance went from {before} to {phase}",
            instance.name_any()
        )
    })
}

/// A VMI's status claims no more than is.
fn check_claims(instance: &VirtualMachineInstance, world: &World) -> Option<String> {
    let name = instance.name_any();
    let uid = instance.uid().unwrap_or_default();
    let ran = world.ran(&uid);
    let status = instance.status.as_ref()?;
    if phase(instance) == Phase::Running && ran.is_none() {
        return Some(format!("{name}: called running before its guest ran"));
    }
    let claimed = status.accelerator.as_ref().map(|it| it.type_.clone());
    if claimed.is_some() && claimed != ran {
        return Some(format!("{name}: claims {claimed:?}, but runs on {ran:?}"));
    }
    let machine = world.machine(&uid);
    let runs = machine.is_some_and(|it| it.state == State::Running);
    (phase(instance).is_final() && runs)
        .then(|| format!("{name}: called {} while its guest runs", phase(instance)))
}

fn phase(instance: &VirtualMachineInstance) -> Phase {
    let status = instance.status.as_ref();
    status.and_then(|it| it.phase).unwrap_or(Phase::Pending)
}

fn printed(vm: &VirtualMachine) -> PrintableStatus {
    let status = vm.status.as_ref();
    status.map(|it| it.printable_status).unwrap_or_default()
}

/// A VM in a few words.
pub(crate) fn told(vm: &VirtualMachine) -> String {
    let strategy = vm.spec.run_strategy.clone().unwrap_or_default();
    format!("{} {strategy} {}", vm.name_any(), printed(vm))
}

/// Whether emulation is permitted for a VM with a policy of its own, if it has one: the switch by the
/// order of `docs/decisions/0003-who-wins-the-switch.md`, the VM before it, and the caps above both.
fn permits_software(cluster: &Cluster, own: Option<EmulationPolicy>) -> bool {
    // The places are ordered by who wins.
    let switch = cluster.switches.values().next().copied().unwrap_or(false);
    let wanted = own.map_or(switch, EmulationPolicy::permits_software);
    wanted && cluster.caps.values().all(|cap| cap.permits_software())
}

/// What is not as it should be when everybody has done their work.
pub(crate) async fn at_rest(cluster: &Cluster) -> kube::Result<Vec<String>> {
    let all = ListParams::default();
    let vms = cluster.api::<VirtualMachine>().list(&all).await?.items;
    let vmis = cluster
        .api::<VirtualMachineInstance>()
        .list(&all)
        .await?
        .items;
    let pods = cluster.api::<Pod>().list(&all).await?.items;
    let mut wrongs = Vec::new();
    for vm in &vms {
        let name = vm.name_any();
        let vmi = vmis.iter().find(|vmi| vmi.name_any() == name);
        wrongs.extend(machine_at_rest(cluster, vm, vmi));
    }
    for vmi in &vmis {
        let (name, uid) = (vmi.name_any(), vmi.uid());
        if !vms.iter().any(|vm| vm.name_any() == name) {
            wrongs.push(format!("{name}: its VM is gone, and its instance stays"));
        }
        let owned = |pod: &&Pod| {
            pod.owner_references()
                .iter()
                .any(|it| Some(&it.uid) == uid.as_ref())
        };
        let pods = pods.iter().filter(owned).count();
        if pods > 1 || (pods == 0 && !phase(vmi).is_final()) {
            wrongs.push(format!(
                "{name}: its instance, {}, has {pods} pods",
                phase(vmi)
            ));
        }
        let runs = uid.and_then(|uid| cluster.world.machine(&uid));
        let runs = runs.is_some_and(|it| it.state == State::Running);
        if runs != (phase(vmi) == Phase::Running) {
            let phase = phase(vmi);
            wrongs.push(format!(
                "{name}: called {phase}, and its guest runs: {runs}"
            ));
        }
    }
    for pod in &pods {
        let owner = pod.owner_references().first().map(|it| it.uid.clone());
        if !vmis.iter().any(|vmi| vmi.uid() == owner) {
            wrongs.push(format!(
                "{}: its instance is gone, and it stays",
                pod.name_any()
            ));
        }
    }
    for (uid, machine) in cluster.world.machines() {
        let vm = machine.vm;
        if !vmis.iter().any(|vmi| vmi.uid().as_ref() == Some(&uid)) {
            wrongs.push(format!(
                "{vm}: its instance is gone, and its launcher stays"
            ));
        }
    }
    Ok(wrongs)
}

/// What is not as it should be with one VM.
fn machine_at_rest(
    cluster: &Cluster,
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
) -> Option<String> {
    let name = vm.name_any();
    let wrong = |what: String| Some(format!("{name}: {what}"));
    if vm.metadata.deletion_timestamp.is_some() {
        return wrong("it was deleted, and stays".to_owned());
    }
    let status = vm.status.clone().unwrap_or_default();
    if !status.state_change_requests.is_empty() {
        return wrong(format!("open requests {:?}", status.state_change_requests));
    }
    if vmi.is_some_and(|vmi| vmi.metadata.deletion_timestamp.is_some()) {
        return wrong("its instance was deleted, and stays".to_owned());
    }
    let strategy = vm.spec.strategy();
    let wanted = cluster.wanted.get(&name).copied().flatten();
    // One that should run need not where its start was refused while everything came to rest.
    let wanted = wanted.filter(|runs| !runs || !cluster.world.was_refused(&name));
    let ended = vmi.is_some_and(|vmi| phase(vmi).is_final());
    let (may_run, may_not, may_end) = match (strategy, wanted) {
        (Some(RunStrategy::Always), _) => (true, false, false),
        (Some(RunStrategy::Halted), _) => (false, true, false),
        (Some(RunStrategy::Once), _) => (true, false, wanted != Some(true)),
        (Some(RunStrategy::Manual), Some(runs)) => (runs, !runs, !runs),
        (Some(RunStrategy::Manual), None) => (true, true, true),
        (Some(RunStrategy::RerunOnFailure), Some(runs)) => (runs, !runs, false),
        (Some(RunStrategy::RerunOnFailure), None) => (true, true, false),
        (None, _) => return wrong("no run strategy".to_owned()),
    };
    let is_as_wanted = match vmi {
        None => may_not,
        Some(_) if ended => may_end,
        Some(_) => may_run,
    };
    let strategy = strategy.map(|it| it.to_string()).unwrap_or_default();
    let state = vmi.map_or("no instance".to_owned(), |vmi| phase(vmi).to_string());
    if !is_as_wanted {
        return wrong(format!("{strategy}, wanted {wanted:?}, and {state}"));
    }
    let own = vm
        .spec
        .template
        .as_ref()
        .and_then(|it| it.spec.emulation_policy);
    let forbidden = !cluster.kvm && !permits_software(cluster, own);
    let expected = match vmi.map(phase) {
        // KubeVirt's word for a failed start, although `Once` starts no second time.
        Some(Phase::Failed) if strategy == "Once" && fails_to_start(&status) => {
            PrintableStatus::CrashLoopBackOff
        }
        // So does a VM whose instance was deleted by somebody after starts that failed.
        None if strategy == "RerunOnFailure" && fails_to_start(&status) => {
            PrintableStatus::CrashLoopBackOff
        }
        None | Some(Phase::Succeeded | Phase::Failed) => PrintableStatus::Stopped,
        Some(Phase::Running) => PrintableStatus::Running,
        Some(_) if forbidden => PrintableStatus::ErrorUnschedulable,
        // Nothing is in its way.
        Some(_) => PrintableStatus::Running,
    };
    if printed(vm) != expected {
        return wrong(format!(
            "{strategy}, {state}, forbidden: {forbidden}: prints {}, not {expected}: {:?}",
            printed(vm),
            (wanted, status.run_strategy, status.start_failure)
        ));
    }
    let ready = vmi.is_some_and(|vmi| phase(vmi) == Phase::Running);
    if (status.created, status.ready) != (Some(vmi.is_some()), Some(ready)) {
        return wrong(format!(
            "{state}: created {:?}, ready {:?}",
            status.created, status.ready
        ));
    }
    None
}

fn fails_to_start(status: &VirtualMachineStatus) -> bool {
    let failure = status.start_failure.as_ref();
    failure.and_then(|it| it.consecutive_fail_count) > Some(0)
}

/// Seconds until the controllers that run now want to try again what failed. Their timers are real, so
/// a time that has come for the clock meanwhile has not come for them.
pub(crate) async fn waits(cluster: &Cluster) -> kube::Result<Option<i64>> {
    let vms = cluster.api::<VirtualMachine>();
    let vms = vms.list(&ListParams::default()).await?.items;
    let now = cluster.clock.now();
    let retries = vms.iter().filter_map(|vm| {
        let failure = vm.status.as_ref()?.start_failure.as_ref()?;
        let at = failure.retry_after_timestamp.as_ref()?.0;
        let left = at.duration_since(now).as_secs().saturating_add(1);
        (at > cluster.controllers_began).then_some(left.max(0))
    });
    Ok(retries.max())
}

/// The keys written after a revision.
pub(crate) fn written(store: &Store, after: u64) -> Result<Vec<String>, store::StoreError> {
    let mut writes = store.watch("/registry/", after)?;
    let mut keys = Vec::new();
    while let Some(Ok(event)) = writes.try_next() {
        keys.push(event.key.to_string());
    }
    Ok(keys)
}
