//! A start one can watch: steps, what to expect from earlier starts, and guests that do not get there.

use std::time::Duration;

use acceptance::starts::{reached, see_three_starts};
use acceptance::{Console, PATIENCE, Server, wait_for};
use laboratory::guests;
use laboratory::registry::Registry;
use serde_json::Value;

/// The small guest boots in some seconds; CI shares two cores.
const BOOT: Duration = Duration::from_secs(300);

/// A VM with the small guest and these arguments of its kernel.
fn manifest(registry: &Registry, name: &str, arguments: &str) -> String {
    let quiet = guests::small_vm(name, &registry.reference("small"));
    let manifest = quiet.replace("console=ttyS0 quiet", arguments);
    assert_ne!(manifest, quiet, "the arguments are replaced");
    manifest
}

/// The VMI's timeline once it is as wanted.
fn timeline(server: &Server, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    acceptance::starts::timeline(server, name, what, BOOT, wanted)
}

#[test]
fn three_starts_show_their_steps_and_the_third_falls_into_the_range_it_was_promised() {
    let image = guests::small().expect("the small guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let mut server = Server::start(&["--emulation", "auto"]);
    server.apply(&manifest(&registry, "seen", "console=ttyS0"));
    see_three_starts(&mut server, "seen", false, BOOT, |_, _| {});
    // A VM is Stopped once its instance has ended, and the instance is gone a moment later.
    server.kubectl(&["wait", "--for=delete", "vmi/seen", "--timeout=60s"]);
    let shown = server.anyvirt(&["timeline", "seen"]);
    assert!(shown.err.contains("VM seen does not run"), "{}", shown.err);
}

#[test]
fn a_guest_that_sleeps_for_ever_is_stuck_until_it_shows_a_sign_of_life() {
    let image = guests::small().expect("the small guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let server = Server::start(&["--emulation", "auto"]);
    // Its init waits for somebody to type, and writes nothing.
    let manifest = manifest(&registry, "asleep", "console=ttyS0 rdinit=/bin/cat");
    let anchor = "  template:\n    spec:\n";
    let annotated = "  template:\n    metadata:\n      annotations: {anyvirt.io/stuck-after-seconds: \"15\"}\n    spec:\n";
    assert!(manifest.contains(anchor), "{manifest}");
    server.apply(&manifest.replace(anchor, annotated));
    let stuck = timeline(&server, "asleep", "stuck", |it| !it["stuck"].is_null());
    let message = stuck["stuck"]["message"].as_str().expect("a message");
    assert!(
        message.starts_with("no guest progress for 1") && message.contains("after user-space"),
        "{message}"
    );
    assert_eq!(reached(&stuck, "login"), None);
    let shown = server.anyvirt(&["timeline", "asleep"]).out;
    assert!(shown.contains("! stuck: no guest progress for"), "{shown}");
    wait_for("the event", PATIENCE, || {
        let events = server.kubectl(&[
            "get",
            "events",
            "--field-selector",
            "reason=GuestStuck",
            "-o",
            "json",
        ]);
        let events: Value = serde_json::from_str(&events).expect("JSON");
        match events["items"].as_array().map(Vec::len) {
            Some(1) => Ok(()),
            other => Err(format!("{other:?} events")),
        }
    });

    let mut console = Console::attach(&server, "asleep");
    console.send("hello\n");
    console.expect("hello", BOOT);
    let since = stuck["stuck"]["since"].clone();
    timeline(&server, "asleep", "not stuck as before", |it| {
        it["stuck"]["since"] != since
    });
}

#[test]
fn a_guest_whose_kernel_panics_says_so() {
    let image = guests::small().expect("the small guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let server = Server::start(&["--emulation", "auto"]);
    let arguments = "console=ttyS0 quiet rdinit=/none root=/dev/none";
    let manifest = manifest(&registry, "panics", arguments);
    server.apply(&manifest.replace("runStrategy: Always", "runStrategy: Halted"));
    let said = server.anyvirt(&["start", "panics", "--wait", "--timeout", "300"]);
    assert!(!said.success, "{}", said.out);
    assert!(
        said.err
            .contains("VM panics does not start (KernelPanic): Kernel panic - not syncing: VFS"),
        "{}",
        said.err
    );
    let told = timeline(&server, "panics", "trouble", |it| !it["trouble"].is_null());
    assert_eq!(told["trouble"]["reason"], "KernelPanic");
}
