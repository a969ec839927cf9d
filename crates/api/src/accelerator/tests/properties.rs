//! What must hold for any input at all.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use proptest::prelude::*;
use serde_json::json;

use crate::accelerator::{
    Accelerator, Cap, ClusterInputs, ClusterPolicy, EffectivePolicy, EmulationPolicy, NodeFacts,
    SWITCH, Scope, effective, forced, resolve,
};
use crate::hyper_converged::HyperConverged;
use crate::names;

/// Texts near the valid ones, and any others.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "None", "Hardware", "Software", "software", "none", "NONE", " None", "true", "false",
            "", "kvm", "tcg", "KVM", "Nope", "0",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

fn label(key: &str, value: Option<String>) -> BTreeMap<String, String> {
    value
        .map(|value| (key.to_owned(), value))
        .into_iter()
        .collect()
}

fn policy() -> impl Strategy<Value = Option<EmulationPolicy>> {
    prop::option::of(prop::sample::select(EmulationPolicy::ALL.to_vec()))
}

prop_compose! {
    fn any_node()(
        cap in prop::option::of(text()),
        usable in prop_oneof![Just("True".to_owned()), Just("False".to_owned()), text()],
        architecture in prop::sample::select(vec!["amd64", "arm64", ""]),
        emulates in prop::sample::select(vec!["amd64", "arm64", ""]),
        device in text(),
        verdict in text(),
        slowdown in text(),
    ) -> Node {
        let mut labels = label(names::labels::EMULATION_POLICY, cap);
        labels.insert("kubernetes.io/arch".to_owned(), architecture.to_owned());
        labels.insert(format!("kubevirt.io/vm-arch-{emulates}"), "true".to_owned());
        labels.insert("anyvirt.io/kvm-device".to_owned(), device);
        serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": labels, "annotations": {
                "anyvirt.io/hardware-virtualization-verdict": verdict,
                "anyvirt.io/tcg-slowdown": slowdown,
            }},
            "status": {"conditions": [{"type": "HardwareVirtualization", "status": usable}]},
        }))
        .expect("a Node")
    }
}

prop_compose! {
    fn any_cluster()(
        maps in prop::collection::vec(prop::option::of(text()), 2),
        patch in prop::option::of(text()),
        environment in prop::option::of(text()),
        typed in policy(),
        switch in any::<Option<bool>>(),
        before in policy(),
    ) -> ClusterPolicy {
        let maps: Vec<_> = maps.into_iter().map(|value| label(SWITCH, value)).collect();
        let mut hyper = HyperConverged::new("h", Default::default());
        hyper.metadata.annotations = Some(label(names::annotations::HYPER_CONVERGED_PATCH, patch));
        let kubevirt = serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt", "metadata": {"name": "kubevirt"},
            "spec": {"configuration": {"emulationPolicy": typed,
                "developerConfiguration": {"useEmulation": switch}}},
        })).expect("a KubeVirt");
        let before = before.map(|policy| ClusterPolicy { policy, ..ClusterPolicy::default() });
        ClusterPolicy::read(&ClusterInputs {
            config_maps: vec![("openshift-cnv", &maps[0]), ("kubevirt", &maps[1])],
            hyper_converged: Some(&hyper),
            environment: environment.as_deref(),
            kubevirt: Some(&kubevirt),
            last_good: before.as_ref(),
            last_values: &[],
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_cap_that_is_not_software_is_never_emulated(
        cluster in any_cluster(),
        vm in policy(),
        cap in text(),
        annotation in prop::option::of(text()),
        node in any_node(),
        guest in prop::sample::select(vec!["amd64", "arm64", "s390x", ""]),
    ) {
        let vm = vm.map(|policy| ("vm".to_owned(), policy));
        let forced = forced(&label(names::annotations::ACCELERATOR, annotation)).unwrap_or_default();
        let namespace = label(names::labels::EMULATION_POLICY, Some(cap.clone()));
        let namespace = Cap::of_labels(Scope::Namespace, "ns", &namespace);
        let policy = effective(&cluster, vm, namespace.as_ref());
        // Whatever the pod carries is what the node reads.
        let carried = EffectivePolicy::of_annotations(&policy.annotations()).expect("a policy");
        prop_assert_eq!(carried.policy, policy.policy);
        prop_assert_eq!(&carried.considered, &policy.considered);
        let facts = NodeFacts::of(&node);
        let found = resolve(&carried, forced, guest, &facts);
        let emulated = found.as_ref().is_ok_and(|it| it.accelerator == Accelerator::Tcg);
        if emulated {
            prop_assert_eq!(&cap, "Software");
            let labels = node.metadata.labels.as_ref().expect("labels");
            let own = labels.get(names::labels::EMULATION_POLICY);
            prop_assert!(own.is_none_or(|own| own == "Software"));
            prop_assert!(forced != Some(Accelerator::Kvm));
        }
        match found {
            // Hardware that works is never left unused, unless somebody asks for it.
            Ok(decision) if forced.is_none() && facts.verdict.usable && guest == facts.architecture => {
                prop_assert_eq!(decision.accelerator, Accelerator::Kvm);
            }
            Ok(_) => {}
            Err(refusal) => {
                prop_assert!(!refusal.cause.is_empty() && !refusal.remedies.is_empty());
            }
        }
    }

    #[test]
    fn an_annotation_that_forces_grants_nothing(
        cluster in any_cluster(),
        vm in policy(),
        node in any_node(),
    ) {
        let policy = effective(&cluster, vm.map(|policy| ("vm".to_owned(), policy)), None);
        let facts = NodeFacts::of(&node);
        let guest = facts.architecture.clone();
        let mut without_hardware = facts.clone();
        without_hardware.verdict.usable = false;
        let permitted = resolve(&policy, None, &guest, &without_hardware).is_ok();
        let forced = resolve(&policy, Some(Accelerator::Tcg), &guest, &facts).is_ok();
        prop_assert_eq!(forced, permitted);
    }

    #[test]
    fn a_stricter_word_never_permits_more(
        cluster in any_cluster(),
        vm in policy(),
        one in policy(),
        other in policy(),
    ) {
        let cap = |policy: Option<EmulationPolicy>| policy.map(|policy| Cap {
            scope: Scope::Namespace,
            place: "ns".to_owned(),
            policy,
            problem: None,
        });
        let vm = vm.map(|policy| ("vm".to_owned(), policy));
        let with = |cap: Option<Cap>| effective(&cluster, vm.clone(), cap.as_ref()).policy;
        prop_assert!(with(cap(one)) <= with(None));
        if let (Some(one), Some(other)) = (one, other) {
            let (strict, lenient) = (one.min(other), one.max(other));
            prop_assert!(with(cap(Some(strict))) <= with(cap(Some(lenient))));
        }
    }
}
