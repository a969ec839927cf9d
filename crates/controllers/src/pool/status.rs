//! What a pool says of itself.

use crate::event::Fact;
use api::condition::{self, Condition};
use api::pool::{VirtualMachinePool, VirtualMachinePoolStatus, conditions};
use api::virtual_machine::VirtualMachine;
use jiff::Timestamp;
use std::sync::Arc;

/// Why something that was decided could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// One CamelCase word, KubeVirt's.
    pub(super) reason: &'static str,
    /// A sentence.
    pub(super) message: String,
}

/// The status of `pool`, which has these machines, and what is to be told beside it.
pub(super) fn status(
    pool: &VirtualMachinePool,
    members: &[Arc<VirtualMachine>],
    failure: Option<&Failure>,
    now: Timestamp,
) -> (VirtualMachinePoolStatus, Vec<Fact>) {
    let known = pool.status.clone().unwrap_or_default();
    let mut facts = Vec::new();
    let mut told = known.conditions;
    let failed = condition::is_true(&told, conditions::REPLICA_FAILURE);
    match failure {
        Some(Failure { reason, message }) => {
            let condition = Condition::new(conditions::REPLICA_FAILURE, true, now);
            condition::set(&mut told, condition.because(reason, message));
            if !failed {
                facts.push(Fact::warning(reason, message));
            }
        }
        None => drop(condition::remove(&mut told, conditions::REPLICA_FAILURE)),
    }
    let paused = condition::is_true(&told, conditions::REPLICA_PAUSED);
    match (paused, pool.spec.is_paused()) {
        (false, true) => {
            let condition = Condition::new(conditions::REPLICA_PAUSED, true, now);
            let condition = condition.because("SuccessfulPaused", "Pool controller is paused");
            condition::set(&mut told, condition);
            facts.push(Fact::normal("SuccessfulPaused", "Pool is paused"));
        }
        (true, false) => {
            condition::remove(&mut told, conditions::REPLICA_PAUSED);
            facts.push(Fact::normal("SuccessfulResume", "Pool is unpaused"));
        }
        (true, true) | (false, false) => {}
    }
    let ready = members.iter().filter(|vm| is_ready(vm)).count();
    let status = VirtualMachinePoolStatus {
        replicas: count(members.len()),
        ready_replicas: count(ready),
        conditions: told,
        label_selector: pool.spec.selector().ok().map(|it| it.to_string()),
    };
    (status, facts)
}

fn is_ready(vm: &VirtualMachine) -> bool {
    let status = vm.status.as_ref();
    status.is_some_and(|status| condition::is_true(&status.conditions, "Ready"))
}

fn count(machines: usize) -> i32 {
    i32::try_from(machines).unwrap_or(i32::MAX)
}
