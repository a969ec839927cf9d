//! The commands about accelerators, with the real binary and real guests: what explains, what is told before it is
//! changed, and what then happens.
//!
//! As the article's walk, these need a machine whose KVM is missing or unusable, as this project's machines are.

use acceptance::{PATIENCE, Said, Server, wait_for};
use laboratory::guests::{self, small_vm as vm};
use laboratory::registry::Registry;
use serde_json::Value;
use std::time::Duration;

/// A small guest boots in about 2 s under TCG when the machine is idle; CI is not.
const BOOT: Duration = Duration::from_secs(180);

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("not JSON ({error}): {said:?}"))
}

/// `anyvirt explain WHAT -o json`: its exit code and what it says.
fn explain(server: &Server, what: &str) -> (Option<i32>, Value) {
    let said = server.anyvirt(&["explain", what, "-n", "default", "-o", "json"]);
    (said.code, json(&said))
}

fn wait_unschedulable(server: &Server, name: &str) -> String {
    let vm = server.wait_until(
        "vm",
        name,
        "/status/printableStatus",
        "ErrorUnschedulable",
        PATIENCE,
    );
    let conditions = vm["status"]["conditions"]
        .as_array()
        .expect("conditions")
        .clone();
    let scheduled = conditions.iter().find(|it| it["type"] == "PodScheduled");
    scheduled.expect("PodScheduled")["message"]
        .as_str()
        .expect("a message")
        .to_owned()
}

fn wait_running(server: &Server, name: &str) {
    server.wait_until("vm", name, "/status/printableStatus", "Running", BOOT);
}

/// The versions of everything that a change of the policy could write.
fn versions(server: &Server) -> String {
    let kinds = "configmaps,kubevirts,namespaces,virtualmachines,virtualmachineinstances";
    let path = "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{\"\\n\"}{end}";
    server.kubectl(&["get", kinds, "--all-namespaces", "-o", path])
}

#[test]
fn what_is_explained_and_told_is_what_happens() {
    let image = guests::small().expect("the small guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let image = registry.reference("small");
    let server = Server::start(&["--emulation", "off"]);
    server.apply(&vm("first", &image));
    let refusal = wait_unschedulable(&server, "first");

    the_cause_is_named(&server, &refusal);
    a_dry_run_writes_nothing(&server);

    // What waited starts, on what the plan said.
    let said = server.anyvirt(&["emulation", "on", "--yes", "-o", "json"]);
    assert!(said.success, "{said:?}");
    assert_eq!(json(&said)["waiting"][0]["after"], "TCG");
    wait_running(&server, "first");
    the_running_guest_is_explained(&server);
    the_doctor_says_the_truth(&server);
    who_starts_a_machine_beside_other_owners_is_warned(&server, &image);
    a_namespace_is_capped_and_freed(&server, &image);
    a_machine_has_a_policy_of_its_own(&server, &image);
}

fn the_cause_is_named(server: &Server, refusal: &str) {
    let (code, explained) = explain(server, "vm/first");
    assert_eq!(code, Some(7), "{explained}");
    assert_eq!(explained["kind"], "Explanation");
    assert_eq!(explained["causeId"], "EmulationNotPermitted", "{explained}");
    assert_eq!(explained["evidence"][0]["text"], refusal, "word for word");
    let commands: Vec<&str> = explained["remedies"]
        .as_array()
        .expect("remedies")
        .iter()
        .filter_map(|it| it["command"].as_str())
        .collect();
    assert!(commands.contains(&"anyvirt emulation on"), "{explained}");
    assert!(
        commands.contains(&"anyvirt emulation on --vm first -n default"),
        "{explained}"
    );

    let told = server.anyvirt(&["explain", "first", "-n", "default"]);
    assert!(
        told.out.contains(refusal) && told.out.contains("$ anyvirt emulation on"),
        "{told:?}"
    );
    let nobody = server.anyvirt(&["explain", "vm/frist", "-n", "default"]);
    assert_eq!(nobody.code, Some(3));
    assert!(nobody.err.contains("did you mean first?"), "{nobody:?}");
}

fn a_dry_run_writes_nothing(server: &Server) {
    let before = versions(server);
    for arguments in [
        &["emulation", "on", "--dry-run"][..],
        &["emulation", "auto", "--dry-run"],
        &["emulation", "off", "--dry-run", "--namespace", "default"],
        &["emulation", "on", "--dry-run", "--vm", "first"],
    ] {
        let said = server.anyvirt(arguments);
        assert!(
            said.success && said.err.contains("nothing was changed"),
            "{arguments:?}: {said:?}"
        );
    }
    // Nobody can be asked here, so nothing may happen either.
    assert_eq!(server.anyvirt(&["emulation", "on"]).code, Some(2));
    assert_eq!(versions(server), before);
    let said = server.anyvirt(&["emulation", "on", "--dry-run", "-o", "json"]);
    let plan = json(&said);
    assert_eq!(plan["waiting"][0]["name"], "first", "{plan}");
    assert_eq!(plan["waiting"][0]["before"], "waits", "{plan}");
    assert_eq!(plan["waiting"][0]["after"], "TCG", "{plan}");
    assert_eq!(plan["newStarts"][0]["after"], "TCG", "{plan}");
}

/// At the write by kubectl, and at the start by our own command; nothing starts for it.
fn who_starts_a_machine_beside_other_owners_is_warned(server: &Server, image: &str) {
    let words = "do not run untrusted guests of different owners on one node";
    server.kubectl(&["create", "namespace", "neighbour"]);
    let manifest = vm("theirs", image).replace("runStrategy: Always", "runStrategy: Halted");
    let path = server.file("theirs.yaml", &manifest).display().to_string();
    let written = server.try_kubectl(&["apply", "-n", "neighbour", "-f", &path]);
    assert!(
        written.success && written.err.contains("Warning: this virtual machine"),
        "{written:?}"
    );
    let start = |namespace: &str, name: &str| {
        server.anyvirt(&["start", name, "-n", namespace, "--dry-run"])
    };
    let said = start("neighbour", "theirs");
    assert!(said.success && said.err.contains(words), "{said:?}");
    assert_eq!(said.err.matches("Warning: ").count(), 1, "{said:?}");
    // Of one's own beside one's own there is nothing to say.
    let manifest = vm("ours", image).replace("runStrategy: Always", "runStrategy: Halted");
    server.apply(&manifest);
    let said = start("default", "ours");
    assert!(said.success && !said.err.contains("Warning: "), "{said:?}");
    server.kubectl(&["delete", "vm", "ours"]);
    server.kubectl(&["delete", "namespace", "neighbour"]);
}

fn the_running_guest_is_explained(server: &Server) {
    // The accelerator is reported right after the phase.
    wait_for("the accelerator is explained", PATIENCE, || {
        let (code, explained) = explain(server, "first");
        if code != Some(0) || explained["causeId"] != "RunningEmulated" {
            return Err(explained.to_string());
        }
        let evidence = explained["evidence"].to_string();
        assert!(
            evidence.contains("query-kvm") && evidence.contains("TCG (enabled: false)"),
            "{evidence}"
        );
        Ok(())
    });
    let status = json(&server.anyvirt(&["emulation", "status", "-o", "json"]));
    assert_eq!(status["policy"], "Software", "{status}");
    let place = status["decidedBy"].as_str().unwrap_or_default();
    assert!(place.contains("openshift-cnv/kubevirt-config"), "{status}");
    assert_eq!(
        status["virtualMachines"][0]["accelerator"], "TCG",
        "{status}"
    );
    let status = json(&server.anyvirt(&["status", "-o", "json"]));
    assert_eq!(status["acceleration"]["running"]["TCG"], 1, "{status}");

    let node = status["nodes"][0]["name"]
        .as_str()
        .expect("one node")
        .to_owned();
    let (code, explained) = explain(server, &format!("node/{node}"));
    assert_eq!(code, Some(0), "emulation is permitted there: {explained}");
    assert_eq!(explained["causeId"], "NodeUnusable", "{explained}");
}

/// What the doctor finds is what the node found, and what the files say.
fn the_doctor_says_the_truth(server: &Server) {
    let said = server.anyvirt(&["doctor", "-o", "json"]);
    let report = json(&said);
    assert_eq!(said.code, Some(0), "{report}");
    assert_eq!(
        (&report["apiVersion"], &report["kind"]),
        (&Value::from("cli.anyvirt.io/v1"), &Value::from("Doctor"))
    );
    let check = |id: &str| {
        let checks = report["checks"].as_array().expect("checks");
        checks
            .iter()
            .find(|it| it["id"] == id)
            .unwrap_or_else(|| panic!("no {id} in {report}"))
            .clone()
    };
    let nodes: Value =
        serde_json::from_str(&server.kubectl(&["get", "nodes", "-o", "json"])).expect("JSON");
    let conditions = nodes["items"][0]["status"]["conditions"]
        .as_array()
        .expect("conditions")
        .clone();
    let verdict = conditions
        .iter()
        .find(|it| it["type"] == "HardwareVirtualization")
        .expect("a verdict");
    let class = verdict["reason"].as_str().expect("a class");
    let kvm = check("kvm");
    assert!(
        kvm["evidence"]
            .as_str()
            .is_some_and(|it| it.starts_with(class)),
        "{kvm} but the node says {class}"
    );
    assert_eq!(kvm["result"], "warning", "emulation is permitted: {kvm}");
    for (id, path) in [("vhost-net", "/dev/vhost-net"), ("tun", "/dev/net/tun")] {
        let opens = std::fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .is_ok();
        assert_eq!(check(id)["result"] == "ok", opens, "{path}: {}", check(id));
    }
    assert_eq!(check("qemu-amd64")["result"], "ok");
    assert_eq!(check("policy")["result"], "ok");

    let retaken = server.anyvirt(&["doctor", "--retake", "-o", "json"]);
    assert_eq!(json(&retaken)["causeId"], "NodeUnusable", "{retaken:?}");
    assert!(retaken.err.contains("tries again"), "{retaken:?}");
}

fn a_namespace_is_capped_and_freed(server: &Server, image: &str) {
    let said = server.anyvirt(&["emulation", "off", "--namespace", "default", "--yes"]);
    assert!(said.success, "{said:?}");
    server.apply(&vm("capped", image));
    wait_unschedulable(server, "capped");
    let (code, explained) = explain(server, "capped");
    assert_eq!(
        (code, &explained["causeId"]),
        (Some(7), &Value::from("CappedByNamespace")),
        "{explained}"
    );
    let cure = explained["remedies"].to_string();
    assert!(
        cure.contains("anyvirt emulation auto --namespace default"),
        "{cure}"
    );
    // Who runs goes on.
    let first = server.get("vmi", "first", "default").expect("it runs on");
    assert_eq!(first["status"]["phase"], "Running");

    let said = server.anyvirt(&["emulation", "auto", "--namespace", "default", "--yes"]);
    assert!(said.success, "{said:?}");
    wait_running(server, "capped");
    let namespace = server
        .get("namespace", "default", "default")
        .expect("a namespace");
    assert_eq!(
        namespace["metadata"]["labels"]["anyvirt.io/emulation-policy"],
        Value::Null
    );
}

fn a_machine_has_a_policy_of_its_own(server: &Server, image: &str) {
    let said = server.anyvirt(&["emulation", "off", "--yes", "-o", "json"]);
    let plan = json(&said);
    assert_eq!(plan["running"].as_array().map(Vec::len), Some(2), "{plan}");
    server.apply(&vm("own", image));
    wait_unschedulable(server, "own");
    assert_eq!(
        server.anyvirt(&["doctor"]).code,
        Some(7),
        "KVM does not work, and emulation is forbidden"
    );

    let said = server.anyvirt(&["emulation", "on", "--vm", "own", "-n", "default", "--yes"]);
    assert!(said.success, "{said:?}");
    wait_running(server, "own");
    let own = server.get("vmi", "own", "default").expect("it runs");
    assert_eq!(own["spec"]["emulationPolicy"], "Software");
    wait_for("its policy is told with its place", PATIENCE, || {
        let status = json(&server.anyvirt(&["emulation", "status", "-o", "json"]));
        let rows = status["virtualMachines"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let row = rows
            .iter()
            .find(|row| row["name"] == "own")
            .ok_or("no row")?;
        let place = row["decidedBy"].as_str().unwrap_or_default();
        if row["accelerator"] == "TCG" && place.contains("emulationPolicy") {
            Ok(())
        } else {
            Err(row.to_string())
        }
    });
    // Those who would not start again are listed, with the reason.
    wait_for("the others are outdated", PATIENCE, || {
        let said = server.anyvirt(&["emulation", "status"]);
        if said.out.contains("default/first is outdated:") {
            Ok(())
        } else {
            Err(said.out)
        }
    });
}
