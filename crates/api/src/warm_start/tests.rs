//! Tables: who decides, and what stands in the way.

use serde_json::{Value, json};

use super::*;

fn annotated(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn cluster(warm_start: Option<&str>) -> ClusterConfiguration {
    let object: crate::kubevirt::KubeVirt = serde_json::from_value(json!({
        "metadata": { "namespace": "kubevirt", "name": "kubevirt" },
        "spec": { "configuration": { "warmStart": warm_start } },
    }))
    .unwrap();
    let inputs = crate::accelerator::ClusterInputs {
        kubevirt: Some(&object),
        ..Default::default()
    };
    ClusterConfiguration::read(&inputs, "amd64")
}

#[test]
fn a_machines_own_word_stands_before_the_clusters_and_nobody_means_never() {
    let place = "KubeVirt kubevirt/kubevirt spec.configuration.warmStart";
    let own = "annotation anyvirt.io/warm-start of its own";
    for (annotation, configured, mode, decided_by) in [
        (None, None, Mode::Never, "default"),
        (None, Some("Auto"), Mode::Auto, place),
        (None, Some("Require"), Mode::Require, place),
        (None, Some("Never"), Mode::Never, place),
        (Some("Never"), Some("Auto"), Mode::Never, own),
        (Some("Require"), Some("Never"), Mode::Require, own),
        (Some("Auto"), None, Mode::Auto, own),
    ] {
        let cluster = cluster(configured);
        let mut annotations = annotated(&[]);
        annotations
            .extend(annotation.map(|it| (annotations::WARM_START.to_owned(), it.to_owned())));
        let found = effective(&annotations, &cluster);
        let case = format!("{annotation:?} {configured:?}");
        assert_eq!(found.mode, mode, "{case}");
        assert_eq!(found.decided_by, decided_by, "{case}");
        // Its node learns the same from what is recorded.
        annotations.extend(recorded(&annotations, &cluster));
        let told = of_annotations(&annotations);
        assert_eq!(told.mode, mode, "{case}");
        if mode != Mode::Never {
            assert_eq!(told.decided_by, decided_by, "{case}");
        }
    }
}

#[test]
fn a_pools_word_stands_between_its_machines_and_the_clusters() {
    let pool = "VirtualMachinePool ns/web annotation anyvirt.io/warm-start";
    let annotations = annotated(&[
        (annotations::WARM_START, "Require"),
        (annotations::WARM_START_DECIDED_BY, pool),
    ]);
    let cluster = cluster(Some("Auto"));
    for found in [
        effective(&annotations, &cluster),
        of_annotations(&annotations),
    ] {
        assert_eq!(found.mode, Mode::Require);
        assert_eq!(found.decided_by, pool);
    }
    assert!(recorded(&annotations, &cluster).is_empty());
}

#[test]
fn a_mode_is_written_exactly_or_refused_with_its_value_and_field() {
    for (value, understood) in [
        ("Auto", true),
        ("Never", true),
        ("Require", true),
        ("auto", false),
        ("true", false),
        ("", false),
    ] {
        let annotations = annotated(&[(annotations::WARM_START, value)]);
        assert_eq!(asked(&annotations).is_ok(), understood, "{value:?}");
        let machine: crate::virtual_machine::VirtualMachine = serde_json::from_value(json!({
            "metadata": { "name": "vm" },
            "spec": { "runStrategy": "Always", "template": {
                "metadata": { "annotations": annotations },
                "spec": { "domain": { "devices": {}, "memory": { "guest": "64Mi" } } } } },
        }))
        .unwrap();
        let cluster = ClusterConfiguration::of_architecture("amd64");
        let causes = crate::validate::virtual_machine(&machine, &cluster);
        let told: Vec<_> = causes.iter().map(|it| it.field.as_str()).collect();
        let expected: &[&str] = if understood {
            &[]
        } else {
            &["spec.template.metadata.annotations"]
        };
        assert_eq!(told, expected, "{value:?}");
        assert!(
            causes
                .iter()
                .all(|it| it.message.contains(&format!("{value:?}")))
        );
    }
}

#[test]
fn a_marker_is_one_line_that_can_be_seen() {
    let long = "x".repeat(LONGEST_MARKER + 1);
    for (value, understood) in [
        ("system is up", true),
        ("", false),
        ("  ", false),
        ("two\nlines", false),
        (long.as_str(), false),
    ] {
        let annotations = annotated(&[(annotations::WARM_START_MARKER, value)]);
        assert_eq!(marker(&annotations).is_ok(), understood, "{value:?}");
    }
    assert_eq!(marker(&annotated(&[])), Ok(None));
}

fn instance(annotations: Value, spec: Value) -> VirtualMachineInstance {
    serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": { "name": "vm", "namespace": "ns", "annotations": annotations },
        "spec": spec,
    }))
    .unwrap()
}

#[test]
fn what_cannot_start_from_a_template_says_its_field_its_cause_and_the_way_out() {
    let domain = |domain: Value| {
        let mut domain = domain;
        if domain.get("devices").is_none() {
            domain["devices"] = json!({});
        }
        json!({ "domain": domain })
    };
    let volumes = |volumes: Value| json!({ "domain": { "devices": {} }, "volumes": volumes });
    let none = json!({});
    let made = json!({ "anyvirt.io/generated-firmware-identity": "u-1 s-1" });
    for (annotations, spec, expected) in [
        (&none, domain(json!({})), None),
        (
            &none,
            volumes(json!([
                { "name": "a", "containerDisk": { "image": "i" } },
                { "name": "b", "emptyDisk": { "capacity": "1Gi" } },
                { "name": "c", "cloudInitNoCloud": { "secretRef": { "name": "s" } } },
            ])),
            None,
        ),
        (
            &none,
            volumes(json!([
                { "name": "a", "containerDisk": { "image": "i" } },
                { "name": "h", "hostDisk": { "path": "/d", "type": "Disk" } },
            ])),
            Some(("HostDisk", "spec.volumes[1].hostDisk")),
        ),
        (
            &none,
            domain(json!({ "devices": { "tpm": {} } })),
            Some(("Device", "spec.domain.devices.tpm")),
        ),
        (
            &none,
            domain(json!({ "devices": { "hostDevices": [{}] } })),
            Some(("Device", "spec.domain.devices.hostDevices")),
        ),
        (
            &none,
            domain(json!({ "firmware": { "uuid": "u-1" } })),
            Some(("FirmwareIdentity", "spec.domain.firmware.uuid")),
        ),
        (
            &made,
            domain(json!({ "firmware": { "uuid": "u-1", "serial": "s-1" } })),
            None,
        ),
        (
            &made,
            domain(json!({ "firmware": { "uuid": "u-1", "serial": "chosen" } })),
            Some(("FirmwareIdentity", "spec.domain.firmware.serial")),
        ),
        (&none, domain(json!({ "clock": { "utc": {} } })), None),
        (
            &none,
            domain(json!({ "clock": { "utc": { "offsetSeconds": -3600 } } })),
            Some(("ForcedTime", "spec.domain.clock.utc.offsetSeconds")),
        ),
        (
            &none,
            domain(json!({ "clock": { "timezone": "Europe/Berlin" } })),
            Some(("ForcedTime", "spec.domain.clock.timezone")),
        ),
        (
            &none,
            json!({ "domain": { "devices": {} }, "startStrategy": "Paused" }),
            Some(("StartsPaused", "spec.startStrategy")),
        ),
    ] {
        let found = obstacle(&instance(annotations.clone(), spec.clone()));
        match (&found, expected) {
            (None, None) => {}
            (Some(found), Some((reason, field))) => {
                assert_eq!(found.reason, reason, "{spec}");
                assert!(found.message.starts_with(field), "{}", found.message);
                assert!(
                    found.message.contains("; "),
                    "no way out: {}",
                    found.message
                );
            }
            _ => panic!("{spec}: {found:?}"),
        }
    }
}

#[test]
fn cloud_init_data_that_does_not_fit_onto_the_templates_disk_is_counted() {
    assert_eq!(cloud_init_obstacle(LARGEST_CLOUD_INIT_BYTES), None);
    let found = cloud_init_obstacle(LARGEST_CLOUD_INIT_BYTES + 1);
    assert_eq!(found.map(|it| it.reason), Some("CloudInitTooLarge"));
}
