//! What is wrong with an object: each cause with its field, KubeVirt's reason and KubeVirt's words.
//!
//! A spec is validated after its defaults were filled in. A field that is not served is refused by
//! name; an unknown one never gets here, because the schema knows only KubeVirt's fields.

mod cause;
mod devices;
mod domain;
mod metadata;
mod networks;
mod pool;
mod snapshot;
mod text;
mod volumes;

pub use cause::{Cause, Denial, Reason};
use cause::{Causes, Path};
pub use metadata::{annotations_of_controllers, stuck_after};
pub use pool::{
    pool_annotations_of_controllers, virtual_machine_pool, virtual_machine_pool_update,
};
pub use snapshot::{
    machine_lock, virtual_machine_restore, virtual_machine_restore_update,
    virtual_machine_snapshot, virtual_machine_snapshot_update,
};

use crate::configuration::ClusterConfiguration;
use crate::defaults::{self, FirmwareIdentity};
use crate::kubevirt::KubeVirt;
use crate::unserved::{self, Field};
use crate::virtual_machine::{RunStrategy, VirtualMachine};
use crate::virtual_machine_instance::{VirtualMachineInstance, VirtualMachineInstanceSpec};

/// What is wrong with a virtual machine. Its template is looked at with defaults filled in.
pub fn virtual_machine(machine: &VirtualMachine, cluster: &ClusterConfiguration) -> Vec<Cause> {
    let mut causes = Causes::default();
    let (metadata, spec) = (Path::of("metadata"), Path::of("spec"));
    check_machine(&metadata, &spec, machine, cluster, &mut causes);
    causes.into()
}

/// What is wrong with a machine, or a pool's template of one, whose metadata and spec are at these paths.
fn check_machine(
    metadata: &Path,
    spec: &Path,
    machine: &VirtualMachine,
    cluster: &ClusterConfiguration,
    causes: &mut Causes,
) {
    let value = serde_json::to_value(&machine.spec).unwrap_or_default();
    refuse_unserved(spec, unserved::MACHINE, &value, causes);
    match (&machine.spec.run_strategy, machine.spec.running) {
        (Some(_), Some(_)) => causes.invalid(
            &spec.field("running"),
            "Running and RunStrategy are mutually exclusive. Note that Running is deprecated, please \
             use RunStrategy instead",
        ),
        (None, None) => causes.invalid(&spec.field("runStrategy"), "RunStrategy must be specified"),
        (Some(name), None) if name == "WaitAsReceiver" => causes.unserved(
            &spec.field("runStrategy"),
            "runStrategy WaitAsReceiver",
            "use Always, Halted, Manual, RerunOnFailure or Once",
        ),
        (Some(name), None) if RunStrategy::parse(name).is_none() => {
            causes.invalid(&spec.field("runStrategy"), format!("Invalid RunStrategy ({name})"));
        }
        (Some(_), None) | (None, Some(_)) => {}
    }
    let Some(template) = &machine.spec.template else {
        causes.required(&spec.field("template"), "missing virtual machine template.");
        return;
    };
    let own = template.spec.emulation_policy;
    let annotations = metadata.field("annotations");
    metadata::check_accelerator(&annotations, &machine.metadata, causes);
    metadata::check_suspend(&annotations, &machine.metadata, causes);
    metadata::check_contradiction(&annotations, &machine.metadata, own, causes);
    snapshot::check_ring(metadata, &machine.metadata, causes);
    let path = spec.field("template");
    if let Some(metadata) = &template.metadata {
        metadata::check(&path.field("metadata"), metadata, causes);
        metadata::refuse_reserved_labels(&path.field("metadata"), metadata, causes);
        let annotations = path.field("metadata").field("annotations");
        metadata::check_contradiction(&annotations, metadata, own, causes);
    }
    // Filled in as the instance will be; the identity is random there, and any valid one here.
    let mut filled = template.spec.clone();
    let identity = FirmwareIdentity {
        uuid: "00000000-0000-4000-8000-000000000000".to_owned(),
        serial: String::new(),
    };
    defaults::instance_spec(&mut filled, cluster, &identity);
    check_instance_spec(&path.field("spec"), &filled, cluster, causes);
}

/// What is wrong with an update of a virtual machine. A spec that stays is not looked at again: what
/// was allowed once may be forbidden now (a feature gate went off), and labels, annotations and
/// finalizers must still be writable; and so must a machine that is being deleted.
pub fn virtual_machine_update(
    old: &VirtualMachine,
    new: &VirtualMachine,
    cluster: &ClusterConfiguration,
) -> Vec<Cause> {
    if new.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    if new.spec == old.spec {
        let mut causes = Causes::default();
        if new.metadata.annotations != old.metadata.annotations {
            snapshot::check_ring(&Path::of("metadata"), &new.metadata, &mut causes);
        }
        return causes.into();
    }
    virtual_machine(new, cluster)
}

/// What is wrong with a new virtual machine instance whose defaults were filled in. Labels that only
/// KubeVirt's own components may set are refused unless `trusted`.
pub fn virtual_machine_instance(
    instance: &VirtualMachineInstance,
    cluster: &ClusterConfiguration,
    trusted: bool,
) -> Vec<Cause> {
    let mut causes = Causes::default();
    let metadata = Path::of("metadata");
    metadata::check(&metadata, &instance.metadata, &mut causes);
    if !trusted {
        metadata::refuse_reserved_labels(&metadata, &instance.metadata, &mut causes);
    }
    let annotations = metadata.field("annotations");
    let own = instance.spec.emulation_policy;
    metadata::check_contradiction(&annotations, &instance.metadata, own, &mut causes);
    check_instance_spec(&Path::of("spec"), &instance.spec, cluster, &mut causes);
    causes.into()
}

/// What is wrong with a spec at `path` (`spec` of an instance, `spec.template.spec` of a machine).
pub fn instance_spec(
    path: &str,
    spec: &VirtualMachineInstanceSpec,
    cluster: &ClusterConfiguration,
) -> Vec<Cause> {
    let mut causes = Causes::default();
    check_instance_spec(&Path::of(path), spec, cluster, &mut causes);
    causes.into()
}

/// What is wrong with an update of a virtual machine instance: users may change labels and
/// annotations, but not the spec; KubeVirt's own components (`trusted`) may change it.
pub fn virtual_machine_instance_update(
    old: &VirtualMachineInstance,
    new: &VirtualMachineInstance,
    trusted: bool,
) -> Vec<Cause> {
    let mut causes = Causes::default();
    if trusted {
        return causes.into();
    }
    if old.spec != new.spec {
        causes.not_supported(&Path::of("spec"), "update of VMI object is restricted");
    }
    metadata::refuse_changed_reserved_labels(&old.metadata, &new.metadata, &mut causes);
    metadata::check(&Path::of("metadata"), &new.metadata, &mut causes);
    causes.into()
}

/// What is wrong with a KubeVirt object. What merely has no effect is reported by
/// [`ClusterConfiguration::problems`] instead.
pub fn kubevirt(object: &KubeVirt) -> Vec<Cause> {
    let mut causes = Causes::default();
    let configuration = object.spec.configuration.as_ref();
    let path = Path::of("spec").field("configuration");
    if let Some(request) = configuration.and_then(|found| found.cpu_request.as_ref()) {
        text::quantity(&path.field("cpuRequest"), request, &mut causes);
    }
    let developer = configuration.and_then(|found| found.developer_configuration.as_ref());
    let path = path.field("developerConfiguration");
    if let Some(developer) = developer {
        for (index, gate) in developer.disabled_feature_gates.iter().enumerate() {
            if developer.feature_gates.contains(gate) {
                causes.invalid(
                    &path.field("disabledFeatureGates").index(index),
                    format!(
                        "feature gate \"{gate}\" exists on both \"FeatureGates\" and \
                         \"DisabledFeatureGates\""
                    ),
                );
            }
        }
        for (name, value) in [
            ("memoryOvercommit", developer.memory_overcommit),
            ("cpuAllocationRatio", developer.cpu_allocation_ratio),
        ] {
            if value == Some(0) {
                let path = path.field(name);
                causes.invalid(
                    &path,
                    format!("{path} '0': must be greater than or equal to 1."),
                );
            }
        }
    }
    causes.into()
}

fn check_instance_spec(
    path: &Path,
    spec: &VirtualMachineInstanceSpec,
    cluster: &ClusterConfiguration,
    causes: &mut Causes,
) {
    let value = serde_json::to_value(spec).unwrap_or_default();
    refuse_unserved(path, unserved::INSTANCE, &value, causes);
    domain::check(path, spec, cluster, causes);
    volumes::check(path, spec, cluster, causes);
    devices::check(path, spec, causes);
    networks::check(path, spec, causes);
}

fn refuse_unserved(
    path: &Path,
    table: &'static [Field],
    value: &serde_json::Value,
    causes: &mut Causes,
) {
    for (found, field) in unserved::found(table, value) {
        let path = path.field(&found);
        causes.unserved(&path, &path.to_string(), field.instead);
    }
}

#[cfg(test)]
mod tests;
