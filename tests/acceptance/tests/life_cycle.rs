//! What ends a virtual machine, and what each run strategy makes of it: with real guests that are shut down, killed, and
//! robbed of their launcher and of their network.

use acceptance::{Client, Console, Memory, PATIENCE, Server, processes_of, wait_for};
use laboratory::guests;
use laboratory::registry::Registry;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// An emulated guest boots within seconds; on two shared cores with others beside it, within a minute or two.
const BOOT: Duration = Duration::from_secs(180);
const SUBRESOURCES: &str = "/apis/subresources.kubevirt.io/v1/namespaces/default";

/// A server and its registry.
struct Stage {
    server: Server,
    client: Client,
    registry: Registry,
}

impl Stage {
    fn new() -> Stage {
        let image = guests::small().expect("the small guest is made from Debian packages");
        let registry = Registry::serve(&image.layout).expect("a registry on loopback");
        let server = Server::start(&["--emulation", "on"]);
        let client = Client::of(&server);
        Stage {
            server,
            client,
            registry,
        }
    }

    fn manifest(&self, name: &str, strategy: &str) -> String {
        guests::small_vm(name, &self.registry.reference("small"))
            .replace("runStrategy: Always", &format!("runStrategy: {strategy}"))
    }

    fn create(&self, name: &str, strategy: &str) {
        self.client.create_vm(&self.manifest(name, strategy));
    }

    fn running(&self, name: &str) -> Value {
        self.server
            .wait_until("vmi", name, "/status/phase", "Running", BOOT)
    }

    fn status(&self, name: &str, wanted: &str) {
        self.server
            .wait_until("vm", name, "/status/printableStatus", wanted, PATIENCE);
    }

    /// The VMI's uid, once it runs and is another than `before`.
    fn another(&self, name: &str, before: &str) -> String {
        wait_for(&format!("another instance of {name}"), BOOT, || {
            let instance = self.server.get("vmi", name, "default");
            let instance = instance.ok_or("there is none")?;
            match (uid(&instance), phase(&instance)) {
                (found, "Running") if found != before => Ok(found),
                found => Err(format!("{found:?}")),
            }
        })
    }

    /// The process of the instance `uid` that is called `program`.
    fn process(&self, uid: &str, program: &str) -> u32 {
        let directory = self.server.data_directory().join("machines").join(uid);
        let found = processes_of(&directory).into_iter().find(|process| {
            std::fs::read_to_string(format!("/proc/{process}/comm"))
                .is_ok_and(|comm| comm.starts_with(program))
        });
        found.unwrap_or_else(|| panic!("{program} of {uid} runs"))
    }

    /// The process that carries the network of the instance `uid`: the launcher's other child. It has no file of the
    /// instance open.
    fn network(&self, uid: &str) -> u32 {
        let launcher = self.process(uid, "anyvirt").to_string();
        let processes = acceptance::run(Path::new("pgrep"), &["--parent", &launcher, "passt"], &[]);
        let found = processes.out.trim().parse();
        found.unwrap_or_else(|_| panic!("passt of {uid} runs: {:?}", processes))
    }

    /// The messages of the events of `name` with this reason.
    fn events(&self, name: &str, reason: &str) -> Vec<String> {
        let selector = format!("involvedObject.name={name},reason={reason}");
        let text =
            self.server
                .kubectl(&["get", "events", "--field-selector", &selector, "-o", "json"]);
        let list: Value = serde_json::from_str(&text).expect("a list");
        let items = list["items"].as_array().expect("items").iter();
        items
            .map(|event| event["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    fn put(&self, path: &str, body: &str) -> (u16, Value) {
        self.client
            .send("PUT", &format!("{SUBRESOURCES}/{path}"), body)
    }
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"]
        .as_str()
        .expect("a uid")
        .to_owned()
}

fn phase(instance: &Value) -> &str {
    instance["status"]["phase"].as_str().unwrap_or_default()
}

/// Whether a process runs. One that ended stays listed until its parent has asked how; an orphan's parent is the machine's
/// first process, which takes its time.
fn runs(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may hold anything.
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next());
    !matches!(state, None | Some("Z" | "X"))
}

fn kill(process: u32) {
    let said = acceptance::run(Path::new("kill"), &["-KILL", &process.to_string()], &[]);
    assert!(said.success, "kill {process}: {}", said.err);
}

/// Logs in on the console and gives one command.
fn type_in_guest(server: &Server, name: &str, command: &str) -> Console {
    let mut console = Console::attach(server, name);
    // The prompt may have been shown before; an empty line shows it again.
    console.send("\n");
    console.expect("login:", BOOT);
    console.send("root\n");
    console.expect("# ", PATIENCE);
    console.send(&format!("{command}\n"));
    console
}

#[test]
fn each_run_strategy_answers_a_guest_that_powers_off_and_one_that_crashes() {
    let stage = Stage::new();
    let server = &stage.server;
    for (name, strategy) in [
        ("ever", "Always"),
        ("rerun", "RerunOnFailure"),
        ("hand", "Manual"),
    ] {
        stage.create(name, strategy);
    }
    stage.status("hand", "Stopped");
    assert_eq!(stage.put("virtualmachines/hand/start", "{}").0, 202);
    let uids: Vec<String> = ["ever", "rerun", "hand"]
        .map(|name| uid(&stage.running(name)))
        .into();

    // A crash: Always and RerunOnFailure start another; Manual shows the failed one.
    for uid in &uids {
        kill(stage.process(uid, "qemu-system"));
    }
    let ever = stage.another("ever", &uids[0]);
    let rerun = stage.another("rerun", &uids[1]);
    server.wait_until("vmi", "hand", "/status/phase", "Failed", PATIENCE);
    stage.status("hand", "Stopped");
    wait_for("the event of the crash", PATIENCE, || {
        match stage.events("hand", "Stopped").as_slice() {
            [message] if message == "The VirtualMachineInstance crashed." => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });

    // The launcher's death takes its QEMU along, and is a crash.
    let orphan = stage.process(&ever, "qemu-system");
    kill(stage.process(&ever, "anyvirt"));
    let ever = stage.another("ever", &ever);
    assert!(!runs(orphan), "no QEMU runs beside its successor");

    // A guest that booted to its prompt takes no more memory than its pod accounts for.
    let mut console = Console::attach(server, "ever");
    console.send("\n");
    console.expect("login:", BOOT);
    drop(console);
    Memory::of(server, "ever", 256).check();

    // Off by its own will: Always starts another, RerunOnFailure is content.
    let _consoles = ["ever", "rerun"].map(|name| type_in_guest(server, name, "poweroff"));
    stage.another("ever", &ever);
    stage.status("rerun", "Stopped");
    wait_for("the instance is gone", PATIENCE, || {
        match server.get("vmi", "rerun", "default") {
            None => Ok(()),
            Some(instance) => Err(format!("{} ({rerun})", phase(&instance))),
        }
    });
}

#[test]
fn a_deaf_guest_is_killed_after_its_grace_and_at_once_when_forced() {
    let stage = Stage::new();
    let deaf = stage
        .manifest("deaf", "Manual")
        .replace("console=ttyS0", "console=ttyS0 acpi=off");
    stage.client.create_vm(&deaf);
    for (body, least, most) in [("{}", 5, 60), (r#"{"gracePeriod":0}"#, 0, 5)] {
        stage.status("deaf", "Stopped");
        let (code, answer) = stage.put("virtualmachines/deaf/start", "");
        assert_eq!(code, 202, "{answer}");
        let instance = stage.running("deaf");
        let qemu = stage.process(&uid(&instance), "qemu-system");
        let asked = Instant::now();
        assert_eq!(stage.put("virtualmachines/deaf/stop", body).0, 202);
        wait_for("QEMU's end", PATIENCE, || {
            (!runs(qemu)).then_some(()).ok_or("it runs".to_owned())
        });
        let took = asked.elapsed();
        assert!(
            (Duration::from_secs(least)..Duration::from_secs(most)).contains(&took),
            "stop {body} took {took:?}"
        );
    }
    stage.status("deaf", "Stopped");

    // To read a subresource that changes things is no way to change them.
    let path = format!("{SUBRESOURCES}/virtualmachines/deaf/start");
    assert_eq!(stage.client.send("GET", &path, "").0, 405);
    assert_eq!(stage.put("virtualmachines/deaf/stop", "").0, 409);
    assert_eq!(stage.put("virtualmachines/deaf/start", "{bad").0, 400);
    assert_eq!(stage.put("virtualmachines/none/start", "").0, 404);
}

#[test]
fn what_is_deleted_ends_and_what_lost_its_network_says_so() {
    let stage = Stage::new();
    let server = &stage.server;
    for name in ["keep", "lose", "force"] {
        stage.create(name, "Always");
    }
    let [keep, lose, force] = ["keep", "lose", "force"].map(|name| uid(&stage.running(name)));

    // A guest without its network runs on; that is visible, once, and a restart mends it.
    kill(stage.network(&lose));
    server.wait_until(
        "vmi",
        "lose",
        "/status/interfaces/0/linkState",
        "down",
        PATIENCE,
    );
    let told = wait_for("the event", PATIENCE, || {
        let told = stage.events("lose", "InterfaceFailed");
        (!told.is_empty()).then_some(told).ok_or("none".to_owned())
    });
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("passt was ended by signal 9"), "{told:?}");
    assert_eq!(
        stage
            .put(
                "virtualmachines/lose/restart",
                r#"{"gracePeriodSeconds":0}"#
            )
            .0,
        202
    );
    stage.another("lose", &lose);
    server.wait_until(
        "vmi",
        "lose",
        "/status/interfaces/0/linkState",
        "up",
        PATIENCE,
    );

    // Without its VM the instance runs on, and the VM takes it back.
    server.kubectl(&["delete", "vm", "keep", "--cascade=orphan"]);
    stage.create("keep", "Always");
    let adopted = wait_for("the instance has its new owner", PATIENCE, || {
        let (vm, instance) = (
            server.get("vm", "keep", "default"),
            server.get("vmi", "keep", "default"),
        );
        let (vm, instance) = (vm.ok_or("no VM")?, instance.ok_or("no VMI")?);
        let owner = instance["metadata"]["ownerReferences"][0]["uid"].clone();
        (owner == vm["metadata"]["uid"])
            .then_some(instance)
            .ok_or(owner.to_string())
    });
    assert_eq!(uid(&adopted), keep, "the guest was not disturbed");

    // An instance, a pod and a VM that are deleted take their QEMU along.
    let old = stage.process(&keep, "qemu-system");
    server.kubectl(&["delete", "vmi", "keep", "--grace-period=0", "--timeout=60s"]);
    assert!(!Path::new(&format!("/proc/{old}")).exists());
    stage.another("keep", &keep);
    let old = stage.process(&force, "qemu-system");
    server.kubectl(&[
        "delete",
        "vm",
        "force",
        "--force",
        "--grace-period=0",
        "--timeout=60s",
    ]);
    wait_for("QEMU's end", PATIENCE, || {
        let gone = !Path::new(&format!("/proc/{old}")).exists();
        gone.then_some(()).ok_or("it runs".to_owned())
    });

    // At rest nothing is written.
    let revisions = || {
        server.kubectl(&[
            "get",
            "vm,vmi,pod",
            "-o",
            "jsonpath={range .items[*]}{.kind}/{.metadata.name}={.metadata.resourceVersion} {end}",
        ])
    };
    stage.status("keep", "Running");
    let mut before = revisions();
    wait_for("ten seconds without a write", PATIENCE, || {
        // Not a wait for something: what is measured is that nothing happens in this time.
        std::thread::sleep(Duration::from_secs(10));
        let now = revisions();
        let still = now == before;
        before = now.clone();
        still.then_some(()).ok_or(now)
    });
}

/// A pool of the stage's guests, one of which may be down at a time.
fn pool(stage: &Stage, name: &str) -> String {
    let machine = stage.manifest(name, "RerunOnFailure");
    let (_, spec) = machine.split_once("\nspec:\n").expect("a spec");
    let spec: Vec<String> = spec.lines().map(|line| format!("    {line}")).collect();
    format!(
        "apiVersion: pool.kubevirt.io/v1beta1\nkind: VirtualMachinePool\nmetadata: {{name: {name}}}\nspec:\n  \
         replicas: 2\n  maxUnavailable: 1\n  selector: {{matchLabels: {{pool: {name}}}}}\n  \
         virtualMachineTemplate:\n    metadata: {{labels: {{pool: {name}}}}}\n    spec:\n  {}\n",
        spec.join("\n  ")
    )
}

#[test]
fn the_guests_of_a_pool_follow_its_template_and_stay_who_they_are() {
    let stage = Stage::new();
    let server = &stage.server;
    server.apply(&pool(&stage, "web"));
    let names = ["web-0", "web-1"];
    let before = names.map(|name| uid(&stage.running(name)));
    let who = |name| {
        let vm = server.get("vm", name, "default").expect("a machine");
        vm["spec"]["template"]["spec"]["domain"]["firmware"]["uuid"].clone()
    };
    let identities = names.map(who);
    assert_ne!(identities[0], identities[1]);
    let longer = r#"{"spec":{"virtualMachineTemplate":{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":6}}}}}}"#;
    server.kubectl(&["patch", "vmpool", "web", "--type=merge", "-p", longer]);
    for (name, before) in names.iter().zip(&before) {
        stage.another(name, before);
        let vmi = server.get("vmi", name, "default").expect("an instance");
        assert_eq!(vmi["spec"]["terminationGracePeriodSeconds"], 6);
    }
    assert_eq!(names.map(who), identities);
    let ready = "--for=jsonpath={.status.readyReplicas}=2";
    server.kubectl(&["wait", "vmpool", "web", ready, "--timeout=120s"]);
    server.kubectl(&["delete", "vmpool", "web", "--timeout=60s"]);
    wait_for("the end of the pool's guests", PATIENCE, || {
        let left = server.kubectl(&["get", "vm,vmi,pod", "-o", "name"]);
        left.is_empty().then_some(()).ok_or(left)
    });
}
