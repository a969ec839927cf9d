use super::decide::{Action, BURST, Decision, Seen, decide};
use super::machine::{Revisions, change, machine};
use super::status::{Failure, status};
use api::pool::VirtualMachinePool;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use jiff::Timestamp;
use kube::ResourceExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const REVISION: &str = "kubevirt.io/vm-pool-revision-name";

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn pool(replicas: u32, change: impl FnOnce(&mut Value)) -> VirtualMachinePool {
    let mut pool = json!({
        "apiVersion": "pool.kubevirt.io/v1beta1", "kind": "VirtualMachinePool",
        "metadata": { "name": "web", "namespace": "ns", "uid": "pool-uid" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "pool": "web" } },
            "virtualMachineTemplate": {
                "metadata": { "labels": { "pool": "web" } },
                "spec": { "runStrategy": "Always", "template": {
                    "spec": { "domain": { "devices": {}, "memory": { "guest": "64Mi" } } } } },
            },
        },
    });
    change(&mut pool);
    serde_json::from_value(pool).unwrap()
}

/// How a machine of a table stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// Its guest is ready.
    Ready,
    /// Its guest starts.
    Starts,
    /// It is off.
    Off,
    /// It is suspended.
    Suspended,
    /// It is being deleted.
    Goes,
}

use Stands::{Goes, Off, Ready, Starts, Suspended};

/// A namespace.
#[derive(Debug, Clone)]
struct World {
    pool: VirtualMachinePool,
    machines: Vec<Arc<VirtualMachine>>,
    instances: BTreeMap<String, Arc<VirtualMachineInstance>>,
    doomed: BTreeSet<String>,
    made: u32,
}

impl World {
    fn new(pool: VirtualMachinePool) -> Self {
        Self {
            pool,
            machines: Vec::new(),
            instances: BTreeMap::new(),
            doomed: BTreeSet::new(),
            made: 0,
        }
    }

    /// With machines of the pool as it is now, from index 0 on.
    fn with(pool: VirtualMachinePool, all: &[Stands]) -> Self {
        let mut world = Self::new(pool);
        let revisions = Revisions::of(&world.pool);
        for (index, stands) in all.iter().enumerate() {
            world.add(machine(&world.pool, index, &revisions), *stands);
        }
        world
    }

    fn add(&mut self, mut vm: VirtualMachine, stands: Stands) {
        self.made += 1;
        vm.metadata.uid = Some(format!("uid-{}", self.made));
        let made = format!(
            "2026-11-23T11:{:02}:{:02}Z",
            self.made / 60 % 60,
            self.made % 60
        );
        vm.metadata.creation_timestamp = serde_json::from_value(json!(made)).unwrap();
        match stands {
            Ready | Starts => self.start(&vm, stands),
            Off => {}
            Suspended => {
                vm.annotations_mut()
                    .insert("anyvirt.io/suspended".into(), "true".into());
            }
            Goes => go(&mut vm),
        }
        self.machines.push(Arc::new(vm));
    }

    fn start(&mut self, vm: &VirtualMachine, stands: Stands) {
        let template = vm.spec.template.as_ref().unwrap();
        let labels = template.metadata.as_ref().and_then(|it| it.labels.clone());
        let status = match stands {
            Ready => {
                json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] })
            }
            _ => json!({ "phase": "Scheduling" }),
        };
        let owner = json!({ "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "controller": true,
            "name": vm.name_any(), "uid": vm.uid() });
        let vmi = json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": { "name": vm.name_any(), "namespace": "ns", "uid": format!("{}-i", vm.uid().unwrap()),
                "labels": labels, "ownerReferences": [owner] },
            "spec": template.spec, "status": status,
        });
        let vmi = serde_json::from_value(vmi).unwrap();
        self.instances.insert(vm.name_any(), Arc::new(vmi));
    }

    fn look(&self) -> Decision {
        let seen = Seen {
            pool: &self.pool,
            machines: &self.machines,
            instances: &self.instances,
            doomed: &self.doomed,
        };
        decide(&seen).unwrap()
    }

    /// What is decided, in short.
    fn told(&self) -> String {
        let actions = self.look().actions;
        let told = actions.iter().map(|action| match action {
            Action::Release(vm) => format!("release {}", vm.name_any()),
            Action::Adopt(vm) => format!("adopt {}", vm.name_any()),
            Action::Create(vm) => format!("create {}", vm.name_any()),
            Action::Delete(vm) => format!("delete {}", vm.name_any()),
            Action::Change(vm, _) => format!("change {}", vm.name_any()),
            Action::Restart(vm, _) => format!("restart {}", vm.name_any()),
        });
        told.collect::<Vec<_>>().join(", ")
    }

    fn edit(&mut self, at: usize, edit: impl FnOnce(&mut VirtualMachine)) {
        edit(Arc::make_mut(&mut self.machines[at]));
    }

    fn edit_pool(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut pool = serde_json::to_value(&self.pool).unwrap();
        edit(&mut pool);
        self.pool = serde_json::from_value(pool).unwrap();
    }
}

fn go(vm: &mut VirtualMachine) {
    vm.metadata.deletion_timestamp = serde_json::from_value(json!("2026-11-23T11:59:00Z")).unwrap();
}

fn guest_memory(pool: &mut Value, memory: &str) {
    let template = &mut pool["spec"]["virtualMachineTemplate"]["spec"]["template"];
    template["spec"]["domain"]["memory"]["guest"] = json!(memory);
}

#[test]
fn a_pool_makes_the_lowest_free_names_and_deletes_as_it_is_told() {
    let sorted = |policy: &'static str| {
        move |pool: &mut Value| {
            pool["spec"]["scaleInStrategy"] =
                json!({ "proactive": { "selectionPolicy": { "sortPolicy": policy } } });
        }
    };
    let plain = |_: &mut Value| {};
    for (world, actions) in [
        (
            World::with(pool(2, plain), &[]),
            "create web-0, create web-1",
        ),
        (World::with(pool(0, plain), &[]), ""),
        (World::with(pool(2, plain), &[Ready, Off]), ""),
        // One that goes still counts: its name is free, and its resources are, when it is gone.
        (World::with(pool(2, plain), &[Ready, Goes]), ""),
        (World::with(pool(3, plain), &[Ready, Goes]), "create web-2"),
        (World::with(pool(1, plain), &[Ready, Goes]), ""),
        (
            World::with(pool(1, plain), &[Ready, Off, Starts]),
            "delete web-1, delete web-2",
        ),
        (
            World::with(pool(2, plain), &[Suspended, Ready, Starts]),
            "delete web-2",
        ),
        (
            World::with(pool(1, plain), &[Ready, Off, Goes]),
            "delete web-1",
        ),
        (
            World::with(pool(1, sorted("AscendingOrder")), &[Ready; 3]),
            "delete web-0, delete web-1",
        ),
        (
            World::with(pool(1, sorted("DescendingOrder")), &[Ready; 3]),
            "delete web-2, delete web-1",
        ),
        (
            World::with(pool(2, sorted("Newest")), &[Ready; 3]),
            "delete web-2",
        ),
        (
            World::with(pool(2, sorted("Oldest")), &[Ready; 3]),
            "delete web-0",
        ),
        (
            World::with(
                pool(1, |pool| {
                    pool["spec"]["scaleInStrategy"] = json!({ "unmanaged": {} })
                }),
                &[Ready; 3],
            ),
            "",
        ),
        (
            World::with(
                pool(1, |pool| {
                    pool["spec"]["scaleInStrategy"] = json!({ "opportunistic": {} })
                }),
                &[Off; 3],
            ),
            "",
        ),
        (
            World::with(
                pool(3, |pool| pool["spec"]["paused"] = json!(true)),
                &[Ready],
            ),
            "",
        ),
        (
            World::with(
                pool(3, |pool| {
                    pool["metadata"]["deletionTimestamp"] = json!("2026-11-23T12:00:00Z")
                }),
                &[Ready],
            ),
            "",
        ),
    ] {
        assert_eq!(world.told(), actions, "{:?}", world.pool.spec);
    }
    let many = World::with(pool(1000, plain), &[]).look().actions.len();
    assert_eq!(many, BURST);
    let many = World::with(pool(0, plain), &[Off; 300])
        .look()
        .actions
        .len();
    assert_eq!(many, BURST);
}

#[test]
fn what_was_deleted_and_is_not_seen_yet_counts_as_going() {
    let mut world = World::with(pool(2, |_| {}), &[Off, Off, Off]);
    let decision = world.look();
    let [Action::Delete(first)] = decision.actions.as_slice() else {
        panic!("{decision:?}");
    };
    let uid = first.uid().unwrap();
    world.doomed.insert(uid);
    assert_eq!(world.told(), "");
}

#[test]
fn machines_are_the_pools_by_owner_and_label_and_orphans_by_name_too() {
    let mut world = World::with(pool(2, |_| {}), &[Ready, Ready]);
    // Who takes the label away takes the machine out, and another one takes its place.
    world.edit(1, |vm| drop(vm.labels_mut().remove("pool")));
    assert_eq!(world.told(), "release web-1, create web-2");
    assert_eq!(world.look().members.len(), 1);
    // It comes back by its label.
    world.edit(1, |vm| vm.metadata.owner_references = None);
    assert_eq!(world.told(), "create web-2");
    world.edit(1, |vm| {
        drop(vm.labels_mut().insert("pool".into(), "web".into()))
    });
    assert_eq!(world.told(), "adopt web-1");
    // Not under another name, not if somebody else controls it, not if it goes.
    let own = world.clone();
    world.edit(1, |vm| vm.metadata.name = Some("other-1".into()));
    assert_eq!(world.told(), "create web-1");
    world = own.clone();
    world.edit(1, |vm| {
        let mut owner = vm.owner_references().to_vec();
        owner.push(serde_json::from_value(json!({ "apiVersion": "a/v1", "kind": "B", "name": "c", "uid": "d", "controller": true })).unwrap());
        vm.metadata.owner_references = Some(owner);
    });
    assert_eq!(world.told(), "create web-2");
    world = own.clone();
    world.edit(1, go);
    assert_eq!(world.told(), "create web-2");
    // Paused, machines come and go by hand.
    world = own;
    world.edit_pool(|pool| pool["spec"]["paused"] = json!(true));
    assert_eq!(world.told(), "adopt web-1");
    world.edit_pool(|pool| pool["metadata"]["deletionTimestamp"] = json!("2026-11-23T12:00:00Z"));
    assert_eq!(world.told(), "");
}

#[test]
fn a_pool_whose_own_machines_it_would_let_go_makes_none() {
    let revision = json!({ "matchExpressions": [{ "key": REVISION, "operator": "DoesNotExist" }] });
    let world = World::with(pool(2, |pool| pool["spec"]["selector"] = revision), &[]);
    assert_eq!(world.told(), "");
}

/// A pool with these machines, whose template's memory was changed since they were made and started.
fn outdated(replicas: u32, all: &[Stands], change: impl FnOnce(&mut Value)) -> World {
    let mut world = World::with(pool(replicas, change), all);
    world.edit_pool(|pool| guest_memory(pool, "96Mi"));
    world
}

/// The same after the machines were changed.
fn changed(replicas: u32, all: &[Stands], change: impl FnOnce(&mut Value)) -> World {
    let mut world = outdated(replicas, all, change);
    let revisions = Revisions::of(&world.pool);
    let pool = world.pool.clone();
    for (index, vm) in world.machines.iter_mut().enumerate() {
        let vm = Arc::make_mut(vm);
        let wanted = machine(&pool, index, &revisions);
        vm.metadata.labels = wanted.metadata.labels;
        vm.spec = wanted.spec;
    }
    world
}

#[test]
fn a_changed_template_changes_machines_and_restarts_as_many_as_may_be_unavailable() {
    let plain = |_: &mut Value| {};
    let two = |pool: &mut Value| pool["spec"]["maxUnavailable"] = json!(2);
    let ordered = |pool: &mut Value| {
        pool["spec"]["maxUnavailable"] = json!(2);
        pool["spec"]["updateStrategy"] =
            json!({ "proactive": { "selectionPolicy": { "sortPolicy": "DescendingOrder" } } });
    };
    let strategy = |name: &'static str| {
        move |pool: &mut Value| pool["spec"]["updateStrategy"] = json!({ name: {} })
    };
    let runs = |name: &'static str| {
        move |pool: &mut Value| {
            pool["spec"]["virtualMachineTemplate"]["spec"]["runStrategy"] = json!(name)
        }
    };
    for (world, actions) in [
        (
            outdated(3, &[Ready, Off, Starts], plain),
            "change web-0, change web-1, change web-2",
        ),
        (outdated(2, &[Ready, Off], strategy("unmanaged")), ""),
        (
            outdated(2, &[Ready, Off], strategy("opportunistic")),
            "change web-0, change web-1",
        ),
        (changed(2, &[Ready, Off], strategy("opportunistic")), ""),
        // What is saved would not go on as another machine; what goes need not change.
        (
            outdated(3, &[Suspended, Goes, Ready], plain),
            "change web-2",
        ),
        (changed(3, &[Ready, Off, Ready], ordered), "restart web-2"),
        (
            changed(4, &[Ready; 4], ordered),
            "restart web-3, restart web-2",
        ),
        // Who is not ready is restarted anyway.
        (
            changed(4, &[Starts, Starts, Starts, Ready], ordered),
            "restart web-2, restart web-1, restart web-0",
        ),
        (changed(1, &[Ready], runs("Once")), ""),
        (changed(1, &[Ready], runs("Halted")), ""),
        (
            changed(1, &[Ready], runs("RerunOnFailure")),
            "restart web-0",
        ),
        // How many there are comes first.
        (outdated(2, &[Ready], plain), "create web-1"),
    ] {
        assert_eq!(world.told(), actions, "{:?}", world.pool.spec);
    }
    assert_eq!(changed(4, &[Ready; 4], two).look().actions.len(), 2);
    assert_eq!(changed(4, &[Ready; 4], plain).look().actions.len(), 4);
    let mut world = changed(1, &[Ready], plain);
    let requests = json!({ "stateChangeRequests": [{ "action": "Stop" }] });
    world.edit(0, |vm| {
        vm.status = serde_json::from_value(requests).unwrap()
    });
    assert_eq!(world.told(), "");
}

#[test]
fn only_what_an_instance_is_made_of_needs_a_restart() {
    let before = Revisions::of(&pool(2, |_| {}));
    let with = |at: &str, value: Value| {
        let revisions = Revisions::of(&pool(2, |pool| {
            let mut node = pool;
            for step in at.split('/').skip(1) {
                node = &mut node[step];
            }
            *node = value;
        }));
        (
            revisions.machine != before.machine,
            revisions.instance != before.instance,
        )
    };
    let template = "/spec/virtualMachineTemplate";
    for (at, value, told) in [
        ("/spec/replicas".to_owned(), json!(9), (false, false)),
        ("/spec/paused".to_owned(), json!(true), (false, false)),
        (
            format!("{template}/metadata/labels/a"),
            json!("b"),
            (true, false),
        ),
        (
            format!("{template}/spec/runStrategy"),
            json!("Manual"),
            (true, false),
        ),
        (
            format!("{template}/spec/template/metadata/labels/a"),
            json!("b"),
            (true, true),
        ),
        (
            format!("{template}/spec/template/spec/hostname"),
            json!("a"),
            (true, true),
        ),
        (
            "/metadata/annotations".to_owned(),
            json!({ "anyvirt.io/warm-start": "Auto" }),
            (true, false),
        ),
        (
            "/metadata/annotations".to_owned(),
            json!({ "note": "Auto" }),
            (false, false),
        ),
    ] {
        assert_eq!(with(&at, value.clone()), told, "{at} {value}");
    }
    let long = pool(1, |pool| {
        pool["metadata"]["name"] = json!("a-".repeat(60) + "b")
    });
    let revision = Revisions::of(&long).machine;
    assert!(
        revision.len() <= 63 && !revision.contains("--"),
        "{revision}"
    );
}

#[test]
fn a_machine_is_of_its_pool_and_of_its_index() {
    let pool = pool(2, |pool| {
        pool["metadata"]["annotations"] = json!({ "anyvirt.io/warm-start": "Auto" });
        pool["spec"]["nameGeneration"] = json!({ "appendIndexToSecretRefs": true });
        let template = &mut pool["spec"]["virtualMachineTemplate"]["spec"]["template"];
        template["spec"]["volumes"] = json!([{ "name": "seed", "cloudInitNoCloud": {
            "secretRef": { "name": "user" }, "networkDataSecretRef": { "name": "net" } } }]);
    });
    let revisions = Revisions::of(&pool);
    let vm = serde_json::to_value(machine(&pool, 7, &revisions)).unwrap();
    assert_eq!(vm["metadata"]["name"], "web-7");
    assert_eq!(
        vm["metadata"]["labels"],
        json!({ "pool": "web", REVISION: revisions.machine })
    );
    let owner = json!({ "apiVersion": "pool.kubevirt.io/v1beta1", "kind": "VirtualMachinePool", "name": "web",
        "uid": "pool-uid", "controller": true, "blockOwnerDeletion": true });
    assert_eq!(vm["metadata"]["ownerReferences"], json!([owner]));
    let template = &vm["spec"]["template"];
    assert_eq!(
        template["metadata"]["labels"],
        json!({ REVISION: revisions.instance })
    );
    assert_eq!(
        template["metadata"]["annotations"],
        json!({ "anyvirt.io/warm-start": "Auto",
            "anyvirt.io/warm-start-decided-by": "VirtualMachinePool ns/web annotation anyvirt.io/warm-start" })
    );
    let seed = &template["spec"]["volumes"][0]["cloudInitNoCloud"];
    assert_eq!(seed["secretRef"]["name"], "user-7");
    assert_eq!(seed["networkDataSecretRef"]["name"], "net-7");
    let mut says = serde_json::to_value(&pool).unwrap();
    let own = json!({ "annotations": { "anyvirt.io/warm-start": "Never" } });
    says["spec"]["virtualMachineTemplate"]["spec"]["template"]["metadata"] = own.clone();
    let says: VirtualMachinePool = serde_json::from_value(says).unwrap();
    let vm = serde_json::to_value(machine(&says, 0, &revisions)).unwrap();
    assert_eq!(
        vm["spec"]["template"]["metadata"]["annotations"],
        own["annotations"]
    );
}

#[test]
fn a_changed_machine_stays_who_it_is() {
    let mut old = machine(&pool(1, |_| {}), 0, &Revisions::of(&pool(1, |_| {})));
    old.labels_mut().insert("mine".into(), "gone".into());
    old.annotations_mut().insert("note".into(), "stays".into());
    let mut vm = serde_json::to_value(&old).unwrap();
    let template = &mut vm["spec"]["template"];
    template["spec"]["domain"]["firmware"] = json!({ "uuid": "u", "serial": "s" });
    template["metadata"]["annotations"] =
        json!({ "anyvirt.io/generated-firmware-identity": "u s" });
    let vm: VirtualMachine = serde_json::from_value(vm).unwrap();
    let new = pool(1, |pool| {
        guest_memory(pool, "96Mi");
        pool["spec"]["virtualMachineTemplate"]["metadata"]["annotations"] = json!({ "a": "b" });
    });
    let revisions = Revisions::of(&new);
    let change = change(&vm, machine(&new, 0, &revisions)).unwrap();
    let expected = json!({
        "metadata": {
            "labels": { "mine": null, REVISION: revisions.machine },
            "annotations": { "a": "b" },
        },
        "spec": { "template": {
            "metadata": { "labels": { REVISION: revisions.instance } },
            "spec": { "domain": { "memory": { "guest": "96Mi" } } },
        } },
    });
    assert_eq!(change, expected);
}

#[test]
fn a_pool_says_how_many_it_has_that_it_rests_and_what_fails() {
    let mut world = World::with(pool(3, |_| {}), &[Ready, Ready, Off]);
    let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
    world.edit(0, |vm| vm.status = serde_json::from_value(ready).unwrap());
    let tell = |world: &World, failure: Option<&Failure>| {
        let decision = world.look();
        let (status, facts) = status(&world.pool, &decision.members, failure, now());
        let reasons: Vec<&str> = facts.iter().map(|fact| fact.reason).collect();
        (serde_json::to_value(status).unwrap(), reasons.join(" "))
    };
    let (told, reasons) = tell(&world, None);
    assert_eq!(
        told,
        json!({ "replicas": 3, "readyReplicas": 1, "labelSelector": "pool=web" })
    );
    assert_eq!(reasons, "");
    let failure = Failure {
        reason: "FailedScaleOut",
        message: "error during scale out: no".into(),
    };
    let steps = [
        (false, Some(&failure), "ReplicaFailure", "FailedScaleOut"),
        (false, Some(&failure), "ReplicaFailure", ""),
        (true, None, "ReplicaPaused", "SuccessfulPaused"),
        (true, None, "ReplicaPaused", ""),
        (false, None, "", "SuccessfulResume"),
    ];
    for (paused, failure, conditions, expected) in steps {
        world.edit_pool(|pool| pool["spec"]["paused"] = json!(paused));
        let (told, reasons) = tell(&world, failure);
        let types = told["conditions"].as_array().into_iter().flatten();
        let types: Vec<&str> = types.map(|it| it["type"].as_str().unwrap()).collect();
        assert_eq!(
            (types.join(" ").as_str(), reasons.as_str()),
            (conditions, expected)
        );
        world.edit_pool(|pool| pool["status"] = told);
    }
}

/// What people and guests do to a pool.
#[derive(Debug, Clone)]
enum Deed {
    Scale(u32),
    Template(u8),
    Unavailable(u32),
    Pause(bool),
    Delete(usize),
    Detach(usize),
    Orphan(usize),
    Stranger(usize),
    Stop(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (0_u32..8).prop_map(Deed::Scale),
        (0_u8..3).prop_map(Deed::Template),
        (0_u32..4).prop_map(Deed::Unavailable),
        any::<bool>().prop_map(Deed::Pause),
        (0_usize..8).prop_map(Deed::Delete),
        (0_usize..8).prop_map(Deed::Detach),
        (0_usize..8).prop_map(Deed::Orphan),
        (0_usize..8).prop_map(Deed::Stranger),
        (0_usize..8).prop_map(Deed::Stop),
    ]
}

impl World {
    fn suffer(&mut self, deed: &Deed) {
        let one = |at: usize| (!self.machines.is_empty()).then(|| at % self.machines.len());
        match *deed {
            Deed::Scale(replicas) => {
                self.edit_pool(|pool| pool["spec"]["replicas"] = json!(replicas))
            }
            Deed::Template(state) => {
                self.edit_pool(|pool| guest_memory(pool, &format!("{}Mi", 64 + state)))
            }
            Deed::Unavailable(most) => {
                self.edit_pool(|pool| pool["spec"]["maxUnavailable"] = json!(most))
            }
            Deed::Pause(paused) => self.edit_pool(|pool| pool["spec"]["paused"] = json!(paused)),
            Deed::Delete(at) => one(at).into_iter().for_each(|at| self.edit(at, go)),
            Deed::Detach(at) => one(at)
                .into_iter()
                .for_each(|at| self.edit(at, |vm| drop(vm.labels_mut().remove("pool")))),
            Deed::Orphan(at) => one(at)
                .into_iter()
                .for_each(|at| self.edit(at, |vm| vm.metadata.owner_references = None)),
            Deed::Stranger(index) => {
                let name = format!("web-{index}");
                if self.machines.iter().all(|vm| vm.name_any() != name) {
                    let mut vm = machine(&self.pool, index, &Revisions::of(&self.pool));
                    vm.metadata.owner_references = None;
                    vm.metadata.labels = None;
                    self.add(vm, Off);
                }
            }
            Deed::Stop(at) => {
                if let Some(at) = one(at) {
                    let name = self.machines[at].name_any();
                    self.instances.remove(&name);
                }
            }
        }
    }

    fn ready(&self) -> usize {
        let ready = self.look().members.into_iter();
        ready
            .filter(|vm| self.instances.contains_key(&vm.name_any()))
            .count()
    }

    /// Does what is decided, and checks what must hold whatever happens. False: there was nothing to do.
    fn step(&mut self) -> bool {
        let ready = self.ready();
        let looked = self.clone();
        let decision = looked.look();
        let mut taken: BTreeSet<String> = self.machines.iter().map(|vm| vm.name_any()).collect();
        let own = |vm: &VirtualMachine| {
            let owners = vm.owner_references();
            assert!(
                owners.iter().any(|it| it.uid == "pool-uid"),
                "{}",
                vm.name_any()
            );
        };
        let mut restarted = 0;
        for action in &decision.actions {
            let paused = looked.pool.spec.is_paused();
            assert!(!paused || matches!(action, Action::Release(_) | Action::Adopt(_)));
            match action {
                Action::Release(vm) => {
                    own(vm);
                    self.of(vm, |vm| vm.metadata.owner_references = None);
                }
                Action::Adopt(vm) => {
                    let owner = super::machine::owner(&looked.pool).unwrap();
                    self.of(vm, |vm| vm.metadata.owner_references = Some(vec![owner]));
                }
                Action::Create(vm) => {
                    assert!(taken.insert(vm.name_any()), "{} is taken", vm.name_any());
                    self.add(vm.as_ref().clone(), Ready);
                }
                Action::Delete(vm) => {
                    own(vm);
                    self.of(vm, go);
                }
                Action::Change(vm, _) => {
                    let (_, index) =
                        api::pool::pool_and_index(vm.metadata.name.as_ref().unwrap()).unwrap();
                    let wanted = machine(&looked.pool, index, &Revisions::of(&looked.pool));
                    self.of(vm, |vm| {
                        vm.metadata.labels = wanted.metadata.labels;
                        vm.spec = wanted.spec;
                    });
                }
                Action::Restart(vm, _) => {
                    own(vm);
                    restarted += 1;
                    self.instances.remove(&vm.name_any());
                }
            }
        }
        let room = looked.pool.spec.max_unavailable();
        let down = decision.members.len() - ready;
        assert!(
            restarted <= room.saturating_sub(down),
            "{restarted} of {room}, {down} are down"
        );
        !decision.actions.is_empty()
    }

    fn of(&mut self, vm: &VirtualMachine, edit: impl FnOnce(&mut VirtualMachine)) {
        let at = self
            .machines
            .iter()
            .position(|it| it.uid() == vm.uid())
            .unwrap();
        self.edit(at, edit);
    }

    /// Machines that go are gone, and those that are to run do.
    fn pass(&mut self) {
        self.machines
            .retain(|vm| vm.metadata.deletion_timestamp.is_none());
        let names: BTreeSet<String> = self.machines.iter().map(|vm| vm.name_any()).collect();
        self.instances.retain(|name, _| names.contains(name));
        for vm in self.machines.clone() {
            if !self.instances.contains_key(&vm.name_any()) {
                self.start(&vm, Ready);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_happens_a_pool_comes_to_rest_as_it_is_wanted(deeds in proptest::collection::vec(deed(), 1..24)) {
        let mut world = World::new(pool(3, |_| {}));
        for deed in &deeds {
            world.suffer(deed);
            world.step();
            if matches!(deed, Deed::Scale(_) | Deed::Pause(_)) {
                world.pass();
            }
        }
        world.edit_pool(|pool| pool["spec"]["paused"] = json!(false));
        let mut steps = 0;
        while { world.pass(); world.step() } {
            steps += 1;
            prop_assert!(steps < 50, "{} is never done: {}", deeds.len(), world.told());
        }
        let revisions = Revisions::of(&world.pool);
        let members = world.look().members;
        prop_assert_eq!(members.len(), world.pool.spec.wanted());
        for vm in members {
            prop_assert_eq!(&vm.labels()[REVISION], &revisions.machine);
            let vmi = &world.instances[&vm.name_any()];
            prop_assert_eq!(&vmi.labels()[REVISION], &revisions.instance);
        }
    }
}
