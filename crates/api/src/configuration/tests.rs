use expect_test::expect;
use serde_json::json;

use super::*;

fn kubevirt(spec: serde_json::Value) -> KubeVirt {
    serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {"namespace": "kubevirt", "name": "kubevirt"},
        "spec": spec,
    }))
    .unwrap()
}

fn read(object: Option<&KubeVirt>, data: &[(&str, &str)]) -> ClusterConfiguration {
    let data: BTreeMap<String, String> = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let inputs = ClusterInputs {
        config_maps: vec![("openshift-cnv", &data)],
        kubevirt: object,
        ..ClusterInputs::default()
    };
    ClusterConfiguration::read(&inputs, "amd64")
}

#[test]
fn nothing_configured_has_upstreams_defaults_and_no_problems() {
    let read = read(None, &[]);
    assert_eq!(read, ClusterConfiguration::of_architecture("amd64"));
    assert_eq!(
        (read.machine_type.as_str(), read.cpu_model.as_str()),
        ("q35", "host-model")
    );
}

#[test]
fn upstreams_default_object_has_no_problems() {
    let object = kubevirt(json!({
        "certificateRotateStrategy": {},
        "configuration": {"developerConfiguration": {"featureGates": ["HostDisk"]}},
        "customizeComponents": {},
        "workloadUpdateStrategy": {},
    }));
    let read = read(Some(&object), &[]);
    assert_eq!(read.problems, []);
    assert!(read.feature_gates.contains(HOST_DISK_GATE));
}

#[test]
fn a_key_of_the_config_map_wins_over_the_object_and_says_so() {
    let object = kubevirt(json!({"configuration": {
        "cpuModel": "Haswell",
        "architectureConfiguration": {"amd64": {"machineType": "pc-q35-7.1"}},
        "developerConfiguration": {"cpuAllocationRatio": 4, "memoryOvercommit": 150},
    }}));
    let read = read(
        Some(&object),
        &[
            ("machine-type", "pc-q35-7.2"),
            ("node-selectors", "a=b\n c = d\n"),
            ("cpu-request", "1"),
        ],
    );
    assert_eq!(read.machine_type, "pc-q35-7.2");
    assert_eq!(
        (read.cpu_model.as_str(), read.cpu_allocation_ratio),
        ("Haswell", 4)
    );
    assert_eq!(read.memory_overcommit, 150);
    assert_eq!(read.node_selectors.get("c").map(String::as_str), Some("d"));
    assert_eq!(read.cpu_request, Some(Quantity::from("1")));
    let told: Vec<&str> = read.problems.iter().map(|it| it.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "KubeVirt kubevirt/kubevirt spec.configuration.architectureConfiguration.amd64.machineType says \
             \"pc-q35-7.1\", but ConfigMap openshift-cnv/kubevirt-config machine-type says \"pc-q35-7.2\" and \
             wins; make them agree, or remove one"
        ]
    );
}

#[test]
fn what_has_no_effect_is_reported_by_name() {
    let object = kubevirt(json!({"configuration": {
        "migrations": {"allowPostCopy": true},
        "network": {"defaultNetworkInterface": "bridge"},
        "evictionStrategy": "LiveMigrate",
    }}));
    let read = read(
        Some(&object),
        &[
            ("smbios", "x"),
            ("colour", "red"),
            ("cpu-request", "much"),
            ("useEmulation", "true"),
        ],
    );
    let text: Vec<String> = read
        .problems
        .iter()
        .map(|found| format!("{}: {}", found.reason, found.message))
        .collect();
    expect![[r#"
        Misspelt: ConfigMap openshift-cnv/kubevirt-config has the key useEmulation, which has no effect; the switch is called debug.useEmulation: write debug.useEmulation: "true", and remove useEmulation
        NotServed: KubeVirt kubevirt/kubevirt spec.configuration.migrations has no effect in anyvirt; remove it
        InvalidValue: ConfigMap openshift-cnv/kubevirt-config cpu-request: "much" is not an amount of processors such as 100m; it is ignored; write an amount of processors such as 100m
        NotServed: KubeVirt kubevirt/kubevirt spec.configuration.network.defaultNetworkInterface: the binding bridge is not served by this version of anyvirt; interfaces are attached by masquerade; write masquerade
        NotServed: KubeVirt kubevirt/kubevirt spec.configuration.evictionStrategy: the strategy LiveMigrate is not served by this version of anyvirt, because guests are not migrated; write None or LiveMigrateIfPossible
        UnknownKey: ConfigMap openshift-cnv/kubevirt-config colour is not a key of this ConfigMap; remove it
        NotServed: ConfigMap openshift-cnv/kubevirt-config smbios has no effect in anyvirt, nor has spec.configuration.smbios of the KubeVirt object, which took its place in KubeVirt; remove it"#]]
    .assert_eq(&text.join("\n"));
}

fn value<'a>(values: &'a [EffectiveValue], field: &str) -> (&'a str, &'a str) {
    let field = format!("spec.configuration.{field}");
    let found = values.iter().find(|it| it.field == field).unwrap();
    (found.value.as_str(), found.from.as_str())
}

#[test]
fn each_value_in_force_names_the_place_it_comes_from() {
    let object = kubevirt(json!({"configuration": {
        "cpuModel": "Haswell",
        "emulationMultiTenancy": "Deny",
        "developerConfiguration": {"useEmulation": true, "nodeSelectors": {"a": "b"}},
    }}));
    let values = read(Some(&object), &[("cpu-request", "250m")]).effective();
    let map = "ConfigMap openshift-cnv/kubevirt-config";
    let of = |field: &str| format!("KubeVirt kubevirt/kubevirt spec.configuration.{field}");
    for (field, expected, from) in [
        (
            "emulationPolicy",
            "Software",
            of("developerConfiguration.useEmulation"),
        ),
        ("emulationMultiTenancy", "Deny", of("emulationMultiTenancy")),
        ("cpuModel", "Haswell", of("cpuModel")),
        ("cpuRequest", "250m", format!("{map} cpu-request")),
        (
            "developerConfiguration.nodeSelectors",
            "a=b",
            of("developerConfiguration.nodeSelectors"),
        ),
        (
            "architectureConfiguration.amd64.machineType",
            "q35",
            "default".to_owned(),
        ),
    ] {
        assert_eq!(value(&values, field), (expected, from.as_str()), "{field}");
    }
    assert_eq!(values.len(), 16);
}

#[test]
fn each_legacy_key_is_served_or_reported_with_what_took_its_place() {
    // The whole table of KubeVirt's keys; a value that each accepts; the field it sets, if it is served.
    let served = [
        (
            "feature-gates",
            "Sidecar",
            "developerConfiguration.featureGates",
        ),
        (
            "emulated-machines",
            "q35*",
            "architectureConfiguration.amd64.emulatedMachines",
        ),
        (
            "machine-type",
            "pc-q35-7.2",
            "architectureConfiguration.amd64.machineType",
        ),
        ("default-cpu-model", "Haswell", "cpuModel"),
        ("cpu-request", "300m", "cpuRequest"),
        (
            "memory-overcommit",
            "150",
            "developerConfiguration.memoryOvercommit",
        ),
        (
            "cpu-allocation-ratio",
            "4",
            "developerConfiguration.cpuAllocationRatio",
        ),
        (
            "node-selectors",
            "a=b",
            "developerConfiguration.nodeSelectors",
        ),
        (
            "default-network-interface",
            "masquerade",
            "network.defaultNetworkInterface",
        ),
    ];
    for (key, text, field) in served {
        let read = read(None, &[(key, text)]);
        assert_eq!(read.problems, [], "{key}");
        let from = format!("ConfigMap openshift-cnv/kubevirt-config {key}");
        assert_eq!(value(&read.effective(), field), (text, from.as_str()));
    }
    for (key, field) in [
        (
            "pvc-tolerate-less-space-up-to-percent",
            "developerConfiguration.pvcTolerate",
        ),
        ("dev.imagePullPolicy", "imagePullPolicy"),
        ("migrations", "migrations"),
        ("permitBridgeInterfaceOnPodNetwork", "network.permitBridge"),
        ("permitSlirpInterface", "gone from KubeVirt"),
        ("smbios", "smbios"),
        ("selinuxLauncherType", "selinuxLauncherType"),
        ("supported-guest-agent", "supportedGuestAgentVersions"),
        ("ovmfPath", "architectureConfiguration.amd64.ovmfPath"),
        ("memBalloonStatsPeriod", "memBalloonStatsPeriod"),
        ("permittedHostDevices", "permittedHostDevices"),
    ] {
        let problems = read(None, &[(key, "x")]).problems;
        assert_eq!(problems.len(), 1, "{key}");
        assert_eq!(problems[0].reason, "NotServed", "{key}");
        assert!(
            problems[0].message.contains(field),
            "{}",
            problems[0].message
        );
    }
}

#[test]
fn a_misspelt_key_is_told_with_the_right_one() {
    for (key, meant) in [
        ("machinetype", Some("machine-type")),
        ("machineType", Some("machine-type")),
        ("feature_gates", Some("feature-gates")),
        ("featureGates", Some("feature-gates")),
        ("cpuModel", Some("default-cpu-model")),
        ("memoryOvercommit", Some("memory-overcommit")),
        ("migration", Some("migrations")),
        ("colour", None),
        ("x", None),
    ] {
        let problems = read(None, &[(key, "1")]).problems;
        assert_eq!(problems.len(), 1, "{key}");
        let (reason, message) = (&problems[0].reason, &problems[0].message);
        match meant {
            Some(meant) => {
                assert_eq!(reason, "Misspelt", "{message}");
                assert!(message.ends_with(&format!("write {meant}")), "{message}");
            }
            None => assert_eq!(reason, "UnknownKey", "{message}"),
        }
    }
}

#[test]
fn an_invalid_value_keeps_the_last_good_one() {
    let before = read(None, &[("cpu-allocation-ratio", "4")]).effective();
    let data = [("cpu-allocation-ratio".to_owned(), "many".to_owned())].into();
    let after = ClusterConfiguration::read(
        &ClusterInputs {
            config_maps: vec![("openshift-cnv", &data)],
            last_values: &before,
            ..ClusterInputs::default()
        },
        "amd64",
    );
    assert_eq!(after.cpu_allocation_ratio, 4);
    assert_eq!(
        value(
            &after.effective(),
            "developerConfiguration.cpuAllocationRatio"
        ),
        (
            "4",
            "ConfigMap openshift-cnv/kubevirt-config cpu-allocation-ratio"
        )
    );
    expect![[r#"ConfigMap openshift-cnv/kubevirt-config cpu-allocation-ratio: "many" is not a whole number of at least 1; the last good value stays: "4", by ConfigMap openshift-cnv/kubevirt-config cpu-allocation-ratio; write a whole number of at least 1"#]]
        .assert_eq(&after.problems[0].message);
    // Without a last good one the next place is asked.
    let object = kubevirt(json!({"configuration": {
        "developerConfiguration": {"cpuAllocationRatio": 3}}}));
    let fresh = read(Some(&object), &[("cpu-allocation-ratio", "0")]);
    assert_eq!(fresh.cpu_allocation_ratio, 3);
}

#[test]
fn the_bound_of_emulated_processors_is_that_of_the_object_if_it_is_one() {
    for (written, expected, problems) in [
        (json!({}), 10, 0),
        (json!({"emulatedProcessorsPerCore": 3}), 3, 0),
        (json!({"emulatedProcessorsPerCore": 0}), 10, 1),
    ] {
        let read = read(Some(&kubevirt(json!({"configuration": written}))), &[]);
        assert_eq!(read.emulated_processors_per_core, expected);
        assert_eq!(read.problems.len(), problems);
    }
}

#[test]
fn how_many_guests_stand_by_is_set_within_bounds() {
    for (written, size, memory, problems) in [
        (json!({}), 1, None, 0),
        (json!({"warmStartPool": {}}), 1, None, 0),
        (json!({"warmStartPool": {"size": 0}}), 0, None, 0),
        (
            json!({"warmStartPool": {"size": 16, "maximumMemory": "1Gi"}}),
            16,
            Some("1Gi"),
            0,
        ),
        (json!({"warmStartPool": {"size": 17}}), 1, None, 1),
        (
            json!({"warmStartPool": {"maximumMemory": "much"}}),
            1,
            None,
            1,
        ),
    ] {
        let read = read(
            Some(&kubevirt(json!({"configuration": written.clone()}))),
            &[],
        );
        let pool = &read.warm_start_pool;
        let found = pool.maximum_memory.as_ref().map(|it| it.0.as_str());
        assert_eq!((pool.size, found), (size, memory), "{written}");
        assert_eq!(read.problems.len(), problems, "{:?}", read.problems);
    }
}

#[test]
fn each_architecture_has_the_machine_types_written_for_it() {
    let types = json!({
        "amd64": {"machineType": "pc-q35-7.2"},
        "arm64": {"machineType": "virt-7.2", "emulatedMachines": ["virt-7*"]},
    });
    let object = kubevirt(json!({"configuration": {"architectureConfiguration": types}}));
    let written = read(Some(&object), &[("emulated-machines", "pc-q35-7.2, pc")]);
    let machines = |default: &str, allowed: &[&str]| Machines {
        default: default.to_owned(),
        allowed: allowed.iter().map(|&pattern| pattern.to_owned()).collect(),
    };
    assert_eq!(
        written.machines("amd64"),
        machines("pc-q35-7.2", &["pc-q35-7.2", "pc"])
    );
    assert_eq!(
        written.machines("arm64"),
        machines("virt-7.2", &["virt-7*"])
    );
    assert_eq!(
        read(None, &[]).machines("arm64"),
        machines("virt", &["virt*"])
    );
}

#[test]
fn of_several_objects_the_one_with_the_usual_name_counts() {
    let named = |namespace: &str, name: &str| ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    };
    let first = |all: &[(&str, &str)]| {
        all.iter()
            .map(|(namespace, name)| named(namespace, name))
            .min_by_key(|it| precedence(it, "kubevirt", "kubevirt"))
            .and_then(|it| Some(format!("{}/{}", it.namespace?, it.name?)))
    };
    let usual = Some("kubevirt/kubevirt".to_owned());
    assert_eq!(first(&[("a", "kubevirt"), ("kubevirt", "kubevirt")]), usual);
    assert_eq!(first(&[("kubevirt", "a"), ("kubevirt", "kubevirt")]), usual);
    assert_eq!(
        first(&[("b", "a"), ("a", "c"), ("a", "b")]),
        Some("a/b".to_owned())
    );
    assert_eq!(first(&[]), None);
}

/// The keys of the legacy ConfigMap, as the web console must know them: `web/src/editor/editor.test.ts` compares its own
/// table with this file.
#[test]
fn the_console_is_told_the_keys_of_the_legacy_config_map() {
    let keys = Setting::ALL.into_iter().filter_map(Setting::key);
    let mut keys: Vec<&str> = keys.chain([crate::accelerator::SWITCH]).collect();
    keys.sort_unstable();
    let text = serde_json::to_string_pretty(&keys).unwrap() + "\n";
    expect_test::expect_file!["../../../../web/src/editor/keys-of-server.json"].assert_eq(&text);
}
