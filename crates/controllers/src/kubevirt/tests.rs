use super::decide::{concerns_config_map, fact, policy_changed, status, tainted, untold};
use super::{Publisher, recorded};
use api::accelerator::{ClusterInputs, EmulationPolicy};
use api::condition;
use api::configuration::ClusterConfiguration;
use api::hyper_converged::HyperConverged;
use api::kubevirt::KubeVirt;
use api::names::annotations::HYPER_CONVERGED_PATCH;
use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn kubevirt(spec: Value) -> KubeVirt {
    serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt",
        "metadata": { "name": "kubevirt", "namespace": "kubevirt", "generation": 2 }, "spec": spec,
    }))
    .unwrap()
}

/// The configuration with a switch in the ConfigMap of openshift-cnv.
fn read(kubevirt: &KubeVirt, switch: &str) -> ClusterConfiguration {
    let data = BTreeMap::from([("debug.useEmulation".to_owned(), switch.to_owned())]);
    let last_good = recorded(Some(kubevirt));
    let inputs = ClusterInputs {
        config_maps: vec![("openshift-cnv", &data)],
        kubevirt: Some(kubevirt),
        last_good: last_good.as_ref(),
        ..ClusterInputs::default()
    };
    ClusterConfiguration::read(&inputs, "amd64")
}

fn with_status(kubevirt: &KubeVirt, configuration: &ClusterConfiguration) -> KubeVirt {
    KubeVirt {
        status: Some(status(kubevirt, configuration, now())),
        ..kubevirt.clone()
    }
}

#[test]
fn the_object_says_what_is_in_force_and_who_decided_it() {
    let object = kubevirt(json!({}));
    let told = status(&object, &read(&object, "true"), now());
    assert_eq!(told.phase.as_deref(), Some("Deployed"));
    assert_eq!(told.observed_generation, Some(2));
    let emulation = told.emulation.unwrap();
    assert_eq!(emulation.policy, "Software");
    assert_eq!(
        emulation.decided_by,
        "ConfigMap openshift-cnv/kubevirt-config debug.useEmulation"
    );
    let standing: Vec<_> = told
        .conditions
        .iter()
        .map(|it| format!("{} {}", it.type_, it.status))
        .collect();
    assert_eq!(
        standing,
        [
            "Available True",
            "Progressing False",
            "Degraded False",
            "Created True",
            "EmulationConfiguration True"
        ]
    );
}

#[test]
fn each_value_in_force_is_told_with_its_place_and_kept_when_it_becomes_invalid() {
    let object = kubevirt(json!({ "configuration": { "cpuModel": "Haswell" } }));
    let told = status(&object, &read(&object, "true"), now());
    let place = |status: &api::kubevirt::KubeVirtStatus, field: &str| {
        let field = format!("spec.configuration.{field}");
        let all = status.effective_configuration.iter();
        let found = all.filter(|it| it.field == field).cloned();
        found.map(|it| (it.value, it.from)).collect::<Vec<_>>()
    };
    let text = |value: &str, from: &str| vec![(value.to_owned(), from.to_owned())];
    let switch = "ConfigMap openshift-cnv/kubevirt-config debug.useEmulation";
    assert_eq!(place(&told, "emulationPolicy"), text("Software", switch));
    assert_eq!(
        place(&told, "emulationMultiTenancy"),
        text("Warn", "default")
    );
    let model = "KubeVirt kubevirt/kubevirt spec.configuration.cpuModel";
    assert_eq!(place(&told, "cpuModel"), text("Haswell", model));
    let before = with_status(&object, &read(&object, "true"));
    let after = status(&before, &read(&before, "True"), now());
    assert_eq!(place(&after, "emulationPolicy"), text("Software", switch));
    let problem = &after.emulation.unwrap().problems[0].message;
    assert!(problem.ends_with("write \"true\""), "{problem}");
}

#[test]
fn the_environment_stands_between_the_config_map_and_the_object() {
    let object = kubevirt(
        json!({ "configuration": { "developerConfiguration": { "useEmulation": false } } }),
    );
    let inputs = ClusterInputs {
        environment: Some("true"),
        kubevirt: Some(&object),
        ..ClusterInputs::default()
    };
    let configuration = ClusterConfiguration::read(&inputs, "amd64");
    assert_eq!(
        configuration.emulation.decided_by,
        "environment variable KVM_EMULATION of the server"
    );
    let told = fact(&configuration.problems[0]);
    assert_eq!(told.reason, "ConflictingConfiguration");
    assert_eq!(
        read(&object, "false").emulation.policy,
        EmulationPolicy::None
    );
}

#[test]
fn places_that_disagree_are_told_on_the_object_and_on_the_config_map() {
    let object = kubevirt(
        json!({ "configuration": { "developerConfiguration": { "useEmulation": false } } }),
    );
    let configuration = read(&object, "true");
    assert_eq!(configuration.emulation.policy, EmulationPolicy::Software);
    let told = status(&object, &configuration, now());
    let understood = condition::find(&told.conditions, "EmulationConfiguration").unwrap();
    assert_eq!(understood.status, "False");
    assert_eq!(understood.reason.as_deref(), Some("Conflict"));
    let message = understood.message.as_deref().unwrap();
    assert!(
        message.starts_with("emulation policy Software, decided by ConfigMap"),
        "{message}"
    );
    assert!(message.contains("make them agree"), "{message}");
    let problem = &configuration.problems[0];
    assert_eq!(fact(problem).reason, "ConflictingConfiguration");
    assert!(concerns_config_map(problem, "openshift-cnv"));
    assert!(!concerns_config_map(problem, "kubevirt"));
}

#[test]
fn an_invalid_value_keeps_the_last_good_policy_across_a_restart() {
    let object = kubevirt(json!({}));
    let before = with_status(&object, &read(&object, "true"));
    let configuration = read(&before, "maybe");
    assert_eq!(configuration.emulation.policy, EmulationPolicy::Software);
    assert_eq!(
        fact(&configuration.problems[0]).reason,
        "InvalidConfiguration"
    );
    let told = status(&before, &configuration, now());
    let understood = condition::find(&told.conditions, "EmulationConfiguration").unwrap();
    assert_eq!(understood.reason.as_deref(), Some("InvalidValue"));
    // And the next restart still knows.
    let again = read(&with_status(&before, &configuration), "maybe");
    assert_eq!(again.emulation.policy, EmulationPolicy::Software);
}

#[test]
fn a_problem_is_told_once() {
    let object = kubevirt(json!({}));
    let configuration = read(&object, "maybe");
    assert_eq!(untold(Some(&object), &configuration).len(), 1);
    assert_eq!(
        untold(Some(&with_status(&object, &configuration)), &configuration).len(),
        0
    );
}

#[test]
fn a_changed_policy_is_an_event_and_the_first_one_is_not() {
    let object = kubevirt(json!({}));
    let off = read(&object, "false");
    assert_eq!(policy_changed(&object, &off), None);
    let off_told = with_status(&object, &off);
    assert_eq!(policy_changed(&off_told, &off), None);
    let fact = policy_changed(&off_told, &read(&off_told, "true")).unwrap();
    assert!(
        fact.message
            .starts_with("The emulation policy is now Software"),
        "{}",
        fact.message
    );
}

#[test]
fn telling_it_twice_changes_nothing() {
    let object = kubevirt(json!({}));
    let configuration = read(&object, "maybe");
    let once = with_status(&object, &configuration);
    let later = "2026-11-22T13:00:00Z".parse().unwrap();
    assert_eq!(Some(status(&once, &configuration, later)), once.status);
}

#[tokio::test]
async fn a_configuration_is_known_once_published_and_told_when_it_changes() {
    let publisher = Publisher::default();
    let reader = publisher.subscribe();
    assert_eq!(reader.clone().known().now_or_never(), None);
    let one = ClusterConfiguration::of_architecture("amd64");
    assert!(publisher.publish(one.clone()));
    reader.clone().known().await;
    let mut changes = std::pin::pin!(publisher.subscribe().changes());
    assert!(!publisher.publish(one));
    assert_eq!(changes.next().now_or_never(), None);
    assert!(publisher.publish(ClusterConfiguration::of_architecture("arm64")));
    assert_eq!(changes.next().await, Some(()));
}

#[test]
fn an_annotation_of_hyper_converged_taints_it_as_long_as_it_is_there() {
    let mut object = HyperConverged::new("h", Default::default());
    let patch = (HYPER_CONVERGED_PATCH.to_owned(), "[]".to_owned());
    object.metadata.annotations = Some([patch].into());
    let told = tainted(&object, now());
    assert!(condition::is_true(&told.conditions, "TaintedConfiguration"));
    object.status = Some(told);
    object.metadata.annotations = None;
    assert_eq!(tainted(&object, now()).conditions, []);
}
