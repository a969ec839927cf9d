//! What a machine goes through on its node.

use std::time::{Duration, Instant};

use api::condition;
use api::launcher::State;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use futures::StreamExt as _;
use host::identity::{Identity, Signal};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};
use kube::runtime::wait::await_condition;
use node::LogOptions;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::boot_sector::{GREETING, Manner, boot_sector};
use crate::image::layout;
use crate::world::{NODE, PORT, World};

const SOON: Duration = Duration::from_secs(60);

/// One world for all: each part leaves it as it found it.
pub(crate) async fn all() {
    let mut world = World::start().await;
    told(
        "the node registers itself",
        the_node_registers_itself(&world),
    )
    .await;
    world.permit_emulation().await;
    told(
        "a machine runs and is told",
        a_machine_runs_and_is_told(&world),
    )
    .await;
    let start = Instant::now();
    a_machine_outlives_the_agent(&mut world).await;
    println!(
        "test a machine outlives the agent ... ok ({:?})",
        start.elapsed()
    );
    let start = Instant::now();
    a_machine_of_another_api_is_left_alone(&mut world).await;
    println!(
        "test a machine of another API is left alone ... ok ({:?})",
        start.elapsed()
    );
    told(
        "a machine stops when asked",
        a_machine_stops_when_asked(&world),
    )
    .await;
    told(
        "a lost launcher fails its machine",
        a_lost_launcher_fails_its_machine(&world),
    )
    .await;
    told(
        "a pod deleted by force",
        a_pod_deleted_by_force_leaves_nothing(&world),
    )
    .await;
    told("a missing image is told", a_missing_image_is_told(&world)).await;
    told(
        "emulated guests boot in turn",
        emulated_guests_boot_in_turn(&world),
    )
    .await;
}

async fn told(name: &str, part: impl Future<Output = ()>) {
    let start = Instant::now();
    part.await;
    println!("test {name} ... ok ({:?})", start.elapsed());
}

async fn the_node_registers_itself(world: &World) {
    let nodes: Api<Node> = Api::all(world.client.clone());
    let ready = await_condition(nodes, NODE, |node: Option<&Node>| {
        let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_ref());
        conditions.is_some_and(|all| {
            all.iter()
                .any(|it| it.type_ == "Ready" && it.status == "True")
        })
    });
    let node = tokio::time::timeout(SOON, ready)
        .await
        .expect("in time")
        .expect("watched");
    let status = node.and_then(|node| node.status).expect("a status");
    let conditions = status.conditions.expect("conditions");
    let hardware = conditions
        .iter()
        .find(|it| it.type_ == "HardwareVirtualization")
        .expect("a verdict");
    let kvm = &status.allocatable.expect("allocatable")["devices.kubevirt.io/kvm"].0;
    assert_eq!(kvm == "1000", hardware.status == "True", "{hardware:?}");
}

/// One guest more than the node has processors, each of which keeps one busy: the last one says that
/// it waits, and runs once another has ended.
async fn emulated_guests_boot_in_turn(world: &World) {
    let processors = std::thread::available_parallelism().expect("known").get();
    let image = image(world, Manner::Polite);
    let mut names: Vec<String> = (0..=processors)
        .map(|index| format!("turn{index}"))
        .collect();
    for name in &names {
        world.create(name, "Once", &image, json!({})).await;
    }
    let instances: Api<VirtualMachineInstance> = world.api();
    let queued = async {
        loop {
            let all = instances.list(&ListParams::default()).await;
            let all = all.expect("listed").items;
            let status = |vmi: &VirtualMachineInstance| vmi.status.clone().unwrap_or_default();
            let runs = |vmi: &&VirtualMachineInstance| status(vmi).phase == Some(Phase::Running);
            let waits = |vmi: &&VirtualMachineInstance| {
                let conditions = status(vmi).conditions;
                let told = condition::find(&conditions, "StartQueued").cloned();
                told.and_then(|it| it.message)
                    .is_some_and(|it| it.contains("booting before it"))
            };
            let running = all.iter().filter(runs).count();
            if let Some(waiting) = all.iter().find(waits)
                && running == processors
            {
                return waiting.name_any();
            }
            tokio::task::yield_now().await;
        }
    };
    let queued = tokio::time::timeout(SOON, queued).await.expect("one waits");
    let ends = names.iter().position(|name| *name != queued);
    let ends = names.remove(ends.expect("another"));
    world.delete::<VirtualMachine>(&ends).await;
    let vmi = world.wait_phase(&queued, "Running").await;
    let conditions = vmi.status.expect("a status").conditions;
    assert!(condition::find(&conditions, "StartQueued").is_none());
    for name in &names {
        world.delete::<VirtualMachine>(name).await;
    }
    world.wait_empty().await;
}

fn image(world: &World, manner: Manner) -> String {
    let mut disk = boot_sector(manner);
    disk.resize(1 << 20, 0);
    let name = format!("image-{manner:?}");
    layout(&world.folder.path().join(name), &disk)
}

async fn a_machine_runs_and_is_told(world: &World) {
    world
        .create("vm", "Manual", &image(world, Manner::Polite), json!({}))
        .await;
    start(world, "vm").await;
    let vmi = world.wait_phase("vm", "Running").await;
    let uid = vmi.uid().expect("a UID");
    let status = vmi.status.expect("a status");
    let accelerator = status.accelerator.expect("an accelerator");
    let decided_by = accelerator.decided_by.expect("decided");
    assert!(decided_by.contains("kubevirt-config"), "{decided_by}");
    let emulated = accelerator.type_ == "TCG";
    assert_eq!(
        condition::is_true(&status.conditions, "SoftwareEmulation"),
        emulated
    );
    assert_eq!(status.node_name.as_deref(), Some(NODE));
    assert_eq!(status.volume_status[0].target, "vda");

    let pod = world.pod("vm").await;
    let pod_status = pod.status.as_ref().expect("a status");
    assert_eq!(pod_status.phase.as_deref(), Some("Running"));
    assert!(
        pod_status
            .pod_ip
            .as_deref()
            .is_some_and(|it| it.starts_with("127."))
    );

    let interface = &status.interfaces[0];
    assert_eq!(interface.ip_address, pod_status.pod_ip);
    let address = interface.ip_address.as_deref().expect("an address");
    tokio::net::TcpStream::connect((address, PORT))
        .await
        .expect("forwarded");

    let handle = world.handle();
    let options = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let mut log = handle
        .pod_log("demo", &pod.name_any(), "guest-console-log", options)
        .await
        .expect("a log");
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(GREETING) {
        let piece = tokio::time::timeout(SOON, log.next())
            .await
            .expect("in time");
        text.extend(piece.expect("more").expect("readable"));
    }
    let mut console = handle.open_console(&uid).await.expect("a console");
    console.write_all(b"echo").await.expect("typed");
    let mut echo = [0; 4];
    tokio::time::timeout(SOON, console.read_exact(&mut echo))
        .await
        .expect("in time")
        .expect("an echo");
    assert_eq!(&echo, b"echo");
}

async fn start(world: &World, name: &str) {
    // As the subresource `start` does.
    let patch = json!({ "spec": { "runStrategy": "Always" } });
    let api: Api<VirtualMachine> = world.api();
    let parameters = kube::api::PatchParams::default();
    api.patch(name, &parameters, &kube::api::Patch::Merge(&patch))
        .await
        .expect("started");
}

async fn a_machine_outlives_the_agent(world: &mut World) {
    let vmi = world.wait_phase("vm", "Running").await;
    let uid = vmi.uid().expect("a UID");
    let before = world
        .handle()
        .status(&uid)
        .await
        .expect("it answers")
        .qemu
        .expect("QEMU");
    world.stop_agent().await;
    assert_eq!(
        world.handle().status(&uid).await.expect("it answers").state,
        State::Running
    );
    world.start_agent();
    // The agent works again when it does what is asked of it.
    let paused = world.handle().pause(&uid).await.expect("paused");
    assert_eq!(paused.state, State::Paused);
    let has = |vmi: Option<&VirtualMachineInstance>| {
        let status = vmi.and_then(|vmi| vmi.status.as_ref());
        status.is_some_and(|it| condition::is_true(&it.conditions, "Paused"))
    };
    world.wait("vm", "paused", has).await;
    world.handle().unpause(&uid).await.expect("unpaused");
    world.wait("vm", "unpaused", move |vmi| !has(vmi)).await;
    let after = world.wait_phase("vm", "Running").await;
    assert_eq!(after.uid(), Some(uid.clone()));
    let qemu = world
        .handle()
        .status(&uid)
        .await
        .expect("it answers")
        .qemu
        .expect("QEMU");
    assert_eq!((qemu.pid, qemu.start_time), (before.pid, before.start_time));
}

/// The database is lost, and an empty one takes its place: what runs is not what nobody wants, but
/// what nobody remembers.
async fn a_machine_of_another_api_is_left_alone(world: &mut World) {
    let uid = world
        .wait_phase("vm", "Running")
        .await
        .uid()
        .expect("a UID");
    world.stop_agent().await;
    let ours = world.replace_api().await;
    world.start_agent();
    let events: Api<Event> = Api::namespaced(world.client.clone(), "default");
    let warned = async {
        loop {
            let found = events.list(&ListParams::default()).await.expect("listed");
            let mut reasons = found
                .items
                .iter()
                .filter_map(|event| event.reason.as_deref());
            if reasons.any(|reason| reason == "OrphanedMachines") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, warned).await.expect("it warns");
    the_node_registers_itself(world).await;
    assert_eq!(
        world.handle().status(&uid).await.expect("it answers").state,
        State::Running
    );
    world.stop_agent().await;
    world.client = ours;
    world.start_agent();
    assert_eq!(
        world.handle().status(&uid).await.expect("it answers").state,
        State::Running
    );
}

async fn a_machine_stops_when_asked(world: &World) {
    let vmi = world.wait_phase("vm", "Running").await;
    let qemu = world
        .handle()
        .status(&vmi.uid().expect("a UID"))
        .await
        .expect("it answers")
        .qemu;
    world.delete::<VirtualMachine>("vm").await;
    world
        .wait::<VirtualMachineInstance>("vm", "gone", |vmi| vmi.is_none())
        .await;
    world.wait_empty().await;
    let qemu = qemu.expect("QEMU");
    let left = Identity::of(qemu.pid).expect("readable");
    assert!(
        left.is_none_or(|it| it.start_time != qemu.start_time),
        "QEMU still runs"
    );
}

async fn a_lost_launcher_fails_its_machine(world: &World) {
    world
        .create("lost", "Once", &image(world, Manner::Polite), json!({}))
        .await;
    let vmi = world.wait_phase("lost", "Running").await;
    let uid = vmi.uid().expect("a UID");
    let qemu = world
        .handle()
        .status(&uid)
        .await
        .expect("it answers")
        .qemu
        .expect("QEMU");
    let lock = world
        .folder
        .path()
        .join("machines")
        .join(&uid)
        .join("launcher.lock");
    for launcher in host::lock::openers(&lock).expect("looked") {
        launcher.signal(Signal::Kill).expect("killed");
    }
    let vmi = world.wait_phase("lost", "Failed").await;
    assert_eq!(
        vmi.status.and_then(|it| it.reason).as_deref(),
        Some("LauncherLost")
    );
    // Nobody can serve the guest any more, so it does not run on.
    let left = Identity::of(qemu.pid).expect("readable");
    assert!(
        left.is_none_or(|it| it.start_time != qemu.start_time),
        "QEMU still runs"
    );
    world.delete::<VirtualMachine>("lost").await;
    world.wait_empty().await;
}

async fn a_pod_deleted_by_force_leaves_nothing(world: &World) {
    world
        .create(
            "forced",
            "Once",
            &image(world, Manner::Deaf),
            json!({ "terminationGracePeriodSeconds": 0 }),
        )
        .await;
    world.wait_phase("forced", "Running").await;
    let pod = world.pod("forced").await.name_any();
    let now = DeleteParams::default().grace_period(0);
    world
        .api::<Pod>()
        .delete(&pod, &now)
        .await
        .expect("deleted");
    world.wait_phase("forced", "Failed").await;
    world.wait_empty().await;
    world.delete::<VirtualMachine>("forced").await;
}

async fn a_missing_image_is_told(world: &World) {
    world
        .create("imageless", "Once", "oci-layout:/nonexistent", json!({}))
        .await;
    let failed = |vmi: Option<&VirtualMachineInstance>| {
        let status = vmi.and_then(|vmi| vmi.status.as_ref());
        let found = status.and_then(|it| condition::find(&it.conditions, "Synchronized"));
        found.is_some_and(|it| it.reason.as_deref() == Some("ErrImagePull"))
    };
    world.wait("imageless", "told of its image", failed).await;
    world.delete::<VirtualMachine>("imageless").await;
    world
        .wait::<VirtualMachineInstance>("imageless", "gone", |vmi| vmi.is_none())
        .await;
}
