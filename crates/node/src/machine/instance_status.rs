//! The status of a VMI, as far as its node knows it, and what is told of it in events. Pure.

use std::collections::BTreeMap;

use api::accelerator::Accelerator;
use api::condition::{self, Condition};
use api::launcher::{ResolvedVolume, State, Status};
use api::names::conditions::{SOFTWARE_EMULATION, START_QUEUED};
use api::quantity::Quantity;
use api::resources;
use api::virtual_machine_instance::{
    MachineStatus, MemoryStatus, Phase, PhaseTransition, VirtualMachineInstance,
    VirtualMachineInstanceNetworkInterface, VirtualMachineInstanceSpec,
    VirtualMachineInstanceStatus, VolumeStatus,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::decide::{ImagesSeen, LauncherSeen, Outcome, Seen, is_ours, outcome, phase};
use super::migration::live_migratable;
use super::saved_status as saved;
use super::step_down::STEPPED_DOWN;
use super::warm;
use crate::event::Fact;
use crate::timeline;

const SYNCHRONIZED: &str = "Synchronized";
const PAUSED: &str = "Paused";
const AGENT_CONNECTED: &str = "AgentConnected";
/// What carries a running guest's network has ended.
const INTERFACE_FAILED: &str = "InterfaceFailed";
/// KubeVirt's reason of a failed start.
const NOT_SYNCHRONIZED: &str = "Synchronizing with the Domain failed.";

/// How a VMI changes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// Its status from now on.
    pub(crate) status: VirtualMachineInstanceStatus,
    /// What happened, to be told once the change is written.
    pub(crate) facts: Vec<Fact>,
}

impl Change {
    /// Whether it tells only how far the start of `instance` is.
    pub(crate) fn is_progress(&self, instance: &VirtualMachineInstance) -> bool {
        let before = instance.status.as_ref();
        let timeline = before.and_then(|before| before.start_timeline.clone());
        let before = before.cloned().unwrap_or_default();
        let mut after = self.status.clone();
        after.start_timeline = timeline;
        self.facts.is_empty() && before == after
    }
}

/// The change that the VMI's status needs, if it needs one. `pulled` are its pulled disks.
pub(crate) fn wanted(
    seen: &Seen<'_>,
    pulled: &BTreeMap<String, ResolvedVolume>,
    now: Timestamp,
) -> Option<Change> {
    let instance = seen.instance?;
    // A VMI that lost its pod has failed, which others tell; how we end its guest says nothing more.
    seen.pod?;
    let node = instance
        .status
        .as_ref()
        .and_then(|it| it.node_name.as_deref());
    if node.is_some_and(|node| node != seen.node) || phase(instance).is_final() {
        return None;
    }
    let before = instance.status.clone().unwrap_or_default();
    let mut after = before.clone();
    let mut facts = Vec::new();
    match (outcome(seen), seen.launcher) {
        // Not given to us yet: its pod is, so there is a start to tell of.
        _ if !is_ours(seen, instance) => {}
        (Some(outcome), _) => {
            saved::ended(&mut after, (&outcome, seen.save), now, &mut facts);
            end(&mut after, &outcome, now, &mut facts);
        }
        (None, LauncherSeen::Answers(status))
            if matches!(status.state, State::Running | State::Paused) =>
        {
            run(&mut after, instance, status, seen, pulled, now, &mut facts);
        }
        (None, LauncherSeen::Answers(status))
            if matches!(status.state, State::Idle | State::Ended) =>
        {
            queue(&mut after, seen.queued, now, &mut facts);
            warm::tell(&mut after, status, seen.warm, now, &mut facts);
            if let Some(failure) = seen.start_failure {
                let failed = Condition::new(SYNCHRONIZED, false, now)
                    .because(NOT_SYNCHRONIZED, failure.message.clone());
                condition::set(&mut after.conditions, failed);
            }
        }
        (None, _) => {}
    }
    if let Some(start) = start(seen) {
        let (timeline, told) = timeline::wanted(start, now);
        after.start_timeline = Some(timeline);
        facts.extend(told);
    }
    (after != before).then_some(Change {
        status: after,
        facts,
    })
}

/// A guest that has to wait until others have booted says so.
fn queue(
    status: &mut VirtualMachineInstanceStatus,
    queued: Option<&str>,
    now: Timestamp,
    facts: &mut Vec<Fact>,
) {
    let Some(message) = queued else {
        condition::remove(&mut status.conditions, START_QUEUED);
        return;
    };
    if condition::find(&status.conditions, START_QUEUED).is_none() {
        facts.push(Fact::normal(START_QUEUED, message));
    }
    let waits = Condition::new(START_QUEUED, true, now).because("EmulatedGuestsBoot", message);
    condition::set(&mut status.conditions, waits);
}

/// The start as it is told of in the VMI. While its images are here already and nothing else is, there
/// is nothing to wait for, and so nothing to show yet: one write less.
fn start<'a>(seen: &Seen<'a>) -> Option<timeline::Start<'a>> {
    let launcher = match seen.launcher {
        LauncherSeen::Answers(status) => Some(&**status),
        LauncherSeen::Absent { .. } | LauncherSeen::Silent => None,
    };
    let waits = matches!(seen.images, ImagesSeen::Pulling | ImagesSeen::Failed { .. });
    if launcher.is_none() && !(waits && seen.record.is_none()) {
        return None;
    }
    Some(timeline::Start {
        instance: seen.instance?,
        pod: seen.pod?,
        images_at: seen.images_at,
        queued_at: seen.queued_at,
        launcher,
        past: seen.past,
    })
}

/// When the VMI's status will have to be looked at again though nothing else happens: its guest may
/// be stuck by then.
pub(crate) fn due(seen: &Seen<'_>) -> Option<Timestamp> {
    let start = start(seen)?;
    let status = start.instance.status.as_ref()?;
    if phase(start.instance).is_final() {
        return None;
    }
    timeline::stuck_at(start, status.start_timeline.as_ref()?)
}

fn end(
    status: &mut VirtualMachineInstanceStatus,
    outcome: &Outcome,
    now: Timestamp,
    facts: &mut Vec<Fact>,
) {
    let ended = if outcome.succeeded {
        Phase::Succeeded
    } else {
        Phase::Failed
    };
    if !outcome.succeeded {
        status.reason = Some(outcome.reason.to_owned());
    }
    facts.push(match outcome {
        Outcome {
            never_ran: true,
            succeeded: false,
            ..
        } => {
            let failed = Condition::new(SYNCHRONIZED, false, now)
                .because(NOT_SYNCHRONIZED, outcome.message.clone());
            condition::set(&mut status.conditions, failed);
            Fact::warning("SyncFailed", outcome.message.clone())
        }
        Outcome { crashed: true, .. } => {
            Fact::warning("Stopped", "The VirtualMachineInstance crashed.")
        }
        Outcome { reason, .. } if *reason == "Suspended" => Fact::normal(
            "Suspended",
            "The VirtualMachineInstance was saved with its memory.",
        ),
        _ => Fact::normal("Stopped", "The VirtualMachineInstance was shut down."),
    });
    for gone in [PAUSED, AGENT_CONNECTED, START_QUEUED] {
        condition::remove(&mut status.conditions, gone);
    }
    enter(status, ended, outcome.at.unwrap_or(now));
}

fn run(
    status: &mut VirtualMachineInstanceStatus,
    instance: &VirtualMachineInstance,
    launcher: &Status,
    seen: &Seen<'_>,
    pulled: &BTreeMap<String, ResolvedVolume>,
    now: Timestamp,
    facts: &mut Vec<Fact>,
) {
    let is_new = status.phase != Some(Phase::Running);
    if is_new {
        enter(status, Phase::Running, launcher.started_at.unwrap_or(now));
        facts.push(Fact::normal("Started", "VirtualMachineInstance started."));
    }
    condition::remove(&mut status.conditions, START_QUEUED);
    accelerate(status, launcher, seen, now, facts);
    warm::tell(status, launcher, seen.warm, now, facts);
    saved::runs(status, launcher, (instance, seen.save), now, facts);
    connect(status, instance, launcher, now, facts);
    let stays = live_migratable(&instance.spec, seen.node, now);
    condition::set(&mut status.conditions, stays);
    let paused =
        Condition::new(PAUSED, true, now).because("PausedByUser", "VMI was paused by user");
    keep_while(status, launcher.state == State::Paused, paused);
    keep_while(
        status,
        launcher.agent_connected,
        Condition::new(AGENT_CONNECTED, true, now),
    );
    status.interfaces = launcher
        .interfaces
        .iter()
        .map(|interface| VirtualMachineInstanceNetworkInterface {
            name: Some(interface.name.clone()),
            ip_address: Some(interface.address.to_string()),
            ip_addresses: vec![interface.address.to_string()],
            mac: Some(interface.mac.clone()),
            pod_interface_name: Some("eth0".to_owned()),
            info_source: Some("domain".to_owned()),
            queue_count: Some(1),
            link_state: Some(
                if interface.failure.is_none() {
                    "up"
                } else {
                    "down"
                }
                .to_owned(),
            ),
            ..VirtualMachineInstanceNetworkInterface::default()
        })
        .collect();
    status.machine = launcher
        .machine_type
        .clone()
        .map(|machine| MachineStatus {
            type_: Some(machine),
        })
        .or(status.machine.take());
    status.current_cpu_topology = Some(resources::topology(&instance.spec));
    status.memory = resources::guest_memory_bytes(&instance.spec).map(|bytes| {
        let guest = Some(Quantity::from_bytes(bytes));
        MemoryStatus {
            guest_at_boot: guest.clone(),
            guest_current: guest.clone(),
            guest_requested: guest,
            memory_overhead: resources::memory_overhead_of(instance).map(Quantity::from_bytes),
        }
    });
    status.volume_status = volumes(&instance.spec, pulled, &status.volume_status);
}

/// A guest without its network runs on, and is not what was asked for: that is told once, with the
/// way out.
fn connect(
    status: &mut VirtualMachineInstanceStatus,
    instance: &VirtualMachineInstance,
    launcher: &Status,
    now: Timestamp,
    facts: &mut Vec<Fact>,
) {
    let failed = launcher.interfaces.iter().find_map(|interface| {
        let how = interface.failure.as_ref()?;
        Some((interface.name.as_str(), how))
    });
    let Some((interface, how)) = failed else {
        condition::remove(&mut status.conditions, SYNCHRONIZED);
        return;
    };
    let name = instance.metadata.name.as_deref().unwrap_or_default();
    let message = format!(
        "interface {interface} has lost its network, and the guest runs on without it: {how}; \
         restart the virtual machine to mend it: anyvirt restart {name}"
    );
    let known = condition::find(&status.conditions, SYNCHRONIZED)
        .is_some_and(|known| known.reason.as_deref() == Some(INTERFACE_FAILED));
    if !known {
        facts.push(Fact::warning(INTERFACE_FAILED, message.clone()));
    }
    let failed = Condition::new(SYNCHRONIZED, false, now).because(INTERFACE_FAILED, message);
    condition::set(&mut status.conditions, failed);
}

/// What runs the guest's instructions is what QEMU says. Why was decided at its start, and is kept
/// over restarts of the node in the status itself.
fn accelerate(
    status: &mut VirtualMachineInstanceStatus,
    launcher: &Status,
    seen: &Seen<'_>,
    now: Timestamp,
    facts: &mut Vec<Fact>,
) {
    let Some(actual) = launcher.accelerator else {
        return;
    };
    let known = status
        .accelerator
        .as_ref()
        .is_some_and(|it| it.type_ == actual.to_string());
    if known {
        return;
    }
    let (mut explained, condition) = match seen.accelerator {
        Some(decision) => (decision.status(actual), decision.condition(actual, now)),
        None => {
            let emulated = actual == Accelerator::Tcg;
            let stepped_down = seen.step_down.filter(|it| emulated && it.starts_again());
            let (reason, message) = match stepped_down {
                Some(known) => (STEPPED_DOWN, known.message()),
                None => (
                    "Adopted",
                    "found running on it, started by an earlier run of the node".to_owned(),
                ),
            };
            let explained = api::virtual_machine_instance::AcceleratorStatus {
                type_: actual.to_string(),
                reason: Some(reason.to_owned()),
                message: Some(message.clone()),
                ..Default::default()
            };
            let condition = Condition::new(SOFTWARE_EMULATION, emulated, now);
            (explained, condition.because(reason, message))
        }
    };
    let message = explained.message.clone().unwrap_or_default();
    facts.push(Fact::normal(
        "AcceleratorSelected",
        format!("{actual}: {message}"),
    ));
    if !launcher.adjustments.is_empty() {
        let told = launcher.adjustments.join("; ");
        facts.push(Fact::normal(
            "AcceleratorAdjusted",
            format!("{actual}: {told}"),
        ));
    }
    explained.adjustments.clone_from(&launcher.adjustments);
    status.accelerator = Some(explained);
    condition::set(&mut status.conditions, condition);
}

fn keep_while(status: &mut VirtualMachineInstanceStatus, holds: bool, wanted: Condition) {
    if holds {
        condition::set(&mut status.conditions, wanted);
    } else {
        condition::remove(&mut status.conditions, &wanted.type_);
    }
}

/// Each volume with the name by which guests know such a disk: `vda` for the first on virtio, `sda`
/// for the first on another bus.
fn volumes(
    spec: &VirtualMachineInstanceSpec,
    pulled: &BTreeMap<String, ResolvedVolume>,
    before: &[VolumeStatus],
) -> Vec<VolumeStatus> {
    let mut targets = BTreeMap::new();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for disk in &spec.domain.devices.disks {
        let bus = disk
            .disk
            .as_ref()
            .and_then(|target| target.bus.as_deref())
            .or(disk.cdrom.as_ref().and_then(|target| target.bus.as_deref()));
        let prefix = if matches!(bus, Some("virtio")) {
            "vd"
        } else {
            "sd"
        };
        let count = counts.entry(prefix).or_default();
        targets.insert(disk.name.as_str(), format!("{prefix}{}", letters(*count)));
        *count += 1;
    }
    spec.volumes
        .iter()
        .map(|volume| {
            let size = match pulled.get(&volume.name) {
                Some(ResolvedVolume::ContainerDisk {
                    virtual_size_bytes, ..
                }) => i64::try_from(*virtual_size_bytes).ok(),
                // Not known again after a restart of the node, so what was told stays.
                _ => before
                    .iter()
                    .find(|it| it.name == volume.name)
                    .and_then(|it| it.size),
            };
            VolumeStatus {
                name: volume.name.clone(),
                target: targets
                    .get(volume.name.as_str())
                    .cloned()
                    .unwrap_or_default(),
                size,
                ..VolumeStatus::default()
            }
        })
        .collect()
}

/// a to z, then aa, ab … as the kernel names disks.
fn letters(index: u32) -> String {
    let mut left = index + 1;
    let mut name = Vec::new();
    while left > 0 {
        left -= 1;
        // Less than 26, so it is a letter.
        name.push(b'a' + (left % 26) as u8);
        left /= 26;
    }
    name.iter()
        .rev()
        .map(|letter| char::from(*letter))
        .collect()
}

/// Puts it into a phase, and remembers when.
fn enter(status: &mut VirtualMachineInstanceStatus, phase: Phase, at: Timestamp) {
    status.phase = Some(phase);
    if !status
        .phase_transition_timestamps
        .iter()
        .any(|known| known.phase == phase)
    {
        status.phase_transition_timestamps.push(PhaseTransition {
            phase,
            phase_transition_timestamp: Time(at),
        });
    }
}

/// The part of `after` that differs from `before`, as a merge patch: fields that are gone are null.
pub(crate) fn difference(
    before: &VirtualMachineInstanceStatus,
    after: &VirtualMachineInstanceStatus,
) -> Result<serde_json::Value, serde_json::Error> {
    let (before, after) = (serde_json::to_value(before)?, serde_json::to_value(after)?);
    let empty = serde_json::Map::new();
    let fields = |value: &serde_json::Value| value.as_object().unwrap_or(&empty).clone();
    let (before, after) = (fields(&before), fields(&after));
    let mut patch = serde_json::Map::new();
    for (name, value) in &after {
        if before.get(name) != Some(value) {
            // A patch merges objects, so what a field of ours no longer has must be named too.
            patch.insert(name.clone(), replacing(before.get(name), value));
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        patch.insert(name.clone(), serde_json::Value::Null);
    }
    Ok(serde_json::Value::Object(patch))
}

fn replacing(before: Option<&serde_json::Value>, after: &serde_json::Value) -> serde_json::Value {
    let (Some(serde_json::Value::Object(before)), serde_json::Value::Object(fields)) =
        (before, after)
    else {
        return after.clone();
    };
    let changed = fields.iter().map(|(name, value)| {
        let value = replacing(before.get(name), value);
        (name.clone(), value)
    });
    let mut patch: serde_json::Map<_, _> = changed.collect();
    for name in before.keys().filter(|name| !fields.contains_key(*name)) {
        patch.insert(name.clone(), serde_json::Value::Null);
    }
    serde_json::Value::Object(patch)
}
