//! What each place says about emulation, and what is written there that says nothing.

use serde_json::Value;

use super::{ClusterInputs, ENVIRONMENT, EmulationPolicy, POLICY_FIELD, Problem, SWITCH};
use crate::names;

/// The switch's path in the KubeVirt object.
pub(super) const SWITCH_POINTER: &str = "/spec/configuration/developerConfiguration/useEmulation";

/// The policy's path in the KubeVirt object.
const POLICY_POINTER: &str = "/spec/configuration/emulationPolicy";

/// The most letters by which a misspelt key may differ from the switch: `debug.useEmulatin` is one,
/// `debug.logLevel` is another key.
const LETTERS_APART_MAX: usize = 4;

/// What one place says.
#[derive(Debug)]
pub(super) enum Reading {
    Unset,
    /// The switch: on permits software emulation, off forbids it.
    Switch(bool),
    /// The policy by its name.
    Policy(EmulationPolicy),
    /// It cannot be understood.
    Invalid {
        why: String,
        /// What to write instead, as the end of a sentence.
        cure: String,
    },
}

impl Reading {
    /// The policy that it asks for.
    pub(super) fn policy(&self) -> Option<EmulationPolicy> {
        match self {
            Self::Unset | Self::Invalid { .. } => None,
            Self::Switch(true) => Some(EmulationPolicy::Software),
            Self::Switch(false) => Some(EmulationPolicy::None),
            Self::Policy(policy) => Some(*policy),
        }
    }

    /// Does it ask for something else than `winner`? A switch that is off says no more than that
    /// software emulation is not permitted.
    pub(super) fn disagrees(&self, winner: EmulationPolicy) -> bool {
        match self {
            Self::Unset | Self::Invalid { .. } => false,
            Self::Switch(on) => *on != winner.permits_software(),
            Self::Policy(policy) => *policy != winner,
        }
    }

    /// What it says, in its own words.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Unset | Self::Invalid { .. } => String::new(),
            Self::Switch(on) => on.to_string(),
            Self::Policy(policy) => policy.to_string(),
        }
    }
}

/// What each place says, the strongest first.
pub(super) fn read(
    inputs: &ClusterInputs<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<(String, Reading)> {
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
        for (key, value) in data.iter().filter(|(key, _)| is_misspelt(key)) {
            let message = format!(
                "{place} has the key {key}, which has no effect; the switch is called {SWITCH}: write \
                 {SWITCH}: \"{}\", and remove {key}",
                meant(value).unwrap_or(true)
            );
            problems.push(Problem::new("Misspelt", message));
        }
        let reading = read_text(data.get(SWITCH).map(String::as_str));
        places.push((format!("{place} {SWITCH}"), reading));
    }
    if let Some(object) = inputs.hyper_converged {
        let key = names::annotations::HYPER_CONVERGED_PATCH;
        let place = format!(
            "HyperConverged {} annotation {key}",
            full_name(&object.metadata)
        );
        let annotations = object.metadata.annotations.as_ref();
        if let Some(patch) = annotations.and_then(|annotations| annotations.get(key)) {
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

/// Is a key of the legacy ConfigMap meant to be the switch, and is not?
pub fn is_misspelt(key: &str) -> bool {
    let letters = |text: &str| -> Vec<char> {
        let letters = text.chars().filter(char::is_ascii_alphanumeric);
        letters.map(|letter| letter.to_ascii_lowercase()).collect()
    };
    let (found, wanted) = (letters(key), letters(SWITCH));
    let text: String = found.iter().collect();
    key != SWITCH
        && (text.contains("emulation")
            || text.contains("useemul")
            || letters_apart(&found, &wanted) <= LETTERS_APART_MAX)
}

/// How many letters must be changed, added or taken away to make one text of the other.
pub(crate) fn letters_apart(one: &[char], other: &[char]) -> usize {
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.iter().enumerate() {
        let mut left = row + 1;
        let mut diagonal = row;
        for (column, wanted) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != wanted);
            diagonal = above[column + 1];
            above[column] = left;
            left = changed.min(diagonal + 1).min(left + 1);
        }
        above[other.len()] = left;
    }
    above[other.len()]
}

/// What the writer of a value that is neither `true` nor `false` seems to have meant.
fn meant(value: &str) -> Option<bool> {
    let word = value.trim().trim_matches(['"', '\'', '`']).trim();
    match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "t" | "on" | "1" | "enable" | "enabled" | "software" => Some(true),
        "false" | "no" | "n" | "f" | "off" | "0" | "disable" | "disabled" | "none" => Some(false),
        _ => None,
    }
}

/// The switch as text, as upstream reads it: trimmed, and in lower case only.
fn read_text(value: Option<&str>) -> Reading {
    match value.map(str::trim) {
        None | Some("") => Reading::Unset,
        Some("true") => Reading::Switch(true),
        Some("false") => Reading::Switch(false),
        Some(other) => Reading::Invalid {
            why: format!("\"{other}\" is neither \"true\" nor \"false\""),
            cure: match meant(other) {
                Some(value) => format!("write \"{value}\""),
                None => "write \"true\" or \"false\"".to_owned(),
            },
        },
    }
}

/// What is to be written instead of a value of the switch in the legacy ConfigMap that cannot be read,
/// and why; none if it can.
pub fn switch_problem(value: &str) -> Option<(String, String)> {
    match read_text(Some(value)) {
        Reading::Invalid { why, cure } => Some((why, cure)),
        _ => None,
    }
}

/// What a JSON patch of the KubeVirt object says about emulation. Its other operations are reported.
fn read_patch(patch: &str, place: &str, problems: &mut Vec<Problem>) -> Reading {
    let invalid = |why: String| Reading::Invalid {
        why,
        cure: format!(
            "write [{{\"op\":\"add\",\"path\":\"{SWITCH_POINTER}\",\"value\":true}}], or false"
        ),
    };
    let operations = match serde_json::from_str::<Value>(patch) {
        Ok(Value::Array(operations)) => operations,
        Ok(_) => return invalid("it is no list of operations".to_owned()),
        Err(error) => return invalid(format!("it is no JSON patch: {error}")),
    };
    let (mut policy, mut switch) = (Reading::Unset, Reading::Unset);
    for operation in &operations {
        let field = |key: &str| operation.get(key);
        let text = |key: &str| field(key).and_then(Value::as_str).unwrap_or_default();
        let (op, path) = (text("op"), text("path"));
        let mut served = false;
        for (pointer, reading) in [(POLICY_POINTER, &mut policy), (SWITCH_POINTER, &mut switch)] {
            // A value given for an object above a setting replaces the setting too.
            let below = pointer
                .strip_prefix(path)
                .filter(|rest| rest.is_empty() || rest.starts_with('/'));
            let Some(rest) = below else { continue };
            match op {
                "add" | "replace" => {
                    let value = field("value").and_then(|value| value.pointer(rest));
                    *reading = match (value, pointer) {
                        (None, _) if !rest.is_empty() => Reading::Unset,
                        (Some(Value::Bool(value)), SWITCH_POINTER) => Reading::Switch(*value),
                        (value, pointer) => read_value(value, pointer).unwrap_or_else(invalid),
                    };
                    served = true;
                }
                "remove" => {
                    *reading = Reading::Unset;
                    served = true;
                }
                _ => {}
            }
        }
        if !served {
            let message = format!(
                "{place} has the operation \"{op}\" on \"{path}\", which has no effect: only \
                 {POLICY_POINTER} and {SWITCH_POINTER} are read; write other settings into the KubeVirt \
                 object"
            );
            problems.push(Problem::new("NotServed", message));
        }
    }
    match policy {
        Reading::Unset => switch,
        policy => policy,
    }
}

/// A value of a patch that is no boolean; the error says why it cannot be read.
fn read_value(value: Option<&Value>, pointer: &str) -> Result<Reading, String> {
    let value = value.unwrap_or(&Value::Null);
    if pointer == POLICY_POINTER {
        let policy = value.as_str().and_then(EmulationPolicy::parse);
        return policy.map(Reading::Policy).ok_or_else(|| {
            format!("the value for {pointer} is {value}, which is none of \"None\", \"Hardware\" and \"Software\"")
        });
    }
    Err(format!(
        "the value for {pointer} is {value}, which is neither true nor false"
    ))
}
