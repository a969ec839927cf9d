//! A configuration that was read in; what the KubeVirt object says of it, and what people are told,
//! out.

use crate::event::Fact;
use api::accelerator::Problem;
use api::condition::{self, Condition};
use api::configuration::ClusterConfiguration;
use api::hyper_converged::{HyperConverged, HyperConvergedStatus};
use api::kubevirt::{EmulationStatus, KubeVirt, KubeVirtStatus};
use api::names::annotations::HYPER_CONVERGED_PATCH;
use api::names::{CONFIG_MAP, conditions::EMULATION_CONFIGURATION};
use jiff::Timestamp;
use kube::ResourceExt as _;

/// On HyperConverged: its annotation changes what it otherwise manages.
const TAINTED: &str = "TaintedConfiguration";

/// The version reported of everything: all of it is one program.
pub const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// The status of the KubeVirt object under `configuration`.
pub(super) fn status(
    kubevirt: &KubeVirt,
    configuration: &ClusterConfiguration,
    now: Timestamp,
) -> KubeVirtStatus {
    let mut status = kubevirt.status.clone().unwrap_or_default();
    status.phase = Some("Deployed".to_owned());
    status.observed_generation = kubevirt.metadata.generation;
    status.operator_version = Some(VERSION.to_owned());
    status.target_kubevirt_version = Some(VERSION.to_owned());
    status.observed_kubevirt_version = Some(VERSION.to_owned());
    status.default_architecture = Some(configuration.architecture.clone());
    status.emulation = Some(EmulationStatus {
        problems: configuration.problems.clone(),
        ..configuration.emulation.status()
    });
    status.effective_configuration = configuration.effective();
    let ready = ("AllComponentsReady", "All components are ready.");
    let standing = [
        ("Available", true, ready),
        ("Progressing", false, ready),
        ("Degraded", false, ready),
        (
            "Created",
            true,
            ("AllResourcesCreated", "All resources were created."),
        ),
    ];
    for (type_, is, (reason, message)) in standing {
        let wanted = Condition::new(type_, is, now).because(reason, message);
        condition::set(&mut status.conditions, wanted);
    }
    condition::set(&mut status.conditions, understood(configuration, now));
    status
}

/// Whether all that is written about emulation was understood and agrees; which place decided, in
/// any case.
fn understood(configuration: &ClusterConfiguration, now: Timestamp) -> Condition {
    let emulation = &configuration.emulation;
    let decided = format!(
        "emulation policy {}, decided by {}",
        emulation.policy, emulation.decided_by
    );
    let problems = &emulation.problems;
    let Some(worst) = problems.iter().min_by_key(|problem| severity(problem)) else {
        return Condition::new(EMULATION_CONFIGURATION, true, now).because("Understood", decided);
    };
    let told: Vec<&str> = problems.iter().map(|it| it.message.as_str()).collect();
    let message = format!("{decided}; {}", told.join("; "));
    Condition::new(EMULATION_CONFIGURATION, false, now).because(&worst.reason, message)
}

/// The status of a HyperConverged object whose annotation changes KubeVirt's configuration, as its
/// own operator would warn of it.
pub(super) fn tainted(object: &HyperConverged, now: Timestamp) -> HyperConvergedStatus {
    let mut status = object.status.clone().unwrap_or_default();
    if object.annotations().contains_key(HYPER_CONVERGED_PATCH) {
        let message = "Unsupported feature was activated via an HCO annotation";
        let tainted =
            Condition::new(TAINTED, true, now).because("UnsupportedFeatureAnnotation", message);
        condition::set(&mut status.conditions, tainted);
    } else {
        condition::remove(&mut status.conditions, TAINTED);
    }
    status
}

/// Smaller is worse.
fn severity(problem: &Problem) -> u8 {
    match problem.reason.as_str() {
        "InvalidValue" => 0,
        "Conflict" => 1,
        "Misspelt" => 2,
        "UnknownKey" => 3,
        _ => 4,
    }
}

/// The event of a problem.
pub(super) fn fact(problem: &Problem) -> Fact {
    let reason = match problem.reason.as_str() {
        "Conflict" => "ConflictingConfiguration",
        "NotServed" => "ConfigurationNotServed",
        _ => "InvalidConfiguration",
    };
    Fact::warning(reason, problem.message.clone())
}

/// Whether a problem is about the ConfigMap of a namespace, and should be told there too.
pub(super) fn concerns_config_map(problem: &Problem, namespace: &str) -> bool {
    problem
        .message
        .contains(&format!("ConfigMap {namespace}/{CONFIG_MAP} "))
}

/// The problems that the KubeVirt object does not tell of yet.
pub(super) fn untold<'a>(
    kubevirt: Option<&KubeVirt>,
    configuration: &'a ClusterConfiguration,
) -> Vec<&'a Problem> {
    let emulation = kubevirt.and_then(|it| it.status.as_ref()?.emulation.as_ref());
    let told = emulation
        .map(|it| it.problems.as_slice())
        .unwrap_or_default();
    configuration
        .problems
        .iter()
        .filter(|problem| !told.contains(problem))
        .collect()
}

/// The event of a policy that differs from the recorded one; none at the very first.
pub(super) fn policy_changed(
    kubevirt: &KubeVirt,
    configuration: &ClusterConfiguration,
) -> Option<Fact> {
    let recorded = kubevirt.status.as_ref()?.emulation.as_ref()?;
    let now = configuration.emulation.status();
    (recorded.policy != now.policy).then(|| {
        let message = format!(
            "The emulation policy is now {}, decided by {}; it was {}, decided by {}",
            now.policy, now.decided_by, recorded.policy, recorded.decided_by
        );
        Fact::normal("EmulationPolicyChanged", message)
    })
}
