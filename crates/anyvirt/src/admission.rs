//! KubeVirt's admission, called in process: an object and the cluster's configuration in; defaults, warnings or a refusal out.
//!
//! Decides nothing itself: what is filled in and what is wrong is said by `api::defaults` and `api::validate`. The texts
//! name the webhooks of KubeVirt, because people search for them.

use crate::advice;
use api::accelerator::Scope;
use api::configuration::ClusterConfiguration;
use api::defaults::{self, FirmwareIdentity};
use api::kubevirt::KubeVirt;
use api::names;
use api::pool::VirtualMachinePool;
use api::validate::{self, Cause, Denial};
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use apiserver::{Admission, AdmissionRequest, Operation, Status};
use controllers::kubevirt::Reader;
use controllers::overview::Overview;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// Members of this group are KubeVirt's own components: they alone write a VMI's spec and status.
pub(crate) const TRUSTED_GROUP: &str = "system:serviceaccounts:kubevirt";

/// Defaults and validation of VirtualMachine, VirtualMachineInstance, KubeVirt and the legacy ConfigMap.
pub(crate) struct KubeVirtAdmission {
    configuration: Reader,
    /// The cluster around the object that is written.
    overview: Overview,
    /// In force until the configuration was read for the first time.
    initial: Arc<ClusterConfiguration>,
    /// Makes an identity for a machine that has none.
    identity: fn() -> FirmwareIdentity,
}

impl KubeVirtAdmission {
    /// Reads the cluster's configuration from `configuration`; `architecture` is this machine's, in Go's names.
    pub(crate) fn new(
        configuration: Reader,
        overview: Overview,
        architecture: &str,
        identity: fn() -> FirmwareIdentity,
    ) -> Self {
        let initial = Arc::new(ClusterConfiguration::of_architecture(architecture));
        Self {
            configuration,
            overview,
            initial,
            identity,
        }
    }

    fn cluster(&self) -> Arc<ClusterConfiguration> {
        self.configuration
            .current()
            .unwrap_or_else(|| Arc::clone(&self.initial))
    }
}

/// The kinds that admission looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    Machine,
    Instance,
    KubeVirt,
    LegacyConfiguration,
    /// A ConfigMap of that name where nobody reads it.
    StrayConfiguration,
    Namespace,
    Node,
    Snapshot,
    Restore,
    Pool,
}

fn subject(request: &AdmissionRequest<'_>) -> Option<Subject> {
    if request.operation == Operation::Delete || request.subresource.is_some() {
        return None;
    }
    match (request.group, request.resource) {
        (names::GROUP, "virtualmachines") => Some(Subject::Machine),
        (names::GROUP, "virtualmachineinstances") => Some(Subject::Instance),
        (names::GROUP, "kubevirts") => Some(Subject::KubeVirt),
        (names::SNAPSHOT_GROUP, "virtualmachinesnapshots") => Some(Subject::Snapshot),
        (names::SNAPSHOT_GROUP, "virtualmachinerestores") => Some(Subject::Restore),
        (names::POOL_GROUP, "virtualmachinepools") => Some(Subject::Pool),
        ("", "configmaps") if request.name == Some(names::CONFIG_MAP) => {
            let namespace = request.namespace?;
            let read = [names::NAMESPACE_KUBEVIRT, names::NAMESPACE_OPENSHIFT_CNV];
            Some(if read.contains(&namespace) {
                Subject::LegacyConfiguration
            } else {
                Subject::StrayConfiguration
            })
        }
        ("", "namespaces") => Some(Subject::Namespace),
        ("", "nodes") => Some(Subject::Node),
        _ => None,
    }
}

fn trusted(request: &AdmissionRequest<'_>) -> bool {
    request.user.is_in(TRUSTED_GROUP)
}

/// The typed object. None: it does not fit the type, which schema validation says better, with a path.
fn typed<T: DeserializeOwned>(object: &Value) -> Option<T> {
    serde_json::from_value(object.clone()).ok()
}

/// The typed object after schema validation: what still does not fit is refused.
fn checked<T: DeserializeOwned>(object: &Value) -> Result<T, Status> {
    serde_json::from_value(object.clone())
        .map_err(|error| Status::bad_request(format!("the object cannot be read: {error}")))
}

/// Is all of an object as before that decides what is to be said of it?
fn stays(subject: Option<Subject>, old: &Value, object: &Value) -> bool {
    let decides: &[&str] = match subject {
        Some(Subject::Namespace | Subject::Node) => &["/metadata/labels"],
        // The accelerator is forced by an annotation, of a VM itself too.
        Some(Subject::Machine | Subject::Instance) => {
            &["/spec", "/metadata/annotations/anyvirt.io~1accelerator"]
        }
        _ => &["/spec"],
    };
    let same = |pointer: &&str| old.pointer(pointer) == object.pointer(pointer);
    decides.iter().all(same)
}

impl KubeVirtAdmission {
    /// What is to be said of an object that is taken. KubeVirt's own components are not talked to, nor is
    /// anything said twice of a spec that stays.
    fn warnings(
        &self,
        request: &AdmissionRequest<'_>,
        object: &Value,
        cluster: &ClusterConfiguration,
    ) -> Result<Vec<String>, Status> {
        let subject = subject(request);
        if trusted(request) || request.old.is_some_and(|old| stays(subject, old, object)) {
            return Ok(Vec::new());
        }
        let namespace = request.namespace.unwrap_or_default();
        Ok(match subject {
            Some(Subject::Namespace) => advice::caps(Scope::Namespace, object, cluster),
            Some(Subject::Node) => advice::caps(Scope::Node, object, cluster),
            Some(Subject::Machine) => {
                advice::machine(&checked(object)?, namespace, cluster, &self.overview)
            }
            Some(Subject::Instance) => {
                advice::instance(&checked(object)?, namespace, cluster, &self.overview)
            }
            Some(Subject::KubeVirt) => advice::kubevirt(&checked(object)?, cluster),
            _ => Vec::new(),
        })
    }
}

impl Admission for KubeVirtAdmission {
    fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<Vec<String>, Status> {
        match subject(request) {
            Some(Subject::Machine) => {
                if let Some(mut machine) = typed::<VirtualMachine>(object) {
                    let old = request.old.and_then(typed);
                    defaults::virtual_machine(
                        &mut machine,
                        old.as_ref(),
                        &self.cluster(),
                        &(self.identity)(),
                    );
                    replace(object, "spec", &machine.spec)?;
                }
            }
            Some(Subject::Instance) if request.operation == Operation::Create => {
                if let Some(mut instance) = typed::<VirtualMachineInstance>(object) {
                    let now = jiff::Timestamp::now();
                    if !trusted(request) {
                        instance.status = None;
                    }
                    defaults::virtual_machine_instance(
                        &mut instance,
                        &self.cluster(),
                        &(self.identity)(),
                        now,
                    );
                    replace(object, "spec", &instance.spec)?;
                    replace(object, "status", &instance.status)?;
                    let metadata = &mut object["metadata"];
                    replace(metadata, "finalizers", &instance.metadata.finalizers)?;
                    if let Some(annotations) = &instance.metadata.annotations {
                        replace(metadata, "annotations", annotations)?;
                    }
                }
            }
            // As in KubeVirt: a stranger's write to the status is undone without a word, so that `kubectl replace` works.
            Some(Subject::Instance) if !trusted(request) => {
                match request.old.and_then(|old| old.get("status")) {
                    Some(status) => replace(object, "status", status)?,
                    None => {
                        object.as_object_mut().map(|fields| fields.remove("status"));
                    }
                }
            }
            Some(Subject::Pool) => {
                if let Some(mut pool) = typed::<VirtualMachinePool>(object) {
                    defaults::virtual_machine_pool(&mut pool);
                    replace(&mut object["spec"], "replicas", &pool.spec.replicas)?;
                }
            }
            Some(Subject::LegacyConfiguration) => advice::refuse_unquoted(object)?,
            _ => {}
        }
        Ok(Vec::new())
    }

    fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &Value,
    ) -> Result<Vec<String>, Status> {
        let cluster = self.cluster();
        let causes = match subject(request) {
            None => return Ok(Vec::new()),
            Some(Subject::LegacyConfiguration) => {
                let namespace = request.namespace.unwrap_or_default();
                return Ok(advice::legacy(namespace, object, &cluster));
            }
            Some(Subject::StrayConfiguration) => return Ok(vec![stray(request)]),
            Some(Subject::Namespace | Subject::Node) => {
                return self.warnings(request, object, &cluster);
            }
            Some(Subject::Machine) => {
                let causes = machine_causes(request, object, &cluster)?;
                ("virtualmachine-validator.kubevirt.io", causes)
            }
            Some(Subject::Instance) => {
                let instance = checked::<VirtualMachineInstance>(object)?;
                let old: Option<VirtualMachineInstance> = request.old.map(checked).transpose()?;
                let is_trusted = trusted(request);
                let (webhook, mut causes) = match &old {
                    None => (
                        "virtualmachineinstances-create-validator.kubevirt.io",
                        validate::virtual_machine_instance(&instance, &cluster, is_trusted),
                    ),
                    Some(old) => (
                        "virtualmachineinstances-update-validator.kubevirt.io",
                        validate::virtual_machine_instance_update(old, &instance, is_trusted),
                    ),
                };
                if !is_trusted {
                    let old = old.as_ref().map(|old| &old.metadata);
                    causes.extend(validate::annotations_of_controllers(
                        "metadata",
                        old,
                        &instance.metadata,
                    ));
                }
                (webhook, causes)
            }
            Some(Subject::Snapshot) => {
                let snapshot = checked(object)?;
                let causes = match request.old {
                    None => validate::virtual_machine_snapshot(&snapshot),
                    Some(old) => {
                        validate::virtual_machine_snapshot_update(&checked(old)?, &snapshot)
                    }
                };
                (
                    "virtualmachinesnapshot-validator.snapshot.kubevirt.io",
                    causes,
                )
            }
            Some(Subject::Restore) => {
                let restore = checked(object)?;
                let causes = match request.old {
                    None => validate::virtual_machine_restore(&restore),
                    Some(old) => validate::virtual_machine_restore_update(&checked(old)?, &restore),
                };
                (
                    "virtualmachinerestore-validator.snapshot.kubevirt.io",
                    causes,
                )
            }
            Some(Subject::Pool) => {
                let causes = pool_causes(request, object, &cluster)?;
                ("virtualmachinepool-validator.kubevirt.io", causes)
            }
            Some(Subject::KubeVirt) => (
                "kubevirt-validator.kubevirt.io",
                validate::kubevirt(&checked::<KubeVirt>(object)?),
            ),
        };
        match Denial::of(causes.1) {
            None => self.warnings(request, object, &cluster),
            Some(denial) => Err(refusal(causes.0, request, &denial)),
        }
    }
}

/// What is wrong with a machine.
fn machine_causes(
    request: &AdmissionRequest<'_>,
    object: &Value,
    cluster: &ClusterConfiguration,
) -> Result<Vec<Cause>, Status> {
    let machine = checked::<VirtualMachine>(object)?;
    let old: Option<VirtualMachine> = request.old.map(checked).transpose()?;
    let mut causes = match &old {
        None => validate::virtual_machine(&machine, cluster),
        Some(old) => validate::virtual_machine_update(old, &machine, cluster),
    };
    if !trusted(request) {
        let lock = old
            .iter()
            .flat_map(|old| validate::machine_lock(old, &machine));
        causes.extend(lock);
        causes.extend(of_controllers(old.as_ref(), &machine));
    }
    Ok(causes)
}

/// What is wrong with a pool.
fn pool_causes(
    request: &AdmissionRequest<'_>,
    object: &Value,
    cluster: &ClusterConfiguration,
) -> Result<Vec<Cause>, Status> {
    let pool = checked::<VirtualMachinePool>(object)?;
    let old: Option<VirtualMachinePool> = request.old.map(checked).transpose()?;
    let mut causes = match &old {
        None => validate::virtual_machine_pool(&pool, cluster),
        Some(old) => validate::virtual_machine_pool_update(old, &pool, cluster),
    };
    if !trusted(request) {
        causes.extend(validate::pool_annotations_of_controllers(
            old.as_ref(),
            &pool,
        ));
    }
    Ok(causes)
}

/// What is wrong with the annotations of a machine and its template that only controllers write.
fn of_controllers(old: Option<&VirtualMachine>, machine: &VirtualMachine) -> Vec<Cause> {
    let own = validate::annotations_of_controllers(
        "metadata",
        old.map(|old| &old.metadata),
        &machine.metadata,
    );
    let template = |machine: &VirtualMachine| {
        let template = machine.spec.template.clone();
        template.and_then(|it| it.metadata).unwrap_or_default()
    };
    let before = old.map(template);
    let of_template = validate::annotations_of_controllers(
        "spec.template.metadata",
        before.as_ref(),
        &template(machine),
    );
    own.into_iter().chain(of_template).collect()
}

fn replace(object: &mut Value, field: &str, with: &impl serde::Serialize) -> Result<(), Status> {
    object[field] = serde_json::to_value(with).map_err(Status::internal)?;
    Ok(())
}

/// The answer as kube-apiserver makes it out of a webhook's denial.
fn refusal(webhook: &str, request: &AdmissionRequest<'_>, denial: &Denial) -> Status {
    let causes = denial.causes.iter().map(
        |Cause {
             reason,
             message,
             field,
         }| { apiserver::Cause::new(reason.to_string(), field.clone(), message.clone()) },
    );
    let message = format!(
        "admission webhook \"{webhook}\" denied the request: {}",
        denial.message
    );
    let mut status = Status::invalid(
        request.group,
        request.resource,
        request.name.unwrap_or_default(),
        causes.collect(),
    );
    status.message = message;
    status
}

/// A ConfigMap with the legacy name in a namespace of which it is not read.
fn stray(request: &AdmissionRequest<'_>) -> String {
    let (name, namespace) = (names::CONFIG_MAP, request.namespace.unwrap_or_default());
    format!(
        "ConfigMap {namespace}/{name} has no effect; the ones that are read are {}/{name} and {}/{name}",
        names::NAMESPACE_OPENSHIFT_CNV,
        names::NAMESPACE_KUBEVIRT
    )
}

#[cfg(test)]
mod tests;
