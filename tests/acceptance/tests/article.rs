//! The article's walk, with the real kubectl, the real binary and real QEMU: a VM that cannot start because hardware
//! virtualization is missing, one property in a ConfigMap, the same VM running, and the way back.
//!
//! These tests need a machine whose KVM is missing or unusable, as this project's machines are; on one with healthy
//! KVM they say so and fail, rather than pass without having walked.

use acceptance::{Console, PATIENCE, Server, wait_for};
use laboratory::guests::{self, small_vm as vm};
use laboratory::registry::Registry;
use serde_json::Value;
use std::time::Duration;

/// A small guest boots in about 2 s under TCG when the machine is idle; CI is not.
const BOOT: Duration = Duration::from_secs(180);

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object
        .pointer("/status/conditions")?
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// What kube-scheduler would say on this machine, whose devices are as they are.
fn expected_refusal() -> String {
    let missing = |path: &str| {
        std::fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .is_err()
    };
    let mut text = String::from("0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm");
    if missing("/dev/vhost-net") {
        text.push_str(", 1 Insufficient devices.kubevirt.io/vhost-net");
    }
    text.push('.');
    text
}

fn wait_unschedulable(server: &Server, name: &str) -> String {
    server.wait_until(
        "vm",
        name,
        "/status/printableStatus",
        "ErrorUnschedulable",
        PATIENCE,
    );
    wait_for("the refusal in the pod's condition", PATIENCE, || {
        let pods = server.kubectl(&[
            "get",
            "pods",
            "-l",
            &format!("vm.kubevirt.io/name={name}"),
            "-o",
            "json",
        ]);
        let pods: Value = serde_json::from_str(&pods).map_err(|error| error.to_string())?;
        let pod = pods["items"].get(0).ok_or("no launcher pod")?;
        let scheduled = condition(pod, "PodScheduled").ok_or("no condition PodScheduled")?;
        if scheduled["status"] == "False" && scheduled["reason"] == "Unschedulable" {
            Ok(scheduled["message"].as_str().unwrap_or_default().to_owned())
        } else {
            Err(scheduled.to_string())
        }
    })
}

/// Attaches to the serial console until the login prompt appears.
fn read_login_prompt(server: &Server, name: &str) {
    let mut console = Console::attach(server, name);
    // A prompt that was printed before the console was attached is printed again after Enter.
    console.send("\n");
    console.expect("login:", BOOT);
}

/// The launcher pod's logs: its own, and the guest's serial line from its first byte.
fn read_pod_logs(server: &Server, name: &str) {
    let selector = format!("vm.kubevirt.io/name={name}");
    let pod = server.kubectl(&["get", "pods", "-l", &selector, "-o", "name"]);
    let pod = pod.trim();
    let serial = server.kubectl(&["logs", pod, "-c", "guest-console-log"]);
    assert!(serial.contains(guests::FIRST_LINE), "{serial}");
    assert!(server.try_kubectl(&["logs", pod]).success);
    let refused = server.try_kubectl(&["logs", pod, "-c", "nobody"]);
    assert!(
        !refused.success && refused.err.contains("nobody"),
        "{refused:?}"
    );
}

#[test]
fn the_articles_walk_fails_first_then_runs_after_the_edit_and_goes_back() {
    let image = guests::small().expect("the small guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let image = registry.reference("small");
    let server = Server::start(&["--emulation", "off"]);

    // 1. The VM cannot start, and says so in the scheduler's words.
    server.apply(&vm("walk", &image));
    let message = wait_unschedulable(&server, "walk");
    assert_eq!(message, expected_refusal());
    let events = server.kubectl(&["events", "--types=Warning"]);
    assert!(
        events.contains("FailedScheduling") && events.contains(&expected_refusal()),
        "{events}"
    );

    // 2. Find the ConfigMap, and add the property with an editor.
    let maps = server.kubectl(&["-n", "openshift-cnv", "get", "cm"]);
    assert!(
        maps.lines()
            .any(|line| line.starts_with("kubevirt-config ")),
        "{maps}"
    );
    let editor = server.file(
        "editor.sh",
        "#!/bin/sh\nif grep -q '^data:' \"$1\"; then sed -i 's/^data:.*/data:\\n  debug.useEmulation: \"true\"/' \"$1\"; else printf 'data:\\n  debug.useEmulation: \"true\"\\n' >> \"$1\"; fi\n",
    );
    let edited = server.kubectl_with(
        &["-n", "openshift-cnv", "edit", "cm/kubevirt-config"],
        &[("KUBE_EDITOR", &format!("sh {}", editor.display()))],
    );
    assert!(
        edited.out.contains("configmap/kubevirt-config edited"),
        "{edited:?}"
    );

    // 3. Without touching the VM it goes Starting, then Running, and a login prompt can be read.
    server.wait_until("vm", "walk", "/status/printableStatus", "Running", BOOT);
    server.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "vm/walk"]);
    read_login_prompt(&server, "walk");
    read_pod_logs(&server, "walk");

    // 4. The accelerator and its reason are shown.
    let vmi = server.get("vmi", "walk", "default").expect("the VMI runs");
    assert_eq!(vmi["status"]["accelerator"]["type"], "TCG", "{vmi}");
    let emulated =
        condition(&vmi, "SoftwareEmulation").expect("the condition says which accelerator runs");
    assert_eq!(emulated["status"], "True");
    assert!(
        !emulated["message"].as_str().unwrap_or_default().is_empty(),
        "{emulated}"
    );
    let table = server.kubectl(&["get", "vmi", "walk"]);
    assert!(
        table.contains("ACCELERATOR") && table.contains("TCG"),
        "{table}"
    );
    let described = server.kubectl(&["describe", "vmi", "walk"]);
    assert!(
        described.contains("AcceleratorSelected") && described.contains("kubevirt-config"),
        "{described}"
    );
    assert!(
        vmi["status"]["interfaces"][0]["ipAddress"].is_string(),
        "{vmi}"
    );

    the_way_back(&server, &image, &vmi);
}

fn the_way_back(server: &Server, image: &str, vmi: &Value) {
    // 5. The way back: the running VM runs on, a new one waits again.
    let uid = vmi["metadata"]["uid"].clone();
    let back = r#"{"data":{"debug.useEmulation":"false"}}"#;
    server.kubectl(&[
        "-n",
        "openshift-cnv",
        "patch",
        "cm",
        "kubevirt-config",
        "--type=merge",
        "-p",
        back,
    ]);
    server.apply(&vm("second", image));
    assert_eq!(wait_unschedulable(server, "second"), expected_refusal());
    let still = server
        .get("vmi", "walk", "default")
        .expect("the first VMI is still there");
    assert_eq!(
        (&still["metadata"]["uid"], &still["status"]["phase"]),
        (&uid, &Value::from("Running"))
    );

    // 6. An invalid value is reported, and the last good one kept: the second VM goes on waiting.
    let invalid = r#"{"data":{"debug.useEmulation":"maybe"}}"#;
    server.try_kubectl(&[
        "-n",
        "openshift-cnv",
        "patch",
        "cm",
        "kubevirt-config",
        "--type=merge",
        "-p",
        invalid,
    ]);
    wait_for("the invalid value is reported", PATIENCE, || {
        let kubevirt = server
            .get("kv", "kubevirt", "kubevirt")
            .ok_or("no KubeVirt")?;
        let found = condition(&kubevirt, "EmulationConfiguration")
            .ok_or("no condition")?
            .to_string();
        if found.contains("maybe") {
            Ok(())
        } else {
            Err(found)
        }
    });
    let second = server
        .get("vm", "second", "default")
        .expect("the second VM is there");
    assert_eq!(second["status"]["printableStatus"], "ErrorUnschedulable");
}

#[test]
fn the_kubevirt_object_switches_too_and_a_conflict_is_reported() {
    let image = guests::small().expect("the small guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let server = Server::start(&["--emulation", "off"]);
    server.apply(&vm("custom", &registry.reference("small")));
    wait_unschedulable(&server, "custom");

    let on = r#"{"spec":{"configuration":{"developerConfiguration":{"useEmulation":true}}}}"#;
    server.kubectl(&[
        "-n",
        "kubevirt",
        "patch",
        "kv",
        "kubevirt",
        "--type=merge",
        "-p",
        on,
    ]);
    server.wait_until("vm", "custom", "/status/printableStatus", "Running", BOOT);

    let off = r#"{"data":{"debug.useEmulation":"false"}}"#;
    server.kubectl(&[
        "-n",
        "openshift-cnv",
        "patch",
        "cm",
        "kubevirt-config",
        "--type=merge",
        "-p",
        off,
    ]);
    wait_for(
        "the conflict is reported with the winner's name",
        PATIENCE,
        || {
            let kubevirt = server
                .get("kv", "kubevirt", "kubevirt")
                .ok_or("no KubeVirt")?;
            let found = condition(&kubevirt, "EmulationConfiguration").ok_or("no condition")?;
            let message = found["message"].as_str().unwrap_or_default();
            if found.to_string().contains("onflict") && message.contains("kubevirt-config") {
                Ok(())
            } else {
                Err(found.to_string())
            }
        },
    );
    assert_eq!(
        server.get("vmi", "custom", "default").expect("still there")["status"]["phase"],
        "Running"
    );
}
