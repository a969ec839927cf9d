//! The script of a seed.

use api::accelerator::{Accelerator, EmulationPolicy};

use super::Size;
use super::script::{Action, Kvm, Line, NodeLine, VmLine};
use crate::random::Random;

/// Namespaces: enough that caps differ, few enough that owners meet on nodes.
const NAMESPACES: usize = 12;
/// Milliseconds within which all virtual machines are created.
const CREATED_WITHIN: u64 = 20_000;
/// Milliseconds within which things happen to them.
const UNREST: u64 = 120_000;
/// What happens, per node: most nodes see two or three changes while their guests come and go.
const CHANGES_PER_NODE: u64 = 3;

const POLICIES: [EmulationPolicy; 3] = EmulationPolicy::ALL;

/// The script of a seed; always the same one.
pub fn of_seed(seed: u64, size: Size) -> Vec<Line> {
    let mut writer = Writer {
        random: Random::new(seed),
        size,
        script: Vec::new(),
        lost: Vec::new(),
    };
    writer.cluster();
    writer.machines();
    writer.unrest();
    writer.calm();
    writer.script.sort_by_key(|line| line.at);
    writer.script
}

struct Writer {
    random: Random,
    size: Size,
    script: Vec<Line>,
    lost: Vec<usize>,
}

impl Writer {
    fn push(&mut self, at: u64, action: Action) {
        self.script.push(Line { at, action });
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound.max(1) as u64)).unwrap_or(0)
    }

    /// A cap as people write them.
    fn cap(&mut self) -> Option<String> {
        let caps = [
            None,
            None,
            None,
            None,
            None,
            Some("Software"),
            Some("Hardware"),
        ];
        let rare = [Some("None"), Some("None"), Some("None"), Some("Sofware")];
        let all: Vec<_> = caps.into_iter().chain(rare).collect();
        self.random.one_of(&all).map(str::to_owned)
    }

    fn architecture(&mut self, foreign_percent: u64) -> String {
        let foreign = self.percent(foreign_percent);
        if foreign { "arm64" } else { "amd64" }.to_owned()
    }

    fn kvm(&mut self) -> Kvm {
        match self.random.below(100) {
            0..42 => Kvm::Usable,
            42..57 => Kvm::Missing,
            57..65 => Kvm::Denied,
            65..80 => Kvm::Liar,
            80..90 => Kvm::Sly,
            _ => Kvm::Flapping,
        }
    }

    fn cluster(&mut self) {
        let policy = self.random.one_of(&POLICIES);
        self.push(0, Action::Switch(policy));
        for index in 0..NAMESPACES {
            let action = self.namespace(index);
            self.push(0, action);
        }
        // A cluster with room to spare, one that fits, and one in which some must wait.
        let scale = self.random.one_of(&[10, 6, 4, 2]);
        for index in 0..self.size.nodes {
            let architecture = self.architecture(20);
            let other = if architecture == "amd64" {
                "arm64"
            } else {
                "amd64"
            };
            let cpus = self.random.one_of(&[4, 8, 16, 32]);
            let line = NodeLine {
                name: node(index),
                emulates: self.percent(60).then(|| other.to_owned()),
                architecture,
                cpus,
                memory: cpus * scale,
                kvm: self.kvm(),
                cap: self.cap(),
            };
            self.push(0, Action::Node(line));
        }
    }

    fn namespace(&mut self, index: usize) -> Action {
        let tenancies = [None, None, None, Some("Allow"), Some("Warn"), Some("Deny")];
        Action::Namespace {
            name: format!("team-{index}"),
            cap: self.cap(),
            tenancy: self.random.one_of(&tenancies).map(str::to_owned),
        }
    }

    fn machines(&mut self) {
        for index in 0..self.size.vms {
            let at = self.random.below(CREATED_WITHIN);
            let own = self.random.one_of(&[false, true]);
            let forced = match self.random.below(100) {
                0..4 => Some(Accelerator::Kvm),
                4..10 => Some(Accelerator::Tcg),
                _ => None,
            };
            let (cpus, memory) = self.random.one_of(&[(1, 1), (2, 2), (4, 4), (2, 8)]);
            let line = VmLine {
                name: vm(index),
                namespace: format!("team-{}", self.index(NAMESPACES)),
                policy: own.then(|| self.random.one_of(&POLICIES)),
                forced,
                architecture: self.architecture(15),
                cpus,
                memory,
                simple: self.percent(5),
            };
            self.push(at, Action::Vm(line));
        }
    }

    fn unrest(&mut self) {
        for _ in 0..self.size.nodes as u64 * CHANGES_PER_NODE {
            let at = self.random.below(UNREST);
            let which = self.index(self.size.nodes);
            let name = node(which);
            let action = match self.random.below(100) {
                0..30 => Action::Kvm(name, self.kvm()),
                30..45 => Action::CapNode(name, self.cap()),
                45..60 => Action::Probe(name),
                60..70 => Action::RestartAgent(name),
                70..78 => {
                    self.lost.push(which);
                    if self.percent(80) {
                        let back = at + 1000 + self.random.below(UNREST);
                        self.push(back, Action::Return(name.clone()));
                    }
                    Action::Lose(name)
                }
                78..90 => {
                    let which = self.index(NAMESPACES);
                    self.namespace(which)
                }
                _ => Action::Switch(self.random.one_of(&POLICIES)),
            };
            self.push(at, action);
        }
        for _ in 0..self.size.vms / 10 {
            let at = CREATED_WITHIN + self.random.below(UNREST);
            let name = vm(self.index(self.size.vms));
            let own = self.random.one_of(&[None, Some(0), Some(1), Some(2)]);
            let action = match self.random.below(3) {
                0 => Action::Delete(name),
                _ => Action::Restart(name, own.map(|index| POLICIES[index])),
            };
            self.push(at, action);
        }
    }

    /// Hardware stops to change by chance and to deceive, so that everything can come to rest.
    fn calm(&mut self) {
        let restless = |kvm| matches!(kvm, Kvm::Flapping | Kvm::Sly);
        let names: Vec<String> = self
            .script
            .iter()
            .filter_map(|line| match &line.action {
                Action::Node(it) if restless(it.kvm) => Some(it.name.clone()),
                Action::Kvm(name, kvm) if restless(*kvm) => Some(name.clone()),
                _ => None,
            })
            .collect();
        for name in names {
            let kvm = self.random.one_of(&[Kvm::Usable, Kvm::Missing, Kvm::Liar]);
            self.push(CREATED_WITHIN + 2 * UNREST, Action::Kvm(name, kvm));
        }
    }
}

fn node(index: usize) -> String {
    format!("n{index}")
}

fn vm(index: usize) -> String {
    format!("v{index}")
}
