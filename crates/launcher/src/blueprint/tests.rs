use std::collections::BTreeMap;

use serde_json::{Value, json};

use api::launcher::ResolvedVolume;
use api::launcher::saved::{Record, Renewal};
use api::launcher::warm::{CLOUD_INIT_IMAGE_BYTES, FileIdentity};
use qemu::machine::{DiskBus, DiskImage, InterruptController, ProcessorModel, Threads};

use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_795_373_050).expect("a time")
}

fn surroundings(root: bool) -> Surroundings {
    Surroundings {
        now: now(),
        root,
        host: Some(Architecture::Amd64),
    }
}

fn empty() -> ResolvedVolume {
    ResolvedVolume::EmptyDisk {
        capacity_bytes: 1 << 30,
    }
}

fn request(mut domain: Value, volumes: Vec<(&str, ResolvedVolume)>) -> StartRequest {
    let fields = domain.as_object_mut().expect("an object");
    fields.entry("devices").or_insert(json!({}));
    let volumes: BTreeMap<_, _> = volumes
        .into_iter()
        .map(|(name, volume)| (name.to_owned(), volume))
        .collect();
    StartRequest {
        instance: serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": "vm", "namespace": "ns", "uid": "u"},
            "spec": {"domain": domain},
        }))
        .expect("a VMI"),
        accelerator: Accelerator::Tcg,
        volumes,
        kernel: None,
        interfaces: vec![],
        hostname: "vm".to_owned(),
        firmware_uuid: "5d307ca9-b3ef-428c-8861-06e72d69f223".to_owned(),
        instance_id: "i".to_owned(),
        slowdown: None,
        qemu_version: None,
        stepped_down: None,
        warm: None,
        save_on_leaving: None,
    }
}

fn made(domain: Value, volumes: Vec<(&str, ResolvedVolume)>) -> Blueprint {
    blueprint(&request(domain, volumes), surroundings(true)).expect("a blueprint")
}

#[test]
fn every_file_has_one_number_and_the_machine_knows_only_these() {
    let base = ResolvedVolume::ContainerDisk {
        path: "/cache/disk".into(),
        format: DiskFormat::Qcow2,
        virtual_size_bytes: 1 << 30,
        digest: "sha256:0".to_owned(),
    };
    let host = ResolvedVolume::HostDisk {
        path: "/host".into(),
        create_bytes: None,
        shared: false,
    };
    let data = ResolvedVolume::CloudInitNoCloud {
        user_data: "u".to_owned(),
        network_data: None,
    };
    let blueprint = made(
        json!({"memory": {"guest": "1Gi"}, "devices": {"disks": [
            {"name": "a"}, {"name": "b", "disk": {"bus": "virtio"}}, {"name": "c", "cdrom": {}},
        ]}}),
        vec![("a", base), ("b", host), ("c", data)],
    );
    let numbers: Vec<_> = blueprint.files.iter().map(|piece| piece.number).collect();
    assert_eq!(numbers, (3..14).collect::<Vec<_>>());
    let [a, b, c] = &blueprint.machine.disks[..] else {
        panic!("three disks")
    };
    let source = |number: RawFd| {
        &blueprint
            .files
            .iter()
            .find(|piece| piece.number == number)
            .expect("listed")
            .source
    };
    let DiskImage::Overlay {
        overlay,
        middle: None,
        base,
        base_format,
    } = a.image
    else {
        panic!("{a:?}")
    };
    assert_eq!(base_format, machine::DiskFormat::Qcow2);
    assert!(
        matches!(source(overlay), Source::NewDisk { volume, bytes: 1_073_741_824 } if volume == "a")
    );
    assert!(matches!(source(base), Source::Base { .. }));
    let DiskImage::File { file, .. } = b.image else {
        panic!("{b:?}")
    };
    assert_eq!(*source(file + 1), Source::LockOf(file));
    assert!(c.cdrom && c.bus == DiskBus::Sata);
    // As they are listed; data for cloud-init never boots.
    assert_eq!(
        [a.boot_order, b.boot_order, c.boot_order],
        [Some(1), Some(2), None]
    );
}

#[test]
fn domains_become_machines() {
    let memory = |domain: Value| made(domain, vec![]).machine.memory_bytes;
    assert_eq!(memory(json!({"memory": {"guest": "100M"}})), 96 << 20);
    assert_eq!(
        memory(json!({"resources": {"requests": {"memory": "64Mi"}}})),
        64 << 20
    );
    let small = |more: Value| {
        let mut domain = json!({"memory": {"guest": "64Mi"}});
        domain
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        made(domain, vec![]).machine
    };
    let plain = small(json!({}));
    assert_eq!(plain.name, "ns_vm");
    assert_eq!(plain.machine_type.name(), "q35");
    assert_eq!(
        (plain.processor.count(), &plain.processor.model),
        (1, &ProcessorModel::Maximum)
    );
    assert!(
        plain.graphics
            && plain.serial.is_some()
            && plain.balloon
            && plain.acpi
            && !plain.random_numbers
    );
    assert_eq!(
        plain.accelerator,
        machine::Accelerator::Tcg {
            translation_cache_mib: 64,
            threads: Threads::Single,
        }
    );
    let bare = small(json!({
        "features": {"acpi": {"enabled": false}},
        "clock": {"utc": {"offsetSeconds": -50}},
        "cpu": {"sockets": 2, "cores": 3, "model": "Nehalem", "features": [{"name": "aes", "policy": "disable"}]},
        "devices": {"autoattachGraphicsDevice": false, "autoattachSerialConsole": false,
                    "autoattachMemBalloon": false, "rng": {}, "autoattachInputDevice": true},
    }));
    assert!(
        !bare.graphics
            && bare.serial.is_none()
            && !bare.balloon
            && !bare.acpi
            && bare.random_numbers
    );
    assert_eq!(bare.clock, Clock::At(1_795_373_000));
    assert_eq!(
        (bare.processor.count(), bare.processor.features[0].on),
        (6, false)
    );
    assert_eq!(bare.tablet, Some(TabletBus::Usb));
    let zone = small(json!({"clock": {"timezone": "UTC"}}));
    assert_eq!(zone.clock, Clock::At(1_795_373_050));
}

#[test]
fn what_translated_code_may_take_is_what_the_pod_accounts_for() {
    for (memory, cores) in [("64Mi", 1), ("1Gi", 1), ("1Gi", 40), ("64Gi", 2)] {
        let domain = json!({"memory": {"guest": memory}, "cpu": {"cores": cores}});
        let request = request(domain, vec![]);
        let spec = &request.instance.spec;
        let machine = blueprint(&request, surroundings(true))
            .expect("made")
            .machine;
        let machine::Accelerator::Tcg {
            translation_cache_mib,
            threads,
        } = machine.accelerator
        else {
            panic!("{:?}", machine.accelerator)
        };
        let [kvm, tcg] =
            [false, true].map(|emulated| api::resources::memory_overhead_bytes(spec, emulated));
        let accounted = (tcg - kvm) / MEBIBYTE;
        let cache = u64::from(translation_cache_mib);
        assert_eq!(
            accounted,
            cache + (cache * 15).div_ceil(100),
            "{memory} {cores}"
        );
        assert_eq!(threads == Threads::Multiple, cores > 1);
    }
}

fn arm(
    domain: Value,
    accelerator: Accelerator,
    host: Architecture,
) -> Result<Blueprint, BlueprintError> {
    let mut request = request(domain, vec![("a", empty())]);
    request.instance.spec.architecture = Some("arm64".to_owned());
    request.accelerator = accelerator;
    if request.instance.spec.domain.firmware.is_some() {
        request.kernel = Some(api::launcher::KernelFiles {
            kernel: "/k".into(),
            initrd: None,
        });
    }
    let surroundings = Surroundings {
        host: Some(host),
        ..surroundings(true)
    };
    blueprint(&request, surroundings)
}

#[test]
fn arm_guests_start_by_firmware_or_by_their_kernel() {
    let disk = json!({"disks": [{"name": "a", "disk": {"bus": "virtio"}}]});
    let from_disk = json!({"memory": {"guest": "64Mi"}, "devices": disk});
    let made = arm(from_disk.clone(), Accelerator::Tcg, Architecture::Amd64).expect("made");
    let machine = &made.machine;
    assert_eq!(machine.machine_type.name(), "virt");
    assert_eq!(machine.interrupt_controller, InterruptController::Version3);
    let Firmware::Efi { code, variables } = machine.firmware else {
        panic!("{:?}", machine.firmware)
    };
    let source = |number: RawFd| made.files.iter().find(|piece| piece.number == number);
    assert_eq!(
        source(code).expect("listed").source,
        Source::FirmwareCode(Architecture::Arm64)
    );
    assert_eq!(
        source(variables).expect("listed").source,
        Source::FirmwareVariables(Architecture::Arm64)
    );
    qemu::command_line::command_line(machine).expect("arguments");

    let kernel = |bootloader: Value| {
        let mut domain = from_disk.clone();
        domain["firmware"] =
            json!({"kernelBoot": {"container": {"image": "a", "kernelPath": "/k"}}});
        domain["firmware"]["bootloader"] = bootloader;
        arm(domain, Accelerator::Tcg, Architecture::Amd64)
            .expect("made")
            .machine
            .firmware
    };
    assert_eq!(kernel(json!({})), Firmware::None);
    let efi = kernel(json!({"efi": {"secureBoot": false}}));
    assert!(matches!(efi, Firmware::Efi { .. }));

    let error = arm(from_disk.clone(), Accelerator::Kvm, Architecture::Amd64).expect_err("refused");
    assert_eq!(error.field, "spec.architecture");
    let native = arm(from_disk.clone(), Accelerator::Kvm, Architecture::Arm64)
        .expect("made")
        .machine;
    assert_eq!(native.interrupt_controller, InterruptController::Host);
    assert_eq!(native.processor.model, ProcessorModel::Host);
    let mut pc = from_disk;
    pc["machine"] = json!({"type": "q35"});
    let error = arm(pc, Accelerator::Tcg, Architecture::Amd64).expect_err("refused");
    assert_eq!(error.field, "spec.domain.machine.type");
}

#[test]
fn an_emulated_pc_on_arm_has_one_thread() {
    let request = request(
        json!({"memory": {"guest": "64Mi"}, "cpu": {"cores": 4}}),
        vec![],
    );
    let mut request = request;
    request.instance.spec.architecture = Some("amd64".to_owned());
    let surroundings = Surroundings {
        host: Some(Architecture::Arm64),
        ..surroundings(true)
    };
    let machine = blueprint(&request, surroundings).expect("made").machine;
    let machine::Accelerator::Tcg { threads, .. } = machine.accelerator else {
        panic!("{:?}", machine.accelerator)
    };
    assert_eq!(threads, Threads::Single);
    assert_eq!(machine.machine_type.name(), "q35");
}

#[test]
fn what_is_hidden_from_an_emulated_guest_depends_on_the_qemu_of_its_node() {
    let mut asked = request(json!({"memory": {"guest": "64Mi"}}), Vec::new());
    asked.accelerator = Accelerator::Tcg;
    for (version, hidden) in [
        (None, true),
        (Some("7.2.22"), false),
        (Some("10.0.2"), true),
    ] {
        asked.qemu_version = version.map(str::to_owned);
        let machine = blueprint(&asked, surroundings(true)).expect("made").machine;
        let mut features = machine.processor.features.iter();
        let found = features.any(|feature| feature.name.as_str() == "fma" && !feature.on);
        assert_eq!(found, hidden, "{version:?}");
    }
}

#[test]
fn features_that_must_be_there_are_checked_by_their_field() {
    let domain = json!({"memory": {"guest": "64Mi"}, "cpu": {"features": [
        {"name": "aes"}, {"name": "pcid", "policy": "optional"}, {"name": "avx512f", "policy": "require"},
    ]}});
    let required = made(domain, vec![]).required;
    let fields: Vec<_> = required.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(fields, ["aes", "avx512f"]);
    let check = |missing: &[&str]| {
        let missing: Vec<_> = missing.iter().map(|name| (*name).to_owned()).collect();
        processor::check_missing(&missing, &required, true)
    };
    assert_eq!(check(&[]), Ok(None));
    let told = check(&["pcid"]).expect("no obstacle").expect("told");
    assert!(told.contains("pcid"), "{told}");
    let error = check(&["pcid", "avx512f"]).expect_err("refused");
    assert_eq!(error.field, "spec.domain.cpu.features[2]");
}

#[test]
fn what_is_not_served_is_refused_with_its_field() {
    let disk = |disk: Value| json!({"memory": {"guest": "64Mi"}, "devices": {"disks": [disk]}});
    let cases = [
        (json!({}), "spec.domain.memory.guest"),
        (
            json!({"memory": {"guest": "12"}}),
            "spec.domain.memory.guest",
        ),
        (
            json!({"memory": {"guest": "64Mi"}, "machine": {"type": "virt"}}),
            "spec.domain.machine.type",
        ),
        (
            json!({"memory": {"guest": "64Mi"}, "clock": {"timezone": "Moon/Sea"}}),
            "spec.domain.clock.timezone",
        ),
        (
            json!({"memory": {"guest": "64Mi"}, "cpu": {"features": [{"name": "a=b"}]}}),
            "spec.domain.cpu.features[0].name",
        ),
        (
            disk(json!({"name": "nowhere"})),
            "spec.domain.devices.disks[0].name",
        ),
        (
            disk(json!({"name": "A/.."})),
            "spec.domain.devices.disks[0].name",
        ),
        (
            disk(json!({"name": "a", "disk": {"bus": "ide"}})),
            "spec.domain.devices.disks[0].bus",
        ),
        (
            disk(json!({"name": "a", "io": "uring"})),
            "spec.domain.devices.disks[0].io",
        ),
        (
            disk(json!({"name": "a", "cache": "unsafe"})),
            "spec.domain.devices.disks[0].cache",
        ),
    ];
    for (domain, field) in cases {
        let error = blueprint(
            &request(domain, vec![("a", empty()), ("A/..", empty())]),
            surroundings(true),
        )
        .expect_err(field);
        assert_eq!(error.field, field, "{error}");
    }
    let many: Vec<_> = (0..61).map(|index| format!("d{index}")).collect();
    let disks: Vec<_> = many.iter().map(|name| json!({"name": name})).collect();
    let domain = json!({"memory": {"guest": "64Mi"}, "devices": {"disks": disks}});
    let volumes = many.iter().map(|name| (name.as_str(), empty())).collect();
    let error = blueprint(&request(domain, volumes), surroundings(true)).expect_err("too many");
    assert!(error.problem.contains("at most 60"), "{error}");
}

#[test]
fn networks_forward_what_is_listed_and_else_what_is_usual() {
    let interface = |ports: Vec<ForwardedPort>, model: &str| api::launcher::ResolvedInterface {
        name: "default".to_owned(),
        mac: "02:00:00:00:00:01".to_owned(),
        model: model.to_owned(),
        address: "127.64.0.1".parse().expect("an address"),
        ports,
    };
    let with = |interfaces, root| {
        let mut request = request(json!({"memory": {"guest": "64Mi"}}), vec![]);
        request.interfaces = interfaces;
        blueprint(&request, surroundings(root))
    };
    let udp = ForwardedPort {
        protocol: Protocol::Udp,
        port: 53,
    };
    let listed = with(vec![interface(vec![udp, udp], "e1000")], true).expect("a blueprint");
    assert_eq!(
        (
            listed.networks[0].ports.as_slice(),
            listed.networks[0].named
        ),
        (&[udp][..], true)
    );
    let usual = |root| {
        let blueprint = with(vec![interface(vec![], "virtio")], root).expect("a blueprint");
        blueprint.networks[0]
            .ports
            .iter()
            .map(|port| port.port)
            .collect::<Vec<_>>()
    };
    assert_eq!(usual(true), [22, 80, 443, 3389, 8080, 8443]);
    assert_eq!(usual(false), [3389, 8080, 8443]);
    let error = with(vec![interface(vec![], "ne2k_pci")], true).expect_err("refused");
    assert_eq!(error.field, "spec.domain.devices.interfaces[0].model");
}

fn template(disks: &[&str]) -> api::launcher::warm::Template {
    let file = |path: String| TemplateFile {
        path: path.into(),
        identity: FileIdentity {
            inode: 8,
            bytes: 9,
            changed: (10, 11),
        },
    };
    api::launcher::warm::Template {
        key: "k".to_owned(),
        made_at: now(),
        memory: "/proc/1/fd/9".into(),
        memory_inode: 7,
        state: file("/t/state".to_owned()),
        disks: disks
            .iter()
            .map(|name| ((*name).to_owned(), file(format!("/t/{name}.qcow2"))))
            .collect(),
        kept: api::launcher::warm::Kept::default(),
        required: false,
    }
}

/// One disk of each kind that a guest of a template may have, and a network card without ports.
fn of_template(warm: Option<WarmStart>, version: Option<&str>) -> Blueprint {
    let base = ResolvedVolume::ContainerDisk {
        path: "/cache/disk".into(),
        format: DiskFormat::Raw,
        virtual_size_bytes: 1 << 30,
        digest: "sha256:0".to_owned(),
    };
    let data = ResolvedVolume::CloudInitNoCloud {
        user_data: "u".to_owned(),
        network_data: None,
    };
    let domain = json!({"memory": {"guest": "64Mi"}, "devices": {"disks": [
        {"name": "root", "disk": {}}, {"name": "data", "disk": {}}, {"name": "init", "cdrom": {}},
    ]}});
    let mut request = request(
        domain,
        vec![("root", base), ("data", empty()), ("init", data)],
    );
    request.interfaces = vec![api::launcher::ResolvedInterface {
        name: "default".to_owned(),
        mac: "02:00:00:00:00:01".to_owned(),
        model: "virtio".to_owned(),
        address: Ipv4Addr::LOCALHOST.into(),
        ports: vec![],
    }];
    request.warm = warm;
    request.qemu_version = version.map(str::to_owned);
    blueprint(&request, surroundings(true)).expect("a blueprint")
}

#[test]
fn each_guest_has_a_hooks_port_and_a_cloud_init_disk_of_a_size_that_others_can_have_too() {
    let restore = || Some(WarmStart::Restore(Box::new(template(&["root", "data"]))));
    let whole = CLOUD_INIT_IMAGE_BYTES;
    for (warm, size, ports) in [
        (None, ImageSize::AtLeast(whole), USUAL_PORTS.len()),
        (Some(WarmStart::Keepable), ImageSize::AtLeast(whole), 0),
        (restore(), ImageSize::Exactly(whole), USUAL_PORTS.len()),
    ] {
        let made = of_template(warm, None);
        assert!(made.machine.renewal.is_some());
        assert_eq!(cloud_init_size(&made), Some(size));
        // Nobody reaches a guest that is to be kept.
        assert_eq!(made.networks[0].ports.len(), ports);
    }
}

fn cloud_init_size(made: &Blueprint) -> Option<ImageSize> {
    made.files.iter().find_map(|piece| match piece.source {
        Source::CloudInit { size, .. } => Some(size),
        _ => None,
    })
}

/// What was saved of such a machine, with these of its notes.
fn saved(record: Value, renewal: Renewal) -> WarmStart {
    let mut whole = serde_json::to_value(Record::default()).expect("JSON");
    let known = whole.as_object_mut().expect("an object");
    // As an earlier anyvirt has written it.
    for new in ["hook_port", "hook"] {
        known.remove(new);
    }
    known.extend(record.as_object().expect("an object").clone());
    let identity = |bytes| FileIdentity {
        inode: 8,
        bytes,
        changed: (10, 11),
    };
    let files = [
        ("state", 9),
        ("root.qcow2", 9),
        ("data.qcow2", 9),
        ("init.iso", 53_248),
    ];
    let files = files.map(|(name, bytes)| (name.to_owned(), identity(bytes)));
    WarmStart::Resume(Box::new(Saved {
        directory: "/saved".into(),
        record: serde_json::from_value(whole).expect("a record"),
        files: files.into(),
        take_over: false,
        renewal,
    }))
}

#[test]
fn a_saved_guest_goes_on_with_the_ports_memory_and_cloud_init_disk_that_it_had() {
    for (record, has_port, is_shared) in [
        // Booted by an earlier anyvirt, started from a template by an earlier one, and each of these by this one.
        (json!({"template_shape": false}), false, false),
        (json!({"template_shape": true}), true, true),
        (
            json!({"template_shape": false, "hook_port": true}),
            true,
            false,
        ),
        (
            json!({"template_shape": true, "hook_port": true}),
            true,
            true,
        ),
    ] {
        let made = of_template(Some(saved(record.clone(), Renewal::Clock)), None);
        assert_eq!(made.machine.renewal.is_some(), has_port, "{record}");
        let shared = matches!(made.machine.memory, Memory::Shared(_));
        assert_eq!(shared, is_shared, "{record}");
        assert_eq!(cloud_init_size(&made), None, "its own");
        let made = of_template(Some(saved(record, Renewal::Everything)), None);
        assert_eq!(cloud_init_size(&made), Some(ImageSize::Exactly(53_248)));
    }
}

#[test]
fn a_restored_guest_begins_with_its_templates_memory_and_disks_and_writes_to_its_own() {
    let kept = of_template(Some(WarmStart::Keepable), None);
    let Memory::Shared(memory) = kept.machine.memory else {
        panic!("{:?}", kept.machine.memory)
    };
    let source = |made: &Blueprint, number: RawFd| {
        let piece = made.files.iter().find(|piece| piece.number == number);
        piece.expect("listed").source.clone()
    };
    assert_eq!(source(&kept, memory), Source::Memory { bytes: 64 << 20 });
    assert_eq!(kept.machine.incoming, None);

    let template = template(&["root", "data"]);
    for (version, modern) in [
        (None, false),
        (Some("7.2.22"), false),
        (Some("9.1.0"), true),
    ] {
        let warm = WarmStart::Restore(Box::new(template.clone()));
        let made = of_template(Some(warm), version);
        let Memory::Private { file, read_only } = made.machine.memory else {
            panic!("{:?}", made.machine.memory)
        };
        let incoming = made.machine.incoming.expect("a state");
        assert_eq!(
            (read_only, incoming.in_set),
            (modern, modern),
            "{version:?}"
        );
        let memory = Source::TemplateMemory {
            path: template.memory.clone(),
            inode: 7,
            bytes: 64 << 20,
        };
        assert_eq!(source(&made, file), memory);
        let state = Source::TemplateState(template.state.clone());
        assert_eq!(source(&made, incoming.state), state);

        let disks: Vec<_> = made.machine.disks.iter().map(|disk| disk.image).collect();
        let [
            DiskImage::Overlay {
                overlay: root,
                middle: Some(middle),
                base: image,
                ..
            },
            DiskImage::Overlay {
                overlay: data,
                middle: None,
                base: below,
                base_format: machine::DiskFormat::Qcow2,
            },
            DiskImage::File { .. },
        ] = disks[..]
        else {
            panic!("{disks:?}")
        };
        for own in [root, data] {
            assert!(matches!(source(&made, own), Source::NewDisk { .. }));
        }
        for (kept, name) in [(middle, "root"), (below, "data")] {
            let disk = Source::TemplateDisk {
                file: template.disks[name].clone(),
                direct: false,
            };
            assert_eq!(source(&made, kept), disk);
        }
        assert!(matches!(source(&made, image), Source::Base { .. }));
    }
}
