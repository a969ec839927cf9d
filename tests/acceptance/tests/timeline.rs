//! A start one can watch: steps, what to expect from earlier starts, and guests that do not get there.

use std::time::Duration;

use acceptance::{Console, PATIENCE, Server, wait_for};
use laboratory::guests;
use laboratory::registry::Registry;
use serde_json::Value;

/// The small guest boots in some seconds; CI shares two cores.
const BOOT: Duration = Duration::from_secs(300);

/// The steps that a guest on a talkative serial console tells of.
const STEPS: [&str; 8] = [
    "requested",
    "scheduled",
    "image",
    "qemu",
    "firmware",
    "kernel",
    "user-space",
    "login",
];

/// A VM with the small guest and these arguments of its kernel.
fn manifest(registry: &Registry, name: &str, arguments: &str) -> String {
    let quiet = guests::small_vm(name, &registry.reference("small"));
    let manifest = quiet.replace("console=ttyS0 quiet", arguments);
    assert_ne!(manifest, quiet, "the arguments are replaced");
    manifest
}

/// The VMI's timeline once it is as wanted.
fn timeline(server: &Server, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, BOOT, || {
        let instance = server.get("vmi", name, "default").ok_or("no VMI")?;
        let timeline = &instance["status"]["startTimeline"];
        if wanted(timeline) {
            Ok(timeline.clone())
        } else {
            Err(timeline.to_string())
        }
    })
}

fn reached<'a>(timeline: &'a Value, step: &str) -> Option<&'a str> {
    let steps = timeline["steps"].as_array()?;
    steps.iter().find(|it| it["name"] == step)?["at"].as_str()
}

/// Seconds since midnight.
fn seconds(time: &str) -> f64 {
    let clock = time.split('T').nth(1).expect("a time");
    let parts = clock.trim_end_matches('Z').split(':');
    let parts: Vec<f64> = parts.map(|it| it.parse().expect("a number")).collect();
    parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]
}

/// From the request to the login.
fn login_after(timeline: &Value) -> f64 {
    let started = timeline["startedAt"].as_str().expect("a time");
    let login = reached(timeline, "login").expect("a login");
    (seconds(login) - seconds(started)).rem_euclid(86_400.0)
}

fn stop(server: &Server, name: &str) {
    let said = server.anyvirt(&["stop", name]);
    assert!(said.success, "{}", said.err);
    server.wait_until("vm", name, "/status/printableStatus", "Stopped", BOOT);
}

#[test]
fn three_starts_show_their_steps_and_the_third_falls_into_the_range_it_was_promised() {
    let image = guests::small().expect("the small guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let mut server = Server::start(&["--emulation", "auto"]);
    server.apply(&manifest(&registry, "seen", "console=ttyS0"));
    for round in 0..3 {
        let mut promised = None;
        if round > 0 {
            let said = server.anyvirt(&["start", "seen", "--wait", "--timeout", "300"]);
            assert!(said.success, "{}{}", said.out, said.err);
            for title in ["QEMU", "Firmware", "Kernel", "User space", "Login"] {
                assert!(said.out.contains(&format!("✓ {title}")), "{}", said.out);
            }
            let line = said
                .out
                .lines()
                .find(|it| it.contains("login expected after"));
            let line = line.unwrap_or_else(|| panic!("no estimate in {}", said.out));
            let words = if round == 1 {
                "(from 1 earlier start)"
            } else {
                "(from 2 earlier starts)"
            };
            assert!(line.ends_with(words), "{line}");
            let range = line.split_whitespace().nth(3).expect("a range");
            let (low, high) = range.split_once('-').expect("a range");
            promised = Some((
                low.parse::<f64>().expect("seconds"),
                high.parse::<f64>().expect("seconds"),
            ));
        }
        let ended = timeline(&server, "seen", "a login", |it| {
            reached(it, "login").is_some()
        });
        let times: Vec<&str> = STEPS
            .iter()
            .map(|step| reached(&ended, step).unwrap_or_else(|| panic!("no {step} in {ended}")))
            .collect();
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(ended["progressPercent"], 100);
        assert_eq!(reached(&ended, "agent"), None, "it has no agent");
        let login = login_after(&ended);
        let estimate = &ended["estimate"];
        println!("start {round}: login after {login:.1} s, promised {promised:?}, then {estimate}");
        assert_eq!(estimate.is_null(), round == 0, "{estimate}");
        if let Some((low, high)) = promised.filter(|_| round == 2) {
            assert!((low..=high).contains(&login), "{login} in {low} to {high}");
            let last = |name: &str| estimate[name].as_f64().expect("a number");
            assert!(
                (last("lowSeconds")..=last("highSeconds")).contains(&login),
                "{login} in {estimate}"
            );
        }

        let shown = server.anyvirt(&["timeline", "seen"]);
        assert!(shown.success, "{}", shown.err);
        for title in [
            "Requested",
            "Image",
            "QEMU",
            "Kernel",
            "User space",
            "Login after",
        ] {
            assert!(shown.out.contains(title), "{}", shown.out);
        }
        println!("{}", shown.out);
        let json = server.anyvirt(&["timeline", "seen", "-o", "json"]);
        let json: Value = serde_json::from_str(&json.out).expect("JSON");
        assert_eq!(json["kind"], "StartTimeline");
        let in_json: Vec<_> = STEPS.iter().map(|step| reached(&json, step)).collect();
        assert_eq!(in_json, times.into_iter().map(Some).collect::<Vec<_>>());
        stop(&server, "seen");
        if round == 1 {
            // What was learnt outlives the server.
            server.kill();
            server.up();
        }
    }
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
