//! Warm starts: who asks for them, and which virtual machines can have them. Pure.
//!
//! A machine that starts warm goes on from a template, a guest that has booted before and was kept, instead of booting.
//! Nobody gets that unless somebody asks ([`Mode::Never`] is the default): the restored guest is told its own identity
//! by a program in it, which is a promise of that program's, where a boot makes it true by itself.

mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use template::{
    StandbyGuests, WarmStartTemplate, WarmStartTemplateSpec, WarmStartTemplateStatus, phases,
};

use crate::configuration::ClusterConfiguration;
use crate::launcher::warm::LARGEST_CLOUD_INIT_BYTES;
use crate::names::annotations;
use crate::virtual_machine_instance::{VirtualMachineInstance, VirtualMachineInstanceSpec};

/// The longest text that may be waited for on a serial console, in bytes: a line of it.
pub const LONGEST_MARKER: usize = 256;

/// Whether a virtual machine starts from a template.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum Mode {
    /// It boots.
    #[default]
    Never,
    /// From a template where there is one; else it boots, and a template is made for the next start.
    Auto,
    /// From a template, which is made first where there is none; it does not start otherwise.
    Require,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Never, Self::Auto, Self::Require];

    /// The mode of this name, exactly as it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.to_string() == text)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Never => "Never",
            Self::Auto => "Auto",
            Self::Require => "Require",
        })
    }
}

/// The mode of one virtual machine, and who decided it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Effective {
    /// The mode.
    pub mode: Mode,
    /// The place that says so, e.g. `KubeVirt kubevirt/kubevirt spec.configuration.warmStart`.
    pub decided_by: String,
}

/// The mode that an object's own annotation asks for; `None` where it has none.
///
/// # Errors
/// The annotation's value, if that is no mode.
pub fn asked(annotations: &BTreeMap<String, String>) -> Result<Option<Mode>, String> {
    let Some(value) = annotations.get(annotations::WARM_START) else {
        return Ok(None);
    };
    Mode::parse(value).map(Some).ok_or_else(|| value.clone())
}

/// The text on the serial console that the annotations name as the ready point of a template; `None` where they name
/// none.
///
/// # Errors
/// The annotation's value, if it cannot be waited for: it is empty, longer than [`LONGEST_MARKER`], or has more than one
/// line.
pub fn marker(annotations: &BTreeMap<String, String>) -> Result<Option<&str>, String> {
    let Some(value) = annotations.get(annotations::WARM_START_MARKER) else {
        return Ok(None);
    };
    let fits = !value.trim().is_empty()
        && value.len() <= LONGEST_MARKER
        && !value.chars().any(char::is_control);
    if fits {
        Ok(Some(value))
    } else {
        Err(value.clone())
    }
}

/// The mode of an instance with these annotations in this cluster: its own word, its pool's, which its machine has from
/// there, or else the cluster's.
#[must_use]
pub fn effective(
    annotations: &BTreeMap<String, String>,
    cluster: &ClusterConfiguration,
) -> Effective {
    match asked(annotations) {
        Ok(None) => Effective {
            mode: cluster.warm_start,
            decided_by: cluster.warm_start_decided_by().to_owned(),
        },
        // Admission lets nothing else through.
        asked => Effective {
            mode: asked.ok().flatten().unwrap_or_default(),
            decided_by: recorded_place(annotations),
        },
    }
}

/// The place that has written the annotation: the object's own, unless it says otherwise.
fn recorded_place(annotations: &BTreeMap<String, String>) -> String {
    let recorded = annotations.get(annotations::WARM_START_DECIDED_BY);
    recorded.cloned().unwrap_or_else(own_place)
}

fn own_place() -> String {
    format!("annotation {} of its own", annotations::WARM_START)
}

/// The annotations by which its node learns what the cluster wants of an instance that says nothing itself: none where
/// it says something, or where nobody wants anything.
#[must_use]
pub fn recorded(
    annotations: &BTreeMap<String, String>,
    cluster: &ClusterConfiguration,
) -> BTreeMap<String, String> {
    let effective = effective(annotations, cluster);
    if annotations.contains_key(annotations::WARM_START) || effective.mode == Mode::Never {
        return BTreeMap::new();
    }
    [
        (annotations::WARM_START, effective.mode.to_string()),
        (annotations::WARM_START_DECIDED_BY, effective.decided_by),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// The mode that an instance's annotations tell its node, [`recorded`] ones included.
#[must_use]
pub fn of_annotations(annotations: &BTreeMap<String, String>) -> Effective {
    let mode = asked(annotations).ok().flatten();
    Effective {
        mode: mode.unwrap_or_default(),
        decided_by: match mode {
            None => "default".to_owned(),
            Some(_) => recorded_place(annotations),
        },
    }
}

/// Why a virtual machine cannot start from a template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Obstacle {
    /// One CamelCase word for programs.
    pub reason: &'static str,
    /// A sentence for people: field, cause, way out.
    pub message: String,
}

impl Obstacle {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// Why `instance` cannot start from a template, or have one made of it; `None` where nothing in its specification stands
/// in the way. What its node knows beyond that (data of Secrets, see [`cloud_init_obstacle`]) is not looked at.
#[must_use]
pub fn obstacle(instance: &VirtualMachineInstance) -> Option<Obstacle> {
    let spec = &instance.spec;
    volume_obstacle(spec)
        .or_else(|| device_obstacle(spec))
        .or_else(|| identity_obstacle(instance))
        .or_else(|| time_obstacle(spec))
}

fn volume_obstacle(spec: &VirtualMachineInstanceSpec) -> Option<Obstacle> {
    let (at, _) = spec
        .volumes
        .iter()
        .enumerate()
        .find(|(_, volume)| volume.host_disk.is_some())?;
    Some(Obstacle::new(
        "HostDisk",
        format!(
            "spec.volumes[{at}].hostDisk: a disk that outlives the machine has changed since any template was made; \
             use containerDisk or emptyDisk, or do not ask for a warm start"
        ),
    ))
}

fn device_obstacle(spec: &VirtualMachineInstanceSpec) -> Option<Obstacle> {
    // Admission refuses them by name today; a template must not depend on that.
    let devices = &spec.domain.devices.unserved;
    let name = ["tpm", "hostDevices", "gpus"]
        .into_iter()
        .find(|name| devices.contains_key(*name))?;
    Some(Obstacle::new(
        "Device",
        format!(
            "spec.domain.devices.{name}: the state of such a device is not of a template; remove it, or do not ask for \
             a warm start"
        ),
    ))
}

/// What the firmware shows is in the template's memory since its boot, and the guest's kernel has read it.
fn identity_obstacle(instance: &VirtualMachineInstance) -> Option<Obstacle> {
    let firmware = instance.spec.domain.firmware.as_ref()?;
    let annotations = instance.metadata.annotations.as_ref();
    // What was filled in by admission nobody insists on.
    let generated = annotations
        .and_then(|all| all.get(annotations::GENERATED_FIRMWARE))
        .map(String::as_str)
        .unwrap_or_default();
    let is_generated = |value: &str| generated.split(' ').any(|known| known == value);
    let given = [("uuid", &firmware.uuid), ("serial", &firmware.serial)];
    let (name, _) = given.into_iter().find(|(_, value)| {
        let value = value.as_deref().filter(|value| !value.is_empty());
        value.is_some_and(|value| !is_generated(value))
    })?;
    Some(Obstacle::new(
        "FirmwareIdentity",
        format!(
            "spec.domain.firmware.{name}: a guest that has booted knows what the firmware said then; make the machine \
             without it, or do not ask for a warm start"
        ),
    ))
}

fn time_obstacle(spec: &VirtualMachineInstanceSpec) -> Option<Obstacle> {
    let clock = spec.domain.clock.as_ref();
    let offset = clock
        .and_then(|clock| clock.utc.as_ref()?.offset_seconds)
        .filter(|seconds| *seconds != 0);
    if offset.is_some() {
        return Some(Obstacle::new(
            "ForcedTime",
            "spec.domain.clock.utc.offsetSeconds: a restored guest's clock is set to the true time; remove it, or do \
             not ask for a warm start",
        ));
    }
    if clock.is_some_and(|clock| clock.timezone.is_some()) {
        return Some(Obstacle::new(
            "ForcedTime",
            "spec.domain.clock.timezone: a restored guest's clock is set to UTC; remove it, or do not ask for a warm \
             start",
        ));
    }
    (spec.start_strategy.as_deref() == Some("Paused")).then(|| {
        Obstacle::new(
            "StartsPaused",
            "spec.startStrategy Paused: a restored guest has to run to become itself; start it cold, or not paused",
        )
    })
}

/// Why a machine with so many bytes of user-data and network-config together cannot start from a template; `None` where
/// it can.
#[must_use]
pub fn cloud_init_obstacle(bytes: usize) -> Option<Obstacle> {
    (bytes > LARGEST_CLOUD_INIT_BYTES).then(|| {
        Obstacle::new(
            "CloudInitTooLarge",
            format!(
                "its cloud-init data has {bytes} bytes, and {LARGEST_CLOUD_INIT_BYTES} fit onto the disk that a \
                 restored guest knows; make it smaller, or do not ask for a warm start"
            ),
        )
    })
}
