//! Every combination of the cluster's places.

use std::collections::BTreeMap;

use serde_json::json;

use super::rules::{self, Says};
use crate::accelerator::{
    ClusterInputs, ClusterPolicy, EmulationPolicy, NodeFacts, SWITCH, Step, effective, resolve,
};
use crate::hyper_converged::HyperConverged;
use crate::kubevirt::KubeVirt;
use crate::names;

/// The places by name, the strongest first.
const PLACES: [&str; 6] = [
    "KubeVirt kubevirt/kubevirt spec.configuration.emulationPolicy",
    "ConfigMap openshift-cnv/kubevirt-config debug.useEmulation",
    "ConfigMap kubevirt/kubevirt-config debug.useEmulation",
    "HyperConverged openshift-cnv/h annotation kubevirt.kubevirt.io/jsonpatch",
    "environment variable KVM_EMULATION of the server",
    "KubeVirt kubevirt/kubevirt spec.configuration.developerConfiguration.useEmulation",
];

const WAYS: [EmulationPolicy; 3] = EmulationPolicy::ALL;

/// What is written in all places, as the objects have it.
#[derive(Clone, Default)]
struct Written {
    maps: [Option<BTreeMap<String, String>>; 2],
    hyper: Option<HyperConverged>,
    environment: Option<String>,
    kubevirt: Option<KubeVirt>,
    before: Option<ClusterPolicy>,
}

fn switch(says: Says) -> Option<&'static str> {
    match says {
        Says::Nothing => None,
        Says::Way(2) => Some("true"),
        Says::Way(_) => Some("false"),
        Says::Nonsense => Some("maybe"),
    }
}

impl Written {
    fn new(says: [Says; 6], before: Option<u8>) -> Self {
        let map = |says| Some([(SWITCH.to_owned(), switch(says)?.to_owned())].into());
        let policy = match says[0] {
            Says::Way(way) => json!(WAYS[usize::from(way)]),
            _ => json!(null),
        };
        let use_emulation = match says[5] {
            Says::Way(way) => json!(way == 2),
            _ => json!(null),
        };
        let kubevirt = json!({
            "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt",
            "metadata": {"namespace": "kubevirt", "name": "kubevirt"},
            "spec": {"configuration": {"emulationPolicy": policy,
                "developerConfiguration": {"useEmulation": use_emulation}}},
        });
        let hyper = switch(says[3]).map(|value| {
            let value = if value == "maybe" { "\"maybe\"" } else { value };
            let patch = format!(
                r#"[{{"op":"add","path":"/spec/configuration/developerConfiguration/useEmulation","value":{value}}}]"#
            );
            let mut object = HyperConverged::new("h", Default::default());
            object.metadata.namespace = Some("openshift-cnv".to_owned());
            let key = names::annotations::HYPER_CONVERGED_PATCH.to_owned();
            object.metadata.annotations = Some([(key, patch)].into());
            object
        });
        Self {
            maps: [map(says[1]), map(says[2])],
            hyper,
            environment: switch(says[4]).map(str::to_owned),
            kubevirt: Some(serde_json::from_value(kubevirt).unwrap()),
            before: before.map(|way| ClusterPolicy {
                policy: WAYS[usize::from(way)],
                decided_by: "before".to_owned(),
                problems: Vec::new(),
            }),
        }
    }

    fn read(&self) -> ClusterPolicy {
        let maps = self.maps.iter().zip(["openshift-cnv", "kubevirt"]);
        ClusterPolicy::read(&ClusterInputs {
            config_maps: maps
                .filter_map(|(data, namespace)| Some((namespace, data.as_ref()?)))
                .collect(),
            hyper_converged: self.hyper.as_ref(),
            environment: self.environment.as_deref(),
            kubevirt: self.kubevirt.as_ref(),
            last_good: self.before.as_ref(),
            last_values: &[],
        })
    }
}

fn every_combination(mut check: impl FnMut([Says; 6], Option<u8>)) -> usize {
    use Says::{Nonsense, Nothing, Way};
    // The typed fields cannot hold nonsense.
    let policy = [Nothing, Way(0), Way(1), Way(2)];
    let text = [Nothing, Way(0), Way(2), Nonsense];
    let typed = [Nothing, Way(0), Way(2)];
    let mut rows = 0;
    for says0 in policy {
        for says1 in text {
            for says2 in text {
                for says3 in text {
                    for says4 in text {
                        for says5 in typed {
                            for before in [None, Some(0), Some(1), Some(2)] {
                                check([says0, says1, says2, says3, says4, says5], before);
                                rows += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    rows
}

#[test]
fn every_combination_of_the_clusters_places_is_read_by_the_rules() {
    let rows = every_combination(|says, before| {
        let read = Written::new(says, before).read();
        let (way, place) = rules::cluster(&says, before);
        let by = match place {
            None => "default",
            Some(6) => "before",
            Some(at) => PLACES[at],
        };
        let case = format!("{says:?} {before:?}: {read:?}");
        assert_eq!(read.policy, WAYS[usize::from(way)], "{case}");
        assert_eq!(read.decided_by, by, "{case}");
        let invalid = read
            .problems
            .iter()
            .filter(|it| it.reason == "InvalidValue");
        let nonsense = says.iter().filter(|says| **says == Says::Nonsense);
        assert_eq!(invalid.count(), nonsense.count(), "{case}");
        // Whoever lost and meant something else is told so, with the winner's name.
        for (at, says) in says.iter().enumerate() {
            let told = read.problems.iter().any(|problem| {
                problem.reason == "Conflict"
                    && problem.message.starts_with(&format!("{} says", PLACES[at]))
                    && problem.message.contains(&format!("but {by} says"))
            });
            let lost = match says {
                Says::Way(_) if place == Some(at) => false,
                Says::Way(said) => (*said == 2) != (way == 2),
                Says::Nothing | Says::Nonsense => false,
            };
            // A place that is stronger than what was kept from before cannot have said anything.
            assert_eq!(told, lost, "{} {case}", PLACES[at]);
        }
    });
    assert_eq!(rows, 4 * 4 * 4 * 4 * 4 * 3 * 4);
}

#[test]
fn the_remedy_for_the_cluster_works_wherever_its_policy_was_decided() {
    let unusable = NodeFacts {
        architecture: "amd64".to_owned(),
        ..NodeFacts::default()
    };
    let mut tried = 0;
    every_combination(|says, before| {
        let written = Written::new(says, before);
        let policy = effective(&written.read(), None, None);
        let Err(refusal) = resolve(&policy, None, "amd64", &unusable) else {
            return;
        };
        let step = refusal
            .remedies
            .iter()
            .flat_map(|remedy| &remedy.steps)
            .find(|step| matches!(step, Step::PermitByCluster { .. }))
            .expect("the cluster's policy is in the way");
        // Done as the sentence says.
        let mut after = written.clone();
        let sentence = step.to_string();
        if sentence.ends_with("spec.configuration.emulationPolicy to Software") {
            let configuration = after.kubevirt.as_mut().unwrap().spec.configuration.as_mut();
            configuration.unwrap().emulation_policy = Some(EmulationPolicy::Software);
        } else {
            assert!(
                sentence.ends_with(
                    "set debug.useEmulation to \"true\" in the ConfigMap openshift-cnv/kubevirt-config"
                ),
                "{sentence}"
            );
            let data = after.maps[0].get_or_insert_default();
            data.insert(SWITCH.to_owned(), "true".to_owned());
        }
        let policy = effective(&after.read(), None, None);
        assert!(
            resolve(&policy, None, "amd64", &unusable).is_ok(),
            "{sentence}"
        );
        tried += 1;
    });
    assert!(tried > 5_000, "{tried}");
}
