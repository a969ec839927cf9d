//! The cluster's emulation policy, from all the places where it can be written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::EmulationPolicy;
use crate::hyper_converged::HyperConverged;
use crate::kubevirt::{EmulationStatus, KubeVirt};
use crate::names;

/// The key of the legacy ConfigMap that permits software emulation.
pub const SWITCH: &str = "debug.useEmulation";

/// The field of the KubeVirt object that stands above every older place.
pub(super) const POLICY_FIELD: &str = "spec.configuration.emulationPolicy";

/// The variable of the server's environment by which HyperConverged's operator is told.
pub const ENVIRONMENT: &str = "KVM_EMULATION";

/// The switch's path in the KubeVirt object.
const SWITCH_POINTER: &str = "/spec/configuration/developerConfiguration/useEmulation";

/// What decides when nothing is written anywhere.
const BY_DEFAULT: &str = "default";

/// All places where the switch can be written.
#[derive(Clone, Debug, Default)]
pub struct ClusterInputs<'a> {
    /// `data` of each legacy ConfigMap with its namespace; the first that has the key wins.
    pub config_maps: Vec<(&'a str, &'a BTreeMap<String, String>)>,
    /// The HyperConverged object, if there is one.
    pub hyper_converged: Option<&'a HyperConverged>,
    /// The variable `KVM_EMULATION` of the server's environment, by which HyperConverged's operator is
    /// told: `true` or `false`.
    pub environment: Option<&'a str>,
    /// The KubeVirt object, if there is one.
    pub kubevirt: Option<&'a KubeVirt>,
    /// The policy that stood before: it stays when the place that decides has an invalid value.
    pub last_good: Option<&'a ClusterPolicy>,
}

/// The emulation policy in force.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ClusterPolicy {
    /// The policy.
    pub policy: EmulationPolicy,
    /// The place that decided it, e.g. `ConfigMap openshift-cnv/kubevirt-config debug.useEmulation`.
    pub decided_by: String,
    /// What was not understood, and where places disagree.
    pub problems: Vec<Problem>,
}

/// Something in the configuration that a person should look at.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Problem {
    /// One CamelCase word: `InvalidValue`, `Conflict`, `Misspelt`, `UnknownKey`, `NotServed`.
    pub reason: String,
    /// A sentence that names the place, the value and the way out.
    pub message: String,
}

impl Problem {
    /// A problem with its reason in one word and a sentence.
    pub fn new(reason: &str, message: String) -> Self {
        Self {
            reason: reason.to_owned(),
            message,
        }
    }
}

impl Default for ClusterPolicy {
    /// No emulation, because nobody said otherwise.
    fn default() -> Self {
        Self {
            policy: EmulationPolicy::None,
            decided_by: BY_DEFAULT.to_owned(),
            problems: Vec::new(),
        }
    }
}

/// What one place says.
enum Reading {
    Unset,
    /// The switch: on permits software emulation, off forbids it.
    Switch(bool),
    /// The policy by its name.
    Policy(EmulationPolicy),
    /// Why it cannot be understood, and what to write.
    Invalid(String),
}

impl Reading {
    /// The policy that it asks for.
    fn policy(&self) -> Option<EmulationPolicy> {
        match self {
            Self::Unset | Self::Invalid(_) => None,
            Self::Switch(true) => Some(EmulationPolicy::Software),
            Self::Switch(false) => Some(EmulationPolicy::None),
            Self::Policy(policy) => Some(*policy),
        }
    }

    /// Does it ask for something else than `winner`? A switch that is off says no more than that
    /// software emulation is not permitted.
    fn disagrees(&self, winner: EmulationPolicy) -> bool {
        match self {
            Self::Unset | Self::Invalid(_) => false,
            Self::Switch(on) => *on != winner.permits_software(),
            Self::Policy(policy) => *policy != winner,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Unset | Self::Invalid(_) => String::new(),
            Self::Switch(on) => on.to_string(),
            Self::Policy(policy) => policy.to_string(),
        }
    }
}

impl ClusterPolicy {
    /// The policy that follows from `inputs`. The strongest place that says something decides:
    /// KubeVirt `emulationPolicy`, the ConfigMaps in their order, HyperConverged, the environment,
    /// KubeVirt `useEmulation`.
    pub fn read(inputs: &ClusterInputs<'_>) -> Self {
        let mut problems = Vec::new();
        let places = read_places(inputs, &mut problems);
        let decided = decide(&places, inputs.last_good, &mut problems);
        let (policy, decided_by) =
            decided.unwrap_or((EmulationPolicy::None, BY_DEFAULT.to_owned()));
        Self {
            policy,
            decided_by,
            problems,
        }
    }

    /// The policy as it was recorded in the KubeVirt object's status: the last good one after a
    /// restart.
    pub fn recorded(status: &EmulationStatus) -> Option<Self> {
        let policy = EmulationPolicy::parse(&status.policy)?;
        Some(Self {
            policy,
            decided_by: status.decided_by.clone(),
            problems: Vec::new(),
        })
    }

    /// The same for the KubeVirt object's status.
    pub fn status(&self) -> EmulationStatus {
        EmulationStatus {
            policy: self.policy.to_string(),
            decided_by: self.decided_by.clone(),
            problems: self.problems.clone(),
        }
    }
}

/// What each place says, the strongest first.
fn read_places(inputs: &ClusterInputs<'_>, problems: &mut Vec<Problem>) -> Vec<(String, Reading)> {
    let mut places = Vec::new();
    let configuration = inputs
        .kubevirt
        .and_then(|object| object.spec.configuration.as_ref());
    let object_name = inputs
        .kubevirt
        .map(|object| full_name(&object.metadata))
        .unwrap_or_default();
    if let Some(policy) = configuration.and_then(|found| found.emulation_policy) {
        let place = format!("KubeVirt {object_name} {POLICY_FIELD}");
        places.push((place, Reading::Policy(policy)));
    }
    for (namespace, data) in &inputs.config_maps {
        let place = format!("ConfigMap {namespace}/{}", names::CONFIG_MAP);
        for key in data.keys().filter(|key| is_misspelt(key)) {
            problems.push(Problem::new(
                "Misspelt",
                format!(
                    "{place} has the key {key}, which has no effect; the switch is called {SWITCH}"
                ),
            ));
        }
        places.push((
            format!("{place} {SWITCH}"),
            read_text(data.get(SWITCH).map(String::as_str)),
        ));
    }
    if let Some(object) = inputs.hyper_converged {
        let annotation = object
            .metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(names::annotations::HYPER_CONVERGED_PATCH));
        let place = format!(
            "HyperConverged {} annotation {}",
            full_name(&object.metadata),
            names::annotations::HYPER_CONVERGED_PATCH
        );
        if let Some(patch) = annotation {
            let reading = read_patch(patch, &place, problems);
            places.push((place, reading));
        }
    }
    if let Some(value) = inputs.environment {
        let place = format!("environment variable {ENVIRONMENT} of the server");
        places.push((place, read_text(Some(value))));
    }
    let switch = configuration
        .and_then(|found| found.developer_configuration.as_ref())
        .and_then(|developer| developer.use_emulation);
    if let Some(value) = switch {
        let place = format!(
            "KubeVirt {object_name} spec.configuration.developerConfiguration.useEmulation"
        );
        places.push((place, Reading::Switch(value)));
    }
    places
}

fn full_name(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    format!(
        "{namespace}/{}",
        metadata.name.as_deref().unwrap_or_default()
    )
}

/// Looks like the switch, but is not its name.
fn is_misspelt(key: &str) -> bool {
    let letters: String = key.chars().filter(char::is_ascii_alphanumeric).collect();
    let letters = letters.to_ascii_lowercase();
    key != SWITCH && (letters.contains("emulation") || letters.contains("useemul"))
}

fn read_text(value: Option<&str>) -> Reading {
    match value.map(str::trim) {
        None | Some("") => Reading::Unset,
        Some("true") => Reading::Switch(true),
        Some("false") => Reading::Switch(false),
        Some(other) => Reading::Invalid(format!("\"{other}\" is neither \"true\" nor \"false\"")),
    }
}

/// What a JSON patch of the KubeVirt object says about the switch. Its other operations are reported.
fn read_patch(patch: &str, place: &str, problems: &mut Vec<Problem>) -> Reading {
    let operations = match serde_json::from_str::<Value>(patch) {
        Ok(Value::Array(operations)) => operations,
        Ok(_) => return Reading::Invalid("it is no list of operations".to_owned()),
        Err(error) => return Reading::Invalid(format!("it is no JSON patch: {error}")),
    };
    let mut reading = Reading::Unset;
    for operation in &operations {
        let text = |key: &str| {
            operation
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let path = text("path");
        // A value given for an object above the switch replaces the switch too.
        let below = SWITCH_POINTER
            .strip_prefix(path)
            .filter(|rest| rest.is_empty() || rest.starts_with('/'));
        match (text("op"), below) {
            ("add" | "replace", Some(rest)) => {
                let value = operation.get("value").and_then(|value| value.pointer(rest));
                reading = match value {
                    Some(Value::Bool(value)) => Reading::Switch(*value),
                    None if !rest.is_empty() => Reading::Unset,
                    other => Reading::Invalid(format!(
                        "the value for {SWITCH_POINTER} is {}, which is neither true nor false",
                        other.unwrap_or(&Value::Null)
                    )),
                };
            }
            ("remove", Some(_)) => reading = Reading::Unset,
            (operation, _) => problems.push(Problem::new(
                "NotServed",
                format!(
                    "{place} has the operation \"{operation}\" on \"{path}\", which has no effect: \
                     only {SWITCH_POINTER} is read; write other settings into the KubeVirt object"
                ),
            )),
        }
    }
    reading
}

/// The first place that says something decides; an invalid one keeps the last good policy.
fn decide(
    places: &[(String, Reading)],
    last_good: Option<&ClusterPolicy>,
    problems: &mut Vec<Problem>,
) -> Option<(EmulationPolicy, String)> {
    let mut decided: Option<(EmulationPolicy, String, String)> = None;
    for (place, reading) in places {
        if let Reading::Invalid(why) = reading {
            let kept = match (&decided, last_good) {
                (None, Some(last)) => {
                    let kept = (
                        last.policy,
                        last.decided_by.clone(),
                        last.policy.to_string(),
                    );
                    decided = Some(kept);
                    format!(
                        "the last good policy stays: {}, by {}",
                        last.policy, last.decided_by
                    )
                }
                _ => "it is ignored".to_owned(),
            };
            let message = format!("{place}: {why}; {kept}; write true or false");
            problems.push(Problem::new("InvalidValue", message));
        }
        let Some(policy) = reading.policy() else {
            continue;
        };
        match &decided {
            None => decided = Some((policy, place.clone(), reading.shown())),
            Some((winner, by, said)) if reading.disagrees(*winner) => {
                let message = format!(
                    "{place} says {}, but {by} says {said} and wins; make them agree, or remove one",
                    reading.shown()
                );
                problems.push(Problem::new("Conflict", message));
            }
            Some(_) => {}
        }
    }
    decided.map(|(policy, by, _)| (policy, by))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

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
        expect![[r#"ConfigMap openshift-cnv/kubevirt-config debug.useEmulation: "maybe" is neither "true" nor "false"; the last good policy stays: Software, by ConfigMap openshift-cnv/kubevirt-config debug.useEmulation; write true or false"#]]
            .assert_eq(&read.problems[0].message);
    }

    #[test]
    fn misspelt_switches_are_reported() {
        for key in [
            "debug-useEmulation",
            "useEmulation",
            "debug.useemulation",
            "debug.useEmulaton",
        ] {
            let data = [(key.to_owned(), "true".to_owned())].into();
            let read = ClusterPolicy::read(&ClusterInputs {
                config_maps: vec![("kubevirt", &data)],
                ..ClusterInputs::default()
            });
            assert_eq!(read.policy, EmulationPolicy::None);
            assert_eq!(read.problems[0].reason, "Misspelt", "{key}");
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
}
