//! The instance a virtual machine shall get: a template in, an object out.

use api::names::{annotations, finalizers, labels};
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::{Phase, VirtualMachineInstance, VirtualMachineInstanceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::event::fingerprint;

/// On a VMI: a fingerprint of the template's spec it was made from, which tells whether the template
/// was changed since.
pub(super) const TEMPLATE_FINGERPRINT: &str = "anyvirt.io/template-fingerprint";

/// Whether the guest's processors run from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Running,
    Paused,
}

/// The instance to create for `vm`; none without a template, which validation does not let pass.
pub(super) fn instance(vm: &VirtualMachine, start: Start) -> Option<VirtualMachineInstance> {
    let template = vm.spec.template.as_ref()?;
    let metadata = template.metadata.clone().unwrap_or_default();
    let mut annotated = metadata.annotations.unwrap_or_default();
    annotated.insert(
        annotations::VM_GENERATION.to_owned(),
        generation(vm).to_string(),
    );
    annotated.insert(
        TEMPLATE_FINGERPRINT.to_owned(),
        template_fingerprint(&template.spec),
    );
    let accelerator = accelerator(vm);
    if !accelerator.is_empty() {
        annotated.insert(annotations::ACCELERATOR.to_owned(), accelerator.to_owned());
        annotated.insert(
            annotations::MACHINE_ACCELERATOR.to_owned(),
            accelerator.to_owned(),
        );
    }
    let mut spec = template.spec.clone();
    if start == Start::Paused {
        spec.start_strategy = Some("Paused".to_owned());
    }
    resume(vm, &mut annotated, &mut spec);
    // The guest must see the same machine at every start, whatever the template says or not.
    let firmware = spec.domain.firmware.get_or_insert_default();
    if firmware.uuid.is_none() {
        firmware.uuid = vm.uid();
    }
    let mut vmi = VirtualMachineInstance::new(&vm.name_any(), spec);
    vmi.metadata = ObjectMeta {
        name: vm.metadata.name.clone(),
        namespace: vm.metadata.namespace.clone(),
        labels: metadata.labels,
        annotations: Some(annotated),
        owner_references: vm.controller_owner_ref(&()).map(|owner| vec![owner]),
        finalizers: Some(vec![
            finalizers::VIRTUAL_MACHINE_CONTROLLER.to_owned(),
            finalizers::FOREGROUND_DELETE.to_owned(),
        ]),
        ..Default::default()
    };
    Some(vmi)
}

/// Lets the instance go on from the saved state that `vm` names, on the node that has it; without one nothing changes,
/// whatever the template says.
fn resume(
    vm: &VirtualMachine,
    annotated: &mut BTreeMap<String, String>,
    spec: &mut VirtualMachineInstanceSpec,
) {
    let all = [
        annotations::RESUME_FROM,
        annotations::RESUME_AS,
        annotations::RESUME_NODE,
        annotations::LAST_RESTORE,
    ];
    annotated.retain(|name, _| !all.contains(&name.as_str()));
    // What is to be saved is told later.
    annotated.remove(annotations::SAVE_TO);
    if resume_annotation(vm).is_none() {
        return;
    }
    let given = all.map(|name| {
        vm.annotations()
            .get(name)
            .map(|it| (name.to_owned(), it.clone()))
    });
    annotated.extend(given.into_iter().flatten());
    if let Some(node) = vm.annotations().get(annotations::RESUME_NODE) {
        spec.node_selector
            .insert(labels::HOSTNAME.to_owned(), node.clone());
    }
}

/// The id of the saved state that `vm` is to go on from.
pub(super) fn resume_annotation(vm: &VirtualMachine) -> Option<&str> {
    vm.annotations()
        .get(annotations::RESUME_FROM)
        .map(String::as_str)
}

/// Whether `vmi` is the instance that goes on from the saved state that `vm` names, for the same restore: an earlier one
/// may have gone on from there too.
pub(crate) fn goes_on_as_asked(vm: &VirtualMachine, vmi: &VirtualMachineInstance) -> bool {
    let (asked, ours) = (vm.annotations(), vmi.annotations());
    let alike = |name: &str| asked.get(name) == ours.get(name);
    asked.contains_key(annotations::RESUME_FROM)
        && alike(annotations::RESUME_FROM)
        && alike(annotations::LAST_RESTORE)
}

/// The accelerator that `vm` insists on; empty if on none.
fn accelerator(vm: &VirtualMachine) -> &str {
    vm.forced_accelerator()
        .map(|it| it.value)
        .unwrap_or_default()
}

/// The change by which an instance that waits for a node follows what its VM says of emulation by
/// now; none if it does already, or if it does not wait any more. Everything else of a changed
/// template waits for the next start.
pub(super) fn follow_policy(vm: &VirtualMachine, vmi: &VirtualMachineInstance) -> Option<Value> {
    let status = vmi.status.as_ref();
    let waits = matches!(phase(vmi), Phase::Pending | Phase::Scheduling)
        && status.is_none_or(|status| status.node_name.is_none())
        && !is_going(vmi);
    let template = vm.spec.template.as_ref().filter(|_| waits)?;
    let mut change = json!({});
    let known = vmi.annotations().get(annotations::MACHINE_ACCELERATOR);
    let wanted = accelerator(vm);
    if known.map(String::as_str).unwrap_or_default() != wanted {
        let told = (!wanted.is_empty()).then_some(wanted);
        change["metadata"]["annotations"] =
            json!({ annotations::ACCELERATOR: told, annotations::MACHINE_ACCELERATOR: told });
    }
    if template.spec.emulation_policy != vmi.spec.emulation_policy {
        change["spec"]["emulationPolicy"] = json!(template.spec.emulation_policy);
        // If nothing else was changed, it is what would be made of the template now.
        let mut before = template.spec.clone();
        before.emulation_policy = vmi.spec.emulation_policy;
        let made_from = vmi.annotations().get(TEMPLATE_FINGERPRINT);
        if made_from == Some(&template_fingerprint(&before)) {
            change["metadata"]["annotations"][TEMPLATE_FINGERPRINT] =
                json!(template_fingerprint(&template.spec));
        }
    }
    (change != json!({})).then_some(change)
}

/// The owner reference by which `vm` controls its instance; none for a VM that was never stored.
pub(super) fn owner(vm: &VirtualMachine) -> Option<OwnerReference> {
    vm.controller_owner_ref(&())
}

/// Whether `vm` controls `vmi`.
pub(super) fn controls(vm: &VirtualMachine, vmi: &VirtualMachineInstance) -> bool {
    controller(vmi).is_some_and(|owner| Some(&owner.uid) == vm.metadata.uid.as_ref())
}

/// The owner that controls `vmi`.
pub(super) fn controller(vmi: &VirtualMachineInstance) -> Option<&OwnerReference> {
    vmi.owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true))
}

/// The VM's generation; 0 for one that was never stored.
pub(super) fn generation(vm: &VirtualMachine) -> i64 {
    vm.metadata.generation.unwrap_or_default()
}

/// The generation of the VM that `vmi` stands for.
pub(super) fn instance_generation(vmi: &VirtualMachineInstance) -> Option<i64> {
    vmi.annotations()
        .get(annotations::VM_GENERATION)?
        .parse()
        .ok()
}

/// Whether the template was changed since `vmi` was made; a VMI that does not know is taken as new.
pub(crate) fn is_outdated(vm: &VirtualMachine, vmi: &VirtualMachineInstance) -> bool {
    let made_from = vmi.annotations().get(TEMPLATE_FINGERPRINT);
    let template = vm.spec.template.as_ref();
    made_from
        .zip(template)
        .is_some_and(|(old, new)| *old != template_fingerprint(&new.spec))
}

/// The phase, where one not yet admitted counts as pending.
pub(super) fn phase(vmi: &VirtualMachineInstance) -> Phase {
    vmi.status
        .as_ref()
        .and_then(|status| status.phase)
        .unwrap_or(Phase::Pending)
}

/// Whether the instance ended.
pub(super) fn is_final(vmi: &VirtualMachineInstance) -> bool {
    phase(vmi).is_final()
}

/// Whether somebody asked that the instance goes away.
pub(super) fn is_going(vmi: &VirtualMachineInstance) -> bool {
    vmi.metadata.deletion_timestamp.is_some()
}

/// Whether the guest ever ran.
pub(super) fn has_run(vmi: &VirtualMachineInstance) -> bool {
    let history = vmi
        .status
        .iter()
        .flat_map(|status| &status.phase_transition_timestamps);
    phase(vmi) == Phase::Running || history.into_iter().any(|it| it.phase == Phase::Running)
}

/// A fingerprint of a template's spec that does not depend on the order of its fields.
fn template_fingerprint(spec: &VirtualMachineInstanceSpec) -> String {
    let mut text = String::new();
    // A spec always has a JSON form: it came as JSON.
    write_sorted(&serde_json::to_value(spec).unwrap_or_default(), &mut text);
    format!("{:016x}", fingerprint(&[&text]))
}

/// Writes JSON with sorted keys, whichever order `serde_json` was built to keep.
pub(crate) fn write_sorted(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_str());
            text.push('{');
            for (key, value) in fields {
                text.push_str(&format!("{key:?}:"));
                write_sorted(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for value in values {
                write_sorted(value, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_string());
        }
    }
}
