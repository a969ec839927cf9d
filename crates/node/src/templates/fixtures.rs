//! Starts and templates for tests.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use api::accelerator::Accelerator;
use api::launcher::{
    DiskFormat, ForwardedPort, Protocol, ResolvedInterface, ResolvedVolume, StartRequest,
};
use serde_json::json;

use super::builder::Wanted;
use super::key::{Installed, Shape, Surroundings};
use super::store::{Made, Store, Stored};
use crate::machine::Pulled;

pub(crate) fn surroundings() -> Surroundings {
    let installed = |path: &str| Installed {
        path: path.to_owned(),
        bytes: 7,
        modified: (1, 2),
    };
    Surroundings {
        format: 1,
        anyvirt_version: "1.0.0".to_owned(),
        anyvirt: installed("/usr/bin/anyvirt"),
        qemu_version: "7.2.22".to_owned(),
        qemu: installed("/usr/bin/qemu-system-x86_64"),
        firmware: vec![installed("/usr/share/firmware")],
        processor: "a model".to_owned(),
    }
}

/// The start of a machine with a disk, cloud-init data and a card.
pub(crate) fn request() -> StartRequest {
    let instance = serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": { "name": "web", "namespace": "ns", "uid": "u-1",
            "labels": { "team": "label-secret" },
            "annotations": { "note": "annotation-secret" } },
        "spec": {
            "hostname": "hostname-secret",
            "architecture": "amd64",
            "domain": {
                "cpu": { "cores": 2, "model": "max" },
                "memory": { "guest": "256Mi" },
                "firmware": { "uuid": "uuid-secret", "serial": "serial-secret" },
                "devices": {
                    "disks": [{ "name": "root", "disk": { "bus": "virtio" } },
                              { "name": "init", "disk": { "bus": "virtio" } }],
                    "interfaces": [{ "name": "default", "masquerade": {},
                        "macAddress": "02:00:00:00:00:01", "ports": [{ "port": 22 }] }] },
            },
            "networks": [{ "name": "default", "pod": {} }],
            "nodeSelector": { "kubernetes.io/hostname": "selector-secret" },
            "volumes": [
                { "name": "root", "containerDisk": { "image": "registry/web:1" } },
                { "name": "init", "cloudInitNoCloud": { "userData": "data-secret" } },
            ],
        },
    }))
    .expect("a VMI");
    let init = ResolvedVolume::CloudInitNoCloud {
        user_data: "resolved-secret".to_owned(),
        network_data: Some("network-secret".to_owned()),
    };
    let root = ResolvedVolume::ContainerDisk {
        path: "/images/entries/0/disk".into(),
        format: DiskFormat::Qcow2,
        virtual_size_bytes: 1 << 30,
        digest: "sha256:0".to_owned(),
    };
    StartRequest {
        instance,
        accelerator: Accelerator::Tcg,
        volumes: BTreeMap::from([("root".to_owned(), root), ("init".to_owned(), init)]),
        kernel: None,
        interfaces: vec![ResolvedInterface {
            name: "default".to_owned(),
            mac: "02:00:00:00:00:01".to_owned(),
            model: "virtio".to_owned(),
            address: [127, 64, 0, 9].into(),
            ports: vec![ForwardedPort {
                protocol: Protocol::Tcp,
                port: 22,
            }],
        }],
        hostname: "hostname-secret".to_owned(),
        firmware_uuid: "uuid-secret".to_owned(),
        instance_id: "instance-secret".to_owned(),
        slowdown: Some(8.0),
        qemu_version: Some("7.2.22".to_owned()),
        stepped_down: None,
        warm: None,
        save_on_leaving: None,
    }
}

pub(crate) fn made() -> Made {
    Made {
        shape: Shape::of(&request(), surroundings()),
        image: "registry/web:1".to_owned(),
        made_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

/// What a launcher writes when it keeps a guest of 8 MiB.
pub(crate) fn write_files(folder: &Path) {
    let memory = File::create(folder.join("memory")).expect("made");
    memory.set_len(8 << 20).expect("set");
    memory.write_all_at(b"guest", 4 << 20).expect("written");
    std::fs::write(folder.join("state"), vec![7; 30_000]).expect("written");
    std::fs::write(folder.join("root.qcow2"), vec![8; 70_000]).expect("written");
    let kept = api::launcher::warm::Kept {
        memory_bytes: 8 << 20,
        ..Default::default()
    };
    let kept = serde_json::to_vec(&kept).expect("JSON");
    std::fs::write(folder.join("kept.json"), kept).expect("written");
}

/// Keeps a template.
pub(crate) fn keep(store: &Store, made: &Made) -> Stored {
    let building = store.building(&made.shape.key()).expect("made");
    write_files(&building);
    store.commit(&building, made).expect("kept")
}

/// A template that somebody asks for.
pub(crate) fn wanted() -> Wanted {
    let shape = Shape::of(&request(), surroundings());
    let id = ("ns".to_owned(), shape.key());
    Wanted::new(id, shape, &request(), &Pulled::default())
}
