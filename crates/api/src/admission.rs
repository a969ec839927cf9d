//! What happens to a request before it is stored: defaults, then rules. For whoever serves the API:
//! an object as JSON goes in, and out comes the object to store, or the causes of its refusal.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::configuration::ClusterConfiguration;
use crate::defaults::{self, FirmwareIdentity};
use crate::kubevirt::KubeVirt;
use crate::names;
use crate::validate::{self, Cause, Reason};
use crate::virtual_machine::VirtualMachine;
use crate::virtual_machine_instance::VirtualMachineInstance;

/// The kinds that are looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `virtualmachines`
    VirtualMachine,
    /// `virtualmachineinstances`
    VirtualMachineInstance,
    /// `kubevirts`
    KubeVirt,
}

impl Kind {
    /// The kind of a resource, if it is looked at.
    pub fn of(group: &str, resource: &str) -> Option<Self> {
        match (group, resource) {
            (names::GROUP, "virtualmachines") => Some(Self::VirtualMachine),
            (names::GROUP, "virtualmachineinstances") => Some(Self::VirtualMachineInstance),
            (names::GROUP, "kubevirts") => Some(Self::KubeVirt),
            _ => None,
        }
    }
}

/// Who asks, and under which circumstances.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The cluster's configuration.
    pub cluster: &'a ClusterConfiguration,
    /// The writer is one of KubeVirt's own components: the controllers or a node agent.
    pub trusted: bool,
    /// Now.
    pub now: Timestamp,
    /// A fresh random identity, used for a machine that has none.
    pub identity: FirmwareIdentity,
}

/// Fills in what the user left out; `old` is the stored object on an update. An object that cannot
/// be decoded stays as it is: the schema or [`validate()`] says what is wrong with it.
pub fn mutate(kind: Kind, object: &mut Value, old: Option<&Value>, context: &Context<'_>) {
    match kind {
        Kind::VirtualMachine => {
            let old: Option<VirtualMachine> = old.and_then(|old| decode(old).ok());
            rewrite(object, |machine: &mut VirtualMachine| {
                defaults::virtual_machine(
                    machine,
                    old.as_ref(),
                    context.cluster,
                    &context.identity,
                );
            });
        }
        Kind::VirtualMachineInstance => match old {
            None => rewrite(object, |instance: &mut VirtualMachineInstance| {
                if !context.trusted {
                    instance.status = None;
                }
                defaults::virtual_machine_instance(
                    instance,
                    context.cluster,
                    &context.identity,
                    context.now,
                );
            }),
            // There is no status subresource, so the status of others is restored in silence.
            Some(old) if !context.trusted => match (old.get("status"), object.as_object_mut()) {
                (Some(status), Some(object)) => {
                    object.insert("status".to_owned(), status.clone());
                }
                (None, Some(object)) => {
                    object.remove("status");
                }
                (_, None) => {}
            },
            Some(_) => {}
        },
        Kind::KubeVirt => {}
    }
}

/// What is wrong with an object whose defaults were filled in; empty if it may be stored.
pub fn validate(
    kind: Kind,
    object: &Value,
    old: Option<&Value>,
    context: &Context<'_>,
) -> Vec<Cause> {
    let outcome = match kind {
        Kind::VirtualMachine => decode::<VirtualMachine>(object).map(|new| {
            // A machine that is going away may be written whatever it holds: its finalizers must
            // come off, and its spec has no effect any more.
            let leaves = new.metadata.deletion_timestamp.is_some();
            let unchanged = old
                .and_then(|old| decode::<VirtualMachine>(old).ok())
                .is_some_and(|old| old.spec == new.spec);
            if leaves || (unchanged && context.trusted) {
                return Vec::new();
            }
            validate::virtual_machine(&new, context.cluster)
        }),
        Kind::VirtualMachineInstance => match old.map(decode::<VirtualMachineInstance>) {
            None => decode(object).map(|new| {
                validate::virtual_machine_instance(&new, context.cluster, context.trusted)
            }),
            Some(old) => decode(object).and_then(|new| {
                Ok(validate::virtual_machine_instance_update(
                    &old?,
                    &new,
                    context.trusted,
                ))
            }),
        },
        Kind::KubeVirt => decode::<KubeVirt>(object).map(|new| validate::kubevirt(&new)),
    };
    outcome.unwrap_or_else(|cause| vec![cause])
}

fn rewrite<T: DeserializeOwned + serde::Serialize>(
    object: &mut Value,
    change: impl FnOnce(&mut T),
) {
    let Ok(mut typed) = decode::<T>(object) else {
        return;
    };
    change(&mut typed);
    let Ok(mut filled) = serde_json::to_value(typed) else {
        return;
    };
    // The version the client wrote in stays: the types know only the stored one.
    for key in ["apiVersion", "kind"] {
        if let Some(written) = object.get(key) {
            filled[key] = written.clone();
        }
    }
    *object = filled;
}

/// Both served versions have the same fields, and a type reads either.
fn decode<T: DeserializeOwned>(object: &Value) -> Result<T, Cause> {
    serde_json::from_value(object.clone()).map_err(|error| Cause {
        reason: Reason::FieldValueInvalid,
        message: format!("spec cannot be read: {error}"),
        field: "spec".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn context(cluster: &ClusterConfiguration, trusted: bool) -> Context<'_> {
        Context {
            cluster,
            trusted,
            now: Timestamp::UNIX_EPOCH,
            identity: FirmwareIdentity {
                uuid: "5d307ca9-b3ef-428c-8861-06e72d69f223".to_owned(),
                serial: "s".to_owned(),
            },
        }
    }

    fn instance() -> Value {
        json!({
            "apiVersion": "kubevirt.io/v1alpha3",
            "kind": "VirtualMachineInstance",
            "metadata": {"name": "a", "namespace": "b", "managedFields": [{"manager": "kubectl"}]},
            "spec": {"domain": {"memory": {"guest": "64Mi"}, "devices": {}}, "livenessProbe": {"a": 1}},
            "status": {"phase": "Running"},
        })
    }

    #[test]
    fn a_new_instance_is_filled_in_and_keeps_version_and_fields() {
        let cluster = ClusterConfiguration::of_architecture("amd64");
        let mut object = instance();
        mutate(
            Kind::VirtualMachineInstance,
            &mut object,
            None,
            &context(&cluster, false),
        );
        assert_eq!(object["apiVersion"], "kubevirt.io/v1alpha3");
        assert_eq!(object["status"]["phase"], "Pending");
        assert_eq!(object["spec"]["livenessProbe"], json!({"a": 1}));
        assert_eq!(object["metadata"]["managedFields"][0]["manager"], "kubectl");
        let causes = validate(
            Kind::VirtualMachineInstance,
            &object,
            None,
            &context(&cluster, false),
        );
        assert_eq!(causes.len(), 1, "{causes:?}");
        assert_eq!(causes[0].field, "spec.livenessProbe");
    }

    #[test]
    fn only_the_house_writes_an_instances_status() {
        let cluster = ClusterConfiguration::of_architecture("amd64");
        let old = instance();
        for (trusted, expected) in [(false, "Running"), (true, "Failed")] {
            let mut object = instance();
            object["status"]["phase"] = json!("Failed");
            let context = context(&cluster, trusted);
            mutate(
                Kind::VirtualMachineInstance,
                &mut object,
                Some(&old),
                &context,
            );
            assert_eq!(object["status"]["phase"], expected);
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_refused_and_left_alone() {
        let cluster = ClusterConfiguration::of_architecture("amd64");
        let mut object = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {}, "spec": 7});
        let before = object.clone();
        mutate(
            Kind::VirtualMachine,
            &mut object,
            None,
            &context(&cluster, false),
        );
        assert_eq!(object, before);
        let causes = validate(
            Kind::VirtualMachine,
            &object,
            None,
            &context(&cluster, false),
        );
        assert_eq!(causes[0].field, "spec");
    }
}
