//! Saved machines: guests that were written down with their memory, to go on from there.
//!
//! ```text
//! VMI with save-to ──► machine::save ──► room? ──► launcher writes ──► commit (checksums, manifest) ──► VMI Succeeded
//! VMI with resume-from ──► machine::resume ──► checked: shape, QEMU, processor, checksums ──► launcher goes on
//! keep: what is of nobody any more goes
//! ```

mod store;

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use api::launcher::{Request, Status, files};
use api::names::annotations;
use api::resources;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use kube::api::Api;
use kube::{Resource, ResourceExt as _};
use serde_json::{Value, json};

use crate::launcher::{self, LauncherError};
use crate::machine::{Context, saving_ids};
pub(crate) use store::{Made, Manifest, Owner, Reservation, Store, Stored, is_id, is_used};

/// The folder below the data directory.
pub(crate) const FOLDER: &str = "saved";
/// So much room stays free on the disk beside what is saved: other guests write to the same.
const RESERVE_BYTES: u64 = 512 << 20;
/// The most that is copied of the disks of a guest that goes on: it stands still for minutes at worst.
const MOST_COPIED_BYTES: u64 = 8 << 30;
/// How often what is saved is compared with whose it is.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// What a save takes at the slowest, beside writing the memory: asking QEMU, and copying disks.
const SLOWEST_BESIDE: Duration = Duration::from_secs(600);
/// What a guest takes at the slowest to come to rest ([`api::scaling::Wait`]): a hook is waited for, put there through its
/// agent, waited for again, asked who it is, and settles.
const SLOWEST_REST: Duration = Duration::from_secs(15 + 180 + 60 + 60 + 180);
/// The slowest disk, in bytes a second: half of what the launcher gives up at.
const SLOWEST_DISK: u64 = 4 << 20;

/// Opens the store, and removes what a crash left in it.
///
/// # Errors
/// If the folder cannot be used.
pub(crate) fn open(data: &Path, machines: &Path) -> io::Result<Store> {
    let store = Store::open(data.join(FOLDER))?;
    store.sweep(&saving_ids(machines)?)?;
    Ok(store)
}

/// What of a machine its guest has seen: it can go on only in one that is the same in this.
pub(crate) fn shape(instance: &VirtualMachineInstance) -> Value {
    let spec = &instance.spec;
    let mut domain = spec.domain.clone();
    // Who it is, and how it is reached, is of the machine that goes on.
    if let Some(firmware) = &mut domain.firmware {
        firmware.uuid = None;
        firmware.serial = None;
    }
    for interface in &mut domain.devices.interfaces {
        interface.mac_address = None;
        interface.ports.clear();
    }
    domain.resources = None;
    let volumes: Vec<&str> = spec.volumes.iter().map(|it| it.name.as_str()).collect();
    json!({
        "architecture": spec.architecture,
        "domain": domain,
        "memory": resources::guest_memory_bytes(spec),
        "topology": resources::topology(spec),
        "networks": spec.networks,
        "volumes": volumes,
    })
}

/// The first field in which two shapes differ, with both values; `None`: they are the same.
pub(crate) fn difference(saved: &Value, now: &Value) -> Option<String> {
    fn walk(saved: &Value, now: &Value, at: &str) -> Option<String> {
        match (saved, now) {
            (Value::Object(old), Value::Object(new)) => {
                let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
                let null = Value::Null;
                names.into_iter().find_map(|name| {
                    let (old, new) = (old.get(name), new.get(name));
                    let at = format!("{at}.{name}");
                    walk(old.unwrap_or(&null), new.unwrap_or(&null), &at)
                })
            }
            (Value::Array(old), Value::Array(new)) if old.len() == new.len() => old
                .iter()
                .zip(new)
                .enumerate()
                .find_map(|(index, (old, new))| walk(old, new, &format!("{at}[{index}]"))),
            _ if saved == now => None,
            _ => Some(format!("spec{at} was {saved}, and is {now} now")),
        }
    }
    walk(saved, now, "")
}

/// What is written to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    /// A machine's memory, and what is copied of its disks.
    Save,
    /// Copies of the disks that were saved: what was saved stays.
    Copies,
}

/// Whether there is room for so many bytes: all may have to be written.
///
/// # Errors
/// A sentence: how much is missing.
pub(crate) fn room(writes: Writes, free: u64, bytes: u64) -> Result<(), String> {
    let needed = bytes.saturating_add(RESERVE_BYTES);
    if needed <= free {
        return Ok(());
    }
    let mebibytes = |bytes: u64| bytes >> 20;
    let what = match writes {
        Writes::Save => "saving the guest",
        Writes::Copies => "copying its disks",
    };
    Err(format!(
        "the disk has {} MiB free, and {what} may take {} MiB beside the {} MiB that must stay free: make room on the \
         disk of anyvirt's data directory",
        mebibytes(free),
        mebibytes(bytes),
        mebibytes(RESERVE_BYTES)
    ))
}

/// Whether a guest that was saved can go on with the QEMU and on the processor of this node; a QEMU that is not known yet
/// is asked when it runs.
///
/// # Errors
/// A sentence: what differs.
pub(crate) fn fits_here(manifest: &Manifest, qemu_version: Option<&str>) -> Result<(), String> {
    let record = &manifest.record;
    if let Some(version) = qemu_version.filter(|version| *version != record.qemu_version) {
        return Err(format!(
            "the guest was saved by QEMU {}, and here is {version}: install that again, or throw away what was saved",
            record.qemu_version
        ));
    }
    let on_kvm = record.accelerator == Some(api::accelerator::Accelerator::Kvm);
    let here = crate::templates::processor();
    if let Some(known) = manifest.processor.as_ref().filter(|_| on_kvm)
        && *known != here
    {
        return Err(format!(
            "the guest was saved on another processor ({known}; here is {here}): go on there, or throw away what was saved"
        ));
    }
    Ok(())
}

/// How long a launcher may take to write so many bytes.
pub(crate) fn patience(bytes: u64) -> Duration {
    SLOWEST_BESIDE + Duration::from_secs(bytes / SLOWEST_DISK)
}

/// Whether the disks of a guest that goes on are copied: it stands still meanwhile.
///
/// # Errors
/// A sentence: they are too large.
pub(crate) fn copied(disk_bytes: u64) -> Result<(), String> {
    if disk_bytes <= MOST_COPIED_BYTES {
        return Ok(());
    }
    Err(format!(
        "the guest has written {} MiB to its disks, and would stand still while they are copied; up to {} MiB are: suspend \
         it instead, which copies nothing",
        disk_bytes >> 20,
        MOST_COPIED_BYTES >> 20
    ))
}

/// Bytes on disk of the files in a folder; none if it is not there.
fn allocated(folder: &Path) -> io::Result<u64> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0;
    for entry in entries {
        bytes += entry?.metadata()?.blocks() * 512;
    }
    Ok(bytes)
}

/// Why a machine is not saved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    /// There is no room, or it would take too long.
    #[error("{0}")]
    NoRoom(String),
    /// The launcher refused, or could not.
    #[error(transparent)]
    Launcher(#[from] LauncherError),
    /// The folder cannot be used.
    #[error("the folder of saved machines: {0}")]
    Io(#[from] io::Error),
}

/// Lets the launcher in `machine`, a folder, save its guest as `id`, into a folder that [`Store::commit`] takes then. On
/// failure nothing is left.
///
/// # Errors
/// [`SaveError`]; the guest goes on.
pub(crate) async fn save(
    store: &Store,
    machine: &Path,
    id: &str,
    memory_bytes: u64,
    (go_on, renewable): (bool, bool),
) -> Result<Status, SaveError> {
    let directory = store.building(id);
    let begun = directory.exists();
    let disk_bytes = if go_on {
        allocated(&machine.join(files::DISKS))?
    } else {
        // They get second names.
        0
    };
    copied(disk_bytes).map_err(SaveError::NoRoom)?;
    let bytes = memory_bytes.saturating_add(disk_bytes);
    let request = Request::Save {
        directory,
        go_on,
        renewable,
    };
    let prepare = || {
        // What is left of an earlier try takes room, too.
        store.discard(id)?;
        let reserved = store.reserve(bytes, |free| room(Writes::Save, free, bytes))?;
        let reserved = reserved.map_err(SaveError::NoRoom)?;
        store.prepare(id)?;
        Ok::<_, SaveError>(reserved)
    };
    let mut reserved = if begun { None } else { Some(prepare()?) };
    let mut within = patience(bytes);
    if renewable {
        within += SLOWEST_REST;
    }
    let mut asked = launcher::ask_within(machine, &request, within).await;
    // A folder of an earlier run of ours may be what the launcher writes to just now, or has written: only it knows.
    if begun && refusal(&asked) == Some("WrongFolder") {
        reserved = Some(prepare()?);
        asked = launcher::ask_within(machine, &request, within).await;
    }
    drop(reserved);
    // One that did not answer may still write, too; its folder goes at the next try, or our next start.
    if refusal(&asked).is_some_and(|reason| !is_under_way(reason)) {
        store.discard(id)?;
    }
    let (status, _) = asked?;
    Ok(status)
}

fn refusal<T>(asked: &Result<T, LauncherError>) -> Option<&str> {
    match asked {
        Err(LauncherError::Refused { reason, .. }) => Some(reason),
        _ => None,
    }
}

/// Whether a launcher that refused to save its guest for this reason is just doing so, or has done it: what it writes, or
/// has written, must not be touched.
pub(crate) fn is_under_way(reason: &str) -> bool {
    matches!(reason, "Saving" | "Stopping" | "NotRunning")
}

/// Removes what was saved of machines that are gone, or that need it no more.
pub(crate) async fn keep(context: &Context) {
    context.objects.complete().await;
    loop {
        if !context.foreign
            && let Err(error) = look(context).await
        {
            tracing::warn!(%error, "what is saved is not compared with whose it is");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Why looking at what is saved failed.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("the API: {0}")]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

async fn look(context: &Context) -> Result<(), LookError> {
    for (namespace, id) in context.saved.list()? {
        let owner = match context.saved.get(&namespace, &id) {
            Ok(Some(stored)) => stored.manifest.owner,
            Ok(None) => continue,
            Err(fault) => {
                // Whoever wants to go on from it is told so; who it belongs to is not known.
                tracing::warn!(namespace, id, %fault, "what was saved cannot be read");
                continue;
            }
        };
        if is_wanted(context, &owner, &id).await? {
            continue;
        }
        tracing::info!(namespace, id, owner = owner.name, "removing what was saved");
        context.saved.remove(&namespace, &id)?;
    }
    Ok(())
}

/// Whether anybody may still go on from what was saved.
async fn is_wanted(context: &Context, owner: &Owner, id: &str) -> Result<bool, kube::Error> {
    let uid = |found: Option<String>| found.as_deref() == Some(owner.uid.as_str());
    if owner.kind == VirtualMachine::kind(&()) {
        // First: a machine that ends says so in its VM before its VMI goes.
        if context.objects.any_instance(|vmi| names_id(vmi, id)) {
            return Ok(true);
        }
        let api: Api<VirtualMachine> = Api::namespaced(context.client.clone(), &owner.namespace);
        let found = api.get_opt(&owner.name).await?;
        return Ok(found.is_some_and(|vm| uid(vm.uid()) && is_suspended_as(&vm, id)));
    }
    if owner.kind == VirtualMachineInstance::kind(&()) {
        let api: Api<VirtualMachineInstance> =
            Api::namespaced(context.client.clone(), &owner.namespace);
        let found = api.get_opt(&owner.name).await?;
        return Ok(found.is_some_and(|vmi| uid(vmi.uid())));
    }
    // Those of snapshots go with the snapshots' own objects.
    Ok(true)
}

/// Whether the VM's guest is to go on from what was saved as `id`.
fn is_suspended_as(vm: &VirtualMachine, id: &str) -> bool {
    let status = vm.status.as_ref();
    let suspension = status.and_then(|status| status.suspension.as_ref());
    suspension.is_some_and(|it| it.id == id)
}

/// Whether the VMI is saved as `id`, or goes on from there: it says so, or its launcher saved it by itself.
fn names_id(instance: &VirtualMachineInstance, id: &str) -> bool {
    if instance.metadata.uid.as_deref() == Some(id) {
        return true;
    }
    let annotated = instance.annotations();
    [annotations::SAVE_TO, annotations::RESUME_FROM]
        .into_iter()
        .any(|name| annotated.get(name).is_some_and(|value| value == id))
}

#[cfg(test)]
mod tests;
