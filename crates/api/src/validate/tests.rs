use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::crds;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

fn cluster() -> ClusterConfiguration {
    ClusterConfiguration::of_architecture("amd64")
}

/// An instance with which nothing is wrong.
fn good() -> Value {
    json!({
        "domain": {
            "memory": {"guest": "64Mi"},
            "devices": {
                "disks": [{"name": "root", "disk": {"bus": "virtio"}}, {"name": "seed"}],
                "interfaces": [{"name": "default", "masquerade": {}}],
            },
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [
            {"name": "root", "containerDisk": {"image": "registry/debian:12"}},
            {"name": "seed", "cloudInitNoCloud": {"userData": "#cloud-config"}},
        ],
    })
}

/// `good` with `value` at the JSON pointer `at`; parents are made as needed.
fn with(at: &str, value: Value) -> Value {
    let mut spec = good();
    let mut node = &mut spec;
    for step in at.split('/').skip(1) {
        node = match step.parse::<usize>() {
            Ok(index) => {
                if !node.is_array() {
                    *node = json!([]);
                }
                let items = node.as_array_mut().unwrap();
                if index >= items.len() {
                    items.resize(index + 1, json!({}));
                }
                &mut items[index]
            }
            Err(_) => &mut node[step],
        };
    }
    *node = value;
    spec
}

fn causes_of(spec: Value) -> Vec<Cause> {
    let mut spec: VirtualMachineInstanceSpec = serde_json::from_value(spec).unwrap();
    let identity = FirmwareIdentity {
        uuid: "5d307ca9-b3ef-428c-8861-06e72d69f223".to_owned(),
        serial: "s".to_owned(),
    };
    defaults::instance_spec(&mut spec, &cluster(), &identity);
    instance_spec("spec", &spec, &cluster())
}

/// Each case: where, what; then the only cause's reason, field and message.
fn check(cases: &[(&str, Value, Reason, &str, &str)]) {
    for (at, value, reason, field, message) in cases {
        let causes = causes_of(with(at, value.clone()));
        let expected = Cause {
            reason: *reason,
            field: (*field).to_owned(),
            message: (*message).to_owned(),
        };
        assert_eq!(causes, [expected], "{at} = {value}");
    }
}

use Reason::{
    FieldValueDuplicate as Duplicate, FieldValueInvalid as Invalid,
    FieldValueNotSupported as NotSupported, FieldValueRequired as Required,
};

#[test]
fn nothing_is_wrong_with_what_is_served() {
    assert_eq!(causes_of(good()), []);
    for (at, value) in [
        (
            "/domain/cpu",
            json!({"cores": 2, "sockets": 2, "threads": 1, "model": "Haswell", "features": [{"name": "vmx", "policy": "disable"}]}),
        ),
        ("/domain/machine", json!({"type": "pc-q35-7.2"})),
        (
            "/domain/resources",
            json!({"requests": {"memory": "64Mi", "cpu": "100m"}, "limits": {"memory": "1Gi", "cpu": 1}}),
        ),
        (
            "/domain/firmware",
            json!({"bootloader": {"bios": {}}, "kernelBoot": {"kernelArgs": "console=ttyS0", "container": {"image": "a", "kernelPath": "/boot/vmlinuz"}}}),
        ),
        ("/domain/clock", json!({"timezone": "Europe/Berlin"})),
        ("/domain/devices/rng", json!({})),
        (
            "/domain/devices/inputs",
            json!([{"name": "tablet", "type": "tablet", "bus": "usb"}]),
        ),
        (
            "/domain/devices/interfaces/0/ports",
            json!([{"port": 80}, {"port": 80, "protocol": "UDP"}]),
        ),
        (
            "/volumes/2",
            json!({"name": "scratch", "emptyDisk": {"capacity": "1Gi"}}),
        ),
        (
            "/tolerations",
            json!([{"key": "a", "operator": "Exists", "effect": "NoSchedule"}]),
        ),
        ("/evictionStrategy", json!("LiveMigrateIfPossible")),
        ("/startStrategy", json!("Paused")),
        ("/domain/devices/blockMultiQueue", json!(false)),
        ("/accessCredentials", json!([])),
    ] {
        assert_eq!(causes_of(with(at, value.clone())), [], "{at} = {value}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn disks_and_volumes_are_refused_in_upstreams_words() {
    check(&[
        (
            "/domain/devices/disks/1/name",
            json!("x"),
            Invalid,
            "spec.domain.devices.disks[1].name",
            "spec.domain.devices.disks[1].Name 'x' not found.",
        ),
        (
            "/volumes/2",
            json!({"name": "root", "emptyDisk": {"capacity": "1Gi"}}),
            Invalid,
            "spec.volumes[2].name",
            "spec.volumes[2] and spec.volumes[0] must not have the same Name.",
        ),
        (
            "/volumes/1",
            json!({"name": "seed"}),
            Invalid,
            "spec.volumes[1]",
            "spec.volumes[1] must have exactly one source type set",
        ),
        (
            "/domain/devices/disks/0/bootOrder",
            json!(0),
            Invalid,
            "spec.domain.devices.disks[0].bootOrder",
            "spec.domain.devices.disks[0] must have a boot order > 0, if supplied",
        ),
        (
            "/domain/devices/disks/0/cdrom",
            json!({}),
            Invalid,
            "spec.domain.devices.disks[0]",
            "spec.domain.devices.disks[0] can only have a single target type defined",
        ),
        (
            "/domain/devices/disks/0/disk/bus",
            json!("ide"),
            Invalid,
            "spec.domain.devices.disks[0].disk.bus",
            "IDE bus is not supported",
        ),
        (
            "/domain/devices/disks/0/disk/bus",
            json!("floppy"),
            Invalid,
            "spec.domain.devices.disks[0].disk.bus",
            "spec.domain.devices.disks[0].disk.bus is set with an unrecognized bus floppy, must be one of: [virtio scsi sata usb]",
        ),
        (
            "/domain/devices/disks/0",
            json!({"name": "root", "cdrom": {"bus": "virtio"}}),
            Invalid,
            "spec.domain.devices.disks[0].cdrom.bus",
            "Bus type virtio is invalid for CD-ROM device",
        ),
        (
            "/domain/devices/disks/0/disk",
            json!({"readonly": true}),
            Invalid,
            "spec.domain.devices.disks[0].disk.readonly",
            "sata hard-disks do not support read-only.",
        ),
        (
            "/domain/devices/disks/0/serial",
            json!("a b"),
            Invalid,
            "spec.domain.devices.disks[0].serial",
            "spec.domain.devices.disks[0].serial must be made up of the following characters [A-Za-z0-9_.+-], if specified",
        ),
        (
            "/domain/devices/disks/0/cache",
            json!("unsafe"),
            Invalid,
            "spec.domain.devices.disks[0].cache",
            "spec.domain.devices.disks[0].cache has invalid value unsafe",
        ),
        (
            "/domain/devices/disks/0/io",
            json!("io_uring"),
            NotSupported,
            "spec.domain.devices.disks[0].io",
            "Disk IO mode for spec.domain.devices.disks[0].io is not supported. Supported modes are: native, threads.",
        ),
        (
            "/volumes/1/cloudInitNoCloud",
            json!({}),
            Invalid,
            "spec.volumes[1].cloudInitNoCloud",
            "spec.volumes[1].cloudInitNoCloud must have at least one userdatasource or one networkdatasource set.",
        ),
        (
            "/volumes/1/cloudInitNoCloud/secretRef",
            json!({"name": "s"}),
            Invalid,
            "spec.volumes[1].cloudInitNoCloud",
            "spec.volumes[1].cloudInitNoCloud must have only one userdatasource set.",
        ),
        (
            "/volumes/1/cloudInitNoCloud",
            json!({"userDataBase64": "%"}),
            Invalid,
            "spec.volumes[1].cloudInitNoCloud.userDataBase64",
            "spec.volumes[1].cloudInitNoCloud.userDataBase64 is not a valid base64 value.",
        ),
        (
            "/volumes/1/cloudInitNoCloud/userData",
            json!("x".repeat(2049)),
            Invalid,
            "spec.volumes[1].cloudInitNoCloud",
            "spec.volumes[1].cloudInitNoCloud userdata exceeds 2048 byte limit. Should use UserDataSecretRef for larger data.",
        ),
        (
            "/volumes/0/containerDisk/image",
            json!(""),
            Required,
            "spec.volumes[0].containerDisk.image",
            "spec.volumes[0].containerDisk.image is a required field",
        ),
        (
            "/volumes/0/containerDisk/path",
            json!("../etc"),
            Invalid,
            "spec.volumes[0].containerDisk.path",
            "spec.volumes[0].containerDisk.path must be an absolute path to a file without relative elements",
        ),
        (
            "/volumes/2",
            json!({"name": "host", "hostDisk": {"path": "/a", "type": "Disk"}}),
            Invalid,
            "spec.volumes[2]",
            "HostDisk feature gate is not enabled",
        ),
        (
            "/domain/devices/inputs/0",
            json!({"name": "m", "bus": "ps2"}),
            Invalid,
            "spec.domain.devices.inputs[0].bus",
            "Input device can have only virtio or usb bus.",
        ),
        (
            "/domain/devices/inputs/0",
            json!({"name": "m", "type": "mouse"}),
            Invalid,
            "spec.domain.devices.inputs[0].type",
            "Input device can have only tablet type.",
        ),
    ]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn networks_are_refused_in_upstreams_words() {
    check(&[
        (
            "/domain/devices/interfaces/0/model",
            json!("ne3k"),
            NotSupported,
            "spec.domain.devices.interfaces[0].model",
            "interface spec.domain.devices.interfaces[0].name uses model ne3k that is not supported.",
        ),
        (
            "/domain/devices/interfaces/0/macAddress",
            json!("de:ad"),
            Invalid,
            "spec.domain.devices.interfaces[0].macAddress",
            "interface spec.domain.devices.interfaces[0].name has malformed MAC address (de:ad).",
        ),
        (
            "/domain/devices/interfaces/0/macAddress",
            json!("02:00:00:00:00:00"),
            Invalid,
            "spec.domain.devices.interfaces[0].macAddress",
            "The requested MAC address is reserved for the in-pod bridge. Please choose another one.",
        ),
        (
            "/domain/devices/interfaces/0",
            json!({"name": "default"}),
            Invalid,
            "spec.domain.devices.interfaces[0]",
            "logical default interface must have exactly one binding method or binding plugin",
        ),
        (
            "/domain/devices/interfaces/0/ports",
            json!([{}]),
            Required,
            "spec.domain.devices.interfaces[0].ports[0]",
            "Port field is mandatory.",
        ),
        (
            "/domain/devices/interfaces/0/ports",
            json!([{"port": 70000}]),
            Invalid,
            "spec.domain.devices.interfaces[0].ports[0]",
            "Port field must be in range 0 < x < 65536.",
        ),
        (
            "/domain/devices/interfaces/0/ports",
            json!([{"port": 1, "protocol": "SCTP"}]),
            Invalid,
            "spec.domain.devices.interfaces[0].ports[0].protocol",
            "Unknown protocol, only TCP or UDP allowed",
        ),
        (
            "/domain/devices/interfaces/0/ports",
            json!([{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]),
            Invalid,
            "spec.domain.devices.interfaces[0].ports[1].name",
            "Duplicate name of the port: a",
        ),
        (
            "/networks/1",
            json!({"name": "other", "pod": {}}),
            Required,
            "spec.networks[1].name",
            "spec.networks[1].name 'other' not found.",
        ),
        (
            "/networks/0",
            json!({"name": "default"}),
            Required,
            "spec.networks[0]",
            "should have a network type",
        ),
        (
            "/networks/1",
            json!({"name": "default", "pod": {}}),
            Duplicate,
            "spec.networks[1].name",
            "Network with name \"default\" already exists, every network must have a unique name",
        ),
    ]);
    let two = causes_of(with(
        "/domain/devices/interfaces/1",
        json!({"name": "default", "masquerade": {}}),
    ));
    let messages: Vec<&str> = two.iter().map(|cause| cause.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "more than one interface is connected to a pod network in spec.domain.devices.interfaces",
            "Only one interface can be connected to one specific network",
        ]
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn the_domain_is_refused_in_upstreams_words() {
    check(&[
        (
            "/domain/memory",
            json!({}),
            Required,
            "spec.domain.memory.guest",
            "no memory requested, at least one of 'spec.domain.memory.guest', 'spec.domain.memory.hugepages.pageSize' or 'spec.domain.resources.requests.memory' must be set",
        ),
        (
            "/domain/memory/guest",
            json!("64Q"),
            Invalid,
            "spec.domain.memory.guest",
            "spec.domain.memory.guest '64Q': quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "/domain/memory/guest",
            json!("1k"),
            Invalid,
            "spec.domain.memory.guest",
            "spec.domain.memory.guest '1k': must be greater than or equal to 1M.",
        ),
        (
            "/domain/resources/requests/memory",
            json!("-1"),
            Invalid,
            "spec.domain.resources.requests.memory",
            "spec.domain.resources.requests.memory '-1': must be greater than or equal to 0.",
        ),
        (
            "/domain/resources",
            json!({"requests": {"memory": "2G"}, "limits": {"memory": "1G"}}),
            Invalid,
            "spec.domain.resources.requests.memory",
            "spec.domain.resources.requests.memory '2G' is greater than spec.domain.resources.limits.memory '1G'",
        ),
        (
            "/domain/resources/limits/memory",
            json!("32M"),
            Invalid,
            "spec.domain.memory.guest",
            "spec.domain.memory.guest '64Mi' must be equal to or less than the memory limit spec.domain.resources.limits.memory '32M'",
        ),
        (
            "/domain/resources",
            json!({"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}}),
            Invalid,
            "spec.domain.resources.requests.cpu",
            "spec.domain.resources.requests.cpu '2' is greater than spec.domain.resources.limits.cpu '1500m'",
        ),
        (
            "/domain/resources/requests/memory",
            json!("lots"),
            Invalid,
            "spec.domain.resources.requests.memory",
            "spec.domain.resources.requests.memory 'lots': quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "/domain/machine/type",
            json!("isapc"),
            NotSupported,
            "spec.domain.machine.type",
            "spec.domain.machine.type is not supported: isapc (allowed values: [q35* pc-q35*])",
        ),
        (
            "/architecture",
            json!("sparc"),
            NotSupported,
            "spec.architecture",
            "unsupported architecture: sparc",
        ),
        (
            "/domain/cpu/features/0",
            json!({"name": "vmx", "policy": "maybe"}),
            Invalid,
            "spec.domain.cpu.features[0].policy",
            "CPU feature vmx uses policy maybe that is not supported.",
        ),
        (
            "/domain/cpu/model",
            json!("host,-vmx"),
            Invalid,
            "spec.domain.cpu.model",
            "spec.domain.cpu.model: \"host,-vmx\" is no name of a processor model",
        ),
        (
            "/domain/cpu",
            json!({"cores": 100000, "sockets": 100000}),
            Invalid,
            "spec.domain.cpu",
            "spec.domain.cpu: 10000000000 virtual processors are more than the 255 that a guest can have",
        ),
        (
            "/hostname",
            json!("Bad_Name"),
            Invalid,
            "spec.hostname",
            "spec.hostname does not conform to the kubernetes DNS_LABEL rules : a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ),
        (
            "/evictionStrategy",
            json!("Never"),
            Invalid,
            "spec.evictionStrategy",
            "spec.evictionStrategy is set with an unrecognized option: Never",
        ),
        (
            "/startStrategy",
            json!("Slow"),
            Invalid,
            "spec.startStrategy",
            "spec.startStrategy is set with an unrecognized option: Slow",
        ),
        (
            "/terminationGracePeriodSeconds",
            json!(-1),
            Invalid,
            "spec.terminationGracePeriodSeconds",
            "spec.terminationGracePeriodSeconds '-1': must be greater than or equal to 0.",
        ),
        (
            "/domain/firmware/kernelBoot/kernelArgs",
            json!("quiet"),
            Invalid,
            "spec.domain.firmware.kernelBoot",
            "kernel arguments cannot be provided without an external kernel",
        ),
        (
            "/domain/firmware/kernelBoot/container",
            json!({"kernelPath": "/k"}),
            Invalid,
            "spec.domain.firmware.kernelBoot.container",
            "spec.domain.firmware.kernelBoot.container must be defined with an image",
        ),
        (
            "/domain/firmware/kernelBoot/container",
            json!({"image": "a"}),
            Invalid,
            "spec.domain.firmware.kernelBoot.container",
            "spec.domain.firmware.kernelBoot.container must be defined with at least one of the following: kernelPath, initrdPath",
        ),
        (
            "/domain/firmware/uuid",
            json!("1"),
            Invalid,
            "spec.domain.firmware.uuid",
            "spec.domain.firmware.uuid: \"1\" is no UUID of 8-4-4-4-12 hexadecimal digits",
        ),
        (
            "/evictionStrategy",
            json!("LiveMigrate"),
            NotSupported,
            "spec.evictionStrategy",
            "evictionStrategy LiveMigrate is not served by this version of anyvirt; use None or LiveMigrateIfPossible: guests are not migrated",
        ),
    ]);
}

/// Every field of the generated schema is either typed, which the defaults and rules of this crate
/// know, or untyped and refused by name.
#[test]
fn every_field_of_the_schema_is_served_or_refused_by_name() {
    fn walk(path: &str, schema: &Value, untyped: &mut Vec<String>, typed: &mut Vec<String>) {
        let flag = |name: &str| schema.get(name) == Some(&Value::Bool(true));
        if flag("x-kubernetes-preserve-unknown-fields") {
            untyped.push(path.to_owned());
            return;
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, below) in properties.into_iter().flatten() {
            walk(&format!("{path}/{name}"), below, untyped, typed);
        }
        match schema.get("items") {
            Some(items) => walk(&format!("{path}/0"), items, untyped, typed),
            None if properties.is_none() => typed.push(path.to_owned()),
            None => {}
        }
    }
    let crd = crds::crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == "VirtualMachineInstance")
        .unwrap();
    let schema = crd.spec.versions[0]
        .schema
        .as_ref()
        .unwrap()
        .open_api_v3_schema
        .as_ref()
        .unwrap();
    let schema = serde_json::to_value(schema).unwrap();
    let (mut untyped, mut typed) = (Vec::new(), Vec::new());
    walk("", &schema["properties"]["spec"], &mut untyped, &mut typed);
    assert_eq!(untyped.len(), unserved::INSTANCE.len());
    for pointer in &untyped {
        let field = format!("spec{}", pointer.replace("/0", "[0]").replace('/', "."));
        let causes = causes_of(with(pointer, json!({"anything": 1})));
        let refused = causes.iter().any(|cause| {
            cause.field == field
                && cause.reason == NotSupported
                && cause.message.starts_with(&format!(
                    "{field} is not served by this version of anyvirt; "
                ))
        });
        assert!(refused, "{field}: {causes:?}");
    }
    for pointer in &typed {
        let path = pointer
            .trim_start_matches('/')
            .replace("/0", "[]")
            .replace('/', ".");
        assert!(
            !unserved::INSTANCE.iter().any(|field| field.path == path),
            "{path}"
        );
    }
    assert!(typed.len() > 60, "the walk found only {typed:?}");
}

#[test]
fn arm_guests_are_refused_what_their_machine_does_not_have() {
    let arm = |at: &str, value: Value| {
        let mut spec = with(at, value);
        spec["architecture"] = json!("arm64");
        causes_of(spec)
    };
    assert_eq!(arm("/hostname", json!("a")), []);
    assert_eq!(arm("/domain/machine", json!({"type": "virt-7.2"})), []);
    assert_eq!(
        arm("/domain/firmware", json!({"bootloader": {"efi": {}}})),
        []
    );
    for (at, value, field, words) in [
        (
            "/domain/machine",
            json!({"type": "q35"}),
            "spec.domain.machine.type",
            "allowed values: [virt*]",
        ),
        (
            "/domain/firmware",
            json!({"bootloader": {"bios": {}}}),
            "spec.domain.firmware.bootloader.bios",
            "use efi: {secureBoot: false}",
        ),
        (
            "/domain/firmware",
            json!({"bootloader": {"efi": {"secureBoot": true}}}),
            "spec.domain.firmware.bootloader.efi.secureBoot",
            "set it to false",
        ),
        (
            "/domain/cpu",
            json!({"threads": 2}),
            "spec.domain.cpu.threads",
            "use cores or sockets",
        ),
        (
            "/domain/devices/disks/0/disk",
            json!({"bus": "sata"}),
            "spec.domain.devices.disks[0].disk.bus",
            "use virtio or scsi",
        ),
    ] {
        let found = arm(at, value);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].field, field);
        assert!(found[0].message.contains(words), "{found:?}");
    }
    let efi = causes_of(with("/domain/firmware", json!({"bootloader": {"efi": {}}})));
    assert!(efi[0].message.contains("use bios: {}"), "{efi:?}");
    let both = json!({"bootloader": {"efi": {}, "bios": {}}});
    assert_eq!(causes_of(with("/domain/firmware", both)).len(), 2);
}

fn machine(spec: Value) -> VirtualMachine {
    let object = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "a"},
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

#[test]
fn machines_are_refused_in_upstreams_words() {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": good()});
    assert_eq!(
        virtual_machine(
            &machine(json!({"runStrategy": "Always", "template": template})),
            &cluster()
        ),
        []
    );
    for (spec, field, message) in [
        (
            json!({"running": true, "runStrategy": "Always", "template": template}),
            "spec.running",
            "Running and RunStrategy are mutually exclusive. Note that Running is deprecated, please use RunStrategy instead",
        ),
        (
            json!({"template": template}),
            "spec.runStrategy",
            "RunStrategy must be specified",
        ),
        (
            json!({"runStrategy": "Sometimes", "template": template}),
            "spec.runStrategy",
            "Invalid RunStrategy (Sometimes)",
        ),
        (
            json!({"runStrategy": "Always"}),
            "spec.template",
            "missing virtual machine template.",
        ),
        (
            json!({"runStrategy": "Always", "template": {"spec": with("/architecture", json!("x"))}}),
            "spec.template.spec.architecture",
            "unsupported architecture: x",
        ),
        (
            json!({"runStrategy": "Always", "template": template, "instancetype": {"name": "u1"}}),
            "spec.instancetype",
            "spec.instancetype is not served by this version of anyvirt; write cpu and memory into template.spec.domain",
        ),
        (
            json!({"runStrategy": "Always", "template": {"spec": good(), "metadata": {"labels": {"kubevirt.io/nodeName": "a"}}}}),
            "spec.template.metadata.labels",
            "creation of the following reserved kubevirt.io/ labels on a VMI object is prohibited",
        ),
        (
            json!({"runStrategy": "Always", "template": {"spec": good(), "metadata": {"annotations": {"anyvirt.io/accelerator": "xen"}}}}),
            "spec.template.metadata.annotations",
            "spec.template.metadata.annotations: \"xen\" is no value for anyvirt.io/accelerator: write kvm or tcg, or remove it",
        ),
    ] {
        let causes = virtual_machine(&machine(spec.clone()), &cluster());
        let found: Vec<(&str, &str)> = causes
            .iter()
            .map(|cause| (cause.field.as_str(), cause.message.as_str()))
            .collect();
        assert_eq!(found, [(field, message)], "{spec}");
    }
}

#[test]
fn a_machine_that_was_allowed_once_can_still_be_labelled() {
    let disk = json!({"name": "host", "hostDisk": {"path": "/a", "type": "Disk"}});
    let template = json!({"spec": with("/volumes/2", disk)});
    let old = machine(json!({"runStrategy": "Always", "template": template}));
    let mut new = old.clone();
    new.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    assert_eq!(virtual_machine_update(&old, &new, &cluster()), []);
    new.spec.run_strategy = Some("Halted".to_owned());
    let causes = virtual_machine_update(&old, &new, &cluster());
    assert_eq!(causes[0].message, "HostDisk feature gate is not enabled");
}

#[test]
fn users_may_not_change_the_spec_of_an_instance_and_the_house_may() {
    let of = |spec| VirtualMachineInstance::new("a", serde_json::from_value(spec).unwrap());
    let (old, new) = (of(good()), of(with("/hostname", json!("b"))));
    let causes = virtual_machine_instance_update(&old, &new, false);
    assert_eq!(causes[0].message, "update of VMI object is restricted");
    assert_eq!(virtual_machine_instance_update(&old, &new, true), []);
    assert_eq!(virtual_machine_instance_update(&old, &old, false), []);
}

#[test]
fn a_denial_tells_ten_causes_and_counts_the_rest() {
    let disks: Vec<Value> = (0..12)
        .map(|index| json!({"name": format!("d{index}")}))
        .collect();
    let denial = Denial::of(causes_of(with("/domain/devices/disks", json!(disks)))).unwrap();
    assert_eq!(denial.causes.len(), 10);
    assert!(
        denial
            .message
            .starts_with("spec.domain.devices.disks[0].Name 'd0' not found., ")
    );
    assert!(
        denial.message.ends_with(", and 2 more validation errors"),
        "{denial}"
    );
    assert_eq!(Denial::of(Vec::new()), None);
}

#[test]
fn gates_that_are_on_and_off_are_refused() {
    let object: KubeVirt = serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt", "metadata": {"name": "kubevirt"},
        "spec": {"configuration": {"developerConfiguration": {"featureGates": ["A"], "disabledFeatureGates": ["A"]}}},
    }))
    .unwrap();
    let causes = kubevirt(&object);
    assert_eq!(
        causes[0].message,
        "feature gate \"A\" exists on both \"FeatureGates\" and \"DisabledFeatureGates\""
    );
}

/// Any JSON, with keys and texts that the rules look at among them.
fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        ".{0,8}",
        prop::sample::select(vec![
            "-1", "1e9", "0", "1Gi", "..", "root", "virtio", "ff:ff", "*", ""
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u32..5).prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

const PLACES: [&str; 24] = [
    "/architecture",
    "/hostname",
    "/domain",
    "/domain/cpu",
    "/domain/cpu/cores",
    "/domain/cpu/model",
    "/domain/memory/guest",
    "/domain/resources/requests/memory",
    "/domain/resources/limits/cpu",
    "/domain/machine/type",
    "/domain/firmware/uuid",
    "/domain/firmware/kernelBoot",
    "/domain/devices/disks",
    "/domain/devices/disks/0/disk/bus",
    "/domain/devices/interfaces/0/macAddress",
    "/domain/devices/interfaces/0/ports",
    "/networks",
    "/volumes",
    "/volumes/0/name",
    "/volumes/0/containerDisk/image",
    "/volumes/1/cloudInitNoCloud/userDataBase64",
    "/volumes/2/emptyDisk/capacity",
    "/nodeSelector",
    "/livenessProbe",
];

proptest! {
    #[test]
    fn nothing_that_decodes_makes_validation_panic(place in prop::sample::select(PLACES.to_vec()), value in any_json()) {
        if let Ok(mut spec) = serde_json::from_value::<VirtualMachineInstanceSpec>(with(place, value)) {
            let identity = FirmwareIdentity { uuid: String::new(), serial: String::new() };
            let before = instance_spec("spec", &spec, &cluster());
            defaults::instance_spec(&mut spec, &cluster(), &identity);
            let after = instance_spec("spec", &spec, &cluster());
            for cause in before.iter().chain(&after) {
                prop_assert!(cause.field.starts_with("spec"));
                prop_assert!(!cause.message.is_empty());
            }
            let _ = crate::resources::pod_resources(&spec, &cluster(), &Default::default(), true);
        }
    }
}

#[test]
fn what_controllers_tell_each_other_nobody_else_writes() {
    let metadata = |value: Option<&str>| ObjectMeta {
        annotations: value.map(|it| [("anyvirt.io/resume-from".to_owned(), it.to_owned())].into()),
        ..ObjectMeta::default()
    };
    for (old, new, refused) in [
        (None, None, false),
        (None, Some("a"), true),
        (Some(None), Some("a"), true),
        (Some(Some("a")), Some("a"), false),
        (Some(Some("a")), Some("b"), true),
        (Some(Some("a")), None, false),
    ] {
        let before = old.map(metadata);
        let causes =
            annotations_of_controllers("spec.template.metadata", before.as_ref(), &metadata(new));
        assert_eq!(!causes.is_empty(), refused, "{old:?} {new:?}");
        for cause in causes {
            assert_eq!(cause.field, "spec.template.metadata.annotations");
            assert!(
                cause.message.contains("anyvirt.io/resume-from"),
                "{}",
                cause.message
            );
        }
    }
}
