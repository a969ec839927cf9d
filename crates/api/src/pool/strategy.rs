//! What a pool does when there are too many machines, and when its template changes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VirtualMachinePoolSpec;
use crate::unserved::Unserved;

/// What happens when there are too many machines: one of these; `proactive` by default.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ScaleInStrategy {
    /// Nothing; people delete them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmanaged: Option<Unmanaged>,
    /// Nothing; others delete them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opportunistic: Option<OpportunisticScaleIn>,
    /// Some of them are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proactive: Option<ProactiveScaleIn>,
}

/// What happens when the template changes: one of these; `proactive` by default.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct UpdateStrategy {
    /// Nothing: machines stay as they were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmanaged: Option<Unmanaged>,
    /// Machines are changed, and are what they are now from their next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opportunistic: Option<OpportunisticUpdate>,
    /// Machines are changed and restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proactive: Option<ProactiveUpdate>,
}

/// Nobody but people does anything.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Unmanaged {}

/// Machines are changed, and not restarted.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct OpportunisticUpdate {}

/// Machines are not deleted by the pool.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpportunisticScaleIn {
    /// What stays of a machine that goes: `Disabled`, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_preservation: Option<StatePreservation>,
}

/// Machines are deleted by the pool.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProactiveScaleIn {
    /// Which of them first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection_policy: Option<SelectionPolicy>,
    /// What stays of a machine that goes: `Disabled`, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_preservation: Option<StatePreservation>,
}

/// Machines are restarted by the pool.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProactiveUpdate {
    /// Which of them first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection_policy: Option<SelectionPolicy>,
}

/// Which machines come first.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SelectionPolicy {
    /// By what they are sorted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort_policy: Option<SortPolicy>,
    /// Fields of KubeVirt that are not served.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unserved: Unserved,
}

/// By what machines are sorted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SortPolicy {
    /// The lowest index first.
    AscendingOrder,
    /// The highest index first.
    DescendingOrder,
    /// The one that was made last first.
    Newest,
    /// The one that was made first first.
    Oldest,
    /// Any: those that do not run first, then those that are not ready.
    #[default]
    Random,
}

/// What stays of a machine that goes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum StatePreservation {
    /// Nothing.
    #[default]
    Disabled,
    /// Its claims; not served.
    Offline,
    /// Its claims and its memory; not served.
    Online,
}

/// Who deletes machines when there are too many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ScaleIn {
    /// Not the pool.
    Others,
    /// The pool, sorted like this.
    Pool(SortPolicy),
}

/// What the pool does with machines that are not as its template.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Update {
    /// Nothing.
    Nothing,
    /// Changes them.
    Change,
    /// Changes and restarts them, sorted like this.
    Restart(SortPolicy),
}

impl VirtualMachinePoolSpec {
    /// Who deletes machines when there are too many.
    #[must_use]
    pub fn scale_in(&self) -> ScaleIn {
        let strategy = self.scale_in_strategy.clone().unwrap_or_default();
        if strategy.unmanaged.is_some() || strategy.opportunistic.is_some() {
            return ScaleIn::Others;
        }
        ScaleIn::Pool(sorted(
            strategy.proactive.and_then(|it| it.selection_policy),
        ))
    }

    /// What happens to machines that are not as the template.
    #[must_use]
    pub fn update(&self) -> Update {
        let strategy = self.update_strategy.clone().unwrap_or_default();
        if strategy.unmanaged.is_some() {
            Update::Nothing
        } else if strategy.opportunistic.is_some() {
            Update::Change
        } else {
            Update::Restart(sorted(
                strategy.proactive.and_then(|it| it.selection_policy),
            ))
        }
    }
}

fn sorted(policy: Option<SelectionPolicy>) -> SortPolicy {
    policy.and_then(|it| it.sort_policy).unwrap_or_default()
}
