use expect_test::expect;

use super::places::SWITCH_POINTER;
use super::*;
use crate::names;

fn data(value: Option<&str>) -> BTreeMap<String, String> {
    value
        .map(|value| (SWITCH.to_owned(), value.to_owned()))
        .into_iter()
        .collect()
}

fn kubevirt(value: Option<bool>) -> KubeVirt {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {"namespace": "kubevirt", "name": "kubevirt"},
        "spec": {"configuration": {"developerConfiguration": {"useEmulation": value}}},
    }))
    .unwrap()
}

fn hyper_converged(patch: &str) -> HyperConverged {
    let mut object = HyperConverged::new("kubevirt-hyperconverged", Default::default());
    object.metadata.namespace = Some("openshift-cnv".to_owned());
    object.metadata.annotations = Some(
        [(
            names::annotations::HYPER_CONVERGED_PATCH.to_owned(),
            patch.to_owned(),
        )]
        .into(),
    );
    object
}

fn patch(value: &str) -> String {
    format!(r#"[{{"op":"add","path":"{SWITCH_POINTER}","value":{value}}}]"#)
}

#[test]
fn a_value_that_cannot_be_read_is_written_and_an_empty_one_is_not() {
    let written = |map: Option<&str>, patched: Option<&str>, environment: Option<&str>| {
        let (map, patched) = (data(map), patched.map(hyper_converged));
        ClusterPolicy::is_written(&ClusterInputs {
            config_maps: vec![("kubevirt", &map)],
            hyper_converged: patched.as_ref(),
            environment,
            ..ClusterInputs::default()
        })
    };
    assert!(!written(None, None, None));
    assert!(!written(Some(" "), Some("[]"), Some("")));
    for value in ["true", "false", "maybe"] {
        assert!(written(Some(value), None, None), "{value}");
        assert!(written(None, Some(&patch(value)), None), "{value}");
        assert!(written(None, None, Some(value)), "{value}");
    }
    assert!(written(None, Some("no JSON"), None));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn the_strongest_place_that_says_something_decides() {
    use EmulationPolicy::{None as No, Software};
    // openshift-cnv ConfigMap, kubevirt ConfigMap, HyperConverged, KubeVirt -> policy, place, conflicts
    for (cnv, map, patched, object, policy, by, problems) in [
        (None, None, None, None, No, "default", 0),
        (
            Some("true"),
            None,
            None,
            None,
            Software,
            "ConfigMap openshift-cnv",
            0,
        ),
        (
            Some("  true\n"),
            None,
            None,
            None,
            Software,
            "ConfigMap openshift-cnv",
            0,
        ),
        (
            Some(""),
            None,
            None,
            Some(true),
            Software,
            "KubeVirt kubevirt/kubevirt spec",
            0,
        ),
        (
            Some("false"),
            None,
            None,
            Some(true),
            No,
            "ConfigMap openshift-cnv",
            1,
        ),
        (
            None,
            Some("true"),
            None,
            Some(true),
            Software,
            "ConfigMap kubevirt/",
            0,
        ),
        (
            Some("false"),
            Some("true"),
            Some("true"),
            Some(true),
            No,
            "ConfigMap openshift-cnv",
            3,
        ),
        (
            None,
            None,
            Some("true"),
            Some(false),
            Software,
            "HyperConverged",
            1,
        ),
        (None, None, Some("false"), None, No, "HyperConverged", 0),
        (None, None, None, Some(true), Software, "KubeVirt", 0),
        (None, None, None, Some(false), No, "KubeVirt", 0),
        (
            Some("maybe"),
            None,
            None,
            Some(true),
            Software,
            "KubeVirt",
            1,
        ),
        (Some("True"), None, None, None, No, "default", 1),
        (
            None,
            None,
            Some("\"yes\""),
            Some(true),
            Software,
            "KubeVirt",
            1,
        ),
    ] {
        let (cnv_data, map_data, object) = (data(cnv), data(map), kubevirt(object));
        let hyper = patched.map(|value| hyper_converged(&patch(value)));
        let read = ClusterPolicy::read(&ClusterInputs {
            config_maps: vec![("openshift-cnv", &cnv_data), ("kubevirt", &map_data)],
            hyper_converged: hyper.as_ref(),
            kubevirt: Some(&object),
            ..ClusterInputs::default()
        });
        let case = format!("{cnv:?} {map:?} {patched:?}: {read:?}");
        assert_eq!(read.policy, policy, "{case}");
        assert!(read.decided_by.starts_with(by), "{case}");
        assert_eq!(read.problems.len(), problems, "{case}");
    }
}

#[test]
fn an_invalid_value_keeps_the_last_good_policy() {
    let last = ClusterPolicy {
        policy: EmulationPolicy::Software,
        decided_by: "ConfigMap openshift-cnv/kubevirt-config debug.useEmulation".to_owned(),
        problems: Vec::new(),
    };
    let data = data(Some("maybe"));
    let read = ClusterPolicy::read(&ClusterInputs {
        config_maps: vec![("openshift-cnv", &data)],
        last_good: Some(&last),
        ..ClusterInputs::default()
    });
    assert_eq!(read.policy, EmulationPolicy::Software);
    expect![[r#"ConfigMap openshift-cnv/kubevirt-config debug.useEmulation: "maybe" is neither "true" nor "false"; the last good policy stays: Software, by ConfigMap openshift-cnv/kubevirt-config debug.useEmulation; write "true" or "false""#]]
        .assert_eq(&read.problems[0].message);
}

#[test]
fn misspelt_switches_are_reported_with_the_cure() {
    for (key, value, cure) in [
        (
            "debug-useEmulation",
            "true",
            "write debug.useEmulation: \"true\"",
        ),
        ("useEmulation", "True", "write debug.useEmulation: \"true\""),
        (
            "debug.useemulation",
            "no",
            "write debug.useEmulation: \"false\"",
        ),
        (
            "debug.useEmulaton",
            "true",
            "write debug.useEmulation: \"true\"",
        ),
        (
            "debug.useEmulations",
            "true",
            "write debug.useEmulation: \"true\"",
        ),
        (
            "debug.userEmulate",
            "true",
            "write debug.useEmulation: \"true\"",
        ),
        (
            "emulationPolicy",
            "Software",
            "write debug.useEmulation: \"true\"",
        ),
    ] {
        let data = [(key.to_owned(), value.to_owned())].into();
        let read = ClusterPolicy::read(&ClusterInputs {
            config_maps: vec![("kubevirt", &data)],
            ..ClusterInputs::default()
        });
        assert_eq!(read.policy, EmulationPolicy::None);
        assert_eq!(read.problems[0].reason, "Misspelt", "{key}");
        let message = &read.problems[0].message;
        assert!(message.contains(cure), "{message}");
        assert!(message.ends_with(&format!("remove {key}")), "{message}");
    }
    for key in [
        SWITCH,
        "emulated-machines",
        "memory-overcommit",
        "debug.logLevel",
        "smbios",
    ] {
        assert!(!is_misspelt(key), "{key}");
    }
}

#[test]
fn invalid_values_are_told_with_what_was_meant() {
    for (value, cure) in [
        ("True", "write \"true\""),
        ("yes", "write \"true\""),
        ("'true'", "write \"true\""),
        ("1", "write \"true\""),
        ("Software", "write \"true\""),
        ("False", "write \"false\""),
        ("no", "write \"false\""),
        ("None", "write \"false\""),
        ("maybe", "write \"true\" or \"false\""),
    ] {
        let data = data(Some(value));
        let read = ClusterPolicy::read(&ClusterInputs {
            config_maps: vec![("openshift-cnv", &data)],
            ..ClusterInputs::default()
        });
        assert_eq!(read.problems[0].reason, "InvalidValue", "{value}");
        let message = &read.problems[0].message;
        assert!(message.ends_with(cure), "{message}");
        assert_eq!(
            switch_problem(value).map(|(_, cure)| cure).as_deref(),
            Some(cure)
        );
    }
    for value in ["true", " false ", ""] {
        assert_eq!(switch_problem(value), None);
    }
}

#[test]
fn letters_apart_are_counted_both_ways() {
    let letters = |text: &str| text.chars().collect::<Vec<_>>();
    for (one, other, apart) in [
        ("", "", 0),
        ("abc", "abc", 0),
        ("abc", "abd", 1),
        ("abc", "ab", 1),
        ("abc", "xabc", 1),
        ("kitten", "sitting", 3),
        ("", "four", 4),
    ] {
        assert_eq!(letters_apart(&letters(one), &letters(other)), apart);
        assert_eq!(letters_apart(&letters(other), &letters(one)), apart);
    }
}

#[test]
fn patches_are_read_to_their_end() {
    for (text, software, problems) in [
        ("nonsense", false, 1),
        ("{}", false, 1),
        ("[]", false, 0),
        (
            r#"[{"op":"add","path":"/spec/configuration/developerConfiguration","value":{"useEmulation":true}}]"#,
            true,
            0,
        ),
        (
            r#"[{"op":"add","path":"/spec/configuration/migrations","value":{}}]"#,
            false,
            1,
        ),
        (
            r#"[{"op":"replace","path":"/spec/configuration/emulationPolicy","value":"Software"}]"#,
            true,
            0,
        ),
        (
            r#"[{"op":"add","path":"/spec/configuration/emulationPolicy","value":"software"}]"#,
            false,
            1,
        ),
        (
            r#"[{"op":"add","path":"/spec/configuration","value":{"developerConfiguration":{"useEmulation":true},"emulationPolicy":"None"}}]"#,
            false,
            0,
        ),
        (
            &format!(
                r#"[{{"op":"add","path":"{SWITCH_POINTER}","value":true}},{{"op":"remove","path":"{SWITCH_POINTER}"}}]"#
            ),
            false,
            0,
        ),
    ] {
        let object = hyper_converged(text);
        let read = ClusterPolicy::read(&ClusterInputs {
            hyper_converged: Some(&object),
            ..ClusterInputs::default()
        });
        assert_eq!(read.policy.permits_software(), software, "{text}");
        assert_eq!(read.problems.len(), problems, "{text}: {:?}", read.problems);
    }
}

#[test]
fn a_policy_survives_the_status() {
    let policy = ClusterPolicy {
        policy: EmulationPolicy::Software,
        decided_by: "somebody".to_owned(),
        problems: Vec::new(),
    };
    assert_eq!(ClusterPolicy::recorded(&policy.status()), Some(policy));
}
