//! `WarmStartTemplate` (`anyvirt.io/v1alpha1`): a booted guest that one node keeps, for the virtual machines of its
//! namespace to start from. Written by the node; deleting it deletes the template.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Quantity;

/// Values of a template's `status.phase`.
pub mod phases {
    /// The guest that becomes the template boots.
    pub const BUILDING: &str = "Building";
    /// Machines start from it.
    pub const READY: &str = "Ready";
    /// None can be made of such guests: the message says why. Delete the object to have it tried again.
    pub const REFUSED: &str = "Refused";
    /// It was not made this time, and is tried again when a machine asks for it.
    pub const FAILED: &str = "Failed";
}

/// What a template is of.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "anyvirt.io",
    version = "v1alpha1",
    kind = "WarmStartTemplate",
    plural = "warmstarttemplates",
    status = "WarmStartTemplateStatus",
    derive = "Default",
    derive = "PartialEq",
    schema = "disabled",
    namespaced
)]
#[serde(rename_all = "camelCase")]
pub struct WarmStartTemplateSpec {
    /// The node that keeps it.
    pub node: String,
    /// What it is for: a fingerprint of all that shapes the guest, in hexadecimal digits.
    pub key: String,
    /// What the guest has booted from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// What runs the guest's instructions: `kvm` or `tcg`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub accelerator: String,
    /// The guest's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// The version of QEMU that it was made with, and can be restored with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub qemu_version: String,
    /// A fingerprint of anyvirt's program and the node's processor: what was refused is tried again with others.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub surroundings: String,
}

/// How a template stands.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WarmStartTemplateStatus {
    /// `Building`, `Ready`, `Refused` or `Failed`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// One word that says why it is refused or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence that says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<Time>,
    /// Room that it takes on the node's disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,
    /// The same in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Bytes of it that the node holds in memory, shared by all machines that started from it; 0 while none may start
    /// at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_bytes: Option<i64>,
    /// How many machines have started from it. Written behind the starts: a server that is killed forgets those of its last moment.
    #[serde(default)]
    pub uses: i64,
    /// When the latest one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Time>,
    /// How many templates for the same were dropped because a machine could not be restored.
    #[serde(default)]
    pub failures: i64,
    /// Guests of it that stand by; none while no machine has asked for it lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<StandbyGuests>,
}

/// Guests that were restored from a template before their machines are known.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StandbyGuests {
    /// How many there are.
    #[serde(default)]
    pub ready: u32,
    /// How many there are to be, as far as there is memory for them.
    #[serde(default)]
    pub wanted: u32,
}
