//! The machines a pool shall have: its template and an index in; a machine, or the change that makes one of it, out.

use crate::difference::merge_patch;
use crate::event::fingerprint;
use crate::virtual_machine::write_sorted;
use api::names::{annotations, labels};
use api::pool::{VirtualMachinePool, machine_name};
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstanceSpec;
use api::warm_start;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The longest value of a label.
const LABEL_BYTES: usize = 63;

/// The states of a pool's template, in short, as labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Revisions {
    /// Of all that a machine is made of.
    pub(super) machine: String,
    /// Of what its instances are made of, which needs a restart when it changes.
    pub(super) instance: String,
}

impl Revisions {
    /// Those of `pool` as it is now.
    pub(super) fn of(pool: &VirtualMachinePool) -> Self {
        let template = &pool.spec.virtual_machine_template;
        let metadata = template.metadata.clone().unwrap_or_default();
        let names = &pool.spec.name_generation;
        let instance = json!({ "names": names, "template": template.spec.template });
        let machine = json!({
            "instance": instance, "spec": template.spec,
            "labels": metadata.labels, "annotations": metadata.annotations,
            // It counts from the next start.
            "warmStart": warm_start(pool).map(|(_, mode)| mode),
        });
        let name = pool.name_any();
        Self {
            machine: revision(&name, &machine),
            instance: revision(&name, &instance),
        }
    }
}

fn revision(pool: &str, state: &Value) -> String {
    let mut text = String::new();
    write_sorted(state, &mut text);
    let suffix = format!("-{:016x}", fingerprint(&[&text]));
    let short = pool.get(..pool.len().min(LABEL_BYTES - suffix.len()));
    // A pool's name is ASCII.
    let short = short.unwrap_or_default().trim_end_matches(['-', '.']);
    format!("{short}{suffix}")
}

/// The machine of `pool` with this index.
pub(super) fn machine(
    pool: &VirtualMachinePool,
    index: usize,
    revisions: &Revisions,
) -> VirtualMachine {
    let template = &pool.spec.virtual_machine_template;
    let given = template.metadata.clone().unwrap_or_default();
    let name = machine_name(&pool.name_any(), index);
    let mut vm = VirtualMachine::new(&name, template.spec.clone());
    vm.metadata.namespace = pool.namespace();
    let mut labelled = given.labels.unwrap_or_default();
    labelled.insert(labels::POOL_REVISION.to_owned(), revisions.machine.clone());
    vm.metadata.labels = Some(labelled);
    vm.metadata.annotations = given.annotations;
    vm.metadata.owner_references = owner(pool).map(|owner| vec![owner]);
    if let Some(template) = &mut vm.spec.template {
        let metadata = template.metadata.get_or_insert_default();
        let labelled = metadata.labels.get_or_insert_default();
        labelled.insert(labels::POOL_REVISION.to_owned(), revisions.instance.clone());
        if let Some((place, mode)) = warm_start(pool) {
            let annotated = metadata.annotations.get_or_insert_default();
            if !annotated.contains_key(annotations::WARM_START) {
                annotated.insert(annotations::WARM_START.to_owned(), mode);
                annotated.insert(annotations::WARM_START_DECIDED_BY.to_owned(), place);
            }
        }
        let names = pool.spec.name_generation.clone().unwrap_or_default();
        if names.append_index_to_secret_refs == Some(true) {
            append_to_secrets(&mut template.spec, index);
        }
    }
    vm
}

/// What `pool` says of warm starts, for its machines that say nothing themselves: the place, and the mode.
fn warm_start(pool: &VirtualMachinePool) -> Option<(String, String)> {
    // Admission lets nobody write one that cannot be read.
    let mode = warm_start::asked(pool.annotations()).ok().flatten()?;
    let place = format!(
        "VirtualMachinePool {}/{} annotation {}",
        pool.namespace().unwrap_or_default(),
        pool.name_any(),
        annotations::WARM_START
    );
    Some((place, mode.to_string()))
}

fn append_to_secrets(spec: &mut VirtualMachineInstanceSpec, index: usize) {
    for volume in &mut spec.volumes {
        let Some(seed) = &mut volume.cloud_init_no_cloud else {
            continue;
        };
        let named = [&mut seed.secret_ref, &mut seed.network_data_secret_ref];
        for secret in named.into_iter().flatten() {
            secret.name = machine_name(&secret.name, index);
        }
    }
}

/// The owner reference by which `pool` controls its machines; none for a pool that was never stored.
pub(super) fn owner(pool: &VirtualMachinePool) -> Option<OwnerReference> {
    let owner = pool.controller_owner_ref(&())?;
    Some(OwnerReference {
        block_owner_deletion: Some(true),
        ..owner
    })
}

/// The change that makes `wanted` of `vm`. It keeps who it is: its firmware's identity, and annotations that the template
/// does not speak of, which say what people and controllers want of it.
pub(super) fn change(vm: &VirtualMachine, mut wanted: VirtualMachine) -> serde_json::Result<Value> {
    keep_identity(vm, &mut wanted);
    let mut annotated = vm.annotations().clone();
    annotated.extend(wanted.annotations().clone());
    let none = BTreeMap::new();
    let before = vm.metadata.labels.as_ref().unwrap_or(&none);
    let mut change = json!({});
    if let Some(patch) = merge_patch(before, wanted.labels())? {
        change["metadata"]["labels"] = patch;
    }
    if let Some(patch) = merge_patch(vm.annotations(), &annotated)? {
        change["metadata"]["annotations"] = patch;
    }
    if let Some(patch) = merge_patch(&vm.spec, &wanted.spec)? {
        change["spec"] = patch;
    }
    Ok(change)
}

fn keep_identity(vm: &VirtualMachine, wanted: &mut VirtualMachine) {
    let (Some(known), Some(template)) = (&vm.spec.template, &mut wanted.spec.template) else {
        return;
    };
    if let Some(known) = &known.spec.domain.firmware {
        let firmware = template.spec.domain.firmware.get_or_insert_default();
        firmware.uuid = known.uuid.clone().or(firmware.uuid.take());
        firmware.serial = known.serial.clone().or(firmware.serial.take());
    }
    let name = annotations::GENERATED_FIRMWARE;
    let noted = known
        .metadata
        .as_ref()
        .and_then(|it| it.annotations.as_ref()?.get(name));
    if let Some(noted) = noted {
        let metadata = template.metadata.get_or_insert_default();
        let annotated = metadata.annotations.get_or_insert_default();
        annotated.insert(name.to_owned(), noted.clone());
    }
}

/// The revision that a machine's label says it is of.
pub(super) fn revision_of(vm: &VirtualMachine) -> Option<&String> {
    vm.labels().get(labels::POOL_REVISION)
}

/// The revision that the next instance of a machine will be of.
pub(super) fn next_revision(vm: &VirtualMachine) -> Option<&String> {
    let metadata = vm.spec.template.as_ref()?.metadata.as_ref()?;
    metadata.labels.as_ref()?.get(labels::POOL_REVISION)
}
