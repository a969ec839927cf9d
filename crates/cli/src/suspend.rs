//! suspend and resume: a virtual machine is saved with its memory, and goes on from there.

use std::time::Duration;

use api::condition;
use api::names::{annotations, conditions};
use api::virtual_machine::{PrintableStatus, VirtualMachine};
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use clap::Args;
use futures::StreamExt as _;
use kube::Api;
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::power;

/// Between two looks at a machine that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What to suspend.
#[derive(Args, Clone, Debug)]
pub struct Suspend {
    /// Name of the virtual machine
    name: String,
    #[command(flatten)]
    wait: Wait,
}

/// What to resume.
#[derive(Args, Clone, Debug)]
pub struct Resume {
    /// Name of the virtual machine
    name: String,
    /// Throw away what was saved; it boots then
    #[arg(long)]
    discard: bool,
    #[command(flatten)]
    wait: Wait,
}

/// What a machine is waited for.
#[derive(Args, Clone, Copy, Debug)]
struct Wait {
    /// Only ask for it
    #[arg(long)]
    no_wait: bool,
    /// Seconds after which to stop waiting [default: never]
    #[arg(long, value_name = "SECONDS", conflicts_with = "no_wait")]
    timeout: Option<u64>,
}

/// How far it has come.
#[derive(Debug, PartialEq)]
enum Standing {
    /// This far.
    UnderWay(String),
    /// There, with these words.
    Done(String),
    /// Not, for this reason.
    Failed(String),
}

pub(crate) async fn suspend(connection: &Connection, asked: &Suspend) -> Result<Exit, Failure> {
    let Suspend { name, wait } = asked;
    let name = power::plain(name);
    ask(connection, name, json!("true")).await?;
    if wait.no_wait {
        output::data(&format!("VM {name} was asked to suspend\n"))?;
        return Ok(Exit::Ok);
    }
    follow(connection, name, *wait, |vm, _| suspended(vm)).await
}

pub(crate) async fn resume(connection: &Connection, asked: &Resume) -> Result<Exit, Failure> {
    let Resume {
        name,
        discard,
        wait,
    } = asked;
    let name = power::plain(name);
    if *discard {
        ask(connection, name, json!("discard")).await?;
        output::data(&format!(
            "what was saved of VM {name} is thrown away; it starts as its run strategy says\n"
        ))?;
        return Ok(Exit::Ok);
    }
    ask(connection, name, Value::Null).await?;
    if wait.no_wait {
        output::data(&format!("VM {name} was asked to resume\n"))?;
        return Ok(Exit::Ok);
    }
    follow(connection, name, *wait, resumed).await
}

async fn ask(connection: &Connection, name: &str, value: Value) -> Result<(), Failure> {
    let machines: Api<VirtualMachine> =
        Api::namespaced(connection.client.clone(), &connection.namespace);
    let patch = json!({ "metadata": { "annotations": { annotations::SUSPENDED: value } } });
    let patched = machines
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await;
    match patched {
        Ok(_) => Ok(()),
        Err(error) => {
            let failure = connection.failure(error);
            if failure.exit == Exit::NotFound {
                return Err(power::not_found(connection, name, failure).await);
            }
            Err(failure)
        }
    }
}

async fn follow(
    connection: &Connection,
    name: &str,
    wait: Wait,
    standing: impl Fn(&VirtualMachine, Option<&VirtualMachineInstance>) -> Standing,
) -> Result<Exit, Failure> {
    let machines: Api<VirtualMachine> =
        Api::namespaced(connection.client.clone(), &connection.namespace);
    let instances: Api<VirtualMachineInstance> =
        Api::namespaced(connection.client.clone(), &connection.namespace);
    let until = wait
        .timeout
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut told = String::new();
    // An instance that failed is there for a moment only: its VM makes another one.
    let of_name = WatchParams::default().fields(&format!("metadata.name={name}"));
    let changes = instances.watch(&of_name, "0").await;
    let mut changes = changes.map_err(|error| connection.failure(error))?.boxed();
    let mut failed = None;
    loop {
        let vm = machines.get(name).await;
        let vm = vm.map_err(|error| connection.failure(error))?;
        let vmi = instances.get_opt(name).await;
        let vmi = vmi.map_err(|error| connection.failure(error))?;
        match standing(&vm, failed.as_ref().or(vmi.as_ref())) {
            Standing::Done(words) => {
                output::data(&format!("{words}\n"))?;
                return Ok(Exit::Ok);
            }
            Standing::Failed(words) => return Err(Failure::new(words)),
            Standing::UnderWay(words) if words != told => {
                output::hint(&words);
                told = words;
            }
            Standing::UnderWay(_) => {}
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            let seconds = wait.timeout.unwrap_or_default();
            return Err(Failure::new(format!("{told}: not within {seconds} s")));
        }
        let look = tokio::time::sleep(LOOK_EVERY);
        tokio::pin!(look);
        loop {
            tokio::select! {
                () = &mut look => break,
                Some(change) = changes.next() => if let Ok(WatchEvent::Modified(vmi)) = change
                    && vmi.status.as_ref().is_some_and(|it| it.phase == Some(Phase::Failed))
                {
                    failed = Some(vmi);
                    break;
                }
            }
        }
    }
}

/// How far a machine is on its way to being suspended.
fn suspended(vm: &VirtualMachine) -> Standing {
    let name = vm.metadata.name.as_deref().unwrap_or_default();
    let status = vm.status.clone().unwrap_or_default();
    let told = condition::find(&status.conditions, conditions::SUSPENDED);
    let words = told.and_then(|it| it.message.clone()).unwrap_or_default();
    if status.printable_status == PrintableStatus::Suspended {
        return Standing::Done(format!("VM {name} is suspended: {words}"));
    }
    match told.and_then(|it| it.reason.as_deref()) {
        Some("SaveFailed") => Standing::Failed(format!(
            "VM {name} is not suspended yet: {words}; it is tried again until: anyvirt resume {name}"
        )),
        Some("NothingSaved") => Standing::Failed(format!("VM {name} is not suspended: {words}")),
        _ => Standing::UnderWay(format!("the guest of VM {name} is being saved")),
    }
}

/// How far a machine is on its way to going on.
fn resumed(vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>) -> Standing {
    let name = vm.metadata.name.as_deref().unwrap_or_default();
    let under_way = Standing::UnderWay(format!("VM {name} is about to go on"));
    let Some(status) = vmi.and_then(|vmi| vmi.status.as_ref()) else {
        return under_way;
    };
    let conditions = &status.conditions;
    let resumed = condition::find(conditions, conditions::RESUMED);
    let words = |type_: &str| {
        condition::find(conditions, type_)
            .and_then(|it| it.message.clone())
            .unwrap_or_default()
    };
    match status.phase {
        Some(Phase::Running) => Standing::Done(match resumed {
            Some(_) => format!("VM {name} runs: {}", words(conditions::RESUMED)),
            None => format!("VM {name} runs"),
        }),
        Some(Phase::Failed) => Standing::Failed(format!(
            "VM {name} does not go on: {}; what was saved of it stays until: anyvirt resume {name} --discard",
            words("Synchronized")
        )),
        _ => under_way,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(status: Value) -> VirtualMachine {
        serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
            "metadata": {"name": "web"}, "spec": {"template": {"spec": {"domain": {"devices": {}}}}},
            "status": status,
        }))
        .expect("a VM")
    }

    fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
        json!([{ "type": type_, "status": status, "reason": reason, "message": message }])
    }

    #[test]
    fn a_suspend_is_done_when_the_machine_says_so_and_fails_by_its_words() {
        let told = condition("Suspended", "True", "Saved", "saved at noon");
        let done = vm(json!({ "printableStatus": "Suspended", "conditions": told }));
        assert_eq!(
            suspended(&done),
            Standing::Done("VM web is suspended: saved at noon".to_owned())
        );
        let told = condition("Suspended", "False", "SaveFailed", "no room");
        let failed = vm(json!({ "printableStatus": "Running", "conditions": told }));
        assert!(matches!(suspended(&failed), Standing::Failed(words) if words.contains("no room")));
        let told = condition("Suspended", "False", "Saving", "its guest is being saved");
        let saving = vm(json!({ "printableStatus": "Running", "conditions": told }));
        assert!(matches!(suspended(&saving), Standing::UnderWay(_)));
    }

    #[test]
    fn a_resume_is_done_when_the_guest_runs_and_fails_by_its_words() {
        let vm = vm(json!({}));
        let vmi = |phase: &str, conditions: Value| -> VirtualMachineInstance {
            serde_json::from_value(json!({
                "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
                "metadata": {"name": "web"}, "spec": {"domain": {"devices": {}}},
                "status": { "phase": phase, "conditions": conditions },
            }))
            .expect("a VMI")
        };
        assert!(matches!(resumed(&vm, None), Standing::UnderWay(_)));
        let told = condition("Resumed", "True", "ClockSet", "it goes on from noon");
        let words = "VM web runs: it goes on from noon".to_owned();
        assert_eq!(
            resumed(&vm, Some(&vmi("Running", told))),
            Standing::Done(words)
        );
        let told = condition("Synchronized", "False", "x", "its file state is damaged");
        let failed = resumed(&vm, Some(&vmi("Failed", told)));
        assert!(
            matches!(&failed, Standing::Failed(words) if words.contains("damaged") && words.contains("--discard")),
            "{failed:?}"
        );
    }
}
