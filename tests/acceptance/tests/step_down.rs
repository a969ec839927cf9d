//! A guest that KVM fails is started again under software emulation, once, and everybody hears of it.
//!
//! This needs a machine whose KVM opens and lies, as this project's machines do: an admin's annotation makes the node
//! trust it against the probe, and a real Linux guest then finds out. On a machine with healthy KVM, or without any,
//! the test says so and fails, rather than pass without having seen a step-down.

use acceptance::{Console, PATIENCE, Server, wait_for};
use laboratory::guests::{self, small_vm};
use laboratory::registry::Registry;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// Three seconds until KVM is found out, then a boot under TCG; CI is busy.
const BOOT: Duration = Duration::from_secs(180);
const ASSUME: &str = "anyvirt.io/assume-hardware-virtualization=true";

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions
        .iter()
        .find(|condition| condition["type"] == kind)
}

fn node(server: &Server) -> Value {
    let nodes: Value =
        serde_json::from_str(&server.kubectl(&["get", "nodes", "-o", "json"])).expect("JSON");
    nodes["items"][0].clone()
}

/// Waits until the node's verdict has this class; its message.
fn wait_class(server: &Server, class: &str) -> String {
    wait_for(&format!("the verdict {class}"), PATIENCE, || {
        let node = node(server);
        let verdict = condition(&node, "HardwareVirtualization").ok_or("no verdict")?;
        if verdict["reason"] == class {
            Ok(verdict["message"].as_str().unwrap_or_default().to_owned())
        } else {
            Err(verdict.to_string())
        }
    })
}

/// Asks the node to take its verdict again, and waits for the answer.
fn retake(server: &Server, token: &str) {
    let wanted = format!("anyvirt.io/retake-verdict={token}");
    server.kubectl(&["annotate", "node", "--all", "--overwrite", &wanted]);
    wait_for("the answer to the token", PATIENCE, || {
        let node = node(server);
        match node["metadata"]["annotations"]["anyvirt.io/verdict-retaken"].as_str() {
            Some(answered) if answered == token => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

fn accelerator(server: &Server, name: &str, kind: &str) -> Value {
    server.wait_until("vmi", name, "/status/accelerator/type", kind, BOOT)
}

fn folder(server: &Server, vmi: &Value) -> PathBuf {
    let uid = vmi["metadata"]["uid"].as_str().expect("a UID");
    server.data_directory().join("machines").join(uid)
}

fn events(server: &Server, name: &str) -> Vec<Value> {
    let selector = format!("involvedObject.name={name}");
    let text = server.kubectl(&["get", "events", "--field-selector", &selector, "-o", "json"]);
    let events: Value = serde_json::from_str(&text).expect("JSON");
    events["items"].as_array().cloned().unwrap_or_default()
}

/// How often an event with this reason happened to the VMI.
fn count(server: &Server, name: &str, reason: &str) -> u64 {
    let all = events(server, name);
    let fitting = all.iter().filter(|event| event["reason"] == reason);
    fitting
        .map(|event| event["count"].as_u64().unwrap_or(1))
        .sum()
}

/// A VM with a processor on which QEMU's KVM code gets as far as the guest; `more` goes into its spec.
fn vm(name: &str, image: &str, more: &str) -> String {
    small_vm(name, image).replace(
        "      domain:\n",
        &format!(
            "{more}      domain:\n        cpu: {{features: [{{name: arch-capabilities, policy: disable}}]}}\n"
        ),
    )
}

#[test]
fn a_guest_that_kvm_fails_starts_again_emulated_once_and_the_next_one_does_so_at_once() {
    let image = guests::small().expect("the small guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let image = registry.reference("small");
    let server = Server::start(&["--emulation", "on"]);

    // The probe knows better, and an admin says otherwise: never silently.
    let probed = wait_for("a verdict", PATIENCE, || {
        let node = node(&server);
        let verdict = condition(&node, "HardwareVirtualization").ok_or("no verdict")?;
        let reason = verdict["reason"].as_str().unwrap_or_default().to_owned();
        let opens = node["metadata"]["labels"]["anyvirt.io/kvm-device"] == "true";
        assert!(
            opens && verdict["status"] == "False",
            "this test needs a /dev/kvm that opens and lies; here it is {verdict}"
        );
        Ok::<_, String>(reason)
    });
    server.kubectl(&["annotate", "node", "--all", ASSUME]);
    let message = wait_class(&server, "Assumed");
    assert!(message.contains(&probed), "{message}");
    assert_eq!(
        node(&server)["status"]["allocatable"]["devices.kubevirt.io/kvm"],
        "1000"
    );

    a_guest_steps_down(&server, &image);
    the_next_guest_is_emulated_at_once(&server, &image);
    a_guest_that_may_not_be_emulated_fails(&server, &image);
}

fn a_guest_steps_down(server: &Server, image: &str) {
    server.apply(&vm("fails", image, ""));
    let vmi = accelerator(server, "fails", "TCG");
    let told = &vmi["status"]["accelerator"];
    assert_eq!(told["reason"], "SteppedDown", "{told}");
    let message = told["message"].as_str().unwrap_or_default();
    assert!(message.contains("one by one in software"), "{message}");
    let emulated = condition(&vmi, "SoftwareEmulation").expect("told");
    assert_eq!(
        (&emulated["status"], &emulated["reason"]),
        (&"True".into(), &"SteppedDown".into())
    );

    // The same machine, in one serial log, with a line between its two starts.
    let mut console = Console::attach(server, "fails");
    console.send("\n");
    console.expect("login:", BOOT);
    let log =
        std::fs::read_to_string(folder(server, &vmi).join("serial.log")).expect("a serial log");
    let marker = log
        .find("[anyvirt: KVM failed this guest")
        .expect("a marker");
    assert_eq!(log.matches("[anyvirt:").count(), 1, "{log}");
    assert!(
        log.find(guests::FIRST_LINE).expect("it booted") > marker,
        "{log}"
    );
    assert_eq!(count(server, "fails", "AcceleratorSteppedDown"), 1);
    let after = server.get("vmi", "fails", "default").expect("it runs");
    assert_eq!(after["metadata"]["uid"], vmi["metadata"]["uid"]);

    // The node has learnt.
    let message = wait_class(server, "GuestKernelEmulated");
    assert!(message.contains("default/fails"), "{message}");
    assert_eq!(
        node(server)["status"]["allocatable"]["devices.kubevirt.io/kvm"],
        "0"
    );
    let events = server.kubectl(&[
        "get",
        "events",
        "-A",
        "--field-selector",
        "reason=HardwareVirtualizationChanged",
    ]);
    assert!(
        events.contains("was Assumed, and is GuestKernelEmulated"),
        "{events}"
    );
    server.kubectl(&["delete", "vm", "fails"]);
}

fn the_next_guest_is_emulated_at_once(server: &Server, image: &str) {
    server.apply(&vm("next", image, ""));
    let vmi = accelerator(server, "next", "TCG");
    assert_eq!(
        vmi["status"]["accelerator"]["reason"], "HardwareVirtualizationUnusable",
        "{vmi}"
    );
    assert!(
        !folder(server, &vmi).join("exit.first.json").exists(),
        "it was never on KVM"
    );
    assert_eq!(count(server, "next", "AcceleratorSteppedDown"), 0);
    server.kubectl(&["delete", "vm", "next"]);
}

/// Asked again, the node trusts KVM again; with its default processor QEMU does not even get to the guest here.
fn a_guest_that_may_not_be_emulated_fails(server: &Server, image: &str) {
    retake(server, "again");
    wait_class(server, "Assumed");
    let strict = small_vm("strict", image)
        .replace("runStrategy: Always", "runStrategy: Once")
        // Else it would ask for vhost-net too, which machines like this project's lack.
        .replace("masquerade: {}", "model: e1000, masquerade: {}")
        .replace(
            "      domain:\n",
            "      emulationPolicy: None\n      domain:\n",
        );
    server.apply(&strict);
    let vmi = server.wait_until("vmi", "strict", "/status/phase", "Failed", BOOT);
    assert_eq!(vmi["status"]["reason"], "KvmFailed", "{}", vmi["status"]);
    let told = events(server, "strict")
        .into_iter()
        .find(|event| event["reason"] == "KvmFailed");
    let told = told.expect("told")["message"].to_string();
    assert!(
        told.contains("emulationPolicy") && told.contains("anyvirt doctor"),
        "no cure: {told}"
    );
    assert_eq!(count(server, "strict", "AcceleratorSteppedDown"), 0);
}
