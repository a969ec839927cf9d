//! The article's walk through every place that has a say: a VM waits, one place changes, the untouched VM runs, and says
//! which place decided; the way back leaves it running. Then a hundred flips beside ten running VMs.
//!
//! Like the article's own walk, it needs a machine whose KVM is missing or unusable.

use acceptance::{Client, PATIENCE, Server, wait_for};
use laboratory::guests;
use laboratory::registry::Registry;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A boot sector runs within a second; on two busy cores, in some more.
const BOOT: Duration = Duration::from_secs(120);
const CONFIG_MAP: &str = "/api/v1/namespaces/openshift-cnv/configmaps/kubevirt-config";

/// One change, as arguments of kubectl.
struct Walk {
    /// Also the VM's name.
    name: &'static str,
    on: Vec<String>,
    off: Vec<String>,
    /// Stands in the status of the VMI that runs because of it.
    decided_by: &'static str,
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// `kubectl patch` of one object.
fn patch(target: &str, patch: &Value) -> Vec<String> {
    let mut arguments = words(&format!("patch {target} --type=merge -p"));
    arguments.push(patch.to_string());
    arguments
}

fn kubevirt(configuration: Value) -> Vec<String> {
    patch(
        "-n kubevirt kv kubevirt",
        &json!({"spec": {"configuration": configuration}}),
    )
}

fn grants() -> Vec<Walk> {
    let map = |namespace: &str, value: Value| {
        patch(
            &format!("-n {namespace} cm kubevirt-config"),
            &json!({"data": {"debug.useEmulation": value}}),
        )
    };
    let annotation = "kubevirt.kubevirt.io/jsonpatch";
    let operation = r#"[{"op":"add","path":"/spec/configuration/developerConfiguration/useEmulation","value":true}]"#;
    let converged = |value: Value| {
        patch(
            "-n openshift-cnv hyperconverged kubevirt-hyperconverged",
            &json!({"metadata": {"annotations": {annotation: value}}}),
        )
    };
    let machine = |policy: Value| {
        patch(
            "vm vm-policy",
            &json!({"spec": {"template": {"spec": {"emulationPolicy": policy}}}}),
        )
    };
    vec![
        Walk {
            name: "config-map-openshift",
            on: map("openshift-cnv", json!("true")),
            off: map("openshift-cnv", Value::Null),
            decided_by: "openshift-cnv/kubevirt-config",
        },
        Walk {
            name: "config-map-kubevirt",
            on: map("kubevirt", json!("true")),
            off: map("kubevirt", Value::Null),
            decided_by: "kubevirt/kubevirt-config",
        },
        Walk {
            name: "hyper-converged",
            on: converged(json!(operation)),
            off: converged(Value::Null),
            decided_by: "HyperConverged",
        },
        Walk {
            name: "use-emulation",
            on: kubevirt(json!({"developerConfiguration": {"useEmulation": true}})),
            off: kubevirt(json!({"developerConfiguration": {"useEmulation": null}})),
            decided_by: "useEmulation",
        },
        Walk {
            name: "emulation-policy",
            on: kubevirt(json!({"emulationPolicy": "Software"})),
            off: kubevirt(json!({"emulationPolicy": null})),
            decided_by: "emulationPolicy",
        },
        Walk {
            name: "vm-policy",
            on: machine(json!("Software")),
            off: machine(Value::Null),
            decided_by: "emulationPolicy",
        },
    ]
}

/// A stage with the boot sector guest, and emulation not permitted.
struct Stage {
    server: Server,
    client: Client,
    registry: Registry,
}

impl Stage {
    fn new(environment: &[(&str, &str)]) -> Stage {
        let image = guests::boot_sector().expect("the boot sector guest is made");
        let registry = Registry::serve(&image.layout).expect("a registry on loopback");
        let server = Server::start_with(&["--emulation", "off"], environment);
        let client = Client::of(&server);
        Stage {
            server,
            client,
            registry,
        }
    }

    fn create(&self, name: &str) {
        let image = self.registry.reference("boot-sector");
        self.client.create_vm(&guests::boot_sector_vm(name, &image));
    }

    fn delete(&self, name: &str) {
        self.server.kubectl(&["delete", "vm", name]);
    }

    fn kubectl(&self, arguments: &[String]) {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.server.kubectl(&arguments);
    }

    fn waits(&self, name: &str) {
        self.server.wait_until(
            "vm",
            name,
            "/status/printableStatus",
            "ErrorUnschedulable",
            PATIENCE,
        );
    }

    /// The VMI, once it runs.
    fn runs(&self, name: &str) -> Value {
        self.server
            .wait_until("vmi", name, "/status/phase", "Running", BOOT);
        self.server
            .wait_until("vmi", name, "/status/accelerator/type", "TCG", BOOT)
    }

    /// The policy in force, once it is `policy`.
    fn policy(&self, policy: &str) {
        wait_for(&format!("the policy {policy}"), PATIENCE, || {
            let path = "/apis/kubevirt.io/v1/namespaces/kubevirt/kubevirts/kubevirt";
            let (_, object) = self.client.send("GET", path, "");
            let found = &object["status"]["emulation"]["policy"];
            if found == policy {
                Ok(())
            } else {
                Err(found.to_string())
            }
        });
    }
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn decided_by(vmi: &Value) -> String {
    vmi["status"]["accelerator"]["decidedBy"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn each_place_that_permits_emulation_lets_the_waiting_vm_run_and_says_so() {
    let stage = Stage::new(&[]);
    stage.server.apply(
        "apiVersion: hco.kubevirt.io/v1beta1\nkind: HyperConverged\nmetadata: {name: kubevirt-hyperconverged, namespace: openshift-cnv}\nspec: {}\n",
    );
    // OpenShift keeps the map in its own namespace only; upstream kept it here.
    stage
        .server
        .kubectl(&["-n", "kubevirt", "create", "cm", "kubevirt-config"]);
    for walk in grants() {
        stage.create(walk.name);
        stage.waits(walk.name);
        stage.kubectl(&walk.on);
        let vmi = stage.runs(walk.name);
        let place = decided_by(&vmi);
        assert!(place.contains(walk.decided_by), "{}: {place}", walk.name);
        stage.kubectl(&walk.off);
        // A VM's own words reach its running instance by a restart only; all others are compared with what runs.
        let (condition, target) = match walk.name {
            "vm-policy" => ("RestartRequired", "vm"),
            _ => ("AcceleratorOutdated", "vmi"),
        };
        stage.server.wait_condition(target, walk.name, condition);
        let still = stage.server.get("vmi", walk.name, "default");
        let still = still.expect("it runs on");
        assert_eq!(uid(&still), uid(&vmi), "{}", walk.name);
        assert_eq!(still["status"]["phase"], "Running", "{}", walk.name);
        stage.delete(walk.name);
    }
}

#[test]
fn the_servers_environment_permits_emulation_as_that_of_hyper_converged_did() {
    let stage = Stage::new(&[("KVM_EMULATION", "true")]);
    stage.create("environment");
    let place = decided_by(&stage.runs("environment"));
    assert!(place.contains("KVM_EMULATION"), "{place}");
}

#[test]
fn a_namespace_and_a_node_forbid_what_the_cluster_permits() {
    let stage = Stage::new(&[]);
    stage.kubectl(&kubevirt(json!({"emulationPolicy": "Software"})));
    stage.policy("Software");
    let nodes = stage.server.kubectl(&["get", "nodes", "-o", "name"]);
    for (name, target) in [("namespace", "namespace/default"), ("node", nodes.trim())] {
        let label = |value: &str| {
            words(&format!(
                "label {target} anyvirt.io/emulation-policy{value}"
            ))
        };
        stage.kubectl(&label("=None"));
        stage.create(name);
        stage.waits(name);
        let vmi = stage.server.get("vmi", name, "default").expect("it waits");
        let conditions = vmi["status"]["conditions"].to_string();
        assert!(
            conditions.contains("anyvirt.io/emulation-policy"),
            "the cap is named: {conditions}"
        );
        stage.kubectl(&label("-"));
        stage.runs(name);
        stage.delete(name);
    }
}

#[test]
fn a_hundred_flips_restart_none_of_ten_running_vms_and_start_those_that_wait() {
    const VMS: usize = 10;
    const FLIPS: usize = 100;
    let stage = Stage::new(&[]);
    let flip = |on: bool| {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "kubevirt-config", "namespace": "openshift-cnv"},
            "data": {"debug.useEmulation": on.to_string()},
        });
        let (code, answer) = stage.client.send("PUT", CONFIG_MAP, &map.to_string());
        assert_eq!(code, 200, "{answer}");
        stage.policy(if on { "Software" } else { "None" });
    };
    flip(true);
    let names: Vec<String> = (0..VMS).map(|index| format!("runner-{index}")).collect();
    names.iter().for_each(|name| stage.create(name));
    let before: BTreeMap<&String, Value> = names.iter().map(|it| (it, stage.runs(it))).collect();

    for round in 0..FLIPS / 2 {
        flip(false);
        let waits = round % 10 == 0;
        if waits {
            stage.create("waiter");
            stage.waits("waiter");
        }
        flip(true);
        if waits {
            stage.runs("waiter");
            stage.delete("waiter");
        }
    }
    for (name, vmi) in before {
        let still = stage
            .server
            .get("vmi", name, "default")
            .expect("it runs on");
        assert_eq!(uid(&still), uid(&vmi), "{name} is the same");
        assert_eq!(still["status"]["phase"], "Running", "{name}");
        let times = |vmi: &Value| vmi["status"]["phaseTransitionTimestamps"].to_string();
        assert_eq!(times(&still), times(&vmi), "{name} changed its phase");
    }
    let events = stage.server.kubectl(&["get", "events", "-o", "name"]);
    let starts = stage.server.kubectl(&[
        "get",
        "events",
        "--field-selector=reason=Started",
        "-o",
        "name",
    ]);
    assert_eq!(starts.lines().count(), VMS + FLIPS / 20, "{events}");
}
