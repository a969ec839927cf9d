//! The Debian guest of `examples/debian.yaml`, as a user meets it: boot, log in as cloud-init's user, reach the network, stop.

use acceptance::{Console, PATIENCE, Server};
use laboratory::guests;
use laboratory::registry::Registry;
use std::time::{Duration, Instant};

/// Debian under TCG needs 30 to 90 s here on an idle machine; CI shares two cores.
const BOOT: Duration = Duration::from_secs(600);

#[test]
fn debian_boots_to_a_login_for_cloud_inits_user_under_emulation_and_stops_cleanly() {
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
