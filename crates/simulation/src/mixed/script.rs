//! Scripts of a mixed cluster: what happens when, one line each. A seed writes one; people can too.
//!
//! ```text
//! 0 switch Software
//! 0 namespace team-0 cap=Hardware tenancy=Deny
//! 0 node n0 arch=amd64 emulates=arm64 cpus=16 memory=64 kvm=liar cap=None
//! 120 vm v7 namespace=team-0 policy=Software forced=tcg arch=arm64 cpus=2 memory=4 simple
//! 900 kvm n0 usable
//! 950 lose n0
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use api::accelerator::{Accelerator, EmulationPolicy};

/// One thing that happens, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Milliseconds since the beginning.
    pub at: u64,
    /// What.
    pub action: Action,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The cluster's policy.
    Switch(EmulationPolicy),
    /// A namespace's labels, as text: people mistype them.
    Namespace {
        /// Which.
        name: String,
        /// Its cap.
        cap: Option<String>,
        /// Whether its emulated guests share nodes with those of others.
        tenancy: Option<String>,
    },
    /// A node joins.
    Node(NodeLine),
    /// A node's hardware virtualization changes.
    Kvm(String, Kvm),
    /// A node's cap.
    CapNode(String, Option<String>),
    /// Somebody has a node's hardware looked at again.
    Probe(String),
    /// A node loses its power, with every guest on it.
    Lose(String),
    /// It is back.
    Return(String),
    /// A node's agent dies and comes back; its guests live on.
    RestartAgent(String),
    /// A virtual machine is created, to run always.
    Vm(VmLine),
    /// It is started anew, under another policy of its own.
    Restart(String, Option<EmulationPolicy>),
    /// It is deleted.
    Delete(String),
}

/// What is told of a node that joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLine {
    /// Its name.
    pub name: String,
    /// Its architecture, in Go's names.
    pub architecture: String,
    /// Another architecture it can emulate.
    pub emulates: Option<String>,
    /// Processors.
    pub cpus: u32,
    /// GiB.
    pub memory: u32,
    /// Its hardware virtualization.
    pub kvm: Kvm,
    /// Its cap.
    pub cap: Option<String>,
}

/// What is told of a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmLine {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its own policy.
    pub policy: Option<EmulationPolicy>,
    /// The accelerator it insists on.
    pub forced: Option<Accelerator>,
    /// Its guest's architecture.
    pub architecture: String,
    /// Virtual processors.
    pub cpus: u32,
    /// GiB.
    pub memory: u32,
    /// Its guest is so simple that it runs also on a KVM that lies.
    pub simple: bool,
}

/// The truth about a node's hardware virtualization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kvm {
    /// It works.
    Usable,
    /// There is no `/dev/kvm`.
    Missing,
    /// `/dev/kvm` is there and may not be opened.
    Denied,
    /// `/dev/kvm` opens, and real guests fail on it.
    Liar,
    /// Every second try fails, by chance.
    Flapping,
    /// The probe's guest runs, and real ones fail.
    Sly,
}

impl Kvm {
    const ALL: [(Self, &str); 6] = [
        (Self::Usable, "usable"),
        (Self::Missing, "missing"),
        (Self::Denied, "denied"),
        (Self::Liar, "liar"),
        (Self::Flapping, "flapping"),
        (Self::Sly, "sly"),
    ];

    /// Whether `/dev/kvm` exists and opens.
    pub fn opens(self) -> bool {
        !matches!(self, Self::Missing | Self::Denied)
    }
}

impl fmt::Display for Kvm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(it, _)| it == self);
        formatter.write_str(name.map_or("", |(_, name)| name))
    }
}

pub(super) fn forced_name(forced: Accelerator) -> &'static str {
    match forced {
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "tcg",
    }
}

/// `key=value`, if there is a value.
fn pair(
    formatter: &mut fmt::Formatter<'_>,
    key: &str,
    value: Option<impl fmt::Display>,
) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(formatter, " {key}={value}"))
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.at)?;
        match &self.action {
            Action::Switch(policy) => write!(formatter, "switch {policy}"),
            Action::Namespace { name, cap, tenancy } => {
                write!(formatter, "namespace {name}")?;
                pair(formatter, "cap", cap.as_ref())?;
                pair(formatter, "tenancy", tenancy.as_ref())
            }
            Action::Node(node) => {
                let (name, arch) = (&node.name, &node.architecture);
                write!(formatter, "node {name} arch={arch}")?;
                pair(formatter, "emulates", node.emulates.as_ref())?;
                let NodeLine {
                    cpus, memory, kvm, ..
                } = node;
                write!(formatter, " cpus={cpus} memory={memory} kvm={kvm}")?;
                pair(formatter, "cap", node.cap.as_ref())
            }
            Action::Kvm(node, kvm) => write!(formatter, "kvm {node} {kvm}"),
            Action::CapNode(node, cap) => {
                write!(formatter, "cap-node {node}")?;
                pair(formatter, "cap", cap.as_ref())
            }
            Action::Probe(node) => write!(formatter, "probe {node}"),
            Action::Lose(node) => write!(formatter, "lose {node}"),
            Action::Return(node) => write!(formatter, "return {node}"),
            Action::RestartAgent(node) => write!(formatter, "restart-agent {node}"),
            Action::Vm(vm) => {
                write!(formatter, "vm {} namespace={}", vm.name, vm.namespace)?;
                pair(formatter, "policy", vm.policy)?;
                pair(formatter, "forced", vm.forced.map(forced_name))?;
                let (arch, cpus, memory) = (&vm.architecture, vm.cpus, vm.memory);
                write!(formatter, " arch={arch} cpus={cpus} memory={memory}")?;
                formatter.write_str(if vm.simple { " simple" } else { "" })
            }
            Action::Restart(vm, policy) => {
                write!(formatter, "restart {vm}")?;
                pair(formatter, "policy", *policy)
            }
            Action::Delete(vm) => write!(formatter, "delete {vm}"),
        }
    }
}

/// The words of a line after its name: `key=value`, or a word alone.
struct Words<'a> {
    line: &'a str,
    pairs: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn text(&self, key: &str) -> Result<&'a str, String> {
        let found = self.pairs.get(key).copied();
        found.ok_or_else(|| format!("{:?}: {key}= is missing", self.line))
    }

    fn perhaps(&self, key: &str) -> Option<String> {
        self.pairs.get(key).map(|&value| value.to_owned())
    }

    fn number(&self, key: &str) -> Result<u32, String> {
        let number = self.text(key)?.parse();
        number.map_err(|_| format!("{:?}: {key}: no number", self.line))
    }

    fn policy(&self) -> Result<Option<EmulationPolicy>, String> {
        let parse = |name: &str| policy(self.line, name);
        self.pairs.get("policy").copied().map(parse).transpose()
    }
}

fn policy(line: &str, name: &str) -> Result<EmulationPolicy, String> {
    EmulationPolicy::parse(name).ok_or_else(|| format!("{line:?}: {name} is no policy"))
}

fn kvm(line: &str, name: &str) -> Result<Kvm, String> {
    let found = Kvm::ALL.iter().find(|(_, it)| *it == name);
    found
        .map(|(kvm, _)| *kvm)
        .ok_or_else(|| format!("{line:?}: {name} is no state of KVM"))
}

impl FromStr for Line {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let at = words.next().and_then(|word| word.parse().ok());
        let at = at.ok_or_else(|| format!("{line:?} does not begin with a time"))?;
        let verb = words.next().unwrap_or_default();
        let first = words.next().unwrap_or_default();
        let name = first.to_owned();
        let pairs: BTreeMap<&str, &str> = words
            .map(|word| word.split_once('=').unwrap_or((word, "")))
            .collect();
        let words = Words { line, pairs };
        let action = match verb {
            "switch" => Action::Switch(policy(line, first)?),
            "namespace" => Action::Namespace {
                name,
                cap: words.perhaps("cap"),
                tenancy: words.perhaps("tenancy"),
            },
            "node" => Action::Node(NodeLine {
                name,
                architecture: words.text("arch")?.to_owned(),
                emulates: words.perhaps("emulates"),
                cpus: words.number("cpus")?,
                memory: words.number("memory")?,
                kvm: kvm(line, words.text("kvm")?)?,
                cap: words.perhaps("cap"),
            }),
            "kvm" => {
                let state = words.pairs.keys().next().copied().unwrap_or_default();
                Action::Kvm(name, kvm(line, state)?)
            }
            "cap-node" => Action::CapNode(name, words.perhaps("cap")),
            "probe" => Action::Probe(name),
            "lose" => Action::Lose(name),
            "return" => Action::Return(name),
            "restart-agent" => Action::RestartAgent(name),
            "vm" => Action::Vm(VmLine {
                name,
                namespace: words.text("namespace")?.to_owned(),
                policy: words.policy()?,
                forced: match words.pairs.get("forced").copied() {
                    None => None,
                    Some("kvm") => Some(Accelerator::Kvm),
                    Some("tcg") => Some(Accelerator::Tcg),
                    Some(_) => return Err(format!("{line:?}: forced=kvm or tcg")),
                },
                architecture: words.text("arch")?.to_owned(),
                cpus: words.number("cpus")?,
                memory: words.number("memory")?,
                simple: words.pairs.contains_key("simple"),
            }),
            "restart" => Action::Restart(name, words.policy()?),
            "delete" => Action::Delete(name),
            _ => return Err(format!("{line:?} is no action")),
        };
        Ok(Self { at, action })
    }
}

/// Reads a script: one action a line, `#` starts a comment.
///
/// # Errors
/// The first line that is none.
pub fn parse(text: &str) -> Result<Vec<Line>, String> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    lines
        .filter(|line| !line.is_empty())
        .map(str::parse)
        .collect()
}

/// A script as text.
pub fn print(script: &[Line]) -> String {
    script.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Size, of_seed};
    use super::*;

    #[test]
    fn what_a_seed_writes_is_read_back_the_same() {
        for seed in 0..20 {
            let script = of_seed(seed, Size { nodes: 7, vms: 40 });
            assert_eq!(parse(&print(&script)), Ok(script));
        }
    }

    #[test]
    fn a_line_that_is_no_action_is_named() {
        assert_eq!(
            parse("0 switch Software # fine\n5 kvm n1 broken\n").unwrap_err(),
            "\"5 kvm n1 broken\": broken is no state of KVM"
        );
    }
}
