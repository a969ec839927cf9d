//! The Debian guest of `examples/debian.yaml`, as a user meets it: boot, log in as cloud-init's user, reach the network, fork
//! it while it runs, stop.

use acceptance::warm::ask;
use acceptance::{Console, Memory, PATIENCE, Server, wait_for};
use laboratory::guests;
use laboratory::registry::Registry;
use std::time::{Duration, Instant};

/// Debian under TCG needs 30 to 90 s here on an idle machine; CI shares two cores.
const BOOT: Duration = Duration::from_secs(600);

/// What tells a guest from its copy, and the words that print it on one line.
const IDENTITY: [(&str, &str); 6] = [
    ("machine-id", "cat /etc/machine-id"),
    ("boot-id", "cat /proc/sys/kernel/random/boot_id"),
    ("mac", "cat /sys/class/net/e*/address"),
    (
        "host-key",
        "cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub",
    ),
    ("random", "head -c 24 /dev/urandom | base64"),
    ("hostname", "hostname"),
];

fn logged_in(server: &Server, name: &str) -> Console {
    let mut console = Console::attach(server, name);
    console.send("\n");
    let prompts = ["login: ", "$ "];
    if console.expect_one_of(&prompts, BOOT).0 == 0 {
        console.send("debian\n");
        console.expect("Password:", BOOT);
        console.send("anyvirt\n");
        console.expect("$ ", BOOT);
    }
    console
}

/// Forks the machine `debian`, which was booted and has nothing of ours in its image: its guest agent takes the renewal hook.
fn forks(server: &Server) {
    let mut source = logged_in(server, "debian");
    // In memory only: a file system of the guest's memory.
    ask(&mut source, "echo remembered | sudo tee /run/note");
    let own = |console: &mut Console| IDENTITY.map(|(_, command)| ask(console, command));
    let before = own(&mut source);
    drop(source);
    let forked = server.anyvirt(&["fork", "debian", "--name-prefix", "copy-"]);
    assert_eq!(forked.out.trim(), "copy-1", "{}", forked.err);
    let mut copy = logged_in(server, "copy-1");
    assert_eq!(ask(&mut copy, "cat /run/note"), "remembered");
    let theirs = own(&mut copy);
    assert_eq!(theirs[5], "copy-1");
    for ((what, _), (ours, theirs)) in IDENTITY.iter().zip(before.iter().zip(&theirs)) {
        assert!(!ours.is_empty(), "{what}");
        assert_ne!(ours, theirs, "{what}");
    }
    drop(copy);
    // The one it was copied from is who it was. Random numbers are never the same.
    let mut source = logged_in(server, "debian");
    let after = own(&mut source);
    assert_eq!(after[..4], before[..4]);
    assert_eq!(after[5], "debian");
    server.kubectl(&["delete", "vm", "copy-1"]);
}

#[test]
fn debian_boots_to_a_login_for_cloud_inits_user_under_emulation_is_forked_and_stops_cleanly() {
    let image = guests::debian().expect("the Debian guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    // `auto`: the server finds by itself that KVM does not work here, and permits emulation.
    let server = Server::start(&["--emulation", "auto"]);
    let example = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/debian.yaml"
    ))
    .expect("the example");
    let manifest = example.replace(
        "localhost:5000/anyvirt/debian:12",
        &registry.reference("debian"),
    );
    assert_ne!(manifest, example, "the example names the demo's image");
    let started = Instant::now();
    server.apply(&manifest);
    server.wait_until(
        "vm",
        "debian",
        "/status/printableStatus",
        "Running",
        PATIENCE,
    );

    let mut console = Console::attach(&server, "debian");
    console.send("\n");
    console.expect("debian login:", BOOT);
    println!(
        "apply to login prompt: {:.1} s",
        started.elapsed().as_secs_f64()
    );
    console.send("debian\n");
    console.expect("Password:", BOOT);
    console.send("anyvirt\n");
    console.expect("$ ", BOOT);
    console.send("cloud-init status --wait; echo outcome=$?\n");
    console.expect("outcome=0", BOOT);
    console.send("ip -4 -brief address; echo done=$?\n");
    let addresses = console.expect("done=0", PATIENCE);
    assert!(addresses.contains("10.0.2.2/24"), "{addresses}");
    drop(console);

    // The whole start was seen, to the guest agent, which comes by itself after the login.
    let steps = wait_for("all steps of the start", BOOT, || {
        let instance = server.get("vmi", "debian", "default").ok_or("no VMI")?;
        let timeline = &instance["status"]["startTimeline"];
        let steps = timeline["steps"].as_array().ok_or("no steps")?;
        match steps.iter().find(|step| step["at"].is_null()) {
            None => Ok(steps.clone()),
            Some(step) => Err(format!("{step} in {timeline}")),
        }
    });
    let times: Vec<String> = steps
        .iter()
        .filter(|step| step["name"] != "agent")
        .map(|step| step["at"].to_string())
        .collect();
    assert_eq!(times.len(), 8, "{steps:?}");
    assert!(times.is_sorted(), "{times:?}");
    println!("{}", server.anyvirt(&["timeline", "debian"]).out);

    // It has used what it ever will, and the pod's account of memory was true all the time.
    Memory::of(&server, "debian", 512).check();

    forks(&server);

    let log = server.anyvirt(&["logs", "debian"]).out;
    assert!(
        log.contains("debian login:"),
        "the log holds the console: {}",
        acceptance::tail(&log)
    );
    assert!(
        server
            .anyvirt(&["stop", "debian"])
            .out
            .contains("VM debian was scheduled to stop")
    );
    server.wait_until("vm", "debian", "/status/printableStatus", "Stopped", BOOT);
}
