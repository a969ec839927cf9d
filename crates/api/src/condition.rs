//! Conditions: what is true of an object, since when and why.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One condition of a VirtualMachine, VirtualMachineInstance or KubeVirt.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition is about, e.g. `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One CamelCase word that says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence that says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<Time>,
    /// When `status` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
}

impl Condition {
    /// A condition without a reason; `time` is when it began.
    pub fn new(type_: &str, status: bool, time: Timestamp) -> Self {
        Self {
            type_: type_.to_owned(),
            status: if status { "True" } else { "False" }.to_owned(),
            last_transition_time: Some(Time(time)),
            ..Self::default()
        }
    }

    /// The same condition with a reason and a message.
    #[must_use]
    pub fn because(mut self, reason: &str, message: impl Into<String>) -> Self {
        self.reason = Some(reason.to_owned());
        let message = message.into();
        self.message = (!message.is_empty()).then_some(message);
        self
    }

    /// Is its status `True`?
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// The condition of type `type_`, if there is one.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Is the condition of type `type_` present and `True`?
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(Condition::is_true)
}

/// Puts `wanted` among `conditions`, and says whether anything changed. A condition whose status
/// stays keeps its transition time, so that setting it twice changes nothing.
pub fn set(conditions: &mut Vec<Condition>, wanted: Condition) -> bool {
    let Some(present) = conditions
        .iter_mut()
        .find(|condition| condition.type_ == wanted.type_)
    else {
        conditions.push(wanted);
        return true;
    };
    let mut wanted = wanted;
    if present.status == wanted.status {
        wanted.last_transition_time = present.last_transition_time.clone();
        wanted.last_probe_time = present.last_probe_time.clone();
    }
    let changed = *present != wanted;
    *present = wanted;
    changed
}

/// Takes the condition of type `type_` away, and says whether it was there.
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|condition| condition.type_ != type_);
    conditions.len() != before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn setting_a_condition_twice_changes_nothing_the_second_time() {
        let mut conditions = Vec::new();
        assert!(set(&mut conditions, Condition::new("Ready", true, at(1))));
        assert!(!set(&mut conditions, Condition::new("Ready", true, at(2))));
        assert_eq!(conditions[0].last_transition_time, Some(Time(at(1))));
    }

    #[test]
    fn a_changed_reason_keeps_the_time_and_a_changed_status_moves_it() {
        let mut conditions = vec![Condition::new("Ready", true, at(1))];
        let explained = Condition::new("Ready", true, at(2)).because("Up", "it is up");
        assert!(set(&mut conditions, explained));
        assert_eq!(conditions[0].last_transition_time, Some(Time(at(1))));
        assert!(set(&mut conditions, Condition::new("Ready", false, at(3))));
        assert_eq!(conditions[0].last_transition_time, Some(Time(at(3))));
        assert!(!is_true(&conditions, "Ready"));
    }

    #[test]
    fn removing_says_whether_it_was_there() {
        let mut conditions = vec![Condition::new("Paused", true, at(1))];
        assert!(remove(&mut conditions, "Paused"));
        assert!(!remove(&mut conditions, "Paused"));
    }
}
