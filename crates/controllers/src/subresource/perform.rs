//! Fetches what a decision needs, and writes what it asks for.

use super::decide::{self, Change};
use super::{Refusal, RestartOptions, StartOptions, StopOptions};
use crate::engine::causes;
use api::virtual_machine::{RunStrategy, StateChangeAction, StateChangeRequest, VirtualMachine};
use api::virtual_machine_instance::VirtualMachineInstance;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

/// Tries against other writers. The controller writes a VM's status a few times per start, each once,
/// so the second or third try meets nobody.
const TRIES: u32 = 10;

/// Starts the VM `name`.
///
/// # Errors
/// Why it may not be started, in KubeVirt's words.
pub async fn start(
    client: &Client,
    namespace: &str,
    name: &str,
    options: &StartOptions,
) -> Result<(), Refusal> {
    let dry = is_dry(&options.dry_run)?;
    change(client, namespace, name, dry, |vm, vmi| {
        decide::start(vm, vmi, options)
    })
    .await
}

/// Stops the VM `name`.
///
/// # Errors
/// Why it may not be stopped, in KubeVirt's words.
pub async fn stop(
    client: &Client,
    namespace: &str,
    name: &str,
    options: &StopOptions,
) -> Result<(), Refusal> {
    let dry = is_dry(&options.dry_run)?;
    change(client, namespace, name, dry, |vm, vmi| {
        decide::stop(vm, vmi, options)
    })
    .await
}

/// Restarts the VM `name`.
///
/// # Errors
/// Why it may not be restarted, in KubeVirt's words.
pub async fn restart(
    client: &Client,
    namespace: &str,
    name: &str,
    options: &RestartOptions,
) -> Result<(), Refusal> {
    let dry = is_dry(&options.dry_run)?;
    change(client, namespace, name, dry, |vm, vmi| {
        decide::restart(vm, vmi, options)
    })
    .await
}

/// The instance `name`, for verbs that the node performs.
///
/// # Errors
/// `NotFound` if there is none.
pub async fn instance(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<VirtualMachineInstance, Refusal> {
    let vmis: Api<VirtualMachineInstance> = Api::namespaced(client.clone(), namespace);
    let found = vmis.get_opt(name).await.map_err(|error| refused(&error))?;
    found.ok_or_else(|| Refusal::not_found("virtualmachineinstance", name))
}

/// Whether nothing shall be changed.
///
/// # Errors
/// A `dryRun` other than `All`, by name.
pub fn is_dry(dry_run: &[String]) -> Result<bool, Refusal> {
    match dry_run.iter().find(|value| *value != "All") {
        Some(other) => Err(Refusal::bad_request(&format!(
            "dryRun: \"{other}\" is not supported: use All, or leave it out"
        ))),
        None => Ok(!dry_run.is_empty()),
    }
}

/// Looks at the VM, decides and writes, again if somebody else wrote in between.
async fn change(
    client: &Client,
    namespace: &str,
    name: &str,
    dry: bool,
    decide: impl Fn(&VirtualMachine, Option<&VirtualMachineInstance>) -> Result<Vec<Change>, Refusal>,
) -> Result<(), Refusal> {
    let vms: Api<VirtualMachine> = Api::namespaced(client.clone(), namespace);
    let vmis: Api<VirtualMachineInstance> = Api::namespaced(client.clone(), namespace);
    let mut tries = 1;
    'again: loop {
        let vm = vms.get_opt(name).await.map_err(|error| refused(&error))?;
        let vm = vm.ok_or_else(|| Refusal::not_found("virtualmachine", name))?;
        let vmi = vmis.get_opt(name).await.map_err(|error| refused(&error))?;
        for change in decide(&vm, vmi.as_ref())? {
            match write(&vms, &vmis, &vm, &change, dry).await {
                Ok(()) => {}
                Err(kube::Error::Api(status)) if status.is_conflict() && tries < TRIES => {
                    tries += 1;
                    continue 'again;
                }
                Err(error) => return Err(refused(&error)),
            }
        }
        return Ok(());
    }
}

async fn write(
    vms: &Api<VirtualMachine>,
    vmis: &Api<VirtualMachineInstance>,
    vm: &VirtualMachine,
    change: &Change,
    dry: bool,
) -> kube::Result<()> {
    let params = PatchParams {
        dry_run: dry,
        ..PatchParams::default()
    };
    let name = vm.name_any();
    // A request to start must not overwrite what others ask meanwhile; a stop replaces it all, and a
    // strategy depends on nothing.
    let replaces = |requests: &[StateChangeRequest]| matches!(requests, [only] if only.action == StateChangeAction::Stop);
    let guard = match change {
        Change::Requests(requests) if !replaces(requests) => {
            json!({ "uid": vm.uid(), "resourceVersion": vm.resource_version() })
        }
        Change::Requests(_) | Change::Strategy(_) | Change::GracePeriod(_) | Change::Resume => {
            json!({ "uid": vm.uid() })
        }
    };
    match change {
        Change::Strategy(strategy) => {
            let patch = json!({ "metadata": guard, "spec": strategy_patch(vm, *strategy) });
            vms.patch(&name, &params, &Patch::Merge(&patch))
                .await
                .map(drop)
        }
        Change::Resume => {
            let mut guard = guard;
            guard["annotations"] = json!({ api::names::annotations::SUSPENDED: null });
            let patch = json!({ "metadata": guard });
            vms.patch(&name, &params, &Patch::Merge(&patch))
                .await
                .map(drop)
        }
        Change::Requests(requests) => {
            let patch = json!({ "metadata": guard, "status": { "stateChangeRequests": requests } });
            vms.patch_status(&name, &params, &Patch::Merge(&patch))
                .await
                .map(drop)
        }
        Change::GracePeriod(seconds) => {
            let patch = json!({ "spec": { "terminationGracePeriodSeconds": seconds } });
            match vmis.patch(&name, &params, &Patch::Merge(&patch)).await {
                // It ended meanwhile, which needs no grace.
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                other => other.map(drop),
            }
        }
    }
}

/// The change of a VM's spec that makes `strategy` its strategy, in the field its owner uses.
pub(crate) fn strategy_patch(vm: &VirtualMachine, strategy: RunStrategy) -> Value {
    match vm.spec.running {
        Some(_) => json!({ "running": strategy == RunStrategy::Always }),
        None => json!({ "runStrategy": strategy }),
    }
}

fn refused(error: &kube::Error) -> Refusal {
    match error {
        kube::Error::Api(status) => Refusal {
            code: status.code,
            reason: reason(&status.reason),
            message: status.message.clone(),
        },
        other => Refusal::internal(&causes(other)),
    }
}

/// The API server's reason as one that lives as long as the program.
fn reason(reason: &str) -> &'static str {
    const KNOWN: [&str; 10] = [
        "AlreadyExists",
        "BadRequest",
        "Conflict",
        "Expired",
        "Forbidden",
        "Invalid",
        "NotFound",
        "ServiceUnavailable",
        "Timeout",
        "TooManyRequests",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == reason)
        .unwrap_or("InternalError")
}
