//! Manifests with exactly one thing wrong, as many as there are seeds: the server must answer each
//! with a 4xx that names the field, and never fail itself.
//!
//! Send them with `fieldValidation=Strict`, as `kubectl` does: without it, Kubernetes drops unknown
//! fields and only warns.

use serde_json::{Value, json};

/// A manifest with one thing wrong.
#[derive(Clone, Debug)]
pub struct Malformed {
    /// The object.
    pub manifest: Value,
    /// What is wrong with it, for a failing test's message.
    pub what_is_wrong: String,
    /// The field that the answer must name, as its last path segment without an index.
    pub field: String,
}

/// The manifest of that seed; the same seed always makes the same manifest.
pub fn malformed(seed: u64) -> Malformed {
    let mut dice = Dice(seed);
    let (mut manifest, root) = if dice.below(2) == 0 {
        machine(seed)
    } else {
        instance(seed)
    };
    let faults: [fn(&mut Dice) -> Fault; 5] =
        [misspelt, wrong_type, not_served, against_a_rule, missing];
    let fault = faults[dice.below(faults.len())](&mut dice);
    let pointer = format!("{root}{}", fault.pointer);
    put(&mut manifest, &pointer, fault.value.clone());
    let what_is_wrong = match fault.value {
        Some(value) => format!("{}: {pointer} = {value}", fault.kind),
        None => format!("{}: {pointer} is missing", fault.kind),
    };
    Malformed {
        manifest,
        what_is_wrong,
        field: fault.field.to_owned(),
    }
}

struct Fault {
    kind: &'static str,
    /// Below the instance's spec.
    pointer: String,
    /// What to write there; `None` takes away what is there.
    value: Option<Value>,
    field: &'static str,
}

/// SplitMix64: small, fast, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.throw() % (bound.max(1) as u64)).unwrap_or_default()
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

fn spec() -> Value {
    json!({
        "terminationGracePeriodSeconds": 0,
        "domain": {
            "cpu": {"cores": 1},
            "memory": {"guest": "64Mi"},
            "devices": {
                "disks": [
                    {"name": "root", "disk": {"bus": "virtio"}, "bootOrder": 1},
                    {"name": "seed", "disk": {"bus": "virtio"}},
                ],
                "interfaces": [{"name": "default", "model": "virtio", "masquerade": {}}],
                "rng": {},
            },
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [
            {"name": "root", "containerDisk": {"image": "127.0.0.1:5000/guest:1"}},
            {"name": "seed", "cloudInitNoCloud": {"userData": "#cloud-config\n"}},
        ],
    })
}

fn machine(seed: u64) -> (Value, &'static str) {
    let manifest = json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": format!("malformed-{seed}"), "namespace": "default"},
        "spec": {"runStrategy": "Halted", "template": {"spec": spec()}},
    });
    (manifest, "/spec/template/spec")
}

fn instance(seed: u64) -> (Value, &'static str) {
    let manifest = json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": format!("malformed-{seed}"), "namespace": "default"},
        "spec": spec(),
    });
    (manifest, "/spec")
}

/// A field that no version of the API has.
fn misspelt(dice: &mut Dice) -> Fault {
    let (parent, field) = dice.one(&[
        ("", "terminationGracePeriod"),
        ("", "volume"),
        ("/domain", "memroy"),
        ("/domain", "cpus"),
        ("/domain/cpu", "core"),
        ("/domain/memory", "guests"),
        ("/domain/resources", "request"),
        ("/domain/devices", "disk"),
        ("/domain/devices", "nics"),
        ("/domain/devices/disks/0", "boot-order"),
        ("/domain/devices/disks/0/disk", "buss"),
        ("/domain/devices/interfaces/0", "mac"),
        ("/domain/devices/interfaces/0/masquerade", "cidr"),
        ("/networks/0", "pods"),
        ("/volumes/0", "containerdisk"),
        ("/volumes/0/containerDisk", "images"),
        ("/volumes/1/cloudInitNoCloud", "userdata"),
    ]);
    let value = dice.one(&[json!("x"), json!(1), json!({}), json!([])]);
    Fault {
        kind: "misspelt",
        pointer: format!("{parent}/{field}"),
        value: Some(value),
        field,
    }
}

/// A value of a type that the field cannot have.
fn wrong_type(dice: &mut Dice) -> Fault {
    const ANYTHING_BUT: [(&str, &str); 21] = [
        ("/terminationGracePeriodSeconds", "integer"),
        ("/hostname", "string"),
        ("/nodeSelector", "object"),
        ("/tolerations", "array"),
        ("/domain", "object"),
        ("/domain/cpu", "object"),
        ("/domain/cpu/cores", "integer"),
        ("/domain/cpu/model", "string"),
        ("/domain/memory/guest", "quantity"),
        ("/domain/resources/requests", "object"),
        ("/domain/machine/type", "string"),
        ("/domain/devices", "object"),
        ("/domain/devices/disks", "array"),
        ("/domain/devices/disks/0/name", "string"),
        ("/domain/devices/disks/0/bootOrder", "integer"),
        ("/domain/devices/interfaces/0/model", "string"),
        ("/domain/devices/autoattachSerialConsole", "boolean"),
        ("/networks", "array"),
        ("/volumes", "array"),
        ("/volumes/0/containerDisk/image", "string"),
        ("/volumes/1/cloudInitNoCloud/userData", "string"),
    ];
    let (pointer, wanted) = dice.one(&ANYTHING_BUT);
    let wrong: Vec<Value> = [
        ("string", json!("text")),
        ("integer", json!(7)),
        ("boolean", json!(true)),
        ("array", json!([1])),
        ("object", json!({"a": 1})),
    ]
    .into_iter()
    .filter(|(name, _)| *name != wanted)
    .filter(|(name, _)| wanted != "quantity" || !matches!(*name, "string" | "integer"))
    .map(|(_, value)| value)
    .collect();
    let value = dice.one(&wrong);
    let field = pointer.rsplit('/').next().unwrap_or_default();
    Fault {
        kind: "wrong type",
        pointer: pointer.to_owned(),
        value: Some(value),
        field,
    }
}

/// A field of KubeVirt that this version does not serve.
fn not_served(dice: &mut Dice) -> Fault {
    let (parent, field) = dice.one(&[
        ("", "livenessProbe"),
        ("", "affinity"),
        ("", "accessCredentials"),
        ("", "dnsPolicy"),
        ("", "priorityClassName"),
        ("/domain", "launchSecurity"),
        ("/domain", "ioThreadsPolicy"),
        ("/domain/cpu", "dedicatedCpuPlacement"),
        ("/domain/cpu", "numa"),
        ("/domain/memory", "hugepages"),
        ("/domain/devices", "gpus"),
        ("/domain/devices", "hostDevices"),
        ("/domain/devices", "tpm"),
        ("/domain/devices", "watchdog"),
        ("/domain/devices/disks/0", "lun"),
        ("/domain/devices/disks/0", "errorPolicy"),
        ("/domain/devices/interfaces/0", "sriov"),
        ("/domain/devices/interfaces/0", "bridge"),
        ("/networks/0", "multus"),
        ("/volumes/0", "persistentVolumeClaim"),
        ("/volumes/0", "dataVolume"),
        ("/volumes/1", "sysprep"),
    ]);
    let value = dice.one(&[
        json!("x"),
        json!(true),
        json!({"name": "x"}),
        json!([{"name": "x"}]),
    ]);
    Fault {
        kind: "not served",
        pointer: format!("{parent}/{field}"),
        value: Some(value),
        field,
    }
}

/// A value of the right type that a rule forbids.
fn against_a_rule(dice: &mut Dice) -> Fault {
    let text = dice.one(&["", "-", "..", "a b", "x\u{0}y", "\u{1f980}", "%s%n", "A_B"]);
    let long = "x".repeat(dice.below(4000) + 2049);
    let number = i64::try_from(dice.throw() >> 2).unwrap_or(i64::MAX);
    // Pointer, value, and the field that the answer names if it is not the pointer's last.
    let faults: [(&str, Value, Option<&'static str>); 22] = [
        ("/domain/memory", json!({}), Some("guest")),
        ("/domain/memory/guest", json!(format!("{text}Mi")), None),
        ("/domain/memory/guest", json!(format!("-{number}")), None),
        ("/domain/memory/guest", json!(number % 1_000_000), None),
        ("/domain/resources/requests/memory", json!("-1Gi"), None),
        ("/domain/resources/limits/memory", json!("2M"), None),
        (
            "/domain/cpu/cores",
            json!(256 + number % 1_000_000),
            Some("cpu"),
        ),
        ("/domain/cpu/model", json!(format!("host,{text}")), None),
        ("/domain/machine/type", json!(format!("z{text}")), None),
        ("/domain/firmware/uuid", json!(format!("g{text}")), None),
        ("/architecture", json!(format!("z{text}")), None),
        ("/hostname", json!(format!("-{text}")), None),
        ("/evictionStrategy", json!(format!("z{text}")), None),
        ("/startStrategy", json!(format!("z{text}")), None),
        ("/terminationGracePeriodSeconds", json!(-1 - number), None),
        (
            "/domain/devices/disks/0/name",
            json!(format!("z{text}")),
            None,
        ),
        ("/domain/devices/disks/0/bootOrder", json!(0), None),
        (
            "/domain/devices/disks/0/disk/bus",
            json!(format!("z{text}")),
            None,
        ),
        (
            "/domain/devices/disks/0/serial",
            json!(format!("{text}/")),
            None,
        ),
        (
            "/domain/devices/interfaces/0/macAddress",
            json!(format!("0{text}")),
            None,
        ),
        (
            "/domain/devices/interfaces/0/ports",
            json!([{"port": 65536 + number % 1000}]),
            None,
        ),
        (
            "/volumes/1/cloudInitNoCloud/userData",
            json!(long),
            Some("cloudInitNoCloud"),
        ),
    ];
    let (pointer, value, field) = dice.one(&faults);
    let last = pointer.rsplit('/').next().unwrap_or_default();
    Fault {
        kind: "against a rule",
        pointer: pointer.to_owned(),
        value: Some(value),
        field: field.unwrap_or(last),
    }
}

/// A part without which the rest means nothing.
fn missing(dice: &mut Dice) -> Fault {
    let (pointer, field) = dice.one(&[
        ("/domain/devices/interfaces/0/masquerade", "interfaces"),
        ("/networks/0/pod", "networks"),
        ("/volumes/0/containerDisk", "volumes"),
        ("/volumes/0/containerDisk/image", "image"),
        ("/volumes/1/cloudInitNoCloud/userData", "cloudInitNoCloud"),
        ("/domain/devices/disks/0/name", "name"),
        ("/domain/devices", "devices"),
        ("/domain", "domain"),
    ]);
    Fault {
        kind: "missing",
        pointer: pointer.to_owned(),
        value: None,
        field,
    }
}

/// Writes `value` at a JSON pointer, making objects on the way; `None` takes the field away.
fn put(manifest: &mut Value, pointer: &str, value: Option<Value>) {
    let steps: Vec<&str> = pointer.split('/').skip(1).collect();
    let Some((last, parents)) = steps.split_last() else {
        return;
    };
    let mut node = manifest;
    for step in parents {
        node = match step.parse::<usize>() {
            Ok(index) => &mut node[index],
            Err(_) => &mut node[*step],
        };
    }
    match (value, node) {
        (Some(value), node) => node[*last] = value,
        (None, Value::Object(fields)) => {
            fields.remove(*last);
        }
        (None, _) => {}
    }
}
