//! Scripts: what happens to a cluster, one line each. A seed writes one; people can too.

use std::fmt;
use std::str::FromStr;

use api::accelerator::EmulationPolicy;

use crate::random::Random;

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Whether the node has KVM; only at the start.
    Hardware(bool),
    /// Percent of the controllers' and the node's writes that fail.
    Faults(u64),
    /// Create a VM with a run strategy.
    Create(String, String),
    /// Delete a VM.
    Delete(String),
    /// Give a VM another run strategy.
    Strategy(String, String),
    /// Change a VM's template.
    Template(String),
    /// The verb `start`.
    Start(String),
    /// The verb `stop`.
    Stop(String),
    /// The verb `restart`.
    Restart(String),
    /// The guest shuts down by itself.
    Shutdown(String),
    /// QEMU crashes.
    Crash(String),
    /// From now on the guest hears no request to stop, and must be killed.
    Ignore(String),
    /// From now on no guest of this VM starts, until the next `settle`.
    Unstartable(String),
    /// From now on the node does not get to starting this VM's guests, until the next `settle`.
    Slow(String),
    /// Delete the VM's launcher pods, with grace.
    DeletePod(String),
    /// Delete the VM's instance.
    DeleteInstance(String),
    /// Set the emulation switch in a place; none takes it away.
    Switch(Place, Option<bool>),
    /// Cap what is permitted in the namespace or on the node; none takes the cap away.
    Cap(Capped, Option<EmulationPolicy>),
    /// Give a VM a policy of its own; none takes it away.
    Policy(String, Option<EmulationPolicy>),
    /// The node's hardware virtualization works from now on, or does not; its agent says so.
    Verdict(bool),
    /// The node agent dies, with its memory, and comes back; machines run on.
    RestartAgent,
    /// The controllers die in the middle of what they do, and come back.
    RestartControllers,
    /// Seconds pass.
    Pass(i64),
    /// Everybody works until so many writes were done, or nobody has anything to do.
    Run(u64),
    /// Faults stop; everything must come to rest, as it should be.
    Settle,
}

/// Where the emulation switch can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The ConfigMap `openshift-cnv/kubevirt-config`.
    ConfigMap,
    /// The annotation of the HyperConverged object.
    HyperConverged,
    /// The KubeVirt object.
    KubeVirt,
}

const PLACES: [(Place, &str); 3] = [
    (Place::ConfigMap, "config-map"),
    (Place::HyperConverged, "hyper-converged"),
    (Place::KubeVirt, "kubevirt"),
];

/// What a cap can be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capped {
    /// The namespace of all VMs.
    Namespace,
    /// The node.
    Node,
}

fn policy_name(policy: Option<EmulationPolicy>) -> String {
    policy.map_or("clear".to_owned(), |policy| policy.to_string())
}

fn policy(line: &str, name: &str) -> Result<Option<EmulationPolicy>, String> {
    match (name, EmulationPolicy::parse(name)) {
        ("clear", _) => Ok(None),
        (_, Some(policy)) => Ok(Some(policy)),
        (_, None) => Err(format!("{line:?}: {name} is no policy")),
    }
}

const STRATEGIES: [&str; 5] = ["Always", "RerunOnFailure", "Manual", "Once", "Halted"];

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is = |yes: bool, one, other| if yes { one } else { other };
        match self {
            Self::Hardware(kvm) => write!(formatter, "hardware {}", is(*kvm, "kvm", "none")),
            Self::Faults(percent) => write!(formatter, "faults {percent}"),
            Self::Create(vm, strategy) => write!(formatter, "create {vm} {strategy}"),
            Self::Delete(vm) => write!(formatter, "delete {vm}"),
            Self::Strategy(vm, strategy) => write!(formatter, "strategy {vm} {strategy}"),
            Self::Template(vm) => write!(formatter, "template {vm}"),
            Self::Start(vm) => write!(formatter, "start {vm}"),
            Self::Stop(vm) => write!(formatter, "stop {vm}"),
            Self::Restart(vm) => write!(formatter, "restart {vm}"),
            Self::Shutdown(vm) => write!(formatter, "shutdown {vm}"),
            Self::Crash(vm) => write!(formatter, "crash {vm}"),
            Self::Ignore(vm) => write!(formatter, "ignore {vm}"),
            Self::Unstartable(vm) => write!(formatter, "unstartable {vm}"),
            Self::Slow(vm) => write!(formatter, "slow {vm}"),
            Self::DeletePod(vm) => write!(formatter, "delete-pod {vm}"),
            Self::DeleteInstance(vm) => write!(formatter, "delete-instance {vm}"),
            Self::Switch(place, value) => {
                let place = PLACES.iter().find(|(it, _)| it == place);
                let place = place.map_or("", |(_, name)| name);
                let value = value.map_or("clear", |on| is(on, "true", "false"));
                write!(formatter, "switch {place} {value}")
            }
            Self::Cap(capped, policy) => {
                let capped = is(*capped == Capped::Node, "node", "namespace");
                write!(formatter, "cap {capped} {}", policy_name(*policy))
            }
            Self::Policy(vm, policy) => write!(formatter, "policy {vm} {}", policy_name(*policy)),
            Self::Verdict(usable) => {
                write!(formatter, "verdict {}", is(*usable, "usable", "broken"))
            }
            Self::RestartAgent => write!(formatter, "restart-agent"),
            Self::RestartControllers => write!(formatter, "restart-controllers"),
            Self::Pass(seconds) => write!(formatter, "pass {seconds}"),
            Self::Run(writes) => write!(formatter, "run {writes}"),
            Self::Settle => write!(formatter, "settle"),
        }
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |text: &str| text.parse().map_err(|_| format!("{line:?}: no number"));
        Ok(match *words.as_slice() {
            ["hardware", "kvm"] => Self::Hardware(true),
            ["hardware", "none"] => Self::Hardware(false),
            ["faults", percent] => Self::Faults(number(percent)?),
            ["create", vm, strategy] if STRATEGIES.contains(&strategy) => {
                Self::Create(vm.to_owned(), strategy.to_owned())
            }
            ["delete", vm] => Self::Delete(vm.to_owned()),
            ["strategy", vm, strategy] if STRATEGIES.contains(&strategy) => {
                Self::Strategy(vm.to_owned(), strategy.to_owned())
            }
            ["template", vm] => Self::Template(vm.to_owned()),
            ["start", vm] => Self::Start(vm.to_owned()),
            ["stop", vm] => Self::Stop(vm.to_owned()),
            ["restart", vm] => Self::Restart(vm.to_owned()),
            ["shutdown", vm] => Self::Shutdown(vm.to_owned()),
            ["crash", vm] => Self::Crash(vm.to_owned()),
            ["ignore", vm] => Self::Ignore(vm.to_owned()),
            ["unstartable", vm] => Self::Unstartable(vm.to_owned()),
            ["slow", vm] => Self::Slow(vm.to_owned()),
            ["delete-pod", vm] => Self::DeletePod(vm.to_owned()),
            ["delete-instance", vm] => Self::DeleteInstance(vm.to_owned()),
            ["switch", place, value] => {
                let place = PLACES.iter().find(|(_, name)| *name == place);
                let (place, _) = place.ok_or_else(|| format!("{line:?}: no such place"))?;
                let value = match value {
                    "true" => Some(true),
                    "false" => Some(false),
                    "clear" => None,
                    _ => return Err(format!("{line:?}: true, false or clear")),
                };
                Self::Switch(*place, value)
            }
            ["cap", "namespace", cap] => Self::Cap(Capped::Namespace, policy(line, cap)?),
            ["cap", "node", cap] => Self::Cap(Capped::Node, policy(line, cap)?),
            ["policy", vm, own] => Self::Policy(vm.to_owned(), policy(line, own)?),
            ["verdict", "usable"] => Self::Verdict(true),
            ["verdict", "broken"] => Self::Verdict(false),
            ["restart-agent"] => Self::RestartAgent,
            ["restart-controllers"] => Self::RestartControllers,
            ["pass", seconds] => Self::Pass(
                seconds
                    .parse()
                    .map_err(|_| format!("{line:?}: no number"))?,
            ),
            ["run", writes] => Self::Run(number(writes)?),
            ["settle"] => Self::Settle,
            _ => return Err(format!("{line:?} is no action")),
        })
    }
}

/// Reads a script: one action a line, `#` starts a comment.
///
/// # Errors
/// The first line that is none.
pub fn parse(text: &str) -> Result<Vec<Action>, String> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    lines
        .filter(|line| !line.is_empty())
        .map(str::parse)
        .collect()
}

/// A script as text.
pub fn print(script: &[Action]) -> String {
    script.iter().map(|action| format!("{action}\n")).collect()
}

/// Things that happen between two settlements, and settlements in a script: enough to interfere with
/// one another, few enough that CI has time for many seeds.
const LENGTH: u64 = 24;
const ROUNDS: u64 = 2;

/// The names of VMs: few, so that things happen to the same one.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// The script of a seed; always the same one.
pub fn of_seed(seed: u64) -> Vec<Action> {
    let mut random = Random::new(seed);
    let mut script = vec![Action::Hardware(random.below(3) != 0)];
    let mut absent = NAMES.to_vec();
    for _ in 0..ROUNDS {
        script.push(Action::Faults(random.one_of(&[0, 5, 15])));
        for _ in 0..LENGTH {
            script.push(action(&mut random, &mut absent));
            script.push(Action::Run(random.below(14)));
        }
        script.push(Action::Settle);
    }
    script
}

fn action(random: &mut Random, absent: &mut Vec<&'static str>) -> Action {
    let name = random.one_of(&NAMES);
    let vm = name.to_owned();
    let strategy = random.one_of(&STRATEGIES).to_owned();
    let place = random.one_of(&PLACES).0;
    let value = random.one_of(&[Some(true), Some(false), None]);
    if absent.contains(&name) {
        absent.retain(|it| *it != name);
        return Action::Create(vm, strategy);
    }
    let policies = EmulationPolicy::ALL.map(Some);
    match random.below(45) {
        0..=2 => {
            absent.push(name);
            Action::Delete(vm)
        }
        3 => Action::Create(vm, strategy),
        4..=6 => Action::Strategy(vm, strategy),
        7 => Action::Template(vm),
        8..=11 => Action::Start(vm),
        12..=13 => Action::Stop(vm),
        14..=16 => Action::Restart(vm),
        17 => Action::Shutdown(vm),
        18..=20 => Action::Crash(vm),
        21 => Action::Ignore(vm),
        22 => Action::Unstartable(vm),
        23 => Action::DeletePod(vm),
        24 => Action::DeleteInstance(vm),
        25..=27 => Action::Switch(place, value),
        28..=29 => Action::RestartAgent,
        30..=32 => Action::RestartControllers,
        33..=36 => {
            let capped = random.one_of(&[Capped::Namespace, Capped::Node]);
            // Mostly none, or nobody is ever emulated.
            let [first, second, third] = policies;
            let caps = [None, None, None, first, second, third];
            Action::Cap(capped, random.one_of(&caps))
        }
        37..=39 => {
            let [first, second, third] = policies;
            Action::Policy(vm, random.one_of(&[None, first, second, third, third]))
        }
        40..=42 => Action::Verdict(random.below(2) == 0),
        43 => Action::Slow(vm),
        _ => Action::Pass(i64::try_from(random.below(40)).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_script_reads_as_itself() {
        for seed in 0..200 {
            let script = of_seed(seed);
            assert_eq!(parse(&print(&script)).as_ref(), Ok(&script), "seed {seed}");
        }
    }

    #[test]
    fn a_line_that_is_no_action_is_named() {
        let error = parse("settle # fine\ncreate a Sometimes\n").unwrap_err();
        assert_eq!(error, "\"create a Sometimes\" is no action");
    }
}
